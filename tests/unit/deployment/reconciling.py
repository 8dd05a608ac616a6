"""A lineage with domains, and what a reconcile of it does at Qiniu."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from certbot_qiniu.deployment.context import Options
from certbot_qiniu.deployment.reconcile import Outcome, reconcile
from certbot_qiniu.deployment.state import Managed
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import Binding, Certificate
from tests.unit.deployment.account import LINEAGE
from tests.unit.deployment.desired import set_state
from tests.unit.rig import Rig

WAIT, LEAVE = Options(wait=True), Options()


def manage(rig: Rig, certificate: Certificate, *names: str, baseline: Binding | None = None,
           **settings: Any) -> None:
    """Let the lineage manage domains, as a deployment writes it down."""
    binding = Binding("https", certificate.fingerprint, **settings)
    set_state(rig.store, {**rig.store.state, **{
        name: Managed(name, "cdn", certificate.lineage, binding) for name in names}})
    for name in names:
        rig.memory.update(name, lineage=certificate.lineage,
                          baseline=baseline or Binding("http"))
    rig.store.write_memory()


def go(rig: Rig, options: Options = WAIT, scope: Collection[str] = (LINEAGE,)) -> Outcome:
    """Reconcile, as a process does that has no lists yet."""
    rig.account.domains(refresh=True)
    rig.account.certificates(refresh=True)
    rig.calls()
    return reconcile(rig.context, scope, options)


def served(rig: Rig, certificate: Certificate, *names: str) -> list[bool]:
    """Whether each domain serves a certificate."""
    return [rig.qiniu.serving(name).fingerprint == certificate.fingerprint for name in names]


def changes(rig: Rig) -> list[str]:
    """What was sent to domains since the last time."""
    return [call for call in rig.calls() if call.startswith("PUT")]


def remembered(rig: Rig) -> Store:
    """The files, as a process finds them that comes after a crash."""
    later = Store(rig.store.folder)
    later.load()
    return later
