"""Test and reload nginx, then ask it over TLS which leaf it serves.

``nginx -s reload`` exits 0 even when the reload failed, so only the question tells. Where to ask is
read from nginx's own dump of its configuration (``nginx -T``).
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
from typing import Literal

from certbot_qiniu import errors
from certbot_qiniu.options import parse_command
from certbot_qiniu.webserver import nginx_config
from certbot_qiniu.webserver.tls import KeyKind, served_leaf

logger = logging.getLogger(__name__)

TEST_OPTION = "--qiniu-nginx-test-cmd"
RELOAD_OPTION = "--qiniu-nginx-reload-cmd"

PROCESSES = Path("/proc")

_DEFAULT_TEST = ["nginx", "-t"]
_OUTPUT_LIMIT = 2000  # characters: the end of what nginx said, where the reason is
_ANSWER_SECONDS = 3.0
_LONGEST_PAUSE_SECONDS = 1.0
_NOT_RUNNING = re.compile(r'\[error\].*(?:invalid PID number|open\(\) ".*" failed \(2:)'
                          r"|\[alert\].*kill\(.*\) failed \(3:"
                          # systemctl; docker and podman, where the container of nginx is stopped
                          r"|\.service is not active, cannot reload|[Cc]ontainer \S+ is not running"
                          r"|can only create exec sessions on running containers")
# Only these are sure to run in our own network: 127.0.0.1 in a container is not the one asked here.
_NGINX_PROGRAM = re.compile("nginx|openresty|tengine|angie")


@dataclass(frozen=True)
class Outcome:
    """What became of nginx.

    :ivar kind: ``reloaded`` (seen to serve the leaf), ``unconfirmed`` (reloaded, but it could not
        be asked), ``absent`` (no nginx here), ``not running``, or ``unused`` (reloaded, but no
        server block uses the files of this lineage).
    """

    kind: Literal["reloaded", "unconfirmed", "absent", "not running", "unused"]
    detail: str


class Nginx:
    """The nginx of this machine, or whatever the user's commands reach.

    :param test_cmd: tests the configuration.
    :param reload_cmd: None for ``systemctl reload nginx`` or ``nginx -s reload``, as it fits.
    :param timeout_seconds: how long a command may take.
    :param patience_seconds: how long new workers may take to show up after a reload.
    :raises errors.UsageError: when a command cannot be split.
    """

    def __init__(self, test_cmd: str = "nginx -t", reload_cmd: str | None = None, *,
                 timeout_seconds: float = 60.0, patience_seconds: float = 10.0) -> None:
        self._test = parse_command(test_cmd, TEST_OPTION)
        self._reload = None if reload_cmd is None else parse_command(reload_cmd, RELOAD_OPTION)
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        if self._test == _DEFAULT_TEST and self._reload:
            # `docker exec web nginx -s reload` alone says which nginx is meant: test that one.
            self._test = _swap(self._reload, ["-s", "reload"], ["-t"]) or self._test
        self._absent = self._test == _DEFAULT_TEST and not _installed("nginx")

    @property
    def is_absent(self) -> bool:
        """Whether there is no nginx on this machine, and no command for one elsewhere."""
        return self._absent and self._reload is None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to reload: no nginx on this machine, or none that runs."""
        return self.is_absent or (self._reload is None and self._test == _DEFAULT_TEST
                                  and not _runs())

    def test(self) -> None:
        """Test the configuration; without an nginx here there is nothing to test.

        :raises errors.NginxError: when it is broken, or the test cannot be run.
        """
        self._is_testable()

    def _is_testable(self) -> bool:
        """Whether the configuration is sound; false where nothing runs that could test it."""
        if self._absent:
            return True
        result = self._run(self._test, TEST_OPTION)
        if result.is_not_running:
            logger.info("%s: %s", result.shown, result.output[-_OUTPUT_LIMIT:])
            return False
        result.check("nginx's configuration test")
        return True

    def deploy(self, live_dir: Path, fullchain: Path, names: Sequence[str],
               fingerprint: str) -> Outcome:
        """Test, reload, and see that the leaf is served; nginx is never started.

        :param live_dir: the lineage's folder under ``live``.
        :param fullchain: the lineage's fullchain; a link there is followed into the archive.
        :param names: the SANs.
        :param fingerprint: of the leaf that must be served.
        :raises errors.NginxError: when the test or the reload failed, or a server block with
            files of this lineage still serves another leaf.
        """
        if self.is_absent:
            return Outcome("absent", "there is no nginx on this machine")
        stopped = Outcome("not running", "nginx is not running; it was not started")
        if not self._is_testable():
            return stopped
        reload = self._run(self._reload or self._automatic_reload(), RELOAD_OPTION)
        if reload.is_not_running:
            return stopped
        reload.check("nginx's reload")
        servers = self._servers()
        if servers is None:
            return Outcome("unconfirmed", "nginx was reloaded, but its configuration could not be "
                           "listed, so it was not asked which certificate it serves")
        folders = {live_dir, live_dir.resolve(), fullchain.resolve().parent}
        users = [server for server in servers if server.uses(folders)]
        if users:
            return self._confirm(nginx_config.questions(servers, users, names), fingerprint)
        if any(server.has_variables for server in servers):
            return Outcome("unconfirmed", "nginx was reloaded, but which certificates it uses "
                           "depends on variables, so it was not asked which one it serves")
        return Outcome("unused", f"no server block of nginx uses the files in {live_dir}. Where it "
                       "has copies of them, they are now old: let ssl_certificate name the files "
                       "themselves. Where it has no part in this certificate: --qiniu-skip-nginx")

    def _automatic_reload(self) -> list[str]:
        """The reload that belongs to the test command."""
        own = _swap(self._test, ["-t"], ["-s", "reload"])
        if own and self._test != _DEFAULT_TEST:
            return own
        is_active = ["systemctl", "is-active", "--quiet", "nginx"]
        if _installed("systemctl") and not self._run(is_active, RELOAD_OPTION).status:
            return ["systemctl", "reload", "nginx"]
        return ["nginx", "-s", "reload"]

    def _servers(self) -> list[nginx_config.Server] | None:
        """All server blocks, None where nginx's configuration cannot be listed."""
        command = _swap(self._test, ["-t"], ["-T"])
        if self._absent or command is None:
            return None
        try:
            dump = self._run(command, TEST_OPTION)
        except errors.NginxError as error:
            logger.debug("nginx's configuration cannot be listed: %s", error)
            return None
        return nginx_config.parse_servers(dump.stdout)

    def _confirm(self, questions: list[nginx_config.Question], fingerprint: str) -> Outcome:
        """Ask until all is as it should be, or patience ends."""
        deadline = time.monotonic() + self._patience_seconds
        pause = 0.1
        right: list[nginx_config.Question] = []
        while True:
            answers = {question: _serves(question, fingerprint)
                       for question in questions if question not in right}
            right += [question for question, answer in answers.items() if answer]
            wrong = [question for question, answer in answers.items() if answer is False]
            if (right and not wrong) or not questions or time.monotonic() > deadline:
                break
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        if wrong and _NGINX_PROGRAM.search(Path(self._test[0]).name):
            raise errors.NginxError(
                f"nginx was told to reload, but still serves another certificate at "
                f"{_listed(wrong)}: see its error log for the reason, and whether ssl_certificate "
                f"names the current file. Reload nginx by hand, or set {RELOAD_OPTION}")
        # nginx takes a configuration over as a whole: one right answer speaks for all blocks.
        if right:
            return Outcome("reloaded", f"nginx serves the certificate at {_listed(right)}")
        return Outcome("unconfirmed", "nginx was reloaded, but could not be seen to serve the "
                       f"certificate at {_listed(questions) or 'any TCP address'}")

    def _run(self, argv: list[str], option: str) -> _Result:
        """Run a command to its end.

        :raises errors.NginxError: when it cannot be started or does not end; names *option*.
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
            return _Result(shown, status, out.read().decode("utf-8", "replace"),
                           err.read().decode("utf-8", "replace"))


@dataclass(frozen=True)
class _Result:
    """A command that ended."""

    shown: str
    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return (self.stdout + self.stderr).strip()

    @property
    def is_not_running(self) -> bool:
        """Whether it failed for want of a running nginx."""
        return bool(self.status and _NOT_RUNNING.search(self.output))

    def check(self, what: str) -> None:
        """Raise :class:`errors.NginxError` unless the command succeeded."""
        if self.status:
            raise errors.NginxError(f"{what} failed: {self.shown} exited with status {self.status}"
                                    f": {self.output[-_OUTPUT_LIMIT:] or '(no output)'}")


def _serves(question: nginx_config.Question, fingerprint: str) -> bool | None:
    """Whether the leaf with *fingerprint* is served, None where that could not be found out."""
    kinds: tuple[KeyKind, ...] = ("", "ECDSA", "RSA") if question.several else ("",)
    leaves = [served_leaf(question.host, question.port, question.name, kind=kind,
                          proxied=question.proxied, timeout_seconds=_ANSWER_SECONDS)
              for kind in kinds]
    if fingerprint in [leaf.fingerprint for leaf in leaves if leaf]:
        return True
    return None if None in leaves else False


def _swap(argv: list[str], old: list[str], new: list[str]) -> list[str] | None:
    """*argv* with the last *old* replaced by *new*, None without an *old*."""
    for start in range(len(argv) - len(old), -1, -1):
        if argv[start:start + len(old)] == old:
            return argv[:start] + new + argv[start + len(old):]
    return None


def _listed(questions: list[nginx_config.Question]) -> str:
    return ", ".join(str(question) for question in questions)


def _installed(program: str) -> bool:
    return shutil.which(program, path=_search_path()) is not None


def _runs() -> bool:
    """Whether a process of this machine has a name of nginx's, or that cannot be seen."""
    names = []
    for path in PROCESSES.glob("[0-9]*/comm"):
        try:
            names.append(path.read_text(encoding="utf-8", errors="replace").strip())
        except OSError:
            continue  # it has ended meanwhile
    return not names or any(map(_NGINX_PROGRAM.fullmatch, names))


def _search_path() -> str:
    """PATH, and where nginx lives: cron's PATH has no sbin."""
    return os.pathsep.join([os.environ.get("PATH") or os.defpath, "/usr/local/sbin", "/usr/sbin"])
