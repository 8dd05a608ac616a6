"""Kodo's source domains: one list a day, one call for what they serve, and who may not ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Domain, RemoteCertificate
from certbot_qiniu.qiniu.kodo import Kodo
from certbot_qiniu.qiniu.service import Notes
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

SOURCE = "src.example.com"


def test_users_for_a_sub_user(tmp_path: Path) -> None:
    """Who may not see the bindings leaves it to Qiniu to protect what source domains serve."""
    rig = Rig(tmp_path)
    rig.refuse("/cert/bindings")
    assert Kodo(rig.client, Notes()).users(RemoteCertificate("0123", "name")) == set()


def test_no_headers(tmp_path: Path) -> None:
    """What a source domain does not have cannot be set."""
    with pytest.raises(errors.UsageError, match="no response headers"):
        Kodo(Rig(tmp_path).client, Notes()).set_hsts(Domain(SOURCE, service="kodo"), on=True)
