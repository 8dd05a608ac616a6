"""Ask the edge itself which leaf it serves, as a browser would."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import socket
import ssl

from certbot_qiniu.command.survey import Survey
from certbot_qiniu.deployment.context import in_parallel
from certbot_qiniu.model import DEAD_STATES, Domain, validity
from certbot_qiniu.webserver.tls import Leaf

logger = logging.getLogger(__name__)

PORT = 443
SECONDS = 5.0
LABEL = "certbot-qiniu"
"""Stands for the ``*`` of a wildcard domain, whose every name is served alike."""


def probe(facts: Survey) -> Survey:
    """*facts* with what the edge serves for every domain that speaks HTTPS."""
    domains = [domain for account in facts.accounts for domain in account.domains.values()
               if domain.protocol == "https" and domain.state not in DEAD_STATES]
    leaves = in_parallel(served_leaf, domains)
    edges = {domain.name: leaf if isinstance(leaf, Leaf) else None
             for domain, leaf in zip(domains, leaves, strict=True)}
    return dataclasses.replace(facts, edges=edges)


def served_leaf(domain: Domain) -> Leaf | None:
    """The leaf that *domain* serves where its CNAME points, None where that cannot be told."""
    from cryptography import x509

    name = LABEL + domain.name if domain.name.startswith(".") else domain.name
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Which leaf it is says more than whether this machine trusts it.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (socket.create_connection((domain.cname or name, PORT), SECONDS) as connection,
              context.wrap_socket(connection, server_hostname=name) as tls):
            der = tls.getpeercert(binary_form=True) or b""
        not_after = validity(x509.load_der_x509_certificate(der))[1]
    except (OSError, ValueError) as error:
        logger.info("The edge did not answer for %s: %s", domain.name, error)
        return None
    return Leaf(hashlib.sha256(der).hexdigest(), int(not_after.timestamp()))
