"""What a dry run foresees of the domains that the real run would give a certificate."""

from __future__ import annotations

from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.certificates import certificate_for
from certbot_qiniu.deployment.rehearsal import foresee
from certbot_qiniu.deployment.state import Sent
from certbot_qiniu.model import DAY, Binding, Certificate
from tests.unit.deployment.account import LINEAGE, A, B, manage
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def foreseen(rig: Rig, certificate: Certificate | None = None, listed: tuple[str, ...] = (),
             ) -> list[str]:
    """What is foreseen of two domains, as a process does that has no lists yet."""
    rig.account.domains(refresh=True)
    return foresee(rig.context, [A, B], listed, certificate,
                   certificate.not_after.timestamp() if certificate else rig.now + 91 * DAY)[0]


def add(rig: Rig, **changes: Any) -> None:
    """A good domain, and one that is in some way special."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain(B, protocol="https")
    if changes:
        rig.qiniu.change_domain(B, **changes)


def test_good(rig: Rig) -> None:
    """Nothing is foreseen if all goes well."""
    add(rig)
    assert [] == foreseen(rig)


@pytest.mark.parametrize(("processing", "problems", "waited"), [(40, 0, 40), (4000, 1, 60)])
def test_busy(rig: Rig, processing: float, problems: int, waited: float) -> None:
    """A busy domain is waited for as a renewal does it, a minute at most."""
    add(rig, processing=processing, operation="modify_cache")
    begun = rig.now
    found = foreseen(rig)
    assert problems == len(found)
    assert all(f"{B} is busy at Qiniu with another change (modify_cache)" in text
               for text in found)
    assert waited <= rig.now - begun <= waited + 10


def test_stuck(rig: Rig) -> None:
    """A domain that has been busy for more than a day is reported with the text for a ticket."""
    add(rig, processing=10 * DAY, operation="modify_cache")
    rig.memory.update(B, processing_since=rig.now - 2 * DAY)
    [told] = foreseen(rig)
    assert f"{B} has been in processing" in told


def test_not_operable(rig: Rig) -> None:
    """A domain that the account may not change matters if it serves ours, or is listed."""
    add(rig)
    rig.qiniu.change_domain(B, operable=False)
    assert [] == foreseen(rig)
    [told] = foreseen(rig, listed=(B,))
    assert f"{B} cannot be changed by this account" in told


def test_failed(rig: Rig, certificate: Certificate) -> None:
    """The real run sends a change again that Qiniu could not publish, and reports it."""
    add(rig, state="failed", operation="modify_https_conf")
    rig.memory.update(B, sent=Sent(Binding("https", certificate.fingerprint, "", True, True),
                                   rig.now))
    [told] = foreseen(rig)
    assert f"Qiniu could not publish the last change of {B}" in told


def test_as_it_is(rig: Rig, certificate: Certificate) -> None:
    """With the certificate that there is, another installation's newer one stays."""
    add(rig)
    manage(rig, A, B)
    rig.wait(DAY)
    cert_id = rig.upload(rig.renew("elsewhere", A, B), "certbot_example.com_ffffffffffff")
    rig.qiniu.change_domain(B, cert_id=cert_id)
    assert [] == foreseen(rig)
    [told] = foreseen(rig, certificate)
    assert "another certbot-qiniu installation" in told


def test_refused_for_good(rig: Rig, certificate: Certificate) -> None:
    """A certificate that a renewal would not send again is foreseen, once for all domains."""
    add(rig)
    rig.refuse("POST fusion", 400348)
    with pytest.raises(errors.Refused):
        certificate_for(rig.context, Binding("https", certificate.fingerprint), LINEAGE,
                        keep_certificates=0)
    assert [] == foreseen(rig), "another one is"
    [told] = foreseen(rig, certificate)
    assert "was not sent again" in told


def test_left(rig: Rig) -> None:
    """What somebody has put over ours is a problem until it was told; then it is named."""
    add(rig)
    manage(rig, A, B)
    cert_id = rig.upload(rig.renew("elsewhere", A, B), "by hand")
    rig.qiniu.change_domain(B, cert_id=cert_id)
    rig.account.domains(refresh=True)
    [told], left = foresee(rig.context, [A, B], (), None, rig.now + 60 * DAY)
    assert f"{B} serves by hand" in told
    assert ([], left) == foresee(rig.context, [A, B], (), None, rig.now + 60 * DAY, is_told=True)
    rig.memory.update(B, left=cert_id)
    assert ([], left) == foresee(rig.context, [A, B], (), None, rig.now + 60 * DAY)
    assert {B: told} == left
