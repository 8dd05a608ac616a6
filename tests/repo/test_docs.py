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

from certbot_qiniu.command import install_timer
from certbot_qiniu.environment import program
from certbot_qiniu.options import OPTIONS
from tests.package import ROOT, SOURCES

pytestmark = pytest.mark.docs

ENGLISH, CHINESE = ".md", ".zh-CN.md"
LANGUAGES = (ENGLISH, CHINESE)
NO_DEFAULT = {ENGLISH: {None: "none", False: "off"}, CHINESE: {None: "无", False: "关"}}
PAGES = ("README", "docs/setup", "docs/options", "docs/operation", "docs/troubleshooting",
         "docs/cli")
"""For users, in both languages."""

TWINS = (*PAGES, "docs/index", "docs/services", "docs/with-web-server", "contrib/ansible/README")
"""All pages in both languages, apart from the recipes, which tests/e2e compares."""

MOST_LINES = 150
"""Of README: the way in is one page."""

IN_CHINESE = sorted(str(path.relative_to(ROOT)) for folder in (".", "docs", "contrib")
                    for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
                    if path.name.endswith(CHINESE))
DOCUMENTS = sorted({"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *IN_CHINESE, *(
    str(path.relative_to(ROOT)) for folder in ("docs", "contrib")
    for path in (ROOT / folder).glob("**/*.md")),
    *(page + ENGLISH for page in PAGES)})

both = pytest.mark.parametrize("language", LANGUAGES)


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


def messages(language: str) -> list[str]:
    """The texts in the table of messages."""
    return [cells[0].strip("`") for cells in rows(read(f"docs/troubleshooting{language}"))]


def in_chinese(text: str) -> str:
    """*text* as a reader of Chinese sees it: a code is a character, a link is its words."""
    text = re.sub(r"`[^`]*`", "码", prose(text))
    return re.sub(r"\]\([^)]*\)|<[^>]*>|https?://\S+", "]", text)


def repository_files() -> Iterator[Path]:
    """Every file that is not ignored by git."""
    ignored = [".git", *(line.strip("/") for line in read(".gitignore").split())]
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not any(fnmatch.fnmatch(part, pattern)
                                      for part in parts for pattern in ignored):
            yield path


@both
def test_options(language: str) -> None:
    """The table has every option, in the program's order, with its form and default."""
    expected = []
    for name, settings in OPTIONS.items():
        form = f"--qiniu-{name} {settings.get('metavar', '')}".strip().replace("|", "\\|")
        default = settings.get("default")
        expected.append([f"`{form}`", NO_DEFAULT[language].get(default, f"`{default}`")])
    table = rows(read(f"docs/options{language}"))
    assert expected == [cells[:2] for cells in table if cells[0].startswith("`--qiniu-")]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_exist(document: str) -> None:
    """No page names an option that does not exist."""
    named = set(re.findall(r"--qiniu-([a-z0-9]+(?:-[a-z0-9]+)*)", read(document)))
    assert named <= set(OPTIONS)


@both
def test_commands(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """certbot accepts every command line that a reader may copy."""
    monkeypatch.setattr(cli, "helpful_parser", None)  # certbot keeps its parser for good
    plugins = PluginsRegistry.find_all()
    found = [arguments for page in PAGES for arguments in commands(read(page + language))]
    assert len(found) > 20
    for arguments in found:
        config = cli.prepare_and_parse_args(plugins, [*arguments])  # it takes the verb out
        assert config.verb == (arguments[0] if arguments[0].isalpha() else "run")


@both
def test_messages(language: str) -> None:
    """Every message that is explained, or shown of nginx, is one that the program can print."""
    literals = [node.value for path in SOURCES
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    shown = re.findall(r"^nginx: (.*)$", read(f"docs/setup{language}"), re.MULTILINE)
    parts = [part.strip() for message in (*messages(language), *shown)
             for part in re.split("…|/etc/letsencrypt/live/example.com", message)]
    assert len(parts) > 40
    assert [] == [part for part in parts if not any(part in literal for literal in literals)]


@both
def test_readme_is_one_page(language: str) -> None:
    """README leads in; all else is in docs/."""
    assert len(read(f"README{language}").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", TWINS)
def test_languages_agree(page: str) -> None:
    """Both languages have the same headings, blocks and tables, and lead to each other."""
    english, chinese = read(page + ENGLISH), read(page + CHINESE)

    def levels(text: str) -> list[int]:
        return [len(heading.partition(" ")[0]) for heading in headings(text)]

    assert levels(english) == levels(chinese)
    assert blocks(english) == blocks(chinese)
    assert [len(cells) for cells in rows(english)] == [len(cells) for cells in rows(chinese)]
    name = page.rpartition("/")[2]
    assert f"[中文说明]({name}{CHINESE})" in english or f"[中文]({name}{CHINESE})" in english
    assert f"[English]({name}{ENGLISH})" in chinese


def test_messages_agree() -> None:
    """Both languages explain the same messages."""
    assert messages(ENGLISH) == messages(CHINESE)


@pytest.mark.parametrize("document", IN_CHINESE)
def test_punctuation(document: str) -> None:
    """Punctuation next to Chinese is Chinese."""
    han = r"[\u3400-\u9fff\u3000-\u303f\uff00-\uffef]"
    found = [line for line in in_chinese(read(document)).splitlines()
             if re.search(f"{han}[,;:!?()]|[,;:!?()]{han}", line)]
    assert [] == found


OBSCURE = re.compile(
    r":raises [^:\n]+: (?:when|where)\b|\b(?:None|[Ff]alse|none|empty|0|also) where\b|\"\" where\b"
    r"|\bas wanted\b|\b(?:cannot|could not) be told\b|\bstrangers?\b|\bbesides?\b")


@pytest.mark.parametrize("path", [*SOURCES, *(ROOT / document for document in DOCUMENTS
                                              if document not in IN_CHINESE)],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_english(path: Path) -> None:
    """A condition begins with "if", and no page, comment or message has an archaic word."""
    assert [] == OBSCURE.findall(path.read_text("utf-8"))


@pytest.mark.parametrize("document", IN_CHINESE)
def test_vocabulary(document: str) -> None:
    """One word stands for one thing, and the reader is 你."""
    other = ("您", "状态码", "退出状态", "重载", "通配符", "发布", "证书机构", "文件夹")
    assert [] == [word for word in other if word in read(document)]


@pytest.mark.parametrize("document", IN_CHINESE)
def test_pages_in_english_alone_are_marked(document: str) -> None:
    """A link from Chinese to a page that exists in English only says so."""
    text, folder = prose(read(document)), (ROOT / document).parent
    for target, after in re.findall(r"\]\(([^)#]+\.md)[^)]*\)(.{0,4})", text):
        if not target.endswith(CHINESE) and after != "（英文）":
            assert not target.startswith("http"), target
            twin = folder / f"{target.removesuffix(ENGLISH)}{CHINESE}"
            assert twin.is_file(), f"{target} is not marked"
            assert f"[English]({target})" in text, f"{target} has a page in Chinese"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links(document: str) -> None:
    """Every link within the repository leads somewhere."""
    here = ROOT / document
    for target in re.findall(r"\]\(([^)]+)\)", prose(here.read_text("utf-8"))):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (here.parent / path).resolve() if path else here
        assert file.exists(), target
        if anchor:
            text = file.read_text("utf-8")
            assert anchor in {
                re.sub(r"[^\w -]", "", heading.lstrip("# ")).lower().replace(" ", "-")
                for heading in headings(text)}, target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets(document: str) -> None:
    """Every target of make that is mentioned exists."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    mentioned = set(re.findall(r"(?:^|`)make ([a-z-]+)", read(document), re.MULTILINE))
    assert mentioned <= targets


def test_units_by_hand() -> None:
    """The units that the page on setup has are those that install-timer writes."""
    def settings(unit: str) -> list[str]:
        return [line for line in unit.splitlines()
                if line and not line.startswith(("#", "EnvironmentFile="))]

    shown = {name: text for _, text in blocks(read("docs/setup.md"))
             if (name := text.partition("\n")[0].removeprefix("# /etc/systemd/system/")) != text
             and name.startswith("certbot-qiniu.")}
    written = install_timer.units(install_timer.Job(Path("/etc/letsencrypt/qiniu/environment")))
    assert {name: settings(text.replace(program("certbot-qiniu"), "/opt/certbot/bin/certbot-qiniu"))
            for name, text in written.items()} == {
                name: settings(text) for name, text in shown.items()}
    assert "/opt/certbot/bin/certbot-qiniu renew --quiet" in read("docs/setup.md").partition(
        "/etc/cron.d/certbot-qiniu")[2]


@pytest.mark.parametrize("page", ["docs/cli.md", "docs/cli.zh-CN.md"])
def test_health_check(page: str) -> None:
    """The health check that the page shows is the image's."""
    [shown] = [text for kind, text in blocks(read(page)) if kind == "dockerfile"]
    assert shown.strip() in read("Containerfile").splitlines()


def test_changelog() -> None:
    """The changelog has a section for the next version, or for the first one."""
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
