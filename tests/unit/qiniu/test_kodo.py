"""Kodo's source domains: one list a day, one call for what they serve, and who may not ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate
from certbot_qiniu.qiniu.client import QiniuClient
from certbot_qiniu.qiniu.kodo import (
    LISTING_SECONDS,
    OR_WRONG_KEYS,
    UNDOCUMENTED_ADVICE,
    Kodo,
)
from certbot_qiniu.qiniu.service import Listing, Notes
from tests.sandbox.wire import Fault, json_response
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

SOURCE, PLAIN = "src.example.com", "plain.example.com"
BINDINGS = "GET /cert/bindings"
LISTING = [BINDINGS, "GET uc.qiniuapi.com/buckets", *["GET uc.qiniuapi.com/domain"] * 2]


def test_users_for_a_sub_user(tmp_path: Path) -> None:
    """A key that may not see the bindings relies on Qiniu to protect certificates in use."""
    rig = Rig(tmp_path)
    rig.refuse("/cert/bindings")
    assert Kodo(rig.client, Notes()).users(RemoteCertificate("0123", "name")) == set()


def test_no_headers(tmp_path: Path) -> None:
    """What a source domain does not have cannot be set."""
    with pytest.raises(errors.UsageError, match="no response headers"):
        Kodo(Rig(tmp_path).client, Notes()).set_hsts(Domain(SOURCE, service="kodo"), on=True)


# Lists


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account with two buckets: one with a domain on https and one on http, one without."""
    rig = Rig(tmp_path)
    for bucket in ("empty", "pictures"):
        rig.qiniu.add_bucket(bucket)
    rig.qiniu.add_source_domain(SOURCE, "pictures", rig.upload(rig.renew("old", SOURCE), "old"))
    rig.qiniu.add_source_domain(PLAIN, "pictures")
    return rig


@pytest.fixture
def kodo(rig: Rig) -> Kodo:
    """The service, as the first run of all finds it."""
    return Kodo(rig.client, Notes(clock=rig.clock))


def test_list(rig: Rig, kodo: Kodo) -> None:
    """Each bucket is asked once, and the bindings show which domains are on https."""
    assert {SOURCE: "https", PLAIN: "http"} == {
        domain.name: domain.protocol for domain in kodo.list()}
    assert LISTING == rig.calls()


@pytest.mark.parametrize(("seconds", "calls"), [
    (0.0, []), (LISTING_SECONDS - 1, []), (LISTING_SECONDS, LISTING), (-1.0, LISTING),
], ids=["at once", "within a day", "after a day", "from the future"])
def test_list_is_remembered(rig: Rig, seconds: float, calls: list[str]) -> None:
    """A later run lists the buckets anew when a day is over, or the clock was wrong."""
    notes = Notes(clock=rig.clock)
    first = list(Kodo(rig.client, notes).list())
    rig.calls()
    rig.wait(seconds)
    assert first == list(Kodo(rig.client, notes).list())
    assert calls == rig.calls()


def test_list_again(rig: Rig, kodo: Kodo) -> None:
    """Listing again reads what is served now, although the domains are remembered."""
    kodo.list()
    rig.qiniu.add_source_domain(SOURCE, "pictures")
    rig.calls()
    kodo.list()
    seen = kodo.observe(SOURCE)
    assert seen is not None
    assert ("http", [BINDINGS]) == (seen.protocol, rig.calls())


def test_list_of_another_account(rig: Rig, kodo: Kodo) -> None:
    """What is remembered of one account is not another's."""
    kodo._notes.listings["another"] = Listing(rig.now, {"other.example.com": ""}, {})
    assert {SOURCE, PLAIN} == {domain.name for domain in kodo.list()}
    assert {"another", rig.client.account} == set(kodo._notes.listings)


def test_frozen(rig: Rig, kodo: Kodo) -> None:
    """A frozen source domain has the kind of its freeze for a reason."""
    rig.qiniu.add_source_domain("frozen.example.com", "empty", "", ["VIOLATION"])
    [frozen] = [domain for domain in kodo.list() if domain.name.startswith("frozen")]
    assert ("frozen", "VIOLATION") == (frozen.state, frozen.state_reason)


@pytest.mark.parametrize(("status", "is_error"), [(631, False), (403, True)])
def test_bucket_that_fails(rig: Rig, kodo: Kodo, status: int, *, is_error: bool) -> None:
    """A bucket deleted a moment ago hides no other; any other refusal makes no half a list."""
    rig.refuse("uc.qiniuapi.com/domain", status * 1000 + 1)  # the first bucket, which is empty
    if is_error:
        with pytest.raises(errors.Refused):
            kodo.list()
        assert {} == kodo._notes.listings
    else:
        assert {SOURCE, PLAIN} == {domain.name for domain in kodo.list()}


# One domain


@pytest.mark.parametrize("part", ["/cert/bindings", "/buckets", "uc.qiniuapi.com/domain"])
def test_refused_to_observe(rig: Rig, kodo: Kodo, part: str) -> None:
    """A refusal names the domain that it is about."""
    rig.refuse(part)
    with pytest.raises(errors.Refused, match=f"^Could not list .*, for {SOURCE}: the reason"):
        kodo.observe(SOURCE)


@pytest.mark.parametrize("is_listed", [True, False])
def test_refused_once(rig: Rig, *, is_listed: bool) -> None:
    """Bindings that are refused are not asked for again, until they are listed anew."""
    notes = Notes(clock=rig.clock)
    if is_listed:
        Kodo(rig.client, notes).list()
    kodo = Kodo(rig.client, notes)
    rig.calls()
    rig.refuse("/cert/bindings", 401000, times=2)
    for name in (SOURCE, PLAIN):
        with pytest.raises(errors.Refused, match=f"for {name}: the reason as GET with QBox"):
            kodo.observe(name)
    assert [BINDINGS] * 2 == rig.calls()
    kodo.list()
    assert kodo.observe(SOURCE)


def test_observe(rig: Rig, kodo: Kodo) -> None:
    """What domains serve is one call more for all of them, and made once."""
    kodo.list()
    rig.calls()
    seen = [kodo.observe(name) for name in (SOURCE, PLAIN, SOURCE)]
    assert [rig.qiniu.serving(SOURCE).cert_id, "", rig.qiniu.serving(SOURCE).cert_id] == [
        domain.cert_id for domain in seen if domain and domain.detailed]
    assert [] == rig.calls(), "the listing of this run has asked for the bindings"


def test_observe_what_is_remembered(rig: Rig) -> None:
    """A run that has a list from before asks for the bindings alone."""
    notes = Notes(clock=rig.clock)
    Kodo(rig.client, notes).list()
    rig.calls()
    assert Kodo(rig.client, notes).observe(SOURCE)
    assert [BINDINGS] == rig.calls()


def test_observe_what_is_newer(rig: Rig) -> None:
    """A name that is in no remembered list is looked for in all buckets, once a run."""
    notes = Notes(clock=rig.clock)
    Kodo(rig.client, notes).list()
    rig.qiniu.add_source_domain("new.example.com", "empty")
    rig.calls()
    kodo = Kodo(rig.client, notes)
    assert kodo.observe("new.example.com")
    assert LISTING == rig.calls()
    assert kodo.observe("gone.example.com") is None
    assert [] == rig.calls()


# Changes


def test_bind_and_unbind(rig: Rig, kodo: Kodo) -> None:
    """After a change the bindings are asked for again: a status alone proves nothing."""
    new = rig.renew("example.com", SOURCE)
    certificate = RemoteCertificate(rig.upload(new), new.remote_name)
    domain = kodo.observe(SOURCE)
    assert domain is not None
    kodo.bind(domain, certificate, Binding())
    bound = kodo.observe(SOURCE)
    assert bound is not None
    assert certificate.cert_id == bound.cert_id
    kodo.unbind(bound)
    unbound = kodo.observe(SOURCE)
    assert unbound is not None
    assert ("http", "") == (unbound.protocol, unbound.cert_id)


@pytest.mark.parametrize(("code", "is_sub_user", "advice"), [
    (401001, True, "use a key of the main account"),
    (401001, False, "refused both ways in which it is known to work"),
    (401001, False, "refuses all other calls as well, check qiniu_access_key and qiniu_secret_key"),
    (404001, True, "no longer one of its bucket's, the next certbot renew sees that"),
    (405000, False, "in Qiniu's console, and leave source domains out with --qiniu-services cdn"),
    (403001, False, "binds nothing but source domains"),
    (400326, True, "names do not cover this domain"),
], ids=["sub-user", "main account", "wrong key", "gone", "call gone", "no source domain",
        "as transport knows"])
@pytest.mark.parametrize("change", ["bind", "unbind"])
def test_refused(rig: Rig, kodo: Kodo, code: int, advice: str, change: str, *, is_sub_user: bool,
                 monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal keeps Qiniu's words, and has the advice that fits this service and this key."""
    domain = kodo.observe(SOURCE)
    assert domain is not None
    monkeypatch.setattr(QiniuClient, "is_sub_user", is_sub_user)
    rig.refuse(f"/cert/{change}", code, times=2)
    send = kodo.unbind if change == "unbind" else lambda it: kodo.bind(
        it, RemoteCertificate("0123", "new"), Binding())
    with pytest.raises(errors.Refused, match="the reason") as caught:
        send(domain)
    assert advice in caught.value.advice
    assert (code, code // 1000) == (caught.value.code, caught.value.status)
    # Perhaps it is no source domain any more: what it may be, the next list has to tell.
    assert (change == "bind") == (kodo._notes.listings == {})


def test_a_clock_that_is_off(rig: Rig, kodo: Kodo) -> None:
    """It is no domain of another kind, and keeps its own advice."""
    domain = kodo.observe(SOURCE)
    assert domain is not None
    rig.board.arm(Fault("reply", json_response(403, {"error": "request time too skewed"})),
                  match="/cert/bind")
    with pytest.raises(errors.Refused, match="Check this machine's clock"):
        kodo.bind(domain, RemoteCertificate("0123", "new"), Binding())


@pytest.mark.parametrize(("code", "advice"), [
    (403000, ""), (404000, UNDOCUMENTED_ADVICE), (401000, UNDOCUMENTED_ADVICE + OR_WRONG_KEYS)])
def test_advice_for_the_bindings(rig: Rig, kodo: Kodo, code: int, advice: str) -> None:
    """A list binds nothing, and is about no single domain."""
    rig.refuse("/cert/bindings", code, times=2)
    with pytest.raises(errors.Refused) as caught:
        kodo.list()
    assert advice == caught.value.advice


def test_bind_as_before(rig: Rig) -> None:
    """The method that a domain was bound by is the first that a later run tries, in all calls."""
    notes = Notes(clock=rig.clock)
    bound = RemoteCertificate(rig.upload(rig.renew("example.com", SOURCE)), "new")
    rig.refuse("POST api.qiniu.com/cert/bind", 405000)
    for first, calls in (("", ["POST", "PUT"]), ("PUT", ["PUT"])):
        kodo = Kodo(rig.client, notes)
        domain = kodo.observe(SOURCE)
        assert domain is not None
        assert first == notes.bind_methods.get(rig.client.account, "")
        rig.calls()
        kodo.bind(domain, bound, Binding())
        assert [f"{method} /cert/bind" for method in calls] == rig.calls()
    rig.refuse("/cert/unbind", 400000)
    with pytest.raises(errors.Refused):
        kodo.unbind(domain)
    assert ["PUT /cert/unbind"] == rig.calls()


def test_users(rig: Rig, kodo: Kodo) -> None:
    """Only the bindings show the domains that serve a certificate, by its id."""
    cert_id = rig.qiniu.serving(SOURCE).cert_id
    assert {SOURCE} == kodo.users(RemoteCertificate(cert_id, "any"))
    assert set() == kodo.users(RemoteCertificate("another", "old"))
    assert [BINDINGS] == rig.calls()


def test_users_unknown(rig: Rig, kodo: Kodo) -> None:
    """Silence is no permission: without an answer nobody knows who uses it."""
    rig.refuse("/cert/bindings", 503000, times=5)
    with pytest.raises(errors.Unreachable):
        kodo.users(RemoteCertificate("0123", "old"))
