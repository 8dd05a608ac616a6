"""One run of certbot, as the targets share it: its configuration, our settings, our files."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from certbot.compat import misc
from certbot.plugins import common

from certbot_qiniu import errors, prompts
from certbot_qiniu.deployment.deployer import Deployer, open_deployer
from certbot_qiniu.deployment.state import LineageMemory
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.deployment.waiting import Waiting
from certbot_qiniu.failures import Failures
from certbot_qiniu.lineages import Lineages, read_renewal, read_renewals
from certbot_qiniu.model import Certificate
from certbot_qiniu.options import OPTIONS, Settings, as_words
from certbot_qiniu.qiniu.account import Accounts

logger = logging.getLogger(__name__)


class Run:
    """The context of the targets of one installer.

    :param plugin: the installer, for certbot's configuration, our options and its checkpoints.
    :param undo_unfinished: undoes a checkpoint that a crash has left in progress.
    :ivar lineages: certbot's lineages.
    """

    _accounts: ClassVar[Accounts | None] = None
    _stores: ClassVar[dict[Path, Store]] = {}
    """Shared by the process: certbot makes an installer for every lineage that it renews."""
    _waiting: ClassVar[Waiting | None] = None

    def __init__(self, plugin: common.Installer, undo_unfinished: Callable[[], None]) -> None:
        self._plugin = plugin
        self._undo_unfinished = undo_unfinished
        self._is_undone = False
        self._certificates: dict[str, Certificate] = {}
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
        """The domains that the user takes back, whatever was put there."""
        return tuple(getattr(self.config, "qiniu_take_back", ()))

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing may be changed: in a dry run, or in ``reconfigure``, which makes one."""
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
        """Return the names of the certificate, as far as certbot has given them yet."""
        return {str(san).lower() for san in getattr(self.config, "domains", None) or ()}

    def certificate_of(self, path: str) -> Certificate:
        """Return the newest certificate of the lineage whose renewal conf names *path*.

        :raises errors.UsageError: if it is not one of certbot's lineages.
        """
        if path not in self._certificates:  # certbot asks for every SAN
            named = self.lineages.with_file(path)
            if not named:
                raise errors.UsageError(
                    f"{path} does not belong to a certificate that certbot manages, so it "
                    "could be neither renewed nor rolled back. Use certbot install --cert-name")
            asked = [name for name in (self.config.certname, Path(path).parent.name)
                     if name in named]  # a copy of a conf names the same files
            self._certificates[path] = self.lineages.current([*asked, *named][0])
        return self._certificates[path]

    def rehearsed(self) -> list[str]:
        """List the lineages that a dry run may be about; none if the certificate is a new one.

        certbot gives only their SANs and options, which several may have in common.
        """
        if self.config.certname:
            return [name for name in [self.config.certname] if self.lineages.exists(name)]
        ours = {name: renewal for name, renewal
                in read_renewals(self.lineages.config_dir)[0].items() if renewal.is_ours}
        alike = self.lineages.with_names(self.names(), ours)
        told = {name: self._plugin.conf(name) for name in OPTIONS}
        same = [name for name in alike if told == ours[name].options
                and str(self.config.key_type).lower() == ours[name].key_type.lower()]
        return same or alike  # an option of the command line overrides that of the conf

    def is_renewed(self, lineage: str) -> bool:
        """Return whether renewals of a lineage reach us: ``certbot install`` stores nothing."""
        try:
            return read_renewal(Path(self.config.renewal_configs_dir, f"{lineage}.conf")).is_ours
        except errors.UsageError as error:
            logger.debug("%s", error)
            return False

    def unannounced(self) -> list[str]:
        """List lineages with this run's names that renewals bring to us and that are not there yet.

        Under ``--disable-renew-updates`` certbot does not say which one was renewed.
        """
        known = {(entry.lineage, entry.binding.fingerprint)
                 for entry in self.deployer.store.state.values()}
        found = []
        for name, renewal in read_renewals(Path(self.config.config_dir))[0].items():
            if renewal.is_ours and self.lineages.exists(name):
                newest = self.lineages.current(name)
                if set(newest.names) == self.names() and (name, newest.fingerprint) not in known:
                    found.append(name)
        return found

    def say(self, text: str) -> None:
        """Show a line about a change; ``--quiet`` drops it."""
        try:
            prompts.tell(text)
        except ValueError:  # certbot-qiniu has no certbot display, and shows our log
            logger.info("%s", text)

    def note(self, text: str) -> None:
        """Show a line about what stays the same; a renewal, which a timer runs, only logs it."""
        if self.is_renewal:
            logger.info("%s", text)
        else:
            self.say(text)

    def command(self, verb: str, lineage: str) -> str:
        """Return the complete command that does *verb* for a lineage as this run does."""
        config = self.config
        words = ["certbot", verb, "--cert-name", lineage, "-i", "qiniu",
                 *as_words(self._plugin.conf)]
        if verb == "install":
            words += [f"--{'' if config.redirect else 'no-'}redirect"] * (
                config.redirect is not None)
            words += ["--hsts"] * bool(getattr(config, "hsts", False))
        for kind in ("config", "work", "logs"):
            folder = getattr(config, f"{kind}_dir", None)
            if folder not in (None, misc.get_default_folder(kind)):
                words += [f"--{kind}-dir", str(folder)]
        return shlex.join(words)

    @property
    def waiting(self) -> Waiting:
        """All waiting of this process."""
        if Run._waiting is None:
            is_live = (sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
                       and not getattr(self.config, "quiet", False))
            Run._waiting = Waiting(self.note, sys.stdout if is_live else None)
        return Run._waiting

    # Our files ----------------------------------------------------------------------------------

    @property
    def deployer(self) -> Deployer:
        """The deployer of the desired state; the first access opens our files.

        :raises errors.StateError: if they cannot be read or are in use.
        """
        return self.open()

    @property
    def is_open(self) -> bool:
        """Whether our files were opened already."""
        return self._deployer is not None

    def open(self) -> Deployer:
        """Open our files, unless they are open; undo first what a crash has left.

        :raises errors.StateError: if they cannot be read or are in use.
        """
        if self._deployer is None:
            if not (self.is_rehearsal or self._is_undone):
                self._is_undone = True  # a later checkpoint in progress is this run's own
                is_unfinished = Path(self.config.in_progress_dir).exists()
                self._undo_unfinished()
                if is_unfinished:
                    Run._stores.pop(Path(self.config.config_dir), None)  # undone: read it again
            if Run._accounts is None:
                Run._accounts = Accounts(self.lineages.config_dir)
            self._deployer = open_deployer(
                self.config, self.say, note=self.note, accounts=Run._accounts,
                waiting=self.waiting, checkpoints=self._plugin, read_only=self.is_rehearsal,
                stores=Run._stores)
        return self._deployer

    def reloaded_for(self, lineage: str) -> str:
        """Return the fingerprint that the local web server was last reloaded for; "" if unknown."""
        deployer = self._deployer_or_none()
        return deployer.store.memory.lineage(lineage).nginx if deployer else ""

    def remember_reload(self, lineages: Iterable[str]) -> None:
        """Remember that the local web server serves the newest certificates of *lineages*."""
        if deployer := self._deployer_or_none():
            for lineage in lineages:
                fingerprint = self.lineages.current(lineage).fingerprint
                deployer.store.memory.lineage(lineage).nginx = fingerprint
            deployer.store.write_memory()

    def memory_of(self, lineage: str) -> LineageMemory | None:
        """Return what is remembered of a lineage; None if our files, or its own, cannot be used."""
        deployer = self._deployer_or_none()
        if deployer is None or lineage in deployer.store.damaged:
            return None
        return deployer.store.memory.lineage(lineage)

    def write_memory(self) -> None:
        """Write the memory, as far as it was changed.

        :raises errors.StateError: if that is not possible.
        """
        if deployer := self._deployer_or_none():
            deployer.store.write_memory()

    def _deployer_or_none(self) -> Deployer | None:
        """Return None if our files cannot be used: the web server must be updated even then."""
        return Failures().attempt(lambda: self.deployer)
