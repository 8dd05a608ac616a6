"""Each test has a process of its own, as far as the targets remember anything of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from certbot.display import util as display

from certbot_qiniu.targets.other_installer import find_installer
from certbot_qiniu.targets.qiniu import QiniuTarget
from certbot_qiniu.targets.run import Run


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the accounts, our files, what was settled, and which installers were found."""
    monkeypatch.setattr(Run, "_accounts", None)
    monkeypatch.setattr(Run, "_stores", {})
    monkeypatch.setattr(Run, "_waiting", None)
    monkeypatch.setattr(QiniuTarget, "_settled", set())
    find_installer.cache_clear()
    yield
    find_installer.cache_clear()  # a scenario that comes next in this process has another "fake"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user sees."""
    seen: list[str] = []
    monkeypatch.setattr(display, "notify", seen.append)
    return seen
