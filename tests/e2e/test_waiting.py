"""Waiting and failing before a user's eyes: real certbot on a terminal, and real signals."""

from __future__ import annotations

import os
import re
import signal
import sysconfig
import time
from collections.abc import Iterator

import pexpect
import pytest

from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.stack import ACCOUNT, Sandbox
from tests.sandbox.wire import Fault, Request

pytestmark = pytest.mark.programs

LABELS = ("a", "b", "c", "d", "e")
LONG, SHORT = 300.0, 0.2


class Site:
    """A sandbox, and five domains of its own for each certificate."""

    def __init__(self, box: Sandbox) -> None:
        self.box, self.qiniu, self.number = box, box.qiniu, 0
        self.lineage = ""

    def begin(self, publish_seconds: float) -> list[str]:
        """Add the domains of another certificate."""
        self.qiniu.switches.publish_seconds = publish_seconds
        self.number += 1
        self.lineage = f"t{self.number}.example.com"
        names = [f"{label}.{self.lineage}" for label in LABELS]
        for name in names:
            self.qiniu.add_domain(name)
        return names

    def run(self, *names: str) -> pexpect.spawn[str]:
        """Begin the first command on a terminal."""
        domains = [word for name in names for word in ("-d", name)]
        return self.certbot("run", *self.box.aliyun, *ACCOUNT, "--cert-name", self.lineage,
                            *domains, "--no-redirect")

    def certbot(self, *arguments: str) -> pexpect.spawn[str]:
        """Begin certbot with the plugin on a terminal."""
        home = self.box.config_dir
        return pexpect.spawn(os.path.join(sysconfig.get_path("scripts"), "certbot"), [
            *arguments, "-n", "-i", "qiniu", "--qiniu-credentials",
            str(self.box.credentials_path), "--qiniu-skip-nginx", "--config-dir", str(home),
            "--work-dir", str(home / "work"), "--logs-dir", str(home / "logs"), "--server",
            self.box.acme.directory_url, "--no-random-sleep-on-renew"],
            env=self.box.environment, encoding="utf-8", timeout=60, dimensions=(50, 300))

    def served(self, *names: str) -> list[bool]:
        """Which domains serve the certificate."""
        leaf = self.box.lineage_fingerprint(self.lineage)
        return [self.qiniu.serving(name).fingerprint == leaf for name in names]

    @property
    def state(self) -> str:
        """What is wanted."""
        return (self.box.config_dir / "qiniu" / "state" / f"{self.lineage}.json").read_text()


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """One sandbox for all, as each takes seconds to start."""
    with Sandbox(with_nginx=False, switches=Switches()) as box:
        yield box


@pytest.fixture(scope="module")
def site(box: Sandbox) -> Site:
    """Its domains."""
    return Site(box)


def end(child: pexpect.spawn[str]) -> tuple[int, str]:
    """The exit status, negative for a signal, and what was said at last, unwrapped."""
    child.expect(pexpect.EOF)
    child.close()
    text = " ".join(re.sub(r"\x1b\[\d*[A-Za-z]", "", child.before or "").split())
    return (child.exitstatus if child.exitstatus is not None else -child.signalstatus), text


def test_one_of_five_fails(site: Site) -> None:
    """Four keep the certificate, the fifth is named, and the message ends with the command."""
    names = site.begin(SHORT)
    site.qiniu.fail_next_publication(names[2])
    status, said = end(site.run(*names))
    assert 1 == status, said
    assert [True, True, False, True, True] == site.served(*names)
    assert f"Qiniu could not publish the change of {names[2]}" in said
    assert "restored" not in said
    assert f"To try again now: certbot install --cert-name {site.lineage} -i qiniu" in said
    assert names[0] in site.state


def test_all_fail(site: Site) -> None:
    """If no domain takes it, certbot restores, and says so truly."""
    names = site.begin(SHORT)
    for name in names:
        site.qiniu.fail_next_publication(name)
    status, said = end(site.run(*names))
    assert 1 == status, said
    assert [False] * 5 == site.served(*names)
    assert "certbot puts back what was served before" in said
    assert names[0] not in site.state


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM],
                                  ids=lambda number: signal.Signals(number).name)


@SIGNALS
def test_one_signal(site: Site, number: int) -> None:
    """It stops the waiting alone: exit status 0, and the next renew confirms what was sent."""
    names = site.begin(LONG)
    child = site.run(*names[:2])
    child.expect(r"Waiting for Qiniu, 0:0\d: 2 domains left")
    child.kill(number)
    status, said = end(child)
    assert 0 == status, said
    assert f"Qiniu goes on with {names[0]}, {names[1]}; the next certbot renew" in said
    assert names[0] in site.state


@SIGNALS
def test_two_signals(site: Site, number: int) -> None:
    """certbot puts the file back, and what still gets the certificate is named."""
    names = site.begin(LONG)
    child = site.run(*names[:2])
    child.expect(r"Waiting for Qiniu, 0:0\d: 2 domains left")

    def twice(_: Request) -> None:
        for _ in range(2):
            child.kill(number)
            time.sleep(0.3)  # two at once are one to the kernel

    # While certbot asks, so that it cannot end between the two.
    site.box.board.arm(Fault("hook", hook=twice), match="qiniu")
    status, said = end(child)
    assert 1 == status, said
    assert f"{names[0]} still gets the new certificate" in said
    assert "successfully restored" not in said
    assert names[0] not in site.state


def test_ctrl_c_on_the_keyboard(site: Site) -> None:
    """The key itself does what the signal does."""
    names = site.begin(LONG)
    child = site.run(names[0])
    child.expect(r"Waiting for Qiniu, 0:0\d: 1 domain left")
    child.sendintr()
    status, said = end(child)
    assert 0 == status, said


def test_disabled_updates(site: Site) -> None:
    """A renewal under --disable-renew-updates is deployed, and who looks after it is said."""
    names = site.begin(SHORT)
    assert 0 == end(site.run(names[0]))[0]
    status, said = end(site.certbot("renew", "--cert-name", site.lineage, "--force-renewal",
                                    "--disable-renew-updates"))
    assert 0 == status, said
    assert f"certbot-qiniu apply --cert-name {site.lineage}" in said
    assert f"{names[0]}: certificate certbot_" in said
    assert site.lineage in site.state
