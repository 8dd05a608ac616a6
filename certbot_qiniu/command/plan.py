"""``certbot-qiniu plan``: show what the next ``certbot renew`` would do, and why."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from certbot_qiniu.command import output
from certbot_qiniu.command.arguments import Command, add_cert_name, add_json, certbot_config
from certbot_qiniu.command.survey.facts import LineageFacts, Survey
from certbot_qiniu.command.survey.health import Finding, Level, days_left, exit_status, worst
from certbot_qiniu.command.survey.survey import survey
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.planning.decision import Action

UNCHANGED = ("keep", "leave", "skip", "forget", "wait", "queue", "fail")
"""The planner's verbs that change nothing."""


@dataclass(frozen=True)
class Step:
    """One step of what the next ``certbot renew`` would do."""

    lineage: str
    verb: str
    subject: str
    reason: str
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    add_json(parser)
    add_cert_name(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show the plan.

    :raises errors.QiniuError: if the survey cannot even begin.
    """
    with output.progress("Asking Qiniu …"):
        facts = survey(certbot_config(arguments), arguments.cert_name)
    planned, failed = steps(facts), facts.failures()
    level = worst(item.level for item in failed)
    if arguments.json:
        print(output.document(level, facts.now, {"steps": planned, "findings": failed}))
    else:
        output.show(table(facts, planned, failed))
    return exit_status(level)


def steps(facts: Survey) -> list[Step]:
    """List the steps of the next ``certbot renew``, in its order."""
    found = []
    for lineage in facts.lineages:
        if not lineage.renews:
            continue
        found += [Step(lineage.name, "upload", name, "NotUploaded",
                       "this certificate is not at Qiniu yet") for name in lineage.uploads]
        found += [_step(lineage, action) for action in lineage.actions]
        if lineage.is_settled:
            found += [Step(lineage.name, "delete", certificate.name, "Orphan",
                           "superseded, and nothing here needs it any more")
                      for certificate in facts.superseded(lineage)]
        if lineage.reload:
            found.append(Step(lineage.name, "reload", lineage.reload, "NotSeen",
                              "was not yet seen to serve the newest certificate"))
        found += [Step(lineage.name, "run", hook.path,
                       "HookFailed" if hook.failure else "HookNotRun",
                       f"has failed: {hook.failure}" if hook.failure else
                       "was not yet run for the newest certificate")
                  for hook in lineage.hooks if not hook.is_done]
    return found


def _step(lineage: LineageFacts, action: Action) -> Step:
    return Step(lineage.name, action.verb.value, action.name, action.reason.value,
                wording.phrase(action, held=lineage.held))


def table(facts: Survey, planned: Sequence[Step], failed: Sequence[Finding]) -> list[output.Part]:
    """Return the plan for humans."""
    parts: list[output.Part] = []
    for lineage in facts.lineages:
        end = lineage.certificate and lineage.certificate.not_after.timestamp()
        left = end and days_left(end, facts.now)
        title = f"{lineage.name} (certbot's newest certificate ends in {left} days)"
        parts += [output.Table(["Do", "Subject", "Reason", "Why"], [
            ("" if step.verb in UNCHANGED else "bold",
             [step.verb, step.subject, step.reason, step.text])
            for step in planned if step.lineage == lineage.name],
            ["Subject", "Why"], styled=0, title=title), output.BLANK]
    parts += [(note, "") for note in facts.notes]
    parts += output.finding_parts(failed)
    changes = sum(step.verb not in UNCHANGED for step in planned)
    nothing = ("Whether anything is to be done is not known."
               if any(item.level is Level.UNKNOWN for item in failed) else "Nothing to do.")
    parts.append((nothing if not changes else
                  f"{changes} step{'s' * (changes != 1)}; certbot-qiniu apply does them now. "
                  "If certbot renews a certificate, its domains get the new one.", "bold"))
    return parts


COMMAND = Command("plan", "what the next certbot renew would do, and why", add_arguments, run)
