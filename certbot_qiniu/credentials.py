"""The credentials file: a Qiniu key pair that only its owner may read."""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.files import check_owner
from certbot_qiniu.text import is_token

KEYS = {"qiniu_access_key": "the AccessKey (AK) of the Qiniu account",
        "qiniu_secret_key": "the SecretKey (SK) that belongs to it"}
"""The properties that the file must hold."""

_WHAT = "The Qiniu credentials file"


@dataclass(frozen=True)
class Credentials:
    """A Qiniu key pair; its repr shows neither key."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "Credentials(…)"

    @classmethod
    def load(cls, path: str, config_dir: Path | None = None) -> Credentials:
        """Read a credentials file, as certbot's DNS plugins read theirs.

        :param config_dir: certbot's, see :func:`~certbot_qiniu.files.check_owner`.
        :raises errors.UsageError: if it is missing, unreadable or malformed, or open to others.
        """
        file = Path(os.path.expanduser(path))
        try:
            found = file.stat()
            if not stat.S_ISREG(found.st_mode):
                raise errors.UsageError(f"{_WHAT} {file} is not a file")
            check_owner(file, found, _WHAT, config_dir)
            return _read(file, (found.st_ino, found.st_mtime_ns, found.st_ctime_ns,
                                found.st_size))
        except OSError as error:
            raise errors.UsageError(
                f"Could not read the Qiniu credentials file {file}: {error.strerror}") from error


@functools.cache
def _read(file: Path, _version: tuple[int, ...]) -> Credentials:
    """Read each version of the file once in a process: every lineage asks several times.

    :raises errors.UsageError: if it is malformed.
    :raises OSError: if it cannot be read.
    """
    import configobj

    try:
        # Not by certbot's reader: it logs a malformed line, which may be the secret key.
        conf = configobj.ConfigObj(file.read_text(encoding="utf-8-sig").splitlines(),
                                   interpolation=False)
    except UnicodeDecodeError as error:
        raise errors.UsageError(f"{_WHAT} {file} is not UTF-8 text") from error
    except configobj.ConfigObjError as error:
        first = (getattr(error, "errors", None) or [error])[0]
        raise errors.UsageError(
            f"Line {first.line_number} of the Qiniu credentials file {file} is malformed: "
            "each line must read name = value, and each name must occur once") from None
    missing = [f"{name} ({meaning})" for name, meaning in KEYS.items() if not conf.get(name)]
    if missing:
        raise errors.UsageError(f"{_WHAT} {file} lacks {' and '.join(missing)}")
    for name, meaning in KEYS.items():
        if not (isinstance(conf[name], str) and is_token(conf[name])):
            raise errors.UsageError(
                f"{name} in the Qiniu credentials file {file} holds characters that no key "
                f"has: put {meaning} there, and nothing else")
    return Credentials(*(conf[name] for name in KEYS))
