"""``certbot-qiniu doctor``: find what could stop a renewal, with a remedy for each."""

from __future__ import annotations

import argparse
import datetime as dt
import email.utils
import functools
import logging
import shlex
import shutil
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command import containers, loop_health, output
from certbot_qiniu.command.arguments import (
    Command,
    add_json,
    certbot_config,
    folder_options,
    usual_config_dir,
)
from certbot_qiniu.command.exploration import explore
from certbot_qiniu.command.jobs import certbot_jobs, plugins
from certbot_qiniu.command.jobs.certbot_jobs import Job, Use, Wanted, plugins_of, sentence, use
from certbot_qiniu.command.survey.health import Level, exit_status, worst
from certbot_qiniu.command.survey.survey import remembered_command
from certbot_qiniu.deployment.certificates import too_old
from certbot_qiniu.deployment.deployer import Deployer, open_deployer
from certbot_qiniu.environment import program
from certbot_qiniu.lineages import (
    INSTALLER,
    Problem,
    Renewal,
    problems,
    read_renewals,
    reconfigure_command,
)
from certbot_qiniu.options import Settings
from certbot_qiniu.qiniu.transport import API
from certbot_qiniu.targets.hook import checked_programs
from certbot_qiniu.webserver.nginx import Nginx

logger = logging.getLogger(__name__)

SECONDS = 60
CLOCK_SECONDS = 10
SKEW_SECONDS = 30
"""Qiniu refuses a request if its time is further off."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    :ivar remedy: what to do about it, "" if nothing is needed.
    """

    level: Level
    topic: str
    text: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    group = parser.add_mutually_exclusive_group()
    add_json(group)
    explore.add_arguments(parser, group)


def run(arguments: argparse.Namespace) -> int:
    """Check everything, and show the results.

    :raises errors.QiniuError: if the checks cannot even begin.
    """
    if arguments.explore:
        return explore.run(arguments, logger)
    if arguments.credentials or arguments.cert_name:
        raise errors.UsageError("--credentials and --cert-name go with --explore")
    with output.progress("Checking …"):
        checks = list(check_all(certbot_config(arguments), folder_options(arguments)))
    level = worst(check.level for check in checks)
    if arguments.json:
        print(output.document(level, time.time(), {"checks": checks}))
    else:
        output.show(table(checks))
    return exit_status(level)


def table(checks: Sequence[Check]) -> list[output.Part]:
    """Draw checks and remedies for humans."""
    words = {Level.OK: "ok", Level.ATTENTION: "problem", Level.UNKNOWN: "unknown"}
    rows: list[tuple[str, Sequence[str]]] = []
    for check in checks:
        rows.append((output.STYLES[check.level], [words[check.level], check.topic, check.text]))
        if check.remedy:
            rows.append(("", ["", "remedy", check.remedy]))
    return [output.Table(["Verdict", "Topic", "Finding"], rows, ["Finding"], styled=0)]


def check_all(config: Any, folders: Sequence[str] = ()) -> Iterator[Check]:
    """Check everything.

    :param config: certbot's configuration.
    :param folders: the options that name certbot's folders.
    """
    renewals, damaged = read_renewals(Path(config.config_dir), config.given)
    ours = {name: renewal for name, renewal in renewals.items() if renewal.is_ours}
    yield from check_certbot(shutil.which("certbot"))
    yield from check_files(Path(config.config_dir) / "qiniu")
    yield from check_volumes(Path(config.config_dir), Path(config.work_dir))
    deployed: set[str] = set()
    try:
        deployer = open_deployer(config, logger.info, read_only=True)
    except errors.StateError as error:
        yield Check(Level.ATTENTION, "state", str(error))
    else:
        deployed = {name for name in deployer.all_lineages() if deployer.lineages.exists(name)}
        for damage in deployer.store.damaged.values():
            yield Check(Level.ATTENTION, "state", str(damage))
        yield from check_renewals(
            renewals, damaged, deployer.all_lineages(), deployer.lineages.exists,
            problems(Path(config.config_dir), renewals, deployer.known_lineages()),
            functools.partial(remembered_command, deployer.store.memory))
        yield from check_accounts(deployer, ours)
    yield from check_plugins(renewals.values())
    yield from check_clock(qiniu_time(), time.time())
    yield from check_nginx(ours.values())
    yield from check_hooks(ours.values())
    yield from check_timers(certbot_jobs.jobs(), Wanted(
        Path(config.config_dir), usual_config_dir(), frozenset(ours) | deployed),
        looped=is_looped(Path(config.config_dir), time.time()), folders=folders)


# certbot ----------------------------------------------------------------------------------------


def check_certbot(found: str | None) -> Iterator[Check]:
    """Check that the certbot in the search path has this plugin."""
    ours = shlex.quote(program("certbot"))
    link = f"ln -sf {ours} /usr/local/bin/certbot"
    if found is None:
        yield Check(Level.ATTENTION, "certbot", "no certbot is on the PATH",
                    f"Run {ours}, or put it on the PATH: {link}")
        return
    if INSTALLER in (plugins_of(found) or ()):
        yield Check(Level.OK, "certbot", f"{found} has the plugin")
        return
    path = str(Path(found).resolve())
    if certbot_jobs.SNAPS.search(path):
        cause = "it comes from snap, which cannot load plugins installed by pip"
        remedy = f"Remove it (snap remove certbot) and use the one next to this program: {link}"
    elif path.startswith(("/usr/bin/", "/bin/")):
        cause = "it is the distribution's, with a Python of its own"
        remedy = (f"Use the one next to this program ({link}), and stop the distribution's timer: "
                  "systemctl disable --now certbot.timer")
    else:
        cause = f"it does not belong to {sys.prefix}, where this program is installed"
        remedy = f"Use the one next to this program: {link}"
    yield Check(Level.ATTENTION, "certbot", f"{found} does not have the plugin: {cause}", remedy)


def check_files(folder: Path) -> Iterator[Check]:
    """Check that nobody else can read our own files."""
    for path in sorted(folder.rglob("[!.]*")):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # a link to nothing, or gone meanwhile: nobody can read that
        if mode & 0o077:
            yield Check(Level.ATTENTION, "files", f"{path} can be read by other users",
                        f"chmod {700 if stat.S_ISDIR(mode) else 600} {shlex.quote(str(path))}")


def check_volumes(config_dir: Path, work_dir: Path) -> Iterator[Check]:
    """Check that certbot's folders outlive the container, if this is one."""
    for path, text in containers.lost_with_it({"config": config_dir, "work": work_dir}):
        yield Check(Level.ATTENTION, "container", text, f"Mount a volume there: --volume "
                    f"NAME:{shlex.quote(str(path))}")


# Lineages ---------------------------------------------------------------------------------------


def check_renewals(renewals: Mapping[str, Renewal], damaged: Iterable[str],
                   deployed: Collection[str], exists: Callable[[str], bool],
                   found: Sequence[Problem] = (),
                   reconfigure: Callable[[str], str] = reconfigure_command) -> Iterator[Check]:
    """Check that every lineage deployed to Qiniu is renewed, and its renewal conf says so."""
    for text in damaged:
        yield Check(Level.ATTENTION, "renewal", text, "Fix the file, or put it back from a "
                    "backup")
    for problem in found:
        yield Check(Level.ATTENTION, "renewal", problem.text, problem.remedy)
    names = {name for name, renewal in renewals.items() if renewal.is_ours}
    for lineage in sorted((names | set(deployed)) - {problem.lineage for problem in found}):
        if lineage in names:
            yield Check(Level.OK, "renewal", f"renewals of {lineage} reach Qiniu")
        elif lineage in renewals:  # of one that cannot be read, more is said
            yield Check(
                Level.ATTENTION, "renewal",
                f"{lineage} is deployed to Qiniu, but its renewal conf does not say "
                "installer = qiniu: renewals will not reach Qiniu. A certbot without the plugin "
                "drops it", reconfigure(lineage))
    if not names and not any(map(exists, deployed)):
        yield Check(Level.ATTENTION, "renewal", "no renewal conf says installer = qiniu",
                    reconfigure_command())


def check_plugins(renewals: Iterable[Renewal]) -> Iterator[Check]:
    """Check that the plugins that renewals need are installed here, and dns-aliyun in any case."""
    users: dict[str, list[str]] = {"dns-aliyun": []}
    for renewal in renewals:
        for plugin in (*plugins.named_by(renewal), renewal.settings.other_installer):
            if plugin and plugin != INSTALLER:
                users.setdefault(plugin, []).append(renewal.lineage)
    for plugin, lineages in users.items():
        used = f", used by {', '.join(lineages)}," if lineages else ""
        if plugin in plugins.installed():
            yield Check(Level.OK, "plugin", f"{plugin}{used} is installed")
        else:
            yield Check(Level.ATTENTION if lineages else Level.OK, "plugin",
                        f"{plugin}{used} is not installed next to this program",
                        plugins.remedy(plugin, lineages[0]) if lineages else "")


# Qiniu ------------------------------------------------------------------------------------------


def check_accounts(deployer: Deployer, renewals: Mapping[str, Renewal]) -> Iterator[Check]:
    """Check that each lineage's credentials are private, and that Qiniu accepts them."""
    seen = set()
    for name, renewal in renewals.items():
        try:
            path = deployer.credentials_of(name, renewal.settings) or ""
            if path in seen:
                continue
            seen.add(path)
            account = deployer.accounts.get(path)
            domains, certificates = account.domains(), account.certificates()
        except errors.UsageError as error:
            yield Check(Level.ATTENTION, "credentials", str(error),
                        "The file holds qiniu_access_key and qiniu_secret_key, mode 0600")
        except errors.Unreachable as error:
            yield Check(Level.UNKNOWN, "Qiniu", str(error), error.advice)
        except errors.ApiError as error:
            yield Check(Level.ATTENTION, "Qiniu", str(error), error.advice)
        else:
            yield Check(Level.OK, "credentials", f"{path} is readable only by its owner")
            yield Check(Level.OK, "Qiniu", f"{path} opens an account with {len(domains)} domains "
                        f"and {len(certificates)} certificates")
            yield from check_ages(deployer, path, renewals)


def check_ages(deployer: Deployer, credentials: str, renewals: Mapping[str, Renewal],
               ) -> Iterator[Check]:
    """Check that Qiniu would take one account's certificates that are not uploaded yet."""
    context = deployer.context(credentials)
    for name, renewal in renewals.items():
        if (deployer.credentials_of(name, renewal.settings) or "") != credentials:
            continue
        try:
            certificate = deployer.lineages.current(name)
            is_held = deployer.store.memory.lineage(name).hold == certificate.fingerprint
            doubt = "" if is_held else too_old(context, certificate)
        except errors.QiniuError as error:
            yield Check(Level.UNKNOWN, "Qiniu", str(error))
            continue
        if doubt:
            yield Check(Level.ATTENTION, "Qiniu", doubt)


def qiniu_time() -> float | None:
    """Return Qiniu's time, from the header of any answer; None without one."""
    from certbot_qiniu import deadline

    try:
        answer = deadline.head(f"https://{API}/domain?limit=1", CLOCK_SECONDS)
        return email.utils.parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (OSError, ValueError, TypeError, OverflowError) as error:  # requests raises OSErrors
        logger.info("Qiniu's time is not known: %s", type(error).__name__)
        return None


def check_clock(server: float | None, here: float) -> Iterator[Check]:
    """Check that this machine's clock is close enough to Qiniu's."""
    if server is None:
        yield Check(Level.UNKNOWN, "clock", "Qiniu did not say what time it is")
        return
    off = here - server
    if abs(off) <= SKEW_SECONDS:
        yield Check(Level.OK, "clock", f"this machine's clock is within {SKEW_SECONDS} seconds")
        return
    text = str(dt.timedelta(seconds=round(abs(off))))
    yield Check(Level.ATTENTION, "clock",
                f"this machine's clock is {text} {'ahead of' if off > 0 else 'behind'} Qiniu's, "
                f"which accepts {SKEW_SECONDS} seconds", "timedatectl set-ntp true")


# This machine -----------------------------------------------------------------------------------


def check_nginx(renewals: Iterable[Renewal]) -> Iterator[Check]:
    """Check that nginx's configuration is sound, by each command that a lineage has for it."""
    commands: dict[tuple[str, str | None], Settings] = {
        (renewal.settings.nginx_test_cmd, renewal.settings.nginx_reload_cmd): renewal.settings
        for renewal in renewals if not renewal.settings.skip_nginx}
    for test, reload in commands:
        try:
            found = Nginx(test, reload).test()
        except (errors.NginxError, errors.UsageError) as error:
            yield Check(Level.ATTENTION, "nginx", str(error),
                        "Fix the nginx configuration. Qiniu is updated regardless")
        else:
            yield Check(Level.OK, "nginx", found)


def check_hooks(renewals: Iterable[Renewal]) -> Iterator[Check]:
    """Check that the programs of ``--qiniu-hook`` can be run, and nobody else can change them."""
    for hook in sorted({renewal.settings.hook for renewal in renewals if renewal.settings.hook}):
        try:
            found = checked_programs(hook)
        except errors.UsageError as error:
            yield Check(Level.ATTENTION, "hook", str(error))
        else:
            yield Check(Level.OK if found else Level.ATTENTION, "hook",
                        f"{hook}: {', '.join(found) or 'no executable is in this folder'}")


def is_looped(config_dir: Path, now: float) -> bool:
    """Return whether ``certbot-qiniu loop`` renews here, and is healthy."""
    try:
        health = loop_health.read(loop_health.path(config_dir))
    except errors.StateError as error:
        logger.info("%s", error)
        return False
    return health is not None and not health.complaint(now)


def check_timers(jobs: Iterable[Job], wanted: Wanted, *, looped: bool = False,
                 folders: Sequence[str] = ()) -> Iterator[Check]:
    """Check that something renews every lineage by itself, and that nothing undoes its work."""
    install = shlex.join(["certbot-qiniu", "install-timer", *folders])
    uses = [(job, use(job, wanted)) for job in jobs]
    renewing = {job.call.option("--cert-name") for job, found in uses if found is Use.RENEWS}
    if looped:
        renewing.add("")
        yield Check(Level.OK, "timer", "certbot-qiniu loop renews")
    for job, found in uses:
        level, remedy = Level.OK, ""
        if found is Use.LACKS_PLUGIN:
            level, remedy = Level.ATTENTION, job.scheduled.stop
        elif (found is Use.IDLE and not renewing and job.scheduled.revive
              and INSTALLER in (job.plugins or ())):
            level, remedy = Level.ATTENTION, job.scheduled.revive
        elif found is Use.NOT_FOUND and not renewing:
            level = Level.ATTENTION
            remedy = (f"Name it with its path: {shlex.quote(program('certbot-qiniu'))} renew "
                      "--quiet")
        elif found is Use.NOT_KNOWN and not renewing:
            level = Level.UNKNOWN
        yield Check(level, "timer", sentence(job, found), remedy)
    left = wanted.lineages - renewing
    if not renewing and Use.NOT_KNOWN not in {found for _, found in uses}:
        yield Check(Level.ATTENTION, "timer", "nothing runs certbot renew by itself", install)
    elif renewing and "" not in renewing and left:
        yield Check(Level.ATTENTION, "timer", f"nothing renews {', '.join(sorted(left))} by itself",
                    install)


COMMAND = Command("doctor", "look for what could stop a renewal, with remedies", add_arguments,
                  run)
