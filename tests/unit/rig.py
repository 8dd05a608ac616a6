"""A client and a context in front of an emulated account, with a clock of their own."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import requests

from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.model import Certificate
from certbot_qiniu.qiniu.account import Account
from certbot_qiniu.qiniu.client import QiniuClient
from tests.sandbox.pki import Authority, Leaf
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Qiniu, Switches
from tests.sandbox.wire import Carrier, Fault, Switchboard, json_response

AUTHORITY = Authority()
PUBLISH_SECONDS = 300.0

DOMAIN_PAGE, CERTIFICATE_PAGE = "GET /domain", "GET /sslcert"
DOMAIN_LIST, CERTIFICATE_LIST = [DOMAIN_PAGE] * 2, [CERTIFICATE_PAGE] * 2
"""What a list costs: the page that has everything, and the empty one that ends it.

An empty list is one page. Nothing ends a list sooner, as nobody knows how many entries Qiniu puts
on a page at most.
"""


def renew(config_dir: Path, name: str, *sans: str, version: int = 1,
          now: dt.datetime | None = None) -> Leaf:
    """Lay out a version of a lineage, issued *now*, as certbot does."""
    leaf = AUTHORITY.issue(*(sans or (name,)), now=now)
    live, archive = config_dir / "live" / name, config_dir / "archive" / name
    for folder in (live, archive):
        folder.mkdir(parents=True, exist_ok=True)
    for kind, text in (("fullchain", leaf.fullchain_pem), ("privkey", leaf.key_pem)):
        (archive / f"{kind}{version}.pem").write_text(text)
        link = live / f"{kind}.pem"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("../../archive", name, f"{kind}{version}.pem"))
    return leaf


class Rig:
    """A context whose calls end in the emulator; time passes only when somebody waits.

    :ivar said: what the user was shown.
    """

    def __init__(self, config_dir: Path, **switches: Any) -> None:
        self.config_dir = config_dir
        self.now = 1_800_000_000.0
        # The official package dates its signatures by the real clock.
        self.qiniu = Qiniu(clock=self.clock, switches=Switches(
            **{"clock_window": 10**10, "publish_seconds": PUBLISH_SECONDS, **switches}))
        self.board = Switchboard(self.qiniu, clock=self.clock)
        session = requests.Session()
        session.mount("https://", Carrier(self.board))
        self.client = QiniuClient(ACCESS_KEY, SECRET_KEY, session=session, sleep=self.wait,
                                  clock=self.clock)
        self.account = Account(self.client, clock=self.clock)
        self.store = Store(config_dir / "qiniu")
        self.store.folder.mkdir()
        self.memory = self.store.memory
        self.said: list[str] = []
        self.context = Context(
            self.store, Lineages(config_dir), self.account, config_dir / "backups",
            self.said.append, clock=self.clock, sleep=self.wait)

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def renew(self, lineage: str, *sans: str) -> Certificate:
        """The next version of a lineage."""
        archive = self.config_dir / "archive" / lineage
        renew(self.config_dir, lineage, *sans,
              version=1 + len(list(archive.glob("fullchain*.pem"))),
              now=dt.datetime.fromtimestamp(self.now, dt.timezone.utc))
        return self.context.lineages.current(lineage)

    def upload(self, certificate: Certificate, name: str = "", **changes: Any) -> str:
        """Let a certificate be at Qiniu, under our name unless told otherwise; its id."""
        return self.qiniu.add_certificate(
            certificate.fullchain, name=name or certificate.remote_name, **changes)

    def refuse(self, match: str, code: int = 403000, *, skip: int = 0, times: int = 1) -> None:
        """Let Qiniu refuse the next calls that *match*, after *skip* of them."""
        answer = json_response(code // 1000, {"code": code, "error": "the reason"})
        self.board.arm(Fault("reply", answer), match=match, skip=skip, times=times)

    def calls(self) -> list[str]:
        """What was asked of Qiniu since the last time: method and path of each call, sorted."""
        calls = sorted(exchange.request.label.replace("api.qiniu.com", "").replace(
            "fusion.qiniuapi.com", "") for exchange in self.board.calls())
        self.board.clear()
        return calls
