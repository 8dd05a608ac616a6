"""What the doctor finds, and what it advises, without asking any program."""

from __future__ import annotations

import pwd
import sys
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certbot_qiniu import deadline, environment, errors
from certbot_qiniu.command import doctor, install_timer, output
from certbot_qiniu.command.jobs import certbot_jobs, plugins
from certbot_qiniu.command.jobs.certbot_jobs import Wanted
from certbot_qiniu.command.survey.health import Level
from certbot_qiniu.deployment.deployer import open_deployer
from certbot_qiniu.lineages import read_renewals
from tests.sandbox.wire import Fault, json_response
from tests.unit.command.desk import Desk
from tests.unit.command.facts import renewal
from tests.unit.command.timers import Host, host

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def no_certbot_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the certbot next to these tests off the PATH."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


# certbot


def test_no_certbot() -> None:
    """Without one on the PATH the remedy is a link to ours."""
    [check] = doctor.check_certbot(None)
    assert check.level is Level.ATTENTION
    assert f"ln -sf {environment.program('certbot')} " in check.remedy


def test_environment_with_a_space_in_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be pasted into a shell names it as one word."""
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/opt/my certbot/bin")
    [check] = doctor.check_certbot(None)
    assert "ln -sf '/opt/my certbot/bin/certbot' /usr/local" in check.remedy
    assert "'/opt/my certbot/bin/pip' install apprise" == environment.installation("apprise")


def test_certbot_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its timer has to be stopped, too."""
    monkeypatch.setattr(doctor, "plugins_of", lambda _: None)
    [check] = doctor.check_certbot("/usr/bin/certbot")
    assert "the distribution's" in check.text
    assert "systemctl disable --now certbot.timer" in check.remedy


@pytest.mark.parametrize(("path", "cause", "remedy"), [
    ("/snap/bin/certbot", "comes from snap", "snap remove certbot"),
    ("/opt/x/bin/certbot", f"does not belong to {sys.prefix}", "Use the one next to")])
def test_where_a_certbot_comes_from(monkeypatch: pytest.MonkeyPatch, path: str, cause: str,
                                    remedy: str) -> None:
    """It decides on the remedy, which always leads to the certbot next to this program."""
    monkeypatch.setattr(doctor, "plugins_of", lambda _: None)
    [check] = doctor.check_certbot(path)
    assert (Level.ATTENTION, "certbot") == (check.level, check.topic)
    assert cause in check.text
    assert remedy in check.remedy
    assert environment.program("certbot") in check.remedy


# Files, lineages, accounts


def test_files(tmp_path: Path) -> None:
    """Each file that others can read is named with its remedy; locks are no matter."""
    for name, mode in (("memory.json", 0o640), ("state.json", 0o600), (".lock", 0o666),
                       ("alerts.json", 0o604)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    assert [f"chmod 600 {tmp_path}/alerts.json", f"chmod 600 {tmp_path}/memory.json"] == [
        check.remedy for check in doctor.check_files(tmp_path)]
    assert [] == list(doctor.check_files(tmp_path / "nothing"))


def test_folder_and_link_among_the_files(tmp_path: Path) -> None:
    """A folder stays one that can be entered, and a link to nothing ends no check."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    (tmp_path / "link").symlink_to("nothing")
    assert [f"chmod 700 {tmp_path}/state"] == [
        check.remedy for check in doctor.check_files(tmp_path)]


@pytest.mark.parametrize(("ours", "deployed", "exists", "levels"), [
    (True, ["example.com"], True, ["ok"]), (True, [], True, ["ok"]),
    (False, ["example.com"], True, ["attention"]),
    (False, ["example.com"], False, ["attention"]), (False, [], True, ["attention"]),
], ids=["fine", "not yet deployed", "lost its installer", "deleted", "never ours"])
def test_renewals(ours: bool, deployed: list[str], exists: bool,
                  levels: list[str]) -> None:
    """What is deployed must be renewed; of what was deleted nobody is reminded."""
    renewals = {"example.com": renewal(ours=ours)} if exists else {}
    checks = list(doctor.check_renewals(renewals, [], deployed, lambda _: exists))
    assert levels == [check.level.value for check in checks]
    assert bool(deployed and exists and not ours) == any(
        "certbot reconfigure --cert-name example.com" in check.remedy for check in checks)


def test_damaged_renewals() -> None:
    """Each problem is a check of its own, and comes first."""
    texts = ["a.conf is damaged", "b.conf is damaged"]
    checks = list(doctor.check_renewals({"example.com": renewal()}, texts, [], lambda _: True))
    assert [*texts, "renewals of example.com reach Qiniu"] == [check.text for check in checks]


def test_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing plugin that a lineage uses is a problem; dns-aliyun is always listed."""
    monkeypatch.setattr(plugins, "installed", lambda: {"standalone", "apache", "qiniu"})
    found = doctor.check_plugins([renewal("a.example.com", authenticator="standalone"),
                                  renewal("b.example.com", authenticator="dns-nowhere"),
                                  renewal("c.example.com", authenticator="dns-nowhere",
                                          **{"with": "apache"}),
                                  renewal("d.example.com", authenticator="None", ours=False)])
    assert [
        ("ok", "dns-aliyun is not installed next to this program", ""),
        ("ok", "standalone, used by a.example.com, is installed", ""),
        ("attention", "dns-nowhere, used by b.example.com, c.example.com, is not installed next to "
                      "this program", plugins.remedy("dns-nowhere", "x")),
        ("ok", "apache, used by c.example.com, is installed", ""),
        ("attention", "nginx, used by d.example.com, is not installed next to this program",
         plugins.remedy("nginx", "x")),
    ] == [(check.level.value, check.text, check.remedy) for check in found]


def accounts(desk: Desk) -> list[doctor.Check]:
    """What is found about the accounts."""
    deployer = open_deployer(desk.config, desk.said.append, read_only=True)
    return list(doctor.check_accounts(deployer, read_renewals(desk.config_dir)[0]))


def test_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that two lineages share is opened once, and what is in it is counted."""
    desk = Desk(tmp_path, monkeypatch)
    desk.upload(desk.deploy("example.com"))
    desk.deploy("example.org")
    desk.qiniu.add_domain("www.example.com")
    desk.qiniu.add_domain("img.example.com")
    assert [("ok", f"{desk.credentials} is readable only by its owner"),
            ("ok", f"{desk.credentials} opens an account with 2 domains and 1 certificates"),
            ] == [(check.level.value, check.text) for check in accounts(desk)]


@pytest.mark.parametrize(("fault", "level"), [
    (Fault("refuse"), "unknown"),
    (Fault("reply", json_response(401, {"code": 401001, "error": "bad token"})), "attention"),
    (None, "attention")], ids=["no answer", "refused", "open to others"])
def test_account_that_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    fault: Fault | None, level: str) -> None:
    """No answer is unknown; refused keys, and a file that others can read, need attention."""
    desk = Desk(tmp_path, monkeypatch)
    desk.deploy("example.com")
    if fault:
        desk.board.arm(fault, times=10**6)
    else:
        desk.credentials.chmod(0o644)
    [check] = accounts(desk)
    assert ("Qiniu" if fault else "credentials", level) == (check.topic, check.level.value)
    assert check.remedy


@pytest.mark.parametrize(("date", "expected"), [
    ("Fri, 15 Jan 2027 08:00:00 GMT", NOW), ("yesterday", None), ("", None),
    ("Fri, 15 Jan 99999 08:00:00 GMT", None),
    ("Fri, 15 Jan 2027 08:00:00 +99999999", None)])
def test_time_of_qiniu(monkeypatch: pytest.MonkeyPatch, date: str,
                       expected: float | None) -> None:
    """It is in the header of an answer, or is not known."""
    monkeypatch.setattr(deadline, "head", lambda *_: SimpleNamespace(headers={"Date": date}))
    assert expected == doctor.qiniu_time()


def test_nginx_once_for_each_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lineages with the same commands share a test; one that leaves nginx alone has none."""
    tested: list[tuple[str, str | None]] = []

    class Nginx:
        def __init__(self, test: str, reload: str | None) -> None:
            self.commands = (test, reload)

        def test(self) -> str:
            tested.append(self.commands)
            if self.commands[0] == "broken -t":
                raise errors.NginxError("unknown directive")
            return "its configuration is sound (/opt/nginx -t)"

    monkeypatch.setattr(doctor, "Nginx", Nginx)
    own = {"nginx-test-cmd": "broken -t", "nginx-reload-cmd": "broken -s reload"}
    checks = list(doctor.check_nginx([
        renewal("a"), renewal("b"), renewal("c", **own),
        renewal("d", **{"skip-nginx": True, "nginx-test-cmd": "other -t"})]))
    assert [("nginx -t", None), ("broken -t", "broken -s reload")] == tested
    assert [("ok", "its configuration is sound (/opt/nginx -t)"), ("attention", "unknown directive")
            ] == [(check.level.value, check.text) for check in checks]


def test_table() -> None:
    """A remedy has a row of its own below its check, and a check that needs none has one row."""
    [table] = doctor.table([
        doctor.Check(Level.OK, "clock", "fine"),
        doctor.Check(Level.UNKNOWN, "Qiniu", "no answer", "wait")])
    assert isinstance(table, output.Table)
    assert [["ok", "clock", "fine"], ["unknown", "Qiniu", "no answer"], ["", "remedy", "wait"]
            ] == [list(cells) for _, cells in table.rows]


# Clock


@pytest.mark.parametrize(("server", "level", "text"), [
    (NOW - 30, Level.OK, "within"), (NOW + 30, Level.OK, "within"),
    (NOW - 31, Level.ATTENTION, "0:00:31 ahead of"),
    (NOW + 3700, Level.ATTENTION, "1:01:40 behind"), (None, Level.UNKNOWN, "did not say")])
def test_clock(server: float | None, level: Level, text: str) -> None:
    """A difference that Qiniu refuses is named, with its direction."""
    [check] = doctor.check_clock(server, NOW)
    assert check.level is level
    assert text in check.text
    assert bool(check.remedy) is (level is Level.ATTENTION)


# Timers and crontabs: section 2 of what real machines do


OURS = environment.program("certbot-qiniu")
INSTALL = "certbot-qiniu install-timer"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A machine with cron, on which nothing renews yet."""
    return host(tmp_path, monkeypatch)


def timers(lineages: Collection[str] = ("example.com",), config_dir: str = "/etc/letsencrypt",
           ) -> list[tuple[str, str, str]]:
    """Level, text and remedy of what the doctor says of all jobs."""
    wanted = Wanted(Path(config_dir), Path("/etc/letsencrypt"), frozenset(lineages))
    return [(check.level.value, check.text, check.remedy)
            for check in doctor.check_timers(certbot_jobs.jobs(), wanted)]


NOTHING = ("attention", "nothing runs certbot renew by itself", INSTALL)


def test_our_timer(machine: Host) -> None:
    """It renews everything."""
    machine.timer("certbot-qiniu", f"{OURS} renew --quiet")
    assert [("ok", f"certbot-qiniu.timer runs {OURS} renew", "")] == timers()


def test_units_by_hand(machine: Host) -> None:
    """A plain certbot renew is as good, if that certbot has the plugin."""
    other = machine.certbot("opt/x/bin/certbot", "qiniu webroot")
    machine.timer("certbot-renew", f"{other} renew --quiet")
    assert [("ok", f"certbot-renew.timer runs {other} renew", "")] == timers()


def test_nothing(machine: Host) -> None:
    """Neither a timer for something else nor a certbot that is not run by itself counts."""
    machine.certbot("usr/bin/certbot")
    machine.timer("fstrim", "/sbin/fstrim --all")
    assert [NOTHING] == timers()


def test_distributions_timer_beside_ours(machine: Host) -> None:
    """It is named, and is a problem: what it renews loses the plugin."""
    other = machine.certbot("usr/bin/certbot")
    machine.timer("certbot-qiniu", f"{OURS} renew --quiet")
    machine.timer("certbot", f"{other} -q renew --no-random-sleep-on-renew")
    (level, text, remedy), second = sorted(timers())
    assert ("attention", "systemctl disable --now certbot.timer") == (level, remedy)
    assert f"certbot.timer runs {other} renew, which has no plugin qiniu" in text
    assert ("ok", f"certbot-qiniu.timer runs {OURS} renew", "") == second


def test_snaps_timer(machine: Host) -> None:
    """A snap never has the plugin."""
    machine.timer("snap.certbot.renew", '/usr/bin/snap run --timer="00:00~24:00/2" certbot.renew')
    (level, text, remedy), last = timers()
    assert ("attention", "systemctl disable --now snap.certbot.renew.timer") == (level, remedy)
    assert "runs the certbot of snap, which has no plugin qiniu" in text
    assert NOTHING == last


@pytest.mark.parametrize(("facts", "idle", "remedy"), [
    ({"enabled": "disabled", "active": "inactive"}, "it is disabled",
     "systemctl enable --now certbot-qiniu.timer"),
    ({"enabled": "disabled"}, "it ends with the next boot",
     "systemctl enable --now certbot-qiniu.timer"),
    ({"active": "failed"}, "it is not started", "systemctl enable --now certbot-qiniu.timer"),
    ({"LoadState": "masked", "active": "inactive"}, "it is masked",
     "systemctl unmask certbot-qiniu.timer && systemctl enable --now certbot-qiniu.timer")],
    ids=["disabled", "not enabled", "stopped", "masked"])
def test_timer_that_is_off(machine: Host, facts: dict[str, str], idle: str, remedy: str) -> None:
    """It does not count, and the remedy is to switch it on."""
    machine.timer("certbot-qiniu", f"{OURS} renew", **facts)  # type: ignore[arg-type]
    assert [("attention", f"certbot-qiniu.timer would run {OURS} renew, but {idle}", remedy),
            NOTHING] == timers()


def test_distributions_timer_that_is_off(machine: Host) -> None:
    """That is as it should be."""
    other = machine.certbot("usr/bin/certbot")
    machine.timer("certbot-qiniu", f"{OURS} renew")
    machine.timer("certbot", f"{other} renew", enabled="disabled", active="inactive")
    assert {"ok"} == {level for level, _, _ in timers()}


def test_module_of_python(machine: Host) -> None:
    """It is shown as it is run."""
    machine.timer("renew", f"{machine.certbot('opt/x/bin/certbot', 'qiniu')} -V", "/bin/sh -c cd; "
                  f"{sys.executable} -m certbot_qiniu renew --cert-name example.com")
    machine.plugins[sys.executable] = "qiniu"
    [(_, text, _)] = timers()
    assert text.endswith(f"{sys.executable} -m certbot_qiniu renew only for example.com")


def test_before_and_after(machine: Host) -> None:
    """Each of a service's commands counts, and a variable of its environment."""
    machine.timer("renew", "/bin/true", service={
        "ExecStartPre": "{ path=x ; argv[]=${PROGRAM} renew ; ignore_errors=no ; pid=0 }",
        "Environment": f"PROGRAM={OURS}"})
    assert [("ok", f"renew.timer runs {OURS} renew", "")] == timers()


@pytest.mark.parametrize("facts", [
    {"SubState": "elapsed"}, {"Unit": "elsewhere.service"},
    {"service": {"ExecStart": "", "LoadState": "not-found"}}],
    ids=["once", "Unit=", "no service"])
def test_timer_that_starts_something_else(machine: Host, facts: dict[str, Any]) -> None:
    """What counts is the service that it really starts, and that it does so again."""
    machine.timer("certbot-qiniu", f"{OURS} renew", **facts)
    assert NOTHING == timers()[-1]


@pytest.mark.parametrize("command", [
    "/bin/sh -c cd / && CERTBOT renew", "/bin/sh -c ( CERTBOT renew -q; true )", "CERTBOT renew",
    "/bin/bash -lc PATH=/x CERTBOT renew", "certbot renew", "/usr/bin/env certbot renew"])
def test_forms_of_a_command(machine: Host, command: str) -> None:
    """A shell, operators, a PATH: a service of somebody's own counts as ours does."""
    certbot = machine.certbot("opt/x/bin/certbot", "qiniu")
    machine.timer("renew", command.replace("CERTBOT", certbot),
                  service={"Environment": f'"A=b c" PATH={machine.root}/opt/x/bin:/usr/bin'})
    assert [("ok", f"renew.timer runs {certbot} renew", "")] == timers()


def test_cron_file(machine: Host) -> None:
    """What install-timer writes for cron is found if there is no systemd."""
    line = install_timer.cron(install_timer.Job(Path("/e/environment")))
    path = machine.put("etc/cron.d/certbot-qiniu", line)
    assert [("ok", f"{path} (line 4) runs {OURS} renew", "")] == timers()


def test_cron_without_a_cron(machine: Host) -> None:
    """A crontab that nobody reads renews nothing."""
    machine.put("etc/cron.d/certbot-qiniu", f"0 0 * * * root {OURS} renew\n")
    machine.put("proc/7/comm", "sshd\n")
    (level, text, remedy), last = timers()
    assert ("attention", "Start cron", True) == (
        level, remedy, text.endswith("but no cron is running"))
    assert NOTHING == last


def test_cron_with_another_path(machine: Host) -> None:
    """cron's PATH is not that of a shell."""
    certbot = machine.certbot("opt/x/bin/certbot", "qiniu")
    path = machine.put("etc/cron.d/renew", "0 0 * * * root certbot-2 renew\n")
    (level, text, remedy), last = timers()
    assert ("attention", f"{path} (line 1) runs certbot-2 renew, which is not found in "
            "/usr/bin:/bin") == (level, text)
    assert remedy == f"Name it with its path: {OURS} renew --quiet"
    assert NOTHING == last
    machine.put("etc/cron.d/renew", f"PATH={machine.root}/opt/x/bin\n0 0 * * * root certbot renew")
    assert [("ok", f"{path} (line 2) runs {certbot} renew", "")] == timers()


def test_debians_cron_file(machine: Host) -> None:
    """It leaves everything to systemd, so it is not counted, and is no problem next to a timer."""
    other = machine.certbot("usr/bin/certbot")
    text = (f"0 */12 * * * root test -x {other} -a \\! -d /run/systemd/system && perl -e 'sleep "
            f"int(rand(43200))' && {other} -q renew --no-random-sleep-on-renew\n")
    path = machine.put("etc/cron.d/certbot", text)
    machine.timer("certbot-qiniu", f"{OURS} renew")
    assert [("ok", f"{path} (line 1) would run {other} renew, but it leaves that to systemd", "")
            ] == timers()[1:]


def test_debians_cron_file_without_systemd(machine: Host) -> None:
    """There it runs, and must not."""
    other = machine.certbot("usr/bin/certbot")
    path = machine.put("etc/cron.d/certbot", "0 */12 * * * root test -x /usr/bin/certbot -a \\! -d "
                       f"/run/systemd/system && {other} -q renew\n")
    assert ("attention", f"Remove line 1 of {path}") == timers()[0][::2]


@pytest.mark.parametrize(("path", "user"), [
    ("etc/crontab", "root "), ("var/spool/cron/crontabs/root", ""), ("var/spool/cron/root", ""),
    ("etc/crontabs/root", "")], ids=["crontab", "Debian", "Red Hat", "Alpine"])
def test_crontabs(machine: Host, path: str, user: str) -> None:
    """Each distribution has its places."""
    machine.put(path, f"0 0 * * * {user}{OURS} renew\n")
    assert ["ok"] == [level for level, _, _ in timers()]


def test_foreign_crontab(machine: Host) -> None:
    """Whoever wrote it, nothing of it steers a terminal; the remedy opens it for its user."""
    other = machine.certbot("opt/x\x1b[2J/bin/certbot", "nginx")
    machine.put("var/spool/cron/crontabs/root", f"0 0 * * * '{other}' renew\n")
    (level, text, remedy), _ = timers()
    assert ("attention", "Remove it: crontab -e -u root") == (level, remedy)
    assert "\x1b" not in text


@pytest.mark.parametrize(("path", "searched"), [
    ("var/spool/cron/crontabs/root", "/usr/bin:/bin"), ("etc/crontabs/root", "/usr/local/sbin")])
def test_path_of_a_crontab(machine: Host, path: str, searched: str) -> None:
    """That of Debian's cron is shorter than that of busybox."""
    machine.put(path, "0 0 * * * certbot-2 renew\n")
    assert f"which is not found in {searched}" in timers()[0][1]


def test_home_in_a_crontab(machine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """cron, unlike systemd, sets it."""
    certbot = machine.certbot("home/venv/bin/certbot", "qiniu")
    home = SimpleNamespace(pw_dir=str(machine.root / "home"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: home)
    machine.put("etc/crontab", "0 0 * * * root ~/venv/bin/certbot renew\n"
                "0 0 * * * root $HOME/venv/bin/certbot renew\n")
    assert [f"{machine.root}/etc/crontab (line {number}) runs {certbot} renew" for number in (1, 2)
            ] == [text for _, text, _ in timers()]


def test_alpines_link(machine: Host) -> None:
    """A crontab with two names is one."""
    machine.put("etc/crontabs/root", f"0 0 * * * {OURS} renew\n")
    (machine.root / "var/spool/cron").mkdir(parents=True)
    (machine.root / "var/spool/cron/crontabs").symlink_to(machine.root / "etc/crontabs")
    assert 1 == len(timers())


@pytest.mark.parametrize(("path", "mode", "why"), [
    ("etc/cron.daily/renew", 0o755, ""), ("etc/periodic/daily/renew", 0o755, ""),
    ("etc/cron.daily/renew", 0o644, "it is not executable"),
    ("etc/cron.daily/renew.sh", 0o755, "cron ignores files of such a name")])
def test_daily_scripts(machine: Host, path: str, mode: int, why: str) -> None:
    """A script that cron runs every day counts if it is run."""
    machine.put("etc/debian_version", "12.0")
    machine.put(path, f"#!/bin/sh\nset -e\n{OURS} renew\n", mode)
    level, text, _ = timers()[0]
    assert (("attention", True) if why else ("ok", True)) == (level, text.endswith(why or "renew"))


def test_script_of_a_service(machine: Host) -> None:
    """A script that a timer starts is read."""
    script = machine.put("srv/renew.sh", f"#!/bin/bash\n. /etc/profile\n{OURS} renew\n", 0o755)
    machine.timer("renew", f"{script} --all")
    assert [("ok", f"renew.timer runs {OURS} renew", "")] == timers()


@pytest.mark.parametrize(("arguments", "words"), [
    ("--dry-run", "only rehearses"), ("--cert-name other.example.com", "renews nothing of this"),
    ("--config-dir /srv/other", "renews nothing of this")])
def test_job_that_does_not_count(machine: Host, arguments: str, words: str) -> None:
    """One that rehearses, or serves another lineage or folder, is named and is not enough."""
    machine.timer("renew", f"{OURS} renew {arguments}")
    (level, text, _), last = timers()
    assert ("ok", True) == (level, words in text)
    assert NOTHING == last


@pytest.mark.parametrize("option", ["--config", "-c"])
def test_job_with_a_configuration_file_of_its_own(machine: Host, option: str) -> None:
    """It may name any folder, so it counts, by certbot's short option too."""
    certbot = OURS.removesuffix("-qiniu")
    machine.timer("renew", f"/usr/bin/env {certbot} {option} /srv/cli.ini renew")
    assert ["ok"] == [level for level, _, _ in timers(config_dir="/srv/letsencrypt")]


def test_foreign_certbot_for_its_own_lineage(machine: Host) -> None:
    """A certbot without the plugin that renews nothing of ours is in nobody's way."""
    other = machine.certbot("usr/bin/certbot")
    machine.timer("shop", f"{other} renew --cert-name shop.example.com")
    machine.timer("certbot-qiniu", f"{OURS} renew")
    assert {"ok"} == {level for level, _, _ in timers()}


def test_job_of_another_user(machine: Host) -> None:
    """A user who may not write certbot's folder renews nothing, and no program of theirs is run."""
    certbot = machine.certbot("home/bob/bin/certbot", "qiniu")
    machine.plugins.clear()
    machine.put("var/spool/cron/crontabs/bob", f"0 0 * * * {certbot} renew\n")
    (level, text, _), last = timers()
    assert ("ok", True) == (level, "as bob, which renews nothing of this" in text)
    assert NOTHING == last


def test_job_that_becomes_root(machine: Host) -> None:
    """It may renew, but which certbot that would be is not tried out on another user's word."""
    certbot = machine.certbot("home/bob/bin/certbot", "qiniu")
    machine.plugins.clear()
    machine.put("var/spool/cron/crontabs/bob", f"0 0 * * * sudo {certbot} renew\n")
    [(level, text, _)] = timers()
    assert ("unknown", True) == (level, "is not known" in text)


def test_other_folder(machine: Host) -> None:
    """A job counts if its options name the folder that matters, or it would find it by itself."""
    machine.timer("certbot-qiniu", f"{OURS} renew --config-dir=/srv/le")
    assert ["ok"] == [level for level, _, _ in timers(config_dir="/srv/le")]


def test_container(machine: Host) -> None:
    """The plugins in a container are unknown from outside."""
    machine.timer("renew", "/usr/bin/docker run --rm certbot/certbot renew")
    [(level, text, _)] = timers()
    assert ("unknown", True) == (level, "in docker" in text)
    machine.timer("certbot-qiniu", f"{OURS} renew")
    assert {"ok"} == {level for level, _, _ in timers()}


def test_one_job_for_each_lineage(machine: Host) -> None:
    """A lineage that none of them renews is named."""
    machine.put("etc/crontab", "".join(
        f"0 0 * * * root {OURS} renew --cert-name {name}\n" for name in ("a", "b")))
    assert {"ok"} == {level for level, _, _ in timers(["a", "b"])}
    assert ("attention", "nothing renews c by itself", INSTALL) == timers(["a", "b", "c"])[-1]


# Hooks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "level", "text"), [
    (0o755, Level.OK, "hook"), (0o644, Level.ATTENTION, "is not executable"),
    (0o777, Level.ATTENTION, "another user of this machine can change it")])
def test_hooks(tmp_path: Path, mode: int, level: Level, text: str) -> None:
    """A program that a renewal could not run is reported beforehand."""
    hook = tmp_path / "hook"
    hook.touch()
    hook.chmod(mode)
    found = list(doctor.check_hooks([renewal(hook=str(hook)), renewal(), renewal(hook=str(hook))]))
    assert [(level, "hook")] == [(check.level, check.topic) for check in found]
    assert text in found[0].text
