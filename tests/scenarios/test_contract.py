"""certbot's calls of an installer, on which the plugin is built, in their order.

The plugin works here as it always does, and its verbs say when certbot calls them. A certbot that
calls others, or in another order, fails here, before anything subtler does.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from certbot import errors as certbot_errors

from certbot_qiniu import errors
from certbot_qiniu.installer import Installer
from tests.scenarios.machine import Cloud, Machine, Run

VERSION = tuple(map(int, importlib.metadata.version("certbot").split(".")[:2]))

VERBS = ("prepare", "get_all_names", "deploy_cert", "enhance", "save", "restart", "renew_deploy",
         "generic_updates", "rollback_checkpoints", "recovery_routine", "config_test")
SANS = ("example.com", "*.example.com")
MARK = "called: "
QUESTION = "supported_enhancements"

DEPLOYED = ["deploy_cert example.com", "save", "deploy_cert *.example.com", "save",
            "save Deployed ACME Certificate", "restart"]
ENHANCED = ["enhance example.com redirect", "enhance *.example.com redirect",
            "save Add enhancement redirect", "restart"]


@contextlib.contextmanager
def traced(failing: str = "", error: type[Exception] = errors.DeployError,
           verbs: tuple[str, ...] = VERBS) -> Iterator[None]:
    """Let the plugin's verbs say that they are called.

    :param failing: the verb that fails, the first time that it is called.
    """
    depth, failed = [0], [False]

    def watch(verb: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def called(self: Installer, *args: Any, **kwargs: Any) -> Any:
            if not depth[0]:  # what the verbs call of each other is our own business
                values = (str(value) for value in (*args, *kwargs.values())
                          if isinstance(value, (str, int)))
                shown = [value for value in values if "/" not in value]  # no paths
                print("\n" + MARK + json.dumps(" ".join([verb, *shown])), flush=True)
            if verb == failing and not failed[0]:
                failed[0] = True
                raise error("told to fail")
            depth[0] += 1
            try:
                return method(self, *args, **kwargs)
            finally:
                depth[0] -= 1

        return called

    with contextlib.ExitStack() as stack:
        for verb in verbs:
            stack.enter_context(
                mock.patch.object(Installer, verb, watch(verb, getattr(Installer, verb))))
        yield


def calls(run: Run) -> list[str]:
    """What certbot called in a traced run."""
    return [json.loads(line.removeprefix(MARK)) for line in run.output.splitlines()
            if line.startswith(MARK)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with domains at Qiniu and no certificate yet."""
    cloud = Cloud()
    for name in ("example.com", "www.example.com"):
        cloud.qiniu.add_domain(name, protocol="https", cert_id=cloud.stranger(*SANS))
    return Machine(cloud, tmp_path)


@pytest.fixture
def issued(machine: Machine) -> Machine:
    """A machine whose certificate is deployed."""
    assert machine.issue(*SANS).status == 0
    return machine


def test_run(machine: Machine) -> None:
    """``run`` deploys each SAN with a save that ends nothing, then saves, restarts and enhances."""
    run = machine.issue(*SANS, around=traced)
    assert run.status == 0, run.output
    assert ["prepare", *DEPLOYED, *ENHANCED] == calls(run)


def test_install(issued: Machine) -> None:
    """``install`` does the same without the issuance."""
    run = issued.certbot("install", "--cert-name", "example.com", *issued.installer, around=traced)
    assert run.status == 0, run.output
    assert ["prepare", *DEPLOYED, *ENHANCED] == calls(run)


def test_enhance(issued: Machine) -> None:
    """``enhance`` enhances each SAN, saves and restarts."""
    run = issued.certbot("enhance", "--cert-name", "example.com", "--redirect", *issued.installer,
                         around=traced)
    assert run.status == 0, run.output
    assert ["prepare", *ENHANCED] == calls(run)


def test_renew_when_due(issued: Machine) -> None:
    """A renewal never calls ``deploy_cert`` and ``save``."""
    run = issued.force_renewal(around=traced)
    assert run.status == 0, run.output
    assert ["prepare", "renew_deploy", "restart", "generic_updates"] == calls(run)


def test_renew_when_nothing_is_due(issued: Machine) -> None:
    """``generic_updates`` comes alone then, to an installer that nobody prepared."""
    run = issued.renew(around=traced)
    assert run.status == 0, run.output
    assert ["generic_updates"] == calls(run)


def test_dry_run(issued: Machine) -> None:
    """A dry run prepares, and nothing else."""
    run = issued.renew("--force-renewal", "--dry-run", around=traced)
    assert run.status == 0, run.output
    assert ["prepare"] == calls(run)


@pytest.mark.skipif(VERSION < (2, 3), reason="certbot has had reconfigure since 2.3")
def test_reconfigure(machine: Machine) -> None:
    """``reconfigure`` prepares for a simulated renewal, and stores installer and options."""
    assert machine.certbot("certonly", "-a", "standalone", "-d", "example.com").status == 0
    run = machine.certbot("reconfigure", "--cert-name", "example.com", *machine.installer,
                          around=traced)
    assert run.status == 0, run.output
    assert ["prepare"] == calls(run)
    text = (machine.config_dir / "renewal" / "example.com.conf").read_text(encoding="utf-8")
    assert "installer = qiniu" in text
    assert f"qiniu_credentials = {machine.credentials}" in text


def test_certonly(machine: Machine) -> None:
    """``certonly`` with an installer restarts it, and deploys nothing."""
    run = machine.certbot("certonly", "-a", "standalone", *machine.installer, "-d", "example.com",
                          around=traced)
    assert run.status == 0, run.output
    assert ["prepare", "restart"] == calls(run)


def test_rollback(issued: Machine) -> None:
    """``rollback`` goes back and restarts."""
    run = issued.certbot("rollback", *issued.installer, "--checkpoints", "1", around=traced)
    assert run.status == 0, run.output
    assert ["prepare", "rollback_checkpoints 1", "restart"] == calls(run)


def test_delete(issued: Machine) -> None:
    """``delete`` does not call the installer."""
    run = issued.certbot("delete", "--cert-name", "example.com", around=traced)
    assert run.status == 0, run.output
    assert [] == calls(run)


def test_plugins(machine: Machine) -> None:
    """``plugins --prepare`` prepares an installer that nobody has chosen."""
    run = machine.certbot("plugins", "--prepare", around=traced)
    assert run.status == 0, run.output
    assert ["prepare"] == calls(run)


@pytest.mark.parametrize(("failing", "after"), [
    ("deploy_cert", ["prepare", "deploy_cert example.com", "recovery_routine"]),
    ("restart", ["prepare", *DEPLOYED, "rollback_checkpoints", "restart"]),
])
def test_run_fails(machine: Machine, failing: str, after: list[str]) -> None:
    """A failing deployment is recovered, a failing restart rolled back and repeated."""
    run = machine.issue(*SANS, around=functools.partial(traced, failing))
    assert run.status == 1
    assert after == calls(run)


@pytest.mark.parametrize("verb", ["run", "install"])
def test_question_after_restart(verb: str, machine: Machine) -> None:
    """An error where certbot asks for enhancements, outside any handler, undoes nothing."""
    around = functools.partial(traced, QUESTION, verbs=(*VERBS, QUESTION))
    if verb == "run":
        run = machine.issue(*SANS, around=around)
    else:
        assert machine.issue(*SANS).status == 0
        run = machine.certbot("install", "--cert-name", SANS[0], *machine.installer, around=around)
    assert run.status == 1
    assert ["prepare", *DEPLOYED, QUESTION] == calls(run)
    assert "told to fail" in run.output
    assert "restored" not in run.output


@pytest.mark.parametrize(("failing", "after"), [
    ("renew_deploy", ["prepare", "renew_deploy"]),
    ("restart", ["prepare", "renew_deploy", "restart"]),
    ("generic_updates", ["prepare", "renew_deploy", "restart", "generic_updates"]),
])
def test_renewal_fails(issued: Machine, failing: str, after: list[str]) -> None:
    """A failure in a renewal ends it for this lineage with status 1; nothing is rolled back."""
    run = issued.force_renewal(around=functools.partial(traced, failing))
    assert run.status == 1
    assert after == calls(run)


@pytest.mark.parametrize(("error", "is_kept"), [(errors.UsageError, False),
                                                (certbot_errors.Error, True)])
def test_failing_prepare(issued: Machine, error: type[Exception], *, is_kept: bool) -> None:
    """In a renewal, a plugin whose ``prepare`` raises a ``PluginError`` is dropped for good."""
    conf = issued.config_dir / "renewal" / "example.com.conf"
    assert "installer = qiniu" in conf.read_text(encoding="utf-8")
    run = issued.force_renewal(around=functools.partial(traced, "prepare", error))
    assert is_kept == bool(run.status)
    assert is_kept == ("installer = qiniu" in conf.read_text(encoding="utf-8"))
