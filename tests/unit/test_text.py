"""Text from elsewhere."""

from __future__ import annotations

import pytest

from certbot_qiniu.text import is_token, printable


@pytest.mark.parametrize(("text", "expected"), [
    ("", ""), ("a 好", "a 好"), ("\x1b[31ma\n", " [31ma "), ("a\u202eb", "a b"), ("\udcff", " "),
], ids=["empty", "visible", "terminal", "right to left", "half a character"])
def test_printable(text: str, expected: str) -> None:
    """Characters that could steer a terminal are replaced, and nothing else."""
    assert expected == printable(text)
    assert expected.replace(" ", "") == printable(text, "").replace(" ", "")


@pytest.mark.parametrize(("text", "expected"), [
    ("a", True), ("!-~", True), ("", False), ("a b", False), ("a\n", False), ("密", False),
    ("a\x7f", False), ("\u00e9", False),
])
def test_is_token(text: str, expected: bool) -> None:
    """A word of visible ASCII, to its very end."""
    assert expected == is_token(text)
