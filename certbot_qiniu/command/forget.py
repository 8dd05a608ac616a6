"""``certbot-qiniu forget``: confirm that domains that are missing at Qiniu were deleted there."""

from __future__ import annotations

import argparse
import logging

from certbot_qiniu.command.arguments import (
    Command,
    certbot_config,
    lock_certbot,
    our_renewals,
)
from certbot_qiniu.deployment.deployer import open_deployer

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("--cert-name", required=True, metavar="NAME",
                        help="the certificate whose domains are missing")


def run(arguments: argparse.Namespace) -> int:
    """Stop managing missing domains, and name them.

    :raises errors.QiniuError: if it is unknown which are missing, or certbot is in the way.
    """
    name = arguments.cert_name
    [renewal] = our_renewals(arguments, name)
    lock_certbot(arguments)
    deployer = open_deployer(certbot_config(arguments), logger.info)
    gone = deployer.forget(name, renewal.settings)
    if not gone:
        print(f"{name}: none of its domains is missing at Qiniu, so there is nothing to forget.")
        return 0
    print(f"{name}: {', '.join(gone)} no longer managed. What was served before, and the "
          "settings, are kept for a year, in case a domain comes back.")
    if listed := sorted(set(gone) & set(renewal.settings.domains or ())):
        print(f"Take {', '.join(listed)} out of --qiniu-domains, too: certbot renew fails as long "
              "as a domain is named there that does not exist.")
    return 0


COMMAND = Command("forget", "stop managing the domains of a certificate that are missing at Qiniu",
                  add_arguments, run)
