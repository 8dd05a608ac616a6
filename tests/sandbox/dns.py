"""A small DNS server (RFC 1035, UDP and TCP) for whatever the certificate authority looks up.

TXT is answered from a function; every name has the loopback address; all other types are empty,
CAA among them, so that no authority is forbidden to issue.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack

from tests.sandbox.process import LOOPBACK, free_port

A, TXT = 1, 16
_TYPES = {A: "A", 5: "CNAME", TXT: "TXT", 28: "AAAA", 257: "CAA"}
_NO_ERROR, _FORMAT_ERROR, _NAME_ERROR = 0, 1, 3
_HEADER = struct.Struct("!6H")
_ANSWER_AUTHORITATIVE = 0x8400
_COPIED_FLAGS = 0x0100  # "recursion desired" goes back as it came
_NAME_OF_QUESTION = 0xC00C  # a pointer to the name right after the header
_STRING_LIMIT = 255


class DNSServer:
    """A server that runs between :meth:`start` and :meth:`stop`.

    :param texts: the TXT values of a name, in lower case and without the last dot.
    :ivar port: the same one for UDP and TCP.
    :ivar queries: (type, name) of every question, in order.
    """

    def __init__(self, texts: Callable[[str], list[str]]) -> None:
        self._texts = texts
        self._resources = ExitStack()
        self.port = 0
        self.queries: list[tuple[str, str]] = []

    def start(self) -> None:
        """Listen on a free port of the loopback address."""
        self.port = free_port()
        address = (LOOPBACK, self.port)
        with ExitStack() as started:
            tcp = started.enter_context(_TCPServer(address, _over_tcp(self.answer)))
            udp = started.enter_context(socketserver.UDPServer(address, _over_udp(self.answer)))
            for server in (tcp, udp):
                # A short interval only makes `shutdown` quick.
                thread = threading.Thread(target=server.serve_forever, args=(0.02,))
                thread.start()
                started.callback(thread.join)
                started.callback(server.shutdown)
            self._resources = started.pop_all()

    def stop(self) -> None:
        """Stop listening."""
        self._resources.close()

    def answer(self, message: bytes) -> bytes:
        """The answer to one message; empty for what cannot be answered at all."""
        if len(message) < _HEADER.size:
            return b""
        number, flags, questions, *_ = _HEADER.unpack_from(message)
        try:
            if questions != 1:
                raise ValueError("not exactly one question")
            name, end = _name(message, _HEADER.size)
            kind, _ = struct.unpack_from("!2H", message, end)
        except (ValueError, IndexError, struct.error):
            return _HEADER.pack(number, _ANSWER_AUTHORITATIVE | _FORMAT_ERROR, 0, 0, 0, 0)
        self.queries.append((_TYPES.get(kind, str(kind)), name))
        data = []
        if kind == A:
            data = [bytes(map(int, LOOPBACK.split(".")))]
        elif kind == TXT:
            data = [_strings(value) for value in self._texts(name)]
        code = _NAME_ERROR if kind == TXT and not data else _NO_ERROR
        header = _HEADER.pack(number, _ANSWER_AUTHORITATIVE | flags & _COPIED_FLAGS | code, 1,
                              len(data), 0, 0)
        answers = (struct.pack("!3HIH", _NAME_OF_QUESTION, kind, 1, 0, len(value)) + value
                   for value in data)
        return header + message[_HEADER.size:end + 4] + b"".join(answers)


def _name(message: bytes, start: int) -> tuple[str, int]:
    """The name at *start*, and where it ends. A question has no compressed names."""
    labels = []
    while length := message[start]:
        labels.append(message[start + 1:start + 1 + length].decode("ascii").lower())
        start += 1 + length
    return ".".join(labels), start + 1


def _strings(value: str) -> bytes:
    """*value* as the character strings of a TXT record."""
    data = value.encode()
    return b"".join(bytes([len(part)]) + part for part in
                    (data[i:i + _STRING_LIMIT] for i in range(0, len(data), _STRING_LIMIT)))


class _TCPServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


def _over_udp(answer: Callable[[bytes], bytes]) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            message, server = self.request
            server.sendto(answer(message), self.client_address)

    return Handler


def _over_tcp(answer: Callable[[bytes], bytes]) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        timeout = 5

        def handle(self) -> None:
            while size := self.rfile.read(2):
                reply = answer(self.rfile.read(int.from_bytes(size, "big")))
                self.wfile.write(len(reply).to_bytes(2, "big") + reply)

    return Handler
