"""The image next to nginx in a container, as contrib/compose.yaml has them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.machines import roots
from tests.machines.conftest import CLI_INI, WHEELS
from tests.machines.machine import LIMITS, REMOVE, Machine, podman
from tests.machines.renewals import TLS_SITE
from tests.package import ROOT
from tests.sandbox.pki import fingerprint
from tests.sandbox.process import until
from tests.sandbox.stack import Sandbox

WWW, DAY = "www.example.com", 86400
COMPOSE = ROOT / "contrib" / "compose.yaml"
CA_PATH = "/etc/letsencrypt/sandbox.pem"


@pytest.fixture(scope="module")
def image(release: int, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, built on nothing but a base system."""
    base, built = f"localhost/certbot-qiniu-base:{release}", f"localhost/certbot-qiniu:{release}"
    root = roots.root(release) / "root"
    pip_conf = tmp_path_factory.mktemp("pip") / "pip.conf"
    pip_conf.write_text(f"[global]\nno-index = true\nfind-links = {WHEELS}\n")
    try:
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            done = podman("import", "-", base, stdin=tar.stdout)
        assert done.returncode == 0, done.stdout
        done = podman(  # without layers, which would be left behind
            "build", "--network=none", "--format=docker", "--layers=false", *LIMITS,
            f"--build-arg=BASE={base}", f"--volume={roots.wheels()}:{WHEELS}:ro",
            f"--volume={pip_conf}:/etc/pip.conf:ro", f"--file={checkout}/Containerfile",
            f"--tag={built}", str(checkout))
        assert done.returncode == 0, done.stdout
        yield built
    finally:
        podman("rmi", "--force", built, base)


class Pair:
    """Both containers, in the network of a machine.

    :ivar folder: what compose.yaml has next to it.
    """

    def __init__(self, machine: Machine, box: Sandbox, image: str, folder: Path) -> None:
        self.machine, self.folder, self._image = machine, folder, image
        self._services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
        self._environment = {**machine.environment, "REQUESTS_CA_BUNDLE": CA_PATH}
        for service in self._services.values():
            for volume in service["volumes"]:
                (folder / volume.partition(":")[0]).mkdir(exist_ok=True)
        self.put("letsencrypt/cli.ini", CLI_INI.format(server=box.acme.directory_url)
                 + "dns-aliyun-propagation-seconds = 0\n")
        self.put("letsencrypt/sandbox.pem",
                 Path(box.environment["REQUESTS_CA_BUNDLE"]).read_text("ascii"))
        self.put("hosts", "127.0.0.1 localhost\n")
        self.put("letsencrypt/qiniu.ini", box.credentials_path.read_text("ascii"))

    def put(self, path: str, text: str) -> None:
        """Write a file, for its owner alone."""
        (self.folder / path).touch(0o600)
        (self.folder / path).write_text(text)

    def name(self, service: str) -> str:
        """The name of a service's container."""
        return f"{self.machine.name}-{service}"

    def start_nginx(self, root: Path) -> None:
        """Start it, from the base system."""
        self._run("nginx", ["--detach", f"--name={self.name('nginx')}"],
                  ["--rootfs", f"{root}:O", "nginx", "-g", "daemon off;"])

    def certbot(self, *command: str) -> str:
        """What a command of the image says when it succeeds."""
        return self._run("certbot", ["--rm"], [self._image, *command])

    def start_loop(self) -> None:
        """Start the image as it is."""
        self._run("certbot", ["--detach", f"--name={self.name('certbot')}"], [self._image])

    def _run(self, service: str, options: list[str], what: list[str]) -> str:
        """Run a container with what compose.yaml says of its service."""
        said = self._services[service]
        if "pid" in said:
            assert said["pid"] == said["network_mode"] == "service:nginx"
            options += [f"--pid=container:{self.name('nginx')}"]
        done = podman(
            "run", *options, f"--network=container:{self.machine.name}", "--no-hosts", *LIMITS,
            "--health-interval=disable", f"--volume={self.folder}/hosts:/etc/hosts:ro",
            *(f"--volume={self.folder}/{volume.removeprefix('./')}" for volume in said["volumes"]),
            *(f"--env={name}={value}" for name, value in self._environment.items()), *what)
        assert done.returncode == 0, done.stdout
        return done.stdout

    @property
    def newest(self) -> str:
        """The fingerprint of the lineage's newest leaf."""
        return fingerprint((self.folder / f"letsencrypt/live/{WWW}/cert.pem").read_text())

    def is_healthy(self) -> bool:
        """Whether the image's HEALTHCHECK says so."""
        return podman("healthcheck", "run", self.name("certbot")).returncode == 0

    def logs(self) -> str:
        """All that the loop has said."""
        return podman("logs", self.name("certbot")).stdout


@pytest.fixture
def pair(bare: Machine, box: Sandbox, image: str, release: int, tmp_path: Path) -> Iterator[Pair]:
    """nginx, which runs and has no site yet."""
    bare.systemctl("disable", "--now", "nginx")
    found = Pair(bare, box, image, tmp_path)
    try:
        found.start_nginx(roots.root(release) / "root")
        yield found
    finally:
        podman(*REMOVE, found.name("certbot"))
        podman(*REMOVE, found.name("nginx"))


def test_compose(pair: Pair, box: Sandbox) -> None:
    """A renewal by the loop reaches Qiniu and nginx, and the health check follows what happens."""
    box.serve(WWW)
    first = re.sub(r"\\\n#", "", COMPOSE.read_text("utf-8"))
    [command] = re.findall(r"run --rm certbot (certbot run .*)", first)
    pair.certbot(*shlex.split(command))
    assert pair.newest == box.qiniu.serving(WWW).fingerprint
    pair.put("conf.d/www.conf", TLS_SITE.format(name=WWW, lineage=WWW))
    assert podman("exec", pair.name("nginx"), "nginx", "-s", "reload").returncode == 0
    before = pair.newest
    until(lambda: pair.machine.serves(WWW) == before, "nginx has the site")

    conf = pair.folder / f"letsencrypt/renewal/{WWW}.conf"
    conf.write_text("renew_before_expiry = 100 years\n" + conf.read_text())
    pair.start_loop()
    until(lambda: "next renewal at" in pair.logs(), "a renewal has ended", seconds=120)
    assert before != pair.newest == box.qiniu.serving(WWW).fingerprint, pair.logs()
    assert pair.machine.serves(WWW) == pair.newest
    assert "unconfirmed" not in pair.logs()
    assert "no volume" not in pair.logs()
    assert pair.is_healthy()

    file = pair.folder / "letsencrypt/qiniu/loop.json"
    health = json.loads(file.read_text())
    file.write_text(json.dumps({**health, "failing_since": time.time() - DAY}))
    assert not pair.is_healthy()
    podman("restart", pair.name("certbot"))
    until(pair.is_healthy, "a renewal has succeeded", seconds=120)
    assert pair.machine.serves(WWW) == pair.newest

    podman("stop", "--time=60", pair.name("certbot"))
    ended = podman("inspect", "--format={{.State.ExitCode}}", pair.name("certbot")).stdout
    assert ended.strip() == "0", pair.logs()


def test_without_volumes(image: str) -> None:
    """Temporary volumes of the engine are distinguished from kept ones."""
    said = podman("run", "--rm", "--network=none", "--no-hosts", *LIMITS, image,
                  "certbot-qiniu", "doctor").stdout
    for path in ("/etc/letsencrypt", "/var/lib/letsencrypt"):
        assert f"{path} is no volume of this container, or one without a name" in said
