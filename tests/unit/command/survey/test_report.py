"""What a report says as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.command.survey.report import Report
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
    assert unseen == (("RenewalFailed", "renewal") in found.unseen())
