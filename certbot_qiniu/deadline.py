"""HTTPS exchanges that end in time, however the other side behaves.

The timeouts of requests hold for a single read. They do not end a header, or a proxy's answer to
CONNECT, that comes byte by byte, or interim answers that never stop.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.poolmanager import PoolManager

AGAIN_SECONDS = 0.1
"""The time until a connection is cut off again: it may have been between two sockets."""

_here = threading.local()


class _Watch:
    """Cuts off the connections of one exchange once its time is over."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._end = time.monotonic() + seconds
        self._seconds = seconds
        self._ended = threading.Event()
        self._connection: HTTPSConnection | None = None
        self._socket: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def left_seconds(self) -> float:
        """The rest of its time, a moment at least."""
        return max(AGAIN_SECONDS, self._end - time.monotonic())

    def see(self, connection: HTTPSConnection) -> None:
        """Note what the exchange uses now."""
        self._connection = connection
        # An answer that ends its connection keeps the socket, which the connection then forgets.
        self._socket = connection.sock

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._seconds
        while not self._ended.wait(pause):
            self.is_over = True
            pause = AGAIN_SECONDS
            for used in (self._socket, getattr(self._connection, "sock", None)):
                plain = getattr(used, "socket", used)  # TLS within the TLS to a proxy
                if isinstance(plain, socket.socket):
                    # SSLSocket.shutdown would take the TLS away from a thread that still reads.
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(plain, socket.SHUT_RDWR)


class _Connection(HTTPSConnection):
    """Shows itself to the watch of this thread's exchange."""

    def _new_conn(self) -> socket.socket:
        """Connect; however many addresses a host has, they share what is left of the time."""
        watch: _Watch | None = getattr(_here, "watch", None)
        patience = self.timeout
        if watch is None or not isinstance(patience, (int, float)):
            return super()._new_conn()
        try:
            count = len(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
            self.timeout = min(patience, watch.left_seconds / count)
        except socket.gaierror as error:  # as urllib3 would, which looks it up once more
            raise NewConnectionError(self, f"Failed to resolve {self.host!r} ({error})") from error
        try:
            made = super()._new_conn()
        finally:
            self.timeout = patience
        made.settimeout(patience)
        return made

    def connect(self) -> None:
        """Connect, through a proxy's tunnel perhaps."""
        self._show()
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request."""
        self._show()
        super().request(*args, **kwargs)
        self._show()

    def _show(self) -> None:
        watch: _Watch | None = getattr(_here, "watch", None)
        if watch:
            watch.see(self)


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class Adapter(HTTPAdapter):
    """Carries requests over connections that :func:`deadline` can cut off."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        _watched(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make the pools of connections through a proxy."""
        return _watched(super().proxy_manager_for(*args, **kwargs))


def _watched(manager: PoolManager) -> PoolManager:
    manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _Pool}
    return manager


def session() -> requests.Session:
    """Make a session whose https exchanges can be bounded by :func:`deadline`."""
    made = requests.Session()
    made.mount("https://", Adapter())
    return made


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound one exchange of a :func:`session`: connection, request, header and body together.

    The look-up of the host's name is left to the timeouts of this machine's resolver.

    :raises requests.Timeout: if it took longer, even if it succeeded.
    """
    watch = _here.watch = _Watch(seconds)
    late = requests.Timeout(f"the answer took more than {seconds:g} s")
    try:
        yield
    except Exception as error:
        if watch.is_over:
            raise late from error
        raise
    finally:
        _here.watch = None
        watch.end()
    if watch.is_over:
        raise late


def head(url: str, seconds: float) -> requests.Response:
    """Get *url*, but only the status and the header: no body is read, no redirect followed.

    Send no credentials from ~/.netrc.

    :raises requests.RequestException: if no answer came in time.
    :raises ValueError: if an address is malformed, perhaps the proxy's.
    """
    with deadline(seconds), session() as asking, asking.get(
            url, timeout=seconds, allow_redirects=False, stream=True,
            auth=lambda request: request) as response:
        return response
