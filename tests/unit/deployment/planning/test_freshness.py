"""Whether what was read of a domain is still true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certbot_qiniu.deployment.planning.freshness import needs_reading
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
    (LISTED, replace(FRESH, seen_at=NOW - DAY)),
    (replace(LISTED, modified="2026-02-13T12:00:01+08:00"), FRESH),
    (replace(LISTED, state="failed"), FRESH),
    (replace(LISTED, protocol="http"), FRESH),
    (replace(LISTED, modified=""), replace(FRESH, seen=replace(SEEN, modified=""))),
], ids=["never heard of", "never read", "something was sent", "a day ago", "modified",
        "another state", "another protocol", "no modifyAt at all"])
def test_reading_is_needed(listed: Domain, remembered: Record | None) -> None:
    """Anything that may have changed what a domain serves asks for a read."""
    assert needs_reading(listed, remembered, NOW)


@pytest.mark.parametrize(("days", "seen", "is_read"), [
    (1, "new", True), (1, "old", False), (2, "old", True), (1, "console", True)],
    ids=["as wanted", "outdated", "outdated for long", "not ours"])
def test_reading_before_a_renewal(days: int, seen: str, is_read: bool) -> None:
    """Where a new certificate is due, what was read is believed for two days instead of one."""
    shown = replace(SEEN, cert_id=seen)
    remembered = record(seen=shown, seen_at=NOW - days * DAY)
    uploads = {"new": Upload(NEW, "example.com"), "old": Upload(OLD, "example.com")}
    assert is_read == needs_reading(
        LISTED, remembered, NOW, wanted=managed(WANTED), uploads=uploads)
