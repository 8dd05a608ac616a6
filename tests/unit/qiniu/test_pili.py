"""Pili's live domains, whose certificates are known by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate
from certbot_qiniu.qiniu.pili import Pili
from tests.unit.rig import CERTIFICATE_LIST, CERTIFICATE_PAGE, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

LIVE, PLAIN = "live.example.com", "plain.example.com"
HUBS = "GET pili/v2/hubs"


def test_certificate_in_no_list(tmp_path: Path) -> None:
    """A certificate that the list does not have, even asked anew, is called as it is shown."""
    rig = Rig(tmp_path)
    rig.upload(rig.renew("old", LIVE), "console")
    rig.qiniu.add_hub("stage")
    rig.qiniu.add_live_domain("stage", LIVE, cert_name="console")
    asked: list[bool] = []

    def empty(*, refresh: bool = False) -> dict[str, RemoteCertificate]:
        asked.append(refresh)
        return {}

    pili = Pili(rig.client, empty)
    seen = pili.observe(LIVE)
    assert seen is not None
    assert (seen.cert_id, asked) == ("console", [False, True])
    with pytest.raises(errors.Refused, match="bind certificate 0123 to"):
        pili.bind(seen, RemoteCertificate("0123", "its name"), Binding())
    assert [call for call in rig.calls() if call.startswith("POST")] == [
        f"POST pili.qiniuapi.com/v2/hubs/stage/domains/{LIVE}/cert"]


def test_no_headers(tmp_path: Path) -> None:
    """What a live domain does not have cannot be set."""
    rig = Rig(tmp_path)
    with pytest.raises(errors.UsageError, match="no response headers"):
        Pili(rig.client, rig.account.certificates).set_hsts(Domain(LIVE), on=True)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account with a live domain on https, whose certificate has a namesake, and one on http."""
    rig = Rig(tmp_path)
    former = rig.renew("old", LIVE)
    rig.upload(former, "console")
    rig.wait(1)
    rig.upload(former, "console")
    for hub in ("empty", "stage"):
        rig.qiniu.add_hub(hub)
    rig.qiniu.add_live_domain("stage", LIVE, cert_name="console")
    rig.qiniu.add_live_domain("stage", PLAIN, kind="liveHdl")
    return rig


@pytest.fixture
def pili(rig: Rig) -> Pili:
    """The service, with the certificates of its account."""
    return Pili(rig.client, rig.account.certificates)


def test_list(rig: Rig, pili: Pili) -> None:
    """Each hub is asked; of several certificates of a name the newest is taken for the served."""
    newest = rig.qiniu.certificates()[-1].cert_id
    assert {LIVE: ("https", newest), PLAIN: ("http", "")} == {
        domain.name: (domain.protocol, domain.cert_id) for domain in pili.list()}
    assert [*CERTIFICATE_LIST, HUBS, f"{HUBS}/empty/domains", f"{HUBS}/stage/domains"] == [
        call.replace("GET pili.qiniuapi.com", "GET pili") for call in rig.calls()]


def test_observe(rig: Rig, pili: Pili) -> None:
    """What was listed is not asked for again, a new list is; what is not there is none."""
    pili.list()
    rig.calls()
    seen = pili.observe(LIVE)
    assert seen is not None
    assert seen.detailed
    assert pili.observe("gone.example.com") is None
    assert [] == rig.calls()
    pili.list()
    assert [] != rig.calls()


def test_an_id_in_place_of_a_name(rig: Rig, pili: Pili) -> None:
    """What no certificate is named, and is the id of one, is that id."""
    rig.qiniu.switches.pili_by = "id"
    cert_id = rig.qiniu.certificates()[0].cert_id
    rig.qiniu.add_live_domain("stage", LIVE, cert_name=cert_id)
    seen = pili.observe(LIVE)
    assert seen is not None
    assert cert_id == seen.cert_id
    assert len(CERTIFICATE_LIST) == rig.calls().count(CERTIFICATE_PAGE), (
        "a known id is no reason to ask again")


def test_a_name_that_is_switched_off(rig: Rig, pili: Pili,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain that is back on http serves no certificate, though it shows the name of one."""
    monkeypatch.setattr(rig.client, "list_live_domains",
                        lambda _: [(Domain(LIVE, service="pili"), "console")])
    seen = pili.observe(LIVE)
    assert seen is not None
    assert ("http", "") == (seen.protocol, seen.cert_id)


def test_a_name_that_is_new(rig: Rig, pili: Pili) -> None:
    """A name that the list does not have yet is looked for in a new one."""
    rig.account.certificates()
    new = rig.upload(rig.renew("example.com", LIVE), "brand new")
    rig.qiniu.add_live_domain("stage", LIVE, cert_name="brand new")
    seen = pili.observe(LIVE)
    assert seen is not None
    assert new == seen.cert_id


# Changes


def new_certificate(rig: Rig) -> RemoteCertificate:
    """One that is not bound yet."""
    certificate = rig.renew("example.com", LIVE, PLAIN)
    return RemoteCertificate(rig.upload(certificate), certificate.remote_name)


@pytest.mark.parametrize("name", ["live.example.com", "plain.example.com"])
def test_bind(rig: Rig, pili: Pili, name: str) -> None:
    """A certificate is bound by its name, in the hub of the domain, and read back."""
    certificate = new_certificate(rig)
    domain = pili.observe(name)
    assert domain is not None
    pili.bind(domain, certificate, Binding())
    seen = pili.observe(name)
    assert seen is not None
    assert ("https", certificate.cert_id) == (seen.protocol, seen.cert_id)


@pytest.mark.parametrize(("code", "calls"), [
    (400001, 2), (404001, 2), (612001, 2), (403001, 1), (401001, 1)],
    ids=["400", "404", "612", "403", "401"])
def test_bind_by_id(rig: Rig, pili: Pili, code: int, calls: int) -> None:
    """The id is tried only if Qiniu does not know the name; no permission is no name."""
    certificate = new_certificate(rig)
    domain = pili.observe(LIVE)
    assert domain is not None
    rig.refuse("/cert", code, times=9)
    rig.calls()
    with pytest.raises(errors.Refused) as caught:
        pili.bind(domain, certificate, Binding())
    assert code == caught.value.code
    assert calls == len([call for call in rig.calls() if call.startswith("POST")])


def test_bind_in_vain(rig: Rig, pili: Pili) -> None:
    """If both are refused, Qiniu's words about the name are reported."""
    domain = pili.observe(LIVE)
    assert domain is not None
    rig.refuse("/cert", 400001)
    with pytest.raises(errors.Refused) as caught:
        pili.bind(domain, RemoteCertificate("0123", "its name"), Binding())
    assert 400001 == caught.value.code


def test_unbind(rig: Rig, pili: Pili) -> None:
    """There is no call for that: nothing is sent, and a rollback can report it."""
    domain = pili.observe(LIVE)
    assert domain is not None
    rig.calls()
    with pytest.raises(errors.Refused, match=f"off the live domain {LIVE}: Qiniu has no call"):
        pili.unbind(domain)
    assert [] == rig.calls()


# Who uses a certificate


def test_users(rig: Rig, pili: Pili) -> None:
    """Every certificate of a name that is shown counts as served, and by its id as well."""
    pili.list()
    first, second = (item.cert_id for item in rig.qiniu.certificates())
    for certificate, users in [
            (RemoteCertificate(first, "console"), {LIVE}),
            (RemoteCertificate(second, "console"), {LIVE}),
            (RemoteCertificate("another", "other"), set()),
            (RemoteCertificate("console", "renamed"), {LIVE}),
            (RemoteCertificate("", ""), set())]:
        assert users == pili.users(certificate)


def test_users_are_asked_for_anew(rig: Rig, pili: Pili) -> None:
    """Qiniu may delete what is in use: a list from before will not do."""
    pili.list()
    certificate = new_certificate(rig)
    rig.qiniu.add_live_domain("stage", PLAIN, cert_name=certificate.name)
    assert {PLAIN} == pili.users(certificate)


@pytest.mark.parametrize(("match", "is_error"), [("/v2/hubs", False), ("/v2/hubs/empty", True)],
                         ids=["no live streaming", "a hub that may not be seen"])
def test_users_in_doubt(rig: Rig, pili: Pili, match: str, *, is_error: bool) -> None:
    """An account without live streaming uses nothing there; a hub out of sight may use it."""
    rig.refuse(match, 401001)
    certificate = RemoteCertificate("0123", "console")
    if is_error:
        with pytest.raises(errors.Refused):
            pili.users(certificate)
    else:
        assert set() == pili.users(certificate)
