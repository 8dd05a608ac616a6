"""``--qiniu-exclude``: domains that ``auto`` never takes, by name or with all below them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.scenarios.command import Seat
from tests.scenarios.invariants import changes
from tests.scenarios.machine import Cloud, Run, later

APEX, WWW, IMG, WILD = "example.com", "www.example.com", "img.example.com", ".example.com"
DEEP = "a.img.example.com"
ALL = (APEX, WWW, IMG, WILD, DEEP)
NAMES = (APEX, "*.example.com", DEEP)


@pytest.fixture
def machine(tmp_path: Path) -> Seat:
    """A certbot before an account whose domains are all on HTTPS."""
    cloud = Cloud(Switches(publish_seconds=20))
    foreign = cloud.stranger(*NAMES, days=20)
    for name in ALL:
        cloud.qiniu.add_domain(name, protocol="https", cert_id=foreign,
                               kind="wildcard" if name[0] == "." else "normal")
    return Seat(cloud, tmp_path / "machine")


def text(run: Run) -> str:
    """What a run printed, on one line."""
    return " ".join(run.output.split())


def ours(machine: Seat) -> set[str]:
    """The domains that serve the lineage's newest certificate."""
    leaf = machine.fingerprint(APEX)
    return {name for name in ALL if machine.cloud.qiniu.serving(name).fingerprint == leaf}


def exclude(machine: Seat, value: str, *arguments: str, status: int = 0) -> Run:
    """``certbot reconfigure --qiniu-exclude``."""
    machine.cloud.clock.sleep(600)
    run = machine.certbot("reconfigure", "--cert-name", APEX, "-i", "qiniu", "--qiniu-exclude",
                          value, *arguments)
    assert run.status == status, run.output
    return run


PATTERNS = pytest.mark.parametrize(("value", "left"), [
    (WILD, {WILD}), ("*.example.com", {WWW, IMG, WILD, DEEP}), (WWW, {WWW}), (APEX, {APEX}),
    ("*.img.example.com", {DEEP}), (f"{WWW}, *.IMG.example.com.", {WWW, DEEP}),
    ("none", set()), ("x.example.org", set())], ids=range(8))


@PATTERNS
def test_before_the_first_issuance(value: str, left: set[str], machine: Seat) -> None:
    """Excluded domains are never taken, and are named; all the others are taken."""
    run = machine.issue(*NAMES, arguments=("--qiniu-exclude", value))
    assert run.status == 0, run.output
    assert ours(machine) == {*ALL} - left
    for name in ALL:
        told = (f"{name} is named by --qiniu-exclude: left out (to serve it: take it out of "
                f"there, or --qiniu-exclude none --qiniu-domains {name})")
        assert text(run).count(told) == (name in left)
    assert changes(later(machine)) == []
    machine.cloud.clock.sleep(600)
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(600)
    assert ours(machine) == {*ALL} - left


@PATTERNS
def test_what_is_managed(value: str, left: set[str], machine: Seat) -> None:
    """It is let go and named once: it keeps what it has; included again, it comes back."""
    assert machine.issue(*NAMES).status == 0
    sentence = " {} is let go, as --qiniu-exclude leaves it out: it keeps what it serves"
    told = exclude(machine, value)
    for name in ALL:
        assert text(told).count(sentence.format(name)) == (name in left), "foreseen"
    run = later(machine)
    for name in ALL:
        assert text(run).count(sentence.format(name)) == (name in left)
    assert changes(run) == []
    assert ours(machine) == {*ALL}, "as it was"
    assert "is let go" not in later(machine).output
    first = machine.fingerprint(APEX)
    machine.force_renewal()
    machine.cloud.clock.sleep(600)
    assert ours(machine) == {*ALL} - left
    assert {machine.cloud.qiniu.serving(name).fingerprint for name in left} <= {first}
    exclude(machine, "none")
    assert later(machine).status == 0
    machine.cloud.clock.sleep(600)
    assert ours(machine) == {*ALL}
    foreign = {name: machine.cloud.qiniu.serving(name).cert_id for name in ALL}
    run = machine.certbot("rollback", *machine.installer, "--checkpoints", "99")
    assert run.status == 0, run.output
    now = {name: machine.cloud.qiniu.serving(name).cert_id for name in ALL}
    assert len({*now.values()}) == 1, "the baseline was kept meanwhile"
    assert not {*now.values()} & {*foreign.values()}


def test_rollback_over_it(machine: Seat) -> None:
    """A rollback gives back what was let go, and what was never let go, alike."""
    before = {name: machine.cloud.qiniu.serving(name).cert_id for name in ALL}
    machine.issue(*NAMES)
    exclude(machine, f"{WWW},{WILD}")
    later(machine)
    run = machine.certbot("rollback", *machine.installer, "--checkpoints", "99")
    assert run.status == 0, run.output
    assert before == {name: machine.cloud.qiniu.serving(name).cert_id for name in ALL}
    assert changes(later(machine)) == []


def test_rollback_of_it_alone(machine: Seat) -> None:
    """The conf still excludes it: the next renewal lets it go again, and says so."""
    machine.issue(*NAMES)
    exclude(machine, WWW)
    later(machine)
    assert machine.certbot("rollback", *machine.installer).status == 0
    assert f"{WWW} is let go, as --qiniu-exclude leaves it out" in text(later(machine))
    assert ours(machine) == {*ALL}


def test_rollbacks_one_by_one(machine: Seat) -> None:
    """One of them gives a domain back, the next takes it over again, and the last gives it back."""
    before = {name: machine.cloud.qiniu.serving(name) for name in ALL}
    machine.issue(*NAMES)
    exclude(machine, WWW)
    later(machine)
    exclude(machine, "none")
    later(machine)
    served = []
    for _ in range(3):
        run = machine.certbot("rollback", *machine.installer)
        assert run.status == 0, run.output
        served.append(machine.cloud.qiniu.serving(WWW).fingerprint)
    foreign = before[WWW].fingerprint
    assert served == [foreign, machine.fingerprint(APEX), foreign]
    assert before == {name: machine.cloud.qiniu.serving(name) for name in ALL}
    assert changes(later(machine)) == []


def test_settings_of_what_comes_back(machine: Seat) -> None:
    """It keeps the settings with which it was let go, though they are asked for no longer."""
    machine.cloud.switches.tls_versions = "shown"
    machine.issue(*NAMES)
    for options in (("--qiniu-http2", "on", "--qiniu-tls", "1.2"), ("--qiniu-exclude", WWW), (
            "--qiniu-exclude", "none", "--qiniu-http2", "keep", "--qiniu-tls", "keep")):
        machine.cloud.clock.sleep(600)
        run = machine.certbot("reconfigure", "--cert-name", APEX, "-i", "qiniu", *options)
        assert run.status == 0, run.output
        assert later(machine).status == 0
        assert machine.force_renewal().status == 0
        machine.cloud.clock.sleep(600)
        now = machine.cloud.qiniu.serving(WWW)
        assert (now.http2, now.tls_versions) == (True, ("TLSv1.2",)), options


def test_changed_meanwhile(machine: Seat) -> None:
    """One that somebody has given another certificate since is left as it is, and named."""
    machine.issue(*NAMES)
    exclude(machine, WWW)
    later(machine)
    theirs = machine.cloud.stranger(WWW, days=300, name="by hand")
    machine.cloud.qiniu.change_domain(WWW, cert_id=theirs)
    exclude(machine, "none")
    assert changes(later(machine)) == [], "it ends later than ours: as any unmanaged one"
    run = machine.certbot("rollback", *machine.installer, "--checkpoints", "99")
    assert run.status == 0, run.output
    assert f"{WWW} has been changed since it had a certificate of ours" in text(run)
    assert machine.cloud.qiniu.serving(WWW).cert_id == theirs


@pytest.mark.parametrize("value", [f"*{WILD},{APEX}", f"{WILD},{WWW},{IMG},{DEEP},{APEX}"])
def test_all_of_them(value: str, machine: Seat) -> None:
    """Nothing left is refused before anything is issued; of a renewal it is a line, exit 0."""
    run = machine.issue(*NAMES, arguments=("--qiniu-exclude", value))
    assert run.status == 1
    assert "No domain in this Qiniu account is to be served by a certificate for" in text(run)
    for name in ALL:
        assert f"{name} is named by --qiniu-exclude (to serve it: " in text(run)
        assert f"--qiniu-domains {name})" in text(run)
    assert not (machine.config_dir / "live").exists()
    assert changes(run) == []
    assert machine.issue(*NAMES).status == 0
    exclude(machine, value)
    run = later(machine)
    assert text(run).count("No domain in this Qiniu account is to be served") == 1
    assert changes(run) == []
    assert machine.renew("--dry-run", "--force-renewal").status == 0
    machine.cloud.clock.sleep(600)
    run = machine.force_renewal()
    assert (run.status, changes(run)) == (0, []), run.output


def test_excluded_beside_better_ones(machine: Seat) -> None:
    """Excluded, or with a better certificate: all that is left is left on purpose."""
    better = machine.cloud.stranger(*NAMES, days=300)
    for name in (APEX, IMG):
        machine.cloud.qiniu.change_domain(name, cert_id=better)
    value = f"{WWW},{WILD},{DEEP}"
    run = machine.issue(*NAMES, arguments=("--qiniu-exclude", value))
    assert run.status == 1
    assert f"{APEX} serves a certificate that is valid until" in text(run)
    assert f"{WWW} is named by --qiniu-exclude" in text(run)
    assert not (machine.config_dir / "live").exists()


@pytest.mark.parametrize("verb", ["run", "reconfigure", "renew", "install"])
def test_with_a_list(verb: str, machine: Seat) -> None:
    """A list takes just what it names: both together are refused, with what to leave out."""
    arguments = ("--qiniu-exclude", WWW, "--qiniu-domains", f"{WWW},{IMG}")
    if verb != "run":
        assert machine.issue(*NAMES).status == 0
        machine.cloud.clock.sleep(600)
    leaf = machine.fingerprint(APEX) if verb != "run" else ""
    run = {
        "run": lambda: machine.issue(*NAMES, arguments=arguments),
        "reconfigure": lambda: machine.certbot(
            "reconfigure", "--cert-name", APEX, "-i", "qiniu", *arguments),
        "renew": lambda: machine.renew(*arguments),
        "install": lambda: machine.certbot(
            "install", *machine.installer, "--cert-name", APEX, *arguments),
    }[verb]()
    assert run.status == 1, run.output
    assert (f"--qiniu-exclude {WWW} is for --qiniu-domains auto, and --qiniu-domains {WWW},{IMG} "
            "takes just what it names. Leave one of the two out: --qiniu-exclude none, or "
            "--qiniu-domains auto") in text(run)
    assert changes(run) == []
    if verb == "run":
        assert not (machine.config_dir / "live").exists()
    else:
        assert leaf == machine.fingerprint(APEX)
        conf = (machine.config_dir / "renewal" / f"{APEX}.conf").read_text()
        assert "qiniu_domains" not in conf
        assert "installer = qiniu" in conf


def test_a_domain_that_comes_back(machine: Seat) -> None:
    """One that was deleted at Qiniu, excluded and added again is not taken."""
    machine.issue(*NAMES)
    machine.cloud.clock.sleep(600)
    machine.cloud.qiniu.remove_domain(WWW)
    later(machine, status=1)
    exclude(machine, WWW)
    machine.cloud.qiniu.add_domain(WWW)
    assert changes(later(machine)) == []
    assert machine.cloud.qiniu.serving(WWW).protocol == "http"


def test_options_are_stored(machine: Seat) -> None:
    """Through the renewal conf, a list in it, cli.ini, and what status repeats of lost ones."""
    machine.issue(*NAMES, arguments=("--qiniu-exclude", f"*.IMG.example.com,{WILD}",
                                     "--qiniu-tls", "1.3, 1.2"))
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    content = conf.read_text()
    assert f'qiniu_exclude = "*.img.example.com,{WILD}"' in content
    assert 'qiniu_tls = "1.2,1.3"' in content
    sent = {"TLSv1.2", "TLSv1.3"}
    for written in (content, content.replace('"*.img.example.com,.example.com"',
                                             "*.img.example.com, .example.com,").replace(
            '"1.2,1.3"', "1.2, 1.3"), content.replace('"1.2,1.3"', "keep")):
        conf.write_text(written)
        machine.cloud.clock.sleep(600)
        run = machine.force_renewal()
        assert run.status == 0, run.output
        machine.cloud.clock.sleep(600)
        assert ours(machine) == {APEX, WWW, IMG}
        assert {*machine.cloud.qiniu.serving(WWW).tls_versions} == sent
        assert machine.run("plan").status == 0, "the command reads the same"
    conf.write_text(content)
    machine.renew()
    # Another certbot, without the plugin, has renewed it: all options are gone.
    conf.write_text("\n".join(line for line in content.splitlines()
                              if "qiniu" not in line) + "\n")
    found = text(machine.run("status"))
    command = shlex.join(["--qiniu-exclude", f"*.img.example.com,{WILD}", "--qiniu-tls", "1.2,1.3"])
    assert command in found, found
    ini = machine.config_dir / "cli.ini"
    ini.write_text(f"qiniu-exclude = {WWW}\nqiniu-tls = 1.2\ninstaller = qiniu\n"
                   f"qiniu-credentials = {machine.credentials}\nqiniu-skip-nginx = True\n")
    run = machine.certbot("renew", "--no-random-sleep-on-renew", "--config", str(ini))
    assert run.status == 0, run.output
    assert f"{WWW} is let go, as --qiniu-exclude leaves it out" in text(run)
    machine.cloud.clock.sleep(600)
    assert machine.cloud.qiniu.serving(IMG).tls_versions == ("TLSv1.2",)
