"""A unit test is alone with its module: it starts no program, forks nothing, and reaches nobody."""

from __future__ import annotations

import os
import subprocess
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to start a program, in whichever way."""
    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail("a unit test starts a program: it belongs into tests/scenarios or tests/e2e")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "execve"):
        monkeypatch.setattr(os, name, refuse)
