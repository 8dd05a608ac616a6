"""What is observed of accounts and lineages, and that nothing is changed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command.survey.account_survey import Scope
from certbot_qiniu.command.survey.facts import Survey
from certbot_qiniu.command.survey.survey import remembered_command, survey
from certbot_qiniu.deployment.planning.decision import Reason, Verb
from certbot_qiniu.deployment.state import Managed, Memory
from certbot_qiniu.model import Binding, Certificate
from certbot_qiniu.webserver import local, nginx
from tests.sandbox.wire import Fault, json_response
from tests.unit.command.desk import Desk
from tests.unit.command.facts import WWW
from tests.unit.deployment.desired import manage
from tests.unit.rig import CERTIFICATE_LIST, CERTIFICATE_PAGE


def wants(certificate: Certificate, name: str) -> Managed:
    """That a domain is to serve a certificate."""
    return Managed(name, "cdn", certificate.lineage, Binding("https", certificate.fingerprint))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A machine without lineages."""
    return Desk(tmp_path, monkeypatch)


def reasons(found: Survey) -> list[tuple[str, str, str]]:
    """Level, subject and reason of each finding."""
    return [(item.level.value, item.subject, item.reason) for item in found.findings]


def test_nothing_deployed(desk: Desk) -> None:
    """It is not known then, nobody is asked, and it is said how to begin."""
    found = survey(desk.config)
    assert [("unknown", "certbot", "NothingDeployed")] == reasons(found)
    assert "certbot reconfigure" in found.findings[0].text
    assert [] == desk.calls()


def test_what_is_planned(desk: Desk) -> None:
    """A domain that serves another certificate gets the newest, which is uploaded for that."""
    desk.qiniu.add_domain(WWW, protocol="https", cert_id=desk.upload(
        desk.renew("other", WWW), "bought"))
    desk.now += 3600
    newest = desk.deploy("example.com", WWW)
    desk.qiniu.add_domain("dl.example.org")
    before = desk.files()
    found = survey(desk.config)
    [lineage], [account] = found.lineages, found.accounts
    assert [(Verb.BIND, WWW, Reason.OUTDATED)] == [
        (action.verb, action.name, action.reason) for action in lineage.actions]
    assert (newest, (newest.remote_name,), True, False, "") == (
        lineage.certificate, lineage.uploads, lineage.renews, lineage.held, lineage.reload)
    assert {WWW, "dl.example.org"} == set(account.domains)
    assert ("example.com", [], {}) == (found.lineage_of(WWW), list(found.findings), found.unread)
    assert before == desk.files()
    assert [] == [label for label in desk.calls() if not label.startswith("GET ")]


def test_domains_without_https_are_not_read(desk: Desk) -> None:
    """They serve no certificate, and every call counts."""
    desk.upload(desk.deploy("example.com", WWW))
    desk.qiniu.add_domain("dl.example.org")
    survey(desk.config)
    assert [] == [label for label in desk.calls() if "dl.example.org" in label]


def test_two_lineages_of_one_account(desk: Desk) -> None:
    """The account is observed once."""
    for name in ("a.example.com", "b.example.com"):
        cert_id = desk.upload(desk.deploy(name))
        desk.qiniu.add_domain(name, protocol="https", cert_id=cert_id)
    found = survey(desk.config)
    assert ["a.example.com", "b.example.com"] == [item.name for item in found.lineages]
    assert [str(desk.credentials)] == [account.name for account in found.accounts]
    assert len(CERTIFICATE_LIST) == desk.calls().count(CERTIFICATE_PAGE)


def test_only_one(desk: Desk) -> None:
    """The others are left out; one that is not deployed is an error that names those that are."""
    for name in ("a.example.com", "b.example.com"):
        desk.upload(desk.deploy(name))
        desk.qiniu.add_domain(name)
    assert ["b.example.com"] == [item.name for item in survey(desk.config,
                                                              "b.example.com").lineages]
    with pytest.raises(errors.UsageError, match=r"no certificate x to Qiniu; it does deploy: "
                                                r"a\.example\.com, b\.example\.com"):
        survey(desk.config, "x")


@pytest.mark.parametrize(("fault", "finding"), [
    (Fault("refuse"), ("unknown", "Unreachable")),
    (Fault("reply", json_response(401, {"code": 401001, "error": "bad token"})),
     ("attention", "Refused"))], ids=["no answer", "refused"])
def test_account_without_an_answer(desk: Desk, fault: Fault, finding: tuple[str, str]) -> None:
    """It is reported once for all its lineages: no answer is unknown, a refusal needs attention."""
    for name in ("a.example.com", "b.example.com"):
        desk.deploy(name)
    desk.board.arm(fault, times=10**6)
    level, reason = finding
    found = survey(desk.config)
    assert [(level, str(desk.credentials), reason)] == reasons(found)
    assert ((), ()) == (found.accounts, found.lineages)


def test_credentials_that_cannot_be_used(desk: Desk) -> None:
    """The lineage that has them is named, and the others are observed all the same."""
    desk.deploy("a.example.com", qiniu_credentials="/nonexistent.ini")
    desk.upload(desk.deploy("b.example.com"))
    desk.qiniu.add_domain("b.example.com")
    found = survey(desk.config)
    assert ("attention", "a.example.com", "Credentials") == reasons(found)[0]
    assert {"a.example.com"} == found.blind
    assert ["b.example.com"] == [item.name for item in found.lineages]


def test_domain_that_cannot_be_read(desk: Desk) -> None:
    """The reason is reported under its name, and the others are read, even without a list."""
    newest = desk.deploy("example.com", WWW, "img.example.com")
    cert_id = desk.upload(newest)
    for name in (WWW, "img.example.com"):
        desk.qiniu.add_domain(name, protocol="https", cert_id=cert_id)
    manage(desk, *(wants(newest, name) for name in (WWW, "img.example.com")))
    desk.store.write_memory()
    desk.board.arm(Fault("refuse"), match=f"/domain/{WWW}", times=10**6)
    for scope in Scope:
        found = survey(desk.config, scope=scope)
        assert [WWW] == list(found.unread)
        assert ["img.example.com"] == list(found.managed())
        assert WWW in found.accounts[0].domains
        desk.now += 3600  # a host that does not answer is left alone for a minute


def test_keys_that_are_not_accepted(desk: Desk) -> None:
    """They need attention, whatever was to be read with them."""
    newest = desk.deploy("example.com", WWW)
    desk.qiniu.add_domain(WWW, protocol="https", cert_id=desk.upload(newest))
    manage(desk, wants(newest, WWW))
    desk.store.write_memory()
    desk.board.arm(Fault("reply", json_response(401, {"code": 401001, "error": "bad token"})),
                   times=10**6)
    for scope in Scope:
        assert [("attention", str(desk.credentials), "Refused")] == reasons(
            survey(desk.config, scope=scope))


def test_the_only_domain_cannot_be_read(desk: Desk) -> None:
    """Its users are unknown for this domain, with lists and without."""
    newest = desk.deploy("example.com", WWW)
    desk.qiniu.add_domain(WWW, protocol="https", cert_id=desk.upload(newest))
    manage(desk, wants(newest, WWW))
    desk.store.write_memory()
    desk.board.arm(Fault("reply", json_response(200, [])), match=f"/domain/{WWW}", times=10**6)
    for scope in Scope:
        found = survey(desk.config, scope=scope)
        assert ([WWW], [WWW]) == (list(found.unread), list(found.accounts[0].domains))


def test_damaged_files(desk: Desk) -> None:
    """A damaged renewal conf is a finding, and a damaged file of ours, of a lineage or of all."""
    desk.upload(desk.deploy("example.com", WWW))
    desk.qiniu.add_domain(WWW)
    (tmp := desk.config_dir / "renewal" / "other.conf").write_text("damaged")
    found = survey(desk.config)
    assert ("attention", "renewal", "Damaged") == reasons(found)[0]
    assert str(tmp) in found.findings[0].text
    (desk.config_dir / "qiniu" / "state" / "example.com.json").write_text("{")
    assert [("attention", "renewal", "Damaged"), ("attention", "example.com", "State")] == reasons(
        survey(desk.config))
    (desk.config_dir / "qiniu" / "state.json").write_text("{")
    assert [("attention", "state", "State")] == reasons(survey(desk.config))


def test_lineage_that_is_gone(desk: Desk) -> None:
    """A conf without its certificate is no lineage that was deleted: what is wrong is said once."""
    desk.deploy("example.com", WWW)
    (desk.config_dir / "live" / "example.com" / "fullchain.pem").unlink()
    assert ["BrokenLinks"] == [item.reason for item in survey(desk.config).findings]


@pytest.mark.parametrize(("options", "server"), [
    ({"qiniu_skip_nginx": True}, ""), ({"qiniu_skip_nginx": False}, "nginx"),
    ({"qiniu_skip_nginx": True, "qiniu_with": "apache"}, "apache")],
    ids=["none", "nginx", "another installer"])
def test_web_server_that_was_not_seen(desk: Desk, monkeypatch: pytest.MonkeyPatch,
                                      options: dict[str, object], server: str) -> None:
    """The one that the lineage has is named, until it was seen to serve the newest leaf."""
    monkeypatch.setattr(nginx, "_program", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(local, "runs", lambda: True)
    monkeypatch.setattr(local, "masters", list)
    newest = desk.deploy("example.com", WWW, **options)
    desk.qiniu.add_domain(WWW)
    [lineage] = survey(desk.config).lineages
    assert server == lineage.reload
    desk.memory.lineage("example.com").nginx = newest.fingerprint
    desk.store.write_memory()
    [lineage] = survey(desk.config).lineages
    assert "" == lineage.reload


def test_hold(desk: Desk) -> None:
    """A hold counts as long as the held certificate is the newest."""
    newest = desk.deploy("example.com", WWW)
    desk.qiniu.add_domain(WWW)
    desk.memory.lineage("example.com").hold = newest.fingerprint
    desk.store.write_memory()
    assert [True] == [lineage.held for lineage in survey(desk.config).lineages]
    desk.deploy("example.com", WWW)
    assert [False] == [lineage.held for lineage in survey(desk.config).lineages]


def test_a_copy_of_somebody_elses_is_not_cleaned_up(desk: Desk) -> None:
    """What another program uploaded of our lineage is not announced to be deleted: it never is."""
    desk.upload(desk.deploy("example.com", WWW, qiniu_keep_certificates=0), "by a deploy hook")
    desk.now += 3600
    old = desk.upload(desk.deploy("example.com", WWW, qiniu_keep_certificates=0))
    desk.now += 3600
    desk.qiniu.add_domain(WWW, protocol="https", cert_id=desk.upload(
        desk.deploy("example.com", WWW, qiniu_keep_certificates=0)))
    found = survey(desk.config, scope=Scope.CERTIFICATES)
    assert [old] == [item.cert_id for item in found.superseded(found.lineages[0])]


def test_nothing_is_uploaded_twice(desk: Desk) -> None:
    """A certificate that is at Qiniu already is bound without an upload."""
    desk.qiniu.add_domain(WWW, protocol="https", cert_id=desk.upload(
        desk.renew("other", WWW), "bought"))
    desk.now += 3600
    desk.upload(desk.deploy("example.com", WWW))
    [lineage] = survey(desk.config).lineages
    assert ([Verb.BIND], ()) == ([action.verb for action in lineage.actions], lineage.uploads)


def test_domain_on_its_way_to_https(desk: Desk) -> None:
    """While a change is published, the list may still say http: of all details it is one, too."""
    desk.upload(desk.deploy("example.com", WWW))
    desk.qiniu.add_domain("dl.example.org")
    desk.qiniu.change_domain("dl.example.org", state="processing")
    announced: list[str] = []
    survey(desk.config, scope=Scope.ALL, announce=announced.append)
    assert "GET /domain/dl.example.org" in desk.calls()
    assert ["Reading 1 domain one by one takes about 1 call and 0.0 minutes"] == announced


def test_problems_of_choosing(desk: Desk) -> None:
    """What is in the way of a lineage's domains is a finding under its name."""
    desk.upload(desk.deploy("example.com", WWW, qiniu_domains="cdn.example.net"))
    desk.qiniu.add_domain("cdn.example.net")
    assert ("attention", "example.com", "Domains") in reasons(survey(desk.config))


@pytest.mark.parametrize(("installed", "runs", "reload", "server"), [
    (False, False, "", ""), (True, False, "", ""), (True, True, "", "nginx"),
    (False, False, "docker exec web nginx -s reload", "nginx")])
def test_machine_without_a_web_server(
        desk: Desk, monkeypatch: pytest.MonkeyPatch, reload: str, server: str, *,
        installed: bool, runs: bool) -> None:
    """If there is no nginx, or none runs, none is to be reloaded."""
    options = {"qiniu_nginx_reload_cmd": reload} if reload else {}
    desk.deploy("example.com", WWW, qiniu_skip_nginx=False, **options)
    desk.qiniu.add_domain(WWW)
    monkeypatch.setattr(nginx, "_program", lambda name: f"/usr/sbin/{name}" if installed else None)
    monkeypatch.setattr(local, "runs", lambda: runs)
    monkeypatch.setattr(local, "masters", list)
    assert server == survey(desk.config).lineages[0].reload


def test_one_cause_of_many_domains(desk: Desk) -> None:
    """What Qiniu does not answer for several domains is one sentence with all of them."""
    names = [WWW, "img.example.com"]
    newest = desk.deploy("example.com", *names)
    for name in names:
        desk.qiniu.add_domain(name, protocol="https", cert_id=desk.upload(newest))
    manage(desk, *(wants(newest, name) for name in names))
    desk.store.write_memory()
    desk.board.arm(Fault("reply", json_response(200, [])), match="/domain/", times=10**6)
    found = survey(desk.config)
    assert set(names) == found.unread.keys()
    [text] = set(found.unread.values())
    assert all(name in text for name in names)


def test_stripped_lineage() -> None:
    """What a certbot without the plugin has dropped comes back as it was."""
    memory = Memory()
    memory.lineage("shop").credentials = "/etc/q.ini"
    assert ("certbot reconfigure --cert-name shop -i qiniu --qiniu-credentials /etc/q.ini"
            == remembered_command(memory, "shop"))
    memory.lineage("shop").options = (
        "--qiniu-credentials", "/a b.ini", "--qiniu-domains", "www.example.com,img.example.com",
        "--qiniu-skip-nginx")
    assert ("certbot reconfigure --cert-name shop -i qiniu --qiniu-credentials '/a b.ini' "
            "--qiniu-domains www.example.com,img.example.com --qiniu-skip-nginx"
            == remembered_command(memory, "shop"))
    assert "--qiniu-credentials PATH" in remembered_command(memory, "unknown")
