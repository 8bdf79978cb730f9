"""Intrinsic dimension from the two nearest neighbours (TwoNN; Facco, d'Errico, Rodriguez & Laio 2017).

Where the density hardly changes over the distance to the second neighbour, the ratio mu = r2 / r1 of the two nearest distances
follows the Pareto law F(mu) = 1 - mu^(-d). The dimension d is the slope, through the origin, of -log(1 - F) against log mu,
F being the empirical distribution; the tenth of the largest ratios, which are noisy, is left out of the fit (as in the paper).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TRIMMED = 0.1
CANDIDATES = 4  # by quick distances, of which the two nearest are then found exactly
BLOCK = 1024


def neighbour_ratios(points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """r2 / r1 of each distinct point of (n, dim), and the places of these points: the first of equal ones, ascending."""
    _, places = np.unique(points, axis=0, return_index=True)
    places = np.sort(places)
    if len(places) < 3:
        return np.zeros(0), places[:0]
    chosen = points[places].astype(np.float64)
    chosen -= chosen.mean(axis=0)
    quick = chosen.astype(np.float32)
    squares = np.einsum("ij,ij->i", quick, quick)
    count = min(CANDIDATES, len(places) - 1)
    ratios = np.empty(len(places))
    for start in range(0, len(places), BLOCK):
        part = slice(start, start + BLOCK)
        away = quick[part] @ quick.T
        away *= -2
        away += squares
        own = np.arange(len(away))
        away[own, own + start] = np.inf
        near = np.empty((len(away), count), np.intp)
        for rank in range(count):
            near[:, rank] = away.argmin(axis=1)
            away[own, near[:, rank]] = np.inf
        exact = np.sqrt(np.square(chosen[near] - chosen[part][:, None, :]).sum(axis=2))
        exact.sort(axis=1)
        ratios[part] = exact[:, 1] / exact[:, 0]
    return ratios, places


def two_nn(ratios: NDArray[np.floating], weights: NDArray[np.floating] | None = None) -> float:
    """The dimension from ratios (n,), each counted `weights` (n,) times; NaN for fewer than 10 points."""
    drawn = np.ones(len(ratios)) if weights is None else np.asarray(weights, np.float64)
    total = drawn.sum()
    if total < 10:
        return math.nan
    order = np.argsort(ratios, kind="stable")
    x, own = np.log(ratios[order]), drawn[order]
    share = np.cumsum(own) / total
    kept = (share <= 1 - TRIMMED + 1e-12) & (own > 0)
    x, y, own = x[kept], -np.log1p(-share[kept]), own[kept]
    square = float(own @ np.square(x))
    return float(own @ (x * y) / square) if square > 0 else math.nan
