"""``certbot-qiniu loop``: renew in a container, which has neither cron nor systemd.

Every twelve hours it does what ``certbot-qiniu renew`` does. The result of the last renewal is in
``<config_dir>/qiniu/loop.json``, which ``--health`` reads for the container's ``HEALTHCHECK``.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

from certbot import errors as certbot_errors

from certbot_qiniu import errors
from certbot_qiniu.command import containers, loop_health, renew
from certbot_qiniu.command.arguments import FOLDERS, Command
from certbot_qiniu.command.loop_health import Health
from certbot_qiniu.command.renew import Cycle, Programs
from certbot_qiniu.command.survey.health import utc

EVERY_SECONDS, JITTER_SECONDS = 43_200, 3_600
TICK_SECONDS = 1
"""The longest time that a signal takes to end the pause between two renewals."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("--health", action="store_true",
                        help="report the health of this configuration's loop instead: exit status "
                             "0, or 1 when renewals have failed, or none has ended, for a day")
    renew.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Renew until a signal ends it.

    :raises errors.QiniuError: if it cannot begin, or its health is unknown.
    """
    path = loop_health.path(arguments.config_dir)
    if arguments.health:
        return _tell(path)
    renew.check_arguments(arguments)
    os.environ["TERM"] = "dumb"  # a container's log is no terminal, even if it has one
    for _, text in containers.lost_with_it(
            {kind: getattr(arguments, f"{kind}_dir") for kind in FOLDERS}):
        print(f"certbot-qiniu: {text}", file=sys.stderr)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    health = replace(_before(path), started=time.time())
    _write(path, health)
    programs = Programs()
    with programs.heeding_signals():
        while not programs.stopped:
            cycle = _cycle(arguments, programs)
            if programs.stopped:
                break
            health = health.after(cycle.exit_status, time.time(), failed=cycle.failed)
            _write(path, health)
            pause = EVERY_SECONDS + random.uniform(0, JITTER_SECONDS)  # noqa: S311
            if not arguments.quiet:
                print(f"certbot-qiniu: next renewal at {utc(time.time() + pause)}", flush=True)
            _wait(programs, pause)
    return 0


def _before(path: Path) -> Health:
    """Read its last health; a file that cannot be read is no reason not to renew."""
    try:
        return loop_health.read(path) or Health(0)
    except errors.StateError as error:
        print(f"certbot-qiniu: {error}", file=sys.stderr)
        return Health(0)


def _cycle(arguments: argparse.Namespace, programs: Programs) -> Cycle:
    """Renew and report once; a renewal that cannot even begin has failed, too."""
    try:
        return renew.cycle(arguments, programs)
    except (certbot_errors.Error, OSError) as error:
        print(f"certbot-qiniu: {error}", file=sys.stderr, flush=True)
        return Cycle(failed=True, exit_status=2)


def _wait(programs: Programs, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not programs.stopped and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, TICK_SECONDS))


def _tell(path: Path) -> int:
    health = loop_health.read(path)
    complaint = health.complaint(time.time()) if health else "no loop has been started"
    if health and not complaint:
        print(f"The last renewal ended at {utc(health.ended)}, with exit status "
              f"{health.exit_status}." if health.ended else "The first renewal has not ended yet.")
        return 0
    print(f"certbot-qiniu: {complaint}", file=sys.stderr)
    return 1


def _write(path: Path, health: Health) -> None:
    try:
        loop_health.write(path, health)
    except errors.StateError as error:  # no reason not to renew
        print(f"certbot-qiniu: {error}", file=sys.stderr, flush=True)


COMMAND = Command("loop", "what a container runs: certbot-qiniu renew every 12 hours",
                  add_arguments, run)
