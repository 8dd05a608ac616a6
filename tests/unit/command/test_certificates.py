"""What is at Qiniu, whose it is, who uses it, and what of ours goes."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.command import certificates, output
from certbot_qiniu.command.arguments import our_renewals
from certbot_qiniu.command.certificates import Remote
from certbot_qiniu.command.survey import AccountFacts, LineageFacts, Survey
from certbot_qiniu.deployment.state import Record, Sent
from certbot_qiniu.model import Binding, Domain, RemoteCertificate
from tests.unit.command.desk import Desk
from tests.unit.command.facts import DAY, NOW, WWW

OURS = {"old": ("example.com", "0" * 64), "new": ("example.com", "f" * 64)}


def seen(*, bound: str = "new", superseded: tuple[str, ...] = (), **changes: Any) -> Survey:
    """An account with two certificates of ours and a foreign one, one of them in use."""
    remote = {
        "theirs": RemoteCertificate("theirs", "bought", not_after=int(NOW + DAY)),
        "new": RemoteCertificate("new", f"certbot_example.com_{'f' * 12}",
                                 not_after=int(NOW + 80 * DAY)),
        "old": RemoteCertificate("old", f"certbot_example.com_{'0' * 12}",
                                 not_after=int(NOW + 20 * DAY))}
    account = AccountFacts("a.ini", {WWW: Domain(WWW, protocol="https", cert_id=bound)}, remote)
    lineage = LineageFacts("example.com", "a.ini", superseded=superseded)
    return Survey(**{"now": NOW, "accounts": (account,), "lineages": (lineage,), "uploads": OURS,
                     **changes})


def verdicts(facts: Survey) -> dict[str, str]:
    """Id -> verdict, for everybody's."""
    return {item.cert_id: item.verdict
            for item in certificates.certificates(facts, everybodys=True)}


@pytest.mark.parametrize(("facts", "expected"), [
    (seen(), {"old": "kept", "new": "in use", "theirs": "foreign"}),
    (seen(superseded=("old",)), {"old": "superseded", "new": "in use", "theirs": "foreign"}),
    (seen(superseded=("old",), bound="old"), {"old": "in use", "new": "kept",
                                              "theirs": "foreign"}),
    (seen(bound="theirs"), {"old": "kept", "new": "kept", "theirs": "foreign"}),
    (seen(superseded=("old",), unread={"img.example.com": "no answer"}),
     {"old": "kept", "new": "in use", "theirs": "foreign"}),
    (seen(uploads={}), {"old": "foreign", "new": "foreign", "theirs": "foreign"}),
], ids=["kept", "superseded", "bound again", "a foreign one in use", "doubt", "forgotten"])
def test_verdicts(facts: Survey, expected: dict[str, str]) -> None:
    """A use weighs more than supersession, and what is not known to be ours is foreign."""
    assert expected == verdicts(facts)


def test_whose(capsys: pytest.CaptureFixture[str]) -> None:
    """Foreign ones are shown only when asked for; those that end sooner come first, ours before."""
    assert ["old", "new"] == [item.cert_id for item in certificates.certificates(seen())]
    assert ["old", "new", "theirs"] == [
        item.cert_id for item in certificates.certificates(seen(), everybodys=True)]


def test_what_is_told_of_one() -> None:
    """Its users, its lineage and how long it is valid."""
    _, newest = certificates.certificates(seen())
    assert Remote("a.ini", "new", f"certbot_example.com_{'f' * 12}", "example.com",
                  int(NOW + 80 * DAY), 80, (WWW,), "in use") == newest


def test_one_without_an_end() -> None:
    """Where Qiniu does not say when it ends, that is not the year 1970."""
    facts = seen()
    account = AccountFacts("a.ini", {}, {"old": RemoteCertificate("old", "x")})
    [found] = certificates.certificates(Survey(NOW, (account,), uploads=facts.uploads))
    assert (None, None) == (found.not_after, found.days_left)


def test_accounts_are_not_mixed() -> None:
    """A domain of one account uses no certificate of another, whatever its id."""
    domains = {WWW: Domain(WWW, protocol="https", cert_id="old")}
    remote = {"old": RemoteCertificate("old", "x")}
    facts = Survey(NOW, (AccountFacts("b.ini", {}, remote), AccountFacts("a.ini", domains, remote)),
                   uploads=OURS)
    assert [("a.ini", (WWW,)), ("b.ini", ())] == [
        (item.account, item.used_by) for item in certificates.certificates(facts)]


def test_table() -> None:
    """Each has a row with its users; without any there is a sentence."""
    [table] = certificates.table(certificates.certificates(seen()))
    assert isinstance(table, output.Table)
    assert [[f"certbot_example.com_{'0' * 12}", "old", "20", "-", "kept"],
            [f"certbot_example.com_{'f' * 12}", "new", "80", WWW, "in use"]] == [
                list(cells) for _, cells in table.rows]
    assert [("There is no certificate of ours at Qiniu.", "")] == certificates.table([])


# In front of an account


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Three versions at Qiniu under our names, of which the newest is in use."""
    found = Desk(tmp_path, monkeypatch)
    for _ in range(3):
        cert_id = found.upload(found.deploy("example.com", WWW, qiniu_keep_certificates=0))
        found.now += 60
    found.qiniu.add_domain(WWW, protocol="https", cert_id=cert_id)
    return found


def run(desk: Desk, **options: bool) -> int:
    """The command."""
    return certificates.run(argparse.Namespace(
        **vars(desk.arguments), **{"all": False, "prune": False, "json": True, **options}))


def test_prune(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """What is superseded goes, once; the one in use stays."""
    assert 2 == certificates.prune(desk.config, our_renewals(desk.arguments), desk.said.append)
    assert 1 == len(desk.qiniu.certificates())
    assert 0 == run(desk, prune=True)
    assert "0 superseded certificates deleted" in capsys.readouterr().err


def test_nothing_goes_unless_asked(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking deletes nothing, writes nothing, and says what would go."""
    before = desk.files()
    assert 0 == run(desk)
    assert ["superseded", "superseded", "in use"] == [
        item["verdict"] for item in json.loads(capsys.readouterr().out)["certificates"]]
    assert 3 == len(desk.qiniu.certificates())
    assert before == desk.files()
    assert [] == [label for label in desk.calls() if not label.startswith("GET ")]


def test_foreign_ones_stay(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither another's certificate nor a copy of ours under a name of theirs is deleted."""
    for name in ("bought", "a copy"):
        desk.upload(desk.renew("example.org" if name == "bought" else "example.com", WWW), name)
    desk.deploy("example.com", WWW, qiniu_keep_certificates=0)
    used = desk.qiniu.serving(WWW).cert_id
    run(desk, prune=True)
    said = capsys.readouterr()
    assert "2 superseded certificates deleted" in said.err
    assert "superseded" not in said.out
    assert {"bought", "a copy"} == {
        item.name for item in desk.qiniu.certificates() if item.cert_id != used}


@pytest.mark.parametrize(("everybodys", "names"), [(False, 3), (True, 4)], ids=["ours", "all"])
def test_whose_are_shown(desk: Desk, capsys: pytest.CaptureFixture[str], names: int, *,
                         everybodys: bool) -> None:
    """Everybody's are shown with --all alone."""
    desk.upload(desk.renew("example.org"), "bought")
    run(desk, all=everybodys)
    assert names == len(json.loads(capsys.readouterr().out)["certificates"])


def test_one_deletion(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """One is told of as one."""
    oldest = min(item.cert_id for item in desk.qiniu.certificates())
    desk.client.delete_certificate(oldest)
    run(desk, prune=True)
    assert "1 superseded certificate deleted" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "verdict"), [
    ("processing", "being published"), ("success", "kept")])
def test_what_is_being_published(state: str, verdict: str) -> None:
    """A certificate that was sent is nothing that is kept for later."""
    domain = Domain(WWW, protocol="https", cert_id="old", state=state)
    record = Record(lineage="example.com", sent=Sent(Binding("https", "f" * 64, "new"), NOW))
    found = seen(bound="old", records={WWW: record})
    found = replace(found, accounts=(replace(found.accounts[0], domains={WWW: domain}),))
    assert verdict == verdicts(found)["new"]
