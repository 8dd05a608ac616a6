"""Gather all that a plan of some lineages' domains depends on, and plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from certbot_qiniu import errors
from certbot_qiniu.deployment.certificates import (
    find_wanted,
    foreign_certificates,
    refused,
    unusable_certificates,
)
from certbot_qiniu.deployment.context import Context, Options
from certbot_qiniu.deployment.observe import observe
from certbot_qiniu.deployment.planning.decision import Action, Knowledge, plan
from certbot_qiniu.deployment.state import FORMER, Managed, Record
from certbot_qiniu.model import Domain


@dataclass(frozen=True)
class Planned:
    """The observations of a reconcile, and the actions that follow.

    :ivar actions: one for each domain, in the order of names.
    :ivar observed: what the domains serve now.
    :ivar domain_failures: why others could not be observed.
    :ivar certificate_failures: fingerprint -> why a certificate could not be looked for at Qiniu.
    """

    actions: list[Action]
    observed: dict[str, Domain]
    domain_failures: dict[str, errors.QiniuError]
    certificate_failures: dict[str, errors.QiniuError]


class Planner:
    """Plans for the domains of the lineages in *scope*, all of one account; changes nothing there.

    :ivar wanted: what the managed domains should serve.
    :ivar restore: what those that are managed no more should get back.
    """

    def __init__(self, context: Context, scope: Collection[str], options: Options) -> None:
        self.context, self.scope, self.options = context, scope, options
        self.memory = context.memory
        self.wanted = {name: self._as_before(entry) for lineage in scope
                       for name, entry in context.store.managed(lineage).items()}
        self.restore = {name: record.baseline for lineage in scope
                        for name, record in self.memory.domains_of(lineage).items()
                        if record.baseline and record.is_ours and name not in context.store.state}

    def _as_before(self, entry: Managed) -> Managed:
        """Return *entry* with former settings in place of those that a rollback has undone."""
        record = self.memory.domains.get(entry.name, Record())
        former = {setting: getattr(record, known) for setting, known in FORMER.items()
                  if getattr(entry.binding, setting) is None}
        return replace(entry, binding=replace(entry.binding, **former))

    def plan(self, names: Sequence[str] | None = None, *, refresh: bool = False,
             tried: Collection[str] = ()) -> Planned:
        """Observe *names*, by default all domains, and plan.

        :param refresh: ask Qiniu again, even if this process has its answers.
        :param tried: fingerprints of certificates whose upload has failed in this process.
        :raises errors.QiniuError: if the owner of a certificate is unknown.
        """
        names = [*self.wanted, *self.restore] if names is None else names
        wanted = [self.wanted[name] for name in names if name in self.wanted]
        certificate_failures = find_wanted(self.context, wanted)
        observed, failures = observe(self.context, names, refresh=refresh)
        actions = plan(
            [entry for entry in wanted if entry.name not in failures],
            {name: self.restore[name] for name in names
             if name in self.restore and name not in failures},
            self._knowledge(observed, wanted, tried))
        return Planned(actions, observed, failures, certificate_failures)

    def _knowledge(self, observed: dict[str, Domain], wanted: list[Managed],
                   tried: Collection[str]) -> Knowledge:
        """Return all that the plan depends on."""
        fingerprints = {entry.binding.fingerprint for entry in wanted}
        fingerprints |= {binding.fingerprint for binding in self.restore.values()}
        serving = [domain for name, domain in observed.items()
                   if name in self.wanted and domain.state != "processing"]
        certificates = {(entry.lineage, entry.binding.fingerprint) for entry in wanted
                        if entry.binding.fingerprint}
        certificates |= {
            (upload.lineage, upload.fingerprint) for binding in self.restore.values()
            for cert_id in self.context.uploads_of(binding.fingerprint)
            if (upload := self.memory.uploads.get(cert_id))}
        found = [self.context.lineages.find(*certificate) for certificate in certificates]
        return Knowledge(
            observed=observed, records=self.memory.domains,
            ids={fingerprint: self.context.uploads_of(fingerprint)
                 for fingerprint in fingerprints - {""}},
            now=self.context.clock(),
            foreign=foreign_certificates(self.context, serving, self.scope),
            ours=self.memory.uploads,
            expiry={own.fingerprint: own.not_after.timestamp() for own in found if own},
            unusable=unusable_certificates(
                self.context, {binding.cert_id for binding in self.restore.values()} - {""}),
            refused=self._refused_for_good(observed, wanted, tried),
            tls_refusals=self.context.tls_refusals(
                entry.binding.tls_versions for entry in wanted),
            listed=self.options.listed, take_over=self.options.take_over,
            take_back=self.options.take_back, returning=self.options.returning)

    def _refused_for_good(self, observed: dict[str, Domain], wanted: list[Managed],
                          tried: Collection[str]) -> dict[str, str]:
        """Return a sentence, by fingerprint, for each certificate that Qiniu would refuse again."""
        found: dict[str, str] = {}
        for lineage in self.scope if not self.options.insist else ():
            refusal = self.memory.lineage(lineage).refusal
            fingerprint = refusal.fingerprint if refusal else ""
            waiting = [observed[entry.name] for entry in wanted if entry.lineage == lineage
                       and entry.binding.fingerprint == fingerprint and entry.name in observed]
            if (fingerprint in tried or self.context.uploads_of(fingerprint)
                    or not fingerprint or not waiting):
                continue
            certificate = self.context.lineages.find(lineage, fingerprint)
            if certificate and (text := refused(self.context, certificate, waiting)):
                found[fingerprint] = text
        return found
