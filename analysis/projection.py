"""A map of tokens: PCA to 50 components, then t-SNE, carried over the recorded updates (the pictures of claims C7).

    python analysis/projection.py runs/E1/base/seed1/dump.zarr --out DIR --points 1500

The map is fitted on the last snapshot; each earlier one starts from the map of the one after it, so that a token can be
followed over time. A map is a picture and no evidence: t-SNE shows groups in noise as well. `preservation` says how much
of each token's real neighbourhood the picture keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from neighbours import nearest, unit_rows
from numpy.typing import NDArray
from openTSNE import TSNEEmbedding, affinity, initialization
from sklearn.decomposition import PCA

COMPONENTS = 50
K = 10  # neighbours that the preservation counts
Space = Literal["raw", "centred"]


@dataclass(frozen=True)
class Projection:
    """Maps of `rows` (n) at `updates` (u, ascending): `positions` (u, n, 2).

    `preservation` (u, n) is the share of each token's `K` nearest neighbours in the full space that are among its `K`
    nearest in the map; a random map would keep `chance` of them.
    """

    updates: tuple[int, ...]
    rows: NDArray[np.int64]
    positions: NDArray[np.float32]
    preservation: NDArray[np.float64]
    chance: float
    space: Space

    def preserved(self, index: int) -> tuple[float, float]:
        """Mean preservation at `updates[index]` and the half width of its 95 % interval over tokens."""
        shares = self.preservation[index]
        return float(shares.mean()), float(1.96 * shares.std(ddof=1) / np.sqrt(len(shares)))


def select_rows(
    counts: NDArray[np.integer], counted: NDArray[np.bool_], always: NDArray[np.integer], points: int
) -> NDArray[np.int64]:
    """The rows `always` and the most frequent counted ones up to `points` in all, ascending."""
    chosen = np.unique(np.asarray(always, np.int64))
    others = np.flatnonzero(counted)
    others = others[~np.isin(others, chosen)]
    frequent = others[np.argsort(-counts[others], kind="stable")][: max(0, points - len(chosen))]
    return np.sort(np.concatenate([chosen, frequent]))


def project(
    read: Callable[[int], NDArray[np.floating]],
    updates: Sequence[int],
    rows: NDArray[np.int64],
    *,
    space: Space = "raw",
    perplexity: float = 30.0,
    iterations: int = 500,
    carry_iterations: int = 100,
    seed: int = 0,
    jobs: int = 2,
) -> Projection:
    """Fit the map on the last of `updates` and carry it back to the first.

    `read(update)` gives the values (n, dim) of `rows` at an update, for the space "centred" less the common vector.
    With "raw" the components are those of the rows as they are, with "centred" those of unit rows. Raises ValueError
    for fewer than 10 rows.
    """
    if len(rows) < 10:
        raise ValueError(f"expected at least 10 tokens to draw a map of, found {len(rows)}")
    ordered = sorted(updates)
    k = min(K, len(rows) - 2)
    perplexity = min(perplexity, (len(rows) - 1) / 3)
    positions = np.zeros((len(ordered), len(rows), 2), np.float32)
    preservation = np.zeros((len(ordered), len(rows)))
    current: NDArray[np.floating] | None = None
    for index in reversed(range(len(ordered))):
        values = np.asarray(read(ordered[index]), np.float32)
        values = unit_rows(values) if space == "centred" else values
        components = min(COMPONENTS, *values.shape)
        reduced = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(values)
        near = affinity.PerplexityBasedNN(reduced, perplexity=perplexity, method="exact", n_jobs=jobs, random_state=seed)
        start = initialization.pca(reduced, random_state=seed) if current is None else current
        embedding = TSNEEmbedding(start, near, negative_gradient_method="bh", n_jobs=jobs, random_state=seed)
        if current is None:
            embedding.optimize(iterations // 2, exaggeration=12, momentum=0.5, learning_rate="auto", inplace=True)
            embedding.optimize(iterations, momentum=0.8, learning_rate="auto", inplace=True)
        else:
            embedding.optimize(carry_iterations, momentum=0.8, learning_rate="auto", inplace=True)
        current = np.array(embedding)
        positions[index] = current
        preservation[index] = neighbour_preservation(values, current, k)
    return Projection(tuple(ordered), np.asarray(rows), positions, preservation, k / (len(rows) - 1), space)


def neighbour_preservation(
    values: NDArray[np.floating], positions: NDArray[np.floating], k: int
) -> NDArray[np.float64]:
    """For each of n points the share (n) of its `k` nearest in `values` (n, dim) that are among its `k` nearest in
    `positions` (n, 2), both by Euclidean distance."""
    real, drawn = _nearest_euclidean(values, k), _nearest_euclidean(positions, k)
    return np.array([len(np.intersect1d(a, b)) for a, b in zip(real, drawn, strict=True)]) / k


def _nearest_euclidean(points: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors(return_distance=False)
