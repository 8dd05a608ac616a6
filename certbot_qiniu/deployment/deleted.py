"""Lineages that certbot has deleted, or that somebody has renamed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.writing import Writer
from certbot_qiniu.lineages import Lineages

logger = logging.getLogger(__name__)


def forget_deleted(writer: Writer, lineages: Lineages, say: Callable[[str], None]) -> None:
    """Stop managing each lineage that certbot deleted; its domains keep what they have.

    If just its conf was renamed, they go on under the new name. A process looks once.

    :raises errors.StateError: if that cannot be written.
    """
    store = writer.store
    if store.is_swept:
        return
    memories = store.memory.lineages
    gone = sorted(lineage for lineage in {
        *(entry.lineage for entry in store.state.values()),
        *(name for name, memory in memories.items() if memory.hold)}
        if not lineages.exists(lineage))
    for lineage in gone:
        if new := lineages.having(
                {*store.fingerprints(lineage), store.memory.lineage(lineage).hold}):
            say(wording.renamed(lineage, new))
            store.memory.rename(lineage, new)
            writer.commit({name: replace(entry, lineage=new)
                           for name, entry in store.managed(lineage).items()},
                          f"Renamed {lineage} to {new}")
        store.memory.lineage(lineage).hold = ""
    gone = [lineage for lineage in gone if store.managed(lineage)]
    for lineage in gone:
        names = ", ".join(sorted(store.managed(lineage)))
        logger.warning("The certificate %s was deleted from certbot: %s no longer gets "
                       "renewed certificates and keeps what it serves now", lineage, names)
    if gone:
        writer.commit({name: None for lineage in gone for name in store.managed(lineage)},
                      f"Stopped managing {', '.join(gone)}")
    store.is_swept = True
