"""Comparing a replay with the recording, to the bit, wherever both have a record."""

from __future__ import annotations

from collections.abc import Iterator
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
PLAIN = ("snapshots", "traces", "statistics", "exposure")
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
    for key in replayed.updates:
        if key not in original.records.updates:
            continue
        if sort_of(key) not in PLAIN:
            found.left_out.append(f"{key}: its records are encoded")
            continue
        updates = np.intersect1d(original.records.updates[key], replayed.updates[key])
        same = np.ones(len(updates), bool)
        for name in sorted(set(replayed.names(key)) & set(original.records.names(key))):
            chosen = np.ones(len(updates), bool)
            if name in COSTLIER:
                chosen &= np.array([all(update in known for known in computed) for update in updates.tolist()], bool)
            if name.startswith("update_"):
                chosen &= updates != started
            for record, difference in _differences(original.records, replayed, key, name, updates[chosen]):
                same[np.searchsorted(updates, record)] = False
                if found.first is None or record < found.first.update:
                    found.first = difference
        found.records[key] = (len(updates), int(same.sum()))
    return found


class _Computed:
    """The updates at which a recording computed the costlier statistics."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.streams = streams_of(attributes)
        self.first = int((attributes.get("progress") or {}).get("first_update", 0))

    def __contains__(self, update: int) -> bool:
        return bool(self.streams.movement) and (update == self.first or self.streams.describes_movement(update))


def _differences(
    one: Records, other: Records, key: str, name: str, updates: NDArray[np.int64]
) -> Iterator[tuple[int, Difference]]:
    """The records of an array that differ: update, and where."""
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
            update, where = int(updates[start + entry]), np.argwhere(unequal[entry])[0]
            place = tuple(int(i) for i in where)
            named = dict(zip(one.dimensions(key, name)[1:], place, strict=True))
            if "token" in named:  # by the row that the token is
                tokens = one.read(key, "token", slice(None))
                named["token"] = int(tokens[place[0] if columns is None else columns[0][place[0]]])
            yield update, Difference(
                update, key, name, named,
                a[entry][place].item(), b[entry][place].item(), int(unequal[entry].sum()), int(unequal[entry].size),
            )  # fmt: skip
        start = stop


def _columns(one: Records, other: Records, key: str) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """For traces of different tokens the entries of those that both have; ``None``: all, in order."""
    if not (one.has(key, "token") and other.has(key, "token")):
        return None
    a, b = one.read(key, "token", slice(None)), other.read(key, "token", slice(None))
    return None if np.array_equal(a, b) else np.intersect1d(a, b, return_indices=True)[1:]


def _unequal(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two arrays differ in their bits; NaN equals NaN."""
    bits = f"u{a.dtype.itemsize}"
    unequal = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
    return unequal & ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else unequal
