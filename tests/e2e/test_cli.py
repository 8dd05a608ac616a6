"""The installed command, over TLS, on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

from certbot_qiniu import environment
from tests.sandbox.stack import ACCOUNT, Sandbox
from tests.scenarios.command import APEX, WILD, WWW
from tests.scenarios.test_cli import rows


@pytest.mark.programs
def test_reader_that_went_away(sandbox: Sandbox) -> None:
    """`certbot-qiniu doctor | true` ends without a traceback."""
    with subprocess.Popen([environment.program("certbot-qiniu"), "doctor", "--config-dir",
                           str(sandbox.config_dir)],
                          env=sandbox.environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.programs
def test_real_command(sandbox: Sandbox) -> None:
    """The installed program, over TLS: plain in a pipe, coloured on a terminal unless NO_COLOR."""
    old = sandbox.qiniu.add_certificate(Path(sandbox.bootstrap[0]).read_text(), name="old")
    sandbox.qiniu.add_domain(WWW, protocol="https", cert_id=old)
    sandbox.certbot("run", *sandbox.aliyun, *ACCOUNT, "-i", "qiniu", "--qiniu-credentials",
                    str(sandbox.credentials_path), "--qiniu-nginx-test-cmd",
                    sandbox.nginx.test_command, "--qiniu-nginx-reload-cmd",
                    sandbox.nginx.reload_command, "-d", APEX, "-d", f"*{WILD}")
    home = sandbox.config_dir
    folders = ["--config-dir", str(home), "--work-dir", str(home / "work"), "--logs-dir",
               str(home / "logs")]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment.program("certbot-qiniu"), arguments[0], *folders, *arguments[1:]],
            env=sandbox.environment, capture_output=True, text=True, timeout=60, check=False)

    plain = run("status")
    assert (plain.returncode, plain.stderr) == (0, "")
    assert rows(plain.stdout)[WWW][-1] == "yes"
    assert "\x1b" not in plain.stdout
    assert json.loads(run("status", "--json").stdout)["level"] == "ok"
    checks = {(check["topic"], check["level"])
              for check in json.loads(run("doctor", "--json").stdout)["checks"]}
    assert checks >= {(topic, "ok") for topic in (
        "renewal", "credentials", "Qiniu", "plugin", "clock", "nginx")}
    sandbox.qiniu.change_domain(WWW, cert_id=old)
    assert run("status").returncode == 1
    applied = run("apply")
    assert applied.returncode == 0, applied.stderr
    assert sandbox.lineage_fingerprint(APEX) == wait_for(sandbox, WWW)
    shown = {}
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        child = pexpect.spawn(
            environment.program("certbot-qiniu"), ["status", *folders], dimensions=(40, 100),
            env={**sandbox.environment, "TERM": "xterm-256color", variable: "1"},
            encoding="utf-8", timeout=60)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0, child.before
        shown[variable] = child.before or ""
        assert max(map(len, re.sub(r"\x1b\[[\d;?]*\w", "", shown[variable]).splitlines())) <= 100
    assert "\x1b[32m" in shown["FORCE_COLOR"]
    assert not re.search(r"\x1b\[[\d;]*3\dm", shown["NO_COLOR"])


def wait_for(sandbox: Sandbox, name: str) -> str:
    """The fingerprint that a domain serves once it is published."""
    deadline = time.monotonic() + 10
    while sandbox.qiniu.serving(name).state == "processing" and time.monotonic() < deadline:
        os.sched_yield()
    return sandbox.qiniu.serving(name).fingerprint
