"""Machines for the tests: bare, or with certbot and the plugin, each with a sandbox of its own."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import roots
from tests.machines.machine import LIMITS, Machine, podman, sweep
from tests.package import ROOT
from tests.sandbox.stack import Sandbox

PATIENCE = 600
WHEELS, DEBS, IMAGE = "/wheels", "/debs", "/image"
CHECKOUT, VENV = "/usr/local/src/certbot-qiniu", "/opt/certbot"
TRUSTED = "/etc/ssl/sandbox.pem"  # services have a /tmp of their own
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
CLI_INI = """\
server = {server}
email = admin@example.com
agree-tos = true
no-eff-email = true
no-random-sleep-on-renew = true
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here the time that a machine needs on two busy cores."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture(scope="session", params=roots.RELEASES, ids="Debian {}".format)
def release(request: pytest.FixtureRequest) -> int:
    """The release of Debian."""
    if reason := roots.missing():
        pytest.skip(reason)
    sweep()
    return int(request.param)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run, the same for all of its workers."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout, of its files alone."""
    return Path(shutil.copytree(
        ROOT, tmp_path_factory.mktemp("checkout") / "certbot-qiniu", ignore=shutil.ignore_patterns(
            ".*", "__pycache__", "build", "dist", "*.egg-info")))


@pytest.fixture(scope="session")
def venv(release: int, shared: Path, checkout: Path) -> Path:
    """What README's installation makes in /opt/certbot, with certbot-nginx; made once in a run."""
    folder = shared / f"venv-{release}"
    with (shared / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = shared / f"{folder.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            done = podman(
                "run", "--rm", "--network=none", "--no-hosts", *LIMITS,
                f"--volume={part}:{VENV}", f"--volume={checkout}:{CHECKOUT}:O",
                f"--volume={roots.wheels()}:{WHEELS}:ro",
                *(f"--env={name}={value}" for name, value in OFFLINE.items()),
                "--rootfs", f"{roots.root(release) / 'root'}:O", "sh", "-euc",
                f"python3 -m venv {VENV}; {VENV}/bin/pip install --quiet '{CHECKOUT}[nginx]'")
            assert done.returncode == 0, done.stdout
            part.rename(folder)
    return folder


@pytest.fixture
def mounts(release: int, checkout: Path) -> dict[Path, str]:
    """What every machine finds: packages of Python and Debian, an image, and our checkout."""
    debian = roots.root(release)
    return {roots.wheels(): WHEELS, debian / "debs": DEBS, debian / "root": IMAGE,
            checkout: CHECKOUT}


@pytest.fixture
def bare(release: int, mounts: dict[Path, str]) -> Iterator[Machine]:
    """A machine without certbot."""
    with Machine(roots.root(release) / "root", mounts) as machine:
        yield machine


@pytest.fixture
def machine(release: int, mounts: dict[Path, str], venv: Path) -> Iterator[Machine]:
    """A machine on which README's installation was run, with certbot-nginx besides."""
    with Machine(roots.root(release) / "root", {**mounts, venv: VENV}) as machine:
        machine.script("ln -s /opt/certbot/bin/certbot* /usr/local/bin/")
        yield machine


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """The sandbox in the network of the test's machine, whose programs are led there."""
    machine: Machine = request.getfixturevalue(
        "bare" if "bare" in request.fixturenames else "machine")
    with contextlib.ExitStack() as started:
        with machine.network():
            box = started.enter_context(Sandbox(with_nginx=False, http_port=80))
        machine.put(TRUSTED, Path(box.environment["REQUESTS_CA_BUNDLE"]).read_text("ascii"))
        machine.put("/etc/letsencrypt/cli.ini", CLI_INI.format(server=box.acme.directory_url))
        machine.environment = {
            "HTTPS_PROXY": box.proxy.url, "HTTP_PROXY": box.proxy.url,
            "NO_PROXY": "localhost,127.0.0.1", "REQUESTS_CA_BUNDLE": TRUSTED, **OFFLINE}
        yield box
        box.assert_sound()
