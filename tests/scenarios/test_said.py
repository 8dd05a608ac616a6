"""Our messages in certbot's commands; a dry run ends as the real one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sandbox.wire import Fault, json_response
from tests.scenarios.account import DOMAINS, NAMES, fill
from tests.scenarios.invariants import changes
from tests.scenarios.machine import Cloud, Machine, Run

WWW, IMG = "www.example.com", "img.example.com"
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine before its first issuance."""
    cloud = Cloud()
    fill(cloud)
    return Machine(cloud, tmp_path)


@pytest.fixture
def issued(machine: Machine) -> Machine:
    """The same some time after it."""
    assert 0 == machine.issue(*NAMES).status
    machine.cloud.clock.sleep(HOUR)
    return machine


def words(run: Run) -> str:
    """What was said, however it is wrapped."""
    return " ".join(run.output.split())


# One of the domains fails


def test_the_complete_command(machine: Machine) -> None:
    """Pasted into a shell, the command in the message ends what the run began."""
    machine.cloud.qiniu.fail_next_publication(WWW)
    listed = ",".join(DOMAINS)
    run = machine.issue(*NAMES, arguments=("--qiniu-domains", listed, "--no-redirect"))
    assert 1 == run.status
    [line] = [line for line in run.output.splitlines() if "To try again now: " in line]
    command = line.split("To try again now: ")[1].split()
    assert ["certbot", "install", "--cert-name", "example.com", "-i", "qiniu"] == command[:6]
    for part in ("--qiniu-skip-nginx", "--no-redirect", str(machine.credentials), listed):
        assert part in command
    assert "certbot itself advises lacks these options" in line
    machine.cloud.clock.sleep(HOUR)
    for _ in range(2):  # the first one reports the former failure, and sends again
        run = machine.certbot(*command[1:])
        machine.cloud.clock.sleep(HOUR)
    assert 0 == run.status, run.output
    assert machine.fingerprint() == machine.cloud.qiniu.serving(WWW).fingerprint


def test_install_that_renewals_do_not_follow(machine: Machine) -> None:
    """It says that nothing repairs it by itself, and how to change that."""
    assert 0 == machine.certbot("certonly", "-a", "standalone", "-d", NAMES[0], "-d",
                                NAMES[1]).status
    machine.cloud.qiniu.fail_next_publication(WWW)
    run = machine.certbot("install", "--cert-name", "example.com", *machine.installer)
    assert 1 == run.status
    assert "Nothing repairs this by itself" in run.output
    assert "certbot reconfigure --cert-name example.com -i qiniu" in run.output
    assert "restored" not in run.output
    assert machine.fingerprint() == machine.cloud.qiniu.serving(IMG).fingerprint


# renew


def test_a_renewal_tells_what_it_changed(issued: Machine) -> None:
    """A line for each domain that was put right, and none if nothing was to be done."""
    issued.cloud.qiniu.change_domain(WWW, cert_id=issued.cloud.stranger(WWW, days=30))
    run = issued.renew()
    assert 0 == run.status, run.output
    assert f"{WWW}: certificate certbot_example.com_" in run.output
    assert IMG not in run.output
    issued.cloud.clock.sleep(HOUR)
    assert "example.com: " not in issued.renew().output


def test_a_quiet_renewal_tells_nothing(issued: Machine) -> None:
    """``--quiet``, as a timer has it, drops these lines."""
    issued.cloud.qiniu.change_domain(WWW, cert_id=issued.cloud.stranger(WWW, days=30))
    run = issued.renew("--quiet")
    assert (0, "") == (run.status, run.output)
    assert changes(run)


# enhance


def test_enhance_what_was_never_deployed(machine: Machine) -> None:
    """A redirect for a certificate that is nowhere is an error, with the way to get there."""
    assert 0 == machine.certbot("certonly", "-a", "standalone", "-d", "example.com").status
    run = machine.certbot("enhance", "--cert-name", "example.com", "--redirect",
                          *machine.installer)
    assert 1 == run.status
    assert "example.com is deployed to no domain at Qiniu" in words(run)
    assert "certbot install --cert-name example.com" in words(run)


def test_enhance_a_name_without_a_domain(machine: Machine) -> None:
    """A single SAN that nothing at Qiniu has is a line, and the others are enhanced."""
    assert 0 == machine.issue(*NAMES, "other.example.net").status
    machine.cloud.clock.sleep(HOUR)
    run = machine.certbot("enhance", "--cert-name", "example.com", "--redirect",
                          *machine.installer)
    assert 0 == run.status, run.output
    assert "other.example.net: no domain at Qiniu" in words(run)
    assert machine.cloud.qiniu.serving(IMG).force_https


@pytest.mark.parametrize("verb", ["run", "enhance"])
def test_a_redirect_of_a_source_domain(machine: Machine, verb: str) -> None:
    """If Qiniu has no redirects, it is said, once."""
    cloud = machine.cloud
    cloud.qiniu.add_bucket("bucket")
    cloud.qiniu.add_source_domain("dl.example.com", "bucket", cert_id=cloud.stranger(*NAMES))
    run = machine.issue(*NAMES, arguments=("--redirect",) * (verb == "run"))
    if verb == "enhance":
        machine.cloud.clock.sleep(HOUR)
        run = machine.certbot("enhance", "--cert-name", "example.com", "--redirect",
                              *machine.installer)
    assert 0 == run.status, run.output
    assert 1 == words(run).count("dl.example.com: Qiniu has redirects for CDN domains only")


# --disable-renew-updates


def test_disabled_updates(issued: Machine) -> None:
    """The renewed certificate is deployed, and it is said that nothing is tried again."""
    issued.cloud.qiniu.add_domain("other.example.org", protocol="https")
    run = issued.renew("--force-renewal", "--disable-renew-updates")
    assert 0 == run.status, run.output
    assert "certbot-qiniu apply --cert-name example.com" in words(run)
    issued.cloud.clock.sleep(HOUR)
    for name in DOMAINS:
        assert issued.fingerprint() == issued.cloud.qiniu.serving(name).fingerprint
    run = issued.renew("--disable-renew-updates")
    assert (0, []) == (run.status, run.calls)


def test_disabled_updates_fail(issued: Machine) -> None:
    """A failure says who tries again: no renewal does."""
    issued.cloud.qiniu.change_domain(WWW, processing=DAY, operation="modify_cache")
    run = issued.renew("--force-renewal", "--disable-renew-updates")
    assert 1 == run.status
    assert "no certbot renew tries again: run certbot-qiniu apply" in words(run)


@pytest.mark.parametrize(("fault", "times"), [("busy", 1), ("replaced", 0), ("damaged", 0)])
def test_what_comes_next_is_said_once(issued: Machine, fault: str, times: int) -> None:
    """The message that a renewal tries again comes once, and only if it does."""
    lasting(issued, fault)
    run = issued.force_renewal()
    assert (1, times) == (run.status, words(run).count("next certbot renew tries again")), (
        run.output)


# Dry runs


def lasting(machine: Machine, fault: str) -> tuple[str, ...]:
    """Let something be wrong that does not pass by itself.

    :returns: arguments that matter for it.
    """
    qiniu, clock = machine.cloud.qiniu, machine.cloud.clock
    if fault == "stuck":
        qiniu.stick(WWW)
        assert 0 == machine.force_renewal().status
        clock.sleep(2 * DAY)
        machine.renew()
    elif fault == "busy":
        qiniu.change_domain(WWW, processing=DAY, operation="modify_cache")
    elif fault == "busy for a moment":
        qiniu.change_domain(WWW, processing=40, operation="modify_cache")
    elif fault == "failed":
        qiniu.fail_next_publication(WWW)
        assert 0 == machine.force_renewal().status
        clock.sleep(HOUR)
    elif fault == "not operable":
        qiniu.change_domain(WWW, operable=False)
    elif fault == "frozen":
        qiniu.change_domain(WWW, state="frozen", freeze_type="ICP")
    elif fault == "listed and frozen":
        qiniu.change_domain(WWW, state="frozen", freeze_type="ICP")
        return ("--qiniu-domains", ",".join(DOMAINS))
    elif fault == "let go and not operable":
        qiniu.change_domain(WWW, operable=False)
        return ("--qiniu-domains", ",".join(name for name in DOMAINS if name != WWW))
    elif fault == "all frozen":
        for name in DOMAINS:
            qiniu.change_domain(name, state="frozen", freeze_type="ICP")
    elif fault == "damaged":
        (machine.config_dir / "qiniu/state/example.com.json").write_text("{")
    elif fault.startswith("held"):
        clock.sleep(60 * DAY)
        assert 0 == machine.force_renewal().status
        clock.sleep(DAY)
        assert 0 == machine.certbot("rollback", *machine.installer).status
        clock.sleep({"held": 1, "held for long": 18, "held for too long": 25}[fault] * DAY)
    elif fault.startswith("replaced"):
        qiniu.change_domain(WWW, protocol="https",
                            cert_id=machine.cloud.stranger(*NAMES, days=285))
        if fault == "replaced and told":
            assert 1 == machine.renew().status
    return ()


PASSING = ("none", "busy for a moment", "frozen", "all frozen", "let go and not operable",
           "replaced and told")


@pytest.mark.parametrize("fault", [*PASSING, "stuck", "busy", "failed", "not operable",
                                   "listed and frozen", "replaced", "damaged"])
def test_a_dry_run_ends_as_the_real_one(issued: Machine, fault: str) -> None:
    """The exit status of ``renew --dry-run`` is that of ``renew --force-renewal`` after it."""
    arguments = lasting(issued, fault)
    saved = issued.cloud.save()
    rehearsed = issued.renew("--dry-run", "--force-renewal", *arguments)
    assert [] == changes(rehearsed)
    issued.cloud.restore(saved)
    real = issued.renew("--force-renewal", *arguments)
    assert (real.status, fault not in PASSING) == (
        rehearsed.status, bool(rehearsed.status)), rehearsed.output + real.output


@pytest.mark.parametrize("fault", ["none", "stuck", "busy", "failed", "not operable", "all frozen",
                                   "replaced", "replaced and told", "damaged", "held",
                                   "held for long", "held for too long"])
def test_reconfigure_ends_as_the_renewal_after_it(issued: Machine, fault: str) -> None:
    """``reconfigure`` stores what works, and refuses what the plain ``renew`` would fail at."""
    lasting(issued, fault)
    saved = issued.cloud.save()
    rehearsed = issued.certbot("reconfigure", "--cert-name", "example.com", *issued.installer)
    issued.cloud.restore(saved)
    real = issued.renew()
    assert real.status == rehearsed.status, rehearsed.output + real.output
    is_held = "a rollback keeps its newest certificate from being deployed" in words(rehearsed)
    assert (fault == "held") == is_held


def test_a_chosen_service_that_is_refused(issued: Machine) -> None:
    """A service that the user named himself, and that his key may not see, is an error in both."""
    refusal = json_response(401, {"error": "bad token"})
    for call in ("/buckets", "/cert/bindings"):
        issued.cloud.board.arm(Fault("reply", refusal), match=call, times=10**6)
    issued.cloud.clock.sleep(2 * DAY)
    arguments = ("--qiniu-services", "kodo,cdn,pili")
    rehearsed = issued.renew("--dry-run", "--force-renewal", *arguments)
    real = issued.renew("--force-renewal", *arguments)
    assert (1, 1) == (rehearsed.status, real.status), rehearsed.output + real.output
    assert "bad token" in rehearsed.output
