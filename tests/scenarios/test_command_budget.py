"""The most calls that the operator's command may cost, and its output with so few.

An account of ten thousand domains, three of which certbot manages. A list costs a call more than it
has pages, since nothing but an empty page ends it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Fault, Response
from tests.scenarios.account import fleet
from tests.scenarios.command import Seat
from tests.scenarios.machine import HALF_A_DAY, Cloud, Run

MANAGED = ("a.example.com", "b.example.com", "c.example.com")
OTHERS = 10_000
PAGES = OTHERS // 1000 + 2
"""Of the list of domains: 11 with entries, and the empty one."""


def seat_in(directory: Path, cloud: Cloud, managed: Iterable[str] = MANAGED) -> Seat:
    """A machine that has issued for its domains and run once more, in an account of others."""
    machine = Seat(cloud, directory)
    old = cloud.stranger("*.example.com", days=40)
    for name in managed:
        cloud.qiniu.add_domain(name, protocol="https", cert_id=old)
    for run in (machine.issue("*.example.com"), later(machine)):
        assert run.status == 0, run.output
    return machine


def later(machine: Seat, seconds: float = HALF_A_DAY) -> Run:
    """What the timer runs *seconds* later."""
    machine.cloud.clock.sleep(seconds)
    return machine.renew()


def crowd(cloud: Cloud, count: int = OTHERS) -> None:
    """Let an account have so many domains that certbot does not manage."""
    theirs = cloud.stranger("*.example.org", days=5)
    cloud.qiniu.add_domain("d0.example.org", protocol="https", cert_id=theirs)
    cloud.qiniu.add_copies("d0.example.org", (f"d{n}.example.org" for n in range(1, count)))


@pytest.fixture
def crowded(tmp_path: Path) -> Seat:
    """Three managed domains in an account of ten thousand, that a renewal has looked at."""
    machine = seat_in(tmp_path, Cloud())
    crowd(machine.cloud)
    assert later(machine).status == 0
    return machine


def strangers(cloud: Cloud, count: int) -> None:
    """Let an account have so many certificates that are not ours."""
    chain = cloud.authority.issue("*.example.org").fullchain_pem
    for _ in range(count):
        cloud.qiniu.add_certificate(chain, name="a stranger's")


def rows(run: Run) -> dict[str, Any]:
    """What a status says of each domain."""
    return {row["domain"]: row for row in json.loads(run.output)["domains"]}


def test_managed_among_ten_thousand(crowded: Seat) -> None:
    """A call for each managed domain tells all of it; no list is asked, however old it is."""
    for _ in range(2):
        run = crowded.run("status", "--managed", "--json")
        assert (0, [f"GET api.qiniu.com/domain/{name}" for name in MANAGED]) == (
            run.status, run.labels())
        found = rows(run)
        assert list(MANAGED) == list(found)
        assert {True} == {row["in_sync"] for row in found.values()}
        assert {88} == {row["days_left"] for row in found.values()}
        crowded.cloud.clock.sleep(3600)


def test_plain_among_ten_thousand(crowded: Seat) -> None:
    """The pages of the list alone: of others' domains it is not known what they serve."""
    run = crowded.run("status", "--json")
    assert (0, PAGES) == (run.status, len(run.calls))
    found = rows(run)
    assert OTHERS + len(MANAGED) == len(found)
    assert (None, None, "https", "Unmanaged") == tuple(
        found["d7.example.org"][key] for key in ("cert_id", "days_left", "protocol", "reason"))
    assert rows(crowded.run("status", "--managed", "--json")) == {
        name: found[name] for name in MANAGED}, "of managed ones both say the same"


def test_plan_among_ten_thousand(crowded: Seat) -> None:
    """The pages of the list, and a call for each domain that is new and covered."""
    cloud = crowded.cloud
    for name in ("x", "y"):
        cloud.qiniu.add_domain(f"{name}.example.com", protocol="https",
                               cert_id=cloud.stranger("*.example.com", days=40))
    cloud.clock.sleep(60)
    run = crowded.run("plan")
    assert (0, 2) == (run.status, run.output.count("Outdated"))
    assert len(run.calls) <= PAGES + 2 + 6
    assert 2 == len(run.labels("/domain/"))


def test_plan_after_days(tmp_path: Path) -> None:
    """A plan reads few domains without a change in a list, as it stores nothing of that."""
    cloud = Cloud()
    machine = seat_in(tmp_path, cloud, [f"d{number}.example.com" for number in range(30)])
    bought = cloud.stranger("*.example.com", days=300)
    for number in range(30):
        cloud.qiniu.add_domain(f"x{number}.example.com", protocol="https", cert_id=bought)
    assert later(machine).status == 0
    cloud.clock.sleep(40 * 3600)
    for command in "plan", "status":
        assert 2 < len(machine.run(command).calls) <= 2 + 6


@pytest.mark.parametrize(("arguments", "minutes"), [
    ((), r"(0\.9|1\.0)"), (("--renewal", "0"), r"3\.0")], ids=["a user", "a timer"])
def test_all_details(tmp_path: Path, arguments: tuple[str, ...], minutes: str) -> None:
    """Each domain is read, and what that costs is said before."""
    machine = seat_in(tmp_path, Cloud())
    crowd(machine.cloud, 540)
    run = machine.run("status", "--all-details", *arguments)
    assert re.match("Reading 540 domains one by one takes about 540 calls and "
                    f"{minutes} minutes", run.output)
    assert (1, 540) == (run.status, len(run.labels("/domain/d")))
    assert "d539.example.org serves ends in 4 days" in run.output


def test_certificates(tmp_path: Path) -> None:
    """A call for each hundred certificates of the account, besides the list of domains."""
    cloud = Cloud()
    strangers(cloud, 250)
    machine = seat_in(tmp_path, cloud)
    assert machine.force_renewal().status == 0
    assert later(machine).status == 0
    run = machine.run("certificates", "--json")
    assert 3 + 1 == len(run.labels("/sslcert"))
    assert len(run.calls) <= 3 + 1 + 2 + 6
    verdicts = [(one["verdict"], one["used_by"])
                for one in json.loads(run.output)["certificates"]]
    assert sorted(verdicts) == [("in use", list(MANAGED)), ("kept", [])]


def test_what_a_lost_machine_has_left(tmp_path: Path) -> None:
    """The users of hundreds of expired ones are asked one by one, which is announced."""
    cloud = Cloud()
    machine = seat_in(tmp_path, cloud)
    leaf = cloud.authority.issue("old.example.com", days=0.01)
    for number in range(114):
        cloud.qiniu.add_certificate(leaf.fullchain_pem, name=f"certbot_old_{number:012x}")
    run = machine.run("certificates")
    assert "Asking who uses 114 certificates one by one takes about 114 calls and 0.2 minutes" in (
        " ".join(run.output.split()))
    assert 114 == len(run.labels("api.qiniu.com/domain")) - 2


def test_superseded_certificate_that_somebody_uses(tmp_path: Path) -> None:
    """Qiniu is asked who uses what would be deleted: a domain that nothing here knows may."""
    machine = seat_in(tmp_path, Cloud())
    cloud, first = machine.cloud, machine.cloud.qiniu.serving(MANAGED[0]).cert_id
    cloud.qiniu.add_domain("their.example.org", protocol="https", cert_id=first)
    for _ in range(2):
        assert machine.force_renewal().status == 0
        assert later(machine).status == 0
    [found] = [one for one in json.loads(machine.run("certificates", "--json").output)[
        "certificates"] if one["cert_id"] == first]
    assert ("in use", ["their.example.org"]) == (found["verdict"], found["used_by"])
    # Nor is it planned for ever to delete it.
    assert "Nothing to do." in machine.run("plan").output
    cloud.qiniu.change_domain("their.example.org", cert_id=cloud.stranger("*.example.org"))
    run = machine.run("plan")
    assert ("1 step;", True) == (run.output.splitlines()[-1][:7], len(run.calls) <= 6)
    name = run.output.partition("delete ")[2].split()[0]
    cloud.clock.sleep(3600)
    assert f"Deleted the superseded certificate {name}" in machine.run("apply").output


# What is said with so few calls


def foreign(machine: Seat, days: float = 200) -> str:
    """Somebody puts another certificate over ours on the first domain."""
    cert_id = machine.cloud.stranger("*.example.com", days=days)
    machine.cloud.qiniu.change_domain(MANAGED[0], cert_id=cert_id)
    machine.cloud.clock.sleep(60)
    return cert_id


@pytest.mark.parametrize(("changes", "expected"), [
    ({"force_https": True}, (0, True, "success", "InSync", 89)),
    ({"protocol": "http", "cert_id": ""}, (1, False, "success", "NotBound", None)),
    ({"state": "frozen"}, (0, False, "frozen", "Dead", 89)),
    ({"state": "processing", "operation": "modify_cache"},
     (0, True, "processing", "InSync", None)),
    ({"state": "processing", "operation": "modify_https_conf"},
     (0, False, "processing", "Busy", None)),
], ids=["a setting that we leave", "http", "frozen", "processing", "processing HTTPS"])
def test_what_has_changed(tmp_path: Path, changes: dict[str, Any],
                          expected: tuple[Any, ...]) -> None:
    """A managed domain that somebody has changed is shown as it is, with lists and without."""
    machine = seat_in(tmp_path, Cloud())
    machine.cloud.qiniu.change_domain(MANAGED[0], **changes)
    machine.cloud.clock.sleep(60)
    for arguments in ["--managed"], []:
        run = machine.run("status", "--json", *arguments)
        row = rows(run)[MANAGED[0]]
        seen = run.status, *(row[key] for key in ("in_sync", "state", "reason", "days_left"))
        # A domain in processing is not read where a list shows that.
        days = {89, None} if expected[-1] is None and row["protocol"] == "https" else {expected[-1]}
        assert expected[:-1] == seen[:-1]
        assert seen[-1] in days


def test_foreign_certificate(crowded: Seat) -> None:
    """Its end is looked for in the list until it is met there, and then remembered."""
    strangers(crowded.cloud, 250)
    cert_id = foreign(crowded)
    run = crowded.run("status", "--managed", "--json")
    row = rows(run)[MANAGED[0]]
    assert (1, cert_id, "Replaced", 198) == (
        run.status, *(row[key] for key in ("cert_id", "reason", "days_left")))
    assert 1 <= len(run.labels("/sslcert")) <= 3
    assert [] == run.labels("/domain?")
    assert later(crowded).status == 1
    run = crowded.run("status", "--managed", "--json")
    assert (3, row["not_after"]) == (len(run.calls), rows(run)[MANAGED[0]]["not_after"])


@pytest.mark.parametrize("is_listed", [True, False])
def test_many_foreign_certificates(tmp_path: Path, is_listed: bool) -> None:
    """However many there are, and be it that no list has them, the list is read a few times."""
    cloud = Cloud()
    machine = fleet(tmp_path, 20, cloud)
    strangers(cloud, 150)
    assert later_of(machine, 0).status == 0
    shared = cloud.stranger("*.example")
    for number in range(20):
        strangers(cloud, 5)
        cloud.qiniu.change_domain(f"site{number}.example", cert_id=cloud.stranger(
            f"site{number}.example") if is_listed else shared)
    if not is_listed:
        vars(cloud.qiniu)["_certificates"].pop(shared)
    cloud.clock.sleep(3600)
    run = Seat(cloud, tmp_path).run("status", "--managed")
    pages = 4
    assert pages <= len(run.labels("/sslcert")) <= 4 * pages


def test_domain_that_is_gone(crowded: Seat) -> None:
    """Only the list shows what it means that a domain does not exist."""
    crowded.cloud.qiniu.remove_domain(MANAGED[0])
    run = crowded.run("status", "--managed", "--json")
    assert (1, "missing", "NotFound") == (
        run.status, *(rows(run)[MANAGED[0]][key] for key in ("state", "reason")))
    assert PAGES == len([label for label in run.labels() if label.endswith("com/domain")])
    assert len(run.calls) <= PAGES + 12


def test_domain_that_cannot_be_read(crowded: Seat) -> None:
    """It is asked for once, and not looked for in all buckets of the account."""
    for number in range(20):
        crowded.cloud.qiniu.add_bucket(f"files{number}")
    refusal = Response(400, b'{"code": 400001, "error": "no"}')
    crowded.cloud.board.arm(Fault("reply", refusal), match=f"/domain/{MANAGED[0]}", times=10**6)
    run = crowded.run("status", "--managed", "--json")
    assert [f"GET api.qiniu.com/domain/{name}" for name in MANAGED] == run.labels()
    assert (2, "Unreadable", True) == (
        run.status, rows(run)[MANAGED[0]]["reason"], rows(run)[MANAGED[1]]["in_sync"])


def test_another_accounts_keys(crowded: Seat) -> None:
    """An account without any domain of ours is doubted, whatever was asked."""
    for name in MANAGED:
        crowded.cloud.qiniu.remove_domain(name)
    run = crowded.run("status", "--managed", "--json")
    assert 1 == run.status
    assert "InDoubt" in {one["reason"] for one in json.loads(run.output)["findings"]}


def test_many_managed_domains(tmp_path: Path) -> None:
    """Where most of an account is managed its list takes fewer calls than they do."""
    machine = seat_in(tmp_path, Cloud(), [f"d{number}.example.com" for number in range(300)])
    machine.cloud.qiniu.add_domain("new.example.com", protocol="https",
                                   cert_id=machine.cloud.stranger("new.example.com", days=9))
    run = machine.run("status", "--managed", "--json")
    assert (0, 2) == (run.status, len(run.calls))
    assert {True} == {row["in_sync"] for row in rows(run).values()}


def test_pace_of_a_timer(tmp_path: Path) -> None:
    """A run for which nobody waits leaves most of the account's calls to other programs."""
    machine = seat_in(tmp_path, Cloud())
    for arguments, least in ([], 0.1), (["--renewal", "0"], 0.333):
        calls = machine.run("status", "--managed", "--json", *arguments).calls
        gaps = [after.at - before.at for before, after in itertools.pairwise(calls)]
        assert least <= min(gaps) <= least + 0.05


@pytest.mark.parametrize("match", ["", "/domain/"])
def test_outage(tmp_path: Path, match: str) -> None:
    """If nothing can be read nothing is known: neither that all is well, nor that it is not."""
    machine = seat_in(tmp_path, Cloud())
    machine.cloud.clock.sleep(30 * 3600)
    for arguments in ["--managed"], []:
        machine.cloud.board.arm(Fault("reply", Response(503)), match=match, times=10**6)
        run = machine.run("status", "--json", *arguments)
        machine.cloud.board.disarm()
        assert (2, {"unknown"}) == (run.status, {one["level"] for kind in ("domains", "findings")
                                                 for one in json.loads(run.output)[kind]})


# Many lineages


def test_a_hundred_lineages(tmp_path: Path) -> None:
    """They share the lists of their account, whatever services each of them sees of it."""
    machine = fleet(tmp_path, 100)
    for conf in list((machine.config_dir / "renewal").glob("site1*.conf")):
        conf.write_text(conf.read_text() + "qiniu_services = cdn\n")
    assert later_of(machine, 0).status == 0
    run = later_of(machine, 5 * 3600)
    assert ["GET api.qiniu.com/domain"] * 2 == run.labels("api.qiniu.com/domain")
    seat = Seat(machine.cloud, tmp_path)
    status = seat.run("status", "--managed", "--json")
    assert (0, 100, ["GET api.qiniu.com/domain"] * 2) == (
        status.status, len(rows(status)), status.labels())


def later_of(machine: Any, seconds: float) -> Run:
    """What the timer of a fleet runs *seconds* later."""
    machine.cloud.clock.sleep(seconds)
    found: Run = machine.renew()
    return found


def test_readings_are_spread(tmp_path: Path) -> None:
    """Each run reads the sixth that is longest unread, over all lineages, whatever part of the
    account each of them looks at; a renewal reads none."""
    machine = fleet(tmp_path, 90)
    for conf in sorted((machine.config_dir / "renewal").iterdir())[::2]:
        conf.write_text(conf.read_text() + "qiniu_services = cdn\n")
    assert later_of(machine, 0).status == 0
    reads = [len(later_of(machine, HALF_A_DAY).labels("/domain/")) for _ in range(9)]
    assert [0, 15, 15, 15, 15, 15, 15, 15, 15] == reads
    renewal = machine.force_renewal()
    assert (0, []) == (renewal.status, [label for label in renewal.labels("/domain/")
                                        if label.startswith("GET")])


def test_change_that_no_list_shows(tmp_path: Path) -> None:
    """It is found within four days, however many domains there are."""
    cloud = Cloud(Switches(publish_seconds=300, modify_at="frozen"))
    names = [f"d{number}.example.com" for number in range(60)]
    machine = seat_in(tmp_path, cloud, names)
    for name in names:
        cloud.qiniu.change_domain(name, cert_id=cloud.stranger("*.example.com", days=10))
    sent = [len(later(machine).labels("PUT ")) for _ in range(8)]
    assert 60 == sum(sent)
    assert max(sent) <= 20


def test_wrong_secret_in_one_of_two_files(tmp_path: Path) -> None:
    """Two files with one access key: the wrong secret is one file's alone, and tried once."""
    from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY

    machine = fleet(tmp_path, 3)
    seat = Seat(machine.cloud, tmp_path)
    wrong = seat.write_credentials("wrong.ini", (ACCESS_KEY, f"{SECRET_KEY[:-1]}x"))
    confs = [seat.config_dir / "renewal" / f"site{number}.example.conf" for number in range(3)]
    for conf in confs[::2]:  # the first and the last
        conf.write_text(conf.read_text().replace(str(seat.credentials), str(wrong)))
    run = seat.renew("--force-renewal")
    seat.cloud.clock.sleep(600)
    assert run.status == 1
    for number, is_served in enumerate((False, True, False)):
        name = f"site{number}.example"
        assert is_served is (
            seat.fingerprint(name) == seat.cloud.qiniu.serving(name).fingerprint), name
    assert 2 == run.output.count(f"in the credentials file {wrong}; ")
    assert 1 == sum(call.status == 401 for call in run.calls), "however many lineages have it"
    assert str(seat.credentials) not in run.output
    assert SECRET_KEY[:-1] not in run.output
    status = seat.run("status", "--json")
    found = json.loads(status.output)
    assert 1 == status.status
    assert [str(wrong)] == [one["subject"] for one in found["findings"]
                            if one["reason"] == "Refused"]
    assert ["site1.example"] == [row["domain"] for row in found["domains"]
                                 if row["in_sync"]]


def test_hold(tmp_path: Path) -> None:
    """A domain that a rollback holds is read by itself, too, with the same report as by lists."""
    machine = seat_in(tmp_path, Cloud())
    assert machine.force_renewal().status == 0
    assert later(machine).status == 0
    run = machine.certbot("rollback", "--checkpoints", "1", *machine.installer)
    assert run.status == 0, run.output
    crowd(machine.cloud)
    assert later(machine).status == 0
    alone, listed = (json.loads(machine.run("status", "--json", *arguments).output)
                     for arguments in (["--managed"], []))
    assert alone["findings"] == listed["findings"]
    assert alone["lineages"] == listed["lineages"]
    assert ["Held"] == [one["reason"] for one in alone["findings"]]
    assert alone["domains"] == [row for row in listed["domains"] if row["lineage"]]
    assert len(machine.run("status", "--managed").calls) <= 6


def test_source_domain(tmp_path: Path) -> None:
    """The certificates of all source domains take one call."""
    cloud = Cloud()
    cloud.qiniu.add_bucket("files")
    old = cloud.stranger("*.example.com", days=40)
    for number in range(3):
        cloud.qiniu.add_source_domain(f"s{number}.example.com", "files", old)
    machine = seat_in(tmp_path, cloud)
    run = machine.run("status", "--managed", "--json")
    assert (0, 6) == (run.status, len(rows(run)))
    assert ["GET api.qiniu.com/cert/bindings", *(
        f"GET api.qiniu.com/domain/{name}" for name in MANAGED)] == sorted(run.labels())
