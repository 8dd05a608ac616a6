"""What is shipped: what the archives hold, that they install, and that they can be made again."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.package import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHIPPED = ("benchmarks", "certbot_qiniu", "contrib", "docs", "tests", "tools")
"""The folders of the source distribution."""

LOOSE = {"CHANGELOG.md", "CONTRIBUTING.md", "Containerfile", "LICENSE", "MANIFEST.in", "Makefile",
         "README.md", "README.zh-CN.md", "SECURITY.md", "noxfile.py", "pyproject.toml",
         "setup.py"}
"""The files next to them."""

STRAYS = (".env", "credentials.ini", "notes.txt", "tests/junk.pyc", "tests/__pycache__/junk.pyc",
          "build/lib/junk.py", "dist/old.whl", ".venv/junk.py", "elsewhere/junk.py")
"""What lies about in a checkout and is nobody else's business."""

COMMIT_TIME = 1_700_000_000


def run(*command: str | Path, **options: object) -> str:
    """The output of a program that succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def checkout(folder: Path) -> Path:
    """A copy of the working tree, with strays in it."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.py[cod]")
    for name in SHIPPED:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in LOOSE:
        shutil.copy(ROOT / name, folder / name)
    for name in STRAYS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("stray")
    return folder


def build(folder: Path, *kinds: str) -> Path:
    """Build in *folder*, as `make dist` does; return where the archives are."""
    run(sys.executable, "-m", "build", *kinds, "--outdir", folder / "out", folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(COMMIT_TIME)})
    return folder / "out"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree, built."""
    folder = checkout(tmp_path_factory.mktemp("packages") / "tree")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def sdist(tree: Path) -> Path:
    """The source distribution."""
    return next((tree / "out").glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    """The wheel."""
    return next((tree / "out").glob("*.whl"))


def files(tree: Path, *folders: str) -> set[str]:
    """What there is to ship in these folders of *tree*."""
    return {str(path.relative_to(tree)) for folder in folders
            for path in (tree / folder).rglob("*") if path.is_file()} - set(STRAYS)


def test_sdist(tree: Path, sdist: Path) -> None:
    """The source distribution has all that MANIFEST.in says, and nothing that lay about."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in
                 (member.name for member in archive.getmembers() if member.isfile())}
    made = {name for name in names if name.startswith("certbot_qiniu.egg-info/")}
    assert LOOSE | files(tree, *SHIPPED) == names - made - {"PKG-INFO", "setup.cfg"}


def test_wheel(tree: Path, wheel: Path) -> None:
    """The wheel has the package, its man page and its metadata, and neither tests nor tools."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = {name for name in names if ".dist-info/" in name}
    man = {name for name in names if name.endswith(".data/data/share/man/man1/certbot-qiniu.1")}
    assert len(man) == 1
    assert files(tree, "certbot_qiniu") == names - info - man
    assert "certbot_qiniu/py.typed" in names
    assert {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "LICENSE"} == {
        name.rpartition("/")[2] for name in info}


def test_metadata(tree: Path) -> None:
    """An index would accept both, and could show the description."""
    archives = sorted((tree / "out").iterdir())
    assert 2 == len(archives)
    assert 2 == run(sys.executable, "-m", "twine", "check", "--strict", *archives).count("PASSED")


def test_wheel_can_be_made_again(tmp_path: Path, tree: Path, wheel: Path) -> None:
    """Built elsewhere at another time, from the same source, the wheel is the same to the byte."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tree, elsewhere, ignore=shutil.ignore_patterns("out", "build", "*.egg-info"))
    again = build(elsewhere, "--wheel")
    assert wheel.read_bytes() == (again / wheel.name).read_bytes()


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_installation(tmp_path: Path, tree: Path, kind: str) -> None:
    """From either archive, into an environment of its own, certbot finds the plugin."""
    archive = next((tree / "out").glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[kind]))
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    run(programs / "python", "-m", "pip", "install", "--quiet", archive)
    run(programs / "python", "-m", "pip", "check")
    folders = [f"--{name}-dir={tmp_path / name}" for name in ("config", "work", "logs")]
    shown = run(programs / "certbot", "plugins", "--text", *folders, cwd=tmp_path)
    assert {"* dns-aliyun", "* qiniu"} <= set(shown.splitlines())
    assert "--qiniu-credentials" in run(programs / "certbot", "--help", "qiniu", cwd=tmp_path)
    script = "import certbot_qiniu.deployment.deployer as d, sys; print(d.__file__)"
    assert str(tmp_path) in run(programs / "python", "-c", script, cwd=tmp_path)


def test_containerfile(tmp_path: Path) -> None:
    """What the Containerfile copies is enough to build the package from."""
    copies = re.findall(r"^COPY (?!--)(.+) /source/(.*)$", (ROOT / "Containerfile").read_text(),
                        re.MULTILINE)
    assert len(copies) > 1
    for sources, target in copies:
        for name in sources.split():
            place = tmp_path / "source" / target
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, place, dirs_exist_ok=True)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, place)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path / "wheels",
        tmp_path / "source")
    assert 1 == len(list((tmp_path / "wheels").glob("certbot_qiniu-*.whl")))


def test_licences() -> None:
    """Every package that an installation brings along stands in the list of licences."""
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    listed = {canonicalize_name(word) for word in re.findall(r"[\w.-]+", text)}
    needed = {"certbot-qiniu"}
    waiting = [*needed]
    while waiting:
        for line in importlib.metadata.requires(waiting.pop()) or ():
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and name not in needed:
                needed.add(name)
                waiting.append(name)
    assert set() == needed - listed
