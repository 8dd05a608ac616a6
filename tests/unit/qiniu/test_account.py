"""An account: its lists fetched once, and its services behind one contract."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from unittest import mock

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate
from certbot_qiniu.qiniu import client
from certbot_qiniu.qiniu.account import (
    FEW_CALLS,
    FEW_LOOKS,
    LISTS_MAX_AGE_SECONDS,
    Account,
    Accounts,
    Lists,
)
from certbot_qiniu.qiniu.cdn import Cdn
from certbot_qiniu.qiniu.service import Service
from certbot_qiniu.qiniu.transport import ATTEMPTS
from tests.sandbox.wire import Fault, Response, json_response
from tests.unit.rig import (
    AUTHORITY,
    CERTIFICATE_LIST,
    CERTIFICATE_PAGE,
    DOMAIN_LIST,
    DOMAIN_PAGE,
    PUBLISH_SECONDS,
    Rig,
)

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

A, B = "a.example.com", "b.example.com"


class Shelf:
    """A service that is a list, as another one of Qiniu's would be."""

    publishes = False

    def __init__(self, *domains: Domain, users: set[str] | None = None) -> None:
        self.name = domains[0].service
        self.domains = domains
        self._users = users

    def list(self) -> Iterable[Domain]:
        return self.domains

    def observe(self, domain: str) -> Domain | None:
        return next((item for item in self.domains if item.name == domain), None)

    def bind(self, domain: Domain, certificate: RemoteCertificate, binding: Binding) -> None:
        raise AssertionError("nothing is bound here")

    def unbind(self, domain: Domain) -> None:
        raise AssertionError("nothing is bound here")

    def set_hsts(self, domain: Domain, *, on: bool) -> None:
        raise AssertionError("there are no headers here")

    def users(self, certificate: RemoteCertificate,
              among: Collection[str] = ()) -> set[str] | None:
        return self._users


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account with a domain on http and one on https."""
    rig = Rig(tmp_path)
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https", cert_id=rig.upload(rig.renew("old", B), "console"),
                         http2=True)
    return rig


def certificate_of(rig: Rig) -> RemoteCertificate:
    """A certificate that may be bound to either domain."""
    cert_id = rig.upload(rig.renew("new", "*.example.com"))
    return rig.account.certificates(refresh=True)[cert_id]


# CDN domains


@pytest.mark.parametrize(("name", "verb", "operation"), [
    (A, "sslize", "sslize"), (B, "httpsconf", "modify_https_conf"),
], ids=["http", "https"])
@pytest.mark.parametrize("force_https", [False, True])
def test_bind(name: str, verb: str, operation: str, force_https: bool, rig: Rig) -> None:
    """One call carries certificate and settings, by the way that fits what the domain speaks."""
    cdn, certificate = Cdn(rig.client), certificate_of(rig)
    domain = cdn.observe(name)
    assert domain is not None
    rig.calls()
    cdn.bind(domain, certificate, Binding("https", "", "", force_https, False))
    assert rig.calls() == [f"PUT /domain/{name}/{verb}"]
    after = cdn.observe(name)
    assert after is not None
    assert (after.state, after.operation) == ("processing", operation)
    rig.wait(PUBLISH_SECONDS)
    assert rig.qiniu.serving(name).cert_id == certificate.cert_id
    assert rig.qiniu.serving(name).force_https is force_https
    assert rig.qiniu.serving(name).http2 is False


def test_unbind(rig: Rig) -> None:
    """A domain goes back to http."""
    cdn = Cdn(rig.client)
    domain = cdn.observe(B)
    assert domain is not None
    cdn.unbind(domain)
    rig.wait(PUBLISH_SECONDS)
    assert rig.qiniu.serving(B).protocol == "http"


def test_users(rig: Rig) -> None:
    """The users of a certificate take one list, once it is known that Qiniu's filter works."""
    cdn = Cdn(rig.client)
    old = RemoteCertificate(rig.qiniu.serving(B).cert_id, "console")
    assert cdn.users(old) == {B}
    assert rig.calls() == [*DOMAIN_LIST, DOMAIN_PAGE], "an empty list is one page"
    assert cdn.users(old) == {B}
    assert cdn.users(certificate_of(rig)) == set()
    assert rig.calls() == [*DOMAIN_LIST, DOMAIN_PAGE, *CERTIFICATE_LIST]


def test_users_without_a_filter(rig: Rig) -> None:
    """If Qiniu lists all domains whatever is asked for, nothing is known."""
    rig.qiniu.switches.ignore_cert_filter = True
    cdn, certificate = Cdn(rig.client), certificate_of(rig)
    assert cdn.users(certificate) is None
    assert cdn.users(certificate) is None


def test_users_of_an_unknown_certificate(rig: Rig) -> None:
    """If Qiniu refuses to list for a certificate that cannot exist, the filter works."""
    cdn = Cdn(rig.client)
    old = RemoteCertificate(rig.qiniu.serving(B).cert_id, "console")
    rig.refuse("/domain", 400401, skip=len(DOMAIN_LIST))
    assert cdn.users(old) == {B}


def test_users_unreachable(rig: Rig) -> None:
    """A list that cannot be had is an error, not an empty one."""
    rig.refuse("/domain")
    with pytest.raises(errors.Refused):
        Cdn(rig.client).users(RemoteCertificate("0123456789ab", "x"))


# The account


def test_lists_are_fetched_once(rig: Rig) -> None:
    """However often they are asked for, the lists are fetched once, until they are old."""
    for _ in range(3):
        assert set(rig.account.domains()) == {A, B}
        assert len(rig.account.certificates()) == 1
    assert rig.calls() == [*DOMAIN_LIST, *CERTIFICATE_LIST]
    rig.wait(LISTS_MAX_AGE_SECONDS + 1)
    rig.qiniu.remove_domain(A)
    assert set(rig.account.domains()) == {B}
    assert rig.calls() == DOMAIN_LIST
    rig.account.certificates()
    assert rig.calls() == CERTIFICATE_LIST


def test_lists_just_after_boot(rig: Rig) -> None:
    """A clock that has just begun does not make lists out of nothing."""
    account = Account(rig.client, clock=lambda: 0.0)
    assert set(account.domains()) == {A, B}
    assert len(account.certificates()) == 1


def test_refresh(rig: Rig) -> None:
    """A refresh fetches the list that it is for."""
    rig.account.domains()
    rig.account.certificates()
    rig.calls()
    rig.qiniu.add_domain("c.example.com")
    assert "c.example.com" not in rig.account.domains()
    assert "c.example.com" in rig.account.domains(refresh=True)
    assert rig.calls() == DOMAIN_LIST
    cert_id = rig.upload(rig.renew("new", A))
    assert cert_id not in rig.account.certificates()
    assert cert_id in rig.account.certificates(refresh=True)
    assert rig.calls() == CERTIFICATE_LIST


def test_refresh_fails(rig: Rig) -> None:
    """A refresh that fails leaves the lists as they were, and the next call may ask again."""
    before = dict(rig.account.domains())
    certificates = dict(rig.account.certificates())
    rig.refuse("/domain")
    with pytest.raises(errors.Refused):
        rig.account.domains(refresh=True)
    rig.refuse("/sslcert")
    with pytest.raises(errors.Refused):
        rig.account.certificates(refresh=True)
    assert rig.account.domains() == before
    assert rig.account.certificates() == certificates


def test_refused_list(rig: Rig) -> None:
    """What Qiniu has refused is asked once by all who see the account, until that is old."""
    lists = Lists()
    views = [Account(rig.client, [Cdn(rig.client)], clock=rig.clock, lists=lists)
             for _ in range(3)]
    rig.refuse("/domain", 401001)
    for view in views:
        for _ in range(2):
            with pytest.raises(errors.Refused, match="the reason"):
                view.domains()
    assert rig.calls() == [DOMAIN_PAGE]
    rig.wait(LISTS_MAX_AGE_SECONDS + 1)
    assert set(views[0].domains()) == {A, B}


def test_failed_list(rig: Rig) -> None:
    """A fault of Qiniu's own, of a code that is not known to pass, is not held against others."""
    answer = json_response(500, {"code": 500123, "error": "internal"})
    rig.board.arm(Fault("reply", answer), match="/domain")
    with pytest.raises(errors.Refused, match="internal"):
        rig.account.domains()
    assert set(rig.account.domains()) == {A, B}


def test_list_out_of_reach(rig: Rig) -> None:
    """That no answer came says nothing about the next call."""
    rig.board.arm(Fault("reply", Response(503)), match="/domain", times=ATTEMPTS)
    with pytest.raises(errors.Unreachable):
        rig.account.domains()
    assert set(rig.account.domains()) == {A, B}


def test_note(rig: Rig) -> None:
    """What we know better than the list is put into it, and nothing else of the domain."""
    observed = rig.account.observe(B)
    assert observed is not None
    rig.account.note(observed)  # no list yet
    before = rig.account.domains()[B]
    rig.account.note(Domain(B, state="processing", operation="sslize", cert_id="x"))
    after = rig.account.domains()[B]
    assert (after.state, after.operation) == ("processing", "sslize")
    assert (after.cert_id, after.protocol, after.modified) == ("", "https", before.modified)
    rig.account.note(Domain("new.example.com"))
    assert rig.account.domains()["new.example.com"] == Domain("new.example.com")


def test_uploads_and_deletions_are_noted(rig: Rig) -> None:
    """What we upload and delete ourselves needs no new list."""
    certificate = RemoteCertificate("0123456789ab", "x")
    rig.account.note_upload(certificate)  # no list yet
    assert certificate.cert_id not in rig.account.certificates()
    rig.account.note_upload(certificate)
    assert rig.account.certificates()[certificate.cert_id] == certificate
    cert_id = rig.upload(rig.renew("new", A))
    rig.account.certificates(refresh=True)
    rig.calls()
    assert rig.account.delete(cert_id)
    assert cert_id not in rig.account.certificates()
    assert rig.calls() == [f"DELETE /sslcert/{cert_id}"]


def test_delete_in_use(rig: Rig) -> None:
    """A certificate that Qiniu says is in use stays, in the list as well."""
    cert_id = rig.qiniu.serving(B).cert_id
    rig.account.certificates()
    assert not rig.account.delete(cert_id)
    assert cert_id in rig.account.certificates()


def test_delete_refused(rig: Rig) -> None:
    """A deletion that is refused for another reason is an error, and changes no list."""
    cert_id = rig.qiniu.serving(B).cert_id
    rig.account.certificates()
    rig.refuse("DELETE")
    with pytest.raises(errors.Refused):
        rig.account.delete(cert_id)
    assert cert_id in rig.account.certificates()


def test_no_credentials() -> None:
    """If no credentials file is known, the user hears how to name it."""
    with pytest.raises(errors.UsageError, match="--qiniu-credentials PATH"):
        Accounts().get(None)


def test_keys_and_files(tmp_path: Path) -> None:
    """Files with the same keys are one account; a wrong secret in one is that one's alone."""
    paths = [tmp_path / name for name in ("a.ini", "b.ini", "wrong.ini")]
    for path, secret in zip(paths, ("s3cret", "s3cret", "s3cre7"), strict=True):
        path.touch(0o600)
        path.write_text(f"qiniu_access_key = key\nqiniu_secret_key = {secret}\n")
    accounts = Accounts(tmp_path)
    first, second, wrong = (accounts.get(str(path)) for path in paths)
    assert first is second
    assert first is not wrong
    assert first.client.account == wrong.client.account, "in our files they are one account"
    assert "s3cre" not in repr(vars(accounts))


def test_certificates_among(rig: Rig) -> None:
    """The list is left once it has shown what is wanted; one that was read to its end is kept."""
    cert_id = rig.qiniu.serving(B).cert_id
    assert {cert_id} == rig.account.certificates_among([cert_id]).keys()
    assert rig.calls() == [CERTIFICATE_PAGE]
    assert not rig.account.has_certificates
    assert {} == rig.account.certificates_among(["0123456789ab"])
    assert rig.calls() == CERTIFICATE_LIST
    for _ in range(2):
        assert {cert_id} == rig.account.certificates_among([cert_id, "0123456789ab"]).keys()
        assert {} == rig.account.certificates_among([])
    assert rig.calls() == [], "nothing is looked for twice"
    rig.wait(LISTS_MAX_AGE_SECONDS + 1)
    rig.calls()
    assert {cert_id} == rig.account.certificates_among([cert_id]).keys()
    assert rig.calls() == [CERTIFICATE_PAGE]


def test_certificates_among_many(rig: Rig) -> None:
    """A list that was read in part a few times is read to its end, once."""
    with mock.patch.object(client, "CERTIFICATES_PER_PAGE", 1):
        ids = [rig.qiniu.add_certificate(AUTHORITY.issue("x.example.com").fullchain_pem, name="x")
               for _ in range(20)]
        for cert_id in ids:
            assert {cert_id} == rig.account.certificates_among([cert_id]).keys()
    assert len(rig.calls()) <= (FEW_LOOKS + 1) * (len(ids) + 2)
    assert rig.account.has_certificates


def test_certificate_that_is_new(rig: Rig) -> None:
    """One that nobody has looked for may have come after the list was read."""
    rig.account.certificates()
    cert_id = rig.qiniu.add_certificate(AUTHORITY.issue("x.example.com").fullchain_pem, name="x")
    assert {cert_id} == rig.account.certificates_among([cert_id]).keys()


def test_views_share_the_lists(rig: Rig) -> None:
    """A view with other services of the account asks for no list that is there already."""
    lists, live = Lists(), Domain("live.example.com", service="pili")
    one = Account(rig.client, [Cdn(rig.client)], clock=rig.clock, lists=lists)
    two = Account(rig.client, [Cdn(rig.client), Shelf(live)], clock=rig.clock, lists=lists)
    assert {A, B} == one.domains().keys()
    assert {A, B, live.name} == two.domains().keys()
    assert one.certificates() == two.certificates()
    assert rig.calls() == [*DOMAIN_LIST, *CERTIFICATE_LIST]
    rig.wait(LISTS_MAX_AGE_SECONDS + 1)
    two.domains()
    one.domains()
    assert rig.calls() == DOMAIN_LIST


def test_presumed_domains(rig: Rig) -> None:
    """What was read in detail takes the place of the lists, for all who see the account."""
    lists = Lists()
    one, two = (Account(rig.client, [Cdn(rig.client)], clock=rig.clock, lists=lists)
                for _ in range(2))
    found = one.observe(B)
    assert found
    rig.calls()
    one.presume([found])
    assert {B: found} == one.domains() == two.domains()
    assert two.is_presumed
    assert rig.calls() == []


def test_length_of_a_list(rig: Rig) -> None:
    """The memory has a list that takes many calls, until it takes few again."""
    account = rig.account
    account.domains()
    assert (FEW_CALLS, {}) == (account.list_calls, account.notes.told)
    for number in range(2 * FEW_CALLS):
        rig.qiniu.add_domain(f"d{number}.example.com")
    with mock.patch.object(client, "DOMAINS_PER_PAGE", 2):
        account.domains(refresh=True)
    assert account.list_calls == FEW_CALLS + 2
    account.domains(refresh=True)
    assert (FEW_CALLS, {}) == (account.list_calls, account.notes.told)


def test_refresh_of_a_few(rig: Rig) -> None:
    """Of a list that takes many calls a few domains are read instead, unless only it can tell."""
    for number in range(2 * FEW_CALLS):
        rig.qiniu.add_domain(f"d{number}.example.com")
    with mock.patch.object(client, "DOMAINS_PER_PAGE", 2):
        before = dict(rig.account.domains())
        rig.calls()
        rig.wait(1)
        rig.qiniu.change_domain(A, force_https=True)
        rig.qiniu.change_domain(B, state="processing", operation="sslize")

        def refreshed(*names: str) -> dict[str, Domain]:
            return dict(rig.account.domains_and_failures(refresh=True, among=names)[0])

        after = refreshed(A, B)
        assert rig.calls() == [f"GET /domain/{A}", f"GET /domain/{B}"]
        assert rig.account.domains() == after
        rig.account.domains(refresh=True)
        assert after == rig.account.domains(), "it says what the list would"
        assert (before[A].modified, "processing") != (after[A].modified, after[B].state)
        rig.calls()
        assert after == refreshed(*before)
        assert len(rig.calls()) == FEW_CALLS + 2, "the list is shorter"
        rig.qiniu.remove_domain(A)
        assert A not in refreshed(A, B)
        assert len(rig.calls()) == 1 + FEW_CALLS + 2
        rig.refuse(f"/domain/{B}")
        refreshed(B)
        assert len(rig.calls()) == 1 + FEW_CALLS + 2
        rig.wait(LISTS_MAX_AGE_SECONDS + 1)
        refreshed(B)
        assert len(rig.calls()) == FEW_CALLS + 2


# Several services


def several(rig: Rig, *others: Service) -> Account:
    """An account with more than CDN domains."""
    return Account(rig.client, [Cdn(rig.client), *others], clock=rig.clock)


def test_several_services(rig: Rig) -> None:
    """All services' domains are one list; a name that two of them know belongs to the first."""
    live = Domain("live.example.com", service="pili")
    shelf = Shelf(live, Domain(A, service="pili", protocol="https"))
    account = several(rig, shelf)
    assert account.service_of(live.name).name == "cdn", "unknown before the lists are there"
    assert account.domains()[A].service == "cdn"
    assert account.domains()[live.name] == live
    assert account.service_of(A).name == "cdn"
    assert account.service_of(live.name) is shelf
    assert account.service_of("unknown.example.com").name == "cdn"
    assert account.observe(live.name) == live
    assert account.observe("unknown.example.com") is None


def test_users_in_several_services(rig: Rig) -> None:
    """The users of a certificate are those of all services, or unknown if one is unknown."""
    live = Domain("live.example.com", service="pili")
    old = RemoteCertificate(rig.qiniu.serving(B).cert_id, "console")
    assert several(rig, Shelf(live, users={live.name})).users(old) == {B, live.name}
    assert several(rig, Shelf(live, users=set())).users(old) == {B}
    assert several(rig, Shelf(live, users=None)).users(old) is None
