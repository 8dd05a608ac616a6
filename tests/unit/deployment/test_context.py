"""What a run works with: calls side by side, and their errors."""

from __future__ import annotations

import threading
import time

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.context import WORKERS, in_parallel
from tests.unit.deployment.desired import set_state
from tests.unit.rig import Rig


def test_in_parallel() -> None:
    """Results come in order, and an error of ours takes the place of its result."""
    failure = errors.QiniuError("no")

    def half(number: int) -> int:
        if number % 2:
            raise failure
        return number // 2

    assert in_parallel(half, []) == []
    assert in_parallel(half, [1]) == [failure]
    assert in_parallel(half, [4]) == [2]
    assert in_parallel(half, list(range(20))) == [
        failure if number % 2 else number // 2 for number in range(20)]


def test_in_parallel_at_once() -> None:
    """Calls really run side by side."""
    barrier = threading.Barrier(3, timeout=10)
    assert set(in_parallel(lambda _: barrier.wait(), ["a", "b", "c"])) == {0, 1, 2}


@pytest.mark.parametrize("items", [[1], [1, 2, 3]])
@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_in_parallel_bug(items: list[int], error: BaseException) -> None:
    """A bug, or a Ctrl-C, is nobody's result."""
    def fail(_: int) -> None:
        raise error

    with pytest.raises(type(error)):
        in_parallel(fail, items)


def test_not_too_many_at_once() -> None:
    """However many domains there are, Qiniu sees a handful of calls at a time."""
    running, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return number

    assert list(range(60)) == in_parallel(work, list(range(60)))
    assert 2 <= most <= WORKERS


def test_one_is_called_here() -> None:
    """A single call needs no thread: a signal that ends the program reaches it."""
    assert [threading.current_thread()] == in_parallel(
        lambda _: threading.current_thread(), ["only"])


def test_memory_is_that_of_the_store(rig: Rig) -> None:
    """A store that is loaded again, as after a rollback, is what the context knows, too."""
    set_state(rig.store, {})
    before = rig.context.memory
    rig.store.load()
    assert rig.context.memory is rig.store.memory
    assert rig.context.memory is not before
