"""Another installer of certbot's beside ours: ``--qiniu-with nginx``.

certbot gives each certificate one installer. So ours stands in certbot's place towards the other
one, its partner, and calls it as certbot would. Both use certbot's one reverter: what they change
together ends up in one checkpoint, and one rollback returns it together.
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
from pathlib import Path
from typing import Any

from certbot import errors as certbot_errors
from certbot import interfaces, reverter
from certbot.configuration import NamespaceConfig
from certbot.plugins import common

from certbot_qiniu import errors
from certbot_qiniu.model import covering_name

logger = logging.getLogger(__name__)

_OURSELVES = "qiniu"


class Partner:
    """An installer that takes part in our runs.

    It is made and prepared when it is first needed, because that may test a whole web server.
    Whatever it raises comes out as :class:`errors.PartnerError`: it must not keep Qiniu waiting.

    :param name: its name among certbot's plugins.
    :param options: options of its own, as on a command line; those in *config* come first.
    """

    def __init__(self, name: str, options: str, config: NamespaceConfig) -> None:
        self.name = name
        self._options = options
        self._config = config
        self._opened: interfaces.Installer | None = None
        self._names: set[str] | None = None
        self._asked: set[str] = set()
        self._deployed: set[str] = set()

    def open(self) -> interfaces.Installer:
        """The installer, prepared.

        :raises errors.UsageError: when there is no such installer, or the options are not its own.
        :raises errors.PartnerError: when it cannot work.
        """
        if self._opened is None:
            kind = find_installer(self.name)
            config = _with_options(self.name, kind, self._options, self._config)
            with self._doing("work"):
                plugin = kind(config, self.name)
                if isinstance(plugin, common.Installer):
                    plugin.reverter = _SharedReverter(config)
                plugin.prepare()
            self._opened = plugin
        return self._opened

    def options(self) -> str:
        """Its options that differ from their defaults, as on a command line, to be remembered.

        :raises errors.UsageError: as :meth:`open` does, or when one cannot be written like that.
        """
        kind = find_installer(self.name)
        config = _with_options(self.name, kind, self._options, self._config)
        return _written_options(self.name, kind, config)

    def more_info(self) -> str:
        """What it says of itself, or why it cannot."""
        try:
            plugin = self.open()
            with self._doing("describe itself"):
                return plugin.more_info()
        except certbot_errors.PluginError as error:
            return str(error)

    def names(self) -> set[str]:
        """The names that it serves; none where it does not know."""
        plugin = self.open()
        if self._names is None:
            with self._doing("list its names"):
                self._names = {name.lower() for name in plugin.get_all_names() or ()}
        return self._names

    def config_test(self) -> None:
        """Test its configuration."""
        plugin = self.open()
        with self._doing("pass its configuration test"):
            plugin.config_test()

    def deploy_cert(self, san: str, *paths: str) -> None:
        """Let it serve what *san* covers of its names with the certificate at *paths*."""
        plugin = self.open()
        self._asked.add(san)
        for name in sorted(self._covered(san) - self._deployed):
            with self._doing(f"take the certificate for {name}"):
                plugin.deploy_cert(name, *paths)
            self._deployed.add(name)

    def _covered(self, san: str) -> set[str]:
        # For any other name a web server's installer would make up a site, or ask for one.
        names = self.names()
        return {name for name in names if covering_name([san.lower()], name)} if names else {san}

    def supported_enhancements(self) -> list[str]:
        """What it can do besides serving a certificate."""
        plugin = self.open()
        with self._doing("say what it supports"):
            return list(plugin.supported_enhancements())

    def enhance(self, san: str, enhancement: str, options: list[str] | str | None) -> None:
        """Switch *enhancement* on for what *san* covers; skipped where it does not support that."""
        plugin = self.open()
        if enhancement not in self.supported_enhancements():
            logger.warning("The %s installer does not support %s: skipped there for %s",
                           self.name, enhancement, san)
            return
        for name in sorted(self._covered(san)):
            with self._doing(f"set {enhancement} for {name}"):
                try:
                    plugin.enhance(name, enhancement, options)
                except certbot_errors.PluginEnhancementAlreadyPresent:
                    logger.info("%s has %s already for %s", self.name, enhancement, name)

    def save(self, title: str | None) -> None:
        """Let it write its files; the checkpoint that they are in is left for us to end.

        :raises errors.PartnerError: also when none of the certificate's names is one of its own.
        """
        plugin = self.open()
        if title and self._asked and not self._deployed:
            raise errors.PartnerError(
                f"{self.name} (--qiniu-with) serves none of {', '.join(sorted(self._asked))} by "
                f"name, but only {', '.join(sorted(self.names()))}")
        with self._doing("save its configuration"):
            plugin.save(title)

    def restart(self) -> None:
        """Make it serve what is configured, if that is sound."""
        plugin = self.open()
        self.config_test()
        with self._doing("restart"):
            plugin.restart()

    def rollback(self, count: int) -> None:
        """Follow us back by *count* checkpoints."""
        if self._shares_checkpoints:
            self._opened = None  # what it has read is no longer what is there
        else:
            plugin = self.open()
            with self._doing("roll back"):
                plugin.rollback_checkpoints(count)

    def recover(self) -> None:
        """Follow us back from a checkpoint that was never finalized."""
        if self._shares_checkpoints:
            self._opened = None
        else:
            plugin = self.open()
            with self._doing("recover"):
                plugin.recovery_routine()

    @property
    def _shares_checkpoints(self) -> bool:
        return issubclass(find_installer(self.name), common.Installer)

    def renew_deploy(self, lineage: interfaces.RenewableCert) -> None:
        """Tell it of a renewed certificate, if it wants to know."""
        if issubclass(find_installer(self.name), interfaces.RenewDeployer):
            plugin: Any = self.open()
            with self._doing("deploy the renewed certificate"):
                plugin.renew_deploy(lineage)

    def generic_updates(self, lineage: interfaces.RenewableCert) -> None:
        """Let it update what it likes, if it does with every ``certbot renew``."""
        if issubclass(find_installer(self.name), interfaces.GenericUpdater):
            plugin: Any = self.open()
            with self._doing("do its updates"):
                plugin.generic_updates(lineage)

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            logger.debug("%s could not %s", self.name, what, exc_info=True)
            text = str(error).strip() or type(error).__name__
            raise errors.PartnerError(
                f"{self.name} (--qiniu-with) could not {what}: {text}") from error


class _SharedReverter(reverter.Reverter):
    """certbot's reverter, but a checkpoint is ended by us, with our file in it."""

    def finalize_checkpoint(self, title: str) -> None:
        logger.debug("Left for the qiniu plugin to end: checkpoint %s", title)


def has_changes(checkpoint: Path) -> bool:
    """Whether undoing *checkpoint* would change anything.

    Installers add files to it that they leave as they are; kept, it would use up the user's next
    ``certbot rollback``.
    """
    if (checkpoint / "NEW_FILES").exists() or (checkpoint / "COMMANDS").exists():
        return True
    try:
        paths = (checkpoint / "FILEPATHS").read_text(encoding="utf-8").splitlines()
        return any(Path(path).read_bytes()
                   != (checkpoint / f"{Path(path).name}_{index}").read_bytes()
                   for index, path in enumerate(paths))
    except OSError as error:
        logger.debug("%s is taken as a change: %s", checkpoint, error)
        return True


@functools.cache
def find_installer(name: str) -> type[interfaces.Installer]:
    """The installer called *name* among certbot's plugins.

    :raises errors.UsageError: when there is none, or it is our own.
    """
    if name == _OURSELVES:
        raise errors.UsageError("--qiniu-with qiniu: name another installer, such as nginx")
    plugins = {entry.name: entry
               for entry in importlib.metadata.entry_points(group="certbot.plugins")}
    if name not in plugins:
        hint = f" (pip install certbot-{name})" if name in ("nginx", "apache") else ""
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
    """The values of all options of a plugin by destination, after those that are given."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    kind.inject_parser_options(parser, name)
    return vars(parser.parse_args(shlex.split(options)))


def _with_options(name: str, kind: type[interfaces.Installer], options: str,
                  config: NamespaceConfig) -> NamespaceConfig:
    """A copy of *config* with *options* where it has the defaults.

    :raises errors.UsageError: when they are not options of the plugin.
    """
    changed = copy.deepcopy(config)
    defaults = _parse(name, kind, "")
    for dest, value in _parse(name, kind, options).items():
        if getattr(config, dest) == defaults[dest]:
            setattr(changed, dest, value)
    return changed


def _written_options(name: str, kind: type[interfaces.Installer], config: NamespaceConfig) -> str:
    """The options of a plugin in *config* as on a command line, without the defaults.

    :raises errors.UsageError: when one cannot be written like that.
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
