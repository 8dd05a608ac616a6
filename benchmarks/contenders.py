"""Who is measured, and at what: the plugin, the article's hook, and a plain sequential client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cloud import Cloud, Measurement
from tests.sandbox.lineages import write_renewal, write_version
from tests.sandbox.pki import Leaf
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY

LINEAGE = "example.com"
SCENARIOS = ("first issuance", "renewal", "confirmation", "nothing to do", "one drifted domain",
             "rollback")


class _Machine:
    """A machine with certbot's files, whose certificate is renewed by writing another version."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.config_dir = cloud.directory / "etc"
        self.live = self.config_dir / "live" / LINEAGE

    def new_version(self) -> Leaf:
        leaf = self.cloud.authority.intermediate("Benchmark CA").issue(LINEAGE, f"*.{LINEAGE}")
        write_version(self.config_dir, LINEAGE, leaf)
        return leaf

    def drift(self) -> None:
        self.cloud.qiniu.change_domain(self.cloud.domains[0], cert_id=self.cloud.stranger())


def plugin(cloud: Cloud) -> Iterator[tuple[str, Measurement]]:
    """certbot with the plugin: whole runs, certbot's own start included.

    A renewal is a version that is on disk and nowhere else yet, which ``certbot renew`` brings to
    Qiniu by ``generic_updates``; issuing it would measure the authority.
    """
    machine = _Machine(cloud)
    credentials = cloud.directory / "qiniu.ini"
    credentials.touch(0o600)
    credentials.write_text(f"qiniu_access_key = {ACCESS_KEY}\nqiniu_secret_key = {SECRET_KEY}\n",
                           encoding="ascii")
    options = ("-i", "qiniu", "--qiniu-credentials", str(credentials), "--qiniu-skip-nginx")

    def certbot(*arguments: str) -> Measurement:
        return cloud.run(
            "certbot.main:main", *arguments, "-n", "--config-dir", str(machine.config_dir),
            "--work-dir", str(cloud.directory / "work"), "--logs-dir",
            str(cloud.directory / "logs"), "--server", "https://127.0.0.1:1/dir")

    def renew() -> Measurement:
        return certbot("renew", "--no-random-sleep-on-renew")

    first = machine.new_version()
    write_renewal(machine.config_dir, LINEAGE, {
        "authenticator": "standalone", "installer": "qiniu", "qiniu_credentials": credentials,
        "qiniu_skip_nginx": True, "server": "https://127.0.0.1:1/dir"})
    yield "first issuance", certbot("install", "--cert-name", LINEAGE, *options)
    cloud.assert_served(first.fingerprint)
    renew()
    second = machine.new_version()
    yield "renewal", renew()
    cloud.assert_served(second.fingerprint)
    yield "confirmation", renew()
    yield "nothing to do", renew()
    machine.drift()
    yield "one drifted domain", renew()
    cloud.assert_served(second.fingerprint)
    renew()
    yield "rollback", certbot("rollback", *options)
    cloud.assert_served(first.fingerprint)


def hook(cloud: Cloud) -> Iterator[tuple[str, Measurement]]:
    """The article's hook, which runs after a renewal and knows of nothing else."""
    machine = _Machine(cloud)
    for scenario in ("first issuance", "renewal"):
        leaf = machine.new_version()
        yield scenario, _client(cloud, machine.live)
        cloud.assert_served(leaf.fingerprint)


def sequential(cloud: Cloud) -> Iterator[tuple[str, Measurement]]:
    """A client that reads each domain before it changes it, one after the other."""
    machine = _Machine(cloud)
    ids = []
    for scenario in ("first issuance", "renewal"):
        leaf = machine.new_version()
        done = _client(cloud, machine.live, careful=True)
        ids.append(done.output.strip())
        yield scenario, done
        cloud.assert_served(leaf.fingerprint)
    yield "nothing to do", _client(cloud, machine.live, careful=True, cert_id=ids[1])
    machine.drift()
    yield "one drifted domain", _client(cloud, machine.live, careful=True, cert_id=ids[1])
    cloud.assert_served(leaf.fingerprint)
    yield "rollback", _client(cloud, machine.live, careful=True, cert_id=ids[0])


def _client(cloud: Cloud, live: Path, *, careful: bool = False, cert_id: str = "") -> Measurement:
    return cloud.run("benchmarks.seed:main", text=json.dumps({
        "keys": [ACCESS_KEY, SECRET_KEY], "live": str(live), "domains": cloud.domains,
        "careful": careful, "cert_id": cert_id}))


CONTENDERS = {"plugin": plugin, "hook": hook, "sequential": sequential}
