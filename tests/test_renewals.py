"""certbot's renewal confs, read as certbot itself reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.lineages import read_renewal, read_renewals
from certbot_qiniu.options import Settings
from tests.command import issued

HEAD = "[renewalparams]\nauthenticator = webroot\ninstaller = qiniu\n"


def conf(folder: Path, text: str, name: str = "example.com") -> Path:
    """Write a renewal conf."""
    path = folder / "renewal" / f"{name}.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_defaults(tmp_path: Path) -> None:
    """certbot stores only what differs from the defaults."""
    found = read_renewal(conf(tmp_path, HEAD))
    assert (found.lineage, found.authenticator, found.is_ours, found.webroots) == (
        "example.com", "webroot", True, ())
    assert found.settings == Settings(
        credentials=None, domains=None, http2=None, keep_certificates=1, publish_timeout=900,
        nginx_test_cmd="nginx -t", nginx_reload_cmd=None, skip_nginx=False)


@pytest.mark.parametrize(("line", "name", "value"), [
    ("qiniu_domains = a.example.com, *.example.com", "domains", ("a.example.com", ".example.com")),
    ('qiniu_domains = "a.example.com,b.example.com"', "domains", (
        "a.example.com", "b.example.com")),
    ("qiniu_http2 = off", "http2", False),
    ("qiniu_keep_certificates = 3", "keep_certificates", 3),
    ("qiniu_skip_nginx = True", "skip_nginx", True),
    ("qiniu_skip_nginx = False", "skip_nginx", False),
    ("qiniu_credentials = None", "credentials", None),
    ("qiniu_nginx_reload_cmd = docker exec web nginx -s reload", "nginx_reload_cmd",
     "docker exec web nginx -s reload"),
    ("qiniu_credentials = /a %(b)s", "credentials", "/a %(b)s"),
])
def test_options(tmp_path: Path, line: str, name: str, value: object) -> None:
    """Each kind of option is restored from its text, a list by hand included."""
    assert getattr(read_renewal(conf(tmp_path, f"{HEAD}{line}\n")).settings, name) == value


def test_conf_that_certbot_wrote(tmp_path: Path) -> None:
    """What certbot stores of a run is what the run was told."""
    machine = issued(tmp_path)
    found, problems = read_renewals(machine.config_dir)
    assert problems == []
    settings = found["example.com"].settings
    assert (settings.credentials, settings.skip_nginx) == (str(machine.credentials), True)
    assert found["example.com"].authenticator == "standalone"


@pytest.mark.parametrize("text", [
    "no conf", "[renewalparams", "[other]\n", "renewalparams = 3\n", f"{HEAD}qiniu_http2 = maybe\n",
    f"{HEAD}qiniu_domains = a..b\n", f"{HEAD}webroot_map = 3\n"])
def test_damaged(tmp_path: Path, text: str) -> None:
    """A conf that cannot be understood is named, and hides no other."""
    path = conf(tmp_path, text)
    conf(tmp_path, "[renewalparams]\ninstaller = nginx\n", "other")
    found, [problem] = read_renewals(tmp_path)
    assert [(name, renewal.is_ours) for name, renewal in found.items()] == [("other", False)]
    assert str(path) in problem


def test_missing(tmp_path: Path) -> None:
    """A conf that is not there is an error, a folder without any is none."""
    with pytest.raises(errors.UsageError, match="Could not read"):
        read_renewal(tmp_path / "renewal" / "x.conf")
    assert read_renewals(tmp_path) == ({}, [])
