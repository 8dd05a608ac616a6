"""Which domains a lineage serves, and why others are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certbot_qiniu.deployment.planning.selection import (
    NotChosen,
    Obstacle,
    Selection,
    candidates,
    is_excluded,
    select,
)
from certbot_qiniu.deployment.state import State
from certbot_qiniu.deployment.wording import STATES, problems, why
from certbot_qiniu.model import Binding, Domain, RemoteCertificate, covering_name, san_of
from tests.unit.facts import NAME, OLD, http, https, managed

BOUGHT = RemoteCertificate("bought", "paid", not_after=100, order_id="1")
LATER = RemoteCertificate("later", "console", not_after=201)
THEIRS = RemoteCertificate("theirs", "certbot_x_0123456789ab", not_after=100)
FOREIGN = {item.cert_id: item for item in (BOUGHT, LATER, THEIRS)}
"""What is not ours, where it is 10 now and ours ends at 200."""

SANS = ("example.com", "*.example.com", "a.example.org")


def account(*domains: Domain) -> dict[str, Domain]:
    """The domains of an account, by name."""
    return {domain.name: domain for domain in domains}


def choose(domains: Mapping[str, Domain], listed: Sequence[str] | None = None,
           **changes: Any) -> Selection:
    """The selection for a certificate of the lineage ``example.com``."""
    return select(domains, SANS, listed,
                  **{"lineage": "example.com", "state": {}, "foreign": FOREIGN, "ends": 200,
                     "now": 10, **changes})


def owned_by(lineage: str, name: str = NAME) -> State:
    """A desired state in which a lineage manages a domain."""
    return {name: managed(Binding("https", OLD), name, lineage)}


def unusable(*, certificate: str = "old") -> dict[str, tuple[Domain, str]]:
    """Domains that can serve no certificate of ours, and the words for each."""
    return {
        "a test domain": (https(certificate, kind="test"), "is a test domain of Qiniu's"),
        "a DCDN domain": (https(certificate, product="dcdn"), "is a DCDN domain"),
        "not operable": (https(certificate, operable=False), "cannot be changed by this account"),
    } | {state: (https(certificate, state=state, state_reason="why"), f"{words} (why)")
         for state, words in STATES.items()}


def test_nothing_covered() -> None:
    """Domains that the certificate does not cover are not even mentioned."""
    domains = account(https(name="example.net"), https(name="a.b.example.com"),
                      https(name=".example.org"), http(name=".a.example.com"))
    assert choose(domains) == Selection()
    assert choose({}) == Selection()


@pytest.mark.parametrize("domain", [
    http(name="example.com"), http(name=".example.com"), http(name="a.example.org"),
    https(name="example.com"),
    http(name="example.com", state="failed"), http(name="example.com", state="processing"),
    https(name=".example.com", kind="wildcard"), https(kind="pan"),
], ids=["apex", "wildcard", "other", "https", "failed", "processing",
        "https wildcard", "pan"])
def test_named_domain(domain: Domain) -> None:
    """A domain that the certificate names is chosen, even if it speaks http only."""
    assert choose(account(domain)) == Selection((domain.name,))


def test_http_by_wildcard() -> None:
    """An http domain that only a wildcard covers is never switched to https by itself."""
    assert choose(account(http())) == Selection(http_only=(NAME,))


def test_https_by_wildcard() -> None:
    """An https domain that only a wildcard covers is chosen."""
    assert choose(account(https())) == Selection((NAME,))


@pytest.mark.parametrize("name", [NAME, "example.com"], ids=["by wildcard", "by its name"])
@pytest.mark.parametrize("served", [BOUGHT, LATER], ids=["bought", "ends later"])
def test_foreign(served: RemoteCertificate, name: str) -> None:
    """A domain that serves a better certificate is left out, and named with that."""
    domains = account(https(served.cert_id, name=name))
    for take_over in (False, True):
        assert choose(domains, take_over=take_over) == Selection(
            left_out=(NotChosen(name, Obstacle.FOREIGN, foreign=served),))
    assert choose(domains, foreign={}) == Selection((name,))
    assert choose(domains, ends=202, now=101) == Selection((name,))
    assert choose(account(http(cert_id=served.cert_id))) == Selection(http_only=(NAME,))


def test_other_installation() -> None:
    """What another installation has put there is left while it is newer, and that is a problem."""
    left = Selection(problems=(NotChosen(NAME, Obstacle.OTHER_INSTALLATION, foreign=THEIRS),))
    sooner = {"ends": THEIRS.not_after - 1}
    assert choose(account(https("theirs")), **sooner) == left
    assert choose(account(https("theirs"))) == Selection((NAME,)), "ours is newer"
    assert choose(account(https("theirs")), take_over=True, **sooner) == Selection((NAME,))
    assert choose(account(https("theirs")), now=100, **sooner) == Selection((NAME,))
    assert choose(account(https("theirs", name="example.com")), **sooner).chosen == ()
    assert choose(account(https("theirs")), **sooner, state=owned_by("example.com"),
                  alive={"example.com"}) == Selection((NAME,))


@pytest.mark.parametrize(("domains", "expected"), [
    ([https("later")], True), ([https("later"), http(name="x.example.com")], True),
    ([https("later"), https(name="x.example.com", state="frozen")], True), ([], False),
    ([https(state="frozen")], False), ([http()], False),
    ([https("later"), https(name="x.example.com")], False),
    ([https("later"), https("theirs", name="x.example.com")], False),
], ids=["it alone", "http beside it", "frozen beside it", "none", "frozen", "http", "chosen",
        "another installation's"])
def test_all_foreign(domains: list[Domain], expected: bool) -> None:
    """Whether better certificates are the reason that nothing is chosen."""
    assert expected == choose(account(*domains)).is_left_on_purpose


def test_given_back() -> None:
    """What a rollback of another lineage holds is left, unless a user asks for it."""
    domains, given_back = account(https(), https(name="x.example.com")), lambda: {NAME: "other"}
    left = (NotChosen(NAME, Obstacle.GIVEN_BACK, lineage="other"),)
    assert choose(domains, given_back=given_back) == Selection(("x.example.com",), left)
    assert choose(account(https()), given_back=given_back).is_left_on_purpose
    for taken in ({"take_over": True}, {"listed": [NAME]},
                  {"state": owned_by("example.com"), "alive": {"example.com"}}):
        assert NAME in choose(domains, given_back=given_back, **taken).chosen


def test_other_lineage() -> None:
    """What another living lineage manages stays with it; a deleted lineage manages nothing."""
    domains = account(https(), https(name="example.com"))
    state = {**owned_by("other"), **owned_by("other", "example.com")}
    assert choose(domains, state=state, alive={"other", "example.com"}) == Selection(left_out=(
        NotChosen("example.com", Obstacle.OTHER_LINEAGE, lineage="other"),
        NotChosen(NAME, Obstacle.OTHER_LINEAGE, lineage="other")))
    assert choose(domains, state=state, alive={"example.com"}) == Selection(
        ("example.com", NAME))


def test_managed_already() -> None:
    """What this lineage manages stays chosen: on http, and with a bought certificate."""
    ours: dict[str, Any] = {"state": owned_by("example.com"), "alive": {"example.com"}}
    assert choose(account(http()), **ours) == Selection((NAME,))
    for cert_id in FOREIGN:
        assert choose(account(https(cert_id)), **ours) == Selection((NAME,))


def test_managed_by_a_namesake() -> None:
    """A lineage that was deleted and made anew has no claim before its certificate is there."""
    assert choose(account(http()), state=owned_by("example.com"), alive=()) == Selection(
        http_only=(NAME,))


@pytest.mark.parametrize(("domain", "words"), unusable().values(), ids=unusable().keys())
def test_left_out(domain: Domain, words: str) -> None:
    """A domain that can serve no certificate is left out with the reason, even when named."""
    for name in (NAME, "example.com"):
        found = choose(account(replace(domain, name=name)), state=owned_by("example.com", name),
                       alive={"example.com"})
        assert (found.chosen, found.http_only, found.problems) == ((), (), ())
        [left] = found.left_out
        assert left.name == name
        assert why(left).startswith(words)


@pytest.mark.parametrize(("domain", "words"), unusable().values(), ids=unusable().keys())
def test_listed_and_unusable(domain: Domain, words: str) -> None:
    """A listed domain that can serve no certificate is a problem."""
    found = choose(account(domain), [NAME])
    assert (found.chosen, found.left_out) == ((), ())
    [problem] = problems(found)
    assert problem.startswith(f"{NAME} {words}")


@pytest.mark.parametrize("domain", [http(), https(), *map(https, FOREIGN)],
                         ids=["http", "https", *FOREIGN])
def test_listed(domain: Domain) -> None:
    """A listed domain that is covered is chosen, whatever it serves now; others are not."""
    domains = account(domain, https(name="example.com"))
    assert choose(domains, [NAME]) == Selection((NAME,))


def test_listed_order() -> None:
    """Listed domains stay in the user's order, and problems do not hide each other."""
    domains = account(http(), http(name="example.com"), http(name="example.net"))
    found = choose(domains, [NAME, "example.net", "example.com", "gone.example.com"])
    assert found.chosen == (NAME, "example.com")
    assert len(found.problems) == 2


def test_listed_not_covered() -> None:
    """A listed domain that the certificate does not cover is a problem that names its SANs."""
    assert problems(choose(account(https(name="example.net")), ["example.net"])) == [
        "example.net is not covered by the certificate, which is for "
        "*.example.com, a.example.org, example.com"]


def test_listed_not_found() -> None:
    """A listed domain that does not exist comes with near misses and what the account has."""
    domains = account(https(), http(name="cdn.example.net"))
    [problem] = problems(choose(domains, ["wwww.example.com"]))
    assert problem == (
        "wwww.example.com is no domain of this Qiniu account in the services that "
        "--qiniu-services names. Did you mean www.example.com? "
        "The account has: cdn.example.net, www.example.com")


def test_listed_not_found_in_empty_account() -> None:
    """An account without domains is called so."""
    [problem] = problems(choose({}, [NAME]))
    assert problem.endswith("names. The account has: no domain at all")


def test_listed_not_found_in_large_account() -> None:
    """Of a large account the first twenty domains are shown, and how many more there are."""
    names = [f"d{number:03}.example.net" for number in range(21)]
    [problem] = problems(choose(account(*(http(name=name) for name in names)), ["x.example.com"]))
    assert "Did you mean" not in problem
    assert problem.endswith(f"{', '.join(names[:20])} and 1 more")
    [problem] = problems(choose(account(*(http(name=name) for name in names[:20])), ["x.cn"]))
    assert problem.endswith(", ".join(names[:20]))


def test_listed_of_other_lineage() -> None:
    """A listed domain of another living lineage is taken by certbot install alone."""
    ours: dict[str, Any] = {"state": owned_by("other"), "alive": {"other", "example.com"}}
    assert problems(choose(account(https()), [NAME], **ours)) == [
        f"{NAME} is managed by the lineage other: take it out of one of the two "
        "--qiniu-domains lists"]
    assert choose(account(https()), [NAME], take_over=True, **ours) == Selection((NAME,))
    dead = {**ours, "alive": {"example.com"}}
    assert choose(account(https()), [NAME], **dead) == Selection((NAME,))


ANY_DOMAINS = st.builds(
    Domain, st.sampled_from(["example.com", ".example.com", NAME, "x.example.com", "example.net"]),
    kind=st.sampled_from(["normal", "test"]), protocol=st.sampled_from(["http", "https"]),
    state=st.sampled_from(["success", "processing", "frozen"]), operable=st.booleans(),
    cert_id=st.sampled_from(["", "new", *FOREIGN]))


@given(st.lists(ANY_DOMAINS, unique_by=lambda domain: domain.name), st.booleans(),
       st.sampled_from(["example.com", "other", "dead"]))
@settings(deadline=None, max_examples=200)
def test_selection_is_a_partition(domains: list[Domain], is_listed: bool, owner: str) -> None:
    """Each domain that is covered, or listed, is in just one of the answers; others in none."""
    listed = [domain.name for domain in domains] if is_listed else None
    by_name = account(*domains)
    found = choose(by_name, listed, state=owned_by(owner), alive={"example.com", "other"})
    told = [*found.chosen, *found.http_only,
            *(left.name for left in (*found.left_out, *found.problems))]
    expected = [domain.name for domain in domains
                if is_listed or covering_name(SANS, domain.name)]
    assert sorted(told) == sorted(expected)
    for name in found.chosen:
        assert covering_name(SANS, name)
        assert by_name[name].state != "frozen"
        assert by_name[name].operable
    assert bool(found.problems) <= is_listed
    ours = {NAME} if owner == "example.com" else set()
    read = {domain.name for domain in candidates(domains, SANS, listed, ours)}
    assert set(found.chosen) <= read, "a domain was chosen whose details nobody asked for"


def test_candidates() -> None:
    """Details are wanted only of domains that they can matter for."""
    domains = [http(name="example.com"), http(), https(name="x.example.com"),
               https(name="y.example.com", kind="test"), https(name="example.net")]
    auto = candidates(domains, SANS, None, ())
    assert [domain.name for domain in auto] == ["example.com", "x.example.com"]
    listed = candidates(domains, SANS, [NAME, "y.example.com"], ())
    assert [domain.name for domain in listed] == [NAME]
    assert [domain.name for domain in candidates(domains, SANS, None, {NAME})] == [
        "example.com", NAME, "x.example.com"]


def test_san_of() -> None:
    """A wildcard at Qiniu has its own way to be written in a certificate."""
    assert san_of(".example.com") == "*.example.com"
    assert san_of("a.example.com") == "a.example.com"


# What the user leaves out -------------------------------------------------------------------------


@pytest.mark.parametrize(("entry", "names"), [
    (".example.com", {".example.com"}),
    ("*.example.com", {".example.com", "a.example.com", "b.a.example.com", ".a.example.com"}),
    ("a.example.com", {"a.example.com"}), ("example.com", {"example.com"}),
    ("*.a.example.com", {"b.a.example.com", ".a.example.com"}), ("*.com", {
        ".example.com", "a.example.com", "b.a.example.com", ".a.example.com", "example.com",
        "anexample.com"})])
def test_is_excluded(entry: str, names: set[str]) -> None:
    """A name is that domain alone, with an asterisk all that is below it, too."""
    domains = {".example.com", "a.example.com", "b.a.example.com", ".a.example.com", "example.com",
               "anexample.com"}
    assert names == {name for name in domains if is_excluded(name, [entry])}
    assert names == {name for name in domains if is_excluded(name, ["x.example", entry])}
    assert not any(is_excluded(name, ()) for name in domains)


@pytest.mark.parametrize("domain", [
    https(), http(), http(name="example.com"), https(name=".example.com", kind="wildcard"),
    https("later"), https(state="frozen"), https(kind="test"), https("theirs")],
    ids=["https", "http", "named", "wildcard", "better", "frozen", "test", "theirs"])
@pytest.mark.parametrize("changes", [
    {}, {"state": owned_by("example.com"), "alive": {"example.com"}},
    {"state": owned_by("other"), "alive": {"other"}}, {"back": [NAME]}, {"take_over": True}],
    ids=["unmanaged", "managed", "another lineage's", "back", "install"])
def test_excluded(domain: Domain, changes: dict[str, Any]) -> None:
    """It is never taken, whatever it is and whoever has it, and named with just that."""
    excluded = [domain.name]
    assert choose(account(domain), excluded=excluded, **changes) == Selection(
        left_out=(NotChosen(domain.name, Obstacle.EXCLUDED),))
    assert "is named by --qiniu-exclude" == why(NotChosen(domain.name, Obstacle.EXCLUDED))
    assert [] == candidates([domain], SANS, None, [domain.name], excluded=excluded), "not read"


@pytest.mark.parametrize(("domains", "expected"), [
    ([https()], True), ([https(), https("later", name="x.example.com")], True),
    ([https(), https(name="x.example.com", state="frozen")], True),
    ([https(), https(name="x.example.com")], False),
    ([https(), https("theirs", name="x.example.com")], True)],
    ids=["it alone", "a better one beside it", "frozen beside it", "chosen", "ours is newer"])
def test_all_excluded(domains: list[Domain], expected: bool) -> None:
    """Whether that is why nothing is chosen."""
    excluded = [NAME, *(["x.example.com"] if expected and domains[-1].cert_id == "theirs" else [])]
    assert expected == choose(account(*domains), excluded=excluded).is_left_on_purpose
