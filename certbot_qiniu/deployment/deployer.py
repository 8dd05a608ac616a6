"""Decide what a lineage's domains should serve, and see it done.

Between certbot's verbs (``installer``) and one account's reconciler (``reconcile``): which account
a lineage belongs to, which domains it takes, when the desired state changes, and when a renewal is
on hold. The same steps serve ``certbot renew`` and the command line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from certbot.configuration import NamespaceConfig

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.choose import choose_domains, remember_baselines
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.planning.selection import Selection
from certbot_qiniu.deployment.reconcile import Options, Outcome, reconcile
from certbot_qiniu.deployment.state import Managed, Record, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.failures import Failures
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.model import Binding, Certificate, covering_name
from certbot_qiniu.options import DEFAULT_SERVICES, Settings
from certbot_qiniu.qiniu.account import Accounts

logger = logging.getLogger(__name__)


class Checkpoints(Protocol):
    """certbot's reverter, as far as it is needed here."""

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        """Keep copies of files in the checkpoint in progress."""

    def finalize_checkpoint(self, title: str) -> None:
        """End the checkpoint in progress."""


@dataclass
class Deployer:
    """Works on the desired state of one certbot configuration.

    :ivar backups: certbot's folder of finalized checkpoints.
    :ivar say: shows a line to the user.
    """

    store: Store
    lineages: Lineages
    accounts: Accounts
    checkpoints: Checkpoints
    backups: Path
    say: Callable[[str], None]

    def context(self, credentials: str | None, services: Collection[str] = ()) -> Context:
        """What a reconcile of the account behind *credentials* works with.

        :param services: those that matter; by default the usual ones, and all that are in use.
        :raises errors.UsageError: when the credentials are bad.
        """
        services = services or {*DEFAULT_SERVICES.split(","), *self._services_in_use()}
        account = self.accounts.get(credentials, services)
        context = Context(self.store, self.lineages, account, self.backups, self.say)
        notes = account.notes
        memory = context.memory
        notes.listings, notes.told, notes.bind_methods, notes.clock = (
            memory.listings, memory.told, memory.bind_methods, context.clock)
        return context

    def _services_in_use(self, lineage: str = "") -> set[str]:
        """The services of the domains that a lineage manages or is to restore; "": any lineage."""
        wanted = {entry.service for entry in self.store.state.values()
                  if lineage in ("", entry.lineage)}
        return wanted | {record.service for record in self.store.memory.domains.values()
                         if record.baseline and lineage in ("", record.lineage)}

    def credentials_of(self, lineage: str, settings: Settings) -> str | None:
        """The lineage's credentials file: as this run was told, else as remembered."""
        return settings.credentials or self.store.memory.lineage(lineage).credentials

    def _remember(self, lineage: str, settings: Settings) -> None:
        memory = self.store.memory.lineage(lineage)
        memory.other_installer = settings.other_installer or ""
        memory.other_installer_options = settings.other_installer_options
        if settings.credentials:
            memory.credentials = str(Path(settings.credentials).expanduser().absolute())

    # Changing the desired state -----------------------------------------------------------------

    def deploy(self, certificate: Certificate, sans: Iterable[str], settings: Settings,
               redirect: bool | None, ask: Callable[[tuple[str, ...]], Iterable[str]]) -> State:
        """The desired state with *certificate* on all the domains it is for.

        :param sans: the SANs that the user asked to deploy.
        :param ask: which of these http-only domains to switch to HTTPS.
        :raises errors.QiniuError: when the domains cannot be chosen.
        """
        lineage = certificate.lineage
        self._remember(lineage, settings)
        context = self.context(settings.credentials, settings.services)
        ends = certificate.not_after.timestamp()
        if ends <= context.clock():
            raise errors.UsageError(wording.expired(lineage, ends))
        selection = choose_domains(context, set(sans), settings.domains, lineage, ends=ends,
                                   take_over=True)
        problems = [*wording.problems(selection), *_unread_services(context, settings)]
        if problems:
            raise errors.UsageError("; ".join(problems))
        chosen = {*selection.chosen, *ask(selection.http_only)}
        self._tell_left_out(selection, chosen)
        if not chosen:
            raise errors.UsageError(wording.nothing_matched(
                certificate.names, selection, context.account.domains(), lineage))
        unread = remember_baselines(context, sorted(chosen), lineage)
        if unread:
            raise next(iter(unread.values()))
        return self._with(chosen, certificate, settings, redirect)

    def converge(self, lineage: str, settings: Settings) -> list[str]:
        """Bring the desired state of a lineage to its newest certificate and today's domains.

        For the domains that it has already this needs no network, and happens in any case.

        :returns: what went wrong with the others.
        :raises errors.QiniuError: when the files here cannot be read or written.
        """
        certificate = self.lineages.current(lineage)
        memory = self.store.memory.lineage(lineage)
        self._forget_deleted_lineages()
        self._remember(lineage, settings)
        if memory.hold == certificate.fingerprint:
            logger.info("%s was rolled back: its newest certificate stays undeployed until a "
                        "renewal or certbot install", lineage)
            return []
        memory.hold = ""
        managed = {entry.name for entry in self.store.state.values() if entry.lineage == lineage}
        chosen = {name for name in managed if certificate.covers(name)}
        for name in sorted(managed - chosen):
            logger.warning("%s is no longer covered by the certificate %s; it keeps what it "
                           "serves and is no longer managed", name, lineage)
        for name in sorted(chosen):
            service = self.store.state[name].service
            if service not in settings.services:
                logger.warning("%s belongs to the service %s, which --qiniu-services leaves out; "
                               "it keeps what it serves and is no longer managed", name, service)
                chosen.remove(name)
        if settings.domains is not None:
            chosen &= set(settings.domains)
        try:
            new, problems = self._choose_new(certificate, settings, chosen)
            chosen |= new
        except (errors.ApiError, errors.UsageError) as error:
            problems = [str(error)]
        self.commit(self._with(chosen, certificate, settings, None),
                    f"Deployed renewed certificate {lineage}")
        return problems

    def _choose_new(self, certificate: Certificate, settings: Settings, chosen: set[str],
                    ) -> tuple[set[str], list[str]]:
        """The domains that *certificate* is to serve besides *chosen*, and what is wrong with some.

        :raises errors.QiniuError: when the account's lists cannot be had.
        """
        lineage, ends = certificate.lineage, certificate.not_after.timestamp()
        context = self.context(settings.credentials, settings.services)
        if ends <= context.clock():
            # Of those that it has already the planner tells.
            return set(), [] if chosen else [wording.expired(lineage, ends)]
        selection = choose_domains(context, certificate.names, settings.domains, lineage, ends=ends)
        unread = remember_baselines(context, selection.chosen, lineage)
        new = set(selection.chosen) - set(unread)
        problems = [*wording.problems(selection), *map(str, unread.values()),
                    *_unread_services(context, settings)]
        self._tell_left_out(selection, chosen | new)
        if chosen or new or problems:
            return new, problems
        text = wording.nothing_matched(certificate.names, selection, context.account.domains(),
                                       lineage)
        if not selection.is_all_foreign:
            return new, [text]
        logger.warning("%s", text)
        return new, []

    def redirect(self, state: State, lineage: str, san: str) -> State:
        """*state* with http redirected to https wherever *san* is served with *lineage*."""
        return _bound_as(state, lineage, san,
                         lambda binding: replace(binding, force_https=True))

    def hsts(self, state: State, lineage: str, san: str) -> State:
        """*state* with HSTS wherever *san* is served with *lineage*, a former refusal forgotten."""
        changed = _bound_as(state, lineage, san, lambda binding: replace(binding, hsts=True))
        for name, entry in changed.items():
            if entry != state[name] and entry.service != "cdn":
                self.say(f"{name}: Qiniu has HSTS for CDN domains alone; left without")
            if entry.binding.hsts and self.store.memory.domains.get(name, Record()).hsts:
                self.store.memory.update(name, hsts="")
        return changed

    def lift_hold(self, lineage: str) -> str:
        """End a rollback's hold on a lineage.

        :returns: the fingerprint that was held, "" without a hold.
        """
        memory = self.store.memory.lineage(lineage)
        held, memory.hold = memory.hold, ""
        return held

    def hold(self, lineage: str, fingerprint: str) -> None:
        """Keep a certificate of a lineage from being deployed again by itself."""
        self.store.memory.lineage(lineage).hold = fingerprint
        self.store.write_memory()

    def hold_rolled_back(self, before: State) -> None:
        """After a rollback from *before*: hold the lineages whose certificate it took back."""
        for lineage in {entry.lineage for entry in before.values()}:
            then, now = ({name: entry.binding.fingerprint for name, entry in state.items()
                          if entry.lineage == lineage} for state in (before, self.store.state))
            if then != now and self.lineages.exists(lineage):
                self.hold(lineage, self.lineages.current(lineage).fingerprint)

    def _with(self, chosen: Iterable[str], certificate: Certificate, settings: Settings,
              redirect: bool | None) -> State:
        """The desired state with *chosen*, and only them, on this certificate."""
        chosen, lineage, base = set(chosen), certificate.lineage, self.store.state
        state = {name: entry for name, entry in base.items()
                 if entry.lineage != lineage or name in chosen}
        for name in sorted(chosen):
            known = base.get(name)
            seen = self.store.memory.domains.get(name, Record()).seen
            if known is None and seen:
                self.store.memory.update(name, taken_from=seen.cert_id)
            force = known.binding.force_https if known and redirect is None else redirect
            service = self.store.memory.domains.get(name, Record()).service
            state[name] = Managed(name, service, lineage, Binding(
                "https", certificate.fingerprint, "", force, settings.http2,
                known.binding.hsts if known else None))
        return state

    def commit(self, desired: State, title: str) -> None:
        """Write the desired state, in a checkpoint of its own if it differs from what is written.

        :raises errors.StateError: when it cannot be written.
        :raises certbot.errors.Error: when the checkpoint cannot be made.
        """
        if self.write(desired):
            self.checkpoints.finalize_checkpoint(title)

    def write(self, desired: State) -> bool:
        """Write the desired state, with the old one in the checkpoint in progress.

        :returns: whether it differs from what was written.
        :raises errors.StateError: when it cannot be written.
        :raises certbot.errors.Error: when the old one cannot be kept.
        """
        store = self.store
        for name in set(store.state) - set(desired):
            # Given up on purpose: it keeps what it serves, and no rollback brings that up again.
            store.memory.update(name, lineage="", baseline=None, sent=None)
        for name, entry in desired.items():
            record, former = store.memory.domains.get(name, Record()), store.state.get(name)
            if record.lineage != entry.lineage:
                store.memory.update(name, lineage=entry.lineage)
            if (former and former.binding.force_https is None and record.seen
                    and entry.binding.force_https is not None):
                store.memory.update(name, former_force=record.seen.force_https)
        store.write_memory()
        if desired == store.state:
            return False
        changed = sorted(name for name in {*store.state, *desired}
                         if store.state.get(name) != desired.get(name))
        self.checkpoints.add_to_checkpoint({str(store.state_path)},
                                           f"Qiniu: {', '.join(changed)}\n")
        store.write_state(desired)
        return True

    def _forget_deleted_lineages(self) -> None:
        """A lineage that certbot deleted is no longer managed; its domains keep what they have."""
        state = self.store.state
        gone = {entry.lineage for entry in state.values()
                if not self.lineages.exists(entry.lineage)}
        for lineage in sorted(gone):
            names = ", ".join(sorted(name for name, entry in state.items()
                                     if entry.lineage == lineage))
            logger.warning("The certificate %s was deleted from certbot: %s no longer gets "
                           "renewed certificates and keeps what it serves now", lineage, names)
        if gone:
            self.commit({name: entry for name, entry in state.items()
                         if entry.lineage not in gone},
                        f"Stopped managing {', '.join(sorted(gone))}")

    def _tell_left_out(self, selection: Selection, chosen: set[str]) -> None:
        for line in wording.left_out(selection, chosen):
            self.say(line)

    # Making it so -------------------------------------------------------------------------------

    def settle(self, lineage: str, settings: Settings, options: Options) -> Outcome:
        """Reconcile the domains of one lineage.

        :raises errors.QiniuError: when not even a beginning can be made.
        """
        context = self.context(self.credentials_of(lineage, settings),
                           {*settings.services, *self._services_in_use(lineage)})
        return reconcile(context, [lineage], options)

    def settle_all(self, settings: Settings, options: Options) -> Outcome:
        """Reconcile every lineage that has anything at Qiniu; one that fails stops no other."""
        whole = Outcome()
        for lineage in self.all_lineages():
            failures = Failures()
            if outcome := failures.attempt(self.settle, lineage, settings, options):
                whole.problems += outcome.problems
                whole.pending += outcome.pending
                whole.changed += outcome.changed
            elif failures:
                whole.problems.append(str(failures))
        return whole

    def check_accounts(self, settings: Settings) -> None:
        """See that all accounts with anything in them can be used, before a rollback.

        :raises errors.QiniuError: when one cannot.
        """
        for lineage in self.all_lineages():
            self.context(self.credentials_of(lineage, settings)).account.domains()

    def fingerprints(self, lineage: str) -> set[tuple[str, str]]:
        """(lineage, fingerprint) of all that the desired state has for a lineage."""
        return {(lineage, entry.binding.fingerprint) for entry in self.store.state.values()
                if entry.lineage == lineage}

    def all_lineages(self) -> list[str]:
        """The lineages that have anything at Qiniu: in the desired state, or to be restored."""
        return sorted({entry.lineage for entry in self.store.state.values()}
                      | {record.lineage for record in self.store.memory.domains.values()
                         if record.baseline})


def _bound_as(state: State, lineage: str, san: str,
              change: Callable[[Binding], Binding]) -> State:
    """*state* with the bindings changed of what *san* covers and *lineage* serves."""
    return {name: replace(entry, binding=change(entry.binding))
            if entry.lineage == lineage and covering_name([san.lower()], name) else entry
            for name, entry in state.items()}


def _unread_services(context: Context, settings: Settings) -> list[str]:
    """Why services that the user himself has chosen cannot be listed; the default is a try."""
    if settings.services == tuple(DEFAULT_SERVICES.split(",")):
        return []
    return [str(error) for name, error in context.account.domains_and_failures()[1].items()
            if name in settings.services]


class NoCheckpoints:
    """In place of certbot's reverter: what is not written needs no checkpoint."""

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        """Keep nothing."""

    def finalize_checkpoint(self, title: str) -> None:
        """End nothing."""


def open_deployer(config: NamespaceConfig, say: Callable[[str], None], *,
                  accounts: Accounts | None = None, checkpoints: Checkpoints | None = None,
                  read_only: bool = False) -> Deployer:
    """A deployer on a configuration of certbot's, with its files open.

    :param accounts: those of the process, where there are any.
    :param checkpoints: certbot's; None where nothing is written that needs one.
    :param read_only: what would be written stays in memory.
    :raises errors.StateError: when the files cannot be read, or are in use.
    """
    folder = Path(config.config_dir)
    store = Store(folder / "qiniu", read_only=read_only)
    store.open()
    return Deployer(store, Lineages(folder), accounts or Accounts(),
                    checkpoints or NoCheckpoints(), Path(config.backup_dir), say)
