"""The metrics and the alerts, as Prometheus' own programs see them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from certbot_qiniu import environment
from certbot_qiniu.command.survey import metrics
from certbot_qiniu.command.survey.judge import judge
from certbot_qiniu.targets.hook import Hook
from tests.package import DOCS, ROOT
from tests.sandbox.monitoring import PROGRAMS, Monitoring
from tests.sandbox.process import until
from tests.sandbox.stack import ACCOUNT, Sandbox
from tests.scenarios.command import WWW
from tests.unit.command.facts import KEEP, seen

FOLDER = ROOT / "contrib" / "prometheus"
RULES, RULES_TEST = FOLDER / "rules.yaml", FOLDER / "rules_test.yaml"


def everything() -> str:
    """The metrics of a machine that has every series, and names that need care."""
    hooks = Hook('/a "b"\\ 中文', True), Hook("/c\nd", False)
    found = judge(seen(KEEP, facts={"hooks": hooks, "server": "nginx"}), 14)
    return metrics.text(replace(found, renewed=True, rows=tuple(
        replace(row, edge="same") for row in found.rows)))


def promtool(*arguments: str, text: str = "") -> None:
    """Let promtool check, and fail if it finds anything, be it of style."""
    done = subprocess.run(["promtool", *arguments], input=text, cwd=FOLDER, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.docs
def test_rules_use_metrics_that_exist() -> None:
    """What an alert looks at is written, and each family is there for the check below."""
    families = set(re.findall("^# TYPE (certbot_qiniu_[a-z_]+) gauge$", everything(), re.MULTILINE))
    names = {"target_done", *(name for name, *_ in (
        *metrics.DOMAIN, *metrics.LINEAGE, *metrics.RUN))}
    assert {f"{metrics.PREFIX}{name}" for name in names} == families
    for file in (RULES, RULES_TEST):
        assert set(re.findall("certbot_qiniu_[a-z_]+", file.read_text("utf-8"))) <= families


@pytest.mark.docs
def test_metrics_are_documented() -> None:
    """docs/cli.md has each with its labels, and the words of its help."""
    text, expected = everything(), list[tuple[str, str, str]]()
    for name, meaning in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        found = re.search(rf"^{name}(\{{.*\}})? \d+$", text, re.MULTILINE)
        labels = re.findall(r'[{,](\w+)="', found[1] or "") if found else []
        expected.append((name, ", ".join(f"`{label}`" for label in labels), meaning))
    page = (DOCS / "cli.md").read_text("utf-8")
    assert expected == re.findall(r"^\| `(certbot_qiniu_\w+)` \| (?:(.*) )?\| (.*) \|$", page,
                                  re.MULTILINE)


@pytest.mark.docs
@pytest.mark.parametrize("language", [".md", ".zh-CN.md"])
def test_alerts_are_documented(language: str) -> None:
    """The recipe has each, in the order of the file."""
    page = (DOCS / "recipes" / f"monitoring{language}").read_text("utf-8")
    assert re.findall(r"- alert: (\w+)", RULES.read_text("utf-8")) == re.findall(
        r"^\| `(\w+)` \|", page, re.MULTILINE)


@pytest.mark.docs
def test_each_alert_is_tested() -> None:
    """It is seen to fire, and it is seen not to."""
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text("utf-8"))
    tested = RULES_TEST.read_text("utf-8")
    assert set(alerts) == set(re.findall(r"- alertname: (\w+)\n +eval_time", tested))
    assert set(alerts) == set(re.findall(r"alertname: (\w+), .* exp_alerts: \[\]", tested))


@pytest.mark.programs("promtool")
def test_conventions() -> None:
    """Names, units, types and help are as Prometheus wants them."""
    promtool("check", "metrics", text=everything())


@pytest.mark.programs("promtool")
def test_rules() -> None:
    """Each alert fires when it should, names its subject, and is silent when all is well."""
    promtool("check", "rules", "--lint-fatal", RULES.name)
    promtool("test", "rules", RULES_TEST.name)


@pytest.mark.programs
@pytest.mark.programs(*PROGRAMS)
def test_alert_in_prometheus(sandbox: Sandbox, tmp_path: Path) -> None:
    """A domain that somebody changed is an alert, until a renewal has put it back."""
    old, home, textfiles = sandbox.serve(WWW), sandbox.config_dir, tmp_path / "textfiles"
    textfiles.mkdir()
    sandbox.certbot("run", *sandbox.aliyun, *ACCOUNT, "-i", "qiniu", "--qiniu-skip-nginx",
                    "--qiniu-credentials", str(sandbox.credentials_path), "-d", WWW)

    def command(*arguments: str) -> int:
        return subprocess.run(
            [environment.program("certbot-qiniu"), *arguments, "--config-dir", str(home),
             "--work-dir", str(home / "work"), "--logs-dir", str(home / "logs"),
             "--prometheus", str(textfiles)], env=sandbox.environment, timeout=60,
            check=False).returncode

    sandbox.qiniu.change_domain(WWW, cert_id=old)
    assert 1 == command("status", "--managed")
    with Monitoring(tmp_path / "monitoring", textfiles, RULES) as monitoring:
        until(lambda: ("CertbotQiniuNotInSync", WWW) in monitoring.firing(), "the alert fires",
              seconds=60)
        alert = monitoring.firing()["CertbotQiniuNotInSync", WWW]
        assert alert["summary"] == f"{WWW} is not bound at Qiniu as it should be"
        assert 0 == command("renew", "--no-probe", "--quiet")
        until(lambda: not monitoring.firing(), "no alert is left", seconds=60)
    text = (textfiles / metrics.FILE).read_text("utf-8")
    assert "certbot_qiniu_renewal_success 1\n" in text
    promtool("check", "metrics", text=text)
