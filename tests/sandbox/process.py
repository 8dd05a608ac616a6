"""Programs that the sandbox runs, and waiting for what they do."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
"""The only address that anything in the sandbox listens on."""


def free_port() -> int:
    """A port of the loopback address that nothing listens on just now, neither TCP nor UDP."""
    while True:
        # Below the range from which outgoing connections get theirs, lest one of them take it.
        port = random.randrange(20000, 30000)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind((LOOPBACK, port))
        except OSError:
            continue
        return port


def until(probe: Callable[[], T], what: str, *, seconds: float = 15) -> T:
    """Ask *probe* again and again until its answer is true, and return that.

    :param what: what is waited for, in words, for the error.
    :raises TimeoutError: if it has not come true within *seconds*.
    """
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.01)
    return answer


class Program:
    """A long-running program whose output goes to a file.

    :ivar log: that file.
    """

    def __init__(self, command: Sequence[str], log: Path,
                 environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], bool]) -> None:
        """Start it, and wait until *ready* answers true.

        :raises RuntimeError: if it ended instead, with the end of its output.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment,
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: not self.running or ready(), f"{self._command[0]} is ready")
            if not self.running:
                raise RuntimeError(f"{self._command[0]} ended with {self._process.returncode}: "
                                   f"{self.log.read_text(errors='replace')[-2000:]}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and wait for its end; without effect when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
