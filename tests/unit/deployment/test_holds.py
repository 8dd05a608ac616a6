"""What a rollback keeps a lineage's newest certificate from."""

from __future__ import annotations

import datetime as dt

import pytest

from certbot_qiniu.deployment import holds
from certbot_qiniu.deployment.state import Managed, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import DAY, Certificate
from tests.sandbox.wire import Fault
from tests.unit.deployment.account import LINEAGE, A, B, uploaded
from tests.unit.deployment.desired import SETTINGS, entry, set_state, state
from tests.unit.rig import AUTHORITY, CERTIFICATE_PAGE, DOMAIN_PAGE, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def test_put_and_lift(rig: Rig) -> None:
    """A hold is on the disk at once; lifting it returns what was held."""
    holds.put(rig.store, LINEAGE, "ab")
    later = Store(rig.store.folder)
    later.load()
    assert "ab" == later.memory.lineage(LINEAGE).hold
    assert ["ab", ""] == [holds.lift(rig.store, LINEAGE) for _ in range(2)]
    assert "" == rig.memory.lineage(LINEAGE).hold


def rolled_back(rig: Rig, before: State, after: State) -> None:
    """Let a rollback lead from one state to another."""
    set_state(rig.store, before)
    holds.begin(rig.store, {item.lineage for item in [*before.values(), *after.values()]})
    set_state(rig.store, after)
    rig.store.load()
    rig.memory = rig.store.memory
    holds.finish(rig.store, rig.context.lineages)


@pytest.mark.parametrize(("after", "held"), [
    ([], True), ([entry(A)], True), ([entry(A, lineage="x")], True), (None, False),
], ids=["given up", "older certificate", "given to another", "the same"])
def test_finish(rig: Rig, certificate: Certificate, after: list[Managed] | None, *,
                held: bool) -> None:
    """What a rollback took back is held; what it left as it was is not."""
    before = state(entry(A, certificate), entry(B, lineage="deleted"))
    rolled_back(rig, before, before if after is None else state(*after))
    assert (certificate.fingerprint if held else "") == rig.memory.lineage(LINEAGE).hold
    assert "" == rig.memory.lineage("deleted").hold
    assert None is rig.memory.lineage(LINEAGE).leaving


def test_settings_alone_are_not_held(rig: Rig, certificate: Certificate) -> None:
    """A rollback of a redirect takes no certificate back, and so holds none."""
    rolled_back(rig, state(entry(A, certificate, force_https=True)), state(entry(A, certificate)))
    assert "" == rig.memory.lineage(LINEAGE).hold


@pytest.mark.parametrize("is_older", [True, False])
def test_what_was_gone_comes_back(rig: Rig, certificate: Certificate, *, is_older: bool) -> None:
    """Into the state: with an older certificate that is held, with the newest nothing is."""
    after = entry(A) if is_older else entry(A, certificate)
    rolled_back(rig, {}, state(after))
    assert is_older == bool(rig.memory.lineage(LINEAGE).hold)


def test_killed(rig: Rig, certificate: Certificate) -> None:
    """Opening the files after a rollback that was killed shows how far it came."""
    set_state(rig.store, state(entry(A, certificate)))
    other = rig.renew("other", B)
    set_state(rig.store, state(entry(A, certificate), entry(B, other, lineage="other")))
    holds.begin(rig.store, [LINEAGE, "other"])
    set_state(rig.store, state(entry(A), entry(B, other, lineage="other")))
    later = Store(rig.store.folder)
    later.load()
    holds.finish(later, rig.context.lineages)
    later.load()
    assert [certificate.fingerprint, ""] == [
        later.memory.lineage(name).hold for name in (LINEAGE, "other")]


def test_a_certificate_that_cannot_be_read(rig: Rig) -> None:
    """What is held is found out as soon as it can be: till then it is not deployed either."""
    rolled_back(rig, state(entry(A)), {})
    assert "" == rig.memory.lineage(LINEAGE).hold, "there is no such lineage"
    rig.renew(LINEAGE, A)
    live = rig.config_dir / "live" / LINEAGE / "fullchain.pem"
    target = live.readlink()
    live.unlink()
    rolled_back(rig, state(entry(A)), {})
    assert {A: "ab" * 32} == rig.memory.lineage(LINEAGE).leaving
    live.symlink_to(target)
    holds.finish(rig.store, rig.context.lineages)
    assert rig.context.lineages.current(LINEAGE).fingerprint == rig.memory.lineage(LINEAGE).hold


@pytest.mark.parametrize(("serving", "expected"), [
    ("older", ("ours", 90)), ("publishing", ("ours", 90)), ("newest", ("ours", 90)),
    ("theirs", ("", 285)), ("http", ("ours", 90)), ("missing", None)])
def test_served_instead(rig: Rig, certificate: Certificate, serving: str,
                        expected: tuple[str, int] | None) -> None:
    """What a domain serves now counts, or will serve as our file says of it."""
    older = uploaded(rig, certificate)
    newest = rig.renew(LINEAGE, *certificate.names)
    theirs = rig.qiniu.add_certificate(AUTHORITY.issue(A, days=285, now=dt.datetime.fromtimestamp(
        rig.now, dt.timezone.utc)).fullchain_pem, name="by hand")
    if serving != "missing":
        rig.qiniu.add_domain(A, protocol="http" if serving == "http" else "https", cert_id={
            "older": older, "newest": uploaded(rig, newest), "http": ""}.get(serving, theirs))
    if serving == "publishing":
        rig.qiniu.change_domain(A, processing=60, operation="modify_https_conf")
    set_state(rig.store, state(entry(A, certificate)))
    found = [(("ours" if one.is_ours else ""), round((one.end - rig.now) / DAY))
             for one in holds.served_instead(rig.context, newest)[0]]
    assert ([expected] if expected else []) == found


@pytest.mark.parametrize("look_for_new", [True, False])
@pytest.mark.parametrize("unread", [f"/domain/{B}", DOMAIN_PAGE, CERTIFICATE_PAGE])
def test_a_hold_ends_whatever_cannot_be_read(rig: Rig, certificate: Certificate, unread: str, *,
                                             look_for_new: bool) -> None:
    """What the domains should serve is known without Qiniu; that it cannot be asked is told."""
    older = uploaded(rig, certificate)
    rig.now += 60 * DAY
    newest = rig.renew(LINEAGE, *certificate.names)
    for name in (A, B):
        rig.qiniu.add_domain(name, protocol="https", cert_id=older)
    set_state(rig.store, state(entry(A, certificate), entry(B, certificate)))
    rig.now = certificate.not_after.timestamp() - 5 * DAY
    rig.board.arm(Fault("reset"), match=lambda call: f"{call.method} {call.path}".split("?")[0]
                  .endswith(unread), times=10**6)
    ends, problems = holds.look(rig.context, newest, SETTINGS, look_for_new=look_for_new)
    assert ends
    assert (unread != CERTIFICATE_PAGE) == bool(problems), "what is served is known to be ours"
