"""The emulator of Qiniu's API refuses what Qiniu refuses, and changes only what it should."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tests.sandbox.pki import Authority, Leaf
from tests.sandbox.qiniu import (
    ACCESS_KEY,
    API,
    FUSION,
    PILI,
    SECRET_KEY,
    UC,
    Qiniu,
    Serving,
    Switches,
)
from tests.sandbox.qiniu_auth import qbox_data, qiniu_data, sign
from tests.sandbox.wire import Request, Response

NOW = dt.datetime(2026, 2, 13, 12, tzinfo=dt.timezone.utc)
DATE = "20260213T120000Z"
STRANGER = "stranger"
SUB_USER = "IAM-sub-user"
ACCOUNTS = {ACCESS_KEY: SECRET_KEY, STRANGER: "stranger's secret", SUB_USER: "sub-user's secret"}
NO_SUCH_ID = "0" * 24
JSON_TYPE = (("Content-Type", "application/json"),)
DONE = (200, {"code": 200})


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: float = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """An emulator with three accounts, its clock, and the authority whose chains it accepts."""

    root: Authority
    issuer: Authority
    clock: Clock = field(default_factory=Clock)
    switches: Switches = field(default_factory=Switches)

    def __post_init__(self) -> None:
        self.qiniu = Qiniu(clock=self.clock, switches=self.switches, accounts=ACCOUNTS,
                           roots=[self.root.cert_pem])

    def request(self, method: str, host: str, target: str, body: Any = None, *,
                account: str = ACCESS_KEY, scheme: str = "",
                headers: tuple[tuple[str, str], ...] = JSON_TYPE) -> Request:
        """A request that *account* signed as its host wants it."""
        is_qbox = host == FUSION or (target.startswith("/cert/") and method != "PUT")
        scheme = scheme or ("QBox" if is_qbox else "Qiniu")
        content = (b"" if body is None else body if isinstance(body, bytes)
                   else json.dumps(body).encode())
        unsigned = Request(method, host, target, headers, content)
        data = qbox_data(unsigned) if scheme == "QBox" else qiniu_data(unsigned)
        token = f"{scheme} {account}:{sign(ACCOUNTS[account], data)}"
        return replace(unsigned, headers=(*headers, ("Authorization", token)))

    def ask(self, method: str, host: str, target: str, body: Any = None,
            **details: Any) -> tuple[int, Any]:
        """Status and decoded body of the answer to such a request."""
        return decoded(self.qiniu.handle(self.request(method, host, target, body, **details)))

    def put(self, target: str, **body: Any) -> tuple[int, Any]:
        """The answer to a change of a domain."""
        return self.ask("PUT", API, f"/domain/{target}", body)

    def bind(self, cert_id: str, name: str = "www.example.com") -> tuple[int, Any]:
        """The answer to the usual change of an https domain."""
        return self.put(f"{name}/httpsconf", certId=cert_id, forceHttps=False, http2Enable=True)

    def domain(self, name: str = "www.example.com") -> Any:
        """The detailed read of a domain."""
        return self.ask("GET", API, f"/domain/{name}")[1]

    def listed(self, query: str = "limit=1000") -> list[str]:
        """The names that a list of domains shows."""
        _status, answer = self.ask("GET", API, f"/domain?{query}")
        return [entry["name"] for entry in answer["domains"]]

    def leaf(self, *names: str, **details: Any) -> Leaf:
        """A leaf that is valid since yesterday, unless told otherwise."""
        return self.issuer.issue(*(names or ("www.example.com",)),
                                 **{"now": NOW, "start_days": -1, **details})

    def upload(self, leaf: Leaf | None = None, **fields: Any) -> tuple[int, Any]:
        """The answer to an upload of *leaf*."""
        leaf = leaf or self.leaf()
        return self.ask("POST", FUSION, "/sslcert", {
            "name": "certbot-www", "common_name": leaf.names[0], "pri": leaf.key_pem,
            "ca": leaf.fullchain_pem, **fields})

    def uploaded(self, *names: str) -> str:
        """The id of a new certificate for *names*."""
        cert_id: str = self.upload(self.leaf(*names))[1]["certID"]
        return cert_id

    def https_domain(self, name: str = "www.example.com", **details: Any) -> str:
        """Add an https domain; return the id of its certificate."""
        cert_id = self.uploaded(name)
        self.qiniu.add_domain(name, protocol="https", cert_id=cert_id, http2=True, **details)
        return cert_id


def decoded(response: Response) -> tuple[int, Any]:
    """Status and JSON value, None without a body."""
    return response.status, json.loads(response.body) if response.body else None


def outcome(answer: tuple[int, Any]) -> tuple[int, Any]:
    """Status and code of an answer."""
    status, body = answer
    return status, body.get("code")


@pytest.fixture(scope="module")
def root() -> Authority:
    """The root that the emulator trusts."""
    return Authority()


@pytest.fixture(scope="module")
def issuer(root: Authority) -> Authority:
    """The intermediate that issues the leaves."""
    return root.intermediate("Sandbox Intermediate")


@pytest.fixture
def bench(root: Authority, issuer: Authority) -> Bench:
    """A new emulator at noon of 2026-02-13."""
    return Bench(root, issuer)


# Signatures

BODY_H = b'{"certId":"5a950896f2c5932aaf00142c","forceHttps":false,"http2Enable":true}'
BODY_B1 = (b'{"name":"certbot-www","common_name":"www.example.com","pri":"PRIVATEKEY",'
           b'"ca":"CACONTENT"}')
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
HTTPSCONF = "/domain/www.example.com/httpsconf"


@dataclass(frozen=True)
class Vector:
    """A request whose signature the official SDK computed."""

    label: str
    scheme: str
    method: str
    host: str
    target: str
    content_type: str
    date: str
    body: bytes
    signature: str

    @property
    def signs_body(self) -> bool:
        """Whether the body is there and signed: QBox signs forms, Qiniu all but octet streams."""
        is_covered = self.content_type == FORM if self.scheme == "QBox" else (
            self.content_type != "application/octet-stream")
        return bool(self.body) and is_covered

    @property
    def request(self) -> Request:
        """The request as the SDK sends it."""
        headers = {"Content-Type": self.content_type, "X-Qiniu-Date": self.date,
                   "Authorization": f"{self.scheme} test-ak-0123456789:{self.signature}"}
        return Request(self.method, self.host, self.target,
                       tuple((name, value) for name, value in headers.items() if value), self.body)


VECTORS = [
    Vector("Q1", "Qiniu", "GET", API, "/domain/www.example.com", FORM, DATE, b"",
           "SpjHA8ip1wyniwuoov9ep_XkK8M="),
    Vector("Q2", "Qiniu", "GET", API, "/domain/www.example.com", JSON, DATE, b"",
           "IgwucGiZeD8k20G8jZrZhWr203c="),
    Vector("Q3", "Qiniu", "GET", API, "/domain/www.example.com", "", "", b"",
           "myYrKqYPsVy3vgk_fv-1lEk1aKc="),
    Vector("Q4", "Qiniu", "PUT", API, HTTPSCONF, JSON, DATE, BODY_H,
           "3fxe5TBAOIuft9AWvfbOQwhsJW0="),
    Vector("Q5", "Qiniu", "PUT", API, HTTPSCONF, JSON, "", BODY_H, "RvUAiyRULrx19H6v6rgblKGoLDQ="),
    Vector("Q6", "Qiniu", "GET", API, "/domain?limit=1000&marker=abc", JSON, DATE, b"",
           "qO2fM7voGfpJYRPu9EU824vH2Mc="),
    Vector("Q7", "Qiniu", "GET", API, "/domain/.example.com", JSON, DATE, b"",
           "FujnzlnpzIIgZyv40khB2bGQi8c="),
    Vector("Q8", "Qiniu", "PUT", API, "/domain/www.example.com/unsslize", JSON, DATE, b"",
           "cBV0L1XnLL-0GL7s8zuaxxfVj-o="),
    Vector("Q9", "Qiniu", "POST", PILI, "/v2/hubs/testhub/domains/play.example.com/cert", JSON,
           DATE, b'{"certName":"certbot-www"}', "pygPkfqwBgW748YTBnWZqIdBTAI="),
    Vector("Q10", "Qiniu", "GET", UC, "/domain?bucket=my-bucket", FORM, DATE, b"",
           "Djrv0RBWeVViN-mL7eLSsL8r4i0="),
    Vector("Q11", "Qiniu", "PUT", API, HTTPSCONF, "application/octet-stream", DATE, BODY_H,
           "cRRCvFHapg9IHjm1WEPv8a13QsE="),
    Vector("B1", "QBox", "POST", FUSION, "/sslcert", JSON, "", BODY_B1,
           "9Ec67PsHT7gunELPTisTiTkdtmY="),
    Vector("B3", "QBox", "GET", FUSION, "/sslcert?limit=500&marker=abc", JSON, "", b"",
           "BEsFBp05mKIIwNPQq2IUWkS4lFo="),
    Vector("B4", "QBox", "DELETE", FUSION, "/sslcert/5a950896f2c5932aaf00142c", JSON, "", b"",
           "p4NSC2a6TxPfpj4oPWvaGV8W15s="),
    Vector("B5", "QBox", "PUT", API, HTTPSCONF, JSON, "", BODY_H, "xF-iH6BoZSUgJOdr8Q9jGcStCe4="),
    Vector("B6", "QBox", "POST", API, "/cert/bind", JSON, "", b"{}",
           "iw3N3FhJwwPUfYPL4P974nZwJXg="),
    Vector("B7", "QBox", "POST", FUSION, "/sslcert", FORM, "", b"a=1&b=2",
           "WsGouCS31AFW2dcIvx0c_3cT0L0="),
]


def judge(vector: Vector) -> int:
    """The status of the answer to a vector; 401 means that the signature did not please."""
    qiniu = Qiniu(clock=Clock(), switches=Switches(lenient_auth=True),
                  accounts={"test-ak-0123456789": "test-sk-abcdefghij"})
    return qiniu.handle(vector.request).status


def flipped(text: str) -> str:
    """*text* with one bit changed in its middle, so that it stays printable."""
    middle = len(text) // 2
    return text[:middle] + chr(ord(text[middle]) ^ 1) + text[middle + 1:]


def tampered(vector: Vector) -> dict[str, Vector]:
    """The vector with each part changed that its signature covers."""
    changed = {"signature": replace(vector, signature=flipped(vector.signature)),
               "target": replace(vector, target=flipped(vector.target))}
    if vector.scheme == "Qiniu":
        changed["method"] = replace(vector, method="PATCH")
        changed["host"] = replace(vector, host=vector.host + ":8443")
        changed["type"] = replace(vector, content_type=vector.content_type + ";")
        changed["date"] = replace(vector, date="20260213T120001Z")
    if vector.signs_body:
        changed["body"] = replace(vector, body=flipped(vector.body.decode()).encode())
    return changed


TAMPERED = [pytest.param(changed, id=f"{vector.label}-{part}")
            for vector in VECTORS for part, changed in tampered(vector).items()]


@pytest.mark.parametrize("vector", TAMPERED)
def test_one_flipped_byte_is_refused(vector: Vector) -> None:
    """Whatever is signed must arrive as it was signed."""
    assert judge(vector) == 401


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.label)
def test_official_vectors_are_accepted(vector: Vector) -> None:
    """The signatures of the official SDK are right, whatever else may be wrong."""
    assert judge(vector) != 401


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.body and not v.signs_body],
                         ids=lambda vector: vector.label)
def test_unsigned_bodies_may_change(vector: Vector) -> None:
    """QBox signs no JSON, and Qiniu no octet stream."""
    assert judge(replace(vector, body=b'{"other": "body"}')) != 401


def test_qiniu_headers_are_sorted_by_name(bench: Bench) -> None:
    """Each ``X-Qiniu-*`` header is signed in canonical spelling, in the order of the names."""
    headers = (("x-qiniu-b", "2"), ("X-QINIU-A-B", "1"), ("X-Qiniu-A", "0"), ("X-Qiniu-", "no"))
    request = Request("GET", API, "/domain?", headers, b"")
    assert qiniu_data(request) == (b"GET /domain\nHost: api.qiniu.com\nX-Qiniu-A: 0\n"
                                   b"X-Qiniu-A-B: 1\nX-Qiniu-B: 2\n\n")


@pytest.mark.parametrize(("authorization", "code"), [
    (None, 401002),
    ("", 401002),
    (f"QBox {ACCESS_KEY}", 401002),
    (f"QBox {ACCESS_KEY}:tooshort=", 401002),
    (f"Basic {ACCESS_KEY}:9Ec67PsHT7gunELPTisTiTkdtmY=", 401002),
    (f"QBox  {ACCESS_KEY}:9Ec67PsHT7gunELPTisTiTkdtmY=", 401002),
    (f"Qiniu {ACCESS_KEY}:9Ec67PsHT7gunELPTisTiTkdtmY=", 401002),
    (f"QBox {ACCESS_KEY}:9Ec67PsHT7gunELPTisTiTkdtmY=", 401001),
    ("QBox nobody:9Ec67PsHT7gunELPTisTiTkdtmY=", 401001),
])
def test_bad_authorization_is_refused(bench: Bench, authorization: str | None, code: int) -> None:
    """A header that cannot be read is 401002, a wrong key or signature 401001."""
    headers = () if authorization is None else (("Authorization", authorization),)
    answer = bench.qiniu.handle(Request("GET", FUSION, "/sslcert", headers, b""))
    assert outcome(decoded(answer)) == (401, code)


@pytest.mark.parametrize(("host", "target", "scheme", "strict", "lenient"), [
    (FUSION, "/sslcert", "Qiniu", 401, 200),
    (API, "/domain", "QBox", 401, 200),
    (API, "/sslcert", "Qiniu", 404, 200),
    (API, "/sslcert", "QBox", 401, 200),
    (API, "/cert/bindings", "QBox", 200, 200),
    (API, "/cert/bindings", "Qiniu", 401, 401),
    (UC, "/buckets", "QBox", 401, 401),
    (PILI, "/v2/hubs", "QBox", 401, 401),
    (FUSION, "/domain", "QBox", 404, 404),
    (UC, "/domain/www.example.com", "Qiniu", 404, 404),
    (API, "/domain/www.example.com/sslize", "Qiniu", 404, 404),
])
def test_hosts_and_schemes_are_bound(bench: Bench, host: str, target: str, scheme: str,
                                     strict: int, lenient: int) -> None:
    """Each host serves its own paths with its own scheme, unless it is lenient."""
    assert bench.ask("GET", host, target, scheme=scheme)[0] == strict
    bench.switches.lenient_auth = True
    assert bench.ask("GET", host, target, scheme=scheme)[0] == lenient


def test_unknown_paths_authenticate_first(bench: Bench) -> None:
    """A 401 never proves that a path exists."""
    answer = bench.qiniu.handle(Request("GET", API, "/no/such/path", (), b""))
    assert (answer.status, bench.ask("GET", API, "/no/such/path")[0]) == (401, 404)


@pytest.mark.parametrize(("host", "target", "body"), [
    (UC, "/buckets", {"error": "bad token", "error_code": "BadToken"}),
    (PILI, "/v2/hubs", {"error": "bad token"}),
    (API, "/cert/bindings", {"error": "bad token"}),
])
def test_some_services_know_no_codes(bench: Bench, host: str, target: str,
                                     body: Mapping[str, str]) -> None:
    """Kodo, Pili and the certificate service for storage refuse in words alone."""
    request = bench.request("GET", host, target)
    request = replace(request, headers=(*JSON_TYPE, (
        "Authorization", f"Qiniu {ACCESS_KEY}:9Ec67PsHT7gunELPTisTiTkdtmY=")))
    assert decoded(bench.qiniu.handle(request)) == (401, body)


@pytest.mark.parametrize("date", ["", "20260213", "2026-02-13T12:00:00Z", "20260231T120000Z",
                                  "20260213T120000", "２0260213T120000Z", "20260213T12000Z0"])
def test_bad_dates_are_refused(bench: Bench, date: str) -> None:
    """The one format of ``X-Qiniu-Date`` is ``YYYYMMDDTHHMMSSZ``."""
    headers = (*JSON_TYPE, ("X-Qiniu-Date", date))
    assert bench.ask("GET", API, "/domain", headers=headers)[0] == 401


@pytest.mark.parametrize("window", [30, 900])
def test_a_date_outside_the_window_is_refused(bench: Bench, window: int) -> None:
    """A signature expires in both directions of time."""
    bench.switches.clock_window = window
    statuses = []
    for skew in (-window - 1, -window, window, window + 1):
        bench.clock.now = NOW.timestamp() + skew
        statuses.append(bench.ask("GET", API, "/domain", headers=(
            *JSON_TYPE, ("X-Qiniu-Date", DATE)))[0])
    assert statuses == [403, 200, 200, 403]


def test_a_missing_date_is_refused_where_required(bench: Bench) -> None:
    """Qiniu's quick start sends none; others say that it must be there."""
    before = bench.ask("GET", API, "/domain")[0]
    bench.switches.date_required = True
    assert (before, bench.ask("GET", API, "/domain")[0]) == (200, 401)
    assert bench.ask("GET", FUSION, "/sslcert")[0] == 200  # QBox has no date


def test_every_answer_has_its_own_reqid(bench: Bench) -> None:
    """Refusals carry ``X-Reqid`` as well as successes."""
    requests = [bench.request("GET", API, "/domain"), bench.request("GET", API, "/nowhere"),
                Request("GET", FUSION, "/sslcert", (), b"")]
    reqids = {bench.qiniu.handle(request).headers["X-Reqid"] for request in requests}
    assert len(reqids) == 3


# Rates and leaks


@pytest.mark.parametrize(("answer", "expected"), [
    ("403024", (403, 403024)), ("429", (429, 429)), ("573", (573, 573)), ("400", (400, 400))])
@pytest.mark.parametrize(("host", "target", "rate"), [(API, "/domain", 10),
                                                      (FUSION, "/sslcert", 5)])
def test_requests_above_the_rate_are_refused(bench: Bench, host: str, target: str, rate: int,
                                             answer: Any, expected: tuple[int, int]) -> None:
    """A second takes so many requests of an account and host, and the next second as many."""
    bench.switches.enforce_rate = True
    bench.switches.rate_limit_answer = answer
    assert [bench.ask("GET", host, target)[0] for _ in range(rate)] == [200] * rate
    assert outcome(bench.ask("GET", host, target)) == expected
    assert bench.ask("GET", host, target, account=STRANGER)[0] == 200
    bench.clock.now += 1
    assert bench.ask("GET", host, target)[0] == 200


@pytest.mark.parametrize(("reading", "burst", "in_the_next", "every_tenth"), [
    ("sliding second", 10, 0, 10), ("calendar second", 10, 10, 10), ("bucket", 10, 2, 10),
    ("drip", 1, 1, 10)])
def test_readings_of_a_second(bench: Bench, reading: Any, burst: int, in_the_next: int,
                              every_tenth: int) -> None:
    """How many of twenty calls at once pass, how many 0.2 s later, and of ten that are spaced."""
    bench.switches.enforce_rate, bench.switches.rate_reading = True, reading

    def passed(count: int, gap: float = 0.0) -> int:
        answers = []
        for _ in range(count):
            answers.append(bench.ask("GET", API, "/domain")[0])
            bench.clock.now += gap
        return answers.count(200)

    bench.clock.now = math.floor(bench.clock.now) + 0.9
    assert burst == passed(20)
    bench.clock.now += 0.2
    assert in_the_next == passed(20)
    bench.clock.now = math.floor(bench.clock.now) + 5.0
    assert every_tenth == passed(10, 0.1)


@pytest.mark.parametrize("retry_after", [None, 7])
def test_throttling_may_say_for_how_long(bench: Bench, retry_after: int | None) -> None:
    """No source mentions ``Retry-After``, so it comes only when switched on."""
    bench.switches.enforce_rate, bench.switches.fusion_rate = True, 0
    bench.switches.retry_after = retry_after
    headers = bench.qiniu.handle(bench.request("GET", FUSION, "/sslcert")).headers
    assert headers.get("Retry-After") == (None if retry_after is None else "7")


def test_rates_are_off_by_default(bench: Bench) -> None:
    """Tests that are not about rates may hurry."""
    assert {bench.ask("GET", FUSION, "/sslcert")[0] for _ in range(20)} == {200}


KEY = "-----BEGIN PRIVATE KEY-----"


@pytest.mark.parametrize(("method", "host", "target", "body"), [
    ("PUT", API, HTTPSCONF, {"certId": KEY}),
    ("POST", API, "/sslcert", {"name": "x", "pri": KEY, "ca": "x"}),
    ("GET", FUSION, "/sslcert?marker=-----BEGIN%20PRIVATE%20KEY-----", None),
    ("POST", FUSION, "/sslcert", {"name": KEY, "pri": KEY, "ca": "x"}),
    ("POST", FUSION, "/sslcert", {"name": "x", "pri": KEY, "ca": KEY}),
    ("POST", FUSION, "/sslcert", {"name": SECRET_KEY, "pri": KEY, "ca": "x"}),
    ("GET", API, f"/domain?certId={SECRET_KEY}", None),
])
def test_keys_where_none_belong_are_reported(bench: Bench, method: str, host: str, target: str,
                                             body: Any) -> None:
    """Private keys belong in the ``pri`` of an upload, secret keys nowhere."""
    request = bench.request(method, host, target, body)
    assert decoded(bench.qiniu.handle(request)) == (400, {
        "code": 400000, "error": "the sandbox's own guard: a key where none belongs"})
    assert bench.qiniu.leaks == [request.label]


def test_an_upload_is_no_leak(bench: Bench) -> None:
    """The one place for a private key raises no alarm."""
    assert (bench.upload()[0], bench.qiniu.leaks) == (200, [])


# Uploads


@pytest.mark.parametrize("fields", [{"pri": ""}, {"ca": None}, {"name": 7}])
def test_incomplete_uploads_are_refused(bench: Bench, fields: dict[str, Any]) -> None:
    """Key and chain are required, and what is there must be a string."""
    assert outcome(bench.upload(**fields)) == (400, 400000)


@pytest.mark.parametrize("name", ["", None])
def test_the_name_of_a_certificate_may_be_required(bench: Bench, name: str | None) -> None:
    """A client in the field sends none, and gets its certificate bound."""
    assert bench.upload(name=name)[0] == 200
    assert [c.name for c in bench.qiniu.certificates()] == [""]
    bench.switches.name_required = True
    assert outcome(bench.upload(name=name)) == (400, 400000)
    assert bench.upload()[0] == 200


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff"])
def test_uploads_must_be_json_objects(bench: Bench, content: bytes) -> None:
    """No other value will do."""
    assert outcome(bench.ask("POST", FUSION, "/sslcert", content)) == (400, 400000)


@pytest.mark.parametrize(("content_type", "status"), [
    (FORM, 400), ("text/json", 400), (JSON, 200), (f"{JSON}; charset=utf-8", 200)])
def test_bodies_must_be_declared_as_json(bench: Bench, content_type: str, status: int) -> None:
    """The type is part of the contract, whatever the body looks like."""
    bench.https_domain()
    body = json.dumps({"certId": bench.uploaded()}).encode()
    answer = bench.ask("PUT", API, HTTPSCONF, body, headers=(("Content-Type", content_type),))
    assert answer[0] == status
    assert status == 200 or answer[1]["error"].startswith("the sandbox's own guard")


def test_unreadable_certificates_are_refused(bench: Bench) -> None:
    """A text that is no PEM is 404906, one that is no certificate 404907."""
    hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    codes = [outcome(bench.upload(ca=ca)) for ca in ("no PEM", hollow)]
    assert codes == [(404, 404906), (404, 404907)]


def test_wrong_keys_are_refused(bench: Bench) -> None:
    """Another certificate's key, an encrypted one and no key at all are refused."""
    leaf = bench.leaf()
    key = serialization.load_pem_private_key(leaf.key_pem.encode(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase")).decode()
    codes = [outcome(bench.upload(leaf, pri=pri))
             for pri in (bench.leaf().key_pem, encrypted, "no key")]
    assert codes == [(400, 400324), (400, 400328), (400, 400328)]
    bench.switches.key_mismatch = "400327"
    assert outcome(bench.upload(leaf, pri=bench.leaf().key_pem)) == (400, 400327)


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8,
                                  serialization.PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_both_key_formats_are_accepted(bench: Bench, key_type: str,
                                       form: serialization.PrivateFormat) -> None:
    """PKCS#8 is, and so is what went before it."""
    leaf = bench.leaf(key_type=key_type)
    key = serialization.load_pem_private_key(leaf.key_pem.encode(), None)
    pri = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    assert bench.upload(leaf, pri=pri.decode())[0] == 200


def test_the_old_label_of_an_ec_key_can_be_refused(bench: Bench) -> None:
    """The label decides: the same key as PKCS#8 is taken, and so is the old label of an RSA key."""
    old, old_rsa = (bench.leaf(key_type=kind, old_key_label=True) for kind in ("ec", "rsa"))
    assert "BEGIN EC PRIVATE KEY" in old.key_pem
    assert "BEGIN RSA PRIVATE KEY" in old_rsa.key_pem
    bench.switches.ec_label = "400327"
    assert outcome(bench.upload(old)) == (400, 400327)
    key = serialization.load_pem_private_key(old.key_pem.encode(), None)
    pkcs8 = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption()).decode()
    assert (bench.upload(old, pri=pkcs8)[0], bench.upload(old_rsa)[0]) == (200, 200)
    bench.switches.ec_label = "accept"
    assert bench.upload(old)[0] == 200


def test_a_certificate_without_a_common_name_can_be_refused(bench: Bench) -> None:
    """It is the certificate's own that counts, not the field of the upload."""
    leaf = bench.leaf(common_name=False)
    assert bench.upload(leaf)[0] == 200
    bench.switches.no_common_name = "400348"
    assert outcome(bench.upload(leaf, common_name="www.example.com")) == (400, 400348)
    assert bench.upload(common_name=None)[0] == 200


def test_broken_chains_are_refused(bench: Bench) -> None:
    """Leaf first, then each issuer, up to a root that Qiniu knows."""
    leaf, stranger = bench.leaf(), Authority("Elsewhere").intermediate("Unknown")
    private = stranger.issue("www.example.com", now=NOW)
    authority_key = bench.issuer.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()).decode()
    codes = [outcome(answer) for answer in (
        bench.upload(leaf, ca=leaf.cert_pem),
        bench.upload(private),
        bench.upload(leaf, ca=leaf.cert_pem + stranger.cert_pem),
        bench.upload(leaf, ca=leaf.cert_pem + bench.root.cert_pem),
        bench.upload(leaf, ca=leaf.chain_pem + leaf.cert_pem),
        bench.upload(leaf, ca=leaf.chain_pem, pri=authority_key),
    )]
    assert codes == [(400, 400338), (400, 400338), (400, 400323), (400, 400323), (400, 400324),
                     (400, 400323)]


def test_complete_chains_are_accepted(bench: Bench) -> None:
    """The root may be there, need not, and is no matter if none are trusted."""
    leaf = bench.leaf()
    assert bench.upload(leaf, ca=leaf.fullchain_pem + bench.root.cert_pem)[0] == 200
    assert bench.upload(bench.root.issue("www.example.com", now=NOW))[0] == 200
    bench.qiniu = Qiniu(clock=bench.clock, accounts=ACCOUNTS)
    assert bench.upload(leaf, ca=leaf.cert_pem)[0] == 200


@pytest.mark.parametrize(("start_days", "days", "expected"), [
    (1, 90, (400, 400321)),
    (-90, 90, (400, 400329)),
    (-90, 119, (400, 400322)),
    (-90, 120, (200, 200)),
])
def test_validity_is_checked(bench: Bench, start_days: float, days: float,
                             expected: tuple[int, int]) -> None:
    """A certificate must be valid, and for another thirty days."""
    leaf = bench.leaf(start_days=start_days, days=days)
    assert outcome(bench.upload(leaf)) == expected


def test_short_lived_certificates_can_be_allowed(bench: Bench) -> None:
    """Whether thirty days are needed is not settled."""
    bench.switches.minimum_days = 0
    assert bench.upload(bench.leaf(days=6))[0] == 200


def test_ec_certificates_can_be_refused(bench: Bench) -> None:
    """At the upload or at the bind; RSA is taken everywhere."""
    bench.switches.ec_refused = "400319"
    assert outcome(bench.upload()) == (400, 400319)
    rsa_leaf = bench.leaf(key_type="rsa")
    rsa_id = bench.upload(rsa_leaf)[1]["certID"]
    bench.switches.ec_refused = "400514"
    bench.https_domain()
    assert outcome(bench.bind(bench.uploaded())) == (400, 400514)
    assert bench.bind(rsa_id) == DONE


def test_a_wrong_common_name_can_be_refused(bench: Bench) -> None:
    """It is tolerated in the field, although the documentation says otherwise."""
    assert bench.upload(common_name="elsewhere.example.com")[0] == 200
    bench.switches.common_name = "400326"
    assert outcome(bench.upload(common_name="elsewhere.example.com")) == (400, 400326)
    assert outcome(bench.upload(common_name=None, commonName="elsewhere")) == (400, 400326)
    assert bench.upload()[0] == 200
    assert bench.upload(common_name=None)[0] == 200


def test_a_full_account_takes_no_certificate(bench: Bench) -> None:
    """The quota counts the account's own certificates, until one is deleted."""
    bench.switches.quota = 1
    stranger = bench.leaf()
    bench.qiniu.add_certificate(stranger.fullchain_pem, name="other", account=STRANGER)
    cert_id = bench.uploaded()
    assert outcome(bench.upload()) == (400, 400500)
    bench.ask("DELETE", FUSION, f"/sslcert/{cert_id}")
    assert bench.upload()[0] == 200


def test_the_same_certificate_twice(bench: Bench) -> None:
    """It gets a second id, or is refused."""
    leaf = bench.leaf()
    ids = {bench.upload(leaf)[1]["certID"] for _ in range(2)}
    assert len(ids) == 2
    bench.switches.same_pem = "400400"
    assert outcome(bench.upload(leaf)) == (400, 400400)
    assert bench.upload()[0] == 200


@pytest.mark.parametrize("code", [None, 0, 200])
def test_upload_answers_with_the_id(bench: Bench, code: Any) -> None:
    """``certID`` is 24 lower-case hex digits, and ``code`` may be there, as it is of itself."""
    assert bench.switches.upload_code == 200
    bench.switches.upload_code = code
    leaf = bench.leaf()
    status, body = bench.upload(leaf, name="mine")
    [kept] = bench.qiniu.certificates()
    assert (status, body) == (200, {**({} if code is None else {"code": code}),
                                    "certID": kept.cert_id})
    assert len(kept.cert_id) == 24
    assert set(kept.cert_id) <= set("0123456789abcdef")
    assert (kept.name, kept.fingerprint, kept.order_id, kept.created) == (
        "mine", leaf.fingerprint, "", int(NOW.timestamp()))


# Certificates: list, detail, deletion


def pages(bench: Bench, query: str, most: int = 10) -> tuple[list[list[str]], list[str]]:
    """Walk a list of certificates until its marker is empty: ids by page, and the markers."""
    marker = ""
    found: list[list[str]] = []
    markers: list[str] = []
    while not markers or (marker and len(found) < most):
        _status, body = bench.ask("GET", FUSION, f"/sslcert?{query}&marker={marker}")
        found.append([entry["certid"] for entry in body["certs"]])
        marker = body["marker"]
        markers.append(marker)
    return found, markers


def test_list_shows_no_pem(bench: Bench) -> None:
    """An entry says all about a certificate but its key and chain."""
    leaf = bench.leaf("www.example.com", "*.example.com")
    bench.upload(leaf, name="mine")
    _status, body = bench.ask("GET", FUSION, "/sslcert")
    [entry] = body["certs"]
    assert body["code"] == 200
    assert not {"pri", "ca"} & entry.keys()
    assert (entry["name"], entry["common_name"], entry["dnsnames"], entry["encrypt"]) == (
        "mine", "www.example.com", ["www.example.com", "*.example.com"], "ECDSA")
    assert (entry["not_before"], entry["not_after"], entry["create_time"]) == (
        leaf.not_before.timestamp(), leaf.not_after.timestamp(), NOW.timestamp())


def test_list_shows_the_own_account_alone(bench: Bench) -> None:
    """Other accounts' certificates stay theirs; bought ones have an order."""
    leaf = bench.leaf()
    bench.qiniu.add_certificate(leaf.fullchain_pem, name="theirs", account=STRANGER)
    own = bench.qiniu.add_certificate(leaf.fullchain_pem, leaf.key_pem, name="bought",
                                      order_id="order-1")
    [entry] = bench.ask("GET", FUSION, "/sslcert")[1]["certs"]
    assert (entry["certid"], entry["orderid"]) == (own, "order-1")
    assert [c.name for c in bench.qiniu.certificates(STRANGER)] == ["theirs"]
    assert len(bench.qiniu.certificates()) == 2


@pytest.mark.parametrize(("query", "sizes"), [
    ("", [3, 2, 0]), ("limit=2", [2, 2, 1, 0]), ("limit=1000", [4, 1, 0]), ("limit=", [3, 2, 0])])
def test_pages_have_a_default_and_a_cap(bench: Bench, query: str, sizes: list[int]) -> None:
    """A limit above the cap is cut without a word."""
    bench.switches.list_page_default, bench.switches.list_page_cap = 3, 4
    ids = [bench.uploaded() for _ in range(5)]
    found, _markers = pages(bench, query)
    assert [len(part) for part in found] == sizes
    assert list(chain(*found)) == ids


@pytest.mark.parametrize("count", [0, 1, 4])
def test_an_empty_marker_may_end_a_list(bench: Bench, count: int) -> None:
    """The last page has no marker, also when it is full."""
    bench.switches.list_end = "empty marker"
    ids = [bench.uploaded() for _ in range(count)]
    found, markers = pages(bench, "limit=2")
    assert (list(chain(*found)), markers[-1]) == (ids, "")
    assert len(found) == max(1, count // 2)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_an_empty_page_ends_a_list(bench: Bench, count: int) -> None:
    """Every page with entries has a marker; the end is a page with neither."""
    ids = [bench.uploaded() for _ in range(count)]
    found, markers = pages(bench, "limit=2")
    assert (list(chain(*found)), found[-1], markers[-1]) == (ids, [], "")
    assert len(found) == 1 + (count + 1) // 2


def test_an_empty_page_ends_a_list_of_domains(bench: Bench) -> None:
    """That holds even if fewer were asked for than there could have been."""
    bench.qiniu.add_domain("www.example.com")
    first = bench.ask("GET", API, "/domain?limit=1000")[1]
    assert len(first["domains"]) == 1
    last = bench.ask("GET", API, f"/domain?limit=1000&marker={first['marker']}")
    assert last == (200, {"marker": "", "domains": []})


@pytest.mark.parametrize("code", [200, 0, None])
def test_the_code_of_a_list(bench: Bench, code: Any) -> None:
    """One client takes nothing but 0, the documents show 200."""
    assert bench.switches.list_code == 200
    bench.switches.list_code = code
    body = bench.ask("GET", FUSION, "/sslcert")[1]
    assert body == {**({} if code is None else {"code": code}), "marker": "", "certs": []}


def test_successes_may_have_an_empty_error(bench: Bench) -> None:
    """Those of certificates and domains, as far as they are objects; a refusal keeps its own."""
    cert_id = bench.https_domain()
    bench.switches.noop = "publish"
    answers = [lambda: bench.upload(), lambda: bench.ask("GET", FUSION, "/sslcert"),
               lambda: bench.ask("GET", FUSION, f"/sslcert/{cert_id}"),
               lambda: bench.ask("GET", API, "/domain"), lambda: (200, bench.domain()),
               lambda: bench.put("www.example.com/respheader")]
    assert not any("error" in answer()[1] for answer in answers)
    bench.clock.now += 1
    bench.switches.empty_error = True
    assert [answer()[1].get("error") for answer in answers] == [""] * len(answers)
    assert outcome(bench.put("www.example.com/respheader")) == (400, 400030)
    bench.switches.success_put = ""
    assert bench.ask("DELETE", FUSION, f"/sslcert/{bench.uploaded()}") == (200, None)


LISTS = [
    (FUSION, "/sslcert", "certs"), (API, "/domain", "domains"), (API, "/cert/bindings", None),
    (UC, "/buckets", None), (UC, "/domain?bucket=theirs", None),
    (UC, "/v2/domains?tbl=theirs", None), (UC, "/v3/domains?tbl=theirs", None),
    (PILI, "/v2/hubs", "items")]


@pytest.mark.parametrize(("style", "expected"), [("[]", []), ("null", None)])
@pytest.mark.parametrize(("host", "target", "key"), LISTS)
def test_empty_lists(bench: Bench, host: str, target: str, key: str | None, style: Any,
                     expected: Any) -> None:
    """They are empty, or null, as Go writes them."""
    assert bench.switches.empty_lists == "[]"
    bench.switches.empty_lists = style
    account = ACCESS_KEY
    if "theirs" in target:
        bench.qiniu.add_bucket("theirs", STRANGER)
        account = STRANGER
    status, body = bench.ask("GET", host, target, account=account)
    assert (status, body[key] if key else body) == (200, expected)


@pytest.mark.parametrize("style", ["[]", "null"])
def test_lists_with_entries_are_never_null(bench: Bench, style: Any) -> None:
    """The lists in a domain do not differ otherwise."""
    bench.switches.empty_lists = style
    bench.qiniu.add_bucket("assets")
    bench.qiniu.add_domain("www.example.com")
    assert bench.ask("GET", UC, "/buckets") == (200, ["assets"])
    assert bench.domain()["responseHeaderControls"] == ([] if style == "[]" else None)


@pytest.mark.parametrize("ends", [
    pytest.param(lambda entries, _: not entries, id="empty page"),
    pytest.param(lambda _, marker: not marker, id="empty marker")])
@pytest.mark.parametrize(("host", "path", "key", "name"), [
    (FUSION, "/sslcert", "certs", "certid"), (API, "/domain", "domains", "name")])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_either_kind_of_client_comes_to_the_end(
        bench: Bench, count: int, host: str, path: str, key: str, name: str,
        ends: Callable[[list[Any], str], bool]) -> None:
    """Clients that live on one sign of the end alone read the whole list, once."""
    expected = [bench.https_domain(f"d{number}.example.com") for number in range(count)]
    if key == "domains":
        expected = [f"d{number}.example.com" for number in range(count)]
    found, marker = [], ""
    for _ in range(count + 2):
        page = bench.ask("GET", host, f"{path}?limit=2&marker={marker}")[1]
        found += [entry[name] for entry in page[key]]
        marker = page["marker"]
        if ends(page[key], marker):
            break
    else:
        pytest.fail("no end")
    assert sorted(expected) == sorted(found)


def test_a_marker_may_never_move(bench: Bench) -> None:
    """The last page comes again and again under the marker that asked for it."""
    bench.switches.list_end = "marker never moves"
    ids = [bench.uploaded() for _ in range(3)]
    found, markers = pages(bench, "limit=2", most=4)
    assert found == [ids[:2], ids[2:], ids[2:], ids[2:]]
    assert len(set(markers)) == 1


def test_a_list_survives_deletions(bench: Bench) -> None:
    """A marker names a place, so that nothing is skipped when an earlier entry goes."""
    ids = [bench.uploaded() for _ in range(3)]
    marker = bench.ask("GET", FUSION, "/sslcert?limit=1")[1]["marker"]
    bench.ask("DELETE", FUSION, f"/sslcert/{ids[0]}")
    _status, body = bench.ask("GET", FUSION, f"/sslcert?limit=1&marker={marker}")
    assert [entry["certid"] for entry in body["certs"]] == [ids[1]]


def test_bad_markers_are_refused(bench: Bench) -> None:
    """Garbage is, and so is the marker of another list."""
    bench.https_domain("a.example.com")
    bench.https_domain("b.example.com")
    foreign = bench.ask("GET", FUSION, "/sslcert?limit=1")[1]["marker"]
    assert outcome(bench.ask("GET", API, f"/domain?marker={foreign}")) == (400, 400021)
    for garbage in ("abc", "%FF", "YWJj"):
        assert outcome(bench.ask("GET", FUSION, f"/sslcert?marker={garbage}")) == (400, 400021)


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5"])
@pytest.mark.parametrize(("host", "path"), [(FUSION, "/sslcert"), (API, "/domain")])
def test_bad_limits_are_refused(bench: Bench, host: str, path: str, limit: str) -> None:
    """A page holds at least one entry."""
    assert outcome(bench.ask("GET", host, f"{path}?limit={limit}")) == (400, 400000)


def test_detail_returns_the_key(bench: Bench) -> None:
    """This is why nobody should call it."""
    leaf = bench.leaf()
    cert_id = bench.upload(leaf)[1]["certID"]
    status, body = bench.ask("GET", FUSION, f"/sslcert/{cert_id}")
    assert (status, body["code"], body["cert"]["pri"], body["cert"]["ca"]) == (
        200, 200, leaf.key_pem, leaf.fullchain_pem)
    for key, shown in ((leaf.key_pem, leaf.key_pem), (None, "")):
        cert_id = bench.qiniu.add_certificate(leaf.fullchain_pem, key, name="seeded")
        assert bench.ask("GET", FUSION, f"/sslcert/{cert_id}")[1]["cert"]["pri"] == shown


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_only_own_certificates_are_found(bench: Bench, method: str) -> None:
    """An unknown id is 400401, somebody else's 404908."""
    leaf = bench.leaf()
    theirs = bench.qiniu.add_certificate(leaf.fullchain_pem, name="x", account=STRANGER)
    assert outcome(bench.ask(method, FUSION, f"/sslcert/{NO_SUCH_ID}")) == (400, 400401)
    assert outcome(bench.ask(method, FUSION, f"/sslcert/{theirs}")) == (404, 404908)
    assert len(bench.qiniu.certificates(STRANGER)) == 1


def delete(bench: Bench, cert_id: str) -> tuple[int, Any]:
    """Status and code of the answer to a deletion."""
    return outcome(bench.ask("DELETE", FUSION, f"/sslcert/{cert_id}"))


@pytest.mark.parametrize(("rule", "previous"), [("until published", 400), ("wanted only", 200)])
def test_bound_certificates_are_not_deleted(bench: Bench, rule: Any, previous: int) -> None:
    """Neither the one that is served nor the one that is being published."""
    bench.switches.delete_in_use = rule
    old = bench.https_domain()
    new = bench.uploaded()
    assert delete(bench, old) == (400, 400611)
    assert bench.bind(new) == DONE
    assert delete(bench, new) == (400, 400611)
    assert delete(bench, old)[0] == previous
    bench.clock.now += 1
    assert delete(bench, new) == (400, 400611)
    assert delete(bench, old)[0] == (200 if previous == 400 else 400)
    assert [c.cert_id for c in bench.qiniu.certificates()] == [new]


def test_a_failed_publication_frees_its_certificate(bench: Bench) -> None:
    """The old certificate stays in use, the new one is free."""
    old, new = bench.https_domain(), bench.uploaded()
    bench.qiniu.fail_next_publication("www.example.com")
    bench.bind(new)
    bench.clock.now += 1
    assert (delete(bench, old), delete(bench, new)) == ((400, 400611), (200, 200))


# CDN domains: reads


def test_unknown_domains_are_not_found(bench: Bench) -> None:
    """Nor are somebody else's: 404 to read, 612 to change."""
    bench.qiniu.add_domain("theirs.example.com", account=STRANGER)
    bench.qiniu.add_domain(".example.com", kind="wildcard")
    for name in ("nowhere.example.com", "theirs.example.com", "*.example.com", "%2A.example.com"):
        assert bench.ask("GET", API, f"/domain/{name}") == (
            404, {"code": 404001, "error": "无此域名"})
        for change in ("sslize", "httpsconf", "unsslize", "respheader"):
            assert bench.put(f"{name}/{change}") == (
                612, {"code": 612, "error": "no such domain"})
    assert bench.domain(".example.com")["type"] == "wildcard"


def test_a_sub_domain_of_a_wildcard_names_its_parent(bench: Bench) -> None:
    """Other domains have none."""
    bench.qiniu.add_domain("www.example.com")
    bench.qiniu.add_domain("pan.example.com", kind="pan")
    assert (bench.domain("pan.example.com")["pareDomain"], bench.domain()["pareDomain"]) == (
        ".example.com", "")


def test_detail_shows_the_domain(bench: Bench) -> None:
    """The answer is the bare object, with four keys about https."""
    cert_id = bench.https_domain(force_https=True, headers=[("set", "Expires", "0")],
                                 bucket="assets", freeze_type="other")
    domain = bench.domain()
    assert "code" not in domain
    assert domain["https"] == {"certId": cert_id, "forceHttps": True, "http2Enable": True,
                               "freeCert": False}
    assert domain["responseHeaderControls"] == [{"op": "set", "key": "Expires", "value": "0"}]
    assert (domain["protocol"], domain["operatingState"], domain["operationType"],
            domain["couldOperateBySelf"], domain["freezeType"]) == (
        "https", "success", "create_domain", True, "other")
    assert domain["source"] == {"sourceType": "qiniuBucket", "sourceQiniuBucket": "assets"}
    assert domain["modifyAt"] == "2026-02-13T20:00:00.000+08:00"


@pytest.mark.parametrize(("style", "expected"), [
    ("absent", "none"), ("null", None),
    ("empty certId", {"certId": "", "forceHttps": False, "http2Enable": False,
                      "freeCert": False})])
def test_http_only_domains_show_no_certificate(bench: Bench, style: Any, expected: Any) -> None:
    """In one of three ways, of which the last is what clients rely on."""
    assert bench.switches.https_absent == "empty certId"
    bench.switches.https_absent = style
    bench.qiniu.add_domain("www.example.com")
    assert bench.domain().get("https", "none") == expected


def test_list_of_domains_shows_no_https(bench: Bench) -> None:
    """The bound certificate is visible through the filter alone."""
    cert_id = bench.https_domain()
    bench.qiniu.add_domain("plain.example.com", product="dcdn")
    entries = bench.ask("GET", API, "/domain")[1]["domains"]
    assert not any("https" in entry for entry in entries)
    assert [(entry["protocol"], entry["product"]) for entry in entries] == [
        ("http", "dcdn"), ("https", "cdn")]
    assert bench.listed(f"certId={cert_id}") == ["www.example.com"]
    bench.switches.ignore_cert_filter = True
    assert bench.listed(f"certId={cert_id}") == ["plain.example.com", "www.example.com"]


def test_list_of_domains_is_filtered(bench: Bench) -> None:
    """By type and by source, all of which may be named, and never beyond the account."""
    bench.qiniu.add_domain("a.example.com")
    bench.qiniu.add_domain(".example.com", kind="wildcard")
    bench.qiniu.add_domain("b.example.com", kind="pan", bucket="assets")
    bench.qiniu.add_domain("c.example.com", account=STRANGER)
    assert bench.listed() == [".example.com", "a.example.com", "b.example.com"]
    everything = [("types", ("normal", "wildcard", "pan", "test")),
                  ("sourceTypes", ("domain", "ip", "qiniuBucket", "advanced"))]
    for parameter, values in everything:
        query = "&".join(f"{parameter}={value}" for value in values)
        assert len(bench.listed(query)) == 3
    assert bench.listed("types=normal&types=pan") == ["a.example.com", "b.example.com"]
    assert bench.listed("sourceTypes=domain") == [".example.com", "a.example.com"]
    assert bench.listed("sourceTypes=qiniuBucket&sourceQiniuBucket=x") == []
    assert bench.listed("sourceTypes=qiniuBucket&sourceQiniuBucket=assets") == ["b.example.com"]
    for query in ("types=odd", "sourceTypes=odd", "sourceQiniuBucket=assets", "limit=1001"):
        assert outcome(bench.ask("GET", API, f"/domain?{query}")) == (400, 400000)


def test_list_of_domains_has_pages_of_ten(bench: Bench) -> None:
    """The default limit is small, and the marker leads on."""
    for number in range(11):
        bench.qiniu.add_domain(f"d{number:02}.example.com")
    body = bench.ask("GET", API, "/domain")[1]
    assert len(body["domains"]) == 10
    assert bench.listed(f"marker={body['marker']}") == ["d10.example.com"]


def test_the_list_may_lag_behind(bench: Bench) -> None:
    """For a while it shows domains, and filters them, as they were; the detail does not."""
    bench.switches.list_staleness = 2.5
    old, new = bench.https_domain(), bench.uploaded()
    bench.clock.now += 10
    bench.bind(new)

    def state() -> str:
        entry = bench.ask("GET", API, "/domain")[1]["domains"][0]
        return str(entry["operatingState"])

    assert (state(), bench.domain()["operatingState"]) == ("success", "processing")
    bench.clock.now += 1
    assert (state(), bench.listed(f"certId={new}")) == ("success", [])
    bench.clock.now += 1.6
    assert (state(), bench.listed(f"certId={new}")) == ("processing", [])
    bench.clock.now += 0.2
    assert (state(), bench.listed(f"certId={new}")) == ("success", ["www.example.com"])
    assert bench.listed(f"certId={old}") == []


# CDN domains: changes


@pytest.mark.parametrize(("details", "expected"), [
    ({"state": "processing"}, (400, 400030)),
    ({"state": "offlined"}, (400, 400320)),
    ({"state": "frozen", "freeze_type": "illegal"}, (500, 500923)),
    ({"state": "notIcpFrozen"}, (500, 500923)),
    ({"state": "deleted"}, (500, 500930)),
    ({"state": "failed", "operation": "sslize"}, (400, 400066)),
    ({"operable": False, "state": "processing"}, (400, 400407)),
    ({"kind": "test"}, (400, 400722)),
])
@pytest.mark.parametrize("change", ["sslize", "httpsconf", "unsslize", "respheader"])
def test_unchangeable_domains_refuse_all_changes(bench: Bench, change: str,
                                                 details: dict[str, Any],
                                                 expected: tuple[int, int]) -> None:
    """The kind of the domain is checked before the request for it."""
    bench.qiniu.add_domain("www.example.com", **details)
    assert outcome(bench.put(f"www.example.com/{change}", certId=7)) == expected


@pytest.mark.parametrize("operation", ["modify_https_crt", "modify_https_conf"])
def test_a_failed_certificate_can_be_changed_again(bench: Bench, operation: str) -> None:
    """Nothing else can, and going back to the old certificate counts as a change."""
    old = bench.https_domain(state="failed", operation=operation)
    assert outcome(bench.put("www.example.com/unsslize")) == (400, 400066)
    assert outcome(bench.put("www.example.com/respheader")) == (400, 400066)
    assert bench.bind(old) == DONE


def test_only_fitting_certificates_are_bound(bench: Bench) -> None:
    """Known, own, covering and not expired."""
    bench.https_domain()
    wildcard, other = bench.uploaded("*.example.com"), bench.uploaded("example.com")
    leaf = bench.leaf()
    theirs = bench.qiniu.add_certificate(leaf.fullchain_pem, name="x", account=STRANGER)
    expired = bench.qiniu.add_certificate(
        bench.leaf(start_days=-90, days=90).fullchain_pem, name="old")
    assert outcome(bench.bind(NO_SUCH_ID)) == (400, 400401)
    assert outcome(bench.put("www.example.com/httpsconf")) == (400, 400401)
    assert outcome(bench.bind(theirs)) == (404, 404908)
    assert outcome(bench.bind(other)) == (400, 400326)
    assert outcome(bench.bind(expired)) == (400, 400329)
    assert bench.bind(wildcard) == DONE


@pytest.mark.parametrize(("domain", "san", "covered"), [
    (".example.com", "*.example.com", True),
    (".example.com", "example.com", False),
    ("example.com", "*.example.com", False),
    ("a.b.example.com", "*.example.com", False),
    ("a.b.example.com", "*.b.example.com", True),
    (".b.example.com", "*.example.com", False),
])
def test_coverage_follows_the_rules_of_wildcards(bench: Bench, domain: str, san: str,
                                                 covered: bool) -> None:
    """One label, never the apex; a wildcard domain needs its own wildcard."""
    bench.qiniu.add_domain(domain)
    answer = bench.put(f"{domain}/sslize", certId=bench.uploaded(san))
    assert outcome(answer) == ((200, 200) if covered else (400, 400326))


def test_sslize_of_an_https_domain(bench: Bench) -> None:
    """It is refused as a repetition, or taken for a change."""
    bench.https_domain()
    new = bench.uploaded()
    assert outcome(bench.put("www.example.com/sslize", certId=new)) == (400, 400013)
    bench.switches.sslize_on_https = "accept"
    assert bench.put("www.example.com/sslize", certId=new) == DONE


def test_httpsconf_of_an_http_domain(bench: Bench) -> None:
    """It is refused, or switches the domain to https."""
    bench.qiniu.add_domain("www.example.com")
    cert_id = bench.uploaded()
    assert bench.bind(cert_id)[0] == 400
    bench.switches.httpsconf_on_http = "accept"
    assert bench.bind(cert_id) == DONE
    bench.clock.now += 1
    assert bench.qiniu.serving("www.example.com").protocol == "https"


def test_unsslize_goes_back_to_http(bench: Bench) -> None:
    """The certificate is unbound at the end, and there is no second time."""
    cert_id = bench.https_domain(force_https=True, headers=[("set", "Expires", "0")])
    assert bench.ask("PUT", API, "/domain/www.example.com/unsslize") == DONE
    assert bench.domain()["operationType"] == "unsslize"
    bench.clock.now += 1
    assert bench.qiniu.serving("www.example.com") == Serving(headers=(("set", "Expires", "0"),))
    assert outcome(bench.put("www.example.com/unsslize")) == (400, 400013)
    assert delete(bench, cert_id) == (200, 200)


def test_unsslize_may_need_an_expired_certificate(bench: Bench) -> None:
    """The console offers it for nothing else."""
    bench.https_domain()
    bench.switches.unsslize_valid = "refuse"
    assert bench.put("www.example.com/unsslize")[0] == 400
    bench.clock.now += 89 * 86_400
    assert bench.put("www.example.com/unsslize") == DONE


@pytest.mark.parametrize(("rule", "expected"), [
    ("400910", (400, 400910)), ("400013", (400, 400013)), ("publish", (200, 200))])
def test_a_change_to_the_same(bench: Bench, rule: Any, expected: tuple[int, int]) -> None:
    """It is refused in one of two ways, or published like any other."""
    bench.switches.noop = rule
    cert_id = bench.https_domain()
    assert outcome(bench.bind(cert_id)) == expected
    state = "processing" if rule == "publish" else "success"
    assert bench.domain()["operatingState"] == state


@pytest.mark.parametrize("key", ["certId", "certid", "certID", "CERTID"])
def test_json_keys_match_in_any_case(bench: Bench, key: str) -> None:
    """As Go does it; unknown keys and nulls are ignored."""
    bench.https_domain()
    body = {key: bench.uploaded(), "FORCEHTTPS": True, "unknown": 1, "tlsVersions": None}
    assert bench.put("www.example.com/httpsconf", **body) == DONE
    bench.clock.now += 1
    assert bench.qiniu.serving("www.example.com").force_https is True


@pytest.mark.parametrize(("field", "value", "kind", "go_type"), [
    ("tlsVersions", "TLSv1.2", "string", "[]fusion.TlsVersion"),
    ("forceHttps", "true", "string", "bool"),
    ("http2Enable", 1, "number", "bool"),
    ("certId", True, "bool", "string"),
])
def test_wrong_types_are_refused(bench: Bench, field: str, value: Any, kind: str,
                                 go_type: str) -> None:
    """With the words of Go's decoder."""
    bench.https_domain()
    body = {"certId": bench.uploaded(), field: value}
    assert bench.put("www.example.com/httpsconf", **body) == (400, {
        "code": 400000, "error": f"json: cannot unmarshal {kind} into Go struct field "
                                 f"UpdateHttpsConfArgs.{field} of type {go_type}"})


@pytest.mark.parametrize(("rule", "kept"), [("false", False), ("preserve", True)])
def test_omitted_booleans(bench: Bench, rule: Any, kept: bool) -> None:
    """They are false, or stay as they are."""
    bench.switches.omitted_bool = rule
    bench.https_domain(force_https=True)
    bench.put("www.example.com/httpsconf", certId=bench.uploaded())
    bench.clock.now += 1
    serving = bench.qiniu.serving("www.example.com")
    assert (serving.force_https, serving.http2) == (kept, kept)


@pytest.mark.parametrize("body", ['{"code":200}', "{}", ""])
def test_bodies_of_success(bench: Bench, body: Any) -> None:
    """Changes and deletions answer with a code, with nothing in braces, or with nothing."""
    bench.switches.success_put = body
    bench.qiniu.add_domain("www.example.com")
    cert_id, spare = bench.uploaded(), bench.uploaded()
    for request in (
            bench.request("PUT", API, "/domain/www.example.com/sslize", {"certId": cert_id}),
            bench.request("DELETE", FUSION, f"/sslcert/{spare}")):
        answer = bench.qiniu.handle(request)
        assert (answer.status, answer.body) == (200, body.encode())


# Publications


def test_a_publication_takes_its_time(bench: Bench) -> None:
    """The state changes at once, what is served and shown at the end."""
    bench.switches.publish_seconds = 300
    bench.qiniu.add_domain("www.example.com")
    leaf = bench.leaf()
    cert_id = bench.upload(leaf)[1]["certID"]
    assert bench.put("www.example.com/sslize", certId=cert_id, http2Enable=True) == DONE
    domain = bench.domain()
    assert (domain["operatingState"], domain["operationType"], domain["protocol"],
            domain["https"]["certId"]) == ("processing", "sslize", "http", "")
    assert outcome(bench.bind(cert_id)) == (400, 400030)
    bench.clock.now += 299
    assert bench.qiniu.serving("www.example.com") == Serving(state="processing")
    bench.clock.now += 1
    assert bench.qiniu.serving("www.example.com") == Serving(
        "https", cert_id, leaf.fingerprint, http2=True)
    domain = bench.domain()
    assert (domain["operatingState"], domain["protocol"], domain["https"]["certId"]) == (
        "success", "https", cert_id)


def test_the_new_certificate_may_show_at_once(bench: Bench) -> None:
    """Then only the state tells that the edge still serves the old one."""
    bench.switches.visibility = "at once"
    old, new = bench.https_domain(), bench.uploaded()
    bench.bind(new)
    assert bench.domain()["https"]["certId"] == new
    assert bench.listed(f"certId={new}") == ["www.example.com"]
    assert bench.qiniu.serving("www.example.com").cert_id == old


def test_a_failed_publication_keeps_the_old_certificate(bench: Bench) -> None:
    """It is accepted like any other, and fails as often as it was told to."""
    old, new = bench.https_domain(), bench.uploaded()
    bench.qiniu.fail_next_publication("www.example.com", times=2)
    for _ in range(2):
        assert bench.bind(new) == DONE
        bench.clock.now += 1
        domain = bench.domain()
        assert (domain["operatingState"], domain["operatingStateDesc"]) == (
            "failed", "verify https crt fail")
        assert (domain["https"]["certId"], bench.qiniu.serving("www.example.com").cert_id) == (
            old, old)
    assert bench.bind(new) == DONE
    bench.clock.now += 1
    assert (bench.domain()["operatingStateDesc"],
            bench.qiniu.serving("www.example.com").cert_id) == ("", new)


def test_a_stuck_publication_ends_when_released(bench: Bench) -> None:
    """And not a moment earlier."""
    bench.https_domain()
    new = bench.uploaded()
    bench.qiniu.stick("www.example.com")
    bench.bind(new)
    bench.clock.now += 86_400
    assert bench.domain()["operatingState"] == "processing"
    bench.qiniu.unstick("www.example.com")
    assert bench.qiniu.serving("www.example.com").cert_id == new
    assert bench.domain()["modifyAt"].startswith("2026-02-14T20:00:00.000")


def test_one_of_several_publications_may_hang(bench: Bench) -> None:
    """For as long as the switch names the domain; the others end in time."""
    for name in ("www.example.com", "img.example.com"):
        bench.https_domain(name)
    bench.switches.stuck = frozenset({"www.example.com"})
    wildcard = bench.uploaded("*.example.com")
    assert (bench.bind(wildcard), bench.bind(wildcard, "img.example.com")) == (DONE, DONE)
    bench.clock.now += 7 * 86_400
    assert [bench.domain(name)["operatingState"] for name in (
        "www.example.com", "img.example.com")] == ["processing", "success"]
    assert outcome(bench.bind(wildcard)) == (400, 400030)
    bench.switches.stuck = frozenset()
    assert bench.qiniu.serving("www.example.com").cert_id == wildcard


@pytest.mark.parametrize("style", ["hidden", "shown"])
def test_tls_versions(bench: Bench, style: Any) -> None:
    """They are a list, kept if a change leaves them out, and shown if switched on."""
    bench.switches.tls_versions = style
    bench.https_domain()
    versions = ["TLSv1.2", "TLSv1.3"]
    bench.put("www.example.com/httpsconf", certId=bench.uploaded(), tlsVersions=versions)
    bench.clock.now += 1
    bench.bind(bench.uploaded())
    bench.clock.now += 1
    assert bench.qiniu.serving("www.example.com").tls_versions == tuple(versions)
    assert bench.domain()["https"].get("tlsVersions") == (versions if style == "shown" else None)


@pytest.mark.parametrize("omitted", ["kept", "default"])
def test_omitted_fields(bench: Bench, omitted: Any) -> None:
    """A setting that a change leaves out stays, or gets Qiniu's default."""
    bench.switches.newer_field, bench.switches.https_omitted = "shown", omitted
    bench.https_domain()
    bench.put("www.example.com/httpsconf", certId=bench.uploaded(), tlsVersions=["TLSv1.3"],
              ocspStapling=True)
    bench.clock.now += 1
    assert bench.domain()["https"]["ocspStapling"] is True
    bench.bind(bench.uploaded())
    bench.clock.now += 1
    serving = bench.qiniu.serving("www.example.com")
    assert (serving.tls_versions, serving.ocsp) == (
        (("TLSv1.3",), True) if omitted == "kept" else ((), False))


def test_refused_fields(bench: Bench) -> None:
    """A field may be refused, and one that Qiniu does not know; elements must be names."""
    bench.https_domain()
    cert_id = bench.uploaded()
    assert outcome(bench.put("www.example.com/httpsconf", certId=cert_id, tlsVersions=[2])) == (
        400, 400000)
    bench.switches.tls_field = "400"
    assert outcome(bench.put("www.example.com/httpsconf", certId=cert_id, tlsVersions=["a"])) == (
        400, 400000)
    bench.switches.unknown_fields, bench.switches.newer_field = "400", "read only"
    assert bench.domain()["https"]["ocspStapling"] is False
    status, answer = bench.put("www.example.com/httpsconf", certId=cert_id, ocspStapling=True)
    assert (status, answer["error"]) == (400, 'json: unknown field "ocspStapling"')
    bench.switches.unknown_fields = "ignore"
    assert bench.put("www.example.com/httpsconf", certId=cert_id, ocspStapling=True) == DONE


@pytest.mark.parametrize("rule", ["moves", "frozen"])
def test_modify_at(bench: Bench, rule: Any) -> None:
    """It moves when a change begins and when it ends, unless it never does."""
    bench.switches.modify_at = rule
    bench.https_domain()
    seen = [bench.domain()["modifyAt"]]
    bench.clock.now += 60
    bench.bind(bench.uploaded())
    for _ in range(2):
        seen.append(bench.domain()["modifyAt"])
        bench.clock.now += 60
    bench.qiniu.change_domain("www.example.com", http2=False)
    seen.append(bench.domain()["modifyAt"])
    assert len(set(seen)) == (4 if rule == "moves" else 1)


@pytest.mark.parametrize("name", ["modify_https_conf", "modify_https_crt"])
def test_operation_of_a_pure_certificate_change(bench: Bench, name: Any) -> None:
    """It may have a name of its own; a change of anything else has not."""
    bench.switches.certificate_operation = name
    bench.https_domain()
    bench.bind(bench.uploaded())
    assert bench.domain()["operationType"] == name
    bench.clock.now += 1
    bench.put("www.example.com/httpsconf", certId=bench.uploaded(), forceHttps=True)
    assert bench.domain()["operationType"] == "modify_https_conf"


def test_changes_in_the_console(bench: Bench) -> None:
    """They happen at once, or are published like ours."""
    old = bench.https_domain()
    new = bench.uploaded()
    bench.qiniu.change_domain("www.example.com", cert_id=new, processing=60,
                              operation="modify_https_conf")
    assert outcome(bench.bind(old)) == (400, 400030)
    bench.clock.now += 60
    [fingerprint] = [c.fingerprint for c in bench.qiniu.certificates() if c.cert_id == new]
    serving = bench.qiniu.serving("www.example.com")
    assert (serving.cert_id, serving.fingerprint, serving.state) == (new, fingerprint, "success")
    bench.qiniu.change_domain("www.example.com", state="frozen", freeze_type="illegal")
    assert outcome(bench.bind(old)) == (500, 500923)
    bench.qiniu.remove_domain("www.example.com")
    assert outcome(bench.bind(old)) == (612, 612)
    with pytest.raises(KeyError):
        bench.qiniu.serving("www.example.com")


def test_of_concurrent_changes_one_is_accepted(bench: Bench) -> None:
    """The others find the domain processing."""
    bench.https_domain()
    ids = [bench.uploaded() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = [outcome(answer) for answer in pool.map(bench.bind, ids)]
    assert sorted(answers) == [(200, 200)] + [(400, 400030)] * 7


# Response headers


def test_response_headers_are_replaced(bench: Bench) -> None:
    """The list that is sent is the whole list; the certificate stays."""
    cert_id = bench.https_domain(headers=[("set", "Expires", "0")])
    controls = [{"op": "set", "key": "Strict-Transport-Security", "value": "max-age=1"},
                {"op": "del", "key": "Cache-Control", "value": ""}]
    assert bench.put("www.example.com/respheader", responseHeaderControls=controls) == DONE
    assert bench.domain()["operationType"] == "update_resp_header"
    bench.clock.now += 1
    assert bench.domain()["responseHeaderControls"] == controls
    serving = bench.qiniu.serving("www.example.com")
    assert (serving.cert_id, serving.headers) == (cert_id, (
        ("set", "Strict-Transport-Security", "max-age=1"), ("del", "Cache-Control", "")))


@pytest.mark.parametrize("entry", [
    "Expires: 0", {"op": "add", "key": "Expires", "value": "0"}, {"op": "set", "key": "Expires"},
    {"op": "set", "value": "0"}])
def test_bad_response_headers_are_refused(bench: Bench, entry: Any) -> None:
    """Operation, key and value are needed, and ``add`` is none."""
    bench.https_domain()
    answer = bench.put("www.example.com/respheader", responseHeaderControls=[entry])
    assert outcome(answer) == (400, 400000)


def test_unusual_response_headers_can_be_refused(bench: Bench) -> None:
    """Only those that the console offers are sure to be accepted."""
    bench.https_domain()
    bench.switches.respheader_hsts = "400"
    controls = [{"op": "set", "key": "Access-Control-Allow-Origin", "value": "*"},
                {"op": "set", "key": "Strict-Transport-Security", "value": "max-age=1"}]
    answer = bench.put("www.example.com/respheader", responseHeaderControls=controls)
    assert outcome(answer) == (400, 400000)
    assert bench.put("www.example.com/respheader", responseHeaderControls=controls[:1]) == DONE


# Kodo


def storage_bind(bench: Bench, cert_id: str, name: str = "src.example.com", *,
                 method: str = "POST", action: str = "bind", scheme: str = "",
                 account: str = ACCESS_KEY) -> tuple[int, Any]:
    """The answer to a bind of a storage domain."""
    return bench.ask(method, API, f"/cert/{action}", {"certid": cert_id, "domain": name},
                     account=account, scheme=scheme)


@pytest.fixture
def storage(bench: Bench) -> Bench:
    """An account with a bucket that has a source domain and a CDN domain."""
    bench.qiniu.add_bucket("assets")
    bench.qiniu.add_bucket("theirs", STRANGER)
    bench.qiniu.add_source_domain("src.example.com", "assets", freeze_types=("ICP_EXPIRED",))
    bench.qiniu.add_source_domain("plain.example.com", "assets")
    bench.qiniu.add_source_domain("theirs.example.com", "theirs")
    bench.qiniu.add_domain("cdn.example.com", bucket="assets")
    return bench


def test_buckets_and_their_domains(storage: Bench) -> None:
    """One list has all domains of a bucket, another the source domains alone."""
    assert storage.ask("GET", UC, "/buckets") == (200, ["assets"])
    assert storage.ask("GET", UC, "/v2/domains?tbl=assets") == (
        200, ["cdn.example.com", "src.example.com", "plain.example.com"])
    source, plain = storage.ask("GET", UC, "/domain?bucket=assets")[1]
    assert (source["domain"], source["bucket"], source["freeze_types"]) == (
        "src.example.com", "assets", ["ICP_EXPIRED"])
    assert "freeze_types" not in plain
    for target in ("/domain?bucket=none", "/domain", "/v2/domains?tbl=theirs"):
        assert storage.ask("GET", UC, target) == (631, {"error": "no such bucket"})
    status, body = storage.ask("GET", UC, "/buckets?apiVersion=v4")
    assert (status, body["error"].partition(":")[0]) == (400, "the sandbox's own guard")


def test_one_list_tells_the_kinds_of_domains_apart(storage: Bench) -> None:
    """The one that Qiniu's own tools use: 0 is a CDN domain, 1 a source domain."""
    entries = storage.ask("GET", UC, "/v3/domains?tbl=assets")[1]
    assert [(entry["domain"], entry["domaintype"], entry["freeze_types"]) for entry in entries] == [
        ("cdn.example.com", 0, []), ("src.example.com", 1, ["ICP_EXPIRED"]),
        ("plain.example.com", 1, [])]
    assert {key for entry in entries for key in entry} == {
        "domain", "tbl", "uid", "domaintype", "apiscope", "freeze_types", "ctime", "utime"}
    assert storage.ask("GET", UC, "/v3/domains?tbl=theirs") == (631, {"error": "no such bucket"})


@pytest.mark.parametrize("target", ["/buckets", "/domain?bucket=assets", "/v2/domains?tbl=assets",
                                    "/v3/domains?tbl=assets"])
def test_listings_of_storage_go_by_get_and_by_post(storage: Bench, target: str) -> None:
    """The official SDKs send the one or the other; nothing else will do."""
    answers = [storage.ask(method, UC, target) for method in ("GET", "POST")]
    assert answers[0] == answers[1]
    assert (answers[0][0], bool(answers[0][1])) == (200, True)
    assert storage.ask("PUT", UC, target)[0] == 404


@pytest.mark.parametrize(("rule", "statuses"), [
    ("all", [200, 200, 200]), ("no /domain", [404, 200, 200]), ("no /v3/domains", [200, 404, 200])])
def test_listings_of_source_domains_may_be_missing(storage: Bench, rule: Any,
                                                   statuses: list[int]) -> None:
    """Either of them, also for a bucket that does not exist."""
    assert storage.switches.source_listings == "all"
    storage.switches.source_listings = rule
    assert [storage.ask("GET", UC, target)[0] for target in (
        "/domain?bucket=assets", "/v3/domains?tbl=assets", "/v2/domains?tbl=assets")] == statuses
    assert storage.ask("GET", UC, "/domain?bucket=none")[0] == (
        404 if rule == "no /domain" else 631)


def test_source_domains_are_unknown_to_the_cdn(storage: Bench) -> None:
    """Each service knows its own domains."""
    assert outcome(storage.ask("GET", API, "/domain/src.example.com")) == (404, 404001)
    assert outcome(storage.bind(storage.uploaded(), "src.example.com")) == (612, 612)


def test_storage_binds_are_checked(storage: Bench) -> None:
    """A CDN domain is of the wrong kind; the rest must exist, be own and fit."""
    cert_id = storage.uploaded("src.example.com")
    theirs = storage.qiniu.add_certificate(
        storage.leaf("src.example.com").fullchain_pem, name="x", account=STRANGER)
    answers = [
        storage_bind(storage, cert_id, "cdn.example.com"),
        storage_bind(storage, cert_id, "nowhere.example.com"),
        storage_bind(storage, cert_id, "theirs.example.com"),
        storage_bind(storage, cert_id, "plain.example.com"),
        storage_bind(storage, NO_SUCH_ID),
        storage_bind(storage, theirs),
        storage_bind(storage, cert_id, action="unbind"),
    ]
    assert answers == [
        (403, {"error": "domaintype is not allowed"}), (400, {"error": "invalid domain"}),
        (400, {"error": "invalid domain"}), (400, {"error": "invalid domain"}),
        (400, {"error": "invalid id"}), (400, {"error": "invalid id"}),
        (400, {"error": "invalid id"})]
    assert storage.ask("GET", API, "/cert/bindings") == (200, [])


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_storage_binds_take_effect(storage: Bench, method: str) -> None:
    """At once, over an earlier one, and until they are undone."""
    leaf = storage.leaf("*.example.com")
    first, second = storage.uploaded("src.example.com"), storage.upload(leaf)[1]["certID"]
    for cert_id in (first, second):
        assert storage_bind(storage, cert_id, method=method) == DONE
    [binding] = storage.ask("GET", API, "/cert/bindings")[1]
    assert (binding["certid"], binding["domain"], binding["name"]) == (
        second, "src.example.com", "certbot-www")
    assert storage.qiniu.serving("src.example.com") == Serving(
        "https", second, leaf.fingerprint)
    assert delete(storage, second) == (400, 400911)
    assert storage_bind(storage, second, action="unbind") == DONE
    assert (delete(storage, second), storage.ask("GET", API, "/cert/bindings")) == (
        (200, 200), (200, []))
    assert storage.qiniu.serving("src.example.com") == Serving()


PAIRS = [(method, scheme) for method in ("POST", "PUT", "GET") for scheme in ("QBox", "Qiniu")]
CALLS = ("bind", "unbind", "bindings")
EITHER = ["POST QBox", "POST Qiniu", "PUT QBox", "PUT Qiniu"]
TAKEN: dict[str, dict[str, list[str]]] = {
    "proven": {"bind": ["POST QBox", "PUT Qiniu"], "unbind": ["POST QBox"],
               "bindings": ["GET QBox"]},
    "QBox": {"bind": ["POST QBox"], "unbind": ["POST QBox"], "bindings": ["GET QBox"]},
    "PUT and Qiniu": {"bind": ["PUT Qiniu"], "unbind": ["PUT Qiniu"], "bindings": ["GET Qiniu"]},
    "any": {"bind": EITHER, "unbind": EITHER, "bindings": ["GET QBox", "GET Qiniu"]},
    "none": {"bind": [], "unbind": [], "bindings": []},
}


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize("rule", TAKEN)
def test_methods_and_schemes_of_storage_go_in_pairs(storage: Bench, rule: Any,
                                                    action: str) -> None:
    """The pairs that clients are known to use; each reading has its own, and refuses all else."""
    assert storage.switches.cert_pairs == "proven"
    storage.switches.cert_pairs = rule
    cert_id = storage.uploaded("src.example.com")
    taken = []
    for method, scheme in PAIRS:
        storage.qiniu.add_source_domain("src.example.com", "assets",
                                        cert_id if action == "unbind" else "")
        answer = storage_bind(storage, cert_id, method=method, action=action, scheme=scheme)
        if answer[0] == 200:
            taken.append(f"{method} {scheme}")
        else:
            assert answer == (401, {"error": "bad token"})
    assert taken == TAKEN[rule][action]


@pytest.mark.parametrize(("rule", "answer"), [
    ("401", (401, {"error": "bad token"})), ("404", (404, {"error": "not found"})),
    ("405", (405, {"error": "method not allowed"}))])
def test_a_method_that_storage_does_not_take(storage: Bench, rule: Any, answer: Any) -> None:
    """It is refused in one of three ways; the wrong scheme for a method that it takes is 401."""
    assert storage.switches.cert_method == "401"
    storage.switches.cert_method = rule
    storage.switches.cert_pairs = "PUT and Qiniu"
    assert storage_bind(storage, "x", scheme="QBox") == answer
    assert storage_bind(storage, "x", scheme="Qiniu") == answer
    assert storage.ask("GET", API, "/cert/nothing") == answer
    assert storage_bind(storage, "x", method="PUT", scheme="QBox") == (
        401, {"error": "bad token"})


def test_unbinding_storage_can_be_refused(storage: Bench) -> None:
    """Nobody outside of the console is known to have done it."""
    cert_id = storage.uploaded("src.example.com")
    assert storage_bind(storage, cert_id) == DONE
    storage.switches.unbind = "401"
    assert storage_bind(storage, cert_id, action="unbind") == (401, {"error": "bad token"})
    assert storage.qiniu.serving("src.example.com").cert_id == cert_id
    storage.switches.unbind = "accept"
    assert storage_bind(storage, cert_id, action="unbind") == DONE


def test_sub_users_may_not_bind_storage(storage: Bench) -> None:
    """They may do everything else, or that too."""
    assert storage.ask("GET", FUSION, "/sslcert", account=SUB_USER)[0] == 200
    assert storage_bind(storage, "x", account=SUB_USER) == (401, {"error": "bad token"})
    assert storage.ask("GET", API, "/cert/bindings", account=SUB_USER)[0] == 401
    storage.switches.iam_bind = "accept"
    assert storage.ask("GET", API, "/cert/bindings", account=SUB_USER) == (200, [])


# Pili

HUB = "/v2/hubs/live/domains"


@pytest.fixture
def live(bench: Bench) -> Bench:
    """An account with a hub that has a domain."""
    bench.qiniu.add_hub("live")
    bench.qiniu.add_hub("other", STRANGER)
    bench.qiniu.add_live_domain("live", "play.example.com")
    bench.qiniu.add_live_domain("other", "their.example.com")
    return bench


def live_bind(bench: Bench, cert_name: str, target: str = f"{HUB}/play.example.com") -> int:
    """The status of the answer to a bind of a live domain."""
    return bench.ask("POST", PILI, f"{target}/cert", {"certName": cert_name})[0]


def test_hubs_and_their_domains(live: Bench) -> None:
    """They show their certificate by name."""
    live.upload(live.leaf("hls.example.com"), name="hls")
    live.qiniu.add_live_domain("live", "hls.example.com", "liveHdl", "hls")
    assert live.ask("GET", PILI, "/v2/hubs") == (200, {"items": [{"name": "live"}]})
    domains = live.ask("GET", PILI, HUB)[1]["domains"]
    assert [(d["domain"], d["type"], d["certEnable"], d["certName"]) for d in domains] == [
        ("play.example.com", "liveHls", False, ""), ("hls.example.com", "liveHdl", True, "hls")]
    assert live.ask("GET", PILI, f"{HUB}/play.example.com")[1]["disable"] is False


def test_live_binds_are_checked(live: Bench) -> None:
    """Hub, domain and certificate must exist, be own and fit."""
    live.upload(live.leaf("play.example.com"), name="mine")
    live.upload(live.leaf("www.example.com"), name="unfit")
    assert live_bind(live, "mine", "/v2/hubs/other/domains/their.example.com") == 631
    assert live_bind(live, "mine", "/v2/hubs/none/domains/play.example.com") == 631
    assert live_bind(live, "mine", f"{HUB}/their.example.com") == 612
    assert live_bind(live, "none") == 400
    assert live_bind(live, "unfit") == 400
    assert live.qiniu.serving("play.example.com") == Serving()


def test_live_binds_are_by_name_or_by_id(live: Bench) -> None:
    """The documentation says the one and shows the other; the answer is empty."""
    leaf = live.leaf("play.example.com")
    cert_id = live.upload(leaf, name="mine")[1]["certID"]
    assert live_bind(live, cert_id) == 400
    assert live.ask("POST", PILI, f"{HUB}/play.example.com/cert", {"certName": "mine"}) == (
        200, None)
    assert live.qiniu.serving("play.example.com") == Serving("https", cert_id, leaf.fingerprint)
    live.switches.pili_by = "id"
    assert (live_bind(live, "mine"), live_bind(live, cert_id)) == (400, 200)


def test_a_name_that_two_certificates_bear(live: Bench) -> None:
    """It means the newest of them, or nothing."""
    leaf = live.leaf("play.example.com")
    newest = [live.upload(leaf, name="mine")[1]["certID"] for _ in range(2)][-1]
    live.upload(leaf, name="unique")
    assert live_bind(live, "mine") == 200
    assert live.qiniu.serving("play.example.com").cert_id == newest
    live.switches.pili_duplicate_names = "refuse"
    assert (live_bind(live, "mine"), live_bind(live, "unique")) == (400, 200)


def test_deletion_can_break_a_live_domain(live: Bench) -> None:
    """Unless it is refused, the domain still names the certificate and cannot serve it."""
    cert_id = live.upload(live.leaf("play.example.com"), name="mine")[1]["certID"]
    spare = live.uploaded()
    live_bind(live, "mine")
    live.switches.pili_delete_allowed = False
    assert delete(live, spare) == (200, 200)
    assert delete(live, cert_id) == (400, 400611)
    live.switches.pili_delete_allowed = True
    assert delete(live, cert_id) == (200, 200)
    assert live.ask("GET", PILI, f"{HUB}/play.example.com")[1]["certName"] == "mine"
    assert live.qiniu.serving("play.example.com").fingerprint == ""
