"""Ask over TLS which leaf a server shows, and which chain: nginx here, or Qiniu's edge.

The first question loads what it needs, so that this module costs nothing until then.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from certbot_qiniu.model import validity

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger(__name__)

LABEL = "certbot-qiniu"
"""Stands for the ``*`` of a wildcard: all names below it are served alike."""

KeyKind = Literal["", "ECDSA", "RSA"]
"""The kind of key that the leaf must have, "" for whichever the server prefers."""


@dataclass(frozen=True)
class Leaf:
    """The leaf that a server showed.

    :ivar not_after: seconds since the epoch; 0 if the certificate cannot be read.
    :ivar serial: hex digits, "" likewise.
    :ivar chain: the fingerprints of the certificates after it; None if this Python cannot say.
    """

    fingerprint: str
    not_after: int
    serial: str = ""
    chain: frozenset[str] | None = None


def served_leaf(host: str, port: int, name: str, *, timeout_seconds: float,
                kind: KeyKind = "", proxied: bool = False) -> Leaf | None:
    """Ask a server for *name* and return the leaf that it shows, None if it shows none.

    :param kind: the kind of key that the client offers.
    :param proxied: whether the server expects the PROXY protocol first.
    """
    try:
        return ask(host, port, name, timeout_seconds=timeout_seconds, kind=kind, proxied=proxied)
    except (OSError, ValueError) as error:
        logger.debug("No answer from %s:%s for %s: %s", host, port, name, error)
        return None


def ask(host: str, port: int, name: str, *, timeout_seconds: float, kind: KeyKind = "",
        proxied: bool = False) -> Leaf:
    """Do the same as :func:`served_leaf`, for a caller that must know what went wrong.

    :param timeout_seconds: for the connection, and again for the handshake.
    :raises OSError: if the server shows none.
    :raises ValueError: for a name that TLS cannot ask for.
    """
    import socket
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Which leaf is served matters more than whether this machine trusts it.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if kind:
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # TLS 1.3 ciphers fit any key
        context.set_ciphers(f"a{kind}")
    name.encode("idna")  # wrap_socket would fail too, but leak the connection
    with socket.create_connection((host, port), timeout_seconds) as connection:
        if proxied:
            connection.sendall(b"PROXY UNKNOWN\r\n")
        with context.wrap_socket(connection, server_hostname=name) as tls:
            der, sent = tls.getpeercert(binary_form=True) or b"", _sent(tls)
    chain = None if sent is None else frozenset(map(fingerprint, sent[1:]))
    return Leaf(fingerprint(der), *_end_and_serial(der), chain)


def fingerprint(der: bytes) -> str:
    """Return the SHA-256 of a certificate, lower-case hex."""
    return hashlib.sha256(der).hexdigest()


def _sent(connection: ssl.SSLSocket) -> list[bytes] | None:
    """Return the certificates as they were sent, leaf first; None if this Python cannot say."""
    public = getattr(connection, "get_unverified_chain", None)
    if public:
        return list(public())
    # Python before 3.13 has it without saying so; pip's truststore relies on it, too.
    inner: Any = getattr(connection, "_sslobj", None)
    try:
        return [bytes(one.public_bytes(_DER)) for one in inner.get_unverified_chain()]
    except (AttributeError, TypeError):
        return None


_DER = 2  # _ssl.ENCODING_DER


def _end_and_serial(der: bytes) -> tuple[int, str]:
    from cryptography import x509

    try:
        leaf = x509.load_der_x509_certificate(der)
        return int(validity(leaf)[1].timestamp()), f"{leaf.serial_number:X}"
    except (ValueError, x509.InvalidVersion) as error:
        # It is served, but is not the one that is looked for.
        logger.debug("The certificate cannot be read: %s", error)
        return 0, ""
