"""Whether what was read of a domain is still true."""

from __future__ import annotations

from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import (
    DAY,
    Domain,
)


def needs_reading(entry: Domain, record: Record | None, now: float, *,
                  trusted_seconds: float = DAY) -> bool:
    """Whether the list alone does not tell what *entry* serves.

    Its ``modifyAt`` and state are as at the last detailed read: then nobody has changed it. Once
    a day it is read all the same, should Qiniu not move that field for every change.

    :param trusted_seconds: how long what was read is believed.
    """
    if record is None or record.seen is None or record.sent:
        return True
    return (record.seen.modified != entry.modified or record.seen.state != entry.state
            or record.seen.protocol != entry.protocol or not entry.modified
            or not 0 <= now - record.seen_at < trusted_seconds)
