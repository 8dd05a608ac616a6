"""Results for the user: tables with rich on a terminal, plain columns in a pipe, JSON, files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_qiniu import errors
from certbot_qiniu.command.health import Finding, Level, exit_status, utc
from certbot_qiniu.files import write_file

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

STYLES = {Level.OK: "green", Level.ATTENTION: "bold red", Level.UNKNOWN: "yellow"}
NUMBERS = ("Days",)
VERSION = 1
"""Of the JSON that docs/status-json.md describes."""


@dataclass(frozen=True)
class Table:
    """Rows of text below headings, each with the style of one of its cells.

    :ivar wraps: the columns that may be wrapped on a narrow terminal; others are cut off there.
    :ivar styled: which cell has the style.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    wraps: Sequence[str] = ()
    styled: int = -1
    title: str = ""


Part = Table | tuple[str, str]
"""A table, or a line of text with its style."""

BLANK = ("", "")


# Terminal and pipe ------------------------------------------------------------------------------


def console(*, stderr: bool = False) -> Console:
    """The terminal, or whatever is in its place; rich honours ``NO_COLOR``."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False, emoji=False, markup=False)


def show(parts: Iterable[Part], out: Console | None = None) -> None:
    """Print *parts*, to the terminal unless told otherwise."""
    out = out or console()
    if out.is_terminal:
        out.print(rendered(parts))
        return
    for part in parts:
        for line in plain(part) if isinstance(part, Table) else [part[0]]:
            sys.stdout.write(f"{line}\n")


def rendered(parts: Iterable[Part]) -> RenderableType:
    """*parts* for a terminal."""
    from rich.console import Group
    from rich.text import Text

    return Group(*(_rich_table(part) if isinstance(part, Table) else Text(part[0], part[1])
                   for part in parts))


def plain(table: Table) -> list[str]:
    """A table as lines: columns of equal width, nothing cut off, no decoration."""
    lines = [table.columns, *(cells for _, cells in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    title = [table.title] if table.title else []
    return title + ["  ".join(
        cell.rjust(width) if name in NUMBERS else cell.ljust(width)
        for cell, width, name in zip(cells, widths, table.columns, strict=True)).rstrip()
        for cells in lines]


def _rich_table(table: Table) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    found = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, title=table.title or None,
                      title_justify="left", title_style="bold", header_style="bold dim")
    for name in table.columns:
        wraps = name in table.wraps
        found.add_column(name, justify="right" if name in NUMBERS else "left",
                         no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
    for style, cells in table.rows:
        row = [Text(cell) for cell in cells]
        row[table.styled].stylize(style)
        found.add_row(*row)
    return found


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on stderr that something is going on, on a terminal alone."""
    out = console(stderr=True)
    if out.is_terminal:
        with out.status(text):
            yield
    else:
        yield


def finding_parts(findings: Iterable[Finding]) -> list[Part]:
    """Findings, one in a line."""
    return [(f"{_capital(item.text).rstrip('.')}.", STYLES[item.level]) for item in findings]


def number(value: int | None) -> str:
    """A number as a cell."""
    return "-" if value is None else str(value)


def _capital(text: str) -> str:
    """*text* as the beginning of a sentence; a name stays as it is."""
    first = text.partition(" ")[0]
    return text if "." in first else text[:1].upper() + text[1:]


# JSON -------------------------------------------------------------------------------------------


def document(level: Level, now: float, content: dict[str, Any]) -> str:
    """A result in the form that docs/status-json.md describes."""
    return json.dumps({"version": VERSION, "checked_at": utc(now), "level": level,
                       "exit_status": exit_status(level), **content},
                      indent=2, ensure_ascii=False, default=_encode)


def with_time(row: Any) -> dict[str, Any]:
    """A dataclass with the end of a certificate as it is in JSON."""
    return {**vars(row), "not_after": utc(row.not_after) if row.not_after else None}


def _encode(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return vars(value)
    raise TypeError(f"{type(value).__name__} cannot be shown as JSON")


# Files ------------------------------------------------------------------------------------------


def write(path: Path, text: str, option: str, *, mode: int = 0o600,
          folder_mode: int | None = None) -> Path:
    """Write a file that the user asked for, all of it or nothing.

    :param option: names the option that chooses another place.
    :param folder_mode: makes the folder where there is none, with this mode.
    :raises errors.UsageError: when that is not possible.
    """
    try:
        if folder_mode is not None:
            path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
        write_file(path, text, mode=mode)
    except OSError as error:
        raise errors.UsageError(f"Could not write {path}: {error.strerror}. Run this as root, or "
                                f"name another {option}") from error
    return path
