"""Observe what the domains serve now, with as few calls as the lists allow.

Nothing is changed at Qiniu here. The observations go into the memory, so that later runs see from
the lists that nothing has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from certbot_qiniu import errors
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.planning.confirmation import account_for, as_published
from certbot_qiniu.deployment.planning.freshness import (
    is_outdated,
    longest_unread,
    needs_reading,
)
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import DAY, Domain, RemoteCertificate

UNAUTHORIZED = 401


def read_details(context: Context, names: Sequence[str], domains: dict[str, Domain],
                 ) -> tuple[dict[str, Domain | None], dict[str, errors.QiniuError]]:
    """Read the named domains in detail: from memory if the list shows no change since.

    :param domains: the account's domains, as its lists have them.
    :returns: the domains, None for those that do not exist, and why others could not be read.
    """
    known = known_details(context, names, domains)
    found: dict[str, Domain | None] = {**known}
    failures: dict[str, errors.QiniuError] = {}
    read = [name for name in names if name not in known]
    for name, result in zip(read, _read(context, read), strict=True):
        if isinstance(result, errors.QiniuError):
            failures[name] = result
            continue
        if result is None and name in domains:
            failures[name] = errors.Unreachable(
                f"read the domain {name}", "Qiniu's list has it, but its details cannot be read")
            continue
        found[name] = result
        if result:
            context.memory.update(name, service=result.service, seen=result,
                                seen_at=context.clock())
    return found, failures


def known_details(context: Context, names: Sequence[str],
                  domains: Mapping[str, Domain]) -> dict[str, Domain]:
    """Return details that need no call, as this process or an earlier run has read them.

    :param domains: see :func:`read_details`.
    """
    memory, state, account = context.memory, context.store.state, context.account
    records, now, known = memory.domains, context.clock(), dict[str, Domain]()

    def choose(listed: Sequence[str]) -> frozenset[str]:
        return longest_unread([name for name in listed if name in state], records, now,
                              is_noted=not context.store.read_only)

    # All lineages share the turn, whatever part of the account each of them needs.
    turn = {*account.turn(choose)}
    if not context.store.read_only:
        turn |= longest_unread([name for name in names if name not in state], records, now)
    for name in names:
        entry, record = domains.get(name), records.get(name)
        if entry and account.is_presumed:
            known[name] = entry
        elif entry and record and record.seen and not needs_reading(
                entry, record, now, is_its_turn=name in turn and now - record.seen_at >= DAY,
                is_outdated=is_outdated(record, state.get(name), memory.uploads)):
            known[name] = replace(record.seen, operation=entry.operation,
                                  operable=entry.operable, state_reason=entry.state_reason)
    return known


def _read(context: Context, names: Sequence[str]) -> list[Domain | errors.QiniuError | None]:
    """Read domains one by one: None for one that does not exist, an error if it cannot be read."""
    def read_one(name: str) -> Domain | None:
        record = context.memory.domains.get(name)
        return context.account.observe(name, record.service if record else "")

    return context.parallel(read_one, names)


def observe_alone(context: Context, names: Sequence[str]) -> bool:
    """Limit the account to these domains, read one by one, for a caller that changes nothing.

    :returns: false if one of them does not exist: only the lists show what that means.
    :raises errors.Refused: if Qiniu does not accept the keys.
    """
    results = _read(context, names)
    for result in results:
        if isinstance(result, errors.Refused) and result.status == UNAUTHORIZED:
            raise result
    if None in results:
        return False
    domains = [result for result in results if isinstance(result, Domain)]
    context.account.presume(domains, {
        name: result for name, result in zip(names, results, strict=True)
        if isinstance(result, errors.QiniuError)})
    for domain in domains:
        context.memory.update(domain.name, service=domain.service, seen=domain,
                              seen_at=context.clock())
    return True


def observe(context: Context, names: Sequence[str], *, refresh: bool,
            ) -> tuple[dict[str, Domain], dict[str, errors.QiniuError]]:
    """Observe what the named domains serve now.

    :param refresh: ask for the lists again, even if this process has them.
    :returns: the domains that exist, and why others could not be observed.
    :raises errors.ApiError: if the list of a certificate's domains cannot be read.
    """
    domains, unread_services = context.account.domains_and_failures(
        refresh=refresh, among=names)
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
        context.memory.domains[name] = account_for(
            context.memory.domains.get(name, Record()), domain, context.clock())
    return observed, failures


def _published(context: Context, names: Iterable[str],
               domains: dict[str, Domain]) -> dict[str, Domain]:
    """Return our changes that the lists by themselves prove to be published."""
    by_certificate: dict[tuple[str, str], list[str]] = {}
    candidates: dict[str, Domain] = {}
    for name in names:
        entry, record = domains.get(name), context.memory.domains.get(name)
        published = as_published(entry, record) if entry and record else None
        if published:
            candidates[name] = published
            by_certificate.setdefault((published.service, published.cert_id), []).append(name)
    proven: dict[str, Domain] = {}
    for (service, cert_id), waiting in by_certificate.items():
        if len(waiting) < 3:
            continue  # reading them costs no more than asking
        users = context.account.services[service].users(
            RemoteCertificate(cert_id, ""), waiting) or set()
        for name in users.intersection(waiting):
            proven[name] = candidates[name]
            context.memory.update(name, seen=proven[name], seen_at=context.clock())
    return proven
