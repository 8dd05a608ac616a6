"""What the next renewal would do, step by step."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu.command import output, plan
from certbot_qiniu.command.plan import steps
from certbot_qiniu.command.survey.facts import Survey
from certbot_qiniu.command.survey.health import Finding, Level
from certbot_qiniu.deployment.planning.decision import Action, Reason, Verb
from certbot_qiniu.model import Domain
from certbot_qiniu.targets.hook import Hook
from tests.unit.command.desk import Desk
from tests.unit.command.facts import BIND, CLEAN_UPS, KEEP, WAIT, WWW, seen, superseding


def test_nothing_is_cleaned_up_before_all_is_published() -> None:
    """The clean-up waits for every domain."""
    found = seen(WAIT, facts={"superseded": ("id",), "reload": "nginx"},
                 domain=Domain(WWW, state="processing"))
    assert [(step.verb, step.subject) for step in steps(found)] == [
        ("wait", WWW), ("reload", "nginx")]


@pytest.mark.parametrize(("changes", "doomed"), CLEAN_UPS.values(), ids=CLEAN_UPS)
def test_clean_up(changes: dict[str, Any], doomed: list[str]) -> None:
    """A deletion is a step exactly if the clean-up would delete."""
    found = superseding(changes)
    assert [step.verb for step in steps(found)] == ["keep", *["delete"] * len(doomed)]


def done(facts: Survey) -> list[tuple[str, str]]:
    """What would be done with what."""
    return [(step.verb, step.subject) for step in steps(facts)]


@pytest.mark.parametrize(("action", "facts", "expected"), [
    (KEEP, {}, [("keep", WWW)]), (BIND, {}, [("bind", WWW)]),
    (BIND, {"uploads": ("new",)}, [("upload", "new"), ("bind", WWW)]),
    (BIND, {"superseded": ("id",)}, [("bind", WWW)]),
    (KEEP, {"reload": "nginx"}, [("keep", WWW), ("reload", "nginx")]),
    (KEEP, {"reload": "apache"}, [("keep", WWW), ("reload", "apache")]),
    (None, {}, []), (BIND, {"renews": False, "reload": "nginx", "uploads": ("new",)}, []),
], ids=["keep", "bind", "upload", "no clean-up yet", "nginx", "another server", "no domain",
        "not renewed"])
def test_order(action: Action | None, facts: dict[str, Any],
               expected: list[tuple[str, str]]) -> None:
    """Upload, domains, clean-up, reload; nothing of a lineage that renewals do not reach."""
    assert expected == done(seen(action, facts=facts))


@pytest.mark.parametrize("verb", list(Verb))
def test_clean_up_waits(verb: Verb) -> None:
    """It comes in the run in which nothing else is to be done or waited for."""
    facts = superseding({})
    [lineage] = facts.lineages
    facts = replace(facts, lineages=(replace(
        lineage, actions=(KEEP, Action(verb, "img.example.com", Reason.IN_SYNC))),))
    assert (verb in (Verb.KEEP, Verb.SKIP, Verb.FORGET)) == (
        ("delete", "certbot_example.com_000000000000") in done(facts))


def test_reasons_of_steps() -> None:
    """What is no action of the planner's has a reason and a sentence, too."""
    found = steps(seen(BIND, facts={
        "uploads": ("new",), "reload": "nginx",
        "hooks": (Hook("/a", True), Hook("/b", False), Hook("/c", False, "exit status 1"))}))
    assert ["NotUploaded", "Outdated", "NotSeen", "HookNotRun", "HookFailed"] == [
        step.reason for step in found]
    assert [("run", "/b"), ("run", "/c")] == [(step.verb, step.subject) for step in found[3:]]
    assert all(step.text and step.lineage == "example.com" for step in found)


def shown(facts: Survey) -> list[str]:
    """The lines and the cells of the plan for humans."""
    found = []
    for part in plan.table(facts, steps(facts), facts.failures()):
        found += ([part.title, *(" ".join(cells[:3]) for _, cells in part.rows)]
                  if isinstance(part, output.Table) else [part[0]])
    return found


@pytest.mark.parametrize(("action", "last"), [
    (KEEP, "Nothing to do."), (WAIT, "Nothing to do."), (None, "Nothing to do."),
    (Action(Verb.QUEUE, WWW, Reason.BUSY), "Nothing to do."),
    (Action(Verb.SKIP, WWW, Reason.NOT_OPERABLE), "Nothing to do."),
    (Action(Verb.FORGET, WWW, Reason.NOT_FOUND), "Nothing to do."),
    (Action(Verb.FAIL, WWW, Reason.NOT_OPERABLE), "Nothing to do."),
    (BIND, "1 step; certbot-qiniu apply does them now. If certbot renews a certificate, its "
           "domains get the new one."),
], ids=["keep", "wait", "none", "queue", "skip", "forget", "fail", "bind"])
def test_sum(action: Action | None, last: str) -> None:
    """What changes something is counted, and nothing else."""
    assert last == shown(seen(action))[-1]


def test_nothing_that_is_not_known() -> None:
    """Where Qiniu is silent nobody says that nothing is to be done."""
    facts = seen(KEEP)
    silent = Finding(Level.UNKNOWN, "a.ini", "Unreachable", "Qiniu does not answer")
    assert ("Whether anything is to be done is not known.", "bold") == plan.table(
        facts, [], [silent])[-1]


def test_table() -> None:
    """Each lineage has its table with the end of its certificate, then notes and findings."""
    facts = seen(BIND, facts={"reload": "nginx"}, notes=("a note",), findings=(
        Finding(Level.UNKNOWN, "b.ini", "Unreachable", "no answer"),))
    assert ["example.com (certbot's newest certificate ends in 60 days)",
            f"bind {WWW} Outdated", "reload nginx NotSeen", "", "a note", "No answer."] == (
                shown(facts)[:-1])
    assert shown(facts)[-1].startswith("2 steps; ")


def test_styles() -> None:
    """Only what changes something is in bold."""
    [table, *_] = plan.table(found := seen(KEEP, facts={"reload": "nginx"}), steps(found), [])
    assert isinstance(table, output.Table)
    assert [("", "keep"), ("bold", "reload")] == [(style, row[0]) for style, row in table.rows]


@pytest.mark.parametrize(("form", "said"), [(True, '"verb": "bind"'), (False, "1 step; ")],
                         ids=["JSON", "table"])
def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture[str], said: str, *, form: bool) -> None:
    """Both forms show what is to be done, and nothing is done."""
    desk = Desk(tmp_path, monkeypatch)
    desk.qiniu.add_domain(WWW, protocol="https", cert_id=desk.upload(
        desk.renew("other", WWW), "bought"))
    desk.now += 3600
    desk.upload(desk.deploy("example.com", WWW))
    before = desk.files()
    assert 0 == plan.run(argparse.Namespace(**vars(desk.arguments), cert_name="", json=form))
    assert said in capsys.readouterr().out
    assert before == desk.files()
    assert [] == [label for label in desk.calls() if not label.startswith("GET ")]


def test_command_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                            capsys: pytest.CaptureFixture[str]) -> None:
    """What the next renewal would fail with is in the findings, and in the exit status."""
    desk = Desk(tmp_path, monkeypatch)
    desk.deploy("example.com", WWW, qiniu_domains=WWW)
    assert 1 == plan.run(argparse.Namespace(**vars(desk.arguments), cert_name="", json=True))
    answer = json.loads(capsys.readouterr().out)
    assert (1, "attention") == (answer["exit_status"], answer["level"])
    assert WWW in answer["findings"][0]["text"]


def test_words_of_a_hold() -> None:
    """A domain that a rollback holds is said to be as it left it, and not in sync."""
    held, free = (steps(seen(KEEP, facts={"held": held}))[0].text for held in (True, False))
    assert "as the rollback left it" in held
    assert "rollback" not in free


def test_each_lineage_has_its_own_table() -> None:
    """The steps of one are not among another's."""
    facts = seen(KEEP)
    facts = replace(facts, lineages=(*facts.lineages, replace(
        facts.lineages[0], name="example.org", actions=(
            Action(Verb.KEEP, "example.org", Reason.IN_SYNC),))))
    tables = [part for part in plan.table(facts, steps(facts), []) if isinstance(
        part, output.Table)]
    assert [[WWW], ["example.org"]] == [[row[1] for _, row in table.rows] for table in tables]


def test_command_for_one_lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    """The other ones are left out."""
    desk = Desk(tmp_path, monkeypatch)
    for name in ("a.example.com", "b.example.com"):
        desk.qiniu.add_domain(name, protocol="https", cert_id=desk.upload(desk.deploy(name)))
    assert 0 == plan.run(argparse.Namespace(
        **vars(desk.arguments), cert_name="b.example.com", json=True))
    answer = json.loads(capsys.readouterr().out)
    assert {"b.example.com"} == {step["lineage"] for step in answer["steps"]}
