"""What a folder of lego's and the scripts around it say."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from certbot_qiniu.command.setups.old_setups import read_setups
from tests.unit.command.homes import (
    clear,
    lego_home,
)
from tests.unit.command.timers import host


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crontabs and timers but the test's own."""
    clear(monkeypatch, tmp_path)


@pytest.mark.parametrize("entry", [[], "x"], ids=str)
def test_a_strange_lego_entry(tmp_path: Path, entry: object) -> None:
    """An entry that is no object is a problem, and no more."""
    found, [problem] = read_setups(lego_home(tmp_path, "example.com", entry=entry))
    assert [] == found
    assert "holds no object" in problem


def test_a_lego_entry_without_its_certificate(tmp_path: Path) -> None:
    """The certificate says what it is for, so without it nothing can be planned."""
    home = lego_home(tmp_path, "example.com")
    (home / "certificates" / "example.com.crt").write_text("cut off")
    found, [problem] = read_setups(home)
    assert [] == found
    assert "Could not read the certificate" in problem


def test_lego_of_version_5(tmp_path: Path) -> None:
    """It names the certificate by an id, and all domains."""
    home = lego_home(tmp_path, "www.example.com", "example.com",
                     entry={"id": "example.com", "domains": ["example.com", "www.example.com"]})
    [setup], _ = read_setups(home)
    assert ("example.com", "www.example.com") == setup.names


RENEW = """#!/bin/sh
export ALICLOUD_ACCESS_KEY=LTAIold
export ALICLOUD_SECRET_KEY=AliyunSecretOfTheOldSetup
lego --email admin@example.com --dns alidns --domains '*.example.com' --domains example.com \\
    --path /root/.lego renew --days 45 --renew-hook 'docker exec web nginx -s reload'
"""


@pytest.mark.parametrize("place", ["home/.lego/renew.sh", "opt/renew.sh"])
def test_renew_sh_of_lego(tmp_path: Path, place: str) -> None:
    """The DNS provider, its keys and the hook are in the script that a crontab runs."""
    home = lego_home(tmp_path, "*.example.com", "example.com")
    script = tmp_path / place
    script.parent.mkdir(exist_ok=True)
    script.write_text(RENEW)
    (tmp_path / "etc" / "cron.d").mkdir(parents=True)
    (tmp_path / "etc" / "cron.d" / "lego").write_text(
        f"36 5 * * * root {script} >/dev/null # lego\n")
    [setup], problems = read_setups(home)
    assert ("dns-aliyun", (), []) == (setup.authenticator, setup.notes, problems)
    assert ("--qiniu-nginx-reload-cmd", "docker exec web nginx -s reload") == setup.deploying
    assert {"dns_aliyun_access_key": "LTAIold",
            "dns_aliyun_access_key_secret": "AliyunSecretOfTheOldSetup"} == setup.keys
    assert script in setup.secrets


@pytest.mark.parametrize("shell", [False, True], ids=["directly", "by a shell"])
def test_lego_in_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shell: bool) -> None:
    """systemd shows no quotation marks, so that a hook's -s would be lego's: the unit has them."""
    words = ["lego", "--dns", "alidns", "-d", "example.com", "renew", "--renew-hook",
             "docker exec web nginx -s reload"]
    if shell:
        words = ["/bin/sh", "-c", shlex.join(words)]
    machine = host(tmp_path, monkeypatch)
    unit = machine.put("etc/systemd/system/lego.service",
                       f"[Service]\nExecStart=-{shlex.join(words)}\n".replace(" -d", " \\\n -d"))
    machine.timer("lego", " ".join(words), service={"FragmentPath": str(unit)})
    [setup], problems = read_setups(lego_home(tmp_path, "example.com"))
    assert ("dns-aliyun", (), []) == (setup.authenticator, setup.notes, problems)
    assert ("--qiniu-nginx-reload-cmd", "docker exec web nginx -s reload") == setup.deploying


@pytest.mark.parametrize(("options", "authenticator", "note"), [
    ("--http", "standalone", None), ("--http --http.webroot /srv/www", "webroot", None),
    ("--dns tencentcloud", "dns-tencent", None), ("--dns cloudflare", "", "by cloudflare"),
    ("--dns $PROVIDER", "", "an unknown plugin"), ("--dns 'x y'", "", "an unknown plugin"),
    ("--http --key-type ec384", "standalone", None), ("--http -k rsa1024", "standalone", "1024"),
    ("--http --renew-hook 'chmod 4755 /bin/sh'", "standalone", "--renew-hook in"),
    ("--http --server https://ca.example/dir", "standalone", "EAB"),
    ("--http --run-hook './nginx -s reload'", "standalone", "--run-hook in"),
])
def test_what_lego_was_told(tmp_path: Path, options: str, authenticator: str, note: str | None,
                            ) -> None:
    """What certbot can do is taken over, and of the rest it is said where it stands."""
    home = lego_home(tmp_path, "example.com")
    (home / "renew.sh").write_text(f"lego {options} -d example.com renew\n")
    [setup], _ = read_setups(home)
    assert authenticator == setup.authenticator
    assert ([], "") if note is None else note in " ".join(setup.notes)
    assert bool(note) is bool(setup.notes)
    assert () == setup.deploying


def test_keys_that_a_shell_would_find(tmp_path: Path) -> None:
    """They are not guessed."""
    home = lego_home(tmp_path, "example.com")
    (home / "renew.sh").write_text("ALICLOUD_SECRET_KEY=\"$(cat /k)\" lego --dns alidns renew\n")
    [setup], _ = read_setups(home)
    assert ("dns-aliyun", {}) == (setup.authenticator, setup.keys)
