"""What a report says as a whole."""

from __future__ import annotations

from dataclasses import replace

from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.command.survey.report import Report
from tests.unit.command.facts import NOW, WWW


def test_report_knows_the_worst() -> None:
    """What is known to be wrong decides over what is unknown."""
    found = Report(NOW, 14, (), (), (Finding(Level.ATTENTION, WWW, "Outdated", "it is old"),
                                     Finding(Level.UNKNOWN, "a.ini", "Unreachable", "no answer")))
    assert found.level is Level.ATTENTION
    assert replace(found, findings=found.findings[1:]).level is Level.UNKNOWN
