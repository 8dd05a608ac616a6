"""An operator's machine whose command asks the emulator, within this process."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import pytest
from certbot.configuration import NamespaceConfig

from certbot_qiniu.command import arguments
from certbot_qiniu.deployment import context, deployer
from certbot_qiniu.lineages import read_renewals
from certbot_qiniu.model import Certificate
from certbot_qiniu.qiniu import account
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.unit.rig import Rig, paths


class Desk(Rig):
    """A certbot whose lineages are deployed to the rig's account."""

    def __init__(self, config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(config_dir)
        self.credentials = config_dir / "qiniu.ini"
        self.credentials.touch(0o600)
        self.credentials.write_text(
            f"qiniu_access_key = {ACCESS_KEY}\nqiniu_secret_key = {SECRET_KEY}\n")
        monkeypatch.setattr(account, "QiniuClient", lambda *_, **__: self.client)
        monkeypatch.setattr(deployer, "Context", functools.partial(
            context.Context, clock=self.clock, sleep=self.wait))

    def deploy(self, lineage: str, *sans: str, **options: object) -> Certificate:
        """The next version of a lineage, which renewals deploy to Qiniu."""
        certificate = self.renew(lineage, *sans)
        lines = {"authenticator": "standalone", "installer": "qiniu",
                 "qiniu_credentials": self.credentials, "qiniu_skip_nginx": True, **options}
        conf = self.config_dir / "renewal" / f"{lineage}.conf"
        conf.write_text(paths(self.config_dir, lineage) + "[renewalparams]\n" + "".join(
            f"{name} = {value}\n" for name, value in lines.items()))
        return certificate

    @property
    def arguments(self) -> argparse.Namespace:
        """The options that name certbot's folders."""
        return argparse.Namespace(config_dir=self.config_dir, work_dir=self.config_dir / "work",
                                  logs_dir=self.config_dir / "logs", config=None, given={})

    @property
    def config(self) -> NamespaceConfig:
        """certbot's configuration."""
        return arguments.certbot_config(self.arguments)

    def files(self) -> dict[Path, bytes]:
        """What is in certbot's folder."""
        return {path: path.read_bytes() for path in self.config_dir.rglob("*") if path.is_file()}

    def ours(self) -> dict[str, object]:
        """The renewals by lineage."""
        return dict(read_renewals(self.config_dir)[0])
