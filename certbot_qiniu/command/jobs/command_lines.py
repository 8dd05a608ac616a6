"""Find the calls of certbot in a command, read as a shell would run it, and in a crontab.

Nothing is run here. The caller reads scripts.
"""

from __future__ import annotations

import itertools
import os.path
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

CERTBOT = re.compile(r"(certbot|letsencrypt)(-auto|-?\d[\d.]*)?")
OURS = "certbot-qiniu"
SNAP = "certbot.renew"
"""The name under which snap runs ``certbot renew``."""

MODULES = {"certbot": CERTBOT, "certbot.main": CERTBOT, "certbot_qiniu": OURS}
ELSEWHERE = frozenset({
    "docker", "docker-compose", "podman", "podman-compose", "nerdctl", "kubectl", "lxc", "incus",
    "machinectl", "nsenter", "chroot", "ssh", "distrobox", "toolbox",
    "conda", "mamba", "micromamba", "pipx", "uv", "uvx"})
"""Programs that run the words after them in another system or environment, which is unknown
here."""

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})
_KEYWORDS = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"})
_SPEAKERS = frozenset({"echo", "printf", "logger"})
_WORDS = 8
"""A script is looked for among so many words of a command."""


@dataclass(frozen=True)
class Place:
    """The place where a command is run.

    :ivar variables: those that are known; ``PATH`` must be.
    """

    variables: Mapping[str, str]
    folder: str = "/"

    @property
    def path(self) -> str:
        """The folders in which programs are looked for."""
        return self.variables["PATH"]

    def candidates(self, program: str) -> list[str]:
        """List the files that *program* may be; the shell takes the first that exists."""
        folders = [""] if "/" in program else self.path.split(":")
        return [os.path.normpath(os.path.join(self.folder, folder, program)) for folder in folders]

    def expanded(self, word: str) -> str:
        """Return *word* with the values of variables that are known."""
        def value(found: re.Match[str]) -> str:
            default = found[0] if found[2] is None else found[2]
            return self.variables.get(found[1] or found[3], default)

        return re.sub(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))", value, re.sub(
            r"^~(?=/|$)", lambda _: self.variables.get("HOME", "~"), word))

    def with_variable(self, name: str, value: str) -> Place:
        """Return this place with a variable set."""
        return replace(self, variables={**self.variables, name: self.expanded(value)})

    def after(self, word: str) -> Place:
        """Return this place after *word*, which may set a variable."""
        found = re.match(r"([A-Za-z_]\w*)=(.*)", word, re.DOTALL)
        return self.with_variable(found[1], found[2]) if found else self


@dataclass(frozen=True)
class Call:
    """A ``certbot renew``, or a ``certbot-qiniu renew``, in a command.

    :ivar program: its name there; the Python of a ``python -m certbot``.
    :ivar elsewhere: the program that runs it in another system, "" for none.
    :ivar as_root: whether it asks for root's rights.
    :ivar module: what ``python -m`` runs, "" for a program of its own.
    """

    program: str
    arguments: tuple[str, ...]
    place: Place
    elsewhere: str = ""
    as_root: bool = False
    module: str = ""

    @property
    def rehearses(self) -> bool:
        """Whether it only rehearses."""
        return "--dry-run" in self.arguments

    def option(self, name: str) -> str:
        """Return the value of an option, "" without one or if it is known only at run time."""
        value = ""
        for word, following in itertools.pairwise((*self.arguments, "")):
            if word == name:
                value = following
            elif word.startswith(f"{name}="):
                value = word.partition("=")[2]
        return "" if "$" in value else value


Read = Callable[[Sequence[str]], str]
"""Returns the text of the first file that exists; "" if it is no script, or was read before."""


def calls(text: str, place: Place, read: Read) -> Iterator[Call]:
    """Find the calls of certbot in *text*, of one or more lines."""
    for command in _simple_commands(text):
        words = list(command)
        if len(words) > 2 and _name(words[0]) in _SHELLS and _is_text_next(words[1]) and (
                " " not in words[2]):
            del words[:2]  # as systemd shows it, without the quotation marks
        while words and words[0] in _KEYWORDS:
            del words[0]
        own = place
        while words and (changed := own.after(words[0])) is not own:
            own = changed
            del words[0]
        words = [own.expanded(word) for word in words]
        if not words:
            place = own
        elif words[0] == "export":
            for word in words[1:]:
                place = place.after(word)
        elif words[0] == "cd" and len(words) > 1:
            place = replace(place, folder=os.path.join(place.folder, words[1]))
        elif words[0] in (".", "source") and len(words) > 1 and words[1].endswith("/activate"):
            programs = os.path.dirname(os.path.join(place.folder, words[1]))
            place = place.with_variable("PATH", f"{programs}:$PATH")
        elif words[0] not in _SPEAKERS:
            yield from _calls_of(words, own, read)


def _calls_of(words: Sequence[str], place: Place, read: Read) -> Iterator[Call]:
    """Find the calls of certbot in one command: direct, through a shell's text, or a script."""
    for number, word in enumerate(words):
        place = place.after(word)
        if call := _call(words, number, place):
            yield call
            return
    for option, word in itertools.pairwise(words):
        if _is_text_next(option) and " " in word:
            yield from calls(word, place, read)
            return
    for number, word in enumerate(words[:_WORDS]):
        for_shell = bool({*_SHELLS, ".", "source"} & set(map(_name, words[:number])))
        files = [*[os.path.join(place.folder, word)] * for_shell, *place.candidates(word)]
        text = "" if word.startswith("-") else read(list(dict.fromkeys(files)))
        first = text.partition("\n")[0]
        if text and (for_shell or (
                first.startswith("#!") and _SHELLS & set(re.split(r"[/\s]", first)))):
            yield from calls(text, place, read)
            return


def _call(words: Sequence[str], number: int, place: Place) -> Call | None:
    """Return the call of certbot whose program is the word with this number."""
    word = words[number]
    if word != "-m" and "certbot" not in word and "letsencrypt" not in word:
        return None  # before the steps whose time grows with the line
    rest, name, kind = tuple(words[number + 1:]), _name(word), None
    program, module = word, ""
    runners = [_name(one) for one in words[:number]]
    elsewhere = next((one for one in runners if one in ELSEWHERE), "")
    if word == "-m" and rest[:1] and rest[0] in MODULES:
        module, rest = rest[0], rest[1:]
        kind = MODULES[module]
        program = next((one for one in reversed(words[:number])
                        if re.match(r"(python|pypy)", _name(one))), "")
    elif CERTBOT.fullmatch(name) or (elsewhere and re.search(r"\bcertbot\b", word)):  # an image
        kind = CERTBOT
    elif name in (OURS, SNAP):
        kind = name
    # Else it is a lock, a volume or a name for the log, or certbot does something else.
    renews = rest[:1] == ("renew",) or ("renew" in rest and (
        rest[0].startswith(("-", "$")) if not elsewhere else
        not any("certbot" in one for one in rest[:rest.index("renew")])))
    if not program or not (kind == SNAP or (kind == OURS and rest[:1] == ("renew",))
                           or (kind == CERTBOT and renews)):
        return None
    if "snap" in runners:
        program = SNAP
    return Call(program, rest, place, elsewhere, bool({"sudo", "doas"} & set(runners)), module)


def _is_text_next(option: str) -> bool:
    """Return whether a shell runs the next word as a script."""
    return re.fullmatch(r"-[a-z]*c", option) is not None


def _name(word: str) -> str:
    return word.rpartition("/")[2]


def _simple_commands(text: str) -> list[list[str]]:
    """Return the words of each command in *text*: no operators, redirections or comments."""
    text = re.sub(r"(?m)(^|(?<=[\s;&|(]))#.*$", "", text.replace("\\\n", " "))
    text = re.sub(r'"?(?:\$\(|`)(?:which|command -v) ([\w./-]+)(?:\)|`)"?', r"\1", text)
    text = re.sub(r'"(\$\([^"()]*\))"', r"\1", text)  # the command in it is not quoted
    try:
        return list(_split(text))
    except ValueError:  # no closing quotation, as in the text of a mail
        commands = []
        for line in text.splitlines():
            try:
                commands += list(_split(line))
            except ValueError:
                commands += [part.split() for part in re.split(r"[;&|()]+", line)]
        return commands


def _split(text: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    words: list[str] = []
    target = False
    for token in lexer:
        is_operator = bool(token) and set(token) <= set(";&|()<>\n")
        if is_operator and set(token) & set("<>"):
            target = True
        elif is_operator:
            yield words
            words, target = [], False
        elif target:
            target = False
        else:
            words.append(token)
    yield words


# Crontabs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A command in a crontab.

    :ivar number: of its line.
    :ivar variables: that the lines before it set.
    :ivar schedule: what stands before the user, or the command.
    """

    number: int
    user: str
    command: str
    variables: Mapping[str, str]
    schedule: str

    @property
    def at_boot(self) -> bool:
        """Whether it runs only then."""
        return self.schedule == "@reboot"


def crontab(text: str, user: str = "", *, fields: int = 5) -> Iterator[Line]:
    """Return the commands of a crontab.

    :param user: its owner; "" if each line names one.
    :param fields: the number of fields before the user, or the command.
    """
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if setting := re.match(r"\s*([A-Za-z_]\w*)\s*=\s*(.*)", line):
            variables[setting[1]] = setting[2].strip().strip("\"'")
            continue
        before = 1 if line.lstrip().startswith("@") and fields == 5 else fields
        words = line.split(None, before + (not user))
        if line.lstrip().startswith("#") or len(words) <= before + (not user):
            continue
        # An unescaped percent sign ends the command: the rest is its input.
        command = re.split(r"(?<!\\)%", words[-1])[0].replace(r"\%", "%")
        yield Line(number, user or words[before], command, dict(variables),
                   " ".join(words[:before]))
