"""The Ansible role over SSH: from a third machine to an issuer and a web server of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import roots
from tests.machines.conftest import CHECKOUT, WHEELS
from tests.machines.machine import Machine
from tests.machines.renewals import ALIYUN, TLS_SITE
from tests.package import ROOT
from tests.sandbox.stack import ALIYUN_KEYS, QINIU_KEYS, Sandbox

README = (ROOT / "contrib" / "ansible" / "README.md").read_text(encoding="utf-8")
HOOK = re.search(r"^install -d.*?(?=^certbot )", README, re.MULTILINE | re.DOTALL)
FOLDER, OURS, KEY = "/srv/fleet", "/srv/wheels", "/root/.ssh/id_ed25519"
PORTS = {"issuer": 22, "web": 2222}
NGINX = TLS_SITE.replace("/etc/letsencrypt/live", "/etc/ssl/certbot")
WWW = "www.example.com"


@pytest.fixture
def mounts(mounts: dict[Path, str], checkout: Path, tmp_path: Path) -> dict[Path, str]:
    """The same with the wheel of our package, which a second run of pip knows for what it has."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w",
                    tmp_path / "wheels", checkout], check=True)
    return {**mounts, tmp_path / "wheels": OURS}


@pytest.fixture
def web(bare: Machine, box: Sandbox, release: int, mounts: dict[Path, str]) -> Iterator[Machine]:
    """A web server next to the issuer, which is ``bare``."""
    bare.systemctl("disable", "--now", "nginx")
    with Machine(roots.root(release) / "root", mounts, beside=bare) as machine:
        machine.put("/etc/ssh/sshd_config.d/port.conf", f"Port {PORTS['web']}\n")
        machine.systemctl("restart", "ssh", "nginx")
        yield machine


@pytest.fixture
def control(bare: Machine, web: Machine, release: int,
            mounts: dict[Path, str]) -> Iterator[Machine]:
    """The folder of Ansible, with README's inventory and variables for the two."""
    with Machine(roots.root(release) / "root", mounts, beside=bare) as machine:
        machine.environment = bare.environment
        machine.script(
            f"python3 -m venv /opt/ansible; /opt/ansible/bin/pip install --quiet ansible-core\n"
            f"ssh-keygen -q -t ed25519 -N '' -f {KEY}; cp -r {CHECKOUT}/contrib/ansible {FOLDER}")
        for target in (bare, web):
            target.put("/root/.ssh/authorized_keys", machine.read(f"{KEY}.pub"), 0o600)
        everywhere = {
            "ansible_host": "localhost", "ansible_user": "root",
            "certbot_qiniu_packages": ["certbot-qiniu"],
            "certbot_qiniu_pip_arguments": f"--no-index --find-links {WHEELS} --find-links {OURS}",
            "certbot_qiniu_credentials": dict(zip(
                ("dns_aliyun_access_key", "dns_aliyun_access_key_secret", "qiniu_access_key",
                 "qiniu_secret_key"), (*ALIYUN_KEYS, *QINIU_KEYS), strict=True)),
            "certbot_qiniu_certificates": [{
                "name": "example.com", "domains": ["example.com", "*.example.com"],
                "arguments": ["--agree-tos", "--email=admin@example.com", *ALIYUN]}],
            "certbot_qiniu_environment": {
                name: value for name, value in bare.environment.items()
                if not name.startswith("PIP_")}}
        machine.put(f"{FOLDER}/group_vars/all.yml", json.dumps(everywhere))
        machine.put(f"{FOLDER}/inventory.ini", (
            f"[certbot_issuer]\nissuer ansible_port={PORTS['issuer']}\n"
            f"[certbot_web]\nweb ansible_port={PORTS['web']}\n"))
        yield machine


def play(control: Machine) -> dict[str, dict[str, int]]:
    """Run README's command, which must succeed; the counts of each host."""
    done = control.run(
        "env", "ANSIBLE_HOST_KEY_CHECKING=0", "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8",
        "/opt/ansible/bin/ansible-playbook", "-i", "inventory.ini", "site.yml", folder=FOLDER)
    return {host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
            for host, line in re.findall(r"^(\w+) +: (ok=.*)$", done.stdout, re.MULTILINE)}


def test_a_fleet(bare: Machine, box: Sandbox, web: Machine, control: Machine) -> None:
    """Issue and distribute, do nothing twice, bring a renewal to nginx."""
    box.serve(WWW)
    assert {"issuer": 0, "web": 0} == {host: counts["failed"]
                                       for host, counts in play(control).items()}
    assert bare.fingerprint("example.com") == box.qiniu.serving(WWW).fingerprint
    assert "active" == bare.systemctl("is-active", "certbot-qiniu.timer").strip()
    web.put("/etc/nginx/conf.d/www.conf", NGINX.format(name=WWW, lineage="example.com"))
    web.systemctl("reload", "nginx")
    assert bare.fingerprint("example.com") == web.serves(WWW)
    assert {"issuer": 0, "web": 0} == {host: counts["changed"]
                                       for host, counts in play(control).items()}
    bare.run("certbot", "renew", "--force-renewal")
    play(control)
    assert bare.fingerprint("example.com") == web.serves(WWW)


def test_in_the_run_of_the_renewal(bare: Machine, box: Sandbox, web: Machine,
                                   control: Machine) -> None:
    """README's hook on the issuer brings a renewal to nginx, and again until it is there."""
    box.serve(WWW)
    play(control)
    web.put("/etc/nginx/conf.d/www.conf", NGINX.format(name=WWW, lineage="example.com"))
    web.systemctl("reload", "nginx")
    bare.script(
        "python3 -m venv /opt/ansible; /opt/ansible/bin/pip install --quiet ansible-core\n"
        f"ssh-keygen -q -t ed25519 -N '' -f {KEY}; cp -r {CHECKOUT}/contrib/ansible {FOLDER}\n"
        f"mkdir -p /root/.ssh; ssh-keyscan -p {PORTS['web']} localhost >> /root/.ssh/known_hosts")
    web.put("/root/.ssh/authorized_keys", bare.read(f"{KEY}.pub"), 0o600)
    bare.put(f"{FOLDER}/inventory.ini", "[certbot_issuer]\nissuer ansible_connection=local\n"
             f"[certbot_web]\nweb ansible_host=localhost ansible_port={PORTS['web']}\n"
             "[all:vars]\nansible_user=root\n")
    bare.put(f"{FOLDER}/group_vars/all.yml", "certbot_qiniu_certificates: [{name: example.com}]\n")
    assert HOOK
    bare.script(HOOK[0])
    bare.run("certbot", "reconfigure", "--cert-name", "example.com", "--qiniu-hook",
             "/etc/letsencrypt/qiniu-hooks")
    bare.run("certbot", "renew", "--force-renewal")
    assert bare.fingerprint("example.com") == web.serves(WWW)

    web.put("/etc/nginx/conf.d/broken.conf", "nonsense;\n")
    done = bare.run("certbot", "renew", "--force-renewal", check=False)
    assert 1 == done.returncode
    assert "The hook /etc/letsencrypt/qiniu-hooks/50-fleet failed: exit status 2" in " ".join(
        done.stdout.split())
    assert bare.fingerprint("example.com") != web.serves(WWW)
    web.run("rm", "/etc/nginx/conf.d/broken.conf")
    bare.run("certbot", "renew")
    assert bare.fingerprint("example.com") == web.serves(WWW)
    bare.run("certbot-qiniu", "status", "--managed")
