"""Do at once what a renewal would: one lineage after the other, while no certbot runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certbot import errors as certbot_errors
from certbot import util

from certbot_qiniu import errors
from certbot_qiniu.command import apply
from tests.unit.command.desk import Desk


class Installer:
    """In place of ours: remembers what it was told, and fails for some lineages."""

    updated: list[tuple[str, str, str]]
    failing: dict[str, Exception]

    def __init__(self, config: Any, name: str) -> None:
        self.config, self.name = config, name

    def generic_updates(self, lineage: Any) -> None:
        self.updated.append((self.name, lineage.lineagename, self.config.qiniu_http2))
        if lineage.lineagename in self.failing:
            raise self.failing[lineage.lineagename]


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were locked, in their order; no lock is really taken."""
    found: list[str] = []
    monkeypatch.setattr(util, "lock_dir_until_exit", found.append)
    return found


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: list[str],
        ) -> Callable[..., int]:
    """The command on two lineages that are deployed to Qiniu, and one that is not."""
    monkeypatch.setattr(Installer, "updated", [], raising=False)
    monkeypatch.setattr(Installer, "failing", {}, raising=False)
    monkeypatch.setattr(apply, "Installer", Installer)
    desk = Desk(tmp_path, monkeypatch)
    desk.deploy("a.example.com", qiniu_http2="off")
    desk.deploy("b.example.com")
    desk.deploy("c.example.com", installer="nginx")

    def run(name: str = "", *take_back: str) -> int:
        return apply.run(argparse.Namespace(
            **vars(desk.arguments), cert_name=name, take_back=list(take_back)))

    return run


@pytest.mark.parametrize(("name", "updated"), [
    ("", [("qiniu", "a.example.com", "off"), ("qiniu", "b.example.com", "keep")]),
    ("b.example.com", [("qiniu", "b.example.com", "keep")])], ids=["all", "one"])
def test_each_lineage_with_its_options(
        run: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str,
        updated: list[tuple[str, str, str]]) -> None:
    """Those that are deployed to Qiniu, each as its renewal conf says, and it is told which."""
    assert 0 == run(name)
    assert updated == Installer.updated
    said = capsys.readouterr().out
    assert said.startswith(f"{', '.join(lineage for _, lineage, _ in updated)}: done. ")


def test_one_that_fails_stops_no_other(run: Callable[..., int],
                                       capsys: pytest.CaptureFixture[str]) -> None:
    """The others are served all the same, and the exit status and stderr tell of the failure."""
    Installer.failing = {"a.example.com": errors.UsageError("no such domain")}
    assert 1 == run()
    assert ["a.example.com", "b.example.com"] == [lineage for _, lineage, _ in Installer.updated]
    assert ("", "certbot-qiniu: a.example.com: no such domain. The next "
            "certbot renew tries again\n") == tuple(capsys.readouterr())


def test_all_that_fail_are_told(run: Callable[..., int],
                                capsys: pytest.CaptureFixture[str]) -> None:
    """Each failure has its line, with the lineage that it happened to."""
    Installer.failing = {name: errors.UsageError(f"not {name[0]}")
                         for name in ("a.example.com", "b.example.com")}
    assert 1 == run()
    assert [f"certbot-qiniu: {name}.example.com: not {name}. The next certbot renew tries again"
            for name in "ab"] == capsys.readouterr().err.splitlines()


def test_one_cause_is_told_once(run: Callable[..., int],
                                capsys: pytest.CaptureFixture[str]) -> None:
    """That Qiniu is down for several lineages is one sentence, with all that it concerns."""
    Installer.failing = {
        name: errors.DeployError(f"The certificate of {name} is valid, but: no answer", "no answer")
        for name in ("a.example.com", "b.example.com")}
    assert 1 == run()
    assert ["certbot-qiniu: a.example.com, b.example.com: no answer. The next certbot renew tries "
            "again"] == capsys.readouterr().err.splitlines()


def test_interruption_ends_it(run: Callable[..., int]) -> None:
    """Ctrl-C is no failure of one lineage: nothing further is begun."""
    Installer.failing = {"a.example.com": KeyboardInterrupt()}  # type: ignore[dict-item]
    with pytest.raises(KeyboardInterrupt):
        run()
    assert 1 == len(Installer.updated)


def test_certbots_folders_are_locked_first(run: Callable[..., int], tmp_path: Path,
                                           locked: list[str]) -> None:
    """All three, in certbot's own order, so that neither waits for the other."""
    assert 0 == run()
    assert [str(tmp_path), str(tmp_path / "work"), str(tmp_path / "logs")] == locked


@pytest.mark.parametrize(("error", "words"), [
    (certbot_errors.LockError("taken"), "certbot is at work"),
    (PermissionError(13, "Permission denied"), "Could not use .*: Permission denied. Run this as"),
], ids=["certbot runs", "not allowed"])
def test_folders_that_cannot_be_locked(run: Callable[..., int], monkeypatch: pytest.MonkeyPatch,
                                       error: Exception, words: str) -> None:
    """Nothing is done then, and it is said why."""
    def lock(_: str) -> None:
        raise error

    monkeypatch.setattr(util, "lock_dir_until_exit", lock)
    with pytest.raises(errors.UsageError, match=words):
        run()
    assert [] == Installer.updated


def test_nothing_to_apply(run: Callable[..., int], locked: list[str]) -> None:
    """A name that is not deployed to Qiniu is refused before anything is locked."""
    with pytest.raises(errors.UsageError, match=r"No renewal conf of c\.example\.com"):
        run("c.example.com")
    assert [] == locked
