"""Test and reload nginx, then ask it over TLS which leaf it serves.

``nginx -s reload`` exits 0 even if the reload failed, so only asking shows the result. nginx's own
dump of its configuration (``nginx -T``) shows where to ask.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from certbot_qiniu import errors
from certbot_qiniu.failures import first_of
from certbot_qiniu.options import parse_command
from certbot_qiniu.webserver import local, nginx_config
from certbot_qiniu.webserver.nginx_dump import Dump
from certbot_qiniu.webserver.tls import KeyKind, served_leaf

logger = logging.getLogger(__name__)

TEST_OPTION = "--qiniu-nginx-test-cmd"
RELOAD_OPTION = "--qiniu-nginx-reload-cmd"

_DEFAULT_TEST = ["nginx", "-t"]
_OUTPUT_LIMIT = 2000  # characters: the end of what nginx said, where the reason is
_ANSWER_SECONDS = 3.0
_SHORTEST_ANSWER_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 1.0
_SLOWEST_SECONDS = 6.0
_LISTED = 5  # addresses in one line
_NOT_RUNNING = re.compile(r'\[error\].*(?:invalid PID number|open\(\) ".*" failed \(2:)'
                          r"|\[alert\].*kill\(.*\) failed \(3:"
                          # systemctl; docker and podman, where the container of nginx is stopped
                          r"|\.service is not active, cannot reload|[Cc]ontainer \S+ is not running"
                          r'|service "\S+" is not running'
                          r"|can only create exec sessions on running containers")
# These say little or nothing if there is no process to signal.
_SIGNALLING = {"service", "rc-service", "systemctl", "supervisorctl", "sv", "pkill", "killall"}


@dataclass(frozen=True)
class Outcome:
    """The result of a reload.

    :ivar kind: ``reloaded`` (seen to serve the leaf), ``unconfirmed`` (reloaded, but it could not
        be asked), ``absent`` (no nginx here), ``out of reach`` (one runs that we must not run),
        ``not running``, or ``unused`` (reloaded, but no server block uses the files of this
        lineage).
    """

    kind: Literal["reloaded", "unconfirmed", "absent", "out of reach", "not running", "unused"]
    detail: str


class Nginx:
    """The nginx of this machine, or the one that the user's commands reach.

    :param test_cmd: tests the configuration.
    :param reload_cmd: None for ``systemctl reload nginx`` or ``nginx -s reload``, as it fits.
    :param timeout_seconds: how long a command may take.
    :param patience_seconds: how long all new workers may take to show up after a reload, for each
        second that a test takes.
    :raises errors.UsageError: if a command cannot be split.
    """

    silent_seconds: ClassVar[float] = 0.0
    """The time that this process has waited at addresses where nobody answered at all."""

    def __init__(self, test_cmd: str = "nginx -t", reload_cmd: str | None = None, *,
                 timeout_seconds: float = 60.0, patience_seconds: float = 10.0) -> None:
        self._test = parse_command(test_cmd, TEST_OPTION)
        self._reload = None if reload_cmd is None else parse_command(reload_cmd, RELOAD_OPTION)
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._test_seconds = 0.0
        self._out_of_reach = ""
        if self._test == _DEFAULT_TEST and self._reload:
            # `docker exec web nginx -s reload` says which nginx is meant: test that one.
            self._test = _swap(self._reload, ["-s", "reload"], ["-t"]) or self._test
        if self._test == _DEFAULT_TEST:
            self._test, self._out_of_reach = _find_running(_program("nginx"))
        self._absent = self._test == _DEFAULT_TEST and not _program("nginx")

    @property
    def is_absent(self) -> bool:
        """Whether this machine has no nginx, and there is no command for one elsewhere."""
        return self._absent and self._reload is None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to reload: no nginx on this machine, or none that runs."""
        is_local = (self._test == _DEFAULT_TEST if self._reload is None else
                    local.PROGRAM.fullmatch(Path(self._reload[0]).name)
                    or _signals_nginx(self._reload))
        return self.is_absent or bool(is_local and not local.runs())

    def test(self) -> str:
        """Test the configuration; do nothing if there is no nginx here.

        :returns: what was found, and by which command.
        :raises errors.NginxError: if it is broken, or the test cannot be run.
        """
        if self._absent:
            return self._out_of_reach or "there is none on this machine, and nothing was tested"
        shown = shlex.join(self._test)
        return (f"its configuration is sound ({shown})" if self._is_testable() else
                f"it is not running, and was not tested ({shown})")

    def _is_testable(self) -> bool:
        """Return whether the configuration is sound; false if nothing runs that could test it."""
        if self._absent:
            return True
        start = time.monotonic()
        result = self._run(self._test, TEST_OPTION)
        self._test_seconds = time.monotonic() - start
        if result.is_not_running:
            logger.info("%s: %s", result.shown, result.output[-_OUTPUT_LIMIT:])
            return False
        result.check("nginx's configuration test")
        return True

    def deploy(self, live_dir: Path, fullchain: Path, names: Sequence[str],
               fingerprint: str) -> Outcome:
        """Test, reload, and check that the leaf is served; never start nginx.

        :param live_dir: the lineage's folder under ``live``.
        :param fullchain: the lineage's fullchain; a link there is followed into the archive.
        :param names: the SANs.
        :param fingerprint: of the leaf that must be served.
        :raises errors.NginxError: if the test or the reload failed, or a server block with
            files of this lineage still serves another leaf.
        """
        if self.is_absent:
            return (Outcome("out of reach", self._out_of_reach) if self._out_of_reach
                    else Outcome("absent", "there is no nginx on this machine"))
        stopped = Outcome("not running", "nginx is not running; it was not started")
        if not self._is_testable():
            return stopped
        reload = self._run(self._reload or self._automatic_reload(), RELOAD_OPTION)
        if reload.is_not_running or (reload.status and _signals_nginx(reload.argv)
                                     and not local.runs()):
            return stopped
        reload.check("nginx's reload")
        dump = self._dump()
        servers = nginx_config.parse_servers(dump)
        if servers is None:
            return Outcome("unconfirmed", "nginx was reloaded, but its configuration could not be "
                           "listed, so it was not asked which certificate it serves")
        folders = {live_dir, live_dir.resolve(), fullchain.resolve().parent}
        users = [server for server in servers if server.uses(folders)]
        if users:
            return self._confirm(users, nginx_config.questions(
                servers, users, names, is_here=local.has_address), fingerprint)
        if any(server.has_variables for server in servers):
            return Outcome("unconfirmed", "nginx was reloaded, but which certificates it uses "
                           "depends on variables or a script, so it was not asked which one it "
                           "serves")
        if Dump(dump).mentions({str(folder) for folder in folders}):
            return Outcome("unconfirmed", f"nginx was reloaded; it names files in {live_dir}, but "
                           "in no server block that would show them to a client")
        return Outcome("unused", f"no server block of nginx uses the files in {live_dir}. If it "
                       "has copies of them, they are now old: let ssl_certificate name the files "
                       "themselves. If it has no part in this certificate: --qiniu-skip-nginx")

    def _automatic_reload(self) -> list[str]:
        """Return the reload command that belongs to the test command."""
        own = _swap(self._test, ["-t"], ["-s", "reload"])
        if own and self._test != _DEFAULT_TEST:
            return own
        is_active = ["systemctl", "is-active", "--quiet", "nginx"]
        if _program("systemctl") and not self._run(is_active, RELOAD_OPTION).status:
            return ["systemctl", "reload", "nginx"]
        return ["nginx", "-s", "reload"]

    def _dump(self) -> str:
        """Return nginx's configuration, "" if it cannot be listed."""
        command = _swap(self._test, ["-t"], ["-T"])
        if self._absent or command is None:
            return ""
        try:
            return self._run(command, TEST_OPTION).stdout
        except errors.NginxError as error:
            logger.debug("nginx's configuration cannot be listed: %s", error)
            return ""

    def _confirm(self, users: list[nginx_config.Server], questions: list[nginx_config.Question],
                 fingerprint: str) -> Outcome:
        """Ask which leaf is served, and make sense of the answers.

        :raises errors.NginxError: if it is certain that another one is.
        """
        right, wrong = self._ask_patiently(questions, fingerprint)
        if wrong and self._is_here():
            raise errors.NginxError(
                f"nginx was told to reload, but still serves another certificate at "
                f"{_listed(wrong)}: see its error log for the reason, and whether ssl_certificate "
                f"names the current file. Reload nginx by hand, or set {RELOAD_OPTION}")
        # nginx takes a configuration over as a whole: one right answer speaks for all blocks.
        if right:
            return Outcome("reloaded", f"nginx serves the certificate at {_listed(right)}")
        if questions:
            return Outcome("unconfirmed", "nginx was reloaded, but could not be seen to serve the "
                           f"certificate at {_listed(questions)}")
        places = [f"{nginx_config.shown(listen.address)} ({server.section})"
                  for server in users for listen in server.listens]
        return Outcome("unconfirmed", "nginx was reloaded, but cannot be asked from here which "
                       f"certificate it serves at {_listed(places) or 'any TCP address'}")

    def _ask_patiently(self, questions: list[nginx_config.Question], fingerprint: str,
                       ) -> tuple[list[nginx_config.Question], list[nginx_config.Question]]:
        """Ask until all answers are right, or patience ends.

        :returns: where the leaf is served, and where another one surely is.
        """
        # A reload takes nginx as long as a test does; large configurations take many seconds.
        slowness = min(max(self._test_seconds, 1.0), _SLOWEST_SECONDS)
        patience = self._patience_seconds * slowness
        deadline = time.monotonic() + patience
        pause = 0.1
        right: dict[nginx_config.Question, bool | None] = {}
        while True:
            begun = time.monotonic()
            # All lineages share the patience with addresses where nobody answers.
            is_new = Nginx.silent_seconds <= patience
            until = deadline if is_new else min(deadline, begun + _ANSWER_SECONDS)
            answers = _ask([question for question in questions if question not in right],
                           fingerprint, until)
            right |= {question: answer for question, answer in answers.items() if answer}
            wrong = [question for question, answer in answers.items()
                     if answer is False and question.is_sure]
            is_silent = set(answers.values()) == {None}
            if is_silent:
                Nginx.silent_seconds += time.monotonic() - begun
            if ((right and not wrong) or not questions or time.monotonic() > deadline
                    or (is_silent and not is_new)):
                break
            time.sleep(pause)
            Nginx.silent_seconds += pause * is_silent
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return list(right), wrong

    def _is_here(self) -> bool:
        """Return whether this nginx is certainly the one that answers in our own network.

        127.0.0.1 in a container is another address than the one asked here.
        """
        if not local.PROGRAM.fullmatch(Path(self._test[0]).name):
            return False
        program = os.path.realpath(_program(self._test[0]) or self._test[0])
        found = [master.program for master in local.masters() if master.is_here]
        return not local.masters() or program in found or "" in found

    def _run(self, argv: list[str], option: str) -> _Result:
        """Run a command to its end.

        :raises errors.NginxError: if it cannot be started or does not end; names *option*.
        """
        shown = f"'{shlex.join(argv)}' ({option})"
        logger.debug("Running %s", shown)
        # Files, not pipes: a daemon left behind may hold a pipe open for ever.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(  # noqa: S603 (the administrator's own command)
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                    env={**os.environ, "PATH": _search_path(), "LC_ALL": "C"})
            except OSError as error:
                raise errors.NginxError(f"Could not run {shown}: {error}") from error
            try:
                status = process.wait(self._timeout_seconds)
            except subprocess.TimeoutExpired as error:
                raise errors.NginxError(f"{shown} did not end within {self._timeout_seconds:g} "
                                        "seconds and was stopped") from error
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            out.seek(0)
            err.seek(0)
            return _Result(argv, shown, status, out.read().decode("utf-8", "replace"),
                           err.read().decode("utf-8", "replace"))


@dataclass(frozen=True)
class _Result:
    """A command that ended."""

    argv: list[str]
    shown: str
    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return (self.stdout + self.stderr).strip()

    @property
    def is_not_running(self) -> bool:
        """Return whether it failed because no nginx runs."""
        return bool(self.status and _NOT_RUNNING.search(self.output))

    def check(self, what: str) -> None:
        """Raise :class:`errors.NginxError` unless the command succeeded."""
        if self.status:
            raise errors.NginxError(f"{what} failed: {self.shown} exited with status {self.status}"
                                    f": {self.output[-_OUTPUT_LIMIT:] or '(no output)'}")


def _ask(questions: list[nginx_config.Question], fingerprint: str,
         deadline: float) -> dict[nginx_config.Question, bool | None]:
    """Collect the answers until *deadline*; each has a fair share of the time."""
    answers = {}
    for number, question in enumerate(questions):
        left = deadline - time.monotonic()
        if number and left <= 0:
            break
        share = max(left / (len(questions) - number), _SHORTEST_ANSWER_SECONDS)
        answers[question] = _serves(question, fingerprint, min(share, _ANSWER_SECONDS))
    return answers


def _serves(question: nginx_config.Question, fingerprint: str,
            timeout_seconds: float) -> bool | None:
    """Return whether the leaf with *fingerprint* is served, None if unknown."""
    kinds: tuple[KeyKind, ...] = ("", "ECDSA", "RSA") if question.several else ("",)
    leaves = [served_leaf(question.host, question.port, question.name, kind=kind,
                          proxied=question.proxied, timeout_seconds=timeout_seconds / len(kinds))
              for kind in kinds]
    if fingerprint in [leaf.fingerprint for leaf in leaves if leaf]:
        return True
    return None if None in leaves else False


def _find_running(installed: str | None) -> tuple[list[str], str]:
    """Return the test command of this machine's nginx, and why the running one cannot be used.

    :param installed: the program by that name in the search path.
    """
    found = [master for master in local.masters() if master.is_here]
    usable = {master.command for master in found if not master.obstacle}
    if not found or (installed and os.path.realpath(installed) in {
            master.program for master in found}):
        return _DEFAULT_TEST, ""
    if len(usable) == 1:
        return [*usable.pop(), "-t"], ""
    if installed:
        return _DEFAULT_TEST, ""
    reasons = [f"process {master.pid} {master.obstacle}" for master in found if master.obstacle]
    return _DEFAULT_TEST, (
        f"one runs ({'; '.join(reasons) or 'several, from different programs'}) "
        "that is not in the search path, and was neither tested nor reloaded: name its commands "
        f"with {TEST_OPTION} and {RELOAD_OPTION}, or use --qiniu-skip-nginx")


def _signals_nginx(argv: list[str]) -> bool:
    """Return whether a command makes another program signal this machine's nginx."""
    words = argv[1:] if argv[0] in ("sudo", "doas") else argv
    names = [Path(word).name.removesuffix(".service") for word in words]
    return any(map(local.PROGRAM.fullmatch, names)) and (
        names[0] in _SIGNALLING or words[0].startswith("/etc/init.d/"))


def _swap(argv: list[str], old: list[str], new: list[str]) -> list[str] | None:
    """Return *argv* with the last *old* replaced by *new*, None without an *old*."""
    for start in range(len(argv) - len(old), -1, -1):
        if argv[start:start + len(old)] == old:
            return argv[:start] + new + argv[start + len(old):]
    return None


def _listed(items: Sequence[object]) -> str:
    return first_of(items, _LISTED)


def _program(name: str) -> str | None:
    """Return the path of a program, None if it is not installed."""
    return shutil.which(name, path=_search_path())


def _search_path() -> str:
    """Return PATH and the usual folders of nginx: cron's PATH has no sbin."""
    return os.pathsep.join([os.environ.get("PATH") or os.defpath, "/usr/local/sbin", "/usr/sbin"])
