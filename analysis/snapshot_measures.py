"""Whole-table geometry of one snapshot: what a worker of `snapshots.py` computes, with two snapshots in memory at most.

Of an unbroken run of encoded snapshots (windows) each is decoded once; with the decoder's two that makes five.

One thread does the linear algebra, so that the numbers are the same to the bit whatever the number of workers (a sum over
rows depends on how many threads share it). Processors of another kind may differ in the last bits.
"""

from __future__ import annotations

from collections.abc import Iterator
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
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """Snapshots to measure, of the table `table` of the dump at `path`: of one update, or of an unbroken run of encoded ones.

    `first` is the dump's first snapshot; `previous` holds, for each of `updates`, the snapshot listed before it (None: none).
    """

    path: str
    table: str
    first: int
    updates: tuple[int, ...]
    previous: tuple[int | None, ...]


@dataclass(frozen=True)
class Measured:
    """A snapshot's numbers by name, floats and lists of floats (one a frequency group); or, in `failure`, why there are none."""

    update: int
    numbers: dict[str, float | list[float]]
    failure: str | None = None


def measured(task: Task) -> list[Measured]:
    """Measure a task's snapshots. What goes wrong with the dump is returned, not raised: others can still be measured."""
    results: list[Measured] = []
    try:
        # Chunks are read one after the other: all at once would take a snapshot's memory more.
        with threadpool_limits(1), zarr.config.set({"async.concurrency": 1}):
            table = Dump.open(task.path).table(task.table)
            held: Floats | None = None
            for update, previous, values in zip(task.updates, task.previous, _snapshots(table, task), strict=True):
                results.append(Measured(update, measure(table, values, task.first, update, previous, held)))
                held = values if len(task.updates) > 1 else None
                del values  # gone before the next one is read
    except (DumpError, GeometryError) as error:
        failure = str(error)
    except (OSError, MemoryError) as error:
        failure = f"{task.path}: {getattr(error, 'strerror', None) or type(error).__name__}"
    else:
        return results
    return results + [Measured(update, {}, failure) for update in task.updates[len(results) :]]


def measure(
    table: Table, values: Floats, first: int, update: int, previous: int | None, held: Floats | None = None
) -> dict[str, float | list[float]]:
    """All numbers of the snapshot `values` (rows, dim) at `update`; `held` is the one at `previous`, where it is at hand.

    Raises DumpError, which names the snapshot; GeometryError.
    """
    rows = row_geometry(values, table)
    result: dict[str, Any] = table_statistics(rows, table) | _isotropy(values, rows)
    if previous is None:
        groups = np.full(len(table.groups), np.nan)
        moved = dict.fromkeys(MOVED, np.nan) | {f"{name}_group": groups for name in MOVED}
    else:
        moved = movement_statistics(values, _snapshot(table, previous) if held is None else held, table, rows)
    for name, ours in MOVED.items():
        result |= {ours: moved[name], f"{ours}_group": moved[f"{name}_group"]}
    initial = values if first == update else _snapshot(table, first)
    result |= drift_statistics(values, initial, table, rows)
    return {name: np.asarray(value, np.float64).tolist() for name, value in result.items()}


def _snapshots(table: Table, task: Task) -> Iterator[Floats]:
    """The snapshots of the task's updates; of a run each is decoded once."""
    if len(task.updates) == 1:
        yield _snapshot(table, task.updates[0])
        return
    try:
        for _, values in table.window(task.updates[0], task.updates[-1]):
            yield values
    except DumpError as error:
        raise DumpError(f"snapshots of updates {task.updates[0]} to {task.updates[-1]}: {error}") from None


def _snapshot(table: Table, update: int) -> Floats:
    try:
        return table.snapshot(update)
    except DumpError as error:
        raise DumpError(f"snapshot of update {update}: {error}") from None


def _isotropy(values: Floats, rows: RowGeometry) -> dict[str, float]:
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
