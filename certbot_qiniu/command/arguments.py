"""Options, certbot's folders and renewals: all that the subcommands share before they run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from certbot import errors as certbot_errors
from certbot import util
from certbot.compat import misc
from certbot.configuration import NamespaceConfig

from certbot_qiniu import errors
from certbot_qiniu.lineages import INSTALLER, Renewal, read_renewals, reconfigure_command
from certbot_qiniu.options import OPTIONS
from certbot_qiniu.targets.other_installer import find_installer

FOLDERS = ("config", "work", "logs")
MOST_SECONDS = 604_800
"""A week."""

A_FILE = {"bash": "_shtab_compgen_files", "zsh": "_files"}
A_FOLDER = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/"}
"""``shtab.FILE`` and ``shtab.DIRECTORY`` for our shells; shtab is loaded only for completion."""


@dataclass(frozen=True)
class Command:
    """A subcommand.

    :ivar help: what it does, in half a sentence.
    :ivar add_arguments: adds the arguments that not every subcommand has.
    :ivar run: carries it out, and returns the exit status.
    :ivar log_level: the lowest level of our log that is shown on stderr.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    log_level: int = logging.WARNING


# Options ----------------------------------------------------------------------------------------


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every subcommand has."""
    completed_by(A_FILE, parser.add_argument(
        "--config", type=absolute_path, metavar="FILE",
        help="as certbot's: to be read next to its cli.ini"))
    for kind in FOLDERS:
        completed_by(A_FOLDER, parser.add_argument(
            f"--{kind}-dir", type=absolute_path, metavar="DIR",
            help=f"as certbot's (default: cli.ini's, else {misc.get_default_folder(kind)})"))
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
                        help="alert this apprise URL when something begins to need attention and "
                             "when it is right again, once each, and before a certificate ends "
                             "(repeatable); @FILE reads URLs from a file, which keeps their "
                             "secrets out of the list of processes")


def add_heartbeat(parser: argparse.ArgumentParser) -> None:
    """Add ``--heartbeat``."""
    parser.add_argument("--heartbeat", action="append", default=[], metavar="URL",
                        help="call this https URL whenever all is well, for a service that "
                             "raises an alarm when the calls stop (repeatable; @FILE as above)")


def add_deadline(parser: argparse.ArgumentParser, default: float | None = None) -> None:
    """Add ``--deadline``."""
    parser.add_argument("--deadline", type=seconds, default=default, metavar="SECONDS",
                        help="report after so many seconds that the status is not known if "
                             "Qiniu is silent" + " (default: %(default)s)" * bool(default))


def add_no_probe(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-probe``."""
    parser.add_argument("--no-probe", action="store_true",
                        help="do not ask the edge over TLS what it serves, if this machine "
                             "cannot reach it")


def completed_by(kind: Mapping[str, str], argument: argparse.Action) -> None:
    """Let shells complete the values of an argument.

    :param kind: a file or a folder.
    """
    argument.complete = kind  # type: ignore[attr-defined] # shtab reads it there


def seconds(text: str) -> float:
    """Return the value of an option that is a time.

    :raises argparse.ArgumentTypeError: if nobody can wait for so long.
    """
    value = float(text)
    if not 0 < value <= MOST_SECONDS:  # nor is NaN
        raise argparse.ArgumentTypeError(f"not between 0 and {MOST_SECONDS}: {text}")
    return value


def absolute_path(text: str) -> Path:
    """Return the value of an option that is a path."""
    return Path(text).absolute()


# certbot ----------------------------------------------------------------------------------------


def as_certbot(arguments: argparse.Namespace) -> argparse.Namespace:
    """Add the settings in certbot's own configuration files, which it reads for every command.

    ``given`` holds what overrides the renewal confs, by certbot's names.

    :raises errors.UsageError: if they cannot be read, or say nonsense.
    """
    given = vars(_read_config_files(arguments.config))
    given.pop("config_file", None)
    for kind in FOLDERS:
        said = given.pop(f"{kind}_dir", None)
        if getattr(arguments, f"{kind}_dir") is None:
            setattr(arguments, f"{kind}_dir", said or Path(misc.get_default_folder(kind)))
    if both := given.pop("configurator", ""):
        given = {"authenticator": both, "installer": both, **given}
    arguments.given = given
    return arguments


def _read_config_files(config: Path | None) -> argparse.Namespace:
    """Return our part of certbot's configuration files, found and read as by certbot itself.

    :raises errors.UsageError: if one cannot be read, or says nonsense.
    """
    import configargparse

    def refuse(message: str) -> NoReturn:
        raise errors.UsageError(f"certbot's configuration files: {message}")

    home = os.environ.get("XDG_CONFIG_HOME", "~/.config")
    parser = configargparse.ArgParser(
        prog="certbot-qiniu", usage=argparse.SUPPRESS, add_help=False,
        args_for_setting_config_path=["--config"], ignore_unknown_config_file_keys=True,
        default_config_files=[os.path.join(misc.get_default_folder("config"), "cli.ini"),
                              os.path.join(home, "letsencrypt", "cli.ini")],
        argument_default=argparse.SUPPRESS)
    parser.error = refuse
    for kind in FOLDERS:
        parser.add_argument(f"--{kind}-dir", type=absolute_path)
    parser.add_argument("-i", "--installer")
    parser.add_argument("-a", "--authenticator")
    parser.add_argument("--configurator")
    for name, settings in OPTIONS.items():
        parser.add_argument(f"--{INSTALLER}-{name}", **{**settings, "default": argparse.SUPPRESS})
    try:
        found: argparse.Namespace = parser.parse_args([f"--config={config}"] if config else [])
    except UnicodeDecodeError as error:
        raise errors.UsageError(
            f"certbot's configuration files: one cannot be read as {error.encoding}, which this "
            "locale has. Run this and certbot with LC_ALL=C.UTF-8") from error
    return found


def usual_config_dir() -> Path:
    """Return certbot's configuration folder if no option names one.

    :raises errors.UsageError: if its files cannot be read, or say nonsense.
    """
    said = vars(_read_config_files(None)).get("config_dir")
    return Path(said or misc.get_default_folder("config"))


def folder_options(arguments: argparse.Namespace) -> list[str]:
    """Return the options that name certbot's folders, if they are not the usual ones."""
    config = [f"--config={arguments.config}"] if arguments.config else []
    given = {kind: str(getattr(arguments, f"{kind}_dir")) for kind in FOLDERS}
    return config + [f"--{kind}-dir={path}" for kind, path in given.items()
                     if path != misc.get_default_folder(kind)]


def certbot_config(arguments: argparse.Namespace, renewal: Renewal | None = None,
                   **more: Any) -> NamespaceConfig:
    """Return certbot's configuration, as ``certbot renew`` has it when it comes to a lineage.

    :param more: further settings.
    """
    options = {**more, **{f"{INSTALLER}_{name.replace('-', '_')}": value
                          for name, value in (renewal.options if renewal else {}).items()}}
    if renewal and renewal.settings.other_installer:
        # A missing one is reported by itself, and keeps no other target from being reached.
        with contextlib.suppress(errors.UsageError):
            options |= _defaults(renewal.settings.other_installer)
    return NamespaceConfig(argparse.Namespace(
        config_dir=str(arguments.config_dir), work_dir=str(arguments.work_dir),
        logs_dir=str(arguments.logs_dir), strict_permissions=False, http01_port=80,
        https_port=443, domains=[], verb="renew", dry_run=False, noninteractive_mode=True,
        installer=INSTALLER, configurator=None, redirect=None, certname=None,
        given=arguments.given, **options))


def _defaults(installer: str) -> dict[str, Any]:
    """Return the options of another certbot installer, which certbot has in its configuration."""
    parser = argparse.ArgumentParser(add_help=False)
    find_installer(installer).inject_parser_options(parser, installer)
    return vars(parser.parse_args([]))


def lock_certbot(arguments: argparse.Namespace) -> None:
    """Keep certbot from running next to us, as it keeps a second certbot from it.

    :raises errors.UsageError: if that is not possible.
    """
    for kind in FOLDERS:
        folder = getattr(arguments, f"{kind}_dir")
        try:
            util.lock_dir_until_exit(str(folder))
        except certbot_errors.LockError as error:
            raise errors.UsageError("certbot is at work; try again when it has ended") from error
        except OSError as error:
            raise errors.UsageError(f"Could not use {folder}: {error.strerror}. Run this as root, "
                                    "or name certbot's folders") from error


def our_renewals(arguments: argparse.Namespace, name: str = "") -> list[Renewal]:
    """Return the renewals that deploy to Qiniu, or the one that is named.

    :raises errors.UsageError: if there is none.
    """
    config_dir = arguments.config_dir
    ours = [renewal for key, renewal in read_renewals(config_dir, arguments.given)[0].items()
            if renewal.is_ours and name in ("", key)]
    if not ours:
        raise errors.UsageError(
            f"No renewal conf {f'of {name} ' * bool(name)}in {config_dir}/renewal says "
            f"installer = qiniu. To begin: {reconfigure_command()}")
    return ours
