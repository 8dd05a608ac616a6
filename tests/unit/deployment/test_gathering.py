"""What a plan of some domains depends on, and that nothing is changed for it."""

from __future__ import annotations

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.gathering import Planner
from certbot_qiniu.deployment.planning.decision import Reason, Verb
from certbot_qiniu.deployment.reconcile import reconcile
from certbot_qiniu.deployment.state import Upload
from certbot_qiniu.model import Certificate
from tests.unit.deployment.account import LINEAGE, A, B, C
from tests.unit.deployment.reconciling import WAIT, changes, manage, remembered
from tests.unit.rig import DOMAIN_PAGE, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def test_strangers_cannot_be_told(rig: Rig, certificate: Certificate) -> None:
    """If it is unknown whose certificate a domain serves, it is not replaced."""
    rig.memory.uploads[rig.upload(certificate)] = Upload(certificate.fingerprint, LINEAGE)
    rig.qiniu.add_domain(A, protocol="https", cert_id=rig.upload(rig.renew("theirs", A)))
    manage(rig, certificate, A)
    rig.refuse("GET fusion", 403001, times=9)
    with pytest.raises(errors.Refused):
        reconcile(rig.context, [LINEAGE], WAIT)
    assert [] == changes(rig)


def test_plan(rig: Rig, certificate: Certificate) -> None:
    """A plan has an action for each domain, and why others have none; nothing is changed."""
    for name in (A, C):
        rig.qiniu.add_domain(name)
    manage(rig, certificate, A, B, C)
    rig.refuse(f"/domain/{C}", 403001)
    planned = Planner(rig.context, [LINEAGE], WAIT).plan()
    assert [(A, Verb.BIND, Reason.NOT_BOUND), (B, Verb.FORGET, Reason.NOT_FOUND)] == [
        (action.name, action.verb, action.reason) for action in planned.actions]
    assert ([A], [C], {}) == (list(planned.observed), list(planned.domain_failures),
                              planned.certificate_failures)
    calls = rig.calls()
    assert DOMAIN_PAGE in calls
    assert {"GET"} == {call.split()[0] for call in calls}
    assert [A, B, C] == sorted(remembered(rig).state)
