"""The status of all domains and lineages, as it was judged; it is formatted elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from certbot_qiniu.command.survey.edge import EDGE_REASONS, EDGE_WORDS, Shown
from certbot_qiniu.command.survey.facts import LineageFacts
from certbot_qiniu.command.survey.health import Finding, Level, worst
from certbot_qiniu.model import DEAD_STATES


@dataclass(frozen=True)
class Row:
    """One domain in the status.

    :ivar lineage: None for a domain that certbot does not manage; likewise *in_sync*.
    :ivar not_after: end of the bound certificate, seconds since the epoch.
    :ivar edge: :attr:`Probe.word`, None without a probe.
    :ivar edge_addresses: the answer of each address of the edge.
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
    edge_addresses: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Report:
    """The status of everything.

    :ivar bygone: domains that need no attention any more, although they are not right.
    :ivar blind: lineages and domains that could not be looked at; None for all.
    :ivar renewed: whether the ``certbot renew`` before this succeeded; None if unknown.
    """

    checked_at: float
    warn_days: int
    rows: tuple[Row, ...]
    lineages: tuple[LineageFacts, ...]
    findings: tuple[Finding, ...]
    bygone: tuple[str, ...] = ()
    blind: Collection[str] | None = ()
    renewed: bool | None = None

    @property
    def level(self) -> Level:
        """The level of the whole."""
        levels = [row.level for row in self.rows]
        return worst([*levels, *(item.level for item in self.findings)])

    def concerns(self) -> list[Finding]:
        """Return all findings that are not ok, those of domains first."""
        rows = [Finding(row.level, row.domain, row.reason, row.text,
                        row.days_left if row.reason == "Expiring" else None) for row in self.rows]
        return [item for item in (*rows, *self.findings) if item.level is not Level.OK]

    def unseen(self) -> set[tuple[str, str]]:
        """List the edges that did not answer or were not asked: they may still be wrong.

        So may one that got more time because its domain was changed again, and a renewal of which
        this run has not heard.
        """
        edges = {(reason, row.domain) for row in self.rows for reason in EDGE_REASONS
                 if row.protocol == "https" and row.state not in DEAD_STATES
                 and (row.edge in (None, "unknown")
                      or (row.edge in EDGE_WORDS and row.level is Level.OK))}
        return edges | ({("RenewalFailed", "renewal")} if self.renewed is None else set())
