"""Every claim of ``docs/security.md``, under its number."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import http.server
import inspect
import logging
import os
import re
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests

from certbot_qiniu import errors
from certbot_qiniu.credentials import Credentials
from certbot_qiniu.deployment.certificates import clean, remember_copies
from certbot_qiniu.deployment.state import Managed
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import Binding, Certificate
from certbot_qiniu.options import OPTIONS
from certbot_qiniu.qiniu import transport
from certbot_qiniu.qiniu.client import QiniuClient
from certbot_qiniu.webserver import nginx
from certbot_qiniu.webserver.nginx import Nginx
from tests.package import DOCS, SOURCES, dotted
from tests.sandbox.pki import Authority
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.wire import Fault, Request, Response, json_response
from tests.scenarios.machine import Cloud, Machine
from tests.unit.rig import Rig

DOCUMENT = DOCS / "security.md"
LINEAGE, NAME = "example.com", "www.example.com"
CERT_ID = "5a950896f2c5932aaf00142c"


def bind(client: QiniuClient, *, enable: bool) -> object:
    """Bind a certificate for the first time, or another one later."""
    client.bind_certificate(NAME, CERT_ID, force_https=True, http2=True, enable=enable)
    return enable


# Each public method of the client, with arguments that stand for themselves in the table.
CALLS: dict[str, Callable[[QiniuClient, Certificate], object]] = {
    "list_certificates": lambda c, _: c.list_certificates(),
    "upload_certificate": lambda c, certificate: c.upload_certificate(certificate),
    "delete_certificate": lambda c, _: c.delete_certificate(CERT_ID),
    "list_domains": lambda c, _: c.list_domains(),
    "look": lambda c, _: c.look("api.qiniu.com", f"/domain/{NAME}", "read a domain"),
    "get_domain": lambda c, _: c.get_domain(NAME),
    "bind_certificate": lambda c, _: (bind(c, enable=True), bind(c, enable=False)),
    "unbind_certificate": lambda c, _: c.unbind_certificate(NAME),
    "get_response_headers": lambda c, _: c.get_response_headers(NAME),
    "set_response_headers": lambda c, _: c.set_response_headers(NAME, []),
    "set_hsts": lambda c, _: c.set_hsts(NAME, on=True),
    "list_buckets": lambda c, _: c.list_buckets(),
    "list_source_domains": lambda c, _: c.list_source_domains("bucket"),
    "list_bindings": lambda c, _: c.list_bindings(),
    "bind_source_domain": lambda c, _: c.bind_source_domain(NAME, CERT_ID),
    "unbind_source_domain": lambda c, _: c.unbind_source_domain(NAME, CERT_ID),
    "list_hubs": lambda c, _: c.list_hubs(),
    "list_live_domains": lambda c, _: c.list_live_domains("hub"),
    "bind_live_domain": lambda c, _: c.bind_live_domain("hub", NAME, "mine"),
}


class Scribe:
    """Answers every call with the same words, and remembers what was asked."""

    hosts = (transport.API, transport.FUSION, transport.UC, transport.PILI)

    def __init__(self) -> None:
        self.answer = json_response(200, {"code": 200, "name": NAME, "certID": CERT_ID})
        self.asked: list[Request] = []

    def handle(self, request: Request) -> Response:
        self.asked.append(request)
        # Clients in the field bind with different methods, and list buckets by different lists.
        if request.label in ("POST api.qiniu.com/cert/bind", "POST api.qiniu.com/cert/unbind",
                             "GET uc.qiniuapi.com/domain"):
            return Response(405)
        plain_list = request.host == transport.UC or request.path == "/cert/bindings"
        return json_response(200, []) if plain_list else self.answer


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A client before an emulated account."""
    return Rig(tmp_path)


@pytest.fixture
def scribe(rig: Rig) -> Scribe:
    """What answers the client instead of the emulator."""
    scribe = Scribe()
    rig.board.__init__(scribe, clock=rig.clock)  # type: ignore[misc]
    return scribe


@pytest.fixture
def certificate(rig: Rig) -> Certificate:
    """A certificate of this machine."""
    return rig.renew(LINEAGE, LINEAGE, "*.example.com")


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Make files as a careless administrator would."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A certbot that has issued, renewed, done nothing, failed and rolled back, all with -vvv."""
    cloud = Cloud()
    cloud.qiniu.add_domain(NAME, protocol="https", cert_id=cloud.stranger(NAME))
    machine = Machine(cloud, tmp_path_factory.mktemp("machine"))
    with umask(0):
        runs = [machine.issue(NAME, "*.example.com", arguments=("--cert-name", LINEAGE, "-vvv"))]
        for command in ("--force-renewal", "--quiet", "--force-renewal"):
            cloud.clock.sleep(3600)
            runs.append(machine.renew(command, "-vvv"))
        cloud.board.arm(Fault("reset"), match="POST fusion", times=10**6)
        runs.append(machine.renew("--force-renewal", "-vvv"))
        cloud.board.disarm()
        cloud.clock.sleep(3600)
        runs.append(machine.certbot("rollback", "--checkpoints", "1", *machine.installer, "-vvv"))
    assert [0, 0, 0, 0, 1, 0] == [run.status for run in runs], [run.output for run in runs]
    (machine.directory / "outputs").write_text("".join(run.output for run in runs))
    return machine


def listed_calls() -> set[str]:
    """The calls in the document's table."""
    table = DOCUMENT.read_text("utf-8").partition("| call | for |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {call for cell in cells for call in re.findall(r"`([^`]+)`", cell)}


def test_every_claim_has_a_test() -> None:
    """The document and this file have the same numbers, each once."""
    claims = re.findall(r"^\*\*S(\d+)\.\*\* ", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    tests = [match[1] for name in globals() if (match := re.match(r"test_s(\d+)_", name))]
    assert claims == sorted(tests, key=int)
    assert [str(number + 1) for number in range(len(claims))] == claims


def test_s1_four_hosts(rig: Rig, scribe: Scribe, certificate: Certificate) -> None:
    """Every call goes by https to one of the four hosts, and no option names another."""
    with mock.patch.object(requests.Session, "request", autospec=True,
                           side_effect=requests.Session.request) as request:
        for call in CALLS.values():
            call(rig.client, certificate)
    urls = [call.args[2] for call in request.call_args_list]
    assert {f"https://{host}" for host in transport.CALLS_PER_SECOND} == {
        re.match("[^/]*//[^/]*", url)[0] for url in urls}  # type: ignore[index]
    assert set(Scribe.hosts) == set(transport.CALLS_PER_SECOND)
    assert not [name for name in OPTIONS
                if re.search("url|host|endpoint|server|verify|insecure|test$", name)]


class Patron(http.server.BaseHTTPRequestHandler):
    """Answers a GET with an empty list and a cookie, and remembers what was sent."""

    seen: list[tuple[str, str, str]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        scheme = self.headers["Authorization"].partition(" ")[0]
        self.seen.append((self.path, scheme, self.headers.get("Cookie", "")))
        self.send_response(200)
        self.send_header("Set-Cookie", "id=1; Path=/")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def tls_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], object]]:
    """Sends a request over TLS to a server whose authority's file is ``root.pem``."""
    authority = Authority()
    leaf = authority.issue("127.0.0.1")
    (tmp_path / "chain.pem").write_text(leaf.fullchain_pem + leaf.key_pem)
    (tmp_path / "root.pem").write_text(authority.cert_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Patron)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Patron.seen.clear()
    address = f"127.0.0.1:{server.server_port}"
    monkeypatch.setitem(transport.CALLS_PER_SECOND, address, 1000.0)
    monkeypatch.setitem(transport.SCHEMES, address, transport.QINIU)
    with requests.Session() as session:
        def send() -> object:
            sender = transport.Transport(ACCESS_KEY, SECRET_KEY, session=session,
                                         sleep=lambda _: None, clock=lambda: 0.0)
            return sender.request(address, "GET", "/buckets", action="look")

        yield send
    server.shutdown()
    thread.join()
    server.server_close()


def test_s2_tls_is_verified(tls_sender: Callable[[], object], tmp_path: Path,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose authority is unknown here gets no request; once known, it does."""
    with pytest.raises(errors.Unreachable, match=r"(?i)certificate"):
        tls_sender()
    assert [] == Patron.seen
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "root.pem"))
    assert [] == tls_sender()
    assert [("/buckets", "Qiniu", "")] == Patron.seen


def test_s3_no_redirect(rig: Rig, scribe: Scribe, certificate: Certificate) -> None:
    """A redirected upload is one request, and an error."""
    scribe.answer = Response(307, b"", {"Location": "https://uc.qiniuapi.com/sslcert"})
    with pytest.raises(errors.Refused, match="Qiniu does not redirect"):
        rig.client.upload_certificate(certificate)
    assert 1 == len(scribe.asked)


def test_s4_answers_are_bounded(rig: Rig, scribe: Scribe) -> None:
    """Nothing beyond the limits is read, and no name leads to another path."""
    scribe.answer = Response(200, b" " * (8 * 1024 * 1024 + 1))
    with pytest.raises(errors.Unreachable, match="too large"):
        rig.client.list_domains()
    scribe.answer = Response(200, b" " * (8 * 1024 * 1024 - 2) + b"{}")
    assert [] == rig.client.list_domains()
    scribe.answer = json_response(200, {
        "domains": [{"name": "../sslcert"}, {"name": NAME}],
        "certs": [{"certid": "../domain"}, {"certid": CERT_ID}]})
    assert [NAME] == [domain.name for domain in rig.client.list_domains()]
    assert [CERT_ID] == [item.cert_id for item in rig.client.list_certificates()]


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602])
def test_s5_credentials_of_others(mode: int, tmp_path: Path) -> None:
    """A credentials file that others can read or change is refused with the remedy."""
    path = tmp_path / "qiniu.ini"
    path.touch(mode=0o600)
    path.write_text("qiniu_access_key = a\nqiniu_secret_key = b\n")
    assert Credentials("a", "b") == Credentials.load(str(path))
    path.chmod(mode)
    with pytest.raises(errors.UsageError, match=f"chmod 600 {path}"):
        Credentials.load(str(path))


def test_s6_no_key_anywhere(machine: Machine) -> None:
    """After a life with -vvv no file and no output has a key, but for the files that are keys."""
    archive = machine.config_dir / "archive" / LINEAGE
    # The first line of every such key is the same: the next ones are what is secret.
    keys = [path.read_text().splitlines()[2] for path in archive.glob("privkey*.pem")]
    assert len(keys) >= 3
    files = [path for path in machine.directory.rglob("*") if path.is_file()
             and not path.name.startswith("privkey") and path != machine.credentials]
    assert {"outputs", "letsencrypt.log", "example.com.json", "example.com.json_0"} <= {
        path.name for path in files}
    for path in files:
        text = path.read_text(errors="replace")
        assert [] == [key for key in (SECRET_KEY, *keys) if key in text], path


def test_s7_keys_in_uploads_alone(machine: Machine) -> None:
    """Private keys are in the bodies of uploads; none is ever read back."""
    history = machine.cloud.board.history
    with_key = {call.request.label for call in history if b"PRIVATE KEY" in call.request.body}
    assert {"POST fusion.qiniuapi.com/sslcert"} == with_key
    assert [] == machine.cloud.qiniu.leaks
    labels = {call.request.label for call in history}
    assert "GET fusion.qiniuapi.com/sslcert" in labels
    assert [] == [label for label in labels if "GET fusion.qiniuapi.com/sslcert/" in label]


def test_s8_keys_are_left_alone(machine: Machine) -> None:
    """The private key is read in a run that uploads, and in no other."""
    def unreadable() -> Any:
        return mock.patch.object(Certificate, "key_pem", side_effect=errors.UsageError("touched"))

    machine.cloud.clock.sleep(3600)
    assert 0 == machine.renew(around=unreadable).status
    assert "touched" in machine.force_renewal(around=unreadable).output


def test_s9_quoted_keys(rig: Rig, scribe: Scribe, certificate: Certificate,
                        caplog: pytest.LogCaptureFixture) -> None:
    """A refusal that quotes the request does not bring the key into texts."""
    caplog.set_level(logging.DEBUG)
    scribe.answer = json_response(400, {"code": 400000, "error": certificate.key_pem()})
    with pytest.raises(errors.Refused) as caught:
        rig.client.upload_certificate(certificate)
    secret = certificate.key_pem().splitlines()[1]
    assert secret not in str(caught.value) + caplog.text


def test_s10_no_netrc_no_cookies(tls_sender: Callable[[], object], tmp_path: Path,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are not replaced by a password of ~/.netrc, and cookies are not sent back."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "root.pem"))
    for _ in range(2):
        tls_sender()
    assert [("/buckets", "Qiniu", "")] * 2 == Patron.seen


def test_s11_modes(machine: Machine, tmp_path: Path) -> None:
    """Files and folder are root's alone, even under an umask of 0, and never were wider."""
    folder = machine.config_dir / "qiniu"
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    files = [*folder.rglob("*.json"), *machine.config_dir.glob("work/backups/*/*.json_0")]
    assert len(files) > 3
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in files}
    modes = []
    with (umask(0), mock.patch.object(
            os, "fsync", lambda handle: modes.append(os.fstat(handle).st_mode))):
        store = Store(tmp_path)
        store.make_folders()
        store.to_keep(["a"])
    assert [0o600] == [stat.S_IMODE(mode) for mode in modes]


def test_s12_whole_or_not(tmp_path: Path) -> None:
    """A write that fails leaves the old file and no other, and two processes never meet."""
    store = Store(tmp_path / "qiniu")
    store.open()
    [path] = map(Path, store.to_keep(["a"]))
    before = path.read_bytes()
    with (mock.patch.object(os, "replace", side_effect=OSError(28, "No space left")),
          pytest.raises(errors.StateError)):
        store.apply({"x": Managed("x", "cdn", "a", Binding())})
    assert before == path.read_bytes()
    assert [path] == list(path.parent.iterdir())
    second = ("import pathlib, sys; from certbot_qiniu.deployment.store import Store; "
              "Store(pathlib.Path(sys.argv[1])).open()")
    done = subprocess.run([sys.executable, "-c", second, str(store.folder)], check=False,
                          capture_output=True, text=True)
    assert "Another certbot or certbot-qiniu is at work" in done.stderr


def test_s13_signed_afresh(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repeat of a call has the time of the repeat, and a signature that fits it."""
    import qiniu.auth

    class Now(dt.datetime):
        @classmethod
        def utcnow(cls) -> Now:
            return cls.fromtimestamp(rig.now, dt.timezone.utc).replace(tzinfo=None)

    monkeypatch.setattr(qiniu.auth, "datetime", Now)
    rig.qiniu.switches.clock_window, rig.qiniu.switches.date_required = 30, True
    rig.board.arm(Fault("reply", Response(429, b"", {"Retry-After": "45"})))
    assert [] == rig.client.list_domains()
    calls = rig.board.calls()
    assert [429, 200] == [call.status for call in calls]
    assert 2 == len({call.request.header("X-Qiniu-Date") for call in calls})
    assert 2 == len({call.request.header("Authorization") for call in calls})


def test_s14_why_https_only(rig: Rig, certificate: Certificate) -> None:
    """Two uploads have one signature, so nobody may see it; http is nowhere in the package."""
    for other in (certificate, rig.renew("example.org")):
        rig.client.upload_certificate(other)
    uploads = rig.board.calls("POST fusion")
    assert 2 == len({call.request.body for call in uploads})
    assert 1 == len({call.request.header("Authorization") for call in uploads})
    sources = {dotted(path): path.read_text("utf-8") for path in SOURCES}
    assert [] == [name for name, text in sources.items()
                  if re.search(r"http://\w|CdnManager|DomainManager", text)]


def test_s15_no_shell(tmp_path: Path) -> None:
    """Metacharacters in a command are words, and no code of ours asks for a shell."""
    target = tmp_path / "made"
    Nginx(f"{sys.executable} -c '' ; touch {target}", "true").test()
    assert not target.exists()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                assert "shell" not in [word.arg for word in node.keywords], path
                assert ast.unparse(node.func) not in ("os.system", "os.popen", "eval", "exec"), path
    assert "subprocess.Popen" in inspect.getsource(nginx)


def test_s16_hooks(tmp_path: Path) -> None:
    """A hook that others may change is not run; others get no key, and steer no terminal."""
    hook, seen = tmp_path / "hooks" / "hook $(touch made)", tmp_path / "environment"
    hook.parent.mkdir(mode=0o755)
    hook.write_text(f"#!/bin/sh\nenv > {seen}\necho \"$@\" >> {seen}\nprintf '\\033[31mred\\n'\n")
    hook.chmod(0o755)
    cloud = Cloud()
    cloud.qiniu.add_domain(NAME)
    machine = Machine(cloud, tmp_path / "machine")
    run = machine.issue(NAME, arguments=("--qiniu-hook", str(hook)))
    assert 0 == run.status, run.output
    assert "\x1b" not in run.output
    text = seen.read_text()
    assert f"RENEWED_LINEAGE={machine.config_dir}/live/{NAME}" in text
    key = (machine.config_dir / "live" / NAME / "privkey.pem").read_text().splitlines()[1]
    assert not [secret for secret in (SECRET_KEY, ACCESS_KEY, key) if secret in text]
    assert not list(tmp_path.rglob("made"))
    hook.parent.chmod(0o775)
    seen.unlink()
    run = machine.force_renewal()
    assert 1 == run.status
    assert "another user of this machine can change it" in " ".join(run.output.split())
    assert not seen.exists()


def test_s17_a_name_proves_nothing(rig: Rig, certificate: Certificate) -> None:
    """Certificates under names like ours stay when nobody here has uploaded them."""
    rig.wait(86_400)
    twin = rig.renew("twin", *certificate.names)
    for name in (certificate.remote_name, "certbot_example.com_0123456789ab"):
        rig.upload(twin, name=name)
    held = rig.qiniu.certificates()
    remember_copies(rig.context, LINEAGE)
    assert 0 == clean(rig.context, [LINEAGE], 0)
    assert held == rig.qiniu.certificates()


def test_s18_all_calls(rig: Rig, scribe: Scribe, certificate: Certificate) -> None:
    """The table has every call that the client can make, and no other."""
    public = {name for name, member in vars(QiniuClient).items()
              if inspect.isfunction(member) and not name.startswith("_")}
    assert public == set(CALLS)
    for call in CALLS.values():
        call(rig.client, certificate)
    asked = {f"{request.method} {request.path}" for request in scribe.asked}
    for own, shown in ((NAME, "<name>"), (CERT_ID, "<id>"), ("/hub/", "/<hub>/")):
        asked = {call.replace(own, shown) for call in asked}
    assert listed_calls() == asked
