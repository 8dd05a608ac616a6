"""Find what systemd's timers and cron run here by themselves, whatever it is.

systemd is asked for its timers. Crontabs count only if there is a cron that reads them.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import shlex
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from certbot_qiniu.command.jobs.command_lines import Place, crontab

logger = logging.getLogger(__name__)

OWN_NAME = "certbot-qiniu"
"""The stem of our own units, and the name of our own crontab."""

SYSTEMD_FOLDER = Path("/etc/systemd/system")
ROOT = Path("/")
SECONDS = 60
BOOTED = "run/systemd/system"
"""Exists if, and only if, systemd is the init (``sd_booted(3)``)."""

SYSTEMD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CRON_PATH = "/usr/bin:/bin"
"""The folders in which both look for programs by default."""

CRONS = frozenset({"cron", "crond", "fcron", "anacron", "dcron"})
COMMANDS = ("ExecStartPre", "ExecStart", "ExecStartPost", "ExecStopPost")
SCRIPT_BYTES = 65_536

Idle = tuple[str, str]
"""A reason why something never runs, and the way to change that; :data:`RUNS` for none."""

RUNS: Idle = ("", "")


@dataclass(frozen=True)
class Scheduled:
    """A command, or a script, that is run by itself, or would be.

    :ivar path: the file that says so.
    :ivar idle: why it never runs, "" if it does.
    :ivar revive: how to change that.
    :ivar timer: the timer that starts it, "" for what cron runs.
    :ivar line: its number in a crontab, 0 for a script.
    :ivar schedule: when a crontab has it run.
    :ivar crontab_of: the user whose own crontab it stands in, "" for none.
    """

    text: str
    place: Place
    user: str
    path: Path
    idle: str = ""
    revive: str = ""
    timer: str = ""
    line: int = 0
    schedule: str = ""
    crontab_of: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether ``certbot-qiniu install-timer`` has written it."""
        return (self.timer or self.path.name).removesuffix(".timer") == OWN_NAME

    @property
    def where(self) -> str:
        """The place where it stands, in words."""
        return self.timer or (f"{self.path} (line {self.line})" if self.line else str(self.path))

    @property
    def stop(self) -> str:
        """The way to turn it off."""
        if self.timer:
            return f"systemctl disable --now {shlex.quote(self.timer)}"
        if self.crontab_of:  # crontab -e shows it without its head, so that numbers do not fit
            return f"Remove it: crontab -e -u {shlex.quote(self.crontab_of)}"
        return (f"Remove line {self.line} of {self.path}" if self.line else
                f"chmod a-x {shlex.quote(str(self.path))}")

    def lines(self) -> list[tuple[int, str]]:
        """Return its lines that are no comments, with their numbers."""
        return lines_of(self.text)


def scheduled_jobs() -> Iterator[Scheduled]:
    """Return all that is run by itself, or would be."""
    booted = (ROOT / BOOTED).exists()
    for command in (*(_timers() if booted else ()), *_cron()):
        if booted and re.search(r"-d\s+/run/systemd/system\b", command.text):
            yield replace(command, idle="it leaves that to systemd", revive="")
        else:
            yield command


def lines_of(text: str) -> list[tuple[int, str]]:
    """Return the lines of a script that are no comments, with their numbers."""
    return [(number, line) for number, line in enumerate(text.splitlines(), 1)
            if not line.lstrip().startswith("#")]


def read_script(paths: Sequence[str], errors: str = "strict") -> str:
    """Read the first of *paths* that exists; "" if it is no text.

    :param errors: for what is neither UTF-8 nor a script; "replace" if it is text in any case.
    """
    for path in paths:
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                continue
            if found.st_size > SCRIPT_BYTES:
                return ""
            content = Path(path).read_bytes().replace(b"\r\n", b"\n")
            # A comment in a script may be in any encoding, as GBK.
            return content.decode(errors="replace" if content.startswith(b"#!") else errors)
        except OSError:
            continue
        except UnicodeDecodeError:
            return ""
    return ""


# systemd ----------------------------------------------------------------------------------------


def _timers() -> Iterator[Scheduled]:
    """Ask systemd for the commands of the timers: it includes drop-ins, but no quotation marks."""
    listed = (_systemctl("list-unit-files", "--type=timer")
              + _systemctl("list-units", "--all", "--type=timer"))
    names = sorted({line.split()[0] for line in listed.splitlines()
                    if line.strip() and "@." not in line.split()[0]})
    timers = _shown(names, "LoadState", "ActiveState", "SubState", "UnitFileState", "Unit")
    services = _shown({timer["Unit"] for timer in timers.values() if timer.get("Unit")},
                      "LoadState", "FragmentPath", *COMMANDS, "Environment", "User",
                      "WorkingDirectory")
    for name, timer in timers.items():
        service = services.get(timer.get("Unit", ""), {})
        idle = _why_idle(name, timer)
        folder = service.get("WorkingDirectory", "").lstrip("-!") or "/"
        place = Place({"PATH": SYSTEMD_PATH}, folder)
        for word in _words(service.get("Environment")):
            place = place.after(word)
        told = "\n".join(service.get(name, "") for name in COMMANDS)
        for text in re.findall(r"argv\[\]=(.*?) ; ignore_errors=", told):
            yield Scheduled(text, place, service.get("User") or "root", Path(
                service.get("FragmentPath") or timer["Unit"]), *idle, timer=name)


def _why_idle(name: str, timer: Mapping[str, str]) -> Idle:
    """Say why a timer starts nothing."""
    quoted = shlex.quote(name)
    start = f"systemctl enable --now {quoted}"
    if timer.get("LoadState") == "masked":
        return "it is masked", f"systemctl unmask {quoted} && {start}"
    if timer.get("UnitFileState") == "disabled":
        running = timer.get("ActiveState") == "active"
        return ("it ends with the next boot" if running else "it is disabled"), start
    if timer.get("ActiveState") != "active":
        return "it is not started", start
    if timer.get("SubState") == "elapsed":
        return "it was for one time only", ""
    return RUNS


def _words(text: str | None) -> list[str]:
    try:
        return shlex.split(text or "")
    except ValueError:
        return (text or "").split()


def _shown(units: Iterable[str], *properties: str) -> dict[str, dict[str, str]]:
    """Ask systemd for the properties of each unit; several lines of a property become one."""
    names = sorted(units)
    if not names:
        return {}
    text = _systemctl("show", f"--property={','.join(('Id', *properties))}", "--", *names)
    found = {}
    for block in text.split("\n\n"):
        facts: dict[str, str] = {}
        for line in block.splitlines():
            name, sign, value = line.partition("=")
            if sign:
                facts[name] = f"{facts[name]}\n{value}" if name in facts else value
        if facts.get("Id"):
            found[facts["Id"]] = facts
    return found


def _systemctl(*arguments: str) -> str:
    return output_of(["systemctl", "--no-pager", "--no-legend", "--plain", *arguments])


def output_of(command: Sequence[str]) -> str:
    """Return the output of a program, "" if it cannot be run."""
    try:
        # Not in a folder into which somebody else could put a Python module.
        return subprocess.run(  # noqa: S603 (systemctl, and what root runs anyway)
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=SECONDS, check=False, cwd="/").stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.info("%s could not be run: %s", command[0], error)
        return ""


# cron -------------------------------------------------------------------------------------------


def _cron() -> Iterator[Scheduled]:
    """Find the commands of crontabs and of the folders of daily scripts."""
    etc, debian = ROOT / "etc", (ROOT / "etc" / "debian_version").exists()
    idle = RUNS if cron_runs() else ("no cron is running", "Start cron")
    unread = idle
    if is_busybox():
        unread = ("busybox's cron does not read it", "Move it to root's own crontab: crontab -e")
    for path in files_in([etc / "crontab", etc / "cron.d"]):
        yield from _crontab(path, "", unread if unread != RUNS else _ignored(
            path, debian=debian and path.parent != etc))
    spool = ROOT / "var/spool/cron"  # "tabs" on SUSE
    for path in files_in([spool / "crontabs", spool / "tabs", spool, etc / "crontabs"]):
        yield from _crontab(path, path.name, idle)
    yield from _crontab(etc / "anacrontab", "root", unread, fields=3)
    folders = [*sorted(etc.glob("cron.*ly")), *sorted((etc / "periodic").glob("*"))]
    for path in files_in(folders):
        why = idle if path.parent.parent.name == "periodic" else unread
        if why == RUNS:
            why = _ignored(path, debian=debian)
        if why == RUNS and not os.access(path, os.X_OK):
            why = "it is not executable", f"chmod a+x {shlex.quote(str(path))}"
        yield Scheduled(read_script([str(path)]), Place({"PATH": SYSTEMD_PATH}), "root", path, *why)


def _crontab(path: Path, user: str, idle: Idle, *, fields: int = 5) -> Iterator[Scheduled]:
    # busybox's crond, with its crontabs below /etc, uses the PATH of the system.
    default = SYSTEMD_PATH if path.resolve().parent.parent.name == "etc" and user else CRON_PATH
    for line in crontab(read_script([str(path)], "replace"), user, fields=fields):
        place = Place({"PATH": default, "HOME": _home(line.user), **line.variables})
        why = ("it runs only at boot", "") if idle == RUNS and line.at_boot else idle
        yield Scheduled(line.command, place, line.user, path, *why, line=line.number,
                        schedule=line.schedule, crontab_of=user if fields == 5 else "")


def _home(user: str) -> str:
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return "/"


def files_in(places: Iterable[Path]) -> list[Path]:
    """List the files at *places* and in the folders there, each once."""
    found: dict[Path, Path] = {}
    for place in places:
        try:
            inside = sorted(place.iterdir()) if place.is_dir() else [place]
        except PermissionError:
            continue  # root sees all
        found.update({path.resolve(): path for path in reversed(inside) if path.is_file()})
    return sorted(found.values())


def _ignored(path: Path, *, debian: bool) -> Idle:
    """Say why cron ignores a file."""
    is_strict = debian or path.parent.parent.name == "periodic"  # busybox's run-parts, too
    if path.name.endswith(("~", ".rpmsave", ".rpmorig", ".rpmnew")) or path.name[0] in ".#" or (
            is_strict and not re.fullmatch(r"[\w-]+", path.name, re.ASCII)):
        return "cron ignores files of such a name", "Give it a name of letters, digits, - and _"
    if path.parent.name == "cron.d":
        quoted = shlex.quote(str(path))
        if path.stat().st_mode & 0o022:
            return "cron ignores a file that others can change", f"chmod go-w {quoted}"
        if debian and not read_script([str(path)], "replace").endswith("\n"):
            return "cron ignores a file whose last line has no end", f"echo >> {quoted}"
    return RUNS


def is_busybox() -> bool:
    """Return whether cron is busybox's, as on Alpine: it reads only users' crontabs."""
    crond = ROOT / "usr/sbin/crond"
    return os.path.basename(os.path.realpath(crond)) == "busybox"


def cron_runs() -> bool:
    """Return whether a cron runs, as far as that can be seen."""
    names = set()
    for path in ROOT.glob("proc/[0-9]*/comm"):
        try:
            names.add(path.read_text(encoding="utf-8", errors="replace").strip())
        except OSError:
            continue  # it has ended
    return bool(names & CRONS) or os.geteuid() != 0
