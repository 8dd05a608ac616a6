"""Find certbot's folders that are not on volumes: they are lost with the container."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
SYSTEMD = Path("/run/systemd/system")
"""A sign of a machine that is kept, even in a container."""

LAYERS = {"overlay", "fuse.fuse-overlayfs", "aufs"}
"""File systems that containers have at their root."""

ANONYMOUS = re.compile(r"/volumes/[0-9a-f]{64}(/_data)?")
"""The end of an unnamed volume's path: the next container gets another volume."""

LOST = {"config": "all certificates, their keys and the account go with it",
        "work": "what a rollback goes back to goes with it"}


def lost_with_it(folders: dict[str, Path]) -> Iterator[tuple[Path, str]]:
    """Find certbot's folders that are lost with this container, and what that means for each.

    :param folders: certbot's name -> path.
    """
    if SYSTEMD.exists():
        return
    for kind, what in LOST.items():
        path = folders[kind]
        if _is_in_the_container(path):
            yield path, f"{path} is no volume of this container, or one without a name: {what}"


def _is_in_the_container(path: Path) -> bool:
    """Return whether a path is in the container's own layers, or a volume that goes with it."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    found: dict[Path, bool] = {}
    for line in lines:  # mountinfo: id, parent, device, root, mount point, …, -, type, …
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda digits: chr(int(digits[1], 8)), before.split()[4])
        root, kind = before.split()[3], after.split()[0]
        # The last one that was mounted there covers the others.
        found[Path(point)] = bool(ANONYMOUS.search(root)) or (point == "/" and kind in LAYERS)
    real = path.resolve()
    place = next((place for place in (real, *real.parents) if place in found), None)
    return place is not None and found[place]
