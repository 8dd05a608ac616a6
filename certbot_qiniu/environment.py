"""Name the programs of the environment that this one runs in, and how to add packages to it."""

from __future__ import annotations

import importlib.metadata
import shlex
import sysconfig
from pathlib import Path

CERTBOTS_OWN = frozenset({
    "apache", "nginx", "dns-cloudflare", "dns-digitalocean", "dns-dnsimple", "dns-dnsmadeeasy",
    "dns-gehirn", "dns-google", "dns-linode", "dns-luadns", "dns-nsone", "dns-ovh", "dns-rfc2136",
    "dns-route53", "dns-sakuracloud"})
"""The plugins that certbot's authors publish with it, under the same version."""


def program(name: str) -> str:
    """Return the path of a program of this environment."""
    return str(Path(sysconfig.get_path("scripts"), name))


def installation(package: str) -> str:
    """Return the command that installs a package here."""
    return f"{shlex.quote(program('pip'))} install {package}"


def plugin_installation(plugin: str) -> str:
    """Return the command that installs a certbot plugin here, as new as this certbot."""
    version = f"=={importlib.metadata.version('certbot')}" if plugin in CERTBOTS_OWN else ""
    return installation(f"certbot-{plugin}{version}")
