"""HSTS: a change of its own on CDN domains, merged with the other headers, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.scenarios.machine import Cloud, Machine, Run

NAME = "www.example.com"
OWN = ("set", "Cache-Control", "no-store")
HSTS = ("set", "Strict-Transport-Security", "max-age=31536000")
PUBLISHED = 60.0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A certbot before an account with a domain that has a header of its own."""
    cloud = Cloud(Switches(publish_seconds=20))
    cloud.qiniu.add_domain(NAME, protocol="https", cert_id=cloud.stranger(NAME), headers=[OWN])
    return Machine(cloud, tmp_path / "machine")


def later(machine: Machine, run: Callable[[], Run]) -> Run:
    """*run* after all that was sent is published."""
    machine.cloud.clock.sleep(PUBLISHED)
    return run()


def enhance(machine: Machine) -> Run:
    """``certbot enhance --hsts``."""
    return machine.certbot("enhance", *machine.installer, "--hsts", "--cert-name", NAME)


def headers(machine: Machine, name: str = NAME) -> tuple[tuple[str, str, str], ...]:
    """The headers that a domain sets."""
    return machine.cloud.qiniu.serving(name).headers


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_run(protocol: str, machine: Machine) -> None:
    """One run publishes the certificate, then HSTS; the other headers stay."""
    machine.cloud.qiniu.change_domain(NAME, protocol=protocol)
    run = machine.issue(NAME, arguments=("--hsts",))
    assert run.status == 0
    assert headers(machine) == (OWN, HSTS)
    assert machine.cloud.qiniu.serving(NAME).fingerprint == machine.fingerprint(NAME)
    assert later(machine, machine.force_renewal).status == 0
    assert later(machine, machine.renew).status == 0
    assert headers(machine) == (OWN, HSTS)
    assert machine.cloud.qiniu.serving(NAME).fingerprint == machine.fingerprint(NAME)


def test_not_asked_for(machine: Machine) -> None:
    """A user who does not ask for HSTS gets none."""
    machine.issue(NAME)
    assert headers(machine) == (OWN,)


def test_many_domains(machine: Machine) -> None:
    """The domains of one certificate all get it, though the lists alone show the publication."""
    names = [f"{number}.example.com" for number in range(4)]
    for name in names:
        machine.cloud.qiniu.add_domain(name)
    run = machine.issue(NAME, *names, arguments=("--hsts",))
    assert run.status == 0
    assert run.output.count("HSTS switched on") == 5
    assert later(machine, machine.force_renewal).status == 0
    assert later(machine, machine.renew).status == 0
    assert {headers(machine, name) for name in names} == {(HSTS,)}


def test_drift(machine: Machine) -> None:
    """A header that somebody removed is set again, by a renewal without waiting."""
    machine.issue(NAME, arguments=("--hsts",))
    machine.cloud.clock.sleep(PUBLISHED)
    machine.cloud.qiniu.change_domain(NAME, headers=(OWN,))
    run = machine.renew()
    assert run.status == 0
    assert len(run.labels("/respheader")) == 1
    assert later(machine, machine.renew).labels("PUT") == []
    assert headers(machine) == (OWN, HSTS)


def test_certificate_first(machine: Machine) -> None:
    """If both are to be changed a renewal sends the certificate, and the next run HSTS."""
    machine.issue(NAME, arguments=("--hsts",))
    machine.cloud.clock.sleep(PUBLISHED)
    machine.cloud.qiniu.change_domain(NAME, headers=())
    assert [label.rpartition("/")[2] for label in machine.force_renewal().labels("PUT")] == [
        "httpsconf"]
    assert [label.rpartition("/")[2] for label in later(machine, machine.renew).labels("PUT")] == [
        "respheader"]
    assert later(machine, machine.renew).status == 0
    assert headers(machine) == (HSTS,)


def test_header_of_the_users_own(machine: Machine) -> None:
    """HSTS that a domain has already is kept as it is, also by a rollback."""
    stricter = ("set", "strict-transport-security", "max-age=63072000; includeSubDomains; preload")
    machine.cloud.qiniu.change_domain(NAME, headers=(stricter,))
    run = machine.issue(NAME, arguments=("--hsts",))
    assert run.status == 0
    assert run.labels("/respheader") == []
    assert later(machine, lambda: machine.certbot("rollback", *machine.installer, "--checkpoints",
                                                  "2")).status == 0
    assert headers(machine) == (stricter,)


@pytest.mark.parametrize("checkpoints", ["1", "2"])
@pytest.mark.parametrize("protocol", ["http", "https"])
def test_rollback(checkpoints: str, protocol: str, machine: Machine) -> None:
    """A rollback takes our header off, and leaves the user's."""
    machine.cloud.qiniu.change_domain(NAME, protocol=protocol)
    machine.issue(NAME)
    assert later(machine, lambda: enhance(machine)).status == 0
    assert headers(machine) == (OWN, HSTS)
    run = later(machine, lambda: machine.certbot("rollback", *machine.installer, "--checkpoints",
                                                 checkpoints))
    assert run.status == 0
    assert headers(machine) == (OWN,)
    expected = protocol if checkpoints == "2" else "https"
    assert machine.cloud.qiniu.serving(NAME).protocol == expected
    assert later(machine, machine.renew).labels("PUT") == []


@pytest.mark.parametrize("again", ["enhance", "install", "run"])
def test_rollback_of_what_was_asked_for_twice(again: str, machine: Machine) -> None:
    """To ask once more changes nothing: that the header is ours is not forgotten."""
    machine.issue(NAME)
    assert later(machine, lambda: enhance(machine)).status == 0
    run = later(machine, {
        "enhance": lambda: enhance(machine),
        "install": lambda: machine.certbot("install", *machine.installer, "--hsts", "--cert-name",
                                           NAME),
        "run": lambda: machine.issue(NAME, arguments=("--hsts", "--force-renewal"))}[again])
    assert run.status == 0
    assert headers(machine) == (OWN, HSTS)
    run = later(machine, lambda: machine.certbot("rollback", *machine.installer, "--checkpoints",
                                                 "99"))
    assert run.status == 0
    assert headers(machine) == (OWN,)


def test_refused(machine: Machine) -> None:
    """A refusal is a warning, said once; asked again, Qiniu is tried again."""
    machine.cloud.switches.respheader_hsts = "400"
    run = machine.issue(NAME, arguments=("--hsts",))
    assert run.status == 0
    assert "invalid response header Strict-Transport-Security" in run.output
    assert f"{NAME} keeps the headers that it has" in run.output
    assert machine.cloud.qiniu.serving(NAME).fingerprint == machine.fingerprint(NAME)
    quiet = later(machine, machine.force_renewal)
    assert quiet.status == 0
    assert "keeps the headers" not in quiet.output
    assert headers(machine) == (OWN,)
    machine.cloud.switches.respheader_hsts = "accept"
    assert later(machine, lambda: enhance(machine)).status == 0
    assert headers(machine) == (OWN, HSTS)


def test_failed_publication(machine: Machine) -> None:
    """A header that Qiniu accepts and cannot publish is an error with its reason."""
    machine.issue(NAME)
    machine.cloud.clock.sleep(PUBLISHED)
    machine.cloud.qiniu.fail_next_publication(NAME, "no room for headers")
    run = enhance(machine)
    assert run.status == 1
    assert "could not publish the last change of www.example.com (no room for" in run.output


def test_other_services(machine: Machine) -> None:
    """A source domain has no such headers, which is said."""
    machine.cloud.qiniu.add_bucket("pictures")
    machine.cloud.qiniu.add_source_domain("src.example.com", "pictures")
    run = machine.issue(NAME, "src.example.com", arguments=("--hsts",))
    assert run.status == 0
    assert run.output.count("src.example.com: Qiniu has HSTS for CDN domains only") == 1
    assert headers(machine) == (OWN, HSTS)


def test_upgrade_insecure_requests(machine: Machine) -> None:
    """``--uir`` is refused in words, and spoils nothing else."""
    run = machine.issue(NAME, arguments=("--uir", "--hsts"))
    assert run.status == 0
    assert f"Option uir is not supported by the qiniu installer. Skipping it for {NAME}" in (
        run.output)
    assert headers(machine) == (OWN, HSTS)
