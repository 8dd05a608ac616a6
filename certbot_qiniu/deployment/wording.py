"""Word a plan for humans: one table for actions, one for domains that are not chosen.

Planning gives a stable reason and the facts; the words stand only here. The documentation of
messages quotes them.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Collection, Mapping, Sequence

from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.planning.hold import LEAST_DAYS, Served
from certbot_qiniu.deployment.planning.selection import NotChosen, Obstacle, Selection
from certbot_qiniu.deployment.state import Refusal
from certbot_qiniu.failures import SHOWN, first_of
from certbot_qiniu.model import DEAD_STATES, Domain, RemoteCertificate

STATES: Mapping[str, str] = {
    "frozen": "is frozen at Qiniu",
    "notIcpFrozen": "is frozen at Qiniu for want of an ICP filing",
    "offlined": "is offline at Qiniu",
    "deleted": "is deleted at Qiniu",
}
"""Qiniu's words for the states in which a domain can serve nothing -> ours."""

_EXPIRED = ("certbot's certificate {lineage} ended on {end}, and an expired certificate is never "
            "sent. Run certbot renew --cert-name {lineage}, and see what that says went wrong")

_NOT_GIVEN_BACK = (
    "{{name}} keeps what it serves: the certificate that it had before certbot managed it {what}. "
    "Bind another one in Qiniu's console, or let certbot manage it again: certbot install "
    "--cert-name {{lineage}} -i qiniu")

_OTHER_INSTALLATION = (
    "serves {other_certificate}, a newer certificate that another certbot-qiniu installation put "
    "there. Let one of the two manage it: list only others in --qiniu-domains here, or leave it "
    "out there and run certbot install here")

# Actions ----------------------------------------------------------------------------------------

_SENTENCES: Mapping[Reason | tuple[Verb, Reason], str] = {
    Reason.NOT_BOUND:
        "{name} speaks http only; the next certbot renew switches it to HTTPS",
    Reason.OUTDATED:
        "{name} serves another certificate than it should; the next certbot renew binds the "
        "right one",
    Reason.SETTINGS_DIFFER:
        "{name} has other settings than asked for; the next certbot renew sets them",
    Reason.TLS_VERSIONS_DIFFER:
        "{name} does not have the TLS versions that --qiniu-tls asks for, as far as Qiniu shows "
        "them; the next certbot renew sets them",
    Reason.TLS_VERSIONS_REFUSED: "{tls_refusal}",
    Reason.RESTORE:
        "{name} is not yet back to what it served before certbot managed it",
    Reason.PUBLICATION_FAILED:
        "Qiniu could not publish the last change of {name}{because}; the next certbot renew sends "
        "it again",
    (Verb.FAIL, Reason.PUBLICATION_FAILED):  # if only HSTS is left to do
        "Qiniu could not publish the last change of {name}{cause}, so its header "
        "Strict-Transport-Security cannot be changed; see Qiniu's console",
    Reason.PUBLISHING:
        "Qiniu is publishing the change of {name}",
    Reason.BUSY:
        "{name} is busy at Qiniu with {change} and cannot take the new certificate yet; the next "
        "certbot renew tries again",
    Reason.STUCK:
        "{name} has been in processing (处理中) at Qiniu for more than {hours} hours. Open a "
        "ticket with Qiniu: “The domain {name} has been stuck in the state processing since its "
        "operation {operation}; please finish or cancel it.”",
    Reason.IN_SYNC: "",
    Reason.CHANGED: "",
    (Verb.FAIL, Reason.NOT_FOUND):
        "{name} does not exist in this Qiniu account as a domain of its {service}. Remove it from "
        "--qiniu-domains, or add it at Qiniu",
    Reason.NOT_FOUND:
        "{name} does not exist in this Qiniu account as a domain of its {service} any more; "
        "certbot renew says so once and stops managing it. What it served before, and its "
        "settings, are kept for a year: if it comes back, it gets its certificate again, or, "
        "if a rollback holds that, the next one",
    Reason.DEAD:
        "{name} {state}{cause} and cannot be changed",
    Reason.NOT_OPERABLE:
        "{name} cannot be changed by this account; ask Qiniu's support",
    Reason.OTHER_INSTALLATION: "{name} " + _OTHER_INSTALLATION,
    Reason.BASELINE_EXPIRED: _NOT_GIVEN_BACK.format(what="ended on {end}"),
    Reason.BASELINE_GONE: _NOT_GIVEN_BACK.format(what="is no longer at Qiniu"),
    Reason.EXPIRED: "{name} keeps what it serves: " + _EXPIRED,
    Reason.REFUSED: "{detail}",
    Reason.REPLACED:
        "{name} serves {other_certificate}, which somebody has put over ours and which is valid "
        "until {end}, longer than ours. It is left until 30 days before that; to put ours back "
        "now: certbot-qiniu apply --take-back {name}",
}
"""The state, and what happens next: by reason, or by verb and reason if that matters."""

_PHRASES: Mapping[Reason, str] = {
    Reason.NOT_BOUND: "speaks http only: HTTPS is switched on",
    Reason.OUTDATED: "serves another certificate",
    Reason.SETTINGS_DIFFER: "has other settings than asked for",
    Reason.TLS_VERSIONS_DIFFER: "{versions} asked for, and not set yet as far as Qiniu shows it",
    Reason.TLS_VERSIONS_REFUSED: "Qiniu refuses the TLS versions that --qiniu-tls asks for",
    Reason.RESTORE: "goes back to what it served before certbot managed it",
    Reason.PUBLICATION_FAILED: "the last change failed: {detail}",
    Reason.PUBLISHING: "our change is being published",
    Reason.REFUSED: "Qiniu refuses the certificate",
    Reason.IN_SYNC: "in sync",
    Reason.CHANGED: "has been changed since it had a certificate of ours, and is left as it is",
}
"""The same for a step of ``plan``, which names the domain; other reasons use the sentence."""


def sentence(action: Action) -> str:
    """Say why a domain is not in sync; "" if there is nothing to report."""
    if action.verb is Verb.FORGET and action.restoring:
        return ""  # reported where the rollback gives it up
    template = _SENTENCES.get((action.verb, action.reason)) or _SENTENCES[action.reason]
    return _filled(template, action)


def phrase(action: Action, *, held: bool = False) -> str:
    """Say briefly why a step of ``plan`` is taken.

    :param held: whether a rollback keeps the newest certificate from being deployed.
    """
    if held and action.reason is Reason.IN_SYNC:
        return "as the rollback left it; a newer certificate or certbot install ends that"
    template = _PHRASES.get(action.reason)
    return sentence(action) if template is None else _filled(template, action)


def _filled(template: str, action: Action) -> str:
    return template.format(
        name=action.name, service=action.service, state=STATES.get(action.state, ""),
        cause=_in_brackets(action.detail), because=f": {action.detail}" if action.detail else "",
        detail=action.detail or "no reason given",
        change="our own earlier change" if action.ours else f"another change ({action.operation})",
        hours=int(action.stuck_seconds / 3600), operation=action.operation or "(unknown)",
        other_certificate=action.other_certificate or "another certificate",
        lineage=action.lineage, end=date(action.end),
        versions=_versions(action.binding.tls_versions if action.binding else None),
        tls_refusal=tls_refused([action.name], action.tls_refusal))


def _versions(names: Collection[str] | None) -> str:
    return ", ".join(names or ()) or "no TLS versions of its own"


def date(seconds: float) -> str:
    """Return a day, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _in_brackets(detail: str) -> str:
    return f" ({detail})" if detail else ""


def not_published(action: Action, *, is_sent_again: bool) -> str:
    """Say that Qiniu gave up on a change, and whether it is sent again."""
    because = f": {action.detail}" if action.detail else ""
    again = ("It was sent again now; the next certbot renew confirms it"
             if is_sent_again else "The next certbot renew sends it again")
    return f"Qiniu could not publish the change of {action.name}{because}. {again}"


def not_taken(action: Action) -> str:
    """Say that a domain does not change, however often a change is sent."""
    return (f"{action.name} does not take the change: Qiniu accepts it and then shows the old "
            "binding. Somebody else may be changing the domain at the same time; the next certbot "
            "renew tries again")


def without_tls_versions(name: str) -> str:
    """Say that ``--qiniu-tls`` has no effect on a domain of another service."""
    return f"{name}: Qiniu has TLS versions for CDN domains only; left without"


def comes_again(lineage: str, option: str) -> str:
    """Say that a rollback has not changed the user's options."""
    return (f"{lineage}: its renewal configuration still says {option}, so that a certbot renew "
            "sets this again. To keep what the rollback has put back: certbot reconfigure "
            f"--cert-name {lineage} {option} keep")


def versions_may_stay(names: Sequence[str]) -> str:
    """Say that nobody can tell whether a rollback has taken TLS versions back."""
    return (f"{first_of(names)}: Qiniu does not show the TLS versions, so that those that "
            "--qiniu-tls asked for may still be set. Look in Qiniu's console")


def tls_refused(names: Sequence[str], refusal: str) -> str:
    """Say that domains have everything but the TLS versions that the user has asked for."""
    return (f"Qiniu refused the TLS versions that --qiniu-tls asks for: {refusal}. "
            f"{first_of(names)}: everything else is sent without them. Set them in Qiniu's "
            "console and keep what is there (certbot reconfigure --qiniu-tls keep), or ask for "
            "others; these are tried again after 30 days")


def fields_refused(name: str, fields: Collection[str], refusal: str) -> str:
    """Warn that settings that Qiniu shows cannot be sent back."""
    return (f"{name}: Qiniu shows {', '.join(sorted(fields))} among its HTTPS settings, and "
            f"refused to get that back: {refusal}. The certificate was sent without; see Qiniu's "
            "console whether the setting is still as you want it. It is tried again after 30 days")


def not_back(action: Action) -> str:
    """Say that a domain cannot be put back, as Qiniu is busy with it."""
    if action.ours:
        return (f"{action.name} still gets the new certificate: Qiniu is publishing it, and takes "
                "no other change meanwhile")
    return (f"{action.name} is not put back: Qiniu is busy with another change "
            f"({action.operation}) of it")


def hsts_unsent(name: str) -> str:
    """Say that nobody has waited until HSTS could be sent."""
    return (f"{name}: HSTS is not switched on yet, as Qiniu takes no other change while it "
            "publishes the certificate. Later: certbot enhance --hsts")


def sent(action: Action, certificate: str) -> str:
    """Say what was sent.

    :param certificate: its name at Qiniu, if one is bound.
    """
    if action.verb is Verb.HSTS:
        switched_on = action.binding and action.binding.hsts
        return f"{action.name}: HSTS switched {'on' if switched_on else 'off'}"
    if action.verb is Verb.UNBIND:
        return f"{action.name}: switched back to http"
    switched = ", HTTPS switched on" if action.enable else ""
    if action.reason is Reason.TLS_VERSIONS_DIFFER and action.binding:
        return f"{action.name}: {_versions(action.binding.tls_versions)} sent to Qiniu"
    return f"{action.name}: certificate {certificate} sent to Qiniu{switched}"


def held(served: Served, lineage: str, now: float) -> str:
    """Say what a domain serves under a rollback's hold, for how long, and what ends that."""
    end = f"ends on {date(served.end)}" if served.end else "ends nobody knows when"
    what = (f"an older certificate of {lineage}" if served.is_ours else
            "what it served before certbot managed it")
    until = (f"on {date(served.gives_way)} the newest one is deployed"
             if served.gives_way > now else "nothing but a newer one changes that")
    return (f"{served.name} is kept by a rollback on {what}, which {end}; {until}. To deploy the "
            f"newest certificate now: certbot install --cert-name {lineage} -i qiniu")


def held_until(served: Collection[Served]) -> str:
    """Say, after "until certbot has a newer one", what else ends a hold, well or badly."""
    ours = [one.gives_way for one in served if one.gives_way]
    until = f", or {date(min(ours))} comes: what is served instead ends soon after" if ours else ""
    foreign = [one for one in served if not one.gives_way]
    if not foreign:
        return until
    first = min(foreign, key=lambda one: one.end)
    end = f"until {date(first.end)}" if first.end else "nobody knows how long"
    return f"{until}; what {first.name} serves instead is valid {end}"


def hold_ended(served: Served, lineage: str) -> str:
    """Say that a rollback is over by itself, and why."""
    return (f"{served.name}: a rollback kept it on an older certificate of {lineage}, which ends "
            f"on {date(served.end)}; that is over, and the newest one is deployed")


def goes_back(names: Collection[str], lineage: str, end: float) -> str:
    """Say what a rollback leads to, and when that ends."""
    return f"{', '.join(names)}: back to the certificate of {lineage} that ends on {date(end)}"


def goes_back_to_former(served: Served) -> str:
    """Say the same of a domain that gets back what it served before certbot came."""
    return (f"{served.name}: back to the certificate that it had before certbot managed it, which "
            f"ends on {date(served.end)}")


def too_late_to_go_back(told: Sequence[str]) -> str:
    """Refuse a rollback to a certificate that ends too soon.

    :param told: the sentences of :func:`goes_back`.
    """
    return (f"Nothing was rolled back, as a certificate would be served with less than "
            f"{LEAST_DAYS} days, or a quarter of its lifetime, left: {'; '.join(told)}. Keep the "
            "newest one, or have another issued (certbot renew --force-renewal); more "
            "--checkpoints lead further back")


def changed_since(name: str) -> str:
    """Say that a domain is not given back, as somebody has put another certificate there."""
    return (f"{name} has been changed since it had a certificate of ours: it is left as it is, and "
            "does not go back to what it served before certbot managed it")


def not_given_back(name: str, error: Exception) -> str:
    """Say that a domain that was let go could not be looked at."""
    return f"{name} was let go, and is not given back: {error}"


def https_kept(name: str, refusal: str) -> str:
    """Say that Qiniu will not switch HTTPS off while a certificate is valid."""
    return (f"{refusal}. {name} served http before certbot managed it, and Qiniu does not let "
            "HTTPS be switched off now; it keeps HTTPS and its present certificate, and is no "
            "longer managed. Qiniu's console may be able to, for a CDN domain once the "
            "certificate has expired")


# Domains that are managed no longer -----------------------------------------------------------

def let_go(name: str, why: str) -> str:
    """Name a domain that is not managed any more, and keeps what it serves.

    :param why: "" if that was said before.
    """
    return (f"{name} is let go{f', as {why}' if why else ''}: it keeps what it serves, and gets no "
            "renewed certificates")


def renamed(old: str, new: str) -> str:
    """Say that a renewal conf has another name."""
    return f"{old} is called {new} now: its domains at Qiniu go on under that name"


def list_in_doubt(lineage: str, names: Sequence[str], credentials: str) -> str:
    """Say that an account has none of the domains that it should have."""
    return (f"The Qiniu account of {credentials} has no domain that certbot manages; "
            f"{first_of(names)} of {lineage} should be there. Nothing is "
            "changed: see that these are the keys of the right account. If the domains were "
            f"deleted: certbot-qiniu forget --cert-name {lineage}; after 7 days of this certbot "
            "renew stops managing them by itself")


def gone(name: str, at: float, held: str = "") -> str:
    """Say, for some days, that a domain was found missing.

    :param held: the lineage, if a rollback holds it.
    """
    what = ("the next certbot renew gives it its certificate and settings" if not held else
            "as a rollback holds its certificate, it gets one with the next renewal of that, or "
            f"with certbot install --cert-name {held} -i qiniu")
    return (f"{name} was missing at Qiniu on {date(at)} and is no longer managed. If it was not "
            f"deleted on purpose, add it again: {what}")


def still_gone(name: str, at: float) -> str:
    """Say that a rollback cannot restore a domain that was reported missing before."""
    return f"{name}: missing at Qiniu since {date(at)}, so there is nothing to put back"


# Domains that are not chosen ---------------------------------------------------------------------

_OBSTACLES: Mapping[Obstacle, str] = {
    Obstacle.NOT_COVERED: "is not covered by the certificate, which is for {names}",
    Obstacle.TEST_DOMAIN: "is a test domain of Qiniu's, which takes no certificate",
    Obstacle.DCDN: "is a DCDN domain (全站加速), which this plugin does not change",
    Obstacle.DEAD: "{state}{cause}",
    Obstacle.NOT_OPERABLE: "cannot be changed by this account; ask Qiniu's support",
    Obstacle.OTHER_LINEAGE: "is managed by the lineage {lineage}",
    Obstacle.OTHER_INSTALLATION: _OTHER_INSTALLATION,
    Obstacle.GIVEN_BACK: "is back to what it served before, by a rollback of {lineage}",
    Obstacle.EXCLUDED: "is named by --qiniu-exclude",
    Obstacle.FOREIGN: "serves a certificate that {foreign}",
}
"""The rest of a sentence about a domain. A domain that cannot be read has the error's text; those
that do not exist share one sentence."""

def why(found: NotChosen) -> str:
    """Say why a domain is not chosen, in words that follow its name."""
    return _OBSTACLES[found.obstacle].format(
        state=STATES.get(found.state, ""), cause=_in_brackets(found.detail),
        lineage=found.lineage, names=", ".join(found.names), foreign=_what(found.foreign),
        other_certificate=found.foreign.name if found.foreign else "")


def _what(foreign: RemoteCertificate | None) -> str:
    """Say why a certificate that is not ours is better than ours."""
    end = f"is valid until {date(foreign.not_after)}" if foreign and foreign.not_after else ""
    if foreign and foreign.order_id:
        return f"was bought through Qiniu{' and ' * bool(end)}{end}"
    return f"{end}, longer than ours" if end else "is not ours and whose end is not known"


def _remedy(found: NotChosen) -> str:
    """Say, after :func:`why`, what the user can do about it."""
    if found.obstacle is Obstacle.EXCLUDED:
        return (" (to serve it: take it out of there, or --qiniu-exclude none --qiniu-domains "
                f"{found.name})")
    return (f" (to replace it: --qiniu-domains {found.name})"
            if found.obstacle in (Obstacle.FOREIGN, Obstacle.GIVEN_BACK) else "")


def problems(selection: Selection) -> list[str]:
    """Return a sentence for each problem with the domains that the user listed."""
    missing = [found for found in selection.problems if found.obstacle is Obstacle.NOT_FOUND]
    others = [_problem(found) for found in selection.problems if found not in missing]
    return [*([_not_found(missing)] if missing else []), *dict.fromkeys(others)]


def _problem(found: NotChosen) -> str:
    if found.obstacle is Obstacle.UNREADABLE:
        return found.detail
    remedy = (": take it out of one of the two --qiniu-domains lists"
              if found.obstacle is Obstacle.OTHER_LINEAGE else "")
    return f"{found.name} {why(found)}{remedy}"


def _not_found(missing: Sequence[NotChosen]) -> str:
    """Say which domains the account does not have, and which it has."""
    several = len(missing) > 1
    near = "".join(_near(found, several=several) for found in missing)
    what = "are no domains of this Qiniu account" if several else (
        "is no domain of this Qiniu account")
    return (f"{', '.join(found.name for found in missing)} {what} in the services that "
            f"--qiniu-services names. {near}The account has: {_in_account(missing[0].names)}")


def _near(found: NotChosen, *, several: bool) -> str:
    near = difflib.get_close_matches(found.name, found.names, n=3, cutoff=0.75)
    asked = f"For {found.name}, did" if several else "Did"
    return f"{asked} you mean {' or '.join(near)}? " if near else ""


def _in_account(domains: Sequence[str]) -> str:
    return first_of(domains) or "no domain at all"


def left_out(selection: Selection, chosen: Collection[str]) -> list[str]:
    """Return a line for each domain that a deployment leaves as it is.

    :param chosen: the domains that are served, including http-only ones that the user agreed to.
    """
    lines = [f"{found.name} {why(found)}: left out{_remedy(found)}"
             for found in selection.left_out]
    plain = [name for name in selection.http_only if name not in chosen]
    if plain:
        lines.append(f"{', '.join(plain)}: http only and covered only by a wildcard, so left as "
                     "it is. To switch it to HTTPS, list it in --qiniu-domains")
    return lines


def nothing_matched(names: Collection[str], selection: Selection, domains: Collection[str],
                    lineage: str = "") -> str:
    """Say that no domain matches a certificate, and which domains there are.

    :param names: the certificate's SANs.
    :param domains: the account's domains.
    :param lineage: the certificate's lineage, if it exists already.
    """
    certificate = f"the certificate {lineage}" if lineage else "a certificate"
    text = (f"No domain in this Qiniu account is to be served by {certificate} for "
            f"{', '.join(sorted(names))}")
    reasons = [f"{found.name} {why(found)}{_remedy(found)}" for found in selection.left_out]
    reasons += [f"{name} speaks http only and is covered only by a wildcard (list it in "
                "--qiniu-domains to switch it to HTTPS)" for name in selection.http_only]
    if reasons:
        return f"{text}: {'; '.join(reasons)}"
    return (f"{text}. {_missing_names(names, domains)}The account has: "
            f"{_in_account(sorted(domains))}. Check that the credentials are those of the right "
            "account, and that --qiniu-services names the right services")


def _missing_names(names: Collection[str], domains: Collection[str]) -> str:
    """Name the ``-d`` that may have been forgotten: for domains next to or below *names*."""
    bases = {name.removeprefix("*.") for name in names}
    hints: list[str] = []
    for domain in sorted(domains):
        plain = domain.removeprefix(".")
        parent = plain.partition(".")[2]
        if domain != plain:
            hints += [f"-d '*.{plain}'"] * (plain in bases)
        elif parent in bases:
            hints += [f"-d '*.{parent}'", f"-d {domain}"]
        elif any(plain.endswith(f".{base}") or f".{base}".endswith(f".{plain}") for base in bases):
            hints.append(f"-d {domain}")
    hints = list(dict.fromkeys(hints))
    return f"Is a name missing: {' or '.join(hints[:SHOWN])}? " if hints else ""


def expired(lineage: str, ends: float) -> str:
    """Say that a lineage has nothing to deploy."""
    return _EXPIRED.format(lineage=lineage, end=date(ends))


def older(lineage: str, ends: float, end: float) -> str:
    """Say that certbot's certificate is worse than the one that its domains have.

    :param ends: the end of certbot's.
    :param end: that of the other one.
    """
    return (f"certbot's certificate {lineage} ends on {date(ends)}, and its domains have a newer "
            f"one until {date(end)}, as if an old backup of certbot's was put back. They keep "
            f"it. For one that is newer still: certbot renew --force-renewal --cert-name "
            f"{lineage}; to serve certbot's all the same: certbot install --cert-name {lineage} "
            "-i qiniu")


def too_old(lineage: str, days: float) -> str:
    """Say that Qiniu may refuse a certificate that is not there yet for its age."""
    return (f"The certificate of {lineage} ends in {days:.0f} days and is not at Qiniu yet: Qiniu "
            "is known to refuse certificates with less than 30 days left. Renew it first: certbot "
            f"renew --force-renewal --cert-name {lineage}")


def short_lived(lineage: str) -> str:
    """Say that no certificate of a lineage lives long enough for Qiniu."""
    return (f"The certificates of {lineage or 'this kind'} are valid for less than 30 days when "
            "they are issued, and Qiniu is known to refuse such: use another profile")


def refused_for_good(lineage: str, refusal: Refusal) -> str:
    """Say that an upload is not tried again, and what ends that."""
    return (f"{refusal.text}. That was on {date(refusal.at)}, and cannot pass by itself: the key "
            f"of {lineage} was not sent again. A new certificate is (certbot renew "
            f"--force-renewal --cert-name {lineage}); certbot-qiniu apply --cert-name {lineage} "
            "tries this one again")


def stays_held(lineage: str) -> str:
    """Say for a dry run that a rollback keeps a lineage's newest certificate back."""
    return f"  {lineage}: nothing, a rollback keeps its newest certificate from being deployed"


def rehearsal(selection: Selection, domains: Mapping[str, Domain],
              left: Mapping[str, str]) -> list[str]:
    """Return a line for each thing that the next renewal would change or leave out.

    :param domains: the account's domains.
    :param left: the reasons why chosen ones stay as they are.
    """
    lines = [f"  {left.get(name) or f'{name}: {_change(domains.get(name))}'}"
             for name in selection.chosen]
    lines += [f"  {found.name}: left out, it {why(found)}" for found in selection.left_out]
    lines += [f"  {name}: left as it is (http only, covered only by a wildcard; list it in "
              "--qiniu-domains to switch it to HTTPS)" for name in selection.http_only]
    return lines


def _change(domain: Domain | None) -> str:
    if domain is None or domain.state in DEAD_STATES:
        return "no change possible"
    wait = ", once its present change is published" if domain.state == "processing" else ""
    if domain.protocol == "https":
        return f"bind the new certificate{wait}"
    return f"switch to HTTPS with the new certificate{wait}"
