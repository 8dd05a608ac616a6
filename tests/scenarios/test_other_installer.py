"""Another installer next to ours: ones made up here, then certbot-nginx over a real nginx."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from certbot import errors as certbot_errors
from certbot import interfaces
from certbot.plugins import common

from tests.sandbox.pki import Authority
from tests.sandbox.stack import ACCOUNT, Sandbox
from tests.sandbox.wire import Fault, Response, json_response
from tests.scenarios.command import APEX, WILD, seat
from tests.scenarios.machine import Cloud, Machine, Run

WWW, IMG = "www.example.com", "img.example.com"
NAMES = ("-d", "example.com", "-d", "*.example.com")


# Made up here -----------------------------------------------------------------------------------


class Apart(interfaces.Installer):
    """An installer that keeps its own checkpoints, notes what is asked of it, and fails at will.

    :cvar log: one line for each call.
    :cvar fails: verbs that fail.
    """

    description = "made up for a test"
    log: ClassVar[Path]
    fails: ClassVar[set[str]] = set()
    error: ClassVar[Exception] = certbot_errors.MisconfigurationError("out of order")
    served: ClassVar[list[str]] = ["www.example.com", "Web.example.com", "www.example.org"]

    def __init__(self, config: Any, name: str) -> None:
        super().__init__(config, name)
        self.config = config

    @classmethod
    def inject_parser_options(cls, parser: Any, name: str) -> None:
        """Declare three options."""
        parser.add_argument(f"--{name}-text", default="as it is")
        parser.add_argument(f"--{name}-number", type=int, default=7)
        parser.add_argument(f"--{name}-switch", action="store_true")

    def _note(self, verb: str, *arguments: Any) -> None:
        with self.log.open("a") as file:
            file.write(" ".join([verb, *map(str, arguments)]) + "\n")
        if verb in self.fails:
            raise self.error

    def prepare(self) -> None:
        """Note the options."""
        self._note("prepare", self.config.fake_text, self.config.fake_number,
                   self.config.fake_switch)

    def more_info(self) -> str:
        """Say something."""
        return "made up"

    def get_all_names(self) -> list[str]:
        """Some names."""
        self._note("get_all_names")
        return self.served

    def deploy_cert(self, domain: str, cert_path: str, key_path: str, chain_path: str,
                    fullchain_path: str) -> None:
        """Note it."""
        self._note("deploy_cert", domain, *(Path(path).name for path in (
            cert_path, key_path, chain_path, fullchain_path)))

    def enhance(self, domain: str, enhancement: str,
                options: list[str] | str | None = None) -> None:
        """Note it; HSTS is there already."""
        self._note("enhance", domain, enhancement, options)
        if options == "Strict-Transport-Security":
            raise certbot_errors.PluginEnhancementAlreadyPresent("is there")

    def supported_enhancements(self) -> list[str]:
        """One that Qiniu offers too, and one that it does not."""
        return ["ensure-http-header", "staple-ocsp"]

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        """Note it."""
        self._note("save", title)

    def rollback_checkpoints(self, rollback: int = 1) -> None:
        """Note it."""
        self._note("rollback_checkpoints", rollback)

    def recovery_routine(self) -> None:
        """Note it."""
        self._note("recovery_routine")

    def config_test(self) -> None:
        """Note it."""
        self._note("config_test")

    def restart(self) -> None:
        """Note it."""
        self._note("restart")


class Updating(Apart, interfaces.RenewDeployer, interfaces.GenericUpdater):
    """One that wants to know of renewals."""

    def renew_deploy(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Note it."""
        self._note("renew_deploy", lineage.lineagename)

    def generic_updates(self, lineage: interfaces.RenewableCert, *args: Any,
                        **kwargs: Any) -> None:
        """Note it."""
        self._note("generic_updates", lineage.lineagename)


class Sharing(Apart, common.Installer):
    """One with a file in the checkpoints of certbot's reverter.

    :cvar site: that file, as every save writes it.
    """

    site: ClassVar[Path]
    text: ClassVar[str] = "ssl_certificate"

    def __init__(self, config: Any, name: str) -> None:
        common.Installer.__init__(self, config, name)

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """Declare nothing."""

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        """Write the file, the way certbot-nginx does."""
        self._note("save", title)
        self.add_to_checkpoint({str(self.site)}, "changed the site\n")
        self.site.write_text(self.text)
        if title and not temporary:
            self.finalize_checkpoint(title)

    def rollback_checkpoints(self, rollback: int = 1) -> None:
        """Go back."""
        common.Installer.rollback_checkpoints(self, rollback)

    def recovery_routine(self) -> None:
        """Recover."""
        common.Installer.recovery_routine(self)


@contextlib.contextmanager
def installed(kind: type[Apart]) -> Iterator[None]:
    """Let certbot and the plugin find *kind* among what is installed, as ``fake``."""
    real = importlib.metadata.entry_points
    entry = importlib.metadata.EntryPoint("fake", f"{__name__}:{kind.__name__}", "certbot.plugins")

    def entry_points(**params: Any) -> Any:
        found = list(real(**params))
        return [*found, entry] if params.get("group") == "certbot.plugins" else found

    with mock.patch.object(importlib.metadata, "entry_points", entry_points):
        yield


class User:
    """A machine with two CDN domains and a made-up web server."""

    def __init__(self, folder: Path, kind: type[Apart]) -> None:
        self.cloud = Cloud()
        self.machine = Machine(self.cloud, folder / "machine")
        self.kind = kind
        kind.log = folder / "log"
        kind.log.touch()
        self.site = Sharing.site = folder / "site.conf"
        self.site.write_text("plain")
        old_id = self.cloud.stranger("*.example.com")
        for name in (WWW, IMG):
            self.cloud.qiniu.add_domain(name, protocol="https", cert_id=old_id)
        self.old = self.cloud.qiniu.serving(WWW).fingerprint

    def certbot(self, *arguments: str) -> Run:
        """Run certbot with the made-up installer installed."""
        return self.machine.certbot(*arguments, around=functools.partial(installed, self.kind))

    def issue(self, *arguments: str) -> Run:
        """The first command."""
        return self.certbot("run", "-a", "standalone", *self.machine.installer, "--qiniu-with",
                            "fake", *NAMES, *arguments)

    def renew(self, *arguments: str) -> Run:
        """``certbot renew``, some time later."""
        self.cloud.clock.sleep(3600)
        return self.certbot("renew", "--no-random-sleep-on-renew", *arguments)

    def calls(self, *verbs: str) -> list[str]:
        """What was asked of the installer since the last time, or that of *verbs*."""
        lines = self.kind.log.read_text().splitlines()
        self.kind.log.write_text("")
        return [line for line in lines if not verbs or line.split()[0] in verbs]

    @property
    def leaf(self) -> str:
        return self.machine.fingerprint()

    def at_qiniu(self) -> set[str]:
        """The leaves that the domains serve in the end."""
        self.cloud.clock.sleep(600)
        return {self.cloud.qiniu.serving(name).fingerprint for name in (WWW, IMG)}

    @property
    def checkpoints(self) -> int:
        return len(list((self.machine.config_dir / "work" / "backups").iterdir()))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Apart]], User]:
    """Make a user of an installer; nothing of it fails at first."""
    monkeypatch.setattr(Apart, "fails", set())
    return lambda kind: User(tmp_path, kind)


class Changing(Sharing, interfaces.RenewDeployer):
    """One that changes its file with each renewal."""

    def renew_deploy(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Write the file."""
        self._note("renew_deploy", lineage.lineagename)
        self.add_to_checkpoint({str(self.site)}, "changed the site\n")
        self.site.write_text("renewed")
        self.finalize_checkpoint("Renewed")


def memory(user: User) -> dict[str, Any]:
    """What the plugin remembers of the lineage."""
    found: dict[str, Any] = json.loads(
        (user.machine.config_dir / "qiniu" / "memory" / "example.com.json").read_text())
    return found


def test_calls_of_a_run(make: Callable[[type[Apart]], User]) -> None:
    """The other installer is called as certbot would call it, for the names that it serves."""
    user = make(Apart)
    run = user.issue("-d", WWW, "--staple-ocsp", "--no-redirect")
    assert 0 == run.status, run.output
    paths = "cert.pem privkey.pem chain.pem fullchain.pem"
    assert [
        "prepare as it is 7 False", "config_test", "get_all_names", "save None",
        f"deploy_cert web.example.com {paths}", f"deploy_cert www.example.com {paths}", "save None",
        "save None", "save Deployed ACME Certificate", "config_test", "restart",
        *(f"enhance {name} staple-ocsp {user.machine.config_dir}/live/example.com/chain.pem"
          for name in ("web.example.com", WWW, WWW)),
        "save Add enhancement staple-ocsp", "config_test", "restart",
    ] == user.calls()
    assert {user.leaf} == user.at_qiniu()


def test_enhancements(make: Callable[[type[Apart]], User]) -> None:
    """Each does what it supports, and what only one supports is no error of the other's."""
    user = make(Apart)
    run = user.issue("--redirect", "--hsts", "--uir")
    assert 0 == run.status, run.output
    assert [f"enhance {name} ensure-http-header {header}"
            for header in ("Strict-Transport-Security", "Upgrade-Insecure-Requests")
            for name in ("web.example.com", WWW)] == user.calls("enhance")
    assert "The fake installer does not support redirect: skipped" in run.output
    assert "uir is not supported by the qiniu installer" in run.output
    user.at_qiniu()
    assert user.cloud.qiniu.serving(WWW).force_https
    assert run.labels("respheader")


def test_names_of_both_are_offered(make: Callable[[type[Apart]], User]) -> None:
    """certbot offers the domains at Qiniu and the other installer's names for a certificate."""
    user = make(Apart)
    seen = user.machine.directory / "names"

    @contextlib.contextmanager
    def asking() -> Iterator[None]:
        from certbot_qiniu.installer import Installer

        whole = Installer.save
        def save(self: Installer, title: str | None = None, temporary: bool = False) -> None:
            seen.write_text(f"{self.get_all_names()}\n{self.more_info()}")
            whole(self, title, temporary)

        with installed(Apart), mock.patch.object(Installer, "save", save):
            yield

    user.machine.issue("example.com", "*.example.com", arguments=("--qiniu-with", "fake"),
                       around=asking)
    names, *info = seen.read_text().splitlines()
    assert str([IMG, "web.example.com", WWW, "www.example.org"]) == names
    assert "made up" in info


@pytest.mark.parametrize(("arguments", "says"), [
    (("--qiniu-with", "nonsense"), "has no plugin of that name"),
    (("--qiniu-with", "apachx"), "certbot plugins lists"),
    (("--qiniu-with", "qiniu"), "name another installer"),
    (("--qiniu-with", "webroot"), "that plugin is no installer"),
    (("--qiniu-with", "fake", "--qiniu-with-options=--fake-bogus 3"),
     "--qiniu-with-options: unrecognized arguments: --fake-bogus 3"),
    (("--qiniu-with", "fake", "--qiniu-with-options=--fake-number x"),
     "--qiniu-with-options: argument --fake-number: invalid int value"),
    (("--qiniu-with", "fake", "--qiniu-with-options", "'open"), "cannot be split"),
])
def test_bad_input(make: Callable[[type[Apart]], User], arguments: tuple[str, ...],
                   says: str) -> None:
    """Another installer that cannot be is one clear error before anything is issued or changed."""
    user = make(Apart)
    run = user.certbot("run", "-a", "standalone", *user.machine.installer, *NAMES, *arguments)
    assert run.status in (1, 2)
    assert says in run.output
    assert "Traceback" not in run.output
    assert not (user.machine.config_dir / "live" / "example.com").exists()
    assert [] == run.labels("PUT")


@pytest.mark.parametrize(("verb", "undone"), [
    ("prepare", []), ("config_test", []), ("get_all_names", ["recovery_routine"]),
    ("deploy_cert", ["recovery_routine"]), ("save", ["recovery_routine"]),
    ("restart", ["rollback_checkpoints 1"]), ("enhance", ["recovery_routine"])])
@pytest.mark.parametrize("error", [certbot_errors.NoInstallationError("out of order"),
                                   RuntimeError("out of order")], ids=["certbot's", "a bug"])
def test_failing_run(make: Callable[[type[Apart]], User], monkeypatch: pytest.MonkeyPatch,
                     verb: str, undone: list[str], error: Exception) -> None:
    """If the other installer fails, the run says so, and nothing is left half done anywhere."""
    user = make(Apart)
    monkeypatch.setattr(Apart, "fails", {verb})
    monkeypatch.setattr(Apart, "error", error)
    run = user.issue("--hsts")
    assert 1 == run.status
    assert re.search(r"fake \(--qiniu-with\) could not .*: out of order", run.output)
    assert "Traceback" not in run.output
    # An enhancement comes after the deployment, which stays as certbot leaves it.
    assert {user.leaf if verb == "enhance" else user.old} == user.at_qiniu()
    assert undone == user.calls("recovery_routine", "rollback_checkpoints")


def test_both_fail(make: Callable[[type[Apart]], User], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of one does not hide the other's, before an issuance and in a renewal."""
    user = make(Apart)
    user.issue()
    monkeypatch.setattr(Apart, "fails", {"prepare"})
    user.cloud.board.arm(Fault("reset"), match="qiniu", times=10**6)
    for run in (user.issue("--force-renewal"), user.renew("--force-renewal"),
                user.renew("--force-renewal", "--dry-run")):
        assert 1 == run.status
        assert "could not work: out of order" in run.output
        assert "Could not list the CDN domains" in run.output
    assert "qiniu_with = fake" in (
        user.machine.config_dir / "renewal" / "example.com.conf").read_text()


def test_failing_renewal_is_healed(make: Callable[[type[Apart]], User],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Qiniu gets the certificate, the run fails, and later ones restart the other one till done."""
    user = make(Apart)
    user.issue()
    user.calls()
    monkeypatch.setattr(Apart, "fails", {"restart"})
    for arguments in (("--force-renewal",), ()):
        run = user.renew(*arguments)
        assert 1 == run.status
        assert "could not restart: out of order" in run.output
        assert {user.leaf} == user.at_qiniu()
        assert ["restart"] == user.calls("restart")
    monkeypatch.setattr(Apart, "fails", set())
    for expected in (["restart"], []):
        assert 0 == user.renew().status
        assert expected == user.calls("restart")


def test_renewals_are_passed_on(make: Callable[[type[Apart]], User]) -> None:
    """One that takes renewals is called for them, and one that fails does not stop Qiniu."""
    user = make(Updating)
    user.issue()
    user.calls()
    user.renew("--force-renewal")
    assert ["prepare as it is 7 False", "renew_deploy example.com", "config_test", "restart",
            "generic_updates example.com"] == user.calls()
    Updating.fails = {"renew_deploy", "generic_updates"}
    try:
        run = user.renew("--force-renewal")
        assert 1 == run.status
        assert "deploy the renewed certificate: out of order" in run.output
        assert ["restart"] == user.calls("restart")
        assert {user.leaf} == user.at_qiniu()
        assert "do its updates: out of order" in user.renew().output
    finally:
        del Updating.fails


@pytest.mark.parametrize(("text", "number"), [
    ("plain", "3"), ("with spaces, a comma # and a hash", "0"), ("it's \"quoted\"", "-1"),
    ("back\\slash $HOME %s", "8"), ("中文", "5"), ("-x", "1")])
def test_options_hold_for_renewals(make: Callable[[type[Apart]], User], text: str,
                                   number: str) -> None:
    """Its own options are stored under our name, and reach it in every renewal."""
    user = make(Apart)
    given = (f"--fake-text={text}", f"--fake-number={number}", "--fake-switch")
    assert 0 == user.issue(*given).status
    expected = f"prepare {text} {number} True"
    assert [expected] == user.calls("prepare")
    for _ in range(2):
        assert 0 == user.renew("--force-renewal").status
        assert [expected] == user.calls("prepare")
    user.certbot("rollback", "-i", "qiniu")
    assert [expected] == user.calls("prepare")
    user.renew("--force-renewal", "--fake-text", "another")
    assert [f"prepare another {number} True"] == user.calls("prepare")


def test_reconfigure_takes_another_installer_on(make: Callable[[type[Apart]], User]) -> None:
    """With its options, which it can change; from then on renewals restart it."""
    user = make(Apart)
    user.machine.issue("example.com", "*.example.com")
    run = user.certbot("reconfigure", "--cert-name", "example.com", "-i", "qiniu",
                       "--qiniu-with", "fake", "--fake-number", "4")
    assert 0 == run.status, run.output
    user.calls()
    user.renew("--force-renewal")
    assert ["prepare as it is 4 False", "restart"] == user.calls("prepare", "restart")
    user.certbot("reconfigure", "--cert-name", "example.com", "--fake-text", "new")
    user.calls()
    user.renew("--force-renewal")
    assert ["prepare new 4 False"] == user.calls("prepare")


def test_serving_none_of_the_names(make: Callable[[type[Apart]], User],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """One with only other names is an error; one that reports no names gets every SAN."""
    monkeypatch.setattr(Apart, "served", ["example.net"])
    user = make(Apart)
    run = user.issue()
    assert 1 == run.status
    assert "serves none of *.example.com, example.com by name, but only example.net" in run.output
    assert {user.old} == user.at_qiniu()
    run = user.certbot("run", "-a", "standalone", *user.machine.installer, "--qiniu-with", "fake",
                       "-d", "lonely.example.org")
    assert 1 == run.status
    assert "No domain in this Qiniu account" in run.output, "before it is issued"
    user.calls()
    monkeypatch.setattr(Apart, "served", None)
    assert 0 == user.issue().status
    assert ["*.example.com", "example.com"] == sorted(
        line.split()[1] for line in user.calls("deploy_cert"))


def test_one_checkpoint_for_both(make: Callable[[type[Apart]], User]) -> None:
    """The changes of both are one checkpoint, and one rollback without flags undoes both."""
    user = make(Sharing)
    run = user.issue()
    assert 0 == run.status, run.output
    assert ("ssl_certificate", 1) == (user.site.read_text(), user.checkpoints)
    user.calls()
    run = user.certbot("rollback", "-i", "qiniu")
    assert 0 == run.status, run.output
    assert ("plain", 0) == (user.site.read_text(), user.checkpoints)
    assert {user.old} == user.at_qiniu()
    assert ["restart"] == user.calls("restart")


def test_checkpoint_of_the_other_installer_alone(make: Callable[[type[Apart]], User],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated install leaves a checkpoint only if it changes the other installer's file."""
    user = make(Sharing)
    user.issue()
    user.calls()
    install = ("install", "--cert-name", "example.com", *user.machine.installer, "--qiniu-with",
               "fake")
    user.certbot(*install)
    assert 1 == user.checkpoints
    monkeypatch.setattr(Sharing, "text", "another")
    user.certbot(*install)
    assert ("another", 2) == (user.site.read_text(), user.checkpoints)
    user.certbot("rollback", "-i", "qiniu")
    assert ("ssl_certificate", 1) == (user.site.read_text(), user.checkpoints)
    assert {user.leaf} == user.at_qiniu()


def test_failed_run_returns_the_other_installer(make: Callable[[type[Apart]], User],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """When Qiniu or the other one fails at the end of a run, its file is as it was before."""
    user = make(Sharing)
    for name in (WWW, IMG):
        user.cloud.qiniu.fail_next_publication(name)
    run = user.issue()
    assert 1 == run.status
    assert "successfully restored your server" in run.output
    assert ("plain", 0) == (user.site.read_text(), user.checkpoints)
    assert {user.old} == user.at_qiniu()
    # It reads its files anew when they have been put back.
    assert 2 * ["prepare as it is 7 False", "restart"] == user.calls("prepare", "restart")
    monkeypatch.setattr(Sharing, "fails", {"restart"})
    assert 1 == user.issue("--force-renewal").status
    assert ("plain", 0) == (user.site.read_text(), user.checkpoints)
    assert {user.old} == user.at_qiniu()
    monkeypatch.setattr(Sharing, "fails", {"save"})
    assert 1 == user.issue("--force-renewal").status
    assert ("plain", 0) == (user.site.read_text(), user.checkpoints)


def test_killed_run(make: Callable[[type[Apart]], User]) -> None:
    """The next run undoes what a killed run had written for the other installer."""
    user = make(Sharing)
    with_fake = (*user.machine.installer, "--qiniu-with", "fake")
    assert 0 == user.certbot("certonly", "-a", "standalone", *with_fake, "-d", "example.com",
                             "-d", "*.example.com").status
    # Unlike run, which has read all before it issues, install asks Qiniu between the two.
    run = user.machine.certbot("install", "--cert-name", "example.com", *with_fake,
                               around=functools.partial(installed, Sharing),
                               kill_at=lambda _: user.site.read_text() != "plain")
    assert run.status < 0
    assert "ssl_certificate" == user.site.read_text()
    assert 0 == user.renew().status
    assert "plain" == user.site.read_text()
    assert {user.leaf} == user.at_qiniu()


def test_rollback_of_checkpoints_apart(make: Callable[[type[Apart]], User],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """One with its own checkpoints goes back as far; its failing does not stop Qiniu."""
    user = make(Apart)
    user.issue()
    user.renew("--force-renewal")
    user.calls()
    monkeypatch.setattr(Apart, "fails", {"rollback_checkpoints"})
    run = user.certbot("rollback", "-i", "qiniu", "--checkpoints", "2")
    assert 1 == run.status
    assert "could not roll back: out of order" in run.output
    assert ["rollback_checkpoints 2", "restart"] == user.calls("rollback_checkpoints", "restart")
    assert {user.old} == user.at_qiniu()


def test_rollback_without_the_other_installer(make: Callable[[type[Apart]], User]) -> None:
    """Another installer that is no longer installed is named, and Qiniu goes back all the same."""
    user = make(Apart)
    user.issue()
    run = user.machine.certbot("rollback", "-i", "qiniu")
    assert 1 == run.status
    assert "fake: certbot has no plugin of that name" in run.output
    assert {user.old} == user.at_qiniu()


# nginx ------------------------------------------------------------------------------------------

_PLAIN = """\
pid {directory}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        server_name example.com web.example.com;  # as its owner wrote it
        location / {{ return 200 "hello"; }}
    }}
    server {{
        listen 127.0.0.1:{port} default_server;
        server_name unrelated.example.net;
        location / {{ return 404; }}
    }}
}}
"""


class Site:
    """What a user has: domains at Qiniu, and an nginx that has never spoken TLS."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.old = Authority("Old").issue("*.example.com", days=20)
        old_id = box.qiniu.add_certificate(self.old.fullchain_pem, name="bought elsewhere")
        for name in (WWW, IMG):
            box.qiniu.add_domain(name, protocol="https", cert_id=old_id)
        self.domains: tuple[str, ...] = (WWW, IMG)
        self.config = box.nginx.configuration
        self.plain = _PLAIN.format(directory=self.config.parent, port=box.http_port)
        self.config.write_text(self.plain)
        self.installer = (
            "-i", "qiniu", "--qiniu-credentials", str(box.credentials_path), "--qiniu-with",
            "nginx", "--nginx-server-root", str(self.config.parent), "--nginx-sleep-seconds", "0",
            "--http-01-port", str(box.http_port), "--https-port", str(box.nginx.port))

    def issue(self, *arguments: str) -> None:
        """The first command of a user."""
        self.box.certbot("run", *self.box.aliyun, *self.installer, *ACCOUNT, *NAMES, *arguments)

    @property
    def leaf(self) -> str:
        return self.box.lineage_fingerprint("example.com")

    def at_qiniu(self) -> set[str]:
        """The leaves that the domains serve once nothing moves."""
        deadline = time.monotonic() + 10
        while "processing" in {self.box.qiniu.serving(name).state for name in self.domains}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return {self.box.qiniu.serving(name).fingerprint for name in self.domains}

    def nginx_serves(self, fingerprint: str) -> None:
        """Wait until both names are served with a leaf: old workers live on for a moment."""
        deadline = time.monotonic() + 10
        for name in ("example.com", "web.example.com"):
            while (seen := self.box.nginx.served_fingerprint(name)) != fingerprint:
                assert time.monotonic() < deadline, f"{name} is served with {seen}"


@pytest.fixture
def site(sandbox: Sandbox) -> Site:
    """A user's site before the first issuance."""
    return Site(sandbox)


@pytest.mark.programs
def test_nginx_run_rollback_install_renew(site: Site) -> None:
    """certbot-nginx writes its lines, both serve each new leaf, and one rollback returns both."""
    site.issue()
    written = site.config.read_text()
    directive = f"ssl_certificate {site.box.live('example.com')}/fullchain.pem;"
    assert 1 == written.count(directive)
    assert {site.leaf} == site.at_qiniu()
    site.nginx_serves(site.leaf)
    site.box.certbot("rollback", "-i", "qiniu")
    assert site.plain == site.config.read_text()
    assert {site.old.fingerprint} == site.at_qiniu()
    site.box.certbot("install", "--cert-name", "example.com", *site.installer)
    assert written == site.config.read_text()
    first = site.leaf
    site.box.certbot("renew", "--force-renewal")
    assert first != site.leaf
    assert {site.leaf} == site.at_qiniu()
    site.nginx_serves(site.leaf)
    assert written == site.config.read_text()


def _everything(site: Site) -> tuple[str, ...]:
    """Give the account a domain of every kind, and answer their names."""
    qiniu = site.box.qiniu
    old = qiniu.serving(WWW).cert_id
    qiniu.add_domain(".example.com", kind="wildcard", protocol="https", cert_id=old)
    qiniu.add_bucket("bucket")
    qiniu.add_source_domain("source.example.com", "bucket", old)
    qiniu.add_hub("hub")
    qiniu.add_live_domain("hub", "live.example.com", cert_name="bought elsewhere")
    site.domains = (WWW, IMG, ".example.com", "source.example.com", "live.example.com")
    return site.domains


@pytest.mark.programs
def test_everything_that_a_user_has(site: Site) -> None:
    """CDN, wildcard, source and live domains and nginx follow together, and go back together."""
    _everything(site)
    services = ("--qiniu-services", "cdn,kodo,pili")
    site.issue(*services)
    first, written = site.leaf, site.config.read_text()
    assert {first} == site.at_qiniu()
    site.nginx_serves(first)
    site.box.certbot("renew", "--force-renewal")
    assert first != site.leaf
    assert {site.leaf} == site.at_qiniu()
    site.nginx_serves(site.leaf)
    site.box.certbot("rollback", "-i", "qiniu")
    assert {first} == site.at_qiniu()
    site.box.certbot("rollback", "-i", "qiniu")
    assert {site.old.fingerprint} == site.at_qiniu()
    assert site.plain == site.config.read_text()
    site.box.certbot("install", "--cert-name", "example.com", *site.installer, *services)
    assert {site.leaf} == site.at_qiniu()
    assert written == site.config.read_text()
    failing = {"PUT api.qiniu.com/domain/": {WWW, IMG, ".example.com"},
               "api.qiniu.com/cert/bind": {"source.example.com"},
               "POST pili.qiniuapi.com": {"live.example.com"}}
    for call, stale in failing.items():
        before = site.leaf
        site.box.board.arm(Fault("reply", Response(400, b'{"error": "no"}')), match=call,
                           times=10**6)
        assert 1 == site.box.certbot("renew", "--force-renewal", check=False).returncode
        site.at_qiniu()
        served = {name: site.box.qiniu.serving(name).fingerprint for name in site.domains}
        assert {name: before if name in stale else site.leaf for name in site.domains} == served
        site.nginx_serves(site.leaf)
        site.box.board.disarm()
        site.box.certbot("renew")
        assert {site.leaf} == site.at_qiniu()


@pytest.mark.programs
def test_nginx_or_qiniu_failing_alone(site: Site) -> None:
    """The other one is right all the same, and the next renew heals what failed."""
    site.issue()
    first = site.leaf
    site.box.nginx.break_config()
    failed = site.box.certbot("renew", "--force-renewal", check=False)
    assert 1 == failed.returncode
    assert "this_is_no_directive" in failed.stderr
    assert {site.leaf} == site.at_qiniu()
    site.nginx_serves(first)
    site.box.nginx.repair_config()
    site.box.certbot("renew")
    site.nginx_serves(site.leaf)
    second = site.leaf
    site.box.board.arm(Fault("reset"), match="qiniu", times=10**6)
    assert 1 == site.box.certbot("renew", "--force-renewal", check=False).returncode
    site.nginx_serves(site.leaf)
    assert {second} == site.at_qiniu()
    site.box.board.disarm()
    site.box.certbot("renew")
    assert {site.leaf} == site.at_qiniu()


# What a failing installer must not cost ----------------------------------------------------------


def test_failed_save_costs_no_baseline(make: Callable[[type[Apart]], User],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """If the other installer cannot save, no domain is let go, and a rollback returns all."""
    user = make(Apart)
    run = user.certbot("run", "-a", "standalone", *user.machine.installer, *NAMES,
                       "--qiniu-domains", f"{WWW},{IMG}")
    assert 0 == run.status, run.output
    user.at_qiniu()
    before = memory(user)["domains"]
    monkeypatch.setattr(Apart, "served", ["www.example.org"])
    run = user.certbot("install", "--cert-name", "example.com", *user.machine.installer,
                       "--qiniu-with", "fake", "--qiniu-domains", WWW)
    assert 1 == run.status
    assert "serves none of" in run.output
    after = memory(user)
    for name in (WWW, IMG):
        assert before[name]["baseline"] == after["domains"][name]["baseline"]
        assert "let_go" not in after["domains"][name]
    assert not after.get("other_installer")
    assert 0 == user.certbot("rollback", "-i", "qiniu").status
    assert {user.old} == user.at_qiniu()


def test_failed_save_changes_no_setting(make: Callable[[type[Apart]], User],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect that could not be saved leaves no trace that a later run would act on."""
    user = make(Apart)
    assert 0 == user.issue().status
    user.at_qiniu()
    before = memory(user)["domains"]
    monkeypatch.setattr(Apart, "fails", {"save"})
    run = user.certbot("enhance", "--cert-name", "example.com", *user.machine.installer,
                       "--qiniu-with", "fake", "--redirect")
    assert 1 == run.status
    assert [before[name].get("former_force") for name in (WWW, IMG)] == [
        memory(user)["domains"][name].get("former_force") for name in (WWW, IMG)]


def test_install_taken_back_is_not_told_as_deployed(make: Callable[[type[Apart]], User]) -> None:
    """A certificate that certbot takes back was not deployed, and is not said to be."""
    user = make(Apart)
    assert 0 == user.certbot("certonly", "-a", "standalone", *NAMES).status
    user.cloud.board.arm(Fault("reply", json_response(403, {"code": 403000, "error": "no"})),
                         match="/httpsconf", times=2)
    run = user.certbot("install", "--cert-name", "example.com", *user.machine.installer)
    assert 1 == run.status
    assert "successfully restored" in run.output
    assert "This deployed" not in run.output
    assert {user.old} == user.at_qiniu()


def test_unreadable_files_undo_nothing_of_others(make: Callable[[type[Apart]], User]) -> None:
    """If our own files are damaged, what the other installer writes at a renewal stays."""
    user = make(Changing)
    assert 0 == user.issue().status
    (user.machine.config_dir / "qiniu" / "memory.json").write_text("{damaged")
    run = user.renew("--force-renewal")
    assert 1 == run.status
    assert "memory.json is corrupt" in run.output
    assert "renewed" == user.site.read_text()


def test_apply_reaches_qiniu_without_the_other_installer(tmp_path: Path) -> None:
    """If the other installer is not there any more, ``apply`` says so, and serves Qiniu."""
    machine = seat(tmp_path)
    Apart.log = tmp_path / "log"
    run = machine.issue(APEX, f"*{WILD}", arguments=("--qiniu-with", "fake"),
                        around=functools.partial(installed, Apart))
    assert 0 == run.status, run.output
    machine.cloud.clock.sleep(600)
    machine.cloud.qiniu.change_domain(WWW, cert_id=machine.cloud.stranger("*.example.com"))
    machine.cloud.clock.sleep(86_400)
    run = machine.run("apply")
    assert 1 == run.status
    assert "certbot has no plugin of that name" in run.output
    assert [f"PUT api.qiniu.com/domain/{WWW}/httpsconf"] == run.labels("PUT ")
