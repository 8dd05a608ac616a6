"""The emulator of Aliyun's DNS refuses what the real one refuses, and keeps what it takes."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.sandbox.alidns import HOST, AliDNS, signature
from tests.sandbox.stack import ALIYUN_KEYS
from tests.sandbox.wire import Request

NOW = 1_800_000_000.0
OTHER_KEYS = ("LTAI5tSomebodyElse", "somebody-else's-secret")


@pytest.fixture
def alidns() -> AliDNS:
    """Make an emulator with two accounts that hold a domain each."""
    return AliDNS(dict([ALIYUN_KEYS, OTHER_KEYS]),
                  {"example.com": ALIYUN_KEYS[0], "example.net": OTHER_KEYS[0]}, clock=lambda: NOW)


def aliyun(alidns: AliDNS, action: str, parameters: Mapping[str, str] | None = None, *,
           keys: tuple[str, str] = ALIYUN_KEYS, without: str = "") -> Any:
    """Send a signed call, and give back the answer's JSON."""
    stamp = dt.datetime.fromtimestamp(NOW, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    query = {"Format": "JSON", "Version": "2015-01-09", "AccessKeyId": keys[0], "Timestamp": stamp,
             "SignatureMethod": "HMAC-SHA1", "SignatureVersion": "1.0", "Action": action,
             "SignatureNonce": str(uuid.uuid4()), **(parameters or {})}
    query.pop(without, None)
    if without != "Signature":
        query["Signature"] = signature("GET", query, keys[1])
    answer = alidns.handle(Request("GET", HOST, f"/?{urlencode(query)}", (), b""))
    body = json.loads(answer.body)
    assert ("Code" in body) == (answer.status >= 400)
    return body


def test_the_signature_is_the_vendors() -> None:
    """The vendor's own example of a signature comes out."""
    assert signature("GET", {
        "Timestamp": "2016-02-23T12:46:24Z", "Format": "XML", "AccessKeyId": "testid",
        "Action": "DescribeRegions", "SignatureMethod": "HMAC-SHA1", "SignatureVersion": "1.0",
        "SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf", "Version": "2014-05-26"},
        "testsecret") == "OLeaidS1JvxuMvnyHOwuJ+uX5qY="


TEXT = {"DomainName": "example.com", "RR": "_acme-challenge", "Type": "TXT", "Value": "token"}


@pytest.mark.parametrize(("code", "action", "parameters"), [
    ("InvalidTimeStamp.Expired", "DescribeDomains", {"Timestamp": "2027-01-15T07:44:59Z"}),
    ("InvalidTimeStamp.Expired", "DescribeDomains", {"Timestamp": "2027-01-15T08:15:01Z"}),
    ("InvalidTimeStamp.Format", "DescribeDomains", {"Timestamp": "2027-01-15 08:00:00"}),
    ("MissingParameter", "DescribeDomains", {"SignatureNonce": ""}),
    ("InvalidParameter", "DescribeDomains", {"Format": "XML"}),
    ("InvalidParameter", "DescribeDomains", {"Version": "2014-01-01"}),
    ("InvalidParameter", "DescribeDomains", {"PageSize": "101"}),
    ("InvalidAction.NotFound", "DropAllDomains", {}),
    ("MissingDomainName", "DescribeDomainRecords", {}),
    ("InvalidDomainName.NoExist", "AddDomainRecord", {**TEXT, "DomainName": "www.example.com"}),
    ("IncorrectDomainUser", "AddDomainRecord", {**TEXT, "DomainName": "example.net"}),
    ("MissingValue", "AddDomainRecord", {**TEXT, "Value": ""}),
    ("InvalidParameter", "AddDomainRecord", {**TEXT, "Type": "SPF"}),
    ("QuotaExceeded.TTL", "AddDomainRecord", {**TEXT, "TTL": "120"}),
    ("DomainRecordDuplicate", "AddDomainRecord", {**TEXT, "Value": "old"}),
    ("DomainRecordNotBelongToUser", "DeleteDomainRecord", {"RecordId": "1"}),
])
def test_aliyun_refuses(alidns: AliDNS, code: str, action: str,
                        parameters: Mapping[str, str]) -> None:
    """A wrong call gets the vendor's code, and changes nothing."""
    aliyun(alidns, "AddDomainRecord", {**TEXT, "Value": "old"})
    assert aliyun(alidns, action, parameters)["Code"] == code
    assert alidns.texts("_acme-challenge.example.com") == ["old"]


@pytest.mark.parametrize(("code", "keys", "without"), [
    ("SignatureDoesNotMatch", (ALIYUN_KEYS[0], "wrong"), ""),
    ("InvalidAccessKeyId.NotFound", ("unknown", "secret"), ""),
    ("MissingParameter", ALIYUN_KEYS, "Signature"),
    ("MissingParameter", ALIYUN_KEYS, "Timestamp")])
def test_aliyun_wants_a_signature(alidns: AliDNS, code: str, keys: tuple[str, str],
                                  without: str) -> None:
    """A call that is not signed, or with the wrong keys, is refused."""
    assert aliyun(alidns, "DescribeDomains", keys=keys, without=without)["Code"] == code


def test_aliyun_refuses_a_repeated_nonce(alidns: AliDNS) -> None:
    """The same request does not work twice."""
    assert "Code" not in aliyun(alidns, "DescribeDomains", {"SignatureNonce": "once"})
    again = aliyun(alidns, "DescribeDomains", {"SignatureNonce": "once"})
    assert again["Code"] == "SignatureNonceUsed"


def test_aliyun_keeps_accounts_apart(alidns: AliDNS) -> None:
    """An account can neither see nor delete what belongs to another."""
    record = aliyun(alidns, "AddDomainRecord", TEXT)["RecordId"]
    refused = aliyun(alidns, "DeleteDomainRecord", {"RecordId": record}, keys=OTHER_KEYS)
    seen = aliyun(alidns, "DescribeDomains", keys=OTHER_KEYS)["Domains"]["Domain"]
    assert refused["Code"] == "DomainRecordNotBelongToUser"
    assert [domain["DomainName"] for domain in seen] == ["example.net"]


def test_aliyun_searches_and_pages(alidns: AliDNS) -> None:
    """Keywords match parts, the type matches as a whole, and the newest comes first."""
    for value in ("one", "two", "twofold"):
        aliyun(alidns, "AddDomainRecord", {**TEXT, "Value": value})

    def found(**search: str) -> list[str]:
        answer = aliyun(alidns, "DescribeDomainRecords",
                        {"DomainName": "example.com", **search})
        return [record["Value"] for record in answer["DomainRecords"]["Record"]]

    assert found() == ["twofold", "two", "one"]
    assert found(RRKeyWord="ACME", TypeKeyWord="txt", ValueKeyWord="TWO") == ["twofold", "two"]
    assert found(TypeKeyWord="TX") == []
    assert found(PageSize="2", PageNumber="2") == ["one"]


def test_aliyun_deletes_one_of_two_values(alidns: AliDNS) -> None:
    """Two values of one name come and go independently, as a wildcard's proof needs it."""
    first = aliyun(alidns, "AddDomainRecord", TEXT)["RecordId"]
    aliyun(alidns, "AddDomainRecord", {**TEXT, "Value": "other"})
    aliyun(alidns, "DeleteDomainRecord", {"RecordId": first})
    assert alidns.texts("_ACME-challenge.example.com") == ["other"]
