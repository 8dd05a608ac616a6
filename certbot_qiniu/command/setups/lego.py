"""Read a folder of lego's, and of the scripts that run it what lego itself does not keep."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.command.jobs.scheduled_jobs import Scheduled, read_script, scheduled_jobs
from certbot_qiniu.command.setups.lego_scripts import LegoRun, is_known, read_lego_runs
from certbot_qiniu.command.setups.setups import (
    DNS_KEYS,
    KEY_OPTIONS,
    QINIU_KEYS,
    Setup,
    account_options,
    cert_name_of,
    checked_names,
    collect,
    read_json_object,
    read_text,
    reload_option,
    server_options,
    usable_keys,
)
from certbot_qiniu.model import Certificate

_LEGO_DNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "alidns": ("dns-aliyun", ("ALICLOUD_ACCESS_KEY", "ALICLOUD_SECRET_KEY")),
    "tencentcloud": ("dns-tencent", ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")),
}


def read_lego_folder(home: Path) -> tuple[list[Setup], list[str]]:
    """Read the setups in a folder of lego's, and say what could not be understood.

    :raises errors.UsageError: if it holds no certificates.
    """
    emails = []
    for path in sorted((home / "accounts").glob("**/account.json")):
        email = read_json_object(path).get("email")
        emails += [email] if isinstance(email, str) else []
    files = sorted((home / "certificates").glob("*.json"))
    if not files:
        raise errors.UsageError(f"{home} holds no certificates of lego's")
    runs = list(_lego_runs(home))
    return collect(files, lambda path: _lego_setup(home, path, emails, runs))


def _lego_runs(home: Path) -> Iterator[LegoRun]:
    """Find lego's command lines in scripts in its folder, in crontabs and in units."""
    scripts = dict.fromkeys(sorted(home.glob("*.sh")))
    lines = []
    for job in scheduled_jobs():
        found = [text for text in _lines(job)
                 if re.search(r"\blego\b", text) or str(home) in text]
        lines += [(text, job.path) for text in found]
        scripts |= {Path(path): None for text in found for path in re.findall(r"/[\w./+-]+", text)}
    for script in scripts:
        with contextlib.suppress(errors.UsageError):
            lines.append((read_text(script), script))
    for text, source in lines:
        yield from read_lego_runs(text, source)


def _lines(job: Scheduled) -> list[str]:
    """Return the lines of a job, those of a unit first as it has them itself.

    systemd shows them with drop-ins, but without quotation marks: a hook's options would be lego's.
    """
    is_unit = job.timer and job.path.is_absolute()
    unit = read_script([str(job.path)], "replace").replace("\\\n", " ") if is_unit else ""
    return [*re.findall(r"^ExecStart\s*=[\s@:+!|-]*(.+)", unit, re.MULTILINE),
            *(text for _, text in job.lines())]


def _lego_setup(home: Path, path: Path, emails: Sequence[str], runs: Sequence[LegoRun]) -> Setup:
    entry = read_json_object(path)
    fullchain, key = path.with_suffix(".crt"), path.with_suffix(".key")
    # The certificate is the best source: older versions of lego name only one domain.
    read_text(fullchain)
    names = checked_names(Certificate.load("", fullchain, key).names)
    main = entry.get("domain") or entry.get("id")
    if isinstance(main, str) and main.lower() in names:
        names = checked_names([main, *names])
    setup = Setup(
        "lego", path, names, cert_name_of(names[0]),
        issuing=account_options(next(iter(emails), "")), served=(str(fullchain), str(key)),
        fullchain=fullchain, traces=("lego", str(home)),
        secrets=tuple(filter(Path.is_file, [key])))
    run = next((run for run in runs if run.is_for(names)), None)
    if run:
        return _with_run(setup, run)
    return replace(setup, notes=(
        "lego keeps no record of its DNS provider and its keys, and no script that runs it was "
        "found. Choose certbot's plugin in place of AUTHENTICATOR (dns-aliyun for alidns) and "
        "enter the keys in the credentials file",))


def _with_run(setup: Setup, run: LegoRun) -> Setup:
    """Add to *setup* what one of lego's command lines shows."""
    notes: list[str] = []
    provider, webroot = run.value("dns"), run.value("http.webroot")
    authenticator, variables = _LEGO_DNS.get(provider, ("", ()))
    webroots: tuple[str, ...] = ()
    if webroot and not provider:
        authenticator, webroots = "webroot", (webroot,) * len(setup.names)
    elif "http" in run.flags and not provider:
        authenticator = "standalone"
    elif not authenticator:
        known = provider if provider.isalnum() else "an unknown plugin"
        notes.append(f"lego proved the domains by {known} (see --dns in {run.source}): choose a "
                     "certbot plugin that does the same, in place of AUTHENTICATOR")
    keys = {name: value for name, value in (
        *((name, run.environment.get(variable, "")) for name, variable in
          zip(DNS_KEYS.get(authenticator, ()), variables, strict=False)),
        *zip(QINIU_KEYS, map(run.environment.get, ("QINIU_ACCESS_KEY", "QINIU_SECRET_KEY")),
             strict=True)) if value and is_known(value)}
    server, said = server_options(run.value("server"))
    length = run.value("key-type").lower().removeprefix("rsa").replace("ec", "ec-")
    kind = KEY_OPTIONS.get(length)
    if kind is None:
        notes.append(f"the key was of the kind {length!r}; certbot will make its usual one")
    hook = next((name for name in ("renew-hook", "deploy-hook", "run-hook") if name in run.options),
                "")
    deploying = reload_option(" ".join(run.options.get(hook, ())), f"--{hook}", run.source, notes)
    return replace(
        setup, authenticator=authenticator, webroots=webroots, keys=usable_keys(keys),
        issuing=(*(setup.issuing or account_options(run.value("email"))), *server, *(kind or ())),
        deploying=tuple(deploying), notes=(*notes, *said),
        secrets=(*setup.secrets, *[run.source] * bool(keys)))
