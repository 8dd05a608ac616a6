"""Decide what each domain needs now, and why.

No network, disk, clock or certbot here: all facts come in as values, *now* included. Decisions go
out as :class:`Action` values, each with its reason and the facts to report to the user
(:mod:`certbot_qiniu.deployment.wording` has the words). The planner does not know one service from
another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from certbot_qiniu.deployment.planning.bindings import (
    is_unsent,
    resolve,
    satisfies,
    serves,
    shows_versions,
)
from certbot_qiniu.deployment.planning.confirmation import (
    HEADER_OPERATIONS,
    HTTPS_OPERATIONS,
    has_failed,
)
from certbot_qiniu.deployment.planning.validity import Claim, Contest, claim
from certbot_qiniu.deployment.state import Managed, Record, Sent
from certbot_qiniu.model import DAY, DEAD_STATES, Binding, Domain, RemoteCertificate


class Verb(Enum):
    """An action for a domain."""

    BIND = "bind"  # one change: certificate and all settings but HSTS together
    UNBIND = "unbind"  # back to http
    HSTS = "hsts"  # a change of its own, once the others are published
    WAIT = "wait"  # our own change is being published
    QUEUE = "queue"  # busy with another change; ours has to wait for it
    KEEP = "keep"
    LEAVE = "leave"  # somebody has put a certificate there on purpose
    FORGET = "forget"  # no longer at Qiniu, or restored: stop managing it
    SKIP = "skip"  # cannot be changed now, and serves nothing that matters
    FAIL = "fail"


class Reason(Enum):
    """The reason of an action: stable words, apart from the words for humans."""

    NOT_BOUND = "NotBound"  # speaks http, should speak HTTPS
    OUTDATED = "Outdated"  # serves another certificate than it should
    SETTINGS_DIFFER = "SettingsDiffer"  # the right certificate; redirect, HTTP/2 or HSTS are not
    TLS_VERSIONS_DIFFER = "TlsVersionsDiffer"  # all is right but the TLS versions
    TLS_VERSIONS_REFUSED = "TlsVersionsRefused"  # all is right, and Qiniu takes no TLS versions
    RESTORE = "Restore"  # a rollback gives it up: back to its baseline
    PUBLICATION_FAILED = "PublicationFailed"  # Qiniu took our last change and then gave up on it
    PUBLISHING = "Publishing"  # Qiniu is busy with just what is wanted
    BUSY = "Busy"  # Qiniu is busy with something else, and takes no change meanwhile
    STUCK = "Stuck"  # Qiniu has been busy for more than a day
    IN_SYNC = "InSync"  # serves what it should
    NOT_FOUND = "NotFound"  # the account has no such domain
    DEAD = "Dead"  # frozen, offline or deleted at Qiniu
    NOT_OPERABLE = "NotOperable"  # Qiniu lets this account change nothing
    EXPIRED = "OursExpired"  # the certificate that it should serve has ended
    BASELINE_EXPIRED = "BaselineExpired"  # the certificate to go back to has ended
    BASELINE_GONE = "BaselineGone"  # or is no longer at Qiniu
    CHANGED = "Changed"  # likewise, and somebody has replaced ours meanwhile
    OTHER_INSTALLATION = "OtherInstallation"  # serves its newer certificate
    REPLACED = "Replaced"  # serves one that is not ours, was put over ours and ends later
    REFUSED = "Refused"  # Qiniu has refused the certificate for good


@dataclass(frozen=True)
class Action:
    """One step of a plan.

    :ivar binding: what to send, settings all decided; for BIND and HSTS. Its certificate is a
        fingerprint, if it is ours, until it is applied.
    :ivar enable: the domain speaks http now and is switched to HTTPS.
    :ivar restoring: the domain is being given up, and goes back to its baseline.
    :ivar service: the one in which it was looked for; with NOT_FOUND.
    :ivar state: Qiniu's word for the domain's state; with DEAD.
    :ivar detail: Qiniu's own words about that state; also with PUBLICATION_FAILED. With REFUSED
        the whole sentence.
    :ivar operation: what Qiniu is busy with; with BUSY and STUCK.
    :ivar ours: whether that is a change of our own; with BUSY.
    :ivar stuck_seconds: for how long Qiniu has been busy; with STUCK.
    :ivar other_certificate: name of the certificate that is left; with OTHER_INSTALLATION, and
        REPLACED, when it may have none.
    :ivar other_id: its id at Qiniu; with REPLACED.
    :ivar lineage: whose certificate has ended, with EXPIRED, or stays, with BASELINE_….
    :ivar end: the end of what has ended, or of the one that is left (epoch seconds).
    :ivar tls_refusal: what Qiniu said when it refused the TLS versions that the user asked for;
        the action leaves them out.
    """

    verb: Verb
    name: str
    reason: Reason
    binding: Binding | None = None
    enable: bool = False
    restoring: bool = False
    service: str = ""
    state: str = ""
    detail: str = ""
    operation: str = ""
    ours: bool = False
    stuck_seconds: float = 0.0
    other_certificate: str = ""
    other_id: str = ""
    lineage: str = ""
    end: float = 0.0
    tls_refusal: str = ""


@dataclass(frozen=True)
class Knowledge:
    """All that a plan depends on.

    :ivar observed: what Qiniu says of each domain; one that is missing does not exist there.
    :ivar ids: fingerprint -> Qiniu's ids of our certificate, for those that are there.
    :ivar foreign: id -> certificate, of those that domains serve and that are not ours.
    :ivar ours: ids of all certificates that we have uploaded.
    :ivar expiry: fingerprint -> end of validity (epoch seconds) of our own certificates.
    :ivar unusable: id -> end, of baselines' certificates that have expired; 0 for those that are
        gone.
    :ivar refused: fingerprint -> the sentence about it, for our certificates that Qiniu would only
        refuse again.
    :ivar tls_refusals: TLS versions that were asked for, None for those that a domain had, -> what
        Qiniu said when it refused to take them.
    :ivar listed: domains that the user named in ``--qiniu-domains``.
    :ivar take_over: whether other installations' certificates may be replaced (``install``,
        ``run``).
    :ivar take_back: domains that the user takes back from whatever was put there.
    :ivar returning: whether a rollback is under way, instead of the rest of an earlier one.
    :ivar now: seconds since the epoch.
    """

    observed: Mapping[str, Domain]
    records: Mapping[str, Record]
    ids: Mapping[str, frozenset[str]]
    now: float
    foreign: Mapping[str, RemoteCertificate] = field(default_factory=dict)
    ours: Collection[str] = ()
    expiry: Mapping[str, float] = field(default_factory=dict)
    unusable: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    tls_refusals: Mapping[tuple[str, ...] | None, str] = field(default_factory=dict)
    listed: Collection[str] = ()
    take_over: bool = False
    take_back: Collection[str] = ()
    returning: bool = True


def plan(wanted: Iterable[Managed], restore: Mapping[str, Binding],
         known: Knowledge) -> list[Action]:
    """Plan the actions that make Qiniu equal to the desired state: one per domain, by name.

    :param wanted: the desired state.
    :param restore: domains that are to go back to these bindings, their baselines.
    """
    actions = [decide(entry.name, entry.binding, known) for entry in wanted]
    actions += [_restoring(_changed_since(name, binding, known)
                           or decide(name, binding, known, restoring=True))
                for name, binding in restore.items()]
    return sorted(actions, key=lambda action: action.name)


def decide(name: str, wanted: Binding, known: Knowledge, *, restoring: bool = False) -> Action:
    """Decide what one domain needs to serve *wanted*: the first rule that applies decides.

    :param restoring: it is a baseline, for which the user asked nothing.
    """
    domain, record = known.observed.get(name), known.records.get(name, Record())
    if domain is None:
        # Make sure that a typing error in the user's list is reported. A domain that we found
        # ourselves and that is missing was deleted, and is no longer managed.
        return Action(Verb.FAIL if name in known.listed else Verb.FORGET, name, Reason.NOT_FOUND,
                      service=record.service)
    asked = None if restoring else wanted.tls_versions
    refusal = "" if shows_versions(domain, wanted) else known.tls_refusals.get(asked, "")
    if refusal:
        wanted = replace(wanted, tls_versions=None)
    situation = _Situation(name, domain, record, _with_hsts(wanted, record), known)
    action = next(action for rule in _RULES if (action := rule(situation)))
    return _without_versions(action, refusal) if refusal and asked else action


def _without_versions(action: Action, refusal: str) -> Action:
    """Return the decision for TLS versions that Qiniu refuses although the user asked for them."""
    if action.verb is Verb.KEEP:
        action = replace(action, verb=Verb.FAIL, reason=Reason.TLS_VERSIONS_REFUSED)
    elif action.verb not in (Verb.BIND, Verb.WAIT, Verb.HSTS):
        return action  # other reasons matter more
    return replace(action, tls_refusal=refusal)


def _with_hsts(wanted: Binding, record: Record) -> Binding:
    """Return *wanted* with the HSTS to aim for.

    If Qiniu refused HSTS, it is not asked for again; if we switched it on and nobody wants it any
    more, it is switched off.
    """
    if record.hsts == "refused":
        return replace(wanted, hsts=None)
    return replace(wanted, hsts=False) if wanted.hsts is None and record.hsts == "ours" else wanted


def _changed_since(name: str, wanted: Binding, known: Knowledge) -> Action | None:
    """Make sure that the rest of a rollback undoes nothing that somebody has done since."""
    domain, record = known.observed.get(name), known.records.get(name, Record())
    if (known.returning or domain is None or (domain.protocol, domain.state) != ("https", "success")
            or record.sent or domain.cert_id in {*known.ours, wanted.cert_id}):
        return None
    return Action(Verb.KEEP, name, Reason.CHANGED)


def _restoring(action: Action) -> Action:
    """Make the same decision for a domain that is being given up: once there, it is forgotten."""
    action = replace(action, restoring=True)
    if action.verb is Verb.KEEP or action.reason is Reason.NOT_FOUND:
        return replace(action, verb=Verb.FORGET)
    if action.verb is Verb.BIND and action.reason is not Reason.PUBLICATION_FAILED:
        return replace(action, reason=Reason.RESTORE)
    return action


# The rules, in their order ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Situation:
    """A domain that exists, and what it should serve."""

    name: str
    domain: Domain
    record: Record
    wanted: Binding
    known: Knowledge

    @property
    def is_listed(self) -> bool:
        return self.name in self.known.listed

    @property
    def failed(self) -> Sent | None:
        """Our change that Qiniu could not publish."""
        return self.record.sent if has_failed(self.domain) else None

    @property
    def is_doubtful(self) -> bool:
        """Whether the wanted change has just failed: then it proves nothing that Qiniu shows it."""
        return (self.failed is not None and self.wanted.protocol == "https"
                and satisfies(self.failed.binding, self.wanted))

    @property
    def contest(self) -> Contest:
        """Our certificate, and what the domain serves instead."""
        known, fingerprint = self.known, self.wanted.fingerprint
        is_taken_back = self.name in known.take_back
        foreign = known.foreign.get(self.domain.cert_id)
        return Contest(
            known.now, known.expiry.get(fingerprint, 0), fingerprint,
            foreign if self.domain.protocol == "https" else None, managed=True,
            take_over=known.take_over or is_taken_back,
            asked=is_taken_back or self.record.taken_from == self.domain.cert_id)

    def serves(self, wanted: Binding) -> bool:
        return (serves(self.domain, wanted, self.known.ids)
                and not is_unsent(self.domain, wanted, self.record))


def _dead(it: _Situation) -> Action | None:
    """Make sure that a domain that can serve nothing is left alone.

    If the user named it, it is reported: otherwise they would wait for it in vain.
    """
    if it.domain.state not in DEAD_STATES:
        return None
    return Action(Verb.FAIL if it.is_listed else Verb.SKIP, it.name, Reason.DEAD,
                  state=it.domain.state, detail=it.domain.state_reason)


def _expired(it: _Situation) -> Action | None:
    """Make sure that no expired certificate is sent, and that serving one is no success."""
    if not it.wanted.fingerprint or claim(it.contest) is not Claim.EXPIRED:
        return None
    return Action(Verb.FAIL, it.name, Reason.EXPIRED, lineage=it.record.lineage,
                  end=it.contest.ends)


def _stuck(it: _Situation) -> Action | None:
    """Make sure that a change that Qiniu never ends to publish is reported, whoever made it."""
    since, now = it.record.processing_since, it.known.now
    if it.domain.state != "processing" or not since or now - since <= DAY:
        return None
    return Action(Verb.FAIL, it.name, Reason.STUCK, stuck_seconds=now - since,
                  operation=it.domain.operation)


def _busy_with_something_else(it: _Situation) -> Action | None:
    """Make sure that nobody waits for a change that does not touch what we have confirmed."""
    sent, confirmed = it.record.sent, it.record.confirmed
    if (it.domain.state == "processing" and sent is None
            and it.domain.operation not in HTTPS_OPERATIONS and confirmed
            and it.domain.protocol == it.wanted.protocol
            and (not it.domain.cert_id or it.serves(it.wanted))  # a list shows no certificate
            and satisfies(confirmed.binding, it.wanted)):
        return Action(Verb.KEEP, it.name, Reason.IN_SYNC)
    return None


def _processing(it: _Situation) -> Action | None:
    """Make sure that nothing is sent now: a domain that is being published refuses every change.

    Our own change is awaited; another one, or an older one of ours, has to end first.
    """
    if it.domain.state != "processing":
        return None
    sent = it.record.sent
    ours = sent is not None and it.domain.operation in (
        HTTPS_OPERATIONS if sent.binding.hsts is None else HEADER_OPERATIONS)
    if sent and ours and satisfies(sent.binding, it.wanted):
        return Action(Verb.WAIT, it.name, Reason.PUBLISHING)
    return Action(Verb.QUEUE, it.name, Reason.BUSY, operation=it.domain.operation, ours=ours)


def _in_sync(it: _Situation) -> Action | None:
    """Make sure that nothing is sent to a domain that serves what it should."""
    if it.serves(it.wanted) and not it.is_doubtful:
        return Action(Verb.KEEP, it.name, Reason.IN_SYNC)
    return None


def _baseline_unusable(it: _Situation) -> Action | None:
    """Make sure that no domain goes back to a certificate that is of no use any more.

    If somebody has replaced ours meanwhile, nothing is left to be given back.
    """
    end = it.known.unusable.get(it.wanted.cert_id)
    if it.wanted.protocol != "https" or end is None:
        return None
    if it.domain.cert_id not in it.known.ours and not it.record.sent:
        return Action(Verb.KEEP, it.name, Reason.CHANGED)
    return Action(Verb.FAIL, it.name, Reason.BASELINE_EXPIRED if end else Reason.BASELINE_GONE,
                  lineage=it.record.lineage, end=end)


def _not_operable(it: _Situation) -> Action | None:
    """Make sure that nothing is sent if Qiniu refuses this account every change.

    It is an error if the user named the domain, or if it served ours before: then our certificate
    runs out there.
    """
    if it.domain.operable:
        return None
    matters = it.is_listed or it.record.confirmed
    return Action(Verb.FAIL if matters else Verb.SKIP, it.name, Reason.NOT_OPERABLE)


def _foreign(it: _Situation) -> Action | None:
    """Make sure that a better certificate than ours stays if somebody put it there on purpose."""
    contest = it.contest
    found, foreign = claim(contest) if it.wanted.fingerprint else Claim.OURS, contest.foreign
    if foreign and found is Claim.OTHER_INSTALLATION:
        return Action(Verb.FAIL, it.name, Reason.OTHER_INSTALLATION,
                      other_certificate=foreign.name)
    if foreign and found is Claim.REPLACED:
        return Action(Verb.LEAVE, it.name, Reason.REPLACED, other_certificate=foreign.name,
                      other_id=foreign.cert_id, end=foreign.not_after)
    return None


def _hsts_alone(it: _Situation) -> Action | None:
    """Make sure that HSTS comes after all else: Qiniu takes it as a change of its own.

    After a failed change Qiniu takes no change of headers.
    """
    domain = it.domain
    if it.is_doubtful or not it.serves(replace(it.wanted, hsts=None)):
        return None
    if domain.state == "failed":
        return Action(Verb.FAIL, it.name, Reason.PUBLICATION_FAILED, detail=domain.state_reason)
    return Action(Verb.HSTS, it.name, Reason.SETTINGS_DIFFER, replace(
        it.wanted, cert_id=domain.cert_id, force_https=domain.force_https, http2=domain.http2))


def _back_to_http(it: _Situation) -> Action | None:
    """Make sure that a domain that served http before goes back to it."""
    if it.wanted.protocol != "http":
        return None
    if it.failed:
        return Action(Verb.UNBIND, it.name, Reason.PUBLICATION_FAILED,
                      detail=it.domain.state_reason)
    return Action(Verb.UNBIND, it.name, Reason.RESTORE)


def _refused(it: _Situation) -> Action | None:
    """Make sure that no private key is sent if Qiniu would only refuse the certificate again."""
    text = it.known.refused.get(it.wanted.fingerprint)
    return Action(Verb.FAIL, it.name, Reason.REFUSED, detail=text) if text else None


def _bind(it: _Situation) -> Action:
    """Make sure that every other domain gets the certificate and its settings, in one change."""
    domain, enable, detail = it.domain, it.domain.protocol != "https", ""
    if it.failed:
        reason, detail = Reason.PUBLICATION_FAILED, domain.state_reason
    elif enable:
        reason = Reason.NOT_BOUND
    elif it.serves(replace(it.wanted, tls_versions=None)):
        reason = Reason.TLS_VERSIONS_DIFFER
    elif it.serves(replace(it.wanted, force_https=None, http2=None, tls_versions=None)):
        reason = Reason.SETTINGS_DIFFER
    else:
        reason = Reason.OUTDATED
    binding = resolve(it.wanted, domain, it.record)
    if it.wanted.tls_versions is None and None in it.known.tls_refusals:
        binding = replace(binding, tls_versions=None)
    return Action(Verb.BIND, it.name, reason, binding, enable, detail=detail)


_RULES: Sequence[Callable[[_Situation], Action | None]] = (
    _dead, _expired, _stuck, _busy_with_something_else, _processing, _in_sync,
    _baseline_unusable, _not_operable, _foreign, _hsts_alone, _back_to_http, _refused,
    _bind)
