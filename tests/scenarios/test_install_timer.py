"""The units and the cron file: valid, without secrets, and installed where they belong."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from certbot_qiniu.command import cli, install_timer, scheduled_jobs
from certbot_qiniu.command.doctor import check_timers
from certbot_qiniu.command.health import Level

SECRET = "json://user:s3cret@example.com/t0ken"


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """The options that name certbot's folders."""
    return [f"--{kind}-dir={tmp_path / kind}" for kind in ("config", "work", "logs")]


def install(*arguments: str) -> int:
    return cli.main(["install-timer", *arguments])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("arguments", [
    (), ("--on-failure", "tell-me@%n.service"),
    ("--writable", "/srv/with space", "--notify", "@/a;'\"$%\\ b"),
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


def test_service(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It renews and then tells, with our certbot, and may write to no more than it needs."""
    (tmp_path / "config" / "renewal").mkdir(parents=True)
    (tmp_path / "config" / "renewal" / "a.conf").write_text(
        "[renewalparams]\nauthenticator = webroot\ninstaller = qiniu\nwebroot_path = /srv/www,\n"
        "[[webroot_map]]\na.example.com = /srv/www\nb.example.com = /srv/b\n")
    install(*folders, "--print", "--directory", "/x", "--notify", SECRET, "--notify", "@/$o'her",
            "--on-failure", "tell-me.service", "--writable", "/srv/100%",
            "--writable", "/srv/a b$")
    text = capsys.readouterr().out
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
    options = " ".join(folders)
    assert lines["ExecStart"] == (f"{scheduled_jobs.program('certbot')} renew --quiet "
                                  f"--no-random-sleep-on-renew {options}")
    assert lines["ExecStopPost"] == (
        f"{scheduled_jobs.program('certbot-qiniu')} status --quiet {options} "
        f"--notify=@{tmp_path}/config/qiniu/notify \"--notify=@/$$o'her\" "
        "--renewal=${SERVICE_RESULT}")
    assert lines["ReadWritePaths"] == (
        f"{tmp_path}/config {tmp_path}/work {tmp_path}/logs -/run -/var/log/nginx -/var/lib/nginx "
        '-/srv/www -/srv/b -/srv/100%% "-/srv/a b$"')
    assert lines["OnFailure"] == "tell-me.service"
    assert (lines["ProtectSystem"], lines["NoNewPrivileges"]) == ("strict", "true")
    assert "s3cret" not in text
    assert not (tmp_path / "config" / "qiniu").exists()


def test_default_folders_need_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    """The usual installation has the shortest commands."""
    install("--print", "--directory", "/x")
    text = capsys.readouterr().out
    assert " renew --quiet --no-random-sleep-on-renew\n" in text
    assert "status --quiet --renewal=" in text
    assert "ReadWritePaths=/etc/letsencrypt /var/lib/letsencrypt /var/log/letsencrypt " in text
    assert "OnFailure" not in text


def test_urls_are_kept_in_a_private_file(tmp_path: Path, folders: list[str]) -> None:
    """Units can be read by everybody, so what is secret is not in them."""
    assert install(*folders, "--directory", str(tmp_path), "--notify", SECRET) == 0
    kept = tmp_path / "config" / "qiniu" / "notify"
    assert kept.read_text() == f"{SECRET}\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    for unit in tmp_path.glob("certbot-qiniu.*"):
        assert unit.stat().st_mode & 0o777 == 0o644
        assert "s3cret" not in unit.read_text()


def test_systemd_is_told(tmp_path: Path, folders: list[str],
                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Where systemd runs, it reads the units and starts the timer."""
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


@pytest.mark.parametrize("arguments", [(), ("--cron",)])
def test_cron_where_there_is_no_systemd(
        tmp_path: Path, folders: list[str], arguments: tuple[str, ...],
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, which a shell understands, does what the service does."""
    monkeypatch.setattr(install_timer, "SYSTEMD_RUNS", tmp_path if arguments else tmp_path / "none")
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    assert install(*folders, *arguments, "--notify", "@/a b/100%") == 0
    text = (tmp_path / "cron").read_text()
    assert (tmp_path / "cron").stat().st_mode & 0o777 == 0o644
    [line] = [line for line in text.splitlines() if " root " in line]
    assert r"100\%" in line
    command = line.partition(" root ")[2].replace(r"\%", "%")
    assert shlex.split(command.replace(";", " ; ")) == [
        scheduled_jobs.program("certbot"), "renew", "--quiet", "--no-random-sleep-on-renew",
        *folders, ";", scheduled_jobs.program("certbot-qiniu"), "status", "--quiet", *folders,
        "--notify=@/a b/100%", "--renewal=$?"]
    capsys.readouterr()
    assert install(*folders, "--cron", "--print", "--notify", "@/a b/100%") == 0
    assert capsys.readouterr().out == f"# {tmp_path / 'cron'}\n{text}"


def test_doctor_finds_what_was_installed(tmp_path: Path, folders: list[str]) -> None:
    """The timer counts once its units are there."""
    [before] = check_timers([tmp_path], [])
    assert (before.level, before.remedy) == (Level.ATTENTION, "certbot-qiniu install-timer")
    install(*folders, "--directory", str(tmp_path))
    [after] = check_timers([tmp_path], [])
    assert after.level is Level.OK
    assert str(tmp_path / "certbot-qiniu.service") in after.text
