"""What a binding carries, and whether a domain serves it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from certbot_qiniu.deployment.planning.bindings import (
    as_confirmed,
    binding_of,
    is_refusal_of_tls,
    is_unsent,
    read_refusal,
    refusal_key,
    resolve,
    satisfies,
    sendable,
    serves,
)
from certbot_qiniu.deployment.planning.decision import Verb, decide, plan
from certbot_qiniu.deployment.state import Sent
from certbot_qiniu.model import Binding, Domain
from tests.unit.facts import (
    BINDINGS,
    CONFIRMED,
    IDS,
    NAME,
    NEW,
    OLD,
    REAL_DOMAINS,
    WANTED,
    http,
    https,
    knowledge,
    record,
)


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
    """A domain serves a binding if protocol, certificate and the known settings agree."""
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


# TLS versions, and other fields -------------------------------------------------------------------

TLS, OTHERS = ("TLSv1.2",), ("TLSv1.1", "TLSv1.3")


@pytest.mark.parametrize(("wanted", "domain", "confirmed", "expected"), [
    (None, https(), None, None), (None, https(tls_versions=()), None, None),
    (None, https(tls_versions=OTHERS), None, OTHERS), (TLS, https(), None, TLS),
    (TLS, https(tls_versions=OTHERS), None, TLS), (TLS, https(tls_versions=TLS), None, TLS),
    ((), https(tls_versions=OTHERS), None, ()), ((), https(tls_versions=()), None, None),
    ((), https(), None, None), (None, http(), None, None), (TLS, http(), None, TLS),
    (None, http(), OTHERS, OTHERS), (None, http(tls_versions=()), OTHERS, OTHERS),
], ids=str)
def test_versions_to_send(wanted: tuple[str, ...] | None, domain: Domain,
                          confirmed: tuple[str, ...] | None,
                          expected: tuple[str, ...] | None) -> None:
    """What is asked for is sent, else what is there, unknown names included; nothing of nothing."""
    before = confirmed and Sent(Binding("https", OLD, "old", tls_versions=confirmed), 1)
    binding = resolve(replace(WANTED, tls_versions=wanted), domain, record(confirmed=before))
    assert expected == binding.tls_versions


@pytest.mark.parametrize(("shown", "wanted", "expected"), [
    (None, TLS, True), (TLS, None, True), (TLS, TLS, True), (OTHERS, TLS, False),
    ((), TLS, False), (TLS, (), False), (OTHERS, OTHERS[::-1], True)])
def test_serves_versions(shown: tuple[str, ...] | None, wanted: tuple[str, ...] | None,
                         expected: bool) -> None:
    """They agree as sets, or if one side says nothing."""
    assert expected == serves(https("new", tls_versions=shown),
                              replace(WANTED, tls_versions=wanted), IDS)


def test_not_on_its_way() -> None:
    """What was not sent of them is not on its way."""
    sent = replace(WANTED, force_https=True, http2=True)
    assert satisfies(sent, WANTED)
    assert not satisfies(sent, replace(WANTED, tls_versions=TLS))
    assert satisfies(replace(sent, tls_versions=TLS), replace(WANTED, tls_versions=TLS))


def test_unsent() -> None:
    """What no read shows counts as sent once it was confirmed."""
    wanted = replace(WANTED, tls_versions=TLS)
    assert is_unsent(https("new"), wanted, record())
    assert not is_unsent(https("new"), WANTED, record())
    assert not is_unsent(https("new", tls_versions=()), wanted, record()), "shown"
    for found, expected in ((TLS, False), (OTHERS, True), (None, True)):
        confirmed = Sent(replace(wanted, tls_versions=found), 1)
        assert expected == is_unsent(https("new"), wanted, record(confirmed=confirmed))


def test_as_confirmed() -> None:
    """Of what no read shows, that Qiniu has taken the change is the proof."""
    sent = Sent(replace(WANTED, tls_versions=TLS), 1)
    assert sent == as_confirmed(sent, https("new"), is_certain=True)
    assert sent == as_confirmed(sent, https("new", tls_versions=TLS), is_certain=False)
    assert Sent(WANTED, 1) == as_confirmed(sent, https("new"), is_certain=False)


def test_sendable() -> None:
    """Other fields go back with a change of HTTPS, but for what is refused."""
    fields = {"a": True, "b": ("x", 1)}
    assert {"b": ("x", 1)} == sendable(https(https_fields=fields), {"a"}).https_fields
    assert {} == sendable(http(https_fields=fields), ()).https_fields


def test_refusals() -> None:
    """A refusal is believed for 30 days, of just these versions in just this account."""
    keys = {refusal_key(account, field, asked) for account in "ab" for field in ("tlsVersions", "x")
            for asked in (None, TLS, OTHERS)}
    assert len(keys) == 12
    for asked in (None, TLS, OTHERS):
        assert {refusal_key(account, "tlsVersions", asked) for account in "ab"} == {
            key for key in keys if is_refusal_of_tls(key, asked)}
    note = "1000000 the reason (code 400000)"
    assert "the reason (code 400000)" == read_refusal(note, 1_000_000 + 30 * 86_400 - 1)
    for now in (1_000_000 + 30 * 86_400, 999_999):
        assert "" == read_refusal(note, now)
    for nonsense in ("", "x", "soon why"):
        assert "" == read_refusal(nonsense, 1_000_000)
