"""Two certbot installations, or two lineages, that want the same domains of one account."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.scenarios.account import DOMAINS, NAMES, fill
from tests.scenarios.invariants import Bystanders, changes, check, check_calls, check_conf
from tests.scenarios.machine import Cloud, Machine, Run
from tests.scenarios.together import Turn, alternating, earliest, inside, together

HOUR = 3600
WWW, IMG, APEX = "www.example.com", "img.example.com", "example.com"
RENEWAL = ("renew", "--no-random-sleep-on-renew", "--force-renewal")
HALVES = {"one": (WWW, APEX), "two": (IMG, ".example.com")}
TURNS = pytest.mark.parametrize(
    "turn", [earliest, alternating, *map(inside, range(9))],
    ids=["earliest", "alternating", *(f"inside {number}" for number in range(9))])
MODES = pytest.mark.parametrize(
    ("first", "second"), list(itertools.product(("auto", "listed"), repeat=2)))


class Pair:
    """Two machines, each with a lineage of its own name for the same names.

    :param domains: the domains that each lists; all that the certificate covers without them.
    """

    def __init__(self, directory: Path, domains: Mapping[str, Sequence[str]] | None = None,
                 **switches: Any) -> None:
        self.cloud = Cloud(Switches(**{"publish_seconds": 20, **switches}))
        self.others: Bystanders = fill(self.cloud)
        self.machines = {name: Machine(self.cloud, directory / name) for name in ("one", "two")}
        for name, machine in self.machines.items():
            listed = ("--qiniu-domains", ",".join(domains[name])) if domains else ()
            run = machine.issue(*NAMES, arguments=("--cert-name", name, *listed))
            assert 0 == run.status, run.output
            self.cloud.clock.sleep(HOUR)

    def both(self, *arguments: str, turn: Turn = earliest) -> list[Run]:
        """Run certbot on both at once."""
        return together(*((machine, arguments) for machine in self.machines.values()), turn=turn)

    def renew(self) -> list[Run]:
        """``certbot renew`` on one after the other, with time in between."""
        runs = []
        for machine in self.machines.values():
            runs.append(machine.renew())
            self.cloud.clock.sleep(HOUR)
        return runs


def text(run: Run) -> str:
    """What a run printed, on one line."""
    return " ".join(run.output.split())


# Two machines -----------------------------------------------------------------------------------


@TURNS
def test_renewals_at_once_of_different_domains_do_not_meet(turn: Turn, tmp_path: Path) -> None:
    """However their calls interleave, both succeed, and neither touches what is the other's."""
    pair = Pair(tmp_path, HALVES)
    for run in pair.both(*RENEWAL, turn=turn):
        assert 0 == run.status, run.output
        check_calls(run)
    pair.cloud.clock.sleep(HOUR)
    for run in pair.both("renew", "--no-random-sleep-on-renew", turn=turn):
        assert 0 == run.status, run.output
        check_calls(run)
    for name, machine in pair.machines.items():
        check(machine, {domain: DOMAINS[domain] for domain in HALVES[name]}, pair.others,
              lineage=name)


@TURNS
def test_renewals_at_once_of_the_same_domains_end_with_one_of_the_two(
        turn: Turn, tmp_path: Path) -> None:
    """The newer certificate wins every domain, the other machine says so, and nothing flaps."""
    pair = Pair(tmp_path)
    for run in pair.both(*RENEWAL, turn=turn):
        assert "Traceback" not in run.output, run.output
    pair.cloud.clock.sleep(HOUR)
    for _ in range(2):
        pair.renew()
    ended = dict(zip(pair.machines, pair.renew(), strict=True))
    assert [0, 1] == sorted(run.status for run in ended.values())
    winner, loser = sorted(ended, key=lambda name: ended[name].status)
    assert [] == changes(ended[winner]) + changes(ended[loser])
    assert "another certbot-qiniu installation put there" in text(ended[loser])
    for domain in DOMAINS:
        assert f"{domain} serves certbot_{winner}_" in text(ended[loser])
    check(pair.machines[winner], DOMAINS, pair.others, lineage=winner)
    check_conf(pair.machines[loser], loser)


def test_certificates_of_the_same_second_do_not_flap(tmp_path: Path) -> None:
    """Neither is newer: still one of the two wins for good."""
    pair = Pair(tmp_path)
    pair.both(*RENEWAL)
    ends = {item.not_after for item in pair.cloud.qiniu.certificates()[-2:]}
    assert 1 == len(ends), "otherwise it shows nothing"
    pair.cloud.clock.sleep(HOUR)
    pair.renew()
    for _ in range(3):
        runs = pair.renew()
        assert [0, 1] == sorted(run.status for run in runs)
        assert [[], []] == [changes(run) for run in runs]


def test_the_machine_that_takes_over_keeps_the_domains(tmp_path: Path) -> None:
    """``run`` on a second machine takes the domains; the first one refuses to take them back."""
    pair = Pair(tmp_path)
    for _ in range(3):
        one, two = pair.renew()
        assert (1, 0) == (one.status, two.status)
        assert [] == changes(one) + changes(two)
        assert "leave it out there and run certbot install here" in text(one)
    check(pair.machines["two"], DOMAINS, pair.others, lineage="two")


def test_an_install_alone_does_not_end_the_quarrel(tmp_path: Path) -> None:
    """The machine with the newer certificate takes the domains back, once, and keeps them."""
    pair = Pair(tmp_path)
    one = pair.machines["one"]
    assert 0 == one.certbot("install", "--cert-name", "one", *one.installer).status
    check(one, DOMAINS, pair.others, lineage="one")
    pair.renew()
    for _ in range(2):
        first, second = pair.renew()
        assert (1, 0) == (first.status, second.status)
        assert [] == changes(first) + changes(second)
    check(pair.machines["two"], DOMAINS, pair.others, lineage="two")


def test_leaving_the_domains_out_there_and_an_install_here_does(tmp_path: Path) -> None:
    """The message's advice works: the first machine has the domains for good."""
    pair = Pair(tmp_path)
    one, two = pair.machines.values()
    assert 0 == two.renew("--force-renewal", "--qiniu-domains", IMG).status
    pair.cloud.clock.sleep(HOUR)
    install = ("install", "--cert-name", "one", *one.installer, "--qiniu-domains")
    mine = [domain for domain in DOMAINS if domain != IMG]
    assert 0 == one.certbot(*install, ",".join(mine)).status
    assert 0 == one.renew("--force-renewal", "--qiniu-domains", ",".join(mine)).status
    pair.cloud.clock.sleep(HOUR)
    for _ in range(2):
        for run in pair.renew():
            assert (0, []) == (run.status, changes(run)), run.output
    check(one, {domain: DOMAINS[domain] for domain in mine}, pair.others, lineage="one")
    check(two, {IMG: DOMAINS[IMG]}, pair.others, lineage="two")


def test_the_two_are_parted_by_their_lists(tmp_path: Path) -> None:
    """The message's advice works: a list of its own on each machine ends the conflict."""
    pair = Pair(tmp_path)
    assert 1 == pair.machines["one"].renew().status
    for name, machine in pair.machines.items():
        run = machine.renew("--force-renewal", "--qiniu-domains", ",".join(HALVES[name]))
        assert 0 == run.status, run.output
        pair.cloud.clock.sleep(HOUR)
    for _ in range(2):
        assert [0, 0] == [run.status for run in pair.renew()]
    for name, machine in pair.machines.items():
        check(machine, {domain: DOMAINS[domain] for domain in HALVES[name]}, pair.others,
              lineage=name)


def test_first_issuances_at_once(tmp_path: Path) -> None:
    """Two machines begin at the same time: one of them has the domains in the end."""
    cloud = Cloud(Switches(publish_seconds=20))
    others = fill(cloud)
    machines = {name: Machine(cloud, tmp_path / name) for name in ("one", "two")}
    together(*((machine, ("run", "-a", "standalone", *machine.installer, "--cert-name", name,
                          "-d", NAMES[0], "-d", NAMES[1])) for name, machine in machines.items()))
    for _ in range(3):
        cloud.clock.sleep(HOUR)
        runs = {name: machine.renew() for name, machine in machines.items()}
    assert [0, 1] == sorted(run.status for run in runs.values())
    assert [[], []] == [changes(run) for run in runs.values()]
    winner = min(runs, key=lambda name: runs[name].status)
    check(machines[winner], DOMAINS, others, lineage=winner)


# Two lineages -----------------------------------------------------------------------------------


def claim(machine: Machine, lineage: str, mode: str, *names: str) -> Run:
    """Issue a lineage that has ``www``, listed or not."""
    listed = ("--qiniu-domains", WWW) if mode == "listed" else ()
    run = machine.issue(*names, arguments=("--cert-name", lineage, *listed))
    machine.cloud.clock.sleep(HOUR)
    return run


@MODES
def test_two_lineages_of_one_machine_claim_a_domain(
        first: str, second: str, tmp_path: Path) -> None:
    """The first one keeps it unless the second one lists it; whoever has it, nothing flaps."""
    cloud = Cloud(Switches(publish_seconds=20))
    others = fill(cloud)
    machine = Machine(cloud, tmp_path)
    assert 0 == claim(machine, "first", first, WWW, APEX).status
    run = claim(machine, "second", second, WWW, IMG)
    assert 0 == run.status, run.output
    owner = "second" if second == "listed" else "first"
    if owner == "first":
        assert f"{WWW} is managed by the lineage first: left out" in text(run)
    for renew in (machine.renew, machine.force_renewal, machine.renew, machine.renew):
        run = renew()
        cloud.clock.sleep(HOUR)
        quarrel = first == second == "listed"
        assert int(quarrel) == run.status, run.output
        if quarrel:
            assert (f"{WWW} is managed by the lineage second: take it out of one of the two "
                    "--qiniu-domains lists") in text(run)
        else:
            check_calls(run)
        puts = [label for label in changes(run) if f"/domain/{WWW}/" in label]
        assert len(puts) == (renew == machine.force_renewal), "flapping"
        check(machine, {WWW: DOMAINS[WWW]}, others, lineage=owner)


@MODES
def test_lineages_of_two_machines_claim_a_domain(first: str, second: str, tmp_path: Path) -> None:
    """The one that was issued last has it; the other machine says each time who has, and waits."""
    cloud = Cloud(Switches(publish_seconds=20))
    others = fill(cloud)
    one, two = Machine(cloud, tmp_path / "one"), Machine(cloud, tmp_path / "two")
    assert 0 == claim(one, "first", first, WWW, APEX).status
    assert 0 == claim(two, "second", second, WWW, IMG).status
    for _ in range(3):
        refused, granted = one.renew(), two.renew()
        cloud.clock.sleep(HOUR)
        assert (1, 0) == (refused.status, granted.status)
        assert f"{WWW} serves certbot_second_" in text(refused)
        assert [] == changes(refused) + changes(granted)
    check(two, {WWW: DOMAINS[WWW]}, others, lineage="second")
    if first == "auto":
        check(one, {APEX: DOMAINS[APEX]}, others, lineage="first")


# Two processes ----------------------------------------------------------------------------------


def test_the_state_is_locked_against_a_second_process(tmp_path: Path) -> None:
    """While another process has the state, a renewal says so, changes nothing, and exits with 1."""
    cloud = Cloud(Switches(publish_seconds=20))
    others = fill(cloud)
    machine = Machine(cloud, tmp_path)
    assert 0 == machine.issue(*NAMES).status
    cloud.clock.sleep(HOUR)
    folder = machine.config_dir / "qiniu"
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    program = ("import pathlib, sys; from certbot_qiniu.deployment.store import Store;"
               "Store(pathlib.Path(sys.argv[1])).open(); print('locked', flush=True); input()")
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin
        assert holder.stdout
        assert "locked\n" == holder.stdout.readline()
        run = machine.force_renewal()
        holder.stdin.write("\n")
    assert 1 == run.status
    assert f"Another certbot or certbot-qiniu is at work with {folder}" in text(run)
    assert [] == run.calls
    assert before == {path.name: path.read_bytes() for path in folder.glob("*.json")}
    check_conf(machine)
    for _ in range(2):
        run = machine.renew()
        assert 0 == run.status, run.output
        cloud.clock.sleep(HOUR)
    check(machine, DOMAINS, others)
