"""The user's programs: ``--qiniu-hook`` runs each for every new certificate, until it succeeds.

certbot's own deploy hooks run once, and a failure of one is forgotten. A step that must be repeated
until it succeeds (for a proxy, another cloud, other machines) is run here.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import signal
import subprocess
import tempfile
import textwrap
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from certbot import errors as certbot_errors
from certbot import interfaces, util
from certbot.compat import filesystem

from certbot_qiniu import errors
from certbot_qiniu.deployment.state import LineageMemory
from certbot_qiniu.deployment.waiting import SIGNALS
from certbot_qiniu.failures import Failures
from certbot_qiniu.files import others_may_change
from certbot_qiniu.model import Certificate
from certbot_qiniu.targets.run import Run
from certbot_qiniu.targets.target import Target
from certbot_qiniu.text import printable

logger = logging.getLogger(__name__)

SECONDS = 600.0
"""The longest time that a hook may run."""

GRACE_SECONDS = 10.0
"""The longest time that it may run after SIGTERM."""

_LOOK_SECONDS = 0.1  # and look at what it writes

_OUTPUT_BYTES = 65_536  # the end of each stream
_MOST_BYTES = 8 * 1024 * 1024  # of it on the disk, or in memory where that holds /tmp
_QUOTED_LINES, _QUOTED_CHARACTERS = 5, 500  # of it in an error


class HookTarget(Target):
    """Runs the user's programs for each lineage's newest certificate.

    They follow ``live/``: a hold or a rollback at Qiniu neither runs, stops nor undoes them.

    :param hook: a program, or a folder of them.
    """

    def __init__(self, run: Run, hook: str) -> None:
        super().__init__(run)
        self._hook = hook
        self._new: set[str] = set()  # lineages whose certificate this run was given
        self._ran: dict[str, None] = {}

    def describe(self) -> str:
        """Describe this target."""
        return f"{self._hook}: run for each new certificate, and again until it succeeds."

    def check(self) -> None:
        """Check that there is something to run, and that nobody else can change it.

        :raises errors.UsageError: if it cannot be run.
        """
        if self.run.verb != "rollback":
            self._checked()

    def rehearse(self) -> None:
        """Do the same, and say what would be run.

        :raises errors.UsageError: if it cannot be run.
        """
        for program in self._checked():
            self.run.say(f"hook: a renewal runs {program}; a dry run does not")

    def _checked(self) -> list[str]:
        found = checked_programs(self._hook)
        if not found:
            logger.warning("--qiniu-hook %s: no executable is in this folder, so that nothing is "
                           "run", self._hook)
        return found

    def deploy(self, certificate: Certificate, san: str, paths: tuple[str, ...]) -> None:
        """Take a certificate."""
        super().deploy(certificate, san, paths)
        self._new.add(certificate.lineage)

    def renew(self, lineage: interfaces.RenewableCert) -> None:
        """Take a certificate that was just renewed."""
        super().renew(lineage)
        self._new.add(lineage.lineagename)

    def settle(self) -> None:
        """Run what has not yet succeeded for a lineage's newest certificate.

        :raises errors.QiniuError: if any of them fails; the others were run.
        """
        self._settle_each(self._settle)

    def _settle(self, lineage: str) -> None:
        certificate, programs = self.run.lineages.current(lineage), programs_of(self._hook)
        memory = self.run.memory_of(lineage)
        if memory is None:
            # Without the memory nothing shows what has run: do not run it twice a day.
            memory = LineageMemory()
            programs = programs if lineage in self._new else []
        failures = Failures()
        for program in programs:
            if memory.hooks.get(program) != certificate.fingerprint:
                failures.attempt(self._run, program, certificate, memory)
        for name in ("hooks", "failed_hooks"):
            known: Mapping[str, str] = getattr(memory, name)
            if gone := set(known) - set(programs):
                setattr(memory, name, {path: known[path] for path in known if path not in gone})
        failures.attempt(self.run.write_memory)
        failures.raise_any()

    def _run(self, program: str, certificate: Certificate, memory: LineageMemory) -> None:
        lineage, failed = certificate.lineage, dict(memory.failed_hooks)
        failed.pop(program, None)
        try:
            _refuse_others(program)
            self._ran[program] = None
            out, err = run_program(program, {
                **util.env_no_snap_for_external_calls(),
                "RENEWED_LINEAGE": str(self.run.lineages.place(lineage).live),
                "RENEWED_DOMAINS": " ".join(certificate.names)})
        except errors.UsageError:
            memory.failed_hooks = {**failed, program: "it was not run"}
            raise
        except errors.HookError as error:
            memory.failed_hooks = {**failed, program: error.cause}
            if error.out:  # some programs write their errors there
                self.run.say(f"hook: {program} failed for {lineage}{_indented(':', error.out)}")
            raise
        memory.hooks = {**memory.hooks, program: certificate.fingerprint}
        memory.failed_hooks = failed
        self.run.write_memory()  # at once: what has succeeded is not run again
        self.run.say(f"hook: {program} ran for {lineage}{_indented(':', out)}")
        if err:
            logger.warning("The hook %s ran with error output:%s", program, _indented("", err))

    def lasting(self) -> str:
        """Name the programs that have run: they are not run again for the certificate before."""
        return (f"{', '.join(self._ran)} (--qiniu-hook) ran for the new certificate, which stays "
                "in live/: that is not undone") if self._ran else ""


@dataclass(frozen=True)
class Hook:
    """The result of one program for a lineage's newest certificate.

    :ivar failure: how it failed when it was run last, "" if it did not.
    """

    path: str
    is_done: bool
    failure: str = ""


def hooks_of(hook: str, memory: LineageMemory, fingerprint: str) -> tuple[Hook, ...]:
    """Return the programs that *hook* names, and what became of each.

    :raises errors.UsageError: if they cannot be run.
    """
    return tuple(Hook(program, memory.hooks.get(program) == fingerprint,
                      memory.failed_hooks.get(program, ""))
                 for program in checked_programs(hook))


def checked_programs(hook: str) -> list[str]:
    """Find what *hook* names, as :func:`programs_of` does.

    :raises errors.UsageError: also if another user may change any of it.
    """
    found = programs_of(hook)
    for path in (hook, *found):
        _refuse_others(path)
    return found


def programs_of(hook: str) -> list[str]:
    """Return the programs that a file or a folder stands for, as certbot takes its own hooks.

    :raises errors.UsageError: if there is nothing to run at *hook*.
    """
    if not os.path.isabs(hook):
        raise errors.UsageError(
            f"The renewal conf says qiniu_hook = {hook}, which is another file wherever certbot is "
            f"run. Name all of its path: certbot reconfigure --cert-name NAME --qiniu-hook "
            f"/PATH/TO/{hook}")
    try:
        if os.path.isdir(hook):
            found = sorted(path for name in os.listdir(hook) if not name.endswith("~")
                           and filesystem.is_executable(path := os.path.join(hook, name)))
            "".join(found).encode()  # a name that cannot be stored would be run for ever
            return found
        os.stat(hook)
        if filesystem.is_executable(hook):
            return [hook]
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise errors.UsageError(f"--qiniu-hook {printable(hook)} cannot be run: {cause}"
                                ) from error
    raise errors.UsageError(
        f"--qiniu-hook {hook} is not executable. Run: chmod u+x {shlex.quote(hook)}")


def _refuse_others(path: str) -> None:
    if others_may_change(Path(path)):
        raise errors.UsageError(
            f"The hook {path} is not run: another user of this machine can change it, or a folder "
            f"above it (namei -l {shlex.quote(path)} shows which). Let all of it belong to you or "
            "root, and be writable only by its owner")


# Running one ------------------------------------------------------------------------------------


def run_program(program: str, environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Run a program to its end, in a session of its own and without a terminal.

    If it or this process is stopped, nothing that it has started is left behind.

    :returns: the last lines of what it printed, and of its errors.
    :raises errors.HookError: if it does not start, succeed or end.
    """
    logger.info("Running the hook %s", program)
    # Files, not pipes: a daemon left behind may hold a pipe open for ever.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for file in (out, err):
            fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)  # also after it was shortened
        try:
            status = _wait(program, environment, out, err)
        except OSError as error:
            raise errors.HookError(
                program, f"could not be started: {error.strerror}. It must be a program, or begin "
                "with the one that reads it, as #!/bin/sh does") from error
        except subprocess.TimeoutExpired as error:
            raise errors.HookError(program, f"did not end within {SECONDS:.0f} seconds and was "
                                   "stopped", _quoted(out, err), _lines(out)) from error
        if status:
            raise errors.HookError(
                program, f"exit status {status}" if status > 0 else f"ended by signal {-status}",
                _quoted(out, err), _lines(out))
        return _lines(out), _lines(err)


def _wait(program: str, environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]) -> int:
    """Return the exit status of a program.

    :raises subprocess.TimeoutExpired: if it had to be stopped.
    """
    with _Signals() as signals:
        process = subprocess.Popen(  # noqa: S603 (the administrator's own program)
            [program], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment,
            start_new_session=True)
        try:
            signals.begin()
            end = time.monotonic() + SECONDS
            while True:
                try:
                    return process.wait(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
                except subprocess.TimeoutExpired:
                    if time.monotonic() >= end:
                        raise
                _shorten(out)
                _shorten(err)
        finally:
            if process.returncode is None:
                _end(process)


def _shorten(file: IO[bytes]) -> None:
    """Drop all but the end of what a program has written, should it be much."""
    if os.fstat(file.fileno()).st_size > _MOST_BYTES:
        rest = _tail(file)
        file.truncate(0)
        file.write(rest)
        file.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started: by SIGTERM, then by SIGKILL."""
    try:
        _signal(process, signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS
        while _signal(process, 0) and time.monotonic() < end:
            process.poll()  # an ended process stays in the group until it is polled
            time.sleep(0.05)
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to a program's group; false if nobody is left in it."""
    try:
        os.killpg(process.pid, number)
    except OSError:
        return False
    return True


class _Signals:
    """Lets a signal end a hook first, and then take its usual effect.

    certbot has handlers of its own in ``run`` and ``install``. In ``renew`` it has none, or
    those of a step before, which only swallow the signal.
    """

    def __init__(self) -> None:
        self._former: dict[signal.Signals, Any] = {}
        self._received: list[int] = []
        self._has_begun = False

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():  # only there can they be caught
            for number in SIGNALS:
                if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None):
                    self._former[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        for received in self._received:
            os.kill(os.getpid(), received)
        if self._received:
            raise certbot_errors.SignalExit(f"a hook was stopped by signal {self._received[0]}")

    def begin(self) -> None:
        """Let signals interrupt from now on: there is a program to be ended."""
        self._has_begun = True
        self._interrupt()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(number)
        self._interrupt()

    def _interrupt(self) -> None:
        if self._has_begun and self._received:
            raise certbot_errors.SignalExit


def _tail(file: IO[bytes]) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _OUTPUT_BYTES))
    return file.read(_OUTPUT_BYTES)


def _lines(file: IO[bytes]) -> list[str]:
    """Return the end of a program's output in a form that may be shown."""
    text = _tail(file).decode("utf-8", "replace")
    return [printable(line).rstrip() for line in text.splitlines() if line.strip()]


def _quoted(out: IO[bytes], err: IO[bytes]) -> str:
    """Return the part that an error quotes; some programs write their errors to stdout only."""
    return " / ".join((_lines(err) or _lines(out))[-_QUOTED_LINES:])[-_QUOTED_CHARACTERS:]


def _indented(mark: str, lines: Sequence[str]) -> str:
    return mark + "\n" + textwrap.indent("\n".join(lines), " ") if lines else ""
