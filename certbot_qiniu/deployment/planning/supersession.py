"""Which of our certificates at Qiniu nothing needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from certbot_qiniu.deployment.state import State


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
    # Make sure that nothing goes that a domain serves, needed or not.
    return [cert_id for cert_id in found if cert_id not in bound]


def kept_fingerprints(state: State, checkpoints: Iterable[State], lineage: str,
                      keep_certificates: int) -> set[str]:
    """Find the fingerprints that are needed: all of the state, and older ones for a rollback.

    :param checkpoints: states that a rollback could return to, newest first.
    :param lineage: whose older certificates are kept, the last *keep_certificates* of them.
    """
    needed = {entry.binding.fingerprint for entry in state.values()}
    older: list[str] = []
    for checkpoint in checkpoints if keep_certificates else ():
        for entry in checkpoint.values():
            fingerprint = entry.binding.fingerprint
            if entry.lineage == lineage and fingerprint not in needed and fingerprint not in older:
                older.append(fingerprint)
        if len(older) >= keep_certificates:
            break  # certbot never throws a checkpoint away: years of them are not read
    return needed | set(older[:keep_certificates])
