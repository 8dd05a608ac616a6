"""Independent clients judge the emulator: what they do against the live service works here.

Each uploads a certificate and binds it. What counts is not what they say, but what the emulator's
edge serves afterwards. Run by ``make witnesses``, which makes their environment.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.package import ROOT
from tests.sandbox.pki import Authority, Leaf
from tests.sandbox.proxy import Proxy
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Qiniu
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Switchboard
from tests.witness.front import plain_proxy

BIN = ROOT / ".venv-witness" / "bin"
WWW = "www.example.com"
SECONDS, PUBLISHED_SECONDS = 60, 3600

SDK = """
import sys
from pathlib import Path
from qiniu import Auth
from qiniu.services.cdn.manager import DomainManager

access, secret, name, chain, key = sys.argv[1:]
manager = DomainManager(Auth(access, secret))
told, info = manager.create_sslcert("witness", name, Path(key).read_text(), Path(chain).read_text())
assert info.ok(), info
told, info = manager.put_httpsconf(name, told["certID"], False)
assert info.ok(), info
told, info = manager.get_domain(name)
assert info.ok() and told["name"] == name, info
"""
SSLMANAGE = """
import logging
import sys

logging.basicConfig()  # before it logs into a file of a fixed name
from sslmanage.qiniu_ssl import QnCertManager

access, secret, name, chain, key = sys.argv[1:]
QnCertManager(name, name, chain, key, access, secret).handle()
"""


class Clock:
    """The real time, or later."""

    ahead = 0.0

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
    env: dict[str, str]

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the witnesses' environment."""
        return subprocess.run([BIN / program, *arguments], env=self.env, cwd=self.folder,
                              capture_output=True, text=True, timeout=SECONDS, check=False)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Let Python run *code* with the keys, the domain and the files as arguments."""
        return self.run("python", "-W", "ignore", "-c", code, ACCESS_KEY, SECRET_KEY, WWW,
                        "chain.pem", "key.pem")

    def serves(self) -> bool:
        """Whether the edge serves the certificate, once it is published."""
        self.clock.ahead += PUBLISHED_SECONDS
        served = self.qiniu.serving(WWW)
        return (served.protocol, served.fingerprint) == ("https", self.leaf.fingerprint)


def sdk(court: Court) -> subprocess.CompletedProcess[str]:
    """Qiniu's own package, through its manager of domains."""
    return court.python(SDK)


def chatqiniu(court: Court) -> subprocess.CompletedProcess[str]:
    """A command line of 2026."""
    court.run("chatqiniu", "auth", "login", "--access-key", ACCESS_KEY, "--secret-key",
              SECRET_KEY, "-I")
    return court.run("chatqiniu", "cert", "deploy", "--name", "witness", "--cert-chain",
                     "chain.pem", "--private-key", "key.pem", "--domain", WWW, "--execute",
                     "--yes", "-I")


def sslmanage(court: Court) -> subprocess.CompletedProcess[str]:
    """A library of 2019."""
    return court.python(SSLMANAGE)


LIVE_LIKE = Switches(lenient_auth=True)
"""The defaults, and hosts that take what half of the clients in the field send them."""

WITNESSES = (sdk, chatqiniu, sslmanage)


@pytest.fixture
def open_court(tmp_path: Path) -> Iterator[Callable[[Switches], Court]]:
    """Open courts, each with rules of its own."""
    assert BIN.exists(), "run `make witnesses`, which makes their environment"
    closing = []

    def open_(switches: Switches) -> Court:
        authority = Authority()
        clock = Clock()
        qiniu = Qiniu(clock=clock, switches=switches)
        old = authority.issue(WWW)
        qiniu.add_domain(WWW, protocol="https",
                         cert_id=qiniu.add_certificate(old.fullchain_pem, name="old"))
        board = Switchboard(qiniu)
        proxy = Proxy(board, tmp_path)
        proxy.start()
        closing.append(proxy.stop)
        front = plain_proxy(board)
        url = front.__enter__()
        closing.append(lambda: front.__exit__(None, None, None))
        (tmp_path / "ca.pem").write_text(proxy.authority.cert_pem)
        leaf = authority.intermediate("Issuing").issue(WWW)
        (tmp_path / "chain.pem").write_text(leaf.fullchain_pem)
        (tmp_path / "key.pem").write_text(leaf.key_pem)
        return Court(clock, qiniu, leaf, tmp_path, {
            "HOME": str(tmp_path), "PATH": os.defpath, "LANG": "C.UTF-8",
            "HTTPS_PROXY": proxy.url, "HTTP_PROXY": url,
            "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem")})

    yield open_
    for close in closing:
        close()


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda witness: witness.__name__)
def test_witness(witness: Callable[[Court], subprocess.CompletedProcess[str]],
                 open_court: Callable[[Switches], Court]) -> None:
    """What works against the live service works against the emulator that is like it."""
    court = open_court(LIVE_LIKE)
    assert not court.serves()
    done = witness(court)
    assert court.serves(), done.stdout + done.stderr
    assert done.returncode == 0
    assert not court.qiniu.leaks


@pytest.mark.parametrize(("switches", "fails"), [
    pytest.param(Switches(), {"sdk", "chatqiniu", "sslmanage"}, id="strict hosts"),
    pytest.param(Switches(lenient_auth=True, upload_code=None, name_required=True,
                          list_end="empty marker"), {"sslmanage"}, id="no code in an upload"),
    pytest.param(Switches(lenient_auth=True, omitted_bool="preserve", common_name="400326"),
                 set(), id="other readings"),
])
def test_less_likely_readings(switches: Switches, fails: set[str],
                              open_court: Callable[[Switches], Court]) -> None:
    """Where the emulator was, or is on purpose, stricter than the service, witnesses fail."""
    failed = set()
    for witness in WITNESSES:
        court = open_court(switches)
        witness(court)
        if not court.serves():
            failed.add(witness.__name__)
    assert fails == failed
