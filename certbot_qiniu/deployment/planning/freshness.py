"""Decide whether a domain is read again, or an earlier reading is still true."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from certbot_qiniu.deployment.state import Managed, Record, Upload
from certbot_qiniu.model import DAY, Domain

SPREAD = 6
"""So many runs read all domains, even if no list shows a change."""

FEW = 10
"""A run reads so many domains in any case: if there are no more, each is read once a day."""

FEWEST = 4
"""The same for a command that changes nothing, and so stores nothing of what it reads."""

LONGEST_SECONDS = 7 * DAY
"""The longest time that a reading is believed, however seldom this runs."""


def needs_reading(entry: Domain, record: Record | None, now: float, *, is_its_turn: bool = False,
                  is_outdated: bool = False) -> bool:
    """Return whether a domain must be read: the account's list does not show what it serves.

    If its ``modifyAt`` and state are as at the last detailed read, nobody has changed it. It is
    read now and then anyway, in case Qiniu does not move that field for every change.

    :param entry: the domain as the list has it.
    :param now: seconds since the epoch.
    :param is_its_turn: whether it is among the :func:`longest_unread`.
    :param is_outdated: whether it is about to get a new certificate: a renewal does not pay for
        that reading, which falls to the runs before and after it.
    """
    # Make sure that a domain is read that was never read, or that we have changed since.
    if record is None or record.seen is None or record.sent:
        return True
    seen = record.seen
    # Make sure that a changed domain is read; without a time of change it may be one.
    if not entry.modified or (entry.modified, entry.state, entry.protocol) != (
            seen.modified, seen.state, seen.protocol):
        return True
    # Make sure that a change which moves no time of change is found, too.
    age = now - record.seen_at
    if is_outdated:
        return not 0 <= age < LONGEST_SECONDS + DAY
    return is_its_turn or not 0 <= age < LONGEST_SECONDS


def longest_unread(names: Collection[str], records: Mapping[str, Record], now: float,
                   *, is_noted: bool = True) -> frozenset[str]:
    """Choose those of *names* that a run reads although no list shows a change.

    The sixth that is longest unread, of those that were not read for a day: with two runs a day
    every domain is read within four days, and with few domains every day. Any run reads
    a domain that was not read for :data:`LONGEST_SECONDS`; it takes no turn from the others.

    :param is_noted: whether the result is stored; if not, just the first few are read.
    """
    waiting = sorted((record.seen_at, name) for name in names
                     if (record := records.get(name)) and record.seen
                     and 0 <= now - record.seen_at < LONGEST_SECONDS)
    count = max(FEW, -(-len(waiting) // SPREAD)) if is_noted else FEWEST
    return frozenset(name for at, name in waiting[:count] if now - at >= DAY)


def is_outdated(record: Record | None, wanted: Managed | None,
                uploads: Mapping[str, Upload]) -> bool:
    """Return whether a domain was last seen to serve one of ours that is not the wanted one."""
    upload = uploads.get(record.seen.cert_id) if record and record.seen else None
    return bool(wanted and upload and upload.fingerprint != wanted.binding.fingerprint)
