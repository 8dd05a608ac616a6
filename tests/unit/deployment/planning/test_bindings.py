"""What a binding carries, and whether a domain serves it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from certbot_qiniu.deployment.planning.bindings import binding_of, resolve, serves
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
