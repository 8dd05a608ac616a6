"""``certbot-qiniu adopt``: take over the certificates that another program renews, without a gap.

It says what to do, and writes at most the credentials file. certbot issues a new certificate; the
old one stays in use until the new one has taken its place.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command import output
from certbot_qiniu.command.arguments import (
    A_FILE,
    Command,
    absolute_path,
    completed_by,
    folder_options,
)
from certbot_qiniu.command.jobs import plugins
from certbot_qiniu.command.jobs.scheduled_jobs import (
    Scheduled,
    files_in,
    lines_of,
    read_script,
    scheduled_jobs,
)
from certbot_qiniu.command.setups.old_setups import read_setups
from certbot_qiniu.command.setups.setups import DNS_KEYS, QINIU_KEYS, Setup
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.certificates import MINIMUM_DAYS
from certbot_qiniu.environment import plugin_installation
from certbot_qiniu.lineages import Lineages, read_renewals
from certbot_qiniu.model import DAY, Certificate, covering_name
from certbot_qiniu.text import printable

CREDENTIALS_FILE = "qiniu.ini"
CONFIG_JSON = Path("/etc/ssl-automation/config.json")
UNKNOWN_AUTHENTICATOR = "AUTHENTICATOR"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    completed_by(A_FILE, parser.add_argument(
        "paths", nargs="*", type=absolute_path, metavar="PATH",
        help="a folder of acme.sh or lego, or a config.json with the keys certbot, aliyun, nginx "
             "and qiniu (default: what is found at the usual places)"))
    completed_by(A_FILE, parser.add_argument(
        "--credentials", type=absolute_path, metavar="FILE",
        help=f"the credentials file (default: {CREDENTIALS_FILE} in certbot's configuration "
             "folder)"))
    parser.add_argument("--write", action="store_true",
                        help="write the credentials file, mode 0600, unless it is there")


def run(arguments: argparse.Namespace) -> int:
    """Show what to do, and write the credentials file if asked.

    :raises errors.UsageError: if no old setup is found, or a file cannot be written.
    """
    setups, problems = find(arguments.paths or places())
    adoptions = plan(setups, arguments.config_dir, arguments.credentials,
                     folder_options(arguments))
    written = write_credentials(adoptions) if arguments.write else []
    for adoption in adoptions:
        print("\n".join(describe(adoption, arguments.config_dir)))
    for path in written:
        print(f"Written: {path}")
    for problem in problems:
        print(f"certbot-qiniu: {printable(problem)}", file=sys.stderr)
    if not adoptions:
        raise errors.UsageError("Nothing to move in from. Name a folder of acme.sh or lego, or a "
                                "config.json: certbot-qiniu adopt PATH")
    return int(bool(problems) or not all(adoption.is_complete for adoption in adoptions))


@dataclass(frozen=True)
class Adoption:
    """The move of one certificate to certbot.

    :ivar credentials: path of its credentials file.
    :ivar keys: the entries for that file that are known.
    :ivar present: the entries that the file has.
    :ivar missing: the entries that must be filled in.
    :ivar commands: for certbot; none if it deploys this certificate already.
    :ivar lineage: certbot's name for it.
    :ivar doubt: why Qiniu may refuse the present certificate.
    :ivar runs: how to stop what runs the old setup.
    """

    setup: Setup
    credentials: Path
    keys: Mapping[str, str] = field(repr=False)
    missing: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    lineage: str
    present: tuple[str, ...] = ()
    doubt: str = ""
    runs: tuple[str, ...] = ()

    @property
    def is_moved_in(self) -> bool:
        """Whether certbot deploys this certificate already."""
        return not self.commands

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be filled in or decided by hand."""
        is_undecided = self.missing or self.setup.notes or self.doubt
        return self.is_moved_in or bool(self.setup.authenticator and not is_undecided)


def places() -> list[Path]:
    """Return the usual places of old setups that exist."""
    home = Path(os.path.expanduser("~"))  # stays "~" if there is none: no folder has that name
    usual = [home / ".acme.sh", Path(os.environ.get("LEGO_PATH", home / ".lego")), CONFIG_JSON]
    return [path for path in usual if path.exists()]


def find(paths: Sequence[Path]) -> tuple[list[Setup], list[str]]:
    """Read the setups at *paths*, and say what could not be understood there."""
    setups, problems = [], []
    for path in paths:
        try:
            found, unread = read_setups(path)
        except errors.UsageError as error:
            problems.append(str(error))
        else:
            setups += found
            problems += unread
    return setups, problems


def plan(setups: Iterable[Setup], config_dir: Path, credentials: Path | None = None,
         folders: Sequence[str] = (), now: float | None = None) -> list[Adoption]:
    """Plan the move of each setup.

    :param credentials: the file to use or write; further accounts get files next to it.
    :param folders: options that name certbot's folders.
    """
    files: dict[Path, dict[str, str]] = {}
    homes = []
    for setup in setups:
        path = _file_for(setup, files, credentials or config_dir / CREDENTIALS_FILE)
        files.setdefault(path, {}).update(setup.keys)
        homes.append((setup, path))
    now = time.time() if now is None else now
    scheduled = list(scheduled_jobs()) if homes else []
    return [replace(_adoption(setup, path, files[path], config_dir, folders, now),
                    runs=tuple(jobs(setup, config_dir, scheduled))) for setup, path in homes]


def _file_for(setup: Setup, files: Mapping[Path, Mapping[str, str]], first: Path) -> Path:
    """Find the first file whose keys agree with those of *setup*."""
    for path, keys in files.items():
        if all(keys.get(name, value) == value for name, value in setup.keys.items()):
            return path
    return first.with_name(f"{first.stem}-{setup.cert_name}{first.suffix}") if files else first


def _adoption(setup: Setup, path: Path, keys: Mapping[str, str], config_dir: Path,
              folders: Sequence[str], now: float) -> Adoption:
    needed = (*QINIU_KEYS, *DNS_KEYS.get(setup.authenticator, ()))
    present = tuple(name for name, value in (_read(path) or {}).items() if value)
    missing = tuple(name for name in needed if name not in keys and name not in present)
    lineage, is_there, is_ours = _lineage(setup, config_dir)
    ours = ["-i", "qiniu", "--qiniu-credentials", str(path), *setup.deploying]
    if setup.domains:
        ours += ["--qiniu-domains", ",".join(setup.domains)]
    doubt = ""
    if is_ours:
        commands: list[list[str]] = []
    elif is_there:
        name = ["--cert-name", lineage]
        commands = [["reconfigure", *name, *ours], ["renew", *name]]
        days = _days_left(config_dir, lineage, now)
        if days < MINIMUM_DAYS:
            doubt = wording.too_old(lineage, days)
            commands.insert(0, ["renew", "--force-renewal", *name])
    else:
        commands = [["run", *_proof(setup, path), *ours, *setup.issuing,
                     "--cert-name", lineage, *_issued_names(setup)]]
    return Adoption(setup, path, keys, missing,
                    tuple(("certbot", *command, *folders) for command in commands), lineage,
                    present, doubt)


def _lineage(setup: Setup, config_dir: Path) -> tuple[str, bool, bool]:
    """Return a certificate's name in certbot, whether certbot has it, and whether it deploys it.

    A user who moved in by hand may have chosen another name. A lineage that is not ours is left
    alone.
    """
    renewals = read_renewals(config_dir)[0]
    found = [(not renewal.is_ours, name != setup.cert_name, name)
             for name, renewal in renewals.items()
             if (renewal.is_ours or name == setup.cert_name)
             and _names(config_dir, name) >= set(setup.names)]
    if not found:
        return setup.cert_name, False, False
    is_foreign, _, name = min(found)
    return name, True, not is_foreign


def _days_left(config_dir: Path, lineage: str, now: float) -> float:
    return (Lineages(config_dir).current(lineage).not_after.timestamp() - now) / DAY


def _names(config_dir: Path, lineage: str) -> set[str]:
    try:
        return set(Lineages(config_dir).current(lineage).names)
    except errors.UsageError:
        return set()


def _proof(setup: Setup, credentials: Path) -> list[str]:
    name = setup.authenticator or UNKNOWN_AUTHENTICATOR
    own = [f"--{name}-credentials", str(credentials)] if name in DNS_KEYS else []
    return ["-a", name, *own]


def _issued_names(setup: Setup) -> Iterator[str]:
    """Return ``-d`` for each name, after the ``-w`` of its webroot."""
    current = ""
    for number, name in enumerate(setup.names):
        if setup.webroots and setup.webroots[number] != current:
            current = setup.webroots[number]
            yield from ("-w", current)
        yield from ("-d", name)


# The credentials file ---------------------------------------------------------------------------


def write_credentials(adoptions: Iterable[Adoption]) -> list[Path]:
    """Write the credentials files that are not there yet, readable only for this user.

    :returns: the files written.
    :raises errors.UsageError: if one cannot be written, or exists with other keys.
    """
    written = []
    for adoption in adoptions:
        path = adoption.credentials
        if adoption.is_moved_in or path in written or _is_there(adoption):
            continue
        written.append(output.write(path, _ini(adoption), "--credentials", folder_mode=0o777))
    return written


def _is_there(adoption: Adoption) -> bool:
    """Return whether the file has all that is known.

    :raises errors.UsageError: if it has other values.
    """
    path = adoption.credentials
    if not path.exists():
        return False
    found = _read(path)
    if found is None:
        raise errors.UsageError(f"{path} is there already, and cannot be read")
    others = [name for name, value in adoption.keys.items() if found.get(name) != value]
    if others:
        raise errors.UsageError(f"{path} is there already, with another or no {', '.join(others)}; "
                                "it was left alone. Name another --credentials, or edit it")
    return True


def _read(path: Path) -> Mapping[str, Any] | None:
    """Read the properties of a credentials file; None if none can be read."""
    import configobj

    try:
        found: Mapping[str, Any] = configobj.ConfigObj(
            str(path), encoding="utf-8", file_error=True, interpolation=False)
    except (OSError, configobj.ConfigObjError, UnicodeDecodeError):
        return None
    return found


def _ini(adoption: Adoption) -> str:
    import configobj

    # configobj quotes a value that it could not read back otherwise.
    lines = configobj.ConfigObj(dict(adoption.keys), interpolation=False).write()
    empty = [f"# {name} =" for name in adoption.missing]
    return "\n".join([*lines, *empty, ""])


# What is to be switched off ---------------------------------------------------------------------


CERTBOT_RENEW = r"certbot(?!-qiniu|\S*/certbot-qiniu)\b.*\brenew\b"
"""A line that renews certbot's certificates by any certbot (snap has certbot.renew), but not by our
own command."""


def jobs(setup: Setup, config_dir: Path, scheduled: Iterable[Scheduled]) -> Iterator[str]:
    """Say where the old setup is run from, and how to stop it.

    :param scheduled: all that this machine runs by itself.
    """
    traces = [rf"(?<![\w-]){re.escape(trace)}(?![\w-])" for trace in setup.traces]
    if not traces:
        return
    hook_lines = re.compile("|".join(traces))
    for hook in files_in([config_dir / "renewal-hooks" / "deploy"]):
        if any(hook_lines.search(text)
               for _, text in lines_of(read_script([str(hook)], "replace"))):
            yield shlex.join(["chmod", "a-x", printable(str(hook))])
    if setup.kind == "config.json":
        traces.append(CERTBOT_RENEW)
    pattern = re.compile("|".join(traces))
    yield from dict.fromkeys(
        _stop(job, number, found[0]) for job in scheduled if not job.is_ours
        for number, text in job.lines() if (found := pattern.search(text)))


_SCHEDULE = re.compile(r"(@\w{4,8}|(?:(?:[\d*/,-]|[A-Za-z]{3}\b)+ ){5})", re.ASCII)


def _stop(job: Scheduled, number: int, trace: str) -> str:
    """Say how to stop what runs the old setup; a line itself may hold keys, and be anybody's.

    :param number: of the line in a script.
    """
    if job.timer:
        return job.stop
    if not job.crontab_of:
        return f"# remove line {job.line or number} of {printable(str(job.path))}"
    schedule = _SCHEDULE.match(f"{job.schedule} ")
    trace = re.sub(r"\s.*\s", " ... ", trace)  # between certbot and renew
    return (f"# in crontab -e -u {shlex.quote(printable(job.crontab_of))}, remove the line: "
            f"{schedule[1].strip() if schedule else ''} ... {printable(trace)[:80]} ...")


# In words ---------------------------------------------------------------------------------------


def describe(adoption: Adoption, config_dir: Path, now: float | None = None) -> list[str]:
    """Return the steps as lines without keys; indented lines are to be copied."""
    setup, live = adoption.setup, config_dir / "live" / adoption.lineage
    lines = [f"{', '.join(setup.names)} ({setup.kind}, {setup.source})", "",
             _validity(setup, live, time.time() if now is None else now), ""]
    retire = [*map(shlex.join, setup.retire), *adoption.runs]
    steps = [["certbot deploys this certificate to Qiniu already: it has moved in."]]
    if not adoption.is_moved_in:
        steps = [*_installation(setup), _credentials_step(adoption),
                 ["Take over:", *(f"    {_wrapped(command)}" for command in adoption.commands),
                  *_unserved(setup)]]
    if any(setup.served) and "--qiniu-skip-nginx" not in setup.deploying:
        perhaps = ", if it does not yet" * adoption.is_moved_in
        steps.append([f"Let nginx use certbot's files{perhaps}, and reload it:", *(
            f"    {directive} {live / name};" + f"  # was {old}" * bool(old)
            for old, directive, name in zip(
                setup.served, ("ssl_certificate", "ssl_certificate_key"),
                ("fullchain.pem", "privkey.pem"), strict=True))])
    if not adoption.is_moved_in:
        steps.append(["Let it run twice a day, and see whether all is well:",
                      "    certbot-qiniu install-timer", "    certbot-qiniu status"])
    if retire:
        steps.append(["When all is in sync, switch the old setup off:",
                      *(f"    {line}" for line in retire)])
    if setup.secrets:
        steps.append(["Then delete what is left over and holds keys, unless something else needs "
                      "it:", *(f"    # {path}" for path in setup.secrets)])
    first = 1 - len(_installation(setup)) * (not adoption.is_moved_in)
    for number, step in enumerate(steps, first):
        lines += [f"{number}. {step[0]}", *step[1:], ""]
    # The user must know what else an old command did before it is switched off.
    notes = [*setup.notes, *[adoption.doubt] * bool(adoption.doubt and not adoption.is_moved_in)]
    return [*lines, *(f"Mind: {note}." for note in notes), *[""] * bool(notes)]


def _installation(setup: Setup) -> list[list[str]]:
    """Return the step before all others, if certbot lacks the authenticator here."""
    name = setup.authenticator
    if not name or name in plugins.installed():
        return []
    return [[f"Install certbot's plugin {name}, which is not here yet:",
             f"    {plugin_installation(name)}"]]


def _validity(setup: Setup, live: Path, now: float) -> str:
    fullchain = setup.fullchain or live / "fullchain.pem"
    try:
        ends = Certificate.load("", fullchain, fullchain).not_after
    except errors.UsageError:
        return (f"Its present certificate, {fullchain}, could not be read; how long it is valid is "
                "not known.")
    days = int((ends.timestamp() - now) // DAY)
    if days < 0:
        return f"Its present certificate ended on {ends:%Y-%m-%d}."
    return (f"Its present certificate is valid until {ends:%Y-%m-%d} ({days} days) and stays in "
            "use, at Qiniu and in nginx, until certbot's has taken its place: there is no gap.")


def _credentials_step(adoption: Adoption) -> list[str]:
    path = adoption.credentials
    if path.exists():
        first = f"The credentials file {path} is there."
    else:
        first = (f"Write the credentials file {path}, mode 0600, or let certbot-qiniu adopt "
                 "--write do it.")
    known, present = ", ".join(adoption.keys), ", ".join(map(printable, adoption.present))
    return [first, *[f"   In it: {present}"] * bool(present),
            *[f"   Known from the old setup: {known}"] * bool(known),
            *[f"   To be entered by you: {', '.join(adoption.missing)}"] * bool(adoption.missing)]


def _unserved(setup: Setup) -> list[str]:
    """Return a note about the domains that the certificate does not cover."""
    bare = [name for name in setup.domains if not covering_name(setup.names, name)]
    return [f"   {', '.join(bare)}: not covered by this certificate; take it off --qiniu-domains, "
            "or issue with another -d"] if bare else []


def _wrapped(command: Sequence[str]) -> str:
    r"""Write a command for a shell, one option a line, joined by ``\``."""
    rows: list[list[str]] = [[]]
    for word in command:
        if word.startswith("-") and (rows[-1] or len(rows) > 1):
            rows.append([])
        rows[-1].append(word)
    return " \\\n        ".join(shlex.join(row) for row in rows)


COMMAND = Command("adopt", "how to move in from acme.sh, lego or a deploy script: the commands, "
                  "and what to switch off", add_arguments, run)
