"""The main job, end to end: certbot, certbot-dns-aliyun, pebble and nginx are the real ones."""

from __future__ import annotations

import os
import re
import sysconfig
import time
from pathlib import Path

import pexpect
import pytest
from cryptography import x509

from tests.sandbox.pki import Authority, validity
from tests.sandbox.process import until
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.stack import ACCOUNT, Sandbox
from tests.sandbox.wire import Fault

pytestmark = pytest.mark.programs

NAMES = ("-d", "example.com", "-d", "*.example.com")
WWW, IMG, APEX, WILD, DOWNLOADS = (
    "www.example.com", "img.example.com", "example.com", ".example.com", "dl.example.com")
SELECTED = (WWW, IMG, APEX, WILD)


class Site:
    """What a user has: domains at Qiniu, an nginx, and the commands that README gives him."""

    def __init__(self, box: Sandbox) -> None:
        self.box, self.qiniu, self.board = box, box.qiniu, box.board
        old = Authority("Old").issue(WWW, "*.example.com", days=20)
        self.old_id = box.qiniu.add_certificate(old.fullchain_pem, name="bought elsewhere")
        self.old = old.fingerprint
        box.qiniu.add_domain(WWW, protocol="https", cert_id=self.old_id, force_https=True)
        box.qiniu.add_domain(IMG, protocol="https", cert_id=self.old_id)
        box.qiniu.add_domain(APEX)
        box.qiniu.add_domain(DOWNLOADS)
        box.qiniu.add_domain(WILD, kind="wildcard", protocol="https", cert_id=self.old_id,
                             http2=True)
        live = box.live("example.com")
        box.nginx.configure([("example.com", live / "fullchain.pem", live / "privkey.pem")])
        self.installer = ("-i", "qiniu", "--qiniu-credentials", str(box.credentials_path),
                          "--qiniu-nginx-test-cmd", box.nginx.test_command,
                          "--qiniu-nginx-reload-cmd", box.nginx.reload_command)

    def issue(self, *arguments: str, check: bool = True):  # type: ignore[no-untyped-def]
        """The first command of README."""
        return self.box.certbot("run", *self.box.aliyun, *self.installer, *ACCOUNT, *NAMES,
                                *arguments, check=check)

    @property
    def leaf(self) -> str:
        return self.box.lineage_fingerprint("example.com")

    @property
    def conf(self) -> str:
        return (self.box.config_dir / "renewal" / "example.com.conf").read_text()

    def serving(self, name: str) -> tuple[str, str, bool, bool]:
        """Protocol, fingerprint, forced HTTPS and HTTP/2 of a domain, once nothing moves."""
        deadline = time.monotonic() + 10
        while self.qiniu.serving(name).state == "processing" and time.monotonic() < deadline:
            time.sleep(0.02)
        now = self.qiniu.serving(name)
        return now.protocol, now.fingerprint, now.force_https, now.http2

    def all_serving(self) -> dict[str, tuple[str, str, bool, bool]]:
        return {name: self.serving(name) for name in (*SELECTED, DOWNLOADS)}

    def nginx_serves(self, fingerprint: str) -> None:
        """Wait until nginx serves a leaf: for a moment after a reload old workers answer, too."""
        deadline = time.monotonic() + 10
        while (seen := self.box.nginx.served_fingerprint("example.com")) != fingerprint:
            assert time.monotonic() < deadline, f"nginx serves {seen}, not {fingerprint}"

    def changes(self) -> list[str]:
        """The changes and uploads in the history, as method and path."""
        return sorted(f"{call.request.method} {call.request.path}"
                      for call in self.board.calls("qiniu") if call.request.method != "GET")


@pytest.fixture
def site(sandbox: Sandbox) -> Site:
    """A user's site before the first issuance."""
    return Site(sandbox)


@pytest.fixture
def issued(site: Site) -> Site:
    """The same after the first issuance."""
    site.issue()
    site.board.clear()
    return site


def expected(leaf: str) -> dict[str, tuple[str, str, bool, bool]]:
    """What the selected domains serve after a deployment of *leaf*, settings as they were."""
    return {WWW: ("https", leaf, True, False), IMG: ("https", leaf, False, False),
            APEX: ("https", leaf, True, True), WILD: ("https", leaf, False, True)}


def test_first_issuance_binds_all_in_one_change_each(site: Site) -> None:
    """One upload and one change per domain, settings kept, and nginx serves the new leaf."""
    result = site.issue()
    assert [*sorted([
        "POST /sslcert", "PUT /domain/.example.com/httpsconf", "PUT /domain/example.com/sslize",
        "PUT /domain/img.example.com/httpsconf", "PUT /domain/www.example.com/httpsconf"])
    ] == site.changes()
    serving = site.all_serving()
    assert ("http", "", False, False) == serving.pop(DOWNLOADS)
    assert expected(site.leaf) == serving
    site.nginx_serves(site.leaf)
    assert "--qiniu-domains" in result.stdout  # dl.example.com: how it could be included


@pytest.mark.parametrize(("option", "forced"), [("--redirect", True), ("--no-redirect", False)])
def test_redirect_is_certbots_own_option(site: Site, option: str, forced: bool) -> None:
    """--redirect and --no-redirect decide for every domain, still with one change each."""
    site.issue(option)
    assert dict.fromkeys(SELECTED, forced) == {
        name: site.serving(name)[2] for name in SELECTED}
    assert 5 == len(site.changes())


def test_renewals_follow_with_the_stored_options(issued: Site) -> None:
    """A forced renewal deploys again without touching a setting; one not due changes nothing."""
    first = issued.leaf
    issued.qiniu.change_domain(IMG, force_https=True)  # the user's own choice, in the console
    issued.box.certbot("renew", "--force-renewal")
    assert first != issued.leaf
    serving = issued.all_serving()
    assert ("https", issued.leaf, True, False) == serving[IMG]
    assert dict.fromkeys(SELECTED, issued.leaf) == {n: serving[n][1] for n in SELECTED}
    assert expected(issued.leaf)[WILD] == serving[WILD]
    issued.nginx_serves(issued.leaf)
    assert 5 == len(issued.changes())
    for _ in range(2):
        issued.board.clear()
        issued.box.certbot("renew")
        assert [] == issued.changes()
    issued.board.clear()
    issued.box.certbot("renew")
    assert 2 == len(issued.board.calls("qiniu")), "a list, and the empty page that ends it"


def test_new_and_drifted_domains_are_put_right(issued: Site) -> None:
    """A domain added later is bound, and one changed by hand is put back, by a plain renew."""
    issued.qiniu.add_domain("new.example.com", protocol="https", cert_id=issued.old_id)
    issued.qiniu.change_domain(IMG, cert_id=issued.old_id)
    issued.box.certbot("renew")
    assert ("https", issued.leaf, False, False) == issued.serving("new.example.com")
    assert ("https", issued.leaf, False, False) == issued.serving(IMG)
    assert 2 == len(issued.changes())


def test_outage_of_qiniu_during_a_renewal(issued: Site) -> None:
    """It exits 1, keeps the plugin in the conf, reloads nginx, and the next renew heals it."""
    before = issued.all_serving()
    issued.board.arm(Fault("reset"), match="qiniu", times=10**6)
    failed = issued.box.certbot("renew", "--force-renewal", check=False)
    assert 1 == failed.returncode
    assert before == issued.all_serving()
    assert "is on this machine" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "installer = qiniu\n" in issued.conf
    assert f"qiniu_credentials = {issued.box.credentials_path}\n" in issued.conf
    issued.nginx_serves(issued.leaf)
    issued.board.disarm()
    issued.box.certbot("renew")
    assert dict.fromkeys(SELECTED, issued.leaf) == {
        name: issued.serving(name)[1] for name in SELECTED}


def test_broken_nginx_does_not_hold_qiniu_up(issued: Site) -> None:
    """Qiniu gets the certificate, the run exits 1, and the next one makes nginx good."""
    first = issued.leaf
    issued.box.nginx.break_config()
    failed = issued.box.certbot("renew", "--force-renewal", check=False)
    assert 1 == failed.returncode
    assert "this_is_no_directive" in failed.stderr
    assert dict.fromkeys(SELECTED, issued.leaf) == {
        name: issued.serving(name)[1] for name in SELECTED}
    issued.nginx_serves(first)
    issued.box.nginx.repair_config()
    issued.box.certbot("renew")
    issued.nginx_serves(issued.leaf)


def test_rollback_returns_everything_and_holds(site: Site) -> None:
    """Without credentials flags every domain serves what it did; only install deploys again."""
    before = site.all_serving()
    site.issue()
    rolled_back = site.box.certbot("rollback", "-i", "qiniu")
    assert before == site.all_serving(), rolled_back.stdout
    site.box.certbot("renew")
    assert before == site.all_serving()
    site.box.certbot("install", "--cert-name", "example.com", *site.installer)
    assert expected(site.leaf) == {name: site.serving(name) for name in SELECTED}


def test_rollback_of_a_renewal_returns_the_previous_certificate(issued: Site) -> None:
    """The rollback takes back one deployment, and a newer renewal deploys again by itself."""
    before, first = issued.all_serving(), issued.leaf
    issued.box.certbot("renew", "--force-renewal")
    issued.box.certbot("rollback", "-i", "qiniu")
    assert before == issued.all_serving()
    issued.box.certbot("renew")
    assert first == issued.serving(WWW)[1]
    issued.box.certbot("renew", "--force-renewal")
    assert issued.leaf == issued.serving(WWW)[1]


@pytest.mark.slow
def test_rollback_and_the_end_of_the_older_certificate() -> None:
    """Real time goes past it: renew fails a while, then deploys the newest one before that end."""
    lifetime = 96  # seconds: a quarter is 24, an eighth 12
    with Sandbox(with_nginx=False, validity_days=lifetime / 86_400,
                 switches=Switches(minimum_days=0)) as box:
        box.qiniu.add_domain(WWW)
        box.certbot("run", *box.aliyun, *ACCOUNT, "-i", "qiniu", "--qiniu-credentials",
                    str(box.credentials_path), "--qiniu-skip-nginx", "-d", WWW)
        older, end = box.lineage_fingerprint(WWW), _end(box)
        time.sleep(15)
        box.certbot("renew", "--force-renewal")  # which does not wait for the publication
        assert box.lineage_fingerprint(WWW) != older
        until(lambda: box.lineage_fingerprint(WWW) == box.qiniu.serving(WWW).fingerprint,
              "the renewed certificate is published")
        # Nothing newer: that would end the hold as well.
        conf = box.config_dir / "renewal" / f"{WWW}.conf"
        head = "[renewalparams]\n"
        conf.write_text(conf.read_text().replace(head, f"{head}autorenew = False\n"))
        box.certbot("rollback", "-i", "qiniu")
        for _ in range(2):
            assert older == box.qiniu.serving(WWW).fingerprint
            box.certbot("renew")
        _sleep_until(end - 22)
        failed = box.certbot("renew", check=False)
        assert 1 == failed.returncode, failed.stdout + failed.stderr
        assert f"{WWW} is kept by a rollback on an older certificate of {WWW}" in failed.stderr
        assert older == box.qiniu.serving(WWW).fingerprint
        _sleep_until(end - 11)
        ended = box.certbot("renew")
        assert f"{WWW}: a rollback kept it on an older certificate of {WWW}" in ended.stdout
        _sleep_until(end + 1)
        assert box.lineage_fingerprint(WWW) == box.qiniu.serving(WWW).fingerprint
        assert _end(box) > time.time()
        box.certbot("renew")
        box.assert_sound()


def _end(box: Sandbox) -> float:
    """When the newest certificate ends."""
    pem = (box.live(WWW) / "cert.pem").read_bytes()
    return validity(x509.load_pem_x509_certificate(pem))[1].timestamp()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))


def test_rollback_of_a_redirect(issued: Site) -> None:
    """What `certbot enhance --redirect` switched on, a rollback switches off, and then lets be."""
    before = issued.all_serving()
    issued.box.certbot("enhance", "--cert-name", "example.com", "--redirect", *issued.installer)
    assert issued.serving(IMG) == ("https", issued.leaf, True, False)
    issued.box.certbot("rollback", "-i", "qiniu")
    assert before == issued.all_serving()
    issued.box.certbot("renew")
    issued.qiniu.change_domain(IMG, force_https=True)  # the user's own choice again
    issued.box.certbot("renew")
    assert issued.serving(IMG) == ("https", issued.leaf, True, False)


def test_failing_install_restores_what_was(site: Site) -> None:
    """If no domain took it, certbot says that it restored all, and that is true."""
    before = site.all_serving()
    listed = (WWW, IMG, WILD)
    for name in listed:
        site.qiniu.fail_next_publication(name)
    failed = site.issue("--qiniu-domains", ",".join(listed), check=False)
    assert 1 == failed.returncode
    assert "verify https crt fail" in failed.stderr
    assert "successfully restored your server to its prior configuration" in failed.stdout
    assert before == site.all_serving()
    site.box.certbot("renew")  # no hold: the certificate is there, and wanted
    wanted = expected(site.leaf)
    assert {name: wanted[name] for name in listed} == {name: site.serving(name) for name in listed}


def test_failing_reinstall_undoes_nothing_older(issued: Site) -> None:
    """If an install changed no state, its failure must not take an older checkpoint back."""
    serving = issued.all_serving()
    issued.qiniu.change_domain(IMG, cert_id=issued.old_id)
    issued.qiniu.fail_next_publication(IMG)
    failed = issued.box.certbot("install", "--cert-name", "example.com", *issued.installer,
                                check=False)
    assert 1 == failed.returncode
    assert {name: serving[name] for name in (WWW, APEX, WILD)} == {
        name: issued.serving(name) for name in (WWW, APEX, WILD)}


def test_dry_run_rehearses_and_changes_nothing(issued: Site) -> None:
    """It prints the plan, fails when the real run would, and leaves everything as it is."""
    before, conf, leaf = issued.all_serving(), issued.conf, issued.leaf
    folder = issued.box.config_dir / "qiniu"
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = issued.box.certbot("renew", "--dry-run")
    assert re.search(r"www\.example\.com: bind the new certificate", result.stdout)
    issued.box.nginx.break_config()
    assert 1 == issued.box.certbot("renew", "--dry-run", check=False).returncode
    issued.box.nginx.repair_config()
    issued.board.arm(Fault("reset"), match="qiniu", times=10**6)
    failed = issued.box.certbot("renew", "--dry-run", check=False)
    assert 1 == failed.returncode
    assert "Could not list the CDN domains" in failed.stderr
    assert [] == issued.changes()
    assert (before, conf, leaf) == (issued.all_serving(), issued.conf, issued.leaf)
    assert files == {path: path.read_bytes()
                     for path in folder.rglob("*") if path.is_file()}


def test_domain_list_written_by_hand_into_the_conf(issued: Site) -> None:
    """configobj makes a list of it; it works, and survives certbot's writing it back."""
    path = issued.box.config_dir / "renewal" / "example.com.conf"
    path.write_text(path.read_text().replace(
        "installer = qiniu\n",
        "installer = qiniu\nqiniu_domains = www.example.com, *.example.com\n"))
    issued.box.certbot("renew", "--force-renewal")
    assert "qiniu_domains = \"www.example.com,.example.com\"\n" in issued.conf
    first = issued.leaf
    issued.box.certbot("renew", "--force-renewal")
    assert {WWW: issued.leaf, WILD: issued.leaf} == {
        name: issued.serving(name)[1] for name in (WWW, WILD)}
    assert issued.leaf != first
    assert issued.leaf not in {issued.serving(name)[1] for name in (IMG, APEX)}


def test_options_survive_the_renewal_conf(site: Site) -> None:
    """Every option that differs from its default is stored, and holds after two renewals."""
    site.issue("--qiniu-http2", "on", "--qiniu-keep-certificates", "2",
               "--qiniu-publish-timeout", "60", "--qiniu-domains", "www.example.com")
    for _ in range(2):
        site.box.certbot("renew", "--force-renewal")
        for line in ("qiniu_http2 = on", "qiniu_keep_certificates = 2",
                     "qiniu_publish_timeout = 60", "qiniu_domains = www.example.com"):
            assert f"{line}\n" in site.conf
    assert ("https", site.leaf, True, True) == site.serving(WWW)
    assert site.old == site.serving(IMG)[1]


def test_reconfigure_takes_over_an_existing_certificate(site: Site) -> None:
    """A certificate that certbot has already is deployed by the next plain renew."""
    site.box.certbot("certonly", *site.box.aliyun, *ACCOUNT, *NAMES)
    site.box.certbot("reconfigure", "--cert-name", "example.com", *site.installer)
    assert [] == site.changes()
    site.box.certbot("renew")
    assert expected(site.leaf) == {name: site.serving(name) for name in SELECTED}


def test_certonly_says_when_it_deploys(site: Site) -> None:
    """certonly with the installer deploys nothing by itself, and the next renew does."""
    result = site.box.certbot("certonly", *site.box.aliyun, *site.installer, *ACCOUNT, *NAMES)
    assert "the next certbot renew" in result.stdout
    assert [] == site.changes()
    site.box.certbot("renew")
    assert expected(site.leaf) == {name: site.serving(name) for name in SELECTED}


def test_two_lineages_on_two_accounts(site: Site) -> None:
    """One renew serves both, each with the credentials of its own renewal conf."""
    keys = ("AK-of-the-second-account-0123", "SK-of-the-second-account-4567")
    site.qiniu.add_account(*keys)
    site.qiniu.add_domain("cdn.example.org", account=keys[0])
    other = site.box.directory / "other.ini"
    other.touch(0o600)
    other.write_text(f"qiniu_access_key = {keys[0]}\nqiniu_secret_key = {keys[1]}\n")
    site.issue()
    site.box.certbot("run", *site.box.aliyun, "-i", "qiniu", "--qiniu-credentials", str(other),
                     "--qiniu-skip-nginx", *ACCOUNT, "-d", "cdn.example.org")
    site.box.certbot("renew", "--force-renewal")
    assert site.leaf == site.serving(WWW)[1]
    assert site.box.lineage_fingerprint("cdn.example.org") == site.serving("cdn.example.org")[1]
    site.box.certbot("rollback", "-i", "qiniu")  # certbot renewed example.com last
    assert site.leaf != site.serving(WWW)[1]
    assert site.box.lineage_fingerprint("cdn.example.org") == site.serving("cdn.example.org")[1]


def test_interactive_run_offers_the_accounts_domains(site: Site) -> None:
    """Without -d certbot asks which of the account's domains, and the plugin which of http."""
    certbot = os.path.join(sysconfig.get_path("scripts"), "certbot")
    home = site.box.config_dir
    child = pexpect.spawn(certbot, [
        *site.box.aliyun, *site.installer, *ACCOUNT, "--config-dir", str(home), "--work-dir",
        str(home / "work"), "--logs-dir", str(home / "logs"), "--server",
        site.box.acme.directory_url], env=site.box.environment, encoding="utf-8", timeout=60,
        dimensions=(50, 160))
    child.expect("Which names would you like to activate HTTPS for")
    child.expect("Enter 'c' to cancel")
    listing = child.before or ""
    numbers = dict(re.findall(r"(\d+): (\S+)", listing)[::-1])
    chosen = {name: number for number, name in numbers.items()}
    assert {"*.example.com", "example.com", WWW, IMG, DOWNLOADS} <= set(chosen)
    child.sendline(f"{chosen['example.com']} {chosen['*.example.com']}")
    child.expect(r"shall\s+be")
    child.expect(r"1: dl\.example\.com")
    child.sendline("1")
    child.expect(pexpect.EOF)
    child.close()
    assert 0 == child.exitstatus, child.before
    assert "https" == site.serving(DOWNLOADS)[0]
    assert expected(site.leaf) == {name: site.serving(name) for name in SELECTED}


def test_nothing_leaks(site: Site) -> None:
    """No private key, secret key or request body in any log, state file or output at -vvv."""
    outputs = [site.issue("-vvv"), site.box.certbot("renew", "--force-renewal", "-vvv")]
    site.board.arm(Fault("reset_after"), match="POST fusion", times=10**6)
    outputs.append(site.box.certbot("renew", "--force-renewal", "-vvv", check=False))
    secret = site.box.credentials_path.read_text().splitlines()[3].partition(" = ")[2]
    archive = site.box.config_dir / "archive" / "example.com"
    keys = [path.read_text().splitlines()[2] for path in archive.glob("privkey*.pem")]
    assert 3 == len(keys)
    needles = [secret, *keys]
    places = {f"output {number}": run.stdout + run.stderr for number, run in enumerate(outputs)}
    for path in site.box.config_dir.rglob("*"):
        if path.is_file() and path.parent.name not in ("archive", "example.com") \
                and "accounts" not in path.parts and "archive" not in path.parts:
            places[str(path)] = path.read_text(errors="replace")
    assert any("letsencrypt.log" in place for place in places)
    assert any("state/example.com.json" in place for place in places)
    for place, text in places.items():
        for needle in needles:
            assert needle not in text, f"a secret is in {place}"
        assert '"pri"' not in text, f"a request body is in {place}"


def test_files_are_for_root_alone(issued: Site) -> None:
    """The state, the memory and every copy of them in a checkpoint are 0600."""
    issued.box.certbot("renew", "--force-renewal")
    copies = [*issued.box.config_dir.glob("qiniu/**/*.json*"),
              *issued.box.config_dir.rglob("*.json_0")]
    assert {"example.com.json", "example.com.json_0", "state.json"} <= {
        path.name for path in copies}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in copies}


@pytest.mark.parametrize(("contents", "mode", "says"), [
    (None, 0o600, "No such file"),
    ("qiniu_access_key = x\n", 0o600, "qiniu_secret_key"),
    ("this is no ini file\n", 0o600, "malformed"),
    ("qiniu_access_key = x\nqiniu_secret_key = y\n", 0o640, "chmod 600"),
    ("qiniu_access_key = x\nqiniu_secret_key = y\n", 0o600, "qiniu_access_key"),
], ids=["missing", "incomplete", "malformed", "group readable", "wrong keys"])
def test_bad_credentials_are_refused_before_issuance(
        site: Site, contents: str | None, mode: int, says: str) -> None:
    """Nothing is issued or changed, and the error says what is wrong with the file."""
    path = site.box.directory / "bad.ini"
    if contents is not None:
        path.touch(mode)
        path.chmod(mode)
        path.write_text(contents)
    result = site.box.certbot("run", *site.box.aliyun, "-i", "qiniu", "--qiniu-credentials",
                              str(path), *ACCOUNT, *NAMES, check=False)
    assert 1 == result.returncode
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not site.box.live("example.com").exists()
    assert [] == site.changes()


@pytest.mark.parametrize("arguments", [
    ("--qiniu-http2", "maybe"), ("--qiniu-domains", "not a domain"), ("--qiniu-domains", ","),
    ("--qiniu-keep-certificates", "-1"), ("--qiniu-publish-timeout", "soon"),
    ("--qiniu-nginx-test-cmd", "nginx 'unbalanced"), ("--qiniu-nginx-reload-cmd", "")])
def test_nonsense_options_are_refused_by_the_parser(site: Site, arguments: tuple[str, str]) -> None:
    """certbot shows the option and what is wrong with it, and does nothing."""
    result = site.issue(*arguments, check=False)
    assert 2 == result.returncode
    assert arguments[0] in result.stderr
    assert [] == site.board.calls("qiniu")


@pytest.mark.parametrize(("domains", "says"), [
    ("wwww.example.com", "Did you mean www.example.com"),
    ("www.example.net", "is no domain of this Qiniu account"),
    ("frozen.example.com", "is frozen at Qiniu"),
    ("offline.example.com", "is offline at Qiniu"),
    ("other.example.org", "is not covered by the certificate"),
    ("source.example.com", "in the services that --qiniu-services names"),
])
def test_domains_that_cannot_be_served_are_refused_before_issuance(
        site: Site, domains: str, says: str) -> None:
    """The error names the domain and what is wrong with it; nothing is issued."""
    site.qiniu.add_domain("frozen.example.com", state="frozen", freeze_type="notIcp")
    site.qiniu.add_domain("offline.example.com", state="offlined")
    site.qiniu.add_domain("other.example.org")
    site.qiniu.add_bucket("bucket")
    site.qiniu.add_source_domain("source.example.com", "bucket")
    result = site.issue("--qiniu-domains", domains, "--qiniu-services", "cdn", check=False)
    assert 1 == result.returncode
    assert says in result.stderr
    assert not site.box.live("example.com").exists()


def test_nothing_matched_is_an_error(site: Site) -> None:
    """A certificate that no domain of the account is for ends in an error, not in silence."""
    result = site.box.certbot("run", *site.box.aliyun, *site.installer, *ACCOUNT,
                              "-d", "lonely.example.org", check=False)
    assert 1 == result.returncode
    assert "No domain in this Qiniu account" in result.stderr


@pytest.mark.parametrize(("content", "says"), [
    ("{", "is corrupt"), ('{"version": 99}', "newer certbot-qiniu"),
    ('{"version": 2, "domains": {"x": 3}}', "is corrupt")])
def test_bad_state_file(issued: Site, content: str, says: str) -> None:
    """It is reported, nothing at Qiniu changes, the file stays, and nginx is still reloaded."""
    state = issued.box.config_dir / "qiniu" / "state" / "example.com.json"
    state.write_text(content)
    failed = issued.box.certbot("renew", "--force-renewal", check=False)
    assert 1 == failed.returncode
    assert says in failed.stderr
    assert [] == issued.changes()
    assert content == state.read_text()
    assert "installer = qiniu\n" in issued.conf
    issued.nginx_serves(issued.leaf)


def test_short_lived_certificates_and_a_full_account() -> None:
    """Qiniu's refusal of a certificate is explained: too little time left, no room left."""
    with Sandbox(validity_days=20) as box:
        failed = Site(box).issue(check=False)
        assert 1 == failed.returncode
        assert "400322" in failed.stderr
        assert "30 days" in failed.stderr
    with Sandbox(switches=Switches(quota=1)) as box:
        failed = Site(box).issue(check=False)
        assert 1 == failed.returncode
        assert "400500" in failed.stderr
        box.assert_sound()


def test_clock_that_is_off_is_named(site: Site) -> None:
    """A request signed minutes ago is refused, and the error says to look at the clock."""
    site.qiniu._clock = lambda: time.time() + 300
    failed = site.issue(check=False)
    assert 1 == failed.returncode
    assert "clock" in failed.stderr
    assert not site.box.live("example.com").exists()


def test_unchosen_plugin_keeps_out_of_the_way(sandbox: Sandbox) -> None:
    """`certbot plugins --prepare` needs neither credentials nor a network, and says why."""
    result = sandbox.certbot("plugins", "--prepare")
    assert "* qiniu" not in result.stdout
    assert [] == sandbox.board.calls()
    assert not Path(sandbox.config_dir / "qiniu").exists()
