"""Find the server block that nginx chooses for a name, at one address.

As ``ngx_http_server_names`` fills its tables and ``ngx_http_find_virtual_server`` looks into them:
exact names, the longest ``*.x`` or ``.x``, the longest ``x.*``, the first regular expression, the
default block. Regular expressions are PCRE's. If Python would refuse one or read it differently, it
is unknown whether it matches.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Generic, TypeVar

Block = TypeVar("Block")

_HOST = re.compile(r"(?!.*\.\d+$)(?!\d+$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_LONGEST_HOST = 253

# This means the same to PCRE and to Python, for names in ASCII.
_ALIKE = re.compile(r"""(?:
    [\w ,:/@&%!~<>=;"'-] | [.^$|)] | \\[dDwWbB] | \\[^a-zA-Z0-9]
  | \((?:(?![?*])|\?(?:[:=!]|P?<[a-zA-Z_]\w*>))
  | \[\^?(?:(?!--|&&|~~|\|\|)(?:[^\[\]\\]|\\[dw]|\\[^a-zA-Z0-9]))+\]
  | (?:[*+?]|\{\d+(?:,\d*)?\})\??(?![*+?{])
)*""", re.VERBOSE | re.ASCII)


def can_be_asked_for(name: str) -> bool:
    """Return whether a client can send *name* in TLS, and nginx will look for it (RFC 6066, 3)."""
    return len(name) <= _LONGEST_HOST and _HOST.fullmatch(name) is not None


# PCRE writes groups (?<name>…), Python (?P<name>…).
_PERLS_GROUP = re.compile(r"\\.|\(\?<")


def _pythons_group(match: re.Match[str]) -> str:
    return "(?P<" if match[0] == "(?<" else match[0]


class ServerNames(Generic[Block]):
    """The names of all blocks at one address.

    :param blocks: each with its names, in nginx's order.
    :param default: the block for all other names.
    """

    def __init__(self, blocks: Iterable[tuple[Block, Iterable[str]]], default: Block) -> None:
        self._exact: dict[str, Block] = {}
        self._suffixes: dict[str, tuple[Block, bool]] = {}
        self._prefixes: dict[str, Block] = {}
        self._regexes: list[tuple[str, Block]] = []
        self._default = default
        self._found: dict[str, tuple[Block, ...]] = {}
        taken: set[str] = set()
        for block, names in blocks:
            for name in names:
                self._add(name, block, taken)

    def _add(self, name: str, block: Block, taken: set[str]) -> None:
        """Add a name, unless it conflicts with an earlier one: nginx then ignores it."""
        if name.startswith("~"):
            self._regexes.append((name[1:], block))
        elif name.startswith("*."):
            self._suffixes.setdefault(name[2:], (block, False))
        elif name.endswith(".*"):
            self._prefixes.setdefault(name[:-2], block)
        elif (host := name.removeprefix(".")) not in taken:
            taken.add(host)
            if host == name:
                self._exact[name] = block
            else:
                self._suffixes.setdefault(host, (block, True))

    def lookup(self, name: str) -> tuple[Block, ...]:
        """Return the block that is chosen for *name*; several if the choice is unknown."""
        if name not in self._found:
            self._found[name] = self._lookup(name)
        return self._found[name]

    def _lookup(self, name: str) -> tuple[Block, ...]:
        if name in self._exact:
            return (self._exact[name],)
        labels = name.split(".")
        for first in range(len(labels)):
            block, with_itself = self._suffixes.get(".".join(labels[first:]), (None, False))
            if block is not None and (first or with_itself):
                return (block,)
        for last in range(len(labels) - 1, 0, -1):
            found = self._prefixes.get(".".join(labels[:last]))
            if found is not None:
                return (found,)
        possible: list[Block] = []
        for pattern, block in self._regexes:
            answer = _matches(pattern, name)
            if answer is not False:
                possible.append(block)
            if answer:
                return tuple(possible)
        return (*possible, self._default)


def _matches(pattern: str, name: str) -> bool | None:
    """Return whether a regular expression matches, None if only PCRE knows."""
    regex = _compiled(pattern)
    return None if regex is None else regex.search(name) is not None


_known: dict[str, re.Pattern[str] | None] = {}


def _compiled(pattern: str) -> re.Pattern[str] | None:
    if pattern not in _known:
        found = None
        if _ALIKE.fullmatch(pattern):
            # nginx ignores case if there are capitals.
            flags = re.ASCII | (re.IGNORECASE if re.search("[A-Z]", pattern) else 0)
            with contextlib.suppress(re.error):
                found = re.compile(_PERLS_GROUP.sub(_pythons_group, pattern), flags)
        _known[pattern] = found
    return _known[pattern]
