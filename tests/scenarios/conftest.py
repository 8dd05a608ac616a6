"""A scenario has no timers, crontabs and edges but those that it brings along."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.command.jobs import scheduled_jobs
from certbot_qiniu.webserver import edge


@pytest.fixture(autouse=True)
def no_jobs_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be an empty file system in place of this machine's."""
    monkeypatch.setattr(scheduled_jobs, "ROOT", tmp_path / "root")


@pytest.fixture(autouse=True)
def no_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no name lead anywhere."""
    monkeypatch.setattr(edge, "addresses", lambda host: [])
