"""A scenario has no timers and crontabs but those that it brings along."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.command import certbot_jobs


@pytest.fixture(autouse=True)
def no_jobs_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be an empty file system in place of this machine's."""
    monkeypatch.setattr(certbot_jobs, "ROOT", tmp_path / "root")
