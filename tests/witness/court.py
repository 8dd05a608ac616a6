"""The court for the witnesses: an account, a certificate for it, and the way to the emulator."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox.pki import Authority, Leaf
from tests.sandbox.proxy import Proxy
from tests.sandbox.qiniu import Qiniu
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Switchboard
from tests.witness.front import plain_proxy

WWW, SOURCE = "www.example.com", "source.example.com"
SECONDS, PUBLISHED_SECONDS = 60, 3600

LIVE_LIKE = Switches(lenient_auth=True)
"""The defaults, and hosts that take what half of the clients in the field send them."""


class Clock:
    """The real time, or later."""

    ahead = 0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Court:
    """An account before which witnesses appear.

    :ivar folder: with the certificate that they are given, as ``chain.pem`` and ``key.pem``.
    """

    clock: Clock
    qiniu: Qiniu
    leaf: Leaf
    folder: Path
    env: Mapping[str, str]

    def run(self, *command: str | Path, folder: Path | None = None,
            ) -> subprocess.CompletedProcess[str]:
        """Run a program, in another *folder* perhaps."""
        return subprocess.run(command, env=self.env, cwd=folder or self.folder,
                              capture_output=True, text=True, timeout=SECONDS, check=False)

    def serves(self, name: str = WWW) -> bool:
        """Whether the edge serves the certificate, once it is published."""
        self.clock.ahead = PUBLISHED_SECONDS
        served = self.qiniu.serving(name)
        self.clock.ahead = 0
        return (served.protocol, served.fingerprint) == ("https", self.leaf.fingerprint)


@contextlib.contextmanager
def court(switches: Switches, folder: Path) -> Iterator[Court]:
    """Open a court with rules of its own."""
    authority = Authority()
    clock = Clock()
    qiniu = Qiniu(clock=clock, switches=switches)
    old = qiniu.add_certificate(authority.issue(WWW, SOURCE).fullchain_pem, name="old")
    qiniu.add_domain(WWW, protocol="https", cert_id=old)
    qiniu.add_bucket("bucket")
    qiniu.add_source_domain(SOURCE, "bucket", old)
    board = Switchboard(qiniu)
    leaf = authority.intermediate("Issuing").issue(WWW, SOURCE)
    proxy = Proxy(board, folder)
    (folder / "ca.pem").write_text(proxy.authority.cert_pem)
    (folder / "chain.pem").write_text(leaf.fullchain_pem)
    (folder / "key.pem").write_text(leaf.key_pem)
    proxy.start()
    try:
        with plain_proxy(board) as url:
            yield Court(clock, qiniu, leaf, folder, {
                "HOME": str(folder), "PATH": os.defpath, "LANG": "C.UTF-8",
                "HTTPS_PROXY": proxy.url, "HTTP_PROXY": url,
                "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
                "NODE_EXTRA_CA_CERTS": str(folder / "ca.pem")})
    finally:
        proxy.stop()
