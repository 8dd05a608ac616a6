"""The question over TLS, to any server."""

from __future__ import annotations

import _ssl
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509

from certbot_qiniu.webserver import tls
from tests.sandbox.pki import Authority, fingerprint
from tests.sandbox.pki import Leaf as IssuedLeaf

WWW = "www.example.com"


class Server:
    """A TLS server on this machine that notes the names it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.issuer = Authority("Nobody").intermediate("Somebody")
        self.leaf: IssuedLeaf = self.issuer.issue(WWW, days=3)
        pem = folder / "server.pem"
        pem.write_text(self.leaf.key_pem + self.leaf.fullchain_pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        self.preamble = b""
        self.names: list[str] = []
        self.context.sni_callback = lambda _tls, name, _context: self.names.append(name)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def serve(self) -> None:
        """Shake hands until the socket is closed."""
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                try:
                    if self.preamble == connection.recv(len(self.preamble)):
                        self.context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    continue


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that runs."""
    found = Server(tmp_path)
    thread = threading.Thread(target=found.serve)
    thread.start()
    yield found
    found.socket.shutdown(socket.SHUT_RDWR)
    found.socket.close()
    thread.join()


def test_leaf(server: Server) -> None:
    """Which it is, its serial, its end, and what came with it; trust is no matter."""
    leaf = tls.served_leaf("127.0.0.1", server.port, WWW, timeout_seconds=5)
    certificate = x509.load_pem_x509_certificate(server.leaf.cert_pem.encode())
    assert tls.Leaf(server.leaf.fingerprint, int(server.leaf.not_after.timestamp()),
                    f"{certificate.serial_number:X}",
                    frozenset({fingerprint(server.issuer.cert_pem)})) == leaf
    assert [WWW] == server.names


@pytest.mark.parametrize(("public", "private", "chain"), [
    (lambda: [b"leaf", b"ca"], None, [b"leaf", b"ca"]),
    (None, lambda: [Old(b"leaf"), Old(b"ca")], [b"leaf", b"ca"]),
    (None, lambda: None, None), (None, None, None)],
    ids=["Python 3.13", "older", "no answer", "another Python"])
def test_chain(public: object, private: object, chain: object) -> None:
    """Every supported Python returns the chain, or None if it cannot."""
    inner = SimpleNamespace(**{"get_unverified_chain": private} if private else {})
    outer = {"get_unverified_chain": public} if public else {"_sslobj": inner}
    assert chain == tls._sent(SimpleNamespace(**outer))  # type: ignore[arg-type]


class Old(bytes):
    """A certificate as ``_ssl`` has it."""

    def public_bytes(self, kind: int) -> bytes:
        assert _ssl.ENCODING_DER == kind
        return self


def test_no_answer() -> None:
    """A name that cannot be asked for is no answer, and no crash."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        name = "x" * 64 + ".example.com"
        assert tls.served_leaf("127.0.0.1", port, name, timeout_seconds=5) is None


@pytest.mark.parametrize(("kind", "answers"), [("", True), ("ECDSA", True), ("RSA", False)])
def test_kind_of_key(server: Server, kind: tls.KeyKind, answers: bool) -> None:
    """A client of one kind of key sees no leaf of another kind."""
    leaf = tls.served_leaf("127.0.0.1", server.port, WWW, kind=kind, timeout_seconds=5)
    assert answers == bool(leaf)


def test_proxy_protocol(server: Server) -> None:
    """A server that expects the PROXY protocol first gets it."""
    server.preamble = b"PROXY UNKNOWN\r\n"
    assert tls.served_leaf("127.0.0.1", server.port, WWW, proxied=True, timeout_seconds=5)
    assert tls.served_leaf("127.0.0.1", server.port, WWW, timeout_seconds=5) is None


def test_unreadable_certificate(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf that cannot be read is still told from others."""
    def refuse(_der: bytes) -> None:
        raise ValueError("a negative serial number")

    monkeypatch.setattr(x509, "load_der_x509_certificate", refuse)
    leaf = tls.served_leaf("127.0.0.1", server.port, WWW, timeout_seconds=5)
    assert leaf
    assert (server.leaf.fingerprint, 0, "") == (leaf.fingerprint, leaf.not_after, leaf.serial)
