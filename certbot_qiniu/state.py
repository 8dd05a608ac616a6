"""The two files in ``<config_dir>/qiniu``.

``state.json`` says what every managed domain should serve. certbot's reverter keeps checkpoints of
it, and ``certbot rollback`` puts an older one back.

``memory.json`` holds what must survive a rollback, and so is in no checkpoint: what a domain
served before we first touched it (its baseline), what we sent and saw, which certificates we
uploaded, and which lineages are on hold.

Neither ever holds a secret. Both are 0600 from birth and written atomically.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain

VERSION = 1


@dataclass(frozen=True)
class Managed:
    """One line of the desired state: a domain, the lineage it belongs to, and its binding."""

    name: str
    service: str
    lineage: str
    binding: Binding


@dataclass(frozen=True)
class Sent:
    """A binding as it was sent to Qiniu, with Qiniu's id and no open settings, and when.

    :ivar at: seconds since the epoch.
    """

    binding: Binding
    at: float


@dataclass(frozen=True)
class Record:
    """What we remember of one domain.

    :ivar lineage: the lineage that last managed it; "" if we only ever read it.
    :ivar baseline: its binding before we first touched it; None if we never did.
    :ivar sent: what we sent last, until it is confirmed or has failed.
    :ivar confirmed: what we last saw it serve of what we sent.
    :ivar seen: the last detailed read, taken at *seen_at*.
    :ivar processing_since: since when we have seen it in processing; 0 when it is not.
    :ivar hsts: ``ours`` when we switched HSTS on, ``refused`` when Qiniu would not let us.
    :ivar former_force: forced HTTPS before a redirect was asked for, for a rollback to a state in
        which it is "as it is".
    """

    service: str = "cdn"
    lineage: str = ""
    baseline: Binding | None = None
    sent: Sent | None = None
    confirmed: Sent | None = None
    seen: Domain | None = None
    seen_at: float = 0.0
    processing_since: float = 0.0
    hsts: str = ""
    former_force: bool | None = None


@dataclass(frozen=True)
class Upload:
    """A certificate that we uploaded, or found again under our name."""

    fingerprint: str
    lineage: str


@dataclass
class LineageMemory:
    """What we remember of one lineage.

    :ivar credentials: path of the credentials file, so that a rollback needs no flags.
    :ivar hold: fingerprint that a rollback took back; it is not deployed again by itself.
    :ivar nginx: fingerprint that nginx was last seen to serve, or was reloaded for.
    :ivar partner: name of the installer that takes part, for a rollback, too.
    :ivar partner_options: its own options.
    """

    credentials: str = ""
    hold: str = ""
    nginx: str = ""
    partner: str = ""
    partner_options: str = ""


@dataclass(frozen=True)
class Listing:
    """The domains of a service whose list takes many calls, as they were at *at*.

    :ivar domains: name -> why it is frozen, "" when it is not.
    :ivar bound: name -> id of the certificate that it served.
    """

    at: float
    domains: dict[str, str]
    bound: dict[str, str]


@dataclass
class Memory:
    """The contents of ``memory.json``.

    :ivar told: what was said before and is not said again, by its subject.
    """

    domains: dict[str, Record] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    lineages: dict[str, LineageMemory] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def lineage(self, name: str) -> LineageMemory:
        """The entry of a lineage, made on first use."""
        return self.lineages.setdefault(name, LineageMemory())

    def update(self, name: str, **changes: Any) -> Record:
        """Change the record of a domain, made on first use."""
        record = dataclasses.replace(self.domains.get(name, Record()), **changes)
        self.domains[name] = record
        return record

    def uploads_of(self, fingerprint: str) -> frozenset[str]:
        """The ids at Qiniu under which we know this certificate."""
        return frozenset(cert_id for cert_id, upload in self.uploads.items()
                         if upload.fingerprint == fingerprint)


@dataclass
class Notes:
    """What the services of an account may know from earlier runs.

    :ivar clock: seconds since the epoch.
    """

    memory: Memory = field(default_factory=Memory)
    clock: Callable[[], float] = time.time


State = dict[str, Managed]


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
        with _decoding(self.memory_path):
            self.memory = Memory(
                domains={name: _record(name, entry)
                         for name, entry in raw.get("domains", {}).items()},
                uploads={cert_id: Upload(**entry)
                         for cert_id, entry in raw.get("uploads", {}).items()},
                lineages={name: LineageMemory(**entry)
                          for name, entry in raw.get("lineages", {}).items()},
                listings={key: Listing(**entry)
                          for key, entry in raw.get("listings", {}).items()},
                told=dict(raw.get("told", {})))
        self._written = _copy(self.memory) if raw else None

    @staticmethod
    def read_state(path: Path) -> State:
        """Read a state file: ours, or a copy in one of certbot's checkpoints.

        :raises errors.StateError: when it is corrupt or from a newer version.
        """
        raw = read_json(path)
        with _decoding(path):
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
            "told": self.memory.told})
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
                  dict(memory.listings), dict(memory.told))


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


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of ours.

    :raises errors.StateError: when it is corrupt or from a newer version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.StateError(f"Could not read {path}: {error.strerror}") from error
    except ValueError as error:
        raise _corrupt(path, error) from error
    if not isinstance(raw, dict) or not isinstance(raw.get("version"), int):
        raise _corrupt(path, "no version in it")
    if raw["version"] > VERSION:
        raise errors.StateError(
            f"{path} was written by a newer certbot-qiniu (version {raw['version']} of the file; "
            f"this one knows {VERSION}). Upgrade certbot-qiniu")
    return raw


@contextlib.contextmanager
def _decoding(path: Path) -> Any:
    try:
        yield
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise _corrupt(path, error) from error


def _corrupt(path: Path, cause: object) -> errors.StateError:
    return errors.StateError(
        f"{path} is corrupt ({cause}); nothing was changed. Put it back from a backup, or move it "
        "away: the next certbot renew then finds the domains again, but a rollback no longer "
        "knows what they served before")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file of ours: atomically, 0600 from birth.

    :raises errors.StateError: when it cannot be written; the old one is intact then.
    """
    text = json.dumps({"version": VERSION, **content}, indent=1, ensure_ascii=False) + "\n"
    try:
        write_file(path, text)
    except OSError as error:
        raise errors.StateError(
            f"Could not write {path}: {error.strerror}. The file is as it was; free some room or "
            "mend the permissions, and run certbot renew") from error
    except UnicodeError as error:  # the one text from outside is the path of the credentials
        raise errors.StateError(
            f"Could not write {path}: a path in it is not UTF-8. Give the credentials file "
            "another name") from error


def write_file(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file atomically; it never has a wider mode than *mode*.

    :raises OSError: when that is not possible; the old one is intact then.
    """
    # mkstemp makes the file 0600 from the start; the rename keeps that.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
