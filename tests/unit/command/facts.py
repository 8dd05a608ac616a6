"""Facts to judge: a lineage with one domain, and what is planned for it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

from certbot_qiniu.command.survey.facts import AccountFacts, LineageFacts, Survey
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.lineages import Renewal
from certbot_qiniu.model import Binding, Certificate, Domain, RemoteCertificate
from certbot_qiniu.options import OPTIONS, Settings

NOW = 1_800_000_000.0
DAY = 86_400
WWW = "www.example.com"
LATER = dt.datetime.fromtimestamp(NOW + 60 * DAY, dt.timezone.utc)
NEWEST = Certificate("example.com", "f" * 64, (WWW,), LATER - dt.timedelta(90), LATER, "", Path())


def seen(action: Action | None, *, domain: Domain | None = None, ends_in: float = 60 * DAY,
         record: Record | None = None, facts: dict[str, Any] | None = None,
         **changes: Any) -> Survey:
    """A lineage with one domain, for which *action* is planned."""
    domain = domain or Domain(WWW, protocol="https", cert_id="id")
    certificate = RemoteCertificate("id", "a name", not_after=int(NOW + ends_in))
    lineage = LineageFacts("example.com", "a.ini", **{
        "certificate": NEWEST, "actions": (action,) if action else (), **(facts or {})})
    return Survey(**{
        "now": NOW, "accounts": (AccountFacts("a.ini", {WWW: domain}, {"id": certificate}),),
        "lineages": (lineage,), "records": {WWW: record or Record(lineage="example.com")},
        **changes})


KEEP = Action(Verb.KEEP, WWW, Reason.IN_SYNC)
WAIT = Action(Verb.WAIT, WWW, Reason.PUBLISHING)
BIND = Action(Verb.BIND, WWW, Reason.OUTDATED, Binding("https", "f" * 64))


def superseding(changes: dict[str, Any]) -> Survey:
    """A lineage with a certificate at Qiniu that the next clean-up deletes, unless *changes* do."""
    facts = {"superseded": ("old", "gone"), **changes.get("facts", {})}
    found = seen(KEEP, **{"uploads": {"old": ("example.com", "0" * 64)}, **changes,
                          "facts": facts})
    account = replace(found.accounts[0], certificates={
        "old": RemoteCertificate("old", "certbot_example.com_000000000000")})
    return replace(found, accounts=(account,))


CLEAN_UPS = {
    "plain": ({}, ["old"]), "held": ({"facts": {"held": True}}, []),
    "not ours any more": ({"uploads": {}}, []),
    "doubt": ({"unread": {"img.example.com": "why"}}, []),
    "in use": ({"domain": Domain(WWW, protocol="https", cert_id="old")}, [])}
"""What is so -> what may be deleted then."""


def renewal(name: str = "example.com", *, ours: bool = True, authenticator: str = "",
            **settings: Any) -> Renewal:
    """What a renewal conf says."""
    options = {option: OPTIONS[option].get("default") for option in OPTIONS} | settings
    return Renewal(name, Path(f"{name}.conf"), authenticator, "qiniu" if ours else "nginx",
                   options, Settings.read(options.__getitem__))
