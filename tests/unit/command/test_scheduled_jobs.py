"""What timers and cron run, as it is read from their files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from certbot_qiniu.command.scheduled_jobs import CERTBOT_RENEW, command_files, scheduled_jobs


def put(path: Path, text: str = "") -> Path:
    """A file with this text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_order(tmp_path: Path) -> None:
    """Services with a timer come first, each with its timer, then the crontabs, by name."""
    for name in ("b.timer", "b.service", "a.timer", "a.service", "c.timer", "idle.service"):
        put(tmp_path / "units" / name)
    crontabs = [put(tmp_path / "crontab"), tmp_path / "cron.d", tmp_path / "nothing"]
    for name in ("y", "x"):
        put(tmp_path / "cron.d" / name)
    found = scheduled_jobs([tmp_path / "nothing", tmp_path / "units"], crontabs)
    assert [("a.service", "a.timer"), ("b.service", "b.timer"), ("crontab", ""), ("x", ""),
            ("y", "")] == [(job.path.name, job.timer) for job in found]


@pytest.mark.parametrize(("name", "ours"), [
    ("certbot-qiniu.timer", True), ("certbot.timer", False), ("certbot-qiniu", True),
    ("certbot-qiniu.old", False)])
def test_ours(tmp_path: Path, name: str, ours: bool) -> None:
    """The files of install-timer are distinguished from others by their whole name."""
    path = put(tmp_path / name)
    put(path.with_suffix(".service"))
    [job] = (scheduled_jobs([tmp_path], []) if path.suffix == ".timer" else
             scheduled_jobs([], [path]))
    assert ours is job.is_ours


def test_lines(tmp_path: Path) -> None:
    """Comments do not count, and numbers are those of the file, whatever its encoding."""
    path = put(tmp_path / "crontab")
    path.write_bytes(b"# certbot renew\n\xff\n0 0 * * * root certbot renew\n  # certbot renew\n"
                     b"0 1 * * * root snap run certbot.renew\n0 2 * * * root certbot\n")
    [file] = command_files(path)
    assert [3, 5] == file.matching(CERTBOT_RENEW)
    assert "#" not in file.text


@pytest.mark.parametrize(("text", "expected"), [
    ("/opt/certbot/bin/certbot -q renew", True), ("snap run certbot.renew", True),
    ("certbot renew --deploy-hook certbot-qiniu", True), ("certbot-qiniu renew", False),
    ("/opt/certbot/bin/certbot-qiniu renew --quiet", False)])
def test_renewal(text: str, *, expected: bool) -> None:
    """What takes the place of an old setup is none of what is to be switched off with it."""
    assert expected is (re.search(CERTBOT_RENEW, text) is not None)


def test_pipe(tmp_path: Path) -> None:
    """A pipe in a folder of crontabs, which nobody writes into, holds nothing up."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nothing")
    assert [] == list(command_files(tmp_path))
