"""certbot's lineages: what their renewal confs say, and the files that these point to.

As certbot sees it, a lineage exists as long as its conf does, even if its files are gone, and its
files are where the conf says, whatever the conf is called.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import itertools
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.model import Certificate
from certbot_qiniu.options import OPTIONS, Settings, restored

INSTALLER = "qiniu"
KINDS = ("cert", "privkey", "chain", "fullchain")
"""The four files of a lineage, as a conf names them."""

SWITCHES = ("autorenew", "must_staple", "allow_subset_of_names", "reuse_key")
NUMBERS = ("rsa_key_size", "http01_port")
HOOKS = ("pre_hook", "post_hook", "renew_hook", "deploy_hook")
"""Settings of certbot's own whose nonsense it does not renew with."""


@dataclass(frozen=True)
class Place:
    """The places of a lineage's files.

    :ivar fullchain: the link to the newest certificate.
    :ivar files: all such links by kind; without those that the conf does not name.
    :ivar archive: where certbot puts new versions.
    """

    fullchain: Path
    files: Mapping[str, Path]
    archive: Path

    @property
    def live(self) -> Path:
        """The folder of the links."""
        return self.fullchain.parent


class Lineages:
    """The lineages below one certbot configuration directory.

    :param config_dir: certbot's ``--config-dir``.
    """

    def __init__(self, config_dir: Path) -> None:
        self.config_dir = config_dir

    def names(self) -> list[str]:
        """Return the names of all lineages."""
        return [path.stem for path in _confs(self.config_dir)]

    def exists(self, name: str) -> bool:
        """Return whether certbot has this lineage; its files may be damaged or gone."""
        return self._conf(name).is_file()

    def place(self, name: str) -> Place:
        """Return the places of a lineage's files.

        :raises errors.UsageError: if its conf cannot be read.
        """
        return place(self._conf(name), self.config_dir)

    def current(self, name: str) -> Certificate:
        """Return the newest certificate of a lineage.

        :raises errors.UsageError: if there is none that can be read.
        """
        try:
            found = self.place(name)
            key = found.files.get("privkey", found.fullchain.with_name("privkey.pem"))
            return _load(name, found.fullchain, key)
        except errors.UsageError as error:
            raise errors.UsageError(f"The certificate {name} cannot be used: {error}") from error

    def find(self, name: str, fingerprint: str) -> Certificate | None:
        """Find the version of a lineage with this fingerprint, None if certbot no longer has it."""
        name = name if self.exists(name) else self.having([fingerprint])
        for certificate in itertools.chain(self._linked(name), self.versions(name)):
            if certificate.fingerprint == fingerprint:
                return certificate
        return None

    def _linked(self, name: str) -> Iterator[Certificate]:
        """Return the live version: usually it is the wanted one, and no folder is searched."""
        with contextlib.suppress(errors.UsageError):
            path = Path(os.path.realpath(self.place(name).fullchain))
            number = path.stem.removeprefix("fullchain")
            if number.isdigit():
                yield _load(name, path, path.with_name(f"privkey{number}.pem"))

    def having(self, fingerprints: Collection[str]) -> str:
        """Find the lineage that has one of these versions, "" for none: its conf may be renamed."""
        return next((name for name in self.names() for certificate in self.versions(name)
                     if certificate.fingerprint in fingerprints), "")

    def versions(self, name: str) -> Iterator[Certificate]:
        """Return all versions of a lineage that certbot has kept, newest first."""
        try:
            found = self.place(name)
        except errors.UsageError:
            return
        # An archive that was moved has the new versions; the older ones are where the links point.
        folders = dict.fromkeys([found.archive.resolve(), found.fullchain.resolve().parent])
        numbered = [(int(digits), path) for folder in folders
                    for path in folder.glob("fullchain*.pem")
                    if (digits := path.stem.removeprefix("fullchain")).isdigit()]
        for number, path in sorted(numbered, reverse=True):
            try:
                yield _load(name, path, path.with_name(f"privkey{number}.pem"))
            except errors.UsageError:
                continue  # one damaged old version must not hide the others

    def with_file(self, path: str) -> list[str]:
        """Find the lineages whose newest certificate is *path*, with its chain or without."""
        wanted = _absolute(Path(path))
        found = []
        for name in self.names():
            try:
                files = self.place(name).files
            except errors.UsageError:
                continue
            if wanted in {_absolute(files[kind]) for kind in ("fullchain", "cert")
                          if kind in files}:
                found.append(name)
        return found

    def with_names(self, names: Collection[str], among: Iterable[str]) -> list[str]:
        """Return those *among* the lineages whose newest certificate has exactly these SANs."""
        found = []
        for name in among:
            try:
                if set(self.current(name).names) == set(names):
                    found.append(name)
            except errors.UsageError:
                continue
        return found

    def _conf(self, name: str) -> Path:
        return self.config_dir / "renewal" / f"{name}.conf"


def place(conf: Path, config_dir: Path) -> Place:
    """Return the places of a lineage's files that *conf* names.

    If nothing is there, as with a container's folder that is seen from outside, they are looked
    for below *config_dir*.

    :raises errors.UsageError: if the conf cannot be read.
    """
    with _reading(conf):
        own, here = _places(conf, _version(conf), config_dir)
    return here if not os.path.lexists(own.fullchain) and os.path.lexists(here.fullchain) else own


@functools.cache
def _places(conf: Path, _version: tuple[int, ...], config_dir: Path) -> tuple[Place, Place]:
    """Return the places that *conf* names, and the same below *config_dir*."""
    said, live = _parse(conf), config_dir / "live"
    usual = live / conf.stem / "fullchain.pem"
    archive = Path(str(said.get("archive_dir", config_dir / "archive" / conf.stem)))
    own = {kind: Path(str(said[kind])) for kind in KINDS if kind in said}
    here = {kind: live / path.parent.name / path.name for kind, path in own.items()}
    return (Place(own.get("fullchain", usual), own, archive),
            Place(here.get("fullchain", usual), here, config_dir / "archive" / archive.name))


def _absolute(path: Path) -> Path:
    """*path* with all links resolved but the one in ``live`` itself."""
    return path.parent.resolve() / path.name


def _load(lineage: str, fullchain: Path, key: Path) -> Certificate:
    """Return a certificate; each version of a file is read once a process, as dry runs ask for all.

    :raises errors.UsageError: if it cannot be read.
    """
    try:
        version = _version(fullchain)
    except OSError:
        version = ()
    return _loaded(lineage, fullchain, key, version)


@functools.cache
def _loaded(lineage: str, fullchain: Path, key: Path, _version: tuple[int, ...]) -> Certificate:
    return Certificate.load(lineage, fullchain, key)


# Renewal confs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Renewal:
    """The content of a renewal conf.

    :ivar options: our options by name; the default of each that the conf lacks.
    :ivar settings: the same, ready for use.
    :ivar renews: whether certbot renews it by itself.
    """

    lineage: str
    path: Path
    authenticator: str
    installer: str
    options: Mapping[str, Any]
    settings: Settings
    key_type: str = "rsa"
    renews: bool = True

    @property
    def is_ours(self) -> bool:
        """Whether renewals of this lineage reach Qiniu."""
        return self.installer == INSTALLER


def read_renewals(config_dir: Path, given: Mapping[str, Any] | None = None,
                  ) -> tuple[dict[str, Renewal], list[str]]:
    """Return the renewal confs by lineage, and what is wrong with those that cannot be read.

    :param given: what certbot is given for all of them, see :func:`read_renewal`.
    """
    renewals, problems = {}, []
    for path in _confs(config_dir):
        try:
            renewals[path.stem] = read_renewal(path, given)
        except errors.UsageError as error:
            problems.append(str(error))
    return renewals, problems


def _confs(config_dir: Path) -> list[Path]:
    """Return the renewal confs, in certbot's order, without hidden files."""
    return [Path(path) for path in
            sorted(glob.glob(os.path.join(glob.escape(str(config_dir)), "renewal", "*.conf")))]


def read_renewal(path: Path, given: Mapping[str, Any] | None = None) -> Renewal:
    """Read one renewal conf.

    :param given: what certbot is given on its command line or in a file of its own, as it names
        it; this goes before what the conf says.
    :raises errors.UsageError: if it cannot be read, or holds a nonsense value of ours.
    """
    with _reading(path):
        return _read(path, _version(path), tuple(sorted((given or {}).items())))


@functools.cache
def _read(path: Path, _version: tuple[int, ...], items: tuple[tuple[str, Any], ...]) -> Renewal:
    given = dict(items)
    with _reading(path):
        # certbot resolves every value, and skips the conf if that fails for one.
        params = dict(_parse(path)["renewalparams"].items())
        options = {name: given[dest] if (dest := _dest(name)) in given else option(params, name)
                   for name in OPTIONS}
        settings = Settings.read(options.__getitem__)
        _check(params)
    return Renewal(
        path.stem, path, str(given.get("authenticator") or params.get("authenticator", "")),
        str(given.get("installer") or params.get("installer", "")), options, settings,
        str(params.get("key_type", "rsa")),
        str(params.get("autorenew", True)).lower() == "true")


def _check(params: Mapping[str, Any]) -> None:
    """Refuse what certbot would not renew with.

    :raises ValueError: if there is any of it.
    """
    if "authenticator" not in params:
        raise ValueError("it names no authenticator")
    for name in SWITCHES:
        value = params.get(name, "True")
        if str(value).lower() not in ("true", "false"):
            raise ValueError(f"{name} = {value} is neither True nor False")
    for name in NUMBERS:
        value = params.get(name, "0")
        if not str(value).isdecimal() and (name, value) != ("http01_port", "None"):
            raise ValueError(f"{name} = {value} is not a number")
    for name in HOOKS:
        if isinstance(value := params.get(name), list) and value:
            raise ValueError(f"{name} has a comma, which parts a list there. Put the command into "
                             "quotation marks")


def _dest(name: str) -> str:
    """certbot's name for one of our options."""
    return f"{INSTALLER}_{name.replace('-', '_')}"


def option(params: Mapping[str, Any], name: str) -> Any:
    """Return the value of one of our options, restored from its text as certbot does it.

    :raises ValueError: if it is nonsense.
    """
    spec = OPTIONS[name]
    value = params.get(_dest(name), spec.get("default"))
    if value in ("None", None) or spec.get("action") == "store_true":
        return restored(name, None if value == "None" else value)
    try:
        return spec.get("type", str)(value)
    except ValueError as error:
        raise ValueError(f"{_dest(name)}: {error}") from error


@contextlib.contextmanager
def _reading(conf: Path) -> Iterator[None]:
    """Say what is wrong with a conf that cannot be read.

    :raises errors.UsageError: in place of what went wrong.
    """
    import configobj

    try:
        yield
    except OSError as error:
        raise errors.UsageError(f"Could not read {conf}: {error.strerror or error}") from error
    except configobj.InterpolationError as error:
        raise errors.UsageError(
            f"{conf} is skipped by certbot, which takes %(…)s for the value of a setting: {error} "
            "Put the command with the %(…)s into a script, and name that instead") from error
    except (configobj.ConfigObjError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise errors.UsageError(
            f"{conf} is damaged, so certbot cannot renew this certificate: {error}") from error


def _parse(conf: Path) -> Any:
    """*conf* as certbot parses it; each version of a file is read once a process."""
    return _parsed(conf, _version(conf))


def _version(path: Path) -> tuple[int, ...]:
    """Return a value that changes with every change of a file."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


@functools.cache
def _parsed(conf: Path, _version: tuple[int, ...]) -> Any:
    import configobj

    return configobj.ConfigObj(str(conf), encoding="utf-8", default_encoding="utf-8",
                               file_error=True)


def reconfigure_command(lineage: str = "NAME", credentials: str = "PATH") -> str:
    """Return the command that makes certbot deploy a lineage to Qiniu."""
    return shlex.join(["certbot", "reconfigure", "--cert-name", lineage, "-i", "qiniu",
                       "--qiniu-credentials", credentials])


# What certbot does not renew --------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Say why certbot does not renew a lineage, or not as it should.

    :ivar reason: a stable word, apart from the words for humans.
    :ivar remedy: what to do about it.
    """

    lineage: str
    reason: str
    text: str
    remedy: str


def problems(config_dir: Path, renewals: Mapping[str, Renewal],
             deployed: Collection[str]) -> list[Problem]:
    """Say what keeps certbot from renewing the lineages that are deployed to Qiniu.

    :param renewals: all that can be read.
    :param deployed: the lineages that have, or had, anything at Qiniu.
    """
    places = {name: place(renewal.path, config_dir) for name, renewal in renewals.items()}
    users: dict[Path, list[str]] = {}
    for name, where in places.items():
        users.setdefault(where.fullchain, []).append(name)
    found = []
    for name, renewal in renewals.items():
        if not (renewal.is_ours or name in deployed):
            continue
        where = places[name]
        if not renewal.renews:
            found.append(Problem(
                name, "AutorenewOff", f"{name} is not renewed by certbot: {renewal.path} says "
                "autorenew = False", "Remove that line"))
        found += _broken_links(name, where)
        others = [other for other in users[where.fullchain] if other != name]
        if others:
            found.append(Problem(
                name, "SharedFiles", f"the renewal confs of {name} and {', '.join(others)} name "
                f"the same files, {where.live}: certbot renews them once for each",
                f"Remove all but one of these confs from {config_dir}/renewal; not with certbot "
                "delete, which would delete the files, too"))
    alive = set(Lineages(config_dir).names())
    for name in sorted(set(deployed) - alive):
        live = config_dir / "live" / name
        if os.path.lexists(live / "fullchain.pem") and live / "fullchain.pem" not in users:
            found.append(Problem(
                name, "NoConf", f"{name} is no longer renewed by certbot: {live} is there, but "
                f"{config_dir}/renewal/{name}.conf is gone",
                "Put the conf back from a backup; if the certificate is not needed any more, "
                f"remove {live}"))
    return found


def _broken_links(lineage: str, where: Place) -> Iterator[Problem]:
    """certbot skips a lineage unless its four files are links, and none of them dangles."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        path = where.files.get(kind)
        state = ("not named in its conf" if path is None
                 else "missing" if not os.path.lexists(path)
                 else "no link" if not path.is_symlink()
                 else "a link to what is not there" if not path.exists() else "")
        if state:
            found.setdefault(state, []).append(f"{kind}.pem")
    for state, names in found.items():
        yield Problem(
            lineage, "BrokenLinks", f"{lineage} is skipped by certbot: of {where.live}, "
            f"{', '.join(names)} {'are' if len(names) > 1 else 'is'} {state}",
            f"Make each a link to the newest file of its kind in {where.archive}, or put the "
            "folders back from a backup")
