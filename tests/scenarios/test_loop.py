"""The loop of a container: renewals for days, its health, and what the doctor says of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from unittest import mock

import pytest

from certbot_qiniu.command import containers, loop
from certbot_qiniu.command.renew import Programs
from tests.sandbox.wire import Fault, Response
from tests.scenarios.command import WWW, Seat, issued
from tests.scenarios.machine import Run
from tests.scenarios.test_doctor import findings, quiet_place
from tests.scenarios.test_renew import in_this_process
from tests.unit.command.timers import host

__all__ = ["quiet_place"]

HOUR = 3600.0


def turn(machine: Seat, renewals: int, *arguments: str) -> Run:
    """Run the loop in virtual time until so many renewals have ended, and is told to end."""
    left = [renewals]

    def wait(_: Programs, seconds: float) -> None:
        left[0] -= 1
        machine.cloud.clock.sleep(seconds)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGTERM)

    with (mock.patch.object(Programs, "run", in_this_process),
          mock.patch.object(loop, "_wait", wait),
          mock.patch.object(loop.time, "time", machine.cloud.clock.time)):
        return machine.run("loop", *arguments)


def health(machine: Seat) -> int:
    """What a container's health check ends with."""
    with mock.patch.object(loop.time, "time", machine.cloud.clock.time):
        return machine.run("loop", "--health").status


def test_days_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drift is put right; a day of failures is unhealthy, and the first success ends that."""
    host(tmp_path / "root", monkeypatch)  # no timer, no cron
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    assert health(machine) == 1
    machine.cloud.qiniu.change_domain(WWW, cert_id=machine.cloud.stranger(WWW, days=30))
    run = turn(machine, 2)
    assert run.status == 0
    assert "All is well: 4 managed domains." in run.output
    assert run.output.count("certbot-qiniu: next renewal at ") == 2
    assert machine.cloud.qiniu.serving(WWW).fingerprint == machine.fingerprint()
    assert health(machine) == 0
    with mock.patch("time.time", machine.cloud.clock.time):
        assert findings(machine)["timer"] == "ok certbot-qiniu loop renews"

    machine.cloud.board.arm(Fault("reply", Response(401)), times=10**6)
    assert turn(machine, 2).status == 0
    assert health(machine) == 1
    with mock.patch("time.time", machine.cloud.clock.time):
        assert "nothing runs certbot renew by itself" in findings(machine)["timer"]
    machine.cloud.board.disarm()
    assert turn(machine, 1).status == 0
    assert health(machine) == 0


def test_signal_between_renewals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real wait ends at once with SIGTERM, and what is ignored stays so."""
    programs = Programs()
    monkeypatch.setattr(loop.time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with programs.heeding_signals():
        loop._wait(programs, HOUR)
    assert programs.stopped


def test_folders_that_are_no_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said when the loop begins and by the doctor, and renewals go on."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    mounts = tmp_path / "mountinfo"
    line = "1 0 0:5 / {} rw - {} x rw\n"
    mounts.write_text(line.format("/", "overlay") + line.format(machine.config_dir, "ext4"))
    monkeypatch.setattr(containers, "MOUNTS", mounts)
    monkeypatch.setattr(containers, "SYSTEMD", tmp_path / "systemd")
    assert "no volume" not in machine.run("doctor").output  # the work folder is within
    mounts.write_text(line.format("/", "overlay"))
    run = turn(machine, 1)
    assert run.status == 0
    assert f"{machine.config_dir}/work is no volume of this container" in run.output
    assert "All is well: 4 managed domains." in run.output
    run = machine.run("doctor")
    assert run.status == 1
    assert f"Mount a volume there: --volume NAME:{machine.config_dir}/work" in run.output
