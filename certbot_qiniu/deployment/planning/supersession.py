"""Choose our certificates at Qiniu that nothing needs any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from certbot_qiniu.deployment.state import State
from certbot_qiniu.model import DAY


def superseded(fingerprints: Mapping[str, str], needed: Collection[str],
               bound: Collection[str]) -> list[str]:
    """Find the ids at Qiniu that nothing needs any more, extra copies of needed ones included.

    :param fingerprints: id -> fingerprint of certificates at Qiniu that are provably ours, in the
        order of their upload.
    :param needed: fingerprints that the desired state or a kept checkpoint needs.
    :param bound: ids that a domain was last seen to serve.
    """
    # Make sure that neither the desired state nor a rollback loses its certificate.
    found = [cert_id for cert_id, fingerprint in fingerprints.items() if fingerprint not in needed]
    # Make sure that of several copies one stays, the one that is served if any is.
    for fingerprint in dict.fromkeys(fingerprints.values()):
        if fingerprint in needed:
            copies = [cert_id for cert_id, other in fingerprints.items() if other == fingerprint]
            keeper = next((cert_id for cert_id in copies if cert_id in bound), copies[0])
            found += [cert_id for cert_id in copies if cert_id != keeper]
    # Make sure that no certificate goes that a domain serves, needed or not.
    return [cert_id for cert_id in found if cert_id not in bound]


def kept_fingerprints(state: State, former: Sequence[str], keep_certificates: int) -> set[str]:
    """Find the fingerprints that are needed: all of the state, and older ones for a rollback.

    :param former: the fingerprints of a lineage's older states, newest first, "" for one without.
    :param keep_certificates: how many of these are kept.
    """
    needed = {entry.binding.fingerprint for entry in state.values()}
    older = [fingerprint for fingerprint in former if fingerprint and fingerprint not in needed]
    return needed | set(older[:keep_certificates])


KEPT_CHECKPOINTS, KEPT_SECONDS = 3, 120 * DAY
"""A lineage's checkpoints that are newer than one of these are never pruned."""


def prunable(checkpoints: Mapping[str, bool], now: float) -> list[str]:
    """Find those of a lineage's checkpoints that no rollback can want any more.

    :param checkpoints: certbot's names, which are times; and whether each must stay for ever.
    :param now: seconds since the epoch.
    """
    return [name for name in sorted(checkpoints, key=float)[:-KEPT_CHECKPOINTS]
            if not checkpoints[name] and float(name) < now - KEPT_SECONDS]
