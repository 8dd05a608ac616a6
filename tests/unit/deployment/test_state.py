"""What is remembered: made on first use, changed in one place at a time."""

from __future__ import annotations

import dataclasses

import pytest

from certbot_qiniu.deployment.state import LineageMemory, Managed, Memory, Record, Sent, Upload
from certbot_qiniu.model import Binding

NAME = "www.example.com"


def test_memory_update() -> None:
    """A record is made on first use, and a change leaves the rest of it alone."""
    memory = Memory()
    assert memory.update(NAME, lineage="a") == Record(lineage="a")
    assert memory.update(NAME, seen_at=1.0) == Record(lineage="a", seen_at=1.0)
    assert memory.domains == {NAME: Record(lineage="a", seen_at=1.0)}
    memory.lineage("a").hold = "ab"
    assert memory.lineages == {"a": LineageMemory(hold="ab")}


def test_rename() -> None:
    """All that is known goes on under the new name; what a rollback needs stays with the old."""
    memory = Memory()
    memory.update(NAME, lineage="a", baseline=Binding("http"))
    entry = memory.lineage("a")
    entry.hold, entry.credentials, entry.given_back = "ab", "/q.ini", (NAME,)
    memory.rename("a", "b")
    assert Record(lineage="b", baseline=Binding("http")) == memory.domains[NAME]
    assert LineageMemory("/q.ini", "ab", given_back=(NAME,)) == memory.lineage("b")
    assert LineageMemory("/q.ini") == memory.lineage("a")


def test_uploads_of() -> None:
    """One certificate may have several ids at Qiniu."""
    memory = Memory(uploads={"1": Upload("ab", "x"), "2": Upload("cd", "x"),
                             "3": Upload("ab", "y")})
    assert memory.uploads_of("ab", "here") == {"1", "3"}
    assert memory.uploads_of("ef", "here") == frozenset()
    memory.uploads["4"] = Upload("ab", "x", account="there")
    assert memory.uploads_of("ab", "here") == {"1", "3"}
    assert memory.uploads_of("ab", "there") == {"1", "3", "4"}


def test_memories_share_nothing() -> None:
    """What one process remembers is not what another memory of it begins with."""
    one, other = Memory(), Memory()
    one.update(NAME, lineage="a")
    one.lineage("a").hold = "ab"
    one.uploads["1"] = Upload("ab", "a")
    one.told["a"] = "b"
    assert Memory() == other


def test_a_record_is_a_snapshot() -> None:
    """A record that was taken before a change can be put back after a refusal."""
    memory = Memory()
    before = memory.update(NAME, lineage="a")
    memory.update(NAME, lineage="b", hsts="ours")
    assert Record(lineage="a") == before
    memory.domains[NAME] = before
    assert Record(lineage="a") == memory.domains[NAME]


def test_unknown_fields() -> None:
    """A misspelled field is an error, and not a fact that nobody ever reads."""
    with pytest.raises(TypeError):
        Memory().update(NAME, linage="a")


@pytest.mark.parametrize("value", [
    Managed(NAME, "cdn", "a", Binding()), Sent(Binding(), 1.0), Record(), Upload("ab", "a"),
], ids=lambda value: type(value).__name__)
def test_facts_are_frozen(value: object) -> None:
    """What was remembered changes by being replaced, so that it is seen to have changed."""
    name = dataclasses.fields(value)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, "other")


# What belongs to a lineage


def test_facts_by_lineage() -> None:
    """What a lineage has is found without looking at the others, however it changed hands."""
    memory = Memory(domains={"a": Record(lineage="one"), "b": Record(lineage="one"),
                             "c": Record(lineage="two")},
                    uploads={"1": Upload("ab", "one")})
    assert ["a", "b"] == list(memory.domains_of("one"))
    memory.update("b", lineage="two")
    memory.uploads["1"] = Upload("cd", "two")
    assert (["a"], ["c", "b"]) == tuple(
        list(memory.domains_of(lineage)) for lineage in ("one", "two"))
    assert ({}, {"1": Upload("cd", "two")}) == (
        memory.uploads_by("one"), memory.uploads_by("two"))
    assert (frozenset(), {"1"}) == (
        memory.uploads_of("ab", "here"), memory.uploads_of("cd", "here"))
    del memory.domains["b"]
    assert ["c"] == list(memory.domains_of("two"))
    assert "'a'" in repr(memory.domains)


def test_what_has_changed() -> None:
    """The lineages of a fact that was set, moved or taken away; the same value is no change."""
    memory = Memory(domains={NAME: Record(lineage="one")}, uploads={"1": Upload("ab", "two")})
    memory.lineage("three").hold = "ab"
    memory.written(["one", "two", "three"])
    memory.update(NAME, lineage="one")
    memory.note_upload("1", Upload("ab", "two", 5.0))
    memory.lineage("three")
    assert set() == memory.changed()
    memory.update(NAME, lineage="two")
    memory.lineage("three").hold = ""
    assert {"one", "two", "three"} == memory.changed()
    memory.written(["one", "two", "three"])
    del memory.uploads["1"]
    assert {"two"} == memory.changed()


def test_the_same_again_is_no_change() -> None:
    """What is set to what it was, as at every run, is not written for that."""
    memory = Memory(lineages={"one": LineageMemory("/q.ini")})
    memory.written(["one"])
    memory.lineage("one").credentials = "/q.ini"
    assert set() == memory.changed()
    memory.lineage("one").credentials = "/r.ini"
    assert {"one"} == memory.changed()


@pytest.mark.parametrize(("former", "old", "new", "expected"), [
    ((), ["1"], ["2"], ("1",)), (("1",), ["2"], ["3"], ("2", "1")), ((), [], ["1"], ("",)),
    (("1",), ["2"], ["2"], ("1",)), (("",), ["1"], [], ("1",)), (None, ["1"], ["2"], ("1",)),
    (("2", "1"), ["3"], ["1"], ("3", "2")), (("1",), ["2", "3"], ["3", "4"], ("2", "1")),
], ids=str)
def test_superseded(former: tuple[str, ...] | None, old: list[str], new: list[str],
                    expected: tuple[str, ...]) -> None:
    """What a state had before is the first of the older ones, and what it has is none of them."""
    entry = LineageMemory(former=former)
    entry.supersede(old, new)
    assert expected == entry.former


@pytest.mark.parametrize(("former", "now", "expected"), [
    (("3", "2", "1"), ["2"], ("1",)), (("3", "2", "1"), ["4"], ("3", "2", "1")),
    (("1", ""), [], ()), (("2", "1"), ["1", "3"], ("2", "1")), (None, ["1"], None),
    (("3", "2", "1"), ["3", "2"], ("1",)),
], ids=str)
def test_returned(former: tuple[str, ...] | None, now: list[str],
                  expected: tuple[str, ...] | None) -> None:
    """What a rollback goes back to is not older any more, nor is what it has taken back."""
    entry = LineageMemory(former=former)
    entry.returned(now)
    assert expected == entry.former


def test_former_is_bounded() -> None:
    """A lineage's file does not grow for ever."""
    entry = LineageMemory()
    for number in range(300):
        entry.supersede([str(number)], [str(number + 1)])
    assert entry.former
    assert (100, "299") == (len(entry.former), entry.former[0])


def test_is_ours() -> None:
    """A domain is ours from its baseline on, until it is let go."""
    assert [False, True, False] == [record.is_ours for record in (
        Record(), Record(baseline=Binding()), Record(baseline=Binding(), let_go=1.0))]


def test_same_account() -> None:
    """Two names of one account become one, for what was uploaded and for who is there."""
    memory = Memory(uploads={"1": Upload("ab", "x", account="k1"),
                             "2": Upload("cd", "y", account="k2"),
                             "3": Upload("ef", "z", account="k3")})
    memory.lineage("x").account, memory.lineage("y").account = "k1", "k2"
    memory.same_account("k1", {"", "k1"})
    assert memory.told == {}
    memory.same_account("k1", {"k1", "k2"})
    assert ["k2", "k2", "k3"] == [upload.account for upload in memory.uploads.values()]
    assert ["k2", "k2"] == [entry.account for entry in memory.lineages.values()]
    assert ("k2", "k2", "k3") == tuple(map(memory.account_of, ("k1", "k2", "k3")))
