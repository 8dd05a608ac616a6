"""Which server blocks of nginx use which certificates, and how to ask one of them for its leaf.

The blocks are read from nginx's own dump of its configuration (``nginx -T``), which has every file
that nginx reads, wherever it runs. Who answers for a name is decided as nginx decides it, so that
a question never reaches another block than the one it is about. Asking is not done here.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from certbot_qiniu.webserver.tls import LABEL

logger = logging.getLogger(__name__)

_ANY_IPV4 = ("*", "", "0.0.0.0")  # noqa: S104 (only compared)
_LOOPBACK = {"*": "127.0.0.1", "::": "::1"}

_Directive = dict[str, Any]
_Files = dict[PurePosixPath, list[_Directive]]


@dataclass(frozen=True)
class Listen:
    """A TCP address of a server block.

    :ivar address: host and port; any IPv4 address is ``*``, any IPv6 address ``::``.
    :ivar proxied: whether the PROXY protocol comes first.
    """

    address: tuple[str, int]
    tls: bool
    proxied: bool
    default: bool


@dataclass(frozen=True)
class Server:
    """A server block.

    :ivar certificates: absolute paths, in which variables are left as they are.
    """

    names: tuple[str, ...]
    listens: tuple[Listen, ...]
    certificates: tuple[str, ...]

    @property
    def has_variables(self) -> bool:
        """Whether nginx finds a certificate's path anew for each connection."""
        return any("$" in path for path in self.certificates)

    def uses(self, folders: set[Path]) -> bool:
        """Whether a certificate is in one of *folders*, as written or behind links."""
        paths = [Path(path) for path in self.certificates if "$" not in path]
        return any({path.parent, path.resolve().parent} & folders for path in paths)

    def rank(self, name: str) -> tuple[int, int]:
        """How strongly nginx prefers this block for *name*; (0, 0) where it does not match."""
        return max(_rank(pattern, name) for pattern in self.names)


@dataclass(frozen=True)
class Question:
    """Which leaf does a client see that asks for *name* at an address?

    :ivar several: the block has several certificates, for different kinds of keys.
    """

    host: str
    port: int
    name: str
    proxied: bool
    several: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port} ({self.name})"


def questions(servers: Iterable[Server], users: Iterable[Server],
              names: Sequence[str]) -> list[Question]:
    """One question for each TLS address of *users* that a client on this machine can reach.

    :param servers: all server blocks, in nginx's order.
    :param users: those among them to ask about.
    :param names: more names to ask for, where a block's own do not lead to it.
    """
    by_address: dict[tuple[str, int], list[tuple[Server, Listen]]] = {}
    for server in servers:
        for listen in server.listens:
            by_address.setdefault(listen.address, []).append((server, listen))
    found = []
    for user in users:
        concrete = [name for pattern in (*user.names, *names) if (name := _concrete(pattern))]
        for address in dict.fromkeys(listen.address for listen in user.listens):
            rivals = by_address[address]
            host, port = address
            target = _LOOPBACK.get(host, host)
            hidden = target != host and (target, port) in by_address  # by a more specific address
            name = next((name for name in concrete if _chosen(rivals, name) is user), "")
            if name and not hidden and any(listen.tls for _, listen in rivals):
                proxied = any(listen.proxied for _, listen in rivals)
                found.append(Question(target, port, name, proxied, len(user.certificates) > 1))
    return found


def _concrete(pattern: str) -> str:
    """A name that a server_name or SAN matches, "" where none can be told."""
    if pattern.startswith("~") or not pattern.isascii():  # TLS carries ASCII only
        return ""
    return (f"*{pattern}" if pattern.startswith(".") else pattern).replace("*", LABEL)


def _chosen(rivals: Sequence[tuple[Server, Listen]], name: str) -> Server:
    """The block that nginx chooses for *name* among those at one address."""
    best = max((server for server, _ in rivals), key=lambda server: server.rank(name))
    if best.rank(name) > (0, 0):
        return best
    return next((server for server, listen in rivals if listen.default), rivals[0][0])


def _rank(pattern: str, name: str) -> tuple[int, int]:
    """nginx's order: exact, longest ``*.x`` or ``.x``, longest ``x.*``, first regex."""
    if pattern == name:
        return 4, 0
    if pattern.startswith("~"):
        try:
            # PCRE writes groups (?<name>…), Python (?P<name>…).
            regex = re.compile(re.sub(r"\(\?<(?=\w)", "(?P<", pattern[1:]), re.IGNORECASE)
        except re.error:
            logger.debug("Not understood: server_name %s", pattern)
            return 0, 0
        return (1, 0) if regex.search(name) else (0, 0)
    suffix = pattern.removeprefix("*")
    if suffix.startswith(".") and (name if pattern != suffix else f".{name}").endswith(suffix):
        return 3, len(suffix)
    if pattern.endswith(".*") and name.startswith(pattern[:-1]):
        return 2, len(pattern)
    return 0, 0


def parse_servers(dump: str) -> list[Server] | None:
    """The server blocks in what ``nginx -T`` printed, None where that cannot be read."""
    import crossplane

    parts = re.split(r"^# configuration file (.+):\r?\n", dump, flags=re.MULTILINE)
    files: _Files = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "nginx.conf")  # crossplane reads files only
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            copy.write_text(text, "utf-8")
            parsed = crossplane.parse(str(copy), single=True, check_ctx=False, check_args=False)
            if parsed["errors"]:
                logger.debug("Not understood: %s: %s", name, parsed["errors"])
                return None
            files[PurePosixPath(name)] = parsed["config"][0]["parsed"]
    if not files:
        return None
    main = next(iter(files))
    return list(_find_servers(_expand(files[main], files, main.parent), main.parent))


def _expand(directives: Iterable[_Directive], files: _Files,
            folder: PurePosixPath) -> list[_Directive]:
    """*directives* with each ``include`` replaced by what it names, relative to *folder*."""
    tree: list[_Directive] = []
    for directive in directives:
        if directive["directive"] == "include":
            pattern = folder / directive["args"][0]
            for path, included in files.items():
                if path.match(str(pattern)):
                    tree += _expand(included, files, folder)
        else:
            tree.append({**directive, "block": _expand(directive.get("block", ()), files, folder)})
    return tree


def _find_servers(tree: Iterable[_Directive], folder: PurePosixPath) -> Iterator[Server]:
    """The server blocks of ``http`` and ``stream``."""
    for section in tree:
        if section["directive"] not in ("http", "stream"):
            continue
        for server in section["block"]:
            if server["directive"] == "server":
                names = [name if name.startswith("~") else name.lower()
                         for args in _arguments(server, "server_name") for name in args]
                certificates = (_arguments(server, "ssl_certificate")
                                or _arguments(section, "ssl_certificate"))
                yield Server(tuple(names or [""]), tuple(_listens(server)),
                             tuple(str(folder / path) for path, in certificates))


def _arguments(block: _Directive, name: str) -> list[list[str]]:
    """The arguments of each directive *name* right inside *block*."""
    return [inner["args"] for inner in block["block"] if inner["directive"] == name]


def _listens(server: _Directive) -> Iterator[Listen]:
    """The TCP addresses of a server block."""
    old_style = ["on"] in _arguments(server, "ssl")
    for text, *options in _arguments(server, "listen"):
        if text.startswith("unix:"):
            continue
        host, _, port = text.rpartition(":")
        port = port.partition("-")[0]  # of a range, the first
        if not port.isdigit():
            host, port = text, "80"
        host = host.strip("[]")
        yield Listen(("*" if host in _ANY_IPV4 else host, int(port)),
                     tls=old_style or "ssl" in options, proxied="proxy_protocol" in options,
                     default=not {"default_server", "default"}.isdisjoint(options))
