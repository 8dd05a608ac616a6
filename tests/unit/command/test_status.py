"""The status: who is asked at the edge, in which time, and what is shown on a narrow terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from certbot_qiniu.command import cli, output
from certbot_qiniu.command import status as status_module
from certbot_qiniu.command.status import probe, table
from certbot_qiniu.command.survey.edge import Expected
from certbot_qiniu.command.survey.facts import AccountFacts
from certbot_qiniu.command.survey.judge import judge
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.model import Domain, RemoteCertificate
from certbot_qiniu.webserver import edge
from certbot_qiniu.webserver.edge import Answer
from tests.unit.command.facts import DAY, KEEP, LATER, NOW, WWW, seen


@pytest.mark.parametrize(("domain", "managed", "alone", "all_of_them"), [
    (Domain(WWW, protocol="https", cert_id="id"), True, True, True),
    (Domain(WWW, protocol="https", cert_id="id"), False, False, True),
    (Domain(WWW, protocol="https", cert_id="id", state="processing"), True, False, False),
    (Domain(WWW, protocol="https", cert_id="id", state="failed"), True, False, False),
    (Domain(WWW, protocol="https", cert_id="id", state="frozen"), True, False, False),
    (Domain(WWW), True, False, False)],
    ids=["published", "unmanaged", "processing", "failed", "frozen", "http"])
def test_who_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, domain: Domain, *,
                      managed: bool, alone: bool, all_of_them: bool) -> None:
    """Domains that speak HTTPS and are published, in the timer's run the managed ones alone."""
    asked: list[tuple[list[Domain], float]] = []

    def ask(domains: list[Domain], seconds: float) -> dict[str, tuple[Answer, ...]]:
        asked.append((domains, seconds))
        return dict.fromkeys((one.name for one in domains), ())

    monkeypatch.setattr(edge, "ask", ask)
    found = seen(KEEP if managed else None, domain=domain,
                 uploads={"id": ("example.com", "f" * 64)}, record=None if managed else Record())
    for only_managed in (True, False):
        probed = probe(found, Lineages(tmp_path), 60, only_managed=only_managed)
        [(domains, seconds)], asked[:] = list(asked), []
        wanted = alone if only_managed else all_of_them
        assert ([domain] * wanted, 60) == (domains, seconds)
        assert [WWW] * wanted == list(probed.edges)
    if all_of_them:
        assert Expected("id", "f" * 64, frozenset(), int(LATER.timestamp())) == probed.edges[
            WWW].expected


@pytest.mark.parametrize("option", ["--notify", "--heartbeat"])
def test_watch_is_no_alarm(capsys: pytest.CaptureFixture[str], option: str) -> None:
    """Who thinks that a status that is shown again and again sends alerts is told at once."""
    assert 2 == cli.main(["status", "--watch", option, "https://hc.example.com/token"])
    assert f"certbot-qiniu: {option} does not go with --watch" in capsys.readouterr().err


@pytest.mark.parametrize(("deadline", "seconds"), [(None, 60), (900, 60), (30, 25), (2, -3)])
def test_deadline_goes_before_the_edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                       deadline: float | None, seconds: float) -> None:
    """A silent edge never costs the rest of the report."""
    asked: list[float] = []

    def ask(domains: list[Domain], seconds: float) -> dict[str, tuple[Answer, ...]]:
        asked.append(seconds)
        return dict.fromkeys((one.name for one in domains), ())

    monkeypatch.setattr(edge, "ask", ask)
    monkeypatch.setattr(status_module, "survey", lambda _config, **_: seen(KEEP))
    given = [f"--deadline={deadline}"] if deadline else []
    folders = [f"--{kind}-dir={tmp_path}" for kind in ("config", "work", "logs")]
    assert 0 == cli.main(["status", "--probe", *given, *folders])
    assert asked == [pytest.approx(seconds, abs=1)]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_long_name_hides_nothing(width: int) -> None:
    """However long a name and narrow a terminal, days and whether all is in sync are there."""
    from rich.console import Console

    name = f"{'q' * 54}.zzz.com"
    domain = Domain(name, protocol="https", cert_id="id", modified="2026-11-23T00:00:00Z")
    certificates = {"id": RemoteCertificate("id", "a name", not_after=int(NOW + 61 * DAY))}
    report = judge(seen(
        replace(KEEP, name=name), accounts=(AccountFacts("a.ini", {name: domain}, certificates),),
        records={name: Record(lineage="example.com")}), 14)
    out = Console(width=width, force_terminal=True, record=True, file=io.StringIO())
    output.show(table(report), out)
    shown = out.export_text()
    assert max(map(len, shown.splitlines())) <= width
    assert (54, 3) == (shown.count("q"), shown.count("z"))
    words = {"Days", "61", "yes"} | ({"success", "2026-11-23", "https"} if width == 200 else set())
    assert words <= set(shown.split())
