"""What the command line changes: the same as ``certbot renew``, at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from certbot import errors as certbot_errors
from certbot import util
from certbot.configuration import NamespaceConfig

from certbot_qiniu import errors
from certbot_qiniu.deployment.certificates import clean, remember_copies
from certbot_qiniu.deployment.deployer import open_deployer
from certbot_qiniu.failures import Failures
from certbot_qiniu.installer import Installer
from certbot_qiniu.lineages import INSTALLER, Renewal
from certbot_qiniu.targets.other_installer import find_installer


def certbot_config(folders: argparse.Namespace, renewal: Renewal | None = None) -> NamespaceConfig:
    """certbot's configuration, as ``certbot renew`` has it when it comes to a lineage.

    :param folders: config_dir, work_dir and logs_dir.
    :raises errors.UsageError: when the installer that takes part is not there.
    """
    options = {f"{INSTALLER}_{name.replace('-', '_')}": value
               for name, value in (renewal.options if renewal else {}).items()}
    if renewal and renewal.settings.other_installer:
        options |= _defaults(renewal.settings.other_installer)
    return NamespaceConfig(argparse.Namespace(
        config_dir=str(folders.config_dir), work_dir=str(folders.work_dir),
        logs_dir=str(folders.logs_dir), strict_permissions=False, http01_port=80,
        https_port=443, domains=[], verb="renew", dry_run=False, noninteractive_mode=True,
        installer=INSTALLER, configurator=None, redirect=None, **options))


def _defaults(installer: str) -> dict[str, Any]:
    """The options of another of certbot's installers, which certbot has in its configuration."""
    parser = argparse.ArgumentParser(add_help=False)
    find_installer(installer).inject_parser_options(parser, installer)
    return vars(parser.parse_args([]))


def apply(folders: argparse.Namespace, renewals: Iterable[Renewal]) -> list[str]:
    """Do for each lineage what every ``certbot renew`` does for one that is not due.

    :returns: what went wrong.
    :raises errors.UsageError: when certbot itself is at work, or its folders cannot be used.
    """
    for folder in (folders.config_dir, folders.work_dir, folders.logs_dir):
        _lock(Path(folder))
    problems = []
    for renewal in renewals:
        failures = Failures()
        failures.attempt(_update, folders, renewal)
        if failures:
            problems.append(str(failures))
    return problems


def _update(folders: argparse.Namespace, renewal: Renewal) -> None:
    lineage: Any = SimpleNamespace(lineagename=renewal.lineage)
    Installer(certbot_config(folders, renewal), INSTALLER).generic_updates(lineage)


def _lock(folder: Path) -> None:
    """Keep certbot from running beside us, as it keeps a second certbot.

    :raises errors.UsageError: when that is not possible.
    """
    try:
        util.lock_dir_until_exit(str(folder))
    except certbot_errors.LockError as error:
        raise errors.UsageError("certbot is at work; try again when it has ended") from error
    except OSError as error:
        raise errors.UsageError(f"Could not use {folder}: {error.strerror}. Run this as root, or "
                                "name certbot's folders") from error


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
