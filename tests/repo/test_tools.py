"""What the make targets rest on."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.package import ROOT

pytestmark = pytest.mark.docs


def test_lowest() -> None:
    """The constraints have each lower bound of setup.py, as the one version that is allowed."""
    done = subprocess.run([sys.executable, "tools/lowest.py"], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    required = (ROOT / "setup.py").read_text("utf-8").partition("extras_require")[0]
    bounds = re.findall(r'"([\w.-]+)>=([\d.]+)",', required)
    assert len(bounds) > 8
    assert {f"{name}=={version}" for name, version in bounds} == {
        line for line in done.stdout.split() if "==" in line}


def test_help() -> None:
    """``make help`` names every target, and how long those take that take long."""
    text = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^([a-z-]+):", text, re.MULTILINE)
    done = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    shown = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert set(targets) == set(shown)
    assert {"help", "clean"} == {
        name for name, words in shown.items() if not re.search(r"\b(\d+ (s|min)|hours)\)", words)}


def test_ci_runs_everything() -> None:
    """Continuous integration runs ``make test``, and all other tests but the slow histories."""
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    command = text.splitlines()[-1].split()
    assert {"check", "test", "test-slow", "test-machines", "lowest", "demo"} <= set(command)
    assert "CERTBOT_QINIU_NO_SKIPS=1" in text
    assert 'SLOW="slow and not random"' in text
