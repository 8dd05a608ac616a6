"""Text from elsewhere: what of it may be shown, and what may be part of a request."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[!-~]+")


def printable(text: str, instead: str = " ") -> str:
    """*text* with *instead* for what is no character to be seen, and might steer a terminal."""
    return "".join(c if c.isprintable() else instead for c in text)


def is_token(text: str) -> bool:
    """Return whether *text* is one word of visible ASCII, as every key and bucket name is."""
    return _TOKEN.fullmatch(text) is not None
