"""Pili's live domains: bound by the names of certificates, and protected from our clean-up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Fault, json_response
from tests.scenarios.machine import Cloud, Machine, Run

CDN, LIVE, PLAIN = "www.example.com", "live.example.com", "plain.example.com"
SANS = ("example.com", "*.example.com", PLAIN)
SERVICES = ("--qiniu-services", "cdn,kodo,pili")
PUBLISHED = 60.0


@pytest.fixture
def cloud() -> Cloud:
    """An account with a CDN domain, and a live domain on https and one on http."""
    cloud = Cloud(Switches(publish_seconds=20))
    cloud.qiniu.add_domain(CDN, protocol="https", cert_id=cloud.stranger(
        "*.example.com", name="the former"))
    cloud.qiniu.add_hub("stage")
    cloud.qiniu.add_hub("empty")
    cloud.qiniu.add_live_domain("stage", LIVE, cert_name="the former")
    cloud.qiniu.add_live_domain("stage", PLAIN, kind="liveHdl")
    return cloud


@pytest.fixture
def machine(cloud: Cloud, tmp_path: Path) -> Machine:
    """A certbot that has deployed nothing yet."""
    return Machine(cloud, tmp_path / "machine")


def issue(machine: Machine, *arguments: str) -> Run:
    """``certbot run`` with live domains."""
    return machine.issue(*SANS, arguments=(*SERVICES, *arguments))


def refuse(cloud: Cloud, part: str, status: int = 403) -> None:
    """Let Qiniu refuse all calls that contain *part*."""
    cloud.board.arm(Fault("reply", json_response(status, {"error": "the reason"})), match=part,
                    times=10**6)


def later(machine: Machine, run: Callable[[], Run]) -> Run:
    """*run* after all that was sent is published."""
    machine.cloud.clock.sleep(PUBLISHED)
    return run()


def leaves(machine: Machine, *names: str) -> list[bool]:
    """Whether each of *names* serves the newest leaf."""
    newest = machine.fingerprint()
    return [machine.cloud.qiniu.serving(name).fingerprint == newest for name in names]


def test_issue_and_renew(machine: Machine) -> None:
    """Live domains are bound, read back, and bound again; when all is well nothing is sent."""
    assert issue(machine).status == 0
    assert leaves(machine, CDN, LIVE, PLAIN) == [True] * 3
    assert later(machine, machine.force_renewal).status == 0
    assert leaves(machine, LIVE, PLAIN) == [True] * 2
    later(machine, machine.renew)
    quiet = later(machine, machine.renew)
    assert quiet.status == 0
    assert {label.split()[0] for label in quiet.labels()} == {"GET"}


def test_not_by_default(machine: Machine) -> None:
    """Live domains are left alone unless the user chooses them."""
    assert machine.issue(*SANS).labels("pili") == []
    assert leaves(machine, CDN, LIVE) == [True, False]


@pytest.mark.parametrize("taken", ["name", "id"])
def test_name_or_id(taken: str, machine: Machine) -> None:
    """Whichever of the two Qiniu takes for a certificate's name, the domain is bound."""
    machine.cloud.switches.pili_by = taken  # type: ignore[assignment]
    assert issue(machine).status == 0
    assert leaves(machine, LIVE, PLAIN) == [True] * 2
    later(machine, machine.renew)
    assert later(machine, machine.renew).labels("POST pili") == []


def test_name_of_several_certificates(machine: Machine) -> None:
    """If several certificates bear a name, the newest is what a live domain serves."""
    machine.cloud.clock.sleep(1)
    machine.cloud.stranger("*.example.com", name="the former")
    assert issue(machine).status == 0
    assert leaves(machine, LIVE) == [True]


@pytest.mark.parametrize("call", ["GET pili.qiniuapi.com/v2/hubs",
                                  "GET pili.qiniuapi.com/v2/hubs/stage"])
def test_refused_listing(call: str, machine: Machine) -> None:
    """If live domains were chosen and cannot be listed, that is an error before issuing."""
    refuse(machine.cloud, call)
    run = issue(machine)
    assert run.status == 1
    assert "the reason" in run.output
    assert run.labels("POST") == []


@pytest.mark.parametrize("status", [403, 500])
def test_each_service_alone(status: int, machine: Machine) -> None:
    """Live streaming that fails leaves the CDN right, and is healed by the next run."""
    issue(machine)
    refuse(machine.cloud, "pili.qiniuapi.com", status)
    assert later(machine, machine.force_renewal).status == 1
    machine.cloud.clock.sleep(PUBLISHED)
    assert leaves(machine, CDN, LIVE) == [True, False]
    machine.cloud.board.disarm()
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN, LIVE, PLAIN) == [True] * 3


def test_refused_bind(machine: Machine) -> None:
    """A certificate that is not accepted is an error of that domain, with Qiniu's first words."""
    refuse(machine.cloud, f"POST pili.qiniuapi.com/v2/hubs/stage/domains/{LIVE}/cert", 400)
    run = issue(machine)
    assert run.status == 1
    assert f"to live domain {LIVE}: the reason" in run.output
    assert f"to live domain {PLAIN}" not in run.output


def test_rollback(machine: Machine) -> None:
    """A rollback binds the former name again, and says where it cannot take HTTPS off."""
    issue(machine)
    first = machine.cloud.qiniu.serving(LIVE).fingerprint
    later(machine, machine.force_renewal)
    back = later(machine, lambda: machine.certbot("rollback", *machine.installer))
    assert back.status == 0
    assert {machine.cloud.qiniu.serving(name).fingerprint for name in (LIVE, PLAIN)} == {first}
    run = later(machine, lambda: machine.certbot("rollback", *machine.installer))
    assert run.status == 1
    assert f"off the live domain {PLAIN}: Qiniu has no call for that" in run.output
    assert f"domain {LIVE}:" not in run.output
    [former] = [item for item in machine.cloud.qiniu.certificates() if item.name == "the former"]
    assert machine.cloud.qiniu.serving(LIVE).fingerprint == former.fingerprint
    assert machine.cloud.qiniu.serving(PLAIN).fingerprint == first
    assert later(machine, machine.renew).status == 0


@pytest.mark.parametrize("services", ["cdn", "cdn,pili"])
def test_cleanup(services: str, machine: Machine) -> None:
    """A certificate that a live domain shows is never deleted, whatever is chosen."""
    machine.issue(*SANS, arguments=("--qiniu-services", services,
                                    "--qiniu-keep-certificates", "0"))
    qiniu = machine.cloud.qiniu
    first = next(item for item in qiniu.certificates() if item.name.startswith("certbot_"))
    qiniu.add_live_domain("stage", "console.example.org", cert_name=first.name)
    for _ in range(2):
        later(machine, machine.force_renewal)
        assert later(machine, machine.renew).status == 0
    ours = [item.cert_id for item in qiniu.certificates() if item.name.startswith("certbot_")]
    assert ours == [first.cert_id, qiniu.serving(CDN).cert_id]


@pytest.mark.parametrize(("call", "status", "left"), [
    ("/v2/hubs", 401, 1), ("/v2/hubs", 500, 2), ("/v2/hubs/stage", 403, 2),
], ids=["no live streaming", "out of reach", "a hub that may not be seen"])
def test_cleanup_in_doubt(call: str, status: int, left: int, machine: Machine) -> None:
    """An account without live streaming is cleaned; one of which nothing can be known is not."""
    machine.issue(*SANS, arguments=("--qiniu-keep-certificates", "0"))
    refuse(machine.cloud, call, status)
    later(machine, machine.force_renewal)
    assert later(machine, machine.renew).status == 0
    qiniu = machine.cloud.qiniu
    assert left == len([item for item in qiniu.certificates()
                        if item.name.startswith("certbot_")])


def test_two_services_claim_a_name(machine: Machine) -> None:
    """A name of two services is bound in the first, and that is said once."""
    machine.cloud.qiniu.add_bucket("pictures")
    machine.cloud.qiniu.add_source_domain(LIVE, "pictures")
    run = issue(machine, "--qiniu-domains", f"{CDN},{LIVE}")
    assert run.status == 0
    assert run.output.count(f"{LIVE} is listed by the services kodo and pili") == 1
    assert run.labels("POST pili") == []
    assert "is listed by" not in later(machine, machine.renew).output


def test_lineages_with_other_services(machine: Machine) -> None:
    """Two lineages of one account serve what each of them chose, in one renewal."""
    assert machine.issue("other.example.com", arguments=("--qiniu-services", "cdn")).status == 1
    machine.cloud.qiniu.add_domain("other.example.com")
    assert machine.issue("other.example.com", arguments=("--qiniu-services", "cdn")).status == 0
    assert issue(machine).status == 0
    assert later(machine, machine.force_renewal).status == 0
    assert later(machine, machine.renew).status == 0
    assert leaves(machine, CDN, LIVE, PLAIN) == [True] * 3
    assert machine.cloud.qiniu.serving("other.example.com").fingerprint == machine.fingerprint(
        "other.example.com")
