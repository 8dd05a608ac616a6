"""The content of Qiniu's accounts, and the changes there without a request.

Tests seed and inspect it by plain methods. Nothing runs in the background: a publication
completes by the clock, whenever somebody looks.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from cryptography import x509

from tests.sandbox import qiniu_certs as certs
from tests.sandbox.pki import validity
from tests.sandbox.qiniu_certs import StoredCertificate
from tests.sandbox.qiniu_rules import Refusal, Switches

ACCESS_KEY = "sandbox-access-key".ljust(40, "0")
SECRET_KEY = "sandbox-secret-key".ljust(40, "0")

Header = tuple[str, str, str]
"""One entry of ``responseHeaderControls``: op, key, value."""

NEVER = float("inf")


@dataclass(frozen=True)
class Config:
    """A domain's settings; *fingerprint* is the leaf's, "" for an unknown certificate.

    No *tls_versions* is whatever Qiniu takes of itself. *ocsp* is the field that no source knows.
    """

    protocol: str = "http"
    cert_id: str = ""
    fingerprint: str = ""
    force_https: bool = False
    http2: bool = False
    headers: tuple[Header, ...] = ()
    tls_versions: tuple[str, ...] = ()
    ocsp: bool = False


@dataclass(frozen=True)
class Serving(Config):
    """The settings that the edge serves now: those of the last completed publication."""

    state: str = "success"


@dataclass(frozen=True)
class Domain:
    """A CDN domain; *pending* is published until *until*, then *failure* tells the outcome."""

    name: str
    account: str
    kind: str
    product: str
    bucket: str
    state: str
    state_reason: str
    operation: str
    operable: bool
    freeze_type: str
    created: float
    modified: float
    config: Config
    pending: Config | None = None
    until: float = NEVER
    failure: str = ""


@dataclass(frozen=True)
class SourceDomain:
    """A domain that Kodo serves without the CDN."""

    name: str
    bucket: str
    freeze_types: tuple[str, ...]
    created: float
    cert_id: str = ""


@dataclass(frozen=True)
class LiveDomain:
    """A domain of a live hub, bound by *cert_name* to what bore that name at the time."""

    name: str
    hub: str
    kind: str
    cert_name: str = ""
    cert_id: str = ""


class Store:
    """The certificates, domains, buckets and hubs of all accounts.

    :param clock: seconds since the epoch; no other time passes here.
    :param accounts: secret keys by access key; the first account is the default owner.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time,
                 switches: Switches | None = None,
                 accounts: Mapping[str, str] | None = None) -> None:
        self.switches = switches or Switches()
        self._clock = clock
        self._accounts = dict(accounts or {ACCESS_KEY: SECRET_KEY})
        self._owner = next(iter(self._accounts))
        self._lock = threading.RLock()
        self._cert_numbers = itertools.count(1)
        self._certificates: dict[str, StoredCertificate] = {}
        self._domains: dict[str, Domain] = {}
        self._earlier: dict[str, list[tuple[float, Domain]]] = {}
        self._failures: dict[str, deque[str]] = {}
        self._buckets: dict[str, str] = {}
        self._sources: dict[str, SourceDomain] = {}
        self._hubs: dict[str, str] = {}
        self._live: dict[str, LiveDomain] = {}

    # Seeding

    def add_account(self, access_key: str, secret_key: str) -> None:
        """Let another customer exist."""
        with self._lock:
            self._accounts[access_key] = secret_key

    def add_domain(self, name: str, *, account: str | None = None, kind: str = "normal",
                   protocol: str = "http", cert_id: str = "", force_https: bool = False,
                   http2: bool = False, state: str = "success", state_reason: str = "",
                   operation: str = "create_domain", operable: bool = True, freeze_type: str = "",
                   product: str = "cdn", bucket: str = "",
                   headers: Sequence[Header] = ()) -> None:
        """Let *name* exist in *account* as given, without any check.

        :param state: ``processing`` never ends, for lack of anything to be published.
        """
        with self._settled() as now:
            config = Config(protocol, cert_id, self._fingerprint(cert_id), force_https, http2,
                            tuple(headers))
            self._domains[name] = Domain(
                name, account or self._owner, kind, product, bucket, state, state_reason,
                operation, operable, freeze_type, now, now, config)
            self._earlier.pop(name, None)

    def add_copies(self, original: str, names: Iterable[str]) -> None:
        """Let thousands of domains exist that are like another one."""
        with self._settled():
            for name in names:
                self._domains[name] = replace(self._domains[original], name=name)

    def remove_domain(self, name: str) -> None:
        """Let *name* be deleted from its account."""
        with self._settled():
            del self._domains[name]

    def change_domain(self, name: str, *, processing: float | None = None,
                      **changes: Any) -> None:
        """Let somebody change *name* in the console.

        :param processing: seconds that the publication takes; None: it has taken place.
        :param changes: as for :meth:`add_domain`.
        """
        with self._settled() as now:
            domain = self._domains[name]
            settings = {setting.name: changes.pop(setting.name) for setting in fields(Config)
                        if setting.name in changes}
            if "cert_id" in settings:
                settings["fingerprint"] = self._fingerprint(settings["cert_id"])
            config = replace(domain.config, **settings)
            if processing is None:
                domain = replace(domain, config=config, pending=None, **changes)
            else:
                domain = replace(domain, pending=config, until=now + processing, failure="",
                                 **{"state": "processing", **changes})
            self._save(domain, now)

    def add_certificate(self, fullchain_pem: str, key_pem: str | None = None, *, name: str,
                        account: str | None = None, order_id: str = "") -> str:
        """Upload a certificate as somebody else, without any check; return its id."""
        with self._settled() as now:
            return self._keep(certs.load_chain(fullchain_pem)[0], now, name=name,
                              account=account or self._owner, order_id=order_id,
                              fullchain=fullchain_pem, key=key_pem or "")

    def add_bucket(self, bucket: str, account: str | None = None) -> None:
        """Let *account* have a bucket."""
        with self._lock:
            self._buckets[bucket] = account or self._owner

    def add_source_domain(self, name: str, bucket: str, cert_id: str = "",
                          freeze_types: Sequence[str] = ()) -> None:
        """Let *bucket* have a source domain."""
        with self._settled() as now:
            self._sources[name] = SourceDomain(name, bucket, tuple(freeze_types), now, cert_id)

    def add_hub(self, hub: str, account: str | None = None) -> None:
        """Let *account* have a hub for live streams."""
        with self._lock:
            self._hubs[hub] = account or self._owner

    def add_live_domain(self, hub: str, name: str, kind: str = "liveHls",
                        cert_name: str = "") -> None:
        """Let *hub* have a domain; the account must have *cert_name* unless it is empty."""
        with self._lock:
            cert_id = self._named(self._hubs[hub], cert_name).cert_id if cert_name else ""
            self._live[name] = LiveDomain(name, hub, kind, cert_name, cert_id)

    # What may go wrong with publications

    def fail_next_publication(self, name: str, reason: str = "verify https crt fail",
                              times: int = 1) -> None:
        """Let the next *times* changes of *name* be accepted, and then fail for *reason*."""
        with self._lock:
            self._failures.setdefault(name, deque()).extend([reason] * times)

    def stick(self, name: str) -> None:
        """Let no publication of *name* end until :meth:`unstick`."""
        with self._settled():
            self.switches.stuck |= {name}

    def unstick(self, name: str) -> None:
        """Let the publications of *name* end again."""
        with self._settled():
            self.switches.stuck -= {name}

    # Inspection

    def certificates(self, account: str | None = None) -> list[StoredCertificate]:
        """Return the certificates of *account*, of all accounts when None, oldest first."""
        with self._lock:
            return [certificate for certificate in self._certificates.values()
                    if account in (None, certificate.account)]

    def serving(self, name: str) -> Serving:
        """Return what the edge serves for a CDN, source or live domain.

        :raises KeyError: if there is no such domain.
        """
        with self._settled():
            domain = self._domains.get(name)
            if domain is not None:
                return Serving(**vars(domain.config), state=domain.state)
            other = self._sources.get(name) or self._live[name]
            fingerprint = self._fingerprint(other.cert_id)
            return Serving("https" if fingerprint else "http", other.cert_id, fingerprint)

    # For the emulator

    @contextmanager
    def _settled(self) -> Iterator[float]:
        """Hold the lock over a state in which everything due has happened; give the time."""
        with self._lock:
            now = self._clock()
            for domain in tuple(self._domains.values()):
                if domain.pending is None or domain.until > now:
                    continue
                if domain.name in self.switches.stuck:
                    self._domains[domain.name] = replace(domain, until=now)  # not before now
                    continue
                state, config = (("failed", domain.config) if domain.failure
                                 else ("success", domain.pending))
                self._save(replace(domain, state=state, state_reason=domain.failure,
                                   config=config, pending=None, failure=""), domain.until)
            yield now

    def _save(self, domain: Domain, at: float) -> None:
        """Replace a domain, remembering how it was for a list that lags behind."""
        horizon = at - self.switches.list_staleness
        recent = [item for item in self._earlier.get(domain.name, ()) if item[0] > horizon]
        self._earlier[domain.name] = [*recent, (at, self._domains[domain.name])]
        if self.switches.modify_at == "moves":
            domain = replace(domain, modified=at)
        self._domains[domain.name] = domain

    def _lagging(self, domain: Domain, now: float) -> Domain:
        """Return *domain* as the list shows it."""
        horizon = now - self.switches.list_staleness
        return next((earlier for replaced_at, earlier in self._earlier.get(domain.name, ())
                     if replaced_at > horizon), domain)

    def _publish(self, domain: Domain, operation: str, wanted: Config, now: float) -> None:
        """Begin a publication, whose outcome is settled already."""
        failures = self._failures.get(domain.name)
        self._save(replace(
            domain, state="processing", state_reason="", operation=operation, pending=wanted,
            until=now + self.switches.publish_seconds,
            failure=failures.popleft() if failures else ""), now)

    def _keep(self, leaf: x509.Certificate, now: float, *, name: str, account: str,
              fullchain: str, key: str, common_name: str = "", order_id: str = "") -> str:
        cert_id = f"{int(now):08x}{next(self._cert_numbers):016x}"
        self._certificates[cert_id] = StoredCertificate(
            cert_id, name, account, certs.fingerprint(leaf), certs.dns_names(leaf),
            *(int(moment.timestamp()) for moment in validity(leaf)),
            int(now), certs.algorithm(leaf), common_name, order_id, fullchain, key)
        return cert_id

    def _owned(self, account: str, cert_id: str) -> StoredCertificate:
        """Return a certificate of *account* by its id."""
        certificate = self._certificates.get(cert_id)
        if certificate is None:
            raise Refusal(400401, "no such certificate")
        if certificate.account != account:
            raise Refusal(404908, "certificate belongs to somebody else")
        return certificate

    def _named(self, account: str, cert_name: str) -> StoredCertificate:
        """Return a certificate of *account* by what Pili takes for its name."""
        found = [certificate for certificate in self.certificates(account)
                 if cert_name == (certificate.name if self.switches.pili_by == "name"
                                  else certificate.cert_id)]
        if not found:
            raise Refusal(400, "no such certificate")
        if len(found) > 1 and self.switches.pili_duplicate_names == "refuse":
            raise Refusal(400, "certificate name is ambiguous")
        return found[-1]

    def _fingerprint(self, cert_id: str) -> str:
        certificate = self._certificates.get(cert_id)
        return certificate.fingerprint if certificate else ""
