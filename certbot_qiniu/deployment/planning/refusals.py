"""Decide how long to believe a refusal that cannot pass by itself."""

from __future__ import annotations

from certbot_qiniu.deployment.state import Refusal
from certbot_qiniu.model import DAY

FINAL_CODES = frozenset({400201, 400319, 400322, 400323, 400324, 400329, 400338, 400348, 404906,
                         404907})
"""Codes for a certificate that Qiniu will never take: too old, its key, its chain."""

TOO_OLD_CODE = 400322

BELIEVED_SECONDS = 7 * DAY
URGENT_DAYS = 14
URGENT_SECONDS = DAY - 3600
"""A day, with room for a timer that comes a little earlier each time."""


def is_believed(refusal: Refusal | None, now_refused: Refusal, served_until: float) -> bool:
    """Return whether a certificate would only be refused again, so that its key is not sent.

    :param refusal: what is remembered.
    :param now_refused: the same as it would be remembered now: certificate, account, version, time.
    :param served_until: when the first certificate ends of those that the waiting domains serve; 0
        if they serve nothing, or if unknown.
    """
    if refusal is None or (refusal.fingerprint, refusal.account, refusal.version) != (
            now_refused.fingerprint, now_refused.account, now_refused.version):
        return False
    now = now_refused.at
    urgent = bool(served_until) and served_until - now < URGENT_DAYS * DAY
    return 0 <= now - refusal.at < (URGENT_SECONDS if urgent else BELIEVED_SECONDS)
