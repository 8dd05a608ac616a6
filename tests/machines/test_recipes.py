"""The recipes for who comes from acme.sh or lego, with all that only a machine can run of them."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.test_recipes import FOLDER, KEYS, scripts, translate
from tests.machines.conftest import IMAGE
from tests.machines.machine import LIMITS, Machine
from tests.machines.renewals import make_due, run_service, said_by_service
from tests.sandbox.stack import ALIYUN_KEYS, QINIU_KEYS, Sandbox
from tests.unit.command.homes import acme_home, lego_home

POSSIBLE = ("", "changes the machine's systemd", "starts a container")
"""Why a block is not run elsewhere: it is run here."""

CRONTAB = "/var/spool/cron/crontabs/root"
DOCKER = f"""\
#!/bin/sh
# podman under docker's name, with an image that is there and the one network that there is.
case $1 in
run) exec podman run -d --name nginx --network=host --no-hosts {' '.join(LIMITS)} \\
    -v /etc/letsencrypt:/etc/letsencrypt:ro -v /etc/nginx/conf.d:/etc/nginx/conf.d:ro \\
    --rootfs {IMAGE}:O nginx -g 'daemon off;' ;;
*) exec podman "$@" ;;
esac
"""


def settle(machine: Machine, home: Path, crontab: str) -> None:
    """Let root have what another program has left: its folder, and a line for cron."""
    for path in filter(Path.is_file, home.rglob("*")):
        machine.put(f"/root/{path.relative_to(home.parent)}", path.read_text("utf-8"), 0o600)
    machine.run("crontab", "-", stdin=crontab)
    machine.script("echo non-interactive = true >> /etc/letsencrypt/cli.ini\n"
                   "echo dns-aliyun-propagation-seconds = 0 >> /etc/letsencrypt/cli.ini")


def cook(machine: Machine, name: str) -> str:
    """Run a page from its first command to its last; all that was said."""
    return "".join(machine.script(translate(text, KEYS)).stdout
                   for why, text in scripts(FOLDER / f"{name}.md") if why in POSSIBLE)


def test_from_acme_sh(machine: Machine, box: Sandbox, tmp_path: Path) -> None:
    """Webroot, DNS, nginx as a service, the timer, and the way out."""
    box.serve("oss.example.com")
    settle(machine, acme_home(tmp_path, {
        "Le_Domain": "oss.example.com", "Le_Webroot": "dns_ali", "Le_DeployHook": "qiniu",
        "QINIU_AK": QINIU_KEYS[0], "QINIU_SK": QINIU_KEYS[1]},
        dict(zip(("SAVED_Ali_Key", "SAVED_Ali_Secret"), ALIYUN_KEYS, strict=True))),
        "0 0 * * * ~/.acme.sh/acme.sh --cron --home ~/.acme.sh > /dev/null\n")
    said = cook(machine, "from-acme-sh")
    assert "# in crontab -e -u root, remove the line: 0 0 * * * ... " in said
    assert "oss.example.com: published" in said
    assert "https" == box.qiniu.serving("oss.example.com").protocol
    assert "enabled" == machine.systemctl("is-enabled", "certbot-qiniu.timer").strip()


def test_from_lego(machine: Machine, box: Sandbox, tmp_path: Path) -> None:
    """nginx in a container, which the timer's service reloads with ``docker exec``."""
    box.serve("www.example.com")
    machine.systemctl("disable", "--now", "nginx")
    machine.put("/usr/local/bin/docker", DOCKER, 0o755)
    settle(machine, lego_home(tmp_path, "example.com", "*.example.com"),
           "0 0 * * * lego --domains example.com renew\n")
    assert CRONTAB in cook(machine, "from-lego-docker-nginx")
    make_due(machine, "example.com")
    before = machine.fingerprint("example.com")
    assert "success" == run_service(machine), said_by_service(machine)
    assert before != machine.fingerprint("example.com") == machine.serves("example.com")
    assert machine.fingerprint("example.com") == box.qiniu.serving("www.example.com").fingerprint
