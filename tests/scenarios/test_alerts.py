"""Alerts of real runs reach a receiver once per change, and never give a secret away."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apprise  # noqa: F401 (once, not in every fork; its threads would not survive one)
import pytest

from certbot_qiniu.command import status
from certbot_qiniu.command.survey import metrics
from tests.sandbox.wire import Fault
from tests.scenarios.command import APEX, IMG, Seat, issued
from tests.scenarios.machine import later

SECRET = "s3cret-t0ken"


class Receiver:
    """A web hook on this machine that remembers what it is sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.messages.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/{SECRET}"

    def take(self) -> list[str]:
        """Titles of what came since the last time."""
        titles = [message["title"] for message in self.messages]
        self.messages.clear()
        return titles


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that runs."""
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.02,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def endless() -> Iterator[str]:
    """A receiver whose answer comes byte by byte, and never ends."""
    ended = threading.Event()

    class Endless(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while not ended.wait(0.02):
                    self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"json://127.0.0.1:{server.server_port}"
    ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_receiver_without_end(tmp_path: Path, endless: str) -> None:
    """It is given up, holds neither the next receiver nor the end of the program up."""
    code = ("import sys; from certbot_qiniu.command import alerts, cli; "
            "alerts.SEND_SECONDS = 1.0; sys.exit(cli.main(sys.argv[1:]))")
    run = subprocess.run(
        [sys.executable, "-c", code, "status", "--managed", "--quiet", "--renewal", "1",
         *(f"--{kind}-dir={tmp_path}" for kind in ("config", "work", "logs")),
         "--notify", endless, "--notify", "json://127.0.0.1:1"],
        capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1, run.stderr
    assert 2 == run.stderr.count("an alert could not be delivered to json://…")


def test_alert_of_a_real_status(tmp_path: Path, receiver: Receiver) -> None:
    """A domain that goes wrong is reported within one run, and once more when it is right again."""
    machine = issued(tmp_path)

    def told() -> list[str]:
        run = machine.run("status", "--quiet", "--notify", receiver.url)
        assert SECRET not in run.output
        return receiver.take()

    assert told() == []
    machine.cloud.qiniu.change_domain(IMG, cert_id=machine.cloud.stranger(IMG, days=40))
    [title] = told()
    assert title.endswith(": 1 needs attention")
    assert told() == []
    assert machine.run("apply").status == 0
    assert machine.run("status", "--notify", receiver.url).status == 0
    [message] = receiver.messages  # publishing: nothing to worry about any more
    assert (message["type"], message["message"]) == ("success", f"Right again: {IMG}")
    assert "all is well again" in receiver.take()[0]
    machine.cloud.clock.sleep(400)
    assert told() == []
    path = machine.config_dir / "qiniu" / "alerts.json"
    assert path.stat().st_mode & 0o777 == 0o600
    for file in machine.config_dir.rglob("*"):
        assert not file.is_file() or SECRET not in file.read_text(errors="replace"), file


def _conf(machine: Seat, old: str, new: str) -> None:
    path = machine.config_dir / "renewal" / f"{APEX}.conf"
    path.write_text(path.read_text().replace(old, new))


def _break(name: str) -> Callable[[Seat], object]:
    return lambda machine: (machine.config_dir / "qiniu" / name).write_text("{")


@pytest.mark.parametrize("event", [
    lambda machine: _conf(machine, "[renewalparams]", "[renewalparams]\nautorenew = no"),
    _break(f"state/{APEX}.json"), _break(f"memory/{APEX}.json"), _break("memory.json"),
    lambda machine: machine.credentials.chmod(0o644),
    lambda machine: machine.write_credentials("qiniu.ini", ("other", "keys")),
    lambda machine: (_conf(machine, "[renewalparams]", f"[renewalparams]\nqiniu_exclude = {IMG}"),
                     machine.renew()),
    lambda machine: machine.cloud.qiniu.change_domain(IMG, state="frozen", freeze_type="ICP"),
], ids=["conf", "state", "memory", "all memory", "credentials", "keys", "let go", "frozen"])
def test_what_is_not_looked_at_is_not_right_again(
        tmp_path: Path, receiver: Receiver, event: Callable[[Seat], object]) -> None:
    """Whatever hides a domain, or has it given up, nobody is told that it is well."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    machine.renew()
    machine.cloud.qiniu.change_domain(IMG, cert_id=machine.cloud.stranger(IMG, days=40))
    machine.run("status", "--managed", "--notify", receiver.url)
    assert 1 == len(receiver.take())
    event(machine)
    machine.run("status", "--managed", "--notify", receiver.url)
    for message in receiver.messages:
        assert "Right again" not in message["message"]
        assert "all is well again" not in message["title"]


def test_a_domain_of_somebody_else_is_looked_at_seldom(tmp_path: Path, receiver: Receiver,
                                                       ) -> None:
    """Only --all-details sees what it serves, so that only this takes back what that has told."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    cloud, name = machine.cloud, "shop.example.org"
    cloud.qiniu.add_domain(name, protocol="https", cert_id=cloud.stranger(name, days=9))

    for options, said in (
            (["--all-details"], f"the certificate that {name} serves ends in 8 days\n"), ([], ""),
            (["--managed"], ""), (["--all-details"], ""), (["renew it"], ""), (["--managed"], ""),
            ([], ""), (["--all-details"], f"Right again: {name}")):
        if options == ["renew it"]:
            cloud.qiniu.change_domain(name, cert_id=cloud.stranger(name, days=90))
            continue
        machine.run("status", *options, "--notify", receiver.url)
        texts = [message["message"] for message in receiver.messages]
        receiver.messages.clear()
        assert len(texts) == bool(said), options
        assert all(text.startswith(said) for text in texts), texts


def test_a_certificate_that_was_deleted_is_not_right_again(tmp_path: Path, receiver: Receiver,
                                                           ) -> None:
    """It needs no attention any more, and is not counted."""
    machine = issued(tmp_path)
    machine.cloud.qiniu.add_domain("shop.example.org")
    assert 0 == machine.certbot(
        "run", "-a", "standalone", "-i", "qiniu", "--qiniu-credentials", str(machine.credentials),
        "--qiniu-skip-nginx", "--cert-name", "old", "-d", "shop.example.org").status
    machine.cloud.clock.sleep(600)
    conf = machine.config_dir / "renewal" / "old.conf"
    conf.write_text(conf.read_text().replace("installer = qiniu", ""))
    machine.run("status", "--managed", "--notify", receiver.url)
    assert "the renewal conf of old" in receiver.messages[0]["message"]
    receiver.messages.clear()
    assert 0 == machine.certbot("delete", "--cert-name", "old").status
    machine.run("status", "--managed", "--notify", receiver.url)
    assert not any("old" in message["message"] for message in receiver.messages)


def test_a_failed_renewal_stands_until_one_succeeds(tmp_path: Path, receiver: Receiver) -> None:
    """A status that hears of no renewal, as by hand, has not seen that it is right again."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    for renewal, said in (["--renewal=1"], ["needs attention"]), ([], []), (
            ["--renewal=1"], []), (["--renewal=0"], ["all is well again"]):
        machine.run("status", *renewal, "--notify", receiver.url)
        titles = receiver.take()
        assert len(said) == len(titles)
        assert all(title.endswith(end) for title, end in zip(titles, said, strict=True))


def test_metrics_that_cannot_be_written(tmp_path: Path, receiver: Receiver) -> None:
    """That is an error, but alerts are still sent."""
    machine = issued(tmp_path)
    machine.cloud.qiniu.change_domain(IMG, cert_id=machine.cloud.stranger(IMG, days=40))
    run = machine.run("status", "--prometheus", "/nonexistent/qiniu.prom", "--notify",
                      receiver.url)
    assert run.status == 2
    assert "Could not write /nonexistent/qiniu.prom" in run.output
    assert receiver.take()[0].endswith(": 1 needs attention")


def test_undelivered_alert_is_not_silent(tmp_path: Path) -> None:
    """The command fails, and names the receiver by no more than its kind."""
    machine = issued(tmp_path)
    run = machine.run("status", "--quiet", "--renewal=1", "-v", "--notify",
                      f"json://user:{SECRET}@127.0.0.1:1/{SECRET}", "--notify", f"{SECRET}")
    assert run.status == 1
    assert "could not be delivered to json://…" in run.output
    assert "could not be delivered to a receiver that is no URL" in run.output
    assert SECRET not in run.output


def test_undelivered_recovery(tmp_path: Path, receiver: Receiver) -> None:
    """Even if all is well the exit status says that nobody was told."""
    machine = issued(tmp_path)
    assert machine.run("status", "--renewal=1", "--notify", receiver.url).status == 1
    for receiver.status, failed in (500, 1), (200, 0):
        run = machine.run("status", "--renewal=0", "--notify", receiver.url)
        assert run.status == failed


def test_outage_sends_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """If Qiniu does not answer once, there is no alert."""
    machine: Seat = issued(tmp_path)
    machine.cloud.board.arm(Fault("refuse"), times=10**6)
    assert machine.run("status", "--notify", receiver.url).status == 2
    assert receiver.take() == []


def test_words_of_qiniu_stay_words(tmp_path: Path, receiver: Receiver) -> None:
    """If a receiver shows HTML, as a mail does, no markup of others becomes part of it."""
    machine = issued(tmp_path)
    machine.run("status", "--renewal=<a href=x>", "--notify", f"{receiver.url}?format=html")
    [message] = receiver.messages
    assert "&lt;a" in message["message"]
    assert "<a" not in message["message"]


@pytest.mark.parametrize(("renewal", "calls"), [("success", 1), ("0", 1), ("exit-code", 0)])
def test_heartbeat(tmp_path: Path, renewal: str, calls: int) -> None:
    """It is called if the renewal succeeded and all is well, and its failure is a warning."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(400)
    path = tmp_path / "heartbeat"
    path.touch(0o600)
    path.write_text(f"https://127.0.0.1:1/{SECRET}\n")
    run = machine.run("status", "--heartbeat", f"@{path}", "--renewal", renewal)
    assert run.output.count("the heartbeat to https://… failed: ConnectionError") == calls
    assert run.status == 1 - calls
    assert SECRET not in run.output


def test_heartbeat_in_the_open(tmp_path: Path) -> None:
    """An address that is not https is refused, and not shown."""
    run = issued(tmp_path).run("status", "--heartbeat", f"http://{SECRET}/")
    assert (run.status, SECRET in run.output) == (2, False)


def test_silent_qiniu_holds_no_alert_up(tmp_path: Path, receiver: Receiver,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """At the deadline the failed renewal is reported; the status at Qiniu is unknown."""
    machine = issued(tmp_path)
    asleep = threading.Event()
    monkeypatch.setattr(status, "survey", lambda *_, **__: asleep.wait(60))
    begun = time.monotonic()
    run = machine.run("status", "--deadline=0.2", "--renewal=1", "--notify", receiver.url,
                      "--prometheus", str(tmp_path))
    assert "certbot_qiniu_renewal_success 0\n" in (tmp_path / metrics.FILE).read_text()
    assert time.monotonic() - begun < 30
    assert run.status == 1
    assert "The status was not known within 0 seconds." in run.output
    assert "Certbot renew failed (1)" in run.output
    [title] = receiver.take()
    assert title.endswith(": 1 needs attention")
    run = machine.run("status", "--deadline=0.2", "--notify", receiver.url)
    assert (run.status, receiver.take()) == (2, [])  # what is not known is not right again
    monkeypatch.undo()
    assert machine.run("status", "--deadline=60").status == 0


def test_a_domain_that_stays_gone(tmp_path: Path, receiver: Receiver) -> None:
    """It needs attention for some days; that these are over makes nothing right again."""
    machine = issued(tmp_path)
    del vars(machine.cloud.qiniu)["_domains"][IMG]
    later(machine, status=1)
    assert 1 == machine.run("status", "--notify", receiver.url).status
    assert 1 == len(receiver.take())
    machine.credentials.chmod(0o644)
    machine.run("status", "--notify", receiver.url)
    assert not any("Right again" in message["message"] for message in receiver.messages)
    machine.credentials.chmod(0o600)
    machine.run("status", "--notify", receiver.url)
    receiver.take()
    later(machine, 8 * 86_400)
    assert 0 == machine.run("status", "--notify", receiver.url).status
    assert [] == receiver.take()
