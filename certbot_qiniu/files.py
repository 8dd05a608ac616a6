"""Our own files: JSON with a version, replaced atomically, 0600 from birth; and who may write."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pwd
import shlex
import stat
import tempfile
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from certbot_qiniu import errors

VERSION = 1
DOMAINS_LOST = ("the next certbot renew then finds the domains again, but a rollback no longer "
                "knows what they served before")
"""The result of losing a file that is about domains."""

_LATEST = 253_402_300_799  # a time: later ones, and NaN, are no dates
UID_MAP = Path("/proc/self/uid_map")

T = TypeVar("T")


def read_json(path: Path, lost: str = DOMAINS_LOST, newest: int = VERSION) -> dict[str, Any]:
    """Read a file of ours.

    :param lost: the result of losing it, for a user who has to move a corrupt one away.
    :param newest: the newest version of it that is known.
    :raises errors.StateError: if it is corrupt or from a newer version.
    """
    try:
        # An editor may have left a byte order mark.
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise errors.StateError(f"Could not read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _corrupt(path, error, lost) from error
    if not isinstance(raw, dict) or not isinstance(raw.get("version"), int):
        raise _corrupt(path, "no version in it", lost)
    if raw["version"] > newest:
        raise errors.StateError(
            f"{path} was written by a newer certbot-qiniu (version {raw['version']} of the file; "
            f"this one knows {newest}). Upgrade certbot-qiniu")
    return raw


@contextlib.contextmanager
def decoding(path: Path, lost: str = DOMAINS_LOST) -> Iterator[None]:
    """Report a corrupt file if the result of :func:`read_json` makes no sense.

    :param lost: as there.
    :raises errors.StateError: in place of what went wrong.
    """
    try:
        yield
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        raise _corrupt(path, error, lost) from error


def _corrupt(path: Path, cause: object, lost: str) -> errors.StateError:
    return errors.StateError(
        f"{path} is corrupt ({cause}); nothing was changed. Put it back from a backup, or move it "
        f"away: {lost}")


def decode(kind: type[T], raw: object, **known: Any) -> T:
    """Make a dataclass from an object of JSON.

    A field named *unknown* takes all that belongs to no other field.

    :param known: fields that are not in the JSON.
    :raises TypeError: if a field is missing, unknown or of another type.
    """
    if not isinstance(raw, dict):
        raise TypeError(f"{raw!r} is no {kind.__name__}")
    hints = _hints(typing.cast("Any", kind))
    if "unknown" in hints:
        known["unknown"] = {name: raw[name] for name in raw.keys() - hints.keys()}
        raw = {name: raw[name] for name in raw.keys() & hints.keys() - {"unknown"}}
    return kind(**known, **{name: _value(hints.get(name), value, name)
                            for name, value in raw.items()})


_hints = functools.cache(typing.get_type_hints)


def _value(hint: Any, value: object, name: str) -> Any:
    """Return *value* as the type *hint* requires it."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        kind = typing.get_origin(option) or option
        inner = typing.get_args(option)
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            return decode(typing.cast("type[Any]", kind), value)
        if kind is tuple and isinstance(value, list):
            return tuple(_value(inner[0], item, name) for item in value)
        if kind in (dict, Mapping) and isinstance(value, dict):
            return {key: _value(inner[1], item, name) for key, item in value.items()}
        if kind is float:
            if type(value) in (int, float) and abs(typing.cast("float", value)) <= _LATEST:
                return value
        elif type(value) is kind:
            return value
    raise TypeError(f"{name} cannot be {value!r}")


def check_owner(path: Path, found: os.stat_result, what: str,
                config_dir: Path | None = None) -> None:
    """Refuse a file with secrets that another user could have written, or can read.

    :param what: what it is, in words.
    :param config_dir: certbot's; within a container its owner stands for the user outside.
    :raises errors.UsageError: if so, with the command that fixes it.
    """
    if found.st_mode & 0o077:
        raise errors.UsageError(
            f"{what} {path} can be read or changed by other users of this machine (mode "
            f"{stat.S_IMODE(found.st_mode):04o}). Run: chmod 600 {shlex.quote(str(path))}")
    trusted = {0, os.geteuid()}
    if config_dir and config_dir.exists() and _in_user_namespace():
        trusted.add(config_dir.stat().st_uid)
    if found.st_uid not in trusted:
        raise errors.UsageError(
            f"{what} {path} belongs to another user of this machine, {_user(found.st_uid)}, who "
            f"can read and change it. Run: chown {_user(os.geteuid())} {shlex.quote(str(path))}")


def others_may_change(program: Path) -> bool:
    """Return whether anybody but root and this user may change or replace a program.

    :param program: its path, or that of a folder of programs.
    """
    ends, links = [program.absolute()], set[Path]()
    for end in ends:  # the loop adds the targets of the links on the way
        is_there = False
        for path in (end, *end.parents):
            if os.path.islink(path) and path not in links:
                links.add(path)
                ends.append(path.parent / os.readlink(path))
            try:
                found, owners = path.stat(), {path.stat().st_uid, path.lstat().st_uid}
            except OSError:
                is_there = False
                continue
            is_open = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if found.st_mode & stat.S_ISVTX and is_there:
                is_open = 0  # as in /tmp: all may add a file, none may replace one
            if is_open or not owners <= {0, os.geteuid()}:
                return True
            is_there = True
    return False


def _user(uid: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _in_user_namespace() -> bool:
    """Return whether users have other numbers here than on the host (user_namespaces(7))."""
    try:
        return UID_MAP.read_text(encoding="ascii").split() != ["0", "0", str(2**32 - 1)]
    except OSError:
        return False


def write_json(path: Path, content: dict[str, Any], version: int = VERSION) -> None:
    """Replace a file of ours: atomically, 0600 from birth.

    :raises errors.StateError: if it cannot be written; the old one is intact then.
    """
    text = json.dumps({"version": version, **content}, indent=1, ensure_ascii=False) + "\n"
    try:
        write_file(path, text)
    except OSError as error:
        raise errors.StateError(
            f"Could not write {path}: {error.strerror}. The file is as it was; free some room or "
            "fix the permissions, and run certbot renew") from error
    except UnicodeError as error:  # the one text from outside is the path of the credentials
        raise errors.StateError(
            f"Could not write {path}: a path in it is not UTF-8. Give the credentials file "
            "another name") from error


def write_file(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file atomically; it never has a wider mode than *mode*.

    :raises OSError: if that is not possible; the old one is intact then.
    """
    # mkstemp makes the file 0600 from the start; the rename keeps that.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
