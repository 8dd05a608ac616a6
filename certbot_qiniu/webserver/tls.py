"""What a server shows over TLS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Leaf:
    """The leaf that a server showed.

    :ivar not_after: seconds since the epoch.
    """

    fingerprint: str
    not_after: int
