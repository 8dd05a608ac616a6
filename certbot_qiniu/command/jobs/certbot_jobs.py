"""Find all that runs ``certbot renew`` by itself here, and what that certbot can deploy to."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pwd
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from certbot_qiniu.command.jobs import plugins, scheduled_jobs
from certbot_qiniu.command.jobs.command_lines import SNAP, Call, Read, calls
from certbot_qiniu.command.jobs.scheduled_jobs import Scheduled
from certbot_qiniu.environment import program
from certbot_qiniu.files import others_may_change
from certbot_qiniu.lineages import INSTALLER
from certbot_qiniu.text import printable

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

    :ivar scheduled: the command or script that calls certbot.
    :ivar program: the certbot that it runs; "" if none of that name exists.
    :ivar plugins: of that certbot; None if that is not known.
    """

    scheduled: Scheduled
    call: Call
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
            or not (job.scheduled.user in ("root", _owner(wanted.config_dir)) or job.call.as_root)
            or not (job.call.option("--config") or job.call.option("-c")
                    or Path(folder or wanted.usual) == wanted.config_dir)):
        return Use.OTHER
    if job.scheduled.idle:
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
    return printable(f"{job.scheduled.where} " + {
        Use.RENEWS: f"runs {command}",
        Use.LACKS_PLUGIN: f"runs {command}, which has no plugin {INSTALLER}: what it renews does "
                          f"not reach Qiniu, and its renewal conf loses installer = {INSTALLER}",
        Use.NOT_KNOWN: f"runs {command}{f' in {job.call.elsewhere}' * bool(job.call.elsewhere)}; "
                       f"whether that has the plugin {INSTALLER} is not known",
        Use.NOT_FOUND: f"runs {command}, which is not found in {job.call.place.path}",
        Use.IDLE: f"would run {command}, but {job.scheduled.idle}",
        Use.REHEARSES: f"only rehearses: {command} --dry-run",
        Use.OTHER: f"runs {command} as {job.scheduled.user}, which renews nothing of this",
    }[found])


def _owner(folder: Path) -> str:
    try:
        return folder.owner()
    except (OSError, KeyError):
        return "root"


def jobs() -> list[Job]:
    """Return all that runs ``certbot renew`` by itself, or would."""
    return [_job(command, call) for command in scheduled_jobs.scheduled_jobs()
            for call in calls(command.text, command.place, _once(scheduled_jobs.read_script))]


def _job(command: Scheduled, call: Call) -> Job:
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
    return Job(command, call, path, found)


def _once(read: Read) -> Read:
    """Return *read* for each script once: scripts may run each other for ever."""
    seen: set[str] = set()

    def first_time(paths: Sequence[str]) -> str:
        fresh = [path for path in paths if path not in seen]
        seen.update(paths)
        return read(fresh) if fresh == list(paths) else ""

    return first_time


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
    if python and (found := scheduled_jobs.output_of([python, "-c", LIST_PLUGINS]).split()):
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
        text = scheduled_jobs.output_of([certbot, "plugins", *(
            word for kind in ("config", "work", "logs")
            for word in (f"--{kind}-dir", f"{folder}/{kind}"))])
    return frozenset(re.findall(r"^\* (\S+)$", text, re.MULTILINE)) or None
