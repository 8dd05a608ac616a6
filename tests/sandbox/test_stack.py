"""The sandbox proves itself, without the plugin: what it serves, refuses and remembers."""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from tests.sandbox.acme import Pebble
from tests.sandbox.alidns import HOST
from tests.sandbox.process import LOOPBACK, until
from tests.sandbox.stack import ACCOUNT, ALIYUN_KEYS, BIND_ACCOUNT, Sandbox
from tests.sandbox.wire import Fault

ROOT = Path(__file__).parents[2]


@pytest.mark.programs
def test_a_wrong_secret_issues_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """The real plugin's call is refused by the signature check, and certbot fails."""
    wrong = tmp_path / "wrong.ini"
    wrong.touch(0o600)
    wrong.write_text(f"dns_aliyun_access_key = {ALIYUN_KEYS[0]}\n"
                     "dns_aliyun_access_key_secret = wrong\n", encoding="ascii")
    result = sandbox.certbot("certonly", *sandbox.aliyun, *ACCOUNT, "-d", "example.com",
                             "--dns-aliyun-credentials", str(wrong), check=False)
    assert result.returncode == 1
    assert "Specified signature is not matched" in result.stderr
    assert {call.status for call in sandbox.board.calls(HOST)} == {400}
    assert not sandbox.live("example.com").exists()


@pytest.mark.programs
def test_a_failing_certbot_is_told_with_its_words(sandbox: Sandbox) -> None:
    """A run that was to succeed raises, with all that certbot said."""
    with pytest.raises(AssertionError, match=r"(?s)ended with 2.*--no-such-option"):
        sandbox.certbot("certonly", "--no-such-option")


@pytest.mark.programs
def test_a_killed_run_can_be_repeated(sandbox: Sandbox) -> None:
    """certbot is killed while Aliyun keeps silent; the next run issues all the same."""
    arguments = ("certonly", *sandbox.aliyun, *ACCOUNT, "-d", "example.com", "-d", "*.example.com")
    sandbox.board.arm(Fault("timeout_after"), match=lambda request: "AddDomain" in request.target)
    with sandbox.popen(*arguments) as process:
        until(lambda: any(call.status == 0 for call in sandbox.board.calls(HOST)), "silence")
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not sandbox.live("example.com").exists()

    sandbox.certbot(*arguments)
    assert sandbox.lineage_fingerprint("example.com")


@pytest.mark.programs
def test_issue_and_serve(sandbox: Sandbox, tmp_path: Path) -> None:
    """An unmodified certbot issues through Aliyun, and nginx serves what came, for 90 days."""
    before = sandbox.nginx.served_fingerprint("www.example.org")
    sandbox.certbot("certonly", *sandbox.aliyun, *ACCOUNT, "-d", "example.org",
                    "-d", "*.example.org")
    live = sandbox.live("example.org")
    certificate = x509.load_pem_x509_certificate((live / "cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    actions = [dict(call.request.query)["Action"] for call in sandbox.board.calls(HOST)]
    assert set(names.get_values_for_type(x509.DNSName)) == {"example.org", "*.example.org"}
    assert round(lifetime / dt.timedelta(days=1)) == 90
    assert actions.count("AddDomainRecord") == actions.count("DeleteDomainRecord") == 2
    assert ("TXT", "_acme-challenge.example.org") in sandbox.dns.queries
    assert sandbox.alidns.texts("_acme-challenge.example.org") == []

    issued = sandbox.lineage_fingerprint("example.org")
    sandbox.nginx.configure([
        ("example.org *.example.org", live / "fullchain.pem", live / "privkey.pem")])
    assert sandbox.nginx.served_fingerprint("www.example.org") == before != issued
    subprocess.run(shlex.split(sandbox.nginx.reload_command), check=True, timeout=20)
    roots = tmp_path / "roots.pem"
    roots.write_text("".join(sandbox.pebble_roots), encoding="ascii")
    until(lambda: "Verification: OK" in s_client(sandbox.nginx.port, "www.example.org", roots),
          "openssl, too, sees a leaf that leads to the authority's root")
    until(lambda: sandbox.nginx.served_fingerprint("www.example.org") == issued, "the new leaf")


def s_client(port: int, name: str, roots: Path) -> str:
    """Return what openssl says about the server on *port*."""
    seen = subprocess.run(
        ["openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-CAfile", str(roots), "-brief",
         "-servername", name, "-verify_hostname", name, "-verify_return_error"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20)
    return seen.stderr


@pytest.mark.programs
def test_account_binding() -> None:
    """An authority that binds accounts refuses one without its key, and takes one with it."""
    with Sandbox(with_nginx=False, external_account=True) as sandbox:
        refused = sandbox.certbot("register", *ACCOUNT, check=False)
        assert refused.returncode == 1
        assert "external account binding" in refused.stderr.lower()
        sandbox.certbot("register", *ACCOUNT, *BIND_ACCOUNT)


@pytest.mark.programs
def test_strangers_are_told(sandbox: Sandbox) -> None:
    """A program in the sandbox that calls anyone else is caught once, with the host's name."""
    code = "import requests; requests.get('https://update.example.com/')"
    ran = subprocess.run([sys.executable, "-c", code], env=sandbox.environment, check=False,
                         capture_output=True, text=True, timeout=20)
    assert "ProxyError" in ran.stderr
    with pytest.raises(AssertionError, match=r"no emulator answers for update\.example\.com"):
        sandbox.assert_sound()
    sandbox.assert_sound()


@pytest.mark.programs
def test_the_environment_is_the_sandboxs_own(
        sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's own settings for the network do not reach the programs."""
    for name in ("https_proxy", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "QINIU_ACCESS_KEY"):
        monkeypatch.setenv(name, "http://elsewhere.example")
    assert "http://elsewhere.example" not in sandbox.environment.values()


def sockets_of(processes: set[int]) -> set[str]:
    """The inodes of all sockets that *processes* hold."""
    inodes = set()
    for process in processes:
        for entry in Path(f"/proc/{process}/fd").iterdir():
            try:
                found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry))
            except FileNotFoundError:  # closed meanwhile
                continue
            if found:
                inodes.add(found[1])
    return inodes


def family(process: int) -> set[int]:
    """*process* and all its descendants."""
    children: set[int] = set()
    for task in Path(f"/proc/{process}/task").iterdir():
        children.update(map(int, (task / "children").read_text().split()))
    return {process}.union(*map(family, children))


@pytest.mark.programs
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc of Linux")
def test_only_the_loopback_address_listens(sandbox: Sandbox) -> None:
    """No socket of the sandbox, its programs included, can be reached from another machine."""
    inodes = sockets_of(family(os.getpid()))
    bound = {}
    for protocol, listening in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            address, port = local.split(":")
            if state == listening and rest[5] in inodes:
                bound[int(port, 16)] = address
    assert {sandbox.proxy.port, sandbox.dns.port, sandbox.nginx.port} < bound.keys()
    assert len(bound) >= 6  # the authority's two and the web server's second one, too
    assert set(bound.values()) == {"0100007F"}


@pytest.mark.programs
def test_nothing_is_left_behind() -> None:
    """A closed sandbox has no files, no programs and no open ports."""
    with Sandbox() as sandbox:
        ports = [sandbox.proxy.port, sandbox.dns.port, sandbox.nginx.port]
        assert sandbox.credentials_path.stat().st_mode & 0o777 == 0o600
    assert not sandbox.directory.exists()
    assert not sandbox.nginx.running
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, port), 5)


def test_a_failed_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that were started before a failure are stopped again."""
    def fail(_: Pebble) -> None:
        raise RuntimeError("no authority today")

    monkeypatch.setattr(Pebble, "start", fail)
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="no authority today"):
        sandbox.__enter__()
    assert not sandbox.directory.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, sandbox.dns.port), 5)
