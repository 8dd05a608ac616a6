"""How it is found out what runs certbot; which of it counts is in the doctor's tests."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from certbot_qiniu import environment
from certbot_qiniu.command.jobs import certbot_jobs, plugins, scheduled_jobs
from certbot_qiniu.command.jobs.certbot_jobs import plugins_of
from tests.unit.command.timers import Host, host

OURS = environment.program("certbot-qiniu")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A machine with cron."""
    return host(tmp_path, monkeypatch)


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
    monkeypatch.setattr(scheduled_jobs, "output_of", answer)
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
    monkeypatch.setattr(scheduled_jobs, "output_of", lambda _: "")
    assert plugins_of(put(tmp_path / "certbot", "#!/opt/x/bin/python3\n")) is None
    assert plugins_of("/opt/x/bin/python3") is None


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
