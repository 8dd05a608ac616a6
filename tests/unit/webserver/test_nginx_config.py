"""Reading nginx's configuration, and choosing whom to ask for what."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.webserver.nginx_config import Question, Server, parse_servers, questions

OURS = Path("/le/live/a")
NAMES = ("a.example.com", "*.a.example.com")


def servers_of(*files: tuple[str, str]) -> list[Server]:
    """The server blocks of (path, text) pairs, the main file first."""
    dump = "".join(f"# configuration file {path}:\n{text}\n\n" for path, text in files)
    servers = parse_servers(dump)
    assert servers is not None
    return servers


def asked(text: str) -> list[str]:
    """What is asked about the blocks of an ``http`` section that use our files."""
    servers = servers_of(("/etc/nginx/nginx.conf", f"events {{}} http {{ {text} }}"))
    users = [server for server in servers if server.uses({OURS})]
    return [str(question) for question in questions(servers, users, NAMES)]


@pytest.mark.parametrize("dump", [
    "",
    "nginx: configuration file /etc/nginx/nginx.conf test is successful\n",
    "# configuration file /etc/nginx/nginx.conf:\nhttp { server {\n",
    "# configuration file /etc/nginx/nginx.conf:\nhttp {} }\n",
], ids=["nothing", "no dump", "cut short", "one brace too many"])
def test_unreadable(dump: str) -> None:
    """What is no dump of a configuration is not taken for one without servers."""
    assert parse_servers(dump) is None


def test_no_servers() -> None:
    """A configuration without server blocks is readable."""
    assert servers_of(("/etc/nginx/nginx.conf", "events {}")) == []


def test_includes() -> None:
    """Included files count where they are included, by glob or name, relative or absolute."""
    [inherits, own] = servers_of(
        ("/etc/nginx/nginx.conf", 'http { include conf.d/*.conf; include "/srv/extra/b"; }'),
        ("/etc/nginx/conf.d/tls.conf", "ssl_certificate ssl/all.pem;"),
        ("/srv/extra/b", "server { server_name a; } server { server_name b; include cert; }"),
        ("/etc/nginx/cert", "ssl_certificate /le/live/a/fullchain.pem;"),
        ("/etc/nginx/conf.d/deeper/not.conf", "server { server_name never; }"))
    assert (inherits.names, inherits.certificates) == (("a",), ("/etc/nginx/ssl/all.pem",))
    assert (own.names, own.certificates) == (("b",), ("/le/live/a/fullchain.pem",))


def test_syntax() -> None:
    """Comments, quotes and Lua do not confuse."""
    [mail, web, tcp] = servers_of(("/nginx.conf", """
        # server { server_name no; }
        mail { server { listen 993 ssl; } }
        http {
            log_format x '{ "server": "$host;" }'; # }
            server { server_name "A" b; content_by_lua_block { if x then s = "}" end } }
        }
        stream { server { listen 5000; proxy_pass x; } }"""))
    assert (mail.section, mail.listens[0].address[1]) == ("mail", 993)
    assert web.names == ("a", "b")
    assert (tcp.names[0], tcp.listens[0].address[1]) == ("", 5000)


def test_terminal() -> None:
    """Lines that end as on a terminal, which ``docker exec -t`` makes, are understood."""
    servers = parse_servers("# configuration file /n.conf:\r\nhttp { server {\r\n} }\r\n\r\n")
    assert servers == [Server(("",), (), ())]


@pytest.mark.parametrize(("path", "expected"), [
    ("live/a/fullchain.pem", True),
    ("live/a/cert.pem", True),
    ("archive/a/fullchain1.pem", True),
    ("etc/link.pem", True),
    ("live/b/fullchain.pem", False),
    ("live/ab/fullchain.pem", False),
    ("live/$ssl_server_name/fullchain.pem", False),
    ("gone/fullchain.pem", False),
    ("etc/circle.pem", False),
])
def test_uses(tmp_path: Path, path: str, expected: bool) -> None:
    """A block uses a lineage when a certificate is one of its files, directly or behind links."""
    for folder in ("archive/a", "archive/b", "live/a", "live/b", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    for name in "ab":
        (tmp_path / f"archive/{name}/fullchain1.pem").touch()
        (tmp_path / f"live/{name}/fullchain.pem").symlink_to(
            f"../../archive/{name}/fullchain1.pem")
    (tmp_path / "etc/circle.pem").symlink_to("circle.pem")
    (tmp_path / "etc/link.pem").symlink_to(tmp_path / "live/a/fullchain.pem")
    server = Server(("",), (), (str(tmp_path / path),))
    assert expected == server.uses({tmp_path / "live/a", tmp_path / "archive/a"})


@pytest.mark.parametrize(("listen", "expected"), [
    ("443 ssl", ["127.0.0.1:443"]),
    ("*:443 ssl http2", ["127.0.0.1:443"]),
    ("0.0.0.0:8443 ssl", ["127.0.0.1:8443"]),
    ("[::]:443 ssl ipv6only=on", ["[::1]:443"]),
    ("[2001:db8::1]:8443 ssl", ["[2001:db8::1]:8443"]),
    ("192.0.2.7:443 ssl default_server", ["192.0.2.7:443"]),
    ("192.0.2.7 ssl", ["192.0.2.7:80"]),
    ("[::1] ssl", ["[::1]:80"]),
    ("www.example.com:443 ssl", ["www.example.com:443"]),
    ("8443-8450 ssl", ["127.0.0.1:8443"]),
    ("443 ssl; listen [::]:443 ssl", ["127.0.0.1:443", "[::1]:443"]),
    ("443; ssl on", ["127.0.0.1:443"]),
    ("443 ssl; listen 443 quic reuseport", ["127.0.0.1:443"]),
    ("443 quic", []),
    ("unix:/run/web.sock ssl", []),
    ("80", []),
])
def test_addresses(listen: str, expected: list[str]) -> None:
    """Each TLS address that can be reached over TCP is asked, a wildcard one on the loopback."""
    text = f"server {{ listen {listen}; server_name w; ssl_certificate /le/live/a/c.pem; }}"
    assert [f"{place} (w)" for place in expected] == asked(text)


def test_other_protocol() -> None:
    """A block that takes part only in HTTP/3 is not asked about over TCP."""
    assert [] == asked("server { listen 443 ssl; ssl_certificate /other.pem; }"
                       "server { listen 443 quic; server_name w; "
                       "ssl_certificate /le/live/a/c.pem; }")


@pytest.mark.parametrize(("server_name", "expected"), [
    ("server_name A.example.com b.example.com;", "a.example.com"),
    ("server_name *.b.example.com;", "certbot-qiniu.b.example.com"),
    ("server_name .b.example.com;", "certbot-qiniu.b.example.com"),
    ("server_name www.*;", "www.certbot-qiniu"),
    (r"server_name ~^(?<sub>\w)\.example\.com$;", "a.example.com"),
    (r"server_name ~\.a\.example;", "certbot-qiniu.a.example.com"),
    (r"server_name '~^A\.\D{10}';", "a.example.com"),
    ("server_name ~^nobody$;", None),
    ("server_name ~(?>possessive)++(;", "a.example.com"),
    ("server_name 例子.中国;", None),
    ("", None),
    ("server_name _;", "_"),
])
def test_names(server_name: str, expected: str | None) -> None:
    """A block that is not the default one is asked by a name that leads to it, or not at all."""
    ours = f"server {{ listen 443 ssl; {server_name} ssl_certificate /le/live/a/c.pem; }}"
    text = "server { listen 443 ssl default_server; server_name x; } " + ours
    assert ([f"127.0.0.1:443 ({expected})"] if expected else []) == asked(text)


@pytest.mark.parametrize(("other", "expected"), [
    ("listen 443 ssl; server_name a.example.com;", "certbot-qiniu.a.example.com"),
    ("listen 443 ssl; server_name .a.example.com;", None),
    ("listen 443 ssl; server_name *.a.example.com;", "a.example.com"),
    ("listen 443 ssl; server_name ~example;", None),
    ("listen 443 ssl; server_name a.*;", "certbot-qiniu.a.example.com"),
    ("listen 443 ssl default_server; server_name x;", None),
    ("listen 8443 ssl; server_name a.example.com;", "a.example.com"),
    ("listen 127.0.0.1:443 ssl; server_name x;", None),
])
def test_rivals(other: str, expected: str | None) -> None:
    """A default block is asked by a name that nginx leads to no other block."""
    ours = "server { listen 443 ssl; ssl_certificate /le/live/a/c.pem; }"
    assert ([f"127.0.0.1:443 ({expected})"] if expected else []) == asked(
        f"{ours} server {{ {other} }}")


def test_address_options() -> None:
    """What one block says of an address holds for all blocks there."""
    servers = servers_of(("/nginx.conf", """http {
        server { listen 443 ssl proxy_protocol; server_name x; }
        server { listen 443; server_name a; ssl_certificate /a.pem; ssl_certificate /b.pem; } }"""))
    expected = [Question("127.0.0.1", 443, "a", proxied=True, several=True, is_sure=True)]
    assert expected == questions(servers, servers[1:], ())
