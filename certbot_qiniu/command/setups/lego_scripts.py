"""Read scripts and crontabs that run lego: how it proves domains, its hook, its keys.

lego itself stores none of that. The lines are read as a shell would split them, and nothing is run:
constants are put in where they are used, and computed values stay unknown.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PROGRAM = re.compile(r"(?:[^\s=]*/)?lego(?::[\w.-]+)?")  # also the image of a container
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_ENDS = {"&&", "||", "|", ";", "&"}
_SHORT = {"d": "domains", "m": "email", "s": "server", "k": "key-type"}
_OPTIONS = {"domains", "email", "server", "key-type", "dns", "http.webroot", "renew-hook",
            "run-hook", "deploy-hook"}


@dataclass(frozen=True)
class LegoRun:
    """A command line of lego.

    :ivar source: the file that it stands in.
    :ivar options: the values of each option, by its long name without dashes.
    :ivar flags: the other words, such as ``http``.
    :ivar environment: what was assigned before it.
    """

    source: Path
    options: Mapping[str, tuple[str, ...]]
    flags: frozenset[str]
    environment: Mapping[str, str] = field(repr=False)

    def value(self, *names: str) -> str:
        """Return the first value of these options that is given and known, "" without one."""
        return next((value for name in names for value in self.options.get(name, ())
                     if is_known(value)), "")

    def is_for(self, names: tuple[str, ...]) -> bool:
        """Return whether it may have been for a certificate with *names*."""
        domains = [name.lower() for value in self.options.get("domains", ())
                   for name in value.split(",")]
        return not all(map(is_known, domains)) or not domains or not set(domains).isdisjoint(names)


def is_known(value: str) -> bool:
    """Return whether a shell need not compute anything in a word."""
    return not set(value) & set("$`")


def read_lego_runs(text: str, source: Path) -> Iterator[LegoRun]:
    """Find lego's command lines in a script."""
    variables: dict[str, str] = {}
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a quote that goes on in the next line
        for number, word in enumerate(words):
            words[number] = _with_constants(word, variables)
            if _PROGRAM.fullmatch(words[number]):
                rest = [_with_constants(word, variables) for word in words[number + 1:]]
                yield _run(source, rest, dict(variables))
                break
            if found := _ASSIGNMENT.fullmatch(words[number].rstrip(";")):
                variables[found[1]] = found[2]


def _with_constants(word: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), word)


def _run(source: Path, words: list[str], environment: Mapping[str, str]) -> LegoRun:
    options: dict[str, tuple[str, ...]] = {}
    flags = set()
    rest = iter(words)
    for word in rest:
        if word in _ENDS:
            break
        name, equals, value = word.lstrip("-").partition("=")
        name = _SHORT.get(name, name)
        if word.startswith("-") and name in _OPTIONS:
            value = value if equals else next(rest, "")
            options[name] = (*options.get(name, ()), value)
        else:
            flags.add(name)
    return LegoRun(source, options, frozenset(flags), environment)
