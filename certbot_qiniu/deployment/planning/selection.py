"""Select the domains of a lineage, and say why others are not chosen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from certbot_qiniu.deployment.planning.validity import Claim, Contest, claim
from certbot_qiniu.deployment.state import State
from certbot_qiniu.model import (
    DEAD_STATES,
    Domain,
    RemoteCertificate,
    covering_name,
    san_of,
)


class Obstacle(Enum):
    """The reason why a domain is not chosen: stable words, apart from the words for humans."""

    NOT_FOUND = "NotFound"  # listed, and the account has no such domain
    UNREADABLE = "Unreadable"  # Qiniu did not say what it serves
    NOT_COVERED = "NotCovered"  # listed, and the certificate is for other names
    TEST_DOMAIN = "TestDomain"  # Qiniu's own, takes no certificate
    DCDN = "Dcdn"  # a product whose domains this plugin does not change
    DEAD = "Dead"  # frozen, offline or deleted at Qiniu
    NOT_OPERABLE = "NotOperable"  # Qiniu lets this account change nothing
    OTHER_LINEAGE = "OtherLineage"  # managed by another lineage of this machine
    OTHER_INSTALLATION = "OtherInstallation"  # another installation has put a newer one there
    GIVEN_BACK = "GivenBack"  # a rollback of another lineage brought it back to what it had
    EXCLUDED = "Excluded"  # the user leaves it out of ``auto``
    FOREIGN = "Foreign"  # serves one that was bought through Qiniu, or ends later than ours


_UNUSABLE = (Obstacle.TEST_DOMAIN, Obstacle.DCDN, Obstacle.DEAD, Obstacle.NOT_OPERABLE)


@dataclass(frozen=True)
class NotChosen:
    """A domain that is not chosen, and why.

    :ivar state: Qiniu's word for the domain's state; with DEAD.
    :ivar detail: Qiniu's own words about that state; with UNREADABLE the error.
    :ivar lineage: who manages it; with OTHER_LINEAGE and GIVEN_BACK, of which it is who did.
    :ivar names: the certificate's SANs, with NOT_COVERED; the account's domains, with NOT_FOUND.
    :ivar foreign: what the domain serves; with FOREIGN and OTHER_INSTALLATION.
    """

    name: str
    obstacle: Obstacle
    state: str = ""
    detail: str = ""
    lineage: str = ""
    names: tuple[str, ...] = ()
    foreign: RemoteCertificate | None = None


@dataclass(frozen=True)
class Selection:
    """The domains that a lineage is to serve.

    :ivar chosen: their names.
    :ivar left_out: domains that the certificate covers and that are not chosen.
    :ivar http_only: covered only by a wildcard and http only: chosen only if the user says so.
    :ivar problems: domains that the user listed and that cannot be served, that another
        installation serves, or that could not be read.
    """

    chosen: tuple[str, ...] = ()
    left_out: tuple[NotChosen, ...] = ()
    http_only: tuple[str, ...] = ()
    problems: tuple[NotChosen, ...] = ()

    @property
    def is_left_on_purpose(self) -> bool:
        """Whether there are domains for it, and somebody wants all of them left as they are."""
        obstacles, purpose = {found.obstacle for found in self.left_out}, {
            Obstacle.FOREIGN, Obstacle.EXCLUDED, Obstacle.GIVEN_BACK}
        return not self.chosen and not self.problems and bool(obstacles & purpose) and (
            obstacles <= {*purpose, *_UNUSABLE})

    def without(self, names: Collection[str]) -> Selection:
        """Return the same without what is left out of *names*: it is reported elsewhere."""
        return replace(self, left_out=tuple(
            found for found in self.left_out if found.name not in names))


def is_excluded(name: str, excluded: Iterable[str]) -> bool:
    """Return whether Qiniu's domain *name* is excluded.

    :param excluded: Qiniu's names, and ``*.example.com`` for ``.example.com`` and all below it.
    """
    return any(name.endswith(entry.removeprefix("*")) if entry.startswith("*") else name == entry
               for entry in excluded)


def candidates(domains: Iterable[Domain], names: Collection[str], listed: Sequence[str] | None,
               managed: Collection[str], back: Collection[str] = (),
               excluded: Collection[str] = ()) -> list[Domain]:
    """Find the domains whose details :func:`select` needs before it chooses."""
    pool = [domain for domain in domains if _unusable(domain) is None]
    if listed is not None:
        return [domain for domain in pool if domain.name in listed]
    return [domain for domain in pool
            if covering_name(names, domain.name) and not is_excluded(domain.name, excluded)
            and (san_of(domain.name) in names or domain.name in managed
                 or domain.name in back or domain.protocol == "https")]


def select(domains: Mapping[str, Domain], names: Collection[str], listed: Sequence[str] | None,
           *, lineage: str, state: State, foreign: Mapping[str, RemoteCertificate] | None = None,
           ends: float = 0.0, now: float = 0.0, alive: Collection[str] = (),
           take_over: bool = False, back: Collection[str] = (),
           excluded: Collection[str] = (),
           given_back: Callable[[], Mapping[str, str]] = dict) -> Selection:
    """Choose the domains that *lineage* serves.

    :param domains: the account's domains; details for the :func:`candidates`.
    :param names: the SANs of the certificate.
    :param listed: the domains that the user named in ``--qiniu-domains``, None for ``auto``.
    :param state: the desired state so far, for who manages what.
    :param foreign: id -> certificate, of those that the candidates serve and that are not ours.
    :param ends: when our certificate ends; 0 if unknown.
    :param now: seconds since the epoch.
    :param alive: the lineages that certbot still has.
    :param take_over: whether a domain may be taken from another installation, and a listed one
        from another lineage.
    :param back: domains that the lineage had until they were missing.
    :param excluded: what ``auto`` never takes; see :func:`is_excluded`.
    :param given_back: returns domain -> the lineage whose rollback has given it back, and still
        holds; called only if that matters, as all lineages are looked at for it.
    """
    def owner(name: str) -> str:
        entry = state.get(name)
        return entry.lineage if entry and entry.lineage in alive else ""

    if listed is not None:
        return _select_listed(domains, names, listed, lineage, owner, take_over)
    # A rehearsal may not know the lineage; then it has no domains yet.
    own = {name for name in state if lineage and owner(name) == lineage}
    chosen, http_only = [], []
    left_out, problems = list[NotChosen](), list[NotChosen]()
    for name, domain in sorted(domains.items()):
        # Make sure that only domains that the certificate covers are mentioned.
        if not covering_name(names, name):
            continue
        # Make sure that a domain that the user excludes is left out, whoever has it.
        if is_excluded(name, excluded):
            left_out.append(NotChosen(name, Obstacle.EXCLUDED))
        # Make sure that nothing is planned that Qiniu will not do, even if a SAN names it.
        elif obstacle := _unusable(domain):
            left_out.append(obstacle)
        # Make sure that two lineages, or two installations, do not take it from each other in turn.
        elif owner(name) not in ("", lineage):
            left_out.append(NotChosen(name, Obstacle.OTHER_LINEAGE, lineage=owner(name)))
        # Make sure that what a rollback has led to stays, as long as it holds.
        elif name not in own and not take_over and (other := given_back().get(name)):
            left_out.append(NotChosen(name, Obstacle.GIVEN_BACK, lineage=other))
        elif name not in own and (obstacle := _claimed(
                domain, Contest(now, ends, take_over=take_over), foreign or {})):
            # Make sure that one of two competing installations is reported.
            (problems if obstacle.obstacle is Obstacle.OTHER_INSTALLATION
             else left_out).append(obstacle)
        # Make sure that a domain is served that a SAN names, or that is or was ours.
        elif san_of(name) in names or name in own or name in back:
            chosen.append(name)
        # Make sure that nobody pays for HTTPS traffic without having asked for it.
        elif domain.protocol != "https":
            http_only.append(name)
        else:
            chosen.append(name)
    return Selection(tuple(chosen), tuple(left_out), tuple(http_only), tuple(problems))


def _select_listed(domains: Mapping[str, Domain], names: Collection[str], listed: Sequence[str],
                   lineage: str, owner: Callable[[str], str], take_over: bool) -> Selection:
    """Choose just the domains that the user listed; one that cannot be served is a problem."""
    chosen, problems = [], []
    for name in listed:
        domain = domains.get(name)
        if domain is None:
            problems.append(NotChosen(name, Obstacle.NOT_FOUND, names=tuple(sorted(domains))))
        elif not covering_name(names, name):
            problems.append(NotChosen(name, Obstacle.NOT_COVERED, names=tuple(sorted(names))))
        elif obstacle := _unusable(domain):
            problems.append(obstacle)
        elif owner(name) not in ("", lineage) and not take_over:
            problems.append(NotChosen(name, Obstacle.OTHER_LINEAGE, lineage=owner(name)))
        else:
            chosen.append(name)
    return Selection(tuple(chosen), problems=tuple(problems))


def _claimed(domain: Domain, contest: Contest,
             foreign: Mapping[str, RemoteCertificate]) -> NotChosen | None:
    """Return the reason why another certificate stays on this domain, None if ours may go there."""
    if domain.protocol != "https":
        return None
    served = foreign.get(domain.cert_id)
    found = claim(replace(contest, foreign=served))
    if found is Claim.OTHER_INSTALLATION:
        return NotChosen(domain.name, Obstacle.OTHER_INSTALLATION, foreign=served)
    return (NotChosen(domain.name, Obstacle.FOREIGN, foreign=served)
            if found is Claim.FOREIGN else None)


def _unusable(domain: Domain) -> NotChosen | None:
    """Say why this domain can serve no certificate of ours, None if it can."""
    if domain.kind == "test":
        return NotChosen(domain.name, Obstacle.TEST_DOMAIN)
    if domain.product == "dcdn":
        return NotChosen(domain.name, Obstacle.DCDN)
    if domain.state in DEAD_STATES:
        return NotChosen(domain.name, Obstacle.DEAD, domain.state, domain.state_reason)
    if not domain.operable:
        return NotChosen(domain.name, Obstacle.NOT_OPERABLE)
    return None
