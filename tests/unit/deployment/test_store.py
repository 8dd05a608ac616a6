"""The two files: what they refuse, what a failed write leaves, and that nothing gets lost."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from certbot.reverter import Reverter
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

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
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.files import VERSION, write_file
from certbot_qiniu.model import Binding, Domain
from certbot_qiniu.qiniu.service import Listing

NAME = "www.example.com"
STATE = {NAME: Managed(NAME, "cdn", "example.com", Binding("https", "ab" * 32, "", True, None))}
SEEN = Domain(NAME, protocol="https", state="failed", state_reason="证书校验失败", detailed=True,
              cert_id="id", force_https=False, http2=True)
MEMORY = Memory(
    domains={NAME: Record("cdn", "example.com", Binding("http"),
                          Sent(Binding("https", "ab" * 32, "id", True, True), 1.5),
                          Sent(Binding("https", "cd" * 32, "od", True, True), 0.5),
                          SEEN, 12.25, 3.0)},
    uploads={"id": Upload("ab" * 32, "example.com")},
    lineages={"example.com": LineageMemory("/etc/qiniu.ini", "ab" * 32, "cd" * 32)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a store that was not made yet."""
    return tmp_path / "etc" / "qiniu"


@pytest.fixture
def store(folder: Path) -> Store:
    """A store that holds something."""
    store = Store(folder)
    store.open()
    store.write_state(STATE)
    store.memory = MEMORY
    store.write_memory()
    return store


def reopened(store: Store) -> Store:
    """What a later process finds in the same folder."""
    later = Store(store.folder)
    later.load()
    return later


# Files that cannot be used


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "cut short": b'{"version": 1, "domains": {"www.exam',
    "no UTF-8": b'{"version": 1, "domains": {"\xff": {}}}',
    "another type": b"[]",
    "no version": b'{"domains": {}}',
    "a version that is none": b'{"version": "1", "domains": {}}',
    "domains that are none": b'{"version": 1, "domains": [1]}',
    "a domain that is none": b'{"version": 1, "domains": {"www.example.com": 1}}',
    "an unknown field": b'{"version": 1, "domains": {"www.example.com": {"service": "cdn",'
                        b' "lineage": "a", "binding": {"colour": "red"}, "seen": {"x": 1}}}}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("which", ["state_path", "memory_path"])
def test_corrupt(which: str, content: bytes, store: Store) -> None:
    """A file that is damaged is named with what to do, and stays as it is."""
    path: Path = getattr(store, which)
    path.write_bytes(content)
    with pytest.raises(errors.StateError, match=f"{path} is corrupt .*Put it back from a backup"):
        reopened(store)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [
    {"domains": {NAME: {"service": "cdn", "lineage": "a"}}},
    {"domains": {NAME: {"lineage": "a", "binding": {}}}},
    {"domains": {NAME: {"service": "cdn", "binding": {}}}},
], ids=["no binding", "no service", "no lineage"])
def test_incomplete_state(content: dict[str, Any], store: Store) -> None:
    """A desired state that lacks something is corrupt: nothing is made up."""
    store.state_path.write_text(json.dumps({"version": VERSION, **content}))
    with pytest.raises(errors.StateError, match="is corrupt"):
        Store.read_state(store.state_path)


@pytest.mark.parametrize("content", [
    {"uploads": {"id": {"fingerprint": "ab"}}},
    {"uploads": {"id": "ab"}},
    {"lineages": {"a": {"colour": "red"}}},
    {"lineages": {"a": None}},
    {"domains": {NAME: {"sent": {"binding": {}}}}},
    {"domains": {NAME: {"baseline": ["https"]}}},
], ids=["half an upload", "no upload", "unknown field", "no lineage", "half a sent", "no baseline"])
def test_incomplete_memory(content: dict[str, Any], store: Store) -> None:
    """A memory that lacks something is corrupt as well."""
    store.memory_path.write_text(json.dumps({"version": VERSION, **content}))
    with pytest.raises(errors.StateError, match="is corrupt"):
        reopened(store)


@pytest.mark.parametrize("which", ["state_path", "memory_path"])
def test_newer_version(which: str, store: Store) -> None:
    """A file of a newer version is not touched, and the way out is an upgrade."""
    path: Path = getattr(store, which)
    content = json.dumps({"version": VERSION + 1, "domains": "in a form of the future"})
    path.write_text(content)
    with pytest.raises(errors.StateError, match=r"newer certbot-qiniu .*Upgrade certbot-qiniu"):
        reopened(store)
    assert path.read_text() == content


@pytest.mark.parametrize("which", ["state_path", "memory_path"])
def test_unreadable(which: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is an error, and not taken for an empty one."""
    path: Path = getattr(store, which)
    read = Path.read_text

    def refuse(self: Path, *args: Any, **kwargs: Any) -> str:
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(errors.StateError, match=f"Could not read {path}: Permission denied"):
        reopened(store)


def test_no_files(folder: Path) -> None:
    """Nothing there is an empty state, and looking makes no files (a dry run only looks)."""
    store = Store(folder)
    store.load()
    assert (store.state, store.memory) == ({}, Memory())
    assert not folder.exists()


# Writing


def fail(*_args: Any, **_kwargs: Any) -> Any:
    """Have no room left."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
def test_full_disk(call: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails at any step leaves the old files whole, and no other files behind."""
    before = {path: path.read_bytes() for path in sorted(store.folder.iterdir())}
    store.memory = Memory()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(errors.StateError, match=f"write {store.state_path}: No space left"):
            store.write_state({})
        with pytest.raises(errors.StateError, match=f"write {store.memory_path}: No space left"):
            store.write_memory()
    assert {path: path.read_bytes() for path in sorted(store.folder.iterdir())} == before
    assert store.state == STATE, "the state in memory must be what is on the disk"


def test_full_disk_while_writing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of a file leaves the old one whole."""
    before = store.memory_path.read_bytes()
    store.memory = Memory()
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        opened = os.fdopen

        def divert(handle: int, *args: Any, **kwargs: Any) -> Any:
            os.dup2(full.fileno(), handle)
            return opened(handle, *args, **kwargs)

        patch.setattr(os, "fdopen", divert)
        with pytest.raises(errors.StateError, match="No space left on device"):
            store.write_memory()
    assert store.memory_path.read_bytes() == before
    assert sorted(path.name for path in store.folder.iterdir() if "memory" in path.name) == [
        "memory.json"]


def test_interrupted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C while writing passes through, and leaves the old file and no other."""
    before = store.state_path.read_bytes()

    def interrupt(*_args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.write_state({})
    assert store.state_path.read_bytes() == before
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".state.json")]


def test_unchanged_memory_is_not_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file holds already is not written again; any change, even of one hold, is."""
    later = reopened(store)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        store.write_memory()
        later.write_memory()
    later.memory.lineage("example.com").hold = "another fingerprint"
    later.write_memory()
    assert "another fingerprint" == reopened(store).memory.lineage("example.com").hold


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Let new files have every permission that they are not denied on purpose."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_modes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask: the files are for their owner alone, at every moment."""
    seen: list[int] = []
    synced = os.fsync

    def look(handle: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(handle).st_mode))
        synced(handle)

    monkeypatch.setattr(os, "fsync", look)
    for memory in (Memory(), MEMORY):
        store.write_state(STATE)
        store.memory = memory
        store.write_memory()
    assert seen == [0o600] * 4
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode)
            for path in (store.state_path, store.memory_path)} == {0o600}


@pytest.mark.usefixtures("no_umask")
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_mode_of_other_files(mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another mode, where it is asked for, holds from the moment the file has its name."""
    path, replace = tmp_path / "file", os.replace
    seen: list[int] = []

    def look(source: str, target: Path) -> None:
        seen.append(stat.S_IMODE(Path(source).stat().st_mode))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_file(path, "text", mode=mode)
    assert seen == [mode]
    assert path.read_text() == "text"


def test_write_is_synced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is on the disk before it takes the old one's place."""
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle: int) -> None:
        order.append("fsync")
        fsync(handle)

    def note_replace(source: Path, target: Path) -> None:
        order.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    store.write_state(STATE)
    assert order == ["fsync", "replace"]


# Opening


def test_open(folder: Path) -> None:
    """A new store has an empty state file at once: even the first checkpoint needs one."""
    store = Store(folder)
    store.open()
    assert Store.read_state(store.state_path) == {}
    assert not store.memory_path.exists()


def test_open_again(store: Store) -> None:
    """A store that is opened again has what was written."""
    later = Store(store.folder)
    later.open()
    assert later.state == STATE
    assert later.memory == MEMORY


def test_read_only(store: Store, tmp_path: Path) -> None:
    """A store for looking keeps changes to itself: no folder, no lock, no file."""
    before = {path: path.read_bytes() for path in sorted(store.folder.iterdir())}
    looking = Store(store.folder, read_only=True)
    looking.open()
    assert (looking.state, looking.memory) == (STATE, MEMORY)
    looking.write_state({})
    looking.memory.lineage("x").hold = "y"
    looking.write_memory()
    assert looking.state == {}
    assert {path: path.read_bytes() for path in sorted(store.folder.iterdir())} == before
    nowhere = Store(tmp_path / "nowhere", read_only=True)
    nowhere.open()
    nowhere.write_memory()
    assert not nowhere.folder.exists()


def test_open_corrupt(store: Store) -> None:
    """Opening never replaces a damaged file by an empty one."""
    store.state_path.write_text("damaged")
    with pytest.raises(errors.StateError, match="is corrupt"):
        Store(store.folder).open()
    assert store.state_path.read_text() == "damaged"


def test_folder_is_a_file(folder: Path) -> None:
    """A file in the folder's place is an error with a way out."""
    folder.parent.mkdir()
    folder.touch()
    with pytest.raises(errors.StateError, match=f"Could not use {folder}: .*Run certbot as root"):
        Store(folder).open()


def test_folder_not_writable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be made is an error with a way out."""
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(errors.StateError, match=r"Permission denied\. Run certbot as root"):
        Store(folder).open()


# Nothing gets lost


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
TIMES = st.floats(0, 2e9)
FLAGS = st.sampled_from([None, False, True])
BINDINGS = st.builds(Binding, st.sampled_from(["https", "http"]), TEXTS, TEXTS, FLAGS, FLAGS)
SENTS = st.builds(Sent, BINDINGS, TIMES)
DOMAINS = st.builds(Domain, st.just(NAME), state=TEXTS, state_reason=TEXTS, operable=st.booleans(),
                    detailed=st.booleans(), cert_id=TEXTS, force_https=FLAGS, http2=FLAGS)
RECORDS = st.builds(Record, TEXTS, TEXTS, st.none() | BINDINGS, st.none() | SENTS,
                    st.none() | SENTS, st.none() | DOMAINS, TIMES, TIMES)
STATES = st.dictionaries(TEXTS, st.tuples(TEXTS, TEXTS, BINDINGS), max_size=3).map(
    lambda entries: {name: Managed(name, *entry) for name, entry in entries.items()})
MEMORIES = st.builds(
    Memory,
    st.dictionaries(st.just(NAME), RECORDS, max_size=1),
    st.dictionaries(TEXTS, st.builds(Upload, TEXTS, TEXTS), max_size=2),
    st.dictionaries(TEXTS, st.builds(LineageMemory, TEXTS, TEXTS, TEXTS), max_size=2),
    st.dictionaries(TEXTS, st.builds(Listing, TIMES, st.dictionaries(TEXTS, TEXTS, max_size=1),
                                     st.dictionaries(TEXTS, TEXTS, max_size=1)), max_size=1),
    st.dictionaries(TEXTS, TEXTS, max_size=1), st.dictionaries(TEXTS, TEXTS, max_size=1))
ROUND_TRIP = settings(deadline=None, max_examples=60,
                      suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(state=STATES)
@ROUND_TRIP
@example(state=STATE)
@example(state={NAME: Managed(NAME, "", "", Binding())})
def test_state_round_trip(state: State, store: Store) -> None:
    """A state that is written is read back as it was."""
    store.write_state(state)
    assert store.state == state
    assert Store.read_state(store.state_path) == state


@given(memory=MEMORIES)
@ROUND_TRIP
@example(memory=MEMORY)
@example(memory=Memory(domains={NAME: Record(seen=Domain(NAME))}))
@example(memory=Memory(domains={NAME: Record(baseline=Binding())}))
def test_memory_round_trip(memory: Memory, store: Store) -> None:
    """A memory that is written is read back as it was."""
    store.memory = memory
    store.write_memory()
    assert reopened(store).memory == memory


def test_files_are_plain(store: Store) -> None:
    """The files are for human eyes too: one version, no defaults, no escapes."""
    assert json.loads(store.state_path.read_text(encoding="utf-8")) == {
        "version": VERSION,
        "domains": {NAME: {"service": "cdn", "lineage": "example.com",
                           "binding": {"fingerprint": "ab" * 32, "force_https": True}}}}
    text = store.memory_path.read_text(encoding="utf-8")
    assert "证书校验失败" in text
    assert text.endswith("}\n")


def test_written_state_is_a_copy(store: Store) -> None:
    """Changing a dictionary after it was written changes nothing in the store."""
    desired = dict(STATE)
    store.write_state(desired)
    desired.clear()
    assert store.state == STATE


# Checkpoints


@pytest.fixture
def reverter(tmp_path: Path) -> Reverter:
    """certbot's own reverter, on folders of this test."""
    config = SimpleNamespace(
        backup_dir=str(tmp_path / "backups"), work_dir=str(tmp_path), strict_permissions=False,
        in_progress_dir=str(tmp_path / "IN_PROGRESS"), temp_checkpoint_dir=str(tmp_path / "TEMP"))
    Path(config.backup_dir).mkdir()
    return Reverter(config)  # type: ignore[arg-type]


def state_of(number: int) -> State:
    """A desired state with a number in it."""
    return {NAME: Managed(NAME, "cdn", "example.com", Binding("https", f"{number:064x}"))}


def checkpoint(reverter: Reverter, *paths: Path) -> None:
    """Make and finalize a checkpoint of *paths*, as certbot's installers do."""
    reverter.add_to_checkpoint({str(path) for path in paths}, "notes\n")
    reverter.finalize_checkpoint("title")


def test_checkpointed(store: Store, reverter: Reverter, tmp_path: Path) -> None:
    """The states in certbot's checkpoints are read newest first, past those of other plugins."""
    backups, other = tmp_path / "backups", tmp_path / "nginx.conf"
    other.touch()
    for number in range(3):
        store.write_state(state_of(number))
        checkpoint(reverter, store.state_path)
        checkpoint(reverter, other)
    store.write_state(state_of(3))
    checkpoint(reverter, other, store.state_path)
    assert list(store.checkpointed(backups)) == [state_of(number) for number in (3, 2, 1, 0)]
    store.write_state(state_of(4))
    reverter.rollback_checkpoints(1)
    store.load()
    assert store.state == state_of(3)
    assert list(store.checkpointed(backups)) == [state_of(number) for number in (2, 1, 0)]
    assert stat.S_IMODE(store.state_path.stat().st_mode) == 0o600


def test_checkpoint_in_progress(store: Store, reverter: Reverter, tmp_path: Path) -> None:
    """A checkpoint that was never finalized is none to return to."""
    reverter.add_to_checkpoint({str(store.state_path)}, "notes\n")
    assert list(store.checkpointed(tmp_path / "backups")) == []


def test_no_checkpoints(store: Store, tmp_path: Path) -> None:
    """certbot's folder of checkpoints need not exist."""
    assert list(store.checkpointed(tmp_path / "backups")) == []


def test_damaged_checkpoint(store: Store, reverter: Reverter, tmp_path: Path) -> None:
    """A damaged checkpoint is passed over, and hides no other."""
    backups = tmp_path / "backups"
    for number in range(4):
        store.write_state(state_of(number))
        checkpoint(reverter, store.state_path)
    newest = sorted(backups.iterdir(), reverse=True)
    (newest[0] / "state.json_0").write_text("damaged")
    (newest[1] / "state.json_0").unlink()
    (newest[2] / "FILEPATHS").unlink()
    (backups / "stray").write_text("no folder")
    assert list(store.checkpointed(backups)) == [state_of(0)]
