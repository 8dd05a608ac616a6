"""nginx as a target: when it is reloaded, and what is remembered of that."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from certbot_qiniu import errors
from certbot_qiniu.targets import nginx as module
from certbot_qiniu.targets.nginx import NginxTarget
from certbot_qiniu.webserver.nginx import Outcome
from tests.unit.rig import renew
from tests.unit.targets.plugin import LINEAGE, new_run, renewed

OTHER = "other.example.com"

pytestmark = pytest.mark.usefixtures("shown")


class FakeNginx:
    """Notes what is asked of it.

    :cvar outcomes: what becomes of it by lineage; ``reloaded`` if nothing else is said.
    """

    asked: ClassVar[list[tuple[Any, ...]]]
    outcomes: ClassVar[dict[str, str | Exception]]

    def __init__(self, test_cmd: str, reload_cmd: str | None) -> None:
        self._commands = test_cmd, reload_cmd

    def test(self) -> None:
        self.asked.append(("test", *self._commands))
        if "test" in self.outcomes:
            raise errors.NginxError("broken")

    def deploy(self, live: Path, fullchain: Path, names: Iterable[str],
               fingerprint: str) -> Outcome:
        self.asked.append((live.name, fullchain.name, tuple(names), fingerprint))
        outcome = self.outcomes.get(live.name, "reloaded")
        if isinstance(outcome, Exception):
            raise outcome
        return Outcome(outcome, f"{live.name} is {outcome}")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def nginx(monkeypatch: pytest.MonkeyPatch) -> type[FakeNginx]:
    """A web server that is well."""
    FakeNginx.asked, FakeNginx.outcomes = [], {}
    monkeypatch.setattr(module, "Nginx", FakeNginx)
    return FakeNginx


def target_of(folder: Path, *lineages: str, **values: Any) -> NginxTarget:
    """The target, with lineages to settle."""
    target = NginxTarget(new_run(folder, **values))
    for name in lineages:
        target.renew(renewed(name))
    return target


@pytest.mark.parametrize("method", ["rehearse", "test"])
def test_configuration(tmp_path: Path, nginx: type[FakeNginx], method: str) -> None:
    """The user's commands are used; a broken configuration is an error, in a dry run, too."""
    target = target_of(tmp_path, qiniu_nginx_test_cmd="x -t", qiniu_nginx_reload_cmd="x -r")
    getattr(target, method)()
    assert [("test", "x -t", "x -r")] == nginx.asked
    nginx.outcomes["test"] = ""
    with pytest.raises(errors.NginxError):
        getattr(target, method)()


def test_settle(tmp_path: Path, nginx: type[FakeNginx], shown: list[str]) -> None:
    """Each lineage is asked about with its newest certificate, in their order, and once."""
    leaves = {name: renew(tmp_path, name, name, f"*.{name}") for name in (OTHER, LINEAGE)}
    target = target_of(tmp_path, OTHER, LINEAGE)
    target.settle()
    assert [(name, "fullchain.pem", (name, f"*.{name}"), leaves[name].fingerprint)
            for name in (LINEAGE, OTHER)] == nginx.asked
    assert [f"nginx: {name} is reloaded" for name in (LINEAGE, OTHER)] == shown
    target.settle()
    assert 2 == len(nginx.asked)


@pytest.mark.parametrize(("outcome", "is_remembered", "is_warning"), [
    ("reloaded", True, False), ("unconfirmed", True, False), ("unused", True, True),
    ("absent", False, False), ("not running", False, False), ("out of reach", False, True)])
def test_outcomes(tmp_path: Path, nginx: type[FakeNginx], shown: list[str], outcome: str,
                  is_remembered: bool, is_warning: bool,
                  caplog: pytest.LogCaptureFixture) -> None:
    """What was reloaded is not reloaded again; an nginx that comes later is."""
    leaf = renew(tmp_path, LINEAGE)
    nginx.outcomes[LINEAGE] = outcome
    with caplog.at_level(logging.WARNING):
        target_of(tmp_path, LINEAGE).settle()
    assert is_warning == (f"nginx: {LINEAGE} is {outcome}" in caplog.messages)
    assert is_warning != (f"nginx: {LINEAGE} is {outcome}" in shown)
    later = target_of(tmp_path, LINEAGE)
    assert (leaf.fingerprint if is_remembered else "") == later.run.reloaded_for(LINEAGE)
    later.settle()
    assert (1 if is_remembered else 2) == len(nginx.asked)


def test_asked_once(tmp_path: Path, nginx: type[FakeNginx]) -> None:
    """The second restart of a run has nothing left to do, even if there is no nginx."""
    renew(tmp_path, LINEAGE)
    nginx.outcomes[LINEAGE] = "absent"
    target = target_of(tmp_path, LINEAGE)
    target.settle()
    target.settle()
    assert 1 == len(nginx.asked)


def test_newer_certificate(tmp_path: Path, nginx: type[FakeNginx]) -> None:
    """A renewed certificate is reloaded for, whatever was before."""
    renew(tmp_path, LINEAGE)
    target_of(tmp_path, LINEAGE).settle()
    newer = renew(tmp_path, LINEAGE, version=2)
    target_of(tmp_path, LINEAGE).settle()
    assert newer.fingerprint == nginx.asked[-1][-1]
    assert 2 == len(nginx.asked)


@pytest.mark.parametrize("error", [errors.NginxError("still the old leaf"), OSError("no room")],
                         ids=["nginx", "anything"])
def test_one_fails(tmp_path: Path, nginx: type[FakeNginx], error: Exception) -> None:
    """A lineage that fails stops none of the others, is reported, and is tried again."""
    for name in (LINEAGE, OTHER):
        renew(tmp_path, name)
    nginx.outcomes[LINEAGE] = error
    with pytest.raises(errors.QiniuError, match=str(error)):
        target_of(tmp_path, LINEAGE, OTHER).settle()
    later = target_of(tmp_path, LINEAGE, OTHER)
    assert [False, True] == [bool(later.run.reloaded_for(name)) for name in (LINEAGE, OTHER)]
    nginx.outcomes.clear()
    later.settle()
    assert [LINEAGE, OTHER, LINEAGE] == [asked[0] for asked in nginx.asked]


def test_unreadable_lineage(tmp_path: Path, nginx: type[FakeNginx]) -> None:
    """A lineage without files is an error, and reloads nothing."""
    with pytest.raises(errors.UsageError, match=f"The certificate {LINEAGE} cannot be used"):
        target_of(tmp_path, LINEAGE).settle()
    assert [] == nginx.asked


def test_without_our_files(tmp_path: Path, nginx: type[FakeNginx]) -> None:
    """Damaged files keep no web server from being reloaded."""
    renew(tmp_path, LINEAGE)
    (tmp_path / "qiniu").mkdir()
    (tmp_path / "qiniu" / "memory.json").write_text("damaged")
    target_of(tmp_path, LINEAGE).settle()
    assert 1 == len(nginx.asked)


def test_rolled_back(tmp_path: Path, nginx: type[FakeNginx]) -> None:
    """A rollback changes nothing here: nginx serves the live files."""
    renew(tmp_path, LINEAGE)
    target = target_of(tmp_path, LINEAGE)
    target.roll_back(1)
    target.settle()
    assert [] == nginx.asked
