"""Comparing a replay with the recording, to the bit, wherever both have a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..recording.contents import sort_of
from ..recording.statistics import CORRELATIONS, MOVEMENT
from .configuration import streams_of
from .original import Original
from .records import Records

COSTLIER = frozenset((*CORRELATIONS, *MOVEMENT))
BLOCK = 64 << 20  # bytes that are read of an array at a time


@dataclass(frozen=True)
class Difference:
    """The first place where two recordings differ.

    Attributes:
        update: of the record.
        stream: its place in the dump.
        name: of the array.
        place: index of the first value that differs, by dimension, e.g. ``{"row": 7, "dim": 0}``; ``token`` is the token's row.
        recorded: that value in the recording.
        replayed: in the replay.
        values: how many values of this record differ.
        of: how many it has.
    """

    update: int
    stream: str
    name: str
    place: dict[str, int]
    recorded: float
    replayed: float
    values: int
    of: int

    def __str__(self) -> str:
        where = "".join(f", {dimension} {index}" for dimension, index in self.place.items())
        return (
            f"update {self.update:,}, {self.stream}/{self.name}{where}: recorded {self.recorded!r}, replayed {self.replayed!r} "
            f"({self.values:,} of {self.of:,} values of this record differ)"
        )


@dataclass
class Comparison:
    """What was compared.

    Attributes:
        records: number of records by stream, and how many of them are the same to the bit.
        first: the first difference, by update.
        left_out: what both have and was not compared, with the reason.
    """

    records: dict[str, tuple[int, int]] = field(default_factory=dict)
    first: Difference | None = None
    left_out: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if self.first is not None:
            return "different"
        return "identical" if any(n for n, _ in self.records.values()) else "not verified"

    def take(self, key: str, records: int, differences: Sequence[Difference]) -> None:
        """Note what the comparison of a stream gave; a record may differ in several arrays."""
        self.records[key] = (records, records - len({difference.update for difference in differences}))
        for difference in differences:
            if self.first is None or difference.update < self.first.update:
                self.first = difference

    def attributes(self) -> dict[str, Any]:
        """For the new dump's root."""
        return {
            "verdict": self.verdict,
            "compared": {key: {"records": n, "identical": same} for key, (n, same) in self.records.items()},
            "first_difference": None if self.first is None else asdict(self.first),
            "not_compared": self.left_out,
        }


def compare(original: Original, replayed: Records, attributes: dict[str, Any]) -> Comparison:
    """Compare every record that both dumps have.

    Left out is what only one of them computed: the costlier statistics at updates of which one recording has no snapshot, and the size of the
    last update in the replay's first record, which has no update before it.

    Args:
        original: the run.
        replayed: the replay's dump.
        attributes: of the replay's dump.
    """
    found = Comparison()
    started = int(attributes["progress"]["first_update"])
    computed = [_Computed(original.attributes), _Computed(attributes)]
    for key in original.records.updates:
        if sort_of(key) == "windows":
            _compare_windows(original.records, replayed, key, found)
        elif key in replayed.updates:
            updates = np.intersect1d(original.records.updates[key], replayed.updates[key])
            differences = []
            for name in sorted(set(replayed.names(key)) & set(original.records.names(key))):
                chosen = np.ones(len(updates), bool)
                if name in COSTLIER:
                    chosen &= np.array([all(u in known for known in computed) for u in updates.tolist()], bool)
                if name.startswith("update_"):
                    chosen &= updates != started
                differences += list(_differences(original.records, replayed, key, name, updates[chosen]))
            found.take(key, len(updates), differences)
    return found


def _compare_windows(one: Records, other: Records, key: str, found: Comparison) -> None:
    """Compare what a stream of windows gives to the bit with the same tables of the replay, be they snapshots or windows of its own."""
    snapshots = f"{key.rpartition('/')[0]}/snapshots"
    whole = other.updates.get(snapshots, np.zeros(0, np.int64))
    exact = one.exact(key)
    if lossy := len(one.updates[key]) - len(exact):
        found.left_out.append(f"{key}: {lossy:,} records of a lossy encoding")
    encoded = np.setdiff1d(np.intersect1d(exact, other.exact(key)), whole) if key in other.updates else whole[:0]
    updates = np.union1d(np.intersect1d(exact, whole), encoded)
    ours = other.decoded(key, encoded.tolist()) if len(encoded) else iter(())
    differences = []
    for update, table in one.decoded(key, updates.tolist()):
        if update in whole:
            place = int(np.searchsorted(whole, update))
            replayed = other.read(snapshots, "values", slice(place, place + 1))[0]
        else:
            _, replayed = next(ours)
        unequal = _unequal(table, replayed)
        if unequal.any():
            differences.append(_difference(update, key, "values", ("row", "dim"), table, replayed, unequal))
    found.take(key, len(updates), differences)


class _Computed:
    """The updates at which a recording computed the costlier statistics."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.streams = streams_of(attributes)
        self.first = int((attributes.get("progress") or {}).get("first_update", 0))

    def __contains__(self, update: int) -> bool:
        return bool(self.streams.movement) and (update == self.first or self.streams.describes_movement(update))


def _differences(one: Records, other: Records, key: str, name: str, updates: NDArray[np.int64]) -> Iterator[Difference]:
    """The records of an array that differ, each by its first value that does."""
    columns = _columns(one, other, key) if name == "values" else None
    entries = [np.searchsorted(records.updates[key], updates) for records in (one, other)]
    largest = max(1, BLOCK // max(1, one.record_bytes(key, name)))
    start = 0
    while start < len(updates):
        stop = start + 1
        while stop < len(updates) and all(e[stop] - e[start] < largest for e in entries):
            stop += 1
        a, b = (
            records.read(key, name, slice(int(e[start]), int(e[stop - 1]) + 1))[e[start:stop] - e[start]]
            for records, e in zip((one, other), entries, strict=True)
        )
        if columns is not None:
            a, b = a[:, columns[0]], b[:, columns[1]]
        unequal = _unequal(a, b)
        for entry in np.flatnonzero(unequal.reshape(len(unequal), -1).any(1)):
            difference = _difference(
                int(updates[start + entry]),
                key,
                name,
                one.dimensions(key, name)[1:],
                a[entry],
                b[entry],
                unequal[entry],
            )
            if "token" in difference.place:  # by the row that the token is
                tokens = one.read(key, "token", slice(None))
                tokens = tokens if columns is None else tokens[columns[0]]
                difference.place["token"] = int(tokens[difference.place["token"]])
            yield difference
        start = stop


def _columns(one: Records, other: Records, key: str) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """For traces of different tokens the entries of those that both have; ``None``: all, in order."""
    if not (one.has(key, "token") and other.has(key, "token")):
        return None
    a, b = one.read(key, "token", slice(None)), other.read(key, "token", slice(None))
    return None if np.array_equal(a, b) else np.intersect1d(a, b, return_indices=True)[1:]


def _difference(
    update: int,
    key: str,
    name: str,
    dimensions: tuple[str, ...],
    a: NDArray[Any],
    b: NDArray[Any],
    unequal: NDArray[Any],
) -> Difference:
    """Where two records differ first."""
    place = tuple(int(i) for i in np.argwhere(unequal)[0])
    named = dict(zip(dimensions, place, strict=True))
    return Difference(update, key, name, named, a[place].item(), b[place].item(), int(unequal.sum()), int(unequal.size))


def _unequal(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two arrays differ in their bits; NaN equals NaN."""
    bits = f"u{a.dtype.itemsize}"
    unequal = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
    return unequal & ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else unequal
