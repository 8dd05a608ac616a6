"""What all tests share: a clean environment, the sandbox, and no silent skips where it matters."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.sandbox.stack import Sandbox, disturbs
from tests.sandbox.webserver import find_nginx

REQUIRE_E2E = "CERTBOT_QINIU_REQUIRE_E2E"
"""Set to 1, this makes every skip of an end-to-end test a failure."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip end-to-end tests where their programs are missing."""
    if item.get_closest_marker("e2e"):
        programs = {"pebble": shutil.which("pebble"), "nginx": find_nginx()}
        missing = [name for name, path in programs.items() if not path]
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)} (see `make system`)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
        item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip of an end-to-end test into a failure where all of them must run."""
    report = yield
    if (report.skipped and item.get_closest_marker("e2e")
            and os.environ.get(REQUIRE_E2E) == "1"):
        report.outcome = "failed"
        report.longrepr = f"skipped although {REQUIRE_E2E}=1: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the fault matrix (see test_fault_matrix.py), whichever worker ran its rows."""
    rows = [value for reports in terminalreporter.stats.values() for report in reports
            if isinstance(report, pytest.TestReport) and report.when == "call"
            for key, value in report.user_properties if key == "fault matrix"]
    if not rows:
        return
    console = Console(file=terminalreporter._tw._file, width=120)
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
    with Sandbox() as sandbox:
        yield sandbox
        sandbox.assert_sound()
