"""A strict emulator of Tencent Cloud's DNSPod API, version 2021-03-23.

Written from the vendor's documentation, not from any client:
https://cloud.tencent.com/document/api/1427/56193 (calls and errors) and
https://cloud.tencent.com/document/api/1427/56189 (signature TC3-HMAC-SHA256).
Only what a dns-01 authenticator needs is here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from tests.sandbox.dns_records import Records
from tests.sandbox.wire import Request, Response, json_response

HOST = "dnspod.tencentcloudapi.com"
VERSION = "2021-03-23"
CLOCK_WINDOW_SECONDS = 300
SMALLEST_TTL = 600
"""Of the free edition."""

_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256 Credential=([^/]+)/(\d{4}-\d\d-\d\d)/dnspod/tc3_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})")
_KNOWN = {
    "DescribeDomainList": {"Type": str, "Offset": int, "Limit": int, "GroupId": int,
                           "Keyword": str},
    "DescribeRecordList": {"Domain": str, "DomainId": int, "SubDomain": str, "Subdomain": str,
                           "RecordType": str, "RecordLine": str, "RecordLineId": str,
                           "Offset": int, "Limit": int, "ErrorOnEmpty": str, "Keyword": str},
    "CreateRecord": {"Domain": str, "DomainId": int, "SubDomain": str, "RecordType": str,
                     "RecordLine": str, "RecordLineId": str, "Value": str, "MX": int, "TTL": int,
                     "Weight": int, "Status": str, "Remark": str},
    "DeleteRecord": {"Domain": str, "DomainId": int, "RecordId": int},
}
"""The documented parameters of each call, and their types."""


class Refusal(Exception):
    """The API answers with an error; its HTTP status is 200 all the same."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class DNSPod:
    """DNSPod for some accounts.

    :param accounts: SecretKey by SecretId.
    :param domains: SecretId of the owner by domain.
    :param clock: seconds since the epoch.
    :ivar records: all records, oldest first.
    """

    hosts = (HOST,)

    def __init__(self, accounts: Mapping[str, str], domains: Mapping[str, str], *,
                 clock: Callable[[], float] = time.time) -> None:
        self.accounts = dict(accounts)
        self.domains = dict(domains)
        self.records = Records(1_500_000_000)
        self._clock = clock
        self._lock = threading.Lock()
        self._actions: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
            "DescribeDomainList": self._describe_domain_list,
            "DescribeRecordList": self._describe_record_list,
            "CreateRecord": self._create_record,
            "DeleteRecord": self._delete_record,
        }

    def texts(self, name: str) -> list[str]:
        """The values of the TXT records of *name*, as a DNS server answers them."""
        with self._lock:
            return self.records.texts(name)

    def handle(self, request: Request) -> Response:
        """Answer one request; see :class:`tests.sandbox.wire.Emulator`."""
        answer: dict[str, Any]
        try:
            with self._lock:
                owner = self._admit(request)
                action = request.header("X-TC-Action") or ""
                answer = self._actions[action](owner, _parameters(action, request.body))
        except Refusal as refusal:
            answer = {"Error": {"Code": refusal.code, "Message": refusal.message}}
        return json_response(200, {"Response": {**answer, "RequestId": str(uuid.uuid4())}})

    def _admit(self, request: Request) -> str:
        """Check everything that all calls have in common; the SecretId that it is from."""
        if request.header("X-TC-Action") not in self._actions or request.path != "/":
            raise Refusal("InvalidAction", "The request does not have a valid action.")
        if request.header("X-TC-Version") != VERSION:
            raise Refusal("NoSuchVersion", "The API version does not exist.")
        if (request.method, request.header("Content-Type")) != ("POST", "application/json"):
            raise Refusal("UnsupportedProtocol", "Only POST with application/json is understood.")
        parts = _AUTHORIZATION.fullmatch(request.header("Authorization") or "")
        timestamp = request.header("X-TC-Timestamp") or ""
        if not parts or not timestamp.isdigit():
            raise Refusal("AuthFailure.InvalidAuthorization", "Authorization is not valid.")
        secret_id, date, signed, signature = parts.groups()
        if secret_id not in self.accounts:
            raise Refusal("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
        if abs(self._clock() - int(timestamp)) > CLOCK_WINDOW_SECONDS:
            raise Refusal("AuthFailure.SignatureExpire", "The signature has expired.")
        day = datetime.fromtimestamp(int(timestamp), timezone.utc).date().isoformat()
        if (day != date or not {"content-type", "host"} <= set(signed.split(";"))
                or signature != sign(request, signed, self.accounts[secret_id])):
            raise Refusal("AuthFailure.SignatureFailure",
                          "The provided credentials could not be validated.")
        return secret_id

    def _describe_domain_list(self, owner: str, given: dict[str, Any]) -> dict[str, Any]:
        found = [name for name, who in self.domains.items() if who == owner]
        if not found:
            raise Refusal("ResourceNotFound.NoDataOfDomain", "The domain list is empty.")
        return {"DomainCountInfo": {"DomainTotal": len(found), "AllTotal": len(found)},
                "DomainList": [{"Name": name, "Punycode": name, "Status": "ENABLE",
                                "DNSStatus": "", "Grade": "DP_FREE"}
                               for name in _page(found, given)]}

    def _describe_record_list(self, owner: str, given: dict[str, Any]) -> dict[str, Any]:
        domain = self._own_domain(owner, given)
        host = given.get("SubDomain") or given.get("Subdomain")
        found = [record for record in self.records.of(domain) if host in (None, record.host)
                 and given.get("RecordType") in (None, record.kind)]
        if not found and given.get("ErrorOnEmpty", "yes") != "no":
            raise Refusal("ResourceNotFound.NoDataOfRecord", "The record list is empty.")
        listed = [{"RecordId": int(record.record_id), "Name": record.host, "Type": record.kind,
                   "Value": record.value, "TTL": record.ttl, "Line": "默认", "LineId": "0",
                   "Status": "ENABLE", "MX": 0} for record in _page(found, given)]
        return {"RecordCountInfo": {"TotalCount": len(found), "ListCount": len(listed),
                                    "SubdomainCount": len({record.host for record in found})},
                "RecordList": listed}

    def _create_record(self, owner: str, given: dict[str, Any]) -> dict[str, Any]:
        domain = self._own_domain(owner, given)
        for name in ("RecordType", "RecordLine", "Value"):
            if not given.get(name):
                raise Refusal("MissingParameter", f"The request is missing {name}.")
        if given.get("RecordLineId", "0") != "0" or given["RecordLine"] not in ("默认", "Default"):
            raise Refusal("InvalidParameter.RecordLineInvalid", "The record line is invalid.")
        if given.get("TTL", SMALLEST_TTL) < SMALLEST_TTL:
            raise Refusal("LimitExceeded.RecordTtlLimit", "The TTL is below the limit.")
        host, kind, value = given.get("SubDomain", "@"), given["RecordType"], given["Value"]
        if (host, kind, value) in [(other.host, other.kind, other.value)
                                   for other in self.records.of(domain)]:
            raise Refusal("InvalidParameter.DomainRecordExist", "The record exists already.")
        record = self.records.add(domain, host, kind, value, given.get("TTL", SMALLEST_TTL))
        return {"RecordId": int(record.record_id)}

    def _delete_record(self, owner: str, given: dict[str, Any]) -> dict[str, Any]:
        domain = self._own_domain(owner, given)
        if not self.records.delete(str(given.get("RecordId")), [domain]):
            raise Refusal("InvalidParameter.RecordIdInvalid", "The record ID is invalid.")
        return {}

    def _own_domain(self, owner: str, given: dict[str, Any]) -> str:
        domain = str(given.get("Domain", "")).lower()
        if self.domains.get(domain) != owner:
            raise Refusal("InvalidParameterValue.DomainNotExists",
                          "The domain does not exist in this account.")
        return domain


def sign(request: Request, signed_headers: str, secret: str) -> str:
    """The signature TC3-HMAC-SHA256 of *request*."""
    headers = "".join(f"{name}:{(request.header(name) or '').strip().lower()}\n"
                      for name in signed_headers.split(";"))
    canonical = "\n".join([request.method, request.path, "", headers, signed_headers,
                           hashlib.sha256(request.body).hexdigest()])
    timestamp = request.header("X-TC-Timestamp") or "0"
    date = datetime.fromtimestamp(int(timestamp), timezone.utc).date().isoformat()
    text = "\n".join(["TC3-HMAC-SHA256", timestamp, f"{date}/dnspod/tc3_request",
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"TC3{secret}".encode()
    for part in (date, "dnspod", "tc3_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def _parameters(action: str, body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except ValueError:
        raise Refusal("InvalidParameter", "The body is no JSON.") from None
    if not isinstance(given, dict):
        raise Refusal("InvalidParameter", "The body is no JSON object.")
    for name, value in given.items():
        kind = _KNOWN[action].get(name)
        if kind is None:
            raise Refusal("UnknownParameter", f"The parameter `{name}` is not recognized.")
        if type(value) is not kind:
            raise Refusal("InvalidParameter", f"The parameter `{name}` has the wrong type.")
    return given


def _page(found: list[Any], given: Mapping[str, Any]) -> list[Any]:
    start = given.get("Offset", 0)
    return found[start:start + given.get("Limit", 3000)]
