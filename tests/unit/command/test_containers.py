"""Which folders end with a container, by what is mounted where."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.command import containers

ROOT = "600 500 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l\n"
LETSENCRYPT, LIB = Path("/etc/letsencrypt"), Path("/var/lib/letsencrypt")
FOLDERS = {"config": LETSENCRYPT, "work": LIB, "logs": Path("/var/log/letsencrypt")}


def mounted(point: str, kind: str = "ext4") -> str:
    """A line for something that is mounted."""
    return f"601 600 8:1 /vol {point} rw,relatime shared:2 - {kind} /dev/sda1 rw\n"


@pytest.mark.parametrize(("mounts", "lost"), [
    (ROOT, {LETSENCRYPT, LIB}),
    (ROOT + mounted("/etc/letsencrypt"), {LIB}),
    (ROOT + mounted("/etc/letsencrypt") + mounted("/var/lib/letsencrypt"), set()),
    (ROOT + mounted("/etc") + mounted("/var/lib", "tmpfs"), set()),
    (ROOT + mounted("/etc/letsencrypt-old") + mounted("/var\\040lib"), {LETSENCRYPT, LIB}),
    (ROOT + mounted("/etc/letsencrypt").replace(
        "/vol", f"/var/lib/docker/volumes/{'5e' * 32}/_data"), {LETSENCRYPT, LIB}),
    (ROOT.replace("overlay overlay", "ext4 /dev/sda1"), set()),
    (mounted("/") + ROOT, {LETSENCRYPT, LIB}),
    (ROOT.replace("overlay overlay", "fuse.fuse-overlayfs fuse-overlayfs"), {LETSENCRYPT, LIB}),
    ("", set()),
], ids=["none", "one volume", "both", "folders above", "other places", "without a name",
        "a machine", "mounted over", "rootless", "nothing known"])
def test_lost_with_it(mounts: str, lost: set[Path], tmp_path: Path,
                      monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the container's own layers, unless something is mounted there or above."""
    (tmp_path / "mountinfo").write_text(mounts)
    monkeypatch.setattr(containers, "MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(containers, "SYSTEMD", tmp_path / "systemd")
    assert lost == {path for path, _ in containers.lost_with_it(FOLDERS)}
    (tmp_path / "systemd").mkdir()
    assert not list(containers.lost_with_it(FOLDERS))  # a machine that is kept


def test_no_mounts_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing is known, nothing is said."""
    monkeypatch.setattr(containers, "MOUNTS", tmp_path / "nowhere")
    assert not list(containers.lost_with_it(FOLDERS))


def test_text() -> None:
    """It says what goes."""
    assert "what a rollback goes back to" in containers.LOST["work"]
