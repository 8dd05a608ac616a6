"""What is judged of domains and lineages, by the facts of a survey."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from certbot_qiniu.command.status import table
from certbot_qiniu.command.survey.edge import Expected, Probe
from certbot_qiniu.command.survey.facts import AccountFacts, Survey
from certbot_qiniu.command.survey.health import Level
from certbot_qiniu.command.survey.judge import judge
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.state import Record, Sent
from certbot_qiniu.model import Binding, Domain
from certbot_qiniu.targets.hook import Hook
from certbot_qiniu.webserver.edge import Answer
from certbot_qiniu.webserver.tls import Leaf
from tests.unit.command.facts import BIND, DAY, KEEP, LATER, NEWEST, NOW, WAIT, WWW, seen


def judged(facts: Survey) -> tuple[Level, str]:
    """The level and the reason of the one row."""
    [row] = judge(facts, 14).rows
    return row.level, row.reason


@pytest.mark.parametrize(("action", "level"), [
    (KEEP, Level.OK), (WAIT, Level.OK), (BIND, Level.ATTENTION),
    (Action(Verb.QUEUE, WWW, Reason.BUSY), Level.OK),
    (Action(Verb.UNBIND, WWW, Reason.RESTORE), Level.ATTENTION),
    (Action(Verb.HSTS, WWW, Reason.SETTINGS_DIFFER), Level.ATTENTION),
    (Action(Verb.BIND, WWW, Reason.PUBLICATION_FAILED), Level.ATTENTION),
    (Action(Verb.FAIL, WWW, Reason.OTHER_INSTALLATION), Level.ATTENTION),
    (Action(Verb.FAIL, WWW, Reason.STUCK), Level.ATTENTION),
    (Action(Verb.SKIP, WWW, Reason.NOT_OPERABLE), Level.OK),
])
def test_level_of_a_decision(action: Action, level: Level) -> None:
    """What the planner would change or fail at needs attention, what is under way does not."""
    assert judged(seen(action)) == (level, action.reason.value)


@pytest.mark.parametrize(("left", "expected"), [
    (14 * DAY, (Level.OK, "InSync")), (14 * DAY - 1, (Level.ATTENTION, "Expiring")),
    (0, (Level.ATTENTION, "Expiring")), (-1, (Level.ATTENTION, "Expired"))])
@pytest.mark.parametrize("managed", [True, False])
def test_expiry(left: float, expected: tuple[Level, str], *, managed: bool) -> None:
    """Less than fourteen days left need attention, also where certbot manages nothing."""
    found = seen(KEEP if managed else None, ends_in=left,
                 record=None if managed else Record())
    level, reason = expected
    assert judged(found) == (level, reason if managed or level is not Level.OK else "Unmanaged")


@pytest.mark.parametrize("domain", [
    Domain(WWW, cert_id="id"), Domain(WWW, protocol="https", cert_id="id", state="frozen"),
    Domain(WWW, protocol="https")], ids=["http", "frozen", "without certificate"])
def test_expiry_that_matters_to_nobody(domain: Domain) -> None:
    """A domain that serves no HTTPS cannot serve an expired certificate."""
    assert judged(seen(None, domain=domain, ends_in=-DAY, record=Record()))[0] is Level.OK


@pytest.mark.parametrize(("record", "reason"), [
    (Record(processing_since=NOW - 3600), "Publishing"),
    (Record(processing_since=NOW - 3601), "PendingTooLong"),
    (Record(sent=Sent(Binding(), NOW - 3601)), "PendingTooLong"),
    (Record(processing_since=NOW - 60, sent=Sent(Binding(), NOW - 3601)), "Publishing"),
    (Record(), "Publishing")])
def test_pending(record: Record, reason: str) -> None:
    """An hour is enough, counted from when we saw it begin."""
    assert judged(seen(WAIT, record=record))[1] == reason


def test_pending_too_long() -> None:
    """What is usual is said with it."""
    [row] = judge(seen(WAIT, record=Record(processing_since=NOW - 7200)), 14).rows
    assert row.text == (
        f"Qiniu has been publishing {WWW} for 120 minutes; 8 to 15 are usual, overseas more")


@pytest.mark.parametrize(("fingerprint", "changed", "level", "reason", "words"), [
    ("f" * 64, NOW - DAY, Level.OK, "InSync", ""),
    ("0" * 64, NOW - DAY, Level.ATTENTION, "EdgeDiffers", "still serves another certificate"),
    ("0" * 64, NOW - 1200, Level.OK, "InSync", "20 minutes after its last change"),
    ("", NOW - DAY, Level.OK, "InSync", "")], ids=["same", "other", "early", "unknown"])
def test_edge(fingerprint: str, changed: float, level: Level, reason: str, words: str) -> None:
    """It counts where it answers and has had time; what is under way says more."""
    edges = {WWW: probe(fingerprint, changed=changed)}
    report = judge(seen(KEEP, edges=edges), 14)
    [row] = report.rows
    assert (level, reason, edges[WWW].word) == (row.level, row.reason, row.edge)
    assert words in row.text
    assert ["203.0.113.7"] == [shown.address for shown in row.edge_addresses]
    assert judge(seen(WAIT, edges=edges), 14).rows[0].reason == "Publishing"
    assert any(words in part[0] for part in table(report) if isinstance(part, tuple))


def probe(fingerprint: str, **changes: Any) -> Probe:
    """What one address answered, "" for nothing, where our newest certificate is bound."""
    answer = Answer("203.0.113.7", Leaf(fingerprint, 1) if fingerprint else None)
    return Probe(**{"domain": Domain(WWW), "answers": [answer],
                    "expected": Expected("id", "f" * 64), **changes})


@pytest.mark.parametrize(("domain", "edges", "unseen"), [
    (Domain(WWW, protocol="https", cert_id="id"), {WWW: probe("")}, True),
    (Domain(WWW, protocol="https", cert_id="id"), {WWW: probe("f" * 64)}, False),
    (Domain(WWW, protocol="https", cert_id="id"), {WWW: probe("0" * 64, changed=NOW - 60)}, True),
    (Domain(WWW, protocol="https", cert_id="id"), {WWW: probe("0" * 64)}, False),
    (Domain(WWW, protocol="https", cert_id="id", state="processing"), {}, True),
    (Domain(WWW, protocol="https", cert_id="id", state="frozen"), {}, False),
    (Domain(WWW), {}, False)],
    ids=["no answer", "answer", "other, early", "other", "processing", "frozen", "http"])
def test_what_is_not_known_to_be_right_again(domain: Domain, edges: dict[str, Probe], *,
                                             unseen: bool) -> None:
    """An edge that was not seen, or has time again, takes back no alert."""
    found = judge(seen(KEEP, domain=domain, edges=edges), 14)
    for reason in ("EdgeDiffers", "EdgeChain"):
        assert unseen == (not found.was_seen(reason, WWW))


def test_edge_of_an_unmanaged_domain() -> None:
    """What is not ours is seen; what is ours is compared, whoever manages the domain now."""
    found = seen(None, record=Record(), edges={WWW: probe("0" * 64, expected=None)})
    assert (judged(found), judge(found, 14).rows[0].edge) == ((Level.OK, "Unmanaged"), "seen")
    found = seen(None, record=Record(), edges={WWW: probe("0" * 64)})
    assert judged(found) == (Level.ATTENTION, "EdgeDiffers")
    found = seen(None, record=Record(), edges={WWW: probe("0" * 64, changed=NOW - 60)})
    assert judged(found) == (Level.OK, "Unmanaged")


@pytest.mark.parametrize("verb", [Verb.FAIL, Verb.FORGET])
def test_domain_that_is_gone(verb: Verb) -> None:
    """A managed domain that the account no longer has keeps a row: renewals fail for it."""
    found = seen(Action(verb, WWW, Reason.NOT_FOUND, service="cdn"),
                 accounts=(AccountFacts("a.ini"),))
    [row] = judge(found, 14).rows
    assert (row.state, row.level, row.lineage) == (
        "missing", Level.ATTENTION, "example.com")


def test_lineage_that_ends() -> None:
    """certbot's own certificate counts, too: a renewal that fails leaves every domain in sync."""
    soon = replace(NEWEST, not_after=LATER - dt.timedelta(50))
    found = judge(seen(KEEP, facts={"certificate": soon}), 14)
    assert [(item.subject, item.reason) for item in found.findings] == [("example.com", "Expiring")]
    assert found.findings[0].text == "certbot's newest certificate example.com ends in 10 days"


def test_order_and_filter() -> None:
    """Managed domains come first within their account; others can be left out."""
    domains = {name: Domain(name) for name in ("a.example.com", WWW)}
    found = seen(KEEP, accounts=(AccountFacts("b.ini", domains), AccountFacts("a.ini", {
        "z.example.com": Domain("z.example.com")})))
    names = [row.domain for row in judge(found, 14).rows]
    assert names == ["z.example.com", WWW, "a.example.com"]
    assert [WWW] == [row.domain for row in judge(found, 14, only_managed=True).rows]


@pytest.mark.parametrize(("facts", "reason", "remedy"), [
    ({"held": True}, "Held",
     "certbot install --cert-name example.com -i qiniu --qiniu-credentials a.ini"),
    ({"reload": "nginx"}, "NotSeen", "certbot-qiniu apply --cert-name example.com"),
    ({"hooks": (Hook("/h", False, "exit status 3"), Hook("/g", True))}, "HookFailed",
     "has failed: /h (exit status 3). To run it again, run: certbot-qiniu apply --cert-name"),
    ({"hooks": (Hook("/h", False), Hook("/g", False))}, "HookNotRun",
     "example.com: /h, /g. To run it now, run: certbot-qiniu apply --cert-name example.com"),
    ({"renews": False, "hooks": (Hook("/h", False),), "reconfigure": "x"}, "NotRenewed", "Run: x"),
    ({"actions": ()}, "NothingManaged", "certbot-qiniu plan --cert-name example.com"),
    ({"actions": (), "held": True}, "Held", "certbot install"),
    ({"renews": False, "reload": "nginx", "reconfigure": "certbot reconfigure -x"}, "NotRenewed",
     "Run: certbot reconfigure -x")], ids=str)
def test_what_no_domain_shows(facts: dict[str, Any], reason: str, remedy: str) -> None:
    """Every domain is in sync, and yet a human has something to do: the command is named."""
    [finding] = judge(seen(KEEP, facts=facts), 14).findings
    assert (Level.ATTENTION, "example.com", reason) == (
        finding.level, finding.subject, finding.reason)
    assert remedy in finding.text


def test_remedies_for_unusual_names() -> None:
    """A name with a blank is one word of the command."""
    facts = seen(KEEP, facts={"held": True})
    lineage = replace(facts.lineages[0], name="my shop", account="/my q.ini")
    [held] = [item for item in judge(replace(facts, lineages=(lineage,)), 14).findings
              if item.reason == "Held"]
    assert ("certbot install --cert-name 'my shop' -i qiniu --qiniu-credentials '/my q.ini'"
            in held.text)


def test_days_of_what_ends() -> None:
    """Reminders go by the days that are left, of a domain and of a lineage alike."""
    soon = replace(NEWEST, not_after=LATER - dt.timedelta(50))
    found = judge(seen(KEEP, ends_in=5 * DAY, facts={"certificate": soon}), 14).concerns()
    assert [("Expiring", 5), ("Expiring", 10)] == [(item.reason, item.days_left) for item in found]

