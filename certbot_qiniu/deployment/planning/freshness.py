"""Whether a domain is read again, or what was read of it is still true."""

from __future__ import annotations

from collections.abc import Mapping

from certbot_qiniu.deployment.state import Managed, Record, Upload
from certbot_qiniu.model import DAY, Domain


def needs_reading(entry: Domain, record: Record | None, now: float, *,
                  wanted: Managed | None = None,
                  uploads: Mapping[str, Upload] | None = None) -> bool:
    """Tell whether the account's list alone does not say what a domain serves.

    Its ``modifyAt`` and state are as at the last detailed read: then nobody has changed it. Once
    a day it is read all the same, should Qiniu not move that field for every change.

    :param entry: the domain as the list has it.
    :param now: seconds since the epoch.
    :param wanted: what the domain should serve, if we manage it.
    :param uploads: Qiniu's id -> certificate of ours.
    """
    if record is None or record.seen is None or record.sent:
        return True
    trusted_seconds = _trusted_seconds(record.seen, wanted, uploads or {})
    return (record.seen.modified != entry.modified or record.seen.state != entry.state
            or record.seen.protocol != entry.protocol or not entry.modified
            or not 0 <= now - record.seen_at < trusted_seconds)


def _trusted_seconds(seen: Domain, wanted: Managed | None,
                     uploads: Mapping[str, Upload]) -> float:
    """How long *seen* is believed: a day, and two where a new certificate is about to be sent.

    Otherwise the day's reading would fall into every other renewal and double its calls. An
    ordinary run, any on the day before, has done it then.
    """
    upload = uploads.get(seen.cert_id)
    is_outdated = wanted and upload and upload.fingerprint != wanted.binding.fingerprint
    return 2 * DAY if is_outdated else DAY
