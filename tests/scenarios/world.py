"""One machine with two lineages, the accounts that they go to, and what happens to them.

For histories that nobody has thought of: all is in virtual time, certbot's own clock and the names
of its checkpoints included, and Qiniu keeps a record of what it was asked to change.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from certbot import errors as certbot_errors
from certbot._internal import client, renewal

from tests.sandbox import qiniu_certs as certs
from tests.sandbox.pki import validity
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY, Qiniu
from tests.sandbox.qiniu_certs import StoredCertificate
from tests.sandbox.qiniu_rules import Refusal, Switches
from tests.sandbox.qiniu_store import Config, Domain
from tests.sandbox.wire import Fault, Response, json_response
from tests.scenarios.command import Seat
from tests.scenarios.machine import Cloud, Run
from tests.scenarios.test_fault_matrix import disk_full, nth

DAY, HOUR = 86_400.0, 3_600.0
BEGIN = dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc).timestamp()
OTHER_KEY = f"other-{ACCESS_KEY}"
ACCOUNTS = {ACCESS_KEY: SECRET_KEY, OTHER_KEY: f"other-{SECRET_KEY}"}

APEX, WWW, IMG, PAY = "example.com", "www.example.com", "img.example.com", "pay.example.com"
SHOP, ORG, WWW_ORG = "shop.example.com", "example.org", "www.example.org"


@dataclass(frozen=True)
class Lineage:
    """A certificate of certbot's, and where it goes."""

    name: str
    names: tuple[str, ...]
    account: str = ACCESS_KEY


COM = Lineage(APEX, (APEX, "*.example.com"))
LAYOUTS = {
    "two accounts": (COM, Lineage(ORG, (ORG, WWW_ORG), OTHER_KEY)),
    "one account": (COM, Lineage(SHOP, (SHOP,))),
}
"""In the second, the wildcard of the one lineage covers the other's domain."""


@dataclass(frozen=True)
class Newest:
    """A lineage's newest certificate."""

    fingerprint: str
    begins: float
    ends: float


@dataclass(frozen=True)
class Change:
    """A change of a domain that Qiniu has accepted."""

    name: str
    before: Config
    after: Config


class Witness(Qiniu):
    """Qiniu, with a record of what it was asked to do.

    :ivar uploaded: ids of certificates that came through the API; *strangers*: of all others.
    :ivar changes: those since the last run began.
    :ivar expired: domains that were to serve an expired certificate, since then.
    :ivar hidden: domains that are there, and that it shows nowhere.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.uploaded: set[str] = set()
        self.strangers: set[str] = set()
        self.changes: list[Change] = []
        self.expired: list[str] = []
        self.hidden: dict[str, Domain] = {}

    @property
    def lost(self) -> set[str]:
        """The foreign certificates that are not there any more."""
        return self.strangers - self._certificates.keys()

    def add_certificate(self, *arguments: Any, **options: Any) -> str:
        """Upload a certificate as somebody else."""
        cert_id = super().add_certificate(*arguments, **options)
        self.strangers.add(cert_id)
        return cert_id

    def _publish(self, domain: Domain, operation: str, wanted: Config, now: float) -> None:
        self.changes.append(Change(domain.name, domain.config, wanted))
        # After a failed switch to HTTPS, or from it, nothing but Qiniu's console helps.
        is_switch = domain.config.protocol != wanted.protocol
        later = self._failures.pop(domain.name, None) if is_switch else None
        super()._publish(domain, operation, wanted, now)
        if later:
            self._failures[domain.name] = later

    def _upload(self, call: Any) -> Response:
        before = set(self._certificates)
        response = super()._upload(call)
        self.uploaded |= self._certificates.keys() - before
        return response

    def _delete_certificate(self, call: Any, cert_id: str) -> Response:
        if any(cert_id in (domain.config.cert_id, (domain.pending or domain.config).cert_id)
               for domain in self.hidden.values()):
            raise Refusal(400611, "certificate is bound to a CDN domain")
        return super()._delete_certificate(call, cert_id)

    def _check_bindable(self, certificate: StoredCertificate, domain: str, now: float) -> None:
        if certificate.not_after <= now:
            self.expired.append(domain)
        super()._check_bindable(certificate, domain, now)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong during one run; *at* is the call, or the write, at which it does."""

    kind: str
    at: int = 0


FAULTS = {
    "refuse": Fault("refuse"), "lost": Fault("reset_after"), "truncate": Fault("truncate"),
    "401": Fault("reply", json_response(401, {"code": 401001, "error": "bad token"})),
    "503": Fault("reply", Response(503)),
}
PASSING = ("refuse", "lost", "truncate", "503")
"""One of these at one call fails no run."""

REFUSAL = Fault("reply", json_response(400, {"code": 400514, "error": "unsupported key"}))
LASTING = {
    "outage": (FAULTS["503"], ""), "refused changes": (REFUSAL, "PUT "),
    "unsent changes": (FAULTS["503"], "PUT "),
    "no details": (FAULTS["503"], "GET api.qiniu.com/domain/"),
}
"""What goes wrong at each call that has this in its label, from the chosen one on."""

TROUBLES = (*FAULTS, *LASTING, "kill", "disk full", "authority", "other keys")


class Desk(Seat):
    """A certbot installation in a world."""

    trouble: Trouble | None = None

    def certbot(self, *arguments: str, **options: Any) -> Run:
        """Run certbot, with the trouble of the moment."""
        cloud, trouble = self.cloud, self.trouble
        qiniu, board = cloud.qiniu, cloud.board
        assert isinstance(qiniu, Witness)
        qiniu.changes, qiniu.expired = [], []
        board.clear()
        if trouble and trouble.kind in FAULTS:
            board.arm(FAULTS[trouble.kind], skip=trouble.at)
        elif trouble and trouble.kind in LASTING:
            fault, match = LASTING[trouble.kind]
            board.arm(fault, match=match, skip=trouble.at // (4 if match else 1), times=10**6)
        elif trouble and trouble.kind == "kill":
            options["kill_at"] = nth(trouble.at)
        run = super().certbot(*arguments, **options)
        board.disarm()  # it struck in a fork of this process
        assert "Traceback" not in run.output, run.output
        assert [] == qiniu.leaks
        return run

    @contextlib.contextmanager
    def _surroundings(self, *arguments: Any) -> Iterator[None]:
        clock, trouble = self.cloud.clock, self.trouble

        def is_due(config: Any, lineage: Any, *_: Any, **__: Any) -> bool:
            found = newest(Path(lineage.fullchain))
            return config.renew_by_default or bool(
                found and found.ends - clock.now < (found.ends - found.begins) / 3)

        def fail(*_: Any) -> None:
            raise certbot_errors.Error("the authority is away")

        with contextlib.ExitStack() as stack:
            stack.enter_context(super()._surroundings(*arguments))
            stack.enter_context(mock.patch("time.time", clock.time))
            stack.enter_context(mock.patch("os.fsync", return_value=None))
            stack.enter_context(mock.patch.object(renewal, "should_renew", is_due))
            if trouble and trouble.kind == "authority":
                stack.enter_context(mock.patch.object(client.Client, "obtain_certificate", fail))
            elif trouble and trouble.kind == "disk full":
                stack.enter_context(disk_full(trouble.at))
            yield


class World:
    """The machine, its accounts, and what certbot and others do there.

    :ivar before: what the domains served before certbot came.
    """

    _begun: tuple[bytes, Path]

    def __init__(self, directory: Path, layout: str) -> None:
        self.lineages = LAYOUTS[layout]
        # What a change leaves out is lost, so that it shows whether everything is sent back.
        self.cloud = Cloud(Switches(publish_seconds=300, tls_versions="shown",
                                    newer_field="shown", https_omitted="default"),
                           ACCOUNTS, emulator=Witness)
        self.cloud.clock.now = BEGIN
        self.qiniu = self.cloud.qiniu
        assert isinstance(self.qiniu, Witness)
        self.witness = self.qiniu
        self.machine = Desk(self.cloud, directory / "machine")
        self.backup_folder = directory / "backup"
        self._credentials = {
            lineage.name: self.machine.write_credentials(
                f"{lineage.name}.ini", (lineage.account, ACCOUNTS[lineage.account]))
            for lineage in self.lineages}
        self._fill()
        self.before = {name: self.wanted(name) for name in self.domains}
        for lineage in self.lineages:
            run = self.issue(lineage)
            assert run.status == 0, run.output
        self._begun = self.cloud.save(), directory / "begun"
        shutil.copytree(self.machine.directory, self._begun[1], symlinks=True)

    def _fill(self) -> None:
        add = self.qiniu.add_domain
        old = self.stranger(COM, 20)
        add(WWW, protocol="https", cert_id=old)
        add(IMG)
        add(APEX)
        self.stranger(COM, 400, name=f"certbot_{APEX}_0123456789ab")
        add(PAY, protocol="https", cert_id=self.stranger(COM, 300))
        other = self.lineages[1]
        for name in other.names:
            add(name, account=other.account, **({"protocol": "https", "cert_id": self.stranger(
                other, 20)} if name == WWW_ORG else {}))

    def reset(self) -> None:
        """Go back to the day on which both certificates were issued."""
        saved, folder = self._begun
        shutil.rmtree(self.machine.directory)
        shutil.copytree(folder, self.machine.directory, symlinks=True)
        shutil.rmtree(self.backup_folder, ignore_errors=True)
        self.cloud.restore(saved)
        self.cloud.board.disarm()
        self.machine.days, self.machine.trouble = 90, None

    # certbot's verbs

    def installer(self, lineage: Lineage) -> tuple[str, ...]:
        """The arguments that choose the plugin."""
        return ("-i", "qiniu", "--qiniu-credentials", str(self._credentials[lineage.name]),
                "--qiniu-skip-nginx")

    def issue(self, lineage: Lineage, *arguments: str) -> Run:
        """``certbot run``."""
        return self.machine.certbot(
            "run", "-a", "standalone", *self.installer(lineage), "--cert-name", lineage.name,
            *arguments, *(word for name in lineage.names for word in ("-d", name)))

    def verb(self, verb: str, lineage: Lineage, *arguments: str) -> Run:
        """Another verb for one lineage."""
        return self.machine.certbot(
            verb, "--cert-name", lineage.name, *self.installer(lineage), *arguments)

    def rollback(self, count: int) -> Run:
        """``certbot rollback``, without a flag that is not needed."""
        return self.machine.certbot("rollback", "-i", "qiniu", "--checkpoints", str(count))

    # Other people

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.cloud.clock.sleep(seconds)

    def stranger(self, lineage: Lineage, days: float, **about: str) -> str:
        """Upload a certificate for a lineage's names in the console; its id."""
        now = dt.datetime.fromtimestamp(self.cloud.clock.now, dt.timezone.utc)
        leaf = self.cloud.authority.issue(*lineage.names, days=days, now=now)
        return self.qiniu.add_certificate(
            leaf.fullchain_pem, account=lineage.account, **{"name": "by hand", **about})

    def show(self) -> None:
        """Let all that was hidden be there again."""
        self.domains.update({name: domain for name, domain in self.witness.hidden.items()
                             if name not in self.domains})
        self.witness.hidden = {}

    def hide(self, *names: str) -> None:
        """Let Qiniu show domains nowhere."""
        self.witness.hidden |= {name: self.domains.pop(name) for name in names
                                if name in self.domains}

    def swap_keys(self, *, back: bool = False) -> None:
        """Put the keys of the other account into each credentials file, or the right ones."""
        for lineage in self.lineages:
            key = next(key for key in ACCOUNTS if (key == lineage.account) == back)
            self.machine.write_credentials(f"{lineage.name}.ini", (key, ACCOUNTS[key]))

    def backup(self) -> None:
        """Copy what a backup of /etc/letsencrypt has."""
        shutil.rmtree(self.backup_folder, ignore_errors=True)
        shutil.copytree(self.machine.config_dir, self.backup_folder, symlinks=True,
                        ignore=shutil.ignore_patterns("work", "logs"))

    def restore(self) -> None:
        """Put it back; certbot's checkpoints are elsewhere, and stay."""
        home = self.machine.config_dir
        for path in home.iterdir():
            if path.name not in ("work", "logs"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.backup_folder, home, symlinks=True, dirs_exist_ok=True)

    # What is so, without a word of the plugin's

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.cloud.clock.now

    @property
    def domains(self) -> dict[str, Domain]:
        """All that Qiniu shows."""
        found: dict[str, Domain] = vars(self.qiniu)["_domains"]
        return found

    def wanted(self, name: str) -> Config:
        """What a domain serves once its publication has ended, should that not fail."""
        self.qiniu.serving(name)  # ends what is over
        domain = self.domains[name]
        return domain.pending or domain.config

    @property
    def failures(self) -> int:
        """How many publications are yet to fail."""
        return sum(map(len, vars(self.qiniu)["_failures"].values()))

    def end(self, cert_id: str) -> float:
        """When a certificate at Qiniu ends; 0 for one that is not there."""
        found = vars(self.qiniu)["_certificates"].get(cert_id)
        return found.not_after if found else 0.0

    def conf(self, lineage: Lineage) -> dict[str, str]:
        """A lineage's renewal conf; empty for a lineage that is not there."""
        path = self.machine.config_dir / "renewal" / f"{lineage.name}.conf"
        lines = path.read_text().splitlines() if path.exists() else []
        return {key: value for key, found, value in (line.partition(" = ") for line in lines)
                if found}

    def listed(self, lineage: Lineage) -> list[str] | None:
        """``--qiniu-domains``; None for ``auto``."""
        value = self.conf(lineage).get("qiniu_domains", "auto")
        return None if value == "auto" else value.strip('"').split(",")

    def newest(self, lineage: Lineage) -> Newest | None:
        """A lineage's newest certificate, if there is one."""
        return newest(self.machine.config_dir / "live" / lineage.name / "fullchain.pem")

    def archive(self, lineage: Lineage) -> set[str]:
        """The fingerprints of all versions that certbot has."""
        folder = self.machine.config_dir / "archive" / lineage.name
        return {found.fingerprint for path in folder.glob("fullchain*.pem")
                if (found := newest(path))}


def newest(path: Path) -> Newest | None:
    """The content of a certbot file."""
    return _newest(path.read_text()) if path.exists() else None


@functools.lru_cache(256)
def _newest(pem: str) -> Newest:
    leaf = certs.load_chain(pem)[0]
    begins, ends = (moment.timestamp() for moment in validity(leaf))
    return Newest(certs.fingerprint(leaf), begins, ends)


