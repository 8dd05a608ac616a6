"""Hold a lineage's newest certificate back after a rollback, and end the hold in time.

:mod:`certbot_qiniu.deployment.planning.hold` decides for how long. This module knows which lineages
are on hold, and what their domains serve instead.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from dataclasses import replace

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.certificates import foreign_certificates, validity_of
from certbot_qiniu.deployment.choose import choose_domains, unread_services
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.observe import read_details
from certbot_qiniu.deployment.planning.hold import Outlook, Served, outlook
from certbot_qiniu.deployment.planning.selection import Obstacle
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.failures import told_once
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.model import Certificate
from certbot_qiniu.options import Settings

logger = logging.getLogger(__name__)


def put(store: Store, lineage: str, fingerprint: str) -> None:
    """Keep a certificate of a lineage from being deployed again by itself.

    :raises errors.StateError: if that cannot be written.
    """
    store.memory.lineage(lineage).hold = fingerprint
    store.write_memory()


def lift(store: Store, lineage: str) -> str:
    """End a rollback's hold on a lineage.

    :returns: the fingerprint that was held, "" without a hold.
    """
    memory = store.memory.lineage(lineage)
    held, memory.hold = memory.hold, ""
    return held


def begin(store: Store, lineages: Collection[str]) -> None:
    """Before a rollback: note what it will undo, so that :func:`finish` finds out what it did.

    A rollback may be killed as soon as certbot's reverter has begun.

    :raises errors.StateError: if that cannot be written.
    """
    for lineage in lineages:
        store.memory.lineage(lineage).leaving = {
            name: entry.binding.fingerprint for name, entry in store.managed(lineage).items()}
    store.write_memory()


def finish(store: Store, lineages: Lineages) -> None:
    """After a rollback, killed or not: hold the lineages whose certificate it undid.

    :raises errors.StateError: if that cannot be written.
    """
    begun = [lineage for lineage, memory in store.memory.lineages.items()
             if memory.leaving is not None and lineage not in store.damaged]
    for lineage in begun:
        memory = store.memory.lineage(lineage)
        before = memory.leaving or {}
        name = lineage if lineages.exists(lineage) else lineages.having(
            {*before.values(), *store.fingerprints(lineage)})
        if name:
            try:
                newest = lineages.current(name).fingerprint
            except errors.UsageError as error:
                logger.debug("%s", error)
                continue  # it cannot be deployed either
            now = {domain: entry.binding.fingerprint
                   for domain, entry in store.managed(lineage).items()}
            # A domain that is gone may come back into the state; it is not being rolled back.
            if before.items() - now.items() or set(now.values()) - {*before.values(), newest}:
                returned = {*before, *(memory.given_back if memory.hold else ())}
                memory.given_back = tuple(sorted(returned - set(store.state)))
                memory.hold = newest
        memory.leaving = None
    if begun:
        store.write_memory()


def look(context: Context, newest: Certificate, settings: Settings, *, look_for_new: bool = True,
         ) -> tuple[bool, list[errors.QiniuError]]:
    """Look at what a rollback keeps a lineage's domains on.

    :param newest: the certificate that is held back.
    :param look_for_new: whether domains that were never managed are looked for.
    :returns: whether the hold ends now, and what is wrong with it, or with the options.
    :raises errors.QiniuError: if that cannot be known.
    """
    others, problems = set[str](), list[errors.QiniuError]()
    with contextlib.suppress(errors.ApiError):  # the judgement reports that
        if look_for_new:
            others, wrong = _others(context, newest, settings)
            problems += map(errors.UsageError, wrong)
    ends, found = _judge(context, newest, others)
    return ends, [*(errors.DeployError(text, has_outlook=True) for text in found), *problems]


def _others(context: Context, newest: Certificate, settings: Settings,
            ) -> tuple[set[str], list[str]]:
    """List the domains to which *newest* would be deployed for the first time without the hold.

    :returns: these, and why it could not be deployed to others.
    :raises errors.ApiError: if the account's lists cannot be read.
    """
    selection = choose_domains(context, newest.names, settings.domains, newest.lineage,
                               ends=newest.not_after.timestamp(), excluded=settings.excluded)
    given_back = context.memory.lineage(newest.lineage).given_back
    theirs = {found.name for found in selection.problems
              if found.obstacle is Obstacle.OTHER_INSTALLATION}
    # It is no problem who has a domain that was given up, but one if it can never be served.
    wrong = replace(selection, problems=tuple(
        found for found in selection.problems if found.name not in given_back
        and found.obstacle in (Obstacle.NOT_FOUND, Obstacle.NOT_COVERED, Obstacle.UNREADABLE)))
    return {*selection.chosen, *theirs}, [
        *wording.problems(wrong), *unread_services(context, settings)]


def _judge(context: Context, newest: Certificate,
           others: Collection[str]) -> tuple[bool, list[str]]:
    """Judge what a lineage's domains serve under a rollback's hold, and report what ends soon.

    :param newest: the certificate that is held back.
    :param others: domains that would get it, too, and were never managed.
    :returns: whether the hold ends now, and what is wrong with it.
    """
    lineage, end = newest.lineage, newest.not_after.timestamp()
    now, by_outlook = context.clock(), dict[Outlook, list[Served]]()
    found, failures = served_instead(context, newest, others)
    ending = [one for one in found if outlook(one, end, now) is Outlook.ENDS]
    if ending:
        # The others get the newest one, too, except domains that were given back.
        managed = context.store.managed(lineage)
        found = [one for one in found if one.name not in managed] if (
            context.memory.lineage(lineage).given_back) else []
    for one in found:
        by_outlook.setdefault(outlook(one, end, now), []).append(one)
    for one in by_outlook.get(Outlook.WARN, ()):
        logger.warning("%s", wording.held(one, lineage, now))
    for one in ending:
        context.say(wording.hold_ended(one, lineage))
    if not (by_outlook or ending):
        logger.info("%s was rolled back: its newest certificate stays undeployed until a "
                    "renewal or certbot install", lineage)
    return bool(ending), [
        *(wording.held(one, lineage, now) for one in by_outlook.get(Outlook.FAIL, ())),
        *told_once(failures.values())]


def served_instead(context: Context, newest: Certificate, others: Collection[str] = (),
                   ) -> tuple[list[Served], dict[str, errors.QiniuError]]:
    """Return what the domains serve while a rollback keeps *newest* from them, if that can end.

    If a domain cannot be read, speaks http or still has the newest one, it counts as serving what
    it should: a hold must end before that does, whatever is in the way.

    :param others: domains that would get *newest* as well, and were never managed.
    :returns: these certificates, and why some domains could not be read.
    """
    lineage, memory, found = newest.lineage, context.memory, list[Served]()
    managed = {name: entry.binding.fingerprint
               for name, entry in context.store.managed(lineage).items()
               if entry.binding.fingerprint != newest.fingerprint}
    names = sorted({*managed, *memory.lineage(lineage).given_back, *others} - (
        context.store.state.keys() - managed.keys()))
    if not names:
        return found, {}
    try:
        details, failures = read_details(context, names, context.account.domains())
        domains = [domain for domain in details.values()
                   if domain and (domain.protocol == "https" or domain.name in managed)]
        foreign = foreign_certificates(context, domains, [lineage])
    except errors.ApiError as error:
        domains, foreign, failures = [], {}, dict.fromkeys(names, error)
    found += [Served(name, True, *validity_of(context, lineage, managed[name]))
              for name in failures if name in managed]
    for domain in domains:
        name, ours = domain.name, memory.uploads.get(domain.cert_id)
        theirs = foreign.get(domain.cert_id) if domain.protocol == "https" else None
        if name in managed and (domain.state == "processing" or not theirs):
            # It serves what it should, or will.
            found.append(Served(name, True, *validity_of(context, lineage, managed[name])))
        elif theirs:
            found.append(Served(name, False, theirs.not_after,
                                theirs.not_after - theirs.not_before))
        elif ours and ours.fingerprint != newest.fingerprint:
            found.append(Served(name, False,
                                *validity_of(context, ours.lineage, ours.fingerprint)))
    return found, failures
