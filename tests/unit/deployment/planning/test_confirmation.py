"""Whether what was sent is confirmed, and what follows for the record of a domain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certbot_qiniu.deployment.planning.confirmation import account_for, as_published
from certbot_qiniu.deployment.state import Record, Sent
from certbot_qiniu.model import Binding, Domain
from tests.unit.facts import NOW, SENT_HTTP, http, https, record, sent

SEEN = https(modified="1", hsts=True)
WAITING = record(sent=sent(), seen=SEEN, seen_at=NOW - 60)
ENTRY = replace(SEEN, modified="2", detailed=False, cert_id="", force_https=None, http2=None)
TLS = ("TLSv1.3",)
HSTS = Sent(replace(sent().binding, hsts=True), NOW - 60)


@pytest.mark.parametrize(("entry", "remembered", "expected"), [
    (ENTRY, WAITING, True),
    (ENTRY, replace(WAITING, sent=None), False),
    (ENTRY, replace(WAITING, seen=None), False),
    (ENTRY, replace(WAITING, sent=SENT_HTTP), False),
    (ENTRY, replace(WAITING, sent=HSTS), False),
    (replace(ENTRY, modified="1"), WAITING, False),
    (replace(ENTRY, state="failed"), WAITING, False),
    (replace(ENTRY, state="processing"), WAITING, False),
    (replace(ENTRY, protocol="http"), WAITING, False),
], ids=["changed and at rest", "nothing sent", "never read", "sent back to http", "HSTS sent",
        "not changed", "failed", "in processing", "on http"])
def test_proof(entry: Domain, remembered: Record, expected: bool) -> None:
    """A list proves a publication if no older state can look like it."""
    assert expected == (as_published(entry, remembered) is not None)


def test_what_is_proved() -> None:
    """What is proved is as if it had been read: what was sent, and HSTS as it was."""
    assert as_published(ENTRY, WAITING) == https("new", modified="2", hsts=True)


@pytest.mark.parametrize(("seen", "known", "versions", "expected"), [
    (None, None, None, None), (None, None, TLS, "unknown"), (None, TLS, TLS, None),
    ((), None, None, ()), ((), None, TLS, TLS), (("TLSv1.2",), None, TLS, TLS),
    (("TLSv1.2",), None, (), ()), (("TLSv1.2",), None, None, "unknown")], ids=str)
def test_what_is_proved_of_versions(
        seen: tuple[str, ...] | None, known: tuple[str, ...] | None,
        versions: tuple[str, ...] | None, expected: tuple[str, ...] | str | None) -> None:
    """What was sent of them, where reads show them; what became of those left out is not known,
    nor whether reads show those that were sent for the first time."""
    found = as_published(ENTRY, replace(
        WAITING, seen=replace(SEEN, tls_versions=seen, https_fields={"ocsp": True}),
        confirmed=Sent(replace(sent("old").binding, tls_versions=known), NOW - 90),
        sent=Sent(replace(sent().binding, tls_versions=versions), NOW - 60)))
    if expected == "unknown":
        assert found is None
    else:
        assert found == https("new", modified="2", hsts=True, tls_versions=expected,
                              https_fields={"ocsp": True})


@pytest.mark.parametrize(("remembered", "is_certain"), [
    (record(), False), (record(processing_since=NOW), True),
    (record(confirmed=sent("old")), True), (record(confirmed=sent("new")), False)],
    ids=["maybe never sent", "seen in processing", "another certificate before", "the same before"])
def test_versions_that_no_read_shows(remembered: Record, is_certain: bool) -> None:
    """They count as set if Qiniu is known to have taken the change, whatever shows that."""
    found = Sent(replace(sent().binding, tls_versions=TLS), NOW - 60)
    after = account_for(replace(remembered, sent=found), https("new"), NOW)
    assert after.confirmed is not None
    assert after.confirmed.binding.tls_versions == (TLS if is_certain else None)
    shown = account_for(replace(remembered, sent=found), https("new", tls_versions=TLS), NOW)
    assert shown.confirmed == found


@pytest.mark.parametrize(("remembered", "domain", "expected"), [
    (WAITING, https("new"), replace(WAITING, sent=None, confirmed=WAITING.sent)),
    (WAITING, https("copy"), replace(WAITING, sent=None)),
    (WAITING, https("new", http2=False), replace(WAITING, sent=None)),
    (WAITING, https(), replace(WAITING, sent=None)),
    (WAITING, https("new", state="failed", operation="modify_https_conf"), WAITING),
    (WAITING, https("new", state="failed", operation="modify_source"),
     replace(WAITING, sent=None, confirmed=WAITING.sent)),
    (WAITING, https(state="failed", operation="modify_source"), WAITING),
    (WAITING, https(state="frozen"), WAITING),
    (WAITING, https(state="processing"), replace(WAITING, processing_since=NOW)),
    (replace(WAITING, processing_since=NOW - 60), https(state="processing"),
     replace(WAITING, processing_since=NOW - 60)),
    (record(processing_since=NOW - 60), https(), record()),
    (record(sent=SENT_HTTP), http(), record(confirmed=SENT_HTTP)),
    (record(baseline=Binding("http")), https("new"), record(baseline=Binding("http"))),
], ids=["published", "another copy", "other settings", "undone", "failed", "another failed",
        "another failed before", "frozen", "begins", "goes on", "has ended", "back on http",
        "nothing sent"])
def test_account(remembered: Record, domain: Domain, expected: Record) -> None:
    """A change that was sent is confirmed, undone, or still open."""
    assert expected == account_for(remembered, domain, NOW)
