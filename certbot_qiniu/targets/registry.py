"""List the targets of a run, in the order in which they are reached."""

from __future__ import annotations

from certbot_qiniu.targets.hook import HookTarget
from certbot_qiniu.targets.nginx import NginxTarget
from certbot_qiniu.targets.other_installer import OtherInstaller
from certbot_qiniu.targets.qiniu import QiniuTarget
from certbot_qiniu.targets.run import Run
from certbot_qiniu.targets.target import Target


def targets_of(run: Run) -> list[Target]:
    """List the targets of *run*: the fast local ones first, as Qiniu takes minutes to publish.

    :raises errors.StateError: if a rollback cannot read which installers take part.
    """
    targets: list[Target] = [OtherInstaller(run, name, options)
                             for name, options in _other_installers(run)]
    if not run.settings.skip_nginx:
        targets.append(NginxTarget(run))
    if run.settings.hook:
        targets.append(HookTarget(run, run.settings.hook))  # they may need what is local
    return [*targets, QiniuTarget(run)]


def _other_installers(run: Run) -> list[tuple[str, str]]:
    """Return name and options of each; for a rollback without flags, of all lineages."""
    settings = run.settings
    chosen = {(settings.other_installer or "", settings.other_installer_options)}
    if run.verb == "rollback" and not settings.other_installer:
        chosen = {(lineage.other_installer, lineage.other_installer_options)
                  for lineage in run.deployer.store.memory.lineages.values()}
    return sorted((name, options) for name, options in chosen if name)
