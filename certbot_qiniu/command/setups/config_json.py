"""Read the config.json of a script with the keys certbot, aliyun, nginx and qiniu."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command.setups.setups import (
    DNS_KEYS,
    QINIU_KEYS,
    Setup,
    account_options,
    cert_name_of,
    checked_names,
    is_nginx_command,
    qiniu_domains,
    read_json_object,
    usable_keys,
    without_terminal,
)


def read_config(path: Path) -> Setup:
    """Read the setup of a script.

    :raises errors.UsageError: if the file is none of that kind.
    """
    found = read_json_object(path)
    try:
        return _config_setup(path, found)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise errors.UsageError(
            f"{path} is no config.json as it is known here: {type(error).__name__} "
            f"{error if isinstance(error, KeyError) else ''}".rstrip()) from None


def _config_setup(path: Path, found: Mapping[str, Any]) -> Setup:
    certbot, aliyun, nginx = found["certbot"], found.get("aliyun", {}), found.get("nginx", {})
    qiniu = found["qiniu"]
    names = checked_names(certbot["domains"])
    cert_name = certbot.get("cert_name") or cert_name_of(names[0])
    if not re.fullmatch(r"[\w.-]+", cert_name, re.ASCII):
        raise errors.UsageError(f"{path}: certbot.cert_name is no name for a certificate")
    issuing = [*account_options(str(certbot.get("email", "")))]
    if "dns_propagation_seconds" in aliyun:
        issuing += ["--dns-aliyun-propagation-seconds",
                    str(int(aliyun["dns_propagation_seconds"]))]
    listed = qiniu["domains"]
    issuing += _uniform(listed, "force_https", ("--redirect",), ("--no-redirect",))
    deploying = [*_uniform(listed, "http2_enable", ("--qiniu-http2", "on"),
                           ("--qiniu-http2", "off"))]
    notes = []
    if not _flag(nginx, "enabled", default=False):
        deploying.append("--qiniu-skip-nginx")
        nginx = {}
    for key, option in (("test_command", "--qiniu-nginx-test-cmd"),
                        ("reload_command", "--qiniu-nginx-reload-cmd")):
        command = nginx.get(key) or ()
        command = command if isinstance(command, str) else shlex.join(map(str, command))
        if is_nginx_command(command):
            deploying += [option, without_terminal(command)]
        elif command:
            notes.append(f"nginx.{key} in {path} is no command of nginx's, and is not taken over")
    keys = dict(zip((*QINIU_KEYS, *DNS_KEYS["dns-aliyun"]),
                    (qiniu["access_key"], qiniu["secret_key"], aliyun.get("access_key_id", ""),
                     aliyun.get("access_key_secret", "")), strict=True))
    return Setup(
        "config.json", path, names, cert_name, "dns-aliyun", keys=usable_keys(keys),
        domains=qiniu_domains([entry["name"] for entry in listed]), issuing=tuple(issuing),
        deploying=tuple(deploying), traces=(str(path),), notes=tuple(notes), secrets=(path,))


def _flag(entry: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = entry.get(key, default)
    if not isinstance(value, bool):  # "false" would be true
        raise TypeError(f"{key} is neither true nor false")
    return value


def _uniform(entries: Sequence[Mapping[str, Any]], key: str, on: Sequence[str],
             off: Sequence[str]) -> Iterator[str]:
    """Return options for settings that all domains share; others stay as they are at Qiniu."""
    values = {_flag(entry, key, default=True) for entry in entries}
    if len(values) == 1:
        yield from on if values.pop() else off
