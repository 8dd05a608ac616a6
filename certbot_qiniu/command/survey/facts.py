"""The facts of a survey, and what follows from them: nothing is asked or read here."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from certbot_qiniu.command.survey.edge import Probe
from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.planning.hold import Served
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.model import Certificate, Domain, RemoteCertificate, certificate_name
from certbot_qiniu.targets.hook import Hook


@dataclass(frozen=True)
class AccountFacts:
    """The facts known of a Qiniu account.

    :ivar name: the path of its credentials file.
    :ivar domains: those in the survey's scope; what they serve is unknown if they were not read in
        detail.
    :ivar certificates: all of them if they were listed, otherwise those that are ours or known.
    :ivar used_by: id -> domains, for certificates about whose users Qiniu was asked.
    """

    name: str
    domains: Mapping[str, Domain] = field(default_factory=dict)
    certificates: Mapping[str, RemoteCertificate] = field(default_factory=dict)
    used_by: Mapping[str, Collection[str]] = field(default_factory=dict)

    def users(self, cert_id: str) -> tuple[str, ...]:
        """Return the domains that are known to serve a certificate."""
        return tuple(sorted({*self._serving.get(cert_id, ()), *self.used_by.get(cert_id, ())}))

    @functools.cached_property
    def _serving(self) -> Mapping[str, Collection[str]]:
        """Find the domains that serve each certificate: there may be thousands of both."""
        found: dict[str, list[str]] = {}
        for domain in self.domains.values():
            found.setdefault(domain.cert_id, []).append(domain.name)
        return found


@dataclass(frozen=True)
class LineageFacts:
    """The facts known of a lineage that is deployed to Qiniu.

    :ivar account: the name of its account.
    :ivar certificate: its newest certificate, if that can be read.
    :ivar renews: whether its renewal conf names this plugin.
    :ivar reconfigure: the command that makes it name it again.
    :ivar held: whether a rollback keeps its newest certificate from being deployed.
    :ivar kept_on: the certificates that domains serve under that hold and that can end.
    :ivar actions: what the next ``certbot renew`` would do with its domains.
    :ivar uploads: names of the certificates that it would upload for that.
    :ivar superseded: ids of its certificates at Qiniu that nothing here needs any more.
    :ivar server: the local web server that it is deployed to, "" for none.
    :ivar hooks: the user's programs that are run for it.
    :ivar reload: the web server that was not yet seen to serve the newest certificate, "" for none.
    """

    name: str
    account: str
    certificate: Certificate | None = None
    renews: bool = True
    held: bool = False
    kept_on: tuple[Served, ...] = ()
    actions: tuple[Action, ...] = ()
    uploads: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    reload: str = ""
    server: str = ""
    hooks: tuple[Hook, ...] = ()
    reconfigure: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether its domains are in sync, so that a renewal cleans up behind it."""
        return not self.held and all(
            action.verb in (Verb.KEEP, Verb.SKIP, Verb.FORGET) for action in self.actions)


@dataclass(frozen=True)
class Survey:
    """All observations, at one moment.

    :ivar records: the memory of each domain.
    :ivar uploads: Qiniu's id -> (lineage, fingerprint) of certificates that are ours.
    :ivar left_behind: ids of certificates, in these accounts, of lineages that certbot deleted or
        that are in another account now, and that nothing here needs any more.
    :ivar elsewhere: ids of our certificates in accounts that no lineage uses any more.
    :ivar unread: why some domains could not be read.
    :ivar findings: problems that are not about single domains.
    :ivar bygone: domains that have been gone for so long that it needs no attention any more, or
        were let go, and lineages that certbot deleted.
    :ivar blind: lineages, and domains of theirs, that could not be looked at; None for all.
    :ivar notes: remarks that ``certbot renew`` would make.
    :ivar edges: what the edge answered, for the domains that were probed.
    """

    now: float
    accounts: tuple[AccountFacts, ...] = ()
    lineages: tuple[LineageFacts, ...] = ()
    records: Mapping[str, Record] = field(default_factory=dict)
    uploads: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    bygone: tuple[str, ...] = ()
    blind: Collection[str] | None = ()
    notes: tuple[str, ...] = ()
    edges: Mapping[str, Probe] = field(default_factory=dict)
    left_behind: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    def managed(self) -> dict[str, tuple[LineageFacts, Action]]:
        """Return the managed domains, each with its lineage and its action."""
        return {action.name: (lineage, action) for lineage in self.lineages
                for action in lineage.actions}

    def lineage_of(self, domain: str) -> str | None:
        """Return the lineage that manages a domain, even if it could not be read."""
        record = self.records.get(domain, Record())
        return None if record.let_go or record.gone else record.lineage or None

    def being_published(self) -> set[str]:
        """Return the ids of the certificates that domains are about to serve."""
        return {record.sent.binding.cert_id for account in self.accounts
                for domain in account.domains.values() if domain.state == "processing"
                if (record := self.records.get(domain.name)) and record.sent}

    def superseded(self, lineage: LineageFacts) -> list[RemoteCertificate]:
        """Return the certificates of a lineage that the next clean-up deletes."""
        account = next((one for one in self.accounts if one.name == lineage.account), None)
        if account is None or lineage.held or self.unread:
            return []
        return self._deletable(account, lineage.superseded)

    def superseded_left_behind(self) -> list[RemoteCertificate]:
        """List the certificates of deleted lineages and former accounts that a clean-up deletes."""
        return [] if self.unread else [
            item for account in self.accounts
            for item in self._deletable(account, self.left_behind)]

    def _deletable(self, account: AccountFacts, ids: Iterable[str]) -> list[RemoteCertificate]:
        found = [account.certificates[cert_id] for cert_id in ids
                 if cert_id in account.certificates and not account.users(cert_id)]
        # Certificates that another program uploaded under its own names are its own to delete.
        return [item for item in found if item.name == certificate_name(
            *self.uploads.get(item.cert_id, ("", "")))]

    def failures(self) -> list[Finding]:
        """List what a ``certbot renew`` would report as failed, or could not observe."""
        failed = [Finding(Level.ATTENTION, action.name, action.reason.value,
                          wording.sentence(action))
                  for lineage in self.lineages for action in lineage.actions
                  if action.verb in (Verb.FAIL, Verb.LEAVE) or action.reason is Reason.NOT_FOUND]
        failed += [Finding(Level.ATTENTION, action.name, Reason.TLS_VERSIONS_REFUSED.value,
                           wording.tls_refused([action.name], action.tls_refusal))
                   for lineage in self.lineages for action in lineage.actions
                   if action.tls_refusal and action.verb is not Verb.FAIL]
        unread = [Finding(Level.UNKNOWN, name, "Unreadable", text)
                  for name, text in self.unread.items()]
        return [*failed, *unread, *self.findings]
