"""A rehearsal's result comes true: over random accounts and lasting faults.

``renew --dry-run`` ends as ``renew --force-renewal`` from the same state, and ``reconfigure`` as
the plain ``renew`` after it. What a rehearsal cannot know, as it sends nothing, is left out here:
that Qiniu refuses a certificate or a change.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.sandbox.qiniu_certs import covers
from tests.sandbox.wire import Fault, Response, json_response
from tests.scenarios.machine import Run
from tests.scenarios.world import (
    APEX,
    DAY,
    FAULTS,
    HOUR,
    IMG,
    LAYOUTS,
    PAY,
    SHOP,
    WWW,
    Lineage,
    World,
)

EVENTS: dict[str, Callable[[World, str], Any]] = {}
"""What happens to one domain, or to all, before the rehearsal."""


def event(work: Callable[[World, str], Any]) -> Callable[[World, str], Any]:
    """Register what may happen."""
    EVENTS[work.__name__] = work
    return work


def owner(world: World, name: str) -> Lineage:
    """The lineage that names a domain, or covers it."""
    return [lineage for lineage in world.lineages if covers(lineage.names, name)][-1]


def bind(world: World, domain: str, days: float, **about: str) -> None:
    """Somebody binds a certificate of his."""
    world.qiniu.change_domain(domain, protocol="https", state="success", cert_id=world.stranger(
        owner(world, domain), days, **about))


@event
def short_foreign(world: World, name: str) -> None:
    """One that ends sooner than ours."""
    bind(world, name, 20)


@event
def long_foreign(world: World, name: str) -> None:
    """One that ends later."""
    bind(world, name, 300)


@event
def bought(world: World, name: str) -> None:
    """One that was bought at Qiniu."""
    bind(world, name, 40, order_id="1")


@event
def another_installations(world: World, name: str) -> None:
    """One with a name of our kind."""
    bind(world, name, 80, name=f"certbot_{APEX}_0123456789ab")


@event
def unknown_end(world: World, name: str) -> None:
    """One that is in no list."""
    world.qiniu.change_domain(name, protocol="https", cert_id="0123456789abcdef01234567")


@event
def http(world: World, name: str) -> None:
    """It is switched to http."""
    world.qiniu.change_domain(name, protocol="http", cert_id="", force_https=False, http2=False)


@event
def frozen(world: World, name: str) -> None:
    """It is frozen."""
    world.qiniu.change_domain(name, state="frozen", freeze_type="ICP")


@event
def not_operable(world: World, name: str) -> None:
    """Qiniu lets this account change nothing."""
    world.qiniu.change_domain(name, operable=False)


@event
def busy(world: World, name: str) -> None:
    """It is busy with somebody else's change, and stays so."""
    world.qiniu.change_domain(name, processing=10 * DAY, operation="modify_cache")


@event
def failed(world: World, name: str) -> None:
    """The last publication failed."""
    if world.wanted(name).protocol == "https":
        world.qiniu.change_domain(name, state="failed", operation="modify_https_conf",
                                  state_reason="verify https crt fail")


@event
def deleted(world: World, name: str) -> None:
    """It is deleted."""
    world.qiniu.remove_domain(name)


@event
def all_deleted(world: World, name: str) -> None:
    """The account is empty."""
    account = world.domains[name].account
    for one in [one for one, domain in world.domains.items() if domain.account == account]:
        world.qiniu.remove_domain(one)


@event
def listed(world: World, name: str) -> None:
    """The user names one domain alone."""
    write_option(world, owner(world, name), "qiniu_domains", name)


@event
def listed_wrongly(world: World, name: str) -> None:
    """He names one that is not there, too."""
    write_option(world, owner(world, name), "qiniu_domains", f"{name},missing.example.com")


@event
def listed_uncovered(world: World, name: str) -> None:
    """Or one that is not covered."""
    world.qiniu.add_domain("www.example.net", account=owner(world, name).account)
    write_option(world, owner(world, name), "qiniu_domains", f"{name},www.example.net")


@event
def rolled_back(world: World, name: str) -> None:
    """The last change is undone."""
    world.sleep(HOUR)
    world.rollback(1)


@event
def renewed(world: World, name: str) -> None:
    """All is renewed."""
    world.machine.renew("--force-renewal")


@event
def looked_after(world: World, name: str) -> None:
    """The timer runs."""
    world.machine.renew()


@event
def a_day(world: World, name: str) -> None:
    """Time passes."""
    world.sleep(DAY)


@event
def two_months(world: World, name: str) -> None:
    """A lot of it, without any run."""
    world.sleep(61 * DAY)


@event
def an_age(world: World, name: str) -> None:
    """Everything has expired."""
    world.sleep(400 * DAY)


@event
def keys_of_another_account(world: World, name: str) -> None:
    """The credentials file has others' keys, and keeps them."""
    world.swap_keys()


@event
def credentials_gone(world: World, name: str) -> None:
    """The credentials file is not there."""
    Path(world.conf(owner(world, name))["qiniu_credentials"]).unlink(missing_ok=True)


@event
def state_damaged(world: World, name: str) -> None:
    """A file of ours cannot be read."""
    folder = world.machine.config_dir / "qiniu" / "state"
    (folder / f"{owner(world, name).name}.json").write_text("{")


@event
def files_lost(world: World, name: str) -> None:
    """Nothing is remembered any more."""
    shutil.rmtree(world.machine.config_dir / "qiniu", ignore_errors=True)


@event
def lineage_deleted(world: World, name: str) -> None:
    """One lineage is not there any more."""
    if owner(world, name).name != APEX:
        world.machine.certbot("delete", "--cert-name", owner(world, name).name)


LASTING: dict[str, tuple[Fault, str]] = {
    "": (Fault("hook", hook=lambda _: None), ""),
    "401": (FAULTS["401"], ""),
    "503": (FAULTS["503"], ""),
    "refused connection": (Fault("refuse"), ""),
    "no domains": (FAULTS["503"], "GET api.qiniu.com/domain"),
    "no details": (FAULTS["503"], f"GET api.qiniu.com/domain/{WWW}"),
    "no certificates": (FAULTS["503"], "GET fusion.qiniuapi.com/sslcert"),
    "no buckets": (FAULTS["503"], "uc.qiniuapi.com"),
    "nonsense": (Fault("reply", Response(200, b"<html>")), "GET api.qiniu.com/domain"),
    "no permission": (Fault("reply", json_response(403, {"error": "forbidden"})),
                      "GET fusion.qiniuapi.com/sslcert"),
}
"""What goes wrong at each call that has this in its label, from now on."""


def write_option(world: World, lineage: Lineage, option: str, value: str) -> None:
    """Store an option in the renewal conf, as certbot does."""
    path = world.machine.config_dir / "renewal" / f"{lineage.name}.conf"
    if path.exists():
        lines = [line for line in path.read_text().splitlines()
                 if not line.startswith(f"{option} =")]
        place = next(n for n, line in enumerate(lines) if line.startswith("installer ="))
        path.write_text("\n".join([*lines[:place], f"{option} = {value}", *lines[place:], ""]))


class Rehearsal:
    """A state to which all comes back, with a fault that lasts."""

    def __init__(self, world: World, fault: str) -> None:
        self.world, self.fault = world, fault
        self._folder = world.machine.directory
        self._copy = self._folder.with_name("rehearsed")
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._folder, self._copy, symlinks=True)
        self._saved = world.cloud.save()

    def back(self) -> None:
        """Go back to it."""
        shutil.rmtree(self._folder)
        shutil.copytree(self._copy, self._folder, symlinks=True)
        self.world.cloud.restore(self._saved)

    def run(self, *arguments: str) -> Run:
        """Run certbot while the fault lasts."""
        with lasting(self.world, self.fault):
            return self.world.machine.certbot(*arguments)

    def renew(self, *arguments: str) -> Run:
        """Likewise ``certbot renew``."""
        return self.run("renew", "--no-random-sleep-on-renew", *arguments)


@contextlib.contextmanager
def lasting(world: World, name: str) -> Iterator[None]:
    """A fault that lasts for a run."""
    fault, match = LASTING[name]
    world.cloud.board.arm(fault, match=match, times=10**6)
    yield
    world.cloud.board.disarm()


def files(world: World) -> dict[str, bytes]:
    """What is in our files."""
    folder = world.machine.config_dir / "qiniu"
    return {str(path): path.read_bytes() for path in folder.rglob("*.json")}


def rehearse(world: World, events: list[tuple[str, str]], fault: str) -> None:
    """Let all that happen, and compare what a rehearsal says with what comes.

    :raises AssertionError: if they differ.
    """
    world.reset()
    world.sleep(HOUR)
    for name, domain in events:
        if domain in world.domains:
            EVENTS[name](world, domain)
    state = Rehearsal(world, fault)
    compare_renewal(state)
    for lineage in world.lineages:
        if world.conf(lineage):
            state.back()
            compare_reconfigure(state, lineage, is_held="rolled_back" in dict(events))


def compare_renewal(state: Rehearsal) -> None:
    """A dry run, and a renewal of all."""
    before = files(state.world)
    dry = state.renew("--dry-run", "--force-renewal")
    assert [] == state.world.witness.changes
    if state.fault == "" and state.world.listed(state.world.lineages[0]) is None:
        assert before.keys() == files(state.world).keys()
    state.back()
    real = state.renew("--force-renewal")
    assert dry.status == real.status, (
        f"the dry run ended with {dry.status}:\n{dry.output}\n"
        f"and the renewal with {real.status}:\n{real.output}")


def compare_reconfigure(state: Rehearsal, lineage: Lineage, *, is_held: bool) -> None:
    """``reconfigure`` with the present options, and the plain renewal after it.

    :param is_held: whether a rollback may keep that renewal from looking at anything; what is
        wrong with the options is reported all the same.
    """
    world = state.world
    options = ("--qiniu-domains", ",".join(world.listed(lineage) or ["auto"]))
    rehearsed = state.run("reconfigure", "--cert-name", lineage.name, *world.installer(lineage),
                          *options)
    assert [] == world.witness.changes
    real = state.renew("--cert-name", lineage.name)
    assert rehearsed.status == real.status or (is_held and rehearsed.status), (
        f"reconfigure ended with {rehearsed.status}:\n{rehearsed.output}\n"
        f"and the renewal after it with {real.status}:\n{real.output}")


events = st.lists(st.tuples(st.sampled_from(sorted(EVENTS)),
                            st.sampled_from([WWW, IMG, APEX, PAY, SHOP, "example.org"])),
                  max_size=4)


def explore(number: int, examples: int, directory: Path) -> None:
    """Compare random ones, the same for the same number."""
    worlds: dict[str, World] = {}

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, report_multiple_bugs=False,
              phases=[Phase.generate, Phase.shrink], print_blob=False,
              suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(LAYOUTS)), events,
           st.just("") | st.just("") | st.sampled_from(sorted(LASTING)))
    def test(layout: str, events: list[tuple[str, str]], fault: str) -> None:
        if layout not in worlds:
            worlds[layout] = World(directory / layout, layout)
        rehearse(worlds[layout], events, fault)

    test()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(4))
def test_rehearsals(number: int, tmp_path: Path) -> None:
    """Random accounts, with and without a fault."""
    explore(number, 25, tmp_path)


def test_a_list_of_certificates_that_is_refused(tmp_path: Path) -> None:
    """An upload begins with it, so keys without that permission fail the dry run, too."""
    world = World(tmp_path, "two accounts")
    rehearse(world, [], "no permission")
