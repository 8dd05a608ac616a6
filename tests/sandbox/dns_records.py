"""The DNS records that an emulated provider keeps, whatever its API calls them."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """A DNS record; *host* is the part before the domain, ``@`` for the domain itself."""

    record_id: str
    domain: str
    host: str
    kind: str
    value: str
    ttl: int

    @property
    def name(self) -> str:
        return self.domain if self.host == "@" else f"{self.host}.{self.domain}"


class Records(list[Record]):
    """Records, oldest first, each with a number of its own.

    :param first_id: the number of the first one.
    """

    def __init__(self, first_id: int) -> None:
        super().__init__()
        self._ids = itertools.count(first_id)

    def add(self, domain: str, host: str, kind: str, value: str, ttl: int) -> Record:
        """Keep a new record; whether it may be there twice is the provider's business."""
        record = Record(str(next(self._ids)), domain, host, kind, value, ttl)
        self.append(record)
        return record

    def of(self, domain: str) -> list[Record]:
        """The records of a domain."""
        return [record for record in self if record.domain == domain]

    def delete(self, record_id: str, domains: Collection[str]) -> bool:
        """Delete a record of one of *domains*; whether there was one."""
        for record in self:
            if record.record_id == record_id and record.domain in domains:
                self.remove(record)
                return True
        return False

    def texts(self, name: str) -> list[str]:
        """The values of the TXT records of *name*, as a DNS server answers them."""
        return [record.value for record in self
                if record.kind == "TXT" and record.name.lower() == name.lower()]
