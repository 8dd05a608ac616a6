"""The doctor's findings on a machine, from files, programs and the network."""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import sys
from pathlib import Path
from unittest import mock

import pytest
from certbot._internal.plugins.disco import PluginsRegistry

from certbot_qiniu import environment
from certbot_qiniu.command import doctor
from certbot_qiniu.command.survey.health import Level
from tests.sandbox.wire import Fault, json_response
from tests.scenarios.command import IMG, WWW, Seat, issued, seat
from tests.scenarios.test_cli import lose_installer
from tests.unit.command.timers import host

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def quiet_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the certbot and the network of this machine out of it."""
    monkeypatch.setattr(doctor, "qiniu_time", lambda: None)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def program(path: Path, text: str = "exit 1") -> Path:
    """A program made of a line of shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def findings(machine: Seat) -> dict[str, str]:
    """Topic -> verdict and text of what the doctor says, the last of each topic."""
    lines = [line.split(maxsplit=2) for line in machine.run("doctor").output.splitlines()]
    return {topic: f"{verdict} {text}" for verdict, topic, text in lines
            if verdict in ("ok", "problem", "unknown")}


def test_timer_for_folders_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy, when pasted, renews what the doctor has looked at."""
    host(tmp_path / "root", monkeypatch)
    machine = issued(tmp_path)
    [remedy] = re.findall(r"certbot-qiniu install-timer .*", machine.run("doctor").output)
    assert f" --config-dir={machine.config_dir} --work-dir=" in remedy


def test_healthy_machine(tmp_path: Path) -> None:
    """All that concerns the lineage is as it should be."""
    found = findings(issued(tmp_path))
    assert {topic for topic, text in found.items() if text.startswith("ok")} == {
        "renewal", "credentials", "Qiniu", "plugin"}
    assert found["Qiniu"].endswith("opens an account with 6 domains and 2 certificates")


def test_nothing_set_up(tmp_path: Path) -> None:
    """On a machine without a lineage it says how to begin, and makes no folder."""
    machine = seat(tmp_path)
    assert "no renewal conf says installer = qiniu" in findings(machine)["renewal"]
    assert not machine.config_dir.exists()


def test_lost_installer(tmp_path: Path) -> None:
    """A lineage that the state file knows and whose conf lost the installer is found."""
    machine = issued(tmp_path)
    lose_installer(machine)
    run = machine.run("doctor")
    assert run.status == 1
    assert "example.com is deployed to Qiniu, but its renewal conf does not say" in run.output
    assert "certbot reconfigure --cert-name example.com -i qiniu" in run.output


def without_plugin() -> contextlib.AbstractContextManager[object]:
    """A certbot that lacks ours, as a distribution's does."""
    found = PluginsRegistry.find_all()
    rest = PluginsRegistry({name: found[name] for name in found if name != "qiniu"})
    return mock.patch.object(PluginsRegistry, "find_all", return_value=rest)


def test_lineage_that_a_foreign_certbot_has_stripped(tmp_path: Path) -> None:
    """It comes back with all of its options by the command that the doctor gives."""
    machine = issued(tmp_path)
    conf = machine.config_dir / "renewal" / "example.com.conf"
    assert machine.certbot("reconfigure", "--cert-name", "example.com", *machine.installer,
                           "--qiniu-domains", f"{WWW},{IMG}").status == 0
    assert machine.renew().status == 0
    before = sorted(line for line in conf.read_text().splitlines() if "qiniu" in line)
    with without_plugin():
        assert machine.force_renewal().status == 0
    assert "qiniu" not in conf.read_text()
    machine.cloud.clock.sleep(600)
    run = machine.run("doctor")
    assert run.status == 1
    [command] = re.findall(r"certbot (reconfigure .*)", run.output)
    assert f"{command}." in machine.run("status").output
    assert machine.certbot(*shlex.split(command)).status == 0
    assert before == sorted(line for line in conf.read_text().splitlines() if "qiniu" in line)


def test_jobs_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our timer is enough; a distribution's next to it is a problem, here and in the status."""
    machine, there = issued(tmp_path), host(tmp_path / "root", monkeypatch)
    machine.cloud.clock.sleep(600)
    folder = f"--config-dir={machine.config_dir}"
    there.timer("certbot-qiniu", f"{environment.program('certbot-qiniu')} renew {folder}")
    assert findings(machine)["timer"].startswith("ok certbot-qiniu.timer runs ")
    assert machine.run("status").status == 0
    there.units["certbot-qiniu.timer"] |= {"UnitFileState": "disabled", "ActiveState": "inactive"}
    for arguments, status in ((), 1), (("--renewal=",), 0):
        run = machine.run("status", *arguments)
        assert run.status == status
        assert ("run: systemctl enable --now certbot-qiniu.timer." in run.output) is bool(status)
    there.timer("certbot", f"{there.certbot('usr/bin/certbot')} -q renew {folder}")
    for command in ("doctor", "status"):
        run = machine.run(command)
        assert run.status == 1
        assert "certbot renew, which has no plugin qiniu" in run.output
        assert "systemctl disable --now certbot.timer" in run.output


def test_files_that_others_can_read(tmp_path: Path) -> None:
    """Credentials and our own files must be private."""
    machine = issued(tmp_path)
    machine.credentials.chmod(0o644)
    memory = machine.config_dir / "qiniu" / "memory" / "example.com.json"
    memory.chmod(0o640)
    found = findings(machine)
    assert f"chmod 600 {machine.credentials}" in found["credentials"]
    assert found["files"] == f"problem {memory} can be read by other users"


def test_corrupt_state(tmp_path: Path) -> None:
    """It is named, and the rest is examined all the same."""
    machine = issued(tmp_path)
    (machine.config_dir / "qiniu" / "state" / "example.com.json").write_text("{")
    found = findings(machine)
    assert "is corrupt" in found["state"]
    assert "plugin" in found


def test_damaged_conf(tmp_path: Path) -> None:
    """A renewal conf that certbot could not read is named."""
    machine = issued(tmp_path)
    path = machine.config_dir / "renewal" / "other.conf"
    path.write_text("[renewalparams]\ninstaller = qiniu\nqiniu_http2 = maybe\n")
    assert f"{path} is damaged" in machine.run("doctor").output


@pytest.mark.parametrize(("fault", "verdict"), [
    (Fault("refuse"), "unknown"),
    (Fault("reply", json_response(401, {"code": 401001, "error": "bad token"})), "problem")])
def test_account_that_does_not_open(tmp_path: Path, fault: Fault, verdict: str) -> None:
    """No answer is unknown, a refusal a problem."""
    machine = issued(tmp_path)
    machine.cloud.board.arm(fault, times=10**6)
    assert findings(machine)["Qiniu"].startswith(verdict)


def test_nginx_by_each_lineages_command(tmp_path: Path) -> None:
    """The test that the lineage is configured with is run; without its nginx that is skipped."""
    machine = issued(tmp_path)
    conf = machine.config_dir / "renewal" / "example.com.conf"
    broken = program(tmp_path / "nginx", "echo unknown directive >&2; exit 1")
    conf.write_text(conf.read_text().replace("qiniu_skip_nginx = True",
                                             f"qiniu_nginx_test_cmd = {broken} -t"))
    found = findings(machine)["nginx"]
    assert found.startswith("problem")
    assert "unknown directive" in machine.run("doctor").output
    program(broken, "exit 0")
    assert findings(machine)["nginx"] == f"ok its configuration is sound ({broken} -t)"


@pytest.mark.parametrize(("place", "cause"), [
    ("snap/bin/certbot", "snap"), ("opt/other/bin/certbot", "does not belong to " + sys.prefix)])
def test_certbot_without_the_plugin(tmp_path: Path, place: str, cause: str) -> None:
    """Where it comes from decides on the remedy."""
    other = program(tmp_path / place, "echo '* nginx'")
    [check] = doctor.check_certbot(str(other))
    assert check.level is Level.ATTENTION
    assert cause in check.text
    assert environment.program("certbot") in check.remedy


def test_certbot_with_the_plugin(tmp_path: Path) -> None:
    """Ours has it, when asked; a program that cannot be run has not."""
    [check] = doctor.check_certbot(environment.program("certbot"))
    assert check.level is Level.OK
    [check] = doctor.check_certbot(str(tmp_path / "nothing"))
    assert check.level is Level.ATTENTION


def test_authenticator_that_is_missing(tmp_path: Path) -> None:
    """A conf that names a plugin which is not installed here is found."""
    machine = issued(tmp_path)
    conf = machine.config_dir / "renewal" / "example.com.conf"
    conf.write_text(conf.read_text().replace("authenticator = standalone",
                                             "authenticator = dns-nowhere"))
    output = machine.run("doctor").output
    assert "dns-nowhere, used by example.com, is not installed next to this program" in output
    assert "install certbot-dns-nowhere" in output


def test_time_of_qiniu_without_a_network(caplog: pytest.LogCaptureFixture,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer gives no time, and no error."""
    monkeypatch.undo()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    caplog.set_level(logging.INFO)
    assert doctor.qiniu_time() is None
    assert "Qiniu's time is not known" in caplog.text
