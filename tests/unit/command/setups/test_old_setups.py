"""What old setups say is understood, mistrusted, and never run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command.setups.old_setups import read_setups
from tests.unit.command.homes import (
    DOMAIN,
    acme_home,
    clear,
    config_json,
    lego_home,
)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crontabs and timers but the test's own."""
    clear(monkeypatch, tmp_path)


@pytest.mark.parametrize("kind", ["acme.sh", "account", "lego", "lego's script", "certificate",
                                  "config.json"])
def test_pipes_and_devices(tmp_path: Path, kind: str) -> None:
    """Another user's pipe would have us wait for ever: only files are read."""
    home = (acme_home(tmp_path) if kind in ("acme.sh", "account") else
            config_json(tmp_path).parent if kind == "config.json" else
            lego_home(tmp_path, "example.com"))
    path = home / {"acme.sh": "example.com_ecc/example.com.conf", "account": "account.conf",
                   "lego": "certificates/example.com.json", "lego's script": "renew.sh",
                   "certificate": "certificates/example.com.crt",
                   "config.json": "config.json"}[kind]
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    if kind == "config.json":
        with pytest.raises(errors.UsageError, match="is no folder"):
            read_setups(path)
        return
    found, problems = read_setups(home)
    assert kind in ("account", "lego's script") or not found
    assert kind == "lego's script" or any("is not a file" in problem for problem in problems)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors of Windows write one; it is no part of the text."""
    path = config_json(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    home = acme_home(tmp_path)
    account = home / "account.conf"
    account.write_bytes(b"\xef\xbb\xbf" + account.read_bytes().replace(b"\n", b"\r\n"))
    assert [1, 1] == [len(read_setups(place)[0]) for place in (path, home)]
    assert [] == read_setups(home)[1]


def test_files_with_keys(tmp_path: Path) -> None:
    """Those of the old setup itself are named; paths that its files name may be anybody's."""
    home = acme_home(tmp_path, {**DOMAIN, "Le_RealKeyPath": "/etc/shadow"})
    key = home / "example.com_ecc" / "example.com.key"
    key.touch()
    assert {home / "account.conf", home / "example.com_ecc" / "example.com.conf", key} == set(
        read_setups(home)[0][0].secrets)
    config = config_json(tmp_path)
    assert (config,) == read_setups(config)[0][0].secrets
