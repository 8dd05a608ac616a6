"""What timers and cron run by themselves, and what keeps them from it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from certbot_qiniu import environment
from certbot_qiniu.command.jobs import scheduled_jobs as module
from certbot_qiniu.command.jobs.scheduled_jobs import (
    BOOTED,
    cron_runs,
    files_in,
    output_of,
    read_script,
    scheduled_jobs,
)
from tests.unit.command.timers import Host, host

OURS = environment.program("certbot-qiniu")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A machine with cron."""
    return host(tmp_path, monkeypatch)


# What systemctl of systemd 252 said on a Debian 12 machine.
UNIT_FILES = """\
a.timer                      enabled  enabled
certbot.timer                disabled enabled
dangling.timer               bad      enabled
none.timer                   static   -
x@.timer                     enabled  enabled
"""

UNITS = "run-u7.timer loaded active waiting /usr/bin/true\n"

TIMERS = """\
Unit=b.service
Id=a.timer
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Unit=certbot.service
Id=certbot.timer
LoadState=loaded
ActiveState=inactive
UnitFileState=disabled

Unit=
Id=dangling.timer
LoadState=not-found
ActiveState=inactive
UnitFileState=

Unit=none.service
Id=none.timer
LoadState=loaded
ActiveState=inactive
UnitFileState=static
"""

SERVICES = """\
ExecStart={ path=/bin/sh ; argv[]=/bin/sh -c cd /; certbot renew ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
ExecStart={ path=/usr/bin/certbot ; argv[]=/usr/bin/certbot -q renew --deploy-hook systemctl reload nginx ; ignore_errors=yes ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
Environment=PATH=/opt/x/bin:/usr/bin "FOO=a b" BAR=1
WorkingDirectory=!/tmp
User=daemon
Id=b.service
LoadState=loaded

Environment=
WorkingDirectory=
User=
Id=none.service
LoadState=not-found

ExecStart={ path=/usr/bin/certbot ; argv[]=/usr/bin/certbot -q renew --no-random-sleep-on-renew ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
Environment=
WorkingDirectory=
User=
Id=certbot.service
LoadState=loaded
FragmentPath=/lib/systemd/system/certbot.service
"""  # noqa: E501


def test_what_systemd_says(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of the service that a timer starts, with its PATH, folder and user."""
    asked: list[list[str]] = []

    def answer(command: Sequence[str]) -> str:
        asked.append(list(command))
        return next((text for word, text in (("list-unit-files", UNIT_FILES), ("list-units", UNITS),
                                             ("a.timer", TIMERS), ("b.service", SERVICES))
                     if word in command), "")

    monkeypatch.setattr(module, "output_of", answer)
    machine.boot()
    found = list(scheduled_jobs())
    assert [("a.timer", "/bin/sh -c cd /; certbot renew", "daemon", ""),
            ("a.timer", "/usr/bin/certbot -q renew --deploy-hook systemctl reload nginx", "daemon",
             ""),
            ("certbot.timer", "/usr/bin/certbot -q renew --no-random-sleep-on-renew", "root",
             "it is disabled")] == [(job.timer, job.text, job.user, job.idle) for job in found]
    assert {("/opt/x/bin:/usr/bin", "/tmp")} == {
        (job.place.path, job.place.folder) for job in found[:2]}
    assert ["b.service", "/lib/systemd/system/certbot.service"] == [
        str(job.path) for job in found[1:]]
    assert ["a.timer", "certbot.timer", "dangling.timer", "none.timer", "run-u7.timer"] == (
        asked[2][asked[2].index("--") + 1:])


def test_machine_without_systemd(machine: Host) -> None:
    """Its units say nothing, and nobody is asked."""
    machine.timer("certbot-qiniu", f"{OURS} renew")
    (machine.root / BOOTED).rmdir()
    assert [] == list(scheduled_jobs())


def test_empty_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there holds nothing up."""
    monkeypatch.setattr(module, "ROOT", tmp_path / "nothing")
    assert [] == list(scheduled_jobs())


@pytest.mark.parametrize(("path", "text", "mode", "idle"), [
    ("etc/periodic/daily/certbot.sh", "#!/bin/sh\ncertbot renew\n", 0o755,
     "cron ignores files of such a name"),
    ("etc/periodic/daily/certbot", "#!/bin/sh\ncertbot renew\n", 0o755, ""),
    ("etc/cron.d/certbot", "@daily root certbot renew\n", 0o664,
     "cron ignores a file that others can change"),
    ("etc/cron.d/certbot", "@daily root certbot renew", 0o644,
     "cron ignores a file whose last line has no end"),
    ("etc/cron.d/certbot", "@daily root certbot renew\n", 0o644, ""),
    ("etc/crontab", "@reboot root certbot renew\n", 0o644, "it runs only at boot"),
])
def test_what_cron_ignores(machine: Host, path: str, text: str, mode: int, idle: str) -> None:
    """A job that never runs again by itself is distinguished from one that does."""
    if "periodic" not in path:
        machine.put("etc/debian_version", "12.8\n")
    machine.put(path, text, mode)
    assert [idle] == [job.idle for job in scheduled_jobs()]


def test_cron_of_busybox(machine: Host) -> None:
    """It reads the crontabs of users, and runs the periodic scripts by one of them."""
    (machine.root / "usr/sbin").mkdir(parents=True)
    (machine.root / "usr/sbin/crond").symlink_to("../../bin/busybox")
    machine.put("etc/cron.d/certbot", "@daily root certbot renew\n")
    machine.put("etc/crontabs/root", "0 0 * * * certbot renew\n")
    for folder in ("cron.daily", "periodic/daily"):
        machine.put(f"etc/{folder}/certbot", "#!/bin/sh\ncertbot renew\n", 0o755)
    unread = "busybox's cron does not read it"
    assert {"etc/cron.d/certbot (line 1)": unread, "etc/crontabs/root (line 1)": "",
            "etc/cron.daily/certbot": unread, "etc/periodic/daily/certbot": ""} == {
        job.where.removeprefix(f"{machine.root}/"): job.idle for job in scheduled_jobs()}


def test_folder_that_cannot_be_seen(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who is not root gets the jobs that this user may see."""
    def refuse(folder: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(folder))

    machine.put("var/spool/cron/root", "@daily certbot renew\n")
    machine.put("etc/crontab", "@daily root certbot renew\n")
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert [str(machine.root / "etc/crontab (line 1)")] == [
        job.where for job in scheduled_jobs()]


@pytest.mark.parametrize("error", [OSError("not there"), subprocess.TimeoutExpired("certbot", 60)],
                         ids=["cannot be run", "hangs"])
def test_program_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It is no reason to give up."""
    def run(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    assert "" == output_of(["/opt/certbot"])


def test_cron_that_cannot_be_seen(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """To others than root processes may be hidden."""
    machine.put("proc/7/comm", "sshd\n")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cron_runs()


@pytest.mark.parametrize(("path", "text", "where", "stop"), [
    ("etc/cron.d/backup", "# x\n@daily root backup\n", " (line 2)", "Remove line 2 of {}"),
    ("var/spool/cron/crontabs/root", "@daily backup\n", " (line 1)",
     "Remove it: crontab -e -u root"),
    ("etc/anacrontab", "1 5 daily backup\n", " (line 1)", "Remove line 1 of {}"),
    ("etc/cron.daily/backup", "#!/bin/sh\nbackup\n", "", "chmod a-x {}")])
def test_how_to_stop(machine: Host, path: str, text: str, where: str, stop: str) -> None:
    """Each kind of file has a way of its own."""
    file = machine.put(path, text, 0o755)
    [job] = scheduled_jobs()
    assert (f"{file}{where}", stop.format(file)) == (job.where, job.stop)
    machine.timer("backup", "backup")
    assert ("backup.timer", "systemctl disable --now backup.timer") == next(
        (one.where, one.stop) for one in scheduled_jobs() if one.timer)


def test_name_that_a_shell_would_change(machine: Host) -> None:
    """systemd escapes names with a backslash, which stays in the commands to be copied."""
    machine.timer(r"certbot-a\x2db", "certbot renew", enabled="disabled", active="inactive")
    [job] = scheduled_jobs()
    assert (r"systemctl disable --now 'certbot-a\x2db.timer'",
            r"systemctl enable --now 'certbot-a\x2db.timer'") == (job.stop, job.revive)


@pytest.mark.parametrize(("timer", "path", "ours"), [
    ("certbot-qiniu.timer", "x.service", True), ("certbot.timer", "certbot-qiniu", False),
    ("", "certbot-qiniu", True), ("", "certbot-qiniu.old", False)])
def test_ours(machine: Host, timer: str, path: str, *, ours: bool) -> None:
    """The files of install-timer are distinguished from others by their whole name."""
    if timer:
        machine.timer(timer.removesuffix(".timer"), "certbot renew")
    else:
        machine.put(f"etc/cron.d/{path}", "@daily root certbot renew\n")
    [job] = scheduled_jobs()
    assert ours is job.is_ours


def test_lines(machine: Host) -> None:
    """Comments do not count, and numbers are those of the file, whatever its encoding."""
    machine.put("etc/crontab").write_bytes(
        "# 续期\n".encode("gbk") + b"0 0 * * * root certbot renew\n  # x\n@daily root backup\n")
    assert [(2, "0 0 * * *", "certbot renew"), (4, "@daily", "backup")] == [
        (job.line, job.schedule, job.text) for job in scheduled_jobs()]
    script = machine.put("etc/cron.daily/a", "#!/bin/sh\n# certbot renew\ncertbot renew\n", 0o755)
    for encoding in ("utf-8", "gbk"):
        script.write_bytes("#!/bin/sh\n# 续期\ncertbot renew\n".encode(encoding))
        [job] = (job for job in scheduled_jobs() if job.path == script)
        assert [(3, "certbot renew")] == job.lines()


def test_pipe(machine: Host) -> None:
    """A pipe in a folder of crontabs, which nobody writes into, holds nothing up."""
    folder = machine.put("etc/cron.d/x").parent
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to("nothing")
    assert [folder / "x"] == files_in([folder])
    assert ["", ""] == [read_script([str(folder / name)]) for name in ("pipe", "dangling")]
    assert [] == list(scheduled_jobs())
