"""What is there, with as few calls as the lists allow, and what is remembered of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.certificates import find_wanted, other_installations, remember_copies
from certbot_qiniu.deployment.choose import check_listed, choose_domains, remember_baselines
from certbot_qiniu.deployment.context import in_parallel
from certbot_qiniu.deployment.observe import observe, read_details
from certbot_qiniu.deployment.planning.selection import NotChosen, Obstacle, Selection
from certbot_qiniu.deployment.state import Managed, Record, Sent, Upload
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.wording import problems
from certbot_qiniu.model import DAY, Binding, Certificate
from tests.scenarios.machine import Cloud, Machine
from tests.unit.rig import PUBLISH_SECONDS, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

LINEAGE = "example.com"
SANS = ("example.com", "*.example.com")
A, B, C = "a.example.com", "b.example.com", "c.example.com"
LIST, CERTIFICATES = "GET /domain", "GET /sslcert"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account without domains."""
    return Rig(tmp_path)


@pytest.fixture
def certificate(rig: Rig) -> Certificate:
    """The certificate of the lineage, which is not at Qiniu."""
    return rig.renew(LINEAGE, *SANS)


def read(*names: str) -> list[str]:
    """The calls that read domains in detail."""
    return sorted(f"GET /domain/{name}" for name in names)


def uploaded(rig: Rig, certificate: Certificate) -> str:
    """Let us have uploaded a certificate, and remember it; its id."""
    cert_id = rig.upload(certificate)
    rig.memory.uploads[cert_id] = Upload(certificate.fingerprint, certificate.lineage)
    return cert_id


def manage(rig: Rig, *names: str, lineage: str = LINEAGE) -> None:
    """Let a lineage manage domains already."""
    rig.store.state.update({name: Managed(name, "cdn", lineage, Binding("https", "ab" * 32))
                            for name in names})


# Side by side


def test_in_parallel() -> None:
    """Results come in order, and an error of ours takes the place of its result."""
    failure = errors.QiniuError("no")

    def half(number: int) -> int:
        if number % 2:
            raise failure
        return number // 2

    assert in_parallel(half, []) == []
    assert in_parallel(half, [1]) == [failure]
    assert in_parallel(half, [4]) == [2]
    assert in_parallel(half, list(range(20))) == [
        failure if number % 2 else number // 2 for number in range(20)]


def test_in_parallel_at_once() -> None:
    """Calls really run side by side."""
    barrier = threading.Barrier(3, timeout=10)
    assert set(in_parallel(lambda _: barrier.wait(), ["a", "b", "c"])) == {0, 1, 2}


@pytest.mark.parametrize("items", [[1], [1, 2, 3]])
@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_in_parallel_bug(items: list[int], error: BaseException) -> None:
    """A bug, or a Ctrl-C, is nobody's result."""
    def fail(_: int) -> None:
        raise error

    with pytest.raises(type(error)):
        in_parallel(fail, items)


# Which domains a certificate is for


def test_choose(rig: Rig) -> None:
    """Of a hundred domains only those that matter are read, once, and no certificates."""
    for number in range(100):
        rig.qiniu.add_domain(f"d{number}.example.net")
    rig.qiniu.add_domain("example.com")
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https")
    rig.qiniu.add_domain(C, state="frozen", freeze_type="ICP")
    found = choose_domains(rig.context, SANS, None, LINEAGE)
    assert found == Selection(("b.example.com", "example.com"),
                              (NotChosen(C, Obstacle.DEAD, "frozen", "ICP"),), (A,))
    assert rig.calls() == [LIST, *read(B, "example.com")]
    assert choose_domains(rig.context, SANS, None, LINEAGE) == found
    assert rig.calls() == []


def test_choose_managed(rig: Rig, certificate: Certificate) -> None:
    """Domains that the lineage has already are chosen without any read."""
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https")
    manage(rig, A, B)
    assert choose_domains(rig.context, SANS, None, LINEAGE) == Selection((A, B))
    assert rig.calls() == [LIST]


def test_choose_managed_by_another(rig: Rig, certificate: Certificate) -> None:
    """Domains of another lineage stay with it while certbot has it."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, A, lineage="other")
    assert choose_domains(rig.context, SANS, None, LINEAGE) == Selection((A,))
    rig.renew("other", A)
    assert choose_domains(rig.context, SANS, None, LINEAGE).left_out == (
        NotChosen(A, Obstacle.OTHER_LINEAGE, lineage="other"),)
    assert choose_domains(rig.context, SANS, [A], LINEAGE).chosen == ()
    assert choose_domains(rig.context, SANS, [A], LINEAGE, take_over=True) == Selection((A,))


@pytest.mark.parametrize("days", [1, 91], ids=["valid", "expired"])
def test_choose_bought(days: int, rig: Rig, certificate: Certificate) -> None:
    """A domain with a certificate bought through Qiniu is left alone until that has expired."""
    rig.qiniu.add_domain(A, protocol="https",
                         cert_id=rig.upload(certificate, "bought", order_id="1"))
    rig.wait(days * DAY)
    found = choose_domains(rig.context, SANS, None, LINEAGE)
    assert found.chosen == ((A,) if days > 90 else ())
    assert bool(found.left_out) == (days < 90)
    assert rig.calls() == [LIST, *read(A), CERTIFICATES]


@pytest.mark.parametrize("days", [1, 91], ids=["valid", "expired"])
def test_choose_other_installations(days: int, rig: Rig, certificate: Certificate) -> None:
    """What another installation serves is left alone until it has expired, or is taken over."""
    theirs = rig.upload(certificate, "certbot_example.com_0123456789ab")
    rig.qiniu.add_domain(A, protocol="https", cert_id=theirs)
    rig.wait(days * DAY)
    found = choose_domains(rig.context, SANS, None, LINEAGE)
    assert found.chosen == ((A,) if days > 90 else ())
    assert choose_domains(rig.context, SANS, None, LINEAGE, take_over=True) == Selection((A,))


def test_choose_own(rig: Rig, certificate: Certificate) -> None:
    """A domain that serves one of our uploads is chosen without a look at the certificates."""
    rig.qiniu.add_domain(A, protocol="https", cert_id=uploaded(rig, certificate))
    assert choose_domains(rig.context, SANS, None, LINEAGE) == Selection((A,))
    assert rig.calls() == [LIST, *read(A)]


def test_choose_after_a_loss(rig: Rig, certificate: Certificate) -> None:
    """Who has lost the memory is no stranger to himself: what is in the archive is ours."""
    rig.qiniu.add_domain(A, protocol="https", cert_id=rig.upload(certificate))
    assert choose_domains(rig.context, SANS, None, LINEAGE) == Selection((A,))


@pytest.mark.parametrize("listed", [None, [A, B]], ids=["auto", "listed"])
def test_choose_unreadable(listed: list[str] | None, rig: Rig) -> None:
    """A domain that cannot be read is a problem, and holds up no other one."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain(B, protocol="https")
    rig.refuse(f"/domain/{A}")
    found = choose_domains(rig.context, SANS, listed, LINEAGE)
    assert found.chosen == (B,)
    [problem] = problems(found)
    assert A in problem
    assert "403000" in problem


@pytest.mark.parametrize("match", ["/domain", "/sslcert"])
def test_choose_without_a_list(match: str, rig: Rig, certificate: Certificate) -> None:
    """Without a list nothing can be chosen: that is an error, not an empty choice."""
    rig.qiniu.add_domain(A, protocol="https", cert_id=rig.upload(certificate, "console"))
    rig.refuse(match)
    with pytest.raises(errors.ApiError):
        choose_domains(rig.context, SANS, None, LINEAGE)


def test_choose_listed(rig: Rig) -> None:
    """A listed domain that Qiniu's list does not show yet is looked for by its name."""
    rig.account.domains()
    rig.qiniu.add_domain(A)
    rig.calls()
    found = choose_domains(rig.context, SANS, [A, B], LINEAGE)
    assert found.chosen == (A,)
    assert [(problem.name, problem.obstacle) for problem in found.problems] == [
        (B, Obstacle.NOT_FOUND)]
    assert rig.calls().count(f"GET /domain/{B}") == 1


# Before anything is issued


def test_check_listed(rig: Rig) -> None:
    """Access is tried in any case; listed domains are checked once the names are known."""
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain("example.net")
    for names, listed in (SANS, None), ((), [B]), (SANS, [A]):
        check_listed(rig.context, names, listed)
    assert rig.calls() == [LIST]
    with pytest.raises(errors.UsageError, match=r"^b\.example\.com is no .*; example\.net is not"):
        check_listed(rig.context, SANS, [A, B, "example.net"])


def test_check_listed_new(rig: Rig) -> None:
    """A domain that was added a moment ago is not taken for a mistake."""
    rig.account.domains()
    rig.qiniu.add_domain(A)
    check_listed(rig.context, SANS, [A])


def test_check_listed_without_access(rig: Rig) -> None:
    """An account that refuses us is an error before anything else."""
    rig.refuse("/domain", 401000)
    with pytest.raises(errors.Refused):
        check_listed(rig.context, (), None)


# Baselines


def test_baselines(rig: Rig, certificate: Certificate) -> None:
    """What a domain served before the first touch is written down, once and for all."""
    rig.qiniu.add_domain(A)
    bought = rig.upload(certificate, "bought")
    rig.qiniu.add_domain(B, protocol="https", cert_id=bought, force_https=True)
    rig.qiniu.add_domain(C, protocol="https", cert_id=uploaded(rig, certificate), http2=True)
    assert remember_baselines(rig.context, [A, B, C, "gone.example.com"], LINEAGE) == {}
    expected = {A: Binding("http"), B: Binding("https", "", bought, True, False),
                C: Binding("https", certificate.fingerprint, "", False, True)}
    later = Store(rig.store.folder)
    later.load()
    assert {name: record.baseline for name, record in later.memory.domains.items()} == expected
    assert {record.lineage for record in later.memory.domains.values()} == {LINEAGE}
    rig.calls()
    rig.wait(1)
    rig.qiniu.change_domain(A, protocol="https", cert_id=bought)
    assert remember_baselines(rig.context, [A, B, C], LINEAGE) == {}
    assert rig.calls() == []
    assert rig.memory.domains[A].baseline == Binding("http")


def test_baseline_unreadable(rig: Rig) -> None:
    """A domain that cannot be read has no baseline, is told, and the others have theirs."""
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B)
    rig.refuse(f"/domain/{A}")
    assert list(remember_baselines(rig.context, [A, B], LINEAGE)) == [A]
    assert A not in rig.memory.domains
    assert rig.memory.domains[B].baseline == Binding("http")


def test_baseline_not_written(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline that cannot be written is an error: the domain must not be touched then."""
    rig.qiniu.add_domain(A)

    def refuse() -> None:
        raise errors.StateError("no room")

    monkeypatch.setattr(rig.store, "write_memory", refuse)
    with pytest.raises(errors.StateError):
        remember_baselines(rig.context, [A], LINEAGE)


# Reading


def test_read_details(rig: Rig) -> None:
    """A domain is read again only when the list shows a change, or after a day."""
    rig.qiniu.add_domain(A, protocol="https", http2=True)
    names = [A, "gone.example.com"]

    def details() -> list[str]:
        rig.account.domains(refresh=True)
        rig.calls()
        found, failures = read_details(rig.context, names, rig.account.domains())
        assert failures == {}
        assert found["gone.example.com"] is None
        assert found[A] == rig.client.get_domain(A)
        calls = rig.calls()
        calls.remove(f"GET /domain/{A}")  # the comparison itself
        calls.remove("GET /domain/gone.example.com")
        return calls

    assert details() == read(A)
    assert details() == []
    rig.wait(1)
    rig.qiniu.change_domain(A, force_https=True)
    assert details() == read(A)
    rig.wait(DAY - 1)
    assert details() == []
    rig.wait(1)
    assert details() == read(A)


def test_read_details_keeps_what_the_list_knows(rig: Rig) -> None:
    """What the list says of a domain is newer than what is remembered of it."""
    rig.qiniu.add_domain(A, state_reason="old")
    read_details(rig.context, [A], rig.account.domains())
    listed = {A: replace(rig.account.domains()[A], operable=False, operation="x",
                         state_reason="new")}
    found, _ = read_details(rig.context, [A], listed)
    assert found[A] == replace(listed[A], detailed=True, hsts=False)


# Observing


def sent(rig: Rig, name: str, cert_id: str, *, since: float = 0) -> Sent:
    """Let us have sent a certificate to a domain that we had read before."""
    read_details(rig.context, [name], rig.account.domains(refresh=True))
    rig.wait(1)
    change = Sent(Binding("https", "", cert_id, False, True), rig.now)
    rig.memory.update(name, sent=change, processing_since=since)
    return change


def observed(rig: Rig, *names: str) -> dict[str, str]:
    """The states of domains after an observation without failures."""
    rig.calls()
    found, failures = observe(rig.context, names, refresh=True)
    assert failures == {}
    return {name: domain.state for name, domain in found.items()}


def test_observe_processing(rig: Rig) -> None:
    """A domain in processing is not read; since when it is so is remembered until it is not."""
    rig.qiniu.add_domain(A, state="processing", operation="sslize")
    assert observed(rig, A) == {A: "processing"}
    assert rig.calls() == [LIST]
    since = rig.now
    rig.wait(60)
    observed(rig, A)
    assert rig.memory.domains[A].processing_since == since
    rig.qiniu.change_domain(A, state="success")
    assert observed(rig, A) == {A: "success"}
    assert rig.memory.domains[A].processing_since == 0


def test_observe_published(rig: Rig, certificate: Certificate) -> None:
    """What was sent and is shown is confirmed."""
    rig.qiniu.add_domain(A)
    change = sent(rig, A, rig.upload(certificate), since=rig.now)
    rig.client.bind_certificate(A, change.binding.cert_id, force_https=False, http2=True,
                                enable=True)
    assert observed(rig, A) == {A: "processing"}
    assert rig.memory.domains[A].sent == change
    rig.wait(PUBLISH_SECONDS)
    assert observed(rig, A) == {A: "success"}
    remembered = rig.memory.domains[A]
    assert (remembered.sent, remembered.confirmed, remembered.processing_since) == (
        None, change, 0)
    assert remembered.seen is not None
    assert remembered.seen.cert_id == change.binding.cert_id


@pytest.mark.parametrize("changes", [
    {"cert_id": ""}, {"force_https": True}, {"http2": False}, {"protocol": "http"},
], ids=["another certificate", "redirect", "HTTP/2", "http"])
def test_observe_undone(changes: dict[str, object], rig: Rig, certificate: Certificate) -> None:
    """What was sent and is not shown by a domain at rest is no longer waited for."""
    cert_id = rig.upload(certificate)
    rig.qiniu.add_domain(
        A, **{"protocol": "https", "cert_id": cert_id, "http2": True, **changes})  # type: ignore[arg-type]
    sent(rig, A, cert_id)
    observed(rig, A)
    assert (rig.memory.domains[A].sent, rig.memory.domains[A].confirmed) == (None, None)


def test_observe_failed(rig: Rig, certificate: Certificate) -> None:
    """What was sent and could not be published stays on record: the plan must tell."""
    rig.qiniu.add_domain(A)
    change = sent(rig, A, rig.upload(certificate))
    rig.qiniu.fail_next_publication(A)
    rig.client.bind_certificate(A, change.binding.cert_id, force_https=False, http2=True,
                                enable=True)
    rig.wait(PUBLISH_SECONDS)
    assert observed(rig, A) == {A: "failed"}
    assert (rig.memory.domains[A].sent, rig.memory.domains[A].confirmed) == (change, None)


def test_observe_back_on_http(rig: Rig, certificate: Certificate) -> None:
    """A way back to http is confirmed as well."""
    rig.qiniu.add_domain(A)
    change = Sent(Binding("http"), rig.now)
    rig.memory.update(A, sent=change)
    observed(rig, A)
    assert (rig.memory.domains[A].sent, rig.memory.domains[A].confirmed) == (None, change)


def publish(rig: Rig, certificate: Certificate, names: Iterable[str]) -> str:
    """Let a certificate that we sent to domains be published there; its id."""
    cert_id = rig.upload(certificate)
    for name in names:
        rig.qiniu.add_domain(name, protocol="https")
    for name in names:
        sent(rig, name, cert_id)
        rig.qiniu.change_domain(name, cert_id=cert_id, http2=True)
    return cert_id


@pytest.mark.parametrize(("count", "calls"), [
    (2, [LIST, *read("d0.example.com", "d1.example.com")]), (3, [LIST] * 3), (9, [LIST] * 3),
])
def test_observe_many(count: int, calls: list[str], rig: Rig, certificate: Certificate) -> None:
    """That many domains serve what was sent is proven by lists, without reading each of them."""
    names = [f"d{number}.example.com" for number in range(count)]
    cert_id = publish(rig, certificate, names)
    rig.calls()
    found, failures = observe(rig.context, names, refresh=True)
    assert rig.calls() == calls
    assert failures == {}
    for name in names:
        assert found[name] == rig.client.get_domain(name), "a list must prove just the truth"
        remembered = rig.memory.domains[name]
        assert remembered.sent is None
        assert remembered.confirmed is not None
        assert remembered.confirmed.binding.cert_id == cert_id
    rig.calls()
    assert set(observed(rig, *names).values()) == {"success"}
    assert rig.calls() == [LIST], "and need no reading later either"


def test_observe_many_without_a_filter(rig: Rig, certificate: Certificate) -> None:
    """Where Qiniu's filter does nothing, every domain is read."""
    rig.qiniu.switches.ignore_cert_filter = True
    names = [A, B, C]
    publish(rig, certificate, names)
    rig.qiniu.change_domain(C, cert_id="")
    observed(rig, *names)
    assert rig.calls() == [LIST] * 3 + read(*names)
    assert [rig.memory.domains[name].confirmed is not None for name in names] == [
        True, True, False]


def test_observe_many_with_one_left_behind(rig: Rig, certificate: Certificate) -> None:
    """A domain that is not in the list of those that serve the certificate is read."""
    names = [A, B, C]
    publish(rig, certificate, names)
    rig.qiniu.change_domain(C, cert_id="")
    observed(rig, *names)
    assert rig.calls() == [LIST] * 3 + read(C)
    assert rig.memory.domains[C].confirmed is None


def test_observe_with_stale_list(rig: Rig, certificate: Certificate) -> None:
    """A list that lags behind our own change proves nothing."""
    rig.qiniu.switches.list_staleness = 2.5
    names = [A, B, C]
    publish(rig, certificate, names)
    observed(rig, *names)
    assert rig.calls() == [LIST, *read(*names)]


def test_observe_failures(rig: Rig) -> None:
    """A domain that cannot be read and one that is gone are told apart; the rest is seen."""
    for name in (A, B):
        rig.qiniu.add_domain(name)
    rig.refuse(f"/domain/{A}")
    found, failures = observe(rig.context, [A, B, "gone.example.com"], refresh=False)
    assert list(found) == [B]
    assert list(failures) == [A]
    assert isinstance(failures[A], errors.Refused)


def test_observe_notes(rig: Rig) -> None:
    """What is seen in detail is newer than the list, and is put into it."""
    rig.qiniu.add_domain(A)
    rig.account.domains()
    rig.qiniu.change_domain(A, state="failed", operation="sslize")
    observe(rig.context, [A], refresh=False)
    listed = rig.account.domains()[A]
    assert (listed.state, listed.operation) == ("failed", "sslize")


# Certificates that we know, and that we do not


def test_other_installations(rig: Rig, certificate: Certificate) -> None:
    """A stranger is a valid certificate under a name of our kind that we did not upload."""
    ours, theirs = uploaded(rig, certificate), rig.upload(certificate)
    others = [rig.upload(certificate, name) for name in ("console", "certbot_x_0123456789AB")]
    asked = {ours, theirs, *others, "0123456789abcdef"}
    assert set(other_installations(rig.context, asked)) == {theirs}
    rig.wait(91 * DAY)
    assert other_installations(rig.context, asked) == {}


def test_other_installations_cost(rig: Rig, certificate: Certificate) -> None:
    """The certificates are listed only for ids that nobody knows, and again for newer ones."""
    ours = uploaded(rig, certificate)
    assert other_installations(rig.context, {ours}) == {}
    assert rig.calls() == []
    first = rig.upload(certificate)
    assert set(other_installations(rig.context, {first, ours})) == {first}
    assert rig.calls() == [CERTIFICATES]
    second = rig.upload(certificate)
    assert set(other_installations(rig.context, {first, second})) == {first, second}
    assert rig.calls() == [CERTIFICATES]


def test_find_wanted(rig: Rig) -> None:
    """A certificate of ours that the memory has lost is found again, older versions too."""
    versions = [rig.renew(LINEAGE, *SANS) for _ in range(2)]
    ids = [rig.upload(version) for version in versions]
    rig.upload(rig.renew("other", A))
    wanted = [Managed(A, "cdn", LINEAGE, Binding("https", versions[1].fingerprint))]
    assert find_wanted(rig.context, wanted) == {}
    assert rig.memory.uploads == {
        cert_id: Upload(version.fingerprint, LINEAGE)
        for cert_id, version in zip(ids, versions, strict=True)}
    rig.calls()
    assert find_wanted(rig.context, wanted) == {}
    assert rig.calls() == []


def test_find_wanted_nothing(rig: Rig, certificate: Certificate) -> None:
    """Where nothing of ours is wanted, or all of it is known, nothing is listed."""
    uploaded(rig, certificate)
    wanted = [Managed(A, "cdn", LINEAGE, Binding("https", certificate.fingerprint)),
              Managed(B, "cdn", LINEAGE, Binding("https", "", "bought"))]
    assert find_wanted(rig.context, wanted) == {}
    assert rig.calls() == []


def test_find_wanted_unreachable(rig: Rig, certificate: Certificate) -> None:
    """That the certificates cannot be listed is told for each one that was looked for."""
    wanted = [Managed(A, "cdn", LINEAGE, Binding("https", certificate.fingerprint))]
    rig.refuse("/sslcert")
    failures = find_wanted(rig.context, wanted)
    assert list(failures) == [certificate.fingerprint]
    assert rig.memory.uploads == {}


def test_namesakes(rig: Rig) -> None:
    """A certificate under one of our names, with other SANs, is not taken for ours."""
    certificate = rig.renew(LINEAGE, *SANS)
    stranger = rig.renew("other", "example.com")
    rig.upload(stranger, certificate.remote_name)
    remember_copies(rig.context, LINEAGE)
    assert rig.memory.uploads == {}
    cert_id = rig.upload(certificate)
    rig.account.certificates(refresh=True)
    remember_copies(rig.context, LINEAGE)
    assert list(rig.memory.uploads) == [cert_id]


def test_record_of_a_stranger(rig: Rig) -> None:
    """Reading a domain does not make us manage it."""
    rig.qiniu.add_domain(A)
    choose_domains(rig.context, [A], None, LINEAGE)
    remembered = rig.memory.domains[A]
    assert remembered == Record(seen=remembered.seen, seen_at=rig.now)


def test_lost_memory(tmp_path: Path) -> None:
    """Who has lost both files finds his own certificate again, and is no stranger to himself."""
    cloud = Cloud()
    cloud.qiniu.add_domain("www.example.com", protocol="https",
                           cert_id=cloud.stranger("*.example.com"))
    machine = Machine(cloud, tmp_path)
    assert machine.issue("example.com", "*.example.com").status == 0
    shutil.rmtree(machine.config_dir / "qiniu")
    run = machine.renew()
    assert run.status == 0, run.output
    assert [] == run.labels("PUT ") + run.labels("POST ")
    assert "www.example.com" in (machine.config_dir / "qiniu" / "state.json").read_text("utf-8")
