"""The HTTPS proxy that brings real programs to the emulators.

A program is sent here by ``HTTPS_PROXY`` alone. ``CONNECT host:443`` is answered with a certificate
for that host from the proxy's own authority, so the program must trust that one
(``REQUESTS_CA_BUNDLE``), and speaks to an emulator without knowing it. No request ever leaves the
machine: what no emulator answers for is refused and remembered.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import threading
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.sandbox.pki import Authority
from tests.sandbox.process import LOOPBACK
from tests.sandbox.wire import Drop, Request, Response, Switchboard

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """A proxy that runs between :meth:`start` and :meth:`stop`.

    :param board: what answers the requests.
    :param directory: where it may keep its certificate.
    :ivar authority: the authority that programs must trust.
    :ivar strangers: every ``host:port`` (or address in plain text) asked for in vain.
    :ivar failures: errors in the emulators themselves; the programs saw a broken connection.
    """

    def __init__(self, board: Switchboard, directory: Path) -> None:
        self.board = board
        self.authority = Authority("Sandbox Proxy")
        self.strangers: list[str] = []
        self.failures: list[Exception] = []
        self._resources = ExitStack()
        self.port = 0
        leaf = self.authority.issue(*sorted(board.hosts))
        path = directory / "proxy.pem"
        path.write_text(leaf.key_pem + leaf.fullchain_pem, encoding="ascii")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(path)

    @property
    def url(self) -> str:
        """The value for ``HTTPS_PROXY``."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Listen on a free port of the loopback address."""
        server = _Server(self)
        self.port = server.server_address[1]
        # A short interval only makes `shutdown` quick.
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        self._resources.callback(server.server_close)
        self._resources.callback(server.cut_connections)
        self._resources.callback(thread.join)
        self._resources.callback(server.shutdown)

    def stop(self) -> None:
        """Stop listening, cut what is still connected, and wait for its threads."""
        self._resources.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that `server_close` waits for them

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._ending = False
        super().__init__((LOOPBACK, 0), _Handler)

    def remember(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
            if self._ending:
                _wake(connection)

    def forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def cut_connections(self) -> None:
        """Wake every thread that reads from its program, now or later."""
        with self._lock:
            self._ending = True
            for connection in self._connections:
                _wake(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Remember what is not the program's right: it may go away, or distrust us, at any time."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.proxy.failures.append(error)


def _wake(connection: socket.socket) -> None:
    with suppress(OSError):
        # The plain method: the one of a TLS socket would change it under its reader.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.remember(self.connection)

    def finish(self) -> None:
        self.server.forget(self.connection)
        super().finish()
        self.connection.close()

    def do_CONNECT(self) -> None:
        proxy = self.server.proxy
        host, _, port = self.path.rpartition(":")
        if host not in proxy.board.hosts or port != "443":
            proxy.strangers.append(self.path)
            self._reply(Response(502, b"no such host in the sandbox"), last=True)
            return
        self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        plain = self.connection
        self.connection = proxy.tls.wrap_socket(plain, server_side=True,
                                                do_handshake_on_connect=False)
        self.server.remember(self.connection)
        self.server.forget(plain)
        self.connection.do_handshake()
        self.rfile = self.connection.makefile("rb")
        self.close_connection = False

    def do_request(self) -> None:
        if not isinstance(self.connection, ssl.SSLSocket):
            self.server.proxy.strangers.append(self.path)
            self._reply(Response(502, b"the sandbox speaks https only"), last=True)
            return
        if self.headers.get("Transfer-Encoding"):
            self._reply(Response(411), last=True)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # Not `self.path`, which loses doubled slashes: signatures are over the raw target.
        target = self.requestline.split(" ")[1]
        request = Request(self.command, self.headers.get("Host", ""), target,
                          tuple(self.headers.items()), body)
        try:
            self._reply(self.server.proxy.board.handle(request))
        except Drop as drop:
            self._break(drop.kind)

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = do_request  # noqa: N815

    def _reply(self, response: Response, *, last: bool = False) -> None:
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        lines = [f"HTTP/1.1 {response.status} Sandbox",
                 *(f"{name}: {value}" for name, value in headers.items())]
        body = b"" if self.command == "HEAD" else response.body
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self.close_connection = self.close_connection or last

    def _break(self, kind: str) -> None:
        self.close_connection = True
        if kind == "timeout":
            with suppress(OSError):
                while self.connection.recv(4096):
                    pass
            return
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        # A file made from a socket keeps it open, so close what is beneath both.
        self.server.forget(self.connection)
        os.close(self.connection.detach())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the switchboard has the history."""
