"""Read older setups that renew certificates: acme.sh, lego, a script with a config.json.

Everything is parsed and nothing is run, not even acme.sh's shell fragments. The files are another
program's, and may be another user's, so each value is checked before it becomes part of a command
or is shown.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.command import scheduled_jobs
from certbot_qiniu.command.lego_scripts import LegoRun, is_known, read_lego_runs
from certbot_qiniu.files import others_may_change
from certbot_qiniu.model import Certificate
from certbot_qiniu.options import OptionError, domain_list
from certbot_qiniu.text import is_token

QINIU_KEYS = ("qiniu_access_key", "qiniu_secret_key")
DNS_KEYS = {
    "dns-aliyun": ("dns_aliyun_access_key", "dns_aliyun_access_key_secret"),
    "dns-tencent": ("dns_tencent_secret_id", "dns_tencent_secret_key"),
}
"""The properties that certbot's DNS plugins need in the credentials file."""

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
"""certbot's default."""

_ACME_DNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "no": ("standalone", ()),
    # DNSPod's own tokens (DP_Id, DP_Key) are of no use to any maintained certbot plugin.
    "dns_dp": ("dns-tencent", ()),
    "dns_tencent": ("dns-tencent", ("Tencent_SecretId", "Tencent_SecretKey")),
    "dns_ali": ("dns-aliyun", ("Ali_Key", "Ali_Secret")),
}
_ACME_KEYS: dict[str, tuple[str, ...]] = {
    "": (), "ec-256": (), "ec-384": ("--key-type", "ecdsa", "--elliptic-curve", "secp384r1"),
    "2048": ("--key-type", "rsa", "--rsa-key-size", "2048"),
    "3072": ("--key-type", "rsa", "--rsa-key-size", "3072"),
    "4096": ("--key-type", "rsa", "--rsa-key-size", "4096"),
}
_LEGO_DNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "alidns": ("dns-aliyun", ("ALICLOUD_ACCESS_KEY", "ALICLOUD_SECRET_KEY")),
    "tencentcloud": ("dns-tencent", ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")),
}
_LARGEST = 1_000_000  # bytes: all these files are small
_BASE64 = re.compile(r"__ACME_BASE64__START_(.*)__ACME_BASE64__END_")
_NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_EMAIL = re.compile(r"[\w.+-]+@[\w.-]+", re.ASCII)
_URL = re.compile(r"https://[\w.:/-]+", re.ASCII)
_NGINX = "(nginx|openresty|tengine|angie)"
_NGINX_COMMAND = re.compile(
    rf"((docker|podman)( compose)? exec( -[a-zA-Z]+)* [\w.-]+ )?([\w./-]*/)?{_NGINX}"
    r"( -[cp] [\w./-]+)* -(t|s reload)"
    rf"|systemctl (reload|restart|try-reload-or-restart|reload-or-restart) {_NGINX}(\.service)?"
    rf"|(service |/etc/init\.d/){_NGINX} (force-)?(reload|restart)", re.ASCII)
"""Commands that only test or reload nginx: any other command with its name may do anything."""


@dataclass(frozen=True)
class Setup:
    """One certificate of an old setup, and what is needed to renew it by certbot.

    :ivar source: the file that describes it.
    :ivar names: the SANs, the main one first.
    :ivar authenticator: certbot's, "" if none does the same.
    :ivar webroots: a folder for each of the names, with the authenticator ``webroot``.
    :ivar keys: entries for the credentials file.
    :ivar domains: the Qiniu domains that were served; none if unknown.
    :ivar issuing: options for issuing; likewise *deploying* for the installer.
    :ivar served: fullchain and key that nginx was given, if they are not certbot's.
    :ivar fullchain: the present certificate.
    :ivar retire: commands that switch the old setup off.
    :ivar traces: texts that mark the lines of crontabs and units that run it.
    :ivar notes: what the user must decide.
    :ivar secrets: files of its own that hold keys.
    """

    kind: str
    source: Path
    names: tuple[str, ...]
    cert_name: str
    authenticator: str = ""
    webroots: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    domains: tuple[str, ...] = ()
    issuing: tuple[str, ...] = ()
    deploying: tuple[str, ...] = ()
    served: tuple[str, str] = ("", "")
    fullchain: Path | None = None
    retire: tuple[tuple[str, ...], ...] = ()
    traces: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    secrets: tuple[Path, ...] = ()


def read_setups(path: Path) -> tuple[list[Setup], list[str]]:
    """Read the setups below a folder or in a file, and say what could not be understood.

    :raises errors.UsageError: if there is none, or it cannot be read at all.
    """
    if path.is_file():
        return [_checked(_read_config(path))], []
    confs = [conf for conf in sorted(path.glob("*/*.conf"))
             if conf.stem in (conf.parent.name, conf.parent.name.removesuffix("_ecc"))]
    if confs or (path / "account.conf").exists():
        return _read_acme(path, confs)
    if (path / "certificates").is_dir():
        return _read_lego(path)
    raise errors.UsageError(f"{path} is no folder of acme.sh or lego, and no config.json")


def _collect(paths: Iterable[Path], read: Any) -> tuple[list[Setup], list[str]]:
    """Separate the setups that can be read from those that cannot, and say why."""
    setups, problems = [], []
    for path in paths:
        try:
            setups.append(_checked(read(path)))
        except (errors.UsageError, OptionError) as error:
            problems.append(f"{path}: {error}")
    return setups, problems


def _checked(setup: Setup) -> Setup:
    """Return *setup*, unless something in it would break its line or steer a terminal.

    :raises errors.UsageError: if so.
    """
    def is_printable(value: object) -> bool:
        if isinstance(value, tuple):
            return all(map(is_printable, value))
        return value is None or str(value).isprintable()

    for name, value in vars(setup).items():
        if name != "keys" and not is_printable(value):
            raise errors.UsageError(f"unprintable characters in its {name}")
    open_files = [path for path in dict.fromkeys((setup.source, *setup.secrets))
                  if others_may_change(path)] if setup.keys else []
    return replace(setup, notes=(*setup.notes, *(
        f"{path} can be changed by another user: see that the keys of the old setup are yours, as "
        "private keys go where they lead" for path in open_files)))


def _text(path: Path) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would block for ever, a device has no end
            raise errors.UsageError("is not a file")
        if found.st_size > _LARGEST:
            raise errors.UsageError("is too large")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise errors.UsageError(f"could not be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.UsageError("is not UTF-8 text") from error


def _names(values: Iterable[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(value.strip().lower() for value in values))
    if not names:
        raise errors.UsageError("names no domain")
    for name in names:
        if not _NAME.fullmatch(name):
            raise errors.UsageError(f"{name!r} is no name of a domain")
    return names


def _cert_name(name: str) -> str:
    """Return certbot's name for a lineage whose first name is *name*."""
    return name.removeprefix("*.")


def _domains(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return domains in Qiniu's spelling; none for nothing."""
    listed = value.split() if isinstance(value, str) else list(value)
    return tuple(domain_list(listed).split(",")) if listed else ()


def _usable_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that are set."""
    for name, value in keys.items():
        if value and not is_token(value):
            raise errors.UsageError(f"the value for {name} holds characters that no key has")
    return {name: value for name, value in keys.items() if value}


def _nginx_command(text: str) -> bool:
    """Return whether a command tests or reloads nginx, and uses nothing that others may change.

    A configuration of nginx may name modules to load, so it is as powerful as a program.
    """
    if not _NGINX_COMMAND.fullmatch(text):
        return False
    words = text.split()
    if words[0] in ("docker", "podman"):  # the paths are the container's
        return True
    paths = [word for number, word in enumerate(words)
             if "/" in word or words[number - 1] in ("-c", "-p")]
    return not any(not path.startswith("/") or others_may_change(Path(path)) for path in paths)


def _without_terminal(command: str) -> str:
    """Return *command* as a timer can run it: ``docker exec -t`` fails without a terminal."""
    words = command.split()
    for number in range(words.index("exec") + 1 if "exec" in words else len(words), len(words)):
        if not words[number].startswith("-"):
            break
        words[number] = words[number].replace("t", "")
    return " ".join(word for word in words if word != "-")


def _reload(command: str, name: str, source: Path, notes: list[str]) -> list[str]:
    """Return the option for an old setup's reload command, which *name* in *source* is."""
    if not command:
        return []
    if _nginx_command(command):
        return ["--qiniu-nginx-reload-cmd", _without_terminal(command)]
    notes.append(f"{name} in {source} does more than reload nginx, and is not taken over: see what "
                 "it does, leave out what this plugin does, and give a program that does the rest "
                 "to --qiniu-hook")
    return []


def _server(url: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return options and notes for an authority."""
    if url in ("", LETS_ENCRYPT):
        return (), ()
    if not _URL.fullmatch(url):
        raise errors.UsageError("the address of the certificate authority is not usable")
    return ("--server", url), (
        f"{url} may want an account with EAB keys (certbot register --server {url} --eab-kid … "
        "--eab-hmac-key …); leave --server out to use Let's Encrypt",)


def _account(email: str) -> tuple[str, ...]:
    return ("-m", email) if _EMAIL.fullmatch(email) else ()


# acme.sh ----------------------------------------------------------------------------------------


def parse_conf(text: str) -> dict[str, str]:
    """Read the settings in a conf of acme.sh, a piece of shell that acme.sh would run.

    :raises errors.UsageError: if a line is anything but ``NAME=one word``; quotes no value.
    """
    settings = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, rest = line.strip().partition("=")
        try:
            words = shlex.split(rest)
        except ValueError:
            words = ["", ""]
        # Unprintable characters might steer the terminal.
        if not (equals and name.isidentifier() and len(words) < 2 and line.isprintable()):
            raise errors.UsageError(f"line {number} is not NAME='value'")
        settings[name] = _decoded("".join(words), name)
    return settings


def _decoded(value: str, name: str) -> str:
    packed = _BASE64.fullmatch(value)
    if not packed:
        return value
    try:
        return base64.b64decode(packed.group(1), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise errors.UsageError(f"the value of {name} is damaged") from None


def _read_acme(home: Path, confs: Sequence[Path]) -> tuple[list[Setup], list[str]]:
    account: dict[str, str] = {}
    problems = []
    try:
        account = parse_conf(_text(home / "account.conf"))
    except errors.UsageError as error:
        problems.append(f"{home / 'account.conf'}: {error}")
    found, unread = _collect(confs, lambda conf: _acme_setup(home, conf, account))
    # One home may renew other certificates, too. If some are known to go to Qiniu, take only those.
    setups = [setup for setup in found if setup.domains] or found
    rest = [setup.cert_name for setup in found if setup not in setups]
    if rest:
        problems.append(f"Left with acme.sh, as they do not go to Qiniu: {', '.join(rest)}")
        setups = [replace(setup, traces=()) for setup in setups]  # its cron job is still needed
    return setups, [*problems, *unread]


def _acme_setup(home: Path, conf: Path, account: Mapping[str, str]) -> Setup:
    own = parse_conf(_text(conf))

    def setting(name: str) -> str:
        candidates = (own.get(f"SAVED_{name}"), own.get(name), account.get(f"SAVED_{name}"),
                      account.get(name))
        return next(filter(None, candidates), "")

    alternatives = own.get("Le_Alt", "")
    names = _names([own.get("Le_Domain", ""),
                    *([] if alternatives in ("", "no") else alternatives.split(","))])
    is_ecc = conf.parent.name.endswith("_ecc")
    program = str(home / "acme.sh")
    notes = []

    proofs = own.get("Le_Webroot", "").split(",")
    authenticator, sources = _acme_proof(proofs)
    webroots: tuple[str, ...] = ()
    if authenticator == "webroot":
        webroots = tuple(proofs[min(number, len(proofs) - 1)] for number in range(len(names)))
    elif not authenticator:
        notes.append(f"acme.sh proved the domains by Le_Webroot in {conf}: choose a certbot "
                     "plugin that does the same, in place of AUTHENTICATOR")
    if own.get("Le_ChallengeAlias"):
        notes.append("acme.sh used a challenge alias; certbot's plugins need the right to change "
                     "the zone itself")
    if proofs[0] == "dns_dp":
        notes.append("DNSPod's own token (DP_Id, DP_Key) does not serve here: make a key of "
                     "Tencent Cloud (SecretId, SecretKey) with the right to change DNSPod")

    keys = dict(zip(QINIU_KEYS, (setting("QINIU_AK"), setting("QINIU_SK")), strict=True))
    if sources:
        keys |= zip(DNS_KEYS[authenticator], map(setting, sources), strict=True)
    went_to_qiniu = "qiniu" in own.get("Le_DeployHook", "").split(",") or keys[QINIU_KEYS[0]]
    domains = setting("QINIU_CDN_DOMAIN") or (names[0] if went_to_qiniu else "")

    retire = (program, "--home", str(home), "--remove", "-d", names[0], *["--ecc"] * is_ecc)
    is_others = others_may_change(home / "acme.sh")
    if is_others:
        notes.append(f"{program} can be changed by another user, so it is not for you to run: "
                     f"whoever it belongs to ends it with acme.sh {shlex.join(retire[3:])}")

    server, said = _server(own.get("Le_API", ""))
    issuing = [*_account(account.get("ACCOUNT_EMAIL", "")), *server]
    length = own.get("Le_Keylength", "")
    if length in _ACME_KEYS:
        issuing += _ACME_KEYS[length]
    else:
        notes.append(f"the key was of the kind {length!r}; certbot will make its usual one")
    if setting("QINIU_FORCE_HTTPS") == "true":
        issuing.append("--redirect")
    deploying = _reload(own.get("Le_ReloadCmd", ""), "Le_ReloadCmd", conf, notes)

    return Setup(
        "acme.sh", conf, names, _cert_name(names[0]), authenticator, webroots,
        _usable_keys(keys), _domains(domains), tuple(issuing), tuple(deploying),
        (_path(own.get("Le_RealFullChainPath", "")), _path(own.get("Le_RealKeyPath", ""))),
        conf.with_name("fullchain.cer"),
        () if is_others else (retire,),
        ("acme.sh",), (*notes, *said),
        tuple(path for path, settings in ((home / "account.conf", account), (conf, own))
              if any(map(_is_secret, settings)))
        + tuple(filter(Path.is_file, [conf.with_suffix(".key")])))


def _is_secret(name: str) -> bool:
    """Return whether a setting of acme.sh may hold a key."""
    return re.search(r"(?i)key|secret|token|passw|_ak$|_sk$", name) is not None and (
        not name.startswith("Le_") and not name.endswith("_PATH"))


def _path(text: str) -> str:
    """Return *text* if it is a path: acme.sh also writes "no" for none."""
    return text if text.startswith("/") else ""


def _acme_proof(proofs: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return certbot's authenticator, and acme.sh's names for the settings that it needs."""
    if all(proof.startswith("/") for proof in proofs):
        return "webroot", ()
    if len(set(proofs)) > 1:
        return "", ()
    return _ACME_DNS.get(proofs[0], ("", ()))


# lego -------------------------------------------------------------------------------------------


def _read_lego(home: Path) -> tuple[list[Setup], list[str]]:
    emails = []
    for path in sorted((home / "accounts").glob("**/account.json")):
        email = _json(path).get("email")
        emails += [email] if isinstance(email, str) else []
    files = sorted((home / "certificates").glob("*.json"))
    if not files:
        raise errors.UsageError(f"{home} holds no certificates of lego")
    runs = list(_lego_runs(home))
    return _collect(files, lambda path: _lego_setup(home, path, emails, runs))


def _lego_runs(home: Path) -> Iterator[LegoRun]:
    """Find lego's command lines in scripts in its folder, in crontabs and in units."""
    scripts = dict.fromkeys(sorted(home.glob("*.sh")))
    lines = []
    for job in scheduled_jobs.scheduled_jobs(scheduled_jobs.UNIT_FOLDERS, scheduled_jobs.CRONTABS):
        found = [text for _, text in job.lines if re.search(r"\blego\b", text) or str(home) in text]
        lines += [(text, job.path) for text in found]
        scripts |= {Path(path): None for text in found for path in re.findall(r"/[\w./+-]+", text)}
    for script in scripts:
        with contextlib.suppress(errors.UsageError):
            lines.append((_text(script), script))
    for text, source in lines:
        yield from read_lego_runs(text, source)


def _lego_setup(home: Path, path: Path, emails: Sequence[str], runs: Sequence[LegoRun]) -> Setup:
    entry = _json(path)
    fullchain, key = path.with_suffix(".crt"), path.with_suffix(".key")
    # The certificate is the best source: older versions of lego name only one domain.
    _text(fullchain)
    names = _names(Certificate.load("", fullchain, key).names)
    main = entry.get("domain") or entry.get("id")
    if isinstance(main, str) and main.lower() in names:
        names = _names([main, *names])
    setup = Setup(
        "lego", path, names, _cert_name(names[0]), issuing=_account(next(iter(emails), "")),
        served=(str(fullchain), str(key)), fullchain=fullchain, traces=("lego", str(home)),
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
        known = provider if provider.isalnum() else "an unknown provider"
        notes.append(f"lego proved the domains by {known} (see --dns in {run.source}): choose a "
                     "certbot plugin that does the same, in place of AUTHENTICATOR")
    keys = {name: value for name, value in (
        *((name, run.environment.get(variable, "")) for name, variable in
          zip(DNS_KEYS.get(authenticator, ()), variables, strict=False)),
        *zip(QINIU_KEYS, map(run.environment.get, ("QINIU_ACCESS_KEY", "QINIU_SECRET_KEY")),
             strict=True)) if value and is_known(value)}
    server, said = _server(run.value("server"))
    length = run.value("key-type").lower().removeprefix("rsa").replace("ec", "ec-")
    kind = _ACME_KEYS.get(length)
    if kind is None:
        notes.append(f"the key was of the kind {length!r}; certbot will make its usual one")
    hook = next((name for name in ("renew-hook", "deploy-hook", "run-hook") if name in run.options),
                "")
    deploying = _reload(" ".join(run.options.get(hook, ())), f"--{hook}", run.source, notes)
    return replace(
        setup, authenticator=authenticator, webroots=webroots, keys=_usable_keys(keys),
        issuing=(*(setup.issuing or _account(run.value("email"))), *server, *(kind or ())),
        deploying=tuple(deploying), notes=(*notes, *said),
        secrets=(*setup.secrets, *[run.source] * bool(keys)))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError):
        raise errors.UsageError(f"{path} is not JSON") from None  # the cause would quote it
    if not isinstance(found, dict):
        raise errors.UsageError(f"{path} holds no object")
    return found


# A script with a config.json --------------------------------------------------------------------


def _read_config(path: Path) -> Setup:
    found = _json(path)
    try:
        return _config_setup(path, found)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise errors.UsageError(
            f"{path} is no config.json as it is known here: {type(error).__name__} "
            f"{error if isinstance(error, KeyError) else ''}".rstrip()) from None


def _config_setup(path: Path, found: Mapping[str, Any]) -> Setup:
    certbot, aliyun, nginx = found["certbot"], found.get("aliyun", {}), found.get("nginx", {})
    qiniu = found["qiniu"]
    names = _names(certbot["domains"])
    cert_name = certbot.get("cert_name") or _cert_name(names[0])
    if not re.fullmatch(r"[\w.-]+", cert_name, re.ASCII):
        raise errors.UsageError(f"{path}: certbot.cert_name is no name for a certificate")
    issuing = [*_account(str(certbot.get("email", "")))]
    if "dns_propagation_seconds" in aliyun:
        issuing += ["--dns-aliyun-propagation-seconds",
                    str(int(aliyun["dns_propagation_seconds"]))]
    listed = qiniu["domains"]
    issuing += _uniform(listed, "force_https", ("--redirect",), ("--no-redirect",))
    deploying = [*_uniform(listed, "http2_enable", ("--qiniu-http2", "on"),
                           ("--qiniu-http2", "off"))]
    notes = []
    if not _flag(nginx, "enabled", default=False):
        deploying.append("--qiniu-skip-nginx")
        nginx = {}
    for key, option in (("test_command", "--qiniu-nginx-test-cmd"),
                        ("reload_command", "--qiniu-nginx-reload-cmd")):
        command = nginx.get(key) or ()
        command = command if isinstance(command, str) else shlex.join(map(str, command))
        if _nginx_command(command):
            deploying += [option, _without_terminal(command)]
        elif command:
            notes.append(f"nginx.{key} in {path} is no command of nginx, and is not taken over")
    keys = dict(zip((*QINIU_KEYS, *DNS_KEYS["dns-aliyun"]),
                    (qiniu["access_key"], qiniu["secret_key"], aliyun.get("access_key_id", ""),
                     aliyun.get("access_key_secret", "")), strict=True))
    return Setup(
        "config.json", path, names, cert_name, "dns-aliyun", keys=_usable_keys(keys),
        domains=_domains([entry["name"] for entry in listed]), issuing=tuple(issuing),
        deploying=tuple(deploying), traces=(str(path),), notes=tuple(notes), secrets=(path,))


def _flag(entry: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = entry.get(key, default)
    if not isinstance(value, bool):  # "false" would be true
        raise TypeError(f"{key} is neither true nor false")
    return value


def _uniform(entries: Sequence[Mapping[str, Any]], key: str, on: Sequence[str],
             off: Sequence[str]) -> Iterator[str]:
    """Return options for settings that all domains share; others stay as they are at Qiniu."""
    values = {_flag(entry, key, default=True) for entry in entries}
    if len(values) == 1:
        yield from on if values.pop() else off
