"""nginx's dump of its configuration (``nginx -T``), as far as it shows who serves what.

The dump has every file that nginx reads, wherever it runs. It is read as nginx reads it
(``ngx_conf_read_token``), each file once and only where it is included. Directives of no interest
are passed over and not kept: configurations have hundreds of thousands of lines.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

_HEADER = re.compile(r"^# configuration file (.+):\r?$", re.MULTILINE)

_GLOB = re.compile(r"[*?[]")
_ODD_PATH = re.compile(r"//|/\./|/\.$")

_BLOCKS = {"http", "stream", "mail", "server"}
_KEPT = {"include", "listen", "server_name", "ssl", "ssl_certificate"}
_LUA_CERTIFICATE = "ssl_certificate_by_lua"

# Most directives are one match: no quotes, comments, variables or blocks in them.
_PLAIN = re.compile(
    r"""[ \t\r\n]*([^ \t\r\n"'#{};\\$]+)(?:[ \t\r\n]([^"'#{};\\$]*))?;""")
_TOKEN = re.compile(r"""
    [ \t\r\n]+ | \#[^\n]*
  | (?P<mark>[;{}])
  | "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"
  | '(?P<single>[^'\\]*(?:\\.[^'\\]*)*)'
  | (?P<word>(?!["'])(?:[^ \t\r\n;{\\$]+|\\.|\$\{*)+)
""", re.VERBOSE | re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]+")
_ESCAPED = re.compile(r"\\([\"'\\trn])")
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}
# In Lua: text whose braces do not count, or a brace that does.
_LUA = re.compile(r"""
    --\[(?P<comment>=*)\[.*?\](?P=comment)\] | --[^\n]*
  | \[(?P<long>=*)\[.*?\](?P=long)\]
  | "[^"\\\n]*(?:\\.[^"\\\n]*)*" | '[^'\\\n]*(?:\\.[^'\\\n]*)*'
  | (?P<brace>[{}])
""", re.VERBOSE | re.DOTALL)


@dataclass(frozen=True)
class Directive:
    """A directive of interest, and those of interest in its block."""

    name: str
    arguments: tuple[str, ...] = ()
    block: list[Directive] = field(default_factory=list)


class Dump:
    """A dump from nginx.

    :param text: what ``nginx -T`` printed.
    :raises ValueError: if there is no configuration in it.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        headers = list(_HEADER.finditer(text))
        if not headers:
            raise ValueError("no configuration in it")
        ends = [*(header.start() for header in headers[1:]), len(text)]
        self._spans = {_path(header[1]): (header.end(), end)
                       for header, end in zip(headers, ends, strict=True)}
        self._main = _path(headers[0][1])
        self._by_folder: dict[str, list[str]] = {}
        for path in self._spans:
            self._by_folder.setdefault(posixpath.dirname(path), []).append(path)
        self._parsed: dict[str, list[Directive]] = {}
        self._matches: dict[str, list[str]] = {}

    def absolute(self, path: str) -> str:
        """Return a configured path as an absolute one; it is relative to the main file's folder."""
        return _path(posixpath.join(posixpath.dirname(self._main), path))

    def main(self) -> Iterator[Directive]:
        """Return the directives of the main context.

        :raises ValueError: if they cannot be understood.
        """
        return self._expanded(self._contents(self._main), (self._main,))

    def inside(self, directive: Directive) -> Iterator[Directive]:
        """Return the content of a block, with files where they are included.

        :raises ValueError: if that cannot be understood.
        """
        return self._expanded(directive.block, ())

    def mentions(self, folders: set[str]) -> bool:
        """Return whether a path in one of *folders* is anywhere but in a comment."""
        paths = "|".join(re.escape(f"{folder}/") for folder in folders)
        return re.search(rf"^[^#\n]*(?:{paths})", self._text, re.MULTILINE) is not None

    def _expanded(self, directives: list[Directive],
                  within: tuple[str, ...]) -> Iterator[Directive]:
        for directive in directives:
            if directive.name != "include":
                yield directive
                continue
            for path in self._included("".join(directive.arguments[:1])):
                if path in within:
                    raise ValueError(f"{path} includes itself")
                yield from self._expanded(self._contents(path), (*within, path))

    def _contents(self, path: str) -> list[Directive]:
        if path not in self._parsed:
            self._parsed[path] = _parse(self._text, *self._spans[path])
        return self._parsed[path]

    def _included(self, pattern: str) -> list[str]:
        """Find the files that glob(3) finds for *pattern*, in its order."""
        if pattern not in self._matches:
            path = self.absolute(pattern)
            folder = posixpath.dirname(path)
            if not _GLOB.search(pattern):
                found = [path] if path in self._spans else []
            else:
                names = self._spans if _GLOB.search(folder) else self._by_folder.get(folder, [])
                found = sorted(name for name in names if _matches(name, path))
            self._matches[pattern] = found
        return self._matches[pattern]


def _path(text: str) -> str:
    """Return a path in its one spelling, as far as that is known here."""
    return str(PurePosixPath(text)) if _ODD_PATH.search(text) else text


def _matches(path: str, pattern: str) -> bool:
    """Return whether glob(3) finds *path* by *pattern*; it leaves hidden files alone."""
    parts, globs = path.split("/"), pattern.split("/")
    return len(parts) == len(globs) and all(
        fnmatchcase(part, glob.replace("[^", "[!"))
        and (glob.startswith(".") or not part.startswith("."))
        for part, glob in zip(parts, globs, strict=True))


def _parse(text: str, start: int, end: int) -> list[Directive]:
    """Read the directives of interest in a file.

    :raises ValueError: if its quotes or braces do not match.
    """
    # None for a block that is passed over.
    blocks: list[list[Directive] | None] = [[]]
    words: list[str] = []
    while start < end:
        plain = None if words else _PLAIN.match(text, start, end)
        if plain:
            start = plain.end()
            if plain[1] in _KEPT and blocks[-1] is not None:
                blocks[-1].append(Directive(plain[1], tuple(
                    filter(None, _SPACE.split(plain[2] or "")))))
            continue
        token = _TOKEN.match(text, start, end)
        if not token:
            raise ValueError(f"a quote without end: {text[start:start + 40]!r}")
        start = token.end()
        kind = token.lastgroup
        if kind is None:
            continue
        if kind != "mark":
            words.append(_ESCAPED.sub(_unescaped, token[kind]))
            continue
        if token["mark"] == "}":
            if words or len(blocks) == 1:
                raise ValueError('unexpected "}"')
            blocks.pop()
            continue
        directive = Directive(words[0], tuple(words[1:])) if words else Directive("")
        is_block, words = token["mark"] == "{", []
        is_lua = directive.name.endswith("_by_lua_block")
        is_kept = directive.name in (_BLOCKS if is_block and not is_lua else _KEPT)
        is_kept = is_kept or directive.name.startswith(_LUA_CERTIFICATE)
        if is_kept and blocks[-1] is not None:
            blocks[-1].append(directive)
        if is_lua and is_block:
            start = _end_of_lua(text, start, end)
        elif is_block:
            blocks.append(directive.block if is_kept and blocks[-1] is not None else None)
    if words or len(blocks) > 1:
        raise ValueError('unexpected end of file, expecting ";" or "}"')
    return blocks[0] or []


def _unescaped(match: re.Match[str]) -> str:
    return _CONTROLS.get(match[1], match[1])


def _end_of_lua(text: str, start: int, end: int) -> int:
    """Return the end of the block of Lua that begins at *start*."""
    depth = 1
    for match in _LUA.finditer(text, start, end):
        if match["brace"]:
            depth += 1 if match["brace"] == "{" else -1
            if not depth:
                return match.end()
    raise ValueError('unexpected end of Lua code, expecting "}"')
