"""What is deleted at Qiniu: our own superseded certificates, and nothing else."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certbot_qiniu import errors
from certbot_qiniu.deployment.certificates import bound_ids, clean, remember_copies, unneeded
from certbot_qiniu.deployment.state import Managed, Sent, Upload
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import Binding, Certificate, Domain
from tests.unit.deployment.desired import set_state
from tests.unit.rig import CERTIFICATE_LIST, DOMAIN_PAGE, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

LINEAGE = "example.com"
A, B = "a.example.com", "b.example.com"


class Lineage:
    """A lineage with some versions, all of them uploaded, the newest one wanted and served."""

    def __init__(self, rig: Rig, versions: int, name: str = LINEAGE, domain: str = A) -> None:
        self.rig, self.name, self.domain = rig, name, domain
        self.versions = [rig.renew(name, domain) for _ in range(versions)]
        self.ids = [self.upload(version) for version in self.versions]
        self.want(self.versions[-1])
        rig.memory.lineage(name).former = tuple(
            version.fingerprint for version in reversed(self.versions[:-1]))
        rig.qiniu.add_domain(domain, protocol="https", cert_id=self.ids[-1])

    def upload(self, certificate: Certificate) -> str:
        """Upload a certificate, and remember it."""
        cert_id = self.rig.upload(certificate)
        self.rig.memory.uploads[cert_id] = Upload(certificate.fingerprint, self.name)
        return cert_id

    def want(self, certificate: Certificate) -> None:
        """Let the desired state have a certificate."""
        set_state(self.rig.store, {
            **self.rig.store.state, self.domain: Managed(
                self.domain, "cdn", self.name, Binding("https", certificate.fingerprint))})


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account without domains."""
    return Rig(tmp_path)


def at_qiniu(rig: Rig) -> list[str]:
    """The ids of the certificates that are there."""
    return [certificate.cert_id for certificate in rig.qiniu.certificates()]


# What stays


def test_nothing_uploaded(rig: Rig) -> None:
    """Without uploads of ours Qiniu is not even asked."""
    rig.renew(LINEAGE, A)
    assert clean(rig.context, [LINEAGE], 0) == 0
    assert rig.calls() == []


def test_hold(rig: Rig) -> None:
    """After a rollback nothing goes before it is settled."""
    lineage = Lineage(rig, 3)
    rig.memory.lineage(LINEAGE).hold = lineage.versions[-1].fingerprint
    assert clean(rig.context, [LINEAGE], 0) == 0
    assert at_qiniu(rig) == lineage.ids


@pytest.mark.parametrize("keep", [0, 1, 2, 5])
def test_keep(keep: int, rig: Rig) -> None:
    """The wanted certificate stays, and as many older ones as asked for; the oldest ones go."""
    lineage = Lineage(rig, 4)
    assert clean(rig.context, [LINEAGE], keep) == max(0, 3 - keep)
    assert at_qiniu(rig) == lineage.ids[-1 - keep:]
    assert list(rig.memory.uploads) == at_qiniu(rig)
    rig.calls()
    assert clean(rig.context, [LINEAGE], keep) == 0
    assert not [call for call in rig.calls() if call.startswith("DELETE")]


def test_rollback_is_possible(rig: Rig) -> None:
    """What the desired state was rolled back to stays, however old it is."""
    lineage = Lineage(rig, 3)
    lineage.want(lineage.versions[0])
    rig.qiniu.change_domain(A, cert_id=lineage.ids[0])
    assert clean(rig.context, [LINEAGE], 0) == 2
    assert at_qiniu(rig) == lineage.ids[:1]


def test_baseline(rig: Rig) -> None:
    """A certificate of ours that a domain served before we managed it stays for its sake."""
    lineage = Lineage(rig, 2)
    rig.memory.update(B, baseline=Binding("https", lineage.versions[0].fingerprint))
    assert clean(rig.context, [LINEAGE], 0) == 0
    assert at_qiniu(rig) == lineage.ids


def test_stranger(rig: Rig) -> None:
    """A certificate under our name that we did not upload stays, used or not."""
    lineage = Lineage(rig, 2)
    twins = [rig.upload(version) for version in lineage.versions]
    others = [rig.upload(lineage.versions[0], "console")]
    assert clean(rig.context, [LINEAGE], 0) == 1
    assert at_qiniu(rig) == [lineage.ids[1], *twins, *others]


def test_renamed(rig: Rig) -> None:
    """A certificate of ours that somebody renamed is theirs, for good."""
    lineage = Lineage(rig, 2)
    renamed = rig.upload(lineage.versions[0], "mine now")
    rig.memory.uploads[renamed] = rig.memory.uploads.pop(lineage.ids[0])
    assert clean(rig.context, [LINEAGE], 0) == 0
    assert renamed in at_qiniu(rig)
    assert list(rig.memory.uploads) == lineage.ids[1:]


def test_other_lineage(rig: Rig) -> None:
    """Certificates of lineages that are not concerned stay."""
    lineage, other = Lineage(rig, 2), Lineage(rig, 2, "other", B)
    assert clean(rig.context, [LINEAGE], 0) == 1
    assert at_qiniu(rig) == [lineage.ids[1], *other.ids]


def test_seen_or_sent(rig: Rig) -> None:
    """What a domain was last seen to serve, or was sent, stays without asking anybody."""
    lineage = Lineage(rig, 3)
    rig.memory.update(A, seen=Domain(A, protocol="https", cert_id=lineage.ids[0]))
    rig.memory.update(B, sent=Sent(Binding("https", "", lineage.ids[1], True, True), rig.now))
    assert bound_ids(rig.context) >= set(lineage.ids[:2])
    assert clean(rig.context, [LINEAGE], 0) == 0
    assert at_qiniu(rig) == lineage.ids
    assert not [call for call in rig.calls() if "certId" in call or "DELETE" in call]


def test_unknown_publication(rig: Rig) -> None:
    """While a domain publishes an unknown certificate, every one of its lineage stays."""
    lineage, other = Lineage(rig, 3), Lineage(rig, 3, "example.org", "example.org")
    rig.memory.update(A, processing_since=rig.now)
    assert unneeded(rig.context, LINEAGE, 0) == []
    assert clean(rig.context, [LINEAGE, "example.org"], 0) == 2
    assert at_qiniu(rig) == [*lineage.ids, other.ids[-1]]
    rig.memory.update(A, sent=Sent(Binding("https", "", lineage.ids[-1], True, True), rig.now))
    assert clean(rig.context, [LINEAGE], 0) == 2
    assert at_qiniu(rig) == [lineage.ids[-1], other.ids[-1]]


@pytest.mark.parametrize("ignore_cert_filter", [False, True], ids=["filter", "no filter"])
def test_used_by_somebody(ignore_cert_filter: bool, rig: Rig) -> None:
    """A certificate that any domain of the account serves stays, by whatever way that is seen."""
    lineage = Lineage(rig, 2)
    rig.qiniu.add_domain(B, protocol="https", cert_id=lineage.ids[0])
    rig.qiniu.switches.ignore_cert_filter = ignore_cert_filter
    assert clean(rig.context, [LINEAGE], 0) == 0
    assert at_qiniu(rig) == lineage.ids
    assert not [call for call in rig.calls() if call.startswith("DELETE")]
    assert set(rig.memory.uploads) == set(lineage.ids), "it is looked at again"


def test_doubt(rig: Rig) -> None:
    """If no list shows the users and a domain cannot be read, the certificate stays."""
    lineage = Lineage(rig, 2)
    rig.qiniu.switches.ignore_cert_filter = True
    rig.refuse(f"/domain/{A}")
    assert clean(rig.context, [LINEAGE], 0) == 0
    assert at_qiniu(rig) == lineage.ids


def test_in_use(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """If Qiniu itself says that a certificate is in use, that is no error, and it stays known."""
    lineage = Lineage(rig, 2)
    rig.qiniu.add_bucket("bucket")
    rig.qiniu.add_source_domain("s.example.com", "bucket", lineage.ids[0])
    with caplog.at_level(logging.WARNING):
        assert clean(rig.context, [LINEAGE], 0) == 0
    assert caplog.records == []
    assert set(rig.memory.uploads) == set(lineage.ids)


# What goes


def test_no_filter(rig: Rig) -> None:
    """If no list shows the users, all domains on https are read, and an unused one goes."""
    lineage = Lineage(rig, 2)
    rig.qiniu.add_domain(B)
    rig.qiniu.switches.ignore_cert_filter = True
    assert clean(rig.context, [LINEAGE], 0) == 1
    assert at_qiniu(rig) == lineage.ids[1:]
    assert f"GET /domain/{B}" not in rig.calls()


def test_extra_copies(rig: Rig) -> None:
    """Of several copies of the wanted certificate the one that is served stays."""
    lineage = Lineage(rig, 1)
    extra = [lineage.upload(lineage.versions[0]) for _ in range(2)]
    rig.qiniu.change_domain(A, cert_id=extra[0])
    rig.memory.update(A, seen=rig.client.get_domain(A))
    assert clean(rig.context, [LINEAGE], 0) == 2
    assert at_qiniu(rig) == extra[:1]


def test_gone(rig: Rig) -> None:
    """What somebody has deleted at Qiniu is forgotten, on the disk as well."""
    lineage = Lineage(rig, 2)
    rig.client.delete_certificate(lineage.ids[0])
    assert clean(rig.context, [LINEAGE], 0) == 0
    later = Store(rig.store.folder)
    later.load()
    assert list(later.memory.uploads) == lineage.ids[1:]


def test_deleted_lineage(rig: Rig) -> None:
    """Certificates of a lineage that is no longer wanted anywhere go all but the kept ones."""
    lineage = Lineage(rig, 3)
    rig.memory.lineage(LINEAGE).supersede([lineage.versions[-1].fingerprint], [])
    set_state(rig.store, {})
    rig.qiniu.change_domain(A, protocol="http", cert_id="")
    assert clean(rig.context, [LINEAGE], 1) == 2
    assert at_qiniu(rig) == lineage.ids[2:]


@pytest.mark.parametrize("match", ["GET fusion", "DELETE"])
def test_failure(match: str, rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A failure is a warning that names the lineage, and stops no other lineage."""
    Lineage(rig, 2)
    other = Lineage(rig, 2, "other", B)
    rig.refuse(match)
    with caplog.at_level(logging.WARNING):
        assert clean(rig.context, [LINEAGE, "other"], 0) == 1
    [record] = caplog.records
    assert f"Old certificates of {LINEAGE} stay at Qiniu for now" in record.getMessage()
    assert other.ids[0] not in at_qiniu(rig)
    assert clean(rig.context, [LINEAGE, "other"], 0) == 1, "the next run gets there"


def test_state_not_written(rig: Rig, monkeypatch: pytest.MonkeyPatch,
                           caplog: pytest.LogCaptureFixture) -> None:
    """A memory that cannot be written is a warning here: the next run finds them gone."""
    Lineage(rig, 2)

    def refuse() -> None:
        raise errors.StateError("no room")

    monkeypatch.setattr(rig.store, "write_memory", refuse)
    with caplog.at_level(logging.WARNING):
        clean(rig.context, [LINEAGE], 0)
    assert "no room" in caplog.text


# Whatever there is


@given(st.lists(st.integers(0, 3), max_size=5), st.lists(st.sampled_from(range(6)), max_size=3),
       st.integers(0, 2), st.booleans())
@settings(deadline=None, max_examples=30)
def test_clean_is_safe(copies: list[int], served: list[int], keep: int, strangers: bool) -> None:
    """What any domain serves, what is wanted or kept, and what is not ours always stays."""
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder))
        lineage = Lineage(rig, 3)
        for version in copies:
            if version < 3:
                lineage.upload(lineage.versions[version])
        theirs = {rig.upload(version) for version in lineage.versions} if strangers else set()
        ids = at_qiniu(rig)
        used = {ids[number] for number in served if number < len(ids)} | {lineage.ids[-1]}
        for number, cert_id in enumerate(sorted(used)):
            rig.qiniu.add_domain(f"d{number}.example.com", protocol="https", cert_id=cert_id)
        needed = {version.fingerprint for version in lineage.versions[2 - keep:]}
        clean(rig.context, [LINEAGE], keep)
        left = {certificate.cert_id: certificate.fingerprint
                for certificate in rig.qiniu.certificates()}
        assert used | theirs <= set(left)
        ours = set(left) - theirs
        assert {left[cert_id] for cert_id in ours} >= needed
        assert {left[cert_id] for cert_id in ours - used} <= needed
        assert set(rig.memory.uploads) == ours


def test_unneeded_asks_nobody(rig: Rig) -> None:
    """What is unneeded is known without any call."""
    lineage = Lineage(rig, 3)
    assert unneeded(rig.context, LINEAGE, 1) == lineage.ids[:1]
    assert unneeded(rig.context, "other", 1) == []
    assert rig.calls() == []


@pytest.mark.parametrize("what", ["older states", "another lineage"])
def test_unknown_need(rig: Rig, what: str) -> None:
    """While it is unknown what is needed, nothing is deleted."""
    lineage = Lineage(rig, 3)
    if what == "older states":
        rig.memory.lineage(LINEAGE).former = None
    else:
        rig.store.damaged["other"] = errors.StateError("damaged")
    assert clean(rig.context, [LINEAGE], 0) == 0
    assert at_qiniu(rig) == lineage.ids


def test_cost(rig: Rig) -> None:
    """A clean-up costs one list of certificates, and two calls for each one that goes."""
    lineage = Lineage(rig, 3)
    clean(rig.context, [LINEAGE], 0)
    deletions = sorted(f"DELETE /sslcert/{cert_id}" for cert_id in lineage.ids[:2])
    # Nobody uses what goes, so its list of domains is one empty page.
    assert rig.calls() == sorted([*deletions, *[DOMAIN_PAGE] * 2, *CERTIFICATE_LIST])


# What other lineages have left behind


class Left:
    """A lineage next to the main one, deleted from certbot; B serves the newer of its two."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.main = rig, Lineage(rig, 1)
        self.lineage = Lineage(rig, 2, "old.example", B)
        rig.store.apply({B: None})
        rig.memory.update(B, lineage="old.example", let_go=rig.now,
                          seen=Domain(B, protocol="https", cert_id=self.lineage.ids[1]))
        self.conf = rig.config_dir / "renewal" / "old.example.conf"
        self.conf.unlink()

    def clean(self, *, ask: bool = True) -> list[int]:
        """Clean up after the main lineage: which of the two stay."""
        if ask:
            self.rig.account.certificates()
        clean(self.rig.context, [LINEAGE], 1)
        assert self.main.ids[0] in at_qiniu(self.rig)
        return [number for number, cert_id in enumerate(self.lineage.ids)
                if cert_id in at_qiniu(self.rig)]

    def note(self, **changes: Any) -> None:
        """Change what is remembered of the uploads."""
        for cert_id in self.lineage.ids:
            self.rig.memory.uploads[cert_id] = replace(self.rig.memory.uploads[cert_id], **changes)


@pytest.fixture
def old(rig: Rig) -> Left:
    """A deleted lineage."""
    return Left(rig)


def move(old: Left) -> None:
    """Let B serve the main lineage's, which only Qiniu knows."""
    old.rig.qiniu.change_domain(B, cert_id=old.main.ids[0])


def test_what_a_deleted_lineage_left(rig: Rig, old: Left) -> None:
    """What its domains serve stays until Qiniu says that they have moved; the rest goes."""
    assert old.clean() == [1]
    assert old.clean() == [1]
    move(old)
    assert old.clean() == []
    assert set(rig.memory.uploads) == {old.main.ids[0]}


def test_no_list_for_what_is_left(rig: Rig, old: Left) -> None:
    """An idle run asks nothing for its sake."""
    move(old)
    rig.calls()
    assert old.clean(ask=False) == [0, 1]
    assert rig.calls() == []


def lives(old: Left) -> None:
    """Certbot still has it, with another installer."""
    old.conf.touch()


def is_managed(old: Left) -> None:
    """Its domains were not let go yet."""
    old.lineage.want(old.lineage.versions[1])
    old.rig.memory.uploads.pop(old.lineage.ids[0])


def is_elsewhere(old: Left) -> None:
    """It was uploaded to another account."""
    old.note(account="another")


def is_damaged(old: Left) -> None:
    """Some file cannot be read: what is not known may be needed."""
    old.rig.store.damaged["x"] = errors.StateError("x")


@pytest.mark.parametrize("case", [lives, is_managed, is_elsewhere, is_damaged],
                         ids=lambda case: case.__name__)
def test_not_left_behind(old: Left, case: Callable[[Left], None]) -> None:
    """What is not provably left behind here stays, and is not forgotten."""
    move(old)
    case(old)
    before = set(old.rig.memory.uploads)
    assert old.clean() == [0, 1]
    assert before == set(old.rig.memory.uploads)


def is_wanted(old: Left) -> None:
    """A lineage of another name has the very same certificate."""
    old.rig.store.apply({"c.example.com": Managed(
        "c.example.com", "cdn", LINEAGE, Binding("https", old.lineage.versions[1].fingerprint))})


def is_baseline(old: Left) -> None:
    """Another domain served it before we came."""
    old.rig.memory.update(A, baseline=Binding("https", old.lineage.versions[1].fingerprint))


def is_sent(old: Left) -> None:
    """A domain is about to serve it."""
    old.rig.memory.update(A, sent=Sent(Binding("https", "", old.lineage.ids[1]), 1.0))


@pytest.mark.parametrize("case", [is_wanted, is_baseline, is_sent],
                         ids=lambda case: case.__name__)
def test_left_behind_and_needed(old: Left, case: Callable[[Left], None]) -> None:
    """What somebody else here needs stays, whoever uploaded it."""
    move(old)
    case(old)
    assert old.clean() == [1]


@pytest.mark.parametrize(("account", "is_here"), [("another", True), ("", False)],
                         ids=["moved away", "as ever"])
def test_former_account(rig: Rig, old: Left, account: str, *, is_here: bool) -> None:
    """A lineage that is in another account now needs nothing here; what is served stays."""
    old.conf.touch()
    old.lineage.want(old.lineage.versions[1])
    rig.memory.update(B, seen=None)
    rig.memory.lineage("old.example").account = account
    old.note(account=rig.client.account)
    assert old.clean() == ([1] if is_here else [0, 1])
    move(old)
    assert old.clean() == ([] if is_here else [0, 1])


def test_own_account_alone(rig: Rig) -> None:
    """The clean-up of this account neither deletes nor forgets what is in a former one."""
    lineage = Lineage(rig, 3)
    rig.memory.uploads["there"] = Upload(
        lineage.versions[0].fingerprint, LINEAGE, account="another")
    assert clean(rig.context, [LINEAGE], 1) == 1
    assert set(rig.memory.uploads) == {*lineage.ids[1:], "there"}


def test_unknown_account(rig: Rig, old: Left) -> None:
    """An id of an older memory that is not in this account's list is not forgotten."""
    rig.memory.uploads["unknown"] = Upload("ab" * 32, "old.example")
    move(old)
    assert old.clean() == []
    assert "unknown" in rig.memory.uploads


def test_new_access_key(rig: Rig, old: Left) -> None:
    """Another key of the same account makes nothing a former account's, and costs one list."""
    old.conf.touch()
    old.lineage.want(old.lineage.versions[1])
    for lineage in (LINEAGE, "old.example"):
        rig.memory.lineage(lineage).account = "old key"
    for cert_id in list(rig.memory.uploads):
        rig.memory.uploads[cert_id] = replace(rig.memory.uploads[cert_id], account="old key")
    assert rig.context.uploads_of(old.main.versions[0].fingerprint) == frozenset()
    remember_copies(rig.context, LINEAGE)
    assert rig.context.uploads_of(old.main.versions[0].fingerprint) == {old.main.ids[0]}
    move(old)
    assert old.clean() == [0, 1]
    assert {"old key"} == {upload.account for upload in rig.memory.uploads.values()}
    assert rig.memory.account_of(rig.client.account) == "old key"
