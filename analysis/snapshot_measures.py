"""Whole-table geometry of one snapshot: what a worker of `snapshots.py` computes, with two snapshots in memory at most.

One thread does the linear algebra, so that the numbers are the same to the bit whatever the number of workers (a sum over
rows depends on how many threads share it). Processors of another kind may differ in the last bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dump import Dump, DumpError, Table
from geometry import GeometryError, RowGeometry, drift_statistics, movement_statistics, row_geometry, table_statistics
from isotropy import effective_rank, isoscore, participation_ratio, second_moment

# Of each snapshot, beside the statistics of docs/dump-format.md that need no other one.
ISOTROPY = (
    "effective_rank",
    "effective_rank_centred",
    "participation_ratio",
    "participation_ratio_centred",
    "isoscore",
)
# `update_*` of docs/dump-format.md, but since the snapshot that the dump lists before, which may be many updates earlier.
MOVED = {"update_norm": "moved", "update_shared": "moved_shared"}


@dataclass(frozen=True)
class Task:
    """One snapshot to measure: of the table `table` of the dump at `path`, at `update`.

    `first` is the dump's first snapshot, `previous` the one listed before `update`; None: there is none before.
    """

    path: str
    table: str
    update: int
    first: int
    previous: int | None


@dataclass(frozen=True)
class Measured:
    """A task's numbers by name, floats and lists of floats (one a frequency group); or, in `failure`, why there are none."""

    update: int
    numbers: dict[str, float | list[float]]
    failure: str | None = None


def measured(task: Task) -> Measured:
    """Measure one snapshot. What goes wrong with the dump is returned, not raised: the others can still be measured."""
    try:
        # Chunks are read one after the other: all at once would take a snapshot's memory more.
        with threadpool_limits(1), zarr.config.set({"async.concurrency": 1}):
            return Measured(task.update, measure(Dump.open(task.path).table(task.table), task))
    except (DumpError, GeometryError) as error:
        return Measured(task.update, {}, str(error))
    except (OSError, MemoryError) as error:
        return Measured(task.update, {}, f"{task.path}: {getattr(error, 'strerror', None) or type(error).__name__}")


def measure(table: Table, task: Task) -> dict[str, float | list[float]]:
    """All numbers of the snapshot at `task.update`. Raises DumpError, which names the snapshot; GeometryError."""
    values = _snapshot(table, task.update)
    rows = row_geometry(values, table)
    result: dict[str, Any] = table_statistics(rows, table) | _isotropy(values, rows)
    changed = drift_statistics(values, _other(table, task.first, task.update, values), table, rows)
    if task.previous is None:
        groups = np.full(len(table.groups), np.nan)
        moved = dict.fromkeys(MOVED, np.nan) | {f"{name}_group": groups for name in MOVED}
    else:
        moved = movement_statistics(values, _snapshot(table, task.previous), table, rows)
    for name, ours in MOVED.items():
        changed |= {ours: moved[name], f"{ours}_group": moved[f"{name}_group"]}
    return {name: np.asarray(value, np.float64).tolist() for name, value in (result | changed).items()}


def _snapshot(table: Table, update: int) -> NDArray[np.float32]:
    try:
        return table.snapshot(update)
    except DumpError as error:
        raise DumpError(f"snapshot of update {update}: {error}") from None


def _other(table: Table, update: int, of: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values if update == of else _snapshot(table, update)


def _isotropy(values: NDArray[np.float32], rows: RowGeometry) -> dict[str, float]:
    """Measures of isotropy.py that follow from the second moment of the counted rows, raw and centred."""
    moment = second_moment(values[rows.pool])
    raw = np.clip(np.linalg.eigvalsh(moment), 0, None)
    centred = np.clip(np.linalg.eigvalsh(moment - np.outer(rows.common, rows.common)), 0, None)
    numbers = (
        effective_rank(raw),
        effective_rank(centred),
        participation_ratio(raw),
        participation_ratio(centred),
        isoscore(centred),
    )
    return dict(zip(ISOTROPY, numbers, strict=True))
