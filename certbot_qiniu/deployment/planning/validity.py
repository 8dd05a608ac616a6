"""Decide between our certificate and a *foreign* one that a domain serves already.

One table of rules for all who ask: which domains are taken over (``selection``), and what a managed
domain needs (``decision``). The first rule that applies decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from certbot_qiniu.model import (
    DAY,
    FINGERPRINT_DIGITS,
    RemoteCertificate,
    parse_certificate_name,
)

LEFT_UNTIL_DAYS = 30
"""So long before its end a certificate over ours is replaced: its owner may have forgotten it."""


class Claim(Enum):
    """Who has a domain, and why: stable words, apart from the words for humans."""

    OURS = "Ours"  # ours goes there
    EXPIRED = "Expired"  # ours has ended: it goes nowhere
    OTHER_INSTALLATION = "OtherInstallation"  # what another installation put there stays
    FOREIGN = "Foreign"  # not managed, and there is a better one than ours already
    REPLACED = "Replaced"  # managed, and somebody has put a better one over ours


@dataclass(frozen=True)
class Contest:
    """Our newest certificate, and what the domain serves that it is for.

    :ivar now: seconds since the epoch.
    :ivar ends: the end of ours; 0 if unknown.
    :ivar fingerprint: ours; it decides between two installations' of the same second.
    :ivar foreign: what the domain serves, None if that is ours or nothing. Its end is 0 if
        unknown.
    :ivar managed: whether the domain is ours already.
    :ivar listed: whether the user named it in ``--qiniu-domains``.
    :ivar take_over: whether other installations' certificates may be replaced.
    :ivar asked: whether just this foreign certificate is to be replaced: it was there when the
        domain was taken over, or the user took the domain back.
    """

    now: float
    ends: float = 0.0
    fingerprint: str = ""
    foreign: RemoteCertificate | None = None
    managed: bool = False
    listed: bool = False
    take_over: bool = False
    asked: bool = False


def claim(it: Contest) -> Claim:
    """Decide whose certificate a domain serves from now on."""
    # Make sure that no visitor meets an expired certificate that we have sent.
    if 0 < it.ends <= it.now:
        return Claim.EXPIRED
    foreign = it.foreign
    if foreign is None:
        return Claim.OURS
    if _is_other_installations(foreign, it.now):
        # Make sure that two installations do not take a domain from each other in turn.
        is_theirs = _is_newer(foreign, it) and not it.take_over
        return Claim.OTHER_INSTALLATION if is_theirs else Claim.OURS
    if it.managed:
        # Make sure that a certificate that somebody put there on purpose stays while that is safe.
        is_safe = foreign.not_after - it.now > LEFT_UNTIL_DAYS * DAY
        return (Claim.REPLACED if _ends_later(foreign, it) and is_safe and not it.asked
                else Claim.OURS)
    # Make sure that nobody loses a certificate that was paid for, or lasts longer than ours.
    if not it.listed and (_is_bought(foreign, it.now) or _ends_later(foreign, it)):
        return Claim.FOREIGN
    return Claim.OURS


def _is_other_installations(foreign: RemoteCertificate, now: float) -> bool:
    return parse_certificate_name(foreign.name) is not None and foreign.not_after > now


def _is_newer(theirs: RemoteCertificate, it: Contest) -> bool:
    """Return whether another installation's certificate takes precedence over ours.

    If two end in the same second, both installations must decide for the same one, or each would
    take the domain back from the other for ever.
    """
    _, digits = parse_certificate_name(theirs.name) or ("", "")
    return (theirs.not_after, digits) > (it.ends, it.fingerprint[:FINGERPRINT_DIGITS])


def _is_bought(foreign: RemoteCertificate, now: float) -> bool:
    return bool(foreign.order_id) and (not foreign.not_after or foreign.not_after > now)


def _ends_later(foreign: RemoteCertificate, it: Contest) -> bool:
    """Return whether it ends after ours; an unknown end gets the safer answer."""
    return foreign.not_after > it.ends if foreign.not_after else not it.managed
