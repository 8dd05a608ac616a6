"""Another certbot installer next to ours: ``--qiniu-with nginx``.

certbot gives each certificate one installer. So ours calls the other one as certbot would. Both use
certbot's one reverter: their changes end up in one checkpoint, and one rollback undoes them
together.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import importlib.metadata
import logging
import shlex
from collections.abc import Iterator
from typing import Any

from certbot import errors as certbot_errors
from certbot import interfaces, reverter
from certbot.configuration import NamespaceConfig
from certbot.plugins import common

from certbot_qiniu import errors
from certbot_qiniu.environment import CERTBOTS_OWN, plugin_installation
from certbot_qiniu.model import Certificate, covering_name
from certbot_qiniu.targets.run import Run
from certbot_qiniu.targets.target import Options, Target

logger = logging.getLogger(__name__)

_OURSELVES = "qiniu"


class OtherInstaller(Target):
    """A certbot installer that takes part in our runs.

    It is made and prepared when it is first needed, because that may test a whole web server.
    Any exception of it becomes an :class:`errors.OtherInstallerError`.

    :param name: its name among certbot's plugins.
    :param options: options of its own, as on a command line; those in certbot's configuration
        come first.
    """

    must_go_back = True

    def __init__(self, run: Run, name: str, options: str) -> None:
        super().__init__(run)
        self.name = name
        self._options = options
        self._opened: interfaces.Installer | None = None
        self._served: set[str] | None = None
        self._asked: set[str] = set()
        self._deployed: set[str] = set()
        self._only_outdated = False

    def _open(self) -> interfaces.Installer:
        """Return the installer, prepared.

        :raises errors.UsageError: if there is no such installer, or the options are not its own.
        :raises errors.OtherInstallerError: if it cannot work.
        """
        if self._opened is None:
            kind = find_installer(self.name)
            config = _with_options(self.name, kind, self._options, self.run.config)
            with self._doing("work"):
                plugin = kind(config, self.name)
                if isinstance(plugin, common.Installer):
                    plugin.reverter = _SharedReverter(config)
                plugin.prepare()
            self._opened = plugin
        return self._opened

    def describe(self) -> str:
        """Return its own description, or the reason why it has none."""
        try:
            plugin = self._open()
            with self._doing("describe itself"):
                return plugin.more_info()
        except certbot_errors.PluginError as error:
            return str(error)

    def names(self) -> set[str]:
        """Return the names that it serves; none if it does not know."""
        plugin = self._open()
        if self._served is None:
            with self._doing("list its names"):
                self._served = {name.lower() for name in plugin.get_all_names() or ()}
        return self._served

    # Before anything is changed -----------------------------------------------------------------

    def check(self) -> None:
        """Test its configuration, and store the options that it was given under our own name.

        certbot restores only those of its chosen installer in a renewal.
        """
        if self.run.verb == "rollback":
            return
        kind = find_installer(self.name)
        config = _with_options(self.name, kind, self._options, self.run.config)
        if text := _written_options(self.name, kind, config):
            self.run.set_option("with-options", text)
        self.test()

    def rehearse(self) -> None:
        """Do the same as :meth:`check`: a dry run stores options, too."""
        self.check()

    def test(self) -> None:
        """Test its configuration."""
        plugin = self._open()
        with self._doing("pass its configuration test"):
            plugin.config_test()

    # The configuration --------------------------------------------------------------------------

    def deploy(self, certificate: Certificate, san: str, paths: tuple[str, ...]) -> None:
        """Let it serve what *san* covers of its names with the certificate at *paths*."""
        super().deploy(certificate, san, paths)
        plugin = self._open()
        self._asked.add(san)
        for name in sorted(self._covered(san) - self._deployed):
            with self._doing(f"take the certificate for {name}"):
                plugin.deploy_cert(name, *paths)
            self._deployed.add(name)

    def _covered(self, san: str) -> set[str]:
        # For any other name a web server's installer would make up a site, or ask for one.
        names = self.names()
        return {name for name in names if covering_name([san.lower()], name)} if names else {san}

    def enhancements(self) -> list[str]:
        """Return its enhancements."""
        plugin = self._open()
        with self._doing("say what it supports"):
            return list(plugin.supported_enhancements())

    def enhance(self, san: str, enhancement: str, options: Options) -> bool:
        """Switch *enhancement* on for what *san* covers; false if it does not support that."""
        plugin = self._open()
        if enhancement not in self.enhancements():
            logger.warning("The %s installer does not support %s: skipped there for %s",
                           self.name, enhancement, san)
            return False
        for name in sorted(self._covered(san)):
            with self._doing(f"set {enhancement} for {name}"):
                try:
                    plugin.enhance(name, enhancement, options)
                except certbot_errors.PluginEnhancementAlreadyPresent:
                    logger.info("%s has %s already for %s", self.name, enhancement, name)
        return True

    def save(self, title: str | None) -> None:
        """Let it write its files; we end the checkpoint that they are in.

        :raises errors.OtherInstallerError: also if it serves none of the certificate's names.
        """
        plugin = self._open()
        if title and self._asked and not self._deployed:
            raise errors.OtherInstallerError(
                f"{self.name} (--qiniu-with) serves none of {', '.join(sorted(self._asked))} by "
                f"name, but only {', '.join(sorted(self.names()))}")
        with self._doing("save its configuration"):
            plugin.save(title)

    def renew(self, lineage: interfaces.RenewableCert) -> None:
        """Hand it a renewed certificate, if it takes those."""
        super().renew(lineage)
        if issubclass(find_installer(self.name), interfaces.RenewDeployer):
            plugin: Any = self._open()
            with self._doing("deploy the renewed certificate"):
                plugin.renew_deploy(lineage)

    def update(self, lineage: interfaces.RenewableCert) -> None:
        """Let it update, if it does that with every ``certbot renew``."""
        super().update(lineage)
        self._only_outdated = True
        if issubclass(find_installer(self.name), interfaces.GenericUpdater):
            plugin: Any = self._open()
            with self._doing("do its updates"):
                plugin.generic_updates(lineage)

    # Making it so -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Make it serve what is configured, if its test passes.

        After a mere update only if it was not restarted yet for the newest certificates.
        """
        run = self.run
        if self._only_outdated and all(
                run.reloaded_for(name) == run.lineages.current(name).fingerprint
                for name in self.lineages):
            return
        plugin = self._open()
        self.test()
        with self._doing("restart"):
            plugin.restart()
        run.say(f"{self.name}: restarted")
        run.remember_reload(self.lineages)

    # Going back ---------------------------------------------------------------------------------

    def roll_back(self, count: int) -> None:
        """Follow us back by *count* checkpoints."""
        super().roll_back(count)
        if self._shares_checkpoints:
            self._opened = None  # the files that it has read have changed
        else:
            plugin = self._open()
            with self._doing("roll back"):
                plugin.rollback_checkpoints(count)

    def recover(self) -> None:
        """Follow us back from a checkpoint that was never ended."""
        super().recover()
        if self._shares_checkpoints:
            self._opened = None
        else:
            plugin = self._open()
            with self._doing("recover"):
                plugin.recovery_routine()

    @property
    def _shares_checkpoints(self) -> bool:
        return issubclass(find_installer(self.name), common.Installer)

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """Turn its exceptions into one of our own, except the signal that ends the program."""
        try:
            yield
        except certbot_errors.SignalExit:
            raise
        except Exception as error:
            logger.debug("%s could not %s", self.name, what, exc_info=True)
            text = str(error).strip() or type(error).__name__
            raise errors.OtherInstallerError(
                f"{self.name} (--qiniu-with) could not {what}: {text}") from error


class _SharedReverter(reverter.Reverter):
    """certbot's reverter, except that we end the checkpoint, with our file in it."""

    def finalize_checkpoint(self, title: str) -> None:
        logger.debug("Left for the qiniu plugin to end: checkpoint %s", title)


@functools.cache
def find_installer(name: str) -> type[interfaces.Installer]:
    """Find the installer called *name* among certbot's plugins.

    :raises errors.UsageError: if there is none, or it is our own.
    """
    if name == _OURSELVES:
        raise errors.UsageError("--qiniu-with qiniu: name another installer, such as nginx")
    plugins = {entry.name: entry
               for entry in importlib.metadata.entry_points(group="certbot.plugins")}
    if name not in plugins:
        hint = f" ({plugin_installation(name)})" if name in CERTBOTS_OWN else ""
        raise errors.UsageError(
            f"--qiniu-with {name}: certbot has no plugin of that name{hint}. certbot plugins lists "
            "what is installed")
    kind: type[interfaces.Plugin] = plugins[name].load()
    if not issubclass(kind, interfaces.Installer):
        raise errors.UsageError(f"--qiniu-with {name}: that plugin is no installer, it only gets "
                                "certificates. Give it to certbot with -a")
    return kind


class _Parser(argparse.ArgumentParser):
    """Reads the options of one plugin."""

    def error(self, message: str) -> Any:
        raise errors.UsageError(f"--qiniu-with-options: {message}")


def _parse(name: str, kind: type[interfaces.Installer], options: str) -> dict[str, Any]:
    """Return the values of all options of a plugin by destination, after those that are given."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    kind.inject_parser_options(parser, name)
    return vars(parser.parse_args(shlex.split(options)))


def _with_options(name: str, kind: type[interfaces.Installer], options: str,
                  config: NamespaceConfig) -> NamespaceConfig:
    """Copy *config*, with *options* in place of defaults.

    :raises errors.UsageError: if they are not options of the plugin.
    """
    changed = copy.deepcopy(config)
    defaults = _parse(name, kind, "")
    for dest, value in _parse(name, kind, options).items():
        if getattr(config, dest) == defaults[dest]:
            setattr(changed, dest, value)
    return changed


def _written_options(name: str, kind: type[interfaces.Installer], config: NamespaceConfig) -> str:
    """Return the options of a plugin in *config* as on a command line, without the defaults.

    :raises errors.UsageError: if one cannot be written like that.
    """
    defaults = _parse(name, kind, "")
    values = {dest: getattr(config, dest) for dest in defaults}
    words = [_word(dest, value) for dest, value in values.items() if value != defaults[dest]]
    text = shlex.join(words)
    again = _parse(name, kind, text)
    if lost := [dest for dest in values if again[dest] != values[dest]]:
        raise errors.UsageError(f"--qiniu-with {name} cannot keep {', '.join(lost)} for renewals")
    return text


def _word(dest: str, value: Any) -> str:
    option = f"--{dest.replace('_', '-')}"
    return option if value is True else f"{option}={value}"
