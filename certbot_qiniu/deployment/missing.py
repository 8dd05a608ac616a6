"""Domains that we manage and that the account does not have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from certbot_qiniu import errors
from certbot_qiniu.deployment import wording
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.deployment.observe import observe
from certbot_qiniu.deployment.planning.absence import is_in_doubt
from certbot_qiniu.deployment.planning.bindings import binding_of
from certbot_qiniu.deployment.state import Record
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.model import Domain


def expected(store: Store, lineage: str) -> list[str]:
    """Return the domains that a lineage manages, or is to put back."""
    return sorted({*store.managed(lineage), *(
        name for name, record in store.memory.domains_of(lineage).items()
        if record.is_ours and name not in store.state)})


def check_list(context: Context, lineage: str, credentials: str, *, listed: Collection[str],
               others_are_there: Callable[[], bool]) -> None:
    """Refuse to believe an account that has none of a lineage's domains.

    :param credentials: path of the account's credentials file.
    :param listed: domains that the user named: each of them is reported by itself.
    :param others_are_there: asks whether the account has any domain of another lineage.
    :raises errors.ListInDoubt: if it is not believed.
    :raises errors.QiniuError: if the account cannot be listed.
    """
    memory = context.memory.lineage(lineage)
    # A domain that a rollback only brought back into the state is known to be gone.
    names = [name for name in expected(context.store, lineage)
             if not context.memory.domains.get(name, Record()).gone]
    present = context.account.domains()
    # A domain that was ever ours and is there proves the account, even if it was let go or gone.
    known = {*names, *context.memory.domains_of(lineage)}
    if not names or known & present.keys() or set(names) & set(listed):
        if memory.doubted:
            memory.doubted = 0.0
        return
    observed, failures = observe(context, names, refresh=False)
    if observed or failures:
        return  # nothing is missing, or nothing is known
    now = context.clock()
    if is_in_doubt(names, names, others_are_there=others_are_there(), since=memory.doubted,
                   now=now):
        memory.doubted = memory.doubted or now
        context.store.write_memory()
        raise errors.ListInDoubt(wording.list_in_doubt(lineage, names, credentials))


def note_return(context: Context, observed: Iterable[Domain]) -> None:
    """Note that missing domains are back, and whether they are the same ones."""
    memory = context.memory
    for domain in observed:
        record = memory.domains.get(domain.name, Record())
        if not record.gone:
            continue
        is_new = record.gone.created != domain.created and record.gone.created and domain.created
        memory.update(domain.name, gone=None, baseline=binding_of(domain, {
            cert_id: upload.fingerprint for cert_id, upload in memory.uploads.items()})
            if is_new else record.baseline)


def forget(context: Context, lineage: str) -> list[str]:
    """Stop managing a lineage's missing domains, which the user says are gone.

    :returns: their names.
    :raises errors.QiniuError: if it is unknown which are missing, or a file cannot be written.
    """
    store, memory = context.store, context.memory
    names = expected(store, lineage)
    observed, failures = observe(context, names, refresh=False)
    if failures:
        raise next(iter(failures.values()))
    missing = [name for name in names if name not in observed]
    for name in missing:
        entry = store.state.get(name)
        memory.bury(name, entry.binding if entry else None, context.clock())
    memory.lineage(lineage).doubted = 0.0
    store.write_memory()  # before the state: after a crash it must lead back to the baselines
    store.apply({name: None for name in missing if name in store.state})
    return missing
