"""``certbot-qiniu renew``: the command for a timer, cron or a container.

It runs ``certbot renew``, by the certbot of this environment, for all lineages of the machine but
those whose plugins it lacks: certbot would drop these plugins from their renewal confs. After that,
even if it failed, it runs ``certbot-qiniu status`` with the edge, alerts and heartbeats. Both have
a time limit.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from types import FrameType
from typing import NamedTuple

from certbot_qiniu import errors
from certbot_qiniu.command.arguments import (
    A_FILE,
    FOLDERS,
    Command,
    add_cert_name,
    add_deadline,
    add_heartbeat,
    add_no_probe,
    add_notify,
    completed_by,
    folder_options,
)
from certbot_qiniu.command.jobs import plugins
from certbot_qiniu.command.survey import metrics
from certbot_qiniu.environment import program
from certbot_qiniu.lineages import Lineages, read_renewals

CERTBOT_SECONDS = 6 * 3600
"""The most that all renewals together may take: each waits until its DNS records are visible."""

STATUS_SECONDS = 900
ALERT_SECONDS = 120
"""The most that alerts and heartbeats may take after that."""

STOP_SECONDS = 90
"""The most that a program may take to end after SIGTERM; systemd's default."""

PATIENCE_SECONDS = 8
"""For so long SIGTERM is kept from what runs: that would die between a certificate and its hooks,
which certbot runs once only. Docker and podman kill after 10 seconds, and what takes longer is
certbot waiting for DNS: told to end, it removes its records."""

TICK_SECONDS = 0.5
"""The time after which it is told at the latest."""

OURS = ("--config", "-c", "--cert-name", *(f"--{kind}-dir" for kind in FOLDERS))
"""Options that both halves must agree on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    add_cert_name(parser)
    completed_by(A_FILE, parser.add_argument(
        "--prometheus", metavar="PATH",
        help="metrics for Prometheus' textfile collector, into a file, or into "
             f"{metrics.FILE} in a folder"))
    add_notify(parser)
    add_heartbeat(parser)
    add_deadline(parser, STATUS_SECONDS)
    add_no_probe(parser)
    parser.add_argument("-q", "--quiet", action="store_true",
                        help="print nothing unless something is wrong")
    parser.add_argument("certbot_arguments", nargs="*", metavar="-- ARGUMENT",
                        help="for certbot renew, such as --deploy-hook; after --dry-run no alert "
                             "or heartbeat is sent")


def run(arguments: argparse.Namespace) -> int:
    """Renew what is due, and report.

    :raises errors.UsageError: if certbot and we would see different options.
    """
    check_arguments(arguments)
    programs = Programs()
    with programs.heeding_signals():
        return cycle(arguments, programs).exit_status


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse options that only certbot would see.

    :raises errors.UsageError: if there is one.
    """
    for word in arguments.certbot_arguments:
        if (name := word.partition("=")[0]) in OURS:
            raise errors.UsageError(f"Name {name} before the --, where certbot-qiniu sees it, too")


class Cycle(NamedTuple):
    """The result of a cycle.

    :ivar failed: whether a lineage could not be renewed.
    :ivar exit_status: 1 if a lineage failed or the status needs attention.
    """

    failed: bool
    exit_status: int


def cycle(arguments: argparse.Namespace, programs: Programs) -> Cycle:
    """Renew what is due and report, once."""
    missing = _missing(arguments)
    result, status = _renew(arguments, programs, missing), ""
    if not programs.stopped and "--dry-run" not in arguments.certbot_arguments:
        status = _tell(arguments, programs, result)
    if status != "1":  # which has named them
        for lineage, names in missing.items():
            print(f"certbot-qiniu: {plugins.sentence(lineage, names)}", file=sys.stderr)
    failed = bool(result or missing)
    return Cycle(failed, 1 if failed or status == "1" else 2 if status else 0)


def _tell(arguments: argparse.Namespace, programs: Programs, result: str) -> str:
    """Run our own command to report the status and the renewal's result; return how it ended."""
    return programs.run([
        program("certbot-qiniu"), "status", "--managed",
        *["--probe"] * (not arguments.no_probe), *["--quiet"] * arguments.quiet,
        *folder_options(arguments), f"--deadline={arguments.deadline}",
        *[f"--prometheus={arguments.prometheus}"] * bool(arguments.prometheus),
        *(f"--notify={value}" for value in arguments.notify),
        *(f"--heartbeat={value}" for value in arguments.heartbeat),
        f"--renewal={result}"], arguments.deadline + ALERT_SECONDS)


def _missing(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the lineages that must not be renewed, and the plugins that they need."""
    renewals = read_renewals(arguments.config_dir, arguments.given)[0].values()
    return plugins.missing([renewal for renewal in renewals
                            if arguments.cert_name in ("", renewal.lineage)], plugins.installed())


def _renew(arguments: argparse.Namespace, programs: Programs, missing: Collection[str]) -> str:
    """Run certbot to renew all but *missing*; return how that ended, "" if it ended well."""
    command = [program("certbot"), "renew", "--no-random-sleep-on-renew",
               *["--quiet"] * arguments.quiet, *folder_options(arguments),
               *arguments.certbot_arguments]
    names = [arguments.cert_name] if arguments.cert_name else [""]
    if missing:
        names = [name for name in Lineages(arguments.config_dir).names()
                 if arguments.cert_name in ("", name) and name not in missing]
    end, results = time.monotonic() + CERTBOT_SECONDS, []
    for name in names:
        if not programs.stopped:
            results.append(programs.run([*command, *[f"--cert-name={name}"] * bool(name)],
                                        max(0, end - time.monotonic())))
    return next(filter(None, results), "")


class Programs:
    """Runs programs one after the other, until a signal stops it.

    :ivar stopped: whether a signal came.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._tell_at = float("inf")  # when SIGTERM is passed on

    def run(self, command: Sequence[str], seconds: float) -> str:
        """Run a program for at most *seconds*; return how it ended, "" if it ended well."""
        try:
            child = subprocess.Popen(command)  # noqa: S603 (ours, and certbot)
        except OSError as error:
            print(f"certbot-qiniu: Could not run {command[0]}: {error.strerror}", file=sys.stderr)
            return "it could not be run"
        if self.stopped:  # the signal came before there was a child
            child.terminate()
        status, late = self._wait(child, seconds), False
        if status is None:
            child.terminate()
            status, late = self._wait(child, STOP_SECONDS), True
        if status is None:
            child.kill()
            status = child.wait()
        if late:
            return f"it took more than {seconds:.0f} seconds"
        return f"signal {-status}" if status < 0 else str(status or "")

    def _wait(self, child: subprocess.Popen[bytes], seconds: float) -> int | None:
        """Return the exit status of a program, None while it runs; tell it to end when it must."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(min(max(left, 0), TICK_SECONDS))
            if left <= 0:
                return None
            if time.monotonic() >= self._tell_at:
                self._tell_at = float("inf")
                child.terminate()

    @contextlib.contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Begin nothing after a signal, and pass SIGTERM on to what runs for too long after it.

        What a terminal sends it sends to all by itself.
        """
        def stop(number: int, _frame: FrameType | None) -> None:
            self.stopped = True
            if number == signal.SIGTERM:
                self._tell_at = min(self._tell_at, time.monotonic() + PATIENCE_SECONDS)

        # A signal that is ignored, as by nohup, stays so, here and in the program that is run.
        numbers = [number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
                   if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


COMMAND = Command("renew", "what a timer runs: certbot renew, then status, alerts, heartbeat",
                  add_arguments, run)
