"""Exceptions raised by the plugin. All are certbot PluginErrors.

Everything that may leave the plugin is a :class:`certbot.errors.PluginError`::

    certbot.errors.PluginError
    └── QiniuError              root of everything below
        ├── UsageError          the user's input: credentials, options, domains
        ├── StateError          a file of ours cannot be read or written
        ├── ApiError            a call to Qiniu failed
        │   ├── Unreachable     no answer, or one that cannot be read: safe to try again later
        │   │   └── Throttled   Qiniu asked for fewer calls, beyond our patience
        │   └── Refused         Qiniu answered, and said no
        ├── DeployError         one or more domains are not in sync (raised at the end of a run)
        │   └── ListInDoubt     the account has none of our domains: it may be the wrong one
        ├── NginxError          test, reload or check of nginx failed
        ├── HookError           a program that --qiniu-hook names failed
        └── OtherInstallerError the installer that --qiniu-with names failed

Each message says what was tried, on which domain or certificate, Qiniu's own code, text and
``X-Reqid``, and what to do next. None ever holds a key, a signature or a request body.
"""

from __future__ import annotations

from collections.abc import Sequence

from certbot import errors


class QiniuError(errors.PluginError):
    """Root of all errors of this plugin.

    :ivar bool has_outlook: whether the text itself says what comes next. If not, a renewal
        adds that the next one tries again.
    """

    has_outlook = False


class UsageError(QiniuError):
    """The user's input is wrong: nothing was changed."""


class StateError(QiniuError):
    """A file under ``<config_dir>/qiniu`` cannot be read, understood or written."""

    has_outlook = True


class ApiError(QiniuError):
    """A call to Qiniu failed.

    :ivar str action: what was tried, in words ("bind certificate … to cdn.example.com").
    :ivar int status: HTTP status, 0 without an answer.
    :ivar int code: Qiniu's code from the body, else the HTTP status, 0 without an answer.
    :ivar str text: Qiniu's own words, or what the network said.
    :ivar str reqid: ``X-Reqid`` of the answer, for a support ticket; may be empty.
    :ivar first: the earlier call that failed, if this one was not tried because of it.
    """

    def __init__(self, action: str, text: str, *, status: int = 0, code: int = 0,
                 reqid: str = "", advice: str = "", first: ApiError | None = None) -> None:
        self.action = action
        self.text = text
        self.status = status
        self.code = code
        self.reqid = reqid
        self.advice = advice
        self.first = first
        super().__init__(f"Could not {action}: {self.cause}")

    @property
    def cause(self) -> str:
        """The cause, and what to do next."""
        facts = [f"code {self.code}"] if self.code else []
        if self.status and self.status != self.code:
            facts.append(f"HTTP {self.status}")
        if self.reqid:
            facts.append(f"X-Reqid {self.reqid}")
        return (self.text + (f" ({', '.join(facts)})" if facts else "")
                + (f". {self.advice}" if self.advice else ""))


class Unreachable(ApiError):
    """No usable answer came, even after retries: the request may or may not have taken effect."""


class Throttled(Unreachable):
    """Qiniu kept refusing for too many calls per second."""


class Refused(ApiError):
    """Qiniu answered and refused."""


class DeployError(QiniuError):
    """Something is not in sync at the end of a run; the text lists every domain concerned.

    :ivar str reason: why, without the name of the lineage that it happened to.
    """

    def __init__(self, text: str, reason: str = "", *, has_outlook: bool = False) -> None:
        super().__init__(text)
        self.reason = reason or text
        self.has_outlook = has_outlook


class ListInDoubt(DeployError):
    """An account has none of the domains that we manage there: it may be the wrong one."""

    def __init__(self, text: str) -> None:
        super().__init__(text, has_outlook=True)


class NginxError(QiniuError, errors.MisconfigurationError):
    """nginx's configuration is broken, its reload failed, or it still serves an old leaf."""


class HookError(QiniuError):
    """A program that ``--qiniu-hook`` names failed.

    :ivar str cause: how it ended, in words.
    :ivar out: the last lines of what it printed.
    """

    def __init__(self, program: str, cause: str, said: str = "", out: Sequence[str] = ()) -> None:
        self.cause = cause
        self.out = out
        super().__init__(f"The hook {program} failed: {cause}{': ' * bool(said)}{said}")


class OtherInstallerError(QiniuError):
    """The installer that takes part next to ours failed; the text holds what it said."""
