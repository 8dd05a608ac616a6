"""Text from elsewhere: make it safe to show, check it for use in a request."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[!-~]+")


def printable(text: str, instead: str = " ") -> str:
    """Return *text* with *instead* for invisible characters, which might steer a terminal."""
    return "".join(c if c.isprintable() else instead for c in text)


def is_token(text: str) -> bool:
    """Return whether *text* is one word of visible ASCII, as every key and bucket name is."""
    return _TOKEN.fullmatch(text) is not None
