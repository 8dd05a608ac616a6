"""Whether a domain is read again, or what was read of it is still true."""

from __future__ import annotations

from collections.abc import Mapping

from certbot_qiniu.deployment.state import Managed, Record, Upload
from certbot_qiniu.model import DAY, Domain


def needs_reading(entry: Domain, record: Record | None, now: float, *,
                  wanted: Managed | None = None,
                  uploads: Mapping[str, Upload] | None = None) -> bool:
    """Tell whether the account's list alone does not say what a domain serves.

    Where its ``modifyAt`` and state are as at the last detailed read, nobody has changed it. Once
    a day it is read all the same, should Qiniu not move that field for every change.

    :param entry: the domain as the list has it.
    :param now: seconds since the epoch.
    :param wanted: what the domain should serve, if we manage it.
    :param uploads: Qiniu's id -> certificate of ours.
    """
    # Make sure that what was never read, and what we have changed since, is read.
    if record is None or record.seen is None or record.sent:
        return True
    seen = record.seen
    # Make sure that what somebody has changed is read; without a time of change nobody can tell.
    if not entry.modified or (entry.modified, entry.state, entry.protocol) != (
            seen.modified, seen.state, seen.protocol):
        return True
    # Make sure that a change which moves no time of change is found all the same.
    return not 0 <= now - record.seen_at < _trusted_seconds(seen, wanted, uploads or {})


def _trusted_seconds(seen: Domain, wanted: Managed | None,
                     uploads: Mapping[str, Upload]) -> float:
    """How long *seen* is believed: a day, and two where a new certificate is about to be sent.

    Otherwise the day's reading would fall into every other renewal and double its calls. An
    ordinary run, any on the day before, has done it then.
    """
    upload = uploads.get(seen.cert_id)
    is_outdated = wanted and upload and upload.fingerprint != wanted.binding.fingerprint
    return 2 * DAY if is_outdated else DAY
