"""A machine's timers and crontabs: what systemd says of them, and a tree of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from certbot_qiniu.command.jobs import certbot_jobs, scheduled_jobs

FOREIGN = "certbot manual nginx null standalone webroot"
"""The plugins of a distribution's certbot with certbot-nginx."""


@dataclass
class Host:
    """A machine below a folder, with a cron that runs.

    :ivar units: what systemd says of each unit, by its name.
    :ivar plugins: the plugins of a certbot, by its Python.
    """

    root: Path
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)

    def put(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        """A file with this text."""
        found = self.root / path
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text(text)
        found.chmod(mode)
        return found

    def certbot(self, path: str, plugins: str = FOREIGN) -> str:
        """A certbot with a Python of its own, which has these plugins."""
        python = str(self.root / path.replace("certbot", "python3"))
        self.plugins[python] = plugins
        return str(self.put(path, f"#!{python}\nimport certbot\n", 0o755))

    def boot(self) -> None:
        """Let systemd run."""
        (self.root / scheduled_jobs.BOOTED).mkdir(parents=True)

    def timer(self, name: str, *commands: str, enabled: str = "enabled", active: str = "active",
              service: dict[str, str] | None = None, **facts: str) -> None:
        """A timer and its service, as ``systemctl show`` prints them."""
        if not (self.root / scheduled_jobs.BOOTED).exists():
            self.boot()
        self.units[f"{name}.timer"] = {
            "Unit": f"{name}.service", "LoadState": "loaded", "ActiveState": active,
            "UnitFileState": enabled, **facts}
        self.units[f"{name}.service"] = {
            "ExecStart": "\n".join(
                f"ExecStart={{ path={command.split()[0]} ; argv[]={command} ; ignore_errors=no ; "
                "start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }"
                for command in commands).removeprefix("ExecStart="),
            "Environment": "", "WorkingDirectory": "", "User": "", "LoadState": "loaded",
            **(service or {})}

    def answer(self, command: Sequence[str]) -> str:
        """What systemctl, or a certbot's Python, says."""
        if command[0] != "systemctl":
            return self.plugins.get(command[0], "")
        timers = [name for name in self.units if name.endswith(".timer")]
        if "list-unit-files" in command:
            return "".join(f"{name:28} enabled enabled\n" for name in (*timers, "x@.timer"))
        if "list-units" in command:
            return "".join(f"{name:28} loaded active waiting {name}\n" for name in timers[:1])
        return "\n".join(
            "".join(f"{key}={value}\n" for key, value in ({"Id": name} | self.units.get(
                name, {"LoadState": "not-found"})).items())
            for name in command[command.index("--") + 1:])


def host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Let this machine be another one, with nothing on it yet."""
    found = Host(folder)
    found.put("proc/1/comm", "init\n")
    found.put("proc/7/comm", "cron\n")
    certbot_jobs.plugins_of.cache_clear()
    monkeypatch.setattr(scheduled_jobs, "output_of", found.answer)
    monkeypatch.setattr(scheduled_jobs, "ROOT", folder)
    return found
