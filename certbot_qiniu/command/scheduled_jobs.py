"""Find the services that a systemd timer starts, and crontabs."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

OWN_NAME = "certbot-qiniu"
"""The stem of our own units, and the name of our own crontab."""

SYSTEMD_FOLDER = Path("/etc/systemd/system")
UNIT_FOLDERS = (SYSTEMD_FOLDER, Path("/lib/systemd/system"))
CRONTABS = (Path("/etc/crontab"), Path("/etc/cron.d"), Path("/var/spool/cron"),
            Path("/etc/crontabs"), *(Path(f"/etc/cron.{period}") for period in (
                "hourly", "daily", "weekly", "monthly")))

CERTBOT_RENEW = r"certbot(?!-qiniu|\S*/certbot-qiniu)\b.*\brenew\b"
"""A line that renews certbot's certificates by any certbot (snap has certbot.renew), but not by our
own command."""


@dataclass(frozen=True)
class CommandFile:
    """A file of commands: a service, a crontab, or a script.

    :ivar lines: each line that is no comment, with its number.
    :ivar timer: the name of the timer that starts the service, "" for anything else.
    """

    path: Path
    lines: tuple[tuple[int, str], ...]
    timer: str = ""

    @property
    def is_ours(self) -> bool:
        """Return whether ``certbot-qiniu install-timer`` writes this file."""
        return (self.timer or self.path.name).removesuffix(".timer") == OWN_NAME

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(text for _, text in self.lines)

    def matching(self, pattern: str) -> list[int]:
        """Return the numbers of the lines in which *pattern* is found."""
        return [number for number, text in self.lines if re.search(pattern, text)]


def scheduled_jobs(unit_folders: Iterable[Path],
                   crontabs: Iterable[Path]) -> Iterator[CommandFile]:
    """List the services that have a timer, then the crontabs.

    :param crontabs: files, and folders of files.
    """
    for folder in unit_folders:
        for timer in sorted(folder.glob("*.timer")):
            yield from command_files(timer.with_suffix(".service"), timer.name)
    for place in crontabs:
        yield from command_files(place)


def command_files(place: Path, timer: str = "") -> Iterator[CommandFile]:
    """Read *place*, a file or a folder of files, as far as possible."""
    paths = [place] if place.is_file() else [
        Path(folder, name) for folder, _, names in os.walk(place) for name in sorted(names)]
    for path in paths:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                continue  # a pipe would block for ever
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # another user's crontab; root sees all
        yield CommandFile(path, tuple(
            (number, line) for number, line in enumerate(text.splitlines(), 1)
            if not line.lstrip().startswith("#")), timer)
