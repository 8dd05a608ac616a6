"""See what is there: which domains a certificate is for, and what each of them serves now.

Nothing is changed at Qiniu here. What is learnt goes into the memory, so that later runs can tell
from the lists alone that nothing has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate, parse_certificate_name
from certbot_qiniu.plan import (
    DAY,
    HTTPS_OPERATIONS,
    Selection,
    binding_of,
    candidates,
    needs_reading,
    select,
    serves,
)
from certbot_qiniu.state import Managed, Record, Sent, Upload
from certbot_qiniu.world import World


def discover(world: World, names: Collection[str], explicit: Sequence[str] | None, lineage: str, *,
             takeover: bool = False) -> Selection:
    """Choose the domains that a certificate for *names* is to serve.

    :raises errors.ApiError: when the account's lists or a candidate cannot be read.
    """
    listed = dict(world.account.domains())
    unseen = _look_up(world, explicit or (), listed)
    state = world.store.state
    managed = {name for name, entry in state.items() if entry.lineage == lineage}
    fresh = [domain for domain in candidates(listed.values(), names, explicit, managed)
             if domain.name not in managed]
    details, failures = read_details(world, [domain.name for domain in fresh], listed)
    failures |= unseen
    listed.update({name: domain for name, domain in details.items() if domain})
    taken = set()
    unknown = {domain.cert_id for domain in details.values() if domain and domain.cert_id}
    if unknown - set(world.memory.uploads) and explicit is None:
        adopt_copies(world, lineage)  # who has lost the memory is no stranger to himself
        taken = {cert_id for cert_id, item in world.account.certificates().items()
                 if item.order_id and item.not_after > world.clock()}
    selection = select(
        {name: domain for name, domain in listed.items() if name not in failures}, names,
        [name for name in explicit if name not in failures] if explicit is not None else None,
        lineage=lineage, state=state, bought=taken,
        foreign=() if takeover else strangers(world, unknown),
        alive=set(world.lineages.names()), takeover=takeover)
    return replace(selection, problems=(*selection.problems, *map(str, failures.values())))


def check_listed(world: World, names: Collection[str], explicit: Sequence[str] | None) -> None:
    """Refuse domains that the user listed and that cannot be served, before anything is issued.

    :param names: the SANs that are asked for, none if they are not known yet.
    :raises errors.QiniuError: when the account cannot be used, or a domain not be served.
    """
    world.memory.listings.clear()  # the user may just have added a domain, and wait for it here
    domains = dict(world.account.domains())
    if not explicit or not names:
        return
    unseen = _look_up(world, explicit, domains)
    problems = select(domains, names, [name for name in explicit if name not in unseen],
                      lineage="", state={}).problems
    if problems or unseen:
        raise errors.UsageError("; ".join([*problems, *map(str, unseen.values())]))


def _look_up(world: World, names: Iterable[str], listed: dict[str, Domain],
             ) -> dict[str, errors.QiniuError]:
    """Add to *listed* what it lacks of *names*: a domain added a moment ago may be missing.

    :returns: those of which it is unknown whether they exist.
    """
    failures: dict[str, errors.QiniuError] = {}
    for name in names:
        if name not in listed:
            try:
                domain = world.account.observe(name)
            except errors.ApiError as error:
                failures[name] = errors.UsageError(
                    f"{name} is in no list of this Qiniu account, as far as it can be seen: "
                    f"{error}")
                continue
            if domain:
                listed[name] = domain
    return failures


def remember_baselines(world: World, names: Iterable[str], lineage: str,
                       ) -> dict[str, errors.QiniuError]:
    """Write down what each domain serves before it is touched for the first time.

    :returns: the domains that could not be read, and must not be touched therefore.
    :raises errors.QiniuError: when the lists cannot be had or the memory not be written.
    """
    fresh = [name for name in names
             if world.memory.domains.get(name, Record()).baseline is None]
    if not fresh:
        return {}
    details, failures = read_details(world, fresh, world.account.domains())
    uploads = {cert_id: upload.fingerprint for cert_id, upload in world.memory.uploads.items()}
    for name, domain in details.items():
        if domain:
            world.memory.update(name, service=domain.service, lineage=lineage,
                                baseline=binding_of(domain, uploads))
    world.store.write_memory()
    return failures


def read_details(world: World, names: Sequence[str], listed: dict[str, Domain],
                 ) -> tuple[dict[str, Domain | None], dict[str, errors.QiniuError]]:
    """The named domains in detail: from memory where the list shows no change since."""
    found: dict[str, Domain | None] = {}
    failures: dict[str, errors.QiniuError] = {}
    read = []
    for name in names:
        entry, record = listed.get(name), world.memory.domains.get(name)
        if entry and record and record.seen and not needs_reading(
                entry, record, world.clock(),
                trusted_seconds=_trusted_seconds(world, name, record.seen)):
            found[name] = replace(record.seen, operation=entry.operation,
                                  operable=entry.operable, state_reason=entry.state_reason)
        else:
            read.append(name)

    def read_one(name: str) -> Domain | None:
        record = world.memory.domains.get(name)
        return world.account.observe(name, record.service if record else "")

    for name, result in zip(read, world.parallel(read_one, read), strict=True):
        if isinstance(result, errors.QiniuError):
            failures[name] = result
            continue
        if result is None and name in listed:
            failures[name] = errors.Unreachable(
                f"read the domain {name}", "Qiniu's list has it, and its details are not to be had")
            continue
        found[name] = result
        if result:
            world.memory.update(name, service=result.service, seen=result,
                                seen_at=world.clock())
    return found, failures


def _trusted_seconds(world: World, name: str, seen: Domain) -> float:
    """How long *seen* is believed: a day, and two where a new certificate is about to be sent.

    Otherwise the day's reading would fall into every other renewal and double its calls. An
    ordinary run, any on the day before, has done it then.
    """
    wanted, upload = world.store.state.get(name), world.memory.uploads.get(seen.cert_id)
    is_outdated = wanted and upload and upload.fingerprint != wanted.binding.fingerprint
    return 2 * DAY if is_outdated else DAY


def observe(world: World, names: Sequence[str], *, refresh: bool,
            ) -> tuple[dict[str, Domain], dict[str, errors.QiniuError]]:
    """What the named domains serve now, with as few calls as the lists allow."""
    listed, unlisted = world.account.survey(refresh=refresh)
    failures: dict[str, errors.QiniuError] = {}
    for name in names:
        service = world.memory.domains.get(name, Record()).service
        if service in unlisted and (name not in listed or listed[name].service != service):
            failures[name] = unlisted[service]
    observed = {name: listed[name] for name in names
                if name in listed and name not in failures
                and listed[name].state == "processing"}
    rest = [name for name in names if name not in observed and name not in failures]
    observed.update(_published(world, rest, listed))
    details, unread = read_details(
        world, [name for name in rest if name not in observed], listed)
    failures |= unread
    observed.update({name: domain for name, domain in details.items() if domain})
    for name, domain in observed.items():
        world.account.note(domain)
        _account_for(world, name, domain)
    return observed, failures


def _published(world: World, names: Iterable[str], listed: dict[str, Domain]) -> dict[str, Domain]:
    """Those of our changes that the lists alone prove to be published.

    Proof is that the domain has changed since we read it, is at rest, and stands in the list
    of the domains with the certificate that we sent: no older state looks like that.
    """
    by_certificate: dict[tuple[str, str], list[str]] = {}
    sent: dict[str, Sent] = {}
    for name in names:
        entry, record = listed.get(name), world.memory.domains.get(name)
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
        users = world.account.services[service].users(RemoteCertificate(cert_id, "")) or set()
        for name in users.intersection(waiting):
            binding = sent[name].binding
            seen = world.memory.domains[name].seen
            proven[name] = replace(
                listed[name], detailed=True, cert_id=cert_id, force_https=binding.force_https,
                http2=binding.http2, hsts=seen.hsts if seen else None)
            world.memory.update(name, seen=proven[name], seen_at=world.clock())
    return proven


def _account_for(world: World, name: str, domain: Domain) -> None:
    """Compare what is seen with what was sent, and write down what follows."""
    record = world.memory.domains.get(name, Record())
    if domain.state == "processing":
        world.memory.update(
            name, processing_since=record.processing_since or world.clock())
        return
    sent = record.sent
    changes: dict[str, object] = {"processing_since": 0.0}
    failed = domain.state == "failed" and domain.operation in HTTPS_OPERATIONS
    if sent and not failed and _shows(domain, sent.binding):
        changes |= {"confirmed": sent, "sent": None}
    elif sent and domain.state == "success":
        changes |= {"sent": None}  # it never took effect, or was undone since
    world.memory.update(name, **changes)


def strangers(world: World, cert_ids: Collection[str]) -> dict[str, RemoteCertificate]:
    """Those of *cert_ids*, still valid, that another installation of this plugin uploaded."""
    unknown = set(cert_ids) - set(world.memory.uploads)
    if not unknown:
        return {}
    certificates = world.account.certificates()
    if not unknown <= set(certificates):
        certificates = world.account.certificates(refresh=True)
    found = {}
    for cert_id in unknown & set(certificates):
        item = certificates[cert_id]
        if parse_certificate_name(item.name) and item.not_after > world.clock():
            found[cert_id] = item
    return found


def recognise(world: World, wanted: Iterable[Managed]) -> dict[str, errors.QiniuError]:
    """Find certificates of ours at Qiniu that the memory does not know.

    :returns: fingerprint -> error, for those that could not be looked for.
    """
    memory = world.memory
    missing = {(entry.lineage, entry.binding.fingerprint) for entry in wanted
               if entry.binding.fingerprint and not memory.uploads_of(entry.binding.fingerprint)}
    failures: dict[str, errors.QiniuError] = {}
    for lineage, fingerprint in missing:
        try:
            adopt_copies(world, lineage)
        except errors.ApiError as error:
            failures[fingerprint] = error
    return failures


def adopt_copies(world: World, lineage: str) -> None:
    """Remember every certificate at Qiniu that is a version of *lineage* in certbot's archive.

    One that another program uploaded, such as a deploy hook, serves as well; under its own name it
    is never deleted.

    :raises errors.ApiError: when the list cannot be had.
    """
    versions = list(world.lineages.versions(lineage))
    for item in world.account.certificates().values():
        for certificate in versions:
            if item.is_copy_of(certificate) or item.is_twin_of(certificate):
                world.memory.uploads[item.cert_id] = Upload(certificate.fingerprint, lineage)


def _shows(domain: Domain, sent: Binding) -> bool:
    """Whether *domain* serves exactly what was sent, by Qiniu's own id."""
    return serves(domain, replace(sent, fingerprint=""), {})
