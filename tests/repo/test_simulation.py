"""The simulation: what it shows at a small size, and that it can show anything at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from benchmarks.simulation import Hook, Scenario, main, simulate
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.planning import hold

SMALL = Scenario(years=2, machines=1, lineages=4, domains=3, takeovers=6, rollbacks=6)


@pytest.mark.parametrize("lifetime", [90, 64, 45])
@pytest.mark.parametrize("faults", [0.0, 0.2])
def test_nothing_expires(faults: float, lifetime: float) -> None:
    """With up to a fifth of all calls failing, no domain serves an expired certificate."""
    result = simulate(replace(SMALL, faults=faults, lifetime=lifetime))
    assert result.renewals > 40
    assert result.rollbacks >= 10
    assert result.obeyed > 0
    assert 0 == result.expired


def silent(*_: Any) -> str:
    """Say nothing that helps."""
    return "no"


MISTAKES: dict[str, tuple[Any, str, Any]] = {
    "a hold knows no end": (hold.Served, "within", lambda *_: 0.0),
    "what is too old is sent again": (wording, "too_old", silent),
    "an expired certificate is bound": (decision, "_RULES", tuple(
        rule for rule in decision._RULES if rule.__name__ != "_baseline_unusable")),
}
