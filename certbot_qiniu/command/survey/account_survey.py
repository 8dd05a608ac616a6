"""Observe one account, as far as a survey is for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from enum import Enum, auto

from certbot_qiniu import errors
from certbot_qiniu.command.survey.facts import AccountFacts, LineageFacts
from certbot_qiniu.deployment.certificates import is_expired_stray, left_behind
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.observe import known_details, observe_alone, read_details
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import Domain, RemoteCertificate, certificate_name

MANY = 20
"""So many calls are announced, unless the user has asked for each of them."""


class Scope(Enum):
    """The part of the accounts that is observed, from less to more."""

    MANAGED = auto()
    """All that certbot manages; no list, if reading that one by one takes fewer calls."""
    NEW = auto()
    """The list of domains, and in detail those that a renewal would read."""
    DELETIONS = auto()
    """The same, and who uses those of our certificates that a renewal would delete."""
    CERTIFICATES = auto()
    """The same, and all certificates, with the users of those of ours that may go."""
    ALL = auto()
    """Each domain in detail, and all certificates."""


class AccountSurvey:
    """The observations of one account so far.

    :param name: the path of its credentials file.
    :param announce: is told what takes many calls, and how many, before they are made.
    :ivar managed: the domains there that lineages manage.
    :ivar observed: what was read in detail; the planning of lineages reads most of it.
    :ivar unread: why others could not be read.
    :ivar problem: why ends of certificates are not known, None if they are.
    """

    def __init__(self, context: Context, name: str, scope: Scope,
                 announce: Callable[[str, int], None]) -> None:
        self.context, self.name, self.scope, self.announce = context, name, scope, announce
        self.account = context.account
        self.managed: list[str] = []
        self.observed: dict[str, Domain] = {}
        self.unread: dict[str, errors.QiniuError] = {}
        self.problem: errors.ApiError | None = None

    def read(self) -> None:
        """Read what the planning of the account's lineages does not read by itself.

        :raises errors.ApiError: if a list cannot be read, or Qiniu does not accept the keys.
        """
        account = self.account
        if (self.scope is Scope.MANAGED and len(self.managed) <= account.list_calls
                and observe_alone(self.context, self.managed)):
            return
        account.domains()
        if self.scope in (Scope.CERTIFICATES, Scope.ALL):
            account.certificates()
        if self.scope is Scope.ALL:
            self._read_all()

    def _read_all(self) -> None:
        """Read every domain in detail that may have a certificate.

        :raises errors.ApiError: if their list cannot be read.
        """
        listed = dict(self.account.domains())
        names = [name for name, domain in listed.items()
                 if domain.protocol == "https" or domain.state == "processing"]
        if calls := len(names) - len(known_details(self.context, names, listed)):
            self.announce(f"Reading {calls} domain{'s' * (calls != 1)}", calls)
        details, failures = read_details(self.context, names, listed)
        self.unread.update(failures)
        self.observed.update({name: domain for name, domain in details.items() if domain})

    def _users(self, ids: Collection[str], certificates: dict[str, RemoteCertificate],
               ) -> dict[str, Collection[str]]:
        """Ask who uses these certificates, as far as it is not known whether anybody does.

        :param certificates: the account's. If they were not listed, one of whose users Qiniu says
            nothing is taken out: it may be gone.
        """
        found: dict[str, Collection[str]] = {}
        asked = sorted(certificates.keys() & ids)
        if len(asked) >= MANY:
            self.announce(f"Asking who uses {len(asked)} certificates", len(asked))
        for cert_id in asked:
            try:
                users = self.account.users(certificates[cert_id])
            except errors.Refused:
                if self.account.has_certificates:
                    raise
                users = None
            if users is not None:
                found[cert_id] = users
            elif not self.account.has_certificates:
                del certificates[cert_id]
            else:  # no list shows them
                self._read_all()
                return {}
        return found

    def facts(self, lineages: Iterable[LineageFacts]) -> AccountFacts:
        """Return the facts of the account, once its *lineages* were observed.

        :raises errors.ApiError: if a list cannot be read.
        """
        account, context = self.account, self.context
        certificates = self._certificates()
        ids: set[str] = set()
        if self.scope in (Scope.DELETIONS, Scope.CERTIFICATES):
            ids.update(cert_id for lineage in lineages if lineage.account == self.name and (
                lineage.is_settled or self.scope is Scope.CERTIFICATES)
                for cert_id in lineage.superseded)
        if self.scope is Scope.CERTIFICATES:
            now, uploads = context.clock(), context.memory.uploads
            ids.update(*left_behind(context).values())
            ids.update(item.cert_id for item in certificates.values()
                       if is_expired_stray(item, uploads, now))
        used_by = self._users(ids, certificates)
        listed = account.domains()
        domains = {**listed, **known_details(context, list(listed), listed)}
        for domain in self.observed.values():
            record = context.memory.domains.get(domain.name, Record())
            if domain.state == "processing" and not domain.detailed and record.sent and record.seen:
                # Until the change is published it serves the same as when we sent it.
                domain = replace(domain, cert_id=record.seen.cert_id)
            domains[domain.name] = domain
        for one in set(self.managed) & self.unread.keys() - domains.keys():
            domains[one] = Domain(one, protocol="", state="")
        if not account.has_certificates:
            certificates |= self._ends(domains.values())
        return AccountFacts(self.name, domains, certificates, used_by)

    def _certificates(self) -> dict[str, RemoteCertificate]:
        """Return the certificates of an account: all if listed, otherwise those that are known."""
        if self.account.has_certificates:
            return dict(self.account.certificates())
        return {cert_id: RemoteCertificate(cert_id, certificate_name(
                    upload.lineage, upload.fingerprint))
                for cert_id, upload in self.context.memory.uploads.items()
                if upload.may_be_in(self.context.account_name)}

    def _ends(self, domains: Iterable[Domain]) -> dict[str, RemoteCertificate]:
        """Find the certificates that these domains serve, with their ends."""
        found: dict[str, RemoteCertificate] = {}
        lost: set[str] = set()
        for domain in domains:
            upload = self.context.memory.uploads.get(domain.cert_id)
            foreign = self.context.memory.domains.get(domain.name, Record()).foreign
            if upload and domain.cert_id not in found:
                ours = self.context.lineages.find(upload.lineage, upload.fingerprint)
                if ours:
                    found[domain.cert_id] = RemoteCertificate(
                        domain.cert_id, ours.remote_name, ours.names,
                        int(ours.not_before.timestamp()), int(ours.not_after.timestamp()))
                else:
                    lost.add(domain.cert_id)
            elif foreign and foreign.cert_id == domain.cert_id:
                found[foreign.cert_id] = foreign
        try:
            found |= self.account.certificates_among(lost)
        except errors.ApiError as error:  # all else is known
            self.problem = error
        return found
