"""The environment that this program runs in."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from certbot_qiniu.environment import installation, plugin_installation, program


def test_programs() -> None:
    """Those of this environment are meant, whatever else is in the PATH."""
    assert Path(program("certbot-qiniu")).is_file()
    assert Path(installation("apprise").split()[0]).is_file()


def test_plugins() -> None:
    """Those of certbot's authors must be as new as this certbot; the others have their own."""
    version = importlib.metadata.version("certbot")
    assert plugin_installation("nginx").endswith(f"/pip install certbot-nginx=={version}")
    assert plugin_installation("dns-tencent").endswith("/pip install certbot-dns-tencent")
