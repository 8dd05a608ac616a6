"""The two files in ``<config_dir>/qiniu``: how they are read, written and locked.

``state.json`` says what every managed domain should serve. certbot's reverter keeps checkpoints of
it, and ``certbot rollback`` puts an older one back. ``memory.json`` is in no checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.deployment.state import (
    LineageMemory,
    Managed,
    Memory,
    Record,
    Sent,
    State,
    Upload,
)
from certbot_qiniu.files import decoding, read_json, write_json
from certbot_qiniu.model import Binding, Domain
from certbot_qiniu.qiniu.service import Listing


class Store:
    """Loads and writes the two files.

    :param folder: ``<config_dir>/qiniu``; made, mode 0700, when missing.
    :param read_only: changes stay in memory: no folder is made, no lock taken, no file written.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        self.state_path = folder / "state.json"
        self.memory_path = folder / "memory.json"
        self.state: State = {}
        self.memory = Memory()
        self._written: Memory | None = None

    def open(self) -> None:
        """Make the folder and an empty state, lock them against a second process, and load.

        An empty state is written at once so that even the first checkpoint has a file to copy.

        :raises errors.StateError: when that is not possible, or another process is at work.
        """
        from certbot import errors as certbot_errors
        from certbot import util

        if self.read_only:
            self.load()
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            util.lock_dir_until_exit(str(self.folder))
        except OSError as error:
            raise errors.StateError(
                f"Could not use {self.folder}: {error.strerror}. Run certbot as root, or "
                "with a --config-dir of your own") from error
        except certbot_errors.LockError as error:
            raise errors.StateError(
                f"Another certbot or certbot-qiniu is at work with {self.folder}; try again when "
                "it has ended") from error
        if not self.state_path.exists():
            self.write_state({})
        self.load()

    def load(self) -> None:
        """Read both files.

        :raises errors.StateError: when one is corrupt or from a newer version.
        """
        self.state = self.read_state(self.state_path) if self.state_path.exists() else {}
        raw = read_json(self.memory_path) if self.memory_path.exists() else {}
        with decoding(self.memory_path):
            self.memory = Memory(
                domains={name: _record(name, entry)
                         for name, entry in raw.get("domains", {}).items()},
                uploads={cert_id: Upload(**entry)
                         for cert_id, entry in raw.get("uploads", {}).items()},
                lineages={name: LineageMemory(**entry)
                          for name, entry in raw.get("lineages", {}).items()},
                listings={key: Listing(**entry)
                          for key, entry in raw.get("listings", {}).items()},
                told=dict(raw.get("told", {})),
                bind_methods=dict(raw.get("bind_methods", {})))
        self._written = _copy(self.memory) if raw else None

    @staticmethod
    def read_state(path: Path) -> State:
        """Read a state file: ours, or a copy in one of certbot's checkpoints.

        :raises errors.StateError: when it is corrupt or from a newer version.
        """
        raw = read_json(path)
        with decoding(path):
            return {name: Managed(name, entry["service"], entry["lineage"],
                                  Binding(**entry["binding"]))
                    for name, entry in raw.get("domains", {}).items()}

    def write_state(self, state: State) -> None:
        """Replace ``state.json``.

        :raises errors.StateError: when it cannot be written; the old one is intact then.
        """
        if not self.read_only:
            write_json(self.state_path, {"domains": {
                name: {"service": entry.service, "lineage": entry.lineage,
                       "binding": _plain(entry.binding)}
                for name, entry in sorted(state.items())}})
        self.state = dict(state)

    def write_memory(self) -> None:
        """Replace ``memory.json`` by what is in :attr:`memory`, if that is not what it holds.

        :raises errors.StateError: when it cannot be written; the old one is intact then.
        """
        # A renew of hundreds of lineages comes here three times for each, mostly for nothing.
        if self.read_only or self.memory == self._written:
            return
        write_json(self.memory_path, {
            "domains": {name: _plain(entry)
                        for name, entry in sorted(self.memory.domains.items())},
            "uploads": {cert_id: _plain(entry)
                        for cert_id, entry in sorted(self.memory.uploads.items())},
            "lineages": {name: _plain(entry)
                         for name, entry in sorted(self.memory.lineages.items())},
            "listings": {key: _plain(entry)
                         for key, entry in sorted(self.memory.listings.items())},
            "told": self.memory.told,
            "bind_methods": self.memory.bind_methods})
        self._written = _copy(self.memory)

    def checkpointed(self, backup_dir: Path) -> Iterator[State]:
        """The states that ``certbot rollback`` could return to, newest first, read one by one.

        :param backup_dir: certbot's folder of finalized checkpoints.
        """
        folders = sorted(backup_dir.iterdir(), reverse=True) if backup_dir.is_dir() else []
        for folder in folders:
            with contextlib.suppress(OSError, ValueError, errors.StateError):
                saved = (folder / "FILEPATHS").read_text(encoding="utf-8").splitlines()
                index = saved.index(str(self.state_path))  # ValueError: another plugin's
                state = self.read_state(folder / f"{self.state_path.name}_{index}")
                yield state


def _copy(memory: Memory) -> Memory:
    """*memory* as it is now, whatever becomes of it."""
    return Memory(dict(memory.domains), dict(memory.uploads),
                  {name: dataclasses.replace(entry) for name, entry in memory.lineages.items()},
                  dict(memory.listings), dict(memory.told), dict(memory.bind_methods))


def _record(name: str, entry: Mapping[str, Any]) -> Record:
    values = dict(entry)
    for key in ("sent", "confirmed"):
        if values.get(key):
            values[key] = Sent(Binding(**values[key]["binding"]), values[key]["at"])
    if values.get("baseline") is not None:
        values["baseline"] = Binding(**values["baseline"])
    if values.get("seen") is not None:
        values["seen"] = Domain(**{"name": name, **values["seen"]})
    return Record(**values)


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass as a dict without the fields that have their default."""
    result: dict[str, Any] = {}
    for spec in dataclasses.fields(value):
        item = getattr(value, spec.name)
        if item == spec.default or (isinstance(value, Domain) and spec.name == "name"):
            continue
        result[spec.name] = _plain(item) if dataclasses.is_dataclass(item) else item
    return result
