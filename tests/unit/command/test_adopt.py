"""Moving in: a plan in words, a credentials file, and no gap."""

from __future__ import annotations

import os
import re
import shlex
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from certbot._internal import cli as certbot_cli
from certbot._internal.plugins.disco import PluginsRegistry

from certbot_qiniu.command import adopt, cli
from certbot_qiniu.command.jobs import plugins
from certbot_qiniu.command.setups.old_setups import read_setups
from certbot_qiniu.command.setups.setups import Setup
from certbot_qiniu.credentials import Credentials
from certbot_qiniu.model import Certificate
from tests.unit.command.homes import (
    ALIYUN_SECRET,
    DOMAIN,
    QINIU_SECRET,
    acme_home,
    clear,
    conf,
    config_json,
    lego_home,
    packed,
)
from tests.unit.command.timers import host
from tests.unit.rig import paths, renew

SECRETS = (QINIU_SECRET, ALIYUN_SECRET)
FINE, ATTENTION, IMPOSSIBLE = 0, 1, 2


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crontabs, timers or homes but the test's own."""
    clear(monkeypatch, tmp_path)


def command(tmp_path: Path, *arguments: str) -> int:
    """Run the command on a certbot that has nothing yet."""
    return cli.main(["adopt", *arguments, "--config-dir", str(tmp_path / "etc"), "--work-dir",
                     str(tmp_path / "work"), "--logs-dir", str(tmp_path / "logs")])


def planned(tmp_path: Path, path: Path) -> adopt.Adoption:
    """The one adoption of what is at *path*."""
    found, problems = adopt.find([path])
    assert [] == problems
    [adoption] = adopt.plan(found, tmp_path / "etc")
    return adoption


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What cannot be read ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "text", "words"), [
    ("config.json", "{", "is not JSON"), ("config.json", "[]", "holds no object"),
    ("config.json", '{"certbot": {}}', "KeyError 'qiniu'"),
    ("config.json", '{"certbot": [], "qiniu": {}}', "TypeError"),
    ("config.json", f'{{"qiniu": "{QINIU_SECRET}", }}', "is not JSON"),
], ids=["cut off", "a list", "keys are missing", "another type", "malformed with a key"])
def test_a_strange_config_json(tmp_path: Path, name: str, text: str, words: str,
                               capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the file and what is wrong, and quotes nothing."""
    path = tmp_path / name
    path.write_text(text)
    assert IMPOSSIBLE == command(tmp_path, str(path))
    said = capsys.readouterr().err
    assert str(path) in said
    assert words in said
    assert QINIU_SECRET not in said


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing at the usual places, a missing path and an unrelated folder all say what to name."""
    (tmp_path / "empty").mkdir()
    for arguments in ((), (str(tmp_path / "missing"),), (str(tmp_path / "empty"),)):
        assert IMPOSSIBLE == command(tmp_path, *arguments)
        assert "certbot-qiniu adopt PATH" in capsys.readouterr().err


# acme.sh ----------------------------------------------------------------------------------------


def test_acme_with_the_qiniu_hook(tmp_path: Path) -> None:
    """Names, keys, domains and authenticator come over; certbot accepts the command."""
    home = acme_home(tmp_path)
    adoption = planned(tmp_path, home)
    credentials = str(tmp_path / "etc" / "qiniu.ini")
    assert adoption.commands == ((
        "certbot", "run", "-a", "dns-aliyun", "--dns-aliyun-credentials", credentials,
        "-i", "qiniu", "--qiniu-credentials", credentials,
        "--qiniu-domains", "img.example.com,cdn.example.com", "-m", "admin@example.com",
        "--cert-name", "example.com", "-d", "example.com", "-d", "*.example.com"),)
    assert adoption.is_complete
    assert adoption.keys == {
        "qiniu_access_key": "AKold", "qiniu_secret_key": QINIU_SECRET,
        "dns_aliyun_access_key": "LTAIold", "dns_aliyun_access_key_secret": ALIYUN_SECRET}
    assert adoption.setup.retire == ((
        str(home / "acme.sh"), "--home", str(home), "--remove", "-d", "example.com", "--ecc"),)


@pytest.mark.parametrize(("changed", "present", "absent"), [
    ({"Le_Alt": "no"}, "-d example.com", "*"),
    ({"Le_Domain": "*.example.com", "Le_Alt": "no", "QINIU_CDN_DOMAIN": ".example.com"},
     "--cert-name example.com -d '*.example.com'", "-d example.com"),
    ({"Le_Webroot": "no"}, "-a standalone", "aliyun"),
    ({"Le_Webroot": "/var/www/a b", "Le_Alt": "www.example.com"},
     "-w '/var/www/a b' -d example.com -d www.example.com", "aliyun"),
    ({"Le_Webroot": "/srv/a,/srv/b", "Le_Alt": "www.example.com"},
     "-w /srv/a -d example.com -w /srv/b -d www.example.com", "aliyun"),
    ({"Le_Webroot": "dns_cf"}, "-a AUTHENTICATOR", "aliyun"),
    ({"Le_Webroot": "dns_ali,/srv/a"}, "-a AUTHENTICATOR", "aliyun"),
    ({"Le_Webroot": "dns_dp"}, "--dns-tencent-credentials", "aliyun"),
    ({"Le_Keylength": "2048"}, "--key-type rsa --rsa-key-size 2048", "ecdsa"),
    ({"Le_API": "https://acme.zerossl.com/v2/DV90"}, "--server https://acme.zerossl.com/v2/DV90",
     "letsencrypt"),
    ({"QINIU_FORCE_HTTPS": "true"}, "--redirect", "--no-redirect"),
    ({"QINIU_CDN_DOMAIN": ""}, "--qiniu-domains example.com", "img"),
    ({"Le_ReloadCmd": packed("docker exec web nginx -s reload")},
     "--qiniu-nginx-reload-cmd 'docker exec web nginx -s reload'", "bash"),
    ({"Le_ReloadCmd": packed("nginx -s reload && reboot")}, "-i qiniu", "reboot"),
    ({"Le_ReloadCmd": packed("nginx -s reload\nreboot")}, "-i qiniu", "reboot"),
    ({"Le_ReloadCmd": "bash /usr/local/bin/on-renew.sh"}, "-i qiniu", "on-renew"),
], ids=lambda value: str(value)[:40])
def test_acme_details(tmp_path: Path, changed: dict[str, str], present: str, absent: str) -> None:
    """What acme.sh was told is in the command, quoted for a shell; what needs a shell is not."""
    adoption = planned(tmp_path, acme_home(tmp_path, {**DOMAIN, **changed}))
    [words] = adoption.commands
    assert present in shlex.join(words)
    assert absent not in shlex.join(words)


@pytest.mark.parametrize(("path", "is_there"), [("/etc/ssl/a.cer", True), ("no", False)])
def test_where_nginx_reads_from(tmp_path: Path, path: str, is_there: bool) -> None:
    """What acme.sh installed for nginx is named next to what takes its place."""
    home = acme_home(tmp_path, {**DOMAIN, "Le_RealFullChainPath": path})
    said = "\n".join(adopt.describe(planned(tmp_path, home), Path("/etc/letsencrypt")))
    assert is_there == ("ssl_certificate /etc/letsencrypt/live/example.com/fullchain.pem;  "
                        f"# was {path}" in said)


def test_other_certificates_stay_with_acme(tmp_path: Path) -> None:
    """If some certificates never went to Qiniu, they stay, and so does the cron job."""
    home = acme_home(tmp_path)
    mail = home / "mail.example.org_ecc"
    mail.mkdir()
    (mail / "mail.example.org.conf").write_text(conf(
        {"Le_Domain": "mail.example.org", "Le_Webroot": "no"}))
    lay_out(tmp_path, {"etc/cron.d/acme": "0 0 * * * root acme.sh --cron\n"})
    [setup], [problem] = read_setups(home)
    assert "mail.example.org" in problem
    assert [] == list(adopt.jobs(setup, tmp_path / "etc", [*adopt.scheduled_jobs()]))


def test_without_keys_they_are_asked_for(tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    """A script of the user's own keeps its keys elsewhere: status 1 says that work is left."""
    bare = {name: value for name, value in DOMAIN.items() if "QINIU" not in name}
    acme_home(tmp_path, {**bare, "Le_DeployHook": ""}, {})
    assert ATTENTION == command(tmp_path, "--write")
    assert "To be entered by you: qiniu_access_key, qiniu_secret_key" in capsys.readouterr().out
    assert "# qiniu_secret_key =" in (tmp_path / "etc" / "qiniu.ini").read_text()


# lego and config.json ---------------------------------------------------------------------------


def test_lego(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The certificate has the names; the user is asked for what lego did not keep."""
    lego_home(tmp_path, "*.example.com", "example.com")
    assert ATTENTION == command(tmp_path)
    said = capsys.readouterr().out
    assert "--cert-name example.com" in said
    assert "-d '*.example.com'" in said
    assert "-m admin@example.com" in said
    assert "-a AUTHENTICATOR" in said
    assert "certificates/_.example.com.crt" in said


def test_a_new_certificate_for_a_config_json(tmp_path: Path) -> None:
    """All that the script was told is in the command."""
    [words] = planned(tmp_path, config_json(tmp_path)).commands
    text = shlex.join(words)
    for part in ("--dns-aliyun-propagation-seconds 60", "--redirect", "--qiniu-http2 on",
                 "--qiniu-nginx-test-cmd 'nginx -t'", "-d example.com",
                 "--qiniu-nginx-reload-cmd 'systemctl reload nginx'",
                 "--qiniu-domains file.example.com,cdn.example.com", "-d '*.example.com'"):
        assert part in text


def test_domains_that_differ_stay_as_they_are(tmp_path: Path) -> None:
    """If the script treated domains differently, no option speaks for all of them."""
    path = config_json(tmp_path, nginx={}, qiniu={
        "access_key": "AKold", "secret_key": QINIU_SECRET, "domains": [
            {"name": "file.example.com", "force_https": False, "http2_enable": False},
            {"name": "cdn.example.com", "http2_enable": False}]})
    [words] = planned(tmp_path, path).commands
    assert "redirect" not in shlex.join(words)
    assert "--qiniu-http2 off" in shlex.join(words)
    assert "--qiniu-skip-nginx" in words


def test_a_domain_that_is_not_covered_is_pointed_out(tmp_path: Path) -> None:
    """The old script bound it all the same; the plugin would refuse."""
    home = acme_home(tmp_path, {**DOMAIN, "QINIU_CDN_DOMAIN": "a.b.example.com"})
    said = "\n".join(adopt.describe(planned(tmp_path, home), tmp_path / "etc"))
    assert "a.b.example.com: not covered by this certificate" in said


@pytest.mark.parametrize("make", [acme_home, config_json, lambda folder: lego_home(
    folder, "example.com", "*.example.com")], ids=["acme.sh", "config.json", "lego"])
def test_certbot_accepts_the_commands(tmp_path: Path, make: Any,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own parser takes each command, with a plugin in place of the one to be chosen."""
    monkeypatch.setattr(certbot_cli, "helpful_parser", None)
    for words in planned(tmp_path, make(tmp_path)).commands:
        arguments = [word.replace(adopt.UNKNOWN_AUTHENTICATOR, "manual") for word in words[1:]]
        parsed = certbot_cli.prepare_and_parse_args(PluginsRegistry.find_all(), arguments)
        assert ("run", "qiniu") == (parsed.verb, parsed.installer)
        assert {"example.com", "*.example.com"} == set(map(str, parsed.domains))


# Secrets and files ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [acme_home, config_json], ids=["acme.sh", "config.json"])
def test_nothing_is_written_unless_asked_for(tmp_path: Path, make: Any,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """Without --write nothing changes anywhere, and no secret is shown."""
    make(tmp_path)
    before = tree(tmp_path)
    assert FINE == command(tmp_path)
    said = capsys.readouterr()
    assert before == tree(tmp_path)
    assert not [secret for secret in SECRETS if secret in said.out + said.err]
    assert not (tmp_path / "etc").exists()


@pytest.mark.parametrize("make", [acme_home, config_json], ids=["acme.sh", "config.json"])
def test_write(tmp_path: Path, make: Any, capsys: pytest.CaptureFixture[str],
               monkeypatch: pytest.MonkeyPatch) -> None:
    """--write makes one file, 0600 from birth, that the plugin reads; a repetition is at peace."""
    make(tmp_path)
    modes: list[int] = []

    def rename(source: str, target: Path) -> None:
        modes.append(stat.S_IMODE(os.stat(source).st_mode))  # before it has its name
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", rename)
    assert FINE == command(tmp_path, "--write")
    path = tmp_path / "etc" / "qiniu.ini"
    assert [0o600, 0o600] == [*modes, stat.S_IMODE(path.stat().st_mode)]
    found = Credentials.load(str(path))
    assert ("AKold", QINIU_SECRET) == (found.access_key, found.secret_key)
    before = tree(tmp_path)
    assert FINE == command(tmp_path, "--write")
    assert before == tree(tmp_path)
    assert QINIU_SECRET not in capsys.readouterr().out


def test_keys_with_signs_that_ini_files_know(tmp_path: Path) -> None:
    """What an INI file would read otherwise is quoted."""
    acme_home(tmp_path, {**DOMAIN, "QINIU_SK": 'a,b#c"d='})
    assert FINE == command(tmp_path, "--write")
    assert 'a,b#c"d=' == Credentials.load(str(tmp_path / "etc" / "qiniu.ini")).secret_key


@pytest.mark.parametrize("text", ["qiniu_access_key = mine\n", "[", "\xff"], ids=repr)
def test_an_existing_file_is_never_changed(tmp_path: Path, text: str,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    """With other keys in it, or unreadable, it stays, and the message says what to do."""
    acme_home(tmp_path)
    path = tmp_path / "etc" / "qiniu.ini"
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    assert IMPOSSIBLE == command(tmp_path, "--write")
    assert text.encode("latin-1") == path.read_bytes()
    said = capsys.readouterr()
    assert f"{path} is there already" in said.err
    assert QINIU_SECRET not in said.out + said.err
    assert FINE == command(tmp_path, "--write", "--credentials", str(tmp_path / "etc" / "b.ini"))


def test_a_folder_that_cannot_be_written_to(tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the file and the way out."""
    acme_home(tmp_path)
    (tmp_path / "etc").write_text("a file")
    assert IMPOSSIBLE == command(tmp_path, "--write")
    assert "name another --credentials" in capsys.readouterr().err


def test_two_accounts_get_two_files(tmp_path: Path) -> None:
    """Setups with the same keys share a file; other keys get another one."""
    def setup(name: str, **keys: str) -> Setup:
        return Setup("acme.sh", tmp_path, (name,), name, keys=keys)

    found = adopt.plan([setup("a.example.com", qiniu_access_key="1"),
                         setup("b.example.com", qiniu_access_key="2"),
                         setup("c.example.com", qiniu_access_key="1", dns_aliyun_access_key="3")],
                        tmp_path)
    assert ["qiniu.ini", "qiniu-b.example.com.ini", "qiniu.ini"] == [
        adoption.credentials.name for adoption in found]
    assert {"qiniu_access_key": "1", "dns_aliyun_access_key": "3"} == found[0].keys


# What is to be switched off ---------------------------------------------------------------------


def stop(tmp_path: Path, setup: Setup) -> list[str]:
    return [line.replace(str(tmp_path), "")
            for line in adopt.jobs(setup, tmp_path / "etc", [*adopt.scheduled_jobs()])]


def lay_out(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_jobs_of_acme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its lines in crontabs are named by number, as they may hold keys."""
    acme_home(tmp_path)
    lay_out(tmp_path, {
        "etc/cron.d/own": "# acme.sh --cron\nAli_Secret=x\n"
                          "0 0 * * * root \"/opt\"/acme.sh --cron\n",
        "etc/cron.d/other": "0 0 * * * root backup\n",
        "etc/cron.d/certbot-qiniu": "0 0 * * * root acme.sh\n"})
    assert FINE == command(tmp_path)
    said = capsys.readouterr().out
    assert f"# remove line 3 of {tmp_path}/etc/cron.d/own\n" in said
    assert 1 == said.count("# remove line")
    assert "--remove -d example.com --ecc" in said


def test_jobs_of_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hook, its timer and any other certbot's timer are to be stopped; ours is not."""
    path = config_json(tmp_path)
    hooks = "etc/renewal-hooks/deploy"
    lay_out(tmp_path, {
        f"{hooks}/sync it.sh": f"python3 /usr/local/bin/sync.py deploy {path}\n",
        f"{hooks}/mail.sh": "mail root\n",
        "etc/cron.daily/all": f"#!/bin/sh\nbackup\n# {path}\nsync.py deploy {path}\n"})
    machine = host(tmp_path, monkeypatch)
    machine.timer("certbot-venv-renew", "/bin/true", "/opt/v/bin/certbot renew --quiet",
                  "/opt/v/bin/certbot renew")
    machine.timer("backup", "/usr/bin/backup")
    machine.timer("certbot-qiniu", "/opt/certbot/bin/certbot renew")
    [setup], _ = read_setups(path)
    assert [f"chmod a-x '/{hooks}/sync it.sh'",
            "systemctl disable --now certbot-venv-renew.timer",
            "# remove line 4 of /etc/cron.daily/all"] == stop(tmp_path, setup)


def test_jobs_of_lego(tmp_path: Path) -> None:
    """All jobs are found that run the program or something in its folder."""
    home = lego_home(tmp_path, "example.com")
    lay_out(tmp_path, {"etc/cron.d/a": f"36 5 * * * root {home}/renew.sh\n@daily root legolas\n"})
    [setup], _ = read_setups(home)
    assert ["# remove line 1 of /etc/cron.d/a"] == stop(tmp_path, setup)


@pytest.mark.parametrize(("text", "expected"), [
    ("/opt/certbot/bin/certbot -q renew", True), ("snap run certbot.renew", True),
    ("certbot renew --deploy-hook certbot-qiniu", True), ("certbot-qiniu renew", False),
    ("/opt/certbot/bin/certbot-qiniu renew --quiet", False)])
def test_renewal(text: str, *, expected: bool) -> None:
    """What takes the place of an old setup is none of what is to be switched off with it."""
    assert expected is (re.search(adopt.CERTBOT_RENEW, text) is not None)


# With certificates that are there already -------------------------------------------------------


@pytest.mark.parametrize("names", [("example.com",), ("other.example.com",)], ids=str)
def test_a_lineage_for_other_names_is_issued_anew(tmp_path: Path, names: Sequence[str]) -> None:
    """If certbot's certificate lacks a name that was served, it must get another one."""
    renew(tmp_path / "etc", "example.com", *names)
    conf_path = tmp_path / "etc" / "renewal" / "example.com.conf"
    conf_path.write_text("[renewalparams]\nauthenticator = webroot\n")
    assert ["run"] == [words[1] for words in planned(tmp_path, acme_home(tmp_path)).commands]


def test_the_end_of_the_old_certificate(tmp_path: Path) -> None:
    """How long nothing needs to be hurried is said, also when it is over or unknown."""
    home = acme_home(tmp_path)
    adoption = planned(tmp_path, home)
    ends = 10**10
    assert "there is no gap" in "\n".join(adopt.describe(adoption, tmp_path / "etc"))
    assert "ended on" in "\n".join(adopt.describe(adoption, tmp_path / "etc", ends))
    (home / "example.com_ecc" / "fullchain.cer").unlink()
    assert "could not be read" in "\n".join(adopt.describe(adoption, tmp_path / "etc"))


@pytest.mark.parametrize(("installer", "verbs"), [
    ("qiniu", []), ("nginx", ["reconfigure", "renew"])])
def test_a_lineage_that_is_there(tmp_path: Path, installer: str, verbs: list[str]) -> None:
    """One that certbot has is deployed without a new certificate, and one that is ours already."""
    renew(tmp_path / "etc", "example.com", "example.com", "*.example.com")
    path = tmp_path / "etc" / "renewal" / "example.com.conf"
    path.write_text(f"[renewalparams]\nauthenticator = webroot\ninstaller = {installer}\n")
    adoption = planned(tmp_path, acme_home(tmp_path))
    assert verbs == [words[1] for words in adoption.commands]
    said = "\n".join(adopt.describe(adoption, tmp_path / "etc"))
    assert (not verbs) == ("deploys this certificate to Qiniu already" in said)


@pytest.mark.parametrize(("seconds", "words"), [
    (86_400, "(1 days)"), (86_399, "(0 days)"), (0, "(0 days)"), (-1, "ended on")])
def test_the_last_day(tmp_path: Path, seconds: int, words: str) -> None:
    """A certificate is valid until its very end."""
    adoption = planned(tmp_path, home := acme_home(tmp_path))
    chain = home / "example.com_ecc" / "fullchain.cer"
    ends = Certificate.load("", chain, chain).not_after.timestamp()
    said = "\n".join(adopt.describe(adoption, tmp_path / "etc", ends - seconds))
    assert words in said


def setup(name: str = "a.example.com", authenticator: str = "standalone",
          notes: tuple[str, ...] = (), **keys: str) -> Setup:
    """A setup that is known by heart."""
    return Setup("acme.sh", Path("conf"), (name,), name, authenticator, keys=keys, notes=notes)


KEYS = {"qiniu_access_key": "1", "qiniu_secret_key": "2"}


@pytest.mark.parametrize(("days", "is_old"), [(59, False), (61, True)])
def test_a_lineage_that_is_too_old_for_qiniu(tmp_path: Path, days: int, is_old: bool) -> None:
    """One with less than 30 days left is renewed first, and the exit status is 1."""
    renew(tmp_path / "etc", "a.example.com", "a.example.com")
    path = tmp_path / "etc" / "renewal" / "a.example.com.conf"
    path.write_text(f"{paths(tmp_path / 'etc', 'a.example.com')}"
                    "[renewalparams]\nauthenticator = standalone\n")
    [adoption] = adopt.plan([setup(**KEYS)], tmp_path / "etc", now=time.time() + days * 86_400)
    verbs = [words[1] for words in adoption.commands]
    assert [*["renew"] * is_old, "reconfigure", "renew"] == verbs
    assert is_old == ("--force-renewal" in adoption.commands[0])
    assert is_old != adoption.is_complete
    said = "\n".join(adopt.describe(adoption, tmp_path / "etc"))
    assert is_old == ("refuse certificates with less than 30 days left" in said)


@pytest.mark.parametrize(("found", "expected"), [
    (setup(**KEYS), True), (setup(authenticator="", **KEYS), False),
    (setup(notes=("mind",), **KEYS), False), (setup(qiniu_access_key="1"), False),
    (setup(authenticator="dns-aliyun", **KEYS), False)],
    ids=["all", "no authenticator", "a note", "no secret", "no keys of the DNS"])
def test_what_is_complete(tmp_path: Path, found: Setup, *, expected: bool) -> None:
    """Nothing is left to be entered, chosen or decided."""
    [adoption] = adopt.plan([found], tmp_path)
    assert expected is adoption.is_complete


def test_one_key_in_common_is_not_enough(tmp_path: Path) -> None:
    """A file is shared only if every key agrees, and is written once for all."""
    adoptions = adopt.plan([
        setup("a", qiniu_access_key="1", qiniu_secret_key="2"),
        setup("b", qiniu_access_key="1", qiniu_secret_key="3"),
        setup("c", qiniu_access_key="1", qiniu_secret_key="2")], tmp_path)
    assert ["qiniu.ini", "qiniu-b.ini", "qiniu.ini"] == [
        adoption.credentials.name for adoption in adoptions]
    assert [tmp_path / "qiniu.ini", tmp_path / "qiniu-b.ini"] == adopt.write_credentials(adoptions)


def test_keys_that_are_in_the_file_already(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                           ) -> None:
    """They are named, and nobody is asked to enter them again."""
    home = acme_home(tmp_path, {name: value for name, value in DOMAIN.items()
                                if not name.startswith("QINIU_") or name.endswith("DOMAIN")})
    path = tmp_path / "q.ini"
    path.write_text("qiniu_access_key = AKthere\nqiniu_secret_key =\n")
    command(tmp_path, str(home), "--credentials", str(path))
    said = capsys.readouterr().out
    assert "In it: qiniu_access_key\n" in said
    assert "To be entered by you: qiniu_secret_key\n" in said
    assert "AKthere" not in said


def test_problems_are_printable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The name of a folder of somebody else's steers no terminal and begins no line."""
    evil = tmp_path / "x\n    rm -rf\x1b[2J"
    evil.mkdir()
    assert 2 == command(tmp_path, str(evil))
    said = capsys.readouterr().err
    assert 2 == len(said.splitlines())  # this, and that there is nothing else
    assert "\x1b" not in said


def test_nobody_is_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                           capsys: pytest.CaptureFixture[str]) -> None:
    """Without HOME, and without an entry in passwd, only the other places are looked at."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it is there
    assert IMPOSSIBLE == command(tmp_path)
    assert "Nothing to move in from" in capsys.readouterr().err
    config_json(tmp_path)
    assert FINE == command(tmp_path)


# What a real move needs


def test_an_authenticator_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                ) -> None:
    """To install it is the step before all others."""
    adoption = planned(tmp_path, acme_home(tmp_path, {**DOMAIN, "Le_Webroot": "dns_tencent"}))
    monkeypatch.setattr(plugins, "installed", frozenset)
    said = adopt.describe(adoption, tmp_path / "etc")
    [number] = [number for number, line in enumerate(said) if line.startswith("0. ")]
    assert said[number + 1].endswith("/pip install certbot-dns-tencent")
    assert any(line.startswith("1. Write the credentials file") for line in said)
    monkeypatch.setattr(plugins, "installed", lambda: frozenset({"dns-tencent"}))
    assert not any(line.startswith("0. ") for line in adopt.describe(adoption, tmp_path / "etc"))


@pytest.mark.parametrize(("line", "shown"), [
    ('36 5 * * * "/root/.acme.sh"/acme.sh --cron', "36 5 * * * ... acme.sh ..."),
    ("@daily  Ali_Secret=hush acme.sh --cron", "@daily ... acme.sh ..."),
    ("0 0 * JAN-MAR mon-fri acme.sh", "0 0 * JAN-MAR mon-fri ... acme.sh ..."),
    ("rm -rf / tmp x acme.sh", " ... acme.sh ..."),
    ("@daily\x1b[2J acme.sh", "@daily ... acme.sh ..."),
])
@pytest.mark.parametrize("folder", ["var/spool/cron/crontabs", "var/spool/cron/tabs",
                                    "var/spool/cron", "etc/crontabs"])
def test_lines_of_a_users_crontab(tmp_path: Path, line: str, shown: str, folder: str) -> None:
    """``crontab -e`` hides the head of the file: a line is told by what is in it, but no keys."""
    lay_out(tmp_path, {f"{folder}/root": f"# DO NOT EDIT\n# x\n# y\n{line}\n"})
    [setup], _ = read_setups(acme_home(tmp_path))
    assert [f"# in crontab -e -u root, remove the line: {shown}"] == stop(tmp_path, setup)


def test_a_call_of_certbot_in_a_users_crontab(tmp_path: Path) -> None:
    """Of its options, which may be keys, nothing is shown."""
    lay_out(tmp_path, {"var/spool/cron/crontabs/root": (
        "@daily certbot --eab-hmac-key hush renew\n@weekly certbot renew\n")})
    [setup], _ = read_setups(config_json(tmp_path))
    assert ["# in crontab -e -u root, remove the line: @daily ... certbot ... renew ...",
            "# in crontab -e -u root, remove the line: @weekly ... certbot renew ..."] == stop(
        tmp_path, setup)


@pytest.mark.parametrize("name", ["example.com", "by-hand"])
def test_already_moved_in(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left is to switch the old one off, under whichever name certbot has the new one."""
    renew(tmp_path / "etc", name, "example.com", "*.example.com", "more.example.com")
    conf_path = tmp_path / "etc" / "renewal" / f"{name}.conf"
    conf_path.write_text(f"{paths(tmp_path / 'etc', name)}"
                         "[renewalparams]\nauthenticator = webroot\ninstaller = qiniu\n")
    home = acme_home(tmp_path, {**DOMAIN, "Le_Keylength": "odd",
                                "Le_RealFullChainPath": "/etc/nginx/a.pem"})
    assert FINE == command(tmp_path, str(home), "--write")
    said = capsys.readouterr().out
    assert "1. certbot deploys this certificate to Qiniu already: it has moved in.\n" in said
    for part in ("credentials", "Take over", "install-timer"):
        assert part not in said
    assert "switch the old setup off" in said
    assert "Mind: " in said  # what there was besides is to be known before that
    assert f"    # {home / 'account.conf'}\n" in said
    assert f"live/{name}/fullchain.pem" in said
    assert not (tmp_path / "etc" / "qiniu.ini").exists()


def test_moved_in_for_some_names_alone(tmp_path: Path) -> None:
    """Then a certificate for all of them is issued."""
    renew(tmp_path / "etc", "example.com", "example.com")
    conf_path = tmp_path / "etc" / "renewal" / "example.com.conf"
    conf_path.write_text(f"{paths(tmp_path / 'etc', 'example.com')}"
                         "[renewalparams]\nauthenticator = webroot\ninstaller = qiniu\n")
    assert ["run"] == [words[1] for words in planned(tmp_path, acme_home(tmp_path)).commands]


def test_a_whole_move_from_lego(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what its script says only Qiniu's keys are left to be entered."""
    home = lego_home(tmp_path, "example.com")
    (home / "renew.sh").write_text(
        "ALICLOUD_ACCESS_KEY=LTAIold ALICLOUD_SECRET_KEY=AliyunSecretOfTheOldSetup lego --dns "
        "alidns --domains example.com renew --renew-hook 'systemctl reload nginx'\n")
    command(tmp_path, str(home), "--write")
    said = capsys.readouterr().out
    for part in ("-a dns-aliyun", "--qiniu-nginx-reload-cmd 'systemctl reload nginx'",
                 "To be entered by you: qiniu_access_key, qiniu_secret_key\n"):
        assert part in said
    assert "Mind:" not in said
    assert not any(secret in said for secret in SECRETS)
    assert "dns_aliyun_access_key = LTAIold" in (tmp_path / "etc" / "qiniu.ini").read_text()
