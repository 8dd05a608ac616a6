"""Waiting for Qiniu: how long, what is seen of it, and what the first and the second signal do."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Fault
from tests.scenarios.account import DOMAINS, NAMES, fill
from tests.scenarios.invariants import changes, check
from tests.scenarios.machine import Cloud, Machine, Run

WWW, IMG, APEX = "www.example.com", "img.example.com", "example.com"
HOUR = 3600.0
CERTBOT = importlib.metadata.version("certbot").split(".")[0]
GOES_ON = "Not waited for any longer: Qiniu goes on with"


class Seat(Machine):
    """A certbot installation whose account holds other people's things, too."""

    def __init__(self, directory: Path) -> None:
        cloud = Cloud(Switches(publish_seconds=600))
        self.others = fill(cloud)
        super().__init__(cloud, directory)

    def check(self) -> None:
        """All is served, and nobody else's touched."""
        check(self, DOMAINS, self.others)


def issued(directory: Path) -> Seat:
    """The account some time after it."""
    machine = Seat(directory)
    assert 0 == machine.issue(*NAMES).status
    machine.cloud.clock.sleep(HOUR)
    return machine


@contextlib.contextmanager
def disturbed(machine: Seat, *signals: int, after: float = 30) -> Iterator[None]:
    """Let a run get signals, one right after the other, once it has slept for some seconds."""
    clock, left = machine.cloud.clock, list(signals)
    begun = clock.now
    sleep = type(clock).sleep

    def sleeping(seconds: float) -> None:
        sleep(clock, seconds)
        while left and clock.now - begun >= after:
            os.kill(os.getpid(), left.pop(0))

    with mock.patch.object(clock, "sleep", sleeping):
        yield


def interrupted(machine: Seat, *signals: int, arguments: tuple[str, ...] = ()) -> Run:
    """An issuance that gets signals."""
    with disturbed(machine, *signals):
        return machine.issue(*NAMES, arguments=arguments)


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])


@SIGNALS
def test_the_first_signal_stops_the_waiting_alone(number: int, tmp_path: Path) -> None:
    """Qiniu and the next renew finish the sent changes: exit status 0, nothing taken back."""
    machine = Seat(tmp_path)
    begun = machine.cloud.clock.now
    run = interrupted(machine, number)
    assert 0 == run.status, run.output
    assert machine.cloud.clock.now - begun < 60
    assert f"{GOES_ON} {', '.join(sorted(DOMAINS))}; the next certbot renew" in run.output
    machine.cloud.clock.sleep(HOUR)
    run = machine.renew()
    assert (0, []) == (run.status, changes(run)), run.output
    machine.check()


@SIGNALS
def test_the_first_signal_names_what_was_not_sent(number: int, tmp_path: Path) -> None:
    """A domain that is busy did not get the certificate: exit status 1, and the rest keeps it."""
    machine = Seat(tmp_path)
    machine.cloud.qiniu.change_domain(WWW, processing=500, operation="modify_cache")
    run = interrupted(machine, number)
    assert 1 == run.status
    assert f"{WWW} is busy at Qiniu with another change" in run.output
    assert "restored" not in run.output
    machine.cloud.clock.sleep(HOUR)
    assert machine.fingerprint() == machine.cloud.qiniu.serving(IMG).fingerprint


def test_the_first_signal_holds_for_the_whole_process(tmp_path: Path) -> None:
    """A later enhancement's change is not waited for, either."""
    machine = Seat(tmp_path)
    begun = machine.cloud.clock.now
    run = interrupted(machine, signal.SIGINT, arguments=("--hsts",))
    assert machine.cloud.clock.now - begun < 60
    assert GOES_ON in run.output
    assert 1 == run.status  # the header was not sent, as Qiniu takes one change after the other
    assert f"{IMG}: HSTS is not switched on yet" in run.output


@SIGNALS
@pytest.mark.parametrize("first", ["issuance", "later"])
def test_the_second_signal_leaves_at_once(number: int, first: str, tmp_path: Path) -> None:
    """certbot puts the file back, cannot put the domains back, and never says that it did."""
    if first == "later" and CERTBOT == "4":
        pytest.skip("certbot 4 asks the authority before it issues once more")
    machine = Seat(tmp_path) if first == "issuance" else issued(tmp_path)
    state = machine.config_dir / "qiniu" / "state" / f"{APEX}.json"
    before = state.read_text() if state.exists() else ""
    begun = machine.cloud.clock.now
    run = interrupted(machine, number, number, arguments=("--force-renewal",))
    assert 1 == run.status, run.output
    assert machine.cloud.clock.now - begun < 60
    assert "successfully restored" not in run.output
    assert re.search(r"still gets? the new certificate", run.output), run.output
    if before:
        assert before == state.read_text()
    else:
        assert IMG not in state.read_text()
    machine.cloud.clock.sleep(HOUR)
    for _ in range(2):
        machine.renew()
        machine.cloud.clock.sleep(HOUR)
    assert 0 == machine.renew().status
    machine.check()


@SIGNALS
def test_the_second_signal_ends_an_enhancement(number: int, tmp_path: Path) -> None:
    """It is undone as far as that goes, and the exit status says so."""
    machine = issued(tmp_path)
    state = machine.config_dir / "qiniu" / "state" / f"{APEX}.json"
    before = state.read_text()
    with disturbed(machine, number, number):
        run = machine.certbot("enhance", "--cert-name", APEX, *machine.installer, "--hsts")
    assert 1 == run.status, run.output
    assert "Not every domain at Qiniu is back to what it served before" in run.output
    assert before == state.read_text()
    for _ in range(2):
        machine.cloud.clock.sleep(HOUR)
        assert 0 == machine.renew().status
    machine.check()


def test_a_renewal_waits_a_minute_in_all(tmp_path: Path) -> None:
    """Busy domains of several lineages hold a timer's run up for a minute together."""
    machine = Seat(tmp_path)
    cloud = machine.cloud
    for name in ("a.example.net", "b.example.net"):
        cloud.qiniu.add_domain(name, protocol="https", cert_id=cloud.stranger(name))
        assert 0 == machine.issue(name).status
    cloud.clock.sleep(HOUR)
    for name in ("a.example.net", "b.example.net"):
        cloud.qiniu.change_domain(name, processing=2 * HOUR, operation="modify_cache")
    begun = cloud.clock.now
    run = machine.force_renewal()
    assert 1 == run.status
    for name in ("a.example.net", "b.example.net"):
        assert f"{name} is busy at Qiniu with another change" in run.output
    assert 60 <= cloud.clock.now - begun < 75


def test_what_a_run_has_waited_counts(tmp_path: Path) -> None:
    """The option is for the whole process: an enhancement's restart gets what is left of it."""
    machine = Seat(tmp_path)
    machine.cloud.qiniu.stick(WWW)
    begun = machine.cloud.clock.now
    machine.issue(*NAMES, arguments=("--hsts", "--qiniu-publish-timeout", "900"))
    assert 900 <= machine.cloud.clock.now - begun < 960


def test_no_waiting_at_all(tmp_path: Path) -> None:
    """With 0 all is sent and left to Qiniu."""
    machine = Seat(tmp_path)
    begun = machine.cloud.clock.now
    run = machine.issue(*NAMES, arguments=("--qiniu-publish-timeout", "0"))
    assert 0 == run.status, run.output
    assert machine.cloud.clock.now - begun < 10
    assert "Waiting" not in run.output
    machine.cloud.clock.sleep(HOUR)
    machine.check()


def test_a_clock_that_is_set_back_does_not_matter(tmp_path: Path) -> None:
    """Durations are measured by a clock that nobody sets: two hours back prolong nothing."""
    machine = Seat(tmp_path)
    cloud = machine.cloud
    cloud.qiniu.stick(WWW)
    clock = cloud.clock
    begun, steps = clock.now, [2 * HOUR]

    def sleep(seconds: float) -> None:
        type(clock).sleep(clock, seconds)
        if steps and clock.now - begun > 100:
            clock.set_back(steps.pop())

    with mock.patch.object(clock, "sleep", sleep):
        assert 0 == machine.issue(*NAMES).status
    assert 1800 <= clock.now - begun < 1900


def test_progress_in_a_pipe(tmp_path: Path) -> None:
    """A line a minute says how long it took so far, and how many domains are left."""
    run = Seat(tmp_path).issue(*NAMES)
    lines = [line for line in run.output.splitlines() if line.startswith("Waiting for Qiniu")]
    assert 10 <= len(lines) <= 12, run.output
    assert lines[0].startswith("Waiting for Qiniu, 0:00: 4 domains left (8 to 15 minutes are usual")
    assert lines[1].startswith("Waiting for Qiniu, 1:00: 4 domains left")


def test_no_progress_for_a_timer(tmp_path: Path) -> None:
    """A renewal that waits for a busy domain says no word of that to cron's mail."""
    machine = issued(tmp_path)
    machine.cloud.qiniu.change_domain(WWW, processing=40, operation="modify_cache")
    run = machine.force_renewal()
    assert 0 == run.status, run.output
    assert "Waiting" not in run.output


def test_quiet(tmp_path: Path) -> None:
    """``--quiet`` shows nothing of a run at all."""
    run = Seat(tmp_path).issue(*NAMES, arguments=("--quiet",))
    assert (0, "") == (run.status, run.output)


def test_an_outage_while_waiting(tmp_path: Path) -> None:
    """Nothing is put back of what Qiniu has taken: exit status 1; the next renew confirms it."""
    machine = Seat(tmp_path)
    clock, board = machine.cloud.clock, machine.cloud.board
    sleep = type(clock).sleep

    def away(seconds: float) -> None:
        sleep(clock, seconds)
        if len(board.calls("PUT ")) == len(DOMAINS):
            board.arm(Fault("reset"), times=10**6)

    with mock.patch.object(clock, "sleep", away):
        run = machine.issue(*NAMES)
    assert 1 == run.status
    assert "The rest has it and keeps it; nothing was put back" in run.output, run.output
    assert "restored" not in run.output
    clock.sleep(HOUR)
    run = machine.renew()
    assert (0, []) == (run.status, changes(run)), run.output
    machine.check()


def test_signals_between_waits_are_certbots(tmp_path: Path) -> None:
    """Before anything is waited for, Ctrl-C ends the run as it always did."""
    machine = Seat(tmp_path)
    run = machine.issue(*NAMES, interrupt_at=lambda request: request.method == "PUT")
    assert run.status
    assert GOES_ON not in run.output

