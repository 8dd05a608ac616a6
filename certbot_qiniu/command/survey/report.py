"""The status of all domains and lineages, as it was judged; it is formatted elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from certbot_qiniu.command.survey.edge import EDGE_REASONS, EDGE_WORDS, Shown
from certbot_qiniu.command.survey.facts import LineageFacts
from certbot_qiniu.command.survey.health import Finding, Level, worst

ENDS = ("Expired", "Expiring")
"""The reasons of findings about the end of a certificate."""


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

    :ivar bygone: domains and lineages that need no attention any more, although they are not right.
    :ivar blind: lineages and domains that could not be looked at; None for all.
    :ivar renewed: whether the ``certbot renew`` before this succeeded; None if unknown.
    :ivar only_managed: whether domains that certbot does not manage were left out.
    """

    checked_at: float
    warn_days: int
    rows: tuple[Row, ...]
    lineages: tuple[LineageFacts, ...]
    findings: tuple[Finding, ...]
    bygone: tuple[str, ...] = ()
    blind: Collection[str] | None = ()
    renewed: bool | None = None
    only_managed: bool = False

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

    def was_seen(self, reason: str, subject: str) -> bool:
        """Return whether this would have the finding again; if not, it may still be so."""
        if self.blind is None or subject in self.blind:
            return False
        if reason == "RenewalFailed":
            return self.renewed is not None
        if reason not in (*ENDS, *EDGE_REASONS):
            return True
        row = self._rows.get(subject)
        if row is None:
            return not self.only_managed or subject in (
                *self.bygone, *(lineage.name for lineage in self.lineages))
        if row.protocol != "https":
            return True
        if reason in ENDS:
            return row.not_after is not None
        # An edge that serves another certificate gets more time if its domain was changed again.
        return row.edge not in (None, "unknown") and not (
            row.edge in EDGE_WORDS and row.level is Level.OK)

    @functools.cached_property
    def _rows(self) -> Mapping[str, Row]:
        bygone = set(self.bygone)
        return {row.domain: row for row in self.rows if row.domain not in bygone}
