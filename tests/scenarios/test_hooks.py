"""The user's programs, ``--qiniu-hook``, through certbot's own entry point: they are real ones."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from certbot_qiniu.targets import hook as module
from tests.scenarios.command import APEX, WILD, WWW, Seat, issued, seat
from tests.scenarios.machine import Run

NAMES = ("-d", APEX, "-d", f"*{WILD}")


class Programs:
    """A folder of the user's, and what its programs have noted.

    :ivar log: a line each time that one of them begins.
    """

    def __init__(self, directory: Path) -> None:
        self.folder, self.log = directory / "hooks", directory / "ran"
        self.folder.mkdir(mode=0o755)

    def write(self, name: str, body: str = "", mode: int = 0o755) -> Path:
        """A program that notes its name and what it was told, and does *body*."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $RENEWED_LINEAGE $RENEWED_DOMAINS" '
                        f">> {self.log}\n{body}\n")
        path.chmod(mode)
        return path

    def ran(self) -> list[str]:
        """The programs that have run since this was asked last."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """An empty folder."""
    return Programs(tmp_path)


def begin(directory: Path, hook: Path, status: int = 0) -> Seat:
    """A machine with a hook from the first issuance on."""
    machine = seat(directory)
    run = machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", str(hook)))
    assert status == run.status, run.output
    return machine


def memory(machine: Seat) -> dict[str, dict[str, str]]:
    """What is remembered of hooks."""
    found = json.loads((machine.config_dir / "qiniu/memory/example.com.json").read_text())
    return {key: found.get(key, {}) for key in ("hooks", "failed_hooks")}


def ok(run: Run) -> Run:
    assert 0 == run.status, run.output
    return run


def failed(run: Run) -> str:
    assert 1 == run.status, run.output
    assert "Traceback" not in run.output
    return " ".join(run.output.split())


@contextlib.contextmanager
def short(seconds: float = 60) -> Iterator[None]:
    """Let seconds be moments: programs live in real time. And Ctrl-C what it is on a terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what is behind ignore it
    with (mock.patch.object(module, "SECONDS", seconds),
          mock.patch.object(module, "GRACE_SECONDS", 0.5)):
        yield


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """Run in this folder; a run has a process of its own."""
    os.chdir(folder)
    yield


def assert_served(machine: Seat) -> None:
    """The newest certificate is at Qiniu, once that is published."""
    machine.cloud.clock.sleep(1000)
    assert machine.fingerprint() == machine.cloud.qiniu.serving(WWW).fingerprint


def pid(path: Path) -> int:
    return int(path.read_text())


def is_running(number: int) -> bool:
    """Whether a process runs; an orphan that nobody waits for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# When they run ----------------------------------------------------------------------------------


def test_once_for_each_certificate(tmp_path: Path, programs: Programs) -> None:
    """They run at the first issuance and each renewal, with the variables of certbot's hooks."""
    hook = programs.write("reload", "echo all is well; echo mind the gap >&2; cat")
    machine = begin(tmp_path, hook)
    live = machine.config_dir / "live" / APEX
    assert f"reload {live} {APEX} *{WILD}" == programs.log.read_text().strip()
    assert ["reload"] == programs.ran()
    ok(machine.renew())
    ok(machine.certbot("install", "--cert-name", APEX, *machine.installer,
                       "--qiniu-hook", str(hook)))
    assert [] == programs.ran()
    run = ok(machine.force_renewal())
    assert ["reload"] == programs.ran()
    assert f"hook: {hook} ran for {APEX}:\n all is well" in run.output
    assert "mind the gap" in run.output
    assert {"hooks": {str(hook): machine.fingerprint()}, "failed_hooks": {}} == memory(machine)


def test_no_input(tmp_path: Path, programs: Programs) -> None:
    """Input from a terminal or a pipe stays with certbot."""
    @contextlib.contextmanager
    def typed() -> Iterator[None]:
        reading, writing = os.pipe()
        os.write(writing, b"for certbot")
        os.close(writing)
        os.dup2(reading, 0)
        yield

    machine = begin(tmp_path, programs.write("reload", f"cat > {tmp_path}/read"))
    ok(machine.force_renewal(around=typed))
    assert "" == (tmp_path / "read").read_text()


def test_before_qiniu(tmp_path: Path, programs: Programs) -> None:
    """They do not wait for what takes minutes."""
    machine = seat(tmp_path)
    hook = programs.write("reload")
    run = machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", str(hook)),
                        kill_at=lambda request: request.label.startswith("POST /sslcert"))
    assert -signal.SIGKILL == run.status
    assert ["reload"] == programs.ran()


@pytest.mark.parametrize("is_later", [True, False], ids=["added later", "taken over"])
def test_reconfigured(tmp_path: Path, programs: Programs, is_later: bool) -> None:
    """A dry run checks and does not run it, the next renewal runs it for what is there."""
    if is_later:
        machine = issued(tmp_path)
    else:
        machine = seat(tmp_path)
        ok(machine.certbot("certonly", "-a", "standalone", *NAMES))
    hook = programs.write("reload")
    run = ok(machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer,
                             "--qiniu-hook", str(hook)))
    assert f"hook: a renewal runs {hook}" in run.output
    ok(machine.renew("--force-renewal", "--dry-run"))
    assert [] == programs.ran()
    ok(machine.renew())
    ok(machine.renew())
    assert ["reload"] == programs.ran()


def test_taken_off_again(tmp_path: Path, programs: Programs) -> None:
    """An empty name is none, and not the folder that certbot is run in."""
    machine = begin(tmp_path, programs.write("reload"))
    programs.ran()
    ok(machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer, "--qiniu-hook="))
    ok(machine.force_renewal())
    assert [] == programs.ran()


def test_two_lineages(tmp_path: Path, programs: Programs) -> None:
    """With the same hook: each has its own runs."""
    hook = programs.write("reload")
    machine = begin(tmp_path, hook)
    machine.cloud.qiniu.add_domain("a.example.net")
    ok(machine.issue("a.example.net", arguments=("--qiniu-hook", str(hook))))
    assert ["reload", "reload"] == programs.ran()
    ok(machine.force_renewal())
    assert ["reload", "reload"] == programs.ran()
    ok(machine.certbot("delete", "--cert-name", "a.example.net"))
    ok(machine.renew())
    assert [] == programs.ran()


def test_certonly(tmp_path: Path, programs: Programs) -> None:
    """It deploys nothing, here neither; the next renewal does."""
    machine = seat(tmp_path)
    ok(machine.certbot("certonly", "-a", "standalone", *machine.installer, *NAMES,
                       "--qiniu-hook", str(programs.write("reload"))))
    assert [] == programs.ran()
    ok(machine.renew())
    assert ["reload"] == programs.ran()


def test_disabled_updates(tmp_path: Path, programs: Programs) -> None:
    """Under certbot's switch hooks run for a lineage that was just renewed, for no other."""
    machine = begin(tmp_path, programs.write("reload"))
    programs.ran()
    ok(machine.renew("--disable-renew-updates"))
    assert [] == programs.ran()
    ok(machine.renew("--force-renewal", "--disable-renew-updates"))
    assert ["reload"] == programs.ran()


def test_apply(tmp_path: Path, programs: Programs) -> None:
    """The command does what the next renewal would."""
    machine = begin(tmp_path, programs.write("reload", f"test -e {tmp_path}/up"), status=1)
    assert "reload failed: exit status 1" in failed(machine.run("apply"))
    (tmp_path / "up").touch()
    ok(machine.run("apply"))
    ok(machine.run("apply"))
    assert ["reload"] * 3 == programs.ran()


def test_in_cli_ini(tmp_path: Path, programs: Programs) -> None:
    """A relative path there is made absolute, as on the command line."""
    programs.write("reload")
    machine = seat(tmp_path)
    (tmp_path / "cli.ini").write_text("qiniu-hook = hooks/reload\n")
    ok(machine.issue(APEX, f"*{WILD}", arguments=("--config", str(tmp_path / "cli.ini")),
                     around=functools.partial(within, tmp_path)))
    conf = machine.config_dir / "renewal" / f"{APEX}.conf"
    assert f"qiniu_hook = {programs.folder}/reload\n" in conf.read_text()
    assert ["reload"] == programs.ran()
    conf.write_text(conf.read_text().replace(f"{programs.folder}/", ""))
    text = failed(machine.renew())
    assert "qiniu_hook = reload, which is another file wherever certbot is run" in text


# Folders ----------------------------------------------------------------------------------------


def test_folder(tmp_path: Path, programs: Programs) -> None:
    """Sorted, without what certbot leaves out; what changes in it is followed and forgotten."""
    for name in ("20-b", "10-a", "10-a~", "30-c"):
        programs.write(name)
    (programs.folder / "README").write_text("no program")
    (programs.folder / "sub").mkdir()
    machine = begin(tmp_path, programs.folder)
    assert ["10-a", "20-b", "30-c"] == programs.ran()
    (programs.folder / "20-b").unlink()
    programs.write("15-new")
    ok(machine.renew())
    assert ["15-new"] == programs.ran()
    assert ["10-a", "15-new", "30-c"] == sorted(Path(path).name for path in memory(
        machine)["hooks"])
    programs.write("20-b")
    ok(machine.renew())
    assert ["20-b"] == programs.ran()


def test_two_of_three_fail(tmp_path: Path, programs: Programs) -> None:
    """All run, all that fail are reported, and only these are run again."""
    for name in ("1", "2", "3"):
        programs.write(name, f'test {name} = 2 || {{ echo "no {name}" >&2; exit {name}; }}')
    machine = issued(tmp_path)
    ok(machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer, "--qiniu-hook",
                       str(programs.folder)))
    text = failed(machine.force_renewal())
    assert f"The hook {programs.folder}/1 failed: exit status 1: no 1" in text
    assert f"The hook {programs.folder}/3 failed: exit status 3: no 3" in text
    assert "The next certbot renew tries again" in text
    assert ["1", "2", "3"] == programs.ran()
    assert_served(machine)
    failed(machine.renew())
    assert ["1", "3"] == programs.ran()


def test_empty_folder(tmp_path: Path, programs: Programs) -> None:
    """It is a warning."""
    machine = seat(tmp_path)
    run = ok(machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", str(programs.folder))))
    assert "no executable is in this folder" in run.output


# Failures ---------------------------------------------------------------------------------------


def test_failure_then_success(tmp_path: Path, programs: Programs) -> None:
    """A hook that fails in the first run holds nothing up, needs attention, and is run again."""
    hook = programs.write("reload", f"test -e {tmp_path}/up || {{ echo 'bind: \x1b[31min use' >&2;"
                          " exit 7; }")
    machine = seat(tmp_path)
    text = failed(machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", str(hook))))
    assert f"The hook {hook} failed: exit status 7: bind: [31min use" in text
    assert "The rest has it and keeps it; nothing was put back" in text
    assert_served(machine)

    status = " ".join(machine.run("status").output.split())
    assert f"{hook} (exit status 7). To run it again, run: certbot-qiniu apply --cert-name" in (
        status)
    assert ("run", str(hook), "HookFailed") in steps(machine)
    assert f'target_done{{lineage="{APEX}",target="{hook}"}} 0' in metrics(machine)

    (tmp_path / "up").touch()
    ok(machine.renew())
    assert "All is well" in ok(machine.run("status")).output
    assert f'target_done{{lineage="{APEX}",target="{hook}"}} 1' in metrics(machine)
    assert [] == [step for step in steps(machine) if step[0] == "run"]
    assert ["reload", "reload"] == programs.ran()
    entry = json.loads(machine.run("status", "--json").output)["lineages"][0]
    assert [{"path": str(hook), "is_done": True, "failure": ""}] == entry["hooks"]


def steps(machine: Seat) -> list[tuple[str, str, str]]:
    found = json.loads(machine.run("plan", "--json").output)["steps"]
    return [(step["verb"], step["subject"], step["reason"]) for step in found]


def metrics(machine: Seat) -> str:
    return machine.run("status", "--prometheus").output


def test_not_yet_run(tmp_path: Path, programs: Programs) -> None:
    """It is said if one was added and no renewal has come yet."""
    machine = begin(tmp_path, programs.folder)
    hook = programs.write("new")
    status = machine.run("status")
    assert f"newest certificate {APEX}: {hook}. To run it now" in failed(status)
    assert ("run", str(hook), "HookNotRun") in steps(machine)


def test_timeout(tmp_path: Path, programs: Programs) -> None:
    """It is stopped with all that it has started, also what does not listen."""
    hook = programs.write("slow", f"""trap 'echo ended > {tmp_path}/ended; exit 1' TERM
(trap '' TERM; while :; do sleep 0.1; done) & echo $! > {tmp_path}/child
while :; do sleep 0.05; done""")
    machine = seat(tmp_path)
    text = failed(machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", str(hook)),
                                around=functools.partial(short, 1)))
    assert f"The hook {hook} failed: did not end within 1 seconds and was stopped" in text
    assert (tmp_path / "ended").exists(), "it was asked first"
    assert not is_running(pid(tmp_path / "child"))
    assert_served(machine)
    assert ["did not end within 1 seconds and was stopped"] == list(
        memory(machine)["failed_hooks"].values())


def test_that_leaves_a_daemon(tmp_path: Path, programs: Programs) -> None:
    """One that has succeeded is not waited for, and what it has started goes on."""
    hook = programs.write("start", f"sleep 30 & echo $! > {tmp_path}/daemon")
    began = time.monotonic()
    begin(tmp_path, hook)
    assert time.monotonic() - began < 15
    daemon = pid(tmp_path / "daemon")
    assert is_running(daemon)
    os.kill(daemon, signal.SIGKILL)


def test_endless_output(tmp_path: Path, programs: Programs) -> None:
    """It fills neither a disk nor a memory that holds /tmp: only the end of it is kept."""
    size = f"stat -L -c %s /proc/self/fd/3 >> {tmp_path}/sizes"
    hook = programs.write("chatty", "exec 3>&1; yes | head -c 3000000; sleep 1; "
                                    f"{size}; echo last; {size}")
    machine = seat(tmp_path)
    run = ok(machine.issue(
        APEX, f"*{WILD}", arguments=("--qiniu-hook", str(hook)),
        around=functools.partial(mock.patch.object, module, "_MOST_BYTES", 100_000)))
    kept = 65_536
    assert [str(kept), str(kept + len("last\n"))] == (tmp_path / "sizes").read_text().split()
    assert " y\n last\n" in run.output


def test_without_an_interpreter(tmp_path: Path, programs: Programs) -> None:
    """What no shell is asked to guess."""
    hook = programs.folder / "bare"
    hook.write_text("echo hello\n")
    hook.chmod(0o755)
    machine = seat(tmp_path)
    text = failed(machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", str(hook))))
    assert "could not be started: Exec format error" in text
    assert "#!/bin/sh" in text


@pytest.mark.parametrize("kind", ["missing", "not executable", "others'", "others' folder"])
def test_refused_before_anything_is_issued(tmp_path: Path, programs: Programs, kind: str) -> None:
    """And later, in a renewal, it keeps no other place from being reached."""
    hook = programs.write("reload")
    spoil = {"missing": hook.unlink, "not executable": lambda: hook.chmod(0o644),
             "others'": lambda: hook.chmod(0o757),
             "others' folder": lambda: programs.folder.chmod(0o775)}[kind]
    expected = {"missing": "No such file or directory", "not executable": "is not executable",
                }.get(kind, "another user of this machine can change it")
    machine = begin(tmp_path, hook)
    programs.ran()
    spoil()
    assert expected in failed(machine.force_renewal())
    assert_served(machine)
    assert expected in failed(machine.renew("--force-renewal", "--dry-run"))
    assert expected in failed(machine.run("status"))
    assert expected in failed(machine.run("doctor"))
    (tmp_path / "new").mkdir()
    other = seat(tmp_path / "new")
    run = other.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", str(hook)))
    assert expected in failed(run)
    assert not (other.config_dir / "live" / APEX).exists()
    assert [] == programs.ran()


# Ends in the middle -----------------------------------------------------------------------------


def test_killed_in_the_middle(tmp_path: Path, programs: Programs) -> None:
    """A hook that was running is run again; those that had succeeded are not."""
    programs.write("1")
    programs.write("2", f"test -e {tmp_path}/up || kill -KILL $PPID")
    programs.write("3")
    machine = issued(tmp_path)
    ok(machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer, "--qiniu-hook",
                       str(programs.folder)))
    assert -signal.SIGKILL == machine.force_renewal().status
    assert ["1", "2"] == programs.ran()
    (tmp_path / "up").touch()
    ok(machine.renew())
    assert ["2", "3"] == programs.ran()


@pytest.mark.parametrize("verb", ["renew", "force_renewal"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_in_a_renewal(tmp_path: Path, programs: Programs, number: signal.Signals,
                             verb: str) -> None:
    """It ends certbot, or this lineage's turn, and nothing of the hook is left."""
    machine = issued(tmp_path)
    hook = programs.write("slow", f"sleep 60 & echo $! > {tmp_path}/child\n"
                          f"kill -{int(number)} $PPID\nwait")
    ok(machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer, "--qiniu-hook",
                       str(hook)))
    run = getattr(machine, verb)(around=short)
    # After an issuance certbot swallows what is not SIGINT.
    swallows = verb == "force_renewal" or number is signal.SIGINT
    assert (1 if swallows else -number) == run.status, run.output
    assert not is_running(pid(tmp_path / "child"))
    assert {} == memory(machine)["hooks"]
    if verb == "force_renewal" and number is not signal.SIGINT:
        assert f"a hook was stopped by signal {int(number)}" in run.output


def test_signal_in_a_run(tmp_path: Path, programs: Programs) -> None:
    """certbot goes back, says so, and that what has run stays."""
    done = programs.write("1")
    programs.write("2", f"sleep 60 & echo $! > {tmp_path}/child; kill -TERM $PPID; wait")
    machine = seat(tmp_path)
    text = failed(machine.issue(APEX, f"*{WILD}", around=short,
                                arguments=("--qiniu-hook", str(programs.folder))))
    assert "A signal ended the deployment" in text
    assert f"{done}, {programs.folder}/2 (--qiniu-hook) ran for the new certificate" in text
    assert not is_running(pid(tmp_path / "child"))


# Going back -------------------------------------------------------------------------------------


def test_rollback(tmp_path: Path, programs: Programs) -> None:
    """They follow ``live/``: a rollback runs and undoes nothing, a hold keeps nothing back."""
    hook = programs.write("reload", f"test -e {tmp_path}/up")
    (tmp_path / "up").touch()
    machine = begin(tmp_path, hook)
    ok(machine.force_renewal())
    assert ["reload", "reload"] == programs.ran()
    ok(machine.certbot("rollback", "-i", "qiniu"))
    ok(machine.renew())
    assert [] == programs.ran()
    assert {str(hook): machine.fingerprint()} == memory(machine)["hooks"]
    assert machine.fingerprint() != machine.cloud.qiniu.serving(WWW).fingerprint
    programs.write("reload2")
    ok(machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer, "--qiniu-hook",
                       str(programs.folder)))
    ok(machine.renew())
    assert ["reload2"] == programs.ran(), "a hold is about Qiniu"


def test_failed_under_a_hold(tmp_path: Path, programs: Programs) -> None:
    """A hook that failed before the rollback is run again by the renewals after it."""
    machine = begin(tmp_path, programs.write("reload", f"test -e {tmp_path}/up"), status=1)
    failed(machine.force_renewal())
    ok(machine.certbot("rollback", "-i", "qiniu"))
    failed(machine.renew())
    (tmp_path / "up").touch()
    ok(machine.renew())
    ok(machine.renew())
    assert ["reload"] * 4 == programs.ran()


def test_restored_run(tmp_path: Path, programs: Programs) -> None:
    """certbot takes the certificate away from Qiniu again, and it is said what stays."""
    hook = programs.write("reload")
    machine = seat(tmp_path)
    for name in (APEX, WWW, "img.example.com", WILD):
        machine.cloud.qiniu.fail_next_publication(name)
    text = failed(machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", str(hook))))
    assert "certbot puts back what was served before" in text
    assert f"{hook} (--qiniu-hook) ran for the new certificate, which stays in live/" in text
    assert ["reload"] == programs.ran()
    machine.renew()
    assert [] == programs.ran()


# Our own files ----------------------------------------------------------------------------------


def test_damaged_memory(tmp_path: Path, programs: Programs) -> None:
    """A new certificate reaches them all the same, and not twice a day."""
    machine = begin(tmp_path, programs.write("reload"))
    programs.ran()
    (machine.config_dir / "qiniu/memory/example.com.json").write_text("damaged")
    failed(machine.force_renewal())
    assert ["reload"] == programs.ran()
    failed(machine.renew())
    assert [] == programs.ran()


Change = Callable[[Seat], Run]
UNCHANGED: dict[str, Change] = {
    "renew": lambda machine: machine.renew(),
    "status": lambda machine: machine.run("status"),
    "plan": lambda machine: machine.run("plan"),
    "dry run": lambda machine: machine.renew("--force-renewal", "--dry-run"),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_nothing_to_do(tmp_path: Path, programs: Programs, name: str) -> None:
    """Then nothing of ours is written."""
    machine = begin(tmp_path, programs.folder)
    programs.write("reload")
    ok(machine.renew())

    def ours() -> dict[str, tuple[bytes, int]]:
        return {path: found for path, found in machine.files().items() if "/qiniu/" in path}

    before = ours()
    ok(UNCHANGED[name](machine))
    assert before == ours()


def test_relative_on_the_command_line(tmp_path: Path, programs: Programs) -> None:
    """It is stored with its folder."""
    programs.write("reload")
    machine = seat(tmp_path)
    ok(machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-hook", "hooks/reload"),
                     around=functools.partial(within, tmp_path)))
    conf = (machine.config_dir / "renewal" / f"{APEX}.conf").read_text()
    assert f"qiniu_hook = {programs.folder}/reload\n" in conf
