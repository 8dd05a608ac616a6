"""Qiniu's two signatures, verified over the bytes as they arrived.

An implementation of its own, on purpose: the emulator must not agree with an error of the
official package.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Collection, Mapping

from tests.sandbox.qiniu_rules import Refusal, Switches
from tests.sandbox.wire import Request

QBOX = "QBox"
QINIU = "Qiniu"

_AUTHORIZATION = re.compile(r"(QBox|Qiniu) ([^:\s]+):([A-Za-z0-9_-]{27}=)")
_FORM = "application/x-www-form-urlencoded"
_SIGNED_PREFIX = "x-qiniu-"


def authenticate(request: Request, accounts: Mapping[str, str], schemes: Collection[str],
                 switches: Switches, now: float) -> str:
    """Return the access key that signed *request*.

    :param accounts: secret keys by access key.
    :param schemes: the signature schemes that may be used here.
    :raises Refusal: if the signature or its date is not acceptable.
    """
    match = _AUTHORIZATION.fullmatch(request.header("Authorization") or "")
    if match is None or match[1] not in schemes:
        raise Refusal(401002, "invalid authorization header")
    scheme, access_key, signature = match.groups()
    secret = accounts.get(access_key)
    if secret is None:
        raise Refusal(401001, "bad token")
    data = qbox_data(request) if scheme == QBOX else qiniu_data(request)
    if not hmac.compare_digest(sign(secret, data), signature):
        raise Refusal(401001, "bad token")
    if scheme == QINIU:  # QBox signs no header, so there a date would prove nothing
        _check_date(request.header("X-Qiniu-Date"), switches, now)
    return access_key


def sign(secret: str, data: bytes) -> str:
    """Return the signature of *data*: URL-safe base64, padding kept."""
    digest = hmac.new(secret.encode(), data, hashlib.sha1).digest()
    return base64.urlsafe_b64encode(digest).decode()


def qbox_data(request: Request) -> bytes:
    """Return what QBox signs: path and query, and the body of a form alone."""
    signed_body = request.body if request.header("Content-Type") == _FORM else b""
    return f"{_resource(request)}\n".encode("latin-1", "replace") + signed_body


def qiniu_data(request: Request) -> bytes:
    """Return what Qiniu signs: also method, host, type, ``X-Qiniu-*`` and most bodies."""
    lines = [f"{request.method} {_resource(request)}", f"Host: {request.host}"]
    content_type = request.header("Content-Type")
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in sorted(
        (_canonical(name), value) for name, value in request.headers
        if name.lower().startswith(_SIGNED_PREFIX) and len(name) > len(_SIGNED_PREFIX))]
    signed_body = b""
    if content_type and content_type != "application/octet-stream":
        signed_body = request.body
    return ("\n".join(lines) + "\n\n").encode("latin-1", "replace") + signed_body


def _resource(request: Request) -> str:
    path, _, query = request.target.partition("?")
    return f"{path}?{query}" if query else path


def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _check_date(text: str | None, switches: Switches, now: float) -> None:
    if text is None:
        if switches.date_required:
            raise Refusal(401002, "X-Qiniu-Date is missing")
        return
    # strptime alone would take single digits.
    if not re.fullmatch(r"\d{8}T\d{6}Z", text, re.ASCII):
        raise Refusal(401002, "invalid X-Qiniu-Date")
    try:
        date = dt.datetime.strptime(text + "+0000", "%Y%m%dT%H%M%SZ%z")
    except ValueError as error:
        raise Refusal(401002, "invalid X-Qiniu-Date") from error
    if abs(date.timestamp() - now) > switches.clock_window:
        raise Refusal(403, "request time too skewed")
