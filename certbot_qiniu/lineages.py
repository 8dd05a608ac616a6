"""certbot's lineages, read from their folders: ``live/<name>`` and the archive it points into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.model import Certificate


class Lineages:
    """The lineages below one certbot configuration directory.

    :param config_dir: certbot's ``--config-dir``.
    """

    def __init__(self, config_dir: Path) -> None:
        self.live = config_dir / "live"

    def names(self) -> list[str]:
        """The names of all lineages."""
        if not self.live.is_dir():
            return []
        return sorted(folder.name for folder in self.live.iterdir()
                      if (folder / "fullchain.pem").exists())

    def exists(self, name: str) -> bool:
        """Whether certbot still has this lineage."""
        return (self.live / name / "fullchain.pem").exists()

    def current(self, name: str) -> Certificate:
        """The newest certificate of a lineage.

        :raises errors.UsageError: when there is none that can be read.
        """
        folder = self.live / name
        return Certificate.load(name, folder / "fullchain.pem", folder / "privkey.pem")

    def find(self, name: str, fingerprint: str) -> Certificate | None:
        """The version of a lineage with this fingerprint, None where certbot no longer has it."""
        for certificate in self.versions(name):
            if certificate.fingerprint == fingerprint:
                return certificate
        return None

    def versions(self, name: str) -> Iterator[Certificate]:
        """All versions of a lineage that certbot has kept, newest first."""
        if not self.exists(name):
            return
        archive = (self.live / name / "fullchain.pem").resolve().parent
        numbered = [(int(digits), path) for path in archive.glob("fullchain*.pem")
                    if (digits := path.stem.removeprefix("fullchain")).isdigit()]
        for number, path in sorted(numbered, reverse=True):
            try:
                yield Certificate.load(name, path, archive / f"privkey{number}.pem")
            except errors.UsageError:
                continue  # one damaged old version must not hide the others

    def with_names(self, names: set[str]) -> str | None:
        """The one lineage whose newest certificate has exactly these SANs, if it is only one."""
        found = []
        for name in self.names():
            try:
                if set(self.current(name).names) == names:
                    found.append(name)
            except errors.UsageError:
                continue
        return found[0] if len(found) == 1 else None
