"""The report of ``doctor --explore``, under every reading of the unknowns."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.command.exploration.explorer import MOST_CALLS
from certbot_qiniu.command.exploration.questions import ASKED
from tests.package import DOCS
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Fault, Response, json_response
from tests.scenarios.command import Seat
from tests.scenarios.machine import Cloud, Run
from tests.scenarios.test_unknowns import LIKELY, READINGS, SUB_USER, Reading, begin, dated

BINDINGS = "the list of bindings with"

SHOWN: dict[tuple[str, Any], set[str]] = {
    ("lenient_auth", True): {"1 domains with QBox at api: taken",
                             "1 certificates with Qiniu at fusion: taken",
                             "1 certificates with QBox at api: taken"},
    ("date_required", True): {"2 no date: refused (HTTP 401, code 401002)"},
    ("clock_window", 900): {"2 a date that is 300 seconds old: taken"},
    ("list_end", "empty marker"): {
        "4 the list of certificates ends with a page that has entries and no marker",
        "4 the list of CDN domains ends with a page that has entries and no marker"},
    ("list_end", "marker never moves"): {
        "4 the list of certificates ends with a marker that does not move",
        "4 the list of CDN domains ends with a marker that does not move"},
    ("list_page_cap", 1): {"4 a page of certificates has 1 at most",
                           "4 a page of certificates has 1 unless more are asked for"},
    ("empty_lists", "null"): {"4 an empty list is null"},
    ("ignore_cert_filter", True): {"14 domains of a certificate that does not exist: some"},
    ("source_listings", "no /domain"): {"18 /domain?bucket=b1: refused (HTTP 404)"},
    ("source_listings", "no /v3/domains"): {"18 /v3/domains?tbl=b1: refused (HTTP 404)"},
    ("iam_bind", "accept"): {"18 the list of bindings, with the key of a sub-user: taken"},
    ("pili_by", "id"): {"19 a live domain shows the id of its certificate"},
    ("list_code", 0): {"21 the list of certificates: code 0"},
    ("list_code", None): {"21 the list of certificates: no code"},
    ("empty_error", True): {"21 the list of certificates: an empty error",
                            "21 the list of CDN domains: an empty error"},
    ("tls_versions", "shown"): {"29 d1, on HTTPS: shows tlsVersions, 0 of them"},
    **{("newer_field", value): {"29 d1, on HTTPS: shows 1 more setting, which go back as they are"}
       for value in ("shown", "read only")},
    ("cert_pairs", "PUT and Qiniu"): {f"30 {BINDINGS} QBox: refused (HTTP 401)",
                                      f"30 {BINDINGS} Qiniu: taken"},
    ("cert_pairs", "none"): {f"30 {BINDINGS} QBox: refused (HTTP 401)"},
    ("cert_pairs", "any"): {f"30 {BINDINGS} Qiniu: taken"},
    ("https_absent", "absent"): {"- d2, on http: its https is absent"},
    ("https_absent", "null"): {"- d2, on http: its https is null"},
}
"""What differs from the likelier readings, by what GET can see of a switch."""

UNSEEN = {
    "api_rate", "cert_method", "certificate_operation", "common_name", "delete_in_use", "ec_label",
    "ec_refused", "enforce_rate", "fusion_rate", "https_omitted", "httpsconf_on_http",
    "key_mismatch", "list_page_default", "list_staleness", "minimum_days", "modify_at",
    "name_required", "no_common_name", "noop", "omitted_bool", "pili_delete_allowed",
    "pili_duplicate_names", "publish_seconds", "quota", "rate_limit_answer", "rate_reading",
    "respheader_hsts", "retry_after", "same_pem", "sslize_on_https", "stuck", "success_put",
    "tls_field", "unbind", "unknown_fields", "unsslize_valid", "upload_code",
    "visibility"}
"""The other switches: what only a change, time or many calls would show.

A default length of pages is seen if it is below the number of certificates, as
``list_page_cap`` above.
"""


def account(directory: Path, reading: Reading = LIKELY, **switches: Any) -> Seat:
    """An account with domains of all services, and a machine that has no lineage of it yet."""
    reading = dataclasses.replace(reading, services=True)
    switches = {"clock_window": 30, **reading.switches, **switches}
    machine, _ = begin(directory / "before", reading, **switches)
    return Seat(machine.cloud, directory, keys=(reading.access_key, SECRET_KEY))


def explored(machine: Seat, status: int = 0) -> Run:
    """Explore, and look that it only looked, and gave nothing away."""
    with dated(machine.cloud):
        run = machine.run("doctor", "--explore", "--credentials", str(machine.credentials))
    assert status == run.status, run.output
    assert {"GET"} == {call.request.method for call in run.calls}
    assert not [label for label in run.labels() if "/sslcert/" in label]
    assert len(run.calls) <= MOST_CALLS
    check_silent(machine.cloud, run.output)
    return run


def check_silent(cloud: Cloud, output: str) -> None:
    """No name, id or key of the account is in a report, nor an id of a request."""
    qiniu = cloud.qiniu
    names = {certificate.cert_id for certificate in qiniu.certificates()}
    names |= {certificate.name for certificate in qiniu.certificates()}
    names |= {*qiniu._domains, *qiniu._sources, *qiniu._live, *cloud.accounts, SECRET_KEY}
    names |= {"example.com", "example.org", "reqid", "sandbox0"}
    assert [] == [name for name in names if name.lower() in output.lower()]
    assert not re.search(r"\bhub\b", output)


def verdicts(run: Run, verdict: str) -> set[str]:
    """Row and answer of the findings with one verdict."""
    return {f"{row} {text}" for row, text in re.findall(
        rf"^(\d+|-) +{verdict} +(\S.*)$", run.output, re.MULTILINE)}


STRICT = """\
Asking Qiniu with GET only, at most 40 times; nothing is changed.
certbot-qiniu VERSION asked Qiniu 26 times and changed nothing.
Rows, and what is assumed, are those of docs/unknowns.md.
d1 and d2 stand for domains, c1 for a certificate, b1 for a bucket.
The account: 5 CDN domains, 4 of them on HTTPS, and 2 certificates.

Row  Verdict     Answer
1    as assumed  domains with QBox at api: refused (HTTP 401, code 401002)
1    as assumed  certificates with Qiniu at fusion: refused (HTTP 401, code 401002)
1    as assumed  certificates with QBox at api: refused (HTTP 401, code 401002)
2    as assumed  a date that is 300 seconds old: refused (HTTP 403)
2    as assumed  no date: taken
4    as assumed  the list of certificates ends with an empty page
4    not known   how many certificates a page has at most: there are only 2
4    not known   how many certificates a page has unless more are asked for: there are only 2
4    as assumed  the list of CDN domains ends with an empty page
4    as assumed  an empty list is []
14   as assumed  domains of a certificate that does not exist: none
14   as assumed  domains of c1, the certificate of d1: d1 is one
18   not known   what the key of a sub-user may: this is none
18   as assumed  /domain?bucket=b1: a list
18   as assumed  /v3/domains?tbl=b1: a list
18   as assumed  both lists have the same source domains
19   as assumed  a live domain shows the name of its certificate
20   as assumed  a domain that does not exist: refused (HTTP 404, code 404001)
21   as assumed  the list of certificates: code 200
21   as assumed  the list of certificates: no error
21   as assumed  the list of CDN domains: no error
22   as assumed  the refusal of a domain that does not exist: in Chinese
29   as assumed  d1, on HTTPS: shows no tlsVersions
30   as assumed  the list of bindings with QBox: taken
30   as assumed  the list of bindings with Qiniu: refused (HTTP 401)
-    as assumed  d2, on http: its https names no certificate

All that could be asked is as assumed.
""".replace("VERSION", importlib.metadata.version("certbot-qiniu"))


def otherwise(report: str, *answers: str) -> str:
    """*report* with other answers than assumed, each told from the others by how it begins."""
    for answer in answers:
        begin = re.escape(answer.rpartition(": ")[0])
        report, count = re.subn(rf"as assumed  {begin}: .*", f"otherwise   {answer}", report)
        assert count == 1
    return report.replace(
        "All that could be asked is as assumed.", "Otherwise than assumed, and handled: the tests "
        "live through it, too. Please report it, so that the defaults can follow.")


LIVE_LIKE = otherwise(STRICT, "domains with QBox at api: taken",
                      "certificates with Qiniu at fusion: taken",
                      "certificates with QBox at api: taken")
LENIENT = otherwise(LIVE_LIKE, "a date that is 300 seconds old: taken",
                    "the list of bindings with Qiniu: taken")

PROFILES: dict[str, tuple[dict[str, Any], str]] = {
    "strict": ({}, STRICT),
    "live-like": ({"lenient_auth": True}, LIVE_LIKE),
    "lenient": ({"lenient_auth": True, "clock_window": 900, "cert_pairs": "any"}, LENIENT),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_report(profile: str, tmp_path: Path) -> None:
    """The whole of it, under three profiles."""
    switches, expected = PROFILES[profile]
    assert expected == explored(account(tmp_path, **switches)).output


@pytest.mark.parametrize(
    "reading", [LIKELY, *READINGS], ids=lambda reading: f"row {reading.row}: {reading.name}")
def test_reading(reading: Reading, tmp_path: Path) -> None:
    """The answers that differ from the assumptions are those of the reading, and no more."""
    run = explored(account(tmp_path, reading, publish_seconds=300))
    expected = set().union(*(SHOWN.get((name, value), set())
                             for name, value in reading.switches.items()))
    if reading.access_key == SUB_USER:
        expected = {*SHOWN["iam_bind", "accept"]}
    assert expected == verdicts(run, "otherwise")
    assert not verdicts(run, "not foreseen") | verdicts(run, "no answer")


def test_every_switch_is_seen_or_named() -> None:
    """A new switch of the emulator is thought of here, too."""
    names = {field.name for field in dataclasses.fields(Switches)}
    assert names == UNSEEN | {name for name, _ in SHOWN}


def test_documented() -> None:
    """docs/unknowns.md has what is asked, row by row, and the report answers each."""
    section = (DOCS / "unknowns.md").read_text(encoding="utf-8").partition("doctor --explore")[2]
    assert [f"- {f'Row {row}' if row else 'Without a row'}: {asked}."
            for row, asked in ASKED.items()] == re.findall(r"^- .*$", section, re.MULTILINE)
    rows = {int(row) for row in re.findall(r"^(\d+) ", STRICT, re.MULTILINE)}
    assert rows == ASKED.keys() - {0}


# What is not foreseen, or not to be had --------------------------------------------------------


@pytest.mark.parametrize(("match", "answer", "finding"), [
    ("GET api.qiniu.com/domain/no-such", json_response(612, {"error": "www.example.com"}),
     "20 +otherwise +a domain that does not exist: refused .HTTP 612."),
    ("GET api.qiniu.com/domain/no-such", json_response(400, {"code": 400999, "error": "x"}),
     "20 +not foreseen +a domain that does not exist: refused .HTTP 400, code 400999."),
    ("GET api.qiniu.com/domain/no-such", json_response(200, {"name": "www.example.com"}),
     "20 +not foreseen +a domain that does not exist: an answer like that of one that does"),
    ("GET api.qiniu.com/domain/.example.com", json_response(200, ["www.example.com"]),
     "14 +not foreseen +whether the filter `certId` works: an answer of an unknown form"),
    ("GET api.qiniu.com/cert/bindings", json_response(200, {"www.example.com": 1}),
     "30 +not foreseen +.*: a list of an unknown form"),
    ("GET api.qiniu.com/cert/bindings", json_response(403, {"error": ACCESS_KEY}),
     "30 +not foreseen +the list of bindings with QBox: refused .HTTP 403."),
    ("GET uc.qiniuapi.com/domain", json_response(200, []),
     "18 +not foreseen +both lists have other source domains"),
    ("GET uc.qiniuapi.com/buckets", json_response(200, 7), "18 +not foreseen +.*unknown form"),
], ids=["612", "400999", "a domain", "no object", "no list", "403", "other domains", "a number"])
def test_not_foreseen(match: str, answer: Response, finding: str, tmp_path: Path) -> None:
    """It is reported as such, whatever it is, and without a word of what came."""
    machine = account(tmp_path)
    machine.cloud.board.arm(Fault("reply", answer), match=match, times=100)
    run = explored(machine, status=int("not foreseen" in finding))
    assert re.search(rf"^{finding}$", run.output, re.MULTILINE), run.output
    assert ("Not foreseen: please report this" in run.output) is bool(run.status)


def test_silence(tmp_path: Path) -> None:
    """A host that does not answer is said, the others are asked, and no call is one too many."""
    machine = account(tmp_path)
    machine.cloud.board.arm(Fault("reply", Response(502)), match="uc.qiniuapi.com", times=100)
    machine.cloud.board.arm(Fault("timeout"), match="pili.qiniuapi.com", times=100)
    run = explored(machine, status=2)
    assert verdicts(run, "no answer") == {
        f"18 {ASKED[18]}: HTTP 502", f"19 {ASKED[19]}"}
    assert "Not everything was answered" in run.output
    assert run.labels("api.qiniu.com/cert/bindings")


def test_many_repeats(tmp_path: Path) -> None:
    """Repeats count: what is left is not asked."""
    machine = account(tmp_path)
    for part in ("buckets", "hubs", "no-such", "bindings"):
        machine.cloud.board.arm(Fault("reply", Response(502)), match=part, times=4)
    run = explored(machine, status=2)
    assert "not asked, as there were " in run.output
    assert 36 <= len(run.calls) <= MOST_CALLS


def test_empty_account(tmp_path: Path) -> None:
    """With an empty account nothing is known, and nothing is wrong."""
    cloud = Cloud(Switches())
    cloud.switches.clock_window = 30
    run = explored(Seat(cloud, tmp_path))
    assert len(verdicts(run, "not known")) == 8
    assert not verdicts(run, "otherwise") | verdicts(run, "not foreseen")


def test_long_lists(tmp_path: Path) -> None:
    """Of a list that takes long to read the end is not looked for, and the limit is seen."""
    machine = account(tmp_path, list_page_cap=1)
    for number in range(6):
        machine.cloud.stranger(f"site{number}.example.com", name=f"site{number}")
    run = explored(machine)
    assert "4 how a list of certificates ends: it has more than 5 pages" in verdicts(
        run, "not known")
    assert "4 a page of certificates has 1 at most" in verdicts(run, "otherwise")


@pytest.mark.parametrize(("match", "status", "verdict", "finding"), [
    ("GET fusion.qiniuapi.com/sslcert", 0, "otherwise", "4 a page of 1000 certificates: refused"),
    ("GET api.qiniu.com/domain", 1, "not foreseen", "4 a page of 1000 CDN domains: refused"),
], ids=["certificates", "domains"])
def test_refused_pages(match: str, status: int, verdict: str, finding: str, tmp_path: Path,
                       ) -> None:
    """An account that gives no pages so long is explored all the same."""
    machine = account(tmp_path)
    machine.cloud.board.arm(Fault("reply", json_response(400, {"error": "invalid limit"})),
                            match=match)
    run = explored(machine, status)
    assert finding in verdicts(run, verdict)
    assert "has more than" not in run.output
    assert not [text for text in verdicts(run, "otherwise") if "at most" in text]


def test_name_that_is_a_path(tmp_path: Path) -> None:
    """A question that could show a certificate's detail, with its private key, is not asked."""
    machine = account(tmp_path)
    entry = {"protocol": "https", "operatingState": "success"}
    names = [f"../sslcert/{machine.cloud.qiniu.certificates()[0].cert_id}", "www.example.com"]
    machine.cloud.board.arm(Fault("reply", json_response(200, {
        "domains": [{"name": name, **entry} for name in names], "marker": ""})),
        match="GET api.qiniu.com/domain")
    assert "29 d1, on HTTPS: shows no tlsVersions" in verdicts(explored(machine), "as assumed")


def test_whose_account(tmp_path: Path) -> None:
    """It is that of the certificates, if they have one; keys that open nothing end it."""
    machine = account(tmp_path, clock_window=10**9)
    run = machine.run("doctor", "--explore")
    assert run.status == 2
    assert "No renewal conf" in run.output
    assert machine.issue("www.example.com").status == 0
    for arguments in ((), ("--cert-name", "www.example.com")):
        run = machine.run("doctor", "--explore", *arguments)
        assert (run.status, {call.request.method for call in run.calls}) == (0, {"GET"})
    machine.credentials = machine.write_credentials("other.ini", (ACCESS_KEY, "x" * 40))
    assert machine.run("doctor", "--explore", "--credentials", str(machine.credentials)).status == 2
    run = machine.run("doctor", "--cert-name", "www.example.com")
    assert (run.status, run.calls) == (2, [])
    assert "go with --explore" in run.output
