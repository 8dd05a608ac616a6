"""The loop: when it renews, what ends it, and what it says of itself."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import cli, containers, loop, loop_health, renew
from certbot_qiniu.command.loop_health import Health
from certbot_qiniu.command.renew import Cycle, Programs

HOUR, BEGUN = 3600.0, 1_800_000_000.0
GOOD, ATTENTION, FAILED = Cycle(False, 0), Cycle(False, 1), Cycle(True, 1)


class Day:
    """Virtual time, in which renewals end as they are told to.

    :ivar at: when each renewal began, in hours.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.now = folder, BEGUN
        self.at: list[float] = []
        self.healths: list[tuple[float, int]] = []
        self._patch = monkeypatch
        monkeypatch.setenv("TERM", "xterm")  # put back afterwards
        monkeypatch.setattr(loop.time, "time", lambda: self.now)
        monkeypatch.setattr(loop.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(loop, "TICK_SECONDS", HOUR)

    def loop(self, *ends: Cycle | Exception | Callable[[], Cycle],
             arguments: tuple[str, ...] = ()) -> int:
        """Run the loop until the renewals have ended so; then it gets SIGTERM in its pause."""
        left = list(ends)

        def cycle(*_: object) -> Cycle:
            self.at.append((self.now - BEGUN) / HOUR)
            end = left.pop(0)
            if isinstance(end, Exception):
                raise end
            return end if isinstance(end, Cycle) else end()

        def sleep(seconds: float) -> None:
            if not left:
                os.kill(os.getpid(), signal.SIGTERM)
            self.now += seconds
            self.healths.append(((self.now - BEGUN) / HOUR, self.health()))

        self._patch.setattr(renew, "cycle", cycle)
        self._patch.setattr(loop.time, "sleep", sleep)
        return self.run(*arguments)

    def run(self, *arguments: str) -> int:
        return cli.main(["loop", "--config-dir", str(self.folder), *arguments])

    def health(self) -> int:
        try:
            return loop.run(argparse.Namespace(health=True, config_dir=self.folder))
        except errors.StateError:
            return 2


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Day:
    """A machine whose loop has not been started."""
    return Day(tmp_path, monkeypatch)


def test_every_twelve_hours(day: Day) -> None:
    """At once, and then every half day, up to an hour later; SIGTERM in a pause ends it well."""
    assert day.loop(GOOD, GOOD, GOOD, GOOD) == 0
    gaps = [after - before for before, after in zip(day.at, day.at[1:], strict=False)]
    assert day.at[0] == 0
    assert all(12 <= gap <= 13 for gap in gaps)
    assert len(set(gaps)) == 3
    assert {0} == {status for _, status in day.healths}


def test_failures(day: Day, capsys: pytest.CaptureFixture[str]) -> None:
    """They end nothing; after a day it is unhealthy, and with the first success healthy again."""
    assert day.loop(FAILED, errors.UsageError("no plan"), OSError(28, "No space left"), GOOD,
                    GOOD) == 0
    assert {0} == {status for hours, status in day.healths if hours < 24}
    assert {1} == {status for hours, status in day.healths if 24.5 < hours < day.at[3]}
    assert {0} == {status for hours, status in day.healths if hours > day.at[3] + 1}
    said = capsys.readouterr().err
    assert "certbot-qiniu: no plan" in said
    assert "No space left" in said
    assert "renewals have failed since 2027-01-15T08:00:00Z" in said


def test_what_is_no_failure(day: Day) -> None:
    """A status that asks for somebody to look is no reason to start the container anew."""
    day.loop(ATTENTION, ATTENTION, ATTENTION, Cycle(False, 2))
    assert {0} == {status for _, status in day.healths}


def test_a_loop_that_hangs_or_is_gone(day: Day, capsys: pytest.CaptureFixture[str]) -> None:
    """A day without an end of any renewal is unhealthy; so is what was never started."""
    assert day.health() == 1
    assert "no loop has been started" in capsys.readouterr().err
    day.loop(GOOD)
    assert day.health() == 0
    assert "ended at 2027-01-15T08:00:00Z, with exit status 0" in capsys.readouterr().out
    day.now += 25 * HOUR
    assert day.health() == 1


def test_new_container(day: Day) -> None:
    """It has its time again for a first renewal; how long renewals have failed is remembered."""
    day.loop(FAILED)
    day.now += 21 * HOUR
    day.loop(FAILED)
    assert day.health() == 0
    day.now += HOUR
    assert day.health() == 1
    day.loop(GOOD)
    day.now += 20 * 24 * HOUR
    found: list[int] = []

    def later() -> Cycle:
        found.append(day.health())
        return GOOD

    day.loop(later)
    assert found == [0]


def test_signal_in_a_renewal(day: Day) -> None:
    """Nothing is begun after it, and what it cut off counts for nothing."""
    def cut() -> Cycle:
        os.kill(os.getpid(), signal.SIGTERM)
        return FAILED

    assert day.loop(cut, GOOD) == 0
    assert day.at == [0]
    assert loop_health.read(loop_health.path(day.folder)) == Health(BEGUN)


def test_arguments_are_those_of_renew(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach each renewal, and what certbot alone would hear is refused at the start."""
    ran: list[str] = []

    def run(_: Programs, command: list[str], _seconds: float) -> str:
        ran.append(" ".join(word for word in command[1:] if "-dir=" not in word))
        return ""

    monkeypatch.setattr(renew.Programs, "run", run)
    real = renew.cycle
    monkeypatch.setattr(loop.renew, "cycle", real)
    monkeypatch.setattr(loop.time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert day.run("--notify=@/n", "--heartbeat=@/h", "--prometheus=/p", "--", "-q") == 0
    assert ["renew --no-random-sleep-on-renew -q",
            "status --managed --probe --deadline=900 --prometheus=/p --notify=@/n --heartbeat=@/h "
            "--renewal="] == ran
    assert day.run("--", "--cert-name=x") == 2


def test_what_is_printed(day: Day, capsys: pytest.CaptureFixture[str],
                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole lines: when the next one is, unless it is to be quiet; and what is no volume."""
    monkeypatch.setattr(containers, "lost_with_it",
                        lambda folders: iter([(folders["work"], "X is no volume")]))
    day.loop(GOOD)
    said = capsys.readouterr()
    assert said.out.startswith("certbot-qiniu: next renewal at 2027-01-15T20:")
    assert said.err.startswith("certbot-qiniu: X is no volume\n")
    day.loop(GOOD, arguments=("--quiet",))
    assert "next renewal" not in capsys.readouterr().out


def test_health_file_that_is_damaged_or_in_the_way(
        day: Day, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, and renewals go on."""
    file = loop_health.path(day.folder)
    file.parent.mkdir()
    file.write_text("{")
    assert day.loop(GOOD) == 0
    assert "loop.json is corrupt" in capsys.readouterr().err
    assert day.health() == 0
    file.unlink()
    file.mkdir()
    (file / "x").mkdir()
    assert day.loop(GOOD) == 0
    assert str(file) in capsys.readouterr().err
