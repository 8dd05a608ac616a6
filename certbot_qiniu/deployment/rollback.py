"""Prepare and complete a rollback around certbot's reverter, which restores the files.

Before: check that it can be done, and leads to no certificate that ends soon. After: take up again
the domains that were let go meanwhile, so that they go back to what they served before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from certbot_qiniu import errors
from certbot_qiniu.deployment import holds, wording
from certbot_qiniu.deployment.certificates import former_ends, validity_of
from certbot_qiniu.deployment.checkpoints import older_states
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.deployer import Deployer
from certbot_qiniu.deployment.observe import observe
from certbot_qiniu.deployment.planning.hold import Served, ends_too_soon
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.failures import Failures, told_once
from certbot_qiniu.model import Domain
from certbot_qiniu.options import Settings


def check(deployer: Deployer, settings: Settings, count: int) -> dict[str, str]:
    """Check that going back by *count* checkpoints works, and leads to nothing that ends soon.

    :returns: the lineage of each domain that it brings back, or passes on its way.
    :raises errors.QiniuError: if no account can be used, a certificate has no time left, or a file
        that would be replaced is damaged: the hold needs what it says now.
    """
    store = deployer.store
    older = older_states(deployer.writer.backups, store.folder, count)
    for path, _ in older:
        store.check(path.stem)
    target = {name: entry for _, state in reversed(dict(older).items())
              for name, entry in state.items()}
    concerned = {name: lineage for _, state in older for name, (lineage, _) in state.items()}
    restored = {path.stem for path, _ in older}
    failures, usable, soon, later = Failures(), set[str](), list[str](), list[str]()
    lineages = {*deployer.all_lineages(), *(lineage for lineage, _ in target.values())}
    for lineage in sorted(lineages - set(store.damaged)):
        context = failures.attempt(_context, deployer, lineage, settings)
        if context is None:
            continue
        if failures.attempt(context.account.domains) is not None:
            usable.add(lineage)  # the ends of the others are known, too
        back: dict[str, list[str]] = {}
        for name, (owner, fingerprint) in sorted(target.items()):
            entry = store.state.get(name)
            if owner == lineage and not (entry and entry.binding.fingerprint == fingerprint):
                back.setdefault(fingerprint, []).append(name)
        for fingerprint, names in back.items():
            served = Served(names[0], True, *validity_of(context, lineage, fingerprint))
            if served.end:
                (soon if ends_too_soon(served, context.clock()) else later).append(
                    wording.goes_back(names, lineage, served.end))
        if lineage in restored:
            let_go = [name for name in _let_go(store, concerned, lineage) if name not in target]
            observed = failures.attempt(observe, context, let_go, refresh=False) or ({}, {})
            for served in _former(context, {
                    *(store.managed(lineage).keys() - target),
                    *(name for name, domain in observed[0].items()
                      if _is_given_back(store, lineage, domain))}):
                (soon if ends_too_soon(served, context.clock()) else later).append(
                    wording.goes_back_to_former(served))
    if not usable & ({*concerned.values()} or lineages):
        failures.raise_any()
    if soon:
        raise errors.UsageError(wording.too_late_to_go_back(soon))
    for text in later:
        deployer.say(text)
    return concerned


def begin(deployer: Deployer, count: int) -> None:
    """Note what going back by *count* checkpoints undoes: certbot may be killed on its way.

    :raises errors.StateError: if that cannot be written.
    """
    store = deployer.store
    older = older_states(deployer.writer.backups, store.folder, count)
    lineages = {owner for path, state in older
                for owner in (path.stem, *(owner for owner, _ in state.values()))}
    if store.former_state_path.stem in lineages:  # the file of all lineages
        lineages.update(deployer.all_lineages())
    holds.begin(store, lineages & {*store.memory.lineages, *deployer.all_lineages()})


def _former(context: Context, names: Iterable[str]) -> list[Served]:
    """Return what these domains served before we first touched them, if that ends.

    After a lost memory that may be ours. No domain goes back to an expired or deleted certificate:
    observing the domain reports that.
    """
    records = context.memory.domains
    former = {name: baseline for name in sorted(names)
              if (baseline := records.get(name, Record()).baseline)
              and baseline.protocol == "https"}
    ends = former_ends(context, {baseline.cert_id for baseline in former.values()} - {""})
    found = [Served(name, True, *validity_of(context, records[name].lineage, baseline.fingerprint))
             if baseline.fingerprint else Served(name, False, ends.get(baseline.cert_id) or 0)
             for name, baseline in former.items()]
    return [served for served in found if served.end > context.clock()]


def _context(deployer: Deployer, lineage: str, settings: Settings) -> Context:
    """Make the context in which this lineage is reconciled.

    :raises errors.UsageError: if the credentials are bad.
    """
    return deployer.context(deployer.credentials_of(lineage, settings))


def take_up(deployer: Deployer, passed: Mapping[str, str], settings: Settings) -> list[str]:
    """After a rollback: give back the domains that were let go and are not managed again.

    :param passed: the lineages of the domains that the rollback has passed on its way.
    :returns: what went wrong.
    """
    store, failures = deployer.store, Failures()
    for lineage in sorted(set(passed.values())):
        if names := _let_go(store, passed, lineage):
            failures.attempt(_take_up, deployer, lineage, names, settings)
    store.write_memory()
    return told_once(failures.errors)


def unseen_versions(store: Store) -> list[str]:
    """Return the domains whose TLS versions a rollback takes back, where no read shows any."""
    found = []
    for name, record in sorted(store.memory.domains.items()):
        wanted = store.state[name].binding if name in store.state else record.baseline
        if (record.is_ours and wanted and wanted.protocol == "https" and not wanted.tls_versions
                and record.confirmed and record.confirmed.binding.tls_versions
                and record.seen and record.seen.tls_versions is None):
            found.append(name)
    return found


def _let_go(store: Store, passed: Mapping[str, str], lineage: str) -> list[str]:
    """Return the domains of a lineage among *passed* that were let go, and not taken up again."""
    return [name for name, record in sorted(store.memory.domains_of(lineage).items())
            if passed.get(name) == lineage and record.let_go and record.baseline
            and name not in store.state]


def _is_given_back(store: Store, lineage: str, domain: Domain) -> bool:
    """Return whether a domain that was let go still serves ours, as far as can be seen.

    If it is being published, assume so: it is observed again before anything is sent.
    """
    return domain.state == "processing" or domain.cert_id in store.memory.uploads_by(lineage)


def _take_up(deployer: Deployer, lineage: str, names: list[str], settings: Settings) -> None:
    memory = deployer.store.memory
    services = {memory.domains[name].service for name in names}
    context = deployer.context(deployer.credentials_of(lineage, settings), services)
    observed, failures = observe(context, names, refresh=False)
    for name, domain in observed.items():
        if _is_given_back(deployer.store, lineage, domain):
            memory.update(name, let_go=0.0)
            entry = memory.lineage(lineage)
            entry.given_back = tuple(sorted({*entry.given_back, name}))
        else:
            deployer.say(wording.changed_since(name))
    if failures:
        raise errors.DeployError("; ".join(
            wording.not_given_back(name, error) for name, error in failures.items()))
