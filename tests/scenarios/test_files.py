"""The cost of our files, and the state after a crash at any of their operations."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from certbot_qiniu.deployment.planning.freshness import SPREAD
from tests.sandbox.qiniu_rules import Switches
from tests.scenarios.account import fleet
from tests.scenarios.machine import Cloud, Machine, Run

HOUR, HALF_A_DAY, DAY = 3600, 43_200, 86_400


def deployed(directory: Path, lineages: int) -> Machine:
    """A machine with many lineages, each of which has deployed to a domain of its own."""
    machine = fleet(directory, lineages)
    later(machine, 0)
    return machine


def later(machine: Machine, seconds: float, **options: Any) -> Run:
    """What the timer runs *seconds* later."""
    machine.cloud.clock.sleep(seconds)
    run = machine.renew(**options)
    assert run.status == 0, run.output
    return run


@contextlib.contextmanager
def counted(log: Path) -> Iterator[None]:
    """Note each file that this process opens."""
    with log.open("w", encoding="utf-8") as out:
        def note(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and isinstance(arguments[0], str | os.PathLike) and not out.closed:
                out.write(f"{arguments[2] & (os.O_WRONLY | os.O_RDWR)} {arguments[0]}\n")

        sys.addaudithook(note)
        yield


def opened(machine: Machine) -> list[str]:
    """The files below certbot's folders that an ordinary run opens: whether to write, and which."""
    log = machine.directory / "opened"
    later(machine, DAY)
    for _ in range(SPREAD):  # until each domain was read, which is written down
        later(machine, 0)
    run = later(machine, HOUR, around=lambda: counted(log))
    assert [] == run.labels("PUT ") + run.labels("POST ") + run.labels("DELETE ")
    return [line for line in log.read_text().splitlines()
            if str(machine.config_dir) in line and "/logs/" not in line]


@pytest.mark.parametrize("lineages", [
    4, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_nothing_to_do(tmp_path: Path, lineages: int) -> None:
    """It costs as much after a cycle of renewals as before, and that is in step with lineages."""
    machine = deployed(tmp_path, lineages)
    later(machine, HALF_A_DAY)
    before = opened(machine)
    ours = [line for line in before if "/qiniu/" in line and not line.endswith(".lock")]
    assert 2 * lineages + 2 == len(ours) == len(set(ours)), "each file of ours is read once"
    assert [] == [line for line in ours if not line.startswith("0 ")]
    machine.cloud.clock.sleep(HALF_A_DAY)
    assert machine.force_renewal().status == 0
    for _ in range(3):
        later(machine, HALF_A_DAY)
    after = opened(machine)
    assert len(before) == len(after)


@contextlib.contextmanager
def traced(log: Path) -> Iterator[None]:
    """Count the lines of the plugin that are run, those within comprehensions included."""
    count = itertools.count()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if f"{os.sep}certbot_qiniu{os.sep}" not in frame.f_code.co_filename:
            return None
        if event == "line":
            next(count)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)
        log.write_text(str(next(count)))


def test_no_lineage_looks_at_all_others(tmp_path: Path) -> None:
    """With twice the lineages twice as much is done, and not four times."""
    lines = []
    for lineages in (5, 10, 20):
        machine = deployed(tmp_path / str(lineages), lineages)
        later(machine, HOUR, around=lambda: traced(tmp_path / "lines"))
        lines.append(int((tmp_path / "lines").read_text()))
    assert 1000 < lines[1] - lines[0]
    # One thing is asked of all: whether the entry that the memory has for it was changed.
    assert lines[2] - lines[1] < 2.15 * (lines[1] - lines[0]), lines


def sizes(machine: Machine, where: str) -> dict[str, int]:
    """The regular files below a folder of the machine's, and how long they are."""
    return {str(path): path.stat().st_size for path in (machine.config_dir / where).rglob("*")
            if path.is_file()}


@pytest.mark.parametrize("domains", [1, 100])
def test_a_renewal_takes_little_room(tmp_path: Path, domains: int) -> None:
    """Its checkpoint is of one lineage: a few files, whatever other lineages there are."""
    cloud = Cloud(Switches(publish_seconds=3))
    machine = Machine(cloud, tmp_path)
    for other in ("example.net", "example.org"):
        for number in range(40):
            cloud.qiniu.add_domain(f"d{number}.{other}", protocol="https",
                                   cert_id=cloud.stranger(f"*.{other}"))
        assert machine.issue(other, f"*.{other}").status == 0
    for number in range(domains):
        cloud.qiniu.add_domain(f"{number:018}.example.com", protocol="https",
                               cert_id=cloud.stranger("*.example.com"))  # 30 characters
    assert machine.issue("example.com", "*.example.com").status == 0
    for _ in range(2):
        cloud.clock.sleep(HOUR)
        assert machine.renew("--force-renewal", "--cert-name", "example.com").status == 0
    later(machine, HOUR)
    checkpoints, memory = sizes(machine, "work/backups"), sizes(machine, "qiniu/memory")
    assert machine.renew("--force-renewal", "--cert-name", "example.com").status == 0
    later(machine, HOUR)
    made = {path: size for path, size in sizes(machine, "work/backups").items()
            if path not in checkpoints}
    growth = sum(sizes(machine, "qiniu/memory").values()) - sum(memory.values())
    assert 1 <= len(made) <= 4
    assert sum(made.values()) + growth <= 1024 + 300 * domains


# Pruning


def age(machine: Machine, days: float) -> None:
    """Let certbot's checkpoints be older, on the disk and as they are remembered."""
    backups = machine.config_dir / "work" / "backups"
    for path in sorted(backups.iterdir()):
        older = str(float(path.name) - days * DAY)
        for memory in (machine.config_dir / "qiniu" / "memory").glob("*.json"):
            memory.write_text(memory.read_text().replace(f'"{path.name}"', f'"{older}"'))
        path.rename(backups / older)


@pytest.fixture
def renewed(tmp_path: Path) -> Machine:
    """A lineage after its first issuance and eight renewals, half a year ago."""
    cloud = Cloud(Switches(publish_seconds=3))
    cloud.qiniu.add_domain("www.example.com")
    machine = Machine(cloud, tmp_path / "machine")
    assert machine.issue("www.example.com").status == 0
    for _ in range(8):
        cloud.clock.sleep(HOUR)
        assert machine.force_renewal().status == 0
        later(machine, HOUR)
    age(machine, 180)
    return machine


def checkpoints(machine: Machine) -> list[str]:
    """certbot's checkpoints, oldest first."""
    return sorted(path.name for path in (machine.config_dir / "work" / "backups").iterdir())


def test_pruning(renewed: Machine) -> None:
    """Old checkpoints of renewals go with the next one, and a full rollback still is one."""
    before = checkpoints(renewed)
    later(renewed, HOUR)
    assert before == checkpoints(renewed), "nothing was renewed"
    assert renewed.force_renewal().status == 0
    later(renewed, HOUR)
    after = checkpoints(renewed)
    assert [before[0], *before[-2:]] == after[:-1], "the first one and the last three stay"
    assert [] == list(renewed.config_dir.glob("work/qiniu-*"))
    run = renewed.certbot("rollback", *renewed.installer, "--checkpoints", "99")
    assert run.status == 0, run.output
    renewed.cloud.clock.sleep(HOUR)
    assert "http" == renewed.cloud.qiniu.serving("www.example.com").protocol


def test_young_checkpoints_stay(renewed: Machine) -> None:
    """Within 120 days every checkpoint can be wanted."""
    age(renewed, -70)
    before = checkpoints(renewed)
    assert renewed.force_renewal().status == 0
    assert before == checkpoints(renewed)[:-1]


def test_a_checkpoint_with_more_in_it_stays(renewed: Machine) -> None:
    """So does one with somebody else's file in it, however old it is."""
    shared = renewed.config_dir / "work" / "backups" / checkpoints(renewed)[2]
    paths = shared / "FILEPATHS"
    paths.write_text(f"{paths.read_text()}/etc/nginx/nginx.conf\n")
    (shared / "nginx.conf_1").touch()
    assert renewed.force_renewal().status == 0
    assert shared.is_dir()
    assert 5 == len(checkpoints(renewed))


# A crash at any operation


WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile")


def disturbing(machine: Machine, at: int, fault: str, seen: list[int] | None = None,
               ) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Disturb operation number *at* of those that change our files or certbot's checkpoints."""
    ours = (str(machine.config_dir / "qiniu"), str(machine.config_dir / "work"))

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        count = itertools.count()
        log = (machine.directory / "operations").open("w", encoding="utf-8")

        def strike(event: str, path: object) -> None:
            number = next(count)
            log.write(f"{event} {path}\n")
            log.flush()
            if number != at:
                return
            if fault == "SIGKILL":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event not in WRITES or not arguments:
                return
            if event == "open" and not (isinstance(arguments[2], int)
                                        and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and (
                    str(path).startswith(ours) or not Path(path).is_absolute()) and (
                    ".certbot.lock" not in str(path)):
                strike(event, path)

        sys.addaudithook(hook)
        fsync = os.fsync
        os.fsync = lambda handle: (strike("fsync", handle), fsync(handle))[1]
        yield

    return around


class Estate:
    """A machine with two lineages, whose domains served http and somebody else's certificate."""

    def __init__(self, directory: Path, verb: str) -> None:
        self.cloud = Cloud(Switches(publish_seconds=3))
        self.stranger = self.cloud.stranger("b.example.org", days=80)
        self.cloud.qiniu.add_domain("www.example.com")
        self.cloud.qiniu.add_domain("b.example.org", protocol="https", cert_id=self.stranger)
        self.machine = Machine(self.cloud, directory / "machine")
        self.verb = verb
        assert self.machine.issue("b.example.org").status == 0
        if verb != "run":
            assert self.machine.issue("www.example.com").status == 0
            for _ in range(5 if verb == "prune" else 1):
                self.cloud.clock.sleep(HOUR)
                assert self.machine.force_renewal().status == 0
            later(self.machine, HOUR)
            if verb == "prune":
                age(self.machine, 180)
        self._copy = directory / "saved"
        shutil.copytree(self.machine.directory, self._copy, symlinks=True)
        self._saved = self.cloud.save()

    def reset(self) -> None:
        """Go back to before the disturbed run."""
        shutil.rmtree(self.machine.directory)
        shutil.copytree(self._copy, self.machine.directory, symlinks=True)
        self.cloud.restore(self._saved)

    def go(self, **options: Any) -> Run:
        """The run that is disturbed."""
        machine = self.machine
        if self.verb == "run":
            return machine.issue("www.example.com", **options)
        if self.verb == "install":
            return machine.certbot("install", *machine.installer, "--cert-name",
                                   "www.example.com", "--redirect", **options)
        if self.verb == "rollback":
            return machine.certbot("rollback", *machine.installer, **options)
        return machine.force_renewal(**options)

    def judge(self, at: int, fault: str) -> None:
        """Disturb one run; after a healthy one a full rollback brings back every baseline."""
        machine = self.machine
        runs = [self.go(around=disturbing(machine, at, fault))]
        wanted = self.wanted()
        for _ in range(2 if self.verb == "rollback" else 1):
            self.cloud.clock.sleep(HOUR)
            runs.append(machine.renew())
        self.cloud.clock.sleep(HOUR)
        left = {name: self.cloud.qiniu.serving(name).fingerprint for name in wanted}
        runs.append(machine.certbot("rollback", *machine.installer, "--checkpoints", "99"))
        self.cloud.clock.sleep(HOUR)
        where = "\n---\n".join(f"{run.status}\n{run.output}" for run in runs)
        where = f"{fault} at {at}\n{where}"
        if self.verb == "rollback":
            assert wanted == left, f"a timer undoes what it has done: {where}"
        assert "Traceback" not in where, where
        assert 0 == runs[1].status or "No renewals were attempted" in where, where
        serving = self.cloud.qiniu.serving
        for name, right in (("www.example.com", serving("www.example.com").protocol == "http"),
                            ("b.example.org", serving("b.example.org").cert_id == self.stranger)):
            assert right or (runs[-1].status == 1 and name in runs[-1].output), f"{name} {where}"

    def wanted(self) -> dict[str, str]:
        """The certificates that our files have for the domains."""
        found: dict[str, str] = {}
        for path in (self.machine.config_dir / "qiniu" / "state").glob("*.json"):
            found |= {name: entry["binding"]["fingerprint"] for name, entry
                      in json.loads(path.read_text()).get("domains", {}).items()}
        return found


def operations(estate: Estate) -> int:
    """How many operations its run has."""
    assert 0 == estate.go(around=disturbing(estate.machine, -1, "")).status
    return len((estate.machine.directory / "operations").read_text().splitlines())


def run_row(estate: Estate, fault: str, step: int) -> None:
    """Disturb every *step*th operation."""
    failures = []
    for at in range(0, operations(estate), step):
        estate.reset()
        try:
            estate.judge(at, fault)
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, f"{len(failures)}:\n\n" + "\n\n".join(failures[:3])


VERBS = ("run", "renew", "install", "rollback", "prune")
FAULTS = ("SIGKILL", "ENOSPC")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", VERBS)
def test_fault_at_some_operations(verb: str, fault: str, tmp_path: Path) -> None:
    """A sample of the matrix below."""
    run_row(Estate(tmp_path, verb), fault, 11)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", VERBS)
def test_fault_at_every_operation(verb: str, fault: str, tmp_path: Path) -> None:
    """Wherever a run dies, or has no room: no baseline is lost, and no rollback is blocked."""
    run_row(Estate(tmp_path, verb), fault, 1)
