"""A strict emulator of Aliyun's DNS API: RPC style, version 2015-01-09.

Written from the vendor's documentation, not from any client:
https://help.aliyun.com/document_detail/29739.html (calls and errors) and
https://help.aliyun.com/document_detail/315526.html (signature of RPC requests).
Only what a dns-01 authenticator needs is here. Answers are JSON alone, whereas the real service
speaks XML by default: so a request must ask for JSON.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

from tests.sandbox.dns_records import Records
from tests.sandbox.wire import Request, Response, json_response

HOST = "alidns.aliyuncs.com"
VERSION = "2015-01-09"
CLOCK_WINDOW_SECONDS = 15 * 60
SMALLEST_TTL = 600
"""Of the free edition."""
RECORD_TYPES = ("A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT")

_COMMON = ("Action", "Version", "AccessKeyId", "Signature", "SignatureMethod", "Timestamp",
           "SignatureVersion", "SignatureNonce")


class Refusal(Exception):
    """The API answers with an error."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class AliDNS:
    """Aliyun DNS for some accounts.

    :param accounts: AccessKeySecret by AccessKeyId.
    :param domains: AccessKeyId of the owner by domain.
    :param clock: seconds since the epoch.
    :ivar records: all records, oldest first.
    """

    hosts = (HOST,)

    def __init__(self, accounts: Mapping[str, str], domains: Mapping[str, str], *,
                 clock: Callable[[], float] = time.time) -> None:
        self.accounts = dict(accounts)
        self.domains = dict(domains)
        self.records = Records(10**18)
        self._clock = clock
        self._lock = threading.Lock()
        self._nonces: dict[str, float] = {}
        self._actions: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
            "DescribeDomains": self._describe_domains,
            "DescribeDomainRecords": self._describe_domain_records,
            "AddDomainRecord": self._add_domain_record,
            "DeleteDomainRecord": self._delete_domain_record,
        }

    def texts(self, name: str) -> list[str]:
        """The values of the TXT records of *name*, as a DNS server answers them."""
        with self._lock:
            return self.records.texts(name)

    def handle(self, request: Request) -> Response:
        """Answer one request; see :class:`tests.sandbox.wire.Emulator`."""
        request_id = str(uuid.uuid4()).upper()
        try:
            with self._lock:
                parameters = _parameters(request)
                action = self._admit(request.method, parameters)
                return json_response(200, {"RequestId": request_id, **action(parameters)})
        except Refusal as refusal:
            advice = (f"https://api.aliyun.com/troubleshoot?q={refusal.code}&product=Alidns"
                      f"&requestId={request_id}")
            return json_response(refusal.status, {
                "RequestId": request_id, "HostId": request.host, "Code": refusal.code,
                "Message": refusal.message, "Recommend": advice})

    def _admit(self, method: str,
               parameters: dict[str, str]) -> Callable[[dict[str, str]], dict[str, Any]]:
        """Check everything that all calls have in common; the action that is asked for."""
        for name in _COMMON:
            if not parameters.get(name):
                raise Refusal("MissingParameter", f'The input parameter "{name}" that is mandatory '
                              "for processing this request is not supplied.")
        for name, only in (("Format", "JSON"), ("Version", VERSION), ("SignatureVersion", "1.0"),
                           ("SignatureMethod", "HMAC-SHA1")):
            if parameters.get(name, "").upper() != only:
                raise Refusal("InvalidParameter", f'The specified parameter "{name}" is not valid.')
        if parameters["Action"] not in self._actions:
            raise Refusal("InvalidAction.NotFound", "Specified api is not found, please check your "
                          "url and method.", 404)
        secret = self.accounts.get(parameters["AccessKeyId"])
        if secret is None:
            raise Refusal("InvalidAccessKeyId.NotFound", "Specified access key is not found.", 404)
        now = self._clock()
        if abs(now - _timestamp(parameters["Timestamp"])) > CLOCK_WINDOW_SECONDS:
            raise Refusal("InvalidTimeStamp.Expired",
                          "Specified time stamp or date value is expired.")
        if parameters["Signature"] != signature(method, parameters, secret):
            raise Refusal("SignatureDoesNotMatch",
                          "Specified signature is not matched with our calculation.")
        if parameters["SignatureNonce"] in self._nonces:
            raise Refusal("SignatureNonceUsed", "Specified signature nonce was used already.")
        # A request from either edge of the window could be repeated for as long as both edges last.
        self._nonces = {nonce: seen for nonce, seen in self._nonces.items()
                        if now - seen <= 2 * CLOCK_WINDOW_SECONDS}
        self._nonces[parameters["SignatureNonce"]] = now
        return self._actions[parameters["Action"]]

    def _describe_domains(self, parameters: dict[str, str]) -> dict[str, Any]:
        keyword = parameters.get("KeyWord", "").lower()
        exact = parameters.get("SearchMode", "LIKE").upper() == "EXACT"
        found = [name for name, owner in reversed(self.domains.items())
                 if owner == parameters["AccessKeyId"]
                 and (name == keyword if exact else keyword in name)]
        page, paging = _page(found, parameters, largest=100)
        return {**paging, "Domains": {"Domain": [
            {"DomainId": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "DomainName": name,
             "PunyCode": name, "AliDomain": True, "VersionCode": "mianfei",
             "RecordCount": len(self.records.of(name)),
             "DnsServers": {"DnsServer": ["dns1.hichina.com", "dns2.hichina.com"]}}
            for name in page]}}

    def _describe_domain_records(self, parameters: dict[str, str]) -> dict[str, Any]:
        domain = self._own_domain(parameters)
        rr, kind, value = (parameters.get(name, "").lower()
                           for name in ("RRKeyWord", "TypeKeyWord", "ValueKeyWord"))
        # The documented search: parts of RR and value, but the whole of the type.
        found = [record for record in reversed(self.records.of(domain))
                 if rr in record.host.lower() and value in record.value.lower()
                 and kind in ("", record.kind.lower())]
        page, paging = _page(found, parameters, largest=500)
        return {**paging, "DomainRecords": {"Record": [
            {"RecordId": record.record_id, "DomainName": domain, "RR": record.host,
             "Type": record.kind, "Value": record.value, "TTL": record.ttl, "Line": "default",
             "Status": "ENABLE", "Locked": False} for record in page]}}

    def _add_domain_record(self, parameters: dict[str, str]) -> dict[str, Any]:
        domain = self._own_domain(parameters)
        rr, kind, value = (_needed(parameters, name) for name in ("RR", "Type", "Value"))
        if kind.upper() not in RECORD_TYPES:
            raise Refusal("InvalidParameter", 'The specified parameter "Type" is not valid.')
        ttl = _number(parameters, "TTL", SMALLEST_TTL)
        if ttl < SMALLEST_TTL:
            raise Refusal("QuotaExceeded.TTL",
                          "The TTL has exceeded the limit of the domain edition.")
        if any((rr.lower(), kind.upper(), value) == (other.host.lower(), other.kind, other.value)
               for other in self.records.of(domain)):
            raise Refusal("DomainRecordDuplicate", "The DNS record already exists.")
        return {"RecordId": self.records.add(domain, rr, kind.upper(), value, ttl).record_id}

    def _delete_domain_record(self, parameters: dict[str, str]) -> dict[str, Any]:
        record_id = _needed(parameters, "RecordId")
        own = [name for name, owner in self.domains.items() if owner == parameters["AccessKeyId"]]
        if not self.records.delete(record_id, own):
            raise Refusal("DomainRecordNotBelongToUser",
                          "The DNS record does not exist in your account.")
        return {"RecordId": record_id}

    def _own_domain(self, parameters: dict[str, str]) -> str:
        domain = _needed(parameters, "DomainName").lower()
        owner = self.domains.get(domain)
        if owner is None:
            raise Refusal("InvalidDomainName.NoExist", "The specified domain name does not exist. "
                          "Refresh the page and try again.")
        if owner != parameters["AccessKeyId"]:
            raise Refusal("IncorrectDomainUser", "The domain name belongs to other users. Transfer "
                          "the domain name to the current user and then try the binding and "
                          "setting actions.")
        return domain


def signature(method: str, parameters: Mapping[str, str], secret: str) -> str:
    """The ``Signature`` that belongs to *parameters* (one among them is left out)."""
    query = "&".join(f"{_encode(name)}={_encode(value)}"
                     for name, value in sorted(parameters.items()) if name != "Signature")
    text = f"{method}&{_encode('/')}&{_encode(query)}"
    digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _encode(text: str) -> str:
    """Percent-encoding of RFC 3986: only letters, digits and ``-_.~`` stay."""
    return quote(text, safe="")


def _parameters(request: Request) -> dict[str, str]:
    if request.path != "/" or request.method not in ("GET", "POST"):
        raise Refusal("InvalidAction.NotFound", "Specified api is not found, please check your "
                      "url and method.", 404)
    pairs = request.query
    if request.method == "POST":
        pairs += parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise Refusal("InvalidParameter", "A parameter is given twice.")
    return parameters


def _timestamp(text: str) -> float:
    try:
        return dt.datetime.strptime(f"{text}+0000", "%Y-%m-%dT%H:%M:%SZ%z").timestamp()
    except ValueError:
        raise Refusal("InvalidTimeStamp.Format",
                      "Specified time stamp or date value is not well formatted.") from None


def _needed(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name)
    if not value:
        raise Refusal(f"Missing{name}", f"{name} is mandatory for this action.")
    return value


def _number(parameters: Mapping[str, str], name: str, default: int) -> int:
    text = parameters.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise Refusal("InvalidParameter", f'The specified parameter "{name}" is not valid.')
    return int(text)


def _page(found: list[Any], parameters: Mapping[str, str],
          largest: int) -> tuple[list[Any], dict[str, int]]:
    number, size = _number(parameters, "PageNumber", 1), _number(parameters, "PageSize", 20)
    if size > largest:
        raise Refusal("InvalidParameter", 'The specified parameter "PageSize" is not valid.')
    start = (number - 1) * size
    return found[start:start + size], {"PageNumber": number, "PageSize": size,
                                       "TotalCount": len(found)}
