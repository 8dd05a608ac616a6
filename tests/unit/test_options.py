"""The options, which must survive certbot's renewal conf."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import configobj
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from certbot_qiniu import errors, options
from certbot_qiniu.options import OptionError, Settings, parse_command


@pytest.mark.parametrize("value", [
    "", " ", ",", "a", "auto,a", "auto,a.example.com", "a.example.com,*", "a.example.com b.cn",
    [], [""], ["auto", "a.example.com"], ["a.example.com,b.example.com"], ["a.example.com", "b"],
])
def test_bad_domains(value: str | list[str]) -> None:
    """A list with anything in it that is no domain is refused."""
    with pytest.raises(OptionError):
        options.domain_list(value)


@pytest.mark.parametrize(("value", "stored"), [
    ("auto", "auto"), ("AUTO", "auto"), (" auto ,", "auto"), (["auto"], "auto"),
    ("a.example.com", "a.example.com"),
    ("*.Example.com, .example.com,", ".example.com"),
    ("b.example.com, a.example.com,b.example.com", "b.example.com,a.example.com"),
    (["b.example.com", " a.example.com"], "b.example.com,a.example.com"),
])
def test_domains(value: str | list[str], stored: str) -> None:
    """Domains are stored in Qiniu's spelling, each once, in the user's order."""
    assert options.domain_list(value) == stored


@pytest.mark.parametrize(("convert", "value"), [
    (options.http2_mode, ""), (options.http2_mode, "ON"), (options.http2_mode, "true"),
    (options.http2_mode, ["on", "off"]),
    (options.service_list, ""), (options.service_list, ","), (options.service_list, "cdn,qvs"),
    (options.service_list, ["cdn", "dcdn"]),
    (options.count, ""), (options.count, "-1"), (options.count, "101"), (options.count, "1.5"),
    (options.count, "many"), (options.count, ["1", "2"]),
    (options.seconds, "-1"), (options.seconds, "86401"), (options.seconds, "15m"),
    (options.seconds, ["900"]),
    (options.command, ""), (options.command, "  "), (options.command, "nginx '-t"),
    (options.command, ["docker exec 'web", "nginx"]),
    (options.other_installer_options, "--nginx-ctl 'nginx"),
    (options.other_installer_options, ["'a", "b"]),
])
def test_bad_value(convert: Callable[[Any], Any], value: Any) -> None:
    """Nonsense, by hand or in a conf, is refused in words, for argparse and certbot alike."""
    with pytest.raises(OptionError) as caught:
        convert(value)
    assert str(caught.value)
    assert isinstance(caught.value, argparse.ArgumentTypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("convert", "low", "high"), [
    (options.count, 0, 100), (options.seconds, 0, 86_400),
])
def test_bounds(convert: Callable[[Any], int], low: int, high: int) -> None:
    """The bounds of a number belong to it."""
    assert (convert(str(low)), convert(str(high))) == (low, high)


def test_command_with_commas() -> None:
    """A command with commas is the same again after configobj made a list of it."""
    assert options.command(["docker exec web -g a", "b -t"]) == "docker exec web -g a,b -t"


LABELS = st.sampled_from(["a", "b-1", "www", "*"])
NAMES = st.lists(LABELS.filter(lambda label: label != "*"), min_size=1, max_size=2).map(
    lambda labels: ".".join([*labels, "example.com"]))
DOMAIN_LISTS = st.just("auto") | st.lists(
    st.builds(lambda star, name: star + name, st.sampled_from(["", "*.", "."]), NAMES),
    min_size=1, max_size=4).map(", ".join)
WORDS = st.text("abz-/=,.'\"#;%$\\ ~", min_size=1, max_size=12)
CONVERSIONS: dict[str, tuple[Callable[[Any], Any], st.SearchStrategy[str]]] = {
    "domains": (options.domain_list, DOMAIN_LISTS),
    "exclude": (options.exclude_list, DOMAIN_LISTS | st.just("none")),
    "tls": (options.tls_versions, st.sampled_from(["1.2", "1.3", "1.3, 1.2", "keep", "1.1"])),
    "services": (options.service_list, st.permutations(["cdn", " kodo", "PILI,"]).map(",".join)),
    "http2": (options.http2_mode, st.sampled_from(["on", "off", "keep"])),
    "keep-certificates": (options.count, st.integers(0, 100).map(str)),
    "publish-timeout": (options.seconds, st.integers(0, 86_400).map(str)),
    "nginx-test-cmd": (options.command, WORDS),
    "nginx-reload-cmd": (options.command, WORDS),
    "with-options": (options.other_installer_options, WORDS),
}


def test_every_type_is_tried() -> None:
    """The round trip below is that of every option with a type, and of that very type."""
    types = {name: option["type"] for name, option in options.OPTIONS.items() if "type" in option}
    assert types == {name: convert for name, (convert, _) in CONVERSIONS.items()}


@pytest.mark.parametrize("name", CONVERSIONS)
@given(data=st.data())
@settings(deadline=None, max_examples=40,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(name: str, data: st.DataObject, tmp_path: Path) -> None:
    """An option's value is stored in a conf, and is the same when it is restored from it."""
    convert, values = CONVERSIONS[name]
    try:
        value = convert(data.draw(values))
    except OptionError:
        return
    assert convert(value) == value
    path = tmp_path / "renewal.conf"
    conf = configobj.ConfigObj(encoding="utf-8", default_encoding="utf-8")
    conf["option"] = str(value)
    conf.filename = str(path)
    conf.write()
    restored = configobj.ConfigObj(str(path), encoding="utf-8", default_encoding="utf-8")
    assert convert(restored["option"]) == value


@given(st.lists(NAMES, min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
@example(["a.example.com", "b.example.com"])
def test_list_by_hand(names: list[str]) -> None:
    """A list that somebody wrote into a conf means the same as the string."""
    by_hand = configobj.ConfigObj([f"domains = {', '.join([*names, ''])}"])["domains"]
    assert isinstance(by_hand, list)
    assert options.domain_list(by_hand) == options.domain_list(",".join(names))


def parser() -> argparse.ArgumentParser:
    """The options as certbot declares them."""
    parser = argparse.ArgumentParser(prog="certbot", exit_on_error=False)

    def add(name: str, **settings: Any) -> None:
        parser.add_argument(f"--qiniu-{name}", **settings)

    options.add_arguments(add)
    return parser


def read(*arguments: str) -> Settings:
    """The settings that a command line stands for."""
    found = vars(parser().parse_args(arguments))
    return Settings.read(lambda name: found[f"qiniu_{name.replace('-', '_')}"])


def test_defaults() -> None:
    """Without options: any domain that fits, settings as they are, nginx reloaded."""
    assert read() == Settings(
        credentials=None, domains=None, http2=None, keep_certificates=1, publish_timeout=1800,
        nginx_test_cmd="nginx -t", nginx_reload_cmd=None, skip_nginx=False)


def test_settings() -> None:
    """Each option arrives in its setting."""
    assert read(
        "--qiniu-credentials", "~/q.ini", "--qiniu-domains", "*.example.com,a.cn",
        "--qiniu-http2", "off", "--qiniu-keep-certificates", "0", "--qiniu-publish-timeout", "5",
        "--qiniu-nginx-test-cmd", "docker exec web nginx -t", "--qiniu-nginx-reload-cmd", "r",
        "--qiniu-skip-nginx",
    ) == Settings(str(Path.home() / "q.ini"), (".example.com", "a.cn"), False, 0, 5,
                  "docker exec web nginx -t", "r", True)
    assert read("--qiniu-http2", "on").http2 is True
    assert ("TLSv1.2", "TLSv1.3") == read("--qiniu-tls", "1.3,1.2").tls_versions
    assert ("TLSv1.3",) == read("--qiniu-tls", "1.3").tls_versions
    assert read("--qiniu-tls", "keep").tls_versions is None
    assert (".a.cn", "*.a.cn") == read("--qiniu-exclude", ".a.cn, *.A.cn,.a.cn").excluded


def test_words() -> None:
    """Options with other values than the default are written as on a command line."""
    given = ("--qiniu-exclude", "*.a.cn", "--qiniu-http2", "off", "--qiniu-tls", "1.2")
    assert given == read(*given).words
    assert () == read("--qiniu-exclude", "none", "--qiniu-tls", "keep").words


def test_exclude_with_a_list() -> None:
    """A list takes what it names, so nothing is to be left out of it."""
    with pytest.raises(errors.UsageError, match="is for --qiniu-domains auto"):
        read("--qiniu-exclude", "a.cn", "--qiniu-domains", "b.cn")
    assert ("b.cn",) == read("--qiniu-exclude", "none", "--qiniu-domains", "b.cn").domains


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("domains", None, "auto"), ("services", None, "cdn,kodo"), ("publish-timeout", None, 1800),
    ("nginx-test-cmd", None, "nginx -t"), ("with", None, None), ("credentials", True, "True"),
    ("exclude", None, "none"), ("tls", None, "keep"),
    ("skip-nginx", "yes", True), ("skip-nginx", "0", False), ("skip-nginx", None, False),
    ("skip-nginx", True, True), ("skip-nginx", ["False", "True"], False), ("http2", "on", "on")])
def test_words_in_a_conf(name: str, value: object, expected: object) -> None:
    """None means the default there, and certbot makes no text of True."""
    assert expected == options.restored(name, value)


@pytest.mark.parametrize("name", ["http2", "services", "keep-certificates", "domains", "tls",
                                  "exclude"])
def test_nonsense_in_a_conf(name: str) -> None:
    """It is an error that names the option, and no traceback."""
    with pytest.raises(errors.UsageError, match=f"--qiniu-{name}: .*(?i:true)"):
        Settings.read(lambda asked: asked == name or options.OPTIONS[asked].get("default"))


def test_bad_option_on_the_command_line() -> None:
    """argparse shows our words, with the name of the option."""
    with pytest.raises(argparse.ArgumentError, match="-http2: 'of' is none of on, off, keep"):
        parser().parse_args(["--qiniu-http2", "of"])


def test_help() -> None:
    """Every option has a help text that argparse can print, and a default that is stored as is."""
    text = parser().format_help()
    for name, option in options.OPTIONS.items():
        assert f"--qiniu-{name}" in text
        assert option["help"]
        if "type" in option and option.get("default") is not None:
            assert option["type"](option["default"]) == option["default"]


@pytest.mark.parametrize(("given", "stored"), [
    ("./reload.sh now", "/srv/reload.sh now"), ("bin/nginx -t", "/srv/bin/nginx -t"),
    ("'../a b' x", "'/a b' x"), ("nginx -t", "nginx -t"), ("/opt/nginx -t -c n.conf",
                                                           "/opt/nginx -t -c n.conf")])
@pytest.mark.parametrize("option", ["test", "reload"])
def test_relative_command(option: str, given: str, stored: str, monkeypatch: pytest.MonkeyPatch,
                          ) -> None:
    """A timer runs in another folder: a program is stored with the one it was given in."""
    monkeypatch.setattr("os.getcwd", lambda: "/srv")
    found = parser().parse_args([f"--qiniu-nginx-{option}-cmd", given])
    assert stored == getattr(found, f"qiniu_nginx_{option}_cmd")


def test_quoted_command() -> None:
    """A command is split as a shell does, and nothing else of a shell is done."""
    assert parse_command("'a b' $HOME && *", "--some-option") == ["a b", "$HOME", "&&", "*"]


@pytest.mark.parametrize("option", ["credentials", "hook"])
@pytest.mark.parametrize(("given", "stored"), [
    ("a b/c", "{}/a b/c"), ("/a/../b", "/b"), ("~/h", "/srv/x/h"), (".", "{}"), ("", "")])
def test_paths(option: str, given: str, stored: str, monkeypatch: pytest.MonkeyPatch,
               tmp_path: Path) -> None:
    """One that is given is stored with its folder; an empty one is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/srv/x")
    assert stored.format(tmp_path) == getattr(read(f"--qiniu-{option}", given), option)
