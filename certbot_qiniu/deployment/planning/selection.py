"""Which domains a lineage serves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from certbot_qiniu.deployment.state import State
from certbot_qiniu.model import (
    DEAD_STATES,
    Certificate,
    Domain,
    covering_name,
    san_of,
)


@dataclass(frozen=True)
class Selection:
    """Which domains a lineage is to serve.

    :ivar chosen: their names.
    :ivar left_out: (name, why) for domains that the certificate covers and that are not chosen.
    :ivar http_only: covered by a wildcard alone and http only: chosen only if the user says so.
    :ivar problems: what is wrong with domains that the user listed.
    """

    chosen: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    http_only: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def candidates(domains: Iterable[Domain], names: Collection[str], listed: Sequence[str] | None,
               managed: Collection[str]) -> list[Domain]:
    """The domains whose details :func:`select` wants to see before it chooses."""
    pool = [domain for domain in domains if _usable(domain) is None]
    if listed is not None:
        return [domain for domain in pool if domain.name in listed]
    return [domain for domain in pool
            if covering_name(names, domain.name)
            and (san_of(domain.name) in names or domain.name in managed
                 or domain.protocol == "https")]


def select(domains: Mapping[str, Domain], names: Collection[str], listed: Sequence[str] | None,
           *, lineage: str, state: State, bought: Collection[str] = (),
           other_installations: Collection[str] = (), alive: Collection[str] = (),
           take_over: bool = False) -> Selection:
    """Choose the domains that *lineage* serves.

    :param domains: the account's domains; details for the :func:`candidates`.
    :param names: the SANs of the certificate.
    :param listed: the domains that the user named in ``--qiniu-domains``, None for ``auto``.
    :param state: the desired state so far, for who manages what.
    :param bought: ids of certificates that were bought through Qiniu and have not expired.
    :param other_installations: ids of certificates that another installation of this plugin made.
    :param alive: the lineages that certbot still has.
    :param take_over: whether a listed domain may be taken from another lineage.
    """
    def owner(name: str) -> str:
        entry = state.get(name)
        return entry.lineage if entry and entry.lineage in alive else ""

    if listed is not None:
        return _select_listed(domains, names, listed, lineage, owner, take_over)
    # A rehearsal may not know the lineage; then no domain can be its own.
    own = {name for name in state if lineage and owner(name) == lineage}
    chosen, left_out, http_only = [], [], []
    for name, domain in sorted(domains.items()):
        if not covering_name(names, name):
            continue
        why_not = _usable(domain)
        if why_not:
            left_out.append((name, why_not))
        elif owner(name) not in ("", lineage):
            left_out.append((name, f"is managed by the lineage {owner(name)}"))
        elif name not in own and domain.cert_id and domain.cert_id in other_installations:
            left_out.append((name, "is managed by another certbot-qiniu installation"))
        elif san_of(name) in names or name in own:
            chosen.append(name)
        elif domain.protocol != "https":
            http_only.append(name)
        elif domain.cert_id in bought:
            left_out.append((name, "serves a valid certificate that was bought through Qiniu"))
        else:
            chosen.append(name)
    return Selection(tuple(chosen), tuple(left_out), tuple(http_only))


def _select_listed(domains: Mapping[str, Domain], names: Collection[str], listed: Sequence[str],
            lineage: str, owner: Callable[[str], str], take_over: bool) -> Selection:
    chosen, problems = [], []
    for name in listed:
        domain = domains.get(name)
        if domain is None:
            problems.append(_not_found(name, domains))
        elif not covering_name(names, name):
            problems.append(f"{name} is not covered by the certificate, which is for "
                            f"{', '.join(sorted(names))}")
        elif why_not := _usable(domain):
            problems.append(f"{name} {why_not}")
        elif owner(name) not in ("", lineage) and not take_over:
            problems.append(f"{name} is managed by the lineage {owner(name)}: take it out of one "
                            "of the two --qiniu-domains lists")
        else:
            chosen.append(name)
    return Selection(tuple(chosen), problems=tuple(problems))


def _not_found(name: str, domains: Mapping[str, Domain]) -> str:
    import difflib

    near = difflib.get_close_matches(name, domains, n=3, cutoff=0.75)
    has = ", ".join(sorted(domains)[:20]) or "no domain at all"
    if len(domains) > 20:
        has += f" and {len(domains) - 20} more"
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return (f"{name} is no domain of this Qiniu account in the services that --qiniu-services "
            f"names. {hint}The account has: {has}")


def _usable(domain: Domain) -> str | None:
    """Why this domain can serve no certificate of ours, None if it can."""
    if domain.kind == "test":
        return "is a test domain of Qiniu's, which takes no certificate"
    if domain.product == "dcdn":
        return "is a DCDN domain (全站加速), which this plugin does not change"
    if domain.state in DEAD_STATES:
        reason = f" ({domain.state_reason})" if domain.state_reason else ""
        return f"{DEAD_STATES[domain.state]}{reason}"
    if not domain.operable:
        return "cannot be changed by this account; ask Qiniu's support"
    return None


def nothing_matched(certificate: Certificate, selection: Selection) -> str:
    """What to tell a user for whose certificate there is no domain."""
    text = (f"No domain in this Qiniu account is to be served by the certificate "
            f"{certificate.lineage} for {', '.join(certificate.names)}")
    reasons = [f"{name} {why}" for name, why in selection.left_out]
    reasons += [f"{name} speaks http only and is covered by a wildcard alone (list it in "
                "--qiniu-domains to switch it to HTTPS)" for name in selection.http_only]
    return f"{text}: {'; '.join(reasons)}" if reasons else (
        f"{text}. Check that the credentials are those of the right account, and that the domain "
        "exists there in one of the services that --qiniu-services names")
