"""Run a function of no arguments as a program, and write down what that cost.

``python -m benchmarks.child REPORT FOLDER MODULE:FUNCTION ARGUMENT…``. The kernel's own figure for
the memory of an ended child would include what its parent was before the program was loaded.
"""

from __future__ import annotations

import json
import os
import pkgutil
import re
import resource
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Become the program; if *FOLDER* is not empty, count the files opened below it."""
    report, folder, target = sys.argv[1:4]
    del sys.argv[1:4]
    opened = _counting(folder) if folder else []
    try:
        sys.exit(pkgutil.resolve_name(target)())
    finally:
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
        used = resource.getrusage(resource.RUSAGE_SELF)
        Path(report).write_text(json.dumps({
            "peak": int(peak[1]) / 1024 if peak else 0.0, "opened": len(opened),
            "processor": used.ru_utime + used.ru_stime}), "ascii")


def _counting(folder: str) -> list[str]:
    opened: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            path = os.fspath(arguments[0])
            if isinstance(path, str) and path.startswith(folder) and "/logs/" not in path:
                opened.append(path)

    sys.addaudithook(note)
    return opened


if __name__ == "__main__":
    main()
