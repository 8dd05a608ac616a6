"""What is read of one account for a survey of each scope, and what is known without that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command.survey.account_survey import MANY, AccountSurvey, Scope
from certbot_qiniu.command.survey.facts import LineageFacts
from certbot_qiniu.lineages import Lineages
from tests.sandbox.wire import Fault
from tests.unit.deployment.account import LINEAGE, A, B, uploaded
from tests.unit.rig import CERTIFICATE_LIST, DOMAIN_LIST, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account without domains."""
    return Rig(tmp_path)


def opened(rig: Rig, scope: Scope, announced: list[str] | None = None) -> AccountSurvey:
    """A survey of the account that has read what it is for."""
    found = AccountSurvey(rig.context, "a.ini", scope, lambda what, calls: (
        announced.append(f"{what}: {calls}") if announced is not None else None))
    found.managed = [A]
    found.read()
    return found


@pytest.mark.parametrize(("scope", "calls"), [
    (Scope.MANAGED, [f"GET /domain/{A}"]), (Scope.NEW, DOMAIN_LIST), (Scope.DELETIONS, DOMAIN_LIST),
    (Scope.CERTIFICATES, [*DOMAIN_LIST, *CERTIFICATE_LIST]),
    (Scope.ALL, [*DOMAIN_LIST, f"GET /domain/{A}", *CERTIFICATE_LIST])])
def test_calls(rig: Rig, scope: Scope, calls: list[str]) -> None:
    """Each scope costs more than the one before; a domain without HTTPS is never read for all."""
    rig.qiniu.add_domain(A, protocol="https", cert_id=uploaded(rig, rig.renew(LINEAGE, A)))
    rig.qiniu.add_domain(B)
    opened(rig, scope)
    assert calls == rig.calls()


def test_ends(rig: Rig) -> None:
    """certbot's archive knows when ours ends; if it and Qiniu do not, all else is told."""
    certificate = rig.renew(LINEAGE, A)
    rig.qiniu.add_domain(A, protocol="https", cert_id=(cert_id := uploaded(rig, certificate)))
    found = opened(rig, Scope.MANAGED)
    assert certificate.not_after.timestamp() == found.facts(()).certificates[cert_id].not_after
    assert found.problem is None
    for path in (rig.config_dir / "archive" / LINEAGE).glob("fullchain*.pem"):
        path.unlink()
    rig.context = replace(rig.context, lineages=Lineages(rig.config_dir))
    found = opened(rig, Scope.MANAGED)
    rig.board.arm(Fault("refuse"), match="/sslcert", times=99)
    assert {A} == set(found.facts(()).domains)
    assert isinstance(found.problem, errors.Unreachable)


def test_announced(rig: Rig) -> None:
    """Many calls are announced, with their number."""
    announced: list[str] = []
    ids = tuple(uploaded(rig, rig.renew(LINEAGE, A)) for _ in range(MANY))
    found = opened(rig, Scope.DELETIONS, announced)
    found.facts([LineageFacts(LINEAGE, "other.ini", superseded=ids)])
    assert [] == announced, "another account's"
    found.facts([LineageFacts(LINEAGE, "a.ini", superseded=ids)])
    assert [f"Asking who uses {MANY} certificates: {MANY}"] == announced
