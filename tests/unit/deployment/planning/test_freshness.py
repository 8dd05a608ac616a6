"""Whether what was read of a domain is still true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certbot_qiniu.deployment.planning.freshness import (
    FEW,
    LONGEST_SECONDS,
    is_outdated,
    longest_unread,
    needs_reading,
)
from certbot_qiniu.deployment.state import Record, Upload
from certbot_qiniu.model import DAY, Domain
from tests.unit.facts import NEW, NOW, OLD, WANTED, https, managed, record, sent

SEEN = https(modified="2026-02-13T12:00:00+08:00")
LISTED = replace(SEEN, detailed=False, cert_id="", force_https=None, http2=None)
FRESH = record(seen=SEEN, seen_at=NOW - DAY + 1)


def test_reading_is_spared() -> None:
    """A domain whose list entry is as it was when it was read need not be read again."""
    assert not needs_reading(LISTED, FRESH, NOW)
    assert not needs_reading(replace(LISTED, operation="other", cname="x"), FRESH, NOW)


@pytest.mark.parametrize(("listed", "remembered"), [
    (LISTED, None),
    (LISTED, record()),
    (LISTED, replace(FRESH, sent=sent())),
    (LISTED, replace(FRESH, seen_at=NOW - LONGEST_SECONDS)),
    (LISTED, replace(FRESH, seen_at=NOW + 1)),
    (replace(LISTED, modified="2026-02-13T12:00:01+08:00"), FRESH),
    (replace(LISTED, state="failed"), FRESH),
    (replace(LISTED, protocol="http"), FRESH),
    (replace(LISTED, modified=""), replace(FRESH, seen=replace(SEEN, modified=""))),
], ids=["never heard of", "never read", "something was sent", "a week ago", "in the future",
        "modified", "another state", "another protocol", "no modifyAt at all"])
def test_reading_is_needed(listed: Domain, remembered: Record | None) -> None:
    """Anything that may have changed what a domain serves asks for a read."""
    assert needs_reading(listed, remembered, NOW)


@pytest.mark.parametrize(("days", "outdated", "is_read"), [
    (1, False, True), (1, True, False), (7, True, False), (8, True, True)],
    ids=["in sync", "outdated", "outdated for long", "for longer"])
def test_reading_before_a_renewal(days: int, *, outdated: bool, is_read: bool) -> None:
    """If a new certificate is due, a renewal does not pay for a reading whose turn it is."""
    assert is_read == needs_reading(LISTED, replace(FRESH, seen_at=NOW - days * DAY), NOW,
                                    is_its_turn=True, is_outdated=outdated)


@pytest.mark.parametrize(("seen", "expected"), [
    ("new", False), ("old", True), ("console", False), (None, False)],
    ids=["in sync", "outdated", "not ours", "never read"])
def test_outdated(seen: str | None, *, expected: bool) -> None:
    """It is a certificate of ours that shows that a newer one is due."""
    uploads = {"new": Upload(NEW, "example.com"), "old": Upload(OLD, "example.com")}
    known = record(seen=replace(SEEN, cert_id=seen) if seen else None)
    assert expected is is_outdated(known, managed(WANTED), uploads)
    assert not is_outdated(known, None, uploads)


def test_turns() -> None:
    """The sixth that is longest unread is read, and nothing that was read within a day."""
    records = {f"d{number}": replace(FRESH, seen_at=NOW - number * 3600) for number in range(120)}
    assert {f"d{number}" for number in range(100, 120)} == longest_unread(records, records, NOW)
    half = [f"d{number}" for number in range(72, 120)]
    assert {f"d{number}" for number in range(110, 120)} == longest_unread(
        half, records, NOW), "never fewer than a few"
    assert {f"d{number}" for number in range(116, 120)} == longest_unread(
        records, records, NOW, is_noted=False)
    young = {name: records[name] for name in list(records)[:30]}
    assert {f"d{number}" for number in range(24, 30)} == longest_unread(young, young, NOW)
    assert frozenset() == longest_unread(["unknown"], {"unknown": record()}, NOW)


def test_turns_of_what_is_never_read() -> None:
    """What nobody reads any more takes no turn from the others."""
    records = {f"d{number}": replace(FRESH, seen_at=NOW - LONGEST_SECONDS) for number in range(60)}
    records["other"] = replace(FRESH, seen_at=NOW - DAY)
    assert {"other"} == longest_unread(records, records, NOW)


def test_every_domain_has_its_turn() -> None:
    """With two runs a day each is read within four days; if there are few, every day."""
    for count, days in (FEW, 1.5), (600, 4):
        records, most, now = {f"d{n}": replace(FRESH, seen_at=NOW) for n in range(count)}, 0, NOW
        for _ in range(60):
            now += DAY / 2
            turn = longest_unread(records, records, now)
            records.update({name: replace(FRESH, seen_at=now) for name in turn})
            most = max(most, len(turn))
            assert max(now - one.seen_at for one in records.values()) <= days * DAY
        assert most == max(FEW, count / 6)
