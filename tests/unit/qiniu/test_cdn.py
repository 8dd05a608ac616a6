"""CDN domains: the call for each change, and when a list shows who uses a certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, RemoteCertificate
from certbot_qiniu.qiniu.cdn import Cdn
from tests.unit.rig import DOMAIN_LIST, DOMAIN_PAGE, PUBLISH_SECONDS, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

A, B = "a.example.com", "b.example.com"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account with a domain on http, and one on https with somebody else's certificate."""
    rig = Rig(tmp_path)
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https", http2=True,
                         cert_id=rig.upload(rig.renew("old", B), "console"))
    return rig


@pytest.fixture
def new(rig: Rig) -> RemoteCertificate:
    """A certificate for both, at Qiniu."""
    certificate = rig.renew("example.com", A, B)
    return RemoteCertificate(rig.upload(certificate), certificate.remote_name)


def test_list(rig: Rig) -> None:
    """The list has every domain, without the details that only a read has."""
    assert [(A, "http", False), (B, "https", False)] == [
        (domain.name, domain.protocol, domain.detailed) for domain in Cdn(rig.client).list()]


def test_observe(rig: Rig) -> None:
    """A domain is read in detail, and one that does not exist is none."""
    cdn = Cdn(rig.client)
    seen = cdn.observe(B)
    assert seen is not None
    assert (True, rig.qiniu.serving(B).cert_id) == (seen.detailed, seen.cert_id)
    assert cdn.observe("gone.example.com") is None


@pytest.mark.parametrize(("name", "call"), [(A, "sslize"), (B, "httpsconf")],
                         ids=["on http", "on https"])
@pytest.mark.parametrize("settings", [(True, False), (False, True), (None, None)], ids=str)
def test_bind(rig: Rig, new: RemoteCertificate, name: str, call: str,
              settings: tuple[bool | None, bool | None]) -> None:
    """The verb is the one for what the domain speaks, and one call carries all settings."""
    cdn = Cdn(rig.client)
    domain = cdn.observe(name)
    assert domain is not None
    rig.calls()
    force_https, http2 = settings
    cdn.bind(domain, new, Binding("https", "", new.cert_id, force_https, http2))
    assert [f"PUT /domain/{name}/{call}"] == rig.calls()
    rig.wait(PUBLISH_SECONDS)
    serving = rig.qiniu.serving(name)
    assert (new.cert_id, bool(force_https), bool(http2)) == (
        serving.cert_id, serving.force_https, serving.http2)


def test_unbind(rig: Rig) -> None:
    """Back to http means without a certificate."""
    cdn = Cdn(rig.client)
    domain = cdn.observe(B)
    assert domain is not None
    cdn.unbind(domain)
    rig.wait(PUBLISH_SECONDS)
    assert ("http", "") == (rig.qiniu.serving(B).protocol, rig.qiniu.serving(B).cert_id)


@pytest.mark.parametrize("on", [True, False])
def test_hsts(rig: Rig, *, on: bool) -> None:
    """HSTS is switched to what is asked for."""
    cdn = Cdn(rig.client)
    for wish in (not on, on):
        domain = cdn.observe(B)
        assert domain is not None
        cdn.set_hsts(domain, on=wish)
        rig.wait(PUBLISH_SECONDS)
    seen = cdn.observe(B)
    assert seen is not None
    assert on == seen.hsts


# Who uses a certificate


def used(rig: Rig) -> RemoteCertificate:
    """The certificate that B serves."""
    return RemoteCertificate(rig.qiniu.serving(B).cert_id, "console")


def test_users(rig: Rig) -> None:
    """A list shows who serves a certificate once it was seen to filter, which is tried once."""
    cdn = Cdn(rig.client)
    assert {B} == cdn.users(used(rig))
    assert [*DOMAIN_LIST, DOMAIN_PAGE] == rig.calls(), "an empty list is one page"
    assert {B} == cdn.users(used(rig))
    assert DOMAIN_LIST == rig.calls()


def test_users_among_some(rig: Rig) -> None:
    """The list is left once it has shown those that are asked about, and else read to its end."""
    cdn = Cdn(rig.client)
    cdn.users(used(rig))
    rig.calls()
    assert {B} == cdn.users(used(rig), [B])
    assert [DOMAIN_PAGE] == rig.calls()
    assert {B} == cdn.users(used(rig), [A, B])
    assert DOMAIN_LIST == rig.calls()


def test_users_without_a_filter(rig: Rig) -> None:
    """A list that shows all domains whatever is asked proves nothing, for good."""
    rig.qiniu.switches.ignore_cert_filter = True
    cdn = Cdn(rig.client)
    assert cdn.users(used(rig)) is None
    assert DOMAIN_LIST * 2 == rig.calls()
    assert cdn.users(used(rig)) is None
    assert DOMAIN_LIST == rig.calls()


@pytest.mark.parametrize("works", [True, False])
def test_nobody_uses_it(rig: Rig, new: RemoteCertificate, *, works: bool) -> None:
    """An empty list needs no proof, whether the filter works or the account has no domains."""
    if not works:
        for name in (A, B):
            rig.qiniu.remove_domain(name)
    assert set() == Cdn(rig.client).users(new)
    assert [DOMAIN_PAGE] == rig.calls()


def test_users_when_the_probe_is_refused(rig: Rig) -> None:
    """Qiniu that refuses to list for a certificate that cannot exist does read the filter."""
    rig.refuse("/domain", 400401, skip=len(DOMAIN_LIST))
    assert {B} == Cdn(rig.client).users(used(rig))


def test_users_when_the_probe_is_lost(rig: Rig) -> None:
    """A probe without an answer proves nothing, and is made again the next time."""
    cdn = Cdn(rig.client)
    rig.refuse("/domain", 503000, skip=len(DOMAIN_LIST), times=5)
    with pytest.raises(errors.Unreachable):
        cdn.users(used(rig))
    rig.calls()
    assert {B} == cdn.users(used(rig))
    assert [*DOMAIN_LIST, DOMAIN_PAGE] == rig.calls()
