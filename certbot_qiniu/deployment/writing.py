"""Write changes of the desired state, and keep what was before in certbot's checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certbot_qiniu.deployment.checkpoints import Checkpoints, former_fingerprints, prune
from certbot_qiniu.deployment.planning.bindings import is_refusal_of_tls
from certbot_qiniu.deployment.planning.supersession import KEPT_CHECKPOINTS, prunable
from certbot_qiniu.deployment.state import FORMER, Managed, Record, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import Binding

Changes = Mapping[str, Managed | None]
"""The new entry of each domain; None for one that is let go."""


def changed(state: State, changes: Changes) -> State:
    """Return *state* with *changes*."""
    return {name: entry for name, entry in {**state, **changes}.items() if entry}


def changes_between(state: State, desired: State) -> Changes:
    """Return the changes that make *desired* of *state*."""
    return {name: desired.get(name) for name in {*state, *desired}
            if state.get(name) != desired.get(name)}


@dataclass
class Writer:
    """Writes the state of some lineages, and what else changes with it.

    :ivar backups: certbot's folder of finalized checkpoints.
    :ivar _must_stay: the lineages that the checkpoint in progress is for, and whether it must.
    """

    store: Store
    checkpoints: Checkpoints
    backups: Path
    _must_stay: dict[str, bool] = field(default_factory=dict)

    def commit(self, changes: Changes, title: str) -> None:
        """Write changes, in a checkpoint of their own if there are any.

        :raises errors.StateError: if they cannot be written.
        :raises certbot.errors.Error: if the checkpoint cannot be made.
        """
        if self.write(changes):
            self.checkpoints.finalize_checkpoint(title)

    def write(self, changes: Changes) -> bool:
        """Write changes, with what was there before in the checkpoint in progress.

        :returns: whether anything differs from what was written.
        :raises errors.StateError: if it cannot be written.
        :raises certbot.errors.Error: if what was there before cannot be kept.
        """
        store = self.store
        for name, entry in changes.items():
            record, former = store.memory.domains.get(name, Record()), store.state.get(name)
            if entry is None:
                # On purpose: it keeps what it serves, and we keep its baseline.
                store.memory.update(name, let_go=time.time(), sent=None)
                continue
            if (record.lineage, record.let_go, record.gone) != (entry.lineage, 0, None):
                store.memory.update(name, lineage=entry.lineage, let_go=0.0, gone=None)
            if former is None:
                # It begins with what it serves now, whatever was asked for before it was let go.
                store.memory.update(name, **dict.fromkeys(FORMER.values()))
            else:
                self._note_settings(name, record, former.binding, entry.binding)
            if entry.binding.tls_versions and record.baseline and (
                    record.baseline.protocol == "https"):
                store.memory.update(name, baseline=replace(
                    record.baseline, tls_versions=_as_chosen(record.baseline.tls_versions)))
        changes = {name: entry for name, entry in changes.items() if entry != store.state.get(name)}
        lineages = store.concerned(changes)
        for lineage in lineages:
            store.check(lineage)
            entries = changed(store.managed(lineage), changes)
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

    def _note_settings(self, name: str, record: Record, former: Binding, wanted: Binding) -> None:
        """Note of each setting that is asked for otherwise now what a rollback returns."""
        # What is being published counts as seen: only once it is at rest a read shows it.
        last = record.sent.binding if record.sent else record.seen
        seen: dict[str, Any] = {
            "force_https": last.force_https, "http2": last.http2} if last else {}
        if record.seen:
            seen["tls_versions"] = _as_chosen(record.seen.tls_versions)
        for setting, known in FORMER.items():
            before, now = getattr(former, setting), getattr(wanted, setting)
            if before != now:
                self.store.memory.update(name, **{known: _former(
                    before, now, seen.get(setting), getattr(record, known))})
        if former.tls_versions != wanted.tls_versions:
            self._forget_tls_versions(name, former, wanted)

    def _forget_tls_versions(self, name: str, former: Binding, wanted: Binding) -> None:
        """Forget what was seen or refused of TLS versions: others are asked for now."""
        memory = self.store.memory
        confirmed = memory.domains[name].confirmed
        memory.update(name, confirmed=confirmed and replace(
            confirmed, binding=replace(confirmed.binding, tls_versions=None)))
        for subject in [one for one in memory.told  # others are another lineage's affair
                        if is_refusal_of_tls(one, former.tls_versions)
                        or is_refusal_of_tls(one, wanted.tls_versions)]:
            del memory.told[subject]

    def remember_checkpoint(self, name: str, *, may_prune: bool) -> None:
        """Note that certbot has ended the checkpoint in progress, and its name.

        :param may_prune: whether older ones of the same lineages may go: certbot is at work then,
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

        That takes long, and happens once: after the memory was moved away, and where it is still
        that of version 1.
        """
        memory, store = self.store.memory, self.store
        lost = {lineage: store.fingerprints(lineage)
                for lineage in {entry.lineage for entry in store.state.values()}
                if memory.lineage(lineage).former is None}
        if lost:
            for lineage, former in former_fingerprints(self.backups, store.folder, lost).items():
                memory.lineage(lineage).former = former


def _former(former: Any, wanted: Any, seen: Any, known: Any) -> Any:
    """Return the value of a setting that a rollback to "as it is" goes back to.

    To ask for "as it is" again leaves what is there.

    :param known: what it went back to until now, or is still on its way to.
    """
    if wanted is None:
        return None
    return seen if former is None and known is None else known


def _as_chosen(versions: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the TLS versions to go back to, of a domain that was read before any were asked for.

    A list without elements may be shown as null, or not at all: then none were chosen, should a
    read show any one day.
    """
    return versions or ()


def _is_kept(before: Managed | None, after: Managed | None) -> bool:
    """Return whether a rollback beyond this change would change more than the certificate."""
    return before is None or after is None or before.lineage != after.lineage or (
        replace(before.binding, fingerprint="") != replace(after.binding, fingerprint=""))
