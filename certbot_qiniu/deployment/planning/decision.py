"""Pure decisions: which domains a lineage serves, and what each of them needs now.

No network, disk, clock or certbot here: what is known comes in as values, *now* included, and what
to do goes out as :class:`Action` values, each with its reason. The planner does not know one
service from another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from certbot_qiniu.deployment.planning.bindings import resolve, satisfies, serves
from certbot_qiniu.deployment.planning.confirmation import (
    HEADER_OPERATIONS,
    HTTPS_OPERATIONS,
    has_failed,
)
from certbot_qiniu.deployment.state import Managed, Record
from certbot_qiniu.model import (
    DAY,
    DEAD_STATES,
    FINGERPRINT_DIGITS,
    Binding,
    Domain,
    RemoteCertificate,
    parse_certificate_name,
)


class Verb(Enum):
    """What to do with a domain."""

    BIND = "bind"  # one change: certificate, force_https and http2 together
    UNBIND = "unbind"  # back to http
    HSTS = "hsts"  # a change of its own, once the others are published
    WAIT = "wait"  # our own change is being published
    QUEUE = "queue"  # busy with another change; ours has to wait for it
    KEEP = "keep"
    FORGET = "forget"  # no longer at Qiniu, or restored: stop managing it
    SKIP = "skip"  # cannot be changed now, and serves nothing that matters
    FAIL = "fail"


class Reason(Enum):
    """Why: stable words, apart from the text for humans."""

    NOT_BOUND = "NotBound"  # http, should be https
    OUTDATED = "Outdated"  # serves another certificate
    SETTINGS_DIFFER = "SettingsDiffer"
    RESTORE = "Restore"  # a rollback gives it up: back to its baseline
    PUBLICATION_FAILED = "PublicationFailed"
    PUBLISHING = "Publishing"
    BUSY = "Busy"
    STUCK = "Stuck"
    IN_SYNC = "InSync"
    NOT_FOUND = "NotFound"
    DEAD = "Dead"
    NOT_OPERABLE = "NotOperable"
    OTHER_INSTALLATION = "OtherInstallation"  # its newer certificate is there


@dataclass(frozen=True)
class Action:
    """One step of a plan.

    :ivar binding: what to send, settings all decided; for BIND and HSTS. Its certificate is a
        fingerprint, where it is ours, until it is applied.
    :ivar enable: the domain speaks http now and is switched to HTTPS.
    :ivar text: what a human is told: the finding of a FAIL, or a remark.
    """

    verb: Verb
    name: str
    reason: Reason
    binding: Binding | None = None
    enable: bool = False
    text: str = ""


@dataclass(frozen=True)
class Knowledge:
    """All that a plan depends on.

    :ivar observed: what Qiniu says of each domain; one that is missing does not exist there.
    :ivar ids: fingerprint -> Qiniu's ids of our certificate, for those that are there.
    :ivar other_installations: id -> certificate under a name of our kind that this installation
        never made.
    :ivar expiry: fingerprint -> end of validity (epoch seconds) of our own certificates.
    :ivar listed: domains that the user named in ``--qiniu-domains``.
    :ivar take_over: whether other installations' certificates may be replaced (``install``,
        ``run``).
    :ivar now: seconds since the epoch.
    """

    observed: Mapping[str, Domain]
    records: Mapping[str, Record]
    ids: Mapping[str, frozenset[str]]
    now: float
    other_installations: Mapping[str, RemoteCertificate] = field(default_factory=dict)
    expiry: Mapping[str, float] = field(default_factory=dict)
    listed: Collection[str] = ()
    take_over: bool = False


def plan(wanted: Iterable[Managed], restore: Mapping[str, Binding],
         known: Knowledge) -> list[Action]:
    """What makes Qiniu equal to the desired state, one action per domain, in order of names.

    :param wanted: the desired state.
    :param restore: domains that are to go back to these bindings, their baselines.
    """
    actions = [decide(entry.name, entry.binding, known) for entry in wanted]
    actions += [_restoring(decide(name, binding, known)) for name, binding in restore.items()]
    return sorted(actions, key=lambda action: action.name)


def decide(name: str, wanted: Binding, known: Knowledge) -> Action:
    """What one domain needs to serve *wanted*."""
    domain = known.observed.get(name)
    record = known.records.get(name, Record())
    listed = name in known.listed
    wanted = replace(wanted, hsts=_hsts(wanted, record))
    if domain is None:
        text = f"{name} does not exist in this Qiniu account as a domain of its {record.service}"
        return Action(Verb.FAIL if listed else Verb.FORGET, name, Reason.NOT_FOUND,
                      text=f"{text}. Remove it from --qiniu-domains, or add it at Qiniu"
                      if listed else f"{text} any more; it is no longer managed")
    in_sync = serves(domain, wanted, known.ids)
    if domain.state in DEAD_STATES:
        cause = f" ({domain.state_reason})" if domain.state_reason else ""
        return Action(Verb.FAIL if listed else Verb.SKIP, name, Reason.DEAD,
                      text=f"{name} {DEAD_STATES[domain.state]}{cause} and cannot be changed")
    if domain.state == "processing":
        return _in_processing(domain, record, wanted, known)
    failed = record.sent if has_failed(domain) else None
    # Where just this change has failed, a binding that is shown all the same proves nothing.
    doubtful = (failed and wanted.protocol == "https"
                and satisfies(failed.binding, wanted))
    if in_sync and not doubtful:
        return Action(Verb.KEEP, name, Reason.IN_SYNC)
    if not domain.operable:
        return Action(Verb.FAIL if listed or record.confirmed else Verb.SKIP, name,
                      Reason.NOT_OPERABLE,
                      text=f"{name} cannot be changed by this account; ask Qiniu's support")
    theirs = known.other_installations.get(domain.cert_id)
    if (theirs and not known.take_over and wanted.fingerprint
            and _is_newer(theirs, wanted.fingerprint, known.expiry)):
        return Action(Verb.FAIL, name, Reason.OTHER_INSTALLATION, text=(
            f"{name} serves {theirs.name}, a newer certificate that another certbot-qiniu "
            f"installation put there. Let one of the two manage it: leave it out of "
            f"--qiniu-domains here, or leave it out there and run certbot install here"))
    if not doubtful and serves(domain, replace(wanted, hsts=None), known.ids):
        return _switch_hsts(domain, wanted)
    if wanted.protocol == "http":
        return Action(Verb.UNBIND, name,
                      Reason.PUBLICATION_FAILED if failed else Reason.RESTORE,
                      text=domain.state_reason if failed else "")
    enable = domain.protocol != "https"
    binding = resolve(wanted, domain, record)
    if failed:
        reason = Reason.PUBLICATION_FAILED
    elif enable:
        reason = Reason.NOT_BOUND
    elif serves(domain, replace(wanted, force_https=None, http2=None), known.ids):
        reason = Reason.SETTINGS_DIFFER
    else:
        reason = Reason.OUTDATED
    return Action(Verb.BIND, name, reason, binding, enable,
                  text=domain.state_reason if failed else "")


def _hsts(wanted: Binding, record: Record) -> bool | None:
    """The HSTS to strive for: what we switched on and nobody wants any more is switched off."""
    if record.hsts == "refused":
        return None
    return False if wanted.hsts is None and record.hsts == "ours" else wanted.hsts


def _switch_hsts(domain: Domain, wanted: Binding) -> Action:
    """The change of a domain that is as *wanted* but for HSTS."""
    if domain.state == "failed":
        cause = f" ({domain.state_reason})" if domain.state_reason else ""
        return Action(Verb.FAIL, domain.name, Reason.PUBLICATION_FAILED, text=(
            f"Qiniu could not publish the last change of {domain.name}{cause}, so its header "
            "Strict-Transport-Security cannot be changed; see Qiniu's console"))
    return Action(Verb.HSTS, domain.name, Reason.SETTINGS_DIFFER, replace(
        wanted, cert_id=domain.cert_id, force_https=domain.force_https, http2=domain.http2))


def _is_newer(theirs: RemoteCertificate, own: str, expiry: Mapping[str, float]) -> bool:
    """Whether another installation's certificate goes before our *own*.

    Of two that end in the same second it is the same one for both, or each would take the domain
    back from the other for ever.
    """
    _, digits = parse_certificate_name(theirs.name) or ("", "")
    return (theirs.not_after, digits) > (expiry.get(own, 0), own[:FINGERPRINT_DIGITS])


def _in_processing(domain: Domain, record: Record, wanted: Binding, known: Knowledge) -> Action:
    """A domain that Qiniu is publishing refuses every change: wait for it, for whoever's it is."""
    name = domain.name
    since = record.processing_since
    if since and known.now - since > DAY:
        return Action(Verb.FAIL, name, Reason.STUCK, text=(
            f"{name} has been in processing (处理中) at Qiniu for more than "
            f"{int((known.now - since) / 3600)} hours. Open a ticket with Qiniu: “The domain "
            f"{name} has been stuck in the state processing since its operation "
            f"{domain.operation or '(unknown)'}; please finish or cancel it.”"))
    sent = record.sent
    if (sent is None and domain.operation not in HTTPS_OPERATIONS and record.confirmed
            and domain.protocol == wanted.protocol
            and satisfies(record.confirmed.binding, wanted)):
        return Action(Verb.KEEP, name, Reason.IN_SYNC)  # it has ours, and that is not changing
    ours = sent is not None and domain.operation in (
        HTTPS_OPERATIONS if sent.binding.hsts is None else HEADER_OPERATIONS)
    if sent and ours and satisfies(sent.binding, wanted):
        return Action(Verb.WAIT, name, Reason.PUBLISHING)
    whose = "our own earlier change" if ours else f"another change ({domain.operation})"
    return Action(Verb.QUEUE, name, Reason.BUSY, text=(
        f"{name} is busy at Qiniu with {whose} and cannot take the new certificate yet; "
        "the next certbot renew tries again"))


def _restoring(action: Action) -> Action:
    """The same decision, for a domain that is being given up: once there, it is forgotten."""
    if action.verb is Verb.KEEP or action.reason is Reason.NOT_FOUND:
        return replace(action, verb=Verb.FORGET, text="")
    if action.verb is Verb.BIND and action.reason is not Reason.PUBLICATION_FAILED:
        return replace(action, reason=Reason.RESTORE)
    return action
