"""Results for the user: tables with rich on a terminal, plain columns in a pipe, JSON, files."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_qiniu import errors
from certbot_qiniu.command.survey.health import Finding, Level, exit_status, utc, with_all_concerned
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

    :ivar wraps: the columns that may be wrapped on a narrow terminal; nothing is ever cut off.
    :ivar optional: the columns that are left out on a narrow terminal, the first one first.
    :ivar styled: the number of the cell that has the style.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    wraps: Sequence[str] = ()
    optional: Sequence[str] = ()
    styled: int = -1
    title: str = ""


Part = Table | tuple[str, str]
"""A table, or a line of text with its style."""

BLANK = ("", "")


# Terminal and pipe ------------------------------------------------------------------------------

MOST_NAMES = 3
"""The most names in a cell; ``--json`` has all of them."""

NARROWEST, NARROWEST_FIRST = 12, 24
"""The least width of a wrapped column, in cells of the terminal; a table's first column, which
names the row, keeps more."""

GAP = 2
"""The space between columns."""


def accept_any_text(*, utf8: bool = False) -> None:
    """Let stdout and stderr take every text, with ``?`` for characters that they do not have.

    :param utf8: stdout is for a program, whatever the terminal's encoding.
    """
    # A service may run us with these closed.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
            if utf8 and stream is sys.stdout:
                stream.reconfigure(encoding="utf-8", errors="replace")


def console(*, stderr: bool = False) -> Console:
    """Return the console of stdout or stderr; rich honours ``NO_COLOR``."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False, emoji=False, markup=False)


def show(parts: Iterable[Part], out: Console | None = None) -> None:
    """Print *parts*, to stdout by default."""
    out = out or console()
    if out.is_terminal:
        out.print(rendered(parts, out.width))
        return
    for part in parts:
        for line in plain(part) if isinstance(part, Table) else [part[0]]:
            sys.stdout.write(f"{line}\n")


def rendered(parts: Iterable[Part], width: int) -> RenderableType:
    """Return *parts* for a terminal of this width; a line that is too wide is wrapped."""
    from rich.console import Group
    from rich.text import Text

    found: list[RenderableType] = []
    for part in parts:
        if isinstance(part, Table):
            fitting = fitted(part, width)
            found += [_rich_table(fitting, width)] if fitting else [
                Text(line, overflow="fold") for line in plain(part)]
        else:
            found.append(Text(part[0], part[1]))
    return Group(*found)


def fitted(table: Table, width: int) -> Table | None:
    """Leave out optional columns until *table* fits into *width*; None if it never does."""
    left_out = list(table.optional)
    while _total(narrowest(table)) > width:
        if not left_out:
            return None
        table = without(table, left_out.pop(0))
    return table


def without(table: Table, name: str) -> Table:
    """Return *table* without one of its columns, which is not the styled one."""
    if name not in table.columns:
        return table
    number = table.columns.index(name)
    styled = table.styled % len(table.columns)

    def rest(cells: Sequence[str]) -> list[str]:
        return [*cells[:number], *cells[number + 1:]]

    return dataclasses.replace(
        table, columns=rest(table.columns), styled=styled - (number < styled),
        rows=[(style, rest(cells)) for style, cells in table.rows])


def narrowest(table: Table) -> list[int]:
    """Return the least width of each column, without the space between."""
    return [min(width, NARROWEST_FIRST if name == table.columns[0] else NARROWEST)
            if name in table.wraps else width
            for name, width in zip(table.columns, _widths(table), strict=True)]


def spread(table: Table, width: int) -> list[int]:
    """Return the width of each column of a table that fits; the narrowest one grows first."""
    wanted, widths = _widths(table), narrowest(table)
    for _ in range(width - _total(widths)):
        short = [number for number, least in enumerate(widths) if least < wanted[number]]
        if short:
            widths[min(short, key=widths.__getitem__)] += 1
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def plain(table: Table) -> list[str]:
    """Draw a table as lines: columns of equal width, nothing cut off, no decoration."""
    from rich.cells import cell_len

    lines, widths = [table.columns, *(cells for _, cells in table.rows)], _widths(table)
    title = [table.title] if table.title else []

    def filled(cell: str, width: int, name: str) -> str:
        space = " " * (width - cell_len(cell))
        return space + cell if name in NUMBERS else cell + space

    return title + [(" " * GAP).join(map(filled, cells, widths, table.columns)).rstrip()
                    for cells in lines]


def _widths(table: Table) -> list[int]:
    """Return the width of each column in cells: a Chinese character takes two."""
    from rich.cells import cell_len

    lines = [table.columns, *(cells for _, cells in table.rows)]
    return [max(map(cell_len, column)) for column in zip(*lines, strict=True)]


def _rich_table(table: Table, width: int) -> RenderableType:
    # Widths are ours, gaps columns: rich's own take from each column what is too much in sum, and
    # its versions differ in what it counts as padding.
    from rich.table import Table as RichTable
    from rich.text import Text

    found = RichTable(box=None, padding=0, pad_edge=False, title=table.title or None,
                      title_justify="left", title_style="bold", header_style="bold dim")
    for name, own in zip(table.columns, spread(table, width), strict=True):
        if found.columns:
            found.add_column(width=GAP)
        found.add_column(name, justify="right" if name in NUMBERS else "left", width=own,
                         no_wrap=name not in table.wraps, overflow="fold")
    for style, cells in table.rows:
        row = [Text(cell) for cell in cells]
        row[table.styled].stylize(style)
        found.add_row(*[part for cell in row for part in (Text(), cell)][1:])
    return found


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on stderr that something is going on, but only on a terminal."""
    out = console(stderr=True)
    if out.is_terminal:
        with out.status(text):
            yield
    else:
        yield


def finding_parts(findings: Iterable[Finding]) -> list[Part]:
    """Return one line for each finding; those with the same text share a line."""
    lines: list[Part] = [(f"{_capital(item.text).rstrip('.')}.", STYLES[item.level])
                         for item in with_all_concerned(list(findings))]
    return list(dict.fromkeys(lines))


def counted(domains: Sequence[str]) -> str:
    """Write domains as a cell, or how many there are if they are many."""
    return ", ".join(domains) if len(domains) <= MOST_NAMES else f"{len(domains)} domains"


def number(value: int | None) -> str:
    """Return a number as a cell."""
    return "-" if value is None else str(value)


def _capital(text: str) -> str:
    """Return *text* as the beginning of a sentence; a name stays as it is."""
    first = text.partition(" ")[0]
    return text if "." in first else text[:1].upper() + text[1:]


# JSON -------------------------------------------------------------------------------------------


def document(level: Level, now: float, content: dict[str, Any]) -> str:
    """Write a result in the form that docs/status-json.md describes."""
    return json.dumps({"version": VERSION, "checked_at": utc(now), "level": level,
                       "exit_status": exit_status(level), **content},
                      indent=2, ensure_ascii=False, default=_encode)


def with_time(row: Any) -> dict[str, Any]:
    """Return a dataclass as a dictionary, with the end of its certificate as in JSON."""
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
    """Write a file that the user asked for, completely or not at all.

    Anything but a plain file (a link, a pipe, a device) is written to, not replaced.

    :param option: the option that chooses another place, for the error.
    :param folder_mode: if not None, a missing folder is made, with this mode.
    :raises errors.UsageError: if that is not possible.
    """
    try:
        if folder_mode is not None:
            path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
        if not _write_into(path, text):
            write_file(path.resolve(), text, mode=mode)  # the file that a link leads to
    except OSError as error:
        reason = ("nobody reads from it" if error.errno == errno.ENXIO
                  else error.strerror)
        raise errors.UsageError(f"Could not write {path}: {reason}. Run this as root, or "
                                f"name another {option}") from error
    return path


def _write_into(path: Path, text: str) -> bool:
    """Write to an existing path that is no plain file; false if there is none.

    :raises OSError: if that is not possible.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if _is_stdout(found):  # /dev/stdout, even if it leads to a file
        sys.stdout.write(text)
        return True
    if stat.S_ISREG(found.st_mode):
        return False
    # Opening a pipe without a reader would block for ever.
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    os.set_blocking(handle, True)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def _is_stdout(found: os.stat_result) -> bool:
    try:
        return os.path.samestat(found, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # no file at all, as in a test
        return False
