"""Decide how long a rollback keeps the newest certificate back: no older one may expire.

Under the hold a domain serves an older certificate of ours, or what it served before certbot came.
Ours can give way to the newest by itself; only a user may replace one that somebody else bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from certbot_qiniu.model import DAY

LEAST_DAYS = 7
"""No domain goes back to a certificate of ours with less time left, and a hold on one ends.

For short-lived ones it is a part of their lifetime: a quarter, and an eighth.
"""


class Outlook(Enum):
    """The outlook of a hold, from good to bad."""

    FINE = 0
    WARN = 1
    FAIL = 2  # a human must look
    ENDS = 3  # the newest certificate is deployed


@dataclass(frozen=True)
class Served:
    """The certificate that a domain serves under a hold; http serves nothing that could end.

    :ivar is_ours: whether it is an older certificate of the lineage that is held.
    :ivar end: of what it serves (epoch seconds); 0 if unknown.
    :ivar lifetime: of that, in seconds; 0 likewise.
    """

    name: str
    is_ours: bool
    end: float = 0.0
    lifetime: float = 0.0

    @property
    def gives_way(self) -> float:
        """The time at which its hold ends by itself; 0 for never."""
        return self.end - self.within(LEAST_DAYS, 8) if self.is_ours and self.end else 0.0

    def within(self, days: float, part: int) -> float:
        """Return the time *days* before its end, or less if it does not live for long."""
        return min(days * DAY, self.lifetime / part) if self.lifetime else days * DAY


def outlook(served: Served, newest_end: float, now: float) -> Outlook:
    """Judge the hold of one domain.

    :param newest_end: of the certificate that is held back.
    """
    if not served.end:
        return Outlook.WARN
    left = served.end - now
    if served.is_ours:
        if left < served.within(LEAST_DAYS, 8) and newest_end > max(now, served.end):
            return Outlook.ENDS
        if left < served.within(14, 4):
            return Outlook.FAIL
    elif left < LEAST_DAYS * DAY:
        return Outlook.FAIL
    return Outlook.WARN if left < served.within(21, 3) else Outlook.FINE


def ends_too_soon(one: Served, now: float) -> bool:
    """Return whether a rollback to what is served here would leave hardly any time.

    :param now: seconds since the epoch.
    """
    return one.end - now < one.within(LEAST_DAYS, 4)
