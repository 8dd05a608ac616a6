"""The benchmark at small sizes: what it counts holds on any machine. And ten years, lived through.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.estate import HOUR, estate, lengthen, step
from benchmarks.growth import exponent
from benchmarks.tell import table
from tests.package import ROOT
from tests.scenarios.machine import Machine
from tests.scenarios.test_files import counted, sizes

LINEAGES, CYCLES = 5, 40


@pytest.mark.timeout(300)
@pytest.mark.parametrize("section", ["lineages", "renewals", "disk", "status"])
def test_small_sizes(section: str) -> None:
    """No bound on counts is broken, and the tables are there."""
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--small", section], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert (0, True) == (done.returncode, "\n|--:|" in done.stdout), done.stdout + done.stderr


def test_a_broken_bound(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One bound that does not hold is named, and is the exit status."""
    from benchmarks import __main__, renewals

    monkeypatch.setattr(renewals, "DISK_BYTES", 0)
    monkeypatch.setattr(renewals, "DISK_BYTES_EACH", 200)
    assert 2 == __main__.main(["--small", "disk"])
    assert "Does not hold: the disk of a renewal of 10 domains" in capfd.readouterr().err


@pytest.mark.parametrize(("cost", "expected"), [
    (lambda size: 3 * size, 1), (lambda size: size**2, 2), (lambda _: 7, 0)])
def test_exponent(cost: Callable[[float], float], expected: float) -> None:
    """It is that of the power."""
    assert expected == pytest.approx(exponent({size: cost(size) for size in (10, 100, 500)}))


def test_table() -> None:
    """Markdown, with numbers to the right."""
    assert "| a | b |\n|--:|--:|\n| 1 | 2 |" == table(("a", "b"), [(1, 2)])


# Ten years


def cost(machine: Machine) -> tuple[int, list[str]]:
    """The calls of a run with nothing to do, and the files of certbot's and ours that it opens."""
    machine.cloud.clock.is_real = False
    log = machine.directory / "opened"
    run = machine.renew(around=lambda: counted(log))
    assert run.status == 0, run.output
    return len(run.calls), sorted(
        line.replace(str(machine.config_dir), "") for line in log.read_text().splitlines()
        if str(machine.config_dir) in line and "/logs/" not in line)


def remembered(machine: Machine) -> list[dict[str, int]]:
    """How many entries each part of a lineage's memory has."""
    return [{name: len(value) for name, value in json.loads(path.read_text()).items()
             if isinstance(value, dict | list)}
            for path in sorted((machine.config_dir / "qiniu" / "memory").iterdir())]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Machine]:
    """One without a past, one whose ten years were written, and one that has lived through them."""
    folder = tmp_path_factory.mktemp("history")
    made: dict[str, Any] = {name: estate(folder / name, LINEAGES, cycles)[0] for name, cycles in (
        ("fresh", 0), ("written", 5), ("lived", CYCLES))}
    lengthen(made["written"], CYCLES)
    return made


@pytest.mark.timeout(600)
def test_ten_years_cost_what_a_day_costs(machines: dict[str, Machine]) -> None:
    """Nothing to do takes the same calls, and opens the same files, however long the past is."""
    calls, files = cost(machines["fresh"])
    assert calls <= 5
    assert 2 * LINEAGES < len(files)
    for name in ("written", "lived"):
        later_calls, later_files = cost(machines[name])
        assert calls == later_calls
        assert len(files) == len(later_files)
        assert ours(files) == ours(later_files)


def ours(files: list[str]) -> list[str]:
    """Those of them that the plugin has written."""
    return [file for file in files if "/qiniu/" in file]


@pytest.mark.timeout(600)
def test_the_memory_forgets(machines: dict[str, Machine]) -> None:
    """After forty renewals there are a domain, three certificates and a few checkpoints."""
    # The present one, the one before it, and the domain's baseline. Only the fingerprints of older
    # states are as many as there were; of them a hundred are kept.
    bounds = {"domains": 1, "uploads": 3, "checkpoints": 4, "former": CYCLES + 1}
    lived = remembered(machines["lived"])
    for lengths in lived:
        assert {name for name, length in lengths.items() if length > bounds.get(name, 9)} == set()
    assert len(sizes(machines["lived"], "work/backups")) == len(
        sizes(machines["written"], "work/backups")), "old checkpoints are pruned"
    written = sum(sizes(machines["written"], "qiniu").values())
    assert written == pytest.approx(sum(sizes(machines["lived"], "qiniu").values()), rel=0.1)


@pytest.mark.timeout(600)
def test_a_renewal_after_ten_years(machines: dict[str, Machine]) -> None:
    """It adds no more than one of the first year."""
    for name in ("fresh", "lived"):
        machines[name].cloud.clock.is_real = False
    grown = {}
    for name in ("fresh", "lived"):
        machine = machines[name]
        before = sum(sizes(machine, "qiniu").values())
        step(machine.force_renewal, machine)
        machine.cloud.clock.sleep(HOUR)
        step(machine.renew, machine)
        grown[name] = sum(sizes(machine, "qiniu").values()) - before
    assert grown["lived"] <= grown["fresh"]
