"""How long it is believed that Qiniu would refuse a certificate again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from certbot_qiniu.deployment.planning.refusals import is_believed
from certbot_qiniu.deployment.state import Refusal
from certbot_qiniu.model import DAY
from tests.unit.facts import NOW

REFUSAL = Refusal("aa" * 32, "account", "1.0", NOW, "400322")


@pytest.mark.parametrize(("days", "changes", "served_days", "expected"), [
    (0.5, {}, 60, True), (6.9, {}, 60, True), (7, {}, 60, False), (6.9, {}, None, True),
    (0.5, {}, 1, True), (1, {}, 1, False), (0.96, {}, 1, False), (2, {}, 16, True),
    (2.1, {}, 16, False), (2, {}, -3, False), (-0.1, {}, 60, False),
    (1, {"fingerprint": "bb" * 32}, 60, False), (1, {"account": "other"}, 60, False),
    (1, {"version": "1.1"}, 60, False),
], ids=["at once", "within a week", "after a week", "nothing is served", "at once, urgent",
        "after a day, urgent", "a timer that comes early", "just two weeks left",
        "fewer than two weeks left", "expired", "the clock went back", "a new certificate",
        "other keys", "another version"])
def test_is_believed(days: float, changes: dict[str, Any], served_days: float | None,
                     expected: bool) -> None:
    """A week, a day if it is urgent, and not once anything else has changed."""
    now = replace(REFUSAL, at=NOW + days * DAY, **changes)
    served_until = 0 if served_days is None else NOW + served_days * DAY
    assert expected == is_believed(REFUSAL, now, served_until)


def test_nothing_to_believe() -> None:
    """What was never refused is sent."""
    assert not is_believed(None, REFUSAL, 0)
