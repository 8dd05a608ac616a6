"""What the documentation shows of the command is what it really prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.package import DOCS, ROOT
from tests.scenarios.command import APEX, IMG, WILD, WWW, Seat
from tests.scenarios.machine import Cloud

HOUR = 3600
PAGES = (DOCS / "cli.md", DOCS / "cli.zh-CN.md")
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
COMMANDS = ("status", "plan", "apply", "certificates", "forget")


def timeless(text: str) -> str:
    """*text* with other words for what differs each time, of the same length."""
    return re.sub(r"\b\d{4}-\d\d-\d\d\b|(?<=[_ ])[0-9a-f]{12}\b|\b[0-9a-f]{24}\b",
                  lambda found: "x" * len(found[0]), text)


def shown(page: Path, command: str) -> str:
    """The example that a page has of a command."""
    [text] = re.findall(rf"^```text\n\$ certbot-qiniu {command}\b[^\n]*\n(.+?)^```$",
                        page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return timeless(str(text))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command prints of the account that the pages are about."""
    cloud = Cloud()
    old = cloud.stranger(APEX, f"*{WILD}", days=40)
    for name in (WWW, IMG, "shop.example.org"):
        cloud.qiniu.add_domain(name, protocol="https", cert_id=old)
    cloud.qiniu.add_domain(WILD, kind="wildcard", protocol="https", cert_id=old)
    cloud.qiniu.add_domain(APEX)
    cloud.qiniu.add_domain("dl.example.com")
    cloud.qiniu.add_domain("frozen.example.com", state="frozen")
    machine = Seat(cloud, tmp_path_factory.mktemp("machine"))
    assert machine.issue(APEX, f"*{WILD}").status == 0
    cloud.clock.sleep(HOUR)
    cloud.qiniu.change_domain(IMG, cert_id=cloud.stranger(IMG, days=9, name="img-2025-ssl"))
    found = {command: machine.run(command).output for command in ("status", "plan", "apply")}
    for renew in (machine.force_renewal, machine.renew, machine.force_renewal):
        cloud.clock.sleep(HOUR)
        assert renew().status == 0
    cloud.clock.sleep(HOUR)
    found["certificates"] = machine.run("certificates").output
    for name in (IMG, WWW):
        cloud.qiniu.remove_domain(name)
    found["forget"] = machine.run("forget", "--cert-name", APEX).output
    return {command: timeless(output) for command, output in found.items()}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_example(page: Path, command: str, outputs: dict[str, str]) -> None:
    """It is the whole of it."""
    assert shown(page, command) == outputs[command]


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_readme(page: Path, outputs: dict[str, str]) -> None:
    """A part of the same status."""
    lines = shown(page, "status").splitlines()
    assert [line for line in outputs["status"].splitlines() if line in lines] == lines
