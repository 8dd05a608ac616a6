"""The DNS server answers what the authority asks, byte for byte."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.sandbox.dns import DNSServer
from tests.sandbox.process import LOOPBACK

ASKED = b"\x03www\x07EXAMPLE\x03com\x00"


def question(kind: int, name: bytes = ASKED) -> bytes:
    """A question with number 7 that wants recursion."""
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", kind, 1)


@pytest.fixture
def dns() -> Iterator[DNSServer]:
    """Run a server that knows texts of one name."""
    server = DNSServer(lambda name: ["x" * 300, "y"] if name == "www.example.com" else [])
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(("message", "code"), [
    (question(16, b"\x04none\x00"), 3), (question(16, b"\xc0\x0c"), 1), (question(16)[:-2], 1)],
    ids=["no such text", "compressed", "cut off"])
def test_dns_says_no(dns: DNSServer, message: bytes, code: int) -> None:
    """An unknown or malformed question gets an answer with the right code and no data."""
    answer = dns.answer(message)
    assert (answer[3] & 0xF, answer[6:8]) == (code, b"\0\0")


def test_dns_answers_over_udp_and_tcp(dns: DNSServer) -> None:
    """The same answer comes both ways, a long text in pieces."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(question(16), (LOOPBACK, dns.port))
        answer = udp.recv(4096)
    with socket.create_connection((LOOPBACK, dns.port), 5) as tcp, tcp.makefile("rb") as file:
        tcp.sendall(len(question(16)).to_bytes(2, "big") + question(16))
        assert file.read(int.from_bytes(file.read(2), "big")) == answer
    long, short = b"\xff" + b"x" * 255 + b"\x2d" + b"x" * 45, b"\x01y"
    assert answer == (
        struct.pack("!6H", 7, 0x8500, 1, 2, 0, 0) + ASKED + struct.pack("!2H", 16, 1)
        + b"".join(struct.pack("!3HIH", 0xC00C, 16, 1, 0, len(text)) + text
                   for text in (long, short)))
    assert dns.queries == [("TXT", "www.example.com")] * 2


def test_dns_leads_home_and_forbids_no_authority(dns: DNSServer) -> None:
    """Every name is this machine; CAA and the rest are empty without being an error."""
    assert dns.answer(question(1)).endswith(bytes([0, 4, 127, 0, 0, 1]))
    for kind in (28, 257):
        assert dns.answer(question(kind))[3:8] == b"\0\0\1\0\0"
