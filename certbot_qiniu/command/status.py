"""``certbot-qiniu status``: show what every domain serves, and whether that is right.

What a survey finds is judged in :mod:`certbot_qiniu.command.survey.judge`; what this machine runs
by itself is judged here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command import alerts, output
from certbot_qiniu.command.arguments import (
    A_FILE,
    Command,
    add_deadline,
    add_heartbeat,
    add_json,
    add_notify,
    certbot_config,
    completed_by,
    seconds,
    usual_config_dir,
)
from certbot_qiniu.command.jobs import certbot_jobs, plugins
from certbot_qiniu.command.jobs.certbot_jobs import Job, Use, Wanted, sentence, use
from certbot_qiniu.command.survey import metrics
from certbot_qiniu.command.survey.account_survey import Scope
from certbot_qiniu.command.survey.edge import EDGE_WORDS, Expected, Probe, changed_at, expect
from certbot_qiniu.command.survey.facts import LineageFacts, Survey
from certbot_qiniu.command.survey.health import (
    Finding,
    Level,
    days_left,
    exit_status,
    utc,
)
from certbot_qiniu.command.survey.judge import judge
from certbot_qiniu.command.survey.report import Report, Row
from certbot_qiniu.command.survey.survey import survey
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.lineages import INSTALLER, Lineages, read_renewals
from certbot_qiniu.model import parse_certificate_name
from certbot_qiniu.webserver import edge

WARN_DAYS = 14
WATCH_SECONDS = 30
LEAST_WATCH_SECONDS = 5
"""Qiniu counts calls."""

SPARE_SECONDS = 5
"""The part of a deadline that is left for the report, after waiting for the edge."""

SUCCESS = ("", "0", "success")
"""The results of a renewal that succeeded: unknown, by the shell, by systemd."""


# Arguments and run ------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    form = parser.add_mutually_exclusive_group()
    add_json(form)
    completed_by(A_FILE, form.add_argument(
        "--prometheus", nargs="?", const="-", metavar="PATH",
        help="metrics for Prometheus, on stdout; or for its textfile collector into a file, or "
             f"into {metrics.FILE} in a folder, and nothing on stdout unless something is wrong"))
    form.add_argument("--watch", nargs="?", type=_watch_seconds, const=WATCH_SECONDS,
                      metavar="SECONDS", help="look again and again (default: every %(const)s "
                                              "seconds) until interrupted")
    parser.add_argument("--probe", action="store_true",
                        help="also ask the edge over TLS, at all of its addresses, which "
                             "certificate and chain it really serves; for 60 seconds at most")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--managed", action="store_true",
                        help="only the domains that certbot manages, without the account's lists "
                             "if that takes fewer calls")
    extent.add_argument("--all-details", action="store_true",
                        help="also read what each domain serves that certbot does not manage, a "
                             "call for each: 10,000 domains take 20 minutes")
    parser.add_argument("--warn-days", type=int, default=WARN_DAYS, metavar="N",
                        help="attention if a certificate ends in less than N days (default: "
                             "%(default)s)")
    add_notify(parser)
    add_heartbeat(parser)
    add_deadline(parser)
    parser.add_argument("--renewal", metavar="RESULT",
                        help="how certbot renew ended before this: its exit status, or "
                             "$SERVICE_RESULT of systemd")
    parser.add_argument("-q", "--quiet", action="store_true",
                        help="print nothing unless something is wrong")


def _watch_seconds(text: str) -> float:
    return max(LEAST_WATCH_SECONDS, seconds(text))


def run(arguments: argparse.Namespace) -> int:
    """Show the status in the form asked for, and send alerts.

    :raises errors.QiniuError: if the survey cannot even begin, or options exclude each other.
    """
    if arguments.watch:
        for option, given in ("--notify", arguments.notify), ("--heartbeat", arguments.heartbeat):
            if given:
                raise errors.UsageError(f"{option} does not go with --watch, which only shows. Let "
                                        f"a timer use it: certbot-qiniu install-timer {option}")
        return _watch(arguments)
    urls = alerts.receivers(arguments.notify, arguments.config_dir)
    heartbeats = alerts.receivers(arguments.heartbeat, arguments.config_dir)
    alerts.check_heartbeats(heartbeats)
    with output.progress("Asking Qiniu …"):
        report = _report_in_time(arguments)
    written = _write_metrics(arguments.prometheus, report)
    if arguments.prometheus == "-":
        print(metrics.text(report), end="")
    elif arguments.json:
        print(document(report))
    elif not (arguments.quiet or arguments.prometheus) or report.level is not Level.OK:
        output.show(table(report))
    ended = max(exit_status(report.level), written, _alert(arguments, urls, report))
    # The report also has the result of the renewal before this.
    for problem in alerts.heartbeat(heartbeats) if ended == 0 else []:
        print(f"certbot-qiniu: {problem}", file=sys.stderr)
    if "Late" in {item.reason for item in report.findings} or alerts.is_held_up():
        _leave(ended)
    return ended


def _write_metrics(path: str | None, report: Report) -> int:
    """Write the metrics if a path is given; return 2 if that failed: alerts must still go out."""
    if path in (None, "-"):
        return 0
    try:
        # Another user's program reads it.
        output.write(metrics.file_at(Path(path)), metrics.text(report), "--prometheus", mode=0o644)
    except errors.UsageError as error:
        print(f"certbot-qiniu: {error}", file=sys.stderr)
        return 2
    return 0


def _report_in_time(arguments: argparse.Namespace) -> Report:
    """Return the status of everything, or an unknown one at the deadline."""
    if arguments.deadline is None:
        return _report(arguments)
    pool = ThreadPoolExecutor(1)
    found = pool.submit(_report, arguments)
    wait([found], arguments.deadline)
    pool.shutdown(wait=False)
    if found.done():
        return found.result()
    late = Finding(Level.UNKNOWN, "status", "Late",
                   f"the status was not known within {arguments.deadline:.0f} seconds")
    return Report(time.time(), arguments.warn_days, (), (), (late, *_judge_machine(arguments)),
                  renewed=_renewed(arguments.renewal))


def _leave(ended: int) -> None:
    """End at once: threads that still wait for an answer would keep this process from it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended)


def _report(arguments: argparse.Namespace) -> Report:
    begun = time.monotonic()
    facts = survey(certbot_config(arguments), scope=(
        Scope.MANAGED if arguments.managed else Scope.ALL if arguments.all_details else Scope.NEW),
        gentle=arguments.renewal is not None,  # a timer's
        announce=lambda text: None if arguments.quiet else print(text, file=sys.stderr))
    if arguments.probe:
        left = (arguments.deadline or float("inf")) - (time.monotonic() - begun) - SPARE_SECONDS
        facts = probe(facts, Lineages(arguments.config_dir), min(left, edge.SECONDS),
                      only_managed=arguments.managed)
    report = judge(facts, arguments.warn_days, only_managed=arguments.managed)
    return replace(report, renewed=_renewed(arguments.renewal), findings=(
        *report.findings, *_judge_machine(arguments, {one.name for one in facts.lineages})))


def probe(facts: Survey, lineages: Lineages, seconds: float, *,
          only_managed: bool = False) -> Survey:
    """Add to *facts* what the edge serves for every domain that speaks HTTPS and is published."""
    domains = [domain for account in facts.accounts for domain in account.domains.values()
               if (domain.protocol, domain.state) == ("https", "success")
               and (facts.lineage_of(domain.name) or not only_managed)]
    answers = edge.ask(domains, seconds)
    expected = _expected(facts, lineages, {domain.cert_id for domain in domains})
    return replace(facts, edges={domain.name: Probe(
        domain, answers[domain.name], expected.get(domain.cert_id),
        changed_at(domain, facts.records.get(domain.name, Record()), facts.now))
        for domain in domains})


def _expected(facts: Survey, lineages: Lineages, ids: Iterable[str]) -> dict[str, Expected]:
    """Find our certificates among the bound *ids*, including held and older ones."""
    newest = {one.certificate.fingerprint: one.certificate
              for one in facts.lineages if one.certificate}
    return {cert_id: expect(cert_id, digest, newest.get(digest) or lineages.find(lineage, digest))
            for cert_id in ids if cert_id in facts.uploads
            for lineage, digest in [facts.uploads[cert_id]]}


def _alert(arguments: argparse.Namespace, urls: Sequence[str], report: Report) -> int:
    """Send the alerts; return 1 if that failed."""
    if not urls:
        return 0
    problems = alerts.alert(arguments.config_dir / "qiniu", urls, report.concerns(),
                            report.checked_at, report.bygone, report.was_seen)
    for problem in problems:
        print(f"certbot-qiniu: {problem}", file=sys.stderr)
    return int(bool(problems))


def _watch(arguments: argparse.Namespace) -> int:
    """Show the status again and again; the exit status is the last one's."""
    from rich.live import Live

    out, level = output.console(), Level.UNKNOWN
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        live = (stack.enter_context(Live(console=out, auto_refresh=False))
                if out.is_terminal else None)
        while True:
            report = _report(arguments)
            level = report.level
            parts = [*table(report), (f"as of {utc(report.checked_at)}", "dim")]
            if live:
                live.update(output.rendered(parts, out.width), refresh=True)
            else:
                output.show(parts, out)
                sys.stdout.flush()
            time.sleep(arguments.watch)
    return exit_status(level)


# The machine ----------------------------------------------------------------------------------


def _judge_machine(arguments: argparse.Namespace, deployed: Iterable[str] = ()) -> list[Finding]:
    """Judge this machine, apart from Qiniu.

    :param deployed: lineages that are known to be at Qiniu.
    """
    renewals = read_renewals(arguments.config_dir, arguments.given)[0].values()
    lacking = plugins.missing(renewals, plugins.installed())
    wanted = Wanted(arguments.config_dir, usual_config_dir(), frozenset(
        renewal.lineage for renewal in renewals if renewal.is_ours).union(deployed))
    return [*_judge_renewal(arguments.renewal or "", arguments.logs_dir),
            *(Finding(Level.ATTENTION, lineage, "PluginMissing", plugins.sentence(lineage, names))
              for lineage, names in lacking.items()),
            *_judge_jobs([(job, use(job, wanted)) for job in
                          (certbot_jobs.jobs() if wanted.lineages else ())],
                         is_run=arguments.renewal is not None)]


def _judge_jobs(uses: Sequence[tuple[Job, Use]], *, is_run: bool) -> list[Finding]:
    """Judge the timers and crontabs of this machine.

    If none is known, something else may renew, such as the loop of a container; but a timer of
    ours that is off was meant to renew.

    :param is_run: whether a renewal has just ended, so that something does run it.
    """
    renews = is_run or {found for _, found in uses} & {Use.RENEWS, Use.NOT_KNOWN}
    findings = []
    for job, found in uses:
        one, text = job.scheduled, sentence(job, found)
        if found is Use.LACKS_PLUGIN:
            findings.append(Finding(Level.ATTENTION, one.where, "ForeignCertbot",
                                    f"{text}. To turn it off, run: {one.stop}"))
        elif (found is Use.IDLE and not renews and one.revive
                and INSTALLER in (job.plugins or ())):
            findings.append(Finding(Level.ATTENTION, one.where, "TimerOff",
                                    f"{text}. To switch it on, run: {one.revive}"))
    return findings


def _renewed(result: str | None) -> bool | None:
    return None if result is None else result in SUCCESS


def _judge_renewal(result: str, logs: Path) -> Iterator[Finding]:
    """Judge the result of the ``certbot renew`` before this."""
    if result not in SUCCESS:
        yield Finding(Level.ATTENTION, "renewal", "RenewalFailed",
                      f"certbot renew failed ({result}); see letsencrypt.log in {logs}")


# For humans -------------------------------------------------------------------------------------


IN_SYNC = {True: "yes", False: "no", None: "-"}


def table(report: Report) -> list[output.Part]:
    """Return the status for humans."""
    parts: list[output.Part] = []
    accounts = list(dict.fromkeys(row.account for row in report.rows))
    probed = any(row.edge for row in report.rows)
    for account in accounts:
        rows = [row for row in report.rows if row.account == account]
        parts.append(output.Table(
            ["Domain", "Serves", "Lineage", "Certificate", "Days", "State", "Changed",
             *(["Edge"] if probed else []), "In sync"],
            [(output.STYLES[row.level], _cells(row, probed)) for row in rows],
            wraps=["Domain", "Lineage", "Certificate"],
            optional=["Changed", "Certificate", "State", "Serves", "Lineage", "Edge"],
            title=account if len(accounts) > 1 else ""))
    if parts:
        parts.append(output.BLANK)
    concerns = report.concerns()
    parts += output.finding_parts(concerns)
    parts += output.finding_parts(
        Finding(row.level, row.domain, row.reason, row.text) for row in report.rows
        if row.level is Level.OK and row.edge in EDGE_WORDS)
    if not concerns:
        count = sum(row.lineage is not None for row in report.rows)
        parts.append((f"All is well: {count} managed domain{'s' * (count != 1)}.", "green"))
    return parts


def _cells(row: Row, probed: bool) -> list[str]:
    ours = parse_certificate_name(row.cert_name or "")
    certificate = ours[1] if ours else row.cert_name or row.cert_id or "-"
    protocol = row.protocol if row.service in ("", "cdn") else f"{row.protocol} ({row.service})"
    return [
        row.domain, protocol or "-", row.lineage or "-", certificate,
        output.number(row.days_left), row.state, row.modified[:10] or "-",
        *([row.edge or "-"] if probed else []),
        row.reason.lower() if row.reason in ("Publishing", "Busy") else IN_SYNC[row.in_sync]]


# For programs -----------------------------------------------------------------------------------


def document(report: Report) -> str:
    """Return the status as JSON."""
    return output.document(report.level, report.checked_at, {
        "warn_days": report.warn_days,
        "domains": [output.with_time(row) for row in report.rows],
        "lineages": [_lineage_entry(lineage, report.checked_at) for lineage in report.lineages],
        "findings": report.findings})


def _lineage_entry(lineage: LineageFacts, now: float) -> dict[str, Any]:
    certificate = lineage.certificate
    end = certificate.not_after.timestamp() if certificate else None
    return {"name": lineage.name, "account": lineage.account,
            "fingerprint": certificate.fingerprint if certificate else None,
            "not_after": utc(end) if end else None,
            "days_left": days_left(end, now) if end else None,
            "renews": lineage.renews, "held": lineage.held, "hooks": lineage.hooks}


COMMAND = Command("status", "every domain: what it serves, and whether that is right",
                  add_arguments, run)
