"""What a command runs of certbot, and what a crontab runs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from certbot_qiniu.command.jobs.command_lines import Call, Line, Place, calls, crontab

PLACE = Place({"PATH": "/usr/bin:/bin", "HOME": "/h"})


def found(text: str, scripts: dict[str, str] | None = None) -> list[Call]:
    """The calls in *text*, on a machine with these scripts."""
    left = dict(scripts or {})

    def read(paths: Sequence[str]) -> str:
        return next((left.pop(path) for path in paths if path in left), "")

    return list(calls(text, PLACE, read))


@pytest.mark.parametrize(("text", "program"), [
    ("certbot renew", "certbot"),
    ("/opt/certbot/bin/certbot -q renew --deploy-hook 'a b'", "/opt/certbot/bin/certbot"),
    ("/opt/certbot/bin/certbot-qiniu renew --quiet", "/opt/certbot/bin/certbot-qiniu"),
    ('sh -c "cd / && certbot renew"', "certbot"), ("/bin/sh -c cd / && certbot renew", "certbot"),
    ("bash -lc 'certbot renew'", "certbot"), ("su -c 'certbot renew' root", "certbot"),
    ("cd / && certbot renew", "certbot"), ("(certbot renew; true) >/dev/null 2>&1", "certbot"),
    ("certbot \\\n   renew", "certbot"), ('"certbot" "renew"', "certbot"),
    ("if true; then certbot renew; fi", "certbot"), ("! certbot renew || exit 1", "certbot"),
    ("nice -n 19 flock -n /run/lock certbot renew | logger -t certbot", "certbot"),
    ("perl -e 'sleep int(rand(43200))' && certbot -q renew", "certbot"),
    ("sleep $((RANDOM % 3600)); certbot renew", "certbot"),
    ("/opt/v/bin/python3.11 -m certbot renew", "/opt/v/bin/python3.11"),
    ("/opt/v/bin/python -m certbot_qiniu renew", "/opt/v/bin/python"),
    ("/usr/bin/snap run --timer=00:00~24:00/2 certbot.renew", "certbot.renew"),
    ("snap run certbot renew", "certbot.renew"), ("/snap/bin/certbot renew", "/snap/bin/certbot"),
    ("certbot-auto renew", "certbot-auto"), ("certbot-3 renew", "certbot-3"),
    ("letsencrypt renew", "letsencrypt"),
    ("echo it's; certbot renew", "certbot"),
    ("flock -n /run/certbot /usr/bin/certbot renew", "/usr/bin/certbot"),
    ("systemd-cat -t certbot nice /usr/bin/certbot -q renew", "/usr/bin/certbot"),
    ("certbot $OPTIONS renew", "certbot"), ("$(which certbot) renew", "certbot"),
    ('"$(command -v certbot)" renew -q', "certbot"), ("`which certbot` renew", "certbot"),
    ('said="$(certbot renew 2>&1)"', "certbot"),
])
def test_renewal(text: str, program: str) -> None:
    """Shells, prefixes, operators and quotation marks hide nothing."""
    assert [program] == [call.program for call in found(text)]


@pytest.mark.parametrize("text", [
    "certbot certificates", "echo certbot renew", "# certbot renew", "true # certbot renew",
    "grep certbot renew.log", "mail -s 'certbot renew failed' root", "certbot-qiniu status",
    "certbot certificates --cert-name renew", "certbot run -d renew",
    "certbot-renewer renew", "cat certbot", "", "certbot-qiniu status renew",
    "PATH=/x", "systemctl status certbot.service"])
def test_no_renewal(text: str) -> None:
    """What only speaks of it does not count."""
    assert [] == found(text)


def test_several() -> None:
    """Each call counts by itself, with its own options."""
    one, other = found("certbot renew --cert-name a --dry-run; certbot renew --cert-name=b -q")
    assert ("a", "b") == (one.option("--cert-name"), other.option("--cert-name"))
    assert (True, False) == (one.rehearses, other.rehearses)
    assert "" == other.option("--config-dir")
    assert "" == found("certbot renew --cert-name")[0].option("--cert-name")
    [call] = found("for name in a b; do certbot renew --cert-name $name; done")
    assert "" == call.option("--cert-name")


@pytest.mark.parametrize(("text", "as_root"), [
    ("sudo -n certbot renew", True), ("doas certbot renew", True), ("certbot renew", False)])
def test_rights(text: str, as_root: bool) -> None:
    """A job of another user may run as root."""
    [call] = found(text)
    assert as_root is call.as_root


@pytest.mark.parametrize("runner", ["docker exec web", "podman run --rm -v /a:/b", "ssh host",
                                    "conda run -n web", "pipx run"])
def test_elsewhere(runner: str) -> None:
    """A call in another system is distinguished from one here."""
    [call] = found(f"/usr/bin/{runner} certbot renew")
    assert runner.split()[0] == call.elsewhere


@pytest.mark.parametrize("image", [
    "certbot/certbot", "certbot/certbot:v2.11.0", "certbot/dns-cloudflare", "my-certbot:latest"])
def test_images(image: str) -> None:
    """An image of certbot's has it for its program, whatever its tag."""
    [call] = found(f"docker run --name certbot -v /etc/letsencrypt:/etc/letsencrypt {image} renew")
    assert (image, "docker") == (call.program, call.elsewhere)


@pytest.mark.parametrize(("text", "first"), [
    ("certbot renew", "/usr/bin/certbot"), ("/a/certbot renew", "/a/certbot"),
    ("PATH=/o/bin:$PATH certbot renew", "/o/bin/certbot"),
    ("export PATH=/o/bin:${PATH}; certbot renew", "/o/bin/certbot"),
    ("PATH=/o/bin\ncertbot renew", "/o/bin/certbot"),
    ("env PATH=/o/bin certbot renew", "/o/bin/certbot"),
    ("cd /o && bin/certbot renew", "/o/bin/certbot"),
    ("cd /o; ./certbot renew", "/o/certbot"), ("cd ~ && ./certbot renew", "/h/certbot"),
    ("~/bin/certbot renew", "/h/bin/certbot"),
    ("VENV=/o; $VENV/bin/certbot renew", "/o/bin/certbot"),
    ("/bin/sh -c C=/o/certbot; $C renew", "/o/certbot"),
    ("C=/o/certbot\n\"${C}\" renew", "/o/certbot"),
    ("${C:-/o/certbot} renew", "/o/certbot"), ("A=/o; B=$A/bin; PATH=$B; certbot renew",
                                               "/o/bin/certbot"),
    (". /o/bin/activate && certbot renew", "/o/bin/certbot"),
    ("cd /o; source bin/activate; certbot renew", "/o/bin/certbot"),
])
def test_which_certbot(text: str, first: str) -> None:
    """The folders that a shell would look into come in their order."""
    [call] = found(text)
    assert first == call.place.candidates(call.program)[0]


SHELL = "#!/bin/sh\n# renew\n"


@pytest.mark.parametrize(("text", "scripts", "count"), [
    ("/s/renew.sh", {"/s/renew.sh": f"{SHELL}certbot renew\n"}, 1),
    ("renew.sh -v", {"/bin/renew.sh": "#!/usr/bin/env bash\ncertbot renew\n"}, 1),
    ("sh -e /s/x", {"/s/x": "certbot renew"}, 1), ("sh /s/x", {"/s/x": "certbot renew"}, 1),
    (". /s/x", {"/s/x": "certbot renew"}, 1), ("/s/x", {"/s/x": "certbot renew"}, 0),
    ("/s/x", {"/s/x": "#!/usr/bin/python3\ncertbot renew"}, 0),
    ("/s/x", {"/s/x": f"{SHELL}/s/y\n", "/s/y": f"{SHELL}certbot renew"}, 1),
    ("/s/x", {"/s/x": f"{SHELL}/s/x\n"}, 0),
    ("cd /s && sh x", {"/s/x": "certbot renew"}, 1), ("cd /s && x", {"/s/x": SHELL}, 0),
    ("nice -n 19 flock -w 60 /l /s/x", {"/s/x": f"{SHELL}certbot renew\n"}, 1),
], ids=["script", "by its name", "option", "for sh", "read in", "no script", "Python", "nested",
        "itself", "in its folder", "not in its folder", "behind others"])
def test_scripts(text: str, scripts: dict[str, str], count: int) -> None:
    """A script is followed, and so are those that it runs."""
    assert count == len(found(text, scripts))


def test_crontab() -> None:
    """Settings, comments and what is no job are left out; a percent sign ends a command."""
    text = ("PATH=/x:/y\n# 1 2 * * * root a\n\n17 3,15 * * * root certbot renew\n"
            "@daily\troot a 100\\% b%input\n  0 0 * * 0 bob c d\nPATH = \"/z\"\n1 2 3\n"
            "0 0 * * * root e\n")
    before = {"PATH": "/x:/y"}
    assert [Line(4, "root", "certbot renew", before, "17 3,15 * * *"),
            Line(5, "root", "a 100% b", before, "@daily"),
            Line(6, "bob", "c d", before, "0 0 * * 0"),
            Line(9, "root", "e", {"PATH": "/z"}, "0 0 * * *")
            ] == list(crontab(text))


def test_at_boot() -> None:
    """A job at boot is distinguished from one that runs again and again."""
    assert [True, False] == [line.at_boot for line in crontab("@reboot a\n@daily a\n", "bob")]


def test_other_kinds_of_crontabs() -> None:
    """A user's own has no user in it, anacron's has other fields."""
    assert [Line(1, "bob", "certbot renew", {}, "0 0 * * *")] == list(
        crontab("0 0 * * * certbot renew\n", "bob"))
    assert [Line(1, "root", "run it", {}, "1 5 daily")] == list(
        crontab("1\t5\tdaily\trun it\n", "root", fields=3))
