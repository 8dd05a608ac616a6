"""Decide what a lineage's domains should serve, and have it done.

This stands between certbot's verbs (``installer``) and one account's reconciler (``reconcile``). It
decides which account a lineage belongs to, which domains it takes, when the desired state changes,
and when a hold is obeyed. The same steps serve ``certbot renew`` and the command line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from certbot.configuration import NamespaceConfig

from certbot_qiniu import errors
from certbot_qiniu.deployment import holds, wording
from certbot_qiniu.deployment.checkpoints import (
    Checkpoints,
    NoCheckpoints,
    former_fingerprints,
    prune,
)
from certbot_qiniu.deployment.choose import (
    choose_domains,
    remember_baselines,
    unread_services,
    why_let_go,
)
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.missing import check_list, forget
from certbot_qiniu.deployment.planning.bindings import is_refusal_of_tls
from certbot_qiniu.deployment.planning.decision import Action
from certbot_qiniu.deployment.planning.selection import Obstacle, Selection
from certbot_qiniu.deployment.planning.supersession import KEPT_CHECKPOINTS, prunable
from certbot_qiniu.deployment.reconcile import Options, Outcome, observe_and_plan, reconcile
from certbot_qiniu.deployment.rehearsal import what_fails
from certbot_qiniu.deployment.state import Managed, Record, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.waiting import Waiting
from certbot_qiniu.failures import Failures
from certbot_qiniu.lineages import Lineages, reconfigure_command
from certbot_qiniu.model import DEAD_STATES, Binding, Certificate, covering_name
from certbot_qiniu.options import DEFAULT_SERVICES, Settings
from certbot_qiniu.qiniu.account import Accounts

logger = logging.getLogger(__name__)

Changes = dict[str, Managed | None]


@dataclass
class Deployer:
    """Works on the desired state of one certbot configuration.

    :ivar backups: certbot's folder of finalized checkpoints.
    :ivar say: shows the user a line about a change.
    :ivar note: shows a line about what stays the same; a renewal does not show it each time.
    :ivar waiting: shared by the whole process.
    :ivar _must_stay: the lineages that the checkpoint in progress is for, and whether it must.
    """

    store: Store
    lineages: Lineages
    accounts: Accounts
    checkpoints: Checkpoints
    backups: Path
    say: Callable[[str], None]
    note: Callable[[str], None] = logger.info
    waiting: Waiting = field(default_factory=Waiting)
    _must_stay: dict[str, bool] = field(default_factory=dict)

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
        self._forget_deleted_lineages()
        memory = self.store.memory.lineage(lineage)
        is_held = memory.hold == certificate.fingerprint
        if not is_held:
            self.check_list(lineage, settings)
        self._remember(lineage, settings)
        if is_held:
            ends, failures.errors = self._under_hold(certificate, settings,
                                                     look_for_new=look_for_new)
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
        self._commit(self._changes(chosen, certificate, settings, None),
                     f"Deployed renewed certificate {lineage}")
        return failures

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

        def planned(refresh: bool) -> tuple[list[Action], dict[str, errors.QiniuError]]:
            found = observe_and_plan(context, [lineage], Options(listed=settings.domains or ()),
                                     refresh=refresh)
            return found.actions, {**found.domain_failures, **found.certificate_failures}

        if failing := what_fails(context, planned, is_told=is_told)[1]:
            raise errors.DeployError("; ".join(failing))
        return True

    def _under_hold(self, newest: Certificate, settings: Settings, *, look_for_new: bool = True,
                    ) -> tuple[bool, list[Exception]]:
        """Judge what a lineage's domains serve under a rollback's hold.

        :returns: whether the hold ends now, and what is wrong with it, or with the options.
        """
        lineage, others, problems = newest.lineage, set[str](), list[Exception]()
        try:
            context = self.context(self.credentials_of(lineage, settings), settings.services)
            with contextlib.suppress(errors.ApiError):  # the judgement reports that
                if look_for_new:
                    others, wrong = self._others_under_hold(context, newest, settings)
                    problems += map(errors.UsageError, wrong)
            ends, found = holds.judge(context, newest, others)
        except errors.QiniuError as error:
            return False, [error]
        return ends, [*(errors.DeployError(text, has_outlook=True) for text in found), *problems]

    def _others_under_hold(self, context: Context, newest: Certificate, settings: Settings,
                           ) -> tuple[set[str], list[str]]:
        """List the domains to which *newest* would be deployed for the first time without the hold.

        :returns: these, and why it could not be deployed to others.
        :raises errors.ApiError: if the account's lists cannot be read.
        """
        selection = choose_domains(context, newest.names, settings.domains, newest.lineage,
                                   ends=newest.not_after.timestamp(), excluded=settings.excluded)
        given_back = self.store.memory.lineage(newest.lineage).given_back
        theirs = {found.name for found in selection.problems
                  if found.obstacle is Obstacle.OTHER_INSTALLATION}
        # It is no problem who has a domain that was given up, but one if it can never be served.
        wrong = replace(selection, problems=tuple(
            found for found in selection.problems if found.name not in given_back
            and found.obstacle in (Obstacle.NOT_FOUND, Obstacle.NOT_COVERED, Obstacle.UNREADABLE)))
        return {*selection.chosen, *theirs}, [
            *wording.problems(wrong), *unread_services(context, settings)]

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
            if entry.binding.hsts and self.store.memory.domains.get(name, Record()).hsts:
                self.store.memory.update(name, hsts="")
        return changed

    def _with(self, chosen: Iterable[str], certificate: Certificate, settings: Settings,
              redirect: bool | None) -> State:
        """Return the desired state with *chosen*, and only them, on this certificate."""
        return _changed(self.store.state, self._changes(chosen, certificate, settings, redirect))

    def _changes(self, chosen: Iterable[str], certificate: Certificate, settings: Settings,
                 redirect: bool | None) -> Changes:
        """Return the changes for :meth:`_with`; None stands for a domain that is let go."""
        lineage = certificate.lineage
        changes: Changes = dict.fromkeys(self.store.managed(lineage))
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

    def commit(self, desired: State, title: str) -> None:
        """Write the desired state, in a checkpoint of its own if it differs from the written one.

        :raises errors.StateError: if it cannot be written.
        :raises certbot.errors.Error: if the checkpoint cannot be made.
        """
        self._commit(_changes_between(self.store.state, desired), title)

    def _commit(self, changes: Changes, title: str) -> None:
        if self._write(changes):
            self.checkpoints.finalize_checkpoint(title)

    def write(self, desired: State) -> bool:
        """Write the desired state, with the old one in the checkpoint in progress.

        :returns: whether it differs from the written one.
        :raises errors.StateError: if it cannot be written.
        :raises certbot.errors.Error: if the old one cannot be kept.
        """
        return self._write(_changes_between(self.store.state, desired))

    def _write(self, changes: Changes) -> bool:
        store = self.store
        for name, entry in changes.items():
            record, former = store.memory.domains.get(name, Record()), store.state.get(name)
            if entry is None:
                # On purpose: it keeps what it serves, and we keep its baseline.
                store.memory.update(name, let_go=time.time(), sent=None)
                continue
            if (record.lineage, record.let_go, record.gone) != (entry.lineage, 0, None):
                store.memory.update(name, lineage=entry.lineage, let_go=0.0, gone=None)
            if (former and former.binding.force_https is None and record.seen
                    and entry.binding.force_https is not None):
                store.memory.update(name, former_force=record.seen.force_https)
            if former and former.binding.tls_versions != entry.binding.tls_versions:
                self._note_tls_option(name, former.binding, entry.binding)
        changes = {name: entry for name, entry in changes.items() if entry != store.state.get(name)}
        lineages = store.concerned(changes)
        for lineage in lineages:
            store.check(lineage)
            entries = _changed(store.managed(lineage), changes)
            store.memory.lineage(lineage).supersede(store.fingerprints(lineage), {
                entry.binding.fingerprint for entry in entries.values()
                if entry.lineage == lineage})
        store.write_memory()  # before the state: after a crash it must lead back to the baselines
        if not changes:
            return False
        # Both files of a domain that moves are in it before either is written.
        self.checkpoints.add_to_checkpoint(store.to_keep(lineages),
                                           f"Qiniu: {', '.join(sorted(changes))}\n")
        is_kept = any(_is_kept(store.state.get(name), entry) for name, entry in changes.items())
        for lineage in lineages:
            self._must_stay[lineage] = is_kept or self._must_stay.get(lineage, False)
        store.apply(changes)
        return True

    def _note_tls_option(self, name: str, former: Binding, wanted: Binding) -> None:
        """Note that other TLS versions are asked for: forget which ones were sent or refused.

        ``keep`` leaves the present ones, so only a rollback goes back to the former ones.
        """
        memory = self.store.memory
        record = memory.domains.get(name, Record())
        if wanted.tls_versions is None:
            former_tls = None
        elif former.tls_versions is None and record.seen:
            former_tls = record.seen.tls_versions
        else:
            former_tls = record.former_tls
        confirmed = record.confirmed and replace(
            record.confirmed, binding=replace(record.confirmed.binding, tls_versions=None))
        memory.update(name, former_tls=former_tls, confirmed=confirmed)
        for subject in [one for one in memory.told if is_refusal_of_tls(one)]:
            del memory.told[subject]

    def remember_checkpoint(self, name: str, *, may_prune: bool) -> None:
        """Note that certbot has ended the checkpoint in progress, and its name.

        :param may_prune: whether older ones of the same lineages may go: then certbot is running,
            and nothing else reads or writes its checkpoints.
        """
        for lineage, is_kept in self._must_stay.items():
            memory = self.store.memory.lineage(lineage)
            names = {**memory.checkpoints, name: is_kept}
            gone = prunable(names, time.time()) if may_prune else []
            last = sorted(names, key=float)[-KEPT_CHECKPOINTS:]
            memory.checkpoints = {one: kept for one, kept in names.items()
                                  if one not in gone and (one in last or not kept)}
            prune(self.backups, gone, self.store.folder)
        self.forget_checkpoint()

    def forget_checkpoint(self) -> None:
        """Note that certbot has undone the checkpoint in progress."""
        self._must_stay = {}

    def recall(self) -> None:
        """Search certbot's checkpoints for the older states that a lost memory no longer has.

        That takes long, and happens once: after the memory was moved away, or if it is still that
        of version 1.
        """
        memory, store = self.store.memory, self.store
        lost = {lineage: store.fingerprints(lineage)
                for lineage in {entry.lineage for entry in store.state.values()}
                if memory.lineage(lineage).former is None}
        if lost:
            for lineage, former in former_fingerprints(self.backups, store.folder, lost).items():
                memory.lineage(lineage).former = former

    def _forget_deleted_lineages(self) -> None:
        """Stop managing a lineage that certbot deleted; its domains keep what they have.

        If just its conf was renamed, they go on under the new name.
        """
        store = self.store
        if store.is_swept:
            return
        memories = store.memory.lineages
        gone = sorted(lineage for lineage in {
            *(entry.lineage for entry in store.state.values()),
            *(name for name, memory in memories.items() if memory.hold)}
            if not self.lineages.exists(lineage))
        for lineage in gone:
            if new := self.lineages.having(
                    {*store.fingerprints(lineage), store.memory.lineage(lineage).hold}):
                self.say(wording.renamed(lineage, new))
                store.memory.rename(lineage, new)
                self._commit({name: replace(entry, lineage=new)
                              for name, entry in store.managed(lineage).items()},
                             f"Renamed {lineage} to {new}")
            store.memory.lineage(lineage).hold = ""
        gone = [lineage for lineage in gone if store.managed(lineage)]
        for lineage in gone:
            names = ", ".join(sorted(store.managed(lineage)))
            logger.warning("The certificate %s was deleted from certbot: %s no longer gets "
                           "renewed certificates and keeps what it serves now", lineage, names)
        if gone:
            self._commit({name: None for lineage in gone for name in store.managed(lineage)},
                         f"Stopped managing {', '.join(gone)}")
        store.is_swept = True

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
        """Return whether the account has a domain that another lineage manages there."""
        account, store = context.account.client.account, self.store
        for other in sorted({entry.lineage for entry in store.state.values()} - {lineage}):
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


def _changed(state: State, changes: Changes) -> State:
    """Return *state* with *changes*."""
    return {name: entry for name, entry in {**state, **changes}.items() if entry}


def _changes_between(state: State, desired: State) -> Changes:
    """Return the changes that make *desired* of *state*."""
    return {name: desired.get(name) for name in {*state, *desired}
            if state.get(name) != desired.get(name)}


def _is_kept(before: Managed | None, after: Managed | None) -> bool:
    """Return whether a rollback beyond this change would change more than the certificate."""
    return before is None or after is None or before.lineage != after.lineage or (
        replace(before.binding, fingerprint="") != replace(after.binding, fingerprint=""))


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
    deployer = Deployer(store, Lineages(folder), accounts or Accounts(folder),
                        checkpoints or NoCheckpoints(), Path(config.backup_dir), say, note,
                        waiting or Waiting())
    if folder not in stores:
        store.open()
        deployer.recall()
        holds.finish(store, deployer.lineages)  # of a rollback that was killed
        stores[folder] = store
    return deployer
