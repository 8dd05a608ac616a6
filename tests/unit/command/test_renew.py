"""What a timer runs: which programs, with what, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from certbot_qiniu.command import cli, renew
from certbot_qiniu.command.jobs import plugins


class Place:
    """A machine whose programs are only written down.

    :ivar ends: how a program ends, by the first of these words that is in its command.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.options = [f"--{kind}-dir={folder / kind}" for kind in ("config", "work", "logs")]
        self.ends: dict[str, str] = {}
        self.ran: list[str] = []
        monkeypatch.setattr(renew, "program", lambda name: name)
        monkeypatch.setattr(renew.Programs, "run", self._run)
        monkeypatch.setattr(plugins, "installed", lambda: {"webroot", "qiniu"})

    def _run(self, command: Sequence[str], seconds: float) -> str:
        assert 0 < seconds <= renew.CERTBOT_SECONDS
        assert command[2:].count("--config-dir=" + str(self.folder / "config")) == 1
        self.ran.append(" ".join(word for word in command if word not in self.options))
        return next((end for word, end in self.ends.items() if word in command), "")

    def conf(self, name: str, *lines: str) -> None:
        path = self.folder / "config" / "renewal" / f"{name}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["[renewalparams]", *lines, ""]))

    def run(self, *arguments: str) -> int:
        return cli.main(["renew", *self.options, *arguments])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine with a lineage of ours and one of a neighbour's."""
    found = Place(tmp_path, monkeypatch)
    found.conf("ours", "authenticator = webroot", "installer = qiniu")
    found.conf("shop", "authenticator = webroot", "installer = None")
    return found


def lacking(place: Place) -> None:
    """Let the neighbour's conf name what this certbot lacks."""
    place.conf("shop", "authenticator = webroot", "installer = nginx")


def test_renewal_then_status(place: Place) -> None:
    """It renews all lineages at once, then reports, with the same folders."""
    assert 0 == place.run("--notify=@/n", "--heartbeat=@/h", "--prometheus=/p", "--deadline=60")
    assert ["certbot renew --no-random-sleep-on-renew",
            "certbot-qiniu status --managed --probe --deadline=60.0 --prometheus=/p --notify=@/n "
            "--heartbeat=@/h --renewal="] == place.ran


@pytest.mark.parametrize(("arguments", "certbot", "status"), [
    (("-q",), " --quiet", " --probe --quiet"), (("--no-probe",), "", ""),
    (("--", "-q", "--deploy-hook", "a b"), " -q --deploy-hook a b", " --probe"),
    (("--cert-name", "shop"), " --cert-name=shop", " --probe")],
    ids=["quiet", "without the edge", "for certbot", "one lineage"])
def test_arguments(place: Place, arguments: tuple[str, ...], certbot: str, status: str) -> None:
    """What follows the two dashes is for certbot, and for nobody else."""
    place.run(*arguments)
    assert [f"certbot renew --no-random-sleep-on-renew{certbot}",
            f"certbot-qiniu status --managed{status} --deadline=900 --renewal="] == place.ran


@pytest.mark.parametrize(("certbot", "status", "ended"), [
    ("", "", 0), ("1", "", 1), ("", "1", 1), ("", "2", 2), ("1", "2", 1), ("signal 9", "", 1),
    ("", "signal 9", 2)])
def test_exit_status(place: Place, certbot: str, status: str, ended: int) -> None:
    """Either half may need attention; the second one gets the result of the first."""
    place.ends = {"certbot": certbot, "certbot-qiniu": status}
    assert ended == place.run()
    assert place.ran[-1].endswith(f"--renewal={certbot}")


def test_lineage_whose_plugin_is_missing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named and left alone; the others are renewed one after the other, damaged ones too."""
    lacking(place)
    place.conf("broken", "autorenew = maybe")
    assert 1 == place.run()
    assert ["certbot renew --no-random-sleep-on-renew --cert-name=broken",
            "certbot renew --no-random-sleep-on-renew --cert-name=ours",
            "certbot-qiniu status --managed --probe --deadline=900 --renewal="] == place.ran
    said = capsys.readouterr().err
    assert 1 == said.count("must not renew")
    assert "certbot must not renew shop: it has no plugin nginx" in said
    assert "install certbot-nginx==" in said
    place.ends["certbot-qiniu"] = "1"
    assert 1 == place.run()
    assert "" == capsys.readouterr().err  # the status has named it


def test_failure_of_one_of_several(place: Place) -> None:
    """The others are still renewed, and the status gets the result."""
    lacking(place)
    place.conf("a", "authenticator = webroot", "installer = qiniu")
    place.ends["--cert-name=a"] = "1"
    place.run()
    assert 2 == sum("--cert-name" in line for line in place.ran)
    assert place.ran[-1].endswith("--renewal=1")


def test_one_lineage_whose_plugin_is_missing(place: Place) -> None:
    """Nothing is renewed; and what others lack is no matter if one is named that lacks none."""
    lacking(place)
    assert 1 == place.run("--cert-name=shop")
    assert ["certbot-qiniu"] == [line.split()[0] for line in place.ran]
    assert 0 == place.run("--cert-name=ours")


def test_plugins_that_cli_ini_chooses(place: Place, tmp_path: Path) -> None:
    """What certbot is given for all lineages goes before their confs."""
    lacking(place)
    (tmp_path / "cli.ini").write_text("installer = qiniu\n")
    assert 0 == place.run("--config", str(tmp_path / "cli.ini"))
    (tmp_path / "cli.ini").write_text("configurator = apache\n")
    assert 1 == place.run("--config", str(tmp_path / "cli.ini"))


def test_dry_run_tells_nobody(place: Place) -> None:
    """A rehearsal is no renewal that a heartbeat could confirm."""
    assert 0 == place.run("--heartbeat=@/h", "--", "--dry-run")
    assert ["certbot renew --no-random-sleep-on-renew --dry-run"] == place.ran


@pytest.mark.parametrize("words", [("--cert-name", "a"), ("-c", "/etc/a"),
                                   ("--config-dir=/etc/other",)])
def test_what_both_must_know(place: Place, capsys: pytest.CaptureFixture[str],
                             words: tuple[str, ...]) -> None:
    """Given to certbot alone, it would let status look elsewhere."""
    assert 2 == place.run("--", *words)
    assert "before the --" in capsys.readouterr().err
    assert [] == place.ran
