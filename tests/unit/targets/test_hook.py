"""The user's programs as a target: which are run, and what is remembered. None is run here."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from certbot import errors as certbot_errors

from certbot_qiniu import errors
from certbot_qiniu.deployment.state import LineageMemory
from certbot_qiniu.targets import hook as module
from certbot_qiniu.targets.hook import Hook, HookTarget, checked_programs, hooks_of, programs_of
from tests.unit.rig import renew
from tests.unit.targets.plugin import LINEAGE, new_run, renewed

pytestmark = pytest.mark.usefixtures("shown")


class Runner:
    """Stands in place of what runs programs.

    :ivar ran: the names of those that were run, with what they were told.
    :ivar fails: name -> how that one fails.
    """

    def __init__(self) -> None:
        self.ran: list[tuple[str, str, str]] = []
        self.fails: dict[str, str] = {}
        self.says: tuple[list[str], list[str]] = ([], [])

    def __call__(self, program: str, environment: Mapping[str, str],
                 ) -> tuple[list[str], list[str]]:
        name = Path(program).name
        self.ran.append((name, environment["RENEWED_LINEAGE"], environment["RENEWED_DOMAINS"]))
        if name in self.fails:
            raise errors.HookError(program, self.fails[name], out=self.says[0])
        return self.says

    def names(self) -> list[str]:
        """Those that have run since this was asked last."""
        found, self.ran = [name for name, *_ in self.ran], []
        return found


@pytest.fixture(autouse=True)
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    found = Runner()
    monkeypatch.setattr(module, "run_program", found)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two programs."""
    found = tmp_path / "hooks"
    found.mkdir(mode=0o755)
    for name in ("a", "b"):
        program(found / name)
    return found


def program(path: Path, mode: int = 0o755) -> str:
    path.touch()
    path.chmod(mode)
    return str(path)


def target(directory: Path, hook: Path, verb: str = "renew") -> HookTarget:
    """The target in a run of its own."""
    return HookTarget(new_run(directory, verb, qiniu_hook=str(hook)), str(hook))


# Which ------------------------------------------------------------------------------------------


def test_programs_of_a_folder(folder: Path) -> None:
    """Sorted, and without what certbot leaves out among its own hooks."""
    program(folder / "10-first")
    program(folder / "a~")
    program(folder / "notes", 0o644)
    (folder / "sub").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    (folder / "link").symlink_to("a")
    assert ["10-first", "a", "b", "link"] == [Path(path).name for path in programs_of(str(folder))]


def test_name_that_cannot_be_written_down(folder: Path) -> None:
    """What could not be remembered is refused."""
    program(folder / "\udcff")
    with pytest.raises(errors.UsageError, match="cannot be run: 'utf-8' codec"):
        programs_of(str(folder))


def test_programs_of_a_file(folder: Path) -> None:
    """It is the one program, whatever its name."""
    backup = program(folder / "a~")
    assert [backup] == programs_of(backup)


@pytest.mark.parametrize(("hook", "expected"), [
    ("{}/none", "No such file"), ("{}/notes", r"is not executable. Run: chmod u\+x"),
    ("{}/fifo", "is not executable"), ("{}/\0", "null"), ("hooks/a", "Name all of its path"),
])
def test_nothing_to_run(folder: Path, hook: str, expected: str) -> None:
    """It is refused in words."""
    program(folder / "notes", 0o644)
    os.mkfifo(folder / "fifo", 0o644)
    with pytest.raises(errors.UsageError, match=expected):
        programs_of(hook.format(folder))


@pytest.mark.parametrize("spoilt", ["a", "", "../"])
def test_others_may_change_it(folder: Path, spoilt: str) -> None:
    """A program, its folder, or one above: nothing of it is run."""
    (folder / spoilt).chmod(0o777)
    with pytest.raises(errors.UsageError, match="another user of this machine can change it"):
        checked_programs(str(folder))


def test_hooks_of(folder: Path) -> None:
    """Done is what has succeeded for the newest certificate, and for no other."""
    a, b = programs_of(str(folder))
    memory = LineageMemory(hooks={a: "new", b: "old"}, failed_hooks={b: "exit status 2"})
    assert (Hook(a, True), Hook(b, False, "exit status 2")) == hooks_of(str(folder), memory, "new")


# Before anything is issued ----------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "is_refused"), [
    ("run", True), ("install", True), ("certonly", True), ("rollback", False)])
def test_check(tmp_path: Path, verb: str, is_refused: bool) -> None:
    """What cannot be run is refused, but not where none would be."""
    found = target(tmp_path, tmp_path / "none", verb)
    if is_refused:
        with pytest.raises(errors.UsageError):
            found.check()
    else:
        found.check()


def test_empty_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is a warning."""
    (tmp_path / "empty").mkdir(mode=0o755)
    target(tmp_path, tmp_path / "empty", "run").check()
    assert "no executable is in this folder" in caplog.text


def test_rehearse(tmp_path: Path, folder: Path, runner: Runner, shown: list[str]) -> None:
    """A dry run names what a renewal would run."""
    found = target(tmp_path, folder, "reconfigure")
    found.rehearse()
    found.settle()
    assert [f"hook: a renewal runs {folder}/{name}; a dry run does not" for name in "ab"] == shown
    assert [] == runner.ran
    assert str(folder) in found.describe()


# When -------------------------------------------------------------------------------------------


def test_once_each(tmp_path: Path, folder: Path, runner: Runner, shown: list[str]) -> None:
    """For each certificate, with certbot's two variables."""
    renew(tmp_path, LINEAGE)
    found = target(tmp_path, folder)
    for _ in range(2):
        found.update(renewed())
        found.settle()
    live = str(tmp_path / "live" / LINEAGE)
    names = " ".join(found.run.lineages.current(LINEAGE).names)
    assert [("a", live, names), ("b", live, names)] == runner.ran
    assert [f"hook: {folder}/{name} ran for {LINEAGE}" for name in "ab"] == shown
    runner.names()
    renew(tmp_path, LINEAGE, version=2)
    found.renew(renewed())
    found.settle()
    found.settle()
    assert ["a", "b"] == runner.names()


def test_environment(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is certbot's own, and nothing of the snap that this is installed with."""
    given: list[Mapping[str, str]] = []

    def note(_program: str, environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
        given.append(environment)
        return [], []

    monkeypatch.setattr(module, "run_program", note)
    for name, value in {"SNAP": "/snap/certbot/1", "CERTBOT_SNAPPED": "True", "OURS": "kept",
                        "PATH": "/snap/certbot/1/bin:/usr/bin"}.items():
        monkeypatch.setenv(name, value)
    renew(tmp_path, LINEAGE)
    found = target(tmp_path, folder / "a")
    found.update(renewed())
    found.settle()
    assert ("kept", "/usr/bin") == (given[0]["OURS"], given[0]["PATH"])


def test_failed_is_run_again(tmp_path: Path, folder: Path, runner: Runner) -> None:
    """And nothing else is; how it failed is forgotten once it succeeds."""
    renew(tmp_path, LINEAGE)
    found = target(tmp_path, folder)
    runner.fails["a"] = "exit status 3"
    found.update(renewed())
    with pytest.raises(errors.HookError, match=f"The hook {folder}/a failed: exit status 3"):
        found.settle()
    assert ["a", "b"] == runner.names()
    memory = found.run.memory_of(LINEAGE)
    assert memory
    assert {f"{folder}/a": "exit status 3"} == memory.failed_hooks
    runner.fails.clear()
    found.update(renewed())
    found.settle()
    assert ["a"] == runner.names()
    assert {} == memory.failed_hooks


def test_made_open_to_others(tmp_path: Path, folder: Path, runner: Runner) -> None:
    """The first one is not run, the other is."""
    renew(tmp_path, LINEAGE)
    found = target(tmp_path, folder)
    (folder / "a").chmod(0o777)
    found.update(renewed())
    with pytest.raises(errors.UsageError, match=f"The hook {folder}/a is not run"):
        found.settle()
    assert ["b"] == runner.names()
    memory = found.run.memory_of(LINEAGE)
    assert memory
    assert {f"{folder}/a": "it was not run"} == memory.failed_hooks


def test_gone_is_forgotten(tmp_path: Path, folder: Path) -> None:
    """What is remembered has one line for each program that is there."""
    renew(tmp_path, LINEAGE)
    found = target(tmp_path, folder)
    found.update(renewed())
    found.settle()
    (folder / "a").unlink()
    found.update(renewed())
    found.settle()
    memory = found.run.memory_of(LINEAGE)
    assert memory
    assert [f"{folder}/b"] == list(memory.hooks)


def test_one_lineage_fails(tmp_path: Path, folder: Path, runner: Runner) -> None:
    """The other has its turn."""
    renew(tmp_path, LINEAGE)
    found = target(tmp_path, folder)
    found.update(renewed("gone.example.com"))
    found.update(renewed())
    with pytest.raises(errors.UsageError):
        found.settle()
    assert ["a", "b"] == runner.names()


@pytest.mark.parametrize("is_new", [True, False])
def test_without_our_files(tmp_path: Path, folder: Path, runner: Runner, is_new: bool) -> None:
    """If our files cannot be used, hooks run for a certificate just renewed, not twice a day."""
    renew(tmp_path, LINEAGE)
    (tmp_path / "qiniu").mkdir()
    (tmp_path / "qiniu" / "memory.json").write_text("damaged")
    found = target(tmp_path, folder)
    (found.renew if is_new else found.update)(renewed())
    found.settle()
    assert (["a", "b"] if is_new else []) == runner.names()


def test_lasting(tmp_path: Path, folder: Path) -> None:
    """What has run is named, should certbot go back."""
    renew(tmp_path, LINEAGE)
    found = target(tmp_path, folder, "run")
    found.deploy(found.run.lineages.current(LINEAGE), LINEAGE, ())
    assert "" == found.lasting()
    found.settle()
    found.roll_back(1)
    found.settle()
    assert f"{folder}/a, {folder}/b (--qiniu-hook) ran" in found.lasting()
    assert not found.has_taken


def test_output(tmp_path: Path, folder: Path, runner: Runner, shown: list[str],
                caplog: pytest.LogCaptureFixture) -> None:
    """It is shown as certbot shows that of its hooks."""
    renew(tmp_path, LINEAGE)
    runner.says = ["one", "two"], ["mind"]
    found = target(tmp_path, folder / "a")
    found.update(renewed())
    found.settle()
    assert [f"hook: {folder}/a ran for {LINEAGE}:\n one\n two"] == shown
    assert f"The hook {folder}/a ran with error output:\n mind" in caplog.text
    shown.clear()
    renew(tmp_path, LINEAGE, version=2)
    runner.fails["a"] = "exit status 2"
    found.update(renewed())
    with pytest.raises(errors.HookError):
        found.settle()
    assert [f"hook: {folder}/a failed for {LINEAGE}:\n one\n two"] == shown


@pytest.mark.parametrize(("out", "err", "expected"), [
    (b"", b"", ""), (b"fatal: no\n", b"", "fatal: no"), (b"x", b"a\n\nb\x1b[0m \n", "a / b [0m"),
    (b"", b"\xff\n", "�"), (b"", b"".join(b"%d\n" % number for number in range(9)),
                            "4 / 5 / 6 / 7 / 8"),
    (b"", b"y" * 100_000, "y" * 500),
])
def test_quoted(out: bytes, err: bytes, expected: str) -> None:
    """An error quotes the end of the program's output, in a form that may be shown."""
    assert expected == module._quoted(io.BytesIO(out), io.BytesIO(err))


# Signals ----------------------------------------------------------------------------------------


def test_signals_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes before there is a program waits for it; it is what it was afterwards."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(module.os, "kill", lambda *words: sent.append(words))
    before = signal.getsignal(signal.SIGTERM)
    signals = module._Signals()


    def interrupted() -> None:
        with signals:
            signal.raise_signal(signal.SIGTERM)
            signals.begin()

    with pytest.raises(certbot_errors.SignalExit, match="stopped by signal 15"):
        interrupted()
    assert [(os.getpid(), signal.SIGTERM)] == sent
    assert before == signal.getsignal(signal.SIGTERM)
    with module._Signals() as quiet:
        quiet.begin()
