"""The layout of the package and of its documentation, and how certbot sees it."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import certbot.interfaces
import pytest
from certbot import errors as certbot_errors

import certbot_qiniu
from certbot_qiniu import errors
from certbot_qiniu.command import cli
from certbot_qiniu.deployment import deployer
from certbot_qiniu.installer import Installer
from certbot_qiniu.qiniu import service
from tests.package import MODULES, PACKAGE, ROOT, SOURCES, TESTS, dotted

pytestmark = pytest.mark.docs


def imports(path: Path) -> set[str]:
    """All that a file imports, at any depth: ``from a import b`` counts as ``a.b``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def roots(path: Path) -> set[str]:
    """The packages that a file imports from."""
    return {name.partition(".")[0] for name in imports(path)}


def test_all_files_are_seen() -> None:
    """What the checks here and elsewhere go through is what Python finds in the package."""
    found = pkgutil.walk_packages(certbot_qiniu.__path__, "certbot_qiniu.")
    names = [name.removeprefix("certbot_qiniu.") for _, name, _ in found]
    assert sorted(["__init__", *names]) == sorted(map(dotted, SOURCES))


def test_modules_are_described() -> None:
    """Every module has its place in the architecture's table, and no other has."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| `certbot_qiniu/", line)]
    assert 1 < len(rows) <= 12
    described = []
    for row in rows:
        folder = row.split("`")[1].removeprefix("certbot_qiniu/").replace("/", ".")
        described += [folder + name for name in re.findall(r"`(\w+)\.py`", row)]
    assert sorted(described) == sorted(set(MODULES) - {"__main__"})


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of pyproject.toml for the package in *tree*."""
    program = Path(sysconfig.get_path("scripts"), "lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=tree, capture_output=True, text=True,
                          check=False)


def copy_package(tree: Path) -> None:
    """Copy what :func:`lint_imports` reads."""
    shutil.copytree(PACKAGE, tree / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)


def test_imports_go_down(tmp_path: Path) -> None:
    """The contracts hold, for a copy as well as for the package itself."""
    copy_package(tmp_path)
    for tree in (tmp_path, ROOT):
        done = lint_imports(tree)
        assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize(("module", "line", "contract"), [
    ("model", "from certbot_qiniu.qiniu import client", "Imports go down only"),
    ("qiniu.transport", "import certbot_qiniu.deployment.state", "Imports go down only"),
    ("command.survey.health", "import certbot_qiniu.command.output", "The same within command"),
    ("command.status", "from certbot_qiniu.command import plan", "The same within command"),
    ("deployment.planning.decision", "import os", "Planning knows neither"),
    ("deployment.planning.selection", "def f():\n    import time", "Planning knows neither"),
], ids=lambda value: value.partition("\n")[0])
def test_contracts_of_imports(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """An import that goes up, and a planner that can reach the machine, are found."""
    copy_package(tmp_path)
    path = tmp_path / PACKAGE.name / f"{module.replace('.', '/')}.py"
    path.write_text(f"{path.read_text('utf-8')}\n\n{line}\n", "utf-8")
    after = lint_imports(tmp_path)
    assert 1 == after.returncode
    assert re.search(f"{contract}.* BROKEN", after.stdout)


def test_only_public_parts_of_certbot() -> None:
    """Nothing that certbot calls internal is imported."""
    for path in SOURCES:
        assert not [name for name in imports(path) if name.startswith("certbot._internal")]


def test_sandbox_and_package_are_strangers() -> None:
    """The sandbox checks the package instead of agreeing with it, and is not shipped with it."""
    sandbox = sorted((ROOT / "tests" / "sandbox").rglob("*.py"))
    assert len(sandbox) > 10
    for path in sandbox:
        assert "certbot_qiniu" not in roots(path), path.name
    for path in SOURCES:
        assert "tests" not in roots(path), path.name


# What certbot loads for everybody


def test_light_import() -> None:
    """Loading the plugin, which every certbot command does, loads nothing that works with it."""
    script = ("import sys, json, certbot.main; before = set(sys.modules); "
              "import certbot_qiniu.installer; "
              "print(json.dumps(sorted(set(sys.modules) - before)))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True, cwd=ROOT)
    loaded = set(json.loads(done.stdout))
    assert "certbot_qiniu.installer" in loaded
    heavy = {"qiniu", "tenacity", "rich", "certbot_qiniu.qiniu.client", "hypothesis"}
    assert not heavy & (loaded | {name.partition(".")[0] for name in loaded})
    assert {name for name in loaded if name.startswith("certbot_qiniu")} == {
        "certbot_qiniu", "certbot_qiniu.installer", "certbot_qiniu.options",
        "certbot_qiniu.errors", "certbot_qiniu.failures"}


def test_entry_point() -> None:
    """certbot finds the plugin under its name."""
    [found] = [entry for entry in importlib.metadata.entry_points(group="certbot.plugins")
               if entry.name == "qiniu"]
    assert found.load() is Installer


def test_command() -> None:
    """The program's script finds its function where that is."""
    [found] = [entry for entry in importlib.metadata.entry_points(group="console_scripts")
               if entry.name == "certbot-qiniu"]
    assert found.load() is cli.main


def test_installer_is_whole() -> None:
    """certbot can make an instance, by the interfaces of today and of old."""
    assert not inspect.isabstract(Installer)
    for interface in (certbot.interfaces.Installer, certbot.interfaces.RenewDeployer,
                      certbot.interfaces.GenericUpdater):
        assert issubclass(Installer, interface)
    assert Installer.description


def test_zope() -> None:
    """If certbot still has its zope interfaces, the plugin says that it provides them."""
    pytest.importorskip("zope.interface")
    installer, factory = certbot.interfaces.IInstaller, certbot.interfaces.IPluginFactory
    assert installer.implementedBy(Installer)
    assert factory.providedBy(Installer)


def test_errors_are_certbots() -> None:
    """Every error of the plugin is one that certbot expects from a plugin."""
    ours = [value for value in vars(errors).values()
            if inspect.isclass(value) and value.__module__ == errors.__name__]
    assert len(ours) > 5
    for error in ours:
        assert issubclass(error, errors.QiniuError)
        assert issubclass(error, certbot_errors.PluginError)


# Documentation


def public(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """The public classes, functions and methods of a file, with their names."""
    def within(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if child.name.startswith("_"):
                    continue
                yield f"{prefix}{child.name}", child
                if isinstance(child, ast.ClassDef):
                    yield from within(child, f"{prefix}{child.name}.")

    yield from within(ast.parse(path.read_text(encoding="utf-8")), "")


IMPLEMENTATIONS = {"Cdn": service.Service, "Kodo": service.Service, "Pili": service.Service,
                   "NoCheckpoints": deployer.Checkpoints}
"""Which contract a class keeps."""


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_docstrings(path: Path) -> None:
    """Every public thing says what it is, in a sentence; methods of a contract say it there."""
    docs = {dotted(path): ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))}
    for name, node in public(path):
        assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        owner, _, method = name.rpartition(".")
        if owner in IMPLEMENTATIONS and hasattr(IMPLEMENTATIONS[owner], method):
            continue
        docs[name] = ast.get_docstring(node)
    assert [name for name, doc in docs.items() if not doc] == []
    first = {name: (doc or "").partition("\n\n")[0] for name, doc in docs.items()}
    assert [name for name, line in first.items() if not re.search(r"[.:?]$", line)] == []
    # ruff sees to it that functions begin with an imperative; nothing else hides behind "what".
    assert re.findall(r'"""(?:What|Which|How|Where|Why)\b.*', path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")),
                         ids=lambda path: str(path.relative_to(TESTS)))
def test_tests_have_docstrings(path: Path) -> None:
    """Every test says in one sentence what it shows."""
    for name, node in public(path):
        if name.startswith("test_"):
            assert isinstance(node, ast.FunctionDef)
            doc = ast.get_docstring(node) or ""
            assert doc.endswith("."), f"{path.name}: {name}"
            assert "\n\n" not in doc, f"{path.name}: {name}"


def test_tree_of_errors_is_drawn() -> None:
    """The drawing in the module of the errors has each of them, below its parent."""
    assert errors.__doc__ is not None
    drawn = re.findall(r"^ {4}([│ ]*)(?:[├└]── )?((?:certbot\.errors\.)?[A-Z]\w+)", errors.__doc__,
                       re.MULTILINE)
    names = {name.rpartition(".")[2] for _, name in drawn}
    ours = {name for name, value in vars(errors).items()
            if inspect.isclass(value) and value.__module__ == errors.__name__}
    assert names == ours | {"PluginError"}
