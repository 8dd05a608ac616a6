"""Repeat a history step by step: ``python -m tests.scenarios.replay FILE``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.scenarios.machine import Run
from tests.scenarios.test_histories import Histories
from tests.scenarios.world import Desk, Witness


def replay(text: str, directory: Path) -> None:
    """Run the calls of a history, and show what each of them does.

    :raises AssertionError: if something is not as it must be.
    """
    run_certbot = Desk.certbot

    def certbot(desk: Desk, *arguments: str, **options: Any) -> Run:
        run = run_certbot(desk, *arguments, **options)
        assert isinstance(desk.cloud.qiniu, Witness)
        print(f"$ {' '.join(arguments)}\n{run.output}exit status {run.status}")
        for change in desk.cloud.qiniu.changes:
            print(f"{change.name}: {change.before}\n  -> {change.after}")
        return run

    Histories.home, Histories.worlds = directory, {}
    state = Histories()
    for line in text.splitlines():
        if line.strip().startswith("state."):
            print(f"\n{line.strip()}", flush=True)
            Desk.certbot = certbot  # type: ignore[method-assign]
            exec(line.strip(), {"state": state})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        replay(Path(sys.argv[1]).read_text(encoding="utf-8"), Path(folder))
