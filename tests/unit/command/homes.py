"""Homes of acme.sh and lego, and the configuration of a script, as they are found on a machine."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.command import adopt
from certbot_qiniu.command.jobs import scheduled_jobs
from certbot_qiniu.command.setups import setups
from tests.unit.rig import AUTHORITY

QINIU_SECRET, ALIYUN_SECRET = "QiniuSecretKeyOfTheOldSetup", "AliyunSecretOfTheOldSetup"


def clear(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let there be no crontabs, timers or homes but those below *folder*."""
    monkeypatch.setattr(scheduled_jobs, "ROOT", folder)
    monkeypatch.setattr(adopt, "CONFIG_JSON", folder / "ssl-automation" / "config.json")
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.delenv("LEGO_PATH", raising=False)


def packed(text: str) -> str:
    """A value as acme.sh packs what would break its file."""
    return f"__ACME_BASE64__START_{base64.b64encode(text.encode()).decode()}__ACME_BASE64__END_"


def conf(settings: dict[str, str]) -> str:
    """A conf as acme.sh writes it."""
    return "".join(f"{name}='{value}'\n" for name, value in settings.items())


ACCOUNT = {"ACCOUNT_EMAIL": "admin@example.com", "SAVED_Ali_Key": "LTAIold",
           "SAVED_Ali_Secret": ALIYUN_SECRET, "USER_PATH": "/usr/bin:/bin"}
DOMAIN = {"Le_Domain": "example.com", "Le_Alt": "*.example.com", "Le_Webroot": "dns_ali",
          "Le_API": setups.LETS_ENCRYPT, "Le_Keylength": "ec-256", "Le_DeployHook": "qiniu,",
          "QINIU_AK": "AKold", "QINIU_SK": QINIU_SECRET,
          "QINIU_CDN_DOMAIN": "img.example.com cdn.example.com"}


def acme_home(folder: Path, domain: dict[str, str] | None = None,
              account: dict[str, str] | None = None) -> Path:
    """A home of acme.sh with one certificate."""
    home = folder / "home" / ".acme.sh"
    settings = DOMAIN if domain is None else domain
    lineage = home / f"{settings['Le_Domain'].replace('/', '_') or 'nameless'}_ecc"
    lineage.mkdir(parents=True)
    (home / "account.conf").write_text(conf(ACCOUNT if account is None else account))
    (lineage / f"{lineage.name.removesuffix('_ecc')}.conf").write_text(conf(settings))
    (lineage / f"{lineage.name.removesuffix('_ecc')}.csr.conf").write_text("[ req ]\n")
    (lineage / "fullchain.cer").write_text(AUTHORITY.issue("example.com").fullchain_pem)
    return home


def lego_home(folder: Path, *names: str, entry: object = None) -> Path:
    """A folder of lego's with one certificate and one account."""
    home = folder / "home" / ".lego"
    certificates, account = home / "certificates", home / "accounts" / "ca" / "admin@example.com"
    certificates.mkdir(parents=True)
    account.mkdir(parents=True)
    (account / "account.json").write_text(json.dumps({"email": "admin@example.com"}))
    stem = certificates / names[0].replace("*", "_")
    stem.with_name(f"{stem.name}.json").write_text(
        json.dumps({"domain": names[0]} if entry is None else entry))
    stem.with_name(f"{stem.name}.crt").write_text(AUTHORITY.issue(*names).fullchain_pem)
    return home


def config_json(folder: Path, **changed: Any) -> Path:
    """The configuration of a deploy script."""
    entry = {"force_https": True, "http2_enable": True}
    path = folder / "ssl-automation" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({
        "aliyun": {"access_key_id": "LTAIold", "access_key_secret": ALIYUN_SECRET,
                   "dns_propagation_seconds": 60},
        "certbot": {"email": "admin@example.com", "cert_name": "example.com",
                    "domains": ["example.com", "*.example.com"]},
        "nginx": {"enabled": True, "test_command": ["nginx", "-t"],
                  "reload_command": ["systemctl", "reload", "nginx"]},
        "qiniu": {"enabled": True, "access_key": "AKold", "secret_key": QINIU_SECRET,
                  "domains": [{"name": "file.example.com", **entry},
                              {"name": "cdn.example.com", **entry}]}, **changed}))
    return path
