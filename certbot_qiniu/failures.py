"""Do independent works whichever of them fail, and raise at the end what went wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from certbot import errors as certbot_errors

from certbot_qiniu import errors

logger = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K")

SHOWN = 20
"""So many of the domains that a cause concerns are named."""


class Failures:
    """Collect failures of works of which none may keep another from being done.

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
        """Whether any of the failures says itself what comes next."""
        return any(getattr(error, "has_outlook", False) for error in self.errors)

    def with_outlook(self, text: str) -> str:
        """*text*, which tells of it, and that a renewal tries again, unless it says what else."""
        return text if self.has_outlook else f"{text}. The next certbot renew tries again"

    def attempt(self, work: Callable[..., T], *args: object, **kwargs: object) -> T | None:
        """Return the result of *work*, None if it failed.

        :raises certbot.errors.SignalExit: at once, as a Ctrl-C is: a user who ends the program
            must not be kept waiting for what else there is to do.
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
        """Raise what went wrong, should anything have.

        :raises certbot.errors.PluginError: the only failure, or one that tells of all of them.
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
    """*actions* in words, what several of them are done to after one verb; not too many."""
    objects: dict[str, list[str]] = {}
    for action in actions:
        verb, _, thing = action.rpartition(" ")
        objects.setdefault(verb, []).append(thing)
    return "; ".join(f"{verb} {', '.join(things[:SHOWN])}"
                     + (f" and {len(things) - SHOWN} more" if len(things) > SHOWN else "")
                     for verb, things in objects.items())


def _text(error: Exception) -> str:
    """Return the text of *error*; one that is not meant for users says its kind, too."""
    kind, text = type(error).__name__, str(error).strip()
    return text if text and isinstance(error, certbot_errors.Error) else (
        f"{kind}: {text}" if text else kind)
