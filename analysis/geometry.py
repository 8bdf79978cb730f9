"""Geometry of one snapshot in O(rows x dim): cosines through the sum of unit rows, norms, drift and movement.

The definitions are those of docs/dump-format.md, so `snapshot_statistics` gives for a snapshot the numbers that the
recording gave for it. Rows are taken in blocks and all sums over rows in float64, so the memory needed beyond the
snapshot itself is a few blocks. Counted rows of zero norm are left out everywhere; a value that is not finite is refused.

The identity behind the cosines: with u_i = w_i / |w_i| and S = sum of u_i over n rows, the sum of cos(i, j) over all
j != i is u_i.S - 1, and over all pairs |S|^2 - n.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from correlation import pearson, spearman

BLOCK_VALUES = 1 << 21  # values in one block: 16 MB as float64
Floats = NDArray[np.floating]


class Rows(Protocol):
    """What the statistics must know of a table's rows; `dump.Table` is one."""

    counts: NDArray[np.int64]
    counted: NDArray[np.bool_]
    group: NDArray[np.int16]
    groups: Sequence[Any]


class GeometryError(ValueError):
    """A snapshot of which no geometry can be computed: one line that names the rows."""


@dataclass(frozen=True)
class RowGeometry:
    """One snapshot's rows (all of them, NaN where a row's norm is zero) and the sums that they were computed from.

    `norms`, `mean_cosine` (to all other counted rows) and `common_cosine` (to the common vector) are float64 (rows,);
    `live` marks rows of non-zero norm, `pool` the counted ones among them. `common` is the common vector (dim,),
    `unit_sums` and `sizes` are S and the number of live rows of each frequency group, (groups, dim) and (groups,).
    """

    norms: NDArray[np.float64]
    mean_cosine: NDArray[np.float64]
    common_cosine: NDArray[np.float64]
    live: NDArray[np.bool_]
    pool: NDArray[np.bool_]
    common: NDArray[np.float64]
    unit_sum: NDArray[np.float64]
    unit_sums: NDArray[np.float64]
    sizes: NDArray[np.int64]


def row_geometry(values: Floats, table: Rows) -> RowGeometry:
    """Norms and cosines of every row of a snapshot (rows, dim).

    Raises GeometryError: another shape than the table's, values that are not finite, fewer than 2 rows to count.
    """
    _check_shape(values, table, "the snapshot")
    rows, dim = values.shape
    groups = len(table.groups)
    norms = np.empty(rows)
    live = np.empty(rows, bool)
    unit_sum, total = np.zeros(dim), np.zeros(dim)
    unit_sums = np.zeros((groups, dim))
    for block, part in _blocks(values):
        norms[part] = np.sqrt(np.einsum("ij,ij->i", block, block))
        _check_finite(norms[part], part, "the snapshot")
        live[part] = norms[part] > 0
        pool = table.counted[part] & live[part]
        total += pool @ block
        block /= np.where(live[part], norms[part], 1)[:, None]
        unit_sum += pool @ block
        unit_sums += _members(table.group[part], live[part], groups) @ block
    pool = table.counted & live
    n = _check_pool(pool)
    common = total / n
    length = float(np.linalg.norm(common))
    directions = np.stack([unit_sum, common / length if length > 0 else np.full(dim, np.nan)], axis=1)
    dots = np.empty((rows, 2))
    for block, part in _blocks(values):
        dots[part] = block @ directions
    dots /= np.where(live, norms, np.nan)[:, None]
    return RowGeometry(
        norms=norms,
        mean_cosine=np.where(pool, (dots[:, 0] - 1) / (n - 1), dots[:, 0] / n),
        common_cosine=dots[:, 1],
        live=live,
        pool=pool,
        common=common,
        unit_sum=unit_sum,
        unit_sums=unit_sums,
        sizes=group_sizes(table.group, live, groups),
    )


def common_vector(values: Floats, table: Rows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The common vector (dim,) and the pool (rows,) of a snapshot, as `row_geometry` has them, without what it computes beside.

    Raises GeometryError as `row_geometry` does.
    """
    _check_shape(values, table, "the snapshot")
    pool = np.zeros(len(values), bool)
    total = np.zeros(values.shape[1])
    for block, part in _blocks(values):
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        _check_finite(norms, part, "the snapshot")
        pool[part] = table.counted[part] & (norms > 0)
        total += pool[part] @ block
    _check_pool(pool)
    return total / int(pool.sum()), pool


def snapshot_statistics(
    values: Floats, table: Rows, previous: Floats | None = None, initial: Floats | None = None
) -> dict[str, Any]:
    """Every statistic of docs/dump-format.md for one snapshot (rows, dim): floats, and float64 (groups,) arrays.

    `previous` is the table one update before, `initial` the table at update 0; without them the statistics that need
    them are NaN. Raises GeometryError as `row_geometry` does.
    """
    rows = row_geometry(values, table)
    nothing = np.full(len(table.groups), np.nan)
    result = table_statistics(rows, table)
    for name in ("drift", "update_norm", "update_shared"):
        result |= {name: np.nan, f"{name}_group": nothing}
    if initial is not None:
        result |= drift_statistics(values, initial, table, rows)
    if previous is not None:
        result |= movement_statistics(values, previous, table, rows)
    return result


def table_statistics(rows: RowGeometry, table: Rows) -> dict[str, Any]:
    """The statistics that need one snapshot alone: cosines, norms, correlations with frequency; also by group (groups,)."""
    pool, groups = rows.pool, len(table.groups)
    seen = pool & (table.counts > 0)
    log_seen, log_all = np.log(table.counts[seen]), np.log(table.counts[pool] + 1)
    return {
        "mean_cosine": mean_pairwise(rows.unit_sum, int(pool.sum())),
        "mean_cosine_group": group_means(rows.mean_cosine, table.group, rows.live, groups),
        "mean_cosine_within": np.array(
            [mean_pairwise(total, int(size)) for total, size in zip(rows.unit_sums, rows.sizes, strict=True)]
        ),
        "common_cosine": float(rows.common_cosine[pool].mean()),
        "common_cosine_group": group_means(rows.common_cosine, table.group, rows.live, groups),
        "common_norm": float(np.linalg.norm(rows.common)),
        "norm_mean": float(rows.norms[pool].mean()),
        "norm_group": group_means(rows.norms, table.group, rows.live, groups),
        "pearson_seen": pearson(rows.mean_cosine[seen], log_seen),
        "spearman_seen": spearman(rows.mean_cosine[seen], log_seen),
        "pearson_all": pearson(rows.mean_cosine[pool], log_all),
        "spearman_all": spearman(rows.mean_cosine[pool], log_all),
    }


def drift_statistics(values: Floats, initial: Floats, table: Rows, rows: RowGeometry) -> dict[str, Any]:
    """Mean distance of the rows from where `initial` (rows, dim) has them: `drift`, and `drift_group` (groups,)."""
    distance = np.sqrt(_changes(values, initial, table, "the snapshot of update 0")[0])
    by_group = group_means(distance, table.group, rows.live, len(table.groups))
    return {"drift": float(distance[rows.pool].mean()), "drift_group": by_group}


def movement_statistics(values: Floats, previous: Floats, table: Rows, rows: RowGeometry) -> dict[str, Any]:
    """Length of the rows' change since `previous` (rows, dim), and how much of it lies along one direction: `update_*`.

    Twice: over all counted rows, and within each frequency group along the group's own direction.
    """
    groups = len(table.groups)
    squares, sums = _changes(values, previous, table, "the table before the update", rows)
    directions = np.zeros_like(sums)
    lengths = np.linalg.norm(sums, axis=1)
    np.divide(sums, lengths[:, None], out=directions, where=lengths[:, None] > 0)
    along = np.zeros(groups + 1)
    for block, part in _blocks(values, previous):
        dots = (block @ directions.T) ** 2
        member = _members(table.group[part], rows.live[part], groups)
        along[:groups] += np.einsum("ij,ji->i", member, dots[:, :groups])
        along[groups] += rows.pool[part] @ dots[:, groups]
    totals = np.append(
        np.bincount(table.group[table.group >= 0], weights=(squares * rows.live)[table.group >= 0], minlength=groups),
        squares[rows.pool].sum(),
    )
    shared = np.divide(along, totals, out=np.full(groups + 1, np.nan), where=(totals > 0) & (lengths > 0))
    return {
        "update_norm": float(np.sqrt(squares[rows.pool].mean())),
        "update_norm_group": np.sqrt(group_means(squares, table.group, rows.live, groups)),
        "update_shared": float(shared[groups]),
        "update_shared_group": shared[:groups],
    }


def mean_pairwise(unit_sum: Floats, n: int) -> float:
    """Mean cosine over all pairs of n unit rows with the sum `unit_sum` (dim,): (|S|^2 - n) / (n (n - 1)); NaN if n < 2."""
    return float((unit_sum @ unit_sum - n) / (n * (n - 1))) if n > 1 else float("nan")


def group_sizes(group: NDArray[np.int16], live: NDArray[np.bool_], groups: int) -> NDArray[np.int64]:
    """Live rows of each frequency group, int64 (groups,)."""
    return np.bincount(group[live & (group >= 0)], minlength=groups)


def group_means(
    per_row: NDArray[np.float64], group: NDArray[np.int16], live: NDArray[np.bool_], groups: int
) -> NDArray[np.float64]:
    """Mean of a number of each row over the live rows of each frequency group, float64 (groups,); NaN: no such rows."""
    inside = live & (group >= 0)
    sums = np.bincount(group[inside], weights=per_row[inside], minlength=groups)
    sizes = np.bincount(group[inside], minlength=groups)
    return np.divide(sums, sizes, out=np.full(groups, np.nan), where=sizes > 0)


def unit_rows(values: Floats) -> NDArray[np.float32]:
    """Rows divided by their norm, float32 (rows, dim); rows of zero norm stay zero. A copy of the snapshot's size."""
    result = np.empty(values.shape, np.float32)
    for block, part in _blocks(values):
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        _check_finite(norms, part, "the snapshot")
        result[part] = block / np.where(norms > 0, norms, 1)[:, None]
    return result


def _changes(
    values: Floats, before: Floats, table: Rows, what: str, rows: RowGeometry | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared length of each row's change, and the changes' sums: one a group, the last over all counted rows."""
    _check_shape(before, table, what)
    groups = len(table.groups)
    squares = np.empty(len(values))
    sums = np.zeros((groups + 1, values.shape[1]))
    for block, part in _blocks(values, before):
        squares[part] = np.einsum("ij,ij->i", block, block)
        _check_finite(squares[part], part, what)
        if rows is not None:
            sums[:groups] += _members(table.group[part], rows.live[part], groups) @ block
            sums[groups] += rows.pool[part] @ block
    return squares, sums


def _blocks(values: Floats, minus: Floats | None = None) -> Iterator[tuple[NDArray[np.float64], slice]]:
    """Blocks of rows of `values` (less `minus`) as fresh float64 arrays, each with its place."""
    step = max(1, BLOCK_VALUES // max(values.shape[1], 1))
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        block = values[part].astype(np.float64)
        if minus is not None:
            block -= minus[part]
        yield block, part


def _members(group: NDArray[np.int16], live: NDArray[np.bool_], groups: int) -> NDArray[np.float64]:
    """1.0 where a live row belongs to a group, (groups, rows): sums by group as one matrix product."""
    return ((group[None, :] == np.arange(groups)[:, None]) & live[None, :]).astype(np.float64)


def _check_pool(pool: NDArray[np.bool_]) -> int:
    """The number of rows in the pool."""
    n = int(pool.sum())
    if n < 2:
        raise GeometryError(f"the snapshot has {n} counted rows of non-zero norm; at least 2 are needed for a cosine")
    return n


def _check_shape(values: Floats, table: Rows, what: str) -> None:
    if values.ndim != 2 or len(values) != len(table.counts):
        raise GeometryError(f"{what} has the shape {values.shape}, expected {len(table.counts)} rows of one width")


def _check_finite(per_row: NDArray[np.float64], part: slice, what: str) -> None:
    if not np.isfinite(per_row).all():
        rows = np.flatnonzero(~np.isfinite(per_row)) + part.start
        shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise GeometryError(f"{what} has values that are not finite in rows {shown}: training diverged")
