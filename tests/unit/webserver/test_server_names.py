"""Which block nginx chooses for a name."""

from __future__ import annotations

import pytest

from certbot_qiniu.webserver.server_names import ServerNames, can_be_asked_for

DEFAULT = "(default)"


def chosen(names: list[str], name: str) -> tuple[str, ...]:
    """The names of the blocks that may answer for *name*, each block has one of *names*."""
    return ServerNames([(one, [one]) for one in names], DEFAULT).lookup(name)


@pytest.mark.parametrize(("name", "expected"), [
    ("a.b.c", "a.b.c"), ("x.b.c", "*.b.c"), ("y.x.b.c", "*.b.c"), ("b.c", ".c"), ("c", ".c"),
    ("a.b.x", "a.b.*"), ("a.x", "a.*"), ("a.x.y", "a.*"), ("xax", "~a"), ("xbx", "~b"),
    ("xabx", "~a"), ("a", "~a"), ("x", DEFAULT), ("cc", DEFAULT)])
def test_order(name: str, expected: str) -> None:
    """Exact, longest wildcard in front, wildcard behind, first regex, default."""
    names = ["~a", "~b", "a.*", "a.b.*", ".c", "*.b.c", "a.b.c"]
    assert (expected,) == chosen(names, name)


@pytest.mark.parametrize(("names", "name", "expected"), [
    (["a.b", "a.b"], "a.b", "a.b"),
    ([".a.b", "a.b"], "a.b", ".a.b"),
    (["a.b", ".a.b"], "x.a.b", DEFAULT),
    (["*.a.b", ".a.b"], "x.a.b", "*.a.b"),
    (["*.a.b", ".a.b"], "a.b", DEFAULT),
    ([".a.b", "*.a.b"], "x.a.b", ".a.b"),
])
def test_conflicts(names: list[str], name: str, expected: str) -> None:
    """Of names in conflict the first one counts; nginx warns, and ignores the others."""
    assert (expected,) == chosen(names, name)


@pytest.mark.parametrize(("pattern", "name", "matches"), [
    (r"^(?<sub>\w+)\.example\.com$", "a.example.com", True),
    (r"^(?P<sub>\w+)\.example\.com$", "a.example.com", True),
    (r"^www\d{1,3}\.", "www17.example.com", True),
    (r"^www\d{1,3}\.", "www.example.com", False),
    (r"^(?:a|b)\.(?!c)", "b.example.com", True),
    (r"^[^.]+\.example\.(com|net)$", "x.y.example.com", False),
    (r"^[\w-]+?\.example", "x-y.example.com", True),
    (r"^A\.EXAMPLE", "a.example.com", True),
    (r"\(?<x", "a.example.com", False),
])
def test_regular_expressions(pattern: str, name: str, *, matches: bool) -> None:
    """Those that Python takes as PCRE does are decided; capitals mean that case is ignored."""
    assert (f"~{pattern}" if matches else DEFAULT,) == chosen([f"~{pattern}"], name)


@pytest.mark.parametrize("pattern", [
    "^(?i)a", r"a\Kb", "[[:alnum:]]", "(?>a)", "a++", r"\Qa\E", "(?|a|b)", "(*UCP)a", "a{,2}",
    r"\x61", r"\h", "(?#x)", "(?R)", r"(a)\1", r"\Aa", r"a\Z", r"a\z", r"\p{L}", "[]a]", "[a&&b]",
    "(?<=a)b", "(", "a{2}{3}", r"\N", r"\R", "(?i:a)", "*a"])
def test_regular_expressions_of_pcre_alone(pattern: str) -> None:
    """They may match or not; what comes before them is certain."""
    names = [f"~{pattern}", "~a", "exact"]
    assert (f"~{pattern}", "~a") == chosen(names, "a.example.com")
    assert (f"~{pattern}", DEFAULT) == chosen(names, "xx")
    assert ("exact",) == chosen(names, "exact")


@pytest.mark.parametrize(("name", "can_be"), [
    ("a.example.com", True), ("_", True), ("a_b.example.com", True), ("localhost", True),
    ("1a.example.com", True), ("203.0.113.5", False), ("203.0.113", False), ("5", False),
    ("2001:db8::5", False), ("a.example.com.", False), ("a.example.com:443", False),
    ("https://a.example.com", False), ("a..b", False), ("", False), ("a b", False),
    ("例子.中国", False), ("A.example.com", False), ("x" * 64, False),
    (".".join(["x" * 60] * 5), False)])
def test_what_can_be_asked_for(name: str, *, can_be: bool) -> None:
    """Names of hosts in lower case; addresses, ports and URLs are none."""
    assert can_be == can_be_asked_for(name)
