"""Which of our certificates at Qiniu nothing needs any more."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certbot_qiniu.deployment.planning.supersession import (
    KEPT_SECONDS,
    kept_fingerprints,
    prunable,
    superseded,
)
from certbot_qiniu.deployment.state import State
from certbot_qiniu.model import DAY, Binding
from tests.unit.facts import NAMES, managed

FINGERPRINTS = st.sampled_from(["f1", "f2", "f3", "f4"])
UPLOADS = st.dictionaries(st.sampled_from([f"id{n}" for n in range(8)]), FINGERPRINTS)


@given(UPLOADS, st.sets(FINGERPRINTS), st.sets(st.sampled_from([f"id{n}" for n in range(8)])))
@settings(deadline=None, max_examples=300)
@example({"id1": "f1", "id2": "f1"}, {"f1"}, {"id2"})
@example({"id1": "f1", "id2": "f1"}, {"f1"}, set())
def test_superseded(uploads: dict[str, str], needed: set[str], bound: set[str]) -> None:
    """What goes is needed by nothing, one copy of what is needed stays, the bound one if any."""
    gone = superseded(uploads, needed, bound)
    assert len(gone) == len(set(gone))
    assert set(gone) <= set(uploads)
    left = [uploads[cert_id] for cert_id in uploads if cert_id not in gone]
    assert set(left) >= needed & set(uploads.values())
    unbound = [uploads[cert_id] for cert_id in uploads
               if cert_id not in gone and cert_id not in bound]
    assert len(unbound) == len(set(unbound))
    assert set(unbound) <= needed


@given(UPLOADS, st.sets(FINGERPRINTS), st.sets(st.sampled_from([f"id{n}" for n in range(8)])))
@settings(deadline=None)
@example({"id1": "f1"}, set(), {"id1"})
@example({"id1": "f1", "id2": "f1"}, {"f1"}, {"id1", "id2"})
def test_superseded_is_never_bound(
        uploads: dict[str, str], needed: set[str], bound: set[str]) -> None:
    """What a domain was last seen to serve is not superseded, needed or not."""
    assert not set(superseded(uploads, needed, bound)) & bound


STATES = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.sampled_from(["one", "two"]), FINGERPRINTS), max_size=3,
).map(lambda entries: {name: managed(Binding("https", fingerprint), name, lineage)
                       for name, (lineage, fingerprint) in entries.items()})


FORMER = st.lists(FINGERPRINTS | st.just(""), max_size=5, unique=True)


@given(STATES, FORMER, st.integers(0, 3))
@settings(deadline=None, max_examples=200)
def test_kept_fingerprints(state: State, former: list[str], keep_certificates: int) -> None:
    """All that is wanted now is kept, and of the lineage's older ones the newest."""
    kept = kept_fingerprints(state, former, keep_certificates)
    wanted = {entry.binding.fingerprint for entry in state.values()}
    older = [fingerprint for fingerprint in former if fingerprint and fingerprint not in wanted]
    assert kept == wanted | set(older[:keep_certificates])


@given(UPLOADS, STATES, FORMER, st.integers(0, 2),
       st.sets(st.sampled_from([f"id{n}" for n in range(8)]), max_size=2))
@settings(deadline=None)
def test_what_remains(uploads: dict[str, str], state: State, former: list[str],
                      keep_certificates: int, bound: Collection[str]) -> None:
    """After a clean-up the wanted certificates and at most *keep* older ones remain unbound."""
    needed = kept_fingerprints(state, former, keep_certificates)
    gone = superseded(uploads, needed, bound)
    unbound = [cert_id for cert_id in uploads if cert_id not in gone and cert_id not in bound]
    wanted = {entry.binding.fingerprint for entry in state.values()}
    assert len(unbound) <= len(wanted) + keep_certificates


@pytest.mark.parametrize(("kept", "days", "expected"), [
    ([False] * 5, 0, 2), ([False] * 5, 1, 2), ([False] * 3, 99, 0), ([], 0, 0),
    ([True, False, False, False, False], 0, 1), ([True] * 9, 0, 0), ([False] * 5, -1, 1),
    ([False] * 5, -2, 0),
], ids=["beyond the last", "long ago", "the last", "none", "one stays for ever", "all stay",
        "one is young", "two are young"])
def test_prunable(kept: list[bool], days: int, expected: int) -> None:
    """A checkpoint goes that is old, is not one of the last, and holds nothing singular."""
    times = [float(number) * DAY + 0.25 for number in range(1, len(kept) + 1)]
    checkpoints = {str(at): stays for at, stays in zip(times, kept, strict=True)}
    gone = prunable(dict(reversed(checkpoints.items())), KEPT_SECONDS + (3 + days) * DAY)
    assert expected == len(gone)
    assert gone == [name for name in checkpoints if not checkpoints[name]][:expected]
