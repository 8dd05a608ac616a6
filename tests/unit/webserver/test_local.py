"""nginx's processes, and this machine's addresses."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from certbot_qiniu.webserver import local
from certbot_qiniu.webserver.local import Master


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process file system with nothing but our own process."""
    folder = tmp_path / "proc"
    monkeypatch.setattr(local, "PROCESSES", folder)
    monkeypatch.setattr(local, "others_may_change", lambda path: "writable" in path.parts)
    # Not every machine that runs this has the program.
    monkeypatch.setattr(local, "_mode", lambda path: path.stat().st_mode if path.exists() else 0)
    add(folder, "self")
    return folder


def add(folder: Path, pid: str, name: str = "python3", title: str = "", *,
        program: str = "/usr/sbin/nginx", network: str = "net:[1]", root: str = "/") -> Path:
    """Add a process."""
    process = folder / pid
    (process / "ns").mkdir(parents=True)
    (process / "comm").write_text(f"{name}\n")
    (process / "cmdline").write_text(f"{title}\0")
    (process / "exe").symlink_to(program)
    (process / "ns/net").symlink_to(network)
    (process / "root").symlink_to(root)
    return process


MASTER = "nginx: master process"
COMMAND = "/usr/sbin/nginx"


@pytest.mark.parametrize(("title", "expected"), [
    (f"{MASTER} nginx", ()),
    (f"{MASTER} /usr/sbin/nginx -g daemon on; master_process on;", ()),
    (f"{MASTER} nginx -c /srv/n.conf -g daemon off;", ("-c", "/srv/n.conf")),
    (f"{MASTER} nginx -p /srv -c n.conf", ("-p", "/srv", "-c", "n.conf")),
    ("angie: master process v1.8.1 #1 [/usr/sbin/angie -c /srv/n.conf]", ("-c", "/srv/n.conf")),
])
def test_command_of_a_master(processes: Path, title: str, expected: tuple[str, ...]) -> None:
    """The options that name its configuration go with it."""
    add(processes, "7", "nginx", title)
    assert [Master(7, COMMAND, (COMMAND, *expected))] == local.masters()


@pytest.mark.parametrize(("name", "title"), [
    ("nginx", "nginx: worker process"), ("nginx-exporter", f"{MASTER} x"), ("bash", "nginx -t")])
def test_what_is_no_master(processes: Path, name: str, title: str) -> None:
    """Workers, and what merely has a name like it, are none."""
    add(processes, "7", name, title)
    assert [] == local.masters()


@pytest.mark.parametrize("title", [f"{MASTER} nginx -p srv", f"{MASTER} nginx -c /a b/n.conf;x -p"])
def test_options_that_cannot_be_told(processes: Path, title: str) -> None:
    """Another configuration is not to be tested in its place."""
    add(processes, "7", "nginx", title)
    [master] = local.masters()
    assert "options" in master.obstacle


def test_programs_that_are_not_for_us(processes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that another user started, or may change, is never run."""
    add(processes, "7", "nginx", MASTER, program="/writable/nginx")
    [master] = local.masters()
    assert ("is a program that another user can change", True) == (master.obstacle, master.is_here)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    (processes / "7/exe").unlink()
    (processes / "7/exe").symlink_to(COMMAND)
    os.chown(processes / "7", 1234, -1) if os.getuid() == 0 else None
    if os.getuid() == 0:
        [master] = local.masters()
        assert "is another user's" == master.obstacle


@pytest.mark.parametrize(("name", "mode"), [("su", 0o755), ("nginx", 0o4755), ("nginx", 0o2755)])
def test_a_program_by_a_false_name(processes: Path, tmp_path: Path, name: str, mode: int) -> None:
    """Anyone can start root's ``su`` as nginx's master, and give it a command to run."""
    program = tmp_path / name
    program.touch()
    program.chmod(mode)
    add(processes, "7", "nginx", f"{MASTER} nginx -c /srv/evil", program=str(program))
    assert ["is no program of nginx"] == [master.obstacle for master in local.masters()]


@pytest.mark.parametrize("elsewhere", [{"network": "net:[2]"}, {"root": "/usr"}])
def test_containers(processes: Path, elsewhere: dict[str, str]) -> None:
    """A process with another network or other files is not of this machine."""
    add(processes, "7", "nginx", MASTER, **elsewhere)  # type: ignore[arg-type]
    assert [False] == [master.is_here for master in local.masters()]


def test_a_program_that_was_replaced(processes: Path) -> None:
    """After an upgrade the new program is at the old place."""
    add(processes, "7", "nginx", MASTER, program=f"{COMMAND} (deleted)")
    assert [COMMAND] == [master.program for master in local.masters()]


def test_what_cannot_be_seen(processes: Path) -> None:
    """Only root looks into root's processes."""
    (add(processes, "7", "nginx", MASTER) / "exe").unlink()
    assert [Master(7, obstacle="cannot be looked into by this user")] == local.masters()
    (processes / "7/cmdline").unlink()
    assert [] == local.masters()
    (processes / "7/comm").unlink()
    (processes / "7/comm").mkdir()
    assert local.runs()


@pytest.mark.parametrize(("names", "expected"), [
    (["bash", "nginx"], True), (["openresty"], True), (["bash", "nginx-exporter"], False),
    ([], True)], ids=["runs", "by another name", "does not", "cannot be seen"])
def test_whether_it_runs(processes: Path, names: list[str], *, expected: bool) -> None:
    """The processes of this machine show it; nothing is started or changed."""
    for number, name in enumerate(names, 1):
        add(processes, str(number), name)
    assert expected is local.runs()


@pytest.mark.parametrize(("host", "expected"), [
    ("127.0.0.1", True), ("127.0.0.2", True), ("192.0.2.7", False), ("2001:db8::7", False),
    ("localhost", True), ("no.invalid", False), ("\udcff", False), ("0.0.0.256", False)])
def test_addresses(host: str, *, expected: bool) -> None:
    """What is sent to one's own address comes from it."""
    assert expected == local.has_address(host)


def test_own_address() -> None:
    """Not the loopback address alone is this machine's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return  # no network, and so no further address
        assert local.has_address(probe.getsockname()[0])
