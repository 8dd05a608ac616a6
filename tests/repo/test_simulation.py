"""The simulation: what it shows at a small size, and that it can show anything at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.simulation import Hook, Scenario, main, simulate

SMALL = Scenario(years=3, machines=1, lineages=4, domains=3)


@pytest.mark.parametrize("lifetime", [90, 47])
@pytest.mark.parametrize("faults", [0.0, 0.1, 0.2])
def test_nothing_expires(faults: float, lifetime: float) -> None:
    """With up to a fifth of all calls failing, no domain serves an expired certificate."""
    result = simulate(replace(SMALL, faults=faults, lifetime=lifetime))
    assert result.renewals > 60
    assert 0 == result.expired


def test_hook_lets_certificates_expire() -> None:
    """The same faults leave a hook's domains on expired certificates: they can be seen."""
    result = simulate(replace(SMALL, faults=0.2), Hook)
    assert result.expired > 100
    assert result.longest > SMALL.lifetime


def test_too_many_faults() -> None:
    """What the plugin cannot cope with is shown as well."""
    assert simulate(replace(SMALL, lifetime=6, faults=0.5, years=0.3)).expired > 0


def test_without_faults() -> None:
    """In a world without faults both bring a renewal to its domains in a quarter of an hour."""
    calm = replace(SMALL, crashes=0, outages=0, changes=0)
    for tool in (simulate(calm), simulate(calm, Hook)):
        assert 0 == tool.expired
        assert 0 < tool.longest < 15 / (24 * 60)


def test_outage() -> None:
    """An outage of days delays, and the delay is counted."""
    calm = replace(SMALL, crashes=0, changes=0, outages=5)
    assert 0.5 < simulate(calm).longest < 10


def test_leaping() -> None:
    """The runs that are leapt over would have changed nothing."""
    scenario = replace(SMALL, crashes=0, years=1)
    all_runs, leaping = simulate(replace(scenario, leap=False)), simulate(scenario)
    assert all_runs.runs > 10 * leaping.runs
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
    main(["--machines", "1", "--years", "0.3", "--lifetimes", "90", "47", "--faults", "0", "0.2"])
    printed = capsys.readouterr().out
    rows = [line.split("|")[1:3] for line in printed.splitlines() if line.startswith("| ")]
    assert [[" 90 days ", " 0% "], [" 90 days ", " 20% "],
            [" 47 days ", " 0% "], [" 47 days ", " 20% "]] == rows[1:]
