"""The API client: its signatures, its patience, its limits, and what it makes of any answer."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import http.server
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
from certbot_qiniu.model import Certificate, Domain, RemoteCertificate
from certbot_qiniu.qiniu import client as client_module
from certbot_qiniu.qiniu import transport
from certbot_qiniu.qiniu.client import QiniuClient
from certbot_qiniu.qiniu.responses import HSTS
from tests.sandbox.pki import Authority
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Qiniu, Switches
from tests.sandbox.wire import (
    Carrier,
    Drop,
    Exchange,
    Fault,
    Request,
    Response,
    Switchboard,
    json_response,
)

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

AK, SK = "test-ak-0123456789", "test-sk-abcdefghij"
CERT_ID = "5a950896f2c5932aaf00142c"
WANTED = {"certId": CERT_ID, "forceHttps": False, "http2Enable": True}
OTHER = {"op": "set", "key": "X-Frame-Options", "value": "DENY"}
CONTROLS = [{"op": "set", "key": "Strict-Transport-Security", "value": "max-age=1"}]
NAME = "www.example.com"
START = dt.datetime(2026, 2, 13, 12, 0, 0)  # noqa: DTZ001 - what the official package uses

Reply = Response | Drop | Callable[[Request], Response]


class Time:
    """A clock that moves only when somebody sleeps, and dates the signatures."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def clock(self) -> float:
        return self.seconds

    def wall(self) -> float:
        return START.replace(tzinfo=dt.timezone.utc).timestamp() + self.seconds

    def utcnow(self) -> dt.datetime:
        return START + dt.timedelta(seconds=self.seconds)


class Script:
    """A service that gives one prepared reply after the other, the last one for ever."""

    hosts = (transport.API, transport.FUSION, transport.UC, transport.PILI)

    def __init__(self) -> None:
        self.replies: list[Reply] = []

    def handle(self, request: Request) -> Response:
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Drop):
            raise reply
        return reply if isinstance(reply, Response) else reply(request)


class Rig:
    """A client whose requests end in a switchboard, with a clock of its own."""

    def __init__(self, time: Time, emulator: Any = None, keys: tuple[str, str] = (AK, SK)) -> None:
        self.time = time
        self.script = Script()
        self.board = Switchboard(emulator or self.script)
        self.session = requests.Session()
        self.session.mount("https://", Carrier(self.board))
        self.client = QiniuClient(*keys, session=self.session, sleep=time.sleep, clock=time.clock)

    def answers(self, *replies: Reply) -> None:
        self.script.replies = list(replies)

    @property
    def sent(self) -> list[str]:
        """Every request so far, as ``METHOD /target``."""
        return [f"{e.request.method} {e.request.target}" for e in self.board.history]

    @property
    def last(self) -> Exchange:
        return self.board.history[-1]

    @property
    def pauses(self) -> list[float]:
        """The waits between attempts, without those for a free slot."""
        return [seconds for seconds in self.time.slept if seconds >= 1]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """A clock for the client and the official package alike."""
    time = Time()
    monkeypatch.setattr(qiniu.auth, "datetime", time)
    return time


@pytest.fixture
def rig(time: Time) -> Rig:
    """A client in front of a script."""
    return Rig(time)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """A root for the certificates of this file."""
    return Authority()


@pytest.fixture
def certificate(tmp_path: Path, authority: Authority) -> Certificate:
    """A certificate of this machine."""
    leaf = authority.intermediate("Issuing").issue(NAME, "*.example.com")
    (tmp_path / "fullchain.pem").write_text(leaf.fullchain_pem)
    (tmp_path / "privkey.pem").write_text(leaf.key_pem)
    return Certificate.load("example.com", tmp_path / "fullchain.pem", tmp_path / "privkey.pem")


def ok(value: Any = None) -> Response:
    """A success as the domain API gives it, or one with a body of its own."""
    return json_response(200, {"code": 200} if value is None else value)


def refusal(code: int, status: int = 400, **headers: str) -> Response:
    """An error as Qiniu words it."""
    return json_response(status, {"code": code, "error": "some words"}, **headers)


def domain_json(**fields: Any) -> dict[str, Any]:
    """A CDN domain on https that has been published."""
    return {"name": NAME, "type": "normal", "protocol": "https", "operatingState": "success",
            "operationType": "modify_https_conf", "modifyAt": "2026-01-01T00:00:00.000+08:00",
            "cname": "www-example-com.qiniudns.com", "couldOperateBySelf": True,
            "https": {"certId": "old", "forceHttps": False, "http2Enable": True}, **fields}


def listed(certificate: Certificate, cert_id: str = CERT_ID) -> dict[str, Any]:
    """The entry of *certificate* in Qiniu's list."""
    return {"certid": cert_id, "name": certificate.remote_name, "orderid": "",
            "dnsnames": list(certificate.names), "create_time": 1,
            "not_before": int(certificate.not_before.timestamp()),
            "not_after": int(certificate.not_after.timestamp())}


def signed(scheme: str, text: str) -> str:
    """The header that Qiniu expects for *text*, computed without the official package."""
    digest = hmac.new(SK.encode(), text.encode(), hashlib.sha1).digest()
    return f"{scheme} {AK}:{base64.urlsafe_b64encode(digest).decode()}"


def bind(rig: Rig, *, enable: bool = False) -> None:
    """Bind the certificate that most tests use."""
    rig.client.bind_certificate(NAME, CERT_ID, force_https=False, http2=True, enable=enable)


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
    def test_vector(self, rig: Rig, call: Callable[[QiniuClient], Any], expected: str) -> None:
        """A call carries the signature of the published vector."""
        rig.answers(ok(domain_json(name=".example.com")))
        with contextlib.suppress(errors.Unreachable):  # the answer is not about this name
            call(rig.client)
        assert expected == rig.last.request.header("Authorization")

    def test_vector_of_a_second_page(self, rig: Rig) -> None:
        """The query is signed as it is sent (Q6)."""
        rig.answers(ok({"domains": [domain_json()], "marker": "abc"}), ok({"domains": []}))
        rig.client.list_domains()
        assert rig.last.request.target == "/domain?limit=1000&marker=abc"
        assert (rig.last.request.header("Authorization")
                == "Qiniu test-ak-0123456789:qO2fM7voGfpJYRPu9EU824vH2Mc=")

    def test_vector_of_an_upload(self, rig: Rig, certificate: Certificate) -> None:
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

    def test_signed_headers(self, rig: Rig) -> None:
        """A call without a body has type and date as well."""
        rig.answers(ok(domain_json()))
        rig.client.get_domain(NAME)
        assert rig.last.request.header("Content-Type") == "application/json"
        assert rig.last.request.header("X-Qiniu-Date") == "20260213T120000Z"

    def test_date_is_signed_whatever_the_environment_says(
            self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
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
        rig = Rig(time)
        rig.answers(ok({"domains": [domain_json()], "marker": marker}), ok({"domains": []}))
        rig.client.list_domains()
        request = rig.last.request
        shown = "".join(c if c.isprintable() else "\ufffd" for c in marker)
        assert request.query == [("limit", "1000"), ("marker", shown)]
        assert request.header("Authorization") == signed("Qiniu", (
            f"GET {request.target}\nHost: api.qiniu.com\nContent-Type: application/json\n"
            f"X-Qiniu-Date: {request.header('X-Qiniu-Date')}\n\n"))

    def test_netrc_is_not_used(self, rig: Rig, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
        """A password in ~/.netrc for Qiniu's host does not replace the signature."""
        (tmp_path / "netrc").write_text("machine api.qiniu.com login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        rig.answers(ok(domain_json()))
        rig.client.get_domain(NAME)
        assert str(rig.last.request.header("Authorization")).startswith("Qiniu ")

    @pytest.mark.parametrize("keys", [("", SK), (AK, ""), (AK, "two\nlines"), ("ké", SK)])
    def test_impossible_keys(self, keys: tuple[str, str]) -> None:
        """Keys that cannot stand in a header are refused, without being shown."""
        with pytest.raises(errors.UsageError) as caught:
            QiniuClient(*keys)
        assert "lines" not in str(caught.value)


class TestSecrets:
    """No key is ever shown."""

    def test_repr(self, rig: Rig) -> None:
        """A printed client shows no key."""
        assert AK not in repr(rig.client)
        assert SK not in repr(rig.client)

    def test_logs_and_errors(self, rig: Rig, certificate: Certificate,
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

    def test_one_debug_line_per_attempt(self, rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
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
    def test_final(self, rig: Rig, reply: Response, error: type[errors.ApiError],
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
        pytest.param(refusal(403024, 403), errors.Throttled, id="403024"),
        pytest.param(Response(429), errors.Throttled, id="429"),
        pytest.param(Response(573), errors.Throttled, id="573"),
    ])
    def test_transient(self, rig: Rig, reply: Reply, error: type[errors.ApiError]) -> None:
        """What may pass is tried five times, 1, 2, 4 and 8 seconds apart, with jitter."""
        rig.answers(reply)
        with pytest.raises(errors.Unreachable, match="after 5 attempts") as caught:
            rig.client.list_buckets()
        assert type(caught.value) is error
        assert rig.client.calls == len(rig.sent) == 5
        assert [int(pause) for pause in rig.pauses] == [1, 2, 4, 8]
        assert rig.pauses != [1, 2, 4, 8]

    def test_one_fault_does_no_harm(self, rig: Rig) -> None:
        """A repeat that succeeds is a success, and is signed at its own time."""
        rig.answers(Drop("reset"), ok(["one"]))
        assert rig.client.list_buckets() == ["one"]
        first, second = (e.request for e in rig.board.history)
        assert first.header("X-Qiniu-Date") != second.header("X-Qiniu-Date")
        assert first.header("Authorization") != second.header("Authorization")

    @pytest.mark.parametrize(("header", "seconds"), [
        ("7", 7), ("600", 60), ("Fri, 01 Jan 2100 00:00:00 GMT", 60),
        ("soon", 1), ("-5", 1), ("9" * 5000, 1)])
    def test_retry_after(self, rig: Rig, header: str, seconds: int) -> None:
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
        (refusal(400030), "5 to 10 minutes"), (refusal(612, 612), "Kodo"),
        (Response(404), "Kodo"), (refusal(400722), "support"), (Response(301), "HTTPS_PROXY"),
    ], ids=lambda value: value if isinstance(value, str) else "")
    def test_advice(self, rig: Rig, reply: Response, words: str) -> None:
        """A refusal says what to do."""
        rig.answers(reply)
        with pytest.raises(errors.Refused) as caught:
            rig.client.list_buckets()
        assert words in caught.value.advice
        assert words in str(caught.value)

    def test_message(self, rig: Rig) -> None:
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

    def test_how_requests_are_sent(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
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
        (lambda c: c.list_domains(), 9), (lambda c: c.list_certificates(), 4.5)])
    def test_even_slots(self, rig: Rig, call: Callable[[QiniuClient], Any], rate: float) -> None:
        """Ten calls take nine gaps of the host's rate."""
        rig.answers(ok({}))
        for _ in range(10):
            call(rig.client)
        assert rig.time.seconds == pytest.approx(9 / rate)

    def test_slots_are_shared_by_clients_of_an_account(self, time: Time) -> None:
        """Two clients of one account share its slots, another account has its own."""
        rigs = [Rig(time), Rig(time), Rig(time, keys=("other", SK))]
        for rig in rigs:
            rig.answers(ok({}))
            rig.client.list_domains()
        assert time.slept == [pytest.approx(1 / 9)]

    def test_slots_are_shared_by_threads(self) -> None:
        """No two threads get the same slot."""
        throttle = transport.Throttle(10, lambda: 0.0)
        with ThreadPoolExecutor(8) as pool:
            waits = sorted(pool.map(lambda _: throttle.reserve(), range(200)))
        assert waits == pytest.approx([n / 10 for n in range(200)])

    def test_idle_time_is_not_saved_up(self) -> None:
        """After a pause the first call goes at once, the second waits."""
        time = Time()
        throttle = transport.Throttle(10, time.clock)
        throttle.reserve()
        time.seconds = 60
        assert [throttle.reserve(), throttle.reserve()] == pytest.approx([0, 0.1])

    @pytest.mark.parametrize(("fault", "calls"), [(Drop("reset"), 1), (Response(502), 2)],
                             ids=["silence", "errors"])
    def test_breaker(self, rig: Rig, fault: Reply, calls: int) -> None:
        """A host that is down is left alone, for a minute; other hosts are not."""
        rig.answers(fault)
        for _ in range(calls):
            with pytest.raises(errors.Unreachable, match="after 5 attempts"):
                rig.client.list_domains()
        with pytest.raises(errors.Unreachable, match=r"not tried: api\.qiniu\.com"):
            rig.client.list_domains()
        assert len(rig.sent) == calls * 5
        rig.answers(ok({}))
        assert rig.client.list_certificates() == []
        rig.time.seconds += 61
        assert rig.client.list_domains() == []

    def test_breaker_closes_after_a_success(self, rig: Rig) -> None:
        """Two failures with an answer between them, even a refusal, are no outage."""
        rig.answers(*[Response(502)] * 5, refusal(400000), *[Response(502)] * 5, ok({}))
        for error in (errors.Unreachable, errors.Refused, errors.Unreachable):
            with pytest.raises(error):
                rig.client.list_domains()
        assert rig.client.list_domains() == []

    def test_breaker_opens_again_at_the_first_failure(self, rig: Rig) -> None:
        """After the minute one failed call is enough."""
        rig.answers(Response(502))
        for _ in range(2):
            with pytest.raises(errors.Unreachable):
                rig.client.list_domains()
        rig.time.seconds += 61
        for words in ("after 5 attempts", "not tried"):
            with pytest.raises(errors.Unreachable, match=words):
                rig.client.list_domains()

    def test_threads(self, rig: Rig) -> None:
        """Six threads share one client and count every call."""
        rig.answers(ok({"name": NAME}))
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: rig.client.get_domain(NAME), range(60)))
        assert [domain.name for domain in found if domain] == [NAME] * 60
        assert rig.client.calls == 60


class TestCertificates:
    """Certificates are listed, uploaded once, and deleted when nothing uses them."""

    def test_upload(self, rig: Rig, certificate: Certificate) -> None:
        """An upload sends name, first SAN, full chain and PKCS#8 key, and nothing else."""
        rig.answers(ok({"certID": CERT_ID}))
        assert rig.client.upload_certificate(certificate) == CERT_ID
        assert rig.sent == ["POST /sslcert"]
        assert json.loads(rig.last.request.body) == {
            "name": certificate.remote_name, "common_name": NAME, "ca": certificate.fullchain,
            "pri": certificate.key_pem()}

    @pytest.mark.parametrize("spelling", ["certID", "certid", "certId"])
    @pytest.mark.parametrize("extra", [{}, {"code": 0}, {"code": 200}])
    def test_upload_answers(self, rig: Rig, certificate: Certificate, spelling: str,
                            extra: dict[str, int]) -> None:
        """Every known form of a success is understood."""
        rig.answers(ok({spelling: CERT_ID, **extra}))
        assert rig.client.upload_certificate(certificate) == CERT_ID

    UNCLEAR = pytest.mark.parametrize("fault", [
        Drop("reset"), Drop("timeout"), Response(502, b"<html>"), Response(200, b'{"certI'),
        refusal(500215, 500)], ids=["reset", "timeout", "502", "truncated", "500215"])

    @UNCLEAR
    def test_unclear_upload_that_arrived(self, rig: Rig, certificate: Certificate,
                                         fault: Reply) -> None:
        """After an unclear failure the copy in the list is taken, and nothing is sent again."""
        namesake = {**listed(certificate, "other"), "not_after": 1}
        rig.answers(fault, ok({"certs": [namesake, listed(certificate)], "marker": ""}))
        assert rig.client.upload_certificate(certificate) == CERT_ID
        assert rig.sent == ["POST /sslcert", "GET /sslcert?limit=100"]

    @UNCLEAR
    def test_unclear_upload_that_did_not_arrive(self, rig: Rig, certificate: Certificate,
                                                fault: Reply) -> None:
        """Without a copy in the list the upload is sent again."""
        rig.answers(fault, ok({"certs": None}), ok({"certID": CERT_ID}))
        assert rig.client.upload_certificate(certificate) == CERT_ID
        assert rig.sent == ["POST /sslcert", "GET /sslcert?limit=100", "POST /sslcert"]

    def test_unclear_upload_when_the_list_fails_too(self, rig: Rig,
                                                    certificate: Certificate) -> None:
        """A key is never sent again without a look at the list."""
        rig.answers(Drop("timeout"))
        with pytest.raises(errors.Unreachable, match="list the certificates"):
            rig.client.upload_certificate(certificate)
        assert rig.sent == ["POST /sslcert"] + ["GET /sslcert?limit=100"] * 5

    def test_throttled_upload(self, rig: Rig, certificate: Certificate) -> None:
        """A call too many had no effect: it is repeated without a look at the list."""
        rig.answers(refusal(403024, 403), ok({"certID": CERT_ID}))
        rig.client.upload_certificate(certificate)
        assert rig.sent == ["POST /sslcert"] * 2

    def test_uploaded_already(self, rig: Rig, certificate: Certificate) -> None:
        """400400 leads to the copy that is there."""
        rig.answers(refusal(400400), ok({"certs": [listed(certificate)]}))
        assert rig.client.upload_certificate(certificate) == CERT_ID

    def test_uploaded_already_but_not_listed(self, rig: Rig, certificate: Certificate) -> None:
        """400400 without a copy is a refusal."""
        rig.answers(refusal(400400), ok({"certs": []}))
        with pytest.raises(errors.Refused, match="400400"):
            rig.client.upload_certificate(certificate)

    @pytest.mark.parametrize("answer", [{}, {"certID": ""}, {"certID": 5}, [], "x", None])
    def test_upload_without_an_id(self, rig: Rig, certificate: Certificate, answer: Any) -> None:
        """A success without an id is looked up in the list, where it must be."""
        rig.answers(json_response(200, answer), ok({"certs": [listed(certificate)]}))
        assert rig.client.upload_certificate(certificate) == CERT_ID
        rig.answers(json_response(200, answer), ok({"certs": []}))
        with pytest.raises(errors.Unreachable, match="unknown form"):
            rig.client.upload_certificate(certificate)

    def test_list(self, rig: Rig) -> None:
        """An entry becomes a certificate; odd fields are left at their defaults."""
        rig.answers(ok({"code": 200, "certs": [
            {"certid": CERT_ID, "name": "mine\n", "dnsnames": ["a.example"], "not_before": 1,
             "not_after": 2, "create_time": 3, "orderid": "o1"},
            {"certid": "other", "name": 5, "dnsnames": "a", "not_after": 10 ** 30,
             "create_time": True, "not_before": "1"},
            {"certid": "../x"}, {"name": "no id"}, "text", None]}))
        assert rig.client.list_certificates() == [
            RemoteCertificate(CERT_ID, "mine\ufffd", ("a.example",), 1, 2, 3, "o1"),
            RemoteCertificate("other", "")]

    @pytest.mark.parametrize(("reply", "gone"), [
        (ok(), True), (ok({}), True), (refusal(400401), True),
        (refusal(400611), False), (refusal(400911), False)],
        ids=["code 200", "{}", "400401", "400611", "400911"])
    def test_delete(self, rig: Rig, reply: Response, gone: bool) -> None:
        """A certificate in use stays; one that is gone already is gone."""
        rig.answers(reply)
        assert rig.client.delete_certificate(CERT_ID) is gone
        assert rig.sent == [f"DELETE /sslcert/{CERT_ID}"]

    def test_delete_without_a_word(self, rig: Rig) -> None:
        """A success without a body, which a broken gateway sends, too, is believed when seen."""
        listed = ok({"code": 200, "certs": [{"certid": CERT_ID, "name": "mine"}]})
        rig.answers(Response(200), listed, listed, Response(200), ok({"code": 200, "certs": []}))
        assert rig.client.delete_certificate(CERT_ID) is True
        assert [line.split()[0] for line in rig.sent] == ["DELETE", "GET", "GET", "DELETE", "GET"]

    def test_delete_a_stranger(self, rig: Rig) -> None:
        """Somebody else's certificate is an error."""
        rig.answers(refusal(404908, 404))
        with pytest.raises(errors.Refused):
            rig.client.delete_certificate(CERT_ID)

    def test_delete_is_repeated(self, rig: Rig) -> None:
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
    def test_end(self, rig: Rig, pages: list[tuple[list[str], Any]], targets: list[str]) -> None:
        """All ways to end a list end it, with the last page kept and nothing twice."""
        rig.answers(*(ok({"domains": [{"name": f"{name}.example.com"} for name in names],
                          "marker": marker}) for names, marker in pages))
        expected = sorted({f"{name}.example.com" for names, _ in pages for name in names})
        assert [domain.name for domain in rig.client.list_domains()] == expected
        assert [e.request.target for e in rig.board.history] == targets

    def test_endless(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list without an end is an error, never a part taken for the whole."""
        monkeypatch.setattr(client_module, "MOST_PAGES", 5)
        rig.answers(lambda _: ok({"domains": [{"name": NAME}], "marker": str(len(rig.sent))}))
        with pytest.raises(errors.Unreachable, match="no end after 5 pages"):
            rig.client.list_domains()
        assert len(rig.sent) == 5

    def test_endless_and_wide(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list is given up for its entries long before it fills the memory."""
        monkeypatch.setattr(client_module, "MOST_ENTRIES", 25)
        rig.answers(lambda _: ok({"domains": [{"name": NAME}] * 10,
                                  "marker": str(len(rig.sent))}))
        with pytest.raises(errors.Unreachable, match="no end after 3 pages"):
            rig.client.list_domains()
        assert len(rig.sent) == 3

    @pytest.mark.parametrize("answer", [[], "x", None, 5, {"domains": {"a": 1}},
                                        {"domains": "x"}, {"domains": 0}])
    def test_unknown_form(self, rig: Rig, answer: Any) -> None:
        """An answer that is no list is not taken for an empty one."""
        rig.answers(json_response(200, answer))
        with pytest.raises(errors.Unreachable, match="unknown form"):
            rig.client.list_domains()

    def test_filter(self, rig: Rig) -> None:
        """The domains of one certificate are asked for by its id."""
        rig.answers(ok({"domains": None, "marker": ""}))
        assert rig.client.list_domains(CERT_ID) == []
        assert rig.sent == [f"GET /domain?limit=1000&certId={CERT_ID}"]


class TestDomains:
    """Domains are read as they are, and changed once."""

    def test_list_entry(self, rig: Rig) -> None:
        """An entry of the list becomes a domain without details."""
        entry = domain_json(name=".example.com", type="wildcard", freezeType="illegal",
                            operatingState="frozen", product="dcdn", couldOperateBySelf=False)
        del entry["https"]
        rig.answers(ok({"domains": [entry]}))
        assert rig.client.list_domains() == [Domain(
            ".example.com", kind="wildcard", protocol="https", state="frozen",
            state_reason="illegal", operation="modify_https_conf",
            modified="2026-01-01T00:00:00.000+08:00", cname="www-example-com.qiniudns.com",
            product="dcdn", operable=False)]

    def test_odd_entries(self, rig: Rig) -> None:
        """Names that could not stand in a path are left out; odd fields are no surprise."""
        rig.answers(ok({"domains": [
            {"name": "../../sslcert"}, {"name": "a/b.example.com"}, {"name": "x\n.example.com"},
            {"name": "a.example.com?x"}, {"name": 5}, {}, [], None,
            {"name": "WWW.Example.COM", "protocol": 5, "https": [], "operatingState": None}]}))
        assert rig.client.list_domains() == [Domain(NAME, state="")]

    @pytest.mark.parametrize(("https", "expected"), [
        ({"certId": CERT_ID, "forceHttps": True, "http2Enable": False}, (CERT_ID, True, False)),
        ({"certid": CERT_ID, "forcehttps": "yes"}, (CERT_ID, None, None)),
        ({"certId": ""}, ("", None, None)), (None, ("", None, None)), ("x", ("", None, None))])
    def test_detail(self, rig: Rig, https: Any, expected: tuple[str, bool, bool]) -> None:
        """A detailed read shows the certificate, in each form of having none."""
        rig.answers(ok(domain_json(https=https)))
        domain = rig.client.get_domain(NAME)
        assert domain is not None
        assert domain.detailed
        assert (domain.cert_id, domain.force_https, domain.http2) == expected

    @pytest.mark.parametrize("reply", [
        refusal(404001, 404), refusal(612, 612), Response(404, b"<html>"),
        json_response(404, {"code": 404999, "error": "无此域名"})],
        ids=["404001", "612", "html", "unknown code"])
    def test_no_such_domain(self, rig: Rig, reply: Response) -> None:
        """A domain that is not there is None."""
        rig.answers(reply)
        assert rig.client.get_domain(NAME) is None

    def test_not_operable_is_not_absent(self, rig: Rig) -> None:
        """404910 comes with HTTP 404 but is about a domain that is there."""
        rig.answers(refusal(404910, 404))
        with pytest.raises(errors.Refused, match="support"):
            rig.client.get_domain(NAME)

    @pytest.mark.parametrize("answer", [{}, {"name": "other.example.com"}, [], {"name": 5}])
    def test_detail_of_something_else(self, rig: Rig, answer: Any) -> None:
        """An answer about no or another domain is not taken for this one."""
        rig.answers(json_response(200, answer))
        with pytest.raises(errors.Unreachable, match="unknown form"):
            rig.client.get_domain(NAME)

    @pytest.mark.parametrize("name", ["", "../x", "a/b.example.com", "a.example.com?x=1",
                                      "a.example.com#", "a..example.com", "localhost", "a b.de"])
    def test_bad_names(self, rig: Rig, name: str) -> None:
        """A name that is no domain never becomes a path."""
        for call in (rig.client.get_domain, rig.client.unbind_certificate,
                     rig.client.get_response_headers):
            with pytest.raises(errors.UsageError):
                call(name)
        assert rig.sent == []

    @pytest.mark.parametrize("cert_id", ["", "../x", "a/b", "a?b", "a b", "é", "x" * 200])
    def test_bad_ids(self, rig: Rig, cert_id: str) -> None:
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
    def test_bind(self, rig: Rig, enable: bool, verb: str, reply: Response) -> None:
        """A binding sends exactly the three fields, to the verb that the protocol needs."""
        rig.answers(reply)
        bind(rig, enable=enable)
        assert rig.sent == [f"PUT /domain/{NAME}/{verb}"]
        assert rig.last.request.body == (
            b'{"certId":"5a950896f2c5932aaf00142c","forceHttps":false,"http2Enable":true}')

    def test_bind_without_a_word(self, rig: Rig) -> None:
        """A success without a body is believed when the domain shows it, and repeated else."""
        rig.answers(Response(200), ok(domain_json()), ok(domain_json()), ok())
        bind(rig)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET", "GET", "PUT"]
        rig.answers(Response(200), ok(domain_json(https=WANTED)))
        bind(rig)
        assert [line.split()[0] for line in rig.sent[4:]] == ["PUT", "GET"]

    def test_read_without_a_word(self, rig: Rig) -> None:
        """An empty answer to a read is none: an account must not look as if it were empty."""
        rig.answers(Response(200), ok({"domains": []}))
        assert rig.client.list_domains() == []
        assert len(rig.sent) == 2

    @pytest.mark.parametrize("code", [400030, 400910, 400013, 400401])
    def test_first_refusal(self, rig: Rig, code: int) -> None:
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
    def test_unclear_bind_that_arrived(self, rig: Rig, enable: bool, fields: dict[str, Any],
                                       fault: Reply) -> None:
        """After an unclear failure the domain is read, and nothing is sent where it shows."""
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
    def test_unclear_bind_that_did_not_arrive(self, rig: Rig, fields: dict[str, Any]) -> None:
        """What shows something else, or has failed, is sent again."""
        rig.answers(Drop("reset"), ok(domain_json(**fields)), ok())
        bind(rig)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET", "PUT"]

    @pytest.mark.parametrize("code", [400030, 400910, 400013])
    def test_refused_repeat_that_is_done(self, rig: Rig, code: int) -> None:
        """A repeat that is refused because the first one did arrive is a success."""
        rig.answers(Drop("reset"), ok(domain_json()), refusal(code),
                    ok(domain_json(https=WANTED)))
        bind(rig)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET", "PUT", "GET"]

    def test_refused_repeat_that_is_not_done(self, rig: Rig) -> None:
        """A repeat that is refused for another reason is a refusal."""
        rig.answers(Drop("reset"), ok(domain_json()), refusal(400030), ok(domain_json()))
        with pytest.raises(errors.Refused, match="400030"):
            bind(rig)

    def test_bind_gives_up(self, rig: Rig) -> None:
        """Five attempts, each but the first after a read, and no more."""
        rig.answers(lambda request: ok(domain_json()) if request.method == "GET"
                    else Response(504))
        with pytest.raises(errors.Unreachable, match="after 5 attempts"):
            bind(rig)
        assert [line.split()[0] for line in rig.sent] == ["PUT", *["GET", "PUT"] * 4]

    def test_bind_to_a_domain_that_vanished(self, rig: Rig) -> None:
        """Where the domain is gone, the repeat says so."""
        rig.answers(Drop("reset"), refusal(404001, 404), refusal(612, 612),
                    refusal(404001, 404))
        with pytest.raises(errors.Refused) as caught:
            bind(rig)
        assert caught.value.code == 612

    def test_unbind(self, rig: Rig) -> None:
        """Back to HTTP has no body; a lost answer is looked up first."""
        rig.answers(Drop("timeout"), ok(domain_json(protocol="http")))
        rig.client.unbind_certificate("*.example.com".replace("*.", "www."))
        assert rig.sent == [f"PUT /domain/{NAME}/unsslize", f"GET /domain/{NAME}"]
        assert rig.board.history[0].request.body == b""

    def test_response_headers(self, rig: Rig) -> None:
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
    def test_hsts(self, rig: Rig, before: list[dict[str, str]], on: bool,
                  after: list[dict[str, str]] | None) -> None:
        """HSTS is set or taken away beside the other headers, and only where that is a change."""
        rig.answers(ok(domain_json(responseHeaderControls=before)), ok())
        rig.client.set_hsts(NAME, on=on)
        sent = [json.loads(call.request.body) for call in rig.board.history[1:]]
        assert sent == ([] if after is None else [{"responseHeaderControls": after}])

    def test_unclear_response_headers(self, rig: Rig) -> None:
        """A lost answer to a change of headers is looked up first."""
        rig.answers(Drop("timeout"), ok(domain_json(responseHeaderControls=CONTROLS)))
        rig.client.set_response_headers(NAME, CONTROLS)
        assert [line.split()[0] for line in rig.sent] == ["PUT", "GET", "GET"]

    @pytest.mark.parametrize("controls", [None, []])
    def test_no_response_headers(self, rig: Rig, controls: Any) -> None:
        """No headers are an empty list."""
        rig.answers(ok(domain_json(responseHeaderControls=controls)))
        assert rig.client.get_response_headers(NAME) == []

    @pytest.mark.parametrize("controls", [{"op": "set"}, ["x"], [{"op": 5}]])
    def test_odd_response_headers(self, rig: Rig, controls: Any) -> None:
        """Headers of an unknown form are not dropped: writing the rest would delete them."""
        rig.answers(ok(domain_json(responseHeaderControls=controls)))
        with pytest.raises(errors.Unreachable):
            rig.client.get_response_headers(NAME)


class TestStorageAndLive:
    """Source domains of buckets and live domains."""

    def test_buckets(self, rig: Rig) -> None:
        """Bucket names that could not be asked for are left out."""
        rig.answers(Response(200, b'["one", "two-2", "a b", 5, null, "\\ud800"]'))
        assert rig.client.list_buckets() == ["one", "two-2"]
        assert rig.last.request.label == "GET uc.qiniuapi.com/buckets"

    def test_source_domains(self, rig: Rig) -> None:
        """Source domains show their freezes."""
        rig.answers(ok([{"domain": "a.example.com", "bucket": "one"},
                        {"domain": "b.example.com", "freeze_types": ["ICP_EXPIRED", 5]}, "x",
                        {"domain": "../x"}]))
        assert rig.client.list_source_domains("my bucket") == [
            Domain("a.example.com", service="kodo"),
            Domain("b.example.com", service="kodo", state="frozen",
                   state_reason="ICP_EXPIRED, ")]
        assert rig.last.request.target == "/domain?bucket=my+bucket"

    def test_bindings(self, rig: Rig) -> None:
        """The bindings map domains to ids."""
        rig.answers(ok([{"domain": "a.example.com", "certid": CERT_ID, "name": "n"},
                        {"domain": "b.example.com", "certid": ""}, {"certid": CERT_ID}]))
        assert rig.client.list_bindings() == {"a.example.com": CERT_ID}
        assert rig.last.request.label == "GET api.qiniu.com/cert/bindings"

    @pytest.mark.parametrize("status", [404, 405])
    def test_bind_source_domain(self, rig: Rig, status: int) -> None:
        """POST is tried first, PUT where there is no POST; the body of a success is free."""
        rig.answers(Response(status), Response(200, b"done"))
        rig.client.bind_source_domain("a.example.com", CERT_ID)
        assert rig.sent == ["POST /cert/bind", "PUT /cert/bind"]
        assert rig.last.request.body == (
            b'{"certid":"5a950896f2c5932aaf00142c","domain":"a.example.com"}')

    def test_bind_source_domain_of_the_cdn(self, rig: Rig) -> None:
        """A refusal is final."""
        rig.answers(json_response(403, {"error": "domaintype is not allowed"}))
        with pytest.raises(errors.Refused, match="domaintype is not allowed"):
            rig.client.bind_source_domain("a.example.com", CERT_ID)
        assert len(rig.sent) == 1

    def test_live(self, rig: Rig) -> None:
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
    rig = Rig(Time())
    rig.answers(Response(status, body, headers))
    try:
        shown = repr(call(rig.client, certificate))
    except errors.ApiError as error:
        shown = str(error)
    assert shown.isprintable()


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

    def huge(self) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")

    def dripping(self) -> None:
        self.send_header("Content-Length", "100000")
        self.end_headers()
        for _ in range(10):
            self.wfile.write(b" ")
            # The client goes on reading only when it has noticed the byte.
            self.server.noticed.acquire(timeout=10)  # type: ignore[attr-defined]

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def local(time: Time) -> Iterator[tuple[Any, QiniuClient, requests.Session]]:
    """A server, and a client whose requests reach it through a real connection."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.connections = set()  # type: ignore[attr-defined]
    server.noticed = threading.Semaphore(0)  # type: ignore[attr-defined]
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
        """An answer that is shorter than it says is no answer, even where it is JSON."""
        server, client, _ = local
        server.way = "short"
        with pytest.raises(errors.Unreachable, match="after 5 attempts"):
            client.list_buckets()

    def test_huge(self, local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer without an end is given up."""
        monkeypatch.setattr(transport, "ANSWER_BYTES", 1_000_000)
        server, client, _ = local
        server.way = "huge"
        with pytest.raises(errors.Unreachable, match="too large"):
            client.list_buckets()

    def test_dripping(self, local: Any, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer that comes byte by byte is given up after a minute in all."""
        server, client, _ = local
        server.way = "dripping"

        def clock() -> float:  # every look at the clock takes twenty seconds
            server.noticed.release()
            time.seconds += 20
            return time.seconds

        monkeypatch.setattr(client._transport, "_clock", clock)
        with pytest.raises(errors.Unreachable, match="more than 60 s"):
            client.list_buckets()


class TestEmulator:
    """The client and the strict emulator, which was written without looking at it, agree."""

    @pytest.fixture
    def qiniu_emulator(self, time: Time) -> Qiniu:
        """An account with one domain on http, at the time of the signatures."""
        emulator = Qiniu(clock=time.wall, switches=Switches(date_required=True))
        emulator.add_domain(NAME)
        return emulator

    @pytest.fixture
    def live(self, time: Time, qiniu_emulator: Qiniu) -> Rig:
        """A client in front of the emulator."""
        return Rig(time, qiniu_emulator, (ACCESS_KEY, SECRET_KEY))

    @pytest.fixture
    def fresh(self, tmp_path: Path, authority: Authority, time: Time) -> Certificate:
        """A certificate that is valid at the time of the signatures."""
        leaf = authority.intermediate("Issuing").issue(
            NAME, "*.example.com", now=dt.datetime.fromtimestamp(time.wall(), dt.timezone.utc))
        (tmp_path / "fullchain.pem").write_text(leaf.fullchain_pem)
        (tmp_path / "privkey.pem").write_text(leaf.key_pem)
        return Certificate.load(NAME, tmp_path / "fullchain.pem", tmp_path / "privkey.pem")

    def test_life_of_a_certificate(self, live: Rig, qiniu_emulator: Qiniu,
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
    def test_lost_answers(self, live: Rig, qiniu_emulator: Qiniu, fresh: Certificate,
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
    def test_pages(self, live: Rig, qiniu_emulator: Qiniu, fresh: Certificate,
                   list_end: Any) -> None:
        """Every way to end a list gives the whole list."""
        qiniu_emulator.switches.list_end = list_end
        qiniu_emulator.switches.list_page_cap = 2
        ids = {qiniu_emulator.add_certificate(fresh.fullchain, name=f"n{n}") for n in range(5)}
        assert {remote.cert_id for remote in live.client.list_certificates()} == ids

    @pytest.mark.parametrize("answer", ["403024", "429", "573"])
    def test_rate(self, live: Rig, qiniu_emulator: Qiniu, answer: Any) -> None:
        """The client's pace never meets the limit of either host."""
        qiniu_emulator.switches.enforce_rate = True
        qiniu_emulator.switches.rate_limit_answer = answer
        for _ in range(40):
            live.client.list_domains()
            live.client.list_certificates()
        assert live.client.calls == 80

    def test_wrong_secret(self, time: Time, qiniu_emulator: Qiniu) -> None:
        """A wrong secret is refused on both hosts, with the advice to check it."""
        rig = Rig(time, qiniu_emulator, (ACCESS_KEY, "wrong"))
        for call in (rig.client.list_domains, rig.client.list_certificates):
            with pytest.raises(errors.Refused, match="qiniu_secret_key"):
                call()

    def test_wrong_clock(self, live: Rig, qiniu_emulator: Qiniu,
                         monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock that is off is named."""
        monkeypatch.setattr(qiniu_emulator, "_clock", lambda: live.time.wall() + 3600)
        with pytest.raises(errors.Refused, match="clock"):
            live.client.list_domains()

    def test_storage_and_live(self, live: Rig, qiniu_emulator: Qiniu, fresh: Certificate) -> None:
        """Source and live domains are found, bound and read back."""
        qiniu_emulator.add_bucket("one")
        qiniu_emulator.add_source_domain("img.example.com", "one")
        qiniu_emulator.add_hub("hub")
        qiniu_emulator.add_live_domain("hub", "play.example.com")
        cert_id = qiniu_emulator.add_certificate(fresh.fullchain, name=fresh.remote_name)
        client = live.client
        assert client.list_buckets() == ["one"]
        [source] = client.list_source_domains("one")
        for methods in ({"POST"}, {"PUT"}):
            qiniu_emulator.switches.bind_methods = frozenset(methods)
            client.bind_source_domain(source.name, cert_id)
        assert client.list_bindings() == {"img.example.com": cert_id}
        assert client.list_hubs() == ["hub"]
        client.bind_live_domain("hub", "play.example.com", fresh.remote_name)
        assert [(domain.name, domain.protocol, name)
                for domain, name in client.list_live_domains("hub")] == [
            ("play.example.com", "https", fresh.remote_name)]
