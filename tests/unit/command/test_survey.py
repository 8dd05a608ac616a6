"""What was observed: who uses a certificate, what may go, and what is in the way."""

from __future__ import annotations

from typing import Any

import pytest

from certbot_qiniu.command.health import Finding, Level
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from tests.unit.command.facts import CLEAN_UPS, WWW, seen, superseding


@pytest.mark.parametrize(("changes", "doomed"), CLEAN_UPS.values(), ids=CLEAN_UPS)
def test_what_is_cleaned_up(changes: dict[str, Any], doomed: list[str]) -> None:
    """Nothing is announced to be deleted while anything could need it."""
    found = superseding(changes)
    assert doomed == [item.cert_id for item in found.superseded(found.lineages[0])]


def test_failures() -> None:
    """A plan fails with what the renewal would report, and with what could not be looked at."""
    finding = Finding(Level.ATTENTION, "example.com", "Domains", "none")
    found = seen(Action(Verb.FAIL, WWW, Reason.OTHER_INSTALLATION, other_certificate="theirs"),
                 findings=(finding,), unread={"img.example.com": "no answer"})
    failures = found.failures()
    assert f"{WWW} serves theirs, a newer certificate" in failures[0].text
    assert [(item.level, item.text) for item in failures] == [
        (Level.ATTENTION, failures[0].text), (Level.UNKNOWN, "no answer"),
        (Level.ATTENTION, "none")]
