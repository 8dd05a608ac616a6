"""How it is found out what runs certbot; which of it counts is in the doctor's tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from certbot_qiniu import environment
from certbot_qiniu.command import certbot_jobs, plugins
from certbot_qiniu.command.certbot_jobs import plugins_of
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
"""  # noqa: E501


def test_what_systemd_says(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of the service that a timer starts, with its PATH, folder and user."""
    asked: list[list[str]] = []

    def answer(command: Sequence[str]) -> str:
        asked.append(list(command))
        return next((text for word, text in (("list-unit-files", UNIT_FILES), ("list-units", UNITS),
                                             ("a.timer", TIMERS), ("b.service", SERVICES))
                     if word in command), "")

    monkeypatch.setattr(certbot_jobs, "_output", answer)
    machine.boot()
    found = [job for job in certbot_jobs.jobs() if "timer" in job.where]
    assert [("a.timer", "certbot", "daemon", ""), ("a.timer", "/usr/bin/certbot", "daemon", ""),
            ("certbot.timer", "/usr/bin/certbot", "root", "it is disabled"),
            ] == [(job.where, job.call.program, job.user, job.idle) for job in found]
    assert ("/opt/x/bin:/usr/bin", "/") == (found[0].call.place.path, found[0].call.place.folder)
    assert "/tmp" == found[1].call.place.folder
    assert ["a.timer", "certbot.timer", "dangling.timer", "none.timer", "run-u7.timer"] == (
        asked[2][asked[2].index("--") + 1:])


def test_machine_without_systemd(machine: Host) -> None:
    """Its units say nothing, and nobody is asked."""
    machine.timer("certbot-qiniu", f"{OURS} renew")
    (machine.root / certbot_jobs.BOOTED).rmdir()
    assert [] == certbot_jobs.jobs()


def test_empty_file_system(tmp_path: Path) -> None:
    """What is not there holds nothing up."""
    assert [] == certbot_jobs.jobs(tmp_path / "nothing")


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
    assert [idle] == [job.idle for job in certbot_jobs.jobs()]


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
        job.where.removeprefix(f"{machine.root}/"): job.idle for job in certbot_jobs.jobs()}


def test_folder_that_cannot_be_seen(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who is not root gets the jobs that this user may see."""
    def refuse(folder: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(folder))

    machine.put("var/spool/cron/root", "@daily certbot renew\n")
    machine.put("etc/crontab", "@daily root certbot renew\n")
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert [str(machine.root / "etc/crontab (line 1)")] == [
        job.where for job in certbot_jobs.jobs()]


def test_scripts_that_are_none(machine: Host) -> None:
    """A folder, a program, a huge file: none of them is read as a script."""
    machine.put("etc/cron.daily/binary", "", 0o755).write_bytes(b"\x7fELF\xff certbot renew")
    machine.put("etc/cron.daily/huge", f"#!/bin/sh\n{OURS} renew\n{'#' * 70_000}", 0o755)
    (machine.root / "etc/cron.daily/folder").mkdir()
    (machine.root / "etc/cron.daily/dangling").symlink_to("nothing")
    assert [] == certbot_jobs.jobs()


def test_scripts_that_run_each_other(machine: Host) -> None:
    """They are followed once, and not for ever."""
    for one, other in (("a", "b"), ("b", "a")):
        machine.put(f"srv/{one}", f"#!/bin/sh\n{machine.root}/srv/{other}\n{OURS} renew\n", 0o755)
    machine.put("etc/crontab", f"0 0 * * * root {machine.root}/srv/a\n")
    assert 2 == len(certbot_jobs.jobs())


# Plugins


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that were asked; each says that it has qiniu."""
    found: list[list[str]] = []

    def answer(command: Sequence[str]) -> str:
        found.append(list(command))
        return "* qiniu\nDescription\n\n* nginx\n" if command[1] == "plugins" else "qiniu nginx\n"

    plugins_of.cache_clear()
    monkeypatch.setattr(certbot_jobs, "_output", answer)
    return found


def put(path: Path, text: str) -> str:
    """A program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("text", "python"), [
    ("#!/opt/x/bin/python3\n", "/opt/x/bin/python3"), ("#! /usr/bin/python3 -s\n",
                                                       "/usr/bin/python3"),
    ("#!/usr/bin/env python3.11\n", "python3.11"), ("#!/opt/pypy/bin/pypy3\n",
                                                    "/opt/pypy/bin/pypy3"),
    ("#!/bin/sh\n'''exec' \"/a b/bin/python\" \"$0\" \"$@\"\n' '''\n", "/a b/bin/python"),
    ("#!/bin/sh\n'''exec' /a/very/long/bin/python \"$0\" \"$@\"\n' '''\n",
     "/a/very/long/bin/python")], ids=["venv", "Debian", "env", "pypy", "blank", "long"])
def test_python_of_a_certbot(tmp_path: Path, asked: list[list[str]], text: str,
                             python: str) -> None:
    """It is asked in place of certbot, which takes ten times as long."""
    certbot = put(tmp_path / "certbot", text)
    assert {"qiniu", "nginx"} == plugins_of(certbot) == plugins_of(certbot)
    assert [[python, "-c", certbot_jobs.LIST_PLUGINS]] == asked


def test_virtual_environment(tmp_path: Path, asked: list[list[str]]) -> None:
    """Its files show them: nothing is run, so it does not matter who may change it."""
    python = put(tmp_path / "bin" / "python3", "")
    certbot = put(tmp_path / "bin" / "certbot", f"#!{python}\n")
    Path(certbot).chmod(0o777)
    put(tmp_path / "pyvenv.cfg", "home = /usr/bin\n")
    assert plugins_of(certbot) is None
    for name, entries in (("certbot-5.8.0", "webroot = x:Y"), ("other-1", ""),
                          ("certbot_qiniu-1.0.0", "qiniu = x:Y")):
        folder = tmp_path / "lib/python3.11/site-packages" / f"{name}.dist-info"
        put(folder / "METADATA", "")
        put(folder / "entry_points.txt", f"[certbot.plugins]\n{entries}\n[other]\nz = x:Y")
    plugins_of.cache_clear()
    assert {"webroot", "qiniu"} == plugins_of(certbot)
    assert [] == asked


def test_wrapper(tmp_path: Path, asked: list[list[str]]) -> None:
    """A script that leads to another certbot has the plugins of that one."""
    inner = put(tmp_path / "inner" / "certbot", "#!/opt/x/bin/python3\n")
    plugins_of(put(tmp_path / "certbot", f'#!/bin/sh\nexec {inner} "$@"\n'))
    assert ["/opt/x/bin/python3"] == [command[0] for command in asked]


@pytest.mark.parametrize("text", ["\x7fELF", "#!/bin/sh\nexec something\n", ""])
def test_program_of_another_kind(tmp_path: Path, asked: list[list[str]], text: str) -> None:
    """It is asked itself, on folders of its own."""
    certbot = put(tmp_path / "certbot", text)
    assert {"qiniu", "nginx"} == plugins_of(certbot)
    [[program, verb, *options]] = asked
    assert (certbot, "plugins") == (program, verb)
    assert ["--config-dir", "--work-dir", "--logs-dir"] == options[::2]


def test_installer_of_packages(tmp_path: Path, asked: list[list[str]]) -> None:
    """certbot-auto is not asked: it would install packages, and upgrade itself."""
    assert plugins_of(put(tmp_path / "certbot-auto", "#!/bin/sh\n")) is None
    assert [] == asked


def test_folder_of_snapshots(tmp_path: Path, asked: list[list[str]]) -> None:
    """What is there does not come from snap."""
    certbot = put(tmp_path / "snapshots" / "bin" / "certbot", "#!/opt/x/bin/python3\n")
    assert {"qiniu", "nginx"} == plugins_of(certbot)
    assert asked


def test_nobody_needs_to_be_asked(asked: list[list[str]]) -> None:
    """Ours are known, and so is a snap."""
    assert plugins.installed() == plugins_of(OURS)
    assert frozenset() == plugins_of("/snap/bin/certbot")
    assert [] == asked


def test_silent_certbot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing is not known, which is neither yes nor no."""
    plugins_of.cache_clear()
    monkeypatch.setattr(certbot_jobs, "_output", lambda _: "")
    assert plugins_of(put(tmp_path / "certbot", "#!/opt/x/bin/python3\n")) is None
    assert plugins_of("/opt/x/bin/python3") is None


@pytest.mark.parametrize("error", [OSError("not there"), subprocess.TimeoutExpired("certbot", 60)],
                         ids=["cannot be run", "hangs"])
def test_program_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It is no reason to give up."""
    def run(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    assert "" == certbot_jobs._output(["/opt/certbot"])


def test_other_users_programs_are_not_run(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody has put into his own crontab root does not run."""
    monkeypatch.setattr(certbot_jobs, "plugins_of", lambda _: pytest.fail("it was run"))
    machine.put("etc/crontab", f"0 0 * * * nobody {sys.executable} -m certbot renew\n")
    [job] = certbot_jobs.jobs()
    assert (sys.executable, None) == (job.program, job.plugins)


def test_program_that_others_can_change(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """root runs it, but not because of us; nor a Python that is not root's alone."""
    certbot = Path(machine.certbot("opt/x/bin/certbot", "qiniu"))
    machine.put("etc/crontab", f"0 0 * * * root {certbot} renew\n")
    certbot.chmod(0o775)
    [job] = certbot_jobs.jobs()
    assert job.plugins is None
    certbot.chmod(0o755)
    machine.put("opt/x/bin/python3").chmod(0o777)
    [job] = certbot_jobs.jobs()
    assert job.plugins is None
    (machine.root / "opt/x/bin/python3").chmod(0o755)
    plugins_of.cache_clear()
    [job] = certbot_jobs.jobs()
    assert {"qiniu"} == job.plugins


def test_cron_that_cannot_be_seen(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """To others than root processes may be hidden."""
    machine.put("proc/7/comm", "sshd\n")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert certbot_jobs._cron_runs(machine.root)
