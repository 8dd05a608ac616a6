"""What a user is asked, and that a timer never is."""

from __future__ import annotations

import argparse
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
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def directory_select(self, message: str, **options: Any) -> tuple[str, Any]:
        """As certbot's."""
        self.asked.append((message, options))
        return self.answer

    def checklist(self, message: str, tags: list[str], **options: Any) -> tuple[str, Any]:
        """As certbot's, which wants a list."""
        assert isinstance(tags, list)
        self.asked.append((message, {"tags": tags, **options}))
        return self.answer


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> Display:
    """A user who sits before certbot."""
    found = Display()
    monkeypatch.setattr(display, "directory_select", found.directory_select)
    monkeypatch.setattr(display, "checklist", found.checklist)
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
    ((display.OK, ["b.example.com"]), ["b.example.com"]), ((display.OK, []), []),
    ((display.CANCEL, ["b.example.com"]), []), ((display.CANCEL, []), [])],
    ids=["one", "none", "gives up late", "gives up"])
def test_domains_to_switch(user: Display, answer: tuple[str, list[str]],
                           expected: list[str]) -> None:
    """Only what is chosen is switched: it costs money, so giving up means none."""
    user.answer = answer
    assert expected == prompts.to_switch(config(), NAMES)


def test_nothing_is_chosen_beforehand(user: Display) -> None:
    """All of them are offered, none is preselected, and it is said that HTTPS is billed."""
    prompts.to_switch(config(), NAMES)
    [(message, options)] = user.asked
    assert "bills" in message
    assert {"tags": list(NAMES), "default": [], "cli_flag": "--qiniu-domains",
            "force_interactive": True} == options


@pytest.mark.parametrize(("names", "timer"), [(NAMES, True), ((), False), ((), True)],
                         ids=["a timer", "nothing to ask", "both"])
def test_nobody_is_asked_which_to_switch(user: Display, names: tuple[str, ...], *,
                                         timer: bool) -> None:
    """Without a user, or without a question, nothing is switched."""
    user.answer = (display.OK, list(NAMES))
    assert [] == prompts.to_switch(config(timer=timer), names)
    assert [] == user.asked
