"""``certbot-qiniu`` on the fast track: in a fork, over the emulator, in virtual time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from certbot_qiniu.command import cli
from tests.scenarios import machine as fast_track
from tests.scenarios.machine import Cloud, Machine, Run

WWW, IMG, APEX, WILD = "www.example.com", "img.example.com", "example.com", ".example.com"
SELECTED = (WWW, IMG, APEX, WILD)


def _run(argv: list[str], _certbots: list[str]) -> int:
    return cli.main(argv)


class Seat(Machine):
    """A certbot installation, and the operator's command next to it."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The options that name certbot's folders."""
        home = self.config_dir
        return ("--config-dir", str(home), "--work-dir", str(home / "work"),
                "--logs-dir", str(home / "logs"))

    def run(self, command: str, *arguments: str) -> Run:
        """Run ``certbot-qiniu`` to its end, in place of certbot."""
        argv = [command, *self.folders, *arguments]

        @contextlib.contextmanager
        def around() -> Iterator[None]:
            with (open(1, "w", encoding="utf-8", closefd=False) as out,
                  contextlib.redirect_stdout(out), contextlib.redirect_stderr(out),
                  mock.patch.object(fast_track, "_run", functools.partial(_run, argv))):
                yield

        return self.certbot(around=around)

    def files(self) -> dict[str, tuple[bytes, int]]:
        """The contents and times of all files of the installation."""
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns)
                for path in self.config_dir.rglob("*") if path.is_file()}


def seat(directory: Path) -> Seat:
    """A machine before its first issuance, whose account has domains of several kinds."""
    cloud = Cloud()
    old = cloud.stranger(APEX, f"*{WILD}", days=40)
    for name in (WWW, IMG):
        cloud.qiniu.add_domain(name, protocol="https", cert_id=old)
    cloud.qiniu.add_domain(WILD, kind="wildcard", protocol="https", cert_id=old)
    cloud.qiniu.add_domain(APEX)
    cloud.qiniu.add_domain("dl.example.com")
    cloud.qiniu.add_domain("shop.example.org", protocol="https", cert_id=old)
    return Seat(cloud, directory)


def issued(directory: Path) -> Seat:
    """The same after it."""
    found = seat(directory)
    run = found.issue(APEX, f"*{WILD}")
    assert run.status == 0, run.output
    return found
