"""Decisions: tables keyed by sentences, and what must hold of every plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from certbot_qiniu.deployment.planning.decision import (
    HTTPS_OPERATIONS,
    Action,
    Knowledge,
    Reason,
    Verb,
    binding_of,
    decide,
    plan,
    resolve,
    serves,
)
from certbot_qiniu.deployment.planning.freshness import needs_reading
from certbot_qiniu.deployment.planning.selection import Selection, candidates, select
from certbot_qiniu.deployment.planning.supersession import kept_fingerprints, superseded
from certbot_qiniu.deployment.state import Managed, Record, Sent, State
from certbot_qiniu.model import (
    DAY,
    DEAD_STATES,
    Binding,
    Domain,
    RemoteCertificate,
    covering_name,
    san_of,
)

NOW = 1_800_000_000.0
NAME = "www.example.com"
NEW, OLD = "aa" * 32, "bb" * 32
IDS = {NEW: frozenset({"new"}), OLD: frozenset({"old"})}
WANTED = Binding("https", NEW)


def https(cert_id: str = "old", **changes: Any) -> Domain:
    """A domain that serves a certificate."""
    settled = {"protocol": "https", "cert_id": cert_id, "force_https": False, "http2": True,
               "detailed": True}
    return Domain(**{"name": NAME, **settled, **changes})


def http(**changes: Any) -> Domain:
    """A domain that speaks http only."""
    return Domain(**{"name": NAME, "detailed": True, **changes})


def sent(cert_id: str = "new", fingerprint: str = NEW, *, force_https: bool = False,
         http2: bool = True) -> Sent:
    """A binding as it was sent."""
    return Sent(Binding("https", fingerprint, cert_id, force_https, http2), NOW - 60)


SENT_HTTP = Sent(Binding("http"), NOW - 60)


def record(**changes: Any) -> Record:
    """What is remembered of a domain that we manage."""
    return Record(**{"lineage": "example.com", "baseline": Binding("http"), **changes})


def managed(binding: Binding, name: str = NAME, lineage: str = "example.com") -> Managed:
    """One line of the desired state."""
    return Managed(name, "cdn", lineage, binding)


def knowledge(domain: Domain | None, remembered: Record | None = None,
              **changes: Any) -> Knowledge:
    """All that is known where there is one domain."""
    known = Knowledge({domain.name: domain} if domain else {},
                      {NAME: remembered} if remembered else {}, IDS, NOW)
    return replace(known, **changes)


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


def stranger(not_after: float) -> dict[str, Any]:
    """A certificate of another installation at Qiniu, and the end of our own."""
    return {"strangers": {"theirs": RemoteCertificate("theirs", "certbot_x_0123456789ab",
                                                      not_after=int(not_after))},
            "expiry": {NEW: NOW + 60 * DAY}}


CASES: Mapping[str, Case] = {
    "a domain that is gone is forgotten, a listed one is an error":
        Case(None, Verb.FORGET, Reason.NOT_FOUND, "no longer managed", listed=Verb.FAIL),
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
        Case(https("theirs"), Verb.FAIL, Reason.FOREIGN, "run certbot install here",
             known=stranger(NOW + 61 * DAY)),
    "a newer certificate is left alone where nobody knows when ours ends":
        Case(https("theirs"), Verb.FAIL, Reason.FOREIGN, "certbot_x_0123456789ab",
             known={**stranger(NOW + 1), "expiry": {}}),
    "an older certificate of another installation is replaced":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED, known=stranger(NOW + 59 * DAY)),
    "of two that end in the same second the one with the smaller fingerprint is replaced":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED, known=stranger(NOW + 60 * DAY)),
    "and the one with the larger fingerprint is left alone":
        Case(https("theirs"), Verb.FAIL, Reason.FOREIGN, "certbot_x_0123456789ab",
             wanted=replace(WANTED, fingerprint="0" * 64),
             known={**stranger(NOW + 60 * DAY), "expiry": {"0" * 64: NOW + 60 * DAY}}),
    "a newer one is replaced by certbot install":
        Case(https("theirs"), Verb.BIND, Reason.OUTDATED,
             known={**stranger(NOW + 61 * DAY), "takeover": True}),

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
             f"{DEAD_STATES[state]} (the reason)", listed=Verb.FAIL)
    for state in DEAD_STATES
} | {
    f"a domain in the state {state} is left out even with the right certificate":
        Case(https("new", state=state), Verb.SKIP, Reason.DEAD, f"{DEAD_STATES[state]} and cannot",
             listed=Verb.FAIL)
    for state in DEAD_STATES
}


@pytest.mark.parametrize("listed", [False, True], ids=["auto", "listed"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_decide(case: Case, listed: bool) -> None:
    """Each situation has its action, its reason, and a text where a human must know."""
    known = knowledge(case.domain, case.record, explicit={NAME} if listed else (), **case.known)
    action = decide(NAME, case.wanted, known)
    verb = case.listed if listed and case.listed else case.verb
    assert (action.name, action.verb, action.reason) == (NAME, verb, case.reason)
    if case.listed is None or not listed:
        assert case.text in action.text
    if verb in (Verb.FAIL, Verb.SKIP, Verb.QUEUE):
        assert NAME in action.text
    if verb in (Verb.KEEP, Verb.WAIT) or (verb is Verb.BIND and not case.text):
        assert action.text == ""
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
    action = decide(NAME, WANTED, knowledge(None, explicit=[NAME]))
    assert action.text == (f"{NAME} does not exist in this Qiniu account as a domain of its cdn. "
                           "Remove it from --qiniu-domains, or add it at Qiniu")


def test_stuck_text() -> None:
    """A domain that is stuck comes with a text that can be pasted into a ticket."""
    domain = https(state="processing", operation="sslize")
    action = decide(NAME, WANTED, knowledge(domain, record(processing_since=NOW - 3 * DAY)))
    assert "处理中" in action.text
    assert "72 hours" in action.text
    assert (f"“The domain {NAME} has been stuck in the state processing since its operation "
            "sslize; please finish or cancel it.”") in action.text


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
    "another installation's certificate is no obstacle to a certificate of theirs":
        Case(https("theirs"), Verb.BIND, Reason.RESTORE, wanted=Binding("https", "", "bought"),
             known=stranger(NOW + 90 * DAY)),
}


@pytest.mark.parametrize("listed", [False, True], ids=["auto", "listed"])
@pytest.mark.parametrize("case", RESTORE_CASES.values(), ids=RESTORE_CASES.keys())
def test_restore(case: Case, listed: bool) -> None:
    """A domain that is given up goes back to its baseline, and is then forgotten."""
    known = knowledge(case.domain, case.record, explicit={NAME} if listed else (), **case.known)
    [action] = plan([], {NAME: case.wanted}, known)
    verb = case.listed if listed and case.listed else case.verb
    assert (action.name, action.verb, action.reason) == (NAME, verb, case.reason)
    assert case.text in action.text
    assert case.text or action.text == ""
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


# What a binding carries


FLAGS = st.sampled_from([None, False, True])
BINDINGS = st.builds(Binding, st.just("https"), st.sampled_from([NEW, OLD]), st.just(""),
                     FLAGS, FLAGS)
CERT_IDS = st.sampled_from(["new", "old", "bought"])
REAL_DOMAINS = (st.builds(https, CERT_IDS, force_https=st.booleans(), http2=st.booleans())
                | st.builds(http))
SENTS = st.builds(sent, CERT_IDS, st.just(""), force_https=st.booleans(), http2=st.booleans())
CONFIRMED = st.none() | SENTS | st.just(SENT_HTTP)


@given(BINDINGS, REAL_DOMAINS, CONFIRMED)
@settings(deadline=None, max_examples=300)
def test_resolve(wanted: Binding, domain: Domain, confirmed: Sent | None) -> None:
    """Both settings are decided; what was asked for is, and on https what was not stays."""
    binding = resolve(wanted, domain, record(confirmed=confirmed))
    for setting in ("force_https", "http2"):
        asked, result = getattr(wanted, setting), getattr(binding, setting)
        assert isinstance(result, bool)
        if asked is not None:
            assert result == asked
        elif domain.protocol == "https":
            assert result == getattr(domain, setting)
        elif confirmed and confirmed.binding.protocol == "https":
            assert result == getattr(confirmed.binding, setting)
        else:
            assert result is True
    assert replace(binding, force_https=None, http2=None) == replace(
        wanted, force_https=None, http2=None)


@pytest.mark.parametrize("force_https", [None, False, True])
@pytest.mark.parametrize("http2", [None, False, True])
def test_first_https(force_https: bool | None, http2: bool | None) -> None:
    """A domain that is switched to https redirects and speaks HTTP/2 unless told otherwise."""
    wanted = replace(WANTED, force_https=force_https, http2=http2)
    binding = decide(NAME, wanted, knowledge(http())).binding
    assert binding == Binding("https", NEW, "", force_https is not False, http2 is not False)


@given(BINDINGS, REAL_DOMAINS, CONFIRMED)
@settings(deadline=None)
def test_resolved_binding_serves(wanted: Binding, domain: Domain, confirmed: Sent | None) -> None:
    """A domain that shows the resolved binding serves what was wanted."""
    binding = resolve(wanted, domain, record(confirmed=confirmed))
    [cert_id] = IDS[binding.fingerprint]
    shown = https(cert_id, force_https=binding.force_https, http2=binding.http2)
    assert serves(shown, wanted, IDS)
    assert serves(shown, binding, IDS)


@pytest.mark.parametrize(("domain", "wanted", "expected"), [
    (http(), Binding("http"), True),
    (https("new"), Binding("http"), False),
    (http(), WANTED, False),
    (http(cert_id="new"), WANTED, False),
    (https("old"), WANTED, False),
    (https(""), WANTED, False),
    (https("new"), WANTED, True),
    (https("new"), Binding("https", "cc" * 32), False),
    (https("new"), Binding("https", "", "new"), True),
    (https("new"), Binding("https", "", "old"), False),
    (https("new", force_https=True), replace(WANTED, force_https=False), False),
    (https("new", http2=False), replace(WANTED, http2=True), False),
])
def test_serves(domain: Domain, wanted: Binding, expected: bool) -> None:
    """A domain serves a binding where protocol, certificate and the known settings agree."""
    assert serves(domain, wanted, IDS) is expected


def test_binding_of() -> None:
    """What a domain serves can be asked for again: ours by fingerprint, others by id."""
    uploads = {"new": NEW}
    assert binding_of(http(cert_id="stale"), uploads) == Binding("http")
    assert binding_of(https("new"), uploads) == Binding("https", NEW, "", False, True)
    assert binding_of(https("bought"), uploads) == Binding("https", "", "bought", False, True)


@given(REAL_DOMAINS)
@settings(deadline=None)
def test_baseline_is_served(domain: Domain) -> None:
    """A domain serves its own baseline, so that giving it up at once changes nothing."""
    baseline = binding_of(domain, {"new": NEW, "old": OLD})
    [action] = plan([], {NAME: baseline}, knowledge(domain))
    assert action.verb is Verb.FORGET


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
                    Knowledge(self.domains, self.records, self.ids, NOW, explicit=[]))

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


NAMES = ["a.example.com", "b.example.com", "c.example.com"]
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
    """Whatever is there and however often a publication fails: in the end nothing is to do."""
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
    """Where nothing fails, each domain is changed once at most, and is waited for meanwhile."""
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


# Which domains


SANS = ("example.com", "*.example.com", "a.example.org")


def account(*domains: Domain) -> dict[str, Domain]:
    """The domains of an account, by name."""
    return {domain.name: domain for domain in domains}


def choose(domains: Mapping[str, Domain], explicit: Sequence[str] | None = None,
           **changes: Any) -> Selection:
    """The selection for a certificate of the lineage ``example.com``."""
    return select(domains, SANS, explicit,
                  **{"lineage": "example.com", "state": {}, **changes})


def owned_by(lineage: str, name: str = NAME) -> State:
    """A desired state in which a lineage manages a domain."""
    return {name: managed(Binding("https", OLD), name, lineage)}


def unusable(*, certificate: str = "old") -> dict[str, tuple[Domain, str]]:
    """Domains that can serve no certificate of ours, and the words for each."""
    return {
        "a test domain": (https(certificate, kind="test"), "is a test domain of Qiniu's"),
        "a DCDN domain": (https(certificate, product="dcdn"), "is a DCDN domain"),
        "not operable": (https(certificate, operable=False), "cannot be changed by this account"),
    } | {state: (https(certificate, state=state, state_reason="why"), f"{words} (why)")
         for state, words in DEAD_STATES.items()}


def test_nothing_covered() -> None:
    """Domains that the certificate does not cover are not even mentioned."""
    domains = account(https(name="example.net"), https(name="a.b.example.com"),
                      https(name=".example.org"), http(name=".a.example.com"))
    assert choose(domains) == Selection()
    assert choose({}) == Selection()


@pytest.mark.parametrize("domain", [
    http(name="example.com"), http(name=".example.com"), http(name="a.example.org"),
    https(name="example.com"), https("bought", name="example.com"),
    http(name="example.com", state="failed"), http(name="example.com", state="processing"),
    https(name=".example.com", kind="wildcard"), https(kind="pan"),
], ids=["apex", "wildcard", "other", "https", "bought but named", "failed", "processing",
        "https wildcard", "pan"])
def test_named_domain(domain: Domain) -> None:
    """A domain that the certificate names is chosen, whatever it serves now."""
    assert choose(account(domain), bought={"bought"}) == Selection((domain.name,))


def test_http_by_wildcard() -> None:
    """An http domain that only a wildcard covers is never switched to https by itself."""
    assert choose(account(http())) == Selection(http_only=(NAME,))


def test_https_by_wildcard() -> None:
    """An https domain that only a wildcard covers is chosen."""
    assert choose(account(https())) == Selection((NAME,))


def test_bought() -> None:
    """A domain with a valid certificate bought from Qiniu is left out, and named."""
    assert choose(account(https("bought")), bought={"bought"}) == Selection(
        left_out=((NAME, "serves a valid certificate that was bought through Qiniu"),))
    assert choose(account(https("bought")), bought={"another"}) == Selection((NAME,))
    assert choose(account(http(cert_id="bought")), bought={"bought"}) == Selection(
        http_only=(NAME,))


def test_foreign() -> None:
    """A domain that another installation serves is left out, even when named, unless it is ours."""
    left_out = Selection(left_out=((NAME, "is managed by another certbot-qiniu installation"),))
    assert choose(account(https("theirs")), foreign={"theirs"}) == left_out
    apex = https("theirs", name="example.com")
    assert choose(account(apex), foreign={"theirs"}).chosen == ()
    assert choose(account(https("theirs")), foreign={"theirs"}, state=owned_by("example.com"),
                  alive={"example.com"}) == Selection((NAME,))
    assert choose(account(https("theirs")), foreign={""}) == Selection((NAME,))


def test_other_lineage() -> None:
    """What another living lineage manages stays with it; a deleted lineage manages nothing."""
    domains = account(https(), https(name="example.com"))
    state = {**owned_by("other"), **owned_by("other", "example.com")}
    assert choose(domains, state=state, alive={"other", "example.com"}) == Selection(left_out=(
        (NAME, "is managed by the lineage other"),
        ("example.com", "is managed by the lineage other"))[::-1])
    assert choose(domains, state=state, alive={"example.com"}) == Selection(
        ("example.com", NAME))


def test_managed_already() -> None:
    """What this lineage manages stays chosen: on http, and with a bought certificate."""
    ours: dict[str, Any] = {"state": owned_by("example.com"), "alive": {"example.com"}}
    assert choose(account(http()), **ours) == Selection((NAME,))
    assert choose(account(https("bought")), bought={"bought"}, **ours) == Selection((NAME,))


def test_managed_by_a_namesake() -> None:
    """A lineage that was deleted and made anew has no claim before its certificate is there."""
    assert choose(account(http()), state=owned_by("example.com"), alive=()) == Selection(
        http_only=(NAME,))


@pytest.mark.parametrize(("domain", "why"), unusable().values(), ids=unusable().keys())
def test_left_out(domain: Domain, why: str) -> None:
    """A domain that can serve no certificate is left out with the reason, even when named."""
    for name in (NAME, "example.com"):
        found = choose(account(replace(domain, name=name)), state=owned_by("example.com", name),
                       alive={"example.com"})
        assert (found.chosen, found.http_only, found.problems) == ((), (), ())
        [(left, reason)] = found.left_out
        assert left == name
        assert reason.startswith(why)


@pytest.mark.parametrize(("domain", "why"), unusable().values(), ids=unusable().keys())
def test_listed_and_unusable(domain: Domain, why: str) -> None:
    """A listed domain that can serve no certificate is a problem."""
    found = choose(account(domain), [NAME])
    assert (found.chosen, found.left_out) == ((), ())
    [problem] = found.problems
    assert problem.startswith(f"{NAME} {why}")


@pytest.mark.parametrize("domain", [http(), https(), https("bought"), https("theirs")],
                         ids=["http", "https", "bought", "foreign"])
def test_listed(domain: Domain) -> None:
    """A listed domain that is covered is chosen, whatever it serves now; others are not."""
    domains = account(domain, https(name="example.com"))
    assert choose(domains, [NAME], bought={"bought"}, foreign={"theirs"}) == Selection((NAME,))


def test_listed_order() -> None:
    """Listed domains stay in the user's order, and problems do not hide each other."""
    domains = account(http(), http(name="example.com"), http(name="example.net"))
    found = choose(domains, [NAME, "example.net", "example.com", "gone.example.com"])
    assert found.chosen == (NAME, "example.com")
    assert len(found.problems) == 2


def test_listed_not_covered() -> None:
    """A listed domain that the certificate does not cover is a problem that names its SANs."""
    assert choose(account(https(name="example.net")), ["example.net"]).problems == (
        "example.net is not covered by the certificate, which is for "
        "*.example.com, a.example.org, example.com",)


def test_listed_not_found() -> None:
    """A listed domain that does not exist comes with near misses and what the account has."""
    domains = account(https(), http(name="cdn.example.net"))
    [problem] = choose(domains, ["wwww.example.com"]).problems
    assert problem == (
        "wwww.example.com is no domain of this Qiniu account in the services that "
        "--qiniu-services names. Did you mean www.example.com? "
        "The account has: cdn.example.net, www.example.com")


def test_listed_not_found_in_empty_account() -> None:
    """An account without domains is called so."""
    [problem] = choose({}, [NAME]).problems
    assert problem.endswith("names. The account has: no domain at all")


def test_listed_not_found_in_large_account() -> None:
    """Of a large account the first twenty domains are shown, and how many more there are."""
    names = [f"d{number:03}.example.net" for number in range(21)]
    [problem] = choose(account(*(http(name=name) for name in names)), ["x.example.com"]).problems
    assert "Did you mean" not in problem
    assert problem.endswith(f"{', '.join(names[:20])} and 1 more")
    [problem] = choose(account(*(http(name=name) for name in names[:20])), ["x.cn"]).problems
    assert problem.endswith(", ".join(names[:20]))


def test_listed_of_other_lineage() -> None:
    """A listed domain of another living lineage is taken by certbot install alone."""
    ours: dict[str, Any] = {"state": owned_by("other"), "alive": {"other", "example.com"}}
    assert choose(account(https()), [NAME], **ours).problems == (
        f"{NAME} is managed by the lineage other: take it out of one of the two "
        "--qiniu-domains lists",)
    assert choose(account(https()), [NAME], takeover=True, **ours) == Selection((NAME,))
    dead = {**ours, "alive": {"example.com"}}
    assert choose(account(https()), [NAME], **dead) == Selection((NAME,))


ANY_DOMAINS = st.builds(
    Domain, st.sampled_from(["example.com", ".example.com", NAME, "x.example.com", "example.net"]),
    kind=st.sampled_from(["normal", "test"]), protocol=st.sampled_from(["http", "https"]),
    state=st.sampled_from(["success", "processing", "frozen"]), operable=st.booleans(),
    cert_id=st.sampled_from(["", "new", "bought", "theirs"]))


@given(st.lists(ANY_DOMAINS, unique_by=lambda domain: domain.name), st.booleans(),
       st.sampled_from(["example.com", "other", "dead"]))
@settings(deadline=None, max_examples=200)
def test_selection_is_a_partition(domains: list[Domain], is_listed: bool, owner: str) -> None:
    """Each domain that is covered, or listed, is in just one of the answers; others in none."""
    explicit = [domain.name for domain in domains] if is_listed else None
    by_name = account(*domains)
    found = choose(by_name, explicit, bought={"bought"}, foreign={"theirs"},
                   state=owned_by(owner), alive={"example.com", "other"})
    told = [*found.chosen, *(name for name, _ in found.left_out), *found.http_only,
            *(problem.partition(" ")[0] for problem in found.problems)]
    expected = [domain.name for domain in domains
                if is_listed or covering_name(SANS, domain.name)]
    assert sorted(told) == sorted(expected)
    for name in found.chosen:
        assert covering_name(SANS, name)
        assert by_name[name].state != "frozen"
        assert by_name[name].operable
    assert bool(found.problems) <= is_listed
    ours = {NAME} if owner == "example.com" else set()
    read = {domain.name for domain in candidates(domains, SANS, explicit, ours)}
    assert set(found.chosen) <= read, "a domain was chosen whose details nobody asked for"


def test_candidates() -> None:
    """Details are wanted only of domains that they can matter for."""
    domains = [http(name="example.com"), http(), https(name="x.example.com"),
               https(name="y.example.com", kind="test"), https(name="example.net")]
    auto = candidates(domains, SANS, None, ())
    assert [domain.name for domain in auto] == ["example.com", "x.example.com"]
    listed = candidates(domains, SANS, [NAME, "y.example.com"], ())
    assert [domain.name for domain in listed] == [NAME]
    assert [domain.name for domain in candidates(domains, SANS, None, {NAME})] == [
        "example.com", NAME, "x.example.com"]


# What is still true


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


FINGERPRINTS = st.sampled_from(["f1", "f2", "f3", "f4"])
UPLOADS = st.dictionaries(st.sampled_from([f"id{n}" for n in range(8)]), FINGERPRINTS)


@given(UPLOADS, st.sets(FINGERPRINTS), st.sets(st.sampled_from([f"id{n}" for n in range(8)])))
@settings(deadline=None, max_examples=300)
@example({"id1": "f1", "id2": "f1"}, {"f1"}, {"id2"})
@example({"id1": "f1", "id2": "f1"}, {"f1"}, set())
def test_superseded(uploads: dict[str, str], needed: set[str], bound: set[str]) -> None:
    """What goes is needed by nothing, one copy of what is needed stays, the bound one if any."""
    gone = superseded(uploads, needed, bound)
    assert len(gone) == len(set(gone))
    assert set(gone) <= set(uploads)
    left = [uploads[cert_id] for cert_id in uploads if cert_id not in gone]
    assert set(left) >= needed & set(uploads.values())
    unbound = [uploads[cert_id] for cert_id in uploads
               if cert_id not in gone and cert_id not in bound]
    assert len(unbound) == len(set(unbound))
    assert set(unbound) <= needed


@given(UPLOADS, st.sets(FINGERPRINTS), st.sets(st.sampled_from([f"id{n}" for n in range(8)])))
@settings(deadline=None)
@example({"id1": "f1"}, set(), {"id1"})
@example({"id1": "f1", "id2": "f1"}, {"f1"}, {"id1", "id2"})
def test_superseded_is_never_bound(
        uploads: dict[str, str], needed: set[str], bound: set[str]) -> None:
    """What a domain was last seen to serve is not superseded, needed or not."""
    assert not set(superseded(uploads, needed, bound)) & bound


STATES = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.sampled_from(["one", "two"]), FINGERPRINTS), max_size=3,
).map(lambda entries: {name: managed(Binding("https", fingerprint), name, lineage)
                       for name, (lineage, fingerprint) in entries.items()})


@given(STATES, st.lists(STATES, max_size=5), st.integers(0, 3))
@settings(deadline=None, max_examples=200)
def test_kept_fingerprints(state: State, checkpoints: list[State], keep: int) -> None:
    """All that is wanted now is kept, and of the lineage's older ones the newest *keep*."""
    kept = kept_fingerprints(state, checkpoints, "one", keep)
    wanted = {entry.binding.fingerprint for entry in state.values()}
    assert kept >= wanted
    assert len(kept - wanted) <= keep
    older = [[entry.binding.fingerprint for entry in checkpoint.values()
              if entry.lineage == "one" and entry.binding.fingerprint not in wanted]
             for checkpoint in checkpoints]
    everything = {fingerprint for fingerprints in older for fingerprint in fingerprints}
    assert len(kept - wanted) == min(keep, len(everything))
    age = {fingerprint: next(number for number, found in enumerate(older) if fingerprint in found)
           for fingerprint in everything}
    assert all(age[inside] <= age[outside]
               for inside in kept - wanted for outside in everything - kept)


def test_no_more_checkpoints_than_needed() -> None:
    """Checkpoints gather for years: none is read beyond those that are kept."""
    def checkpoints() -> Iterable[State]:
        yield {NAME: managed(Binding("https", OLD), lineage="one")}
        raise AssertionError("read too far")

    state = {NAME: managed(Binding("https", NEW), lineage="one")}
    assert {NEW, OLD} == kept_fingerprints(state, checkpoints(), "one", 1)


@given(UPLOADS, STATES, st.lists(STATES, max_size=4), st.integers(0, 2),
       st.sets(st.sampled_from([f"id{n}" for n in range(8)]), max_size=2))
@settings(deadline=None)
def test_what_remains(uploads: dict[str, str], state: State, checkpoints: list[State],
                      keep: int, bound: Collection[str]) -> None:
    """After a clean-up the wanted certificates and at most *keep* older ones remain unbound."""
    assume(all(entry.lineage == "one" for entry in state.values()))
    needed = kept_fingerprints(state, checkpoints, "one", keep)
    gone = superseded(uploads, needed, bound)
    unbound = [cert_id for cert_id in uploads if cert_id not in gone and cert_id not in bound]
    wanted = {entry.binding.fingerprint for entry in state.values()}
    assert len(unbound) <= len(wanted) + keep


def test_san_of() -> None:
    """A wildcard at Qiniu has its own way to be written in a certificate."""
    assert san_of(".example.com") == "*.example.com"
    assert san_of("a.example.com") == "a.example.com"
