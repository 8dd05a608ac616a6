"""Compare the edge's answers with what Qiniu's API says is bound.

No network, disk or clock here. An edge that does not answer proves nothing, so only a certificate
that was seen can need attention.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from certbot_qiniu.command.survey.health import Finding, Level, utc
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.failures import first_of
from certbot_qiniu.model import Certificate, Domain
from certbot_qiniu.webserver.edge import Answer

OVERDUE_SECONDS = 3 * 3600
"""Qiniu publishes within an hour, overseas too; after three hours that is surely over."""

SHOWN = 5
"""The most addresses that a sentence names."""

Word = Literal["other", "chain", "same", "seen", "unknown"]
WORDS: tuple[Word, ...] = ("other", "chain", "same", "seen")
"""By precedence: the first of these that one of a domain's addresses has is the domain's word."""

_TICKET = "Open a ticket with Qiniu: “{ticket}; please publish it again.”"

SENTENCES: Mapping[Word, tuple[str, Mapping[Level, str]]] = {
    "other": ("EdgeDiffers", {
        Level.OK: "the edge does not serve the certificate of {name} yet, at {where}, {since}",
        Level.ATTENTION:
            "the edge still serves another certificate for {name} than Qiniu's API shows, at "
            "{where}, {since}. " + _TICKET}),
    "chain": ("EdgeChain", {
        Level.OK: "the edge does not serve the intermediate certificate of {name} yet, at "
                  "{where}, {since}",
        Level.ATTENTION:
            "the edge serves {name} without the intermediate certificate that was uploaded, at "
            "{where}, {since}: clients that lack it refuse it. " + _TICKET}),
}
"""The word for the reason, and the sentences: while it is early, and after that."""

EDGE_WORDS = tuple(SENTENCES)
"""The words that need attention once they have lasted."""

EDGE_REASONS = tuple(reason for reason, _ in SENTENCES.values())


@dataclass(frozen=True)
class Expected:
    """The certificate of ours that Qiniu says is bound.

    :ivar chain: the fingerprint of the intermediate that issued it; empty if a root did, or if
        certbot no longer has it.
    :ivar not_after: seconds since the epoch, 0 likewise.
    """

    cert_id: str
    fingerprint: str
    chain: frozenset[str] = frozenset()
    not_after: int = 0
    serial: str = ""


@dataclass(frozen=True)
class Shown:
    """One address, for programs.

    :ivar edge: as for the whole domain.
    :ivar not_after: ISO 8601 in UTC; None without an answer, like the others.
    """

    address: str
    edge: Word
    fingerprint: str | None = None
    serial: str | None = None
    not_after: str | None = None


@dataclass(frozen=True)
class Probe:
    """The edge's answers for a domain, and the certificate to compare them with.

    :ivar expected: None if the bound certificate is not ours.
    :ivar changed: when the domain was changed last, seconds since the epoch; 0 if that is
        unknown.
    """

    domain: Domain
    answers: Sequence[Answer]
    expected: Expected | None = None
    changed: float = 0.0

    @property
    def word(self) -> Word:
        """One word for all its addresses."""
        found = {self.word_of(answer) for answer in self.answers}
        return next((word for word in WORDS if word in found), "unknown")

    def word_of(self, answer: Answer) -> Word:
        """Compare one address with what is expected; docs/cli.md has the words."""
        leaf, expected = answer.leaf, self.expected
        if leaf is None:
            return "unknown"
        if expected is None:
            return "seen"
        if leaf.fingerprint != expected.fingerprint:
            return "other"
        # An additional root or another order does no harm.
        lacks = leaf.chain is not None and not expected.chain <= leaf.chain
        return "chain" if lacks else "same"

    def shown(self) -> tuple[Shown, ...]:
        """Return each address."""
        return tuple(
            Shown(answer.address, self.word_of(answer), leaf.fingerprint, leaf.serial,
                  utc(leaf.not_after)) if (leaf := answer.leaf)
            else Shown(answer.address, "unknown") for answer in self.answers)

    def judge(self, now: float) -> Finding | None:
        """Say what is wrong; None if nothing is, or nothing is known."""
        word = self.word
        if word not in SENTENCES:
            return None
        level = Level.ATTENTION if now - self.changed > OVERDUE_SECONDS else Level.OK
        reason, sentences = SENTENCES[word]
        return Finding(level, self.domain.name, reason, sentences[level].format(
            name=self.domain.name, **self._facts(now)))

    def _facts(self, now: float) -> dict[str, str]:
        """Return the facts for a sentence."""
        wrong = [answer for answer in self.answers if self.word_of(answer) == self.word]
        count, where = len(self.answers), first_of([answer.address for answer in wrong], SHOWN)
        since = (f"{_duration(now - self.changed)} after its last change" if self.changed
                 else "and since when is not known")
        return {"where": where + (f" ({len(wrong)} of {count} addresses)" if count > 1 else ""),
                "since": since, "ticket": self._ticket(wrong, now)}

    def _ticket(self, wrong: Sequence[Answer], now: float) -> str:
        """Write the text for Qiniu's support."""
        domain, expected = self.domain, self.expected
        if expected is None:
            return ""
        since = f", last changed {utc(self.changed)}" if self.changed else ""
        bound = _described(expected.serial, expected.not_after, expected.fingerprint)
        seen = ", ".join(
            answer.address if self.word == "chain" else f"{answer.address} "
            f"({_described(leaf.serial, leaf.not_after, leaf.fingerprint)})"
            for answer in wrong[:SHOWN] if (leaf := answer.leaf))
        what = "it without its intermediate" if self.word == "chain" else "another one"
        return (f"The domain {domain.name} (CNAME {domain.cname}{since}) has the certificate "
                f"{expected.cert_id} ({bound}). At {utc(now)} the edge served {what} at {seen}")


def expect(cert_id: str, fingerprint: str, certificate: Certificate | None) -> Expected:
    """Return what to expect if *cert_id* is bound.

    :param certificate: the same one, if certbot still has it.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    if certificate is None:
        return Expected(cert_id, fingerprint)
    try:
        found = [x509.load_pem_x509_certificate(f"{part}{_END}".encode())
                 for part in certificate.fullchain.split(_END)[:-1]]
    except ValueError:  # only its leaf was read before
        found = []
    return Expected(
        cert_id, fingerprint,
        # Clients have the roots, and above the issuer another path may be as good as ours.
        frozenset(one.fingerprint(hashes.SHA256()).hex() for one in found[1:2]
                  if one.subject != one.issuer),
        int(certificate.not_after.timestamp()), f"{found[0].serial_number:X}" if found else "")


_END = "-----END CERTIFICATE-----"


def changed_at(domain: Domain, record: Record, now: float) -> float:
    """Return the time of a domain's last change, by our record or Qiniu's; 0 if unknown.

    The later of both counts: ``modifyAt`` may not move with each change, and others change domains,
    too.
    One that is yet to come would silence everything until then, and is no time of a change.
    """
    try:
        modified = dt.datetime.fromisoformat(domain.modified.replace("Z", "+00:00"))
    except ValueError:
        modified = None
    said = modified.timestamp() if modified and modified.tzinfo else 0.0
    sent = record.confirmed.at if record.confirmed else 0.0
    return max((at for at in (said, sent) if at <= now + OVERDUE_SECONDS), default=0.0)


def _described(serial: str, not_after: int, fingerprint: str) -> str:
    known = [f"serial {serial}"] * bool(serial) + [f"ends {utc(not_after)}"] * bool(not_after)
    return ", ".join([*known, f"SHA-256 {fingerprint}"])


def _duration(seconds: float) -> str:
    minutes = max(0, int(seconds // 60))
    value, unit = ((minutes // 1440, "day") if minutes >= 2880 else (minutes // 60, "hour")
                   if minutes >= 60 else (minutes, "minute"))
    return f"{value} {unit}{'s' * (value != 1)}"
