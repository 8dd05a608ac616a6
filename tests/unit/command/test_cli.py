"""The command line: commands, help, log, errors and exit status."""

from __future__ import annotations

import argparse
import errno
import importlib.metadata
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from certbot import errors as certbot_errors

from certbot_qiniu import errors
from certbot_qiniu.command import cli, status
from certbot_qiniu.command.arguments import Command
from tests.package import DOCS

COMMANDS = ("status", "plan", "renew", "apply", "doctor", "certificates", "forget",
            "install-timer", "loop", "adopt")


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_documented(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/cli.md has the help of every command, word for word."""
    monkeypatch.setenv("COLUMNS", "100")
    parser = cli.parser()
    if command:
        [choices] = [action.choices for action in parser._actions
                     if isinstance(action, argparse._SubParsersAction)]
        parser = choices[command]
    text = squeezed((DOCS / "cli.md").read_text(encoding="utf-8"))
    usage, _, rest = parser.format_help().partition("\n\n")
    # How the usage is wrapped is not the same in every version of Python.
    assert squeezed(usage) in text
    assert squeezed(rest) in text


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with the usage and exit status 2."""
    with pytest.raises(SystemExit) as end:
        cli.main(["statsu"])
    assert end.value.code == 2
    assert "usage: certbot-qiniu" in capsys.readouterr().err


def test_unreadable_folder(capsys: pytest.CaptureFixture[str],
                           monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not read certbot's files is advised to be root."""
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/etc/letsencrypt/live")

    monkeypatch.setattr(status, "survey", refuse)
    assert cli.main(["status"]) == 2
    assert "/etc/letsencrypt/live: Permission denied. Run this as root" in capsys.readouterr().err


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A command line with one command, ``do``, that does what it is given."""
    def main(run: Callable[[argparse.Namespace], int], *arguments: str,
             log_level: int = logging.WARNING) -> int:
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("--quiet", action="store_true")

        monkeypatch.setattr(cli, "COMMANDS", (
            Command("do", "do it", add_arguments, run, log_level),))
        return cli.main(["do", *arguments])

    return main


@pytest.mark.parametrize("status", [0, 1, 2])
def test_exit_status_of_a_command(plain: Callable[..., int], status: int) -> None:
    """It is the command's own."""
    assert status == plain(lambda _: status)


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    """A command that fails."""
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize(("error", "status", "said"), [
    (errors.UsageError("no such thing"), 2, "certbot-qiniu: no such thing\n"),
    (certbot_errors.Error("certbot's own"), 2, "certbot-qiniu: certbot's own\n"),
    (PermissionError(13, "Permission denied", "/etc/x"), 2,
     "certbot-qiniu: Could not read /etc/x: Permission denied. Run this as root, as certbot\n"),
    (KeyboardInterrupt(), 130, ""),
], ids=["ours", "certbot's", "permission", "interrupt"])
def test_errors(plain: Callable[..., int], capsys: pytest.CaptureFixture[str],
                error: BaseException, status: int, said: str) -> None:
    """An error is reported in one line on stderr, and never as a traceback."""
    assert status == plain(raising(error))
    assert ("", said) == tuple(capsys.readouterr())


def test_bugs_are_not_hidden(plain: Callable[..., int]) -> None:
    """What is no error of ours is a bug, and is seen as one."""
    with pytest.raises(ZeroDivisionError):
        plain(raising(ZeroDivisionError()))


def test_reader_that_went_away(plain: Callable[..., int],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout leads nowhere afterwards, so that Python has nothing to complain about at its end."""
    with tempfile.TemporaryFile("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert 2 == plain(raising(BrokenPipeError()))
        assert os.path.samestat(os.stat(os.devnull), os.fstat(stdout.fileno()))


def test_no_room_for_the_output(plain: Callable[..., int], monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, and not with a traceback."""
    with tempfile.TemporaryFile("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert 2 == plain(raising(OSError(errno.ENOSPC, "No space left on device")))
    assert "certbot-qiniu: its output: No space left on device\n" == capsys.readouterr().err


def test_closed_streams(plain: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may have neither stdout nor stderr."""
    def run(_arguments: object) -> int:
        print("nobody reads it")
        print("nor this", file=sys.stderr)
        return 0

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert 0 == plain(run)
    sys.stdout.close()
    sys.stderr.close()


LEVELS = ("debug", "info", "warning", "error")


@pytest.mark.parametrize(("arguments", "log_level", "shown"), [
    ((), logging.WARNING, 2), ((), logging.INFO, 3), (("-v",), logging.WARNING, 4),
    (("--verbose",), logging.INFO, 4), (("--quiet",), logging.WARNING, 1),
    (("--quiet", "-v"), logging.WARNING, 4)],
    ids=["usual", "apply", "-v", "--verbose", "quiet", "quiet and verbose"])
def test_log(plain: Callable[..., int], capsys: pytest.CaptureFixture[str],
             arguments: tuple[str, ...], log_level: int, shown: int) -> None:
    """Our log is on stderr, from the level that was asked for."""
    def run(_: argparse.Namespace) -> int:
        for level in LEVELS:
            getattr(logging.getLogger("certbot_qiniu.qiniu"), level)("a line of %s", level)
            logging.getLogger("urllib3").info("of others")
        return 0

    plain(run, *arguments, log_level=log_level)
    assert [f"a line of {level}" for level in LEVELS[-shown:]] == (
        capsys.readouterr().err.splitlines())


def test_log_is_put_back(plain: Callable[..., int]) -> None:
    """After a command, also one that fails, a second one says nothing twice."""
    logger = logging.getLogger("certbot_qiniu")
    before = (logger.level, list(logger.handlers))
    logger.setLevel(logging.ERROR)
    try:
        plain(raising(errors.UsageError("no")), "-v")
        assert (logging.ERROR, before[1]) == (logger.level, logger.handlers)
    finally:
        logger.setLevel(before[0])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the package's."""
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert 0 == end.value.code
    version = importlib.metadata.version("certbot-qiniu")
    assert f"certbot-qiniu {version}\n" == capsys.readouterr().out


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """That is an error with the usage, not a silent success."""
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert 2 == end.value.code
    assert "COMMAND" in capsys.readouterr().err


def test_all_commands() -> None:
    """Each subcommand is there once, in the order of the help."""
    assert COMMANDS == tuple(command.name for command in cli.COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_knows_certbots_folders(name: str, tmp_path: Path) -> None:
    """Each takes them, as absolute paths, and the option for the whole log."""
    found = cli.parser().parse_args([
        name, "--config-dir", "etc", "--work-dir", str(tmp_path), "--logs-dir=log", "-v",
        *(["--cert-name", "example.com"] if name == "forget" else [])])
    assert (Path.cwd() / "etc", tmp_path, Path.cwd() / "log", True) == (
        found.config_dir, found.work_dir, found.logs_dir, found.verbose)
    assert callable(found.run)


@pytest.mark.parametrize("forms", [("--json", "--prometheus"), ("--json", "--watch"),
                                   ("--prometheus", "--watch")], ids=" ".join)
def test_one_form_at_a_time(forms: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A status has one form: two of them are refused."""
    with pytest.raises(SystemExit) as end:
        cli.main(["status", *forms])
    assert 2 == end.value.code
    assert "not allowed with argument" in capsys.readouterr().err
