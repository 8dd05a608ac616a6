"""Levels, exit statuses and words for reasons."""

from __future__ import annotations

import ast
import inspect
import re
import time

import pytest

from certbot_qiniu.command import certificates, plan, status
from certbot_qiniu.command.survey import facts, health, judge, survey
from certbot_qiniu.command.survey.health import Level
from certbot_qiniu.deployment.planning.decision import Reason
from tests.package import DOCS


@pytest.mark.parametrize(("levels", "expected"), [
    ((), 0), (("ok",), 0), (("ok", "unknown"), 2), (("unknown", "attention"), 1)])
def test_exit_status(levels: tuple[str, ...], expected: int) -> None:
    """What is known to be wrong decides over what is unknown."""
    assert health.exit_status(health.worst(Level(level) for level in levels)) == expected


def reasons(source: str) -> set[str]:
    """The words for reasons in a source file: its lists are headings of tables."""
    tree = ast.parse(source)
    headings = {id(item) for node in ast.walk(tree) if isinstance(node, ast.List)
                for item in ast.walk(node)}
    return {node.value for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and id(node) not in headings
            and re.fullmatch("[A-Z][a-z][a-zA-Z]+", node.value)}


def test_documented_reasons() -> None:
    """Every reason that the planner or the report gives is in the documentation."""
    text = (DOCS / "status-json.md").read_text(encoding="utf-8")
    given = {reason.value for reason in Reason}
    for module in (survey, facts, judge, status, plan, certificates, health):
        given |= reasons(inspect.getsource(module))
    assert {"InSync", "NotRenewed", "Damaged", "RenewalFailed", "Unmanaged", "Orphan"} <= given
    assert {name for name in given if f"`{name}`" not in text} == set()


@pytest.mark.parametrize(("seconds", "days"), [
    (0, 0), (1, 0), (86_399, 0), (86_400, 1), (14 * 86_400 - 1, 13), (-1, -1), (-86_400, -1),
    (-86_401, -2)])
def test_days_left(seconds: float, days: int) -> None:
    """Only whole days count, and what has ended has none."""
    assert days == health.days_left(1_800_000_000 + seconds, 1_800_000_000)


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "1970-01-01T00:00:00Z"), (1_800_000_000.9, "2027-01-15T08:00:00Z")])
def test_utc(seconds: float, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are in UTC, whatever the machine's own zone is."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    found = health.utc(seconds)
    monkeypatch.undo()
    time.tzset()
    assert text == found


@pytest.mark.parametrize(("levels", "expected"), [
    ([], Level.OK), ([Level.OK, Level.OK], Level.OK), ([Level.OK, Level.UNKNOWN], Level.UNKNOWN),
    ([Level.UNKNOWN, Level.ATTENTION, Level.OK], Level.ATTENTION)],
    ids=["nothing", "fine", "unknown", "attention"])
def test_worst(levels: list[Level], expected: Level) -> None:
    """Nothing seen is fine; what is wrong is not hidden by what is not known."""
    assert expected is health.worst(iter(levels))


def test_all_that_a_text_concerns() -> None:
    """Several of one text name all their subjects, unless it has them; one stays as it is."""
    def told(*items: tuple[str, str]) -> list[str]:
        return list(dict.fromkeys(item.text for item in health.with_all_concerned(
            [health.Finding(health.Level.OK, subject, "Reason", text) for subject, text in items])))

    assert ["it is so"] == told(("a", "it is so"))
    assert ["it is so (concerns a, b)", "c is not"] == told(
        ("a", "it is so."), ("c", "c is not"), ("b", "it is so."))
    assert ["a, b are so"] == told(("a", "a, b are so"), ("b", "a, b are so"))
    assert ["it is so"] == told(("a", "it is so"), ("a", "it is so"))


def test_what_concerns_thousands() -> None:
    """Their names do not make one text of each of them: that would grow with their square."""
    findings = [health.Finding(Level.UNKNOWN, f"d{number}.example.com", "Unreadable", "no answer")
                for number in range(3000)]
    told = health.with_all_concerned(findings)
    assert 1 == len({id(item.text) for item in told})
    assert told[0].text.endswith("d18.example.com, d19.example.com and 2980 more)")
