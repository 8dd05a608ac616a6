"""The plugins that certbot needs for the lineages of this machine, and those that it has.

If certbot lacks the installer that a renewal conf names, it renews the certificate without it, and
drops it from the conf for good, with exit status 0.
"""

from __future__ import annotations

import importlib.metadata
import shlex
from collections.abc import Collection, Iterable

from certbot_qiniu.environment import plugin_installation, program
from certbot_qiniu.lineages import Renewal

GROUP = "certbot.plugins"
"""The entry points by which certbot finds its plugins."""


def installed() -> frozenset[str]:
    """Return the names of the plugins of the certbot next to this program."""
    return frozenset(entry.name for entry in importlib.metadata.entry_points(group=GROUP))


def named_by(renewal: Renewal) -> list[str]:
    """Return the plugins without which certbot must not renew this lineage."""
    # certbot's word for none, in confs of any age.
    return [name for name in dict.fromkeys((renewal.authenticator, renewal.installer))
            if name not in ("", "None")]


def missing(renewals: Iterable[Renewal], plugins: Collection[str]) -> dict[str, list[str]]:
    """Return lineage -> the plugins that its renewal conf names and that are not among *plugins*.

    Lineages that certbot does not renew by itself do not count.
    """
    return {renewal.lineage: names for renewal in renewals if renewal.renews
            if (names := [name for name in named_by(renewal) if name not in plugins])}


def sentence(lineage: str, names: Iterable[str]) -> str:
    """Say why a lineage is not renewed, and what to do about it."""
    names = list(names)
    return (f"{program('certbot')} must not renew {lineage}: it has no plugin "
            f"{' and no '.join(names)}, which the renewal conf names, and would drop it from "
            f"there. Run: {' && '.join(remedy(name, lineage) for name in names)}")


def remedy(plugin: str, lineage: str) -> str:
    """Return the command that installs the plugins that a lineage's conf names."""
    old, _, name = plugin.rpartition(":")
    if old:  # as certbot 1 named the plugins of others
        return f"certbot reconfigure --cert-name {shlex.quote(lineage)} -a {name}"
    return plugin_installation(plugin)
