"""Whole renewals against a Qiniu that answers with malice, and the first ones after it.

What single calls make of such answers is in ``test_client.py``. Here certbot itself runs, on the
fast track: it must end soon, say so in its exit status, ask nobody else, and be whole afterwards.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certbot_qiniu.qiniu import client
from certbot_qiniu.qiniu.transport import CALLS_PER_SECOND
from tests.sandbox import wire
from tests.sandbox.wire import Request, Response, Switchboard, json_response
from tests.scenarios.machine import Cloud, Machine, Run
from tests.unit.qiniu.test_client import ANYTHING

NAMES = ("example.com", "*.example.com")
DOMAINS = ("example.com", "www.example.com")
DAY = 86_400
MEGABYTE = 1 << 20
LONGEST_SECONDS = 30  # of real time, for a run that ends within one second elsewhere
PROPER_CALL = re.compile(
    r"GET /(sslcert|domain(/[a-z0-9.-]+)?|buckets|cert/bindings|v2/hubs(/\w+/domains)?)|"
    r"POST /sslcert|DELETE /sslcert/\w+|PUT /domain/[a-z0-9.-]+/(sslize|httpsconf)")

Answer = Callable[[Request, Response], Response]
FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


class Malice:
    """Answers in place of the emulator, as long as *answer* is set.

    :ivar obeys: whether changes take place, whatever is said of them.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.qiniu, self.hosts = cloud.qiniu, cloud.qiniu.hosts
        self.answer: Answer | None = None
        self.obeys = False

    def handle(self, request: Request) -> Response:
        if self.answer is None:
            return self.qiniu.handle(request)
        truth = (self.qiniu.handle(request) if self.obeys or request.method == "GET"
                 else Response(200, b"{}"))
        return self.answer(request, truth)


class Patient:
    """A machine with a deployed certificate, and what must be true of it."""

    def __init__(self, directory: Path) -> None:
        self.cloud = Cloud()
        self.malice = Malice(self.cloud)
        self.cloud.board = Switchboard(self.malice, clock=self.cloud.clock.time)
        self.stranger = self.cloud.stranger("www.example.com")
        self.cloud.qiniu.add_domain("example.com")
        self.cloud.qiniu.add_domain("www.example.com", protocol="https", cert_id=self.stranger)
        self.machine = Machine(self.cloud, directory)
        assert 0 == self.machine.issue(*NAMES).status
        self.cloud.clock.sleep(DAY)

    @property
    def state(self) -> str:
        return (self.machine.config_dir / "qiniu" / "state" / "example.com.json").read_text()

    def meets(self, answer: Answer, command: str = "--force-renewal", *, obeys: bool = False,
              **options: Any) -> Run:
        """A renewal that gets such answers, checked for all that holds of every run."""
        self.malice.answer, self.malice.obeys = answer, obeys
        managed = set(json.loads(self.state)["domains"])
        begun = time.monotonic()
        run = self.machine.renew(command, **options)
        assert time.monotonic() - begun < LONGEST_SECONDS
        self.malice.answer = None
        assert "Traceback" not in run.output, run.output
        assert {call.request.host for call in run.calls} <= set(CALLS_PER_SECOND)
        calls = [f"{call.request.method} {call.request.path}" for call in run.calls]
        assert [] == [call for call in calls if not PROPER_CALL.fullmatch(call)]
        assert managed == set(json.loads(self.state)["domains"])
        return run

    def heals(self) -> None:
        """The next runs bring what the malice kept away."""
        for _ in range(2):
            self.cloud.clock.sleep(DAY)
            run = self.machine.renew()
        assert 0 == run.status, run.output
        leaf = self.machine.fingerprint()
        assert [leaf, leaf] == [self.cloud.qiniu.serving(name).fingerprint for name in DOMAINS]
        held = self.cloud.qiniu.certificates()
        assert self.stranger in {item.cert_id for item in held}
        assert 1 == sum(item.fingerprint == leaf for item in held)
        assert [] == self.cloud.qiniu.leaks


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """One machine for all tests, so that it suffers from one after the other."""
    return Patient(tmp_path_factory.mktemp("patient") / "machine")


@FEW
@given(status=st.integers(200, 620) | st.just(200), body=st.one_of(
    ANYTHING.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40)))
def test_same_answer_to_everything(patient: Patient, status: int, body: bytes) -> None:
    """Whatever one answer comes to every call, the run fails and says so."""
    run = patient.meets(lambda request, truth: Response(status, body))
    assert 1 == run.status, run.output
    patient.heals()


def mangled(value: Any, chance: random.Random, junk: Any) -> Any:
    """*value* with *junk* in some of its places."""
    if chance.random() < 0.04:
        return junk
    if isinstance(value, dict):
        return {key: mangled(item, chance, junk) for key, item in value.items()}
    if isinstance(value, list):
        return [mangled(item, chance, junk) for item in value]
    return value


@FEW
@given(seed=st.integers(0, 10**6), junk=ANYTHING)
def test_almost_right_answers(patient: Patient, seed: int, junk: Any) -> None:
    """Answers that are true but for a few places do no lasting harm."""
    chance = random.Random(seed)
    patient.meets(lambda request, truth: json_response(
        truth.status, mangled(json.loads(truth.body or b"{}"), chance, junk)))
    patient.heals()


class Flood:
    """A body of a hundred megabytes, made while it is read."""

    def __init__(self, body: bytes) -> None:
        self.left = 100 * MEGABYTE if body == b"flood" else len(body)
        self.body = body

    def read1(self, amount: int, **_: Any) -> bytes:
        amount = min(amount, self.left)
        self.left -= amount
        return b" " * amount if self.body == b"flood" else self.body[-self.left - amount:][:amount]

    def close(self) -> None:
        pass

    read, release_conn = read1, close


@contextlib.contextmanager
def measured(raw: type = wire._Raw) -> Iterator[None]:
    """Print how much memory a run has taken at most, for bodies that are read from *raw*."""
    with mock.patch.object(wire, "_Raw", raw):
        tracemalloc.start()
        yield
        print(f"peak {tracemalloc.get_traced_memory()[1]}", flush=True)
        tracemalloc.stop()


def peak_megabytes(run: Run) -> float:
    """What :func:`measured` has printed."""
    found = re.search(r"^peak (\d+)$", run.output, re.MULTILINE)
    assert found, run.output
    return int(found[1]) / MEGABYTE


def test_flood(patient: Patient) -> None:
    """Answers of 100 MB are not read to their end."""
    run = patient.meets(lambda request, truth: Response(200, b"flood"),
                        around=lambda: measured(Flood))
    assert 1 == run.status
    assert "the answer is too large" in run.output
    assert peak_megabytes(run) < 64
    patient.heals()


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b"[[]" + b",[]" * 300_000 + b"]",
                                  b'{"code":' + b"9" * 100_000 + b"}"],
                         ids=["deep", "many", "a long number"])
def test_bomb(patient: Patient, bomb: bytes) -> None:
    """Small answers that would become large are an error like others."""
    run = patient.meets(lambda request, truth: Response(200, bomb), around=measured)
    assert 1 == run.status
    assert peak_megabytes(run) < 64 + 60 * len(bomb) / MEGABYTE
    patient.heals()


@pytest.mark.parametrize("size", [1, 1000])
def test_endless_list(patient: Patient, size: int) -> None:
    """A list that never ends is given up, and not taken for the truth."""
    pages = iter(range(10**9))

    def answer(request: Request, truth: Response) -> Response:
        page = next(pages)
        names = [f"h{page}-{number}.example.net" for number in range(size)]
        return json_response(200, {
            "marker": f"m{page}", "domains": [{"name": name} for name in names],
            "certs": [{"certid": name.replace(".", ""), "name": name} for name in names]})

    with (mock.patch.object(client, "MOST_PAGES", 50),
          mock.patch.object(client, "MOST_ENTRIES", 5_000)):
        run = patient.meets(answer, around=measured)
    assert 1 == run.status
    assert re.search(r"no end after (50|6) pages", run.output)
    assert peak_megabytes(run) < 64
    patient.heals()


@pytest.mark.parametrize(("status", "location"), [
    (301, "http://api.qiniu.com/domain"), (302, "https://elsewhere.example/domain"),
    (303, "//elsewhere.example/"), (307, "https://fusion.qiniuapi.com/domain"),
    (308, "file:///etc/passwd")])
def test_redirect(patient: Patient, status: int, location: str) -> None:
    """No redirect is followed, wherever it leads."""
    run = patient.meets(lambda request, truth: Response(status, b"", {"Location": location}))
    assert 1 == run.status
    assert "Qiniu does not redirect" in run.output
    patient.heals()


TRICKS = ("../sslcert", "www.example.com/../../sslcert/1", "%2e%2e%2fsslcert", "a%2fb.example.com",
          "www.example.com\n", "www.example.com\r\nX-Evil: 1", "www.example.com?x=1", "..", ".",
          "www.example.com#", "x y.example.com", "-.example.com", "\u202ewww.example.com", "",
          "a" * 70_000, "@elsewhere.example")


def test_tricky_names(patient: Patient) -> None:
    """Names that could lead elsewhere are left out; the others get what they should."""
    def answer(request: Request, truth: Response) -> Response:
        value = json.loads(truth.body)
        if isinstance(value, list):
            return truth  # of another service
        for listed, name in (("domains", "name"), ("certs", "certid")):
            for entry in tuple(value.get(listed, ())):
                value[listed] += [{**entry, "protocol": "https", name: trick} for trick in TRICKS]
        return json_response(truth.status, value)

    for command in ("--force-renewal", "--quiet"):  # the second one cleans up
        run = patient.meets(answer, command, obeys=True)
        assert 0 == run.status, run.output
        assert "X-Evil" not in repr([call.request.headers for call in run.calls])
        patient.cloud.clock.sleep(DAY)
    patient.heals()
