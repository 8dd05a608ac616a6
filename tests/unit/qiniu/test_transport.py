"""How a call reaches Qiniu: its signature, its pace, its patience, and what each code means."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import qiniu.auth
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from certbot_qiniu import errors
from certbot_qiniu.model import Certificate
from certbot_qiniu.qiniu import transport
from certbot_qiniu.qiniu.client import QiniuClient
from certbot_qiniu.qiniu.transport import GENTLE_CALLS_PER_SECOND
from tests.sandbox.wire import (
    Carrier,
    Drop,
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
    ok,
    refusal,
)

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def signed(scheme: str, text: str) -> str:
    """The header that Qiniu expects for *text*, computed without the official package."""
    digest = hmac.new(SK.encode(), text.encode(), hashlib.sha1).digest()
    return f"{scheme} {AK}:{base64.urlsafe_b64encode(digest).decode()}"


class TestSignatures:
    """What is sent is signed as the documentation says."""

    @pytest.mark.parametrize(("call", "expected"), [
        pytest.param(lambda c: c.get_domain(NAME),
                     "Qiniu test-ak-0123456789:IgwucGiZeD8k20G8jZrZhWr203c=", id="Q2"),
        pytest.param(lambda c: c.bind_certificate(NAME, CERT_ID, force_https=False, http2=True,
                                                  enable=False),
                     "Qiniu test-ak-0123456789:3fxe5TBAOIuft9AWvfbOQwhsJW0=", id="Q4"),
        pytest.param(lambda c: c.get_domain("*.example.com"),
                     "Qiniu test-ak-0123456789:FujnzlnpzIIgZyv40khB2bGQi8c=", id="Q7"),
        pytest.param(lambda c: c.unbind_certificate(NAME),
                     "Qiniu test-ak-0123456789:cBV0L1XnLL-0GL7s8zuaxxfVj-o=", id="Q8"),
        pytest.param(lambda c: c.bind_live_domain("testhub", "play.example.com", "certbot-www"),
                     "Qiniu test-ak-0123456789:pygPkfqwBgW748YTBnWZqIdBTAI=", id="Q9"),
        pytest.param(lambda c: c.delete_certificate(CERT_ID),
                     "QBox test-ak-0123456789:p4NSC2a6TxPfpj4oPWvaGV8W15s=", id="B4"),
    ])
    def test_vector(self, rig: Scripted, call: Callable[[QiniuClient], Any], expected: str) -> None:
        """A call carries the signature of the published vector."""
        rig.answers(ok(domain_json(name=".example.com")))
        with contextlib.suppress(errors.Unreachable):  # the answer is not about this name
            call(rig.client)
        assert expected == rig.last.request.header("Authorization")

    def test_vector_of_a_second_page(self, rig: Scripted) -> None:
        """The query is signed as it is sent (Q6)."""
        rig.answers(ok({"domains": [domain_json()], "marker": "abc"}), ok({"domains": []}))
        rig.client.list_domains()
        assert rig.last.request.target == "/domain?limit=1000&marker=abc"
        assert (rig.last.request.header("Authorization")
                == "Qiniu test-ak-0123456789:qO2fM7voGfpJYRPu9EU824vH2Mc=")

    def test_vector_of_an_upload(self, rig: Scripted, certificate: Certificate) -> None:
        """An upload is signed by its path alone (B1)."""
        rig.answers(ok({"certID": CERT_ID}))
        rig.client.upload_certificate(certificate)
        assert (rig.last.request.header("Authorization")
                == "QBox test-ak-0123456789:9Ec67PsHT7gunELPTisTiTkdtmY=")

    @pytest.mark.parametrize(("method", "url", "content_type", "body", "dated", "expected"), [
        ("GET", "https://api.qiniu.com/domain/www.example.com", None, None, True,
         "SpjHA8ip1wyniwuoov9ep_XkK8M="),
        ("PUT", "https://api.qiniu.com/domain/www.example.com/httpsconf", "application/json",
         b'{"certId":"5a950896f2c5932aaf00142c","forceHttps":false,"http2Enable":true}', False,
         "RvUAiyRULrx19H6v6rgblKGoLDQ="),
        ("GET", "https://uc.qiniuapi.com/domain?bucket=my-bucket", None, None, True,
         "Djrv0RBWeVViN-mL7eLSsL8r4i0="),
        ("PUT", "https://api.qiniu.com/domain/www.example.com/httpsconf",
         "application/octet-stream",
         b'{"certId":"5a950896f2c5932aaf00142c","forceHttps":false,"http2Enable":true}', True,
         "cRRCvFHapg9IHjm1WEPv8a13QsE="),
    ], ids=["Q1", "Q5", "Q10", "Q11"])
    @pytest.mark.usefixtures("time")
    def test_official_content_signature(
            self, method: str, url: str, content_type: str | None, body: bytes | None, dated: bool,
            expected: str) -> None:
        """The installed official package signs contents as this project relies on."""
        auth = qiniu.auth.QiniuMacRequestsAuth(qiniu.auth.QiniuMacAuth(
            AK, SK, disable_qiniu_timestamp_signature=not dated))
        headers = {"Content-Type": content_type} if content_type else {}
        request = requests.Request(method, url, headers=headers, data=body, auth=auth).prepare()
        assert request.headers["Authorization"] == f"Qiniu {AK}:{expected}"

    def test_official_content_signature_without_type(self) -> None:
        """A request without any type is signed without that line (Q3)."""
        token = qiniu.auth.QiniuMacAuth(AK, SK).token_of_request(
            "GET", None, "https://api.qiniu.com/domain/www.example.com", "")
        assert token == f"{AK}:myYrKqYPsVy3vgk_fv-1lEk1aKc="

    @pytest.mark.parametrize(("method", "url", "content_type", "body", "expected"), [
        ("GET", "https://fusion.qiniuapi.com/sslcert?limit=500&marker=abc", "application/json",
         None, "BEsFBp05mKIIwNPQq2IUWkS4lFo="),
        ("PUT", "https://api.qiniu.com/domain/www.example.com/httpsconf", "application/json",
         b"{}", "xF-iH6BoZSUgJOdr8Q9jGcStCe4="),
        ("POST", "https://api.qiniu.com/cert/bind", "application/json", b"{}",
         "iw3N3FhJwwPUfYPL4P974nZwJXg="),
        ("POST", "https://fusion.qiniuapi.com/sslcert", "application/x-www-form-urlencoded",
         "a=1&b=2", "WsGouCS31AFW2dcIvx0c_3cT0L0="),
    ], ids=["B3", "B5", "B6", "B7"])
    def test_official_path_signature(self, method: str, url: str, content_type: str,
                                     body: bytes | str | None, expected: str) -> None:
        """The installed official package signs paths as this project relies on."""
        auth = qiniu.auth.RequestsAuth(qiniu.auth.Auth(AK, SK))
        request = requests.Request(method, url, headers={"Content-Type": content_type}, data=body,
                                   auth=auth).prepare()
        assert request.headers["Authorization"] == f"QBox {AK}:{expected}"

    def test_signed_headers(self, rig: Scripted) -> None:
        """A call without a body has type and date as well."""
        rig.answers(ok(domain_json()))
        rig.client.get_domain(NAME)
        assert rig.last.request.header("Content-Type") == "application/json"
        assert rig.last.request.header("X-Qiniu-Date") == "20260213T120000Z"

    def test_date_is_signed_whatever_the_environment_says(
            self, rig: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        """The official package's switch in the environment has no effect."""
        monkeypatch.setenv("DISABLE_QINIU_TIMESTAMP_SIGNATURE", "true")
        rig.answers(ok(domain_json()))
        rig.client.get_domain(NAME)
        assert rig.last.request.header("X-Qiniu-Date")

    @given(marker=st.text(min_size=1, max_size=20))
    @settings(max_examples=60, deadline=None,
              suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_marker(self, time: Time, marker: str) -> None:
        """A marker of any characters reaches the server, in the form in which it was signed."""
        rig = Scripted(time)
        rig.answers(ok({"domains": [domain_json()], "marker": marker}), ok({"domains": []}))
        rig.client.list_domains()
        request = rig.last.request
        shown = "".join(c if c.isprintable() else "\ufffd" for c in marker)
        assert request.query == [("limit", "1000"), ("marker", shown)]
        assert request.header("Authorization") == signed("Qiniu", (
            f"GET {request.target}\nHost: api.qiniu.com\nContent-Type: application/json\n"
            f"X-Qiniu-Date: {request.header('X-Qiniu-Date')}\n\n"))

    def test_netrc_is_not_used(self, rig: Scripted, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
        """A password in ~/.netrc for Qiniu's host does not replace the signature."""
        (tmp_path / "netrc").write_text("machine api.qiniu.com login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        rig.answers(ok(domain_json()))
        rig.client.get_domain(NAME)
        assert str(rig.last.request.header("Authorization")).startswith("Qiniu ")


class TestSecrets:
    """No key is ever shown, and an attempt leaves one line."""

    def test_logs_and_errors(self, rig: Scripted, certificate: Certificate,
                             caplog: pytest.LogCaptureFixture) -> None:
        """An upload that fails leaves no trace of key, signature or body, even when quoted."""
        caplog.set_level(logging.DEBUG)
        rig.answers(lambda request: json_response(
            400, {"code": 400000, "error": f"bad: {json.loads(request.body)['pri']}"}))
        with pytest.raises(errors.Refused, match="bad:") as caught:
            rig.client.upload_certificate(certificate)
        shown = caplog.text + str(caught.value)
        for secret in (SK, AK, "PRIVATE KEY", certificate.key_pem().splitlines()[2][:30],
                       str(rig.last.request.header("Authorization"))[-20:]):
            assert secret not in shown

    def test_one_debug_line_per_attempt(self, rig: Scripted,
                                        caplog: pytest.LogCaptureFixture) -> None:
        """Every attempt leaves one line with what a support ticket needs, without the query."""
        caplog.set_level(logging.DEBUG, "certbot_qiniu.qiniu.transport")
        rig.answers(Drop("reset"), json_response(200, {"domains": []}, **{"X-Reqid": "abc1"}))
        rig.client.list_domains()
        assert caplog.messages == [
            "GET api.qiniu.com/domain: no answer, 0 ms",
            "GET api.qiniu.com/domain: HTTP 200, code 200, X-Reqid abc1, 0 ms"]


class TestErrors:
    """Each failure becomes the right error."""

    @pytest.mark.parametrize(("reply", "error", "code"), [
        pytest.param(refusal(400000), errors.Refused, 400000, id="code"),
        pytest.param(refusal(400000, 200), errors.Refused, 400000, id="200 with a bad code"),
        pytest.param(refusal(612, 612), errors.Refused, 612, id="612, which requests calls ok"),
        pytest.param(refusal(200, 400), errors.Refused, 400, id="400 with a good code"),
        pytest.param(json_response(403, {"error": "no"}), errors.Refused, 403, id="no code"),
        pytest.param(json_response(403, {"code": "x"}), errors.Refused, 403, id="odd code"),
        pytest.param(json_response(403, {"code": True}), errors.Refused, 403, id="bool code"),
        pytest.param(Response(404, b"<html>"), errors.Refused, 404, id="html 404"),
        pytest.param(Response(302, b"", {"Location": "https://elsewhere.example/"}),
                     errors.Refused, 302, id="redirect"),
        pytest.param(refusal(500923, 500), errors.Refused, 500923, id="frozen"),
        pytest.param(refusal(500930, 500), errors.Refused, 500930, id="deleted"),
        pytest.param(refusal(500001, 500), errors.Refused, 500001, id="other 500xxx"),
    ])
    def test_final(self, rig: Scripted, reply: Response, error: type[errors.ApiError],
                   code: int) -> None:
        """A refusal is raised at once, with Qiniu's code, else the status."""
        rig.answers(reply)
        with pytest.raises(error) as caught:
            rig.client.list_buckets()
        assert (code, reply.status) == (caught.value.code, caught.value.status)
        assert len(rig.sent) == 1

    @pytest.mark.parametrize(("reply", "error"), [
        pytest.param(Drop("refuse"), errors.Unreachable, id="refused"),
        pytest.param(Drop("reset"), errors.Unreachable, id="reset"),
        pytest.param(Drop("timeout"), errors.Unreachable, id="timeout"),
        pytest.param(Response(502, b"<html>"), errors.Unreachable, id="502"),
        pytest.param(refusal(5, 503), errors.Unreachable, id="503"),
        pytest.param(Response(504), errors.Unreachable, id="504"),
        pytest.param(Response(599), errors.Unreachable, id="599"),
        pytest.param(Response(500, b"<html>"), errors.Unreachable, id="500 html"),
        pytest.param(json_response(500, {"error": "x"}), errors.Unreachable, id="500 no code"),
        pytest.param(refusal(500000, 500), errors.Unreachable, id="500000"),
        pytest.param(refusal(500215, 500), errors.Unreachable, id="500215"),
        pytest.param(refusal(500219, 500), errors.Unreachable, id="500219"),
        pytest.param(Response(200, b'["trunc'), errors.Unreachable, id="truncated"),
        pytest.param(Response(200, b"[" * 200_000), errors.Unreachable, id="too deep"),
        pytest.param(Response(100), errors.Unreachable, id="100"),
        pytest.param(Response(103), errors.Unreachable, id="103"),
        pytest.param(refusal(200, 199), errors.Unreachable, id="199 with a good code"),
        pytest.param(refusal(403024, 403), errors.Throttled, id="403024"),
        pytest.param(json_response(400, {"error": "Operation too frequent"}), errors.Throttled,
                     id="too frequent"),
        pytest.param(json_response(403, {"error": "operation too frequent"}), errors.Throttled,
                     id="too frequent, where there are no codes"),
        pytest.param(json_response(400, {"code": 400999, "error": "操作过于频繁,请稍后再试"}),
                     errors.Throttled, id="too frequent, in Chinese, with a code"),
        pytest.param(Response(429), errors.Throttled, id="429"),
        pytest.param(Response(573), errors.Throttled, id="573"),
    ])
    def test_transient(self, rig: Scripted, reply: Reply, error: type[errors.ApiError]) -> None:
        """What may pass is tried five times, 1, 2, 4 and 8 seconds apart, with jitter."""
        rig.answers(reply)
        with pytest.raises(errors.Unreachable, match="after 5 attempts") as caught:
            rig.client.list_buckets()
        assert type(caught.value) is error
        assert rig.client.calls == len(rig.sent) == 5
        assert [int(pause) for pause in rig.pauses] == [1, 2, 4, 8]
        assert rig.pauses != [1, 2, 4, 8]

    def test_one_fault_does_no_harm(self, rig: Scripted) -> None:
        """A repeat that succeeds is a success, and is signed at its own time."""
        rig.answers(Drop("reset"), ok(["one"]))
        assert rig.client.list_buckets() == ["one"]
        first, second = (e.request for e in rig.board.history)
        assert first.header("X-Qiniu-Date") != second.header("X-Qiniu-Date")
        assert first.header("Authorization") != second.header("Authorization")

    @pytest.mark.parametrize(("header", "seconds"), [
        ("7", 7), ("600", 60), ("Fri, 01 Jan 2100 00:00:00 GMT", 60),
        ("soon", 1), ("-5", 1), ("9" * 5000, 1)])
    def test_retry_after(self, rig: Scripted, header: str, seconds: int) -> None:
        """Retry-After is obeyed up to a minute, in both forms; nonsense is ignored."""
        rig.answers(Response(503, b"", {"Retry-After": header}), ok([]))
        rig.client.list_buckets()
        [pause] = rig.pauses
        assert seconds <= pause < seconds + 1 or header == "9" * 5000  # old Pythons read that

    @pytest.mark.parametrize(("reply", "words"), [
        (refusal(400322), "30 days"), (refusal(400201), "30 days"),
        (refusal(400319), "--key-type rsa"), (refusal(400514), "--key-type rsa"),
        (refusal(400500), "quota"), (refusal(400338), "chain"), (refusal(400323), "chain"),
        (refusal(400326), "cover"), (refusal(401001, 401), "qiniu_secret_key"),
        (refusal(401002, 401), "qiniu_access_key"), (refusal(401000, 401), "real-name"),
        (json_response(401, {"error": "bad token"}), "qiniu_secret_key"),
        (json_response(403, {"error": "request time too skewed"}), "clock"),
        (json_response(401, {"error": "expired token"}), "clock"),
        (refusal(400020), "ICP"), (refusal(400320), "offline"), (refusal(500923, 500), "frozen"),
        (refusal(400030), "8 to 15 minutes"),
        (refusal(400324), "privkey.pem and fullchain.pem of the lineage belong together"),
        (refusal(400327), "is not the one of the certificate; if it is ECDSA, renew with --key-ty"),
        (refusal(400328), "--key-type rsa"), (refusal(400348), "--required-profile classic"),
        (refusal(400722), "support"), (Response(301), "HTTPS_PROXY"),
    ], ids=lambda value: value if isinstance(value, str) else "")
    def test_advice(self, rig: Scripted, reply: Response, words: str) -> None:
        """A refusal says what to do."""
        rig.answers(reply)
        with pytest.raises(errors.Refused) as caught:
            rig.client.list_buckets()
        assert words in caught.value.advice
        assert words in str(caught.value)

    @pytest.mark.parametrize("reply", [refusal(612, 612), Response(404), refusal(404001, 404)])
    def test_advice_for_a_name(self, rig: Scripted, reply: Response) -> None:
        """An unknown CDN domain has its own advice, which does not fit other services."""
        rig.answers(reply)
        with pytest.raises(errors.Refused, match="that it is a CDN domain of this account"):
            bind(rig)
        for call in (rig.client.list_buckets, rig.client.list_hubs, rig.client.list_domains,
                     lambda: rig.client.bind_live_domain("hub", NAME, "mine")):
            with pytest.raises(errors.Refused) as caught:
                call()
            assert caught.value.advice == ""

    def test_message(self, rig: Scripted) -> None:
        """The text has action, Qiniu's words without control characters, code and X-Reqid."""
        rig.answers(json_response(400, {"code": 400999, "error": "\x1b[31mhalt\n" + "好" * 999},
                                  **{"X-Reqid": "abc1"}))
        with pytest.raises(errors.Refused) as caught:
            bind(rig)
        message = str(caught.value)
        assert message.startswith(f"Could not bind certificate {CERT_ID} to {NAME}: [31mhalt 好")
        assert "(code 400999, HTTP 400, X-Reqid abc1). Qiniu is still" in message
        assert "\x1b" not in message
        assert len(caught.value.text) <= 300

    @pytest.mark.parametrize(("variable", "value", "words"), [
        ("HTTPS_PROXY", "http://me:secret@proxy.example:port", "HTTPS_PROXY"),
        ("REQUESTS_CA_BUNDLE", "/no/such/file", "/no/such/file"),
    ])
    def test_bad_settings(self, monkeypatch: pytest.MonkeyPatch, time: Time, variable: str,
                          value: str, words: str) -> None:
        """A broken proxy or CA setting is named at once; an address with a password is not."""
        monkeypatch.setenv(variable, value)
        client = QiniuClient(AK, SK, sleep=time.sleep, clock=time.clock)
        with pytest.raises(errors.Unreachable, match=words) as caught:
            client.list_buckets()
        assert "proxy.example" not in str(caught.value)
        assert client.calls == 1

    def test_how_requests_are_sent(self, rig: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        """Proxy and CA of the environment count; redirects do not; every read has a limit."""
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:8080")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/some/ca.pem")
        seen: dict[str, Any] = {}

        class Spy(Carrier):
            def send(self, request: requests.PreparedRequest, *_args: Any,
                     **kwargs: Any) -> requests.Response:
                seen.update(kwargs)
                return super().send(request)

        rig.session.mount("https://", Spy(rig.board))
        rig.answers(ok([]))
        rig.client.list_buckets()
        assert seen["proxies"]["https"] == "http://proxy.example:8080"
        assert seen["verify"] == "/some/ca.pem"
        assert seen["timeout"] == (10, 30)
        assert seen["stream"] is True


class TestPace:
    """Calls stay below Qiniu's limits, and an outage is not waited for again and again."""

    @pytest.mark.parametrize(("call", "rate"), [
        (lambda c: c.list_domains(), 9.5), (lambda c: c.list_certificates(), 4.75)])
    def test_even_slots(self, rig: Scripted, call: Callable[[QiniuClient], Any],
                        rate: float) -> None:
        """Ten calls take nine gaps of the host's rate."""
        rig.answers(ok({}))
        for _ in range(10):
            call(rig.client)
        assert rig.time.seconds == pytest.approx(9 / rate)

    @pytest.mark.parametrize(("call", "rate"), [
        (lambda c: c.list_domains(), 3), (lambda c: c.list_certificates(), 1.5)])
    def test_gentle_slots(self, time: Time, call: Callable[[QiniuClient], Any],
                          rate: float) -> None:
        """If nobody waits, most of the account's calls are left to others."""
        rig = Scripted(time)
        rig.answers(ok({}))
        client = QiniuClient("gentle", SK, session=rig.session, sleep=time.sleep,
                             clock=time.clock, rates=GENTLE_CALLS_PER_SECOND)
        for _ in range(10):
            call(client)
        assert time.seconds == pytest.approx(9 / rate)

    def test_wrong_keys_are_told_with_their_file(self, rig: Scripted, time: Time) -> None:
        """A machine may have several credentials files, even with the same access key."""
        rig.answers(json_response(401, {"code": 401001, "error": "bad token"}))
        client = QiniuClient(AK, SK, session=rig.session, sleep=time.sleep, clock=time.clock,
                             source="/etc/q.ini")
        with pytest.raises(errors.Refused, match=r"in the credentials file /etc/q\.ini; the key"):
            client.list_domains()
        with pytest.raises(errors.Refused, match=r"in the credentials file; the key"):
            rig.client.list_domains()

    def test_slots_are_shared_by_clients_of_an_account(self, time: Time) -> None:
        """Two clients of one account share its slots, another account has its own."""
        rigs = [Scripted(time), Scripted(time), Scripted(time, keys=("other", SK))]
        for rig in rigs:
            rig.answers(ok({}))
            rig.client.list_domains()
        assert time.slept == [pytest.approx(1 / 9.5)]

    def test_slots_are_shared_by_threads(self) -> None:
        """No two threads get the same slot."""
        time = Time()
        throttle = transport.Throttle(10, time.clock)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: throttle.wait(time.sleep), range(200)))
        assert [pytest.approx(0.1)] * 199 == time.slept

    def test_idle_time_is_not_saved_up(self) -> None:
        """After a pause the first call goes at once, the second waits."""
        time = Time()
        throttle = transport.Throttle(10, time.clock)
        throttle.wait(time.sleep)
        time.seconds = 60
        for _ in range(2):
            throttle.wait(time.sleep)
        assert [pytest.approx(0.1)] == time.slept

    def test_late_sleepers(self) -> None:
        """After a sleep that was too long no two calls are close; in the end no time is lost."""
        time, left = Time(), []
        throttle = transport.Throttle(10, time.clock)

        def sleep(seconds: float) -> None:
            time.sleep(seconds + 0.05 * (len(left) == 10))

        for _ in range(100):
            throttle.wait(sleep)
            left.append(time.seconds)
        assert 0.0979 < min(later - one for one, later in itertools.pairwise(left))
        assert 9.9 == pytest.approx(left[-1])

    @pytest.mark.parametrize(("fault", "calls", "advice"), [
        (Drop("reset"), 1, "Check this machine's network"),
        (Response(502), 2, "Qiniu has a problem of its own")], ids=["silence", "errors"])
    def test_breaker(self, rig: Scripted, fault: Reply, calls: int, advice: str) -> None:
        """A host that is down is left alone for a minute, and the first cause told; others are not.
        """
        rig.answers(fault)
        for _ in range(calls):
            with pytest.raises(errors.Unreachable, match="after 5 attempts") as first:
                rig.client.list_domains()
        with pytest.raises(errors.Unreachable, match=r"not tried: api\.qiniu\.com") as caught:
            rig.client.list_domains()
        assert first.value is caught.value.first
        assert first.value.text in caught.value.text
        assert caught.value.advice.startswith(advice)
        assert len(rig.sent) == calls * 5
        rig.answers(ok({}))
        assert rig.client.list_certificates() == []
        rig.time.seconds += 61
        assert rig.client.list_domains() == []

    def test_breaker_closes_after_a_success(self, rig: Scripted) -> None:
        """Two failures with an answer between them, even a refusal, are no outage."""
        rig.answers(*[Response(502)] * 5, refusal(400000), *[Response(502)] * 5, ok({}))
        for error in (errors.Unreachable, errors.Refused, errors.Unreachable):
            with pytest.raises(error):
                rig.client.list_domains()
        assert rig.client.list_domains() == []

    def test_breaker_does_not_mind_bad_requests(self, rig: Scripted) -> None:
        """Domains that were changed too often, by Qiniu's words, do not hold up the others."""
        rig.answers(json_response(400, {"error": "操作过于频繁"}))
        for _ in range(3):
            with pytest.raises(errors.Throttled, match="after 5 attempts"):
                rig.client.list_domains()
        rig.answers(ok({}))
        assert rig.client.list_domains() == []

    def test_breaker_opens_again_at_the_first_failure(self, rig: Scripted) -> None:
        """After the minute one failed call is enough."""
        rig.answers(Response(502))
        for _ in range(2):
            with pytest.raises(errors.Unreachable):
                rig.client.list_domains()
        rig.time.seconds += 61
        for words in ("after 5 attempts", "not tried"):
            with pytest.raises(errors.Unreachable, match=words):
                rig.client.list_domains()

    def test_threads(self, rig: Scripted) -> None:
        """Six threads share one client and count every call."""
        rig.answers(ok({"name": NAME}))
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: rig.client.get_domain(NAME), range(60)))
        assert [domain.name for domain in found if domain] == [NAME] * 60
        assert rig.client.calls == 60


class Local(HTTPAdapter):
    """Carries requests for any host to a real server on this machine."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def send(self, request: requests.PreparedRequest, *args: Any,
             **kwargs: Any) -> requests.Response:
        assert request.url is not None
        parts = urlsplit(request.url)
        request.url = parts._replace(scheme="http", netloc=f"127.0.0.1:{self._port}").geturl()
        return super().send(request, *args, **kwargs)


FINAL = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n["first"]'


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers in the ways that only a real connection can."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.server.connections.add(self.client_address)  # type: ignore[attr-defined]
        self.close_connection = self.server.way != "plain"  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):  # the client gave up
            getattr(self, self.server.way)()  # type: ignore[attr-defined]

    def _body(self, body: bytes, length: int | None = None) -> None:
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def plain(self) -> None:
        self.send_header("Set-Cookie", "sid=1; Path=/")
        self._body(b'["one"]')

    def short(self) -> None:
        self._body(b'["one"]', 100)

    def interim(self) -> None:
        """Answer in two parts: the final one comes late, or, to be mean, after the next call."""
        if self.server.is_later:  # type: ignore[attr-defined]
            self._body(b'["later"]')
            return
        self.server.is_later = True  # type: ignore[attr-defined]
        self._headers_buffer: list[bytes] = []
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
                         + FINAL * self.server.is_at_once)  # type: ignore[attr-defined]
        while self.rfile.readline().strip():
            pass  # until the connection is closed, or another call has come on it
        self.wfile.write(FINAL)

    def huge(self) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def local(time: Time) -> Iterator[tuple[Any, QiniuClient, requests.Session]]:
    """A server, and a client whose requests reach it through a real connection."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.connections = set()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with requests.Session() as session:
        session.mount("https://", Local(server.server_port))
        client = QiniuClient(AK, SK, session=session, sleep=time.sleep, clock=time.clock)
        yield server, client, session
    server.shutdown()
    thread.join()
    server.server_close()


class TestConnections:
    """What only a real connection shows."""

    def test_kept_alive(self, local: Any, caplog: pytest.LogCaptureFixture) -> None:
        """Calls share a connection but no cookie, and no library logs headers or bodies."""
        caplog.set_level(logging.DEBUG)
        server, client, session = local
        server.way = "plain"
        assert [client.list_buckets() for _ in range(3)] == [["one"]] * 3
        assert len(server.connections) == 1
        assert not session.cookies
        assert "/buckets" in caplog.text
        for secret in (AK, "Authorization", "one"):
            assert secret not in caplog.text

    def test_cut_off(self, local: Any) -> None:
        """An answer that is shorter than it says is no answer, even if it is JSON."""
        server, client, _ = local
        server.way = "short"
        with pytest.raises(errors.Unreachable, match="after 5 attempts"):
            client.list_buckets()

    @pytest.mark.parametrize("at_once", [True, False])
    def test_interim(self, local: Any, *, at_once: bool) -> None:
        """An interim answer ends its connection: what comes on it later answers no other call."""
        server, client, _ = local
        server.way, server.is_later, server.is_at_once = "interim", False, at_once
        assert client.list_buckets() == ["later"]
        assert (client.calls, len(server.connections)) == (2, 2)

    def test_huge(self, local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer without an end is given up."""
        monkeypatch.setattr(transport, "ANSWER_BYTES", 1_000_000)
        server, client, _ = local
        server.way = "huge"
        with pytest.raises(errors.Unreachable, match="too large"):
            client.list_buckets()
