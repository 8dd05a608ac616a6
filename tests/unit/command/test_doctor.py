"""What the doctor finds, and what it advises, without asking any program."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from certbot_qiniu import errors
from certbot_qiniu.command import doctor, output, scheduled_jobs
from certbot_qiniu.command.health import Level
from certbot_qiniu.deployment.deployer import open_deployer
from certbot_qiniu.lineages import read_renewals
from tests.sandbox.wire import Fault, json_response
from tests.unit.command.desk import Desk
from tests.unit.command.facts import renewal

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def no_certbot_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the certbot beside these tests off the PATH."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


# certbot


def test_no_certbot() -> None:
    """Without one on the PATH the remedy is a link to ours."""
    [check] = doctor.check_certbot(None)
    assert check.level is Level.ATTENTION
    assert f"ln -sf {scheduled_jobs.program('certbot')} " in check.remedy


def test_certbot_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its timer has to be stopped, too."""
    monkeypatch.setattr(doctor, "_sees_plugin", lambda _: False)
    [check] = doctor.check_certbot("/usr/bin/certbot")
    assert "the distribution's" in check.text
    assert "systemctl disable --now certbot.timer" in check.remedy


class Ended(SimpleNamespace):
    """What :func:`subprocess.run` gives back."""

    returncode, stderr = 0, ""


@pytest.mark.parametrize(("stdout", "expected"), [
    ("* nginx\n\n* qiniu\nDescription: Qiniu Cloud\n", True), ("* nginx\n", False),
    ("* qiniu-other\n", False), ("no * qiniu here\n", False), ("", False)],
    ids=["listed", "another", "a longer name", "within a line", "nothing"])
def test_the_plugin_in_a_list(stdout: str, monkeypatch: pytest.MonkeyPatch, *,
                              expected: bool) -> None:
    """certbot is asked for its plugins on folders of its own, and ours is a line of its answer."""
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> Ended:
        asked.append(command)
        return Ended(stdout=stdout)

    monkeypatch.setattr(subprocess, "run", run)
    assert expected is doctor._sees_plugin("/opt/certbot")
    [[program, verb, *options]] = asked
    assert ("/opt/certbot", "plugins") == (program, verb)
    assert ["--config-dir", "--work-dir", "--logs-dir"] == options[::2]


@pytest.mark.parametrize("error", [OSError("not there"), subprocess.TimeoutExpired("certbot", 60)],
                         ids=["cannot be run", "hangs"])
def test_certbot_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A certbot that says nothing has no plugin, and is no reason to give up."""
    def run(*_: object, **__: object) -> Ended:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    assert not doctor._sees_plugin("/opt/certbot")


@pytest.mark.parametrize(("path", "cause", "remedy"), [
    ("/snap/bin/certbot", "comes from snap", "snap remove certbot"),
    ("/opt/x/bin/certbot", f"does not belong to {sys.prefix}", "Use the one beside")])
def test_where_a_certbot_comes_from(monkeypatch: pytest.MonkeyPatch, path: str, cause: str,
                                    remedy: str) -> None:
    """It decides on the remedy, which always leads to the certbot beside this program."""
    monkeypatch.setattr(doctor, "_sees_plugin", lambda _: False)
    [check] = doctor.check_certbot(path)
    assert (Level.ATTENTION, "certbot") == (check.level, check.topic)
    assert cause in check.text
    assert remedy in check.remedy
    assert scheduled_jobs.program("certbot") in check.remedy


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


@pytest.mark.parametrize(("ours", "deployed", "exists", "levels"), [
    (True, ["example.com"], True, ["ok"]), (True, [], True, ["ok"]),
    (False, ["example.com"], True, ["attention", "attention"]),
    (False, ["example.com"], False, ["attention"]), (False, [], True, ["attention"]),
], ids=["fine", "not yet deployed", "lost its installer", "deleted", "never ours"])
def test_renewals(ours: bool, deployed: list[str], exists: bool,
                  levels: list[str]) -> None:
    """What is deployed must be renewed; of what was deleted nobody is reminded."""
    checks = list(doctor.check_renewals({"example.com": renewal(ours=ours)}, [], deployed,
                                        lambda _: exists))
    assert levels == [check.level.value for check in checks]
    assert bool(deployed and exists and not ours) == any(
        "certbot reconfigure --cert-name example.com" in check.remedy for check in checks)


def test_damaged_renewals() -> None:
    """Each problem is a check of its own, and comes first."""
    texts = ["a.conf is damaged", "b.conf is damaged"]
    checks = list(doctor.check_renewals({"example.com": renewal()}, texts, [], lambda _: True))
    assert [*texts, "renewals of example.com reach Qiniu"] == [check.text for check in checks]


def test_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a renewal uses and is not there is a problem, dns-aliyun is told of in any case."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [
        SimpleNamespace(name=name) for name in ("standalone", "apache") if group])
    found = doctor.check_plugins([renewal("a.example.com", authenticator="standalone"),
                                  renewal("b.example.com", authenticator="dns-nowhere"),
                                  renewal("c.example.com", authenticator="dns-nowhere",
                                          **{"with": "apache"})])
    assert [
        ("ok", "dns-aliyun is not installed beside this program", ""),
        ("ok", "standalone, used by a.example.com, is installed", ""),
        ("attention", "dns-nowhere, used by b.example.com, c.example.com, is not installed beside "
                      "this program",
         f"{scheduled_jobs.program('pip')} install certbot-dns-nowhere"),
        ("ok", "apache, used by c.example.com, is installed", ""),
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
    assert [("ok", f"{desk.credentials} is readable by its owner alone"),
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
    ("Fri, 15 Jan 2027 08:00:00 GMT", NOW), ("yesterday", None), ("", None)])
def test_time_of_qiniu(monkeypatch: pytest.MonkeyPatch, date: str,
                       expected: float | None) -> None:
    """It is in the header of an answer, or is not known."""
    monkeypatch.setattr(requests, "get", lambda *_, **__: SimpleNamespace(headers={"Date": date}))
    assert expected == doctor.qiniu_time()


def test_nginx_once_for_each_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lineages with the same commands share a test; one that leaves nginx alone has none."""
    tested: list[tuple[str, str | None]] = []

    class Nginx:
        def __init__(self, test: str, reload: str | None) -> None:
            self.commands = (test, reload)

        def test(self) -> None:
            tested.append(self.commands)
            if self.commands[0] == "broken -t":
                raise errors.NginxError("unknown directive")

    monkeypatch.setattr(doctor, "Nginx", Nginx)
    own = {"nginx-test-cmd": "broken -t", "nginx-reload-cmd": "broken -s reload"}
    checks = list(doctor.check_nginx([
        renewal("a"), renewal("b"), renewal("c", **own),
        renewal("d", **{"skip-nginx": True, "nginx-test-cmd": "other -t"})]))
    assert [("nginx -t", None), ("broken -t", "broken -s reload")] == tested
    assert [("ok", "its configuration is sound (nginx -t)"), ("attention", "unknown directive")
            ] == [(check.level.value, check.text) for check in checks]


def test_table() -> None:
    """A remedy has a row of its own below its check, and a check that needs none has one row."""
    [table] = doctor.table([
        doctor.Check(Level.OK, "clock", "fine"),
        doctor.Check(Level.UNKNOWN, "Qiniu", "no answer", "wait")])
    assert isinstance(table, output.Table)
    assert [["ok", "clock", "fine"], ["unknown", "Qiniu", "no answer"], ["", "remedy", "wait"]
            ] == [list(cells) for _, cells in table.rows]


# Clock, timers


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


OURS = scheduled_jobs.program("certbot")


@pytest.mark.parametrize(("name", "text", "level"), [
    ("renew.service", f"[Service]\nExecStart={OURS} renew\n", Level.OK),
    ("renew.service", "[Service]\nExecStart=/usr/bin/certbot -q renew\n", Level.ATTENTION),
    ("renew.service", "ExecStart=/usr/bin/snap run certbot.renew\n", Level.ATTENTION),
    ("renew.service", f"#ExecStart={OURS} renew\n", None),
    ("renew.service", f"ExecStart={OURS} certificates\n", None),
    ("cron", f"0 0 * * * root {OURS} -q renew\n", Level.OK),
    ("cron", "0 0 * * * root certbot -q renew\n", Level.ATTENTION),
], ids=["ours", "distribution", "snap", "comment", "another command", "cron", "bare word"])
def test_timers(tmp_path: Path, name: str, text: str, level: Level | None) -> None:
    """Whatever runs certbot renew is found, and whether it is the right certbot."""
    (tmp_path / "renew.timer").touch()
    (tmp_path / "idle.service").write_text(f"ExecStart={OURS} renew\n")  # has no timer
    (tmp_path / name).write_text(text)
    [check] = doctor.check_timers([tmp_path], [tmp_path / "cron"] if name == "cron" else [])
    assert check.level is (level or Level.ATTENTION)
    assert ("nothing runs" in check.text) is (level is None)


def test_bare_word_that_leads_to_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link on the PATH to our certbot is our certbot."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "certbot").symlink_to(OURS)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "crontab").write_text("0 0 * * * root certbot -q renew\n")
    [check] = doctor.check_timers([], [tmp_path / "crontab"])
    assert check.level is Level.OK
