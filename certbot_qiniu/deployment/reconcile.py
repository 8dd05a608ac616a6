"""Make Qiniu equal to the desired state: observe, plan, apply.

Every step repeats safely. A change is written into the memory before it is sent: so the change of
a run that died is not mistaken for somebody else's, and a later run ends what an earlier one began.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.certificates import clean
from certbot_qiniu.deployment.context import Context, Options
from certbot_qiniu.deployment.gathering import Planned, Planner
from certbot_qiniu.deployment.missing import note_return
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.sending import Progress, Sender
from certbot_qiniu.deployment.state import FORMER, Record
from certbot_qiniu.failures import told_once

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 12.0


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


class _Reconciler:
    """One reconcile, in rounds: each observes, plans and applies for domains not settled yet."""

    def __init__(self, context: Context, scope: Collection[str], options: Options) -> None:
        self.context, self.scope, self.options = context, scope, options
        self.store, self.memory = context.store, context.memory
        self.planner = Planner(context, scope, options)
        self.wanted, self.progress = self.planner.wanted, Progress()
        self.sender = Sender(context, self.wanted, options.keep_certificates, self.progress)
        self.pending: list[str] = []
        self.forgotten: list[str] = []
        self.unread: set[str] = set()  # Qiniu goes on with their changes
        self.instant: list[str] = []

    def go(self) -> Outcome:
        """Go round until all is settled or the time is over."""
        unsettled = [*self.wanted, *self.planner.restore]
        if not unsettled:
            return Outcome()
        try:
            unsettled = self.rounds(unsettled)
        finally:
            self.store.write_memory()
        progress = self.progress
        for name in unsettled:
            if name in progress.busy:
                progress.failed[name] = progress.busy[name]
            elif self.options.wait and self.lacks_hsts(name):
                progress.failed[name] = wording.hsts_unsent(name)
            else:
                self.pending.append(name)
        if self.forgotten:
            # Not in a checkpoint: nobody has asked for it, and after a rollback the domain
            # is found missing again.
            self.store.apply(dict.fromkeys(self.forgotten))
        outcome = self.outcome()
        if self.options.clean and not (
                progress.upload_errors or progress.failed or self.pending):
            for lineage in self.scope:
                entry, account = self.memory.lineage(lineage), self.context.account_name
                if entry.account != account:  # certificates left in a former one may go now
                    entry.account = account
            clean(self.context, self.scope, self.options.keep_certificates)
        return outcome

    def outcome(self) -> Outcome:
        """Return what has come of it."""
        failed, tls_refused = self.progress.failed, self.progress.tls_refused
        refusals = {refusal: [name for name in sorted(tls_refused)
                              if tls_refused[name] == refusal and name not in failed]
                    for refusal in tls_refused.values()}
        problems = [*self.progress.upload_errors.values(), *failed.values(), *(
            wording.tls_refused(names, refusal) for refusal, names in refusals.items() if names)]
        return Outcome(
            told_once(problems), self.pending, self.progress.changed,
            sorted((self.wanted.keys() - self.progress.taken) | (failed.keys() - self.unread)),
            # Sentences say what comes next, and so do some errors.
            any(isinstance(problem, str) or problem.has_outlook for problem in problems))

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
                if not left and (self.progress.busy or not (soon or self.instant)):
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
        progress = self.progress
        planned = self.planner.plan(names, refresh=refresh, tried=progress.upload_errors)
        actions, observed = planned.actions, planned.observed
        note_return(self.context, observed.values())
        progress.failed.update(planned.domain_failures)
        self.unread |= planned.domain_failures.keys() & progress.taken
        waiting = [action.name for action in actions if action.verb is Verb.WAIT]
        progress.taken.update(waiting)
        busy = wording.not_back if self.options.returning else wording.sentence
        progress.busy = {action.name: busy(action)
                         for action in actions if action.verb is Verb.QUEUE}
        queued = [*progress.busy]
        sent, again = self.sender.send(
            [action for action in actions if self.is_to_be_sent(action, planned)], observed)
        # A change that takes no time to publish is always read back.
        services = self.context.account.services
        self.instant = [name for name in sent if not services[observed[name].service].publishes]
        if self.options.wait:
            waiting += sent
        else:
            self.pending += waiting
            waiting = self.instant
            self.pending += [name for name in sent if name not in waiting]
        return waiting + queued + again, bool(again) and not waiting and not queued

    def is_to_be_sent(self, action: Action, planned: Planned) -> bool:
        """Return whether an action is a change to send now; of any other, note what it says."""
        name, progress = action.name, self.progress
        if action.tls_refusal:
            progress.tls_refused[name] = action.tls_refusal
        if action.reason is Reason.TLS_VERSIONS_REFUSED:
            self.kept(name)
        elif action.verb is Verb.FAIL:
            progress.failed[name] = wording.sentence(action)
        elif action.verb is Verb.SKIP:
            logger.warning("%s; it is left out", wording.sentence(action))
        elif action.verb is Verb.FORGET:
            self.forget(action)
        elif action.verb is Verb.KEEP:
            self.kept(name)
            progress.tls_refused.pop(name, None)
        elif action.verb is Verb.LEAVE:
            self.leave(action)
        elif action.verb in (Verb.BIND, Verb.UNBIND, Verb.HSTS):
            fingerprint = action.binding.fingerprint if action.binding else ""
            if fingerprint not in planned.certificate_failures:
                return self.may_send(action)
            progress.upload_errors[fingerprint] = planned.certificate_failures[fingerprint]
        return False

    def lacks_hsts(self, name: str) -> bool:
        """Return whether HSTS is still to be sent: Qiniu takes it once all else is published."""
        wanted, sent = self.wanted.get(name), self.memory.domains[name].sent
        return bool(wanted and wanted.binding.hsts and sent and sent.binding.hsts is None)

    def kept(self, name: str) -> None:
        """Note that a domain serves what it should."""
        self.progress.taken.add(name)
        if self.progress.sends.get(name):
            self.context.say(f"{name}: published")
        entry = self.store.state.get(name)
        if entry:
            # From now on the user may change what is "as it is".
            self.memory.update(name, **{known: None for setting, known in FORMER.items()
                                        if getattr(entry.binding, setting) is None})
        if name in self.memory.domains:
            self.memory.update(name, taken_from="", left="")

    def leave(self, action: Action) -> None:
        """Report that somebody has put a better certificate over ours; to a timer only once."""
        text = wording.sentence(action)
        record = self.memory.domains.get(action.name, Record())
        if self.options.take_over or (record.left == action.other_id and not self.options.insist):
            self.context.say(text)
            return
        self.progress.failed[action.name] = text
        if not self.options.insist:
            self.memory.update(action.name, left=action.other_id)

    def may_send(self, action: Action) -> bool:
        """Return whether to send this change now; note why not, and what failed before."""
        tries = self.progress.sends.get(action.name, 0)
        if action.reason is Reason.PUBLICATION_FAILED:
            self.progress.failed[action.name] = wording.not_published(
                action, is_sent_again=not tries)
            return not tries
        if tries >= 3:
            self.progress.failed[action.name] = wording.not_taken(action)
            return False
        return True

    def forget(self, action: Action) -> None:
        """Stop managing a domain that is gone, or serves again what it served before."""
        name, entry = action.name, self.store.state.get(action.name)
        if action.reason is Reason.NOT_FOUND:
            known = self.memory.domains.get(name, Record()).gone
            if entry and known:  # it is only in the state again, by a rollback
                self.context.say(wording.still_gone(name, known.at))
            elif entry:
                self.progress.failed[name] = wording.sentence(action)
            if self.options.bury:
                self.forgotten += [name] * bool(entry)
                self.memory.bury(name, entry.binding if entry else None, self.context.clock())
            return
        if action.reason is Reason.CHANGED:
            self.context.say(wording.changed_since(name))
        elif self.progress.sends.get(name):
            self.context.say(f"{name}: back to what it was before certbot managed it")
        self.memory.update(name, lineage="", baseline=None, sent=None, confirmed=None, hsts="")
