"""Find out how everything is, and change nothing, neither here nor at Qiniu.

The files are opened read-only, so the steps of ``certbot renew`` itself can be gone through: what
they would write stays in memory, and what they would send is only planned.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command.health import AccountFacts, Finding, Inspection, Level, LineageFacts
from certbot_qiniu.deployment.certificates import remember_copies, unneeded
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.deployer import Deployer, read_only
from certbot_qiniu.deployment.observe import read_details
from certbot_qiniu.deployment.planning.decision import Verb
from certbot_qiniu.deployment.reconcile import Options, observe_and_plan
from certbot_qiniu.lineages import Renewal, read_renewals


def inspect(config: Any, only: str = "") -> Inspection:
    """Look at the lineages that are deployed to Qiniu, and at their accounts.

    :param config: certbot's configuration.
    :param only: the one lineage to look at, "" for all.
    :raises errors.QiniuError: when not even a beginning can be made.
    """
    notes: list[str] = []
    try:
        deployer = read_only(config, notes.append)
    except errors.StateError as error:
        return Inspection(time.time(), findings=(
            Finding(Level.ATTENTION, "state", "State", str(error)),))
    renewals, damaged = read_renewals(Path(config.config_dir))
    survey = _Survey(deployer)
    survey.findings += [Finding(Level.ATTENTION, "renewal", "Damaged", text) for text in damaged]
    known = set(deployer.all_lineages()) | {
        name for name, renewal in renewals.items() if renewal.is_ours}
    if only and only not in known:
        raise errors.UsageError(f"certbot deploys no certificate {only} to Qiniu; it does deploy: "
                                f"{', '.join(sorted(known)) or 'none'}")
    for name in sorted(known):
        # The domains of a deleted lineage are forgotten, with a warning, by the others' turn.
        if only in ("", name) and name in renewals and deployer.lineages.exists(name):
            survey.lineage(name, renewals[name])
    return survey.result(notes)


class _Survey:
    """What was found out so far."""

    def __init__(self, deployer: Deployer) -> None:
        self.deployer = deployer
        self.memory = deployer.store.memory
        self.findings: list[Finding] = []
        self.unread: dict[str, str] = {}
        self.lineages: list[LineageFacts] = []
        self.accounts: dict[str, AccountFacts | None] = {}  # None where it is out of reach
        self.clock: Callable[[], float] | None = None

    def lineage(self, name: str, renewal: Renewal) -> None:
        """Look at a lineage and its account."""
        deployer, settings = self.deployer, renewal.settings
        credentials = deployer.credentials_of(name, settings) or ""
        try:
            context = deployer.context(credentials)
        except errors.UsageError as error:
            self.findings.append(Finding(Level.ATTENTION, name, "Credentials", str(error)))
            return
        self.clock = context.clock
        account = self.account(context, credentials)
        if account is None:
            return
        try:
            facts = self.examine(context, account.name, name, renewal)
        except errors.QiniuError as error:
            self.problem(name, error)
            return
        self.lineages.append(facts)

    def examine(self, context: Context, account: str, name: str, renewal: Renewal) -> LineageFacts:
        """Go through a renewal of *name*, up to the point where something would be sent.

        :raises errors.QiniuError: when that is not possible.
        """
        settings, memory = renewal.settings, self.memory
        certificate = context.lineages.current(name)
        remember_copies(context, name)
        superseded = unneeded(context, name, settings.keep_certificates)
        if renewal.is_ours:
            self.findings += [Finding(Level.ATTENTION, name, "Domains", problem)
                              for problem in self.deployer.converge(name, settings)]
        planned = observe_and_plan(context, [name], Options(listed=settings.domains or ()))
        for error in planned.certificate_failures.values():
            self.problem(name, error)
        self.unread.update(
            {domain: str(error) for domain, error in planned.domain_failures.items()})
        wanted = {action.binding.fingerprint for action in planned.actions
                  if action.verb is Verb.BIND and action.binding} - {""}
        server = settings.partner or ("" if settings.skip_nginx else "nginx")
        versions = {one.fingerprint: one.remote_name for one in context.lineages.versions(name)}
        return LineageFacts(
            name, account, certificate, renewal.is_ours,
            held=memory.lineage(name).hold == certificate.fingerprint,
            actions=tuple(planned.actions),
            uploads=tuple(versions.get(one, one) for one in sorted(wanted)
                          if not memory.uploads_of(one)),
            superseded=tuple(superseded),
            reload=server if memory.lineage(name).nginx != certificate.fingerprint else "")

    def account(self, context: Context, credentials: str) -> AccountFacts | None:
        """Look at an account, once; None where that is not possible."""
        key = context.account.client.account
        if key not in self.accounts:
            try:
                self.accounts[key] = self.holdings(context, credentials)
            except errors.ApiError as error:
                self.accounts[key] = None
                self.problem(credentials, error)
        return self.accounts[key]

    def holdings(self, context: Context, credentials: str) -> AccountFacts:
        """An account's certificates, and its domains, in detail where they may have some.

        :raises errors.ApiError: when a list cannot be had.
        """
        listed = dict(context.account.domains())
        names = [name for name, domain in listed.items()
                 if domain.protocol == "https" or domain.state == "processing"]
        details, failures = read_details(context, names, listed)
        self.unread.update({name: str(error) for name, error in failures.items()})
        listed.update({name: domain for name, domain in details.items() if domain})
        return AccountFacts(credentials, listed, dict(context.account.certificates()))

    def problem(self, subject: str, error: errors.QiniuError) -> None:
        """Note that *subject* could not be looked at."""
        reason = ("Unreachable" if isinstance(error, errors.Unreachable)
                  else "Refused" if isinstance(error, errors.ApiError) else "Unusable")
        self.findings.append(Finding(_level(error), subject, reason, str(error)))

    def result(self, notes: list[str]) -> Inspection:
        """All of it."""
        if not self.lineages and not self.findings:
            self.findings.append(Finding(
                Level.UNKNOWN, "certbot", "NothingDeployed",
                "certbot deploys no certificate to Qiniu on this machine. To begin: certbot "
                "reconfigure --cert-name NAME -i qiniu --qiniu-credentials PATH"))
        uploads = {cert_id: (upload.lineage, upload.fingerprint)
                   for cert_id, upload in self.memory.uploads.items()}
        return Inspection(
            (self.clock or time.time)(), tuple(filter(None, self.accounts.values())),
            tuple(self.lineages), dict(self.memory.domains), uploads, self.unread,
            tuple(self.findings), tuple(dict.fromkeys(notes)))


def _level(error: errors.QiniuError) -> Level:
    """No answer says nothing about the deployment; a refusal says that it cannot go on."""
    return Level.UNKNOWN if isinstance(error, errors.Unreachable) else Level.ATTENTION
