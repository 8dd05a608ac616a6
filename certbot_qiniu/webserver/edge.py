"""Ask Qiniu's edge which certificate each address of it shows for a domain.

It asks the addresses of the name that Qiniu has given the domain, its CNAME target. The domain's
own name may lead elsewhere: inside a company, to another CDN, or nowhere yet.

The whole takes no longer than its time, even if no name is resolved here, as behind a proxy, or no
address answers.
"""

from __future__ import annotations

import ipaddress
import itertools
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from certbot_qiniu.model import Domain
from certbot_qiniu.webserver import tls

logger = logging.getLogger(__name__)

PORT = 443
SECONDS = 60.0
"""For all domains together."""

RESOLVE_SECONDS = 20.0
"""The part of it for resolving names: one that hangs must not cost the others their answers."""

ANSWER_SECONDS = 5.0
WORKERS = 32
"""They wait for others nearly all of the time."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Answer:
    """The answer of one address for a domain; no leaf if it did not answer, or was not asked."""

    address: str
    leaf: tls.Leaf | None


def ask(domains: Collection[Domain], seconds: float = SECONDS) -> dict[str, tuple[Answer, ...]]:
    """Ask every address of every domain's CNAME target, each once.

    :param seconds: for all of it.
    :returns: the answers by the domain's name; none if it has no such name, or that leads
        nowhere.
    """
    end = time.monotonic() + seconds
    hosts = {domain.cname for domain in domains if domain.cname}
    found = _in_time(addresses, hosts, min(end, time.monotonic() + RESOLVE_SECONDS))
    targets = {domain.name: found.get(domain.cname, []) for domain in domains}
    silent: set[str] = set()

    def answer(question: tuple[str, str]) -> tls.Leaf | None:
        name, address = question
        if address in silent:
            return None
        left = max(0.1, end - time.monotonic())
        try:
            leaf = tls.ask(address, PORT, _server_name(name),
                           timeout_seconds=min(ANSWER_SECONDS, left))
        except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError,
                ValueError) as error:  # for this name; another one may be answered
            logger.debug("No certificate from %s for %s: %s", address, name, error)
            return None
        except OSError as error:
            # Do not wait for it again for each of a hundred domains.
            logger.debug("No answer from %s, asked for %s: %s", address, name, error)
            silent.add(address)
            return None
        return leaf if leaf.not_after else None

    leaves = _in_time(answer, _in_turns(targets), end)
    return {name: tuple(Answer(address, leaves.get((name, address))) for address in those)
            for name, those in targets.items()}


def addresses(host: str) -> list[str]:
    """Return all addresses of a name, IPv4 and IPv6; none if it leads nowhere.

    Leave out those that no edge can have: resolvers that block a name answer 0.0.0.0, which is this
    machine, and a link-local address may be a cloud's service for secrets.
    """
    try:
        found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        logger.debug("%s cannot be resolved: %s", host, error)
        return []
    return [address for address in dict.fromkeys(str(place[0]) for *_, place in found)
            if not _is_none(ipaddress.ip_address(address))]


def _is_none(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    plain = getattr(address, "ipv4_mapped", None) or address
    return bool(plain.is_unspecified or plain.is_link_local or plain.is_multicast)


def _server_name(name: str) -> str:
    """Return the name to ask for: for a wildcard, one below it."""
    return tls.LABEL + name if name.startswith(".") else name


def _in_turns(targets: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return the questions as (domain, address): each domain's first before any domain's second.

    So each is asked at one place at least if the time is not enough for more. Of those, different
    addresses come first: a silent one is known before many have asked it.
    """
    turned = [[(name, one) for one in those[number % len(those):] + those[:number % len(those)]]
              for number, (name, those) in enumerate(targets.items()) if those]
    found: list[tuple[str, str]] = []
    for wave in itertools.zip_longest(*turned):
        by_address: dict[str, list[tuple[str, str]]] = {}
        for question in filter(None, wave):
            by_address.setdefault(question[1], []).append(question)
        found += [question for turn in itertools.zip_longest(*by_address.values())
                  for question in turn if question]
    return found


def _in_time(function: Callable[[T], R], items: Iterable[T], end: float) -> dict[T, R]:
    """Run *function* for all items at once, and return the results that are there at *end*.

    The threads are daemons and left alone: nothing can end a resolver that hangs, and a program
    that ends must not wait for it.
    """
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    found: dict[T, R] = {}

    def work() -> None:
        while time.monotonic() < end:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            found[item] = function(item)

    threads = [threading.Thread(target=work, daemon=True)
               for _ in range(min(WORKERS, waiting.qsize()))]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:  # no more threads here: those that run do all of it
        logger.debug("%s", error)
    for thread in threads:
        if thread.ident:
            thread.join(max(0.0, end - time.monotonic()))
    return dict(found)
