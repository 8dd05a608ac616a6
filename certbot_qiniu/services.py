"""A Qiniu account: its certificates, and the domains of each of its services.

A service is anything at Qiniu that has domains with certificates. It keeps one small contract
(:class:`Service`), so that neither the planner nor the reconciler knows which is which; another
one is another class here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate

if TYPE_CHECKING:
    from certbot_qiniu.api import QiniuClient

LISTS_MAX_AGE_SECONDS = 600.0
"""A run over hundreds of lineages asks for the lists once, one that lasts hours asks again."""


class Service(Protocol):
    """What the reconciler asks of a service.

    :ivar publishes: a change takes minutes, during which the domain is in ``processing``.
    """

    name: str
    publishes: bool

    def list(self) -> Iterable[Domain]:
        """All domains of the account, without their details."""

    def observe(self, domain: str) -> Domain | None:
        """One domain in detail; None when it does not exist."""

    def bind(self, domain: Domain, certificate: RemoteCertificate, binding: Binding) -> None:
        """Make *domain* serve *certificate* with the settings of *binding*, all of them decided.

        :raises errors.ApiError: when Qiniu refuses or does not answer.
        """

    def unbind(self, domain: Domain) -> None:
        """Switch *domain* back to http.

        :raises errors.ApiError: when Qiniu refuses or does not answer.
        """

    def users(self, certificate: RemoteCertificate) -> set[str] | None:
        """The domains that serve *certificate*, by one list; None where no list can tell."""


class Cdn:
    """CDN domains (CDN 加速域名): normal, wildcard and pan."""

    name = "cdn"
    publishes = True

    def __init__(self, client: QiniuClient) -> None:
        self._client = client
        self._filter_works: bool | None = None

    def list(self) -> Iterable[Domain]:
        return self._client.list_domains()

    def observe(self, domain: str) -> Domain | None:
        return self._client.get_domain(domain)

    def bind(self, domain: Domain, certificate: RemoteCertificate, binding: Binding) -> None:
        self._client.bind_certificate(
            domain.name, certificate.cert_id, force_https=bool(binding.force_https),
            http2=bool(binding.http2), enable=domain.protocol != "https")

    def unbind(self, domain: Domain) -> None:
        self._client.unbind_certificate(domain.name)

    def users(self, certificate: RemoteCertificate) -> set[str] | None:
        found = {domain.name for domain in self._client.list_domains(certificate.cert_id)}
        if found and self._filter_works is None:
            # Some other list could have come back: ask for a certificate that cannot exist.
            try:
                self._filter_works = not self._client.list_domains(secrets.token_hex(12))
            except errors.Refused:
                self._filter_works = True
        return found if self._filter_works or not found else None


class Account:
    """One Qiniu account, with its lists fetched once.

    :param services: its services, in the order in which a domain is looked for in them.
    """

    def __init__(self, client: QiniuClient, services: Iterable[Service] = (), *,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self.services = {service.name: service for service in services} or {"cdn": Cdn(client)}
        self._clock = clock
        self._domains: dict[str, Domain] | None = None
        self._certificates: dict[str, RemoteCertificate] | None = None
        self._listed_at = {"domains": 0.0, "certificates": 0.0}

    def domains(self, *, refresh: bool = False) -> dict[str, Domain]:
        """All domains by name, from the lists.

        :raises errors.ApiError: when a list cannot be had.
        """
        if self._domains is None or refresh or self._old("domains"):
            found: dict[str, Domain] = {}
            for service in self.services.values():
                for domain in service.list():
                    found.setdefault(domain.name, domain)
            self._domains = found
            self._listed_at["domains"] = self._clock()
        return self._domains

    def certificates(self, *, refresh: bool = False) -> dict[str, RemoteCertificate]:
        """All certificates by id.

        :raises errors.ApiError: when the list cannot be had.
        """
        if self._certificates is None or refresh or self._old("certificates"):
            self._certificates = {item.cert_id: item for item in self.client.list_certificates()}
            self._listed_at["certificates"] = self._clock()
        return self._certificates

    def _old(self, which: str) -> bool:
        return self._clock() - self._listed_at[which] > LISTS_MAX_AGE_SECONDS

    def service_of(self, name: str) -> Service:
        """The service that *name* belongs to, the first one for an unknown name."""
        domain = (self._domains or {}).get(name)
        return self.services[domain.service] if domain else next(iter(self.services.values()))

    def observe(self, name: str) -> Domain | None:
        """One domain in detail.

        :raises errors.ApiError: when it cannot be read.
        """
        return self.service_of(name).observe(name)

    def note(self, domain: Domain) -> None:
        """Put what we know better than the list into it."""
        if self._domains is not None:
            known = self._domains.get(domain.name)
            self._domains[domain.name] = replace(
                known or domain, state=domain.state, operation=domain.operation)

    def note_upload(self, certificate: RemoteCertificate) -> None:
        """Add a fresh upload to the list."""
        if self._certificates is not None:
            self._certificates[certificate.cert_id] = certificate

    def delete(self, cert_id: str) -> bool:
        """Delete a certificate; False when Qiniu says that it is in use.

        :raises errors.ApiError: when Qiniu refuses for another reason or does not answer.
        """
        gone = self.client.delete_certificate(cert_id)
        if gone and self._certificates is not None:
            self._certificates.pop(cert_id, None)
        return gone

    def users(self, certificate: RemoteCertificate) -> set[str] | None:
        """The domains of all services that serve *certificate*; None where that is unknown.

        :raises errors.ApiError: when a list cannot be had.
        """
        found: set[str] = set()
        for service in self.services.values():
            users = service.users(certificate)
            if users is None:
                return None
            found |= users
        return found
