"""Show text to the user at a terminal, and ask; a timer is never asked."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from certbot.configuration import NamespaceConfig
from certbot.display import util as display

from certbot_qiniu import errors


def tell(text: str) -> None:
    """Show *text*, with ``?`` for what the user's terminal has no characters for.

    certbot's display would raise, and a certificate that was just issued not be deployed.
    """
    try:
        display.notify(text)
    except UnicodeEncodeError:
        display.notify(text.encode("ascii", "replace").decode())


def credentials_path(config: NamespaceConfig) -> str:
    """Ask for the credentials file, as certbot's DNS plugins do.

    :raises errors.UsageError: if nobody can be asked, or the user gives up.
    """
    needed = ("Qiniu needs credentials: an INI file, mode 0600, with qiniu_access_key and "
              "qiniu_secret_key. Name it with --qiniu-credentials PATH")
    if config.noninteractive_mode:
        raise errors.UsageError(needed)
    code, path = display.directory_select(
        "Input the path to your Qiniu credentials INI file", force_interactive=True)
    if code != display.OK or not path:
        raise errors.UsageError(needed)
    return os.path.abspath(os.path.expanduser(path))


def can_ask(config: NamespaceConfig) -> bool:
    """Return whether somebody sits at a terminal."""
    return not config.noninteractive_mode and sys.stdin.isatty()


def to_switch(config: NamespaceConfig, names: tuple[str, ...]) -> list[str]:
    """Ask which domains that speak only http to switch to HTTPS, which costs money.

    certbot's own checklist takes no answer for all of them, so it is not asked here.
    """
    if not names or config.noninteractive_mode:
        return []
    question = "\n".join([
        "These domains speak http only and are covered by a wildcard. Which of them shall be "
        "switched to HTTPS (Qiniu bills HTTPS requests)?",
        *(f"{number}: {name}" for number, name in enumerate(names, 1)),
        "Enter their numbers separated by commas or spaces, or all; leave it blank for none"])
    with contextlib.suppress(EOFError):  # nobody is there after all
        while True:
            code, answer = display.input_text(question, cli_flag="--qiniu-domains",
                                              force_interactive=True)
            chosen = _chosen(answer, names) if code == display.OK else []
            if chosen is not None:
                return chosen
            tell(f"{answer!r} does not say which.")
    return []


def _chosen(answer: str, names: Sequence[str]) -> list[str] | None:
    """Return the names that *answer* selects, None if it cannot be understood."""
    words = answer.replace(",", " ").lower().split()
    if words in (["all"], ["none"], ["no"]):
        return list(names) if words == ["all"] else []
    numbers = {str(number): name for number, name in enumerate(names, 1)}
    if not set(words) <= {*numbers, *names}:
        return None
    return [name for number, name in numbers.items() if {number, name} & set(words)]
