"""How results reach the user."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import output


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


def test_file_for_the_user(tmp_path: Path) -> None:
    """It is private unless said otherwise, and its folder is made where that is asked for."""
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
