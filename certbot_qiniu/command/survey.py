"""Observe all accounts and lineages, and change nothing, neither here nor at Qiniu.

The files are opened read-only, so the steps of ``certbot renew`` itself can be gone through: what
they would write stays in memory, and what they would send is only planned.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command.edge import Probe
from certbot_qiniu.command.health import Finding, Level
from certbot_qiniu.deployment import holds, wording
from certbot_qiniu.deployment.certificates import (
    left_behind,
    remember_copies,
    too_old,
    unneeded,
)
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.deployer import Deployer, open_deployer
from certbot_qiniu.deployment.observe import read_details
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.planning.hold import Served
from certbot_qiniu.deployment.reconcile import Options, observe_and_plan
from certbot_qiniu.deployment.state import Memory, Record
from certbot_qiniu.failures import each_cause, told_once
from certbot_qiniu.lineages import Renewal, problems, read_renewals, reconfigure_command
from certbot_qiniu.model import DAY, Certificate, Domain, RemoteCertificate, certificate_name
from certbot_qiniu.targets.hook import Hook, hooks_of
from certbot_qiniu.webserver.nginx import Nginx

GONE_SECONDS = 7 * DAY
"""For so long a domain that is gone needs attention."""


@dataclass(frozen=True)
class AccountFacts:
    """What a Qiniu account holds.

    :ivar name: the path of its credentials file.
    """

    name: str
    domains: Mapping[str, Domain] = field(default_factory=dict)
    certificates: Mapping[str, RemoteCertificate] = field(default_factory=dict)

    def users(self, cert_id: str) -> tuple[str, ...]:
        """The domains that a certificate is bound to."""
        return tuple(sorted(domain.name for domain in self.domains.values()
                            if domain.cert_id == cert_id))


@dataclass(frozen=True)
class LineageFacts:
    """What is known of a lineage that is deployed to Qiniu.

    :ivar account: the name of its account.
    :ivar certificate: its newest certificate, if that can be read.
    :ivar renews: whether its renewal conf names this plugin.
    :ivar reconfigure: the command that makes it do so again.
    :ivar held: whether a rollback keeps its newest certificate from being deployed.
    :ivar kept_on: what it keeps the domains on, of what can end.
    :ivar actions: what the next ``certbot renew`` would do with its domains.
    :ivar uploads: names of the certificates that it would upload for that.
    :ivar superseded: ids of its certificates at Qiniu that nothing here needs any more.
    :ivar server: the local web server that it reaches, "" for none.
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


@dataclass(frozen=True)
class Survey:
    """All that was observed, at one moment.

    :ivar records: what the memory says of each domain.
    :ivar uploads: Qiniu's id -> (lineage, fingerprint) of certificates that are ours.
    :ivar left_behind: ids of certificates, in these accounts, of lineages that certbot deleted or
        that are in another account now, and that nothing here needs any more.
    :ivar elsewhere: ids of certificates of ours in accounts that no lineage is in any more.
    :ivar unread: why some domains could not be read.
    :ivar findings: what is wrong apart from single domains.
    :ivar bygone: domains that have been gone for so long that it needs no attention any more.
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
        """The managed domains: their lineage, and what is to be done."""
        return {action.name: (lineage, action) for lineage in self.lineages
                for action in lineage.actions}

    def lineage_of(self, domain: str) -> str | None:
        """The lineage that manages a domain, also where it could not be read."""
        record = self.records.get(domain, Record())
        return None if record.let_go or record.gone else record.lineage or None

    def being_published(self) -> set[str]:
        """The ids of the certificates that domains are about to serve."""
        return {record.sent.binding.cert_id for account in self.accounts
                for domain in account.domains.values() if domain.state == "processing"
                if (record := self.records.get(domain.name)) and record.sent}

    def superseded(self, lineage: LineageFacts) -> list[RemoteCertificate]:
        """The certificates of a lineage that the next clean-up deletes."""
        account = next((one for one in self.accounts if one.name == lineage.account), None)
        if account is None or lineage.held or self.unread:
            return []
        return self._deletable(account, lineage.superseded)

    def superseded_left_behind(self) -> list[RemoteCertificate]:
        """The certificates of deleted lineages and former accounts that a clean-up deletes."""
        return [] if self.unread else [
            item for account in self.accounts
            for item in self._deletable(account, self.left_behind)]

    def _deletable(self, account: AccountFacts, ids: Iterable[str]) -> list[RemoteCertificate]:
        found = [account.certificates[cert_id] for cert_id in ids
                 if cert_id in account.certificates and not account.users(cert_id)]
        # What another program uploaded, under a name of its own, is left to it.
        return [item for item in found if item.name == certificate_name(
            *self.uploads.get(item.cert_id, ("", "")))]

    def failures(self) -> list[Finding]:
        """What a ``certbot renew`` would report as failed, or could not observe."""
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


def survey(config: Any, only: str = "") -> Survey:
    """Observe the lineages that are deployed to Qiniu, and their accounts.

    :param config: certbot's configuration.
    :param only: the one lineage to observe, "" for all.
    :raises errors.QiniuError: when not even a beginning can be made.
    """
    notes: list[str] = []
    try:
        deployer = open_deployer(config, notes.append, read_only=True)
    except errors.StateError as error:
        return Survey(time.time(), findings=(
            Finding(Level.ATTENTION, "state", "State", str(error)),))
    renewals, damaged = read_renewals(Path(config.config_dir), config.given)
    collected = _Observations(deployer)
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
    for name in sorted(known):
        # The domains of a deleted lineage are forgotten, with a warning, by the others' turn.
        if (only in ("", name) and name in renewals and deployer.lineages.exists(name)
                and name not in deployer.store.damaged):
            collected.observe_lineage(name, renewals[name])
    return collected.survey(notes)


class _Observations:
    """What was observed so far."""

    def __init__(self, deployer: Deployer) -> None:
        self.deployer = deployer
        self.memory = deployer.store.memory
        self.findings: list[Finding] = []
        self.bygone: list[str] = []
        self.unread: dict[str, errors.QiniuError] = {}
        self.lineages: list[LineageFacts] = []
        self.accounts: dict[str, AccountFacts | None] = {}  # None where it is out of reach
        self.contexts: dict[str, Context] = {}  # of those accounts that could be observed
        self.clock: Callable[[], float] | None = None

    def observe_lineage(self, name: str, renewal: Renewal) -> None:
        """Observe a lineage and its account."""
        deployer, settings = self.deployer, renewal.settings
        try:
            credentials = deployer.credentials_of(name, settings) or ""
            context = deployer.context(credentials)
        except errors.UsageError as error:
            self.findings.append(Finding(Level.ATTENTION, name, "Credentials", str(error)))
            return
        self.clock = context.clock
        account = self.observe_account(context, credentials)
        if account is None:
            return
        try:
            facts = self.plan_renewal(context, account.name, name, renewal)
        except errors.QiniuError as error:
            # That links are broken says more than that there is no certificate to be read.
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
        """Go through a renewal of *name*, up to the point where something would be sent.

        :raises errors.QiniuError: when that is not possible.
        """
        settings, memory = renewal.settings, self.memory
        certificate = context.lineages.current(name)
        remember_copies(context, name)
        superseded = unneeded(context, name, settings.keep_certificates)
        if renewal.is_ours:
            found = self.deployer.converge(name, settings).errors
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
        """The user's programs, and what became of them."""
        try:
            return hooks_of(
                hook, self.memory.lineage(name), certificate.fingerprint) if hook else ()
        except errors.UsageError as error:
            self.findings.append(Finding(Level.ATTENTION, name, "HookUnusable", str(error)))
            return ()

    def observe_account(self, context: Context, credentials: str) -> AccountFacts | None:
        """Observe an account, once; None where that is not possible."""
        key = context.account.client.account
        if key not in self.accounts:
            try:
                self.accounts[key] = self.read_account(context, credentials)
                self.contexts[key] = context
            except errors.ApiError as error:
                self.accounts[key] = None
                self.problem(credentials, error)
        return self.accounts[key]

    def read_account(self, context: Context, credentials: str) -> AccountFacts:
        """An account's certificates, and its domains, in detail where they may have some.

        :raises errors.ApiError: when a list cannot be had.
        """
        listed = dict(context.account.domains())
        names = [name for name, domain in listed.items()
                 if domain.protocol == "https" or domain.state == "processing"]
        details, failures = read_details(context, names, listed)
        self.unread.update(failures)
        listed.update({name: domain for name, domain in details.items() if domain})
        return AccountFacts(credentials, listed, dict(context.account.certificates()))

    def problem(self, subject: str, error: errors.QiniuError) -> None:
        """Note that *subject* could not be observed."""
        reason = ("InDoubt" if isinstance(error, errors.ListInDoubt)
                  else "Unreachable" if isinstance(error, errors.Unreachable)
                  else "Refused" if isinstance(error, errors.ApiError) else "Unusable")
        self.findings.append(Finding(_level(error), subject, reason, str(error)))

    def survey(self, notes: list[str]) -> Survey:
        """All of it."""
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
        known.update(map(self.memory.account_of, self.accounts))
        return Survey(
            (self.clock or time.time)(), tuple(filter(None, self.accounts.values())),
            tuple(self.lineages), dict(self.memory.domains), uploads, each_cause(self.unread),
            tuple(self.findings), tuple(self.bygone), tuple(dict.fromkeys(notes)),
            left_behind=tuple(
                cert_id for context in self.contexts.values()
                for ids in left_behind(context).values() for cert_id in ids),
            elsewhere=tuple(sorted(
                cert_id for cert_id, upload in self.memory.uploads.items()
                if upload.account and upload.account not in known)))


def remembered_command(memory: Memory, lineage: str) -> str:
    """The command that brings a lineage back to Qiniu with the options that it had."""
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
    """No answer says nothing about the deployment; a refusal says that it cannot go on."""
    return Level.UNKNOWN if isinstance(error, errors.Unreachable) else Level.ATTENTION
