"""What a rollback needs besides certbot's reverter."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment import rollback
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.model import DAY, Certificate
from tests.unit.deployment.account import LINEAGE, A, B, C
from tests.unit.deployment.desired import KEYS, SETTINGS, checkpoint, entry, manage
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


@pytest.mark.parametrize(("path", "concerned", "is_error"), [
    (KEYS, (), False), ("/broken.ini", (), False), ("", (), False),
    ("/broken.ini", (LINEAGE, "other"), False), ("/broken.ini", (LINEAGE,), False),
    ("/broken.ini", ("other",), True)])
def test_check_needs_an_account(rig: Rig, deployer: Deployer, path: str,
                                         concerned: tuple[str, ...], *, is_error: bool) -> None:
    """A rollback that could reach none of the accounts that it concerns is refused."""
    manage(rig, entry(A), entry(B, lineage="other"))
    for lineage in concerned:
        checkpoint(rig, lineage, entry(A if lineage == LINEAGE else B, fingerprint="cd" * 32))
    rig.memory.lineage(LINEAGE).credentials = KEYS
    rig.memory.lineage("other").credentials = path
    expectation = (pytest.raises(errors.UsageError, match="bad credentials") if is_error
                   else contextlib.nullcontext())
    with expectation:
        found = rollback.check(deployer, replace(SETTINGS, credentials=None), len(concerned))
        assert set(concerned) == set(found.values())


def test_check_asks_qiniu(rig: Rig, deployer: Deployer) -> None:
    """It is not enough that the file with the keys can be read."""
    manage(rig, entry(A))
    rig.refuse("/domain", 401001)
    with pytest.raises(errors.Refused):
        rollback.check(deployer, SETTINGS, 1)


@pytest.mark.parametrize(("days", "is_refused"), [(-1, True), (6.9, True), (7.1, False)])
def test_check_to_what_ends(rig: Rig, deployer: Deployer, certificate: Certificate,
                                     days: float, *, is_refused: bool) -> None:
    """What has less than 7 days left is refused, naming domain and end; else its end is said."""
    newest = rig.renew(LINEAGE, *certificate.names)
    manage(rig, entry(A, newest))
    checkpoint(rig, LINEAGE, entry(A, certificate))
    rig.now = certificate.not_after.timestamp() - days * DAY
    said = f"{A}: back to the certificate of {LINEAGE} that ends on"
    if is_refused:
        with pytest.raises(errors.UsageError, match=said):
            rollback.check(deployer, SETTINGS, 1)
        assert [] == rig.said
    else:
        assert {A: LINEAGE} == rollback.check(deployer, SETTINGS, 1)
        assert rig.said[0].startswith(said)


def test_check_to_what_ends_without_a_list(rig: Rig, deployer: Deployer,
                                           certificate: Certificate) -> None:
    """An account that cannot be asked at that moment makes no certificate last longer."""
    manage(rig, entry(A, rig.renew(LINEAGE, *certificate.names)), entry(B, lineage="other"))
    checkpoint(rig, LINEAGE, entry(A, certificate))
    checkpoint(rig, "other", entry(B, fingerprint="cd" * 32))
    rig.now = certificate.not_after.timestamp() - DAY
    rig.refuse("/domain", 503000, times=5)  # which no other lineage takes for its own answer
    with pytest.raises(errors.UsageError, match="Nothing was rolled back"):
        rollback.check(deployer, SETTINGS, 2)


def test_check_damaged(rig: Rig, deployer: Deployer) -> None:
    """A damaged file is not replaced by an older one, which would leave the newest unheld."""
    manage(rig, entry(A), entry(B, lineage="other"))
    checkpoint(rig, "other", entry(B, fingerprint="cd" * 32))
    checkpoint(rig, LINEAGE, entry(A, fingerprint="cd" * 32))
    rig.store.damaged[LINEAGE] = errors.StateError(f"{LINEAGE}.json is damaged")
    assert {B: "other"} == rollback.check(deployer, SETTINGS, 1)
    with pytest.raises(errors.StateError, match=f"{LINEAGE}.json is damaged"):
        rollback.check(deployer, SETTINGS, 2)


@pytest.mark.parametrize(("count", "expected"), [(0, set()), (1, {"other"}), (2, {"other", "x"})])
def test_begin(rig: Rig, deployer: Deployer, count: int, expected: set[str]) -> None:
    """What is there now is noted of the lineages that the rollback is for."""
    manage(rig, entry(A), entry(B, lineage="other"))
    rig.memory.lineage("x")
    checkpoint(rig, "other")
    checkpoint(rig, "x", entry(C))
    rollback.begin(deployer, count)
    found = {name: memory.leaving for name, memory in rig.memory.lineages.items()
             if memory.leaving is not None}
    assert {name: {B: "ab" * 32} if name == "other" else {} for name in expected} == found


def test_begin_before_the_state_was_divided(rig: Rig, deployer: Deployer) -> None:
    """A state of version 1 is that of all lineages."""
    manage(rig, entry(A), entry(B, lineage="other"))
    checkpoint(rig, "other")
    [path] = rig.backups.iterdir()
    (path / "FILEPATHS").write_text(f"{rig.store.former_state_path}\n")
    (path / "other.json_0").rename(path / "state.json_0")
    rollback.begin(deployer, 1)
    assert {LINEAGE, "other"} == {name for name, memory in rig.memory.lineages.items()
                                  if memory.leaving is not None}
