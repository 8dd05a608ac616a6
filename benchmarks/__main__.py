"""Measure the plugin beside the hook that it replaces: ``make bench``.

``BENCH_SIZES=1000 make bench`` chooses the numbers of domains; that one takes ten minutes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import startup, webserver
from benchmarks.cloud import Cloud, Measurement
from benchmarks.contenders import CONTENDERS, SCENARIOS

SIZES = "1,10,100"
LOAD_LIMIT = 1.03
WALL_LIMIT, WALL_DOMAINS = 1.25, 100
"""How much longer than at the API's own rate, from how many domains on: below, certbot's own
start is most of it."""

PEERS_DOMAINS = 100
"""Up to how many domains the others run, too: theirs is a straight line, and a long one."""

Results = dict[tuple[str, str], Measurement]


def main() -> int:
    """Print all tables; the exit status is the number of bounds that do not hold."""
    sizes = [int(size) for size in os.environ.get("BENCH_SIZES", SIZES).split(",")]
    broken = []
    print(f"Noise: a loop that should take the same time each time varies by {_noise():.0%} here.")
    for size in sizes:
        results = _measure(size)
        _print_table(size, results)
        broken += _broken_bounds(size, results)
    loaded = startup.measure()
    print(f"\ncertbot --version with the plugin takes {loaded.ratio:.3f} times the {loaded.unit} "
          f"that it takes without (noise {loaded.noise:.4f}).")
    if loaded.ratio >= LOAD_LIMIT:
        broken.append("start-up")
    broken += webserver.measure()
    for bound in broken:
        print(f"Does not hold: {bound}", file=sys.stderr)
    return len(broken)


def _measure(size: int) -> Results:
    results = {}
    for contender, scenarios in CONTENDERS.items():
        if contender != "plugin" and size > PEERS_DOMAINS:
            continue
        with tempfile.TemporaryDirectory(prefix="certbot-qiniu-bench-") as directory:
            cloud = Cloud(Path(directory), size)
            with cloud.serving():
                for scenario, measurement in scenarios(cloud):
                    results[contender, scenario] = measurement
    return results


def _print_table(size: int, results: Results) -> None:
    print(f"\n{size} {'domain' if size == 1 else 'domains'}\n")
    print("| scenario | who | calls | seconds | at the API's rate | ratio | refused | MiB |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for scenario in SCENARIOS:
        for contender in CONTENDERS:
            if done := results.get((contender, scenario)):
                print(f"| {scenario} | {contender} | {done.calls} | {done.seconds:.1f} "
                      f"| {done.floor:.1f} | {done.seconds / done.floor:.2f} | {done.refused} "
                      f"| {done.peak:.0f} |", flush=True)


def _broken_bounds(size: int, results: Results) -> list[str]:
    ours = {scenario: done for (who, scenario), done in results.items() if who == "plugin"}
    renewal = ours["renewal"]
    bounds = {
        f"{size}: a renewal within {size} + 15 calls": renewal.calls <= size + 15,
        f"{size}: nothing to do within 5 calls": ours["nothing to do"].calls <= 5,
        f"{size}: no call refused": not any(done.refused for done in ours.values())}
    if size >= WALL_DOMAINS:
        bounds |= {
            f"{size}: a renewal within {WALL_LIMIT} of the API's rate":
                renewal.seconds <= WALL_LIMIT * renewal.floor}
    if size == PEERS_DOMAINS:
        bounds |= {f"{size}: ahead of the hook":
                   renewal.seconds < results["hook", "renewal"].seconds}
    return [bound for bound, holds in bounds.items() if not holds]


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
