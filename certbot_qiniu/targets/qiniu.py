"""Qiniu, as if it were a server with one configuration file.

``deploy``, ``enhance`` and ``save`` change the desired state in memory, ``commit`` puts the old one
into certbot's checkpoint and writes the new one, ``settle`` makes Qiniu equal to it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import ClassVar

from certbot import interfaces

from certbot_qiniu import errors, prompts
from certbot_qiniu.deployment import holds, rollback, wording
from certbot_qiniu.deployment.choose import check_listed, check_selection, rehearse
from certbot_qiniu.deployment.context import Options as Reconciling
from certbot_qiniu.deployment.state import State
from certbot_qiniu.deployment.waiting import RENEWAL_SECONDS
from certbot_qiniu.failures import Failures
from certbot_qiniu.lineages import read_renewals
from certbot_qiniu.model import Certificate, covering_name, san_of
from certbot_qiniu.targets.run import Run
from certbot_qiniu.targets.target import Options, Target

logger = logging.getLogger(__name__)

_ENHANCEMENTS = ("redirect", "ensure-http-header")


class QiniuTarget(Target):
    """The domains of a Qiniu account.

    :cvar _settled: (lineage, fingerprint) of what this process has deployed, for the
        ``generic_updates`` that another instance gets after a renewal.
    """

    _settled: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._certificate: Certificate | None = None
        self._decided: set[str] = set()
        self._told: set[str] = set()
        self._desired: State | None = None
        self._is_returning: bool | None = None  # after a rollback: whether it changed anything
        self._passed: dict[str, str] = {}  # domain -> lineage, in what a rollback undoes
        self._lifted_holds: dict[str, str] = {}

    def describe(self) -> str:
        """Describe this target."""
        return "Qiniu Cloud: uploads it, and binds it to the domains there that it covers."

    def names(self) -> list[str]:
        """Return the account's domains, as names for a certificate.

        :raises errors.QiniuError: if they cannot be listed.
        """
        settings = self.run.settings
        context = self.run.deployer.context(settings.credentials, settings.services)
        return [san_of(domain.name) for domain in context.account.domains().values()
                if domain.kind != "test"]

    # Before anything is changed -----------------------------------------------------------------

    def check(self) -> None:
        """Check the credentials, our files, API access, and what is known of the domains already.

        :raises errors.QiniuError: if one of them is not usable.
        """
        run = self.run
        if run.verb == "rollback":
            self._passed = rollback.check(
                run.deployer, run.settings, int(run.config.checkpoints))
            return
        if not run.settings.credentials:
            run.set_option("credentials", prompts.credentials_path(run.config))
        settings = run.settings
        context = run.deployer.context(settings.credentials, settings.services)
        check_listed(context, run.names(), settings.domains)
        if run.verb == "run" and run.names() and settings.domains is None:
            alike = run.lineages.with_names(run.names(), run.lineages.names())
            lineage = str(run.config.certname or (alike[0] if len(alike) == 1 else ""))
            if warning := check_selection(context, run.names(), lineage,
                                          can_ask=prompts.can_ask(run.config),
                                          excluded=settings.excluded):
                run.say(warning)

    def rehearse(self) -> None:
        """Show what the next ``certbot renew`` would do here.

        :raises errors.QiniuError: if the real run would fail.
        """
        run = self.run
        failures, lines = Failures(), list[str]()
        for lineage in run.rehearsed() or [""]:
            lines += failures.attempt(self._rehearse, lineage) or []
        failures.raise_any()
        prompts.tell("\n".join(["", "What certbot renew would do at Qiniu:",
                                *dict.fromkeys(lines), ""]))

    def _rehearse(self, lineage: str) -> list[str]:
        run, settings = self.run, self.run.settings
        run.deployer.store.check(lineage)
        run.deployer.check_list(lineage, settings)
        context = run.deployer.context(
            run.deployer.credentials_of(lineage, settings), settings.services)
        # reconfigure is followed by a plain renew, which issues nothing: rehearse that.
        fresh, is_told = run.verb != "reconfigure", not run.is_renewed(lineage)
        if lineage and not fresh and run.deployer.stays_held(lineage, settings, is_told=is_told):
            return [wording.stays_held(lineage)]
        if lineage and not fresh:
            run.deployer.check_newest(run.lineages.current(lineage), settings)
        return rehearse(context, run.names(), settings, lineage, fresh=fresh, is_told=is_told)

    # The desired state --------------------------------------------------------------------------

    def deploy(self, certificate: Certificate, san: str, paths: tuple[str, ...]) -> None:
        """Note the certificate for all of its names, whichever certbot asks for."""
        self._certificate = certificate

    def enhancements(self) -> tuple[str, ...]:
        """Return redirects and HSTS."""
        return _ENHANCEMENTS

    def enhance(self, san: str, enhancement: str, options: Options) -> bool:
        """Redirect http to https, or switch HSTS on, for what *san* covers.

        certbot calls this after ``run`` and ``install`` even if nobody asked for a redirect; then
        the domains keep what they have, and there is nothing to do.

        :raises errors.UsageError: for a header that is not offered.
        """
        if enhancement not in _ENHANCEMENTS:
            return False
        if (enhancement, options) == ("ensure-http-header", "Upgrade-Insecure-Requests"):
            # Its Content-Security-Policy would replace the one that the domain may have.
            logger.error("Option uir is not supported by the qiniu installer. Skipping it for %s",
                         san)
            return True
        is_hsts = (enhancement, options) == ("ensure-http-header", "Strict-Transport-Security")
        if enhancement != "redirect" and not is_hsts:
            raise errors.UsageError(f"Qiniu offers no enhancement {enhancement} {options or ''}")
        if not is_hsts and not self.run.config.redirect:
            return True
        deployer = self.run.deployer
        lineage = self._certificate.lineage if self._certificate else self.run.config.certname
        state = deployer.store.state if self._desired is None else self._desired
        self._tell_without_effect(state, lineage, san, is_hsts=is_hsts)
        change = deployer.hsts if is_hsts else deployer.redirect
        self._desired = change(state, lineage, san)
        self.lineages.add(lineage)
        return True

    def _tell_without_effect(self, state: State, lineage: str, san: str, *,
                             is_hsts: bool) -> None:
        """Report the domains at which an enhancement changes nothing.

        :raises errors.UsageError: if it changes none at all.
        """
        managed = {name: entry for name, entry in state.items() if entry.lineage == lineage}
        covered = {name: entry for name, entry in managed.items()
                   if covering_name([san.lower()], name)}
        if self.run.verb == "enhance":
            if not managed:
                raise errors.UsageError(
                    f"{lineage} is deployed to no domain at Qiniu, so there is nothing to "
                    f"enhance. First: {self.run.command('install', lineage)}")
            if not covered:
                self.run.say(f"{san}: no domain at Qiniu has {lineage} under this name, so nothing "
                             "is changed for it")
        if is_hsts:
            return  # the code that sets it reports that it is only for CDN domains
        for name, entry in covered.items():
            if entry.service != "cdn" and name not in self._told:
                self._told.add(name)
                self.run.say(f"{name}: Qiniu has redirects for CDN domains only; left without")

    def save(self, title: str | None) -> None:
        """Choose the domains of a certificate that is new here.

        :raises errors.QiniuError: if they cannot be chosen.
        """
        certificate = self._certificate
        if not title or certificate is None or certificate.lineage in self._decided:
            return
        run, deployer, lineage = self.run, self.run.deployer, certificate.lineage
        self._desired = deployer.deploy(certificate, run.settings, run.config.redirect,
                                        partial(prompts.to_switch, run.config))
        if held := holds.lift(deployer.store, lineage):
            self._lifted_holds[lineage] = held
        self._decided.add(lineage)
        self.lineages.add(lineage)

    def commit(self) -> None:
        """Write the desired state and the memory.

        :raises errors.StateError: if it cannot be written.
        """
        deployer = self.run.deployer
        if self._desired is not None:
            if self._desired != deployer.store.state:
                for lineage in self.lineages:
                    self._settled.difference_update(deployer.fingerprints(lineage))
            deployer.write(self._desired, self.run.settings)
            self._desired = None

    def checkpointed(self, name: str, *, may_prune: bool) -> None:
        """Remember it, as long as a rollback may need it."""
        if self.run.is_open:
            self.run.deployer.writer.remember_checkpoint(name, may_prune=may_prune)

    def renew(self, lineage: interfaces.RenewableCert) -> None:
        """Bring the desired state to a lineage's newest certificate and today's domains.

        :raises errors.QiniuError: if some of them fail; the others are done.
        """
        super().renew(lineage)
        self._converge(lineage.lineagename)

    def _converge(self, lineage: str) -> None:
        self.run.deployer.converge(lineage, self.run.settings).raise_any()

    def update(self, lineage: interfaces.RenewableCert) -> None:
        """Do the same, unless this process has done it already.

        :raises errors.QiniuError: as :meth:`renew` does.
        """
        name = lineage.lineagename
        try:
            newest = self.run.lineages.current(name).fingerprint
        except errors.UsageError:
            newest = ""
        if (name, newest) not in self._settled:
            self.renew(lineage)

    # Making it so -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Make Qiniu equal to the desired state of the lineages concerned.

        :raises errors.DeployError: if anything is not in sync; the text names all of it.
        """
        if self._is_returning is not None:
            self._settle_rolled_back()
            return
        if self.run.verb == "certonly" and not self.lineages:
            self.run.note("certonly deploys nothing to Qiniu by itself: the next certbot renew "
                         "does, or certbot install --cert-name now")
        self._settle_each(self._settle)

    def _settle(self, lineage: str) -> None:
        """Reconcile one lineage; only ``renew`` does not wait for what it sends."""
        if self._is_settled(lineage):
            return
        deployer, settings, renewing = self.run.deployer, self.run.settings, self.run.is_renewal
        outcome = deployer.settle(lineage, settings, Reconciling(
            wait=not renewing,
            wait_seconds=RENEWAL_SECONDS if renewing else settings.publish_timeout,
            keep_certificates=settings.keep_certificates, listed=settings.domains or (),
            take_over=not renewing, take_back=self.run.take_back,
            insist=not renewing or self.run.is_apply, bury=not self.run.is_apply))
        managed = set(deployer.store.managed(lineage))
        self.has_taken = self.has_taken or bool(managed - set(outcome.unserved))
        if outcome.pending:
            names = ", ".join(sorted(set(outcome.pending)))
            self.run.note(
                f"Not waited for any longer: Qiniu goes on with {names}; the next certbot renew "
                "confirms it" if self.run.waiting.is_stopped else
                f"Qiniu is still publishing {names}; the next certbot renew confirms it")
        if outcome.problems:
            raise errors.DeployError("; ".join(outcome.problems),
                                     has_outlook=outcome.has_outlook)
        self._settled.update(deployer.fingerprints(lineage))

    def _is_settled(self, lineage: str) -> bool:
        """Return whether this process has brought the lineage to this desired state already.

        That is so at the second restart of a run, after an enhancement that changed nothing.
        """
        wanted = self.run.deployer.fingerprints(lineage)
        return bool(wanted) and wanted <= self._settled

    def _settle_rolled_back(self) -> None:
        """Bring every domain to what the file says now, whichever lineage it belongs to."""
        deployer, settings = self.run.deployer, self.run.settings
        deployer.store.load()  # after a failure before, nothing of the older content may be sent
        if not self._is_returning:
            return
        problems = rollback.take_up(deployer, self._passed, settings)
        if self.run.verb == "rollback" and (names := rollback.unseen_versions(deployer.store)):
            self.run.say(wording.versions_may_stay(names))
        outcome = deployer.settle_all(settings, Reconciling(
            wait=True, wait_seconds=settings.publish_timeout, take_over=True, insist=True,
            clean=False, returning=True))
        if outcome.pending:
            self.run.note(f"Qiniu is still publishing {', '.join(sorted(outcome.pending))}")
        if self.run.verb == "rollback":
            self._tell_what_comes_again()
        if problems := [*problems, *outcome.problems]:
            raise errors.DeployError("Not every domain at Qiniu is back to what it served before: "
                                     + "; ".join(dict.fromkeys(problems)))

    def _tell_what_comes_again(self) -> None:
        """Report what the renewal conf, which no rollback changes, will ask for again."""
        for lineage, renewal in read_renewals(self.run.lineages.config_dir)[0].items():
            if not renewal.is_ours:
                continue
            settings, found = renewal.settings, [
                entry.binding for entry in self.run.deployer.store.managed(lineage).values()
                if entry.service == "cdn"]
            if settings.tls_versions and any(
                    set(binding.tls_versions or ()) != set(settings.tls_versions)
                    for binding in found):
                self.run.say(wording.comes_again(lineage, "--qiniu-tls"))
            if settings.http2 is not None and any(
                    binding.http2 != settings.http2 for binding in found):
                self.run.say(wording.comes_again(lineage, "--qiniu-http2"))

    # Going back ---------------------------------------------------------------------------------

    def before_roll_back(self, count: int) -> None:
        """Note what the rollback undoes.

        :raises errors.StateError: if that cannot be written.
        """
        rollback.begin(self.run.deployer, count)

    def roll_back(self, count: int) -> None:
        """Read the desired state that certbot has restored, and hold what was rolled back.

        certbot also goes back after any failing ``restart``. Nothing is held then: the same
        certificate may be deployed again.

        :raises errors.StateError: if it cannot be read.
        """
        super().roll_back(count)
        self._desired = None
        deployer = self.run.deployer
        deployer.writer.forget_checkpoint()
        before = dict(deployer.store.state)
        self._is_returning = True
        deployer.store.load()
        if self.run.verb == "rollback":
            holds.finish(deployer.store, deployer.lineages)
        else:
            self._return_holds()
            self._is_returning = before != deployer.store.state

    def recover(self) -> None:
        """Read the desired state again, as it was before this run.

        :raises errors.StateError: if it cannot be read.
        """
        super().recover()
        self._desired = None
        if self.run.is_open:
            self.run.deployer.writer.forget_checkpoint()
            self.run.deployer.store.load()
            self._return_holds()

    def _return_holds(self) -> None:
        """Put back the holds that a failed install has lifted."""
        for lineage, fingerprint in self._lifted_holds.items():
            holds.put(self.run.deployer.store, lineage, fingerprint)
        self._lifted_holds = {}
