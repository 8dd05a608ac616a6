"""What is at Qiniu, whose it is, who uses it, and what of ours goes."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import certificates, output
from certbot_qiniu.command.arguments import our_renewals
from certbot_qiniu.command.certificates import Remote
from certbot_qiniu.command.survey.facts import AccountFacts, LineageFacts, Survey
from certbot_qiniu.deployment.state import Record, Sent
from certbot_qiniu.model import Binding, Domain, RemoteCertificate
from certbot_qiniu.qiniu.account import Account
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


def test_thousands_of_domains_and_certificates() -> None:
    """The domains are gone through once, however many certificates there are."""
    looks = []

    class Domains(dict[str, Domain]):
        def values(self) -> Any:
            looks.append(1)
            return super().values()

    domains = Domains({f"d{n}.example.org": Domain(f"d{n}.example.org", cert_id=f"{n}")
                       for n in range(60)})
    listed = {str(n): RemoteCertificate(str(n), "x") for n in range(60)}
    found = certificates.certificates(
        Survey(NOW, (AccountFacts("q.ini", domains, listed),)), everybodys=True)
    assert [(f"d{one.cert_id}.example.org",) for one in found] == [one.used_by for one in found]
    assert len(looks) <= 2


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
    """If Qiniu does not say when it ends, that is not the year 1970."""
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
    assert [[f"certbot_example.com_{'0' * 12}", "old", "20", "-",
             "kept: the newest, or for a rollback"],
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


def run(desk: Desk, **options: Any) -> int:
    """The command."""
    return certificates.run(argparse.Namespace(**vars(desk.arguments), **{
        "all": False, "prune": False, "json": True, "expired": [], **options}))


def test_prune(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """What is superseded goes, once; the one in use stays."""
    assert 2 == certificates.prune(
        desk.config, our_renewals(desk.arguments), desk.said.append)[0]
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
    """A single one is reported in the singular."""
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


# What is not provably ours


@pytest.fixture
def strays(desk: Desk) -> dict[str, str]:
    """Certificates that the machine knows nothing of, by what there is to each."""
    leaf = desk.renew("example.org", WWW)
    name = f"certbot_example.org_{'a' * 12}"
    found = {"old": desk.upload(leaf, name), "used": desk.upload(leaf, f"certbot_x_{'b' * 12}"),
             "named otherwise": desk.upload(leaf, "certbot_example.org")}
    desk.qiniu.add_domain("used.example.org", protocol="https", cert_id=found["used"])
    desk.now += 100 * DAY
    found["valid"] = desk.upload(desk.renew("example.org", WWW), f"certbot_y_{'c' * 12}")
    desk.deploy("example.com", WWW)
    return found


def left(desk: Desk, strays: dict[str, str]) -> set[str]:
    """Those that are still there."""
    ids = {item.cert_id for item in desk.qiniu.certificates()}
    return {what for what, cert_id in strays.items() if cert_id in ids}


@pytest.mark.parametrize(("answer", "goes"), [
    ("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False), (None, False),
], ids=["y", "yes", "n", "Enter", "end of input", "no terminal"])
def test_expired_stray_on_a_terminal(desk: Desk, strays: dict[str, str], answer: str | None,
                                     monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str], *, goes: bool) -> None:
    """What has expired, is unused and has a name of our kind is asked about, and no other."""
    stdin = io.StringIO(answer or "y\n")
    monkeypatch.setattr(stdin, "isatty", lambda: answer is not None)
    if answer == "":
        stdin.read()
    monkeypatch.setattr("sys.stdin", stdin)
    run(desk, prune=True)
    assert set(strays) - ({"old"} if goes else set()) == left(desk, strays)
    said = capsys.readouterr().err
    assert (answer is not None) == (strays["old"] in said)
    assert not any(strays[what] in said for what in set(strays) - {"old"})


@pytest.mark.parametrize(("named", "gone", "error"), [
    (["old"], {"old"}, ""), (["used"], set(), "Not deleted"),
    (["old", "valid"], set(), "Not deleted"), (["named otherwise"], set(), "Not deleted")],
    ids=["offered", "in use", "one of two", "another name"])
def test_expired_stray_by_name(desk: Desk, strays: dict[str, str], named: list[str],
                               gone: set[str], error: str) -> None:
    """A user who names one is not asked; if one is not offered, that is an error and none goes."""
    with pytest.raises(errors.UsageError, match=error) if error else contextlib.nullcontext():
        run(desk, prune=True, expired=[strays[what] for what in named])
    assert set(strays) - gone == left(desk, strays)


def test_expired_without_prune(desk: Desk) -> None:
    """Nothing is deleted by a command that is to show."""
    with pytest.raises(errors.UsageError, match="--prune"):
        run(desk, expired=["1"])


def test_stray_whose_users_are_unknown(desk: Desk, strays: dict[str, str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """If no list tells who uses it, somebody does."""
    monkeypatch.setattr(Account, "users", lambda *_: None)
    with pytest.raises(errors.UsageError, match="Not deleted"):
        run(desk, prune=True, expired=[strays["old"]])
    assert set(strays) == left(desk, strays)


def test_stray_is_shown(desk: Desk, strays: dict[str, str],
                        capsys: pytest.CaptureFixture[str]) -> None:
    """What --prune would offer is shown, and why it stays."""
    run(desk)
    shown = {item["cert_id"]: item["verdict"]
             for item in json.loads(capsys.readouterr().out)["certificates"]}
    assert shown[strays["old"]] == "expired"
    assert not shown.keys() & {strays["used"], strays["valid"], strays["named otherwise"]}
    run(desk, json=False)
    assert "--prune offers it" in " ".join(capsys.readouterr().out.split())


def test_former_account() -> None:
    """What is where nobody has credentials for is named."""
    assert [] == certificates.elsewhere(seen())
    [(text, _)] = certificates.elsewhere(seen(elsewhere=("1", "2")))
    assert "1, 2" in text


def test_left_behind_is_superseded() -> None:
    """What a deleted lineage left goes with the next clean-up, unless somebody uses it."""
    assert "superseded" == verdicts(seen(left_behind=("old",)))["old"]
    assert "in use" == verdicts(seen(left_behind=("old",), bound="old"))["old"]
    assert "kept" == verdicts(seen(left_behind=("old",), unread={WWW: "no answer"}))["old"]
