"""A real nginx on unprivileged ports, with a configuration of its own."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from tests.sandbox.process import LOOPBACK, Program, free_port

Site = tuple[str, Path, Path]
"""server_name, fullchain and key of a ``server`` block."""

_CONFIGURATION = """\
pid {directory}/nginx.pid;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {address}:{plain_port};
        return 301 https://$host$request_uri;
    }}
{sites}
}}
"""

_SITE = """\
    server {{
        listen {address}:{port} ssl;
        server_name {name};
        ssl_certificate {fullchain};
        ssl_certificate_key {key};
        location / {{ return 200 "{name}"; }}
    }}
"""

_BROKEN = "\nthis_is_no_directive;\n"


def find_nginx() -> str | None:
    """Where nginx is."""
    return find_server("nginx")


def find_server(name: str) -> str | None:
    """Where a server is: Debian keeps them out of an ordinary user's search path."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def served_fingerprint(server_name: str, port: int) -> str:
    """The fingerprint of the leaf that this port shows a client asking for *server_name*."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (socket.create_connection((LOOPBACK, port), 5) as connection,
          context.wrap_socket(connection, server_hostname=server_name) as tls):
        leaf = tls.getpeercert(binary_form=True)
    return hashlib.sha256(leaf or b"").hexdigest()


class Nginx:
    """A web server that can be started and stopped; its certificates are files of anyone's.

    :param plain_port: of HTTP on the loopback address; any free one unless given.
    :ivar port: of HTTPS there.
    :ivar configuration: its configuration file.
    """

    def __init__(self, directory: Path, plain_port: int = 0) -> None:
        directory.mkdir()
        self.port, self.plain_port = free_port(), plain_port or free_port()
        self.configuration = directory / "nginx.conf"
        self._directory = directory
        self._errors = directory / "error.log"
        self._base = [find_nginx() or "nginx", "-p", str(directory), "-e", str(self._errors),
                      "-c", str(self.configuration)]
        # Whoever runs the tests owns the workers, too. Where that is root, nginx would give them to
        # another user, into whose processes even root cannot look in a container.
        directives = "daemon off;" + " user root root;" * (os.geteuid() == 0)
        self._program = Program([*self._base, "-g", directives], directory / "output.log")

    @property
    def test_command(self) -> str:
        """The command that tests this server's configuration."""
        return shlex.join([*self._base, "-t"])

    @property
    def reload_command(self) -> str:
        """The command that makes this server read its configuration and certificates again."""
        return shlex.join([*self._base, "-s", "reload"])

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended by itself."""
        return self._program.running

    @property
    def error_log(self) -> str:
        """All that it has written to its error log."""
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""

    def configure(self, sites: Sequence[Site]) -> None:
        """Write a configuration with one ``server`` block for each site; nothing is reloaded."""
        self.configuration.write_text(_CONFIGURATION.format(
            directory=self._directory, address=LOOPBACK, plain_port=self.plain_port,
            sites="".join(_SITE.format(address=LOOPBACK, port=self.port, name=name,
                                       fullchain=fullchain, key=key)
                          for name, fullchain, key in sites)), encoding="utf-8")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._program.start(self._listens)

    def stop(self) -> None:
        """Stop it at once; without effect when it does not run."""
        self._program.stop()

    def break_config(self) -> None:
        """Make the configuration one that nginx refuses."""
        with self.configuration.open("a", encoding="utf-8") as file:
            file.write(_BROKEN)

    def repair_config(self) -> None:
        """Undo :meth:`break_config`."""
        text = self.configuration.read_text(encoding="utf-8")
        self.configuration.write_text(text.replace(_BROKEN, ""), encoding="utf-8")

    def served_fingerprint(self, server_name: str) -> str:
        """The fingerprint of the leaf that a client asking for *server_name* is shown.

        For a moment after a reload, workers with the old leaf and with the new one both answer.
        """
        return served_fingerprint(server_name, self.port)

    def _listens(self) -> bool:
        return listens(self.port)


def listens(port: int) -> bool:
    """Whether anybody listens on this port."""
    try:
        socket.create_connection((LOOPBACK, port), 5).close()
    except OSError:
        return False
    return True


_PLAIN_PROXY = """\
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s

backend web
    http-request return status 200

frontend http
    bind {address}:{port}
    default_backend web
"""


class HAProxy:
    """A real HAProxy, master and worker, that speaks no TLS until its configuration says so.

    :ivar configuration: its configuration file.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.configuration = directory / "haproxy.cfg"
        self._port = free_port()
        self._pid = directory / "pid"
        self._program = Program(
            [find_server("haproxy") or "haproxy", "-W", "-db", "-f", str(self.configuration),
             "-p", str(self._pid)], directory / "output.log")
        self.configuration.write_text(_PLAIN_PROXY.format(address=LOOPBACK, port=self._port),
                                      encoding="utf-8")

    @property
    def reload_command(self) -> str:
        """The command of its Debian unit for a reload, after the test of the configuration."""
        return f"kill -USR2 $(cat {self._pid})"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._program.start(lambda: listens(self._port))

    def stop(self) -> None:
        """Stop it at once; without effect when it does not run."""
        self._program.stop()
