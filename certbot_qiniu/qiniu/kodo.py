"""Kodo's source domains (自定义源站域名): served by a bucket itself, without the CDN.

Qiniu documents how they are listed, but not how they get certificates: we call what its console
calls. Keys of sub-users may not call that, and Qiniu may change it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate
from certbot_qiniu.qiniu.client import WRONG_WAY
from certbot_qiniu.qiniu.service import Listing, Notes

if TYPE_CHECKING:
    from certbot_qiniu.qiniu.client import QiniuClient

LISTING_SECONDS = 86_400.0
NO_SUCH_BUCKET = 631

SUB_USER_ADVICE = (
    "Qiniu refuses this to the keys of sub-users (IAM-…): use a key of the main account, or leave "
    "source domains out with --qiniu-services cdn")
UNDOCUMENTED_ADVICE = (
    "Qiniu documents no such call, and refused both ways in which it is known to work: bind the "
    "certificates of source domains in Qiniu's console, and leave source domains out with "
    "--qiniu-services cdn")
OR_WRONG_KEYS = (
    ". If it refuses all other calls as well, check qiniu_access_key and qiniu_secret_key in "
    "the credentials file")
OR_GONE = ". If the domain is no longer one of its bucket's, the next certbot renew sees that"
NO_SOURCE_DOMAIN_ADVICE = (
    "Qiniu binds nothing but source domains (自定义源站域名) this way. If it has become a CDN "
    "domain, the next certbot renew finds it as one")


class Kodo:
    """Source domains of the account's buckets.

    Their list takes a call for each bucket, and most accounts have buckets without any. So it is
    made once a day and remembered. One more call shows what all of them serve. Only a run in which
    one of them matters makes it: the others cost nothing here.
    """

    name = "kodo"
    publishes = False

    def __init__(self, client: QiniuClient, notes: Notes) -> None:
        self._client = client
        self._notes = notes
        self._key = client.account
        self._lock = threading.Lock()
        self._bindings: dict[str, str] | errors.Refused | None = None
        self._is_listed_here = False

    def list(self) -> Iterable[Domain]:
        """Return all source domains."""
        with self._lock:
            self._bindings = None
            listing = self._remembered() or self._list_anew()
        return [_domain(listing, name, listing.bound) for name in listing.domains]

    def observe(self, domain: str) -> Domain | None:
        """Return one source domain in detail; None if it does not exist."""
        with self._lock:
            try:
                listing = self._remembered() or self._list_anew()
                if domain not in listing.domains and not self._is_listed_here:
                    listing = self._list_anew()  # it may be newer than what is remembered
                if domain not in listing.domains:
                    return None
                return _domain(listing, domain, self._bound(), detailed=True)
            except errors.Refused as refusal:
                raise _reworded(refusal, f"{refusal.action}, for {domain}",
                                refusal.advice) from refusal

    def bind(self, domain: Domain, certificate: RemoteCertificate, binding: Binding) -> None:
        """Bind a certificate; there are no settings here."""
        self._bindings = None
        try:
            with self._advising(NO_SOURCE_DOMAIN_ADVICE, OR_GONE):
                self._notes.bind_methods[self._key] = self._client.bind_source_domain(
                    domain.name, certificate.cert_id, self._notes.bind_methods.get(self._key, ""))
        except errors.Refused:
            # Perhaps it is no source domain any more: the next run looks.
            self._notes.listings.pop(self._key, None)
            raise

    def unbind(self, domain: Domain) -> None:
        """Take the certificate off again."""
        self._bindings = None
        with self._advising(NO_SOURCE_DOMAIN_ADVICE, OR_GONE):
            self._client.unbind_source_domain(
                domain.name, domain.cert_id, self._notes.bind_methods.get(self._key, ""))

    def set_hsts(self, domain: Domain, *, on: bool) -> None:
        """Refuse: there are no response headers here."""
        raise errors.UsageError(f"{domain.name} has no response headers that could be set")

    def users(self, certificate: RemoteCertificate,
              among: Collection[str] = ()) -> set[str] | None:
        """Return the source domains that serve *certificate*."""
        with self._lock:
            try:
                bound = self._bound()
            except errors.Refused:
                return set()  # Qiniu itself refuses to delete what a source domain serves
        return {name for name, cert_id in bound.items() if cert_id == certificate.cert_id}

    def _remembered(self) -> Listing | None:
        listing = self._notes.listings.get(self._key)
        if listing and 0 <= self._notes.clock() - listing.at < LISTING_SECONDS:
            return listing
        return None

    def _list_anew(self) -> Listing:
        # First: a key that may not see the bindings need not look into every bucket.
        if not isinstance(self._bindings, errors.Refused):
            self._bindings = None
        bound = self._bound()
        found: dict[str, str] = {}
        for bucket in self._client.list_buckets():
            try:
                domains = self._client.list_source_domains(bucket)
            except errors.Refused as refusal:
                if refusal.status != NO_SUCH_BUCKET:
                    raise
                continue  # deleted a moment ago
            found.update({domain.name: domain.state_reason for domain in domains})
        listing = Listing(self._notes.clock(), found, bound)
        self._notes.listings[self._key] = listing
        self._is_listed_here = True
        return listing

    def _bound(self) -> dict[str, str]:
        if self._bindings is None:
            try:
                with self._advising():
                    self._bindings = self._client.list_bindings()
            except errors.Refused as refusal:
                self._bindings = refusal  # the answer is the same for every domain
        if isinstance(self._bindings, errors.Refused):
            raise self._bindings
        return self._bindings

    @contextlib.contextmanager
    def _advising(self, forbidden: str = "", unknown: str = "") -> Iterator[None]:
        """Give a refusal the advice that fits this service.

        :param forbidden: the advice after a 403.
        :param unknown: what else a 404 may mean.
        """
        try:
            yield
        except errors.Refused as refusal:
            advice = refusal.advice
            if refusal.status == 401 and self._client.is_sub_user:
                advice = SUB_USER_ADVICE
            elif refusal.status in WRONG_WAY:
                advice = UNDOCUMENTED_ADVICE + {401: OR_WRONG_KEYS, 404: unknown}.get(
                    refusal.status, "")
            elif refusal.status == 403:
                advice = advice or forbidden  # that of a wrong clock is more precise
            raise _reworded(refusal, refusal.action, advice) from refusal


def _reworded(refusal: errors.Refused, action: str, advice: str) -> errors.Refused:
    return errors.Refused(action, refusal.text, status=refusal.status, code=refusal.code,
                          reqid=refusal.reqid, advice=advice)


def _domain(listing: Listing, name: str, bound: dict[str, str], *,
            detailed: bool = False) -> Domain:
    cert_id, reason = bound.get(name, ""), listing.domains[name]
    return Domain(name, service="kodo", protocol="https" if cert_id else "http",
                  state="frozen" if reason else "success", state_reason=reason,
                  detailed=detailed, cert_id=cert_id)
