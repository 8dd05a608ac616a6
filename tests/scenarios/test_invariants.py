"""The invariants notice what they are there to notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Fault, json_response
from tests.scenarios.account import DOMAINS, NAMES, fill
from tests.scenarios.invariants import Bystanders, check, check_calls, check_status
from tests.scenarios.machine import Cloud, Machine

Deployed = tuple[Machine, Bystanders]
WWW = "www.example.com"


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    """A machine on whose account all is well."""
    cloud = Cloud(Switches(publish_seconds=20))
    others = fill(cloud)
    machine = Machine(cloud, tmp_path)
    assert 0 == machine.issue(*NAMES).status
    check(machine, DOMAINS, others)
    return machine, others


def _copy(machine: Machine, others: Bystanders) -> None:
    """A certificate of ours that is there twice."""
    ours = machine.cloud.qiniu.certificates()[-1]
    machine.cloud.qiniu.add_certificate(ours.fullchain, name=ours.name)


def _leftovers(machine: Machine, others: Bystanders) -> None:
    """Two superseded certificates if one is kept."""
    for _ in range(2):
        machine.cloud.stranger(*NAMES, name="certbot_example.com_ba9876543210")


def _gone(machine: Machine, others: Bystanders) -> None:
    """A stranger's certificate that was deleted."""
    machine.cloud.qiniu._certificates.pop(min(others.certificates))


def _conf(machine: Machine, others: Bystanders) -> None:
    """The plugin is not in the renewal conf any more."""
    conf = machine.config_dir / "renewal" / "example.com.conf"
    conf.write_text(conf.read_text().replace("installer = qiniu\n", ""))


@pytest.mark.parametrize("harm", [
    lambda machine, _: machine.cloud.qiniu.change_domain(WWW, force_https=False),
    lambda machine, others: machine.cloud.qiniu.change_domain(
        WWW, cert_id=min(others.certificates)),
    lambda machine, _: machine.cloud.qiniu.change_domain("other.example.org", http2=True),
    lambda machine, _: machine.cloud.qiniu.leaks.append("GET /"),
    _copy, _leftovers, _gone, _conf,
], ids=["setting", "certificate", "bystander", "leak", "copy", "leftovers", "gone", "conf"])
def test_harm_is_noticed(harm: Callable[[Machine, Bystanders], None], deployed: Deployed) -> None:
    """Each thing that must not happen fails the check."""
    harm(*deployed)
    with pytest.raises(AssertionError):
        check(deployed[0], DOMAINS, deployed[1])


def test_an_untrue_exit_status_is_noticed(deployed: Deployed) -> None:
    """Success is no success while a domain is stuck, and the look ahead changes nothing."""
    machine, _ = deployed
    now = machine.cloud.clock.now
    machine.cloud.qiniu.stick(WWW)
    run = machine.force_renewal()
    assert 0 == run.status
    with pytest.raises(AssertionError, match="exit status 0, but"):
        check_status(run, machine, DOMAINS)
    assert machine.cloud.clock.now < now + 60


def test_a_refused_request_is_noticed(deployed: Deployed) -> None:
    """Unless its code, or its status, is allowed."""
    machine, _ = deployed
    machine.cloud.board.arm(Fault("reply", json_response(400, {"code": 400030, "error": "busy"})),
                            match=f"{WWW}/httpsconf")
    run = machine.force_renewal()
    with pytest.raises(AssertionError, match="400030"):
        check_calls(run)
    check_calls(run, allowed={400030})
    check_calls(run, allowed={400})
