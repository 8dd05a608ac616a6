"""The waiting of a process for Qiniu: count it, stop it and show it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO

SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
RENEWAL_SECONDS = 60
"""The longest time that a ``certbot renew`` waits for busy domains; the next one comes soon."""

SLICE_SECONDS = 0.5
"""A signal does not end a sleep (PEP 475), so a wait is many short sleeps."""


class Waiting:
    """All waiting of one process, whatever the number of lineages and restarts.

    While :meth:`watched`, the first signal stops it for good; the second one is certbot's.

    :param tell: shows a line, once a minute.
    :param terminal: a terminal that shows one changing line instead; None if there is none.
    :ivar waited: seconds that it took so far.
    :ivar is_stopped: whether a signal has ended it.
    """

    def __init__(self, tell: Callable[[str], None] = lambda _: None,
                 terminal: TextIO | None = None) -> None:
        self._tell, self._terminal = tell, terminal
        self._told_minutes = -1
        self._shown = ""
        self._since: float | None = None
        self._monotonic: Callable[[], float] = time.monotonic
        self.waited = 0.0
        self.is_stopped = False

    def left(self, limit: float) -> float:
        """Return the seconds left to wait if the process may wait for *limit* in all."""
        return 0.0 if self.is_stopped else max(0.0, limit - self._elapsed())

    def stop(self) -> None:
        """Wait no more."""
        self.is_stopped = True

    @contextlib.contextmanager
    def watched(self, monotonic: Callable[[], float]) -> Iterator[None]:
        """Count the time that passes here as waited, and let the first signal stop the waiting."""
        self._monotonic, self._since = monotonic, monotonic()
        try:
            with self._signals():
                yield
        finally:
            self.waited, self._since = self._elapsed(), None

    def pause(self, seconds: float, names: list[str], sleep: Callable[[float], None]) -> None:
        """Sleep, unless stopped, and show for which domains.

        :param names: the domains that are not ready yet.
        """
        end = self._monotonic() + seconds
        try:
            while not self.is_stopped and (rest := end - self._monotonic()) > 0:
                self._show(names)
                sleep(min(rest, SLICE_SECONDS))
        finally:
            self._draw("")  # other lines follow

    def _elapsed(self) -> float:
        return self.waited + (0.0 if self._since is None else self._monotonic() - self._since)

    def _show(self, names: list[str]) -> None:
        minutes, seconds = divmod(int(self._elapsed()), 60)
        text = (f"Waiting for Qiniu, {minutes}:{seconds:02}: {len(names)} "
                f"domain{'s' * (len(names) != 1)} left (8 to 15 minutes are usual; "
                "Ctrl-C only stops the waiting)")
        if self._terminal:
            self._draw(text)
        elif minutes > self._told_minutes:
            self._told_minutes = minutes
            self._tell(text)

    def _draw(self, text: str) -> None:
        """Show *text* as the terminal's last line."""
        if self._terminal and text != self._shown:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps cannot be erased
            self._terminal.write(f"\r\x1b[K{text[:width]}")
            self._terminal.flush()
            self._shown = text

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the first signal stop the waiting, and the next one have its usual effect."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals can be caught only there
            return
        former = {number: handler for number in SIGNALS
                  if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)}

        def stop(number: int, frame: FrameType | None) -> None:
            if not self.is_stopped:
                self.stop()
                return
            handler = former[signal.Signals(number)]
            signal.signal(number, handler)
            if callable(handler):
                handler(number, frame)
            else:
                os.kill(os.getpid(), number)

        try:
            for number in former:
                signal.signal(number, stop)
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
