"""The fast track: certbot's own entry point, forked, over the emulators without sockets.

What differs from a real run is stated here, all of it: requests reach the emulators through
:class:`~tests.sandbox.wire.Carrier`, time is virtual, and the authority is a local one in place of
ACME. certbot, its reverter, its lineages, renewal files and exit status are the real ones, in a
process of their own, which can be killed at any call.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import gc
import importlib.metadata
import io
import itertools
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import requests

from tests.sandbox.pki import Authority, Leaf
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Qiniu
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Carrier, Exchange, Request, Switchboard

HALF_A_DAY = 43_200.0
"""Between two runs of the timer."""

_UNSHARED = {"_lock", "_clock", "switches", "_routes", "_roots", "_cert_numbers", "_reqids"}
"""What of an emulator is not carried between processes."""


class Clock:
    """Virtual time: it passes only while somebody sleeps, and a little with every reading.

    :ivar now: the right time, which Qiniu has, too.
    :ivar is_real: whether it is the time of this machine from now on, for programs that know none
        but that.
    """

    def __init__(self) -> None:
        self.now = time.time()
        self.is_real = False
        self._off = 0.0

    def time(self) -> float:
        """Seconds since the epoch, as the machine has them."""
        return self.monotonic() - self._off

    def monotonic(self) -> float:
        """Seconds that nobody sets."""
        self.now = time.time() if self.is_real else self.now + 0.0005
        return self.now

    def set_back(self, seconds: float) -> None:
        """Let the machine's clock be wrong."""
        self._off += seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass(frozen=True)
class Run:
    """The result of a run of certbot.

    :ivar status: exit status; negative for the signal that killed it.
    """

    status: int
    output: str
    calls: list[Exchange] = field(repr=False)

    def labels(self, part: str = "") -> list[str]:
        """Method and path of the calls that contain *part*."""
        return [label for call in self.calls if part in (label := call.request.label)]


class Cloud:
    """The emulated Qiniu that several machines may share, and the one clock."""

    def __init__(self, switches: Switches | None = None,
                 accounts: dict[str, str] | None = None,
                 emulator: type[Qiniu] = Qiniu) -> None:
        self.clock = Clock()
        self.authority = Authority("Fast Track")
        self.switches = switches or Switches(publish_seconds=300)
        # Time is spent in leaps here, and the signatures carry the real time.
        self.switches.clock_window = 10**9
        self.accounts = accounts or {ACCESS_KEY: SECRET_KEY}
        self.qiniu = emulator(clock=self.clock.monotonic, switches=self.switches,
                              accounts=self.accounts, roots=[self.authority.cert_pem])
        self.board = Switchboard(self.qiniu, clock=self.clock.monotonic)

    def save(self) -> bytes:
        """Everything that a run may have changed."""
        state = {key: value for key, value in vars(self.qiniu).items() if key not in _UNSHARED}
        return pickle.dumps((state, self.clock.now, self.board.history))

    def restore(self, saved: bytes) -> None:
        """Take over what a run has left."""
        state, self.clock.now, self.board.history = pickle.loads(saved)
        vars(self.qiniu).update(state)
        # The counters are not carried: leave what the run may have used behind.
        vars(self.qiniu)["_cert_numbers"] = itertools.count(int(self.clock.now * 1000) % 10**9)

    def stranger(self, *names: str, days: float = 60, name: str = "a stranger's") -> str:
        """Add a certificate that somebody else uploaded."""
        return self.qiniu.add_certificate(self.authority.issue(*names, days=days).fullchain_pem,
                                          name=name)


class Machine:
    """One certbot installation.

    :param directory: everything of it is below.
    :ivar options: what every call gets besides its own arguments.
    """

    def __init__(self, cloud: Cloud, directory: Path, *,
                 keys: tuple[str, str] = (ACCESS_KEY, SECRET_KEY), days: float = 90) -> None:
        self.cloud, self.directory, self.days = cloud, directory, days
        directory.mkdir(parents=True, exist_ok=True)
        _warm_up()
        self.credentials = self.write_credentials("qiniu.ini", keys)
        self.config_dir = directory / "etc"

    def write_credentials(self, name: str, keys: tuple[str, str]) -> Path:
        """Write a credentials file."""
        path = self.directory / name
        path.touch(0o600)
        path.write_text(f"qiniu_access_key = {keys[0]}\nqiniu_secret_key = {keys[1]}\n")
        return path

    @property
    def installer(self) -> tuple[str, ...]:
        """The arguments that choose the plugin, which leaves nginx alone here."""
        return ("-i", "qiniu", "--qiniu-credentials", str(self.credentials),
                "--qiniu-skip-nginx")

    def issue(self, *names: str, arguments: tuple[str, ...] = (), **options: Any) -> Run:
        """``certbot run`` for *names*."""
        return self.certbot("run", "-a", "standalone", *self.installer, *arguments,
                            *itertools.chain.from_iterable(("-d", name) for name in names),
                            **options)

    def renew(self, *arguments: str, **options: Any) -> Run:
        """``certbot renew``."""
        return self.certbot("renew", "--no-random-sleep-on-renew", *arguments, **options)

    def force_renewal(self, **options: Any) -> Run:
        """``certbot renew --force-renewal``."""
        return self.renew("--force-renewal", **options)

    def fingerprint(self, lineage: str = "example.com") -> str:
        """The fingerprint of a lineage's newest leaf."""
        from certbot_qiniu.lineages import Lineages

        return Lineages(self.config_dir).current(lineage).fingerprint

    def certbot(self, *arguments: str, around: Callable[[], contextlib.AbstractContextManager[Any]]
                = contextlib.nullcontext, kill_at: Callable[[Request], bool] | None = None,
                interrupt_at: Callable[[Request], bool] | None = None) -> Run:
        """Run certbot to its end in a fork of this process.

        :param around: a context, such as a patch, that holds during the run.
        :param kill_at: the run is killed at the first request of which this is true.
        :param interrupt_at: likewise, with SIGINT.
        """
        already = len(self.cloud.board.history)
        with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as saved:
            with warnings.catch_warnings():
                # Python 3.12 warns of forks with threads; pytest's workers have an idle one.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if not child:
                gc.disable()  # it would copy what is shared with the parent, for a moment's life
                status = 99
                try:
                    print_into(output)
                    with self._surroundings(saved.name, kill_at, interrupt_at), around():
                        status = _run(self._command(arguments))
                except BaseException:  # noqa: BLE001 - of the fork nothing else is left to tell
                    traceback.print_exc()
                finally:
                    Path(saved.name).write_bytes(self.cloud.save())
                    os._exit(status)
            _, ended = os.waitpid(child, 0)
            if left := Path(saved.name).read_bytes():  # a signal of its own may have ended it
                self.cloud.restore(left)
            output.seek(0)
            text = output.read().decode(errors="replace")
        status = os.waitstatus_to_exitcode(ended)
        if status == 99:
            raise AssertionError(f"the fast track itself broke:\n{text}")
        return Run(status, text, self.cloud.board.history[already:])

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        home = self.config_dir
        return [*arguments, "-n", "--config-dir", str(home), "--work-dir", str(home / "work"),
                "--logs-dir", str(home / "logs"), "--server", "https://127.0.0.1:1/dir",
                "--max-log-backups", "0"]

    @contextlib.contextmanager
    def _surroundings(self, saved: str, kill_at: Callable[[Request], bool] | None,
                      interrupt_at: Callable[[Request], bool] | None) -> Iterator[None]:
        from unittest import mock

        from certbot._internal import client, main, renewal

        from certbot_qiniu.deployment import context, deployer
        from certbot_qiniu.qiniu import account
        from certbot_qiniu.qiniu.client import QiniuClient

        cloud = self.cloud

        class Wire(Carrier):
            def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
                seen = Request(request.method or "", "", request.path_url, (), b"")
                if kill_at and kill_at(seen):
                    Path(saved).write_bytes(cloud.save())
                    os.kill(os.getpid(), signal.SIGKILL)
                if interrupt_at and interrupt_at(seen):
                    os.kill(os.getpid(), signal.SIGINT)
                return super().send(request, **kwargs)

        def open_client(access_key: str, secret_key: str, **options: Any) -> QiniuClient:
            session = requests.Session()
            session.mount("https://", Wire(cloud.board))
            return QiniuClient(access_key, secret_key, session=session,
                               sleep=cloud.clock.sleep, clock=cloud.clock.monotonic, **options)

        def obtain(self_: client.Client, sans: list[Any], *_: Any) -> tuple[Any, ...]:
            leaf = self._leaf([str(san) for san in sans])
            key = client.util.Key(file=None, pem=leaf.key_pem.encode())
            return leaf.cert_pem.encode(), leaf.chain_pem.encode(), key, None

        def no_account(config: Any, authenticator: Any, installer: Any) -> client.Client:
            return client.Client(config, None, authenticator, installer)

        with contextlib.ExitStack() as stack:
            for target, name, value in (
                    (account, "QiniuClient", open_client),
                    (deployer, "Context", functools.partial(
                        context.Context, clock=cloud.clock.time, sleep=cloud.clock.sleep,
                        monotonic=cloud.clock.monotonic)),
                    (importlib.metadata, "entry_points", _known_entry_points()),
                    (context, "WORKERS", 1),  # the calls come in an order that can be repeated
                    (client.Client, "obtain_certificate", obtain),
                    (main, "_init_le_client", no_account),
                    (main, "_report_next_steps", lambda *_, **__: None),
                    (renewal, "should_renew", lambda config, *_, **__: config.renew_by_default)):
                stack.enter_context(mock.patch.object(target, name, value))
            yield

    def _leaf(self, names: list[str]) -> Leaf:
        now = dt.datetime.fromtimestamp(self.cloud.clock.time(), dt.timezone.utc)
        return self.cloud.authority.intermediate("Fast Track CA").issue(
            *names, days=self.days, now=now)


def print_into(output: IO[bytes]) -> None:
    """Let all that this process prints go to *output*, whatever pytest has made of its streams."""
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    raw: Any = io.FileIO(1, "w", closefd=False)  # as ``python -u`` does it
    sys.stdout = sys.stderr = io.TextIOWrapper(raw, write_through=True)


_find_entry_points = importlib.metadata.entry_points
_found = functools.cache(_find_entry_points)


def _known_entry_points() -> Callable[..., Any]:
    """What tells what is installed: once, as it takes a third of a run, unless a test has its own.
    """
    present = importlib.metadata.entry_points
    return _found if present is _find_entry_points else present


@functools.cache
def _warm_up() -> None:
    """Import and find once what every fork would import and look for again."""
    import _strptime  # noqa: F401
    from unittest import mock

    from certbot._internal.plugins.disco import PluginsRegistry
    from certbot.main import main  # noqa: F401

    import certbot_qiniu.targets.nginx
    import certbot_qiniu.targets.qiniu
    import certbot_qiniu.targets.registry  # noqa: F401

    with mock.patch.object(importlib.metadata, "entry_points", _known_entry_points()):
        PluginsRegistry.find_all()


def certbot(arguments: list[str]) -> int:
    """certbot's console script: the same function, and the same exit status."""
    from certbot.main import main

    try:
        return 1 if main(arguments) else 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:  # noqa: BLE001 - certbot's excepthook prints it and exits with 1
        print(f"{type(error).__name__}: {error}", flush=True)
        return 1


_run = certbot
"""What a fork runs; another program can take its place."""


def later(machine: Machine, seconds: float = HALF_A_DAY, status: int = 0) -> Run:
    """What the timer runs *seconds* later."""
    machine.cloud.clock.sleep(seconds)
    run = machine.renew()
    assert status == run.status, run.output
    return run
