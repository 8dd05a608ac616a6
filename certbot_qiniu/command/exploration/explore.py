"""``certbot-qiniu doctor --explore``: ask Qiniu, with one account, what its documents leave open.

The report holds no text of Qiniu's, no name, no id and no key, so that it can be pasted into an
issue.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_qiniu import errors
from certbot_qiniu.command import output
from certbot_qiniu.command.arguments import A_FILE, certbot_config, completed_by, our_renewals
from certbot_qiniu.command.exploration.explorer import MOST_CALLS, Explorer, StrangeError
from certbot_qiniu.command.exploration.questions import Finding, Verdict, explore
from certbot_qiniu.command.survey.health import Level, exit_status, worst
from certbot_qiniu.deployment.deployer import open_deployer
from certbot_qiniu.qiniu.account import Accounts

if TYPE_CHECKING:
    import argparse
    import logging

LEVELS = {Verdict.STRANGE: Level.ATTENTION, Verdict.SILENT: Level.UNKNOWN}


def add_arguments(parser: argparse.ArgumentParser, group: argparse._ActionsContainer) -> None:
    """Add ``--explore`` to *group*, and the arguments that go with it."""
    group.add_argument("--explore", action="store_true",
                       help="ask Qiniu, changing nothing, what its documents leave open, and print "
                            "a report without names or secrets for an issue; see docs/unknowns.md")
    completed_by(A_FILE, parser.add_argument(
        "--credentials", metavar="PATH", help="with --explore: of this account"))
    parser.add_argument("--cert-name", default="", metavar="NAME",
                        help="with --explore: of the account of this certificate")


def run(arguments: argparse.Namespace, logger: logging.Logger) -> int:
    """Ask, and print the report.

    :raises errors.QiniuError: if it is unknown which account to ask, or Qiniu refuses the keys.
    """
    config = certbot_config(arguments)
    credentials = arguments.credentials
    if not credentials:
        deployer = open_deployer(config, logger.info, read_only=True)
        paths = {deployer.credentials_of(renewal.lineage, renewal.settings)
                 for renewal in our_renewals(arguments, arguments.cert_name)}
        if len(paths) > 1:
            raise errors.UsageError("There are several accounts: name a certificate of one with "
                                    "--cert-name, or its file with --credentials")
        [credentials] = paths
    client = Accounts(Path(config.config_dir)).get(credentials).client
    print(f"Asking Qiniu with GET only, at most {MOST_CALLS} times; nothing is changed.",
          file=sys.stderr)
    try:
        here = Explorer(client)
    except StrangeError as strange:
        raise errors.UsageError(f"Nothing can be explored: Qiniu's lists are {strange}") from None
    findings = list(explore(here))
    output.show(report(here, findings))
    return exit_status(worst(LEVELS.get(item.verdict, Level.OK) for item in findings))


def report(here: Explorer, findings: Sequence[Finding]) -> list[output.Part]:
    """Return the report, in the order of docs/unknowns.md."""
    styles = {verdict: output.STYLES[LEVELS.get(verdict, Level.OK)] for verdict in Verdict}
    domains = list(itertools.chain.from_iterable(here.domains.pages))
    https = sum(entry.get("protocol") == "https" for entry in domains)
    rows = [(styles[item.verdict], [str(item.row or "-"), item.verdict.value, item.text])
            for item in sorted(findings, key=lambda item: item.row or 99)]
    return [
        (f"certbot-qiniu {importlib.metadata.version('certbot-qiniu')} asked Qiniu {here.calls} "
         "times and changed nothing.", ""),
        ("Rows, and what is assumed, are those of docs/unknowns.md.", ""),
        ("d1 and d2 stand for domains, c1 for a certificate, b1 for a bucket.", ""),
        (f"The account: {len(domains)} CDN domains, {https} of them on HTTPS, and "
         f"{sum(map(len, here.certificates.pages))} certificates"
         + (", by the key of a sub-user." if here.client.is_sub_user else "."), ""),
        output.BLANK,
        output.Table(["Row", "Verdict", "Answer"], rows, ["Answer"], styled=1),
        output.BLANK, *((line, "") for line in _advice({item.verdict for item in findings}))]


def _advice(found: set[Verdict]) -> Iterator[str]:
    if Verdict.STRANGE in found:
        yield "Not foreseen: please report this before you use certbot-qiniu with this account."
    if Verdict.OTHER in found:
        yield ("Otherwise than assumed, and handled: the tests live through it, too. Please report "
               "it, so that the defaults can follow.")
    if Verdict.SILENT in found:
        yield "Not everything was answered: try again later."
    if not found & {Verdict.STRANGE, Verdict.OTHER, Verdict.SILENT}:
        yield "All that could be asked is as assumed."
