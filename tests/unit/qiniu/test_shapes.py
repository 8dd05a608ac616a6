"""Our requests next to those of clients that work against the live service.

Facts alone, read in the clients' sources at the version or commit that is named: method, host,
path, signature, and the fields of body and query. ``<>`` stands for a name or an id in a path.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Certificate
from certbot_qiniu.qiniu import transport
from certbot_qiniu.qiniu.client import QiniuClient
from tests.sandbox.wire import Request, Response
from tests.unit.qiniu.script import CERT_ID, NAME, Scripted, domain_json, ok

FUSION, API = "fusion.qiniuapi.com", "api.qiniu.com"
UC, PILI = "uc.qiniuapi.com", "pili.qiniuapi.com"

ACME_SH = "acmesh-official/acme.sh 06d9ca6"
ALLINSSL = "allinssl/allinssl 1334674"
AUTORENEW = "zhangyi202402-alt/qiniu-cert-autorenew 4d38900"
CERTD = "certd/certd plugin-lib 1.37.1"
CERTIMATE = "certimate-go/certimate 1ddc1ef"
CHATQINIU = "chatqiniu 0.2.3"
GO_SDK = "qiniu/go-sdk f6853ce"
PYTHON_SDK = "qiniu 7.18.0"
XEN0N = "xen0n/qiniu-cert-refresher 0fae943"


class Shape(NamedTuple):
    """A request without its values; *fields* are those of the JSON body, else of the query."""

    method: str
    host: str
    path: str
    scheme: str
    fields: frozenset[str] = frozenset()


def shape(line: str, *fields: str) -> Shape:
    """The shape of ``METHOD host/path scheme``."""
    method, url, scheme = line.split()
    host, _, path = url.partition("/")
    return Shape(method, host, f"/{path}", scheme, frozenset(fields))


HTTPS = ("certId", "forceHttps", "http2Enable")

SEEN: Mapping[Shape, tuple[str, ...]] = {
    shape(f"POST {FUSION}/sslcert QBox", "name", "pri", "ca"): (CHATQINIU,),
    shape(f"POST {FUSION}/sslcert QBox", "name", "pri", "ca", "commonName"): (AUTORENEW,),
    shape(f"POST {API}/sslcert QBox", "name", "common_name", "pri", "ca"): (
        ACME_SH, CERTD, PYTHON_SDK, XEN0N),
    shape(f"POST {API}/sslcert Qiniu", "name", "common_name", "pri", "ca"): (CERTIMATE,),
    shape(f"POST {API}/sslcert QBox", "pri", "ca"): (ALLINSSL,),
    shape(f"GET {FUSION}/sslcert QBox", "limit"): (CHATQINIU,),
    shape(f"GET {FUSION}/sslcert QBox", "limit", "marker"): (CHATQINIU,),
    shape(f"DELETE {FUSION}/sslcert/<> QBox"): (AUTORENEW, CHATQINIU),
    shape(f"GET {API}/domain Qiniu", "limit"): (CERTIMATE,),
    shape(f"GET {API}/domain Qiniu", "limit", "marker"): (CERTIMATE,),
    shape(f"GET {API}/domain QBox", "certid"): (XEN0N,),
    shape(f"GET {API}/domain/<> Qiniu"): (AUTORENEW, CERTIMATE),
    shape(f"GET {API}/domain/<> QBox"): (CERTD, CHATQINIU, PYTHON_SDK),
    shape(f"PUT {API}/domain/<>/sslize Qiniu", *HTTPS): (CERTIMATE,),
    shape(f"PUT {API}/domain/<>/httpsconf Qiniu", *HTTPS): (CERTIMATE,),
    shape(f"PUT {API}/domain/<>/sslize Qiniu", *HTTPS, "tlsVersions"): (AUTORENEW,),
    shape(f"PUT {API}/domain/<>/httpsconf Qiniu", *HTTPS, "tlsVersions"): (AUTORENEW,),
    shape(f"PUT {API}/domain/<>/httpsconf QBox", *HTTPS): (CHATQINIU,),
    shape(f"POST {API}/cert/bind QBox", "certid", "domain"): (ALLINSSL, CERTD),
    shape(f"PUT {API}/cert/bind Qiniu", "certid", "domain"): (CERTIMATE,),
    shape(f"GET {API}/cert/bindings QBox"): (CERTD,),
    shape(f"GET {UC}/buckets Qiniu"): (GO_SDK,),
    shape(f"GET {UC}/v3/domains Qiniu", "tbl"): (GO_SDK,),
    shape(f"GET {PILI}/v2/hubs Qiniu"): (GO_SDK,),
    shape(f"GET {PILI}/v2/hubs/<>/domains Qiniu"): (GO_SDK,),
    shape(f"POST {PILI}/v2/hubs/<>/domains/<>/cert Qiniu", "certName"): (GO_SDK,),
}
"""The requests of each client, including those that we do not send."""

EXCEPTIONS: Mapping[Shape, str] = {
    shape(f"POST {FUSION}/sslcert QBox", "name", "common_name", "pri", "ca"):
        "the body that four clients send to api, at the host that the documents want",
    shape(f"GET {API}/domain Qiniu", "limit", "certId"):
        "page 4246 writes certId; a client in use writes certid, and Go reads either",
    shape(f"GET {API}/domain Qiniu", "limit", "marker", "certId"): "its next page",
    shape(f"PUT {API}/domain/<>/respheader Qiniu", "responseHeaderControls"):
        "page 13364 alone: no client sets HSTS",
    shape(f"PUT {API}/domain/<>/unsslize Qiniu"): "page 4246 alone: no client goes back to http",
    shape(f"POST {API}/cert/unbind QBox", "certid", "domain"):
        "what the console calls, in the way that is proven for bind",
    shape(f"PUT {API}/cert/unbind Qiniu", "certid", "domain"):
        "what the console calls, in the other way that is proven for bind",
    shape(f"GET {API}/cert/bindings Qiniu"): "asked only where QBox was refused; changes nothing",
    shape(f"GET {UC}/domain Qiniu", "bucket"): "page 8338 alone; v3/domains is asked after it",
}
"""What no client was seen to send, and why we do."""

_PLACES = (r"^(/sslcert)/[^/]+$", r"^(/domain)/[^/]+(/\w+)?$", r"^(/v2/hubs)/[^/]+(/domains)$",
           r"^(/v2/hubs)/[^/]+(/domains)/[^/]+(/cert)$")


def shape_of(request: Request) -> Shape:
    """The shape of what was sent.

    :raises AssertionError: if the type of the content is not what the documents ask for.
    """
    # They ask for it on every call, those without a body included.
    assert request.header("Content-Type") == "application/json"
    path = request.path
    for place in _PLACES:
        path = re.sub(place, lambda found: "/<>".join(
            part for part in found.groups() if part) + "/<>" * (found.lastindex == 1), path)
    fields = json.loads(request.body) if request.body else dict(request.query)
    scheme = (request.header("Authorization") or "").partition(" ")[0]
    return Shape(request.method, request.host, path, scheme, frozenset(fields))


def answer(request: Request) -> Response:
    """A success of the kind that the call expects, with as many pages as it will read."""
    if "/cert/" in request.target and request.host == API:
        return Response(401, b'{"error":"bad token"}')  # so that each way is tried
    if request.target.startswith("/domain?bucket"):
        return Response(404, b"{}")
    marker = "" if "marker=" in request.target else "next"
    entry = {"certid": CERT_ID, "name": "n", "dnsnames": []}
    return ok({"/sslcert": {"certID": CERT_ID, "certs": [entry], "marker": marker},
               "/domain": {"domains": [domain_json()], "marker": marker},
               f"/domain/{NAME}": domain_json(responseHeaderControls=[]),
               "/v2/hubs": {"items": []},
               "/buckets": [], "/v3/domains": []}.get(request.path, {"code": 200}))


CALLS: Mapping[str, Callable[[QiniuClient, Certificate], Any]] = {
    "list_certificates": lambda client, _: client.list_certificates(),
    "upload_certificate": lambda client, certificate: client.upload_certificate(certificate),
    "delete_certificate": lambda client, _: client.delete_certificate(CERT_ID),
    "list_domains": lambda client, _: (client.list_domains(), client.list_domains(CERT_ID)),
    "get_domain": lambda client, _: client.get_domain(NAME),
    "bind_certificate": lambda client, _: [
        client.bind_certificate(NAME, CERT_ID, force_https=True, http2=True, enable=enable)
        for enable in (True, False)],
    "unbind_certificate": lambda client, _: client.unbind_certificate(NAME),
    "get_response_headers": lambda client, _: client.get_response_headers(NAME),
    "set_hsts": lambda client, _: client.set_hsts(NAME, on=True),
    "set_response_headers": lambda client, _: client.set_response_headers(NAME, []),
    "list_buckets": lambda client, _: client.list_buckets(),
    "list_source_domains": lambda client, _: client.list_source_domains("bucket"),
    "list_bindings": lambda client, _: client.list_bindings(),
    "bind_source_domain": lambda client, _: client.bind_source_domain(NAME, CERT_ID),
    "unbind_source_domain": lambda client, _: client.unbind_source_domain(NAME, CERT_ID),
    "list_hubs": lambda client, _: client.list_hubs(),
    "list_live_domains": lambda client, _: client.list_live_domains("hub"),
    "bind_live_domain": lambda client, _: client.bind_live_domain("hub", NAME, "name"),
}


def sent(rig: Scripted, name: str, certificate: Certificate) -> set[Shape]:
    """The shapes of all that a method of the client sends."""
    rig.answers(answer)
    with contextlib.suppress(errors.ApiError):
        CALLS[name](rig.client, certificate)
    return {shape_of(exchange.request) for exchange in rig.board.history}


def test_every_call_is_here() -> None:
    """A new method of the client needs its place in the table."""
    methods = {name for name, value in vars(QiniuClient).items()
               if callable(value) and not name.startswith("_")}
    # doctor --explore looks with GET alone, on purpose also in ways that nobody uses.
    assert methods - {"look"} == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_shape(name: str, rig: Scripted, certificate: Certificate) -> None:
    """Each request is one that a working client sends, or an exception with its reason."""
    shapes = sent(rig, name, certificate)
    assert shapes
    assert not shapes - SEEN.keys() - EXCEPTIONS.keys()


def test_exceptions_are_needed(rig: Scripted, certificate: Certificate) -> None:
    """None is left that we do not send, or that somebody sends."""
    ours: set[Shape] = set()
    for name in CALLS:
        ours |= sent(rig, name, certificate)
    assert EXCEPTIONS.keys() <= ours
    assert not EXCEPTIONS.keys() & SEEN.keys()


@pytest.mark.parametrize("change", ["type", "scheme", "field", "host"])
def test_a_change_is_noticed(change: str, rig: Scripted, certificate: Certificate,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    """Another type of the content, signature, field or host fits no row."""
    if change == "type":
        monkeypatch.setitem(transport._HEADERS, "Content-Type", "text/plain")
        with pytest.raises(AssertionError):
            sent(rig, "get_domain", certificate)
        return
    if change == "scheme":
        monkeypatch.setitem(transport.SCHEMES, API, transport.QBOX)
    elif change == "host":
        monkeypatch.setattr("certbot_qiniu.qiniu.client.API", FUSION)
    else:
        monkeypatch.setattr(json, "dumps", lambda value, dump=json.dumps, **how: dump(
            {key.replace("forceHttps", "forceHTTPS"): item for key, item in value.items()}, **how))
    assert sent(rig, "bind_certificate", certificate) - SEEN.keys() - EXCEPTIONS.keys()
