"""Which facts have a series, and how it is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.command.survey import metrics
from certbot_qiniu.command.survey.facts import AccountFacts, Survey
from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.command.survey.judge import judge
from certbot_qiniu.command.survey.report import Report
from certbot_qiniu.model import Domain
from certbot_qiniu.targets.hook import Hook
from tests.unit.command.facts import BIND, DAY, KEEP, LATER, NOW, WAIT, WWW, seen

OF_DOMAIN, OF_LINEAGE = f'{{domain="{WWW}"}}', '{lineage="example.com"}'


def report(facts: Survey, **changes: Any) -> Report:
    return replace(judge(facts, 14), **changes)


def series(found: Report) -> dict[str, str]:
    """The series and their values, without our prefix."""
    text = metrics.text(found)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert text.endswith("\n")
    assert len(set(lines)) == len(lines)
    return dict(line.removeprefix("certbot_qiniu_").rsplit(" ", 1) for line in lines)


def test_what_is_well() -> None:
    """Each fact of a domain, a lineage and the run has its series, times in seconds."""
    facts = seen(KEEP, facts={"server": "nginx", "hooks": (Hook("/h", False),)})
    assert {
        f"domain_attention{OF_DOMAIN}": "0",
        f"domain_unknown{OF_DOMAIN}": "0",
        f"domain_managed{OF_DOMAIN}": "1",
        f"domain_in_sync{OF_DOMAIN}": "1",
        f"domain_publishing{OF_DOMAIN}": "0",
        f"certificate_expiry_timestamp_seconds{OF_DOMAIN}": str(int(NOW + 60 * DAY)),
        f"lineage_certificate_issued_timestamp_seconds{OF_LINEAGE}": str(int(NOW - 30 * DAY)),
        f"lineage_certificate_expiry_timestamp_seconds{OF_LINEAGE}": str(int(LATER.timestamp())),
        f"lineage_renews{OF_LINEAGE}": "1",
        f"lineage_held{OF_LINEAGE}": "0",
        'target_done{lineage="example.com",target="/h"}': "0",
        'target_done{lineage="example.com",target="nginx"}': "1",
        "renewal_success": "1",
        "status": "1",
        "checked_timestamp_seconds": str(int(NOW)),
    } == series(report(facts, renewed=True))


@pytest.mark.parametrize(("facts", "expected"), [
    (seen(BIND), {f"domain_in_sync{OF_DOMAIN}": "0", f"domain_attention{OF_DOMAIN}": "1"}),
    (seen(WAIT, domain=Domain(WWW, state="processing")),
     {f"domain_in_sync{OF_DOMAIN}": "0", f"domain_attention{OF_DOMAIN}": "0",
      f"domain_publishing{OF_DOMAIN}": "1"}),
    (seen(KEEP, unread={WWW: "why"}), {f"domain_unknown{OF_DOMAIN}": "1", "status": "2"}),
    (seen(KEEP, facts={"held": True}), {f"lineage_held{OF_LINEAGE}": "1"}),
    (seen(KEEP, facts={"renews": False}), {f"lineage_renews{OF_LINEAGE}": "0"}),
    (seen(KEEP, facts={"server": "nginx", "reload": "nginx"}),
     {'target_done{lineage="example.com",target="nginx"}': "0"}),
], ids=["out of sync", "publishing", "unread", "held", "not ours", "not reloaded"])
def test_what_is_not_well(facts: Survey, expected: Mapping[str, str]) -> None:
    """Its series says so; while a change is published, nobody has to look."""
    assert expected.items() <= series(report(facts)).items()


def test_frozen() -> None:
    """A domain that serves nobody sends no alert on its certificate, which it cannot renew."""
    found = series(report(seen(KEEP, domain=Domain(
        WWW, protocol="https", cert_id="id", state="frozen"), ends_in=-DAY)))
    assert "0" == found[f"domain_attention{OF_DOMAIN}"]
    assert f"certificate_expiry_timestamp_seconds{OF_DOMAIN}" not in found


@pytest.mark.parametrize(("word", "same", "complete"), [
    ("same", "1", "1"), ("chain", "1", "0"), ("other", "0", None), ("seen", None, None),
    ("unknown", None, None), (None, None, None)])
def test_edge(word: str | None, same: str | None, complete: str | None) -> None:
    """An edge that was not seen, or a certificate that is not ours, has no series."""
    found = report(seen(KEEP))
    values = series(replace(found, rows=tuple(replace(row, edge=word) for row in found.rows)))
    assert (same, complete) == (values.get(f"edge_same{OF_DOMAIN}"),
                                values.get(f"edge_chain_complete{OF_DOMAIN}"))


@pytest.mark.parametrize(("renewed", "value"), [(True, "1"), (False, "0"), (None, None)])
def test_renewal(renewed: bool | None, value: str | None) -> None:
    """If nobody told how it ended, nothing is made up."""
    assert value == series(report(seen(KEEP), renewed=renewed)).get("renewal_success")


def test_nothing_known() -> None:
    """A status that came too late still says when, and that nothing is known."""
    late = Finding(Level.UNKNOWN, "status", "Late", "why")
    text = metrics.text(Report(NOW, 14, (), (), (late,)))
    assert {"status": "2", "checked_timestamp_seconds": str(int(NOW))} == series(
        Report(NOW, 14, (), (), (late,)))
    assert 2 == text.count("# HELP ") == text.count("# TYPE "), "no family without samples"


def test_a_domain_in_two_accounts() -> None:
    """A series is there once, or node_exporter would refuse the file."""
    account = seen(KEEP).accounts[0]
    found = series(report(seen(KEEP, accounts=(account, replace(account, name="b.ini")))))
    assert 1 == sum(name.startswith("domain_managed") for name in found)


def test_without_a_certificate() -> None:
    """A lineage whose certificate cannot be read has no times."""
    found = series(report(seen(KEEP, facts={"certificate": None})))
    assert [] == [name for name in found if name.startswith("lineage_certificate")]


def test_labels_are_escaped() -> None:
    """Whatever characters are in a name, it is one value."""
    hooks = Hook('/a "b"\\', False), Hook("/a\nb", True)
    found = metrics.text(report(seen(KEEP, facts={"hooks": hooks})))
    assert re.findall(r"target=(.*)}", found) == [r'"/a \"b\"\\"', r'"/a\nb"']
    strange = AccountFacts("a.ini", {WWW: Domain('"')})
    assert r'domain_managed{domain="\""} 0' in metrics.text(report(
        seen(None, accounts=(strange,))))


def test_names_that_are_not_utf8() -> None:
    """They can be read, and are kept apart: node_exporter fails if one series is there twice."""
    hooks = Hook(os.fsdecode(b"/caf\xe9"), False), Hook(os.fsdecode(b"/caf\xe8"), True)
    found = metrics.text(report(seen(KEEP, facts={"hooks": hooks})))
    assert re.findall(r"target=(.*)}", found) == [r'"/caf\\udce9"', r'"/caf\\udce8"']


def test_file(tmp_path: Path) -> None:
    """A folder has one of ours, which ends as node_exporter wants it; a file is that file."""
    assert tmp_path / "certbot_qiniu.prom" == metrics.file_at(tmp_path)
    assert tmp_path / "other" == metrics.file_at(tmp_path / "other")
