"""What a report says as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certbot_qiniu.command.survey.facts import LineageFacts
from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.command.survey.report import Report, Row
from tests.unit.command.facts import NOW, WWW


def test_report_knows_the_worst() -> None:
    """What is known to be wrong decides over what is unknown."""
    found = Report(NOW, 14, (), (), (Finding(Level.ATTENTION, WWW, "Outdated", "it is old"),
                                     Finding(Level.UNKNOWN, "a.ini", "Unreachable", "no answer")))
    assert found.level is Level.ATTENTION
    assert replace(found, findings=found.findings[1:]).level is Level.UNKNOWN


@pytest.mark.parametrize(("renewed", "unseen"), [(None, True), (True, False), (False, False)])
def test_renewal_that_nobody_told_of(*, renewed: bool | None, unseen: bool) -> None:
    """A status by hand knows nothing of the timer's last renewal."""
    found = Report(NOW, 14, (), (), (), renewed=renewed)
    assert unseen == (not found.was_seen("RenewalFailed", "renewal"))


@pytest.mark.parametrize(("reason", "subject", "everything", "managed"), [
    ("Expiring", WWW, True, True), ("Expired", WWW, True, True),
    ("Expiring", "unread.example.com", False, False),
    ("Outdated", "unread.example.com", True, True),
    ("Expiring", "shop.example.org", True, False), ("EdgeChain", "shop.example.org", True, False),
    ("Expiring", "let-go.example.com", True, True), ("Expired", "the lineage", True, True),
    ("NotSeen", "the lineage", True, True)])
def test_what_would_be_found_again(reason: str, subject: str, *, everything: bool,
                                   managed: bool) -> None:
    """An alert is taken back only by a run that has looked."""
    row = Row("a.ini", WWW, "cdn", "https", "the lineage", "id", "", 1, 9, "success", "", "", True,
              None, Level.OK, "InSync", "")
    found = Report(NOW, 14, (row, replace(row, domain="unread.example.com", not_after=None)),
                   (LineageFacts("the lineage", "a.ini"),), (), bygone=("let-go.example.com",))
    assert everything == found.was_seen(reason, subject)
    assert managed == replace(found, only_managed=True).was_seen(reason, subject)
