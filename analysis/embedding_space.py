"""Vectors seen in the embedding space: which tokens a parameter vector points at (Dar et al. 2023; Geva et al. 2021).

U (n, dim) holds the counted rows of non-zero norm less the common vector, each divided by its length: without that, every vector
along the common direction would point at all rare tokens. A unit vector v has the n numbers c = U v. As points of R^n such
vectors have the inner products v' G w with G = U'U, so all that concerns their angles is done, exactly, with the vectors
G^(1/2) v of width dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from geometry import GeometryError
from isotropy import second_moment
from neighbours import unit_rows

K = 10  # nearest tokens
BLOCK_BYTES = 1 << 25  # of one block of numbers c; a few such blocks are held
TILE = 64  # tokens of which the largest number is looked at first


@dataclass(frozen=True)
class EmbeddingSpace:
    """`units` float32 (n, dim): centred unit rows; `rows` (n,): their numbers in the table; `root` float64 (dim, dim): G^(1/2)."""

    units: NDArray[np.float32]
    rows: NDArray[np.int64]
    root: NDArray[np.float64]


@dataclass(frozen=True)
class TokenMeasures:
    """Of m vectors: rows of the `nearest` K tokens int64 (m, K), nearest first; `coherence`, `entropy` and `sign` (m,).

    coherence: mean pairwise cosine, in U, of the K nearest tokens. entropy: that of c^2 / sum c^2, divided by log n, between 0
    (one token) and 1. sign: -1 where the vector was turned round because its own sign has no meaning.
    """

    nearest: NDArray[np.int64]
    coherence: NDArray[np.float64]
    entropy: NDArray[np.float64]
    sign: NDArray[np.float32]


def embedding_space(values: NDArray[np.floating], counted: NDArray[np.bool_]) -> EmbeddingSpace:
    """The space of a snapshot (rows, dim). Raises GeometryError: fewer than K + 1 rows, values that are not finite."""
    rows = np.flatnonzero(counted)
    rows = rows[values[rows].any(axis=1)]
    if len(rows) and not np.isfinite(values[rows]).all():
        raise GeometryError("the snapshot has values that are not finite: training diverged")
    units = unit_rows(values[rows], values[rows].mean(axis=0, dtype=np.float64)) if len(rows) else values[rows]
    live = units.any(axis=1)
    if not live.all():
        rows, units = rows[live], units[live]
    if len(rows) <= K:
        raise GeometryError(
            f"the snapshot has {len(rows)} counted rows that differ from their mean; {K + 1} are needed"
        )
    variances, directions = np.linalg.eigh(second_moment(units) * len(units))
    root = (directions * np.sqrt(np.clip(variances, 0, None))) @ directions.T
    return EmbeddingSpace(units, rows.astype(np.int64), root)


def project(space: EmbeddingSpace, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Unit vectors, float32 (..., dim), whose inner products are the cosines of the vectors' numbers c = U v."""
    flat = vectors.reshape(-1, vectors.shape[-1]).astype(np.float64)
    projected = flat @ space.root
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    np.divide(projected, lengths, out=projected, where=lengths > 0)
    return projected.astype(np.float32).reshape(vectors.shape)


def token_measures(
    space: EmbeddingSpace, vectors: NDArray[np.floating], sign_free: NDArray[np.bool_] | None = None
) -> TokenMeasures:
    """Nearest tokens, coherence and entropy of m vectors (m, dim) of any length but 0.

    Vectors marked `sign_free` (m,) are turned so that the sum of c |c| is not negative: towards the side on which the tokens
    weigh more (Bro et al. 2008, who settle the signs of a singular value decomposition so).
    """
    m, n = len(vectors), len(space.units)
    free = np.zeros(m, bool) if sign_free is None else sign_free
    units = unit_rows(vectors)
    nearest = np.empty((m, K), np.int64)
    coherence, entropy, sign = np.empty(m), np.empty(m), np.ones(m, np.float32)
    columns = np.zeros((space.units.shape[1], -(-max(n, K * TILE) // TILE) * TILE), np.float32)
    columns[:, :n] = space.units.T  # the others are no tokens: their numbers are 0
    step = max(1, BLOCK_BYTES // (4 * columns.shape[1]))
    numbers = np.empty((min(step, m), columns.shape[1]), np.float32)
    squares, logs = np.empty_like(numbers), np.empty_like(numbers)
    for start in range(0, m, step):
        part = slice(start, min(start + step, m))
        size = part.stop - part.start
        c, square, log = numbers[:size], squares[:size], logs[:size]
        np.matmul(units[part], columns, out=c)
        np.multiply(c, c, out=square)
        if free[part].any():
            np.copysign(square, c, out=log)
            turned = np.where(free[part] & (log.sum(axis=1, dtype=np.float64) < 0), np.float32(-1), np.float32(1))
            c *= turned[:, None]
            sign[part] = turned
        total = square.sum(axis=1, dtype=np.float64)
        square /= np.where(total > 0, total, 1).astype(np.float32)[:, None]
        square += np.float32(1e-30)  # an exact 0 adds 0 log 0 = 0
        np.log(square, out=log)
        entropy[part] = -np.einsum("ij,ij->i", square, log, dtype=np.float64) / math.log(n)
        c[:, n:] = -np.inf
        places = _largest(c, K)
        tokens = space.units[places].astype(np.float64)
        together = tokens.sum(axis=1)
        coherence[part] = (np.einsum("ij,ij->i", together, together) - K) / (K * (K - 1))
        nearest[part] = space.rows[places]
    return TokenMeasures(nearest, coherence, entropy, sign)


def isotropic_entropy(n: int) -> float:
    """The expected `entropy` where c is isotropic Gaussian of n numbers.

    c^2 / sum c^2 is then a Dirichlet variable with all parameters 1/2, whose expected entropy is psi(n/2 + 1) - psi(3/2):
    about log n - (psi(3/2) + ln 2) = log n - 0.7296, the latter being E[x ln x] of a chi-squared x of 1 degree of freedom.
    """
    return float((digamma(n / 2 + 1) - digamma(1.5)) / math.log(n))


def _largest(numbers: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Columns of the k largest of each row, largest first, (m, k): they lie in the k tiles with the largest maxima."""
    tiles = numbers.reshape(len(numbers), -1, TILE)
    highest = tiles.max(axis=2)
    kept = np.argpartition(highest, highest.shape[1] - k, axis=1)[:, -k:, None]
    inside = (kept * TILE + np.arange(TILE)).reshape(len(numbers), -1)
    order = np.argsort(-np.take_along_axis(numbers, inside, axis=1), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(inside, order, axis=1)
