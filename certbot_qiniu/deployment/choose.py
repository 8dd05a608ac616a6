"""Choose the domains that a certificate is for, and remember what they served before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.certificates import other_installations, remember_copies
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.observe import read_details
from certbot_qiniu.deployment.planning.bindings import binding_of
from certbot_qiniu.deployment.planning.selection import (
    NotChosen,
    Obstacle,
    Selection,
    candidates,
    select,
)
from certbot_qiniu.deployment.rehearsal import foresee
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.failures import each_cause
from certbot_qiniu.model import Domain, covering_name
from certbot_qiniu.options import DEFAULT_SERVICES, Settings


def choose_domains(context: Context, names: Collection[str], listed: Sequence[str] | None,
                   lineage: str, *, take_over: bool = False) -> Selection:
    """Choose the domains that a certificate for *names* is to serve.

    A domain that cannot be read is a problem of the selection, and holds up no other one.

    :param listed: the domains that the user named in ``--qiniu-domains``, None for ``auto``.
    :param lineage: whose certificate it is, "" where that is unknown.
    :param take_over: whether a domain may be taken from another lineage or installation.
    :raises errors.ApiError: when the account's lists cannot be read.
    """
    domains = dict(context.account.domains())
    unseen = _observe_missing(context, listed or (), domains)
    state, managed = context.store.owners(), context.store.managed(lineage)
    fresh = [domain for domain in candidates(domains.values(), names, listed, managed)
             if domain.name not in managed]
    details, failures = read_details(context, [domain.name for domain in fresh], domains)
    failures |= unseen
    domains.update({name: domain for name, domain in details.items() if domain})
    bought = set()
    unknown = {domain.cert_id for domain in details.values() if domain and domain.cert_id}
    if unknown - set(context.memory.uploads) and listed is None:
        remember_copies(context, lineage)  # who has lost the memory is no stranger to himself
        bought = {cert_id for cert_id, item in context.account.certificates().items()
                  if item.order_id and item.not_after > context.clock()}
    owners = {lineage, *(entry.lineage for name, entry in state.items()
                         if covering_name(names, name))}
    selection = select(
        {name: domain for name, domain in domains.items() if name not in failures}, names,
        [name for name in listed if name not in failures] if listed is not None else None,
        lineage=lineage, state=state, bought=bought,
        other_installations=() if take_over else other_installations(context, unknown),
        alive={owner for owner in owners if context.lineages.exists(owner)}, take_over=take_over)
    unread = [NotChosen(name, Obstacle.UNREADABLE, detail=text)
              for name, text in each_cause(failures).items()]
    return replace(selection, problems=(*selection.problems, *unread))


def check_listed(context: Context, names: Collection[str], listed: Sequence[str] | None) -> None:
    """Refuse domains that the user listed and that cannot be served, before anything is issued.

    :param names: the SANs that are asked for, none if they are not known yet.
    :raises errors.QiniuError: when the account cannot be used, or a domain not be served.
    """
    context.memory.listings.clear()  # the user may just have added a domain, and wait for it here
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
    """Add to *domains* what it lacks of *names*: a domain added a moment ago may be missing.

    :returns: those of which it is unknown whether they exist.
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
             issuing: bool = True) -> list[str]:
    """Say in a line each what the next real renewal would change, or leave out.

    :param names: the SANs.
    :param lineage: "" for one that is not there yet.
    :param issuing: whether it is with a certificate that is yet to be issued.
    :raises errors.QiniuError: when the real run would fail.
    """
    selection = choose_domains(context, names, settings.domains, lineage)
    if selection.problems:
        raise errors.UsageError("; ".join(wording.problems(selection)))
    if not selection.chosen:
        raise errors.UsageError(wording.nothing_to_rehearse(names))
    managed = {name for name, entry in context.store.state.items()
               if lineage and entry.lineage == lineage and covering_name(names, name)}
    certificate = context.lineages.current(lineage) if lineage and not issuing else None
    problems = [*unread_services(context, settings), *foresee(
        context, sorted({*selection.chosen, *managed}), settings.domains or (), certificate)]
    if problems:
        raise errors.DeployError("; ".join(problems))
    return wording.rehearsal(selection, context.account.domains())


def unread_services(context: Context, settings: Settings) -> list[str]:
    """Why services that the user himself has chosen cannot be listed; the default is a try."""
    if settings.services == tuple(DEFAULT_SERVICES.split(",")):
        return []
    return [str(error) for name, error in context.account.domains_and_failures()[1].items()
            if name in settings.services]


def remember_baselines(context: Context, names: Iterable[str], lineage: str,
                       ) -> dict[str, errors.QiniuError]:
    """Remember what each domain serves before it is touched for the first time.

    :returns: the domains that could not be read, and must not be touched therefore.
    :raises errors.QiniuError: when the lists cannot be had or the memory not be written.
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
            # One that was let go, and still has our certificate, had something else before us.
            kept = record.baseline if record.let_go and found.fingerprint else None
            context.memory.update(name, service=domain.service, lineage=lineage, let_go=0.0,
                                  baseline=kept or found)
    context.store.write_memory()
    return failures
