"""Read a home of acme.sh: its confs are pieces of shell, which are parsed and never run."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.command.setups.setups import (
    DNS_KEYS,
    KEY_OPTIONS,
    QINIU_KEYS,
    Setup,
    account_options,
    cert_name_of,
    checked_names,
    collect,
    qiniu_domains,
    read_text,
    reload_option,
    server_options,
    usable_keys,
)
from certbot_qiniu.files import others_may_change

_ACME_DNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "no": ("standalone", ()),
    # DNSPod's own tokens (DP_Id, DP_Key) are of no use to any maintained certbot plugin.
    "dns_dp": ("dns-tencent", ()),
    "dns_tencent": ("dns-tencent", ("Tencent_SecretId", "Tencent_SecretKey")),
    "dns_ali": ("dns-aliyun", ("Ali_Key", "Ali_Secret")),
}
_BASE64 = re.compile(r"__ACME_BASE64__START_(.*)__ACME_BASE64__END_")


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


def read_acme_home(home: Path, confs: Sequence[Path]) -> tuple[list[Setup], list[str]]:
    """Read the setups of these *confs* in a home, and say what could not be understood."""
    account: dict[str, str] = {}
    problems = []
    try:
        account = parse_conf(read_text(home / "account.conf"))
    except errors.UsageError as error:
        problems.append(f"{home / 'account.conf'}: {error}")
    found, unread = collect(confs, lambda conf: _acme_setup(home, conf, account))
    # One home may renew other certificates, too. If some are known to go to Qiniu, take only those.
    setups = [setup for setup in found if setup.domains] or found
    rest = [setup.cert_name for setup in found if setup not in setups]
    if rest:
        problems.append(f"Left with acme.sh, as they do not go to Qiniu: {', '.join(rest)}")
        setups = [replace(setup, traces=()) for setup in setups]  # its cron job is still needed
    return setups, [*problems, *unread]


def _acme_setup(home: Path, conf: Path, account: Mapping[str, str]) -> Setup:
    own = parse_conf(read_text(conf))

    def setting(name: str) -> str:
        candidates = (own.get(f"SAVED_{name}"), own.get(name), account.get(f"SAVED_{name}"),
                      account.get(name))
        return next(filter(None, candidates), "")

    alternatives = own.get("Le_Alt", "")
    names = checked_names([own.get("Le_Domain", ""),
                    *([] if alternatives in ("", "no") else alternatives.split(","))])
    is_ecc = conf.parent.name.endswith("_ecc")
    program = str(home / "acme.sh")

    proofs = own.get("Le_Webroot", "").split(",")
    authenticator, sources = _acme_proof(proofs)
    webroots = tuple(proofs[min(number, len(proofs) - 1)] for number in range(len(names))
                     ) if authenticator == "webroot" else ()
    notes = list(_unlike_acme(own, conf, authenticator))

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

    server, said = server_options(own.get("Le_API", ""))
    issuing = [*account_options(account.get("ACCOUNT_EMAIL", "")), *server]
    length = own.get("Le_Keylength", "")
    if length in KEY_OPTIONS:
        issuing += KEY_OPTIONS[length]
    else:
        notes.append(f"the key was of the kind {length!r}; certbot will make its usual one")
    if setting("QINIU_FORCE_HTTPS") == "true":
        issuing.append("--redirect")
    deploying = reload_option(own.get("Le_ReloadCmd", ""), "Le_ReloadCmd", conf, notes)

    return Setup(
        "acme.sh", conf, names, cert_name_of(names[0]), authenticator, webroots,
        usable_keys(keys), qiniu_domains(domains), tuple(issuing), tuple(deploying),
        (_path(own.get("Le_RealFullChainPath", "")), _path(own.get("Le_RealKeyPath", ""))),
        conf.with_name("fullchain.cer"),
        () if is_others else (retire,),
        ("acme.sh",), (*notes, *said),
        tuple(path for path, settings in ((home / "account.conf", account), (conf, own))
              if any(map(_is_secret, settings)))
        + tuple(filter(Path.is_file, [conf.with_suffix(".key")])))


def _unlike_acme(own: Mapping[str, str], conf: Path, authenticator: str) -> Iterator[str]:
    """Say what certbot does not prove as acme.sh did."""
    if not authenticator:
        yield (f"acme.sh proved the domains by Le_Webroot in {conf}: choose a plugin of "
               "certbot's that does the same, in place of AUTHENTICATOR")
    if own.get("Le_ChallengeAlias"):
        yield ("acme.sh used a challenge alias; certbot's plugins need the right to change "
               "the zone itself")
    if own.get("Le_Webroot", "").split(",")[0] == "dns_dp":
        yield ("DNSPod's own token (DP_Id, DP_Key) does not serve here: make a key of "
               "Tencent Cloud's (SecretId, SecretKey) with the right to change DNSPod")


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
