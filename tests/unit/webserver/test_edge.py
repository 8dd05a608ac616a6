"""The questions to the edge: which, how often, and for how long; without any network."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from certbot_qiniu.model import Domain
from certbot_qiniu.webserver import edge, tls
from certbot_qiniu.webserver.edge import Answer

WWW, WILD, IMG = "www.example.com", ".example.com", "img.example.com"
LEAF = tls.Leaf("f" * 64, 1)


class Net:
    """What names lead to, and what addresses answer: a leaf, an error, or what a function does.

    :ivar asked: (address, name), in order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, list[str]] = {}
        self.answers: dict[str, tls.Leaf | Exception | Callable[[], tls.Leaf]] = {}
        self.asked: list[tuple[str, str]] = []
        self.ended = threading.Event()
        monkeypatch.setattr(edge, "addresses", lambda host: self.names[host])
        monkeypatch.setattr(tls, "ask", self._ask)

    def _ask(self, host: str, port: int, name: str, *, timeout_seconds: float) -> tls.Leaf:
        assert 443 == port
        assert 0 < timeout_seconds <= edge.ANSWER_SECONDS
        self.asked.append((host, name))
        found = self.answers.get(host, LEAF)
        if isinstance(found, Exception):
            raise found
        return found() if callable(found) else found

    def hang(self) -> tls.Leaf:
        """Say nothing for as long as the test runs."""
        self.ended.wait(30)
        return LEAF


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    """A network of nothing yet."""
    found = Net(monkeypatch)
    yield found
    found.ended.set()


def domain(name: str = WWW, cname: str = "edge.qiniudns.com") -> Domain:
    return Domain(name, protocol="https", cname=cname)


def test_all_addresses_of_the_cname(net: Net) -> None:
    """Each is asked once for each domain, by its name, a wildcard by one below it."""
    net.names["edge.qiniudns.com"] = ["203.0.113.7", "2001:db8::7"]
    answers = edge.ask([domain(), domain(WILD)])
    both = (Answer("203.0.113.7", LEAF), Answer("2001:db8::7", LEAF))
    assert {WWW: both, WILD: both} == answers
    assert sorted((address, name) for address in net.names["edge.qiniudns.com"]
                  for name in (WWW, "certbot-qiniu.example.com")) == sorted(net.asked)


@pytest.mark.parametrize("cname", ["", "nowhere.qiniudns.com"])
def test_the_public_name_is_never_asked(net: Net, cname: str) -> None:
    """If Qiniu says no name, or one that leads nowhere, nobody is asked."""
    net.names = {WWW: ["203.0.113.9"], "nowhere.qiniudns.com": []}
    assert {WWW: ()} == edge.ask([domain(cname=cname)])
    assert [] == net.asked


@pytest.mark.parametrize(("error", "times"), [
    (TimeoutError(), 1), (ConnectionRefusedError(), 1), (OSError(113, "No route to host"), 1),
    (ssl.SSLError(), 4), (ConnectionResetError(), 4), (ValueError(), 4)])
def test_address_that_does_not_answer(net: Net, monkeypatch: pytest.MonkeyPatch,
                                      error: Exception, times: int) -> None:
    """It is not waited for again; that it refuses one name says nothing of another."""
    monkeypatch.setattr(edge, "WORKERS", 1)
    net.names["edge.qiniudns.com"] = ["203.0.113.7", "203.0.113.8"]
    net.answers["203.0.113.7"] = error
    answers = edge.ask([domain(f"{number}.example.com") for number in range(4)])
    assert {(Answer("203.0.113.7", None), Answer("203.0.113.8", LEAF))} == set(answers.values())
    assert times == sum(address == "203.0.113.7" for address, _ in net.asked)


def test_certificate_that_cannot_be_read(net: Net) -> None:
    """It tells nothing."""
    net.names["edge.qiniudns.com"] = ["203.0.113.7"]
    net.answers["203.0.113.7"] = tls.Leaf("0" * 64, 0)
    assert {WWW: (Answer("203.0.113.7", None),)} == edge.ask([domain()])


def test_address_that_hangs(net: Net) -> None:
    """It costs its own answer, however long it takes."""
    net.names["edge.qiniudns.com"] = ["203.0.113.7", "203.0.113.8"]
    net.answers["203.0.113.7"] = net.hang
    begun = time.monotonic()
    assert {WWW: (Answer("203.0.113.7", None), Answer("203.0.113.8", LEAF))} == edge.ask(
        [domain()], 0.3)
    assert time.monotonic() - begun < 3


def test_resolver_that_hangs(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs the domains whose names it does not resolve, and leaves time for the others."""
    def addresses(host: str) -> list[str]:
        if host == "hangs":
            net.hang()
        return ["203.0.113.8"]

    monkeypatch.setattr(edge, "addresses", addresses)
    monkeypatch.setattr(edge, "RESOLVE_SECONDS", 0.2)
    answers = edge.ask([domain(cname="hangs"), domain(IMG)], 10)
    assert {WWW: (), IMG: (Answer("203.0.113.8", LEAF),)} == answers


def test_no_time_at_all(net: Net) -> None:
    """Nobody is asked, and nothing is known."""
    assert {WWW: ()} == edge.ask([domain()], -1)
    assert [] == net.asked


def test_order(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each domain is asked at one address before any is at a second, different ones first."""
    monkeypatch.setattr(edge, "WORKERS", 1)
    net.names = {"a": ["1.1.1.1", "2.2.2.2"], "b": ["1.1.1.1", "3.3.3.3"], "c": ["4.4.4.4"]}
    edge.ask([domain("a.example.com", "a"), domain("b.example.com", "b"),
              domain("c.example.com", "c")])
    assert [("1.1.1.1", "a.example.com"), ("3.3.3.3", "b.example.com"),
            ("4.4.4.4", "c.example.com"), ("2.2.2.2", "a.example.com"),
            ("1.1.1.1", "b.example.com")] == net.asked


def test_order_where_all_share_their_addresses(
        net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then, too: what there is no time for is a second address, and not a whole domain."""
    monkeypatch.setattr(edge, "WORKERS", 1)
    net.names["edge.qiniudns.com"] = ["1.1.1.1", "2.2.2.2"]
    names = [f"{number}.example.com" for number in range(4)]
    edge.ask([domain(name) for name in names])
    assert names == sorted(name for _, name in net.asked[:4])
    assert ["1.1.1.1", "2.2.2.2"] * 2 == [address for address, _ in net.asked[:4]]


def test_machine_without_more_threads(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be asked is not known; that is all."""
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    net.names["edge.qiniudns.com"] = ["203.0.113.7"]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert {WWW: ()} == edge.ask([domain()])


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv4 and IPv6, each once, in the order of the resolver, without those of no edge."""
    stream = socket.SOCK_STREAM
    strange = ("0.0.0.0", "::", "169.254.169.254", "fe80::1%lo", "::ffff:0.0.0.0", "224.0.0.1")
    found = [(socket.AF_INET6, stream, 6, "", ("2001:db8::7", 443, 0, 0)),
             (socket.AF_INET, stream, 6, "", ("203.0.113.7", 443)),
             (socket.AF_INET, stream, 6, "", ("203.0.113.7", 443)),
             *((socket.AF_INET6, stream, 6, "", (address, 443, 0, 0)) for address in strange)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert ["2001:db8::7", "203.0.113.7"] == edge.addresses("edge.qiniudns.com")


@pytest.mark.parametrize("host", ["\udcff", "a" * 70 + ".com", "nowhere.invalid"])
def test_names_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """No answer is no error, whatever Qiniu says where the domain is."""
    real = socket.getaddrinfo

    def refuse(name: str, *arguments: object, **options: object) -> object:
        if name == "nowhere.invalid":
            raise socket.gaierror(-2, "Name or service not known")
        return real(name, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert [] == edge.addresses(host)
