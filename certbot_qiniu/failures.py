"""Do independent tasks even if some fail, and raise what went wrong at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from certbot import errors as certbot_errors

from certbot_qiniu import errors

logger = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K")

SHOWN = 20
"""The most domains that a message names."""


class Failures:
    """Collect the failures of independent tasks: none may keep another from being done.

    :ivar errors: all of it, in order.
    """

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def __len__(self) -> int:
        return len(self.errors)

    def __str__(self) -> str:
        return "; ".join(told_once(self.errors))

    @property
    def has_outlook(self) -> bool:
        """Whether one of the failures itself says what comes next."""
        return any(getattr(error, "has_outlook", False) for error in self.errors)

    def with_outlook(self, text: str) -> str:
        """Add to *text* that a renewal tries again, unless a failure says what comes next."""
        return text if self.has_outlook else f"{text}. The next certbot renew tries again"

    def attempt(self, work: Callable[..., T], *args: object, **kwargs: object) -> T | None:
        """Return the result of *work*, None if it failed.

        :raises certbot.errors.SignalExit: at once, like a Ctrl-C: a user who ends the program must
            not wait for the other tasks.
        """
        try:
            return work(*args, **kwargs)
        except certbot_errors.SignalExit:
            raise
        except Exception as error:
            logger.debug("Failed, and the rest goes on", exc_info=True)
            self.errors.append(error)
            return None

    def raise_any(self) -> None:
        """Raise what went wrong, if anything did.

        :raises certbot.errors.PluginError: the only failure, or one that describes all of them.
        """
        if not self.errors:
            return
        first = self.errors[0]
        if len(self.errors) == 1 and isinstance(first, certbot_errors.PluginError):
            raise first
        raise errors.DeployError(str(self), has_outlook=self.has_outlook) from first


def told_once(problems: Iterable[Exception | str]) -> list[str]:
    """Return the texts of *problems*, each cause once, with all that failed for it."""
    return list(dict.fromkeys(each_cause(dict(enumerate(problems))).values()))


def each_cause(problems: Mapping[K, Exception | str]) -> dict[K, str]:
    """Return the text of each of *problems*; calls that failed for one cause name all of them."""
    actions: dict[object, dict[str, None]] = {}
    for problem in problems.values():
        if isinstance(problem, errors.ApiError):
            actions.setdefault(_cause(problem), {})[problem.action] = None
    first: dict[object, str] = {}
    for problem in problems.values():
        if isinstance(problem, errors.ApiError):
            cause = _cause(problem)
            first.setdefault(cause, f"Could not {_listed(list(actions[cause]))}: "
                                    f"{(problem.first or problem).cause}")
    return {key: first[_cause(problem)] if isinstance(problem, errors.ApiError)
            else _text(problem) if isinstance(problem, Exception) else problem
            for key, problem in problems.items()}


def _cause(error: errors.ApiError) -> object:
    """Return what is equal for calls that failed for one cause; each has its own ``X-Reqid``."""
    root = error.first or error
    return root.text, root.status, root.code, root.advice


def _listed(actions: list[str]) -> str:
    """Return *actions* in words: each verb once, with its objects, of which not all are named."""
    objects: dict[str, list[str]] = {}
    for action in actions:
        verb, _, thing = action.rpartition(" ")
        objects.setdefault(verb, []).append(thing)
    return "; ".join(f"{verb} {first_of(things)}" for verb, things in objects.items())


def first_of(things: Sequence[object], most: int = SHOWN) -> str:
    """Return the first of *things* for a sentence, and how many more there are."""
    more = len(things) - most
    return ", ".join(map(str, things[:most])) + (f" and {more} more" if more > 0 else "")


def _text(error: Exception) -> str:
    """Return the text of *error*, with its kind if it is not meant for users."""
    kind, text = type(error).__name__, str(error).strip()
    return text if text and isinstance(error, certbot_errors.Error) else (
        f"{kind}: {text}" if text else kind)
