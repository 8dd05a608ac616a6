"""Ten years of renewals on a virtual clock: ``python -m benchmarks.simulation``.

The target ``qiniu`` is the real one with all below it: the desired state, the planner, the
reconciler, the clean-up, rollbacks and their hold. Qiniu is a few dictionaries
(:mod:`benchmarks.simulated`). Beside it runs what a deploy hook does that certbot calls only after
a renewal: one try, one domain after the other, ended by the first failure.

What is simplified, all of it:

* A fault is a call that has failed for good. The real transport repeats each up to five times, so
  that 20 % here are far worse than 20 % of lost requests there. The hook has no repeats to lose.
  Half of the faults hit after Qiniu has acted.
* Issuance never fails, and nginx is left out: both are the same with and without us.
* The files are in memory, and certbot's reverter is a list, of which nothing is pruned. A crash
  loses what was not written. A renewal that finds them as the last run has left them does not read
  them again.
* Every publication succeeds, in 8 to 15 minutes. Calls take 0.2 seconds, one after the other.
* Who has a domain uploads a certificate for it by hand before certbot is to manage it. That is
  good for ten more days at least (a third of the lifetime, if that is less): who has hardly
  any time left when he begins is not saved by any tool from an outage of four days.
* The user reads what is printed, and does what it tells him within two days: a
  ``certbot renew --force-renewal``; and a ``certbot install``, half a day later again should it
  fail, if a run has failed as a rollback keeps a domain on what nothing else ends.
  The first run tells him, not ``reconfigure``, which does so earlier.
* He rolls back by one to three checkpoints. Nobody waits for a certificate that he has taken back.
* A rollback also keeps the newest certificate from domains that are new, and nothing watches what
  those serve meanwhile. So he rolls back once all that are new were reached, and who adds a domain
  later runs ``certbot install``, as ``certbot-qiniu status`` says all the while.
* Once all domains of a lineage serve what they should, its runs are leapt over until something
  happens: they would read, delete what is left to delete, and change nothing that anybody is
  served. ``leap=False`` runs them all.
* The hook's list of domains is kept up to date by hand, at no cost. Who takes it into use runs it
  once for what he has, and forces a renewal, within two days, as often as that fails. Later, run
  by a timer, it is heard by nobody. It knows no rollbacks.
* Six-day certificates are accepted, although Qiniu is reported to refuse everything with less than
  30 days left, as it does here with all others. They are renewed twenty times as often, so that
  the table has a tenth of the years for them.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import random
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks.simulated import START, Crash, Files, Qiniu, Result, Versions, zone_of
from certbot_qiniu import errors
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.deployment.writing import Writer
from certbot_qiniu.failures import Failures
from certbot_qiniu.model import DAY, covering_name
from certbot_qiniu.options import Settings
from certbot_qiniu.qiniu.account import Account, Accounts
from certbot_qiniu.targets.qiniu import QiniuTarget

RUN_EVERY = DAY / 2
CRASH_CALLS = 20
SHORT_LIVED_DAYS = 10
MINIMUM_DAYS = 30
HAND_DAYS = 10
USER_DAYS = 2
ROLLED_BACK = 3
SETTINGS = Settings(None, None, None, 1, 1800, "", None, True)
FORCE = re.compile(r"certbot renew --force-renewal --cert-name ([\w.-]*\w)")
INSTALL = re.compile(r"nothing but a newer one changes that\. To deploy the newest certificate "
                     r"now: certbot install --cert-name ([\w.-]*\w)")


@dataclass(frozen=True)
class Scenario:
    """The settings of a simulation.

    The machines are alike, independent, and have an account of Qiniu each; an outage hits all.

    :ivar lifetime: days that a certificate is valid.
    :ivar faults: share of calls that fail.
    :ivar crashes: share of runs that die at one of their first calls.
    :ivar outages: per year, each of one to four days, and in its own part of the year.
    :ivar changes: domains added and domains removed per machine and year, each.
    :ivar takeovers: lineages per machine and year that certbot has had for a while, at any age,
        and that now come in the place of another one, with all their domains.
    :ivar rollbacks: per machine and year.
    """

    lifetime: float = 90
    faults: float = 0.0
    years: float = 10
    machines: int = 40
    lineages: int = 5
    domains: int = 5
    crashes: float = 0.01
    outages: float = 2
    changes: float = 4
    takeovers: float = 4
    rollbacks: float = 4
    leap: bool = True
    seed: int = 1

    @property
    def renew_at(self) -> float:
        """Days of validity left at which certbot renews."""
        return self.lifetime / (3 if self.lifetime > SHORT_LIVED_DAYS else 2)

    @property
    def minimum_days(self) -> float:
        """Days of validity that Qiniu wants to see at an upload."""
        return MINIMUM_DAYS if self.lifetime > SHORT_LIVED_DAYS else 0


class Output(logging.Handler):
    """What a user is shown: our warnings, and what the runs say and fail with.

    :ivar texts: all of it since he last looked.
    :ivar failed: whether a run has failed since then.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self.failures: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self.texts.append(record.getMessage())

    def read(self) -> Iterator[tuple[str, str]]:
        """What is to be done, as certbot's verb and the lineage; he looks at all of it once."""
        for text in (*self.texts, *self.failures):
            for lineage in FORCE.findall(text):
                yield "renew", lineage
        for text in self.failures:
            for lineage in INSTALL.findall(text):
                yield "install", lineage
        self.texts, self.failures = [], []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take our log, and leave nothing of it to others."""
        ours = logging.getLogger("certbot_qiniu")
        before = ours.level, ours.propagate
        ours.addHandler(self)
        ours.propagate = False
        ours.setLevel(logging.WARNING)
        try:
            yield
        finally:
            ours.removeHandler(self)
            ours.propagate = before[1]
            ours.setLevel(before[0])


def one_by_one(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """As :func:`certbot_qiniu.deployment.context.in_parallel`, without threads."""
    results = []
    for item in items:
        try:
            results.append(function(item))
        except errors.QiniuError as error:
            results.append(error)
    return results


class _Deployer(Deployer):
    """The real one, in a world without files and seconds; made anew for each process."""

    def __init__(self, qiniu: Qiniu, lineages: Versions, files: Files, backups: Path,
                 say: Callable[[str], None]) -> None:
        super().__init__(Writer(files, files, backups), lineages, Accounts(), say,
                         lambda text: None)
        client: Any = qiniu
        self._world = Context(
            files, lineages, Account(client, clock=qiniu.clock), self.say, qiniu.clock,
            qiniu.sleep, one_by_one, qiniu.clock, self.waiting)

    def context(self, credentials: str | None, services: Collection[str] = ()) -> Context:
        return self._world


class _Target(QiniuTarget):
    """The real one; what it remembers of its process ends with it."""

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        type(self)._settled = set()


@dataclass
class Plugin:
    """certbot-qiniu on a machine.

    :cvar looks_again: whether each run brings up to date what is not, renewed or not.
    """

    looks_again = True

    qiniu: Qiniu
    lineages: Versions
    output: Output
    files: Files = field(default_factory=Files)
    _crashes: int = 0

    def begin(self, lineage: str) -> bool:
        """Let certbot's conf name us, for new ones: the next run finds its domains."""
        return True

    def renew(self) -> Callable[[str], bool]:
        """Start a ``certbot renew``; the answer brings one lineage up to date.

        That in turn answers whether there is nothing left to do for it.
        """
        target = self._start("renew")

        def update(lineage: str) -> bool:
            changes = self.qiniu.changes
            renewed: Any = SimpleNamespace(lineagename=lineage)
            return bool(self._try(lambda: target.update(renewed), target.settle)
                        and not self.qiniu.is_publishing(lineage) and not self.is_held(lineage)
                        and self.qiniu.changes == changes)

        return update

    def is_held(self, lineage: str) -> bool:
        """Whether a rollback keeps the newest certificate back."""
        return bool(self.files.memory.lineage(lineage).hold)

    def roll_back(self, count: int) -> None:
        """``certbot rollback`` by *count* checkpoints, or as many as there are."""
        with TemporaryDirectory() as backups:
            count = min(count, self.files.checkpoints)
            target = self._start("rollback", Path(backups), count)
            self.files.show_newest(count, Path(backups))
            if count and self._try(target.check):
                target.before_roll_back(count)
                self.files.roll_back(count)
                target.roll_back(count)
                self._try(target.settle)

    def install(self, lineage: str) -> bool:
        """``certbot install``, which certbot undoes if nothing has taken the certificate.

        :returns: whether all is well.
        """
        target, before = self._start("install"), self.files.checkpoints
        certificate = self.lineages.current(lineage)
        if not self._try(lambda: target.deploy(certificate, certificate.names[0], ()),
                         lambda: target.save("Deployed ACME Certificate"), target.commit):
            target.recover()
            return False
        self.files.finalize_checkpoint("Deployed ACME Certificate")
        if self._try(target.settle):
            return True
        if not target.has_taken:
            count = self.files.checkpoints - before
            self.files.roll_back(count)
            target.roll_back(count)
            self._try(target.settle)
        return False

    def _start(self, verb: str, backups: Path = Path("/"), count: int = 1) -> QiniuTarget:
        """A process of certbot's."""
        if verb != "renew" or self.qiniu.crashes != self._crashes or [*self.files.memory.changed()]:
            self.files.undo_unfinished()
            self.files.load()
            self._crashes = self.qiniu.crashes
        self.files.is_swept = False
        say = self.output.texts.append
        deployer = _Deployer(self.qiniu, self.lineages, self.files, backups, say)
        return _Target(SimpleNamespace(
            verb=verb, is_renewal=verb == "renew", is_apply=False, take_back=(), is_open=True,
            config=SimpleNamespace(checkpoints=count, redirect=None, noninteractive_mode=True),
            settings=SETTINGS, deployer=deployer, lineages=self.lineages, say=say,
            note=deployer.note, waiting=deployer.waiting))

    def _try(self, *works: Callable[[], Any]) -> bool:
        """Do one after the other, whichever fails; false if one has, which a user is shown."""
        failures = Failures()
        for work in works:
            failures.attempt(work)
        if failures:
            self.output.failures.append(str(failures))
        return not failures


@dataclass
class Hook:
    """A deploy hook: certbot calls it once for a renewed certificate, and never again."""

    looks_again = False

    qiniu: Qiniu
    lineages: Versions
    output: Output

    def begin(self, lineage: str) -> bool:
        """Run it by hand; false when that fails."""
        return self._deploy(lineage)

    def renew(self) -> Callable[[str], bool]:
        """As :meth:`Plugin.renew`."""
        return self._deploy

    def is_held(self, lineage: str) -> bool:
        """It knows no rollbacks."""
        return False

    def roll_back(self, count: int) -> None:
        """It knows no rollbacks."""

    def install(self, lineage: str) -> bool:
        """It prints nothing that could tell to."""
        return True

    def _deploy(self, lineage: str) -> bool:
        certificate = self.lineages.current(lineage)
        try:
            cert_id = self.qiniu.upload_certificate(certificate)
            for name in [*self.qiniu.sites]:
                if covering_name(certificate.names, name):
                    self.qiniu.bind_certificate(name, cert_id, force_https=True, http2=True,
                                                enable=False)
        except errors.QiniuError:
            return False  # certbot logs it, and has the renewed certificate
        return True


def simulate(scenario: Scenario, tool: type[Plugin | Hook] = Plugin) -> Result:
    """Run *scenario* with one of the two tools."""
    chance = random.Random(f"{scenario.seed} outages")
    begins = [START + (number + 0.9 * chance.random()) / scenario.outages * 365 * DAY
              for number in range(round(scenario.outages * scenario.years))]
    outages = [(begin, begin + chance.uniform(1, 4) * DAY) for begin in begins]
    total, output = Result(), Output()
    with output.listening():
        for number in range(scenario.machines):
            chance = random.Random(f"{scenario.seed} machine {number}")
            machine = _Machine(scenario, tool, chance, outages, output)
            with mock.patch("time.time", machine.qiniu.clock):
                total.add(machine.live())
    return total


class _Machine:
    """The years of one machine.

    :ivar zones: its lineages; each is for the domains below its name.
    :ivar active: those that are not as they should be, as far as the tool knows.
    :ivar events: what happens, as (when, number, what, to which lineage or domain).
    :ivar new: those with domains that nothing was deployed to yet.
    :ivar planned: what the user has in mind.
    """

    def __init__(self, scenario: Scenario, tool: type[Plugin | Hook], chance: random.Random,
                 outages: Sequence[tuple[float, float]], output: Output) -> None:
        self.scenario, self.chance, self.output = scenario, chance, output
        self.qiniu = Qiniu(scenario.faults, scenario.minimum_days, chance, outages)
        self.lineages = Versions()
        self.tool = tool(self.qiniu, self.lineages, output)
        self.end = START + scenario.years * 365 * DAY
        self.zones: list[str] = []
        self.active: set[str] = set()
        self.new: set[str] = set()
        self.events: list[tuple[float, int, str, str]] = []
        self.planned: set[tuple[str, str]] = set()
        self._numbers = {"event": 0, "zone": 0, "certificate": 0, "domain": 0}

    def _number(self, of: str) -> int:
        self._numbers[of] += 1
        return self._numbers[of]

    def live(self) -> Result:
        """Live, and tell how it went."""
        scenario, chance = self.scenario, self.chance
        for _ in range(scenario.lineages):
            self._take_over()
        for kind, yearly in (("add", scenario.changes), ("remove", scenario.changes),
                             ("take over", scenario.takeovers), ("roll back", scenario.rollbacks)):
            for _ in range(round(yearly * scenario.years)):
                self._happens(START + chance.random() * (self.end - START), kind)
        run_at = START + chance.random() * RUN_EVERY
        while run_at < self.end:
            while self.events and self.events[0][0] <= run_at:
                at, _, kind, subject = heapq.heappop(self.events)
                self.qiniu.now = max(self.qiniu.now, at)
                self._do(kind, subject)
                self._read()
            self.qiniu.now = max(self.qiniu.now, run_at)
            self._timer()
            self._read()
            run_at = self._next(run_at)
        self.qiniu.now = self.end
        return self.qiniu.close()

    def _timer(self) -> None:
        """The timer's run, which may die."""
        scenario, chance = self.scenario, self.chance
        dies = scenario.crashes and chance.random() < scenario.crashes
        self.qiniu.calls_to_live = chance.randint(1, CRASH_CALLS) if dies else None
        due = {zone for zone in self.zones if self._end_of(zone) - self.qiniu.now
               < scenario.renew_at * DAY}
        with suppress(Crash):
            self._renew(due, self.active if scenario.leap else self.zones)
        self.qiniu.calls_to_live = None

    def _renew(self, due: Collection[str], others: Collection[str]) -> bool:
        """``certbot renew``; whether all went well."""
        is_well, update, begun = True, self.tool.renew(), self.qiniu.now
        for zone in sorted({*due, *(others if self.tool.looks_again else ())}):
            if zone in due:
                self._issue(zone, begun)  # whatever the others' calls take
                self.qiniu.renewed(self.lineages.current(zone))
                self.qiniu.result.renewals += 1
            self.active.add(zone)
            self.qiniu.result.runs += 1
            if update(zone):
                self.active.discard(zone)
                self.new.discard(zone)
            else:
                is_well = False
        return is_well

    def _next(self, run_at: float) -> float:
        """When the timer comes again; runs that would find nothing to do are leapt over."""
        next_at = run_at + RUN_EVERY
        if self.scenario.leap and not (self.active and self.tool.looks_again):
            due_at = min(map(self._end_of, self.zones)) - self.scenario.renew_at * DAY
            event = min(due_at, self.events[0][0] if self.events else self.end)
            next_at += max(0, (event - next_at) // RUN_EVERY) * RUN_EVERY
        return next_at

    def _end_of(self, zone: str) -> float:
        return self.lineages.current(zone).not_after.timestamp()

    def _issue(self, zone: str, begin: float) -> None:
        self.lineages.issue(zone, self._number("certificate"), begin,
                            begin + self.scenario.lifetime * DAY)

    # What happens besides -----------------------------------------------------------------------

    def _happens(self, at: float, kind: str, subject: str = "") -> None:
        heapq.heappush(self.events, (at, self._number("event"), kind, subject))

    def _read(self) -> None:
        """Let the user read what was printed, and plan what to do."""
        for kind, zone in self.output.read():
            self._plan(kind, zone, self.chance.uniform(0, USER_DAYS))

    def _plan(self, kind: str, zone: str, days: float) -> None:
        if (kind, zone) not in self.planned:
            self.planned.add((kind, zone))
            self._happens(self.qiniu.now + days * DAY, kind, zone)

    def _do(self, kind: str, subject: str) -> None:
        self.planned.discard((kind, subject))
        if kind == "add":
            zone = self.chance.choice(self.zones)
            self._add_site(f"added{self._number('domain')}.{zone}")
            self._begin(zone)
        elif kind == "remove":
            zone = self.chance.choice(self.zones)
            if len(names := self._sites_of(zone)) > 1:  # a lineage without any is an error
                self.qiniu.remove_site(self.chance.choice(names))
                self.active.add(zone)
        elif kind == "take over":
            self._give_up(self.chance.choice(self.zones))
            self._take_over()
        elif kind == "roll back" and self.new & set(self.zones):
            self._happens(self.qiniu.now + RUN_EVERY, kind)
        elif kind == "roll back":
            self.tool.roll_back(self.chance.randint(1, ROLLED_BACK))
            self.qiniu.result.rollbacks += 1
            self.active.update(self.zones)
            for zone in filter(self.tool.is_held, self.zones):
                self.qiniu.result.held += 1
                self.qiniu.held_back(zone)
        elif subject in self.zones:  # what the user does may come too late
            self._obey(kind, subject)

    def _obey(self, kind: str, zone: str) -> None:
        """Run the command that was printed, or with the hook the one that everybody knows."""
        self.qiniu.result.obeyed += 1
        if kind == "install":
            self.active.add(zone)
            if not self.tool.install(zone):
                self._plan(kind, zone, RUN_EVERY / DAY)
        elif not self._renew({zone}, ()) and not self.tool.looks_again:
            self._plan(kind, zone, self.chance.uniform(0, USER_DAYS))

    def _take_over(self) -> None:
        """Let a lineage come that certbot has had for a while."""
        zone = f"zone{self._number('zone')}.example"
        self.zones.append(zone)
        self._issue(zone, self.qiniu.now - self.chance.random() * self.scenario.lifetime * DAY)
        for number in range(self.scenario.domains):
            self._add_site(f"host{number}.{zone}")
        self._begin(zone)

    def _begin(self, zone: str) -> None:
        """Let the tool bring a certificate that certbot has to domains that are new to it."""
        self.active.add(zone)
        if self.tool.is_held(zone):
            self._plan("install", zone, self.chance.uniform(0, USER_DAYS))
            return
        if self.tool.looks_again:
            self.new.add(zone)
        if not self.tool.begin(zone):
            self._plan("renew", zone, self.chance.uniform(0, USER_DAYS))

    def _give_up(self, zone: str) -> None:
        """Let a lineage go, with all its domains."""
        self.zones.remove(zone)
        self.active.discard(zone)
        del self.lineages.archive[zone]
        for name in self._sites_of(zone):
            self.qiniu.remove_site(name)

    def _sites_of(self, zone: str) -> list[str]:
        return [name for name in self.qiniu.sites if zone_of(name) == zone]

    def _add_site(self, name: str) -> None:
        lifetime = self.scenario.lifetime
        days = self.chance.uniform(min(HAND_DAYS, lifetime / 3), lifetime)
        self.qiniu.add_site(name, self.qiniu.now + days * DAY)


def table(lifetimes: Sequence[float], faults: Sequence[float], scenario: Scenario) -> Iterator[str]:
    """The lines of the table, each as soon as it is known."""
    yield ("| lifetime | faults per call | renewals | expired domain-days: plugin | hook "
           "| longest way to a domain: plugin | hook |")
    yield "|---|---|---|---|---|---|---|"
    for lifetime in lifetimes:
        for rate in faults:
            years = scenario.years / (1 if lifetime > SHORT_LIVED_DAYS else 10)
            case = replace(scenario, lifetime=lifetime, faults=rate, years=years)
            plugin, hook = simulate(case), simulate(case, Hook)
            yield (f"| {lifetime:g} days | {rate:.0%} | {plugin.renewals:,} "
                   f"| {_share(plugin, case)} | {_share(hook, case)} "
                   f"| {plugin.longest:.1f} days | {hook.longest:.0f} days |")


def _share(result: Result, scenario: Scenario) -> str:
    """The expired domain-days, and what part of all they are."""
    days = scenario.machines * scenario.lineages * scenario.domains * scenario.years * 365
    if result.expired < 0.1:
        return "under 0.1" if result.expired else "0"
    return f"{result.expired:,.1f} ({result.expired / days:.2%})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation")
    parser.add_argument("--machines", type=int, default=2, help="40 are 200 lineages")
    parser.add_argument("--years", type=float, default=10)
    parser.add_argument("--lifetimes", type=float, nargs="+", default=[90, 64, 45, 6])
    parser.add_argument("--faults", type=float, nargs="+", default=[0, 0.1, 0.2, 0.5])
    chosen = parser.parse_args(arguments)
    scenario = Scenario(machines=chosen.machines, years=chosen.years)
    begun = time.process_time()
    print(f"{chosen.years:g} years of {scenario.machines * scenario.lineages} lineages and "
          f"{scenario.machines * scenario.lineages * scenario.domains:,} domains, renewed by "
          f"{scenario.machines} machines:\n")
    for line in table(chosen.lifetimes, chosen.faults, scenario):
        print(line, flush=True)
    print(f"\n{time.process_time() - begun:.0f} seconds on one core")


if __name__ == "__main__":
    main()
