"""certbot's checkpoints: which of them are deleted, and what of ours is found in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from certbot import errors as certbot_errors
from certbot.reverter import Reverter

from certbot_qiniu.deployment.checkpoints import (
    NoCheckpoints,
    finish_deletion,
    finish_deletions,
    former_fingerprints,
    newest,
    older_states,
    prune,
)


class Desk:
    """certbot's own reverter, a folder of ours, and a file of somebody else's."""

    def __init__(self, home: Path) -> None:
        self.home, self.backups, self.folder = home, home / "backups", home / "qiniu"
        self.in_progress = home / "IN_PROGRESS"
        self.reverter = Reverter(SimpleNamespace(  # type: ignore[arg-type]
            backup_dir=str(self.backups), work_dir=str(home), strict_permissions=False,
            in_progress_dir=str(self.in_progress), temp_checkpoint_dir=str(home / "TEMP")))
        (self.folder / "state").mkdir(parents=True)
        self.other = home / "nginx.conf"
        self.other.write_text("theirs")

    def state(self, lineage: str, *fingerprints: str) -> Path:
        """Let a lineage's state have these fingerprints; its file."""
        path = self.folder / "state" / f"{lineage}.json"
        path.write_text(json.dumps({"version": 2, "domains": {
            f"d{number}": {"service": "cdn", "binding": {"fingerprint": fingerprint}}
            for number, fingerprint in enumerate(fingerprints)}}))
        return path

    def checkpoint(self, *paths: Path) -> Path:
        """Make a checkpoint of files, as certbot does."""
        self.reverter.add_to_checkpoint({str(path) for path in paths}, "notes\n")
        self.reverter.finalize_checkpoint("title")
        made = newest(self.backups)
        assert made
        return made


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """No checkpoint yet."""
    return Desk(tmp_path)


def test_newest(desk: Desk) -> None:
    """It is the one that a rollback begins with."""
    assert newest(desk.backups) is None
    assert newest(desk.home / "nowhere") is None
    for _ in range(3):
        made = desk.checkpoint(desk.other)
    assert made.name == max(path.name for path in desk.backups.iterdir())


# Pruning


def test_prune(desk: Desk) -> None:
    """A checkpoint of ours alone goes as a whole, and every later rollback works."""
    path = desk.state("a", "1")
    first, second, third = (desk.checkpoint(path) for _ in range(3))
    desk.state("a", "2")
    prune(desk.backups, [second.name, "1.5"], desk.folder)
    assert [first, third] == sorted(desk.backups.iterdir())
    assert [] == list(desk.home.glob("qiniu-*"))
    desk.reverter.rollback_checkpoints(9)
    assert '"1"' in path.read_text()


@pytest.mark.parametrize("what", ["another file", "a new file", "a command", "a stray file",
                                  "another's alone", "nothing"])
def test_never_somebody_elses(desk: Desk, what: str) -> None:
    """A checkpoint that undoes anything besides our files stays."""
    path = desk.state("a", "1")
    paths = {"another file": [path, desk.other], "another's alone": [desk.other],
             "nothing": []}.get(what, [path])
    desk.reverter.add_to_checkpoint({str(path) for path in paths}, "notes\n")
    if what == "a new file":
        desk.reverter.register_file_creation(False, str(desk.home / "new"))
    elif what == "a command":
        desk.reverter.register_undo_command(False, ["true"])
    elif what == "a stray file":
        (desk.in_progress / "stray").touch()
    desk.reverter.finalize_checkpoint("title")
    made = newest(desk.backups)
    assert made
    prune(desk.backups, [made.name], desk.folder)
    assert made.is_dir()


def test_killed_while_pruning(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it stands in no rollback's way, and the next pruning deletes it."""
    made = desk.checkpoint(desk.state("a", "1"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        prune(desk.backups, [made.name], desk.folder)
    assert [f"qiniu-pruned-{made.name}"] == [path.name for path in desk.home.glob("qiniu-p*")]
    desk.reverter.rollback_checkpoints(1)
    prune(desk.backups, [], desk.folder)
    assert [] == list(desk.home.glob("qiniu-p*"))


def test_prune_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be moved it stays as it is."""
    made = desk.checkpoint(desk.state("a", "1"))

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", refuse)
    prune(desk.backups, [made.name], desk.folder)
    assert 3 == len(list(made.iterdir()))


# What a crash leaves


@pytest.mark.parametrize("lost", ["a.json", "b.json"])
def test_finish_deletion(desk: Desk, lost: str) -> None:
    """A checkpoint that certbot was deleting blocks every rollback, until it is gone."""
    older = desk.checkpoint(desk.state("a", "1"))
    made = desk.checkpoint(desk.state("a", "2"), desk.state("b", "2"))
    next(made.glob(f"{lost}_*")).unlink()
    with pytest.raises(certbot_errors.ReverterError):
        desk.reverter.rollback_checkpoints(1)
    assert finish_deletion(made, desk.folder)
    assert [older] == list(desk.backups.iterdir())
    assert not finish_deletion(older, desk.folder)
    desk.reverter.rollback_checkpoints(1)


@pytest.mark.parametrize("which", range(3))
def test_finish_deletions(desk: Desk, which: int) -> None:
    """Such a checkpoint is found behind newer ones, too; the result says if it is the newest."""
    made = [desk.checkpoint(desk.state("a", str(number))) for number in range(3)]
    next(made[which].glob("a.json_*")).unlink()
    assert (which == 2) == finish_deletions(desk.backups, desk.folder)
    assert 2 == len(list(desk.backups.iterdir()))
    desk.reverter.rollback_checkpoints(9)
    assert not finish_deletions(desk.backups, desk.folder)
    assert not finish_deletions(desk.home / "nowhere", desk.folder)


@pytest.mark.parametrize("what", ["whole", "another file", "no list", "nothing"])
def test_nothing_to_finish(desk: Desk, what: str) -> None:
    """A whole checkpoint stays, as one does that is not only ours."""
    made = desk.checkpoint(desk.state("a", "1"), *([desk.other] * (what == "another file")))
    if what == "no list":
        (made / "FILEPATHS").unlink()
    elif what != "whole":
        next(made.glob("a.json_*")).unlink()
    path = desk.home / "nowhere" if what == "nothing" else made
    assert not finish_deletion(path, desk.folder)
    assert made.is_dir()


# What older states had


def test_former_fingerprints(desk: Desk) -> None:
    """What was forgotten is found, newest first, past damaged and other checkpoints."""
    for number in range(5):
        desk.checkpoint(desk.state("a", str(number)), desk.state("b", "b"))
        desk.checkpoint(desk.other)
    damaged = sorted(desk.backups.iterdir(), reverse=True)
    (damaged[3] / "FILEPATHS").unlink()
    next(damaged[5].glob("a.json_*")).write_text("damaged")
    assert {"a": ("1", "0"), "b": (), "c": ()} == former_fingerprints(
        desk.backups, desk.folder, {"a": {"4"}, "b": {"b"}, "c": set()})
    assert {"a": ()} == former_fingerprints(desk.home / "nowhere", desk.folder, {"a": set()})


def test_former_fingerprints_of_version_1(desk: Desk) -> None:
    """A checkpoint of version 1 has the state of all lineages."""
    path = desk.folder / "state.json"
    for number in range(2):
        path.write_text(json.dumps({"version": 1, "domains": {
            name: {"lineage": name, "binding": {"fingerprint": f"{name}{number}"}}
            for name in ("a", "b")}}))
        desk.checkpoint(path)
    assert {"a": ("a1", "a0"), "b": ("b0",)} == former_fingerprints(
        desk.backups, desk.folder, {"a": {"a2"}, "b": {"b1"}})


def test_older_states(desk: Desk) -> None:
    """What a rollback would put back, newest first, past damaged and other checkpoints."""
    for number in range(3):
        path = desk.state("a", str(number))
        desk.checkpoint(path, desk.other)
        desk.checkpoint(desk.other)
    assert [(path, {"d0": ("a", "2")}), (path, {"d0": ("a", "1")})] == older_states(
        desk.backups, desk.folder, 4)
    next(sorted(desk.backups.iterdir(), reverse=True)[1].glob("a.json_*")).write_text("damaged")
    assert [(path, {"d0": ("a", "1")})] == older_states(desk.backups, desk.folder, 4)
    assert [] == older_states(desk.home / "nowhere", desk.folder, 1)


def test_no_checkpoints(desk: Desk) -> None:
    """If no reverter is at hand nothing is kept, and nothing fails."""
    NoCheckpoints().add_to_checkpoint({str(desk.home / "missing")}, "notes")
    NoCheckpoints().finalize_checkpoint("title")
    assert [] == list(desk.backups.iterdir())
