"""The health of ``certbot-qiniu loop``: the file that it writes for those who monitor it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from certbot_qiniu.command.survey.health import utc
from certbot_qiniu.files import decode, decoding, read_json, write_json
from certbot_qiniu.model import DAY

UNHEALTHY_SECONDS = DAY
LOST = "the loop writes it anew"
"""The result without the file."""


@dataclass(frozen=True)
class Health:
    """The health of the loop.

    :ivar started: when it was started.
    :ivar ended: when the last renewal ended, 0 for never.
    :ivar exit_status: the one that ``certbot-qiniu renew`` would have had.
    :ivar failing_since: when the first of the last renewals that all failed did; 0 if the last one
        did not fail.
    """

    started: float
    ended: float = 0.0
    exit_status: int = 0
    failing_since: float = 0.0

    def after(self, exit_status: int, now: float, *, failed: bool) -> Health:
        """Return the health after a renewal has ended."""
        # A clock that was set back would keep failures young for as long as it was wrong.
        since = min(self.failing_since or now, now)
        return replace(self, ended=now, exit_status=exit_status,
                       failing_since=since if failed else 0.0)

    def complaint(self, now: float) -> str:
        """Say what is wrong with it; "" if it is healthy."""
        if self.failing_since and now - self.failing_since >= UNHEALTHY_SECONDS:
            return f"renewals have failed since {utc(self.failing_since)}"
        last = max(self.started, self.ended)
        if now - last > UNHEALTHY_SECONDS:
            return f"no renewal has ended since {utc(last)}"
        return ""


def path(config_dir: Path) -> Path:
    """Return the path of the file."""
    return config_dir / "qiniu" / "loop.json"


def read(file: Path) -> Health | None:
    """Read the health of the loop; None if there was none.

    :raises errors.StateError: if that cannot be read.
    """
    if not file.exists():
        return None
    raw = read_json(file, LOST)
    with decoding(file, LOST):
        return decode(Health, {key: value for key, value in raw.items() if key != "version"})


def write(file: Path, health: Health) -> None:
    """Replace the file.

    :raises errors.StateError: if that is not possible.
    """
    write_json(file, vars(health))
