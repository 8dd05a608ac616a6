"""What is sent to domains: written down before, and what each of Qiniu's answers means."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.reconcile import Outcome
from certbot_qiniu.deployment.sending import Progress, Sender
from certbot_qiniu.deployment.state import Upload
from certbot_qiniu.model import Certificate
from tests.sandbox.wire import Fault
from tests.unit.deployment.account import LINEAGE, SANS, A, B, C
from tests.unit.deployment.desired import set_state
from tests.unit.deployment.reconciling import changes, go, manage, remembered, served
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

UPLOAD = "POST /sslcert"


def test_progress(rig: Rig, certificate: Certificate) -> None:
    """One change is accepted, one refused, and one may have arrived: each is noted as just that."""
    names = (A, B, C)
    for name in names:
        rig.qiniu.add_domain(name, protocol="https")
    manage(rig, certificate, *names)
    rig.refuse(f"/domain/{B}/httpsconf", 400322)
    rig.board.arm(Fault("reset"), match=f"/domain/{C}/httpsconf", times=9)
    progress, wanted = Progress(), rig.store.managed(LINEAGE)
    sent = Sender(rig.context, wanted, 1, progress).send(
        [Action(Verb.BIND, name, Reason.OUTDATED, wanted[name].binding)
         for name in names], rig.account.domains())
    assert ([A], []) == sent
    assert ([A], {A}, {A: 1, B: 1, C: 1}) == (progress.changed, progress.taken, progress.sends)
    assert {B: errors.Refused, C: errors.Unreachable} == {
        name: type(error) for name, error in progress.failed.items()}
    assert [True, False, True] == [rig.memory.domains[name].sent is not None for name in names]


@pytest.mark.parametrize("code", [400030, 400999])
def test_refused_as_busy(rig: Rig, certificate: Certificate, code: int) -> None:
    """A refusal shows that a domain is busy before the list does: the change is sent later."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    rig.refuse("/httpsconf", code, times=2)
    outcome = go(rig)
    assert Outcome(changed=[A]) == outcome
    assert [True] == served(rig, certificate, A)


def test_read_again_after_a_refusal(rig: Rig, certificate: Certificate) -> None:
    """A refusal shows that what is remembered of a domain is old: it is read before a retry."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    go(rig)
    manage(rig, rig.renew(LINEAGE, *SANS), A)
    rig.refuse("/httpsconf", 400030)
    go(rig)
    labels = [exchange.request.label for exchange in rig.board.calls(f"/domain/{A}")]
    put, get = f"PUT api.qiniu.com/domain/{A}/httpsconf", f"GET api.qiniu.com/domain/{A}"
    assert [put, get, put, get] == labels


def test_refused(rig: Rig, certificate: Certificate) -> None:
    """A refusal is that domain's problem alone, and is not on record as sent."""
    for name in (A, B):
        rig.qiniu.add_domain(name)
    manage(rig, certificate, A, B)
    rig.refuse(f"/domain/{A}/sslize", 400322)
    outcome = go(rig)
    [problem] = outcome.problems
    assert (f"to {A}: the reason" in problem, [B]) == (True, outcome.changed)
    assert remembered(rig).memory.domains[A].sent is None
    assert Outcome(changed=[A]) == go(rig)


@pytest.mark.parametrize("code", [400910, 400013])
@pytest.mark.parametrize("times", [1, 2])
def test_refused_as_unchanged(rig: Rig, certificate: Certificate, code: int, times: int) -> None:
    """"No change" is looked into once: where the domain shows another one, it is sent again."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    rig.refuse("/httpsconf", code, times=times)
    outcome = go(rig)
    assert (times == 2) == bool(outcome.problems)
    assert [times == 1] == served(rig, certificate, A)


def test_unchanged_is_as_wanted(rig: Rig, certificate: Certificate) -> None:
    """Somebody was faster than us with just that: nothing is wrong."""
    rig.qiniu.add_domain(A, protocol="https", http2=True)
    manage(rig, certificate, A)
    go(rig)
    cert_id = rig.qiniu.serving(A).cert_id
    rig.qiniu.change_domain(A, cert_id="")

    def be_faster(_: object) -> None:
        rig.wait(1)
        rig.qiniu.change_domain(A, cert_id=cert_id)

    rig.board.arm(Fault("hook", hook=be_faster), match="/httpsconf")
    assert Outcome() == go(rig)


def test_certificate_that_is_gone(rig: Rig, certificate: Certificate) -> None:
    """One that somebody deleted at Qiniu is uploaded again, and bound by its new id."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    rig.memory.uploads["5a950896f2c5932aaf00142c"] = Upload(certificate.fingerprint, LINEAGE)
    assert Outcome(changed=[A]) == go(rig)
    assert [True] == served(rig, certificate, A)
    assert [rig.qiniu.serving(A).cert_id] == list(rig.memory.uploads)


def test_upload_refused(rig: Rig, certificate: Certificate) -> None:
    """A certificate that Qiniu does not take is tried once, and is one problem for all domains."""
    for name in (A, B):
        rig.qiniu.add_domain(name)
    manage(rig, certificate, A, B)
    rig.refuse(UPLOAD.replace(" ", " fusion.qiniuapi.com"), 400323, times=9)
    outcome = go(rig)
    assert (1, [], []) == (len(outcome.problems), outcome.changed, outcome.pending)
    assert 1 == rig.calls().count(UPLOAD)


def test_lost_answer(rig: Rig, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may have arrived stays on record: the next run confirms it, and sends nothing."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    bind = rig.client.bind_certificate

    def lose(*args: Any, **kwargs: Any) -> None:
        bind(*args, **kwargs)
        raise errors.Unreachable("bind it", "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(rig.client, "bind_certificate", lose)
        outcome = go(rig)
    assert (["Could not bind it: no answer"], []) == (outcome.problems, outcome.changed)
    assert remembered(rig).memory.domains[A].sent is not None
    assert Outcome() == go(rig)
    assert [] == changes(rig)
    assert [True] == served(rig, certificate, A)


class Died(BaseException):
    """The end of the process."""


def dying(rig: Rig, when: str) -> Callable[..., Any]:
    """What runs calls side by side, and dies before or after it has."""
    def run(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        if function.__name__ != "_call":
            return [function(item) for item in items]
        for item in items if when == "after" else ():
            function(item)
        raise Died

    return run


@pytest.mark.parametrize(("when", "sent_again"), [("before", 1), ("after", 0)])
def test_dies_while_sending(rig: Rig, certificate: Certificate, when: str,
                            sent_again: int) -> None:
    """What was about to be sent is on the disk before; the next run sees whether it arrived."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    usual = rig.context
    rig.context = replace(usual, parallel=dying(rig, when))
    with pytest.raises(Died):
        go(rig)
    later = remembered(rig).memory.domains[A].sent
    assert later is not None
    assert certificate.fingerprint == later.binding.fingerprint
    rig.store.load()
    rig.context = usual
    assert [A] * sent_again == go(rig).changed
    assert sent_again == len(changes(rig))
    assert [True] == served(rig, certificate, A)


def test_hsts(rig: Rig, certificate: Certificate) -> None:
    """HSTS comes after the certificate is published, is ours, and is not sent again."""
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A, hsts=True)
    assert Outcome(changed=[A, A]) == go(rig)
    assert "ours" == rig.memory.domains[A].hsts
    assert f"{A}: HSTS switched on" in rig.said
    assert Outcome() == go(rig)


def test_hsts_given_up(rig: Rig, certificate: Certificate) -> None:
    """What we switched on is switched off where nobody wants it any more, and then forgotten."""
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A, hsts=True)
    go(rig)
    manage(rig, certificate, A)
    assert Outcome(changed=[A]) == go(rig)
    seen = rig.client.get_domain(A)
    assert seen is not None
    assert (False, "") == (seen.hsts, rig.memory.domains[A].hsts)


def test_hsts_refused(rig: Rig, certificate: Certificate,
                      caplog: pytest.LogCaptureFixture) -> None:
    """A refused header is a warning, once: the certificate is bound, and nothing is wrong."""
    rig.qiniu.switches.respheader_hsts = "400"
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A, hsts=True)
    with caplog.at_level(logging.WARNING):
        assert Outcome(changed=[A]) == go(rig)
    assert f"{A} keeps the headers that it has" in caplog.text
    assert "refused" == remembered(rig).memory.domains[A].hsts
    assert Outcome() == go(rig)
    assert [] == changes(rig)


def test_unbind_refused(rig: Rig, certificate: Certificate) -> None:
    """Where Qiniu keeps HTTPS that is told once; the domain is not managed any more."""
    rig.qiniu.switches.unsslize_valid = "refuse"
    rig.qiniu.add_domain(A)
    manage(rig, certificate, A)
    go(rig)
    set_state(rig.store, {})
    [problem] = go(rig).problems
    assert f"{A} served http before certbot managed it" in problem
    assert [True] == served(rig, certificate, A)
    assert Outcome() == go(rig)


def test_memory_cannot_be_written(rig: Rig, certificate: Certificate,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent of which nobody would know afterwards."""
    def refuse() -> None:
        raise errors.StateError("no room")

    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, certificate, A)
    rig.memory.uploads[rig.upload(certificate)] = Upload(certificate.fingerprint, LINEAGE)
    monkeypatch.setattr(rig.store, "write_memory", refuse)
    with pytest.raises(errors.StateError):
        go(rig)
    assert [] == changes(rig)
