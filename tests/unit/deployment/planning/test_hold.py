"""How long a rollback's hold lasts."""

from __future__ import annotations

import pytest

from certbot_qiniu.deployment.planning.hold import Outlook, Served, outlook
from certbot_qiniu.model import DAY
from tests.unit.facts import NOW

NEWEST = 80.0
FINE, WARN, FAIL, ENDS = Outlook.FINE, Outlook.WARN, Outlook.FAIL, Outlook.ENDS


@pytest.mark.parametrize(("left", "lifetime", "expected"), [
    (60, 90, FINE), (21, 90, FINE), (20.9, 90, WARN), (14, 90, WARN), (13.9, 90, FAIL),
    (7, 90, FAIL), (6.9, 90, ENDS), (0, 90, ENDS), (-3, 90, ENDS),
    # a third, a quarter, an eighth of what does not live for long
    (16, 48, FINE), (15.9, 48, WARN), (12, 48, WARN), (11.9, 48, FAIL), (6, 48, FAIL),
    (5.9, 48, ENDS),
    (2, 6, FINE), (1.9, 6, WARN), (1.5, 6, WARN), (1.4, 6, FAIL), (0.75, 6, FAIL), (0.7, 6, ENDS),
    # of an unknown lifetime, the days alone
    (21, 0, FINE), (20, 0, WARN), (13, 0, FAIL), (6, 0, ENDS),
])
def test_on_ours(left: float, lifetime: float, expected: Outlook) -> None:
    """It warns, fails and ends by itself before a visitor meets an expired certificate."""
    served = Served("a.example.com", True, NOW + left * DAY, lifetime * DAY)
    assert expected is outlook(served, NOW + NEWEST * DAY, NOW)
    assert (expected is ENDS) == (NOW > served.gives_way)


@pytest.mark.parametrize("newest", [-1, 0, 2.9])
def test_not_for_a_newest_one_that_is_no_better(newest: float) -> None:
    """The newest has expired, too, or ends sooner: a human must look."""
    served = Served("a.example.com", True, NOW + 3 * DAY, 90 * DAY)
    assert FAIL is outlook(served, NOW + newest * DAY, NOW)


@pytest.mark.parametrize(("left", "lifetime", "expected"), [
    (60, 90, FINE), (21, 0, FINE), (20, 0, WARN), (13, 365, WARN), (7, 365, WARN), (6.9, 365, FAIL),
    (-1, 90, FAIL), (8, 12, FINE), (6, 12, FAIL),
])
def test_on_what_was_there_before(left: float, lifetime: float, expected: Outlook) -> None:
    """It never ends by itself: somebody has put that there."""
    served = Served("a.example.com", False, NOW + left * DAY, lifetime * DAY)
    assert expected is outlook(served, NOW + NEWEST * DAY, NOW)
    assert not served.gives_way


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_end_that_nobody_knows(*, is_ours: bool) -> None:
    """It is reported, and changes nothing."""
    served = Served("a.example.com", is_ours)
    assert WARN is outlook(served, NOW + NEWEST * DAY, NOW)
    assert not served.gives_way
