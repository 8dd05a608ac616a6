"""Find for a dry run what would go wrong with domains that get a certificate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.certificates import foreign_certificates, refused
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.observe import observe
from certbot_qiniu.deployment.planning.decision import Action, Knowledge, Reason, Verb, plan
from certbot_qiniu.deployment.state import Managed, Record
from certbot_qiniu.deployment.waiting import RENEWAL_SECONDS
from certbot_qiniu.model import Binding, Certificate

PAUSE_SECONDS = 5.0
FRESH = "fresh"
"""In place of the fingerprint of a certificate that is issued only by the real run."""


Planning = Callable[[bool], tuple[Sequence[Action], Mapping[str, errors.QiniuError]]]
"""Plans, after asking Qiniu again or not; also returns why domains could not be observed."""


def foresee(context: Context, names: Sequence[str], listed: Collection[str],
            certificate: Certificate | None, ends: float, *,
            tls_versions: tuple[str, ...] | None = None,
            is_told: bool = False) -> tuple[list[str], dict[str, str]]:
    """Say what would go wrong with these domains, and why some get no certificate.

    :param listed: domains that the user named in ``--qiniu-domains``.
    :param certificate: the one that they are to serve; None for one that is not issued yet.
    :param ends: when it expires, in seconds since the epoch.
    :param tls_versions: what ``--qiniu-tls`` asks for.
    :param is_told: see :func:`what_fails`.
    :returns: one text for each thing that would go wrong, and the reasons by the domains' names.
    :raises errors.QiniuError: if Qiniu cannot be asked.
    """
    actions, problems = what_fails(
        context, lambda refresh: _planned(context, names, listed, certificate, ends, tls_versions,
                                          refresh=refresh), is_told=is_told)
    special = {action.name: wording.sentence(action) for action in actions
               if action.verb in (Verb.LEAVE, Verb.SKIP)}
    return problems, special | {
        action.name: f"{action.name}: {wording.phrase(action)}" for action in actions
        if action.reason is Reason.TLS_VERSIONS_DIFFER}


def what_fails(context: Context, planned: Planning, *,
               is_told: bool) -> tuple[Sequence[Action], list[str]]:
    """Say what a renewal would fail for.

    A domain that is busy is waited for, as the real run does.

    :param is_told: whether messages that a renewal shows once count as shown: if no renewal comes
        here yet, none can have shown them.
    :returns: what it would do, and one text for each thing that would go wrong.
    """
    actions, failures = planned(False)
    waiting = context.waiting
    with waiting.watched(context.monotonic):
        while (busy := [action.name for action in actions if action.verb is Verb.QUEUE]) and (
                left := waiting.left(RENEWAL_SECONDS)):
            waiting.pause(min(left, PAUSE_SECONDS), busy, context.sleep)
            actions, failures = planned(True)
    records = context.memory.domains
    # The real run sends a change again that could not be published: it is reported, too.
    refusals: dict[str, list[str]] = {}
    for action in actions:
        if action.tls_refusal and action.verb is not Verb.FAIL:
            refusals.setdefault(action.tls_refusal, []).append(action.name)
    return actions, list(dict.fromkeys([*map(str, failures.values()), *(
        wording.tls_refused(names, refusal) for refusal, names in refusals.items()), *(
        wording.sentence(action) for action in actions
        if action.verb in (Verb.FAIL, Verb.QUEUE)
        or action.reason in (Reason.PUBLICATION_FAILED, Reason.NOT_FOUND)
        or (action.verb is Verb.LEAVE and not is_told
            and records.get(action.name, Record()).left != action.other_id))]))  # not shown yet


def _planned(context: Context, names: Sequence[str], listed: Collection[str],
             certificate: Certificate | None, ends: float,
             tls_versions: tuple[str, ...] | None, *, refresh: bool,
             ) -> tuple[list[Action], dict[str, errors.QiniuError]]:
    """Plan each domain's change, and say why others could not be observed."""
    observed, failures = observe(context, names, refresh=refresh)
    fingerprint = certificate.fingerprint if certificate else FRESH
    wanted = [Managed(name, "", "", Binding("https", fingerprint, tls_versions=tls_versions if (
        name in observed and observed[name].service == "cdn") else None))
        for name in names if name not in failures]
    state = context.store.state
    managed = [domain for name, domain in observed.items() if name in state]
    owners = {state[domain.name].lineage for domain in managed}
    ids = {fingerprint: context.uploads_of(fingerprint)} if certificate else {}
    waiting = [observed[name] for name in names if name in observed]
    text = refused(context, certificate, waiting) if certificate and not ids[fingerprint] else ""
    return plan(wanted, {}, Knowledge(
        observed, context.memory.domains, ids, context.clock(),
        # The choice of domains has judged those that are not managed yet.
        foreign=foreign_certificates(context, managed, owners),
        expiry={fingerprint: ends}, refused={fingerprint: text},
        tls_refusals=context.tls_refusals([tls_versions]), listed=listed)), failures
