"""What all tests share: markers, a clean environment, and no silent skips in CI."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.package import TESTS
from tests.sandbox.surroundings import disturbs

if TYPE_CHECKING:
    from tests.sandbox.stack import Sandbox

NO_SKIPS = "CERTBOT_QINIU_NO_SKIPS"
"""Set to 1, this makes every skip a failure of the whole run."""


SANDBOX_PROGRAMS = ("pebble", "nginx", "haproxy")
"""What a test needs that is marked ``programs``, unless the mark names others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the folder that it is in: its harness."""
    for item in items:
        if item.path.is_relative_to(TESTS):
            item.add_marker(item.path.relative_to(TESTS).parts[0])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests whose programs are missing."""
    if markers := list(item.iter_markers("programs")):
        from tests.sandbox.webserver import find_server

        names = {name: None for marker in markers for name in (marker.args or SANDBOX_PROGRAMS)}
        missing = [name for name in names if not find_server(name)]
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)} (see `make system`)")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a run fail in which anything was skipped, a whole file included."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(NO_SKIPS) == "1" and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what many tests have found together, and whether a skip was too many."""
    if os.environ.get(NO_SKIPS) == "1" and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line(f"Skipped tests, and {NO_SKIPS}=1: this run has failed.",
                                    red=True)
    console = Console(file=terminalreporter._tw._file, width=120)
    reports = [report for found in terminalreporter.stats.values() for report in found
               if isinstance(report, pytest.TestReport)]
    print_machines(console, reports)
    print_faults(console, reports)


def print_machines(console: Console, reports: list[pytest.TestReport]) -> None:
    """Show which check passed on which machine, and its seconds."""
    found = [(*re.split(r"[\[\]]", report.nodeid)[:2], report) for report in reports
             if report.nodeid.startswith("tests/machines/")
             and (report.when == "call" or report.failed)]
    machines = sorted({machine for _, machine, _ in found})
    if not found:
        return
    table = Table("check", *machines, title="Machines", box=None)
    for check in dict.fromkeys(check for check, _, _ in found):
        cells = {machine: f"{report.outcome} ({report.duration:.0f} s)"
                 for name, machine, report in found if name == check}
        table.add_row(check.removeprefix("tests/machines/"),
                      *(cells.get(machine, "-") for machine in machines))
    console.print(table)


def print_faults(console: Console, reports: list[pytest.TestReport]) -> None:
    """Show the fault matrix, whichever worker ran its rows."""
    rows = [value for report in reports if report.when == "call"
            for key, value in report.user_properties if key == "fault matrix"]
    if not rows:
        return
    for name in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == name]
        table = Table("fault", *map(str, range(max(len(row[2]) for row in mine))),
                      title=f"{name}: fault x call", box=None)
        for _, fault, cells in mine:
            table.add_row(fault, *cells)
        console.print(table)
    cells = [cell for row in rows for cell in row[2]]
    console.print(f"fault matrix: {len(cells)} cases, {cells.count('!')} violations "
                  "(. the run itself succeeded; h it said no, x it was killed, and the next "
                  "ones healed it)")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the caller's proxies, trusted roots and Qiniu settings away from every test."""
    for name in list(os.environ):
        if disturbs(name):
            monkeypatch.delenv(name)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox with a web server, and fail the test when something went astray in it."""
    from tests.sandbox.stack import Sandbox

    with Sandbox() as sandbox:
        yield sandbox
        sandbox.assert_sound()
