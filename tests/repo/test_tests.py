"""The tests themselves: each module has its own, each harness a place, and no skip goes unseen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NO_SKIPS
from tests.package import MODULES, ROOT, TESTS

pytestmark = pytest.mark.docs

UNIT = TESTS / "unit"
SERVERS = {"acme", "alidns", "demo", "dns", "dnspod", "edge", "process", "proxy",
           "stack", "webserver"}
"""What of the sandbox listens, or starts what listens."""

FOLDERS = {"unit", "scenarios", "e2e", "sandbox", "repo", "machines", "witness"}


def unit_test(module: str) -> Path:
    """Where the tests of a module are: ``qiniu.client`` -> ``unit/qiniu/test_client.py``."""
    *folders, name = module.split(".")
    return UNIT.joinpath(*folders, f"test_{name}.py")


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__main__"}))
def test_every_module_has_its_unit_tests(module: str) -> None:
    """A file of its name at its place, with a test in it."""
    assert re.search(r"^ *def test_", unit_test(module).read_text("utf-8"), re.MULTILINE)


def test_every_test_is_in_a_folder() -> None:
    """No test lies next to the folders that say which harness it needs."""
    assert FOLDERS == {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}


def test_unit_tests_import_no_servers() -> None:
    """What unit tests import, all of it together, listens nowhere."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts)
             for path in UNIT.rglob("test_*.py")]
    script = ("import importlib, sys\n"
              "for name in sys.argv[1:]: importlib.import_module(name)\n"
              "print(*(name for name in sys.modules if name.startswith('tests.')), sep='\\n')")
    done = subprocess.run([sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    loaded = done.stdout.split()
    assert set(names) <= set(loaded)
    assert set() == {f"tests.sandbox.{name}" for name in SERVERS} & set(loaded)
    assert [] == [name for name in loaded if name.startswith(
        ("tests.scenarios", "tests.e2e", "tests.machines"))]


PLANTED = {
    "a test of its own accord": "import pytest\ndef test_it(): pytest.skip('planted')\n",
    "a mark": "import pytest\n@pytest.mark.skip(reason='planted')\ndef test_it(): pass\n",
    "a whole file": "import pytest\npytest.skip('planted', allow_module_level=True)\n",
    "missing programs": "import pytest\n@pytest.mark.programs\ndef test_it(): pass\n",
}


@pytest.mark.parametrize(("planted", "required", "workers"), [
    *((planted, "1", "0") for planted in PLANTED), ("a mark", "0", "0"), ("a mark", "1", "2"),
    ("a whole file", "1", "2")])
def test_skips(tmp_path: Path, planted: str, required: str, workers: str) -> None:
    """A skip is shown, and fails the run if none is allowed, as in continuous integration."""
    (tmp_path / "test_planted.py").write_text(PLANTED[planted], "utf-8")
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider",
         "-n", workers, "-c", str(ROOT / "pyproject.toml"), str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PATH": "", NO_SKIPS: required}, check=False,
        capture_output=True, text=True, timeout=60)
    assert int(required) == done.returncode, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    assert (required == "1") == ("this run has failed" in done.stdout)
