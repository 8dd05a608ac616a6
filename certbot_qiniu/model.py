"""The facts this plugin reasons about: certificates, Qiniu's domains, and what they serve.

Plain frozen values without I/O, apart from :meth:`Certificate.load`. Names of domains are always in
Qiniu's spelling here (a wildcard is ``.example.com``), names in certificates in the certificate's
(``*.example.com``).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_qiniu import errors

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE_PREFIX = "certbot_"
CERTIFICATE_NAME_LIMIT = 64
SERVICES = ("cdn", "kodo", "pili")
"""Qiniu's services that have domains, in the order in which a name is looked for in them."""

TLS_VERSIONS = "tlsVersions"
"""Qiniu's name of the field, by which it is remembered whether it takes that."""

DAY = 86_400.0
"""Seconds."""

DEAD_STATES = frozenset({"frozen", "notIcpFrozen", "offlined", "deleted"})
"""States in which a domain can serve nothing."""

FINGERPRINT_DIGITS = 12
"""Hex digits of the fingerprint in a certificate's name at Qiniu: enough to tell our own apart."""


Plain = str | bool | int | tuple[str | int, ...]
"""A Qiniu setting that is sent back as it was read."""


@dataclass(frozen=True)
class Certificate:
    """A certificate on this machine: one version of a lineage.

    :ivar lineage: certbot's name of the series.
    :ivar fingerprint: SHA-256 of the leaf's DER, lower-case hex.
    :ivar names: the DNS SANs, lower case.
    :ivar fullchain: PEM, leaf first, as certbot wrote it.
    :ivar key_path: where the private key is; it is read only for an upload.
    """

    lineage: str
    fingerprint: str
    names: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime
    fullchain: str = field(repr=False)
    key_path: Path = field(repr=False)

    @classmethod
    def load(cls, lineage: str, fullchain_path: Path, key_path: Path) -> Certificate:
        """Read a certificate from certbot's files.

        :raises errors.UsageError: if the file cannot be read or holds no certificate.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        try:
            pem = fullchain_path.read_bytes()
            leaf = x509.load_pem_x509_certificate(pem)
            fullchain = pem.decode("ascii")
        except (OSError, ValueError) as error:
            raise errors.UsageError(
                f"Could not read the certificate {fullchain_path}: {error}") from error
        try:
            san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = tuple(name.lower() for name in san.get_values_for_type(x509.DNSName))
        except x509.ExtensionNotFound:
            names = ()
        return cls(lineage, leaf.fingerprint(hashes.SHA256()).hex(), names,
                   *validity(leaf), fullchain, key_path)

    @property
    def remote_name(self) -> str:
        """The name of this certificate at Qiniu."""
        return certificate_name(self.lineage, self.fingerprint)

    def key_pem(self) -> str:
        """Return the private key as unencrypted PKCS#8 PEM, the form that Qiniu always takes.

        :raises errors.UsageError: if the key cannot be read.
        """
        from cryptography.hazmat.primitives import serialization

        try:
            key = serialization.load_pem_private_key(self.key_path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            # The cause's text is left out: it could quote the file.
            raise errors.UsageError(
                f"Could not read the private key {self.key_path}: {type(error).__name__}"
            ) from None
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption()).decode("ascii")


def validity(leaf: x509.Certificate) -> tuple[dt.datetime, dt.datetime]:
    """Return the beginning and end of *leaf*'s validity."""
    if hasattr(leaf, "not_valid_after_utc"):
        return leaf.not_valid_before_utc, leaf.not_valid_after_utc
    # cryptography before 42, as Debian 12 has it: the same times, in UTC without saying so.
    return (leaf.not_valid_before.replace(tzinfo=dt.timezone.utc),
            leaf.not_valid_after.replace(tzinfo=dt.timezone.utc))


@dataclass(frozen=True)
class RemoteCertificate:
    """A certificate in a Qiniu account, as its list shows it (never with its key).

    :ivar order_id: set for certificates that were bought through Qiniu.
    :ivar not_before: seconds since the epoch; 0 if Qiniu does not say. Likewise *not_after*.
    """

    cert_id: str
    name: str
    names: tuple[str, ...] = ()
    not_before: int = 0
    not_after: int = 0
    created: int = 0
    order_id: str = ""

    def is_copy_of(self, certificate: Certificate) -> bool:
        """Return whether this is *certificate* under our name; dates and SANs tell them apart."""
        return (self.name == certificate.remote_name
                and self.not_after in (0, int(certificate.not_after.timestamp()))
                and (not self.names or {n.lower() for n in self.names} == set(certificate.names)))


@dataclass(frozen=True)
class Binding:
    """The binding that a domain has, or should have.

    :ivar protocol: ``https`` or ``http``.
    :ivar fingerprint: our certificate's, or "" if it is not ours.
    :ivar cert_id: Qiniu's id, for a certificate that is not ours; "" otherwise.
    :ivar force_https: true, false, or None for "as it is"; likewise *http2* and *hsts*, the
        header ``Strict-Transport-Security``.
    :ivar tls_versions: Qiniu's names of the versions of TLS, empty for Qiniu's own default; None
        for "as it is".
    :ivar unknown: fields that a newer version wrote, kept so that this one does not lose them.
    """

    protocol: str = "https"
    fingerprint: str = ""
    cert_id: str = ""
    force_https: bool | None = None
    http2: bool | None = None
    hsts: bool | None = None
    tls_versions: tuple[str, ...] | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Domain:
    """A domain of a Qiniu account.

    From a list only the first fields are known, and *detailed* is false; a detailed read fills
    the rest.

    :ivar service: ``cdn``, ``kodo`` or ``pili``.
    :ivar kind: ``normal``, ``wildcard``, ``pan`` or ``test``.
    :ivar protocol: ``http`` or ``https``: what the domain speaks now.
    :ivar state: ``success``, ``processing``, ``failed``, ``frozen``, ``offlined``, …
    :ivar state_reason: Qiniu's explanation of the state, or the kind of a freeze.
    :ivar operation: the last operation (``modify_https_conf``, …).
    :ivar modified: Qiniu's ``modifyAt``, compared but never parsed; likewise *created*,
        ``createAt``, which shows whether a domain was made anew.
    :ivar cname: where the domain's CNAME points.
    :ivar operable: false if Qiniu lets this account change nothing.
    :ivar cert_id: the certificate bound, "" for none.
    :ivar force_https: None if it is unknown or the service has no such setting; likewise
        *http2*, *hsts* and *tls_versions*.
    :ivar https_fields: what else a read shows of its HTTPS settings, in Qiniu's spelling.
    """

    name: str
    service: str = "cdn"
    kind: str = "normal"
    protocol: str = "http"
    state: str = "success"
    state_reason: str = ""
    operation: str = ""
    modified: str = ""
    cname: str = ""
    product: str = ""
    operable: bool = True
    detailed: bool = False
    cert_id: str = ""
    force_https: bool | None = None
    http2: bool | None = None
    hsts: bool | None = None
    created: str = ""
    tls_versions: tuple[str, ...] | None = None
    https_fields: Mapping[str, Plain] = field(default_factory=dict)


def canonical_domain(text: str) -> str:
    """Return *text* in Qiniu's spelling: lower case, a wildcard as ``.example.com``.

    :raises errors.UsageError: if it is no domain name.
    """
    given = text.strip().lower().rstrip(".")
    name = given.removeprefix("*") if given.startswith("*.") else given
    if len(name) > _LONGEST_DOMAIN or not _DOMAIN.fullmatch(name):
        in_ascii = _in_ascii(name)
        if in_ascii and given != name:  # to --qiniu-exclude the asterisk says more
            in_ascii = f"*{in_ascii}"
        raise errors.UsageError(f"{text.strip()!r} is not a domain name" + (
            f" as it is in certificates and at Qiniu: write {in_ascii}" if in_ascii else ""))
    return name


def _in_ascii(name: str) -> str:
    """Return the spelling that DNS has for a name with other letters than ASCII; "" for none."""
    if name.isascii():
        return ""
    try:
        found = "." * name.startswith(".") + name.removeprefix(".").encode("idna").decode()
    except UnicodeError:
        return ""
    return found if _DOMAIN.fullmatch(found) else ""


_LONGEST_DOMAIN = 254  # with the dot that a wildcard begins with
_DOMAIN = re.compile(r"\.?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}")


def san_of(domain: str) -> str:
    """Return the SAN that names *domain* literally: ``.example.com`` -> ``*.example.com``."""
    return f"*{domain}" if domain.startswith(".") else domain


def covering_name(names: Iterable[str], domain: str) -> str | None:
    """Find the SAN among *names* that covers Qiniu's *domain*, a literal one before a wildcard."""
    names = set(names)
    literal = san_of(domain)
    if literal in names:
        return literal
    if domain.startswith("."):
        return None
    wildcard = "*." + domain.partition(".")[2]
    return wildcard if wildcard in names else None


def covered(domains: Mapping[str, Domain], names: Collection[str]) -> dict[str, Domain]:
    """Return those of *domains* that :func:`covering_name` finds a name for.

    Hundreds of lineages ask that of one account, so literal names are looked up directly.
    """
    tails = {name[1:] for name in names if name.startswith("*.")}
    found = [name for name in domains if name[name.find("."):] in tails] if tails else []
    literal = sorted(name for name in names if name in domains and not name.startswith("."))
    return {name: domains[name] for name in dict.fromkeys([*literal, *found])}


def certificate_name(lineage: str, fingerprint: str) -> str:
    """Return our name for a certificate at Qiniu, at most 64 ASCII characters.

    A long or unusual lineage is shortened. The fingerprint never is, so it keeps two
    certificates apart.
    """
    digits = fingerprint[:FINGERPRINT_DIGITS]
    room = CERTIFICATE_NAME_LIMIT - len(CERTIFICATE_PREFIX) - 1 - len(digits)
    return f"{CERTIFICATE_PREFIX}{_UNUSUAL.sub('-', lineage)[:room]}_{digits}"


_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")
_OURS = re.compile(rf"{CERTIFICATE_PREFIX}(.*)_([0-9a-f]{{{FINGERPRINT_DIGITS}}})", re.DOTALL)


def parse_certificate_name(name: str) -> tuple[str, str] | None:
    """Read (lineage part, fingerprint digits) from one of our names, None for any other name."""
    match = _OURS.fullmatch(name)
    return (match[1], match[2]) if match else None
