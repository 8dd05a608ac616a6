"""Our files in ``<config_dir>/qiniu``: how they are read, written and locked.

Each lineage has two. ``state/<lineage>.json`` says what its domains should serve: certbot's
reverter keeps checkpoints of it, and ``certbot rollback`` puts an older one back.
``memory/<lineage>.json`` is in no checkpoint. ``memory.json`` has what belongs to no lineage.

Every file bears a serial number, one more than the highest so far: if a crash, or a user, has left
a domain in two of them, it belongs to the one written last. Clocks and the times of files do not
decide that: the reverter puts times back.

``state.json`` was all of the state in version 1. Now it makes an older certbot-qiniu refuse to
work, and shows if a rollback has put a file of that version back.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.deployment.state import (
    FORMER,
    Facts,
    LineageMemory,
    Managed,
    Memory,
    Record,
    State,
    Upload,
)
from certbot_qiniu.files import decode, decoding, read_json, write_json
from certbot_qiniu.model import Binding, Domain
from certbot_qiniu.qiniu.service import Listing

VERSION = 2
SHARED = ""
"""Stands in place of a lineage's name for what belongs to none."""

TEXTS = ("told", "bind_methods")
"""Parts of the shared file, next to domains, uploads and listings: texts by subject."""


@dataclass(frozen=True)
class _Content:
    """The content of a file of the memory."""

    entry: LineageMemory = field(default_factory=LineageMemory)
    domains: Mapping[str, Record] = field(default_factory=dict)
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    listings: Mapping[str, Listing] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    bind_methods: Mapping[str, str] = field(default_factory=dict)


class Store:
    """Loads and writes our files.

    :param folder: ``<config_dir>/qiniu``; made with mode 0700 if it is missing.
    :param read_only: changes stay in memory: no folder is made, no lock taken, no file written.
    :ivar state: what every managed domain should serve; :meth:`apply` changes it.
    :ivar damaged: lineages with a file that cannot be used, and why; the others go on.
    :ivar is_swept: whether this process has looked for lineages that certbot has deleted.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        self.former_state_path = folder / "state.json"
        self._clear()

    def _clear(self) -> None:
        self.state = Facts[Managed]({}, "lineage")
        self.memory = Memory()
        self.damaged: dict[str, errors.StateError] = {}
        self.is_swept = False
        self._states: dict[str, State] = {}  # as they are on the disk
        self._memories: dict[str, _Content] = {}
        self._is_divided = True
        self._serial = 0

    def state_path(self, lineage: str) -> Path:
        """Return the file with the desired state of a lineage."""
        return self.folder / "state" / f"{lineage}.json"

    def memory_path(self, lineage: str = SHARED) -> Path:
        """Return the file with what is remembered of a lineage, or of none."""
        return self.folder / ("memory" if lineage else "") / f"{lineage or 'memory'}.json"

    def open(self) -> None:
        """Make the folders, lock them against a second process, and load.

        :raises errors.StateError: if that is not possible, or another process is at work.
        """
        from certbot import errors as certbot_errors
        from certbot import util

        if self.read_only:
            self.load()
            return
        try:
            self.make_folders()
            util.lock_dir_until_exit(str(self.folder))
        except OSError as error:
            raise errors.StateError(
                f"Could not use {self.folder}: {error.strerror}. Run certbot as root, or "
                "with a --config-dir of your own") from error
        except certbot_errors.LockError as error:
            raise errors.StateError(
                f"Another certbot or certbot-qiniu is at work with {self.folder}; try again when "
                "it has ended") from error
        self.load()
        if not self.former_state_path.exists():
            self._mark()

    def make_folders(self) -> None:
        """Make the folders: the reverter restores files only into folders that exist.

        :raises OSError: if that is not possible.
        """
        for path in (self.folder, self.folder / "state", self.folder / "memory"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def check(self, lineage: str) -> None:
        """Refuse to go on if a file of a lineage could not be read.

        :raises errors.StateError: if one could not.
        """
        if lineage in self.damaged:
            raise self.damaged[lineage]

    # Reading ------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read all files; those of version 1 are divided among the lineages.

        :raises errors.StateError: if a file that is no lineage's own cannot be used, or one of
            version 1 could not be divided.
        """
        self._clear()
        former = self._former_state()
        self._read_states()
        if former is not None:
            for error in self.damaged.values():
                raise error  # restoring would replace it
            self.state = Facts[Managed](former, "lineage")
        self._read_memories()
        if former is None:
            self._recall_states()
        for name in self.state:
            record = self.memory.domains.get(name)
            if record and record.let_go:
                self.memory.update(name, let_go=0.0)
        for lineage, entry in self.memory.lineages.items():
            if lineage not in self.damaged:
                entry.returned(self.fingerprints(lineage))
        self.memory.forget_old(self.state, time.time())
        if not self.read_only:
            self._divide(former)

    def managed(self, lineage: str) -> dict[str, Managed]:
        """Return the desired state of one lineage."""
        return self.state.where("lineage", lineage)

    def fingerprints(self, lineage: str) -> set[str]:
        """Return the fingerprints of the certificates that a lineage's domains should serve."""
        return {entry.binding.fingerprint for entry in self.managed(lineage).values()}

    def owners(self) -> State:
        """Return the state; for lineages with a damaged one, what they are remembered to manage."""
        if not self.damaged:
            return self.state
        return {**{name: Managed(name, record.service, lineage, Binding())
                   for lineage in self.damaged
                   for name, record in self.memory.domains_of(lineage).items() if record.is_ours},
                **self.state}

    def _read_states(self) -> None:
        found: list[tuple[int, str, State]] = []
        for lineage, path in self._lineages_in("state"):
            try:
                raw = self._read(path)
                with decoding(path):
                    entries = {name: decode(Managed, entry, name=name, lineage=lineage)
                               for name, entry in raw["domains"].items()}
                    found.append((self._serial_of(raw), lineage, entries))
            except errors.StateError as error:
                self.damaged[lineage] = error
        for _, lineage, state in sorted(found, key=lambda item: item[:2]):
            self._states[lineage] = state
            self.state.update(state)  # the file written last wins

    def _recall_states(self) -> None:
        """Take what is remembered of domains for the state of a lineage that has lost its file.

        Without an entry they would go back to what they served before, which nobody asked for;
        likewise those of their settings of which a former value is known. What a rollback has given
        back goes on its way.
        """
        for lineage in self._memories.keys() - self._states.keys() - self.damaged.keys() - {SHARED}:
            entry = self.memory.lineage(lineage)
            others = {*self.state, *(entry.given_back if entry.hold else ())}
            for name, record in self.memory.domains_of(lineage).items():
                last = record.sent or record.confirmed
                if record.is_ours and last and last.binding.fingerprint and name not in others:
                    sent = last.binding
                    self.state[name] = Managed(name, record.service, lineage, Binding(
                        "https", sent.fingerprint, hsts=True if record.hsts == "ours" else None,
                        **{setting: getattr(sent, setting) for setting, known in FORMER.items()
                           if getattr(record, known) is not None}))

    def _read_memories(self) -> None:
        found: dict[str, tuple[int, _Content]] = {}
        shared = self._read(self.memory_path())
        with decoding(self.memory_path()):
            if shared and shared["version"] == 1:
                self._is_divided = False
                self.memory = _memory_of_version_1(shared)
                return
            found[SHARED] = self._serial_of(shared), _content(SHARED, shared)
        for lineage, path in self._lineages_in("memory"):
            try:
                raw = self._read(path)
                with decoding(path):
                    found[lineage] = self._serial_of(raw), _content(lineage, raw)
            except errors.StateError as error:
                self.damaged.setdefault(lineage, error)
        domains: dict[str, Record] = {}
        uploads: dict[str, Upload] = {}
        for lineage, (_, content) in sorted(found.items(), key=lambda item: item[1][0]):
            self._memories[lineage] = content
            # The file written last wins, unless another belongs to the lineage that manages it.
            domains.update({
                name: record for name, record in content.domains.items()
                if name not in domains or self._manager(name) != domains[name].lineage})
            uploads.update(content.uploads)
        common = self._memories[SHARED]
        self.memory = Memory(
            domains, uploads, {lineage: dataclasses.replace(content.entry)
                               for lineage, content in self._memories.items() if lineage},
            dict(common.listings), dict(common.told), dict(common.bind_methods))
        self.memory.touch(self._memories)  # a file may have records that another one has replaced
        self.memory.written(lineage for lineage, content in self._memories.items()
                            if content == self._remembered(lineage))

    def _manager(self, name: str) -> str | None:
        return self.state[name].lineage if name in self.state else None

    def _former_state(self) -> State | None:
        """Return the state of version 1, if there is one that was not divided yet."""
        raw = self._read(self.former_state_path)
        if raw.get("version") != 1:
            return None
        with decoding(self.former_state_path):
            return {name: decode(Managed, entry, name=name)
                    for name, entry in raw.get("domains", {}).items()}

    def _lineages_in(self, folder: str) -> list[tuple[str, Path]]:
        path = self.folder / folder
        try:
            names = sorted(os.listdir(path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise errors.StateError(f"Could not read {path}: {error.strerror}") from error
        return [(name.removesuffix(".json"), path / name) for name in names
                if name.endswith(".json") and not name.startswith(".")]

    def _read(self, path: Path) -> dict[str, Any]:
        # A link that leads nowhere is damage, and not a file that was never written.
        return read_json(path, newest=VERSION) if os.path.lexists(path) else {}

    def _serial_of(self, raw: Mapping[str, Any]) -> int:
        serial = raw.get("serial", 0)
        if type(serial) is not int:
            raise TypeError(f"serial cannot be {serial!r}")
        self._serial = max(self._serial, serial)
        return serial

    # Writing ------------------------------------------------------------------------------------

    def concerned(self, changes: Mapping[str, Managed | None]) -> list[str]:
        """Return the lineages whose files have these changes."""
        entries = [*changes.values(), *map(self.state.get, changes)]
        return sorted({entry.lineage for entry in entries if entry})

    def to_keep(self, lineages: Iterable[str]) -> set[str]:
        """Return the paths of these lineages' states, which are written where there are none.

        Even a lineage's first checkpoint needs a file to copy.

        :raises errors.StateError: if it cannot be written.
        """
        for lineage in lineages:
            if lineage not in self._states and not self.read_only:
                self._write_state(lineage, self.managed(lineage))
        return {str(self.state_path(lineage)) for lineage in lineages}

    def apply(self, changes: Mapping[str, Managed | None]) -> None:
        """Change what domains should serve, None for those that are not managed any more.

        :raises errors.StateError: if a file cannot be written; it is intact then, and the state
            here is the one on the disk.
        """
        wanted = {lineage: self.managed(lineage) for lineage in self.concerned(changes)}
        for name in changes:
            if name in self.state:
                wanted[self.state[name].lineage].pop(name)
        for name, entry in changes.items():
            if entry:
                wanted[entry.lineage][name] = entry
        # A domain that moves is in its new file before it leaves the old one.
        taking = {entry.lineage for entry in changes.values() if entry}
        for lineage in sorted(wanted, key=lambda name: (name not in taking, name)):
            entries = wanted[lineage]
            if not self.read_only:
                self.check(lineage)
                self._write_state(lineage, entries)
            for name in set(self.managed(lineage)) - set(entries):
                del self.state[name]
            self.state.update(entries)

    def write_memory(self) -> None:
        """Write what has changed in :attr:`memory`.

        :raises errors.StateError: if a file cannot be written; it is intact then.
        """
        if self.read_only:
            return
        lineages = {*self.memory.changed(), SHARED} - set(self.damaged)
        changed = {lineage: content for lineage in sorted(lineages)
                   if (content := self._remembered(lineage)) != self._memories.get(
                       lineage, _Content()) or not (lineage or self._is_divided)}
        # A record that moves is in its new file before it leaves the old one.
        for lineage, content in changed.items():
            before = self._memories.get(lineage, _Content()).domains
            if self._is_divided and set(content.domains) - set(before):
                leaving = {name: record for name, record in before.items()
                           if name in self.memory.domains}
                self._write_memory(lineage, dataclasses.replace(
                    content, domains={**leaving, **content.domains}))
        for lineage in sorted(changed, reverse=True):  # of version 1 the shared file decides
            if changed[lineage] != self._memories.get(lineage) or not self._is_divided:
                self._write_memory(lineage, changed[lineage])
        self._is_divided = True
        self.memory.written(lineages)

    def _remembered(self, lineage: str) -> _Content:
        """Return the part of the memory that is for the file of a lineage."""
        memory, known = self.memory, self._memories.get(lineage)
        facts = (known.domains, known.uploads) if known and not memory.is_touched(lineage) else (
            memory.domains_of(lineage), memory.uploads_by(lineage))
        if lineage:
            entry = memory.lineages.get(lineage, LineageMemory())
            return _Content(dataclasses.replace(entry), *facts)
        return _Content(LineageMemory(), *facts, dict(memory.listings), dict(memory.told),
                        dict(memory.bind_methods))

    def _write_state(self, lineage: str, entries: State) -> None:
        self._write(self.state_path(lineage), {"domains": {
            name: _plain(entry, "name", "lineage") for name, entry in sorted(entries.items())}})
        self._states[lineage] = dict(entries)

    def _write_memory(self, lineage: str, content: _Content) -> None:
        self._write(self.memory_path(lineage), {**_plain(content.entry), **{
            name: {key: _plain(fact, "lineage") for key, fact in sorted(facts.items())}
            for name, facts in (("domains", content.domains), ("uploads", content.uploads),
                                ("listings", content.listings)) if facts},
            **{name: texts for name in TEXTS if (texts := getattr(content, name))}})
        self._memories[lineage] = content

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        self._serial += 1
        write_json(path, {"serial": self._serial, **content}, VERSION)

    # Version 1 ----------------------------------------------------------------------------------

    def _divide(self, former: State | None) -> None:
        """Write a lineage's own files from those of version 1, the memory first.

        A rollback may put a state of version 1 back at any time: it was the whole state then.
        """
        if former is not None or not self._is_divided:
            self.write_memory()
        if former is not None:
            for lineage in sorted({*self._memories, *self._states} - {SHARED} | {
                    entry.lineage for entry in former.values()}):
                if self._states.get(lineage) != self.managed(lineage):
                    self._write_state(lineage, self.managed(lineage))
            self._mark()

    def _mark(self) -> None:
        """Make ``state.json`` stop an older certbot-qiniu, which would begin from nothing."""
        write_json(self.former_state_path, {"domains are in": "state/<lineage>.json"}, VERSION)


def _content(lineage: str, raw: Mapping[str, Any]) -> _Content:
    """Read a file of the memory.

    :raises TypeError: if something in it has another type than it should.
    :raises ValueError: if a checkpoint's name is not a time.
    """
    rest = {name: value for name, value in raw.items() if name not in (
        "version", "serial", "domains", "uploads", *(() if lineage else ("listings", *TEXTS)))}
    entry = decode(LineageMemory, rest)
    for name in entry.checkpoints:
        float(name)
    return _Content(
        entry,
        {name: _record(name, entry, lineage=lineage)
         for name, entry in raw.get("domains", {}).items()},
        {cert_id: decode(Upload, entry, lineage=lineage)
         for cert_id, entry in raw.get("uploads", {}).items()},
        {key: decode(Listing, entry) for key, entry in raw.get("listings", {}).items()},
        *(_texts(raw.get(name, {})) for name in TEXTS))


def _memory_of_version_1(raw: Mapping[str, Any]) -> Memory:
    """Read ``memory.json`` of version 1, which was for all lineages."""
    return Memory(
        {name: _record(name, entry) for name, entry in raw.get("domains", {}).items()},
        {cert_id: dataclasses.replace(decode(Upload, entry), at=time.time())
         for cert_id, entry in raw.get("uploads", {}).items()},
        {name: decode(LineageMemory, entry) for name, entry in raw.get("lineages", {}).items()},
        {key: decode(Listing, entry) for key, entry in raw.get("listings", {}).items()},
        *(_texts(raw.get(name, {})) for name in TEXTS))


def _record(name: str, raw: object, **known: Any) -> Record:
    if isinstance(raw, dict) and isinstance(raw.get("seen"), dict):
        raw = {**raw, "seen": {"name": name, **raw["seen"]}}
    return decode(Record, raw, **known)


def _texts(raw: Any) -> dict[str, str]:
    for value in raw.values():
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no text")
    return dict(raw)


def _plain(value: Any, *left_out: str) -> dict[str, Any]:
    """Return a dataclass as a dict without the fields that have their default."""
    result: dict[str, Any] = {}
    for spec in dataclasses.fields(value):
        item = getattr(value, spec.name)
        if spec.name in left_out or item == spec.default or (
                spec.default_factory is not dataclasses.MISSING and item == spec.default_factory()):
            continue
        if dataclasses.is_dataclass(item):
            item = _plain(item, *(("name",) if isinstance(item, Domain) else ()))
        result[spec.name] = item
    return {**result.pop("unknown", {}), **result}
