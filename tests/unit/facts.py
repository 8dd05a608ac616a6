"""Facts to plan with: one domain, what is remembered of it, and all that is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from certbot_qiniu.deployment.planning.decision import Knowledge
from certbot_qiniu.deployment.state import Managed, Record, Sent
from certbot_qiniu.model import Binding, Domain

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
    """All that is known if there is one domain."""
    known = Knowledge({domain.name: domain} if domain else {},
                      {NAME: remembered} if remembered else {}, IDS, NOW, ours={"new", "old"})
    return replace(known, **changes)


# What hypothesis draws


FLAGS = st.sampled_from([None, False, True])
BINDINGS = st.builds(Binding, st.just("https"), st.sampled_from([NEW, OLD]), st.just(""),
                     FLAGS, FLAGS)
CERT_IDS = st.sampled_from(["new", "old", "bought"])
REAL_DOMAINS = (st.builds(https, CERT_IDS, force_https=st.booleans(), http2=st.booleans())
                | st.builds(http))
SENTS = st.builds(sent, CERT_IDS, st.just(""), force_https=st.booleans(), http2=st.booleans())
CONFIRMED = st.none() | SENTS | st.just(SENT_HTTP)

NAMES = ["a.example.com", "b.example.com", "c.example.com"]
