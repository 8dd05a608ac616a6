"""An account, and a lineage whose certificate is not there yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.model import Certificate
from tests.unit.deployment.account import LINEAGE, SANS
from tests.unit.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account without domains."""
    return Rig(tmp_path)


@pytest.fixture
def certificate(rig: Rig) -> Certificate:
    """The certificate of the lineage, which is not at Qiniu."""
    return rig.renew(LINEAGE, *SANS)
