"""What the config.json of a script says, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command.setups.old_setups import read_setups
from tests.unit.command.homes import (
    clear,
    config_json,
)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crontabs and timers but the test's own."""
    clear(monkeypatch, tmp_path)


def test_a_cert_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    """A name from a config.json becomes part of paths."""
    path = config_json(tmp_path, certbot={"cert_name": "../../x", "domains": ["example.com"]})
    with pytest.raises(errors.UsageError, match="is no name for a certificate"):
        read_setups(path)


@pytest.mark.parametrize(("command", "noted"), [
    (["nginx", "-t"], False), ([], False), (["sh", "-c", "nginx -t; reboot"], True),
    (["true"], True)], ids=["nginx", "none", "a shell", "another program"])
def test_commands_of_a_config_json(tmp_path: Path, command: list[str], noted: bool) -> None:
    """A command is taken over where it is nginx's and needs no shell, and noted where not."""
    path = config_json(tmp_path, nginx={"enabled": True, "test_command": command})
    [setup], _ = read_setups(path)
    assert noted == bool(setup.notes)
    assert (bool(command) and not noted) == ("--qiniu-nginx-test-cmd" in setup.deploying)


@pytest.mark.parametrize(("names", "expected"), [
    (["*.example.com", "example.com"], "example.com"), (["Example.COM"], "example.com")])
def test_name_of_the_certificate(tmp_path: Path, names: list[str], expected: str) -> None:
    """It is certbot's for the first name: without a star, in small letters."""
    [setup], _ = read_setups(config_json(tmp_path, certbot={"domains": names}))
    assert expected == setup.cert_name


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
    """Where the script left nginx alone, its commands are no matter."""
    [setup], _ = read_setups(config_json(tmp_path, nginx=nginx))
    assert skipped == ("--qiniu-skip-nginx" in setup.deploying)
    assert "--qiniu-nginx-test-cmd" not in setup.deploying


def test_unprintable_commands(tmp_path: Path) -> None:
    """What might speak to a terminal reaches no command that is shown."""
    path = config_json(tmp_path, nginx={"enabled": True, "test_command": ["nginx", "\x1b[2J"]})
    [setup], _ = read_setups(path)
    assert "--qiniu-nginx-test-cmd" not in setup.deploying
    assert 1 == len(setup.notes)


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


def test_a_command_in_one_string(tmp_path: Path) -> None:
    """A config.json may have a command as a list of words, or as they are typed."""
    path = config_json(tmp_path, nginx={"enabled": True,
                                        "reload_command": "systemctl reload nginx"})
    assert ("--qiniu-nginx-reload-cmd", "systemctl reload nginx") == (
        read_setups(path)[0][0].deploying[-2:])
