"""One run of certbot as the targets share it: its settings, its files, and who is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
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


@pytest.mark.parametrize(("verb", "shown"), [("run", ["a line"]), ("renew", [])])
def test_say(tmp_path: Path, verb: str, shown: list[str], monkeypatch: pytest.MonkeyPatch,
             caplog: pytest.LogCaptureFixture) -> None:
    """A user sees each line; a timer's mail stays empty, and the log has it."""
    seen: list[str] = []
    monkeypatch.setattr(display, "notify", seen.append)
    with caplog.at_level(logging.INFO):
        new_run(tmp_path, verb).say("a line")
    assert shown == seen
    assert bool(shown) != ("a line" in caplog.messages)


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
    assert run.deployer.checkpoints is plugin


def test_what_a_crash_left_is_undone_once(tmp_path: Path) -> None:
    """Where our files cannot be opened, a second try undoes nothing of what the run has begun."""
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
