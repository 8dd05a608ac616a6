"""README's words, as they stand there, on a machine that has what they ask for."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.machines.conftest import CHECKOUT
from tests.machines.machine import Machine
from tests.machines.renewals import make_due, run_service, said_by_service
from tests.package import ROOT
from tests.sandbox.stack import ALIYUN_KEYS, QINIU_KEYS, Sandbox

STEPS = 5
UNITS_BY_HAND = "docs/setup.md"
_STEP = re.compile(r"^## \d+\. .*?\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (/\S+)\n")


def blocks(readme: str) -> list[tuple[str, str]]:
    """What is to be done: a path and what to write there, or "" and what to run."""
    steps = _STEP.findall((ROOT / readme).read_text("utf-8"))
    assert len(steps) == STEPS
    found = []
    for kind, text in (block for step in steps for block in _BLOCK.findall(step)):
        file = _FILE.match(text)
        assert kind == "sh" or file, text
        found.append((file[1] if file else "", text))
    return found


def files(page: str) -> list[tuple[str, str]]:
    """The files that a page has in full: path and text."""
    found = [(match[1], text) for _, text in _BLOCK.findall((ROOT / page).read_text("utf-8"))
             if (match := _FILE.match(text))]
    assert found
    return found


def with_keys(text: str) -> str:
    """*text* with keys where the reader has to put his own."""
    keys = iter((*ALIYUN_KEYS, *QINIU_KEYS))
    return re.sub(r"= \S*…$", lambda _: f"= {next(keys)}", text, flags=re.MULTILINE)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_steps_word_for_word(readme: str, bare: Machine, box: Sandbox) -> None:
    """Every command and file, up to doctor; the service of the timer renews and deploys."""
    box.serve("www.example.com")
    box.serve("img.example.com")
    bare.script("echo dns-aliyun-propagation-seconds = 0 >> /etc/letsencrypt/cli.ini")
    for path, text in blocks(readme):
        if path:  # by an editor, into what is there
            bare.script(f"cat > {shlex.quote(path)}", stdin=with_keys(text))
            assert "600" == bare.run("stat", "-c%a", path).stdout.strip()
        else:
            bare.script(text, folder=CHECKOUT)
    assert "doctor" in text
    first = bare.fingerprint("example.com")
    for name in ("www.example.com", "img.example.com"):
        assert first == box.qiniu.serving(name).fingerprint
    assert "enabled" == bare.systemctl("is-enabled", "certbot-qiniu.timer").strip()
    bare.script("certbot-qiniu status")

    make_due(bare, "example.com")
    assert "success" == run_service(bare), said_by_service(bare)
    assert first != bare.fingerprint("example.com")
    assert bare.fingerprint("example.com") == box.qiniu.serving("www.example.com").fingerprint

    # Ours replace units by hand, and keep them.
    for path, text in files(UNITS_BY_HAND):
        bare.put(path, text)
    bare.script("systemctl daemon-reload && systemctl enable --now certbot-qiniu.timer")
    assert "Kept: " in bare.run("certbot-qiniu", "install-timer").stdout
