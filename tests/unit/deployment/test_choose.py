"""Which domains a certificate is for, and what they served before: few calls, and no surprise."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment.choose import (
    check_listed,
    check_selection,
    choose_domains,
    rehearse,
    remember_baselines,
)
from certbot_qiniu.deployment.planning.selection import NotChosen, Obstacle, Selection
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.wording import problems
from certbot_qiniu.model import DAY, Binding, Certificate
from certbot_qiniu.options import Settings
from certbot_qiniu.qiniu.service import Listing
from tests.sandbox.lineages import write_version
from tests.unit.deployment.account import (
    LINEAGE,
    SANS,
    A,
    B,
    C,
    manage,
    read,
    uploaded,
)
from tests.unit.rig import AUTHORITY, CERTIFICATE_PAGE, DOMAIN_LIST, Rig, paths

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def choose(rig: Rig, listed: Sequence[str] | None, *, sans: Sequence[str] = SANS, days: float = 90,
           **changes: Any) -> Selection:
    """The domains for a certificate that ends in so many days."""
    return choose_domains(rig.context, sans, listed, LINEAGE, ends=rig.now + days * DAY, **changes)


# Which domains a certificate is for


def test_choose(rig: Rig) -> None:
    """Of a hundred domains only those that matter are read, once, and no certificates."""
    for number in range(100):
        rig.qiniu.add_domain(f"d{number}.example.net")
    rig.qiniu.add_domain("example.com")
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https")
    rig.qiniu.add_domain(C, state="frozen", freeze_type="ICP")
    found = choose(rig, None)
    assert found == Selection(("b.example.com", "example.com"),
                              (NotChosen(C, Obstacle.DEAD, "frozen", "ICP"),), (A,))
    assert rig.calls() == [*DOMAIN_LIST, *read(B, "example.com")]
    assert choose(rig, None) == found
    assert rig.calls() == []


def test_choose_managed(rig: Rig, certificate: Certificate) -> None:
    """Domains that the lineage has already are chosen without any read."""
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https")
    manage(rig, A, B)
    assert choose(rig, None) == Selection((A, B))
    assert rig.calls() == DOMAIN_LIST


def test_choose_managed_by_another(rig: Rig, certificate: Certificate) -> None:
    """Domains of another lineage stay with it while certbot has it."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, A, lineage="other")
    assert choose(rig, None) == Selection((A,))
    rig.renew("other", A)
    assert choose(rig, None).left_out == (
        NotChosen(A, Obstacle.OTHER_LINEAGE, lineage="other"),)
    assert choose(rig, [A]).chosen == ()
    assert choose(rig, [A], take_over=True) == Selection((A,))


@pytest.mark.parametrize(("order_id", "days", "waited", "chosen"), [
    ("1", 90, 1, False), ("1", 90, 91, True), ("", 90, 0, True), ("", 89, 0, False),
], ids=["bought", "bought and expired", "ends with ours", "ends later"])
def test_choose_foreign(order_id: str, days: float, waited: float, chosen: bool, rig: Rig,
                        certificate: Certificate) -> None:
    """A better certificate is left alone, and the list is asked once how long it is good."""
    cert_id = rig.upload(certificate, "console", order_id=order_id)
    rig.qiniu.add_domain(A, protocol="https", cert_id=cert_id)
    rig.wait(waited * DAY)
    for calls in [*DOMAIN_LIST, *read(A), CERTIFICATE_PAGE], []:
        found = choose(rig, None, days=days)
        assert found.chosen == ((A,) if chosen else ())
        assert bool(found.left_out) != chosen
        assert rig.calls() == calls
    remembered = rig.memory.domains[A].foreign
    assert remembered
    assert (cert_id, order_id) == (remembered.cert_id, remembered.order_id)


@pytest.mark.parametrize(("days", "ends", "is_chosen"), [(1, 88, False), (1, 90, True),
                                                         (91, 1, True)],
                         ids=["newer", "older", "expired"])
def test_choose_other_installations(days: int, ends: float, is_chosen: bool, rig: Rig,
                                    certificate: Certificate) -> None:
    """What another installation serves is left alone while it is newer, unless taken over."""
    theirs = rig.upload(certificate, "certbot_example.com_0123456789ab")
    rig.qiniu.add_domain(A, protocol="https", cert_id=theirs)
    rig.wait(days * DAY)
    found = choose(rig, None, days=ends)
    assert (is_chosen, not is_chosen) == (found.chosen == (A,), bool(found.problems))
    assert choose(rig, None, days=ends, take_over=True) == Selection((A,))


def test_choose_own(rig: Rig, certificate: Certificate) -> None:
    """A domain that serves one of our uploads is chosen without a look at the certificates."""
    rig.qiniu.add_domain(A, protocol="https", cert_id=uploaded(rig, certificate))
    assert choose(rig, None) == Selection((A,))
    assert rig.calls() == [*DOMAIN_LIST, *read(A)]


def test_choose_after_a_loss(rig: Rig, certificate: Certificate) -> None:
    """After a lost memory a certificate in the archive still counts as ours."""
    rig.qiniu.add_domain(A, protocol="https", cert_id=rig.upload(certificate))
    assert choose(rig, None) == Selection((A,))


@pytest.mark.parametrize("listed", [None, [A, B]], ids=["auto", "listed"])
def test_choose_unreadable(listed: list[str] | None, rig: Rig) -> None:
    """A domain that cannot be read is a problem, and holds up no other one."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain(B, protocol="https")
    rig.refuse(f"/domain/{A}")
    found = choose(rig, listed)
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
        choose(rig, None)


def test_choose_listed(rig: Rig) -> None:
    """A listed domain that Qiniu's list does not show yet is looked for by its name."""
    rig.account.domains()
    rig.qiniu.add_domain(A)
    rig.calls()
    found = choose(rig, [A, B])
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
    assert rig.calls() == DOMAIN_LIST
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


@pytest.mark.parametrize("can_ask", [True, False])
def test_check_selection(rig: Rig, certificate: Certificate, *, can_ask: bool) -> None:
    """If nothing is covered a user is warned, and what nobody watches is refused."""
    rig.qiniu.add_domain("static.example.com")
    asked: list[tuple[str, ...]] = [("static.example.com",), ("example.com",)]
    assert "" == check_selection(rig.context, asked[0], "", can_ask=can_ask)
    if can_ask:
        assert "Is a name missing: -d '*.example.com' or -d static.example.com?" in (
            check_selection(rig.context, asked[1], "", can_ask=True))
        assert "" == check_selection(rig.context, ["*.example.com"], "", can_ask=True), "is asked"
    else:
        for names in asked[1], ("*.example.com",):
            with pytest.raises(errors.UsageError, match="No domain in this Qiniu account"):
                check_selection(rig.context, names, "", can_ask=False)


@pytest.mark.parametrize(("days", "lineage", "is_left"), [
    (89, "", False), (91, "", True), (91, LINEAGE, True), (20, "brief", True)])
def test_check_selection_foreign(days: float, lineage: str, is_left: bool, rig: Rig,
                                 certificate: Certificate) -> None:
    """It is weighed against one that lives as long as the lineage's last, or the usual 90 days."""
    now = dt.datetime.fromtimestamp(rig.now, dt.timezone.utc)
    if lineage == "brief":
        write_version(rig.config_dir, "brief", AUTHORITY.issue(*SANS, days=10, now=now))
        (rig.config_dir / "renewal").mkdir(exist_ok=True)
        (rig.config_dir / "renewal" / "brief.conf").write_text(paths(rig.config_dir, "brief"))
    theirs = AUTHORITY.issue(A, days=days, now=now)
    rig.qiniu.add_domain(A, protocol="https", cert_id=rig.qiniu.add_certificate(
        theirs.fullchain_pem, name="console"))
    if is_left:
        with pytest.raises(errors.UsageError, match=f"to replace it: --qiniu-domains {A}"):
            check_selection(rig.context, SANS, lineage, can_ask=True)
    else:
        assert "" == check_selection(rig.context, SANS, lineage, can_ask=True)


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


@pytest.mark.parametrize("is_ours", [True, False])
def test_baseline_of_one_that_was_let_go(rig: Rig, certificate: Certificate, *,
                                         is_ours: bool) -> None:
    """Taken again, it keeps its first baseline if it still has our certificate, only."""
    theirs = rig.upload(certificate, "bought")
    cert_id = uploaded(rig, certificate) if is_ours else theirs
    rig.qiniu.add_domain(A, protocol="https", cert_id=cert_id)
    rig.memory.update(A, lineage="old", baseline=Binding("http"), let_go=5.0)
    assert remember_baselines(rig.context, [A], LINEAGE) == {}
    record = rig.memory.domains[A]
    assert (LINEAGE, 0, Binding("http") if is_ours else Binding(
        "https", "", theirs, False, False)) == (record.lineage, record.let_go, record.baseline)


def test_baseline_unreadable(rig: Rig) -> None:
    """A domain that cannot be read has no baseline, is reported, and the others have theirs."""
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


def test_record_of_a_stranger(rig: Rig) -> None:
    """Reading a domain does not make us manage it."""
    rig.qiniu.add_domain(A)
    choose(rig, None, sans=[A])
    remembered = rig.memory.domains[A]
    assert remembered == Record(seen=remembered.seen, seen_at=rig.now)


# A dry run


SETTINGS = Settings(credentials="/etc/qiniu.ini", domains=None, http2=None, keep_certificates=1,
                    publish_timeout=1800, nginx_test_cmd="nginx -t", nginx_reload_cmd=None,
                    skip_nginx=True)


def test_rehearse(rig: Rig, certificate: Certificate) -> None:
    """Each domain that a renewal would change, or leave out, has a line; nothing is changed."""
    rig.qiniu.add_domain("example.com")
    rig.qiniu.add_domain(A)
    rig.qiniu.add_domain(B, protocol="https")
    rig.qiniu.change_domain(B, processing=30, operation="modify_cache")  # waited for
    rig.qiniu.add_domain(C, state="frozen", freeze_type="ICP")
    assert [f"  {B}: bind the new certificate",
            "  example.com: switch to HTTPS with the new certificate",
            f"  {C}: left out, it is frozen at Qiniu (ICP)",
            f"  {A}: left as it is (http only, covered only by a wildcard; list it in "
            "--qiniu-domains to switch it to HTTPS)"] == rehearse(
                rig.context, SANS, SETTINGS, "")
    assert {"GET"} == {call.split()[0] for call in rig.calls()}


def test_rehearse_knows_its_lineage(rig: Rig, certificate: Certificate) -> None:
    """What a lineage manages it may renew, and no other one."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, A)
    assert [f"  {A}: bind the new certificate"] == rehearse(rig.context, SANS, SETTINGS, LINEAGE)
    with pytest.raises(errors.UsageError, match="is to be served by a certificate for"):
        rehearse(rig.context, [A], SETTINGS, "other")


@pytest.mark.parametrize(("domains", "words"), [
    (None, "No domain in this Qiniu account"), (("gone.example.com",), "is no domain of this"),
], ids=["nothing matches", "listed and gone"])
def test_rehearse_what_would_fail(rig: Rig, domains: tuple[str, ...] | None, words: str) -> None:
    """What the real run would fail at, the dry run fails at."""
    with pytest.raises(errors.UsageError, match=words):
        rehearse(rig.context, SANS, replace(SETTINGS, domains=domains), "")


@pytest.mark.parametrize("knows", [False, True], ids=["never refused", "refused before"])
@pytest.mark.parametrize("fresh", [True, False], ids=["dry run", "reconfigure"])
def test_rehearse_an_old_one(rig: Rig, certificate: Certificate, *, fresh: bool,
                             knows: bool) -> None:
    """A dry run is judged by a new certificate, ``reconfigure`` by the present one."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.wait(65 * DAY)
    if knows:
        rig.memory.told[f"400322 {rig.client.account}"] = "refused"
    if knows and not fresh:
        with pytest.raises(errors.UsageError, match="certbot renew --force-renewal --cert-name"):
            rehearse(rig.context, SANS, SETTINGS, LINEAGE, fresh=fresh)
        return
    bind, mind = rehearse(rig.context, SANS, SETTINGS, LINEAGE, fresh=fresh)
    assert f"  {A}: bind the new certificate" == bind
    assert mind.startswith(f"  Mind: The certificate of {LINEAGE} ends in 25 days")


@pytest.mark.parametrize("knows", [False, True], ids=["never refused", "refused before"])
def test_rehearse_a_short_lived_one(rig: Rig, *, knows: bool) -> None:
    """No renewal of such a lineage helps."""
    now = dt.datetime.fromtimestamp(rig.now, dt.timezone.utc)
    write_version(rig.config_dir, LINEAGE, AUTHORITY.issue(*SANS, days=6, now=now))
    (rig.config_dir / "renewal").mkdir(exist_ok=True)
    (rig.config_dir / "renewal" / f"{LINEAGE}.conf").write_text(paths(rig.config_dir, LINEAGE))
    rig.qiniu.add_domain(A, protocol="https")
    if knows:
        rig.memory.told[f"400322 {rig.client.account}"] = "refused"
        with pytest.raises(errors.UsageError, match="use another profile"):
            rehearse(rig.context, SANS, SETTINGS, LINEAGE)
    else:
        assert "use another profile" in rehearse(rig.context, SANS, SETTINGS, LINEAGE)[-1]


@pytest.mark.parametrize("code", [403001, 500001])
def test_check_listed_unseen(rig: Rig, code: int) -> None:
    """A domain of which nobody can say whether it exists is not said to be missing."""
    rig.refuse(f"/domain/{A}", code)
    with pytest.raises(errors.UsageError, match=f"{A} is in no list .* as far as it can be seen"):
        check_listed(rig.context, SANS, [A])


def test_check_listed_forgets_listings(rig: Rig) -> None:
    """A user who runs certbot by hand may just have added a domain: lists are read anew."""
    rig.memory.listings["key"] = Listing(rig.now, {}, {})
    check_listed(rig.context, (), None)
    assert {} == rig.memory.listings
