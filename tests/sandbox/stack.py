"""The sandbox: everything that certbot and the plugin talk to, on this machine alone.

An unmodified certbot is sent here by environment variables and ``--server``; see
:attr:`Sandbox.environment`. Everything listens on the loopback address, lives in one temporary
directory, and is gone when the sandbox is closed.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.sandbox.acme import EXTERNAL_ACCOUNT, Pebble
from tests.sandbox.alidns import AliDNS
from tests.sandbox.dns import DNSServer
from tests.sandbox.dnspod import DNSPod
from tests.sandbox.pki import Authority, fingerprint
from tests.sandbox.process import free_port
from tests.sandbox.proxy import Proxy
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Qiniu
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.surroundings import disturbs
from tests.sandbox.webserver import Nginx
from tests.sandbox.wire import Emulator, Switchboard

ALIYUN_KEYS = ("LTAI5tSandboxAccessKeyId", "sandbox-aliyun-access-key-secret")
QINIU_KEYS = (ACCESS_KEY, SECRET_KEY)
TENCENT_KEYS = ("AKIDSandboxTencentSecretId", "sandbox-tencent-secret-key")

AT_DNSPOD = "example.net"
"""The domain that the Tencent Cloud account holds."""

ACCOUNT = ("--agree-tos", "--no-eff-email", "-m", "admin@example.com")
"""What certbot needs if it may have to register an account with the authority."""

BIND_ACCOUNT = ("--eab-kid", EXTERNAL_ACCOUNT[0], "--eab-hmac-key", EXTERNAL_ACCOUNT[1])
"""The same, for an authority that wants accounts bound to its customers."""


class Sandbox:
    """All services of the sandbox, as a context manager.

    :param domains: the domains that the Aliyun account holds.
    :param with_nginx: whether a web server runs, too.
    :param validity_days: of the certificates that are issued.
    :param external_account: whether the authority demands :data:`BIND_ACCOUNT`.
    :param http_port: where the authority looks for the answers to http-01; a free one unless given.
    :param switches: of the emulator of Qiniu.
    :param others: further services that programs may call.
    :ivar http_port: the same; the web server listens there, if one runs.
    :ivar board: the history of all API calls, and the faults.
    :ivar credentials_path: an INI file with the keys of all services.
    :ivar config_dir: certbot's, if a call names no other.
    :ivar bootstrap: fullchain and key of a self-signed certificate for a server that has none yet.
    """

    directory: Path
    config_dir: Path
    credentials_path: Path
    bootstrap: tuple[Path, Path]
    http_port: int
    alidns: AliDNS
    dnspod: DNSPod
    dns: DNSServer
    acme: Pebble
    qiniu: Qiniu
    board: Switchboard
    proxy: Proxy
    nginx: Nginx

    def __init__(self, *, domains: Iterable[str] = ("example.com", "example.org"),
                 with_nginx: bool = True, validity_days: float = 90,
                 external_account: bool = False, http_port: int = 0,
                 switches: Switches | None = None, others: Sequence[Emulator] = ()) -> None:
        self._domains = dict.fromkeys(domains, ALIYUN_KEYS[0])
        self._with_nginx = with_nginx
        self._validity_days = validity_days
        self._external_account = external_account
        self.http_port = http_port
        self._switches = switches or Switches()
        self._others = others
        self._resources = ExitStack()

    def __enter__(self) -> Sandbox:
        with ExitStack() as started:
            self.directory = Path(started.enter_context(
                tempfile.TemporaryDirectory(prefix="certbot-qiniu-sandbox-")))
            self.config_dir = self.directory / "etc"
            self._start(started)
            self._resources = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _start(self, started: ExitStack) -> None:
        def run(service: DNSServer | Pebble | Proxy | Nginx) -> None:
            service.start()
            started.callback(service.stop)

        self.alidns = AliDNS(dict([ALIYUN_KEYS]), self._domains)
        self.dnspod = DNSPod(dict([TENCENT_KEYS]), {AT_DNSPOD: TENCENT_KEYS[0]})
        self.dns = DNSServer(lambda name: self.alidns.texts(name) + self.dnspod.texts(name))
        run(self.dns)
        self.http_port = self.http_port or free_port()
        self.acme = Pebble(self.directory / "acme", self.dns.port, self.http_port,
                           validity_days=self._validity_days,
                           external_account=self._external_account)
        run(self.acme)
        self.qiniu = Qiniu(accounts=dict([QINIU_KEYS]), roots=self.pebble_roots,
                           switches=self._switches)
        self.board = Switchboard(self.qiniu, self.alidns, self.dnspod, *self._others)
        self.proxy = Proxy(self.board, self.directory)
        run(self.proxy)
        self._write_files()
        if self._with_nginx:
            self.nginx = Nginx(self.directory / "nginx", self.http_port)
            self.nginx.configure([(name, *self.bootstrap) for name in self._domains])
            run(self.nginx)

    def _write_files(self) -> None:
        self.credentials_path = self.directory / "credentials.ini"
        self.credentials_path.touch(0o600)
        self.credentials_path.write_text(
            f"dns_aliyun_access_key = {ALIYUN_KEYS[0]}\n"
            f"dns_aliyun_access_key_secret = {ALIYUN_KEYS[1]}\n"
            f"dns_tencent_secret_id = {TENCENT_KEYS[0]}\n"
            f"dns_tencent_secret_key = {TENCENT_KEYS[1]}\n"
            f"qiniu_access_key = {QINIU_KEYS[0]}\n"
            f"qiniu_secret_key = {QINIU_KEYS[1]}\n", encoding="ascii")
        self._trusted = self.directory / "trusted.pem"
        self._trusted.write_text(self.proxy.authority.cert_pem + self.acme.authority.cert_pem,
                                 encoding="ascii")
        leaf = Authority("Bootstrap").issue(*self._domains)
        self.bootstrap = (self.directory / "bootstrap.pem", self.directory / "bootstrap.key")
        self.bootstrap[0].write_text(leaf.fullchain_pem, encoding="ascii")
        self.bootstrap[1].write_text(leaf.key_pem, encoding="ascii")

    @property
    def pebble_roots(self) -> tuple[str, ...]:
        """PEM of the roots of all that is issued here."""
        return (self.acme.root_pem,)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which a program meets the sandbox instead of the world."""
        kept = {name: value for name, value in os.environ.items() if not disturbs(name)}
        return {**kept, "HTTPS_PROXY": self.proxy.url,
                # Nothing may be sent in plain text: the proxy refuses and remembers it.
                "HTTP_PROXY": self.proxy.url,
                "NO_PROXY": "localhost,127.0.0.1", "REQUESTS_CA_BUNDLE": str(self._trusted)}

    @property
    def aliyun(self) -> tuple[str, ...]:
        """The arguments that make certbot prove its domains through Aliyun."""
        return ("-a", "dns-aliyun", "--dns-aliyun-credentials", str(self.credentials_path),
                "--dns-aliyun-propagation-seconds", "0")

    def certbot(self, *arguments: str, check: bool = True, config_dir: Path | None = None,
                environment: Mapping[str, str] | None = None,
                seconds: float = 90) -> subprocess.CompletedProcess[str]:
        """Run certbot to its end.

        :param check: whether its failing is an error here, too.
        :param environment: added to :attr:`environment`.
        :raises AssertionError: if it was to succeed and did not; with all that it said.
        """
        with self.popen(*arguments, config_dir=config_dir, environment=environment) as process:
            try:
                output, errors = process.communicate(timeout=seconds)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode:
            raise AssertionError(f"certbot {' '.join(arguments)} ended with {process.returncode}:"
                                 f"\n{output}{errors}")
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def popen(self, *arguments: str, config_dir: Path | None = None,
              environment: Mapping[str, str] | None = None,
              **options: Any) -> subprocess.Popen[str]:
        """Start certbot; *options* are :class:`subprocess.Popen`'s."""
        home = config_dir or self.config_dir
        command = [os.path.join(sysconfig.get_path("scripts"), "certbot"), *arguments, "-n",
                   "--config-dir", str(home), "--work-dir", str(home / "work"),
                   "--logs-dir", str(home / "logs"), "--server", self.acme.directory_url,
                   # Without a terminal, `renew` would wait for up to eight minutes first.
                   "--no-random-sleep-on-renew"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                 "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(command, text=True,
                                env={**self.environment, **(environment or {})}, **pipes)

    def serve(self, *names: str) -> str:
        """Let the account have these domains with somebody's certificate; its id."""
        old = Authority("Old").issue(*names, days=20)
        cert_id = self.qiniu.add_certificate(old.fullchain_pem, name="an old one")
        for name in names:
            self.qiniu.add_domain(name, protocol="https", cert_id=cert_id)
        return cert_id

    def live(self, lineage: str, config_dir: Path | None = None) -> Path:
        """The directory in which certbot keeps the present version of *lineage*."""
        return (config_dir or self.config_dir) / "live" / lineage

    def lineage_fingerprint(self, lineage: str, config_dir: Path | None = None) -> str:
        """The fingerprint of the present leaf of *lineage*."""
        return fingerprint((self.live(lineage, config_dir) / "cert.pem").read_text("ascii"))

    def assert_sound(self) -> None:
        """Fail on what no test may leave behind: calls to unknown hosts, keys where none belong.

        An emulator that broke is reported here, too. Everything is forgotten thereafter.
        """
        findings = [f"no emulator answers for {host}" for host in self.proxy.strangers]
        findings += [f"a key was sent to {label}" for label in self.qiniu.leaks]
        findings += [f"an emulator broke: {error!r}" for error in self.proxy.failures]
        self.proxy.strangers.clear()
        self.qiniu.leaks.clear()
        self.proxy.failures.clear()
        assert not findings, "; ".join(findings)
