"""The status in the text format of Prometheus, for node_exporter's textfile collector.

An unknown value has no series: a domain whose edge was not asked, a renewal that was not reported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from certbot_qiniu.command.survey.facts import LineageFacts
from certbot_qiniu.command.survey.health import Level, exit_status
from certbot_qiniu.command.survey.report import Report, Row
from certbot_qiniu.model import DEAD_STATES

PREFIX = "certbot_qiniu_"
FILE = "certbot_qiniu.prom"
"""The name of the file in a folder."""

Labels = Mapping[str, str]

DOMAIN: tuple[tuple[str, str, Callable[[Row], int | None]], ...] = (
    ("domain_attention", "1 if somebody has to look at the domain.",
     lambda row: int(row.level is Level.ATTENTION)),
    ("domain_unknown", "1 if the state of the domain is not known.",
     lambda row: int(row.level is Level.UNKNOWN)),
    ("domain_managed", "1 if certbot manages the domain.",
     lambda row: int(row.lineage is not None)),
    ("domain_in_sync", "1 if a managed domain is bound as it should be; 0 while a change is "
                       "published, too.",
     lambda row: None if row.in_sync is None else int(row.in_sync)),
    ("domain_publishing", "1 while Qiniu publishes a change of the domain.",
     lambda row: int(row.state == "processing")),
    ("certificate_expiry_timestamp_seconds", "End of the certificate bound to the domain, unless "
                                             "it is frozen or offline.",
     lambda row: None if row.state in DEAD_STATES else row.not_after),
    ("edge_same", "1 if the edge serves the leaf that is bound and ours, 0 if it serves another.",
     lambda row: {"same": 1, "chain": 1, "other": 0}.get(row.edge or "")),
    ("edge_chain_complete", "1 if the edge serves the intermediate certificate with that leaf.",
     lambda row: {"same": 1, "chain": 0}.get(row.edge or "")),
)

LINEAGE: tuple[tuple[str, str, Callable[[LineageFacts], int | None]], ...] = (
    ("lineage_certificate_issued_timestamp_seconds",
     "Begin of certbot's newest certificate: when it was issued, or about an hour before.",
     lambda lineage: int(lineage.certificate.not_before.timestamp())
     if lineage.certificate else None),
    ("lineage_certificate_expiry_timestamp_seconds", "End of certbot's newest certificate.",
     lambda lineage: int(lineage.certificate.not_after.timestamp())
     if lineage.certificate else None),
    ("lineage_renews", "1 if renewals of the lineage are deployed to Qiniu.",
     lambda lineage: int(lineage.renews)),
    ("lineage_held", "1 while a rollback keeps the newest certificate from being deployed.",
     lambda lineage: int(lineage.held)),
)

RUN: tuple[tuple[str, str, Callable[[Report], int | None]], ...] = (
    ("renewal_success", "1 if the certbot renew before this succeeded, 0 if a lineage failed.",
     lambda report: None if report.renewed is None else int(report.renewed)),
    ("status", "0 fine, 1 attention, 2 not known.", lambda report: exit_status(report.level)),
    ("checked_timestamp_seconds", "When all of this was observed.",
     lambda report: int(report.checked_at)),
)


def text(report: Report) -> str:
    """Write every fact as a gauge."""
    by_name = {row.domain: row for row in report.rows}  # a series may occur only once
    lines: list[str] = []
    for name, help_text, of_row in DOMAIN:
        lines += _family(name, help_text, (
            ({"domain": row.domain}, of_row(row)) for row in by_name.values()))
    for name, help_text, of_lineage in LINEAGE:
        lines += _family(name, help_text, (
            ({"lineage": lineage.name}, of_lineage(lineage)) for lineage in report.lineages))
    lines += _family(
        "target_done", "1 if the web server was seen to serve the lineage's newest certificate, "
                       "or the hook has succeeded for it.",
        (({"lineage": lineage.name, "target": target}, int(done))
         for lineage in report.lineages for target, done in _targets(lineage).items()))
    for name, help_text, of_report in RUN:
        lines += _family(name, help_text, [({}, of_report(report))])
    return "".join(f"{line}\n" for line in lines)


def file_at(path: Path) -> Path:
    """Return the file to write: in a folder, one that the textfile collector reads."""
    return path / FILE if os.path.isdir(path) else path  # pathlib's raises without permission


def _targets(lineage: LineageFacts) -> dict[str, bool]:
    """List the places on this machine, and whether each has the newest certificate."""
    found = {hook.path: hook.is_done for hook in lineage.hooks}
    if lineage.server:
        found[lineage.server] = not lineage.reload
    return found


def _family(name: str, help_text: str, samples: Iterable[tuple[Labels, int | None]]) -> list[str]:
    """Write one metric, or nothing if it has no samples."""
    lines = [f"{PREFIX}{name}{_labels(labels)} {value}" for labels, value in samples
             if value is not None]
    head = [f"# HELP {PREFIX}{name} {help_text}", f"# TYPE {PREFIX}{name} gauge"]
    return head + lines if lines else []


def _labels(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    readable = value.encode(errors="backslashreplace").decode()  # a hook's name need not be UTF-8
    return readable.replace("\\", r"\\").replace('"', r'\"').replace("\n", r"\n")
