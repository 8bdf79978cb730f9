"""Statistics over updates: taken from the recording, or computed of the snapshots where none were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dump import Group, Table
from geometry import snapshot_statistics

SNAPSHOTS_READ = 24  # at most, where a curve has to be computed of them


@dataclass(frozen=True)
class Curve:
    """One statistic: `updates` int64 (n,), `values` float64 (n,) or (n, groups)."""

    updates: NDArray[np.int64]
    values: NDArray[np.float64]

    def at(self, update: float) -> float:
        """The value at the last recorded update that is not after `update`; NaN where there is none."""
        place = int(np.searchsorted(self.updates, update, side="right")) - 1
        return float(self.values[place]) if place >= 0 else float("nan")

    def since(self, update: float) -> Curve:
        """The part from `update` on."""
        kept = self.updates >= update
        return Curve(self.updates[kept], self.values[kept])

    def group(self, index: int) -> Curve:
        """The curve of one group, without updates at which the group had no value."""
        column = self.values[:, index]
        known = ~np.isnan(column)
        return Curve(self.updates[known], column[known])


def read_curves(table: Table, names: Sequence[str]) -> dict[str, Curve]:
    """The curves of several statistics.

    Recorded ones are read; where some were never recorded, all are computed of at most SNAPSHOTS_READ snapshots, among them
    the first and the last (movement statistics, which need the table before each update, are then empty). Raises
    DumpError where the dump has neither statistics nor snapshots.
    """
    if len(table.statistic_updates) and set(names) <= set(table.statistic_names):
        recorded = {name: Curve(*table.statistic(name)) for name in names}
        if all(len(curve.updates) for curve in recorded.values()) or not len(table.snapshot_updates):
            return recorded
    updates = spread(table.snapshot_updates, SNAPSHOTS_READ)
    if not len(updates):
        raise table.error("the dump holds neither these statistics nor snapshots; record one of them")
    computed = [snapshot_statistics(table.snapshot(int(update)), table) for update in updates]
    result = {}
    for name in names:
        values = np.array([entry[name] for entry in computed], np.float64)
        known = ~np.isnan(values.reshape(len(values), -1)).all(axis=1)
        result[name] = Curve(updates[known], values[known])
    return result


def last_update(table: Table) -> int:
    """The last update of which the dump holds a snapshot or statistics."""
    known = [updates[-1] for updates in (table.snapshot_updates, table.statistic_updates) if len(updates)]
    if not known:
        raise table.error("the dump holds neither statistics nor snapshots; record one of them")
    return int(max(known))


def spread(updates: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` of the updates, evenly chosen by position, the first and the last always among them (of one: the last)."""
    if len(updates) <= most:
        return updates
    if most == 1:
        return updates[-1:]
    return updates[np.unique(np.linspace(0, len(updates) - 1, most).round().astype(int))]


def over_seeds(curves: Sequence[Curve]) -> tuple[Curve, NDArray[np.float64], NDArray[np.float64]]:
    """Mean of several seeds' curves at the updates that all have, with the lowest and highest of them."""
    updates = curves[0].updates
    for curve in curves[1:]:
        updates = np.intersect1d(updates, curve.updates)
    stacked = np.stack([curve.values[np.searchsorted(curve.updates, updates)] for curve in curves])
    return Curve(updates, stacked.mean(axis=0)), stacked.min(axis=0), stacked.max(axis=0)


def frequent_group(groups: Sequence[Group]) -> Group | None:
    """The most frequent group that has rows."""
    return next((group for group in reversed(groups) if group.counted and group.rows and group.min_count > 0), None)


def rare_group(groups: Sequence[Group]) -> Group | None:
    """The rarest group of seen tokens that has rows."""
    return next((group for group in groups if group.counted and group.rows and group.min_count > 0), None)


def zero_group(groups: Sequence[Group]) -> Group | None:
    """The zero-count group, where it has rows."""
    return next((group for group in groups if group.counted and group.rows and group.max_count == 0), None)
