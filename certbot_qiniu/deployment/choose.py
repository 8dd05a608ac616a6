"""Choose the domains that a certificate is for, and remember what they served before."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.certificates import (
    MINIMUM_DAYS,
    foreign_certificates,
    refuses_old_ones,
    too_old,
)
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.observe import read_details
from certbot_qiniu.deployment.planning.bindings import binding_of
from certbot_qiniu.deployment.planning.selection import (
    NotChosen,
    Obstacle,
    Selection,
    candidates,
    is_excluded,
    select,
)
from certbot_qiniu.deployment.rehearsal import foresee
from certbot_qiniu.deployment.state import Managed, Record
from certbot_qiniu.failures import each_cause
from certbot_qiniu.model import DAY, Binding, Domain, covered, covering_name
from certbot_qiniu.options import DEFAULT_SERVICES, Settings

USUAL_LIFETIME = 90 * DAY


def choose_domains(context: Context, names: Collection[str], listed: Sequence[str] | None,
                   lineage: str, *, ends: float, take_over: bool = False,
                   excluded: Collection[str] = ()) -> Selection:
    """Choose the domains that a certificate for *names* is to serve.

    A domain that cannot be read is a problem of the selection, and does not hold up others.

    :param listed: the domains that the user named in ``--qiniu-domains``, None for ``auto``.
    :param lineage: the lineage of the certificate, "" if unknown.
    :param ends: when the certificate ends (epoch seconds).
    :param take_over: whether a domain may be taken from another lineage or installation.
    :param excluded: those that ``auto`` never takes.
    :raises errors.ApiError: if the account's lists cannot be read.
    """
    names, owned = frozenset(names), context.store.owners()
    domains = context.account.domains()
    domains = covered(domains, names) if listed is None else dict(domains)
    unseen = _observe_missing(context, listed or (), domains)
    state = {name: owned[name] for name in (listed or domains) if name in owned}
    managed = context.store.managed(lineage)
    back = context.memory.gone_of(lineage)
    fresh = [domain for domain in candidates(domains.values(), names, listed, managed, back,
                                             excluded) if domain.name not in managed]
    details, failures = read_details(context, [domain.name for domain in fresh], domains)
    failures |= unseen
    domains.update({name: domain for name, domain in details.items() if domain})
    foreign = foreign_certificates(context, filter(None, details.values()), [lineage]) if (
        listed is None) else {}
    owners = {lineage, *(entry.lineage for entry in state.values())}

    @functools.cache
    def given_back() -> dict[str, str]:
        return {name: other for other, entry in context.memory.lineages.items()
                if entry.hold and other != lineage and context.lineages.exists(other)
                for name in entry.given_back}

    selection = select(
        {name: domain for name, domain in domains.items() if name not in failures}, names,
        [name for name in listed if name not in failures] if listed is not None else None,
        lineage=lineage, state=state, foreign=foreign, ends=ends, now=context.clock(),
        alive={owner for owner in owners if context.lineages.exists(owner)}, take_over=take_over,
        back=back, excluded=excluded, given_back=given_back)
    unread = [NotChosen(name, Obstacle.UNREADABLE, detail=text)
              for name, text in each_cause(failures).items()]
    return replace(selection, problems=(*selection.problems, *unread))


def fresh_end(context: Context, lineage: str) -> float:
    """Return the end of a certificate issued now, assuming that the lineage keeps its lifetime.

    :param lineage: "" if there is none yet.
    """
    lifetime = USUAL_LIFETIME
    with contextlib.suppress(errors.UsageError):
        if lineage:
            last = context.lineages.current(lineage)
            lifetime = (last.not_after - last.not_before).total_seconds()
    return context.clock() + lifetime


def check_selection(context: Context, names: Collection[str], lineage: str, *,
                    can_ask: bool, excluded: Collection[str] = ()) -> str:
    """Refuse a certificate that no domain would serve, before it is issued.

    :param lineage: the lineage that it will be, "" if unknown.
    :param can_ask: whether there is a user who can answer.
    :param excluded: the domains that ``auto`` never takes.
    :returns: a warning to that user, if the account's domains have other names.
    :raises errors.QiniuError: if the account cannot be used, or no domain would serve it.
    """
    selection = choose_domains(context, names, None, lineage, ends=fresh_end(context, lineage),
                               take_over=True, excluded=excluded)
    # A domain that cannot be read now may be readable later.
    if selection.chosen or selection.problems or (selection.http_only and can_ask):
        return ""
    text = wording.nothing_matched(names, selection, context.account.domains())
    if selection.left_out or not can_ask:
        raise errors.UsageError(text)
    return text


def check_listed(context: Context, names: Collection[str], listed: Sequence[str] | None) -> None:
    """Refuse listed domains that cannot be served, before anything is issued.

    :param names: the SANs that are asked for, none if they are not known yet.
    :raises errors.QiniuError: if the account cannot be used, or a domain cannot be served.
    """
    context.memory.listings.clear()  # the user may have just added a domain
    domains = dict(context.account.domains())
    if not listed or not names:
        return
    unseen = _observe_missing(context, listed, domains)
    problems = wording.problems(select(
        domains, names, [name for name in listed if name not in unseen], lineage="", state={}))
    if problems or unseen:
        raise errors.UsageError("; ".join([*problems, *map(str, unseen.values())]))


def _observe_missing(context: Context, names: Iterable[str], domains: dict[str, Domain],
             ) -> dict[str, errors.QiniuError]:
    """Add to *domains* those of *names* that it lacks: a new domain may be missing in the lists.

    :returns: those that may or may not exist.
    """
    failures: dict[str, errors.QiniuError] = {}
    for name in names:
        if name not in domains:
            try:
                domain = context.account.observe(name)
            except errors.ApiError as error:
                failures[name] = errors.UsageError(
                    f"{name} is in no list of this Qiniu account, as far as it can be seen: "
                    f"{error}")
                continue
            if domain:
                domains[name] = domain
    return failures


def rehearse(context: Context, names: Collection[str], settings: Settings, lineage: str, *,
             fresh: bool = True, is_told: bool = False) -> list[str]:
    """Return a line for each thing that the next real renewal would change or leave out.

    :param names: the SANs.
    :param lineage: "" for one that does not exist yet.
    :param fresh: whether that renewal begins with a new certificate, or deploys the present one.
    :param is_told: see :func:`~certbot_qiniu.deployment.rehearsal.what_fails`.
    :raises errors.QiniuError: if the real run would fail.
    """
    present = context.lineages.current(lineage) if context.lineages.exists(lineage) else None
    ends = fresh_end(context, lineage)
    doubts = [wording.short_lived(lineage)] if fresh and (
        ends - context.clock() < MINIMUM_DAYS * DAY) else []
    if present and not fresh and present.not_after.timestamp() > context.clock():
        ends = present.not_after.timestamp()
    selection = choose_domains(context, names, settings.domains, lineage, ends=ends,
                               excluded=settings.excluded)
    problems = [*wording.problems(selection), *unread_services(context, settings)]
    mind: list[str] = []
    if selection.chosen:
        doubt = too_old(context, present) if present else ""
        (mind if fresh else doubts).extend(filter(None, [doubt]))
        (problems if refuses_old_ones(context) else mind).extend(doubts)
    if problems:
        raise errors.UsageError("; ".join(problems))
    is_there = present and not fresh and context.uploads_of(present.fingerprint)
    if selection.chosen and not is_there:
        context.account.certificates()  # an upload begins with this list
    managed = context.store.managed(lineage)
    let_go = {name: why for name, entry in sorted(managed.items())
              if (why := why_let_go(entry, names, settings))}
    concerned = sorted({*selection.chosen, *managed} - let_go.keys())
    if not concerned and not selection.is_left_on_purpose:
        raise errors.UsageError(wording.nothing_matched(
            names, selection, context.account.domains()))
    foreseen, left = foresee(context, concerned, settings.domains or (),
                             None if fresh else present, ends,
                             tls_versions=settings.tls_versions, is_told=is_told)
    if foreseen:
        raise errors.DeployError("; ".join(foreseen))
    selection = selection.without(let_go)  # that says why
    domains = context.account.domains()
    return [*wording.rehearsal(selection, domains, left),
            *(f"  {wording.let_go(name, why)}" for name, why in let_go.items()),
            *(f"  {wording.without_tls_versions(name)}" for name in concerned
              if settings.tls_versions and name in domains and domains[name].service != "cdn"),
            *(f"  Mind: {text}" for text in mind)]


def why_let_go(entry: Managed, names: Collection[str], settings: Settings) -> str:
    """Say why a domain is managed no longer, "" if no option or name ends that.

    :param names: the SANs of its lineage's certificate.
    """
    if not covering_name(names, entry.name):
        return f"the certificate {entry.lineage} does not cover it any more"
    if entry.service not in settings.services:
        return f"--qiniu-services leaves out its service, {entry.service}"
    if is_excluded(entry.name, settings.excluded):
        return "--qiniu-exclude leaves it out"
    if settings.domains is not None and entry.name not in settings.domains:
        return "--qiniu-domains does not name it"
    return ""


def unread_services(context: Context, settings: Settings) -> list[str]:
    """Say why services that the user has chosen cannot be listed; by default that is no error."""
    if settings.services == tuple(DEFAULT_SERVICES.split(",")):
        return []
    return [str(error) for name, error in context.account.domains_and_failures()[1].items()
            if name in settings.services]


def remember_baselines(context: Context, names: Iterable[str], lineage: str,
                       ) -> dict[str, errors.QiniuError]:
    """Remember what each domain serves before it is touched for the first time.

    :returns: the domains that could not be read, and so must not be touched.
    :raises errors.QiniuError: if the lists cannot be read or the memory cannot be written.
    """
    fresh = [name for name in names
             if not context.memory.domains.get(name, Record()).is_ours]
    if not fresh:
        return {}
    details, failures = read_details(context, fresh, context.account.domains())
    uploads = {cert_id: upload.fingerprint for cert_id, upload in context.memory.uploads.items()}
    for name, domain in details.items():
        if domain:
            found = binding_of(domain, uploads)
            record = context.memory.domains.get(name, Record())
            kept = record.baseline if _is_as_before(record, domain, found) else None
            context.memory.update(name, service=domain.service, lineage=lineage, let_go=0.0,
                                  hsts=record.hsts if kept else "", baseline=kept or found)
    context.store.write_memory()
    return failures


def _is_as_before(record: Record, domain: Domain, found: Binding) -> bool:
    """Return whether the baseline of a domain that comes back is its own, not a namesake's.

    A domain that still has our certificate had something else before us.

    :param found: what it serves now.
    """
    if record.gone and record.gone.created and domain.created:
        return record.gone.created == domain.created
    return bool(record.gone or record.let_go) and bool(found.fingerprint)
