"""The Ansible role: one issuer and two web servers, all of them this machine under other roots."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.package import ROOT
from tests.sandbox.stack import ACCOUNT, ALIYUN_KEYS, QINIU_KEYS, Sandbox

pytestmark = [pytest.mark.programs, pytest.mark.slow, pytest.mark.timeout(1200)]

FOLDER = ROOT / "contrib" / "ansible"
WEB = ("web1", "web2")
SOURCES = ("certbot_qiniu", "docs", "setup.py", "pyproject.toml", "README.md", "LICENSE",
           "MANIFEST.in")


def run(*arguments: str | Path, cwd: Path | None = None) -> None:
    """Run a program that must succeed."""
    done = subprocess.run([*map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Ansible in ``bin``, and our wheel in ``wheels``."""
    folder = tmp_path_factory.mktemp("tools")
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "--quiet", "ansible-core")
    # A build leaves traces in its sources.
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    run(folder / "bin" / "pip", "wheel", "--quiet", "--no-deps", "-w", folder / "wheels", sources)
    return folder


class Fleet:
    """An issuer whose certbot is led into the sandbox, and two web servers.

    :ivar web: what belongs to each web server; its nginx is a program that notes its calls.
    """

    def __init__(self, box: Sandbox, tools: Path, folder: Path) -> None:
        self.box, self.tools, self.folder = box, tools, folder
        self.web = {name: folder / name for name in WEB}
        for home in self.web.values():
            home.mkdir()
            nginx = home / "nginx"
            nginx.write_text(f'#!/bin/sh\ntest ! -e {home}/broken || exit 1\n'
                             f'echo "$*" >> {home}/calls\n')
            nginx.chmod(0o755)
        local = {"ansible_connection": "local",
                 "ansible_python_interpreter": str(tools / "bin" / "python")}
        everywhere = {
            **local,
            "certbot_qiniu_packages": ["certbot-qiniu"],
            "certbot_qiniu_pip_arguments": f"--find-links {tools / 'wheels'}",
            "certbot_qiniu_venv": str(folder / "venv"),
            "certbot_qiniu_links": str(folder),
            "certbot_qiniu_config_dir": str(box.config_dir),
            "certbot_qiniu_work_dir": str(box.config_dir / "work"),
            "certbot_qiniu_logs_dir": str(box.config_dir / "logs"),
            "certbot_qiniu_credentials": dict(zip(
                ("dns_aliyun_access_key", "dns_aliyun_access_key_secret", "qiniu_access_key",
                 "qiniu_secret_key"), (*ALIYUN_KEYS, *QINIU_KEYS), strict=True)),
            "certbot_qiniu_certificates": [{
                "name": "example.com", "domains": ["example.com", "*.example.com"],
                "arguments": [*ACCOUNT, "-a", "dns-aliyun", "--dns-aliyun-credentials",
                              str(box.config_dir / "qiniu.ini"),
                              "--dns-aliyun-propagation-seconds", "0", "--qiniu-skip-nginx",
                              "--server", box.acme.directory_url]}],
            "certbot_qiniu_environment": {
                name: value for name, value in box.environment.items()
                if name.endswith("_PROXY") or name == "REQUESTS_CA_BUNDLE"},
            "certbot_qiniu_timer": False,  # it would change this machine
        }
        servers = {name: {
            "certbot_qiniu_web_folder": str(home / "ssl"),
            "certbot_qiniu_web_nginx_test": [str(home / "nginx"), "-t"],
            "certbot_qiniu_web_nginx_reload": [str(home / "nginx"), "-s", "reload"],
        } for name, home in self.web.items()}
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps({"all": {
            "vars": everywhere,
            "children": {"certbot_issuer": {"hosts": {"issuer": {}}},
                         "certbot_web": {"hosts": servers}}}}))

    def play(self) -> tuple[int, dict[str, dict[str, int]], str]:
        """Run the playbook: exit status, the counts of each host, and all that was said."""
        done = subprocess.run(
            [self.tools / "bin" / "ansible-playbook", "-vvv", "-i", self.inventory,
             FOLDER / "site.yml", "-e", "ansible_become=false"],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "HOME": str(self.folder),
                 "ANSIBLE_LOCAL_TEMP": str(self.folder / "local")},
            capture_output=True, text=True, check=False)
        counts: dict[str, dict[str, int]] = {
            host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
            for host, line in re.findall(r"^(\w+) +: (ok=.*)$", done.stdout, re.MULTILINE)}
        return done.returncode, counts, done.stdout + done.stderr

    def calls(self, name: str) -> list[str]:
        """The calls of the nginx of a web server since the last time."""
        path = self.web[name] / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def has_newest(self, name: str) -> bool:
        """Whether a web server has the issuer's present certificate and key."""
        live, there = self.box.live("example.com"), self.web[name] / "ssl" / "example.com"
        return all((live / file).read_bytes() == (there / file).read_bytes()
                   for file in ("fullchain.pem", "privkey.pem"))


@pytest.fixture
def fleet(tools: Path, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet with a domain at Qiniu."""
    with Sandbox(with_nginx=False) as box:
        box.serve("www.example.com")
        yield Fleet(box, tools, tmp_path)
        box.assert_sound()


def changed(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    return {host: found["changed"] for host, found in counts.items()}


def test_the_life_of_a_fleet(fleet: Fleet) -> None:
    """Issue, distribute, do nothing twice, follow a renewal, and repeat a reload that failed."""
    status, counts, said = fleet.play()
    assert status == 0, said
    assert {"issuer", *WEB} == set(counts)
    assert fleet.box.lineage_fingerprint("example.com") == fleet.box.qiniu.serving(
        "www.example.com").fingerprint
    for name in WEB:
        assert fleet.has_newest(name)
        assert ["-t", "-s reload"] == fleet.calls(name)
        files = [path for path in (fleet.web[name] / "ssl").rglob("*") if path.is_file()]
        assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in files}
    credentials = fleet.box.config_dir / "qiniu.ini"
    assert 0o600 == stat.S_IMODE(credentials.stat().st_mode)
    assert_no_secrets(fleet, said)

    status, counts, said = fleet.play()
    assert status == 0, said
    assert dict.fromkeys(("issuer", *WEB), 0) == changed(counts), said
    assert [[], []] == [fleet.calls(name) for name in WEB]

    fleet.box.certbot("renew", "--force-renewal")
    (fleet.web["web1"] / "broken").touch()
    status, counts, said = fleet.play()
    assert status != 0
    assert (1, 0) == (counts["web1"]["failed"], counts["web2"]["failed"])
    assert ["-t", "-s reload"] == fleet.calls("web2")
    assert_no_secrets(fleet, said)

    (fleet.web["web1"] / "broken").unlink()
    status, counts, said = fleet.play()
    assert status == 0, said
    assert fleet.has_newest("web1")
    assert (["-t", "-s reload"], []) == (fleet.calls("web1"), fleet.calls("web2"))
    assert 0 == changed(counts)["web2"]


def assert_no_secrets(fleet: Fleet, said: str) -> None:
    """Fail when a key is in what the most talkative run has said."""
    key = (fleet.box.live("example.com") / "privkey.pem").read_text().splitlines()[2]
    secrets: list[Any] = [key, ALIYUN_KEYS[1], QINIU_KEYS[1]]
    assert [False] * 3 == [secret in said for secret in secrets]
