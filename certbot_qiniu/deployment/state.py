"""The content of our files in ``<config_dir>/qiniu``.

The *state* says what every managed domain should serve. certbot's reverter keeps checkpoints of
it, and ``certbot rollback`` puts an older one back.

The *memory* holds what must survive a rollback, and so is in no checkpoint: what a domain served
before we first touched it (its baseline), what we sent and saw, which certificates we uploaded,
and which lineages are on hold.

Neither ever holds a secret. A lineage's part of both is found without reading the others'.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from certbot_qiniu.model import DAY, Binding, Domain, RemoteCertificate
from certbot_qiniu.qiniu.service import Listing

YEAR, MONTH = 365 * DAY, 30 * DAY
FORMER_LIMIT = 100
"""Nobody asks for more superseded certificates, and a lineage's file must not grow for ever."""


@dataclass(frozen=True)
class Managed:
    """One line of the desired state: a domain, the lineage it belongs to, and its binding."""

    name: str
    service: str
    lineage: str
    binding: Binding


State = Mapping[str, Managed]


@dataclass(frozen=True)
class Sent:
    """A binding as it was sent to Qiniu, with Qiniu's id and no open settings, and when.

    :ivar at: seconds since the epoch.
    """

    binding: Binding
    at: float


@dataclass(frozen=True)
class Tombstone:
    """A domain that we managed and that the account does not have any more.

    :ivar at: since when we know; seconds since the epoch.
    :ivar created: its ``createAt``, "" if unknown: with another one it is another domain.
    :ivar binding: what it should have served; None if it was on its way back to its baseline.
    """

    at: float
    created: str = ""
    binding: Binding | None = None


@dataclass(frozen=True)
class Record:
    """Our memory of one domain.

    :ivar lineage: the lineage that last managed it; "" if we only ever read it.
    :ivar baseline: its binding before we first touched it; None if we never did.
    :ivar let_go: when it was let go on purpose, and keeps what it serves; 0 if it was not.
    :ivar gone: set if it is missing at Qiniu, with what it gets back if it returns.
    :ivar sent: what we sent last, until it is confirmed or has failed.
    :ivar confirmed: the part of what we sent that we last saw it serve.
    :ivar seen: the last detailed read, taken at *seen_at*.
    :ivar processing_since: since when we have seen it in processing; 0 if it is not.
    :ivar hsts: ``ours`` if we switched HSTS on, ``refused`` if Qiniu did not let us.
    :ivar former_force: forced HTTPS before a redirect was asked for, for a rollback to a state in
        which it is "as it is"; likewise *former_http2* and *former_tls*, the TLS versions.
    :ivar foreign: the certificate of others that it was last seen to serve: its end is asked once.
    :ivar taken_from: id of what it served when it was taken over, or taken back: that is replaced
        whatever its end, until ours was seen there.
    :ivar left: id of the certificate that somebody put over ours, once a renewal has reported it.
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
    former_http2: bool | None = None
    former_tls: tuple[str, ...] | None = None
    let_go: float = 0.0
    foreign: RemoteCertificate | None = None
    taken_from: str = ""
    left: str = ""
    gone: Tombstone | None = None

    @property
    def is_ours(self) -> bool:
        """Whether we have touched it, have not let it go, and it is not gone."""
        return self.baseline is not None and not self.let_go and not self.gone


FORMER = {"force_https": "former_force", "http2": "former_http2", "tls_versions": "former_tls"}
"""The settings of a binding that are "as it is" until they are asked for -> the field of a
:class:`Record` with what a setting was before that, which a rollback returns."""


@dataclass(frozen=True)
class Upload:
    """A certificate that we uploaded, or found again under our name.

    :ivar at: when, in seconds since the epoch.
    :ivar account: our name for the access key; "" if unknown.
    """

    fingerprint: str
    lineage: str
    at: float = 0.0
    account: str = ""

    def may_be_in(self, account: str) -> bool:
        """Return whether it is not known to be in another account."""
        return self.account in ("", account)


@dataclass(frozen=True)
class Refusal:
    """An upload that Qiniu has refused for good.

    :ivar account: our name for the access key.
    :ivar version: that of this program: another one may send it otherwise.
    :ivar at: seconds since the epoch.
    :ivar text: the error message.
    """

    fingerprint: str
    account: str
    version: str
    at: float
    text: str = ""


@dataclass
class LineageMemory:
    """Our memory of one lineage.

    :ivar credentials: path of the credentials file, so that a rollback needs no flags.
    :ivar hold: fingerprint that a rollback undid; it is not deployed again by itself.
    :ivar given_back: the domains that it gave back to what they served before certbot came.
    :ivar leaving: the fingerprints of its domains when a rollback began; None once that has ended.
    :ivar nginx: fingerprint that nginx was last seen to serve, or was reloaded for.
    :ivar other_installer: name of the installer that takes part, for a rollback, too.
    :ivar other_installer_options: its own options.
    :ivar refusal: the upload that Qiniu refused last, and for good.
    :ivar doubted: since when none of its domains is in the account; 0 while one is.
    :ivar account: our name for the access key with which all its domains were last seen to have
        what they should.
    :ivar former: the fingerprints that its older states had, newest first, "" for a state without
        domains; None if unknown.
    :ivar checkpoints: certbot's names of the checkpoints that we ended for it, and whether each
        must stay for ever. Only those that may be pruned, and the last few, are here.
    :ivar options: its options as on a command line, in case its renewal conf has lost them.
    :ivar hooks: program of the user's -> fingerprint of the last certificate that it succeeded for.
    :ivar failed_hooks: program -> how it failed when it was run last, if it did.
    :cvar is_changed: whether anything of it was set since it was last written.
    """

    is_changed: ClassVar[bool] = False

    credentials: str = ""
    hold: str = ""
    nginx: str = ""
    other_installer: str = ""
    other_installer_options: str = ""
    former: tuple[str, ...] | None = None
    checkpoints: Mapping[str, bool] = field(default_factory=dict)
    refusal: Refusal | None = None
    given_back: tuple[str, ...] = ()
    leaving: Mapping[str, str] | None = None
    doubted: float = 0.0
    account: str = ""
    options: tuple[str, ...] = ()
    hooks: Mapping[str, str] = field(default_factory=dict)
    failed_hooks: Mapping[str, str] = field(default_factory=dict)

    def __setattr__(self, name: str, value: object) -> None:
        """Note the change: a caller may set an attribute long after it got the entry."""
        if name not in self.__dict__ or self.__dict__[name] != value:
            self.__dict__.update({name: value, "is_changed": True})

    def supersede(self, old: Collection[str], new: Collection[str]) -> None:
        """Note that the lineage's state has the fingerprints *new* from now on, and had *old*."""
        old, new = old or [""], new or [""]
        replaced = sorted(set(old) - set(new))
        if replaced:
            older = [one for one in self.former or () if one not in replaced and one not in new]
            self.former = tuple([*replaced, *older][:FORMER_LIMIT])

    def returned(self, now: Collection[str]) -> None:
        """Drop former fingerprints up to those of *now*, if the state has gone back to them."""
        former, found = self.former or (), set(now or [""])
        if found <= set(former):
            self.former = former[1 + max(former.index(one) for one in found):]


Fact = TypeVar("Fact", Managed, Record, Upload)


class Facts(MutableMapping[str, Fact]):
    """Facts by their name, which are also found by the value of some of their fields.

    :param by: those fields.
    :ivar touched: the lineages of which a fact was set or taken away.
    """

    def __init__(self, facts: Mapping[str, Fact], *by: str) -> None:
        self._facts: dict[str, Fact] = {}
        self._by: dict[str, dict[str, dict[str, Fact]]] = {name: {} for name in by}
        self.touched: set[str] = set()
        self.update(facts)

    def where(self, name: str, value: str) -> dict[str, Fact]:
        """Return the facts whose field *name* has this value."""
        return dict(self._by[name].get(value, {}))

    def __getitem__(self, key: str) -> Fact:
        return self._facts[key]

    def __setitem__(self, key: str, fact: Fact) -> None:
        before = self._facts.get(key)
        if before == fact:
            return
        if before:
            self._leave_indexes(key, before)
        self._facts[key] = fact
        for name, index in self._by.items():
            index.setdefault(getattr(fact, name), {})[key] = fact
        self.touched.add(fact.lineage)

    def __delitem__(self, key: str) -> None:
        self._leave_indexes(key, self._facts.pop(key))

    def _leave_indexes(self, key: str, fact: Fact) -> None:
        for name, index in self._by.items():
            del index[getattr(fact, name)][key]
        self.touched.add(fact.lineage)

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __repr__(self) -> str:
        return repr(self._facts)


@dataclass
class Memory:
    """Our memory.

    :ivar domains: by their names.
    :ivar uploads: by Qiniu's ids.
    :ivar listings: the last lists that took many calls, by account.
    :ivar told: messages that are not shown again, by subject; also what an account has shown of
        itself.
    :ivar bind_methods: account -> the method by which a source domain last took a certificate.
    """

    domains: MutableMapping[str, Record] = field(default_factory=dict)
    uploads: MutableMapping[str, Upload] = field(default_factory=dict)
    lineages: dict[str, LineageMemory] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    bind_methods: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.domains = self._domains = Facts(self.domains, "lineage")
        self.uploads = self._uploads = Facts(self.uploads, "lineage", "fingerprint")

    def lineage(self, name: str) -> LineageMemory:
        """Return the entry of a lineage, made on first use."""
        if name not in self.lineages:
            self.lineages[name] = LineageMemory()
        return self.lineages[name]

    def update(self, name: str, **changes: Any) -> Record:
        """Change the record of a domain, made on first use."""
        record = dataclasses.replace(self.domains.get(name, Record()), **changes)
        self.domains[name] = record
        return record

    def bury(self, name: str, binding: Binding | None, now: float) -> None:
        """Note that a domain is gone; its lineage, baseline and settings are kept.

        If it was gone before, and came back only into the state, the earlier time stays.
        """
        record = self.domains.get(name, Record())
        created = record.seen.created if record.seen else ""
        known = record.gone or Tombstone(now, created)
        self.update(name, gone=dataclasses.replace(known, binding=binding), sent=None,
                    confirmed=None, processing_since=0.0, taken_from="", left="")

    def gone_of(self, lineage: str) -> dict[str, Binding]:
        """Return this lineage's domains that are gone, and what they get back if they return."""
        return {name: record.gone.binding for name, record in self.domains_of(lineage).items()
                if record.gone and record.gone.binding}

    def rename(self, old: str, new: str) -> None:
        """Move the memory of a lineage to its new name.

        Its certificates keep the name under which they are at Qiniu, and an older state of it,
        to which a rollback may lead, needs its credentials.
        """
        for name, record in self.domains_of(old).items():
            self.domains[name] = dataclasses.replace(record, lineage=new)
        before, after = self.lineage(old), self.lineage(new)
        for spec in dataclasses.fields(LineageMemory):
            setattr(after, spec.name, getattr(before, spec.name))
        before.hold, before.given_back, before.leaving, before.refusal, before.doubted = (
            "", (), None, None, 0.0)

    def domains_of(self, lineage: str) -> dict[str, Record]:
        """Return the records of the domains that this lineage was the last to manage."""
        return self._domains.where("lineage", lineage)

    def uploads_by(self, lineage: str) -> dict[str, Upload]:
        """Return the certificates of this lineage, by their ids at Qiniu."""
        return self._uploads.where("lineage", lineage)

    def uploads_of(self, fingerprint: str, account: str) -> frozenset[str]:
        """Return the ids under which we know this certificate in this account."""
        return frozenset(
            cert_id for cert_id, upload in self._uploads.where("fingerprint", fingerprint).items()
            if upload.may_be_in(account))

    def note_upload(self, cert_id: str, upload: Upload) -> None:
        """Remember that a certificate is at Qiniu; keep the earlier time, if known."""
        known = self.uploads.get(cert_id)
        if known and (known.fingerprint, known.lineage) == (upload.fingerprint, upload.lineage):
            upload = dataclasses.replace(upload, at=known.at)
        self.uploads[cert_id] = upload

    def account_of(self, key: str) -> str:
        """Return our name for an access key's account, by our name for the key."""
        return self.told.get(f"account of {key}", key)

    def same_account(self, key: str, names: Collection[str]) -> None:
        """Note that these names are of the account of *key*: it has what was uploaded under them.

        Ids are unique, so a new access key, or a second one, opens the same account.
        """
        same = {self.account_of(key), *names} - {""}
        if len(same) == 1:
            return
        name = min(same - {key})
        for other in {key, *same} - {name}:
            self.told[f"account of {other}"] = name
        for cert_id, upload in list(self.uploads.items()):
            if upload.account in same:
                self.uploads[cert_id] = dataclasses.replace(upload, account=name)
        for entry in self.lineages.values():
            if entry.account in same - {name}:
                entry.account = name

    def forget_old(self, state: State, now: float) -> None:
        """Drop records unused for a year, and long lists that no run has used for a month.

        :param state: the managed domains, which stay.
        """
        if now - max((record.seen_at for record in self.domains.values()), default=now) > YEAR / 2:
            return  # rather than time has passed, the clock is wrong
        managing = {entry.lineage for entry in state.values()}
        for name, record in list(self.domains_of("").items()):
            if record.baseline is None and 0 < record.seen_at < now - YEAR:
                del self.domains[name]
        for name, record in list(self.domains.items()):
            if record.gone and record.gone.at < now - YEAR and name not in state:
                del self.domains[name]
        for cert_id, upload in list(self.uploads.items()):
            if upload.lineage not in managing and 0 < upload.at < now - YEAR:
                del self.uploads[cert_id]
        for key, listing in list(self.listings.items()):
            if 0 < listing.at < now - MONTH:  # another key opens the account now
                del self.listings[key]

    def touch(self, lineages: Iterable[str]) -> None:
        """Mark domains of these lineages as changed."""
        self._domains.touched.update(lineages)

    def is_touched(self, lineage: str) -> bool:
        """Return whether a domain or upload of this lineage has changed since :meth:`written`."""
        return lineage in self._domains.touched or lineage in self._uploads.touched

    def changed(self) -> set[str]:
        """Return the lineages of which anything may have changed since :meth:`written`."""
        return self._domains.touched | self._uploads.touched | {
            name for name, entry in self.lineages.items() if entry.is_changed}

    def written(self, lineages: Iterable[str]) -> None:
        """Note that the memory of these lineages is on the disk."""
        for name in lineages:
            for facts in (self._domains, self._uploads):
                facts.touched.discard(name)
            if name in self.lineages:
                self.lineages[name].__dict__["is_changed"] = False
