"""Send changes of domains to Qiniu, and tell what its answers mean.

What is sent is written down first (the memory), so that a run that died can be told from somebody
else's change.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.certificates import certificate_for, is_gone
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.planning.bindings import (
    ABOUT_THE_REST,
    binding_of,
    refusal_key,
    sendable,
)
from certbot_qiniu.deployment.planning.decision import Action, Verb
from certbot_qiniu.deployment.state import Managed, Record, Sent
from certbot_qiniu.model import TLS_VERSIONS, Binding, Domain, RemoteCertificate

logger = logging.getLogger(__name__)

BUSY_CODES = frozenset({400030, 400999})
UNCHANGED_CODES = frozenset({400910, 400013})
BAD_REQUEST = 400

Results = list[errors.QiniuError | None]
"""For each change, why it could not be made; None for one that Qiniu has accepted."""


@dataclass
class Progress:
    """The domains of a reconcile, and what has become of them so far.

    :ivar sends: how often a change of each was sent.
    :ivar changed: those that Qiniu has accepted a change of.
    :ivar taken: those that serve what they should, or will without anything more.
    :ivar busy: those that could not be changed now, and what to say if that stays so.
    :ivar failed: those that cannot be changed, and why.
    :ivar upload_errors: fingerprint -> why a certificate is not at Qiniu.
    :ivar tls_refused: domains whose TLS versions Qiniu refuses; all else about these is, or gets,
        in sync.
    """

    sends: dict[str, int] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    busy: dict[str, str | errors.QiniuError] = field(default_factory=dict)
    failed: dict[str, str | errors.QiniuError] = field(default_factory=dict)
    upload_errors: dict[str, errors.QiniuError] = field(default_factory=dict)
    tls_refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """One change that is about to be sent; with a certificate if it binds one."""

    action: Action
    domain: Domain
    binding: Binding
    certificate: RemoteCertificate | None

    @property
    def name(self) -> str:
        return self.action.name

    @property
    def extra_fields(self) -> set[str]:
        """The fields that it carries in addition to the three documented ones of HTTPS."""
        if self.certificate is None:
            return set()
        versions = {TLS_VERSIONS} if self.binding.tls_versions is not None else set()
        return {*self.domain.https_fields, *versions}

    def bare(self) -> _Job:
        """Return the same change with only the three documented fields."""
        return replace(self, domain=replace(self.domain, https_fields={}),
                       binding=replace(self.binding, tls_versions=None))


class Sender:
    """Sends the changes of one reconcile, and notes in *progress* what becomes of them.

    :param wanted: what the managed domains should serve.
    :param keep_certificates: superseded certificates to keep, should the account's quota be full.
    """

    def __init__(self, context: Context, wanted: Mapping[str, Managed], keep_certificates: int,
                 progress: Progress) -> None:
        self.context, self.wanted, self.progress = context, wanted, progress
        self.keep_certificates = keep_certificates
        self.memory, self.account = context.memory, context.account
        self._refusals: dict[tuple[str, int], str] = {}

    def send(self, actions: list[Action], observed: Mapping[str, Domain],
             ) -> tuple[list[str], list[str]]:
        """Send the changes.

        :returns: names that were sent, and names to observe again at once.
        """
        jobs = [job for action in actions if (job := self._job(action, observed[action.name]))]
        if not jobs:
            return [], []
        before = {job.name: self.memory.domains.get(job.name, Record()) for job in jobs}
        self._write_down(jobs, before)
        jobs, results = self._without_extra_fields(jobs, self.context.parallel(self._call, jobs))
        sent, again = [], []
        for job, result in zip(jobs, results, strict=True):
            self.progress.sends[job.name] = self.progress.sends.get(job.name, 0) + 1
            if result is None:
                self._note_sent(job)
                sent.append(job.name)
            elif isinstance(result, errors.Refused):
                self.memory.domains[job.name] = before[job.name]
                if self._refused(job, result):
                    again.append(job.name)
            else:
                # It may have taken effect: the change stays on record for a later run.
                self.progress.failed[job.name] = result
        return sent, again

    def _job(self, action: Action, domain: Domain) -> _Job | None:
        """Return a change with its certificate, which is uploaded if need be; None without it."""
        binding, certificate = action.binding, None
        if binding is not None and action.verb is Verb.BIND:
            if binding.fingerprint in self.progress.upload_errors:
                return None  # the upload for another domain has failed
            try:
                certificate = certificate_for(self.context, binding, self._lineage_of(action.name),
                                              keep_certificates=self.keep_certificates)
            except errors.QiniuError as error:
                self.progress.upload_errors[binding.fingerprint] = error
                return None
            binding = replace(binding, cert_id=certificate.cert_id)
        domain = sendable(domain, {name for name in domain.https_fields
                                   if self.context.field_refusal(name)})
        return _Job(action, domain, binding or Binding(protocol="http"), certificate)

    def _write_down(self, jobs: list[_Job], before: Mapping[str, Record]) -> None:
        """Remember what is about to be sent: a crash must not hide what was."""
        for job in jobs:
            self.memory.update(job.name, sent=Sent(job.binding, self.context.clock()),
                               taken_from=job.domain.cert_id)
            if not before[job.name].baseline and job.domain.cert_id not in self.memory.uploads:
                # One rollback has returned it to that, and the next one takes it over again.
                self.memory.update(job.name, lineage=self._lineage_of(job.name),
                                   baseline=binding_of(job.domain, {}))
            if job.action.verb is Verb.HSTS and job.binding.hsts:
                self.memory.update(job.name, hsts="ours")
        self.context.store.write_memory()

    def _call(self, job: _Job) -> None:
        service = self.account.services[job.domain.service]
        if job.action.verb is Verb.HSTS:
            service.set_hsts(job.domain, on=bool(job.binding.hsts))
        elif job.certificate is None:
            service.unbind(job.domain)
        else:
            service.bind(job.domain, job.certificate, job.binding)

    def _without_extra_fields(self, jobs: list[_Job], results: Results,
                              ) -> tuple[list[_Job], Results]:
        """Repeat refused changes with only the documented fields: the others may be the reason.

        No setting may cost a certificate. That the repeat is taken, or has nothing to change,
        proves what was wrong, and is remembered.

        :returns: the changes sent in the end, and their results.
        """
        refused = {job.name: result for job, result in zip(jobs, results, strict=True)
                   if isinstance(result, errors.Refused) and result.status == BAD_REQUEST
                   and result.code not in ABOUT_THE_REST and job.extra_fields}
        repeats = {job.name: job.bare() for job in jobs if job.name in refused}
        if not repeats:
            return jobs, results
        for name, job in repeats.items():
            self.memory.update(name, sent=Sent(job.binding, self.context.clock()))
        self.context.store.write_memory()
        outcome = dict(zip(repeats, self.context.parallel(self._call, list(repeats.values())),
                           strict=True))
        for job in jobs:
            result = outcome.get(job.name)
            if job.name in repeats and (result is None or (
                    isinstance(result, errors.Refused) and result.code in UNCHANGED_CODES)):
                self._note_refused_fields(job, refused[job.name])
        return ([repeats.get(job.name, job) for job in jobs],
                [outcome.get(job.name, result) for job, result in zip(jobs, results, strict=True)])

    def _note_refused_fields(self, job: _Job, refusal: errors.Refused) -> None:
        """Remember that Qiniu does not take fields of a change; warn only the first time."""
        told, now = self.memory.told, self.context.clock()
        wanted, versions = self.wanted.get(job.name), job.binding.tls_versions
        # The domain's own versions may be sent back even if the ones asked for were refused.
        asked = versions if wanted and versions == wanted.binding.tls_versions else None
        if asked:  # one X-Reqid for all equal refusals
            self.progress.tls_refused[job.name] = self._refusals.setdefault(
                (refusal.text, refusal.code), refusal.cause)
        is_new = False
        # TLS versions are accused only if nothing else was there: they are tried by themselves.
        for name in job.extra_fields - {TLS_VERSIONS} or job.extra_fields:
            key = refusal_key(self.context.account_name, name,
                              asked if name == TLS_VERSIONS else None)
            is_new = is_new or key not in told
            told[key] = f"{int(now)} {refusal.cause}"
        kept = job.extra_fields - ({TLS_VERSIONS} if asked else set())
        if kept:
            logger.log(logging.WARNING if is_new else logging.INFO, "%s",
                       wording.fields_refused(job.name, kept, refusal.cause))

    def _note_sent(self, job: _Job) -> None:
        """Report what Qiniu has accepted, and remember that it is busy with it."""
        if job.action.verb is Verb.HSTS:
            operation = "update_resp_header"
            self.memory.update(job.name, hsts="ours" if job.binding.hsts else "")
        elif job.certificate is None:
            operation = "unsslize"
        else:
            operation = "sslize" if job.action.enable else "modify_https_conf"
        if self.account.services[job.domain.service].publishes:
            self.memory.update(job.name, processing_since=self.context.clock())
            self.account.note(replace(job.domain, state="processing", operation=operation))
        self.progress.changed.append(job.name)
        self.progress.taken.add(job.name)
        self.context.say(wording.sent(job.action, job.certificate.name if job.certificate else ""))

    def _refused(self, job: _Job, error: errors.Refused) -> bool:
        """Deal with a refusal; true if the domain is to be observed again at once."""
        name, first = job.name, self.progress.sends[job.name] < 2
        if error.code in BUSY_CODES:
            # The list had not yet shown it: believe the refusal.
            self.progress.busy[name] = error
            self.memory.update(name, seen=None)
            return True
        if first and error.code in UNCHANGED_CODES:
            self.memory.update(name, seen=None)
            if job.binding.tls_versions and not job.action.enable:
                # If no read shows them, this answer is the only sign that it has them already.
                self.memory.update(name, confirmed=Sent(job.binding, self.context.clock()))
            return True
        if job.action.verb is Verb.HSTS and error.status == BAD_REQUEST:
            self.memory.update(name, hsts="refused")
            logger.warning("%s. %s keeps the headers that it has; everything else about it is as "
                           "wanted. Ask again with certbot enhance --hsts", error, name)
            return False
        if (first and job.certificate and job.binding.fingerprint
                and is_gone(self.context, job.binding.cert_id, error)):
            self.memory.uploads.pop(job.binding.cert_id, None)
            return True
        # The keys may get a right that they lack. Other services refuse so, for good, a call that
        # is undocumented or does not exist.
        if job.action.verb is Verb.UNBIND and (
                error.status == BAD_REQUEST or job.domain.service != "cdn"):
            self._forget_refused(name, error)
        else:
            self.progress.failed[name] = error
        return False

    def _forget_refused(self, name: str, error: errors.Refused) -> None:
        """Report once that Qiniu will not switch HTTPS off while a certificate is valid."""
        self.progress.failed[name] = wording.https_kept(name, str(error))
        self.memory.update(name, lineage="", baseline=None, sent=None, confirmed=None)

    def _lineage_of(self, name: str) -> str:
        """Return the lineage that manages a domain, or did before a rollback gave it up."""
        if name in self.wanted:
            return self.wanted[name].lineage
        return self.memory.domains[name].lineage
