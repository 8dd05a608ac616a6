"""certbot's folders: lineages that are whole, and those that are not; and their renewal confs."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.lineages import Lineages, read_renewal, read_renewals
from certbot_qiniu.options import Settings
from tests.unit.rig import renew


@pytest.mark.parametrize("name", ["a.example.com", "..", ""])
def test_nothing_there(name: str, tmp_path: Path) -> None:
    """A machine without lineages has none, and no error but for a certificate that is asked for."""
    lineages = Lineages(tmp_path / "nowhere")
    assert lineages.names() == []
    assert not lineages.exists(name)
    assert list(lineages.versions(name)) == []
    assert lineages.find(name, "ab" * 32) is None
    assert lineages.with_names({name}) is None
    with pytest.raises(errors.UsageError, match="Could not read the certificate"):
        lineages.current(name)


def test_strange_entries(tmp_path: Path) -> None:
    """certbot's README, empty folders and links to what was deleted are no lineages."""
    renew(tmp_path, "gone.example.com")
    for path in (tmp_path / "archive" / "gone.example.com").iterdir():
        path.unlink()
    (tmp_path / "live" / "README").touch()
    (tmp_path / "live" / "empty.example.com").mkdir()
    lineages = Lineages(tmp_path)
    assert lineages.names() == []
    for name in ("gone.example.com", "README", "empty.example.com"):
        assert not lineages.exists(name)
        assert list(lineages.versions(name)) == []


def test_names(tmp_path: Path) -> None:
    """Lineages come in the order of their names."""
    for name in ("b.example.com", "a.example.com", "b.example.com-0001"):
        renew(tmp_path, name)
    lineages = Lineages(tmp_path)
    assert lineages.names() == ["a.example.com", "b.example.com", "b.example.com-0001"]
    assert lineages.exists("a.example.com")


def test_current(tmp_path: Path) -> None:
    """The current certificate is what ``live`` points to, read anew each time."""
    lineages = Lineages(tmp_path)
    for version in (1, 2):
        leaf = renew(tmp_path, "a.example.com", version=version)
        certificate = lineages.current("a.example.com")
        assert (certificate.lineage, certificate.fingerprint) == (
            "a.example.com", leaf.fingerprint)
        assert certificate.key_pem() == leaf.key_pem


def test_versions(tmp_path: Path) -> None:
    """Versions come newest first, by number and not by text, each with its own key."""
    leaves = [renew(tmp_path, "a.example.com", version=version) for version in (1, 2, 9, 10)]
    renew(tmp_path, "b.example.com")
    found = list(Lineages(tmp_path).versions("a.example.com"))
    assert [certificate.fingerprint for certificate in found] == [
        leaf.fingerprint for leaf in reversed(leaves)]
    assert [certificate.key_pem() for certificate in found] == [
        leaf.key_pem for leaf in reversed(leaves)]
    assert {certificate.lineage for certificate in found} == {"a.example.com"}


def test_damaged_version(tmp_path: Path) -> None:
    """A damaged version hides no other one, and neither do strange files beside them."""
    leaves = [renew(tmp_path, "a.example.com", version=version) for version in (1, 2, 3)]
    archive = tmp_path / "archive" / "a.example.com"
    (archive / "fullchain2.pem").write_text("damaged")
    (archive / "fullchain.pem").touch()
    (archive / "fullchain4.pem.bak").touch()
    (archive / "fullchain-old.pem").touch()
    found = Lineages(tmp_path).versions("a.example.com")
    assert [certificate.fingerprint for certificate in found] == [
        leaves[2].fingerprint, leaves[0].fingerprint]


def test_find(tmp_path: Path) -> None:
    """A version is found by its fingerprint, in its own lineage alone."""
    older = renew(tmp_path, "a.example.com")
    renew(tmp_path, "a.example.com", version=2)
    other = renew(tmp_path, "b.example.com")
    lineages = Lineages(tmp_path)
    found = lineages.find("a.example.com", older.fingerprint)
    assert found is not None
    assert found.fullchain == older.fullchain_pem
    assert lineages.find("a.example.com", other.fingerprint) is None


def test_find_in_shortened_archive(tmp_path: Path) -> None:
    """A version that certbot has thrown away is not found."""
    older = renew(tmp_path, "a.example.com")
    renew(tmp_path, "a.example.com", version=2)
    (tmp_path / "archive" / "a.example.com" / "fullchain1.pem").unlink()
    assert Lineages(tmp_path).find("a.example.com", older.fingerprint) is None


def test_with_names(tmp_path: Path) -> None:
    """A lineage is known by its SANs where just one has just these."""
    renew(tmp_path, "a.example.com", "a.example.com", "*.a.example.com")
    renew(tmp_path, "b.example.com")
    renew(tmp_path, "damaged.example.com")
    (tmp_path / "archive" / "damaged.example.com" / "fullchain1.pem").write_text("damaged")
    lineages = Lineages(tmp_path)
    assert lineages.with_names({"*.a.example.com", "a.example.com"}) == "a.example.com"
    assert lineages.with_names({"a.example.com"}) is None
    assert lineages.with_names({"a.example.com", "*.a.example.com", "b.example.com"}) is None
    renew(tmp_path, "b.example.com-0001", "b.example.com")
    assert lineages.with_names({"b.example.com"}) is None


# Renewal confs, read as certbot itself reads them

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
        credentials=None, domains=None, http2=None, keep_certificates=1, publish_timeout=1800,
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


@pytest.mark.parametrize("text", [
    "no conf", "[renewalparams", "[other]\n", "renewalparams = 3\n", f"{HEAD}qiniu_http2 = maybe\n",
    f"{HEAD}qiniu_domains = a..b\n", f"{HEAD}qiniu_domains = None\n", f"{HEAD}webroot_map = 3\n"])
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
