"""README's words, as they stand there, on a machine that has what they ask for."""

from __future__ import annotations

import re

from tests.machines.conftest import CHECKOUT
from tests.machines.machine import Machine
from tests.machines.renewals import make_due, run_service, said_by_service
from tests.package import ROOT
from tests.sandbox.stack import ALIYUN_KEYS, QINIU_KEYS, Sandbox

SECTIONS = ("Install", "Credentials", "The first certificate", "Renewal")
_SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (/\S+)\n")


def blocks() -> list[tuple[str, str]]:
    """What is to be done: a path and what to write there, or "" and what to run."""
    sections = dict(_SECTION.findall((ROOT / "README.md").read_text("utf-8")))
    found = []
    for kind, text in (block for name in SECTIONS for block in _BLOCK.findall(sections[name])):
        file = _FILE.match(text)
        if kind == "sh" or file:
            found.append((file[1] if file else "", text))
    return found


def with_keys(text: str) -> str:
    """*text* with keys where the reader has to put his own."""
    keys = iter((*ALIYUN_KEYS, *QINIU_KEYS))
    return re.sub(r"= \S*…$", lambda _: f"= {next(keys)}", text, flags=re.MULTILINE)


def test_installation_word_for_word(bare: Machine, box: Sandbox) -> None:
    """Every command and file up to the timer; the service that it starts renews and deploys."""
    box.serve("www.example.com")
    bare.script("echo dns-aliyun-propagation-seconds = 0 >> /etc/letsencrypt/cli.ini")
    done = blocks()
    assert len(done) > 5
    for path, text in done:
        if path:
            bare.put(path, with_keys(text))
        else:
            bare.script(text, folder=CHECKOUT)
    first = bare.fingerprint("example.com")
    assert first == box.qiniu.serving("www.example.com").fingerprint
    assert "enabled" == bare.systemctl("is-enabled", "certbot-qiniu.timer").strip()
    # The last of README's ways are units by hand. Ours replace and keep them.
    assert "Kept: " in bare.run("certbot-qiniu", "install-timer").stdout
    bare.script("certbot-qiniu status && certbot-qiniu doctor")

    make_due(bare, "example.com")
    assert "success" == run_service(bare), said_by_service(bare)
    assert first != bare.fingerprint("example.com")
    assert bare.fingerprint("example.com") == box.qiniu.serving("www.example.com").fingerprint
