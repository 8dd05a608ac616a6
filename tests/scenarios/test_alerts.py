"""Alerts reach a receiver once per change, and never give a secret away."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apprise  # noqa: F401 (once, not in every fork; its threads would not survive one)
import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import alerts
from certbot_qiniu.command.health import Finding, Level
from certbot_qiniu.command.status import Report
from tests.sandbox.wire import Fault
from tests.scenarios.command import IMG, WWW, Seat, issued

SECRET = "s3cret-t0ken"
DAY = 86_400


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


class Channel:
    """In place of apprise: what was sent, and the URLs that do not take it."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, alerts.Message]] = []
        self.down: set[str] = set()

    def send(self, url: str, message: alerts.Message) -> bool:
        """As :func:`alerts.send`."""
        if url in self.down:
            return False
        self.messages.append((url, message))
        return True

    def take(self) -> list[str]:
        """What the titles say, of what was sent since the last time."""
        titles = [message.title.partition(": ")[2] for _, message in self.messages]
        self.messages.clear()
        return titles


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Channel:
    """A channel that is used instead of apprise."""
    found = Channel()
    monkeypatch.setattr(alerts, "send", found.send)
    return found


def report(*concerns: tuple[str, str], unknown: bool = False, at: float = 1e9) -> Report:
    """A status with these (subject, reason) of findings."""
    findings = [Finding(Level.ATTENTION, subject, reason, f"{subject}: {reason} in 9 days")
                for subject, reason in concerns]
    if unknown:
        findings.append(Finding(Level.UNKNOWN, "qiniu.ini", "Unreachable", "no answer"))
    return Report(at, 14, (), (), tuple(findings))


def alert(folder: Path, urls: list[str], found: Report) -> list[str]:
    """As ``status --notify`` does."""
    return alerts.alert(folder, urls, found.concerns(), found.checked_at)


def test_alert_of_a_real_status(tmp_path: Path, receiver: Receiver) -> None:
    """A domain that goes wrong is told within one run, and once more when it is right again."""
    machine = issued(tmp_path)

    def status() -> list[str]:
        run = machine.run("status", "--quiet", "--notify", receiver.url)
        assert SECRET not in run.output
        return receiver.take()

    assert status() == []
    machine.cloud.qiniu.change_domain(IMG, cert_id=machine.cloud.stranger(IMG, days=40))
    [title] = status()
    assert title.endswith(": 1 needs attention")
    assert status() == []
    assert machine.run("apply").status == 0
    assert machine.run("status", "--notify", receiver.url).status == 0
    [message] = receiver.messages  # publishing: nothing to worry about any more
    assert (message["type"], message["message"]) == ("success", f"Right again: {IMG}")
    assert "all is well again" in receiver.take()[0]
    machine.cloud.clock.sleep(400)
    assert status() == []
    path = machine.config_dir / "qiniu" / "alerts.json"
    assert path.stat().st_mode & 0o777 == 0o600
    for file in machine.config_dir.rglob("*"):
        assert not file.is_file() or SECRET not in file.read_text(errors="replace"), file


def test_each_change_is_told_once(tmp_path: Path, channel: Channel) -> None:
    """New, more, another reason, less, and all well again: only what changes is told."""
    def tell(*concerns: tuple[str, str]) -> list[str]:
        assert alert(tmp_path, ["json://a"], report(*concerns)) == []
        return channel.take()

    assert tell() == []
    assert tell((WWW, "Expiring")) == ["1 needs attention"]
    assert tell((WWW, "Expiring")) == []
    assert tell((WWW, "Expiring"), (IMG, "Outdated")) == ["2 need attention"]
    assert tell((WWW, "Expired"), (IMG, "Outdated")) == ["2 need attention"]
    assert tell((IMG, "Outdated")) == ["1 needs attention"]
    assert tell() == ["all is well again"]
    assert tell() == []


def test_text_of_an_alert(tmp_path: Path, channel: Channel) -> None:
    """It names what is new with its sentence, what is right again, and where to see all of it."""
    for found in (report((WWW, "Expiring"), ("/a b/qiniu.ini", "Refused")),
                  report((IMG, "Outdated")), report()):
        alert(tmp_path, ["json://a"], found)
    first, second, third = (message for _, message in channel.messages)
    assert first.body == (f"{WWW}: Expiring in 9 days\n/a b/qiniu.ini: Refused in 9 days\n\n"
                          "2 in all; see: certbot-qiniu status")
    assert f"Right again: /a b/qiniu.ini, {WWW}" in second.body
    assert third.body == f"Right again: {IMG}"
    assert [False, False, True] == [one.good_news for one in (first, second, third)]


def test_unknown_is_told_after_a_day(tmp_path: Path, channel: Channel) -> None:
    """An outage is no recovery and no alert, until it has lasted for a day."""
    def tell(found: Report) -> int:
        alert(tmp_path, ["json://a"], found)
        return len(channel.take())

    assert tell(report((WWW, "Outdated"))) == 1
    assert tell(report(unknown=True, at=1e9)) == 0
    assert tell(report((IMG, "Outdated"), unknown=True, at=1e9 + 60)) == 1
    assert tell(report(unknown=True, at=1e9 + DAY - 1)) == 0
    assert tell(report(unknown=True, at=1e9 + DAY)) == 1
    assert tell(report(unknown=True, at=1e9 + 3 * DAY)) == 0
    assert tell(report(at=1e9 + 4 * DAY)) == 1
    assert tell(report(unknown=True, at=1e9 + 5 * DAY)) == 0  # the count begins anew


def test_receiver_that_fails_is_told_again(tmp_path: Path, channel: Channel) -> None:
    """Each receiver has its own memory: what did not arrive is sent again, to that one alone."""
    good, bad = "json://good", f"json://{SECRET}"
    channel.down = {bad}
    for found, told in ((report((WWW, "Outdated")), 1), (report((WWW, "Outdated")), 0)):
        assert alert(tmp_path, [good, bad], found) == [
            "an alert could not be delivered to json://…"]
        assert len(channel.take()) == told
    channel.down = set()
    assert alert(tmp_path, [good, bad], found) == []
    assert [url for url, _ in channel.messages] == [bad]


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
    """Even where all is well the exit status says that nobody was told."""
    machine = issued(tmp_path)
    assert machine.run("status", "--renewal=1", "--notify", receiver.url).status == 1
    receiver.status = 500
    assert machine.run("status", "--notify", receiver.url).status == 1
    receiver.status = 200
    assert machine.run("status", "--notify", receiver.url).status == 0


def test_outage_sends_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """That Qiniu does not answer once is no alert."""
    machine: Seat = issued(tmp_path)
    machine.cloud.board.arm(Fault("refuse"), times=10**6)
    assert machine.run("status", "--notify", receiver.url).status == 2
    assert receiver.take() == []


def test_receivers_from_a_file(tmp_path: Path) -> None:
    """@FILE has one URL in a line, comments apart, and must be private."""
    path = tmp_path / "notify"
    path.touch(0o600)
    path.write_text("# ours\njson://a\n\n  json://b \n")
    assert alerts.receivers(["json://b", f"@{path}"]) == ["json://b", "json://a"]
    path.chmod(0o640)
    with pytest.raises(errors.UsageError, match="chmod 600"):
        alerts.receivers([f"@{path}"])
    with pytest.raises(errors.UsageError, match="Could not read"):
        alerts.receivers(["@/nonexistent"])


def test_without_apprise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(errors.UsageError, match=r"certbot-qiniu\[notify\]"):
        alerts.send("json://127.0.0.1:1", alerts.Message("title", "body", good_news=False))


@pytest.mark.parametrize(("url", "shown"), [
    (f"dingtalk://{SECRET}", "dingtalk://…"), (SECRET, "a receiver that is no URL"),
    (f"{SECRET}://x", "a receiver that is no URL"), ("", "a receiver that is no URL")])
def test_redacted(url: str, shown: str) -> None:
    """Nothing of a URL is shown but its scheme."""
    assert alerts.redacted(url) == shown


def test_report_knows_the_worst() -> None:
    """What is known to be wrong decides over what is unknown."""
    found = report((WWW, "Outdated"), unknown=True)
    assert found.level is Level.ATTENTION
    assert replace(found, findings=found.findings[1:]).level is Level.UNKNOWN
