"""Whatever has happened to a machine and its accounts, what is promised holds after each run.

Random histories of certbot's verbs, of faults, of other people and of time, judged by what the
emulator serves and what certbot's archive has: the judge knows neither the plugin's files nor its
planning. A history that fails is printed as the calls that repeat it; see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.sandbox.qiniu_certs import covers
from tests.sandbox.qiniu_store import Config
from tests.scenarios.machine import Run
from tests.scenarios.world import (
    DAY,
    HOUR,
    LASTING,
    LAYOUTS,
    PASSING,
    TROUBLES,
    Change,
    Lineage,
    Newest,
    Trouble,
    World,
)

OLD_DAYS, LEFT_DAYS, HOLD_DAYS = 30, 30, 7
"""What Qiniu refuses; what replaces a better certificate; what ends a hold on ours."""

ALL = 99
OUR_KIND = "certbot_"
numbers = st.sampled_from([0, 1])
names = st.runner().flatmap(lambda state: st.sampled_from(sorted(state.world.before)))


class Histories(RuleBasedStateMachine):
    """A machine, and what must hold there.

    :cvar home: the folder of the worlds, which each process builds once.
    :ivar quiet: how many runs there were without any trouble since anything else happened.
    :ivar before: what each domain served before our first change of it.
    :ivar ours: what we have ever changed.
    :ivar over: the certificates of others that were put over ours, by domain.
    :ivar given: (domain, certificate of others) that we have replaced by right.
    :ivar held: the fingerprints that a rollback may hold, by lineage.
    :ivar kept: what domains serve since a rollback.
    :ivar redirected: domains whose redirect was asked for.
    """

    home: ClassVar[Path]
    worlds: ClassVar[dict[str, World]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.quiet = 0
        self.before: dict[str, Config] = {}
        self.over: dict[str, str] = {}
        self.given: set[tuple[str, str]] = set()
        self.held: dict[str, str] = {}
        self.kept: dict[str, Config] = {}
        self.redirected: set[str] = set()
        self.ours: set[str] = set()
        self.has_rolled_back = self.is_torn = False

    @initialize(layout=st.sampled_from(sorted(LAYOUTS)))
    def begin(self, layout: str) -> None:
        """Both certificates were issued."""
        if layout not in self.worlds:
            self.worlds[layout] = World(self.home / layout, layout)
        self.world = self.worlds[layout]
        self.world.reset()
        self.witness = self.world.witness
        self.before = {name: config for name, config in self.world.before.items()
                       if config != self.world.wanted(name)}
        self.ours = set(self.before)
        self.machine = self.world.machine
        self.backup(is_restored=False)
        self.world.sleep(HOUR)

    # certbot ------------------------------------------------------------------------------------

    @rule(days=st.sampled_from([1, 8, 25, 61, 85, 100, 400]))
    def timer(self, days: float) -> None:
        """``certbot renew``, after a time."""
        self.world.sleep(days * DAY)
        self.renew()

    @rule()
    def next_run(self) -> None:
        """The same half a day later: the next run of the timer."""
        self.timer(0.5)

    @rule()
    def next_runs(self) -> None:
        """A day of them."""
        self.timer(0.5)
        self.timer(0.5)

    @rule(number=numbers, days=st.sampled_from([90, 64, 45]))
    def force_renewal(self, number: int, days: float) -> None:
        """One lineage is renewed."""
        lineage = self.world.lineages[number]
        if not self.world.conf(lineage):
            return
        self.machine.days = days
        self.world.sleep(HOUR)
        self.renew("--force-renewal", "--cert-name", lineage.name, lineage=lineage)
        self.quiet = 0

    @rule(number=numbers, days=st.sampled_from([90, 64, 45]),
          kind=st.sampled_from([*TROUBLES, *LASTING, *LASTING]), at=st.integers(0, 12))
    def disturbed_renewal(self, number: int, days: float, kind: str, at: int) -> None:
        """The same while something goes wrong, and the next run."""
        self.machine.trouble = Trouble(kind, at)
        self.force_renewal(number, days)
        self.next_run()

    @rule(number=numbers, days=st.sampled_from([1, 8, 25]))
    def renewals(self, number: int, days: float) -> None:
        """One lineage is renewed again and again, so that old certificates are cleaned away."""
        for _ in range(3):
            self.force_renewal(number, 90)
            self.timer(days)

    @rule(name=names)
    def failed_publication(self, name: str) -> None:
        """What a renewal brings cannot be published, and the next run finds that."""
        if name in self.world.domains:
            self.world.qiniu.fail_next_publication(name)
            self.force_renewal(self.world.lineages.index(self.owner(name)), 90)
            self.next_run()

    @precondition(lambda self: not self.witness.hidden)
    @rule(name=names, is_all=st.booleans(), rollback=st.sampled_from(["", "meanwhile", "after"]))
    def wrong_list(self, name: str, *, is_all: bool, rollback: str) -> None:
        """Qiniu's list lacks a domain, or a whole account, for a run; and all is rolled back."""
        account = self.owner(name).account
        self.quiet = 0
        self.world.hide(*(one for one, domain in [*self.world.domains.items()]
                          if one == name or (is_all and domain.account == account)))
        self.next_run()
        back = self.go_back(ALL) if rollback == "meanwhile" else None
        self.world.show()
        issued = [self.world.newest(lineage) for lineage in self.world.lineages]
        self.world.sleep(DAY / 2)
        run = self.renew()
        if rollback == "after":
            self.full_rollback()
        elif (back and is_all and not self.is_torn
              and all(map(self.world.conf, self.world.lineages))
              and issued == [self.world.newest(lineage) for lineage in self.world.lineages]):
            self.judge_given_back(back, run)

    def renew(self, *arguments: str, lineage: Lineage | None = None) -> Run:
        """Renew, one lineage or all, and judge."""
        trouble, failures, quiet = self.machine.trouble, self.world.failures, self.quiet
        failed = [name for name in self.promised() if lineage in (None, self.owner(name))
                  and self.world.domains[name].state == "failed"]
        is_swapped = trouble is not None and trouble.kind == "other keys"
        if is_swapped:
            self.world.swap_keys()
        run = self.machine.renew(*arguments)
        if is_swapped:
            self.world.swap_keys(back=True)
            assert [] == self.witness.changes, run.output
        self.machine.trouble = None
        self.quiet = 0 if trouble or failures != self.world.failures else self.quiet + 1
        self.judge("renew", run)
        self.judge_settings(run)
        if run.status == 0:
            assert not failed, f"{failed} could not be published, and nothing is said\n{run.output}"
            self.judge_served(run, lineage)
            self.judge_expired(run, lineage)
        if trouble and trouble.kind in PASSING and quiet > 1 and not self.excuses():
            assert run.status == 0, f"a passing fault failed the run\n{run.output}"
        if self.quiet > 1:
            self.judge_served(run, lineage)
            assert run.status == 0 or self.excuses(), f"status 1 for nothing\n{run.output}"
        self.judge_hold(run)
        return run

    @rule(count=st.sampled_from([1, 1, 2]))
    def rollback(self, count: int) -> None:
        """``certbot rollback``, and the next run."""
        self.go_back(count)
        self.timer(0.5)

    @rule()
    def full_rollback(self) -> None:
        """``certbot rollback`` of all that there is."""
        trouble = self.machine.trouble
        run = self.go_back(ALL)
        if not trouble and not self.is_torn:
            self.judge_given_back(run)

    def go_back(self, count: int) -> Run:
        """Roll back, and judge."""
        self.quiet = 0
        self.world.sleep(HOUR)
        run = self.world.rollback(count)
        self.machine.trouble = None
        self.has_rolled_back = True
        self.redirected.clear()
        self.judge("rollback", run)
        for lineage in self.world.lineages:
            if found := self.world.newest(lineage):
                self.held[lineage.name] = found.fingerprint
        self.kept = {change.name: self.world.wanted(change.name) for change in self.witness.changes
                     if change.name in self.world.domains} if not run.status else {}
        return run

    @rule(number=numbers, verb=st.sampled_from(["install", "enhance"]), redirect=st.booleans())
    def install(self, number: int, verb: str, *, redirect: bool) -> None:
        """``certbot install``, with a redirect or without, or ``enhance --redirect``."""
        lineage = self.world.lineages[number]
        if not self.world.conf(lineage):
            return
        listed = self.world.listed(lineage)
        options = ["--qiniu-domains", ",".join(listed)] if listed else []
        if redirect or verb == "enhance":
            options.append("--redirect")
        run = self.asked(verb, lambda: self.world.verb(verb, lineage, *options))
        if run.status == 0 and verb == "install":
            self.held.pop(lineage.name, None)
            self.judge_served(run, lineage)
        # It stands where one domain alone has failed; where all have, certbot goes back.
        if "--redirect" in options and (run.status == 0 or self.witness.changes):
            self.redirected |= {name for name, _ in self.scope(lineage)}

    @rule(number=numbers, chosen=st.sampled_from(["auto", "first", "all"]))
    def reconfigure(self, number: int, chosen: str) -> None:
        """``certbot reconfigure`` of ``--qiniu-domains``."""
        lineage = self.world.lineages[number]
        if not self.world.conf(lineage):
            return
        mine = sorted(name for name, domain in self.world.domains.items()
                      if domain.account == lineage.account and covers(lineage.names, name))
        value = {"auto": "auto", "first": ",".join(mine[:1]), "all": ",".join(mine)}[chosen]
        self.asked("reconfigure", lambda: self.world.verb(
            "reconfigure", lineage, "--qiniu-domains", value or "auto"))

    @rule(name=names, is_forgotten=st.booleans(), is_late=st.booleans())
    def take_back(self, name: str, *, is_forgotten: bool, is_late: bool) -> None:
        """``certbot-qiniu apply --take-back``, or ``forget`` of what is gone.

        :param is_late: nothing could be renewed before, and all has expired.
        """
        if is_late:
            self.machine.trouble = Trouble("authority")
            self.timer(100)
        if is_forgotten:
            run = self.asked("forget", lambda: self.machine.run(
                "forget", "--cert-name", self.owner(name).name))
            assert [] == self.witness.changes, run.output
            return
        self.given.add((name, self.over.pop(name, "")))
        run = self.asked("apply", lambda: self.machine.run("apply", "--take-back", name))
        if run.status == 0:
            self.judge_expired(run, None)

    @rule(number=numbers)
    def delete_lineage(self, number: int) -> None:
        """``certbot delete``, and another one later."""
        lineage = self.world.lineages[number]
        if self.world.conf(lineage):
            self.machine.trouble = None
            run = self.asked("delete", lambda: self.machine.certbot(
                "delete", "--cert-name", lineage.name))
            assert run.status == 0, run.output
        else:
            self.machine.days = 90
            run = self.asked("run", lambda: self.world.issue(lineage))
            if run.status == 0:
                self.judge_served(run, lineage)

    def asked(self, verb: str, work: Callable[[], Run]) -> Run:
        """Do what a user asks for, and judge."""
        self.quiet = 0
        self.world.sleep(HOUR)
        run = work()
        self.machine.trouble = None
        if verb != "forget":
            self.kept.clear()
        self.judge(verb, run)
        return run

    # Trouble, and other people ------------------------------------------------------------------

    @precondition(lambda self: self.machine.trouble is None)
    @rule(kind=st.sampled_from(TROUBLES), at=st.integers(0, 12))
    def trouble(self, kind: str, at: int) -> None:
        """The next run is disturbed."""
        self.machine.trouble = Trouble(kind, at)

    @rule(name=names, days=st.sampled_from([1, 25, 40, 60, 80, 200, 500]),
          kind=st.sampled_from(["plain", "bought", "of our kind"]),
          then=st.sampled_from(["", "runs", "no details"]))
    def by_hand(self, name: str, days: float, kind: str, then: str) -> None:
        """Somebody binds a certificate of his in the console, or so another machine does."""
        if not self.touched(name):
            return
        if self.world.wanted(name).cert_id in self.witness.uploaded or name in self.over:
            self.over[name] = ""
        cert_id = self.world.stranger(self.owner(name), days, **{
            "plain": {}, "bought": {"order_id": "1"},
            "of our kind": {"name": f"{OUR_KIND}{self.owner(name).name}_0123456789ab"}}[kind])
        if name in self.over:
            self.over[name] = cert_id
        self.world.qiniu.change_domain(name, protocol="https", cert_id=cert_id, state="success")
        if then == "no details":
            self.machine.trouble = Trouble(then)
        if then:
            self.next_runs()

    @rule(name=names, what=st.sampled_from(["http", "force", "http2", "frozen", "failing", "tls",
                                           "newer"]))
    def by_hand_otherwise(self, name: str, what: str) -> None:
        """Somebody changes settings in the console, or Qiniu has its own way with a domain."""
        if not self.touched(name):
            return
        now, qiniu = self.world.wanted(name), self.world.qiniu
        if what == "frozen":
            is_frozen = self.world.domains[name].state == "frozen"
            qiniu.change_domain(name, state="success" if is_frozen else "frozen",
                                freeze_type="" if is_frozen else "ICP")
        elif now.protocol == "http":
            return
        elif what == "failing":
            qiniu.fail_next_publication(name)
        elif what == "http":
            qiniu.change_domain(name, protocol="http", cert_id="", force_https=False, http2=False,
                                state="success")
        elif what == "force":
            qiniu.change_domain(name, force_https=not now.force_https)
        elif what == "tls":
            qiniu.change_domain(name, tls_versions=() if now.tls_versions else ("TLSv1.3",))
        elif what == "newer":
            qiniu.change_domain(name, ocsp=not now.ocsp)
        else:
            qiniu.change_domain(name, http2=not now.http2)

    @rule(name=names, protocol=st.sampled_from(["http", "https"]))
    def delete_domain(self, name: str, protocol: str) -> None:
        """A domain is deleted, or made anew."""
        world = self.world
        if self.touched(name):
            world.qiniu.remove_domain(name)
            self.forget_domain(name)
        elif name not in world.witness.hidden and name not in world.domains and (
                lineage := self.owner(name, or_none=True)):
            self.quiet = 0
            cert_id = world.stranger(lineage, 20) if protocol == "https" else ""
            world.qiniu.add_domain(name, account=lineage.account, protocol=protocol,
                                   cert_id=cert_id)

    @rule(number=numbers, is_all=st.booleans())
    def hide(self, number: int, is_all: bool) -> None:
        """Qiniu's list lacks domains for a while, or has them again."""
        self.quiet = 0
        if self.witness.hidden:
            self.world.show()
            return
        account = self.world.lineages[number].account
        mine = sorted(name for name, domain in self.world.domains.items()
                      if domain.account == account)
        self.world.hide(*mine[:None if is_all else 1])

    @rule(is_restored=st.booleans())
    def backup(self, *, is_restored: bool) -> None:
        """Somebody backs certbot's configuration up, or restores it."""
        if not is_restored:
            self.world.backup()
            self.at_backup = dict(self.before), set(self.ours), dict(self.held)
            return
        self.quiet = 0
        self.is_torn |= self.has_rolled_back  # the checkpoints that were used up stay so
        self.world.restore()
        before, ours, held = self.at_backup
        self.before = {name: config for name, config in before.items() if name in self.before}
        self.ours, self.held = set(ours), dict(held)
        self.kept.clear()

    def touched(self, name: str) -> bool:
        """Whether a domain is there, that somebody is about to change once it is published."""
        if name not in self.world.domains:
            return False
        self.quiet = 0
        self.world.sleep(HOUR)
        self.world.wanted(name)
        self.kept.pop(name, None)
        return True

    def forget_domain(self, name: str) -> None:
        """What was known of a domain that is gone."""
        for known in (self.before, self.over, self.kept):
            known.pop(name, None)

    # What must hold -----------------------------------------------------------------------------

    def owner(self, name: str, *, or_none: bool = False) -> Lineage:
        """The lineage that a domain is for; of two the one that names it."""
        found = [lineage for lineage in self.world.lineages if covers(lineage.names, name)]
        return found[-1] if found or not or_none else None  # type: ignore[return-value]

    def scope(self, lineage: Lineage) -> Iterator[tuple[str, Config]]:
        """The domains that a lineage may serve, and what they serve, or will."""
        listed = self.world.listed(lineage)
        for name, domain in [*self.world.domains.items()]:
            if (domain.account == lineage.account and covers(lineage.names, name)
                    and (listed is None or name in listed) and domain.state != "frozen"):
                yield name, self.world.wanted(name)

    def is_deliverable(self, lineage: Lineage, found: Newest) -> bool:
        """Whether the newest certificate can be at Qiniu, and nothing keeps it from there."""
        left = found.ends - self.world.now
        mine = {name for name in self.ours if covers(lineage.names, name)}
        if mine and not mine & self.world.domains.keys():
            return False  # the list is in doubt
        return left > 0 and self.held.get(lineage.name) != found.fingerprint and (
            left >= OLD_DAYS * DAY or any(
                item.fingerprint == found.fingerprint
                for item in self.world.qiniu.certificates(lineage.account)))

    def promised(self) -> dict[str, set[str]]:
        """The domains that must serve a newest certificate, and which: one of a few."""
        found: dict[str, set[str]] = {}
        for lineage in self.world.lineages:
            mine, conf = self.world.newest(lineage), self.world.conf(lineage)
            if not conf or not mine:
                continue
            for name, config in self.scope(lineage):
                is_ours = self.is_deliverable(lineage, mine) and not self.may_differ(
                    lineage, mine, name, config)
                found.setdefault(name, set()).add(mine.fingerprint if is_ours else "")
        return {name: wanted for name, wanted in found.items() if "" not in wanted}

    def may_differ(self, lineage: Lineage, mine: Newest, name: str, config: Config) -> bool:
        """Whether what a domain serves may be left as it is."""
        if config.protocol == "http":  # covered only by a wildcard: nobody has asked for HTTPS
            return not self.world.listed(lineage) and name not in lineage.names
        certificate = vars(self.world.qiniu)["_certificates"].get(config.cert_id)
        if (certificate is None or certificate.not_after <= self.world.now
                or certificate.fingerprint in self.world.archive(lineage)):
            return False
        return bool(certificate.not_after > mine.ends or certificate.order_id
                    or config.cert_id in self.witness.uploaded)  # lost by a restored backup

    def judge(self, verb: str, run: Run) -> None:
        """What holds after any run."""
        assert not self.witness.lost, f"a stranger's was deleted\n{run.output}"
        assert not self.witness.expired, f"an expired certificate was sent\n{run.output}"
        for change in self.witness.changes:
            self.judge_replaced(verb, change, run)
        self.account_for(verb, self.witness.changes)

    def account_for(self, verb: str, changes: list[Change]) -> None:
        """Learn from what was changed."""
        for change in changes:
            self.ours.add(change.name)
            is_ours = change.before.cert_id in self.witness.uploaded
            if verb != "rollback":
                self.before.setdefault(change.name, Config() if is_ours else change.before)
            if change.before.protocol == "https" and not is_ours:
                self.given.add((change.name, change.before.cert_id))

    def judge_replaced(self, verb: str, change: Change, run: Run) -> None:
        """Nothing foreign that ends later than ours is replaced, but by rule."""
        name, theirs = change.name, change.before.cert_id
        if change.before.protocol == "http":
            assert verb != "renew" or self.may_switch(name), f"{name} was switched\n{run.output}"
            return
        if verb == "rollback" or theirs in self.witness.uploaded:
            return
        left = self.world.end(theirs) - self.world.now
        if self.is_another_installations(theirs) and verb in ("install", "run"):
            return
        if self.world.end(theirs) <= self.world.end(change.after.cert_id) or left < 0:
            return
        if self.over.get(name) == theirs:
            by_right = left <= LEFT_DAYS * DAY
        else:
            by_right = (name, theirs) in self.given or any(
                name in (self.world.listed(lineage) or ()) for lineage in self.world.lineages)
        assert by_right, f"{name}: somebody else's better certificate was replaced\n{run.output}"

    def is_another_installations(self, cert_id: str) -> bool:
        """Whether a certificate has a name of our kind, and is not ours."""
        found = vars(self.world.qiniu)["_certificates"].get(cert_id)
        return bool(found and found.name.startswith(OUR_KIND)
                    and cert_id not in self.witness.uploaded)

    def may_switch(self, name: str) -> bool:
        """Whether a domain may be switched to HTTPS: it was asked for, or it was so before."""
        return name in self.ours or self.has_rolled_back or any(
            name in (*lineage.names, *(self.world.listed(lineage) or ()))
            for lineage in self.world.lineages)

    def judge_settings(self, run: Run) -> None:
        """A renewal changes no setting but to what was asked for."""
        for change in self.witness.changes:
            if "https" == change.before.protocol == change.after.protocol and (
                    not self.has_rolled_back):
                force = change.after.force_https
                for setting in ("http2", "tls_versions", "ocsp"):
                    before, after = (getattr(config, setting) for config in (
                        change.before, change.after))
                    assert before == after, f"{change.name}: {setting}\n{run.output}"
                assert force == change.before.force_https or (
                    force and change.name in self.redirected), run.output

    def judge_served(self, run: Run, lineage: Lineage | None = None) -> None:
        """What is promised is served, or is being published: nothing that has expired."""
        for name, wanted in self.promised().items():
            if lineage not in (None, self.owner(name)):
                continue
            config = self.world.wanted(name)
            assert config.fingerprint in wanted, (
                f"{name} does not serve the newest certificate\n{run.output}")

    def judge_expired(self, run: Run, lineage: Lineage | None) -> None:
        """A run that succeeds leaves nothing of ours on an expired certificate, held or not."""
        for one in self.world.lineages:
            if lineage not in (None, one) or not self.world.conf(one):
                continue
            for name, config in self.scope(one):
                if one is self.owner(name) and (
                        name in self.kept or (name in self.ours and one.name not in self.held)):
                    assert config.protocol == "http" or (
                        self.world.end(config.cert_id) > self.world.now), (
                        f"{name} serves an expired certificate\n{run.output}")

    def judge_hold(self, run: Run) -> None:
        """What a rollback has led to stays, until there is a newer certificate or it ends."""
        for name, config in [*self.kept.items()]:
            lineages = [lineage for lineage in self.world.lineages if covers(lineage.names, name)]
            held = all((mine := self.world.newest(one)) and mine.fingerprint == self.held.get(
                one.name) for one in lineages)
            ends = self.world.end(config.cert_id)
            if not held or name not in self.world.domains:
                del self.kept[name]
            elif config.protocol == "http" or config.cert_id not in self.witness.uploaded or (
                    ends - self.world.now > HOLD_DAYS * DAY):
                now = self.world.wanted(name)
                assert (config.protocol, config.cert_id) == (now.protocol, now.cert_id), (
                    f"{name} is not as the rollback left it\n{run.output}")

    def judge_given_back(self, back: Run, later: Run | None = None) -> None:
        """After a full rollback each domain is as it was before us, or is named.

        :param later: what has done since what could not be done then.
        """
        text = " ".join(back.output.split())
        if "Nothing was rolled back" in text:
            assert back.status
            return
        if "rollback isn't available" in text:
            return
        run = later or back
        text = " ".join(run.output.split())
        for name, before in [*self.before.items()]:
            if name not in self.world.domains:
                continue
            config = self.world.wanted(name)
            if replace(config, headers=()) == before:
                self.before.pop(name)
            else:
                error = text.partition("with error: ")[2] or text.rpartition("Error: ")[2]
                told = (run.status and name in error) or any(
                    f"{name} {words}" in text for words in ("has been changed since", "is frozen"))
                assert told, (
                    f"{name} is neither as before nor named: {config}\n{run.output}")

    def excuses(self) -> list[str]:
        """Why a run that nothing disturbs may fail."""
        found = []
        promised = self.promised()
        for lineage in self.world.lineages:
            mine = self.world.newest(lineage)
            if not self.world.conf(lineage) or not mine:
                continue
            listed = self.world.listed(lineage)
            if not self.is_deliverable(lineage, mine):
                found.append(f"{lineage.name} cannot be delivered")
            scope = dict(self.scope(lineage))
            if not promised.keys() & scope:
                found.append(f"{lineage.name} has no domain")
            if set(listed or ()) - scope.keys():
                found.append(f"{lineage.name} lacks a listed domain")
            archive = self.world.archive(lineage)
            found += [f"{name} serves what is lost" for name, config in scope.items()
                      if config.cert_id in self.witness.uploaded
                      and config.fingerprint not in archive]
            found += [f"{name} serves another installation's" for name, config in scope.items()
                      if self.is_another_installations(config.cert_id)
                      and self.world.end(config.cert_id) >= mine.ends]
        served = {name for lineage in self.world.lineages for name, _ in self.scope(lineage)}
        found += [f"{name} can never be given back" for name, before in self.before.items()
                  if self.has_rolled_back and name in self.world.domains.keys() - served
                  and before.cert_id and self.world.end(before.cert_id) <= self.world.now]
        return found

    def teardown(self) -> None:
        """When all trouble is over, and all is renewed, two runs suffice."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.sleep(HOUR)
        world.show()
        for name, domain in [*world.domains.items()]:
            if domain.state == "frozen":
                world.qiniu.change_domain(name, state="success", freeze_type="")
        vars(world.qiniu)["_failures"].clear()
        self.quiet, self.machine.trouble, self.machine.days = 0, None, 90
        self.renew("--force-renewal")
        world.sleep(DAY / 2)
        self.renew()


def explore(number: int, examples: int, steps: int, directory: Path) -> None:
    """Run histories, the same ones for the same number."""
    Histories.home, Histories.worlds = directory, {}
    run_state_machine_as_test(seed(number)(Histories), settings=settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
        phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False, print_blob=False,
        suppress_health_check=list(HealthCheck)))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(10))
def test_histories(number: int, tmp_path: Path) -> None:
    """Three hundred in all."""
    explore(number, 30, 10, tmp_path)


@pytest.mark.slow
@pytest.mark.random
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(10, 60))
def test_more_histories(number: int, tmp_path: Path) -> None:
    """Five thousand more, shorter ones."""
    explore(number, 100, 8, tmp_path)
