"""The questions to a user; a timer is never asked."""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass, field
from typing import Any

import pytest
from certbot.configuration import NamespaceConfig
from certbot.display import util as display

from certbot_qiniu import errors, prompts

NAMES = ("a.example.com", "b.example.com")


@dataclass
class Display:
    """In place of certbot's: answers, and remembers what it was asked."""

    answer: tuple[str, Any] = (display.OK, "")
    answers: list[tuple[str, str]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def directory_select(self, message: str, **options: Any) -> tuple[str, Any]:
        """As certbot's."""
        self.asked.append((message, options))
        return self.answer

    def input_text(self, message: str, **options: Any) -> tuple[str, str]:
        """As certbot's, at the end of a closed input, too."""
        self.asked.append((message, options))
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> Display:
    """A user who sits before certbot."""
    found = Display()
    monkeypatch.setattr(display, "directory_select", found.directory_select)
    monkeypatch.setattr(display, "input_text", found.input_text)
    monkeypatch.setattr(display, "notify", found.told.append)
    return found


def config(*, timer: bool = False) -> NamespaceConfig:
    """certbot's configuration, for a user or a timer."""
    return NamespaceConfig(argparse.Namespace(
        config_dir="/etc", work_dir="/work", logs_dir="/logs", strict_permissions=False,
        http01_port=80, https_port=443, domains=[], noninteractive_mode=timer))


def test_credentials(user: Display) -> None:
    """The path that was entered is taken as it is, and completed while it is typed."""
    user.answer = (display.OK, "/srv/qiniu.ini")
    assert "/srv/qiniu.ini" == prompts.credentials_path(config())
    [(message, options)] = user.asked
    assert "Qiniu credentials INI file" in message
    assert {"force_interactive": True} == options


@pytest.mark.parametrize("answer", [
    (display.CANCEL, "/srv/qiniu.ini"), (display.CANCEL, ""), (display.OK, "")],
    ids=["gives up late", "gives up", "enters nothing"])
def test_no_credentials(user: Display, answer: tuple[str, str]) -> None:
    """Without a path nothing can be done, and the error says what is needed and how to name it."""
    user.answer = answer
    with pytest.raises(errors.UsageError) as caught:
        prompts.credentials_path(config())
    for part in ("qiniu_access_key", "qiniu_secret_key", "0600", "--qiniu-credentials PATH"):
        assert part in str(caught.value)


def test_a_timer_is_not_asked_for_credentials(user: Display) -> None:
    """It gets the error at once: nobody is there to answer."""
    user.answer = (display.OK, "/srv/qiniu.ini")
    with pytest.raises(errors.UsageError, match="--qiniu-credentials PATH"):
        prompts.credentials_path(config(timer=True))
    assert [] == user.asked


@pytest.mark.parametrize(("answer", "expected"), [
    ("2", ["b.example.com"]), ("1, 2", list(NAMES)), ("2 1", list(NAMES)), (" ALL ", list(NAMES)),
    ("a.example.com", ["a.example.com"]), ("", []), ("  ", []), (",", []),
    ("none", []), ("No", [])])
def test_domains_to_switch(user: Display, answer: str, expected: list[str]) -> None:
    """Only what is named is switched, as it costs money: a blank answer means none."""
    user.answers = [(display.OK, answer)]
    assert expected == prompts.to_switch(config(), NAMES)


def test_giving_up_switches_nothing(user: Display) -> None:
    """Neither does somebody who cancels, or is not there at all."""
    user.answers = [(display.CANCEL, "-1")]
    assert [] == prompts.to_switch(config(), NAMES)
    user.answers = []
    assert [] == prompts.to_switch(config(), NAMES)


@pytest.mark.parametrize("answer", ["3", "0", "1-2", "1, x", "all 1", "yes"])
def test_an_answer_that_is_not_understood(user: Display, answer: str) -> None:
    """It is asked again, and nothing is guessed."""
    user.answers = [(display.OK, answer), (display.OK, "1")]
    assert ["a.example.com"] == prompts.to_switch(config(), NAMES)
    assert [f"{answer!r} does not say which."] == user.told


def test_question_which_to_switch(user: Display) -> None:
    """All of them are offered, and it is said that HTTPS is billed and how to take none."""
    user.answers = [(display.OK, "")]
    prompts.to_switch(config(), NAMES)
    [(message, options)] = user.asked
    for words in ("bills", "1: a.example.com\n2: b.example.com\n", "blank for none"):
        assert words in message
    assert {"cli_flag": "--qiniu-domains", "force_interactive": True} == options


@pytest.mark.parametrize(("names", "timer"), [(NAMES, True), ((), False), ((), True)],
                         ids=["a timer", "nothing to ask", "both"])
def test_nobody_is_asked_which_to_switch(user: Display, names: tuple[str, ...], *,
                                         timer: bool) -> None:
    """Without a user, or without a question, nothing is switched."""
    user.answers = [(display.OK, "all")]
    assert [] == prompts.to_switch(config(timer=timer), names)
    assert [] == user.asked


def test_text_that_a_terminal_cannot_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that was issued is deployed all the same: characters are replaced."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="gbk", write_through=True)

    def notify(text: str) -> None:
        shown.write(text)

    monkeypatch.setattr(display, "notify", notify)
    for text in ("七牛", "ø 七牛"):
        prompts.tell(text)
    assert "七牛".encode("gbk") + b"? ??" == shown.buffer.getvalue()  # type: ignore[attr-defined]
