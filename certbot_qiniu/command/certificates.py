"""``certbot-qiniu certificates``: ours at Qiniu, who uses them, and which can go."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from certbot_qiniu.command import output
from certbot_qiniu.command.arguments import Command, add_json, certbot_config, our_renewals
from certbot_qiniu.command.health import days_left, exit_status, worst
from certbot_qiniu.command.survey import Survey, survey
from certbot_qiniu.deployment.certificates import clean, remember_copies
from certbot_qiniu.deployment.deployer import open_deployer
from certbot_qiniu.lineages import Renewal

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """One certificate at Qiniu.

    :ivar lineage: None where it is not ours.
    :ivar verdict: ``in use``, ``being published``, ``kept`` (for a rollback, or as the newest),
        ``superseded`` (the next clean-up deletes it), or ``foreign``.
    """

    account: str
    cert_id: str
    name: str
    lineage: str | None
    not_after: int | None
    days_left: int | None
    used_by: tuple[str, ...]
    verdict: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    add_json(parser)
    parser.add_argument("--all", action="store_true", help="everybody's certificates, not ours "
                                                           "alone")
    parser.add_argument("--prune", action="store_true",
                        help="delete ours that are superseded: no domain uses them, and no "
                             "rollback that is kept needs them")


def run(arguments: argparse.Namespace) -> int:
    """Prune if asked, and show what is there.

    :raises errors.QiniuError: when not even a beginning can be made.
    """
    config = certbot_config(arguments)
    if arguments.prune:
        deleted = prune(config, our_renewals(arguments), logger.info)
        print(f"{deleted} superseded certificate{'s' * (deleted != 1)} deleted at Qiniu",
              file=sys.stderr)
    with output.progress("Asking Qiniu …"):
        facts = survey(config)
    rows, failed = certificates(facts, everybodys=arguments.all), facts.failures()
    level = worst(item.level for item in failed)
    if arguments.json:
        print(output.document(level, facts.now, {
            "certificates": [output.with_time(row) for row in rows], "findings": failed}))
    else:
        output.show([*table(rows), *output.finding_parts(failed)])
    return exit_status(level)


def prune(config: Any, renewals: Iterable[Renewal], say: Callable[[str], None]) -> int:
    """Delete our superseded certificates at Qiniu, as the clean-up of a renewal would.

    :returns: how many were deleted.
    :raises errors.QiniuError: when the files or an account cannot be used.
    """
    deployer = open_deployer(config, say)
    deleted = 0
    for renewal in renewals:
        context = deployer.context(deployer.credentials_of(renewal.lineage, renewal.settings))
        remember_copies(context, renewal.lineage)
        deleted += clean(context, [renewal.lineage], renewal.settings.keep_certificates)
    return deleted


def certificates(facts: Survey, *, everybodys: bool = False) -> list[Remote]:
    """Our certificates at Qiniu and what becomes of them; everybody's if asked."""
    superseded = {item.cert_id for lineage in facts.lineages for item in facts.superseded(lineage)}
    found = []
    published = facts.being_published()
    for account in facts.accounts:
        for item in account.certificates.values():
            lineage = facts.uploads.get(item.cert_id, (None, ""))[0]
            if lineage is None and not everybodys:
                continue
            users = account.users(item.cert_id)
            verdict = ("foreign" if lineage is None else "in use" if users
                       else "being published" if item.cert_id in published
                       else "superseded" if item.cert_id in superseded else "kept")
            found.append(Remote(
                account.name, item.cert_id, item.name, lineage, item.not_after or None,
                days_left(item.not_after, facts.now) if item.not_after else None, users, verdict))
    return sorted(found, key=lambda item: (item.account, item.lineage or "~", item.not_after or 0))


def table(rows: Sequence[Remote]) -> list[output.Part]:
    """Certificates at Qiniu for humans."""
    if not rows:
        return [("There is no certificate of ours at Qiniu.", "")]
    styles = {"in use": "green", "superseded": "yellow"}
    return [output.Table(["Certificate", "Id", "Days", "Used by", "Verdict"], [
        (styles.get(row.verdict, ""), [row.name, row.cert_id, output.number(row.days_left),
                                       ", ".join(row.used_by) or "-", row.verdict])
        for row in rows], ["Certificate", "Used by"])]


COMMAND = Command("certificates", "our certificates at Qiniu and who uses them", add_arguments,
                  run)
