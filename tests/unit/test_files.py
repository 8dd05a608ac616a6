"""Our own files, and whose a file is."""

from __future__ import annotations

import json
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from certbot_qiniu import errors, files
from certbot_qiniu.files import check_owner, others_may_change, read_json, write_json


def test_text_that_cannot_be_written(tmp_path: Path) -> None:
    """A path that is not UTF-8 is an error in words, and the file is as it was."""
    path = tmp_path / "memory.json"
    write_json(path, {"credentials": "/etc/七牛.ini"})
    with pytest.raises(errors.StateError, match="not UTF-8"):
        write_json(path, {"credentials": "/etc/\udcff.ini"})
    assert read_json(path)["credentials"] == "/etc/七牛.ini"
    assert list(tmp_path.iterdir()) == [path]


# Whose a file is

OTHERS = 4321


def owned(path: Path, uid: int, mode: int = 0o600) -> os.stat_result:
    """What a file of *uid* is like, without being root."""
    path.touch()
    return os.stat_result((stat.S_IFREG | mode, 0, 0, 1, uid, 0, 0, 0, 0, 0))


@pytest.fixture
def uid(monkeypatch: pytest.MonkeyPatch) -> int:
    """A user who is not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return 1000


def test_own_files(tmp_path: Path, uid: int) -> None:
    """Our own and root's are read."""
    for owner in (uid, 0):
        check_owner(tmp_path / "f", owned(tmp_path / "f", owner), "The file", tmp_path)


@pytest.mark.parametrize("euid", [0, 1000])
def test_file_of_another_user(tmp_path: Path, euid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another owner could change it: it is refused, with the command that fixes it."""
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    path = tmp_path / "a b"
    user = "root" if not euid else files._user(euid)
    with pytest.raises(errors.UsageError) as caught:
        check_owner(path, owned(path, OTHERS), "The file", tmp_path)
    assert f"The file {path} belongs to another user of this machine, {OTHERS}, who" in str(
        caught.value)
    assert str(caught.value).endswith(f"Run: chown {user} '{path}'")


@pytest.mark.parametrize(("uid_map", "trusted"), [
    ("         0       1000          1\n", True), ("         0          0 4294967295\n", False),
    (None, False)], ids=["a user namespace", "none", "no such file"])
def test_file_within_a_container(tmp_path: Path, uid: int, uid_map: str | None, trusted: bool,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """There the owner of certbot's folder stands for the user outside."""
    (tmp_path / "uid_map").write_text(uid_map or "")
    monkeypatch.setattr(files, "UID_MAP", tmp_path / ("uid_map" if uid_map else "nothing"))
    home = tmp_path / "etc"
    home.mkdir()
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **options: (
        os.stat_result((0o40700, 0, 0, 1, OTHERS, 0, 0, 0, 0, 0)) if path == home
        else real(path, **options)))
    found = owned(tmp_path / "f", OTHERS)
    if trusted:
        check_owner(tmp_path / "f", found, "The file", home)
    else:
        with pytest.raises(errors.UsageError, match="chown"):
            check_owner(tmp_path / "f", found, "The file", home)
    with pytest.raises(errors.UsageError, match="chown"):
        check_owner(tmp_path / "f", found, "The file")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o601])
def test_file_that_others_can_read(tmp_path: Path, uid: int, mode: int) -> None:
    """That comes first: a chown would not fix it."""
    path = tmp_path / "f"
    with pytest.raises(errors.UsageError, match=f"mode {mode:04o}.*Run: chmod 600 {path}"):
        check_owner(path, owned(path, OTHERS, mode), "The file", tmp_path)


def test_users() -> None:
    """A user without a name has a number."""
    assert (pwd.getpwuid(0).pw_name, str(OTHERS)) == (files._user(0), files._user(OTHERS))


@pytest.mark.parametrize("text", [
    "[" * 100_000, '{"version": 1, "x": ' + "9" * 5000 + "}", "\ufeff{"],
    ids=["deep", "long number", "cut off"])
def test_damaged_json(tmp_path: Path, text: str) -> None:
    """The file is named, and what to do."""
    path = tmp_path / "state.json"
    path.write_text(text, "utf-8")
    with pytest.raises(errors.StateError, match=r"state\.json is corrupt .* move it away"):
        files.read_json(path)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """A file saved by a Windows editor is read."""
    path = tmp_path / "state.json"
    path.write_text('\ufeff{"version": 1}', "utf-8")
    assert {"version": 1} == files.read_json(path)


@dataclass(frozen=True)
class Times:
    """What is decoded."""

    seen_at: float


@pytest.mark.parametrize("time", ["NaN", "Infinity", "-1e400", "1e12", "true", "null", "[]",
                                  "1" + "0" * 400])
def test_times_that_are_none(time: str) -> None:
    """A value that no clock has shown is no time."""
    with pytest.raises(TypeError, match="seen_at"):
        files.decode(Times, json.loads(f'{{"seen_at": {time}}}'))
    assert Times(1.5) == files.decode(Times, {"seen_at": 1.5})


@pytest.mark.parametrize(("folder", "name", "expected"), [
    (0o755, "program", False), (0o755, "nothing", False), (0o777, "program", True),
    (0o1777, "program", False), (0o1777, "nothing", True), (0o1777, "nothing/below", True),
    (0o1777, ".", True)])
def test_what_others_may_change(tmp_path: Path, folder: int, name: str, *, expected: bool) -> None:
    """In a folder such as /tmp they cannot replace what is there, but put what is not."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "program").touch(0o755)
    place.chmod(folder)
    assert expected is others_may_change(place / name)


def test_links_by_way_of_an_open_folder(tmp_path: Path) -> None:
    """A user who can replace one link of several decides where all of them lead."""
    for name, mode in ("own", 0o755), ("open", 0o777):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "own" / "program").touch(0o755)
    (tmp_path / "own" / "third").symlink_to("program")
    for name in ("own", "open"):
        (tmp_path / name / "second").symlink_to("../own/third")
        (tmp_path / "own" / f"by {name}").symlink_to(f"../{name}/second")
        (tmp_path / f"folder by {name}").symlink_to(name)
    assert not others_may_change(tmp_path / "own" / "by own")
    assert others_may_change(tmp_path / "own" / "by open")
    assert not others_may_change(tmp_path / "folder by own" / "third")
    assert others_may_change(tmp_path / "folder by open" / "second")
    (tmp_path / "own" / "circle").symlink_to("circle")
    assert not others_may_change(tmp_path / "own" / "circle")


def test_link_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of a link may lead it elsewhere, whatever it leads to now."""
    (tmp_path / "program").touch(0o755)
    (tmp_path / "link").symlink_to("program")
    assert not others_may_change(tmp_path / "link")
    foreign, own = owned(tmp_path / "other", OTHERS), Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: foreign if path.name == "link" else own(path))
    assert others_may_change(tmp_path / "link")
