"""Whose certificate goes before: ours, or one that is there already."""

from __future__ import annotations

from typing import Any

import pytest

from certbot_qiniu.deployment.planning.validity import Claim, Contest, claim
from certbot_qiniu.model import DAY, RemoteCertificate
from tests.unit.facts import NOW

ENDS = NOW + 60 * DAY
THEIRS = "certbot_x_0123456789ab"


def foreign(days: float | None = 300, name: str = "console", **changes: Any) -> RemoteCertificate:
    """What a domain serves that is not ours; None is an end that could not be learnt."""
    return RemoteCertificate("id", name, not_after=0 if days is None else int(NOW + days * DAY),
                             **changes)


def bought(days: float | None) -> RemoteCertificate:
    """One that was bought through Qiniu."""
    return foreign(days, order_id="1")


MANAGED, LISTED, INSTALL = {"managed": True}, {"listed": True}, {"take_over": True}
FREE: dict[str, Any] = {}

CASES: dict[str, tuple[RemoteCertificate | None, dict[str, Any], Claim]] = {
    "nothing foreign, not managed": (None, FREE, Claim.OURS),
    "nothing foreign, managed": (None, MANAGED, Claim.OURS),

    # 2
    "ours has ended, and nothing is there": (None, {"ends": NOW - 1}, Claim.EXPIRED),
    "ours ends just now": (None, {"ends": NOW}, Claim.EXPIRED),
    "ours ends in a second": (None, {"ends": NOW + 1}, Claim.OURS),
    "ours has ended, whatever is there": (foreign(), {"ends": NOW - 1}, Claim.EXPIRED),
    "ours has ended, also where all else says to take it":
        (foreign(1), {"ends": NOW - 1, "managed": True, "take_over": True, "asked": True},
         Claim.EXPIRED),
    "ours has ended, and it is listed": (foreign(1), {"ends": NOW - 1, **LISTED}, Claim.EXPIRED),
    "nobody knows when ours ends": (None, {"ends": 0}, Claim.OURS),

    # 4
    "another installation's newer one": (foreign(61, THEIRS), MANAGED, Claim.OTHER_INSTALLATION),
    "another installation's newer one, listed":
        (foreign(61, THEIRS), LISTED, Claim.OTHER_INSTALLATION),
    "another installation's newer one that ends soon":
        (foreign(20, THEIRS), {"ends": NOW + 19 * DAY, **MANAGED}, Claim.OTHER_INSTALLATION),
    "another installation's newer one, although it was there at the take-over":
        (foreign(61, THEIRS), {"asked": True, **MANAGED}, Claim.OTHER_INSTALLATION),
    "another installation's older one": (foreign(59, THEIRS), MANAGED, Claim.OURS),
    "another installation's older one, listed": (foreign(59, THEIRS), LISTED, Claim.OURS),
    "another installation's older one, not managed":
        (foreign(59, THEIRS), FREE, Claim.OURS),
    "another installation's newer one, not managed":
        (foreign(61, THEIRS), FREE, Claim.OTHER_INSTALLATION),
    "another installation's of the same second, ours is larger":
        (foreign(60, THEIRS), {"fingerprint": "f" * 64, **MANAGED}, Claim.OURS),
    "another installation's of the same second, theirs is larger":
        (foreign(60, THEIRS), {"fingerprint": "0" * 64, **MANAGED}, Claim.OTHER_INSTALLATION),
    "another installation's newer one, by install":
        (foreign(300, THEIRS), {**INSTALL, **MANAGED}, Claim.OURS),
    "another installation's, by install, not managed":
        (foreign(300, THEIRS), INSTALL, Claim.OURS),
    "another installation's that has ended": (foreign(-1, THEIRS), FREE, Claim.OURS),
    "another installation's, where nobody knows when ours ends":
        (foreign(1, THEIRS), {"ends": 0, **MANAGED}, Claim.OTHER_INSTALLATION),

    # 5
    "listed, a better one": (foreign(), LISTED, Claim.OURS),
    "listed, a bought one": (bought(300), LISTED, Claim.OURS),
    "listed, an unknown end": (foreign(None), LISTED, Claim.OURS),

    # 6
    "not managed, ends later": (foreign(61), FREE, Claim.FOREIGN),
    "not managed, ends later, by install": (foreign(61), INSTALL, Claim.FOREIGN),
    "not managed, ends a second later": (foreign(60 + 1 / DAY), FREE, Claim.FOREIGN),
    "not managed, ends in the same second": (foreign(60), FREE, Claim.OURS),
    "not managed, ends sooner": (foreign(59), FREE, Claim.OURS),
    "not managed, has ended": (foreign(-1), FREE, Claim.OURS),
    "not managed, an unknown end": (foreign(None), FREE, Claim.FOREIGN),
    "not managed, bought and ends sooner": (bought(1), FREE, Claim.FOREIGN),
    "not managed, bought and ends sooner, by install": (bought(1), INSTALL, Claim.FOREIGN),
    "not managed, bought, an unknown end": (bought(None), FREE, Claim.FOREIGN),
    "not managed, bought and has ended": (bought(-1), FREE, Claim.OURS),
    "not managed, where nobody knows when ours ends": (foreign(1), {"ends": 0}, Claim.FOREIGN),

    # 7
    "managed, ends later": (foreign(), MANAGED, Claim.REPLACED),
    "managed and listed, ends later": (foreign(), {**MANAGED, **LISTED}, Claim.REPLACED),
    "managed, ends later, by install": (foreign(), {**MANAGED, **INSTALL}, Claim.REPLACED),
    "managed, bought and ends later": (bought(285), MANAGED, Claim.REPLACED),
    "managed, ends later, and was there at the take-over":
        (foreign(), {**MANAGED, "asked": True}, Claim.OURS),
    "managed, ends later, in just 30 days": (foreign(30), {"ends": NOW + DAY, **MANAGED},
                                             Claim.OURS),
    "managed, ends later, in more than 30 days":
        (foreign(30 + 1 / DAY), {"ends": NOW + DAY, **MANAGED}, Claim.REPLACED),

    # 8
    "managed, ends in the same second": (foreign(60), MANAGED, Claim.OURS),
    "managed, ends sooner": (foreign(59), MANAGED, Claim.OURS),
    "managed, bought and ends sooner": (bought(59), MANAGED, Claim.OURS),
    "managed, an unknown end": (foreign(None), MANAGED, Claim.OURS),
}


@pytest.mark.parametrize(("served", "changes", "expected"), CASES.values(), ids=CASES.keys())
def test_claim(served: RemoteCertificate | None, changes: dict[str, Any],
               expected: Claim) -> None:
    """The first rule that applies decides."""
    contest = Contest(**{"now": NOW, "ends": ENDS, "fingerprint": "aa" * 32, "foreign": served,
                         **changes})
    assert expected is claim(contest)
