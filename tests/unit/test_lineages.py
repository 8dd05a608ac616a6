"""certbot's folders: lineages that are whole, and those that are not; and their renewal confs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.lineages import (
    KINDS,
    Lineages,
    problems,
    read_renewal,
    read_renewals,
    reconfigure_command,
)
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
    assert lineages.with_names({name}, [name]) == lineages.with_file("/x/fullchain.pem") == []
    with pytest.raises(errors.UsageError, match=f"The certificate {name} cannot be used: .*conf"):
        lineages.current(name)


def test_a_lineage_is_its_conf(tmp_path: Path) -> None:
    """It is there as long as its conf is, whatever has become of its files."""
    for name in ("dangling", "gone"):
        renew(tmp_path, name)
    shutil.rmtree(tmp_path / "archive" / "dangling")
    shutil.rmtree(tmp_path / "live" / "gone")
    renew(tmp_path, "deleted")
    conf_of(tmp_path, "deleted").unlink()
    (tmp_path / "live" / "README").touch()
    conf_of(tmp_path, ".swap").touch()  # certbot passes by what an editor hides
    lineages = Lineages(tmp_path)
    assert lineages.names() == ["dangling", "gone"]
    assert not lineages.exists("deleted")
    assert (0, 1) == tuple(len(list(lineages.versions(name))) for name in lineages.names())
    for name in lineages.names():
        assert lineages.exists(name)
        with pytest.raises(errors.UsageError, match=f"certificate {name} cannot be used: .*No suc"):
            lineages.current(name)


def test_names(tmp_path: Path) -> None:
    """Lineages come in the order of their confs, as certbot takes them."""
    for name in ("b.example.com", "a.example.com", "b.example.com-0001"):
        renew(tmp_path, name)
    lineages = Lineages(tmp_path)
    assert lineages.names() == ["a.example.com", "b.example.com-0001", "b.example.com"]
    assert lineages.exists("a.example.com")


# Where a lineage is


def conf_of(folder: Path, name: str) -> Path:
    """Where the conf of a lineage is."""
    return folder / "renewal" / f"{name}.conf"


def test_renamed_conf(tmp_path: Path) -> None:
    """The conf's own paths decide, and not its name: certificate, key and older versions."""
    renew(tmp_path, "example.com")
    leaves = [renew(tmp_path, "example.com-0001", "example.com", version=version)
              for version in (1, 2)]
    conf_of(tmp_path, "example.com-0001").rename(conf_of(tmp_path, "example.com"))
    lineages = Lineages(tmp_path)
    current = lineages.current("example.com")
    assert ("example.com", leaves[1].fingerprint, leaves[1].key_pem) == (
        current.lineage, current.fingerprint, current.key_pem())
    assert [leaf.fingerprint for leaf in reversed(leaves)] == [
        one.fingerprint for one in lineages.versions("example.com")]
    live = tmp_path / "live"
    assert ["example.com"] == lineages.with_file(str(live / "example.com-0001" / "fullchain.pem"))
    assert [] == lineages.with_file(str(live / "example.com" / "fullchain.pem"))


def test_moved_folders(tmp_path: Path) -> None:
    """Live and archive may be anywhere; versions from before the archive moved count, too."""
    etc, disk = tmp_path / "etc", tmp_path / "disk"
    first = renew(etc, "example.com")
    second = renew(disk, "example.com", version=2)
    conf_of(disk, "example.com").replace(conf_of(etc, "example.com"))
    (disk / "archive" / "example.com").rename(tmp_path / "archive")
    for kind in ("cert", "privkey", "chain", "fullchain"):
        link = disk / "live" / "example.com" / f"{kind}.pem"
        link.unlink()
        link.symlink_to(etc / "archive" / "example.com" / f"{kind}1.pem")
    conf = conf_of(etc, "example.com")
    conf.write_text(conf.read_text().replace(f"{disk}/archive/example.com", f"{tmp_path}/archive"))
    lineages = Lineages(etc)
    assert first.fingerprint == lineages.current("example.com").fingerprint
    assert disk / "live" / "example.com" == lineages.place("example.com").live
    assert [second.fingerprint, first.fingerprint] == [
        one.fingerprint for one in lineages.versions("example.com")]


@pytest.mark.parametrize("folder", ["example.com", "example.com-0001"])
def test_folder_of_a_container(tmp_path: Path, folder: str) -> None:
    """Seen from outside, the conf's paths lead nowhere: the same files are below its folder."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    renew(inside, "example.com")
    leaves = [renew(inside, folder, version=version) for version in (1, 2)]
    conf_of(inside, folder).replace(conf_of(inside, "example.com"))
    inside.rename(outside)
    lineages = Lineages(outside)
    assert leaves[1].fingerprint == lineages.current("example.com").fingerprint
    assert 2 == len(list(lineages.versions("example.com")))
    assert problems(outside, read_renewals(outside)[0], {"example.com"}) == []


def test_through_a_link(tmp_path: Path) -> None:
    """A path is the same by whichever way it leads to a folder."""
    renew(tmp_path / "real", "a.example.com")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = tmp_path / "link" / "live" / "a.example.com"
    for lineages in (Lineages(tmp_path / "real"), Lineages(tmp_path / "link")):
        assert ["a.example.com"] == lineages.with_file(str(path / "fullchain.pem"))
        assert ["a.example.com"] == lineages.with_file(str(path / "cert.pem"))
        assert [] == lineages.with_file(str(path / "chain.pem"))


def test_each_conf_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of lineages are asked for again and again: only what has changed is parsed."""
    import configobj

    read: list[str] = []
    real = configobj.ConfigObj
    monkeypatch.setattr(configobj, "ConfigObj",
                        lambda path, **options: read.append(path) or real(path, **options))
    for name in ("a.example.com", "b.example.com"):
        renew(tmp_path, name)
    for _ in range(2):
        lineages = Lineages(tmp_path)
        assert lineages.names()
        assert lineages.exists("a.example.com")
        for name in lineages.names():
            lineages.current(name)
        read_renewals(tmp_path)
    assert 2 == len(read)
    conf(tmp_path, "[renewalparams]\n", "a.example.com")
    read_renewals(tmp_path)
    assert 3 == len(read)


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
    """A damaged version hides no other one, and neither do strange files next to them."""
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


def test_find_what_is_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The live version, nearly always the wanted one, is found without a search, with its key."""
    renew(tmp_path, "a.example.com")
    newer = renew(tmp_path, "a.example.com", version=2)
    lineages = Lineages(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", None)
        found = lineages.find("a.example.com", newer.fingerprint)
    assert found
    assert newer.key_pem == found.key_pem()
    live = tmp_path / "live" / "a.example.com" / "fullchain.pem"
    live.unlink()
    assert found == lineages.find("a.example.com", newer.fingerprint)
    live.write_text(newer.fullchain_pem)
    assert found == lineages.find("a.example.com", newer.fingerprint), "not with a key unknown"


def test_find_in_a_renamed_lineage(tmp_path: Path) -> None:
    """Under the old name of its conf its versions are found, too; nothing else's are."""
    older = renew(tmp_path, "a.example.com")
    lineages = Lineages(tmp_path)
    (tmp_path / "renewal" / "a.example.com.conf").rename(tmp_path / "renewal" / "new.conf")
    found = lineages.find("a.example.com", older.fingerprint)
    assert found
    assert "new" == found.lineage == lineages.having(["cd" * 32, older.fingerprint])
    assert ("", None) == (lineages.having(["cd" * 32]), lineages.find("none", "cd" * 32))


def test_find_in_shortened_archive(tmp_path: Path) -> None:
    """A version that certbot has thrown away is not found."""
    older = renew(tmp_path, "a.example.com")
    renew(tmp_path, "a.example.com", version=2)
    (tmp_path / "archive" / "a.example.com" / "fullchain1.pem").unlink()
    assert Lineages(tmp_path).find("a.example.com", older.fingerprint) is None


def test_with_names(tmp_path: Path) -> None:
    """Lineages are known by their SANs; several may have the same."""
    renew(tmp_path, "a.example.com", "a.example.com", "*.a.example.com")
    renew(tmp_path, "b.example.com")
    renew(tmp_path, "b.example.com-0001", "b.example.com")
    renew(tmp_path, "damaged.example.com")
    (tmp_path / "archive" / "damaged.example.com" / "fullchain1.pem").write_text("damaged")
    lineages = Lineages(tmp_path)

    def found(*names: str) -> list[str]:
        return lineages.with_names(names, lineages.names())

    assert ["a.example.com"] == found("*.a.example.com", "a.example.com")
    assert [] == found("a.example.com")
    assert ["b.example.com-0001", "b.example.com"] == found("b.example.com")
    assert [] == lineages.with_names({"b.example.com"}, ["a.example.com"])


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
    assert (found.lineage, found.authenticator, found.is_ours) == (
        "example.com", "webroot", True)
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
    ("qiniu_credentials = /a 50%", "credentials", "/a 50%"),
    ("qiniu_nginx_test_cmd = %(authenticator)s -t", "nginx_test_cmd", "webroot -t"),
])
def test_options(tmp_path: Path, line: str, name: str, value: object) -> None:
    """Each kind of option is restored from its text, a list by hand included."""
    assert getattr(read_renewal(conf(tmp_path, f"{HEAD}{line}\n")).settings, name) == value


@pytest.mark.parametrize("text", [
    "no conf", "[renewalparams", "[other]\n", "renewalparams = 3\n", f"{HEAD}qiniu_http2 = maybe\n",
    f"{HEAD}renew_hook = date +%(x)s\n", f"{HEAD}autorenew = maybe\n",
    f"{HEAD}qiniu_domains = a..b\n", f"{HEAD}qiniu_services = True\n"])
def test_damaged(tmp_path: Path, text: str) -> None:
    """A conf that cannot be understood is named, and hides no other."""
    path = conf(tmp_path, text)
    conf(tmp_path, "[renewalparams]\nauthenticator = nginx\ninstaller = nginx\n", "other")
    found, [problem] = read_renewals(tmp_path)
    assert [(name, renewal.is_ours) for name, renewal in found.items()] == [("other", False)]
    assert str(path) in problem


def test_missing(tmp_path: Path) -> None:
    """A conf that is not there is an error, a folder without any is none."""
    with pytest.raises(errors.UsageError, match="Could not read"):
        read_renewal(tmp_path / "renewal" / "x.conf")
    assert read_renewals(tmp_path) == ({}, [])


def test_given(tmp_path: Path) -> None:
    """Options that certbot gets for every lineage override those of a conf."""
    path = conf(tmp_path, f"{HEAD.replace('= qiniu', '= nginx')}qiniu_http2 = off\n")
    found = read_renewal(path, {"installer": "qiniu", "qiniu_http2": "on"})
    assert (True, True) == (found.is_ours, found.settings.http2)
    assert not read_renewal(path, {}).is_ours


# What certbot does not renew


def found_problems(folder: Path, *deployed: str) -> list[tuple[str, str]]:
    """Lineage and reason of each problem."""
    return [(one.lineage, one.reason) for one in problems(
        folder, read_renewals(folder)[0], deployed)]


def test_no_problem(tmp_path: Path) -> None:
    """Sound lineages have none, and nobody else's have any."""
    renew(tmp_path, "a.example.com")
    renew(tmp_path, "b.example.com")
    shutil.rmtree(tmp_path / "live" / "b.example.com")
    assert [] == found_problems(tmp_path, "a.example.com", "deleted.example.com")


@pytest.mark.parametrize(("kind", "state", "words"), [
    *((kind, *case) for kind in KINDS for case in (
        ("missing", "is missing"), ("file", "is no link"),
        ("dangling", "is a link to what is not"))),
    *((kind, "unnamed", "is not named in its conf") for kind in KINDS)])
def test_broken_link(tmp_path: Path, kind: str, state: str, words: str) -> None:
    """certbot skips a lineage for any of its four files."""
    renew(tmp_path, "a.example.com")
    link = tmp_path / "live" / "a.example.com" / f"{kind}.pem"
    path = conf_of(tmp_path, "a.example.com")
    if state == "dangling":
        link.resolve().unlink()
    elif state == "unnamed":
        path.write_text(path.read_text().replace(f"\n{kind} = ", "\nx = "))
    else:
        text = link.read_text()
        link.unlink()
        if state == "file":
            link.write_text(text)
    [found] = problems(tmp_path, read_renewals(tmp_path)[0], {"a.example.com"})
    assert ("a.example.com", "BrokenLinks") == (found.lineage, found.reason)
    assert f"{kind}.pem {words}" in found.text
    assert str(tmp_path / "archive" / "a.example.com") in found.remedy


def test_autorenew(tmp_path: Path) -> None:
    """certbot renews a lineage by itself unless its conf says otherwise."""
    renew(tmp_path, "a.example.com")
    path = conf_of(tmp_path, "a.example.com")
    for value, expected in (("True", []), ("False", [("a.example.com", "AutorenewOff")])):
        text = path.read_text().replace("[renewalparams]", f"[renewalparams]\nautorenew = {value}")
        path.write_text(text)
        assert expected == found_problems(tmp_path, "a.example.com")
        path.write_text(text.replace(f"autorenew = {value}\n", ""))


def test_copied_conf(tmp_path: Path) -> None:
    """Both confs are named, with the way that keeps the files."""
    renew(tmp_path, "a.example.com")
    shutil.copy(conf_of(tmp_path, "a.example.com"), conf_of(tmp_path, "b.example.com"))
    [found] = problems(tmp_path, read_renewals(tmp_path)[0], {"a.example.com"})
    assert "the renewal confs of a.example.com and b.example.com name the same" in found.text
    assert "not with certbot delete" in found.remedy


def test_conf_that_is_gone(tmp_path: Path) -> None:
    """A lineage that was ours and has its files was hardly deleted; a renamed one has a conf."""
    renew(tmp_path, "a.example.com")
    path = conf_of(tmp_path, "a.example.com")
    path.rename(conf_of(tmp_path, "b.example.com"))
    assert [] == found_problems(tmp_path, "a.example.com")
    conf_of(tmp_path, "b.example.com").unlink()
    assert [("a.example.com", "NoConf")] == found_problems(tmp_path, "a.example.com")
    assert [] == found_problems(tmp_path)
    shutil.rmtree(tmp_path / "live" / "a.example.com")
    assert [] == found_problems(tmp_path, "a.example.com")


def test_command_for_unusual_names() -> None:
    """certbot takes blanks in the name of a lineage; a shell would not."""
    assert ("certbot reconfigure --cert-name 'my shop' -i qiniu --qiniu-credentials '/my q.ini'"
            == reconfigure_command("my shop", "/my q.ini"))
