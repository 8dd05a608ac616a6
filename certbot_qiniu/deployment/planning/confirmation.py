"""Decide whether a change is published: that takes minutes at Qiniu, and may fail."""

from __future__ import annotations

from dataclasses import replace

from certbot_qiniu.deployment.planning.bindings import as_confirmed, serves
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import Domain

HTTPS_OPERATIONS = frozenset({"sslize", "unsslize", "modify_https_conf", "modify_https_crt"})
HEADER_OPERATIONS = frozenset({"update_resp_header"})
"""Qiniu's names for the operations that a change of ours starts."""


def has_failed(domain: Domain) -> bool:
    """Return whether the last change of *domain* was one of HTTPS that Qiniu could not publish."""
    return domain.state == "failed" and domain.operation in HTTPS_OPERATIONS


def as_published(entry: Domain, record: Record) -> Domain | None:
    """Return what a domain serves if the list of the domains with our certificate has it.

    That proves our change to be published, as the domain has changed since we read it and is at
    rest: no older state looks like that. None if the list proves nothing; HSTS is in no list.

    :param entry: the domain as the account's list has it.
    """
    sent, seen = record.sent, record.seen
    if (sent is None or seen is None or entry.state != "success" or entry.protocol != "https"
            or entry.modified == seen.modified
            or not sent.binding.cert_id or sent.binding.hsts is not None):
        return None
    binding, versions = sent.binding, seen.tls_versions
    known = record.confirmed.binding.tls_versions if record.confirmed else None
    if versions and binding.tls_versions is None:
        return None  # only a read shows what became of them without a change of ours
    if versions is None and binding.tls_versions != known:
        return None  # and likewise whether those show that were asked for now
    return replace(entry, detailed=True, cert_id=binding.cert_id, force_https=binding.force_https,
                   http2=binding.http2, hsts=seen.hsts, https_fields=seen.https_fields,
                   tls_versions=None if versions is None else binding.tls_versions or ())


def account_for(record: Record, domain: Domain, now: float) -> Record:
    """Compare what is observed with what was sent, and return the record that follows.

    :param domain: as it was observed, in detail if it is at rest.
    :param now: seconds since the epoch.
    """
    if domain.state == "processing":
        return replace(record, processing_since=record.processing_since or now)
    was_processing = bool(record.processing_since)
    record, sent = replace(record, processing_since=0.0), record.sent
    if sent is None:
        return record
    # By Qiniu's own id: that another copy of the certificate is served confirms nothing.
    if not has_failed(domain) and serves(domain, replace(sent.binding, fingerprint=""), {}):
        former = record.confirmed.binding.cert_id if record.confirmed else ""
        return replace(record, sent=None, taken_from="", confirmed=as_confirmed(
            sent, domain, is_certain=was_processing or former not in ("", sent.binding.cert_id)))
    if domain.state == "success":
        return replace(record, sent=None)  # it never took effect, or was undone since
    return record
