"""Make Qiniu equal to the desired state: observe, plan, apply.

Every step repeats safely. A change is written into the memory before it is sent: so the change of
a run that died is not mistaken for somebody else's, and a later run ends what an earlier one began.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.certificates import (
    certificate_for,
    clean,
    find_wanted,
    foreign_certificates,
    is_gone,
    refused,
    unusable_certificates,
)
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.missing import note_return
from certbot_qiniu.deployment.observe import observe
from certbot_qiniu.deployment.planning.bindings import ABOUT_THE_REST, refusal_key, sendable
from certbot_qiniu.deployment.planning.decision import Action, Knowledge, Reason, Verb, plan
from certbot_qiniu.deployment.state import Managed, Record, Sent
from certbot_qiniu.failures import told_once
from certbot_qiniu.model import TLS_VERSIONS, Binding, Domain, RemoteCertificate

logger = logging.getLogger(__name__)

BUSY_CODES = frozenset({400030, 400999})
UNCHANGED_CODES = frozenset({400910, 400013})
BAD_REQUEST = 400

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 12.0


@dataclass(frozen=True)
class Options:
    """The behaviour of one reconcile.

    :ivar wait: stay until all changes are published (``run``, ``install``, ``rollback``).
    :ivar wait_seconds: how long the whole process may wait, for that and for busy domains.
    :ivar keep_certificates: superseded certificates to keep.
    :ivar listed: domains that the user named in ``--qiniu-domains``.
    :ivar take_over: replace other installations' certificates.
    :ivar take_back: domains whose certificate is replaced, whoever put it there.
    :ivar insist: a user asks for it, not a timer: a refused change is tried again, and messages
        that were shown before are shown again.
    :ivar clean: delete superseded certificates afterwards.
    :ivar bury: stop managing domains that are gone; otherwise that is only reported.
    :ivar returning: this goes back to what was served before.
    """

    wait: bool = False
    wait_seconds: float = 1800.0
    keep_certificates: int = 1
    listed: Collection[str] = ()
    take_over: bool = False
    take_back: Collection[str] = ()
    insist: bool = False
    clean: bool = True
    bury: bool = True
    returning: bool = False


@dataclass
class Outcome:
    """The result of a reconcile.

    :ivar problems: one message for each thing that is not in sync.
    :ivar pending: domains that Qiniu is still publishing.
    :ivar changed: domains that were changed.
    :ivar unserved: domains that neither have what they should nor get it once it is published, even
        if nothing is wrong with that.
    :ivar has_outlook: whether any of the problems says what comes next.
    """

    problems: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unserved: list[str] = field(default_factory=list)
    has_outlook: bool = field(default=False, compare=False)


def reconcile(context: Context, scope: Collection[str], options: Options) -> Outcome:
    """Bring the domains of the lineages in *scope*, all of one account, to the desired state.

    :raises errors.QiniuError: if the memory cannot be written, or the owner of a certificate is
        unknown; all other problems are in the outcome.
    """
    return _Reconciler(context, scope, options).go()


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


def observe_and_plan(context: Context, scope: Collection[str], options: Options, *,
                     refresh: bool = False) -> Planned:
    """Observe and plan as :func:`reconcile` begins with; nothing is changed at Qiniu.

    :param refresh: ask Qiniu again, even if this process has its answers.
    :raises errors.QiniuError: if the owner of a certificate is unknown.
    """
    reconciler = _Reconciler(context, scope, options)
    names = [*reconciler.wanted, *reconciler.restore]
    return reconciler.observe_and_plan(names, refresh=refresh)


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


class _Reconciler:
    """One reconcile, in rounds: each observes, plans and applies for domains not settled yet."""

    def __init__(self, context: Context, scope: Collection[str], options: Options) -> None:
        self.context, self.scope, self.options = context, scope, options
        self.store, self.memory, self.account = context.store, context.memory, context.account
        self.wanted = {name: self.as_before(entry) for lineage in self.scope
                       for name, entry in self.store.managed(lineage).items()}
        self.restore = {name: record.baseline for lineage in self.scope
                        for name, record in self.memory.domains_of(lineage).items()
                        if record.baseline and record.is_ours and name not in self.store.state}
        self.outcome = Outcome()
        self.sends: dict[str, int] = {}
        self.failed: dict[str, str | errors.QiniuError] = {}
        self.tls_refused: dict[str, str] = {}  # in sync, now or soon, in all else
        self.refusals: dict[tuple[str, int], str] = {}
        self.upload_errors: dict[str, errors.QiniuError] = {}
        self.busy: dict[str, str | errors.QiniuError] = {}
        self.forgotten: list[str] = []
        self.taken: set[str] = set()
        self.unread: set[str] = set()  # Qiniu goes on with their changes
        self.instant: list[str] = []

    def as_before(self, entry: Managed) -> Managed:
        """Return *entry* with former settings in place of those that a rollback has undone."""
        record, binding = self.memory.domains.get(entry.name, Record()), entry.binding
        if binding.force_https is None:
            binding = replace(binding, force_https=record.former_force)
        if binding.tls_versions is None:
            binding = replace(binding, tls_versions=record.former_tls)
        return replace(entry, binding=binding)

    def go(self) -> Outcome:
        """Go round until all is settled or the time is over."""
        unsettled = [*self.wanted, *self.restore]
        if not unsettled:
            return self.outcome
        try:
            unsettled = self.rounds(unsettled)
        finally:
            self.store.write_memory()
        for name in unsettled:
            if name in self.busy:
                self.failed[name] = self.busy[name]
            elif self.options.wait and self.lacks_hsts(name):
                self.failed[name] = wording.hsts_unsent(name)
            else:
                self.outcome.pending.append(name)
        if self.forgotten:
            # Not in a checkpoint: nobody has asked for it, and after a rollback the domain
            # is found missing again.
            self.store.apply(dict.fromkeys(self.forgotten))
        refusals = {refusal: [name for name in sorted(self.tls_refused)
                              if self.tls_refused[name] == refusal and name not in self.failed]
                    for refusal in self.tls_refused.values()}
        is_done = not (self.upload_errors or self.failed or self.outcome.pending)
        problems = [*self.upload_errors.values(), *self.failed.values(), *(
            wording.tls_refused(names, refusal) for refusal, names in refusals.items() if names)]
        self.outcome.problems += told_once(problems)
        # Sentences say what comes next, and so do some errors.
        self.outcome.has_outlook = any(
            isinstance(problem, str) or problem.has_outlook for problem in problems)
        self.outcome.unserved = sorted((self.wanted.keys() - self.taken)
                                       | (self.failed.keys() - self.unread))
        if self.options.clean and is_done:
            for lineage in self.scope:
                entry, account = self.memory.lineage(lineage), self.context.account_name
                if entry.account != account:  # certificates left in a former one may go now
                    entry.account = account
            clean(self.context, self.scope, self.options.keep_certificates)
        return self.outcome

    def rounds(self, unsettled: list[str]) -> list[str]:
        """Go round, and wait in between as long as the process may.

        :returns: the names that are not settled at the end.
        """
        context, waiting = self.context, self.context.waiting
        unsettled, soon = self.round(unsettled, refresh=False)
        if not unsettled:
            return []
        pause = FIRST_PAUSE_SECONDS
        with waiting.watched(context.monotonic):
            while unsettled:
                left = waiting.left(self.options.wait_seconds)
                if not left and (self.busy or not (soon or self.instant)):
                    break
                if not soon:
                    self.store.write_memory()
                    if left:
                        waiting.pause(min(pause, left), unsettled, context.sleep)
                    else:
                        context.sleep(FIRST_PAUSE_SECONDS)
                    pause = min(pause * 1.6, LAST_PAUSE_SECONDS)
                unsettled, soon = self.round(unsettled, refresh=not soon)
        return unsettled

    def round(self, names: list[str], *, refresh: bool) -> tuple[list[str], bool]:
        """Do one round over *names*.

        :returns: the names that are not settled yet, and whether to observe them again at once.
        """
        planned = self.observe_and_plan(names, refresh=refresh)
        actions, observed = planned.actions, planned.observed
        note_return(self.context, observed.values())
        self.failed.update(planned.domain_failures)
        self.unread |= planned.domain_failures.keys() & self.taken
        waiting = [action.name for action in actions if action.verb is Verb.WAIT]
        self.taken.update(waiting)
        busy = wording.not_back if self.options.returning else wording.sentence
        self.busy = {action.name: busy(action)
                     for action in actions if action.verb is Verb.QUEUE}
        queued = [*self.busy]
        changes = []
        for action in actions:
            if action.tls_refusal:
                self.tls_refused[action.name] = action.tls_refusal
            if action.reason is Reason.TLS_VERSIONS_REFUSED:
                self.kept(action.name)
            elif action.verb is Verb.FAIL:
                self.failed[action.name] = wording.sentence(action)
            elif action.verb is Verb.SKIP:
                logger.warning("%s; it is left out", wording.sentence(action))
            elif action.verb is Verb.FORGET:
                self.forget(action)
            elif action.verb is Verb.KEEP:
                self.kept(action.name)
                self.tls_refused.pop(action.name, None)
            elif action.verb is Verb.LEAVE:
                self.leave(action)
            elif action.verb in (Verb.BIND, Verb.UNBIND, Verb.HSTS):
                fingerprint = action.binding.fingerprint if action.binding else ""
                if fingerprint in planned.certificate_failures:
                    self.upload_errors[fingerprint] = planned.certificate_failures[fingerprint]
                elif self.may_send(action):
                    changes.append(action)
        sent, again = self.apply(changes, observed)
        # A change that takes no time to publish is always read back.
        self.instant = [name for name in sent if not self.publishes(observed[name])]
        if self.options.wait:
            waiting += sent
        else:
            self.outcome.pending += waiting
            waiting = self.instant
            self.outcome.pending += [name for name in sent if name not in waiting]
        return waiting + queued + again, bool(again) and not waiting and not queued

    def lacks_hsts(self, name: str) -> bool:
        """Return whether HSTS is still to be sent: Qiniu takes it once all else is published."""
        wanted, sent = self.wanted.get(name), self.memory.domains[name].sent
        return bool(wanted and wanted.binding.hsts and sent and sent.binding.hsts is None)

    def kept(self, name: str) -> None:
        """Note that a domain serves what it should."""
        self.taken.add(name)
        if self.sends.get(name):
            self.context.say(f"{name}: published")
        entry = self.store.state.get(name)
        # From now on the user may change these.
        if entry and entry.binding.force_https is None:
            self.memory.update(name, former_force=None)
        if entry and entry.binding.tls_versions is None:
            self.memory.update(name, former_tls=None)
        if name in self.memory.domains:
            self.memory.update(name, taken_from="", left="")

    def leave(self, action: Action) -> None:
        """Report that somebody has put a better certificate over ours; to a timer only once."""
        text = wording.sentence(action)
        record = self.memory.domains.get(action.name, Record())
        if self.options.take_over or (record.left == action.other_id and not self.options.insist):
            self.context.say(text)
            return
        self.failed[action.name] = text
        if not self.options.insist:
            self.memory.update(action.name, left=action.other_id)

    def observe_and_plan(self, names: list[str], *, refresh: bool) -> Planned:
        """Observe and plan, over *names*."""
        wanted = [self.wanted[name] for name in names if name in self.wanted]
        certificate_failures = find_wanted(self.context, wanted)
        observed, failures = observe(self.context, names, refresh=refresh)
        actions = plan(
            [entry for entry in wanted if entry.name not in failures],
            {name: self.restore[name] for name in names
             if name in self.restore and name not in failures},
            self.knowledge(observed, wanted))
        return Planned(actions, observed, failures, certificate_failures)

    def may_send(self, action: Action) -> bool:
        """Return whether to send this change now; note why not, and what failed before."""
        tries = self.sends.get(action.name, 0)
        if action.reason is Reason.PUBLICATION_FAILED:
            self.failed[action.name] = wording.not_published(action, is_sent_again=not tries)
            return not tries
        if tries >= 3:
            self.failed[action.name] = wording.not_taken(action)
            return False
        return True

    def knowledge(self, observed: dict[str, Domain], wanted: list[Managed]) -> Knowledge:
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
            refused=self.refused_for_good(observed, wanted),
            tls_refusals=self.context.tls_refusals(
                entry.binding.tls_versions for entry in wanted),
            listed=self.options.listed, take_over=self.options.take_over,
            take_back=self.options.take_back, returning=self.options.returning)

    def refused_for_good(self, observed: dict[str, Domain],
                         wanted: list[Managed]) -> dict[str, str]:
        """Return a sentence, by fingerprint, for each certificate that Qiniu would refuse again."""
        found: dict[str, str] = {}
        for lineage in self.scope if not self.options.insist else ():
            refusal = self.memory.lineage(lineage).refusal
            fingerprint = refusal.fingerprint if refusal else ""
            waiting = [observed[entry.name] for entry in wanted if entry.lineage == lineage
                       and entry.binding.fingerprint == fingerprint and entry.name in observed]
            if (fingerprint in self.upload_errors or self.context.uploads_of(fingerprint)
                    or not fingerprint or not waiting):
                continue
            certificate = self.context.lineages.find(lineage, fingerprint)
            if certificate and (text := refused(self.context, certificate, waiting)):
                found[fingerprint] = text
        return found

    def forget(self, action: Action) -> None:
        """Stop managing a domain that is gone, or serves again what it served before."""
        name, entry = action.name, self.store.state.get(action.name)
        if action.reason is Reason.NOT_FOUND:
            known = self.memory.domains.get(name, Record()).gone
            if entry and known:  # it is only in the state again, by a rollback
                self.context.say(wording.still_gone(name, known.at))
            elif entry:
                self.failed[name] = wording.sentence(action)
            if self.options.bury:
                self.forgotten += [name] * bool(entry)
                self.memory.bury(name, entry.binding if entry else None, self.context.clock())
            return
        if action.reason is Reason.CHANGED:
            self.context.say(wording.changed_since(name))
        elif self.sends.get(name):
            self.context.say(f"{name}: back to what it was before certbot managed it")
        self.memory.update(name, lineage="", baseline=None, sent=None, confirmed=None, hsts="")

    # Applying --------------------------------------------------------------------------------

    def apply(self, actions: list[Action], observed: dict[str, Domain],
              ) -> tuple[list[str], list[str]]:
        """Send the changes.

        :returns: names that were sent, and names to observe again at once.
        """
        jobs = []
        for action in actions:
            binding, certificate = action.binding, None
            if binding is not None and action.verb is Verb.BIND:
                if binding.fingerprint in self.upload_errors:
                    continue  # the upload for another domain has failed
                try:
                    certificate = certificate_for(
                        self.context, binding, self.lineage_of(action.name),
                        keep_certificates=self.options.keep_certificates)
                except errors.QiniuError as error:
                    self.upload_errors[binding.fingerprint] = error
                    continue
                binding = replace(binding, cert_id=certificate.cert_id)
            jobs.append(_Job(action, self.sendable(observed[action.name]),
                             binding or Binding(protocol="http"), certificate))
        if not jobs:
            return [], []
        before = {job.name: self.memory.domains.get(job.name, Record()) for job in jobs}
        for job in jobs:
            self.memory.update(job.name, sent=Sent(job.binding, self.context.clock()),
                               taken_from=job.domain.cert_id)
            if job.action.verb is Verb.HSTS and job.binding.hsts:
                self.memory.update(job.name, hsts="ours")
        self.store.write_memory()  # before anything is sent, in case of a crash

        def send(job: _Job) -> None:
            service = self.account.services[job.domain.service]
            if job.action.verb is Verb.HSTS:
                service.set_hsts(job.domain, on=bool(job.binding.hsts))
            elif job.certificate is None:
                service.unbind(job.domain)
            else:
                service.bind(job.domain, job.certificate, job.binding)

        results = self.context.parallel(send, jobs)
        jobs, results = self.without_extra_fields(send, jobs, results)
        sent, again = [], []
        for job, result in zip(jobs, results, strict=True):
            self.sends[job.name] = self.sends.get(job.name, 0) + 1
            if result is None:
                self.note_sent(job)
                sent.append(job.name)
            elif isinstance(result, errors.Refused):
                self.memory.domains[job.name] = before[job.name]
                if self.refused(job, result):
                    again.append(job.name)
            else:
                # It may have taken effect: the change stays on record for a later run.
                self.failed[job.name] = result
        return sent, again

    def sendable(self, domain: Domain) -> Domain:
        """Return *domain* with those of its other HTTPS settings that a change of it sends back."""
        return sendable(domain, {name for name in domain.https_fields
                                 if self.context.field_refusal(name)})

    def without_extra_fields(
            self, send: Callable[[_Job], None], jobs: list[_Job],
            results: list[errors.QiniuError | None],
    ) -> tuple[list[_Job], list[errors.QiniuError | None]]:
        """Repeat refused changes with only the documented fields: the others may be the reason.

        No setting may cost a certificate. If Qiniu takes the repeat, or says that it changes
        nothing, the other fields were the reason, and that is remembered.

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
        self.store.write_memory()
        outcome = dict(zip(repeats, self.context.parallel(send, list(repeats.values())),
                           strict=True))
        for job in jobs:
            result = outcome.get(job.name)
            if job.name in repeats and (result is None or (
                    isinstance(result, errors.Refused) and result.code in UNCHANGED_CODES)):
                self.note_refused_fields(job, refused[job.name])
        return ([repeats.get(job.name, job) for job in jobs],
                [outcome.get(job.name, result) for job, result in zip(jobs, results, strict=True)])

    def note_refused_fields(self, job: _Job, refusal: errors.Refused) -> None:
        """Remember that Qiniu does not take fields of a change; warn only the first time."""
        told, now = self.memory.told, self.context.clock()
        wanted, versions = self.wanted.get(job.name), job.binding.tls_versions
        # The domain's own versions may be sent back even if the ones asked for were refused.
        asked = versions if wanted and versions == wanted.binding.tls_versions else None
        if asked:  # one X-Reqid for all equal refusals
            self.tls_refused[job.name] = self.refusals.setdefault(
                (refusal.text, refusal.code), refusal.cause)
        is_new = False
        # TLS versions are blamed only if they were the only extra field.
        for name in job.extra_fields - {TLS_VERSIONS} or job.extra_fields:
            key = refusal_key(self.context.account_name, name,
                              asked if name == TLS_VERSIONS else None)
            is_new = is_new or key not in told
            told[key] = f"{int(now)} {refusal.cause}"
        kept = job.extra_fields - ({TLS_VERSIONS} if asked else set())
        if kept:
            logger.log(logging.WARNING if is_new else logging.INFO, "%s",
                       wording.fields_refused(job.name, kept, refusal.cause))

    def note_sent(self, job: _Job) -> None:
        """Report what Qiniu has accepted, and remember that it is busy with it."""
        if job.action.verb is Verb.HSTS:
            operation = "update_resp_header"
            self.memory.update(job.name, hsts="ours" if job.binding.hsts else "")
        elif job.certificate is None:
            operation = "unsslize"
        else:
            operation = "sslize" if job.action.enable else "modify_https_conf"
        if self.publishes(job.domain):
            self.memory.update(job.name, processing_since=self.context.clock())
            self.account.note(replace(job.domain, state="processing", operation=operation))
        self.outcome.changed.append(job.name)
        self.taken.add(job.name)
        self.context.say(wording.sent(job.action, job.certificate.name if job.certificate else ""))

    def publishes(self, domain: Domain) -> bool:
        """Return whether a change of this domain takes time to be published."""
        return self.account.services[domain.service].publishes

    def refused(self, job: _Job, error: errors.Refused) -> bool:
        """Deal with a refusal; true if the domain is to be observed again at once."""
        name, first = job.name, self.sends[job.name] < 2
        if error.code in BUSY_CODES:
            # The list had not yet shown it: believe the refusal.
            self.busy[name] = error
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
            logger.warning("%s. %s keeps the headers that it has; everything else about it is in "
                           "sync. Ask again with certbot enhance --hsts", error, name)
            return False
        if (first and job.certificate and job.binding.fingerprint
                and is_gone(self.context, job.binding.cert_id, error)):
            self.memory.uploads.pop(job.binding.cert_id, None)
            return True
        # The keys may get a right that they lack. Other services refuse so, for good, a call that
        # is undocumented or does not exist.
        if job.action.verb is Verb.UNBIND and (
                error.status == BAD_REQUEST or job.domain.service != "cdn"):
            self.forget_refused(name, error)
        else:
            self.failed[name] = error
        return False

    def forget_refused(self, name: str, error: errors.Refused) -> None:
        """Report once that Qiniu will not switch HTTPS off while a certificate is valid."""
        self.failed[name] = wording.https_kept(name, str(error))
        self.memory.update(name, lineage="", baseline=None, sent=None, confirmed=None)

    def lineage_of(self, name: str) -> str:
        """Return the lineage that manages a domain, or did before a rollback gave it up."""
        if name in self.wanted:
            return self.wanted[name].lineage
        return self.memory.domains[name].lineage
