"""The two files in ``<config_dir>/qiniu``.

``state.json`` says what every managed domain should serve. certbot's reverter keeps checkpoints of
it, and ``certbot rollback`` puts an older one back.

``memory.json`` holds what must survive a rollback, and so is in no checkpoint: what a domain
served before we first touched it (its baseline), what we sent and saw, which certificates we
uploaded, and which lineages are on hold.

Neither ever holds a secret. Both are 0600 from birth and written atomically.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from certbot_qiniu.model import Binding, Domain, RemoteCertificate
from certbot_qiniu.qiniu.service import Listing


@dataclass(frozen=True)
class Managed:
    """One line of the desired state: a domain, the lineage it belongs to, and its binding."""

    name: str
    service: str
    lineage: str
    binding: Binding


@dataclass(frozen=True)
class Sent:
    """A binding as it was sent to Qiniu, with Qiniu's id and no open settings, and when.

    :ivar at: seconds since the epoch.
    """

    binding: Binding
    at: float


@dataclass(frozen=True)
class Record:
    """What we remember of one domain.

    :ivar lineage: the lineage that last managed it; "" if we only ever read it.
    :ivar baseline: its binding before we first touched it; None if we never did.
    :ivar sent: what we sent last, until it is confirmed or has failed.
    :ivar confirmed: what we last saw it serve of what we sent.
    :ivar seen: the last detailed read, taken at *seen_at*.
    :ivar processing_since: since when we have seen it in processing; 0 when it is not.
    :ivar hsts: ``ours`` when we switched HSTS on, ``refused`` when Qiniu would not let us.
    :ivar former_force: forced HTTPS before a redirect was asked for, for a rollback to a state in
        which it is "as it is".
    :ivar foreign: what it was last seen to serve that is not ours, so that its end is asked once.
    :ivar taken_from: id of what it served when it was taken over, or taken back: that is replaced
        whatever its end, until ours was seen there.
    :ivar left: id of what somebody put over ours, once a renewal has told of it.
    """

    service: str = "cdn"
    lineage: str = ""
    baseline: Binding | None = None
    sent: Sent | None = None
    confirmed: Sent | None = None
    seen: Domain | None = None
    seen_at: float = 0.0
    processing_since: float = 0.0
    hsts: str = ""
    former_force: bool | None = None
    foreign: RemoteCertificate | None = None
    taken_from: str = ""
    left: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.foreign, dict):  # as it was read from the file
            names = tuple(self.foreign.get("names", ()))
            foreign = RemoteCertificate(**{**self.foreign, "names": names})
            object.__setattr__(self, "foreign", foreign)


@dataclass(frozen=True)
class Upload:
    """A certificate that we uploaded, or found again under our name."""

    fingerprint: str
    lineage: str


@dataclass(frozen=True)
class Refusal:
    """An upload that Qiniu has refused for good.

    :ivar account: our name for the access key.
    :ivar version: ours: another one may send it otherwise.
    :ivar at: seconds since the epoch.
    :ivar text: what was said then.
    """

    fingerprint: str
    account: str
    version: str
    at: float
    text: str = ""


@dataclass
class LineageMemory:
    """What we remember of one lineage.

    :ivar credentials: path of the credentials file, so that a rollback needs no flags.
    :ivar hold: fingerprint that a rollback took back; it is not deployed again by itself.
    :ivar nginx: fingerprint that nginx was last seen to serve, or was reloaded for.
    :ivar other_installer: name of the installer that takes part, for a rollback, too.
    :ivar other_installer_options: its own options.
    :ivar refusal: the upload that Qiniu refused last, and for good.
    """

    credentials: str = ""
    hold: str = ""
    nginx: str = ""
    other_installer: str = ""
    other_installer_options: str = ""
    refusal: Refusal | None = None

    def __post_init__(self) -> None:
        if isinstance(self.refusal, dict):  # as it was read from the file
            self.refusal = Refusal(**self.refusal)


@dataclass
class Memory:
    """The contents of ``memory.json``.

    :ivar told: what was said before and is not said again, by its subject; also what an account
        has told of itself.
    :ivar bind_methods: account -> the method by which a source domain last took a certificate.
    """

    domains: dict[str, Record] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    lineages: dict[str, LineageMemory] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    bind_methods: dict[str, str] = field(default_factory=dict)

    def lineage(self, name: str) -> LineageMemory:
        """The entry of a lineage, made on first use."""
        return self.lineages.setdefault(name, LineageMemory())

    def update(self, name: str, **changes: Any) -> Record:
        """Change the record of a domain, made on first use."""
        record = dataclasses.replace(self.domains.get(name, Record()), **changes)
        self.domains[name] = record
        return record

    def uploads_of(self, fingerprint: str) -> frozenset[str]:
        """The ids at Qiniu under which we know this certificate."""
        return frozenset(cert_id for cert_id, upload in self.uploads.items()
                         if upload.fingerprint == fingerprint)


State = dict[str, Managed]
