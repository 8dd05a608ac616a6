"""What all tests share: a clean environment, the sandbox, and no silent skips where it matters."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator

import pytest

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
