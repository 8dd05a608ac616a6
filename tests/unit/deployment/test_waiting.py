"""The waiting of a process: what is counted, what ends it, and what is seen of it."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable

import pytest

from certbot_qiniu.deployment.waiting import SIGNALS, Waiting


class Time:
    """Seconds that pass only while somebody sleeps; *during* is called in each sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.during: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.during()


@pytest.fixture
def time() -> Time:
    """A clock of its own."""
    return Time()


def wait(waiting: Waiting, time: Time, seconds: float, *names: str) -> None:
    """One watched pause."""
    with waiting.watched(time.monotonic):
        waiting.pause(seconds, list(names or ("a",)), time.sleep)


def test_what_is_counted(time: Time) -> None:
    """All that passes while it is watched, and nothing else, is off what the process may wait."""
    waiting = Waiting()
    assert 60.0 == waiting.left(60)
    wait(waiting, time, 20)
    time.sleep(500)
    assert 40.0 == waiting.left(60)
    with waiting.watched(time.monotonic):
        time.sleep(30)  # such as a call that takes long
        assert 10.0 == waiting.left(60)
        waiting.pause(25, ["a"], time.sleep)
    assert (75.0, 0.0, 1725.0) == (waiting.waited, waiting.left(60), waiting.left(1800))


def test_stopped(time: Time) -> None:
    """Once stopped, no pause takes any time, whoever asks for it."""
    waiting = Waiting()
    waiting.stop()
    wait(waiting, time, 100)
    assert (1000.0, 0.0, True) == (time.now, waiting.left(60), waiting.is_stopped)


@pytest.mark.parametrize("number", SIGNALS)
def test_signals(time: Time, number: int) -> None:
    """The first one stops it, the second is whose it was; then all are as they were before."""
    got: list[int] = []
    before = [signal.getsignal(each) for each in SIGNALS]
    former = signal.signal(number, lambda number, _: got.append(number))
    try:
        waiting = Waiting()
        time.during = lambda: os.kill(os.getpid(), number)
        with waiting.watched(time.monotonic):
            waiting.pause(100, ["a"], time.sleep)
            assert ([], True, 1000.5) == (got, waiting.is_stopped, time.now)
            os.kill(os.getpid(), number)
            assert [number] == got
        os.kill(os.getpid(), number)
        assert [number, number] == got
    finally:
        signal.signal(number, former)
    assert before == [signal.getsignal(each) for each in SIGNALS]


def test_a_signal_that_raises(time: Time) -> None:
    """What certbot's own handler raises passes, and the handlers are back in their places."""
    before = [signal.getsignal(each) for each in SIGNALS]
    waiting = Waiting()
    time.during = lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]  # type: ignore
    with pytest.raises(KeyboardInterrupt):
        wait(waiting, time, 100)
    assert before == [signal.getsignal(each) for each in SIGNALS]
    assert 0.5 == waiting.waited


def test_an_ignored_signal(time: Time) -> None:
    """Under ``nohup`` a hang-up is nothing to anybody."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        waiting = Waiting()
        time.during = lambda: os.kill(os.getpid(), signal.SIGHUP)
        wait(waiting, time, 10)
        assert (10.0, False) == (waiting.waited, waiting.is_stopped)
        assert signal.SIG_IGN == signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_in_another_thread(time: Time) -> None:
    """Signals can be caught in the main thread alone; waiting works in any."""
    waiting = Waiting()
    thread = threading.Thread(target=wait, args=(waiting, time, 10))
    thread.start()
    thread.join()
    assert 10.0 == waiting.waited


def test_lines(time: Time) -> None:
    """In a pipe there is a line at the beginning and one for each minute."""
    told: list[str] = []
    waiting = Waiting(told.append)
    wait(waiting, time, 61, "a", "b")
    wait(waiting, time, 70, "a")
    assert ["Waiting for Qiniu, 0:00: 2 domains left", "Waiting for Qiniu, 1:00: 2 domains left",
            "Waiting for Qiniu, 2:00: 1 domain left"] == [line.split(" (")[0] for line in told]
    assert "8 to 15 minutes are usual" in told[0]


def test_live_line(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal one line lives, never wraps, and is gone when something else is written."""
    monkeypatch.setenv("COLUMNS", "40")
    terminal, told = io.StringIO(), []  # type: ignore[var-annotated]
    waiting = Waiting(told.append, terminal)
    wait(waiting, time, 2)
    drawn = terminal.getvalue().split("\r\x1b[K")
    assert ["", "Waiting for Qiniu, 0:00: 1 domain left", "Waiting for Qiniu, 0:01: 1 domain left",
            ""] == [text.rstrip(" (") for text in drawn]
    assert max(map(len, drawn)) < 40
    assert [] == told
