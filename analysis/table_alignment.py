"""How alike two embedding tables are, row by row of one vocabulary: CKA, Procrustes, nearest neighbours.

All three compare tables X (n, p) and Y (n, q) of the same n tokens after centring, and do not change when one of them is
rotated or scaled:

- linear CKA in the unbiased form (Kornblith et al. 2019, with the estimator of HSIC by Song et al. 2012, as Nguyen et al. 2021):
  1 for equal geometry, 0 on average for unrelated tables whatever n, p and q (the plain form is near p / n there);
- orthogonal Procrustes residual (Schoenemann 1966): with Frobenius norms made 1, half of min |X - Y Q|^2 over orthogonal Q,
  which is 1 - (sum of the singular values of X'Y): 0 for equal up to rotation, at most 1;
- mutual nearest neighbours: share of a token's k nearest in X (by cosine) that are among its k nearest in Y; k / (n - 1) by chance.

Each stands beside a null: Y with its rows in random order. Intervals over tokens: of CKA and Procrustes by a jackknife that
leaves out one of BLOCKS random blocks of tokens (a bootstrap would draw tokens twice, which are then perfect neighbours), of the
shared neighbours by a bootstrap of the tokens' own shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bootstrap import percentile_interval, stratified_means
from claims import LEVEL, Estimate

NEIGHBOURS = 10
LEAST_TOKENS = 50
MOST_TOKENS = 2000  # drawn at random where there are more: the neighbours need n^2 numbers
BLOCKS = 10
NULLS = 2
Floats = NDArray[np.float64]
MEASURES = ("cka", "procrustes", "neighbours")


@dataclass(frozen=True)
class Alignment:
    """Two tables over one group of tokens: an estimate by measure, and what unrelated rows give (`null`)."""

    tokens: int
    cka: Estimate
    procrustes: Estimate
    neighbours: Estimate
    null: dict[str, float]


def centred(values: NDArray[np.floating]) -> Floats:
    """Rows less their mean, float64."""
    result = values.astype(np.float64)
    return result - result.mean(axis=0)


def linear_cka(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Unbiased linear CKA of (n, p) and (n, q); NaN for fewer than 4 rows or a table without spread."""
    if len(x) < 4:
        return math.nan
    x, y = centred(x), centred(y)
    own = _hsic(x, x) * _hsic(y, y)
    return float(_hsic(x, y) / math.sqrt(own)) if own > 0 else math.nan


def procrustes_residual(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Orthogonal Procrustes residual of (n, p) and (n, q), between 0 and 1; NaN for a table without spread."""
    x, y = centred(x), centred(y)
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    if not lengths > 0:
        return math.nan
    return float(max(0.0, 1 - np.linalg.svd(x.T @ y, compute_uv=False).sum() / lengths))


def nearest(values: NDArray[np.floating], k: int = NEIGHBOURS) -> NDArray[np.int64]:
    """The k nearest other rows of each row by cosine of the centred rows, int64 (n, k), unordered."""
    rows = centred(values).astype(np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    cosine = rows @ rows.T
    np.fill_diagonal(cosine, -np.inf)
    return np.argpartition(-cosine, k - 1, axis=1)[:, :k]


def shared_neighbours(first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Share of each row's neighbours that both have, float64 (n,)."""
    return (first[:, :, None] == second[:, None, :]).any(axis=2).mean(axis=1)


def align(
    x: NDArray[np.floating], y: NDArray[np.floating], *, intervals: bool = True, nulls: int = NULLS, seed: int = 0
) -> Alignment | None:
    """Compare two tables' rows of the same tokens, (n, p) and (n, q); None for fewer than LEAST_TOKENS.

    Of more than MOST_TOKENS a random choice is compared. Without `intervals` (three seeds or more) none are computed.
    `nulls` is the number of random orders; 0: the null is empty.
    """
    if len(x) < LEAST_TOKENS:
        return None
    rng = np.random.default_rng(seed)
    if len(x) > MOST_TOKENS:
        chosen = np.sort(rng.choice(len(x), MOST_TOKENS, replace=False))
        x, y = x[chosen], y[chosen]
    orders = [rng.permutation(len(x)) for _ in range(nulls)]
    blocks = rng.permutation(len(x)) % BLOCKS if intervals else None
    shared = shared_neighbours(nearest(x), nearest(y))
    drawn = stratified_means(shared, np.zeros(len(x), np.int64), 1, seed=seed)[:, 0] if intervals else None
    return Alignment(
        tokens=len(x),
        cka=_jackknife(linear_cka, x, y, blocks),
        procrustes=_jackknife(procrustes_residual, x, y, blocks),
        neighbours=Estimate(float(shared.mean()), None if drawn is None else percentile_interval(drawn), "tokens"),
        null={}
        if not orders
        else {
            "cka": float(np.mean([linear_cka(x, y[order]) for order in orders])),
            "procrustes": float(np.mean([procrustes_residual(x, y[order]) for order in orders])),
            "neighbours": NEIGHBOURS / (len(x) - 1),
        },
    )


def _jackknife(
    measure: Callable[[NDArray, NDArray], float],
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    blocks: NDArray[np.integer] | None,
) -> Estimate:
    """The measure with Student's t over pseudo-values of BLOCKS left-out blocks (Tukey 1958)."""
    value = measure(x, y)
    if blocks is None or not math.isfinite(value):
        return Estimate(value, None, "tokens")
    without = np.array([measure(x[blocks != block], y[blocks != block]) for block in range(BLOCKS)])
    pseudo = BLOCKS * value - (BLOCKS - 1) * without
    half = float(stats.t.ppf((1 + LEVEL) / 2, BLOCKS - 1) * pseudo.std(ddof=1) / math.sqrt(BLOCKS))
    return Estimate(value, (value - half, value + half), "tokens")


def _hsic(x: Floats, y: Floats) -> float:
    """Unbiased HSIC of the kernels K = XX' and L = YY' with zero diagonal (Song et al. 2012, eq. 5), in O(n p q).

    n (n - 3) HSIC = tr(KL) + (1'K1)(1'L1) / ((n - 1)(n - 2)) - 2 / (n - 2) 1'KL1.
    """
    n = len(x)
    own_x, own_y = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    trace = np.square(x.T @ y).sum() - own_x @ own_y
    rows_x, rows_y = x @ x.sum(axis=0) - own_x, y @ y.sum(axis=0) - own_y
    cross = rows_x @ rows_y
    return float((trace + rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3)))
