"""A small account that has a domain of every kind, as the tests of the fast track begin with it."""

from __future__ import annotations

from tests.scenarios.invariants import Bystanders, Settings, bystanders
from tests.scenarios.machine import Cloud

NAMES = ("example.com", "*.example.com")
"""What the certificate is for."""

DOMAINS: dict[str, Settings] = {
    "www.example.com": (True, False),
    "img.example.com": (False, True),
    ".example.com": (False, False),
    "example.com": (True, True),
}
"""The domains that it is for, with what they must have; the last one speaks http alone at first."""


def fill(cloud: Cloud) -> Bystanders:
    """Put the domains into the account, and a stranger's beside them."""
    old = cloud.stranger(*NAMES)
    parked = cloud.stranger("other.example.org", name="certbot_example.com_0123456789ab")
    for name, (force_https, http2) in DOMAINS.items():
        if name == "example.com":
            cloud.qiniu.add_domain(name)
        else:
            cloud.qiniu.add_domain(name, protocol="https", cert_id=old, force_https=force_https,
                                   http2=http2, kind="wildcard" if name[0] == "." else "normal")
    cloud.qiniu.add_domain("other.example.org", protocol="https", cert_id=parked)
    return bystanders(cloud, "other.example.org")
