"""The conditions that must hold after every run of certbot, whatever happened during it.

Each function raises :class:`AssertionError`, whose text begins with *where*, or returns nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tests.sandbox.qiniu_store import Serving
from tests.sandbox.wire import Exchange
from tests.scenarios.machine import Cloud, Machine, Run

LONG = 3600.0
"""Seconds within which every ordinary publication ends."""

Settings = tuple[bool, bool]
"""Forced HTTPS and HTTP/2, as a domain must have them."""


@dataclass(frozen=True)
class Bystanders:
    """Other people's part of the account, which must stay as it is.

    :ivar certificates: ids of certificates that others uploaded.
    :ivar domains: domains that are not ours to change, with what they serve.
    """

    certificates: frozenset[str] = frozenset()
    domains: Mapping[str, Serving] = field(default_factory=dict)


def bystanders(cloud: Cloud, *domains: str) -> Bystanders:
    """All certificates that are there now, and *domains*."""
    return Bystanders(frozenset(item.cert_id for item in cloud.qiniu.certificates()),
                      {name: cloud.qiniu.serving(name) for name in domains})


def check(machine: Machine, domains: Mapping[str, Settings], others: Bystanders | None = None, *,
          lineage: str = "example.com", leaf: str = "", keep: int = 1, where: str = "") -> None:
    """Check all that must hold once everything is published.

    :param domains: what the lineage serves, with the settings each domain must have.
    :param leaf: the fingerprint to be served, if it is not the lineage's newest.
    :param keep: how many superseded certificates of the lineage may be left at Qiniu.
    """
    qiniu = machine.cloud.qiniu
    leaf = leaf or machine.fingerprint(lineage)
    others = others or Bystanders()
    _equal(_wanted(domains, leaf), _served(machine.cloud, domains), where)
    _equal(dict(others.domains), {name: qiniu.serving(name) for name in others.domains}, where)
    held = {item.cert_id: item for item in qiniu.certificates()}
    _equal(set(), set(others.certificates - held.keys()), f"{where}: others' certificates gone")
    ours = [item for item in held.values() if item.cert_id not in others.certificates
            and item.name.startswith(f"certbot_{lineage}_")]
    leaves = {item.fingerprint for item in ours}
    _equal(len(leaves), len(ours), f"{where}: copies among {[item.name for item in ours]}")
    assert leaf in leaves, f"{where}: the leaf is not at Qiniu"
    assert len(ours) <= keep + 1, f"{where}: too many: {[item.name for item in ours]}"
    check_conf(machine, lineage, where)
    _equal([], qiniu.leaks, f"{where}: keys where none belong")


def check_conf(machine: Machine, lineage: str = "example.com", where: str = "") -> None:
    """The renewal conf still chooses the plugin, with its credentials."""
    conf = (machine.config_dir / "renewal" / f"{lineage}.conf").read_text().splitlines()
    for line in ("installer = qiniu", f"qiniu_credentials = {machine.credentials}"):
        assert line in conf, f"{where}: no {line!r} in the renewal conf"


def check_status(run: Run, machine: Machine, domains: Mapping[str, Settings], *,
                 lineage: str = "example.com", leaf: str = "", where: str = "") -> None:
    """Exit status 0 is true: every domain serves the leaf, or does once Qiniu has published it."""
    if run.status:
        return
    cloud = machine.cloud
    saved = cloud.save()
    cloud.clock.sleep(LONG)
    arrived = _served(cloud, domains)
    cloud.restore(saved)
    _equal(_wanted(domains, leaf or machine.fingerprint(lineage)), arrived,
           f"{where}: exit status 0, but")


def check_calls(run: Run, where: str = "", *, allowed: Collection[int] = ()) -> None:
    """No request was refused for being wrong, as none is in ordinary life.

    :param allowed: Qiniu's codes, or HTTP statuses, that are no fault of ours here.
    """
    _equal([], [f"{call.request.label}: {call.status} {call.answer.decode()}"
                for call in run.calls if not 200 <= call.status < 300
                and not {call.status, _code(call)} & set(allowed)], where)


def changes(run: Run) -> list[str]:
    """The calls of a run that were to change anything at Qiniu."""
    return [call.request.label for call in run.calls if call.request.method != "GET"]


def _code(call: Exchange) -> int:
    """Qiniu's code in an answer, 0 for none."""
    try:
        code = json.loads(call.answer)["code"]
    except (ValueError, KeyError, TypeError):
        return 0
    return code if isinstance(code, int) else 0


def _wanted(domains: Mapping[str, Settings], leaf: str) -> dict[str, tuple[str, str, Settings]]:
    return {name: ("https", leaf, settings) for name, settings in domains.items()}


def _served(cloud: Cloud, domains: Mapping[str, Settings]) -> dict[str, tuple[str, str, Settings]]:
    edge = {name: cloud.qiniu.serving(name) for name in domains}
    return {name: (now.protocol, now.fingerprint, (now.force_https, now.http2))
            for name, now in edge.items()}


def _equal(expected: object, actual: object, where: str) -> None:
    assert expected == actual, f"{where}: expected {expected}, got {actual}"
