"""Other lineages, other installers and other folders: our timer renews as certbot alone would."""

from __future__ import annotations

import pytest

from tests.machines.machine import Machine
from tests.machines.renewals import (
    ALIYUN,
    QINIU,
    SITE,
    certbot,
    conf,
    make_due,
    put_credentials,
    run_service,
    said_by_service,
)
from tests.sandbox.stack import Sandbox

SHOP, LATER, WWW = "shop.example.com", "later.example.com", "www.example.com"
NEIGHBOURS = (SHOP, LATER)
RENEWALS = 3


@pytest.fixture
def street(machine: Machine, box: Sandbox) -> Machine:
    """A machine behind a proxy, whose archive is on another disk, with logs elsewhere or gone.

    certbot-nginx has a lineage from before our timer and installs one from after it; with a third
    one it takes part in ours.
    """
    put_credentials(machine, box)
    box.serve(WWW)
    machine.script(
        "mkdir -p /www/wwwlogs /srv/archive; ln -s /srv/archive /etc/letsencrypt/archive\n"
        "sed -i 's#/var/log/nginx#/www/wwwlogs#' /etc/nginx/nginx.conf")
    for name in (*NEIGHBOURS, WWW):
        machine.put(f"/etc/nginx/conf.d/{name}.conf", SITE.format(name=name))
    machine.systemctl("reload", "nginx")
    certbot(machine, "run", "-a", "nginx", "-i", "nginx", "-d", SHOP)
    certbot(machine, "run", *ALIYUN, *QINIU, "--qiniu-with", "nginx", "-d", WWW)
    machine.run("certbot-qiniu", "install-timer")
    certbot(machine, "run", *ALIYUN, "-i", "nginx", "-d", LATER)
    make_due(machine, *NEIGHBOURS, WWW)
    machine.run("rm", "--recursive", "/var/log/letsencrypt")
    return machine


def test_renewals_as_without_us(street: Machine, box: Sandbox) -> None:
    """What certbot wrote and nginx serves after our renewals is as after certbot's own ones."""
    names = (*NEIGHBOURS, WWW)
    for _ in range(RENEWALS):
        certbot(street, "renew")
    expected = {name: conf(street, name) for name in names}
    results = [run_service(street) for _ in range(RENEWALS)]
    assert expected == {name: conf(street, name) for name in names}
    assert ["success"] * RENEWALS == results, said_by_service(street)
    for name in names:
        street.run("ls", f"/srv/archive/{name}/cert{1 + 2 * RENEWALS}.pem")
        assert street.fingerprint(name) == street.serves(name)
    assert street.fingerprint(WWW) == box.qiniu.serving(WWW).fingerprint


def test_a_plugin_is_missing(street: Machine, box: Sandbox) -> None:
    """A lineage that needs a plugin that our certbot lacks is named and left; ours are renewed."""
    certbot(street, "reconfigure", "--cert-name", WWW, "--qiniu-with=")
    street.run("/opt/certbot/bin/pip", "uninstall", "--yes", "--quiet", "certbot-nginx")
    expected, leaf = {name: conf(street, name) for name in NEIGHBOURS}, street.fingerprint(WWW)
    results = [run_service(street) for _ in range(RENEWALS)]
    assert expected == {name: conf(street, name) for name in NEIGHBOURS}
    assert ["exit-code"] * RENEWALS == results
    said = said_by_service(street)
    assert [True] * 3 == [word in said for word in (*NEIGHBOURS, "pip install certbot-nginx")], said
    assert leaf != street.fingerprint(WWW)
    assert street.fingerprint(WWW) == box.qiniu.serving(WWW).fingerprint
