"""The three levels in which every command reports.

A level is ``ok``, ``attention`` (somebody must act) or ``unknown``. Each finding has one, with a
stable word for the reason and a sentence for humans.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from certbot_qiniu.failures import first_of
from certbot_qiniu.model import DAY


class Level(Enum):
    """A level, from good to bad."""

    OK = "ok"
    ATTENTION = "attention"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """Something about a subject: a lineage, a credentials file, the renewal as a whole.

    :ivar days_left: whole days until the end that this is about; None if it is about none.
    """

    level: Level
    subject: str
    reason: str
    text: str
    days_left: int | None = None


def with_all_concerned(findings: Collection[Finding]) -> list[Finding]:
    """Merge findings with the same text into one that names all their subjects."""
    concerned: dict[str, dict[str, None]] = {}
    for item in findings:
        concerned.setdefault(item.text, {})[item.subject] = None
    # Made once for each text: an outage may concern thousands of domains.
    texts = {text: _concerning(text, subjects) for text, subjects in concerned.items()}
    return [replace(item, text=texts[item.text]) for item in findings]


def _concerning(text: str, subjects: Collection[str]) -> str:
    unnamed = [subject for subject in subjects if subject not in text]
    if len(subjects) < 2 or not unnamed:
        return text
    return f"{text.rstrip('.')} (concerns {first_of(unnamed)})"


def worst(levels: Iterable[Level]) -> Level:
    """Return the level that decides: a known fault weighs more than an unknown state."""
    found = set(levels)
    return next((level for level in (Level.ATTENTION, Level.UNKNOWN) if level in found), Level.OK)


def exit_status(level: Level) -> int:
    """Return 0 for fine, 1 for attention, 2 for unknown."""
    return {Level.OK: 0, Level.ATTENTION: 1, Level.UNKNOWN: 2}[level]


def days_left(not_after: float, now: float) -> int:
    """Return the whole days until then; negative after it."""
    return int((not_after - now) // DAY)


def utc(seconds: float) -> str:
    """Format a time as ISO 8601 in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
