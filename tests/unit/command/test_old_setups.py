"""What old setups say is understood, mistrusted, and never run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import old_setups
from certbot_qiniu.command.old_setups import parse_conf, read_setups
from tests.unit.command.homes import (
    DOMAIN,
    acme_home,
    clear,
    conf,
    config_json,
    lego_home,
    packed,
)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crontabs and timers but the test's own."""
    clear(monkeypatch, tmp_path)


# What cannot be read ----------------------------------------------------------------------------


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


@pytest.mark.parametrize("changed", [
    {"Le_Domain": ""}, {"Le_Domain": "exa mple.com"}, {"Le_Domain": "-rf.example.com/../x"},
    {"Le_Alt": "www.example.com,;reboot"}, {"Le_Alt": "*.*.example.com"},
    {"QINIU_SK": "with blanks"}, {"QINIU_AK": "schlüssel"}, {"QINIU_CDN_DOMAIN": "a..b/c"},
    {"Le_API": "https://ca.example.com/ --post-hook=reboot"},
], ids=str)
def test_strange_values_are_refused(tmp_path: Path, changed: dict[str, str]) -> None:
    """What is no name, key or address of its kind reaches no command, and stops no other one."""
    home = acme_home(tmp_path, {**DOMAIN, **changed})
    other = home / "example.org_ecc"
    other.mkdir(exist_ok=True)
    (other / "example.org.conf").write_text(conf({**DOMAIN, "Le_Domain": "example.org",
                                                  "Le_Alt": "no"}))
    found, problems = read_setups(home)
    assert ["example.org"] == [setup.cert_name for setup in found]
    assert 1 == len(problems)


def test_a_cert_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    """A name from a config.json becomes part of paths."""
    path = config_json(tmp_path, certbot={"cert_name": "../../x", "domains": ["example.com"]})
    with pytest.raises(errors.UsageError, match="is no name for a certificate"):
        read_setups(path)


@pytest.mark.parametrize("entry", [[], "x"], ids=str)
def test_a_strange_lego_entry(tmp_path: Path, entry: object) -> None:
    """An entry that is no object is a problem, and no more."""
    found, [problem] = read_setups(lego_home(tmp_path, "example.com", entry=entry))
    assert [] == found
    assert "holds no object" in problem


def test_a_lego_entry_without_its_certificate(tmp_path: Path) -> None:
    """The certificate says what it is for, so without it nothing can be planned."""
    home = lego_home(tmp_path, "example.com")
    (home / "certificates" / "example.com.crt").write_text("cut off")
    found, [problem] = read_setups(home)
    assert [] == found
    assert "Could not read the certificate" in problem


def test_an_unreadable_conf(tmp_path: Path) -> None:
    """An account.conf that cannot be read is reported, and its keys are missing then."""
    home = acme_home(tmp_path)
    (home / "account.conf").unlink()
    (home / "account.conf").mkdir()
    [setup], [problem] = read_setups(home)
    assert "account.conf: is not a file" in problem
    assert ["qiniu_access_key", "qiniu_secret_key"] == sorted(setup.keys)


# acme.sh ----------------------------------------------------------------------------------------


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
    assert ("AKnew", "SKnew") == tuple(setup.keys[name] for name in old_setups.QINIU_KEYS)


# lego -------------------------------------------------------------------------------------------


def test_lego_of_version_5(tmp_path: Path) -> None:
    """It names the certificate by an id, and all domains."""
    home = lego_home(tmp_path, "www.example.com", "example.com",
                     entry={"id": "example.com", "domains": ["example.com", "www.example.com"]})
    [setup], _ = read_setups(home)
    assert ("example.com", "www.example.com") == setup.names


# What is left to the user -----------------------------------------------------------------------


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


@pytest.mark.parametrize(("command", "noted"), [
    (["nginx", "-t"], False), ([], False), (["sh", "-c", "nginx -t; reboot"], True),
    (["true"], True)], ids=["nginx", "none", "a shell", "another program"])
def test_commands_of_a_config_json(tmp_path: Path, command: list[str], noted: bool) -> None:
    """A command is taken over if it is nginx's and needs no shell, and noted if not."""
    path = config_json(tmp_path, nginx={"enabled": True, "test_command": command})
    [setup], _ = read_setups(path)
    assert noted == bool(setup.notes)
    assert (bool(command) and not noted) == ("--qiniu-nginx-test-cmd" in setup.deploying)


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


def test_a_setup_does_not_show_its_keys(tmp_path: Path) -> None:
    """Its repr, as it may come into a log or a traceback, holds no secret."""
    for path in (acme_home(tmp_path), config_json(tmp_path)):
        [setup], _ = read_setups(path)
        assert [] == [secret for secret in setup.keys.values() if secret in repr(setup)]


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


@pytest.mark.parametrize(("names", "expected"), [
    (["*.example.com", "example.com"], "example.com"), (["Example.COM"], "example.com")])
def test_name_of_the_certificate(tmp_path: Path, names: list[str], expected: str) -> None:
    """It is certbot's for the first name: without a star, in small letters."""
    [setup], _ = read_setups(config_json(tmp_path, certbot={"domains": names}))
    assert expected == setup.cert_name


@pytest.mark.parametrize("name", ["example.com/x", "example.com -rf", "example.com\n"], ids=repr)
def test_a_name_with_something_behind_it(tmp_path: Path, name: str) -> None:
    """The whole of a name must be one; only blanks around it do not count."""
    path = config_json(tmp_path, certbot={"domains": [name]})
    if name.strip() == "example.com":
        assert ("example.com",) == read_setups(path)[0][0].names
    else:
        with pytest.raises(errors.UsageError, match="is no name of a domain"):
            read_setups(path)


@pytest.mark.parametrize(("paths", "served"), [
    (("/etc/ssl/a.cer", "/etc/ssl/a.key"), ("/etc/ssl/a.cer", "/etc/ssl/a.key")),
    (("no", "no"), ("", "")), (("", ""), ("", ""))], ids=["paths", "no", "nothing"])
def test_what_nginx_was_given(tmp_path: Path, paths: tuple[str, str],
                              served: tuple[str, str]) -> None:
    """acme.sh writes "no" if it has installed nothing."""
    [setup], _ = read_setups(acme_home(tmp_path, {
        **DOMAIN, "Le_RealFullChainPath": paths[0], "Le_RealKeyPath": paths[1]}))
    assert served == setup.served


@pytest.mark.parametrize(("flags", "options"), [
    ([True, True], ("--redirect",)), ([False, False], ("--no-redirect",)), ([True, False], ()),
    ([None, None], ("--redirect",)), ([None, False], ())],
    ids=["on", "off", "differ", "not said", "said once"])
def test_what_all_domains_share(tmp_path: Path, flags: list[bool | None],
                                options: tuple[str, ...]) -> None:
    """An option speaks for all domains or is left out; the script's own default is on."""
    domains = [{"name": f"{number}.example.com", **({} if flag is None else {"force_https": flag})}
               for number, flag in enumerate(flags)]
    [setup], _ = read_setups(config_json(tmp_path, qiniu={
        "access_key": "AK", "secret_key": "SK", "domains": domains}))
    assert options == tuple(word for word in setup.issuing if word.endswith("redirect"))


@pytest.mark.parametrize(("nginx", "skipped"), [
    ({}, True), ({"enabled": False, "test_command": ["nginx", "-t"]}, True),
    ({"enabled": True}, False)], ids=["not said", "off", "on"])
def test_nginx_of_a_config_json(tmp_path: Path, nginx: dict[str, object], *,
                                skipped: bool) -> None:
    """If the script left nginx alone, its commands are no matter."""
    [setup], _ = read_setups(config_json(tmp_path, nginx=nginx))
    assert skipped == ("--qiniu-skip-nginx" in setup.deploying)
    assert "--qiniu-nginx-test-cmd" not in setup.deploying


def test_unprintable_commands(tmp_path: Path) -> None:
    """What might speak to a terminal reaches no command that is shown."""
    path = config_json(tmp_path, nginx={"enabled": True, "test_command": ["nginx", "\x1b[2J"]})
    [setup], _ = read_setups(path)
    assert "--qiniu-nginx-test-cmd" not in setup.deploying
    assert 1 == len(setup.notes)


# What another user may have written


@pytest.mark.parametrize("command", [
    "nginx -s reload", "/usr/sbin/nginx -s reload", "systemctl reload nginx",
    "systemctl restart nginx.service", "service nginx force-reload", "/etc/init.d/nginx reload",
    "systemctl reload openresty", "nginx -p /usr -s reload",
    "docker exec web nginx -s reload", "docker exec -i web /usr/local/openresty/bin/openresty "
    "-s reload", "docker compose exec -T web nginx -s reload",
    "nginx -c /etc/nginx/nginx.conf -s reload"])
def test_known_reloads(tmp_path: Path, command: str) -> None:
    """They are taken over."""
    [setup], _ = read_setups(acme_home(tmp_path, {**DOMAIN, "Le_ReloadCmd": packed(command)}))
    assert setup.deploying == ("--qiniu-nginx-reload-cmd", command)


@pytest.mark.parametrize(("command", "taken"), [
    ("docker exec -it web nginx -s reload", "docker exec -i web nginx -s reload"),
    ("docker exec -t web nginx -s reload", "docker exec web nginx -s reload"),
    ("podman compose exec -T -t a nginx -s reload", "podman compose exec -T a nginx -s reload")])
def test_reloads_that_want_a_terminal(tmp_path: Path, command: str, taken: str) -> None:
    """A timer has none, and docker would refuse."""
    [setup], _ = read_setups(acme_home(tmp_path, {**DOMAIN, "Le_ReloadCmd": packed(command)}))
    assert ("--qiniu-nginx-reload-cmd", taken) == setup.deploying


@pytest.mark.parametrize("command", [
    "chmod 4755 /usr/sbin/nginx", "sh /srv/nginx/reload.sh", "cp /bin/sh /srv/nginx",
    "nginx -s reload --help x", "systemctl reload nginx evil", "systemctl link /srv/nginx.service",
    "docker run --privileged web nginx -s reload", "python3 nginx", "nginx -s stop",
    "nginx -g evil -s reload", "nginx -s reload\nreboot", "./nginx -s reload",
    "srv/nginx -s reload", "nginx -c conf/nginx.conf -s reload", "nginx -c n.conf -s reload",
    "nginx -p . -s reload", "docker exec web sh -c 'nginx -s reload'"])
def test_other_commands_that_mention_nginx(tmp_path: Path, command: str) -> None:
    """They may do anything, and are left to the user."""
    [setup], _ = read_setups(acme_home(tmp_path, {**DOMAIN, "Le_ReloadCmd": packed(command)}))
    assert setup.deploying == ()
    assert any("Le_ReloadCmd" in note for note in setup.notes)


@pytest.mark.parametrize("form", ["{} -s reload", "nginx -c {} -s reload", "nginx -p {} -s reload",
                                  "{} -c /etc/nginx/nginx.conf -s reload"])
def test_nginx_of_another_user(tmp_path: Path, form: str) -> None:
    """A program, or a configuration, that others may change is never in one of our commands."""
    program = tmp_path / "nginx"
    program.touch(0o755)
    settings = {**DOMAIN, "Le_ReloadCmd": packed(form.format(program))}
    home = acme_home(tmp_path, settings)
    assert read_setups(home)[0][0].deploying
    program.chmod(0o775)
    assert not read_setups(home)[0][0].deploying


def test_keys_that_another_user_may_have_put_there(tmp_path: Path) -> None:
    """With these our private key would go to that user's account: it is said."""
    path = config_json(tmp_path)
    assert not read_setups(path)[0][0].notes
    path.chmod(0o666)
    [note] = read_setups(path)[0][0].notes
    assert f"{path} can be changed by another user" in note


def test_links_to_what_others_may_change(tmp_path: Path) -> None:
    """Where a link leads counts too; one that leads in a circle runs nothing."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "nginx").touch(0o755)
    link, circle = tmp_path / "nginx", tmp_path / "circle" / "nginx"
    link.symlink_to("open/nginx")
    circle.parent.mkdir()
    circle.symlink_to("nginx")
    home = acme_home(tmp_path, {**DOMAIN, "Le_ReloadCmd": packed(f"{link} -s reload")})
    assert read_setups(home)[0][0].deploying
    (tmp_path / "open").chmod(0o777)
    assert not read_setups(home)[0][0].deploying
    config = config_json(tmp_path, nginx={"enabled": True,
                                          "reload_command": [str(circle), "-s", "reload"]})
    assert read_setups(config)[0]


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


@pytest.mark.parametrize("setting", [
    "Le_Webroot", "Le_RealFullChainPath", "Le_RealKeyPath"])
def test_a_line_of_somebody_elses(tmp_path: Path, setting: str) -> None:
    """A value that would begin a line of its own is refused, and not shown."""
    hostile = packed("/srv/www\n    rm -rf /\x1b[2J")
    found, problems = read_setups(acme_home(tmp_path, {**DOMAIN, setting: hostile}))
    assert found == []
    assert "unprintable characters" in problems[0]
    assert "rm -rf" not in problems[0]


def test_a_folder_with_a_line_in_its_name(tmp_path: Path) -> None:
    """Neither is the name of a folder shown as it is."""
    home = acme_home(tmp_path)
    evil = home / "evil\n    rm -rf x"
    evil.mkdir()
    (evil / f"{evil.name}.conf").write_text(conf(DOMAIN))
    found, problems = read_setups(home)
    assert ["example.com"] == [setup.cert_name for setup in found]
    assert "unprintable characters" in problems[0]


@pytest.mark.parametrize("kind", ["acme.sh", "account", "lego", "lego's script", "certificate",
                                  "config.json"])
def test_pipes_and_devices(tmp_path: Path, kind: str) -> None:
    """Another user's pipe would have us wait for ever: only files are read."""
    home = (acme_home(tmp_path) if kind in ("acme.sh", "account") else
            config_json(tmp_path).parent if kind == "config.json" else
            lego_home(tmp_path, "example.com"))
    path = home / {"acme.sh": "example.com_ecc/example.com.conf", "account": "account.conf",
                   "lego": "certificates/example.com.json", "lego's script": "renew.sh",
                   "certificate": "certificates/example.com.crt",
                   "config.json": "config.json"}[kind]
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    if kind == "config.json":
        with pytest.raises(errors.UsageError, match="is no folder"):
            read_setups(path)
        return
    found, problems = read_setups(home)
    assert kind in ("account", "lego's script") or not found
    assert kind == "lego's script" or any("is not a file" in problem for problem in problems)


@pytest.mark.parametrize("text", [
    "[" * 100_000, '{"certbot": ' + "9" * 5000 + "}", " " * 1_000_001],
    ids=["deep", "long number", "large"])
def test_json_that_is_made_to_break(tmp_path: Path, text: str) -> None:
    """It is refused in words."""
    path = config_json(tmp_path)
    path.write_text(text)
    with pytest.raises(errors.UsageError):
        read_setups(path)


@pytest.mark.parametrize("changed", [
    {"nginx": {"enabled": "false"}}, {"nginx": "yes"}, {"nginx": None}, {"certbot": None},
    {"certbot": {"domains": "example.com"}}, {"certbot": {"domains": [1]}},
    {"certbot": {"domains": ["example.com"], "cert_name": 1}}, {"qiniu": []},
    {"qiniu": {"access_key": 1, "secret_key": "s", "domains": []}},
    {"qiniu": {"access_key": "a", "secret_key": "s", "domains": {"name": "x"}}},
    {"qiniu": {"access_key": "a", "secret_key": "s", "domains": [{"name": "x.test",
                                                                "force_https": "no"}]}},
    {"aliyun": {"dns_propagation_seconds": float("inf")}}, {"aliyun": "key"},
], ids=str)
def test_a_config_json_with_wrong_types(tmp_path: Path, changed: dict[str, object]) -> None:
    """The file is named, and nothing is guessed."""
    path = config_json(tmp_path, **changed)
    with pytest.raises(errors.UsageError):
        read_setups(path)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors of Windows write one; it is no part of the text."""
    path = config_json(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    home = acme_home(tmp_path)
    account = home / "account.conf"
    account.write_bytes(b"\xef\xbb\xbf" + account.read_bytes().replace(b"\n", b"\r\n"))
    assert [1, 1] == [len(read_setups(place)[0]) for place in (path, home)]
    assert [] == read_setups(home)[1]


def test_a_command_in_one_string(tmp_path: Path) -> None:
    """A config.json may have a command as a list of words, or as they are typed."""
    path = config_json(tmp_path, nginx={"enabled": True,
                                        "reload_command": "systemctl reload nginx"})
    assert ("--qiniu-nginx-reload-cmd", "systemctl reload nginx") == (
        read_setups(path)[0][0].deploying[-2:])


# lego's script


RENEW = """#!/bin/sh
export ALICLOUD_ACCESS_KEY=LTAIold
export ALICLOUD_SECRET_KEY=AliyunSecretOfTheOldSetup
lego --email admin@example.com --dns alidns --domains '*.example.com' --domains example.com \\
    --path /root/.lego renew --days 45 --renew-hook 'docker exec web nginx -s reload'
"""


@pytest.mark.parametrize("place", ["home/.lego/renew.sh", "opt/renew.sh"])
def test_renew_sh_of_lego(tmp_path: Path, place: str) -> None:
    """The DNS provider, its keys and the hook are in the script that a crontab runs."""
    home = lego_home(tmp_path, "*.example.com", "example.com")
    script = tmp_path / place
    script.parent.mkdir(exist_ok=True)
    script.write_text(RENEW)
    (tmp_path / "cron.d").mkdir()
    (tmp_path / "cron.d" / "lego").write_text(f"36 5 * * * root {script} >/dev/null # lego\n")
    [setup], problems = read_setups(home)
    assert ("dns-aliyun", (), []) == (setup.authenticator, setup.notes, problems)
    assert ("--qiniu-nginx-reload-cmd", "docker exec web nginx -s reload") == setup.deploying
    assert {"dns_aliyun_access_key": "LTAIold",
            "dns_aliyun_access_key_secret": "AliyunSecretOfTheOldSetup"} == setup.keys
    assert script in setup.secrets


@pytest.mark.parametrize(("options", "authenticator", "note"), [
    ("--http", "standalone", None), ("--http --http.webroot /srv/www", "webroot", None),
    ("--dns tencentcloud", "dns-tencent", None), ("--dns cloudflare", "", "by cloudflare"),
    ("--dns $PROVIDER", "", "an unknown provider"), ("--dns 'x y'", "", "an unknown provider"),
    ("--http --key-type ec384", "standalone", None), ("--http -k rsa1024", "standalone", "1024"),
    ("--http --renew-hook 'chmod 4755 /bin/sh'", "standalone", "--renew-hook in"),
    ("--http --server https://ca.example/dir", "standalone", "EAB"),
    ("--http --run-hook './nginx -s reload'", "standalone", "--run-hook in"),
])
def test_what_lego_was_told(tmp_path: Path, options: str, authenticator: str, note: str | None,
                            ) -> None:
    """What certbot can do is taken over, and of the rest it is said where it stands."""
    home = lego_home(tmp_path, "example.com")
    (home / "renew.sh").write_text(f"lego {options} -d example.com renew\n")
    [setup], _ = read_setups(home)
    assert authenticator == setup.authenticator
    assert ([], "") if note is None else note in " ".join(setup.notes)
    assert bool(note) is bool(setup.notes)
    assert () == setup.deploying


def test_keys_that_a_shell_would_find(tmp_path: Path) -> None:
    """They are not guessed."""
    home = lego_home(tmp_path, "example.com")
    (home / "renew.sh").write_text("ALICLOUD_SECRET_KEY=\"$(cat /k)\" lego --dns alidns renew\n")
    [setup], _ = read_setups(home)
    assert ("dns-aliyun", {}) == (setup.authenticator, setup.keys)


# What is left over


def test_files_with_keys(tmp_path: Path) -> None:
    """Those of the old setup itself are named; paths that its files name may be anybody's."""
    home = acme_home(tmp_path, {**DOMAIN, "Le_RealKeyPath": "/etc/shadow"})
    key = home / "example.com_ecc" / "example.com.key"
    key.touch()
    assert {home / "account.conf", home / "example.com_ecc" / "example.com.conf", key} == set(
        read_setups(home)[0][0].secrets)
    config = config_json(tmp_path)
    assert (config,) == read_setups(config)[0][0].secrets
