"""certbot's configuration and our plugin, as far as the targets see them; no certbot runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from certbot_qiniu.options import OPTIONS
from certbot_qiniu.targets.run import Run

LINEAGE = "example.com"


def config(folder: Path, verb: str = "run", *, dry_run: bool = False, **values: Any) -> Any:
    """certbot's configuration below *folder*: our options have their defaults unless given.

    :param values: destinations, such as ``qiniu_with`` or ``domains``.
    """
    work = folder / "work"
    ours = {f"qiniu_{name.replace('-', '_')}": spec.get("default")
            for name, spec in OPTIONS.items()}
    return SimpleNamespace(**{
        "verb": verb, "dry_run": dry_run, "domains": None, "certname": None, "redirect": None,
        "installer": "qiniu", "configurator": None, "noninteractive_mode": True,
        "config_dir": str(folder), "work_dir": str(work), "backup_dir": str(work / "backups"),
        "in_progress_dir": str(work / "IN_PROGRESS"), "temp_checkpoint_dir": str(work / "TEMP"),
        "renewal_configs_dir": str(folder / "renewal"), "strict_permissions": False,
        **ours, **values})


class Plugin:
    """Our installer, as a run sees it: a configuration, and a reverter that keeps nothing.

    :ivar undone: how many times an unfinished checkpoint was undone.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.undone = 0

    def dest(self, name: str) -> str:
        return f"qiniu_{name.replace('-', '_')}"

    def conf(self, name: str) -> Any:
        return getattr(self.config, self.dest(name))

    def undo(self) -> None:
        self.undone += 1

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        """Keep nothing."""

    def finalize_checkpoint(self, title: str) -> None:
        """End nothing."""


def new_run(folder: Path, verb: str = "run", **values: Any) -> Run:
    """A run of certbot whose files are below *folder*."""
    plugin = Plugin(config(folder, verb, **values))
    return Run(plugin, plugin.undo)  # type: ignore[arg-type]


def renewed(name: str = LINEAGE) -> Any:
    """certbot's own object for a lineage, which has its name."""
    return SimpleNamespace(lineagename=name)
