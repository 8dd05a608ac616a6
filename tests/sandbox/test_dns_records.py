"""The records of an emulated DNS provider: their numbers, names and owners."""

from __future__ import annotations

import pytest

from tests.sandbox.dns_records import Records

ZONES = ("example.com", "example.net")


@pytest.fixture
def records() -> Records:
    """Three records of two domains."""
    found = Records(100)
    found.add("example.com", "_acme-challenge", "TXT", "one", 600)
    found.add("example.net", "@", "TXT", "two", 600)
    found.add("example.com", "_acme-challenge", "TXT", "three", 600)
    return found


def test_numbers(records: Records) -> None:
    """They are in a row, and none is used again after a deletion."""
    assert ["100", "101", "102"] == [record.record_id for record in records]
    assert records.delete("102", ZONES)
    assert "103" == records.add("example.com", "www", "A", "192.0.2.1", 600).record_id


@pytest.mark.parametrize(("record_id", "domains", "left"), [
    ("100", ["example.com"], ["two", "three"]), ("100", ZONES, ["two", "three"]),
    ("100", ["example.net"], ["one", "two", "three"]), ("100", [], ["one", "two", "three"]),
    ("0100", ZONES, ["one", "two", "three"]), ("9", ZONES, ["one", "two", "three"])],
    ids=["its domain", "one of them", "another domain", "no domain", "almost", "unknown"])
def test_delete(records: Records, record_id: str, domains: list[str], left: list[str]) -> None:
    """A record goes with its number, and only for who has its domain."""
    assert (len(left) == 2) is records.delete(record_id, domains)
    assert left == [record.value for record in records]


@pytest.mark.parametrize(("name", "values"), [
    ("_acme-challenge.example.com", ["one", "three"]), ("_ACME-Challenge.Example.Com",
                                                        ["one", "three"]),
    ("example.net", ["two"]), ("example.com", []), ("@.example.net", [])],
    ids=["two values", "in capitals", "the domain itself", "no text", "no such name"])
def test_texts(records: Records, name: str, values: list[str]) -> None:
    """All values of a name are answered, oldest first, however the name is written."""
    assert values == records.texts(name)


def test_other_kinds_are_no_texts(records: Records) -> None:
    """A name's address is not answered as a text."""
    records.add("example.com", "www", "A", "192.0.2.1", 600)
    assert [] == records.texts("www.example.com")


def test_of(records: Records) -> None:
    """Each domain has its own."""
    assert [["one", "three"], ["two"], []] == [
        [record.value for record in records.of(domain)] for domain in (*ZONES, "example.org")]
