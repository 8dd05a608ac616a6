"""What each domain needs now: tables keyed by sentences, and what must hold of every plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certbot_qiniu.deployment.planning.bindings import serves
from certbot_qiniu.deployment.planning.confirmation import HTTPS_OPERATIONS
from certbot_qiniu.deployment.planning.decision import (
    Action,
    Knowledge,
    Reason,
    Verb,
    decide,
    plan,
)
from certbot_qiniu.deployment.state import Managed, Record, Sent
from certbot_qiniu.deployment.wording import STATES, sentence
from certbot_qiniu.model import DAY, DEAD_STATES, Binding, Domain, RemoteCertificate
from tests.unit.facts import (
    BINDINGS,
    CONFIRMED,
    IDS,
    NAME,
    NAMES,
    NEW,
    NOW,
    OLD,
    REAL_DOMAINS,
    SENT_HTTP,
    SENTS,
    WANTED,
    http,
    https,
    knowledge,
    managed,
    record,
    sent,
)

# One domain that is wanted


@dataclass(frozen=True)
class Case:
    """What is there, and what follows for a domain found by itself and for a listed one."""

    domain: Domain | None
    verb: Verb
    reason: Reason
    text: str = ""
    wanted: Binding = WANTED
    record: Record | None = None
    listed: Verb | None = None  # None: as for one found by itself
    known: Mapping[str, Any] = field(default_factory=dict)


def other_installation(not_after: float) -> dict[str, Any]:
    """A certificate of another installation at Qiniu, and the end of our own."""
    return {"foreign": {"theirs": RemoteCertificate("theirs", "certbot_x_0123456789ab",
                                                    not_after=int(not_after))},
            "expiry": {NEW: NOW + 60 * DAY}}


def by_hand(days: float, **changes: Any) -> dict[str, Any]:
    """A certificate that somebody put there, and the end of our own."""
    return {"foreign": {"theirs": RemoteCertificate("theirs", "by hand",
                                                    not_after=int(NOW + days * DAY))},
            "expiry": {NEW: NOW + 60 * DAY}, **changes}


TLS = replace(WANTED, tls_versions=("TLSv1.2",))

CASES: Mapping[str, Case] = {
    "a domain that is gone is forgotten, a listed one is an error":
        Case(None, Verb.FORGET, Reason.NOT_FOUND, "stops managing it", listed=Verb.FAIL),
    "an http domain gets the certificate":
        Case(http(), Verb.BIND, Reason.NOT_BOUND),
    "an https domain with another certificate gets the new one":
        Case(https(), Verb.BIND, Reason.OUTDATED),
    "a stranger's certificate without our kind of name is replaced":
        Case(https("console"), Verb.BIND, Reason.OUTDATED),
    "a domain that serves the certificate is left alone":
        Case(https("new"), Verb.KEEP, Reason.IN_SYNC),
    "any of several copies of the certificate will do":
        Case(https("copy"), Verb.KEEP, Reason.IN_SYNC,
             known={"ids": {NEW: frozenset({"new", "copy"})}}),
    "a certificate that was never uploaded is bound by its fingerprint":
        Case(https(), Verb.BIND, Reason.OUTDATED, known={"ids": {}}),
    "settings that nobody asked for are no reason to change anything":
        Case(https("new", force_https=True, http2=False), Verb.KEEP, Reason.IN_SYNC),
    "settings that were asked for and are there are no reason either":
        Case(https("new"), Verb.KEEP, Reason.IN_SYNC,
             wanted=replace(WANTED, force_https=False, http2=True)),
    "settings that Qiniu does not show are no reason either":
        Case(https("new", force_https=None, http2=None), Verb.KEEP, Reason.IN_SYNC,
             wanted=replace(WANTED, force_https=True, http2=True)),
    "a redirect that was asked for and is missing is set":
        Case(https("new"), Verb.BIND, Reason.SETTINGS_DIFFER,
             wanted=replace(WANTED, force_https=True)),
    "HTTP/2 that was asked away and is on is switched off":
        Case(https("new"), Verb.BIND, Reason.SETTINGS_DIFFER, wanted=replace(WANTED, http2=False)),
    "TLS versions that nobody asked for are no reason to change anything":
        Case(https("new", tls_versions=("TLSv1.1",)), Verb.KEEP, Reason.IN_SYNC),
    "TLS versions that were asked for and are there are no reason either, in any order":
        Case(https("new", tls_versions=("TLSv1.3", "TLSv1.2")), Verb.KEEP, Reason.IN_SYNC,
             wanted=replace(WANTED, tls_versions=("TLSv1.2", "TLSv1.3"))),
    "TLS versions that were asked for and are others are set":
        Case(https("new", tls_versions=()), Verb.BIND, Reason.TLS_VERSIONS_DIFFER,
             "the TLS versions that --qiniu-tls asks for", wanted=TLS),
    "TLS versions that no read shows are sent":
        Case(https("new"), Verb.BIND, Reason.TLS_VERSIONS_DIFFER, wanted=TLS,
             record=record(confirmed=sent())),
    "and are not sent again":
        Case(https("new"), Verb.KEEP, Reason.IN_SYNC, wanted=TLS,
             record=record(confirmed=Sent(replace(sent().binding, tls_versions=("TLSv1.2",)), 0))),
    "a redirect counts before TLS versions":
        Case(https("new", tls_versions=()), Verb.BIND, Reason.SETTINGS_DIFFER,
             wanted=replace(TLS, force_https=True)),
    "TLS versions that Qiniu refuses are an error where all else is right":
        Case(https("new"), Verb.FAIL, Reason.TLS_VERSIONS_REFUSED, "asks for: no", wanted=TLS,
             known={"tls_refusals": {TLS.tls_versions: "no"}}),
    "the certificate is sent all the same":
        Case(https(), Verb.BIND, Reason.OUTDATED, wanted=TLS,
             known={"tls_refusals": {TLS.tls_versions: "no"}}),
    "what somebody has put there on purpose is left all the same":
        Case(https("theirs"), Verb.LEAVE, Reason.REPLACED, "by hand", wanted=TLS,
             known=by_hand(61, tls_refusals={TLS.tls_versions: "no"})),
    "that others were refused says nothing of them":
        Case(https("new"), Verb.BIND, Reason.TLS_VERSIONS_DIFFER, wanted=TLS,
             known={"tls_refusals": {("TLSv1.3",): "no", None: "no"}}),
    "nor does it where a human has set them":
        Case(https("new", tls_versions=("TLSv1.2",)), Verb.KEEP, Reason.IN_SYNC, wanted=TLS,
             known={"tls_refusals": {TLS.tls_versions: "no"}}),
    "a change of ours without the TLS versions that are asked for now has to end first":
        Case(https(state="processing", operation="modify_https_conf"), Verb.QUEUE, Reason.BUSY,
             "our own earlier change", wanted=TLS, record=record(sent=sent())),
    "another certificate counts before other settings":
        Case(https(), Verb.BIND, Reason.OUTDATED, wanted=replace(WANTED, force_https=True)),
    "a certificate of Qiniu's own, by its id, is kept":
        Case(https("bought"), Verb.KEEP, Reason.IN_SYNC, wanted=Binding("https", "", "bought")),
    "a certificate of Qiniu's own, by its id, is bound":
        Case(https(), Verb.BIND, Reason.OUTDATED, wanted=Binding("https", "", "bought")),
    "a domain that Qiniu switched back to http gets https again":
        Case(http(), Verb.BIND, Reason.NOT_BOUND, record=record(confirmed=sent())),

    "our own change that is being published is waited for":
        Case(https(state="processing", operation="modify_https_conf"),
             Verb.WAIT, Reason.PUBLISHING, record=record(sent=sent())),
    "our own first https that is being published is waited for":
        Case(http(state="processing", operation="sslize", detailed=False),
             Verb.WAIT, Reason.PUBLISHING, record=record(sent=sent())),
    "a change of the certificate alone counts as ours as well":
        Case(https(state="processing", operation="modify_https_crt"),
             Verb.WAIT, Reason.PUBLISHING, record=record(sent=sent())),
    "our own change is waited for although the id it was sent with is unknown by now":
        Case(https(state="processing", operation="sslize"), Verb.WAIT, Reason.PUBLISHING,
             record=record(sent=sent()), known={"ids": {}}),
    "our own older change is waited out before the new one":
        Case(https(state="processing", operation="modify_https_conf"), Verb.QUEUE, Reason.BUSY,
             "our own earlier change", record=record(sent=sent("old", OLD))),
    "our own change with other settings is waited out":
        Case(https(state="processing", operation="modify_https_conf"), Verb.QUEUE, Reason.BUSY,
             "our own earlier change", wanted=replace(WANTED, force_https=True),
             record=record(sent=sent())),
    "our own change of a certificate by its id is waited for":
        Case(https(state="processing", operation="modify_https_conf"),
             Verb.WAIT, Reason.PUBLISHING, wanted=Binding("https", "", "bought"),
             record=record(sent=sent("bought", ""))),
    "our own way back to http is waited out by a new certificate":
        Case(https(state="processing", operation="unsslize"), Verb.QUEUE, Reason.BUSY,
             "our own earlier change", record=record(sent=SENT_HTTP)),
    "somebody else's change of something else is waited out":
        Case(https(state="processing", operation="modify_source"), Verb.QUEUE, Reason.BUSY,
             "modify_source", record=record(sent=sent())),
    "somebody else's change of https is waited out":
        Case(https(state="processing", operation="modify_https_conf"), Verb.QUEUE, Reason.BUSY,
             "another change", record=record()),
    "a change of something else does not matter where ours is confirmed":
        Case(https("new", state="processing", operation="modify_cache"), Verb.KEEP,
             Reason.IN_SYNC, record=record(confirmed=sent())),
    "a change of something else is waited out where an older one of ours is confirmed":
        Case(https(state="processing", operation="modify_cache"), Verb.QUEUE, Reason.BUSY,
             "modify_cache", record=record(confirmed=sent("old", ""))),
    "a binding that is shown after it failed to be published is sent again":
        Case(https("new", state="failed", operation="modify_https_conf"), Verb.BIND,
             Reason.PUBLICATION_FAILED, record=record(sent=sent())),
    "what is served stays when another change of ours failed":
        Case(https("new", state="failed", operation="modify_https_conf"), Verb.KEEP,
             Reason.IN_SYNC, record=record(sent=sent("old", ""))),
    "a domain that is being made is waited out":
        Case(http(state="processing", operation="create_domain"), Verb.QUEUE, Reason.BUSY,
             "create_domain"),
    "a domain in processing for just a day is waited for":
        Case(https(state="processing", operation="modify_https_conf"),
             Verb.WAIT, Reason.PUBLISHING,
             record=record(sent=sent(), processing_since=NOW - DAY)),
    "our own change that takes more than a day is stuck":
        Case(https(state="processing", operation="modify_https_conf"), Verb.FAIL, Reason.STUCK,
             "more than 24 hours", record=record(sent=sent(), processing_since=NOW - DAY - 1)),
    "somebody else's change that takes more than a day is stuck":
        Case(https(state="processing", operation=""), Verb.FAIL, Reason.STUCK, "50 hours",
             record=record(processing_since=NOW - 50 * 3600)),

    "our own change that could not be published is sent again, with Qiniu's reason":
        Case(https(state="failed", operation="modify_https_conf", state_reason="crt fail"),
             Verb.BIND, Reason.PUBLICATION_FAILED, "crt fail", record=record(sent=sent())),
    "our own first https that could not be published is sent again":
        Case(http(state="failed", operation="sslize", state_reason="no icp"), Verb.BIND,
             Reason.PUBLICATION_FAILED, "no icp", record=record(sent=sent())),
    "a failure of ours hidden by somebody's other change is an ordinary difference":
        Case(https(state="failed", operation="modify_source", state_reason="x"), Verb.BIND,
             Reason.OUTDATED, record=record(sent=sent())),
    "a domain at rest that does not show what was sent is an ordinary difference":
        Case(https(operation="modify_https_conf", state_reason="x"), Verb.BIND, Reason.OUTDATED,
             record=record(sent=sent())),
    "somebody else's failed change of https is an ordinary difference":
        Case(https(state="failed", operation="modify_https_conf", state_reason="x"), Verb.BIND,
             Reason.OUTDATED, record=record()),
    "somebody else's failed change does not matter where all is as wanted":
        Case(https("new", state="failed", operation="modify_source"), Verb.KEEP, Reason.IN_SYNC),

    "HSTS that was asked for is a change of its own":
        Case(https("new", hsts=False), Verb.HSTS, Reason.SETTINGS_DIFFER,
             wanted=replace(WANTED, hsts=True)),
    "the certificate comes before HSTS":
        Case(https(hsts=False), Verb.BIND, Reason.OUTDATED, wanted=replace(WANTED, hsts=True)),
    "HSTS that is there already is enough, whoever set it":
        Case(https("new", hsts=True), Verb.KEEP, Reason.IN_SYNC,
             wanted=replace(WANTED, hsts=True)),
    "HSTS that nobody asked for is left alone":
        Case(https("new", hsts=True), Verb.KEEP, Reason.IN_SYNC, record=record()),
    "HSTS that we switched on and nobody wants any more is switched off":
        Case(https("new", hsts=True), Verb.HSTS, Reason.SETTINGS_DIFFER,
             record=record(hsts="ours")),
    "a service without HSTS is not asked for it":
        Case(https("new"), Verb.KEEP, Reason.IN_SYNC, wanted=replace(WANTED, hsts=True)),
    "HSTS that Qiniu refused is not asked for again":
        Case(https("new", hsts=False), Verb.KEEP, Reason.IN_SYNC,
             wanted=replace(WANTED, hsts=True), record=record(hsts="refused")),
    "HSTS that is being published is waited for":
        Case(https("new", hsts=False, state="processing", operation="update_resp_header"),
             Verb.WAIT, Reason.PUBLISHING, wanted=replace(WANTED, hsts=True), record=record(
                 sent=Sent(replace(sent().binding, hsts=True), NOW - 60), hsts="ours")),
    "somebody else's change of headers is waited out":
        Case(https(state="processing", operation="update_resp_header"), Verb.QUEUE, Reason.BUSY,
             "another change", record=record(sent=sent())),
    "HSTS that could not be published is an error, as Qiniu takes no other change now":
        Case(https("new", hsts=False, state="failed", operation="update_resp_header",
                   state_reason="no reason"), Verb.FAIL, Reason.PUBLICATION_FAILED, "(no reason)",
             wanted=replace(WANTED, hsts=True), record=record(hsts="ours")),

    "a newer certificate of another installation is left alone":
        Case(https("theirs"), Verb.FAIL, Reason.OTHER_INSTALLATION, "run certbot install here",
             known=other_installation(NOW + 61 * DAY)),
    "a newer certificate is left alone where nobody knows when ours ends":
        Case(https("theirs"), Verb.FAIL, Reason.OTHER_INSTALLATION, "certbot_x_0123456789ab",
             known={**other_installation(NOW + 1), "expiry": {}}),
    "an older certificate of another installation is replaced":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED, known=other_installation(NOW + 59 * DAY)),
    "of two that end in the same second the one with the smaller fingerprint is replaced":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED, known=other_installation(NOW + 60 * DAY)),
    "and the one with the larger fingerprint is left alone":
        Case(https("theirs"), Verb.FAIL, Reason.OTHER_INSTALLATION, "certbot_x_0123456789ab",
             wanted=replace(WANTED, fingerprint="0" * 64),
             known={**other_installation(NOW + 60 * DAY), "expiry": {"0" * 64: NOW + 60 * DAY}}),
    "a newer one is replaced by certbot install":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED,
             known={**other_installation(NOW + 61 * DAY), "take_over": True}),

    "what somebody has put over ours stays where it ends later":
        Case(https("theirs"), Verb.LEAVE, Reason.REPLACED,
             f"certbot-qiniu apply --take-back {NAME}", record=record(confirmed=sent()),
             known=by_hand(61)),
    "it is replaced where it was there when the domain was taken over":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED, record=record(taken_from="theirs"),
             known=by_hand(61)),
    "another one is not":
        Case(https("theirs"), Verb.LEAVE, Reason.REPLACED, "by hand",
             record=record(taken_from="old"), known=by_hand(61)),
    "it is replaced where the user takes the domain back":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED, known=by_hand(61, take_back=[NAME])),
    "so is another installation's":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED,
             known={**other_installation(NOW + 61 * DAY), "take_back": [NAME]}),
    "it is replaced where it ends sooner":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED, known=by_hand(59)),
    "what speaks http serves nothing, whatever is bound":
        Case(http(cert_id="theirs"), Verb.BIND, Reason.NOT_BOUND, known=by_hand(61)),
    "a certificate by its id is not weighed against another":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED, known=by_hand(61),
             wanted=Binding("https", "", "bought")),
    "what it is busy with hides no certificate that is not the confirmed one":
        Case(https("theirs", state="processing", operation="modify_source"), Verb.QUEUE,
             Reason.BUSY, record=record(confirmed=sent())),
    "nor a setting that is not the one that was confirmed":
        Case(https("bought", http2=False, state="processing", operation="modify_source"),
             Verb.QUEUE, Reason.BUSY, wanted=Binding("https", "", "bought", False, True),
             record=record(confirmed=sent("bought", "", force_https=False, http2=True))),
    "no key is sent of what Qiniu only refuses again":
        Case(https(), Verb.FAIL, Reason.REFUSED, "what was said",
             known={"refused": {NEW: "what was said"}}),
    "an expired certificate is not sent":
        Case(https(), Verb.FAIL, Reason.EXPIRED, "Run certbot renew --cert-name example.com",
             record=record(), known={"expiry": {NEW: NOW}}),
    "that it is served already is no success":
        Case(https("new"), Verb.FAIL, Reason.EXPIRED, "ended on 2027-01-15",
             record=record(), known={"expiry": {NEW: NOW}}),
    "that it is being published is none either":
        Case(https(state="processing", operation="sslize"), Verb.FAIL, Reason.EXPIRED,
             record=record(sent=sent()), known={"expiry": {NEW: NOW}}),

    "a domain that this account may not change is left out":
        Case(https(operable=False), Verb.SKIP, Reason.NOT_OPERABLE, "ask Qiniu's support",
             listed=Verb.FAIL),
    "a domain that served ours and may not be changed any more is an error":
        Case(https(operable=False), Verb.FAIL, Reason.NOT_OPERABLE, "cannot be changed",
             record=record(confirmed=sent("old", OLD))),
    "a domain that may not be changed and needs no change is fine":
        Case(https("new", operable=False), Verb.KEEP, Reason.IN_SYNC),
    "a domain that may not be changed and is being published is waited for":
        Case(https(state="processing", operation="sslize", operable=False),
             Verb.WAIT, Reason.PUBLISHING, record=record(sent=sent())),
} | {
    f"a domain in the state {state} is left out, a listed one is an error":
        Case(https(state=state, state_reason="the reason"), Verb.SKIP, Reason.DEAD,
             f"{STATES[state]} (the reason)", listed=Verb.FAIL)
    for state in sorted(DEAD_STATES)
} | {
    f"a domain in the state {state} is left out even with the right certificate":
        Case(https("new", state=state), Verb.SKIP, Reason.DEAD, f"{STATES[state]} and cannot",
             listed=Verb.FAIL)
    for state in sorted(DEAD_STATES)
}


@pytest.mark.parametrize("listed", [False, True], ids=["auto", "listed"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_decide(case: Case, listed: bool) -> None:
    """Each situation has its action, its reason, and a text if a human must know."""
    known = knowledge(case.domain, case.record, listed={NAME} if listed else (), **case.known)
    action = decide(NAME, case.wanted, known)
    verb = case.listed if listed and case.listed else case.verb
    assert (action.name, action.verb, action.reason) == (NAME, verb, case.reason)
    if case.listed is None or not listed:
        assert case.text in sentence(action)
    if verb in (Verb.FAIL, Verb.SKIP, Verb.QUEUE) and action.reason is not Reason.REFUSED:
        assert NAME in sentence(action), "only a certificate's refusal is the same for all of them"
    if verb is Verb.KEEP:
        assert sentence(action) == ""
    if verb in (Verb.KEEP, Verb.WAIT) or (verb is Verb.BIND and not case.text):
        assert action.detail == ""
    assert (action.binding is not None) == (verb in (Verb.BIND, Verb.HSTS))
    if action.binding:
        assert action.binding.fingerprint == case.wanted.fingerprint
        assert action.enable == (case.domain is not None and case.domain.protocol == "http")
        assert (action.binding.hsts is None) == (verb is Verb.BIND)


def test_every_verb_and_reason_is_tried() -> None:
    """The tables of this file leave no verb and no reason out."""
    tried = [*CASES.values(), *RESTORE_CASES.values()]
    assert {case.verb for case in tried} == set(Verb)
    assert {case.reason for case in tried} == set(Reason)


def test_listed_domain_not_found() -> None:
    """A listed domain that is gone is an error that names the option to change."""
    action = decide(NAME, WANTED, knowledge(None, listed=[NAME]))
    assert sentence(action) == (
        f"{NAME} does not exist in this Qiniu account as a domain of its cdn. Remove it from "
        "--qiniu-domains, or add it at Qiniu")


def test_stuck_text() -> None:
    """A domain that is stuck comes with a text that can be pasted into a ticket."""
    domain = https(state="processing", operation="sslize")
    action = decide(NAME, WANTED, knowledge(domain, record(processing_since=NOW - 3 * DAY)))
    assert "处理中" in sentence(action)
    assert "72 hours" in sentence(action)
    assert (f"“The domain {NAME} has been stuck in the state processing since its operation "
            "sslize; please finish or cancel it.”") in sentence(action)


# One domain that is given up


RESTORE_CASES: Mapping[str, Case] = {
    "a domain that served http goes back to it":
        Case(https("new", state_reason="done"), Verb.UNBIND, Reason.RESTORE,
             wanted=Binding("http")),
    "a domain that is back on http is forgotten":
        Case(http(), Verb.FORGET, Reason.IN_SYNC, wanted=Binding("http")),
    "a way back to http that is being published is waited for":
        Case(https("new", state="processing", operation="unsslize"), Verb.WAIT, Reason.PUBLISHING,
             wanted=Binding("http"), record=record(sent=SENT_HTTP)),
    "a way back to http waits out what we sent before":
        Case(https(state="processing", operation="sslize"), Verb.QUEUE, Reason.BUSY,
             "our own earlier change", wanted=Binding("http"), record=record(sent=sent())),
    "a way back to http that failed is tried again":
        Case(https("new", state="failed", operation="unsslize", state_reason="why"), Verb.UNBIND,
             Reason.PUBLICATION_FAILED, "why", wanted=Binding("http"),
             record=record(sent=SENT_HTTP)),
    "a domain that served another certificate gets it back":
        Case(https("new"), Verb.BIND, Reason.RESTORE, wanted=Binding("https", "", "bought")),
    "a domain that served another certificate with other settings gets both back":
        Case(https("new"), Verb.BIND, Reason.RESTORE,
             wanted=Binding("https", "", "bought", True, False)),
    "a domain whose settings alone were changed gets them back":
        Case(https("bought"), Verb.BIND, Reason.RESTORE,
             wanted=Binding("https", "", "bought", True, True)),
    "a domain that fell back to http meanwhile gets its certificate back":
        Case(http(), Verb.BIND, Reason.RESTORE, wanted=Binding("https", "", "bought")),
    "a domain that served an older certificate of ours gets it back":
        Case(https("new"), Verb.BIND, Reason.RESTORE, wanted=Binding("https", OLD)),
    "a restored certificate that could not be published is sent again":
        Case(https("new", state="failed", operation="modify_https_conf", state_reason="why"),
             Verb.BIND, Reason.PUBLICATION_FAILED, "why", wanted=Binding("https", "", "bought"),
             record=record(sent=sent("bought", ""))),
    "a domain that serves what it did is forgotten":
        Case(https("bought"), Verb.FORGET, Reason.IN_SYNC, wanted=Binding("https", "", "bought")),
    "a domain that is gone is forgotten without a word":
        Case(None, Verb.FORGET, Reason.NOT_FOUND, wanted=Binding("http"), listed=Verb.FORGET),
    "a domain that is frozen stays to be restored":
        Case(https("new", state="frozen"), Verb.SKIP, Reason.DEAD, "is frozen",
             wanted=Binding("http"), listed=Verb.FAIL),
    "a domain that is stuck is an error":
        Case(https("new", state="processing", operation="unsslize"), Verb.FAIL, Reason.STUCK,
             "25 hours", wanted=Binding("http"),
             record=record(sent=SENT_HTTP, processing_since=NOW - 25 * 3600)),
    "a domain whose certificate from before has ended keeps ours":
        Case(https("new"), Verb.FAIL, Reason.BASELINE_EXPIRED, "before certbot managed it ended on",
             wanted=Binding("https", "", "bought"), known={"unusable": {"bought": NOW - 1}}),
    "so does one whose certificate from before is gone":
        Case(https("new"), Verb.FAIL, Reason.BASELINE_GONE, "is no longer at Qiniu",
             wanted=Binding("https", "", "bought"), record=record(confirmed=sent()),
             known={"unusable": {"bought": 0.0}}),
    "one that serves it all the same is forgotten":
        Case(https("bought"), Verb.FORGET, Reason.IN_SYNC, wanted=Binding("https", "", "bought"),
             known={"unusable": {"bought": NOW - 1}}),
    "one that serves ours with other settings keeps it, too":
        Case(https("new", force_https=True), Verb.FAIL, Reason.BASELINE_EXPIRED, "ended on",
             wanted=Binding("https", "", "bought"), record=record(confirmed=sent("old", OLD)),
             known={"unusable": {"bought": NOW - 1}}),
    "one that somebody has given another is forgotten":
        Case(https("by hand"), Verb.FORGET, Reason.CHANGED, wanted=Binding("https", "", "bought"),
             record=record(confirmed=sent()), known={"unusable": {"bought": 0.0}}),
    "what is left of a rollback undoes nothing that was done since":
        Case(https("by hand"), Verb.FORGET, Reason.CHANGED, wanted=Binding("http"),
             known={"returning": False}),
    "and is done where nothing was":
        Case(https("new"), Verb.UNBIND, Reason.RESTORE, wanted=Binding("http"),
             known={"returning": False}),
    "a domain that goes back to http needs no certificate":
        Case(https("new"), Verb.UNBIND, Reason.RESTORE, wanted=Binding("http"),
             known={"unusable": {"": 0.0}}),
    "another installation's certificate is no obstacle to a certificate of theirs":
        Case(https("theirs"), Verb.BIND, Reason.RESTORE, wanted=Binding("https", "", "bought"),
             known=other_installation(NOW + 90 * DAY)),
}


@pytest.mark.parametrize("listed", [False, True], ids=["auto", "listed"])
@pytest.mark.parametrize("case", RESTORE_CASES.values(), ids=RESTORE_CASES.keys())
def test_restore(case: Case, listed: bool) -> None:
    """A domain that is given up goes back to its baseline, and is then forgotten."""
    known = knowledge(case.domain, case.record, listed={NAME} if listed else (), **case.known)
    [action] = plan([], {NAME: case.wanted}, known)
    verb = case.listed if listed and case.listed else case.verb
    assert (action.name, action.verb, action.reason) == (NAME, verb, case.reason)
    assert case.text in sentence(action)
    assert case.text or action.detail == ""
    assert action.verb is not Verb.FORGET or sentence(action) == ""
    assert action.restoring
    assert (action.binding is not None) == (verb is Verb.BIND)
    if action.binding:
        assert replace(action.binding, force_https=None, http2=None) == replace(
            case.wanted, force_https=None, http2=None)


def test_plan_order() -> None:
    """A plan has one action per domain, in the order of names, restored ones among them."""
    names = ["c.example.com", "a.example.com", "b.example.com"]
    known = knowledge(None, observed={name: http(name=name) for name in names})
    actions = plan([managed(WANTED, name) for name in names[:2]],
                   {names[2]: Binding("http")}, known)
    assert [(action.name, action.verb) for action in actions] == [
        ("a.example.com", Verb.BIND), ("b.example.com", Verb.FORGET),
        ("c.example.com", Verb.BIND)]


# Convergence


class Model:
    """A small model of Qiniu and of what the reconciler writes down, without any I/O."""

    def __init__(self, domains: Mapping[str, Domain], records: Mapping[str, Record],
                 wanted: Iterable[Managed], restore: Mapping[str, Binding]) -> None:
        self.domains, self.records = dict(domains), dict(records)
        self.wanted = {entry.name: entry for entry in wanted}
        self.restore = dict(restore)
        self.ids = dict(IDS)

    def plan(self) -> list[Action]:
        """The plan for what is there now."""
        return plan(self.wanted.values(), self.restore,
                    Knowledge(self.domains, self.records, self.ids, NOW, listed=[]))

    def apply(self, action: Action) -> None:
        """Do what Qiniu and the reconciler do for an action; refuse what Qiniu refuses."""
        name = action.name
        if action.verb is Verb.FORGET:
            self.wanted.pop(name, None)
            self.restore.pop(name, None)
        if action.verb not in (Verb.BIND, Verb.UNBIND):
            return
        domain = self.domains[name]
        assert domain.state != "processing", "Qiniu refuses with 400030"
        if action.binding is None:
            assert domain.protocol == "https"
            binding, operation = Binding("http"), "unsslize"
        else:
            assert action.enable == (domain.protocol == "http"), "Qiniu refuses with 400013"
            assert isinstance(action.binding.force_https, bool)
            assert isinstance(action.binding.http2, bool)
            fingerprint = action.binding.fingerprint
            cert_id = min(self.ids[fingerprint]) if fingerprint else action.binding.cert_id
            binding = replace(action.binding, cert_id=cert_id)
            unchanged = (domain.protocol, domain.cert_id, domain.force_https, domain.http2) == (
                "https", cert_id, binding.force_https, binding.http2)
            assert domain.state == "failed" or not unchanged, "Qiniu refuses with 400910"
            operation = "sslize" if action.enable else "modify_https_conf"
        self.domains[name] = replace(domain, state="processing", operation=operation)
        self.records[name] = replace(self.records.get(name, Record()), sent=Sent(binding, NOW))

    def publish(self, name: str, *, succeed: bool) -> None:
        """Let the publication of a domain end, and note it as an observation does."""
        domain, remembered = self.domains[name], self.records.get(name, Record())
        if domain.state != "processing":
            return
        change = remembered.sent
        if not succeed:
            self.domains[name] = replace(domain, state="failed", state_reason="crt fail")
        elif change is None or domain.operation not in HTTPS_OPERATIONS:
            self.domains[name] = replace(domain, state="success")
            self.records[name] = replace(remembered, sent=None)
        else:
            binding = change.binding
            is_https = binding.protocol == "https"
            self.domains[name] = replace(
                domain, state="success", protocol=binding.protocol,
                cert_id=binding.cert_id if is_https else "",
                force_https=binding.force_https, http2=binding.http2)
            self.records[name] = replace(remembered, sent=None, confirmed=change)


OPERATIONS = st.sampled_from(["sslize", "modify_https_conf", "unsslize", "modify_source"])
START = st.tuples(
    REAL_DOMAINS, st.sampled_from(["success", "failed", "processing"]), OPERATIONS,
    st.none() | SENTS | st.just(SENT_HTTP) | st.just(sent()), CONFIRMED)
BASELINES = st.just(Binding("http")) | st.builds(
    Binding, st.just("https"), st.just(""), st.just("bought"), st.booleans(), st.booleans())


@given(st.lists(START, min_size=3, max_size=3), st.lists(BINDINGS, min_size=2, max_size=2),
       BASELINES, st.lists(st.booleans(), max_size=8))
@settings(deadline=None, max_examples=300)
def test_convergence(start: list[tuple[Domain, str, str, Sent | None, Sent | None]],
                     wanted: list[Binding], baseline: Binding, outcomes: list[bool]) -> None:
    """From any state, and after any failed publications, nothing is left to do in the end."""
    domains = {name: replace(domain, name=name, state=state, operation=operation)
               for name, (domain, state, operation, _, _) in zip(NAMES, start, strict=True)}
    records = {name: record(sent=was_sent, confirmed=confirmed)
               for name, (_, _, _, was_sent, confirmed) in zip(NAMES, start, strict=True)}
    model = Model(domains, records,
                  [managed(binding, name)
                   for name, binding in zip(NAMES[:2], wanted, strict=True)],
                  {NAMES[2]: baseline})
    fates = iter(outcomes)
    for _ in range(len(outcomes) + 6):
        actions = model.plan()
        for action in actions:
            model.apply(action)
        if all(action.verb in (Verb.KEEP, Verb.FORGET) for action in actions):
            break
        for name in NAMES:
            model.publish(name, succeed=next(fates, True))
    assert {action.verb for action in model.plan()} == {Verb.KEEP}
    assert not model.restore
    assert len(model.wanted) == 2
    for entry in model.wanted.values():
        assert serves(model.domains[entry.name], entry.binding, IDS)
    assert serves(model.domains[NAMES[2]], baseline, IDS)


@given(st.lists(st.tuples(REAL_DOMAINS, BINDINGS), min_size=1, max_size=3))
@settings(deadline=None)
def test_one_change_is_enough(start: list[tuple[Domain, Binding]]) -> None:
    """If nothing fails, each domain is changed once at most, and is waited for meanwhile."""
    names = NAMES[:len(start)]
    model = Model({name: replace(domain, name=name)
                   for name, (domain, _) in zip(names, start, strict=True)}, {},
                  [managed(binding, name)
                   for name, (_, binding) in zip(names, start, strict=True)], {})
    first = model.plan()
    for action in first:
        model.apply(action)
    changed = {action.name for action in first if action.verb is Verb.BIND}
    assert {action.name: action.verb for action in model.plan()} == {
        name: Verb.WAIT if name in changed else Verb.KEEP for name in names}
    for name in names:
        model.publish(name, succeed=True)
    assert {action.verb for action in model.plan()} == {Verb.KEEP}
