"""What a binding carries, and whether a domain serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import Binding, Domain


def serves(domain: Domain, wanted: Binding, ids: Mapping[str, frozenset[str]]) -> bool:
    """Tell whether *domain* is bound as *wanted*.

    Settings that are None, on either side, agree with all.

    :param ids: fingerprint -> Qiniu's ids of our certificate.
    """
    if domain.protocol != wanted.protocol or not _agree(domain.hsts, wanted.hsts):
        return False
    if wanted.protocol == "http":
        return True
    certificates = ids.get(wanted.fingerprint, frozenset()) if wanted.fingerprint else {
        wanted.cert_id}
    return (domain.cert_id in certificates
            and _agree(domain.force_https, wanted.force_https)
            and _agree(domain.http2, wanted.http2))


def satisfies(sent: Binding, wanted: Binding) -> bool:
    """Tell whether what was sent is what is wanted, whatever its id at Qiniu was then."""
    if sent.protocol != wanted.protocol or not _agree(sent.hsts, wanted.hsts):
        return False
    if sent.protocol == "http":
        return True
    same = (sent.fingerprint == wanted.fingerprint if wanted.fingerprint
            else sent.cert_id == wanted.cert_id)
    return (same and _agree(sent.force_https, wanted.force_https)
            and _agree(sent.http2, wanted.http2))


def _agree(one: bool | None, other: bool | None) -> bool:
    return one is None or other is None or one == other


def resolve(wanted: Binding, domain: Domain, record: Record) -> Binding:
    """Decide the open settings of *wanted*: as it is, as it was, or on for a first HTTPS.

    A domain that Qiniu itself switched back to http (it does so after an expiry) gets the
    settings back that it had.
    """
    if domain.protocol == "https":
        force, http2 = domain.force_https, domain.http2
    elif record.confirmed and record.confirmed.binding.protocol == "https":
        force, http2 = record.confirmed.binding.force_https, record.confirmed.binding.http2
    else:
        force, http2 = True, True
    return replace(
        wanted, hsts=None,  # no part of this change
        force_https=bool(force if wanted.force_https is None else wanted.force_https),
        http2=bool(http2 if wanted.http2 is None else wanted.http2))


def binding_of(domain: Domain, uploads: Mapping[str, str]) -> Binding:
    """Take what *domain* serves now as a binding to return to.

    :param uploads: Qiniu's id -> fingerprint, for certificates of ours.
    """
    if domain.protocol != "https":
        return Binding(protocol="http")
    fingerprint = uploads.get(domain.cert_id, "")
    return Binding("https", fingerprint, "" if fingerprint else domain.cert_id,
                   domain.force_https, domain.http2)
