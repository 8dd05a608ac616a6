"""Qiniu as the benchmark meets it: the emulator, with delays, its limits enforced, behind TLS."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox.pki import Authority
from tests.sandbox.proxy import Proxy
from tests.sandbox.qiniu import Qiniu
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.surroundings import disturbs
from tests.sandbox.wire import Request, Response, Switchboard

READ_SECONDS, WRITE_SECONDS = 0.1, 0.3
PUBLISH_SECONDS = 1.0
"""In reality minutes, which no client can shorten; what waits for it would drown in them."""
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
    """What a program cost.

    :ivar floor: seconds that its calls take at the API's own rate, each host by itself.
    :ivar refused: calls that were refused for coming too fast.
    :ivar peak: mebibytes of memory.
    """

    calls: int
    seconds: float
    floor: float
    refused: int
    peak: float
    output: str


class Cloud:
    """An account with *count* domains on somebody's old certificate, and a place for files.

    :ivar domains: the names of the domains.
    """

    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory
        self.authority = Authority("Benchmark")
        self.qiniu = Qiniu(roots=[self.authority.cert_pem], switches=Switches(
            enforce_rate=True, lenient_auth=True, publish_seconds=PUBLISH_SECONDS))
        self.domains = [f"d{number}.example.com" for number in range(count)]
        old = self.stranger()
        for name in self.domains:
            self.qiniu.add_domain(name, protocol="https", cert_id=old)
        self._board = Switchboard(_Slow(self.qiniu))
        self._proxy = Proxy(self._board, directory)
        self._trusted = directory / "trusted.pem"
        self._trusted.write_text(self._proxy.authority.cert_pem, encoding="ascii")

    def stranger(self) -> str:
        """Add a certificate that somebody else has uploaded."""
        return self.qiniu.add_certificate(
            self.authority.issue("*.example.com").fullchain_pem, name="somebody's")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer programs as long as the context lasts."""
        self._proxy.start()
        try:
            yield
        finally:
            self._proxy.stop()

    def run(self, function: str, *arguments: str, text: str = "") -> Measurement:
        """Run a program, given as ``module:function``, to its end.

        :param text: its standard input.
        :raises RuntimeError: when it fails.
        """
        self._board.clear()
        environment = {name: value for name, value in os.environ.items() if not disturbs(name)}
        environment |= {"HTTPS_PROXY": self._proxy.url, "SSL_CERT_FILE": str(self._trusted),
                        "REQUESTS_CA_BUNDLE": str(self._trusted), "NO_PROXY": "127.0.0.1"}
        with tempfile.NamedTemporaryFile(mode="r", dir=self.directory) as report:
            begun = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.child", report.name, function, *arguments],
                input=text, capture_output=True, text=True, env=environment, check=False)
            seconds = time.monotonic() - begun
            if done.returncode:
                raise RuntimeError(f"{function} failed:\n{done.stdout}{done.stderr}")
            peak = int(report.read()) / 1024
        calls = self._board.calls()
        floor = sum(sum(host == call.request.host for call in calls) / rate
                    for host, rate in CALLS_PER_SECOND.items())
        refused = sum(b"403024" in call.answer for call in calls)
        return Measurement(len(calls), seconds, floor, refused, peak, done.stdout)

    def await_publication(self) -> None:
        """Let time pass until every domain rests."""
        while any(self.qiniu.serving(name).state == "processing" for name in self.domains):
            time.sleep(PUBLISH_SECONDS / 10)

    def assert_served(self, fingerprint: str, domains: Sequence[str] = ()) -> None:
        """Check that what was measured was also done.

        :raises RuntimeError: when a domain serves something else.
        """
        self.await_publication()
        wrong = [name for name in domains or self.domains
                 if self.qiniu.serving(name).fingerprint != fingerprint]
        if wrong:
            raise RuntimeError(f"{len(wrong)} domains serve something else: {wrong[:3]}")
