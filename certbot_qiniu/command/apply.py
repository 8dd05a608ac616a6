"""``certbot-qiniu apply``: do at once what the next ``certbot renew`` would do."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Collection, Iterable
from types import SimpleNamespace
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command.arguments import (
    Command,
    add_cert_name,
    certbot_config,
    lock_certbot,
    our_renewals,
)
from certbot_qiniu.deployment.deployer import open_deployer
from certbot_qiniu.failures import Failures
from certbot_qiniu.installer import Installer
from certbot_qiniu.lineages import INSTALLER, Renewal
from certbot_qiniu.model import canonical_domain

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    add_cert_name(parser)
    parser.add_argument("--take-back", action="append", default=[], metavar="DOMAIN",
                        help="put ours over the certificate that somebody has put there, whatever "
                             "its end (repeatable)")


def run(arguments: argparse.Namespace) -> int:
    """Apply, and show the result.

    :raises errors.UsageError: if there is nothing to apply, or certbot is in the way.
    """
    chosen = our_renewals(arguments, arguments.cert_name)
    _check_managed(arguments, {renewal.lineage for renewal in chosen})
    problems = apply(arguments, chosen)
    for problem in problems:
        print(f"certbot-qiniu: {problem}", file=sys.stderr)
    if not problems:
        names = ", ".join(renewal.lineage for renewal in chosen)
        print(f"{names}: done. certbot-qiniu status --watch follows what Qiniu still publishes.")
    return int(bool(problems))


def apply(arguments: argparse.Namespace, renewals: Iterable[Renewal]) -> list[str]:
    """Do for each lineage what every ``certbot renew`` does for one that is not due.

    :param arguments: name certbot's folders.
    :returns: what went wrong.
    :raises errors.UsageError: if certbot is running, or its folders cannot be used.
    """
    lock_certbot(arguments)
    problems: dict[str, tuple[Failures, list[str]]] = {}
    for renewal in renewals:
        failures = Failures()
        failures.attempt(_update, arguments, renewal)
        for error in failures.errors:
            reason = error.reason if isinstance(error, errors.DeployError) else str(failures)
            problems.setdefault(reason, (failures, []))[1].append(renewal.lineage)
    return [failures.with_outlook(f"{', '.join(names)}: {reason.rstrip('.')}")
            for reason, (failures, names) in problems.items()]


def _update(arguments: argparse.Namespace, renewal: Renewal) -> None:
    lineage: Any = SimpleNamespace(lineagename=renewal.lineage)
    config = certbot_config(arguments, renewal, qiniu_apply=True,
                            qiniu_take_back=_taken_back(arguments))
    Installer(config, INSTALLER).generic_updates(lineage)


def _taken_back(arguments: argparse.Namespace) -> list[str]:
    return [canonical_domain(name) for name in arguments.take_back]


def _check_managed(arguments: argparse.Namespace, lineages: Collection[str]) -> None:
    """Refuse to take back domains that are not ours.

    :raises errors.UsageError: if a domain is not managed by any of *lineages*.
    """
    if not arguments.take_back:
        return
    state = open_deployer(certbot_config(arguments), logger.info, read_only=True).store.state
    ours = {name for name, entry in state.items() if entry.lineage in lineages}
    if others := [name for name in _taken_back(arguments) if name not in ours]:
        raise errors.UsageError(
            f"certbot does not manage {', '.join(others)} at Qiniu, so there is nothing to take "
            f"back; it does manage: {', '.join(sorted(ours)) or 'none'}")


COMMAND = Command("apply", "do now what the next certbot renew would do; issues nothing",
                  add_arguments, run, logging.INFO)
