"""The proxy changes nothing, reaches nobody else, and breaks what it is told to break."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.sandbox.process import LOOPBACK, until
from tests.sandbox.proxy import Proxy
from tests.sandbox.wire import Fault, Request, Response, Switchboard


class Echo:
    """An emulator that records what reached it."""

    hosts = ("echo.example",)

    def handle(self, request: Request) -> Response:
        """Answer with the request itself."""
        if request.path == "/bug":
            raise KeyError("a bug of the emulator")
        return Response(612, repr(request).encode())


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Run a proxy in front of an echo."""
    proxy = Proxy(Switchboard(Echo()), tmp_path)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def client(proxy: Proxy, tmp_path: Path) -> Iterator[requests.Session]:
    """Open a session that goes through the proxy and trusts it."""
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(proxy.authority.cert_pem, encoding="ascii")
    with requests.Session() as session:
        session.proxies = {"https": proxy.url, "http": proxy.url}
        session.verify = str(trusted)
        yield session


@pytest.mark.parametrize(("url", "stranger"), [
    ("https://api.example.com/", "api.example.com:443"),
    ("https://echo.example:8443/", "echo.example:8443"),
    ("https://localhost/", "localhost:443")])
def test_the_proxy_refuses_strangers(proxy: Proxy, client: requests.Session, url: str,
                                     stranger: str) -> None:
    """A host that no emulator answers for is refused, and remembered."""
    with pytest.raises(requests.exceptions.ProxyError, match="502"):
        client.get(url)
    assert proxy.strangers == [stranger]
    assert proxy.board.calls() == []


def test_the_proxy_refuses_plain_text(proxy: Proxy, client: requests.Session) -> None:
    """Even a known host is not spoken to without TLS."""
    assert client.get("http://echo.example/x").status_code == 502
    assert proxy.strangers == ["http://echo.example/x"]
    assert proxy.board.calls() == []


def test_the_proxy_needs_trust(proxy: Proxy, client: requests.Session) -> None:
    """A program that does not trust the sandbox's authority gets nowhere; others go on."""
    with pytest.raises(requests.exceptions.SSLError):
        requests.get("https://echo.example/", proxies={"https": proxy.url}, timeout=5)
    assert client.get("https://echo.example/").status_code == 612
    assert (len(proxy.board.calls()), proxy.failures) == (1, [])


@pytest.mark.parametrize(("kind", "acts"), [
    ("refuse", 0), ("reset", 0), ("reset_after", 1), ("timeout", 0), ("timeout_after", 1)])
def test_the_proxy_breaks_connections(proxy: Proxy, client: requests.Session,
                                      monkeypatch: pytest.MonkeyPatch, kind: str,
                                      acts: int) -> None:
    """A fault breaks the connection, before or after the emulator acted, and is in the history."""
    acted: list[Request] = []

    def act(_: Echo, request: Request) -> Response:
        acted.append(request)
        return Response(200)

    monkeypatch.setattr(Echo, "handle", act)
    proxy.board.arm(Fault(kind), match="/broken")
    timed_out = kind.startswith("timeout")
    with pytest.raises(requests.ReadTimeout if timed_out else requests.ConnectionError):
        client.get("https://echo.example/broken", timeout=0.3 if timed_out else 10)
    assert [call.status for call in proxy.board.calls()] == [0]
    assert len(acted) == acts
    assert client.get("https://echo.example/broken").status_code == 200


def test_a_reset_is_a_reset(proxy: Proxy, client: requests.Session) -> None:
    """Beneath TLS, which hides the difference, a reset is one and a mere end is none."""
    proxy.board.arm(Fault("reset"), match="/reset")
    proxy.board.arm(Fault("refuse"), match="/end")
    for path, reset in (("/reset", True), ("/end", False)):
        connection = connect(proxy, client)
        connection.request("GET", path)
        assert was_reset(connection.sock) is reset
        connection.close()


def was_reset(connection: socket.socket) -> bool:
    """Whether *connection*, read to its end without its TLS, ends with a reset."""
    try:
        while socket.socket.recv(connection, 4096):
            pass
    except ConnectionResetError:
        return True
    return False


def connect(proxy: Proxy, client: requests.Session) -> http.client.HTTPSConnection:
    """A single connection that goes and trusts where *client* does."""
    trusting = ssl.create_default_context(cafile=str(client.verify))
    connection = http.client.HTTPSConnection(LOOPBACK, proxy.port, timeout=10, context=trusting)
    connection.set_tunnel("echo.example", 443)
    return connection


def test_the_proxy_cuts_an_answer(proxy: Proxy, client: requests.Session) -> None:
    """Half an answer arrives as half an answer."""
    whole = client.get("https://echo.example/").content
    proxy.board.arm(Fault("truncate"))
    assert client.get("https://echo.example/").content == whole[:len(whole) // 2]


def test_the_proxy_stops_in_the_middle_of_silence(proxy: Proxy, client: requests.Session) -> None:
    """A program that waits for an answer does not keep the proxy from ending."""
    proxy.board.arm(Fault("timeout"), match="/never")
    connection = connect(proxy, client)
    connection.request("GET", "/never")
    until(proxy.board.calls, "the request has arrived")
    started = time.monotonic()
    proxy.stop()
    assert time.monotonic() - started < 5
    with pytest.raises(OSError, match=r"EOF|closed"):
        connection.getresponse()
    connection.close()


def test_the_proxy_reports_a_broken_emulator(proxy: Proxy, client: requests.Session) -> None:
    """An error in an emulator is not lost."""
    with pytest.raises(requests.ConnectionError):
        client.get("https://echo.example/bug")
    until(lambda: proxy.failures, "the error is noted")
    assert isinstance(proxy.failures[0], KeyError)


def test_the_proxy_changes_nothing(proxy: Proxy, client: requests.Session) -> None:
    """Target, headers and body arrive verbatim, again and again on one connection."""
    connection = connect(proxy, client)
    target = "//a%2fb//c?q=%7E&q=+&empty="
    for body in (b"\x00\xff", b"", b"{}"):
        connection.putrequest("PUT", target, skip_host=True, skip_accept_encoding=True)
        for name, value in (("hOsT", "echo.example:443"), ("X-Qiniu-dAte", "20260101T000000Z"),
                            ("Content-Length", str(len(body)))):
            connection.putheader(name, value)
        connection.endheaders(body)
        local = connection.sock.getsockname()
        answer = connection.getresponse()
        expected = Request("PUT", "echo.example:443", target,
                           (("hOsT", "echo.example:443"), ("X-Qiniu-dAte", "20260101T000000Z"),
                            ("Content-Length", str(len(body)))), body)
        assert (answer.status, answer.read()) == (612, repr(expected).encode())
        assert connection.sock.getsockname() == local
    connection.close()
    assert [call.status for call in proxy.board.calls("PUT echo.example:443//a%2fb")] == [612] * 3
