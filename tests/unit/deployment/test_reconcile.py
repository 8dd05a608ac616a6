"""One reconcile: its rounds, what is waited for, what is sent again, what a refusal means."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

import pytest

from certbot_qiniu.deployment.context import Options
from certbot_qiniu.deployment.reconcile import FIRST_PAUSE_SECONDS, Outcome, reconcile
from certbot_qiniu.deployment.state import Upload
from certbot_qiniu.model import DAY, Binding, Certificate, Domain, RemoteCertificate
from certbot_qiniu.options import OPTIONS
from tests.sandbox.wire import Fault
from tests.unit.deployment.account import LINEAGE, SANS, A, B, C
from tests.unit.deployment.desired import set_state
from tests.unit.deployment.reconciling import (
    LEAVE,
    WAIT,
    changes,
    go,
    manage,
    remembered,
    served,
)
from tests.unit.rig import DOMAIN_PAGE, PUBLISH_SECONDS, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


# Nothing to do, and all of it


def test_nothing_managed(rig: Rig, certificate: Certificate) -> None:
    """A lineage without domains costs no call, whatever others have."""
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A)
    assert Outcome() == reconcile(rig.context, ["another"], WAIT)
    assert [] == rig.calls()


def test_as_wanted(rig: Rig, certificate: Certificate) -> None:
    """If all is in sync nothing is sent, said or waited for."""
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A)
    go(rig)
    rig.said.clear()
    now = rig.now
    assert Outcome() == go(rig)
    assert ([], []) == (changes(rig), rig.said)
    assert rig.now - now < FIRST_PAUSE_SECONDS


def test_waits_until_published(rig: Rig, certificate: Certificate) -> None:
    """A run that waits ends when all domains serve the certificate, uploaded once, and says so."""
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https")
    manage(rig, certificate, A, B)
    begun = rig.now
    outcome = go(rig)
    assert Outcome(changed=[A, B]) == outcome
    assert [True, True] == served(rig, certificate, A, B)
    assert PUBLISH_SECONDS <= rig.now - begun <= PUBLISH_SECONDS + 15
    assert 1 == rig.calls().count("POST /sslcert")
    assert [f"{A}: certificate {certificate.remote_name} sent to Qiniu, HTTPS switched on",
            f"{B}: certificate {certificate.remote_name} sent to Qiniu",
            f"{A}: published", f"{B}: published"] == rig.said
    record = remembered(rig).memory.domains[A]
    assert record.sent is None
    assert record.confirmed is not None
    assert certificate.fingerprint == record.confirmed.binding.fingerprint


def test_leaves_publishing_to_the_next_run(rig: Rig, certificate: Certificate) -> None:
    """A renewal does not stay; the next ones see it publishing, and then confirm it."""
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A)
    now = rig.now
    assert Outcome(pending=[A], changed=[A]) == go(rig, LEAVE)
    assert rig.now - now < FIRST_PAUSE_SECONDS
    assert rig.now == remembered(rig).memory.domains[A].processing_since
    assert Outcome(pending=[A]) == go(rig, LEAVE)
    rig.wait(PUBLISH_SECONDS)
    assert [] == changes(rig)
    assert Outcome() == go(rig, LEAVE)
    assert remembered(rig).memory.domains[A].confirmed is not None


def test_noted_for_the_next_lineage(rig: Rig, certificate: Certificate) -> None:
    """The list that this process has shows what was sent: no other lineage sends into it."""
    for name, protocol in ((A, "http"), (B, "https"), (C, "https")):
        rig.qiniu.add_domain(name, protocol=protocol)
    manage(rig, certificate, A, B)
    rig.memory.update(C, lineage=LINEAGE, baseline=Binding("http"))
    go(rig, LEAVE)
    assert {A: ("processing", "sslize"), B: ("processing", "modify_https_conf"),
            C: ("processing", "unsslize")} == {
        name: (domain.state, domain.operation)
        for name, domain in rig.account.domains().items()}


def test_patience_by_default() -> None:
    """It is what the command line has by default."""
    assert OPTIONS["publish-timeout"]["default"] == Options().wait_seconds


def test_patience_ends(rig: Rig, certificate: Certificate) -> None:
    """What is still publishing when the time is over is pending, and no error."""
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A)
    begun = rig.now
    outcome = go(rig, Options(wait=True, wait_seconds=100.0))
    assert Outcome(pending=[A], changed=[A]) == outcome
    assert 100.0 <= rig.now - begun < 101.0
    assert remembered(rig).memory.domains[A].sent is not None


def test_pauses_grow(rig: Rig, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is quick is seen at once, what takes minutes is asked for every twelve seconds."""
    paused: list[float] = []
    pause = rig.context.waiting.pause
    monkeypatch.setattr(rig.context.waiting, "pause", lambda seconds, *more: (
        paused.append(seconds), pause(seconds, *more))[1])
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A)
    go(rig)
    assert 0.5 == paused[0]
    assert paused == sorted(paused)
    assert 12.0 == paused[-1]


def test_other_lineages_are_left_alone(rig: Rig, certificate: Certificate) -> None:
    """Only the domains of the lineages in question are touched, or restored."""
    for name in (A, B, C):
        rig.qiniu.add_domain(name)
    manage(rig, certificate, A)
    manage(rig, rig.renew("other", B), B)
    rig.memory.update(C, lineage="third", baseline=Binding("http"))
    assert Outcome(changed=[A]) == go(rig)
    assert ["https", "http", "http"] == [rig.qiniu.serving(name).protocol for name in (A, B, C)]


# Busy domains


@pytest.mark.parametrize("options", [WAIT, LEAVE], ids=["run", "renewal"])
def test_busy(rig: Rig, certificate: Certificate, options: Options) -> None:
    """A domain that is busy with somebody's change gets ours when that has ended, at once."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.change_domain(A, processing=100.0, operation="modify_cache")
    manage(rig, certificate, A)
    begun = rig.now
    outcome = go(rig, options)
    assert ([], [A]) == (outcome.problems, outcome.changed)
    rig.wait(PUBLISH_SECONDS)
    assert [True] == served(rig, certificate, A)
    assert 100.0 <= rig.now - begun


def test_busy_for_too_long(rig: Rig, certificate: Certificate) -> None:
    """One that stays busy with another change is a problem, and not pending."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.change_domain(A, processing=10 * DAY, operation="modify_cache")
    manage(rig, certificate, A)
    outcome = go(rig)
    assert ([], []) == (outcome.pending, outcome.changed)
    [problem] = outcome.problems
    assert f"{A} is busy at Qiniu with another change (modify_cache)" in problem


def test_busy_and_free(rig: Rig, certificate: Certificate) -> None:
    """A busy domain holds up none that is free."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.change_domain(A, processing=10 * DAY, operation="modify_cache")
    rig.qiniu.add_domain(B)
    manage(rig, certificate, A, B)
    outcome = go(rig)
    assert ([B], 1) == (outcome.changed, len(outcome.problems))
    assert [True] == served(rig, certificate, B)


def test_refused_as_busy_without_patience(rig: Rig, certificate: Certificate) -> None:
    """If there is no time to try again, Qiniu's refusal is reported."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    rig.refuse("/httpsconf", 400030)
    outcome = go(rig, Options(wait=True, wait_seconds=0))
    assert ([], 1) == (outcome.pending, len(outcome.problems))
    assert "the reason (code 400030" in outcome.problems[0]


def test_refused_as_busy_for_ever(rig: Rig, certificate: Certificate) -> None:
    """A domain that is refused as busy again and again is given up after three tries."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    rig.refuse("/httpsconf", 400030, times=100)
    outcome = go(rig)
    assert (1, []) == (len(outcome.problems), outcome.changed)
    assert 3 == len(changes(rig))


# Refusals


def test_certificates_cannot_be_listed(rig: Rig, certificate: Certificate) -> None:
    """If it is unknown whether a certificate is there, it is not uploaded; others are bound."""
    for name in (A, B):
        rig.qiniu.add_domain(name)
    manage(rig, certificate, A)
    other = rig.renew("other", B)
    rig.memory.uploads[rig.upload(other)] = Upload(other.fingerprint, "other")
    manage(rig, other, B)
    rig.account.domains()
    rig.refuse("GET fusion", 403001, times=9)
    outcome = reconcile(rig.context, [LINEAGE, "other"], WAIT)
    assert ([B], 1) == (outcome.changed, len(outcome.problems))
    assert "list the certificates" in outcome.problems[0]


def test_unreadable_domain(rig: Rig, certificate: Certificate) -> None:
    """A domain that cannot be read is a problem, and holds up no other one."""
    for name in (A, B):
        rig.qiniu.add_domain(name)
    manage(rig, certificate, A, B)
    rig.refuse(f"GET api.qiniu.com/domain/{A}", 403001)
    outcome = go(rig)
    assert ([B], 1) == (outcome.changed, len(outcome.problems))
    assert A in outcome.problems[0]


def test_unreadable_list(rig: Rig, certificate: Certificate) -> None:
    """Without the list nothing is known of any domain: one problem, and none is forgotten."""
    manage(rig, certificate, A, B)
    rig.refuse("/domain", 403001)
    outcome = reconcile(rig.context, [LINEAGE], WAIT)
    assert (1, [], []) == (len(outcome.problems), outcome.changed, outcome.pending)
    assert {A, B} == set(remembered(rig).state)
    assert [DOMAIN_PAGE] == [call for call in rig.calls() if "domain" in call]


# Changes without an answer, or without an effect


def test_no_effect(rig: Rig, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Qiniu accepts and never shows is sent three times, and then told."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    sent: list[str] = []
    monkeypatch.setattr(rig.client, "bind_certificate",
                        lambda name, *_, **__: sent.append(name))
    outcome = go(rig)
    assert [A] * 3 == sent
    assert f"{A} does not take the change" in outcome.problems[0]


def test_publication_failed_once(rig: Rig, certificate: Certificate) -> None:
    """A failed publication is sent once more, and is a problem of this run all the same."""
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https")
    manage(rig, certificate, B)
    rig.qiniu.fail_next_publication(B, reason="line trouble")
    assert Outcome(pending=[B], changed=[B]) == go(rig, LEAVE)
    rig.wait(PUBLISH_SECONDS)
    outcome = go(rig, LEAVE)
    [problem] = outcome.problems
    assert f"could not publish the change of {B}: line trouble. It was sent again" in problem
    rig.wait(PUBLISH_SECONDS)
    assert Outcome() == go(rig, LEAVE)
    assert [True] == served(rig, certificate, B)


def test_publication_fails_while_waiting(rig: Rig, certificate: Certificate) -> None:
    """What fails in the run that sent it is left to the next one: Qiniu needs a rest."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    rig.qiniu.fail_next_publication(A, reason="line trouble")
    outcome = go(rig)
    [problem] = outcome.problems
    assert f"could not publish the change of {A}: line trouble." in problem
    assert "sent again" not in problem
    assert 1 == len(changes(rig))
    assert [] == go(rig).pending
    assert [True] == served(rig, certificate, A)


# A run that dies


def test_dies_while_waiting(rig: Rig, certificate: Certificate) -> None:
    """Ctrl-C while Qiniu publishes loses nothing of what was learnt."""
    def stop(_: float) -> None:
        assert rig.now == remembered(rig).memory.domains[A].processing_since, "a kill loses it"
        raise KeyboardInterrupt

    rig.qiniu.add_domain(A)
    manage(rig, certificate, A)
    rig.context = replace(rig.context, sleep=stop)
    with pytest.raises(KeyboardInterrupt):
        go(rig)
    record = remembered(rig).memory.domains[A]
    assert record.sent is not None
    assert rig.now == record.processing_since


# Going back


def test_restored(rig: Rig, certificate: Certificate) -> None:
    """Domains that are given up serve what they did before, and are ours no more."""
    bought = rig.upload(rig.renew("bought", B), "bought")
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https")
    manage(rig, certificate, A)
    manage(rig, certificate, B, baseline=Binding("https", "", bought, True, False))
    go(rig)
    rig.said.clear()
    set_state(rig.store, {})
    assert [A, B] == sorted(go(rig).changed)
    assert ("http", bought, True) == (rig.qiniu.serving(A).protocol, rig.qiniu.serving(B).cert_id,
                                      rig.qiniu.serving(B).force_https)
    for name in (A, B):
        assert f"{name}: back to what it was before certbot managed it" in rig.said
        record = remembered(rig).memory.domains[name]
        assert ("", None, None) == (record.lineage, record.baseline, record.confirmed)


def test_redirect_taken_back(rig: Rig, certificate: Certificate) -> None:
    """A redirect that a rollback takes back is undone once, and is then the user's to change."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    go(rig)
    manage(rig, certificate, A, force_https=True)
    rig.memory.update(A, former_force=False)
    go(rig)
    assert rig.qiniu.serving(A).force_https
    manage(rig, certificate, A)
    assert [A] == go(rig).changed
    assert not rig.qiniu.serving(A).force_https
    rig.wait(1)
    rig.qiniu.change_domain(A, force_https=True)
    assert Outcome() == go(rig)
    assert rig.qiniu.serving(A).force_https


# Domains that cannot be served


def test_unread_once_it_was_sent(rig: Rig, certificate: Certificate) -> None:
    """If Qiniu cannot be asked any more, that is reported; it goes on with accepted changes."""
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A)
    away = Fault("hook", hook=lambda _: rig.board.arm(Fault("reset"), times=10**6))
    rig.board.arm(away, match="PUT ")
    outcome = go(rig)
    assert "Could not list" in outcome.problems[0]
    assert [] == outcome.unserved


@pytest.mark.parametrize("listed", [(), (A,)], ids=["found", "listed"])
def test_gone(rig: Rig, certificate: Certificate, listed: Collection[str]) -> None:
    """A domain that is gone is reported, and no longer managed unless listed; its past is kept."""
    manage(rig, certificate, A)
    before = remembered(rig)
    assert [A] == go(rig, replace(WAIT, listed=listed)).unserved
    after = remembered(rig)
    record = after.memory.domains[A]
    assert bool(listed) == (A in after.state) == (record.gone is None)
    assert before.memory.domains[A].baseline == record.baseline
    assert record.gone is None or before.state[A].binding == record.gone.binding


def test_gone_and_only_told(rig: Rig, certificate: Certificate) -> None:
    """If nothing is buried, it is reported again and again."""
    manage(rig, certificate, A)
    for _ in range(2):
        assert [A] == go(rig, replace(WAIT, bury=False)).unserved
    assert A in remembered(rig).state


def test_gone_on_its_way_back(rig: Rig, certificate: Certificate) -> None:
    """A domain that was to have its baseline back keeps it in memory, without our settings."""
    manage(rig, certificate, A)
    set_state(rig.store, {})
    go(rig)
    record = remembered(rig).memory.domains[A]
    assert (True, None) == (record.baseline is not None, record.gone and record.gone.binding)


@pytest.mark.parametrize("listed", [(), (A,)], ids=["found", "listed"])
def test_dead(rig: Rig, certificate: Certificate, listed: Collection[str],
              caplog: pytest.LogCaptureFixture) -> None:
    """A frozen domain is a warning, and a problem for who named it; it stays managed."""
    rig.qiniu.add_domain(A, state="frozen", freeze_type="ICP")
    manage(rig, certificate, A)
    with caplog.at_level(logging.WARNING):
        outcome = go(rig, replace(WAIT, listed=listed))
    assert bool(listed) == bool(outcome.problems)
    assert (not listed) == ("it is left out" in caplog.text)
    assert [A] == list(remembered(rig).state)


@pytest.mark.parametrize("take_over", [False, True])
def test_another_installation(rig: Rig, certificate: Certificate, *, take_over: bool) -> None:
    """A newer certificate of another installation stays, unless the user takes the domain over."""
    rig.wait(DAY)
    newer = rig.renew("theirs", *SANS)
    rig.qiniu.add_domain(A, protocol="https", cert_id=rig.upload(newer))
    manage(rig, certificate, A)
    outcome = go(rig, replace(WAIT, take_over=take_over))
    assert take_over != bool(outcome.problems)
    assert [take_over] == served(rig, certificate, A)


# What takes no time to be published


class Shelf:
    """A service whose changes are seen at once."""

    name, publishes = "kodo", False

    def __init__(self, name: str) -> None:
        self.domain = Domain(name, service="kodo", detailed=True)

    def list(self) -> list[Domain]:
        return [self.domain]

    def observe(self, domain: str) -> Domain | None:
        return self.domain if domain == self.domain.name else None

    def bind(self, domain: Domain, certificate: RemoteCertificate, binding: Binding) -> None:
        self.domain = replace(self.domain, protocol="https", cert_id=certificate.cert_id)

    def unbind(self, domain: Domain) -> None:
        raise AssertionError("nothing is given up here")

    def set_hsts(self, domain: Domain, *, on: bool) -> None:
        raise AssertionError("there are no headers here")

    def users(self, certificate: RemoteCertificate,
              among: Collection[str] = ()) -> set[str] | None:
        return set()


@pytest.mark.parametrize("options", [WAIT, LEAVE], ids=["run", "renewal"])
def test_published_at_once(rig: Rig, certificate: Certificate, options: Options) -> None:
    """A change that takes no time is read back by the run itself, a renewal included."""
    rig.account.services["kodo"] = Shelf(A)
    manage(rig, certificate, A)
    rig.memory.update(A, service="kodo")
    outcome = go(rig, options)
    assert Outcome(changed=[A]) == outcome
    assert remembered(rig).memory.domains[A].confirmed is not None
    assert 0 == remembered(rig).memory.domains[A].processing_since


# Cleaning up


@pytest.mark.parametrize(("options", "left"), [
    (WAIT, 2), (replace(WAIT, keep_certificates=0), 1), (LEAVE, 3), (replace(WAIT, clean=False), 3),
], ids=["one is kept", "none is kept", "not published yet", "not asked for"])


def test_clean(rig: Rig, options: Options, left: int) -> None:
    """Superseded certificates go once the new one is seen, but what a rollback may need."""
    versions = [rig.renew(LINEAGE, *SANS) for _ in range(3)]
    rig.qiniu.add_domain(A)
    for version in versions[:2]:
        manage(rig, version, A)
        go(rig, replace(WAIT, clean=False))
    manage(rig, versions[2], A)
    rig.memory.lineage(LINEAGE).former = tuple(
        version.fingerprint for version in reversed(versions[:2]))
    go(rig, options)
    assert left == len(rig.qiniu.certificates())


def test_no_clean_with_a_problem(rig: Rig, certificate: Certificate) -> None:
    """While one domain is not in sync, nothing is deleted."""
    older = certificate
    rig.qiniu.add_domain(A)
    manage(rig, older, A)
    go(rig)
    newer = rig.renew(LINEAGE, *SANS)
    rig.qiniu.add_domain(B)
    manage(rig, newer, A, B)
    rig.refuse(f"/domain/{B}/sslize", 400322)
    assert go(rig, replace(WAIT, keep_certificates=0)).problems
    assert 2 == len(rig.qiniu.certificates())
