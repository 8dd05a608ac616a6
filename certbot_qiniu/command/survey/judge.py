"""Judge domains and lineages: from the facts of a survey to rows and findings."""

from __future__ import annotations

import shlex

from certbot_qiniu.command.survey.edge import Probe
from certbot_qiniu.command.survey.facts import AccountFacts, LineageFacts, Survey
from certbot_qiniu.command.survey.health import Finding, Level, days_left
from certbot_qiniu.command.survey.report import Report, Row
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.planning.decision import Action, Verb
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import DEAD_STATES, Domain

PENDING_SECONDS = 3600
"""Qiniu usually publishes within 8 to 15 minutes, overseas within an hour; longer is too long."""

SENTENCES = {
    "domain": {
        "Dead": "{name} {state}",
        "Expired": "the certificate that {name} serves has expired",
        "Expiring": "the certificate that {name} serves ends in {days}",
        "NotRenewed": "{name} serves {lineage}, but renewals of that no longer reach Qiniu",
        "PendingTooLong": "Qiniu has been publishing {name} for {minutes} minutes; 8 to 15 are "
                          "usual, overseas more",
        "Unmanaged": "{remark}",
    },
    "lineage": {
        "Expired": "certbot's newest certificate {name} has expired",
        "Expiring": "certbot's newest certificate {name} ends in {days}",
        "HookFailed": "what --qiniu-hook runs for certbot's newest certificate {name} has failed: "
                      "{hooks}. To run it again, run: {remedy}",
        "HookNotRun": "what --qiniu-hook names was not yet run for certbot's newest certificate "
                      "{name}: {hooks}. To run it now, run: {remedy}",
        "Held": "a rollback keeps certbot's newest certificate {name} from being deployed, until "
                "certbot has a newer one{until}. To deploy it now, run: {remedy}",
        "NotRenewed": "the renewal conf of {name} does not say installer = qiniu: renewals will "
                      "not reach Qiniu. Run: {remedy}",
        "NotSeen": "{server} was not yet seen to serve certbot's newest certificate {name}. To "
                   "reload it and see why, run: {remedy}",
        "NothingManaged": "renewals of {name} deploy to Qiniu, but it serves no domain there. To "
                          "see why, run: {remedy}",
    },
}
"""The sentences about each subject, by the word for its reason."""

Verdict = tuple[Level, str, str]
"""A level, the word for its reason, and a sentence."""

_OUT_OF_SYNC = {Verb.BIND, Verb.UNBIND, Verb.HSTS, Verb.FAIL, Verb.LEAVE}


def judge(facts: Survey, warn_days: int, *, only_managed: bool = False) -> Report:
    """Judge every domain of every account, and every lineage."""
    managed = facts.managed()
    rows = [_row(facts, account, domain, managed.get(domain.name), warn_days)
            for account in facts.accounts for domain in account.domains.values()
            if facts.lineage_of(domain.name) or not only_managed]
    present = {row.domain for row in rows}
    rows += [_missing(lineage, action) for name, (lineage, action) in managed.items()
             if name not in present]
    rows.sort(key=lambda row: (row.account, row.lineage is None, row.domain))
    # A hold is reported below, with what ends it.
    findings = [item for item in facts.findings if item.reason != "Held"]
    unread = {facts.lineage_of(name) for name in facts.unread}
    for lineage in facts.lineages:
        findings += _judge_lineage(lineage, facts.now, warn_days,
                                   is_read=lineage.name not in unread)
    dead = (row.domain for row in rows if row.state in DEAD_STATES)
    return Report(facts.now, warn_days, tuple(rows), facts.lineages, tuple(findings),
                  (*facts.bygone, *dead), facts.blind, only_managed=only_managed)


def _row(facts: Survey, account: AccountFacts, domain: Domain,
         managed: tuple[LineageFacts, Action] | None, warn_days: int) -> Row:
    certificate = account.certificates.get(domain.cert_id)
    not_after = certificate.not_after or None if certificate else None
    left = days_left(not_after, facts.now) if not_after else None
    probed = facts.edges.get(domain.name)
    level, reason, text = _judge(facts, domain, managed, left, probed, warn_days)
    return Row(
        account.name, domain.name, domain.service, domain.protocol,
        facts.lineage_of(domain.name), domain.cert_id or None,
        certificate.name if certificate else None, not_after, left, domain.state,
        domain.operation, domain.modified,
        managed[1].verb is Verb.KEEP if managed else None, probed.word if probed else None,
        level, reason, text, probed.shown() if probed else ())


def _missing(lineage: LineageFacts, action: Action) -> Row:
    """Return a managed domain that the account does not have."""
    return Row(lineage.account, action.name, "", "", lineage.name, None, None, None, None,
               "missing", "", "", False, None, Level.ATTENTION, action.reason.value,
               wording.sentence(action))


def _verdict(level: Level, subject: str, reason: str, **facts: object) -> Verdict:
    return level, reason, SENTENCES[subject][reason].format(**facts)


def _judge(facts: Survey, domain: Domain, managed: tuple[LineageFacts, Action] | None,
           left: int | None, probed: Probe | None, warn_days: int) -> Verdict:
    """Judge a domain."""
    name = domain.name
    at_edge = probed.judge(facts.now) if probed else None
    verb = managed[1].verb if managed else None
    if name in facts.unread:
        return Level.UNKNOWN, "Unreadable", facts.unread[name]
    if managed and verb in _OUT_OF_SYNC:
        return Level.ATTENTION, managed[1].reason.value, wording.sentence(managed[1])
    if domain.state in DEAD_STATES:
        return _verdict(Level.OK, "domain", "Dead", name=name, state=wording.STATES[domain.state])
    if managed and verb in (Verb.WAIT, Verb.QUEUE):
        return _judge_pending(managed[1], _pending_seconds(facts, name))
    if left is not None and domain.protocol == "https" and left < warn_days:
        return _judge_end("domain", name, left)
    if managed and not managed[0].renews:
        return _verdict(Level.ATTENTION, "domain", "NotRenewed", name=name,
                        lineage=managed[0].name)
    if at_edge and at_edge.level is Level.ATTENTION:
        return at_edge.level, at_edge.reason, at_edge.text
    remark = at_edge.text if at_edge else ""
    if managed is None:
        return _verdict(Level.OK, "domain", "Unmanaged", remark=remark)
    held = f"{name} is not changed while the rollback holds" if managed[0].held else ""
    return Level.OK, managed[1].reason.value, remark or wording.sentence(managed[1]) or held


def _judge_pending(action: Action, seconds: float) -> Verdict:
    if seconds > PENDING_SECONDS:
        return _verdict(Level.ATTENTION, "domain", "PendingTooLong", name=action.name,
                        minutes=f"{seconds / 60:.0f}")
    return Level.OK, action.reason.value, wording.sentence(action)


def _pending_seconds(facts: Survey, name: str) -> float:
    """Return for how long a domain has been publishing, as far as we know."""
    record = facts.records.get(name, Record())
    since = record.processing_since or (record.sent.at if record.sent else 0)
    return facts.now - since if since else 0


def _judge_end(subject: str, name: str, left: int) -> Verdict:
    """Judge a certificate that expires too soon."""
    return _verdict(Level.ATTENTION, subject, "Expired" if left < 0 else "Expiring", name=name,
                    days=f"{left} day{'' if left == 1 else 's'}")


def _judge_lineage(lineage: LineageFacts, now: float, warn_days: int, *,
                   is_read: bool) -> list[Finding]:
    """Judge a lineage.

    :param is_read: whether all its domains could be read: if not, it may have some.
    """
    def needs(reason: str, remedy: str, **facts: object) -> Verdict:
        return _verdict(Level.ATTENTION, "lineage", reason, name=lineage.name, remedy=remedy,
                        server=lineage.reload, until=wording.held_until(lineage.kept_on), **facts)

    verdicts, left = [], None
    of_it = f"--cert-name {shlex.quote(lineage.name)}"
    if not lineage.renews:
        verdicts.append(needs("NotRenewed", lineage.reconfigure))
    elif lineage.reload:
        verdicts.append(needs("NotSeen", f"certbot-qiniu apply {of_it}"))
    pending = [hook for hook in lineage.hooks if lineage.renews and not hook.is_done]
    for reason, hooks in (
            ("HookFailed", [f"{hook.path} ({hook.failure})" for hook in pending if hook.failure]),
            ("HookNotRun", [hook.path for hook in pending if not hook.failure])):
        if hooks:
            verdicts.append(needs(reason, f"certbot-qiniu apply {of_it}", hooks=", ".join(hooks)))
    if lineage.held:
        verdicts.append(needs("Held", f"certbot install {of_it} -i qiniu --qiniu-credentials "
                                      f"{shlex.quote(lineage.account)}"))
    elif lineage.renews and is_read and not lineage.actions:
        verdicts.append(needs("NothingManaged", f"certbot-qiniu plan {of_it}"))
    if lineage.certificate:
        left = days_left(lineage.certificate.not_after.timestamp(), now)
        if left < warn_days:
            verdicts.append(_judge_end("lineage", lineage.name, left))
    return [Finding(level, lineage.name, reason, text, left if reason == "Expiring" else None)
            for level, reason, text in verdicts]
