"""What a rollback needs besides certbot's reverter."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment import rollback
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.model import DAY, Certificate
from tests.unit.deployment.account import LINEAGE, A, B
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
    """That the file with the keys can be read is not enough."""
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
