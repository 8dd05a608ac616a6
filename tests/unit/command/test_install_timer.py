"""The units and the cron file: without secrets, quoted, and where they belong."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.command import cli, install_timer
from certbot_qiniu.command.jobs import plugins
from certbot_qiniu.environment import program

SECRET = "json://user:s3cret@example.com/t0ken"


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """The options that name certbot's folders."""
    return [f"--{kind}-dir={tmp_path / kind}" for kind in ("config", "work", "logs")]


def install(*arguments: str) -> int:
    return cli.main(["install-timer", *arguments])


def test_service(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs our command, with what that needs, and no secret is in it."""
    install(*folders, "--print", "--directory", "/x", "--notify", SECRET, "--notify", "@/$o'her",
            "--on-failure", "tell-me.service", "--prometheus", str(tmp_path / "a b.prom"))
    text = capsys.readouterr().out
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
    assert lines["ExecStart"] == (
        f"{program('certbot-qiniu')} renew --quiet {' '.join(folders)} "
        f'"--prometheus={tmp_path}/a b.prom" '
        f"--notify=@{tmp_path}/config/qiniu/notify \"--notify=@/$$o'her\"")
    assert lines["EnvironmentFile"] == f"-{tmp_path}/config/qiniu/environment"
    assert lines["OnFailure"] == "tell-me.service"
    assert "s3cret" not in text
    assert not (tmp_path / "config" / "qiniu").exists()


SANDBOX = ("Protect", "Private", "ReadWrite", "ReadOnly", "Inaccessible", "Restrict", "Device",
           "Capability", "NoNewPrivileges", "SystemCall", "LockPersonality", "MemoryDeny", "Bind",
           "TemporaryFile", "Root", "DynamicUser", "User", "UMask", "Limit")


def test_unit_restricts_nothing(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It renews all lineages of the machine, whose hooks and web servers are not ours to judge."""
    install(*folders, "--print", "--directory", "/x")
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:1] != "#"]
    assert [] == [line for line in lines if line.startswith(SANDBOX)]
    # Nor does its end end what certbot or a hook has started, such as a web server.
    assert {"TimeoutStartSec=7h", "KillMode=process"} <= set(lines)


def test_default_folders_need_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    """The usual installation has the shortest commands."""
    install("--print", "--directory", "/x")
    text = capsys.readouterr().out
    assert "certbot-qiniu renew --quiet\n" in text
    assert "EnvironmentFile=-/etc/letsencrypt/qiniu/environment\n" in text
    assert "OnFailure" not in text


@pytest.mark.parametrize("arguments", [("--directory", "/x"), ("--cron",)])
def test_without_the_edge(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """What is run asks the edge unless told not to."""
    install("--print", *arguments)
    assert "probe" not in capsys.readouterr().out
    install("--print", "--no-probe", *arguments)
    assert "certbot-qiniu renew --quiet --no-probe\n" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("--directory", "/x"), ("--cron",)])
def test_metrics(tmp_path: Path, arguments: tuple[str, ...],
                 capsys: pytest.CaptureFixture[str]) -> None:
    """A folder gets a file of ours, which both jobs name; what no collector reads is refused."""
    assert install("--print", *arguments, "--prometheus", str(tmp_path)) == 0
    text = capsys.readouterr().out
    assert f"renew --quiet --prometheus={tmp_path}/certbot_qiniu.prom\n" in text
    assert install("--print", *arguments, "--prometheus", str(tmp_path / "own.prom")) == 0
    assert f"--prometheus={tmp_path}/own.prom\n" in capsys.readouterr().out
    for absent, named in (("none", "none"), ("none/own.prom", "none")):
        assert install("--print", *arguments, "--prometheus", str(tmp_path / absent)) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert f"There is no folder {tmp_path / named}. Name the one that node_exporter" in said.err


@pytest.mark.parametrize(("name", "secret"), [
    ("notify", SECRET), ("heartbeat", "https://hc.example.com/s3cret")])
def test_urls_are_kept_in_a_private_file(tmp_path: Path, folders: list[str], name: str,
                                         secret: str) -> None:
    """Units can be read by everybody, so what is secret is not in them."""
    assert install(*folders, "--directory", str(tmp_path), f"--{name}", secret) == 0
    kept = tmp_path / "config" / "qiniu" / name
    assert kept.read_text() == f"{secret}\n"
    assert f"--{name}=@{kept}\n" in (tmp_path / "certbot-qiniu.service").read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    for unit in tmp_path.glob("certbot-qiniu.*"):
        assert unit.stat().st_mode & 0o777 == 0o644
        assert "s3cret" not in unit.read_text()


@pytest.mark.parametrize("arguments", [(), ("--cron",)])
def test_cron_where_there_is_no_systemd(
        tmp_path: Path, folders: list[str], arguments: tuple[str, ...],
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, which a shell understands, does what the service does."""
    monkeypatch.setattr(install_timer, "SYSTEMD_RUNS", tmp_path if arguments else tmp_path / "none")
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    assert install(*folders, *arguments, "--notify", "@/a b/100%") == 0
    text = (tmp_path / "cron").read_text()
    assert (tmp_path / "cron").stat().st_mode & 0o777 == 0o644
    [line] = [line for line in text.splitlines() if " root " in line]
    assert r"100\%" in line
    command = line.partition(" root ")[2].replace(r"\%", "%")
    assert shlex.split(command.partition("; fi; ")[2]) == [
        program("certbot-qiniu"), "renew", "--quiet", *folders,
        "--notify=@/a b/100%"]
    capsys.readouterr()
    assert install(*folders, "--cron", "--print", "--notify", "@/a b/100%") == 0
    assert capsys.readouterr().out == f"# {tmp_path / 'cron'}\n{text}"


@pytest.mark.parametrize("runs", [True, False])
def test_cron_that_does_not_run(tmp_path: Path, folders: list[str], runs: bool,
                                monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    """The file is written, as cron may be started later, and it is said that nothing reads it."""
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    monkeypatch.setattr(install_timer.scheduled_jobs, "cron_runs", lambda *_: runs)
    assert 0 == install(*folders, "--cron")
    assert ("No cron is running here" in capsys.readouterr().out) is not runs


def test_unit_that_cron_cannot_start(tmp_path: Path, folders: list[str],
                                     monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is left to believe that a failure starts it."""
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    assert 2 == install(*folders, "--cron", "--on-failure", "tell-me.service")
    assert "--on-failure names a unit of systemd" in capsys.readouterr().err
    assert not (tmp_path / "cron").exists()


def test_cron_of_busybox(tmp_path: Path, folders: list[str], monkeypatch: pytest.MonkeyPatch,
                         capsys: pytest.CaptureFixture[str]) -> None:
    """A file that it would never read is not written; the line for root's crontab is said."""
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    monkeypatch.setattr(install_timer.scheduled_jobs, "is_busybox", lambda: True)
    assert 2 == install(*folders, "--cron", "--notify", SECRET)
    [command] = re.findall(r"own crontab \(crontab -e\): \d+ \d+,\d+ \* \* \* if .*; fi; (.*)",
                           capsys.readouterr().err)
    assert shlex.split(command) == [
        program("certbot-qiniu"), "renew", "--quiet", *folders,
        f"--notify=@{tmp_path}/config/qiniu/notify"]
    assert (tmp_path / "config/qiniu/notify").read_text() == f"{SECRET}\n"
    assert not (tmp_path / "cron").exists()


def test_cron_spreads_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines have times of their own, twelve hours apart; each of them has always the same."""
    times = {}
    for number in range(40):
        monkeypatch.setattr(install_timer, "_machine", lambda number=number: f"host {number}")
        text = install_timer.cron(install_timer.Job(Path("/e")))
        assert text == install_timer.cron(install_timer.Job(Path("/e")))
        minute, hours, *_ = text.splitlines()[-1].split()
        first, second = map(int, hours.split(","))
        assert 0 <= first < 12
        assert second == first + 12
        assert 0 <= int(minute) < 60
        times[minute, hours] = number
    assert len(times) > 30


class Systemctl:
    """In place of :func:`subprocess.run`: remembers the commands, and ends as it was told."""

    def __init__(self, status: int = 0, error: Exception | None = None) -> None:
        self.status, self.error = status, error
        self.commands: list[str] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(shlex.join(command))
        if self.error:
            raise self.error
        return subprocess.CompletedProcess(command, self.status, "", "no bus\n")


@pytest.mark.parametrize(("systemctl", "words"), [
    (Systemctl(1), "systemctl daemon-reload failed: no bus"),
    (Systemctl(error=OSError("not there")), "Could not run systemctl daemon-reload: not there"),
    (Systemctl(error=subprocess.TimeoutExpired("systemctl", 60)), "timed out after 60 seconds"),
], ids=["fails", "cannot be run", "hangs"])
def test_systemd_that_does_not_take_it(monkeypatch: pytest.MonkeyPatch, systemctl: Systemctl,
                                       words: str) -> None:
    """The error says what was tried, and nothing else is tried after it."""
    monkeypatch.setattr(subprocess, "run", systemctl)
    with pytest.raises(errors.UsageError, match=words):
        install_timer.enable()
    assert ["systemctl daemon-reload"] == systemctl.commands


@pytest.mark.parametrize(("arguments", "commands", "written"), [
    ((), ["systemctl daemon-reload", "systemctl enable --now certbot-qiniu.timer"],
     ["system/certbot-qiniu.service", "system/certbot-qiniu.timer"]),
    (("--directory", "{}"), [], ["certbot-qiniu.service", "certbot-qiniu.timer"]),
    (("--cron",), [], ["cron"]), (("--print",), [], []), (("--cron", "--print"), [], []),
], ids=["systemd", "another folder", "cron", "print", "print cron"])
def test_what_is_written_and_started(
        tmp_path: Path, folders: list[str], monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], commands: list[str],
        written: list[str]) -> None:
    """Only units in systemd's own folder are started, and what is printed is not written."""
    systemctl = Systemctl()
    monkeypatch.setattr(subprocess, "run", systemctl)
    monkeypatch.setattr(install_timer, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(install_timer, "SYSTEMD_FOLDER", tmp_path / "system")
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    (tmp_path / "system").mkdir()
    assert 0 == install(*folders, *(text.format(tmp_path) for text in arguments))
    assert commands == systemctl.commands
    assert [str(tmp_path / name) for name in written] == sorted(
        str(path) for path in tmp_path.rglob("*") if path.is_file())
    said = capsys.readouterr().out
    assert [f"Written: {tmp_path / name}" for name in written] == [
        line for line in said.splitlines() if line.startswith("Written")]
    assert bool(commands) == said.endswith("Try it now: systemctl start certbot-qiniu\n")


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, folders: list[str],
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the file and the way out."""
    assert 2 == install(*folders, "--directory", str(tmp_path / "nothing"))
    said = capsys.readouterr().err
    assert f"Could not write {tmp_path}/nothing/certbot-qiniu.service" in said
    assert "name another --directory" in said


@pytest.mark.parametrize(("text", "word"), [
    ("plain", "plain"), ("a b", '"a b"'), ("100%", "100%%"), ('a"b', '"a\\"b"'),
    ("a\\b", '"a\\\\b"'), ("", '""'), ("a;b", '"a;b"'), ("$HOME", "$HOME")], ids=repr)
def test_words_of_a_unit(text: str, word: str) -> None:
    """A path is one word to systemd, whatever is in it."""
    assert word == install_timer._word(text)


def test_same_receivers_once(tmp_path: Path, folders: list[str],
                             capsys: pytest.CaptureFixture[str]) -> None:
    """All URLs are in one file, and each file is named once, by its absolute path."""
    assert 0 == install(*folders, "--print", "--cron", "--notify", SECRET, "--notify", "json://b",
                        "--notify", "@/a", "--notify", "@/a")
    said = capsys.readouterr().out
    assert 1 == said.count(f"--notify=@{tmp_path}/config/qiniu/notify ")
    assert 1 == said.count("--notify=@/a\n")
    assert 2 == said.count("--notify")


def test_receivers_of_a_user_without_a_home(folders: list[str],
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """A home that is not known is no reason to end with a traceback."""
    assert 0 == install(*folders, "--print", "--cron", "--notify", "@~nobody-of-this-name/a")
    assert "/~nobody-of-this-name/a" in capsys.readouterr().out


def test_heartbeat_that_anybody_could_read(tmp_path: Path, folders: list[str],
                                           capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before anything is written, rather than at every run."""
    assert 2 == install(*folders, "--directory", str(tmp_path), "--heartbeat", "http://s3cret")
    assert "https://" in capsys.readouterr().err
    assert [] == list(tmp_path.glob("certbot-qiniu.*"))


# Beside what is there


def test_same_again(tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A second time nothing is written, and that is said."""
    install(*folders, "--directory", str(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("certbot-qiniu*")}
    capsys.readouterr()
    assert 0 == install(*folders, "--directory", str(tmp_path))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("certbot-qiniu*")}
    assert "".join(f"Unchanged: {path}\n" for path in before) == capsys.readouterr().out


def test_units_of_the_users_own(tmp_path: Path, folders: list[str],
                                capsys: pytest.CaptureFixture[str]) -> None:
    """They are kept next to ours under a name that systemd ignores, each time, and it is said."""
    unit = tmp_path / "certbot-qiniu.service"
    for text in ("[Service]\nExecStart=/mine\n", "[Service]\nExecStart=/mine too\n"):
        unit.write_text(text)
        capsys.readouterr()
        assert 0 == install(*folders, "--directory", str(tmp_path))
        assert f"Kept: {unit}, which was not written by this program, as {unit}.before" in (
            capsys.readouterr().out)
        assert "certbot-qiniu renew" in unit.read_text()
    assert ["/mine", "/mine too"] == [
        (tmp_path / name).read_text().partition("ExecStart=")[2].strip()
        for name in ("certbot-qiniu.service.before~", "certbot-qiniu.service.before1~")]
    assert 1 == len(list(tmp_path.glob("*.timer*")))


@pytest.mark.parametrize("target", ["/dev/null", "../mine.service", "nowhere"])
def test_link_in_the_place_of_a_unit(tmp_path: Path, folders: list[str], target: str) -> None:
    """What it leads to is left alone; so is a file's mode."""
    mine = tmp_path / "mine.service"
    mine.write_text("[Service]\n")
    place = tmp_path / "system"
    place.mkdir()
    (place / "certbot-qiniu.service").symlink_to(target)
    (place / "certbot-qiniu.timer").write_text("secret")
    (place / "certbot-qiniu.timer").chmod(0o600)
    assert 0 == install(*folders, "--directory", str(place))
    assert "[Service]\n" == mine.read_text()
    assert target == str((place / "certbot-qiniu.service.before~").readlink())
    assert 0o600 == (place / "certbot-qiniu.timer.before~").stat().st_mode & 0o777
    assert not (place / "certbot-qiniu.service").is_symlink()
    assert "certbot-qiniu renew" in (place / "certbot-qiniu.service").read_text()


def test_own_units_of_other_arguments(tmp_path: Path, folders: list[str]) -> None:
    """Ours are replaced by ours."""
    for unit in ("a.service", "b.service"):
        assert 0 == install(*folders, "--directory", str(tmp_path), "--on-failure", unit)
    assert ["certbot-qiniu.service", "certbot-qiniu.timer"] == sorted(
        path.name for path in tmp_path.glob("certbot-qiniu*"))


def test_options_that_are_not_named_again(tmp_path: Path, folders: list[str],
                                          capsys: pytest.CaptureFixture[str]) -> None:
    """Who adds metrics is told that there are no alerts any more."""
    at = (*folders, "--directory", str(tmp_path))
    install(*at, "--notify", SECRET, "--on-failure", "a.service")
    capsys.readouterr()
    install(*at, "--prometheus", str(tmp_path))
    said = capsys.readouterr().out
    assert 1 == said.count("No longer in it: --notify, --on-failure. Name all that you want in one")
    install(*at, "--prometheus", str(tmp_path), "--notify", SECRET)
    assert "No longer" not in capsys.readouterr().out


# What the shell has set


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that has nothing set for the network."""
    for name in install_timer.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("environment")
def test_nothing_to_take_over(tmp_path: Path, folders: list[str]) -> None:
    """Then there is no file, and a unit that does without it."""
    assert 0 == install(*folders, "--directory", str(tmp_path))
    assert not (tmp_path / "config").exists()


@pytest.mark.usefixtures("environment")
def test_settings_of_the_shell(tmp_path: Path, folders: list[str], monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:
    """They are kept where root alone can read them, and named without their values."""
    value = "http://user:s3cret$`\"\\@proxy:3128"
    monkeypatch.setenv("HTTPS_PROXY", value)
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "ca.pem")
    assert 0 == install(*folders, "--directory", str(tmp_path))
    kept = tmp_path / "config" / "qiniu" / "environment"
    assert kept.stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr().out
    assert f"HTTPS_PROXY, no_proxy, REQUESTS_CA_BUNDLE, in {kept}" in said
    assert "s3cret" not in said + (tmp_path / "certbot-qiniu.service").read_text()
    assert 'HTTPS_PROXY="http://user:s3cret\\$\\`\\"\\\\@proxy:3128"\n' in kept.read_text()
    assert f'REQUESTS_CA_BUNDLE="{Path.cwd()}/ca.pem"\n' in kept.read_text()


@pytest.mark.usefixtures("environment")
def test_settings_of_an_earlier_shell(tmp_path: Path, folders: list[str],
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken over, or written by hand, stays unless this shell has it otherwise."""
    kept = tmp_path / "config" / "qiniu" / "environment"
    kept.parent.mkdir(parents=True)
    kept.write_text("# mine\nMINE=1\nHTTPS_PROXY=old\n")
    install(*folders, "--directory", str(tmp_path))
    assert "old" in kept.read_text()
    monkeypatch.setenv("HTTPS_PROXY", "new")
    install(*folders, "--directory", str(tmp_path))
    assert '# mine\nMINE=1\nHTTPS_PROXY="new"\n' == kept.read_text()


# Plugins


@pytest.mark.parametrize(("arguments", "status"), [
    ((), 2), (("--cron",), 2), (("--directory", "{}/other"), 0), (("--print",), 0)],
    ids=["systemd", "cron", "another folder", "print"])
def test_plugin_that_is_missing(
        tmp_path: Path, folders: list[str], arguments: tuple[str, ...], status: int,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A timer that cannot renew a lineage of the machine is not enabled."""
    conf = tmp_path / "config" / "renewal" / "shop.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text("[renewalparams]\nauthenticator = webroot\ninstaller = apache\n")
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(plugins, "installed", lambda: {"webroot", "qiniu"})
    monkeypatch.setattr(subprocess, "run", Systemctl())
    monkeypatch.setattr(install_timer, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(install_timer, "SYSTEMD_FOLDER", tmp_path)
    monkeypatch.setattr(install_timer, "CRON_FILE", tmp_path / "cron")
    assert status == install(*folders, *(text.format(tmp_path) for text in arguments))
    (conf.parent / "ours.conf").write_text("[renewalparams]\nauthenticator = webroot\n"
                                           "installer = qiniu\nqiniu_with = nginx\n")
    if status:
        assert status == install(*folders, *arguments)
        said = capsys.readouterr().err
        assert "ours has --qiniu-with nginx, and there is no such plugin. Run: " in said
        assert "Nothing was installed. " in said
        assert "must not renew shop: it has no plugin apache" in said
        assert "install certbot-apache==" in said
        assert [] == [*tmp_path.glob("certbot-qiniu*"), *tmp_path.glob("cron")]
