"""``certbot-qiniu status``: show what every domain serves, and whether that is right.

The judging is pure, from a :class:`Survey` to rows and findings.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command import alerts, certbot_jobs, metrics, output, plugins
from certbot_qiniu.command.arguments import (
    A_FILE,
    Command,
    add_deadline,
    add_heartbeat,
    add_json,
    add_notify,
    certbot_config,
    completed_by,
    usual_config_dir,
)
from certbot_qiniu.command.certbot_jobs import Job, Use, Wanted, sentence, use
from certbot_qiniu.command.edge import EDGE_WORDS, Expected, Probe, changed_at, expect
from certbot_qiniu.command.health import (
    Finding,
    Level,
    days_left,
    exit_status,
    utc,
)
from certbot_qiniu.command.report import Report, Row
from certbot_qiniu.command.survey import AccountFacts, LineageFacts, Scope, Survey, survey
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.planning.decision import Action, Verb
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.lineages import INSTALLER, Lineages, read_renewals
from certbot_qiniu.model import DEAD_STATES, Domain, parse_certificate_name
from certbot_qiniu.webserver import edge

WARN_DAYS = 14
WATCH_SECONDS = 30
LEAST_WATCH_SECONDS = 5
"""Qiniu counts calls."""

PENDING_SECONDS = 3600
"""Qiniu usually publishes within 8 to 15 minutes, overseas within an hour; longer is too long."""

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
    return max(LEAST_WATCH_SECONDS, float(text))


def run(arguments: argparse.Namespace) -> int:
    """Show the status in the form asked for, and send alerts.

    :raises errors.QiniuError: if the survey cannot even begin.
    """
    if arguments.watch:
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
    if "Late" in {item.reason for item in report.findings}:
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
    level, reason, text = _verdict(Level.UNKNOWN, "status", "Late",
                                   seconds=f"{arguments.deadline:.0f}")
    late = Finding(level, "status", reason, text)
    return Report(time.time(), arguments.warn_days, (), (), (late, *_judge_machine(arguments)),
                  renewed=_renewed(arguments.renewal))


def _leave(ended: int) -> None:
    """End at once, without waiting for threads that still wait for Qiniu."""
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
    report = status(facts, arguments.warn_days, only_managed=arguments.managed)
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
        changed_at(domain, facts.records.get(domain.name, Record())))
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
                            report.checked_at, report.bygone, report.unseen())
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


# Rows -------------------------------------------------------------------------------------------


def status(facts: Survey, warn_days: int, *, only_managed: bool = False) -> Report:
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
    return Report(facts.now, warn_days, tuple(rows), facts.lineages, tuple(findings), facts.bygone)


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


# Findings ---------------------------------------------------------------------------------------


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
        "HookFailed": "--qiniu-hook for certbot's newest certificate {name} has failed: {hooks}. "
                      "To run it again, run: {remedy}",
        "HookNotRun": "--qiniu-hook was not yet run for certbot's newest certificate {name}: "
                      "{hooks}. To run it now, run: {remedy}",
        "Held": "a rollback keeps certbot's newest certificate {name} from being deployed, until "
                "certbot has a newer one{until}. To deploy it now, run: {remedy}",
        "NotRenewed": "the renewal conf of {name} does not say installer = qiniu: renewals will "
                      "not reach Qiniu. Run: {remedy}",
        "NotSeen": "{server} was not yet seen to serve certbot's newest certificate {name}. To "
                   "reload it and see why, run: {remedy}",
        "NothingManaged": "renewals of {name} deploy to Qiniu, but it serves no domain there. To "
                          "see why, run: {remedy}",
    },
    "status": {
        "Late": "the status was not known within {seconds} seconds",
    },
    "renewal": {
        "RenewalFailed": "certbot renew failed ({result}); see letsencrypt.log in {logs}",
    },
}
"""The sentences about each subject, by the word for its reason."""

Verdict = tuple[Level, str, str]
"""A level, the word for its reason, and a sentence."""

_OUT_OF_SYNC = {Verb.BIND, Verb.UNBIND, Verb.HSTS, Verb.FAIL, Verb.LEAVE}


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
    def judge(reason: str, remedy: str, **facts: object) -> Verdict:
        return _verdict(Level.ATTENTION, "lineage", reason, name=lineage.name, remedy=remedy,
                        server=lineage.reload, until=wording.held_until(lineage.kept_on), **facts)

    verdicts, left = [], None
    of_it = f"--cert-name {lineage.name}"
    if not lineage.renews:
        verdicts.append(judge("NotRenewed", lineage.reconfigure))
    elif lineage.reload:
        verdicts.append(judge("NotSeen", f"certbot-qiniu apply {of_it}"))
    pending = [hook for hook in lineage.hooks if lineage.renews and not hook.is_done]
    for reason, hooks in (
            ("HookFailed", [f"{hook.path} ({hook.failure})" for hook in pending if hook.failure]),
            ("HookNotRun", [hook.path for hook in pending if not hook.failure])):
        if hooks:
            verdicts.append(judge(reason, f"certbot-qiniu apply {of_it}", hooks=", ".join(hooks)))
    if lineage.held:
        verdicts.append(judge("Held", f"certbot install {of_it} -i qiniu --qiniu-credentials "
                                      f"{lineage.account}"))
    elif lineage.renews and is_read and not lineage.actions:
        verdicts.append(judge("NothingManaged", f"certbot-qiniu plan {of_it}"))
    if lineage.certificate:
        left = days_left(lineage.certificate.not_after.timestamp(), now)
        if left < warn_days:
            verdicts.append(_judge_end("lineage", lineage.name, left))
    return [Finding(level, lineage.name, reason, text, left if reason == "Expiring" else None)
            for level, reason, text in verdicts]


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
        if found is Use.LACKS_PLUGIN:
            findings.append((job, "ForeignCertbot",
                             f"{sentence(job, found)}. To turn it off, run: {job.stop}"))
        elif found is Use.IDLE and not renews and job.revive and INSTALLER in (job.plugins or ()):
            findings.append((job, "TimerOff",
                             f"{sentence(job, found)}. To switch it on, run: {job.revive}"))
    return [Finding(Level.ATTENTION, job.where, reason, text) for job, reason, text in findings]


def _renewed(result: str | None) -> bool | None:
    return None if result is None else result in SUCCESS


def _judge_renewal(result: str, logs: Path) -> list[Finding]:
    """Judge the result of the ``certbot renew`` before this."""
    if result in SUCCESS:
        return []
    level, reason, text = _verdict(Level.ATTENTION, "renewal", "RenewalFailed", result=result,
                                   logs=logs)
    return [Finding(level, "renewal", reason, text)]


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
