"""The layout of the package and of its documentation, and how certbot sees it."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import certbot.interfaces
import pytest
from certbot import errors as certbot_errors

import certbot_qiniu
from certbot_qiniu import config, deploy, errors, services
from certbot_qiniu.installer import Installer
from tests.package import MODULES, ROOT, SOURCES, dotted

pytestmark = pytest.mark.docs

LONGEST = 480
CONTRACT = {"installer": 560}  # certbot's whole contract is one class

LEVELS = [
    {"errors"},
    {"completion", "dialogue", "model", "serving", "transport"},
    {"answers", "lineages", "nginx", "state"},
    {"api", "config", "partner", "plan", "timer"},
    {"kodo", "pili"},
    {"renewals", "report", "services", "setups", "webserver"},
    {"notify", "world"},
    {"observe", "probe"},
    {"cleanup", "rehearsal"},
    {"reconcile"},
    {"deploy"},
    {"inspection", "installer"},
    {"actions", "doctor"},
    {"adopt", "show"},
    {"cli"},
    {"__main__"},
]
"""A module imports from the levels above its own alone."""

NARROW = {
    "plan": {"model", "state"},
    "model": {"errors"},
    "transport": {"errors"},
    "answers": {"errors", "model"},
    "api": {"answers", "errors", "model", "transport"},
    "serving": set(),
    "nginx": {"errors", "serving"},
    "state": {"errors", "model"},
    "config": {"errors", "model", "nginx"},
    "lineages": {"errors", "model"},
}
"""What these modules may import of the package at most."""

IMPURE = {"os", "time", "logging", "random", "socket", "subprocess", "threading", "tempfile",
          "pathlib", "datetime", "io", "shutil", "sys"}
"""Modules of Python's own that have no place in a pure one."""


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


def own_imports(path: Path) -> set[str]:
    """The modules of the package that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("certbot_qiniu.")}


def roots(path: Path) -> set[str]:
    """The packages that a file imports from."""
    return {name.partition(".")[0] for name in imports(path)}


def test_all_files_are_seen() -> None:
    """What the checks here and elsewhere go through is what Python finds in the package."""
    found = pkgutil.walk_packages(certbot_qiniu.__path__, "certbot_qiniu.")
    names = [name.removeprefix("certbot_qiniu.") for _, name, _ in found]
    assert sorted(["__init__", *names]) == sorted(map(dotted, SOURCES))


def test_levels_are_complete() -> None:
    """Every module has its level."""
    assert sorted(name for level in LEVELS for name in level) == sorted(MODULES)


def test_modules_are_described() -> None:
    """Every module has its line in the architecture, and no other has."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| module | subject |")[2].partition("## ")[0]
    first = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert sorted(re.findall(r"`(\w+)`", first)) == sorted(set(MODULES) - {"__main__"})


@pytest.mark.parametrize("module", MODULES)
def test_imports_one_way(module: str) -> None:
    """A module imports only from the levels above its own, also inside functions."""
    above: set[str] = set()
    for level in LEVELS:
        if module in level:
            break
        above |= level
    assert own_imports(MODULES[module]) <= above


@pytest.mark.parametrize("module", NARROW)
def test_narrow_imports(module: str) -> None:
    """The modules at the bottom know only what they are made of."""
    assert own_imports(MODULES[module]) <= NARROW[module]


def test_plan_is_pure() -> None:
    """The planner has no way to reach network, disk, clock, log or certbot."""
    found = roots(MODULES["plan"])
    assert found <= sys.stdlib_module_names | {"certbot_qiniu"}
    assert not found & IMPURE
    assert not own_imports(MODULES["plan"]) - {"model", "state"}


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


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short(module: str) -> None:
    """A module that gets long has a second subject in it."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= CONTRACT.get(
        module, LONGEST)


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
    heavy = {"qiniu", "tenacity", "rich", "crossplane", "certbot_qiniu.api", "hypothesis"}
    assert not heavy & (loaded | {name.partition(".")[0] for name in loaded})
    assert {name for name in loaded if name.startswith("certbot_qiniu")} == {
        "certbot_qiniu", "certbot_qiniu.installer", "certbot_qiniu.config",
        "certbot_qiniu.errors"}


def test_entry_point() -> None:
    """certbot finds the plugin under its name."""
    [found] = [entry for entry in importlib.metadata.entry_points(group="certbot.plugins")
               if entry.name == "qiniu"]
    assert found.load() is Installer


def test_installer_is_whole() -> None:
    """certbot can make an instance, by the interfaces of today and of old."""
    assert not inspect.isabstract(Installer)
    for interface in (certbot.interfaces.Installer, certbot.interfaces.RenewDeployer,
                      certbot.interfaces.GenericUpdater):
        assert issubclass(Installer, interface)
    assert Installer.description


def test_zope() -> None:
    """Where certbot still has its zope interfaces, the plugin says that it provides them."""
    pytest.importorskip("zope.interface")
    installer, factory = certbot.interfaces.IInstaller, certbot.interfaces.IPluginFactory
    assert installer.implementedBy(Installer)
    assert factory.providedBy(Installer)


def test_errors_are_certbots() -> None:
    """Whatever the plugin raises is an error that certbot expects from a plugin."""
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


IMPLEMENTATIONS = {"Cdn": services.Service, "Kodo": services.Service, "Pili": services.Service,
                   "NoCheckpoints": deploy.Checkpoints}
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


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_*.py")),
                         ids=lambda path: path.stem)
def test_tests_have_docstrings(path: Path) -> None:
    """Every test says in one sentence what it shows."""
    for name, node in public(path):
        if name.startswith("test_"):
            assert isinstance(node, ast.FunctionDef)
            doc = ast.get_docstring(node) or ""
            assert doc.endswith("."), f"{path.name}: {name}"
            assert "\n\n" not in doc, f"{path.name}: {name}"


@pytest.mark.parametrize("option", config.OPTIONS)
@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_options_are_documented(readme: str, option: str) -> None:
    """Every option is in both READMEs, in a row of a table with its default."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines()
            if re.match(rf"\|.*--qiniu-{option}(?![\w-])", line)]
    assert rows, f"{readme} has no row for --qiniu-{option}"
    default = config.OPTIONS[option].get("default")
    if default not in (None, False):
        assert any(str(default) in row for row in rows)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_documented_options_exist(readme: str) -> None:
    """No README names an option that does not exist."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert set(re.findall(r"--qiniu-([a-z0-9]+(?:-[a-z0-9]+)*)", text)) <= set(config.OPTIONS)


def test_tree_of_errors_is_drawn() -> None:
    """The drawing in the module of the errors has each of them, below its parent."""
    assert errors.__doc__ is not None
    drawn = re.findall(r"^ {4}([│ ]*)(?:[├└]── )?((?:certbot\.errors\.)?[A-Z]\w+)", errors.__doc__,
                       re.MULTILINE)
    names = {name.rpartition(".")[2] for _, name in drawn}
    ours = {name for name, value in vars(errors).items()
            if inspect.isclass(value) and value.__module__ == errors.__name__}
    assert names == ours | {"PluginError"}
