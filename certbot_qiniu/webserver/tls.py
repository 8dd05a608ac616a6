"""Ask over TLS which leaf a server shows: nginx here, or Qiniu's edge.

What only a question needs is loaded by the first one, so that this costs nothing until then.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Literal

from certbot_qiniu.model import Domain, validity

logger = logging.getLogger(__name__)

LABEL = "certbot-qiniu"
"""Stands for the ``*`` of a wildcard, whose every name is served alike."""
EDGE_PORT = 443
EDGE_SECONDS = 5.0

KeyKind = Literal["", "ECDSA", "RSA"]
"""What kind of key the leaf must have, "" for whichever the server prefers."""


@dataclass(frozen=True)
class Leaf:
    """The leaf that a server showed.

    :ivar not_after: seconds since the epoch; 0 where the certificate cannot be read.
    """

    fingerprint: str
    not_after: int


def served_leaf(host: str, port: int, name: str, *, timeout_seconds: float,
                kind: KeyKind = "", proxied: bool = False) -> Leaf | None:
    """Ask a server for *name* and answer the leaf that it shows, None where it shows none.

    :param kind: of the key that the client says it can do.
    :param proxied: whether the server expects the PROXY protocol first.
    """
    import socket
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Which leaf it is says more than whether this machine trusts it.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if kind:
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # TLS 1.3 ciphers fit any key
        context.set_ciphers(f"a{kind}")
    try:
        name.encode("idna")  # wrap_socket would fail too, but leak the connection
        with socket.create_connection((host, port), timeout_seconds) as connection:
            if proxied:
                connection.sendall(b"PROXY UNKNOWN\r\n")
            with context.wrap_socket(connection, server_hostname=name) as tls:
                der = tls.getpeercert(binary_form=True) or b""
    except (OSError, ValueError) as error:
        logger.debug("No answer from %s:%s for %s: %s", host, port, name, error)
        return None
    return Leaf(hashlib.sha256(der).hexdigest(), _not_after(der))


def _not_after(der: bytes) -> int:
    from cryptography import x509

    try:
        return int(validity(x509.load_der_x509_certificate(der))[1].timestamp())
    except (ValueError, x509.InvalidVersion) as error:
        # It is served all the same, and is not the one that is looked for.
        logger.debug("The certificate cannot be read: %s", error)
        return 0


def edge_leaf(domain: Domain) -> Leaf | None:
    """Ask Qiniu's edge, where *domain*'s CNAME points, as a browser would.

    None where it does not answer, or with what is no certificate.
    """
    name = LABEL + domain.name if domain.name.startswith(".") else domain.name
    leaf = served_leaf(domain.cname or name, EDGE_PORT, name, timeout_seconds=EDGE_SECONDS)
    return leaf if leaf and leaf.not_after else None
