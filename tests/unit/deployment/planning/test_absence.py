"""A list without any of our domains is doubted for a week."""

from __future__ import annotations

import pytest

from certbot_qiniu.deployment.planning.absence import is_in_doubt
from certbot_qiniu.model import DAY

A, B = "a.example.com", "b.example.com"
NOW = 100 * DAY


@pytest.mark.parametrize(("missing", "expected", "others_are_there", "days", "doubted"), [
    ([A, B], [A, B], False, None, True),
    ([A, B], [A, B], False, 0, True),
    ([A, B], [A, B], False, 6.9, True),
    ([A, B], [A, B], False, 7, False),
    ([A, B], [A, B], True, None, False),
    ([A], [A, B], False, None, False),
    ([A], [A], False, None, True),
    ([A], [A], True, 1, False),
    ([], [A], False, None, False),
    ([], [], False, None, False),
], ids=["all", "just seen", "nearly a week", "a week", "others there", "one of two",
        "the only one", "the only one, others there", "none", "nothing managed"])
def test_doubt(missing: list[str], expected: list[str], others_are_there: bool,
               days: float | None, doubted: bool) -> None:
    """It is so only if all are missing, no other lineage's is there, and for a week."""
    since = 0 if days is None else NOW - days * DAY
    assert doubted == is_in_doubt(missing, expected, others_are_there=others_are_there,
                                  since=since, now=NOW)
