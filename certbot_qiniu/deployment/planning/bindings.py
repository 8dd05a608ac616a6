"""Compare bindings: their fields, and whether a domain serves them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from certbot_qiniu.deployment.state import Record, Sent
from certbot_qiniu.model import DAY, TLS_VERSIONS, Binding, Domain

REFUSED_SECONDS = 30 * DAY
"""A field that Qiniu has refused is not sent again for so long."""

ABOUT_THE_REST = frozenset({400030, 400999, 400910, 400013, 400401, 400326})
"""Codes of a 400 that says nothing against a field: busy, nothing to change, the certificate."""


def serves(domain: Domain, wanted: Binding, ids: Mapping[str, frozenset[str]]) -> bool:
    """Return whether *domain* is bound as *wanted*.

    Settings that are None, on either side, agree with all.

    :param ids: fingerprint -> Qiniu's ids of our certificate.
    """
    if domain.protocol != wanted.protocol or not _agree(domain.hsts, wanted.hsts):
        return False
    if wanted.protocol == "http":
        return True
    certificates = ids.get(wanted.fingerprint, frozenset()) if wanted.fingerprint else {
        wanted.cert_id}
    return domain.cert_id in certificates and _settings_agree(domain, wanted)


def satisfies(sent: Binding, wanted: Binding) -> bool:
    """Return whether the binding that was sent is the wanted one, whatever its id at Qiniu was.

    TLS versions that were not sent are not on their way.
    """
    if sent.protocol != wanted.protocol or not _agree(sent.hsts, wanted.hsts):
        return False
    if sent.protocol == "http":
        return True
    same = (sent.fingerprint == wanted.fingerprint if wanted.fingerprint
            else sent.cert_id == wanted.cert_id)
    return (same and _settings_agree(sent, wanted)
            and not (wanted.tls_versions and sent.tls_versions is None))


def _settings_agree(one: Domain | Binding, other: Binding) -> bool:
    return (_agree(one.force_https, other.force_https) and _agree(one.http2, other.http2)
            and _agree(one.tls_versions, other.tls_versions))


def _agree(one: Any, other: Any) -> bool:
    """Return whether two settings are the same, if both are known; lists have no order."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return set(one) == set(other)
    return one is None or other is None or one == other


def shows_versions(domain: Domain, wanted: Binding) -> bool:
    """Return whether a read has shown *domain* to have the TLS versions that are wanted."""
    return domain.tls_versions is not None and _agree(domain.tls_versions, wanted.tls_versions)


def is_unsent(domain: Domain, wanted: Binding, record: Record) -> bool:
    """Return whether TLS versions are wanted that no read shows, and that were not sent yet."""
    confirmed = record.confirmed.binding if record.confirmed else Binding()
    return bool(wanted.tls_versions and domain.tls_versions is None
                and not (confirmed.tls_versions
                         and _agree(confirmed.tls_versions, wanted.tls_versions)))


def as_confirmed(sent: Sent, domain: Domain, *, is_certain: bool) -> Sent:
    """Return the part of *sent* that *domain*, which serves it, proves.

    :param is_certain: whether Qiniu has taken the change: nothing else can be known of settings
        that no read shows.
    """
    if domain.tls_versions is not None or is_certain:
        return sent
    return replace(sent, binding=replace(sent.binding, tls_versions=None))


def resolve(wanted: Binding, domain: Domain, record: Record) -> Binding:
    """Decide the open settings of *wanted*: as it is, as it was, or on for a first HTTPS.

    A domain that Qiniu itself switched back to http (it does so after an expiry) gets the
    settings back that it had.
    """
    confirmed = record.confirmed.binding if record.confirmed else Binding("http")
    before: Domain | Binding = domain
    if domain.protocol == "https":
        force, http2 = domain.force_https, domain.http2
    elif confirmed.protocol == "https":
        force, http2, before = confirmed.force_https, confirmed.http2, confirmed
    else:
        force, http2 = True, True
    versions = before.tls_versions if wanted.tls_versions is None else wanted.tls_versions
    return replace(
        wanted, hsts=None,  # no part of this change
        force_https=bool(force if wanted.force_https is None else wanted.force_https),
        http2=bool(http2 if wanted.http2 is None else wanted.http2),
        # If none are chosen, and none are to be, none are sent.
        tls_versions=versions if versions or domain.tls_versions else None)


def sendable(domain: Domain, refused: Collection[str]) -> Domain:
    """Return *domain* with those other fields of HTTPS that go back with a change of it.

    A switch to HTTPS has nothing to keep, and what Qiniu refuses would only cost a call.

    :param refused: names of fields.
    """
    return replace(domain, https_fields={
        name: value for name, value in domain.https_fields.items()
        if name not in refused} if domain.protocol == "https" else {})


def refusal_key(account: str, field: str, asked: tuple[str, ...] | None = None) -> str:
    """Return the subject under which the memory has Qiniu's refusal of a field.

    :param asked: the TLS versions that the user has chosen; None for other fields, and if the
        user keeps what is there.
    """
    return f"field {field} of {account}{_as_asked(asked)}"


def is_refusal_of_tls(subject: str, asked: tuple[str, ...] | None) -> bool:
    """Return whether this is the :func:`refusal_key` for these TLS versions in some account."""
    return subject.startswith(f"field {TLS_VERSIONS} of ") and subject.endswith(_as_asked(asked))


def _as_asked(asked: tuple[str, ...] | None) -> str:
    return f", {','.join(asked) if asked else 'as it is'}"


def read_refusal(note: str, now: float) -> str:
    """Return the words of a field's refusal, "" if that is too long ago to be believed."""
    at, _, text = note.partition(" ")
    return text if at.isdigit() and 0 <= now - int(at) < REFUSED_SECONDS else ""


def binding_of(domain: Domain, uploads: Mapping[str, str]) -> Binding:
    """Return what *domain* serves now, as a binding to return to.

    :param uploads: Qiniu's id -> fingerprint, for certificates of ours.
    """
    if domain.protocol != "https":
        return Binding(protocol="http")
    fingerprint = uploads.get(domain.cert_id, "")
    return Binding("https", fingerprint, "" if fingerprint else domain.cert_id,
                   domain.force_https, domain.http2, tls_versions=domain.tls_versions)
