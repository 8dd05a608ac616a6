"""The protocol of every emulator here: requests, answers, their history, and faults.

An emulator is a plain object with ``handle(request) -> Response``: no sockets. Two carriers bring
requests to it: the HTTPS proxy (:mod:`tests.sandbox.proxy`), for real programs, and
:class:`Carrier`, a ``requests`` adapter, for the thousands of cases that need no TLS.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict


@dataclass(frozen=True)
class Request:
    """One HTTP request as it arrived.

    :ivar host: the ``Host`` header, verbatim.
    :ivar target: raw path and query as received, never decoded.
    :ivar headers: (name, value) in the order and spelling received.
    """

    method: str
    host: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    def header(self, name: str) -> str | None:
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    @property
    def label(self) -> str:
        """Method, host and path, as the tests name a call: ``PUT api.qiniu.com/domain/x``."""
        return f"{self.method} {self.host}{self.path}"


@dataclass(frozen=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(status: int, value: Any, **headers: str) -> Response:
    """An answer with a JSON body."""
    return Response(status, json.dumps(value, ensure_ascii=False).encode(),
                    {"Content-Type": "application/json", **headers})


class Emulator(Protocol):
    """A service behind one or more host names."""

    @property
    def hosts(self) -> Iterable[str]:
        """The names, in lower case."""
        ...

    def handle(self, request: Request) -> Response:
        """Answer one request. Called from several threads at once."""
        ...


class Drop(Exception):
    """The carrier must break the connection instead of answering.

    :ivar kind: ``refuse`` (never connected), ``reset`` (RST) or ``timeout`` (silence).
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass
class Fault:
    """A fault at a call.

    :ivar kind: ``refuse``, ``reset`` (before the server acted), ``reset_after`` (it acted, the
        answer is lost), ``timeout``, ``timeout_after``, ``truncate`` (acted, half the body),
        ``reply`` (not acted, *response* is sent), ``hook`` (*hook* runs, then the call goes on).
    """

    kind: str
    response: Response | None = None
    hook: Callable[[Request], None] | None = None


@dataclass
class _Armed:
    fault: Fault
    match: Callable[[Request], bool]
    skip: int
    times: int


@dataclass(frozen=True)
class Exchange:
    """One line of the history."""

    number: int
    at: float
    request: Request
    status: int  # 0 where the connection was broken
    answer: bytes = b""


class Switchboard:
    """Routes requests to emulators by host, records them, and injects faults.

    :param clock: seconds since the epoch, for the history.
    """

    def __init__(self, *emulators: Emulator, clock: Callable[[], float] = time.time) -> None:
        self._by_host = {host: emulator for emulator in emulators for host in emulator.hosts}
        self._clock = clock
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._numbers = itertools.count(1)
        self.history: list[Exchange] = []

    @property
    def hosts(self) -> set[str]:
        return set(self._by_host)

    def arm(self, fault: Fault, *, match: Callable[[Request], bool] | str = "", skip: int = 0,
            times: int = 1) -> None:
        """Inject *fault* at the calls that *match* (a predicate, or a part of the label).

        :param skip: how many matching calls pass first.
        :param times: how many calls it then hits.
        """
        predicate = match if callable(match) else (lambda request: str(match) in request.label)
        with self._lock:
            self._armed.append(_Armed(fault, predicate, skip, times))

    def disarm(self) -> None:
        """Forget all faults that are still armed."""
        with self._lock:
            self._armed.clear()

    def calls(self, part: str = "") -> list[Exchange]:
        """The recorded exchanges whose label contains *part*."""
        with self._lock:
            return [exchange for exchange in self.history if part in exchange.request.label]

    def clear(self) -> None:
        """Empty the history."""
        with self._lock:
            self.history.clear()

    def _next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            for armed in self._armed:
                if not armed.match(request):
                    continue
                if armed.skip:
                    armed.skip -= 1
                    continue
                armed.times -= 1
                if not armed.times:
                    self._armed.remove(armed)
                return armed.fault
        return None

    def handle(self, request: Request) -> Response:
        """Answer *request*.

        :raises Drop: if a fault says that the connection breaks.
        """
        status, answer = 0, b""
        try:
            response = self._answer(request)
            status, answer = response.status, response.body
            return response
        finally:
            with self._lock:
                self.history.append(
                    Exchange(next(self._numbers), self._clock(), request, status, answer))

    def _answer(self, request: Request) -> Response:
        fault = self._next_fault(request)
        if fault is not None:
            if fault.kind in ("refuse", "reset", "timeout"):
                raise Drop(fault.kind)
            if fault.kind == "reply":
                assert fault.response is not None
                return fault.response
            if fault.kind == "hook":
                assert fault.hook is not None
                fault.hook(request)
        emulator = self._by_host.get(request.host.partition(":")[0])
        if emulator is None:
            return Response(502, b"no such host in the sandbox")
        response = emulator.handle(request)
        if fault is not None:
            if fault.kind in ("reset_after", "timeout_after"):
                raise Drop(fault.kind.removesuffix("_after"))
            if fault.kind == "truncate":
                return Response(response.status, response.body[: len(response.body) // 2],
                                response.headers)
        return response


class Carrier(HTTPAdapter):
    """A ``requests`` adapter that hands requests to a switchboard without any socket."""

    def __init__(self, board: Switchboard) -> None:
        super().__init__()
        self._board = board

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        assert request.url is not None
        assert request.method is not None
        parts = urlsplit(request.url)
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        headers = tuple((str(k), v.decode() if isinstance(v, bytes) else str(v))
                        for k, v in request.headers.items())
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        if parts.scheme != "https":
            raise requests.ConnectionError("the sandbox speaks https only")
        try:
            answer = self._board.handle(
                Request(request.method, parts.netloc, target, headers, body))
        except Drop as drop:
            error = requests.ReadTimeout if drop.kind == "timeout" else requests.ConnectionError
            raise error(f"sandbox: {drop.kind}", request=request) from None
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict(answer.headers)
        response.url = request.url
        response.request = request
        response.raw = _Raw(answer.body)
        return response


class _Raw:
    """Just enough of urllib3's response for ``iter_content``."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, amount: int = 65536, decode_content: bool = True) -> Iterable[bytes]:
        for start in range(0, len(self._body), amount):
            yield self._body[start:start + amount]

    def read(self, *_args: Any, **_kwargs: Any) -> bytes:
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        pass

    def release_conn(self) -> None:
        pass
