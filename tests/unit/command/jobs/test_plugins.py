"""Which plugins a renewal needs, which of them are not there, and how to get them."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

import pytest

from certbot_qiniu import environment
from certbot_qiniu.command.jobs import plugins
from tests.unit.command.facts import renewal


@pytest.mark.parametrize(("authenticator", "installer", "names"), [
    ("dns-aliyun", "qiniu", ["dns-aliyun", "qiniu"]), ("nginx", "nginx", ["nginx"]),
    ("webroot", "", ["webroot"]), ("None", "None", []), ("", "", [])])
def test_named_by_a_conf(authenticator: str, installer: str, names: list[str]) -> None:
    """Each once; what certbot writes for none is none."""
    conf = replace(renewal(), authenticator=authenticator, installer=installer)
    assert names == plugins.named_by(conf)


def test_missing() -> None:
    """Lineages with all of their plugins are left out, and those that certbot leaves alone."""
    confs = [replace(renewal(name), authenticator="webroot", installer=installer, renews=renews)
             for name, installer, renews in (("a", "nginx", True), ("b", "qiniu", True),
                                             ("c", "nginx", False), ("d", "None", True))]
    assert {"a": ["nginx"]} == plugins.missing(confs, {"webroot", "qiniu"})


def test_installed() -> None:
    """certbot's own are among them, and ours."""
    assert plugins.installed() >= {"standalone", "webroot", "manual", "qiniu"}


@pytest.mark.parametrize(("plugin", "package"), [
    ("nginx", f"certbot-nginx=={importlib.metadata.version('certbot')}"),
    ("dns-aliyun", "certbot-dns-aliyun")])
def test_remedy(plugin: str, package: str) -> None:
    """What is published with certbot must have its version."""
    assert f"{environment.program('pip')} install {package}" == plugins.remedy(plugin, "shop")


def test_remedy_for_an_old_name() -> None:
    """Plugins of others had their package's name before theirs; certbot 2 knows that no more."""
    assert "certbot reconfigure --cert-name shop -a dns-aliyun" == plugins.remedy(
        "certbot-dns-aliyun:dns-aliyun", "shop")


def test_sentence() -> None:
    """It names the lineage, the plugins and the way out."""
    said = plugins.sentence("shop", ["dns-x", "nginx"])
    assert said.startswith(f"{environment.program('certbot')} must not renew shop: ")
    assert "has no plugin dns-x and no nginx" in said
    assert "install certbot-dns-x && " in said
