"""One certificate of an old setup, and how what other programs' files say of it is checked.

Everything is parsed and nothing is run. The files may be another user's, so each value is checked
before it may become part of a command, or of what is shown.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.files import others_may_change
from certbot_qiniu.options import OptionError, domain_list
from certbot_qiniu.text import is_token

QINIU_KEYS = ("qiniu_access_key", "qiniu_secret_key")
DNS_KEYS = {
    "dns-aliyun": ("dns_aliyun_access_key", "dns_aliyun_access_key_secret"),
    "dns-tencent": ("dns_tencent_secret_id", "dns_tencent_secret_key"),
}
"""The properties that certbot's DNS plugins need in the credentials file."""

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
"""certbot's default."""

KEY_OPTIONS: dict[str, tuple[str, ...]] = {
    "": (), "ec-256": (), "ec-384": ("--key-type", "ecdsa", "--elliptic-curve", "secp384r1"),
    "2048": ("--key-type", "rsa", "--rsa-key-size", "2048"),
    "3072": ("--key-type", "rsa", "--rsa-key-size", "3072"),
    "4096": ("--key-type", "rsa", "--rsa-key-size", "4096"),
}
"""certbot's options for the kinds of keys, as acme.sh and lego name them."""

_LARGEST = 1_000_000  # bytes: all these files are small
_NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_EMAIL = re.compile(r"[\w.+-]+@[\w.-]+", re.ASCII)
_URL = re.compile(r"https://[\w.:/-]+", re.ASCII)
_NGINX = "(nginx|openresty|tengine|angie)"
_NGINX_COMMAND = re.compile(
    rf"((docker|podman)( compose)? exec( -[a-zA-Z]+)* [\w.-]+ )?([\w./-]*/)?{_NGINX}"
    r"( -[cp] [\w./-]+)* -(t|s reload)"
    rf"|systemctl (reload|restart|try-reload-or-restart|reload-or-restart) {_NGINX}(\.service)?"
    rf"|(service |/etc/init\.d/){_NGINX} (force-)?(reload|restart)", re.ASCII)
"""Commands that only test or reload nginx: any other command with its name may do anything."""


@dataclass(frozen=True)
class Setup:
    """One certificate of an old setup, and what is needed to renew it by certbot.

    :ivar source: the file that describes it.
    :ivar names: the SANs, the main one first.
    :ivar authenticator: certbot's, "" if none does the same.
    :ivar webroots: a folder for each of the names, with the authenticator ``webroot``.
    :ivar keys: entries for the credentials file.
    :ivar domains: the Qiniu domains that were served; none if unknown.
    :ivar issuing: options for issuing; likewise *deploying* for the installer.
    :ivar served: fullchain and key that nginx was given, if they are not certbot's.
    :ivar fullchain: the present certificate.
    :ivar retire: commands that switch the old setup off.
    :ivar traces: texts that mark the lines of crontabs and units that run it.
    :ivar notes: what the user must decide.
    :ivar secrets: files of its own that hold keys.
    """

    kind: str
    source: Path
    names: tuple[str, ...]
    cert_name: str
    authenticator: str = ""
    webroots: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    domains: tuple[str, ...] = ()
    issuing: tuple[str, ...] = ()
    deploying: tuple[str, ...] = ()
    served: tuple[str, str] = ("", "")
    fullchain: Path | None = None
    retire: tuple[tuple[str, ...], ...] = ()
    traces: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    secrets: tuple[Path, ...] = ()


def collect(paths: Iterable[Path], read: Any) -> tuple[list[Setup], list[str]]:
    """Separate the setups that can be read from those that cannot, and say why."""
    setups, problems = [], []
    for path in paths:
        try:
            setups.append(checked(read(path)))
        except (errors.UsageError, OptionError) as error:
            problems.append(f"{path}: {error}")
    return setups, problems


def checked(setup: Setup) -> Setup:
    """Return *setup*, unless something in it would break its line or steer a terminal.

    :raises errors.UsageError: if so.
    """
    def is_printable(value: object) -> bool:
        if isinstance(value, tuple):
            return all(map(is_printable, value))
        return value is None or str(value).isprintable()

    for name, value in vars(setup).items():
        if name != "keys" and not is_printable(value):
            raise errors.UsageError(f"unprintable characters in its {name}")
    open_files = [path for path in dict.fromkeys((setup.source, *setup.secrets))
                  if others_may_change(path)] if setup.keys else []
    return replace(setup, notes=(*setup.notes, *(
        f"{path} can be changed by another user: see that the keys of the old setup are yours, as "
        "private keys go where they lead" for path in open_files)))


def read_text(path: Path) -> str:
    """Read a file of another program's.

    :raises errors.UsageError: if it is none, is too large, or cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would block for ever, a device has no end
            raise errors.UsageError("is not a file")
        if found.st_size > _LARGEST:
            raise errors.UsageError("is too large")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise errors.UsageError(f"could not be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.UsageError("is not UTF-8 text") from error


def checked_names(values: Iterable[str]) -> tuple[str, ...]:
    """Return names of domains as certbot spells them.

    :raises errors.UsageError: if one is none, or there is none.
    """
    names = tuple(dict.fromkeys(value.strip().lower() for value in values))
    if not names:
        raise errors.UsageError("names no domain")
    for name in names:
        if not _NAME.fullmatch(name):
            raise errors.UsageError(f"{name!r} is no name of a domain")
    return names


def cert_name_of(name: str) -> str:
    """Return certbot's name for a lineage whose first name is *name*."""
    return name.removeprefix("*.")


def qiniu_domains(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return domains in Qiniu's spelling; none for nothing."""
    listed = value.split() if isinstance(value, str) else list(value)
    return tuple(domain_list(listed).split(",")) if listed else ()


def usable_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that are set."""
    for name, value in keys.items():
        if value and not is_token(value):
            raise errors.UsageError(f"the value for {name} holds characters that no key has")
    return {name: value for name, value in keys.items() if value}


def is_nginx_command(text: str) -> bool:
    """Return whether a command tests or reloads nginx, and uses nothing that others may change.

    A configuration of nginx may name modules to load, so it is as powerful as a program.
    """
    if not _NGINX_COMMAND.fullmatch(text):
        return False
    words = text.split()
    if words[0] in ("docker", "podman"):  # the paths are the container's
        return True
    paths = [word for number, word in enumerate(words)
             if "/" in word or words[number - 1] in ("-c", "-p")]
    return not any(not path.startswith("/") or others_may_change(Path(path)) for path in paths)


def without_terminal(command: str) -> str:
    """Return *command* as a timer can run it: ``docker exec -t`` fails without a terminal."""
    words = command.split()
    for number in range(words.index("exec") + 1 if "exec" in words else len(words), len(words)):
        if not words[number].startswith("-"):
            break
        words[number] = words[number].replace("t", "")
    return " ".join(word for word in words if word != "-")


def reload_option(command: str, name: str, source: Path, notes: list[str]) -> list[str]:
    """Return the option for an old setup's reload command, which *name* in *source* is."""
    if not command:
        return []
    if is_nginx_command(command):
        return ["--qiniu-nginx-reload-cmd", without_terminal(command)]
    notes.append(f"{name} in {source} does more than reload nginx, and is not taken over: see what "
                 "it does, leave out what this plugin does, and give a program that does the rest "
                 "to --qiniu-hook")
    return []


def server_options(url: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return options and notes for an authority."""
    if url in ("", LETS_ENCRYPT):
        return (), ()
    if not _URL.fullmatch(url):
        raise errors.UsageError("the address of the certificate authority is not usable")
    return ("--server", url), (
        f"{url} may want an account with EAB keys (certbot register --server {url} --eab-kid … "
        "--eab-hmac-key …); leave --server out to use Let's Encrypt",)


def account_options(email: str) -> tuple[str, ...]:
    """Return the option for the account's address, none if that is none."""
    return ("-m", email) if _EMAIL.fullmatch(email) else ()


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a file with an object of JSON.

    :raises errors.UsageError: if it holds anything else.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise errors.UsageError(f"{path} is not JSON") from None  # the cause would quote it
    if not isinstance(found, dict):
        raise errors.UsageError(f"{path} holds no object")
    return found
