"""t-SNE with settings by the number of points: exact neighbours, then the gradient that is faster at that size.

Neighbours are exact at every size (see exact_knn: 50,265 points of 50 dimensions in 4 s). The gradient is Barnes and
Hut's or interpolated on a grid (FIt-SNE), whose time grows with the extent of the map and hardly with the points: the
grid is the faster one while the exaggerated map is still small, and for many points throughout. The numbers of iterations
are those after which neighbour preservation hardly rises: benchmarks/projection.py compares those for 10,000 points with
scikit-learn's 250 + 750 (more exaggerated steps than a hundred cost time and keep no more).
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exact_knn import euclidean_neighbours

# Threads that wait for one another must sleep: spinning ones make t-SNE four times as slow where the cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from openTSNE import TSNEEmbedding, affinity, initialization
from openTSNE.nearest_neighbors import PrecomputedNeighbors
from sklearn.decomposition import PCA

COMPONENTS = 50
FEW = 4000  # points up to which Barnes and Hut's gradient is the faster one from the beginning
MANY = 12_000  # points from which the grid is the faster one to the end
EXAGGERATION = 12


class Iterations(NamedTuple):
    """Steps of gradient descent: with exaggerated attraction, after it, and where a map is carried over."""

    early: int
    main: int
    carry: int


def iterations_for(points: int) -> Iterations:
    """The steps that a map of so many points is given."""
    if points <= FEW:
        return Iterations(200, 400, 60)
    return Iterations(100, 520, 60) if points < MANY else Iterations(150, 350, 60)


def principal_components(values: NDArray[np.floating], seed: int) -> NDArray[np.float32]:
    """The first `COMPONENTS` principal components (n, 50) of `values` (n, dim), fewer where there are not so many."""
    components = min(COMPONENTS, *values.shape)
    reduced = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(values)
    return np.ascontiguousarray(reduced, np.float32)


def fit(
    reduced: NDArray[np.float32],
    start: NDArray[np.floating] | None,
    steps: Iterations,
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    jobs: int = 2,
) -> NDArray[np.float64]:
    """Map (n, 2) of the points `reduced` (n, components); with `start` (n, 2) it is carried over from there."""
    points = len(reduced)
    perplexity = min(perplexity, (points - 1) / 3)
    places, distances = euclidean_neighbours(reduced, min(points - 1, int(3 * perplexity)))
    known = PrecomputedNeighbors(places, distances.astype(np.float64))
    near = affinity.PerplexityBasedNN(knn_index=known, perplexity=perplexity, n_jobs=jobs)
    first = initialization.pca(reduced, random_state=seed) if start is None else start
    early, late = ("bh" if points <= FEW else "fft"), ("bh" if points < MANY else "fft")
    embedding = TSNEEmbedding(first, near, n_jobs=jobs, random_state=seed)
    then = {"momentum": 0.8, "learning_rate": "auto", "negative_gradient_method": late, "inplace": True}
    if start is None:
        first_phase = {"exaggeration": EXAGGERATION, "momentum": 0.5, "negative_gradient_method": early}
        embedding.optimize(steps.early, **(then | first_phase))
        embedding.optimize(steps.main, **then)
    else:
        embedding.optimize(steps.carry, **then)
    return np.array(embedding)
