"""Renewals on a machine, as certbot, the timer or cron make them."""

from __future__ import annotations

import re

from tests.machines.machine import Machine
from tests.sandbox.stack import Sandbox

SERVICE = "certbot-qiniu.service"
CREDENTIALS = "/etc/letsencrypt/qiniu.ini"
QINIU = ("-i", "qiniu", "--qiniu-credentials", CREDENTIALS)
ALIYUN = ("-a", "dns-aliyun", "--dns-aliyun-credentials", CREDENTIALS,
          "--dns-aliyun-propagation-seconds", "0")

SITE = """\
server {{
    listen 80;
    server_name {name};
    root /var/www/html;
}}
"""
TLS_SITE = """\
server {{
    listen 443 ssl;
    server_name {name};
    ssl_certificate /etc/letsencrypt/live/{lineage}/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/{lineage}/privkey.pem;
}}
"""


def put_credentials(machine: Machine, box: Sandbox) -> None:
    """Let the file with the keys be where README has it."""
    machine.put(CREDENTIALS, box.credentials_path.read_text("ascii"), 0o600)


def certbot(machine: Machine, *arguments: str) -> str:
    """What certbot says when it succeeds."""
    return machine.run("certbot", *arguments).stdout


def make_due(machine: Machine, *lineages: str) -> None:
    """Let certbot renew lineages whenever it is asked to."""
    for name in lineages:
        machine.script(f"sed -i '1i renew_before_expiry = 100 years' {conf_path(name)}")


def conf_path(lineage: str) -> str:
    """Where certbot keeps what it has to know for a renewal."""
    return f"/etc/letsencrypt/renewal/{lineage}.conf"


def conf(machine: Machine, lineage: str) -> str:
    """That file, but for what each renewal by any certbot may write there."""
    text = re.sub(r"^version = .*\n", "", machine.read(conf_path(lineage)), flags=re.MULTILINE)
    return re.sub(r"^\[acme_renewal_info\]\n[^\[]*", "", text, flags=re.MULTILINE)


def run_service(machine: Machine, service: str = SERVICE) -> str:
    """Let a timer's service run to its end; what systemd calls that, such as ``success``."""
    machine.systemctl("start", service, check=False)
    return machine.systemctl("show", "--value", "--property=Result", service).strip()


def said_by_service(machine: Machine, service: str = SERVICE) -> str:
    """All that it has said since the machine is there."""
    return machine.run("journalctl", "--unit", service, "--output=cat").stdout
