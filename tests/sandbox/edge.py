"""TLS servers on addresses of this machine, as a CDN's edge has them: some right, some not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from pathlib import Path

from tests.sandbox.process import free_port


class Edge:
    """Servers at addresses of their own and one port, as a context manager.

    :param port: theirs; a free one unless given.
    :ivar asked: (address, name asked for) of every client that spoke TLS, in order.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.asked: list[tuple[str, str]] = []
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Edge:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def serve(self, address: str, pem: str) -> None:
        """Let *address* show what is in *pem*, a chain and its key, in place of what it did."""
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            Path(file.name).write_text(pem, encoding="ascii")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file.name)

        def note(_tls: object, name: str | None, _context: object) -> None:
            self.asked.append((address, name or ""))

        context.sni_callback = note
        is_new = address not in self._contexts
        self._contexts[address] = context
        if is_new:
            listener = self.be_silent(address)
            thread = threading.Thread(target=self._answer, args=(address, listener))
            thread.start()
            self._resources.callback(thread.join)
            # It wakes the thread that waits for a client.
            self._resources.callback(listener.shutdown, socket.SHUT_RDWR)

    def be_silent(self, address: str) -> socket.socket:
        """Let *address* take connections, as the kernel does by itself, and say nothing."""
        return self._resources.enter_context(socket.create_server((address, self.port)))

    def _answer(self, address: str, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(5)
                with connection, contextlib.suppress(OSError):
                    self._contexts[address].wrap_socket(connection, server_side=True).close()
