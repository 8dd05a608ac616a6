"""When the loop is well, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import loop_health
from certbot_qiniu.command.loop_health import Health
from certbot_qiniu.model import DAY

NOW = 1_800_000_000.0
HALF = DAY / 2


@pytest.mark.parametrize(("health", "complaint"), [
    (Health(NOW), ""),
    (Health(NOW - DAY), ""),
    (Health(NOW - DAY - 1), "no renewal has ended since "),
    (Health(NOW - 9 * DAY, NOW - HALF), ""),
    (Health(NOW - 9 * DAY, NOW - DAY - 1), "no renewal has ended since "),
    (Health(NOW - 9 * DAY, NOW - HALF, 1, NOW - HALF), ""),
    (Health(NOW - 9 * DAY, NOW - HALF, 1, NOW - DAY), "renewals have failed since "),
    (Health(NOW - 9 * DAY, NOW - HALF, 1), ""),
    (Health(NOW + DAY, NOW + DAY), ""),
], ids=["started", "started a day ago", "started long ago, and silent", "ended", "ended long ago",
        "failing", "failing for a day", "something else to look at", "a clock that was set back"])
def test_complaint(health: Health, complaint: str) -> None:
    """Renewals that fail for a day, or a day without any; a single failure is none."""
    found = health.complaint(NOW)
    assert found.startswith(complaint)
    assert bool(found) is bool(complaint)


def test_failures_in_a_row() -> None:
    """The first one counts, and a success ends it."""
    health = Health(NOW).after(1, NOW + 1, failed=True).after(1, NOW + 2, failed=True)
    assert health == Health(NOW, NOW + 2, 1, NOW + 1)
    assert health.after(2, NOW + 3, failed=False) == Health(NOW, NOW + 3, 2)


def test_failures_before_the_clock_was_set_back() -> None:
    """They count from the first one that the right clock saw."""
    wrong = NOW + 400 * DAY
    health = Health(wrong).after(1, wrong, failed=True).after(1, NOW, failed=True)
    assert health.after(1, NOW + DAY, failed=True).complaint(NOW + DAY)


def test_file(tmp_path: Path) -> None:
    """It comes back as it was written; a damaged one is named."""
    file = loop_health.path(tmp_path)
    assert loop_health.read(file) is None
    file.parent.mkdir()
    loop_health.write(file, Health(NOW, NOW + 1, 1, NOW))
    assert loop_health.read(file) == Health(NOW, NOW + 1, 1, NOW)
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text('{"version": 1, "started": "x"}')
    with pytest.raises(errors.StateError, match=r"loop.json is corrupt"):
        loop_health.read(file)
