"""The units and the cron file: without secrets, quoted, and where they belong."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from certbot_qiniu import errors
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


@pytest.mark.parametrize(("name", "secret"), [
    ("notify", SECRET), ("heartbeat", "https://hc.example.com/s3cret")])
def test_urls_are_kept_in_a_private_file(tmp_path: Path, folders: list[str], name: str,
                                         secret: str) -> None:
    """Units can be read by everybody, so what is secret is not in them."""
    assert install(*folders, "--directory", str(tmp_path), f"--{name}", secret) == 0
    kept = tmp_path / "config" / "qiniu" / name
    assert kept.read_text() == f"{secret}\n"
    assert f"--{name}=@{kept} --renewal" in (tmp_path / "certbot-qiniu.service").read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    for unit in tmp_path.glob("certbot-qiniu.*"):
        assert unit.stat().st_mode & 0o777 == 0o644
        assert "s3cret" not in unit.read_text()


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


class Systemctl:
    """In place of :func:`subprocess.run`: remembers the commands, and ends as it was told."""

    def __init__(self, status: int = 0, error: Exception | None = None) -> None:
        self.status, self.error = status, error
        self.commands: list[str] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(shlex.join(command))
        if self.error:
            raise self.error
        return subprocess.CompletedProcess(command, self.status, "", "no bus\n")


@pytest.mark.parametrize(("systemctl", "words"), [
    (Systemctl(1), "systemctl daemon-reload failed: no bus"),
    (Systemctl(error=OSError("not there")), "Could not run systemctl daemon-reload: not there"),
    (Systemctl(error=subprocess.TimeoutExpired("systemctl", 60)), "timed out after 60 seconds"),
], ids=["fails", "cannot be run", "hangs"])
def test_systemd_that_does_not_take_it(monkeypatch: pytest.MonkeyPatch, systemctl: Systemctl,
                                       words: str) -> None:
    """The error says what was tried, and nothing else is tried after it."""
    monkeypatch.setattr(subprocess, "run", systemctl)
    with pytest.raises(errors.UsageError, match=words):
        install_timer.enable()
    assert ["systemctl daemon-reload"] == systemctl.commands


@pytest.mark.parametrize(("arguments", "commands", "written"), [
    ((), ["systemctl daemon-reload", "systemctl enable --now certbot-qiniu.timer"],
     ["system/certbot-qiniu.service", "system/certbot-qiniu.timer"]),
    (("--directory", "{}"), [], ["certbot-qiniu.service", "certbot-qiniu.timer"]),
    (("--cron",), [], ["cron"]), (("--print",), [], []), (("--cron", "--print"), [], []),
], ids=["systemd", "another folder", "cron", "print", "print cron"])
def test_what_is_written_and_started(
        tmp_path: Path, folders: list[str], monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], commands: list[str],
        written: list[str]) -> None:
    """Only units in systemd's own folder are started, and what is printed is not written."""
    systemctl = Systemctl()
    monkeypatch.setattr(subprocess, "run", systemctl)
    monkeypatch.setattr(install_timer, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(install_timer, "SYSTEMD_FOLDER", tmp_path / "system")
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    (tmp_path / "system").mkdir()
    assert 0 == install(*folders, *(text.format(tmp_path) for text in arguments))
    assert commands == systemctl.commands
    assert [str(tmp_path / name) for name in written] == sorted(
        str(path) for path in tmp_path.rglob("*") if path.is_file())
    said = f"Written: {', '.join(str(tmp_path / name) for name in written)}\n"
    assert bool(written) == (said == capsys.readouterr().out)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, folders: list[str],
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the file and the way out."""
    assert 2 == install(*folders, "--directory", str(tmp_path / "nothing"))
    said = capsys.readouterr().err
    assert f"Could not write {tmp_path}/nothing/certbot-qiniu.service" in said
    assert "name another --directory" in said


@pytest.mark.parametrize(("text", "word"), [
    ("plain", "plain"), ("a b", '"a b"'), ("100%", "100%%"), ('a"b', '"a\\"b"'),
    ("a\\b", '"a\\\\b"'), ("", '""'), ("a;b", '"a;b"'), ("$HOME", "$HOME")], ids=repr)
def test_words_of_a_unit(text: str, word: str) -> None:
    """A path is one word to systemd, whatever is in it."""
    assert word == install_timer._word(text)


def test_same_receivers_once(tmp_path: Path, folders: list[str],
                             capsys: pytest.CaptureFixture[str]) -> None:
    """All URLs are in one file, and each file is named once, by its absolute path."""
    assert 0 == install(*folders, "--print", "--cron", "--notify", SECRET, "--notify", "json://b",
                        "--notify", "@/a", "--notify", "@/a")
    said = capsys.readouterr().out
    assert 1 == said.count(f"--notify=@{tmp_path}/config/qiniu/notify ")
    assert 1 == said.count("--notify=@/a ")
    assert 2 == said.count("--notify")


def test_heartbeat_that_anybody_could_read(tmp_path: Path, folders: list[str],
                                           capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before anything is written, rather than at every run."""
    assert 2 == install(*folders, "--directory", str(tmp_path), "--heartbeat", "http://s3cret")
    assert "https://" in capsys.readouterr().err
    assert [] == list(tmp_path.glob("certbot-qiniu.*"))
