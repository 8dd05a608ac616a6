"""What another program's files say is mistrusted, whichever they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command.setups.old_setups import read_setups
from tests.unit.command.homes import (
    DOMAIN,
    acme_home,
    clear,
    conf,
    config_json,
    packed,
)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crontabs and timers but the test's own."""
    clear(monkeypatch, tmp_path)


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


def test_a_setup_does_not_show_its_keys(tmp_path: Path) -> None:
    """Its repr, as it may come into a log or a traceback, holds no secret."""
    for path in (acme_home(tmp_path), config_json(tmp_path)):
        [setup], _ = read_setups(path)
        assert [] == [secret for secret in setup.keys.values() if secret in repr(setup)]


@pytest.mark.parametrize("name", ["example.com/x", "example.com -rf", "example.com\n"], ids=repr)
def test_a_name_with_something_behind_it(tmp_path: Path, name: str) -> None:
    """The whole of a name must be one; only blanks around it do not count."""
    path = config_json(tmp_path, certbot={"domains": [name]})
    if name.strip() == "example.com":
        assert ("example.com",) == read_setups(path)[0][0].names
    else:
        with pytest.raises(errors.UsageError, match="is no name of a domain"):
            read_setups(path)


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


@pytest.mark.parametrize("setting", [
    "Le_Webroot", "Le_RealFullChainPath", "Le_RealKeyPath"])
def test_a_line_of_somebody_elses(tmp_path: Path, setting: str) -> None:
    """A value that would begin a line of its own is refused, and not shown."""
    hostile = packed("/srv/www\n    rm -rf /\x1b[2J")
    found, problems = read_setups(acme_home(tmp_path, {**DOMAIN, setting: hostile}))
    assert found == []
    assert "unprintable characters" in problems[0]
    assert "rm -rf" not in problems[0]
