"""Which of our certificates at Qiniu nothing needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from certbot_qiniu.deployment.planning.supersession import kept_fingerprints, superseded
from certbot_qiniu.deployment.state import State
from certbot_qiniu.model import Binding
from tests.unit.facts import NAME, NAMES, NEW, OLD, managed

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


@given(STATES, st.lists(STATES, max_size=5), st.integers(0, 3))
@settings(deadline=None, max_examples=200)
def test_kept_fingerprints(state: State, checkpoints: list[State], keep_certificates: int) -> None:
    """All that is wanted now is kept, and of the lineage's older ones the newest."""
    kept = kept_fingerprints(state, checkpoints, "one", keep_certificates)
    wanted = {entry.binding.fingerprint for entry in state.values()}
    assert kept >= wanted
    assert len(kept - wanted) <= keep_certificates
    older = [[entry.binding.fingerprint for entry in checkpoint.values()
              if entry.lineage == "one" and entry.binding.fingerprint not in wanted]
             for checkpoint in checkpoints]
    everything = {fingerprint for fingerprints in older for fingerprint in fingerprints}
    assert len(kept - wanted) == min(keep_certificates, len(everything))
    age = {fingerprint: next(number for number, found in enumerate(older) if fingerprint in found)
           for fingerprint in everything}
    assert all(age[inside] <= age[outside]
               for inside in kept - wanted for outside in everything - kept)


def test_no_more_checkpoints_than_needed() -> None:
    """Checkpoints gather for years: none is read beyond those that are kept."""
    def checkpoints() -> Iterable[State]:
        yield {NAME: managed(Binding("https", OLD), lineage="one")}
        raise AssertionError("read too far")

    state = {NAME: managed(Binding("https", NEW), lineage="one")}
    assert {NEW, OLD} == kept_fingerprints(state, checkpoints(), "one", 1)


@given(UPLOADS, STATES, st.lists(STATES, max_size=4), st.integers(0, 2),
       st.sets(st.sampled_from([f"id{n}" for n in range(8)]), max_size=2))
@settings(deadline=None)
def test_what_remains(uploads: dict[str, str], state: State, checkpoints: list[State],
                      keep_certificates: int, bound: Collection[str]) -> None:
    """After a clean-up the wanted certificates and at most *keep* older ones remain unbound."""
    assume(all(entry.lineage == "one" for entry in state.values()))
    needed = kept_fingerprints(state, checkpoints, "one", keep_certificates)
    gone = superseded(uploads, needed, bound)
    unbound = [cert_id for cert_id in uploads if cert_id not in gone and cert_id not in bound]
    wanted = {entry.binding.fingerprint for entry in state.values()}
    assert len(unbound) <= len(wanted) + keep_certificates
