"""What the facts mean: pure, from an :class:`Inspection` to rows, levels and exit status.

A level is ``ok``, ``attention`` (somebody has to look) or ``unknown`` (it could not be told). Each
row has one, with a stable word for the reason and a sentence for humans.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import DAY, DEAD_STATES, Certificate, Domain, RemoteCertificate
from certbot_qiniu.webserver.tls import Leaf

PENDING_SECONDS = 3600
"""Qiniu publishes within 5 to 10 minutes; after an hour somebody should know."""

VERSION = 1


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    ATTENTION = "attention"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """Something about a subject: a lineage, a credentials file, the renewal as a whole."""

    level: Level
    subject: str
    reason: str
    text: str


# Facts ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AccountFacts:
    """What a Qiniu account holds.

    :ivar name: the path of its credentials file.
    """

    name: str
    domains: Mapping[str, Domain] = field(default_factory=dict)
    certificates: Mapping[str, RemoteCertificate] = field(default_factory=dict)


@dataclass(frozen=True)
class LineageFacts:
    """What is known of a lineage that is deployed to Qiniu.

    :ivar account: the name of its account.
    :ivar certificate: its newest certificate, if that can be read.
    :ivar renews: whether its renewal conf names this plugin.
    :ivar held: whether a rollback keeps its newest certificate from being deployed.
    :ivar actions: what the next ``certbot renew`` would do with its domains.
    :ivar uploads: names of the certificates that it would upload for that.
    :ivar superseded: ids of its certificates at Qiniu that nothing here needs any more.
    :ivar reload: the web server that was not yet seen to serve the newest certificate, "" for none.
    """

    name: str
    account: str
    certificate: Certificate | None = None
    renews: bool = True
    held: bool = False
    actions: tuple[Action, ...] = ()
    uploads: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    reload: str = ""


@dataclass(frozen=True)
class Inspection:
    """All that was found out, at one moment.

    :ivar records: what the memory says of each domain.
    :ivar uploads: Qiniu's id -> (lineage, fingerprint) of certificates that are ours.
    :ivar unread: why some domains could not be read.
    :ivar findings: what is wrong apart from single domains.
    :ivar notes: remarks that ``certbot renew`` would make.
    :ivar edges: what the probed domains really serve; None where that could not be told.
    """

    now: float
    accounts: tuple[AccountFacts, ...] = ()
    lineages: tuple[LineageFacts, ...] = ()
    records: Mapping[str, Record] = field(default_factory=dict)
    uploads: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    edges: Mapping[str, Leaf | None] = field(default_factory=dict)

    def managed(self) -> dict[str, tuple[LineageFacts, Action]]:
        """The managed domains: their lineage, and what is to be done."""
        return {action.name: (lineage, action) for lineage in self.lineages
                for action in lineage.actions}

    def lineage_of(self, domain: str) -> str | None:
        """The lineage that manages a domain, also where it could not be read."""
        return self.records.get(domain, Record()).lineage or None


# Status -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One domain in the status.

    :ivar lineage: None for a domain that certbot does not manage; likewise *in_sync*.
    :ivar not_after: end of the bound certificate, seconds since the epoch.
    :ivar edge: ``same`` leaf as the lineage's, ``other``, ``seen`` where there is nothing to
        compare with, ``unknown``, or None without a probe.
    """

    account: str
    domain: str
    service: str
    protocol: str
    lineage: str | None
    cert_id: str | None
    cert_name: str | None
    not_after: int | None
    days_left: int | None
    state: str
    operation: str
    modified: str
    in_sync: bool | None
    edge: str | None
    level: Level
    reason: str
    text: str


@dataclass(frozen=True)
class Report:
    """The status of everything."""

    checked_at: float
    warn_days: int
    rows: tuple[Row, ...]
    lineages: tuple[LineageFacts, ...]
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The level of the whole: what is known to be wrong weighs more than what is unknown."""
        levels = [row.level for row in self.rows]
        return worst([*levels, *(item.level for item in self.findings)])

    def concerns(self) -> list[Finding]:
        """All that is not ok: domains first."""
        rows = [Finding(row.level, row.domain, row.reason, row.text) for row in self.rows]
        return [item for item in (*rows, *self.findings) if item.level is not Level.OK]


def worst(levels: Iterable[Level]) -> Level:
    """The level that decides."""
    found = set(levels)
    return next((level for level in (Level.ATTENTION, Level.UNKNOWN) if level in found), Level.OK)


def exit_status(level: Level) -> int:
    """0 fine, 1 attention, 2 could not tell."""
    return {Level.OK: 0, Level.ATTENTION: 1, Level.UNKNOWN: 2}[level]


def days_left(not_after: float, now: float) -> int:
    """Whole days until then; negative after it."""
    return int((not_after - now) // DAY)


def utc(seconds: float) -> str:
    """A time as ISO 8601 in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(seen: Inspection, warn_days: int, *, only_managed: bool = False) -> Report:
    """Judge every domain of every account, and every lineage."""
    managed = seen.managed()
    rows = [_row(seen, account, domain, managed.get(domain.name), warn_days)
            for account in seen.accounts for domain in account.domains.values()
            if seen.lineage_of(domain.name) or not only_managed]
    present = {row.domain for row in rows}
    rows += [_missing(lineage, action) for name, (lineage, action) in managed.items()
             if name not in present]
    rows.sort(key=lambda row: (row.account, row.lineage is None, row.domain))
    findings = [*seen.findings]
    for lineage in seen.lineages:
        findings += _judge_lineage(lineage, seen.now, warn_days)
    return Report(seen.now, warn_days, tuple(rows), seen.lineages, tuple(findings))


def _row(seen: Inspection, account: AccountFacts, domain: Domain,
         managed: tuple[LineageFacts, Action] | None, warn_days: int) -> Row:
    certificate = account.certificates.get(domain.cert_id)
    not_after = certificate.not_after or None if certificate else None
    left = days_left(not_after, seen.now) if not_after else None
    edge = _edge(seen, domain.name, managed)
    level, reason, text = _judge(seen, domain, managed, left, edge, warn_days)
    return Row(
        account.name, domain.name, domain.service, domain.protocol,
        seen.lineage_of(domain.name), domain.cert_id or None,
        certificate.name if certificate else None, not_after, left, domain.state,
        domain.operation, domain.modified,
        managed[1].verb is Verb.KEEP if managed else None, edge, level, reason, text)


def _missing(lineage: LineageFacts, action: Action) -> Row:
    """A managed domain that the account does not have."""
    failed = action.verb is Verb.FAIL
    return Row(lineage.account, action.name, "", "", lineage.name, None, None, None, None,
               "missing", "", "", False, None, Level.ATTENTION if failed else Level.OK,
               action.reason.value, wording.sentence(action))


def _edge(seen: Inspection, name: str, managed: tuple[LineageFacts, Action] | None) -> str | None:
    if name not in seen.edges:
        return None
    leaf = seen.edges[name]
    if leaf is None:
        return "unknown"
    if managed is None or managed[0].certificate is None or managed[0].held:
        return "seen"
    return "same" if leaf.fingerprint == managed[0].certificate.fingerprint else "other"


def _judge(seen: Inspection, domain: Domain, managed: tuple[LineageFacts, Action] | None,
           left: int | None, edge: str | None, warn_days: int) -> tuple[Level, str, str]:
    """The level of a domain, the word for its reason, and a sentence about it."""
    name = domain.name
    if name in seen.unread:
        return Level.UNKNOWN, "Unreadable", seen.unread[name]
    verb = managed[1].verb if managed else None
    if managed and verb in _OUT_OF_SYNC:
        return Level.ATTENTION, managed[1].reason.value, wording.sentence(managed[1])
    if domain.state in DEAD_STATES:
        return Level.OK, Reason.DEAD.value, f"{name} {wording.STATES[domain.state]}"
    if managed and verb in (Verb.WAIT, Verb.QUEUE):
        return _judge_pending(managed[1], _pending(seen, name))
    if left is not None and domain.protocol == "https" and left < warn_days:
        return Level.ATTENTION, *_expiry(f"the certificate that {name} serves", left)
    if managed and not managed[0].renews:
        return Level.ATTENTION, "NotRenewed", (
            f"{name} serves {managed[0].name}, but renewals of that no longer reach Qiniu")
    if edge == "other":
        return Level.ATTENTION, "EdgeDiffers", (
            f"the edge still serves another certificate for {name} than Qiniu's API shows")
    if managed is None:
        return Level.OK, "Unmanaged", ""
    text = f"{name} is not changed while the rollback holds" if managed[0].held else ""
    return Level.OK, managed[1].reason.value, wording.sentence(managed[1]) or text


_OUT_OF_SYNC = {Verb.BIND, Verb.UNBIND, Verb.HSTS, Verb.FAIL}


def _judge_pending(action: Action, seconds: float) -> tuple[Level, str, str]:
    if seconds > PENDING_SECONDS:
        return Level.ATTENTION, "PendingTooLong", (
            f"Qiniu has been publishing {action.name} for {seconds / 60:.0f} minutes; 5 to 10 are "
            "usual")
    return Level.OK, action.reason.value, wording.sentence(action)


def _pending(seen: Inspection, name: str) -> float:
    """For how many seconds we know that a domain has been publishing."""
    record = seen.records.get(name, Record())
    since = record.processing_since or (record.sent.at if record.sent else 0)
    return seen.now - since if since else 0


def _judge_lineage(lineage: LineageFacts, now: float, warn_days: int) -> list[Finding]:
    found = []
    if not lineage.renews:
        found.append(Finding(Level.ATTENTION, lineage.name, "NotRenewed", (
            f"the renewal conf of {lineage.name} does not say installer = qiniu: renewals will "
            f"not reach Qiniu. Run: certbot reconfigure --cert-name {lineage.name} -i qiniu "
            f"--qiniu-credentials {lineage.account or 'PATH'}")))
    if lineage.certificate:
        left = days_left(lineage.certificate.not_after.timestamp(), now)
        if left < warn_days:
            found.append(Finding(Level.ATTENTION, lineage.name, *_expiry(
                f"certbot's newest certificate {lineage.name}", left)))
    return found


def _expiry(what: str, left: int) -> tuple[str, str]:
    if left < 0:
        return "Expired", f"{what} has expired"
    return "Expiring", f"{what} ends in {left} day{'' if left == 1 else 's'}"


# Plan -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step of what the next ``certbot renew`` would do."""

    lineage: str
    verb: str
    subject: str
    reason: str
    text: str


def steps(seen: Inspection) -> list[Step]:
    """What the next ``certbot renew`` would do, in its order."""
    found = []
    for lineage in seen.lineages:
        if not lineage.renews:
            continue
        found += [Step(lineage.name, "upload", name, "NotUploaded",
                       "this certificate is not at Qiniu yet") for name in lineage.uploads]
        found += [_step(lineage, action) for action in lineage.actions]
        if all(action.verb in (Verb.KEEP, Verb.SKIP, Verb.FORGET) for action in lineage.actions):
            found += [Step(lineage.name, "delete", certificate.name, "Orphan",
                           "superseded, and nothing needs it any more")
                      for certificate in superseded(seen, lineage)]
        if lineage.reload:
            found.append(Step(lineage.name, "reload", lineage.reload, "NotSeen",
                              "was not yet seen to serve the newest certificate"))
    return found


def failures(seen: Inspection) -> list[Finding]:
    """What a ``certbot renew`` would report as failed, or could not even look at."""
    found = [Finding(Level.ATTENTION, action.name, action.reason.value, wording.sentence(action))
             for lineage in seen.lineages for action in lineage.actions
             if action.verb is Verb.FAIL]
    unread = [Finding(Level.UNKNOWN, name, "Unreadable", text)
              for name, text in seen.unread.items()]
    return [*found, *unread, *seen.findings]


def _step(lineage: LineageFacts, action: Action) -> Step:
    return Step(lineage.name, action.verb.value, action.name, action.reason.value,
                wording.phrase(action, held=lineage.held))


# Certificates -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remote:
    """One certificate at Qiniu.

    :ivar lineage: None where it is not ours.
    :ivar verdict: ``in use``, ``kept`` (for a rollback, or as the newest), ``superseded``
        (the next clean-up deletes it), or ``foreign``.
    """

    account: str
    cert_id: str
    name: str
    lineage: str | None
    not_after: int | None
    days_left: int | None
    used_by: tuple[str, ...]
    verdict: str


def certificates(seen: Inspection, *, everybodys: bool = False) -> list[Remote]:
    """Our certificates at Qiniu and what becomes of them; everybody's if asked."""
    doomed = {item.cert_id for lineage in seen.lineages for item in superseded(seen, lineage)}
    found = []
    for account in seen.accounts:
        for item in account.certificates.values():
            lineage = seen.uploads.get(item.cert_id, (None, ""))[0]
            if lineage is None and not everybodys:
                continue
            users = _users(account, item.cert_id)
            verdict = ("foreign" if lineage is None else "in use" if users
                       else "superseded" if item.cert_id in doomed else "kept")
            found.append(Remote(
                account.name, item.cert_id, item.name, lineage, item.not_after or None,
                days_left(item.not_after, seen.now) if item.not_after else None, users, verdict))
    return sorted(found, key=lambda item: (item.account, item.lineage or "~", item.not_after or 0))


def superseded(seen: Inspection, lineage: LineageFacts) -> list[RemoteCertificate]:
    """The certificates of a lineage that the next clean-up deletes."""
    account = next((one for one in seen.accounts if one.name == lineage.account), None)
    if account is None or lineage.held or seen.unread:
        return []
    return [account.certificates[cert_id] for cert_id in lineage.superseded
            if cert_id in account.certificates and not _users(account, cert_id)]


def _users(account: AccountFacts, cert_id: str) -> tuple[str, ...]:
    return tuple(sorted(domain.name for domain in account.domains.values()
                        if domain.cert_id == cert_id))
