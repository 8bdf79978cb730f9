"""Where a run's dump is kept: a folder, or a path in a key-value store (object storage) given by a URL.

A folder is created under a temporary name and renamed, locked with ``flock`` and removed by way of a rename. A key-value store has no renames
and no locks. There a dump exists if its root ``zarr.json`` does: it is written last when a dump is created and deleted first when one is removed,
and while either goes on the key ``.incomplete.tmp`` says so, so that what an interruption left can be told from what is not ours. Other writers
are kept away by a claim (:mod:`.lease`) and by conditional writes (:class:`.store.Store`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import tensorstore as ts

from .. import failpoints
from ..errors import UserError
from . import replacing, space, store
from .lease import SUFFIX, Lease, Pace
from .location import NOTHING, Location, is_url
from .lock import DumpLock
from .writer import refusal

logger = logging.getLogger(__name__)
ROOT = "zarr.json"
MARK = ".incomplete.tmp"  # sorts before every other key of a dump


class Lock(Protocol):
    """What keeps other writers away."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...


class Place(ABC):
    """Where a dump is kept. ``name`` is the folder or URL, for messages."""

    name: str | Path

    @abstractmethod
    def lock(self, purpose: str, instead: str) -> Lock:
        """What keeps other writers away, not yet acquired; arguments as of :class:`.lock.DumpLock`."""

    @abstractmethod
    def require_space(self, needed: space.Estimate) -> None:
        """Check that there is room.

        Raises:
            UserError: there is not.
        """

    @abstractmethod
    def recover(self) -> None:
        """Clean up what an interruption left."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether anything is there under the dump's name."""

    @abstractmethod
    def is_dump(self) -> bool:
        """Whether a dump of any format version is there."""

    @abstractmethod
    def remove(self) -> None:
        """Delete the dump, if there is one, and what an interrupted removal left."""

    @abstractmethod
    @contextlib.contextmanager
    def creating(self) -> Iterator[store.Store]:
        """An empty store to write a new dump into. It exists as soon as the block has ended; on any error nothing of it does."""

    @abstractmethod
    def open(self) -> store.Store:
        """The dump that is there."""

    @abstractmethod
    def explain(self, error: Exception) -> UserError:
        """One line for the user about an error of the file system or of tensorstore."""


def at(text: str, context: ts.Context | None = None) -> Place:
    """The place that ``--record-dir`` names.

    Args:
        text: a folder or a URL.
        context: holds what ``memory://`` holds.

    Raises:
        UserError: a URL of another form than :mod:`.location` describes.
    """
    return KeyValuePlace(Location.of_url(text, context)) if is_url(text) else FolderPlace(Path(text))


class FolderPlace(Place):
    """A folder of the file system."""

    def __init__(self, path: Path) -> None:
        self.name = self.path = path

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(f"{self.path.name}.creating.tmp")

    def lock(self, purpose: str, instead: str) -> Lock:
        return DumpLock(self.path, purpose, instead)

    def require_space(self, needed: space.Estimate) -> None:
        space.require_space(needed, self.path)

    def recover(self) -> None:
        replacing.recover(self.path)

    def exists(self) -> bool:
        return self.path.exists()

    def is_dump(self) -> bool:
        return store.is_dump(self.path)

    def remove(self) -> None:
        store.remove(self.path)

    @contextlib.contextmanager
    def creating(self) -> Iterator[store.Store]:
        try:
            store.remove(self._temporary)
            self._temporary.mkdir(parents=True)
            target = store.Store(self._temporary)
            yield target
            target.consolidate()
            failpoints.reach("create")
            self._temporary.rename(self.path)
        except BaseException:
            store.remove(self._temporary)
            raise

    def open(self) -> store.Store:
        return store.Store(self.path)

    def explain(self, error: Exception) -> UserError:
        if reason := refusal(error):
            return UserError(
                f"the dump cannot be written at {self.path}: {reason}; mend that and run the same command again, or choose another --record-dir"
            )
        if isinstance(error, OSError):
            return UserError(f"the dump cannot be written at {self.path}: {error}; choose another --record-dir")
        return UserError(f"the dump at {self.path} cannot be opened: {error}")


class KeyValuePlace(Place):
    """A path in a key-value store.

    Args:
        location: where.
        pace: of the claim that keeps other writers away.
        options: further arguments of :class:`.lease.Lease`.
    """

    def __init__(self, location: Location, pace: Pace = Pace(), **options: Any) -> None:  # noqa: B008  (frozen)
        self.location, self.name, self.pace, self.options = location, location.name, pace, options
        self.lease: Lease | None = None

    @property
    def _file(self) -> Path | None:
        """The folder behind ``file://``."""
        return Path(self.location.spec["path"]) if self.location.spec["driver"] == "file" else None

    def lock(self, purpose: str, instead: str) -> Lock:
        self.exists()  # whether the store answers is known within seconds
        beside, name = self.location.beside
        self.lease = Lease(
            self.location.open(beside),
            name + SUFFIX,
            self.name,
            purpose,
            instead,
            self.pace,
            **self.options,
        )
        return self.lease if self._file is None else _Both(DumpLock(self._file, purpose, instead), self.lease)

    def require_space(self, needed: space.Estimate) -> None:
        if self._file is not None:
            space.require_space(needed, self._file)
        else:
            logger.info(f"free space is not checked at {self.name}")

    def exists(self) -> bool:
        # A list of one key, not a read: of a bucket that is not there a read says only that it holds no such key.
        kv = self.location.open(impatient=True)
        return bool(kv.list(ts.KvStore.KeyRange(ROOT, f"{ROOT}\0")).result())

    def is_dump(self) -> bool:
        known = store.Store(self.location).root
        return known.get("attributes", {}).get("format") == store.FORMAT

    def recover(self) -> None:
        kv = self.location.open(impatient=True)
        if kv.read(MARK).result().state == "missing":
            return
        if self.exists():  # it was whole before, or is whole now
            kv.write(MARK, None).result()
            return
        logger.info(f"clearing what an interrupted run left at {self.name}")
        self._clear(kv)

    @staticmethod
    def _clear(kv: ts.KvStore) -> None:
        kv.delete_range(ts.KvStore.KeyRange(f"{MARK}\0")).result()
        kv.write(MARK, None).result()

    def remove(self) -> None:
        if not self.exists():
            return
        kv = self.location.open()
        kv.write(MARK, b"").result()
        kv.write(ROOT, None).result()
        self._clear(kv)

    @contextlib.contextmanager
    def creating(self) -> Iterator[store.Store]:
        kv = self.location.open()
        there = sorted(kv.list().result())
        if there and MARK.encode() not in there:
            raise UserError(
                f"expected nothing or a dump at {self.name}; found other objects, such as {there[0].decode(errors='replace')}; "
                "choose another --record-dir"
            )
        try:
            kv.write(MARK, b"").result()
            target = self.open()
            yield target
            failpoints.reach("create")
            target.consolidate()
            kv.write(MARK, None).result()
        except BaseException:
            with contextlib.suppress(Exception, UserError):
                if self.lease is not None:
                    self.lease.require()
                if kv.read(ROOT).result().stamp.generation == NOTHING:
                    self._clear(kv)
            raise

    def open(self) -> store.Store:
        claim = self.lease.require if self.lease is not None else None
        return store.Store(dataclasses.replace(self.location, claim=claim))

    def explain(self, error: Exception) -> UserError:
        said = (
            " ".join(str(error).split()).partition(" [http_response")[0].partition(" [x-")[0].partition(" [source")[0]
        )
        if "NoSuchBucket" in said or "bucket does not exist" in said:
            reason = "the bucket does not exist; make it, or correct the URL"
        elif any(
            word in said
            for word in (
                "PERMISSION_DENIED",
                "UNAUTHENTICATED",
                "AccessDenied",
                "Forbidden",
                "nvalid Credentials",
                "Unauthorized",
            )
        ):
            reason = f"access is denied ({said[:120]}); check the credentials (docs/remote.md) and what they allow"
        elif "CURL error" in said:
            reason = f"the server cannot be reached ({said.partition('CURL error ')[2][:160]}); check the network and, where it is set, AWS_ENDPOINT_URL"
        else:
            reason = f"{said[:240]}; choose another --record-dir"
        return UserError(f"the dump at {self.name} cannot be written: {reason}")


class _Both:
    """The lock of a folder and the claim on it, for ``file://``: a run that names the folder itself is kept away too."""

    def __init__(self, *locks: Lock) -> None:
        self._locks = locks

    def acquire(self) -> None:
        for number, lock in enumerate(self._locks):
            try:
                lock.acquire()
            except BaseException:
                for held in self._locks[:number]:
                    held.release()
                raise

    def release(self) -> None:
        for lock in reversed(self._locks):
            lock.release()
