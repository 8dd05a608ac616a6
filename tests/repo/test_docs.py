"""The documentation says what the program does, in both languages."""

from __future__ import annotations

import ast
import fnmatch
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from certbot._internal import cli
from certbot._internal.plugins.disco import PluginsRegistry

from certbot_qiniu.options import OPTIONS
from tests.package import ROOT, SOURCES

pytestmark = pytest.mark.docs

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
NO_DEFAULT = {ENGLISH: {None: "none", False: "off"}, CHINESE: {None: "无", False: "关"}}
TROUBLESHOOTING = {ENGLISH: "## Troubleshooting", CHINESE: "## 排错"}
DOCUMENTS = (ENGLISH, CHINESE, "CHANGELOG.md", "CONTRIBUTING.md")

both = pytest.mark.parametrize("readme", [ENGLISH, CHINESE])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks: what they are said to hold, and what they do."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """*text* without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ .*$", prose(text), re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """The cells of all tables."""
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in prose(text).splitlines() if line.startswith("| `")]


def commands(text: str) -> list[list[str]]:
    """The arguments of every certbot that is mentioned."""
    scripts = "".join(body for kind, body in blocks(text) if kind == "sh")
    found = re.findall(r"^certbot (.*)$", scripts.replace("\\\n", ""), re.MULTILINE)
    found += re.findall(r"`certbot ([^`]+)`", prose(text))
    return [shlex.split(arguments) for arguments in found]


def messages(readme: str) -> list[str]:
    """The texts in the table of messages."""
    section = read(readme).partition(f"\n{TROUBLESHOOTING[readme]}\n")[2].partition("\n## ")[0]
    return [cells[0].strip("`") for cells in rows(section)]


def repository_files() -> Iterator[Path]:
    """Every file that is not ignored by git."""
    ignored = [".git", *(line.strip("/") for line in read(".gitignore").split())]
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not any(fnmatch.fnmatch(part, pattern)
                                      for part in parts for pattern in ignored):
            yield path


@both
def test_options(readme: str) -> None:
    """The table has every option, in the program's order, with its form and default."""
    expected = []
    for name, settings in OPTIONS.items():
        form = f"--qiniu-{name} {settings.get('metavar', '')}".strip().replace("|", "\\|")
        default = settings.get("default")
        expected.append([f"`{form}`", NO_DEFAULT[readme].get(default, f"`{default}`")])
    found = [cells[:2] for cells in rows(read(readme)) if cells[0].startswith("`--qiniu-")]
    assert expected == found


@both
def test_commands(readme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """certbot accepts every command line that a reader may copy."""
    monkeypatch.setattr(cli, "helpful_parser", None)  # certbot keeps its parser for good
    plugins = PluginsRegistry.find_all()
    found = commands(read(readme))
    assert len(found) > 20
    for arguments in found:
        config = cli.prepare_and_parse_args(plugins, [*arguments])  # it takes the verb out
        assert config.verb == (arguments[0] if arguments[0].isalpha() else "run")


@both
def test_messages(readme: str) -> None:
    """Every message that is explained is one that the program can print."""
    literals = [node.value for path in SOURCES
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    parts = [part.strip() for message in messages(readme) for part in message.split("…")]
    assert len(parts) > 40
    assert [] == [part for part in parts if not any(part in literal for literal in literals)]


def test_languages_agree() -> None:
    """Both READMEs have the same headings, blocks, messages and commands."""
    english, chinese = read(ENGLISH), read(CHINESE)

    def levels(text: str) -> list[int]:
        return [len(heading.partition(" ")[0]) for heading in headings(text)]

    assert levels(english) == levels(chinese)
    assert blocks(english) == blocks(chinese)
    assert messages(ENGLISH) == messages(CHINESE)
    assert [len(cells) for cells in rows(english)] == [len(cells) for cells in rows(chinese)]
    assert f"]({CHINESE})" in english
    assert f"]({ENGLISH})" in chinese


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links(document: str) -> None:
    """Every link within the repository leads somewhere."""
    text = read(document)
    anchors = {re.sub(r"[^\w -]", "", heading.lstrip("# ")).lower().replace(" ", "-")
               for heading in headings(text)}
    for target in re.findall(r"\]\(([^)]+)\)", prose(text)):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (ROOT / target).is_file(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets(document: str) -> None:
    """Every target of make that is mentioned exists."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    mentioned = set(re.findall(r"(?:^|`)make ([a-z-]+)", read(document), re.MULTILINE))
    assert mentioned <= targets


def test_changelog() -> None:
    """The changelog tells of the next version, or of the first one."""
    sections = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert sections
    assert sections[0] == "Unreleased" or "1.0.0" in sections


def test_no_trace_of_a_machine() -> None:
    """No file names a place on somebody's machine, or where packages came from."""
    traces = re.compile(
        rb"/(?:work|root|home|tmp)/\w|index[-]url|trusted[-]host|GO[P]ROXY|"
        rb"//[\w.-]*(?:artifactory|nexus|mirror)[\w.-]*/")
    found = [f"{path.relative_to(ROOT)}: {match.group().decode()}"
             for path in repository_files() if (match := traces.search(path.read_bytes()))]
    assert [] == found


def test_man_page() -> None:
    """The man page has every command and option of certbot-qiniu and of the installer, no other."""
    from certbot_qiniu.command.cli import parser

    page = (ROOT / "docs" / "certbot-qiniu.1").read_text(encoding="utf-8").replace("\\-", "-")
    actions = next(action.choices for action in parser()._actions
                   if isinstance(action.choices, dict))
    options = {option for command in actions.values() for action in command._actions
               for option in action.option_strings if option.startswith("--")} - {"--help"}
    options |= {f"--qiniu-{name}" for name in OPTIONS}
    assert options == set(re.findall(r"--[a-z][a-z0-9-]+", page))
    commands = page.partition(".SH COMMANDS")[2].partition(".SH OPTIONS")[0]
    assert list(actions) == re.findall(r"^\.TP\n\.BR ([a-z-]+) ", commands, re.MULTILINE)
