"""The words for everything that planning decides: the sentence, and the phrase in a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb, decide, plan
from certbot_qiniu.deployment.planning.hold import Served
from certbot_qiniu.deployment.planning.selection import NotChosen, Obstacle, Selection
from certbot_qiniu.deployment.wording import STATES, phrase, sentence
from certbot_qiniu.model import DAY, DEAD_STATES, Binding, Domain, RemoteCertificate
from tests.unit.deployment.planning.test_decision import CASES, RESTORE_CASES
from tests.unit.facts import NAME, http, https, knowledge

FACTS: Mapping[str, Any] = {
    "service": "cdn", "state": "frozen", "detail": "why", "operation": "sslize",
    "stuck_seconds": 90_000.0, "other_certificate": "theirs", "lineage": "example.com",
    "end": 1_800_000_000.0, "tls_refusal": "no",
    "binding": Binding(tls_versions=("TLSv1.2", "TLSv1.3"))}
"""More facts than any one decision gives: only those of the reason may be shown."""

SAME = "the sentence itself"
OTHER_SETTINGS = f"{NAME} has other settings than asked for; the next certbot renew sets them"
NOT_BACK = f"{NAME} is not yet back to what it served before certbot managed it"
SENT_AGAIN = (f"Qiniu could not publish the last change of {NAME}: why; the next certbot renew "
              "sends it again")
FROZEN = f"{NAME} is frozen at Qiniu (why) and cannot be changed"
NOT_OPERABLE = f"{NAME} cannot be changed by this account; ask Qiniu's support"
BACK = "goes back to what it served before certbot managed it"
LAST_FAILED = "the last change failed: why"

WORDS: Mapping[tuple[Verb, Reason], tuple[str, str]] = {
    (Verb.BIND, Reason.NOT_BOUND): (
        f"{NAME} speaks http only; the next certbot renew switches it to HTTPS",
        "speaks http only: HTTPS is switched on"),
    (Verb.BIND, Reason.OUTDATED): (
        f"{NAME} serves another certificate than it should; the next certbot renew binds the "
        "right one", "serves another certificate"),
    (Verb.BIND, Reason.SETTINGS_DIFFER): (OTHER_SETTINGS, "has other settings than asked for"),
    (Verb.BIND, Reason.TLS_VERSIONS_DIFFER): (
        f"{NAME} does not have the TLS versions that --qiniu-tls asks for, as far as Qiniu shows "
        "them; the next certbot renew sets them",
        "TLSv1.2, TLSv1.3 asked for, and not set yet as far as Qiniu shows it"),
    (Verb.FAIL, Reason.TLS_VERSIONS_REFUSED): (
        f"Qiniu refused the TLS versions that --qiniu-tls asks for: no. {NAME}: everything else is "
        "sent without them. Set them in Qiniu's console and keep what is there (certbot "
        "reconfigure --qiniu-tls keep), or ask for others; these are tried again after 30 days",
        "Qiniu refuses the TLS versions that --qiniu-tls asks for"),
    (Verb.BIND, Reason.RESTORE): (NOT_BACK, BACK),
    (Verb.BIND, Reason.PUBLICATION_FAILED): (SENT_AGAIN, LAST_FAILED),
    (Verb.UNBIND, Reason.RESTORE): (NOT_BACK, BACK),
    (Verb.UNBIND, Reason.PUBLICATION_FAILED): (SENT_AGAIN, LAST_FAILED),
    (Verb.HSTS, Reason.SETTINGS_DIFFER): (OTHER_SETTINGS, "has other settings than asked for"),
    (Verb.WAIT, Reason.PUBLISHING): (
        f"Qiniu is publishing the change of {NAME}", "our change is being published"),
    (Verb.QUEUE, Reason.BUSY): (
        f"{NAME} is busy at Qiniu with another change (sslize) and cannot take the new "
        "certificate yet; the next certbot renew tries again", SAME),
    (Verb.KEEP, Reason.IN_SYNC): ("", "in sync"),
    (Verb.FORGET, Reason.IN_SYNC): ("", "in sync"),
    (Verb.FORGET, Reason.CHANGED): (
        "", "has been changed since it had a certificate of ours, and is left as it is"),
    (Verb.FORGET, Reason.NOT_FOUND): (
        f"{NAME} does not exist in this Qiniu account as a domain of its cdn any more; "
        "certbot renew says so once and stops managing it. What it served before, and its "
        "settings, are kept for a year: if it comes back, it gets its certificate again, or, "
        "if a rollback holds that, the next one", SAME),
    (Verb.SKIP, Reason.DEAD): (FROZEN, SAME),
    (Verb.SKIP, Reason.NOT_OPERABLE): (NOT_OPERABLE, SAME),
    (Verb.FAIL, Reason.NOT_FOUND): (
        f"{NAME} does not exist in this Qiniu account as a domain of its cdn. Remove it from "
        "--qiniu-domains, or add it at Qiniu", SAME),
    (Verb.FAIL, Reason.DEAD): (FROZEN, SAME),
    (Verb.FAIL, Reason.NOT_OPERABLE): (NOT_OPERABLE, SAME),
    (Verb.FAIL, Reason.STUCK): (
        f"{NAME} has been in processing (处理中) at Qiniu for more than 25 hours. Open a ticket "
        f"with Qiniu: “The domain {NAME} has been stuck in the state processing since its "
        "operation sslize; please finish or cancel it.”", SAME),
    (Verb.FAIL, Reason.OTHER_INSTALLATION): (
        f"{NAME} serves theirs, a newer certificate that another certbot-qiniu installation put "
        "there. Let one of the two manage it: list only others in --qiniu-domains here, or leave "
        "it out there and run certbot install here", SAME),
    (Verb.FAIL, Reason.EXPIRED): (
        f"{NAME} keeps what it serves: certbot's certificate example.com ended on 2027-01-15, and "
        "an expired certificate is never sent. Run certbot renew --cert-name example.com, and see "
        "what that says went wrong", SAME),
    (Verb.FAIL, Reason.BASELINE_EXPIRED): (
        f"{NAME} keeps what it serves: the certificate that it had before certbot managed it ended "
        "on 2027-01-15. Bind another one in Qiniu's console, or let certbot manage it again: "
        "certbot install --cert-name example.com -i qiniu", SAME),
    (Verb.FAIL, Reason.BASELINE_GONE): (
        f"{NAME} keeps what it serves: the certificate that it had before certbot managed it is no "
        "longer at Qiniu. Bind another one in Qiniu's console, or let certbot manage it again: "
        "certbot install --cert-name example.com -i qiniu", SAME),
    (Verb.FAIL, Reason.REFUSED): ("why", "Qiniu refuses the certificate"),
    (Verb.LEAVE, Reason.REPLACED): (
        f"{NAME} serves theirs, which somebody has put over ours and which is valid until "
        "2027-01-15, longer than ours. It is left until 30 days before that; to put ours back "
        f"now: certbot-qiniu apply --take-back {NAME}", SAME),
    (Verb.FAIL, Reason.PUBLICATION_FAILED): (
        f"Qiniu could not publish the last change of {NAME} (why), so its header "
        "Strict-Transport-Security cannot be changed; see Qiniu's console", LAST_FAILED),
}


@pytest.mark.parametrize(("verb", "reason"), WORDS, ids=lambda value: value.value)
def test_action(verb: Verb, reason: Reason) -> None:
    """Each decision has its sentence and its phrase."""
    action = Action(verb, NAME, reason, **FACTS)
    expected, brief = WORDS[verb, reason]
    assert expected == sentence(action)
    assert (expected if brief is SAME else brief) == phrase(action)


def test_every_decision_has_words() -> None:
    """The table above has just the pairs of verb and reason that the planner can give."""
    given = set()
    for case in CASES.values():
        for listed in (), (NAME,):
            known = knowledge(case.domain, case.record, listed=listed, **case.known)
            action = decide(NAME, case.wanted, known)
            given.add((action.verb, action.reason))
    for case in RESTORE_CASES.values():
        known = knowledge(case.domain, case.record, **case.known)
        [action] = plan([], {NAME: case.wanted}, known)
        given.add((action.verb, action.reason))
    assert given == set(WORDS)
    assert {reason for _, reason in WORDS} == set(Reason)


def test_what_is_unknown() -> None:
    """If Qiniu gives no words of its own, none are missed."""
    failed = Action(Verb.BIND, NAME, Reason.PUBLICATION_FAILED)
    assert sentence(failed) == (
        f"Qiniu could not publish the last change of {NAME}; the next certbot renew sends it "
        "again")
    assert phrase(failed) == "the last change failed: no reason given"
    assert "operation (unknown);" in sentence(Action(Verb.FAIL, NAME, Reason.STUCK))
    busy = Action(Verb.QUEUE, NAME, Reason.BUSY, ours=True, operation="sslize")
    assert "busy at Qiniu with our own earlier change and" in sentence(busy)


def test_given_up() -> None:
    """A domain that a rollback gives up is forgotten without a word."""
    gone = Action(Verb.FORGET, NAME, Reason.NOT_FOUND, restoring=True)
    assert sentence(gone) == phrase(gone) == ""


def test_held() -> None:
    """A domain that a rollback holds is as the rollback left it, and not simply in sync."""
    assert phrase(Action(Verb.KEEP, NAME, Reason.IN_SYNC), held=True) == (
        "as the rollback left it; a newer certificate or certbot install ends that")
    assert phrase(Action(Verb.WAIT, NAME, Reason.PUBLISHING), held=True) == (
        "our change is being published")


def test_words_of_others() -> None:
    """Qiniu's text stays in a message as it is: it is not used as a template."""
    hostile = "{name} {0} %s"
    action = Action(Verb.BIND, NAME, Reason.PUBLICATION_FAILED, detail=hostile)
    assert hostile in sentence(action)
    assert hostile in phrase(action)
    assert hostile in wording.why(NotChosen(NAME, Obstacle.DEAD, "frozen", hostile))


def test_gone() -> None:
    """Its return is promised a certificate, unless a rollback holds that."""
    assert "add it again: the next certbot renew gives it" in wording.gone(NAME, 0)
    held = wording.gone(NAME, 0, "example.com")
    assert "add it again: as a rollback holds its certificate" in held
    assert "certbot install --cert-name example.com" in held


def test_not_published() -> None:
    """A failed publication is reported with Qiniu's words, and with what is done about it."""
    action = Action(Verb.BIND, NAME, Reason.PUBLICATION_FAILED, detail="why")
    assert wording.not_published(action, is_sent_again=True) == (
        f"Qiniu could not publish the change of {NAME}: why. It was sent again now; the next "
        "certbot renew confirms it")
    assert wording.not_published(replace(action, detail=""), is_sent_again=False) == (
        f"Qiniu could not publish the change of {NAME}. The next certbot renew sends it again")


@pytest.mark.parametrize(("action", "expected"), [
    (Action(Verb.BIND, NAME, Reason.OUTDATED), "certificate ours sent to Qiniu"),
    (Action(Verb.BIND, NAME, Reason.NOT_BOUND, enable=True),
     "certificate ours sent to Qiniu, HTTPS switched on"),
    (Action(Verb.UNBIND, NAME, Reason.RESTORE), "switched back to http"),
    (Action(Verb.HSTS, NAME, Reason.SETTINGS_DIFFER, Binding(hsts=True)), "HSTS switched on"),
    (Action(Verb.HSTS, NAME, Reason.SETTINGS_DIFFER, Binding(hsts=False)), "HSTS switched off"),
], ids=["bind", "enable", "unbind", "hsts on", "hsts off"])
def test_sent(action: Action, expected: str) -> None:
    """Each change is reported when it has been sent."""
    assert wording.sent(action, "ours") == f"{NAME}: {expected}"


# Domains that are not chosen


@pytest.mark.parametrize("obstacle", [
    one for one in Obstacle if one not in (Obstacle.UNREADABLE, Obstacle.NOT_FOUND)])
def test_every_obstacle_has_words(obstacle: Obstacle) -> None:
    """Each obstacle of a domain has words that follow its name."""
    found = NotChosen(NAME, obstacle, "frozen", "why", "other", (NAME, "example.net"))
    words = wording.why(found)
    assert words.startswith(("is ", "cannot ", "serves "))
    assert not set("{}") & set(words)
    [problem] = wording.problems(Selection(problems=(found,)))
    assert problem.startswith(f"{NAME} {words}")


def test_domains_that_do_not_exist() -> None:
    """The account's domains are listed once for all mistyped names, and not all of them."""
    names = ("cdn.example.com", *(f"{number}.example.net" for number in range(100, 140)))
    one, other = (NotChosen(name, Obstacle.NOT_FOUND, names=names)
                  for name in ("cnd.example.com", "nothing.like.it"))
    [text] = wording.problems(Selection(problems=(one,)))
    assert text.startswith(
        "cnd.example.com is no domain of this Qiniu account in the services that --qiniu-services "
        "names. Did you mean cdn.example.com? The account has: cdn.example.com, 100.example.net, ")
    assert text.endswith(" and 21 more")
    [text] = wording.problems(Selection(problems=(one, other)))
    assert text.startswith(
        "cnd.example.com, nothing.like.it are no domains of this Qiniu account in the services "
        "that --qiniu-services names. For cnd.example.com, did you mean cdn.example.com? The "
        "account has: cdn.example.com, ")
    assert 1 == text.count("100.example.net")


def test_one_cause_of_several_domains() -> None:
    """Domains that cannot be read for the same cause are one problem."""
    unread = tuple(NotChosen(name, Obstacle.UNREADABLE, detail="Could not read a, b: why")
                   for name in "ab")
    assert ["Could not read a, b: why"] == wording.problems(Selection(problems=unread))


def test_unreadable() -> None:
    """A domain that cannot be read is reported in the words of the error, which names it."""
    found = NotChosen(NAME, Obstacle.UNREADABLE, detail="Could not read it")
    assert wording.problems(Selection(problems=(found,))) == ["Could not read it"]


def test_every_dead_state_has_words() -> None:
    """No state in which a domain can serve nothing is left without words."""
    assert set(STATES) == DEAD_STATES


@pytest.mark.parametrize("state", sorted(DEAD_STATES))
def test_dead(state: str) -> None:
    """A dead domain is reported with Qiniu's reason, if there is one."""
    assert wording.why(NotChosen(NAME, Obstacle.DEAD, state)) == STATES[state]
    assert wording.why(NotChosen(NAME, Obstacle.DEAD, state, "ICP")) == (
        f"{STATES[state]} (ICP)")


OURS = Served(NAME, True, 1_800_000_000.0 + 10 * DAY, 90 * DAY)
THEIRS = Served("a.example.com", False, 1_800_000_000.0)


def test_kept_on() -> None:
    """On what a rollback keeps a domain, until when, and what ends that."""
    assert wording.held(OURS, "example.com", 1_800_000_000.0) == (
        f"{NAME} is kept by a rollback on an older certificate of example.com, which ends on "
        "2027-01-25; on 2027-01-18 the newest one is deployed. To deploy the newest certificate "
        "now: certbot install --cert-name example.com -i qiniu")
    assert ("what it served before certbot managed it, which ends on 2027-01-15; nothing but a "
            "newer one changes that.") in wording.held(THEIRS, "example.com", 0)
    assert "which ends nobody knows when" in wording.held(
        replace(THEIRS, end=0.0), "example.com", 0)
    assert "; nothing but a newer one changes that." in wording.held(
        OURS, "example.com", OURS.end), "it was to end, and there was nothing better"


@pytest.mark.parametrize(("served", "expected"), [
    ((), ""),
    ((OURS,), ", or 2027-01-18 comes: what is served instead ends soon after"),
    ((THEIRS,), "; what a.example.com serves instead is valid until 2027-01-15"),
    ((replace(THEIRS, end=0.0),), "; what a.example.com serves instead is valid nobody knows how "
                                  "long"),
    ((OURS, THEIRS), ", or 2027-01-18 comes: what is served instead ends soon after; what "
                     "a.example.com serves instead is valid until 2027-01-15"),
], ids=["http", "ours", "foreign", "unknown", "both"])
def test_held_until(served: tuple[Served, ...], expected: str) -> None:
    """What status says after "until certbot has a newer one"."""
    assert expected == wording.held_until(served)


BOUGHT = RemoteCertificate("id", "paid", not_after=1_800_000_000, order_id="1")
SELECTION = Selection(
    (NAME,), (NotChosen("a.example.com", Obstacle.FOREIGN, foreign=BOUGHT),),
    ("b.example.com", "c.example.com"))


def test_left_out() -> None:
    """A deployment names what it leaves, but for what the user has agreed to."""
    assert wording.left_out(SELECTION, {NAME, "b.example.com"}) == [
        "a.example.com serves a certificate that was bought through Qiniu and is valid until "
        "2027-01-15: left out (to replace it: --qiniu-domains a.example.com)",
        "c.example.com: http only and covered only by a wildcard, so left as it is. To switch it "
        "to HTTPS, list it in --qiniu-domains"]
    assert wording.left_out(Selection((NAME,)), {NAME}) == []


@pytest.mark.parametrize(("domain", "expected"), [
    (None, "no change possible"), (http(state="frozen"), "no change possible"),
    (http(), "switch to HTTPS with the new certificate"), (https(), "bind the new certificate"),
    (https(state="processing"),
     "bind the new certificate, once its present change is published"),
], ids=["gone", "frozen", "http", "https", "processing"])
def test_rehearsal(domain: Domain | None, expected: str) -> None:
    """A dry run says in a line each what becomes of a domain."""
    lines = wording.rehearsal(SELECTION, {NAME: domain} if domain else {}, {})
    assert lines == [
        f"  {NAME}: {expected}",
        "  a.example.com: left out, it serves a certificate that was bought through Qiniu and is "
        "valid until 2027-01-15",
        *(f"  {name}: left as it is (http only, covered only by a wildcard; list it in "
          "--qiniu-domains to switch it to HTTPS)" for name in SELECTION.http_only)]
