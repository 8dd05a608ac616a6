"""One renewal of many domains against the API's limit, and what of it stays on the disk."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.estate import HOUR, old_cloud, renew, settle, step, without_plugin
from benchmarks.growth import LIMIT, exponent
from benchmarks.service import Measurement, Service
from benchmarks.tell import progress, table
from tests.sandbox.lineages import write_version
from tests.sandbox.pki import Leaf
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.scenarios.machine import Machine

LINEAGE = "example.com"
CALLS = 15
"""Beyond one for each domain."""
RATIOS = {100: 1.15, 1000: 1.10}
HOOK_DOMAINS = 100
"""How many the hook changes, too: it takes a third of a second for each."""
DISK_FILES, DISK_BYTES, DISK_BYTES_EACH = 4, 1024, 300
NAME_LENGTH = 30


def measure(sizes: list[int], environment: Path, *, timed: bool = True) -> list[str]:
    """Print tables, and answer which bounds do not hold.

    :param timed: whether times are bounded, and the hook is measured.
    """
    rows, broken, seconds = [], list[str](), dict[float, float]()
    for size in sizes:
        progress(f"a renewal of {size} domains")
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            alone, ours, hook = _renewed(Path(directory), size, environment,
                                         with_hook=timed and size == HOOK_DOMAINS)
        own = seconds[size] = ours.seconds - alone.seconds
        rows += [(who, *_row(size, done, seconds_taken)) for who, done, seconds_taken in (
            ("plugin", ours, own), ("hook", hook, hook.seconds if hook else 0)) if done]
        bounds = {f"a renewal of {size} domains in {size + CALLS} calls":
                  ours.calls <= size + CALLS,
                  f"a renewal of {size} domains without a refused call": not ours.refused}
        if timed:
            bounds |= {
                f"a renewal of {size} domains within {RATIOS.get(size, 2)} of the API's limit":
                own <= RATIOS.get(size, 2) * ours.floor}
        if hook:
            bounds |= {"ahead of the hook": ours.seconds < hook.seconds}
        broken += [bound for bound, holds in bounds.items() if not holds]
    print("\n## One renewal\n\n" + table(
        ("who", "domains", "calls", "refused", "seconds", "at the API's limit", "ratio", "MiB"),
        rows))
    if timed and len(seconds) > 1:
        found = exponent(seconds)
        print(f"\nexponent in domains: {found:.2f}")
        broken += ["exponent in domains"] * (found > LIMIT)
    return broken


def _row(size: int, done: Measurement, seconds: float) -> tuple[object, ...]:
    return (size, done.calls, done.refused, f"{seconds:.1f}", f"{done.floor:.1f}",
            f"{seconds / done.floor:.2f}", f"{done.peak:.0f}")


def _deployed(directory: Path, size: int) -> tuple[Machine, list[str]]:
    """A machine whose one lineage is deployed to so many domains, with long names."""
    cloud = old_cloud(12 * HOUR, lenient_auth=True)  # the hook signs as it does
    old = cloud.stranger(f"*.{LINEAGE}")
    names = [f"{f'd{number}-':x<{NAME_LENGTH - len(LINEAGE) - 1}}.{LINEAGE}"
             for number in range(size)]
    for name in names:
        cloud.qiniu.add_domain(name, protocol="https", cert_id=old)
    machine = Machine(cloud, directory)
    step(lambda **options: machine.issue(LINEAGE, f"*.{LINEAGE}", **options), machine)
    cloud.clock.sleep(HOUR)
    step(machine.renew, machine)
    return machine, names


def _renewed(directory: Path, size: int, environment: Path, *, with_hook: bool,
             ) -> tuple[Measurement, Measurement, Measurement | None]:
    """certbot alone, the renewal, and the same by the hook.

    The renewal is a version that is on the disk and nowhere else yet, which ``certbot renew``
    brings to Qiniu by ``generic_updates``; issuing it would measure the authority.
    """
    machine, names = _deployed(directory, size)
    settle(machine)
    conf = machine.config_dir / "renewal" / f"{LINEAGE}.conf"
    conf.write_text(f"{conf.read_text()}[acme_renewal_info]\nari_retry_after = 2099-01-01\n")
    machine.cloud.switches.publish_seconds = 1.0
    service = Service(directory, machine.cloud.qiniu, environment)
    plain, hook = without_plugin(machine), None
    with service.serving():
        alone = min((renew(service, plain) for _ in range(3)), key=lambda run: run.seconds)
        leaf = _new_version(machine)
        ours = renew(service, machine.config_dir)
        service.assert_served(leaf.fingerprint, names)
        if with_hook:
            leaf = _new_version(machine)
            hook = service.run("benchmarks.seed:main", text=json.dumps({
                "keys": [ACCESS_KEY, SECRET_KEY], "domains": names,
                "live": str(machine.config_dir / "live" / LINEAGE)}))
            service.assert_served(leaf.fingerprint, names)
    return alone, ours, hook


def _new_version(machine: Machine) -> Leaf:
    leaf = machine.cloud.authority.intermediate("Fast Track CA").issue(LINEAGE, f"*.{LINEAGE}")
    write_version(machine.config_dir, LINEAGE, leaf)
    return leaf


# The disk


def measure_disk(sizes: list[int]) -> list[str]:
    """Print what a renewal leaves on the disk, and answer which bounds do not hold."""
    rows, broken = [], []
    for size in sizes:
        progress(f"the disk after a renewal of {size} domains")
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            files, grown = disk_of_a_renewal(Path(directory), size)
        limit = DISK_BYTES + DISK_BYTES_EACH * size
        rows.append((size, files, grown, limit))
        broken += [f"the disk of a renewal of {size} domains"] * (
            grown > limit or files > DISK_FILES)
    print("\n## The disk\n\n" + table(("domains", "files", "bytes", "at most"), rows))
    return broken


def disk_of_a_renewal(directory: Path, size: int) -> tuple[int, int]:
    """How many files a checkpoint has, and how long they are, with what our memory gains.

    The first renewal is left out: a lineage's own file comes to be then.
    """
    machine, _ = _deployed(directory, size)
    for _ in range(2):
        machine.cloud.clock.sleep(HOUR)
        before = _files(machine, "work/backups"), _files(machine, "qiniu/memory")
        step(machine.force_renewal, machine)
        machine.cloud.clock.sleep(HOUR)
        step(machine.renew, machine)
    checkpoint = {path: length for path, length in _files(machine, "work/backups").items()
                  if path not in before[0]}
    return len(checkpoint), sum(checkpoint.values()) + (
        sum(_files(machine, "qiniu/memory").values()) - sum(before[1].values()))


def _files(machine: Machine, where: str) -> dict[Path, int]:
    return {path: path.stat().st_size for path in (machine.config_dir / where).rglob("*")
            if path.is_file()}
