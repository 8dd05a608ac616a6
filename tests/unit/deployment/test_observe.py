"""What is there, with as few calls as the lists allow, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.observe import observe, observe_alone, read_details
from certbot_qiniu.deployment.state import Sent
from certbot_qiniu.model import DAY, Binding, Certificate, Domain
from certbot_qiniu.qiniu.account import LISTS_MAX_AGE_SECONDS
from certbot_qiniu.qiniu.kodo import Kodo
from certbot_qiniu.qiniu.service import Notes
from tests.sandbox.wire import Fault
from tests.unit.deployment.account import A, B, C, manage, read
from tests.unit.rig import AUTHORITY, DOMAIN_LIST, DOMAIN_PAGE, PUBLISH_SECONDS, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


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
    assert found[A] == replace(listed[A], detailed=True, hsts=False, force_https=False,
                               http2=False)


def test_turn_of_those_that_are_managed(rig: Rig) -> None:
    """A process reads the sixth of them that is longest unread, in however many steps it looks."""
    names = [f"d{number:02}.example.com" for number in range(72)]
    for name in names:
        rig.qiniu.add_domain(name, protocol="https")
    manage(rig, *names)
    domains = rig.account.domains()
    read_details(rig.context, names, domains)
    for hour, expected in (23, 0), (24, 12), (25, 0):
        rig.now = rig.memory.domains[names[-1]].seen_at + hour * 3600
        rig.calls()
        for name in names:
            read_details(rig.context, [name], {name: domains[name]})
        assert expected == len(rig.calls())
        if hour == 23:
            vars(rig.account)["_lists"].turn = None  # another process


def test_read_alone(rig: Rig) -> None:
    """Without lists the account has only the read domains; only lists show that one is missing."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain(B)
    assert not observe_alone(rig.context, [A, "gone.example.com"])
    assert not rig.account.is_presumed
    rig.calls()
    assert observe_alone(rig.context, [A])
    assert [A] == list(observe(rig.context, [A], refresh=False)[0])
    assert read(A) == rig.calls()
    rig.board.arm(Fault("refuse"), match=f"/domain/{B}", times=10**6)
    assert observe_alone(rig.context, [A, B])
    assert {A} == rig.account.domains().keys(), "of the other one it is not known what it is"
    rig.board.disarm()
    rig.now += 3600
    rig.refuse("/domain", 401001)
    with pytest.raises(errors.Refused):
        observe_alone(rig.context, [A, B])


def test_unreadable_alone(rig: Rig) -> None:
    """A domain that cannot be read is asked for once, and in the service that has it alone."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain(B)
    rig.qiniu.add_bucket("files")
    rig.refuse(f"/domain/{B}", 400001, times=10**6)
    for name in A, B:
        rig.memory.update(name, service="cdn")
    rig.context.account.services["kodo"] = Kodo(rig.client, Notes())
    assert observe_alone(rig.context, [A, B])
    found, failures = observe(rig.context, [A, B], refresh=False)
    assert ([A], [B]) == (list(found), list(failures))
    assert "the reason" in str(failures[B])
    assert [*read(A), *read(B)] == rig.calls()


def test_read_alone_long_ago(rig: Rig) -> None:
    """What a list says once it was asked after all is no reading."""
    old = rig.qiniu.add_certificate(AUTHORITY.issue("*.example.com").fullchain_pem, name="theirs")
    rig.qiniu.add_domain(A, protocol="https", cert_id=old)
    assert observe_alone(rig.context, [A])
    rig.wait(LISTS_MAX_AGE_SECONDS + 1)
    assert old == observe(rig.context, [A], refresh=False)[0][A].cert_id


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
    assert rig.calls() == DOMAIN_LIST
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
    """A change that could not be published stays on record: the plan must report it."""
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
    (2, [*DOMAIN_LIST, *read("d0.example.com", "d1.example.com")]),
    # The second list is left once it has shown them all, the third is empty: a page each.
    (3, [*DOMAIN_LIST, DOMAIN_PAGE, DOMAIN_PAGE]), (9, [*DOMAIN_LIST, DOMAIN_PAGE, DOMAIN_PAGE]),
])
def test_observe_many(count: int, calls: list[str], rig: Rig, certificate: Certificate) -> None:
    """Lists prove that many domains serve what was sent, without reading each of them."""
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
    assert rig.calls() == DOMAIN_LIST, "and need no reading later either"


def test_observe_many_without_a_filter(rig: Rig, certificate: Certificate) -> None:
    """If Qiniu's filter does nothing, every domain is read."""
    rig.qiniu.switches.ignore_cert_filter = True
    names = [A, B, C]
    publish(rig, certificate, names)
    rig.qiniu.change_domain(C, cert_id="")
    observed(rig, *names)
    # All domains are on the one page of the second list; the third is as long as the first.
    assert rig.calls() == [*DOMAIN_LIST, DOMAIN_PAGE, *DOMAIN_LIST, *read(*names)]
    assert [rig.memory.domains[name].confirmed is not None for name in names] == [
        True, True, False]


def test_observe_many_with_one_left_behind(rig: Rig, certificate: Certificate) -> None:
    """A domain that is not in the list of those that serve the certificate is read."""
    names = [A, B, C]
    publish(rig, certificate, names)
    rig.qiniu.change_domain(C, cert_id="")
    observed(rig, *names)
    # The second list is read to its end in search of that domain.
    assert rig.calls() == [*DOMAIN_LIST, *DOMAIN_LIST, DOMAIN_PAGE, *read(C)]
    assert rig.memory.domains[C].confirmed is None


def test_observe_with_stale_list(rig: Rig, certificate: Certificate) -> None:
    """A list that lags behind our own change proves nothing."""
    rig.qiniu.switches.list_staleness = 2.5
    names = [A, B, C]
    publish(rig, certificate, names)
    observed(rig, *names)
    assert rig.calls() == [*DOMAIN_LIST, *read(*names)]


def test_observe_failures(rig: Rig) -> None:
    """A domain that cannot be read and one that is gone are distinguished; the others are read."""
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


# Services that fail


class Broken:
    """A service whose list cannot be had."""

    name, publishes = "kodo", False

    def list(self) -> list[Domain]:
        raise errors.Refused("list the buckets", "no")


def test_observe_without_a_service(rig: Rig) -> None:
    """What is managed in a service that cannot be listed is unknown, and never gone."""
    rig.qiniu.add_domain(A)
    rig.account.services["kodo"] = Broken()  # type: ignore[assignment]
    for name in (B, C):
        rig.memory.update(name, service="kodo")
    rig.qiniu.add_domain(C)
    found, failures = observe(rig.context, [A, B, C], refresh=True)
    assert [A] == list(found)
    assert {B: "list the buckets", C: "list the buckets"} == {
        name: error.action for name, error in failures.items() if isinstance(error, errors.Refused)}


def test_read_what_is_listed_and_not_there(rig: Rig) -> None:
    """A domain that the list has, and whose details are not to be had, is an error, not gone."""
    rig.qiniu.add_domain(A)
    domains = rig.account.domains()
    rig.qiniu.remove_domain(A)
    found, failures = read_details(rig.context, [A], domains)
    assert ({}, [A]) == (found, list(failures))
    assert A not in rig.memory.domains
