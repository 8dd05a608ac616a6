"""An account, a lineage whose certificate is not there yet, and who changes the desired state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.deployment import deployer as deployer_module
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.deployment.writing import Writer
from certbot_qiniu.model import Certificate
from tests.unit.deployment.account import LINEAGE, SANS
from tests.unit.deployment.desired import Accounts, Checkpoints, set_state
from tests.unit.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """An account without domains."""
    return Rig(tmp_path)


@pytest.fixture
def certificate(rig: Rig) -> Certificate:
    """The certificate of the lineage, which is not at Qiniu."""
    return rig.renew(LINEAGE, *SANS)


@pytest.fixture
def accounts(rig: Rig) -> Accounts:
    """One account, whatever the path."""
    return Accounts(rig.account)


@pytest.fixture
def checkpoints() -> Checkpoints:
    """What certbot's reverter is asked."""
    return Checkpoints()


@pytest.fixture
def deployer(rig: Rig, accounts: Accounts, checkpoints: Checkpoints,
             monkeypatch: pytest.MonkeyPatch) -> Deployer:
    """A deployer in the time of the rig, with a state that was written."""
    def context(*arguments: Any, **keywords: Any) -> Context:
        return Context(*arguments, **keywords, clock=rig.clock, sleep=rig.wait, monotonic=rig.clock)

    monkeypatch.setattr(deployer_module, "Context", context)
    set_state(rig.store, {})
    return Deployer(Writer(rig.store, checkpoints, rig.backups), rig.context.lineages,
                    accounts,  # type: ignore[arg-type]
                    rig.said.append, rig.said.append)
