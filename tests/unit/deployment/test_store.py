"""Our files: what they refuse, what a failed write leaves, and that nothing gets lost."""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
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
    Tombstone,
    Upload,
)
from certbot_qiniu.deployment.store import VERSION, Store
from certbot_qiniu.files import read_json, write_file
from certbot_qiniu.model import Binding, Domain
from certbot_qiniu.qiniu.service import Listing
from tests.unit.deployment.desired import set_state

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


def state_of(number: int) -> State:
    """A desired state with a number in it."""
    return {NAME: Managed(NAME, "cdn", "example.com", Binding("https", f"{number:064x}"))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a store that was not made yet."""
    return tmp_path / "etc" / "qiniu"


@pytest.fixture
def store(folder: Path) -> Store:
    """A store that holds something."""
    store = Store(folder)
    store.open()
    set_state(store, STATE)
    store.memory = copy.deepcopy(MEMORY)
    store.memory.told["a"] = "b"
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
    "cut short": b'{"version": 2, "domains": {"www.exam',
    "no UTF-8": b'{"version": 2, "domains": {"\xff": {}}}',
    "another type": b"[]",
    "no version": b'{"domains": {}}',
    "a version that is none": b'{"version": "1", "domains": {}}',
    "domains that are none": b'{"version": 2, "domains": [1]}',
    "a domain that is none": b'{"version": 2, "domains": {"www.example.com": 1}}',
    "an unknown field": b'{"version": 2, "domains": {"www.example.com": {"service": "cdn",'
                        b' "binding": {"colour": "red"}, "seen": {"x": 1}}}}',
    "a serial that is none": b'{"version": 2, "serial": "7", "domains": {}}',
}
FILES = ("state/example.com.json", "memory/example.com.json", "memory.json", "state.json")


def problem(store: Store, path: Path) -> str:
    """What a later process says of a damaged file; other lineages can do without a lineage's."""
    if path.parent == store.folder:
        with pytest.raises(errors.StateError) as raised:
            reopened(store)
        return str(raised.value)
    later = reopened(store)
    assert ["example.com"] == list(later.damaged)
    with pytest.raises(errors.StateError) as raised:
        later.check("example.com")
    later.check("other")
    return str(raised.value)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("name", FILES[:3])
def test_corrupt(name: str, content: bytes, store: Store) -> None:
    """A file that is damaged is named with what to do, and stays as it is."""
    path = store.folder / name
    path.write_bytes(content)
    text = problem(store, path)
    assert text.startswith(f"{path} is corrupt (")
    assert "Put it back from a backup" in text
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1, "domains": [1]}'])
def test_corrupt_file_of_version_1(content: bytes, store: Store) -> None:
    """So is the one file that the state was in before."""
    (store.folder / "state.json").write_bytes(content)
    assert "state.json is corrupt" in problem(store, store.folder / "state.json")


@pytest.mark.parametrize("entry", [
    {"service": "cdn"}, {"binding": {}}, {"service": 7, "binding": {}},
    {"service": "cdn", "binding": []}, {"service": "cdn", "binding": {"fingerprint": 7}},
    {"service": "cdn", "binding": {"force_https": "yes"}},
    {"service": "cdn", "binding": {"protocol": None}},
], ids=str)
def test_incomplete_state(entry: dict[str, Any], store: Store) -> None:
    """A desired state that lacks something, or has it wrong, is corrupt: nothing is made up."""
    path = store.state_path("example.com")
    path.write_text(json.dumps({"version": VERSION, "domains": {NAME: entry}}))
    assert "is corrupt" in problem(store, path)


@pytest.mark.parametrize("content", [
    {"uploads": {"id": {}}},
    {"uploads": {"id": "ab"}},
    {"uploads": {"id": {"fingerprint": "ab", "at": "yesterday"}}},
    {"colour": "red"},
    {"hold": None},
    {"former": "ab"},
    {"former": [1]},
    {"checkpoints": ["1.5"]},
    {"checkpoints": {"1.5": "yes"}},
    {"checkpoints": {"yesterday": False}},
    {"listings": {}},
    {"domains": {NAME: {"sent": {"binding": {}}}}},
    {"domains": {NAME: {"sent": {"binding": {}, "at": True}}}},
    {"domains": {NAME: {"baseline": ["https"]}}},
    {"domains": {NAME: {"seen": {"cert_id": None}}}},
    {"domains": {NAME: {"seen": "yes"}}},
], ids=str)
def test_incomplete_memory(content: dict[str, Any], store: Store) -> None:
    """A memory that lacks something, or has it wrong, is corrupt as well."""
    path = store.memory_path("example.com")
    path.write_text(json.dumps({"version": VERSION, **content}))
    assert "is corrupt" in problem(store, path)


@pytest.mark.parametrize("content", [
    {"told": {"a": 1}}, {"told": []}, {"bind_methods": {"a": None}},
    {"listings": {"a": {"at": 1.5}}},
    {"listings": {"a": {"at": 1, "domains": {"a": 1}, "bound": {}}}}, {"colour": "red"},
], ids=str)
def test_incomplete_common_memory(content: dict[str, Any], store: Store) -> None:
    """So is the memory of what belongs to no lineage."""
    path = store.memory_path()
    path.write_text(json.dumps({"version": VERSION, **content}))
    assert "is corrupt" in problem(store, path)


@pytest.mark.parametrize("name", FILES)
def test_newer_version(name: str, store: Store) -> None:
    """A file of a newer version is not touched, and the way out is an upgrade."""
    path = store.folder / name
    content = json.dumps({"version": VERSION + 1, "domains": "in a form of the future"})
    path.write_text(content)
    text = problem(store, path)
    assert "newer certbot-qiniu" in text
    assert "Upgrade certbot-qiniu" in text
    assert path.read_text() == content


@pytest.mark.parametrize("name", FILES)
def test_unreadable(name: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is an error, and not taken for an empty one."""
    path = store.folder / name
    read = Path.read_text

    def refuse(self: Path, *args: Any, **kwargs: Any) -> str:
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert problem(store, path).startswith(f"Could not read {path}: Permission denied")


@pytest.mark.parametrize("name", ["state", "memory"])
def test_unreadable_folder(name: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be read is an error as well."""
    listdir = os.listdir

    def refuse(path: Path) -> list[str]:
        if path == store.folder / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(errors.StateError, match=f"{name}: Permission denied"):
        reopened(store)


def test_damaged_lineage(store: Store) -> None:
    """A lineage with a damaged file keeps what it manages, and the others can be changed."""
    store.apply({"x.example.org": Managed("x.example.org", "cdn", "other", Binding())})
    path = store.state_path("example.com")
    path.write_text("damaged")
    later = reopened(store)
    assert ["x.example.org"] == list(later.state)
    assert {NAME: "example.com", "x.example.org": "other"} == {
        name: entry.lineage for name, entry in later.owners().items()}
    later.memory.lineage("other").hold = later.memory.lineage("example.com").hold = "ef"
    later.apply({"x.example.org": None})
    later.write_memory()
    with pytest.raises(errors.StateError, match="is corrupt"):
        later.apply({NAME: Managed(NAME, "cdn", "example.com", Binding())})
    assert "damaged" == path.read_text()
    memory = reopened(store).memory
    assert ("ab" * 32, "ef") == (memory.lineage("example.com").hold, memory.lineage("other").hold)


def test_no_files(folder: Path) -> None:
    """Nothing there is an empty state, and looking makes no files (a dry run only looks)."""
    store = Store(folder)
    store.load()
    assert (store.state, store.memory) == ({}, Memory())
    assert not folder.exists()


# Writing


def contents(store: Store) -> dict[str, bytes]:
    """All files, and what is in them."""
    return {str(path): path.read_bytes() for path in sorted(store.folder.rglob("*"))
            if path.is_file()}


def fail(*_args: Any, **_kwargs: Any) -> Any:
    """Have no room left."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
def test_full_disk(call: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails at any step leaves the old files whole, and no other files behind."""
    before = contents(store)
    store.memory.lineage("example.com").hold = ""
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(errors.StateError, match=r"write .*/state/.*\.json: No space left"):
            set_state(store, {})
        with pytest.raises(errors.StateError, match=r"write .*/memory/.*\.json: No space left"):
            store.write_memory()
    assert contents(store) == before
    assert store.state == STATE, "the state in memory must be what is on the disk"


def test_full_disk_while_writing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of a file leaves the old one whole."""
    before = contents(store)
    store.memory.lineage("example.com").hold = ""
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        opened = os.fdopen

        def divert(handle: int, *args: Any, **kwargs: Any) -> Any:
            os.dup2(full.fileno(), handle)
            return opened(handle, *args, **kwargs)

        patch.setattr(os, "fdopen", divert)
        with pytest.raises(errors.StateError, match="No space left on device"):
            store.write_memory()
    assert contents(store) == before


def test_interrupted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C while writing passes through, and leaves the old file and no other."""
    before = contents(store)

    def interrupt(*_args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            set_state(store, {})
    assert contents(store) == before


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
    later.memory.bind_methods["account"] = "PUT"
    later.write_memory()
    assert {"account": "PUT"} == reopened(store).memory.bind_methods


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
    for number in range(2):
        set_state(store, state_of(number))
        store.memory.told["a"] = store.memory.lineage("example.com").hold = str(number)
        store.write_memory()
    assert seen == [0o600] * 6
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in files}
    assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in (
        store.folder, *store.folder.rglob("*")) if path.is_dir()}


@pytest.mark.usefixtures("no_umask")
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_mode_of_other_files(mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another mode, if it is asked for, holds from the moment the file has its name."""
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
    set_state(store, state_of(1))
    assert order == ["fsync", "replace"]


# Opening


def test_open(folder: Path) -> None:
    """A new store has the folders that the reverter needs, and refuses older versions."""
    store = Store(folder)
    store.open()
    assert {"state.json", ".certbot.lock"} == {
        path.name for path in folder.rglob("*") if path.is_file()}
    assert (folder / "state").is_dir()
    with pytest.raises(errors.StateError, match="newer certbot-qiniu"):
        read_json(folder / "state.json", 1)


def test_open_writes_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening what is there writes nothing, and opens no file for writing."""
    monkeypatch.setattr(tempfile, "mkstemp", fail)
    later = Store(store.folder)
    later.open()
    later.write_memory()


def test_open_again(store: Store) -> None:
    """A store that is opened again has what was written."""
    later = Store(store.folder)
    later.open()
    assert later.state == STATE
    assert later.memory == store.memory


def test_read_only(store: Store, tmp_path: Path) -> None:
    """A store for looking keeps changes to itself: no folder, no lock, no file."""
    before = contents(store)
    looking = Store(store.folder, read_only=True)
    looking.open()
    assert (looking.state, looking.memory) == (STATE, store.memory)
    set_state(looking, {})
    looking.memory.lineage("x").hold = "y"
    looking.write_memory()
    assert looking.state == {}
    assert contents(store) == before
    nowhere = Store(tmp_path / "nowhere", read_only=True)
    nowhere.open()
    nowhere.write_memory()
    assert not nowhere.folder.exists()


def test_open_corrupt(store: Store) -> None:
    """Opening never replaces a damaged file by an empty one."""
    for name in FILES:
        (store.folder / name).write_text("damaged")
    with pytest.raises(errors.StateError, match="is corrupt"):
        Store(store.folder).open()
    assert {"damaged"} == {(store.folder / name).read_text() for name in FILES}


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
TIMES = st.floats(3e9, 4e9) | st.just(0.0)  # what is a year old is dropped
FLAGS = st.sampled_from([None, False, True])
VERSIONS = st.none() | st.lists(TEXTS, max_size=2).map(tuple)
NEWER = st.dictionaries(TEXTS.map("x{}".format), st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3), max_size=2)
BINDINGS = st.builds(Binding, st.sampled_from(["https", "http"]), TEXTS, TEXTS, FLAGS, FLAGS, FLAGS,
                     VERSIONS, NEWER)
PLAIN = TEXTS | st.booleans() | st.integers(-2**53, 2**53) | st.lists(
    TEXTS | st.integers(-2**53, 2**53), max_size=2).map(tuple)
SENTS = st.builds(Sent, BINDINGS, TIMES)
DOMAINS = st.builds(Domain, st.just(NAME), state=TEXTS, state_reason=TEXTS, operable=st.booleans(),
                    detailed=st.booleans(), cert_id=TEXTS, force_https=FLAGS, http2=FLAGS,
                    tls_versions=VERSIONS,
                    https_fields=st.dictionaries(TEXTS, PLAIN, max_size=2))
LINEAGES = st.sampled_from(["example.com", "b", "名.example"])
RECORDS = st.builds(Record, TEXTS, LINEAGES | st.just(""), st.none() | BINDINGS, st.none() | SENTS,
                    st.none() | SENTS, st.none() | DOMAINS, TIMES, TIMES)
STATES = st.dictionaries(TEXTS, st.tuples(TEXTS, LINEAGES, BINDINGS), max_size=3).map(
    lambda entries: {name: Managed(name, *entry) for name, entry in entries.items()})
ENTRIES = st.builds(
    LineageMemory, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS,
    st.none() | st.lists(TEXTS.filter(bool), max_size=2).map(tuple),  # "" is the present state
    st.dictionaries(st.sampled_from(["1.5", "2.5"]), st.booleans()),
    hooks=st.dictionaries(TEXTS, TEXTS, max_size=2),
    failed_hooks=st.dictionaries(TEXTS, TEXTS, max_size=2))
MEMORIES = st.builds(
    Memory,
    st.dictionaries(st.just(NAME), RECORDS, max_size=1),
    st.dictionaries(TEXTS, st.builds(Upload, TEXTS, LINEAGES | st.just(""), TIMES),
                    max_size=2),
    st.dictionaries(LINEAGES, ENTRIES, max_size=2),
    st.dictionaries(TEXTS, st.builds(Listing, TIMES, st.dictionaries(TEXTS, TEXTS, max_size=1),
                                     st.dictionaries(TEXTS, TEXTS, max_size=1)), max_size=1),
    st.dictionaries(TEXTS, TEXTS, max_size=1), st.dictionaries(TEXTS, TEXTS, max_size=1))
ROUND_TRIP = settings(deadline=None, max_examples=60,
                      suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(state=STATES)
@ROUND_TRIP
@example(state=STATE)
@example(state={NAME: Managed(NAME, "", "b", Binding())})
def test_state_round_trip(state: State, store: Store) -> None:
    """A state that is written is read back as it was."""
    set_state(store, state)
    assert store.state == state
    assert reopened(store).state == state


@given(memory=MEMORIES)
@ROUND_TRIP
@example(memory=MEMORY)
@example(memory=Memory(domains={NAME: Record(seen=Domain(NAME))}))
@example(memory=Memory(domains={NAME: Record(baseline=Binding())}))
def test_memory_round_trip(memory: Memory, store: Store) -> None:
    """A memory that is written is read back as it was."""
    for path in store.folder.rglob("*.json"):
        path.unlink()
    fresh = Store(store.folder)
    fresh.memory = copy.deepcopy(memory)
    fresh.write_memory()
    later = reopened(store).memory
    assert (later.domains, later.uploads, later.listings, later.told, later.bind_methods) == (
        memory.domains, memory.uploads, memory.listings, memory.told, memory.bind_methods)
    for name in {*later.lineages, *memory.lineages}:
        assert later.lineage(name) == memory.lineage(name)


def test_files_are_plain(store: Store) -> None:
    """The files are for human eyes too: one version, no defaults, no escapes."""
    assert json.loads(store.state_path("example.com").read_text(encoding="utf-8")) == {
        "version": VERSION, "serial": 1,
        "domains": {NAME: {"service": "cdn",
                           "binding": {"fingerprint": "ab" * 32, "force_https": True}}}}
    text = store.memory_path("example.com").read_text(encoding="utf-8")
    assert "证书校验失败" in text
    assert text.endswith("}\n")


def test_written_state_is_a_copy(store: Store) -> None:
    """Changing a dictionary after it was written changes nothing in the store."""
    desired = dict(STATE)
    set_state(store, desired)
    desired.clear()
    assert store.state == STATE


# A domain in two files


def entry(name: str, lineage: str, number: int = 0) -> Managed:
    """A line of the desired state."""
    return Managed(name, "cdn", lineage, Binding("https", f"{number:064x}"))


def test_a_domain_moves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain is in its new files before it leaves the old ones, whichever way it moves."""
    for new in ("a", "z", "example.com"):
        order: list[str] = []

        def note(source: str, target: Path, order: list[str] = order) -> None:
            order.append(f"{target.parent.name}/{target.stem}")
            Path(source).rename(target)

        old = store.state[NAME].lineage
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", note)
            store.memory.update(NAME, lineage=new)
            store.write_memory()
            store.apply({NAME: entry(NAME, new)})
        assert [f"memory/{new}", f"memory/{old}", f"state/{new}", f"state/{old}"] == order
        assert (new, new) == (reopened(store).state[NAME].lineage,
                              reopened(store).memory.domains[NAME].lineage)
        assert MEMORY.domains[NAME].baseline == reopened(store).memory.domains[NAME].baseline


@pytest.mark.parametrize("lives", range(8))
def test_two_domains_change_places(store: Store, lives: int,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a process dies between two files that take from each other, no baseline is lost."""
    store.apply({"x": entry("x", "b")})
    store.memory.update("x", lineage="b", baseline=Binding("http"))
    store.write_memory()
    replace, left = os.replace, [lives]

    def die(source: str, target: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        replace(source, target)

    store.memory.update(NAME, lineage="b")
    store.memory.update("x", lineage="example.com")
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(os, "replace", die)
        store.write_memory()
        store.apply({"x": entry("x", "example.com"), NAME: entry(NAME, "b")})
    later = reopened(store).memory.domains
    assert [Binding("http")] * 2 == [later[name].baseline for name in ("x", NAME)]


def test_serial(store: Store) -> None:
    """Of two files with a domain the one written last has it, whatever their names and times."""
    store.apply({NAME: entry(NAME, "b", 1)})
    old, new = (store.state_path(name) for name in ("example.com", "b"))
    stale = {"version": VERSION, "serial": 1, "domains": {
        NAME: {"service": "cdn", "binding": {}}}}
    old.write_text(json.dumps(stale))
    assert "b" == reopened(store).state[NAME].lineage
    old.write_text(json.dumps({**stale, "serial": 99}))
    later = reopened(store)
    assert "example.com" == later.state[NAME].lineage
    assert {} == later.managed("b")
    later.apply({NAME: entry(NAME, "b", 2)})
    assert 99 < json.loads(new.read_text())["serial"]
    assert "b" == reopened(store).state[NAME].lineage


def test_the_lineage_that_manages(store: Store) -> None:
    """What two files remember of a domain is that of the lineage that manages it."""
    store.memory.update(NAME, lineage="a", baseline=Binding(cert_id="x"))
    store.write_memory()
    kept = {"version": VERSION, "serial": 1, "domains": {NAME: {"hsts": "ours"}}}
    store.memory_path("example.com").write_text(json.dumps(kept))
    later = reopened(store)
    assert ("example.com", "ours") == (
        later.memory.domains[NAME].lineage, later.memory.domains[NAME].hsts)
    later.write_memory()
    assert NAME not in store.memory_path("a").read_text()


# What is written


def test_only_what_changes(store: Store) -> None:
    """A change of one lineage writes its file alone."""
    store.apply({"x": entry("x", "b")})
    store.memory.lineage("b").hold = "ab"
    store.write_memory()
    before = contents(store)
    store.apply({"x": entry("x", "b", 1)})
    store.memory.update("x", lineage="b", hsts="ours")
    store.write_memory()
    after = contents(store)
    assert {"state/b.json", "memory/b.json"} == {
        str(Path(name).relative_to(store.folder)) for name in after
        if after[name] != before.get(name)}


def test_an_entry_that_was_held(store: Store) -> None:
    """A change of an entry is written, however long ago somebody has asked for it."""
    held = store.memory.lineage("example.com")
    for number in range(3):
        held.hold = str(number)
        store.write_memory()
        assert str(number) == reopened(store).memory.lineage("example.com").hold


def test_first_checkpoint(store: Store) -> None:
    """A lineage's first checkpoint has a file to copy, and a lineage without one changes none."""
    before = contents(store)
    assert {str(store.state_path("example.com"))} == store.to_keep(["example.com"])
    assert before == contents(store)
    [path] = store.to_keep(["new"])
    assert {} == json.loads(Path(path).read_text())["domains"]


def test_let_go_and_taken_again(store: Store) -> None:
    """A rollback to a state that has a domain again ends its being let go."""
    store.memory.update(NAME, let_go=5.0)
    store.write_memory()
    assert 0 == reopened(store).memory.domains[NAME].let_go
    set_state(store, {})
    assert 5 == reopened(store).memory.domains[NAME].let_go


def test_rolled_back(store: Store) -> None:
    """What a rollback has put back is not older than it any more, nor what came after it."""
    for number in (2, 3):
        store.memory.lineage("example.com").supersede([str(number - 1)], [str(number)])
    store.write_memory()
    assert ("2", "1") == reopened(store).memory.lineage("example.com").former
    set_state(store, {NAME: replace(STATE[NAME], binding=Binding("https", "2"))})
    assert ("1",) == reopened(store).memory.lineage("example.com").former


def test_old_things_are_forgotten(store: Store) -> None:
    """What belongs to nobody for a year is dropped, and what a rollback needs is not."""
    long_ago = time.time() - 400 * 86_400
    domains = {"read": Record(seen_at=long_ago), "read lately": Record(seen_at=time.time()),
               "let go": Record(lineage="gone", baseline=Binding(), seen_at=long_ago, let_go=1.0)}
    store.memory.domains.update(domains)
    store.memory.uploads.update({
        "gone": Upload("ef", "gone", long_ago), "ours": Upload("ef", "example.com", long_ago),
        "fresh": Upload("ef", "gone", time.time())})
    store.memory.listings.update({
        "former key": Listing(long_ago, {NAME: ""}, {}), "key": Listing(time.time(), {}, {})})
    store.write_memory()
    memory = reopened(store).memory
    assert {"key"} == set(memory.listings)
    assert {NAME, "read lately", "let go"} == set(memory.domains)
    assert {"id", "ours", "fresh"} == set(memory.uploads)


@pytest.mark.parametrize(("seen", "is_kept"), [(1, False), (400, True)])
def test_a_wrong_clock_forgets_nothing(seen: float, is_kept: bool, store: Store) -> None:
    """That a year has passed is believed only where domains were read meanwhile."""
    now = time.time()
    gone = Record(lineage="example.com", baseline=Binding(), gone=Tombstone(now - 401 * 86_400))
    store.memory.domains.update({"gone": gone, NAME: Record(
        lineage="example.com", baseline=Binding(), seen_at=now - seen * 86_400)})
    store.write_memory()
    assert is_kept == ("gone" in reopened(store).memory.domains)


# Version 1


def version_1(folder: Path) -> None:
    """Lay out the files of version 1: one for the state, one for the memory."""
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"version": 1, "domains": {
        NAME: {"service": "cdn", "lineage": "example.com", "binding": {"fingerprint": "ab"}},
        "x": {"service": "kodo", "lineage": "b", "binding": {"fingerprint": "cd"}}}}))
    (folder / "memory.json").write_text(json.dumps({
        "version": 1,
        "domains": {NAME: {"lineage": "example.com", "baseline": {"protocol": "http"}},
                    "x": {"service": "kodo", "lineage": "b", "baseline": {"cert_id": "1"}},
                    "read": {"seen_at": 5e9}},
        "uploads": {"id": {"fingerprint": "ab", "lineage": "example.com"}},
        "lineages": {"example.com": {"credentials": "/etc/qiniu.ini"}},
        "listings": {"key": {"at": 5e9, "domains": {}, "bound": {}}}, "told": {"a": "b"}}))


def facts(store: Store) -> tuple[object, ...]:
    """All that was in the files of version 1."""
    memory = store.memory
    return (
        dict(store.state), dict(memory.domains), memory.listings, memory.told,
        {cert_id: (one.fingerprint, one.lineage) for cert_id, one in memory.uploads.items()},
        {name: one.credentials for name, one in memory.lineages.items() if one.credentials})


def test_version_1_is_divided(folder: Path) -> None:
    """Its files become those of the lineages, once; nothing of them is lost."""
    version_1(folder)
    looking = Store(folder, read_only=True)
    before = contents(looking)
    looking.open()
    assert before == contents(looking)
    store = Store(folder)
    store.open()
    assert facts(looking) == facts(store) == facts(reopened(store))
    assert ["b", "example.com"] == sorted(path.stem for path in folder.glob("state/*.json"))
    assert "/etc/qiniu.ini" not in (folder / "memory.json").read_text()
    divided = contents(store)
    reopened(store).write_memory()
    assert divided == contents(store)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("lives", range(7))
def test_dies_while_dividing(folder: Path, call: str, lives: int,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it dies, the next process goes on, and has all of it."""
    version_1(folder)
    looking = Store(folder, read_only=True)
    looking.open()
    real, left = getattr(os, call), [lives]

    def die(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(*arguments)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(os, call, die)
        Store(folder).open()
    later = Store(folder)
    later.open()
    assert facts(looking) == facts(later) == facts(reopened(later))
    assert 2 == json.loads((folder / "state.json").read_text())["version"]


def test_rollback_to_version_1(folder: Path) -> None:
    """A state of version 1 that a rollback puts back is the whole state again."""
    version_1(folder)
    copy_of = (folder / "state.json").read_text()
    store = Store(folder)
    store.open()
    store.apply({NAME: entry(NAME, "b"), "x": None, "y": entry("y", "new")})
    (folder / "state.json").write_text(copy_of)
    store.load()
    assert {NAME: ("example.com", "ab"), "x": ("b", "cd")} == {
        name: (one.lineage, one.binding.fingerprint) for name, one in reopened(store).state.items()}
    assert [] == list(reopened(store).managed("new"))
