"""What is remembered: made on first use, changed in one place at a time."""

from __future__ import annotations

from certbot_qiniu.deployment.state import LineageMemory, Memory, Record, Upload

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
