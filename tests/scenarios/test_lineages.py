"""Renewal confs, as certbot itself writes them."""

from __future__ import annotations

from pathlib import Path

from certbot_qiniu.lineages import read_renewals
from tests.scenarios.command import issued


def test_conf_that_certbot_wrote(tmp_path: Path) -> None:
    """What certbot stores of a run is what the run was told."""
    machine = issued(tmp_path)
    found, problems = read_renewals(machine.config_dir)
    assert problems == []
    settings = found["example.com"].settings
    assert (settings.credentials, settings.skip_nginx) == (str(machine.credentials), True)
    assert found["example.com"].authenticator == "standalone"
