"""What a home of acme.sh says is understood, and never run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certbot_qiniu.command.setups.acme_sh import parse_conf
from certbot_qiniu.command.setups.old_setups import read_setups
from certbot_qiniu.command.setups.setups import QINIU_KEYS
from tests.unit.command.homes import (
    DOMAIN,
    acme_home,
    clear,
    conf,
    packed,
)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crontabs and timers but the test's own."""
    clear(monkeypatch, tmp_path)


@pytest.mark.parametrize("line", [
    "SAVED_QINIU_SK='QiniuSecretKeyOfTheOldSetup", "QiniuSecretKeyOfTheOldSetup",
    "SAVED_QINIU_SK='Qiniu' 'SecretKey'", "rm -rf x=QiniuSecretKeyOfTheOldSetup",
    "Le_Domain='\x1b[2Jexample.com'", "Le_RealKeyPath='/etc/\x1b[2Jkey'",
    "QINIU_SK=__ACME_BASE64__START_%%%__ACME_BASE64__END_",
    f"QINIU_SK={packed('x')[:-21]}/w==__ACME_BASE64__END_",
], ids=["open quote", "no assignment", "two words", "a command", "escapes in a name",
        "escapes in a path", "no base64",
        "no text in base64"])
def test_a_malformed_conf_is_named_and_not_quoted(tmp_path: Path, line: str) -> None:
    """A line that is no assignment makes the conf unusable; its text is in no message."""
    home = acme_home(tmp_path)
    path = home / "example.com_ecc" / "example.com.conf"
    path.write_text(f"{path.read_text()}{line}\n")
    found, problems = read_setups(home)
    assert [] == found
    [problem] = problems
    assert problem.startswith(f"{path}: ")
    assert "SecretKey" not in problem
    assert problem.isprintable()


@pytest.mark.parametrize("form", ["$(touch {})", "`touch {}`", "'; touch {}; '"])
def test_an_acme_conf_is_never_run(tmp_path: Path, form: str) -> None:
    """Substitutions and further commands in a conf make it unusable, and nothing happens."""
    canary = tmp_path / "canary"
    found, problems = read_setups(acme_home(tmp_path, {**DOMAIN, "Le_Alt": form.format(canary)}))
    assert ([], 1) == (found, len(problems))
    assert not canary.exists()


def test_an_unreadable_conf(tmp_path: Path) -> None:
    """An account.conf that cannot be read is told, and its keys are missing then."""
    home = acme_home(tmp_path)
    (home / "account.conf").unlink()
    (home / "account.conf").mkdir()
    [setup], [problem] = read_setups(home)
    assert "account.conf: is not a file" in problem
    assert ["qiniu_access_key", "qiniu_secret_key"] == sorted(setup.keys)


@pytest.mark.parametrize(("text", "value"), [
    ("A='a b'", "a b"), ("A=plain", "plain"), ('A="double"', "double"), ("A=", ""), ("A=''", ""),
    (f"A='{packed('nginx -s reload')}'", "nginx -s reload"), ("A='it'\\''s'", "it's"),
    ("A='a=b'", "a=b"), ("#A=x\n\n A=y", "y"), ("A='$HOME'", "$HOME"),
])
def test_values_as_acme_reads_them(text: str, value: str) -> None:
    """Quotes, escapes and its own packing are undone, variables are not."""
    assert {"A": value} == parse_conf(text)


def test_saved_names_come_first(tmp_path: Path) -> None:
    """The prefix SAVED_ is what newer hooks write; what is without it is older."""
    home = acme_home(tmp_path, {**DOMAIN, "SAVED_QINIU_AK": "AKnew", "SAVED_QINIU_SK": "SKnew"})
    [setup], _ = read_setups(home)
    assert ("AKnew", "SKnew") == tuple(setup.keys[name] for name in QINIU_KEYS)


@pytest.mark.parametrize(("changed", "words"), [
    ({"Le_Webroot": "dns_cf"}, ["in place of AUTHENTICATOR"]),
    ({"Le_Webroot": "dns_dp"}, ["DNSPod's own token"]),
    ({"Le_ChallengeAlias": "example.net"}, ["a challenge alias"]),
    ({"Le_Keylength": "ec-521"}, ["of the kind 'ec-521'"]),
    ({"Le_ReloadCmd": "bash /srv/on-renew.sh"}, ["does the rest to --qiniu-hook"]),
    ({"Le_API": "https://acme.zerossl.com/v2/DV90"}, ["certbot register --server https://acme."]),
    ({"Le_Webroot": "dns_dp", "Le_Keylength": "ec-521"}, ["DNSPod's own token", "'ec-521'"]),
    ({}, []), ({"Le_Keylength": "4096", "Le_ReloadCmd": "nginx -s reload"}, []),
], ids=["another DNS", "DNSPod", "alias", "key", "reload", "authority", "two", "none",
        "all is known"])
def test_what_acme_did_that_nobody_can_take_over(tmp_path: Path, changed: dict[str, str],
                                                 words: list[str]) -> None:
    """Each setting that certbot does not have gets a note, and nothing else does."""
    [setup], _ = read_setups(acme_home(tmp_path, {**DOMAIN, **changed}))
    assert len(words) == len(setup.notes)
    assert [] == [part for part, note in zip(words, setup.notes, strict=True) if part not in note]


def test_traces_of_an_acme_that_goes_on(tmp_path: Path) -> None:
    """While acme.sh renews other certificates, nothing of it is to be looked for and stopped."""
    home = acme_home(tmp_path)
    [setup], _ = read_setups(home)
    assert ("acme.sh",) == setup.traces
    mail = home / "mail.example.org"
    mail.mkdir()
    (mail / "mail.example.org.conf").write_text(conf({"Le_Domain": "mail.example.org"}))
    [setup], _ = read_setups(home)
    assert () == setup.traces


@pytest.mark.parametrize(("changed", "expected"), [
    ({"Le_Webroot": "no"}, ("standalone", ())),
    ({"Le_Webroot": "/srv/a"}, ("webroot", ("/srv/a", "/srv/a"))),
    ({"Le_Webroot": "/srv/a,/srv/b"}, ("webroot", ("/srv/a", "/srv/b"))),
    ({"Le_Webroot": "dns_ali,dns_ali"}, ("dns-aliyun", ())),
    ({"Le_Webroot": "dns_ali,dns_dp"}, ("", ())), ({"Le_Webroot": "dns_ali,/srv/a"}, ("", ())),
    ({"Le_Webroot": "dns_tencent"}, ("dns-tencent", ())),
], ids=["standalone", "webroot", "webroots", "the same twice", "two kinds", "with a webroot",
        "Tencent"])
def test_proofs(tmp_path: Path, changed: dict[str, str],
                expected: tuple[str, tuple[str, ...]]) -> None:
    """certbot's plugin that proves the same way, with a folder for each name, or none."""
    [setup], _ = read_setups(acme_home(tmp_path, {**DOMAIN, **changed}))
    assert expected == (setup.authenticator, setup.webroots)


@pytest.mark.parametrize(("paths", "served"), [
    (("/etc/ssl/a.cer", "/etc/ssl/a.key"), ("/etc/ssl/a.cer", "/etc/ssl/a.key")),
    (("no", "no"), ("", "")), (("", ""), ("", ""))], ids=["paths", "no", "nothing"])
def test_what_nginx_was_given(tmp_path: Path, paths: tuple[str, str],
                              served: tuple[str, str]) -> None:
    """acme.sh writes "no" where it has installed nothing."""
    [setup], _ = read_setups(acme_home(tmp_path, {
        **DOMAIN, "Le_RealFullChainPath": paths[0], "Le_RealKeyPath": paths[1]}))
    assert served == setup.served


@pytest.mark.parametrize(("folder", "program", "is_run"), [
    (0o755, 0o755, True), (0o1777, 0o755, True), (0o777, 0o755, False), (0o755, 0o757, False)])
def test_acme_of_another_user(tmp_path: Path, folder: int, program: int, *, is_run: bool) -> None:
    """What others may change is not for us to run: that is said instead."""
    home = acme_home(tmp_path)
    (home / "acme.sh").touch()
    (home / "acme.sh").chmod(program)
    home.chmod(folder)
    [setup], _ = read_setups(home)
    assert bool(setup.retire) is is_run
    assert any("another user" in note for note in setup.notes) is not is_run


def test_program_of_another_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whose it is decides, too."""
    home = acme_home(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: home.stat().st_uid + 1 or 1)
    assert bool(read_setups(home)[0][0].retire) is (home.stat().st_uid == 0)


def test_a_folder_with_a_line_in_its_name(tmp_path: Path) -> None:
    """Neither is the name of a folder shown as it is."""
    home = acme_home(tmp_path)
    evil = home / "evil\n    rm -rf x"
    evil.mkdir()
    (evil / f"{evil.name}.conf").write_text(conf(DOMAIN))
    found, problems = read_setups(home)
    assert ["example.com"] == [setup.cert_name for setup in found]
    assert "unprintable characters" in problems[0]
