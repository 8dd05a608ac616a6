"""A Debian machine with systemd, in a container whose network has the loopback address alone.

It lies over its base system like a sheet: what a test changes is gone with the machine. The
emulators run in the process of the test and listen in the network of the machine (see
:meth:`Machine.network`), so any number of machines can run next to each other, each with its own
ports 80 and 443, and nothing in them reaches further than that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.machines.roots import program
from tests.sandbox.pki import fingerprint
from tests.sandbox.process import until
from tests.sandbox.webserver import served_fingerprint

_NAME = "certbot-qiniu-"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")
"""If it is missing, the host has the old hierarchies of control groups, of which systemd needs
the host's own."""

ENGINE = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
"""For containers within: what works on hosts of either kind."""

REMOVE = ("rm", "--force", "--time=0", "--volumes")
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
"""Small ones: podman's own may be more than this host allows."""


def podman(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run podman, with the one engine that takes every kind of control groups."""
    return subprocess.run([program("podman") or "", "--log-level=error",
                           f"--runtime={program('runc')}", *arguments], text=True,
                          **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT,
                             "stdin": subprocess.DEVNULL, "check": False, **options})


def sweep() -> None:
    """Remove the machines of runs that were killed."""
    found = podman("ps", "--all", "--format={{.Names}}", f"--filter=name=^{_NAME}").stdout
    for name in found.split():
        if not Path("/proc", name.removeprefix(_NAME).partition("-")[0]).exists():
            podman(*REMOVE, name)


class Machine:
    """A machine that runs as long as it is a context.

    :param root: the folder with its base system, which stays as it is.
    :param mounts: folders of this host -> where the machine has them, to do with as it likes.
    :param beside: another machine, whose network it shares.
    :ivar environment: of every program that :meth:`run` starts.
    """

    def __init__(self, root: Path, mounts: Mapping[Path, str], *,
                 beside: Machine | None = None) -> None:
        self.name = f"{_NAME}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.environment: dict[str, str] = {}
        network = f"container:{beside.name}" if beside else "none"
        self._command = [
            "run", "--detach", f"--name={self.name}", "--hostname=machine", "--no-hosts",
            f"--network={network}", "--systemd=always", "--privileged",
            *LIMITS,
            *["--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"] * (not UNIFIED.exists()),
            # Not on the sheet: a container engine within wants a plain file system.
            "--tmpfs=/var/lib/containers",
            *(f"--volume={source}:{target}:O" for source, target in mounts.items()),
            "--rootfs", f"{root}:O", "/sbin/init"]

    def __enter__(self) -> Machine:
        with contextlib.ExitStack() as started:
            started.callback(podman, *REMOVE, self.name)
            done = podman(*self._command)
            assert done.returncode == 0, done.stdout
            self._pid = podman("inspect", "--format={{.State.Pid}}", self.name).stdout.strip()
            until(lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip()
                  in ("running", "degraded"), "systemd is up", seconds=60)
            self.put("/etc/hosts", "127.0.0.1 localhost machine\n")
            self.put("/etc/containers/containers.conf", ENGINE)
            self._resources = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def run(self, *command: str, check: bool = True, folder: str = "/root", stdin: str = "",
            seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a program as root to its end; its ``stdout`` has all that it said.

        :param check: whether its failing is an error here, too.
        :raises AssertionError: if it was to succeed and did not; with all that it said.
        """
        done = podman("exec", "--interactive", f"--workdir={folder}",
                      *(f"--env={name}={value}" for name, value in self.environment.items()),
                      self.name, *command, stdin=None, input=stdin, timeout=seconds)
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(command)} ended with {done.returncode}:\n"
                                 f"{done.stdout}")
        return done

    def script(self, text: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run commands of a shell, up to the first that fails; *options* are :meth:`run`'s."""
        return self.run("bash", "-euo", "pipefail", "-c", text, **options)

    def systemctl(self, *arguments: str, **options: Any) -> str:
        """What systemctl says; *options* are :meth:`run`'s."""
        return self.run("systemctl", *arguments, **options).stdout

    def read(self, path: str) -> str:
        """The text of a file."""
        return self.run("cat", path).stdout

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, in a folder that is made if need be."""
        quoted = shlex.quote(path)
        self.script(f"mkdir -p $(dirname {quoted}); cat > {quoted}; chmod {mode:o} {quoted}",
                    stdin=text)

    def fingerprint(self, lineage: str) -> str:
        """The fingerprint of the present leaf of one of certbot's lineages."""
        return fingerprint(self.read(f"/etc/letsencrypt/live/{lineage}/cert.pem"))

    def serves(self, name: str) -> str:
        """The fingerprint of the leaf that its port 443 shows a client asking for *name*."""
        with self.network():
            return served_fingerprint(name, 443)

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Let what this thread opens and starts meanwhile, threads included, be in its network."""
        with open("/proc/thread-self/ns/net") as own, open(f"/proc/{self._pid}/ns/net") as other:
            _enter(other.fileno())
            try:
                yield
            finally:
                _enter(own.fileno())


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
