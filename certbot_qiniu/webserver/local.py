"""Find this machine's nginx processes, and the addresses that they may answer at.

Any user can start a process by any name, so a program is only taken from a master process that
root, or the user who runs this, has started from a file that nobody else can change.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from certbot_qiniu.files import others_may_change

PROCESSES = Path("/proc")

PROGRAM = re.compile(r"nginx|openresty|tengine|angie")
_TITLE = re.compile(rf"({PROGRAM.pattern}): master process")
_DELETED = " (deleted)"
_OPTION = re.compile(r" (-[cpe]) ([\w./+-]+)(?= |\]|$)", re.ASCII)


@dataclass(frozen=True)
class Master:
    """A master process of nginx.

    :ivar program: its file, "" if that cannot be seen.
    :ivar is_here: whether it has this machine's files and network, or that cannot be seen.
    :ivar command: what runs the same program with the same configuration.
    :ivar obstacle: why we must not run it, "" if nothing is in the way.
    """

    pid: int
    program: str = ""
    command: tuple[str, ...] = ()
    obstacle: str = ""
    is_here: bool = True


def runs() -> bool:
    """Return whether a process here is named as nginx's are, or cannot be seen."""
    names = [name for _, name in _processes()]
    return not names or any(map(PROGRAM.fullmatch, names))


def masters() -> list[Master]:
    """Return nginx's master processes, as far as they can be seen."""
    return [_master(pid, title) for pid, name in _processes() if PROGRAM.fullmatch(name)
            for title in [_title(pid)] if _TITLE.match(title)]


def _processes() -> Iterator[tuple[int, str]]:
    for path in PROCESSES.glob("[0-9]*/comm"):
        try:
            name = path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue  # it has ended meanwhile
        yield int(path.parent.name), name


def _title(pid: int) -> str:
    try:
        text = (PROCESSES / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
    return text.strip("\0 ")


def _master(pid: int, title: str) -> Master:
    process, own = PROCESSES / str(pid), PROCESSES / "self"
    try:
        program = os.readlink(process / "exe").removesuffix(_DELETED)
        is_elsewhere = (os.readlink(process / "ns/net") != os.readlink(own / "ns/net")
                        or not os.path.samefile(process / "root", own / "root"))
        owner, mode = process.stat().st_uid, _mode(process / "exe")
    except OSError:
        return Master(pid, obstacle="cannot be looked into by this user")
    # Anyone can start su, which root owns, under another name and with any title.
    is_nginx = PROGRAM.fullmatch(Path(program).name) and not mode & (stat.S_ISUID | stat.S_ISGID)
    options = _OPTION.findall(title)
    # The title has the words of its command line without quotes.
    is_clear = len(options) == len(re.findall(r" -[cpe]\b", title)) and all(
        path.startswith("/") for option, path in options if option == "-p")
    obstacle = ("is no program of nginx" if not is_nginx
                else "is another user's" if owner not in (0, os.geteuid())
                else "is a program that another user can change" if others_may_change(Path(program))
                else "" if is_clear else "was started with options that cannot be read")
    return Master(pid, program, (program, *(word for option in options for word in option)),
                  obstacle, not is_elsewhere)


def _mode(path: Path) -> int:
    return path.stat().st_mode


def has_address(host: str) -> bool:
    """Return whether an address, or that of a name, is one of this machine's now.

    A packet to an own address is also sent from it. (Binding a socket there proves nothing:
    machines that take an address over from each other may always allow it, by
    ``net.ipv4.ip_nonlocal_bind``.)
    """
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing
            address = probe.getpeername()[0]
            return address.startswith("127.") or bool(probe.getsockname()[0] == address)
    except (OSError, TypeError, ValueError):  # also if it is no address and no name
        return False
