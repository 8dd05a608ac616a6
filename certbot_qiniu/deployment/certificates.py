"""Our certificates at Qiniu: find, upload, keep and delete them.

A certificate is ours if it bears our name, and we recorded its id at the upload or find its
fingerprint in the lineage's archive here. A name by itself proves nothing.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.observe import read_details
from certbot_qiniu.deployment.planning.refusals import FINAL_CODES, TOO_OLD_CODE, is_believed
from certbot_qiniu.deployment.planning.supersession import kept_fingerprints, superseded
from certbot_qiniu.deployment.state import Managed, Record, Refusal, Upload
from certbot_qiniu.model import (
    DAY,
    FINGERPRINT_DIGITS,
    Binding,
    Certificate,
    Domain,
    RemoteCertificate,
    certificate_name,
    parse_certificate_name,
)

logger = logging.getLogger(__name__)

GONE_CODES = frozenset({400401, 404908})
QUOTA_CODE = 400500
MINIMUM_DAYS = 30
"""Qiniu is reported to refuse certificates that end sooner."""


# Find -------------------------------------------------------------------------------------------


def find_wanted(context: Context, wanted: Iterable[Managed]) -> dict[str, errors.QiniuError]:
    """Find those certificates of the desired state at Qiniu that the memory does not know.

    :returns: fingerprint -> error, for those that could not be searched for.
    """
    missing = {(entry.lineage, entry.binding.fingerprint) for entry in wanted
               if entry.binding.fingerprint and not context.uploads_of(entry.binding.fingerprint)}
    failures: dict[str, errors.QiniuError] = {}
    for lineage, fingerprint in missing:
        try:
            remember_copies(context, lineage)
        except errors.ApiError as error:
            failures[fingerprint] = error
    return failures


def remember_copies(context: Context, lineage: str) -> None:
    """Note every certificate at Qiniu that is a version of *lineage* in certbot's archive.

    One under another name is never taken for ours, even if its names and dates match: authorities
    that date by the day issue several such certificates in a day.

    :raises errors.ApiError: if the list cannot be read.
    """
    _remember_copies(context, lineage, context.account.certificates())


def _remember_copies(context: Context, lineage: str,
                     certificates: Mapping[str, RemoteCertificate]) -> None:
    context.memory.same_account(context.account.client.account, {
        upload.account for cert_id in certificates
        if (upload := context.memory.uploads.get(cert_id))})
    versions = list(context.lineages.versions(lineage))
    for item in certificates.values():
        for certificate in versions:
            if item.is_copy_of(certificate):
                _note_upload(context, item.cert_id, certificate)


def _note_upload(context: Context, cert_id: str, certificate: Certificate) -> None:
    context.memory.note_upload(cert_id, Upload(certificate.fingerprint, certificate.lineage,
                                               context.clock(), context.account_name))


def foreign_certificates(context: Context, domains: Iterable[Domain], lineages: Iterable[str],
                         ) -> dict[str, RemoteCertificate]:
    """Find those certificates that *domains* serve and that are not ours, by id.

    The list is read once for each, until it shows it; then a domain's record has it. One that is in
    no list has neither a name nor an end.

    :param lineages: copies of their certificates are looked for, too: they are ours even if the
        memory was lost.
    :raises errors.ApiError: if the list cannot be read.
    """
    memory = context.memory
    serving = {domain.name: domain.cert_id for domain in domains
               if domain.protocol == "https" and domain.cert_id}
    found: dict[str, RemoteCertificate] = {}
    for name, cert_id in serving.items():
        known = memory.domains.get(name, Record()).foreign
        if known and known.cert_id == cert_id and cert_id not in memory.uploads:
            found[cert_id] = known
    unknown = {cert_id for cert_id in serving.values()
               if cert_id not in memory.uploads and cert_id not in found}
    if not unknown:
        return found
    remembered = {record.foreign.cert_id: record.foreign for record in memory.domains.values()
                  if record.foreign and record.foreign.cert_id in unknown}
    certificates = remembered | context.account.certificates_among(unknown - set(remembered))
    for lineage in lineages:
        _remember_copies(context, lineage, certificates)
    for name, cert_id in serving.items():
        if cert_id in unknown and cert_id not in memory.uploads:
            item = certificates.get(cert_id, RemoteCertificate(cert_id, ""))
            found[cert_id] = item = replace(item, names=())
            if item.not_after:
                memory.update(name, foreign=item)
    return found


def unusable_certificates(context: Context, ids: Collection[str]) -> dict[str, float]:
    """Find those of these certificates of others to which no domain can go back.

    :returns: by id, when they ended; 0 for those that Qiniu no longer has.
    """
    ends = former_ends(context, ids)
    return {cert_id: end or 0.0 for cert_id, end in ends.items()
            if end is None or 0 < end <= context.clock()}


def former_ends(context: Context, ids: Collection[str]) -> dict[str, float | None]:
    """Find when these certificates end, which are not ours.

    :returns: by id, the end, 0 if unknown; None for those that Qiniu no longer has.
    """
    if not ids:
        return {}
    try:
        certificates = context.account.certificates_among(ids)
    except errors.ApiError as error:
        # Qiniu itself refuses a deleted certificate, but may take an expired one.
        logger.debug("Using what was seen of them before: %s", error)
        ends = {record.foreign.cert_id: record.foreign.not_after
                for record in context.memory.domains.values() if record.foreign}
        return {cert_id: ends.get(cert_id, 0) for cert_id in ids}
    return {cert_id: certificates[cert_id].not_after if cert_id in certificates else None
            for cert_id in ids}


def validity_of(context: Context, lineage: str, fingerprint: str) -> tuple[float, float]:
    """Return the end and the lifetime of a certificate of ours; zeros if unknown.

    Qiniu is asked only about one that certbot no longer has.

    :raises errors.ApiError: if its list cannot be read.
    """
    if own := context.lineages.find(lineage, fingerprint):
        return own.not_after.timestamp(), (own.not_after - own.not_before).total_seconds()
    for cert_id in context.uploads_of(fingerprint):
        if item := context.account.certificates_among([cert_id]).get(cert_id):
            return item.not_after, item.not_after - item.not_before
    return 0.0, 0.0


# Upload -----------------------------------------------------------------------------------------


def certificate_for(context: Context, binding: Binding, lineage: str, *,
                    keep_certificates: int) -> RemoteCertificate:
    """Find the certificate of a binding at Qiniu, and upload it if it is not there.

    :param lineage: the lineage of the certificate, if it is ours.
    :param keep_certificates: as for :func:`clean`, in case the account's quota is full.
    :raises errors.QiniuError: if it cannot be found or uploaded.
    """
    if not binding.fingerprint:
        return RemoteCertificate(binding.cert_id, binding.cert_id)
    certificate = context.lineages.find(lineage, binding.fingerprint)
    known = context.uploads_of(binding.fingerprint)
    if certificate is None:
        if known:
            return RemoteCertificate(min(known), f"certificate {min(known)}")
        raise errors.DeployError(
            f"The certificate of {lineage} with the fingerprint "
            f"{binding.fingerprint[:FINGERPRINT_DIGITS]}… is neither at Qiniu nor in certbot's "
            f"archive any more; deploy a newer one with: certbot install --cert-name {lineage} "
            "-i qiniu",
            has_outlook=True)
    cert_id = min(known) if known else _upload(context, certificate, keep_certificates)
    return RemoteCertificate(cert_id, certificate.remote_name)


def _upload(context: Context, certificate: Certificate, keep_certificates: int) -> str:
    """Upload *certificate*, unless Qiniu has it already, and remember its id."""
    remember_copies(context, certificate.lineage)
    known = context.uploads_of(certificate.fingerprint)
    if known:
        return min(known)
    if doubt := too_old(context, certificate):
        logger.warning("%s", doubt)
    client = context.account.client
    try:
        cert_id = client.upload_certificate(certificate)
    except errors.Refused as error:
        if error.code in FINAL_CODES:
            _remember_refusal(context, certificate, error)
        if error.code != QUOTA_CODE or not clean(
                context, [certificate.lineage], keep_certificates):
            raise
        cert_id = client.upload_certificate(certificate)
    if certificate.lineage in context.memory.lineages:
        context.memory.lineages[certificate.lineage].refusal = None
    _note_upload(context, cert_id, certificate)
    context.store.write_memory()
    context.account.note_upload(RemoteCertificate(
        cert_id, certificate.remote_name, certificate.names,
        int(certificate.not_before.timestamp()), int(certificate.not_after.timestamp()),
        int(context.clock())))
    return cert_id


def too_old(context: Context, certificate: Certificate) -> str:
    """Say that Qiniu may refuse *certificate* for its age; "" if it has it, or it is young.

    :raises errors.ApiError: if the list cannot be read; it is asked for only for an old one.
    """
    days = (certificate.not_after.timestamp() - context.clock()) / DAY
    if days >= MINIMUM_DAYS or context.uploads_of(certificate.fingerprint):
        return ""
    remember_copies(context, certificate.lineage)
    if context.uploads_of(certificate.fingerprint):
        return ""
    lifetime = certificate.not_after - certificate.not_before
    return (wording.too_old(certificate.lineage, days) if lifetime.days >= MINIMUM_DAYS
            else wording.short_lived(certificate.lineage))


def refuses_old_ones(context: Context) -> bool:
    """Return whether this account has refused a certificate for its age before."""
    return _old_ones(context) in context.memory.told


def _old_ones(context: Context) -> str:
    return f"{TOO_OLD_CODE} {context.account.client.account}"


def _refusal(context: Context, certificate: Certificate, text: str = "") -> Refusal:
    return Refusal(certificate.fingerprint, context.account.client.account, _version(),
                   context.clock(), text)


def _version() -> str:
    return importlib.metadata.version("certbot-qiniu")


def _remember_refusal(context: Context, certificate: Certificate, error: errors.Refused) -> None:
    memory = context.memory
    memory.lineage(certificate.lineage).refusal = _refusal(context, certificate, str(error))
    if error.code == TOO_OLD_CODE:
        memory.told[_old_ones(context)] = "refused"
    context.store.write_memory()


def refused(context: Context, certificate: Certificate, waiting: Collection[Domain]) -> str:
    """Say that Qiniu would only refuse the certificate again; "" if the key may be sent.

    :param waiting: the domains that are to get it.
    """
    refusal = context.memory.lineage(certificate.lineage).refusal
    if refusal is None:
        return ""
    ends = [end for domain in waiting if (end := _served_until(context, domain))]
    is_final = is_believed(refusal, _refusal(context, certificate), min(ends, default=0))
    return wording.refused_for_good(certificate.lineage, refusal) if is_final else ""


def _served_until(context: Context, domain: Domain) -> float:
    """Return the end of what *domain* serves; 0 if it serves nothing, or if unknown."""
    if domain.protocol != "https":
        return 0
    if upload := context.memory.uploads.get(domain.cert_id):
        ours = context.lineages.find(upload.lineage, upload.fingerprint)
        return ours.not_after.timestamp() if ours else 0
    foreign = context.memory.domains.get(domain.name, Record()).foreign
    return foreign.not_after if foreign and foreign.cert_id == domain.cert_id else 0


def is_gone(context: Context, cert_id: str, error: errors.Refused) -> bool:
    """Return whether a certificate was refused because Qiniu no longer has it."""
    gone = error.code in GONE_CODES
    # Only the CDN has codes; for other services the list must show it.
    if gone or error.code == error.status:
        try:
            certificates = context.account.certificates(refresh=True)
        except errors.ApiError as unreadable:
            logger.debug("%s", unreadable)
        else:
            gone = gone or cert_id not in certificates
    return gone


# Keep and delete --------------------------------------------------------------------------------


def clean(context: Context, scope: Collection[str], keep_certificates: int) -> int:
    """Delete certificates that the lineages in *scope* uploaded here and nothing needs any more.

    If the list of certificates is at hand, those that other lineages have left behind go, too. A
    failure is only a warning: the next run tries again.

    :param keep_certificates: how many superseded certificates a rollback may need.
    :returns: how many certificates were deleted.
    """
    deleted = 0
    for lineage in sorted(scope):
        if context.memory.lineage(lineage).hold:
            continue  # after a rollback nothing is deleted until it is settled
        deleted += _try_to_clean(context, lineage, unneeded(context, lineage, keep_certificates),
                                 is_here=True)
    if context.account.has_certificates:
        for lineage, ids in left_behind(context, scope).items():
            deleted += _try_to_clean(context, lineage, ids, is_here=False)
    return deleted


def left_behind(context: Context, scope: Collection[str] = ()) -> dict[str, list[str]]:
    """Find the certificates here of lineages that certbot deleted, or that left this account.

    Their domains keep what they serve, and nobody reads them: only Qiniu knows what is in use.

    :param scope: lineages that are known to be here.
    :returns: lineage -> ids that nothing else here needs, without a call.
    """
    memory, store, account = context.memory, context.store, context.account_name
    if store.damaged:
        return {}  # what is not known may be needed
    here = {upload.lineage for upload in memory.uploads.values() if upload.may_be_in(account)}
    gone = sorted(lineage for lineage in here.difference(scope) if _has_left(context, lineage)
                  and not _publishes_unknown(context, memory.domains_of(lineage)))
    if not gone:
        return {}
    bound, baselines = bound_ids(context), _baselines(memory.domains)
    found = {}
    for lineage in gone:
        needed = baselines | {entry.binding.fingerprint for entry in store.state.values()
                              if entry.lineage != lineage}
        ours = {cert_id: upload.fingerprint
                for cert_id, upload in sorted(memory.uploads_by(lineage).items())
                if upload.may_be_in(account)}
        found[lineage] = superseded(ours, needed, bound)
    return found


def _has_left(context: Context, lineage: str) -> bool:
    """Return whether certbot deleted a lineage, or all its domains moved to another account."""
    entry = context.memory.lineages.get(lineage)
    account = entry.account if entry else ""
    return account not in ("", context.account_name) or not (
        context.store.managed(lineage) or context.lineages.exists(lineage))


def _baselines(records: Mapping[str, Record]) -> set[str]:
    """Return the fingerprints of what domains served before we first touched them."""
    return {record.baseline.fingerprint for record in records.values() if record.baseline}


def unneeded(context: Context, lineage: str, keep_certificates: int) -> list[str]:
    """Find the ids of *lineage*'s certificates in this account that nothing here needs.

    That takes no call.

    :param keep_certificates: how many superseded certificates a rollback may need.
    """
    memory, managed = context.memory, context.store.managed(lineage)
    former = memory.lineage(lineage).former
    if (context.store.damaged or _publishes_unknown(context, managed)
            or (managed and former is None)):
        return []  # some are unknown, and may be needed
    ours = {cert_id: upload.fingerprint
            for cert_id, upload in sorted(memory.uploads_by(lineage).items())
            if upload.may_be_in(context.account_name)}
    needed = kept_fingerprints(managed, former or (), keep_certificates)
    if not superseded(ours, needed, _bound(memory.domains_of(lineage))):
        return []  # even without the needs of other lineages
    needed |= kept_fingerprints(context.store.state, (), 0)
    needed |= _baselines(memory.domains)
    return superseded(ours, needed, bound_ids(context))


def _publishes_unknown(context: Context, names: Iterable[str]) -> bool:
    """Return whether one of these is in processing, and the memory has lost what it was sent.

    Qiniu shows what a domain serves only once it is published: it may be any certificate.
    """
    records = context.memory.domains
    return any(name in records and records[name].processing_since and not records[name].sent
               for name in names)


def bound_ids(context: Context) -> set[str]:
    """Find the ids that our domains were last seen to serve, or that any domain was sent.

    Observations of other domains may be outdated: about those :func:`_used` asks Qiniu.
    """
    records = context.memory.domains
    ours = {name: record for name, record in records.items()
            if name in context.store.state or record.is_ours}
    return _bound(ours) | {record.sent.binding.cert_id for record in records.values()
                           if record.sent}


def _bound(records: Mapping[str, Record]) -> set[str]:
    """Return the ids that domains were last seen to serve, or were sent."""
    return ({record.seen.cert_id for record in records.values() if record.seen}
            | {record.sent.binding.cert_id for record in records.values() if record.sent})


def _try_to_clean(context: Context, lineage: str, ids: Collection[str], *, is_here: bool) -> int:
    try:
        return _clean_lineage(context, lineage, ids, is_here=is_here)
    except errors.QiniuError as error:
        logger.warning("Old certificates of %s stay at Qiniu for now: %s", lineage, error)
        return 0


def _clean_lineage(context: Context, lineage: str, ids: Collection[str], *, is_here: bool) -> int:
    memory, deleted = context.memory, 0
    for cert_id in ids:
        certificate, upload = context.account.certificates().get(cert_id), memory.uploads[cert_id]
        if certificate is None and not (upload.account or is_here):
            continue  # it may be in another account
        name = certificate_name(lineage, upload.fingerprint)
        if certificate is None or certificate.name != name:
            memory.uploads.pop(cert_id)  # gone, or theirs, as somebody renamed it
        elif cert_id in bound_ids(context) or _used(context, certificate):
            logger.debug("Certificate %s is still in use; it stays", name)
        elif context.account.delete(cert_id):
            logger.info("Deleted the superseded certificate %s at Qiniu", name)
            memory.uploads.pop(cert_id)
            deleted += 1
    context.store.write_memory()
    return deleted


def expired_strays(context: Context) -> list[RemoteCertificate]:
    """Find the expired certificates with a name of our kind that are not provably ours.

    They may be an older machine's, or somebody else's: only the user knows. Certificates that a
    domain may use are left out.

    :raises errors.ApiError: if a list cannot be read.
    """
    bound = bound_ids(context)
    return [item for item in sorted(context.account.certificates().values(),
                                    key=lambda item: (item.not_after, item.cert_id))
            if is_expired_stray(item, context.memory.uploads, context.clock())
            and item.cert_id not in bound and context.account.users(item) == set()]


def is_expired_stray(item: RemoteCertificate, ours: Collection[str], now: float) -> bool:
    """Return whether this one has a name of our kind, is not among *ours*, and has expired."""
    return (parse_certificate_name(item.name) is not None and item.cert_id not in ours
            and not item.order_id and 0 < item.not_after <= now)


def _used(context: Context, certificate: RemoteCertificate) -> bool:
    """Return whether any domain of the account serves *certificate*; doubt counts as yes."""
    users = context.account.users(certificate)
    if users is None:
        # No list shows it: read every domain that speaks HTTPS.
        domains = context.account.domains()
        names = [name for name, domain in domains.items() if domain.protocol == "https"]
        details, failures = read_details(context, names, domains)
        return bool(failures) or any(
            domain and domain.cert_id == certificate.cert_id for domain in details.values())
    return bool(users)
