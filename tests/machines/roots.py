"""What the machines are made of: the base system of each release of Debian, and wheels.

Both are made once, by ``python -m tests.machines.roots``, and kept outside of the checkout, in
``$XDG_CACHE_HOME/certbot-qiniu-machines``. Their names have a digest of how they are made, so that
a change of that makes them anew; old ones go a day after their last use.
Machines have no way out, so all that they may install is here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "certbot-qiniu-machines"

RELEASES: dict[int, tuple[str, str]] = {12: ("bookworm", "3.11"), 13: ("trixie", "3.13")}
"""The name of each release of Debian, and its Python."""

INCLUDED = ("systemd-sysv", "python3", "python3-venv", "ca-certificates", "openssl", "procps",
            "cron", "nginx-light", "openssh-server", "podman", "runc", "netavark")
ASIDE = ("certbot", "python3-certbot-nginx", "python3-cffi-backend")
"""Only their files are there, in ``debs``, with those of what they need. (debootstrap does not know
who provides what, so that such packages are named.)"""

DAY = 86400
PROGRAMS = ("podman", "runc", "debootstrap")
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def program(name: str) -> str | None:
    """Where *name* is; some are in folders that not every user searches."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SBIN}")


def missing() -> str:
    """Why there can be no machines here, "" if they can be."""
    absent = [name for name in PROGRAMS if not program(name)]
    if absent:
        return f"not installed: {', '.join(absent)} (see `make machines`)"
    return "" if os.geteuid() == 0 else "machines with systemd need root"


def root(release: int) -> Path:
    """The folder with the base system in ``root`` and packages in ``debs``, made if need be."""
    return _kept(f"debian-{release}", _bootstrap, RELEASES[release][0], INCLUDED, ASIDE)


def wheels() -> Path:
    """The folder with all that the package, two of its extras and the checks need, everywhere."""
    required = [Requirement(line) for line in importlib.metadata.requires("certbot-qiniu") or ()]
    wanted = [f"{item.name}{item.specifier}" for item in required
              if not item.marker or any(item.marker.evaluate({"extra": extra})
                                        for extra in ("nginx", "notify"))]
    wanted += ["setuptools>=64", "ansible-core"]
    return _kept("wheels", _download, sorted(wanted), [python for _, python in RELEASES.values()])


def _kept(kind: str, make: Callable[..., None], *ingredients: Any) -> Path:
    """The one folder of a kind that is of today's recipe and ingredients."""
    recipe = f"{inspect.getsource(make)}{ingredients}".encode()
    folder = CACHE / f"{kind}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / f"{kind}.lock"):
        for old in CACHE.glob(f"{kind}-*"):
            if old.suffix or (old != folder and time.time() - old.stat().st_mtime > DAY):
                shutil.rmtree(old)
        if not folder.exists():
            part = folder.with_suffix(".part")
            part.mkdir()
            make(part, *ingredients)
            part.rename(folder)
        os.utime(folder)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Be the only process here."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _bootstrap(folder: Path, name: str, included: Sequence[str], aside: Sequence[str]) -> None:
    """Make a base system, and get the packages that are only to lie there."""
    mirror, environment = _apt()

    def debootstrap(target: Path, packages: Sequence[str], *options: str) -> None:
        # What it mounts must not outlive it, lest its failure cannot be removed.
        _run(["unshare", "--mount", program("debootstrap") or "", "--variant=minbase",
              f"--include={','.join(packages)}", f"--cache-dir={folder / 'debs'}", *options, name,
              str(target), *mirror], environment)

    (folder / "debs").mkdir()
    debootstrap(folder / "root", included)
    installed = {path.name for path in (folder / "debs").iterdir()}
    debootstrap(folder / "aside", [*included, *aside], "--download-only")
    shutil.rmtree(folder / "aside")
    for path in (folder / "root" / "var/cache/apt/archives").glob("*.deb"):
        path.unlink()
    for path in (folder / "debs").iterdir():
        if path.name in installed:
            path.unlink()


def _apt() -> tuple[list[str], dict[str, str]]:
    """Where apt of this machine gets Debian from, and through which proxies.

    :returns: nothing but debootstrap's own idea if apt has none, as on another distribution.
    """
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:{SBIN}"}
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        for scheme in ("http", "https"):
            proxy = _output("apt-config", "shell", "value", f"Acquire::{scheme}::Proxy")
            if found := re.match(r"value='(.+)'", proxy):
                environment[f"{scheme}_proxy"] = found[1]
        release = platform.freedesktop_os_release()
        if release.get("ID") == "debian":
            targets = _output("apt-get", "indextargets", "--format", "$(REPO_URI)",
                              "Created-By: Packages", "Component: main",
                              f"Release: {release['VERSION_CODENAME']}")
            return [uri for uri in targets.split()
                    if uri.startswith(("http://", "https://", "file:"))][:1], environment
    return [], environment


def _download(folder: Path, wanted: Sequence[str], pythons: Sequence[str]) -> None:
    """Make wheels for this Python, and add what other Pythons need instead of some of them."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    _run([*pip, "wheel", "-w", str(folder), *wanted])
    platforms = [f"--platform=manylinux_2_{minor}_{platform.machine()}" for minor in (17, 28, 34)]
    for name, version, _, tags in [parse_wheel_filename(path.name) for path in folder.iterdir()]:
        if any(tag.abi in ("none", "abi3") for tag in tags):
            continue
        for python in pythons:
            if f"cp{python.replace('.', '')}" not in {tag.interpreter for tag in tags}:
                _run([*pip, "download", "--no-deps", "--only-binary=:all:", *platforms,
                      f"--python-version={python}", "-d", str(folder), f"{name}=={version}"])


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a program that must succeed.

    :raises RuntimeError: if it fails, with the end of all that it said.
    """
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n"
                           f"{done.stdout[-4000:]}")


def main() -> None:
    """Make all of it, and tell how long each took."""
    if reason := missing():
        raise SystemExit(reason)
    for what, make in {**{f"Debian {release}": lambda release=release: root(release)
                          for release in RELEASES}, "wheels": wheels}.items():
        began = time.monotonic()
        folder = make()
        print(f"{what}: {folder} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
