"""A desired state, and what stands around whoever changes it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.deployment.state import Managed, State
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.writing import changes_between
from certbot_qiniu.model import Binding, Certificate
from certbot_qiniu.options import Settings
from certbot_qiniu.qiniu.account import Account
from tests.unit.deployment.account import LINEAGE
from tests.unit.rig import Rig

KEYS = "/etc/qiniu.ini"
SETTINGS = Settings(credentials=KEYS, domains=None, http2=None, keep_certificates=1,
                    publish_timeout=1800, nginx_test_cmd="nginx -t", nginx_reload_cmd=None,
                    skip_nginx=True)


class Accounts:
    """The accounts of a process, of which one path leads to none.

    :ivar asked: path and services of each account that was asked for.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self.asked: list[tuple[str | None, set[str]]] = []

    def get(self, credentials: str | None, services: Collection[str] = ()) -> Account:
        self.asked.append((credentials, set(services)))
        if credentials in (None, "", "/broken.ini"):
            raise errors.UsageError(f"bad credentials: {credentials}")
        return self._account


class Checkpoints:
    """Notes what is kept, as it is at that moment, and which checkpoints are ended."""

    def __init__(self) -> None:
        self.kept: list[tuple[list[str], str]] = []
        self.ended: list[str] = []

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        self.kept.append(([Path(path).read_text("utf-8") for path in sorted(save_files)],
                          save_notes))

    def finalize_checkpoint(self, title: str) -> None:
        self.ended.append(title)


def entry(name: str, certificate: Certificate | None = None, *, service: str = "cdn",
          lineage: str = LINEAGE, fingerprint: str = "ab" * 32, **settings: Any) -> Managed:
    """One line of the desired state."""
    fingerprint = certificate.fingerprint if certificate else fingerprint
    return Managed(name, service, lineage, Binding("https", fingerprint, **settings))


def state(*entries: Managed) -> State:
    """A desired state."""
    return {item.name: item for item in entries}


def set_state(store: Store, desired: State) -> None:
    """Let *desired* be all of the state."""
    store.apply(changes_between(store.state, desired))


def manage(rig: Rig, *entries: Managed) -> None:
    """Let domains be managed already, with a baseline."""
    set_state(rig.store, state(*entries))
    for item in entries:
        rig.memory.update(item.name, service=item.service, lineage=item.lineage,
                          baseline=Binding("http"))


def checkpoint(rig: Rig, lineage: str, *entries: Managed) -> None:
    """Let a rollback lead to a lineage's state with just these entries."""
    path = rig.backups / str(1_800_000_000.0 - sum(1 for _ in rig.backups.glob("*")))
    path.mkdir(parents=True)
    (path / "FILEPATHS").write_text(f"{rig.store.state_path(lineage)}\n")
    (path / f"{lineage}.json_0").write_text(json.dumps({"version": 2, "domains": {
        one.name: {"service": one.service, "binding": {"fingerprint": one.binding.fingerprint}}
        for one in entries}}))


def files_of(rig: Rig) -> dict[str, str]:
    """The files with the desired state, and what is in them."""
    return {path.stem: path.read_text("utf-8")
            for path in sorted(rig.store.folder.glob("state/*.json"))}
