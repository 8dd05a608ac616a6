"""The installer with other ways to prove a domain than DNS at Aliyun: certbot's own, and more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.process import LOOPBACK
from tests.sandbox.stack import ACCOUNT, AT_DNSPOD, BIND_ACCOUNT, Sandbox

pytestmark = pytest.mark.programs

WWW, IMG = "www.example.com", "img.example.com"

_WITH_FOLDER = """\
pid {directory}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    server {{
        listen {loopback}:{port};
        server_name {names};
        location /.well-known/acme-challenge/ {{ root {folder}; }}
    }}
    server {{
        listen {loopback}:{tls_port} ssl;
        server_name {names};
        ssl_certificate {fullchain};
        ssl_certificate_key {key};
    }}
}}
"""


def serve_folder(box: Sandbox) -> Path:
    """Let nginx answer http-01 from a folder, and TLS with files that are none of certbot's."""
    folder = box.directory / "www"
    (folder / ".well-known" / "acme-challenge").mkdir(parents=True)
    fullchain, key = box.bootstrap
    box.nginx.configuration.write_text(_WITH_FOLDER.format(
        directory=box.nginx.configuration.parent, loopback=LOOPBACK, port=box.http_port,
        tls_port=box.nginx.port, names=f"{WWW} {IMG}", folder=folder, fullchain=fullchain,
        key=key))
    box.nginx.stop()
    box.nginx.start()
    return folder


def issue_and_renew(box: Sandbox, *authenticator: str, names: tuple[str, ...] = (WWW, IMG),
                    environment: dict[str, str] | None = None) -> str:
    """One run and one forced renewal, each of which must reach Qiniu; what they printed."""
    for name in names:
        box.qiniu.add_domain(name)
    nginx = ("--qiniu-nginx-test-cmd", box.nginx.test_command) if hasattr(box, "nginx") else ()
    said = ""
    seen = set()
    for command in (("run", *authenticator, "-i", "qiniu", "--qiniu-credentials",
                     str(box.credentials_path), *nginx, *ACCOUNT,
                     *(part for name in names for part in ("-d", name))),
                    ("renew", "--force-renewal")):
        result = box.certbot(*command, environment=environment)
        said += result.stdout + result.stderr
        leaf = box.lineage_fingerprint(names[0])
        deadline = time.monotonic() + 10
        while {leaf} != {box.qiniu.serving(name).fingerprint for name in names}:
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        seen.add(leaf)
    assert 2 == len(seen)
    return said


@pytest.fixture
def alone() -> Iterator[Sandbox]:
    """Run a sandbox without a web server."""
    with Sandbox(with_nginx=False) as box:
        yield box
        box.assert_sound()


def test_webroot(sandbox: Sandbox) -> None:
    """Proved through files that nginx serves; that nginx has copies is said."""
    folder = serve_folder(sandbox)
    said = issue_and_renew(sandbox, "-a", "webroot", "-w", str(folder))
    assert 2 == said.count("nginx: no server block of nginx uses the files in")
    sandbox.certbot("renew")


def test_standalone(alone: Sandbox) -> None:
    """Proved by certbot's own server, without any web server."""
    issue_and_renew(alone, "-a", "standalone", "--http-01-port", str(alone.http_port))


def test_manual(sandbox: Sandbox) -> None:
    """Proved by the user's hooks."""
    folder = serve_folder(sandbox) / ".well-known" / "acme-challenge"
    hooks = {"auth": f'printf %s "$CERTBOT_VALIDATION" > {folder}/"$CERTBOT_TOKEN"',
             "cleanup": f'rm {folder}/"$CERTBOT_TOKEN"'}
    for name, text in hooks.items():
        path = sandbox.directory / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    issue_and_renew(sandbox, "-a", "manual", "--preferred-challenges", "http",
                    "--manual-auth-hook", str(sandbox.directory / "auth"),
                    "--manual-cleanup-hook", str(sandbox.directory / "cleanup"))
    assert [] == list(folder.iterdir())


def test_nginx(sandbox: Sandbox) -> None:
    """Proved by certbot-nginx, which takes part in the deployment, too."""
    serve_folder(sandbox)
    root = sandbox.nginx.configuration.parent
    issue_and_renew(sandbox, "-a", "nginx", "--qiniu-with", "nginx", "--nginx-server-root",
                    str(root), "--nginx-sleep-seconds", "2",  # for the authority to see the reload
                    "--http-01-port", str(sandbox.http_port), "--https-port",
                    str(sandbox.nginx.port))
    leaf, deadline = sandbox.lineage_fingerprint(WWW), time.monotonic() + 10
    while leaf != sandbox.nginx.served_fingerprint(IMG):
        assert time.monotonic() < deadline
    assert "acme-challenge_" not in sandbox.nginx.configuration.read_text()


def test_dnspod(alone: Sandbox) -> None:
    """Proved by DNS at DNSPod (Tencent Cloud), through certbot-dns-tencent; with a wildcard."""
    # The vendor's package asks certifi alone which authorities to trust.
    trusted = alone.directory / "trusted"
    trusted.mkdir()
    (trusted / "certifi.py").write_text(
        "import os\n\n\ndef where():\n    return os.environ['REQUESTS_CA_BUNDLE']\n")
    cdn = f"cdn.{AT_DNSPOD}"
    alone.qiniu.add_domain(cdn)
    issue_and_renew(alone, "-a", "dns-tencent", "--dns-tencent-credentials",
                    str(alone.credentials_path), "--dns-tencent-propagation-seconds", "0",
                    "-d", f"*.{AT_DNSPOD}", "--qiniu-domains", f"{cdn},{AT_DNSPOD}",
                    names=(AT_DNSPOD,), environment={"PYTHONPATH": str(trusted)})
    assert alone.lineage_fingerprint(AT_DNSPOD) == alone.qiniu.serving(cdn).fingerprint
    assert alone.board.calls("dnspod")
    assert [] == alone.dnspod.records


def test_external_account() -> None:
    """With an authority that wants accounts bound to its customers, and not without binding."""
    with Sandbox(with_nginx=False, external_account=True) as box:
        refused = box.certbot("run", *box.aliyun, "-i", "qiniu", "--qiniu-credentials",
                              str(box.credentials_path), *ACCOUNT, "-d", WWW, check=False)
        assert 1 == refused.returncode
        issue_and_renew(box, *box.aliyun, *BIND_ACCOUNT)
        box.assert_sound()
