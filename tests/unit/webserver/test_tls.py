"""The question over TLS: to the edge, and to any server."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from certbot_qiniu.command import status
from certbot_qiniu.command.survey import AccountFacts, Survey
from certbot_qiniu.model import Domain
from certbot_qiniu.webserver import tls
from certbot_qiniu.webserver.tls import Leaf
from tests.sandbox.pki import Authority
from tests.sandbox.pki import Leaf as IssuedLeaf

WWW, WILD = "www.example.com", ".example.com"


class Edge:
    """A TLS server on this machine that notes the names it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.leaf: IssuedLeaf = Authority("Nobody").issue(WWW, days=3)
        pem = folder / "edge.pem"
        pem.write_text(self.leaf.key_pem + self.leaf.fullchain_pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        self.preamble = b""
        self.names: list[str] = []
        self.context.sni_callback = lambda _tls, name, _context: self.names.append(name)
        self.socket = socket.create_server(("127.0.0.1", 0))

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
def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edge]:
    """An edge that runs, at the port that is probed."""
    found = Edge(tmp_path)
    monkeypatch.setattr(tls, "EDGE_PORT", found.socket.getsockname()[1])
    thread = threading.Thread(target=found.serve)
    thread.start()
    yield found
    found.socket.shutdown(socket.SHUT_RDWR)
    found.socket.close()
    thread.join()


def test_leaf_of_the_edge(edge: Edge) -> None:
    """The CNAME is asked by the domain's name, a wildcard by one below it; trust is no matter."""
    for name in (WWW, WILD):
        leaf = tls.edge_leaf(Domain(name, protocol="https", cname="127.0.0.1"))
        assert leaf
        assert leaf.fingerprint == edge.leaf.fingerprint
    assert edge.names == [WWW, "certbot-qiniu.example.com"]


@pytest.mark.parametrize("cname", ["127.0.0.2", "nowhere.invalid", "\udcff", "a" * 70 + ".com"])
def test_edge_that_cannot_be_asked(edge: Edge, cname: str) -> None:
    """No answer is no error, whatever Qiniu says where the domain is."""
    assert tls.edge_leaf(Domain(WWW, protocol="https", cname=cname)) is None


def test_who_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every domain that speaks HTTPS and is alive, and each answer goes to its own."""
    leaves = {WWW: Leaf("f1", 1), WILD: None}
    monkeypatch.setattr(tls, "edge_leaf", lambda domain: leaves[domain.name])
    domains = [Domain(WWW, protocol="https"), Domain(WILD, protocol="https"),
               Domain("plain.example.com"), Domain("x.example.com", protocol="https",
                                                   state="frozen")]
    facts = Survey(0, (AccountFacts("a", {domain.name: domain for domain in domains}),))
    assert status.probe(facts).edges == leaves


def test_no_answer() -> None:
    """A name that cannot be asked for is no answer, and no crash."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        name = "x" * 64 + ".example.com"
        assert tls.served_leaf("127.0.0.1", port, name, timeout_seconds=5) is None


@pytest.mark.parametrize(("kind", "answers"), [("", True), ("ECDSA", True), ("RSA", False)])
def test_kind_of_key(edge: Edge, kind: tls.KeyKind, answers: bool) -> None:
    """A client of one kind of key sees no leaf of another kind."""
    leaf = tls.served_leaf("127.0.0.1", tls.EDGE_PORT, WWW, kind=kind, timeout_seconds=5)
    assert answers == bool(leaf)


def test_proxy_protocol(edge: Edge) -> None:
    """Where the PROXY protocol comes first, it does."""
    edge.preamble = b"PROXY UNKNOWN\r\n"
    assert tls.served_leaf("127.0.0.1", tls.EDGE_PORT, WWW, proxied=True, timeout_seconds=5)
    assert tls.served_leaf("127.0.0.1", tls.EDGE_PORT, WWW, timeout_seconds=5) is None


def test_unreadable_certificate(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf that cannot be read is still told from others; of the edge it tells nothing."""
    def refuse(_der: bytes) -> None:
        raise ValueError("a negative serial number")

    monkeypatch.setattr(x509, "load_der_x509_certificate", refuse)
    leaf = tls.served_leaf("127.0.0.1", tls.EDGE_PORT, WWW, timeout_seconds=5)
    assert Leaf(edge.leaf.fingerprint, 0) == leaf
    assert tls.edge_leaf(Domain(WWW, protocol="https", cname="127.0.0.1")) is None
