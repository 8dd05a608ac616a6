"""One run of certbot, as the targets share it: its configuration, our settings, our files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from certbot.display import util as display
from certbot.plugins import common

from certbot_qiniu import errors
from certbot_qiniu.deployment.deployer import Deployer, open_deployer
from certbot_qiniu.failures import Failures
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.model import Certificate
from certbot_qiniu.options import Settings
from certbot_qiniu.qiniu.account import Accounts

logger = logging.getLogger(__name__)


class Run:
    """What the targets of one installer work with.

    :param plugin: the installer, for certbot's configuration, our options and its checkpoints.
    :param undo_unfinished: undoes a checkpoint that a crash has left in progress.
    :ivar lineages: certbot's lineages.
    """

    _accounts: ClassVar[Accounts | None] = None
    """Those of the process: certbot makes an installer for every lineage that it renews."""

    def __init__(self, plugin: common.Installer, undo_unfinished: Callable[[], None]) -> None:
        self._plugin = plugin
        self._undo_unfinished = undo_unfinished
        self._is_undone = False
        self._certificates: dict[Path, Certificate] = {}
        self._settings: Settings | None = None
        self._deployer: Deployer | None = None
        self.config = plugin.config
        self.lineages = Lineages(Path(plugin.config.config_dir))

    @property
    def verb(self) -> str:
        """certbot's verb, such as ``run`` or ``renew``."""
        return str(self.config.verb)

    @property
    def is_renewal(self) -> bool:
        """Whether this is a ``certbot renew``, which a timer runs."""
        return self.verb == "renew"

    @property
    def is_apply(self) -> bool:
        """Whether a user asks for what a renewal does: ``certbot-qiniu apply``."""
        return bool(getattr(self.config, "qiniu_apply", False))

    @property
    def take_back(self) -> tuple[str, ...]:
        """The domains that he takes back, whatever was put there."""
        return tuple(getattr(self.config, "qiniu_take_back", ()))

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing may be changed: ``reconfigure`` simulates a renewal as a dry run does."""
        return bool(self.config.dry_run or self.verb == "reconfigure")

    @property
    def settings(self) -> Settings:
        """Our options."""
        if self._settings is None:
            self._settings = Settings.read(self._plugin.conf)
        return self._settings

    def set_option(self, name: str, value: str) -> None:
        """Give one of our options a value, which certbot then stores for renewals."""
        setattr(self.config, self._plugin.dest(name), value)
        self._settings = None

    def names(self) -> set[str]:
        """The names of the certificate, as far as certbot has told them yet."""
        return {str(san).lower() for san in getattr(self.config, "domains", None) or ()}

    def certificate_of(self, path: str) -> Certificate:
        """The newest certificate of the lineage that has *path* among its live files.

        :raises errors.UsageError: when it is not one of certbot's lineages.
        """
        folder = Path(path).parent
        if folder.parent.resolve() != self.lineages.live.resolve():
            raise errors.UsageError(
                f"{path} does not belong to a certificate that certbot manages, so it "
                "could be neither renewed nor rolled back. Use certbot install --cert-name")
        if folder not in self._certificates:  # certbot asks for every SAN
            self._certificates[folder] = self.lineages.current(folder.name)
        return self._certificates[folder]

    def say(self, text: str) -> None:
        """Show a line; in a renewal, which a timer runs, only the log gets it."""
        if self.is_renewal:
            logger.info("%s", text)
        else:
            display.notify(text)

    # Our files ----------------------------------------------------------------------------------

    @property
    def deployer(self) -> Deployer:
        """What works on the desired state; our files are opened when it is first asked for.

        :raises errors.StateError: when they cannot be read or are in use.
        """
        return self.open()

    @property
    def is_open(self) -> bool:
        """Whether our files were opened already."""
        return self._deployer is not None

    def open(self) -> Deployer:
        """Open our files, unless they are open; what a crash has left is undone first.

        :raises errors.StateError: when they cannot be read or are in use.
        """
        if self._deployer is None:
            if not (self.is_rehearsal or self._is_undone):
                self._is_undone = True  # what is in progress later is this run's own
                self._undo_unfinished()
            if Run._accounts is None:
                Run._accounts = Accounts()
            self._deployer = open_deployer(
                self.config, self.say, accounts=Run._accounts, checkpoints=self._plugin,
                read_only=self.is_rehearsal)
        return self._deployer

    def reloaded_for(self, lineage: str) -> str:
        """The fingerprint that the local web server was last reloaded for; "" where unknown."""
        deployer = self._deployer_or_none()
        return deployer.store.memory.lineage(lineage).nginx if deployer else ""

    def remember_reload(self, lineages: Iterable[str]) -> None:
        """Note that the local web server serves the newest certificates of *lineages*."""
        if deployer := self._deployer_or_none():
            for lineage in lineages:
                fingerprint = self.lineages.current(lineage).fingerprint
                deployer.store.memory.lineage(lineage).nginx = fingerprint
            deployer.store.write_memory()

    def _deployer_or_none(self) -> Deployer | None:
        """None where our files cannot be used: no reason to leave a web server behind."""
        return Failures().attempt(lambda: self.deployer)
