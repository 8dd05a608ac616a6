"""The certificate for a binding: found at Qiniu, uploaded, or not to be had."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.certificates import certificate_for, is_gone
from certbot_qiniu.deployment.state import Managed, Upload
from certbot_qiniu.model import DAY, Binding, Certificate, RemoteCertificate
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

LINEAGE, NAME = "example.com", "www.example.com"
LIST, UPLOAD = "GET /sslcert", "POST /sslcert"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account without certificates."""
    return Rig(tmp_path)


@pytest.fixture
def certificate(rig: Rig) -> Certificate:
    """The newest certificate of the lineage, which is not at Qiniu."""
    return rig.renew(LINEAGE, NAME)


def obtained(rig: Rig, binding: Binding) -> RemoteCertificate:
    """The certificate for a binding; none that is superseded is kept."""
    return certificate_for(rig.context, binding, LINEAGE, keep_certificates=0)


def wanted(certificate: Certificate) -> Binding:
    """A binding to one of ours."""
    return Binding("https", certificate.fingerprint)


def test_upload(rig: Rig, certificate: Certificate) -> None:
    """What is not at Qiniu is uploaded once, under our name, and is remembered on the disk."""
    found = obtained(rig, wanted(certificate))
    assert found.name == certificate.remote_name
    assert rig.memory.uploads == {found.cert_id: Upload(certificate.fingerprint, LINEAGE)}
    assert found.cert_id in (rig.store.folder / "memory.json").read_text("utf-8")
    assert rig.calls() == [LIST, UPLOAD]
    assert found == obtained(rig, wanted(certificate))
    assert rig.calls() == []


def test_not_uploaded_again(rig: Rig, certificate: Certificate) -> None:
    """What is there under our name is found first: a lost answer leaves no second copy."""
    cert_id = rig.upload(certificate)
    assert obtained(rig, wanted(certificate)).cert_id == cert_id
    assert rig.calls() == [LIST]


def test_not_ours(rig: Rig) -> None:
    """A certificate that is not ours is bound by its id, and nothing is asked."""
    assert obtained(rig, Binding("https", "", "bought")).cert_id == "bought"
    assert rig.calls() == []


def test_no_longer_here(rig: Rig, certificate: Certificate) -> None:
    """What has left certbot's archive is bound while Qiniu has it, and else cannot be had."""
    binding = wanted(certificate)
    shutil.rmtree(rig.config_dir / "archive")
    with pytest.raises(errors.UsageError, match="is neither at Qiniu nor in certbot's archive"):
        obtained(rig, binding)
    rig.memory.uploads["known"] = Upload(certificate.fingerprint, LINEAGE)
    assert obtained(rig, binding).cert_id == "known"
    assert rig.calls() == []


def test_about_to_end(
        rig: Rig, certificate: Certificate, caplog: pytest.LogCaptureFixture) -> None:
    """That Qiniu may refuse a certificate that ends soon is said before."""
    rig.wait(61.5 * DAY)
    with caplog.at_level(logging.WARNING), pytest.raises(errors.Refused, match="400322"):
        obtained(rig, wanted(certificate))
    assert f"The certificate of {LINEAGE} ends in 28 days" in caplog.text


@pytest.mark.parametrize("has_old", [True, False], ids=["room can be made", "no room"])
def test_quota(rig: Rig, has_old: bool) -> None:
    """A full account is cleaned up before the upload is given up."""
    old, newest = rig.renew(LINEAGE, NAME), rig.renew(LINEAGE, NAME)
    rig.qiniu.switches.quota = 1
    if has_old:
        rig.memory.uploads[rig.upload(old)] = Upload(old.fingerprint, LINEAGE)
    else:
        rig.upload(old, "console")
    rig.store.state[NAME] = Managed(NAME, "cdn", LINEAGE, wanted(newest))
    if has_old:
        found = obtained(rig, wanted(newest))
        assert list(rig.memory.uploads) == [found.cert_id]
    else:
        with pytest.raises(errors.Refused, match="400500"):
            obtained(rig, wanted(newest))


@pytest.mark.parametrize(("status", "code", "there", "expected"), [
    (400, 400401, True, True), (404, 404908, False, True), (400, 400322, False, False),
    (400, 400, True, False), (400, 400, False, True)],
    ids=["said", "said with another code", "refused for something else", "there", "not there"])
def test_is_gone(rig: Rig, certificate: Certificate, status: int, code: int, there: bool,
                 expected: bool) -> None:
    """Qiniu's code says that a certificate is gone, or else the list does."""
    cert_id = rig.upload(certificate) if there else "gone"
    refusal = errors.Refused("bind", "no", status=status, code=code)
    assert expected == is_gone(rig.context, cert_id, refusal)


def test_is_gone_unknown(rig: Rig) -> None:
    """Where the list cannot be read, Qiniu's code alone counts."""
    rig.refuse("/sslcert", times=2)
    assert is_gone(rig.context, "id", errors.Refused("bind", "no", status=400, code=400401))
    assert not is_gone(rig.context, "id", errors.Refused("bind", "no", status=400, code=400))
