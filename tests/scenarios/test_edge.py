"""The edge, with real TLS servers on addresses of this machine: what is found, and what is said."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.command.renew import Programs
from certbot_qiniu.model import Domain
from certbot_qiniu.webserver import edge
from tests.sandbox.edge import Edge
from tests.scenarios.command import IMG, WILD, WWW, Seat, issued
from tests.scenarios.machine import HALF_A_DAY, Run
from tests.scenarios.test_alerts import Receiver, receiver
from tests.scenarios.test_renew import in_this_process

__all__ = ["receiver"]

A, B, C = "127.0.0.2", "127.0.0.3", "127.0.0.4"
FOUR_HOURS = 4 * 3600


class Place:
    """A machine, and an edge that its domains' CNAME targets lead to."""

    def __init__(self, machine: Seat, servers: Edge) -> None:
        self.machine, self.servers = machine, servers
        self.leads_to: dict[str, list[str]] = {}
        self.old = self.pem()

    def addresses(self, host: str) -> list[str]:
        return self.leads_to.get(host.removesuffix(".qiniudns.com"), [])

    def pem(self, chain: str = "fullchain") -> str:
        """The newest certificate, with its key."""
        live = self.machine.config_dir / "live" / "example.com"
        return (live / f"{chain}.pem").read_text() + (live / "privkey.pem").read_text()

    def renew(self, later: float = 600) -> None:
        """Renew, and let Qiniu publish it."""
        assert self.machine.force_renewal().status == 0
        self.machine.cloud.clock.sleep(later)
        assert self.machine.renew().status == 0

    def domains(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit status, and each domain of ``status``."""
        run = self.machine.run("status", "--probe", "--json", *arguments)
        return run.status, {entry["domain"]: entry for entry in json.loads(run.output)["domains"]}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_edge: None) -> Iterator[Place]:
    """A machine whose certificate was renewed and published four hours ago; the old one is known.
    """
    with Edge() as servers:
        found = Place(issued(tmp_path), servers)
        monkeypatch.setattr(edge, "addresses", found.addresses)
        monkeypatch.setattr(edge, "PORT", servers.port)
        monkeypatch.setattr(edge, "ANSWER_SECONDS", 0.5)
        found.machine.cloud.clock.sleep(600)
        found.renew(FOUR_HOURS + 600)
        yield found


def test_the_right_certificate(place: Place) -> None:
    """Every address is asked once by the domain's name, a wildcard's by one below it."""
    place.leads_to = {WWW: [A, B], WILD.lstrip("."): [A]}
    for address in (A, B):
        place.servers.serve(address, place.pem())
    status, found = place.domains("--managed")
    assert (0, "same", "same", "unknown") == (
        status, *(found[name]["edge"] for name in (WWW, WILD, IMG)))
    assert sorted([(A, WWW), (B, WWW), (A, "certbot-qiniu.example.com"),
                   (A, "example.com")]) == sorted(place.servers.asked)
    leaf = place.machine.fingerprint()
    assert [(A, "same", leaf), (B, "same", leaf)] == [
        (one["address"], one["edge"], one["fingerprint"]) for one in found[WWW]["edge_addresses"]]
    assert not any("shop" in name for name in found)


def test_another_certificate(place: Place) -> None:
    """It is a reason to look three hours after the change, and none before."""
    place.leads_to[WWW] = [A]
    place.servers.serve(A, place.old)
    status, found = place.domains()
    assert (1, "other", "EdgeDiffers") == (status, found[WWW]["edge"], found[WWW]["reason"])
    assert "Open a ticket with Qiniu: “The domain www.example.com (CNAME" in found[WWW]["text"]
    assert ["ok"] == list({entry["level"] for name, entry in found.items()
                           if name not in (WWW, "shop.example.org")})
    place.servers.serve(A, place.pem())
    place.old = place.pem()
    place.renew()
    status, found = place.domains()
    assert "other" == found[WWW]["edge"]
    assert ("ok", 0) == (found[WWW]["level"], place.domains("--managed")[0])
    assert "does not serve the certificate of www.example.com yet" in found[WWW]["text"]
    assert "5 minutes after its last change" in found[WWW]["text"]


def test_wrong_chain(place: Place) -> None:
    """The right leaf without its intermediate breaks clients."""
    place.leads_to[WWW] = [A]
    place.servers.serve(A, place.pem("cert"))
    status, found = place.domains("--managed")
    assert (1, "chain", "EdgeChain") == (status, found[WWW]["edge"], found[WWW]["reason"])


def test_another_chain(place: Place) -> None:
    """Likewise with one that is not what was uploaded."""
    place.leads_to[WWW] = [A]
    stranger = place.machine.cloud.authority.intermediate("Another CA").cert_pem
    place.servers.serve(A, place.pem("cert").replace(
        "-----BEGIN PRIVATE", f"{stranger}-----BEGIN PRIVATE"))
    assert "EdgeChain" == place.domains()[1][WWW]["reason"]


def test_no_answer(place: Place) -> None:
    """Silence, a refusal and a name that leads nowhere are unknown, and change nothing."""
    place.leads_to = {WWW: [A], IMG: [B]}
    place.servers.be_silent(A)
    status, found = place.domains("--managed")
    assert (0, "unknown", "unknown", "unknown") == (
        status, *(found[name]["edge"] for name in (WWW, IMG, WILD)))
    assert [{"address": A, "edge": "unknown", "fingerprint": None, "serial": None,
             "not_after": None}] == found[WWW]["edge_addresses"]
    assert {"ok"} == {entry["level"] for entry in found.values()}


def test_one_of_three_is_old(place: Place) -> None:
    """It is named, though the others are right or silent."""
    place.leads_to[WWW] = [A, B, C]
    place.servers.serve(A, place.pem())
    place.servers.serve(B, place.old)
    place.servers.be_silent(C)
    status, found = place.domains("--managed")
    assert (1, "EdgeDiffers") == (status, found[WWW]["reason"])
    assert f"at {B} (1 of 3 addresses), 4 hours after its last change" in found[WWW]["text"]
    assert ["same", "other", "unknown"] == [one["edge"] for one in found[WWW]["edge_addresses"]]


def test_while_a_change_is_published(place: Place) -> None:
    """Domains with which Qiniu is still busy are not asked about."""
    place.leads_to[WWW] = [A]
    place.servers.serve(A, place.old)
    assert place.machine.force_renewal().status == 0
    status, found = place.domains("--managed")
    assert (0, None, "Publishing") == (status, found[WWW]["edge"], found[WWW]["reason"])
    assert [] == place.servers.asked


def test_after_a_rollback(place: Place) -> None:
    """A held lineage's domains are to serve what Qiniu says is bound: the older certificate."""
    place.leads_to = {WWW: [A], IMG: [B]}
    place.servers.serve(A, place.old)
    place.servers.serve(B, place.pem())
    assert place.machine.certbot("rollback", "-i", "qiniu").status == 0
    place.machine.cloud.clock.sleep(FOUR_HOURS)
    _, found = place.domains("--managed")
    assert ("same", "other") == (found[WWW]["edge"], found[IMG]["edge"])
    assert ("ok", "EdgeDiffers") == (found[WWW]["level"], found[IMG]["reason"])


def test_certificate_of_somebody_else(place: Place) -> None:
    """There is nothing to compare it with, and a domain that nobody manages is no one's concern."""
    place.leads_to["shop.example.org"] = [A]
    place.servers.serve(A, place.old)
    assert "seen" == place.domains()[1]["shop.example.org"]["edge"]
    place.servers.asked.clear()
    assert 0 == place.domains("--managed")[0]
    assert [] == place.servers.asked


# What the timer runs


def timer(place: Place, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Run:
    monkeypatch.setattr(Programs, "run", in_this_process)
    return place.machine.run("renew", *arguments)


def test_timer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks the edge by default, and its exit status shows what was seen there."""
    place.leads_to = {WWW: [A], IMG: [B]}
    place.servers.serve(A, place.old)
    run = timer(place, monkeypatch)
    assert 1 == run.status
    assert "The edge still serves another certificate for www.example.com" in run.output
    assert " other " in run.output
    assert 0 == timer(place, monkeypatch, "--no-probe").status
    place.servers.serve(A, place.pem())
    run = timer(place, monkeypatch)
    assert (0, True) == (run.status, run.output.endswith("All is well: 4 managed domains.\n"))
    assert " unknown " in run.output  # IMG's address refuses


def test_timer_that_renews(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own change is being published; half a day later the edge has to have it."""
    place.leads_to[WWW] = [A]
    place.servers.serve(A, place.pem())
    assert 0 == timer(place, monkeypatch, "--", "--force-renewal").status
    assert [] == place.servers.asked
    place.machine.cloud.clock.sleep(HALF_A_DAY + 600)
    run = timer(place, monkeypatch)
    assert (1, True) == (run.status, "12 hours after its last change" in run.output)


def test_alerts(place: Place, receiver: Receiver) -> None:
    """An edge that did not answer, or has time again, takes no alert back; a right one does."""
    def told() -> list[str]:
        place.machine.run("status", "--managed", "--probe", "--quiet", "--notify", receiver.url)
        return [title.partition(": ")[2] for title in receiver.take()]

    place.leads_to[WWW] = [A]
    place.servers.serve(A, place.old)
    assert ["1 needs attention"] == told()
    place.leads_to.clear()
    assert [] == told()
    place.leads_to[WWW] = [A]
    place.renew()
    assert [] == told()
    place.servers.serve(A, place.pem())
    assert ["all is well again"] == told()


# At size


@pytest.mark.parametrize("shared", [True, False], ids=["shared addresses", "their own"])
def test_a_hundred_silent_domains(monkeypatch: pytest.MonkeyPatch, *, shared: bool) -> None:
    """However many addresses are silent, the whole ends in its time; shared ones far sooner."""
    domains = [Domain(f"{number}.example.com", protocol="https", cname=f"{number}.qiniudns.com")
               for number in range(100)]
    own = {domain.cname: [f"127.1.{number}.{last}" for last in (1, 2, 3)]
           for number, domain in enumerate(domains)}
    monkeypatch.setattr(edge, "ANSWER_SECONDS", 1)
    with Edge() as servers:
        monkeypatch.setattr(edge, "PORT", servers.port)
        monkeypatch.setattr(edge, "addresses", lambda host: own["0.qiniudns.com" if shared
                                                                else host])
        for address in own["0.qiniudns.com"] if shared else itertools.chain(*own.values()):
            servers.be_silent(address)
        begun = time.monotonic()
        answers = edge.ask(domains, 60 if shared else 3)
        assert time.monotonic() - begun < 6
    assert 100 == len(answers)
    assert {(3, None)} == {(len(those), one.leaf) for those in answers.values() for one in those}


def test_program_ends_though_a_resolver_hangs() -> None:
    """Threads that cannot be ended are left behind, and the program does not wait for them."""
    script = ("import time; from certbot_qiniu.model import Domain; "
              "from certbot_qiniu.webserver import edge; "
              "edge.addresses = lambda _: time.sleep(60); "
              "print(edge.ask([Domain('www.example.com', cname='a')], 0.2))")
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True, timeout=60)
    assert "{'www.example.com': ()}\n" == done.stdout
    assert time.monotonic() - begun < 30
