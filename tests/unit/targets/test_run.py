"""One run of certbot as the targets share it: its settings, its files, and its messages."""

from __future__ import annotations

import logging
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from certbot._internal.display import obj
from certbot.compat import misc
from certbot.display import util as display

from certbot_qiniu import errors
from certbot_qiniu.targets.run import Run
from tests.unit.rig import renew
from tests.unit.targets.plugin import LINEAGE, Plugin, config, new_run


def started(folder: Path, verb: str = "run", **values: Any) -> tuple[Run, Plugin]:
    """A run, and the plugin that it is for."""
    plugin = Plugin(config(folder, verb, **values))
    return Run(plugin, plugin.undo), plugin  # type: ignore[arg-type]


# What kind of run


@pytest.mark.parametrize(("verb", "dry_run", "is_renewal", "is_rehearsal"), [
    ("run", False, False, False), ("renew", False, True, False), ("renew", True, True, True),
    ("reconfigure", False, False, True), ("rollback", False, False, False),
    ("certonly", True, False, True),
])
def test_kind(tmp_path: Path, verb: str, dry_run: bool, is_renewal: bool,
              is_rehearsal: bool) -> None:
    """A timer's run is quiet, and one that only tries changes nothing."""
    run = new_run(tmp_path, verb, dry_run=dry_run)
    assert (verb, is_renewal, is_rehearsal) == (run.verb, run.is_renewal, run.is_rehearsal)


@pytest.mark.parametrize(("domains", "expected"), [
    (None, set()), ([], set()), (["A.example.com", "*.Example.com"],
                                 {"a.example.com", "*.example.com"})])
def test_names(tmp_path: Path, domains: list[str] | None, expected: set[str]) -> None:
    """The names of the certificate are as far known as certbot has told them, in lower case."""
    run = new_run(tmp_path, domains=domains)
    assert expected == run.names()
    del run.config.domains
    assert set() == run.names()


def test_set_option(tmp_path: Path) -> None:
    """An option that a target sets is certbot's to store, and ours at once."""
    run = new_run(tmp_path)
    assert run.settings is run.settings, "read once"
    assert run.settings.credentials is None
    run.set_option("credentials", "/keys.ini")
    run.set_option("with-options", "--x")
    assert ("/keys.ini", "--x") == (
        run.settings.credentials, run.settings.other_installer_options)
    assert ("/keys.ini", "--x") == (run.config.qiniu_credentials, run.config.qiniu_with_options)


# Certificates


def test_certificate_of(tmp_path: Path) -> None:
    """A path among a lineage's live files is its newest certificate, whichever file it is."""
    renew(tmp_path, LINEAGE)
    newest = renew(tmp_path, LINEAGE, version=2)
    for name in ("fullchain.pem", "cert.pem"):
        found = new_run(tmp_path).certificate_of(str(tmp_path / "live" / LINEAGE / name))
        assert (LINEAGE, newest.fingerprint) == (found.lineage, found.fingerprint)


@pytest.mark.parametrize(("asked", "expected"), [
    (None, LINEAGE), ("copy", "copy"), ("elsewhere", LINEAGE)])
def test_certificate_of_copied_confs(tmp_path: Path, asked: str | None, expected: str) -> None:
    """Of those that name the same files it is the one that was asked for, or the usual one."""
    renew(tmp_path, LINEAGE)
    conf = tmp_path / "renewal" / f"{LINEAGE}.conf"
    for name in ("a", "copy"):
        shutil.copy(conf, conf.with_name(f"{name}.conf"))
    found = new_run(tmp_path, certname=asked).certificate_of(
        str(tmp_path / "live" / LINEAGE / "fullchain.pem"))
    assert expected == found.lineage


def test_certificate_of_a_renamed_conf(tmp_path: Path) -> None:
    """The name of the lineage is the conf's, and not that of its folder."""
    renew(tmp_path, LINEAGE)
    conf = tmp_path / "renewal" / f"{LINEAGE}.conf"
    conf.rename(conf.with_name("renamed.conf"))
    found = new_run(tmp_path).certificate_of(str(tmp_path / "live" / LINEAGE / "fullchain.pem"))
    assert "renamed" == found.lineage


def add(folder: Path, name: str, *lines: str, installer: str = "qiniu") -> None:
    """A lineage for example.com with these settings."""
    renew(folder, name, "example.com")
    conf = folder / "renewal" / f"{name}.conf"
    conf.write_text("\n".join([conf.read_text(), f"installer = {installer}", *lines, ""]))


def test_is_renewed(tmp_path: Path) -> None:
    """A lineage whose conf names another installer, or is not there, is not."""
    add(tmp_path, "a")
    add(tmp_path, "nginx", installer="nginx")
    run = new_run(tmp_path, "reconfigure")
    assert [True, False, False] == [run.is_renewed(name) for name in ("a", "nginx", "none")]


def test_rehearsed(tmp_path: Path) -> None:
    """A dry run is about those of ours with just these names and options, or the one it names."""
    def found(**options: object) -> list[str]:
        settings = {"domains": ["example.com"], "key_type": "ecdsa", "certname": None, **options}
        return new_run(tmp_path, "renew", **settings).rehearsed()

    assert [] == found()
    add(tmp_path, "a", "key_type = ecdsa", "qiniu_http2 = off")
    add(tmp_path, "b", "key_type = rsa", "qiniu_http2 = off")
    add(tmp_path, "c", "key_type = ecdsa")
    add(tmp_path, "d", "key_type = ecdsa")
    add(tmp_path, "nginx", "key_type = ecdsa", installer="nginx")
    assert ["a"] == found(qiniu_http2="off")
    assert ["b"] == found(qiniu_http2="off", key_type="rsa")
    assert ["c", "d"] == found()
    assert ["a", "b", "c", "d"] == found(qiniu_http2="on")  # by the command line
    assert [] == found(domains=["other.example.com"])
    assert ["nginx"] == found(certname="nginx")
    assert [] == found(certname="nothing")


def test_certificate_through_a_link(tmp_path: Path) -> None:
    """certbot's folder may be reached through a link."""
    (tmp_path / "real").mkdir()
    leaf = renew(tmp_path / "real", LINEAGE)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = new_run(tmp_path / "link").certificate_of(
        str(tmp_path / "real" / "live" / LINEAGE / "fullchain.pem"))
    assert leaf.fingerprint == found.fingerprint


@pytest.mark.parametrize("path", [
    "archive/example.com/fullchain1.pem", "elsewhere/fullchain.pem", "fullchain.pem",
    "live/fullchain.pem", "live/example.com/deeper/fullchain.pem"])
def test_foreign_certificate(tmp_path: Path, path: str) -> None:
    """What certbot does not manage could be neither renewed nor rolled back."""
    renew(tmp_path, LINEAGE)
    with pytest.raises(errors.UsageError, match=f"{path} does not belong to a certificate"):
        new_run(tmp_path).certificate_of(str(tmp_path / path))


# Who is told


@pytest.mark.parametrize(("verb", "told"), [
    ("run", ["a change", "no change"]), ("renew", ["a change"])])
def test_say(tmp_path: Path, verb: str, told: list[str], monkeypatch: pytest.MonkeyPatch,
             caplog: pytest.LogCaptureFixture) -> None:
    """A user sees each line, a timer's mail what was changed; the log has the rest."""
    seen: list[str] = []
    monkeypatch.setattr(display, "notify", seen.append)
    run = new_run(tmp_path, verb)
    with caplog.at_level(logging.INFO):
        run.say("a change")
        run.note("no change")
    assert told == seen
    assert ["a change", "no change"] == sorted([*seen, *caplog.messages])


def test_say_without_a_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               caplog: pytest.LogCaptureFixture) -> None:
    """``certbot-qiniu`` has no display of certbot's, and shows our log."""
    monkeypatch.setattr(obj._SERVICE, "display", None)
    with caplog.at_level(logging.INFO):
        new_run(tmp_path, "renew").say("a change")
    assert ["a change"] == caplog.messages


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that we advise has every option, and repeats just what this run was told."""
    run = new_run(tmp_path, qiniu_credentials="/my keys.ini", qiniu_domains=".example.com",
                  qiniu_skip_nginx=True, qiniu_publish_timeout=0, redirect=False, hsts=True)
    assert shlex.split(run.command("install", LINEAGE)) == [
        "certbot", "install", "--cert-name", LINEAGE, "-i", "qiniu",
        "--qiniu-credentials", "/my keys.ini", "--qiniu-domains", ".example.com",
        "--qiniu-publish-timeout", "0", "--qiniu-skip-nginx", "--no-redirect", "--hsts",
        "--config-dir", str(tmp_path), "--work-dir", str(tmp_path / "work")]
    folders = {"config": str(tmp_path), "work": str(tmp_path / "work"), "logs": ""}
    monkeypatch.setattr(misc, "get_default_folder", folders.__getitem__)
    assert run.command("reconfigure", LINEAGE).endswith(" --qiniu-skip-nginx")


# Our files


def test_files_are_opened_once(tmp_path: Path) -> None:
    """Nothing is made or locked before our files are needed, and then they stay open."""
    run, plugin = started(tmp_path)
    assert not run.is_open
    assert not (tmp_path / "qiniu").exists()
    assert run.deployer is run.deployer is run.open()
    assert run.is_open
    assert (tmp_path / "qiniu" / "state.json").exists()
    assert 1 == plugin.undone
    assert run.deployer.writer.checkpoints is plugin


def test_what_a_crash_left_is_undone_once(tmp_path: Path) -> None:
    """If our files cannot be opened, a second try undoes nothing of what the run has begun."""
    run, plugin = started(tmp_path)
    (tmp_path / "qiniu").mkdir()
    (tmp_path / "qiniu" / "state.json").write_text("damaged")
    for _ in range(2):
        with pytest.raises(errors.StateError):
            run.open()
    assert 1 == plugin.undone


def test_what_a_crash_left_is_undone_first(tmp_path: Path) -> None:
    """The state is read as it is after the unfinished checkpoint is gone, not before."""
    run, plugin = started(tmp_path)
    path = run.open().store.state_path(LINEAGE)
    in_progress = Path(plugin.config.in_progress_dir)
    in_progress.mkdir(parents=True)
    path.write_text("half a change")

    def undo() -> None:
        path.write_text('{"version": 2, "domains": {"a": {"service": "cdn", "binding": {}}}}')
        in_progress.rmdir()

    later = Run(plugin, undo)  # type: ignore[arg-type]
    assert ["a"] == list(later.open().store.state)
    assert {} == later.open().store.damaged
    assert later.open().store is Run(plugin, plugin.undo).open().store, (  # type: ignore[arg-type]
        "the files of a process are read once")


@pytest.mark.parametrize(("verb", "dry_run"), [("renew", True), ("reconfigure", False)])
def test_a_rehearsal_only_looks(tmp_path: Path, verb: str, *, dry_run: bool) -> None:
    """A dry run undoes nothing, and leaves no folder, no lock and no file."""
    run, plugin = started(tmp_path, verb, dry_run=dry_run)
    run.deployer.store.memory.lineage(LINEAGE).hold = "ab"
    run.deployer.store.write_memory()
    assert 0 == plugin.undone
    assert not (tmp_path / "qiniu").exists()


def test_accounts_are_those_of_the_process(tmp_path: Path) -> None:
    """certbot makes an installer for each lineage: all of them share the accounts."""
    first, second = (new_run(tmp_path / name).deployer for name in "ab")
    assert first.accounts is second.accounts


def test_damaged_files(tmp_path: Path) -> None:
    """Files that cannot be read are an error each time that they are needed."""
    (tmp_path / "qiniu").mkdir()
    (tmp_path / "qiniu" / "state.json").write_text("damaged")
    run = new_run(tmp_path)
    for _ in range(2):
        with pytest.raises(errors.StateError):
            assert run.deployer
        assert not run.is_open


# What the web server was reloaded for


def test_reloads(tmp_path: Path) -> None:
    """A reload is remembered on the disk, by the newest certificate of each lineage."""
    leaves = {name: renew(tmp_path, name) for name in ("a.example.com", "b.example.com")}
    run = new_run(tmp_path)
    assert "" == run.reloaded_for("a.example.com")
    run.remember_reload(leaves)
    later = new_run(tmp_path)
    assert {name: leaf.fingerprint for name, leaf in leaves.items()} == {
        name: later.reloaded_for(name) for name in leaves}
    newer = renew(tmp_path, "a.example.com", version=2)
    later.remember_reload(["a.example.com"])
    assert newer.fingerprint == later.reloaded_for("a.example.com")


def test_reloads_without_files(tmp_path: Path) -> None:
    """Files that cannot be used are no reason to leave a web server behind."""
    renew(tmp_path, LINEAGE)
    (tmp_path / "qiniu").mkdir()
    (tmp_path / "qiniu" / "memory.json").write_text("damaged")
    run = new_run(tmp_path)
    run.remember_reload([LINEAGE])
    assert "" == run.reloaded_for(LINEAGE)
    assert "damaged" == (tmp_path / "qiniu" / "memory.json").read_text()
