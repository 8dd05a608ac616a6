"""The simulation: what it shows at a small size, and that it can show anything at all."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from benchmarks.simulation import Hook, Plugin, Scenario, main, simulate
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.planning import decision, hold

SMALL = Scenario(years=2, machines=1, lineages=4, domains=3, takeovers=6, rollbacks=8)
RISKY = replace(SMALL, machines=2, lifetime=45, faults=0.1, rollbacks=20)
LIVES = range(1, 9)
"""Seeds: which of the lives meets what a mistake does harm to changes with every call that is made
or saved."""

CALM = replace(SMALL, crashes=0, outages=0, changes=0, takeovers=0, rollbacks=0)


@pytest.mark.parametrize("lifetime", [90, 64, 45])
@pytest.mark.parametrize("faults", [0.0, 0.2])
def test_nothing_expires(faults: float, lifetime: float) -> None:
    """With up to a fifth of all calls failing, no domain serves an expired certificate."""
    result = simulate(replace(SMALL, faults=faults, lifetime=lifetime))
    assert result.renewals > 40
    assert result.held > 5
    assert result.obeyed > 0
    assert 0 == result.expired


def silent(*_: Any) -> str:
    """Tell nobody what to do."""
    return "nothing of use"


MISTAKES: dict[str, list[tuple[Any, str, Any]]] = {
    "a hold knows no end": [(hold.Served, "within", lambda *_: 0.0)],
    "what has expired is bound": [(decision, "_RULES", tuple(
        rule for rule in decision._RULES if rule.__name__ != "_baseline_unusable"))],
    "nobody is told of --force-renewal": [(wording, "too_old", silent),
                                          (wording, "refused_for_good", silent)],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_seen(mistake: str) -> None:
    """What the plugin does against expiry is needed: without it, some do expire in one life."""
    with contextlib.ExitStack() as stack:
        for change in MISTAKES[mistake]:
            stack.enter_context(mock.patch.object(*change))
        assert any(simulate(replace(RISKY, seed=seed)).expired > 0 for seed in LIVES)


@pytest.mark.parametrize("seed", LIVES)
def test_without_mistakes(seed: int) -> None:
    """And with it, none does in any of them."""
    assert 0 == simulate(replace(RISKY, seed=seed)).expired


def test_hook_lets_certificates_expire() -> None:
    """The same faults leave a hook's domains on expired certificates: they can be seen."""
    result = simulate(replace(SMALL, faults=0.2), Hook)
    assert result.expired > 100
    assert result.longest > SMALL.lifetime


def test_too_many_faults() -> None:
    """What the plugin cannot cope with is shown as well."""
    assert simulate(replace(SMALL, lifetime=6, faults=0.5, years=0.3)).expired > 0


@pytest.mark.parametrize("tool", [Plugin, Hook])
def test_without_faults(tool: type[Plugin | Hook]) -> None:
    """In a world without faults both bring a renewal to its domains in a quarter of an hour."""
    result = simulate(CALM, tool)
    assert 0 == result.expired
    assert 0 < result.longest < 15 / (24 * 60)


def test_outage() -> None:
    """An outage of days delays, and the delay is counted."""
    assert 0.5 < simulate(replace(CALM, outages=5, years=3)).longest < 10


def test_leaping() -> None:
    """The runs that are leapt over would have changed nothing."""
    scenario = replace(SMALL, crashes=0, years=1)
    all_runs, leaping = simulate(replace(scenario, leap=False)), simulate(scenario)
    assert all_runs.runs > 4 * leaping.runs
    assert (leaping.renewals, leaping.expired) == (all_runs.renewals, all_runs.expired)
    # Within a run the other lineages' calls take some seconds.
    assert pytest.approx(leaping.longest, abs=60 / 86_400) == all_runs.longest


def test_repeatable() -> None:
    """A seed gives the same life twice, and another one gives another."""
    scenario = replace(SMALL, years=1, faults=0.3)
    assert simulate(scenario) == simulate(scenario)
    assert simulate(scenario) != simulate(replace(scenario, seed=2))


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a line for each lifetime and each rate of faults."""
    main(["--machines", "1", "--years", "0.3", "--lifetimes", "90", "45", "--faults", "0", "0.2"])
    printed = capsys.readouterr().out
    rows = [line.split("|")[1:3] for line in printed.splitlines() if line.startswith("| ")]
    assert [[" 90 days ", " 0% "], [" 90 days ", " 20% "],
            [" 45 days ", " 0% "], [" 45 days ", " 20% "]] == rows[1:]
