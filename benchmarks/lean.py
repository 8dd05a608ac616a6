"""An environment with certbot, the plugin and what they need, and nothing else.

certbot looks through all that is installed for every lineage that it renews, so in an environment
for tests it takes half as long again, and everything next to it looks cheap.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def environment(directory: Path) -> Path:
    """A folder for ``PYTHONPATH``, made of links."""
    folder = directory / "lean"
    folder.mkdir()
    for name in _needed("certbot-qiniu", set()):
        found = importlib.metadata.distribution(name)
        for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            (folder / top).symlink_to(str(found.locate_file(top)))
    for name in ("benchmarks", "certbot_qiniu"):
        if not (folder / name).is_symlink():  # as it is where this is no editable installation
            (folder / name).symlink_to(ROOT / name)
    return folder


def _needed(name: str, found: set[str]) -> set[str]:
    """The distributions that one needs, and itself."""
    if name not in found:
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                _needed(wanted.name.lower(), found)
    return found
