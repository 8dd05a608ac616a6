"""The answers to single questions, and the report; scenarios has whole explorations."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import doctor, explore
from certbot_qiniu.command.explore import Explorer, Finding, Verdict
from certbot_qiniu.command.output import Table
from tests.sandbox.wire import Fault, Response, json_response
from tests.unit.rig import Rig

NAMES = ("a.example.com", "b.example.com", "c.example.com")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account with three domains on http."""
    found = Rig(tmp_path)
    for name in NAMES:
        found.qiniu.add_domain(name)
    return found


def test_every_row_is_asked_for() -> None:
    """The questions have the rows that the documentation lists, each its own."""
    assert {row for rows, _ in explore.QUESTIONS for row in rows} == explore.ASKED.keys()


@pytest.mark.parametrize(("list_end", "end"), [
    ("empty page", "with an empty page"),
    ("empty marker", "with a page that has entries and no marker"),
    ("marker never moves", "with a marker that does not move"),
])
def test_end_of_a_list(list_end: str, end: str, tmp_path: Path) -> None:
    """Two pages show each way to end."""
    rig = Rig(tmp_path, list_end=list_end)
    for name in NAMES:
        rig.qiniu.add_domain(name)
    found = Explorer(rig.client).pages("api.qiniu.com", "/domain", "domains", 2)
    assert ([2, 1], end) == (list(map(len, found.pages)), found.end)


def test_one_detail_of_each_kind(rig: Rig) -> None:
    """A domain is read once; if there is none of a kind, none is."""
    here = Explorer(rig.client)
    rig.board.clear()
    assert here.detail("https") is None
    assert here.detail("http") is here.detail("http") is not None
    assert len(rig.board.history) == 1


def test_domain_at_rest_goes_first(rig: Rig) -> None:
    """One that is being published may not show what it has."""
    for name in NAMES[:2]:
        rig.qiniu.change_domain(name, state="processing")
    assert (Explorer(rig.client).detail("http") or {})["name"] == NAMES[2]


@pytest.mark.parametrize("answer", [json_response(200, []), json_response(200, {"domains": 1})])
def test_account_of_an_unknown_form(answer: Response, rig: Rig,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that says so, without a traceback."""
    rig.board.arm(Fault("reply", answer), match="api.qiniu.com/domain", times=100)
    monkeypatch.setattr(explore, "Accounts", lambda _: argparse.Namespace(
        get=lambda _: argparse.Namespace(client=rig.client)))
    monkeypatch.setattr(explore, "certbot_config", lambda _: argparse.Namespace(config_dir="/"))
    arguments = argparse.Namespace(credentials="/keys", cert_name="", explore=True)
    with pytest.raises(errors.UsageError, match="of an unknown form"):
        doctor.run(arguments)


def test_keys_that_open_nothing(rig: Rig) -> None:
    """They are refused with Qiniu's words, as everywhere."""
    rig.board.arm(Fault("reply", json_response(401, {"error": "bad token"})), match="/sslcert")
    with pytest.raises(errors.Refused, match="bad token"):
        Explorer(rig.client)


def test_order_and_advice(rig: Rig) -> None:
    """Rows are in their order, what has none comes last, and each verdict has its advice."""
    *_, blank, strange, other, silent = parts = explore.report(Explorer(rig.client), [
        Finding(0, Verdict.OTHER, "x"), Finding(4, Verdict.STRANGE, "y"),
        Finding(2, Verdict.SILENT, "z")])
    [table] = [part for part in parts if isinstance(part, Table)]
    assert [cells[0] for _, cells in table.rows] == ["2", "4", "-"]
    assert blank == ("", "")
    for part, beginning in ((strange, "Not foreseen"), (other, "Otherwise than assumed"),
                            (silent, "Not everything was answered")):
        assert isinstance(part, tuple)
        assert part[0].startswith(beginning)
