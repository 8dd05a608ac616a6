"""Find all that runs ``certbot renew`` by itself here: timers, crontabs, scripts that cron runs.

systemd is asked for its timers. Crontabs count only if there is a cron that reads them.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import pwd
import re
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from certbot_qiniu.command import plugins
from certbot_qiniu.command.command_lines import SNAP, Call, Place, Read, calls, crontab
from certbot_qiniu.environment import program
from certbot_qiniu.files import others_may_change
from certbot_qiniu.lineages import INSTALLER
from certbot_qiniu.text import printable

logger = logging.getLogger(__name__)

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
SNAPS = re.compile(r"/snapd?(/|$)")
"""Part of the real path of programs from snap."""

LIST_PLUGINS = f"""\
from importlib.metadata import entry_points
found = entry_points()
found = found.select(group={plugins.GROUP!r}) if hasattr(found, 'select') else found.get(
    {plugins.GROUP!r}, ())
print(*(entry.name for entry in found))"""


@dataclass(frozen=True)
class Job:
    """Something that runs ``certbot renew``, or would.

    :ivar where: its place, in words.
    :ivar stop: how to turn it off.
    :ivar idle: why it never runs, "" if it does.
    :ivar revive: how to change that.
    :ivar program: the certbot that it runs; "" if none of that name exists.
    :ivar plugins: of that certbot; None if that is not known.
    """

    where: str
    stop: str
    call: Call
    user: str = "root"
    idle: str = ""
    revive: str = ""
    program: str = ""
    plugins: frozenset[str] | None = None


class Use(Enum):
    """The use of a job."""

    RENEWS = "renews"
    LACKS_PLUGIN = "lacks the plugin"
    NOT_KNOWN = "not known"
    NOT_FOUND = "not found"
    IDLE = "idle"
    REHEARSES = "rehearses"
    OTHER = "other"


@dataclass(frozen=True)
class Wanted:
    """The lineages that are to be renewed.

    :ivar config_dir: the folder of certbot's configuration.
    :ivar usual: certbot's folder by default.
    :ivar lineages: those that are deployed to Qiniu.
    """

    config_dir: Path
    usual: Path
    lineages: frozenset[str]


def use(job: Job, wanted: Wanted) -> Use:
    """Judge the use of *job*."""
    if job.call.rehearses:
        return Use.REHEARSES
    folder = job.call.option("--config-dir")
    name = job.call.option("--cert-name")
    if ((name and name not in wanted.lineages)
            or not (job.user in ("root", _owner(wanted.config_dir)) or job.call.as_root)
            or not (job.call.option("--config") or job.call.option("-c")
                    or Path(folder or wanted.usual) == wanted.config_dir)):
        return Use.OTHER
    if job.idle:
        return Use.IDLE
    if job.call.elsewhere:
        return Use.NOT_KNOWN
    if not job.program:
        return Use.NOT_FOUND
    if job.plugins is None:
        return Use.NOT_KNOWN
    return Use.RENEWS if INSTALLER in job.plugins else Use.LACKS_PLUGIN


def sentence(job: Job, found: Use) -> str:
    """Describe the use of *job*."""
    name = job.call.option("--cert-name")
    module = f" -m {job.call.module}" if job.call.module else ""
    only = f" only for {name}" if name else ""
    command = f"{job.program or job.call.program}{module} renew{only}"
    if job.call.program == SNAP:
        command = "the certbot of snap"
    return printable(f"{job.where} " + {
        Use.RENEWS: f"runs {command}",
        Use.LACKS_PLUGIN: f"runs {command}, which has no plugin {INSTALLER}: what it renews does "
                          f"not reach Qiniu, and its renewal conf loses installer = {INSTALLER}",
        Use.NOT_KNOWN: f"runs {command}{f' in {job.call.elsewhere}' * bool(job.call.elsewhere)}; "
                       f"whether that has the plugin {INSTALLER} is not known",
        Use.NOT_FOUND: f"runs {command}, which is not found in {job.call.place.path}",
        Use.IDLE: f"would run {command}, but {job.idle}",
        Use.REHEARSES: f"only rehearses: {command} --dry-run",
        Use.OTHER: f"runs {command} as {job.user}, which renews nothing of this",
    }[found])


def _owner(folder: Path) -> str:
    try:
        return folder.owner()
    except (OSError, KeyError):
        return "root"


@dataclass(frozen=True)
class _Command:
    """A command that something runs by itself."""

    where: str
    stop: str
    text: str
    place: Place
    user: str
    idle: str = ""
    revive: str = ""


_Idle = tuple[str, str] | None
"""The reason why something never runs, and how to change that; None if it does run."""


def jobs(root: Path | None = None) -> list[Job]:
    """Return all that runs ``certbot renew`` by itself, or would.

    :param root: of the file system.
    """
    root = root or ROOT
    booted = (root / BOOTED).exists()
    found = []
    for command in (*(_timers() if booted else ()), *_cron(root)):
        if booted and re.search(r"-d\s+/run/systemd/system\b", command.text):
            command = replace(command, idle="it leaves that to systemd", revive="")
        found += [_job(command, call)
                  for call in calls(command.text, command.place, _once(_read_script))]
    return found


def _job(command: _Command, call: Call) -> Job:
    """Return the job that *call* is, with the program that it leads to."""
    if call.program == SNAP:
        path, found = SNAP, frozenset[str]()  # nothing from pip is ever in a snap
    elif call.elsewhere:
        path, found = "", None
    else:
        path = next((one for one in call.place.candidates(call.program)
                     if os.access(one, os.X_OK) and os.path.isfile(one)), "")
        # Root does not run another user's program.
        may_ask = path and command.user in ("root", pwd.getpwuid(os.geteuid()).pw_name)
        found = plugins_of(path) if may_ask else None
    return Job(command.where, command.stop, call, command.user, command.idle, command.revive,
               path, found)


def _once(read: Read) -> Read:
    """Return *read* for each script once: scripts may run each other for ever."""
    seen: set[str] = set()

    def first_time(paths: Sequence[str]) -> str:
        fresh = [path for path in paths if path not in seen]
        seen.update(paths)
        return read(fresh) if fresh == list(paths) else ""

    return first_time


def _read_script(paths: Sequence[str]) -> str:
    """Read the first of *paths* that exists; "" if it is no text."""
    for path in paths:
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                continue
            if found.st_size > SCRIPT_BYTES:
                return ""
            return Path(path).read_text(encoding="utf-8")
        except OSError:
            continue
        except UnicodeDecodeError:
            return ""
    return ""


# systemd ----------------------------------------------------------------------------------------


def _timers() -> Iterator[_Command]:
    """Ask systemd for the commands of the timers: it includes drop-ins, but no quotation marks."""
    listed = (_systemctl("list-unit-files", "--type=timer")
              + _systemctl("list-units", "--all", "--type=timer"))
    names = sorted({line.split()[0] for line in listed.splitlines()
                    if line.strip() and "@." not in line.split()[0]})
    timers = _shown(names, "LoadState", "ActiveState", "SubState", "UnitFileState", "Unit")
    services = _shown({timer["Unit"] for timer in timers.values() if timer.get("Unit")},
                      "LoadState", *COMMANDS, "Environment", "User", "WorkingDirectory")
    for name, timer in timers.items():
        service = services.get(timer.get("Unit", ""), {})
        idle = _why_idle(name, timer)
        folder = service.get("WorkingDirectory", "").lstrip("-!") or "/"
        place = Place({"PATH": SYSTEMD_PATH}, folder)
        for word in _words(service.get("Environment")):
            place = place.after(word)
        told = "\n".join(service.get(name, "") for name in COMMANDS)
        for text in re.findall(r"argv\[\]=(.*?) ; ignore_errors=", told):
            yield _Command(name, f"systemctl disable --now {name}", text, place,
                           service.get("User") or "root", *idle or ())


def _why_idle(name: str, timer: Mapping[str, str]) -> _Idle:
    """Say why a timer starts nothing."""
    start = f"systemctl enable --now {name}"
    if timer.get("LoadState") == "masked":
        return "it is masked", f"systemctl unmask {name} && {start}"
    if timer.get("UnitFileState") == "disabled":
        running = timer.get("ActiveState") == "active"
        return ("it ends with the next boot" if running else "it is disabled"), start
    if timer.get("ActiveState") != "active":
        return "it is not started", start
    if timer.get("SubState") == "elapsed":
        return "it was for one time only", ""
    return None


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
    return _output(["systemctl", "--no-pager", "--no-legend", "--plain", *arguments])


def _output(command: Sequence[str]) -> str:
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


def _cron(root: Path) -> Iterator[_Command]:
    """Find the commands of crontabs and of the folders of daily scripts."""
    etc, debian = root / "etc", (root / "etc" / "debian_version").exists()
    idle = None if _cron_runs(root) else ("no cron is running", "Start cron")
    unread = idle
    if is_busybox(root):
        unread = ("busybox's cron does not read it", "Move it to root's own crontab: crontab -e")
    for path in _files([etc / "crontab", etc / "cron.d"]):
        yield from _crontab(path, "", unread or _ignored(
            path, debian=debian and path.parent != etc))
    for path in _files([root / "var/spool/cron/crontabs", root / "var/spool/cron",
                        etc / "crontabs"]):
        yield from _crontab(path, path.name, idle)
    yield from _crontab(etc / "anacrontab", "root", unread, fields=3)
    folders = [*sorted(etc.glob("cron.*ly")), *sorted((etc / "periodic").glob("*"))]
    for path in _files(folders):
        why = idle if path.parent.parent.name == "periodic" else unread
        why = why or _ignored(path, debian=debian)
        if not os.access(path, os.X_OK):
            why = why or ("it is not executable", f"chmod a+x {path}")
        yield _Command(str(path), f"chmod a-x {path}", _read_script([str(path)]),
                       Place({"PATH": SYSTEMD_PATH}), "root", *why or ())


def _crontab(path: Path, user: str, idle: _Idle, *, fields: int = 5) -> Iterator[_Command]:
    # busybox's crond, with its crontabs below /etc, uses the PATH of the system.
    default = SYSTEMD_PATH if path.resolve().parent.parent.name == "etc" and user else CRON_PATH
    for line in crontab(_read_script([str(path)]), user, fields=fields):
        # crontab -e shows a user's crontab without its head, so numbers would not fit there.
        stop = f"Remove it: crontab -e -u {user}" if user and fields == 5 else (
            f"Remove line {line.number} of {path}")
        place = Place({"PATH": default, "HOME": _home(line.user), **line.variables})
        why = idle or (("it runs only at boot", "") if line.at_boot else ())
        yield _Command(f"{path} (line {line.number})", stop, line.command, place, line.user, *why)


def _home(user: str) -> str:
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return "/"


def _files(places: Iterable[Path]) -> list[Path]:
    """List the files at *places* and in the folders there, each once."""
    found: dict[Path, Path] = {}
    for place in places:
        try:
            inside = sorted(place.iterdir()) if place.is_dir() else [place]
        except PermissionError:
            continue  # root sees all
        found.update({path.resolve(): path for path in reversed(inside) if path.is_file()})
    return sorted(found.values())


def _ignored(path: Path, *, debian: bool) -> _Idle:
    """Say why cron ignores a file."""
    is_strict = debian or path.parent.parent.name == "periodic"  # busybox's run-parts, too
    if path.name.endswith(("~", ".rpmsave", ".rpmorig", ".rpmnew")) or path.name[0] in ".#" or (
            is_strict and not re.fullmatch(r"[\w-]+", path.name, re.ASCII)):
        return "cron ignores files of such a name", "Give it a name of letters, digits, - and _"
    if path.parent.name == "cron.d":
        if path.stat().st_mode & 0o022:
            return "cron ignores a file that others can change", f"chmod go-w {path}"
        if debian and not _read_script([str(path)]).endswith("\n"):
            return "cron ignores a file whose last line has no end", f"echo >> {path}"
    return None


def is_busybox(root: Path | None = None) -> bool:
    """Return whether cron is busybox's, as on Alpine: it reads only users' crontabs."""
    crond = (root or ROOT) / "usr/sbin/crond"
    return os.path.basename(os.path.realpath(crond)) == "busybox"


def _cron_runs(root: Path) -> bool:
    """Return whether a cron runs, as far as that can be seen."""
    names = set()
    for path in root.glob("proc/[0-9]*/comm"):
        try:
            names.add(path.read_text(encoding="utf-8", errors="replace").strip())
        except OSError:
            continue  # it has ended
    return bool(names & CRONS) or os.geteuid() != 0


# Plugins ----------------------------------------------------------------------------------------


@functools.cache
def plugins_of(certbot: str) -> frozenset[str] | None:
    """Return the plugins that a certbot has, None if they are unknown.

    A virtual environment is read. Otherwise its Python is asked, which takes a tenth of certbot's
    own time. Nothing is run that another user can change.

    :param certbot: a ``certbot`` or ``certbot-qiniu``, or the Python of a ``python -m certbot``.
    """
    path = os.path.realpath(certbot)
    if path in {os.path.realpath(program(name)) for name in ("certbot", "certbot-qiniu")}:
        return plugins.installed()
    if SNAPS.search(path):
        return frozenset()
    if path.endswith("-auto"):  # it would install packages, and upgrade itself
        return None
    python = _python_of(certbot)
    if python and (found_there := _in_environment(Path(python))):
        return found_there
    if others_may_change(Path(certbot)) or (python and others_may_change(Path(python))):
        return None
    if python and (found := _output([python, "-c", LIST_PLUGINS]).split()):
        return frozenset(found)
    return None if python == certbot else _listed_by(certbot)


def _in_environment(python: Path) -> frozenset[str]:
    """Return the plugins in a virtual environment with certbot; none if it has no certbot."""
    home = python.parent.parent
    if not (home / "pyvenv.cfg").is_file():
        return frozenset()
    found = importlib.metadata.distributions(path=[
        str(path) for path in home.glob("lib*/python*/site-packages")])
    names = {entry.name for one in found for entry in one.entry_points
             if entry.group == plugins.GROUP}
    return frozenset(names if "webroot" in names else ())


def _python_of(certbot: str, depth: int = 0) -> str:
    """Return the Python that runs a script made by pip, "" for any other script."""
    if re.match(r"(python|pypy)[\d.]*$", os.path.basename(certbot)):
        return certbot
    try:
        with open(certbot, "rb") as file:
            text = file.read(1024).decode(errors="replace")
    except OSError:
        return ""
    words = text.partition("\n")[0].removeprefix("#!").split() if text.startswith("#!") else []
    if not words:
        return ""
    name = os.path.basename(words[0])
    if name == "env":
        return words[-1]
    if name.startswith(("python", "pypy")):
        return words[0]
    # If the path of Python is too long or has a blank, pip's script calls it through a shell.
    # Somebody's own script may lead to another certbot.
    if quoted := re.search(r"""^'''exec' (?:"([^"]+)"|(\S+))""", text, re.MULTILINE):
        return quoted[1] or quoted[2]
    named = re.search(r"(/[^\s\"']*/certbot)\b", text)
    return _python_of(named[1], depth + 1) if named and depth < 2 else ""


def _listed_by(certbot: str) -> frozenset[str] | None:
    """Ask a certbot itself, on separate folders, so that no other certbot is in its way."""
    with tempfile.TemporaryDirectory() as folder:
        text = _output([certbot, "plugins", *(
            word for kind in ("config", "work", "logs")
            for word in (f"--{kind}-dir", f"{folder}/{kind}"))])
    return frozenset(re.findall(r"^\* (\S+)$", text, re.MULTILINE)) or None
