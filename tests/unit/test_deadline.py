"""Exchanges end in time, and take no more memory than they may, whatever comes from outside."""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certbot_qiniu import deadline, errors
from certbot_qiniu.command import alerts, doctor
from certbot_qiniu.qiniu import transport
from certbot_qiniu.qiniu.client import QiniuClient
from tests.unit.hostile import Hostile, hostile

pytestmark = [
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
    # Python's ssl leaves a socket to the garbage collection that was cut off just before TLS.
    # `against` collects it at once: no test after it is blamed for it.
    pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")]

SLOW = ["drip_connect", "drip_header", "drip_headers", "flood", "drip_body", "drip_last_body",
        "silent"]
PATIENCE = 0.3
PLENTY = 20.0


@pytest.fixture
def against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    """The network, as the environment describes it."""
    (tmp_path / ".netrc").write_text("default login somebody password netrc-secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    with hostile(tmp_path, transport.API, "uc.qiniuapi.com", "beat.example.com") as network:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("HTTPS_PROXY", network.proxy)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", network.ca)
        yield network
    gc.collect()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> QiniuClient:
    """A client whose patience is short, and that does not rest between its attempts."""
    monkeypatch.setattr(transport, "ANSWER_SECONDS", PATIENCE)
    return QiniuClient("access", "secret", sleep=lambda _: None, clock=time.monotonic)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "_run" in thread.name]


@pytest.mark.parametrize("way", SLOW)
def test_call(way: str, against: Hostile, client: QiniuClient) -> None:
    """Five attempts take five times the patience, and leave nobody watching."""
    against.way = way
    begun = time.monotonic()
    with pytest.raises(errors.Unreachable, match=r"more than 0\.3 s, after 5 attempts"):
        client.list_buckets()
    assert time.monotonic() - begun < PLENTY
    assert client.calls == against.connections == 5
    assert not _threads()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let every name lead to thirty addresses that never answer."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        place = server.getsockname()
        for _ in range(3):  # a queue that is full lets nobody in
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(place)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)] * 30
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.delenv("HTTPS_PROXY", raising=False)
        yield len(found)


def test_addresses(nowhere: int, client: QiniuClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses of a host together take no longer than an answer may."""
    monkeypatch.setattr(transport, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(transport, "ATTEMPTS", 1)
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(alerts, "HEARTBEAT_SECONDS", 1.0)
    begun = time.monotonic()
    with pytest.raises(errors.Unreachable, match="after 1 attempts"):
        client.list_buckets()
    [told] = alerts.heartbeat(["https://beat.example.com/token"])
    assert re.search("failed: (Connect)?Timeout", told)
    assert time.monotonic() - begun < 4 < nowhere * 0.5


def test_unknown_name(client: QiniuClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that fails, after half a minute perhaps, is asked once an attempt."""
    looked = []

    def look(host: str, *_: object, **__: object) -> None:
        looked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.setattr(transport, "ANSWER_SECONDS", PLENTY)
    with pytest.raises(errors.Unreachable, match="Temporary failure in name"):
        client.list_buckets()
    assert ["uc.qiniuapi.com"] * 5 == looked


def test_next_call(against: Hostile, client: QiniuClient) -> None:
    """A call that was cut off spoils none after it, and those share a connection."""
    against.way = "drip_header"
    with pytest.raises(errors.Unreachable):
        client.list_buckets()
    against.way = "plain"
    client = QiniuClient("access", "secret", session=client._transport._session)
    assert [client.list_buckets() for _ in range(3)] == [[], [], []]
    assert against.connections == 6


@pytest.mark.parametrize(("way", "words"), [("huge", "too large"), ("bomb", "in an encoding")])
def test_memory(way: str, words: str, against: Hostile, client: QiniuClient) -> None:
    """A large answer takes little more memory than the largest that is read, as does a bomb."""
    against.way = way
    tracemalloc.start()
    try:
        with pytest.raises(errors.Unreachable, match=words):
            client.list_buckets()
        assert tracemalloc.get_traced_memory()[1] < 4 * transport.ANSWER_BYTES
    finally:
        tracemalloc.stop()


def test_no_encoding_is_asked_for(against: Hostile, client: QiniuClient) -> None:
    """No credentials from ~/.netrc go out with a call."""
    assert [] == client.list_buckets()
    [request] = against.requests
    assert b"Accept-Encoding: identity\r\n" in request
    assert b"Authorization: Qiniu access:" in request


@pytest.mark.parametrize("way", SLOW)
@pytest.mark.parametrize("ask", [
    lambda: doctor.qiniu_time(), lambda: alerts.heartbeat(["https://beat.example.com/token"])],
    ids=["doctor", "heartbeat"])
def test_head(way: str, ask: Callable[[], object], against: Hostile,
              monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls of doctor and of a heartbeat end in time, too; their body is not read."""
    monkeypatch.setattr(doctor, "CLOCK_SECONDS", PATIENCE)
    monkeypatch.setattr(alerts, "HEARTBEAT_SECONDS", PATIENCE)
    against.way = way
    begun = time.monotonic()
    told = ask()
    assert time.monotonic() - begun < PLENTY
    # A read may wait as long as the whole: of silence either is told.
    failed = "" if "body" in way else r"'the heartbeat to https://… failed: (Read)?Timeout'"
    assert re.fullmatch(rf"None|\[{failed}\]", str(told))
    assert not any(b"Authorization" in request for request in against.requests)
    assert not _threads()


def test_signals_pass() -> None:
    """An exception that ends the program is not turned into an answer that came too late."""
    def interrupted() -> None:
        with deadline.deadline(0):
            threading.Event().wait(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
