"""Certificates on disk as certbot keeps them, without an authority that issues them.

For what only renews, installs and rolls back: hundreds of lineages, or new versions at will, cost
a key each and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.sandbox.pki import Leaf

_KINDS = ("cert", "chain", "fullchain", "privkey")


def write_version(config_dir: Path, lineage: str, leaf: Leaf) -> int:
    """Add *leaf* as the newest version of *lineage*, and answer its number."""
    archive, live = config_dir / "archive" / lineage, config_dir / "live" / lineage
    for folder in (archive, live):
        folder.mkdir(parents=True, exist_ok=True)
    number = len(list(archive.glob("cert*.pem"))) + 1
    texts = {"cert": leaf.cert_pem, "chain": leaf.chain_pem, "fullchain": leaf.fullchain_pem,
             "privkey": leaf.key_pem}
    for kind in _KINDS:
        path, link = archive / f"{kind}{number}.pem", live / f"{kind}.pem"
        path.touch(0o600)
        path.write_text(texts[kind], encoding="ascii")
        link.unlink(missing_ok=True)
        link.symlink_to(Path("../..", *path.relative_to(config_dir).parts))
    return number


def write_renewal(config_dir: Path, lineage: str, options: Mapping[str, object]) -> None:
    """Write the file that makes ``certbot renew`` care for *lineage*.

    :param options: what certbot would have stored, such as ``installer``.
    """
    folder = config_dir / "renewal"
    folder.mkdir(exist_ok=True)
    lines = ["version = 2.0.0", f"archive_dir = {config_dir / 'archive' / lineage}",
             *(f"{kind} = {config_dir / 'live' / lineage / f'{kind}.pem'}" for kind in _KINDS),
             "[renewalparams]", *(f"{name} = {value}" for name, value in options.items()), ""]
    (folder / f"{lineage}.conf").write_text("\n".join(lines), encoding="ascii")
