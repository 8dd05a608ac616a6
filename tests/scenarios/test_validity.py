"""Validity is part of "in sync": whose certificate stays, and what is never sent."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from tests.sandbox.lineages import write_version
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Fault, json_response
from tests.scenarios.command import Seat
from tests.scenarios.invariants import changes
from tests.scenarios.machine import Cloud, Machine, Run, later

DAY = 86_400.0
WWW, PAY, APEX = "www.example.com", "pay.example.com", "example.com"
NAMES = (APEX, "*.example.com")
OTHER_KEY = f"other-{ACCESS_KEY}"
UPLOADS = "POST fusion.qiniuapi.com/sslcert"
LISTINGS = "GET fusion.qiniuapi.com/sslcert"


def account(directory: Path, days: float = 90, **switches: object) -> Seat:
    """A machine whose account has a domain with a certificate that ends soon."""
    cloud = Cloud(Switches(publish_seconds=20, **switches),  # type: ignore[arg-type]
                  {ACCESS_KEY: SECRET_KEY, OTHER_KEY: SECRET_KEY})
    cloud.qiniu.add_domain(WWW, protocol="https", cert_id=cloud.stranger(*NAMES, days=20))
    return Seat(cloud, directory, days=days)


def issued(directory: Path, *arguments: str) -> Seat:
    """The same, after its first issuance, and an ordinary run."""
    machine = account(directory)
    assert 0 == machine.issue(*NAMES, arguments=arguments).status
    later(machine)
    return machine


def by_hand(machine: Machine, days: float = 285, domain: str = WWW, **about: str) -> str:
    """Let a human bind a certificate of his own; its id."""
    cert_id = machine.cloud.qiniu.add_certificate(
        machine.cloud.authority.issue(*NAMES, days=days, now=now(machine)).fullchain_pem,
        **{"name": "by hand", **about})
    machine.cloud.qiniu.change_domain(domain, protocol="https", cert_id=cert_id)
    return cert_id


def now(machine: Machine) -> dt.datetime:
    """The virtual time."""
    return dt.datetime.fromtimestamp(machine.cloud.clock.time(), dt.timezone.utc)


def serves_ours(machine: Machine, domain: str = WWW, lineage: str = APEX) -> bool:
    """Whether a domain serves the lineage's newest certificate."""
    return machine.cloud.qiniu.serving(domain).fingerprint == machine.fingerprint(lineage)


def text(run: Run) -> str:
    """What a run printed, on one line."""
    return " ".join(run.output.split())


# Managed (rules 7 and 8) --------------------------------------------------------------------------


@pytest.mark.parametrize("about", [{}, {"order_id": "1"}], ids=["uploaded", "bought"])
def test_a_better_certificate_put_over_ours_stays(about: dict[str, str], tmp_path: Path) -> None:
    """A renewal fails once and says how to get ours back; status says it until then."""
    machine = issued(tmp_path)
    theirs = by_hand(machine, **about)
    run = later(machine, status=1)
    assert f"{WWW} serves by hand, which somebody has put over ours" in text(run)
    assert f"certbot-qiniu apply --take-back {WWW}" in text(run)
    for days in (0.5, 1, 30):
        run = later(machine, days * DAY)
        assert [] == changes(run)
        assert [] == run.labels(LISTINGS), "its end was asked before"
    assert theirs == machine.cloud.qiniu.serving(WWW).cert_id
    for command in ("status", "plan"):
        seen = machine.run(command)
        assert 1 == seen.status
        assert f"--take-back {WWW}" in text(seen)
    [row] = json.loads(machine.run("status", "--json").output)["domains"]
    assert ("attention", "Replaced", False) == (row["level"], row["reason"], row["in_sync"])


def test_a_renewal_of_ours_leaves_it_too(tmp_path: Path) -> None:
    """Ours is renewed meanwhile, but still ends sooner: nothing is sent; that is reported once."""
    machine = issued(tmp_path)
    theirs = by_hand(machine)
    later(machine, status=1)
    machine.cloud.clock.sleep(60 * DAY)
    run = machine.force_renewal()
    assert (0, []) == (run.status, changes(run)), run.output
    assert theirs == machine.cloud.qiniu.serving(WWW).cert_id


def test_it_is_told_again_of_another_one(tmp_path: Path) -> None:
    """Each certificate that somebody puts there is reported once."""
    machine = issued(tmp_path)
    for _ in range(2):
        by_hand(machine)
        later(machine, status=1)
        later(machine)


def test_looking_does_not_count_as_telling(tmp_path: Path) -> None:
    """The timer reports even what status, plan, apply and a dry run have reported."""
    machine = issued(tmp_path)
    by_hand(machine)
    for command in ("status", "plan", "apply"):
        assert 1 == machine.run(command).status
    machine.renew("--dry-run", "--force-renewal")
    later(machine, status=1)
    assert 1 == machine.run("apply").status, "who asks is always told"
    later(machine)


def test_taken_back(tmp_path: Path) -> None:
    """``apply --take-back`` puts ours there at once, and forgets that it was left."""
    machine = issued(tmp_path)
    theirs = by_hand(machine)
    later(machine, status=1)
    assert 2 == machine.run("apply", "--take-back", "other.example.com").status
    run = machine.run("apply", "--take-back", WWW)
    assert 0 == run.status, run.output
    later(machine)
    assert serves_ours(machine)
    machine.cloud.qiniu.change_domain(WWW, cert_id=theirs)
    later(machine, status=1)
    later(machine)
    assert not serves_ours(machine)


def test_taken_back_although_the_publication_fails(tmp_path: Path) -> None:
    """Later renewals send a certificate that was taken back again, until it is there."""
    machine = issued(tmp_path)
    by_hand(machine)
    machine.cloud.qiniu.fail_next_publication(WWW)
    machine.run("apply", "--take-back", WWW)
    later(machine, status=1)
    later(machine)
    assert serves_ours(machine)


def test_thirty_days_before_its_end_ours_is_put_back(tmp_path: Path) -> None:
    """Somebody may have forgotten it: it does not expire there."""
    machine = issued(tmp_path)
    by_hand(machine, 100)
    later(machine, status=1)
    machine.cloud.clock.sleep(65 * DAY)
    machine.force_renewal()
    later(machine)
    assert serves_ours(machine)


@pytest.mark.parametrize("days", [0.5, 89])
def test_drift_is_put_back(days: float, tmp_path: Path) -> None:
    """The next renewal replaces one that ends sooner than ours, and succeeds."""
    machine = issued(tmp_path)
    by_hand(machine, days)
    later(machine)
    later(machine)
    assert serves_ours(machine)


def test_what_is_left_has_not_taken_ours(tmp_path: Path) -> None:
    """If ours is left out at one domain and refused at the other, nobody has it."""
    machine = account(tmp_path)
    machine.cloud.qiniu.add_domain(PAY, protocol="https",
                                   cert_id=machine.cloud.stranger(*NAMES, days=20))
    assert 0 == machine.issue(*NAMES).status
    later(machine)
    before = machine.cloud.qiniu.serving(WWW).cert_id
    by_hand(machine, domain=PAY)
    refusal = json_response(400, {"code": 400514, "error": "unsupported key"})
    machine.cloud.board.arm(Fault("reply", refusal), match="PUT api.qiniu.com", times=10**6)
    run = machine.issue(*NAMES, arguments=("--force-renewal",))
    assert 1 == run.status
    assert "certbot puts back what was served before" in text(run)
    assert "successfully restored your server" in text(run)
    assert before == machine.cloud.qiniu.serving(WWW).cert_id


def test_install_leaves_it(tmp_path: Path) -> None:
    """``install`` for other domains' sake does not take it, and says so."""
    machine = issued(tmp_path)
    theirs = by_hand(machine)
    run = machine.certbot("install", "--cert-name", APEX, *machine.installer)
    assert 0 == run.status, run.output
    assert f"--take-back {WWW}" in text(run)
    assert theirs == machine.cloud.qiniu.serving(WWW).cert_id
    later(machine, status=1)


# Not managed (rules 5 and 6) ----------------------------------------------------------------------


def with_pay(directory: Path, *, days: float = 300, **about: str) -> Seat:
    """An account in which ``pay.example.com`` has a certificate of its own."""
    machine = account(directory)
    cert_id = machine.cloud.qiniu.add_certificate(
        machine.cloud.authority.issue(PAY, days=days).fullchain_pem, **{"name": "paid", **about})
    machine.cloud.qiniu.add_domain(PAY, protocol="https", cert_id=cert_id)
    return machine


@pytest.mark.parametrize(("days", "about"), [(300, {}), (40, {"order_id": "1"})],
                         ids=["ends later", "bought"])
@pytest.mark.parametrize("names", [NAMES, (WWW, PAY)], ids=["by wildcard", "by its name"])
def test_a_better_certificate_is_left_and_named(
        names: tuple[str, ...], days: float, about: dict[str, str], tmp_path: Path) -> None:
    """By ``run``, ``install`` and ``renew``, with its end and the option that takes it."""
    machine = with_pay(tmp_path, days=days, **about)
    before = machine.cloud.qiniu.serving(PAY)
    run = machine.issue(*names, arguments=("--cert-name", "shop"))
    assert 0 == run.status, run.output
    again = machine.certbot("install", "--cert-name", "shop", *machine.installer)
    assert 0 == again.status, again.output
    for told in run, again:
        assert "valid until 20" in text(told)
        assert f"left out (to replace it: --qiniu-domains {PAY})" in text(told)
    for _ in range(3):
        run = later(machine)
        assert [] == changes(run)
    assert [] == run.labels(LISTINGS), "its end was asked before"
    assert before == machine.cloud.qiniu.serving(PAY)
    assert serves_ours(machine, lineage="shop")
    assert 0 == machine.run("status").status


def test_it_is_taken_once_ours_ends_later(tmp_path: Path) -> None:
    """A later renewal does it by itself."""
    machine = with_pay(tmp_path, days=120)
    assert 0 == machine.issue(*NAMES).status
    machine.cloud.clock.sleep(60 * DAY)
    assert 0 == machine.force_renewal().status
    later(machine)
    assert serves_ours(machine, PAY)


def test_listed_it_is_taken(tmp_path: Path) -> None:
    """Any certificate there is replaced; one put there later is reported as anywhere."""
    machine = with_pay(tmp_path, order_id="1")
    old = machine.cloud.qiniu.serving(PAY).cert_id
    run = machine.issue(*NAMES, arguments=("--qiniu-domains", f"{PAY},{WWW}"))
    assert 0 == run.status, run.output
    assert serves_ours(machine, PAY)
    later(machine)
    machine.cloud.qiniu.change_domain(PAY, cert_id=old)
    later(machine, status=1)
    assert old == machine.cloud.qiniu.serving(PAY).cert_id


def test_listed_by_a_renewal_it_is_taken(tmp_path: Path) -> None:
    """The same holds if a renewal is the first to see it listed, and the first try fails."""
    machine = with_pay(tmp_path)
    assert 0 == machine.issue(*NAMES).status
    machine.cloud.clock.sleep(DAY)
    listed = ("--qiniu-domains", f"{PAY},{WWW}")
    run = machine.renew("--force-renewal", *listed, kill_at=lambda request: (
        request.method == "PUT" and PAY in request.target))
    assert run.status < 0
    machine.cloud.clock.sleep(DAY)
    assert 0 == machine.renew("--force-renewal", *listed).status
    machine.cloud.clock.sleep(DAY)
    assert serves_ours(machine, PAY)


def test_an_end_that_cannot_be_learnt(tmp_path: Path) -> None:
    """Counts as later if the domain is not ours, as sooner if it is."""
    machine = with_pay(tmp_path)
    machine.cloud.qiniu.change_domain(PAY, cert_id="0123456789abcdef01234567")
    run = machine.issue(*NAMES)
    assert 0 == run.status, run.output
    assert f"{PAY} serves a certificate that is not ours and whose end is not known" in text(run)
    machine.cloud.qiniu.change_domain(WWW, cert_id="0123456789abcdef01234567")
    later(machine)
    later(machine)
    assert serves_ours(machine)


# Before anything is issued ------------------------------------------------------------------------


def only_pay(directory: Path) -> Seat:
    """An account with nothing but ``pay.example.com``."""
    cloud = Cloud(Switches(publish_seconds=20))
    cloud.qiniu.add_domain(PAY, protocol="https", cert_id=cloud.stranger(PAY, days=300))
    return Seat(cloud, directory)


def has_issued(machine: Machine) -> bool:
    """Whether there is any lineage."""
    return (machine.config_dir / "renewal" / f"{APEX}.conf").exists()


def test_where_every_match_is_left_nothing_is_issued(tmp_path: Path) -> None:
    """``run`` names the option that would take it."""
    machine = only_pay(tmp_path)
    run = machine.issue(*NAMES)
    assert 1 == run.status
    assert f"--qiniu-domains {PAY}" in text(run)
    assert not has_issued(machine)
    assert 0 == machine.issue(*NAMES, arguments=("--qiniu-domains", PAY)).status


def test_where_every_match_is_left_a_renewal_succeeds(tmp_path: Path) -> None:
    """With one line."""
    machine = only_pay(tmp_path)
    taken_over(machine, 90)
    run = later(machine)
    assert f"{PAY} serves a certificate that is valid until" in text(run)
    assert [] == changes(run)
    assert 0 == machine.renew("--dry-run", "--force-renewal").status


@pytest.mark.parametrize(("domain", "asked", "hint"), [
    ("static.example.com", ("example.com",), "-d '*.example.com' or -d static.example.com"),
    (".example.com", ("example.com",), "-d '*.example.com'"),
    ("example.com", ("www.example.com",), "-d example.com"),
    ("example.net", ("example.com",), "The account has: example.net"),
])
def test_a_forgotten_name(domain: str, asked: tuple[str, ...], hint: str, tmp_path: Path) -> None:
    """If nothing of the account is covered, nothing is issued, and what is missing is named."""
    cloud = Cloud()
    cloud.qiniu.add_domain(domain, kind="wildcard" if domain[0] == "." else "normal")
    machine = Machine(cloud, tmp_path)
    run = machine.issue(*asked)
    assert 1 == run.status
    assert hint in text(run)
    assert not list(machine.config_dir.glob("renewal/*.conf"))


def test_http_only_by_wildcard_and_nobody_to_ask(tmp_path: Path) -> None:
    """Nothing would be deployed: that is said before anything is issued."""
    cloud = Cloud()
    cloud.qiniu.add_domain(WWW)
    machine = Machine(cloud, tmp_path)
    run = machine.issue("*.example.com")
    assert 1 == run.status
    assert f"{WWW} speaks http only and is covered only by a wildcard" in text(run)
    assert not list(machine.config_dir.glob("renewal/*.conf"))


# An expired certificate (rule 2) ------------------------------------------------------------------


def test_an_expired_certificate_is_never_sent(tmp_path: Path) -> None:
    """The domain keeps the valid one that it has; every run says what to do."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(80 * DAY)
    theirs = by_hand(machine, 30)
    for _ in range(2):
        run = later(machine, 15 * DAY, status=1)
        assert [] == changes(run)
        assert f"Run certbot renew --cert-name {APEX}, and see what that says went wrong" in text(
            run)
        assert "is valid" not in text(run)
        assert theirs == machine.cloud.qiniu.serving(WWW).cert_id
    assert 1 == machine.run("status").status
    assert 0 == machine.force_renewal().status
    later(machine)
    assert serves_ours(machine)


def test_serving_an_expired_certificate_is_no_success(tmp_path: Path) -> None:
    """That holds even if it is the wanted one."""
    machine = issued(tmp_path)
    later(machine, 88 * DAY)
    run = later(machine, 2 * DAY, status=1)
    assert "an expired certificate is never sent" in text(run)


def test_an_expired_certificate_takes_no_domain(tmp_path: Path) -> None:
    """Neither by a renewal nor by an install; later ones decide afresh."""
    machine = with_pay(tmp_path)
    taken_over(machine, 10)
    machine.cloud.clock.sleep(11 * DAY)
    run = later(machine, status=1)
    assert [] == changes(run)
    assert f"certificate {APEX} ended on" in text(run)
    run = machine.certbot("install", "--cert-name", APEX, *machine.installer)
    assert (1, []) == (run.status, changes(run))
    machine.days = 90
    assert 0 == machine.force_renewal().status
    later(machine)
    assert (True, False) == (serves_ours(machine), serves_ours(machine, PAY))


# Thirty days --------------------------------------------------------------------------------------


def taken_over(machine: Machine, lifetime: float, age: float = 0) -> None:
    """Let renewals reach us of a lineage that certbot has had for *age* days."""
    only_certbots(machine, lifetime, age)
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    conf.write_text(conf.read_text() + f"installer = qiniu\nqiniu_skip_nginx = True\n"
                                       f"qiniu_credentials = {machine.credentials}\n")


def only_certbots(machine: Machine, lifetime: float, age: float) -> None:
    """Let certbot have a lineage of which we know nothing."""
    machine.days = lifetime
    names = [word for name in NAMES for word in ("-d", name)]
    assert 0 == machine.certbot("certonly", "-a", "standalone", *names).status
    machine.cloud.clock.sleep(age * DAY)


@pytest.mark.parametrize(("lifetime", "age"), [(64, 36), (45, 16)])
def test_a_certificate_that_is_too_old_for_qiniu(
        lifetime: float, age: float, tmp_path: Path) -> None:
    """It is foreseen by what only looks; what is advised works."""
    machine = account(tmp_path)
    only_certbots(machine, lifetime, age)
    advice = f"certbot renew --force-renewal --cert-name {APEX}"
    assert advice in text(reconfigured(machine))
    for command in ("status", "plan"):
        run = machine.run(command)
        assert 1 == run.status
        assert advice in text(run)
    assert advice in text(machine.run("doctor"))
    dry = machine.renew("--dry-run", "--force-renewal")
    assert 0 == dry.status, dry.output
    assert advice in text(dry)
    run = later(machine, 0, status=1)
    assert "400322" in text(run)
    assert 0 == machine.renew("--dry-run", "--force-renewal").status, "a fresh one will do"
    run = reconfigured(machine, status=1)
    assert advice in text(run)
    assert 0 == machine.force_renewal().status
    later(machine)
    assert serves_ours(machine)
    assert 0 == machine.run("status").status
    assert advice not in text(machine.run("doctor"))


def reconfigured(machine: Machine, status: int = 0) -> Run:
    """``certbot reconfigure``, without the answer of an authority."""
    run = machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer)
    assert status == run.status, run.output
    return run


def test_an_account_without_that_rule(tmp_path: Path) -> None:
    """Qiniu takes it: then nothing is wrong any more."""
    machine = account(tmp_path, minimum_days=0)
    taken_over(machine, 64, 36)
    assert 1 == machine.run("status").status
    later(machine)
    later(machine)
    assert serves_ours(machine)
    assert 0 == machine.run("status").status


def test_reconfigure_where_nobody_could_tell(tmp_path: Path) -> None:
    """A message shown once by renewals does not stop a lineage whose renewals do not reach us."""
    machine = issued(tmp_path)
    by_hand(machine)
    assert "which somebody has put over ours" in text(reconfigured(machine, status=1))
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    conf.write_text("".join(line for line in conf.read_text().splitlines(keepends=True)
                            if not line.startswith(("installer", "qiniu_"))))
    assert "which somebody has put over ours" in text(reconfigured(machine))
    for status in 1, 0:
        later(machine, status=status)
    assert not serves_ours(machine)


def test_reconfigure_under_a_hold(tmp_path: Path) -> None:
    """Obstacles of the newest certificate do not matter while a rollback holds it."""
    machine = issued(tmp_path)
    assert 0 == machine.certbot("rollback", "-i", "qiniu").status
    by_hand(machine, name="certbot_another_0123456789ab")
    later(machine)
    assert "a rollback keeps its newest certificate" in text(reconfigured(machine))
    later(machine)


# Final refusals -----------------------------------------------------------------------------------


def refused(directory: Path) -> Seat:
    """A machine whose certificate is too old for Qiniu, which has said so once."""
    machine = account(directory)
    taken_over(machine, 64, 36)
    assert [UPLOADS] == later(machine, 0, status=1).labels(UPLOADS)
    return machine


def test_a_final_refusal_is_believed(tmp_path: Path) -> None:
    """The key is sent once more after a week; each run exits with 1 and says why."""
    machine = refused(tmp_path)
    machine.cloud.qiniu.change_domain(WWW, cert_id=machine.cloud.qiniu.add_certificate(
        machine.cloud.authority.issue(*NAMES, days=20, now=now(machine)).fullchain_pem, name="x"))
    sent = []
    for _ in range(20):
        run = later(machine, status=1)
        assert "400322" in text(run)
        sent.append(len(run.labels(UPLOADS)))
    # What is served ends in 20 days: after 6 of them it is urgent.
    assert [*[0] * 11, *[1, 0] * 4, 1] == sent
    assert "400322" in text(machine.run("status"))


@pytest.mark.parametrize("command", ["status", "plan"])
def test_a_final_refusal_is_one_line(command: str, tmp_path: Path) -> None:
    """Nothing else says that the next renewal binds the certificate, until that is tried."""
    machine = refused(tmp_path)
    machine.cloud.qiniu.add_domain("img.example.com", protocol="https",
                                   cert_id=machine.cloud.stranger(*NAMES, days=20))
    later(machine, status=1)
    for days, times in (0, 1), (7, 0):
        machine.cloud.clock.sleep(days * DAY)
        run = machine.run(command)
        assert (1, times) == (run.status, text(run).count("was not sent again")), run.output
        hopes = ("binds the right one", "is not at Qiniu yet")
        assert (not times) == any(hope in text(run) for hope in hopes), run.output


def test_a_final_refusal_without_urgency(tmp_path: Path) -> None:
    """Nothing is served that ends: once in seven days."""
    machine = refused(tmp_path)
    machine.cloud.qiniu.change_domain(WWW, protocol="http", cert_id="")
    sent = [len(later(machine, status=1).labels(UPLOADS)) for _ in range(15)]
    assert [*[0] * 13, 1, 0] == sent


def new_certificate(machine: Seat) -> Run:
    """A renewal."""
    return machine.force_renewal()


def other_keys(machine: Seat) -> Run:
    """A move to another account."""
    machine.cloud.qiniu.add_domain(WWW, account=OTHER_KEY)
    machine.write_credentials("qiniu.ini", (OTHER_KEY, SECRET_KEY))
    return machine.renew()


def another_version(machine: Seat) -> Run:
    """An update of the plugin."""
    return machine.renew(around=lambda: mock.patch(
        "certbot_qiniu.deployment.certificates._version", return_value="99.0"))


def install(machine: Seat) -> Run:
    """A user who insists."""
    return machine.certbot("install", "--cert-name", APEX, *machine.installer)


def apply(machine: Seat) -> Run:
    """The same by the command."""
    return machine.run("apply")


@pytest.mark.parametrize("event", [new_certificate, other_keys, another_version, install, apply])
def test_what_ends_it(event: Callable[[Seat], Run], tmp_path: Path) -> None:
    """After each of these the key is sent again."""
    machine = refused(tmp_path)
    machine.cloud.clock.sleep(3600)
    assert [] == machine.renew().labels(UPLOADS)
    assert [UPLOADS] == event(machine).labels(UPLOADS)


def test_a_refusal_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    """A full quota is not final."""
    machine = account(tmp_path, quota=1)
    taken_over(machine, 90)
    for _ in range(2):
        run = later(machine, status=1)
        assert [UPLOADS] == run.labels(UPLOADS)
        assert "400500" in text(run)


# Twins --------------------------------------------------------------------------------------------


def test_the_same_names_and_dates_are_no_proof(tmp_path: Path) -> None:
    """Authorities that date by the day issue two such: ours is uploaded next to the other."""
    machine = issued(tmp_path)
    midnight = now(machine).replace(hour=0, minute=0, second=0, microsecond=0)
    one, other = (machine.cloud.authority.intermediate("By the day").issue(
        *NAMES, days=90, now=midnight) for _ in range(2))
    machine.cloud.qiniu.change_domain(WWW, cert_id=machine.cloud.qiniu.add_certificate(
        other.fullchain_pem, name="a hook's"))
    write_version(machine.config_dir, APEX, one)
    run = later(machine, 60)
    assert [UPLOADS] == run.labels(UPLOADS)
    later(machine)
    assert serves_ours(machine)
