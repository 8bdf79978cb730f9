"""Bootstrap intervals over tokens and over updates: percentile intervals at 95 %, seeded, in bounded memory.

Over tokens, the rows are drawn anew with replacement, within their frequency groups where groups are compared
(stratified), while each row keeps its measured number (its cosine to a sum of thousands of rows hardly depends on which
of them were drawn). It answers: would other tokens of the same kind have given the same? It says nothing of other seeds.
Over updates, blocks of neighbouring updates are drawn, because a curve's points depend on one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 500
LEVEL = 0.95
BLOCK_DRAWS = 1 << 22  # draws held at a time


def percentile_interval(samples: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float] | None:
    """Central percentile interval of resampled values (resamples,); None where fewer than half of them are finite."""
    finite = samples[np.isfinite(samples)]
    if len(finite) < max(2, len(samples) / 2):
        return None
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def stratified_means(
    per_row: NDArray[np.float64],
    stratum: NDArray[np.integer],
    strata: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Means of each stratum in each resample, float64 (resamples, strata).

    `per_row` (n,) or (n, k) (k numbers of one row are drawn together: the result is (resamples, strata, k)). Rows of
    a stratum outside 0 .. strata - 1 take no part; a stratum of fewer than 2 rows has no spread to show and gives NaN.
    """
    numbers = per_row[:, None] if per_row.ndim == 1 else per_row
    result = np.full((resamples, strata, numbers.shape[1]), np.nan)
    rng = np.random.default_rng(seed)
    for index in range(strata):
        inside = numbers[stratum == index]
        if len(inside) < 2:
            continue
        for weights, part in _weights(rng, len(inside), resamples):
            result[part, index] = weights @ inside / len(inside)
    return result[:, :, 0] if per_row.ndim == 1 else result


def pooled(means: NDArray[np.float64], sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean over several strata from their means (..., strata) and sizes; strata without rows take no part."""
    sizes = np.asarray(sizes, np.float64)
    used = sizes > 0
    return (means[..., used] * sizes[used]).sum(axis=-1) / sizes[used].sum()


def pairwise_cosine_change(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    stratum: NDArray[np.integer],
    strata: int,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Change of the mean pairwise cosine from one set of unit rows (n, dim) to another, in each resample (resamples,).

    The same rows are drawn from both, within their strata. With c_i the number of times that row i was drawn and
    S = sum c_i u_i, the mean over pairs of different rows is (|S|^2 - sum c_i^2) / (n^2 - sum c_i^2): pairs of a row with
    itself, which the plain formula would count as cosine 1, are left out.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(stratum, kind="stable")
    order = order[(stratum[order] >= 0) & (stratum[order] < strata)]
    sizes = np.bincount(stratum[order], minlength=strata)
    n = len(order)
    result = np.empty(resamples)
    step = max(1, BLOCK_DRAWS // max(n, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = [next(_weights(rng, size, rows, block=rows))[0] for size in sizes if size]
        weights = np.zeros((rows, len(stratum)), np.float32)
        weights[:, order] = np.concatenate(drawn, axis=1)
        own = (weights.astype(np.float64) ** 2).sum(axis=1)
        means = [
            (((weights @ units).astype(np.float64) ** 2).sum(axis=1) - own) / (n**2 - own) for units in (before, after)
        ]
        result[start : start + rows] = means[1] - means[0]
    return result


def over_updates(
    statistic: Callable[[NDArray[np.intp]], float],
    length: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Moving-block bootstrap of a curve: `statistic` of `length` chosen positions, in each resample (resamples,).

    Blocks have ceil(length ** (1/3)) neighbouring points (Kuensch 1989; the usual order of the block length).
    """
    block = max(1, math.ceil(length ** (1 / 3)))
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, length - block + 1, (resamples, -(-length // block)))
    places = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :length]
    return np.array([statistic(chosen) for chosen in places])


def _weights(
    rng: np.random.Generator, n: int, resamples: int, *, block: int | None = None
) -> Iterator[tuple[NDArray[np.float64], slice]]:
    """How often each of n rows was drawn when n rows are drawn with replacement: blocks (resamples of the block, n)."""
    step = block or max(1, BLOCK_DRAWS // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = rng.integers(0, n, (rows, n), dtype=np.int32)
        draws += np.arange(rows, dtype=np.int32)[:, None] * n
        yield (
            np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64),
            slice(start, start + rows),
        )
