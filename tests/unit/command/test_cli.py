"""The command line: commands, help, log, errors and exit status."""

from __future__ import annotations

import argparse

import pytest

from certbot_qiniu.command import cli, status
from tests.package import DOCS

COMMANDS = ("status", "plan", "apply", "doctor", "certificates", "install-timer", "adopt")


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
    # How the usage is wrapped is not the same in every version of Python.
    assert squeezed(parser.format_help().partition("\n\n")[2]) in text


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with the usage and exit status 2."""
    with pytest.raises(SystemExit) as end:
        cli.main(["statsu"])
    assert end.value.code == 2
    assert "usage: certbot-qiniu" in capsys.readouterr().err


def test_unreadable_folder(capsys: pytest.CaptureFixture[str],
                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not allowed to read certbot's files is told to be root."""
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/etc/letsencrypt/live")

    monkeypatch.setattr(status, "survey", refuse)
    assert cli.main(["status"]) == 2
    assert "/etc/letsencrypt/live: Permission denied. Run this as root" in capsys.readouterr().err
