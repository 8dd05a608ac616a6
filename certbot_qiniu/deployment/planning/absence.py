"""Distinguish deleted domains from the list of another account."""

from __future__ import annotations

from collections.abc import Collection

from certbot_qiniu.model import DAY

DOUBT_SECONDS = 7 * DAY
"""A list without any domain of ours is not believed for so long."""


def is_in_doubt(missing: Collection[str], expected: Collection[str], *, others_are_there: bool,
                since: float, now: float) -> bool:
    """Return whether the account's list is doubted, instead of all these domains believed gone.

    An empty list, or another account's, looks the same; the memory must not suffer from it.

    :param missing: domains of a lineage that the account does not have.
    :param expected: all that the lineage manages, or is to put back.
    :param others_are_there: whether the account has any domain that another lineage manages.
    :param since: when it was first seen so (epoch seconds), 0 for never before.
    """
    return (bool(expected) and set(expected) <= set(missing) and not others_are_there
            and not (since and now - since >= DOUBT_SECONDS))
