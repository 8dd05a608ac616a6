"""``certbot-qiniu install-timer``: run ``certbot renew`` twice a day, and then tell.

By systemd units, or by a line for cron.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.command import output
from certbot_qiniu.command.alerts import check_heartbeats
from certbot_qiniu.command.arguments import (
    A_FILE,
    A_FOLDER,
    Command,
    add_heartbeat,
    add_notify,
    completed_by,
    folder_options,
)
from certbot_qiniu.command.scheduled_jobs import OWN_NAME, SYSTEMD_FOLDER, program
from certbot_qiniu.lineages import read_renewals

SYSTEMD_RUNS = Path("/run/systemd/system")
"""There exactly where systemd is the init (``sd_booted(3)``)."""
CRON_FILE = Path("/etc/cron.d") / OWN_NAME
SECONDS = 60
NOTIFY_FILE, HEARTBEAT_FILE = "notify", "heartbeat"

_TIMER = """\
[Unit]
Description=Renew certificates twice a day and deploy them to Qiniu Cloud

[Timer]
OnCalendar=*-*-* 03,15:17:00
RandomizedDelaySec=1h
Persistent=true

[Install]
WantedBy=timers.target
"""

_SERVICE = """\
[Unit]
Description=Renew certificates, deploy them to Qiniu Cloud and nginx, and tell what is wrong
Wants=network-online.target
After=network-online.target
{on_failure}
[Service]
Type=oneshot
ExecStart={renew}
# After a failed renewal, too: $SERVICE_RESULT says how it ended.
ExecStopPost={status}
TimeoutStartSec=2h

NoNewPrivileges=true
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome=read-only
PrivateTmp=true
PrivateDevices=true
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
SystemCallArchitectures=native
"""

_CRON = """\
# Renew certificates, deploy them to Qiniu Cloud and nginx, and tell what is wrong.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
17 3,15 * * * root {renew}; {status}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument("--print", action="store_true", dest="print_only",
                        help="only show what would be installed")
    completed_by(A_FOLDER, parser.add_argument(
        "--directory", type=Path, metavar="DIR",
        help=f"where to write the units (default: {SYSTEMD_FOLDER}, and enabled at once)"))
    parser.add_argument("--cron", action="store_true",
                        help=f"write {CRON_FILE} instead (default where no systemd runs)")
    completed_by(A_FILE, parser.add_argument(
        "--writable", action="append", default=[], metavar="PATH",
        help="what else a renewal must be able to write to, for example what your deploy hooks "
             "write (repeatable; webroots are found)"))
    parser.add_argument("--on-failure", default="", metavar="UNIT",
                        help="a systemd unit to start when the renewal fails (OnFailure=)")
    add_notify(parser)
    add_heartbeat(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the units or the cron file, and start the timer.

    :raises errors.UsageError: when that is not possible.
    """
    renewals = read_renewals(arguments.config_dir, arguments.given)[0].values()
    check_heartbeats(url for url in arguments.heartbeat if not url.startswith("@"))
    folder = arguments.config_dir / "qiniu"
    kept = {folder / NOTIFY_FILE: arguments.notify, folder / HEARTBEAT_FILE: arguments.heartbeat}
    notify, heartbeat = (_public(values, path) for path, values in kept.items())
    job = Job(
        (arguments.config_dir, arguments.work_dir, arguments.logs_dir), folder_options(arguments),
        notify,
        [*dict.fromkeys(path for renewal in renewals for path in renewal.webroots),
         *arguments.writable], arguments.on_failure, heartbeat)
    by_cron = arguments.cron or not (arguments.directory or SYSTEMD_RUNS.exists())
    if arguments.print_only:
        files = {str(CRON_FILE): cron(job)} if by_cron else units(job)
        print("\n".join(f"# {name}\n{text}" for name, text in files.items()), end="")
        return 0
    for path, values in kept.items():
        secrets = [value for value in values if not value.startswith("@")]
        if secrets:
            output.write(path, "".join(f"{url}\n" for url in secrets), "--config-dir",
                         folder_mode=0o700)
    if by_cron:
        written = [write_cron(job)]
    else:
        written = write_units(job, arguments.directory or SYSTEMD_FOLDER)
        if not arguments.directory:
            enable()
    print(f"Written: {', '.join(map(str, written))}")
    return 0


def _public(values: Iterable[str], kept: Path) -> list[str]:
    """The values of an option for a public file: URLs, which hold secrets, go into *kept*."""
    found = [f"@{Path(value[1:]).expanduser().absolute()}" if value.startswith("@") else f"@{kept}"
             for value in values]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Job:
    """What is to be run.

    :ivar folders: certbot's configuration, work and log folder, as options where unusual.
    :ivar notify: the values of ``--notify``; no secrets, as units and cron files are public.
    :ivar writable: what else a renewal writes to, such as a webroot.
    :ivar on_failure: a unit to start when the run fails, "" for none.
    :ivar heartbeat: the values of ``--heartbeat``, likewise without secrets.
    """

    folders: Sequence[Path]
    options: Sequence[str] = ()
    notify: Sequence[str] = ()
    writable: Sequence[str] = ()
    on_failure: str = ""
    heartbeat: Sequence[str] = ()

    @property
    def renew(self) -> list[str]:
        """The renewal; whatever runs it spreads the load already, so it must not sleep."""
        return [program("certbot"), "renew", "--quiet", "--no-random-sleep-on-renew",
                *self.options]

    @property
    def status(self) -> list[str]:
        """What is run after it, up to the option that gets its result."""
        return [program("certbot-qiniu"), "status", "--quiet", *self.options,
                *(f"--notify={value}" for value in self.notify),
                *(f"--heartbeat={value}" for value in self.heartbeat)]


def units(job: Job) -> dict[str, str]:
    """The units by file name."""
    # nginx's own test and reload write to its log, pid and temporary files.
    writable = [*map(str, job.folders), "-/run", "-/var/log/nginx", "-/var/lib/nginx",
                *(f"-{path}" for path in job.writable)]
    result = "--renewal=${SERVICE_RESULT}"
    return {
        f"{OWN_NAME}.service": _SERVICE.format(
            on_failure=f"OnFailure={job.on_failure}\n" if job.on_failure else "",
            renew=" ".join(map(_argument, job.renew)),
            status=" ".join([*map(_argument, job.status), result]),
            writable=" ".join(map(_word, writable))),
        f"{OWN_NAME}.timer": _TIMER}


def cron(job: Job) -> str:
    """The file for ``/etc/cron.d``, where there is no systemd."""
    def line(arguments: Sequence[str]) -> str:
        return shlex.join(arguments).replace("%", r"\%")  # cron's sign for a new line

    return _CRON.format(renew=line(job.renew), status=f"{line(job.status)} --renewal=$?")


def _argument(text: str) -> str:
    """*text* as one word of a command in a unit, where variables are replaced."""
    return _word(text.replace("$", "$$"))


def _word(text: str) -> str:
    """*text* as one word in a unit."""
    escaped = text.replace("%", "%%")
    if escaped and not set(escaped) & set(" \t\"'\\;"):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_units(job: Job, folder: Path) -> list[Path]:
    """Write the units into *folder*.

    :raises errors.UsageError: when that is not possible.
    """
    return [_write(folder / name, text) for name, text in units(job).items()]


def write_cron(job: Job) -> Path:
    """Write the file for cron.

    :raises errors.UsageError: when that is not possible.
    """
    return _write(CRON_FILE, cron(job))


def _write(path: Path, text: str) -> Path:
    # No secrets are in it, and systemd wants it readable.
    return output.write(path, text, "--directory", mode=0o644)


def enable() -> None:
    """Let systemd read the units and start the timer.

    :raises errors.UsageError: when it does not.
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


COMMAND = Command("install-timer", "run certbot renew and status twice a day, by systemd or cron",
                  add_arguments, run)
