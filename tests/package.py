"""The places of the package and of all its files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
DOCS = ROOT / "docs"
PACKAGE = ROOT / "certbot_qiniu"


def dotted(path: Path) -> str:
    """The name of a module below the package: ``qiniu.client``, or ``qiniu`` for a folder's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


SOURCES = sorted(PACKAGE.rglob("*.py"))
"""Every file of the package, in whichever folder."""

MODULES = {dotted(path): path for path in SOURCES if path.stem != "__init__"}
"""Those with code in them, by their dotted names."""
