"""Whatever one target does, certbot reaches the others: through its own entry point and ours."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from certbot import errors as certbot_errors

from certbot_qiniu.installer import Installer
from certbot_qiniu.targets import registry
from certbot_qiniu.targets.target import Target
from tests.scenarios.command import Seat, issued
from tests.scenarios.machine import Run

METHODS = [name for name, member in vars(Target).items()
           if callable(member) and not name.startswith("_")]

ANSWERS: dict[str, Any] = {"describe": "", "names": ("example.com",), "enhance": True,
                           "enhancements": ("redirect",)}
"""What a target answers; None if it is not named here."""

FLOWS: dict[str, Callable[[Seat], Run]] = {
    "run": lambda seat: seat.certbot(
        "run", "-a", "standalone", *seat.installer, "-d", "example.com", "--redirect",
        "--cert-name", "new"),
    "renew": lambda seat: seat.force_renewal(),
    "renew of what is not due": lambda seat: seat.renew(),
    "dry run": lambda seat: seat.renew("--force-renewal", "--dry-run"),
    "rollback": lambda seat: seat.certbot("rollback", *seat.installer),
    "apply": lambda seat: seat.run("apply"),
}

CASES = [
    ("run", ("check",)), ("run", ("deploy",)), ("run", ("save",)), ("run", ("commit",)),
    ("run", ("settle",)),
    ("run", ("enhancements",)), ("run", ("enhance",)), ("run", ("settle", "roll_back")),
    ("run", ("deploy", "recover")), ("renew", ("renew",)), ("renew", ("settle",)),
    ("renew", ("renew", "settle")), ("renew", ("update",)),
    ("renew of what is not due", ("update",)), ("renew of what is not due", ("settle",)),
    ("dry run", ("rehearse",)), ("rollback", ("check",)), ("rollback", ("roll_back",)),
    ("rollback", ("settle",)), ("rollback", ("roll_back", "settle")), ("apply", ("update",)),
    ("apply", ("settle",)), ("apply", ("update", "settle")),
]


def fail(kind: type[BaseException]) -> None:
    """Fail as a disk, our own code, a plugin, or the end of the program does."""
    if kind is certbot_errors.SignalExit:
        os.kill(os.getpid(), signal.SIGTERM)  # certbot makes it of that
    raise kind(28, "told to fail") if kind is OSError else kind("told to fail")


class Fake(Target):
    """A target that writes down what is asked of it, and fails at will.

    :ivar fails: the methods that fail, with what.
    """

    def __init__(self, name: str, log: Path, fails: Collection[str], kind: type[BaseException],
                 ) -> None:
        self._name, self._log, self._fails, self._kind = name, log, fails, kind

    def __getattribute__(self, name: str) -> Any:
        if name not in METHODS:
            return super().__getattribute__(name)

        def method(*_: object) -> Any:
            with self._log.open("a") as log:
                log.write(f"{self._name} {name}\n")
            if name in self._fails:
                fail(self._kind)
            return ANSWERS.get(name)

        return method


@contextlib.contextmanager
def targets(log: Path, fails: Collection[str], kind: type[BaseException]) -> Iterator[None]:
    """Let three targets stand in place of the usual ones, of which the second fails."""
    fakes = [Fake("first", log, (), kind), Fake("second", log, fails, kind),
             Fake("third", log, (), kind)]
    with mock.patch.object(registry, "targets_of", return_value=fakes):
        yield


def asked(log: Path) -> dict[str, list[str]]:
    """What was asked of each target."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return {name: [method for whom, method in lines if whom == name]
            for name in ("first", "second", "third")}


@pytest.fixture
def seat(tmp_path: Path) -> Seat:
    """A machine whose certificate is deployed."""
    return issued(tmp_path)


def test_methods_are_known() -> None:
    """The fakes stand for the whole contract."""
    assert {"describe", "names", "check", "rehearse", "test", "deploy", "enhance", "enhancements",
            "save", "commit", "checkpointed", "renew", "update", "settle", "before_roll_back",
            "roll_back", "recover", "lasting"} == set(METHODS)


@pytest.mark.parametrize("flow", FLOWS)
def test_all_are_asked_alike(seat: Seat, tmp_path: Path, flow: str) -> None:
    """If nothing fails, each target is asked the same, and what certbot needs of it."""
    log = tmp_path / "log"
    with targets(log, (), ValueError):
        run = FLOWS[flow](seat)
    assert 0 == run.status, run.output
    first, second, third = asked(log).values()
    assert first == second == third
    assert ("rehearse" if flow == "dry run" else "settle") in first


@pytest.mark.parametrize("kind", [OSError, ValueError, certbot_errors.PluginError])
@pytest.mark.parametrize(("flow", "fails"), CASES, ids=lambda value: (
    value if isinstance(value, str) else "+".join(value)))
def test_one_fails(seat: Seat, tmp_path: Path, flow: str, fails: tuple[str, ...],
                   kind: type[Exception]) -> None:
    """A target that fails, at whatever and with whatever, keeps no other from being reached."""
    log = tmp_path / "log"
    with targets(log, fails, kind):
        run = FLOWS[flow](seat)
    assert 1 == run.status, run.output
    assert "told to fail" in run.output
    assert "Traceback" not in run.output
    first, second, third = asked(log).values()
    assert first == second == third
    assert set(fails) <= set(first)
    if not {"check", "deploy", "save", "commit", "rehearse"} & set(fails):
        assert "settle" in first
    conf = (seat.config_dir / "renewal" / "example.com.conf").read_text()
    assert "installer = qiniu" in conf


@pytest.mark.parametrize(("verb", "method"), [("get_all_names", "names"), ("more_info", "describe"),
                                              ("config_test", "test")])
@pytest.mark.parametrize("kind", [OSError, ValueError, certbot_errors.PluginError])
def test_one_fails_at_a_question(tmp_path: Path, verb: str, method: str,
                                 kind: type[Exception]) -> None:
    """The same for what certbot asks outside of a deployment."""
    log = tmp_path / "log"
    config = mock.Mock(config_dir=str(tmp_path), backup_dir=str(tmp_path / "backups"))
    with targets(log, (method,), kind), pytest.raises(certbot_errors.PluginError, match="told"):
        getattr(Installer(config, "qiniu"), verb)()
    assert [[method]] * 3 == list(asked(log).values())


@pytest.mark.parametrize(("flow", "kind", "status"), [
    ("run", certbot_errors.SignalExit, None), ("run", KeyboardInterrupt, None),
    ("renew", KeyboardInterrupt, None), ("renew of what is not due", KeyboardInterrupt, None),
    ("rollback", KeyboardInterrupt, None), ("apply", KeyboardInterrupt, 130),
    ("apply", certbot_errors.SignalExit, -signal.SIGTERM),
    ("renew", certbot_errors.SignalExit, 1),
])
def test_signals_pass(seat: Seat, tmp_path: Path, flow: str, kind: type[BaseException],
                      status: int | None) -> None:
    """SIGTERM and Ctrl-C end the work at once: they are not collected as failures are."""
    log = tmp_path / "log"
    with targets(log, ("settle",), kind):
        run = FLOWS[flow](seat)
    calls = [line for line in log.read_text().splitlines() if line.endswith("settle")]
    assert ["first settle", "second settle"] == calls[:2]
    assert "third settle" not in calls[:3]
    if status is not None:
        assert status == run.status
