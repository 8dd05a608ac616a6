"""Observe accounts and lineages, and change nothing, neither here nor at Qiniu.

Qiniu is asked only for managed domains and those that would be taken as well, unless a user wants
to see all: an account may have ten thousand domains of others. The files are opened read-only, so
the steps of ``certbot renew`` itself can be done: their writes stay in memory, and their changes at
Qiniu are only planned.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command.survey.account_survey import AccountSurvey, Scope
from certbot_qiniu.command.survey.facts import AccountFacts, LineageFacts, Survey
from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.deployment import holds, wording
from certbot_qiniu.deployment.certificates import (
    left_behind,
    remember_copies,
    too_old,
    unneeded,
)
from certbot_qiniu.deployment.context import Context, Options
from certbot_qiniu.deployment.deployer import Deployer, open_deployer
from certbot_qiniu.deployment.gathering import Planner
from certbot_qiniu.deployment.missing import expected
from certbot_qiniu.deployment.planning.decision import Verb
from certbot_qiniu.deployment.state import Memory
from certbot_qiniu.failures import each_cause, told_once
from certbot_qiniu.lineages import Renewal, problems, read_renewals, reconfigure_command
from certbot_qiniu.model import DAY, Certificate
from certbot_qiniu.qiniu.account import Account, Accounts
from certbot_qiniu.qiniu.transport import API
from certbot_qiniu.targets.hook import Hook, hooks_of
from certbot_qiniu.webserver.nginx import Nginx

GONE_SECONDS = 7 * DAY
"""A domain that is gone needs attention for so long."""


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
        deployer = open_deployer(config, notes.append, note=notes.append, read_only=True,
                                 accounts=Accounts(Path(config.config_dir), gentle=gentle))
    except errors.StateError as error:
        return Survey(time.time(), blind=None, findings=(
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
    contexts = collected.open_accounts(observed)
    for name, renewal in observed.items():
        if name in contexts:
            collected.observe_lineage(name, renewal, contexts[name])
    return collected.survey(notes)


class _Observations:
    """The observations so far."""

    def __init__(self, deployer: Deployer, scope: Scope, announce: Callable[[str], None]) -> None:
        self.deployer, self.scope, self.announce = deployer, scope, announce
        self.memory = deployer.store.memory
        self.findings: list[Finding] = []
        self.bygone: list[str] = []
        self.asked: set[str] = set()
        self.lineages: list[LineageFacts] = []
        self.accounts: dict[Account, AccountSurvey] = {}
        self.reached: dict[Account, bool] = {}
        self.clock: Callable[[], float] | None = None

    def open_accounts(self, renewals: Mapping[str, Renewal]) -> dict[str, Context]:
        """Find each lineage's account; those without are told."""
        deployer, found = self.deployer, dict[str, Context]()
        self.asked |= set(renewals)
        for name, renewal in renewals.items():
            try:
                credentials = deployer.credentials_of(name, renewal.settings) or ""
                context = found[name] = deployer.context(credentials)
            except errors.UsageError as error:
                self.findings.append(Finding(Level.ATTENTION, name, "Credentials", str(error)))
                continue
            self.clock = context.clock
            if context.account not in self.accounts:
                self.accounts[context.account] = AccountSurvey(
                    context, credentials, self.scope, self.announce_calls)
            self.accounts[context.account].managed += expected(deployer.store, name)
        return found

    def reach(self, account: AccountSurvey) -> bool:
        """Observe an account, once; false if that is not possible."""
        if account.account not in self.reached:
            try:
                account.read()
                self.reached[account.account] = True
            except errors.ApiError as error:
                self.reached[account.account] = False
                self.problem(account.name, error)
        return self.reached[account.account]

    def observe_lineage(self, name: str, renewal: Renewal, context: Context) -> None:
        """Observe a lineage and its account."""
        account = self.accounts[context.account]
        if not self.reach(account):
            return
        try:
            facts = self.plan_renewal(context, account, name, renewal)
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

    def plan_renewal(self, context: Context, account: AccountSurvey, name: str,
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
        planned = Planner(context, [name], Options(listed=settings.domains or ())).plan()
        for error in planned.certificate_failures.values():
            self.problem(name, error)
        account.unread.update(planned.domain_failures)
        account.observed.update(planned.observed)
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
            name, account.name, certificate, renewal.is_ours,
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

    def announce_calls(self, what: str, calls: int) -> None:
        """Announce work that takes long, with its duration."""
        minutes = calls / self.deployer.accounts.rates[API] / 60
        self.announce(f"{what} one by one takes about {calls} call{'s' * (calls != 1)} and "
                      f"{minutes:.1f} minutes")

    def problem(self, subject: str, error: errors.QiniuError) -> None:
        """Note that *subject* could not be observed."""
        reason = ("InDoubt" if isinstance(error, errors.ListInDoubt)
                  else "Unreachable" if isinstance(error, errors.Unreachable)
                  else "Refused" if isinstance(error, errors.ApiError) else "Unusable")
        self.findings.append(Finding(_level(error), subject, reason, str(error)))

    def blind(self) -> set[str]:
        """Return the lineages that could not be looked at, and their domains, gone ones too."""
        lineages = self.asked.union(self.deployer.all_lineages()) - {
            one.name for one in self.lineages}
        return {*lineages, *(name for lineage in lineages for name in (
            *expected(self.deployer.store, lineage), *self.memory.domains_of(lineage)))}

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
        known.update(self.memory.account_of(account.client.account) for account in self.accounts)
        reached = [one for one in self.accounts.values() if self.reached[one.account]]
        accounts, unread = list[AccountFacts](), dict[str, errors.QiniuError]()
        for account in reached:
            try:
                accounts.append(account.facts(self.lineages))
                if account.problem:
                    self.problem(account.name, account.problem)
            except errors.ApiError as error:
                self.problem(account.name, error)
            unread.update(account.unread)
        return Survey(
            (self.clock or time.time)(), tuple(accounts),
            tuple(self.lineages), dict(self.memory.domains), uploads, each_cause(unread),
            tuple(self.findings),
            (*self.bygone, *(name for name, one in self.memory.domains.items() if one.let_go),
             *(name for name in self.memory.lineages.keys() - self.memory.domains.keys()
               if not self.deployer.lineages.exists(name))),
            self.blind(), tuple(dict.fromkeys(notes)), left_behind=tuple(
                cert_id for account in reached
                for ids in left_behind(account.context).values() for cert_id in ids),
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
    command = reconfigure_command(lineage, credentials or "PATH")
    return f"{command} {shlex.join(words)}".rstrip()


def _level(error: errors.QiniuError) -> Level:
    """Return UNKNOWN for a missing answer, ATTENTION for a refusal: that stops the deployment."""
    return Level.UNKNOWN if isinstance(error, errors.Unreachable) else Level.ATTENTION
