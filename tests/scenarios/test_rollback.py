"""Rollbacks, and the hold that follows them, in virtual time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Fault, json_response
from tests.scenarios.command import APEX, WWW, Seat
from tests.scenarios.invariants import changes
from tests.scenarios.machine import Cloud, Run
from tests.scenarios.test_validity import (
    DAY,
    NAMES,
    account,
    by_hand,
    later,
    reconfigured,
    serves_ours,
    text,
)

HALF = DAY / 2
IMG = "img.example.com"


def rollback(machine: Seat, count: int = 1, status: int = 0) -> Run:
    """``certbot rollback``, without a flag that is not needed."""
    run = machine.certbot("rollback", "-i", "qiniu", "--checkpoints", str(count))
    assert status == run.status, run.output
    return run


def renewed(directory: Path, *, first: float = 60, days: float = 90) -> Seat:
    """A machine whose certificate was renewed on day *first* of its *days*."""
    machine = account(directory, days=days)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    machine.cloud.clock.sleep(first * DAY - HALF)
    run = machine.force_renewal()
    assert 0 == run.status, run.output
    later(machine)
    return machine


def is_back(machine: Seat, domain: str = WWW) -> bool:
    """Whether a domain serves what it did before certbot came."""
    return machine.cloud.qiniu.serving(domain).cert_id not in our_ids(machine)


def our_ids(machine: Seat) -> set[str]:
    """The certificates at Qiniu that were uploaded by us."""
    return {item.cert_id for item in machine.cloud.qiniu.certificates()
            if item.name.startswith("certbot_")}


def served(machine: Seat, domain: str = WWW) -> str:
    """The fingerprint of what a domain serves."""
    return machine.cloud.qiniu.serving(domain).fingerprint


def end_hold(machine: Seat, command: str) -> None:
    """Let a newer certificate end it, or who insists on the one that is held."""
    run = (machine.force_renewal() if command == "renewal" else
           machine.certbot("install", "--cert-name", APEX, *machine.installer))
    assert 0 == run.status, run.output
    later(machine)


# The hold -----------------------------------------------------------------------------------------


def test_a_hold_on_ours_ends_before_that_does(tmp_path: Path) -> None:
    """Renewed on day 60, rolled back on day 61: it warns, fails, and ends by itself in time."""
    machine = renewed(tmp_path)
    machine.cloud.clock.sleep(HALF)
    run = rollback(machine)
    assert not serves_ours(machine)
    held = served(machine)
    day, seen = 61.0, []
    while day < 90:
        machine.cloud.clock.sleep(HALF)
        day += 0.5
        run = machine.renew()
        if "a rollback kept it on" in text(run):
            break
        assert held == served(machine)
        seen.append((day, run.status, "is kept by a rollback on an older" in text(run)))
    assert {(0, False)} == {one[1:] for one in seen if one[0] < 68}
    assert {(0, True)} == {one[1:] for one in seen if 70 < one[0] < 75}
    assert {(1, True)} == {one[1:] for one in seen if 77 < one[0]}
    assert 82 < day < 84.5
    assert 0 == run.status, run.output
    assert 2 == text(run).count(WWW), "it is sent and said"
    assert f"{WWW}: a rollback kept it on an older certificate of {APEX}" in text(run)
    later(machine)
    assert serves_ours(machine)
    assert 0 == machine.run("status").status


def test_status_and_plan_say_until_when_a_hold_lasts(tmp_path: Path) -> None:
    """``Held`` names the day on which it ends by itself, and the plan follows."""
    machine = renewed(tmp_path)
    rollback(machine)
    for seconds in (0, 17 * DAY):
        machine.cloud.clock.sleep(seconds)
        found = json.loads(machine.run("status", "--json").output)["findings"]
        [held] = [item for item in found if item["reason"] == "Held"]
        assert "until certbot has a newer one, or 20" in held["text"]
        assert 1 == len(found), "it is told once, with what ends it"
    assert 1 == machine.run("plan").status, "the next renewal fails"
    machine.cloud.clock.sleep(6 * DAY)
    assert "bind" in machine.run("plan").output
    assert not serves_ours(machine), "looking changes nothing"


def test_a_newest_certificate_that_has_expired_ends_no_hold(tmp_path: Path) -> None:
    """Nothing better is there: each run fails and says so."""
    machine = renewed(tmp_path)
    rollback(machine)
    machine.cloud.clock.sleep(95 * DAY)
    run = later(machine, status=1)
    assert not serves_ours(machine), run.output


@pytest.mark.parametrize("command", ["renewal", "install"])
def test_a_hold_on_a_foreign_certificate(command: str, tmp_path: Path) -> None:
    """It never ends by itself; below 7 days it fails, until there is a newer one, or install."""
    machine = account(tmp_path)
    before = served(machine)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    rollback(machine)
    assert before == served(machine)
    later(machine, 12 * DAY)
    for _ in range(2):
        run = later(machine, 2 * DAY, status=1)
        assert "is kept by a rollback on what it served before certbot managed it" in text(run)
        assert before == served(machine)
    assert "what www.example.com serves instead is valid until 20" in text(machine.run("status"))
    later(machine, 10 * DAY, status=1)
    end_hold(machine, command)
    assert serves_ours(machine)


def test_a_hold_on_a_foreign_certificate_that_somebody_has_replaced(tmp_path: Path) -> None:
    """The certificate that is served now counts."""
    machine = account(tmp_path)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    rollback(machine)
    later(machine, 15 * DAY, status=1)
    by_hand(machine)
    for _ in range(3):
        assert "is kept by a rollback" not in text(later(machine))


def test_a_hold_on_ours_that_somebody_has_replaced(tmp_path: Path) -> None:
    """Our file's entry for the domain does not matter while it serves a better one."""
    machine = renewed(tmp_path)
    rollback(machine)
    theirs = by_hand(machine)
    later(machine, status=1)
    later(machine, 24 * DAY)
    assert theirs == machine.cloud.qiniu.serving(WWW).cert_id
    [held] = [item for item in json.loads(machine.run("status", "--json").output)["findings"]
              if item["reason"] == "Held"]
    assert f"what {WWW} serves instead is valid until 2" in held["text"]


@pytest.mark.parametrize("instead", ["http", "the newest one"])
def test_a_hold_on_ours_that_has_ended_meanwhile(instead: str, tmp_path: Path) -> None:
    """It is over, be it that Qiniu has switched HTTPS off then, or never took the older one."""
    machine = renewed(tmp_path)
    if instead == "http":
        rollback(machine)
    else:
        machine.cloud.board.arm(Fault("reply", json_response(403, {"error": "no"})), match="PUT ",
                                times=10**6)
        rollback(machine, status=1)
        machine.cloud.board.disarm()
    machine.cloud.clock.sleep(33 * DAY)
    if instead == "http":
        machine.cloud.qiniu.change_domain(WWW, protocol="http", cert_id="")
    run = machine.renew()
    assert 0 == run.status, run.output
    assert f"{WWW}: a rollback kept it on an older certificate of {APEX}" in text(run)
    later(machine)
    assert serves_ours(machine)


def test_the_end_of_a_hold_is_that_of_all(tmp_path: Path) -> None:
    """A domain that gets the newest certificate as well is not said to be kept from it."""
    machine = two_domains(tmp_path)
    machine.cloud.clock.sleep(60 * DAY)
    renewal(machine)
    rollback(machine)
    machine.cloud.clock.sleep(20 * DAY)
    by_hand(machine, days=8, domain=IMG)
    machine.cloud.clock.sleep(3.5 * DAY)
    reconfigured(machine)
    run = machine.renew()
    assert 0 == run.status, run.output
    later(machine)
    assert [True, True] == [serves_ours(machine, name) for name in (WWW, IMG)]


def test_a_domain_that_is_new_under_a_hold(tmp_path: Path) -> None:
    """It gets no certificate, so what it has must not end without a word."""
    machine = renewed(tmp_path)
    rollback(machine)
    machine.cloud.qiniu.add_domain(IMG)
    by_hand(machine, days=10, domain=IMG)
    for _ in reconfigured(machine), later(machine):
        assert not serves_ours(machine, IMG)
    machine.cloud.clock.sleep(5 * DAY)
    for run in reconfigured(machine, status=1), later(machine, status=1):
        assert f"{IMG} is kept by a rollback on what it served before" in text(run)
    machine.cloud.clock.sleep(19 * DAY)
    run = later(machine)
    assert f"{IMG} is kept" not in text(run), "the hold is over"
    later(machine)
    assert serves_ours(machine, IMG)


def test_a_typing_error_under_a_hold(tmp_path: Path) -> None:
    """It is reported when it is made, and not weeks later."""
    machine = renewed(tmp_path)
    rollback(machine)
    run = machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer,
                          "--qiniu-domains", "wwww.example.com")
    assert 1 == run.status, run.output
    assert "wwww.example.com is no domain of this Qiniu account" in text(run)
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    conf.write_text(conf.read_text() + "qiniu_domains = wwww.example.com\n")
    later(machine, status=1)


def test_a_hold_on_http_has_no_end(tmp_path: Path) -> None:
    """There is nothing that could expire, and nothing is switched to HTTPS again."""
    cloud = Cloud(Switches(publish_seconds=20))
    cloud.qiniu.add_domain(APEX)
    machine = Seat(cloud, tmp_path)
    assert 0 == machine.issue(APEX).status
    later(machine)
    rollback(machine)
    for days in (1, 40, 45):
        later(machine, days * DAY)
    assert "http" == cloud.qiniu.serving(APEX).protocol


# What nothing goes back to ------------------------------------------------------------------------


@pytest.mark.parametrize("days", [84, 95])
def test_to_one_of_ours_that_ends_soon(days: float, tmp_path: Path) -> None:
    """It is refused before anything changes, naming the domain and the end."""
    machine = renewed(tmp_path, first=days)
    before = machine.files()
    checkpoints = sorted((machine.config_dir / "work" / "backups").iterdir())
    run = rollback(machine, status=1)
    assert f"{WWW}: back to the certificate of {APEX} that ends on 20" in text(run)
    assert "Nothing was rolled back" in text(run)
    assert [] == changes(run)
    assert checkpoints == sorted((machine.config_dir / "work" / "backups").iterdir())
    states = [path for path in before if "/qiniu/" in path]
    assert states
    assert {path: before[path][0] for path in states} == {
        path: machine.files()[path][0] for path in states}
    later(machine)
    assert serves_ours(machine)


def test_to_one_of_ours_that_ends_in_a_while(tmp_path: Path) -> None:
    """It is done, and its end is said."""
    machine = renewed(tmp_path, first=81)
    run = rollback(machine)
    assert f"{WWW}: back to the certificate of {APEX} that ends on 20" in text(run)
    assert not serves_ours(machine)


@pytest.mark.parametrize(("days", "status"), [(16, 1), (10, 0)])
def test_to_what_was_there_before_and_ends_soon(days: float, status: int, tmp_path: Path) -> None:
    """Somebody else's with 4 days left is refused like ours; of one with 10 the end is said."""
    machine = account(tmp_path)
    before = served(machine)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    machine.cloud.clock.sleep(days * DAY)
    run = rollback(machine, status=status)
    assert (f"{WWW}: back to the certificate that it had before certbot managed it, which ends on "
            "20") in text(run)
    assert bool(status) == ("Nothing was rolled back" in text(run)) == serves_ours(machine)
    assert bool(status) == ([] == changes(run)) == (before != served(machine))


def test_to_one_of_ours_that_was_there_before_and_ends_soon(tmp_path: Path) -> None:
    """After a lost memory the former certificate may be ours: it expires like any other."""
    machine = renewed(tmp_path)
    rollback(machine)
    shutil.rmtree(machine.config_dir / "qiniu")
    for _ in range(2):
        later(machine)
    assert serves_ours(machine)
    machine.cloud.clock.sleep(25 * DAY)
    run = machine.certbot("rollback", *machine.installer)
    assert 1 == run.status, run.output
    assert "Nothing was rolled back" in text(run)
    assert serves_ours(machine)


@pytest.mark.parametrize("how", ["expired", "gone"])
def test_to_what_was_there_before_and_is_of_no_use(how: str, tmp_path: Path) -> None:
    """The domain keeps what it has and is named; another one goes back."""
    machine = account(tmp_path)
    qiniu = machine.cloud.qiniu
    good = machine.cloud.stranger(*NAMES, days=85)
    qiniu.add_domain(IMG, protocol="https", cert_id=good)
    bad = qiniu.serving(WWW).cert_id
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    if how == "gone":
        del vars(qiniu)["_certificates"][bad]
    else:
        machine.cloud.clock.sleep(21 * DAY)
    words = "no longer at Qiniu" if how == "gone" else "managed it ended on 20"
    for run in rollback(machine, status=1), later(machine, status=1):
        assert words in text(run)
        assert f"{WWW} keeps what it serves" in text(run)
        assert IMG not in text(run).partition("Not every domain")[2]
        assert serves_ours(machine)
        assert good == qiniu.serving(IMG).cert_id
    run = machine.certbot("install", "--cert-name", APEX, *machine.installer)
    assert 0 == run.status, run.output
    assert 0 == later(machine).status


def test_of_no_use_and_settings_changed(tmp_path: Path) -> None:
    """A domain that serves ours counts as ours even if somebody changed its settings."""
    machine = account(tmp_path)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    machine.cloud.clock.sleep(60 * DAY)
    assert 0 == machine.force_renewal().status
    machine.cloud.clock.sleep(HALF)
    machine.cloud.qiniu.change_domain(WWW, force_https=True)
    run = rollback(machine, 99, status=1)
    assert f"{WWW} keeps what it serves" in text(run)


def test_of_no_use_and_replaced(tmp_path: Path) -> None:
    """A certificate that somebody has put over ours stays, and is named."""
    machine = account(tmp_path)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    machine.cloud.clock.sleep(25 * DAY)
    theirs = by_hand(machine)
    run = rollback(machine)
    assert f"{WWW} has been changed since it had a certificate of ours" in text(run)
    assert theirs == machine.cloud.qiniu.serving(WWW).cert_id


def test_what_is_left_of_it_undoes_nothing_that_was_done_since(tmp_path: Path) -> None:
    """A rollback that Qiniu refused is not made up for over what a human has put there."""
    machine = account(tmp_path)
    machine.cloud.qiniu.add_domain(APEX)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    machine.cloud.board.arm(Fault("reply", json_response(403, {"error": "no"})), match="PUT ",
                            times=10**6)
    rollback(machine, status=1)
    machine.cloud.board.disarm()
    theirs = [by_hand(machine, domain=name) for name in (WWW, APEX)]
    run = later(machine)
    assert theirs == [machine.cloud.qiniu.serving(name).cert_id for name in (WWW, APEX)]
    assert f"{APEX} has been changed since it had a certificate of ours" in text(run)
    assert [] == changes(later(machine))


@pytest.mark.parametrize("status", [401, 403])
def test_keys_that_may_not_switch_https_off(status: int, tmp_path: Path) -> None:
    """The rest of a rollback is done once they may: no baseline is lost meanwhile."""
    machine = account(tmp_path)
    machine.cloud.qiniu.add_domain(APEX)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    machine.cloud.board.arm(Fault("reply", json_response(status, {"error": "no"})), match="PUT ",
                            times=10**6)
    run = rollback(machine, status=1)
    assert "does not let HTTPS be switched off" not in text(run)
    machine.cloud.board.disarm()
    for _ in range(2):
        later(machine)
    assert "http" == machine.cloud.qiniu.serving(APEX).protocol


# Let go -------------------------------------------------------------------------------------------


def narrowed(directory: Path) -> Seat:
    """Two domains, of which one was let go later."""
    machine = account(directory)
    machine.cloud.qiniu.add_domain(IMG, protocol="https",
                                   cert_id=machine.cloud.stranger(*NAMES, days=25))
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    machine.cloud.clock.sleep(HALF)
    narrow(machine)
    return machine


def narrow(machine: Seat) -> None:
    """Write a list into the renewal conf, and renew."""
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    conf.write_text(conf.read_text() + f"qiniu_domains = {WWW}\n")
    later(machine)
    assert {WWW} == managed(machine)


def managed(machine: Seat) -> set[str]:
    """The domains that are managed."""
    path = machine.config_dir / "qiniu" / "state" / f"{APEX}.json"
    return set(json.loads(path.read_text())["domains"])


def test_a_narrowed_list_is_rolled_back(tmp_path: Path) -> None:
    """The domain is managed again, with its baseline."""
    machine = narrowed(tmp_path)
    rollback(machine)
    assert {WWW, IMG} == managed(machine)
    assert serves_ours(machine, IMG)
    memory = json.loads((machine.config_dir / "qiniu" / "memory" / f"{APEX}.json").read_text())
    assert "let_go" not in memory["domains"][IMG]
    assert memory["domains"][IMG]["baseline"]


@pytest.mark.parametrize("steps", [(2,), (1, 1)], ids=["at once", "one by one"])
def test_a_domain_that_was_let_go_is_given_back(steps: tuple[int, ...], tmp_path: Path) -> None:
    """A rollback to before it was managed brings it back to what it served then."""
    machine = narrowed(tmp_path)
    for count in steps:
        rollback(machine, count)
    assert is_back(machine, IMG)
    assert is_back(machine)
    later(machine)
    assert is_back(machine, IMG)


def test_a_domain_that_was_let_go_and_changed_stays(tmp_path: Path) -> None:
    """It is named as changed since, which is no failure."""
    machine = narrowed(tmp_path)
    theirs = by_hand(machine, domain=IMG)
    run = rollback(machine, 2)
    assert f"{IMG} has been changed since it had a certificate of ours" in text(run)
    assert theirs == machine.cloud.qiniu.serving(IMG).cert_id
    assert is_back(machine)


@pytest.mark.parametrize("is_changed", [False, True])
def test_to_what_one_that_was_let_go_had_before_and_ends_soon(
        tmp_path: Path, *, is_changed: bool) -> None:
    """It is refused like any other, unless the domain does not go back to it."""
    machine = narrowed(tmp_path)
    if is_changed:
        by_hand(machine, domain=IMG)
    machine.cloud.qiniu.change_domain(WWW, protocol="http", cert_id="")
    machine.cloud.clock.sleep(19 * DAY)
    run = rollback(machine, 2, status=int(not is_changed))
    assert is_changed == (f"{IMG}: back to the certificate" not in text(run))


def test_a_rollback_of_what_came_after_leaves_it(tmp_path: Path) -> None:
    """A renewal that is rolled back concerns the domains that it was for."""
    machine = narrowed(tmp_path)
    before = served(machine, IMG)
    machine.cloud.clock.sleep(DAY)
    assert 0 == machine.force_renewal().status
    later(machine)
    rollback(machine)
    assert {WWW} == managed(machine)
    assert before == served(machine, IMG)


# Several lineages ---------------------------------------------------------------------------------


def test_a_lineage_whose_keys_are_gone(tmp_path: Path) -> None:
    """The others are rolled back; that one is named, and the exit status is 1."""
    machine = account(tmp_path)
    shop = "shop.example.org"
    machine.cloud.qiniu.add_domain(shop, protocol="https", cert_id=machine.cloud.stranger(shop))
    main, machine.credentials = machine.credentials, machine.write_credentials(
        "other.ini", (ACCESS_KEY, SECRET_KEY))
    assert 0 == machine.issue(shop).status
    machine.credentials, other = main, machine.credentials
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    assert 0 == machine.certbot("delete", "--cert-name", shop).status
    other.unlink()
    run = rollback(machine, status=1)
    assert str(other) in text(run)
    assert is_back(machine)


@pytest.mark.parametrize("ends", ["install", "renewal"])
def test_what_a_rollback_has_given_back_another_lineage_leaves(ends: str, tmp_path: Path) -> None:
    """A wildcard that covers it does not take it, until the hold ends or somebody asks for it."""
    machine = account(tmp_path)
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    machine.cloud.qiniu.add_domain(IMG)
    theirs = by_hand(machine, days=25, domain=IMG)
    assert 0 == machine.issue(IMG, arguments=("--cert-name", "images")).status
    rollback(machine)
    assert theirs == machine.cloud.qiniu.serving(IMG).cert_id
    for run in later(machine), machine.renew("--force-renewal", "--cert-name", APEX):
        assert 0 == run.status, run.output
        assert theirs == machine.cloud.qiniu.serving(IMG).cert_id
    run = machine.renew("--dry-run", "--force-renewal", "--cert-name", APEX)
    assert f"{IMG}: left out, it is back to what it served before, by a rollback of images" in (
        text(run))
    assert 0 == machine.run("plan").status
    if ends == "install":
        end_hold(machine, ends)
    else:
        assert 0 == machine.renew("--force-renewal", "--cert-name", "images").status
    later(machine)
    owner = {"install": APEX, "renewal": "images"}[ends]
    assert machine.fingerprint(owner) == served(machine, IMG)


# Renamed ------------------------------------------------------------------------------------------


def rename(machine: Seat, name: str = "site") -> None:
    """Call a lineage's renewal conf otherwise."""
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    conf.rename(conf.with_name(f"{name}.conf"))


@pytest.mark.parametrize("is_renewed", [True, False])
def test_a_renamed_lineage(is_renewed: bool, tmp_path: Path) -> None:
    """Its domains move to the new name, with all that is remembered: nobody has let them go."""
    machine = two_domains(tmp_path)
    rename(machine)
    if is_renewed:
        machine.cloud.clock.sleep(DAY)
        run = machine.force_renewal()
        assert 0 == run.status, run.output
    run = later(machine)
    assert "was deleted from certbot" not in run.output
    assert 0 == machine.run("status").status
    rollback(machine, 99)
    assert [True, True] == [is_back(machine, name) for name in (WWW, IMG)]
    later(machine)
    assert [True, True] == [is_back(machine, name) for name in (WWW, IMG)]


@pytest.mark.parametrize("when", ["before the rollback", "after it"])
def test_a_hold_on_a_renamed_lineage(when: str, tmp_path: Path) -> None:
    """A rollback holds its certificate under whichever name."""
    machine = renewed(tmp_path, first=10)
    before = served(machine)
    if when == "before the rollback":
        rename(machine)
        later(machine)
    rollback(machine, 2 if when == "before the rollback" else 1)
    assert before != served(machine), "it is the older one"
    held = served(machine)
    if when == "after it":
        rename(machine)
    for _ in range(2):
        later(machine)
        assert held == served(machine)
    assert "A rollback keeps certbot's newest certificate site" in text(machine.run("status"))


# After every event --------------------------------------------------------------------------------


def two_domains(directory: Path) -> Seat:
    """Two domains with a first issuance."""
    machine = account(directory)
    machine.cloud.qiniu.add_domain(IMG, protocol="https",
                                   cert_id=machine.cloud.stranger(*NAMES, days=25))
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    return machine


def renewal(machine: Seat) -> None:
    """A renewal."""
    assert 0 == machine.force_renewal().status
    later(machine)


def redirect(machine: Seat) -> None:
    """``certbot enhance --redirect``."""
    enhance(machine, "--redirect")


def hsts(machine: Seat) -> None:
    """``certbot enhance --hsts``."""
    enhance(machine, "--hsts")


def enhance(machine: Seat, enhancement: str) -> None:
    """An enhancement, and the run after it."""
    run = machine.certbot("enhance", "--cert-name", APEX, *machine.installer, enhancement)
    assert 0 == run.status, run.output
    later(machine)


def move(machine: Seat) -> None:
    """Another lineage takes a domain."""
    run = machine.issue(IMG, arguments=("--cert-name", "images", "--qiniu-domains", IMG))
    assert 0 == run.status, run.output
    later(machine, status=0)


def delete(machine: Seat) -> None:
    """A lineage is deleted, and the next run of another one lets its domains go."""
    machine.cloud.qiniu.add_domain("shop.example.org", protocol="https",
                                   cert_id=machine.cloud.stranger("shop.example.org", days=10))
    assert 0 == machine.certbot("delete", "--cert-name", APEX).status
    run = machine.issue("shop.example.org")
    assert 0 == run.status, run.output
    later(machine)


def nothing(machine: Seat) -> None:
    """Nothing since the first issuance."""


SAME, BEFORE, OLDER = "the same", "what it had", "the older one"
EVENTS = {
    "first issuance": (nothing, 1, 0, BEFORE, BEFORE),
    "renewal": (renewal, 1, 0, OLDER, OLDER),
    "renewal, all of it": (renewal, 2, 0, BEFORE, BEFORE),
    "redirect": (redirect, 1, 0, SAME, SAME),
    "redirect, all of it": (redirect, 2, 0, BEFORE, BEFORE),
    "HSTS": (hsts, 1, 0, SAME, SAME),
    "HSTS, all of it": (hsts, 2, 0, BEFORE, BEFORE),
    "narrowed list": (narrow, 1, 0, SAME, SAME),
    "narrowed list, all of it": (narrow, 2, 0, BEFORE, BEFORE),
    "deleted lineage": (delete, 2, 0, SAME, SAME),
    "deleted lineage, all of it": (delete, 3, 0, BEFORE, BEFORE),
    "moved domain": (move, 1, 0, SAME, SAME),
    "moved domain, all of it": (move, 2, 0, BEFORE, BEFORE),
}


@pytest.mark.parametrize("event", EVENTS)
def test_after_every_event(event: str, tmp_path: Path) -> None:
    """The certificate of each domain after a rollback, as docs/reliability.md has it."""
    happens, count, status, www, img = EVENTS[event]
    machine = two_domains(tmp_path)
    first = {name: machine.cloud.qiniu.serving(name) for name in (WWW, IMG)}
    happens(machine)
    run = rollback(machine, count, status=status)
    for name, expected in (WWW, www), (IMG, img):
        now = machine.cloud.qiniu.serving(name)
        assert (expected == BEFORE) == is_back(machine, name), run.output
        if expected in (SAME, OLDER):
            assert first[name] == now, run.output
    after = {name: served(machine, name) for name in (WWW, IMG)}
    later(machine)
    assert after == {name: served(machine, name) for name in (WWW, IMG)}, "it stays so"
