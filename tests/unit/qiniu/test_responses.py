"""How answers are read: any JSON becomes a value of the model, or a typed error."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Domain, RemoteCertificate, parse_certificate_name
from certbot_qiniu.qiniu import responses
from tests.sandbox.wire import json_response
from tests.unit.qiniu.script import CERT_ID, NAME, Scripted, bind, domain_json, ok

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


# One value


@pytest.mark.parametrize(("value", "expected"), [
    ("plain", "plain"), ("a\nb\x1b[0m", "a\ufffdb\ufffd[0m"), ("证书", "证书"), ("", ""),
    (5, ""), (None, ""), (["x"], ""), (True, ""),
], ids=repr)
def test_text(value: object, expected: str) -> None:
    """What steers a terminal is replaced and not dropped; what is no string is empty."""
    assert expected == responses.as_text(value)
    assert expected == responses.text({"key": value}, "key")


def test_endless_text() -> None:
    """A text of megabytes, which every row of a table would be padded to, is not kept."""
    assert 4096 == len(responses.as_text("x" * 2_000_000))
    ours = f"certbot_{'x' * 235}_0123456789ab"
    for name in ours, f"{ours}{'x' * 2_000_000}":
        certificate = responses.read_certificate({"certid": CERT_ID, "name": name})
        assert certificate
        assert len(certificate.name) == 256
        assert (parse_certificate_name(certificate.name) is not None) is (name == ours)
    domain = responses.read_domain({"name": "a.example.com", "operatingstate": "x" * 2_000_000})
    assert domain
    assert len(domain.state) == 256


def test_endless_list() -> None:
    """A setting of megabytes is none, and would be in our files and in what is sent."""
    versions = [f"TLSv1.{number}" for number in range(200_000)]
    domain = responses.read_domain(
        {"name": "a.example.com", "https": {"tlsVersions": versions, "other": versions}},
        detailed=True)
    assert domain
    assert (None, {}) == (domain.tls_versions, domain.https_fields)


def test_a_name_does_not_become_ours() -> None:
    """A foreign name with a character that is not shown stays foreign."""
    ours = "certbot_example.com_0123456789ab"
    assert ours != responses.as_text(f"certbot\x00{ours[7:]}")
    assert parse_certificate_name(responses.as_text(f"{ours}\x7f")) is None


@pytest.mark.parametrize(("value", "expected"), [
    (0, 0), (1_800_000_000, 1_800_000_000), (253_402_300_799, 253_402_300_799),
    (253_402_300_800, 0), (-1, 0), (True, 0), (1.5, 0), ("1", 0), (None, 0),
], ids=repr)
def test_seconds(value: object, expected: int) -> None:
    """A time is one that datetime can hold; anything else is none."""
    assert expected == responses.seconds({"at": value}, "at")
    assert dt.datetime.fromtimestamp(expected, dt.timezone.utc)


@pytest.mark.parametrize(("value", "expected"), [
    (True, True), (False, False), (None, None), (0, None), (1, None), ("true", None), ("", None),
], ids=repr)
def test_flag(value: object, expected: object) -> None:
    """Only a boolean is one: what is not said is unknown, and not off."""
    assert responses.flag({"on": value}, "on") is expected
    assert responses.flag({}, "on") is None


@pytest.mark.parametrize(("value", "expected"), [
    ("www.example.com", "www.example.com"), ("WWW.Example.com", "www.example.com"),
    ("*.example.com", ".example.com"), (".example.com", ".example.com"), ("../x", None),
    ("a/b.example.com", None), ("localhost", None), ("", None), (5, None), (None, None),
], ids=repr)
def test_name(value: object, expected: str | None) -> None:
    """A name comes in the one spelling that we compare, and only if it can stand in a path."""
    assert expected == responses.read_name(value)


# Objects and lists


def test_keys_of_any_spelling() -> None:
    """One key has several spellings at Qiniu, and its value keeps its own."""
    assert {"certid": {"Inner": 1}, "name": "X"} == responses.lowered(
        {"certID": {"Inner": 1}, "NAME": "X"})
    for nothing in (None, [], "x", 5):
        assert {} == responses.lowered(nothing)


@pytest.mark.parametrize("value", [None, {}, []], ids=repr)
def test_empty_lists(value: object) -> None:
    """Go writes an empty list in several ways."""
    assert [] == responses.as_list(value, "list them")


@pytest.mark.parametrize("value", ["", "x", 0, False, {"a": 1}], ids=repr)
def test_no_lists(value: object) -> None:
    """What is no list is an error, never an empty account."""
    with pytest.raises(errors.Unreachable, match=r"Could not list them: .* unknown form"):
        responses.as_list(value, "list them")


@pytest.mark.parametrize("value", [None, [], "x", 5], ids=repr)
def test_no_object(value: object) -> None:
    """The same for an object, for which nothing stands."""
    with pytest.raises(errors.Unreachable, match=r"Could not read it: .* unknown form"):
        responses.as_object(value, "read it")


def test_objects() -> None:
    """What is no object in a list of them is left out, and hides none of the others."""
    assert [{"a": 1}, {"b": 2}] == responses.as_objects([{"A": 1}, None, "x", [], {"b": 2}], "do")


# HSTS


@pytest.mark.parametrize(("controls", "expected"), [
    ([responses.HSTS], True),
    ([{"Op": "set", "Key": "strict-transport-security", "value": "max-age=0"}], True),
    ([{"op": "del", "key": "Strict-Transport-Security"}], False),
    ([{"op": "set", "key": "X-Frame-Options", "value": "DENY"}], False),
    ([None, "x", responses.HSTS], True), ([], False), (None, False), ("x", False),
], ids=["ours", "another spelling", "taken away", "another header", "odd neighbours", "none",
        "null", "no list"])
@pytest.mark.parametrize("detailed", [True, False])
def test_hsts_shown(controls: object, *, expected: bool, detailed: bool) -> None:
    """HSTS is on if a change of headers sets it; a list, without details, does not know."""
    domain = responses.read_domain(
        {"name": NAME, "responseheadercontrols": controls}, detailed=detailed)
    assert domain is not None
    assert domain.hsts is (expected if detailed else None)


# Whole entries


@pytest.mark.parametrize(("cert_id", "usable"), [
    (CERT_ID, True), ("A_b-9", True), ("x" * 128, True), ("x" * 129, False), ("", False),
    ("a/b", False), ("a b", False), (f"{CERT_ID}\n", False), (5, False),
], ids=lambda value: str(value)[:12])
def test_certificate_ids(cert_id: object, *, usable: bool) -> None:
    """A certificate whose id could not stand in a path is left out."""
    assert usable == (responses.read_certificate({"certid": cert_id}) is not None)


@pytest.mark.parametrize(("answer", "expected"), [
    ({"operatingstatedesc": "no ICP", "freezetype": "ICP"}, "no ICP"),
    ({"freezetype": "ICP"}, "ICP"), ({}, ""),
], ids=["words", "kind of the freeze", "nothing"])
def test_reason_of_a_state(answer: dict[str, str], expected: str) -> None:
    """Qiniu's own words come before the kind of the freeze."""
    domain = responses.read_domain({"name": NAME, **answer})
    assert domain is not None
    assert expected == domain.state_reason


@pytest.mark.parametrize(("answer", "expected"), [
    ({}, True), ({"couldoperatebyself": None}, True), ({"couldoperatebyself": "false"}, True),
    ({"couldoperatebyself": False}, False), ({"couldoperatebyself": True}, True),
], ids=repr)
def test_operable(answer: dict[str, object], *, expected: bool) -> None:
    """A domain may be changed unless Qiniu says that it may not."""
    domain = responses.read_domain({"name": NAME, **answer})
    assert domain is not None
    assert expected == domain.operable


class TestThroughTheClient:
    """What becomes of whole answers."""

    def test_list(self, rig: Scripted) -> None:
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

    @pytest.mark.parametrize("envelope", [
        {}, {"code": 0}, {"code": 200}, {"code": None}, {"error": ""}, {"code": 0, "error": ""},
        {"code": 200, "error": None}], ids=str)
    def test_envelopes(self, rig: Scripted, envelope: dict[str, Any]) -> None:
        """A success says so in several ways, and an empty list is empty in several."""
        for none in ({}, {"certs": None, "domains": None}, {"certs": [], "domains": []}):
            rig.answers(ok({**none, "marker": "", **envelope}))
            assert rig.client.list_certificates() == rig.client.list_domains() == []
        rig.answers(ok({"certs": [{"certid": CERT_ID}], "domains": [{"name": NAME}], **envelope}))
        assert [item.cert_id for item in rig.client.list_certificates()] == [CERT_ID]
        assert [item.name for item in rig.client.list_domains()] == [NAME]
        rig.answers(ok({**domain_json(), **envelope}))
        assert rig.client.get_domain(NAME)
        rig.answers(ok(envelope))
        bind(rig)
        assert rig.client.delete_certificate(CERT_ID)

    def test_null_lists(self, rig: Scripted) -> None:
        """A list that is null as a whole, or within an object, is an empty one."""
        rig.answers(json_response(200, None))
        assert rig.client.list_buckets() == rig.client.list_source_domains("bucket") == []
        assert rig.client.list_bindings() == {}
        rig.answers(ok({"items": None, "domains": None}))
        assert rig.client.list_hubs() == rig.client.list_live_domains("hub") == []

    @pytest.mark.parametrize("answer", [[], "x", None, 5, {"domains": {"a": 1}},
                                        {"domains": "x"}, {"domains": 0}])
    def test_unknown_form(self, rig: Scripted, answer: Any) -> None:
        """An answer that is no list is not taken for an empty one."""
        rig.answers(json_response(200, answer))
        with pytest.raises(errors.Unreachable, match="unknown form"):
            rig.client.list_domains()

    def test_list_entry(self, rig: Scripted) -> None:
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

    def test_odd_entries(self, rig: Scripted) -> None:
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
    def test_detail(self, rig: Scripted, https: Any, expected: tuple[str, bool, bool]) -> None:
        """A detailed read shows the certificate, in each form of having none."""
        rig.answers(ok(domain_json(https=https)))
        domain = rig.client.get_domain(NAME)
        assert domain is not None
        assert domain.detailed
        assert (domain.cert_id, domain.force_https, domain.http2) == expected


@pytest.mark.parametrize(("https", "versions", "others"), [
    ({}, None, {}), ({"tlsVersions": None}, None, {}), ({"tlsVersions": []}, (), {}),
    ({"TLSversions": ["TLSv1.2", "GM"]}, ("TLSv1.2", "GM"), {}),
    ({"tlsVersions": [2, 3]}, None, {"tlsVersions": (2, 3)}),
    ({"tlsVersions": "TLSv1.2"}, None, {"tlsVersions": "TLSv1.2"}),
    ({"tlsVersions": [{"min": 1}]}, None, {}), ({"tlsVersions": [True]}, None, {}),
    ({"OCSP": True, "freeCert": True, "certID": "x"}, None, {"OCSP": True}),
    ({"a": 3, "b": "x", "c": ["x", "y"], "d": None, "e": {"f": 1}, "g": [["x"]], "h": 1.5}, None,
     {"a": 3, "b": "x", "c": ("x", "y")}),
    ({"pri": "-----BEGIN\nKEY", "long": "x" * 5000, "big": 10**30, "\ud800": 1, "l": ["\n"]}, None,
     {}),
], ids=str)
def test_other_fields_of_https(https: dict[str, object], versions: object, others: object) -> None:
    """What is plain can go back as it came; what is not, or has a place of its own, does not."""
    entry = responses.lowered({"name": "a.example.com", "https": https})
    domain = responses.read_domain(entry, detailed=True)
    assert domain is not None
    assert (versions, others) == (domain.tls_versions, domain.https_fields)
