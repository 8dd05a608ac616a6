"""The options that scripts give to lego."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.command.setups.lego_scripts import LegoRun, read_lego_runs

SOURCE = Path("/root/.lego/renew.sh")


def only(text: str) -> LegoRun:
    """The one command line in a script."""
    [run] = read_lego_runs(text, SOURCE)
    return run


@pytest.mark.parametrize("text", [
    "ALICLOUD_ACCESS_KEY=a ALICLOUD_SECRET_KEY=b lego --dns alidns -d example.com renew",
    "export ALICLOUD_ACCESS_KEY=a\nexport ALICLOUD_SECRET_KEY='b'\n"
    "/usr/local/bin/lego --dns=alidns \\\n  --domains example.com renew --days 45",
    "#!/bin/sh\nKEY=a; ALICLOUD_ACCESS_KEY=$KEY\nALICLOUD_SECRET_KEY=\"b\"\nLEGO=/opt/lego\n"
    "DOMAIN=example.com\n$LEGO --dns alidns --domains ${DOMAIN} renew && systemctl reload x",
    "docker run --rm -e ALICLOUD_ACCESS_KEY=a -e ALICLOUD_SECRET_KEY=b goacme/lego:v4.20 "
    "--dns alidns --domains example.com renew",
    "0 5 * * 0 root ALICLOUD_ACCESS_KEY=a ALICLOUD_SECRET_KEY=b lego --dns alidns "
    "-d example.com renew # weekly",
], ids=["one line", "exports", "constants", "container", "crontab"])
def test_forms(text: str) -> None:
    """Provider, names and keys, however they are written."""
    run = only(text)
    assert ("alidns", ("example.com",)) == (run.value("dns"), run.options["domains"])
    assert ("a", "b") == (run.environment["ALICLOUD_ACCESS_KEY"],
                          run.environment["ALICLOUD_SECRET_KEY"])
    assert "ALICLOUD" not in repr(run)


def test_hook() -> None:
    """It is one word, and ends with its quote."""
    run = only("lego --http --http.webroot /srv/www -m a@b.c --renew-hook 'nginx -s reload' "
               "--key-type rsa2048 -s https://ca.example/dir renew")
    assert {"renew-hook": ("nginx -s reload",), "http.webroot": ("/srv/www",),
            "email": ("a@b.c",), "key-type": ("rsa2048",), "server": ("https://ca.example/dir",)
            } == run.options
    assert {"http", "renew"} <= run.flags


@pytest.mark.parametrize("value", ["$(cat key)", "`cat key`", "$UNKNOWN", "${X:-y}"])
def test_what_a_shell_would_compute(value: str) -> None:
    """It is not known, and not taken for a value."""
    assert "" == only(f'lego --dns "{value}" renew').value("dns")


@pytest.mark.parametrize("text", ["", "legolas --dns x", "echo 'lego", "# lego --dns x"])
def test_no_lego(text: str) -> None:
    """What does not run it is no command line of its."""
    assert [] == list(read_lego_runs(text, SOURCE))


@pytest.mark.parametrize(("domains", "expected"), [
    ("-d example.com", True), ("-d EXAMPLE.com,x.test", True), ("-d x.test", False), ("", True),
    ("-d $d", True)])
def test_for_which_certificate(domains: str, *, expected: bool) -> None:
    """A command line without names that are known may be for any."""
    assert expected is only(f"lego {domains} renew").is_for(("example.com", "*.example.com"))
