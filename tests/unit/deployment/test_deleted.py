"""Lineages that are no longer there, or have another name."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from certbot_qiniu.deployment.deleted import forget_deleted
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.model import Binding, Certificate
from tests.unit.deployment.account import LINEAGE, A, B, C
from tests.unit.deployment.desired import Checkpoints, entry, manage, state
from tests.unit.rig import Rig


def test_deleted(rig: Rig, deployer: Deployer, certificate: Certificate,
                 checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture) -> None:
    """Domains of a lineage that certbot deleted are let go, in a checkpoint, and named, once."""
    manage(rig, entry(A, certificate), entry(B, lineage="gone"), entry(C, lineage="gone"))
    with caplog.at_level(logging.WARNING):
        forget_deleted(deployer.writer, deployer.lineages, deployer.say)
    assert state(entry(A, certificate)) == rig.store.state
    assert ["Stopped managing gone"] == checkpoints.ended
    assert f"The certificate gone was deleted from certbot: {B}, {C} no longer" in caplog.text
    manage(rig, entry(A, lineage="gone"))
    forget_deleted(deployer.writer, deployer.lineages, deployer.say)
    assert [A] == list(rig.store.state), "a process looks once"


@pytest.mark.parametrize("is_managed", [True, False])
def test_renamed(rig: Rig, deployer: Deployer, certificate: Certificate,
                 checkpoints: Checkpoints, *, is_managed: bool) -> None:
    """Its domains, what they served before and its hold move to the new name, in a checkpoint."""
    manage(rig, *([entry(A, certificate, force_https=True)] if is_managed else []))
    rig.memory.update(A, lineage=LINEAGE, baseline=Binding("http"))
    rig.memory.lineage(LINEAGE).hold = certificate.fingerprint
    conf = rig.config_dir / "renewal" / f"{LINEAGE}.conf"
    conf.rename(conf.with_name("new.conf"))
    forget_deleted(deployer.writer, deployer.lineages, deployer.say)
    moved = replace(certificate, lineage="new")
    assert (state(entry(A, moved, force_https=True, lineage="new")) if is_managed else {}) == (
        rig.store.state)
    assert (["Renamed example.com to new"] if is_managed else []) == checkpoints.ended
    assert ("new", Binding("http")) == (
        rig.memory.domains[A].lineage, rig.memory.domains[A].baseline)
    assert "" == rig.memory.lineage(LINEAGE).hold
    assert [f"{LINEAGE} is called new now: its domains at Qiniu go on under that name"] == rig.said

