"""certbot's lineages, read from their folders: ``live/<name>`` and the archive it points into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.model import Certificate
from certbot_qiniu.options import OPTIONS, Settings


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


INSTALLER = "qiniu"


@dataclass(frozen=True)
class Renewal:
    """What a renewal conf says.

    :ivar options: our options by name; their defaults where the conf has none.
    :ivar settings: the same, ready for use.
    :ivar webroots: folders that the authenticator writes to.
    """

    lineage: str
    path: Path
    authenticator: str
    installer: str
    options: Mapping[str, Any]
    settings: Settings
    webroots: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether renewals of this lineage reach Qiniu."""
        return self.installer == INSTALLER


def read_renewals(config_dir: Path) -> tuple[dict[str, Renewal], list[str]]:
    """The renewal confs by lineage, and what is wrong with those that cannot be read."""
    renewals, problems = {}, []
    for path in sorted((config_dir / "renewal").glob("*.conf")):
        try:
            renewals[path.stem] = read_renewal(path)
        except errors.UsageError as error:
            problems.append(str(error))
    return renewals, problems


def read_renewal(path: Path) -> Renewal:
    """Read one renewal conf.

    :raises errors.UsageError: when it cannot be read, or holds a nonsense value of ours.
    """
    import configobj

    try:
        conf = configobj.ConfigObj(str(path), encoding="utf-8", default_encoding="utf-8",
                                   file_error=True, interpolation=False)
        params = conf["renewalparams"]
        options = {name: option(params, name) for name in OPTIONS}
        settings = Settings.read(options.__getitem__)
        webroots = _strings(params.get("webroot_path", [])) + _strings(
            list(params.get("webroot_map", {}).values()))
    except OSError as error:
        raise errors.UsageError(f"Could not read {path}: {error.strerror or error}") from error
    except (configobj.ConfigObjError, KeyError, AttributeError, ValueError) as error:
        raise errors.UsageError(
            f"{path} is damaged, so certbot cannot renew this certificate: {error}") from error
    return Renewal(path.stem, path, str(params.get("authenticator", "")),
                   str(params.get("installer", "")), options, settings,
                   tuple(dict.fromkeys(webroots)))


def option(params: Mapping[str, Any], name: str) -> Any:
    """The value of one of our options, restored from its text as certbot does it.

    :raises ValueError: when it is nonsense.
    """
    spec = OPTIONS[name]
    value = params.get(f"{INSTALLER}_{name.replace('-', '_')}", spec.get("default"))
    if value in ("None", None):
        return None
    if spec.get("action") == "store_true":
        return value in (True, "True")
    return spec.get("type", str)(value)


def _strings(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def reconfigure_command(lineage: str = "NAME", credentials: str = "PATH") -> str:
    """The command that makes certbot deploy a lineage to Qiniu."""
    return f"certbot reconfigure --cert-name {lineage} -i qiniu --qiniu-credentials {credentials}"
