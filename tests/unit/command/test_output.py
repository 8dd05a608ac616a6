"""How results reach the user."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import output
from certbot_qiniu.command.survey.health import Finding, Level


def test_table_on_a_narrow_terminal() -> None:
    """No row is wider than the terminal; what must be whole is wrapped, the rest cut off."""
    from rich.console import Console

    table = output.Table(["Certificate", "Days", "Used by", "Verdict"], [
        ("", ["certbot_example.com_0123456789ab", "89", "a.example.com, b.example.com", "in use"]),
    ], ["Used by"])
    out = Console(width=65, force_terminal=True, record=True, file=io.StringIO())
    output.show([table], out)
    lines = out.export_text().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 65
    assert "b.example.com" in "".join(lines)
    assert output.plain(table) == [
        "Certificate                       Days  Used by                       Verdict",
        "certbot_example.com_0123456789ab    89  a.example.com, b.example.com  in use"]


LONG = f"{'a' * 32}.{'b' * 19}.example.com"
"""As long as a common name may be."""


@pytest.mark.parametrize("lineage", ["example.com", "七牛云的证书"])
@pytest.mark.parametrize("width", [60, 80, 140])
def test_what_matters_stays(width: int, lineage: str) -> None:
    """Columns of less weight go first; no line is too long; no number or verdict is broken."""
    from rich.cells import cell_len
    from rich.console import Console

    assert 64 == len(LONG)
    table = output.Table(
        ["Domain", "Serves", "Lineage", "Certificate", "Days", "State", "Changed", "In sync"],
        [("", [LONG, "https", lineage, "0123456789ab", "89", "processing", "2026-11-23",
               "publishing"]),
         ("", ["www.example.com", "https (kodo)", lineage, "0123456789ab", "-5", "success",
               "2026-11-23", "no"])],
        wraps=["Domain", "Lineage", "Certificate"],
        optional=["Changed", "Certificate", "State", "Serves", "Lineage"])
    out = Console(width=width, force_terminal=True, record=True, file=io.StringIO())
    output.show([table], out)
    lines = out.export_text().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert ["Domain", "Days", "In sync"] == [
        word for word in ("Domain", "Days", "In sync") if word in lines[0]]
    assert any(line.rstrip().endswith("publishing") and " 89 " in line for line in lines)
    assert any(line.rstrip().endswith("no") and " -5 " in line for line in lines)
    assert LONG in "".join(line[:line.find("  ")] if "  " in line else line
                           for line in lines[1:-1]).replace(" ", "")
    assert ("Changed" in lines[0], "Serves" in lines[0]) == {
        60: (False, False), 80: (False, True), 140: (True, True)}[width]


@pytest.mark.parametrize("length", [12, 64])
@pytest.mark.parametrize("domain", [f"{'q' * 50}.test", ".".join(["q" * 63] * 4)[:253], "例" * 30])
@pytest.mark.parametrize("edge", [False, True])
def test_two_long_names(domain: str, length: int, edge: bool) -> None:
    """At any width that fits them, days and verdicts are whole, and names lose no character."""
    from rich.cells import cell_len
    from rich.console import Console

    lineage = "证" * (length // 2)
    table = output.Table(
        ["Domain", "Serves", "Lineage", "Certificate", "Days", "State", "Changed",
         *["Edge"] * edge, "In sync"],
        [("", [domain, "https", lineage, "z" * 40, "89", "success", "2026-11-23",
               *["unknown"] * edge, "yes"])],
        wraps=["Domain", "Lineage", "Certificate"],
        optional=["Changed", "Certificate", "State", "Serves", "Lineage", "Edge"])
    for width in (40, *range(60, 90), 140):
        out = Console(width=width, force_terminal=True, record=True, file=io.StringIO())
        output.show([table], out)
        lines = out.export_text().splitlines()
        assert max(map(cell_len, lines)) <= width
        assert lines[0].rstrip().endswith("  In sync"), width
        assert re.search(r" 89  .*yes$", lines[1].rstrip()), width
        assert domain.count(domain[0]) == "".join(lines).count(domain[0]), width


@pytest.mark.parametrize(("count", "cell"), [
    (0, ""), (1, "d0.example.com"), (3, "d0.example.com, d1.example.com, d2.example.com"),
    (9, "9 domains")])
def test_long_lists_are_counted(count: int, cell: str) -> None:
    """A cell of a hundred names would make a table of it."""
    assert cell == output.counted([f"d{number}.example.com" for number in range(count)])


def test_too_narrow_for_anything() -> None:
    """The lines are those of a pipe, and go on in the next: nothing is lost."""
    from rich.console import Console

    table = output.Table(["Domain", "Days"], [("", [LONG, "89"])], wraps=["Domain"])
    out = Console(width=20, force_terminal=True, record=True, file=io.StringIO())
    output.show([table], out)
    assert LONG in "".join(out.export_text().split())


def test_chinese_takes_two_cells() -> None:
    """Columns stay straight in a pipe, too."""
    table = output.Table(["Lineage", "Days"], [("", ["七牛", "89"]), ("", ["example", "9"])])
    assert ["Lineage  Days", "七牛       89", "example     9"] == output.plain(table)


def test_file_for_the_user(tmp_path: Path) -> None:
    """It is private unless said otherwise, and its folder is made if that is asked for."""
    path = tmp_path / "new" / "file"
    assert path == output.write(path, "text", "--option", folder_mode=0o700)
    assert ("text", 0o600) == (path.read_text(), path.stat().st_mode & 0o777)
    assert 0o700 == path.parent.stat().st_mode & 0o777
    output.write(path, "more", "--option", mode=0o644)
    assert ("more", 0o644) == (path.read_text(), path.stat().st_mode & 0o777)


@pytest.mark.parametrize("folder_mode", [None, 0o700])
def test_file_that_cannot_be_written(tmp_path: Path, folder_mode: int | None) -> None:
    """The error names the file, the cause and the option for another place."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below"
    with pytest.raises(errors.UsageError, match=f"Could not write {path}: .+name another --option"):
        output.write(path, "text", "--option", folder_mode=folder_mode)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_pipe_is_written_to(pipe: Path) -> None:
    """Whoever reads from it gets the text, and it stays a pipe."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        output.write(pipe, "text 七牛", "--option")
        assert "text 七牛" == os.read(reader, 100).decode()
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_pipe_that_nobody_reads_from(pipe: Path) -> None:
    """It is an error at once, and not waited for."""
    with pytest.raises(errors.UsageError, match=f"Could not write {pipe}: nobody reads from it"):
        output.write(pipe, "text", "--option")
    assert pipe.is_fifo()


@pytest.mark.parametrize("is_there", [True, False])
def test_link_is_followed(tmp_path: Path, *, is_there: bool) -> None:
    """What it leads to is replaced, and the link stays."""
    link, target = tmp_path / "link", tmp_path / "elsewhere" / "file"
    target.parent.mkdir()
    if is_there:
        target.write_text("old and longer")
    link.symlink_to(target)
    output.write(link, "text", "--option", mode=0o644)
    assert link.is_symlink()
    assert ("text", 0o644) == (target.read_text(), target.stat().st_mode & 0o777)


def test_device_is_written_to() -> None:
    """It is never replaced."""
    output.write(Path("/dev/null"), "text", "--option")
    assert Path("/dev/null").is_char_device()


def test_stdout_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was printed before stays, if stdout is a file, too."""
    path = tmp_path / "redirected"
    with path.open("w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        print("before")
        output.write(Path(f"/proc/self/fd/{out.fileno()}"), "text\n", "--option")
        print("after")
    assert "before\ntext\nafter\n" == path.read_text()


@pytest.mark.parametrize(("encoding", "utf8", "expected"), [
    ("iso-8859-1", False, b"\xfc ??"), ("gbk", False, "? 七牛".encode("gbk")),
    ("ascii", False, b"? ??"), ("ascii", True, "ø 七牛".encode()),
    ("gbk", True, "ø 七牛".encode())])
def test_text_that_stdout_has_no_characters_for(
        monkeypatch: pytest.MonkeyPatch, encoding: str, expected: bytes, *, utf8: bool) -> None:
    """It is replaced for a human, and always UTF-8 for a program."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    output.accept_any_text(utf8=utf8)
    print("ü 七牛" if encoding == "iso-8859-1" else "ø 七牛", end="", flush=True)
    assert expected == raw.getvalue()


def test_findings_of_one_text() -> None:
    """They are one line, with all that it concerns."""
    def finding(subject: str) -> Finding:
        return Finding(Level.ATTENTION, subject, "Credentials", "/etc/q.ini is missing")

    assert [("/etc/q.ini is missing (concerns a, b).", "bold red")] == output.finding_parts(
        [finding("a"), finding("b")])
