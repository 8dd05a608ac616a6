"""The command ``certbot-qiniu``, from its arguments to its output and exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.command import cli, doctor
from certbot_qiniu.webserver import edge, tls
from certbot_qiniu.webserver.tls import Leaf
from tests.package import DOCS
from tests.sandbox.wire import Fault, json_response
from tests.scenarios.command import APEX, IMG, SELECTED, WILD, WWW, Seat, issued, seat
from tests.scenarios.test_other_installer import Updating, installed
from tests.unit.command.test_cli import COMMANDS


@pytest.fixture
def machine(tmp_path: Path) -> Seat:
    """A machine after its first issuance."""
    return issued(tmp_path)


def drift(machine: Seat) -> None:
    """Let somebody bind another certificate by hand."""
    machine.cloud.qiniu.change_domain(IMG, cert_id=machine.cloud.stranger(IMG, days=40))


def rows(output: str) -> dict[str, list[str]]:
    """The rows of a plain table by their first cells."""
    return {cells[0]: cells for line in output.splitlines()
            if len(cells := re.split(r"  +", line)) > 2}


def domains(machine: Seat, *arguments: str) -> dict[str, dict[str, Any]]:
    """The entries of ``status --json``."""
    return {entry["domain"]: entry
            for entry in json.loads(machine.run("status", "--json", *arguments).output)["domains"]}


# status


def test_status_of_a_healthy_account(machine: Seat) -> None:
    """Every domain of the account has its row, and all is well."""
    run = machine.run("status")
    assert run.status == 0
    found = rows(run.output)
    assert found.pop("Domain") == ["Domain", "Serves", "Lineage", "Certificate", "Days", "State",
                                   "Changed", "In sync"]
    digits = machine.fingerprint()[:12]
    assert {name: (cells[1:5], cells[-1]) for name, cells in found.items()} == {
        **{name: (["https", "example.com", digits, "89"], "yes") for name in SELECTED},
        "dl.example.com": (["http", "-", "-", "-"], "-"),
        "shop.example.org": (["https", "-", "-", "-"], "-")}
    assert run.output.endswith("All is well: 4 managed domains.\n")


def test_status_shows_drift(machine: Seat) -> None:
    """A domain that somebody bound by hand is named, and the exit status is 1."""
    drift(machine)
    run = machine.run("status")
    assert run.status == 1
    assert rows(run.output)[IMG][-1] == "no"
    assert f"{IMG} serves another certificate than it should" in run.output
    assert domains(machine)[IMG]["reason"] == "Outdated"


@pytest.mark.parametrize(("warn_days", "status"), [("39", 0), ("40", 1)])
def test_warn_days(machine: Seat, warn_days: str, status: int) -> None:
    """A certificate that ends within the days given needs attention, whoever manages it."""
    run = machine.run("status", "--warn-days", warn_days, "--all-details")
    assert run.status == status
    assert ("The certificate that shop.example.org serves ends in 39 days" in run.output) is bool(
        status)
    assert machine.run("status", "--warn-days", warn_days, "--managed").status == 0


def test_status_while_publishing(machine: Seat) -> None:
    """Publishing is no reason to worry, until it has lasted for an hour."""
    machine.cloud.qiniu.stick(IMG)
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(400)
    run = machine.run("status")
    assert run.status == 0
    assert rows(run.output)[IMG][-1] == "publishing"
    assert rows(run.output)[WWW][-1] == "yes"
    machine.cloud.clock.sleep(3600)
    assert domains(machine)[IMG]["reason"] == "PendingTooLong"
    assert machine.run("status").status == 1


def test_status_changes_nothing(machine: Seat) -> None:
    """Commands that only look touch neither a file nor anything at Qiniu."""
    drift(machine)
    machine.cloud.qiniu.add_domain("new.example.com", protocol="https",
                                   cert_id=machine.cloud.stranger("new.example.com"))
    machine.cloud.clock.sleep(200_000)
    before = machine.files()
    for command in (["status", "--json"], ["plan"], ["certificates"]):
        assert [] == [label for label in machine.run(*command).labels()
                      if not label.startswith("GET ")]
    assert before == machine.files()


def test_status_of_a_plugin_that_is_missing(machine: Seat) -> None:
    """A neighbour's lineage that this certbot must not renew is named, with the remedy."""
    conf = machine.config_dir / "renewal" / "shop.conf"
    conf.write_text((machine.config_dir / "renewal" / "example.com.conf").read_text().replace(
        "installer = qiniu", "installer = apache"))
    run = machine.run("status")
    assert run.status == 1
    assert "must not renew shop: it has no plugin apache" in run.output
    assert "install certbot-apache==" in run.output


def test_status_before_anything_is_deployed(tmp_path: Path) -> None:
    """Without a lineage the status is unknown; it says how to begin, and makes no folder."""
    machine = seat(tmp_path)
    run = machine.run("status")
    assert run.status == 2
    assert "certbot reconfigure --cert-name NAME -i qiniu" in run.output
    assert not machine.config_dir.exists()


def test_status_without_an_answer(machine: Seat) -> None:
    """An outage is an unknown status, with the names of the failed calls."""
    machine.cloud.board.arm(Fault("refuse"), times=10**6)
    run = machine.run("status")
    assert run.status == 2
    assert "Could not list the CDN domains" in run.output


def test_status_with_a_domain_unread(machine: Seat) -> None:
    """One domain without an answer is unknown, belongs to its lineage, and hides no other."""
    machine.cloud.qiniu.change_domain(IMG)
    machine.cloud.board.arm(Fault("refuse"), match=f"/domain/{IMG}", times=10**6)
    found = domains(machine)
    assert (found[IMG]["level"], found[IMG]["reason"]) == ("unknown", "Unreadable")
    assert found[IMG]["lineage"] == "example.com"
    assert found[WWW]["level"] == "ok"


def test_status_with_refused_keys(machine: Seat) -> None:
    """A refusal is no outage: nothing will be deployed with these keys, so it needs attention."""
    machine.cloud.board.arm(
        Fault("reply", json_response(401, {"code": 401001, "error": "bad token"})), times=10**6)
    run = machine.run("status")
    assert run.status == 1
    assert "Check qiniu_access_key" in run.output


def test_status_with_a_corrupt_state(machine: Seat) -> None:
    """A state file that certbot renew would stumble over needs attention."""
    (machine.config_dir / "qiniu" / "state" / "example.com.json").write_text("{")
    run = machine.run("status")
    assert run.status == 1
    assert "is corrupt" in run.output


def test_status_of_a_lineage_without_the_installer(machine: Seat) -> None:
    """A renewal conf that lost its installer is found, on its own and for each domain."""
    lose_installer(machine)
    run = machine.run("status")
    assert run.status == 1
    assert "certbot reconfigure --cert-name example.com -i qiniu" in run.output
    assert domains(machine)[WWW]["reason"] == "NotRenewed"


def lose_installer(machine: Seat) -> None:
    conf = machine.config_dir / "renewal" / "example.com.conf"
    conf.write_text(conf.read_text().replace("installer = qiniu\n", ""))


def test_status_after_a_rollback(machine: Seat) -> None:
    """A domain that a rollback returned is in sync, and is said to be held."""
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(4000)
    assert machine.certbot("rollback", "-i", "qiniu").status == 0
    machine.cloud.clock.sleep(4000)
    answer = json.loads(machine.run("status", "--json").output)
    assert [lineage["held"] for lineage in answer["lineages"]] == [True]
    assert {entry["level"] for entry in answer["domains"]} == {"ok"}
    assert "as the rollback left it" in machine.run("plan").output


@pytest.mark.parametrize(("result", "status"), [
    ("", 0), ("0", 0), ("success", 0), ("1", 1), ("exit-code", 1), ("timeout", 1)])
def test_result_of_the_renewal(machine: Seat, result: str, status: int) -> None:
    """A renewal that failed just before needs attention, in systemd's words or the shell's."""
    run = machine.run("status", "--quiet", f"--renewal={result}")
    assert run.status == status
    assert (f"certbot renew failed ({result})" in run.output.lower()) is bool(status)


def test_quiet_says_nothing_when_all_is_well(machine: Seat) -> None:
    """A cron job sends no mail then, and the table when something is wrong."""
    assert machine.run("status", "--quiet").output == ""
    drift(machine)
    assert IMG in rows(machine.run("status", "--quiet").output)


def test_watch_looks_again(machine: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows the status until interrupted, and ends with the last exit status."""
    slept: list[float] = []

    def interrupt(seconds: float) -> None:
        slept.append(seconds)
        drift(machine)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    run = machine.run("status", "--watch", "1")
    assert run.status == 1
    assert run.output.count("Domain  ") == 2
    assert run.output.count("All is well") == 1
    assert run.output.count("as of ") == 2


# For programs


TYPES: dict[str, Callable[[Any], bool]] = {
    "integer": lambda value: type(value) is int,
    "string": lambda value: type(value) is str,
    "boolean": lambda value: type(value) is bool,
    "array": lambda value: type(value) is list,
    "level": lambda value: value in ("ok", "attention", "unknown"),
    "null": lambda value: value is None,
}
DOCUMENTED = re.compile(
    rf"^\| `([\w.\[\]]+)` \| ((?:{'|'.join(TYPES)})(?: or null)?) \|", re.MULTILINE)


def schema(command: str) -> dict[str, str]:
    """Path -> type of what docs/status-json.md says of a command's JSON."""
    text = (DOCS / "status-json.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    finding = {path: kind for path, kind in DOCUMENTED.findall(sections["`status --json`"])
               if path.startswith("findings[]")}
    own = dict(DOCUMENTED.findall(sections[f"`{command} --json`"]))
    return {**dict(DOCUMENTED.findall(sections["Every command"])), **own,
            **(finding if "findings" in own else {})}


def paths(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a JSON document with its path."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from ((inner, found) for inner, found in paths(item, f"{path}[]")
                        if not isinstance(found, dict) and inner != f"{path}[]")


def test_documented_json(machine: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field of each command's JSON is documented with its type, and each documented exists."""
    monkeypatch.setattr(doctor, "qiniu_time", lambda: None)
    monkeypatch.setattr(edge, "addresses", lambda host: ["203.0.113.7", "203.0.113.8"])
    monkeypatch.setattr(tls, "ask", lambda host, *_, **__: Leaf(
        "0" * 64, int(host.endswith("7")), "AB12"))  # the other one cannot be read
    drift(machine)
    (machine.config_dir / "renewal" / "other.conf").write_text("damaged")
    hook = machine.directory / "hook"
    hook.touch(0o755)
    with (machine.config_dir / "renewal" / "example.com.conf").open("a") as conf:
        conf.write(f"qiniu_hook = {hook}\n")
    for command in ("status", "plan", "certificates", "doctor"):
        arguments = {"certificates": ["--all"], "status": ["--probe"]}.get(command, [])
        run = machine.run(command, "--json", *arguments)
        answer = json.loads(run.output)
        assert answer["exit_status"] == run.status
        expected, seen = schema(command), dict(paths(answer))
        assert set(seen) == set(expected), command
        for path, value in paths(answer):
            allowed = expected[path].split(" or ")
            assert any(TYPES[kind](value) for kind in allowed), f"{path}: {value!r}"


def test_prometheus(machine: Seat, tmp_path: Path) -> None:
    """One gauge for each fact and domain, each series once, also into a file that all may read."""
    drift(machine)
    text = machine.run("status", "--prometheus").output
    values = dict(re.findall(r"^(\w+(?:\{.*?\})?) (\S+)$", text, re.MULTILINE))
    assert len(values) == sum(not line.startswith("#") for line in text.splitlines())
    assert values[f'certbot_qiniu_domain_attention{{domain="{IMG}"}}'] == "1"
    assert values[f'certbot_qiniu_domain_in_sync{{domain="{WWW}"}}'] == "1"
    assert values['certbot_qiniu_domain_managed{domain="dl.example.com"}'] == "0"
    assert values["certbot_qiniu_status"] == "1"
    end = float(values[f'certbot_qiniu_certificate_expiry_timestamp_seconds{{domain="{WWW}"}}'])
    assert 89 < (end - time.time()) / 86_400 < 91
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} >= {
        name.partition("{")[0] for name in values}
    file = tmp_path / "qiniu.prom"
    assert f"{IMG} serves another" in machine.run("status", "--prometheus", str(file)).output
    assert file.read_text().splitlines()[:2] == text.splitlines()[:2]
    assert file.stat().st_mode & 0o777 == 0o644
    assert machine.renew().status == 0
    assert machine.run("status", "--prometheus", str(tmp_path), "--renewal=").output == ""
    assert "certbot_qiniu_renewal_success 1\n" in (tmp_path / "certbot_qiniu.prom").read_text()
    failed = machine.run("status", "--prometheus", "--renewal=exit-code").output
    assert "certbot_qiniu_renewal_success 0\n" in failed
    assert "renewal_success" not in text, "nobody told"


# plan, apply


def test_plan_and_apply(machine: Seat) -> None:
    """The plan says what apply then does, with the reasons; afterwards there is nothing to do."""
    drift(machine)
    machine.cloud.qiniu.add_domain("new.example.com", protocol="https",
                                   cert_id=machine.cloud.stranger("new.example.com"))
    plan = machine.run("plan")
    assert plan.status == 0
    planned = [cells[1] for cells in rows(plan.output).values() if cells[0] == "bind"]
    answer = json.loads(machine.run("plan", "--json").output)
    changes = {step["subject"]: (step["verb"], step["reason"]) for step in answer["steps"]
               if step["verb"] != "keep"}
    assert changes == {IMG: ("bind", "Outdated"), "new.example.com": ("bind", "Outdated")}
    assert set(planned) <= set(changes)
    assert "2 steps" in plan.output
    run = machine.run("apply")
    assert run.status == 0
    assert sorted(f"PUT api.qiniu.com/domain/{name}/httpsconf" for name in changes) == [
        label for label in run.labels() if not label.startswith("GET ")]
    machine.cloud.clock.sleep(400)
    assert "Nothing to do." in machine.run("plan").output
    assert "new.example.com" in domains(machine, "--managed")


def test_plan_shows_the_upload(machine: Seat) -> None:
    """A certificate that is not at Qiniu yet is uploaded first."""
    machine.cloud.board.arm(Fault("refuse"), times=10**6)
    assert machine.force_renewal().status == 1
    machine.cloud.board.disarm()
    machine.cloud.clock.sleep(400)
    steps = json.loads(machine.run("plan", "--json").output)["steps"]
    name = f"certbot_example.com_{machine.fingerprint()[:12]}"
    assert ("upload", name) == (steps[0]["verb"], steps[0]["subject"])
    assert {step["subject"] for step in steps if step["verb"] == "bind"} == set(SELECTED)
    assert {entry["reason"] for name, entry in domains(machine).items() if name in SELECTED} == {
        "Outdated"}


def test_plan_of_a_listed_domain_that_is_gone(machine: Seat) -> None:
    """A failure of the next renewal is a failure of the plan."""
    assert machine.issue(APEX, f"*{WILD}", arguments=(
        "--qiniu-domains", WWW, "--force-renewal")).status == 0
    machine.cloud.clock.sleep(400)
    machine.cloud.qiniu.remove_domain(WWW)
    run = machine.run("plan")
    assert run.status == 1
    assert f"{WWW} is no domain of this Qiniu account" in run.output


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_unknown_certificate(machine: Seat, command: str) -> None:
    """A name that certbot does not deploy is an error that says so."""
    run = machine.run(command, "--cert-name", "example.net")
    assert run.status == 2
    assert "example.net" in run.output


def test_apply_reports_what_fails(machine: Seat) -> None:
    """Its exit status is true, and the text says what the next renewal does."""
    drift(machine)
    machine.cloud.board.arm(Fault("refuse"), times=10**6)
    run = machine.run("apply")
    assert run.status == 1
    assert "The next certbot renew tries again" in run.output


def test_apply_lifts_no_hold(machine: Seat) -> None:
    """A lineage that was rolled back stays so."""
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(4000)
    assert machine.certbot("rollback", "-i", "qiniu").status == 0
    machine.cloud.clock.sleep(4000)
    before = machine.cloud.qiniu.serving(WWW)
    run = machine.run("apply")
    assert run.status == 0
    assert [] == [label for label in run.labels() if not label.startswith("GET ")]
    assert before == machine.cloud.qiniu.serving(WWW)


def test_apply_with_another_installer(tmp_path: Path) -> None:
    """An installer that takes part in renewals takes part here, with the options that it has."""
    machine = seat(tmp_path)
    Updating.log = tmp_path / "log"
    with installed(Updating):
        assert machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-with", "fake")).status == 0
        machine.cloud.clock.sleep(400)
        Updating.log.write_text("")
        assert machine.run("apply").status == 0
        assert "prepare as it is 7 False" in Updating.log.read_text()
        assert "generic_updates example.com" in Updating.log.read_text()
    run = machine.run("apply")
    assert run.status == 1
    assert "certbot has no plugin of that name" in run.output


def test_apply_keeps_out_of_certbots_way(machine: Seat) -> None:
    """While certbot itself runs, apply does nothing."""
    script = ("import sys; from certbot import util; util.lock_dir_until_exit(sys.argv[1]);"
              "print('locked', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", script, str(machine.config_dir)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        run = machine.run("apply")
        holder.communicate()
    assert (run.status, run.calls) == (2, [])
    assert "certbot is at work" in run.output


# certificates


def renew_twice(machine: Seat) -> list[str]:
    """Two renewals, confirmed but not cleaned up; the fingerprints of all three, oldest first."""
    found = [machine.fingerprint()]
    for _ in range(2):
        assert machine.force_renewal().status == 0
        machine.cloud.clock.sleep(400)
        found.append(machine.fingerprint())
    return found


def test_certificates_and_prune(machine: Seat) -> None:
    """Ours are listed with who uses them; prune deletes what is superseded, and nothing else."""
    oldest, older, newest = (f"certbot_example.com_{digits[:12]}"
                             for digits in renew_twice(machine))
    run = machine.run("certificates")
    assert run.status == 0
    assert {name: cells[-1] for name, cells in rows(run.output).items()} == {
        "Certificate": "Verdict", oldest: "superseded", newest: "in use",
        older: "kept: the newest, or for a rollback"}
    assert "a stranger's" in machine.run("certificates", "--all").output
    assert (oldest, "delete") in {(step["subject"], step["verb"]) for step in json.loads(
        machine.run("plan", "--json").output)["steps"]}
    pruned = machine.run("certificates", "--prune")
    assert "1 superseded certificate deleted" in pruned.output
    assert {item.name for item in machine.cloud.qiniu.certificates()} == {
        older, newest, "a stranger's"}
    assert set(rows(pruned.output)) == {"Certificate", older, newest}
    assert "0 superseded certificates deleted" in machine.run("certificates", "--prune").output


# The command itself


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The script is valid, and completes commands and options."""
    with pytest.raises(SystemExit):
        cli.main(["--print-completion", shell])
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    if shell == "zsh":
        assert script.read_text().startswith("#compdef certbot-qiniu\n")
        return
    test = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
            r'complete="$(complete -p certbot-qiniu)"; [[ $complete =~ -F\ ([^ ]+) ]]; '
            '"${BASH_REMATCH[1]}"; echo "${COMPREPLY[@]}"')

    def complete(*line: str) -> list[str]:
        done = subprocess.run(["bash", "-c", test, "-", str(script), "certbot-qiniu", *line],
                              capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stderr == ""
        return done.stdout.split()

    assert complete("st") == ["status"]
    assert set(COMMANDS) <= set(complete(""))
    assert complete("status", "--pr") == ["--prometheus", "--probe"]
    assert complete("apply", "--c") == ["--config", "--config-dir", "--cert-name"]
    for line in (["adopt", "com"], ["adopt", "--write", "com"], ["status", "--prometheus", "com"],
                 ["renew", "--prometheus", "com"]):
        assert complete(*line) == ["completion"], line
    assert complete("status", "--work-dir", "com") == []  # no folder


def test_light_without_rich(tmp_path: Path) -> None:
    """`--help` loads neither rich nor apprise nor shtab, and works as a module."""
    script = ("import sys; from certbot_qiniu.command import cli\n"
              "try: cli.main(['--help'])\n"
              "except SystemExit: print({'rich', 'apprise', 'shtab'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True)
    assert done.stdout.endswith("set()\n")
    module = subprocess.run([sys.executable, "-m", "certbot_qiniu", "status", "--config-dir",
                             str(tmp_path)], capture_output=True, text=True, check=False)
    assert (module.returncode, module.stderr) == (2, "")
    assert "To begin" in module.stdout
