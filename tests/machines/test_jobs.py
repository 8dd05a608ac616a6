"""What else runs certbot on a machine: cron, the distribution's certbot, acme.sh and lego."""

from __future__ import annotations

import json

from tests.machines.conftest import DEBS
from tests.machines.machine import Machine
from tests.machines.renewals import (
    ALIYUN,
    QINIU,
    TLS_SITE,
    certbot,
    conf,
    make_due,
    put_credentials,
    run_service,
    said_by_service,
)
from tests.sandbox.process import until
from tests.sandbox.stack import Sandbox

WWW = "www.example.com"
THEIRS = "certbot.service"
CRON_FILE = "/etc/cron.d/certbot-qiniu"
WEBROOT = ("-a", "webroot", "-w", "/var/www/html")


def problems(machine: Machine) -> dict[str, str]:
    """What doctor finds wrong, and the remedy of each."""
    said = machine.run("certbot-qiniu", "doctor", "--json", check=False).stdout
    return {check["text"]: check["remedy"] for check in json.loads(said)["checks"]
            if check["level"] != "ok"}


def test_cron(machine: Machine, box: Sandbox) -> None:
    """In cron's environment, with no more than the file holds, Qiniu and nginx are reached."""
    def succeeds(*command: str) -> bool:
        return machine.run(*command, check=False).returncode == 0

    put_credentials(machine, box)
    box.serve(WWW)
    certbot(machine, "run", *ALIYUN, *QINIU, "-d", WWW)
    make_due(machine, WWW)
    machine.put("/etc/nginx/conf.d/www.conf", TLS_SITE.format(name=WWW, lineage=WWW))
    machine.systemctl("reload", "nginx")
    first = machine.fingerprint(WWW)
    machine.run("certbot-qiniu", "install-timer", "--cron")
    assert {} == problems(machine)
    machine.script(fr"sed -Ei 's/^[0-9]+ [0-9,]+ \* \* \* root/* * * * * root/' {CRON_FILE}")
    until(lambda: succeeds("test", "-e", f"/etc/letsencrypt/archive/{WWW}/cert2.pem"),
          "cron has begun", seconds=150)
    machine.run("rm", CRON_FILE)
    until(lambda: not succeeds("pgrep", "-f", "certbot-qiniu renew"), "it has ended", seconds=150)
    assert first != machine.fingerprint(WWW) == machine.serves(WWW)
    assert machine.fingerprint(WWW) == box.qiniu.serving(WWW).fingerprint


def test_a_second_certbot(machine: Machine, box: Sandbox, release: int) -> None:
    """doctor sees what the distribution's certbot will do and what it did; its remedies help."""
    put_credentials(machine, box)
    box.serve(WWW)
    certbot(machine, "run", *WEBROOT, *QINIU, "-d", WWW)
    make_due(machine, WWW)
    machine.run("certbot-qiniu", "install-timer")
    assert {} == problems(machine)
    ours = conf(machine, WWW)

    machine.script(f"dpkg --force-confold --install {DEBS}/*.deb")
    [(found, remedy)] = problems(machine).items()
    assert "certbot.timer" in found
    assert "systemctl disable --now certbot.timer" in remedy

    machine.systemctl("set-environment", *(f"{name}={value}"
                                           for name, value in machine.environment.items()))
    result = run_service(machine, THEIRS)
    if release == 12:  # certbot 2.1 fails at options that it does not know
        assert ("exit-code", ours) == (result, conf(machine, WWW))
    else:  # newer ones renew without the plugin, and drop it from the conf
        assert "success" == result, said_by_service(machine, THEIRS)
        assert "qiniu" not in conf(machine, WWW)
        assert machine.fingerprint(WWW) != box.qiniu.serving(WWW).fingerprint
    for remedy in problems(machine).values():
        machine.script(remedy)
    assert {} == problems(machine)
    assert "success" == run_service(machine), said_by_service(machine)
    assert machine.fingerprint(WWW) == box.qiniu.serving(WWW).fingerprint
    assert sorted(ours.splitlines()) == sorted(conf(machine, WWW).splitlines())
