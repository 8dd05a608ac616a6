"""The report, and an account that shows nothing; scenarios has whole explorations."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import doctor
from certbot_qiniu.command.exploration import explore
from certbot_qiniu.command.exploration.explorer import Explorer
from certbot_qiniu.command.exploration.questions import Finding, Verdict
from certbot_qiniu.command.output import Table
from tests.sandbox.wire import Fault, Response, json_response
from tests.unit.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account without domains."""
    return Rig(tmp_path)


@pytest.mark.parametrize("answer", [json_response(200, []), json_response(200, {"domains": 1})])
def test_account_of_an_unknown_form(answer: Response, rig: Rig,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that says so, without a traceback."""
    rig.board.arm(Fault("reply", answer), match="api.qiniu.com/domain", times=100)
    monkeypatch.setattr(explore, "Accounts", lambda _: argparse.Namespace(
        get=lambda _: argparse.Namespace(client=rig.client)))
    monkeypatch.setattr(explore, "certbot_config", lambda _: argparse.Namespace(config_dir="/"))
    arguments = argparse.Namespace(credentials="/keys", cert_name="", explore=True)
    with pytest.raises(errors.UsageError, match="of an unknown form"):
        doctor.run(arguments)


def test_order_and_advice(rig: Rig) -> None:
    """Rows are in their order, what has none comes last, and each verdict has its advice."""
    *_, blank, strange, other, silent = parts = explore.report(Explorer(rig.client), [
        Finding(0, Verdict.OTHER, "x"), Finding(4, Verdict.STRANGE, "y"),
        Finding(2, Verdict.SILENT, "z")])
    [table] = [part for part in parts if isinstance(part, Table)]
    assert [cells[0] for _, cells in table.rows] == ["2", "4", "-"]
    assert blank == ("", "")
    for part, beginning in ((strange, "Not foreseen"), (other, "Otherwise than assumed"),
                            (silent, "Not everything was answered")):
        assert isinstance(part, tuple)
        assert part[0].startswith(beginning)
