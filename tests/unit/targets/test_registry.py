"""Which targets a run has, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.targets.other_installer import OtherInstaller
from certbot_qiniu.targets.registry import targets_of
from tests.unit.targets.plugin import new_run


def kinds(folder: Path, verb: str = "run", **values: Any) -> list[str]:
    """The targets of a run, other installers by their names and options."""
    return [f"{target.name} {target._options}".strip() if isinstance(target, OtherInstaller)
            else type(target).__name__ for target in targets_of(new_run(folder, verb, **values))]


@pytest.mark.parametrize(("values", "expected"), [
    ({}, ["NginxTarget", "QiniuTarget"]),
    ({"qiniu_skip_nginx": True}, ["QiniuTarget"]),
    ({"qiniu_with": "apache"}, ["apache", "QiniuTarget"]),
    ({"qiniu_with": "apache", "qiniu_with_options": "--apache-ctl x"},
     ["apache --apache-ctl x", "QiniuTarget"]),
    ({"qiniu_hook": "/reload"}, ["NginxTarget", "HookTarget", "QiniuTarget"]),
    ({"qiniu_hook": "/reload", "qiniu_with": "apache"}, ["apache", "HookTarget", "QiniuTarget"]),
    ({"qiniu_hook": ""}, ["NginxTarget", "QiniuTarget"]),
    ({"qiniu_with": ""}, ["NginxTarget", "QiniuTarget"]),
], ids=["usual", "without nginx", "another installer", "with its options",
        "a hook", "a hook and another installer", "no hook by name", "none by name"])
@pytest.mark.parametrize("verb", ["run", "renew", "rollback"])
def test_targets(tmp_path: Path, verb: str, values: dict[str, Any],
                 expected: list[str]) -> None:
    """What is local comes first, hooks last of it, then Qiniu; nginx is another installer's."""
    assert expected == kinds(tmp_path, verb, **values)


def remember(folder: Path, **lineages: tuple[str, str]) -> None:
    """Let lineages have had other installers."""
    deployer = new_run(folder).deployer
    for name, (installer, options) in lineages.items():
        memory = deployer.store.memory.lineage(name)
        memory.other_installer, memory.other_installer_options = installer, options
    deployer.store.write_memory()


LINEAGES = {"a": ("nginx", ""), "b": ("apache", "--x"), "c": ("", ""), "d": ("nginx", ""),
            "e": ("apache", "--y")}


def test_rollback_finds_the_installers(tmp_path: Path) -> None:
    """A rollback without flags goes back with those of all lineages, each once."""
    remember(tmp_path, **LINEAGES)
    assert ["apache --x", "apache --y", "nginx", "NginxTarget", "QiniuTarget"] == kinds(
        tmp_path, "rollback")


@pytest.mark.parametrize(("verb", "name"), [("renew", None), ("run", None), ("rollback", "caddy")])
def test_only_a_rollback_without_flags(tmp_path: Path, verb: str, name: str | None) -> None:
    """Any other run has the installer that it was told, or none."""
    remember(tmp_path, **LINEAGES)
    found = kinds(tmp_path, verb, qiniu_with=name)
    assert ([name] if name else ["NginxTarget"]) == found[:-1]


def test_rollback_that_cannot_read(tmp_path: Path) -> None:
    """A rollback that cannot know who takes part goes nowhere; another run opens no file."""
    (tmp_path / "qiniu").mkdir()
    (tmp_path / "qiniu" / "memory.json").write_text("damaged")
    with pytest.raises(errors.StateError):
        kinds(tmp_path, "rollback")
    assert ["NginxTarget", "QiniuTarget"] == kinds(tmp_path, "renew")
