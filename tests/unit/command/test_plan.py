"""What the next renewal would do, step by step."""

from __future__ import annotations

from typing import Any

import pytest

from certbot_qiniu.command.plan import steps
from certbot_qiniu.model import Domain
from tests.unit.command.facts import CLEAN_UPS, WAIT, WWW, seen, superseding


def test_nothing_is_cleaned_up_before_all_is_published() -> None:
    """The clean-up waits for every domain."""
    found = seen(WAIT, facts={"superseded": ("id",), "reload": "nginx"},
                 domain=Domain(WWW, state="processing"))
    assert [(step.verb, step.subject) for step in steps(found)] == [
        ("wait", WWW), ("reload", "nginx")]


@pytest.mark.parametrize(("changes", "doomed"), CLEAN_UPS.values(), ids=CLEAN_UPS)
def test_clean_up(changes: dict[str, Any], doomed: list[str]) -> None:
    """A deletion is a step exactly where the clean-up would delete."""
    found = superseding(changes)
    assert [step.verb for step in steps(found)] == ["keep", *["delete"] * len(doomed)]
