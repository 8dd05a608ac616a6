"""A machine whose files are lost, damaged or of an older version: what there is, is used."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.package import DOCS
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.wire import Fault
from tests.scenarios.command import Seat, issued
from tests.scenarios.invariants import changes
from tests.scenarios.machine import Cloud, Machine

HOUR, DAY = 3600, 86_400
WWW, OTHER, SHOP = "www.example.com", "b.example.org", "shop.example.org"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with two lineages; before them one domain spoke http."""
    cloud = Cloud(Switches(publish_seconds=3))
    cloud.qiniu.add_domain(WWW)
    cloud.qiniu.add_domain(OTHER, protocol="https", cert_id=cloud.stranger(OTHER, name="theirs"))
    machine = Machine(cloud, tmp_path)
    for name in (WWW, OTHER):
        assert machine.issue(name).status == 0
    for _ in range(2):
        cloud.clock.sleep(HOUR)
        assert machine.force_renewal().status == 0
        cloud.clock.sleep(HOUR)
        assert machine.renew().status == 0
    return machine


def test_lost_memory(tmp_path: Path) -> None:
    """After losing both files our own certificate is found again, and counts as ours."""
    cloud = Cloud()
    cloud.qiniu.add_domain("www.example.com", protocol="https",
                           cert_id=cloud.stranger("*.example.com"))
    machine = Machine(cloud, tmp_path)
    assert machine.issue("example.com", "*.example.com").status == 0
    shutil.rmtree(machine.config_dir / "qiniu")
    run = machine.renew()
    assert run.status == 0, run.output
    assert [] == run.labels("PUT ") + run.labels("POST ")
    state = machine.config_dir / "qiniu" / "state" / "example.com.json"
    assert "www.example.com" in state.read_text("utf-8")


@pytest.mark.parametrize("kind", ["state", "memory"])
@pytest.mark.parametrize("content", ["{", '{"version": 2, "domains": {"www.example.com": 7}}',
                                     '{"version": 99}'])
def test_damaged_lineage(machine: Machine, kind: str, content: str) -> None:
    """A damaged file costs only its own lineage, which says so; it stays for a human to repair."""
    path = machine.config_dir / "qiniu" / kind / f"{WWW}.json"
    whole = path.read_text()
    path.write_text(content)
    before = machine.cloud.qiniu.serving(WWW).fingerprint
    run = machine.force_renewal()
    machine.cloud.clock.sleep(HOUR)
    assert run.status == 1
    assert str(path) in run.output
    assert "Traceback" not in run.output
    assert machine.fingerprint(OTHER) == machine.cloud.qiniu.serving(OTHER).fingerprint
    assert before == machine.cloud.qiniu.serving(WWW).fingerprint
    assert [] == run.labels("DELETE "), "what is not known may be needed"
    assert content == path.read_text()
    path.write_text(whole)
    assert machine.renew().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert machine.fingerprint(WWW) == machine.cloud.qiniu.serving(WWW).fingerprint


def test_link_to_nothing(machine: Machine) -> None:
    """It is damage as well, and no domain goes back to http for it."""
    path = machine.config_dir / "qiniu" / "state" / f"{WWW}.json"
    kept = path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to("/nowhere/state.json")
    before = machine.cloud.qiniu.serving(WWW)
    for run in (machine.renew(), machine.force_renewal()):
        assert (1, True) == (run.status, str(path) in run.output), run.output
        machine.cloud.clock.sleep(HOUR)
        assert before == machine.cloud.qiniu.serving(WWW)
    kept.rename(path)
    assert machine.renew().status == 0


@pytest.mark.parametrize("event", ["outage", "rollback"])
def test_lost_state(machine: Machine, event: str) -> None:
    """What is remembered of its domains stands for it: none goes back to what it served before."""
    run = machine.certbot("enhance", "--hsts", "--cert-name", WWW, *machine.installer)
    assert run.status == 0, run.output
    machine.cloud.clock.sleep(HOUR)
    assert machine.renew("--force-renewal", "--cert-name", OTHER).status == 0
    machine.cloud.clock.sleep(HOUR)
    assert machine.renew().status == 0
    (machine.config_dir / "qiniu" / "state" / f"{WWW}.json").unlink()
    before = machine.cloud.qiniu.serving(WWW)
    if event == "outage":  # of the list alone
        machine.cloud.board.arm(Fault("refuse"), times=10**6, match=lambda request: (
            request.label == "GET api.qiniu.com/domain"))
        run = machine.renew("--cert-name", WWW)
        assert run.status == 1, run.output
        machine.cloud.board.disarm()
    else:
        run = machine.certbot("rollback", *machine.installer)
        assert run.status == 0, run.output
    assert [] == [label for label in changes(run) if WWW in label]
    machine.cloud.clock.sleep(HOUR)
    assert machine.renew().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert before == machine.cloud.qiniu.serving(WWW)
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert machine.renew().status == 0
    assert machine.fingerprint(WWW) == machine.cloud.qiniu.serving(WWW).fingerprint
    assert machine.certbot("rollback", *machine.installer, "--checkpoints", "99").status == 0
    machine.cloud.clock.sleep(HOUR)
    assert "http" == machine.cloud.qiniu.serving(WWW).protocol


@pytest.mark.parametrize("asked", ["--redirect", "--qiniu-http2=on", "--qiniu-tls=1.2"])
def test_lost_state_of_settings(machine: Machine, asked: str) -> None:
    """What was asked for is not taken back, as by a rollback, and can still be rolled back."""
    machine.cloud.switches.tls_versions = "shown"
    qiniu, before = machine.cloud.qiniu, machine.cloud.qiniu.serving(OTHER)
    verb = "enhance" if asked == "--redirect" else "reconfigure"
    assert machine.certbot(verb, "--cert-name", OTHER, *machine.installer, asked).status == 0
    for _ in range(2):
        assert machine.renew().status == 0
        machine.cloud.clock.sleep(HOUR)
    after = qiniu.serving(OTHER)
    assert before != after
    assert machine.renew("--force-renewal", "--cert-name", WWW).status == 0
    machine.cloud.clock.sleep(HOUR)
    (machine.config_dir / "qiniu" / "state" / f"{OTHER}.json").unlink()
    run = machine.certbot("rollback", *machine.installer)
    assert run.status == 0, run.output
    machine.cloud.clock.sleep(HOUR)
    assert after == qiniu.serving(OTHER)
    assert machine.renew().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert after == qiniu.serving(OTHER)
    run = machine.certbot("rollback", *machine.installer)
    assert run.status == 0, run.output
    machine.cloud.clock.sleep(HOUR)
    assert before == qiniu.serving(OTHER)


def test_lost_state_during_a_rollback(machine: Machine) -> None:
    """What the rollback gives back goes on its way."""
    assert machine.force_renewal().status == 0
    run = machine.certbot("rollback", *machine.installer, "--checkpoints", "99",
                          "--qiniu-publish-timeout", "0")
    assert run.status == 1, "Qiniu is still publishing"
    (machine.config_dir / "qiniu" / "state" / f"{WWW}.json").unlink()
    for _ in range(2):
        machine.cloud.clock.sleep(HOUR)
        assert machine.renew().status == 0
    assert machine.cloud.qiniu.serving(WWW).protocol == "http"


def test_rollback_over_a_damaged_state(machine: Machine) -> None:
    """It is refused, naming the file: nobody would know what an older one in its place undoes."""
    path = machine.config_dir / "qiniu" / "state" / f"{WWW}.json"
    whole = path.read_text()
    path.write_text("{")
    run = machine.certbot("rollback", *machine.installer)
    assert (1, "{", []) == (run.status, path.read_text(), changes(run)), run.output
    assert str(path) in run.output
    path.write_text(whole)
    for run in (machine.certbot("rollback", *machine.installer), machine.renew()):
        assert 0 == run.status, run.output
        machine.cloud.clock.sleep(HOUR)
    assert machine.fingerprint(WWW) != machine.cloud.qiniu.serving(WWW).fingerprint


def test_another_lineage_takes_nothing_of_a_damaged_one(machine: Machine) -> None:
    """A domain whose own lineage has a damaged state does not change hands for that."""
    state = machine.config_dir / "qiniu" / "state" / f"{WWW}.json"
    state.write_text("{")
    before = machine.cloud.qiniu.serving(WWW).fingerprint
    run = machine.issue("example.com", "*.example.com")
    machine.cloud.clock.sleep(HOUR)
    assert run.status == 1, run.output
    assert before == machine.cloud.qiniu.serving(WWW).fingerprint


def to_version_1(machine: Machine) -> None:
    """Lay everything out as version 1 did: one file for all, in the checkpoints, too."""
    folder, states, memory = machine.config_dir / "qiniu", {}, {"version": 1}
    for path in sorted(folder.glob("memory/*.json")):
        found = json.loads(path.read_text())
        for kind in ("domains", "uploads"):
            for name, entry in found.pop(kind, {}).items():
                entry.pop("at", None)
                memory.setdefault(kind, {})[name] = {**entry, "lineage": path.stem}
        memory.setdefault("lineages", {})[path.stem] = {"credentials": found["credentials"]}
    for path in folder.glob("state/*.json"):
        states[path.stem] = json.loads(path.read_text())["domains"]

    def whole() -> str:
        return json.dumps({"version": 1, "domains": {
            name: {**entry, "lineage": lineage}
            for lineage, domains in states.items() for name, entry in domains.items()}})

    (folder / "state.json").write_text(whole())
    for checkpoint in sorted((machine.config_dir / "work" / "backups").iterdir(), reverse=True):
        [copy] = checkpoint.glob("*.json_0")
        states[copy.name.removesuffix(".json_0")] = json.loads(copy.read_text())["domains"]
        copy.unlink()
        (checkpoint / "FILEPATHS").write_text(f"{folder / 'state.json'}\n")
        (checkpoint / "state.json_0").write_text(whole())
    for kind in ("state", "memory"):
        shutil.rmtree(folder / kind)
    (folder / "memory.json").write_text(json.dumps(memory))


@pytest.mark.parametrize("back", [1, 2, 99])
def test_version_1(machine: Machine, back: int) -> None:
    """Files of version 1 are taken over, and a rollback into their time does what it says."""
    to_version_1(machine)
    leaves = {item.fingerprint for item in machine.cloud.qiniu.certificates()}
    looked = machine.renew("--dry-run")
    assert looked.status == 0, looked.output
    assert not (machine.config_dir / "qiniu" / "state").exists()
    run = machine.renew()
    assert run.status == 0, run.output
    assert [] == run.labels("PUT ") + run.labels("POST ")
    assert leaves == {item.fingerprint for item in machine.cloud.qiniu.certificates()}, (
        "what the last checkpoint needs is kept")
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert machine.renew().status == 0
    served = {name: machine.cloud.qiniu.serving(name).fingerprint for name in (WWW, OTHER)}
    # Two of them are of this version, one for each lineage.
    run = machine.certbot("rollback", *machine.installer, "--checkpoints", str(2 + back))
    assert run.status == 0, run.output
    machine.cloud.clock.sleep(HOUR)
    now = machine.cloud.qiniu.serving(WWW), machine.cloud.qiniu.serving(OTHER)
    if back == 99:
        assert ("http", "theirs") == (now[0].protocol, next(
            item.name for item in machine.cloud.qiniu.certificates()
            if item.cert_id == now[1].cert_id))
    else:
        assert served != {WWW: now[0].fingerprint, OTHER: now[1].fingerprint}
    assert 2 == json.loads((machine.config_dir / "qiniu" / "state.json").read_text())["version"]
    assert machine.renew().status == 0


@pytest.mark.parametrize("page", ["setup.md", "setup.zh-CN.md"])
def test_stopped_as_the_page_says(page: str, tmp_path: Path) -> None:
    """One lineage is let be: nobody complains of it, the other one is served as before."""
    machine = issued(tmp_path)
    assert machine.issue(SHOP).status == 0
    machine.cloud.clock.sleep(HOUR)
    conf = machine.config_dir / "renewal" / "example.com.conf"
    conf.write_text("".join(
        line for line in conf.read_text().splitlines(keepends=True)
        if not line.startswith("qiniu_") and line != "installer = qiniu\n"))
    assert "will not reach Qiniu" in machine.run("status").output
    text = (DOCS / page).read_text(encoding="utf-8")
    [files] = re.findall(r"^rm (/etc/letsencrypt/qiniu/state/.*)$", text, re.MULTILINE)
    for file in files.split():
        (machine.config_dir / Path(file).relative_to("/etc/letsencrypt")).unlink()
    run = machine.run("status", "--managed")
    assert (run.status, run.output.endswith("All is well: 1 managed domain.\n")) == (0, True)
    assert "renewals of example.com" not in machine.run("doctor").output
    before = machine.cloud.qiniu.serving(WWW)
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert machine.cloud.qiniu.serving(WWW) == before
    assert machine.cloud.qiniu.serving(SHOP).fingerprint == machine.fingerprint(SHOP)


# certbot's own files ------------------------------------------------------------------------------


def archive_put_back(directory: Path, *, over: bool = False) -> Seat:
    """A machine whose certificates are those of a backup that was made before a renewal.

    :param over: whether files that the backup does not have are left.
    """
    machine, folders = Seat(Cloud(Switches(publish_seconds=3)), directory), ("archive", "live")
    machine.cloud.qiniu.add_domain(WWW)
    assert machine.issue(WWW).status == 0
    for name in folders:
        shutil.copytree(machine.config_dir / name, directory / "backup" / name, symlinks=True)
    machine.cloud.clock.sleep(40 * DAY)
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert machine.renew().status == 0
    for name in folders:
        for path in (machine.config_dir / name / WWW).iterdir():
            if path.is_symlink() or not over:
                path.unlink()
        shutil.copytree(directory / "backup" / name, machine.config_dir / name, symlinks=True,
                        dirs_exist_ok=True)
    return machine


def test_an_old_archive_put_back(tmp_path: Path) -> None:
    """The better certificate stays, until there is a newer one."""
    machine = archive_put_back(tmp_path)
    before, old = machine.cloud.qiniu.serving(WWW), machine.fingerprint(WWW)
    for run in (machine.renew(), machine.run("plan"), machine.run("status"), machine.run("apply"),
                machine.certbot("reconfigure", "--cert-name", WWW, *machine.installer),
                machine.renew()):
        assert 1 == run.status, run.output
        assert "as if an old backup of certbot's was put back" in " ".join(run.output.split())
        assert [] == changes(run)
        machine.cloud.clock.sleep(HOUR)
        assert before == machine.cloud.qiniu.serving(WWW)
    assert machine.renew("--dry-run").status == 0
    assert machine.force_renewal().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert machine.renew().status == 0
    assert machine.fingerprint(WWW) == machine.cloud.qiniu.serving(WWW).fingerprint != old


def test_an_old_archive_put_over_the_newer_one(tmp_path: Path) -> None:
    """certbot links the newest certificate again as soon as it runs, and nothing is changed."""
    machine = archive_put_back(tmp_path, over=True)
    before = machine.cloud.qiniu.serving(WWW)
    for run, status in (machine.run("apply"), 1), (machine.renew(), 0), (machine.run("apply"), 0):
        assert status == run.status, run.output
        assert [] == changes(run)
        machine.cloud.clock.sleep(HOUR)
        assert before == machine.cloud.qiniu.serving(WWW)


def test_an_old_archive_put_back_on_purpose(tmp_path: Path) -> None:
    """certbot install takes the user's word."""
    machine = archive_put_back(tmp_path)
    run = machine.certbot("install", "--cert-name", WWW, *machine.installer)
    assert run.status == 0, run.output
    for _ in range(2):
        assert machine.fingerprint(WWW) == machine.cloud.qiniu.serving(WWW).fingerprint
        machine.cloud.clock.sleep(HOUR)
        assert machine.renew().status == 0


def test_deleted_and_issued_again_for_a_shorter_time(machine: Machine) -> None:
    """The newest certificate is deployed, although the one before ends later, and is gone here."""
    before = machine.fingerprint(WWW)
    assert machine.certbot("delete", "--cert-name", WWW).status == 0
    machine.days = 60
    run = machine.certbot("certonly", "-a", "standalone", *machine.installer, "-d", WWW)
    assert run.status == 0, run.output
    assert machine.renew().status == 0
    machine.cloud.clock.sleep(HOUR)
    assert before != machine.fingerprint(WWW) == machine.cloud.qiniu.serving(WWW).fingerprint
