"""A small certificate authority for tests: roots, intermediates, and leaves of any age.

Not for anything but tests: keys are made in memory, and nothing is ever revoked.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc)
_FAR_AWAY = dt.datetime(2049, 12, 31, tzinfo=dt.timezone.utc)
_COMMON_NAME_LIMIT = 64


def validity(certificate: x509.Certificate) -> tuple[dt.datetime, dt.datetime]:
    """When a certificate begins and ends to be valid, whatever cryptography can say of it."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (certificate.not_valid_before.replace(tzinfo=dt.timezone.utc),
            certificate.not_valid_after.replace(tzinfo=dt.timezone.utc))


def fingerprint(pem: str) -> str:
    """The SHA-256 of the DER of the first certificate in *pem*, in lower-case hex."""
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


@dataclass(frozen=True)
class Leaf:
    """A certificate for a server, with all that goes with it.

    :ivar chain_pem: the intermediates, "" for a leaf issued by the root itself.
    :ivar fullchain_pem: leaf first, then the intermediates; the root is never in it.
    :ivar key_pem: unencrypted, PKCS#8 unless asked otherwise.
    :ivar fingerprint: SHA-256 of the DER, lower-case hex.
    """

    cert_pem: str
    chain_pem: str
    key_pem: str = field(repr=False)
    fingerprint: str
    not_before: dt.datetime
    not_after: dt.datetime
    names: tuple[str, ...]

    @property
    def fullchain_pem(self) -> str:
        return self.cert_pem + self.chain_pem


class Authority:
    """A root, or an intermediate made by :meth:`intermediate`, that signs certificates."""

    def __init__(self, name: str = "Sandbox Root", *, issuer: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = _subject(name)
        self.certificate = (
            _builder(self.subject, self.key, issuer or self, _LONG_AGO, _FAR_AWAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign((issuer or self).key, hashes.SHA256()))
        self.cert_pem = _pem(self.certificate)
        # What a server sends after its leaf: every authority up to the root, without the root.
        self.chain_pem: str = self.cert_pem + issuer.chain_pem if issuer else ""

    def intermediate(self, name: str) -> Authority:
        """A new authority whose certificate this one signs."""
        return Authority(name, issuer=self)

    def issue(self, *names: str, days: float = 90, start_days: float = 0,
              now: dt.datetime | None = None, key_type: Literal["ec", "rsa"] = "ec",
              common_name: bool = True, old_key_label: bool = False) -> Leaf:
        """A leaf for *names* (domains, wildcards, or IP addresses).

        :param days: how long it is valid, counted from its own beginning.
        :param start_days: when its validity begins, from *now*; negative is in the past.
        :param common_name: whether the first name is also the common name.
        :param old_key_label: the key is called by its kind (``EC PRIVATE KEY``), not PKCS#8.
        """
        key: Key = (rsa.generate_private_key(65537, 2048) if key_type == "rsa"
                    else ec.generate_private_key(ec.SECP256R1()))
        now = (now or dt.datetime.now(dt.timezone.utc)).replace(microsecond=0)
        not_before = now + dt.timedelta(days=start_days)
        certificate = (
            _builder(_subject(names[0]) if common_name else x509.Name([]), key, self, not_before,
                     not_before + dt.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]),
                           critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
                           critical=False)
            .sign(self.key, hashes.SHA256()))
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL if old_key_label
            else serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        return Leaf(_pem(certificate), self.chain_pem, key_pem,
                    certificate.fingerprint(hashes.SHA256()).hex(),
                    *validity(certificate), names)


def _builder(subject: x509.Name, key: Key, issuer: Authority, not_before: dt.datetime,
             not_after: dt.datetime) -> x509.CertificateBuilder:
    return (x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                           critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                issuer.key.public_key()), critical=False))


def _subject(name: str) -> x509.Name:
    """*name* as a common name; none if it is too long for one, as public authorities do."""
    if len(name) > _COMMON_NAME_LIMIT:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
