"""How large the common vector is beside the rows: r, its norm over the rows' mean norm, with an interval over tokens.

With m the mean of n counted rows w_i and N the mean of their norms, r = |m| / N. To first order a row adds
(e.w_i - r |w_i|) / N to it, with e = m / |m|; the standard error of r is the spread of that over sqrt(n) (the delta method).
Drawing rows anew would not do: a mean of drawn rows is longer than m by chance, by about 1 / sqrt(n) where m is short.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from claims import LEVEL, Estimate
from curves import Curve
from dump import Table
from geometry import row_geometry

WIDTH = float(stats.norm.ppf((1 + LEVEL) / 2))


def ratio_curve(common_norm: Curve, norm_mean: Curve) -> Curve:
    """r at the updates at which both were recorded."""
    updates, one, two = np.intersect1d(common_norm.updates, norm_mean.updates, return_indices=True)
    return Curve(updates, common_norm.values[one] / norm_mean.values[two])


def ratio_at(table: Table, update: int) -> float:
    """r of a snapshot; NaN where no row has a length."""
    rows = row_geometry(table.snapshot(update), table)
    norm_mean = float(rows.norms[rows.pool].mean()) if rows.pool.any() else math.nan
    return float(np.linalg.norm(rows.common)) / norm_mean


def row_parts(table: Table, update: int) -> NDArray[np.float64]:
    """What each row adds to r to first order, float64 (rows,), NaN for rows that are not counted."""
    values = table.snapshot(update)
    rows = row_geometry(values, table)
    norm_mean = float(rows.norms[rows.pool].mean())
    length = float(np.linalg.norm(rows.common))
    direction = rows.common / length if length else rows.common
    parts = (values.astype(np.float64) @ direction - length / norm_mean * rows.norms) / norm_mean
    return np.where(rows.pool, parts, np.nan)


def about(value: float, parts: NDArray[np.float64] | None, *, least: float = -math.inf) -> Estimate:
    """The value with the interval that the rows' parts (rows,) give it, cut at `least`; without an interval where there are none."""
    known = np.zeros(0) if parts is None else parts[np.isfinite(parts)]
    if len(known) < 2 or not math.isfinite(value):
        return Estimate(value, None)
    half = WIDTH * float(known.std(ddof=1)) / math.sqrt(len(known))
    return Estimate(value, (max(value - half, least), value + half))


def difference(
    first: Estimate, second: Estimate, parts: NDArray[np.float64] | None, other: NDArray[np.float64] | None
) -> Estimate:
    """r of one table minus that of another with the same rows, paired by row."""
    value = first.value - second.value
    if parts is None or other is None or parts.shape != other.shape:
        return Estimate(value, None)
    return about(value, parts - other)
