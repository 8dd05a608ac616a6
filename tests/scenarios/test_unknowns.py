"""Both readings of whatever nobody outside of Qiniu knows for sure; docs/unknowns.md has the list.

A reading is lived through as a whole: first issuance, renewal, drift, rollback, and on. Where a
switch of the emulator alone does not provoke the difference, a further test does.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from unittest import mock

import pytest

from tests.package import DOCS, TESTS
from tests.sandbox.pki import Leaf
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.qiniu_rules import CertPairs, Switches
from tests.sandbox.wire import Fault, Request, Response, json_response
from tests.scenarios.account import DOMAINS, NAMES, fill
from tests.scenarios.invariants import (
    Bystanders,
    Settings,
    changes,
    check,
    check_calls,
    check_conf,
    check_status,
)
from tests.scenarios.machine import Cloud, Machine, Run

HOUR, DAY = 3600, 86400
WWW, IMG, APEX = "www.example.com", "img.example.com", "example.com"
UPLOAD = "POST fusion.qiniuapi.com/sslcert"
DOCUMENT = DOCS / "unknowns.md"
ROWS = range(1, 32)
SUB_USER = "IAM-sandbox".ljust(44, "0")
SOURCE, LIVE = "source.example.com", "live.example.com"
OTHER_SERVICES: dict[str, Settings] = {SOURCE: (False, False), LIVE: (False, False)}
"""A domain of Kodo's and one of Pili's, which have no settings."""
ALL_SERVICES = ("--qiniu-services", "cdn,kodo,pili")


@dataclass(frozen=True)
class Reading:
    """One reading of one row.

    :ivar days: how long certificates are valid.
    :ivar leaf: how certificates differ from the usual ones.
    :ivar allowed: codes that Qiniu may answer under this reading, although nothing is wrong.
    :ivar notices_after: seconds until a change made by somebody else can be seen at all.
    :ivar arguments: further arguments of the first issuance.
    :ivar services: the account has domains of other services, too, and they are served.
    :ivar unserved: those of these domains that cannot be, and keep what they have.
    :ivar access_key: whose key is used.
    """

    row: int
    name: str
    switches: Mapping[str, Any]
    days: float = 90
    leaf: Mapping[str, Any] = field(default_factory=dict)
    allowed: Collection[int] = ()
    notices_after: float = 0
    arguments: tuple[str, ...] = ()
    services: bool = False
    unserved: Collection[str] = ()
    access_key: str = ACCESS_KEY
    around: Callable[[Cloud], contextlib.AbstractContextManager[None]] | None = field(
        default=None, repr=False)


@contextlib.contextmanager
def dated(cloud: Cloud, ahead: float = 0) -> Iterator[None]:
    """Requests carry the virtual time, as a machine whose clock is *ahead* would date them."""
    class Virtual(dt.datetime):
        @classmethod
        def utcnow(cls) -> Virtual:
            return cls.fromtimestamp(cloud.clock.now + ahead, dt.timezone.utc)

    with mock.patch("qiniu.auth.datetime", Virtual):
        yield


THROTTLED = {403024, 429, 573}
RSA = {"key_type": "rsa"}

READINGS = [
    Reading(1, "any host and scheme", {"lenient_auth": True}),
    Reading(2, "30 seconds, with a date",
            {"clock_window": 30, "date_required": True}, around=dated),
    Reading(2, "15 minutes, with a date",
            {"clock_window": 900, "date_required": True}, around=dated),
    *(Reading(3, f"{answer}, Retry-After {retry_after}",
              {"enforce_rate": True, "api_rate": 3, "fusion_rate": 2,
               "rate_limit_answer": answer, "retry_after": retry_after},
              allowed={400} if answer == "400" else THROTTLED)
      for answer in ("403024", "429", "573", "400") for retry_after in (None, 3)),
    *(Reading(3, f"a second is a {reading}", {"enforce_rate": True, "rate_reading": reading})
      for reading in ("calendar second", "bucket", "drip")),
    *(Reading(4, f"{end}, pages of {cap}",
              {"list_end": end, "list_page_cap": cap, "list_page_default": cap})
      for end in ("empty marker", "empty page", "marker never moves") for cap in (1, 1000)),
    Reading(4, "empty lists are null", {"empty_lists": "null"}, services=True),
    Reading(5, "a quota that is just enough", {"quota": 4}, allowed={400500}),
    Reading(5, "a name is required", {"name_required": True}),
    Reading(6, "common_name is checked", {"common_name": "400326"}),
    Reading(7, "six days are enough", {"minimum_days": 0}, days=6),
    Reading(8, "RSA where uploads of ECDSA are refused", {"ec_refused": "400319"}, leaf=RSA),
    Reading(8, "RSA where lines without ECDSA refuse it", {"ec_refused": "400514"}, leaf=RSA),
    Reading(9, "the same certificate once", {"same_pem": "400400"}),
    Reading(10, "sslize for all", {"sslize_on_https": "accept"}),
    Reading(10, "httpsconf for all", {"httpsconf_on_http": "accept"}),
    Reading(12, "omitted means as it is", {"omitted_bool": "preserve"}),
    Reading(13, "no-op 400013", {"noop": "400013"}),
    Reading(13, "no-op is published", {"noop": "publish"}),
    Reading(14, "visible at once", {"visibility": "at once"}),
    Reading(14, "lists lag behind", {"list_staleness": 2.5}, notices_after=3),
    Reading(14, "visible at once, lists lag behind",
            {"visibility": "at once", "list_staleness": 2.5}, notices_after=3),
    Reading(14, "no filter certId", {"ignore_cert_filter": True}),
    Reading(15, "deletable while published", {"delete_in_use": "wanted only"}),
    Reading(16, "no way back to http", {"unsslize_valid": "refuse"}),
    Reading(17, "HSTS is accepted", {}, arguments=("--hsts",)),
    Reading(17, "HSTS is refused", {"respheader_hsts": "400"}, arguments=("--hsts",),
            allowed={400000}),
    Reading(18, "sub-users may bind", {"iam_bind": "accept"}, services=True, access_key=SUB_USER),
    Reading(18, "unbinding is refused", {"unbind": "401"}, services=True),
    Reading(18, "no list of source domains", {"source_listings": "no /domain"}, services=True,
            allowed={404}),
    Reading(18, "no list that knows kinds", {"source_listings": "no /v3/domains"}, services=True),
    Reading(19, "bound by id", {"pili_by": "id"}, services=True, allowed={400}),
    Reading(19, "an ambiguous name is refused", {"pili_duplicate_names": "refuse"}, services=True),
    Reading(19, "protected from deletion", {"pili_delete_allowed": False}, services=True),
    *(Reading(21, f"upload {code}, list {list_code}, change {body or 'empty'}",
              {"upload_code": code, "list_code": list_code, "success_put": body})
      for code, list_code, body in (
          (0, 0, "{}"), (200, None, ""), (None, 200, '{"code":200}'))),
    Reading(21, "an empty error in successes", {"empty_error": True}, services=True),
    Reading(23, "seconds", {"publish_seconds": 2}),
    Reading(23, "beyond the timeout", {"publish_seconds": 2500}),
    Reading(23, "one of several hangs for days", {"stuck": frozenset({WWW})}),
    Reading(27, "modifyAt never moves", {"modify_at": "frozen"}, notices_after=DAY),
    Reading(28, "no common name", {}, leaf={"common_name": False}),
    Reading(28, "a common name where one is needed", {"no_common_name": "400348"}),
    *(Reading(29, f"TLS versions {reads} and {field}, {omitted} where omitted, newer {newer}",
              {"tls_versions": reads, "https_omitted": omitted, "tls_field": field,
               "newer_field": newer, "unknown_fields": unknown},
              allowed={400000} if "400" in (field, unknown) else ())
      for reads, omitted, field, newer, unknown in (
          ("shown", "default", "accept", "none", "ignore"),
          ("hidden", "default", "accept", "shown", "ignore"),
          ("shown", "default", "400", "shown", "400"),
          ("shown", "kept", "accept", "read only", "400"),
          ("shown", "kept", "accept", "read only", "ignore"))),
    *(Reading(30, f"/cert/ takes {pairs}", {"cert_pairs": pairs}, services=True, allowed={401})
      for pairs in ("QBox", "PUT and Qiniu", "any")),
    *(Reading(30, f"/cert/ takes PUT and Qiniu, else {status}",
              {"cert_pairs": "PUT and Qiniu", "cert_method": str(status)}, services=True,
              allowed={401, status}) for status in (404, 405)),
    Reading(30, "/cert/ takes nothing", {"cert_pairs": "none"}, services=True,
            unserved={SOURCE, LIVE}, allowed={401}),
    *(Reading(31, f"an old label on the disk, {rule}", {"ec_label": rule},
              leaf={"old_key_label": True}) for rule in ("accept", "400327")),
    # Unknown as well, without a row of their own: sections 3.1, 4.3 and 4.5 of the API's
    # description.
    Reading(0, "a wrong key is 400327", {"key_mismatch": "400327"}),
    Reading(0, "https is absent", {"https_absent": "absent"}),
    Reading(0, "https is null", {"https_absent": "null"}),
    Reading(0, "operation modify_https_crt", {"certificate_operation": "modify_https_crt"}),
]


LIKELY = Reading(0, "the likelier ones", {})
"""The emulator's defaults."""


class Unusual(Machine):
    """A machine whose certificates are not the usual ones.

    :ivar leaf: how they differ.
    """

    leaf: Mapping[str, Any]

    def _leaf(self, names: list[str]) -> Leaf:
        now = dt.datetime.fromtimestamp(self.cloud.clock.time(), dt.timezone.utc)
        return self.cloud.authority.intermediate("Unusual CA").issue(
            *names, days=self.days, now=now, **self.leaf)


def begin(directory: Path, reading: Reading = LIKELY,
          **switches: Any) -> tuple[Machine, Bystanders]:
    """The account before the first issuance."""
    switches = {"publish_seconds": 300, **reading.switches, **switches}
    keys = (reading.access_key, SECRET_KEY)
    cloud = Cloud(Switches(**switches), {reading.access_key: SECRET_KEY})
    cloud.switches.clock_window = switches.get("clock_window", cloud.switches.clock_window)
    others = fill(cloud, min(60, reading.days / 2))  # one that ends later would be left
    if reading.services:
        old = cloud.qiniu.serving(WWW).cert_id
        cloud.qiniu.add_bucket("bucket")
        cloud.qiniu.add_source_domain(SOURCE, "bucket", old)
        cloud.qiniu.add_hub("hub")
        cloud.qiniu.add_live_domain("hub", LIVE, cert_name=(
            old if cloud.switches.pili_by == "id" else "a stranger's"))
        others = replace(others, domains={
            **others.domains, **{name: cloud.qiniu.serving(name) for name in reading.unserved}})
    machine = Unusual(cloud, directory, keys=keys, days=reading.days)
    machine.leaf = reading.leaf
    return machine, others


def settled(directory: Path, **switches: Any) -> tuple[Machine, Bystanders]:
    """The account some time after the first issuance."""
    machine, others = begin(directory, **switches)
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    machine.cloud.clock.sleep(HOUR)
    return machine, others


def live(machine: Machine, others: Bystanders, reading: Reading,
         domains: Mapping[str, Settings] = DOMAINS) -> None:
    """Live through everything that happens to a certificate, and check all at every step."""
    cloud = machine.cloud
    around = (contextlib.nullcontext if reading.around is None
              else functools.partial(reading.around, cloud))

    def step(where: str, command: Callable[..., Run], leaf: str = "") -> Run:
        run = command(around=around)
        where = f"{where}:\n{run.output}"
        assert 0 == run.status, where
        check_calls(run, where, allowed=reading.allowed)
        check_status(run, machine, domains, leaf=leaf, where=where)
        cloud.clock.sleep(HOUR)
        return run

    def confirmed(where: str, leaf: str = "") -> None:
        run = step(f"renew after {where}", machine.renew, leaf)
        assert [] == [label for label in changes(run) if "DELETE" not in label], where
        check(machine, domains, others, leaf=leaf, where=where)

    # Who asks for a service by name has an error where it refuses, before anything is issued.
    services = ALL_SERVICES if reading.services and not reading.unserved else ()
    step("issuance", functools.partial(
        machine.issue, *NAMES, arguments=(*reading.arguments, *services)))
    confirmed("issuance")
    first = machine.fingerprint()
    step("renewal", machine.force_renewal)
    confirmed("renewal")
    cloud.qiniu.change_domain(IMG, cert_id=min(others.certificates))
    cloud.clock.sleep(reading.notices_after)
    assert [IMG] == _put(step("drift", machine.renew))
    confirmed("drift")
    run = step("rollback", functools.partial(machine.certbot, "rollback", *machine.installer),
               first)
    assert [] == run.labels(UPLOAD), "the certificate was kept for this"
    confirmed("rollback", first)
    step("renewal after rollback", machine.force_renewal)
    confirmed("renewal after rollback")


def live_beside_one_that_hangs(machine: Machine, others: Bystanders, reading: Reading) -> None:
    """Live through the same, the others right at every step, while one is published for days."""
    # A run in which that domain is only published is no failure. One that has something for it
    # that it cannot take is, and so is any after a day.
    cloud = machine.cloud
    [name] = cloud.switches.stuck
    rest = {other: settings for other, settings in DOMAINS.items() if other != name}
    before = cloud.qiniu.serving(name).cert_id

    def step(where: str, command: Callable[[], Run], status: int, text: str,
             leaf: str = "") -> Run:
        run = command()
        where = f"{where}:\n{run.output}"
        assert status == run.status, where
        assert text in " ".join(run.output.split()), where
        check_calls(run, where, allowed=reading.allowed)
        cloud.clock.sleep(HOUR)
        assert before == cloud.qiniu.serving(name).cert_id, where
        check(machine, rest, others, leaf=leaf, keep=2, where=where)
        return run

    step("issuance", functools.partial(machine.issue, *NAMES), 0,
         f"Qiniu is still publishing {name}")
    assert [] == changes(step("renew after issuance", machine.renew, 0, ""))
    first = machine.fingerprint()
    busy = f"{name} is busy at Qiniu with our own earlier change"
    step("renewal", machine.force_renewal, 1, busy)
    step("renew after renewal", machine.renew, 1, busy)
    cloud.clock.sleep(DAY)
    ticket = f"The domain {name} has been stuck in the state processing"
    for _ in range(2):
        assert [] == changes(step("renew after a day", machine.renew, 1, ticket))
    cloud.qiniu.change_domain(IMG, cert_id=min(others.certificates))
    assert [IMG] == _put(step("drift", machine.renew, 1, ticket))
    step("rollback", functools.partial(machine.certbot, "rollback", *machine.installer), 1, name,
         first)
    cloud.switches.stuck = frozenset()
    for command, leaf in ((machine.renew, first), (machine.force_renewal, ""), (machine.renew, "")):
        run = command()
        assert 0 == run.status, run.output
        check_status(run, machine, DOMAINS, leaf=leaf)
        cloud.clock.sleep(HOUR)
        check(machine, DOMAINS, others, leaf=leaf, keep=2)


def _put(run: Run) -> list[str]:
    """The CDN domains whose changes Qiniu took; one that came too fast is sent again."""
    return [call.request.path.split("/")[2] for call in run.calls
            if call.request.method == "PUT" and call.status == 200]


@pytest.mark.parametrize(
    "reading", [LIKELY, *READINGS],
    ids=lambda reading: f"row {reading.row}: {reading.name}")
def test_life(reading: Reading, tmp_path: Path) -> None:
    """A whole life under one reading: everything served, nothing refused, each exit status true."""
    machine, others = begin(tmp_path, reading)
    if machine.cloud.switches.stuck:
        live_beside_one_that_hangs(machine, others, reading)
        return
    domains = DOMAINS | OTHER_SERVICES if reading.services else DOMAINS
    live(machine, others, reading, {name: settings for name, settings in domains.items()
                                    if name not in reading.unserved})


def test_row_2_a_clock_that_is_off(tmp_path: Path) -> None:
    """A minute is an error under the one reading, with the reason; under the other it is none."""
    machine, others = begin(tmp_path)
    cloud = machine.cloud
    around = functools.partial(dated, cloud, ahead=60)
    cloud.switches.clock_window = 30
    run = machine.issue(*NAMES, around=around)
    assert 1 == run.status
    assert "Check this machine's clock" in run.output
    assert [] == changes(run)
    cloud.switches.clock_window = 900
    run = machine.issue(*NAMES, around=around)
    assert 0 == run.status, run.output
    check(machine, DOMAINS, others)


def test_row_5_a_quota_that_is_used_up(tmp_path: Path) -> None:
    """Without room for another certificate the old one stays, and the message says what to do."""
    machine, others = begin(tmp_path, quota=3)
    assert 0 == machine.issue(*NAMES).status
    machine.cloud.clock.sleep(HOUR)
    first = machine.fingerprint()
    run = machine.force_renewal()
    assert 1 == run.status
    assert "The account's quota of certificates is used up" in run.output
    check_calls(run, allowed={400500})
    check(machine, DOMAINS, others, leaf=first)
    machine.cloud.switches.quota = None
    assert 0 == machine.renew().status
    machine.cloud.clock.sleep(HOUR)
    check(machine, DOMAINS, others)


@pytest.mark.parametrize(("switches", "days", "advice"), [
    ({"minimum_days": 30}, 6, "Qiniu refuses certificates with less than 30 days left"),
    ({"ec_refused": "400319"}, 90, "renew with --key-type rsa"),
    ({"ec_refused": "400514"}, 90, "renew with --key-type rsa"),
], ids=["row 7", "row 8, upload", "row 8, line"])
def test_rows_7_and_8_a_certificate_that_is_refused(
        switches: dict[str, Any], days: float, advice: str, tmp_path: Path) -> None:
    """The run fails with the advice, and every domain serves what it did before."""
    machine, _ = begin(tmp_path, **switches)
    machine.days = days
    before = {name: machine.cloud.qiniu.serving(name) for name in DOMAINS}
    run = machine.issue(*NAMES)
    assert 1 == run.status
    assert advice in run.output
    machine.cloud.clock.sleep(HOUR)
    assert before == {name: machine.cloud.qiniu.serving(name) for name in DOMAINS}


@pytest.mark.parametrize("same_pem", ["new id", "400400"])
@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "truncate"])
def test_row_9_an_upload_whose_answer_is_lost(same_pem: str, kind: str, tmp_path: Path) -> None:
    """One copy of the certificate is at Qiniu, whatever a second upload would have given."""
    machine, others = begin(tmp_path, same_pem=same_pem)
    machine.cloud.board.arm(Fault(kind), match=UPLOAD)
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    assert 1 == len(run.labels(UPLOAD))
    check(machine, DOMAINS, others)


@pytest.mark.parametrize("sslize_on_https", ["400013", "accept"])
def test_row_10_a_domain_switched_to_https_meanwhile(
        sslize_on_https: str, tmp_path: Path) -> None:
    """Read as http, found on https: the domain is read again and gets the certificate."""
    machine, others = begin(tmp_path, sslize_on_https=sslize_on_https)
    cloud = machine.cloud
    free = cloud.stranger(APEX)
    change = functools.partial(cloud.qiniu.change_domain, APEX, protocol="https", cert_id=free,
                               force_https=True, http2=True)
    cloud.board.arm(Fault("hook", hook=lambda _: change()), match=f"{APEX}/sslize")
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    check(machine, DOMAINS, others)


@pytest.mark.parametrize("httpsconf_on_http", ["400", "accept"])
def test_row_10_a_domain_switched_to_http_meanwhile(
        httpsconf_on_http: Any, tmp_path: Path) -> None:
    """Read as https, found on http: at the latest the next run brings HTTPS and settings back."""
    machine, others = settled(tmp_path, httpsconf_on_http=httpsconf_on_http)
    cloud = machine.cloud
    cloud.board.arm(Fault("hook", hook=lambda _: cloud.qiniu.change_domain(
        WWW, protocol="http", cert_id="", force_https=False)), match=f"{WWW}/httpsconf")
    run = machine.force_renewal()
    check_status(run, machine, DOMAINS)
    for _ in range(2):
        cloud.clock.sleep(HOUR)
        run = machine.renew()
        assert 0 == run.status, run.output
    check(machine, DOMAINS, others)


@pytest.mark.parametrize(("status", "code"), [(400, 400030), (403, 400030), (400, 400999)])
@pytest.mark.parametrize("words", ["try to operate processing domain", "域名正在处理中,请稍后重试"])
def test_rows_11_and_22_busy_in_any_words(
        status: int, code: int, words: str, tmp_path: Path) -> None:
    """The code counts, not the status and not the text; the domain is read again and changed."""
    machine, others = settled(tmp_path)
    machine.cloud.board.arm(Fault("reply", json_response(status, {"code": code, "error": words})),
                            match=f"{WWW}/httpsconf")
    run = machine.force_renewal()
    assert 0 == run.status, run.output
    check_status(run, machine, DOMAINS)
    machine.cloud.clock.sleep(HOUR)
    assert 0 == machine.renew().status
    check(machine, DOMAINS, others)


def test_row_12_every_change_says_all(tmp_path: Path) -> None:
    """Three fields in every change, whatever the domain has, and no other if none is shown."""
    machine, _ = settled(tmp_path)
    machine.cloud.clock.sleep(HOUR)
    bodies = [json.loads(call.request.body) for call in machine.force_renewal().calls
              if call.request.method == "PUT"]
    assert len(DOMAINS) == len(bodies)
    assert {("certId", "forceHttps", "http2Enable")} == {tuple(body) for body in bodies}


@pytest.mark.parametrize("noop", ["400910", "400013", "publish"])
def test_row_13_a_change_that_somebody_else_made_meanwhile(noop: str, tmp_path: Path) -> None:
    """A no-op that could not be foreseen is no failure, however it is answered."""
    machine, others = settled(tmp_path, noop=noop)
    cloud = machine.cloud

    def change(request: Request) -> None:
        wanted = json.loads(request.body)
        cloud.qiniu.change_domain(WWW, cert_id=wanted["certId"],
                                  force_https=wanted["forceHttps"], http2=wanted["http2Enable"])

    cloud.board.arm(Fault("hook", hook=change), match=f"{WWW}/httpsconf")
    run = machine.force_renewal()
    assert 0 == run.status, run.output
    check_status(run, machine, DOMAINS)
    cloud.clock.sleep(HOUR)
    assert 0 == machine.renew().status
    check(machine, DOMAINS, others)


@pytest.mark.parametrize("unsslize", ["allow", "refuse"])
def test_row_16_back_to_what_was_before(unsslize: str, tmp_path: Path) -> None:
    """A rollback of the first issuance: http again, or the reason why not, said once."""
    machine, _ = begin(tmp_path, unsslize_valid=unsslize)
    qiniu = machine.cloud.qiniu
    before = {name: qiniu.serving(name) for name in DOMAINS}
    assert 0 == machine.issue(*NAMES).status
    ours = qiniu.serving(APEX)
    run = machine.certbot("rollback", *machine.installer)
    after = {name: qiniu.serving(name) for name in DOMAINS}
    if unsslize == "allow":
        assert 0 == run.status, run.output
        assert before == after
    else:
        assert 1 == run.status
        assert "it keeps HTTPS and its present certificate" in run.output
        assert {**before, APEX: ours} == after
    machine.cloud.clock.sleep(HOUR)
    run = machine.renew()
    assert (0, []) == (run.status, changes(run)), run.output
    assert after == {name: qiniu.serving(name) for name in DOMAINS}


@pytest.mark.parametrize("answer", [
    json_response(404, {"code": 404001, "error": "无此域名"}),
    json_response(612, {"code": 612, "error": "no such domain"}),
    Response(404),
], ids=["404001", "612", "404 without a body"])
def test_row_20_a_domain_that_is_gone(answer: Response, tmp_path: Path) -> None:
    """All of them mean that it is not here: told once, and no longer managed; the others are."""
    machine, others = settled(tmp_path)
    cloud = machine.cloud
    cloud.qiniu.remove_domain(WWW)
    cloud.board.arm(Fault("reply", answer), match=f"/domain/{WWW}", times=1000)
    run = machine.renew()
    assert (1, []) == (run.status, changes(run)), run.output
    assert f"{WWW} does not exist" in run.output
    for command in (machine.force_renewal, machine.renew):
        run = command()
        assert (0, []) == (run.status, run.labels(WWW)), run.output
        cloud.clock.sleep(HOUR)
    check(machine, {name: DOMAINS[name] for name in DOMAINS if name != WWW}, others)


@pytest.mark.parametrize("publish_seconds", [20, 900, 2500])
def test_row_24_a_rollback_of_what_is_being_published(
        publish_seconds: float, tmp_path: Path) -> None:
    """It waits its turn; beyond the timeout it says so, and the next runs complete it."""
    machine, others = settled(tmp_path, publish_seconds=publish_seconds)
    machine.cloud.clock.sleep(HOUR)
    first = machine.fingerprint()
    assert 0 == machine.force_renewal().status
    run = machine.certbot("rollback", *machine.installer)
    assert (publish_seconds > 1800) == run.status, run.output
    check_calls(run)
    check_status(run, machine, DOMAINS, leaf=first)
    for _ in range(2):
        machine.cloud.clock.sleep(HOUR)
        run = machine.renew()
        assert 0 == run.status, run.output
    machine.cloud.clock.sleep(HOUR)
    check(machine, DOMAINS, others, leaf=first)


def test_row_25_domains_of_other_kinds(tmp_path: Path) -> None:
    """A pan domain is served like any other; test and DCDN domains are left out, and stay so."""
    machine, others = begin(tmp_path)
    cloud = machine.cloud
    old = cloud.qiniu.serving(WWW).cert_id
    cloud.qiniu.add_domain("pan.example.com", kind="pan", protocol="https", cert_id=old)
    cloud.qiniu.add_domain("test.example.com", kind="test", protocol="https", cert_id=old)
    cloud.qiniu.add_domain("dcdn.example.com", product="dcdn", protocol="https", cert_id=old)
    left_out = {name: cloud.qiniu.serving(name)
                for name in ("test.example.com", "dcdn.example.com")}
    live(machine, replace(others, domains={**others.domains, **left_out}),
         LIKELY, {**DOMAINS, "pan.example.com": (False, False)})


@pytest.mark.parametrize(("state", "facts", "text"), [
    ("frozen", {"freeze_type": "notIcp"}, "is frozen at Qiniu (notIcp)"),
    ("notIcpFrozen", {"state_reason": "domain have no icp"}, "(domain have no icp)"),
    ("offlined", {}, "is offline at Qiniu"),
], ids=["frozen", "notIcpFrozen", "offlined"])
def test_row_26_domains_that_cannot_be_changed(
        state: str, facts: dict[str, Any], text: str, tmp_path: Path) -> None:
    """Found, they are left out and named; listed, they are refused before anything is issued."""
    machine, others = begin(tmp_path)
    cloud = machine.cloud
    cloud.qiniu.add_domain("dead.example.com", protocol="https", state=state, **facts,
                           cert_id=cloud.qiniu.serving(WWW).cert_id)
    dead = {"dead.example.com": cloud.qiniu.serving("dead.example.com")}
    run = machine.issue(*NAMES, arguments=("--qiniu-domains", f"{WWW},dead.example.com"))
    assert (1, []) == (run.status, changes(run))
    assert text in run.output
    assert not (machine.config_dir / "live").exists()
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    assert text in run.output
    check(machine, DOMAINS, replace(others, domains={**others.domains, **dead}))


def test_row_27_a_change_that_no_list_shows(tmp_path: Path) -> None:
    """If ``modifyAt`` does not move, the full read of each day finds what others changed."""
    machine, others = settled(tmp_path, modify_at="frozen")
    cloud = machine.cloud
    assert 0 == machine.renew().status
    cloud.qiniu.change_domain(IMG, cert_id=min(others.certificates))
    cloud.clock.sleep(DAY)
    run = machine.renew()
    assert (0, [IMG]) == (run.status, _put(run)), run.output
    cloud.clock.sleep(HOUR)
    check(machine, DOMAINS, others)
    check_conf(machine)


@pytest.mark.parametrize(("tls_versions", "omitted"), [
    ("hidden", "kept"), ("shown", "kept"), ("shown", "default")])
def test_row_29_tls_versions_that_were_chosen(
        tls_versions: str, omitted: str, tmp_path: Path) -> None:
    """A choice in the console stays, unless no read shows it and Qiniu drops it."""
    machine, others = begin(tmp_path, tls_versions=tls_versions, https_omitted=omitted)
    qiniu = machine.cloud.qiniu
    qiniu.change_domain(WWW, tls_versions=("TLSv1.2", "TLSv1.3"))
    live(machine, others, LIKELY)
    assert ("TLSv1.2", "TLSv1.3") == qiniu.serving(WWW).tls_versions


def test_row_28_a_certificate_without_a_common_name(tmp_path: Path) -> None:
    """If Qiniu wants one, the run says how to get it, and everything serves as before."""
    reading = Reading(28, "refused", {"no_common_name": "400348"}, leaf={"common_name": False})
    machine, _ = begin(tmp_path, reading)
    before = {name: machine.cloud.qiniu.serving(name) for name in DOMAINS}
    run = machine.issue(*NAMES)
    assert 1 == run.status
    assert "code 400348" in run.output
    assert "renew with --required-profile classic" in " ".join(run.output.split())
    check_calls(run, allowed={400348})
    machine.cloud.clock.sleep(HOUR)
    assert before == {name: machine.cloud.qiniu.serving(name) for name in DOMAINS}


@pytest.mark.parametrize("unbind", ["accept", "401"])
def test_row_18_back_to_what_was_before(unbind: str, tmp_path: Path) -> None:
    """A rollback takes the first certificate off again, or says that it cannot."""
    reading = Reading(18, "unbind", {"unbind": unbind}, services=True)
    machine, _ = begin(tmp_path, reading)
    qiniu = machine.cloud.qiniu
    plain = "plain.example.com"
    qiniu.add_source_domain(plain, "bucket")
    names = (plain, *DOMAINS, SOURCE)
    before = {name: qiniu.serving(name) for name in names}
    assert 0 == machine.issue(*NAMES, plain).status
    ours = qiniu.serving(plain)
    assert ours.cert_id == qiniu.serving(SOURCE).cert_id != before[SOURCE].cert_id
    run = machine.certbot("rollback", *machine.installer)
    after = {name: qiniu.serving(name) for name in names}
    if unbind == "accept":
        assert 0 == run.status, run.output
        assert before == after
    else:
        assert 1 == run.status
        assert f"{plain} served http before certbot managed it" in run.output
        assert {**before, plain: ours} == after


@pytest.mark.parametrize("pairs", ["none", "QBox", "PUT and Qiniu", "any", "proven"])
def test_row_30_after_a_change_of_what_is_taken(pairs: CertPairs, tmp_path: Path) -> None:
    """Source domains take the way that works now; if none does, that is said, and healed later."""
    reading = Reading(30, "proven", {}, services=True)
    machine, others = begin(tmp_path, reading)
    cloud = machine.cloud
    everything = DOMAINS | OTHER_SERVICES
    assert 0 == machine.issue(*NAMES, arguments=ALL_SERVICES).status
    cloud.clock.sleep(HOUR)
    old = cloud.qiniu.serving(SOURCE).cert_id
    cloud.switches.cert_pairs = pairs
    run = machine.force_renewal()
    check_calls(run, allowed={401})
    cloud.clock.sleep(HOUR)
    if pairs == "none":
        assert 1 == run.status
        assert "list the certificates of source domains" in run.output
        assert "bad token" in run.output
        assert old == cloud.qiniu.serving(SOURCE).cert_id
        check(machine, {name: everything[name] for name in everything if name != SOURCE}, others,
              keep=1)
        cloud.switches.cert_pairs = "proven"
    else:
        assert 0 == run.status, run.output
    assert 0 == machine.renew().status
    cloud.clock.sleep(HOUR)
    check(machine, everything, others)


def test_row_30_a_listed_domain_where_nothing_is_taken(tmp_path: Path) -> None:
    """It is an error before anything is issued, with what was tried; nobody is harmed."""
    reading = Reading(30, "none", {"cert_pairs": "none"}, services=True)
    machine, _ = begin(tmp_path, reading)
    names = (*DOMAINS, *OTHER_SERVICES)
    before = {name: machine.cloud.qiniu.serving(name) for name in names}
    run = machine.issue(*NAMES, arguments=("--qiniu-domains", f"{WWW},{SOURCE}"))
    assert (1, []) == (run.status, changes(run))
    assert f"{SOURCE} is in no list" in run.output
    assert "bad token as GET with QBox" in run.output
    assert before == {name: machine.cloud.qiniu.serving(name) for name in names}


# Nothing is forgotten ---------------------------------------------------------------------------


def test_every_row_has_a_test() -> None:
    """Each row of docs/unknowns.md names tests that exist, or says why it does not touch us."""
    rows = re.findall(r"^\| (\d+) \|.*\| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.M)
    assert [str(row) for row in ROWS] == [row for row, _ in rows]
    lived = {reading.row for reading in READINGS}
    for row, cell in rows:
        names = re.findall(r"`([^`]+)`", cell)
        assert names or re.match(r"Does not touch us: .{20}", cell), f"row {row} has no test"
        for name in names:
            if name == "test_life":
                assert int(row) in lived, f"no reading for row {row}"
            else:
                file, _, function = name.rpartition("::")
                texts = [path.read_text(encoding="utf-8")
                         for path in TESTS.rglob(file or Path(__file__).name)]
                assert any(f"def {function}(" in text for text in texts), name


def test_every_switch_is_flipped() -> None:
    """Each value of each switch of the emulator is lived with."""
    hints = get_type_hints(Switches)
    for switch in fields(Switches):
        tried = {reading.switches[switch.name] for reading in READINGS
                 if switch.name in reading.switches} | {switch.default}
        kinds = get_args(hints[switch.name])
        if get_origin(hints[switch.name]) is Literal:
            assert set(kinds) == tried, switch.name
        else:
            assert len(tried) > 1, switch.name
