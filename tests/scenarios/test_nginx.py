"""nginx as real machines have it, through certbot's own entry point: scripts are in its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from certbot_qiniu.webserver import local, nginx
from certbot_qiniu.webserver.local import Master
from tests.scenarios.command import APEX, WILD, Seat, seat
from tests.scenarios.machine import Run

NAMES = ("-d", APEX, "-d", f"*{WILD}")


def program(path: Path, text: str) -> Path:
    """A program made of a line of shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")
    path.chmod(0o755)
    return path


def issue(machine: Seat, *options: str, masters: Callable[[], list[Master]] = list) -> Run:
    """``certbot run`` on a machine with nothing in the search path."""
    @contextlib.contextmanager
    def around() -> Iterator[None]:
        with (mock.patch.object(nginx, "_search_path", return_value="/nowhere"),
              mock.patch.object(local, "masters", masters)):
            yield

    arguments = [word for word in machine.installer if word != "--qiniu-skip-nginx"]
    return machine.certbot("run", "-a", "standalone", *arguments, *options, *NAMES, around=around)


def test_a_reload_that_is_given_and_nginx_does_not_run(tmp_path: Path) -> None:
    """It is a notice: nothing of the installation is rolled back."""
    machine = seat(tmp_path)
    command = program(tmp_path / "nginx", '[ "$1" = -t ] || { echo "nginx: [error] invalid PID '
                      'number \\"\\" in \\"/run/nginx.pid\\"" >&2; exit 1; }')
    run = issue(machine, "--qiniu-nginx-reload-cmd", f"{command} -s reload")
    assert 0 == run.status, run.output
    assert "restored" not in run.output
    assert machine.fingerprint() == machine.cloud.qiniu.serving(APEX).fingerprint


def test_openresty_that_is_not_in_the_path(tmp_path: Path) -> None:
    """It is found by its process, tested and reloaded, and doctor names the command."""
    machine = seat(tmp_path)
    command = program(tmp_path / "openresty" / "nginx", f'echo "$@" >> {tmp_path}/ran')
    run = issue(machine, masters=lambda: [Master(7, str(command), (str(command),))])
    assert 0 == run.status, run.output
    assert ["-t", "-s reload", "-T"] == (tmp_path / "ran").read_text().splitlines()[-3:]
    assert "nginx: nginx was reloaded" in run.output


@pytest.mark.parametrize("obstacle", ["is another user's", "can be changed by others"])
def test_an_nginx_that_is_not_ours_to_run(tmp_path: Path, obstacle: str) -> None:
    """It is said, with the options that help, and Qiniu gets its certificate."""
    machine = seat(tmp_path)
    command = program(tmp_path / "nginx", f"touch {tmp_path}/ran")
    run = issue(machine, masters=lambda: [Master(7, str(command), (str(command),), obstacle)])
    assert 0 == run.status, run.output
    assert f"process 7 {obstacle}" in " ".join(run.output.split())
    assert nginx.RELOAD_OPTION in run.output
    assert not (tmp_path / "ran").exists()
    assert machine.fingerprint() == machine.cloud.qiniu.serving(APEX).fingerprint


def test_a_certificate_for_mail_alone(tmp_path: Path) -> None:
    """It is not called unused: nginx is not to be skipped."""
    machine = seat(tmp_path)
    chain = machine.config_dir / "live" / "example.com" / "fullchain.pem"
    command = program(tmp_path / "nginx", f"""[ "$1" != -T ] || cat <<'END'
# configuration file /etc/nginx/nginx.conf:
mail {{ server {{ listen 143; starttls on; ssl_certificate {chain}; }} }}
END""")
    run = issue(machine, "--qiniu-nginx-test-cmd", f"{command} -t")
    assert 0 == run.status, run.output
    assert "*:143 (mail)" in run.output
    assert "--qiniu-skip-nginx" not in run.output
