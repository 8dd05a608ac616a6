"""Accounts that several tests of the fast track begin with."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from tests.sandbox.lineages import write_renewal, write_version
from tests.scenarios.invariants import Bystanders, Settings, bystanders
from tests.scenarios.machine import Cloud, Machine

NAMES = ("example.com", "*.example.com")
"""What the certificate is for."""

DOMAINS: dict[str, Settings] = {
    "www.example.com": (True, False),
    "img.example.com": (False, True),
    ".example.com": (False, False),
    "example.com": (True, True),
}
"""The domains that it is for, with what they must have; the last one speaks http alone at first."""


def fill(cloud: Cloud, days: float = 60) -> Bystanders:
    """Put the domains into the account, and somebody else's next to them.

    :param days: how long the certificate is valid that the domains have at first.
    """
    old = cloud.stranger(*NAMES, days=days)
    parked = cloud.stranger("other.example.org", name="certbot_example.com_0123456789ab")
    for name, (force_https, http2) in DOMAINS.items():
        if name == "example.com":
            cloud.qiniu.add_domain(name)
        else:
            cloud.qiniu.add_domain(name, protocol="https", cert_id=old, force_https=force_https,
                                   http2=http2, kind="wildcard" if name[0] == "." else "normal")
    cloud.qiniu.add_domain("other.example.org", protocol="https", cert_id=parked)
    return bystanders(cloud, "other.example.org")


def fleet(directory: Path, lineages: int, cloud: Cloud | None = None) -> Machine:
    """A machine with many lineages, each with a domain of its own, before its first renewal."""
    cloud = cloud or Cloud()
    now = dt.datetime.fromtimestamp(cloud.clock.now, dt.timezone.utc)
    machine = Machine(cloud, directory)
    authority = cloud.authority.intermediate("Fast Track CA")
    for number in range(lineages):
        name = f"site{number}.example"
        leaf = authority.issue(name, now=now)
        cloud.qiniu.add_domain(name, protocol="https", cert_id=cloud.qiniu.add_certificate(
            leaf.fullchain_pem, name=f"certbot_{name}_{leaf.fingerprint[:12]}"))
        write_version(machine.config_dir, name, leaf)
        write_renewal(machine.config_dir, name, {
            "authenticator": "standalone", "installer": "qiniu",
            "qiniu_credentials": machine.credentials, "qiniu_skip_nginx": True,
            "server": "https://127.0.0.1:1/dir"})
    return machine
