"""Whatever has happened to an account, the clean-up deletes nothing that anybody needs.

Random histories against a model of what is needed. The deployer, the planner, the reconciler, the
clean-up and certbot's reverter are the real ones; Qiniu is the emulator, in this process.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from certbot.reverter import Reverter
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from certbot_qiniu import errors
from certbot_qiniu.deployment import holds
from certbot_qiniu.deployment.context import Context, Options
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.deployment.reconcile import Outcome
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.writing import Writer, changes_between
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.options import Settings
from certbot_qiniu.qiniu.account import Account, Accounts
from certbot_qiniu.qiniu.client import QiniuClient
from tests.sandbox.lineages import write_renewal, write_version
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Switches
from tests.sandbox.wire import Carrier, Fault, Request, Response, Switchboard
from tests.scenarios.machine import Cloud

HOUR = 3600
LINEAGES = {"example.com": ("www.example.com", "img.example.com"), "example.org": ("example.org",)}
SANS = {"example.com": ("example.com", "*.example.com"), "example.org": ("example.org",)}
DOMAINS = [name for names in LINEAGES.values() for name in names]
SPECTATOR = "extra.example.com"
"""A domain that our certificates cover, and that nobody told us to serve."""

lineages = st.sampled_from(sorted(LINEAGES))


class Crash(BaseException):
    """The process dies here."""


class Guard:
    """Stands before the emulator: lets a process die, and judges what it asks to delete.

    :ivar ours: ids of certificates that came through the API.
    :ivar calls_to_live: how many more calls the process lives; None for all.
    :ivar judge: called with each id that is to be deleted.
    """

    def __init__(self, cloud: Cloud, judge: Callable[[str], None]) -> None:
        self.cloud, self.judge = cloud, judge
        self.hosts = cloud.qiniu.hosts
        self.ours: set[str] = set()
        self.calls_to_live: int | None = None

    def handle(self, request: Request) -> Response:
        if self.calls_to_live is not None:
            self.calls_to_live -= 1
            if self.calls_to_live < 0:
                raise Crash
        if request.method == "DELETE":
            self.judge(request.path.rpartition("/")[2])
        before = {item.cert_id for item in self.cloud.qiniu.certificates()}
        response = self.cloud.qiniu.handle(request)
        after = {item.cert_id for item in self.cloud.qiniu.certificates()}
        if request.method == "POST":
            self.ours |= after - before
        return response


class OneAccount(Accounts):
    """The one account, as a process opens it."""

    def __init__(self, cloud: Cloud, board: Switchboard) -> None:
        session = requests.Session()
        session.mount("https://", Carrier(board))
        self._account = Account(QiniuClient(
            ACCESS_KEY, SECRET_KEY, session=session, sleep=cloud.clock.sleep,
            clock=cloud.clock.time), clock=cloud.clock.time)

    def get(self, *_: Any) -> Account:
        return self._account


class InVirtualTime(Deployer):
    """The deployer, whose time is the emulator's."""

    cloud: Cloud

    def context(self, *arguments: Any) -> Context:
        clock = self.cloud.clock
        return replace(super().context(*arguments), clock=clock.time, sleep=clock.sleep,
                       parallel=lambda function, items: [_caught(function, i) for i in items])


def _caught(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except errors.QiniuError as error:
        return error


def leaves(path: Path) -> list[str]:
    """The fingerprints in a lineage's state, or a copy of it."""
    if not path.exists():
        return []
    return [entry["binding"]["fingerprint"]
            for entry in json.loads(path.read_text())["domains"].values()]


class Histories(RuleBasedStateMachine):
    """An account of Qiniu, a certbot with two lineages, and other people."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.cloud = Cloud(Switches(publish_seconds=300, same_pem="new id"))
        self.guard = Guard(self.cloud, self.judge)
        self.board = Switchboard(self.guard, clock=self.cloud.clock.time)
        self.reverter = Reverter(SimpleNamespace(  # type: ignore[arg-type]
            backup_dir=str(self.home / "backups"), work_dir=str(self.home),
            in_progress_dir=str(self.home / "progress"), strict_permissions=False,
            temp_checkpoint_dir=str(self.home / "temporary")))
        self.store = Store(self.home / "qiniu")
        self.store.open()

    def teardown(self) -> None:
        """When all is well again, two runs suffice for the right certificates, and no others."""
        try:
            self.calm()
        finally:
            shutil.rmtree(self.home)

    # The model

    def judge(self, cert_id: str) -> None:
        """Fail when a certificate is to be deleted that anybody needs."""
        held = {item.cert_id: item for item in self.cloud.qiniu.certificates()}
        if cert_id not in held:
            return
        name = held[cert_id].name
        assert cert_id in self.guard.ours, f"{name} is a stranger's"
        assert cert_id not in self.used(), f"{name} is in use"
        # Another copy of what is needed may go.
        copies = [item for item in held.values() if item.fingerprint == held[cert_id].fingerprint
                  and item.cert_id in self.guard.ours]
        assert len(copies) > 1 or held[cert_id].fingerprint not in self.needed(), (
            f"{name} is needed")

    def used(self) -> set[str]:
        """The ids that a domain serves, or is about to serve."""
        return {config.cert_id for domain in self.cloud.qiniu._domains.values()
                for config in (domain.config, domain.pending) if config}

    def needed(self) -> set[str]:
        """The fingerprints that the state file, a lineage's last older one or a baseline has."""
        needed = {leaf for lineage in LINEAGES for leaf in leaves(self.store.state_path(lineage))}
        for lineage in LINEAGES:
            older = (leaf for path in self.checkpoints() if path.name.startswith(lineage)
                     for leaf in leaves(path))
            needed |= {next((leaf for leaf in older if leaf not in needed), "")}
        # Without its memory the plugin finds its own certificates on domains new to it.
        return needed | {record.baseline.fingerprint
                         for record in self.store.memory.domains.values() if record.baseline}

    def surplus(self, lineage: str) -> list[str]:
        """The names of certificates of a lineage at Qiniu that are ours, and that nobody needs."""
        archive = {item.fingerprint for item in Lineages(self.home).versions(lineage)}
        known = {item.fingerprint for item in self.store.memory.uploads.values()}
        used, needed = self.used(), self.needed()
        ours = [item for item in self.cloud.qiniu.certificates()
                if item.cert_id in self.guard.ours and item.name.startswith(f"certbot_{lineage}_")
                and item.fingerprint in archive | known]
        first = {item.fingerprint: item.cert_id for item in reversed(ours)}
        first |= {item.fingerprint: item.cert_id for item in ours if item.cert_id in used}
        return [item.name for item in ours if item.cert_id not in used
                and (item.fingerprint not in needed or item.cert_id != first[item.fingerprint])]

    # certbot's commands

    def process(self) -> InVirtualTime:
        """What a new process begins with."""
        self.reverter.recovery_routine()
        self.store = Store(self.home / "qiniu")
        self.store.open()
        deployer = InVirtualTime(Writer(self.store, self.reverter, self.home / "backups"),
                                 Lineages(self.home), OneAccount(self.cloud, self.board),
                                 lambda text: None)
        deployer.cloud = self.cloud
        deployer.writer.recall()
        return deployer

    def options(self, lineage: str) -> Settings:
        """How a lineage was told to be served."""
        return Settings("/unused", LINEAGES[lineage], None, 1, 1800, "", None, True)

    def settle(self, deployer: Deployer, lineage: str, **options: Any) -> Outcome:
        """Reconcile; after a success nothing of ours is left beyond the limit."""
        outcome = deployer.settle(lineage, self.options(lineage),
                                  Options(keep_certificates=1, **options))
        # If other people took a domain away, its old certificate is not used any more.
        if (not outcome.problems and not outcome.pending and options.get("clean", True)
                and not self.store.memory.lineage(lineage).hold):
            assert [] == self.surplus(lineage)
        return outcome

    def renew(self) -> list[str]:
        """``certbot renew``: bring every lineage up to date, and tell what went wrong."""
        deployer, problems = self.process(), []
        for lineage in deployer.lineages.names():
            try:
                problems += map(str, deployer.converge(lineage, self.options(lineage)).errors)
                outcome = self.settle(deployer, lineage)
                problems += outcome.problems + outcome.pending
            except errors.QiniuError as error:
                problems.append(str(error))
        return problems

    def checkpoints(self) -> list[Path]:
        """The older states that certbot keeps, newest first."""
        return sorted(self.home.glob("backups/*/*.json_*"), reverse=True)

    def roll_back(self, deployer: Deployer, checkpoints: int) -> None:
        """Restore older states, and make Qiniu equal to them."""
        for _ in range(checkpoints):
            self.reverter.rollback_checkpoints(1)
        deployer.store.load()

    # What happens

    @initialize()
    def begin(self) -> None:
        """Domains of every kind, and certificates for both lineages."""
        theirs = self.cloud.stranger("www.example.com", "extra.example.com")
        add = self.cloud.qiniu.add_domain
        add("www.example.com", protocol="https", cert_id=theirs, force_https=True)
        for name in ("img.example.com", "example.org"):
            add(name)
        add(SPECTATOR, protocol="https", cert_id=theirs)
        for lineage in LINEAGES:
            self.issue(lineage)

    def issue(self, lineage: str) -> None:
        """Let certbot obtain the next version of a lineage."""
        now = dt.datetime.fromtimestamp(self.cloud.clock.now, dt.timezone.utc)
        write_version(self.home, lineage, self.cloud.authority.issue(*SANS[lineage], now=now))
        write_renewal(self.home, lineage, {"installer": "qiniu"})

    @rule(lineage=lineages)
    def renewal(self, lineage: str) -> None:
        """A lineage is due."""
        self.issue(lineage)
        self.renew()

    @rule()
    def ordinary_run(self) -> None:
        """Nothing is due."""
        self.renew()

    @rule(hours=st.sampled_from([1, 12, 40]))
    def time_passes(self, hours: int) -> None:
        """Publications end."""
        self.cloud.clock.sleep(hours * HOUR)

    @rule(lineage=lineages, calls=st.integers(0, 12), again=st.booleans())
    def crash(self, lineage: str, calls: int, again: bool) -> None:
        """A run dies at one of its calls."""
        if again:
            self.issue(lineage)
        self.guard.calls_to_live = calls
        with contextlib.suppress(Crash):
            self.renew()
        self.guard.calls_to_live = None

    @rule(kind=st.sampled_from(["reset", "reset_after", "timeout_after", "truncate"]),
          skip=st.integers(0, 10))
    def bad_network(self, kind: str, skip: int) -> None:
        """One of the next calls goes wrong."""
        self.board.arm(Fault(kind), skip=skip)

    @rule(lineage=lineages)
    def install(self, lineage: str) -> None:
        """``certbot install``, which certbot takes back when it fails."""
        deployer, chosen = self.process(), self.options(lineage)
        held = holds.lift(self.store, lineage)
        before = len(list((self.home / "backups").iterdir()))
        try:
            desired = deployer.deploy(deployer.lineages.current(lineage), chosen, None,
                                      lambda names: names)
            deployer.writer.commit(changes_between(self.store.state, desired), "install")
            problems = self.settle(deployer, lineage, wait=True, take_over=True).problems
        except errors.QiniuError as error:
            problems = [str(error)]
        if problems:
            self.roll_back(deployer, len(list((self.home / "backups").iterdir())) - before)
            if held:
                holds.put(self.store, lineage, held)

    @precondition(lambda self: any((self.home / "backups").iterdir()))
    @rule()
    def rollback(self) -> None:
        """``certbot rollback``."""
        deployer = self.process()
        holds.begin(self.store, deployer.all_lineages())
        self.roll_back(deployer, 1)
        holds.finish(self.store, deployer.lineages)
        for lineage in deployer.all_lineages():
            with contextlib.suppress(errors.QiniuError):
                self.settle(deployer, lineage, wait=True, take_over=True, clean=False)

    @rule(lineage=lineages, name=st.sampled_from(["mine", "like ours", "as ours"]))
    def foreign_upload(self, lineage: str, name: str) -> None:
        """Somebody uploads a certificate for our names, under whatever name."""
        ours = Lineages(self.home).current(lineage).remote_name
        self.cloud.stranger(*SANS[lineage], days=30, name={
            "mine": "mine", "like ours": f"certbot_{lineage}_0123456789ab", "as ours": ours}[name])

    @rule(number=st.integers(0, 20))
    def foreign_use(self, number: int) -> None:
        """Somebody binds any certificate of the account, ours too, to a domain of his."""
        held = [item.cert_id for item in self.cloud.qiniu.certificates()
                if "*.example.com" in item.names]
        if held:
            self.cloud.qiniu.change_domain(SPECTATOR, protocol="https",
                                           cert_id=held[number % len(held)])

    @rule(name=st.sampled_from(DOMAINS))
    def drift(self, name: str) -> None:
        """Somebody binds a certificate of his to a domain of ours."""
        theirs = self.cloud.stranger(name, days=40)
        self.cloud.qiniu.change_domain(name, protocol="https", cert_id=theirs, state="success")

    @rule()
    def failing_publication(self) -> None:
        """Qiniu will not get the next change of a domain published.

        Not one that is switched to HTTPS: after that nothing but Qiniu's console helps.
        """
        self.cloud.qiniu.fail_next_publication("www.example.com")

    @rule(room=st.none() | st.integers(0, 2))
    def quota(self, room: int | None) -> None:
        """The account may hold only so many certificates more."""
        self.cloud.switches.quota = (
            None if room is None else len(self.cloud.qiniu.certificates()) + room)

    @rule(lineage=lineages)
    def shorter_archive(self, lineage: str) -> None:
        """certbot throws old versions away."""
        archive = self.home / "archive" / lineage
        for number in range(1, len(list(archive.glob("cert*.pem"))) - 2):
            for kind in ("fullchain", "privkey"):  # the rest keeps the count
                (archive / f"{kind}{number}.pem").unlink(missing_ok=True)

    @rule()
    def lost_memory(self) -> None:
        """Somebody moves the memory away, as the text for a damaged one says."""
        for lineage in (*LINEAGES, ""):
            self.store.memory_path(lineage).unlink(missing_ok=True)

    def calm(self) -> None:
        """Let all trouble end; then two runs bring all to rest."""
        self.board.disarm()
        self.cloud.switches.quota = None
        self.cloud.qiniu._failures.clear()
        for lineage in LINEAGES:
            self.issue(lineage)
        for _ in range(2):
            self.cloud.clock.sleep(40 * HOUR)
            self.renew()
        self.cloud.clock.sleep(HOUR)
        assert [] == self.renew()
        for lineage, names in LINEAGES.items():
            leaf = Lineages(self.home).current(lineage).fingerprint
            assert {leaf} == {self.cloud.qiniu.serving(name).fingerprint for name in names}


Histories.TestCase.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
TestHistories = pytest.mark.timeout(600)(Histories.TestCase)  # a failure takes time to shrink
