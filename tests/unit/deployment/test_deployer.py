"""A lineage's desired state: which domains it has, when it changes, and what is written of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.deployment import rollback
from certbot_qiniu.deployment.context import Options
from certbot_qiniu.deployment.deployer import Deployer, open_deployer
from certbot_qiniu.deployment.planning.bindings import refusal_key
from certbot_qiniu.deployment.reconcile import Outcome
from certbot_qiniu.deployment.state import Managed, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import Binding, Certificate, Domain
from certbot_qiniu.options import Settings
from tests.unit.deployment.account import LINEAGE, A, B, C, read
from tests.unit.deployment.desired import (
    KEYS,
    SETTINGS,
    Accounts,
    Checkpoints,
    entry,
    files_of,
    manage,
    state,
)
from tests.unit.rig import DOMAIN_LIST, Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def none_of(names: tuple[str, ...]) -> Iterable[str]:
    """Switch no domain to HTTPS."""
    return ()


def deploy(deployer: Deployer, certificate: Certificate, settings: Settings = SETTINGS,
           redirect: bool | None = None) -> State:
    """Deploy without switching anything to HTTPS."""
    return deployer.deploy(certificate, settings, redirect, none_of)


# Accounts


@pytest.mark.parametrize(("services", "expected"), [
    ((), {"cdn", "kodo", "pili"}), (("cdn",), {"cdn"}), (("cdn", "pili"), {"cdn", "pili"}),
], ids=["usual and used", "chosen", "more"])
def test_services(rig: Rig, deployer: Deployer, accounts: Accounts, services: Collection[str],
                  expected: set[str]) -> None:
    """If nobody chooses, the usual services matter, and those in which we have domains."""
    manage(rig, entry(A, service="pili"))
    deployer.context(KEYS, services)
    assert [(KEYS, expected)] == accounts.asked


def test_services_to_restore(rig: Rig, deployer: Deployer, accounts: Accounts) -> None:
    """A domain that a rollback has given up is in use until it is restored."""
    rig.memory.update(A, service="pili", lineage=LINEAGE, baseline=Binding("http"))
    rig.memory.update(B, service="another", lineage=LINEAGE)
    deployer.context(KEYS)
    assert [(KEYS, {"cdn", "kodo", "pili"})] == accounts.asked


def test_services_of_a_lineage(rig: Rig, deployer: Deployer, accounts: Accounts) -> None:
    """Settling one lineage asks for its services, and for no other's."""
    manage(rig, entry(A, service="pili"), entry(B, service="other", lineage="other"))
    rig.account.services["pili"] = rig.account.services["cdn"]
    rig.qiniu.add_domain(A)
    deployer.settle(LINEAGE, replace(SETTINGS, services=("cdn",)), Options())
    assert [(KEYS, {"cdn", "pili"})] * 2 == accounts.asked


def test_notes(rig: Rig, deployer: Deployer) -> None:
    """What the services note of an account ends up in our memory."""
    context = deployer.context(KEYS)
    context.account.notes.told["name"] = "kodo"
    assert {"name": "kodo"} == rig.memory.told
    assert context.account.notes.listings is rig.memory.listings
    assert rig.now == context.account.notes.clock()


@pytest.mark.parametrize(("told", "remembered", "expected"), [
    (KEYS, "/old.ini", KEYS), (None, "/old.ini", "/old.ini"), (KEYS, "", KEYS), (None, "", ""),
], ids=["told and remembered", "remembered", "told", "neither"])
def test_credentials(rig: Rig, deployer: Deployer, told: str | None, remembered: str,
                     expected: str) -> None:
    """A run's own credentials come before those that a rollback without flags remembers."""
    rig.memory.lineage(LINEAGE).credentials = remembered
    settings = replace(SETTINGS, credentials=told)
    assert expected == deployer.credentials_of(LINEAGE, settings)


def test_credentials_are_remembered(rig: Rig, deployer: Deployer, certificate: Certificate,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is remembered whole: a rollback is run as a timer without a home."""
    monkeypatch.setenv("HOME", "/users/me")
    rig.qiniu.add_domain(A, protocol="https")
    for told, expected in (("~/qiniu.ini", "/users/me/qiniu.ini"), (KEYS, KEYS)):
        deploy(deployer, certificate, replace(SETTINGS, credentials=told))
        assert expected == rig.memory.lineage(LINEAGE).credentials


def test_relative_credentials(rig: Rig, deployer: Deployer, certificate: Certificate) -> None:
    """A conf that names a file without its folder is refused, with the command that fixes it."""
    rig.qiniu.add_domain(A, protocol="https")
    relative = replace(SETTINGS, credentials="keys/q.ini")
    command = f"certbot reconfigure --cert-name {LINEAGE} -i qiniu --qiniu-credentials /PATH/TO/"
    for work in (lambda: deploy(deployer, certificate, relative),
                 lambda: deployer.converge(LINEAGE, relative),
                 lambda: deployer.settle(LINEAGE, relative, Options())):
        with pytest.raises(errors.UsageError, match=command):
            work()
    assert rig.memory.lineage(LINEAGE).credentials != "keys/q.ini"
    assert [] == rig.calls()


def test_other_installer_is_remembered(rig: Rig, deployer: Deployer,
                                       certificate: Certificate) -> None:
    """The other installer is that of the last run, even if it is none any more."""
    rig.qiniu.add_domain(A, protocol="https")
    for name, options in (("nginx", "--nginx-ctl /x"), (None, "")):
        deploy(deployer, certificate, replace(
            SETTINGS, other_installer=name, other_installer_options=options))
        memory = rig.memory.lineage(LINEAGE)
        assert (name or "", options) == (
            memory.other_installer, memory.other_installer_options)


# Deploying


def test_deploy(rig: Rig, deployer: Deployer, certificate: Certificate,
                checkpoints: Checkpoints) -> None:
    """The desired state gets the domains of the certificate; nothing of it is written yet."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain("other.example.net", protocol="https")
    others = entry("x.example.org", lineage="other")
    manage(rig, others)
    before = files_of(rig)
    expected = state(others, entry(A, certificate))
    assert expected == deploy(deployer, certificate)
    assert (before, [], []) == (files_of(rig), checkpoints.kept, checkpoints.ended)
    assert (LINEAGE, Binding("https", "", "", False, False)) == (
        rig.memory.domains[A].lineage, rig.memory.domains[A].baseline)


@pytest.mark.parametrize(("redirect", "former", "expected"), [
    (None, None, None), (True, None, True), (False, None, False),
    (None, True, True), (False, True, False), (True, False, True),
], ids=str)
def test_redirect_option(rig: Rig, deployer: Deployer, certificate: Certificate,
                         redirect: bool | None, former: bool | None,
                         expected: bool | None) -> None:
    """A redirect is as asked for, and as it was if nobody asks; HSTS stays as it was."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, entry(A, force_https=former, hsts=True))
    settings = replace(SETTINGS, http2=False)
    assert state(entry(A, certificate, force_https=expected, http2=False, hsts=True)) == deploy(
        deployer, certificate, settings, redirect)


def test_deploy_asks(rig: Rig, deployer: Deployer, certificate: Certificate) -> None:
    """Which domains are switched to HTTPS, the user decides; the others are named."""
    for name in (A, B):
        rig.qiniu.add_domain(name)
    asked: list[tuple[str, ...]] = []
    found = deployer.deploy(certificate, SETTINGS, None,
                            lambda names: (asked.append(names), [A])[1])
    assert ([(A, B)], [A]) == (asked, list(found))
    [told] = rig.said
    assert told.startswith(f"{B}: http only")


def test_deploy_drops(rig: Rig, deployer: Deployer, certificate: Certificate) -> None:
    """A domain that the user does not list any more leaves the desired state."""
    for name in (A, B):
        rig.qiniu.add_domain(name, protocol="https")
    manage(rig, entry(A), entry(B))
    found = deploy(deployer, certificate, replace(SETTINGS, domains=(B,)))
    assert state(entry(B, certificate)) == found


def test_deploy_service(rig: Rig, deployer: Deployer, certificate: Certificate) -> None:
    """A domain is managed in the service in which it was read."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, entry(A, service="kodo"))
    assert "kodo" == deploy(deployer, certificate)[A].service


@pytest.mark.parametrize(("domains", "words"), [
    (("gone.example.com",), "gone.example.com is no domain of this Qiniu account"),
    ((A, "www.example.org"), "www.example.org is not covered"),
    (None, "No domain in this Qiniu account is to be served"),
], ids=["gone", "not covered", "nothing matches"])
def test_deploy_refused(rig: Rig, deployer: Deployer, certificate: Certificate,
                        domains: tuple[str, ...] | None, words: str) -> None:
    """What cannot be served is an error before anything changes, with all there is to know."""
    rig.qiniu.add_domain("www.example.org")
    rig.qiniu.add_domain(A)
    with pytest.raises(errors.UsageError, match=words):
        deploy(deployer, certificate, replace(SETTINGS, domains=domains))
    assert {} == rig.store.state


def test_deploy_without_a_baseline(rig: Rig, deployer: Deployer,
                                   certificate: Certificate) -> None:
    """What a domain serves now must be known, or no rollback could bring it back."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, entry(A))
    rig.memory.update(A, baseline=None)
    rig.refuse(f"/domain/{A}", 403001)
    with pytest.raises(errors.Refused, match=A):
        deploy(deployer, certificate)


@pytest.mark.parametrize(("services", "is_error"), [
    (("cdn", "kodo"), False), (("kodo",), True), (("cdn", "pili"), False)],
    ids=["default", "chosen", "another one fails"])
def test_service_that_cannot_be_listed(rig: Rig, deployer: Deployer, certificate: Certificate,
                                       services: tuple[str, ...], *, is_error: bool) -> None:
    """A service that fails is an error for who chose it; the default is a try."""
    class Broken:
        name, publishes = "kodo", False

        def list(self) -> list[Domain]:
            raise errors.Refused("list the buckets", "no")

    rig.qiniu.add_domain(A, protocol="https")
    rig.account.services["kodo"] = Broken()  # type: ignore[assignment]
    rig.account.optional = {"kodo"}
    settings = replace(SETTINGS, services=services)
    if is_error:
        with pytest.raises(errors.UsageError, match="list the buckets"):
            deploy(deployer, certificate, settings)
    else:
        assert [A] == list(deploy(deployer, certificate, settings))


# Renewing


def test_converge(rig: Rig, deployer: Deployer, certificate: Certificate,
                  checkpoints: Checkpoints) -> None:
    """A renewal brings its domains to the new certificate, and new ones too, in a checkpoint."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain(B, protocol="https")
    manage(rig, entry(A, force_https=True))
    assert not deployer.converge(LINEAGE, SETTINGS)
    assert state(entry(A, certificate, force_https=True), entry(B, certificate)) == rig.store.state
    assert [f"Deployed renewed certificate {LINEAGE}"] == checkpoints.ended
    assert not deployer.converge(LINEAGE, SETTINGS)
    assert 1 == len(checkpoints.ended), "a renewal that changes nothing needs no checkpoint"


def test_converge_tells_and_remembers(rig: Rig, deployer: Deployer,
                                      certificate: Certificate) -> None:
    """What a renewal leaves out is named, and what it was told is there for a rollback."""
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain(B)
    deployer.converge(LINEAGE, replace(SETTINGS, other_installer="nginx"))
    [told] = rig.said
    assert told.startswith(f"{B}: http only")
    memory = rig.memory.lineage(LINEAGE)
    assert (KEYS, "nginx") == (memory.credentials, memory.other_installer)


@pytest.mark.parametrize("held", [True, False], ids=["newest", "older"])
def test_converge_on_hold(rig: Rig, deployer: Deployer, certificate: Certificate,
                          checkpoints: Checkpoints, *, held: bool) -> None:
    """What a rollback took back is not deployed by itself; a newer certificate ends that."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, entry(A))
    rig.memory.lineage(LINEAGE).hold = certificate.fingerprint if held else "cd" * 32
    assert not deployer.converge(LINEAGE, SETTINGS)
    assert held == (state(entry(A)) == rig.store.state)
    assert held == bool(rig.memory.lineage(LINEAGE).hold)
    assert [*DOMAIN_LIST, *(read(A) if held else ())] == rig.calls(), "what is served counts"


@pytest.mark.parametrize(("managed", "changes", "words"), [
    (entry("www.example.org"), {}, "the certificate example.com does not cover it"),
    (entry(B, service="pili"), {}, f"{B} is let go, as --qiniu-services leaves"),
    (entry(B), {"domains": (A,)}, f"{B} is let go, as --qiniu-domains does not name it"),
], ids=["not covered", "service left out", "not listed"])
def test_converge_lets_go(rig: Rig, deployer: Deployer, certificate: Certificate,
                          managed: Managed, changes: dict[str, Any], words: str,
                          caplog: pytest.LogCaptureFixture) -> None:
    """A domain that the lineage is not for any more keeps what it serves, and that is said."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, entry(A), managed)
    with caplog.at_level(logging.WARNING):
        assert not deployer.converge(LINEAGE, replace(SETTINGS, **changes))
    assert state(entry(A, certificate)) == rig.store.state
    assert words in caplog.text
    record = rig.memory.domains[managed.name]
    assert (LINEAGE, Binding("http")) == (record.lineage, record.baseline)
    assert record.let_go
    assert not record.is_ours


@pytest.mark.parametrize("broken", ["list", "credentials", "domain"])
def test_converge_without_an_account(rig: Rig, deployer: Deployer, certificate: Certificate,
                                     broken: str) -> None:
    """Domains that we have get the new certificate in any case; what went wrong is reported."""
    rig.qiniu.add_domain(A, protocol="https")
    manage(rig, entry(A))
    settings = SETTINGS
    if broken == "list":
        rig.refuse("/domain", 403001, times=9)
    elif broken == "credentials":
        settings = replace(SETTINGS, credentials="/broken.ini")
    else:
        rig.qiniu.add_domain(B, protocol="https")
        rig.refuse(f"/domain/{B}", 403001, times=9)
    problems = deployer.converge(LINEAGE, settings)
    assert problems
    assert state(entry(A, certificate)) == rig.store.state


def test_converge_nothing(rig: Rig, deployer: Deployer, certificate: Certificate,
                          checkpoints: Checkpoints) -> None:
    """A renewal for which there is no domain says so: somebody expects it to serve one."""
    [problem] = deployer.converge(LINEAGE, SETTINGS).errors
    assert "No domain in this Qiniu account" in str(problem)
    assert [] == checkpoints.ended


def test_converge_without_a_certificate(rig: Rig, deployer: Deployer) -> None:
    """A lineage that cannot be read is an error, and forgets nothing."""
    manage(rig, entry(A))
    with pytest.raises(errors.UsageError, match=f"The certificate {LINEAGE} cannot be used"):
        deployer.converge(LINEAGE, SETTINGS)
    assert state(entry(A)) == rig.store.state


# Enhancements


def enhanced(deployer: Deployer, how: str, desired: State, san: str) -> set[str]:
    """The domains whose bindings an enhancement changes."""
    found = getattr(deployer, how)(desired, LINEAGE, san)
    return {name for name in desired if found[name] != desired[name]}


@pytest.mark.parametrize("how", ["redirect", "hsts"])
@pytest.mark.parametrize(("san", "expected"), [
    ("*.example.com", {A, ".example.com"}), ("*.EXAMPLE.com", {A, ".example.com"}), (A, {A}),
    ("example.com", {"example.com"}), ("example.org", set()),
])
def test_enhancements(deployer: Deployer, how: str, san: str, expected: set[str]) -> None:
    """An enhancement is for what the SAN covers and the lineage serves, and nothing else."""
    desired = state(entry(A), entry(".example.com"), entry("example.com"),
                    entry(B, lineage="other"))
    assert expected == enhanced(deployer, how, desired, san)


def test_redirect(deployer: Deployer) -> None:
    """A redirect forces HTTPS, and nothing else about the binding."""
    assert state(entry(A, force_https=True, http2=False)) == deployer.redirect(
        state(entry(A, http2=False)), LINEAGE, A)


def test_hsts(rig: Rig, deployer: Deployer) -> None:
    """HSTS that was refused before is asked for again; what is ours stays ours."""
    rig.memory.update(A, hsts="refused")
    rig.memory.update(B, hsts="refused")
    assert state(entry(A, hsts=True), entry(B)) == deployer.hsts(
        state(entry(A), entry(B)), LINEAGE, A)
    assert ("", "refused") == (rig.memory.domains[A].hsts, rig.memory.domains[B].hsts)


def test_hsts_elsewhere(rig: Rig, deployer: Deployer) -> None:
    """A user who asks for HSTS where Qiniu has none gets one warning."""
    once = deployer.hsts(state(entry(A, service="kodo"), entry(B)), LINEAGE, "*.example.com")
    deployer.hsts(once, LINEAGE, "*.example.com")
    assert [f"{A}: Qiniu has HSTS for CDN domains only; left without"] == rig.said


# Damage


def test_damaged_lineage(rig: Rig, deployer: Deployer, certificate: Certificate) -> None:
    """A lineage with a damaged file is neither changed nor settled; others are both."""
    other = rig.renew("z", C)
    rig.qiniu.add_domain(A, protocol="https")
    rig.qiniu.add_domain(C)
    manage(rig, entry(A, certificate), entry(C, other, lineage="z"))
    rig.store.damaged[LINEAGE] = errors.StateError("damaged")
    for work in (lambda: deploy(deployer, certificate), lambda: deployer.writer.write({A: None}),
                 lambda: deployer.converge(LINEAGE, SETTINGS),
                 lambda: deployer.settle(LINEAGE, SETTINGS, Options())):
        with pytest.raises(errors.StateError, match="damaged"):
            work()
    assert Outcome(["damaged"], [C], [C]) == deployer.settle_all(SETTINGS, Options())
    rollback.check(deployer, SETTINGS, 1)


@pytest.mark.parametrize(("former", "wanted", "seen", "known", "expected"), [
    (None, True, False, None, False), (None, False, True, None, True), (True, False, True, None,
    None), (True, False, True, False, False), (True, None, True, False, None),
    (None, True, None, True, True), (None, None, True, False, False),
    (None, True, True, False, False)], ids=str)
def test_before_http2(rig: Rig, deployer: Deployer, former: bool | None, wanted: bool | None,
                      seen: bool | None, known: bool | None, expected: bool | None) -> None:
    """Likewise what it had before HTTP/2 was asked for; to keep what is there undoes nothing."""
    manage(rig, entry(A, http2=former))
    rig.memory.update(A, former_http2=known, seen=Domain(A, http2=seen))
    deployer.write(state(entry(A, http2=wanted)), SETTINGS)
    assert expected == rig.memory.domains[A].former_http2


@pytest.mark.parametrize("former", [None, True], ids=str)
def test_reads_what_changes(rig: Rig, deployer: Deployer, former: bool | None) -> None:
    """What somebody has changed since the last reading is what a rollback returns to."""
    for name in (A, B):
        rig.qiniu.add_domain(name, protocol="https", http2=True)
        rig.memory.update(name, seen=Domain(name, modified="0", http2=False))
    manage(rig, entry(A, http2=former), entry(B))
    rig.memory.lineage(LINEAGE).credentials = "/broken.ini"
    deployer.write(state(entry(A, http2=True), entry(B)), SETTINGS)
    assert (None if former else True) == rig.memory.domains[A].former_http2
    assert [f"GET /domain/{A}"] * (not former) == [
        call for call in rig.calls() if call.startswith("GET /domain/")]


def test_nothing_can_be_read_of_what_changes(rig: Rig, deployer: Deployer) -> None:
    """Then what was seen last has to do."""
    manage(rig, entry(A))
    rig.memory.update(A, seen=Domain(A, http2=False))
    deployer.write(state(entry(A, http2=True)), SETTINGS)
    assert rig.memory.domains[A].former_http2 is False


def test_refused_versions_of_another_lineage(rig: Rig, deployer: Deployer) -> None:
    """To ask for other TLS versions forgets the refusal of these and the former, not of others."""
    older, newer = ("TLSv1.2",), ("TLSv1.3",)
    keys = {asked: refusal_key("account", "tlsVersions", asked)
            for asked in (older, newer, older + newer, None)}
    rig.memory.told.update(dict.fromkeys([*keys.values(), "another"], "1000000 refused"))
    manage(rig, entry(A, tls_versions=newer))
    deployer.write(state(entry(A, tls_versions=older)), SETTINGS)
    assert [keys[older + newer], keys[None], "another"] == [*rig.memory.told]


# Settling


def test_settle(rig: Rig, deployer: Deployer, certificate: Certificate) -> None:
    """A lineage is settled with the credentials that are remembered, and told as it goes."""
    rig.qiniu.add_domain(A)
    manage(rig, entry(A, certificate))
    rig.memory.lineage(LINEAGE).credentials = "/old.ini"
    outcome = deployer.settle(LINEAGE, replace(SETTINGS, credentials=None), Options(wait=True))
    assert Outcome(changed=[A]) == outcome
    assert f"{A}: published" in rig.said
    assert certificate.fingerprint == rig.qiniu.serving(A).fingerprint


def test_settle_all(rig: Rig, deployer: Deployer, certificate: Certificate) -> None:
    """A lineage whose account cannot be used stops none of the others, before or after it."""
    for name in (A, B, C):
        rig.qiniu.add_domain(name)
    last = rig.renew("z", C)
    manage(rig, entry(A, certificate), entry(B, lineage="middle"), entry(C, last, lineage="z"))
    for lineage, path in ((LINEAGE, KEYS), ("middle", "/broken.ini"), ("z", KEYS)):
        rig.memory.lineage(lineage).credentials = path
    outcome = deployer.settle_all(replace(SETTINGS, credentials=None), Options())
    assert Outcome(["bad credentials: /broken.ini"], [A, C], [A, C]) == outcome


def test_settle_all_of_nothing(deployer: Deployer) -> None:
    """A lineage with nothing at Qiniu has no problem there."""
    assert Outcome() == deployer.settle_all(SETTINGS, Options())


def test_fingerprints(rig: Rig, deployer: Deployer, certificate: Certificate) -> None:
    """A lineage's fingerprints come with its name: others may have the same certificate."""
    manage(rig, entry(A, certificate), entry(B), entry(C, lineage="other"))
    assert {(LINEAGE, certificate.fingerprint), (LINEAGE, "ab" * 32)} == deployer.fingerprints(
        LINEAGE)
    assert set() == deployer.fingerprints("none")


def test_all_lineages(rig: Rig, deployer: Deployer) -> None:
    """A lineage counts while it manages a domain, or has one to restore."""
    manage(rig, entry(A, lineage="b"))
    rig.memory.update(B, lineage="a", baseline=Binding("http"))
    rig.memory.update(C, lineage="c")
    assert ["a", "b"] == deployer.all_lineages()


# Opening


def config(folder: Path) -> Any:
    """certbot's configuration, as far as it is needed here."""
    return SimpleNamespace(config_dir=str(folder / "etc"), backup_dir=str(folder / "backups"))


@pytest.mark.parametrize("read_only", [True, False])
def test_open_deployer(tmp_path: Path, *, read_only: bool) -> None:
    """An open deployer has its files, and keeps nothing on the disk if it only looks."""
    deployer = open_deployer(config(tmp_path), print, read_only=read_only)
    assert ({}, tmp_path / "backups") == (deployer.store.state, deployer.writer.backups)
    assert tmp_path / "etc" == deployer.lineages.config_dir
    deployer.writer.commit({A: entry(A)}, "title")
    later = Store(tmp_path / "etc" / "qiniu")
    later.load()
    assert read_only == (later.state == {})


def test_open_damaged(tmp_path: Path) -> None:
    """Damaged files are an error at once, and not when something is to be written."""
    folder = tmp_path / "etc" / "qiniu"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("damaged")
    with pytest.raises(errors.StateError):
        open_deployer(config(tmp_path), print, read_only=True)
