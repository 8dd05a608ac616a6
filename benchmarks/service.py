"""Qiniu as the benchmark meets it: the emulator, with delays, its limits enforced, behind TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox.proxy import Proxy
from tests.sandbox.qiniu import Qiniu
from tests.sandbox.surroundings import disturbs
from tests.sandbox.wire import Request, Response, Switchboard

READ_SECONDS, WRITE_SECONDS = 0.1, 0.3
CALLS_PER_SECOND = {"api.qiniu.com": 10, "fusion.qiniuapi.com": 5}


class _Slow:
    """Another emulator, each of whose answers takes a while."""

    def __init__(self, emulator: Qiniu) -> None:
        self._emulator = emulator
        self.hosts = emulator.hosts

    def handle(self, request: Request) -> Response:
        response = self._emulator.handle(request)
        time.sleep(READ_SECONDS if request.method == "GET" else WRITE_SECONDS)
        return response


@dataclass(frozen=True)
class Measurement:
    """The cost of a program.

    :ivar processor: seconds of it, of the user and of the system.
    :ivar floor: seconds that its calls take at the API's limit, each host by itself.
    :ivar refused: calls that were refused for coming too fast.
    :ivar peak: mebibytes of memory.
    :ivar opened: files below a folder that were opened, if that was asked for.
    """

    calls: int
    seconds: float
    processor: float
    floor: float
    refused: int
    peak: float
    opened: int


class Service:
    """An emulated Qiniu for programs.

    :param directory: a place for its files.
    :param environment: the folder with all that the programs may import.
    """

    def __init__(self, directory: Path, qiniu: Qiniu, environment: Path) -> None:
        self.directory, self.qiniu = directory, qiniu
        qiniu.switches.enforce_rate = True
        self._environment = environment
        self._board = Switchboard(_Slow(qiniu))
        self._proxy = Proxy(self._board, directory)
        self._trusted = directory / "trusted.pem"
        self._trusted.write_text(self._proxy.authority.cert_pem, encoding="ascii")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer programs as long as the context lasts."""
        self._proxy.start()
        try:
            yield
        finally:
            self._proxy.stop()

    def run(self, function: str, *arguments: str, text: str = "",
            counting: str = "") -> Measurement:
        """Run a program, given as ``module:function``, to its end.

        :param text: its standard input.
        :param counting: the folder below which opened files are counted.
        :raises RuntimeError: if it fails.
        """
        self._board.clear()
        environment = {name: value for name, value in os.environ.items() if not disturbs(name)}
        environment |= {"HTTPS_PROXY": self._proxy.url, "SSL_CERT_FILE": str(self._trusted),
                        "REQUESTS_CA_BUNDLE": str(self._trusted), "NO_PROXY": "127.0.0.1",
                        "PYTHONPATH": str(self._environment)}
        with tempfile.NamedTemporaryFile(mode="r", dir=self.directory) as report:
            begun = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-S", "-m", "benchmarks.child", report.name, counting, function,
                 *arguments], cwd=self.directory, input=text, capture_output=True, text=True,
                env=environment, check=False)
            seconds = time.monotonic() - begun
            if done.returncode:
                raise RuntimeError(f"{function} failed:\n{done.stdout}{done.stderr}")
            found = json.loads(report.read())
        calls = self._board.calls()
        floor = sum(sum(host == call.request.host for call in calls) / rate
                    for host, rate in CALLS_PER_SECOND.items())
        refused = sum(b"403024" in call.answer for call in calls)
        return Measurement(len(calls), seconds, found["processor"], floor, refused,
                           found["peak"], found["opened"])

    def assert_served(self, fingerprint: str, domains: Sequence[str]) -> None:
        """Check that what was measured was also done, once it is published.

        :raises RuntimeError: if a domain serves something else.
        """
        while any(self.qiniu.serving(name).state == "processing" for name in domains):
            time.sleep(0.1)
        wrong = [name for name in domains if self.qiniu.serving(name).fingerprint != fingerprint]
        if wrong:
            raise RuntimeError(f"{len(wrong)} domains serve something else: {wrong[:3]}")
