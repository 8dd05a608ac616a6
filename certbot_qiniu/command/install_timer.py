"""``certbot-qiniu install-timer``: run ``certbot-qiniu renew`` twice a day, by systemd or cron.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.command import output
from certbot_qiniu.command.alerts import check_heartbeats
from certbot_qiniu.command.arguments import (
    A_FILE,
    A_FOLDER,
    Command,
    absolute_path,
    add_heartbeat,
    add_no_probe,
    add_notify,
    completed_by,
    folder_options,
    usual_config_dir,
)
from certbot_qiniu.command.jobs import certbot_jobs, plugins, scheduled_jobs
from certbot_qiniu.command.jobs.certbot_jobs import Use, Wanted, sentence, use
from certbot_qiniu.command.jobs.scheduled_jobs import OWN_NAME, SYSTEMD_FOLDER
from certbot_qiniu.command.survey import metrics
from certbot_qiniu.environment import program
from certbot_qiniu.lineages import Renewal, read_renewals

SYSTEMD_RUNS = Path("/run/systemd/system")
"""Exists if, and only if, systemd is the init (``sd_booted(3)``)."""
CRON_FILE = Path("/etc/cron.d") / OWN_NAME
SECONDS = 60
MARKS = {"--notify": "--notify=", "--heartbeat": "--heartbeat=", "--prometheus": "--prometheus=",
         "--no-probe": "--no-probe", "--on-failure": "OnFailure="}
"""The options of which a unit or cron file tells whether they were given, and by what."""

NOTIFY_FILE, HEARTBEAT_FILE, ENVIRONMENT_FILE = "notify", "heartbeat", "environment"

MARK = "# Written by certbot-qiniu install-timer"
"""The beginning of our files, which distinguishes them from others of the same name."""

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
FILES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
VARIABLES = (*PROXIES, *map(str.lower, PROXIES), *FILES)
"""The variables that a shell may set for programs that use the network."""

_TIMER = MARK + """. For changes of your own: systemctl edit {name}.timer
[Unit]
Description=Renew certificates twice a day and deploy them to Qiniu Cloud

[Timer]
OnCalendar=*-*-* 03,15:17:00
RandomizedDelaySec=1h
Persistent=true

[Install]
WantedBy=timers.target
"""

_SERVICE = MARK + """. For changes of your own: systemctl edit {name}.service
[Unit]
Description=Renew certificates, deploy them to Qiniu Cloud and nginx, and report what is wrong
Wants=network-online.target
After=network-online.target
{on_failure}
[Service]
Type=oneshot
EnvironmentFile=-{environment}
ExecStart={renew}
# certbot may take six hours; the command itself enforces its limits.
TimeoutStartSec=7h
# The command passes the signal on: certbot would take a second one for an order to go back. And a
# web server that certbot or a hook has started outlives this.
KillMode=process
# No sandbox: this renews every lineage of the machine. What a hook, an authenticator or a web
# server's reload cannot reach fails, and certbot then drops the plugin from the renewal conf.
"""

_CRON = MARK + """
# Renew certificates, deploy them to Qiniu Cloud and nginx, and report what is wrong.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("--print", action="store_true", dest="print_only",
                        help="only show what would be installed")
    completed_by(A_FOLDER, parser.add_argument(
        "--directory", type=Path, metavar="DIR",
        help=f"where to write the units (default: {SYSTEMD_FOLDER}, and enabled at once)"))
    parser.add_argument("--cron", action="store_true",
                        help=f"write {CRON_FILE} instead (default if no systemd runs)")
    parser.add_argument("--on-failure", default="", metavar="UNIT",
                        help="a systemd unit to start when the renewal fails (OnFailure=)")
    completed_by(A_FILE, parser.add_argument(
        "--prometheus", type=absolute_path, metavar="DIR",
        help="the folder of Prometheus' textfile collector: metrics into "
             f"{metrics.FILE} in it after each run (or a file ending in .prom)"))
    add_no_probe(parser)
    add_notify(parser)
    add_heartbeat(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the units or the cron file, and start the timer.

    :raises errors.UsageError: if that is not possible.
    """
    check_heartbeats(url for url in arguments.heartbeat if not url.startswith("@"))
    folder = arguments.config_dir / "qiniu"
    kept = {folder / NOTIFY_FILE: arguments.notify, folder / HEARTBEAT_FILE: arguments.heartbeat}
    notify, heartbeat = (_public(values, path) for path, values in kept.items())
    job = Job(folder / ENVIRONMENT_FILE, folder_options(arguments), notify, heartbeat,
              arguments.on_failure, _metrics_file(arguments.prometheus), arguments.no_probe)
    by_cron = arguments.cron or not (arguments.directory or SYSTEMD_RUNS.exists())
    if by_cron and arguments.on_failure:
        raise errors.UsageError("--on-failure names a unit of systemd, which cron cannot start. "
                                "Use --notify")
    place = CRON_FILE.parent if by_cron else arguments.directory or SYSTEMD_FOLDER
    files = {CRON_FILE: cron(job)} if by_cron else {
        place / name: text for name, text in units(job).items()}
    if arguments.print_only:
        print("\n".join(f"# {path if by_cron else path.name}\n{text}"
                        for path, text in files.items()), end="")
        return 0
    renewals = read_renewals(arguments.config_dir, arguments.given)[0]
    if by_cron or not arguments.directory:
        _refuse_without_plugins(renewals)
    for path, values in kept.items():
        secrets = [value for value in values if not value.startswith("@")]
        if secrets:
            output.write(path, "".join(f"{url}\n" for url in secrets), "--config-dir",
                         folder_mode=0o700)
    _keep_environment(job.environment, os.environ)
    if by_cron and scheduled_jobs.is_busybox():
        raise errors.UsageError(
            f"Nothing runs yet: busybox's cron does not read {CRON_FILE}. Add this line to root's "
            f"own crontab (crontab -e): {cron_line(job)}")
    for path, text in files.items():
        _write(path, text)
    if by_cron or not arguments.directory:
        _name_others(arguments, renewals)
    if by_cron and not scheduled_jobs.cron_runs():
        print("No cron is running here, so nothing runs yet: start one, or run certbot-qiniu loop, "
              "as in a container")
    if by_cron:
        print(f"Try it now: {shlex.join(job.renew)}")
    elif not arguments.directory:
        enable()
        print(f"Try it now: systemctl start {OWN_NAME}")
    return 0


def _metrics_file(path: Path | None) -> Path | None:
    """Return the file that the metrics go into.

    :raises errors.UsageError: if the textfile collector could not read it.
    """
    file = metrics.file_at(path) if path else None
    if file and (file.suffix != ".prom" or not file.parent.is_dir()):
        raise errors.UsageError(
            f"There is no folder {path if file.suffix != '.prom' else file.parent}. Name the one "
            "that node_exporter reads (--collector.textfile.directory; Debian's "
            "prometheus-node-exporter: /var/lib/prometheus/node-exporter), or a file ending in "
            ".prom in it")
    return file


def _name_others(arguments: argparse.Namespace, lineages: Iterable[str]) -> None:
    """Name jobs that undo the timer's work, and how to turn them off."""
    wanted = Wanted(arguments.config_dir, usual_config_dir(), frozenset(lineages))
    for job in certbot_jobs.jobs():
        if use(job, wanted) is Use.LACKS_PLUGIN:
            print(f"{sentence(job, Use.LACKS_PLUGIN)}. Turn it off: {job.scheduled.stop}")


def _refuse_without_plugins(renewals: Mapping[str, Renewal]) -> None:
    """Refuse a timer if a lineage of the machine cannot be renewed here.

    :raises errors.UsageError: if so, with the missing plugins and the command that installs them.
    """
    there = plugins.installed()
    problems = [plugins.sentence(lineage, names) for lineage, names
                in plugins.missing(renewals.values(), there).items()]
    for lineage, renewal in renewals.items():
        other = renewal.settings.other_installer if renewal.is_ours else None
        if other and other not in there:
            problems.append(f"{lineage} has --qiniu-with {other}, and there is no such plugin. "
                            f"Run: {plugins.remedy(other, lineage)}")
    if problems:
        raise errors.UsageError(f"Nothing was installed. {'. '.join(problems)}")


def _public(values: Iterable[str], kept: Path) -> list[str]:
    """Return an option's values for a public file; URLs hold secrets, and go into *kept*."""
    # Without a home, ~ stays as it is: pathlib's expanduser would raise.
    found = [f"@{os.path.abspath(os.path.expanduser(value[1:]))}" if value.startswith("@")
             else f"@{kept}" for value in values]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Job:
    """The command to run.

    :ivar environment: a file with variables for it.
    :ivar options: that name certbot's folders, if they are not the usual ones.
    :ivar notify: the values of ``--notify``; no secrets, as units and cron files are public.
    :ivar heartbeat: the values of ``--heartbeat``, likewise without secrets.
    :ivar on_failure: a unit to start when the run fails, "" for none.
    :ivar prometheus: the file for metrics, None for none.
    :ivar no_probe: whether the edge is not asked.
    """

    environment: Path
    options: Sequence[str] = ()
    notify: Sequence[str] = ()
    heartbeat: Sequence[str] = ()
    on_failure: str = ""
    prometheus: Path | None = None
    no_probe: bool = False

    @property
    def renew(self) -> list[str]:
        """The command."""
        return [program("certbot-qiniu"), "renew", "--quiet", *self.options,
                *["--no-probe"] * self.no_probe,
                *[f"--prometheus={self.prometheus}"] * bool(self.prometheus),
                *(f"--notify={value}" for value in self.notify),
                *(f"--heartbeat={value}" for value in self.heartbeat)]


def units(job: Job) -> dict[str, str]:
    """Return the units by file name."""
    return {
        f"{OWN_NAME}.service": _SERVICE.format(
            name=OWN_NAME, environment=_escaped(str(job.environment)),
            on_failure=f"OnFailure={job.on_failure}\n" if job.on_failure else "",
            renew=" ".join(map(_argument, job.renew))),
        f"{OWN_NAME}.timer": _TIMER.format(name=OWN_NAME)}


def cron(job: Job) -> str:
    """Return the file for ``/etc/cron.d``, for a machine without systemd."""
    return _CRON + cron_line(job, "root ") + "\n"


def cron_line(job: Job, user: str = "") -> str:
    """Return the line for cron; its time differs by machine, so that not all ask at once.

    :param user: with a blank, if the line must name one.
    """
    spread = int.from_bytes(hashlib.sha256(_machine().encode()).digest()[:4], "big")
    hour, minute = divmod(spread % (12 * 60), 60)
    file = shlex.quote(str(job.environment))

    def in_cron(command: str) -> str:
        return command.replace("%", r"\%")  # cron's sign for a new line

    environment = f"if [ -r {file} ]; then set -a; . {file}; set +a; fi; "
    return (f"{minute} {hour},{hour + 12} * * * {user}"
            f"{in_cron(environment + shlex.join(job.renew))}")


def _machine() -> str:
    """Return a text that differs from that of other machines, even of the same image."""
    try:
        number = Path("/etc/machine-id").read_text(encoding="ascii")
    except OSError:
        number = ""
    return f"{socket.gethostname()} {number}"


def _argument(text: str) -> str:
    """Return *text* as one word of a command in a unit, in which variables are replaced."""
    return _word(text.replace("$", "$$"))


def _word(text: str) -> str:
    """Return *text* as one word in a unit."""
    escaped = _escaped(text)
    if escaped and not set(escaped) & set(" \t\"'\\;"):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    """Return *text* with systemd's specifiers escaped."""
    return text.replace("%", "%%")


# Files ------------------------------------------------------------------------------------------


def _write(path: Path, text: str) -> None:
    """Write one of our files; rename a file that somebody else has put there.

    :raises errors.UsageError: if that is not possible.
    """
    is_ours, before = False, ""
    with contextlib.suppress(OSError):
        before = path.read_text(encoding="utf-8", errors="replace")
        is_ours = before.startswith(MARK) and not path.is_symlink()
        if is_ours and before == text:
            print(f"Unchanged: {path}")
            return
    if os.path.lexists(path) and not is_ours:
        kept = _free_name(path)
        try:
            path.rename(kept)
        except OSError as error:
            raise errors.UsageError(f"Could not rename {path}: {error.strerror}. Run this as root, "
                                    "or name another --directory") from error
        print(f"Kept: {path}, which was not written by this program, as {kept}")
    # It has no secrets, and systemd wants it readable.
    output.write(path, text, "--directory", mode=0o644)
    print(f"Written: {path}")
    lost = [option for option, mark in MARKS.items() if is_ours and mark in before
            and mark not in text]
    if lost:
        print(f"No longer in it: {', '.join(lost)}. Name all that you want in one command")


def _free_name(path: Path) -> Path:
    """Return a name next to *path* that neither systemd nor any cron takes for its own."""
    names = (path.with_name(f"{path.name}.before{number or ''}~") for number in range(10**6))
    return next(name for name in names if not os.path.lexists(name))


def _keep_environment(path: Path, environment: Mapping[str, str]) -> None:
    """Store this shell's variables for the network, and keep those that were stored before.

    :raises errors.UsageError: if that is not possible.
    """
    found = {name: os.path.abspath(value) if name in FILES else value
             for name in VARIABLES if (value := environment.get(name))}
    if not found:
        return
    try:
        before = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        before = []
    lines = [line for line in before if line.partition("=")[0] not in found]
    lines += [f"{name}={_quoted(value)}" for name, value in found.items()]
    if lines != before:
        output.write(path, "".join(f"{line}\n" for line in lines), "--config-dir",
                     folder_mode=0o700)
    print(f"Taken over from this shell: {', '.join(found)}, in {path}, which only root can read")


def _quoted(value: str) -> str:
    """Return *value* quoted for a shell and systemd alike."""
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def enable() -> None:
    """Make systemd read the units and start the timer.

    :raises errors.UsageError: if that fails.
    """
    for arguments in (["daemon-reload"], ["enable", "--now", f"{OWN_NAME}.timer"]):
        command = ["systemctl", *arguments]
        try:
            done = subprocess.run(  # noqa: S603 (fixed words)
                command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise errors.UsageError(f"Could not run {shlex.join(command)}: {error}") from error
        if done.returncode:
            raise errors.UsageError(f"{shlex.join(command)} failed: {done.stderr.strip()}")


COMMAND = Command("install-timer", "run certbot-qiniu renew twice a day, by systemd or cron",
                  add_arguments, run)
