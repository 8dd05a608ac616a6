"""Publications that hang, fail, are somebody else's, or show late: no run is taken in by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.scenarios.account import DOMAINS, NAMES, fill
from tests.scenarios.invariants import (
    Bystanders,
    changes,
    check,
    check_calls,
    check_conf,
    check_status,
)
from tests.scenarios.machine import Cloud, Machine

PUBLISH = 300.0
TIMEOUT = 1800.0
HOUR, DAY = 3600, 86400
WWW, IMG, APEX = "www.example.com", "img.example.com", "example.com"


def begin(directory: Path, **switches: Any) -> tuple[Cloud, Machine, Bystanders]:
    """The account before the first issuance."""
    cloud = Cloud(Switches(**{"publish_seconds": PUBLISH, **switches}))
    others = fill(cloud)
    return cloud, Machine(cloud, directory), others


def settled(directory: Path, **switches: Any) -> tuple[Cloud, Machine, Bystanders]:
    """The account some time after the first issuance."""
    cloud, machine, others = begin(directory, **switches)
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    cloud.clock.sleep(HOUR)
    return cloud, machine, others


# Stuck ------------------------------------------------------------------------------------------


def test_a_publication_beyond_the_timeout_is_left_to_the_next_run(tmp_path: Path) -> None:
    """A stuck first publication ends the waiting, not the run; it is confirmed when it is over."""
    cloud, machine, others = begin(tmp_path)
    cloud.qiniu.stick(WWW)
    begun = cloud.clock.now
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    assert TIMEOUT <= cloud.clock.now - begun < TIMEOUT + 60
    assert f"Qiniu is still publishing {WWW}" in run.output
    for _ in range(2):
        cloud.clock.sleep(HOUR)
        run = machine.renew()
        assert (0, []) == (run.status, changes(run)), run.output
    cloud.qiniu.unstick(WWW)
    run = machine.renew()
    assert (0, []) == (run.status, changes(run)), run.output
    check(machine, DOMAINS, others)


def test_the_timeout_is_an_option(tmp_path: Path) -> None:
    """``--qiniu-publish-timeout`` bounds the waiting."""
    cloud, machine, _ = begin(tmp_path)
    cloud.qiniu.stick(WWW)
    begun = cloud.clock.now
    assert 0 == machine.issue(*NAMES, arguments=("--qiniu-publish-timeout", "60")).status
    assert 60 <= cloud.clock.now - begun < 120


def test_stuck_for_a_day_is_an_error_with_the_text_for_a_ticket(tmp_path: Path) -> None:
    """After 24 hours each run says what to write to Qiniu, keeps the others right, and heals."""
    cloud, machine, others = settled(tmp_path)
    cloud.qiniu.stick(WWW)
    assert 0 == machine.force_renewal().status
    cloud.clock.sleep(23 * HOUR)
    assert 0 == machine.renew().status
    for _ in range(2):
        cloud.clock.sleep(2 * HOUR)
        run = machine.renew()
        assert (1, []) == (run.status, changes(run))
        assert "Open a ticket with Qiniu" in run.output
        assert (f"The domain {WWW} has been stuck in the state processing since its operation "
                "modify_https_conf") in " ".join(run.output.split())
        check_conf(machine)
        assert machine.fingerprint() == cloud.qiniu.serving(IMG).fingerprint
    cloud.qiniu.unstick(WWW)
    run = machine.renew()
    assert 0 == run.status, run.output
    check(machine, DOMAINS, others)


def test_a_renewal_during_our_own_stuck_publication_follows_it(tmp_path: Path) -> None:
    """The newer certificate cannot be sent yet: exit status 1, and sent when it can be."""
    cloud, machine, others = settled(tmp_path)
    cloud.qiniu.stick(WWW)
    assert 0 == machine.force_renewal().status
    cloud.clock.sleep(HOUR)
    run = machine.force_renewal()
    assert 1 == run.status
    assert f"{WWW} is busy at Qiniu with our own earlier change" in run.output
    cloud.qiniu.unstick(WWW)
    for _ in range(2):
        cloud.clock.sleep(HOUR)
        run = machine.renew()
        assert 0 == run.status, run.output
        check_status(run, machine, DOMAINS)
    check(machine, DOMAINS, others)


# Failed -----------------------------------------------------------------------------------------


def test_a_failed_publication_of_the_first_issuance_costs_the_others_nothing(
        tmp_path: Path) -> None:
    """The good domains keep the certificate, exit status 1 names the bad one; renew deploys it."""
    cloud, machine, others = begin(tmp_path)
    before = cloud.qiniu.serving(WWW)
    cloud.qiniu.fail_next_publication(WWW)
    run = machine.issue(*NAMES)
    assert 1 == run.status
    assert f"Qiniu could not publish the change of {WWW}: verify https crt fail" in run.output
    assert "restored" not in run.output
    assert before.cert_id == cloud.qiniu.serving(WWW).cert_id
    for name in DOMAINS.keys() - {WWW}:
        assert machine.fingerprint() == cloud.qiniu.serving(name).fingerprint
    for _ in range(2):
        cloud.clock.sleep(HOUR)
        run = machine.renew()
        check_status(run, machine, DOMAINS)
    assert 0 == run.status, run.output
    cloud.clock.sleep(HOUR)
    check(machine, DOMAINS, others)


def test_a_first_issuance_that_reaches_no_domain_is_taken_back(tmp_path: Path) -> None:
    """certbot's message that the configuration was restored is true; renew deploys it."""
    cloud, machine, others = begin(tmp_path)
    before = {name: cloud.qiniu.serving(name) for name in (WWW, IMG, ".example.com")}
    for name in before:
        cloud.qiniu.fail_next_publication(name)
    run = machine.issue(*NAMES, arguments=("--qiniu-domains", ",".join(before)))
    assert 1 == run.status
    assert "successfully restored your server" in run.output
    assert "certbot puts back what was served before" in run.output
    for name, was in before.items():
        now = cloud.qiniu.serving(name)
        assert (was.cert_id, was.protocol, "failed") == (now.cert_id, now.protocol, now.state)
    for _ in range(2):
        cloud.clock.sleep(HOUR)
        run = machine.renew()
    assert 0 == run.status, run.output
    cloud.clock.sleep(HOUR)
    check(machine, {name: DOMAINS[name] for name in before}, others)


@pytest.mark.parametrize("times", [1, 4])
def test_a_failed_publication_is_sent_again_and_reported_each_time(
        times: int, tmp_path: Path) -> None:
    """Each run that finds a failure exits with 1 and sends again; the first success ends it."""
    cloud, machine, others = settled(tmp_path)
    cloud.qiniu.fail_next_publication(WWW, times=times)
    assert 0 == machine.force_renewal().status
    for _ in range(times):
        cloud.clock.sleep(HOUR)
        run = machine.renew()
        assert 1 == run.status
        assert f"Qiniu could not publish the change of {WWW}" in run.output
        assert [f"PUT api.qiniu.com/domain/{WWW}/httpsconf"] == [
            label for label in changes(run) if "/domain/" in label]
        check_conf(machine)
    cloud.clock.sleep(HOUR)
    run = machine.renew()
    assert 0 == run.status, run.output
    check(machine, DOMAINS, others)


def test_a_failed_switch_to_https_waits_for_the_console(tmp_path: Path) -> None:
    """Qiniu refuses any change after a failed ``sslize``: said each time, the others are served."""
    cloud, machine, others = begin(tmp_path)
    cloud.qiniu.fail_next_publication(APEX)
    assert 1 == machine.issue(*NAMES).status
    for _ in range(2):
        cloud.clock.sleep(HOUR)
        run = machine.renew()
        assert 1 == run.status
        assert APEX in run.output
    cloud.clock.sleep(HOUR)
    check(machine, {name: DOMAINS[name] for name in DOMAINS if name != APEX}, others)
    cloud.qiniu.change_domain(APEX, state="success", state_reason="")
    for _ in range(2):
        run = machine.renew()
        assert 0 == run.status, run.output
        check_status(run, machine, DOMAINS)
        cloud.clock.sleep(HOUR)
    check(machine, DOMAINS, others)


# Somebody else's --------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["issue", "renew"])
def test_a_strangers_change_is_waited_for(verb: str, tmp_path: Path) -> None:
    """A domain busy with another change gets ours as soon as that is published."""
    cloud, machine, others = begin(tmp_path) if verb == "issue" else settled(tmp_path)
    cloud.qiniu.change_domain(WWW, processing=200 if verb == "issue" else 40,
                              operation="modify_cache")
    run = machine.issue(*NAMES) if verb == "issue" else machine.force_renewal()
    assert 0 == run.status, run.output
    check_calls(run)
    check_status(run, machine, DOMAINS)
    cloud.clock.sleep(HOUR)
    assert 0 == machine.renew().status
    check(machine, DOMAINS, others)


def test_a_strangers_change_beyond_the_timeout_is_an_error_until_it_is_over(
        tmp_path: Path) -> None:
    """The renewal says which domain did not get the certificate; the next run brings it."""
    cloud, machine, others = settled(tmp_path)
    cloud.qiniu.change_domain(WWW, processing=2 * HOUR, operation="modify_cache")
    run = machine.force_renewal()
    assert 1 == run.status
    assert f"{WWW} is busy at Qiniu with another change (modify_cache)" in run.output
    check_calls(run)
    cloud.clock.sleep(2 * HOUR)
    for _ in range(2):
        run = machine.renew()
        assert 0 == run.status, run.output
        check_status(run, machine, DOMAINS)
        cloud.clock.sleep(HOUR)
    check(machine, DOMAINS, others)


def test_ours_after_a_strangers_change_is_no_error_beyond_the_timeout(tmp_path: Path) -> None:
    """A domain that was busy and then took our change is being published, and no more busy."""
    cloud, machine, others = begin(tmp_path, publish_seconds=TIMEOUT - 100)
    cloud.qiniu.change_domain(WWW, processing=200, operation="modify_cache")
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    assert f"Qiniu is still publishing {WWW};" in run.output
    check_status(run, machine, DOMAINS)
    cloud.clock.sleep(HOUR)
    assert 0 == machine.renew().status
    check(machine, DOMAINS, others)


@pytest.mark.parametrize("processing", [None, 40], ids=["done", "in processing"])
def test_https_switched_off_by_qiniu_comes_back_with_its_settings(
        processing: float | None, tmp_path: Path) -> None:
    """Qiniu turns a domain to http after an expiry: ``renew`` restores certificate and settings."""
    cloud, machine, others = settled(tmp_path)
    for name in (WWW, IMG):
        cloud.qiniu.change_domain(name, protocol="http", cert_id="", force_https=False,
                                  http2=False, operation="unsslize", processing=processing)
    run = machine.renew()
    assert 0 == run.status, run.output
    check_calls(run)
    check_status(run, machine, DOMAINS)
    assert {f"PUT api.qiniu.com/domain/{name}/sslize" for name in (WWW, IMG)} == set(changes(run))
    cloud.clock.sleep(HOUR)
    assert 0 == machine.renew().status
    check(machine, DOMAINS, others)


def test_a_certificate_put_there_by_qiniu_is_replaced(tmp_path: Path) -> None:
    """A free certificate that Qiniu itself binds is drift; ours comes back, the settings stay."""
    cloud, machine, _ = settled(tmp_path)
    free = cloud.stranger(WWW, name="free")
    cloud.qiniu.change_domain(WWW, cert_id=free, http2=True, operation="sslize")
    run = machine.renew()
    assert 0 == run.status, run.output
    check_calls(run)
    cloud.clock.sleep(HOUR)
    check(machine, {**DOMAINS, WWW: (True, True)})


# What Qiniu shows -------------------------------------------------------------------------------


@pytest.mark.parametrize("visibility", ["completion", "at once"])
def test_the_run_waits_for_the_edge_whatever_is_shown_before(
        visibility: str, tmp_path: Path) -> None:
    """A new certificate id that shows at once is no proof: ``run`` ends with all of it served."""
    _, machine, others = begin(tmp_path, visibility=visibility)
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    check_calls(run)
    check(machine, DOMAINS, others)


@pytest.mark.parametrize("visibility", ["completion", "at once"])
def test_a_failure_is_seen_whatever_was_shown_before(visibility: str, tmp_path: Path) -> None:
    """A certificate id that showed at once and went away again is a failure all the same."""
    cloud, machine, others = settled(tmp_path, visibility=visibility)
    cloud.qiniu.fail_next_publication(WWW)
    assert 0 == machine.force_renewal().status
    assert 0 == machine.renew().status  # while it is being published
    cloud.clock.sleep(HOUR)
    assert 1 == machine.renew().status
    cloud.clock.sleep(HOUR)
    assert 0 == machine.renew().status
    check(machine, DOMAINS, others)


def test_a_list_that_lags_behind_deceives_nobody(tmp_path: Path) -> None:
    """Runs in close succession over lists 2.5 seconds old: all is served, nothing sent twice."""
    cloud, machine, others = begin(tmp_path, list_staleness=2.5, publish_seconds=1)
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    check(machine, DOMAINS, others)
    for _ in range(2):
        run = machine.force_renewal()
        assert 0 == run.status, run.output
        assert len(DOMAINS) == len([label for label in changes(run) if "httpsconf" in label])
        check_status(run, machine, DOMAINS)
        run = machine.renew()
        assert 0 == run.status, run.output
        check_status(run, machine, DOMAINS)
    cloud.clock.sleep(10)
    run = machine.renew()
    assert 0 == run.status, run.output
    check(machine, DOMAINS, others)


def test_a_server_that_ignores_the_filter_proves_nothing(tmp_path: Path) -> None:
    """Every domain in the answer to ``certId``: a failed publication is found nevertheless."""
    cloud, machine, others = settled(tmp_path, ignore_cert_filter=True)
    cloud.qiniu.fail_next_publication(WWW)
    assert 0 == machine.force_renewal().status
    # Changed by somebody meanwhile, so that state and time look like those of a success.
    cloud.clock.sleep(HOUR)
    cloud.qiniu.change_domain(WWW, state="success", state_reason="")
    run = machine.renew()
    check_status(run, machine, DOMAINS)
    cloud.clock.sleep(HOUR)
    run = machine.renew()
    assert 0 == run.status, run.output
    check(machine, DOMAINS, others)


def test_a_server_that_ignores_the_filter_costs_nobody_a_certificate(tmp_path: Path) -> None:
    """Our superseded certificate stays while a domain that we do not manage serves it."""
    cloud, machine, others = settled(tmp_path, ignore_cert_filter=True)
    first = cloud.qiniu.serving(WWW).cert_id
    cloud.qiniu.add_domain("shop.example.net", protocol="https", cert_id=first)
    for _ in range(3):
        for command in (machine.force_renewal, machine.renew):
            run = command()
            assert 0 == run.status, run.output
            check_calls(run)
            cloud.clock.sleep(HOUR)
    assert first == cloud.qiniu.serving("shop.example.net").cert_id
    assert first in {item.cert_id for item in cloud.qiniu.certificates()}
    check(machine, DOMAINS, others, keep=2)
    cloud.qiniu.remove_domain("shop.example.net")
    assert 0 == machine.force_renewal().status
    cloud.clock.sleep(HOUR)
    assert 0 == machine.renew().status
    check(machine, DOMAINS, others)
