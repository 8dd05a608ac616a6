"""What the edge's answers mean: every finding, and the text for a ticket."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from certbot_qiniu.command.survey.edge import (
    OVERDUE_SECONDS,
    Expected,
    Probe,
    Shown,
    Word,
    changed_at,
    expect,
)
from certbot_qiniu.command.survey.health import Level
from certbot_qiniu.deployment.state import Record, Sent
from certbot_qiniu.model import Binding, Certificate, Domain
from certbot_qiniu.webserver.edge import Answer
from certbot_qiniu.webserver.tls import Leaf
from tests.sandbox.pki import Authority, fingerprint

NOW = 1_800_000_000.0
WWW = "www.example.com"
OURS, OLD = "a" * 64, "0" * 64
CA, ROOT = "c" * 64, "d" * 64
EXPECTED = Expected("6b03", OURS, frozenset({CA}), 1_805_000_000, "AB12")

SAME = Leaf(OURS, 1_805_000_000, "AB12", frozenset({CA}))
OTHER = Leaf(OLD, 1_801_000_000, "CD34", frozenset({CA}))


def probe(*leaves: Leaf | None, expected: Expected | None = EXPECTED, age: float = 86_400) -> Probe:
    """What so many addresses answered."""
    answers = [Answer(f"203.0.113.{number}", leaf) for number, leaf in enumerate(leaves, 1)]
    return Probe(Domain(WWW, cname="www.qiniudns.com"), answers, expected, NOW - age)


WORDS: dict[str, tuple[Probe, Word]] = {
    "nobody asked": (probe(), "unknown"),
    "no answer": (probe(None, None), "unknown"),
    "right": (probe(SAME, SAME), "same"),
    "right where it answers": (probe(None, SAME), "same"),
    "one of three is old": (probe(SAME, OTHER, None), "other"),
    "with a root besides": (probe(replace(SAME, chain=frozenset({CA, ROOT}))), "same"),
    "without the intermediate": (probe(SAME, replace(SAME, chain=frozenset())), "chain"),
    "with another intermediate": (probe(replace(SAME, chain=frozenset({ROOT}))), "chain"),
    "old, and without the intermediate": (probe(OTHER, replace(SAME, chain=frozenset())), "other"),
    "chain that this Python cannot tell": (probe(replace(SAME, chain=None)), "same"),
    "chain that certbot no longer has": (
        probe(replace(SAME, chain=frozenset()), expected=Expected("6b03", OURS)), "same"),
    "foreign": (probe(OTHER, expected=None), "seen"),
}


@pytest.mark.parametrize(("found", "word"), WORDS.values(), ids=WORDS)
def test_word(found: Probe, word: Word) -> None:
    """The worst that was seen decides; what was not seen decides nothing."""
    assert word == found.word
    finding = found.judge(NOW)
    assert (finding is not None and finding.level is Level.ATTENTION) == (
        word in ("other", "chain"))


@pytest.mark.parametrize(("age", "level"), [
    (0, Level.OK), (-600, Level.OK), (OVERDUE_SECONDS, Level.OK),
    (OVERDUE_SECONDS + 1, Level.ATTENTION), (NOW, Level.ATTENTION)])
@pytest.mark.parametrize("leaf", [OTHER, replace(SAME, chain=frozenset())])
def test_time(leaf: Leaf, age: float, level: Level) -> None:
    """For three hours after the last change it is no reason to look; not known is long ago."""
    finding = probe(leaf, age=age).judge(NOW)
    assert finding
    assert level is finding.level


def test_text_for_a_ticket() -> None:
    """It has all that Qiniu's support could ask."""
    finding = probe(SAME, OTHER, OTHER, age=50_000).judge(NOW)
    assert finding
    assert ("EdgeDiffers", WWW) == (finding.reason, finding.subject)
    assert finding.text == (
        f"the edge still serves another certificate for {WWW} than Qiniu's API shows, at "
        "203.0.113.2, 203.0.113.3 (2 of 3 addresses), 13 hours after its last change. Open a "
        f"ticket with Qiniu: “The domain {WWW} (CNAME www.qiniudns.com, last changed "
        f"2027-01-14T18:06:40Z) has the certificate 6b03 (serial AB12, ends 2027-03-14T04:53:20Z, "
        f"SHA-256 {OURS}). At 2027-01-15T08:00:00Z the edge served another one at 203.0.113.2 "
        f"(serial CD34, ends 2027-01-26T21:46:40Z, SHA-256 {OLD}), 203.0.113.3 (serial CD34, ends "
        f"2027-01-26T21:46:40Z, SHA-256 {OLD}); please publish it again.”")


def test_text_about_the_chain() -> None:
    """It says what that means for clients."""
    finding = probe(replace(SAME, chain=frozenset())).judge(NOW)
    assert finding
    assert "EdgeChain" == finding.reason
    assert finding.text.startswith(
        f"the edge serves {WWW} without the intermediate certificate that was uploaded, at "
        "203.0.113.1, 24 hours after its last change: clients that lack it refuse it. Open a")
    assert finding.text.endswith("the edge served it without its intermediate at 203.0.113.1; "
                                 "please publish it again.”")


@pytest.mark.parametrize(("age", "words"), [
    (1200, "20 minutes after"), (3600, "1 hour after"), (7200, "2 hours after"),
    (3 * 86_400, "3 days after"), (-60, "0 minutes after"), (NOW, "since when is not known")])
def test_since(age: float, words: str) -> None:
    """For how long it has been so."""
    finding = probe(OTHER, age=age).judge(NOW)
    assert finding
    assert words in finding.text


def test_many_addresses() -> None:
    """Some are named, all are counted."""
    finding = probe(*[OTHER] * 9).judge(NOW)
    assert finding
    assert "203.0.113.5 and 4 more (9 of 9 addresses)" in finding.text
    assert "203.0.113.6" not in finding.text


def test_for_programs() -> None:
    """Each address with what it showed."""
    assert (Shown("203.0.113.1", "other", OLD, "CD34", "2027-01-26T21:46:40Z"),
            Shown("203.0.113.2", "unknown")) == probe(OTHER, None).shown()


@pytest.mark.parametrize(("modified", "sent", "expected"), [
    ("2026-11-26T16:00:00.178+08:00", 0, 1_795_680_000.178),
    ("2026-11-26T08:00:00Z", 0, 1_795_680_000), ("2026-11-26T08:00:00Z", 1_795_690_000,
                                                 1_795_690_000),
    ("2026-11-26T08:00:00Z", 1_795_600_000, 1_795_680_000), ("", 1_795_600_000, 1_795_600_000),
    ("yesterday", 0, 0), ("2026-11-26T08:00:00", 0, 0),
    ("2027-01-15T10:00:00Z", 0, NOW + 7200), ("2027-01-15T12:00:00Z", 0, 0),
    ("9999-12-31T00:00:00Z", 1_795_600_000, 1_795_600_000), ("2026-11-26T08:00:00Z", NOW + 86_400,
                                                             1_795_680_000)])
def test_last_change(modified: str, sent: float, expected: float) -> None:
    """The later of what Qiniu says and what we know to have sent; 0 for neither.
    A time to come is none, but for what clocks may differ by."""
    record = Record(confirmed=Sent(Binding(), sent) if sent else None)
    assert expected == changed_at(Domain(WWW, modified=modified), record, NOW)


def test_expectation() -> None:
    """The issuer of what was uploaded: beyond it Qiniu may choose another path to a root."""
    root = Authority("Root")
    issuer = root.intermediate("Cross").intermediate("CA")
    leaf = issuer.issue(WWW)
    certificate = Certificate("example.com", leaf.fingerprint, (WWW,), leaf.not_before,
                              leaf.not_after, leaf.fullchain_pem + root.cert_pem, Path())
    serial = x509.load_pem_x509_certificate(leaf.cert_pem.encode()).serial_number
    assert Expected("id", leaf.fingerprint, frozenset({fingerprint(issuer.cert_pem)}),
                    int(leaf.not_after.timestamp()), f"{serial:X}") == expect(
                        "id", leaf.fingerprint, certificate)
    assert Expected("id", OURS) == expect("id", OURS, None)
    damaged = replace(certificate, fullchain=leaf.cert_pem + "-----END CERTIFICATE-----")
    assert frozenset() == expect("id", leaf.fingerprint, damaged).chain
