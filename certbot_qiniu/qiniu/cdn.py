"""CDN domains (CDN 加速域名)."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate

if TYPE_CHECKING:
    from certbot_qiniu.qiniu.client import QiniuClient


class Cdn:
    """CDN domains (CDN 加速域名): normal, wildcard and pan."""

    name = "cdn"
    publishes = True

    def __init__(self, client: QiniuClient) -> None:
        self._client = client
        self._filter_works: bool | None = None

    def list(self) -> Iterable[Domain]:
        """Return all CDN domains."""
        return self._client.list_domains()

    def observe(self, domain: str) -> Domain | None:
        """Return one CDN domain in detail; None if it does not exist."""
        return self._client.get_domain(domain)

    def bind(self, domain: Domain, certificate: RemoteCertificate, binding: Binding) -> None:
        """Bind a certificate and the settings, in one change."""
        before = domain.protocol, domain.cert_id, domain.force_https, domain.http2
        wanted = "https", certificate.cert_id, bool(binding.force_https), bool(binding.http2)
        self._client.bind_certificate(
            domain.name, certificate.cert_id, force_https=bool(binding.force_https),
            http2=bool(binding.http2), enable=domain.protocol != "https",
            tls_versions=binding.tls_versions, others=domain.https_fields,
            # A change of only the TLS versions leaves no trace if no read shows them.
            is_visible=before != wanted or domain.tls_versions is not None)

    def unbind(self, domain: Domain) -> None:
        """Switch back to http."""
        self._client.unbind_certificate(domain.name)

    def set_hsts(self, domain: Domain, *, on: bool) -> None:
        """Switch HSTS on or off, leaving other headers alone."""
        self._client.set_hsts(domain.name, on=on)

    def users(self, certificate: RemoteCertificate,
              among: Collection[str] = ()) -> set[str] | None:
        """Return the domains that serve *certificate*; None if Qiniu's list cannot say."""
        found = {domain.name for domain in self._client.list_domains(certificate.cert_id, among)}
        if found and self._filter_works is None:
            # Qiniu may have ignored the filter: ask for a certificate that cannot exist.
            try:
                self._filter_works = not self._client.list_domains(secrets.token_hex(12))
            except errors.Refused:
                self._filter_works = True
        return found if self._filter_works or not found else None
