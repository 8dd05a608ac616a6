"""Two processes and the one store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.store import Store

# A process of its own, that takes a store, says so, and keeps it until its input ends.
HOLDER = """
import pathlib, sys
from certbot_qiniu.deployment.store import Store
Store(pathlib.Path(sys.argv[1])).open()
print("open", flush=True)
sys.stdin.read()
"""


def test_lock(tmp_path: Path) -> None:
    """A second process is refused while the first one works, and admitted afterwards."""
    folder = tmp_path / "other"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(errors.StateError, match=f"is at work with {folder}; try again"):
            Store(folder).open()
        Store(folder).load()  # a dry run only reads
        process.communicate()
    assert process.returncode == 0
    Store(folder).open()
