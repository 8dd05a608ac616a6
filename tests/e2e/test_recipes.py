"""The recipes in docs/recipes are run, from the first command to the last.

Each block marked ``sh`` is run by bash in the sandbox, in the order of the page, unless
``<!-- not run: why -->`` stands before it. The commands for certbot and certbot-qiniu in all blocks
and in the text are checked by their own parsers besides. What stands for what in the sandbox is in
:func:`mapping`, and the programs that are led there are in :func:`programs`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import stat
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from certbot._internal import cli as certbot_cli
from certbot._internal.plugins.disco import PluginsRegistry

from certbot_qiniu.command import cli
from tests.package import DOCS
from tests.sandbox.process import LOOPBACK, free_port, until
from tests.sandbox.stack import (
    ALIYUN_KEYS,
    AT_DNSPOD,
    BIND_ACCOUNT,
    QINIU_KEYS,
    TENCENT_KEYS,
    Sandbox,
)
from tests.sandbox.webserver import HAProxy, find_server, served_fingerprint
from tests.sandbox.wire import Request, Response
from tests.unit.command.homes import acme_home, config_json, lego_home

FOLDER = DOCS / "recipes"
ENGLISH = sorted(path for path in FOLDER.glob("*.md") if not path.name.endswith(".zh-CN.md"))
PAGES = [path for path in ENGLISH if path.stem != "index"]
BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?```sh\n(?P<text>.*?)^```$",
                   re.MULTILINE | re.DOTALL)
KEYS = dict(zip(("YOUR_ALIYUN_ACCESS_KEY_ID", "YOUR_ALIYUN_ACCESS_KEY_SECRET",
                 "YOUR_QINIU_ACCESS_KEY", "YOUR_QINIU_SECRET_KEY"), (*ALIYUN_KEYS, *QINIU_KEYS),
                strict=True))
OTHER_KEYS = ("other-cloud-access-key", "other-cloud-secret-key")
AUTHORITY_WITH_EAB = "https://acme.digicert.com/v2/acme/directory"


def scripts(page: Path) -> list[tuple[str, str]]:
    """The blocks of a page: why one is not run, "" otherwise, and its text."""
    return [(block["why"] or "", block["text"])
            for block in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def commands(page: Path, program: str) -> list[list[str]]:
    """The arguments of each call of *program* in the blocks and in the text."""
    text = "\n".join(script for _, script in scripts(page)).replace("\\\n", "")
    found = re.findall(rf"^ ?{program} (.*?)(?: \|\| .*)?$", text, re.MULTILINE)
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    found += re.findall(rf"`{program} ([^`]+)`", prose)
    return [shlex.split(arguments, comments=True) for arguments in found]


def mapping(box: Sandbox, alerts: str, tls_port: int) -> dict[str, str]:
    """What stands in a recipe -> what stands for it in the sandbox."""
    root = box.directory
    return {
        "/etc/letsencrypt": str(box.config_dir),
        "/var/log/letsencrypt": str(box.config_dir / "logs"),
        "/etc/nginx": str(root / "nginx-etc"),
        "/etc/ssl-automation": str(root / "ssl-automation"),
        "/etc/haproxy": str(root / "haproxy"),
        "/var/www": str(root / "www"),
        "/var/lib/node_exporter": str(root / "metrics"),
        "/var/lib/prometheus/node-exporter": str(root / "metrics"),
        "/etc/prometheus": str(root / "prometheus-etc"),
        "contrib/prometheus": str(DOCS.parent / "contrib" / "prometheus"),
        # nginx runs without root, and may run twice on one machine.
        "listen 80;": f"listen 127.0.0.1:{box.http_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{box.nginx.port} ssl;",
        "bind :443 ssl": f"bind {LOOPBACK}:{tls_port} ssl",
        **KEYS,
        "YOUR_OTHER_ACCESS_KEY": OTHER_KEYS[0],
        "YOUR_OTHER_SECRET_KEY": OTHER_KEYS[1],
        "YOUR_TENCENTCLOUD_SECRET_ID": TENCENT_KEYS[0],
        "YOUR_TENCENTCLOUD_SECRET_KEY": TENCENT_KEYS[1],
        "img.example.com": f"img.{AT_DNSPOD}",
        AUTHORITY_WITH_EAB: box.acme.directory_url,
        "YOUR_KEY_ID": BIND_ACCOUNT[1],
        "YOUR_HMAC_KEY": BIND_ACCOUNT[3],
        "slack://TOKEN_A/TOKEN_B/TOKEN_C": alerts,
    }


def translate(text: str, words: dict[str, str]) -> str:
    """*text* with each of *words* replaced, the longest ones first, nothing twice."""
    longest = sorted(words, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest)), lambda found: words[found[0]], text)


def programs(box: Sandbox) -> Path:
    """A folder with what a recipe calls, as far as it must be led into the sandbox."""
    folder, real, root = box.directory / "bin", sysconfig.get_path("scripts"), box.directory
    folder.mkdir()
    # Tencent's own package asks certifi alone which authorities to trust.
    (folder / "certifi.py").write_text(
        "import os\n\n\ndef where():\n    return os.environ['REQUESTS_CA_BUNDLE']\n")
    folders = shlex.join(["--config-dir", str(box.config_dir), "--work-dir",
                          str(box.config_dir / "work"), "--logs-dir",
                          str(box.config_dir / "logs")])
    for name, body in {
        # No terminal, no waiting, and an authority of its own.
        "certbot": f'case " $* " in *" --server "*) ;; *) set -- "$@" --server '
                   f'{box.acme.directory_url};; esac\n'
                   f'PYTHONPATH={folder} exec {real}/certbot "$@" -n --no-eff-email '
                   "--no-random-sleep-on-renew "
                   "--dns-aliyun-propagation-seconds 0 --dns-tencent-propagation-seconds 0 "
                   f"{folders}",
        "certbot-qiniu": f'command=$1; shift; exec {real}/certbot-qiniu "$command" {folders} "$@"',
        "nginx": f'exec {box.nginx.test_command.removesuffix(" -t")} "$@"',
        "systemctl": 'case "$*" in "reload nginx") exec nginx -s reload;;\n'
                     f'"reload haproxy") [ -x {root}/reload-haproxy ] || exit 1; '
                     f'exec {root}/reload-haproxy;; esac\nexit 5',
        "haproxy": f'exec {find_server("haproxy")} "$@"',
        # Notes what every user of a machine could read of it, and what it was given.
        "othercloud": f'echo "$@" >> {root}/othercloud.argv\n'
                      f'stat -c "%a %n" "$2" >> {root}/othercloud.argv\n'
                      f'cat "$2" "$8" "${{10}}" > {root}/othercloud.got',
        "docker": '[ "$1 $2" = "exec nginx" ] || exit 125\nshift 2; exec "$@"',
    }.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        program.chmod(0o755)
    return folder


class Alerts(ThreadingHTTPServer):
    """A receiver of alerts: apprise's JSON."""

    def __init__(self) -> None:
        received = self.received = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append(json.loads(body)["message"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """For apprise."""
        return f"json://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def receiver() -> Iterator[Alerts]:
    """Run a receiver of alerts."""
    with Alerts() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Kitchen:
    """A sandbox in which a page is cooked.

    :ivar output: all that its commands have printed.
    :ivar tls_port: where a server that is not nginx speaks TLS.
    :ivar resources: closed at the end.
    """

    def __init__(self, box: Sandbox, alerts: Alerts, resources: contextlib.ExitStack) -> None:
        self.box, self.alerts, self.resources = box, alerts, resources
        self.output = ""
        self.tls_port = free_port()
        self._words = mapping(box, alerts.url, self.tls_port)
        self._home = box.directory / "home"
        for name in ("home", "www", "metrics", "nginx-etc/conf.d", "prometheus-etc"):
            (box.directory / name).mkdir(parents=True, exist_ok=True)
        box.nginx.configure([])
        text = box.nginx.configuration.read_text(encoding="utf-8")
        head, brace, _ = text.rpartition("}")
        box.nginx.configuration.write_text(
            f"{head}include {box.directory}/nginx-etc/conf.d/*.conf;\n{brace}\n", encoding="utf-8")
        self.environment = {**box.environment, "HOME": str(self._home),
                             "PATH": f"{programs(box)}:{os.environ['PATH']}"}
        self.environment.pop("LEGO_PATH", None)

    def cook(self, page: Path) -> None:
        """Run every block that is to be run."""
        for why, text in scripts(page):
            if why:
                continue
            script = translate(text, self._words)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script], env=self.environment,
                cwd=self._home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=100, check=False)
            self.output += done.stdout
            assert done.returncode == 0, f"{page.name}:\n{text}\n{done.stdout}"

    def assert_served(self, lineage: str, *names: str) -> None:
        """Fail unless all *names* serve the newest leaf of *lineage* at Qiniu."""
        newest = self.box.lineage_fingerprint(lineage)
        assert dict.fromkeys(names, newest) == {
            name: self.box.qiniu.serving(name).fingerprint for name in names}


@pytest.fixture
def kitchen(request: pytest.FixtureRequest) -> Iterator[Kitchen]:
    """A kitchen with a sandbox of the test's options."""
    options = getattr(request, "param", {})
    with receiver() as alerts, Sandbox(**options) as box, contextlib.ExitStack() as resources:
        yield Kitchen(box, alerts, resources)
        box.assert_sound()


# Checked without being run ----------------------------------------------------------------------


@pytest.mark.docs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_for_certbot(page: Path, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """certbot's own parser takes each of its commands, those in the text included."""
    plugins = PluginsRegistry.find_all()
    found = commands(page, "certbot")
    assert len(found) > 2
    absent = {"/var/www/certbot": str(tmp_path)}
    # certbot looks for the programs of hooks in the PATH; not every machine has systemd's.
    (tmp_path / "systemctl").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for arguments in found:
        if "…" in arguments or arguments == ["--version"]:
            continue
        monkeypatch.setattr(certbot_cli, "helpful_parser", None)
        words = [translate(word, absent) for word in arguments]
        parsed = certbot_cli.prepare_and_parse_args(plugins, words)
        assert parsed.verb == arguments[0]


@pytest.mark.docs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_for_ours(page: Path) -> None:
    """Our own parser takes each of our commands."""
    found = commands(page, "certbot-qiniu")
    assert len(found) > 3
    for arguments in found:
        assert callable(cli.parser().parse_args(arguments).run)


@pytest.mark.docs
@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_languages_agree(page: Path) -> None:
    """The Chinese page has the same blocks, headings and tables, and each links to the other."""
    chinese = page.with_name(f"{page.stem}.zh-CN.md")
    english_text, chinese_text = (path.read_text(encoding="utf-8") for path in (page, chinese))
    assert scripts(page) == scripts(chinese)

    def shape(text: str) -> list[str]:
        return re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE)

    def rows(text: str) -> list[int]:
        return [line.count("|") for line in text.splitlines() if line.startswith("|")]

    assert shape(english_text) == shape(chinese_text)
    assert rows(english_text) == rows(chinese_text)
    assert f"[中文]({chinese.name})" in english_text
    assert f"[English]({page.name})" in chinese_text


# Run --------------------------------------------------------------------------------------------


def aliyun_nginx_qiniu(kitchen: Kitchen) -> Callable[[], None]:
    """The article's script runs already, and there are two domains."""
    config_json(kitchen.box.directory)
    names = ("file.example.com", "cdn.example.com")
    kitchen.box.serve(*names)

    def check() -> None:
        kitchen.assert_served("example.com", *names)
        assert kitchen.box.nginx.served_fingerprint(
            "example.com") == kitchen.box.lineage_fingerprint("example.com")
        assert {True} == {kitchen.box.qiniu.serving(name).force_https for name in names}
        assert "file.example.com: published" in kitchen.output
        assert "certbot-qiniu renew --quiet" in kitchen.output
        assert "certbot deploys this certificate to Qiniu already" in kitchen.output
    return check


def from_acme_sh(kitchen: Kitchen) -> Callable[[], None]:
    """acme.sh has keys, and a certificate for a domain at Qiniu."""
    acme_home(kitchen.box.directory, {
        "Le_Domain": "oss.example.com", "Le_Webroot": "dns_ali", "Le_DeployHook": "qiniu",
        "QINIU_AK": QINIU_KEYS[0], "QINIU_SK": QINIU_KEYS[1]},
        dict(zip(("SAVED_Ali_Key", "SAVED_Ali_Secret"), ALIYUN_KEYS, strict=True)))
    kitchen.box.serve("oss.example.com")

    def check() -> None:
        assert "Written: " in kitchen.output
        assert "oss.example.com: published" in kitchen.output
        assert "No certificates found" in kitchen.output
        assert not any(secret in kitchen.output for secret in (ALIYUN_KEYS[1], QINIU_KEYS[1]))
        # The domain keeps the certificate that it has.
        assert "https" == kitchen.box.qiniu.serving("oss.example.com").protocol
    return check


def dnspod_one_cdn_domain(kitchen: Kitchen) -> Callable[[], None]:
    """acme.sh has a certificate, and a script of the user's has the keys."""
    name = f"img.{AT_DNSPOD}"
    acme_home(kitchen.box.directory, {
        "Le_Domain": name, "Le_Webroot": "dns_dp",
        "Le_ReloadCmd": "bash /usr/local/bin/on-cert-renew.sh qiniu"}, {})
    kitchen.box.serve(name)

    def check() -> None:
        kitchen.assert_served(name, name)
        assert "Le_ReloadCmd in " in kitchen.output
        assert "an old one" in kitchen.output  # somebody else's certificate was not cleaned up
    return check


def from_lego_docker_nginx(kitchen: Kitchen) -> Callable[[], None]:
    """lego has a certificate."""
    lego_home(kitchen.box.directory, "example.com", "*.example.com")
    kitchen.box.serve("www.example.com")

    def check() -> None:
        kitchen.assert_served("example.com", "www.example.com")
        assert kitchen.box.nginx.served_fingerprint(
            "example.com") == kitchen.box.lineage_fingerprint("example.com")
        assert "-a AUTHENTICATOR" in kitchen.output
    return check


def authority_alerts_fleet(kitchen: Kitchen) -> Callable[[], None]:
    """There is a domain, and somebody listens to alerts."""
    kitchen.box.serve("www.example.com")

    def check() -> None:
        kitchen.assert_served("example.com", "www.example.com")
        assert "exit status 1" in kitchen.output
        assert 2 == len(kitchen.alerts.received)
        assert ["www.example.com" in text for text in kitchen.alerts.received] == [True, True]
        metrics = (kitchen.box.directory / "metrics" / "certbot_qiniu.prom").read_text()
        assert 'domain="www.example.com"' in metrics
    return check


def haproxy_another_cloud(kitchen: Kitchen) -> Callable[[], None]:
    """HAProxy runs, and does not speak TLS yet."""
    box, root = kitchen.box, kitchen.box.directory
    box.serve("www.example.com")
    proxy = HAProxy(root / "haproxy")
    proxy.start()
    kitchen.resources.callback(proxy.stop)
    reload = root / "reload-haproxy"
    reload.write_text(f"#!/bin/sh\n{proxy.reload_command}\n")
    reload.chmod(0o755)

    def served() -> str:
        return served_fingerprint("example.com", kitchen.tls_port)

    def renew(*arguments: str, status: int) -> str:
        done = box.certbot("renew", *arguments, environment=kitchen.environment, check=False)
        assert status == done.returncode, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    def check() -> None:
        newest = box.lineage_fingerprint("example.com")
        until(lambda: served() == newest, "HAProxy serves the newest certificate")
        kitchen.assert_served("example.com", "www.example.com")
        certificates = list((root / "haproxy" / "certs").iterdir())
        assert ["example.com.pem"] == [path.name for path in certificates]
        assert 0o600 == stat.S_IMODE(certificates[0].stat().st_mode)
        key = (box.config_dir / "live" / "example.com" / "privkey.pem").read_text()
        assert key in (root / "othercloud.got").read_text()
        assert OTHER_KEYS[1] in (root / "othercloud.got").read_text()
        seen = (root / "othercloud.argv").read_text()
        assert f"600 {box.config_dir}/othercloud.ini" in seen
        assert 4 == len(seen.splitlines()), "twice: it was issued and renewed once"
        secrets = [OTHER_KEYS[1], *(line for line in key.splitlines() if "-" not in line)]
        assert not [secret for secret in secrets if secret in seen + kitchen.output]

        # A reload that fails is run again by the next renewal.
        reload.chmod(0o644)
        told = renew("--force-renewal", status=1)
        assert f"The hook {box.config_dir}/qiniu-hooks/10-haproxy failed: exit status 1" in told
        assert newest == served()
        assert 6 == len((root / "othercloud.argv").read_text().splitlines())
        reload.chmod(0o755)
        renew(status=0)
        newest = box.lineage_fingerprint("example.com")
        until(lambda: served() == newest, "HAProxy serves the newest certificate")
        assert 6 == len((root / "othercloud.argv").read_text().splitlines())
    return check


class Heartbeats:
    """healthchecks.io, and an Uptime Kuma."""

    hosts = ("hc-ping.com", "kuma.example.com")

    def handle(self, _: Request) -> Response:
        """Note the call."""
        return Response(200)


def monitoring(kitchen: Kitchen) -> Callable[[], None]:
    """There is a domain, and services that wait for calls."""
    kitchen.box.serve("www.example.com")

    def check() -> None:
        board = kitchen.box.board
        assert {"hc-ping.com": ["/YOUR_UUID"],
                "kuma.example.com": ["/api/push/YOUR_PUSH_TOKEN?status=up&msg=OK"]} == {
            host: [call.request.target for call in board.calls(f"GET {host}")]
            for host in Heartbeats.hosts}, "each once: not when something is wrong"
        assert "exit status 1" in kitchen.output
        assert 'certbot_qiniu_domain_in_sync{domain="www.example.com"} 1' in kitchen.output
        assert "SUCCESS: 10 rules found" in kitchen.output
    return check


RECIPES = {page.stem: globals()[page.stem.replace("-", "_")] for page in PAGES}
SANDBOXES: dict[str, dict[str, Any]] = {"authority-alerts-fleet": {"external_account": True},
                                        "monitoring": {"others": [Heartbeats()]}}


@pytest.mark.programs
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("name", "kitchen"), [
    pytest.param(name, SANDBOXES.get(name, {}), id=name,
                 marks=[pytest.mark.programs("promtool")] * (name == "monitoring"))
    for name in RECIPES], indirect=["kitchen"])
def test_recipe(name: str, kitchen: Kitchen) -> None:
    """From its first command to its last, a page does what it says."""
    check = RECIPES[name](kitchen)
    kitchen.cook(FOLDER / f"{name}.md")
    check()
