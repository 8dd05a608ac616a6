"""Independent clients judge the emulator: what they do against the live service works here.

Each uploads a certificate and binds it. What counts is not what they say, but what the emulator's
edge serves afterwards. Run by ``make witnesses``, which makes their environment.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.package import ROOT
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.qiniu_rules import Switches
from tests.witness.court import LIVE_LIKE, WWW, Court, court

BIN = ROOT / ".venv-witness" / "bin"

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


def python(here: Court, code: str) -> subprocess.CompletedProcess[str]:
    """Let Python run *code* with the keys, the domain and the files as arguments."""
    return here.run(BIN / "python", "-W", "ignore", "-c", code, ACCESS_KEY, SECRET_KEY, WWW,
                     "chain.pem", "key.pem")


def sdk(here: Court) -> subprocess.CompletedProcess[str]:
    """Qiniu's own package, through its manager of domains."""
    return python(here, SDK)


def chatqiniu(here: Court) -> subprocess.CompletedProcess[str]:
    """A command line of 2026."""
    here.run(BIN / "chatqiniu", "auth", "login", "--access-key", ACCESS_KEY, "--secret-key",
              SECRET_KEY, "-I")
    return here.run(BIN / "chatqiniu", "cert", "deploy", "--name", "witness", "--cert-chain",
                     "chain.pem", "--private-key", "key.pem", "--domain", WWW, "--execute",
                     "--yes", "-I")


def sslmanage(here: Court) -> subprocess.CompletedProcess[str]:
    """A library of 2019."""
    return python(here, SSLMANAGE)


WITNESSES = (sdk, chatqiniu, sslmanage)


@pytest.fixture(autouse=True)
def environment() -> None:
    """Do not begin without it."""
    assert BIN.exists(), "run `make witnesses`, which makes their environment"


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda witness: witness.__name__)
def test_witness(witness: Callable[[Court], subprocess.CompletedProcess[str]],
                 tmp_path: Path) -> None:
    """What works against the live service works against the emulator that is like it."""
    with court(LIVE_LIKE, tmp_path) as here:
        assert not here.serves()
        done = witness(here)
        assert here.serves(), done.stdout + done.stderr
        assert done.returncode == 0
        assert not here.qiniu.leaks


@pytest.mark.parametrize(("switches", "fails"), [
    pytest.param(Switches(), {"sdk", "chatqiniu", "sslmanage"}, id="strict hosts"),
    pytest.param(Switches(lenient_auth=True, upload_code=None, name_required=True,
                          list_end="empty marker"), {"sslmanage"}, id="no code in an upload"),
    pytest.param(Switches(lenient_auth=True, omitted_bool="preserve", common_name="400326"),
                 set(), id="other readings"),
])
def test_less_likely_readings(switches: Switches, fails: set[str], tmp_path: Path) -> None:
    """If the emulator was, or is on purpose, stricter than the service, witnesses fail."""
    failed = set()
    for witness in WITNESSES:
        with court(switches, tmp_path) as here:
            witness(here)
            if not here.serves():
                failed.add(witness.__name__)
    assert fails == failed
