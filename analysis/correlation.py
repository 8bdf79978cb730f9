"""Correlation of two numbers of each token, with bootstrap intervals over tokens, and curves over log-spaced bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bootstrap import RESAMPLES, percentile_interval
from claims import Estimate


def pearson(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Pearson's correlation; NaN for fewer than 3 pairs or where one of the two does not vary."""
    return float(stats.pearsonr(x, y).statistic) if _varies(x, y) else float("nan")


def spearman(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Spearman's rank correlation (ties get their mean rank); NaN as for `pearson`."""
    return float(stats.spearmanr(x, y).statistic) if _varies(x, y) else float("nan")


def correlation_estimates(
    x: NDArray[np.floating], y: NDArray[np.floating], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """Pearson and Spearman of n pairs, each with the percentile interval of a bootstrap over tokens (the pairs).

    Each resample is exact: ranks are computed anew, with ties, from the sorted order and the number of times that each
    token was drawn, which takes O(n) instead of a sort.
    """
    values = pearson(x, y), spearman(x, y)
    if not _varies(x, y):
        return Estimate(values[0], None), Estimate(values[1], None)
    n = len(x)
    rng = np.random.default_rng(seed)
    moments = np.stack([x, y]).astype(np.float64)
    moments -= moments.mean(axis=1, keepdims=True)
    ranks = _Ranks(x), _Ranks(y)
    samples = np.empty((resamples, 2))
    for index in range(resamples):
        weights = np.bincount(rng.integers(0, n, n), minlength=n)
        samples[index, 0] = _weighted_pearson(moments[0], moments[1], weights)
        samples[index, 1] = _weighted_pearson(ranks[0](weights), ranks[1](weights), weights)
    pearson_interval, spearman_interval = (percentile_interval(samples[:, column]) for column in (0, 1))
    return Estimate(values[0], pearson_interval), Estimate(values[1], spearman_interval)


@dataclass(frozen=True)
class BinnedCurve:
    """A number of each token over bins of the token count, of which empty ones are left out.

    `low` and `high` are the bins' bounds (both inclusive), `count` the geometric mean of the counts in it, `mean` the mean
    of the number, `quantiles` (bins, 5) its 5th, 25th, 50th, 75th and 95th percentile over tokens, `rows` the tokens.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    rows: NDArray[np.int64]


def binned_curve(
    counts: NDArray[np.int64], per_row: NDArray[np.floating], *, per_decade: int = 4, least: int = 10
) -> BinnedCurve:
    """Bin tokens by count, `per_decade` bins of equal log width; a bin of fewer than `least` tokens joins the next.

    Tokens of count 0 take no part.
    """
    seen = counts > 0
    counts, per_row = counts[seen], per_row[seen]
    highest = int(counts.max(initial=1))
    steps = int(np.ceil(np.log10(highest + 1) * per_decade)) + 1
    edges = np.unique(np.ceil(10 ** (np.arange(steps + 1) / per_decade)).astype(np.int64))
    place = np.searchsorted(edges, counts, side="right") - 1
    members = [np.flatnonzero(place == index) for index in range(len(edges))]
    bins: list[NDArray[np.intp]] = []
    pending = np.zeros(0, np.intp)
    for rows in members:
        pending = np.concatenate([pending, rows])
        if len(pending) >= least:
            bins.append(pending)
            pending = pending[:0]
    if len(pending):
        bins.append(np.concatenate([bins.pop(), pending]) if bins else pending)
    quantiles = [np.quantile(per_row[rows], [0.05, 0.25, 0.5, 0.75, 0.95]) for rows in bins]
    return BinnedCurve(
        low=np.array([counts[rows].min() for rows in bins], np.int64),
        high=np.array([counts[rows].max() for rows in bins], np.int64),
        count=np.array([np.exp(np.log(counts[rows]).mean()) for rows in bins], np.float64),
        mean=np.array([per_row[rows].mean() for rows in bins], np.float64),
        quantiles=np.array(quantiles, np.float64).reshape(len(bins), 5),
        rows=np.array([len(rows) for rows in bins], np.int64),
    )


class _Ranks:
    """Mean ranks of resampled numbers, from the numbers' order found once."""

    def __init__(self, numbers: NDArray[np.floating]) -> None:
        distinct, self.place = np.unique(numbers, return_inverse=True)
        self.distinct = len(distinct)

    def __call__(self, weights: NDArray[np.integer]) -> NDArray[np.float64]:
        """Rank of each number when it occurs `weights` times, (n,), less the mean rank (so sums stay small)."""
        drawn = np.bincount(self.place, weights=weights, minlength=self.distinct)
        rank = np.cumsum(drawn) - (drawn - 1) / 2
        return (rank - (weights.sum() + 1) / 2)[self.place]


def _weighted_pearson(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.integer]) -> float:
    total = weights.sum()
    wx, wy = weights * x, weights * y
    mean_x, mean_y = wx.sum() / total, wy.sum() / total
    spread = (wx @ x - total * mean_x**2) * (wy @ y - total * mean_y**2)
    return float((wx @ y - total * mean_x * mean_y) / np.sqrt(spread)) if spread > 0 else float("nan")


def _varies(x: NDArray[np.floating], y: NDArray[np.floating]) -> bool:
    return len(x) > 2 and bool(np.ptp(x) > 0) and bool(np.ptp(y) > 0)
