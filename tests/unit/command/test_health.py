"""Levels, exit statuses and words for reasons."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from certbot_qiniu.command import certificates, health, plan, status, survey
from certbot_qiniu.command.health import Level
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
    for module in (survey, status, plan, certificates, health):
        given |= reasons(inspect.getsource(module))
    assert {"InSync", "NotRenewed", "Damaged", "RenewalFailed", "Unmanaged", "Orphan"} <= given
    assert {name for name in given if f"`{name}`" not in text} == set()
