"""Certificates as Qiniu keeps them, and the checks they must pass."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from tests.sandbox.pki import validity
from tests.sandbox.qiniu_rules import Refusal, Switches

DAY = 86_400

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class StoredCertificate:
    """A certificate in an account.

    :ivar fingerprint: SHA-256 of the leaf's DER, lower-case hex.
    :ivar names: the DNS SANs, lower case.
    :ivar not_before: seconds since the epoch, likewise *not_after* and *created*.
    :ivar algorithm: ``RSA``, ``ECDSA`` or ``Ed25519``.
    :ivar key: PEM, for the detailed read alone.
    """

    cert_id: str
    name: str
    account: str
    fingerprint: str
    names: tuple[str, ...]
    not_before: int
    not_after: int
    created: int
    algorithm: str
    common_name: str = ""
    order_id: str = ""
    fullchain: str = field(default="", repr=False)
    key: str = field(default="", repr=False)


def load_chain(pem: str) -> list[x509.Certificate]:
    """Read all certificates of *pem* in their order.

    :raises Refusal: 404906 without any, 404907 when one cannot be parsed.
    """
    blocks = _BLOCK.findall(pem)
    if not blocks:
        raise Refusal(404906, "certificate decode error")
    try:
        return [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    except ValueError as error:
        raise Refusal(404907, "certificate parse error") from error


def check_key(pem: str, leaf: x509.Certificate, switches: Switches) -> None:
    """Refuse a private key that is unreadable, encrypted or another certificate's."""
    if switches.ec_label == "400327" and "BEGIN EC PRIVATE KEY" in pem:
        raise Refusal(400327, "unknown error")
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError) as error:  # TypeError: it needs a passphrase
        raise Refusal(400328, "invalid private key") from error
    if _bytes_of(key.public_key()) != _bytes_of(leaf.public_key()):
        raise Refusal(int(switches.key_mismatch), "证书私钥不匹配")


def _bytes_of(key: Any) -> bytes:
    """A public key as bytes: cryptography before 40 does not compare the keys themselves."""
    return bytes(key.public_bytes(serialization.Encoding.DER,
                                  serialization.PublicFormat.SubjectPublicKeyInfo))


def check_chain(chain: Sequence[x509.Certificate],
                roots: Sequence[x509.Certificate] | None) -> None:
    """Refuse a chain that is not leaf first, has a gap, or ends below the *roots*.

    :param roots: None when any end will do.
    """
    if is_authority(chain[0]):
        raise Refusal(400323, "certificate chain verification failed: no leaf at its start")
    for lower, upper in itertools.pairwise(chain):
        if not is_signed_by(lower, upper):
            raise Refusal(400323, "certificate chain verification failed")
    if roots is not None and not any(chain[-1] == root or is_signed_by(chain[-1], root)
                                     for root in roots):
        raise Refusal(400338, "cannot get the parent certificate")


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether *certificate* may sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def is_signed_by(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    """Whether *upper* issued *lower*."""
    # Not verify_directly_issued_by, which cryptography has since 40.
    key: Any = upper.public_key()
    how = ((padding.PKCS1v15(), lower.signature_hash_algorithm)
           if isinstance(key, rsa.RSAPublicKey) else (ec.ECDSA(lower.signature_hash_algorithm),)
           if isinstance(key, ec.EllipticCurvePublicKey) and lower.signature_hash_algorithm else ())
    try:
        key.verify(lower.signature, lower.tbs_certificate_bytes, *how)
    except (ValueError, TypeError, AttributeError, InvalidSignature):
        return False
    return lower.issuer == upper.subject


def check_dates(leaf: x509.Certificate, minimum_days: int, now: float) -> None:
    """Refuse a leaf that is not valid yet, not any more, or not for long enough."""
    begin, end = validity(leaf)
    if begin.timestamp() > now:
        raise Refusal(400321, "certificate is not valid yet")
    remaining = end.timestamp() - now
    if remaining <= 0:
        raise Refusal(400329, "certificate has expired")
    if remaining < minimum_days * DAY:
        raise Refusal(400322, "certificate expires too soon")


def algorithm(leaf: x509.Certificate) -> str:
    """Return the kind of the leaf's key, as Qiniu calls it."""
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    return "ECDSA" if isinstance(key, ec.EllipticCurvePublicKey) else "Ed25519"


def fingerprint(leaf: x509.Certificate) -> str:
    """Return the SHA-256 of the leaf's DER in lower-case hex."""
    return leaf.fingerprint(hashes.SHA256()).hex()


def has_common_name(leaf: x509.Certificate) -> bool:
    """Whether the subject has a common name."""
    return bool(leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME))


def dns_names(leaf: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS SANs, lower case."""
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in san.get_values_for_type(x509.DNSName))


def covers(names: Iterable[str], domain: str) -> bool:
    """Whether SANs cover a domain in Qiniu's spelling, where ``.x`` is the wildcard of ``x``."""
    if domain.startswith("."):
        return f"*{domain}" in names
    return bool({domain, "*." + domain.partition(".")[2]}.intersection(names))
