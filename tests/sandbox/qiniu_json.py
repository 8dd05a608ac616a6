"""Read JSON bodies as Qiniu's services do, and cut their lists into pages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from tests.sandbox.qiniu_rules import Refusal, Switches, guard
from tests.sandbox.wire import Request

Json = dict[str, Any]
Entry = TypeVar("Entry")
Fields = Mapping[str, tuple[type, str]]
"""Python's type and Go's name of it, by field."""

STRING = (str, "string")
BOOL = (bool, "bool")

_JSON_KINDS: Mapping[type, str] = {
    str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object",
    type(None): "null"}


def decode(request: Request, struct: str, fields: Fields, *, strict: bool = False) -> Json:
    """Read a JSON body as Go does: keys in any case, unknown ones ignored, null as absent.

    :param struct: the Go type, for the text of a refusal.
    :param strict: refuse unknown keys, as Go does if it is told to.
    :raises Refusal: if the body is not such an object.
    """
    content_type = (request.header("Content-Type") or "").partition(";")[0].strip()
    if content_type != "application/json":
        raise guard("the body is not declared as application/json")
    try:
        value = json.loads(request.body)
    except ValueError as error:
        raise Refusal(400000, "invalid input: the body is not JSON") from error
    if not isinstance(value, dict):
        raise Refusal(400000, f"json: cannot unmarshal {_JSON_KINDS[type(value)]} "
                              f"into Go value of type {struct}")
    spelling = {field.lower(): field for field in fields}
    args: Json = {}
    for key, item in value.items():
        field = spelling.get(key.lower())
        if field is None and strict:
            raise Refusal(400000, f'json: unknown field "{key}"')
        if field is None or item is None:
            continue
        python_type, go_type = fields[field]
        if not isinstance(item, python_type):
            raise Refusal(400000, f"json: cannot unmarshal {_JSON_KINDS[type(item)]} into Go "
                                  f"struct field {struct}.{field} of type {go_type}")
        args[field] = item
    return args


def first(request: Request, name: str) -> str:
    """Return the first value of a query parameter, "" without any."""
    return next((value for key, value in request.query if key == name), "")


def limit(request: Request, default: int) -> int:
    """Return the parameter ``limit``.

    :raises Refusal: if it is no positive number.
    """
    text = first(request, "limit") or str(default)
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise Refusal(400000, "invalid input: limit")
    return int(text)


def page(request: Request, kind: str, size: int, entries: Mapping[str, Entry],
         switches: Switches) -> tuple[str, list[Entry]]:
    """Return the next marker, and the entries that follow the marker of *request*.

    :param kind: what is listed; a marker of another list is refused.
    :param entries: everything there is, by a unique key that the pages are ordered by.
    """
    marker = first(request, "marker")
    after = _read_marker(kind, marker) if marker else ""
    keys = sorted(key for key in entries if key > after)
    shown = keys[:size]
    following = _make_marker(kind, shown[-1]) if shown else ""
    is_last = len(keys) <= size
    if is_last and switches.list_end == "empty marker":
        following = ""
    elif is_last and switches.list_end == "marker never moves":
        following = marker
    return following, [entries[key] for key in shown]


def _make_marker(kind: str, key: str) -> str:
    return base64.urlsafe_b64encode(f"{kind}\n{key}".encode()).decode()


def _read_marker(kind: str, marker: str) -> str:
    try:
        found, _, key = base64.urlsafe_b64decode(marker).decode().partition("\n")
    except ValueError as error:
        raise Refusal(400021, "invalid marker") from error
    if found != kind:
        raise Refusal(400021, "invalid marker")
    return key
