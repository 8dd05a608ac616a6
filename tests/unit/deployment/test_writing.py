"""What changes with the desired state: the memory before, a checkpoint, then the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment import writing
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.deployment.state import Managed, Record, Sent, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.writing import Writer, changes_between
from certbot_qiniu.model import Binding, Domain
from tests.unit.deployment.account import LINEAGE, A, B, C
from tests.unit.deployment.desired import Checkpoints, entry, files_of, manage, set_state, state
from tests.unit.rig import Rig


@pytest.fixture
def writer(rig: Rig, checkpoints: Checkpoints) -> Writer:
    """Who writes the state, and has written one without domains."""
    set_state(rig.store, {})
    return Writer(rig.store, checkpoints, rig.backups)


def write(writer: Writer, desired: State) -> bool:
    """Let *desired* be all of the state."""
    return writer.write(changes_between(writer.store.state, desired))


def commit(writer: Writer, desired: State, title: str) -> None:
    """Do so in a checkpoint."""
    writer.commit(changes_between(writer.store.state, desired), title)


def written(rig: Rig) -> State:
    """The desired state on the disk."""
    later = Store(rig.store.folder, read_only=True)
    later.load()
    return later.state


def test_commit(rig: Rig, writer: Writer, checkpoints: Checkpoints) -> None:
    """A checkpoint has the old file, and notes which domains change; no change needs none."""
    first, second = state(entry(A), entry(C)), state(entry(A), entry(B))
    commit(writer, first, "first")
    [text] = files_of(rig).values()
    commit(writer, first, "the same")
    commit(writer, second, "second")
    assert ["first", "second"] == checkpoints.ended
    assert ([text], f"Qiniu: {B}, {C}\n") == checkpoints.kept[1]
    assert second == written(rig)


@pytest.mark.parametrize(("desired", "changed"), [(state(entry(A)), False), (state(), True)])
def test_write(rig: Rig, writer: Writer, checkpoints: Checkpoints, desired: State, *,
               changed: bool) -> None:
    """Writing alone leaves the checkpoint in progress, for others to put their files in."""
    set_state(rig.store, state(entry(A)))
    assert changed == write(writer, desired)
    assert (changed, []) == (bool(checkpoints.kept), checkpoints.ended)


def test_checkpoint_that_fails(rig: Rig, writer: Writer,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the old file in a checkpoint the new one is not written."""
    def refuse(*_: object) -> None:
        raise errors.StateError("no room")

    monkeypatch.setattr(writer.checkpoints, "add_to_checkpoint", refuse)
    with pytest.raises(errors.StateError):
        write(writer, state(entry(A)))
    assert {} == written(rig)


def test_given_up_on_purpose(rig: Rig, deployer: Deployer) -> None:
    """What leaves the desired state keeps what it serves, and its baseline is not forgotten."""
    writer = deployer.writer
    manage(rig, entry(A), entry(B))
    rig.memory.update(B, sent=Sent(Binding(), 1.0))
    write(writer, state(entry(A)))
    let_go = rig.memory.domains[B].let_go
    assert Record(lineage=LINEAGE, baseline=Binding("http"), let_go=let_go) == (
        rig.memory.domains[B])
    assert let_go > 0
    assert (LINEAGE, Binding("http")) == (
        rig.memory.domains[A].lineage, rig.memory.domains[A].baseline)
    assert [LINEAGE] == deployer.all_lineages()
    write(writer, state())
    assert [] == deployer.all_lineages(), "nothing is to be restored"
    write(writer, state(entry(B)))
    assert Record(lineage=LINEAGE, baseline=Binding("http")) == rig.memory.domains[B]


def test_changes_hands(rig: Rig, writer: Writer) -> None:
    """A domain that another lineage takes is that one's to restore, to its first baseline."""
    manage(rig, entry(A, lineage="other"))
    write(writer, state(entry(A)))
    assert (LINEAGE, Binding("http")) == (
        rig.memory.domains[A].lineage, rig.memory.domains[A].baseline)


def test_moves_in_one_checkpoint(rig: Rig, writer: Writer, checkpoints: Checkpoints) -> None:
    """Both states of a domain that changes hands are kept before either is written."""
    manage(rig, entry(A, lineage="other"), entry(B))
    before = files_of(rig)
    commit(writer, state(entry(A), entry(B)), "title")
    assert [([before[LINEAGE], before["other"]], f"Qiniu: {A}\n")] == checkpoints.kept
    commit(writer, state(entry(A), entry(B, fingerprint="cd")), "title")
    assert 1 == len(checkpoints.kept[1][0]), "a renewal keeps its own"


def test_memory_is_written_first(rig: Rig, writer: Writer,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before the checkpoint leaves what older states had, and no state ahead of it."""
    def refuse(*_: object) -> None:
        raise errors.StateError("no room")

    manage(rig, entry(A))
    monkeypatch.setattr(writer.checkpoints, "add_to_checkpoint", refuse)
    with pytest.raises(errors.StateError):
        write(writer, state(entry(A, fingerprint="cd"), entry(B, lineage="new")))
    later = Store(rig.store.folder)
    later.load()
    assert [A] == list(later.state)
    assert Binding("http") == later.memory.domains[A].baseline
    assert () == later.memory.lineage(LINEAGE).former, "it is the present one still"


@pytest.mark.parametrize(("desired", "is_kept"), [
    ([entry(A, fingerprint="cd"), entry(B)], False), ([entry(A)], True),
    ([entry(A), entry(B), entry(C)], True), ([entry(A), entry(B, force_https=True)], True),
    ([entry(A), entry(B, hsts=True)], True), ([entry(A), entry(B, lineage="other")], True),
], ids=["renewed", "let go", "new", "redirect", "HSTS", "moved"])
def test_remember_checkpoint(rig: Rig, writer: Writer, desired: list[Managed], *,
                             is_kept: bool) -> None:
    """A checkpoint stays for ever in which more than a certificate has changed."""
    manage(rig, entry(A), entry(B))
    write(writer, state(*desired))
    writer.remember_checkpoint("5.5", may_prune=False)
    writer.remember_checkpoint("6.5", may_prune=False)
    assert {"5.5": is_kept} == rig.memory.lineage(LINEAGE).checkpoints


def test_checkpoint_that_was_undone(rig: Rig, writer: Writer) -> None:
    """What certbot has undone is not taken for the next one."""
    manage(rig, entry(A))
    write(writer, state())
    writer.forget_checkpoint()
    writer.remember_checkpoint("5.5", may_prune=False)
    assert {} == rig.memory.lineage(LINEAGE).checkpoints


@pytest.mark.parametrize("may_prune", [True, False])
def test_prune(rig: Rig, writer: Writer, monkeypatch: pytest.MonkeyPatch, *,
               may_prune: bool) -> None:
    """Those that nobody can want go; those that stay for ever need not be remembered for long."""
    pruned: list[str] = []
    monkeypatch.setattr(writing, "prune", lambda _, names, __: pruned.extend(names))
    manage(rig, entry(A))
    rig.memory.lineage(LINEAGE).checkpoints = {
        "10.5": True, "20.5": False, "30.5": False, "40.5": True, "50.5": False}
    write(writer, state(entry(A, fingerprint="cd")))
    writer.remember_checkpoint("60.5", may_prune=may_prune)
    assert (["20.5", "30.5"] if may_prune else []) == pruned
    left = {"40.5": True, "50.5": False, "60.5": False}
    assert ({} if may_prune else {"20.5": False, "30.5": False}) | left == (
        rig.memory.lineage(LINEAGE).checkpoints)


def test_recall(rig: Rig, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoints are looked through for what was forgotten alone, once."""
    asked: list[dict[str, set[str]]] = []

    def find(_: Path, __: Path, current: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
        asked.append(current)
        return dict.fromkeys(current, ("ef",))

    monkeypatch.setattr(writing, "former_fingerprints", find)
    manage(rig, entry(A), entry(B, lineage="known"))
    rig.memory.lineage("known").former = ()
    for _ in range(2):
        writer.recall()
    assert [{LINEAGE: {"ab" * 32}}] == asked
    assert ("ef",) == rig.memory.lineage(LINEAGE).former


@pytest.mark.parametrize(("former", "seen", "expected"), [
    (None, False, False), (None, True, True), (False, True, None), (True, False, None),
    (None, None, None)], ids=str)
def test_before_a_redirect(rig: Rig, writer: Writer, former: bool | None,
                           seen: bool | None, expected: bool | None) -> None:
    """What a domain had before the first redirect is remembered, for a rollback to "as it is"."""
    manage(rig, entry(A, force_https=former))
    if seen is not None:
        rig.memory.update(A, seen=Domain(A, force_https=seen))
    write(writer, state(entry(A, force_https=True)))
    assert expected == rig.memory.domains[A].former_force
