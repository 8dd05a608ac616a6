"""What a rollback keeps a lineage's newest certificate from."""

from __future__ import annotations

import pytest

from certbot_qiniu.deployment import holds
from certbot_qiniu.deployment.state import Managed
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import Certificate
from tests.unit.deployment.account import LINEAGE, A, B
from tests.unit.deployment.desired import entry, state
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def test_put_and_lift(rig: Rig) -> None:
    """A hold is on the disk at once; lifting it tells what was held."""
    holds.put(rig.store, LINEAGE, "ab")
    later = Store(rig.store.folder)
    later.load()
    assert "ab" == later.memory.lineage(LINEAGE).hold
    assert ["ab", ""] == [holds.lift(rig.store, LINEAGE) for _ in range(2)]
    assert "" == rig.memory.lineage(LINEAGE).hold


@pytest.mark.parametrize(("after", "held"), [
    ([], True), ([entry(A)], True), ([entry(A, lineage="x")], True), (None, False),
], ids=["given up", "older certificate", "given to another", "the same"])
def test_put_after_rollback(rig: Rig, certificate: Certificate,
                          after: list[Managed] | None, *, held: bool) -> None:
    """What a rollback took back is held; what it left as it was is not."""
    before = state(entry(A, certificate), entry(B, lineage="deleted"))
    rig.store.write_state(before if after is None else state(*after))
    holds.put_after_rollback(rig.store, rig.context.lineages, before)
    assert (certificate.fingerprint if held else "") == rig.memory.lineage(LINEAGE).hold
    assert "" == rig.memory.lineage("deleted").hold


def test_settings_alone_are_not_held(rig: Rig,
                                     certificate: Certificate) -> None:
    """A rollback of a redirect takes no certificate back, and so holds none."""
    rig.store.write_state(state(entry(A, certificate)))
    holds.put_after_rollback(rig.store, rig.context.lineages,
                             state(entry(A, certificate, force_https=True)))
    assert "" == rig.memory.lineage(LINEAGE).hold
