"""The places of lineages, as certbot itself reads them from its renewal confs."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certbot_qiniu.command import doctor
from certbot_qiniu.lineages import read_renewals
from tests.scenarios.command import APEX, IMG, WILD, WWW, Seat, issued, seat

OTHER = "shop.example.org"


def test_conf_that_certbot_wrote(tmp_path: Path) -> None:
    """certbot stores the options that a run was given."""
    machine = issued(tmp_path)
    found, problems = read_renewals(machine.config_dir)
    assert problems == []
    settings = found["example.com"].settings
    assert (settings.credentials, settings.skip_nginx) == (str(machine.credentials), True)
    assert found["example.com"].authenticator == "standalone"


def conf(machine: Seat, lineage: str = APEX) -> Path:
    """The renewal conf of a lineage."""
    return machine.config_dir / "renewal" / f"{lineage}.conf"


def change(machine: Seat, old: str, new: str, lineage: str = APEX) -> None:
    """Change something in a renewal conf by hand."""
    path = conf(machine, lineage)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def leaf(fullchain: Path) -> str:
    """The fingerprint of what is in a file, whatever the program makes of confs."""
    return x509.load_pem_x509_certificate(fullchain.read_bytes()).fingerprint(
        hashes.SHA256()).hex()


def served(machine: Seat) -> set[str]:
    """The fingerprints that the managed domains of example.com serve."""
    return {machine.cloud.qiniu.serving(name).fingerprint for name in (WWW, IMG, APEX, WILD)}


def duplicate(machine: Seat, name: str) -> None:
    """Copy the files of example.com into folders of another name."""
    for folder in ("live", "archive"):
        shutil.copytree(machine.config_dir / folder / APEX, machine.config_dir / folder / name,
                        symlinks=True)
    for link in (machine.config_dir / "live" / name).glob("*.pem"):
        target = os.readlink(link).replace(f"/{APEX}/", f"/{name}/")
        link.unlink()
        link.symlink_to(target)


# Where a lineage is


def test_renamed_conf(tmp_path: Path) -> None:
    """The conf's own files are deployed and rolled back to, and not those of its name."""
    machine = issued(tmp_path)
    old = machine.config_dir / "live" / APEX / "fullchain.pem"
    first = leaf(old)
    duplicate(machine, "example.com-0001")
    change(machine, f"/{APEX}/", "/example.com-0001/")
    change(machine, f"archive/{APEX}\n", "archive/example.com-0001\n")
    run = machine.force_renewal()
    assert run.status == 0, run.output
    machine.cloud.clock.sleep(600)
    new = leaf(machine.config_dir / "live" / "example.com-0001" / "fullchain.pem")
    assert first == leaf(old) != new
    assert {new} == served(machine)
    assert machine.renew().status == 0
    assert machine.run("status").status == machine.run("plan").status == 0
    run = machine.certbot("rollback", "-i", "qiniu", "--checkpoints", "1")
    assert run.status == 0, run.output
    assert {first} == served(machine)
    run = machine.certbot("install", "--cert-name", APEX, *machine.installer)
    assert run.status == 0, run.output
    assert {new} == served(machine)
    assert "This deployed" not in run.output  # renewals of example.com.conf do it


@pytest.mark.parametrize("old_folders", [True, False], ids=["copied", "moved"])
def test_folders_elsewhere(tmp_path: Path, old_folders: bool) -> None:
    """``live`` and ``archive`` may be moved to another disk, by the conf's paths."""
    machine, disk = issued(tmp_path), tmp_path / "disk"
    for folder in ("live", "archive"):
        shutil.copytree(machine.config_dir / folder, disk / folder, symlinks=True)
        if not old_folders:
            shutil.rmtree(machine.config_dir / folder)
        change(machine, f"{machine.config_dir}/{folder}/", f"{disk}/{folder}/")
    for run in (machine.renew(), machine.force_renewal()):
        assert run.status == 0, run.output
    machine.cloud.clock.sleep(600)
    assert {leaf(disk / "live" / APEX / "fullchain.pem")} == served(machine)
    assert machine.renew().status == 0
    run = machine.run("status")
    assert (run.status, "4 managed domains" in run.output) == (0, True), run.output


def test_folder_of_a_container(tmp_path: Path) -> None:
    """From the host, where the conf's paths lead nowhere, the command sees the same."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    assert machine.renew().status == 0
    host = tmp_path / "volumes" / "letsencrypt"
    shutil.copytree(machine.config_dir, host, symlinks=True)
    machine.config_dir.rename(tmp_path / "in the container")
    machine.config_dir = host
    run = machine.run("status")
    assert (run.status, "4 managed domains" in run.output) == (0, True), run.output


# What certbot does not renew


def _plain_files(machine: Seat) -> None:
    for link in (machine.config_dir / "live" / APEX).glob("*.pem"):
        text = link.read_bytes()
        link.unlink()
        link.write_bytes(text)


def _dangling(machine: Seat) -> None:
    (machine.config_dir / "archive" / APEX / "chain1.pem").unlink()


def _add(line: str) -> Callable[[Seat], None]:
    return lambda machine: change(machine, "[renewalparams]", f"[renewalparams]\n{line}")


@pytest.mark.parametrize(("harm", "status", "certbot", "words", "remedy"), [
    (_add("autorenew = False"), 0, "skipped", "example.com is not renewed by certbot",
     "Remove that line"),
    (_plain_files, 1, "to be a symlink", "fullchain.pem are no link", "Make each a link"),
    (_dangling, 1, "does not exist", "chain.pem is a link to what is not there", "from a backup"),
    (lambda machine: shutil.rmtree(machine.config_dir / "live" / APEX), 1, "to be a symlink",
     "fullchain.pem are missing", "from a backup"),
    (_add("renew_hook = date +%(x)s"), 1, 'missing option "x" in interpolation',
     'missing option "x" in interpolation', "into a script"),
    (lambda machine: shutil.copy(conf(machine), conf(machine, "second")), 1, "renew certificate s",
     "name the same files", "not with certbot delete"),
    (lambda machine: conf(machine).unlink(), 0, "No renewals were attempted", "is gone",
     "Put the conf back"),
], ids=["autorenew", "plain files", "dangling link", "no live", "interpolation", "copied conf",
        "no conf"])
def test_what_certbot_does_not_renew(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Seat], object],
        status: int, certbot: str, words: str, remedy: str) -> None:
    """If certbot skips or fails, ``status`` and ``doctor`` say so, and what to do."""
    monkeypatch.setattr(doctor, "qiniu_time", lambda: None)
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    assert machine.renew().status == machine.run("status").status == 0
    harm(machine)
    run = machine.renew()
    assert (status, True) == (run.status, certbot in run.output), run.output
    for command in ("status", "doctor"):
        run = machine.run(command)
        said = " ".join(run.output.split())
        assert (1, True, True) == (run.status, words in said, remedy in said), run.output
        assert "All is well" not in said


@pytest.mark.parametrize(("line", "words"), [
    ("autorenew = no", "autorenew = no is neither True nor False"),
    ("reuse_key = 1", "reuse_key = 1 is neither True nor False"),
    ("rsa_key_size = 2k", "rsa_key_size = 2k is not a number"),
    ("renew_hook = cp a, b", "renew_hook has a comma"),
    ("pre_hook = cp a, b", "pre_hook has a comma"),
    ("", "it names no authenticator"),
    ("rsa_key_size = 4096", ""), ("http01_port = None", ""), ("must_staple = false", ""),
    ('renew_hook = "true a, b"', ""), ("renew_hook = None", "")])
def test_settings_that_certbot_does_not_renew_with(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str) -> None:
    """``status`` and ``doctor`` name what makes the renewal fail when it is due, and only that."""
    monkeypatch.setattr(doctor, "qiniu_time", lambda: None)
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    assert machine.renew().status == 0
    change(machine, *(("[renewalparams]", f"[renewalparams]\n{line}") if line else
                      ("authenticator = standalone\n", "")))
    status, check = machine.run("status"), machine.run("doctor")
    for said in (status, check):
        assert words in " ".join(said.output.split())
        assert words or "is damaged" not in said.output
    assert "does not say" not in " ".join(check.output.split()), "it cannot be read"
    run = machine.force_renewal()
    assert (run.status, status.status) == (bool(words), bool(words)), run.output


def test_dangling_link_deletes_nothing(tmp_path: Path) -> None:
    """A lineage with a conf is not deleted: the turn of another one leaves its domains alone."""
    machine = issued(tmp_path)
    assert machine.issue(OTHER).status == 0
    shutil.rmtree(machine.config_dir / "archive" / APEX)
    run = machine.renew()
    assert (1, False) == (run.status, "was deleted" in run.output), run.output
    assert machine.run("plan", "--cert-name", APEX).output.count("BrokenLinks") == 0
    assert {WWW, IMG, APEX, WILD} <= set(_managed(machine))


def _managed(machine: Seat) -> list[str]:
    from certbot_qiniu.deployment.store import Store

    store = Store(machine.config_dir / "qiniu", read_only=True)
    store.load()
    return sorted(store.state)


# Dry runs


def both(machine: Seat) -> tuple[int, int]:
    """How a dry run ends, and the real run after it."""
    rehearsal = machine.renew("--dry-run", "--force-renewal")
    real = machine.force_renewal()
    print(rehearsal.output, real.output)
    return rehearsal.status, real.status


@pytest.mark.parametrize("ours", ["one", "both"])
def test_same_names_twice(tmp_path: Path, ours: str) -> None:
    """An RSA and an ECDSA lineage for the same names: the dry run ends as the real one does."""
    machine = issued(tmp_path)
    installer = ("-i", "null") if ours == "one" else (
        *machine.installer, "--qiniu-domains", f"{WWW}")
    if ours == "both":
        change(machine, "qiniu_skip_nginx", f"qiniu_domains = {IMG}\nqiniu_skip_nginx")
        assert machine.renew().status == 0
    run = machine.certbot("certonly", "-a", "standalone", *installer, "--key-type", "rsa",
                          "--cert-name", "example.com-rsa", "-d", APEX, "-d", f"*.{APEX}")
    assert run.status == 0, run.output
    assert (0, 0) == both(machine)


def test_copied_conf(tmp_path: Path) -> None:
    """One of two that want the same domains fails, in the dry run as in the real one."""
    machine = issued(tmp_path)
    shutil.copy(conf(machine), conf(machine, "second"))
    assert (1, 1) == both(machine)


# Credentials


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """Work in another folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def relative(machine: Seat) -> tuple[str, ...]:
    """The arguments that choose the plugin, with the credentials file by its name alone."""
    return ("-i", "qiniu", "--qiniu-credentials", machine.credentials.name, "--qiniu-skip-nginx")


def test_relative_credentials(tmp_path: Path) -> None:
    """A relative path is stored as an absolute one, as renewals are run elsewhere."""
    machine = seat(tmp_path)
    run = machine.certbot("run", "-a", "standalone", *relative(machine), "-d", APEX, "-d",
                          f"*.{APEX}", around=functools.partial(within, tmp_path))
    assert run.status == 0, run.output
    assert f"qiniu_credentials = {machine.credentials}\n" in conf(machine).read_text()
    with within(Path("/")):
        assert machine.renew().status == machine.force_renewal().status == 0


def test_relative_credentials_in_reconfigure(tmp_path: Path) -> None:
    """The same, for a lineage that certbot already has."""
    machine = seat(tmp_path)
    machine.certbot("certonly", "-a", "standalone", "-d", APEX, "-d", f"*.{APEX}")
    run = machine.certbot("reconfigure", "--cert-name", APEX, *relative(machine),
                          around=functools.partial(within, tmp_path))
    assert run.status == 0, run.output
    assert f"qiniu_credentials = {machine.credentials}\n" in conf(machine).read_text()


@pytest.mark.parametrize("folder", ["/", "."])
def test_stored_relative_credentials(tmp_path: Path, folder: str) -> None:
    """Wherever certbot runs, it says how to fix that; the conf keeps the plugin."""
    machine = issued(tmp_path)
    change(machine, f"qiniu_credentials = {machine.credentials}", "qiniu_credentials = qiniu.ini")
    command = f"certbot reconfigure --cert-name {APEX} -i qiniu --qiniu-credentials /PATH/TO/qiniu"
    around = functools.partial(within, tmp_path / folder)
    for arguments in ((), ("--force-renewal",), ("--dry-run", "--force-renewal")):
        run = machine.renew(*arguments, around=around)
        assert (1, True) == (run.status, command in run.output), run.output
    assert "installer = qiniu\n" in conf(machine).read_text()
    assert "qiniu_credentials = qiniu.ini\n" in conf(machine).read_text()
    for name in ("status", "doctor"):
        said = "".join(machine.run(name).output.split())
        assert command.replace(" ", "") in said
    run = machine.certbot("reconfigure", "--cert-name", APEX, *machine.installer)
    assert run.status == 0, run.output
    assert machine.renew().status == 0


# A conf that was edited by hand


@pytest.mark.parametrize(("line", "status"), [
    ("qiniu_domains = None", 0), ("qiniu_services = None", 0), ("qiniu_skip_nginx = yes", 0),
    ("qiniu_nginx_test_cmd = None", 0), ("qiniu_http2 = True", 1), ("qiniu_services = True", 1),
    ("qiniu_keep_certificates = True", 1), ("qiniu_credentials = a, b", 1)])
def test_a_conf_edited_by_hand(tmp_path: Path, line: str, status: int) -> None:
    """certbot and the command take it alike; what is nonsense is named, and nothing is lost."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    option = line.partition(" ")[0]
    conf = machine.config_dir / "renewal" / "example.com.conf"
    kept = [text for text in conf.read_text().splitlines() if not text.startswith(option)]
    conf.write_text("\n".join(kept).replace("[renewalparams]", f"[renewalparams]\n{line}") + "\n")
    for run in (machine.run("status", "--managed"), machine.renew()):
        assert (status, True) == (run.status, "Traceback" not in run.output), run.output
        assert not status or "qiniu" in run.output
    assert line in conf.read_text()


# certbot's own configuration files


def test_cli_ini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command takes from certbot's files what certbot takes from them."""
    machine = issued(tmp_path)
    machine.cloud.clock.sleep(600)
    ini = tmp_path / "xdg" / "letsencrypt" / "cli.ini"
    ini.parent.mkdir(parents=True)
    ini.write_text(f"config-dir = {machine.config_dir}\nwork-dir = {machine.config_dir}/work\n"
                   f"logs-dir = {machine.config_dir}/logs\nrsa-key-size = 4096\n"
                   f"qiniu-credentials = {machine.credentials}\n")
    change(machine, f"qiniu_credentials = {machine.credentials}\n", "")
    monkeypatch.setattr(Seat, "folders", ())
    for environment, options in ((str(tmp_path / "xdg"), ()), ("/nowhere", ("--config", str(ini)))):
        monkeypatch.setenv("XDG_CONFIG_HOME", environment)
        for command in ("status", "plan", "apply"):
            run = machine.run(command, *options)
            assert run.status == 0, run.output
        assert "example.com: done" in run.output
    ini.write_text(ini.read_text().replace("qiniu-credentials = ", "qiniu-http2 = of\n# "))
    run = machine.run("status", "--config", str(ini))
    assert (2, True) == (run.status, "is none of on, off, keep" in run.output), run.output
