"""The command ``certbot-qiniu``: see, prove, be warned.

Exit status of every command: 0 fine, 1 something needs attention, 2 the result is unknown, or the
command could not be carried out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import logging
import os
import sys
from collections.abc import Iterator, Sequence

from certbot import errors as certbot_errors

from certbot_qiniu.command import (
    adopt,
    apply,
    certificates,
    doctor,
    forget,
    install_timer,
    loop,
    output,
    plan,
    renew,
    status,
)
from certbot_qiniu.command.arguments import Command, add_common, as_certbot

COMMANDS: tuple[Command, ...] = (
    status.COMMAND, plan.COMMAND, renew.COMMAND, apply.COMMAND, doctor.COMMAND,
    certificates.COMMAND, forget.COMMAND, install_timer.COMMAND, loop.COMMAND, adopt.COMMAND)

EXIT_STATUS = ("exit status: 0 fine, 1 something needs attention, 2 it is not known (or the "
               "command could not be carried out)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    output.accept_any_text()
    arguments = parser().parse_args(argv)
    for_programs = getattr(arguments, "json", False) or getattr(arguments, "prometheus", None)
    output.accept_any_text(utf8=bool(for_programs))
    with _logging(arguments):
        try:
            exit_status: int = arguments.run(as_certbot(arguments))
            sys.stdout.flush()
            return exit_status
        except certbot_errors.Error as error:
            print(f"certbot-qiniu: {error}", file=sys.stderr)
        except PermissionError as error:
            print(f"certbot-qiniu: Could not read {error.filename}: {error.strerror}. Run this as "
                  "root, as certbot", file=sys.stderr)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # that reader has seen enough
                print(f"certbot-qiniu: {error.filename or 'its output'}: {error.strerror}",
                      file=sys.stderr)
            # Python must not complain about that again at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            return 130
    return 2


@contextlib.contextmanager
def _logging(arguments: argparse.Namespace) -> Iterator[None]:
    """Show our log on stderr: warnings, what ``apply`` does, or all of it."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("certbot_qiniu")
    before = logger.level
    quiet = getattr(arguments, "quiet", False)
    logger.setLevel(logging.DEBUG if arguments.verbose else
                    logging.ERROR if quiet else arguments.log_level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="certbot-qiniu", epilog=EXIT_STATUS,
        description="Show and check what certbot deploys to Qiniu Cloud (七牛云). Only "
                    "renew, apply, certificates --prune, forget, install-timer, loop and "
                    "adopt --write change anything.")
    found.add_argument("--version", action="version",
                       version=f"%(prog)s {importlib.metadata.version('certbot-qiniu')}")
    found.add_argument("--print-completion", action=_PrintCompletion, choices=["bash", "zsh"],
                       help="print completion for a shell and exit; e.g. certbot-qiniu "
                            "--print-completion bash > /etc/bash_completion.d/certbot-qiniu")
    commands = found.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        own = commands.add_parser(
            command.name, help=command.help, epilog=EXIT_STATUS,
            description=f"{command.help[0].upper()}{command.help[1:]}.")
        own.set_defaults(run=command.run, log_level=command.log_level)
        add_common(own)
        command.add_arguments(own)
    return found


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: object, option_string: str | None = None) -> None:
        import shtab

        print(shtab.complete(parser, str(values)))
        parser.exit()
