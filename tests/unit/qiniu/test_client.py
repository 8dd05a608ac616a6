"""The API client: one method for each endpoint, sent once, and understood whatever comes back."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certbot_qiniu import errors
from certbot_qiniu.model import Certificate, Domain
from certbot_qiniu.qiniu import client as client_module
from certbot_qiniu.qiniu.client import QiniuClient
from certbot_qiniu.qiniu.responses import HSTS
from certbot_qiniu.qiniu.transport import Transport
from tests.sandbox.pki import Authority
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Qiniu, Switches
from tests.sandbox.wire import (
    Drop,
    Fault,
    Response,
    json_response,
)
from tests.unit.qiniu.script import (
    AK,
    CERT_ID,
    NAME,
    SK,
    Reply,
    Scripted,
    Time,
    bind,
    domain_json,
    listed,
    ok,
    refusal,
)

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

WANTED = {"certId": CERT_ID, "forceHttps": False, "http2Enable": True}
OTHER = {"op": "set", "key": "X-Frame-Options", "value": "DENY"}
CONTROLS = [{"op": "set", "key": "Strict-Transport-Security", "value": "max-age=1"}]


class TestKeys:
    """What a client needs to begin with."""

    def test_repr(self, rig: Scripted) -> None:
        """A printed client shows no key."""
        assert AK not in repr(rig.client)
        assert SK not in repr(rig.client)

    @pytest.mark.parametrize("keys", [("", SK), (AK, ""), (AK, "two\nlines"), ("ké", SK)])
    def test_impossible_keys(self, keys: tuple[str, str]) -> None:
        """Keys that cannot stand in a header are refused, without being shown."""
        with pytest.raises(errors.UsageError) as caught:
            QiniuClient(*keys)
        assert "lines" not in str(caught.value)


class TestCertificates:
    """Certificates are listed, uploaded once, and deleted when nothing uses them."""

    def test_upload(self, rig: Scripted, certificate: Certificate) -> None:
        """An upload sends name, first SAN, full chain and PKCS#8 key, and nothing else."""
        rig.answers(ok({"certID": CERT_ID}))
        assert rig.client.upload_certificate(certificate) == CERT_ID
        assert rig.sent == ["POST /sslcert"]
        assert json.loads(rig.last.request.body) == {
            "name": certificate.remote_name, "common_name": NAME, "ca": certificate.fullchain,
            "pri": certificate.key_pem()}

    @pytest.mark.parametrize("spelling", ["certID", "certid", "certId"])
    @pytest.mark.parametrize("extra", [{}, {"code": 0}, {"code": 200}])
    def test_upload_answers(self, rig: Scripted, certificate: Certificate, spelling: str,
                            extra: dict[str, int]) -> None:
        """Every known form of a success is understood."""
        rig.answers(ok({spelling: CERT_ID, **extra}))
        assert rig.client.upload_certificate(certificate) == CERT_ID

    UNCLEAR = pytest.mark.parametrize("fault", [
        Drop("reset"), Drop("timeout"), Response(502, b"<html>"), Response(200, b'{"certI'),
        refusal(500215, 500), Response(103)],
        ids=["reset", "timeout", "502", "truncated", "500215", "interim"])

    @UNCLEAR
    def test_unclear_upload_that_arrived(self, rig: Scripted, certificate: Certificate,
                                         fault: Reply) -> None:
        """After an unclear failure the copy in the list is taken, and nothing is sent again."""
        namesake = {**listed(certificate, "other"), "not_after": 1}
        rig.answers(fault, ok({"certs": [namesake, listed(certificate)], "marker": ""}))
        assert rig.client.upload_certificate(certificate) == CERT_ID
        assert rig.sent == ["POST /sslcert", "GET /sslcert?limit=100"]

    @UNCLEAR
    def test_unclear_upload_that_did_not_arrive(self, rig: Scripted, certificate: Certificate,
                                                fault: Reply) -> None:
        """Without a copy in the list the upload is sent again."""
        rig.answers(fault, ok({"certs": None}), ok({"certID": CERT_ID}))
        assert rig.client.upload_certificate(certificate) == CERT_ID
        assert rig.sent == ["POST /sslcert", "GET /sslcert?limit=100", "POST /sslcert"]

    def test_unclear_upload_when_the_list_fails_too(self, rig: Scripted,
                                                    certificate: Certificate) -> None:
        """A key is never sent again without a look at the list."""
        rig.answers(Drop("timeout"))
        with pytest.raises(errors.Unreachable, match="list the certificates"):
            rig.client.upload_certificate(certificate)
        assert rig.sent == ["POST /sslcert"] + ["GET /sslcert?limit=100"] * 5

    def test_throttled_upload(self, rig: Scripted, certificate: Certificate) -> None:
        """A call too many had no effect: it is repeated without a look at the list."""
        rig.answers(refusal(403024, 403), ok({"certID": CERT_ID}))
        rig.client.upload_certificate(certificate)
        assert rig.sent == ["POST /sslcert"] * 2

    def test_uploaded_already(self, rig: Scripted, certificate: Certificate) -> None:
        """400400 leads to the copy that is there."""
        rig.answers(refusal(400400), ok({"certs": [listed(certificate)]}))
        assert rig.client.upload_certificate(certificate) == CERT_ID

    def test_uploaded_already_but_not_listed(self, rig: Scripted, certificate: Certificate) -> None:
        """400400 without a copy is a refusal."""
        rig.answers(refusal(400400), ok({"certs": []}))
        with pytest.raises(errors.Refused, match="400400"):
            rig.client.upload_certificate(certificate)

    @pytest.mark.parametrize("answer", [{}, {"certID": ""}, {"certID": 5}, [], "x", None])
    def test_upload_without_an_id(self, rig: Scripted, certificate: Certificate,
                                  answer: Any) -> None:
        """A success without an id is looked up in the list, which must have it."""
        rig.answers(json_response(200, answer), ok({"certs": [listed(certificate)]}))
        assert rig.client.upload_certificate(certificate) == CERT_ID
        rig.answers(json_response(200, answer), ok({"certs": []}))
        with pytest.raises(errors.Unreachable, match="unknown form"):
            rig.client.upload_certificate(certificate)

    @pytest.mark.parametrize(("reply", "gone"), [
        (ok(), True), (ok({}), True), (refusal(400401), True),
        (refusal(400611), False), (refusal(400911), False)],
        ids=["code 200", "{}", "400401", "400611", "400911"])
    def test_delete(self, rig: Scripted, reply: Response, gone: bool) -> None:
        """A certificate in use stays; one that is gone already is gone."""
        rig.answers(reply)
        assert rig.client.delete_certificate(CERT_ID) is gone
        assert rig.sent == [f"DELETE /sslcert/{CERT_ID}"]

    def test_delete_without_a_word(self, rig: Scripted) -> None:
        """A success without a body, which a broken gateway sends, too, is believed when seen."""
        listed = ok({"code": 200, "certs": [{"certid": CERT_ID, "name": "mine"}]})
        rig.answers(Response(200), listed, listed, Response(200), ok({"code": 200, "certs": []}))
        assert rig.client.delete_certificate(CERT_ID) is True
        assert [line.split()[0] for line in rig.sent] == ["DELETE", "GET", "GET", "DELETE", "GET"]

    def test_delete_a_stranger(self, rig: Scripted) -> None:
        """Somebody else's certificate is an error."""
        rig.answers(refusal(404908, 404))
        with pytest.raises(errors.Refused):
            rig.client.delete_certificate(CERT_ID)

    def test_delete_is_repeated(self, rig: Scripted) -> None:
        """A lost answer to a deletion is followed by "no such certificate": gone."""
        rig.answers(Drop("timeout"), refusal(400401))
        assert rig.client.delete_certificate(CERT_ID) is True


class TestLists:
    """Every list is read to its end, however that shows, and no further."""

    @pytest.mark.parametrize(("pages", "targets"), [
        pytest.param([(["a"], "")], ["/domain?limit=1000"], id="empty marker"),
        pytest.param([(["a"], "1"), ([], "2")],
                     ["/domain?limit=1000", "/domain?limit=1000&marker=1"], id="empty page"),
        pytest.param([(["a"], "1"), (["b"], "1")],
                     ["/domain?limit=1000", "/domain?limit=1000&marker=1"], id="unmoved marker"),
        pytest.param([(["a"], "1"), (["b"], "2"), (["b"], "1")],
                     ["/domain?limit=1000", "/domain?limit=1000&marker=1",
                      "/domain?limit=1000&marker=2"], id="marker seen before"),
        pytest.param([(["a"], 5)], ["/domain?limit=1000"], id="odd marker"),
    ])
    def test_end(self, rig: Scripted, pages: list[tuple[list[str], Any]],
                 targets: list[str]) -> None:
        """All ways to end a list end it, with the last page kept and nothing twice."""
        rig.answers(*(ok({"domains": [{"name": f"{name}.example.com"} for name in names],
                          "marker": marker}) for names, marker in pages))
        expected = sorted({f"{name}.example.com" for names, _ in pages for name in names})
        assert [domain.name for domain in rig.client.list_domains()] == expected
        assert [e.request.target for e in rig.board.history] == targets

    def test_endless(self, rig: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list without an end is an error, never a part taken for the whole."""
        monkeypatch.setattr(client_module, "MOST_PAGES", 5)
        rig.answers(lambda _: ok({"domains": [{"name": NAME}], "marker": str(len(rig.sent))}))
        with pytest.raises(errors.Unreachable, match="no end after 5 pages"):
            rig.client.list_domains()
        assert len(rig.sent) == 5

    def test_endless_and_wide(self, rig: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list is given up for its entries long before it fills the memory."""
        monkeypatch.setattr(client_module, "MOST_ENTRIES", 25)
        rig.answers(lambda _: ok({"domains": [{"name": NAME}] * 10,
                                  "marker": str(len(rig.sent))}))
        with pytest.raises(errors.Unreachable, match="no end after 3 pages"):
            rig.client.list_domains()
        assert len(rig.sent) == 3

    @pytest.mark.parametrize("a_page", [100, 50_000])
    def test_two_hundred_thousand(self, rig: Scripted, a_page: int) -> None:
        """So many certificates an account may have, on pages of whatever length."""
        pages = 200_000 // a_page

        def page(*_: object, query: dict[str, str], **__: object) -> dict[str, Any]:
            number = int(query.get("marker", 0))
            return {"certs": [{"certid": f"{number:06x}{entry:06x}"} for entry in range(a_page)]
                    if number < pages else [], "marker": str(number + 1)}

        with mock.patch.object(Transport, "request", page):
            assert len(rig.client.list_certificates()) == 200_000

    def test_filter(self, rig: Scripted) -> None:
        """The domains of one certificate are asked for by its id."""
        rig.answers(ok({"domains": None, "marker": ""}))
        assert rig.client.list_domains(CERT_ID) == []
        assert rig.sent == [f"GET /domain?limit=1000&certId={CERT_ID}"]


class TestDomains:
    """Domains are read as they are, and changed once."""

    @pytest.mark.parametrize("reply", [
        refusal(404001, 404), refusal(612, 612), Response(404, b"<html>"),
        json_response(404, {"code": 404999, "error": "无此域名"})],
        ids=["404001", "612", "html", "unknown code"])
    def test_no_such_domain(self, rig: Scripted, reply: Response) -> None:
        """A domain that is not there is None."""
        rig.answers(reply)
        assert rig.client.get_domain(NAME) is None

    def test_not_operable_is_not_absent(self, rig: Scripted) -> None:
        """404910 comes with HTTP 404 but is about a domain that is there."""
        rig.answers(refusal(404910, 404))
        with pytest.raises(errors.Refused, match="support"):
            rig.client.get_domain(NAME)

    @pytest.mark.parametrize("answer", [{}, {"name": "other.example.com"}, [], {"name": 5}])
    def test_detail_of_something_else(self, rig: Scripted, answer: Any) -> None:
        """An answer about no or another domain is not taken for this one."""
        rig.answers(json_response(200, answer))
        with pytest.raises(errors.Unreachable, match="unknown form"):
            rig.client.get_domain(NAME)

    @pytest.mark.parametrize("name", ["", "../x", "a/b.example.com", "a.example.com?x=1",
                                      "a.example.com#", "a..example.com", "localhost", "a b.de"])
    def test_bad_names(self, rig: Scripted, name: str) -> None:
        """A name that is no domain never becomes a path."""
        for call in (rig.client.get_domain, rig.client.unbind_certificate,
                     rig.client.get_response_headers):
            with pytest.raises(errors.UsageError):
                call(name)
        assert rig.sent == []

    @pytest.mark.parametrize("cert_id", ["", "../x", "a/b", "a?b", "a b", "é", "x" * 200])
    def test_bad_ids(self, rig: Scripted, cert_id: str) -> None:
        """An id that Qiniu cannot have given never becomes a path."""
        with pytest.raises(errors.UsageError):
            rig.client.delete_certificate(cert_id)
        with pytest.raises(errors.UsageError):
            rig.client.bind_certificate(NAME, cert_id, force_https=True, http2=True, enable=True)
        with pytest.raises(errors.UsageError):
            rig.client.list_live_domains(cert_id)
        assert rig.sent == []

    @pytest.mark.parametrize(("enable", "verb"), [(True, "sslize"), (False, "httpsconf")])
    @pytest.mark.parametrize("reply", [ok(), ok({})], ids=["code", "{}"])
    def test_bind(self, rig: Scripted, enable: bool, verb: str, reply: Response) -> None:
        """A binding sends exactly the three fields, to the verb that the protocol needs."""
        rig.answers(reply)
        bind(rig, enable=enable)
        assert rig.sent == [f"PUT /domain/{NAME}/{verb}"]
        assert rig.last.request.body == (
            b'{"certId":"5a950896f2c5932aaf00142c","forceHttps":false,"http2Enable":true}')

    def test_bind_with_other_fields(self, rig: Scripted) -> None:
        """What a read showed goes back as it came, and TLS versions as a list."""
        rig.answers(ok())
        bind(rig, tls_versions=("TLSv1.3",), others={"ocsp": True, "list": ("a", 1)})
        assert json.loads(rig.last.request.body) == {
            "certId": CERT_ID, "forceHttps": False, "http2Enable": True, "ocsp": True,
            "list": ["a", 1], "tlsVersions": ["TLSv1.3"]}

    @pytest.mark.parametrize(("shown", "visible", "calls"), [
        (["TLSv1.3"], True, ["PUT", "GET"]), (["TLSv1.2"], True, ["PUT", "GET", "PUT"]),
        (None, True, ["PUT", "GET"]), (None, False, ["PUT", "GET", "PUT"])])
    def test_unclear_bind_of_versions(self, rig: Scripted, shown: object, visible: bool,
                                      calls: list[str]) -> None:
        """A change that no read shows is sent again after an unclear failure, like one not done."""
        rig.answers(Drop("reset"), ok(domain_json(https={**WANTED, "tlsVersions": shown})), ok())
        bind(rig, tls_versions=("TLSv1.3",), is_visible=visible)
        assert [line.split()[0] for line in rig.sent] == calls

    def test_bind_without_a_word(self, rig: Scripted) -> None:
        """A success without a body is believed when the domain shows it, and repeated else."""
        rig.answers(Response(200), ok(domain_json()), ok(domain_json()), ok())
        bind(rig)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET", "GET", "PUT"]
        rig.answers(Response(200), ok(domain_json(https=WANTED)))
        bind(rig)
        assert [line.split()[0] for line in rig.sent[4:]] == ["PUT", "GET"]

    def test_read_without_a_word(self, rig: Scripted) -> None:
        """An empty answer to a read is none: an account must not look as if it were empty."""
        rig.answers(Response(200), ok({"domains": []}))
        assert rig.client.list_domains() == []
        assert len(rig.sent) == 2

    @pytest.mark.parametrize("code", [400030, 400910, 400013, 400401])
    def test_first_refusal(self, rig: Scripted, code: int) -> None:
        """A refusal of the first attempt is the caller's to decide."""
        rig.answers(refusal(code))
        with pytest.raises(errors.Refused) as caught:
            bind(rig)
        assert caught.value.code == code
        assert len(rig.sent) == 1

    @pytest.mark.parametrize(("enable", "fields"), [
        (False, {"https": WANTED}),
        (False, {"operatingState": "processing", "operationType": "modify_https_conf"}),
        (False, {"operatingState": "processing", "operationType": "modify_https_crt"}),
        (False, {"https": WANTED, "operatingState": "processing",
                 "operationType": "modify_cache"}),
        (True, {"protocol": "http", "https": None, "operatingState": "processing",
                "operationType": "sslize"}),
    ], ids=["shown", "processing conf", "processing crt", "shown under another", "sslize"])
    @pytest.mark.parametrize("fault", [Drop("timeout"), Response(200, b'{"cod'), Response(502)],
                             ids=["timeout", "truncated", "502"])
    def test_unclear_bind_that_arrived(self, rig: Scripted, enable: bool, fields: dict[str, Any],
                                       fault: Reply) -> None:
        """After an unclear failure the domain is read, and nothing is sent if it shows."""
        rig.answers(fault, ok(domain_json(**fields)))
        bind(rig, enable=enable)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET"]

    @pytest.mark.parametrize("fields", [
        {},
        {"https": {**WANTED, "forceHttps": True}},
        {"https": {**WANTED, "http2Enable": False}},
        {"https": WANTED, "protocol": "http"},
        {"https": WANTED, "operatingState": "failed"},
        {"operatingState": "processing", "operationType": "modify_cache"},
        {"operatingState": "processing", "operationType": "sslize"},
        {"operatingState": "success", "operationType": "modify_https_conf"},
    ])
    def test_unclear_bind_that_did_not_arrive(self, rig: Scripted, fields: dict[str, Any]) -> None:
        """What shows something else, or has failed, is sent again."""
        rig.answers(Drop("reset"), ok(domain_json(**fields)), ok())
        bind(rig)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET", "PUT"]

    @pytest.mark.parametrize("code", [400030, 400910, 400013])
    def test_refused_repeat_that_is_done(self, rig: Scripted, code: int) -> None:
        """A repeat that is refused because the first one did arrive is a success."""
        rig.answers(Drop("reset"), ok(domain_json()), refusal(code),
                    ok(domain_json(https=WANTED)))
        bind(rig)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET", "PUT", "GET"]

    def test_refused_repeat_that_is_not_done(self, rig: Scripted) -> None:
        """A repeat that is refused for another reason is a refusal."""
        rig.answers(Drop("reset"), ok(domain_json()), refusal(400030), ok(domain_json()))
        with pytest.raises(errors.Refused, match="400030"):
            bind(rig)

    def test_bind_gives_up(self, rig: Scripted) -> None:
        """Five attempts, each but the first after a read, and no more."""
        rig.answers(lambda request: ok(domain_json()) if request.method == "GET"
                    else Response(504))
        with pytest.raises(errors.Unreachable, match="after 5 attempts"):
            bind(rig)
        assert [line.split()[0] for line in rig.sent] == ["PUT", *["GET", "PUT"] * 4]

    def test_bind_to_a_domain_that_vanished(self, rig: Scripted) -> None:
        """If the domain is gone, the repeat says so."""
        rig.answers(Drop("reset"), refusal(404001, 404), refusal(612, 612),
                    refusal(404001, 404))
        with pytest.raises(errors.Refused) as caught:
            bind(rig)
        assert caught.value.code == 612

    def test_unbind(self, rig: Scripted) -> None:
        """Back to HTTP has no body; a lost answer is looked up first."""
        rig.answers(Drop("timeout"), ok(domain_json(protocol="http")))
        rig.client.unbind_certificate("*.example.com".replace("*.", "www."))
        assert rig.sent == [f"PUT /domain/{NAME}/unsslize", f"GET /domain/{NAME}"]
        assert rig.board.history[0].request.body == b""

    def test_response_headers(self, rig: Scripted) -> None:
        """The list of response headers is read and replaced as it is."""
        rig.answers(ok(domain_json(responseHeaderControls=CONTROLS)), ok())
        assert rig.client.get_response_headers(NAME) == CONTROLS
        rig.client.set_response_headers(NAME, CONTROLS)
        assert rig.sent[-1] == f"PUT /domain/{NAME}/respheader"
        assert json.loads(rig.last.request.body) == {"responseHeaderControls": CONTROLS}

    @pytest.mark.parametrize(("before", "on", "after"), [
        ([], True, [HSTS]), (CONTROLS, True, [HSTS]), ([OTHER, HSTS], True, None),
        ([OTHER, *CONTROLS], False, [OTHER]), ([OTHER], False, None),
    ], ids=["on", "on in our way", "on already", "off", "off already"])
    def test_hsts(self, rig: Scripted, before: list[dict[str, str]], on: bool,
                  after: list[dict[str, str]] | None) -> None:
        """HSTS is set or taken away next to the other headers, and only if that is a change."""
        rig.answers(ok(domain_json(responseHeaderControls=before)), ok())
        rig.client.set_hsts(NAME, on=on)
        sent = [json.loads(call.request.body) for call in rig.board.history[1:]]
        assert sent == ([] if after is None else [{"responseHeaderControls": after}])

    @pytest.mark.parametrize("lost", [Drop("timeout"), Response(103)], ids=["silence", "interim"])
    def test_unclear_response_headers(self, rig: Scripted, lost: Reply) -> None:
        """A lost answer to a change of headers is looked up first."""
        rig.answers(lost, ok(domain_json(responseHeaderControls=CONTROLS)))
        rig.client.set_response_headers(NAME, CONTROLS)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET", "GET"]

    @pytest.mark.parametrize("controls", [None, []])
    def test_no_response_headers(self, rig: Scripted, controls: Any) -> None:
        """No headers are an empty list."""
        rig.answers(ok(domain_json(responseHeaderControls=controls)))
        assert rig.client.get_response_headers(NAME) == []

    @pytest.mark.parametrize("controls", [{"op": "set"}, ["x"], [{"op": 5}]])
    def test_odd_response_headers(self, rig: Scripted, controls: Any) -> None:
        """Headers of an unknown form are not dropped: writing the rest would delete them."""
        rig.answers(ok(domain_json(responseHeaderControls=controls)))
        with pytest.raises(errors.Unreachable):
            rig.client.get_response_headers(NAME)


class TestStorageAndLive:
    """Source domains of buckets and live domains."""

    def test_buckets(self, rig: Scripted) -> None:
        """Bucket names that could not be asked for are left out."""
        rig.answers(Response(200, b'["one", "two-2", "a b", 5, null, "\\ud800"]'))
        assert rig.client.list_buckets() == ["one", "two-2"]
        assert rig.last.request.label == "GET uc.qiniuapi.com/buckets"

    def test_source_domains(self, rig: Scripted) -> None:
        """Source domains show their freezes."""
        rig.answers(ok([{"domain": "a.example.com", "bucket": "one"},
                        {"domain": "b.example.com", "freeze_types": ["ICP_EXPIRED", 5]}, "x",
                        {"domain": "../x"}]))
        assert rig.client.list_source_domains("my bucket") == [
            Domain("a.example.com", service="kodo"),
            Domain("b.example.com", service="kodo", state="frozen",
                   state_reason="ICP_EXPIRED, ")]
        assert rig.last.request.target == "/domain?bucket=my+bucket"

    def test_endless_freezes(self, rig: Scripted) -> None:
        """However many kinds of freeze there are, what is shown of them has an end."""
        rig.answers(ok([{"domain": "b.example.com", "freeze_types": ["x" * 4096] * 1000}]))
        [domain] = rig.client.list_source_domains("my bucket")
        assert 4096 == len(domain.state_reason)

    def test_bindings(self, rig: Scripted) -> None:
        """The bindings map domains to ids."""
        rig.answers(ok([{"domain": "a.example.com", "certid": CERT_ID, "name": "n"},
                        {"domain": "b.example.com", "certid": ""}, {"certid": CERT_ID}]))
        assert rig.client.list_bindings() == {"a.example.com": CERT_ID}
        assert rig.last.request.label == "GET api.qiniu.com/cert/bindings"

    @pytest.mark.parametrize(("before", "after"), [
        (False, []), (True, [Response(200, b"[]")])], ids=["first", "second"])
    @pytest.mark.parametrize("status", [404, 405])
    def test_source_domains_of_the_other_list(self, rig: Scripted, status: int, *, before: bool,
                                              after: list[Response]) -> None:
        """If the page's list is not there, the tools' list is asked, and only that again."""
        rig.answers(Response(status), ok([
            {"domain": "a.example.com", "tbl": "one", "domaintype": 1, "freeze_types": None},
            {"domain": "b.example.com", "domaintype": 1, "freeze_types": ["VIOLATION"]},
            {"domain": "cdn.example.com", "domaintype": 0}, {"domain": "odd.example.com"}]), *after)
        assert rig.client.list_source_domains("my bucket") == [
            Domain("a.example.com", service="kodo"),
            Domain("b.example.com", service="kodo", state="frozen", state_reason="VIOLATION")]
        if before:
            assert rig.client.list_source_domains("two") == []
        assert rig.sent == ["GET /domain?bucket=my+bucket", "GET /v3/domains?tbl=my+bucket",
                            *["GET /v3/domains?tbl=two"] * before]

    def test_source_domains_of_no_bucket(self, rig: Scripted) -> None:
        """Any other refusal is final, such as that of a bucket that is gone."""
        rig.answers(json_response(631, {"error": "no such bucket"}))
        with pytest.raises(errors.Refused, match="no such bucket"):
            rig.client.list_source_domains("gone")
        assert rig.sent == ["GET /domain?bucket=gone"]

    @pytest.mark.parametrize("status", [401, 404, 405])
    @pytest.mark.parametrize(("first", "ways"), [
        ("", ["POST QBox", "PUT Qiniu"]), ("POST", ["POST QBox", "PUT Qiniu"]),
        ("PUT", ["PUT Qiniu", "POST QBox"]), ("of another version", ["POST QBox", "PUT Qiniu"]),
    ])
    @pytest.mark.parametrize("verb", ["bind", "unbind"])
    def test_change_source_domain(self, rig: Scripted, verb: str, first: str, ways: list[str],
                                  status: int) -> None:
        """One way that is refused leads to the other; the body of a success is free."""
        change = getattr(rig.client, f"{verb}_source_domain")
        rig.answers(Response(200, b"done"))
        assert change("a.example.com", CERT_ID, first) == ways[0].split()[0]
        rig.answers(Response(status), Response(200, b"done"))
        assert change("a.example.com", CERT_ID, first) == ways[1].split()[0]
        assert ways_of(rig) == [ways[0], *ways]
        assert {call.request.target for call in rig.board.history} == {f"/cert/{verb}"}
        assert rig.last.request.body == (
            b'{"certid":"5a950896f2c5932aaf00142c","domain":"a.example.com"}')

    def test_bind_source_domain_in_no_way(self, rig: Scripted) -> None:
        """If neither way is taken, the error has what both were told, and the first's facts."""
        rig.answers(json_response(401, {"error": "bad token"}, **{"X-Reqid": "abc1"}),
                    Response(405, b"", {"X-Reqid": "abc2"}))
        with pytest.raises(errors.Refused) as caught:
            rig.client.bind_source_domain("a.example.com", CERT_ID)
        assert str(caught.value) == (
            f"Could not bind certificate {CERT_ID} to source domain a.example.com: bad token as "
            "POST with QBox, Method Not Allowed as PUT with Qiniu (code 401, X-Reqid abc1)")
        assert len(rig.sent) == 2

    def test_bind_source_domain_in_a_way_that_is_understood(self, rig: Scripted) -> None:
        """What is said to the way that is taken is what counts."""
        rig.answers(Response(401), json_response(400, {"error": "invalid id"}))
        with pytest.raises(errors.Refused, match=r"com: invalid id \(code 400\)$"):
            rig.client.bind_source_domain("a.example.com", CERT_ID)

    def test_bindings_with_the_other_signature(self, rig: Scripted) -> None:
        """A signature that is refused is not tried first again; the other is, should it change."""
        rig.answers(Response(401), ok([]), ok([]), Response(401), ok([]), ok([]))
        for _ in range(4):
            assert rig.client.list_bindings() == {}
        assert ways_of(rig) == [
            "GET QBox", "GET Qiniu", "GET Qiniu", "GET Qiniu", "GET QBox", "GET QBox"]

    def test_bindings_with_neither_signature(self, rig: Scripted) -> None:
        """If neither is taken, the error says so, and the next call tries both again."""
        rig.answers(json_response(401, {"error": "bad token"}))
        for _ in range(2):
            with pytest.raises(errors.Refused,
                               match="bad token as GET with QBox, bad token as GET with Qiniu"):
                rig.client.list_bindings()
        assert ways_of(rig) == ["GET QBox", "GET Qiniu"] * 2

    def test_bind_source_domain_of_the_cdn(self, rig: Scripted) -> None:
        """A refusal is final."""
        rig.answers(json_response(403, {"error": "domaintype is not allowed"}))
        with pytest.raises(errors.Refused, match="domaintype is not allowed"):
            rig.client.bind_source_domain("a.example.com", CERT_ID)
        assert len(rig.sent) == 1

    def test_live(self, rig: Scripted) -> None:
        """Hubs and their domains, with the names of their certificates."""
        rig.answers(ok({"items": [{"name": "hub"}, {"name": "../x"}, 5]}),
                    ok({"domains": [
                        {"type": "liveHls", "domain": "a.example.com", "cname": "c.example",
                         "certEnable": True, "certName": "mine"},
                        {"type": "liveHdl", "domain": "b.example.com", "certEnable": False},
                        {"type": "liveHdl", "domain": "../x"}]}),
                    Response(200))
        assert rig.client.list_hubs() == ["hub"]
        assert rig.client.list_live_domains("hub") == [
            (Domain("a.example.com", service="pili", protocol="https", cname="c.example",
                    product="liveHls"), "mine"),
            (Domain("b.example.com", service="pili", product="liveHdl"), "")]
        rig.client.bind_live_domain("hub", "a.example.com", "mine")
        assert rig.sent[1:] == ["GET /v2/hubs/hub/domains",
                                "POST /v2/hubs/hub/domains/a.example.com/cert"]
        assert rig.last.request.body == b'{"certName":"mine"}'


def ways_of(rig: Scripted) -> list[str]:
    """The method and the signature of every request so far."""
    return [f"{call.request.method} {str(call.request.header('Authorization')).split()[0]}"
            for call in rig.board.history]


KEYS = st.sampled_from([
    "code", "error", "certs", "certid", "certID", "name", "dnsnames", "not_after", "marker",
    "domains", "https", "certId", "forceHttps", "protocol", "items", "domain", "freeze_types",
    "responseHeaderControls", "certEnable", "operatingState"]) | st.text(max_size=3)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([NAME, CERT_ID, "a.example.com", 403024, 500215, 200, 0, "../x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25)
CALLS: list[Callable[[QiniuClient, Certificate], object]] = [
    lambda c, _: c.list_certificates(),
    lambda c, certificate: c.upload_certificate(certificate),
    lambda c, _: c.delete_certificate(CERT_ID),
    lambda c, _: c.list_domains(),
    lambda c, _: c.get_domain(NAME),
    lambda c, _: c.bind_certificate(NAME, CERT_ID, force_https=True, http2=True, enable=True),
    lambda c, _: c.unbind_certificate(NAME),
    lambda c, _: c.get_response_headers(NAME),
    lambda c, _: c.set_response_headers(NAME, []),
    lambda c, _: [c.list_source_domains(bucket) for bucket in c.list_buckets()],
    lambda c, _: c.list_bindings(),
    lambda c, _: c.bind_source_domain(NAME, CERT_ID),
    lambda c, _: c.unbind_source_domain(NAME, CERT_ID),
    lambda c, _: [c.list_live_domains(hub) for hub in c.list_hubs()],
    lambda c, _: c.bind_live_domain("hub", NAME, "mine"),
]


@given(call=st.sampled_from(CALLS), status=st.integers(100, 999) | st.just(200),
       body=ANYTHING.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30),
       headers=st.dictionaries(st.sampled_from(["Retry-After", "X-Reqid", "Location"]),
                               st.text(st.characters(max_codepoint=255), max_size=20)))
@settings(max_examples=400, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_answer(certificate: Certificate,
                    call: Callable[[QiniuClient, Certificate], object], status: int, body: bytes,
                    headers: dict[str, str]) -> None:
    """Any answer becomes a value or an error of the API, and no control character gets through."""
    rig = Scripted(Time())
    rig.answers(Response(status, body, headers))
    try:
        shown = repr(call(rig.client, certificate))
    except errors.ApiError as error:
        shown = str(error)
    assert shown.isprintable()


class TestEmulator:
    """The client and the strict emulator, which was written without looking at it, agree."""

    @pytest.fixture
    def qiniu_emulator(self, time: Time) -> Qiniu:
        """An account with one domain on http, at the time of the signatures."""
        emulator = Qiniu(clock=time.wall, switches=Switches(date_required=True))
        emulator.add_domain(NAME)
        return emulator

    @pytest.fixture
    def live(self, time: Time, qiniu_emulator: Qiniu) -> Scripted:
        """A client in front of the emulator."""
        return Scripted(time, qiniu_emulator, (ACCESS_KEY, SECRET_KEY))

    @pytest.fixture
    def fresh(self, tmp_path: Path, authority: Authority, time: Time) -> Certificate:
        """A certificate that is valid at the time of the signatures."""
        leaf = authority.intermediate("Issuing").issue(
            NAME, "*.example.com", now=dt.datetime.fromtimestamp(time.wall(), dt.timezone.utc))
        (tmp_path / "fullchain.pem").write_text(leaf.fullchain_pem)
        (tmp_path / "privkey.pem").write_text(leaf.key_pem)
        return Certificate.load(NAME, tmp_path / "fullchain.pem", tmp_path / "privkey.pem")

    def test_life_of_a_certificate(self, live: Scripted, qiniu_emulator: Qiniu,
                                   fresh: Certificate) -> None:
        """Upload, find, bind, publish, rebind, unbind and delete a certificate."""
        client = live.client
        cert_id = client.upload_certificate(fresh)
        [remote] = client.list_certificates()
        assert (remote.cert_id, remote.is_copy_of(fresh)) == (cert_id, True)
        client.bind_certificate(NAME, cert_id, force_https=True, http2=True, enable=True)
        busy = client.get_domain(NAME)
        assert busy is not None
        assert (busy.state, busy.operation) == ("processing", "sslize")
        live.time.seconds += 10
        assert qiniu_emulator.serving(NAME).fingerprint == fresh.fingerprint
        assert client.delete_certificate(cert_id) is False
        done = client.get_domain(NAME)
        assert done is not None
        assert (done.protocol, done.cert_id, done.force_https, done.http2) == (
            "https", cert_id, True, True)
        assert [domain.name for domain in client.list_domains(cert_id)] == [NAME]
        client.bind_certificate(NAME, cert_id, force_https=False, http2=True, enable=False)
        live.time.seconds += 10
        client.unbind_certificate(NAME)
        live.time.seconds += 10
        assert client.delete_certificate(cert_id) is True
        assert client.list_certificates() == []
        assert client.get_domain("absent.example.com") is None
        assert qiniu_emulator.leaks == []

    @pytest.mark.parametrize("kind", ["reset", "reset_after", "timeout_after", "truncate"])
    def test_lost_answers(self, live: Scripted, qiniu_emulator: Qiniu, fresh: Certificate,
                          kind: str) -> None:
        """However an answer is lost, there is one copy and one change."""
        for call in ("POST fusion", "PUT api"):
            live.board.arm(Fault(kind), match=call)
        cert_id = live.client.upload_certificate(fresh)
        live.client.bind_certificate(NAME, cert_id, force_https=True, http2=True, enable=True)
        live.time.seconds += 10
        assert len(qiniu_emulator.certificates()) == 1
        assert qiniu_emulator.serving(NAME).cert_id == cert_id
        assert qiniu_emulator.leaks == []

    @pytest.mark.parametrize("list_end", ["empty marker", "empty page", "marker never moves"])
    def test_pages(self, live: Scripted, qiniu_emulator: Qiniu, fresh: Certificate,
                   list_end: Any) -> None:
        """Every way to end a list gives the whole list."""
        qiniu_emulator.switches.list_end = list_end
        qiniu_emulator.switches.list_page_cap = 2
        ids = {qiniu_emulator.add_certificate(fresh.fullchain, name=f"n{n}") for n in range(5)}
        assert {remote.cert_id for remote in live.client.list_certificates()} == ids

    @pytest.mark.parametrize("answer", ["403024", "429", "573"])
    def test_rate(self, live: Scripted, qiniu_emulator: Qiniu, answer: Any) -> None:
        """The client's pace never meets the limit of either host."""
        qiniu_emulator.switches.enforce_rate = True
        qiniu_emulator.switches.rate_limit_answer = answer
        for _ in range(40):
            live.client.list_domains()
            live.client.list_certificates()
        assert live.client.calls == 80 + 40  # an empty page ends the list that has something

    def test_wrong_secret(self, time: Time, qiniu_emulator: Qiniu) -> None:
        """A wrong secret is refused on both hosts, with the advice to check it."""
        rig = Scripted(time, qiniu_emulator, (ACCESS_KEY, "wrong"))
        for call in (rig.client.list_domains, rig.client.list_certificates):
            with pytest.raises(errors.Refused, match="qiniu_secret_key"):
                call()

    def test_wrong_clock(self, live: Scripted, qiniu_emulator: Qiniu,
                         monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock that is off is named."""
        monkeypatch.setattr(qiniu_emulator, "_clock", lambda: live.time.wall() + 3600)
        with pytest.raises(errors.Refused, match="clock"):
            live.client.list_domains()

    def test_storage_and_live(self, live: Scripted, qiniu_emulator: Qiniu,
                              fresh: Certificate) -> None:
        """Source and live domains are found, bound and read back."""
        qiniu_emulator.add_bucket("one")
        qiniu_emulator.add_source_domain("img.example.com", "one")
        qiniu_emulator.add_hub("hub")
        qiniu_emulator.add_live_domain("hub", "play.example.com")
        cert_id = qiniu_emulator.add_certificate(fresh.fullchain, name=fresh.remote_name)
        client = live.client
        assert client.list_buckets() == ["one"]
        [source] = client.list_source_domains("one")
        for pairs in ("PUT and Qiniu", "QBox"):
            qiniu_emulator.switches.cert_pairs = pairs
            client.bind_source_domain(source.name, cert_id)
        assert client.list_bindings() == {"img.example.com": cert_id}
        assert client.list_hubs() == ["hub"]
        client.bind_live_domain("hub", "play.example.com", fresh.remote_name)
        assert [(domain.name, domain.protocol, name)
                for domain, name in client.list_live_domains("hub")] == [
            ("play.example.com", "https", fresh.remote_name)]
