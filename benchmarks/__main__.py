"""Measure what the plugin costs, and fail if a bound does not hold: ``make bench``.

What is printed are the tables of docs/performance.md. ``--small`` is what continuous integration
runs: counts alone, which no other program on the machine can change.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import foreign, lean, lineages, renewals, startup, webserver
from benchmarks.tell import progress

LOAD_LIMIT = 1.03
SECTIONS = ("lineages", "renewals", "disk", "status", "start", "nginx")


def main(arguments: list[str] | None = None) -> int:
    """Print all tables; the exit status is the number of bounds that do not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--small", action="store_true", help="small sizes, and no times")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.sections) - set(SECTIONS):
        parser.error(f"no section {min(unknown)}")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        environment, timed = lean.environment(Path(directory)), not chosen.small
        sections = {
            "lineages": lambda: lineages.measure(
                [1, 10, 100, 500] if timed else [1, 4], lineages.CYCLES if timed else 1,
                environment, timed=timed),
            "renewals": lambda: renewals.measure(
                [100, 1000] if timed else [5], environment, timed=timed),
            "disk": lambda: renewals.measure_disk([1, 10, 100] if timed else [1, 10]),
            "status": lambda: foreign.measure(10_000 if timed else 200, environment),
            "start": _measure_start, "nginx": webserver.measure}
        if chosen.small:
            del sections["start"], sections["nginx"]
        else:
            print(f"Noise: a loop that should take the same time each time varies by "
                  f"{_noise():.0%} here.")
        broken = [bound for name, section in sections.items()
                  if not chosen.sections or name in chosen.sections for bound in section()]
    progress("done")
    for bound in broken:
        print(f"Does not hold: {bound}", file=sys.stderr)
    return len(broken)


def _measure_start() -> list[str]:
    progress("start-up")
    loaded = startup.measure()
    print(f"\n## Start-up\n\ncertbot --version with the plugin takes {loaded.ratio:.3f} times the "
          f"{loaded.unit} that it takes without (noise {loaded.noise:.4f}).")
    return ["start-up"] * (loaded.ratio > LOAD_LIMIT)


def _noise() -> float:
    """The spread of the time that the same work takes."""
    def once() -> float:
        begun = time.perf_counter()
        sum(number * number for number in range(300_000))
        return time.perf_counter() - begun

    times = [once() for _ in range(25)]
    low, _, high = statistics.quantiles(times, n=4)
    return (high - low) / statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
