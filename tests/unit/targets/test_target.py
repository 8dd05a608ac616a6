"""The contract of a target: what one does that overrides nothing."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.targets.nginx import NginxTarget
from certbot_qiniu.targets.other_installer import OtherInstaller
from certbot_qiniu.targets.qiniu import QiniuTarget
from certbot_qiniu.targets.target import Target
from tests.unit.rig import renew
from tests.unit.targets.plugin import LINEAGE, new_run, renewed

METHODS = [name for name, member in vars(Target).items()
           if inspect.isfunction(member) and not name.startswith("_")]


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A place that nothing has to be done for."""
    renew(tmp_path, LINEAGE)
    return Target(new_run(tmp_path))


@pytest.mark.parametrize(("method", "arguments", "answer"), [
    ("describe", (), ""), ("names", (), ()), ("check", (), None), ("rehearse", (), None),
    ("test", (), None), ("enhancements", (), ()), ("enhance", ("san", "redirect", None), False),
    ("save", ("title",), None), ("save", (None,), None), ("settle", (), None),
])
def test_nothing_to_do(target: Target, method: str, arguments: tuple[Any, ...],
                       answer: object) -> None:
    """What a target does not need does nothing, and offers nothing."""
    assert answer == getattr(target, method)(*arguments)
    assert set() == target.lineages


def test_lineages_are_noted(target: Target) -> None:
    """A lineage is to be settled, by whichever call it came."""
    target.deploy(target.run.lineages.current(LINEAGE), "san", ("a", "b", "c", "d"))
    target.renew(renewed("renewed"))
    target.update(renewed("updated"))
    assert {LINEAGE, "renewed", "updated"} == target.lineages


@pytest.mark.parametrize(("method", "arguments"), [("roll_back", (1,)), ("recover", ())])
def test_going_back_forgets(target: Target, method: str, arguments: tuple[int, ...]) -> None:
    """After going back there is nothing left to bring anywhere."""
    target.renew(renewed())
    getattr(target, method)(*arguments)
    assert set() == target.lineages


def test_lineages_are_not_shared(target: Target) -> None:
    """Each target keeps count for itself: what one has settled another may not have."""
    other = Target(target.run)
    target.renew(renewed())
    assert set() == other.lineages


@pytest.mark.parametrize("kind", [NginxTarget, OtherInstaller, QiniuTarget],
                         ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("method", METHODS)
def test_signatures(kind: type[Target], method: str) -> None:
    """Each target takes what the installer gives, by the same names."""
    assert list(inspect.signature(getattr(Target, method)).parameters) == list(
        inspect.signature(getattr(kind, method)).parameters)
