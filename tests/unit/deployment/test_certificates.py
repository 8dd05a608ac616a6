"""Certificates at Qiniu: found again, distinguished from foreign ones, uploaded, or missing."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.certificates import (
    certificate_for,
    find_wanted,
    foreign_certificates,
    is_gone,
    refused,
    refuses_old_ones,
    remember_copies,
    unusable_certificates,
    validity_of,
)
from certbot_qiniu.deployment.state import Managed, Upload
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import DAY, Binding, Certificate, Domain, RemoteCertificate
from tests.unit.deployment.account import LINEAGE, SANS, A, B, uploaded
from tests.unit.rig import CERTIFICATE_LIST, CERTIFICATE_PAGE, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

NAME = "www.example.com"
UPLOAD = "POST /sslcert"


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
    assert rig.memory.uploads == {found.cert_id: Upload(
        certificate.fingerprint, LINEAGE, rig.now, rig.client.account)}
    assert found.cert_id in rig.store.memory_path(LINEAGE).read_text("utf-8")
    assert rig.calls() == [CERTIFICATE_PAGE, UPLOAD]
    assert found == obtained(rig, wanted(certificate))
    assert rig.calls() == []


def test_not_uploaded_again(rig: Rig, certificate: Certificate) -> None:
    """What is there under our name is found first: a lost answer leaves no second copy."""
    cert_id = rig.upload(certificate)
    assert obtained(rig, wanted(certificate)).cert_id == cert_id
    assert rig.calls() == CERTIFICATE_LIST


def test_not_ours(rig: Rig) -> None:
    """A certificate that is not ours is bound by its id, and nothing is asked."""
    assert obtained(rig, Binding("https", "", "bought")).cert_id == "bought"
    assert rig.calls() == []


def test_no_longer_here(rig: Rig, certificate: Certificate) -> None:
    """What has left certbot's archive is bound while Qiniu has it, and else cannot be had."""
    binding = wanted(certificate)
    shutil.rmtree(rig.config_dir / "archive")
    with pytest.raises(errors.DeployError, match=r"is neither at Qiniu nor in certbot's archive "
                       r"any more; .*: certbot install --cert-name example.com -i qiniu$"):
        obtained(rig, binding)
    rig.memory.uploads["known"] = Upload(certificate.fingerprint, LINEAGE)
    assert obtained(rig, binding).cert_id == "known"
    assert rig.calls() == []


def test_about_to_end(
        rig: Rig, certificate: Certificate, caplog: pytest.LogCaptureFixture) -> None:
    """A warning says beforehand that Qiniu may refuse a certificate that ends soon."""
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
    rig.memory.lineage(LINEAGE).former = ()
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
    """If the list cannot be read, Qiniu's code alone counts."""
    rig.refuse("/sslcert", times=2)
    assert is_gone(rig.context, "id", errors.Refused("bind", "no", status=400, code=400401))
    assert not is_gone(rig.context, "id", errors.Refused("bind", "no", status=400, code=400))


# Certificates that we know, and that we do not


def served(*cert_ids: str) -> list[Domain]:
    """Domains that serve certificates."""
    return [Domain(f"{cert_id or 'none'}.example.com", protocol="https", cert_id=cert_id)
            for cert_id in cert_ids]


def test_foreign(rig: Rig, certificate: Certificate) -> None:
    """Each foreign certificate that is served is reported, with its end if a list has it."""
    old = rig.renew(LINEAGE, *SANS)
    ours, lost = uploaded(rig, certificate), rig.upload(old)
    theirs = rig.upload(certificate, "console", order_id="1")
    found = foreign_certificates(rig.context, [
        *served(ours, lost, theirs, "gone", ""), Domain("http.example.com", cert_id=theirs)],
        [LINEAGE])
    end = int(certificate.not_after.timestamp())
    assert {"gone": ("", 0, ""), theirs: ("console", end, "1")} == {
        cert_id: (item.name, item.not_after, item.order_id) for cert_id, item in found.items()}
    assert {ours, lost} == set(rig.memory.uploads), "who has lost the memory still has our copies"


def test_foreign_cost(rig: Rig, certificate: Certificate) -> None:
    """The certificates are listed once for each id, until it is met, whatever domain has it."""
    ours = uploaded(rig, certificate)
    assert foreign_certificates(rig.context, served(ours), [LINEAGE]) == {}
    assert rig.calls() == []
    first = rig.upload(certificate, "console")
    for calls in [CERTIFICATE_PAGE], []:
        assert set(foreign_certificates(rig.context, served(first, ours), [LINEAGE])) == {first}
        assert rig.calls() == calls
    later = Store(rig.store.folder)
    rig.store.write_memory()
    later.load()
    assert later.memory.domains == rig.memory.domains, "a later run knows it, too"
    second = rig.upload(certificate, "console")
    assert set(foreign_certificates(rig.context, served(first, second), [LINEAGE])) == {
        first, second}
    assert rig.calls() == [CERTIFICATE_PAGE]
    another = replace(*served(first), name="another.example.com")
    assert set(foreign_certificates(rig.context, [another], [LINEAGE])) == {first}
    assert rig.calls() == []
    assert set(foreign_certificates(rig.context, served("0123456789ab"), [LINEAGE])) == {
        "0123456789ab"}, "in no list"
    assert rig.calls() == CERTIFICATE_LIST


# Refused for good


@pytest.mark.parametrize(("code", "is_final"), [
    (400322, True), (400319, True), (404906, True), (400500, False), (400030, False)])
def test_refusal(code: int, is_final: bool, rig: Rig, certificate: Certificate) -> None:
    """After a final refusal its message is reported again, and the key is not sent."""
    rig.refuse("POST fusion", code, times=2)
    sends = []
    for _ in range(2):
        with pytest.raises(errors.QiniuError, match=str(code)):
            obtained(rig, wanted(certificate))
        sends.append(rig.calls().count(UPLOAD))
    assert [1, 1] == sends, "who asks insists"
    text = refused(rig.context, certificate, [])
    assert [is_final] * 2 == ["was not sent again" in text, str(code) in text]
    assert (code == 400322) == refuses_old_ones(rig.context)
    later = Store(rig.store.folder)
    later.load()
    assert later.memory.lineage(LINEAGE) == rig.memory.lineage(LINEAGE)
    assert is_final == bool(later.memory.lineage(LINEAGE).refusal)


def test_insisting(rig: Rig, certificate: Certificate) -> None:
    """A user who insists sends it; once it is there, the refusal is forgotten."""
    rig.refuse("POST fusion", 400348)
    with pytest.raises(errors.Refused):
        obtained(rig, wanted(certificate))
    assert rig.memory.lineage(LINEAGE).refusal
    obtained(rig, wanted(certificate))
    assert rig.memory.lineage(LINEAGE).refusal is None


@pytest.mark.parametrize(("days", "is_sent"), [(10, True), (30, False)],
                         ids=["ends soon", "has time"])
@pytest.mark.parametrize("is_ours", [True, False])
def test_refusal_urgent(days: float, is_sent: bool, is_ours: bool, rig: Rig,
                        certificate: Certificate) -> None:
    """What the waiting domains serve decides how soon it is tried again."""
    rig.refuse("POST fusion", 400348)
    with pytest.raises(errors.Refused):
        obtained(rig, wanted(certificate))
    rig.wait((90 - days) * DAY)
    rig.refuse("POST fusion", 400348)
    fresh = rig.renew(LINEAGE, *SANS)
    with pytest.raises(errors.Refused):
        obtained(rig, wanted(fresh))
    cert_id = uploaded(rig, certificate) if is_ours else rig.upload(certificate, "console")
    foreign_certificates(rig.context, served(cert_id), [LINEAGE])
    rig.wait(DAY)
    waiting = [*served(cert_id), Domain("http.example.com")]
    assert is_sent == (not refused(rig.context, fresh, waiting))


def test_find_wanted(rig: Rig) -> None:
    """A certificate of ours that the memory has lost is found again, older versions too."""
    versions = [rig.renew(LINEAGE, *SANS) for _ in range(2)]
    ids = [rig.upload(version) for version in versions]
    rig.upload(rig.renew("other", A))
    wanted = [Managed(A, "cdn", LINEAGE, Binding("https", versions[1].fingerprint))]
    assert find_wanted(rig.context, wanted) == {}
    assert rig.memory.uploads == {
        cert_id: Upload(version.fingerprint, LINEAGE, rig.now, rig.client.account)
        for cert_id, version in zip(ids, versions, strict=True)}
    rig.calls()
    assert find_wanted(rig.context, wanted) == {}
    assert rig.calls() == []


def test_find_wanted_nothing(rig: Rig, certificate: Certificate) -> None:
    """If nothing of ours is wanted, or all of it is known, nothing is listed."""
    uploaded(rig, certificate)
    wanted = [Managed(A, "cdn", LINEAGE, Binding("https", certificate.fingerprint)),
              Managed(B, "cdn", LINEAGE, Binding("https", "", "bought"))]
    assert find_wanted(rig.context, wanted) == {}
    assert rig.calls() == []


def test_find_wanted_unreachable(rig: Rig, certificate: Certificate) -> None:
    """If the certificates cannot be listed, each one that was looked for has that error."""
    wanted = [Managed(A, "cdn", LINEAGE, Binding("https", certificate.fingerprint))]
    rig.refuse("/sslcert")
    failures = find_wanted(rig.context, wanted)
    assert list(failures) == [certificate.fingerprint]
    assert rig.memory.uploads == {}


def test_namesakes(rig: Rig) -> None:
    """A certificate under one of our names, with other SANs, is not taken for ours."""
    certificate = rig.renew(LINEAGE, *SANS)
    stranger = rig.renew("other", "example.com")
    rig.upload(stranger, certificate.remote_name)
    remember_copies(rig.context, LINEAGE)
    assert rig.memory.uploads == {}
    cert_id = rig.upload(certificate)
    rig.account.certificates(refresh=True)
    remember_copies(rig.context, LINEAGE)
    assert list(rig.memory.uploads) == [cert_id]


def test_validity_of(rig: Rig, certificate: Certificate) -> None:
    """certbot's archive has it, otherwise Qiniu's list, otherwise it is unknown."""
    end, begin = certificate.not_after.timestamp(), certificate.not_before.timestamp()
    assert (end, end - begin) == validity_of(rig.context, LINEAGE, certificate.fingerprint)
    assert [] == rig.calls()
    shutil.rmtree(rig.config_dir / "archive")
    assert (0, 0) == validity_of(rig.context, "gone", certificate.fingerprint)
    rig.memory.uploads[rig.upload(certificate)] = Upload(certificate.fingerprint, "gone")
    assert (int(end), int(end) - int(begin)) == validity_of(
        rig.context, "gone", certificate.fingerprint)


def test_unusable_certificates(rig: Rig, certificate: Certificate) -> None:
    """Nothing can go back to what has ended or is gone; what is there still can."""
    there = rig.upload(certificate)
    assert {} == unusable_certificates(rig.context, ())
    assert [] == rig.calls()
    assert {"gone": 0.0} == unusable_certificates(rig.context, {there, "gone"})
    rig.now = certificate.not_after.timestamp()
    assert {there: int(rig.now)} == unusable_certificates(rig.context, {there})


def test_unusable_certificates_unknown(rig: Rig) -> None:
    """Without a list Qiniu itself refuses what is gone; of what has ended we know it."""
    for end in (rig.now - 1, rig.now + 1):
        rig.memory.update(f"{end}.example.com", foreign=RemoteCertificate(
            str(end), "somebody's", not_after=int(end)))
    rig.refuse("/sslcert", times=9)
    ids = {"gone", *(record.foreign.cert_id for record in rig.memory.domains.values()
                     if record.foreign)}
    assert {str(rig.now - 1): int(rig.now - 1)} == unusable_certificates(rig.context, ids)
