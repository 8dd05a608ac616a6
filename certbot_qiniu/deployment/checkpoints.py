"""certbot's checkpoints, as far as they hold our files: remember them, prune them, read few.

certbot keeps every checkpoint for ever, and lists and sorts all of them for the next one. Those of
ours that nobody can need any more are taken out of its folder; other checkpoints never are.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from certbot_qiniu import errors
from certbot_qiniu.files import decoding, read_json

logger = logging.getLogger(__name__)

_PRUNED = "qiniu-pruned-"


class Checkpoints(Protocol):
    """The part of certbot's reverter that is needed here."""

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        """Keep copies of files in the checkpoint in progress."""

    def finalize_checkpoint(self, title: str) -> None:
        """End the checkpoint in progress."""


class NoCheckpoints:
    """Takes the place of certbot's reverter if nothing is written: that needs no checkpoint."""

    def add_to_checkpoint(self, save_files: set[str], save_notes: str) -> None:
        """Keep nothing."""

    def finalize_checkpoint(self, title: str) -> None:
        """End nothing."""


def newest(backups: Path) -> Path | None:
    """Return the checkpoint that ``certbot rollback`` would begin with."""
    names = os.listdir(backups) if backups.is_dir() else []
    return backups / max(names) if names else None


def prune(backups: Path, names: Iterable[str], folder: Path) -> None:
    """Delete those of the named checkpoints that hold nothing but files below *folder*.

    One that is half deleted would stop every later rollback. So it is taken out of certbot's
    folder first; if a crash leaves parts of it, the next pruning deletes them. A failure only
    costs room.
    """
    for name in names:
        path = backups / name
        try:
            if _is_ours_alone(path, folder):
                path.rename(backups.parent / (_PRUNED + name))
        except OSError as error:
            logger.debug("The checkpoint %s stays: %s", path, error)
    for path in backups.parent.glob(f"{_PRUNED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _is_ours_alone(path: Path, folder: Path) -> bool:
    """Return whether a checkpoint undoes changes of files below *folder*, and nothing else.

    :raises OSError: if that is unknown.
    """
    copies = _copies(path)
    return bool(copies) and all(Path(name).is_relative_to(folder) for name in copies) and (
        set(os.listdir(path)) <= {"FILEPATHS", "CHANGES_SINCE", *copies.values()})


def finish_deletion(path: Path, folder: Path) -> bool:
    """Delete the rest that a crash has left of our checkpoint that was rolled back already.

    certbot names a copy only once it exists. If one is missing, certbot had restored all of them
    and was deleting. If left, the checkpoint would stop this and every later rollback.

    :returns: whether there was one.
    """
    try:
        copies = _copies(path)
        if (all((path / copy).exists() for copy in copies.values())
                or not all(Path(name).is_relative_to(folder) for name in copies)):
            return False
        shutil.rmtree(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.debug("The rest of %s stays: %s", path, error)
        return False
    return True


def finish_deletions(backups: Path, folder: Path) -> bool:
    """Do the same for all finalized checkpoints: runs since then may have made others.

    :returns: whether the newest of them was one.
    """
    paths = sorted(backups.iterdir(), reverse=True) if backups.is_dir() else []
    return [finish_deletion(path, folder) for path in paths][:1] == [True]


def older_states(backups: Path, folder: Path, count: int,
                 ) -> list[tuple[Path, dict[str, tuple[str, str]]]]:
    """Read the states that ``certbot rollback --checkpoints count`` would restore, in its order.

    :returns: a path, and its content: the lineage and the fingerprint of each domain.
    """
    paths = sorted(backups.iterdir(), reverse=True)[:count] if backups.is_dir() else []
    return [found for path in paths for found in _states(path, folder)]


def former_fingerprints(backups: Path, folder: Path, current: Mapping[str, Collection[str]],
                        ) -> dict[str, tuple[str, ...]]:
    """Find the fingerprints of lineages' older states in all checkpoints, after a lost memory.

    :param current: the lineages, and the fingerprints that they have now.
    :returns: the fingerprints of each lineage, newest first.
    """
    found: dict[str, dict[str, None]] = {lineage: {} for lineage in current}
    for path in sorted(backups.iterdir(), reverse=True) if backups.is_dir() else ():
        for _, state in _states(path, folder):
            for lineage, fingerprint in state.values():
                if lineage in found and fingerprint not in current[lineage]:
                    found[lineage].setdefault(fingerprint)
    return {lineage: tuple(fingerprints) for lineage, fingerprints in found.items()}


def _states(path: Path, folder: Path) -> Iterator[tuple[Path, dict[str, tuple[str, str]]]]:
    """Read the states in a checkpoint, with their paths; a damaged one has none."""
    try:
        for name, copy in _copies(path).items():
            if not Path(name).is_relative_to(folder):
                continue
            raw = read_json(path / copy, newest=2)
            with decoding(path / copy):
                state = {domain: (entry.get("lineage", Path(name).stem),
                                  entry["binding"]["fingerprint"])
                         for domain, entry in raw.get("domains", {}).items()}
            yield Path(name), state
    except (OSError, ValueError, errors.StateError) as error:
        logger.debug("The checkpoint %s is passed over: %s", path, error)


def _copies(path: Path) -> dict[str, str]:
    """Return the files that a checkpoint would restore, and the names of their copies.

    :raises OSError: if it cannot be read.
    """
    names = (path / "FILEPATHS").read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: f"{Path(name).name}_{index}" for index, name in enumerate(names)}
