"""Pili's live domains (直播域名), which name their certificates instead of giving their ids."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate

if TYPE_CHECKING:
    from certbot_qiniu.qiniu.client import QiniuClient


class Certificates(Protocol):
    """The account's certificates by id, as :class:`~certbot_qiniu.qiniu.account.Account` has."""

    def __call__(self, *, refresh: bool = False) -> dict[str, RemoteCertificate]: ...


class Pili:
    """Live domains of the account's hubs."""

    name = "pili"
    publishes = False

    def __init__(self, client: QiniuClient, certificates: Certificates) -> None:
        self._client = client
        self._certificates = certificates
        self._lock = threading.Lock()
        self._hubs: dict[str, str] = {}
        self._live: dict[str, tuple[Domain, str]] | None = None
        self._has_hubs = False

    def list(self) -> Iterable[Domain]:
        """Return all live domains."""
        self._live = None
        return [self._identified(*entry) for entry in self._read().values()]

    def observe(self, domain: str) -> Domain | None:
        """Return one live domain in detail; None if it does not exist."""
        entry = self._read().get(domain)
        return self._identified(*entry) if entry else None

    def bind(self, domain: Domain, certificate: RemoteCertificate, binding: Binding) -> None:
        """Bind a certificate by its name; there are no settings here."""
        hub, name = self._hubs[domain.name], self._name_of(certificate.cert_id)
        self._live = None
        try:
            self._client.bind_live_domain(hub, domain.name, name)
        except errors.Refused as refusal:
            # Qiniu's page says name, and its example shows an id.
            if refusal.status not in (400, 404, 612) or name == certificate.cert_id:
                raise
            try:
                self._client.bind_live_domain(hub, domain.name, certificate.cert_id)
            except errors.Refused:
                raise refusal from None

    def unbind(self, domain: Domain) -> None:
        """Refuse: Qiniu has no call for that."""
        raise errors.Refused(f"take the certificate off the live domain {domain.name}",
                             "Qiniu has no call for that")

    def set_hsts(self, domain: Domain, *, on: bool) -> None:
        """Refuse: there are no response headers here."""
        raise errors.UsageError(f"{domain.name} has no response headers that could be set")

    def users(self, certificate: RemoteCertificate,
              among: Collection[str] = ()) -> set[str] | None:
        """Return the live domains that show *certificate*, or another one of its name."""
        self._live = None  # Qiniu may delete what is in use, so an old list will not do
        try:
            live = self._read()
        except errors.Refused:
            if self._has_hubs:
                raise
            return set()  # no live streaming in this account, or not for this key
        # Nothing shows which certificate of a name is served, so every one counts.
        return {name for name, (_, shown) in live.items()
                if shown and shown in (certificate.name, certificate.cert_id)}

    def _read(self) -> dict[str, tuple[Domain, str]]:
        """Return all live domains, each with the name of its certificate."""
        with self._lock:
            if self._live is None:
                found: dict[str, tuple[Domain, str]] = {}
                hubs = self._client.list_hubs()
                self._has_hubs = bool(hubs)
                for hub in hubs:
                    for domain, shown in self._client.list_live_domains(hub):
                        found.setdefault(domain.name, (domain, shown))
                        self._hubs.setdefault(domain.name, hub)
                self._live = found
            return self._live

    def _identified(self, domain: Domain, shown: str) -> Domain:
        """Return *domain* with the id of its certificate; an unknown name is taken for an id."""
        if not shown or domain.protocol != "https":
            return replace(domain, detailed=True)
        return replace(domain, detailed=True, cert_id=self._id_of(shown))

    def _id_of(self, shown: str) -> str:
        for refresh in (False, True):
            known = self._certificates(refresh=refresh)
            named = [item for item in known.values() if item.name == shown]
            if named:
                return max(named, key=lambda item: (item.created, item.cert_id)).cert_id
            if shown in known:
                break
        return shown

    def _name_of(self, cert_id: str) -> str:
        for refresh in (False, True):
            found = self._certificates(refresh=refresh).get(cert_id)
            if found:
                return found.name
        return cert_id
