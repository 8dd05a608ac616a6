"""A network that is against us: a proxy on loopback, and behind it a server that never behaves."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.sandbox.pki import Authority

DRIP_SECONDS = 0.02
OK = b"HTTP/1.1 200 OK\r\n"


class Hostile:
    """Answers every CONNECT, and every request that comes through, in one of the *ways*.

    :ivar way: how it behaves; :meth:`drip_connect` and :meth:`drip_proxy` before TLS, others after.
    :ivar requests: the heads of the requests that came through.
    :ivar connections: how many there were.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        authority = Authority()
        leaf = authority.intermediate("Issuing").issue(*names)
        (folder / "ca.pem").write_text(authority.cert_pem)
        (folder / "leaf.pem").write_text(leaf.fullchain_pem + leaf.key_pem)
        self.ca = str(folder / "ca.pem")
        self.way = "plain"
        self.requests: list[bytes] = []
        self.connections = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "leaf.pem")
        self._server = socket.create_server(("127.0.0.1", 0))
        self.proxy = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            _head(connection)
            if self.way == "drip_connect":
                self._drip(connection, b"HTTP/1.1 200 OK\r\nX-Slow: ")
                return
            connection.sendall(OK + b"\r\n")
            with self._context.wrap_socket(connection, server_side=True) as tls:
                while head := _head(tls):
                    self.requests.append(head)
                    getattr(self, self.way)(tls)

    def _drip(self, to: socket.socket, begin: bytes, drop: bytes = b"x") -> None:
        """Send *begin*, then *drop* again and again."""
        to.sendall(begin)
        while not self._ended.wait(DRIP_SECONDS):
            to.sendall(drop)

    def plain(self, tls: socket.socket) -> None:
        tls.sendall(OK + b"Content-Length: 2\r\n\r\n[]")

    def drip_header(self, tls: socket.socket) -> None:
        self._drip(tls, OK + b"X-Slow: ")

    def drip_headers(self, tls: socket.socket) -> None:
        self._drip(tls, b"", b"HTTP/1.1 100 Continue\r\n\r\n")

    def flood(self, tls: socket.socket) -> None:
        """As many interim answers as the line takes."""
        while not self._ended.is_set():
            tls.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    def drip_body(self, tls: socket.socket) -> None:
        self._drip(tls, OK + b"Content-Length: 100000\r\n\r\n", b" ")

    def drip_last_body(self, tls: socket.socket) -> None:
        """A body that only the end of the connection ends: cut off, it looks whole."""
        self._drip(tls, OK + b"Connection: close\r\n\r\n[]", b" ")

    def huge(self, tls: socket.socket) -> None:
        """A body of 300 MB."""
        tls.sendall(OK + b"Content-Length: 314572800\r\n\r\n")
        for _ in range(4800):
            tls.sendall(b" " * 65536)

    def bomb(self, tls: socket.socket) -> None:
        """A gigabyte within a gzip within a gzip: a few kilobytes on the line."""
        inner = gzip.compress(gzip.compress(bytes(1 << 20)) * 1024)
        tls.sendall(OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(inner)
                    + inner)

    def silent(self, tls: socket.socket) -> None:
        self._ended.wait()


def _head(connection: socket.socket) -> bytes:
    """What comes up to an empty line; b"" at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


@contextlib.contextmanager
def hostile(folder: Path, *names: str) -> Iterator[Hostile]:
    """Run one for servers called *names*."""
    made = Hostile(folder, *names)
    try:
        yield made
    finally:
        made.close()
