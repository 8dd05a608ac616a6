"""The questions, and what becomes of one that Qiniu does not answer; scenarios has the answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.command.exploration import explorer, questions
from certbot_qiniu.command.exploration.explorer import Explorer
from certbot_qiniu.command.exploration.questions import Verdict, ask_hosts, explore
from tests.sandbox.wire import Fault, Response, json_response
from tests.unit.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account without domains."""
    return Rig(tmp_path)


def test_every_row_is_asked_for() -> None:
    """The questions have the rows that the documentation lists, each its own."""
    assert {row for rows, _ in questions.QUESTIONS for row in rows} == questions.ASKED.keys()


@pytest.mark.parametrize(("answer", "verdicts"), [
    (json_response(200, {}), [Verdict.OTHER] * 3),
    (json_response(401, {"code": 401001, "error": "bad token"}), [Verdict.ASSUMED] * 3)])
def test_answers(rig: Rig, answer: Response, verdicts: list[Verdict]) -> None:
    """A refusal is an answer as well, and without its text."""
    here = Explorer(rig.client)
    rig.board.arm(Fault("reply", answer), times=100)
    found = list(ask_hosts(here))
    assert verdicts == [item.verdict for item in found]
    assert "token" not in str(found)


def test_no_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question without an answer, or for which no call is left, holds up no other one."""
    here = Explorer(rig.client)
    monkeypatch.setattr(questions, "QUESTIONS", [((1,), ask_hosts)] * 2)
    rig.board.arm(Fault("reply", json_response(200, [])), match="/sslcert", times=100)
    assert [Verdict.ASSUMED, Verdict.OTHER, Verdict.OTHER] * 2 == [
        item.verdict for item in explore(here)]
    monkeypatch.setattr(explorer, "MOST_CALLS", here.calls)
    assert [(1, Verdict.SILENT)] * 2 == [(item.row, item.verdict) for item in explore(here)]
