"""The simulation's substitutes for Qiniu, certbot's lineages and our files.

A fault is a call that has failed for good; half of them hit after Qiniu has acted. Calls take 0.2
seconds, one after the other, and every publication succeeds, in 8 to 15 minutes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certbot_qiniu import errors
from certbot_qiniu.deployment.planning.refusals import TOO_OLD_CODE
from certbot_qiniu.deployment.store import VERSION, Store
from certbot_qiniu.lineages import Lineages, Place
from certbot_qiniu.model import DAY, Certificate, Domain, RemoteCertificate

START = 1_700_000_000.0
CALL_SECONDS = 0.2
KEPT_VERSIONS = 6  # what certbot leaves of an archive
BY_HAND = "by hand"


@dataclass
class Result:
    """The result of a life.

    :ivar expired: domain-days that were served with an expired certificate.
    :ivar longest: days from a renewal until a domain served it, at worst.
    :ivar runs: how often a lineage was brought up to date, or tried to.
    :ivar rollbacks: how often the user wanted to go back.
    :ivar held: how many lineages were on hold after that.
    :ivar obeyed: how often he ran a command that he had read.
    """

    expired: float = 0.0
    longest: float = 0.0
    renewals: int = 0
    runs: int = 0
    rollbacks: int = 0
    held: int = 0
    obeyed: int = 0

    def add(self, other: Result) -> None:
        """Count *other* in."""
        self.expired += other.expired
        self.longest = max(self.longest, other.longest)
        self.renewals += other.renewals
        self.runs += other.runs
        self.rollbacks += other.rollbacks
        self.held += other.held
        self.obeyed += other.obeyed


class Crash(BaseException):
    """The process dies here."""


@dataclass
class Site:
    """A domain at Qiniu; *shown* is what its list entry and its details say.

    :ivar expiry: when the served certificate expires.
    :ivar served_since: since when it is served.
    :ivar behind_since: since when its lineage has had a newer one than it serves.
    :ivar pending: the id that is being published *until* then.
    """

    shown: Domain
    expiry: float
    served_since: float
    behind_since: float | None = None
    pending: str = ""
    until: float = 0.0


class Qiniu:
    """An account of Qiniu, and the client that calls it, and counts no lists.

    :param faults: share of calls that fail.
    :param minimum_days: of validity that a certificate needs when it is uploaded.
    :param outages: when it answers nobody.
    :ivar changes: how many changes it has accepted.
    :ivar crashes: how many processes have died that called it.
    """

    def __init__(self, faults: float, minimum_days: float, chance: random.Random,
                 outages: Sequence[tuple[float, float]]) -> None:
        self.faults, self.minimum_days = faults, minimum_days
        self.chance, self.outages = chance, outages
        self.changes = self.crashes = 0
        self.now = START
        self.calls = 0
        self.calls_to_live: int | None = None
        self.sites: dict[str, Site] = {}
        self.certificates: dict[str, RemoteCertificate] = {}
        self.newest: dict[str, str] = {}  # zone -> name of its newest certificate
        self.result = Result()
        self._ids = 0
        self._next_publication = float("inf")

    # Time

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def settle(self) -> None:
        """Let every publication that is due take place."""
        if self.now < self._next_publication:
            return
        for site in self.sites.values():
            if site.pending and site.until <= self.now:
                certificate = self.certificates[site.pending]
                self._leave(site, site.until)
                site.expiry, site.served_since = certificate.not_after, site.until
                name = site.shown.name
                if site.behind_since is not None and certificate.name == self.newest[zone_of(name)]:
                    self._note_delay(site, site.until)
                site.shown = replace(
                    site.shown, protocol="https", state="success", cert_id=site.pending,
                    modified=str(site.until))
                site.pending = ""
        self._next_publication = min(
            (site.until for site in self.sites.values() if site.pending), default=float("inf"))

    def _leave(self, site: Site, at: float) -> None:
        """Count the time for which the certificate that is left was served after its end."""
        self.result.expired += max(0.0, at - max(site.served_since, site.expiry)) / DAY

    def _note_delay(self, site: Site, at: float) -> None:
        if site.behind_since is not None:
            self.result.longest = max(self.result.longest, (at - site.behind_since) / DAY)
        site.behind_since = None

    # What happens without a call

    def add_site(self, name: str, expiry: float) -> None:
        """Somebody adds a domain, with a certificate of his own."""
        self._tidy_up()
        cert_id = self._keep(RemoteCertificate("", BY_HAND, (name,), 0, int(expiry)))
        self.sites[name] = Site(
            Domain(name, protocol="https", modified=str(self.now), detailed=True, cert_id=cert_id,
                   force_https=False, http2=False), expiry, self.now)

    def remove_site(self, name: str) -> None:
        """Somebody removes a domain."""
        self.settle()
        self._close(self.sites.pop(name))

    def _tidy_up(self) -> None:
        """Somebody deletes what he has uploaded by hand, and what has expired and serves nobody."""
        for cert_id, certificate in list(self.certificates.items()):
            if (certificate.name == BY_HAND and certificate.not_after < self.now
                    and not self._is_used(cert_id)):
                del self.certificates[cert_id]

    def _is_used(self, cert_id: str) -> bool:
        return any(cert_id in (site.shown.cert_id, site.pending) for site in self.sites.values())

    def is_publishing(self, lineage: str) -> bool:
        """Whether a domain of *lineage* is being published."""
        return any(site.pending for name, site in self.sites.items() if zone_of(name) == lineage)

    def renewed(self, certificate: Certificate) -> None:
        """From now on the domains of a lineage are behind."""
        self.settle()
        self.newest[certificate.lineage] = certificate.remote_name
        for name, site in self.sites.items():
            if site.behind_since is None and zone_of(name) == certificate.lineage:
                site.behind_since = self.now

    def held_back(self, lineage: str) -> None:
        """Nobody waits any more for the newest certificate of a lineage to be served."""
        for name, site in self.sites.items():
            if zone_of(name) == lineage:
                site.behind_since = None

    def close(self) -> Result:
        """End it all, and tell how it went."""
        self.settle()
        for site in self.sites.values():
            self._close(site)
        return self.result

    def _close(self, site: Site) -> None:
        self._leave(site, self.now)
        self._note_delay(site, self.now)

    def _keep(self, certificate: RemoteCertificate) -> str:
        self._ids += 1
        cert_id = f"{self._ids:024x}"
        self.certificates[cert_id] = replace(certificate, cert_id=cert_id)
        return cert_id

    # The client: what of QiniuClient is used for the CDN

    account = "simulated"

    @contextmanager
    def _call(self, action: str) -> Iterator[None]:
        self.now += CALL_SECONDS
        if self.calls_to_live is not None:
            self.calls_to_live -= 1
            if self.calls_to_live <= 0:
                self.crashes += 1
                raise Crash
        if any(begin <= self.now < end for begin, end in self.outages):
            raise errors.Unreachable(action, "outage")
        fails = bool(self.faults) and self.chance.random() < self.faults
        if fails and self.chance.random() < 0.5:
            raise errors.Unreachable(action, "the request was lost")
        self.settle()
        yield
        if fails:
            raise errors.Unreachable(action, "the answer was lost")

    def list_certificates(self, among: Collection[str] = ()) -> list[RemoteCertificate]:
        with self._call("list the certificates"):
            return list(self.certificates.values())

    def upload_certificate(self, certificate: Certificate) -> str:
        action = f"upload certificate {certificate.remote_name}"
        with self._call(action):
            if certificate.not_after.timestamp() - self.now < self.minimum_days * DAY:
                raise errors.Refused(action, "certificate expires too soon", status=400,
                                     code=TOO_OLD_CODE)
            self.changes += 1
            return self._keep(RemoteCertificate(
                "", certificate.remote_name, certificate.names, 0,
                int(certificate.not_after.timestamp())))

    def delete_certificate(self, cert_id: str) -> bool:
        with self._call("delete"):
            if self._is_used(cert_id):
                return False
            self.changes += 1
            self.certificates.pop(cert_id, None)
            return True

    def list_domains(self, cert_id: str = "", among: Collection[str] = ()) -> list[Domain]:
        with self._call("list the domains"):
            return [site.shown for site in self.sites.values()
                    if cert_id in ("", site.shown.cert_id)]

    def get_domain(self, name: str) -> Domain | None:
        with self._call("read"):
            return self.sites[name].shown if name in self.sites else None

    def bind_certificate(self, name: str, cert_id: str, *, force_https: bool, http2: bool,
                         enable: bool, **_fields_not_shown: object) -> None:
        with self._call("bind"):
            site = self.sites.get(name)
            if site is None:
                raise errors.Refused("bind", "no such domain", status=612, code=612)
            if cert_id not in self.certificates:
                raise errors.Refused("bind", "no such certificate", status=400, code=400401)
            if site.pending:
                raise errors.Refused("bind", "processing", status=400, code=400030)
            self.changes += 1
            site.pending, site.until = cert_id, self.now + self.chance.uniform(480, 900)
            self._next_publication = min(self._next_publication, site.until)
            site.shown = replace(site.shown, state="processing", operation="modify_https_conf",
                                 modified=str(self.now))

    def unbind_certificate(self, name: str) -> None:
        raise AssertionError("no domain here ever spoke http")


def zone_of(name: str) -> str:
    """The lineage that *name* belongs to."""
    return name.partition(".")[2]


class Versions(Lineages):
    """certbot's lineages, without files."""

    def __init__(self) -> None:
        self.archive: dict[str, list[Certificate]] = {}  # newest first

    def issue(self, name: str, number: int, begin: float, end: float) -> Certificate:
        """Add a version."""
        begin_date, end_date = (dt.datetime.fromtimestamp(int(at), dt.timezone.utc)
                                for at in (begin, end))
        certificate = Certificate(
            name, hashlib.sha256(f"{name}/{number}".encode()).hexdigest(), (f"*.{name}",),
            begin_date, end_date, "", Path("/"))
        self.archive[name] = [certificate, *self.archive.get(name, [])[:KEPT_VERSIONS - 1]]
        return certificate

    def names(self) -> list[str]:
        return list(self.archive)

    def exists(self, name: str) -> bool:
        return name in self.archive

    def place(self, name: str) -> Place:
        raise errors.UsageError(f"{name} has no files")

    def current(self, name: str) -> Certificate:
        return self.archive[name][0]

    def versions(self, name: str) -> Iterator[Certificate]:
        return iter(self.archive.get(name, ()))


class Files(Store):
    """Our files, in memory; *load* goes back to what was written."""

    def __init__(self) -> None:
        self._disk: dict[Path, dict[str, Any]] = {}
        self._in_progress: dict[Path, dict[str, Any]] = {}
        self._checkpoints: list[dict[Path, dict[str, Any]]] = []
        super().__init__(Path("/"))

    def _read(self, path: Path) -> dict[str, Any]:
        return self._disk.get(path, {})

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        self._serial += 1
        # As JSON would have it, which knows no tuples.
        self._disk[path] = {"version": VERSION, "serial": self._serial, **{
            key: list(value) if isinstance(value, tuple) else value
            for key, value in content.items()}}

    def _lineages_in(self, folder: str) -> list[tuple[str, Path]]:
        return [(path.stem, path) for path in sorted(self._disk) if path.parent.name == folder]

    # certbot's reverter

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        """Keep copies of files in the checkpoint in progress."""
        for path in map(Path, sorted(save_files)):
            self._in_progress.setdefault(path, self._disk[path])

    def finalize_checkpoint(self, title: str) -> None:
        """End the checkpoint in progress, if there is one."""
        if self._in_progress:
            self._checkpoints.append(self._in_progress)
            self._in_progress = {}

    def undo_unfinished(self) -> None:
        """Put back what a crash has left in progress."""
        self._disk.update(self._in_progress)
        self._in_progress = {}

    @property
    def checkpoints(self) -> int:
        """How many there are."""
        return len(self._checkpoints)

    def roll_back(self, count: int) -> None:
        """Put back what the newest checkpoints hold."""
        for _ in range(count):
            self._disk.update(self._checkpoints.pop())

    def show_newest(self, count: int, backups: Path) -> None:
        """Write the newest checkpoints as certbot has them, for whoever looks into them."""
        for number in range(self.checkpoints - count, self.checkpoints):
            files, folder = self._checkpoints[number], backups / f"{number:09}.0"
            folder.mkdir()
            (folder / "FILEPATHS").write_text("".join(f"{path}\n" for path in files))
            for index, (path, content) in enumerate(files.items()):
                (folder / f"{path.name}_{index}").write_text(json.dumps(content))
