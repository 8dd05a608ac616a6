"""All independent tasks are done, and failures are reported at the end."""

from __future__ import annotations

from functools import partial

import pytest
from certbot import errors as certbot_errors

from certbot_qiniu import errors
from certbot_qiniu.failures import Failures, each_cause, told_once


def fail(error: BaseException) -> None:
    """Raise *error*."""
    raise error


def test_nothing_failed() -> None:
    """Results come back, and there is nothing to raise."""
    failures = Failures()
    assert 3 == failures.attempt(int, "3")
    assert 12 == failures.attempt(int, "c", base=16)
    assert not failures
    failures.raise_any()


@pytest.mark.parametrize("error", [
    errors.UsageError("one"), certbot_errors.PluginError("one"),
    certbot_errors.NoInstallationError("one")], ids=lambda error: type(error).__name__)
def test_one_stays_what_it_is(error: Exception) -> None:
    """A single error that certbot expects of a plugin is raised as it is."""
    failures = Failures()
    assert failures.attempt(fail, error) is None
    assert failures
    with pytest.raises(type(error)) as caught:
        failures.raise_any()
    assert error is caught.value


@pytest.mark.parametrize(("error", "text"), [
    (OSError(28, "No space left on device", "/x"), "OSError: [Errno 28] No space left on device"),
    (ValueError("odd"), "ValueError: odd"),
    (certbot_errors.ReverterError("no checkpoint"), "^no checkpoint"),
    (certbot_errors.Error(), "^Error"), (ValueError(), "^ValueError"),
], ids=lambda value: type(value).__name__)
def test_others_become_certbots(error: Exception, text: str) -> None:
    """Any other error, which certbot would not expect of a plugin, becomes one that it does."""
    failures, done = Failures(), list[int]()
    failures.attempt(fail, error)
    failures.attempt(done.append, 1)
    with pytest.raises(errors.DeployError) as caught:
        failures.raise_any()
    assert text.removeprefix("^") in str(caught.value)
    assert not text.startswith("^") or str(caught.value).startswith(text[1:])
    assert error is caught.value.__cause__
    assert [1] == done


def test_several_become_one() -> None:
    """All of them are reported, each text once, in the order in which they came."""
    failures, done = Failures(), list[int]()
    for text in ("one", "two", "one"):
        failures.attempt(partial(fail, errors.UsageError(text)))
    failures.attempt(done.append, 1)
    assert "one; two" == str(failures)
    with pytest.raises(errors.DeployError, match=r"^one; two$"):
        failures.raise_any()
    assert [1] == done


@pytest.mark.parametrize("error", [
    certbot_errors.SignalExit(), KeyboardInterrupt(), SystemExit(3)],
    ids=lambda error: type(error).__name__)
def test_the_end_passes_at_once(error: BaseException) -> None:
    """An exception that ends the program is never kept for later."""
    failures = Failures()
    with pytest.raises(type(error)):
        failures.attempt(fail, error)
    assert not failures


# Each cause once


def unreachable(name: str, text: str = "no answer", reqid: str = "") -> errors.Unreachable:
    return errors.Unreachable(f"read the CDN domain {name}", text, reqid=reqid, advice="Wait")


def test_calls_with_the_same_cause() -> None:
    """They are one sentence with all that was tried; another cause is another one."""
    lists = errors.Unreachable("list the domains", "no answer", advice="Wait")
    assert ["Could not read the CDN domain a, b; list the domains: no answer (X-Reqid 1). Wait",
            "Could not read the CDN domain c: refused. Wait", "other"] == told_once([
                unreachable("a", reqid="1"), unreachable("b", reqid="2"), lists,
                unreachable("c", "refused"), unreachable("a", reqid="3"), "other", "other"])


def test_calls_that_were_not_tried() -> None:
    """A call that was not tried because another one failed has that one's cause."""
    first = unreachable("a")
    second = errors.Unreachable("read the CDN domain b", "not tried", first=first)
    assert ["Could not read the CDN domain a, b: no answer. Wait"] == told_once([first, second])
    assert ["Could not read the CDN domain b: no answer. Wait"] == told_once([second])


def test_many_calls() -> None:
    """A sentence does not grow with an account."""
    [text] = told_once([unreachable(str(number)) for number in range(500)])
    assert text.endswith(" 18, 19 and 480 more: no answer. Wait")


def test_each_has_the_common_sentence() -> None:
    """Each of them has the same text."""
    assert {"x": "Could not read the CDN domain a, b: no answer. Wait",
            "y": "Could not read the CDN domain a, b: no answer. Wait", "z": "odd"} == each_cause({
                "x": unreachable("a"), "y": unreachable("b"), "z": errors.UsageError("odd")})


@pytest.mark.parametrize(("found", "is_added"), [
    ([errors.Refused("read the CDN domain a", "no")], True), ([OSError(28, "no room")], True),
    ([errors.DeployError("it is busy")], True),
    ([errors.DeployError("open a ticket", has_outlook=True)], False),
    ([errors.UsageError("no such domain"), errors.StateError("mend it")], False)])
def test_outlook(found: list[Exception], is_added: bool) -> None:
    """The text adds that a renewal tries again, unless an error says what comes next."""
    failures = Failures()
    failures.errors = found
    assert ("told. The next certbot renew tries again" if is_added else "told") == (
        failures.with_outlook("told"))
    with pytest.raises(certbot_errors.PluginError) as caught:
        failures.raise_any()
    assert is_added != getattr(caught.value, "has_outlook", False), "what is raised for all has it"
