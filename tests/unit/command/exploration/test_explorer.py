"""How lists are read to their end, and that nothing is asked twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command.exploration.explorer import Explorer
from tests.sandbox.wire import Fault, json_response
from tests.unit.rig import Rig

NAMES = ("a.example.com", "b.example.com", "c.example.com")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account with three domains on http."""
    found = Rig(tmp_path)
    for name in NAMES:
        found.qiniu.add_domain(name)
    return found


@pytest.mark.parametrize(("list_end", "end"), [
    ("empty page", "with an empty page"),
    ("empty marker", "with a page that has entries and no marker"),
    ("marker never moves", "with a marker that does not move"),
])
def test_end_of_a_list(list_end: str, end: str, tmp_path: Path) -> None:
    """Two pages show each way to end."""
    rig = Rig(tmp_path, list_end=list_end)
    for name in NAMES:
        rig.qiniu.add_domain(name)
    found = Explorer(rig.client).pages("api.qiniu.com", "/domain", "domains", 2)
    assert ([2, 1], end) == (list(map(len, found.pages)), found.end)


def test_one_detail_of_each_kind(rig: Rig) -> None:
    """A domain is read once; where there is none of a kind, none is."""
    here = Explorer(rig.client)
    rig.board.clear()
    assert here.detail("https") is None
    assert here.detail("http") is here.detail("http") is not None
    assert len(rig.board.history) == 1


def test_domain_at_rest_goes_first(rig: Rig) -> None:
    """One that is being published may not show what it has."""
    for name in NAMES[:2]:
        rig.qiniu.change_domain(name, state="processing")
    assert (Explorer(rig.client).detail("http") or {})["name"] == NAMES[2]


def test_keys_that_open_nothing(rig: Rig) -> None:
    """They are refused with Qiniu's words, as everywhere."""
    rig.board.arm(Fault("reply", json_response(401, {"error": "bad token"})), match="/sslcert")
    with pytest.raises(errors.Refused, match="bad token"):
        Explorer(rig.client)

