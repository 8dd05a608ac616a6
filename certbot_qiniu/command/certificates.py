"""``certbot-qiniu certificates``: ours at Qiniu, their users, and which can be deleted."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command import output
from certbot_qiniu.command.arguments import Command, add_json, certbot_config, our_renewals
from certbot_qiniu.command.survey.account_survey import Scope
from certbot_qiniu.command.survey.facts import Survey
from certbot_qiniu.command.survey.health import days_left, exit_status, worst
from certbot_qiniu.command.survey.survey import survey
from certbot_qiniu.deployment.certificates import (
    clean,
    expired_strays,
    is_expired_stray,
    remember_copies,
)
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.deployer import open_deployer
from certbot_qiniu.lineages import Renewal
from certbot_qiniu.model import RemoteCertificate
from certbot_qiniu.text import printable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """One certificate at Qiniu.

    :ivar lineage: None if it is not ours.
    :ivar verdict: ``in use``, ``being published``, ``kept`` (for a rollback, or as the newest),
        ``superseded`` (the next clean-up deletes it), ``expired`` (not provably ours; its name is
        of our kind, and ``--prune`` offers it), or ``foreign``.
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
    parser.add_argument("--all", action="store_true", help="everybody's certificates, not only "
                                                           "ours")
    parser.add_argument("--prune", action="store_true",
                        help="delete ours that are superseded: no domain uses them, and no "
                             "rollback that is kept needs them; and offer, each by itself and only "
                             "on a terminal, what has expired, is unused and has a name of our "
                             "kind but is not provably ours")
    parser.add_argument("--expired", action="append", default=[], metavar="ID",
                        help="with --prune: delete this one of those that are offered, and ask "
                             "about none (repeatable)")


def run(arguments: argparse.Namespace) -> int:
    """Prune if asked, and show the certificates.

    :raises errors.QiniuError: if the survey cannot even begin.
    """
    config = certbot_config(arguments)
    if arguments.expired and not arguments.prune:
        raise errors.UsageError("--expired goes with --prune")
    if arguments.prune:
        deleted, contexts = prune(config, our_renewals(arguments), logger.info)
        print(f"{deleted} superseded certificate{'s' * (deleted != 1)} deleted at Qiniu",
              file=sys.stderr)
        delete_expired(contexts, arguments.expired)
    with output.progress("Asking Qiniu: a call for each 100 certificates of the account …"):
        facts = survey(config, scope=Scope.CERTIFICATES,
                       announce=lambda text: print(text, file=sys.stderr))
    rows, failed = certificates(facts, everybodys=arguments.all), facts.failures()
    level = worst(item.level for item in failed)
    if arguments.json:
        print(output.document(level, facts.now, {
            "certificates": [output.with_time(row) for row in rows], "findings": failed}))
    else:
        output.show([*table(rows), *elsewhere(facts), *output.finding_parts(failed)])
    return exit_status(level)


def prune(config: Any, renewals: Iterable[Renewal], say: Callable[[str], None],
          ) -> tuple[int, list[Context]]:
    """Delete our superseded certificates at Qiniu, as the clean-up of a renewal would.

    :returns: how many were deleted; and the accounts, each once, whose certificates are known.
    :raises errors.QiniuError: if the files or an account cannot be used.
    """
    deployer = open_deployer(config, say)
    deleted, contexts = 0, dict[str, Context]()
    for renewal in renewals:
        context = deployer.context(deployer.credentials_of(renewal.lineage, renewal.settings))
        remember_copies(context, renewal.lineage)
        deleted += clean(context, [renewal.lineage], renewal.settings.keep_certificates)
        contexts[context.account.client.account] = context
    return deleted, list(contexts.values())


def delete_expired(contexts: Iterable[Context], named: Sequence[str]) -> None:
    """Delete expired certificates, not provably ours, that the user names or confirms.

    :param named: ids; if there are any, nothing is asked.
    :raises errors.QiniuError: if one cannot be deleted, or is not offered.
    """
    offered = {item.cert_id: (context, item)
               for context in contexts for item in expired_strays(context)}
    if others := [cert_id for cert_id in named if cert_id not in offered]:
        raise errors.UsageError(
            f"Not deleted: {', '.join(others)}. --expired takes certificates that have "
            "expired, that nothing uses, and that have a name of our kind; certbot-qiniu "
            "certificates --all shows what is there")
    for cert_id, (context, item) in offered.items():
        if cert_id in named or (not named and sys.stdin.isatty() and _confirmed(item)):
            done = context.account.delete(cert_id)
            print(f"{printable(item.name)} ({cert_id}): "
                  f"{'deleted at Qiniu' if done else 'Qiniu says that it is in use; it stays'}",
                  file=sys.stderr)


def _confirmed(item: RemoteCertificate) -> bool:
    print(f"{printable(item.name)} ({item.cert_id}, for {printable(', '.join(item.names))}) has "
          "expired, nothing uses it, and it is not provably ours. Delete it at Qiniu? [y/N] ",
          end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def certificates(facts: Survey, *, everybodys: bool = False) -> list[Remote]:
    """Return our certificates at Qiniu, or everybody's, each with its verdict."""
    superseded = {item.cert_id for lineage in facts.lineages for item in facts.superseded(lineage)}
    superseded |= {item.cert_id for item in facts.superseded_left_behind()}
    found = []
    published = facts.being_published()
    for account in facts.accounts:
        for item in account.certificates.values():
            lineage = facts.uploads.get(item.cert_id, (None, ""))[0]
            users = account.users(item.cert_id)
            is_offered = (not users and not facts.unread and item.cert_id not in published
                          and is_expired_stray(item, facts.uploads, facts.now))
            if lineage is None and not (everybodys or is_offered):
                continue
            verdict = ("expired" if is_offered else "foreign" if lineage is None
                       else "in use" if users
                       else "being published" if item.cert_id in published
                       else "superseded" if item.cert_id in superseded else "kept")
            found.append(Remote(
                account.name, item.cert_id, item.name, lineage, item.not_after or None,
                days_left(item.not_after, facts.now) if item.not_after else None, users, verdict))
    return sorted(found, key=lambda item: (item.account, item.lineage or "~", item.not_after or 0))


def elsewhere(facts: Survey) -> list[output.Part]:
    """List our certificates in accounts for which no credentials are left here."""
    ids = facts.elsewhere
    return [(f"In a former account, that no lineage has credentials for any more, there "
             f"{'are certificates' if len(ids) > 1 else 'is a certificate'} of ours: "
             f"{', '.join(ids)}. Delete what nothing uses in its console.", "")] if ids else []


WORDS = {"kept": "kept: the newest, or for a rollback",
         "expired": "not provably ours; expired: --prune offers it"}


def table(rows: Sequence[Remote]) -> list[output.Part]:
    """Return certificates at Qiniu for humans."""
    if not rows:
        return [("There is no certificate of ours at Qiniu.", "")]
    styles = {"in use": "green", "superseded": "yellow"}
    return [output.Table(["Certificate", "Id", "Days", "Used by", "Verdict"], [
        (styles.get(row.verdict, ""), [row.name, row.cert_id, output.number(row.days_left),
                                       output.counted(row.used_by) or "-",
                                       WORDS.get(row.verdict, row.verdict)])
        for row in rows], wraps=["Certificate", "Id", "Used by", "Verdict"], optional=["Id"])]


COMMAND = Command("certificates", "our certificates at Qiniu and who uses them", add_arguments,
                  run)
