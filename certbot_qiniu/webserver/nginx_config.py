"""Find nginx's server blocks that use a certificate, and how to ask one for its leaf.

The blocks are read from nginx's own dump of its configuration (``nginx -T``). The block that
answers for a name is found as nginx finds it, so that a question reaches the block that it is
about. If that is not certain, a wrong answer proves nothing. Asking is not done here.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from certbot_qiniu.webserver.nginx_dump import Directive, Dump
from certbot_qiniu.webserver.server_names import ServerNames, can_be_asked_for
from certbot_qiniu.webserver.tls import LABEL

logger = logging.getLogger(__name__)

_ANY_IPV4 = ("*", "", "0.0.0.0")  # noqa: S104 (only compared)
_LOOPBACK = {"*": "127.0.0.1", "::": "::1"}

Address = tuple[str, int]


@dataclass(frozen=True)
class Listen:
    """A TCP address of a server block.

    :ivar address: host and port; any IPv4 address is ``*``, any IPv6 address ``::``.
    :ivar proxied: whether the PROXY protocol comes first.
    :ivar last_port: of a range of ports.
    """

    address: Address
    tls: bool
    proxied: bool
    default: bool
    last_port: int = 0

    @property
    def is_plain(self) -> bool:
        """Return whether no other address than this one is meant."""
        return not self.last_port and _is_ip(self.address[0])


@dataclass(frozen=True)
class Server:
    """A server block.

    :ivar certificates: absolute paths, in which variables are left as they are.
    :ivar section: the section that it is in, ``http``, ``mail`` or ``stream``.
    :ivar is_scripted: whether a program may choose another certificate for each connection.
    """

    names: tuple[str, ...]
    listens: tuple[Listen, ...]
    certificates: tuple[str, ...]
    section: str = "http"
    is_scripted: bool = False

    @property
    def has_variables(self) -> bool:
        """Whether nginx finds a certificate's path anew for each connection."""
        return self.is_scripted or any("$" in path for path in self.certificates)

    def uses(self, folders: set[Path]) -> bool:
        """Return whether a certificate is in one of *folders*, as written or behind links."""
        return any(folder in folders for path in self.certificates if "$" not in path
                   for folder in _folders(path))


@functools.lru_cache(maxsize=4096)
def _folders(path: str) -> tuple[Path, Path]:
    return Path(path).parent, Path(os.path.realpath(path)).parent


@dataclass(frozen=True)
class Question:
    """A question: which leaf does a client see that asks for *name* at an address?

    :ivar several: the block has several certificates, for different kinds of keys.
    :ivar is_sure: whether the block that answers is certainly the one asked about.
    """

    host: str
    port: int
    name: str
    proxied: bool
    several: bool
    is_sure: bool = True

    def __str__(self) -> str:
        return f"{shown((self.host, self.port))} ({self.name})"


def shown(address: Address) -> str:
    """Return an address as it is written in a configuration."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


class _Place:
    """An address, and all the blocks that listen there."""

    def __init__(self, blocks: Sequence[tuple[Server, Listen]]) -> None:
        default = next((server for server, listen in blocks if listen.default), blocks[0][0])
        self.names = ServerNames(((server, server.names) for server, _ in blocks), default)
        self.tls = any(listen.tls for _, listen in blocks)
        self.proxied = any(listen.proxied for _, listen in blocks)


def questions(servers: Iterable[Server], users: Iterable[Server], names: Sequence[str], *,
              is_here: Callable[[str], bool] = lambda _host: True) -> list[Question]:
    """Return one question for each TLS address of *users* that a client on this machine can reach.

    :param servers: all server blocks, in nginx's order.
    :param users: those among them to ask about.
    :param names: more names to ask for, if a block's own do not lead to it.
    :param is_here: whether an address is one of the machine's; another one answers for itself.
    """
    blocks: dict[Address, list[tuple[Server, Listen]]] = {}
    doubtful: list[tuple[int, int]] = []
    for server in servers:
        for listen in server.listens:
            blocks.setdefault(listen.address, []).append((server, listen))
            if not listen.is_plain:  # it may stand for any address, or for further ports
                doubtful.append((listen.address[1], listen.last_port or listen.address[1]))
    places = {address: _Place(found) for address, found in blocks.items()}
    is_doubtful = functools.cache(
        lambda port: any(low <= port <= high for low, high in set(doubtful)))
    here = functools.cache(is_here)
    found = []
    for user in users:
        for address in dict.fromkeys(listen.address for listen in user.listens):
            place, (host, port) = places[address], address
            target = _LOOPBACK.get(host, host)
            hidden = target != host and (target, port) in places  # by a more specific address
            if hidden or not place.tls or not here(target):
                continue
            name, is_sure = _name(user, place, names)
            if name:
                found.append(Question(target, port, name, place.proxied,
                                      len(user.certificates) > 1,
                                      is_sure and not user.is_scripted and not is_doubtful(port)))
    return found


def _name(user: Server, place: _Place, names: Sequence[str]) -> tuple[str, bool]:
    """Return a name that reaches *user*, and whether it does so certainly; "" if there is none."""
    perhaps = ""
    for pattern in (*user.names, *names):
        name = _concrete(pattern)
        possible = place.names.lookup(name) if name else ()
        if any(block is user for block in possible):
            if len(possible) == 1:
                return name, True
            perhaps = perhaps or name
    return perhaps, False


@functools.lru_cache(maxsize=4096)
def _concrete(pattern: str) -> str:
    """Return a name that a server_name or SAN matches, "" if none is known or can be asked for."""
    name = (f"*{pattern}" if pattern.startswith(".") else pattern).replace("*", LABEL)
    return name if can_be_asked_for(name) else ""


def parse_servers(dump: str) -> list[Server] | None:
    """Return the server blocks in the output of ``nginx -T``, None if it cannot be read."""
    try:
        return list(find_servers(Dump(dump)))
    except ValueError as error:
        logger.debug("nginx's configuration is not understood: %s", error)
        return None


def find_servers(dump: Dump) -> Iterator[Server]:
    """Return the server blocks of ``http``, ``mail`` and ``stream``.

    :raises ValueError: if the dump cannot be understood.
    """
    for section in dump.main():
        if section.name not in ("http", "mail", "stream"):
            continue
        servers: list[Directive] = []
        common: list[Directive] = []
        for directive in dump.inside(section):
            (servers if directive.name == "server" else common).append(directive)
        for server in servers:
            own = list(dump.inside(server))
            names = [_server_name(name) for args in _arguments(own, "server_name")
                     for name in args if section.name != "mail"]  # a greeting there
            certificates = (_arguments(own, "ssl_certificate")
                            or _arguments(common, "ssl_certificate"))
            yield Server(tuple(names or [""]), tuple(_listens(own, common)),
                         tuple(dump.absolute(path) for path, in certificates), section.name,
                         any("_by_lua" in directive.name for directive in (*own, *common)))


def _server_name(name: str) -> str:
    if name == "$hostname":
        return os.uname().nodename.lower()
    return name if name.startswith("~") else name.lower()


def _arguments(block: Iterable[Directive], name: str) -> list[tuple[str, ...]]:
    """Return the arguments of each directive *name* right inside *block*."""
    return [inner.arguments for inner in block if inner.name == name]


def _listens(server: Sequence[Directive], common: Sequence[Directive]) -> Iterator[Listen]:
    """Return the TCP addresses of a server block."""
    old_style = (_arguments(server, "ssl") or _arguments(common, "ssl"))[-1:] == [("on",)]
    for text, *options in _arguments(server, "listen"):
        if text.startswith("unix:") or not {"quic", "udp"}.isdisjoint(options):
            continue
        host, _, ports = text.rpartition(":")
        port, _, last = ports.partition("-")
        if not port.isdigit() or text.endswith("]"):
            host, port, last = text, "80", ""
        yield Listen((_host(host.strip("[]")), int(port)),
                     tls=old_style or "ssl" in options, proxied="proxy_protocol" in options,
                     default=not {"default_server", "default"}.isdisjoint(options),
                     last_port=int(last) if last.isdigit() else 0)


def _host(host: str) -> str:
    """Return an address in its one spelling, or a name as it is."""
    if host in _ANY_IPV4:
        return "*"
    return str(ipaddress.ip_address(host)) if _is_ip(host) else host


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "*"
    return True
