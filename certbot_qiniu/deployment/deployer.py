"""Decide what a lineage's domains should serve, and have it done.

This stands between certbot's verbs (``installer``) and one account's reconciler (``reconcile``). It
decides which account a lineage belongs to, which domains it takes, when the desired state changes,
and when a hold is obeyed. The same steps serve ``certbot renew`` and the command line.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from certbot.configuration import NamespaceConfig

from certbot_qiniu import errors
from certbot_qiniu.deployment import holds, wording
from certbot_qiniu.deployment.certificates import validity_of
from certbot_qiniu.deployment.checkpoints import Checkpoints, NoCheckpoints
from certbot_qiniu.deployment.choose import (
    choose_domains,
    remember_baselines,
    unread_services,
    why_let_go,
)
from certbot_qiniu.deployment.context import Context, Options
from certbot_qiniu.deployment.deleted import forget_deleted
from certbot_qiniu.deployment.gathering import Planner
from certbot_qiniu.deployment.missing import check_list, forget
from certbot_qiniu.deployment.observe import observe
from certbot_qiniu.deployment.planning.decision import Action
from certbot_qiniu.deployment.planning.selection import Obstacle, Selection
from certbot_qiniu.deployment.reconcile import Outcome, reconcile
from certbot_qiniu.deployment.rehearsal import what_fails
from certbot_qiniu.deployment.state import FORMER, Managed, Record, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.waiting import Waiting
from certbot_qiniu.deployment.writing import Changes, Writer, changed, changes_between
from certbot_qiniu.failures import Failures
from certbot_qiniu.lineages import Lineages, reconfigure_command
from certbot_qiniu.model import DEAD_STATES, Binding, Certificate, covering_name
from certbot_qiniu.options import DEFAULT_SERVICES, Settings
from certbot_qiniu.qiniu.account import Accounts

logger = logging.getLogger(__name__)


@dataclass
class Deployer:
    """Works on the desired state of one certbot configuration.

    :ivar say: shows a line to the user: what was changed.
    :ivar note: likewise what stays as it is, which a renewal does not show each time.
    :ivar waiting: shared by the whole process.
    """

    writer: Writer
    lineages: Lineages
    accounts: Accounts
    say: Callable[[str], None]
    note: Callable[[str], None] = logger.info
    waiting: Waiting = field(default_factory=Waiting)

    @property
    def store(self) -> Store:
        """Our files."""
        return self.writer.store

    def context(self, credentials: str | None, services: Collection[str] = ()) -> Context:
        """Make the context of a reconcile of the account behind *credentials*.

        :param services: the services that matter; by default the usual ones, and all in use.
        :raises errors.UsageError: if the credentials are bad.
        """
        services = services or {*DEFAULT_SERVICES.split(","), *self._services_in_use()}
        account = self.accounts.get(credentials, services)
        context = Context(self.store, self.lineages, account, self.say, waiting=self.waiting)
        notes = account.notes
        memory = context.memory
        notes.listings, notes.told, notes.bind_methods, notes.clock = (
            memory.listings, memory.told, memory.bind_methods, context.clock)
        return context

    def _services_in_use(self, lineage: str = "") -> set[str]:
        """List the services of the domains that a lineage, or any, manages or is to restore."""
        store, memory = self.store, self.store.memory
        wanted = (store.managed(lineage) if lineage else store.state).values()
        records = (memory.domains_of(lineage) if lineage else memory.domains).values()
        return {entry.service for entry in wanted} | {
            record.service for record in records if record.is_ours}

    def credentials_of(self, lineage: str, settings: Settings) -> str | None:
        """Return the lineage's credentials file: from this run's options, else the remembered one.

        :raises errors.UsageError: if a conf names it without its folder; on the command line it is
            made absolute.
        """
        path = settings.credentials
        if path and not os.path.isabs(os.path.expanduser(path)):
            command = reconfigure_command(lineage, f"/PATH/TO/{path}")
            raise errors.UsageError(
                f"The renewal conf of {lineage} says qiniu_credentials = {path}, which is another "
                f"file wherever certbot is run. Name all of its path: {command}")
        return path or self.store.memory.lineage(lineage).credentials

    def _remember(self, lineage: str, settings: Settings) -> None:
        credentials = self.credentials_of(lineage, settings)
        memory = self.store.memory.lineage(lineage)
        memory.other_installer = settings.other_installer or ""
        memory.other_installer_options = settings.other_installer_options
        memory.options = settings.words
        if settings.credentials and credentials:
            memory.credentials = os.path.expanduser(credentials)

    # Changing the desired state -----------------------------------------------------------------

    def deploy(self, certificate: Certificate, settings: Settings, redirect: bool | None,
               ask: Callable[[tuple[str, ...]], Iterable[str]]) -> State:
        """Return the desired state with *certificate* on all domains that it is for.

        :param ask: asks which of these http-only domains to switch to HTTPS.
        :raises errors.QiniuError: if the domains cannot be chosen.
        """
        lineage = certificate.lineage
        self.store.check(lineage)
        self.check_list(lineage, settings)
        self._remember(lineage, settings)
        context = self.context(settings.credentials, settings.services)
        ends = certificate.not_after.timestamp()
        if ends <= context.clock():
            raise errors.UsageError(wording.expired(lineage, ends))
        selection = choose_domains(context, certificate.names, settings.domains, lineage,
                                   ends=ends, take_over=True, excluded=settings.excluded)
        problems = [*wording.problems(selection), *unread_services(context, settings)]
        if problems:
            raise errors.UsageError("; ".join(problems))
        chosen = {*selection.chosen, *ask(selection.http_only)}
        self._tell_left_out(selection, chosen, lineage)
        if not chosen:
            raise errors.UsageError(wording.nothing_matched(
                certificate.names, selection, context.account.domains(), lineage))
        unread = remember_baselines(context, sorted(chosen), lineage)
        if unread:
            raise next(iter(unread.values()))
        for name in sorted(chosen):
            if settings.tls_versions and self.store.memory.domains[name].service != "cdn":
                self.say(wording.without_tls_versions(name))
        if settings.domains is None:
            # A missing domain is not let go: reconciling finds that it is gone, and reports it. A
            # frozen or offline one may be in service again tomorrow.
            there = context.account.domains()
            chosen |= {name for name, entry in self.store.managed(lineage).items()
                       if not why_let_go(entry, certificate.names, settings)
                       and (name not in there or there[name].state in DEAD_STATES)}
        for name in sorted({*self.store.managed(lineage)} - chosen):
            self.say(wording.let_go(name, why_let_go(
                self.store.state[name], certificate.names, settings)))
        return self._with(chosen, certificate, settings, redirect)

    def converge(self, lineage: str, settings: Settings, *, look_for_new: bool = True,
                 ) -> Failures:
        """Bring the desired state of a lineage to its newest certificate and today's domains.

        For the domains that it already has this needs no network, and is always done.

        :param look_for_new: whether new ones are looked for in the account's lists.
        :returns: what went wrong with the others.
        :raises errors.QiniuError: if the files here cannot be read or written.
        """
        self.store.check(lineage)
        certificate, failures = self.lineages.current(lineage), Failures()
        forget_deleted(self.writer, self.lineages, self.say)
        memory = self.store.memory.lineage(lineage)
        is_held = memory.hold == certificate.fingerprint
        if not is_held:
            self.check_list(lineage, settings)
        self._remember(lineage, settings)
        try:
            self.check_newest(certificate, settings)
        except errors.QiniuError as error:
            failures.errors.append(error)
            return failures
        if is_held:
            ends, problems = self._under_hold(certificate, settings, look_for_new=look_for_new)
            failures.errors += problems
            if not ends:
                return failures
            self.check_list(lineage, settings)
        if not (is_held and memory.given_back):
            memory.hold = ""
        chosen = set(self.store.managed(lineage))
        for name in sorted(chosen):
            if why := why_let_go(self.store.state[name], certificate.names, settings):
                logger.warning("%s", wording.let_go(name, why))
                chosen.remove(name)
        try:
            # Domains that the rollback gave back stay so until there is a newer certificate.
            if look_for_new and not memory.hold:
                new, problems = self._choose_new(certificate, settings, chosen)
                chosen |= new
                failures.errors += problems
        except (errors.ApiError, errors.UsageError) as error:
            failures.errors.append(error)
        changes = self._changes(chosen, certificate, settings, None)
        self._read_what_changes(changes, settings)
        self.writer.commit(changes, f"Deployed renewed certificate {lineage}")
        return failures

    def check_newest(self, certificate: Certificate, settings: Settings) -> None:
        """Refuse a certificate in place of a better one: as if an old backup of it was put back.

        :raises errors.QiniuError: if its domains have one that was issued later and ends later; or
            if that cannot be known of one that certbot has lost.
        """
        lineage, ends = certificate.lineage, certificate.not_after.timestamp()
        uploads = self.store.memory.uploads_by(lineage).values()
        others = self.store.fingerprints(lineage) - {certificate.fingerprint}
        for fingerprint in sorted(others & {upload.fingerprint for upload in uploads}):
            if own := self.lineages.find(lineage, fingerprint):
                begin, end = own.not_before.timestamp(), own.not_after.timestamp()
            else:
                end, lifetime = validity_of(
                    self._own_context(lineage, settings), lineage, fingerprint)
                begin = end - lifetime
            if end > ends and begin > certificate.not_before.timestamp():
                raise errors.DeployError(wording.older(lineage, ends, end), has_outlook=True)

    def stays_held(self, lineage: str, settings: Settings, *, is_told: bool) -> bool:
        """Return whether a run that issues nothing would leave a rollback's hold as it is.

        :param is_told: see :func:`~certbot_qiniu.deployment.rehearsal.what_fails`.
        :raises errors.DeployError: if that run would fail because of what is served under the hold.
        """
        newest, memory = self.lineages.current(lineage), self.store.memory.lineage(lineage)
        if memory.hold != newest.fingerprint:
            return False
        ends, problems = self._under_hold(newest, settings)
        if problems:
            raise errors.DeployError("; ".join(map(str, problems)))
        if ends:
            return False
        context = self._own_context(lineage, settings)
        planner = Planner(context, [lineage], Options(listed=settings.domains or ()))

        def planned(refresh: bool) -> tuple[list[Action], dict[str, errors.QiniuError]]:
            found = planner.plan(refresh=refresh)
            return found.actions, {**found.domain_failures, **found.certificate_failures}

        if failing := what_fails(context, planned, is_told=is_told)[1]:
            raise errors.DeployError("; ".join(failing))
        return True

    def _under_hold(self, newest: Certificate, settings: Settings, *, look_for_new: bool = True,
                    ) -> tuple[bool, list[errors.QiniuError]]:
        """Judge what a lineage's domains serve under a rollback's hold.

        :returns: whether the hold ends now, and what is wrong with it, or with the options.
        """
        try:
            context = self.context(self.credentials_of(newest.lineage, settings),
                                   settings.services)
            return holds.look(context, newest, settings, look_for_new=look_for_new)
        except errors.QiniuError as error:
            return False, [error]

    def _choose_new(self, certificate: Certificate, settings: Settings, chosen: set[str],
                    ) -> tuple[set[str], list[errors.QiniuError]]:
        """Find the domains that *certificate* is to serve in addition to *chosen*, and problems.

        :raises errors.QiniuError: if the account's lists cannot be read.
        """
        lineage, ends = certificate.lineage, certificate.not_after.timestamp()
        context = self.context(self.credentials_of(lineage, settings), settings.services)
        if ends <= context.clock():
            # The planner reports those that it already has.
            return set(), [] if chosen else [
                errors.DeployError(wording.expired(lineage, ends), has_outlook=True)]
        selection = choose_domains(context, certificate.names, settings.domains, lineage, ends=ends,
                                   excluded=settings.excluded)
        unread = remember_baselines(context, selection.chosen, lineage)
        new = set(selection.chosen) - set(unread)
        problems: list[errors.QiniuError] = [
            *map(errors.UsageError, wording.problems(selection)), *unread.values(),
            *map(errors.UsageError, unread_services(context, settings))]
        self._tell_left_out(selection, chosen | new, lineage)
        if chosen or new or problems:
            return new, problems
        text = wording.nothing_matched(certificate.names, selection, context.account.domains(),
                                       lineage)
        if not selection.is_left_on_purpose:
            return new, [errors.UsageError(text)]
        logger.warning("%s", text)
        return new, []

    def redirect(self, state: State, lineage: str, san: str) -> State:
        """Return *state* with http redirected to https wherever *san* is served with *lineage*."""
        return _bound_as(state, lineage, san,
                         lambda binding: replace(binding, force_https=True))

    def hsts(self, state: State, lineage: str, san: str) -> State:
        """Return *state* with HSTS wherever *lineage* serves *san*; forget a former refusal."""
        changed = _bound_as(state, lineage, san, lambda binding: replace(binding, hsts=True))
        for name, entry in changed.items():
            if entry != state[name] and entry.service != "cdn":
                self.say(f"{name}: Qiniu has HSTS for CDN domains only; left without")
            record = self.store.memory.domains.get(name, Record())
            if entry.binding.hsts and record.hsts == "refused":
                self.store.memory.update(name, hsts="")
        return changed

    def _with(self, chosen: Iterable[str], certificate: Certificate, settings: Settings,
              redirect: bool | None) -> State:
        """Return the desired state with *chosen*, and only them, on this certificate."""
        return changed(self.store.state, self._changes(chosen, certificate, settings, redirect))

    def _changes(self, chosen: Iterable[str], certificate: Certificate, settings: Settings,
                 redirect: bool | None) -> Changes:
        """Return the changes for :meth:`_with`; None stands for a domain that is let go."""
        lineage = certificate.lineage
        changes: dict[str, Managed | None] = dict.fromkeys(self.store.managed(lineage))
        for name in sorted(set(chosen)):
            known = self.store.state.get(name)
            seen = self.store.memory.domains.get(name, Record()).seen
            if known is None and seen:
                self.store.memory.update(name, taken_from=seen.cert_id)
            # A domain that comes back gets its former settings.
            former = known.binding if known else self.store.memory.gone_of(lineage).get(name)
            force = former.force_https if former and redirect is None else redirect
            service = self.store.memory.domains.get(name, Record()).service
            changes[name] = Managed(name, service, lineage, Binding(
                "https", certificate.fingerprint, "", force, settings.http2,
                former.hsts if former else None,
                settings.tls_versions if service == "cdn" else None,
                former.unknown if former else {}))
        return changes

    def write(self, desired: State, settings: Settings) -> bool:
        """Write the desired state, with what was there before in the checkpoint in progress.

        :returns: whether it differs from the written one.
        :raises errors.StateError: if it cannot be written.
        :raises certbot.errors.Error: if what was there before cannot be kept.
        """
        changes = changes_between(self.store.state, desired)
        self._read_what_changes(changes, settings)
        return self.writer.write(changes)

    def _read_what_changes(self, changes: Changes, settings: Settings) -> None:
        """Read domains of which a setting is asked for now: a rollback goes back to what it was.

        What somebody has just changed no run has seen yet. If it cannot be read, what was last
        seen has to do.
        """
        names: dict[str, list[str]] = {}
        for name, entry in changes.items():
            former = self.store.state.get(name)
            if entry and former and entry.service == "cdn" and any(
                    getattr(former.binding, setting) is None
                    and getattr(entry.binding, setting) is not None for setting in FORMER):
                names.setdefault(entry.lineage, []).append(name)
        for lineage, asked in names.items():
            with contextlib.suppress(errors.QiniuError):
                credentials = self.credentials_of(lineage, settings)
                observe(self.context(credentials, {"cdn"}), asked, refresh=False)

    def _tell_left_out(self, selection: Selection, chosen: set[str], lineage: str) -> None:
        # More is said elsewhere about those that are let go.
        selection = selection.without({found.name for found in selection.left_out if (
            found.obstacle is Obstacle.EXCLUDED and found.name in self.store.managed(lineage))})
        for line in wording.left_out(selection, chosen):
            self.note(line)

    # What is missing ----------------------------------------------------------------------------

    def check_list(self, lineage: str, settings: Settings) -> None:
        """Refuse to believe an account that has no domain of ours at all.

        An account that cannot be asked is reported by the code that brings the domains up to date.

        :raises errors.ListInDoubt: if it has none of the domains that we manage there.
        """
        with contextlib.suppress(errors.ApiError, errors.UsageError):
            context = self._own_context(lineage, settings)
            check_list(context, lineage, self.credentials_of(lineage, settings) or "",
                       listed=settings.domains or (),
                       others_are_there=lambda: self._has_others(context, lineage))

    def _has_others(self, context: Context, lineage: str) -> bool:
        """Return whether the account has a domain that another lineage manages there.

        What was last seen in another account than this lineage's own proves nothing of that.
        """
        account, store = context.account.client.account, self.store
        own = store.memory.lineage(lineage).account
        for other in sorted({entry.lineage for entry in store.state.values()} - {lineage}):
            if len({own, store.memory.lineage(other).account} - {""}) > 1:
                continue
            with contextlib.suppress(errors.ApiError, errors.UsageError):
                theirs = self.context(store.memory.lineage(other).credentials).account
                if theirs.client.account == account and (
                        theirs.domains().keys() & store.managed(other)):
                    return True
        return False

    def forget(self, lineage: str, settings: Settings) -> list[str]:
        """Stop managing the missing domains of a lineage; keep what is known of them.

        :returns: their names.
        :raises errors.QiniuError: if it is unknown which are missing.
        """
        self.store.check(lineage)
        return forget(self._own_context(lineage, settings), lineage)

    def _own_context(self, lineage: str, settings: Settings) -> Context:
        """Make the context of a reconcile of one lineage.

        :raises errors.UsageError: if the credentials are bad.
        """
        return self.context(self.credentials_of(lineage, settings),
                            {*settings.services, *self._services_in_use(lineage)})

    # Making it so -------------------------------------------------------------------------------

    def settle(self, lineage: str, settings: Settings, options: Options) -> Outcome:
        """Reconcile the domains of one lineage.

        :raises errors.QiniuError: if it cannot even begin.
        """
        self.store.check(lineage)
        self.check_list(lineage, settings)
        return reconcile(self._own_context(lineage, settings), [lineage], options)

    def settle_all(self, settings: Settings, options: Options) -> Outcome:
        """Reconcile every lineage that has anything at Qiniu; one that fails stops no other."""
        whole, failures = Outcome(), Failures()
        for lineage in self.all_lineages():
            if outcome := failures.attempt(self.settle, lineage, settings, options):
                whole.problems += outcome.problems
                whole.pending += outcome.pending
                whole.changed += outcome.changed
                whole.unserved += outcome.unserved
                whole.has_outlook |= outcome.has_outlook
        if failures:
            whole.problems.append(str(failures))
        return whole

    def fingerprints(self, lineage: str) -> set[tuple[str, str]]:
        """Return (lineage, fingerprint) of all certificates in the desired state of a lineage."""
        return {(lineage, fingerprint) for fingerprint in self.store.fingerprints(lineage)}

    def all_lineages(self) -> list[str]:
        """List the lineages that have anything at Qiniu: desired, or to be restored."""
        return sorted({entry.lineage for entry in self.store.state.values()}
                      | {record.lineage for record in self.store.memory.domains.values()
                         if record.is_ours} | set(self.store.damaged))

    def known_lineages(self) -> set[str]:
        """Return the lineages that have, or had, anything at Qiniu."""
        return {*self.all_lineages(), *(name for name, memory in self.store.memory.lineages.items()
                                        if memory.credentials)}


def _bound_as(state: State, lineage: str, san: str,
              change: Callable[[Binding], Binding]) -> State:
    """Return *state* with other bindings of the domains that *san* covers and *lineage* serves."""
    return {name: replace(entry, binding=change(entry.binding))
            if entry.lineage == lineage and covering_name([san.lower()], name) else entry
            for name, entry in state.items()}


def open_deployer(config: NamespaceConfig, say: Callable[[str], None], *,
                  note: Callable[[str], None] = logger.info, accounts: Accounts | None = None,
                  waiting: Waiting | None = None, checkpoints: Checkpoints | None = None,
                  read_only: bool = False, stores: dict[Path, Store] | None = None) -> Deployer:
    """Return a deployer on a certbot configuration, with its files open.

    :param note: shows a line that a renewal does not show each time.
    :param accounts: the process's, if there are any.
    :param stores: the process's open files, if there are any, by their folder.
    :param waiting: the process's.
    :param checkpoints: certbot's reverter; None if nothing is written that needs it.
    :param read_only: changes stay in memory.
    :raises errors.StateError: if the files cannot be read, or are in use.
    """
    folder = Path(config.config_dir)
    stores = {} if stores is None else stores
    store = stores.get(folder) or Store(folder / "qiniu", read_only=read_only)
    writer = Writer(store, checkpoints or NoCheckpoints(), Path(config.backup_dir))
    deployer = Deployer(writer, Lineages(folder), accounts or Accounts(folder), say, note,
                        waiting or Waiting())
    if folder not in stores:
        store.open()
        writer.recall()
        holds.finish(store, deployer.lineages)  # of a rollback that was killed
        stores[folder] = store
    return deployer
