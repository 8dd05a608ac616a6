"""The certificate authority: pebble, with a configuration of its own."""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.request
from pathlib import Path

from tests.sandbox.pki import Authority
from tests.sandbox.process import LOOPBACK, Program, free_port, until

EXTERNAL_ACCOUNT = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")
"""Key id and MAC key (public: they stand in pebble's own example) for account binding."""

_FULL_SPEED = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}


class Pebble:
    """An ACME server that runs between :meth:`start` and :meth:`stop`; it forgets all at its end.

    :param dns_port: of the DNS server on the loopback address that it looks names up at.
    :param http_port: where it looks for the answers to http-01.
    :param validity_days: of the certificates that it issues.
    :param external_account: whether an account needs :data:`EXTERNAL_ACCOUNT`.
    :ivar authority: signed the certificate of its own HTTPS; programs must trust it.
    :ivar root_pem: the root of what it issues; new at every start.
    """

    def __init__(self, directory: Path, dns_port: int, http_port: int, *,
                 validity_days: float = 90, external_account: bool = False) -> None:
        self.authority = Authority("Sandbox ACME")
        self.root_pem = ""
        self._port, self._management_port = free_port(), free_port()
        self._tls = ssl.create_default_context(cadata=self.authority.cert_pem)
        directory.mkdir()
        leaf = self.authority.issue("localhost", LOOPBACK)
        (directory / "cert.pem").write_text(leaf.fullchain_pem, encoding="ascii")
        (directory / "key.pem").write_text(leaf.key_pem, encoding="ascii")
        validity = int(validity_days * 86400)
        configuration = directory / "pebble.json"
        configuration.write_text(json.dumps({"pebble": {
            "listenAddress": f"{LOOPBACK}:{self._port}",
            "managementListenAddress": f"{LOOPBACK}:{self._management_port}",
            "certificate": str(directory / "cert.pem"),
            "privateKey": str(directory / "key.pem"),
            "httpPort": http_port, "tlsPort": 5001,  # the latter for tls-alpn-01, of no use here
            "certificateValidityPeriod": validity,  # 2.6 knows it; 2.10 knows profiles alone
            "profiles": {"default": {"description": "the only one", "validityPeriod": validity}},
            "externalAccountBindingRequired": external_account,
            "externalAccountMACKeys": dict([EXTERNAL_ACCOUNT]) if external_account else {},
        }}), encoding="utf-8")
        self._program = Program(
            [shutil.which("pebble") or "pebble", "-config", str(configuration), "-strict=false",
             "-dnsserver", f"{LOOPBACK}:{dns_port}"],
            directory / "pebble.log", _FULL_SPEED)

    @property
    def directory_url(self) -> str:
        """The value for certbot's ``--server``."""
        return f"https://localhost:{self._port}/dir"

    @property
    def log(self) -> Path:
        return self._program.log

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._program.start(lambda: bool(self._get(self.directory_url)))
        # Its two ports do not begin at once.
        self.root_pem = until(
            lambda: self._get(f"https://localhost:{self._management_port}/roots/0"),
            "the authority tells its root")

    def stop(self) -> None:
        """Stop it."""
        self._program.stop()

    def _get(self, url: str) -> str:
        """Return the content at *url*; "" as long as nothing answers there."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                             urllib.request.HTTPSHandler(context=self._tls))
        try:
            with opener.open(url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""
