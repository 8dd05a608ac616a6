"""Domains that are missing from a list: deleted, hidden, or looked for in the wrong account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.qiniu_rules import Switches
from tests.scenarios.command import Seat
from tests.scenarios.invariants import changes
from tests.scenarios.machine import HALF_A_DAY, Cloud, Machine, later
from tests.scenarios.test_rollback import end_hold

DAY = 86_400.0
APEX, WWW, IMG = "example.com", "www.example.com", "img.example.com"
SANS = (APEX, "*.example.com")
OTHER_KEY = f"other-{ACCESS_KEY}"


@pytest.fixture
def machine(tmp_path: Path) -> Seat:
    """A machine with two domains, redirected, that served strangers' certificates before."""
    cloud = Cloud(Switches(publish_seconds=20), {ACCESS_KEY: SECRET_KEY, OTHER_KEY: SECRET_KEY})
    for name in (WWW, IMG):
        cloud.qiniu.add_domain(name, protocol="https",
                               cert_id=cloud.stranger(*SANS, days=20, name=f"before {name}"))
    machine = Seat(cloud, tmp_path)
    assert 0 == machine.issue(*SANS, arguments=("--redirect",)).status
    later(machine)
    return machine


def text(run: Any) -> str:
    """What a run printed, on one line."""
    return " ".join(run.output.split())


def files(machine: Machine) -> dict[str, Any]:
    """What our files say, but for what lists showed, and since when one is doubted."""
    found = {}
    for path in sorted((machine.config_dir / "qiniu").rglob("*.json")):
        content = json.loads(path.read_text())
        for name in ("serial", "doubted", "listings"):
            content.pop(name, None)
        found[path.name] = content
    return found


def record(machine: Machine, name: str = WWW) -> dict[str, Any]:
    """What is remembered of a domain."""
    path = machine.config_dir / "qiniu" / "memory" / f"{APEX}.json"
    found: dict[str, Any] = json.loads(path.read_text())["domains"][name]
    return found


def managed(machine: Machine) -> set[str]:
    """The domains that the state has."""
    path = machine.config_dir / "qiniu" / "state" / f"{APEX}.json"
    return set(json.loads(path.read_text())["domains"])


def serves_ours(machine: Machine, name: str = WWW) -> bool:
    """Whether a domain serves the newest certificate, and redirects to it."""
    serving = machine.cloud.qiniu.serving(name)
    return serving.fingerprint == machine.fingerprint() and serving.force_https


def hide(machine: Machine, *names: str) -> dict[str, Any]:
    """Let Qiniu show domains nowhere for a while."""
    domains = vars(machine.cloud.qiniu)["_domains"]
    return {name: domains.pop(name) for name in names}


def show(machine: Machine, hidden: dict[str, Any]) -> None:
    """Let them be there again."""
    vars(machine.cloud.qiniu)["_domains"].update(hidden)


def roll_back(machine: Machine) -> None:
    """Go back to before the first issuance."""
    run = machine.certbot("rollback", *machine.installer, "--checkpoints", "99")
    assert 0 == run.status, run.output
    machine.cloud.clock.sleep(HALF_A_DAY)


def names_served(machine: Machine) -> dict[str, str]:
    """The names of the certificates that the domains serve."""
    names = {item.cert_id: item.name for item in machine.cloud.qiniu.certificates()}
    return {name: names[machine.cloud.qiniu.serving(name).cert_id] for name in (WWW, IMG)}


# Gone, and a rollback


@pytest.mark.parametrize("ends", ["renewal", "install"])
def test_a_rollback_over_what_is_gone(machine: Seat, ends: str) -> None:
    """A report is not repeated, and does not promise what the hold keeps from the domain."""
    machine.cloud.clock.sleep(DAY)
    assert 0 == machine.force_renewal().status
    later(machine)
    hidden = hide(machine, WWW)
    later(machine, status=1)
    since = record(machine)["gone"]["at"]
    machine.cloud.clock.sleep(2 * DAY)
    run = machine.certbot("rollback", *machine.installer)
    assert 0 == run.status, run.output
    assert f"{WWW}: missing at Qiniu since" in text(run)
    assert since == record(machine)["gone"]["at"]
    show(machine, hidden)
    later(machine)
    seen = machine.run("status")
    assert "the next certbot renew gives it" not in text(seen)
    assert f"certbot install --cert-name {APEX}" in text(seen)
    assert not {WWW} & managed(machine), "the hold keeps the newest one from it"
    end_hold(machine, ends)
    assert serves_ours(machine)
    assert "gone" not in record(machine)


# The list in doubt


@pytest.mark.parametrize("is_renewed", [False, True], ids=["as it was", "renewed meanwhile"])
def test_keys_of_another_account(machine: Seat, is_renewed: bool) -> None:
    """Another account's keys are an error at every run, and cost nothing that is remembered."""
    before = files(machine)
    machine.write_credentials("qiniu.ini", (OTHER_KEY, SECRET_KEY))
    for number in range(3):
        machine.cloud.clock.sleep(DAY)
        run = machine.force_renewal() if is_renewed and number == 1 else machine.renew()
        assert (1, []) == (run.status, changes(run)), run.output
        for part in (WWW, IMG, str(machine.credentials),
                     f"certbot-qiniu forget --cert-name {APEX}"):
            assert part in text(run), run.output
        assert before == files(machine)
    for asked in (machine.run("status"), machine.run("plan"), machine.run("apply"),
                  machine.renew("--dry-run", "--force-renewal"), machine.certbot(
                      "install", *machine.installer, "--cert-name", APEX)):
        assert 1 == asked.status, asked.output
        assert "forget --cert-name" in text(asked)
    assert before == files(machine)
    machine.write_credentials("qiniu.ini", (ACCESS_KEY, SECRET_KEY))
    later(machine)
    later(machine)
    assert serves_ours(machine)
    assert serves_ours(machine, IMG)
    roll_back(machine)
    assert {name: f"before {name}" for name in (WWW, IMG)} == names_served(machine)


def test_empty_list_for_a_day(machine: Seat) -> None:
    """A list that was empty for a while is forgotten once it is not."""
    hidden = hide(machine, WWW, IMG)
    later(machine, status=1)
    show(machine, hidden)
    later(machine)
    hide(machine, WWW, IMG)
    later(machine, 8 * DAY, status=1)
    assert {WWW, IMG} == managed(machine), "the seven days begin again"


def test_empty_list_for_a_week(machine: Seat) -> None:
    """After seven days it is believed; what is known of the domains is kept."""
    hidden = hide(machine, WWW, IMG)
    later(machine, status=1)
    later(machine, 6.9 * DAY, status=1)
    assert {WWW, IMG} == managed(machine)
    run = later(machine, DAY, status=1)
    assert set() == managed(machine)
    assert WWW in text(run)
    assert IMG in text(run)
    assert [] == run.labels("DELETE ")
    show(machine, hidden)
    assert [] == changes(later(machine))
    assert {WWW, IMG} == managed(machine)
    later(machine)
    roll_back(machine)
    assert {name: f"before {name}" for name in (WWW, IMG)} == names_served(machine)


def test_domains_of_another_lineage_are_there(machine: Seat) -> None:
    """A lineage's only domain is gone at once if others of the account are there."""
    machine.cloud.qiniu.add_domain("b.example.org")
    assert 0 == machine.issue("b.example.org").status
    later(machine)
    hide(machine, "b.example.org")
    run = later(machine, status=1)
    assert "b.example.org does not exist" in text(run)
    assert {WWW, IMG} == managed(machine)


def test_keys_of_another_lineages_account(machine: Seat) -> None:
    """That another lineage's domains are there does not make it the account of this one."""
    cloud, other, new = machine.cloud, "b.example.org", "new.example.com"
    theirs = cloud.qiniu.add_certificate(
        cloud.authority.issue(*SANS, days=20).fullchain_pem, name="theirs", account=OTHER_KEY)
    cloud.qiniu.add_domain(other, account=OTHER_KEY)
    cloud.qiniu.add_domain(new, account=OTHER_KEY, protocol="https", cert_id=theirs)
    own = machine.credentials
    machine.credentials = machine.write_credentials("b.ini", (OTHER_KEY, SECRET_KEY))
    assert 0 == machine.issue(other).status
    machine.credentials = own
    later(machine)
    machine.write_credentials("qiniu.ini", (OTHER_KEY, SECRET_KEY))
    for _ in range(3):
        run = later(machine, DAY, status=1)
        assert "forget --cert-name" in text(run)
        assert {WWW, IMG} == managed(machine)
    assert theirs == cloud.qiniu.serving(new).cert_id
    machine.write_credentials("qiniu.ini", (ACCESS_KEY, SECRET_KEY))
    assert [] == changes(later(machine))
    assert serves_ours(machine)


def test_rollback_with_keys_of_another_account(machine: Seat) -> None:
    """It fails, and forgets nothing that a rollback with the right ones needs."""
    machine.write_credentials("qiniu.ini", (OTHER_KEY, SECRET_KEY))
    run = machine.certbot("rollback", *machine.installer, "--checkpoints", "99")
    assert 1 == run.status, run.output
    assert WWW in run.output
    assert record(machine)["baseline"]


def test_one_is_back_when_the_other_is_gone(machine: Seat) -> None:
    """It proves that the list is of the right account: nothing is doubted."""
    hidden = hide(machine, IMG)
    later(machine, status=1)
    show(machine, hidden)
    hide(machine, WWW)
    run = later(machine, status=1)
    assert f"{WWW} does not exist" in text(run)
    assert {IMG} == managed(machine)
    later(machine)


# One that is gone


def test_one_domain_is_gone(machine: Seat) -> None:
    """A renewal fails once, and `status` says so for a week; only a renewal writes it down."""
    before = files(machine)
    machine.cloud.qiniu.remove_domain(WWW)
    for run in (machine.run("status"), machine.run("plan"), machine.run("apply"),
                machine.renew("--dry-run", "--force-renewal")):
        assert 1 == run.status, run.output
        assert f"{WWW} does not exist" in text(run)
    assert before == files(machine)
    run = later(machine, status=1)
    assert f"{WWW} does not exist" in text(run)
    assert {IMG} == managed(machine)
    kept = record(machine)
    assert (True, True) == (kept["gone"]["binding"]["force_https"], "baseline" in kept)
    assert 0 == later(machine).status
    assert 0 == later(machine).status
    told = machine.run("status")
    assert 1 == told.status
    assert "add it again" in text(told)
    later(machine, 7 * DAY)
    assert 0 == machine.run("status", "--warn-days", "1").status


def test_made_anew(machine: Seat) -> None:
    """It is switched to HTTPS again with the settings it had; what it served is its baseline."""
    machine.cloud.qiniu.remove_domain(WWW)
    later(machine, status=1)
    machine.cloud.qiniu.add_domain(WWW)
    later(machine)
    later(machine)
    assert serves_ours(machine)
    assert "http" == record(machine)["baseline"]["protocol"]
    assert "gone" not in record(machine)


def test_hidden_for_a_while(machine: Seat) -> None:
    """A domain that was never deleted keeps its baseline, and needs no change."""
    hidden = hide(machine, WWW)
    later(machine, status=1)
    show(machine, hidden)
    assert [] == changes(later(machine))
    assert {WWW, IMG} == managed(machine)
    roll_back(machine)
    assert {name: f"before {name}" for name in (WWW, IMG)} == names_served(machine)


def test_a_better_certificate_when_it_comes_back(machine: Seat) -> None:
    """It passes the rules of one that is not managed."""
    machine.cloud.qiniu.remove_domain(WWW)
    later(machine, status=1)
    machine.cloud.qiniu.add_domain(WWW, protocol="https",
                                   cert_id=machine.cloud.stranger(*SANS, days=300))
    assert [] == changes(later(machine))
    assert {IMG} == managed(machine)


def test_gone_for_a_year(machine: Seat) -> None:
    """After a year nobody remembers it: http is http that nobody asked to switch."""
    machine.cloud.qiniu.remove_domain(WWW)
    later(machine, status=1)
    path = machine.config_dir / "qiniu" / "memory" / f"{APEX}.json"
    content = json.loads(path.read_text())
    content["domains"][WWW]["gone"]["at"] -= 370 * DAY
    path.write_text(json.dumps(content))
    machine.cloud.qiniu.add_domain(WWW)
    assert [] == changes(later(machine))


def test_listed(machine: Seat) -> None:
    """A domain that the user named fails every run, and stays managed."""
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    conf.write_text(conf.read_text().replace(
        "qiniu_credentials", f"qiniu_domains = {WWW},{IMG}\nqiniu_credentials"))
    later(machine)
    machine.cloud.qiniu.remove_domain(WWW)
    for _ in range(3):
        assert WWW in later(machine, status=1).output
    assert {WWW, IMG} == managed(machine)


# Letting go


def test_narrowed_list(machine: Seat) -> None:
    """A domain that a narrowed list lets go is named, and its baseline is kept."""
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    conf.write_text(conf.read_text().replace(
        "qiniu_credentials", f"qiniu_domains = {IMG}\nqiniu_credentials"))
    run = later(machine)
    assert f"{WWW} is let go, as --qiniu-domains does not name it" in text(run)
    assert {IMG} == managed(machine)
    assert record(machine)["baseline"]["cert_id"]
    assert "is let go" not in later(machine).output


def test_narrowed_by_install(machine: Seat) -> None:
    """The same holds if `install` narrows it."""
    run = machine.certbot("install", *machine.installer, "--cert-name", APEX, "--qiniu-domains",
                          IMG)
    assert 0 == run.status, run.output
    assert f"{WWW} is let go" in text(run)
    assert record(machine)["baseline"]["cert_id"]


def test_frozen_during_an_install(machine: Seat) -> None:
    """A domain that is frozen for a while is not let go: it gets what is renewed meanwhile."""
    machine.cloud.qiniu.change_domain(IMG, state="frozen", freeze_type="ICP")
    run = machine.certbot("install", "--cert-name", APEX, *machine.installer, "--redirect")
    assert 0 == run.status, run.output
    assert "is let go" not in text(run)
    assert {WWW, IMG} == managed(machine)
    assert 0 == machine.force_renewal().status
    machine.cloud.qiniu.change_domain(IMG, state="success", freeze_type="")
    later(machine)
    later(machine)
    assert serves_ours(machine, IMG)


def test_gone_before_an_enhancement_is_rolled_back(machine: Seat) -> None:
    """The rollback takes no certificate back, so it holds none: a new domain gets it."""
    enhanced = machine.certbot("enhance", "--hsts", "--cert-name", APEX, *machine.installer)
    assert 0 == enhanced.status, enhanced.output
    hide(machine, IMG)
    later(machine, status=1)
    run = machine.certbot("rollback", *machine.installer)
    assert 0 == run.status, "that it is gone was told"
    assert f"{IMG}: missing at Qiniu since" in text(run)
    new = "new.example.com"
    machine.cloud.qiniu.add_domain(new, protocol="https",
                                   cert_id=machine.cloud.stranger(*SANS, days=20))
    assert "A rollback keeps" not in text(machine.run("status"))
    later(machine)
    later(machine)
    assert machine.fingerprint() == machine.cloud.qiniu.serving(new).fingerprint


def test_install_of_a_subset(machine: Seat) -> None:
    """All names of the certificate are deployed, whatever was asked, and nothing is let go."""
    run = machine.certbot("install", *machine.installer, "--cert-name", APEX, "-d", APEX)
    assert 0 == run.status, run.output
    assert "is let go" not in run.output
    assert {WWW, IMG} == managed(machine)


# forget


def test_forget(machine: Seat) -> None:
    """A user's word ends the doubt at once; what is known is kept all the same."""
    hidden = hide(machine, WWW, IMG)
    later(machine, status=1)
    run = machine.run("forget", "--cert-name", APEX)
    assert 0 == run.status, run.output
    assert WWW in run.output
    assert IMG in run.output
    assert set() == managed(machine)
    show(machine, hidden)
    later(machine)
    assert {WWW, IMG} == managed(machine)
    roll_back(machine)
    assert {name: f"before {name}" for name in (WWW, IMG)} == names_served(machine)


def test_forget_what_is_there(machine: Seat) -> None:
    """Nothing is forgotten that is not missing."""
    before = files(machine)
    run = machine.run("forget", "--cert-name", APEX)
    assert (0, before) == (run.status, files(machine))
    assert "nothing to forget" in run.output


def test_forget_an_unknown_certificate(machine: Seat) -> None:
    """It is refused with what to do."""
    run = machine.run("forget", "--cert-name", "other")
    assert 2 == run.status
    assert "other" in run.output
