"""nginx as a service, and nginx in a container, reloaded by what the timer runs."""

from __future__ import annotations

import pytest

from tests.machines.conftest import IMAGE
from tests.machines.machine import LIMITS, Machine
from tests.machines.renewals import (
    ALIYUN,
    QINIU,
    TLS_SITE,
    certbot,
    make_due,
    put_credentials,
    run_service,
    said_by_service,
)
from tests.sandbox.stack import Sandbox

WWW = "www.example.com"
SITE_PATH = "/etc/nginx/conf.d/www.conf"


@pytest.fixture
def managed(machine: Machine, box: Sandbox) -> Machine:
    """A machine with a lineage that Qiniu has, which nginx is to serve as well."""
    put_credentials(machine, box)
    box.serve(WWW)
    certbot(machine, "run", *ALIYUN, *QINIU, "-d", WWW)
    machine.put(SITE_PATH, TLS_SITE.format(name=WWW, lineage=WWW))
    machine.run("certbot-qiniu", "install-timer")
    make_due(machine, WWW)
    return machine


def test_a_service(managed: Machine) -> None:
    """nginx is reloaded and not restarted; one that was stopped is not started."""
    managed.systemctl("reload", "nginx")
    before, number = managed.serves(WWW), managed.systemctl("show", "--property=MainPID", "nginx")
    assert "success" == run_service(managed), said_by_service(managed)
    assert before != managed.fingerprint(WWW) == managed.serves(WWW)
    assert number == managed.systemctl("show", "--property=MainPID", "nginx")

    managed.systemctl("stop", "nginx")
    before = managed.fingerprint(WWW)
    assert "success" == run_service(managed), said_by_service(managed)
    assert before != managed.fingerprint(WWW)
    assert "inactive" == managed.systemctl("is-active", "nginx", check=False).strip()


def test_a_container(managed: Machine) -> None:
    """With README's option for Docker, by the one command that differs, the unit reaches it."""
    managed.systemctl("disable", "--now", "nginx")
    managed.run("podman", "run", "--detach", "--name=web", "--network=host", *LIMITS,
                "--no-hosts", "--volume=/etc/letsencrypt:/etc/letsencrypt:ro",
                "--volume=/etc/nginx:/etc/nginx:ro", "--rootfs", f"{IMAGE}:O",
                "nginx", "-g", "daemon off;")
    certbot(managed, "reconfigure", "--cert-name", WWW, "--qiniu-nginx-reload-cmd",
            "podman exec web nginx -s reload")
    assert "success" == run_service(managed), said_by_service(managed)
    assert managed.fingerprint(WWW) == managed.serves(WWW)
