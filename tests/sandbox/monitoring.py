"""A real Prometheus that scrapes a real node_exporter, once a second."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.sandbox.process import LOOPBACK, Program, free_port

PROGRAMS = ("prometheus", "prometheus-node-exporter", "promtool")
"""As Debian names them."""

_CONFIGURATION = """\
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: [{rules}]
scrape_configs:
  - job_name: node
    static_configs:
      - targets: ["{exporter}"]
"""


class Monitoring:
    """Prometheus and node_exporter, which watch the metrics in a folder.

    :param textfiles: the folder that node_exporter reads.
    :param rules: a file of alerts; each fires after a second here.
    """

    def __init__(self, directory: Path, textfiles: Path, rules: Path) -> None:
        directory.mkdir()
        exporter, server = (f"{LOOPBACK}:{free_port()}" for _ in range(2))
        hasty = directory / "rules.yaml"
        hasty.write_text(re.sub(r"\bfor: \w+$", "for: 1s", rules.read_text("utf-8"),
                                flags=re.MULTILINE), encoding="utf-8")
        configuration = directory / "prometheus.yaml"
        configuration.write_text(
            _CONFIGURATION.format(rules=hasty, exporter=exporter), encoding="utf-8")
        self._exporter, self._server = f"http://{exporter}/", f"http://{server}/"
        self._programs = {
            f"{self._exporter}metrics": Program(
                ["prometheus-node-exporter", "--collector.disable-defaults",
                 "--collector.textfile", f"--collector.textfile.directory={textfiles}",
                 f"--web.listen-address={exporter}"], directory / "exporter.log"),
            f"{self._server}-/ready": Program(
                ["prometheus", f"--config.file={configuration}",
                 f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address={server}"],
                directory / "prometheus.log")}

    def __enter__(self) -> Monitoring:
        try:
            for url, program in self._programs.items():
                program.start(lambda url=url: _answer(url) is not None)  # type: ignore[misc]
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop both."""
        for program in self._programs.values():
            program.stop()

    def firing(self) -> dict[tuple[str, str], Mapping[str, str]]:
        """The annotations of each alert that fires, by its name and its domain or lineage."""
        answer: Any = json.loads(_answer(f"{self._server}api/v1/alerts") or "{}")
        return {(labels["alertname"], labels.get("domain", labels.get("lineage", ""))):
                alert["annotations"] for alert in answer["data"]["alerts"]
                if alert["state"] == "firing" and (labels := alert["labels"])}


def _answer(url: str) -> bytes | None:
    """Return its answer, None while it is not ready."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            content: bytes = response.read()
            return content
    except (urllib.error.URLError, OSError):
        return None
