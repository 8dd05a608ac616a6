"""The programs that a timer's command runs: their end, their time, and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from certbot_qiniu.command import cli, renew
from certbot_qiniu.command.renew import Programs
from tests.scenarios import machine as fast_track
from tests.scenarios.command import WWW, issued


@pytest.mark.parametrize(("script", "ended"), [
    ("exit 0", ""), ("exit 3", "3"), ("kill -9 $$", "signal 9")])
def test_how_a_program_ended(script: str, ended: str) -> None:
    """In a word for the status, and in none if it ended well."""
    assert ended == Programs().run(["/bin/sh", "-c", script], 60)


def test_program_that_cannot_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, and is no reason not to go on."""
    assert "it could not be run" == Programs().run(["/nowhere/certbot", "renew"], 60)
    assert "Could not run /nowhere/certbot: No such file" in capsys.readouterr().err


# certbot itself


def in_this_process(_self: Programs, command: Sequence[str], _seconds: float) -> str:
    """Run certbot, or our own command, over the emulator."""
    if command[0].endswith("certbot-qiniu"):
        return str(cli.main(list(command[1:])) or "")
    return str(fast_track.certbot(list(command[1:])) or "")


def test_neighbour_keeps_his_installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lineage whose installer our certbot lacks is left as it is; ours are renewed."""
    machine = issued(tmp_path)
    assert machine.certbot("certonly", "-a", "standalone", "-d", "shop.example.org").status == 0
    conf = machine.config_dir / "renewal" / "shop.example.org.conf"
    conf.write_text(conf.read_text() + "installer = apache\n")
    before, ours = conf.read_text(), machine.fingerprint()
    machine.cloud.clock.sleep(600)
    monkeypatch.setattr(Programs, "run", in_this_process)
    run = machine.run("renew", "--", "--force-renewal")
    assert run.status == 1
    assert "must not renew shop.example.org: it has no plugin apache" in run.output
    assert before == conf.read_text()
    assert ours != machine.fingerprint()
    conf.write_text(before.replace("installer = apache\n", ""))
    machine.cloud.clock.sleep(600)
    run = machine.run("renew")
    assert (run.status, run.output.endswith("All is well: 4 managed domains.\n")) == (0, True)
    machine.cloud.qiniu.change_domain(WWW, cert_id=machine.cloud.stranger(WWW, days=40))
    assert "certificate certbot_example.com_" in machine.run("renew").output


def test_certbot_without_the_plugin_strips(tmp_path: Path) -> None:
    """Without our own check certbot renews, drops the installer, and exits 0."""
    machine = issued(tmp_path)
    conf = machine.config_dir / "renewal" / "example.com.conf"
    conf.write_text(conf.read_text().replace("installer = qiniu", "installer = apache"))
    assert machine.force_renewal().status == 0
    assert "installer" not in conf.read_text()


# Time and signals


def sleeper(then: str = "exit 3", first: str = "") -> list[str]:
    """A program that waits for SIGTERM, and says when it has begun."""
    return ["/bin/sh", "-c", f"trap '{then}' TERM; {first} while :; do sleep 0.05; done"]


def test_program_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets SIGTERM, and is killed if it does not end."""
    monkeypatch.setattr(renew, "STOP_SECONDS", 0.3)
    begun = time.monotonic()
    assert "it took more than 0 seconds" == Programs().run(sleeper(), 0.2)
    assert "it took more than 0 seconds" == Programs().run(sleeper(then=":"), 0.2)
    assert time.monotonic() - begun < 5


def when_there(path: Path, act: Callable[[], None]) -> None:
    """Do something once a file is there, while this thread waits."""
    def wait() -> None:
        while not path.exists():
            time.sleep(0.01)
        act()

    threading.Thread(target=wait, daemon=True).start()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """A machine with two lineages, whose certbot acts as told, and the commands that it has run."""
    log, renewal = tmp_path / "log", tmp_path / "renewal"
    renewal.mkdir()
    for name, installer in (("a", "qiniu"), ("b", "qiniu"), ("shop", "nowhere")):
        (renewal / f"{name}.conf").write_text(
            f"[renewalparams]\nauthenticator = webroot\ninstaller = {installer}\n")

    def run(script: str) -> list[str]:
        for name, text in (("certbot", script), ("certbot-qiniu", "exit 0")):
            path = tmp_path / name
            path.write_text(f'#!/bin/sh\necho "$1 ${{*##* }}" >> {log}\n{text}\n')
            path.chmod(0o755)
        assert 1 == cli.main(["renew", "--config-dir", str(tmp_path)])  # shop is not renewed
        return log.read_text().splitlines()

    monkeypatch.setattr(renew, "program", lambda name: str(tmp_path / name))
    return run


def test_renewal_then_status(machine: Callable[[str], list[str]]) -> None:
    """Each lineage that can be renewed is, by a run of its own, and the status hears of it."""
    assert ["renew --cert-name=a", "renew --cert-name=b", "status --renewal=3"] == machine("exit 3")


def test_sigterm_lets_a_lineage_end(machine: Callable[[str], list[str]], tmp_path: Path) -> None:
    """What certbot is at is ended, hooks included; the other lineages and the status are not."""
    ready = tmp_path / "ready"
    when_there(ready, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert ["renew --cert-name=a", "hooks"] == machine(
        f"touch {ready}\nsleep 1; echo hooks >> {tmp_path}/log")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_is_passed_on(number: int, machine: Callable[[str], list[str]], tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes too long is told to end and ends as it likes, also after Ctrl-C did not help."""
    monkeypatch.setattr(renew, "PATIENCE_SECONDS", 0.2)
    ready = tmp_path / "ready"

    def act() -> None:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)

    when_there(ready, act)
    assert ["renew --cert-name=a", "told"] == machine(
        f"trap 'echo told >> {tmp_path}/log; exit 0' TERM; touch {ready}\n"
        "while :; do sleep 0.05; done")


def test_signal_of_the_terminal_is_not_doubled(machine: Callable[[str], list[str]],
                                               tmp_path: Path) -> None:
    """Ctrl-C reaches certbot by itself; a second one it would take for an order to go back."""
    ready = tmp_path / "ready"
    when_there(ready, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert ["renew --cert-name=a"] == machine(
        f"trap 'echo told >> {tmp_path}/log' INT; touch {ready}\nsleep 0.4")


def test_ignored_signals_stay_so() -> None:
    """Under nohup a hang-up ends nothing."""
    code = ("import signal; from certbot_qiniu.command.renew import Programs\n"
            "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
            "with Programs().heeding_signals(): print(signal.getsignal(signal.SIGHUP).name)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SIG_IGN\n" == done.stdout


def test_signal_before_there_is_a_child() -> None:
    """A program that is started afterwards is stopped at once."""
    programs = Programs()
    programs.stopped = True
    begun = time.monotonic()
    assert "signal 15" == programs.run(["/bin/sleep", "60"], 60)
    assert time.monotonic() - begun < 10
