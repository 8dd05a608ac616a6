"""The emulator of DNSPod refuses what the real one refuses, and keeps what it takes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tests.sandbox.dnspod import HOST, DNSPod, sign
from tests.sandbox.stack import TENCENT_KEYS
from tests.sandbox.wire import Request

NOW = 1_800_000_000
OTHER_KEYS = ("AKIDSomebodyElse", "somebody-else's-secret")
TEXT = {"Domain": "example.net", "SubDomain": "_acme-challenge", "RecordType": "TXT",
        "RecordLine": "默认", "Value": "token"}


@pytest.fixture
def dnspod() -> DNSPod:
    """Make an emulator with two accounts that hold a domain each."""
    return DNSPod(dict([TENCENT_KEYS, OTHER_KEYS]),
                  {"example.net": TENCENT_KEYS[0], "example.org": OTHER_KEYS[0]},
                  clock=lambda: NOW)


def call(dnspod: DNSPod, action: str, parameters: Any = None, *, secret: str = TENCENT_KEYS[1],
         **headers: str) -> Any:
    """Send a signed call, and give back what is in the answer."""
    scope = f"Credential={TENCENT_KEYS[0]}/2027-01-15/dnspod/tc3_request"
    request = Request("POST", HOST, "/", tuple({
        "Host": HOST, "Content-Type": "application/json", "X-TC-Action": action,
        "X-TC-Version": "2021-03-23", "X-TC-Timestamp": str(NOW),
        **{name.replace("_", "-"): value for name, value in headers.items()}}.items()),
        json.dumps(parameters or {}).encode())
    signature = sign(request, "content-type;host", secret)
    authorization = (f"TC3-HMAC-SHA256 {scope}, SignedHeaders=content-type;host, "
                     f"Signature={signature}")
    if "Authorization" not in headers:
        request = dataclasses.replace(
            request, headers=(*request.headers, ("Authorization", authorization)))
    return json.loads(dnspod.handle(request).body)["Response"]


@pytest.mark.parametrize(("code", "action", "parameters", "change"), [
    ("InvalidAction", "DescribeUser", {}, {}),
    ("NoSuchVersion", "DescribeDomainList", {}, {"X_TC_Version": "2017-03-12"}),
    ("UnsupportedProtocol", "DescribeDomainList", {}, {"Content_Type": "text/plain"}),
    ("AuthFailure.InvalidAuthorization", "DescribeDomainList", {}, {"Authorization": "none"}),
    ("AuthFailure.SignatureExpire", "DescribeDomainList", {}, {"X_TC_Timestamp": str(NOW - 301)}),
    ("AuthFailure.SignatureFailure", "DescribeDomainList", {}, {"secret": "wrong"}),
    ("UnknownParameter", "DescribeDomainList", {"Domain": "example.net"}, {}),
    ("InvalidParameter", "DescribeDomainList", {"Limit": "100"}, {}),
    ("InvalidParameterValue.DomainNotExists", "DescribeRecordList", {"Domain": "example.org"}, {}),
    ("ResourceNotFound.NoDataOfRecord", "DescribeRecordList", {"Domain": "example.net"}, {}),
    ("MissingParameter", "CreateRecord", {**TEXT, "Value": ""}, {}),
    ("InvalidParameter.RecordLineInvalid", "CreateRecord", {**TEXT, "RecordLine": "境外"}, {}),
    ("LimitExceeded.RecordTtlLimit", "CreateRecord", {**TEXT, "TTL": 60}, {}),
    ("InvalidParameter.RecordIdInvalid", "DeleteRecord", {"Domain": "example.net", "RecordId": 1},
     {}),
])
def test_refusals(dnspod: DNSPod, code: str, action: str, parameters: dict[str, Any],
                  change: dict[str, str]) -> None:
    """A call that the real service refuses is refused with its code, and changes nothing."""
    assert code == call(dnspod, action, parameters, **change)["Error"]["Code"]
    assert [] == dnspod.records


def test_records(dnspod: DNSPod) -> None:
    """A record is listed and served until it is deleted, and is not taken twice."""
    assert ["example.net"] == [
        item["Name"] for item in call(dnspod, "DescribeDomainList")["DomainList"]]
    number = call(dnspod, "CreateRecord", TEXT)["RecordId"]
    assert "InvalidParameter.DomainRecordExist" == call(
        dnspod, "CreateRecord", TEXT)["Error"]["Code"]
    where = {"Domain": "example.net", "SubDomain": "_acme-challenge"}
    [listed] = call(dnspod, "DescribeRecordList", where)["RecordList"]
    assert (number, "token", "0") == (listed["RecordId"], listed["Value"], listed["LineId"])
    assert ["token"] == dnspod.texts("_Acme-Challenge.example.net")
    assert 0 == call(dnspod, "DescribeRecordList", {
        **where, "SubDomain": "www", "ErrorOnEmpty": "no"})["RecordCountInfo"]["TotalCount"]
    assert "Error" not in call(dnspod, "DeleteRecord",
                               {"Domain": "example.net", "RecordId": number})
    assert [] == dnspod.texts("_acme-challenge.example.net")
