"""Run a function of no arguments as a program, and write down its peak of memory.

``python -m benchmarks.child REPORT MODULE:FUNCTION ARGUMENT…``. The kernel's own figure for an
ended child would include what its parent was before the program was loaded.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from pathlib import Path


def main() -> None:
    """Become the program."""
    report, target = sys.argv[1:3]
    del sys.argv[1:3]
    try:
        sys.exit(pkgutil.resolve_name(target)())
    finally:
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
        Path(report).write_text(peak[1] if peak else "0", "ascii")


if __name__ == "__main__":
    main()
