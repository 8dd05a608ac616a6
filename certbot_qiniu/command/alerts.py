"""Alerts, through apprise: if something begins to need attention, and once it is right again.

``<config_dir>/qiniu/alerts.json`` has what was sent to each receiver last, so that a change is sent
once. The receivers' URLs hold tokens and passwords: they are neither written there nor ever shown.

A heartbeat is the opposite: an address that is called while all is well. Its owner is alarmed if
the calls stop, for any reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import socket
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.command.survey.health import Finding, Level, with_all_concerned
from certbot_qiniu.environment import installation
from certbot_qiniu.failures import SHOWN
from certbot_qiniu.files import check_owner, decoding, read_json, write_json
from certbot_qiniu.model import DAY

FILE_NAME = "alerts.json"
UNKNOWN_SECONDS = DAY
"""One run with an unknown result is no reason for an alert; a day of them is."""

REMINDER_DAYS = (0, 1, 3, 7, 14)
"""So many days before its end a certificate is reported again."""

LOST = "every receiver is then told once more what needs attention"
"""The result without ``alerts.json``."""

HEARTBEAT_SECONDS = 10
SEND_SECONDS = 30
"""For each receiver: apprise, too, has a timeout for a single read, and none for the whole."""


@dataclass(frozen=True)
class Message:
    """The message for a receiver."""

    title: str
    body: str
    good_news: bool


def receivers(values: Iterable[str], config_dir: Path | None = None) -> list[str]:
    """Return the URLs that *values* name: each a URL, or ``@FILE`` with one URL a line.

    :param config_dir: certbot's, see :func:`~certbot_qiniu.files.check_owner`.
    :raises errors.UsageError: if such a file cannot be read, or is open to others.
    """
    urls: list[str] = []
    for value in values:
        if not value.startswith("@"):
            urls.append(value)
            continue
        path = Path(os.path.expanduser(value[1:]))
        try:
            check_owner(path, path.stat(), "The file of receivers", config_dir)
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise errors.UsageError(f"Could not read {path}: {cause}") from error
        urls += [text for line in lines if (text := line.strip()) and not text.startswith("#")]
    return list(dict.fromkeys(urls))


def compose(before: Mapping[str, str], now: Mapping[str, str], host: str,
            bygone: Collection[str] = ()) -> Message | None:
    """Make a message of the change from *before* to *now*, both key -> text; None without one.

    :param bygone: subjects that need no attention any more, but are not right.
    """
    fresh = dict.fromkeys(text for key, text in now.items() if key not in before)
    # A subject that now needs attention for another reason is not right again.
    solved = _subjects(before) - _subjects(now) - set(bygone)
    if not fresh and not solved:
        return None
    lines = _shown(fresh)
    if solved:
        lines += ["", f"Right again: {', '.join(_shown(sorted(solved)))}"]
    if not now:
        return Message(f"certbot-qiniu on {host}: all is well again", "\n".join(lines).strip(),
                       good_news=True)
    lines += ["", f"{len(now)} in all; see: certbot-qiniu status"]
    return Message(f"certbot-qiniu on {host}: {len(now)} need{'s' * (len(now) == 1)} attention",
                   "\n".join(lines).strip(), good_news=False)


def _shown(items: Collection[str]) -> list[str]:
    """Return the first of *items*, and how many more there are: a chat takes a few kilobytes."""
    more = len(items) - SHOWN
    return [*itertools.islice(items, SHOWN), *([f"and {more} more"] if more > 0 else [])]


def _subjects(keys: Iterable[str]) -> set[str]:
    return {_reason_and_subject(key)[1] for key in keys}


def _reason_and_subject(key: str) -> tuple[str, str]:
    reason, _, subject = key.partition(" ")
    return reason.partition("@")[0], subject


def alert(folder: Path, urls: Iterable[str], concerns: Sequence[Finding],
          checked_at: float, bygone: Collection[str] = (),
          was_seen: Callable[[str, str], bool] = lambda reason, subject: True) -> list[str]:
    """Send every receiver what is new to it.

    :param folder: where ``alerts.json`` is kept.
    :param concerns: all findings that are not ok.
    :param bygone: see :func:`compose`.
    :param was_seen: whether a finding, by reason and subject, would have been found again.
    :returns: what went wrong, without any secret.
    :raises errors.QiniuError: if apprise is missing or ``alerts.json`` cannot be used.
    """
    path = folder / FILE_NAME
    memory = read_json(path, LOST) if path.exists() else {}
    with decoding(path, LOST):
        told = {digits: dict(known) for digits, known in memory.get("told", {}).items()}
        unknown_since = float(memory.get("unknown_since", 0))
    doubt = any(item.level is Level.UNKNOWN for item in concerns)
    since = (unknown_since or checked_at) if doubt else 0
    now = _attention(concerns, checked_at - since if since else 0)
    found = set(map(_reason_and_subject, now))
    problems = []
    for url in urls:
        # A few digits tell receivers apart and reveal nothing of a URL.
        digits = hashlib.sha256(url.encode()).hexdigest()[:8]
        before = told.get(digits, {})
        # A subject that could not be checked may still be wrong.
        kept = {key: text for key, text in before.items()
                if (one := _reason_and_subject(key)) not in found
                and (doubt or not was_seen(*one))}
        current = {**kept, **now}
        message = compose(before, current, socket.gethostname(), bygone)
        if message and not send(url, message):
            problems.append(f"an alert could not be delivered to {redacted(url)}")
            continue
        told[digits] = current
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(path, {"told": told, "unknown_since": since})
    return problems


def _attention(concerns: Iterable[Finding], unknown_seconds: float) -> dict[str, str]:
    """Return a key -> text for all that needs attention; the key stays the same while it does."""
    found = [item for item in concerns if item.level is Level.ATTENTION]
    if unknown_seconds >= UNKNOWN_SECONDS:
        found.append(Finding(Level.ATTENTION, "status", "Unknown",
                             "the status is not known for more than a day"))
    return {_key(item): item.text for item in with_all_concerned(found)}


def _key(item: Finding) -> str:
    """Return a key for *item*, which changes when it is to be sent again."""
    left = item.days_left
    stage = next((f"@{days}" for days in REMINDER_DAYS if left is not None and left <= days), "")
    return f"{item.reason}{stage} {item.subject}"


def send(url: str, message: Message) -> bool:
    """Send a message; false if it was not accepted, or apprise does not know the kind of *url*.

    :raises errors.UsageError: if apprise is not installed.
    """
    try:
        import apprise
    except ImportError as error:
        raise errors.UsageError(f"Alerts need apprise. Run: {installation('apprise')}") from error
    accepted: list[bool] = []
    with _silence():
        channel = apprise.Apprise(asset=apprise.AppriseAsset(app_id="certbot-qiniu"))
        kind = apprise.NotifyType.SUCCESS if message.good_news else apprise.NotifyType.WARNING

        def deliver() -> None:
            with contextlib.suppress(Exception):  # its text may have the URL, too
                accepted.append(bool(
                    channel.add(url)
                    # It quotes Qiniu: in a mail, which is HTML, that must stay text.
                    and channel.notify(title=message.title, body=message.body, notify_type=kind,
                                       body_format=apprise.NotifyFormat.TEXT)))

        sending = threading.Thread(target=deliver, daemon=True)
        sending.start()
        sending.join(SEND_SECONDS)
    if sending.is_alive():
        logging.disable(logging.CRITICAL)  # for good: it may quote its URL at any time
        _given_up.append(sending)
    return accepted == [True]


_given_up: list[threading.Thread] = []


def is_held_up() -> bool:
    """Return whether a message that was given up is still being sent.

    Python would wait for that at the end: apprise sends it in a thread of its own.
    """
    return any(sending.is_alive() for sending in _given_up)


def check_heartbeats(urls: Iterable[str]) -> None:
    """Refuse heartbeats that others could read on the way.

    :raises errors.UsageError: if there is one.
    """
    for url in urls:
        if not url.startswith("https://"):
            raise errors.UsageError(f"--heartbeat takes addresses that begin with https://, not "
                                    f"{redacted(url)}")


def heartbeat(urls: Iterable[str]) -> list[str]:
    """Call each address once.

    :returns: what went wrong, without any secret.
    """
    from certbot_qiniu import deadline

    problems = []
    for url in urls:
        try:
            with _silence():
                status = deadline.head(url, HEARTBEAT_SECONDS).status_code
            failure = "" if 200 <= status < 300 else f"HTTP {status}"
        except (OSError, ValueError) as error:  # as requests raises; their text has the URL
            failure = type(error).__name__
        if failure:
            problems.append(f"the heartbeat to {redacted(url)} failed: {failure}")
    return problems


def redacted(url: str) -> str:
    """Return *url* as it may be shown: for many services all but the scheme is a token."""
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://…" if separator and scheme.isalnum() else "a receiver that is no URL"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep apprise and its libraries from logging, which would quote URLs.

    Hide their deprecation warnings, too.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
