"""Several runs of certbot at once over one account, their calls in an order that can be chosen.

Each run is a fork with a time of its own. Its next call waits here, where the one Qiniu is, until
its turn comes: by default that is when it is the earliest, as in reality.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import IO, Any

from tests.sandbox.wire import Drop, Exchange, Request, Response, Switchboard
from tests.scenarios.machine import Clock, Machine, Run, _run, print_into


@dataclass(frozen=True)
class Waiting:
    """A run's next call, which waits for its turn.

    :ivar run: the number of the run.
    :ivar made: how many calls the run has made before.
    """

    run: int
    made: int
    at: float
    request: Request


Turn = Callable[[Sequence[Waiting]], Waiting]


def earliest(waiting: Sequence[Waiting]) -> Waiting:
    """The call that was made first goes first."""
    return min(waiting, key=lambda call: call.at)


def alternating(waiting: Sequence[Waiting]) -> Waiting:
    """The runs take turns, call by call."""
    return min(waiting, key=lambda call: (call.made, call.run))


def inside(number: int) -> Turn:
    """The second run takes place, as a whole, just before the first one's call *number*."""
    def turn(waiting: Sequence[Waiting]) -> Waiting:
        calls = {call.run: call for call in waiting}
        return calls[0] if 0 in calls and (calls[0].made < number or 1 not in calls) else calls[1]

    return turn


def together(*commands: tuple[Machine, Sequence[str]], turn: Turn = earliest) -> list[Run]:
    """Run certbot on several machines of one cloud at once."""
    cloud = commands[0][0].cloud
    with contextlib.ExitStack() as stack:
        running = [_Fork(machine, tuple(arguments), stack.enter_context(tempfile.TemporaryFile()))
                   for machine, arguments in commands]
        waiting = {number: fork.next_call(number) for number, fork in enumerate(running)}
        while calls := [call for call in waiting.values() if call]:
            call = turn(calls)
            fork = running[call.run]
            cloud.clock.now = max(cloud.clock.now, call.at)
            answer: Response | Drop
            try:
                answer = cloud.board.handle(call.request)
            except Drop as drop:
                answer = drop
            fork.calls.append(cloud.board.history[-1])
            fork.link.send((cloud.clock.now, answer))
            waiting[call.run] = fork.next_call(call.run)
        return [fork.end() for fork in running]


@dataclass
class _Fork:
    """A run in a process of its own."""

    machine: Machine
    arguments: tuple[str, ...]
    output: IO[bytes]
    calls: list[Exchange] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link, far = multiprocessing.Pipe()
        self._process = os.fork()
        if not self._process:
            self.link.close()
            self._work(far)
        far.close()

    def _work(self, link: Connection[Any, Any]) -> None:
        """Be the run, to the end of this process."""
        status = 99
        try:
            print_into(self.output)
            cloud = self.machine.cloud
            cloud.board = _Line(link, cloud.clock)
            with self.machine._surroundings(os.devnull, None, None):
                status = _run(self.machine._command(self.arguments))
        except BaseException:  # noqa: BLE001 (there is nobody above)
            traceback.print_exc()
        finally:
            link.send(None)
            os._exit(status)

    def next_call(self, number: int) -> Waiting | None:
        """What the run asks next; None once it has ended."""
        message = self.link.recv()
        return message and Waiting(number, len(self.calls), *message)

    def end(self) -> Run:
        """How the run ended."""
        _, ended = os.waitpid(self._process, 0)
        self.link.close()
        self.output.seek(0)
        text = self.output.read().decode(errors="replace")
        status = os.waitstatus_to_exitcode(ended)
        if status == 99:
            raise AssertionError(f"the fast track itself broke:\n{text}")
        return Run(status, text, self.calls)


class _Line(Switchboard):
    """Takes a run's calls to the process that has the real switchboard."""

    def __init__(self, link: Connection[Any, Any], clock: Clock) -> None:
        super().__init__()
        self._link, self._time = link, clock

    def handle(self, request: Request) -> Response:
        self._link.send((self._time.now, request))
        now, answer = self._link.recv()
        self._time.now = max(self._time.now, now)
        if isinstance(answer, Drop):
            raise answer
        assert isinstance(answer, Response)
        return answer
