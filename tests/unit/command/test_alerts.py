"""Alerts: each change is reported once to each receiver, and no secret is given away."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from certbot_qiniu import errors
from certbot_qiniu.command import alerts
from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.command.survey.report import Report

WWW, IMG = "www.example.com", "img.example.com"
SECRET = "s3cret-t0ken"
DAY = 86_400


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


def test_each_change_is_told_once(tmp_path: Path, channel: Channel) -> None:
    """New, more, another reason, less, and all well again: only what changes is reported."""
    def tell(*concerns: tuple[str, str]) -> list[str]:
        assert alert(tmp_path, ["json://a"], report(*concerns)) == []
        return channel.take()

    assert tell() == []
    assert tell((WWW, "Expiring")) == ["1 needs attention"]
    assert tell((WWW, "Expiring")) == []
    assert tell((WWW, "Expiring"), (IMG, "Outdated")) == ["2 need attention"]
    assert tell((WWW, "Expired"), (IMG, "Outdated")) == ["2 need attention"]
    assert tell((WWW, "Expired"), (IMG, "Outdated")) == []
    assert tell((IMG, "Outdated")) == ["1 needs attention"]
    assert tell() == ["all is well again"]
    assert tell() == []


@pytest.mark.parametrize(("bygone", "expected"), [((), True), ((WWW,), False)])
def test_what_is_over_is_not_right(bygone: tuple[str, ...], expected: bool) -> None:
    """A domain that stays gone causes no more alerts, and none that it is right again."""
    message = alerts.compose({f"Gone {WWW}": "gone"}, {}, "host", bygone)
    assert expected == bool(message and f"Right again: {WWW}" in message.body)


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


def test_receivers_from_a_file(tmp_path: Path) -> None:
    """@FILE has one URL in a line, comments apart, and must be private."""
    path = tmp_path / "notify"
    path.touch(0o600)
    path.write_text("# ours\njson://a\n\n  json://b \n")
    assert alerts.receivers(["json://b", f"@{path}"]) == ["json://b", "json://a"]
    path.chmod(0o640)
    with pytest.raises(errors.UsageError, match="chmod 600"):
        alerts.receivers([f"@{path}"])
    with pytest.raises(errors.UsageError, match="Could not read /nonexistent: No such file"):
        alerts.receivers(["@/nonexistent"])
    path.chmod(0o600)
    path.write_bytes(b"\xff")
    with pytest.raises(errors.UsageError, match="notify: it is not UTF-8"):
        alerts.receivers([f"@{path}"])


def test_without_apprise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(errors.UsageError, match=r"Run: /.+/pip install apprise"):
        alerts.send("json://127.0.0.1:1", alerts.Message("title", "body", good_news=False))


@pytest.mark.parametrize(("url", "shown"), [
    (f"dingtalk://{SECRET}", "dingtalk://…"), (SECRET, "a receiver that is no URL"),
    (f"{SECRET}://x", "a receiver that is no URL"), ("", "a receiver that is no URL")])
def test_redacted(url: str, shown: str) -> None:
    """Nothing of a URL is shown but its scheme."""
    assert alerts.redacted(url) == shown


@pytest.mark.parametrize(("before", "now", "title", "good_news"), [
    ({}, {}, None, None),
    ({"Expiring a": "old"}, {"Expiring a": "new text"}, None, None),
    ({}, {"Expiring a": "a"}, "1 needs attention", False),
    ({}, {"Expiring a": "a", "Expiring b": "b"}, "2 need attention", False),
    ({"Expiring a": "a"}, {"Outdated a": "a"}, "1 needs attention", False),
    ({"Expiring a": "a"}, {}, "all is well again", True),
], ids=["nothing", "other words", "one", "two", "another reason", "solved"])
def test_what_is_said(before: dict[str, str], now: dict[str, str], title: str | None,
                      *, good_news: bool | None) -> None:
    """Only what comes or goes is said, and it is good news when nothing is left."""
    message = alerts.compose(before, now, "web-1")
    assert (title and f"certbot-qiniu on web-1: {title}") == (message and message.title)
    assert good_news is (message.good_news if message else None)


class Apprise:
    """In place of the package of that name: logs what it is given, as that does."""

    NotifyType = SimpleNamespace(SUCCESS="success", WARNING="warning")
    NotifyFormat = SimpleNamespace(TEXT="text")
    knows, accepts = True, True

    def __init__(self, **_: object) -> None:
        self.sent: list[tuple[str, str, str]] = []

    Apprise = AppriseAsset = lambda self, **_: self

    def add(self, url: str) -> bool:
        logging.getLogger("apprise").critical("Loaded %s", url)
        return self.knows

    def notify(self, *, title: str, body: str, notify_type: str, body_format: str) -> bool:
        assert "text" == body_format  # a receiver for HTML has it escaped by apprise
        self.sent.append((title, body, notify_type))
        return self.accepts


@pytest.fixture
def apprise(monkeypatch: pytest.MonkeyPatch) -> Apprise:
    """An apprise that sends nothing."""
    found = Apprise()
    monkeypatch.setitem(sys.modules, "apprise", found)
    return found


@pytest.mark.parametrize(("good_news", "kind"), [(True, "success"), (False, "warning")])
def test_send(apprise: Apprise, caplog: pytest.LogCaptureFixture, kind: str, *,
              good_news: bool) -> None:
    """Title, body and kind are handed over, and the URL comes into no log meanwhile."""
    assert alerts.send(f"json://{SECRET}", alerts.Message("title", "body", good_news))
    assert [("title", "body", kind)] == apprise.sent
    assert SECRET not in caplog.text
    logging.getLogger("certbot_qiniu").error("after it")
    assert "after it" in caplog.text


@pytest.mark.parametrize("change", [{"knows": False}, {"accepts": False}], ids=str)
def test_send_in_vain(apprise: Apprise, change: dict[str, bool]) -> None:
    """A URL of no known kind and a receiver that refuses are both no delivery."""
    vars(apprise).update(change)
    assert not alerts.send("json://x", alerts.Message("title", "body", good_news=False))


def test_message_about_hundreds() -> None:
    """It names twenty, and how many more there are: chats refuse what is longer than a few KB."""
    many = {f"Expiring d{n:03}.example.com": f"d{n:03}.example.com ends" for n in range(300)}
    told = alerts.compose({}, many, "host")
    assert told
    assert told.body.splitlines()[19:] == [
        "d019.example.com ends", "and 280 more", "", "300 in all; see: certbot-qiniu status"]
    over = alerts.compose(many, {}, "host")
    assert over
    assert over.body.endswith("d019.example.com, and 280 more")


def test_memory_of_alerts(tmp_path: Path, channel: Channel) -> None:
    """The file is private, and names receivers by digits that give nothing of a URL away."""
    assert [] == alert(tmp_path / "new", [f"json://{SECRET}"], report((WWW, "Outdated")))
    path = tmp_path / "new" / alerts.FILE_NAME
    assert 0o600 == path.stat().st_mode & 0o777
    assert SECRET not in path.read_text()
    assert ["1 needs attention"] == channel.take()


@pytest.mark.parametrize("text", [
    "{", "[]", '{"version": 2}', '{"version": 1, "told": []}',
    '{"version": 1, "told": {"abc": 1}}', '{"version": 1, "unknown_since": "yesterday"}',
    '{"version": 1, "unknown_since": null}', f'{{"version": 1, "unknown_since": 1{"0" * 400}}}',
    "[" * 100_000], ids=[
        "cut off", "a list", "newer", "told is a list", "told a number", "a word", "null",
        "too large", "too deep"])
def test_damaged_memory_of_alerts(tmp_path: Path, channel: Channel, text: str) -> None:
    """A file that cannot be used is an error that names it, and nothing is sent twice."""
    (tmp_path / alerts.FILE_NAME).write_text(text)
    with pytest.raises(errors.QiniuError, match=alerts.FILE_NAME):
        alert(tmp_path, ["json://a"], report((WWW, "Outdated")))
    assert [] == channel.messages


def test_an_outage_that_ends_is_forgotten(tmp_path: Path, channel: Channel) -> None:
    """Days without an outage between two do not count as one of them."""
    for found in (report(unknown=True, at=1e9), report(at=1e9 + 60),
                  report(unknown=True, at=1e9 + 2 * DAY)):
        alert(tmp_path, ["json://a"], found)
    assert [] == channel.messages


def test_what_was_told_outlasts_an_outage(tmp_path: Path, channel: Channel) -> None:
    """What could not be observed meanwhile is not told as new afterwards."""
    for found in (report((WWW, "Outdated")), report(unknown=True), report((WWW, "Outdated"))):
        alert(tmp_path, ["json://a"], found)
    assert ["1 needs attention"] == channel.take()


def test_what_was_not_looked_at_is_not_right_again(tmp_path: Path, channel: Channel) -> None:
    """If the edge did not answer, no alert is taken back, and the others are not affected."""
    first = report((WWW, "EdgeDiffers"), (IMG, "EdgeDiffers"), (WWW, "Expiring")).concerns()
    unseen = {("EdgeDiffers", WWW)}
    for concerns, found in ((first, set()), ([], unseen), (first[:1], set()), ([], set())):
        assert [] == alerts.alert(tmp_path, ["json://a"], concerns, 1e9,
                                  was_seen=lambda *finding, found=found: finding not in found)
    _, again, over = [message.body for _, message in channel.messages]
    assert again.startswith(f"Right again: {IMG}\n")
    assert f"Right again: {WWW}" == over


def test_what_could_not_be_looked_at(tmp_path: Path, channel: Channel) -> None:
    """What was told of it stands, and is no news when it is seen again."""
    for found in (report((WWW, "Outdated"), (IMG, "Outdated")), replace(report(), blind=[WWW]),
                  report((WWW, "Outdated")), replace(report(), blind=None)):
        assert [] == alerts.alert(tmp_path, ["json://a"], found.concerns(), 1e9,
                                  was_seen=found.was_seen)
    _, again = [message.body for _, message in channel.messages]
    assert again.startswith(f"Right again: {IMG}\n")


def test_folder_of_the_memory(tmp_path: Path, channel: Channel) -> None:
    """It is made for us alone."""
    alert(tmp_path / "new", ["json://a"], report())
    assert 0o700 == (tmp_path / "new").stat().st_mode & 0o777
    assert [] == channel.messages


def test_receivers_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be named as a shell names it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "notify").touch(0o600)
    (tmp_path / "notify").write_text("json://a\n")
    assert ["json://a"] == alerts.receivers(["@~/notify"])


def test_receivers_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may have neither HOME nor an entry in passwd: that is said, and is no crash."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it is there
    with pytest.raises(errors.UsageError, match="Could not read ~/notify"):
        alerts.receivers(["@~/notify"])


def test_worse_is_not_right_again(tmp_path: Path, channel: Channel) -> None:
    """A subject that needs attention for another reason is reported only for that."""
    for found in (report((WWW, "Expiring")), report((WWW, "Expired"))):
        alert(tmp_path, ["json://a"], found)
    assert f"{WWW}: Expired in 9 days\n\n1 in all; see: certbot-qiniu status" == (
        channel.messages[-1][1].body)


def test_reminders(tmp_path: Path, channel: Channel) -> None:
    """A certificate that is about to end is reported again, more often towards its end."""
    told = []
    for left in (20, 15, 14, 13, 8, 7, 6, 4, 3, 2, 1, 0):
        ends = Finding(Level.ATTENTION, WWW, "Expiring", f"it ends in {left} days", left)
        assert [] == alerts.alert(tmp_path, ["json://a"], [ends], 1e9)
        told += [left] * bool(channel.take())
    assert [20, 14, 7, 3, 1, 0] == told
    silent = Finding(Level.UNKNOWN, "qiniu.ini", "Unreachable", "no answer")
    alerts.alert(tmp_path, ["json://a"], [replace(ends, days_left=3), silent], 1e9)
    assert ["1 needs attention"] == channel.take()  # it is still one, while others are not known
    alerts.alert(tmp_path, ["json://a"], [], 1e9)
    assert ["all is well again"] == channel.take()


def test_one_cause_is_told_once(tmp_path: Path, channel: Channel) -> None:
    """A sentence that several lineages share stands there once, with all of them."""
    same = [Finding(Level.ATTENTION, name, "Credentials", "/etc/qiniu.ini is missing")
            for name in ("a", "b")]
    alerts.alert(tmp_path, ["json://a"], same, 1e9)
    [(_, message)] = channel.messages
    assert message.body.startswith("/etc/qiniu.ini is missing (concerns a, b)\n\n2 in all")


def test_words_of_a_damaged_memory(tmp_path: Path) -> None:
    """What is lost without the file is said, and it is not what state.json would be."""
    (tmp_path / alerts.FILE_NAME).write_text("{")
    with pytest.raises(errors.StateError, match="away: every receiver is then told") as caught:
        alert(tmp_path, [], report())
    assert "rollback" not in str(caught.value)


# Heartbeats


class Answer:
    """In place of requests' answers."""

    def __init__(self, status: int) -> None:
        self.status_code = status

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        pass


BEAT = f"https://hc.example.com/{SECRET}"


@pytest.mark.parametrize(("answer", "problem"), [
    (200, ""), (204, ""), (302, "HTTP 302"), (404, "HTTP 404"), (500, "HTTP 500"),
    (requests.ConnectTimeout(BEAT), "ConnectTimeout"),
    (requests.exceptions.InvalidURL(BEAT), "InvalidURL")], ids=str)
def test_heartbeat(monkeypatch: pytest.MonkeyPatch, answer: int | Exception,
                   problem: str) -> None:
    """It is called once, without redirects; a failure is reported without its secret."""
    calls = []

    def get(_session: object, url: str, **options: object) -> Answer:
        calls.append((url, options["timeout"], options["allow_redirects"]))
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)

    monkeypatch.setattr(requests.Session, "get", get)
    expected = [f"the heartbeat to https://… failed: {problem}"] if problem else []
    assert expected == alerts.heartbeat([BEAT])
    assert [(BEAT, 10, False)] == calls


@pytest.mark.parametrize("url", [f"http://hc.example.com/{SECRET}", f"HTTP://{SECRET}", SECRET])
def test_heartbeat_that_anybody_could_read(url: str) -> None:
    """Only https will do, and the refusal does not show the address."""
    alerts.check_heartbeats([BEAT])
    with pytest.raises(errors.UsageError, match="https://") as caught:
        alerts.check_heartbeats([url])
    assert SECRET not in str(caught.value)
