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


def test_uploads_of() -> None:
    """One certificate may have several ids at Qiniu."""
    memory = Memory(uploads={"1": Upload("ab", "x"), "2": Upload("cd", "x"),
                             "3": Upload("ab", "y")})
    assert memory.uploads_of("ab") == {"1", "3"}
    assert memory.uploads_of("ef") == frozenset()


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
