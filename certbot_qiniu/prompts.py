"""What is asked of a user who sits before certbot; a timer is never asked."""

from __future__ import annotations

import sys

from certbot.configuration import NamespaceConfig
from certbot.display import util as display

from certbot_qiniu import errors


def credentials_path(config: NamespaceConfig) -> str:
    """Ask for the credentials file, as certbot's DNS plugins do.

    :raises errors.UsageError: when nobody can be asked, or gives up.
    """
    needed = ("Qiniu needs credentials: an INI file, mode 0600, with qiniu_access_key and "
              "qiniu_secret_key. Name it with --qiniu-credentials PATH")
    if config.noninteractive_mode:
        raise errors.UsageError(needed)
    code, path = display.directory_select(
        "Input the path to your Qiniu credentials INI file", force_interactive=True)
    if code != display.OK or not path:
        raise errors.UsageError(needed)
    return path


def can_ask(config: NamespaceConfig) -> bool:
    """Whether somebody sits there."""
    return not config.noninteractive_mode and sys.stdin.isatty()


def to_switch(config: NamespaceConfig, names: tuple[str, ...]) -> list[str]:
    """Ask which domains that speak http alone to switch to HTTPS, which costs money."""
    if not names or config.noninteractive_mode:
        return []
    code, answer = display.checklist(
        "These domains speak http only and are covered by a wildcard. Which of them shall be "
        "switched to HTTPS (Qiniu bills HTTPS requests)?", list(names), default=[],
        cli_flag="--qiniu-domains", force_interactive=True)
    return answer if code == display.OK else []
