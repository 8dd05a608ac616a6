"""Qiniu's limits on calls: kept with hundreds of domains, and survived if others use them up."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import requests
from qiniu.auth import Auth, RequestsAuth

from certbot_qiniu.qiniu.transport import API, CALLS_PER_SECOND, FUSION, Throttle
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Carrier
from tests.scenarios.invariants import Bystanders, bystanders, check, check_status
from tests.scenarios.machine import Clock, Cloud, Machine, Run
from tests.scenarios.together import together

HOUR = 3600
THROTTLED = {400, 403, 429, 573}
ANSWERS = pytest.mark.parametrize(
    ("answer", "retry_after"), list(itertools.product(("403024", "429", "573"), (None, 3))))


def account(count: int, **switches: Any) -> tuple[Cloud, dict[str, tuple[bool, bool]], Bystanders]:
    """An account with *count* domains on somebody else's certificate."""
    cloud = Cloud(Switches(publish_seconds=60, enforce_rate=True, **switches))
    old = cloud.stranger("*.example.com")
    domains = {f"d{number:03}.example.com": (number % 2 == 0, number % 3 == 0)
               for number in range(count)}
    for name, (force_https, http2) in domains.items():
        cloud.qiniu.add_domain(name, protocol="https", cert_id=old, force_https=force_https,
                               http2=http2)
    return cloud, domains, bystanders(cloud)


def throttled(*runs: Run) -> int:
    """How many answers said that there were too many calls."""
    return sum(call.status in THROTTLED for run in runs for call in run.calls)


READINGS = ("sliding second", "calendar second", "bucket", "drip")


@pytest.mark.parametrize(("reading", "answer"), list(zip(
    READINGS, ("403024", "429", "573", "400"), strict=True)))
def test_three_hundred_domains_stay_below_the_documented_limits(
        reading: Any, answer: Any, tmp_path: Path) -> None:
    """Issuance, renewal and confirmation of 300 domains: not one call too many, however counted."""
    cloud, domains, others = account(300, rate_reading=reading, rate_limit_answer=answer)
    machine = Machine(cloud, tmp_path)
    runs = [machine.issue("example.com", "*.example.com")]
    for run in (machine.force_renewal, machine.renew):
        cloud.clock.sleep(HOUR)
        runs.append(run())
    assert [0, 0, 0] == [run.status for run in runs], runs[-1].output
    assert 0 == throttled(*runs)
    assert 900 < sum(len(run.calls) for run in runs)  # otherwise it shows nothing
    check(machine, domains, others)


def refused(host: str, reading: Any, arrivals: Iterable[float]) -> int:
    """How many of the calls that reach *host* at these times are refused."""
    cloud = Cloud(Switches(enforce_rate=True, rate_reading=reading, lenient_auth=True,
                           rate_limit_answer="429"))
    session, count = requests.Session(), 0
    session.mount("https://", Carrier(cloud.board))
    begun = math.floor(cloud.clock.now) + 1
    auth = RequestsAuth(Auth(ACCESS_KEY, SECRET_KEY))
    for at in sorted(arrivals):
        cloud.clock.now = begun + at
        answer = session.get(f"https://{host}/sslcert", auth=auth)
        count += answer.status_code == 429
    return count


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("host", [API, FUSION])
def test_pace(host: str, reading: Any) -> None:
    """Slots pass any reading; of a burst, be it of as many calls a second, each refuses some."""
    slots = evenly(host, 100)
    assert 0 == refused(host, reading, slots)
    assert refused(host, reading, [2 * (slot // 2) for slot in slots])


@pytest.mark.parametrize("reading", READINGS[:3])
@pytest.mark.parametrize("host", [API, FUSION])
def test_pace_on_a_real_network(host: str, reading: Any) -> None:
    """Calls that are up to 50 ms late pass as well, unless not one may be early."""
    late = random.Random(14)
    assert 0 == refused(host, reading, [
        slot + late.uniform(0, 0.05) for slot in evenly(host, 500)])


def evenly(host: str, count: int) -> list[float]:
    """When so many calls in a row leave."""
    clock = Clock()
    begun, clock.now = clock.now, clock.now
    throttle = Throttle(CALLS_PER_SECOND[host], lambda: clock.now)
    return [(throttle.wait(clock.sleep), clock.now - begun)[1] for _ in range(count)]


@ANSWERS
def test_what_others_leave_of_the_limits_is_enough(
        answer: Any, retry_after: int | None, tmp_path: Path) -> None:
    """With a few calls a second left to us many are refused at first, but no run fails."""
    cloud, domains, others = account(40, rate_limit_answer=answer, retry_after=retry_after,
                                     api_rate=3, fusion_rate=1)
    machine = Machine(cloud, tmp_path)
    runs = [machine.issue("example.com", "*.example.com")]
    for run in (machine.force_renewal, machine.renew):
        cloud.clock.sleep(HOUR)
        runs.append(run())
        check_status(runs[-1], machine, domains)
    assert [0, 0, 0] == [run.status for run in runs], runs[-1].output
    assert throttled(*runs) > 10
    check(machine, domains, others)


@ANSWERS
def test_two_machines_at_once_share_the_limits(
        answer: Any, retry_after: int | None, tmp_path: Path) -> None:
    """Together they exceed the limits, so they are throttled; neither fails."""
    cloud, domains, others = account(60, rate_limit_answer=answer, retry_after=retry_after)
    half = dict(list(domains.items())[:30])
    shares = {"one": half, "two": {name: domains[name] for name in domains.keys() - half}}
    machines = {name: Machine(cloud, tmp_path / name) for name in shares}
    for name, machine in machines.items():
        assert 0 == machine.issue(
            "example.com", "*.example.com",
            arguments=("--qiniu-domains", ",".join(shares[name]), "--cert-name", name)).status
    cloud.clock.sleep(HOUR)
    command = ["renew", "--no-random-sleep-on-renew", "--force-renewal"]
    runs = together(*((machine, command) for machine in machines.values()))
    assert [0, 0] == [run.status for run in runs], [run.output for run in runs]
    assert throttled(*runs)  # otherwise it shows nothing
    cloud.clock.sleep(HOUR)
    assert [0, 0] == [machine.renew().status for machine in machines.values()]
    for name, machine in machines.items():
        check(machine, shares[name], others, lineage=name)
