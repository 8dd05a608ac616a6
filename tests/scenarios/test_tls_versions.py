"""TLS versions and whatever else a read shows of HTTPS: kept, set, put back, never in the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.qiniu_store import Config
from tests.sandbox.wire import Fault, json_response
from tests.scenarios.command import Seat
from tests.scenarios.invariants import check_calls
from tests.scenarios.machine import HALF_A_DAY, Cloud, Run, later

APEX, WWW, WILD, OLD = "example.com", "www.example.com", ".example.com", "old.example.com"
NAMES = (APEX, "*.example.com")
OLDER, BOTH, NEWER = ("TLSv1.2",), ("TLSv1.2", "TLSv1.3"), ("TLSv1.3",)
STRANGE = ("TLSv1.1", "GM")
BEFORE = {
    WWW: Config("https", force_https=True, tls_versions=BOTH, ocsp=True),
    WILD: Config("https", http2=True, tls_versions=STRANGE),
    OLD: Config("https"),
    APEX: Config("http"),
}
"""A domain of each kind, with what it had: normal, wildcard, without a choice, http only."""

REFUSED = "Qiniu refused the TLS versions that --qiniu-tls asks for: invalid input: tlsVersions"


def begin(directory: Path, **switches: Any) -> Seat:
    """A certbot before an account with a domain of each kind."""
    cloud = Cloud(Switches(publish_seconds=300, **switches))
    machine = Seat(cloud, directory / "machine")
    foreign = cloud.stranger(*NAMES, days=60)
    for name, config in BEFORE.items():
        cloud.qiniu.add_domain(name, kind="wildcard" if name[0] == "." else "normal")
        if config.protocol == "https":
            cloud.qiniu.change_domain(name, **{
                key: value for key, value in vars(config).items()
                if key not in ("cert_id", "fingerprint")}, cert_id=foreign)
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Seat:
    """The same, if reads show the versions, and a change that leaves them out resets them."""
    return begin(tmp_path, tls_versions="shown", https_omitted="default")


def asking(machine: Seat, versions: str) -> Run:
    """``certbot reconfigure --qiniu-tls``."""
    run = machine.certbot("reconfigure", "--cert-name", APEX, "-i", "qiniu", "--qiniu-tls",
                          versions)
    assert run.status == 0, run.output
    return run


def bodies(run: Run) -> dict[str, list[dict[str, Any]]]:
    """The changes of HTTPS that a run sent, by domain."""
    found: dict[str, list[dict[str, Any]]] = {}
    for call in run.calls:
        if call.request.method == "PUT" and call.request.body:
            found.setdefault(call.request.path.split("/")[2], []).append(
                json.loads(call.request.body))
    return found


def served(machine: Seat, name: str) -> Config:
    """What the edge has of a domain."""
    now = machine.cloud.qiniu.serving(name)
    return Config(**{key: value for key, value in vars(now).items() if key != "state"})


def versions(machine: Seat) -> dict[str, tuple[str, ...]]:
    """The TLS versions of all domains."""
    return {name: served(machine, name).tls_versions for name in BEFORE}


def wanted(machine: Seat, leaf: str, chosen: tuple[str, ...] | None) -> dict[str, Config]:
    """What all domains must have; *chosen* is what ``--qiniu-tls`` asks for."""
    found = {}
    for name, config in BEFORE.items():
        now = machine.cloud.qiniu.serving(name)
        if config.protocol == "http":
            config = replace(config, protocol="https", force_https=True, http2=True)
        found[name] = replace(config, cert_id=now.cert_id, fingerprint=leaf,
                              tls_versions=config.tls_versions if chosen is None else chosen)
    return found


# A whole life under each reading ------------------------------------------------------------------

READINGS: Mapping[str, Mapping[str, Any]] = {
    f"{reads}, {omitted}, newer {newer}, field {field}, unknown {unknown}": {
        "tls_versions": reads, "https_omitted": omitted, "newer_field": newer,
        "tls_field": field, "unknown_fields": unknown}
    for reads in ("shown", "hidden") for omitted in ("kept", "default")
    for newer, field, unknown in (
        ("none", "accept", "ignore"), ("shown", "accept", "ignore"), ("shown", "400", "ignore"),
        ("read only", "accept", "ignore"), ("read only", "accept", "400"))}


@pytest.mark.parametrize("choice", ["keep", "1.2"])
@pytest.mark.parametrize("reading", READINGS)
def test_life(reading: str, choice: str, tmp_path: Path) -> None:
    """First issuance, renewal, drift, and back to what was before, each field as it must be."""
    switches = READINGS[reading]
    machine = begin(tmp_path, **switches)
    qiniu, clock = machine.cloud.qiniu, machine.cloud.clock
    before = {name: served(machine, name) for name in BEFORE}
    is_shown, is_reset = switches["tls_versions"] == "shown", switches["https_omitted"] == "default"
    is_refused = switches["tls_field"] == "400"
    # One field that is refused takes the others with it, for once at least.
    is_bare = is_refused or switches["unknown_fields"] == "400"
    asked = OLDER if choice == "1.2" else None
    status = int(is_refused and asked is not None)

    def step(run: Run, status: int = 0) -> Run:
        assert run.status == status, run.output
        check_calls(run, allowed={400000} if is_bare else ())
        clock.sleep(HALF_A_DAY)
        return run

    def check(expected: Mapping[str, Config], where: str, *, is_ours: bool = True) -> None:
        """Compare all fields that can be known: what nobody shows, or takes, is Qiniu's affair."""
        for name, config in expected.items():
            now = served(machine, name)
            if is_refused or not ((is_ours and asked) or (is_shown and not (is_bare and is_reset))):
                config = replace(config, tls_versions=now.tls_versions)
            if switches["newer_field"] == "none" or (is_bare and is_reset):
                config = replace(config, ocsp=now.ocsp)
            assert config == now, where

    step(machine.issue(*NAMES, arguments=("--qiniu-tls", choice)), status)
    first = machine.fingerprint()
    check(wanted(machine, first, asked), "issuance")
    assert bodies(step(machine.renew(), status)) == {}
    step(machine.force_renewal(), status)
    assert bodies(step(machine.renew(), status)) == {}
    check(wanted(machine, machine.fingerprint(), asked), "renewal")
    foreign = machine.cloud.stranger(*NAMES, days=20)
    qiniu.change_domain(WILD, cert_id=foreign)
    assert bodies(step(machine.renew(), status)).keys() == {WILD}
    check(wanted(machine, machine.fingerprint(), asked), "drift of a certificate")
    if is_shown and not is_bare:
        qiniu.change_domain(WWW, tls_versions=NEWER)
        assert bodies(step(machine.renew())).keys() == ({WWW} if asked else set())
        step(machine.force_renewal())
        assert served(machine, WWW).tls_versions == (asked or NEWER), "what is kept is a human's"
    if not status:
        step(machine.certbot("rollback", *machine.installer))
        assert bodies(step(machine.renew())) == {}
    step(machine.certbot("rollback", *machine.installer, "--checkpoints", "99"))
    check(before, "back to what was before", is_ours=False)
    assert bodies(step(machine.renew())) == {}


def test_readings_are_all(tmp_path: Path) -> None:
    """Some reading has each value of each switch that is about these fields."""
    for switch in ("tls_versions", "https_omitted", "newer_field", "tls_field", "unknown_fields"):
        assert len({reading[switch] for reading in READINGS.values()}) > 1, switch
        assert getattr(Switches(), switch) in {reading[switch] for reading in READINGS.values()}


# What is sent -------------------------------------------------------------------------------------


def test_a_change_of_the_option_alone(machine: Seat) -> None:
    """It is foreseen, and is one change of each domain, with all of its fields."""
    machine.cloud.switches.newer_field = "shown"
    assert machine.issue(*NAMES).status == 0
    assert versions(machine) == {WWW: BOTH, WILD: STRANGE, OLD: (), APEX: ()}
    told = " ".join(asking(machine, "1.2").output.split())
    for name in BEFORE:
        assert f"{name}: TLSv1.2 asked for, and not set yet as far as Qiniu shows it" in told
    plan = machine.run("plan")
    assert plan.output.count("TlsVersionsDiffer") == 4, plan.output
    assert "TLSv1.2 asked for, and not set yet" in " ".join(plan.output.split())
    status = machine.run("status", "--json")
    assert status.status == 1
    assert {row["reason"] for row in json.loads(status.output)["domains"]} == {"TlsVersionsDiffer"}
    run = later(machine)
    leaf = served(machine, WWW).cert_id
    assert bodies(run)[WWW] == [{
        "certId": leaf, "forceHttps": True, "http2Enable": False, "ocspStapling": True,
        "tlsVersions": ["TLSv1.2"]}]
    assert bodies(run)[WILD] == [{
        "certId": leaf, "forceHttps": False, "http2Enable": True, "ocspStapling": False,
        "tlsVersions": ["TLSv1.2"]}]
    assert f"{WWW}: TLSv1.2 sent to Qiniu" in run.output
    assert run.labels("/sslcert") == [] or run.labels("POST") == []
    assert bodies(later(machine)) == {}
    assert set(versions(machine).values()) == {OLDER}
    assert "Nothing to do" in machine.run("plan").output


def test_first_https_carries_no_other_field(machine: Seat) -> None:
    """A domain that is switched to HTTPS gets the documented fields and the versions asked for."""
    machine.cloud.switches.newer_field = "shown"
    run = machine.issue(*NAMES, arguments=("--qiniu-tls", "1.3"))
    [body] = bodies(run)[APEX]
    assert [*body] == ["certId", "forceHttps", "http2Enable", "tlsVersions"]
    assert all("freeCert" not in body for sent in bodies(run).values() for body in sent)


def test_nothing_is_said_of_what_is_not_there(tmp_path: Path) -> None:
    """If no version was chosen, and no other field is shown, a change is as documented."""
    machine = begin(tmp_path, tls_versions="shown")
    run = machine.issue(*NAMES)
    assert {*bodies(run)[OLD][0]} == {"certId", "forceHttps", "http2Enable"}
    assert bodies(run)[WILD][0]["tlsVersions"] == [*STRANGE]


def test_order_is_none(machine: Seat) -> None:
    """The same versions in another order are the same."""
    machine.issue(*NAMES, arguments=("--qiniu-tls", "1.3,1.2"))
    machine.cloud.clock.sleep(HALF_A_DAY)
    machine.cloud.qiniu.change_domain(WWW, tls_versions=("TLSv1.3", "TLSv1.2"))
    assert bodies(later(machine)) == {}


def test_back_to_keep(machine: Seat) -> None:
    """To keep what is there leaves it, and from then on it is a human's to change."""
    machine.issue(*NAMES, arguments=("--qiniu-tls", "1.2"))
    machine.cloud.clock.sleep(HALF_A_DAY)
    asking(machine, "keep")
    assert bodies(later(machine)) == {}
    assert set(versions(machine).values()) == {OLDER}
    machine.cloud.qiniu.change_domain(WWW, tls_versions=NEWER)
    assert bodies(later(machine)) == {}
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(HALF_A_DAY)
    assert versions(machine)[WWW] == NEWER


def test_rollback_of_the_option(machine: Seat) -> None:
    """A rollback to before it was asked for gives each domain back what it had."""
    machine.issue(*NAMES)
    machine.cloud.clock.sleep(HALF_A_DAY)
    before = versions(machine)
    machine.certbot("install", *machine.installer, "--cert-name", APEX, "--qiniu-tls", "1.2")
    machine.cloud.clock.sleep(HALF_A_DAY)
    assert set(versions(machine).values()) == {OLDER}
    run = machine.certbot("rollback", *machine.installer)
    assert run.status == 0, run.output
    assert versions(machine) == before
    machine.cloud.qiniu.change_domain(WWW, tls_versions=NEWER)
    assert bodies(later(machine)) == {}, "it is a human's to change again"


@pytest.mark.parametrize("verb", ["reconfigure", "install", "enhance"])
def test_rollback_to_what_no_run_has_seen(verb: str, machine: Seat) -> None:
    """What somebody has changed in Qiniu's console just before is what a rollback returns."""
    machine.issue(*NAMES)
    later(machine)
    machine.cloud.qiniu.change_domain(WWW, tls_versions=NEWER, http2=True, force_https=False)
    before = served(machine, WWW)
    machine.credentials = machine.credentials.rename(machine.credentials.with_name("new.ini"))
    asked = ("--redirect",) if verb == "enhance" else ("--qiniu-tls", "1.2", "--qiniu-http2", "off")
    run = machine.certbot(verb, "--cert-name", APEX, *machine.installer, *asked)
    assert run.status == 0, run.output
    if verb == "reconfigure":
        later(machine)
    machine.cloud.clock.sleep(HALF_A_DAY)
    after = served(machine, WWW)
    assert (after.force_https, after.tls_versions, after.http2) == (
        (True, NEWER, True) if verb == "enhance" else (False, OLDER, False))
    assert machine.certbot("rollback", *machine.installer).status == 0
    machine.cloud.clock.sleep(HALF_A_DAY)
    assert served(machine, WWW) == before


def test_rollback_of_a_stored_option(machine: Seat) -> None:
    """No rollback changes the renewal conf: what renewals then do is said, with the way out."""
    machine.issue(*NAMES)
    machine.cloud.clock.sleep(HALF_A_DAY)
    before = versions(machine)
    told = f"certbot reconfigure --cert-name {APEX} --qiniu-tls keep"
    for keeps in (False, True):
        asking(machine, "1.2")
        assert later(machine).status == 0
        machine.cloud.clock.sleep(HALF_A_DAY)
        assert set(versions(machine).values()) == {OLDER}
        run = machine.certbot("rollback", *machine.installer)
        assert (run.status, told in " ".join(run.output.split())) == (0, True), run.output
        assert versions(machine) == before
        if keeps:
            asking(machine, "keep")
        assert len(bodies(later(machine))) == (0 if keeps else 4)
        machine.cloud.clock.sleep(HALF_A_DAY)
    assert versions(machine) == before
    assert told not in machine.certbot("rollback", *machine.installer).output


def test_none_chosen_shown_as_null(tmp_path: Path) -> None:
    """A domain that showed none before they were asked for goes back to none."""
    machine = begin(tmp_path, tls_versions="shown", https_omitted="default", empty_lists="null")
    before = versions(machine)
    assert () in before.values()
    machine.issue(*NAMES)
    later(machine)
    asking(machine, "1.2")
    later(machine)
    later(machine)
    assert set(versions(machine).values()) == {OLDER}
    for _ in range(2):
        assert machine.certbot("rollback", *machine.installer).status == 0
        machine.cloud.clock.sleep(HALF_A_DAY)
        assert versions(machine) == before


def test_rollback_of_http2(machine: Seat) -> None:
    """HTTP/2 goes back as well, and the next renewal's opinion of it is said."""
    machine.issue(*NAMES)
    machine.cloud.clock.sleep(HALF_A_DAY)
    before = {name: served(machine, name) for name in BEFORE}
    assert {config.http2 for config in before.values()} == {True, False}
    machine.certbot("reconfigure", "--cert-name", APEX, "-i", "qiniu", "--qiniu-http2", "on")
    later(machine)
    machine.cloud.clock.sleep(HALF_A_DAY)
    assert all(served(machine, name).http2 for name in BEFORE)
    run = machine.certbot("rollback", *machine.installer)
    told = f"certbot reconfigure --cert-name {APEX} --qiniu-http2 keep"
    assert (run.status, told in " ".join(run.output.split())) == (0, True), run.output
    assert {name: served(machine, name) for name in BEFORE} == before
    machine.certbot("reconfigure", "--cert-name", APEX, "-i", "qiniu", "--qiniu-http2", "keep")
    machine.cloud.qiniu.change_domain(WWW, http2=True)
    assert bodies(later(machine)) == {}, "it is a human's to change again"


@pytest.mark.parametrize("option", ["http2", "tls", "redirect"])
def test_asked_for_again_during_a_rollback(option: str, machine: Seat) -> None:
    """The next rollback leads to where this one was going, not to what was there on its way."""
    machine.issue(*NAMES)
    machine.cloud.clock.sleep(HALF_A_DAY)
    before = {name: served(machine, name) for name in BEFORE}
    for wait in ("0", "1800"):
        if option == "redirect":
            machine.certbot("enhance", "--redirect", "--cert-name", APEX, *machine.installer)
        else:
            machine.certbot("reconfigure", "--cert-name", APEX, "-i", "qiniu",
                            f"--qiniu-{option}", {"http2": "on", "tls": "1.2"}[option])
            machine.renew()  # it is busy the second time
        for _ in range(2):
            later(machine)
        assert before != {name: served(machine, name) for name in BEFORE}
        run = machine.certbot("rollback", *machine.installer, "--qiniu-publish-timeout", wait)
        assert run.status == 0, run.output
    assert {name: served(machine, name) for name in BEFORE} == before


@pytest.mark.parametrize("option", ["http2", "redirect"])
def test_rollback_to_what_was_being_published(option: str, machine: Seat) -> None:
    """A domain that was on its way to HTTPS goes back to what it was about to have."""
    machine.issue(*NAMES, arguments=("--qiniu-publish-timeout", "0"))
    if option == "redirect":
        machine.certbot("enhance", "--redirect", "--cert-name", APEX, *machine.installer)
    else:
        machine.certbot("reconfigure", "--cert-name", APEX, "-i", "qiniu", "--qiniu-http2", "off")
        machine.renew()  # it is busy
    for _ in range(3):
        later(machine)
    assert (option == "redirect") == served(machine, APEX).http2
    assert machine.certbot("rollback", *machine.installer).status == 0
    machine.cloud.clock.sleep(HALF_A_DAY)
    assert (True, True) == (served(machine, APEX).http2, served(machine, APEX).force_https)


# Where no read shows them -------------------------------------------------------------------------


@pytest.fixture
def blind(tmp_path: Path) -> Seat:
    """The same, if no read shows the versions."""
    return begin(tmp_path)


def test_sent_once(blind: Seat) -> None:
    """Versions that no read shows are sent once for each change of option and certificate."""
    assert blind.issue(*NAMES).status == 0
    for choice, count in (("1.2", 4), ("1.3", 4), ("keep", 0), ("1.3", 4)):
        blind.cloud.clock.sleep(HALF_A_DAY)
        asking(blind, choice)
        assert len(bodies(later(blind))) == count, choice
        assert bodies(later(blind)) == {}
    assert set(versions(blind).values()) == {NEWER}
    assert len(bodies(blind.force_renewal())) == 4
    blind.cloud.clock.sleep(HALF_A_DAY)
    assert bodies(later(blind)) == {}


@pytest.mark.parametrize(("count", "names"), [
    ("1", (WILD, APEX, OLD, WWW)), ("99", (WILD, OLD, WWW))])
def test_rollback_of_what_no_read_shows(count: str, names: tuple[str, ...], blind: Seat) -> None:
    """That they may still be set is said, of each domain that keeps HTTPS, and of no others."""
    told = "does not show the TLS versions, so that those that --qiniu-tls asked for may still be"
    blind.issue(*NAMES)
    blind.cloud.clock.sleep(HALF_A_DAY)
    blind.force_renewal()
    later(blind)
    assert told not in " ".join(blind.certbot("rollback", *blind.installer).output.split())
    blind.certbot("install", *blind.installer, "--cert-name", APEX, "--qiniu-tls", "1.2")
    blind.cloud.clock.sleep(HALF_A_DAY)
    run = blind.certbot("rollback", *blind.installer, "--checkpoints", count)
    assert f"{', '.join(names)}: Qiniu {told}" in " ".join(run.output.split()), run.output


def test_killed_before_it_was_sent(blind: Seat) -> None:
    """A change that was about to be sent is sent by the next run, although no read shows it."""
    blind.issue(*NAMES)
    blind.cloud.clock.sleep(HALF_A_DAY)
    asking(blind, "1.3")
    blind.cloud.clock.sleep(HALF_A_DAY)
    blind.renew(kill_at=lambda request: request.method == "PUT")
    assert len(bodies(later(blind))) == 4
    assert bodies(later(blind)) == {}
    assert set(versions(blind).values()) == {NEWER}


@pytest.mark.parametrize("kind", ["refuse", "reset_after"])
def test_lost(kind: Any, blind: Seat) -> None:
    """A call with an unknown result is repeated until it is known: no read shows it."""
    blind.issue(*NAMES)
    blind.cloud.clock.sleep(HALF_A_DAY)
    asking(blind, "1.3")
    blind.cloud.board.arm(Fault(kind), match=f"{WWW}/httpsconf")
    later(blind)
    blind.cloud.board.disarm()
    later(blind)
    assert set(versions(blind).values()) == {NEWER}
    assert bodies(later(blind)) == {}


@pytest.mark.parametrize("noop", ["400910", "400013", "publish"])
def test_there_already(noop: Any, blind: Seat) -> None:
    """It is no failure if a domain has them already, however Qiniu says it."""
    blind.cloud.switches.noop = noop
    blind.issue(*NAMES)
    blind.cloud.clock.sleep(HALF_A_DAY)
    for name in BEFORE:
        blind.cloud.qiniu.change_domain(name, tls_versions=NEWER)
    asking(blind, "1.3")
    assert len(bodies(later(blind))) == 4
    assert bodies(later(blind)) == {}


# What Qiniu refuses -------------------------------------------------------------------------------


def refused(machine: Seat, run: Run) -> None:
    """The run reports the refusal, names all domains, and ends with 1."""
    text = " ".join(run.output.split())
    assert run.status == 1, run.output
    assert text.count(REFUSED) == 1
    for name in BEFORE:
        assert name in text


@pytest.mark.parametrize("reads", ["shown", "hidden"])
def test_refused(reads: Any, tmp_path: Path) -> None:
    """The certificate comes all the same; exit 1 until it is taken, or the option changes."""
    machine = begin(tmp_path, tls_versions=reads, tls_field="400")
    run = machine.issue(*NAMES, arguments=("--qiniu-tls", "1.3"))
    refused(machine, run)
    assert {name: len(sent) for name, sent in bodies(run).items()} == dict.fromkeys(BEFORE, 2)
    leaf = machine.fingerprint()
    assert {served(machine, name).fingerprint for name in BEFORE} == {leaf}
    for days in (1, 10, 18):
        machine.cloud.clock.sleep(days * 86_400)
        run = machine.renew()
        refused(machine, run)
        assert bodies(run) == {}, "not tried again"
        rehearsal = machine.renew("--dry-run", "--force-renewal")
        refused(machine, rehearsal)
        assert "TlsVersionsRefused" in machine.run("plan").output
        assert machine.run("status").status == 1
    for _ in range(2):
        refused(machine, machine.force_renewal())
        machine.cloud.clock.sleep(3600)
    machine.renew()
    assert {served(machine, name).fingerprint for name in BEFORE} == {machine.fingerprint()}
    ours = [item for item in machine.cloud.qiniu.certificates() if item.name.startswith("certbot")]
    assert len(ours) == 2, "superseded ones are deleted all the same"
    machine.cloud.clock.sleep(2 * 86_400)
    assert len(bodies(machine.renew())) == 4, "tried again after 30 days"
    machine.cloud.switches.tls_field = "accept"
    refused(machine, machine.renew())
    asking_another = machine.certbot("reconfigure", "--cert-name", APEX, "-i", "qiniu",
                                     "--qiniu-tls", "1.2,1.3")
    assert asking_another.status == 0, asking_another.output
    assert bodies(later(machine)).keys() == BEFORE.keys() - ({WWW} if reads == "shown" else set())
    later(machine)
    assert {frozenset(found) for found in versions(machine).values()} == {frozenset(BOTH)}
    asking(machine, "1.3")
    assert len(bodies(later(machine))) == 4, "so are these, once they are asked for anew"


def test_refused_at_any_time(tmp_path: Path) -> None:
    """It is known from then on, in the second half of that second, too."""
    machine, name = begin(tmp_path, tls_versions="shown", tls_field="400"), "a.example.net"
    machine.cloud.qiniu.add_domain(name)
    assert machine.issue(name, arguments=("--qiniu-tls", "1.3")).status == 1
    for tenths in (0, 2, 4, 6, 8):
        machine.certbot("reconfigure", "--cert-name", name, "-i", "qiniu", "--qiniu-tls",
                        "1.3" if tenths % 4 else "1.2")
        machine.cloud.clock.now = int(machine.cloud.clock.now + HALF_A_DAY) + tenths / 10
        run = machine.renew()
        assert (run.status, REFUSED in " ".join(run.output.split())) == (1, True), run.output
        assert len(bodies(run)[name]) == 2


def test_refused_under_keep(tmp_path: Path) -> None:
    """If versions were only to be kept, there is one warning; nothing else suffers."""
    machine = begin(tmp_path, tls_versions="shown", tls_field="400")
    text = f"{WILD}: Qiniu shows tlsVersions among its HTTPS settings, and refused to get that back"
    run = machine.issue(*NAMES)
    assert run.status == 0, run.output
    assert text in " ".join(run.output.split())
    assert len(bodies(run)[WILD]) == 2
    for days in (1, 40):
        machine.cloud.clock.sleep(days * 86_400)
        run = machine.force_renewal()
        assert run.status == 0, run.output
        assert "refused to get that back" not in run.output
        assert len(bodies(run)[WILD]) == (1 if days == 1 else 2)


@pytest.mark.parametrize("code", [400030, 400999, 400910, 400013, 400401, 400326])
def test_not_about_the_field(code: int, machine: Seat) -> None:
    """A refusal for another reason costs no version of TLS: the change is not sent without."""
    machine.issue(*NAMES)
    machine.cloud.clock.sleep(HALF_A_DAY)
    machine.cloud.board.arm(Fault("reply", json_response(400, {"code": code, "error": "no"})),
                            match=f"{WWW}/httpsconf")
    sent = bodies(machine.force_renewal())[WWW]
    assert [body.get("tlsVersions") for body in sent] == [[*BOTH]] * len(sent)
    machine.cloud.clock.sleep(HALF_A_DAY)
    machine.cloud.board.disarm()
    later(machine)
    assert versions(machine)[WWW] == BOTH


@pytest.mark.parametrize("code", [400514, 400999_9, 400000])
def test_refused_for_another_reason(code: int, machine: Seat) -> None:
    """A change that is refused without the field, too, is tried once, and accuses no field."""
    machine.issue(*NAMES)
    machine.cloud.clock.sleep(HALF_A_DAY)
    machine.cloud.board.arm(Fault("reply", json_response(400, {"code": code, "error": "no"})),
                            match=f"{WWW}/httpsconf", times=99)
    run = machine.force_renewal()
    assert run.status == 1
    assert [body.get("tlsVersions") for body in bodies(run)[WWW]] == [[*BOTH], None]
    machine.cloud.board.disarm()
    machine.cloud.clock.sleep(HALF_A_DAY)
    assert bodies(machine.renew())[WWW][0]["tlsVersions"] == [*BOTH]


# Files, other services, options -------------------------------------------------------------------


def entries(machine: Seat, kind: str) -> dict[str, Any]:
    """What our file of a lineage has of its domains."""
    found: dict[str, Any] = json.loads(path_of(machine, kind).read_text())["domains"]
    return found


def path_of(machine: Seat, kind: str) -> Path:
    """Our file of the lineage."""
    return machine.config_dir / "qiniu" / kind / f"{APEX}.json"


def test_files_as_before(blind: Seat) -> None:
    """Without versions asked for or seen, an older version can read the files."""
    blind.issue(*NAMES)
    for days in (1, 1):
        blind.cloud.clock.sleep(days * 86_400)
        assert blind.force_renewal().status == 0
    text = path_of(blind, "state").read_text() + path_of(blind, "memory").read_text()
    assert "tls" not in text
    assert "https_fields" not in text
    assert "unknown" not in text


def test_files_of_a_newer_version(machine: Seat) -> None:
    """This version keeps a newer one's fields of a binding, in all of its files."""
    machine.issue(*NAMES)
    future = {"ciphers": ["A", {"b": 1}], "none": None}
    for kind, places in (("state", ("binding",)), ("memory", ("baseline",))):
        path = path_of(machine, kind)
        content = json.loads(path.read_text())
        for entry in content["domains"].values():
            for place in places:
                if place in entry:
                    entry[place].update(future)
        path.write_text(json.dumps(content))
    for _ in range(2):
        machine.cloud.clock.sleep(HALF_A_DAY)
        run = machine.force_renewal()
        assert run.status == 0, run.output
    later(machine)
    for kind, place in (("state", "binding"), ("memory", "baseline")):
        for entry in entries(machine, kind).values():
            assert {name: entry[place].get(name) for name in future} == future
    run = machine.certbot("rollback", *machine.installer)
    assert run.status == 0, run.output
    assert entries(machine, "state")[WWW]["binding"]["ciphers"] == future["ciphers"]


def test_other_services(tmp_path: Path) -> None:
    """For source and live domains it is said that Qiniu has no such setting there."""
    machine = begin(tmp_path, tls_versions="shown")
    qiniu = machine.cloud.qiniu
    qiniu.add_bucket("bucket")
    qiniu.add_source_domain("source.example.com", "bucket", qiniu.serving(WWW).cert_id)
    qiniu.add_hub("hub")
    qiniu.add_live_domain("hub", "live.example.com", cert_name="a stranger's")
    run = machine.issue(*NAMES, arguments=(
        "--qiniu-services", "cdn,kodo,pili", "--qiniu-tls", "1.2", "--redirect"))
    assert run.status == 0, run.output
    for name in ("source.example.com", "live.example.com"):
        assert run.output.count(
            f"{name}: Qiniu has TLS versions for CDN domains only; left without") == 1
        assert run.output.count(f"{name}: Qiniu has redirects for CDN domains only") == 1
        assert f"{name}: Qiniu has TLS versions for CDN domains only" in (
            asking(machine, "1.3").output)
    later(machine)
    assert bodies(later(machine)) == {}
    assert {served(machine, name).tls_versions for name in BEFORE} == {NEWER}


@pytest.mark.parametrize(("option", "value"), [
    ("tls", "1.1"), ("tls", "ssl3"), ("tls", ""), ("tls", "1.2,1.1"), ("tls", "keep,1.2"),
    ("exclude", "*"), ("exclude", ""), ("exclude", "https://www.example.com"),
    ("exclude", "www.example.com/path"), ("exclude", "a..b"), ("exclude", "none,www.example.com")])
def test_nonsense(option: str, value: str, machine: Seat) -> None:
    """It is refused before anything is asked, with what there is."""
    run = machine.issue(*NAMES, arguments=(f"--qiniu-{option}", value))
    assert run.status == 2
    assert f"argument --qiniu-{option}" in run.output
    assert run.calls == []
    assert not (machine.config_dir / "live").exists()
