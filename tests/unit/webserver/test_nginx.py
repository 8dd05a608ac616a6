"""Testing, reloading and questioning nginx: which commands, and what is made of their answers."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.options import parse_command
from certbot_qiniu.webserver import local, nginx
from certbot_qiniu.webserver.local import Master
from certbot_qiniu.webserver.nginx import Nginx, Outcome
from certbot_qiniu.webserver.tls import Leaf


@pytest.mark.parametrize("text", ["", "   ", "nginx '-t", "nginx -t\\", "''", "nginx\0-t"])
def test_nonsense_command(text: str) -> None:
    """What is no command is refused with the option's name, before anything happens."""
    with pytest.raises(errors.UsageError, match="--some-option"):
        parse_command(text, "--some-option")
    with pytest.raises(errors.UsageError, match=nginx.TEST_OPTION):
        Nginx(text)
    with pytest.raises(errors.UsageError, match=nginx.RELOAD_OPTION):
        Nginx(reload_cmd=text)


def test_sbin_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """With cron's PATH, or none, programs in sbin are found, and none in the working directory."""
    for path in ("/usr/bin:/bin", ""):
        monkeypatch.setenv("PATH", path)
        folders = nginx._search_path().split(":")
        assert "/usr/sbin" in folders
        assert "" not in folders


# With programs that only this test knows


SAN = "a.example.com"
NEW, OLD = "aa" * 32, "bb" * 32


@dataclass(frozen=True)
class Answer:
    """How a program ends, and what it has printed by then."""

    status: int = 0
    stdout: str = ""
    stderr: str = ""
    hangs: bool = False


class Process:
    """In place of :class:`subprocess.Popen`: a program that has ended already, or never ends."""

    def __init__(self, answer: Answer, stdout: Any, stderr: Any) -> None:
        self.answer, self.pid, self.killed = answer, 4711, False
        stdout.write(answer.stdout.encode("utf-8", "surrogateescape"))
        stderr.write(answer.stderr.encode("utf-8", "surrogateescape"))

    def wait(self, timeout: float | None = None) -> int:
        if self.answer.hangs and not self.killed:
            assert timeout is not None, "this would wait for ever"
            raise subprocess.TimeoutExpired("program", timeout)
        return self.answer.status

    def poll(self) -> int | None:
        return None if self.answer.hangs and not self.killed else self.answer.status


@dataclass
class Machine:
    """A machine with programs, servers and a clock.

    :ivar installed: the programs that are found on it.
    :ivar answers: how a command line that begins so ends; others succeed without a word.
    :ivar ran: the command lines, in their order.
    :ivar leaves: what each (host, port, name) serves in turn, the last one for ever.
    """

    installed: set[str] = field(default_factory=lambda: {"nginx"})
    answers: dict[str, Answer | OSError] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    leaves: dict[tuple[str, int, str], list[str | None]] = field(default_factory=dict)
    asked: list[tuple[str, int, str, str, bool]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    groups_killed: list[tuple[int, int]] = field(default_factory=list)
    addresses: set[str] = field(default_factory=lambda: {"127.0.0.1", "::1"})
    masters: list[Master] = field(default_factory=list)
    runs: bool = True
    patience: list[float] = field(default_factory=list)

    def popen(self, argv: list[str], *, stdin: int, stdout: Any, stderr: Any,
              start_new_session: bool, env: dict[str, str]) -> Process:
        """As :class:`subprocess.Popen`."""
        assert (subprocess.DEVNULL, True) == (stdin, start_new_session)
        self.ran.append(shlex.join(argv))
        self.environments.append(env)
        answer = next((answer for begin, answer in self.answers.items()
                       if self.ran[-1].startswith(begin)), Answer())
        if isinstance(answer, OSError):
            raise answer
        self.processes.append(Process(answer, stdout, stderr))
        return self.processes[-1]

    def killpg(self, pid: int, number: int) -> None:
        """As :func:`os.killpg`."""
        self.groups_killed.append((pid, number))
        self.processes[-1].killed = True

    def served_leaf(self, host: str, port: int, name: str, *, timeout_seconds: float,
                    kind: str, proxied: bool) -> Leaf | None:
        """As :func:`certbot_qiniu.webserver.tls.served_leaf`."""
        self.asked.append((host, port, name, kind, proxied))
        self.patience.append(timeout_seconds)
        served = self.leaves.get((host, port, name), [None])
        fingerprint = served.pop(0) if len(served) > 1 else served[0]
        return Leaf(fingerprint, 0) if fingerprint else None

    def monotonic(self) -> float:
        """As :func:`time.monotonic`."""
        return sum(self.slept)

    def lists(self, *servers: str, program: str = "nginx -T") -> None:
        """Let nginx list these server blocks."""
        self.answers[program] = Answer(stdout="# configuration file /etc/nginx/nginx.conf:\nhttp { "
                                       + " ".join(servers) + " }\n")

    def lists_all(self, text: str) -> None:
        """Let nginx list this configuration."""
        self.answers["nginx -T"] = Answer(
            stdout=f"# configuration file /etc/nginx/nginx.conf:\n{text}\n")

    def serves(self, *fingerprints: str | None, name: str = SAN, port: int = 443) -> None:
        """Let this be served in turn on this machine."""
        self.leaves["127.0.0.1", port, name] = list(fingerprints)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with an nginx, and without systemd."""
    found = Machine()
    monkeypatch.setattr(subprocess, "Popen", found.popen)
    monkeypatch.setattr(os, "killpg", found.killpg)
    monkeypatch.setattr(nginx, "_program", lambda program: (
        f"/usr/sbin/{program}" if program in found.installed else None))
    monkeypatch.setattr(local, "has_address", lambda host: host in found.addresses)
    monkeypatch.setattr(local, "masters", lambda: found.masters)
    monkeypatch.setattr(local, "runs", lambda: found.runs)
    monkeypatch.setattr(Nginx, "silent_seconds", 0.0)
    monkeypatch.setattr(nginx, "served_leaf", found.served_leaf)
    monkeypatch.setattr(nginx, "time", SimpleNamespace(
        monotonic=found.monotonic, sleep=found.slept.append))
    return found


LIVE = Path("/etc/letsencrypt/live/a")
FULLCHAIN = LIVE / "fullchain.pem"
DOCKER = "docker exec web nginx"


def deploy(control: Nginx) -> Outcome:
    """Deploy the newest version of a lineage."""
    return control.deploy(LIVE, FULLCHAIN, (SAN,), NEW)


def block(name: str = SAN, listen: str = "443 ssl", certificates: tuple[Path | str, ...] = (
        FULLCHAIN,)) -> str:
    """A server block."""
    return (f"server {{ listen {listen}; server_name {name}; "
            + " ".join(f"ssl_certificate {path};" for path in certificates) + " }")


@pytest.mark.parametrize(("test", "reload", "systemd", "expected"), [
    ("nginx -t", None, None, ["nginx -t", "nginx -s reload", "nginx -T"]),
    ("nginx -t", None, 0, ["nginx -t", "systemctl is-active --quiet nginx",
                           "systemctl reload nginx", "nginx -T"]),
    ("nginx -t", None, 3, ["nginx -t", "systemctl is-active --quiet nginx", "nginx -s reload",
                           "nginx -T"]),
    ("nginx -t", None, 4, ["nginx -t", "systemctl is-active --quiet nginx", "nginx -s reload",
                           "nginx -T"]),
    ("nginx -t", "service nginx reload", 0, ["nginx -t", "service nginx reload", "nginx -T"]),
    ("nginx -t", f"{DOCKER} -s reload", 0,
     [f"{DOCKER} -t", f"{DOCKER} -s reload", f"{DOCKER} -T"]),
    (f"{DOCKER} -t", None, 0, [f"{DOCKER} -t", f"{DOCKER} -s reload", f"{DOCKER} -T"]),
    (f"{DOCKER} -t", "docker restart web", 0,
     [f"{DOCKER} -t", "docker restart web", f"{DOCKER} -T"]),
    ("my-nginx -p /srv -t -c n.conf", None, 0,
     ["my-nginx -p /srv -t -c n.conf", "my-nginx -p /srv -s reload -c n.conf",
      "my-nginx -p /srv -T -c n.conf"]),
    ("sudo -t nginx -t", None, None, ["sudo -t nginx -t", "sudo -t nginx -s reload",
                                      "sudo -t nginx -T"]),
    ("check", None, None, ["check", "nginx -s reload"]),
    ("check", None, 0, ["check", "systemctl is-active --quiet nginx", "systemctl reload nginx"]),
    ("my-nginx -t", f"{DOCKER} -s reload", 0,
     ["my-nginx -t", f"{DOCKER} -s reload", "my-nginx -T"]),
], ids=["nginx", "systemd", "systemd, inactive", "systemd, no unit", "given",
        "container by its reload",
        "container by its test", "container restarted", "own arguments", "the last -t", "wrapper",
        "wrapper, systemd", "both given"])
def test_commands(machine: Machine, test: str, reload: str | None, systemd: int | None,
                  expected: list[str]) -> None:
    """Test, reload and listing go to one nginx, the one that the user's commands name."""
    if systemd is not None:
        machine.installed.add("systemctl")
        machine.answers["systemctl is-active"] = Answer(systemd)
    deploy(Nginx(test, reload))
    assert expected == machine.ran


def test_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands speak English and find nginx, and the rest of the environment is theirs, too."""
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    monkeypatch.setenv("DOCKER_HOST", "tcp://other")
    monkeypatch.setenv("PATH", "/usr/bin")
    Nginx().test()
    [found] = machine.environments
    assert ("C", "tcp://other", "/usr/bin:/usr/local/sbin:/usr/sbin") == (
        found["LC_ALL"], found["DOCKER_HOST"], found["PATH"])


# No nginx, or none that runs


def test_absent(machine: Machine) -> None:
    """Without any nginx nothing is run, and that is no error."""
    machine.installed.clear()
    control = Nginx()
    control.test()
    assert Outcome("absent", "there is no nginx on this machine") == deploy(control)
    assert [] == machine.ran


def test_absent_but_reload_given(machine: Machine) -> None:
    """A reload of the user's is run even if there is no nginx to test or to ask."""
    machine.installed.clear()
    assert "unconfirmed" == deploy(Nginx(reload_cmd="restart-web")).kind
    assert ["restart-web"] == machine.ran


def test_own_test_command_is_never_absent(machine: Machine) -> None:
    """What the user names must be there."""
    machine.installed.clear()
    machine.answers["my-nginx"] = FileNotFoundError(2, "No such file or directory")
    with pytest.raises(errors.NginxError, match=nginx.TEST_OPTION):
        Nginx("my-nginx -t").test()


NOT_RUNNING = {
    "empty pid": 'nginx: [error] invalid PID number "" in "/run/nginx.pid"',
    "no pid file": 'nginx: [error] open() "/run/nginx.pid" failed (2: No such file or directory)',
    "no process": "2026/11/22 [alert] 4872#4872: kill(999999, 1) failed (3: No such process)",
}


@pytest.mark.parametrize("words", NOT_RUNNING.values(), ids=NOT_RUNNING)
def test_not_running(machine: Machine, words: str) -> None:
    """An nginx that does not run is not started, and is no error; its leaf is not asked for."""
    machine.answers["nginx -s"] = Answer(1, stderr=words)
    assert Outcome("not running", "nginx is not running; it was not started") == deploy(Nginx())
    assert ["nginx -t", "nginx -s reload"] == machine.ran


@pytest.mark.parametrize("words", NOT_RUNNING.values(), ids=NOT_RUNNING)
def test_not_running_whatever_the_command(machine: Machine, words: str) -> None:
    """The same holds if the user says how to reload: nothing is to be put right by him."""
    machine.answers["nginx -s"] = Answer(1, stderr=words)
    assert "not running" == deploy(Nginx(reload_cmd="nginx -s reload")).kind


@pytest.mark.parametrize("words", [
    "nginx.service is not active, cannot reload.",
    "Error response from daemon: container 4f2d is not running",
    "Error: can only create exec sessions on running containers: container state improper",
], ids=["systemctl", "docker", "podman"])
def test_its_service_or_container_is_stopped(machine: Machine, words: str) -> None:
    """A stopped container has not even a configuration that could be tested."""
    for part in ("nginx -t", "nginx -s"):
        machine.answers = {part: Answer(1, stderr=words)}
        assert "not running" == deploy(Nginx(reload_cmd="nginx -s reload")).kind


def test_given_reload_must_work(machine: Machine) -> None:
    """A user's reload command that fails for any other reason is an error."""
    machine.answers["nginx -s"] = Answer(1, stderr="Error: No such container: web")
    with pytest.raises(errors.NginxError, match=nginx.RELOAD_OPTION):
        deploy(Nginx(reload_cmd="nginx -s reload"))


def test_words_of_one_that_runs(machine: Machine) -> None:
    """A reload that succeeded did so, whatever it complains about."""
    machine.answers["nginx -s"] = Answer(0, stderr=NOT_RUNNING["no process"])
    assert "unconfirmed" == deploy(Nginx()).kind


# What fails


FAILURES = {
    "emerg": 'nginx: [emerg] open() "/etc/nginx/nginx.conf" failed (2: No such file or directory)',
    "log": 'nginx: [alert] could not open error log file: open() "/x" failed (2: No such file)',
    "not allowed": "nginx: [alert] kill(4711, 1) failed (1: Operation not permitted)",
}


@pytest.mark.parametrize("words", FAILURES.values(), ids=FAILURES)
def test_failing_reload(machine: Machine, words: str) -> None:
    """Any other reason is an error, with nginx's words, the command and its option."""
    machine.answers["nginx -s"] = Answer(1, stderr=words)
    with pytest.raises(errors.NginxError) as caught:
        deploy(Nginx())
    assert (f"nginx's reload failed: 'nginx -s reload' ({nginx.RELOAD_OPTION}) exited with status "
            f"1: {words}") == str(caught.value)


def test_failing_test(machine: Machine) -> None:
    """Both streams are quoted, whatever bytes are in them, and nothing is reloaded."""
    machine.answers["nginx -t"] = Answer(1, "to stdout \udcff\n", "[emerg] unknown \udce9\n")
    with pytest.raises(errors.NginxError) as caught:
        deploy(Nginx())
    assert (f"nginx's configuration test failed: 'nginx -t' ({nginx.TEST_OPTION}) exited with "
            "status 1: to stdout \ufffd\n[emerg] unknown \ufffd") == str(caught.value)
    assert ["nginx -t"] == machine.ran


@pytest.mark.parametrize(("output", "shown"), [
    ("", "(no output)"), ("x" * 1999 + "y", "x" * 1999 + "y"), ("z" + "x" * 2000, "x" * 2000)],
    ids=["none", "as long as allowed", "longer"])
def test_long_output(machine: Machine, output: str, shown: str) -> None:
    """Of a long output the end is shown, where the reason is."""
    machine.answers["nginx -t"] = Answer(1, stderr=output)
    with pytest.raises(errors.NginxError) as caught:
        Nginx().test()
    assert f"status 1: {shown}" == str(caught.value).partition("with ")[2]


@pytest.mark.parametrize(("command", "option", "ran"), [
    ("nginx -t", nginx.TEST_OPTION, 1), ("nginx -s", nginx.RELOAD_OPTION, 2)],
    ids=["test", "reload"])
@pytest.mark.parametrize(("answer", "words"), [
    (OSError(13, "Permission denied"), r"Could not run '{}.*' \({}\): .*Permission denied"),
    (Answer(hangs=True), r"'{}.*' \({}\) did not end within 2\.5 seconds and was stopped")],
    ids=["cannot be started", "hangs"])
def test_commands_that_do_not_end(machine: Machine, command: str, option: str, ran: int,
                                  answer: Answer | OSError, words: str) -> None:
    """The error names the command and its option, and nothing else is run after it."""
    machine.answers[command] = answer
    with pytest.raises(errors.NginxError, match=words.format(command, option)):
        deploy(Nginx(timeout_seconds=2.5))
    assert ran == len(machine.ran)


def test_hanging_command_is_stopped(machine: Machine) -> None:
    """With all its children, and it is waited for; one that has ended is left alone."""
    machine.answers["nginx -s"] = Answer(hangs=True)
    with pytest.raises(errors.NginxError):
        deploy(Nginx())
    assert [(4711, signal.SIGKILL)] == machine.groups_killed


def test_interruption_stops_the_command(machine: Machine,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C leaves no command behind."""
    def wait(self: Process, timeout: float | None = None) -> int:
        if not self.killed:
            raise KeyboardInterrupt
        return 0

    machine.answers["nginx -t"] = Answer(hangs=True)
    monkeypatch.setattr(Process, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        Nginx().test()
    assert 1 == len(machine.groups_killed)


# What cannot be told


@pytest.mark.parametrize("answer", [
    Answer(1), Answer(hangs=True), Answer(stdout="nonsense\n"), Answer(stdout="\udcff\n"),
    Answer(stdout="# configuration file /etc/nginx/nginx.conf:\nhttp { server {\n"), OSError("no"),
], ids=["fails", "hangs", "nonsense", "no text", "cut off", "cannot be started"])
def test_no_listing(machine: Machine, answer: Answer | OSError) -> None:
    """A configuration that cannot be listed is no error, and nobody is asked."""
    machine.answers["nginx -T"] = answer
    outcome = deploy(Nginx())
    assert "unconfirmed" == outcome.kind
    assert "could not be listed" in outcome.detail
    assert [] == machine.asked


def test_certificates_by_variables(machine: Machine) -> None:
    """Certificates named by variables may or may not be ours; one that is ours is asked for."""
    variable = block("b.example.com", certificates=("/live/$ssl_server_name/fullchain.pem",))
    machine.lists(variable)
    outcome = deploy(Nginx())
    assert "unconfirmed" == outcome.kind
    assert "depends on variables" in outcome.detail
    machine.lists(variable, block())
    machine.serves(NEW)
    assert "reloaded" == deploy(Nginx()).kind


@pytest.mark.parametrize("servers", [
    [], [block(certificates=("/etc/ssl/copy.pem",))],
    [block(certificates=("/etc/letsencrypt/live/b/fullchain.pem",))]],
    ids=["no block", "a copy", "another lineage"])
def test_unused(machine: Machine, servers: list[str]) -> None:
    """Files that no block uses are pointed out, with the option for who wants it so."""
    machine.lists(*servers)
    outcome = deploy(Nginx())
    assert "unused" == outcome.kind
    assert f"no server block of nginx uses the files in {LIVE}" in outcome.detail
    assert "--qiniu-skip-nginx" in outcome.detail


def test_users_behind_links(machine: Machine, tmp_path: Path) -> None:
    """A block may name the archive, or the live folder by way of a link."""
    live, archive = tmp_path / "live" / "a", tmp_path / "archive" / "a"
    live.mkdir(parents=True)
    archive.mkdir(parents=True)
    (archive / "fullchain2.pem").touch()
    (live / "fullchain.pem").symlink_to(archive / "fullchain2.pem")
    (tmp_path / "link").symlink_to(live)
    machine.serves(NEW)
    for path in (live / "fullchain.pem", archive / "fullchain2.pem",
                 tmp_path / "link" / "fullchain.pem"):
        machine.lists(block(certificates=(path,)))
        assert "reloaded" == Nginx().deploy(live, live / "fullchain.pem", (SAN,), NEW).kind, path
    machine.lists(block(certificates=(tmp_path / "fullchain.pem",)))
    assert "unused" == Nginx().deploy(live, live / "fullchain.pem", (SAN,), NEW).kind


# Proof


def test_reloaded(machine: Machine) -> None:
    """The block is asked by its name at its address, and the result names that."""
    machine.lists(block(listen="8443 ssl"))
    machine.serves(NEW, port=8443)
    assert Outcome("reloaded", f"nginx serves the certificate at 127.0.0.1:8443 ({SAN})") == (
        deploy(Nginx()))
    assert [("127.0.0.1", 8443, SAN, "", False)] == machine.asked
    assert [] == machine.slept


@pytest.mark.parametrize(("answers", "patience", "asked", "kind"), [
    ([OLD, OLD, NEW], 10, 3, "reloaded"), ([None, None, NEW], 10, 3, "reloaded"),
    ([OLD, NEW], 0, 2, "reloaded"), ([None], 0.5, 4, "unconfirmed"), ([None], 0, 2, "unconfirmed"),
    ([OLD], 0.5, 4, ""), ([OLD], 0, 2, "")],
    ids=["old workers", "not yet there", "no patience", "nobody", "nobody, no patience",
         "still another", "still another, no patience"])
def test_patience(machine: Machine, answers: list[str | None], patience: float, asked: int,
                  kind: str) -> None:
    """New workers may take a moment; it is asked again in growing pauses until patience ends."""
    machine.lists(block())
    machine.serves(*answers)
    control = Nginx(patience_seconds=patience)
    if kind:
        assert kind == deploy(control).kind
    else:
        with pytest.raises(errors.NginxError, match="still serves another certificate"):
            deploy(control)
    assert asked == len(machine.asked)
    assert sorted(machine.slept) == machine.slept


def test_pauses(machine: Machine) -> None:
    """They grow to a second and no further, and in all last hardly longer than patience."""
    machine.lists(block())
    machine.serves(None)
    deploy(Nginx(patience_seconds=10))
    assert [0.1, 0.2, 0.4, 0.8, 1.0] == machine.slept[:5]
    assert 1.0 == max(machine.slept)
    assert 10 < sum(machine.slept) < 11.1


def test_another_leaf(machine: Machine) -> None:
    """The error says where it is served, where to look, and the option."""
    machine.lists(block())
    machine.serves(OLD)
    with pytest.raises(errors.NginxError) as caught:
        deploy(Nginx())
    for part in (f"127.0.0.1:443 ({SAN})", "see its error log", nginx.RELOAD_OPTION):
        assert part in str(caught.value)


@pytest.mark.parametrize(("test", "kind"), [
    ("nginx -t", ""), ("/opt/openresty/nginx/sbin/nginx -t", ""), ("openresty -t", ""),
    ("/usr/sbin/angie -t", ""), ("tengine -t", ""), (f"{DOCKER} -t", "unconfirmed"),
    ("sudo nginx -t", "unconfirmed"), ("ssh web nginx -t", "unconfirmed")])
def test_whose_answer_is_proof(machine: Machine, test: str, kind: str) -> None:
    """Another leaf here says something about nginx only if that is sure to run here."""
    machine.lists(block(), program=test[:-1] + "T")
    machine.serves(OLD)
    if kind:
        assert kind == deploy(Nginx(test)).kind
    else:
        with pytest.raises(errors.NginxError):
            deploy(Nginx(test))


@pytest.mark.parametrize(("one", "other", "kind"), [
    (NEW, NEW, "reloaded"), (NEW, None, "reloaded"), (None, None, "unconfirmed"), (NEW, OLD, ""),
    (OLD, None, "")], ids=["both", "one, and nobody", "nobody", "one, and another", "another"])
def test_several_blocks(machine: Machine, one: str | None, other: str | None, kind: str) -> None:
    """One right answer speaks for those that cannot be asked, but not for a wrong one."""
    machine.lists(block(), block("b.example.com", "8443 ssl"))
    machine.serves(one)
    machine.serves(other, name="b.example.com", port=8443)
    if not kind:
        with pytest.raises(errors.NginxError):
            deploy(Nginx())
        return
    outcome = deploy(Nginx())
    assert kind == outcome.kind
    assert (one is not None) == ("nginx serves the certificate at" in outcome.detail)
    assert (other is NEW or one is None) == ("8443 (b.example.com)" in outcome.detail)


def test_right_answers_are_not_asked_for_again(machine: Machine) -> None:
    """While one block is waited for, the others have been seen."""
    machine.lists(block(), block("b.example.com", "8443 ssl"))
    machine.serves(NEW)
    machine.serves(OLD, OLD, NEW, name="b.example.com", port=8443)
    assert "reloaded" == deploy(Nginx()).kind
    assert [443, 8443, 8443, 8443] == [port for _, port, *_ in machine.asked]


@pytest.mark.parametrize(("listen", "place"), [
    ("unix:/run/web.sock ssl", "any TCP address"), ("80", "*:80 (http)"),
    ("192.0.2.7:443 ssl", "192.0.2.7:443 (http)")], ids=["socket", "no TLS", "elsewhere"])
def test_nobody_to_ask(machine: Machine, listen: str, place: str) -> None:
    """What cannot be asked over TCP and TLS is not waited for."""
    machine.lists(block(listen=listen))
    outcome = deploy(Nginx())
    assert "unconfirmed" == outcome.kind
    assert outcome.detail.endswith(f"at {place}")
    assert ([], []) == (machine.asked, machine.slept)


TWO = (FULLCHAIN, "/etc/ssl/rsa.pem")


@pytest.mark.parametrize(("leaves", "kind"), [
    ([OLD, NEW, OLD], "reloaded"), ([OLD, OLD, NEW], "reloaded"), ([NEW, OLD, OLD], "reloaded"),
    ([OLD, None, None], "unconfirmed"), ([OLD, OLD, OLD], "")],
    ids=["ECDSA", "RSA", "preferred", "hidden", "neither"])
def test_two_kinds_of_keys(machine: Machine, leaves: list[str | None], kind: str) -> None:
    """Of a block with two certificates ours is looked for; what cannot be seen may be right."""
    machine.lists(block(certificates=TWO))
    machine.serves(*leaves, *leaves)
    control = Nginx(patience_seconds=-1)
    if kind:
        assert kind == deploy(control).kind
    else:
        with pytest.raises(errors.NginxError):
            deploy(control)
    assert ["", "ECDSA", "RSA"] == [asked[3] for asked in machine.asked]


def test_proxy_protocol(machine: Machine) -> None:
    """A block that expects it is asked by it."""
    machine.lists(block(listen="443 ssl proxy_protocol"))
    machine.serves(NEW)
    assert "reloaded" == deploy(Nginx()).kind
    assert [True] == [asked[4] for asked in machine.asked]


# Only what is certain fails a run


@pytest.mark.parametrize(("name", "asked"), [
    ("203.0.113.5 a.example.com", SAN),
    ("2001:db8::5 a.example.com", SAN),
    ("203.0.113 a.example.com", SAN),
    ("https://a.example.com a.example.com", SAN),
    ("https://a.example.com", None),
    ("a.example.com:443 a.example.com", SAN),
    ("b.example.com. a.example.com", SAN),
    ("b/a.example.com a.example.com", SAN),
    (f"{'x' * 64}.example.com a.example.com", SAN),
    ("$hostname a.example.com", "web7"),
    ("web_7.example.com", "web_7.example.com"),
])
def test_names_that_tls_can_ask_for(machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str,
                                    asked: str | None) -> None:
    """A block is asked by names of hosts alone: for others the default block answers."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="WEB7"))
    machine.lists(block("default.example.com", certificates=("/etc/ssl/other.pem",)), block(name))
    machine.leaves |= {("127.0.0.1", 443, asked or ""): [NEW]}
    kind = deploy(Nginx()).kind
    assert ("reloaded", [asked]) if asked else ("unconfirmed", []) == (
        kind, [name for _, _, name, *_ in machine.asked])


def test_an_address_that_another_machine_holds(machine: Machine) -> None:
    """It is not asked: its answer would be no answer of this nginx."""
    machine.lists(block(listen="192.0.2.7:443 ssl"))
    machine.leaves["192.0.2.7", 443, SAN] = [OLD]
    assert "unconfirmed" == deploy(Nginx()).kind
    machine.addresses.add("192.0.2.7")
    with pytest.raises(errors.NginxError):
        deploy(Nginx(patience_seconds=0))


@pytest.mark.parametrize("listen", ["localhost:443 ssl", "440-450 ssl"], ids=["name", "range"])
def test_another_block_that_may_be_at_the_same_address(machine: Machine, listen: str) -> None:
    """It is unknown who answers there, so a wrong answer proves nothing."""
    machine.addresses.add("localhost")
    machine.lists(block(listen="127.0.0.1:443 ssl"),
                  block(SAN, listen=listen, certificates=("/etc/ssl/other.pem",)))
    machine.serves(OLD)
    assert "unconfirmed" == deploy(Nginx()).kind


@pytest.mark.parametrize("pattern", [
    "^(?i)", "^x\\Ky", "^[[:alnum:]]+$", "(?>a)", "a++", "\\Qa.\\E", "(?|a|b)", "(*UCP)a", "a{,2}",
    "\\x61", "\\h", "(?#a)"])
@pytest.mark.parametrize(("served", "kind"), [(OLD, "unconfirmed"), (NEW, "reloaded")])
def test_regular_expressions_of_pcre_alone(machine: Machine, pattern: str, served: str,
                                           kind: str) -> None:
    """Whether they match is not known here: a wrong answer proves nothing, a right one does."""
    machine.lists(block("default.example.com", certificates=("/etc/ssl/other.pem",)),
                  block(f"'~{pattern}'"))
    machine.serves(served)
    assert kind == deploy(Nginx(patience_seconds=0)).kind


def test_regular_expressions_that_do_not_matter(machine: Machine) -> None:
    """Exact names and wildcards come first, so that a wrong answer for them is one."""
    machine.lists(block("~^(?i)", certificates=("/etc/ssl/other.pem",)), block())
    machine.serves(OLD)
    with pytest.raises(errors.NginxError):
        deploy(Nginx(patience_seconds=0))


def test_certificates_that_a_script_chooses(machine: Machine) -> None:
    """OpenResty may serve another certificate than the one that is configured."""
    machine.lists("""server { listen 443 ssl; server_name a.example.com;
        ssl_certificate_by_lua_block { if x then y = "}" end }
        ssl_certificate /etc/letsencrypt/live/a/fullchain.pem; }""")
    machine.serves(OLD)
    assert "unconfirmed" == deploy(Nginx()).kind


@pytest.mark.parametrize(("master", "kind"), [
    (Master(7, "/usr/sbin/nginx"), ""), (Master(7, obstacle="cannot be seen"), ""),
    (Master(7, "/usr/sbin/nginx", is_here=False), "unconfirmed"),
    (Master(7, "/opt/nginx"), "unconfirmed")], ids=["here", "unseen", "container", "another"])
def test_whose_master_answers(machine: Machine, master: Master, kind: str) -> None:
    """A script by the name of nginx may reach another one than the one that answers here."""
    machine.masters.append(master)
    machine.lists(block())
    machine.serves(OLD)
    if kind:
        assert kind == deploy(Nginx(patience_seconds=0)).kind
    else:
        with pytest.raises(errors.NginxError):
            deploy(Nginx(patience_seconds=0))


# Where a certificate is used outside of http


@pytest.mark.parametrize(("text", "asked"), [
    ("mail {{ server {{ listen 993 ssl; {files} }} }}", 993),
    ("mail {{ ssl on; {files} server {{ listen 993; }} }}", 993),
    ("stream {{ {files} server {{ listen 853 ssl; }} }}", 853),
    ("stream {{ server {{ listen 853 ssl; {files} }} }} http {{ }}", 853)])
def test_mail_and_stream(machine: Machine, text: str, asked: int) -> None:
    """What nginx serves as a mail or TCP proxy is asked as a web server is."""
    machine.lists_all(text.format(files=f"ssl_certificate {FULLCHAIN};"))
    machine.serves(NEW, port=asked)
    assert Outcome("reloaded", f"nginx serves the certificate at 127.0.0.1:{asked} ({SAN})") == (
        deploy(Nginx()))


def test_mail_with_starttls(machine: Machine) -> None:
    """What cannot be asked is said as it is, and is no reason to leave nginx alone."""
    machine.lists_all("mail { server { listen 143; starttls on; "
                      f"ssl_certificate {FULLCHAIN}; }} }}")
    outcome = deploy(Nginx())
    assert ("unconfirmed", True) == (outcome.kind, outcome.detail.endswith("at *:143 (mail)"))


def test_a_certificate_that_clients_never_see(machine: Machine) -> None:
    """nginx shows it to another server: it is in use, and is not asked for."""
    machine.lists(f"server {{ location / {{ proxy_ssl_certificate {FULLCHAIN}; }} }}")
    outcome = deploy(Nginx())
    assert ("unconfirmed", True) == (outcome.kind, "it names files in" in outcome.detail)
    machine.lists(f"server {{ # ssl_certificate {FULLCHAIN};\n}}")
    assert "unused" == deploy(Nginx()).kind


# One patience for all questions


def test_nobody_answers_at_twenty_addresses(machine: Machine, monkeypatch: pytest.MonkeyPatch
                                            ) -> None:
    """Each question has its share of one patience."""
    def nobody(*_place: object, timeout_seconds: float, **_options: object) -> None:
        machine.slept.append(timeout_seconds)

    monkeypatch.setattr(nginx, "served_leaf", nobody)
    addresses = [f"192.0.2.{number}" for number in range(1, 21)]
    machine.addresses |= set(addresses)
    machine.lists(*(block(listen=f"{address}:443 ssl") for address in addresses))
    outcome = deploy(Nginx(patience_seconds=10))
    assert "unconfirmed" == outcome.kind
    assert machine.monotonic() <= 10 + 1
    assert outcome.detail.endswith("and 15 more")
    waited = machine.monotonic()
    assert "unconfirmed" == deploy(Nginx(patience_seconds=10)).kind
    assert machine.monotonic() - waited <= 5  # another lineage


def test_a_slow_configuration(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes nginx long to test it takes as long to load."""
    real = machine.popen

    def slow(argv: list[str], **options: Any) -> Process:
        machine.slept.append(2.5)
        return real(argv, **options)

    monkeypatch.setattr(subprocess, "Popen", slow)
    machine.lists(block())
    machine.serves(*[OLD] * 20, NEW)
    assert "reloaded" == deploy(Nginx(patience_seconds=10)).kind


# Which nginx runs


OPENRESTY = Master(7, "/usr/local/openresty/nginx/sbin/nginx", (
    "/usr/local/openresty/nginx/sbin/nginx", "-c", "/srv/n.conf"))


@pytest.mark.parametrize(("installed", "masters", "expected"), [
    ((), [OPENRESTY], "/usr/local/openresty/nginx/sbin/nginx -c /srv/n.conf -t"),
    (("nginx",), [OPENRESTY], "/usr/local/openresty/nginx/sbin/nginx -c /srv/n.conf -t"),
    (("nginx",), [Master(7, "/usr/sbin/nginx", ("/usr/sbin/nginx",)), OPENRESTY], "nginx -t"),
    (("nginx",), [OPENRESTY, Master(8, "/opt/nginx", ("/opt/nginx",))], "nginx -t"),
    (("nginx",), [replace(OPENRESTY, is_here=False)], "nginx -t"),
    (("nginx",), [replace(OPENRESTY, obstacle="is another user's")], "nginx -t"),
], ids=["not in the path", "another in the path", "the one in the path", "several", "container",
        "another user's"])
def test_the_one_that_runs(machine: Machine, installed: tuple[str, ...], masters: list[Master],
                           expected: str) -> None:
    """If nobody says which nginx is meant, it is the one that runs."""
    machine.installed, machine.masters = set(installed), masters
    control = Nginx()
    assert f"its configuration is sound ({expected})" == control.test()
    deploy(control)
    assert [expected, expected.replace("-t", "-s reload")] == machine.ran[1:3]


@pytest.mark.parametrize(("masters", "words"), [
    ([replace(OPENRESTY, obstacle="is another user's")], "process 7 is another user's"),
    ([OPENRESTY, Master(8, "/opt/nginx", ("/opt/nginx",))], "several, from different programs")])
def test_one_that_is_out_of_reach(machine: Machine, masters: list[Master], words: str) -> None:
    """It is said, with the options that name it; nothing of it is run."""
    machine.installed.clear()
    machine.masters = masters
    outcome = deploy(Nginx())
    assert ("out of reach", []) == (outcome.kind, machine.ran)
    for part in (words, nginx.TEST_OPTION, nginx.RELOAD_OPTION):
        assert part in outcome.detail
        assert part in Nginx().test()
    assert Nginx().is_idle


@pytest.mark.parametrize(("reload", "is_idle"), [
    (None, True), ("systemctl reload nginx", True), ("/usr/sbin/nginx -s reload", True),
    (f"{DOCKER} -s reload", False), ("./reload.sh", False)])
def test_nothing_to_reload(machine: Machine, reload: str | None, *, is_idle: bool) -> None:
    """If no nginx runs there is nothing to plan, whichever command would reload it."""
    assert not Nginx(reload_cmd=reload).is_idle
    machine.runs = False
    assert is_idle is Nginx(reload_cmd=reload).is_idle


def test_one_in_a_container(machine: Machine) -> None:
    """It is no nginx of this machine's."""
    machine.installed.clear()
    machine.masters.append(replace(OPENRESTY, is_here=False))
    assert "absent" == deploy(Nginx()).kind
    assert "there is none on this machine, and nothing was tested" == Nginx().test()


def test_doctor_knows_the_command(machine: Machine) -> None:
    """What was found comes with the command that was run."""
    assert f"its configuration is sound ({DOCKER} -t)" == Nginx(reload_cmd=f"{DOCKER} -s reload"
                                                                ).test()
    machine.answers[DOCKER] = Answer(1, stderr="Error: container web is not running")
    assert f"it is not running, and was not tested ({DOCKER} -t)" == Nginx(f"{DOCKER} -t").test()


@pytest.mark.parametrize(("command", "kind"), [
    ("systemctl reload nginx", "not running"), ("service nginx reload", "not running"),
    ("systemctl reload openresty.service", "not running"), ("pkill -HUP nginx", "not running"),
    ("/etc/init.d/nginx reload", "not running"), ("killall -s HUP nginx", "not running"),
    ("sudo systemctl reload nginx", "not running"),
    ("supervisorctl signal HUP nginx", "not running"), ("docker kill -s HUP nginx", ""),
    ("ssh web systemctl reload nginx", ""), ("/opt/nginx/deploy", ""), ("pkill apache", "")])
def test_a_signal_without_a_process(machine: Machine, command: str, kind: str) -> None:
    """If no nginx runs, a failing reload of it is no error, whatever it has said."""
    machine.runs = False
    machine.answers[command] = Answer(1)
    if kind:
        assert kind == deploy(Nginx(reload_cmd=command)).kind
    else:
        with pytest.raises(errors.NginxError):
            deploy(Nginx(reload_cmd=command))
    machine.runs = True
    with pytest.raises(errors.NginxError):
        deploy(Nginx(reload_cmd=command))
