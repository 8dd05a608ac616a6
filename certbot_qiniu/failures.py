"""Do independent works whichever of them fail, and raise at the end what went wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from certbot import errors as certbot_errors

from certbot_qiniu import errors

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Failures:
    """What went wrong so far in works of which none must keep another from being done."""

    def __init__(self) -> None:
        self._errors: list[Exception] = []

    def __len__(self) -> int:
        return len(self._errors)

    def __str__(self) -> str:
        return "; ".join(dict.fromkeys(map(_text, self._errors)))

    def attempt(self, work: Callable[..., T], *args: object, **kwargs: object) -> T | None:
        """The result of *work*, None where it failed.

        :raises certbot.errors.SignalExit: at once, as a Ctrl-C is: a user who ends the program
            must not be kept waiting for what else there is to do.
        """
        try:
            return work(*args, **kwargs)
        except certbot_errors.SignalExit:
            raise
        except Exception as error:
            logger.debug("Failed, and the rest goes on", exc_info=True)
            self._errors.append(error)
            return None

    def raise_any(self) -> None:
        """Raise what went wrong, should anything have.

        :raises certbot.errors.PluginError: the only failure, or one that tells of all of them.
        """
        if not self._errors:
            return
        first = self._errors[0]
        if len(self._errors) == 1 and isinstance(first, certbot_errors.PluginError):
            raise first
        raise errors.DeployError(str(self)) from first


def _text(error: Exception) -> str:
    """What *error* says; one that is not meant for users says its kind, too."""
    kind, text = type(error).__name__, str(error).strip()
    return text if text and isinstance(error, certbot_errors.Error) else (
        f"{kind}: {text}" if text else kind)
