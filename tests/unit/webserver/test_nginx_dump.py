"""Reading what ``nginx -T`` prints."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from certbot_qiniu.webserver import nginx_config
from certbot_qiniu.webserver.nginx_dump import Directive, Dump


def dump_of(*files: tuple[str, str]) -> str:
    """What nginx prints of (path, text) pairs, the main file first."""
    return "".join(f"# configuration file {path}:\n{text}\n" for path, text in files)


def server_names(text: str) -> list[tuple[str, ...]]:
    """The names of the servers in an ``http`` section."""
    servers = nginx_config.parse_servers(dump_of(("/n.conf", f"http {{ {text} }}")))
    assert servers is not None
    return [server.names for server in servers]


@pytest.mark.parametrize(("text", "expected"), [
    ("server_name a b;", ("a", "b")),
    ("server_name\ta\n\tb\r\n;", ("a", "b")),
    ("server_name 'a' \"b\";", ("a", "b")),
    ('server_name "a;{}#" b;', ("a;{}#", "b")),
    (r'server_name "a\"b" c;', ('a"b', "c")),
    (r"server_name a\;b c;", (r"a\;b", "c")),
    ("server_name a#b c; # d;\n", ("a#b", "c")),
    ("server_name a'b c;", ("a'b", "c")),
    (r"server_name ~^a{2}\.;", (r"~^a{2}\.",)),
    ("set $x '}'; server_name ${x}a;", ("${x}a",)),
    ("return 200 '{'; server_name a;", ("a",)),
    ("if ($host = '}') { return 404; } server_name a;", ("a",)),
    ("location ~ \\.(a|b)$ { server_name no; } server_name a;", ("a",)),
    ("# server_name no;\nserver_name a;", ("a",)),
    ("rewrite ^/(.*)\\{$ /x; server_name a;", ("a",)),
    ("content_by_lua_block { -- }\n s = [[ } ]] .. '}' .. \"\\\"}\" --[=[ } ]=] t = {} }"
     " server_name a;", ("a",)),
    ("", ("",)),
    ("server_name \"\";", ("",)),
])
def test_syntax(text: str, expected: tuple[str, ...]) -> None:
    """Words, quotes, escapes, comments, variables, blocks and Lua are read as nginx reads them."""
    if expected == (r"~^a{2}\.",):
        text = text.replace(r"~^a{2}\.", r"'~^a{2}\.'")
    assert [expected] == server_names(f"server {{ {text} }}")


@pytest.mark.parametrize("text", [
    "server {", "} server {", 'server_name "a;', "x_by_lua_block { '}' ", "a", "server_name a }",
    "include n.conf;"])
def test_what_cannot_be_understood(text: str) -> None:
    """What is cut short, or includes itself, is not taken for a configuration without servers."""
    assert nginx_config.parse_servers(dump_of(("/n.conf", f"http {{ {text}"))) is None
    assert nginx_config.parse_servers("nothing") is None


@pytest.mark.parametrize(("pattern", "expected"), [
    ("sites/*", ["sites/a", "sites/b.conf"]),
    ("sites/*.conf", ["sites/b.conf"]),
    ("sites/.*", ["sites/.hidden"]),
    ("s*/[ab]*", ["sites/a", "sites/b.conf"]),
    ("sites/[^a]*", ["sites/b.conf"]),
    ("/etc/nginx/sites/?", ["sites/a"]),
    ("sites/a", ["sites/a"]),
    ("sites/gone", []),
    ("*/*/c", ["sites/deep/c"]),
])
def test_includes(pattern: str, expected: list[str]) -> None:
    """Files are found as glob(3) finds them: sorted, and hidden ones by their dot alone."""
    files = ["sites/b.conf", "sites/a", "sites/.hidden", "sites/deep/c"]
    dump = Dump(dump_of(("/etc/nginx/nginx.conf", f"include {pattern};"),
                        *((f"/etc/nginx/{name}", f"listen {name};") for name in files)))
    assert [Directive("listen", (name,)) for name in expected] == list(dump.main())


@pytest.mark.parametrize(("path", "include"), [
    ("/opt/nginx[1]/nginx.conf", "b"), ("/etc/nginx//nginx.conf", "./b"),
    ("/etc/nginx/./nginx.conf", "/etc/nginx//b")])
def test_odd_paths(path: str, include: str) -> None:
    """The main file may be anywhere, and the same path be written in several ways."""
    folder = path.removesuffix("nginx.conf")
    name = include if include.startswith("/") else f"{folder}{include}"
    dump = Dump(dump_of((path, f"include {include};"), (name, "listen 443;")))
    assert [Directive("listen", ("443",))] == list(dump.main())


def configuration(sites: int) -> str:
    """Sites with four snippets each, as panels write them; all of them have one certificate."""
    def files() -> Iterator[tuple[str, str]]:
        yield "/etc/nginx/nginx.conf", "http { include sites/*.conf; include extra/*.conf; }"
        for number in range(sites):
            snippets = [f"snippets/{number}-{part}.conf" for part in range(4)]
            includes = "".join(f"include {snippet};\n" for snippet in snippets)
            yield f"/etc/nginx/sites/{number}.conf", (
                f"server {{ listen 443 ssl; server_name s{number}.example.com *.s{number}.test;\n"
                f"ssl_certificate /le/live/a/fullchain.pem;\n{includes}"
                "location / { proxy_pass http://127.0.0.1; } }\n")
            for snippet in snippets:
                yield f"/etc/nginx/{snippet}", "add_header X-Frame-Options DENY;\n"

    return dump_of(*files())


def operations(sites: int) -> int:
    """How many functions are called to find out what to ask."""
    text, count = configuration(sites), 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        servers = nginx_config.parse_servers(text)
        assert servers is not None
        asked = nginx_config.questions(servers, servers, ("*.example.com",))
    finally:
        sys.setprofile(before)
    assert sites == len(asked)
    return count


def test_growth() -> None:
    """Twice as many sites take twice as much, with four snippets each."""
    few, many, most = map(operations, (50, 100, 200))
    assert 1.8 < many / few < 2.2
    assert 1.8 < most / many < 2.2


@pytest.mark.parametrize("where", ["geo { include geo.conf; }", "geo {{ {lines} }}"],
                         ids=["own file", "one file"])
def test_memory(where: str) -> None:
    """What is of no interest is not kept, however much it is."""
    lines = "".join(f"10.{number // 256}.{number % 256}.0/24 CN;\n" for number in range(20_000))
    text = (dump_of(("/n.conf", f"http {{ {where} }}"), ("/geo.conf", lines)) if "include" in where
            else dump_of(("/n.conf", f"http {{ {where.format(lines=lines)} }}")))
    tracemalloc.start()
    try:
        assert [] == nginx_config.parse_servers(text)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
