"""How results look: tables with rich on a terminal, plain columns in a pipe, JSON, Prometheus."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from certbot_qiniu.command.doctor import Check
from certbot_qiniu.command.health import (
    VERSION,
    Finding,
    Level,
    LineageFacts,
    Remote,
    Report,
    Row,
    Step,
    days_left,
    exit_status,
    utc,
    worst,
)
from certbot_qiniu.model import parse_certificate_name

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

STYLES = {Level.OK: "green", Level.ATTENTION: "bold red", Level.UNKNOWN: "yellow"}
NUMBERS = ("Days",)
SYNC = {True: "yes", False: "no", None: "-"}


@dataclass(frozen=True)
class Table:
    """Rows of text below headings, each with the style of one of its cells.

    :ivar wraps: the columns that may be wrapped on a narrow terminal; others are cut off there.
    :ivar styled: which cell has the style.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    wraps: Sequence[str] = ()
    styled: int = -1
    title: str = ""


Part = Table | tuple[str, str]
"""A table, or a line of text with its style."""

BLANK = ("", "")
IDLE = ("keep", "skip", "forget", "wait", "queue")
"""Verbs of the planner that change nothing."""


# Terminal and pipe ------------------------------------------------------------------------------


def console(*, stderr: bool = False) -> Console:
    """The terminal, or whatever is in its place; rich honours ``NO_COLOR``."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False, emoji=False, markup=False)


def show(parts: Iterable[Part], out: Console) -> None:
    """Print *parts*."""
    if out.is_terminal:
        out.print(rendered(parts))
        return
    for part in parts:
        for line in plain(part) if isinstance(part, Table) else [part[0]]:
            sys.stdout.write(f"{line}\n")


def rendered(parts: Iterable[Part]) -> RenderableType:
    """*parts* for a terminal."""
    from rich.console import Group
    from rich.text import Text

    return Group(*(_rich_table(part) if isinstance(part, Table) else Text(part[0], part[1])
                   for part in parts))


def plain(table: Table) -> list[str]:
    """A table as lines: columns of equal width, nothing cut off, no decoration."""
    lines = [table.columns, *(cells for _, cells in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    title = [table.title] if table.title else []
    return title + ["  ".join(
        cell.rjust(width) if name in NUMBERS else cell.ljust(width)
        for cell, width, name in zip(cells, widths, table.columns, strict=True)).rstrip()
        for cells in lines]


def _rich_table(table: Table) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    found = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, title=table.title or None,
                      title_justify="left", title_style="bold", header_style="bold dim")
    for name in table.columns:
        wraps = name in table.wraps
        found.add_column(name, justify="right" if name in NUMBERS else "left",
                         no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
    for style, cells in table.rows:
        row = [Text(cell) for cell in cells]
        row[table.styled].stylize(style)
        found.add_row(*row)
    return found


@contextlib.contextmanager
def progress(text: str, out: Console) -> Iterator[None]:
    """Show that something is going on, on a terminal alone."""
    if out.is_terminal:
        with out.status(text):
            yield
    else:
        yield


# What is shown ----------------------------------------------------------------------------------


def status_parts(report: Report) -> list[Part]:
    """The status for humans."""
    parts: list[Part] = []
    accounts = list(dict.fromkeys(row.account for row in report.rows))
    probed = any(row.edge for row in report.rows)
    for account in accounts:
        rows = [row for row in report.rows if row.account == account]
        parts.append(Table(
            ["Domain", "Serves", "Lineage", "Certificate", "Days", "State", "Changed",
             *(["Edge"] if probed else []), "In sync"],
            [(STYLES[row.level], _status_cells(row, probed)) for row in rows],
            title=account if len(accounts) > 1 else ""))
    if parts:
        parts.append(BLANK)
    concerns = report.concerns()
    parts += finding_parts(concerns)
    if not concerns:
        count = sum(row.lineage is not None for row in report.rows)
        parts.append((f"All is well: {count} managed domain{'s' * (count != 1)}.", "green"))
    return parts


def _status_cells(row: Row, probed: bool) -> list[str]:
    ours = parse_certificate_name(row.cert_name or "")
    certificate = ours[1] if ours else row.cert_name or row.cert_id or "-"
    protocol = row.protocol if row.service in ("", "cdn") else f"{row.protocol} ({row.service})"
    return [
        row.domain, protocol or "-", row.lineage or "-", certificate, _number(row.days_left),
        row.state, row.modified[:10] or "-",
        *([row.edge or "-"] if probed else []),
        row.reason.lower() if row.reason in ("Publishing", "Busy") else SYNC[row.in_sync]]


def plan_parts(steps: Sequence[Step], lineages: Sequence[LineageFacts],
               findings: Sequence[Finding], notes: Sequence[str], now: float) -> list[Part]:
    """What the next ``certbot renew`` would do, for humans."""
    parts: list[Part] = []
    for lineage in lineages:
        own = [step for step in steps if step.lineage == lineage.name]
        left = lineage.certificate and days_left(lineage.certificate.not_after.timestamp(), now)
        title = f"{lineage.name} (certbot's newest certificate ends in {left} days)"
        parts += [Table(["Do", "Subject", "Reason", "Why"], [
            ("" if step.verb in IDLE else "bold", [step.verb, step.subject, step.reason, step.text])
            for step in own], ["Why"], styled=0, title=title), BLANK]
    parts += [(note, "") for note in notes]
    parts += finding_parts(findings)
    changes = sum(step.verb not in IDLE for step in steps)
    parts.append(("Nothing to do." if not changes else
                  f"{changes} step{'s' * (changes != 1)}; certbot-qiniu apply does them now. "
                  "Should certbot renew a certificate, its domains get the new one.", "bold"))
    return parts


def certificate_parts(rows: Sequence[Remote]) -> list[Part]:
    """Certificates at Qiniu, for humans."""
    if not rows:
        return [("There is no certificate of ours at Qiniu.", "")]
    styles = {"in use": "green", "superseded": "yellow"}
    return [Table(["Certificate", "Id", "Days", "Used by", "Verdict"], [
        (styles.get(row.verdict, ""), [row.name, row.cert_id, _number(row.days_left),
                                       ", ".join(row.used_by) or "-", row.verdict])
        for row in rows], ["Used by"])]


def doctor_parts(checks: Sequence[Check]) -> list[Part]:
    """Findings and remedies, for humans."""
    words = {Level.OK: "ok", Level.ATTENTION: "problem", Level.UNKNOWN: "unknown"}
    rows: list[tuple[str, Sequence[str]]] = []
    for check in checks:
        rows.append((STYLES[check.level], [words[check.level], check.topic, check.text]))
        if check.remedy:
            rows.append(("", ["", "remedy", check.remedy]))
    return [Table(["Verdict", "Topic", "Finding"], rows, ["Finding"], styled=0)]


def finding_parts(findings: Iterable[Finding]) -> list[Part]:
    """Findings, one in a line."""
    return [(f"{_capital(item.text).rstrip('.')}.", STYLES[item.level]) for item in findings]


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _capital(text: str) -> str:
    """*text* as the beginning of a sentence; a name stays as it is."""
    first = text.partition(" ")[0]
    return text if "." in first else text[:1].upper() + text[1:]


# For programs -----------------------------------------------------------------------------------


def status_json(report: Report) -> str:
    """The status in the form that docs/status-json.md describes."""
    return _json(report.level, report.checked_at, {
        "warn_days": report.warn_days,
        "domains": [_status_entry(row) for row in report.rows],
        "lineages": [_lineage_entry(lineage, report.checked_at) for lineage in report.lineages],
        "findings": report.findings})


def _status_entry(row: Row) -> dict[str, Any]:
    return {**vars(row), "not_after": utc(row.not_after) if row.not_after else None}


def _lineage_entry(lineage: LineageFacts, now: float) -> dict[str, Any]:
    certificate = lineage.certificate
    end = certificate.not_after.timestamp() if certificate else None
    return {"name": lineage.name, "account": lineage.account,
            "fingerprint": certificate.fingerprint if certificate else None,
            "not_after": utc(end) if end else None,
            "days_left": days_left(end, now) if end else None,
            "renews": lineage.renews, "held": lineage.held}


def plan_json(steps: Sequence[Step], findings: Sequence[Finding], now: float) -> str:
    """The plan as JSON."""
    return _json(worst(item.level for item in findings), now,
                 {"steps": steps, "findings": findings})


def certificates_json(rows: Sequence[Remote], findings: Sequence[Finding], now: float) -> str:
    """The certificates as JSON."""
    return _json(worst(item.level for item in findings), now, {
        "certificates": [{**vars(row), "not_after": utc(row.not_after) if row.not_after else None}
                         for row in rows],
        "findings": findings})


def doctor_json(checks: Sequence[Check], now: float) -> str:
    """The findings of the doctor as JSON."""
    return _json(worst(check.level for check in checks), now, {"checks": checks})


def _json(level: Level, now: float, content: dict[str, Any]) -> str:
    return json.dumps({"version": VERSION, "checked_at": utc(now), "level": level,
                       "exit_status": exit_status(level), **content},
                      indent=2, ensure_ascii=False, default=_encode)


def _encode(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return vars(value)
    raise TypeError(f"{type(value).__name__} cannot be shown as JSON")


_GAUGES: tuple[tuple[str, str, Callable[[Row], int | None]], ...] = (
    ("domain_attention", "1 where somebody has to look at the domain.",
     lambda row: int(row.level is Level.ATTENTION)),
    ("domain_unknown", "1 where the state of the domain could not be told.",
     lambda row: int(row.level is Level.UNKNOWN)),
    ("domain_managed", "1 where certbot manages the domain.",
     lambda row: int(row.lineage is not None)),
    ("domain_in_sync", "1 where a managed domain is bound as wanted.",
     lambda row: None if row.in_sync is None else int(row.in_sync)),
    ("domain_publishing", "1 while Qiniu publishes a change of the domain.",
     lambda row: int(row.state == "processing")),
    ("certificate_expiry_timestamp_seconds", "End of the certificate bound to the domain.",
     lambda row: row.not_after),
    ("edge_same", "1 where the edge serves the lineage's newest leaf, 0 where another.",
     lambda row: {"same": 1, "other": 0}.get(row.edge or "")),
)


def prometheus(report: Report) -> str:
    """The status in the text format of Prometheus, one gauge per domain."""
    lines = []
    by_name = {row.domain: row for row in report.rows}  # a series may be there once only
    for name, help_text, value_of in _GAUGES:
        values = {domain: value_of(row) for domain, row in by_name.items()}
        lines += [f"# HELP certbot_qiniu_{name} {help_text}", f"# TYPE certbot_qiniu_{name} gauge"]
        lines += [f'certbot_qiniu_{name}{{domain="{domain}"}} {value}'
                  for domain, value in values.items() if value is not None]
    for name, help_text, value in (
            ("status", "0 fine, 1 attention, 2 could not tell.", exit_status(report.level)),
            ("checked_timestamp_seconds", "When this was found out.", int(report.checked_at))):
        lines += [f"# HELP certbot_qiniu_{name} {help_text}", f"# TYPE certbot_qiniu_{name} gauge",
                  f"certbot_qiniu_{name} {value}"]
    return "\n".join(lines) + "\n"
