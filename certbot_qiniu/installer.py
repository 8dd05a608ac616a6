"""certbot's installer ``qiniu``: certbot's verbs onto ours.

Qiniu is treated as a server with one configuration file, ``state.json``: ``deploy_cert`` and
``enhance`` change the desired state, ``save`` checkpoints and writes it, ``restart`` makes Qiniu
equal to it. ``renew`` calls none of the first three, so ``renew_deploy`` does their work there,
and ``generic_updates``, which comes with every ``certbot renew``, reconciles again.

certbot loads this module for every command of every user, so it imports what it works with only
where it works.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from certbot import errors as certbot_errors
from certbot import interfaces
from certbot.display import util as display
from certbot.plugins import common

from certbot_qiniu import errors, options

if TYPE_CHECKING:
    from certbot_qiniu.deployment.deployer import Deployer
    from certbot_qiniu.deployment.state import State
    from certbot_qiniu.model import Certificate
    from certbot_qiniu.qiniu.account import Accounts
    from certbot_qiniu.targets.nginx import WebServer
    from certbot_qiniu.targets.other_installer import Partner

logger = logging.getLogger(__name__)

_ENHANCEMENTS = ("redirect", "ensure-http-header")


class Installer(common.Installer, interfaces.RenewDeployer, interfaces.GenericUpdater):
    """Deploy certificates to Qiniu Cloud (七牛云 CDN) and reload nginx.

    certbot makes a fresh instance for every lineage of a ``renew``; what outlives it within one
    process is in the class attributes.
    """

    description = "Deploy certificates to Qiniu Cloud (CDN) and reload nginx"

    _accounts: ClassVar[Accounts | None] = None
    _settled: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opened: Deployer | None = None
        self._beside: list[Partner] | None = None
        self._certificate: Certificate | None = None
        self._sans: set[str] = set()
        self._desired: State | None = None
        self._touched: set[str] = set()
        self._restoring = False
        self._lifted_holds: dict[str, str] = {}
        self._problems: list[str] = []

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """Declare the ``--qiniu-…`` options."""
        options.add_arguments(add)

    @classmethod
    def forget_process(cls) -> None:
        """Drop what is shared between the lineages of one process, as a new process would."""
        cls._accounts = None
        cls._settled.clear()

    def more_info(self) -> str:
        """Say what the plugin does."""
        ours = ("Uploads the certificate to Qiniu Cloud, binds it to the domains there that it "
                "covers, reloads nginx, and puts both right again with every certbot renew.")
        return "\n".join([ours, *(partner.more_info() for partner in self._partners)])

    # Before anything is changed -----------------------------------------------------------------

    def prepare(self) -> None:
        """Refuse bad input before anything is issued or changed.

        Under ``renew`` nothing is raised and no network used: certbot answers a ``PluginError``
        there by removing the plugin from the renewal conf for good. A dry run is rehearsed.

        :raises certbot.errors.NoInstallationError: when the plugin is neither chosen nor set up.
        :raises certbot.errors.Error: when it is chosen and cannot work. Not a ``PluginError``,
            which certbot would swallow in ``certonly``, ``rollback`` and ``renew``.
        """
        verb = self.config.verb
        if verb == "renew" and not self.config.dry_run:
            return
        if "qiniu" not in (self.config.installer, self.config.configurator):
            if not self.conf("credentials"):
                raise certbot_errors.NoInstallationError(
                    "no --qiniu-credentials given, so there is no Qiniu account to deploy to")
            return
        try:
            if verb == "rollback":
                self._deployer().check_accounts(self._settings)
            else:
                rehearsing = self.config.dry_run or verb == "reconfigure"
                errors.do_all(self._rehearse if rehearsing else self._check,
                              *(partial(self._prepare, beside) for beside in self._partners))
        except errors.QiniuError as error:
            raise certbot_errors.Error(f"The qiniu plugin cannot work: {error}") from error

    def _check(self) -> None:
        """Credentials, files, API access, and whatever can be said of the domains already."""
        from certbot_qiniu import prompts
        from certbot_qiniu.deployment.choose import check_listed

        if not self.conf("credentials"):
            setattr(self.config, self.dest("credentials"),
                    prompts.credentials_path(self.config))
        settings = self._settings
        context = self._deployer().context(settings.credentials, settings.services)
        check_listed(context, self._requested_names(), settings.domains)

    def _prepare(self, beside: Partner) -> None:
        """Let a partner refuse, and store the options that it was given under our own name.

        certbot restores those of its chosen installer alone in a renewal.
        """
        if text := beside.options():
            setattr(self.config, self.dest("with-options"), text)
        beside.config_test()

    def _rehearse(self) -> None:
        """Do for a dry run all that the real run would do first, and show what would follow.

        :raises errors.QiniuError: when the real run would fail.
        """
        from certbot_qiniu.deployment.choose import rehearse

        settings = self._settings
        context = self._deployer(read_only=True).context(settings.credentials, settings.services)
        lines = rehearse(context, self._requested_names(), settings)
        display.notify("\n".join(["", "What certbot renew would do at Qiniu:", *lines, ""]))
        self.config_test()

    def _requested_names(self) -> set[str]:
        """The names of the certificate, as far as certbot has told them yet."""
        return {str(san).lower() for san in getattr(self.config, "domains", None) or ()}

    def get_all_names(self) -> Iterable[str]:
        """The account's domains and a partner's, as names for a certificate.

        :raises errors.QiniuError: when they cannot be listed.
        """
        return sorted(errors.gather(
            self._names_at_qiniu, *(beside.names for beside in self._partners)))

    def _names_at_qiniu(self) -> list[str]:
        from certbot_qiniu.model import san_of

        settings = self._settings
        context = self._deployer().context(settings.credentials, settings.services)
        domains = context.account.domains()
        return [san_of(domain.name) for domain in domains.values() if domain.kind != "test"]

    # run, install, enhance ----------------------------------------------------------------------

    def deploy_cert(self, domain: str, cert_path: str, key_path: str, chain_path: str,
                    fullchain_path: str) -> None:
        """Note that *domain*, a SAN, is to be served with this certificate.

        :raises errors.UsageError: when the certificate is not one of certbot's lineages.
        :raises errors.PartnerError: when a partner cannot take it.
        """
        paths = (cert_path, key_path, chain_path, fullchain_path)
        errors.do_all(partial(self._take_certificate, domain, cert_path, fullchain_path),
                      *(partial(beside.deploy_cert, domain, *paths) for beside in self._partners))

    def _take_certificate(self, domain: str, cert_path: str, fullchain_path: str) -> None:
        if self._certificate is None:
            folder, lineages = Path(fullchain_path or cert_path).parent, self._deployer().lineages
            if folder.parent.resolve() != lineages.live.resolve():
                raise errors.UsageError(
                    f"{cert_path} does not belong to a certificate that certbot manages, so it "
                    "could be neither renewed nor rolled back. Use certbot install --cert-name")
            self._certificate = lineages.current(folder.name)
        self._sans.add(domain.lower())

    def supported_enhancements(self) -> list[str]:
        """What ``enhance`` can do, here or at a partner."""
        return sorted(errors.gather(
            lambda: _ENHANCEMENTS, *(beside.supported_enhancements for beside in self._partners)))

    def enhance(self, domain: str, enhancement: str,
                options: list[str] | str | None = None) -> None:
        """Redirect http to https, or switch HSTS on, for what *domain*, a SAN, covers.

        certbot calls this after ``run`` and ``install`` also when nobody asked for a redirect;
        then the domains keep what they have, and there is nothing to do for them. What only a
        partner supports, it alone does.

        :raises errors.UsageError: for an enhancement that nobody here offers.
        :raises errors.PartnerError: when a partner fails at it.
        """
        works = [partial(beside.enhance, domain, enhancement, options)
                 for beside in self._partners]
        if enhancement in _ENHANCEMENTS or not works:
            works.append(partial(self._enhance_at_qiniu, domain, enhancement, options))
        errors.do_all(*works)

    def _enhance_at_qiniu(self, domain: str, enhancement: str,
                          options: list[str] | str | None) -> None:
        if (enhancement, options) == ("ensure-http-header", "Upgrade-Insecure-Requests"):
            # Its Content-Security-Policy would replace the one that the domain may have.
            logger.error("Option uir is not supported by the qiniu installer. Skipping it for %s",
                         domain)
            return
        is_hsts = (enhancement, options) == ("ensure-http-header", "Strict-Transport-Security")
        if enhancement != "redirect" and not is_hsts:
            raise errors.UsageError(f"Qiniu offers no enhancement {enhancement} {options or ''}")
        if not is_hsts and not self.config.redirect:
            return
        deployer = self._deployer()
        lineage = self._certificate.lineage if self._certificate else self.config.certname
        state = deployer.store.state if self._desired is None else self._desired
        change = deployer.hsts if is_hsts else deployer.redirect
        self._desired = change(state, lineage, domain)
        self._touched.add(lineage)

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        """Checkpoint and write the desired state; without a title there is nothing to end yet.

        A partner's files are in the same checkpoint, so that one rollback returns all.

        :raises errors.QiniuError: when the domains cannot be chosen or the state not be written.
        """
        if temporary:
            return
        works = [partial(beside.save, title) for beside in self._partners]
        if not title:
            errors.do_all(*works)
            return
        deployer = self._deployer()
        errors.do_all(*works, self._decide)
        if self._desired is not None:
            if self._desired != deployer.store.state:
                for lineage in self._touched:
                    self._settled.difference_update(deployer.fingerprints(lineage))
            deployer.commit(self._desired, title)
            self._desired = None
        self._end_checkpoint(title)

    def _decide(self) -> None:
        """Choose the domains of a certificate that is new here."""
        from certbot_qiniu import prompts

        deployer, certificate = self._deployer(), self._certificate
        if certificate and certificate.lineage not in self._touched:
            self._desired = deployer.deploy(
                certificate, self._sans, self._settings, self.config.redirect,
                partial(prompts.to_switch, self.config))
            held = deployer.lift_hold(certificate.lineage)
            if held:
                self._lifted_holds[certificate.lineage] = held
            self._touched.add(certificate.lineage)

    def _end_checkpoint(self, title: str) -> None:
        """End a checkpoint with a partner's files alone, if anything in them has changed."""
        in_progress = Path(self.config.in_progress_dir)
        if not in_progress.is_dir():
            return
        from certbot_qiniu.targets.other_installer import has_changes

        if has_changes(in_progress):
            self.finalize_checkpoint(title)
            self._deployer().finalized += 1
        else:
            super().recovery_routine()

    # Making it so -------------------------------------------------------------------------------

    def restart(self) -> None:
        """Make Qiniu equal to the state file, and nginx; neither holds the other up.

        :raises errors.DeployError: when anything is not as wanted; the text names all of it.
        """
        verb = self.config.verb
        problems, self._problems = self._problems, []
        problems += self._attempt(self._web_server.restart_partners, self._touched)
        if verb == "rollback" or self._restoring:
            problems += self._attempt(self._restart_rolled_back)
            self._raise(problems)
            return
        if verb == "certonly" and not self._touched:
            display.notify("certonly deploys nothing to Qiniu by itself: the next certbot renew "
                           "does, or certbot install --cert-name now")
        for lineage in sorted(self._touched):
            if not problems and self._is_settled(lineage):
                continue  # the second restart of a run, after enhance had nothing to do
            problems += self._attempt(self._settle, lineage)
            if verb != "enhance":
                problems += self._attempt(self._web_server.reload, lineage)
            if verb == "install" and not problems:
                self._tell_how_to_renew(lineage)
        self._raise(problems)

    def _tell_how_to_renew(self, lineage: str) -> None:
        """``certbot install`` stores nothing: say so, unless renewals reach Qiniu already."""
        from certbot_qiniu.lineages import read_renewal

        conf = Path(self.config.renewal_configs_dir) / f"{lineage}.conf"
        try:
            if read_renewal(conf).is_ours:
                return
        except errors.UsageError as error:
            logger.debug("%s", error)
        display.notify(
            f"This deployed {lineage} once: certbot install does not make renewals do it. For "
            f"that run: certbot reconfigure --cert-name {lineage} -i qiniu "
            f"--qiniu-credentials {self._settings.credentials}"
            + "".join(f" --qiniu-with {beside.name}" for beside in self._partners))

    def _settle(self, lineage: str) -> None:
        """Reconcile one lineage; only ``renew`` does not wait for what it sends.

        :raises errors.DeployError: when anything is not as wanted.
        """
        from certbot_qiniu.deployment.reconcile import Options

        deployer, settings, renewing = self._deployer(), self._settings, self._renewing
        outcome = deployer.settle(lineage, settings, Options(
            wait=not renewing, publish_timeout=settings.publish_timeout,
            keep_certificates=settings.keep_certificates, listed=settings.domains or (),
            take_over=not renewing))
        if outcome.pending:
            self._tell(f"Qiniu is still publishing {', '.join(sorted(set(outcome.pending)))}; "
                       "the next certbot renew confirms it")
        if outcome.problems:
            raise errors.DeployError("; ".join(outcome.problems))
        self._settled.update(deployer.fingerprints(lineage))

    def _is_settled(self, lineage: str) -> bool:
        """Whether this process has brought the lineage to just this desired state already."""
        wanted = self._deployer().fingerprints(lineage)
        return bool(wanted) and wanted <= self._settled

    def _restart_rolled_back(self) -> None:
        """Bring every domain to what the file says now, whichever lineage it belongs to."""
        from certbot_qiniu.deployment.reconcile import Options

        deployer, settings = self._deployer(), self._settings
        if self._restoring and not deployer.finalized:
            return  # nothing was rolled back: what the file says has not changed
        outcome = deployer.settle_all(settings, Options(
            wait=True, publish_timeout=settings.publish_timeout, take_over=True, clean=False))
        if outcome.pending:
            self._tell(f"Qiniu is still publishing {', '.join(sorted(outcome.pending))}")
        if outcome.problems:
            raise errors.DeployError("Not every domain at Qiniu is back to what it served before: "
                                     + "; ".join(dict.fromkeys(outcome.problems)))

    def _attempt(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> list[str]:
        """Run *work*; a failure becomes a line of text, so that the rest goes on."""
        try:
            work(*args, **kwargs)
        except certbot_errors.PluginError as error:
            return [str(error)]
        return []

    def _raise(self, problems: list[str]) -> None:
        if not problems:
            return
        text = "; ".join(dict.fromkeys(problems))
        if self._renewing:
            names = ", ".join(sorted(self._touched))
            text = (f"The certificate of {names} is valid and on this machine, but it has not "
                    f"reached everything that should serve it: {text}. The next certbot renew "
                    "tries again")
        raise errors.DeployError(text)

    # renew --------------------------------------------------------------------------------------

    def renew_deploy(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Take a renewed certificate into the desired state.

        Raises nothing: certbot would skip ``restart`` then, and with it nginx. What goes wrong
        here, ``restart`` reports.
        """
        self._touched.add(lineage.lineagename)
        self._problems += self._attempt(self._converge, lineage.lineagename)
        for beside in self._partners:
            self._problems += self._attempt(beside.renew_deploy, lineage)
            self._problems += self._attempt(self._end_checkpoint, f"Renewed {lineage.lineagename}")

    def generic_updates(self, lineage: interfaces.RenewableCert, *args: Any,
                        **kwargs: Any) -> None:
        """Put right what failed, drifted or is new, with every ``certbot renew``.

        :raises errors.DeployError: when anything is not as wanted afterwards.
        """
        name = lineage.lineagename
        self._touched.add(name)
        problems = []
        if not self._renewed_here(name):
            problems += self._attempt(self._converge, name)
            problems += self._problems
            problems += self._attempt(self._settle, name)
        problems += self._attempt(self._web_server.reload, name)
        for beside in self._partners:
            problems += self._attempt(beside.generic_updates, lineage)
            problems += self._attempt(self._end_checkpoint, f"Updated {name}")
        problems += self._attempt(self._web_server.restart_partners, [name], only_outdated=True)
        self._raise(problems)

    def _converge(self, lineage: str) -> None:
        self._problems += self._deployer().converge(lineage, self._settings)

    def _renewed_here(self, lineage: str) -> bool:
        """Whether this process has renewed the lineage and reconciled it with success."""
        from certbot_qiniu.lineages import Lineages

        try:
            newest = Lineages(Path(self.config.config_dir)).current(lineage)
        except errors.UsageError:
            return False
        return (lineage, newest.fingerprint) in self._settled

    # Going back ---------------------------------------------------------------------------------

    def rollback_checkpoints(self, rollback: int = 1) -> None:
        """Return to an older desired state; ``restart`` then brings Qiniu there.

        certbot also calls this after any failing ``restart``. Then only what this process
        itself finalized is undone: an older checkpoint is not ours to take.

        :raises errors.QiniuError: when a checkpoint cannot be restored.
        """
        deployer = self._deployer()
        if self.config.verb == "rollback":
            before = dict(deployer.store.state)
            super().rollback_checkpoints(rollback)
            deployer.store.load()
            deployer.hold_rolled_back(before)
            for beside in self._partners:
                self._problems += self._attempt(beside.rollback, rollback)
            return
        self._restoring = True
        for _ in range(min(int(rollback), deployer.finalized)):
            super().rollback_checkpoints(1)
        deployer.store.load()
        self._return_holds()
        for beside in self._partners:
            self._problems += self._attempt(beside.rollback, rollback)

    def recovery_routine(self) -> None:
        """Undo a checkpoint that was never finalized.

        :raises certbot.errors.PluginError: when that is not possible.
        """
        super().recovery_routine()
        self._desired = None
        if self._opened is not None:
            self._opened.store.load()
            self._return_holds()
        errors.do_all(*(beside.recover for beside in self._partners))

    def _return_holds(self) -> None:
        """An install that lifted a rollback's hold has failed: the hold comes back."""
        for lineage, fingerprint in self._lifted_holds.items():
            self._deployer().hold(lineage, fingerprint)
        self._lifted_holds = {}

    def config_test(self) -> None:
        """Test the configurations of nginx and of the partners.

        :raises errors.QiniuError: when one is broken.
        """
        self._web_server.test()

    # Wiring -------------------------------------------------------------------------------------

    @property
    def _settings(self) -> options.Settings:
        return options.Settings.read(self.conf)

    @property
    def _renewing(self) -> bool:
        return bool(self.config.verb == "renew")

    @property
    def _web_server(self) -> WebServer:
        from certbot_qiniu.lineages import Lineages
        from certbot_qiniu.targets.nginx import WebServer

        try:
            store = self._deployer().store
        except errors.StateError:
            store = None  # Qiniu's half reports it
        return WebServer(self._settings, Lineages(Path(self.config.config_dir)), self._partners,
                         store, self._tell)

    @property
    def _partners(self) -> list[Partner]:
        """The installers that take part; a rollback without flags finds those of all lineages."""
        if self._beside is None:
            from certbot_qiniu.targets.other_installer import Partner

            settings = self._settings
            chosen = {(settings.partner or "", settings.partner_options)}
            if self.config.verb == "rollback" and not settings.partner:
                chosen = {(lineage.partner, lineage.partner_options)
                          for lineage in self._deployer().store.memory.lineages.values()}
            self._beside = [Partner(name, options, self.config)
                            for name, options in sorted(chosen) if name]
        return self._beside

    def _tell(self, text: str) -> None:
        """Show a line; in a renewal, which a timer runs, only the log gets it."""
        if self._renewing:
            logger.info("%s", text)
        else:
            display.notify(text)

    def _deployer(self, *, read_only: bool = False) -> Deployer:
        """The deployer of this configuration; a checkpoint that a crash left is undone first.

        :raises errors.StateError: when the files cannot be read or are in use.
        """
        from certbot_qiniu.deployment.deployer import Deployer
        from certbot_qiniu.deployment.store import Store
        from certbot_qiniu.lineages import Lineages
        from certbot_qiniu.qiniu.account import Accounts

        if self._opened is None:
            folder = Path(self.config.config_dir)
            store = Store(folder / "qiniu", read_only=read_only)
            if not read_only:
                super().recovery_routine()
            store.open()
            if Installer._accounts is None:
                Installer._accounts = Accounts()
            self._opened = Deployer(store, Lineages(folder), Installer._accounts, self,
                                    Path(self.config.backup_dir), self._tell)
        return self._opened


def _declare_to_zope() -> None:
    """Say that we implement certbot's old zope interfaces, for programs that still ask for them."""
    try:
        from zope.interface import classImplements, directlyProvides

        classImplements(Installer, interfaces.IInstaller)
        directlyProvides(Installer, interfaces.IPluginFactory)
    except (ImportError, AttributeError):
        logger.debug("certbot has no zope interfaces any more")


_declare_to_zope()
