"""The credentials file: a key pair of Qiniu's, which nobody but its owner may read."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.text import is_token


@dataclass(frozen=True)
class Credentials:
    """A Qiniu key pair; its repr shows neither key."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "Credentials(…)"

    @classmethod
    def load(cls, path: str) -> Credentials:
        """Read a credentials file.

        :raises errors.UsageError: when it is missing, unreadable, malformed or readable by others.
        """
        import configobj
        from certbot import errors as certbot_errors
        from certbot.plugins.dns_common import CredentialsConfiguration

        file = Path(os.path.expanduser(path))
        try:
            mode = file.stat().st_mode
            if not stat.S_ISREG(mode):
                raise errors.UsageError(f"The Qiniu credentials file {file} is not a file")
            if mode & 0o077:
                raise errors.UsageError(
                    f"The Qiniu credentials file {file} can be read or changed by other users of "
                    f"this machine (mode {stat.S_IMODE(mode):04o}). Run: chmod 600 {file}")
            # certbot's reader logs a malformed line, which may be the secret key.
            configobj.ConfigObj(file.read_text(encoding="utf-8").splitlines())
            found = CredentialsConfiguration(str(file))
            found.require({
                "qiniu_access_key": "the AccessKey (AK) of the Qiniu account",
                "qiniu_secret_key": "the SecretKey (SK) that belongs to it",
            })
        except OSError as error:
            raise errors.UsageError(
                f"Could not read the Qiniu credentials file {file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise errors.UsageError(
                f"The Qiniu credentials file {file} is not UTF-8 text") from error
        except configobj.ConfigObjError:
            raise errors.UsageError(
                f"The Qiniu credentials file {file} is malformed: each line must read "
                "name = value") from None
        except certbot_errors.PluginError as error:
            if isinstance(error, errors.UsageError):
                raise
            raise errors.UsageError(str(error)) from error
        keys = [found.conf(name) for name in ("qiniu_access_key", "qiniu_secret_key")]
        if not all(isinstance(key, str) and is_token(key) for key in keys):
            raise errors.UsageError(
                f"A key in the Qiniu credentials file {file} holds characters that no key has")
        return cls(*map(str, keys))
