"""certbot's installer ``qiniu``: certbot's verbs over a list of targets.

A target is a place that certificates must reach (:mod:`certbot_qiniu.targets`). Each verb is handed
to all of them even if some fail, and what went wrong is raised at the end. Their changes share one
certbot checkpoint, which only this module ends and undoes.

certbot loads this module for every command of every user, so the functions import what they need.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from certbot import errors as certbot_errors
from certbot import interfaces
from certbot.plugins import common

from certbot_qiniu import errors, options
from certbot_qiniu.failures import Failures

if TYPE_CHECKING:
    from certbot_qiniu.targets.run import Run
    from certbot_qiniu.targets.target import Target

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Installer(common.Installer, interfaces.RenewDeployer, interfaces.GenericUpdater):
    """Deploy certificates to Qiniu Cloud (七牛云 CDN) and reload nginx.

    certbot makes a fresh instance for every lineage of a ``renew``.
    """

    description = "Deploy certificates to Qiniu Cloud (CDN) and reload nginx"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opened: tuple[Run, list[Target]] | None = None
        self._failures = Failures()
        self._lineages: set[str] = set()
        self._finalized = 0
        self._is_renewing = False
        self._is_deploying = False
        self._kept: errors.DeployError | None = None

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """Declare the ``--qiniu-…`` options."""
        options.add_arguments(add)

    def more_info(self) -> str:
        """Say what the plugin does."""
        found = self._on_each(lambda target: target.describe())
        return "\n".join(["Brings certificates to these places, with every certbot renew anew:",
                          *filter(None, found)])

    # Before anything is changed -----------------------------------------------------------------

    def prepare(self) -> None:
        """Refuse bad input before anything is issued or changed.

        Under ``renew`` nothing is raised and no network used: certbot answers a ``PluginError``
        there by removing the plugin from the renewal conf for good. A dry run is rehearsed.

        :raises certbot.errors.NoInstallationError: if the plugin is neither chosen nor set up.
        :raises certbot.errors.Error: if it is chosen and cannot work. Not a ``PluginError``,
            which certbot would swallow in ``certonly``, ``rollback`` and ``renew``.
        """
        if self.config.verb == "renew" and not self.config.dry_run:
            return
        if self.name not in (self.config.installer, self.config.configurator):
            if not self.conf("credentials"):
                raise certbot_errors.NoInstallationError(
                    "no --qiniu-credentials given, so there is no Qiniu account to deploy to")
            return
        try:
            rehearsing = self._run.is_rehearsal
            self._on_each(lambda target: target.rehearse() if rehearsing else target.check())
        except certbot_errors.PluginError as error:
            raise certbot_errors.Error(f"The qiniu plugin cannot work: {error}") from error

    def get_all_names(self) -> list[str]:
        """Return the names that are served anywhere, as names for a certificate.

        :raises certbot.errors.PluginError: if they cannot be listed.
        """
        found = self._on_each(lambda target: target.names())
        return sorted({name for names in found for name in names})

    def config_test(self) -> None:
        """Test the configurations.

        :raises certbot.errors.PluginError: if one is broken.
        """
        self._on_each(lambda target: target.test())

    # run, install, enhance ----------------------------------------------------------------------

    def deploy_cert(self, domain: str, cert_path: str, key_path: str, chain_path: str,
                    fullchain_path: str) -> None:
        """Note that *domain*, a SAN, is to be served with this certificate.

        :raises errors.UsageError: if the certificate is not one of certbot's lineages.
        :raises certbot.errors.PluginError: if a target cannot take it.
        """
        certificate = self._run.certificate_of(fullchain_path or cert_path)
        self._lineages.add(certificate.lineage)
        self._is_deploying = True
        paths = (cert_path, key_path, chain_path, fullchain_path)
        self._on_each(lambda target: target.deploy(certificate, domain, paths))

    def supported_enhancements(self) -> list[str]:
        """List the enhancements of all targets.

        certbot calls this right after the :meth:`restart` of ``run`` and ``install``. An error here
        ends certbot with exit status 1 and puts nothing back, so what ``restart`` kept is raised.

        :raises errors.DeployError: if a part of a deployment has failed and the rest stays.
        """
        kept, self._kept = self._kept, None
        if kept:
            raise kept
        found = self._on_each(lambda target: target.enhancements())
        return sorted({name for names in found for name in names})

    def enhance(self, domain: str, enhancement: str,
                options: list[str] | str | None = None) -> None:
        """Switch an enhancement on for *domain*, a SAN, at each target that offers it.

        :raises errors.UsageError: for an enhancement that none of them offers.
        :raises certbot.errors.PluginError: if one fails at it.
        """
        offers = self._on_each(lambda target: target.enhance(domain, enhancement, options))
        if not any(offers):
            raise errors.UsageError(f"No target offers the enhancement {enhancement}")

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        """Write what is configured, in one checkpoint; without a title more is to come.

        :raises certbot.errors.PluginError: if a target cannot; certbot then recovers.
        """
        if temporary:
            return
        self._on_each(lambda target: target.save(title))
        if title:
            # Not before all were saved: certbot undoes the checkpoint and nothing else.
            self._on_each(lambda target: target.commit())
            self._end_checkpoint(title)

    def restart(self) -> None:
        """Make every target serve what is configured; none holds another up.

        In ``run`` and ``install`` certbot answers an error here by taking the certificate away
        from all targets. So if one of them has it already, the failure is kept for
        :meth:`supported_enhancements`.

        :raises errors.DeployError: if anything is not in sync; the text names all of it.
        """
        if self._is_unannounced:
            self._take_unannounced()
        failures, self._failures = self._failures, Failures()
        is_deploying, self._is_deploying = self._is_deploying, False
        try:
            must_go_back = self._settle(failures)
        except (KeyboardInterrupt, certbot_errors.SignalExit) as ended:
            self._run.waiting.stop()  # certbot rolls back now, and somebody wants to leave
            if is_deploying:
                # After SIGTERM certbot goes on, to supported_enhancements, as if all were well.
                self._kept = errors.DeployError(". ".join([
                    f"A signal ended the deployment of {min(self._lineages)}, and what was served "
                    "before was put back", *self._lasting(), self._again(min(self._lineages))]))
            elif self.config.verb in ("run", "install", "enhance") and not isinstance(
                    ended, KeyboardInterrupt):
                self._end_enhancing(ended)
            raise
        if failures and is_deploying:
            error = errors.DeployError(
                self._told_of_deployment(failures, must_go_back), str(failures))
            if must_go_back:
                raise error
            self._kept = error
        elif failures:
            error = errors.DeployError(self._told(failures), str(failures))
            self._kept = self._kept and error
            raise error
        elif self.config.verb == "install":
            for lineage in sorted(self._lineages):
                self._tell_how_to_renew(lineage)

    def _end_enhancing(self, ended: BaseException) -> None:
        """Put back what an enhancement changed, and end the program.

        After SIGTERM certbot would do the former, and then exit with 0.

        :raises SystemExit: always; certbot does nothing more then.
        """
        self.rollback_checkpoints()
        failures, self._failures = self._failures, Failures()
        with contextlib.suppress(certbot_errors.SignalExit):
            self._settle(failures)
        logger.error("A signal ended certbot. %s",
                     str(failures) or "What was served before was put back")
        raise SystemExit(1) from ended

    @property
    def _is_unannounced(self) -> bool:
        """Whether certbot calls nothing but ``restart`` for a renewed certificate."""
        return bool(self.config.verb == "renew"
                    and getattr(self.config, "disable_renew_updates", False))

    def _settle(self, failures: Failures) -> bool:
        """Settle every target.

        :returns: whether a failure makes it better to undo the whole deployment.
        """
        must_go_back = False
        for target in self._targets:
            before = len(failures)
            failures.attempt(target.settle)
            must_go_back |= target.must_go_back and len(failures) > before
        return must_go_back or not any(target.has_taken for target in self._targets)

    def _told(self, failures: Failures) -> str:
        if self.config.verb != "renew":
            return str(failures)
        names = ", ".join(sorted(self._lineages))
        told = (f"The certificate of {names} is on this machine, but it has not reached "
                f"everything that should serve it: {failures}")
        if self._is_unannounced:
            return (f"{told}. Under --disable-renew-updates no certbot renew tries again: run "
                    "certbot-qiniu apply")
        return failures.with_outlook(told)

    def _told_of_deployment(self, failures: Failures, must_go_back: bool) -> str:
        lineage = min(self._lineages)
        told = [f"Not everything serves the certificate {lineage}: {failures}",
                *(["certbot puts back what was served before", *self._lasting()] if must_go_back
                  else ["The rest has it and keeps it; nothing was put back"])]
        if self._run.is_renewed(lineage):
            told = [failures.with_outlook(". ".join(told))]
        else:
            told.append("Nothing repairs this by itself, as renewals of this certificate do not "
                        "reach Qiniu; so that they do: "
                        + self._run.command("reconfigure", lineage))
        if self.config.verb == "run":
            told.append("The certbot install that certbot itself advises lacks these options")
        return f"{'. '.join(told)}. {self._again(lineage)}"

    def _lasting(self) -> list[str]:
        """Say what of this run stays, although certbot goes back."""
        return [text for target in self._targets if (text := target.lasting())]

    def _again(self, lineage: str) -> str:
        return f"To try again now: {self._run.command('install', lineage)}"

    def _tell_how_to_renew(self, lineage: str) -> None:
        """Say what makes renewals reach us, unless they do already."""
        from certbot_qiniu.prompts import tell

        if self._run.is_renewed(lineage):
            return
        tell(f"This deployed {lineage} once: certbot install does not make renewals do it. For "
             f"that run: {self._run.command('reconfigure', lineage)}")
        self._lineages.discard(lineage)

    # renew --------------------------------------------------------------------------------------

    def renew_deploy(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Take a renewed certificate.

        Raises nothing: certbot would then skip ``restart``, which reports what goes wrong here.
        """
        self._lineages.add(lineage.lineagename)
        self._is_renewing = True  # certbot is at work: no other process reads its checkpoints
        self._failures.attempt(self._run.open)
        for target in self._targets:
            self._failures.attempt(target.renew, lineage)
        self._failures.attempt(self._end_checkpoint, f"Renewed {lineage.lineagename}")

    def generic_updates(self, lineage: interfaces.RenewableCert, *args: Any,
                        **kwargs: Any) -> None:
        """Put right what failed, drifted or is new, with every ``certbot renew``.

        :raises errors.DeployError: if anything is not in sync afterwards.
        """
        self._lineages.add(lineage.lineagename)
        failures = Failures()
        failures.attempt(self._run.open)
        for target in self._targets:
            failures.attempt(target.update, lineage)
        failures.attempt(self._end_checkpoint, f"Updated {lineage.lineagename}")
        self._settle(failures)
        if failures:
            raise errors.DeployError(
                self._told(failures), str(failures), has_outlook=failures.has_outlook)

    def _take_unannounced(self) -> None:
        """Take what was just renewed: under ``--disable-renew-updates`` certbot does not name it.

        No :meth:`generic_updates` follows there, so what fails is never tried again.
        """
        for lineage in self._failures.attempt(self._run.unannounced) or ():
            renewed: Any = SimpleNamespace(lineagename=lineage)
            self.renew_deploy(renewed)
            self._run.say(f"{lineage}: under --disable-renew-updates no certbot renew looks after "
                          f"it again until the next renewal; certbot-qiniu apply --cert-name "
                          f"{lineage} does")


    # Checkpoints --------------------------------------------------------------------------------

    def finalize_checkpoint(self, title: str) -> None:
        """End the checkpoint in progress, and remember that this process has made it.

        :raises certbot.errors.PluginError: if that is not possible.
        """
        from certbot_qiniu.deployment.checkpoints import newest

        is_made = Path(self.config.in_progress_dir).is_dir()
        super().finalize_checkpoint(title)
        self._finalized += 1
        checkpoint = newest(Path(self.config.backup_dir)) if is_made else None
        if checkpoint:
            for target in self._targets:
                self._failures.attempt(
                    target.checkpointed, checkpoint.name, may_prune=self._is_renewing)

    def _end_checkpoint(self, title: str) -> None:
        """End the checkpoint in progress, if undoing it would change anything.

        Installers add files that they leave as they are. A checkpoint of only such files would use
        up the user's next ``certbot rollback``.
        """
        in_progress = Path(self.config.in_progress_dir)
        if not in_progress.is_dir():
            return
        if _has_changes(in_progress):
            self.finalize_checkpoint(title)
        else:
            self._undo_unfinished()

    def rollback_checkpoints(self, rollback: int = 1) -> None:
        """Return to an older configuration; ``restart`` then brings the targets there.

        certbot also calls this after any failing ``restart``. Then only what this process itself
        finalized is undone: an older checkpoint is not ours to take.

        :raises certbot.errors.PluginError: if a checkpoint cannot be restored.
        """
        from certbot_qiniu.deployment.checkpoints import finish_deletions

        targets = self._targets
        count = int(rollback)
        if self.config.verb != "rollback":
            count = min(count, self._finalized)
        elif finish_deletions(Path(self.config.backup_dir), self._folder):
            count = max(count - 1, 0)  # the user repeats a rollback that was killed
        if self.config.verb == "rollback":
            self._on_each(lambda target: target.before_roll_back(count))
        self._finalized -= count  # after a signal certbot may come here twice
        if count or self.config.verb == "rollback":
            super().rollback_checkpoints(count)
        self._lineages.clear()
        for target in targets:
            self._failures.attempt(target.roll_back, rollback)

    def recovery_routine(self) -> None:
        """Undo a checkpoint that was never finalized.

        :raises certbot.errors.PluginError: if that is not possible.
        """
        self._undo_unfinished()
        self._lineages.clear()
        self._on_each(lambda target: target.recover())

    def _undo_unfinished(self) -> None:
        from certbot_qiniu.deployment.checkpoints import finish_deletion

        finish_deletion(Path(self.config.in_progress_dir), self._folder)
        super().recovery_routine()

    @property
    def _folder(self) -> Path:
        return Path(self.config.config_dir, "qiniu")

    # The targets --------------------------------------------------------------------------------

    @property
    def _run(self) -> Run:
        return self._open()[0]

    @property
    def _targets(self) -> list[Target]:
        return self._open()[1]

    def _open(self) -> tuple[Run, list[Target]]:
        if self._opened is None:
            from certbot_qiniu.targets.registry import targets_of
            from certbot_qiniu.targets.run import Run

            run = Run(self, self._undo_unfinished)
            self._opened = run, targets_of(run)
        return self._opened

    def _on_each(self, work: Callable[[Target], T]) -> list[T]:
        """Return the results of *work* on each target.

        :raises certbot.errors.PluginError: what went wrong at any of them, once all were reached.
        """
        failures = Failures()
        results = [failures.attempt(work, target) for target in self._targets]
        failures.raise_any()
        return cast("list[T]", results)


def _has_changes(checkpoint: Path) -> bool:
    """Return whether undoing *checkpoint* would change anything."""
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


def _declare_to_zope() -> None:
    """Say that we implement certbot's old zope interfaces, for programs that still ask for them."""
    try:
        from zope.interface import classImplements, directlyProvides

        classImplements(Installer, interfaces.IInstaller)
        directlyProvides(Installer, interfaces.IPluginFactory)
    except (ImportError, AttributeError):
        logger.debug("certbot has no zope interfaces any more")


_declare_to_zope()
