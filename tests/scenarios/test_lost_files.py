"""A machine that has lost our files: nothing is lost with them that Qiniu or certbot still has."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.scenarios.machine import Cloud, Machine


def test_lost_memory(tmp_path: Path) -> None:
    """Who has lost both files finds his own certificate again, and is no stranger to himself."""
    cloud = Cloud()
    cloud.qiniu.add_domain("www.example.com", protocol="https",
                           cert_id=cloud.stranger("*.example.com"))
    machine = Machine(cloud, tmp_path)
    assert machine.issue("example.com", "*.example.com").status == 0
    shutil.rmtree(machine.config_dir / "qiniu")
    run = machine.renew()
    assert run.status == 0, run.output
    assert [] == run.labels("PUT ") + run.labels("POST ")
    state = machine.config_dir / "qiniu" / "state" / "example.com.json"
    assert "www.example.com" in state.read_text("utf-8")
