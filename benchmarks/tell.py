"""The benchmark's output: tables for the page on stdout, progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence

_BEGUN = time.monotonic()


def progress(text: str) -> None:
    """Say what is being done."""
    print(f"{time.monotonic() - _BEGUN:4.0f} s: {text}", file=sys.stderr, flush=True)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, all of numbers."""
    lines = [" | ".join(map(str, row)) for row in (heads, *rows)]
    return "\n".join([f"| {lines[0]} |", f"|{'--:|' * len(heads)}",
                      *(f"| {line} |" for line in lines[1:])])
