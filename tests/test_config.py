"""The options, which must survive certbot's renewal conf, and the credentials file."""

from __future__ import annotations

import argparse
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import configobj
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from certbot_qiniu import errors, options
from certbot_qiniu.options import Credentials, OptionError, Settings

AK, SK = "access-key-0123456789", "SECRET-key_0123456789"
VALID = f"qiniu_access_key = {AK}\nqiniu_secret_key = {SK}\n"

# Options


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
    (options.partner_options, "--nginx-ctl 'nginx"), (options.partner_options, ["'a", "b"]),
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
    "services": (options.service_list, st.permutations(["cdn", " kodo", "PILI,"]).map(",".join)),
    "http2": (options.http2_mode, st.sampled_from(["on", "off", "keep"])),
    "keep-certificates": (options.count, st.integers(0, 100).map(str)),
    "publish-timeout": (options.seconds, st.integers(0, 86_400).map(str)),
    "nginx-test-cmd": (options.command, WORDS),
    "nginx-reload-cmd": (options.command, WORDS),
    "with-options": (options.partner_options, WORDS),
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
    """What an option became is stored in a conf, and is the same when it comes back from it."""
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
        credentials=None, domains=None, http2=None, keep_certificates=1, publish_timeout=900,
        nginx_test_cmd="nginx -t", nginx_reload_cmd=None, skip_nginx=False)


def test_settings() -> None:
    """Each option arrives in its setting."""
    assert read(
        "--qiniu-credentials", "~/q.ini", "--qiniu-domains", "*.example.com,a.cn",
        "--qiniu-http2", "off", "--qiniu-keep-certificates", "0", "--qiniu-publish-timeout", "5",
        "--qiniu-nginx-test-cmd", "docker exec web nginx -t", "--qiniu-nginx-reload-cmd", "r",
        "--qiniu-skip-nginx",
    ) == Settings("~/q.ini", (".example.com", "a.cn"), False, 0, 5, "docker exec web nginx -t",
                  "r", True)
    assert read("--qiniu-http2", "on").http2 is True


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


# Credentials


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """A credentials file as it should be."""
    path = tmp_path / "qiniu.ini"
    path.touch(mode=0o600)
    path.write_text(VALID)
    return path


def refusal(path: Path | str) -> str:
    """Why a credentials file is refused; never in words that hold a key."""
    with pytest.raises(errors.UsageError) as caught:
        Credentials.load(str(path))
    text = str(caught.value)
    assert str(path) in text
    assert AK not in text
    assert SK not in text
    return text


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is an error with its name."""
    assert "No such file" in refusal(tmp_path / "gone.ini")
    assert "Not a directory" in refusal(Path(__file__, "qiniu.ini"))


def test_directory(tmp_path: Path) -> None:
    """A folder is no credentials file."""
    assert refusal(tmp_path).endswith("is not a file")


@pytest.mark.parametrize("call", ["stat", "read_text"])
def test_unreadable(call: str, ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be looked at or read is an error with its name."""
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, refuse)
        assert "Permission denied" in refusal(ini)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o777])
def test_open_to_others(mode: int, ini: Path) -> None:
    """A file that others may read or change is refused with the command that mends it."""
    ini.chmod(mode)
    assert f"(mode {mode:04o}). Run: chmod 600 {ini}" in refusal(ini)


@pytest.mark.parametrize(("text", "missing"), [
    ("", ["qiniu_access_key", "qiniu_secret_key"]),
    (f"qiniu_access_key = {AK}", ["qiniu_secret_key"]),
    (f"qiniu_secret_key = {SK}", ["qiniu_access_key"]),
    (f"qiniu_access_key =\nqiniu_secret_key = {SK}", ["qiniu_access_key"]),
    (f"qiniu_access_key = ''\nqiniu_secret_key = {SK}", ["qiniu_access_key"]),
    (f"access_key = {AK}\nsecret_key = {SK}", ["qiniu_access_key", "qiniu_secret_key"]),
    (f"[qiniu]\n{VALID}", ["qiniu_access_key", "qiniu_secret_key"]),
], ids=["empty", "no secret", "no access", "empty value", "empty quotes", "other names", "section"])
def test_missing_keys(text: str, missing: list[str], ini: Path) -> None:
    """All keys that are missing are named at once, in the file's own words."""
    ini.write_text(text)
    found = refusal(ini)
    assert [name for name in ("qiniu_access_key", "qiniu_secret_key") if name in found] == missing


@pytest.mark.parametrize("text", [
    f"qiniu_access_key = {AK}\nqiniu_secret_key: {SK}\n",
    f"qiniu_access_key = {AK}\nqiniu_secret_key {SK}\n",
    f"{AK}\n{SK}\n",
    f"{VALID}qiniu_secret_key = {SK}\n",
    f"{VALID}[section\n",
    f"{VALID}x = '''{SK}\n",
    f"qiniu_access_key = {AK}\nqiniu_secret_key = \"{SK}\n",
], ids=["colon", "nothing between", "bare keys", "twice", "half a section", "triple quotes",
        "half a quote"])
def test_malformed(text: str, ini: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line that cannot be read is quoted nowhere, for it may hold the secret key."""
    ini.write_text(text)
    with caplog.at_level(logging.DEBUG):
        assert refusal(ini).endswith("is malformed: each line must read name = value")
    assert SK not in caplog.text


def test_no_utf8(ini: Path) -> None:
    """A file in another encoding is called so."""
    ini.write_bytes("# 七牛\n".encode("gb18030") + VALID.encode())
    assert refusal(ini).endswith("is not UTF-8 text")


@pytest.mark.parametrize("key", [
    "has space", "'  '", "one, two", f"{SK},", "密钥", "a\x7fb", "a\tb",
], ids=["space", "only spaces", "list", "list of one", "Chinese", "control", "tab"])
@pytest.mark.parametrize("name", ["qiniu_access_key", "qiniu_secret_key"])
def test_impossible_key(name: str, key: str, ini: Path) -> None:
    """A key with anything in it that no key has is refused before Qiniu is asked."""
    other = ({"qiniu_access_key", "qiniu_secret_key"} - {name}).pop()
    ini.write_text(f"{name} = {key}\n{other} = another\n", encoding="utf-8")
    refusal(ini)


@pytest.mark.parametrize("text", [
    VALID,
    VALID.replace("\n", "\r\n"),
    f"\ufeff{VALID}",
    f"qiniu_access_key={AK}\n   qiniu_secret_key   =   '{SK}'   # mine\n",
    f"# 七牛云的密钥\ndns_aliyun_access_key = x\ndns_aliyun_access_key_secret = y\n{VALID}",
], ids=["plain", "Windows", "byte order mark", "spaces and quotes", "shared with Aliyun"])
def test_credentials(text: str, ini: Path) -> None:
    """A credentials file is read as certbot's DNS plugins read theirs."""
    ini.write_bytes(text.encode())
    assert Credentials.load(str(ini)) == Credentials(AK, SK)


def test_tilde(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde stands for the home directory."""
    monkeypatch.setenv("HOME", str(ini.parent))
    assert Credentials.load(f"~{os.sep}{ini.name}") == Credentials(AK, SK)


def test_link(ini: Path) -> None:
    """The mode that counts is that of the file, not of a link to it."""
    link = ini.with_name("link.ini")
    link.symlink_to(ini)
    assert Credentials.load(str(link)) == Credentials(AK, SK)
    ini.chmod(0o644)
    assert "chmod 600" in refusal(link)


def test_repr() -> None:
    """The keys are in no repr."""
    assert repr(Credentials(AK, SK)) == str(Credentials(AK, SK)) == "Credentials(…)"
