"""certbot's verbs, handed to every target: checkpoints, failures, and what certbot hears."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certbot import errors as certbot_errors
from certbot.display import util as display
from certbot.reverter import Reverter

from certbot_qiniu import errors
from certbot_qiniu.installer import Installer
from certbot_qiniu.options import OPTIONS
from certbot_qiniu.targets import registry
from certbot_qiniu.targets.run import Run
from certbot_qiniu.targets.target import Target
from tests.unit.rig import paths, renew
from tests.unit.targets.plugin import LINEAGE, config, renewed

KEYS = "/etc/qiniu.ini"


class Place(Target):
    """A target that notes what it is asked, answers what it is told to, and fails at will.

    :ivar work: what it does when it is asked something, by method.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {"describe": f"the {name} place", "names": (),
                                        "enhancements": (), "enhance": True}
        self.work: dict[str, Callable[..., object]] = {}

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or not callable(vars(Target).get(name)):
            return super().__getattribute__(name)

        def method(*arguments: Any, **options: Any) -> Any:
            self.asked.append((name, *arguments, *options.values()))
            if name in self.work:
                self.work[name](*arguments)
            return self.answers.get(name)

        return method

    def fail(self, method: str, error: BaseException) -> None:
        """Let *method* fail."""
        def fail(*_: object) -> None:
            raise error

        self.work[method] = fail

    @property
    def verbs(self) -> list[str]:
        """The methods that were asked."""
        return [verb for verb, *_ in self.asked]


class Seat:
    """An installer with two places to reach, on folders of its own."""

    def __init__(self, folder: Path, verb: str = "run", **values: Any) -> None:
        self.folder = folder
        self.config = config(folder, verb, **{"qiniu_credentials": KEYS, **values})
        Path(self.config.backup_dir).mkdir(parents=True, exist_ok=True)
        self.places = [Place("first"), Place("second")]
        self.file = folder / "site.conf"
        self.file.write_text("old")

    def installer(self) -> Installer:
        """What certbot makes for a lineage, as the process has it."""
        return Installer(self.config, "qiniu")

    def change(self, installer: Installer, text: str = "new") -> None:
        """Let the first place write a file, when it saves, renews or updates."""
        def write(*_: object) -> None:
            installer.add_to_checkpoint({str(self.file)}, "notes\n")
            self.file.write_text(text)

        for method in ("save", "renew", "update"):
            self.places[0].work[method] = write

    @property
    def checkpoints(self) -> int:
        """The checkpoints that were ended."""
        return len(list(Path(self.config.backup_dir).iterdir()))

    @property
    def in_progress(self) -> bool:
        """Whether a checkpoint is in progress."""
        return Path(self.config.in_progress_dir).exists()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seat]:
    """Make a seat, as ``make("renew")``."""
    def seat(verb: str = "run", **values: Any) -> Seat:
        made = Seat(tmp_path, verb, **values)
        monkeypatch.setattr(registry, "targets_of", lambda _: made.places)
        return made

    monkeypatch.setattr(Run, "_accounts", None)
    monkeypatch.setattr(Run, "_stores", {})
    monkeypatch.setattr(Run, "_waiting", None)
    return seat


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user sees."""
    seen: list[str] = []
    monkeypatch.setattr(display, "notify", seen.append)
    return seen


# What certbot asks before


def test_options() -> None:
    """certbot gets each of our options, and no other."""
    added: list[str] = []
    Installer.add_parser_arguments(lambda name, **_: added.append(name))
    assert list(OPTIONS) == added


def test_more_info(make: Callable[..., Seat]) -> None:
    """``certbot plugins`` shows each place that has something to say."""
    seat = make()
    seat.places[0].answers["describe"] = ""
    assert ["Brings certificates to these places, with every certbot renew anew:",
            "the second place"] == seat.installer().more_info().split("\n")


def test_names_and_enhancements(make: Callable[..., Seat]) -> None:
    """The names of all targets are offered, each once and in order."""
    seat = make()
    for place, found in zip(seat.places, (("b", "a"), ("c", "b")), strict=True):
        place.answers |= {"names": found, "enhancements": found}
    assert ["a", "b", "c"] == seat.installer().get_all_names()
    assert ["a", "b", "c"] == seat.installer().supported_enhancements()


@pytest.mark.parametrize(("verb", "values", "asked"), [
    ("run", {}, ["check"]), ("certonly", {"dry_run": True}, ["rehearse"]),
    ("renew", {}, []), ("renew", {"dry_run": True}, ["rehearse"]),
    ("reconfigure", {}, ["rehearse"]), ("rollback", {}, ["check"]),
    ("run", {"installer": None, "configurator": "qiniu"}, ["check"]),
    ("plugins", {"installer": None}, []),
], ids=["run", "dry run", "renew", "dry renew", "reconfigure", "rollback", "configurator",
        "not chosen"])
def test_prepare(make: Callable[..., Seat], verb: str, values: dict[str, Any],
                 asked: list[str]) -> None:
    """Bad input is refused before anything happens; a timer's renewal asks nothing."""
    seat = make(verb, **values)
    seat.installer().prepare()
    assert [asked, asked] == [place.verbs for place in seat.places]


def test_prepare_unused(make: Callable[..., Seat]) -> None:
    """A user who has neither chosen nor set up the plugin is not offered it."""
    with pytest.raises(certbot_errors.NoInstallationError):
        make(installer="nginx", qiniu_credentials=None).installer().prepare()


@pytest.mark.parametrize("values", [{}, {"dry_run": True}], ids=["real", "dry run"])
def test_prepare_fails(make: Callable[..., Seat], values: dict[str, Any]) -> None:
    """A setup that cannot work is an error that certbot does not swallow like a PluginError."""
    seat = make("run", **values)
    for place in seat.places:
        for method in ("check", "rehearse"):
            place.fail(method, errors.UsageError(f"{place.name} cannot"))
    with pytest.raises(certbot_errors.Error, match="first cannot; second cannot") as caught:
        seat.installer().prepare()
    assert not isinstance(caught.value, certbot_errors.PluginError)


def test_prepare_of_damaged_files(make: Callable[..., Seat],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds if it is unknown which targets there are."""
    def refuse(_: object) -> None:
        raise errors.StateError("damaged")

    seat = make("rollback")
    monkeypatch.setattr(registry, "targets_of", refuse)
    with pytest.raises(certbot_errors.Error, match="cannot work: damaged") as caught:
        seat.installer().prepare()
    assert not isinstance(caught.value, certbot_errors.PluginError)


# Every place is reached


@pytest.mark.parametrize(("verb", "arguments", "method"), [
    ("more_info", (), "describe"), ("get_all_names", (), "names"), ("config_test", (), "test"),
    ("supported_enhancements", (), "enhancements"), ("enhance", ("san", "redirect"), "enhance"),
    ("save", ("title",), "save"), ("restart", (), "settle"), ("recovery_routine", (), "recover"),
])
@pytest.mark.parametrize("error", [errors.UsageError("told to"), OSError(28, "told to")],
                         ids=["ours", "anything"])
def test_one_fails(make: Callable[..., Seat], verb: str, arguments: tuple[str, ...],
                   method: str, error: Exception) -> None:
    """A place that fails keeps no other from being reached, and certbot hears of it."""
    seat = make()
    seat.places[0].fail(method, error)
    with pytest.raises(certbot_errors.PluginError, match="told to"):
        getattr(seat.installer(), verb)(*arguments)
    assert [[method], [method]] == [place.verbs for place in seat.places]


def test_deploy_cert(make: Callable[..., Seat]) -> None:
    """Each place gets the certificate, the SAN as certbot has it, and all four paths."""
    seat = make()
    leaf = renew(seat.folder, LINEAGE)
    live = seat.folder / "live" / LINEAGE
    paths = tuple(str(live / f"{name}.pem") for name in ("cert", "privkey", "chain", "fullchain"))
    seat.installer().deploy_cert("*.Example.com", *paths)
    for place in seat.places:
        [(verb, certificate, san, given)] = place.asked
        assert ("deploy", leaf.fingerprint, "*.Example.com", paths) == (
            verb, certificate.fingerprint, san, given)


def test_deploy_foreign(make: Callable[..., Seat]) -> None:
    """A certificate that certbot does not manage reaches nobody."""
    seat = make()
    with pytest.raises(errors.UsageError, match="does not belong to a certificate"):
        seat.installer().deploy_cert("san", "/x/cert.pem", "/x/key.pem", "/x/chain.pem", "")
    assert [[], []] == [place.verbs for place in seat.places]


@pytest.mark.parametrize(("offers", "is_error"), [
    ((False, True), False), ((True, True), False), ((False, False), True)])
def test_enhance(make: Callable[..., Seat], offers: tuple[bool, bool], *,
                 is_error: bool) -> None:
    """An enhancement is each place's that offers it, and an error if none does."""
    seat = make()
    for place, offer in zip(seat.places, offers, strict=True):
        place.answers["enhance"] = offer
    if is_error:
        with pytest.raises(errors.UsageError, match="No target offers the enhancement uir"):
            seat.installer().enhance("san", "uir", "x")
    else:
        seat.installer().enhance("san", "uir", "x")
    assert [[("enhance", "san", "uir", "x")]] * 2 == [place.asked for place in seat.places]


# Checkpoints


def test_save(make: Callable[..., Seat]) -> None:
    """The changes of all targets are one checkpoint, which ends with the title."""
    seat = make()
    installer = seat.installer()
    seat.change(installer)
    installer.save(None)
    assert (0, True) == (seat.checkpoints, seat.in_progress)
    installer.save("title")
    assert (1, False, "new") == (seat.checkpoints, seat.in_progress, seat.file.read_text())
    [folder] = Path(seat.config.backup_dir).iterdir()
    assert "title" in (folder / "CHANGES_SINCE").read_text()


def test_save_without_a_change(make: Callable[..., Seat]) -> None:
    """A file that was kept and is as before would use up the user's next rollback."""
    seat = make()
    installer = seat.installer()
    seat.change(installer, "old")
    installer.save("title")
    assert (0, False, "old") == (seat.checkpoints, seat.in_progress, seat.file.read_text())


@pytest.mark.parametrize("what", ["file", "command"])
def test_save_what_is_new(make: Callable[..., Seat], what: str) -> None:
    """A file that a place has made, or a command to undo something, is a change by itself."""
    seat = make()
    installer = seat.installer()
    seat.change(installer, "old")

    def write(*_: object) -> None:
        if what == "file":
            Reverter(seat.config).register_file_creation(False, str(seat.folder / "new.conf"))
        else:
            Reverter(seat.config).register_undo_command(False, ["true"])

    seat.places[1].work["save"] = write
    installer.save("title")
    assert 1 == seat.checkpoints


def test_save_of_a_file_that_is_gone(make: Callable[..., Seat]) -> None:
    """A file that was kept and cannot be compared is taken for a change."""
    seat = make()
    installer = seat.installer()
    seat.change(installer)
    installer.save(None)
    seat.file.unlink()
    seat.places[0].work.clear()
    installer.save("title")
    assert 1 == seat.checkpoints


@pytest.mark.parametrize("title", ["title", None])
def test_save_temporarily(make: Callable[..., Seat], title: str | None) -> None:
    """Nothing here is temporary: such a save is for a challenge, which is not ours."""
    seat = make()
    seat.installer().save(title, temporary=True)
    assert [[], []] == [place.verbs for place in seat.places]


def test_failed_save(make: Callable[..., Seat]) -> None:
    """If one place could not write, the checkpoint stays for certbot to recover from."""
    seat = make()
    installer = seat.installer()
    seat.change(installer)
    seat.places[1].fail("save", errors.StateError("no room"))
    with pytest.raises(errors.StateError):
        installer.save("title")
    assert (0, True) == (seat.checkpoints, seat.in_progress)
    installer.recovery_routine()
    assert ("old", False) == (seat.file.read_text(), seat.in_progress)
    assert [["save", "recover"]] * 2 == [place.verbs for place in seat.places]


def test_commit_comes_last(make: Callable[..., Seat]) -> None:
    """Data outside the checkpoint is written once every target was saved, only with a title."""
    seat = make()
    installer = seat.installer()
    order: list[str] = []
    for place in seat.places:
        place.work["save"] = lambda _, name=place.name: order.append(f"save {name}")
        place.work["commit"] = lambda name=place.name: order.append(f"commit {name}")
    installer.save(None)
    installer.save("title")
    assert ["save first", "save second"] * 2 + ["commit first", "commit second"] == order


@pytest.mark.parametrize("back", ["rollback_checkpoints", "recovery_routine"])
def test_install_that_was_taken_back(make: Callable[..., Seat], shown: list[str],
                                     back: str) -> None:
    """If certbot takes an installation back, nobody is told that it was deployed."""
    seat = make("install")
    installer = seat.installer()
    installer._lineages.add("example.com")
    getattr(installer, back)()
    installer.restart()
    assert [] == shown


# Going back


def test_going_back_after_a_failure(make: Callable[..., Seat]) -> None:
    """certbot goes back after any failing restart: only what this process ended is undone."""
    seat = make()
    earlier = seat.installer()
    seat.change(earlier, "of an earlier run")
    earlier.save("title")
    later = seat.installer()
    later.rollback_checkpoints(1)
    assert ("of an earlier run", 1) == (seat.file.read_text(), seat.checkpoints)
    seat.change(later, "of this run")
    later.save("title")
    for _ in range(2):  # after a signal certbot comes twice
        later.rollback_checkpoints(1)
        assert ("of an earlier run", 1) == (seat.file.read_text(), seat.checkpoints)
    assert [("roll_back", 1)] * 3 == [call for call in seat.places[1].asked
                                      if call[0] == "roll_back"]


@pytest.mark.parametrize("count", [1, "2"], ids=repr)
def test_rollback(make: Callable[..., Seat], count: int | str) -> None:
    """``certbot rollback`` undoes what earlier runs did, as many checkpoints as it says."""
    seat = make("rollback")
    for number in range(3):
        earlier = seat.installer()
        seat.change(earlier, f"version {number}")
        earlier.save("title")
    seat.installer().rollback_checkpoints(count)  # type: ignore[arg-type]
    assert f"version {2 - int(count)}" == seat.file.read_text()
    assert ("roll_back", count) == seat.places[0].asked[-1]


def test_rollback_of_nothing(make: Callable[..., Seat]) -> None:
    """Where there is no checkpoint a rollback changes nothing."""
    seat = make("rollback")
    seat.installer().rollback_checkpoints(1)
    assert "old" == seat.file.read_text()


def test_rollback_that_a_place_fails(make: Callable[..., Seat]) -> None:
    """certbot would skip the restart, so the restart reports what went wrong before."""
    seat = make("rollback")
    installer = seat.installer()
    seat.places[0].fail("roll_back", errors.StateError("damaged"))
    seat.places[1].fail("settle", errors.DeployError("not back"))
    installer.rollback_checkpoints(1)
    with pytest.raises(errors.DeployError, match="damaged; not back"):
        installer.restart()
    assert [["before_roll_back", "roll_back", "settle"]] * 2 == [
        place.verbs for place in seat.places]


def test_rollback_that_cannot_be_noted(make: Callable[..., Seat]) -> None:
    """The notes for a killed rollback are written first, or nothing is rolled back."""
    seat = make("rollback")
    earlier = seat.installer()
    seat.change(earlier)
    earlier.save("title")
    seat.places[0].fail("before_roll_back", errors.StateError("no room"))
    with pytest.raises(errors.StateError, match="no room"):
        seat.installer().rollback_checkpoints(1)
    assert ("new", 1) == (seat.file.read_text(), seat.checkpoints)


def test_told_once(make: Callable[..., Seat]) -> None:
    """A second restart does not repeat the first one's report."""
    seat = make("rollback")
    installer = seat.installer()
    seat.places[0].fail("roll_back", errors.StateError("damaged"))
    installer.rollback_checkpoints(1)
    with pytest.raises(errors.DeployError):
        installer.restart()
    installer.restart()


# Renewing


def test_renew_deploy(make: Callable[..., Seat]) -> None:
    """A renewal's files are one checkpoint of its own: certbot calls no save for it."""
    seat = make("renew")
    installer = seat.installer()
    seat.change(installer)
    installer.renew_deploy(renewed())
    assert 1 == seat.checkpoints
    [folder] = Path(seat.config.backup_dir).iterdir()
    assert f"Renewed {LINEAGE}" in (folder / "CHANGES_SINCE").read_text()
    installer.restart()
    assert [[("checkpointed", folder.name, True)]] * 2 == [
        [asked for asked in place.asked if asked[0] == "checkpointed"] for place in seat.places]
    assert [["renew", "checkpointed", "settle"]] * 2 == [place.verbs for place in seat.places]


def test_renew_deploy_never_raises(make: Callable[..., Seat]) -> None:
    """certbot would skip the restart, which reports what went wrong and what that means."""
    seat = make("renew")
    installer = seat.installer()
    seat.places[0].fail("renew", OSError(28, "no room"))
    installer.renew_deploy(renewed("b"))
    installer.renew_deploy(renewed("a"))
    with pytest.raises(errors.DeployError) as caught:
        installer.restart()
    text = str(caught.value)
    assert text.startswith("The certificate of a, b is on this machine, but")
    assert "no room" in text
    assert text.endswith("The next certbot renew tries again")
    assert 1 == text.count("no room")


def test_generic_updates(make: Callable[..., Seat]) -> None:
    """Every renew repairs failures and drift, in a checkpoint if it changes files."""
    seat = make("renew")
    installer = seat.installer()
    installer.generic_updates(renewed())
    assert 0 == seat.checkpoints
    seat.change(installer)
    installer.generic_updates(renewed())
    [folder] = Path(seat.config.backup_dir).iterdir()
    assert ("checkpointed", folder.name, False) in seat.places[0].asked, (
        "certbot-qiniu apply comes here, too: nothing may be pruned")
    assert [["update", "settle", "update", "checkpointed", "settle"]] * 2 == [
        place.verbs for place in seat.places]


def test_generic_updates_fail(make: Callable[..., Seat]) -> None:
    """A place that fails to update is settled all the same, as are the others."""
    seat = make("renew")
    seat.places[0].fail("update", errors.DeployError("one"))
    seat.places[1].fail("settle", errors.DeployError("two"))
    with pytest.raises(errors.DeployError, match=rf"of {LINEAGE} .*: one; two\. The next"):
        seat.installer().generic_updates(renewed())
    assert [["update", "settle"]] * 2 == [place.verbs for place in seat.places]


@pytest.mark.parametrize("verb", ["renew_deploy", "generic_updates"])
def test_damaged_files(make: Callable[..., Seat], verb: str) -> None:
    """Damaged files of ours leave no web server behind, and are reported."""
    seat = make("renew")
    (seat.folder / "qiniu").mkdir()
    (seat.folder / "qiniu" / "state.json").write_text("damaged")
    installer = seat.installer()

    def renew_and_restart() -> None:
        getattr(installer, verb)(renewed())
        installer.restart()

    with pytest.raises(errors.DeployError, match=r"state\.json is corrupt"):
        renew_and_restart()
    assert [True, True] == ["settle" in place.verbs for place in seat.places]


def test_what_a_crash_left(make: Callable[..., Seat]) -> None:
    """A renewal undoes an unfinished checkpoint first: its changes are not this run's."""
    seat = make("renew")
    crashed = seat.installer()
    seat.change(crashed, "half")
    crashed.save(None)
    seat.places[0].work.clear()
    seat.installer().generic_updates(renewed("other"))
    assert ("old", 0, False) == (seat.file.read_text(), seat.checkpoints, seat.in_progress)


# A part of a deployment fails


def deployed(seat: Seat) -> Installer:
    """An installer to which certbot has given a certificate."""
    renew(seat.folder, LINEAGE)
    installer = seat.installer()
    installer.deploy_cert("san", "", "", "", str(seat.folder / "live" / LINEAGE / "fullchain.pem"))
    installer.save("title")
    return installer


def conf(seat: Seat, text: str) -> None:
    """Write the lineage's renewal conf."""
    folder = Path(seat.config.renewal_configs_dir)
    folder.mkdir(exist_ok=True)
    (folder / f"{LINEAGE}.conf").write_text(
        f"{paths(seat.folder, LINEAGE)}[renewalparams]\nauthenticator = webroot\n{text}\n")


def test_partly_deployed(make: Callable[..., Seat], shown: list[str]) -> None:
    """Targets with the certificate keep it; failures are reported once, and nothing is put back."""
    seat = make("run")
    conf(seat, "installer = qiniu")
    installer = deployed(seat)
    seat.places[0].has_taken = True
    seat.places[1].fail("settle", errors.DeployError("www is bad"))
    installer.restart()
    with pytest.raises(errors.DeployError) as caught:
        installer.supported_enhancements()
    text = str(caught.value)
    assert text.startswith(f"Not everything serves the certificate {LINEAGE}: www is bad. The rest "
                           "has it and keeps it; nothing was put back. The next certbot renew")
    assert "certbot itself advises lacks these options" in text
    assert text.endswith(
        f". To try again now: certbot install --cert-name {LINEAGE} -i qiniu --qiniu-credentials "
        f"{KEYS} --config-dir {seat.folder} --work-dir {seat.folder / 'work'}")
    assert [] == installer.supported_enhancements()
    assert [] == shown


def test_not_deployed_at_all(make: Callable[..., Seat]) -> None:
    """If nothing has the certificate, certbot is to put back what was before, and it is said."""
    seat = make("run")
    installer = deployed(seat)
    seat.places[1].fail("settle", errors.DeployError("bad"))
    with pytest.raises(errors.DeployError, match=r"bad\. certbot puts back what was served before"):
        installer.restart()
    assert [] == installer.supported_enhancements()


def test_what_is_configured_is_broken(make: Callable[..., Seat]) -> None:
    """A place whose configuration may be what is broken gets the former one back, with all."""
    seat = make("install")
    installer = deployed(seat)
    seat.places[0].has_taken = True
    seat.places[1].must_go_back = True
    seat.places[1].fail("settle", errors.OtherInstallerError("cannot reload"))
    with pytest.raises(errors.DeployError, match="cannot reload"):
        installer.restart()


def test_install_that_nothing_repairs(make: Callable[..., Seat], shown: list[str]) -> None:
    """After a partial ``install`` that renewals do not reach, the way out is in the message."""
    seat = make("install")
    installer = deployed(seat)
    seat.places[0].has_taken = True
    seat.places[1].fail("settle", errors.DeployError("bad"))
    installer.restart()
    with pytest.raises(errors.DeployError) as caught:
        installer.supported_enhancements()
    assert "Nothing repairs this by itself" in str(caught.value)
    assert f"certbot reconfigure --cert-name {LINEAGE} -i qiniu" in str(caught.value)
    assert "certbot itself advises" not in str(caught.value)
    assert [] == shown


@pytest.mark.parametrize("verb", ["run", "install", "enhance", "certonly"])
def test_restart_without_a_deployment(make: Callable[..., Seat], verb: str) -> None:
    """After an enhancement, a rollback or ``certonly`` nothing asks later: it is raised at once."""
    seat = make(verb)
    seat.places[0].has_taken = True
    seat.places[1].fail("settle", errors.DeployError("bad"))
    with pytest.raises(errors.DeployError, match="bad"):
        seat.installer().restart()


def test_gone_back(make: Callable[..., Seat]) -> None:
    """The restart after certbot's going back raises what it cannot put back."""
    seat = make("run")
    installer = deployed(seat)
    seat.places[1].fail("settle", errors.DeployError("bad"))
    with pytest.raises(errors.DeployError):
        installer.restart()
    seat.places[0].has_taken = True
    installer.rollback_checkpoints(1)
    with pytest.raises(errors.DeployError, match=r"^bad$"):
        installer.restart()


@pytest.mark.parametrize("end", [certbot_errors.SignalExit(), KeyboardInterrupt()],
                         ids=lambda end: type(end).__name__)
def test_who_leaves_waits_no_more(make: Callable[..., Seat], end: BaseException) -> None:
    """After a signal certbot must not wait for anything."""
    seat = make("renew")
    seat.places[0].fail("settle", end)
    installer = seat.installer()
    with pytest.raises(type(end)):
        installer.restart()
    assert installer._run.waiting.is_stopped
    assert [] == installer.supported_enhancements()


@pytest.mark.parametrize("is_back", [True, False])
def test_a_signal_ends_a_deployment(make: Callable[..., Seat], *, is_back: bool) -> None:
    """certbot goes on after SIGTERM as if all were well: the error is raised right after it."""
    seat = make()
    installer = deployed(seat)
    seat.places[1].fail("settle", certbot_errors.SignalExit())
    with pytest.raises(certbot_errors.SignalExit):
        installer.restart()
    installer.rollback_checkpoints(1)
    seat.places[1].work.clear()
    told = "^A signal ended the deployment of example.com, and what .* To try again now: certbot"
    if is_back:
        installer.restart()
    else:
        seat.places[1].fail("settle", errors.DeployError("bad"))
        told = "^bad$"
        with pytest.raises(errors.DeployError, match=told):
            installer.restart()
    with pytest.raises(errors.DeployError, match=told):
        installer.supported_enhancements()


@pytest.mark.parametrize("verb", ["run", "install", "enhance"])
@pytest.mark.parametrize("is_back", [True, False])
def test_a_signal_ends_an_enhancement(make: Callable[..., Seat], verb: str, *, is_back: bool,
                                      caplog: pytest.LogCaptureFixture) -> None:
    """certbot would put it back after SIGTERM and exit with 0: so that is done here, with 1."""
    seat = make(verb)
    installer = seat.installer()
    seat.change(installer)
    installer.save("enhanced")
    settled: list[str] = []

    def settle(*_: object) -> None:
        settled.append(seat.file.read_text())
        if len(settled) == 1:
            raise certbot_errors.SignalExit
        if not is_back:
            raise errors.DeployError("not back")

    seat.places[0].work["settle"] = settle
    with pytest.raises(SystemExit) as caught:
        installer.restart()
    assert (1, ["new", "old"]) == (caught.value.code, settled)
    assert ("was put back" if is_back else "not back") in caplog.text


# certbot's switches


@pytest.mark.parametrize(("names", "told"), [
    ([LINEAGE], [LINEAGE]), (["other.example.com"], [])])
def test_disabled_updates(make: Callable[..., Seat], shown: list[str], names: list[str],
                          told: list[str]) -> None:
    """Under --disable-renew-updates the lineage is found by its names, and is never retried."""
    seat = make("renew", disable_renew_updates=True, domains=names)
    conf(seat, "installer = qiniu")
    renew(seat.folder, LINEAGE)
    seat.places[1].fail("settle", errors.DeployError("bad"))
    with pytest.raises(errors.DeployError, match=r"run certbot-qiniu apply$"):
        seat.installer().restart()
    assert [["renew"] * len(told) + ["settle"]] * 2 == [place.verbs for place in seat.places]
    assert len(told) == len(shown)
    assert all(f"certbot-qiniu apply --cert-name {name}" in line
               for name, line in zip(told, shown, strict=True))


# How renewals reach us


@pytest.mark.parametrize(("verb", "conf", "told"), [
    ("install", "installer = nginx", True), ("install", "installer = qiniu", False),
    ("install", None, True), ("run", "installer = nginx", False),
], ids=["another installer", "ours already", "no installer", "run stores it"])
def test_how_to_renew(make: Callable[..., Seat], shown: list[str], verb: str,
                      conf: str | None, told: bool) -> None:
    """``certbot install`` stores nothing: the command that does is shown, once."""
    seat = make(verb, qiniu_with="nginx")
    renew(seat.folder, LINEAGE)
    if conf:
        folder = Path(seat.config.renewal_configs_dir)
        (folder / f"{LINEAGE}.conf").write_text(
            f"{paths(seat.folder, LINEAGE)}[renewalparams]\nauthenticator = webroot\n{conf}\n")
    installer = seat.installer()
    installer.deploy_cert("san", "", "", "", str(
        seat.folder / "live" / LINEAGE / "fullchain.pem"))
    for _ in range(2):
        installer.restart()
    command = (f"certbot reconfigure --cert-name {LINEAGE} -i qiniu --qiniu-credentials {KEYS} "
               f"--qiniu-with nginx --config-dir {seat.folder} --work-dir {seat.folder / 'work'}")
    assert [f"This deployed {LINEAGE} once: certbot install does not make renewals do it. For that "
            f"run: {command}"] * told == shown


def test_not_told_after_a_failure(make: Callable[..., Seat], shown: list[str]) -> None:
    """A user who must fix something first gets no advice about renewals."""
    seat = make("install")
    seat.places[0].fail("settle", errors.DeployError("no"))
    with pytest.raises(errors.DeployError):
        seat.installer().restart()
    assert [] == shown


# What ends the program


@pytest.mark.parametrize("end", [certbot_errors.SignalExit(), KeyboardInterrupt()],
                         ids=lambda end: type(end).__name__)
@pytest.mark.parametrize(("verb", "method"), [("restart", "settle"), ("config_test", "test")])
def test_the_end_passes(make: Callable[..., Seat], verb: str, method: str,
                        end: BaseException) -> None:
    """A signal or Ctrl-C ends the work at once."""
    seat = make("renew")
    seat.places[0].fail(method, end)
    with pytest.raises(type(end)):
        getattr(seat.installer(), verb)()
    assert [] == seat.places[1].verbs


def test_opened_once(make: Callable[..., Seat], monkeypatch: pytest.MonkeyPatch) -> None:
    """The places are made when first needed, and are the same to the end of the run."""
    seat = make()
    opened: list[object] = []
    monkeypatch.setattr(registry, "targets_of", lambda run: (opened.append(run), seat.places)[1])
    installer = seat.installer()
    assert [] == opened
    installer.config_test()
    installer.restart()
    assert 1 == len(opened)
