"""The text of an error, and its kind for certbot."""

from __future__ import annotations

import re

import pytest
from certbot import errors as certbot_errors

from certbot_qiniu import errors

KINDS = [kind for kind in vars(errors).values()
         if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize(("facts", "message"), [
    ({}, "Could not bind it: no route"),
    ({"code": 400030, "status": 400}, "Could not bind it: no route (code 400030, HTTP 400)"),
    ({"code": 612, "status": 612}, "Could not bind it: no route (code 612)"),
    ({"status": 502}, "Could not bind it: no route (HTTP 502)"),
    ({"reqid": "abc"}, "Could not bind it: no route (X-Reqid abc)"),
    ({"advice": "Wait"}, "Could not bind it: no route. Wait"),
    ({"code": 400999, "status": 400, "reqid": "abc", "advice": "Try again"},
     "Could not bind it: no route (code 400999, HTTP 400, X-Reqid abc). Try again"),
], ids=["no answer", "code and status", "code that is the status", "status alone", "reqid alone",
        "advice alone", "everything"])
def test_message(facts: dict[str, int | str], message: str) -> None:
    """The text has what was tried, Qiniu's words, the facts that there are, and what to do."""
    error = errors.ApiError("bind it", "no route", **facts)  # type: ignore[arg-type]
    assert message == str(error)


def test_facts_stay_readable() -> None:
    """The facts for a caller's decision are attributes, and not only in the text."""
    error = errors.Refused("bind it", "no", status=400, code=400030, reqid="abc", advice="Wait")
    assert ("bind it", "no", 400, 400030, "abc", "Wait") == (
        error.action, error.text, error.status, error.code, error.reqid, error.advice)


def test_facts_left_out() -> None:
    """Without an answer there is no status, no code and no id."""
    error = errors.Unreachable("list them", "timed out")
    assert (0, 0, "", "") == (error.status, error.code, error.reqid, error.advice)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_certbot_expects_it(kind: type[Exception]) -> None:
    """certbot shows a plugin's error as a line, and any other one as a crash."""
    assert issubclass(kind, errors.QiniuError)
    assert issubclass(kind, certbot_errors.PluginError)


def test_tree() -> None:
    """The tree in the docstring is that of the classes, each below its base."""
    drawn = re.findall(r"^    ([│ ]*)[├└]── (\w+)", errors.__doc__ or "", re.M)
    assert sorted(kind.__name__ for kind in KINDS) == sorted(name for _, name in drawn)
    path = ["PluginError"]
    for indent, name in drawn:
        path = [*path[:len(indent) // 4 + 1], name]
        assert path[-2] == getattr(errors, name).__bases__[0].__name__


@pytest.mark.parametrize(("kind", "other", "expected"), [
    (errors.Throttled, errors.Unreachable, True),
    (errors.Unreachable, errors.Throttled, False),
    (errors.Refused, errors.Unreachable, False),
    (errors.Unreachable, errors.Refused, False),
    (errors.UsageError, errors.ApiError, False),
    (errors.NginxError, certbot_errors.MisconfigurationError, True),
    (errors.StateError, errors.UsageError, False),
], ids=lambda value: getattr(value, "__name__", value))
def test_what_is_caught_with_what(kind: type, other: type, *, expected: bool) -> None:
    """A call that may have had an effect is never taken for one that Qiniu refused."""
    assert expected == issubclass(kind, other)
