"""A client in front of a script, and a certificate for it to send."""

from __future__ import annotations

from pathlib import Path

import pytest
import qiniu.auth

from certbot_qiniu.model import Certificate
from tests.sandbox.pki import Authority
from tests.unit.qiniu.script import NAME, Scripted, Time


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """A clock for the client and the official package alike."""
    time = Time()
    monkeypatch.setattr(qiniu.auth, "datetime", time)
    return time


@pytest.fixture
def rig(time: Time) -> Scripted:
    """A client in front of a script."""
    return Scripted(time)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """A root for the certificates of these files."""
    return Authority()


@pytest.fixture
def certificate(tmp_path: Path, authority: Authority) -> Certificate:
    """A certificate of this machine."""
    leaf = authority.intermediate("Issuing").issue(NAME, "*.example.com")
    (tmp_path / "fullchain.pem").write_text(leaf.fullchain_pem)
    (tmp_path / "privkey.pem").write_text(leaf.key_pem)
    return Certificate.load("example.com", tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
