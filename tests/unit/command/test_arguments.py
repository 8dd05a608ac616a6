"""What subcommands share: their options, certbot's configuration, and our renewals."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import shtab
from certbot.compat import misc

from certbot_qiniu import errors
from certbot_qiniu.command import arguments, cli
from certbot_qiniu.lineages import read_renewals


def test_completion_of_paths() -> None:
    """What is completed with files and folders is what shtab calls so."""
    for ours, theirs in ((arguments.A_FILE, shtab.FILE), (arguments.A_FOLDER, shtab.DIRECTORY)):
        assert ours.items() <= theirs.items()


def parsed(*options: str) -> argparse.Namespace:
    """What every subcommand has, as it was given."""
    parser = argparse.ArgumentParser()
    arguments.add_common(parser)
    return arguments.as_certbot(parser.parse_args(options))


@pytest.mark.parametrize(("options", "expected"), [
    ((), []), (("--work-dir", "/w"), ["--work-dir=/w"]),
    (("--logs-dir=/a b", "--config-dir=/c"), ["--config-dir=/c", "--logs-dir=/a b"]),
    (("--config-dir", misc.get_default_folder("config")), []),
], ids=["the usual ones", "one", "two", "the usual one by name"])
def test_folder_options(options: tuple[str, ...], expected: list[str]) -> None:
    """Folders are named if they are not the usual ones, in one order."""
    assert expected == arguments.folder_options(parsed(*options))


def test_paths_do_not_follow_the_working_directory(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer runs elsewhere than the user who set it up."""
    monkeypatch.chdir(tmp_path)
    assert tmp_path / "etc" == parsed("--config-dir", "etc").config_dir


@pytest.mark.parametrize("option", ["--deadline=inf", "--deadline=nan", "--deadline=-1",
                                    "--deadline=1e9", "--deadline=x", "--watch=inf"])
def test_times_that_nobody_can_wait_for(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are refused before anything is done."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(["status", option])
    assert option.partition("=")[2] in capsys.readouterr().err


def conf(folder: Path, name: str, **params: Any) -> None:
    """Write a renewal conf."""
    path = folder / "renewal" / f"{name}.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text("[renewalparams]\nauthenticator = webroot\n" + "".join(
        f"{key} = {value}\n" for key, value in params.items()))


@pytest.fixture
def ini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that certbot finds below the user's own configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    path = tmp_path / "xdg" / "letsencrypt" / "cli.ini"
    path.parent.mkdir(parents=True)
    return path


def test_no_configuration_file() -> None:
    """Without one everything is as usual."""
    found = parsed()
    assert ({}, None, Path(misc.get_default_folder("config"))) == (
        found.given, found.config, found.config_dir)


def test_cli_ini(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """certbot's own files are read as certbot reads them; the command line goes before them."""
    monkeypatch.chdir(ini.parent)
    ini.write_text("config-dir = etc\nlogs-dir = /logs\nserver = https://example.com\n"
                   "installer = qiniu\nqiniu-skip-nginx = true\nqiniu-credentials = q.ini\n"
                   "qiniu-domains = *.Example.com, a.example.com\n# qiniu-http2 = on\n")
    found = parsed("--logs-dir", "/mine")
    assert (ini.parent / "etc", Path("/mine"), Path(misc.get_default_folder("work"))) == (
        found.config_dir, found.logs_dir, found.work_dir)
    assert {"installer": "qiniu", "qiniu_skip_nginx": True, "qiniu_credentials":
            str(ini.parent / "q.ini"), "qiniu_domains": ".example.com,a.example.com"} == found.given
    assert [f"--config-dir={ini.parent}/etc", "--logs-dir=/mine"] == (
        arguments.folder_options(found))


def test_configuration_file_that_is_given(ini: Path, tmp_path: Path) -> None:
    """``--config FILE`` goes before ``cli.ini``, and is named to what a timer runs."""
    ini.write_text("work-dir = /w\nqiniu-http2 = on\n")
    other = tmp_path / "other.ini"
    other.write_text("qiniu-http2 = off\nconfigurator = qiniu\n")
    found = parsed("--config", str(other))
    assert ({"qiniu_http2": "off", "authenticator": "qiniu", "installer": "qiniu"}, Path("/w")
            ) == (found.given, found.work_dir)
    assert [f"--config={other}", "--work-dir=/w"] == arguments.folder_options(found)


@pytest.mark.parametrize(("text", "words"), [
    ("qiniu-http2 = of\n", "'of' is none of on, off, keep"), ("qiniu-skip-nginx = perhaps\n", ""),
    (None, "Unable to open config file")], ids=["nonsense", "damaged", "missing"])
def test_bad_configuration_file(tmp_path: Path, text: str | None, words: str) -> None:
    """What certbot refuses is refused in words, and not with its usage."""
    path = tmp_path / "my.ini"
    if text:
        path.write_text(text)
    with pytest.raises(errors.UsageError, match=f"certbot's configuration files: .*{words}"):
        parsed("--config", str(path))


def test_configuration_file_in_another_locale(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What certbot would crash at is said, with what helps."""
    def refuse(*_arguments: object) -> None:
        raise UnicodeDecodeError("ascii", b"\xe9", 0, 1, "ordinal not in range(128)")

    monkeypatch.setattr("configargparse.ArgParser.parse_args", refuse)
    with pytest.raises(errors.UsageError, match=r"as ascii.*LC_ALL=C\.UTF-8"):
        parsed()


def test_given_for_all(ini: Path, tmp_path: Path) -> None:
    """An installer and options in certbot's file are those of every lineage."""
    ini.write_text("installer = qiniu\nqiniu-http2 = off\n")
    conf(tmp_path, "a.example.com", installer="nginx")
    conf(tmp_path, "b.example.com", qiniu_http2="on")
    found = parsed("--config-dir", str(tmp_path))
    assert [("a.example.com", False), ("b.example.com", False)] == [
        (one.lineage, one.settings.http2) for one in arguments.our_renewals(found)]


def test_our_renewals(tmp_path: Path) -> None:
    """Those with our installer, all or the one that is named; damaged ones are in nobody's way."""
    conf(tmp_path, "a.example.com", installer="qiniu")
    conf(tmp_path, "b.example.com", installer="nginx")
    conf(tmp_path, "c.example.com", installer="qiniu")
    (tmp_path / "renewal" / "d.example.com.conf").write_text("damaged")

    def found(name: str = "") -> list[str]:
        return [renewal.lineage for renewal in arguments.our_renewals(
            parsed("--config-dir", str(tmp_path)), name)]

    assert ["a.example.com", "c.example.com"] == found()
    assert ["c.example.com"] == found("c.example.com")


@pytest.mark.parametrize(("name", "words"), [
    ("", r"No renewal conf in {}/renewal says installer = qiniu"),
    ("b.example.com", r"No renewal conf of b.example.com in {}/renewal says"),
    ("nothing", r"No renewal conf of nothing in")])
def test_no_renewal_of_ours(tmp_path: Path, name: str, words: str) -> None:
    """It is said of which there is none, where, and how to begin."""
    conf(tmp_path, "b.example.com", installer="nginx")
    with pytest.raises(errors.UsageError, match=words.format(tmp_path)) as caught:
        arguments.our_renewals(parsed("--config-dir", str(tmp_path)), name)
    assert "certbot reconfigure --cert-name NAME -i qiniu" in str(caught.value)


def test_certbot_config(tmp_path: Path) -> None:
    """A lineage's options are there as certbot names them, and nobody is asked anything."""
    conf(tmp_path, "a.example.com", installer="qiniu", qiniu_http2="off",
         qiniu_nginx_test_cmd="my-nginx -t", qiniu_skip_nginx="True")
    [renewal] = read_renewals(tmp_path)[0].values()
    config = arguments.certbot_config(parsed("--config-dir", str(tmp_path)), renewal)
    assert ("off", "my-nginx -t", True, None) == (
        config.qiniu_http2, config.qiniu_nginx_test_cmd, config.qiniu_skip_nginx,
        config.qiniu_nginx_reload_cmd)
    assert (str(tmp_path), "qiniu", True, False) == (
        config.config_dir, config.installer, config.noninteractive_mode, config.dry_run)
    assert not hasattr(arguments.certbot_config(parsed()).namespace, "qiniu_http2")


def test_config_of_another_installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options are there with their defaults, as certbot has them."""
    class Other:
        @staticmethod
        def inject_parser_options(parser: argparse.ArgumentParser, name: str) -> None:
            parser.add_argument(f"--{name}-ctl", default="apachectl")

    asked: list[str] = []
    monkeypatch.setattr(arguments, "find_installer", lambda name: asked.append(name) or Other)
    conf(tmp_path, "a.example.com", installer="qiniu", qiniu_with="apache")
    [renewal] = read_renewals(tmp_path)[0].values()
    config = arguments.certbot_config(parsed("--config-dir", str(tmp_path)), renewal)
    assert (["apache"], "apachectl") == (asked, config.apache_ctl)
