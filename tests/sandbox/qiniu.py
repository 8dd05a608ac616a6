"""A strict emulator of Qiniu's API: certificates, CDN domains, Kodo and Pili bindings.

It is written from the documentation and from what the field reports, never from our client, so
that it catches the client's errors instead of sharing them.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, NoReturn
from urllib.parse import unquote

from cryptography import x509

from tests.sandbox import qiniu_certs as certs
from tests.sandbox.qiniu_auth import QBOX, QINIU, authenticate
from tests.sandbox.qiniu_certs import StoredCertificate
from tests.sandbox.qiniu_json import BOOL, STRING, Json, decode, first, limit, page
from tests.sandbox.qiniu_rules import CERT_PAIRS, Refusal, Switches, guard
from tests.sandbox.qiniu_store import (
    ACCESS_KEY,
    SECRET_KEY,
    Config,
    Domain,
    Header,
    LiveDomain,
    Serving,
    SourceDomain,
    Store,
)
from tests.sandbox.wire import Request, Response, json_response

__all__ = ["ACCESS_KEY", "SECRET_KEY", "Qiniu", "Serving", "StoredCertificate", "Switches"]

FUSION = "fusion.qiniuapi.com"
API = "api.qiniu.com"
UC = "uc.qiniuapi.com"
PILI = "pili.qiniuapi.com"

TOO_FREQUENT = "operation too frequent"

_ROUNDING = 1e-3
"""Of a call: seconds since the epoch are no exact numbers."""

_KINDS = {"normal", "wildcard", "pan", "test"}
_SOURCE_TYPES = {"domain", "ip", "qiniuBucket", "advanced"}
_DOMAIN_LIMIT = 1000
_CONSOLE_HEADERS = re.compile(
    r"content-(type|disposition|language)|cache-control|expires|access-control-(allow-(origin|"
    r"methods|headers|credentials)|expose-headers|max-age)", re.IGNORECASE)


@dataclass(frozen=True)
class _Call:
    """A request that *account* signed."""

    request: Request
    account: str
    now: float


def _has_room(taken: deque[float], rate: int, now: float, reading: str) -> bool:
    """Whether another call is within the rate; if so, it is noted.

    :param taken: when the last calls came, as far as they matter; of a bucket, when it is full.
    """
    if not rate:
        return False
    if reading in ("bucket", "drip"):
        full_at = max(taken.pop() if taken else now, now)
        holds = rate if reading == "bucket" else 1
        has_room = full_at - now <= (holds - 1 + _ROUNDING) / rate
        taken.append(full_at + has_room / rate)
        return has_room
    calls = [at for at in taken if (
        at >= math.floor(now) if reading == "calendar second" else at > now - 1)]
    taken.clear()
    taken.extend(calls)
    if len(taken) >= rate:
        return False
    taken.append(now)
    return True


class Qiniu(Store):
    """The four hosts of Qiniu that matter here, over one store.

    :param roots: PEM roots that an uploaded chain must lead to; None accepts any end.
    :ivar leaks: requests that carried a private key or a secret key where none belongs, which is
        a guard of ours.
    """

    hosts = (FUSION, API, UC, PILI)

    def __init__(self, *, clock: Callable[[], float] = time.time,
                 switches: Switches | None = None, accounts: Mapping[str, str] | None = None,
                 roots: Sequence[str] | None = None) -> None:
        super().__init__(clock=clock, switches=switches, accounts=accounts)
        self.leaks: list[str] = []
        self._roots = None if roots is None else [
            root for pem in roots for root in x509.load_pem_x509_certificates(pem.encode())]
        self._reqids = itertools.count(1)
        self._recent: dict[tuple[str, str], deque[float]] = {}
        self._routes: list[tuple[str, str, re.Pattern[str], Callable[..., Response]]] = [
            (host, method, re.compile(path), handler) for host, method, path, handler in (
                (FUSION, "POST", "/sslcert", self._upload),
                (FUSION, "GET", "/sslcert", self._list_certificates),
                (FUSION, "GET", "/sslcert/([^/]+)", self._get_certificate),
                (FUSION, "DELETE", "/sslcert/([^/]+)", self._delete_certificate),
                (API, "GET", "/domain", self._list_domains),
                (API, "GET", "/domain/([^/]+)", self._get_domain),
                (API, "PUT", "/domain/([^/]+)/sslize", self._sslize),
                (API, "PUT", "/domain/([^/]+)/httpsconf", self._httpsconf),
                (API, "PUT", "/domain/([^/]+)/unsslize", self._unsslize),
                (API, "PUT", "/domain/([^/]+)/respheader", self._respheader),
                *((API, method, f"/cert/{action}", handler) for method in ("POST", "PUT")
                  for action, handler in (("bind", self._bind), ("unbind", self._unbind))),
                (API, "GET", "/cert/bindings", self._bindings),
                # The official SDKs send the one or the other, so the host takes both.
                *((UC, method, path, handler) for method in ("GET", "POST")
                  for path, handler in (("/buckets", self._list_buckets),
                                        ("/domain", self._list_source_domains),
                                        ("/v2/domains", self._list_bucket_domains),
                                        ("/v3/domains", self._list_bucket_domains_by_kind))),
                (PILI, "GET", "/v2/hubs", self._list_hubs),
                (PILI, "GET", "/v2/hubs/([^/]+)/domains", self._list_live_domains),
                (PILI, "GET", "/v2/hubs/([^/]+)/domains/([^/]+)", self._get_live_domain),
                (PILI, "POST", "/v2/hubs/([^/]+)/domains/([^/]+)/cert", self._bind_live_domain),
            )]

    # Answering

    def handle(self, request: Request) -> Response:
        """Answer one request; every answer has an ``X-Reqid`` and a ``Date``."""
        with self._settled() as now:
            try:
                response = self._answer(request, now)
            except Refusal as refusal:
                response = self._refused(request, refusal)
            reqid = f"sandbox{next(self._reqids):09d}"
            return replace(response, headers={
                **response.headers, "X-Reqid": reqid, "Date": formatdate(now, usegmt=True)})

    def _answer(self, request: Request, now: float) -> Response:
        host = request.host.partition(":")[0].lower()
        path = unquote(request.path)
        serves_all = self.switches.lenient_auth and host == API and path.startswith("/sslcert")
        service = FUSION if serves_all else host
        self._guard_secrets(request, service)
        account = authenticate(request, self._accounts, self._schemes(host, path), self.switches,
                               now)
        self._check_rate(host, account, now)
        if host == API and path.startswith("/cert/"):
            self._check_pair(request, path)
        for route_service, method, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if match and (route_service, method) == (service, request.method):
                return handler(_Call(request, account, now), *match.groups())
        raise Refusal(404, "not found")

    def _refused(self, request: Request, refusal: Refusal) -> Response:
        body: Json = {"code": refusal.code, "error": refusal.text}
        host = request.host.partition(":")[0].lower()
        if host in (UC, PILI) or request.path.startswith("/cert/"):
            del body["code"]  # these services know no codes
            if host == UC and refusal.status == 401:
                body["error_code"] = "BadToken"
        headers = {}
        if refusal.text == TOO_FREQUENT and self.switches.retry_after is not None:
            headers["Retry-After"] = str(self.switches.retry_after)
        return json_response(refusal.status, body, **headers)

    def _schemes(self, host: str, path: str) -> tuple[str, ...]:
        either = (QBOX, QINIU)
        if host == API and path.startswith("/cert/"):
            return either
        if host in (FUSION, API) and self.switches.lenient_auth:
            return either
        return (QBOX,) if host == FUSION else (QINIU,)

    def _check_pair(self, request: Request, path: str) -> None:
        """Refuse a method or a scheme that a call below ``/cert/`` does not go with."""
        scheme = (request.header("Authorization") or "").partition(" ")[0]
        taken = CERT_PAIRS[self.switches.cert_pairs].get(path.removeprefix("/cert/"), ())
        if (request.method, scheme) in taken:
            return
        if request.method in {method for method, _ in taken}:
            raise Refusal(401, "bad token")
        raise Refusal(int(self.switches.cert_method), {
            "401": "bad token", "404": "not found", "405": "method not allowed",
        }[self.switches.cert_method])

    def _guard_secrets(self, request: Request, service: str) -> None:
        head = unquote(request.target) + repr(request.headers)
        body = request.body.decode("utf-8", "replace")
        is_upload = (request.method, service, request.path) == ("POST", FUSION, "/sslcert")
        if ("PRIVATE KEY" in (head if is_upload else head + body)
                or any(secret in head + body for secret in self._accounts.values())):
            self._refuse_leak(request)

    def _refuse_leak(self, request: Request) -> NoReturn:
        self.leaks.append(request.label)
        raise guard("a key where none belongs")

    def _check_rate(self, host: str, account: str, now: float) -> None:
        rate = {FUSION: self.switches.fusion_rate, API: self.switches.api_rate}.get(host)
        if not self.switches.enforce_rate or rate is None:
            return
        calls = self._recent.setdefault((host, account), deque())
        if not _has_room(calls, rate, now, self.switches.rate_reading):
            raise Refusal(int(self.switches.rate_limit_answer), TOO_FREQUENT)

    # Certificates

    def _upload(self, call: _Call) -> Response:
        switches = self.switches
        args = decode(call.request, "Certificate", dict.fromkeys(
            ("name", "common_name", "commonName", "pri", "ca"), STRING))
        common_name = args.get("common_name") or args.get("commonName") or ""
        name, key, fullchain = (args.get(field, "") for field in ("name", "pri", "ca"))
        if not (key and fullchain) or (switches.name_required and not name):
            raise Refusal(400000, "invalid input: pri and ca are required")
        if "PRIVATE KEY" in name + common_name + fullchain:
            self._refuse_leak(call.request)
        chain = certs.load_chain(fullchain)
        leaf = chain[0]
        certs.check_key(key, leaf, switches)
        certs.check_chain(chain, self._roots)
        certs.check_dates(leaf, switches.minimum_days, call.now)
        if switches.ec_refused == "400319" and certs.algorithm(leaf) == "ECDSA":
            raise Refusal(400319, "ECC certificate is not supported")
        if switches.no_common_name == "400348" and not certs.has_common_name(leaf):
            raise Refusal(400348, "无效证书通用名称")
        if (switches.common_name == "400326" and common_name
                and common_name not in certs.dns_names(leaf)):
            raise Refusal(400326, "common name does not match the certificate")
        own = self.certificates(call.account)
        if (switches.same_pem == "400400"
                and certs.fingerprint(leaf) in [certificate.fingerprint for certificate in own]):
            raise Refusal(400400, "certificate exists already")
        if switches.quota is not None and len(own) >= switches.quota:
            raise Refusal(400500, "certificate quota exceeded")
        cert_id = self._keep(leaf, call.now, name=name, account=call.account,
                             fullchain=fullchain, key=key, common_name=common_name)
        return self._told(_coded(switches.upload_code, {"certID": cert_id}))

    def _list_certificates(self, call: _Call) -> Response:
        switches = self.switches
        size = min(limit(call.request, switches.list_page_default), switches.list_page_cap)
        entries = {certificate.cert_id: self._certificate_entry(certificate)
                   for certificate in self.certificates(call.account)}
        marker, shown = page(call.request, "certificate", size, entries, switches)
        return self._told(_coded(
            switches.list_code, {"marker": marker, "certs": self._list(shown)}))

    def _get_certificate(self, call: _Call, cert_id: str) -> Response:
        certificate = self._owned(call.account, cert_id)
        return self._told({"code": 200, "cert": {
            **self._certificate_entry(certificate),
            "ca": certificate.fullchain, "pri": certificate.key}})

    def _delete_certificate(self, call: _Call, cert_id: str) -> Response:
        self._owned(call.account, cert_id)
        for domain in self._domains.values():
            wanted = domain.pending or domain.config
            replaced = (domain.config.cert_id
                        if self.switches.delete_in_use == "until published" else "")
            if cert_id in (wanted.cert_id, replaced):
                raise Refusal(400611, "certificate is bound to a CDN domain")
        if any(source.cert_id == cert_id for source in self._sources.values()):
            raise Refusal(400911, "certificate is bound to a storage domain")
        if (not self.switches.pili_delete_allowed
                and any(live.cert_id == cert_id for live in self._live.values())):
            raise Refusal(400611, "certificate is bound to a live domain")
        del self._certificates[cert_id]
        return self._done()

    def _certificate_entry(self, certificate: StoredCertificate) -> Json:
        return {
            "certid": certificate.cert_id, "name": certificate.name,
            "uid": self._uid(certificate.account), "common_name": certificate.common_name,
            "dnsnames": list(certificate.names), "create_time": certificate.created,
            "not_before": certificate.not_before, "not_after": certificate.not_after,
            "orderid": certificate.order_id, "child_order_id": "", "product_short_name": "",
            "product_type": "", "cert_type": "", "encrypt": certificate.algorithm,
            "encryptParameter": "", "enable": True, "auto_renew": False, "state": ""}

    # CDN domains

    def _list_domains(self, call: _Call) -> Response:
        size = limit(call.request, 10)
        if size > _DOMAIN_LIMIT:
            raise Refusal(400000, "invalid input: limit")
        is_wanted = self._domain_filter(call)
        listed = [self._lagging(domain, call.now) for domain in self._domains.values()]
        entries = {domain.name: domain for domain in listed if is_wanted(domain)}
        marker, shown = page(call.request, "domain", size, entries, self.switches)
        return self._told({"marker": marker, "domains": self._list(
            [self._domain_entry(domain) for domain in shown])})

    def _domain_filter(self, call: _Call) -> Callable[[Domain], bool]:
        kinds = {value for key, value in call.request.query if key == "types"}
        source_types = {value for key, value in call.request.query if key == "sourceTypes"}
        bucket = first(call.request, "sourceQiniuBucket")
        cert_id = "" if self.switches.ignore_cert_filter else first(call.request, "certId")
        if not (kinds <= _KINDS and source_types <= _SOURCE_TYPES):
            raise Refusal(400000, "invalid input: types")
        if bucket and source_types != {"qiniuBucket"}:
            raise Refusal(400000, "invalid input: sourceQiniuBucket")
        return lambda domain: (
            domain.account == call.account
            and domain.kind in (kinds or _KINDS)
            and _source_type(domain) in (source_types or _SOURCE_TYPES)
            and bucket in ("", domain.bucket)
            and cert_id in ("", self._shown(domain).cert_id))

    def _get_domain(self, call: _Call, name: str) -> Response:
        domain = self._domains.get(name)
        if domain is None or domain.account != call.account:
            raise Refusal(404001, "无此域名")
        shown = self._shown(domain)
        answer = {
            **self._domain_entry(domain), "registerNo": "", "configProcessRatio": 100,
            "httpsOPTime": _rfc3339(domain.modified), "range": {"enable": "on"},
            "source": {"sourceType": _source_type(domain), "sourceQiniuBucket": domain.bucket},
            "responseHeaderControls": self._list([{"op": op, "key": key, "value": value}
                                                  for op, key, value in shown.headers]),
            "https": {"certId": shown.cert_id, "forceHttps": shown.force_https,
                      "http2Enable": shown.http2, "freeCert": False}}
        if self.switches.tls_versions == "shown":
            answer["https"]["tlsVersions"] = self._list(list(shown.tls_versions))
        if self.switches.newer_field != "none":
            answer["https"]["ocspStapling"] = shown.ocsp
        if shown.protocol == "http":
            if self.switches.https_absent == "absent":
                del answer["https"]
            elif self.switches.https_absent == "null":
                answer["https"] = None
        return self._told(answer)

    def _domain_entry(self, domain: Domain) -> Json:
        return {
            "name": domain.name,
            "pareDomain": "." + domain.name.partition(".")[2] if domain.kind == "pan" else "",
            "type": domain.kind, "cname": f"{domain.name.lstrip('.')}.qiniudns.com",
            "testURLPath": "test.png", "protocol": self._shown(domain).protocol, "platform": "web",
            "product": domain.product, "geoCover": "china", "qiniuPrivate": False,
            "operationType": domain.operation, "operatingState": domain.state,
            "operatingStateDesc": domain.state_reason, "freezeType": domain.freeze_type,
            "createAt": _rfc3339(domain.created), "modifyAt": _rfc3339(domain.modified),
            "couldOperateBySelf": domain.operable, "uidIsFreezed": False, "oemMail": "",
            "tagList": None, "kvTagList": None, "ipTypes": 1, "operTaskId": "", "operTaskType": "",
            "operTaskErrCode": 0}

    def _shown(self, domain: Domain) -> Config:
        if self.switches.visibility == "at once" and domain.pending:
            return domain.pending
        return domain.config

    def _sslize(self, call: _Call, name: str) -> Response:
        domain = self._changeable(call, name)
        if domain.config.protocol == "https" and self.switches.sslize_on_https == "400013":
            raise Refusal(400013, "repeat operation")
        return self._change(call, domain, "sslize", self._https_config(call, domain))

    def _httpsconf(self, call: _Call, name: str) -> Response:
        domain = self._changeable(call, name, changes_certificate=True)
        if domain.config.protocol == "http" and self.switches.httpsconf_on_http == "400":
            raise Refusal(400000, "domain protocol is http")
        wanted = self._https_config(call, domain)
        operation = "modify_https_conf"
        if replace(domain.config, cert_id=wanted.cert_id,
                   fingerprint=wanted.fingerprint) == wanted:
            operation = self.switches.certificate_operation
        return self._change(call, domain, operation, wanted)

    def _unsslize(self, call: _Call, name: str) -> Response:
        domain = self._changeable(call, name)
        if domain.config.protocol == "http":
            raise Refusal(400013, "repeat operation")
        certificate = self._certificates.get(domain.config.cert_id)
        if (self.switches.unsslize_valid == "refuse"
                and certificate is not None and certificate.not_after > call.now):
            raise Refusal(400000, "certificate not expired, HTTPS cannot be downgraded")
        return self._change(call, domain, "unsslize", Config(headers=domain.config.headers))

    def _respheader(self, call: _Call, name: str) -> Response:
        domain = self._changeable(call, name)
        args = decode(call.request, "UpdateRespHeaderArgs", {
            "responseHeaderControls": (list, "[]fusion.ResponseHeaderControl")})
        headers = tuple(_header(entry) for entry in args.get("responseHeaderControls", ()))
        if self.switches.respheader_hsts == "400":
            for _op, key, _value in headers:
                if not _CONSOLE_HEADERS.fullmatch(key):
                    raise Refusal(400000, f"invalid response header {key}")
        return self._change(call, domain, "update_resp_header",
                            replace(domain.config, headers=headers))

    def _changeable(self, call: _Call, name: str, *,
                    changes_certificate: bool = False) -> Domain:
        domain = self._domains.get(name)
        if domain is None or domain.account != call.account:
            raise Refusal(612, "no such domain")
        if not domain.operable:
            raise Refusal(400407, "domain cannot be operated by yourself")
        if domain.state == "processing":
            raise Refusal(400030, "try to operate processing domain")
        if domain.state == "offlined":
            raise Refusal(400320, "domain is offline")
        if domain.state == "failed" and not (
                changes_certificate
                and domain.operation in ("modify_https_crt", "modify_https_conf")):
            raise Refusal(400066, "failed domain")
        if domain.state == "deleted":
            raise Refusal(500930, "try to operate deleted domain")
        if domain.state not in ("success", "failed"):
            raise Refusal(500923, "try to operate frozen domain")
        if domain.kind == "test":
            raise Refusal(400722, "domain not allowed to be operated")
        return domain

    def _https_config(self, call: _Call, domain: Domain) -> Config:
        switches, before = self.switches, domain.config
        newer = {"ocspStapling": BOOL} if switches.newer_field == "shown" else {}
        args = decode(call.request, "UpdateHttpsConfArgs", {
            "certId": STRING, "forceHttps": BOOL, "http2Enable": BOOL,
            "tlsVersions": (list, "[]fusion.TlsVersion"), **newer},
            strict=switches.unknown_fields == "400")
        if "tlsVersions" in args and switches.tls_field == "400":
            raise Refusal(400000, "invalid input: tlsVersions")
        if not all(isinstance(version, str) for version in args.get("tlsVersions", ())):
            raise Refusal(400000, "json: cannot unmarshal into Go struct field "
                                  "UpdateHttpsConfArgs.tlsVersions of type fusion.TlsVersion")
        certificate = self._owned(call.account, args.get("certId", ""))
        self._check_bindable(certificate, domain.name, call.now)
        preserve = switches.omitted_bool == "preserve"
        omitted = before if switches.https_omitted == "kept" else Config()
        return Config(
            "https", certificate.cert_id, certificate.fingerprint,
            args.get("forceHttps", preserve and before.force_https),
            args.get("http2Enable", preserve and before.http2), before.headers,
            tuple(args.get("tlsVersions", omitted.tls_versions)),
            args.get("ocspStapling", (before if switches.newer_field == "read only"
                                      else omitted).ocsp))

    def _check_bindable(self, certificate: StoredCertificate, domain: str, now: float) -> None:
        if not certs.covers(certificate.names, domain):
            raise Refusal(400326, "certificate does not match the domain")
        if certificate.not_after <= now:
            raise Refusal(400329, "certificate has expired")
        if self.switches.ec_refused == "400514" and certificate.algorithm == "ECDSA":
            raise Refusal(400514, "the line of the domain does not support ECC")

    def _change(self, call: _Call, domain: Domain, operation: str, wanted: Config) -> Response:
        is_noop = domain.state == "success" and wanted == domain.config
        if is_noop and self.switches.noop != "publish":
            raise Refusal(int(self.switches.noop), "configuration unchanged")
        self._publish(domain, operation, wanted, call.now)
        return self._done()

    # Kodo

    def _list_buckets(self, call: _Call) -> Response:
        if call.request.query:
            raise guard("only the plain form of /buckets is emulated")
        return json_response(200, self._list([
            bucket for bucket, account in self._buckets.items() if account == call.account]))

    def _list_source_domains(self, call: _Call) -> Response:
        if self.switches.source_listings == "no /domain":
            raise Refusal(404, "not found")
        bucket = self._own_bucket(call, "bucket")
        return json_response(200, self._list([
            {"domain": source.name, "bucket": bucket, "create_time": int(source.created),
             "update_time": int(source.created),
             **({"freeze_types": source.freeze_types} if source.freeze_types else {})}
            for source in self._sources.values() if source.bucket == bucket]))

    def _list_bucket_domains(self, call: _Call) -> Response:
        return json_response(200, self._list([
            holder.name for holder in self._holders(self._own_bucket(call, "tbl"))]))

    def _list_bucket_domains_by_kind(self, call: _Call) -> Response:
        if self.switches.source_listings == "no /v3/domains":
            raise Refusal(404, "not found")
        bucket = self._own_bucket(call, "tbl")
        return json_response(200, self._list([
            {"domain": holder.name, "tbl": bucket, "uid": self._uid(call.account),
             "domaintype": int(isinstance(holder, SourceDomain)), "apiscope": 0,
             "freeze_types": self._list(
                 list(holder.freeze_types) if isinstance(holder, SourceDomain) else []),
             "ctime": int(holder.created), "utime": int(holder.created)}
            for holder in self._holders(bucket)]))

    def _holders(self, bucket: str) -> list[Domain | SourceDomain]:
        """All domains of a bucket."""
        holders: list[Domain | SourceDomain] = [*self._domains.values(), *self._sources.values()]
        return [holder for holder in holders if holder.bucket == bucket]

    def _own_bucket(self, call: _Call, parameter: str) -> str:
        bucket = first(call.request, parameter)
        if self._buckets.get(bucket) != call.account:
            raise Refusal(631, "no such bucket")
        return bucket

    def _bind(self, call: _Call) -> Response:
        cert_id, source = self._bind_args(call)
        try:
            certificate = self._owned(call.account, cert_id)
            self._check_bindable(certificate, source.name, call.now)
        except Refusal as refusal:  # this service has words of its own, and no codes
            raise Refusal(400, "invalid id" if refusal.code in (400401, 404908)
                          else "invalid domain") from refusal
        self._sources[source.name] = replace(source, cert_id=cert_id)
        return self._done()

    def _unbind(self, call: _Call) -> Response:
        if self.switches.unbind == "401":
            raise Refusal(401, "bad token")
        cert_id, source = self._bind_args(call)
        if not cert_id or source.cert_id != cert_id:
            raise Refusal(400, "invalid id")
        self._sources[source.name] = replace(source, cert_id="")
        return self._done()

    def _bind_args(self, call: _Call) -> tuple[str, SourceDomain]:
        self._refuse_sub_user(call)
        args = decode(call.request, "BindArgs", {"certid": STRING, "domain": STRING})
        name = args.get("domain", "")
        domain, source = self._domains.get(name), self._sources.get(name)
        if domain is not None and domain.account == call.account:
            raise Refusal(403, "domaintype is not allowed")
        if source is None or self._buckets.get(source.bucket) != call.account:
            raise Refusal(400, "invalid domain")
        return args.get("certid", ""), source

    def _bindings(self, call: _Call) -> Response:
        self._refuse_sub_user(call)
        bound = [(source, self._certificates[source.cert_id]) for source in self._sources.values()
                 if source.cert_id in self._certificates]
        return json_response(200, self._list([
            {"uid": self._uid(call.account), "name": certificate.name,
             "certid": certificate.cert_id, "domain": source.name}
            for source, certificate in bound if certificate.account == call.account]))

    def _refuse_sub_user(self, call: _Call) -> None:
        if call.account.startswith("IAM-") and self.switches.iam_bind == "refuse":
            raise Refusal(401, "bad token")

    # Pili

    def _list_hubs(self, call: _Call) -> Response:
        return json_response(200, {"items": self._list([
            {"name": hub} for hub, account in self._hubs.items() if account == call.account])})

    def _list_live_domains(self, call: _Call, hub: str) -> Response:
        self._check_hub(call, hub)
        return json_response(200, {"domains": self._list([
            _live_entry(live) for live in self._live.values() if live.hub == hub])})

    def _get_live_domain(self, call: _Call, hub: str, name: str) -> Response:
        return json_response(200, {**_live_entry(self._own_live_domain(call, hub, name)),
                                   "disable": False})

    def _bind_live_domain(self, call: _Call, hub: str, name: str) -> Response:
        live = self._own_live_domain(call, hub, name)
        args = decode(call.request, "CertArgs", {"certName": STRING})
        cert_name = args.get("certName", "")
        certificate = self._named(call.account, cert_name)
        self._check_bindable(certificate, name, call.now)
        self._live[name] = replace(live, cert_name=cert_name, cert_id=certificate.cert_id)
        return Response(200)

    def _check_hub(self, call: _Call, hub: str) -> None:
        if self._hubs.get(hub) != call.account:
            raise Refusal(631, "no such hub")

    def _own_live_domain(self, call: _Call, hub: str, name: str) -> LiveDomain:
        self._check_hub(call, hub)
        live = self._live.get(name)
        if live is None or live.hub != hub:
            raise Refusal(612, "no such domain")
        return live

    # What they share

    def _uid(self, account: str) -> int:
        return 1_380_000_000 + list(self._accounts).index(account)

    def _done(self) -> Response:
        """The success of a change or deletion."""
        body = self.switches.success_put
        if self.switches.empty_error and body:
            return self._told(json.loads(body))
        return Response(200, body.encode(), {"Content-Type": "application/json"})

    def _told(self, value: Json) -> Response:
        """A success of ``fusion`` or ``api`` that is an object."""
        return json_response(200, {**value, "error": ""} if self.switches.empty_error else value)

    def _list(self, entries: list[Any]) -> list[Any] | None:
        """*entries* as Go writes them."""
        return None if not entries and self.switches.empty_lists == "null" else entries


def _coded(code: int | None, value: Json) -> Json:
    """*value* with a ``code``, unless that is None."""
    return value if code is None else {"code": code, **value}


def _header(entry: Any) -> Header:
    if not isinstance(entry, dict):
        raise Refusal(400000, "invalid input: responseHeaderControls")
    op, key, value = (entry.get(field) for field in ("op", "key", "value"))
    if op not in ("set", "del") or not isinstance(key, str) or not isinstance(value, str):
        raise Refusal(400000, "invalid input: responseHeaderControls")
    return op, key, value


def _source_type(domain: Domain) -> str:
    return "qiniuBucket" if domain.bucket else "domain"


def _live_entry(live: LiveDomain) -> Json:
    return {"type": live.kind, "domain": live.name, "cname": f"{live.name}.qiniudns.com",
            "certEnable": bool(live.cert_name), "certName": live.cert_name}


def _rfc3339(seconds: float) -> str:
    beijing = dt.timezone(dt.timedelta(hours=8))
    return dt.datetime.fromtimestamp(seconds, beijing).isoformat(timespec="milliseconds")
