"""Every fault at every call: whatever happens during one run, the next two end well.

The matrix is generated: a scenario is run once undisturbed to count its calls to Qiniu, then once
for every call and every fault, from the same state. The default is the smaller account; with
``make test-full`` a larger one follows.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.sandbox.process import until
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.stack import ACCOUNT, Sandbox
from tests.sandbox.wire import Fault, Request, Response, json_response
from tests.scenarios.machine import Cloud, Machine, Run

HOUR = 3600


def _reply(status: int, value: object, **headers: str) -> Fault:
    return Fault("reply", json_response(status, value, **headers))


TRANSIENT: dict[str, Fault] = {
    "refused connection": Fault("refuse"),
    "reset before": Fault("reset"),
    "reset after": Fault("reset_after"),
    "read timeout": Fault("timeout"),
    "timeout after": Fault("timeout_after"),
    "truncated JSON": Fault("truncate"),
    "HTML 502": Fault("reply", Response(502, b"<html>502 Bad Gateway</html>")),
    "500215": _reply(500, {"code": 500215, "error": "retry later"}),
    "503": Fault("reply", Response(503)),
    "429": _reply(429, {"error": "too many requests"}),
    "429 Retry-After": _reply(429, {"error": "too many requests"}, **{"Retry-After": "7"}),
    "573": _reply(573, {"error": "request rate too high"}),
    "403024": _reply(403, {"code": 403024, "error": "QPS exceeded"}),
}
"""One of these never fails a run."""

HARD: dict[str, Fault] = {
    "401": _reply(401, {"code": 401001, "error": "bad token"}),
    "612": _reply(612, {"code": 612, "error": "no such domain"}),
    "empty 200": Fault("reply", Response(200)),
}
"""These may fail the run in which they occur."""

FATAL = ("SIGKILL", "SIGINT")
NAMES = ("example.com", "*.example.com")


@dataclass
class Case:
    """One account, one machine, and what must hold in the end."""

    cloud: Cloud
    machine: Machine
    domains: dict[str, tuple[bool, bool]]  # name -> forced HTTPS and HTTP/2 that it must keep
    strangers: set[str]

    def issue(self, **options: Any) -> Run:
        """``certbot run`` for all services."""
        return self.machine.issue(
            *NAMES, arguments=("--qiniu-services", "cdn,kodo,pili"), **options)

    def wanted(self) -> dict[str, tuple[str, str, bool, bool]]:
        leaf = self.machine.fingerprint()
        return {name: ("https", leaf, *settings) for name, settings in self.domains.items()}

    def served(self) -> dict[str, tuple[str, str, bool, bool]]:
        now = {name: self.cloud.qiniu.serving(name) for name in self.domains}
        return {name: (s.protocol, s.fingerprint, s.force_https, s.http2)
                for name, s in now.items()}

    def on_the_way(self) -> bool:
        """Whether every domain serves what it should, or will once Qiniu has published it."""
        saved = self.cloud.save()
        self.cloud.clock.sleep(HOUR)
        arrived = self.served() == self.wanted()
        self.cloud.restore(saved)
        return arrived

    def check(self, where: str) -> None:
        """All that must hold after the last run."""
        leaf = self.machine.fingerprint()
        assert self.wanted() == self.served(), where
        remote = self.cloud.qiniu.certificates()
        ours = [item for item in remote if item.cert_id not in self.strangers]
        assert 1 == sum(item.fingerprint == leaf for item in ours), f"{where}: copies"
        assert len(ours) <= 2, f"{where}: {[item.name for item in ours]}"
        assert self.strangers <= {item.cert_id for item in remote}, where
        conf = (self.machine.config_dir / "renewal" / "example.com.conf").read_text()
        assert "installer = qiniu\n" in conf, where
        assert "qiniu_credentials = " in conf, where
        assert [] == self.cloud.qiniu.leaks, where


def build(directory: Path, *, large: bool) -> Case:
    """The account before the first issuance."""
    cloud = Cloud(Switches(publish_seconds=3))
    old = cloud.stranger("www.example.com", "*.example.com")
    parked = cloud.stranger("parked.example.net", name="certbot_example.com_0123456789ab")
    add = cloud.qiniu.add_domain
    add("www.example.com", protocol="https", cert_id=old, force_https=True)
    add("example.com")
    add("other.example.org", protocol="https", cert_id=parked)
    domains = {"www.example.com": (True, False), "example.com": (True, True)}
    if large:
        add("img.example.com", protocol="https", cert_id=old, http2=True)
        add(".example.com", kind="wildcard", protocol="https", cert_id=old)
        cloud.qiniu.add_bucket("bucket")
        cloud.qiniu.add_source_domain("source.example.com", "bucket", old)
        cloud.qiniu.add_hub("hub")
        cloud.qiniu.add_live_domain("hub", "live.example.com", cert_name="a stranger's")
        domains |= {"img.example.com": (False, True), ".example.com": (False, False),
                    "source.example.com": (False, False), "live.example.com": (False, False)}
    return Case(cloud, Machine(cloud, directory / "machine"), domains, {old, parked})


@dataclass
class Scenario:
    """A run that is disturbed, from a state that is restored for every case."""

    case: Case
    run: Callable[..., Run]

    def __post_init__(self) -> None:
        self._folder = self.case.machine.directory
        self._copy = self._folder.with_name("saved")
        if self._folder.exists():
            shutil.copytree(self._folder, self._copy, symlinks=True)
        self._saved = self.case.cloud.save()

    def reset(self) -> None:
        """Go back to the state before the run."""
        shutil.rmtree(self._folder)
        shutil.copytree(self._copy, self._folder, symlinks=True)
        self.case.cloud.restore(self._saved)
        self.case.cloud.board.disarm()
        self.case.cloud.board.clear()


def first_issuance(directory: Path, *, large: bool) -> Scenario:
    """``certbot run`` on an account that certbot has not touched."""
    case = build(directory, large=large)
    return Scenario(case, case.issue)


def forced_renewal(directory: Path, *, large: bool) -> Scenario:
    """A renewal after two others, so that there is something to clean up."""
    case = build(directory, large=large)
    assert 0 == case.issue().status
    for _ in range(2):
        case.cloud.clock.sleep(HOUR)
        assert 0 == case.machine.force_renewal().status
        case.cloud.clock.sleep(HOUR)
        assert 0 == case.machine.renew().status
    return Scenario(case, case.machine.force_renewal)


def confirming_renew(directory: Path, *, large: bool) -> Scenario:
    """The plain ``certbot renew`` after a renewal, which confirms and cleans up."""
    case = forced_renewal(directory, large=large).case
    shutil.rmtree(case.machine.directory.with_name("saved"))
    assert 0 == case.machine.force_renewal().status
    case.cloud.clock.sleep(HOUR)
    return Scenario(case, case.machine.renew)


SCENARIOS = {"first issuance": first_issuance, "forced renewal": forced_renewal,
             "confirming renew": confirming_renew}


@contextlib.contextmanager
def disk_full(at: int) -> Iterator[None]:
    """The write number *at* of a state file finds no room on the disk."""
    real, count = os.fsync, [0]

    def fsync(handle: int) -> None:
        count[0] += 1
        if count[0] - 1 == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with mock.patch("certbot_qiniu.files.os.fsync", fsync):
        yield


def nth(number: int) -> Callable[[Request], bool]:
    """True at the call number *number*."""
    count = [0]

    def match(_request: Request) -> bool:
        count[0] += 1
        return count[0] - 1 == number

    return match


def disturbed(scenario: Scenario, fault: str, index: int) -> Run:
    """The scenario's run with one fault."""
    options: dict[str, Any] = {}
    if fault == "SIGKILL":
        options["kill_at"] = nth(index)
    elif fault == "SIGINT":
        options["interrupt_at"] = nth(index)
    elif fault == "disk full":
        options["around"] = lambda: disk_full(index)
    else:
        scenario.case.cloud.board.arm({**TRANSIENT, **HARD}[fault], skip=index)
    return scenario.run(**options)


def judge(scenario: Scenario, fault: str, index: int) -> str:
    """Run one case and what follows; say in a word how it went.

    :raises AssertionError: if anything is not as it must be.
    """
    case, where = scenario.case, f"{fault} at {index}"
    run = disturbed(scenario, fault, index)
    case.cloud.board.disarm()  # it struck in a fork of this process
    where += f"\n{run.output}"
    issued = (case.machine.config_dir / "renewal" / "example.com.conf").exists()
    reached = issued and case.on_the_way()
    assert run.status != 0 or reached, f"{where}: exit 0 although not deployed"
    if fault in TRANSIENT:
        assert 0 == run.status, f"{where}: a passing fault failed the run"
    assert "Traceback" not in run.output, where
    if not issued:
        assert [] == _changes(run), where
        assert 0 == case.issue().status, where
    first = run.status
    outcome = "ok" if not first else "killed" if first < 0 else "failed, healed"
    for _ in range(2):
        case.cloud.clock.sleep(HOUR)
        run = case.machine.renew()
        where += f"\n--- renew: {run.status}\n{run.output}"
        assert run.status or case.on_the_way(), f"{where}: exit 0 although not deployed"
        if not run.status and not _changes(run):
            break  # nothing was left to do
    assert 0 == run.status, where
    case.cloud.clock.sleep(HOUR)
    case.check(where)
    return outcome


def _changes(run: Run) -> list[str]:
    return [call.request.label for call in run.calls if call.request.method != "GET"]


def run_row(name: str, directory: Path, fault: str, *, large: bool,
            record: Callable[[str, object], None]) -> None:
    """Run one fault at every call of a scenario, and fail with the first few that went wrong."""
    scenario = SCENARIOS[name](directory, large=large)
    undisturbed = scenario.run()
    assert 0 == undisturbed.status, undisturbed.output
    cells, failures = [], []
    for index in range(len(undisturbed.calls)):
        scenario.reset()
        try:
            cells.append(CELLS[judge(scenario, fault, index)])
        except AssertionError as error:
            failures.append(str(error))
            cells.append("!")
    record("fault matrix", [f"{name}{', larger account' if large else ''}", fault, cells])
    assert not failures, f"{len(failures)} of {len(cells)}:\n\n" + "\n\n".join(failures[:3])


CELLS = {"ok": ".", "killed": "x", "failed, healed": "h"}
FAULTS = (*TRANSIENT, *HARD, *FATAL, "disk full")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_fault_at_every_call(name: str, fault: str, tmp_path: Path,
                             record_property: Callable[[str, object], None]) -> None:
    """Two domains: after the fault at any call, two plain renews end with everything right."""
    run_row(name, tmp_path, fault, large=False, record=record_property)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_fault_at_every_call_of_a_larger_account(
        name: str, fault: str, tmp_path: Path,
        record_property: Callable[[str, object], None]) -> None:
    """The same with all kinds of domains."""
    run_row(name, tmp_path, fault, large=True, record=record_property)


@pytest.mark.programs
@pytest.mark.parametrize(("fault", "call"), [
    (Fault("reset_after"), "POST fusion.qiniuapi.com/sslcert"),
    (Fault("truncate"), "PUT api.qiniu.com/domain/www.example.com"),
    (_reply(500, {"code": 500215, "error": "retry later"}), "GET api.qiniu.com/domain"),
    (_reply(401, {"code": 401001, "error": "bad token"}), "PUT api.qiniu.com/domain/example.com"),
    (None, "POST fusion.qiniuapi.com/sslcert"),
    (None, "PUT api.qiniu.com/domain/www.example.com"),
], ids=["lost upload", "cut-off answer", "500215", "401", "killed at the upload",
        "killed at a bind"])
def test_sample_through_the_real_command_line(
        sandbox: Sandbox, fault: Fault | None, call: str) -> None:
    """The same with certbot as a program, through the proxy, killed by a real SIGKILL."""
    sandbox.qiniu.add_domain("www.example.com")
    sandbox.qiniu.add_domain("example.com")
    sandbox.certbot("run", *sandbox.aliyun, *ACCOUNT, "-i", "qiniu", "--qiniu-skip-nginx",
                    "--qiniu-credentials", str(sandbox.credentials_path), "-d", "example.com",
                    "-d", "www.example.com")
    process = sandbox.popen("renew", "--force-renewal")
    sandbox.board.arm(fault or Fault("hook", hook=lambda _: process.kill()), match=call)
    output = process.communicate(timeout=90)
    assert "Traceback" not in output[1]
    assert process.returncode in ({-9} if fault is None else {0} if "401" not in str(
        fault.response) else {1})
    for _ in range(2):
        until(lambda: all(sandbox.qiniu.serving(name).state == "success"
                          for name in ("www.example.com", "example.com")), "publication")
        last = sandbox.certbot("renew", check=False)
    assert 0 == last.returncode
    leaf = sandbox.lineage_fingerprint("example.com")
    assert {leaf} == {sandbox.qiniu.serving(name).fingerprint
                      for name in ("www.example.com", "example.com")}
    assert 1 == sum(item.fingerprint == leaf for item in sandbox.qiniu.certificates())
