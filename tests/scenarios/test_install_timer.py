"""The units as systemd reads them, and the commands that it gets."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from certbot_qiniu.command import cli, install_timer


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """The options that name certbot's folders."""
    return [f"--{kind}-dir={tmp_path / kind}" for kind in ("config", "work", "logs")]


def install(*arguments: str) -> int:
    return cli.main(["install-timer", *arguments])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("arguments", [
    (), ("--on-failure", "tell-me@%n.service"),
    ("--notify", "@/a;'\"$%\\ b"),
], ids=["plain", "on failure", "odd words"])
def test_units_are_valid(tmp_path: Path, folders: list[str], arguments: tuple[str, ...]) -> None:
    """systemd itself finds nothing to say about them."""
    units = tmp_path / "units"
    units.mkdir()
    assert install(*folders, "--directory", str(units), *arguments) == 0
    if arguments[:1] == ("--on-failure",):
        (units / "tell-me@.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", units / "certbot-qiniu.timer",
         units / "certbot-qiniu.service"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_is_told(tmp_path: Path, folders: list[str],
                         monkeypatch: pytest.MonkeyPatch) -> None:
    """If systemd runs, it reads the units and starts the timer."""
    log, programs = tmp_path / "log", tmp_path / "bin"
    programs.mkdir()
    systemctl = programs / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(install_timer, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(install_timer, "SYSTEMD_FOLDER", tmp_path / "system")
    assert install(*folders) == 2  # there is no such folder yet
    (tmp_path / "system").mkdir()
    assert install(*folders) == 0
    assert log.read_text() == "daemon-reload\nenable --now certbot-qiniu.timer\n"
    systemctl.write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    assert install(*folders) == 2


def test_shell_reads_what_was_taken_over(tmp_path: Path, folders: list[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """cron's line hands every value on as the installing shell had it."""
    value = "http://user:s3cret$HOME`id`\"\\'@proxy:3128"
    monkeypatch.setenv("HTTPS_PROXY", value)
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    assert install(*folders, "--cron") == 0
    command = (tmp_path / "cron").read_text().partition(" root ")[2].partition("; fi; ")[0]
    read = subprocess.run(["/bin/sh", "-c", f"{command}; fi; env"], env={}, capture_output=True,
                          text=True, check=True)
    assert f"HTTPS_PROXY={value}" in read.stdout.splitlines()
