"""The options, as certbot stores them and as we use them.

certbot restores an option from the renewal conf by calling its ``type`` on the stored string (or on
a list, in a conf edited by hand), so each ``type`` here accepts what it produced before, and raises
:class:`OptionError` for nonsense.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from certbot_qiniu import errors

AUTO = "auto"
NONE = "none"
KEEP = "keep"
DEFAULT_SERVICES = "cdn,kodo"
DEFAULT_TEST_COMMAND = "nginx -t"


TLS_NAMES = {"1.2": "TLSv1.2", "1.3": "TLSv1.3"}
"""Versions of TLS, and how clients that work against Qiniu spell them."""


class OptionError(argparse.ArgumentTypeError, ValueError):
    """A nonsense value: argparse shows the text, and certbot's renewal takes it as ValueError."""


def domain_list(value: str | list[str]) -> str:
    """Return ``auto`` or a canonical comma-separated list, accepting configobj's lists."""
    return _domains(value, AUTO)


def exclude_list(value: str | list[str]) -> str:
    """Return ``none`` or a canonical comma-separated list, accepting configobj's lists.

    ``.example.com`` and ``*.example.com`` differ here: the first is a domain at Qiniu, the second
    is that domain and all below it.
    """
    return _domains(value, NONE, keeps_asterisk=True)


def _domains(value: str | list[str], word: str, *, keeps_asterisk: bool = False) -> str:
    """Return *value* as *word* or canonical names."""
    # Not at the top: certbot loads this module for every command, and the model is half its cost.
    from certbot_qiniu.model import canonical_domain

    parts = value if isinstance(value, list) else value.split(",")
    names = [part.strip() for part in parts if part.strip()]
    if not names:
        raise OptionError(f"no domain given; use a comma-separated list, or {word}")
    if [name.lower() for name in names] == [word]:
        return word
    try:
        return ",".join(dict.fromkeys(
            "*" * (keeps_asterisk and name.startswith("*.")) + canonical_domain(name)
            for name in names))
    except errors.UsageError as error:
        raise OptionError(str(error)) from error


def tls_versions(value: str | list[str]) -> str:
    """Return *value* as ``keep`` or versions of TLS, accepting configobj's lists."""
    parts = value if isinstance(value, list) else value.split(",")
    found = {part.strip() for part in parts}
    if found == {KEEP}:
        return KEEP
    if not found or not found <= TLS_NAMES.keys():
        raise OptionError(f"{','.join(parts)!r} is none of {', '.join(TLS_NAMES)}, "
                          f"{','.join(TLS_NAMES)}, keep")
    return ",".join(version for version in TLS_NAMES if version in found)


def service_list(value: str | list[str]) -> str:
    """Return *value* as a comma-separated list of services, accepting configobj's lists."""
    from certbot_qiniu.model import SERVICES

    parts = value if isinstance(value, list) else value.split(",")
    names = {part.strip().lower() for part in parts if part.strip()}
    if not names:
        raise OptionError(f"no service given; there are {', '.join(SERVICES)}")
    if unknown := names.difference(SERVICES):
        raise OptionError(f"{min(unknown)!r} is none of {', '.join(SERVICES)}")
    return ",".join(name for name in SERVICES if name in names)


def http2_mode(value: str) -> str:
    """Return *value* as ``on``, ``off`` or ``keep``."""
    if value not in ("on", "off", "keep"):
        raise OptionError(f"{value!r} is none of on, off, keep")
    return value


def count(value: str | int) -> int:
    """Return *value* as a whole number from 0 to 100."""
    return _number(value, 100)


def seconds(value: str | int) -> int:
    """Return *value* as seconds, from 0 to a day."""
    return _number(value, 86_400)


def command(value: str | list[str]) -> str:
    """Return *value* as a command line that a shell could split (none ever runs in a shell)."""
    # configobj makes a list of a hand-written value with a comma in it.
    text = value if isinstance(value, str) else ",".join(value)
    try:
        parse_command(text, "the nginx command")
    except errors.UsageError as error:
        raise OptionError(str(error)) from error
    return text


def other_installer_options(value: str | list[str]) -> str:
    """Return *value* as words that a shell could split, accepting configobj's lists."""
    text = value if isinstance(value, str) else ",".join(value)
    try:
        shlex.split(text)
    except ValueError as error:
        raise OptionError(f"{text!r} cannot be split into words: {error}") from None
    return text


def _number(value: str | int, most: int) -> int:
    try:
        number = int(value)
    except (ValueError, TypeError):  # configobj makes a list of a value with a comma
        raise OptionError(f"{value!r} is not a whole number") from None
    if not 0 <= number <= most:
        raise OptionError(f"{number} is not between 0 and {most}")
    return number


class StoreAbsolute(argparse.Action):
    """Store a path from the command line or ``cli.ini`` as an absolute one.

    Not a ``type``: certbot calls that also for values from a renewal conf, in another working
    directory.
    """

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option_string: str | None = None) -> None:
        # An empty one means none, not the folder that certbot happens to run in.
        setattr(namespace, self.dest, values and os.path.abspath(os.path.expanduser(values)))


class StoreCommand(argparse.Action):
    """Store a command, with the absolute path of a program that is named by a relative one.

    A timer would look for that elsewhere.
    """

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option_string: str | None = None) -> None:
        program, *arguments = shlex.split(values)
        if "/" in program and not os.path.isabs(program):
            values = shlex.join([os.path.abspath(program), *arguments])
        setattr(namespace, self.dest, values)


OPTIONS: dict[str, dict[str, Any]] = {
    "credentials": {
        "metavar": "PATH", "action": StoreAbsolute,
        "help": "INI file, mode 0600, with qiniu_access_key and qiniu_secret_key; may be the file "
                "that holds the dns_aliyun_* keys"},
    "domains": {
        "metavar": "LIST", "default": AUTO, "type": domain_list,
        "help": "Qiniu domains to bind, comma separated (*.example.com and .example.com are the "
                "same), or auto: every domain that the certificate names literally, or covers and "
                "that already speaks HTTPS"},
    "exclude": {
        "metavar": "LIST", "default": NONE, "type": exclude_list,
        "help": "Qiniu domains that auto never takes, comma separated: .example.com is that "
                "wildcard domain only, *.example.com that one and everything below it; none"},
    "services": {
        "metavar": "LIST", "default": DEFAULT_SERVICES, "type": service_list,
        "help": "Qiniu services to serve, comma separated: cdn (CDN domains), kodo (source "
                "domains of buckets), pili (live domains)"},
    "http2": {
        "metavar": "on|off|keep", "default": "keep", "type": http2_mode,
        "help": "HTTP/2 on the bound domains; keep: as it is, and on for a domain that is "
                "switched to HTTPS"},
    "tls": {
        "metavar": "1.2|1.3|1.2,1.3|keep", "default": KEEP, "type": tls_versions,
        "help": "versions of TLS that the bound CDN domains offer; keep: as it is"},
    "keep-certificates": {
        "metavar": "N", "default": 1, "type": count,
        "help": "superseded certificates of a lineage kept at Qiniu for a rollback"},
    "publish-timeout": {
        "metavar": "SECONDS", "default": 1800, "type": seconds,
        "help": "how long a run waits in all for domains that Qiniu is publishing; 0: not at all "
                "(a renewal waits for up to a minute, and only if a domain is busy)"},
    "hook": {
        "metavar": "PATH", "action": StoreAbsolute,
        "help": "a program of yours, or a folder of them, run for each new certificate, with "
                "RENEWED_LINEAGE and RENEWED_DOMAINS as certbot's deploy hooks; what fails is run "
                "again by every certbot renew until it exits with 0"},
    "nginx-test-cmd": {
        "metavar": "CMD", "default": DEFAULT_TEST_COMMAND, "type": command, "action": StoreCommand,
        "help": "tests nginx's configuration; split as a shell would, run without a shell"},
    "nginx-reload-cmd": {
        "metavar": "CMD", "type": command, "action": StoreCommand,
        "help": "reloads nginx, e.g. 'docker exec web nginx -s reload' (default: systemctl "
                "reload nginx if systemd runs it, else nginx -s reload)"},
    "skip-nginx": {
        "action": "store_true", "default": False,
        "help": "leave nginx alone"},
    "with": {
        "metavar": "NAME",
        "help": "another certbot installer that takes part, such as nginx or apache: it "
                "configures and reloads the web server"},
    "with-options": {
        "metavar": "OPTIONS", "type": other_installer_options,
        "help": "the options of that installer for renewals, as on a command line (default: those "
                "given on the command line, which are stored here)"},
}
"""Every option of the plugin, without certbot's prefix ``--qiniu-``."""


def add_arguments(add: Callable[..., None]) -> None:
    """Declare the options to certbot."""
    for name, settings in OPTIONS.items():
        add(name, **settings)


def as_words(conf: Callable[[str], Any]) -> list[str]:
    """Return the options as words of a command line, without those that have their default."""
    words: list[str] = []
    for name, spec in OPTIONS.items():
        value = conf(name)
        if value is not None and value != spec.get("default"):
            words += [f"--qiniu-{name}"] if value is True else [f"--qiniu-{name}", str(value)]
    return words


@dataclass(frozen=True)
class Settings:
    """The options of one lineage, ready for use.

    :ivar domains: Qiniu's spelling; None for ``auto``.
    :ivar http2: None for ``keep``.
    :ivar tls_versions: Qiniu's names of them; None for ``keep``.
    :ivar excluded: as in the option; empty if *domains* is a list.
    :ivar services: names from :data:`~certbot_qiniu.model.SERVICES`, in their order.
    :ivar skip_nginx: true also if another installer looks after the web server.
    :ivar other_installer: name of the one that takes part.
    :ivar other_installer_options: its own options, as on a command line.
    :ivar hook: a program of the user's, or a folder of them.
    :ivar words: all of them as on a command line, but for defaults.
    """

    credentials: str | None
    domains: tuple[str, ...] | None
    http2: bool | None
    keep_certificates: int
    publish_timeout: int
    nginx_test_cmd: str
    nginx_reload_cmd: str | None
    skip_nginx: bool
    services: tuple[str, ...] = tuple(DEFAULT_SERVICES.split(","))
    other_installer: str | None = None
    other_installer_options: str = ""
    tls_versions: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    hook: str | None = None
    words: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def read(cls, conf: Callable[[str], Any]) -> Settings:
        """Return the settings from certbot's ``conf`` (:meth:`certbot.plugins.common.Plugin.conf`).

        :raises errors.UsageError: if a conf that was edited by hand has nonsense in it.
        """
        def value(name: str) -> Any:
            return restored(name, conf(name))

        domains, versions, excluded = value("domains"), value("tls"), value("exclude")
        if domains != AUTO and excluded != NONE:
            raise errors.UsageError(
                f"--qiniu-exclude {excluded} is for --qiniu-domains auto, and --qiniu-domains "
                f"{domains} takes just what it names. Leave one of the two out: --qiniu-exclude "
                "none, or --qiniu-domains auto")
        return cls(
            credentials=value("credentials"),
            domains=None if domains == AUTO else tuple(domains.split(",")),
            http2={"on": True, "off": False}.get(value("http2")),
            keep_certificates=value("keep-certificates"),
            publish_timeout=value("publish-timeout"),
            nginx_test_cmd=value("nginx-test-cmd"),
            nginx_reload_cmd=value("nginx-reload-cmd"),
            skip_nginx=bool(value("skip-nginx") or value("with")),
            services=tuple(value("services").split(",")),
            other_installer=value("with"),
            other_installer_options=value("with-options") or "",
            tls_versions=None if versions == KEEP else tuple(
                TLS_NAMES[version] for version in versions.split(",")),
            excluded=() if excluded == NONE else tuple(excluded.split(",")),
            hook=value("hook"),
            words=tuple(as_words(conf)),
        )


def restored(name: str, value: Any) -> Any:
    """Return an option as it was meant: certbot makes None, True or False of words in a conf.

    :raises errors.UsageError: if it is nonsense.
    """
    spec = OPTIONS[name]
    if spec.get("action") == "store_true":
        return str(value).lower() in ("true", "yes", "on", "1")
    if value is None:
        return spec.get("default")
    try:
        return spec.get("type", str)(str(value)) if isinstance(value, bool) else value
    except OptionError as error:
        raise errors.UsageError(f"--qiniu-{name}: {error}") from error


def parse_command(text: str, option_name: str) -> list[str]:
    """Split a command as a shell does.

    :raises errors.UsageError: if it is empty or cannot be split; names *option_name*.
    """
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise errors.UsageError(f"{option_name}: {text!r} is not a command: {error}") from error
    if not argv or not argv[0] or "\0" in text:
        raise errors.UsageError(f"{option_name}: {text!r} is not a command")
    return argv
