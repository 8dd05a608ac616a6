"""Source domains of Kodo's buckets: found, bound, read back, given up, and never in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from certbot_qiniu.model import SERVICES
from certbot_qiniu.qiniu.kodo import LISTING_SECONDS
from tests.sandbox.qiniu import SECRET_KEY
from tests.sandbox.qiniu_rules import CertPairs, Switches
from tests.sandbox.wire import Fault, json_response
from tests.scenarios.machine import Cloud, Machine, Run

CDN, SOURCE, PLAIN = "www.example.com", "src.example.com", "plain.example.com"
SANS = ("example.com", "*.example.com", PLAIN)
PUBLISHED = 60.0


@pytest.fixture
def cloud() -> Cloud:
    """An account with a CDN domain, and a source domain on https and one on http."""
    return filled(Cloud(Switches(publish_seconds=20)))


@pytest.fixture
def machine(cloud: Cloud, tmp_path: Path) -> Machine:
    """A certbot that has deployed nothing yet."""
    return Machine(cloud, tmp_path / "machine")


def filled(cloud: Cloud) -> Cloud:
    """*cloud* with domains."""
    old = cloud.stranger("*.example.com")
    cloud.qiniu.add_domain(CDN, protocol="https", cert_id=old)
    cloud.qiniu.add_bucket("pictures")
    cloud.qiniu.add_bucket("empty")
    cloud.qiniu.add_source_domain(SOURCE, "pictures", old)
    cloud.qiniu.add_source_domain(PLAIN, "pictures")
    return cloud


def refuse(cloud: Cloud, part: str, status: int = 403, text: str = "the reason") -> None:
    """Let Qiniu refuse all calls that contain *part*, until :meth:`Switchboard.disarm`."""
    answer = json_response(status, {"error": text})
    cloud.board.arm(Fault("reply", answer), match=part, times=10**6)


def later(machine: Machine, run: Callable[[], Run], seconds: float = PUBLISHED) -> Run:
    """*run* after all that was sent is published."""
    machine.cloud.clock.sleep(seconds)
    return run()


def leaves(machine: Machine, *names: str) -> list[bool]:
    """Whether each of *names* serves the newest leaf."""
    newest = machine.fingerprint()
    return [machine.cloud.qiniu.serving(name).fingerprint == newest for name in names]


def test_issue_and_renew(machine: Machine) -> None:
    """Source domains are found next to CDN domains, bound, and bound again by a renewal."""
    assert machine.issue(*SANS).status == 0
    assert leaves(machine, CDN, SOURCE, PLAIN) == [True] * 3
    renewed = later(machine, machine.force_renewal)
    assert renewed.status == 0
    assert leaves(machine, SOURCE, PLAIN) == [True] * 2
    assert len(renewed.labels("/cert/bind")) == 2 + 2, "two of them read, two write"
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN) == [True]


def test_same_rules_as_for_the_cdn(machine: Machine) -> None:
    """One on http that only a wildcard covers is left alone, and a frozen one; both are named."""
    machine.cloud.qiniu.add_source_domain(
        "frozen.example.com", "pictures", machine.cloud.stranger("*.example.com"), ["VIOLATION"])
    run = machine.issue("example.com", "*.example.com")
    assert leaves(machine, SOURCE, PLAIN) == [True, False]
    assert "frozen.example.com is frozen at Qiniu (VIOLATION): left out" in run.output
    assert "plain.example.com: http only" in run.output


@pytest.mark.parametrize(("pairs", "method"), [
    ("proven", "401"), ("QBox", "405"), ("any", "401"),
    ("PUT and Qiniu", "401"), ("PUT and Qiniu", "404"), ("PUT and Qiniu", "405")])
def test_life(pairs: CertPairs, method: Literal["401", "404", "405"], machine: Machine) -> None:
    """A whole life in whichever way Qiniu takes; a way that is refused to bind is tried once."""
    qiniu = machine.cloud.qiniu
    machine.cloud.switches.cert_pairs = pairs
    machine.cloud.switches.cert_method = method
    before = qiniu.serving(SOURCE).cert_id
    rejected: list[set[str]] = []

    def step(run: Callable[[], Run]) -> None:
        ended = later(machine, run)
        assert ended.status == 0, ended.output
        rejected.append({call.request.label for call in ended.calls if call.status >= 400})

    def rollback() -> Run:
        return machine.certbot("rollback", *machine.installer)

    step(lambda: machine.issue(*SANS))
    first = qiniu.serving(SOURCE).fingerprint
    for renewal in (machine.renew, machine.force_renewal, machine.renew):
        step(renewal)
        assert leaves(machine, CDN, SOURCE, PLAIN) == [True] * 3 or renewal != machine.renew
    qiniu.add_source_domain(SOURCE, "pictures", before)
    step(machine.renew)
    assert leaves(machine, SOURCE) == [True]
    for run in (rollback, machine.renew):
        step(run)
        assert [qiniu.serving(name).fingerprint for name in (SOURCE, PLAIN)] == [first] * 2
    step(machine.force_renewal)
    assert leaves(machine, SOURCE, PLAIN) == [True] * 2
    for _ in range(2):
        step(rollback)
    assert (qiniu.serving(SOURCE).cert_id, qiniu.serving(PLAIN).protocol) == (before, "http")
    bindings, bind = "GET api.qiniu.com/cert/bindings", "POST api.qiniu.com/cert/bind"
    expected = {bindings} if pairs == "PUT and Qiniu" else set()
    assert rejected == [expected | {bind} if expected else set(), *[expected] * 9]


def test_in_no_way(machine: Machine) -> None:
    """If Qiniu takes neither way, that is said once, and the CDN gets its certificates."""
    machine.cloud.switches.cert_pairs = "none"
    run = machine.issue(*SANS)
    assert (run.status, leaves(machine, CDN, SOURCE)) == (0, [True, False])
    assert ("list the certificates of source domains: bad token as GET with QBox, bad token as "
            "GET with Qiniu (code 401, X-Reqid ") in " ".join(run.output.split())
    assert "leave source domains out with --qiniu-services cdn" in " ".join(run.output.split())
    run = later(machine, machine.force_renewal)
    assert (run.status, "bad token" in run.output) == (0, False)
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN, SOURCE) == [True, False]


def test_in_no_way_to_one_that_is_listed(machine: Machine) -> None:
    """A source domain that is listed makes that an error, before anything is issued."""
    machine.cloud.switches.cert_pairs = "none"
    run = machine.issue(*SANS, arguments=("--qiniu-domains", f"{CDN},{SOURCE}"))
    assert (run.status, run.labels("POST")) == (1, [])
    assert f"{SOURCE} is in no list" in run.output
    assert "bad token as GET with QBox, bad token as GET with Qiniu" in " ".join(run.output.split())


def test_in_no_way_any_more(machine: Machine) -> None:
    """A source domain that is managed makes that an error with its name, until it works again."""
    machine.issue(*SANS)
    machine.cloud.switches.cert_pairs = "none"
    for run in (machine.force_renewal, machine.renew):
        ended = later(machine, run)
        assert ended.status == 1
        assert SOURCE in ended.output, ended.output
        assert "bind the certificates of source domains in Qiniu's console" in " ".join(
            ended.output.split())
    assert leaves(machine, CDN, SOURCE, PLAIN) == [True, False, False]
    machine.cloud.switches.cert_pairs = "PUT and Qiniu"
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN, SOURCE, PLAIN) == [True] * 3


@pytest.mark.parametrize("listings", ["all", "no /domain", "no /v3/domains"])
def test_either_list(listings: Literal["all", "no /domain", "no /v3/domains"],
                     machine: Machine) -> None:
    """Whichever list of a bucket's domains is there, source domains are found, and no others."""
    machine.cloud.switches.source_listings = listings
    machine.cloud.qiniu.add_domain("img.example.com", protocol="https", bucket="pictures",
                                   cert_id=machine.cloud.qiniu.serving(CDN).cert_id)
    run = machine.issue(*SANS)
    assert run.status == 0
    assert leaves(machine, CDN, SOURCE, PLAIN, "img.example.com") == [True] * 4
    assert len(run.labels("uc.qiniuapi.com/")) == 1 + 2 + (listings == "no /domain")
    assert "taken as a domain of" not in run.output


def test_the_cdn_comes_first(machine: Machine) -> None:
    """A bucket's domain that is a CDN domain as well is treated as one."""
    machine.cloud.qiniu.add_source_domain(CDN, "pictures")
    assert machine.issue(*SANS).status == 0
    assert leaves(machine, CDN, SOURCE) == [True] * 2


# What a key or an account may not


def test_sub_user(tmp_path: Path) -> None:
    """The key of a sub-user deploys to the CDN; what it cannot do is said once, with the advice."""
    keys = ("IAM-" + "k" * 40, SECRET_KEY)
    cloud = filled(Cloud(Switches(publish_seconds=20), {keys[0]: keys[1]}))
    machine = Machine(cloud, tmp_path / "machine", keys=keys)
    run = machine.issue(*SANS)
    assert run.status == 0
    assert leaves(machine, CDN, SOURCE) == [True, False]
    assert "use a key of the main account, or leave source domains out" in run.output
    again = later(machine, machine.renew)
    assert again.status == 0
    assert "main account" not in again.output
    assert len(again.calls) <= 5


def test_sub_user_lists_a_source_domain(tmp_path: Path) -> None:
    """A source domain that such a key lists is an error, before anything is issued."""
    keys = ("IAM-" + "k" * 40, SECRET_KEY)
    cloud = filled(Cloud(Switches(publish_seconds=20), {keys[0]: keys[1]}))
    machine = Machine(cloud, tmp_path / "machine", keys=keys)
    run = machine.issue(*SANS, arguments=("--qiniu-domains", f"{CDN},{SOURCE}"))
    assert run.status == 1
    assert f"{SOURCE} is in no list" in run.output
    assert "bad token" in run.output
    assert run.labels("POST") == []


@pytest.mark.parametrize("call", ["/buckets", "uc.qiniuapi.com/domain", "/cert/bindings"])
def test_refused_listing(call: str, machine: Machine) -> None:
    """Buckets that may not be listed are a warning, and hold the CDN up in nothing."""
    refuse(machine.cloud, call)
    run = machine.issue(*SANS)
    assert run.status == 0
    assert "Domains of the service kodo are not looked for" in run.output
    assert leaves(machine, CDN, SOURCE) == [True, False]
    machine.cloud.board.disarm()
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, SOURCE, PLAIN) == [True] * 2


def test_refused_listing_of_a_service_that_was_chosen(machine: Machine) -> None:
    """A user who names other services than the default wants them: a refusal is an error."""
    refuse(machine.cloud, "/buckets")
    run = machine.issue(*SANS, arguments=("--qiniu-services", "kodo,cdn,pili"))
    assert run.status == 1
    assert "Could not list the buckets" in run.output
    assert run.labels("PUT") == []
    machine.cloud.board.disarm()
    for _ in range(2):
        assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN, SOURCE, PLAIN) == [True] * 3


def test_refused_listing_of_managed_domains(machine: Machine) -> None:
    """If a source domain is managed, that is an error; the CDN still gets its certificate."""
    machine.issue(*SANS)
    refuse(machine.cloud, "/cert/bindings")
    run = later(machine, machine.force_renewal)
    assert run.status == 1
    assert "list the certificates of source domains" in run.output
    assert later(machine, machine.renew).status == 1
    assert leaves(machine, CDN, SOURCE) == [True, False]
    machine.cloud.board.disarm()
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN, SOURCE, PLAIN) == [True] * 3


def test_deleted_bucket(machine: Machine) -> None:
    """A bucket that is gone between two calls hides none of the others."""
    refuse(machine.cloud, "uc.qiniuapi.com/domain", 631, "no such bucket")
    run = machine.issue(*SANS)
    assert run.status == 0
    assert "not looked for" not in run.output
    assert leaves(machine, SOURCE) == [False]


@pytest.mark.parametrize(("status", "text", "advice"), [
    (403, "domaintype is not allowed", "Qiniu binds nothing but source domains"),
    (401, "bad token", "refused both ways in which it is known to work"),
    (400, "invalid domain", "(code 400"),
    (500, "the server is down", "try again later"),
], ids=str)
def test_refused_bind(status: int, text: str, advice: str, machine: Machine) -> None:
    """A refusal is an error for that domain alone, with advice, and healed by the next run."""
    machine.issue(*SANS)
    answer = json_response(status, {"error": text})
    machine.cloud.board.arm(
        Fault("reply", answer), times=10**6,
        match=lambda call: call.path == "/cert/bind" and SOURCE.encode() in call.body)
    run = later(machine, machine.force_renewal)
    assert run.status == 1
    assert f"to source domain {SOURCE}: {text}" in run.output
    assert advice in run.output
    assert PLAIN not in run.output.partition("Could not")[2]
    assert leaves(machine, SOURCE, PLAIN) == [False, True]
    machine.cloud.board.disarm()
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN, SOURCE, PLAIN) == [True] * 3


def test_bind_without_effect(machine: Machine) -> None:
    """A change that Qiniu accepts and does not show is an error: only a status proves nothing."""
    machine.cloud.board.arm(Fault("reply", json_response(200, {})), times=10**6,
                            match=lambda call: call.path == "/cert/bind")
    run = machine.issue(*SANS)
    assert run.status == 1
    assert f"{SOURCE} does not take the change" in run.output


def test_certificate_deleted_at_qiniu(machine: Machine) -> None:
    """A certificate of ours that somebody deleted is uploaded again, though no code says so."""
    machine.issue(*SANS)
    qiniu = machine.cloud.qiniu
    del vars(qiniu)["_certificates"][qiniu.serving(SOURCE).cert_id]
    assert later(machine, machine.renew).status in (0, 1)
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, SOURCE, PLAIN) == [True] * 2


def test_deleted_source_domain(machine: Machine) -> None:
    """One that is no more is noticed by the renewal, told by the run after, and let be then."""
    machine.issue(*SANS)
    del vars(machine.cloud.qiniu)["_sources"][SOURCE]
    assert later(machine, machine.force_renewal).status == 1
    assert f"{SOURCE} does not exist" in later(machine, machine.renew).output
    assert later(machine, machine.renew).status == 0
    assert not later(machine, machine.renew).labels("/cert/bind ")


# Few calls


def test_calls(machine: Machine) -> None:
    """Buckets are listed once a day; else one call more, and none if nothing is managed."""
    machine.issue(*SANS)
    assert later(machine, machine.renew).labels("uc.") == []
    quiet = later(machine, machine.renew)
    assert [label.split()[1] for label in quiet.labels()] == [
        *["api.qiniu.com/domain"] * 2, "api.qiniu.com/cert/bindings"]
    daily = later(machine, machine.renew, LISTING_SECONDS)
    assert len(daily.labels("uc.")) == 1 + 2


def test_calls_without_source_domains(tmp_path: Path) -> None:
    """An account without source domains pays one call a run, and those for its buckets once."""
    cloud = Cloud(Switches(publish_seconds=20))
    cloud.qiniu.add_domain(CDN)
    cloud.qiniu.add_bucket("backups")
    machine = Machine(cloud, tmp_path / "machine")
    assert len(machine.issue("example.com", CDN).labels("uc.")) == 2
    later(machine, machine.renew)
    assert later(machine, machine.renew).labels() == ["GET api.qiniu.com/domain"] * 2


def test_new_source_domain(machine: Machine) -> None:
    """One that is new is found by certbot install at once, by certbot renew within a day."""
    machine.issue(*SANS)
    qiniu = machine.cloud.qiniu
    new, newer = (f"{name}.example.com" for name in ("new", "newer"))
    old = machine.cloud.stranger("*.example.com")
    qiniu.add_source_domain(new, "empty", old)
    assert machine.certbot("install", *machine.installer, "--cert-name", "example.com").status == 0
    qiniu.add_source_domain(newer, "empty", old)
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, new, newer) == [True, False]
    assert later(machine, machine.renew, LISTING_SECONDS).status == 0
    assert leaves(machine, new, newer) == [True] * 2


def test_listed_by_name(machine: Machine) -> None:
    """A source domain may be listed like any other, also one newer than what is remembered."""
    machine.issue(*SANS, arguments=("--qiniu-domains", SOURCE))
    machine.cloud.qiniu.add_source_domain("new.example.com", "empty")
    assert leaves(machine, CDN, SOURCE, PLAIN) == [False, True, False]
    run = machine.renew("--qiniu-domains", f"{SOURCE},new.example.com")
    assert run.status == 0
    assert leaves(machine, "new.example.com") == [True]


# Going back, and leaving it alone


def test_rollback(machine: Machine) -> None:
    """A rollback binds the former certificate, and takes the first one off again."""
    before = machine.cloud.qiniu.serving(SOURCE).cert_id
    machine.issue(*SANS)
    first = machine.cloud.qiniu.serving(SOURCE).fingerprint
    later(machine, machine.force_renewal)
    rollback = lambda: machine.certbot("rollback", *machine.installer)  # noqa: E731
    assert later(machine, rollback).status == 0
    assert {machine.cloud.qiniu.serving(name).fingerprint for name in (SOURCE, PLAIN)} == {first}
    assert later(machine, rollback).status == 0
    assert machine.cloud.qiniu.serving(SOURCE).cert_id == before
    assert machine.cloud.qiniu.serving(PLAIN).protocol == "http"


def test_rollback_that_qiniu_refuses(machine: Machine) -> None:
    """If HTTPS cannot be taken off again that is said, once, and the rest goes back."""
    before = machine.cloud.qiniu.serving(SOURCE).cert_id
    machine.issue(*SANS)
    refuse(machine.cloud, "/cert/unbind", 404, "not found")
    run = later(machine, lambda: machine.certbot("rollback", *machine.installer))
    assert run.status == 1
    assert f"{PLAIN} served http before certbot managed it" in run.output
    assert machine.cloud.qiniu.serving(SOURCE).cert_id == before
    assert later(machine, machine.renew).status == 0


def test_opt_out(machine: Machine) -> None:
    """Without kodo nothing of it is called, and what it manages keeps what it serves."""
    machine.issue(*SANS)
    run = later(machine, lambda: machine.renew("--force-renewal", "--qiniu-services", "cdn"))
    assert run.status == 0
    assert f"{SOURCE} is let go, as --qiniu-services leaves out its service, kodo" in run.output
    assert run.labels("/cert/") == []
    assert run.labels("uc.") == []
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN, SOURCE) == [True, False]
    assert machine.cloud.qiniu.serving(SOURCE).protocol == "https"


def test_unknown_service(machine: Machine) -> None:
    """A service that does not exist is refused by the parser, which names those that do."""
    run = machine.issue(*SANS, arguments=("--qiniu-services", "cdn,dcdn"))
    assert run.status == 2
    assert f"'dcdn' is none of {', '.join(SERVICES)}" in run.output
    assert run.calls == []


@pytest.mark.parametrize("services", ["cdn", "cdn,kodo"])
def test_cleanup(services: str, machine: Machine) -> None:
    """A certificate that a source domain still serves is not deleted, whatever is chosen."""
    options = ("--qiniu-services", services, "--qiniu-keep-certificates", "0")
    machine.issue(*SANS, arguments=options)
    qiniu = machine.cloud.qiniu
    first = qiniu.serving(CDN).cert_id
    qiniu.add_source_domain("console.example.org", "pictures", first)
    for _ in range(2):
        later(machine, machine.force_renewal)
        assert later(machine, machine.renew).status == 0
    ours = [item.cert_id for item in qiniu.certificates() if item.name.startswith("certbot_")]
    assert ours == [first, qiniu.serving(CDN).cert_id]


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("broken", ["api.qiniu.com/domain", "/cert/"])
def test_each_service_alone(broken: str, status: int, machine: Machine) -> None:
    """One service that fails leaves the others right, and the next run heals it."""
    machine.issue(*SANS)
    refuse(machine.cloud, broken, status)
    run = later(machine, machine.force_renewal)
    assert run.status == 1
    assert run.labels(f"domain/{CDN}/") == [] or broken == "/cert/"
    expected = [False, True] if "domain" in broken else [True, False]
    machine.cloud.clock.sleep(PUBLISHED)
    assert leaves(machine, CDN, SOURCE) == expected
    machine.cloud.board.disarm()
    assert later(machine, machine.renew).status == 0
    machine.cloud.clock.sleep(PUBLISHED)
    assert leaves(machine, CDN, SOURCE, PLAIN) == [True] * 3
