"""What follows from facts: who uses a certificate, what may go, and what is in the way."""

from __future__ import annotations

from typing import Any

import pytest

from certbot_qiniu.command.survey.facts import AccountFacts, LineageFacts, Survey
from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import Domain
from tests.unit.command.facts import BIND, CLEAN_UPS, KEEP, NOW, WWW, seen, superseding


@pytest.mark.parametrize(("changes", "doomed"), CLEAN_UPS.values(), ids=CLEAN_UPS)
def test_what_is_cleaned_up(changes: dict[str, Any], doomed: list[str]) -> None:
    """Nothing is announced to be deleted while anything could need it."""
    found = superseding(changes)
    assert doomed == [item.cert_id for item in found.superseded(found.lineages[0])]


def test_failures() -> None:
    """A plan fails with what the renewal would report, and with what could not be looked at."""
    finding = Finding(Level.ATTENTION, "example.com", "Domains", "none")
    found = seen(Action(Verb.FAIL, WWW, Reason.OTHER_INSTALLATION, other_certificate="theirs"),
                 findings=(finding,), unread={"img.example.com": "no answer"})
    failures = found.failures()
    assert f"{WWW} serves theirs, a newer certificate" in failures[0].text
    assert [(item.level, item.text) for item in failures] == [
        (Level.ATTENTION, failures[0].text), (Level.UNKNOWN, "no answer"),
        (Level.ATTENTION, "none")]


def test_users() -> None:
    """Who is bound to a certificate, in order; nobody to one that is not there."""
    account = AccountFacts("a.ini", {name: Domain(name, protocol="https", cert_id=cert_id)
                                     for name, cert_id in (("b", "1"), ("a", "1"), ("c", "2"))})
    assert [("a", "b"), ("c",), ()] == [account.users(cert_id) for cert_id in ("1", "2", "3")]


def test_managed() -> None:
    """Each domain with its lineage and its action, over all lineages."""
    one, two = (LineageFacts(name, "a.ini", actions=(Action(Verb.KEEP, domain, Reason.IN_SYNC),))
                for name, domain in (("one", "a"), ("two", "b")))
    assert {"a": (one, one.actions[0]), "b": (two, two.actions[0])} == Survey(
        NOW, lineages=(one, two)).managed()


@pytest.mark.parametrize(("records", "expected"), [
    ({WWW: Record(lineage="example.com")}, "example.com"), ({WWW: Record()}, None), ({}, None)],
    ids=["managed", "remembered only", "unknown"])
def test_lineage_of(records: dict[str, Record], expected: str | None) -> None:
    """What is remembered of a domain says who manages it, and "" means nobody."""
    assert expected == Survey(NOW, records=records).lineage_of(WWW)


@pytest.mark.parametrize("action", [KEEP, BIND])
def test_no_failures(action: Action) -> None:
    """What is merely to be done is no failure."""
    assert [] == seen(action).failures()


def test_account_that_is_out_of_reach() -> None:
    """Of an account that was not observed nothing is announced to be deleted."""
    lineage = LineageFacts("example.com", "b.ini", superseded=("old",))
    assert [] == superseding({}).superseded(lineage)

