"""See what is there: which domains a certificate is for, and what each of them serves now.

Nothing is changed at Qiniu here. What is learnt goes into the memory, so that later runs can tell
from the lists alone that nothing has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from certbot_qiniu import errors
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.planning.decision import HTTPS_OPERATIONS, serves
from certbot_qiniu.deployment.planning.freshness import needs_reading
from certbot_qiniu.deployment.state import Record, Sent
from certbot_qiniu.model import DAY, Binding, Domain, RemoteCertificate


def read_details(context: Context, names: Sequence[str], domains: dict[str, Domain],
                 ) -> tuple[dict[str, Domain | None], dict[str, errors.QiniuError]]:
    """The named domains in detail: from memory where the list shows no change since."""
    found: dict[str, Domain | None] = {}
    failures: dict[str, errors.QiniuError] = {}
    read = []
    for name in names:
        entry, record = domains.get(name), context.memory.domains.get(name)
        if entry and record and record.seen and not needs_reading(
                entry, record, context.clock(),
                trusted_seconds=_trusted_seconds(context, name, record.seen)):
            found[name] = replace(record.seen, operation=entry.operation,
                                  operable=entry.operable, state_reason=entry.state_reason)
        else:
            read.append(name)

    def read_one(name: str) -> Domain | None:
        record = context.memory.domains.get(name)
        return context.account.observe(name, record.service if record else "")

    for name, result in zip(read, context.parallel(read_one, read), strict=True):
        if isinstance(result, errors.QiniuError):
            failures[name] = result
            continue
        if result is None and name in domains:
            failures[name] = errors.Unreachable(
                f"read the domain {name}", "Qiniu's list has it, and its details are not to be had")
            continue
        found[name] = result
        if result:
            context.memory.update(name, service=result.service, seen=result,
                                seen_at=context.clock())
    return found, failures


def _trusted_seconds(context: Context, name: str, seen: Domain) -> float:
    """How long *seen* is believed: a day, and two where a new certificate is about to be sent.

    Otherwise the day's reading would fall into every other renewal and double its calls. An
    ordinary run, any on the day before, has done it then.
    """
    wanted, upload = context.store.state.get(name), context.memory.uploads.get(seen.cert_id)
    is_outdated = wanted and upload and upload.fingerprint != wanted.binding.fingerprint
    return 2 * DAY if is_outdated else DAY


def observe(context: Context, names: Sequence[str], *, refresh: bool,
            ) -> tuple[dict[str, Domain], dict[str, errors.QiniuError]]:
    """What the named domains serve now, with as few calls as the lists allow."""
    domains, unread_services = context.account.survey(refresh=refresh)
    failures: dict[str, errors.QiniuError] = {}
    for name in names:
        service = context.memory.domains.get(name, Record()).service
        if service in unread_services and (name not in domains or domains[name].service != service):
            failures[name] = unread_services[service]
    observed = {name: domains[name] for name in names
                if name in domains and name not in failures
                and domains[name].state == "processing"}
    rest = [name for name in names if name not in observed and name not in failures]
    observed.update(_published(context, rest, domains))
    details, unread = read_details(
        context, [name for name in rest if name not in observed], domains)
    failures |= unread
    observed.update({name: domain for name, domain in details.items() if domain})
    for name, domain in observed.items():
        context.account.note(domain)
        _account_for(context, name, domain)
    return observed, failures


def _published(context: Context, names: Iterable[str],
               domains: dict[str, Domain]) -> dict[str, Domain]:
    """Those of our changes that the lists alone prove to be published.

    Proof is that the domain has changed since we read it, is at rest, and stands in the list
    of the domains with the certificate that we sent: no older state looks like that.
    """
    by_certificate: dict[tuple[str, str], list[str]] = {}
    sent: dict[str, Sent] = {}
    for name in names:
        entry, record = domains.get(name), context.memory.domains.get(name)
        if (entry and record and record.sent and record.seen and entry.state == "success"
                and entry.modified != record.seen.modified
                and record.sent.binding.cert_id and record.sent.binding.hsts is None
                and entry.protocol == "https"):
            by_certificate.setdefault(
                (entry.service, record.sent.binding.cert_id), []).append(name)
            sent[name] = record.sent
    proven: dict[str, Domain] = {}
    for (service, cert_id), waiting in by_certificate.items():
        if len(waiting) < 3:
            continue  # reading them costs no more than asking
        users = context.account.services[service].users(RemoteCertificate(cert_id, "")) or set()
        for name in users.intersection(waiting):
            binding = sent[name].binding
            seen = context.memory.domains[name].seen
            proven[name] = replace(
                domains[name], detailed=True, cert_id=cert_id, force_https=binding.force_https,
                http2=binding.http2, hsts=seen.hsts if seen else None)
            context.memory.update(name, seen=proven[name], seen_at=context.clock())
    return proven


def _account_for(context: Context, name: str, domain: Domain) -> None:
    """Compare what is seen with what was sent, and write down what follows."""
    record = context.memory.domains.get(name, Record())
    if domain.state == "processing":
        context.memory.update(
            name, processing_since=record.processing_since or context.clock())
        return
    sent = record.sent
    changes: dict[str, object] = {"processing_since": 0.0}
    failed = domain.state == "failed" and domain.operation in HTTPS_OPERATIONS
    if sent and not failed and _shows(domain, sent.binding):
        changes |= {"confirmed": sent, "sent": None}
    elif sent and domain.state == "success":
        changes |= {"sent": None}  # it never took effect, or was undone since
    context.memory.update(name, **changes)


def _shows(domain: Domain, sent: Binding) -> bool:
    """Whether *domain* serves exactly what was sent, by Qiniu's own id."""
    return serves(domain, replace(sent, fingerprint=""), {})
