"""A list that is not believed, and a user's word that it is right."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.missing import check_list, expected, forget, note_return
from certbot_qiniu.deployment.state import Managed, Tombstone
from certbot_qiniu.model import DAY, Binding, Domain
from tests.unit.deployment.account import LINEAGE, A, B, C
from tests.unit.deployment.desired import set_state
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

OURS = Binding(fingerprint="ab" * 32, force_https=True)


@pytest.fixture(autouse=True)
def managed(rig: Rig) -> None:
    """The lineage manages two domains, and another one has a third."""
    set_state(rig.store, {name: Managed(name, "cdn", lineage, OURS) for name, lineage in (
        (A, LINEAGE), (B, LINEAGE), (C, "other"))})
    for name in (A, B):
        rig.memory.update(name, lineage=LINEAGE, baseline=Binding("http"))


def check(rig: Rig, listed: Collection[str] = (), *, others: bool = False) -> None:
    """Check the account's list."""
    check_list(rig.context, LINEAGE, "keys.ini", listed=listed, others_are_there=lambda: others)


def test_expected(rig: Rig) -> None:
    """What a lineage manages, and what it is to put back."""
    assert [A, B] == expected(rig.store, LINEAGE)
    set_state(rig.store, {})
    assert [A, B] == expected(rig.store, LINEAGE)
    rig.memory.bury(A, OURS, rig.now)
    assert [B] == expected(rig.store, LINEAGE)


def test_what_is_known_to_be_gone_casts_no_doubt(rig: Rig) -> None:
    """A rollback brings it back into the state alone; it stays gone since it was missed."""
    for name in (A, B):
        rig.memory.bury(name, OURS, rig.now)
        rig.wait(DAY)
    check(rig)
    since = rig.memory.domains[A].gone
    rig.memory.bury(A, Binding("http"), rig.now)
    assert since
    assert Tombstone(since.at, "", Binding("http")) == rig.memory.domains[A].gone


@pytest.mark.parametrize(("created", "baseline"), [
    ("then", Binding("http")), ("", Binding("http")),
    ("now", Binding("https", "", "theirs"))])
def test_return(rig: Rig, created: str, baseline: Binding) -> None:
    """What comes back as another domain of that name has what it serves now for its baseline."""
    rig.memory.update(A, gone=Tombstone(1.0, "then", OURS))
    note_return(rig.context, [Domain(name, created=created, protocol="https", cert_id="theirs")
                              for name in (A, B)])
    assert (None, baseline) == (rig.memory.domains[A].gone, rig.memory.domains[A].baseline)
    assert Binding("http") == rig.memory.domains[B].baseline


def test_doubt(rig: Rig) -> None:
    """Without any of them it is not believed, for seven days from the first time."""
    for _ in range(2):
        with pytest.raises(errors.ListInDoubt, match=rf"keys.ini has no .* {A}, {B} of {LINEAGE}"):
            check(rig)
        rig.now += 3.5 * DAY
    check(rig)


@pytest.mark.parametrize("kind", ["one there", "others there", "listed", "not to be read"])
def test_no_doubt(rig: Rig, kind: str) -> None:
    """One that is there, and what is not known, raises none."""
    if kind == "one there":
        rig.memory.lineage(LINEAGE).doubted = 1.0
        rig.qiniu.add_domain(A)
    elif kind == "not to be read":
        rig.refuse(f"/domain/{A}", 403001, times=9)
    check(rig, [A] if kind == "listed" else [], others=kind == "others there")
    assert not rig.memory.lineage(LINEAGE).doubted


def test_forget(rig: Rig) -> None:
    """What is missing is managed no longer; what it was and should be is kept."""
    rig.qiniu.add_domain(B)
    assert [A] == forget(rig.context, LINEAGE)
    assert [B, C] == sorted(rig.store.state)
    record = rig.memory.domains[A]
    assert (LINEAGE, Binding("http"), OURS) == (
        record.lineage, record.baseline, record.gone and record.gone.binding)
    assert {A: OURS} == rig.memory.gone_of(LINEAGE)
    assert [] == forget(rig.context, LINEAGE)


def test_forget_what_cannot_be_read(rig: Rig) -> None:
    """Nothing is forgotten if it is not known what is missing."""
    rig.refuse(f"/domain/{A}", 403001, times=9)
    with pytest.raises(errors.Refused):
        forget(rig.context, LINEAGE)
    assert [A, B, C] == sorted(rig.store.state)
