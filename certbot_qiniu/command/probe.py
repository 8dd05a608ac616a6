"""Ask the edge itself which leaf it serves for each domain."""

from __future__ import annotations

import dataclasses

from certbot_qiniu.command.health import Inspection
from certbot_qiniu.deployment.context import in_parallel
from certbot_qiniu.model import DEAD_STATES
from certbot_qiniu.webserver.tls import Leaf, edge_leaf


def probe(seen: Inspection) -> Inspection:
    """*seen* with what the edge serves for every domain that speaks HTTPS."""
    domains = [domain for account in seen.accounts for domain in account.domains.values()
               if domain.protocol == "https" and domain.state not in DEAD_STATES]
    leaves = in_parallel(edge_leaf, domains)
    edges = {domain.name: leaf if isinstance(leaf, Leaf) else None
             for domain, leaf in zip(domains, leaves, strict=True)}
    return dataclasses.replace(seen, edges=edges)
