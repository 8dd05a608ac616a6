"""The edge, asked by the timer's service itself: this machine's resolver, and port 443."""

from __future__ import annotations

import json
from typing import Any

from tests.machines.machine import Machine
from tests.machines.renewals import (
    ALIYUN,
    QINIU,
    certbot,
    make_due,
    put_credentials,
    run_service,
    said_by_service,
)
from tests.sandbox.stack import Sandbox

WWW = "www.example.com"
EDGE = f"{WWW}.qiniudns.com"
SITE = """\
server {
    listen 127.0.0.5:443 ssl;
    ssl_certificate /srv/edge/fullchain.pem;
    ssl_certificate_key /srv/edge/privkey.pem;
}
"""


def publish(machine: Machine) -> None:
    """Let the edge have certbot's newest certificate; it follows no link by itself."""
    machine.script(f"mkdir -p /srv/edge; cp -L /etc/letsencrypt/live/{WWW}/*.pem /srv/edge")
    machine.systemctl("reload", "nginx")


def asked(machine: Machine) -> tuple[str, list[str]]:
    """What status says of the edge, as a whole and by address, if all is well."""
    said: dict[str, Any] = json.loads(
        machine.run("certbot-qiniu", "status", "--managed", "--probe", "--json").stdout)
    [domain] = said["domains"]
    return domain["edge"], [f"{one['address']} {one['edge']}" for one in domain["edge_addresses"]]


def test_the_edge(machine: Machine, box: Sandbox) -> None:
    """It is found by the CNAME target and not by the public name; what refuses costs nothing."""
    put_credentials(machine, box)
    box.serve(WWW)
    certbot(machine, "run", *ALIYUN, *QINIU, "--qiniu-skip-nginx", "-d", WWW)
    machine.run("certbot-qiniu", "install-timer")
    assert "success" == run_service(machine), said_by_service(machine)
    assert ("unknown", []) == asked(machine)  # no resolver here knows the name

    machine.put("/etc/nginx/conf.d/edge.conf", SITE)
    publish(machine)
    machine.put("/etc/hosts", "127.0.0.1 localhost machine\n127.0.0.6 www.example.com\n"
                              f"127.0.0.5 {EDGE}\n::1 {EDGE}\n")
    word, addresses = asked(machine)
    assert ("same", ["127.0.0.5 same", "::1 unknown"]) == (word, sorted(addresses))

    make_due(machine, WWW)
    assert "success" == run_service(machine), said_by_service(machine)
    assert "other" == asked(machine)[0]  # for less than three hours
    publish(machine)
    assert "same" == asked(machine)[0]
    assert "success" == run_service(machine), said_by_service(machine)
