"""The clean-up at Qiniu: all that is provably ours, whatever has become of its lineage."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.lineages import Lineages
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Switches
from tests.scenarios.command import Seat
from tests.scenarios.machine import Cloud, Run, later

MAIN, SHOP = "www.example.com", "shop.example.org"
HOUR, DAY = 3600, 86400
OTHER = f"other-{ACCESS_KEY}"
KEEP_NONE = ("--qiniu-keep-certificates", "0")


@pytest.fixture
def machine(tmp_path: Path) -> Seat:
    """A machine with two lineages in one account, which keep nothing for a rollback."""
    cloud = Cloud(Switches(publish_seconds=20), {ACCESS_KEY: SECRET_KEY, OTHER: SECRET_KEY})
    machine = Seat(cloud, tmp_path)
    for name in (MAIN, SHOP):
        cloud.qiniu.add_domain(name, protocol="https", cert_id=cloud.stranger(name, days=20))
        assert machine.issue(name, arguments=KEEP_NONE).status == 0
    return machine


def renewed(machine: Seat) -> Run:
    """A forced renewal, and the run after it, by when all is published."""
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(HOUR)
    run = machine.renew()
    assert run.status == 0, run.output
    return run


def ours(machine: Seat) -> list[str]:
    """The domains whose certificates under names of ours are at Qiniu."""
    return sorted(item.name.removeprefix("certbot_").rpartition("_")[0]
                  for item in machine.cloud.qiniu.certificates()
                  if item.name.startswith("certbot_"))


def test_deleted_lineage(machine: Seat) -> None:
    """Its certificate stays for the domain that serves it, and goes when that has moved."""
    assert machine.certbot("delete", "--cert-name", SHOP).status == 0
    renewed(machine)
    assert ours(machine) == [SHOP, MAIN]
    machine.cloud.qiniu.change_domain(
        SHOP, cert_id=machine.cloud.stranger(SHOP, days=90, name="another's"))
    machine.cloud.clock.sleep(DAY)
    idle = machine.renew()
    assert "GET /sslcert" not in " ".join(idle.labels())
    renewed(machine)
    assert ours(machine) == [MAIN]
    assert machine.cloud.qiniu.serving(MAIN).fingerprint == machine.fingerprint(MAIN)


def test_deleted_lineage_is_pruned(machine: Seat) -> None:
    """The command says what a deleted lineage left, and deletes it."""
    assert machine.certbot("delete", "--cert-name", SHOP).status == 0
    machine.renew()
    machine.cloud.qiniu.change_domain(
        SHOP, cert_id=machine.cloud.stranger(SHOP, days=90, name="another's"))
    shown = machine.run("certificates")
    assert "superseded" in shown.output, shown.output
    assert ours(machine) == [SHOP, MAIN]
    pruned = machine.run("certificates", "--prune")
    assert "1 superseded certificate deleted" in pruned.output
    assert ours(machine) == [MAIN]


def test_copies_of_a_clone(machine: Seat) -> None:
    """Our certificates that a clone of this machine uploaded go; those under other names stay."""
    current = Lineages(machine.config_dir).current(MAIN)
    for name in (current.remote_name, "a clone's own"):
        machine.cloud.qiniu.add_certificate(current.fullchain, name=name)
    assert ours(machine) == [SHOP, MAIN, MAIN]
    renewed(machine)
    assert ours(machine) == [SHOP, MAIN]
    assert "a clone's own" in {item.name for item in machine.cloud.qiniu.certificates()}


@pytest.mark.parametrize(("days", "name", "status"), [
    (5, "certbot_dead.example_0123456789ab", 0), (50, "certbot_dead.example_0123456789ab", 2),
    (5, "dead.example", 2), (5, "certbot_dead.example_0123", 2),
], ids=["expired", "valid", "another name", "a shortened name"])
def test_dead_clone(machine: Seat, days: float, name: str, status: int) -> None:
    """One not provably ours goes if it is named, has expired and has a name of our kind."""
    stray = machine.cloud.stranger(MAIN, days=days, name=name)
    machine.cloud.clock.sleep(10 * DAY)
    machine.run("certificates", "--prune")
    assert stray in {item.cert_id for item in machine.cloud.qiniu.certificates()}
    run = machine.run("certificates", "--prune", "--expired", stray)
    assert run.status == status, run.output
    assert (status != 0) == (
        stray in {item.cert_id for item in machine.cloud.qiniu.certificates()})


# A former account


def move(machine: Seat, *lineages: str) -> None:
    """Let domains move to another account, where they serve what was there, and their confs too."""
    qiniu, other = machine.cloud.qiniu, machine.write_credentials("other.ini", (OTHER, SECRET_KEY))
    for name in lineages:
        qiniu.remove_domain(name)
        qiniu.add_domain(name, account=OTHER, protocol="https", cert_id=qiniu.add_certificate(
            machine.cloud.authority.issue(name, days=20).fullchain_pem, name="there before",
            account=OTHER))
        conf = machine.config_dir / "renewal" / f"{name}.conf"
        conf.write_text(conf.read_text().replace(str(machine.credentials), str(other)))
    later(machine)
    later(machine)
    for name in lineages:
        assert machine.fingerprint(name) == qiniu.serving(name).fingerprint


def names_in(machine: Seat, account: str) -> list[str]:
    """The names of all certificates in an account, without the digits of ours."""
    return sorted(item.name.rpartition("_")[0] or item.name
                  for item in machine.cloud.qiniu.certificates(account))


def test_a_former_account(machine: Seat) -> None:
    """A lineage's leftovers there go with the run of another one that is still there."""
    move(machine, SHOP)
    renewed(machine)
    renewed(machine)
    strangers = ["a stranger's"] * 2
    assert [*strangers, f"certbot_{MAIN}"] == names_in(machine, ACCESS_KEY)
    assert [f"certbot_{SHOP}", "there before"] == names_in(machine, OTHER)
    assert 0 == machine.run("status").status


def test_a_former_account_that_nobody_has_keys_for(machine: Seat) -> None:
    """It is left alone, and what is ours there is named; back there, all goes on."""
    move(machine, MAIN, SHOP)
    renewed(machine)
    left = names_in(machine, ACCESS_KEY)
    assert [f"certbot_{SHOP}", f"certbot_{MAIN}"] == left[-2:]
    shown = " ".join(machine.run("certificates").output.split())
    for item in machine.cloud.qiniu.certificates(ACCESS_KEY):
        assert item.name.startswith("certbot_") == (item.cert_id in shown), shown
    run = machine.certbot("rollback", "-i", "qiniu", "--checkpoints", "1")
    assert "Traceback" not in run.output
    assert left == names_in(machine, ACCESS_KEY), "a rollback touches the account of today alone"
