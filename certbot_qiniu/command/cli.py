"""The command ``certbot-qiniu``: see, prove, be warned.

Exit status of every command: 0 fine, 1 something needs attention, 2 it could not be told, or the
command could not be carried out.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from certbot import errors as certbot_errors
from certbot.compat import misc

from certbot_qiniu import errors
from certbot_qiniu.command import adopt, alerts, apply, doctor, health, install_timer, output
from certbot_qiniu.command.completion import completion
from certbot_qiniu.command.survey import inspect
from certbot_qiniu.files import write_file
from certbot_qiniu.lineages import Renewal, read_renewals

WARN_DAYS = 14
WATCH_SECONDS = 30
LEAST_WATCH_SECONDS = 5
"""Qiniu counts calls."""
NOTIFY_FILE = "notify"

EXIT_STATUS = ("exit status: 0 fine, 1 something needs attention, 2 it could not be told (or the "
               "command could not be carried out)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and answer its exit status."""
    arguments = parser().parse_args(argv)
    with _logging(arguments):
        try:
            status: int = arguments.run(arguments)
            sys.stdout.flush()
            return status
        except certbot_errors.Error as error:
            print(f"certbot-qiniu: {error}", file=sys.stderr)
        except PermissionError as error:
            print(f"certbot-qiniu: Could not read {error.filename}: {error.strerror}. Run this as "
                  "root, as certbot", file=sys.stderr)
        except BrokenPipeError:
            # The reader has seen enough; Python must not complain about it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            return 130
    return 2


@contextlib.contextmanager
def _logging(arguments: argparse.Namespace) -> Iterator[None]:
    """Show our log on stderr: warnings, what ``apply`` does, or all of it."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("certbot_qiniu")
    before = logger.level
    quiet = getattr(arguments, "quiet", False)
    logger.setLevel(logging.DEBUG if arguments.verbose else
                    logging.ERROR if quiet else arguments.log_level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


# Arguments --------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    found = argparse.ArgumentParser(
        prog="certbot-qiniu", epilog=EXIT_STATUS,
        description="Show and check what certbot deploys to Qiniu Cloud (七牛云). Nothing is "
                    "changed but by apply, certificates --prune, install-timer and adopt --write.")
    found.add_argument("--version", action="version",
                       version=f"%(prog)s {importlib.metadata.version('certbot-qiniu')}")
    found.add_argument("--print-completion", action=_PrintCompletion, choices=["bash", "zsh"],
                       help="print completion for a shell and exit; e.g. certbot-qiniu "
                            "--print-completion bash > /etc/bash_completion.d/certbot-qiniu")
    commands = found.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = functools.partial(_add_command, commands)
    _status_arguments(add("status", run_status, "every domain: what it serves, and whether that "
                                                "is right"))
    plan = add("plan", run_plan, "what the next certbot renew would do, and why")
    _json_argument(plan)
    _name_argument(plan)
    apply = add("apply", run_apply, "do now what the next certbot renew would do; issues nothing",
                log_level=logging.INFO)
    _name_argument(apply)
    _json_argument(add("doctor", run_doctor, "look for what could stop a renewal, with remedies"))
    listing = add("certificates", run_certificates, "our certificates at Qiniu and who uses them")
    _json_argument(listing)
    listing.add_argument("--all", action="store_true", help="everybody's certificates, not ours "
                                                            "alone")
    listing.add_argument("--prune", action="store_true",
                         help="delete ours that are superseded: no domain uses them, and no "
                              "rollback that is kept needs them")
    _timer_arguments(add("install-timer", run_install_timer,
                         "run certbot renew and status twice a day, by systemd or cron"))
    _adopt_arguments(add("adopt", run_adopt, "how to move in from acme.sh, lego or a deploy "
                                             "script: the commands, and what to switch off"))
    return found


def _add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str,
                 run: Callable[[argparse.Namespace], int], text: str,
                 log_level: int = logging.WARNING) -> argparse.ArgumentParser:
    found = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.",
                                epilog=EXIT_STATUS)
    found.set_defaults(run=run, log_level=log_level)
    for kind in ("config", "work", "logs"):
        found.add_argument(f"--{kind}-dir", type=lambda text: Path(text).absolute(),
                           metavar="DIR", default=Path(misc.get_default_folder(kind)),
                           help="as certbot's (default: %(default)s)")
    found.add_argument("-v", "--verbose", action="store_true", help="show our log, calls included")
    return found


def _status_arguments(found: argparse.ArgumentParser) -> None:
    form = found.add_mutually_exclusive_group()
    _json_argument(form)
    form.add_argument("--prometheus", nargs="?", const="-", metavar="FILE",
                      help="metrics for Prometheus' textfile collector, on stdout or into FILE")
    form.add_argument("--watch", nargs="?", type=_watch_seconds, const=WATCH_SECONDS,
                      metavar="SECONDS", help="look again and again (default: every %(const)s "
                                              "seconds) until interrupted")
    found.add_argument("--probe", action="store_true",
                       help="also ask the edge over TLS which certificate it really serves")
    found.add_argument("--managed", action="store_true",
                       help="only the domains that certbot manages")
    found.add_argument("--warn-days", type=int, default=WARN_DAYS, metavar="N",
                       help="attention where a certificate ends in less than N days (default: "
                            "%(default)s)")
    _notify_argument(found)
    found.add_argument("--renewal", default="", metavar="RESULT",
                       help="how certbot renew ended before this, from a timer: $SERVICE_RESULT "
                            "of systemd, or the exit status")
    found.add_argument("-q", "--quiet", action="store_true",
                       help="print nothing unless something is wrong")


def _timer_arguments(found: argparse.ArgumentParser) -> None:
    found.add_argument("--print", action="store_true", dest="print_only",
                       help="only show what would be installed")
    found.add_argument("--directory", type=Path, metavar="DIR",
                       help="where to write the units (default: "
                            f"{install_timer.SYSTEMD_FOLDER}, and enabled at once)")
    found.add_argument("--cron", action="store_true",
                       help=f"write {install_timer.CRON_FILE} instead (default where no "
                            "systemd runs)")
    found.add_argument("--writable", action="append", default=[], metavar="PATH",
                       help="what else a renewal must be able to write to, for example what your "
                            "deploy hooks write (repeatable; webroots are found)")
    found.add_argument("--on-failure", default="", metavar="UNIT",
                       help="a systemd unit to start when the renewal fails (OnFailure=)")
    _notify_argument(found)


def _adopt_arguments(found: argparse.ArgumentParser) -> None:
    found.add_argument("paths", nargs="*", type=lambda text: Path(text).absolute(), metavar="PATH",
                       help="a folder of acme.sh or lego, or a config.json with the keys certbot, "
                            "aliyun, nginx and qiniu (default: what is found at the usual places)")
    found.add_argument("--credentials", type=lambda text: Path(text).absolute(), metavar="FILE",
                       help=f"the credentials file (default: {adopt.CREDENTIALS_FILE} in certbot's "
                            "configuration folder)")
    found.add_argument("--write", action="store_true",
                       help="write the credentials file, mode 0600, unless it is there")


def _notify_argument(found: argparse.ArgumentParser) -> None:
    found.add_argument("--notify", action="append", default=[], metavar="URL",
                       help="tell this apprise URL when something begins to need attention and "
                            "when it is right again, once each (repeatable); @FILE reads URLs "
                            "from a file, which keeps their secrets out of the list of processes")


def _json_argument(found: argparse._ActionsContainer) -> None:
    found.add_argument("--json", action="store_true", help="as JSON; see docs/status-json.md")


def _name_argument(found: argparse.ArgumentParser) -> None:
    found.add_argument("--cert-name", default="", metavar="NAME", help="only this certificate")


def _watch_seconds(text: str) -> float:
    return max(LEAST_WATCH_SECONDS, float(text))


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: object, option_string: str | None = None) -> None:
        print(completion(parser, str(values)))
        parser.exit()


# Commands ---------------------------------------------------------------------------------------


def run_status(arguments: argparse.Namespace) -> int:
    """``certbot-qiniu status``."""
    if arguments.watch:
        return _watch(arguments)
    out = output.console()
    urls = alerts.receivers(arguments.notify)
    with output.progress("Asking Qiniu …", output.console(stderr=True)):
        found = _take_status(arguments)
    if arguments.prometheus not in (None, "-"):
        _write(Path(arguments.prometheus), output.prometheus(found))
    elif arguments.prometheus:
        print(output.prometheus(found), end="")
    elif arguments.json:
        print(output.status_json(found))
    elif not arguments.quiet or found.level is not health.Level.OK:
        output.show(output.status_parts(found), out)
    status = health.exit_status(found.level)
    return max(status, _alert(arguments, urls, found))


def _take_status(arguments: argparse.Namespace) -> health.Report:
    seen = inspect(apply.certbot_config(arguments))
    if arguments.probe:
        from certbot_qiniu.command.probe import probe

        seen = probe(seen)
    found = health.status(seen, arguments.warn_days, only_managed=arguments.managed)
    if arguments.renewal not in ("", "0", "success"):
        failed = health.Finding(
            health.Level.ATTENTION, "renewal", "RenewalFailed",
            f"certbot renew failed ({arguments.renewal}); see letsencrypt.log in "
            f"{arguments.logs_dir}")
        found = replace(found, findings=(*found.findings, failed))
    return found


def _alert(arguments: argparse.Namespace, urls: Sequence[str], found: health.Report) -> int:
    """Send what is to be sent; 1 when that failed."""
    if not urls:
        return 0
    problems = alerts.alert(arguments.config_dir / "qiniu", urls, found)
    for problem in problems:
        print(f"certbot-qiniu: {problem}", file=sys.stderr)
    return int(bool(problems))


def _watch(arguments: argparse.Namespace) -> int:
    """Show the status again and again; the exit status is the last one's."""
    from rich.live import Live

    out, level = output.console(), health.Level.UNKNOWN
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        live = (stack.enter_context(Live(console=out, auto_refresh=False))
                if out.is_terminal else None)
        while True:
            found = _take_status(arguments)
            level = found.level
            parts = [*output.status_parts(found), (f"as of {health.utc(found.checked_at)}", "dim")]
            if live:
                live.update(output.rendered(parts), refresh=True)
            else:
                output.show(parts, out)
                sys.stdout.flush()
            time.sleep(arguments.watch)
    return health.exit_status(level)


def run_plan(arguments: argparse.Namespace) -> int:
    """``certbot-qiniu plan``."""
    with output.progress("Asking Qiniu …", output.console(stderr=True)):
        seen = inspect(apply.certbot_config(arguments), arguments.cert_name)
    steps, failed = health.steps(seen), health.failures(seen)
    if arguments.json:
        print(output.plan_json(steps, failed, seen.now))
    else:
        output.show(output.plan_parts(steps, seen.lineages, failed, seen.notes, seen.now),
                  output.console())
    return health.exit_status(health.worst(item.level for item in failed))


def run_apply(arguments: argparse.Namespace) -> int:
    """``certbot-qiniu apply``."""
    chosen = _renewals(arguments, arguments.cert_name)
    problems = apply.apply(arguments, chosen)
    for problem in problems:
        print(f"certbot-qiniu: {problem}", file=sys.stderr)
    if not problems:
        names = ", ".join(renewal.lineage for renewal in chosen)
        print(f"{names}: done. certbot-qiniu status --watch follows what Qiniu still publishes.")
    return int(bool(problems))


def run_doctor(arguments: argparse.Namespace) -> int:
    """``certbot-qiniu doctor``."""
    with output.progress("Looking …", output.console(stderr=True)):
        checks = list(doctor.examine(apply.certbot_config(arguments)))
    if arguments.json:
        print(output.doctor_json(checks, time.time()))
    else:
        output.show(output.doctor_parts(checks), output.console())
    return health.exit_status(health.worst(check.level for check in checks))


def run_certificates(arguments: argparse.Namespace) -> int:
    """``certbot-qiniu certificates``."""
    config = apply.certbot_config(arguments)
    if arguments.prune:
        deleted = apply.prune(config, _renewals(arguments), logging.getLogger(__name__).info)
        print(f"{deleted} superseded certificate{'s' * (deleted != 1)} deleted at Qiniu",
              file=sys.stderr)
    with output.progress("Asking Qiniu …", output.console(stderr=True)):
        seen = inspect(config)
    rows = health.certificates(seen, everybodys=arguments.all)
    failed = health.failures(seen)
    if arguments.json:
        print(output.certificates_json(rows, failed, seen.now))
    else:
        output.show([*output.certificate_parts(rows), *output.finding_parts(failed)],
                    output.console())
    return health.exit_status(health.worst(item.level for item in failed))


def run_install_timer(arguments: argparse.Namespace) -> int:
    """``certbot-qiniu install-timer``."""
    renewals = read_renewals(arguments.config_dir)[0].values()
    kept = arguments.config_dir / "qiniu" / NOTIFY_FILE
    job = install_timer.Job(
        (arguments.config_dir, arguments.work_dir, arguments.logs_dir), _folder_options(arguments),
        _public_receivers(arguments.notify, kept),
        [*dict.fromkeys(path for renewal in renewals for path in renewal.webroots),
         *arguments.writable], arguments.on_failure)
    by_cron = arguments.cron or not (arguments.directory or install_timer.SYSTEMD_RUNS.exists())
    if arguments.print_only:
        files = ({str(install_timer.CRON_FILE): install_timer.cron(job)} if by_cron
                 else install_timer.units(job))
        print("\n".join(f"# {name}\n{text}" for name, text in files.items()), end="")
        return 0
    secrets = [value for value in arguments.notify if not value.startswith("@")]
    if secrets:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(kept, "".join(f"{url}\n" for url in secrets))
    if by_cron:
        written = [install_timer.write_cron(job)]
    else:
        written = install_timer.write_units(
            job, arguments.directory or install_timer.SYSTEMD_FOLDER)
        if not arguments.directory:
            install_timer.enable()
    print(f"Written: {', '.join(map(str, written))}")
    return 0


def run_adopt(arguments: argparse.Namespace) -> int:
    """``certbot-qiniu adopt``."""
    setups, problems = adopt.find(arguments.paths or adopt.places())
    adoptions = adopt.adopt(setups, arguments.config_dir, arguments.credentials,
                            _folder_options(arguments))
    written = adopt.write_credentials(adoptions) if arguments.write else []
    for adoption in adoptions:
        print("\n".join(adopt.describe(adoption, arguments.config_dir)))
    for path in written:
        print(f"Written: {path}")
    for problem in problems:
        print(f"certbot-qiniu: {problem}", file=sys.stderr)
    if not adoptions:
        raise errors.UsageError("Nothing to move in from. Name a folder of acme.sh or lego, or a "
                                "config.json: certbot-qiniu adopt PATH")
    return int(bool(problems) or not all(adoption.is_complete for adoption in adoptions))


def _folder_options(arguments: argparse.Namespace) -> list[str]:
    """The options that name certbot's folders, where they are not the usual ones."""
    given = {kind: str(getattr(arguments, f"{kind}_dir")) for kind in ("config", "work", "logs")}
    return [f"--{kind}-dir={path}" for kind, path in given.items()
            if path != misc.get_default_folder(kind)]


def _public_receivers(values: Iterable[str], kept: Path) -> list[str]:
    """The values of ``--notify`` for a public file: URLs, which hold secrets, go into *kept*."""
    found = [f"@{Path(value[1:]).expanduser().absolute()}" if value.startswith("@") else f"@{kept}"
             for value in values]
    return list(dict.fromkeys(found))


def _renewals(arguments: argparse.Namespace, name: str = "") -> list[Renewal]:
    """The renewals that deploy to Qiniu, or the one that is named.

    :raises errors.UsageError: when there is none.
    """
    ours = {key: renewal for key, renewal in read_renewals(arguments.config_dir)[0].items()
            if renewal.is_ours}
    if name:
        ours = {key: renewal for key, renewal in ours.items() if key == name}
    if not ours:
        raise errors.UsageError(
            f"No renewal conf {f'of {name} ' * bool(name)}in {arguments.config_dir}/renewal says "
            "installer = qiniu. To begin: certbot reconfigure --cert-name NAME -i qiniu "
            "--qiniu-credentials PATH")
    return list(ours.values())


def _write(path: Path, text: str) -> None:
    try:
        write_file(path, text, mode=0o644)  # another user's program reads it
    except OSError as error:
        raise errors.UsageError(f"Could not write {path}: {error.strerror}") from error
