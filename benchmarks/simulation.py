"""Ten years of renewals on a virtual clock: ``python -m benchmarks.simulation``.

The desired state, the planner, the reconciler and the clean-up are the real ones; Qiniu is a few
dictionaries. Beside them runs what a deploy hook does that certbot calls only after a renewal: one
try, one domain after the other, ended by the first failure.

What is simplified, all of it:

* A fault is a call that has failed for good. The real transport repeats each up to five times, so
  that 20 % here are far worse than 20 % of lost requests there. The hook has no repeats to lose.
  Half of the faults hit after Qiniu has acted.
* Issuance never fails, and nginx is left out: both are the same with and without us.
* The files are in memory, and certbot's reverter is a list. A crash loses what was not written.
* Every publication succeeds, in 8 to 15 minutes. Calls take 0.2 seconds, one after the other.
* Once all domains of a lineage serve what they should, its runs are leapt over until something
  happens: they would read, delete what is left to delete, and change nothing that anybody is
  served. ``leap=False`` runs them all.
* The hook's list of domains is kept up to date by hand, at no cost.
* Six-day certificates are accepted, although Qiniu is reported to refuse them. They are renewed
  twenty times as often as others, so that the table has a tenth of the years for them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import logging
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.deployment.reconcile import Options
from certbot_qiniu.deployment.state import LineageMemory, Memory, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.model import Certificate, Domain, RemoteCertificate, covering_name
from certbot_qiniu.options import Settings
from certbot_qiniu.qiniu.account import Account, Accounts

DAY = 86_400.0
RUN_EVERY = DAY / 2
START = 1_700_000_000.0
CALL_SECONDS = 0.2
KEPT_VERSIONS = 6  # what certbot leaves of an archive
CRASH_CALLS = 20
SHORT_LIVED_DAYS = 10
BY_HAND = "by hand"
SETTINGS = Settings(None, None, None, 1, 1800, "", None, True)
OPTIONS = Options(keep_certificates=SETTINGS.keep_certificates)


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    The machines are alike, independent, and have an account of Qiniu each; an outage hits all.

    :ivar lifetime: days that a certificate is valid.
    :ivar faults: share of calls that fail.
    :ivar crashes: share of runs that die at one of their first calls.
    :ivar outages: per year, each of one to four days.
    :ivar changes: domains added and domains removed per machine and year, each.
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
    leap: bool = True
    seed: int = 1

    @property
    def renew_at(self) -> float:
        """Days of validity left at which certbot renews."""
        return self.lifetime / (3 if self.lifetime > SHORT_LIVED_DAYS else 2)


@dataclass
class Result:
    """How it went.

    :ivar expired: domain-days that were served with an expired certificate.
    :ivar longest: days from a renewal until a domain served it, at worst.
    :ivar runs: how often a lineage was brought up to date, or tried to.
    """

    expired: float = 0.0
    longest: float = 0.0
    renewals: int = 0
    runs: int = 0

    def add(self, other: Result) -> None:
        """Count *other* in."""
        self.expired += other.expired
        self.longest = max(self.longest, other.longest)
        self.renewals += other.renewals
        self.runs += other.runs


class Crash(BaseException):
    """The process dies here."""


@dataclass
class Site:
    """A domain at Qiniu; *shown* is what its list entry and its details say.

    :ivar expiry: when the served certificate expires.
    :ivar served_since: since when it is served.
    :ivar behind_since: since when its lineage has had a newer one than it serves.
    :ivar pending: the id that is being published *until* then.
    """

    shown: Domain
    expiry: float
    served_since: float
    behind_since: float | None = None
    pending: str = ""
    until: float = 0.0


class Qiniu:
    """An account of Qiniu, and the client that calls it."""

    def __init__(self, scenario: Scenario, chance: random.Random,
                 outages: Sequence[tuple[float, float]]) -> None:
        self.scenario, self.chance, self.outages = scenario, chance, outages
        self.now = START
        self.calls_to_live: int | None = None
        self.sites: dict[str, Site] = {}
        self.certificates: dict[str, RemoteCertificate] = {}
        self.newest: dict[str, str] = {}  # zone -> name of its newest certificate
        self.result = Result()
        self._ids = 0
        self._next_publication = float("inf")

    # Time

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def settle(self) -> None:
        """Let every publication that is due take place."""
        if self.now < self._next_publication:
            return
        for site in self.sites.values():
            if site.pending and site.until <= self.now:
                certificate = self.certificates[site.pending]
                self._leave(site, site.until)
                site.expiry, site.served_since = certificate.not_after, site.until
                name = site.shown.name
                if site.behind_since is not None and certificate.name == self.newest[zone_of(name)]:
                    self._note_delay(site, site.until)
                site.shown = replace(
                    site.shown, protocol="https", state="success", cert_id=site.pending,
                    modified=str(site.until))
                site.pending = ""
        self._next_publication = min(
            (site.until for site in self.sites.values() if site.pending), default=float("inf"))

    def _leave(self, site: Site, at: float) -> None:
        """Count the time for which the certificate that is left was served after its end."""
        self.result.expired += max(0.0, at - max(site.served_since, site.expiry)) / DAY
        if self.certificates[site.shown.cert_id].name == BY_HAND:
            del self.certificates[site.shown.cert_id]  # by whoever uploaded it

    def _note_delay(self, site: Site, at: float) -> None:
        if site.behind_since is not None:
            self.result.longest = max(self.result.longest, (at - site.behind_since) / DAY)
        site.behind_since = None

    # What happens without a call

    def add_site(self, name: str, expiry: float) -> None:
        """Somebody adds a domain, with a certificate of his own."""
        cert_id = self._keep(RemoteCertificate("", BY_HAND, (name,), 0, int(expiry)))
        self.sites[name] = Site(
            Domain(name, protocol="https", modified=str(self.now), detailed=True, cert_id=cert_id,
                   force_https=False, http2=False), expiry, self.now)

    def remove_site(self, name: str) -> None:
        """Somebody removes a domain."""
        self.settle()
        self._close(self.sites.pop(name))

    def renewed(self, certificate: Certificate) -> None:
        """From now on the domains of a lineage are behind."""
        self.settle()
        self.newest[certificate.lineage] = certificate.remote_name
        for name, site in self.sites.items():
            if site.behind_since is None and zone_of(name) == certificate.lineage:
                site.behind_since = self.now

    def close(self) -> Result:
        """End it all, and tell how it went."""
        self.settle()
        for site in self.sites.values():
            self._close(site)
        return self.result

    def _close(self, site: Site) -> None:
        self._leave(site, self.now)
        self._note_delay(site, self.now)

    def _keep(self, certificate: RemoteCertificate) -> str:
        self._ids += 1
        cert_id = f"{self._ids:024x}"
        self.certificates[cert_id] = replace(certificate, cert_id=cert_id)
        return cert_id

    # The client: what of QiniuClient is used for the CDN

    account = "simulated"

    @contextmanager
    def _call(self, action: str) -> Iterator[None]:
        self.now += CALL_SECONDS
        if self.calls_to_live is not None:
            self.calls_to_live -= 1
            if self.calls_to_live <= 0:
                raise Crash
        if any(begin <= self.now < end for begin, end in self.outages):
            raise errors.Unreachable(action, "outage")
        faults = self.scenario.faults
        fails = bool(faults) and self.chance.random() < faults
        if fails and self.chance.random() < 0.5:
            raise errors.Unreachable(action, "the request was lost")
        self.settle()
        yield
        if fails:
            raise errors.Unreachable(action, "the answer was lost")

    def list_certificates(self) -> list[RemoteCertificate]:
        with self._call("list the certificates"):
            return list(self.certificates.values())

    def upload_certificate(self, certificate: Certificate) -> str:
        with self._call("upload"):
            return self._keep(RemoteCertificate(
                "", certificate.remote_name, certificate.names, 0,
                int(certificate.not_after.timestamp())))

    def delete_certificate(self, cert_id: str) -> bool:
        with self._call("delete"):
            if any(cert_id in (site.shown.cert_id, site.pending) for site in self.sites.values()):
                return False
            self.certificates.pop(cert_id, None)
            return True

    def list_domains(self, cert_id: str = "") -> list[Domain]:
        with self._call("list the domains"):
            return [site.shown for site in self.sites.values()
                    if cert_id in ("", site.shown.cert_id)]

    def get_domain(self, name: str) -> Domain | None:
        with self._call("read"):
            return self.sites[name].shown if name in self.sites else None

    def bind_certificate(self, name: str, cert_id: str, *, force_https: bool, http2: bool,
                         enable: bool) -> None:
        with self._call("bind"):
            site = self.sites.get(name)
            if site is None:
                raise errors.Refused("bind", "no such domain", status=612, code=612)
            if site.pending:
                raise errors.Refused("bind", "processing", status=400, code=400030)
            site.pending, site.until = cert_id, self.now + self.chance.uniform(480, 900)
            self._next_publication = min(self._next_publication, site.until)
            site.shown = replace(site.shown, state="processing", operation="modify_https_conf",
                                 modified=str(self.now))

    def unbind_certificate(self, name: str) -> None:
        raise AssertionError("no domain here ever spoke http")


def zone_of(name: str) -> str:
    """The lineage that *name* belongs to."""
    return name.partition(".")[2]


class Versions(Lineages):
    """certbot's lineages, without files."""

    def __init__(self) -> None:
        self.archive: dict[str, list[Certificate]] = {}  # newest first

    def issue(self, name: str, number: int, begin: float, end: float) -> Certificate:
        """Add a version."""
        begin_date, end_date = (dt.datetime.fromtimestamp(int(at), dt.timezone.utc)
                                for at in (begin, end))
        certificate = Certificate(
            name, hashlib.sha256(f"{name}/{number}".encode()).hexdigest(), (f"*.{name}",),
            begin_date, end_date, "", Path("/"))
        self.archive[name] = [certificate, *self.archive.get(name, [])[:KEPT_VERSIONS - 1]]
        return certificate

    def names(self) -> list[str]:
        return list(self.archive)

    def exists(self, name: str) -> bool:
        return name in self.archive

    def current(self, name: str) -> Certificate:
        return self.archive[name][0]

    def versions(self, name: str) -> Iterator[Certificate]:
        return iter(self.archive.get(name, ()))


class Files(Store):
    """The two files and their checkpoints, in memory; *load* goes back to what was written."""

    def __init__(self) -> None:
        super().__init__(Path("/"))
        self._state_file: State = {}
        self._memory_file = Memory()
        self._checkpoints: list[State] = []

    def load(self) -> None:
        self.state, self.memory = dict(self._state_file), _copy(self._memory_file)

    def write_state(self, state: State) -> None:
        self.state, self._state_file = dict(state), dict(state)

    def write_memory(self) -> None:
        self._memory_file = _copy(self.memory)

    def checkpointed(self, backup_dir: Path) -> Iterator[State]:
        return iter(self._checkpoints)

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        # More than this many are never asked for: each lineage keeps one of its own.
        self._checkpoints = [dict(self._state_file), *self._checkpoints[:99]]

    def finalize_checkpoint(self, title: str) -> None:
        pass


def _copy(memory: Memory) -> Memory:
    return Memory(dict(memory.domains), dict(memory.uploads),
                  {name: LineageMemory(entry.credentials, entry.hold, entry.nginx)
                   for name, entry in memory.lineages.items()})


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

    def __init__(self, qiniu: Qiniu, lineages: Versions, files: Files) -> None:
        super().__init__(files, lineages, Accounts(), files, Path("/"), lambda text: None)
        client: Any = qiniu
        self._world = Context(files, lineages, Account(client, clock=qiniu.clock), self.backups,
                            self.say, qiniu.clock, qiniu.sleep, one_by_one)

    def context(self, credentials: str | None, services: Collection[str] = ()) -> Context:
        return self._world


@dataclass
class Plugin:
    """What certbot-qiniu does on a machine."""

    qiniu: Qiniu
    lineages: Versions
    files: Files = field(default_factory=Files)

    def process(self) -> Callable[[str], bool]:
        """Start a ``certbot renew``; the answer brings one lineage up to date.

        That in turn answers whether there is nothing left to do for it.
        """
        self.files.load()
        deployer = _Deployer(self.qiniu, self.lineages, self.files)

        def update(lineage: str) -> bool:
            try:
                problems = deployer.converge(lineage, SETTINGS)
                outcome = deployer.settle(lineage, SETTINGS, OPTIONS)
            except errors.QiniuError:
                return False
            return not (problems or outcome.problems or outcome.pending or outcome.changed)

        return update


@dataclass
class Hook:
    """What a deploy hook does: it is called for what certbot has renewed, and never again."""

    qiniu: Qiniu
    lineages: Versions

    def process(self) -> Callable[[str], bool]:
        """As :meth:`Plugin.process`."""
        qiniu = self.qiniu

        def deploy(lineage: str) -> bool:
            certificate = self.lineages.current(lineage)
            try:
                cert_id = qiniu.upload_certificate(certificate)
                for name in [*qiniu.sites]:
                    if covering_name(certificate.names, name):
                        qiniu.bind_certificate(name, cert_id, force_https=True, http2=True,
                                               enable=False)
            except errors.QiniuError:
                pass  # certbot logs it, and has the renewed certificate
            return True

        return deploy


def simulate(scenario: Scenario, tool: type[Plugin | Hook] = Plugin) -> Result:
    """Run *scenario* with one of the two tools."""
    chance = random.Random(f"{scenario.seed} outages")
    begins = [START + chance.random() * scenario.years * 365 * DAY
              for _ in range(round(scenario.outages * scenario.years))]
    outages = [(begin, begin + chance.uniform(1, 4) * DAY) for begin in begins]
    total = Result()
    for number in range(scenario.machines):
        chance = random.Random(f"{scenario.seed} machine {number}")
        total.add(_live(scenario, tool, chance, outages))
    return total


def _live(scenario: Scenario, tool: type[Plugin | Hook], chance: random.Random,
          outages: Sequence[tuple[float, float]]) -> Result:
    """The years of one machine."""
    qiniu, lineages = Qiniu(scenario, chance, outages), Versions()
    machine = tool(qiniu, lineages)
    lifetime, end = scenario.lifetime * DAY, START + scenario.years * 365 * DAY
    zones = [f"zone{number}.example" for number in range(scenario.lineages)]
    for zone in zones:
        # Where certbot stands in each one's life when all begins.
        age = chance.random() * (lifetime - scenario.renew_at * DAY)
        lineages.issue(zone, 0, START - age, START - age + lifetime)
        for number in range(scenario.domains):
            qiniu.add_site(f"host{number}.{zone}", START - age + lifetime)
    events = _events(scenario, chance, zones)
    active = set(zones) if tool is Plugin else set()
    numbers = dict.fromkeys(zones, 0)
    run_at = START + chance.random() * RUN_EVERY
    while run_at < end:
        while events and events[-1][0] <= run_at:
            qiniu.now, zone, name = events.pop()
            if name:
                qiniu.add_site(f"{name}.{zone}", qiniu.now + lifetime)
            elif len(names := [name for name in qiniu.sites if zone_of(name) == zone]) > 1:
                qiniu.remove_site(chance.choice(names))  # a lineage without any is an error
            if tool is Plugin:
                active.add(zone)
        qiniu.now = run_at
        dies = scenario.crashes and chance.random() < scenario.crashes
        qiniu.calls_to_live = chance.randint(1, CRASH_CALLS) if dies else None
        due = {zone for zone in zones if lineages.current(zone).not_after.timestamp() - run_at
               < scenario.renew_at * DAY}
        try:
            update = machine.process()
            for zone in sorted(due | (active if scenario.leap or tool is Hook else {*zones})):
                if zone in due:
                    numbers[zone] += 1
                    qiniu.renewed(lineages.issue(zone, numbers[zone], qiniu.now,
                                                 qiniu.now + lifetime))
                    qiniu.result.renewals += 1
                if tool is Plugin:
                    active.add(zone)
                qiniu.result.runs += 1
                if update(zone):
                    active.discard(zone)
        except Crash:
            pass
        next_at = run_at + RUN_EVERY
        if scenario.leap and not active:
            expiry = min(lineages.current(zone).not_after.timestamp() for zone in zones)
            event = min(expiry - scenario.renew_at * DAY, events[-1][0] if events else end)
            next_at += max(0, (event - next_at) // RUN_EVERY) * RUN_EVERY
        run_at = next_at
    qiniu.now = end
    return qiniu.close()


def _events(scenario: Scenario, chance: random.Random,
            zones: Sequence[str]) -> list[tuple[float, str, str]]:
    """When a zone gets another domain (its name), or loses one (""); the last one comes first."""
    events = []
    for number in range(round(2 * scenario.changes * scenario.years)):
        at = START + chance.random() * scenario.years * 365 * DAY
        events.append((at, chance.choice(zones), f"added{number}" if number % 2 else ""))
    return sorted(events, reverse=True)


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
    parser.add_argument("--lifetimes", type=float, nargs="+", default=[90, 47, 6])
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
    logging.disable()  # what goes wrong is in the figures
    main()
