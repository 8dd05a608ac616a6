"""What a run works with: calls side by side, and their errors."""

from __future__ import annotations

import threading

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.context import in_parallel


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
