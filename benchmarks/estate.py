"""Machines with a past, made in virtual time; what is measured then is real.

The past is what the program itself has left in runs of the fast track. Only that of ten years is
lengthened in the formats of our files; a small one is lived through by the tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from benchmarks.service import Measurement, Service
from tests.sandbox.qiniu_rules import Switches
from tests.scenarios.account import fleet
from tests.scenarios.machine import Cloud, Machine, Run

HOUR, DAY = 3600.0, 86_400.0
CYCLE = 60 * DAY
"""Between two renewals of a certificate."""
FAR_AWAY = "[acme_renewal_info]\nari_retry_after = 2099-01-01T00:00:00\n"
"""certbot asks no authority about a lineage before then."""


def old_cloud(age: float, **switches: object) -> Cloud:
    """A cloud whose time is *age* seconds ago."""
    cloud = Cloud(Switches(publish_seconds=300, **switches))  # type: ignore[arg-type]
    cloud.clock.now -= age
    return cloud


def estate(directory: Path, lineages: int, cycles: int) -> tuple[Machine, float]:
    """A machine with so many lineages, each of which was renewed so often.

    :returns: it, and the seconds that a cycle of renewals took last.
    """
    machine = fleet(directory, lineages, old_cloud(cycles * (CYCLE + HOUR) + 12 * HOUR))
    for conf in (machine.config_dir / "renewal").glob("*.conf"):
        conf.write_text(conf.read_text() + FAR_AWAY)
    step(machine.renew, machine)
    seconds = 0.0
    for _ in range(cycles):
        machine.cloud.clock.sleep(CYCLE)
        begun = time.monotonic()
        step(machine.force_renewal, machine)
        seconds = time.monotonic() - begun
        machine.cloud.clock.sleep(HOUR)
        step(machine.renew, machine)
    settle(machine)
    return machine, seconds


def settle(machine: Machine) -> None:
    """Let the timer run until there is nothing to do, and then the time be that of this machine."""
    for _ in range(6):
        machine.cloud.clock.sleep(HOUR)
        if len(step(machine.renew, machine).calls) <= 3:
            break
    machine.cloud.clock.is_real = True


def step(command: Callable[..., Run], machine: Machine) -> Run:
    """Let certbot run, with the time of files and checkpoints virtual, too.

    :raises RuntimeError: if it fails.
    """
    def around() -> contextlib.AbstractContextManager[object]:
        return mock.patch("time.time", machine.cloud.clock.time)

    run = command(around=around)
    if run.status:
        raise RuntimeError(run.output)
    return run


def lengthen(machine: Machine, cycles: int) -> None:
    """Let the past of each lineage have been so many renewals."""
    for path in (machine.config_dir / "qiniu" / "memory").iterdir():
        content = json.loads(path.read_text())
        known = content["former"]
        content["former"] = [*known, *(
            hashlib.sha256(f"{path.name} {number}".encode()).hexdigest()
            for number in range(cycles - len(known)))]
        path.write_text(json.dumps(content, indent=1))


def without_plugin(machine: Machine) -> Path:
    """Another configuration directory with the same lineages, whose confs name no installer."""
    folder = machine.directory / "alone"
    (folder / "renewal").mkdir(parents=True)
    for conf in (machine.config_dir / "renewal").iterdir():
        (folder / "renewal" / conf.name).write_text("".join(
            line for line in conf.read_text().splitlines(keepends=True)
            if not line.startswith(("installer", "qiniu_"))))
    return folder


def renew(service: Service, config_dir: Path, *, counting: bool = False) -> Measurement:
    """Measure ``certbot renew``."""
    return service.run(
        "certbot.main:main", "renew", "-n", "--no-random-sleep-on-renew", "--config-dir",
        str(config_dir), "--work-dir", str(config_dir / "work"), "--logs-dir",
        str(config_dir / "logs"), "--max-log-backups", "0",
        counting=str(config_dir) if counting else "")
