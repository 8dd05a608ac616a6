"""Read Qiniu's answers: any JSON becomes a value of the model, or a typed error.

Keys are compared in lower case, as Qiniu spells one key in several ways (``certid``, ``certId``,
``certID``). An entry without a usable name or id is left out; an unknown form is an error.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.model import Domain, Plain, RemoteCertificate, canonical_domain
from certbot_qiniu.text import printable

logger = logging.getLogger(__name__)

ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The id of a certificate, or the name of a hub."""

HSTS = {"op": "set", "key": "Strict-Transport-Security", "value": "max-age=31536000"}
"""The value that certbot's own nginx installer sets."""

_LONGEST_TEXT = 4096
"""Characters: more than any marker or reason has. A longer text is cut off."""
_LONGEST_WORD = 256
"""Likewise of a name or a word, which stands in tables: all rows are as wide as the widest."""
_MOST_ITEMS = 100
"""Likewise of the list that a setting is: there are four versions of TLS."""
_OWN_FIELDS = {"certid", "forcehttps", "http2enable", "freecert"}
"""Fields of ``https`` not to be sent back: three have arguments, and we order no certificate."""
_LARGEST_NUMBER = 2**53  # the largest that every JSON reader keeps exact
_LATEST_TIME = 253_402_300_799  # the end of the year 9999: what datetime can hold


def is_hsts(control: dict[str, str]) -> bool:
    """Return whether a change of response headers is one of HSTS."""
    return text(lowered(control), "key").lower() == HSTS["key"].lower()


def _shows_hsts(controls: object) -> bool:
    """Return whether HSTS is on in a CDN domain's changes of response headers."""
    entries = controls if isinstance(controls, list) else []
    return any(isinstance(entry, dict) and is_hsts(entry)
               and text(lowered(entry), "op") == "set" for entry in entries)


def read_certificate(entry: dict[str, Any]) -> RemoteCertificate | None:
    """Read a certificate from its list entry; None if it has no usable id."""
    cert_id = text(entry, "certid")
    if not ID.fullmatch(cert_id):
        logger.debug("Left out a certificate with the id %r", cert_id)
        return None
    names = entry.get("dnsnames")
    return RemoteCertificate(
        cert_id, _word(entry, "name"),
        tuple(as_text(name) for name in names) if isinstance(names, list) else (),
        not_before=seconds(entry, "not_before"), not_after=seconds(entry, "not_after"),
        created=seconds(entry, "create_time"), order_id=text(entry, "orderid"))


def read_domain(entry: dict[str, Any], *, detailed: bool = False) -> Domain | None:
    """Read a CDN domain from an answer; None if it has no usable name."""
    name = read_name(entry.get("name"))
    if name is None:
        return None
    https = lowered(entry.get("https"))
    versions = _tls_versions(https)
    places = _OWN_FIELDS | ({"tlsversions"} if versions is not None else set())
    others = {key: value for key, item in (entry["https"] if detailed and https else {}).items()
              if key.lower() not in places and key.isprintable()
              and (value := plain(item)) is not None}
    return Domain(
        name, kind=_word(entry, "type") or "normal",
        protocol="https" if entry.get("protocol") == "https" else "http",
        state=_word(entry, "operatingstate"),
        state_reason=text(entry, "operatingstatedesc") or text(entry, "freezetype"),
        operation=_word(entry, "operationtype"), modified=_word(entry, "modifyat"),
        cname=_word(entry, "cname"), product=_word(entry, "product"),
        operable=entry.get("couldoperatebyself") is not False, detailed=detailed,
        cert_id=text(https, "certid"), force_https=flag(https, "forcehttps"),
        http2=flag(https, "http2enable"),
        hsts=_shows_hsts(entry.get("responseheadercontrols")) if detailed else None,
        created=_word(entry, "createat"), tls_versions=versions, https_fields=others)


def read_name(value: object) -> str | None:
    """Return *value* as a domain's name, None if it could not stand in a path."""
    try:
        return canonical_domain(value if isinstance(value, str) else "")
    except errors.UsageError:
        logger.debug("Left out a domain with the name %.200r", value)
        return None


def unreadable(action: str) -> errors.Unreachable:
    """Make the error for an answer of an unknown form."""
    return errors.Unreachable(action, "Qiniu's answer has an unknown form",
                              advice="Try again later, or with a newer certbot-qiniu")


def as_object(value: Any, action: str) -> dict[str, Any]:
    """Return *value*, which must be an object, with its keys in lower case."""
    if not isinstance(value, dict):
        raise unreadable(action)
    return lowered(value)


def as_list(value: Any, action: str) -> list[Any]:
    """Return *value*, which must be a list; Go writes an empty one as null or nothing."""
    if value is None or value == {}:
        return []
    if not isinstance(value, list):
        raise unreadable(action)
    return value


def as_objects(value: Any, action: str) -> list[dict[str, Any]]:
    """Return the objects of a list, with their keys in lower case."""
    return [lowered(entry) for entry in as_list(value, action) if isinstance(entry, dict)]


def lowered(value: Any) -> dict[str, Any]:
    """Return *value* with its keys in lower case, {} if it is no object."""
    return {key.lower(): item for key, item in value.items()} if isinstance(value, dict) else {}


def text(entry: dict[str, Any], key: str) -> str:
    """Return a string in a form that may be shown."""
    return as_text(entry.get(key))


def _word(entry: dict[str, Any], key: str) -> str:
    """Return a word in a form that may be shown; an ellipsis marks one that is cut off."""
    found = text(entry, key)
    return found if len(found) <= _LONGEST_WORD else f"{found[:_LONGEST_WORD - 1]}…"


def as_text(value: object) -> str:
    """Return a string in a form that may be shown, cut to a length; "" for other types."""
    # Not dropped but replaced: a foreign name must not become one of ours.
    return (printable(value[:_LONGEST_TEXT], "\N{REPLACEMENT CHARACTER}")
            if isinstance(value, str) else "")


def seconds(entry: dict[str, Any], key: str) -> int:
    """Return a time in seconds since the epoch, 0 for none."""
    value = entry.get(key)
    return value if type(value) is int and 0 <= value <= _LATEST_TIME else 0


def plain(value: object) -> Plain | None:
    """Return a setting that can be sent back as it is, None for anything else.

    A text of several lines, such as a key in PEM, is none. Go writes an empty list as null.
    """
    if isinstance(value, list):
        is_plain = len(value) <= _MOST_ITEMS and all(
            type(item) in (str, int) and plain(item) is not None for item in value)
        return tuple(value) if is_plain else None
    if isinstance(value, str):
        return value if value.isprintable() and len(value) <= _LONGEST_TEXT else None
    return value if isinstance(value, int) and abs(value) <= _LARGEST_NUMBER else None


def _tls_versions(https: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the versions of TLS; None if they are not shown, or are no names."""
    value = plain(https.get("tlsversions"))
    names = [item for item in value if isinstance(item, str)] if isinstance(value, tuple) else None
    return None if names is None or len(names) != len(https["tlsversions"]) else tuple(names)


def flag(entry: dict[str, Any], key: str) -> bool | None:
    """Return a boolean, None for anything else."""
    value = entry.get(key)
    return value if isinstance(value, bool) else None
