"""Putting a pruned dump in the place of the old one, so that a crash at any moment loses nothing.

The new dump is written beside the old one as ``<dump>.pruning.tmp`` and checked. Then the old one is moved to ``<dump>.unpruned.tmp``, the new one
takes its name, and the old one is deleted. So as long as the dump is in its place, whatever else is there can go; and where it is not, the new
dump is whole and only has to be renamed. Whoever calls these functions holds the dump's lock.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .. import failpoints
from . import store

STAGED, ASIDE = ".pruning.tmp", ".unpruned.tmp"


def staged(dump: Path) -> Path:
    """Where the new dump is written."""
    return dump.with_name(dump.name + STAGED)


def aside(dump: Path) -> Path:
    """Where the old dump waits until it is deleted."""
    return dump.with_name(dump.name + ASIDE)


def interrupted(dump: Path) -> bool:
    """Whether a pruning was killed while the dump had no place: it must be recovered before anything else is done."""
    real = Path(os.path.realpath(dump))
    return not real.exists() and aside(real).exists()


def recover(dump: Path) -> str | None:
    """Clean up after a killed pruning; returns what was done, if anything.

    Raises:
        OSError: a rename or removal fails.
    """
    real = Path(os.path.realpath(dump))
    new, old = staged(real), aside(real)
    if not new.exists() and not old.exists():
        return None
    if not real.exists() and old.exists():
        done = "finished" if store.is_dump(new) else "undone"
        (new if done == "finished" else old).rename(real)
        sync_folder(real.parent)
    else:
        done = "cleaned up"
    for folder in (new, old):
        if folder.exists():
            shutil.rmtree(folder)
    return f"an interrupted pruning of {dump} was {done}"


def replace(dump: Path) -> None:
    """Put the staged dump, whole and checked, in the place of ``dump``, which may be absent.

    Raises:
        OSError: a rename or removal fails; the old dump is in its place then, or the new one.
    """
    new, old = staged(dump), aside(dump)
    failpoints.reach("prune-checked")
    if not dump.exists():
        new.rename(dump)
        sync_folder(dump.parent)
        return
    try:
        dump.rename(old)
        failpoints.reach("prune-aside")
        new.rename(dump)
    except BaseException:
        if not dump.exists() and old.exists():
            old.rename(dump)
        raise
    sync_folder(dump.parent)
    failpoints.reach("prune-renamed")
    shutil.rmtree(old)


def sync_folder(folder: Path) -> None:
    """Have a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
