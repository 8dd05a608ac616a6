"""The context of a reconcile: the files, the lineages, one account, time; and its options."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from certbot_qiniu import errors
from certbot_qiniu.deployment.planning.bindings import read_refusal, refusal_key
from certbot_qiniu.deployment.state import Memory
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.waiting import Waiting
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.model import TLS_VERSIONS
from certbot_qiniu.qiniu.account import Account

WORKERS = 6

T = TypeVar("T")
R = TypeVar("R")


class Parallel(Protocol):
    """The way to run calls: as :func:`in_parallel` does, or one after the other."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T], /,
                 ) -> list[R | errors.QiniuError]: ...


def in_parallel(function: Callable[[T], R], items: Sequence[T]) -> list[R | errors.QiniuError]:
    """Call *function* for all items at once.

    :returns: the results, in order; a :class:`~errors.QiniuError` takes a result's place.
    """
    def guarded(item: T) -> R | errors.QiniuError:
        try:
            return function(item)
        except errors.QiniuError as error:
            return error

    if len(items) < 2:
        return [guarded(item) for item in items]
    with ThreadPoolExecutor(min(WORKERS, len(items))) as pool:
        try:
            return list(pool.map(guarded, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass(frozen=True)
class Context:
    """Everything outside of the plan, all of it replaceable in a test.

    :ivar say: shows a line to the user.
    :ivar clock: seconds since the epoch, for dates.
    :ivar monotonic: seconds, for durations: setting the clock does not move it.
    :ivar waiting: shared by the whole process.
    """

    store: Store
    lineages: Lineages
    account: Account
    say: Callable[[str], None]
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    parallel: Parallel = in_parallel
    monotonic: Callable[[], float] = time.monotonic
    waiting: Waiting = field(default_factory=Waiting)

    @property
    def memory(self) -> Memory:
        """Our memory, see :mod:`certbot_qiniu.deployment.state`."""
        return self.store.memory

    def uploads_of(self, fingerprint: str) -> frozenset[str]:
        """Return the ids under which we know this certificate in this account."""
        return self.memory.uploads_of(fingerprint, self.account_name)

    def field_refusal(self, field: str, asked: tuple[str, ...] | None = None) -> str:
        """Return the words of this account's refusal of a field, "" if it may take it now.

        :param asked: see :func:`~certbot_qiniu.deployment.planning.bindings.refusal_key`.
        """
        note = self.memory.told.get(refusal_key(self.account_name, field, asked), "")
        return read_refusal(note, self.clock())

    def tls_refusals(self, asked: Iterable[tuple[str, ...] | None],
                     ) -> dict[tuple[str, ...] | None, str]:
        """Return the same for TLS versions: those asked for, and None for those of the domains."""
        found = {versions: self.field_refusal(TLS_VERSIONS, versions)
                 for versions in {*asked, None}}
        return {versions: text for versions, text in found.items() if text}

    @property
    def account_name(self) -> str:
        """Our name for the account: that of the first of its keys that we knew."""
        return self.memory.account_of(self.account.client.account)


@dataclass(frozen=True)
class Options:
    """The behaviour of one reconcile.

    :ivar wait: stay until all changes are published (``run``, ``install``, ``rollback``).
    :ivar wait_seconds: how long the whole process may wait, for that and for busy domains.
    :ivar keep_certificates: superseded certificates to keep.
    :ivar listed: domains that the user named in ``--qiniu-domains``.
    :ivar take_over: replace other installations' certificates.
    :ivar take_back: domains whose certificate is replaced, whoever put it there.
    :ivar insist: a user asks for it, not a timer: what Qiniu has refused for good is tried again,
        and what was told before is told again.
    :ivar clean: delete superseded certificates afterwards.
    :ivar bury: stop managing domains that are gone; otherwise that is only reported.
    :ivar returning: this goes back to what was served before.
    """

    wait: bool = False
    wait_seconds: float = 1800.0
    keep_certificates: int = 1
    listed: Collection[str] = ()
    take_over: bool = False
    take_back: Collection[str] = ()
    insist: bool = False
    clean: bool = True
    bury: bool = True
    returning: bool = False
