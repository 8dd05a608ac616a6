"""``certbot renew`` with nothing to do, by lineages and by years."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.estate import CYCLE, DAY, estate, lengthen, renew, without_plugin
from benchmarks.growth import LIMIT, exponent
from benchmarks.service import Measurement, Service
from benchmarks.tell import progress, table

CYCLES, DECADE = 5, 40
RUNS = 5
CERTBOT_LIMIT, AGE_LIMIT = 2.0, 1.25
SPREAD = 1.0
"""Seconds of the processor: what takes less is measured more often."""


@dataclass
class _Subject:
    """A machine that is measured.

    :ivar cycles: how often all of it was renewed.
    :ivar cycle_seconds: what that took the last time.
    :ivar plain: the folder with the same lineages and no installer in their confs.
    :ivar alone: what certbot took with that, each just before the run.
    """

    cycles: int
    service: Service
    config_dir: Path
    plain: Path
    cycle_seconds: float
    runs: list[Measurement] = field(default_factory=list)
    alone: list[Measurement] = field(default_factory=list)
    opened: int = 0

    def run(self) -> None:
        """Measure both."""
        self.alone.append(renew(self.service, self.plain))
        self.runs.append(renew(self.service, self.config_dir))

    @property
    def processor(self) -> float:
        return statistics.median(run.processor for run in self.runs)

    @property
    def certbot(self) -> float:
        """The cost of certbot by itself."""
        return statistics.median(run.processor for run in self.alone)

    @property
    def ratio(self) -> float:
        return statistics.median(ours.processor / alone.processor
                                 for ours, alone in zip(self.runs, self.alone, strict=True))

    @property
    def counts(self) -> tuple[int, int]:
        """Calls, and files opened."""
        return max(run.calls for run in self.runs), self.opened


def measure(sizes: list[int], cycles: int, environment: Path, *, timed: bool = True) -> list[str]:
    """Print tables, and answer which bounds do not hold.

    :param sizes: numbers of lineages; growth is counted from the first of them on, which so has
        certbot's own start in it.
    :param timed: whether times are bounded.
    """
    rows, broken, cycle_rows = [], [], []
    fresh: dict[float, float] = {}
    old: dict[float, float] = {}
    years: dict[float, float] = {}
    for size in sizes:
        subjects = _measured(size, [0, cycles, *[DECADE] * (size == sizes[-1])], environment,
                             RUNS if timed else 1)
        for subject in subjects:
            rows.append((size, subject.cycles or "none", *subject.counts,
                         f"{subject.processor:.2f}", f"{subject.certbot:.2f}",
                         f"{subject.ratio:.2f}", f"{max(run.peak for run in subject.runs):.0f}"))
        cycle_rows.append((size, f"{subjects[1].cycle_seconds:.1f}"))
        fresh[size], old[size] = subjects[0].processor, subjects[1].processor
        broken += [f"{size} lineages after {subject.cycles} cycles: equal counts"
                   for subject in subjects[1:] if subject.counts != subjects[0].counts]
    if timed:
        last = {subject.cycles: subject.processor for subject in subjects}
        broken += [f"{size} lineages after {subject.cycles} cycles: at most {CERTBOT_LIMIT} times "
                   "certbot's own" for subject in subjects if subject.ratio > CERTBOT_LIMIT]
        broken += [f"{size} lineages after {past} cycles: within 25 % of before"
                   for past, seconds in last.items() if seconds > AGE_LIMIT * last[0]]
        years = {past * CYCLE / DAY / 365: seconds for past, seconds in last.items() if past}
    print("\n## Nothing to do\n\n" + table(
        ("lineages", "cycles before", "calls", "files opened", "seconds of the processor",
         "certbot's own", "ratio", "MiB"), rows))
    print("\nA cycle of renewals, not bounded:\n\n" + table(("lineages", "seconds"), cycle_rows))
    if timed:
        first = sizes[0]
        found = {"lineages": exponent(_from(first, fresh)),
                 f"lineages after {cycles} cycles": exponent(_from(first, old)),
                 "years": exponent(years)}
        print("\n" + "; ".join(f"exponent in {what}: {value:.2f}" for what, value in found.items()))
        broken += [f"exponent in {what}" for what, value in found.items() if value > LIMIT]
    return broken


def _from(first: int, costs: dict[float, float]) -> dict[float, float]:
    """The cost that each lineage after the *first* ones adds."""
    return {size - first: cost - costs[first] for size, cost in costs.items() if size > first}


def _measured(size: int, pasts: list[int], environment: Path, runs: int) -> list[_Subject]:
    """Machines with each of these pasts, measured in turns."""
    with ExitStack() as stack:
        subjects = []
        for past in pasts:
            progress(f"{size} lineages, {past} cycles")
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            machine, seconds = estate(directory, size, min(past, pasts[1]))
            if past > pasts[1]:
                lengthen(machine, past)
            service = Service(directory, machine.cloud.qiniu, environment)
            subjects.append(_Subject(
                past, service, machine.config_dir, without_plugin(machine), seconds))
        for subject in subjects:
            stack.enter_context(subject.service.serving())
        while len(subjects[0].runs) < runs or (
                1 < runs <= len(subjects[0].runs) < 2 * runs and subjects[0].processor < SPREAD):
            for subject in subjects:
                subject.run()
        for subject in subjects:
            subject.opened = renew(subject.service, subject.config_dir, counting=True).opened
        return subjects
