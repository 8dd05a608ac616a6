"""Another installer as a target: what it is asked, what it is kept from, and its options."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from certbot import errors as certbot_errors
from certbot import interfaces
from certbot.plugins import common

from certbot_qiniu import errors
from certbot_qiniu.targets.other_installer import OtherInstaller, find_installer
from certbot_qiniu.targets.run import Run
from tests.unit.rig import renew
from tests.unit.targets.plugin import LINEAGE, new_run, renewed

WWW, WEB = "www.example.com", "web.example.com"
PATHS = ("cert.pem", "privkey.pem", "chain.pem", "fullchain.pem")
DEFAULTS = {"fake_text": "as it is", "fake_number": 7, "fake_switch": False}


class Stub(interfaces.Installer):
    """An installer that notes what it is asked, answers what it is told to, and fails at will.

    :cvar asked: the verbs with their arguments, all instances together.
    """

    asked: ClassVar[list[tuple[Any, ...]]]
    answers: ClassVar[dict[str, Any]]
    fails: ClassVar[dict[str, BaseException]]
    description = "made up for a test"

    def __init__(self, config: Any, name: str) -> None:
        super().__init__(config, name)
        self.config = config

    @classmethod
    def inject_parser_options(cls, parser: Any, name: str) -> None:
        parser.add_argument(f"--{name}-text", default="as it is")
        parser.add_argument(f"--{name}-number", type=int, default=7)
        parser.add_argument(f"--{name}-switch", action="store_true")

    def _note(self, verb: str, *arguments: Any) -> Any:
        self.asked.append((verb, *arguments))
        if verb in self.fails:
            raise self.fails[verb]
        return self.answers.get(verb)

    def prepare(self) -> None:
        self._note("prepare")

    def more_info(self) -> str:
        return str(self._note("more_info"))

    def get_all_names(self) -> Any:
        return self._note("get_all_names")

    def deploy_cert(self, domain: str, cert_path: str, key_path: str, chain_path: str,
                    fullchain_path: str) -> None:
        self._note("deploy_cert", domain, cert_path, key_path, chain_path, fullchain_path)

    def enhance(self, domain: str, enhancement: str, options: Any = None) -> None:
        self._note("enhance", domain, enhancement, options)

    def supported_enhancements(self) -> list[str]:
        return ["redirect", "staple-ocsp"]

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        self._note("save", title)

    def rollback_checkpoints(self, rollback: int = 1) -> None:
        self._note("rollback_checkpoints", rollback)

    def recovery_routine(self) -> None:
        self._note("recovery_routine")

    def config_test(self) -> None:
        self._note("config_test")

    def restart(self) -> None:
        self._note("restart")


class Curious(Stub, interfaces.RenewDeployer, interfaces.GenericUpdater):
    """One that wants to know of renewals."""

    def renew_deploy(self, lineage: Any, *args: Any, **kwargs: Any) -> None:
        self._note("renew_deploy", lineage.lineagename)

    def generic_updates(self, lineage: Any, *args: Any, **kwargs: Any) -> None:
        self._note("generic_updates", lineage.lineagename)


class Sharing(Stub, common.Installer):
    """One whose files are in the checkpoints of certbot's reverter."""

    def __init__(self, config: Any, name: str) -> None:
        common.Installer.__init__(self, config, name)

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """Declare nothing."""

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        self.add_to_checkpoint({str(Path(self.config.config_dir) / "site")}, "changed\n")
        self.finalize_checkpoint(str(title))


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> type[Stub]:
    """Let certbot have ``fake``, ``curious`` and ``sharing`` for installers; all is well."""
    Stub.asked, Stub.fails = [], {}
    Stub.answers = {"get_all_names": [WWW, "WEB.example.com", "www.example.org"],
                    "more_info": "made up"}
    module = ModuleType("made_up")
    module.__dict__.update(Stub=Stub, Curious=Curious, Sharing=Sharing, Authenticator=object)
    monkeypatch.setitem(sys.modules, "made_up", module)
    entries = [importlib.metadata.EntryPoint(name, f"made_up:{kind}", "certbot.plugins")
               for name, kind in (("fake", "Stub"), ("curious", "Curious"),
                                  ("sharing", "Sharing"), ("webroot", "Authenticator"))]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: entries)
    return Stub


def target_of(folder: Path, name: str = "fake", options: str = "", verb: str = "run",
              **values: Any) -> OtherInstaller:
    """The target, with certbot's configuration at the installer's defaults."""
    defaults = {dest.replace("fake", name): value for dest, value in DEFAULTS.items()}
    return OtherInstaller(new_run(folder, verb, **{**defaults, **values}), name, options)


def verbs(stub: type[Stub]) -> list[str]:
    """What was asked, but for what is asked of every one."""
    return [verb for verb, *_ in stub.asked if verb != "prepare"]


# Which one


@pytest.mark.parametrize(("name", "words"), [
    ("qiniu", "name another installer"), ("nginx", r"\(/.+/pip install certbot-nginx==[0-9.]+\)"),
    ("apache", r"\(/.+/pip install certbot-apache==[0-9.]+\)"),
    ("nonsense", "no plugin of that name. certbot"),
    ("webroot", "is no installer"),
])
def test_no_such_installer(name: str, words: str) -> None:
    """What cannot take part is the user's error, with what to do."""
    with pytest.raises(errors.UsageError, match=words):
        find_installer(name)


def test_find_installer(stub: type[Stub]) -> None:
    """An installer is found by its name among certbot's plugins."""
    assert stub is find_installer("fake")


def test_prepared_when_needed(tmp_path: Path, stub: type[Stub]) -> None:
    """It may test a whole web server: so it is made once, when first asked."""
    target = target_of(tmp_path)
    assert [] == stub.asked
    target.test()
    target.settle()
    assert ["prepare", "config_test", "config_test", "restart"] == [verb for verb, *_ in stub.asked]


# What it raises


@pytest.mark.parametrize(("error", "words"), [
    (certbot_errors.MisconfigurationError("line 3"), "line 3"), (OSError(28, "full"), "full"),
    (ValueError(), "ValueError"), (certbot_errors.PluginError("  \n"), "PluginError"),
], ids=["certbot's", "system's", "without a word", "blank"])
def test_failures(tmp_path: Path, stub: type[Stub], error: Exception, words: str) -> None:
    """Each of its exceptions becomes a failure with its name, the action, and the cause."""
    stub.fails["config_test"] = error
    with pytest.raises(errors.OtherInstallerError) as caught:
        target_of(tmp_path).test()
    assert str(caught.value).startswith(
        "fake (--qiniu-with) could not pass its configuration test: ")
    assert words in str(caught.value)
    assert error is caught.value.__cause__


@pytest.mark.parametrize("end", [certbot_errors.SignalExit(), KeyboardInterrupt()],
                         ids=lambda end: type(end).__name__)
def test_the_end_passes(tmp_path: Path, stub: type[Stub], end: BaseException) -> None:
    """What ends the program is no failure of the installer's."""
    stub.fails["restart"] = end
    with pytest.raises(type(end)):
        target_of(tmp_path).settle()


def test_failed_once(tmp_path: Path, stub: type[Stub]) -> None:
    """One that could not be prepared is prepared anew when it is needed again."""
    stub.fails["prepare"] = certbot_errors.NoInstallationError("not there")
    target = target_of(tmp_path)
    with pytest.raises(errors.OtherInstallerError, match="could not work: not there"):
        target.test()
    stub.fails.clear()
    target.test()
    assert ["prepare", "prepare", "config_test"] == [verb for verb, *_ in stub.asked]


@pytest.mark.parametrize(("name", "fails", "expected"), [
    ("fake", {}, "made up"), ("nonsense", {}, "certbot has no plugin of that name"),
    ("fake", {"more_info": ValueError("odd")}, "could not describe itself: odd"),
], ids=["well", "unknown", "failing"])
def test_describe(tmp_path: Path, stub: type[Stub], name: str, fails: dict[str, Exception],
                  expected: str) -> None:
    """``certbot plugins`` shows what it is, or why it cannot be said."""
    stub.fails.update(fails)
    assert expected in target_of(tmp_path, name).describe()


# Options


@pytest.mark.parametrize(("values", "options", "expected"), [
    ({}, "", ("as it is", 7, False)),
    ({}, "--fake-text x --fake-number 3 --fake-switch", ("x", 3, True)),
    ({"fake_text": "mine"}, "--fake-text x --fake-number 3", ("mine", 3, False)),
    ({}, "--fake-text 'two words'", ("two words", 7, False)),
], ids=["defaults", "given", "certbot's come first", "words"])
def test_options(tmp_path: Path, values: dict[str, Any], options: str,
                 expected: tuple[str, int, bool]) -> None:
    """Its options are those of the command line, then those that were stored under our name."""
    target = target_of(tmp_path, options=options, **values)
    plugin: Any = target._open()
    config = plugin.config
    assert expected == (config.fake_text, config.fake_number, config.fake_switch)
    assert (values.get("fake_text", "as it is")) == target.run.config.fake_text, "a copy"


@pytest.mark.parametrize(("options", "words"), [
    ("--fake-bogus 3", "unrecognized arguments: --fake-bogus 3"),
    ("--fake-number x", "invalid int value"), ("--fake-t x", "unrecognized arguments"),
])
def test_bad_options(tmp_path: Path, options: str, words: str) -> None:
    """Options that it does not have are the user's error; nothing is abbreviated."""
    with pytest.raises(errors.UsageError, match=f"--qiniu-with-options: .*{words}"):
        target_of(tmp_path, options=options).check()


@pytest.mark.parametrize(("values", "options", "stored"), [
    ({}, "", None), ({"fake_text": "x"}, "", "--fake-text=x"),
    ({"fake_text": "two words", "fake_switch": True}, "",
     "'--fake-text=two words' --fake-switch"),
    ({"fake_number": -3}, "--fake-text=y", "--fake-text=y --fake-number=-3"),
    ({"fake_text": "--fake-switch"}, "", "--fake-text=--fake-switch"),
    ({"fake_text": ""}, "", "--fake-text="),
], ids=["defaults", "one", "several", "both ways", "looks like an option", "empty"])
@pytest.mark.parametrize("method", ["check", "rehearse"])
def test_options_are_stored(tmp_path: Path, stub: type[Stub], method: str,
                            values: dict[str, Any], options: str, stored: str | None) -> None:
    """certbot stores no options but ours: so its own go there, and come back the same."""
    target = target_of(tmp_path, options=options, **values)
    getattr(target, method)()
    assert stored == target.run.config.qiniu_with_options
    again = target_of(tmp_path, options=stored or "")
    wanted: Any = target._open()
    found: Any = again._open()
    for dest in DEFAULTS:
        assert getattr(wanted.config, dest) == getattr(found.config, dest)
    assert ["config_test"] == verbs(stub)


@pytest.mark.parametrize("value", [["a"], None], ids=repr)
def test_options_that_cannot_be_stored(tmp_path: Path, value: Any) -> None:
    """An option that a renewal would lose is refused before anything is issued."""
    with pytest.raises(errors.UsageError, match="fake cannot keep fake_text for renewals"):
        target_of(tmp_path, fake_text=value).check()


def test_check_before_a_rollback(tmp_path: Path, stub: type[Stub]) -> None:
    """Before a rollback its configuration may be what is to be rolled back: nothing is tested."""
    target_of(tmp_path, verb="rollback", fake_text="x").check()
    assert [] == stub.asked


# Deploying


def certificate_of(run: Run) -> Any:
    """A certificate of the run's lineage."""
    renew(Path(run.config.config_dir), LINEAGE)
    return run.lineages.current(LINEAGE)


@pytest.mark.parametrize(("names", "san", "expected"), [
    (None, "*.example.com", [WEB, WWW]), (None, "*.EXAMPLE.com", [WEB, WWW]), (None, WWW, [WWW]),
    (None, "example.net", []), ([], WWW, [WWW]), ([], "*.example.com", ["*.example.com"]),
], ids=["wildcard", "upper case", "literal", "none of its", "knows none", "knows none, wildcard"])
def test_deploy(tmp_path: Path, stub: type[Stub], names: list[str] | None, san: str,
                expected: list[str]) -> None:
    """It is asked for its own names alone: for others it would make up a site."""
    if names is not None:
        stub.answers["get_all_names"] = names
    target = target_of(tmp_path)
    certificate = certificate_of(target.run)
    for _ in range(2):
        target.deploy(certificate, san, PATHS)
    assert [("deploy_cert", name, *PATHS) for name in expected] == [
        call for call in stub.asked if call[0] == "deploy_cert"]
    assert {LINEAGE} == target.lineages
    assert 1 == verbs(stub).count("get_all_names")


def test_deploy_overlapping(tmp_path: Path, stub: type[Stub]) -> None:
    """A name that two SANs cover gets the certificate once."""
    target = target_of(tmp_path)
    certificate = certificate_of(target.run)
    for san in (WWW, "*.example.com"):
        target.deploy(certificate, san, PATHS)
    assert [WWW, WEB] == [call[1] for call in stub.asked if call[0] == "deploy_cert"]


def test_deploy_that_failed(tmp_path: Path, stub: type[Stub]) -> None:
    """A name whose deployment failed is not taken for deployed."""
    target = target_of(tmp_path)
    certificate = certificate_of(target.run)
    stub.fails["deploy_cert"] = certbot_errors.PluginError("no block")
    with pytest.raises(errors.OtherInstallerError, match=f"for {WWW}: no block"):
        target.deploy(certificate, WWW, PATHS)
    stub.fails.clear()
    target.deploy(certificate, WWW, PATHS)
    assert 2 == verbs(stub).count("deploy_cert")


@pytest.mark.parametrize(("sans", "title", "is_error"), [
    (["example.net"], "title", True), (["example.net", WWW], "title", False),
    (["example.net"], None, False), ([], "title", False),
], ids=["none of its", "one of its", "more is to come", "nothing deployed"])
def test_save(tmp_path: Path, stub: type[Stub], sans: list[str], title: str | None, *,
              is_error: bool) -> None:
    """One that serves none of the certificate's names is an error, once all of them were asked."""
    target = target_of(tmp_path)
    certificate = certificate_of(target.run)
    for san in sans:
        target.deploy(certificate, san, PATHS)
    if is_error:
        with pytest.raises(errors.OtherInstallerError, match=r"none of example\.net by name"):
            target.save(title)
    else:
        target.save(title)
    assert ([] if is_error else [("save", title)]) == [
        call for call in stub.asked if call[0] == "save"]


# Enhancements


@pytest.mark.parametrize(("enhancement", "offered"), [("redirect", True), ("uir", False)])
def test_enhance(tmp_path: Path, stub: type[Stub], enhancement: str, *, offered: bool,
                 caplog: pytest.LogCaptureFixture) -> None:
    """What it supports is done for the names that the SAN covers; what not is a warning."""
    with caplog.at_level(logging.WARNING):
        assert offered == target_of(tmp_path).enhance("*.example.com", enhancement, "x")
    assert offered == ([("enhance", name, enhancement, "x") for name in (WEB, WWW)]
                       == [call for call in stub.asked if call[0] == "enhance"])
    assert offered != ("does not support" in caplog.text)


def test_enhanced_already(tmp_path: Path, stub: type[Stub]) -> None:
    """What is there already is no failure, and no other name's either."""
    stub.fails["enhance"] = certbot_errors.PluginEnhancementAlreadyPresent("there")
    assert target_of(tmp_path).enhance("*.example.com", "redirect", None)
    assert 2 == verbs(stub).count("enhance")


# Renewals


@pytest.mark.parametrize(("name", "expected"), [
    ("fake", []), ("curious", ["renew_deploy", "generic_updates"])])
def test_renewals(tmp_path: Path, stub: type[Stub], name: str, expected: list[str]) -> None:
    """Only one that takes renewals is called for them, and only then it is prepared."""
    target = target_of(tmp_path, name)
    target.renew(renewed("renewed"))
    target.update(renewed("updated"))
    assert expected == verbs(stub)
    assert bool(expected) == bool(stub.asked)
    assert {"renewed", "updated"} == target.lineages


@pytest.mark.parametrize(("how", "restarts"), [("renew", 1), ("update", 0), ("deploy", 1)])
def test_settle(tmp_path: Path, stub: type[Stub], how: str, restarts: int) -> None:
    """With every renew it is restarted only if it was not yet for the newest certificates."""
    target = target_of(tmp_path)
    certificate = certificate_of(target.run)
    target.run.remember_reload([LINEAGE])
    if how == "deploy":
        target.deploy(certificate, WWW, PATHS)
    else:
        getattr(target, how)(renewed())
    target.settle()
    assert restarts == verbs(stub).count("restart")


def test_settle_outdated(tmp_path: Path, stub: type[Stub]) -> None:
    """One that was not restarted for a newer certificate is, once."""
    certificate_of(target_of(tmp_path).run)
    for expected in (1, 1):
        target = target_of(tmp_path)
        target.update(renewed())
        target.settle()
        assert expected == verbs(stub).count("restart")


def test_settle_unsound(tmp_path: Path, stub: type[Stub]) -> None:
    """An unsound configuration is not restarted with, and that is not taken for done."""
    target = target_of(tmp_path)
    certificate_of(target.run)
    target.update(renewed())
    stub.fails["config_test"] = certbot_errors.MisconfigurationError("line 3")
    with pytest.raises(errors.OtherInstallerError, match="line 3"):
        target.settle()
    assert "restart" not in verbs(stub)
    assert "" == target.run.reloaded_for(LINEAGE)


# Going back


@pytest.mark.parametrize(("method", "arguments", "verb"), [
    ("roll_back", (2,), ("rollback_checkpoints", 2)), ("recover", (), ("recovery_routine",))])
@pytest.mark.parametrize("name", ["fake", "sharing"])
def test_going_back(tmp_path: Path, stub: type[Stub], name: str, method: str,
                    arguments: tuple[int, ...], verb: tuple[Any, ...]) -> None:
    """One with checkpoints of its own is taken back; another reads anew what we restored."""
    target = target_of(tmp_path, name)
    target.test()
    stub.asked.clear()
    getattr(target, method)(*arguments)
    assert ([] if name == "sharing" else [verb]) == stub.asked
    stub.asked.clear()
    target.test()
    assert (name == "sharing") == (("prepare",) in stub.asked)
    assert set() == target.lineages


def test_one_checkpoint(tmp_path: Path) -> None:
    """A checkpoint that it ends stays in progress, for us to end with our file in it."""
    (tmp_path / "site").write_text("plain")
    target = target_of(tmp_path, "sharing")
    target.save("title")
    progress = Path(target.run.config.in_progress_dir)
    assert str(tmp_path / "site") in (progress / "FILEPATHS").read_text()
    assert not Path(target.run.config.backup_dir).exists() or not list(
        Path(target.run.config.backup_dir).iterdir())
