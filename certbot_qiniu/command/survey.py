"""Observe accounts and lineages, and change nothing, neither here nor at Qiniu.

Qiniu is asked only for managed domains and those that would be taken as well, unless a user wants
to see all: an account may have ten thousand domains of others. The files are opened read-only, so
the steps of ``certbot renew`` itself can be done: their writes stay in memory, and their changes at
Qiniu are only planned.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command.edge import Probe
from certbot_qiniu.command.health import Finding, Level
from certbot_qiniu.deployment import holds, wording
from certbot_qiniu.deployment.certificates import (
    is_expired_stray,
    left_behind,
    remember_copies,
    too_old,
    unneeded,
)
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.deployer import Deployer, open_deployer
from certbot_qiniu.deployment.missing import expected
from certbot_qiniu.deployment.observe import known_details, observe_alone, read_details
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.planning.hold import Served
from certbot_qiniu.deployment.reconcile import Options, observe_and_plan
from certbot_qiniu.deployment.state import Memory, Record
from certbot_qiniu.failures import each_cause, told_once
from certbot_qiniu.lineages import Renewal, problems, read_renewals, reconfigure_command
from certbot_qiniu.model import DAY, Certificate, Domain, RemoteCertificate, certificate_name
from certbot_qiniu.qiniu.account import Account, Accounts
from certbot_qiniu.qiniu.transport import API
from certbot_qiniu.targets.hook import Hook, hooks_of
from certbot_qiniu.webserver.nginx import Nginx

GONE_SECONDS = 7 * DAY
"""A domain that is gone needs attention for so long."""

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
        return tuple(sorted({domain.name for domain in self.domains.values()
                             if domain.cert_id == cert_id}.union(self.used_by.get(cert_id, ()))))


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
    :ivar bygone: domains gone for so long that they need no attention any more.
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


def survey(config: Any, only: str = "", *, scope: Scope = Scope.DELETIONS, gentle: bool = False,
           announce: Callable[[str], None] = lambda text: None) -> Survey:
    """Observe the lineages that are deployed to Qiniu, and their accounts.

    :param config: certbot's configuration.
    :param only: the one lineage to observe, "" for all.
    :param gentle: nobody waits for the result: leave most of the accounts' calls to others.
    :param announce: called with a text before work that takes long.
    :raises errors.QiniuError: if it cannot even begin.
    """
    notes: list[str] = []
    try:
        deployer = open_deployer(config, notes.append, read_only=True, accounts=Accounts(
            Path(config.config_dir), gentle=gentle))
    except errors.StateError as error:
        return Survey(time.time(), findings=(
            Finding(Level.ATTENTION, "state", "State", str(error)),))
    renewals, damaged = read_renewals(Path(config.config_dir), config.given)
    collected = _Observations(deployer, scope, announce)
    collected.findings += [
        Finding(Level.ATTENTION, item.lineage, item.reason, f"{item.text}. {item.remedy}")
        for item in problems(Path(config.config_dir), renewals, deployer.known_lineages())
        if only in ("", item.lineage)]
    collected.findings += [Finding(Level.ATTENTION, "renewal", "Damaged", text) for text in damaged]
    collected.findings += [Finding(Level.ATTENTION, lineage, "State", str(error))
                           for lineage, error in sorted(deployer.store.damaged.items())]
    known = set(deployer.all_lineages()) | {
        name for name, renewal in renewals.items() if renewal.is_ours}
    if only and only not in known:
        raise errors.UsageError(f"certbot deploys no certificate {only} to Qiniu; it does deploy: "
                                f"{', '.join(sorted(known)) or 'none'}")
    # Surveying the others forgets the domains of a deleted lineage, with a warning.
    observed = {name: renewals[name] for name in sorted(known)
                if (only in ("", name) and name in renewals and deployer.lineages.exists(name)
                    and name not in deployer.store.damaged)}
    accounts = collected.open_accounts(observed)
    for name, renewal in observed.items():
        if name in accounts:
            collected.observe_lineage(name, renewal, *accounts[name])
    return collected.survey(notes)


class _Observations:
    """The observations so far."""

    def __init__(self, deployer: Deployer, scope: Scope = Scope.NEW,
                 announce: Callable[[str], None] = lambda text: None) -> None:
        self.deployer, self.scope, self.announce = deployer, scope, announce
        self.memory = deployer.store.memory
        self.findings: list[Finding] = []
        self.bygone: list[str] = []
        self.unread: dict[str, errors.QiniuError] = {}
        self.lineages: list[LineageFacts] = []
        self.names: dict[Account, str] = {}
        self.managed: dict[Account, list[str]] = {}
        self.contexts: dict[Account, Context | None] = {}  # None if it is out of reach
        self.observed: dict[Account, dict[str, Domain]] = {}
        self.clock: Callable[[], float] | None = None

    def open_accounts(self, renewals: Mapping[str, Renewal]) -> dict[str, tuple[Context, str]]:
        """Find each lineage's account, and the path of its credentials; report those without."""
        deployer, found = self.deployer, dict[str, tuple[Context, str]]()
        for name, renewal in renewals.items():
            try:
                credentials = deployer.credentials_of(name, renewal.settings) or ""
                context = deployer.context(credentials)
            except errors.UsageError as error:
                self.findings.append(Finding(Level.ATTENTION, name, "Credentials", str(error)))
                continue
            found[name] = context, credentials
            self.clock = context.clock
            self.managed.setdefault(context.account, []).extend(expected(deployer.store, name))
        return found

    def observe_lineage(self, name: str, renewal: Renewal, context: Context,
                        credentials: str) -> None:
        """Observe a lineage and its account."""
        if not self.observe_account(context, credentials):
            return
        try:
            facts = self.plan_renewal(context, self.names[context.account], name, renewal)
        except errors.QiniuError as error:
            # Broken links are a better explanation than an unreadable certificate.
            if (name, "BrokenLinks") not in {(one.subject, one.reason) for one in self.findings}:
                self.problem(name, error)
            return
        self.lineages.append(facts)
        for domain, record in sorted(self.memory.domains_of(name).items()):
            if record.gone and context.clock() - record.gone.at < GONE_SECONDS:
                self.findings.append(Finding(
                    Level.ATTENTION, domain, "Gone",
                    wording.gone(domain, record.gone.at, name if facts.held else "")))
            elif record.gone:
                self.bygone.append(domain)

    def plan_renewal(self, context: Context, account: str, name: str,
                     renewal: Renewal) -> LineageFacts:
        """Do the steps of a renewal of *name*, up to the first change that would be sent.

        :raises errors.QiniuError: if that is not possible.
        """
        settings, memory = renewal.settings, self.memory
        certificate = context.lineages.current(name)
        if context.account.has_certificates:
            remember_copies(context, name)
        superseded = unneeded(context, name, settings.keep_certificates)
        if renewal.is_ours:
            found = self.deployer.converge(
                name, settings, look_for_new=self.scope is not Scope.MANAGED).errors
            on_hold = [error for error in found if isinstance(error, errors.DeployError)
                       and memory.lineage(name).hold == certificate.fingerprint]
            for reason, problems in ("Held", on_hold), (
                    "Domains", [error for error in found if error not in on_hold]):
                self.findings += [Finding(Level.ATTENTION, name, reason, problem)
                                  for problem in told_once(problems)]
        planned = observe_and_plan(context, [name], Options(listed=settings.domains or ()))
        for error in planned.certificate_failures.values():
            self.problem(name, error)
        self.unread.update(planned.domain_failures)
        self.observed.setdefault(context.account, {}).update(planned.observed)
        wanted = {action.binding.fingerprint for action in planned.actions
                  if action.verb is Verb.BIND and action.binding} - {""}
        if certificate.fingerprint in wanted and (doubt := too_old(context, certificate)):
            self.findings.append(Finding(Level.ATTENTION, name, "TooOld", doubt))
        server = settings.other_installer or ("" if settings.skip_nginx or Nginx(
            settings.nginx_test_cmd, settings.nginx_reload_cmd).is_idle else "nginx")
        versions = {one.fingerprint: one.remote_name for one in context.lineages.versions(name)}
        held = memory.lineage(name).hold == certificate.fingerprint
        kept_on = holds.served_instead(context, certificate)[0] if held else ()
        return LineageFacts(
            name, account, certificate, renewal.is_ours,
            held=held, kept_on=tuple(kept_on), actions=tuple(planned.actions),
            uploads=tuple(versions.get(one, one) for one in sorted(wanted)
                          if not context.uploads_of(one)),
            superseded=tuple(superseded),
            server=server, hooks=self.observe_hooks(name, settings.hook, certificate),
            reload=server if memory.lineage(name).nginx != certificate.fingerprint else "",
            reconfigure=remembered_command(memory, name))

    def observe_hooks(self, name: str, hook: str | None, certificate: Certificate,
                      ) -> tuple[Hook, ...]:
        """Return the user's programs, and the result of each."""
        try:
            return hooks_of(
                hook, self.memory.lineage(name), certificate.fingerprint) if hook else ()
        except errors.UsageError as error:
            self.findings.append(Finding(Level.ATTENTION, name, "HookUnusable", str(error)))
            return ()

    def observe_account(self, context: Context, credentials: str) -> bool:
        """Observe an account, once; false if that is not possible."""
        account = context.account
        if account not in self.contexts:
            self.names[account] = credentials
            try:
                self.read_account(context)
                self.contexts[account] = context
            except errors.ApiError as error:
                self.contexts[account] = None
                self.problem(credentials, error)
        return self.contexts[account] is not None

    def read_account(self, context: Context) -> None:
        """Read the parts of an account that the planning of its lineages does not read.

        :raises errors.ApiError: if a list cannot be read, or Qiniu does not accept the keys.
        """
        account, managed = context.account, self.managed.get(context.account, [])
        if (self.scope is Scope.MANAGED and len(managed) <= account.list_calls
                and observe_alone(context, managed)):
            return
        account.domains()
        if self.scope in (Scope.CERTIFICATES, Scope.ALL):
            account.certificates()
        if self.scope is Scope.ALL:
            self.read_all(context)

    def read_all(self, context: Context) -> None:
        """Read every domain in detail that may have a certificate.

        :raises errors.ApiError: if their list cannot be read.
        """
        listed = dict(context.account.domains())
        names = [name for name, domain in listed.items()
                 if domain.protocol == "https" or domain.state == "processing"]
        if calls := len(names) - len(known_details(context, names, listed)):
            self.announce_calls(f"Reading {calls} domain{'s' * (calls != 1)}", calls)
        details, failures = read_details(context, names, listed)
        self.unread.update(failures)
        self.observed.setdefault(context.account, {}).update(
            {name: domain for name, domain in details.items() if domain})

    def announce_calls(self, what: str, calls: int) -> None:
        """Announce work that takes long, with its duration."""
        minutes = calls / self.deployer.accounts.rates[API] / 60
        self.announce(f"{what} one by one takes about {calls} call{'s' * (calls != 1)} and "
                      f"{minutes:.1f} minutes")

    def users(self, context: Context, ids: Collection[str],
              certificates: dict[str, RemoteCertificate]) -> dict[str, Collection[str]]:
        """Return the users of those of these certificates about which Qiniu must be asked.

        :param certificates: the account's. If they were not listed, one of whose users Qiniu says
            nothing is taken out: it may be gone.
        """
        found: dict[str, Collection[str]] = {}
        asked = sorted(certificates.keys() & ids)
        if len(asked) >= MANY:
            self.announce_calls(f"Asking who uses {len(asked)} certificates", len(asked))
        for cert_id in asked:
            try:
                users = context.account.users(certificates[cert_id])
            except errors.Refused:
                if context.account.has_certificates:
                    raise
                users = None
            if users is not None:
                found[cert_id] = users
            elif not context.account.has_certificates:
                del certificates[cert_id]
            else:  # no list shows them
                self.read_all(context)
                return {}
        return found

    def account_facts(self, context: Context) -> AccountFacts:
        """Return the facts of an account, once its lineages were observed.

        :raises errors.ApiError: if a list cannot be read.
        """
        account, name = context.account, self.names[context.account]
        certificates = self.certificates(context)
        ids: set[str] = set()
        if self.scope in (Scope.DELETIONS, Scope.CERTIFICATES):
            ids.update(cert_id for lineage in self.lineages if lineage.account == name and (
                lineage.is_settled or self.scope is Scope.CERTIFICATES)
                for cert_id in lineage.superseded)
        if self.scope is Scope.CERTIFICATES:
            now, uploads = context.clock(), self.memory.uploads
            ids.update(*left_behind(context).values())
            ids.update(item.cert_id for item in certificates.values()
                       if is_expired_stray(item, uploads, now))
        used_by = self.users(context, ids, certificates)
        listed = account.domains()
        domains = {**listed, **known_details(context, list(listed), listed)}
        for domain in self.observed.get(account, {}).values():
            record = self.memory.domains.get(domain.name, Record())
            if domain.state == "processing" and not domain.detailed and record.sent and record.seen:
                # Until the change is published it serves the same as when we sent it.
                domain = replace(domain, cert_id=record.seen.cert_id)
            domains[domain.name] = domain
        for one in set(self.managed.get(account, ())) & self.unread.keys() - domains.keys():
            domains[one] = Domain(one, protocol="", state="")
        if not account.has_certificates:
            certificates |= self.ends(context, domains.values())
        return AccountFacts(name, domains, certificates, used_by)

    def certificates(self, context: Context) -> dict[str, RemoteCertificate]:
        """Return the certificates of an account: all if listed, otherwise those that are known."""
        if context.account.has_certificates:
            return dict(context.account.certificates())
        return {cert_id: RemoteCertificate(cert_id, certificate_name(
                    upload.lineage, upload.fingerprint))
                for cert_id, upload in self.memory.uploads.items()
                if upload.may_be_in(context.account_name)}

    def ends(self, context: Context, domains: Iterable[Domain]) -> dict[str, RemoteCertificate]:
        """Find the certificates that these domains serve, with their ends."""
        found: dict[str, RemoteCertificate] = {}
        lost: set[str] = set()
        for domain in domains:
            upload = self.memory.uploads.get(domain.cert_id)
            foreign = self.memory.domains.get(domain.name, Record()).foreign
            if upload and domain.cert_id not in found:
                ours = context.lineages.find(upload.lineage, upload.fingerprint)
                if ours:
                    found[domain.cert_id] = RemoteCertificate(
                        domain.cert_id, ours.remote_name, ours.names,
                        int(ours.not_before.timestamp()), int(ours.not_after.timestamp()))
                else:
                    lost.add(domain.cert_id)
            elif foreign and foreign.cert_id == domain.cert_id:
                found[foreign.cert_id] = foreign
        try:
            found |= context.account.certificates_among(lost)
        except errors.ApiError as error:  # all else is known
            self.problem(self.names[context.account], error)
        return found

    def problem(self, subject: str, error: errors.QiniuError) -> None:
        """Note that *subject* could not be observed."""
        reason = ("InDoubt" if isinstance(error, errors.ListInDoubt)
                  else "Unreachable" if isinstance(error, errors.Unreachable)
                  else "Refused" if isinstance(error, errors.ApiError) else "Unusable")
        self.findings.append(Finding(_level(error), subject, reason, str(error)))

    def survey(self, notes: list[str]) -> Survey:
        """Return all observations."""
        if not self.lineages and not self.findings:
            self.findings.append(Finding(
                Level.UNKNOWN, "certbot", "NothingDeployed",
                "certbot deploys no certificate to Qiniu on this machine. To begin: "
                f"{reconfigure_command()}"))
        uploads = {cert_id: (upload.lineage, upload.fingerprint)
                   for cert_id, upload in self.memory.uploads.items()}
        # Credentials that cannot be read today are still somebody's.
        known = {entry.account for name, entry in self.memory.lineages.items()
                 if self.deployer.lineages.exists(name)}
        known.update(self.memory.account_of(account.client.account) for account in self.contexts)
        contexts, accounts = list(filter(None, self.contexts.values())), list[AccountFacts]()
        for context in contexts:
            try:
                accounts.append(self.account_facts(context))
            except errors.ApiError as error:
                self.problem(self.names[context.account], error)
        return Survey(
            (self.clock or time.time)(), tuple(accounts),
            tuple(self.lineages), dict(self.memory.domains), uploads, each_cause(self.unread),
            tuple(self.findings), tuple(self.bygone), tuple(dict.fromkeys(notes)),
            left_behind=tuple(
                cert_id for context in contexts
                for ids in left_behind(context).values() for cert_id in ids),
            elsewhere=tuple(sorted(
                cert_id for cert_id, upload in self.memory.uploads.items()
                if upload.account and upload.account not in known)))


def remembered_command(memory: Memory, lineage: str) -> str:
    """Return the command that deploys a lineage to Qiniu again with its former options."""
    entry = memory.lineage(lineage)
    words = list(entry.options)
    if "--qiniu-credentials" in words:
        number = words.index("--qiniu-credentials")
        credentials = words[number + 1]
        del words[number:number + 2]
    else:
        credentials = entry.credentials
    command = reconfigure_command(lineage, shlex.quote(credentials) if credentials else "PATH")
    return f"{command} {shlex.join(words)}".rstrip()


def _level(error: errors.QiniuError) -> Level:
    """Return UNKNOWN for a missing answer, ATTENTION for a refusal: that stops the deployment."""
    return Level.UNKNOWN if isinstance(error, errors.Unreachable) else Level.ATTENTION
