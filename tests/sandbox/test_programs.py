"""Programs of the sandbox start, fail and stop as the tests rely on; nginx among them."""

from __future__ import annotations

import random
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.pki import Authority, Leaf
from tests.sandbox.process import LOOPBACK, Program, free_port, until
from tests.sandbox.webserver import Nginx


def test_a_program_that_ends_is_not_ready(tmp_path: Path) -> None:
    """Its own words and its status are in the error."""
    program = Program([sys.executable, "-c", "import sys; sys.exit('no such port')"],
                      tmp_path / "log")
    with pytest.raises(RuntimeError, match="ended with 1: no such port"):
        program.start(lambda: False)
    assert not program.running


def test_a_program_that_is_given_up_is_stopped(tmp_path: Path) -> None:
    """When the wait for it is broken off, it does not stay behind."""
    def give_up() -> bool:
        raise KeyboardInterrupt

    program = Program([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    with pytest.raises(KeyboardInterrupt):
        program.start(give_up)
    assert not program.running


def test_waiting_has_an_end() -> None:
    """A condition that never comes true is an error that names it."""
    with pytest.raises(TimeoutError, match="pigs fly"):
        until(lambda: False, "pigs fly", seconds=0.05)


def test_free_ports_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is taken, by TCP or by UDP, is not handed out."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind((LOOPBACK, 0))
        udp.bind((LOOPBACK, 0))
        free = free_port()
        ports = iter([tcp.getsockname()[1], udp.getsockname()[1], free])
        monkeypatch.setattr(random, "randrange", lambda *_: next(ports))
        assert free_port() == free


def run(command: str) -> subprocess.CompletedProcess[str]:
    """Run one of nginx's commands as the plugin would."""
    return subprocess.run(shlex.split(command), capture_output=True, text=True, check=False,
                          timeout=20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nginx]:
    """Make a web server with one site, not started yet."""
    server = Nginx(tmp_path / "nginx")
    write(tmp_path, Authority().issue("example.com"))
    server.configure([("example.com", tmp_path / "fullchain.pem", tmp_path / "privkey.pem")])
    yield server
    server.stop()


def write(directory: Path, leaf: Leaf) -> str:
    """Put *leaf* where the server reads it, in new files as certbot does; its fingerprint.

    nginx 1.27 and later keep, over a reload, what came from the same file of the same second.
    """
    for name, text in (("fullchain.pem", leaf.fullchain_pem), ("privkey.pem", leaf.key_pem)):
        new = directory / f"{name}.new"
        new.write_text(text, encoding="ascii")
        new.replace(directory / name)
    return leaf.fingerprint


@pytest.mark.programs
def test_a_broken_configuration_does_not_start(server: Nginx) -> None:
    """nginx's own words are in the error, and nothing runs."""
    server.break_config()
    with pytest.raises(RuntimeError, match="this_is_no_directive"):
        server.start()
    assert not server.running


@pytest.mark.programs
def test_a_broken_configuration_is_not_loaded(server: Nginx, tmp_path: Path) -> None:
    """The test fails while it is broken, a reload keeps the old leaf, and a repair helps."""
    server.start()
    old = server.served_fingerprint("example.com")
    new = write(tmp_path, Authority().issue("example.com"))
    server.break_config()
    assert "this_is_no_directive" in run(server.test_command).stderr
    assert run(server.test_command).returncode == 1
    assert run(server.reload_command).returncode == 1
    assert server.served_fingerprint("example.com") == old
    server.repair_config()
    assert run(server.test_command).returncode == 0
    assert run(server.reload_command).returncode == 0
    until(lambda: server.served_fingerprint("example.com") == new, "nginx serves the new leaf")


@pytest.mark.programs
def test_a_stopped_server_cannot_be_reloaded(server: Nginx) -> None:
    """Neither before its start nor after its end does it take a reload."""
    assert run(server.reload_command).returncode == 1
    server.start()
    server.stop()
    assert not server.running
    assert run(server.reload_command).returncode == 1
