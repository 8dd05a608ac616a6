"""``certbot-qiniu status --managed`` in an account that is mostly somebody else's."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.estate import HOUR, old_cloud, settle, step
from benchmarks.service import Service
from benchmarks.tell import progress, table
from tests.scenarios.machine import Machine

MANAGED = 3
CALLS = 6


def measure(size: int, environment: Path) -> list[str]:
    """Print what it costs, and answer which bounds do not hold."""
    progress(f"status with {size} domains of others")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        cloud = old_cloud(12 * HOUR)
        for number in range(MANAGED):
            cloud.qiniu.add_domain(f"d{number}.example.com", protocol="https",
                                   cert_id=cloud.stranger("*.example.com"))
        theirs = cloud.stranger("*.example.org")
        for number in range(size):
            cloud.qiniu.add_domain(f"d{number}.example.org", protocol="https", cert_id=theirs)
        machine = Machine(cloud, Path(directory))
        step(lambda **options: machine.issue("example.com", "*.example.com", **options), machine)
        settle(machine)
        service = Service(Path(directory), cloud.qiniu, environment)
        home = machine.config_dir
        with service.serving():
            done = service.run("certbot_qiniu.command.cli:main", "status", "--managed",
                               "--config-dir", str(home))
    print("\n## Status\n\n" + table(
        ("managed", "others", "calls", "seconds", "MiB"),
        [(MANAGED, size, done.calls, f"{done.seconds:.1f}", f"{done.peak:.0f}")]))
    return [f"status of {MANAGED} of {size} domains in {CALLS} calls"] * (done.calls > CALLS)
