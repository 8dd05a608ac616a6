"""A Qiniu account: its certificates, and the domains of each of its services.

Neither the planner nor the reconciler knows one service from another: each keeps one small contract
(:class:`~certbot_qiniu.qiniu.service.Service`). A new service is a new module next to this one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.credentials import Credentials
from certbot_qiniu.model import SERVICES, Domain, RemoteCertificate
from certbot_qiniu.qiniu.cdn import Cdn
from certbot_qiniu.qiniu.client import QiniuClient
from certbot_qiniu.qiniu.kodo import Kodo
from certbot_qiniu.qiniu.pili import Pili
from certbot_qiniu.qiniu.service import Notes, Service
from certbot_qiniu.qiniu.transport import CALLS_PER_SECOND, GENTLE_CALLS_PER_SECOND

logger = logging.getLogger(__name__)

LISTS_MAX_AGE_SECONDS = 600.0
"""A run over hundreds of lineages asks for the lists once, one that lasts hours asks again."""

FEW_CALLS = 6
"""The assumed cost of a list of unknown length: reading so many domains singly costs the same."""

FEW_LOOKS = 3
"""So many times the list of certificates is read only as far as needed; then to its end."""


@dataclass
class Lists:
    """The lists of an account, shared by all who look at it, whatever services they see.

    :ivar domains: service -> when its domains were listed, and these.
    :ivar refused: service -> when its domains were asked for in vain, and what Qiniu said.
    :ivar are_presumed: whether the domains were not listed, see :meth:`Account.presume`.
    :ivar unread: of those that were presumed, what could not be read, and why.
    :ivar turn: the managed domains that this run reads although no list shows a change; None
        until they are chosen.
    :ivar certificates: all of them by id; None until they are listed.
    :ivar met: id -> when a list was read for it, and what that had of it; so for what was met on
        the way.
    :ivar looks: how many times a part of the list of certificates was read.
    """

    domains: dict[str, tuple[float, list[Domain]]] = field(default_factory=dict)
    refused: dict[str, tuple[float, errors.Refused]] = field(default_factory=dict)
    are_presumed: bool = False
    unread: dict[str, errors.QiniuError] = field(default_factory=dict)
    turn: Collection[str] | None = None
    certificates: dict[str, RemoteCertificate] | None = None
    certificates_at: float = 0.0
    met: dict[str, tuple[float, RemoteCertificate | None]] = field(default_factory=dict)
    looks: int = 0


class Account:
    """One Qiniu account, with its lists fetched once.

    :param services: its services, in the order in which a domain is looked for in them.
    :param lists: shared with others who look at the account.
    :ivar optional: services that an account may well not have: failing to list one is an error only
        for domains that are managed there.
    :ivar guards: services that are asked who uses a certificate although they are not chosen.
    :ivar notes: facts from earlier runs.
    """

    def __init__(self, client: QiniuClient, services: Iterable[Service] = (), *,
                 clock: Callable[[], float] = time.monotonic, lists: Lists | None = None) -> None:
        self.client = client
        self.services = {service.name: service for service in services} or {"cdn": Cdn(client)}
        self.optional: Collection[str] = ()
        self.guards: Collection[Service] = ()
        self.notes = Notes()
        self._clock = clock
        self._lists = lists or Lists()
        self._failures: dict[str, errors.ApiError] = {}
        self._domains: dict[str, Domain] | None = None
        self._listed_at = 0.0

    def domains(self, *, refresh: bool = False) -> dict[str, Domain]:
        """Return all domains by name, from the lists.

        :raises errors.ApiError: if a list cannot be read, unless its service is optional.
        """
        return self.domains_and_failures(refresh=refresh, strict=True)[0]

    def domains_and_failures(self, *, refresh: bool = False, strict: bool = False,
                             among: Collection[str] = (),
                             ) -> tuple[dict[str, Domain], dict[str, errors.ApiError]]:
        """Return all domains by name, and the reason for each service whose list cannot be read.

        A refresh is for the services that take time to publish: the list of another one shows
        only which domains there are.

        :param strict: only an optional service may fail.
        :param among: those that a refresh is for, should they not be all.
        :raises errors.ApiError: if another one fails.
        """
        known = None if self._is_old(self._listed_at) else self._domains
        if known is None or refresh:
            found: dict[str, Domain] = {}
            failures: dict[str, errors.ApiError] = {}
            times = [self._clock()]
            for name, service in self.services.items():
                try:
                    if known is not None and not service.publishes and name in self._failures:
                        raise self._failures[name]
                    at, listed = self._list(service, refresh=refresh and service.publishes,
                                            among=among)
                except errors.ApiError as error:
                    if strict and name not in self.optional:
                        raise
                    failures[name] = error
                    if name in self.optional:
                        self._warn(self._subject(name), f"{error.status} {error.text}",
                                   f"Domains of the service {name} are not looked for: {error}")
                    continue
                if name in self.optional:
                    self.notes.told.pop(self._subject(name), None)
                times.append(at)
                for domain in listed:
                    self._claim(found, domain)
            if failures.keys() - set(self.optional):
                return found, failures  # half a list is not kept
            self._domains, self._failures, known = found, failures, found
            self._listed_at = min(times)
        return known, self._failures

    def _list(self, service: Service, *, refresh: bool,
              among: Collection[str] = ()) -> tuple[float, list[Domain]]:
        """Return the time at which the domains of a service were listed, and these."""
        known = self._lists.domains.get(service.name)
        if known and not self._is_old(known[0]):
            if not refresh:
                return known
            # Who waits for three domains does not list ten thousand again and again.
            if FEW_CALLS < self.list_calls > len(among) > 0 and (
                    renewed := self._reread(service, known[1], among)):
                self._lists.domains[service.name] = known[0], renewed
                return known[0], renewed
        at, refusal = self._lists.refused.get(service.name, (0.0, None))
        if refusal and not refresh and not self._is_old(at):
            raise refusal  # hundreds of lineages need not hear it each for itself
        before = self.client.calls
        try:
            listed = list(service.list())
        except errors.Refused as error:
            if 400 <= error.status < 500:  # a fault of Qiniu's own may be over at the next call
                self._lists.refused[service.name] = self._clock(), error
            raise
        self._lists.domains[service.name] = found = self._clock(), listed
        # This list is of the whole account, even if an older one was presumed.
        self._lists.are_presumed, self._lists.unread = False, {}
        if service.name == "cdn":
            if known is None:
                self._lists.turn = None  # other services do not show when a domain changed
            calls = self.client.calls - before
            if calls > FEW_CALLS:
                self.notes.told[self._long_list] = str(calls)
            else:
                self.notes.told.pop(self._long_list, None)
        return found

    def _reread(self, service: Service, listed: Iterable[Domain],
                names: Collection[str]) -> list[Domain] | None:
        """Return a list with what it would say of *names* now; None if only itself can tell."""
        found = {domain.name: domain for domain in listed}
        for name in names:
            if name in found:
                try:
                    domain = service.observe(name)
                except errors.ApiError as error:
                    logger.debug("%s", error)
                    return None
                if domain is None:
                    return None
                found[name] = replace(
                    found[name], protocol=domain.protocol, state=domain.state,
                    state_reason=domain.state_reason, operation=domain.operation,
                    modified=domain.modified)
        return list(found.values())

    @property
    def is_presumed(self) -> bool:
        """Whether its domains are those that were read in detail, see :meth:`presume`."""
        return self._lists.are_presumed

    def turn(self, choose: Callable[[list[str]], Collection[str]]) -> Collection[str]:
        """Return the managed domains that this run reads although no list shows a change.

        :param choose: chooses them from the listed names, once for all who look at the account.
        """
        lists = self._lists
        if lists.turn is None:
            lists.turn = choose([domain.name for _, listed in lists.domains.values()
                                 for domain in listed])
        return lists.turn

    @property
    def list_calls(self) -> int:
        """The number of calls that the list of domains takes, as far as that is known."""
        calls = self.notes.told.get(self._long_list, "")
        return int(calls) if calls.isdecimal() else FEW_CALLS

    @property
    def _long_list(self) -> str:
        return f"calls for the list of domains {self.client.account}"

    def presume(self, domains: Iterable[Domain],
                unread: Mapping[str, errors.QiniuError] | None = None) -> None:
        """Treat these domains, which were read in detail, as all that matter in the account.

        For a caller that changes nothing and asks for no other domain.

        :param unread: those that could not be read, and why: they are not asked for again.
        """
        known, now = list(domains), self._clock()
        self._domains, self._lists.are_presumed = None, True
        self._lists.unread = dict(unread or {})
        self._lists.domains = {service: (now, [domain for domain in known
                                               if domain.service == service])
                               for service in SERVICES}

    def _claim(self, found: dict[str, Domain], domain: Domain) -> None:
        """Enter a listed domain, unless an earlier service has one of its name."""
        other = found.setdefault(domain.name, domain).service
        # A CDN domain is in the list of its bucket, too: that is no conflict.
        if other not in (domain.service, "cdn"):
            self._warn(domain.name, domain.service, (
                f"{domain.name} is listed by the services {other} and {domain.service}; it is "
                f"taken as a domain of {other}. If that is wrong, leave {other} out of "
                "--qiniu-services"))

    def _warn(self, subject: str, reason: str, text: str) -> None:
        """Warn only once for the same reason, which may last for good."""
        told = self.notes.told
        logger.log(logging.INFO if told.get(subject) == reason else logging.WARNING, "%s", text)
        told[subject] = reason

    def _subject(self, service: str) -> str:
        return f"{service} {self.client.account}"

    def certificates(self, *, refresh: bool = False) -> dict[str, RemoteCertificate]:
        """Return all certificates by id.

        :raises errors.ApiError: if the list cannot be read.
        """
        lists = self._lists
        if lists.certificates is None or refresh or self._is_old(lists.certificates_at):
            self._keep_certificates({
                item.cert_id: item for item in self.client.list_certificates()})
        return lists.certificates or {}

    def certificates_among(self, ids: Collection[str]) -> dict[str, RemoteCertificate]:
        """Find these certificates by id: the list is read until it has shown them.

        :raises errors.ApiError: if it cannot be read.
        """
        lists, known = self._lists, dict[str, RemoteCertificate | None]()
        listed = {} if self._is_old(lists.certificates_at) else lists.certificates or {}
        for cert_id in ids:
            at, item = lists.met.get(cert_id, (0.0, None))
            if cert_id in listed:
                known[cert_id] = listed[cert_id]
            elif cert_id in lists.met and not self._is_old(at):
                known[cert_id] = item
        # An id that was looked for in vain is not looked for again; any other may be new.
        if unknown := set(ids) - known.keys():
            is_part = lists.looks < FEW_LOOKS
            lists.looks += 1
            found = {item.cert_id: item
                     for item in self.client.list_certificates(unknown if is_part else ())}
            if not (is_part and unknown <= found.keys()):  # it was read to its end
                self._keep_certificates(found)
            now = self._clock()
            lists.met |= {cert_id: (now, found.get(cert_id)) for cert_id in {*unknown, *found}}
            known |= {cert_id: found.get(cert_id) for cert_id in unknown}
        return {cert_id: item for cert_id, item in known.items() if item}

    def _keep_certificates(self, listed: dict[str, RemoteCertificate]) -> None:
        lists = self._lists
        lists.certificates, lists.certificates_at = listed, self._clock()
        lists.met = {cert_id: entry for cert_id, entry in lists.met.items() if entry[1] is None}

    @property
    def has_certificates(self) -> bool:
        """Whether the list of certificates was read already."""
        return self._lists.certificates is not None

    def _is_old(self, at: float) -> bool:
        return self._clock() - at > LISTS_MAX_AGE_SECONDS

    def service_of(self, name: str) -> Service:
        """Return the service that *name* belongs to, the first one for an unknown name."""
        domain = (self._domains or {}).get(name)
        return self.services[domain.service] if domain else next(iter(self.services.values()))

    def observe(self, name: str, service: str = "") -> Domain | None:
        """Return one domain in detail; a name that is in no list is looked for in every service.

        :param service: the one that it belonged to when it was last seen.
        :raises errors.ApiError: if it cannot be read, nor the service that it may belong to.
        """
        if failure := self._lists.unread.get(name):
            raise failure
        if name in (self._domains or {}):
            return self.service_of(name).observe(name)
        problem = None
        for asked in sorted(self.services.values(), key=lambda item: item.name != service):
            try:
                found = asked.observe(name)
            except errors.ApiError as error:
                if service == asked.name:
                    raise  # none of the others could tell whether it is there
                if not service:
                    problem = problem or error
            else:
                if found:
                    return found
        if problem:
            raise problem
        return None

    def note(self, domain: Domain) -> None:
        """Update the list with what is known of *domain* since."""
        if self._domains is not None:
            known = self._domains.get(domain.name)
            self._domains[domain.name] = replace(
                known or domain, state=domain.state, operation=domain.operation)

    def note_upload(self, certificate: RemoteCertificate) -> None:
        """Add a fresh upload to the list."""
        self._lists.met[certificate.cert_id] = self._clock(), certificate
        if self._lists.certificates is not None:
            self._lists.certificates[certificate.cert_id] = certificate

    def delete(self, cert_id: str) -> bool:
        """Delete a certificate; false if Qiniu says that it is in use.

        :raises errors.ApiError: if Qiniu refuses for another reason or does not answer.
        """
        gone = self.client.delete_certificate(cert_id)
        if gone:
            self._lists.met.pop(cert_id, None)
        if gone and self._lists.certificates is not None:
            self._lists.certificates.pop(cert_id, None)
        return gone

    def users(self, certificate: RemoteCertificate) -> set[str] | None:
        """Return the domains of all services that serve *certificate*; None if that is unknown.

        :raises errors.ApiError: if a list cannot be read.
        """
        found: set[str] = set()
        for service in (*self.services.values(), *self.guards):
            users = service.users(certificate)
            if users is None:
                return None
            found |= users
        return found


def open_account(client: QiniuClient, names: Collection[str],
                 lists: Lists | None = None) -> Account:
    """Return the account behind *client*, with the named services."""
    account = Account(client, lists=lists)
    pili = Pili(client, account.certificates)
    services: list[Service] = [Cdn(client), Kodo(client, account.notes), pili]
    account.services = {service.name: service for service in services if service.name in names}
    account.optional = {"kodo"}  # one of the defaults, which not every key may use
    # Qiniu refuses to delete what a CDN or source domain serves. Of live domains that is unknown.
    account.guards = () if "pili" in names else (pili,)
    return account


class Accounts:
    """The Qiniu accounts of a process, each opened once, whatever the number of lineages.

    Lineages with other services see the same account differently, and share its client and lists.
    Two files with one access key are one account only if their secrets are equal, too: a wrong
    secret in one file must not harm users of the other.

    :param config_dir: certbot's; files of its owner are trusted.
    :param gentle: leave most of what Qiniu allows the account to its other programs.
    :ivar rates: the most calls a second, by host.
    """

    def __init__(self, config_dir: Path | None = None, *, gentle: bool = False) -> None:
        self._config_dir = config_dir
        self.rates = GENTLE_CALLS_PER_SECOND if gentle else CALLS_PER_SECOND
        self._clients: dict[Credentials, tuple[QiniuClient, Lists]] = {}
        self._open: dict[tuple[Credentials, frozenset[str]], Account] = {}

    def get(self, credentials: str | None, services: Collection[str] = SERVICES) -> Account:
        """Return the account behind a credentials file, with the named services.

        :raises errors.UsageError: if the file is missing or bad.
        """
        if not credentials:
            raise errors.UsageError(
                "No Qiniu credentials are known; name the file with --qiniu-credentials PATH")
        keys = Credentials.load(credentials, self._config_dir)
        if keys not in self._clients:
            self._clients[keys] = QiniuClient(
                keys.access_key, keys.secret_key, rates=self.rates, source=credentials), Lists()
        view = keys, frozenset(services)
        if view not in self._open:
            client, lists = self._clients[keys]
            self._open[view] = open_account(client, services, lists)
        return self._open[view]
