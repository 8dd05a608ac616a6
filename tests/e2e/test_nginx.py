"""Testing, reloading and questioning nginx: first with scripts in its place, then for real."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from certbot_qiniu import errors
from certbot_qiniu.webserver import local, nginx
from certbot_qiniu.webserver.nginx import Nginx, Outcome
from certbot_qiniu.webserver.server_names import ServerNames
from tests.sandbox import webserver
from tests.sandbox.pki import Authority, Leaf
from tests.sandbox.process import LOOPBACK, free_port, until
from tests.sandbox.webserver import Nginx as Web

SAN = "a.example.com"
AUTHORITY = Authority()

Script = Callable[[str, str], str]


class Lineage:
    """A lineage in certbot's folders, renewed at will."""

    def __init__(self, root: Path, name: str = "a", *names: str,
                 key_type: Literal["ec", "rsa"] = "ec") -> None:
        self.names = names or (SAN,)
        self.key_type = key_type
        self.live = root / "live" / name
        self.archive = root / "archive" / name
        self.live.mkdir(parents=True)
        self.archive.mkdir(parents=True)
        self.fullchain = self.live / "fullchain.pem"
        self.key = self.live / "privkey.pem"
        self.version = 0
        self.leaf: Leaf = self.renew()

    def renew(self) -> Leaf:
        """Issue the next version, as ``certbot renew`` does."""
        self.version += 1
        self.leaf = AUTHORITY.issue(*self.names, key_type=self.key_type)
        for kind, text in (("fullchain", self.leaf.fullchain_pem), ("privkey", self.leaf.key_pem)):
            version = self.archive / f"{kind}{self.version}.pem"
            version.write_text(text)
            link = self.live / f"{kind}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(version)
        return self.leaf

    @property
    def files(self) -> str:
        """The directives that make a block use this lineage."""
        return f"ssl_certificate {self.fullchain}; ssl_certificate_key {self.key};"

    def deploy(self, control: Nginx) -> Outcome:
        """Deploy the current version."""
        return control.deploy(self.live, self.fullchain, self.names, self.leaf.fingerprint)


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    """A lineage for one name."""
    return Lineage(tmp_path)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Write programs into the only folder where any are looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(nginx, "_search_path", lambda: str(folder))
    monkeypatch.setattr(local, "PROCESSES", tmp_path / "proc")  # of no concern here

    def write(name: str, text: str) -> str:
        path = folder / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def runs(pid: str) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path("/proc", pid, "stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("command", ["{tmp}/missing -t", "missing -t", "{tmp} -t"])
def test_missing_test_command(command: str, tmp_path: Path) -> None:
    """A test command of the user's that cannot be started is an error that names the option."""
    with pytest.raises(errors.NginxError, match=nginx.TEST_OPTION):
        Nginx(command.format(tmp=tmp_path)).test()


def test_failing_test(script: Script, lineage: Lineage, tmp_path: Path) -> None:
    """A failing test is reported with both streams, whatever bytes are in them; no reload."""
    script("nginx", f"""[ "$1" = -t ] || touch {tmp_path}/reloaded
        printf 'to stdout \\377'; printf '[emerg] unknown directive \\351\\n' >&2; exit 1""")
    with pytest.raises(errors.NginxError) as caught:
        Nginx().test()
    with pytest.raises(errors.NginxError):
        lineage.deploy(Nginx())
    for part in ("to stdout \ufffd", "[emerg] unknown directive \ufffd", "status 1", "nginx -t",
                 nginx.TEST_OPTION):
        assert part in str(caught.value)
    assert not (tmp_path / "reloaded").exists()


def test_long_output(script: Script) -> None:
    """Of a long output the end is shown, where the reason is."""
    script("nginx", "yes warning | head -n 100000 >&2; echo the reason >&2; exit 1")
    with pytest.raises(errors.NginxError) as caught:
        Nginx().test()
    assert str(caught.value).endswith("warning\nthe reason")
    assert len(str(caught.value)) < 2500


def test_hanging_test(script: Script, tmp_path: Path) -> None:
    """A test that hangs is stopped with all its children, and named."""
    script("nginx", f"(trap '' TERM; sleep 60) & echo $! > {tmp_path}/child; wait")
    start = time.monotonic()
    with pytest.raises(errors.NginxError, match=r"did not end within 0\.3 seconds"):
        Nginx(timeout_seconds=0.3).test()
    assert time.monotonic() - start < 10
    child = (tmp_path / "child").read_text().strip()
    until(lambda: not runs(child), "the child has ended")


def test_daemon_left_behind(script: Script) -> None:
    """A command that leaves a daemon with its streams open has ended all the same."""
    script("nginx", "sleep 9 &")
    start = time.monotonic()
    Nginx().test()
    assert time.monotonic() - start < 6


def test_environment(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands speak English and get no input."""
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    script("nginx", '[ "$LC_ALL" = C ] && ! read line')
    Nginx().test()


# Which reload


def test_absent(script: Script, lineage: Lineage) -> None:
    """Without any nginx there is nothing to test or reload, and that is no error."""
    control = Nginx()
    control.test()
    assert lineage.deploy(control).kind == "absent"


def test_absent_but_reload_given(script: Script, lineage: Lineage, tmp_path: Path) -> None:
    """A reload command of the user's is run even if there is no nginx to test."""
    command = script("reload", f"touch {tmp_path}/reloaded")
    assert lineage.deploy(Nginx(reload_cmd=command)).kind == "unconfirmed"
    assert (tmp_path / "reloaded").exists()


def test_reload_says_what_to_test(script: Script, lineage: Lineage, tmp_path: Path) -> None:
    """The test goes where the given reload goes: a container's nginx, not another one here."""
    script("nginx", "exit 1")
    docker = script("docker", f'echo "$@" >> {tmp_path}/calls')
    assert lineage.deploy(Nginx(reload_cmd=f"{docker} exec web nginx -s reload")
                          ).kind == "unconfirmed"
    assert (tmp_path / "calls").read_text().splitlines() == [
        "exec web nginx -t", "exec web nginx -s reload", "exec web nginx -T"]


@pytest.mark.parametrize(("active", "expected"), [
    ("exit 0", "systemctl reload nginx"),
    ("exit 3", "nginx -s reload"),
], ids=["active", "inactive"])
def test_systemd(script: Script, lineage: Lineage, tmp_path: Path, active: str,
                 expected: str) -> None:
    """systemd reloads what it runs, else nginx does it itself."""
    script("systemctl", f"""[ "$*" != "is-active --quiet nginx" ] || {active}
        echo systemctl "$@" >> {tmp_path}/calls""")
    script("nginx", f'echo nginx "$@" >> {tmp_path}/calls')
    lineage.deploy(Nginx())
    assert expected == (tmp_path / "calls").read_text().splitlines()[1]


def test_own_nginx_before_systemd(script: Script, lineage: Lineage, tmp_path: Path) -> None:
    """A test command with arguments of its own is reloaded with the same ones."""
    script("systemctl", "exit 0")
    own = script("my-nginx", f'echo "$@" >> {tmp_path}/calls')
    lineage.deploy(Nginx(f"{own} -p /srv -t -c /srv/n.conf"))
    assert (tmp_path / "calls").read_text().splitlines()[1] == "-p /srv -s reload -c /srv/n.conf"


@pytest.mark.parametrize("words", [
    'nginx: [error] invalid PID number "" in "/run/nginx.pid"',
    'nginx: [error] open() "/run/nginx.pid" failed (2: No such file or directory)',
    "2026/11/22 19:07:36 [alert] 4872#4872: kill(999999, 1) failed (3: No such process)",
])
def test_not_running(script: Script, lineage: Lineage, words: str) -> None:
    """An nginx that does not run is no error, whoever said how to reload it."""
    command = script("nginx", f"[ $1 = -t ] || {{ echo {shlex.quote(words)} >&2; exit 1; }}")
    assert lineage.deploy(Nginx()).kind == "not running"
    assert lineage.deploy(Nginx(reload_cmd=f"{command} -s reload")).kind == "not running"


@pytest.mark.parametrize("words", [
    'nginx: [emerg] open() "/etc/nginx/nginx.conf" failed (2: No such file or directory)',
    'nginx: [alert] could not open error log file: open() "/x" failed (2: No such file)',
    "nginx: [alert] kill(4711, 1) failed (1: Operation not permitted)",
])
def test_failing_reload(script: Script, lineage: Lineage, words: str) -> None:
    """A reload that failed for any other reason is an error with nginx's words."""
    script("nginx", f"[ $1 = -t ] || {{ echo {shlex.quote(words)} >&2; exit 1; }}")
    with pytest.raises(errors.NginxError) as caught:
        lineage.deploy(Nginx())
    assert words in str(caught.value)
    assert nginx.RELOAD_OPTION in str(caught.value)


@pytest.mark.parametrize("tail", ["exit 1", "sleep 60", "echo nonsense", "printf '\\377\\n'"])
def test_cannot_list(script: Script, lineage: Lineage, tail: str) -> None:
    """If nginx cannot list its configuration, the reload is unconfirmed, and not an error."""
    script("nginx", f"[ $1 != -T ] || {{ {tail}; }}")
    assert lineage.deploy(Nginx(timeout_seconds=0.5)).kind == "unconfirmed"


def test_wrapper_without_arguments(script: Script, lineage: Lineage) -> None:
    """A test command without ``-t`` cannot be asked for anything else."""
    test, reload = script("check", '[ -z "$*" ]'), script("reload", "exit 0")
    assert lineage.deploy(Nginx(test, reload)).kind == "unconfirmed"
    with pytest.raises(errors.NginxError, match=nginx.RELOAD_OPTION):
        lineage.deploy(Nginx(test))


def listing(lineage: Lineage, address: str, certificate: str = "") -> str:
    """What a script has to print for ``-T``."""
    certificate = certificate or str(lineage.fullchain)
    return f"""[ "$1" != -T ] || cat <<'END'
# configuration file /etc/nginx/nginx.conf:
http {{ server {{ listen {address} ssl; server_name {SAN}; ssl_certificate {certificate}; }} }}
END"""


def test_nobody_answers(script: Script, lineage: Lineage) -> None:
    """A port where nobody answers, as of a container, is no proof of anything."""
    script("nginx", listing(lineage, str(free_port())))
    outcome = lineage.deploy(Nginx(patience_seconds=0.1))
    assert outcome.kind == "unconfirmed"
    assert f"({SAN})" in outcome.detail


def test_nobody_to_ask(script: Script, lineage: Lineage) -> None:
    """A block that cannot be reached over TCP is not waited for."""
    script("nginx", listing(lineage, "unix:/run/web.sock"))
    start = time.monotonic()
    assert lineage.deploy(Nginx(patience_seconds=60)).kind == "unconfirmed"
    assert time.monotonic() - start < 20


def test_variables(script: Script, lineage: Lineage) -> None:
    """Certificates named by variables may or may not be ours."""
    script("nginx", listing(lineage, "443", "/live/$ssl_server_name/fullchain.pem"))
    assert lineage.deploy(Nginx()).kind == "unconfirmed"


def test_import_is_cheap() -> None:
    """The module loads nothing of TLS until that is needed."""
    code = ("import certbot.errors, sys; before = set(sys.modules); "
            "import certbot_qiniu.webserver.nginx; "
            "print({'ssl', 'socket'} & (set(sys.modules) - before))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# With a real nginx


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A real nginx, not yet started."""
    server = Web(tmp_path / "nginx")
    server.configure([])
    yield server
    server.stop()


def add(web: Web, *blocks: str) -> None:
    """Add *blocks* to the ``http`` section."""
    text = web.configuration.read_text().rstrip().removesuffix("}")
    web.configuration.write_text(text + "\n".join(blocks) + "\n}\n")


def block(web: Web, files: str, name: str = SAN) -> str:
    """An ordinary server block."""
    return f"server {{ listen {LOOPBACK}:{web.port} ssl; server_name {name}; {files} }}"


@pytest.mark.programs
def test_real_reload(web: Web, lineage: Lineage) -> None:
    """After a renewal the new leaf is served, and seen to be."""
    add(web, block(web, lineage.files))
    web.start()
    old, new = lineage.leaf, lineage.renew()
    assert old.fingerprint == web.served_fingerprint(SAN)
    outcome = lineage.deploy(Nginx(web.test_command))
    assert ("reloaded", f"nginx serves the certificate at {LOOPBACK}:{web.port} ({SAN})") == (
        outcome.kind, outcome.detail)
    # For a moment an old worker may still answer next to the new ones.
    until(lambda: new.fingerprint == web.served_fingerprint(SAN), "the new leaf alone")


@pytest.mark.programs
def test_real_reload_without_effect(web: Web, lineage: Lineage) -> None:
    """A reload command that does nothing is found out."""
    add(web, block(web, lineage.files))
    web.start()
    lineage.renew()
    with pytest.raises(errors.NginxError) as caught:
        lineage.deploy(Nginx(web.test_command, "true", patience_seconds=0.5))
    assert f"{LOOPBACK}:{web.port} ({SAN})" in str(caught.value)


@pytest.mark.programs
def test_real_reload_refused_by_the_master(web: Web, lineage: Lineage) -> None:
    """nginx's own reload exits 0 also when the master cannot take the configuration over."""
    add(web, "limit_req_zone $uri zone=z:64k rate=1r/s;", block(web, lineage.files))
    web.start()
    lineage.renew()
    text = web.configuration.read_text()
    # Only the running master knows that the zone is in use with another key.
    web.configuration.write_text(text.replace("limit_req_zone $uri", "limit_req_zone $host"))
    with pytest.raises(errors.NginxError, match="still serves another certificate"):
        lineage.deploy(Nginx(web.test_command, patience_seconds=0.5))
    assert 'uses the "$host" key while previously' in web.error_log


@pytest.mark.programs
def test_real_program_outside_of_the_path(tmp_path: Path, lineage: Lineage,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was built by hand is found by its process, and tested, reloaded and asked."""
    program = tmp_path / "sbin" / "nginx"
    program.parent.mkdir()
    shutil.copy(webserver.find_nginx() or "nginx", program)
    monkeypatch.setattr(webserver, "find_nginx", lambda: str(program))
    monkeypatch.setattr(nginx, "_program", lambda _name: None)
    server = Web(tmp_path / "nginx")
    server.configure([])
    add(server, block(server, lineage.files))
    server.start()
    try:
        # Those of other tests are left out.
        processes = tmp_path / "proc"
        processes.mkdir()
        for path in Path("/proc").iterdir():
            if path.name == "self" or (path.name.isdigit() and runs_from(path, program)):
                (processes / path.name).symlink_to(path)
        monkeypatch.setattr(local, "PROCESSES", processes)
        lineage.renew()
        control = Nginx()
        assert f"its configuration is sound ({server.test_command})" == control.test()
        assert "reloaded" == lineage.deploy(control).kind
        program.parent.chmod(0o777)
        assert "out of reach" == lineage.deploy(Nginx()).kind
    finally:
        server.stop()


def runs_from(process: Path, program: Path) -> bool:
    """Whether a process runs a program."""
    try:
        return (process / "exe").resolve() == program
    except OSError:
        return False


@pytest.mark.programs
def test_real_slow_workers(web: Web, lineage: Lineage) -> None:
    """New workers may take a moment to show up."""
    add(web, block(web, lineage.files))
    web.start()
    lineage.renew()
    slow = f"sh -c '(sleep 0.5; {web.reload_command}) >/dev/null 2>&1 &'"
    assert lineage.deploy(Nginx(web.test_command, slow)).kind == "reloaded"


@pytest.mark.programs
def test_real_broken_configuration(web: Web, lineage: Lineage) -> None:
    """A broken configuration is reported in nginx's words, and nothing is reloaded."""
    add(web, block(web, lineage.files))
    web.start()
    old = lineage.leaf
    lineage.renew()
    web.break_config()
    with pytest.raises(errors.NginxError, match='unknown directive "this_is_no_directive"'):
        lineage.deploy(Nginx(web.test_command))
    assert "signal process started" not in web.error_log
    assert old.fingerprint == web.served_fingerprint(SAN)


@pytest.mark.programs
@pytest.mark.parametrize("stale", [None, "", "4194304"], ids=["never ran", "emptied", "stale"])
def test_real_not_running(web: Web, lineage: Lineage, stale: str | None) -> None:
    """nginx is not started, whatever is left of its pid file."""
    add(web, block(web, lineage.files))
    if stale is not None:
        (web.configuration.parent / "nginx.pid").write_text(f"{stale}\n")
    assert lineage.deploy(Nginx(web.test_command)).kind == "not running"


CONFIGURATIONS = {
    "IPv6": "server {{ listen [::1]:{port} ssl; server_name a.example.com; {files} }}"
            "server {{ listen {loopback}:{port}; }}",
    "any address": "server {{ listen {port} ssl; listen [::]:{port} ssl; {files} }}",
    "wildcard": "server {{ listen {loopback}:{port} ssl; server_name x; {other} }}"
                "server {{ listen {loopback}:{port} ssl; server_name *.example.com; {files} }}",
    "regex": "server {{ listen {loopback}:{port} ssl; server_name x; {other} }}"
             r"server {{ listen {loopback}:{port} ssl; server_name '~^(?<s>a)\.'; {files} }}",
    "underscore": "server {{ listen {loopback}:{port} ssl; server_name _; {files} }}",
    "default": "server {{ listen {loopback}:{port} ssl; server_name a.example.com; {other} }}"
               "server {{ listen {loopback}:{port} ssl default_server; {files} }}",
    "inherited": "{files} server {{ listen {loopback}:{port} ssl; server_name a.example.com; }}",
    "two blocks": "server {{ listen {loopback}:{port} ssl; server_name b.example.com; {other} }}"
                  "server {{ listen {loopback}:{port} ssl; server_name a.example.com; {files} }}",
    "PROXY protocol": "server {{ listen {loopback}:{port} ssl proxy_protocol; {files} }}",
    "relative": "server {{ listen {loopback}:{port} ssl; server_name a.example.com; "
                "ssl_certificate ../live/a/fullchain.pem; "
                "ssl_certificate_key ../live/a/privkey.pem; }}",
}


@pytest.mark.programs
@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_real_configurations(web: Web, tmp_path: Path, text: str) -> None:
    """The right block is asked, for a reload that works as for one that does not."""
    lineage = Lineage(tmp_path, "a", SAN, "a.a.example.com")
    add(web, text.format(port=web.port, loopback=LOOPBACK, files=lineage.files,
                         other=Lineage(tmp_path, "b", "b.example.com").files))
    web.start()
    lineage.renew()
    with pytest.raises(errors.NginxError, match="still serves another certificate"):
        lineage.deploy(Nginx(web.test_command, "true", patience_seconds=0))
    assert lineage.deploy(Nginx(web.test_command)).kind == "reloaded"


NEIGHBOURS = {
    "address": "server_name 203.0.113.5 a.example.com;",
    "hostname": "server_name $hostname a.example.com;",
    "URL": "server_name https://a.example.com a.example.com;",
    "port": "server_name a.example.com:443 a.example.com;",
    "no name of a host": "server_name https://a.example.com;",
    "PCRE's own": "server_name '~^(?i)a\\.example\\.com$';",
    "PCRE's reset": "server_name '~^x\\Ka$';",
    "PCRE's classes": "server_name '~^[[:alnum:]]\\.example';",
    "conflict": "server_name .example.com;",
}
"""Blocks of ours next to a default block with another certificate."""


@pytest.mark.programs
@pytest.mark.parametrize("text", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_real_neighbours(web: Web, tmp_path: Path, text: str) -> None:
    """A reload that works is never said to have failed, whatever else is at the address."""
    lineage = Lineage(tmp_path, "a", SAN)
    other = Lineage(tmp_path, "b", "b.example.com").files
    listen = f"listen {LOOPBACK}:{web.port} ssl;"
    add(web, f"server {{ {listen} server_name default.example.com; {other} }}",
        f"server {{ {listen} {lineage.files} {text} }}")
    web.start()
    lineage.renew()
    never_matches = "https://a.example.com;" in text or "~^x" in text
    expected = "unconfirmed" if never_matches else "reloaded"
    assert expected == lineage.deploy(Nginx(web.test_command, patience_seconds=1)).kind
    assert lineage.deploy(Nginx(web.test_command, "true", patience_seconds=1)).kind == expected


RIVALS = ["default.test", "a.example.com", "*.example.com", ".example.com", "example.com",
          ".example.org", "example.org", "*.b.example.com", "mail.*", "mail.example.*",
          r"~^(?<x>w+)\d{2}\.", r"~^[^.]+\.TEST$", "*.test.net .test.net", "WWW.Example.NET", "_",
          "under_score.example.net", ".xn--fiqs8s", r"~^mail\."]
ASKED = ["default.test", "a.example.com", "x.example.com", "example.com", "y.x.example.com",
         "example.org", "x.example.org", "x.b.example.com", "b.example.com", "mail.net",
         "mail.example.net", "mail.example.co.uk", "ww12.example", "w1.example", "abc.test",
         "a.b.test", "test.net", "x.test.net", "www.example.net", "_", "under_score.example.net",
         "x.xn--fiqs8s", "xn--fiqs8s", "nobody", "mail"]


@pytest.mark.programs
@pytest.mark.parametrize("order", [1, -1], ids=["as written", "reversed"])
def test_real_choice_of_a_block(web: Web, tmp_path: Path, order: int) -> None:
    """nginx chooses the block for each name that is foreseen, conflicts included."""
    lineages = {rival: Lineage(tmp_path, str(number), "x.example")
                for number, rival in enumerate(RIVALS)}
    add(web, "server_names_hash_bucket_size 128;",
        *(block(web, lineages[rival].files, " ".join(f"'{name}'" for name in rival.split()))
          for rival in RIVALS[::order]))
    web.start()
    found = {lineage.leaf.fingerprint: rival for rival, lineage in lineages.items()}
    names = ServerNames([(rival, rival.lower().split() if rival[0] != "~" else [rival])
                         for rival in RIVALS[::order]], RIVALS[::order][0])
    assert {name: (found[web.served_fingerprint(name)],) for name in ASKED} == {
        name: names.lookup(name) for name in ASKED}


@pytest.mark.programs
@pytest.mark.parametrize(("ours", "other"), [("ec", "rsa"), ("rsa", "ec")])
def test_real_two_kinds_of_keys(web: Web, tmp_path: Path, ours: Literal["ec", "rsa"],
                                other: Literal["ec", "rsa"]) -> None:
    """Of a block with two certificates ours is looked for, whichever a client would prefer."""
    lineage = Lineage(tmp_path, key_type=ours)
    add(web, block(web, Lineage(tmp_path, "b", SAN, key_type=other).files + lineage.files))
    web.start()
    lineage.renew()
    with pytest.raises(errors.NginxError, match="still serves another certificate"):
        lineage.deploy(Nginx(web.test_command, "true", patience_seconds=0))
    assert lineage.deploy(Nginx(web.test_command)).kind == "reloaded"


@pytest.mark.programs
def test_real_two_kinds_of_keys_hidden(web: Web, tmp_path: Path) -> None:
    """If only one of two certificates can be seen, the other may well be right."""
    lineage = Lineage(tmp_path, key_type="rsa")
    add(web, "ssl_protocols TLSv1.3;", block(web, Lineage(tmp_path, "b").files + lineage.files))
    web.start()
    assert lineage.deploy(Nginx(web.test_command, patience_seconds=0.1)).kind == "unconfirmed"


@pytest.mark.programs
def test_real_unused(web: Web, lineage: Lineage, tmp_path: Path) -> None:
    """nginx that uses other files is reloaded, and what it serves is no matter of ours."""
    add(web, block(web, Lineage(tmp_path, "b").files))
    web.start()
    assert lineage.deploy(Nginx(web.test_command)).kind == "unused"


@pytest.mark.programs
def test_real_old_version(web: Web, lineage: Lineage) -> None:
    """A block that is tied to an old version in the archive never serves the new leaf."""
    add(web, block(web, f"ssl_certificate {lineage.archive}/fullchain1.pem; "
                        f"ssl_certificate_key {lineage.archive}/privkey1.pem;"))
    web.start()
    lineage.renew()
    with pytest.raises(errors.NginxError, match="names the current file"):
        lineage.deploy(Nginx(web.test_command, patience_seconds=0.5))


@pytest.mark.programs
def test_real_container(web: Web, lineage: Lineage, tmp_path: Path) -> None:
    """What answers here need not be the container's nginx: only the right leaf is proof."""
    add(web, block(web, lineage.files))
    web.start()
    docker = tmp_path / "docker"
    inside = web.test_command.removesuffix(" -t")
    docker.write_text(f'#!/bin/sh\nshift 3\nexec {inside} "$@"\n')
    docker.chmod(0o755)
    lineage.renew()
    test = f"{docker} exec web nginx -t"
    assert lineage.deploy(Nginx(test, "true", patience_seconds=0.1)).kind == "unconfirmed"
    assert lineage.deploy(Nginx(test)).kind == "reloaded"
