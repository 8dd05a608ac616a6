"""Qiniu as a target: what each of certbot's verbs changes, and when it is brought there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certbot_qiniu import errors, prompts
from certbot_qiniu.deployment import holds, rollback
from certbot_qiniu.deployment.context import Options
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.deployment.reconcile import Outcome
from certbot_qiniu.deployment.state import Managed, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.writing import Changes, Writer
from certbot_qiniu.failures import Failures
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.model import Binding, Certificate, Domain
from certbot_qiniu.options import Settings
from certbot_qiniu.qiniu.account import Accounts
from certbot_qiniu.targets import qiniu as module
from certbot_qiniu.targets.qiniu import QiniuTarget
from certbot_qiniu.targets.run import Run
from tests.unit.deployment.desired import set_state
from tests.unit.rig import renew
from tests.unit.targets.plugin import LINEAGE, new_run, renewed

A, B = "a.example.com", "b.example.com"
PATHS = ("cert.pem", "privkey.pem", "chain.pem", "fullchain.pem")
KEYS = "/etc/qiniu.ini"


class Desk(Deployer):
    """A deployer on real files, which reaches no account: it notes what it is asked instead.

    :ivar asked: (what, for which lineage) in order.
    :ivar outcomes: lineage -> what becomes of settling it; all well if it is not named.
    :ivar problems: of every converging.
    """

    def __init__(self, folder: Path) -> None:
        store = Store(folder / "qiniu")
        store.open()
        super().__init__(Writer(store, self, folder / "backups"), Lineages(folder), Accounts(),
                         print)
        self.asked: list[tuple[str, str]] = []
        self.options: list[Options] = []
        self.outcomes: dict[str, Outcome | Exception] = {}
        self.problems = Failures()
        self.chosen: tuple[str, ...] = (A,)

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        self.asked.append(("checkpoint", ""))

    def finalize_checkpoint(self, title: str) -> None:
        raise AssertionError("a target ends no checkpoint")

    def context(self, credentials: str | None, services: Iterable[str] = ()) -> Any:
        self.asked.append((f"account {credentials}", ",".join(services)))
        domains = {name: Domain(name, kind=kind) for name, kind in (
            (A, "normal"), (".example.com", "wildcard"), ("x.test.qiniu.com", "test"))}
        return SimpleNamespace(account=SimpleNamespace(domains=lambda: domains))

    def _read_what_changes(self, changes: Changes, settings: Settings) -> None:
        """There is nothing to be read here."""

    def deploy(self, certificate: Certificate, settings: Settings, redirect: bool | None,
               ask: Callable[[tuple[str, ...]], Iterable[str]]) -> State:
        self.asked.append(("deploy", certificate.lineage))
        return self._with(self.chosen, certificate, settings, redirect)

    def converge(self, lineage: str, settings: Settings) -> Failures:
        self.asked.append(("converge", lineage))
        return self.problems

    def check_list(self, lineage: str, settings: Settings) -> None:
        self.asked.append(("check list", lineage))

    def settle(self, lineage: str, settings: Settings, options: Options) -> Outcome:
        self.asked.append(("settle", lineage))
        self.options.append(options)
        outcome = self.outcomes.get(lineage, Outcome())
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def settled(self) -> list[str]:
        """The lineages that were settled, in order."""
        return [lineage for what, lineage in self.asked if what == "settle"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A deployer with a lineage that manages nothing yet."""
    renew(tmp_path, LINEAGE, LINEAGE, "*.example.com")
    return Desk(tmp_path)


def target_of(desk: Desk, verb: str = "run", *, is_open: bool = True,
              **values: Any) -> QiniuTarget:
    """The target of a run over the deployer."""
    run = new_run(desk.store.folder.parent, verb, **{"qiniu_credentials": KEYS, **values})
    if is_open:
        run._deployer = desk
    return QiniuTarget(run)


def certificate_of(desk: Desk, lineage: str = LINEAGE) -> Certificate:
    """The newest certificate of a lineage."""
    return desk.lineages.current(lineage)


def save(target: QiniuTarget, title: str) -> None:
    """Save and commit, as the installer does if nobody fails."""
    target.save(title)
    target.commit()


def deployed(desk: Desk, target: QiniuTarget, lineage: str = LINEAGE) -> None:
    """Deploy and save, as ``run`` does."""
    target.deploy(certificate_of(desk, lineage), "*.example.com", PATHS)
    save(target, "Deployed ACME Certificate")


def manage(desk: Desk, name: str = A, lineage: str = LINEAGE, fingerprint: str = "ab" * 32,
           **settings: Any) -> Managed:
    """Let a lineage manage a domain."""
    entry = Managed(name, "cdn", lineage, Binding("https", fingerprint, **settings))
    set_state(desk.store, {**desk.store.state, name: entry})
    return entry


def written(desk: Desk) -> State:
    """The desired state on the disk."""
    later = Store(desk.store.folder, read_only=True)
    later.load()
    return later.state


def put_back(desk: Desk) -> None:
    """Let certbot's reverter put back a state without domains."""
    desk.store.state_path(LINEAGE).write_text('{"version": 2, "serial": 1, "domains": {}}')


# Before anything is changed


def test_names(desk: Desk) -> None:
    """The account's domains are offered as names for a certificate, without Qiniu's test ones."""
    assert [A, "*.example.com"] == target_of(desk).names()
    assert [(f"account {KEYS}", "cdn,kodo")] == desk.asked


@pytest.mark.parametrize(("credentials", "path"), [(KEYS, KEYS), (None, "/asked.ini")])
def test_check(desk: Desk, monkeypatch: pytest.MonkeyPatch, credentials: str | None,
               path: str) -> None:
    """If no credentials are named the user is asked, and certbot stores the answer."""
    checked: list[Any] = []
    monkeypatch.setattr(prompts, "credentials_path", lambda _: "/asked.ini")
    monkeypatch.setattr(module, "check_listed", lambda _, *facts: checked.append(facts))
    target = target_of(desk, qiniu_credentials=credentials, domains=["A.example.com"],
                       qiniu_domains=A)
    target.check()
    assert [({A}, (A,))] == checked
    assert [(f"account {path}", "cdn,kodo")] == desk.asked
    assert path == target.run.config.qiniu_credentials


def test_check_before_a_rollback(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback needs its accounts, and nobody to name credentials or domains."""
    asked: list[int] = []
    monkeypatch.setattr(module, "check_listed", None)
    monkeypatch.setattr(rollback, "check", lambda _, __, count: asked.append(count))
    target_of(desk, "rollback", qiniu_credentials=None, checkpoints=2).check()
    assert ([2], []) == (asked, desk.asked)


def test_rehearse(desk: Desk, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run shows what the next renewal would do, and changes nothing."""
    monkeypatch.setattr(module, "rehearse", lambda *_, **__: ["  one", "  two"])
    target_of(desk, "renew", dry_run=True).rehearse()
    assert ["\nWhat certbot renew would do at Qiniu:\n  one\n  two\n"] == shown
    assert {} == written(desk)


# The desired state


def test_save(desk: Desk) -> None:
    """The domains are chosen when all SANs are known, and written into the checkpoint."""
    target = target_of(desk)
    for san in ("*.EXAMPLE.com", "example.com"):
        target.deploy(certificate_of(desk), san, PATHS)
    target.save(None)
    assert [] == desk.asked
    save(target, "title")
    assert [("deploy", LINEAGE), ("checkpoint", "")] == desk.asked
    assert [A] == list(written(desk))
    assert {LINEAGE} == target.lineages
    save(target, "Add enhancement redirect")
    assert 2 == len(desk.asked), "chosen once, written once"


def test_save_nothing(desk: Desk) -> None:
    """A run that deploys nothing here changes nothing, and has nothing to settle."""
    target = target_of(desk)
    save(target, "title")
    target.settle()
    assert ([], {}) == (desk.asked, written(desk))


@pytest.mark.parametrize(("enhancement", "options", "asked_for", "expected"), [
    ("redirect", None, True, {"force_https": True}), ("redirect", None, None, None),
    ("redirect", None, False, None),
    ("ensure-http-header", "Strict-Transport-Security", None, {"hsts": True}),
    ("ensure-http-header", "Upgrade-Insecure-Requests", None, None),
], ids=["redirect", "nobody asked", "no redirect", "HSTS", "uir"])
def test_enhance(desk: Desk, enhancement: str, options: str | None, asked_for: bool | None,
                 expected: dict[str, bool] | None, caplog: pytest.LogCaptureFixture) -> None:
    """An enhancement that was asked for is in the next save; any other leaves all as it is."""
    before = manage(desk)
    target = target_of(desk, "enhance", redirect=asked_for, certname=LINEAGE)
    with caplog.at_level(logging.ERROR):
        assert target.enhance("*.example.com", enhancement, options)
    assert {A: before} == written(desk), "not before it is saved"
    save(target, "Add enhancement")
    binding = Binding("https", "ab" * 32, **(expected or {}))  # type: ignore[arg-type]
    assert binding == written(desk)[A].binding
    assert ({LINEAGE} if expected else set()) == target.lineages
    assert ("uir is not supported" in caplog.text) == (options == "Upgrade-Insecure-Requests")


@pytest.mark.parametrize(("enhancement", "options"), [
    ("staple-ocsp", None), ("auto-hsts", None), ("", None)])
def test_not_offered(desk: Desk, enhancement: str, options: str | None) -> None:
    """What is not offered here may be elsewhere: that is no error."""
    assert not target_of(desk).enhance(A, enhancement, options)
    assert enhancement not in target_of(desk).enhancements()


def test_unknown_header(desk: Desk) -> None:
    """A header that we do not know is refused, and not dropped."""
    with pytest.raises(errors.UsageError, match="no enhancement ensure-http-header X-Other"):
        target_of(desk).enhance(A, "ensure-http-header", "X-Other")


def test_enhancements_add_up(desk: Desk) -> None:
    """Each enhancement starts from what the one before has changed, and from the deployment."""
    target = target_of(desk, redirect=True)
    target.deploy(certificate_of(desk), A, PATHS)
    save(target, "Deployed")
    target.enhance(A, "redirect", None)
    target.enhance(A, "ensure-http-header", "Strict-Transport-Security")
    save(target, "Enhanced")
    binding = written(desk)[A].binding
    assert (True, True) == (binding.force_https, binding.hsts)


# Renewing


def test_renew(desk: Desk) -> None:
    """A renewal converges; what is wrong with some domains is reported when the others are done."""
    target = target_of(desk, "renew")
    target.renew(renewed())
    assert ([("converge", LINEAGE)], {LINEAGE}) == (desk.asked, target.lineages)
    desk.problems.errors = [errors.UsageError("one"), errors.UsageError("two")]
    with pytest.raises(errors.DeployError, match=r"^one; two$"):
        target.renew(renewed())
    assert {LINEAGE} == target.lineages


@pytest.mark.parametrize(("outcome", "converged"), [
    (Outcome(), 1), (Outcome(pending=[A]), 1), (Outcome(["wrong"]), 2),
    (errors.Unreachable("list", "down"), 2),
], ids=["well", "publishing", "a problem", "unreachable"])
def test_update_after_a_renewal(desk: Desk, outcome: Outcome | Exception,
                                converged: int) -> None:
    """What this process has just brought there is not done twice; what went wrong is."""
    entry = certificate_of(desk)
    manage(desk, fingerprint=entry.fingerprint)
    desk.outcomes[LINEAGE] = outcome
    target = target_of(desk, "renew")
    target.renew(renewed())
    if outcome == Outcome() or (isinstance(outcome, Outcome) and not outcome.problems):
        target.settle()
    else:
        with pytest.raises(errors.QiniuError):
            target.settle()
    later = target_of(desk, "renew")
    later.update(renewed())
    assert converged == desk.asked.count(("converge", LINEAGE))


def test_update_of_a_newer_one(desk: Desk) -> None:
    """A certificate that was renewed since is brought there, whatever was done before."""
    manage(desk, fingerprint=certificate_of(desk).fingerprint)
    target = target_of(desk, "renew")
    target.update(renewed())
    target.settle()
    renew(desk.store.folder.parent, LINEAGE, version=2)
    target_of(desk, "renew").update(renewed())
    assert 2 == desk.asked.count(("converge", LINEAGE))


def test_update_of_an_unreadable_one(desk: Desk) -> None:
    """Converging, not this, reports a lineage that cannot be read."""
    target_of(desk, "renew").update(renewed("gone"))
    assert [("converge", "gone")] == desk.asked


# Settling


@pytest.mark.parametrize(("verb", "values", "expected"), [
    ("run", {}, Options(wait=True, take_over=True, insist=True)),
    ("install", {"qiniu_keep_certificates": 3, "qiniu_publish_timeout": 5},
     Options(wait=True, take_over=True, insist=True, keep_certificates=3, wait_seconds=5)),
    ("renew", {"qiniu_domains": f"{A},{B}"}, Options(listed=(A, B), wait_seconds=60)),
    ("renew", {"qiniu_apply": True, "qiniu_take_back": [A]},
     Options(insist=True, take_back=(A,), wait_seconds=60, bury=False)),
], ids=["run", "install", "renew", "apply"])
def test_how(desk: Desk, verb: str, values: dict[str, Any], expected: Options) -> None:
    """A user's run waits and may take over; a timer's waits a minute for busy domains."""
    target = target_of(desk, verb, **values)
    target.lineages.add(LINEAGE)
    target.settle()
    assert ([expected], set()) == (desk.options, target.lineages)


def test_settled_once(desk: Desk) -> None:
    """The second restart of a run finds it done; one after a change does not."""
    target = target_of(desk)

    def enhance() -> None:
        target.enhance(A, "ensure-http-header", "Strict-Transport-Security")
        save(target, "Enhanced")
        target.settle()

    deployed(desk, target)
    target.settle()
    target.settle()
    assert [LINEAGE] == desk.settled
    enhance()
    assert [LINEAGE] * 2 == desk.settled
    enhance()
    assert [LINEAGE] * 2 == desk.settled, "an enhancement that is there already"


def test_one_fails(desk: Desk) -> None:
    """A lineage that fails stops none of the others, and is tried again."""
    for name in ("a", LINEAGE, "z"):
        manage(desk, f"{name}.example.com", name)
    desk.outcomes = {"a": OSError("no room"), LINEAGE: Outcome(["one", "two"])}
    target = target_of(desk)
    target.lineages = {"z", LINEAGE, "a"}
    with pytest.raises(errors.DeployError, match="no room; one; two"):
        target.settle()
    assert ["a", LINEAGE, "z"] == desk.settled
    target.lineages = {"z", LINEAGE}
    desk.outcomes.clear()
    target.settle()
    assert ["a", LINEAGE, "z", LINEAGE] == desk.settled


def test_pending(desk: Desk, shown: list[str]) -> None:
    """Domains still being published are reported, each once, and are no failure."""
    desk.outcomes[LINEAGE] = Outcome(pending=[B, A, B])
    target = target_of(desk)
    target.lineages.add(LINEAGE)
    target.settle()
    assert [f"Qiniu is still publishing {A}, {B}; the next certbot renew confirms it"] == shown


@pytest.mark.parametrize(("verb", "lines"), [("certonly", 1), ("run", 0)])
def test_certonly(desk: Desk, shown: list[str], verb: str, lines: int) -> None:
    """``certonly`` says that nothing is deployed."""
    target_of(desk, verb).settle()
    assert (lines, []) == (len(shown), desk.settled)


# Going back


@pytest.mark.parametrize("changed", [True, False])
def test_rollback(desk: Desk, monkeypatch: pytest.MonkeyPatch, *, changed: bool) -> None:
    """A rollback holds the certificate that it takes back, and settles whatever it was for."""
    options: list[Options] = []
    monkeypatch.setattr(desk, "settle_all", lambda _, how: (options.append(how), Outcome())[1])
    newest = certificate_of(desk).fingerprint
    manage(desk, fingerprint=newest)
    target = target_of(desk, "rollback", qiniu_publish_timeout=7)
    monkeypatch.setattr(rollback, "begin", lambda _, __: holds.begin(desk.store, [LINEAGE]))
    target.before_roll_back(1)
    if changed:
        put_back(desk)
    target.roll_back(1)
    target.settle()
    assert (newest if changed else "") == desk.store.memory.lineage(LINEAGE).hold
    assert [Options(wait=True, wait_seconds=7, take_over=True, insist=True, clean=False,
                    returning=True)] == options


def test_rollback_with_problems(desk: Desk, shown: list[str],
                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Domains that are not back are reported, each problem once, and those still on their way."""
    monkeypatch.setattr(desk, "settle_all",
                        lambda *_: Outcome(["one", "two", "one"], pending=[B, A]))
    target = target_of(desk, "rollback")
    target.roll_back(1)
    with pytest.raises(errors.DeployError, match=r"what it served before: one; two$"):
        target.settle()
    assert [f"Qiniu is still publishing {A}, {B}"] == shown


@pytest.mark.parametrize("changed", [True, False])
def test_going_back_after_a_failure(desk: Desk, monkeypatch: pytest.MonkeyPatch, *,
                                    changed: bool) -> None:
    """After a failing restart nothing is held, and only what was undone is brought back."""
    settled: list[object] = []
    monkeypatch.setattr(desk, "settle_all", lambda *_: (settled.append(1), Outcome())[1])
    target = target_of(desk)
    deployed(desk, target)
    if changed:
        put_back(desk)
    target.roll_back(1)
    target.settle()
    assert changed == bool(settled)
    assert "" == desk.store.memory.lineage(LINEAGE).hold
    assert [] == desk.settled, "what this run wanted is not wanted any more"


@pytest.mark.parametrize("how", ["roll_back", "recover"])
def test_hold_comes_back(desk: Desk, how: str) -> None:
    """An install that ended a rollback's hold and then failed leaves the hold as it was."""
    desk.store.memory.lineage(LINEAGE).hold = "ab"
    target = target_of(desk, "install")
    deployed(desk, target)
    assert "" == desk.store.memory.lineage(LINEAGE).hold
    if how == "roll_back":
        target.roll_back(1)
    else:
        target.recover()
    assert "ab" == desk.store.memory.lineage(LINEAGE).hold
    assert set() == target.lineages
    holds.lift(desk.store, LINEAGE)
    desk.store.write_memory()
    target.recover()
    assert "" == desk.store.memory.lineage(LINEAGE).hold, "it comes back once"


def test_recover_reads_again(desk: Desk) -> None:
    """What certbot has put back is what this run goes on with."""
    manage(desk)
    put_back(desk)
    target_of(desk).recover()
    assert {} == desk.store.state


@pytest.mark.parametrize("how", ["roll_back", "recover"])
def test_what_was_wanted_is_forgotten(desk: Desk, how: str) -> None:
    """An enhancement that was not saved is gone after going back."""
    before = manage(desk)
    target = target_of(desk, redirect=True, certname=LINEAGE)
    target.enhance(A, "redirect", None)
    if how == "roll_back":
        target.roll_back(1)
    else:
        target.recover()
    save(target, "title")
    assert {A: before} == written(desk)


def test_recover_without_files(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """certbot recovers before anything is asked: that opens, and locks, nothing."""
    monkeypatch.setattr(Run, "open", None)
    target_of(desk, is_open=False).recover()


def test_rollback_to_damaged_files(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the restored file cannot be read nothing is sent by what was there before."""
    monkeypatch.setattr(desk, "settle_all", None)
    manage(desk)
    desk.store.former_state_path.write_text("damaged")
    target = target_of(desk, "rollback")
    for step in (lambda: target.roll_back(1), target.settle):
        with pytest.raises(errors.StateError):
            step()
