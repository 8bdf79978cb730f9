"""Every measure of a model's parameter vectors in the embedding space, by layer and kind, for the model and its controls.

Variants: the trained model's vectors on its table; those of the untrained models on the table of update 0; Gaussian directions
on the trained table. All have equally many vectors of each layer and kind. Concentration, silhouette and spread are of all of
them; what looks at single tokens (coherence, entropy, agreement of labels) is of TOKEN_VECTORS of each layer and kind, evenly chosen.

A number of a layer is the mean over kinds, each with the same weight. Intervals draw the vectors of each layer and kind anew, each
keeping its measured number: they say what other vectors of the same model would give, and nothing of other seeds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import point_cloud
from bootstrap import percentile_interval, stratified_means
from claims import Estimate
from embedding_space import EmbeddingSpace, TokenMeasures, project, token_measures
from homogeneity import Labels, agreement, lift, shared_pairs
from layer_files import SIGN_FREE, evenly
from layer_series import Series, series

TOKEN_VECTORS = 128
RESAMPLES = 200
OVER = "vectors"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """One variant. `by_kind` float64 (layer, kind) by measure; `series` the means over kinds; `pairs` labelled pairs (layer, kind).

    Of the vectors whose tokens were looked at: `chosen` int64 (layer, kind, vector) places among the compared ones, `tokens` their
    measures (flat, in that order), `projected` float32 (layer, kind, vector, dim) their unit vectors in the embedding space.
    """

    vectors: int
    by_kind: dict[str, Floats]
    series: dict[str, Series]
    pairs: dict[str, Floats]
    chosen: NDArray[np.int64]
    tokens: TokenMeasures
    projected: NDArray[np.float32]


def random_directions(shape: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    """Gaussian vectors of the shape (layer, kind, vector, dim)."""
    return np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)


def measure(
    space: EmbeddingSpace, vectors: NDArray[np.float32], kinds: Sequence[str], labels: Sequence[Labels] = ()
) -> Profile:
    """All measures of vectors (layer, kind, vector, dim)."""
    layers, number, m, dim = vectors.shape
    free = [kind in SIGN_FREE for kind in kinds]
    projected = project(space, vectors)
    per_vector = {
        "concentration": np.stack(
            [
                [point_cloud.concentration(cloud, sign_free=free[kind]) for kind, cloud in enumerate(layer)]
                for layer in projected
            ]
        ),
        "silhouette": np.stack(
            [point_cloud.silhouette(projected[:, kind], sign_free=free[kind]) for kind in range(number)], axis=1
        ),
    }
    spreads = np.array([[point_cloud.spread(cloud) for cloud in layer] for layer in projected])
    places = evenly(m, TOKEN_VECTORS)
    flags = np.broadcast_to(np.array(free)[None, :, None], (layers, number, len(places)))
    tokens = token_measures(space, vectors[:, :, places].reshape(-1, dim), flags.ravel())
    for name in ("coherence", "entropy"):
        per_vector[name] = getattr(tokens, name).reshape(layers, number, -1)
    by_kind = {name: values.mean(axis=2) for name, values in per_vector.items()} | {"spread": spreads}
    found = {name: _over_vectors(values) for name, values in per_vector.items()}
    found["spread"] = series([Estimate(float(value), None, OVER) for value in spreads.mean(axis=1)])
    pairs = {}
    for entry in labels:
        own = shared_pairs(tokens.nearest, entry).reshape(layers, number, -1, 2)
        pairs[entry.name] = own[..., 1].sum(axis=2)
        drawn = _draws(own)
        for name, ratio in (("agreement", agreement), ("lift", lift)):
            by_kind[f"{entry.name}_{name}"] = ratio(own.sum(axis=2), entry)
            found[f"{entry.name}_{name}"] = _series(ratio(own.sum(axis=2), entry), ratio(drawn, entry))
    chosen = np.broadcast_to(places, (layers, number, len(places)))
    signed = projected[:, :, places] * tokens.sign.reshape(layers, number, -1, 1)
    return Profile(m, by_kind, found, pairs, chosen, tokens, signed)


def _over_vectors(values: Floats) -> Series:
    """A number of each vector (layer, kind, vector) as a number of each layer."""
    return _series(values.mean(axis=2), _draws(values[..., None])[..., 0])


def _draws(values: Floats) -> Floats:
    """Means over vectors in each resample, (RESAMPLES, layer, kind, number), of numbers (layer, kind, vector, number)."""
    layers, kinds, m, numbers = values.shape
    cell = np.repeat(np.arange(layers * kinds), m)
    drawn = stratified_means(values.reshape(-1, numbers), cell, layers * kinds, resamples=RESAMPLES)
    return drawn.reshape(RESAMPLES, layers, kinds, numbers)


def _series(means: Floats, draws: Floats) -> Series:
    """Mean over the kinds that have a number, of (layer, kind), with the interval of the draws (RESAMPLES, layer, kind)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a layer without any number
        values, drawn = np.nanmean(means, axis=1), np.nanmean(draws, axis=2)
    return series(
        [
            Estimate(float(value), percentile_interval(drawn[:, layer]) if np.isfinite(value) else None, OVER)
            for layer, value in enumerate(values)
        ]
    )
