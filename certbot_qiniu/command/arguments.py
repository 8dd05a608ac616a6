"""What the subcommands have in common before they run: options, certbot's folders, renewals."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certbot.compat import misc
from certbot.configuration import NamespaceConfig

from certbot_qiniu import errors
from certbot_qiniu.lineages import INSTALLER, Renewal, read_renewals, reconfigure_command
from certbot_qiniu.targets.other_installer import find_installer

FOLDERS = ("config", "work", "logs")

A_FILE = {"bash": "_shtab_compgen_files", "zsh": "_files"}
A_FOLDER = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/"}
"""``shtab.FILE`` and ``shtab.DIRECTORY`` for our shells; shtab is loaded for completion alone."""


@dataclass(frozen=True)
class Command:
    """A subcommand.

    :ivar help: what it does, in half a sentence.
    :ivar add_arguments: adds the arguments that not every subcommand has.
    :ivar run: carries it out, and returns the exit status.
    :ivar log_level: from which level on our log is shown on stderr.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    log_level: int = logging.WARNING


# Options ----------------------------------------------------------------------------------------


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every subcommand has."""
    for kind in FOLDERS:
        completed_by(A_FOLDER, parser.add_argument(
            f"--{kind}-dir", type=absolute_path, metavar="DIR",
            default=Path(misc.get_default_folder(kind)),
            help="as certbot's (default: %(default)s)"))
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="show our log, calls included")


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="as JSON; see docs/status-json.md")


def add_cert_name(parser: argparse.ArgumentParser) -> None:
    """Add ``--cert-name``."""
    parser.add_argument("--cert-name", default="", metavar="NAME", help="only this certificate")


def add_notify(parser: argparse.ArgumentParser) -> None:
    """Add ``--notify``."""
    parser.add_argument("--notify", action="append", default=[], metavar="URL",
                        help="tell this apprise URL when something begins to need attention and "
                             "when it is right again, once each (repeatable); @FILE reads URLs "
                             "from a file, which keeps their secrets out of the list of processes")


def completed_by(kind: Mapping[str, str], argument: argparse.Action) -> None:
    """Let shells complete the values of an argument.

    :param kind: a file or a folder.
    """
    argument.complete = kind  # type: ignore[attr-defined] # where shtab expects it


def absolute_path(text: str) -> Path:
    """The value of an option that is a path."""
    return Path(text).absolute()


# certbot ----------------------------------------------------------------------------------------


def folder_options(arguments: argparse.Namespace) -> list[str]:
    """The options that name certbot's folders, where they are not the usual ones."""
    given = {kind: str(getattr(arguments, f"{kind}_dir")) for kind in FOLDERS}
    return [f"--{kind}-dir={path}" for kind, path in given.items()
            if path != misc.get_default_folder(kind)]


def certbot_config(arguments: argparse.Namespace, renewal: Renewal | None = None,
                   **more: Any) -> NamespaceConfig:
    """certbot's configuration, as ``certbot renew`` has it when it comes to a lineage.

    :param more: what it has besides.
    """
    options = {**more, **{f"{INSTALLER}_{name.replace('-', '_')}": value
                          for name, value in (renewal.options if renewal else {}).items()}}
    if renewal and renewal.settings.other_installer:
        # One that is not there is told of by itself, and keeps no other target from being reached.
        with contextlib.suppress(errors.UsageError):
            options |= _defaults(renewal.settings.other_installer)
    return NamespaceConfig(argparse.Namespace(
        config_dir=str(arguments.config_dir), work_dir=str(arguments.work_dir),
        logs_dir=str(arguments.logs_dir), strict_permissions=False, http01_port=80,
        https_port=443, domains=[], verb="renew", dry_run=False, noninteractive_mode=True,
        installer=INSTALLER, configurator=None, redirect=None, **options))


def _defaults(installer: str) -> dict[str, Any]:
    """The options of another of certbot's installers, which certbot has in its configuration."""
    parser = argparse.ArgumentParser(add_help=False)
    find_installer(installer).inject_parser_options(parser, installer)
    return vars(parser.parse_args([]))


def our_renewals(config_dir: Path, name: str = "") -> list[Renewal]:
    """The renewals that deploy to Qiniu, or the one that is named.

    :raises errors.UsageError: when there is none.
    """
    ours = [renewal for key, renewal in read_renewals(config_dir)[0].items()
            if renewal.is_ours and name in ("", key)]
    if not ours:
        raise errors.UsageError(
            f"No renewal conf {f'of {name} ' * bool(name)}in {config_dir}/renewal says "
            f"installer = qiniu. To begin: {reconfigure_command()}")
    return ours
