"""Take a user's word that domains are gone, while no certbot runs, and say so."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import forget

A, LINEAGE = "a.example.com", "example.com"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in order."""
    found: list[str] = []
    settings = SimpleNamespace(domains=(A,))
    monkeypatch.setattr(forget, "our_renewals", lambda _, name: [
        SimpleNamespace(lineage=name, settings=settings)])
    monkeypatch.setattr(forget, "lock_certbot", lambda _: found.append("locked"))
    monkeypatch.setattr(forget, "certbot_config", lambda _: None)
    return found


def run(monkeypatch: pytest.MonkeyPatch, asked: list[str], gone: list[str]) -> int:
    """Run the command if *gone* is missing."""
    def missing(lineage: str, _: Any) -> list[str]:
        asked.append(lineage)
        return gone

    monkeypatch.setattr(forget, "open_deployer", lambda *_: SimpleNamespace(forget=missing))
    parser = argparse.ArgumentParser()
    forget.add_arguments(parser)
    return forget.run(parser.parse_args(["--cert-name", LINEAGE]))


def test_run(monkeypatch: pytest.MonkeyPatch, asked: list[str],
             capsys: pytest.CaptureFixture[str]) -> None:
    """It says what is managed no longer, and where that is still named."""
    assert 0 == run(monkeypatch, asked, [A])
    assert ["locked", LINEAGE] == asked
    said = capsys.readouterr().out
    assert f"{A} no longer managed" in said
    assert f"Take {A} out of --qiniu-domains" in said


def test_nothing_missing(monkeypatch: pytest.MonkeyPatch, asked: list[str],
                         capsys: pytest.CaptureFixture[str]) -> None:
    """It says so."""
    assert 0 == run(monkeypatch, asked, [])
    assert "nothing to forget" in capsys.readouterr().out


def test_beside_certbot(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    """While certbot is at work nothing is done."""
    def busy(_: object) -> None:
        raise errors.UsageError("certbot is at work")

    monkeypatch.setattr(forget, "lock_certbot", busy)
    with pytest.raises(errors.UsageError, match="at work"):
        run(monkeypatch, asked, [A])
    assert [] == asked
