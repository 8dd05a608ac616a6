"""Pili's live domains, whose certificates are known by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.model import Binding, Domain, RemoteCertificate
from certbot_qiniu.qiniu.pili import Pili
from tests.unit.rig import Rig

# The official package asks the clock in a way that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

LIVE = "live.example.com"


def test_certificate_in_no_list(tmp_path: Path) -> None:
    """A certificate that the list does not have, even asked anew, is called as it is shown."""
    rig = Rig(tmp_path)
    rig.upload(rig.renew("old", LIVE), "console")
    rig.qiniu.add_hub("stage")
    rig.qiniu.add_live_domain("stage", LIVE, cert_name="console")
    asked: list[bool] = []

    def empty(*, refresh: bool = False) -> dict[str, RemoteCertificate]:
        asked.append(refresh)
        return {}

    pili = Pili(rig.client, empty)
    seen = pili.observe(LIVE)
    assert seen is not None
    assert (seen.cert_id, asked) == ("console", [False, True])
    with pytest.raises(errors.Refused, match="bind certificate 0123 to"):
        pili.bind(seen, RemoteCertificate("0123", "its name"), Binding())
    assert [call for call in rig.calls() if call.startswith("POST")] == [
        f"POST pili.qiniuapi.com/v2/hubs/stage/domains/{LIVE}/cert"]


def test_no_headers(tmp_path: Path) -> None:
    """What a live domain does not have cannot be set."""
    rig = Rig(tmp_path)
    with pytest.raises(errors.UsageError, match="no response headers"):
        Pili(rig.client, rig.account.certificates).set_hsts(Domain(LIVE), on=True)
