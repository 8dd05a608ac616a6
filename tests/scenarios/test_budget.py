"""The most calls that a run may cost. These are counts, so they hold on any machine.

A list costs a call more than it has pages, since nothing but an empty page ends it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.scenarios.account import fleet
from tests.scenarios.machine import Cloud, Machine, Run

HALF_A_DAY = 43_200
A_PUBLICATION = 600
EVERY_FEW_HOURS = 5 * 3600

LINEAGES = 500


def seed(cloud: Cloud, count: int) -> list[str]:
    """Let *count* domains speak HTTPS with the certificate of somebody else."""
    names = [f"d{number}.example.com" for number in range(count)]
    old = cloud.stranger("*.example.com")
    for name in names:
        cloud.qiniu.add_domain(name, protocol="https", cert_id=old, http2=name.startswith("d1"))
    return names


def deployed(cloud: Cloud, directory: Path, count: int) -> Machine:
    """A machine that has issued for *count* domains and has run once more since."""
    seed(cloud, count)
    machine = Machine(cloud, directory)
    assert machine.issue("example.com", "*.example.com").status == 0
    ordinary(machine, HALF_A_DAY)
    return machine


def ordinary(machine: Machine, seconds: float) -> Run:
    """What the timer runs *seconds* later."""
    machine.cloud.clock.sleep(seconds)
    run = machine.renew()
    assert run.status == 0, run.output
    return run


@pytest.mark.parametrize("domains", [1, 2, 3, 40])
def test_renewal(tmp_path: Path, domains: int) -> None:
    """A renewal costs a call for each domain, and a few; all settings are kept."""
    cloud = Cloud()
    machine = deployed(cloud, tmp_path, domains)
    run = machine.force_renewal()
    assert run.status == 0, run.output
    assert domains <= len(run.calls) <= domains + 15
    assert len(run.labels("/httpsconf")) == domains
    cloud.clock.sleep(A_PUBLICATION)
    for number in range(domains):
        serving = cloud.qiniu.serving(f"d{number}.example.com")
        assert (machine.fingerprint(), str(number).startswith("1")) == (
            serving.fingerprint, serving.http2)


@pytest.mark.parametrize(("list_end", "looks"), [("empty marker", 45), ("empty page", 80)])
@pytest.mark.parametrize("domains", [40, 500])
def test_first_issuance(tmp_path: Path, domains: int, list_end: Any, looks: int) -> None:
    """Two calls for each domain, and a look now and then while Qiniu publishes."""
    # The list of what is published grows as fast as it is read: it is not read to its end.
    cloud = Cloud(Switches(publish_seconds=300, list_end=list_end))
    seed(cloud, domains)
    run = Machine(cloud, tmp_path).issue("example.com", "*.example.com")
    assert run.status == 0, run.output
    assert 2 * domains == len(run.labels("/domain/"))
    assert len(run.calls) <= 2 * domains + looks


def test_first_issuance_in_a_crowd(tmp_path: Path) -> None:
    """While Qiniu publishes, what others have is not listed at each look."""
    cloud = Cloud()
    seed(cloud, 3)
    cloud.qiniu.add_domain("d0.example.org")
    cloud.qiniu.add_copies("d0.example.org", (f"d{n}.example.org" for n in range(1, 10_000)))
    machine = Machine(cloud, tmp_path)
    for run in (machine.issue("example.com", "*.example.com"),
                machine.certbot("rollback", "--checkpoints", "1", *machine.installer)):
        assert run.status == 0, run.output
        assert cloud.qiniu.serving("d0.example.com").state == "success"
        assert len(run.labels("api.qiniu.com/domain")) - len(run.labels("/domain/")) <= 2 * 12
        assert len(run.labels("/domain/")) <= 3 * 45


@pytest.mark.parametrize("pause", [EVERY_FEW_HOURS, HALF_A_DAY, 86_000])
def test_renewal_at_any_hour(tmp_path: Path, pause: int) -> None:
    """Whenever the day's reading is due, it is not the renewal that pays for it."""
    cloud = Cloud()
    machine = deployed(cloud, tmp_path, 20)
    for _ in range(6):
        ordinary(machine, pause)
        cloud.clock.sleep(pause)
        run = machine.force_renewal()
        assert run.status == 0, run.output
        assert len(run.calls) <= 20 + 15
        ordinary(machine, A_PUBLICATION)


def test_confirmation(tmp_path: Path) -> None:
    """The run after a renewal sees by lists that all of it is published, and cleans up."""
    machine = deployed(Cloud(), tmp_path, 40)
    machine.force_renewal()
    assert len(ordinary(machine, A_PUBLICATION).calls) <= 15


def test_daily_reading(tmp_path: Path) -> None:
    """Once a day each domain is read, should Qiniu not move the field that shows changes."""
    cloud = Cloud(Switches(publish_seconds=300, modify_at="frozen"))
    machine = deployed(cloud, tmp_path, 3)
    cloud.qiniu.change_domain("d2.example.com", cert_id=cloud.stranger("*.example.com"))
    runs = [ordinary(machine, HALF_A_DAY) for _ in range(3)]
    assert [["PUT api.qiniu.com/domain/d2.example.com/httpsconf"], []] == sorted(
        [run.labels("PUT ") for run in runs[:2]], reverse=True)
    assert machine.fingerprint() == cloud.qiniu.serving("d2.example.com").fingerprint


@pytest.mark.parametrize("domains", [1, 100, 1000])
def test_nothing_to_do(tmp_path: Path, domains: int) -> None:
    """If nothing has changed, the lists alone say so, however many domains there are."""
    machine = deployed(Cloud(), tmp_path, domains)
    run = ordinary(machine, EVERY_FEW_HOURS)
    assert ["GET api.qiniu.com/domain"] * 2 == run.labels(), "the list, and the page that ends it"


def test_one_drifted_domain(tmp_path: Path) -> None:
    """Of a hundred domains, only the one that somebody changed is read and put right."""
    cloud = Cloud()
    machine = deployed(cloud, tmp_path, 100)
    cloud.qiniu.change_domain("d7.example.com", cert_id=cloud.stranger("*.example.com"))
    run = ordinary(machine, EVERY_FEW_HOURS)
    assert ["PUT api.qiniu.com/domain/d7.example.com/httpsconf"] == run.labels("PUT ")
    assert len(run.calls) <= 7


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hundreds_of_lineages(tmp_path: Path) -> None:
    """``certbot renew`` over hundreds of lineages asks for the account's lists once."""
    machine = fleet(tmp_path, LINEAGES)
    first = ordinary(machine, 0)
    assert LINEAGES == len(first.labels("/domain/"))
    run = ordinary(machine, EVERY_FEW_HOURS)
    assert 1 <= len(run.calls) <= 5
