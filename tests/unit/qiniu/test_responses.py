"""How answers are read: any JSON becomes a value of the model, or a typed error."""

from __future__ import annotations

from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Domain, RemoteCertificate
from tests.sandbox.wire import (
    json_response,
)
from tests.unit.qiniu.script import (
    CERT_ID,
    NAME,
    Scripted,
    domain_json,
    ok,
)

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


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
