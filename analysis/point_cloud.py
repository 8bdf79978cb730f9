"""How concentrated a cloud of directions is, and how well clouds are told apart: of unit vectors, by cosine.

Singular vectors have no sign of their own (`sign_free`): of them the absolute cosine is taken throughout. What a number of
points without any structure would give depends on how many they are and on the space, so every measure needs its control.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FELLOWS = 10


def concentration(units: NDArray[np.floating], *, sign_free: bool = False, k: int = FELLOWS) -> NDArray[np.float64]:
    """Mean cosine of each of m unit vectors (m, dim) to its k nearest fellows (all m - 1 where they are fewer), (m,)."""
    cosines = _cosines(units, units, sign_free)
    np.fill_diagonal(cosines, -np.inf)
    k = min(k, len(units) - 1)
    return np.partition(cosines, len(units) - k, axis=1)[:, len(units) - k :].mean(axis=1, dtype=np.float64)


def spread(units: NDArray[np.floating]) -> float:
    """1 / (dim x mean squared cosine of pairs): the share of the space's dimensions over which the vectors (m, dim) spread.

    It is 1 for isotropic directions whatever m (the plain participation ratio depends on m, and 1 minus the mean squared
    cosine lies within 1/dim of 1 for nearly all clouds), 1/dim for one line, and above 1 where the vectors avoid one another.
    """
    m, dim = units.shape
    moment = (units.T @ units).astype(np.float64)
    mean_square = (np.square(moment).sum() - np.square(np.einsum("ij,ij->i", units, units, dtype=np.float64)).sum()) / (
        m * (m - 1)
    )
    return float(1 / (dim * mean_square)) if mean_square > 0 else float("inf")


def silhouette(clouds: NDArray[np.floating], *, sign_free: bool = False) -> NDArray[np.float64]:
    """Silhouette (Rousseeuw 1987) of each vector of L clouds of m unit vectors (L, m, dim), by 1 - cosine: float64 (L, m).

    NaN for one cloud, or clouds of one vector. Cosines of two clouds at a time are held.
    """
    number, m, _ = clouds.shape
    if number < 2 or m < 2:
        return np.full((number, m), np.nan)
    distance = np.empty((number, m, number))  # mean distance of a vector to a cloud
    for one in range(number):
        for two in range(one, number):
            away = 1 - _cosines(clouds[one], clouds[two], sign_free)
            if one == two:
                np.fill_diagonal(away, 0)
            distance[one, :, two] = away.sum(axis=1, dtype=np.float64) / (m - (one == two))
            if one != two:
                distance[two, :, one] = away.mean(axis=0, dtype=np.float64)
    own = distance[np.arange(number), :, np.arange(number)]
    distance[np.arange(number), :, np.arange(number)] = np.inf
    other = distance.min(axis=2)
    return (other - own) / np.maximum(np.maximum(own, other), 1e-12)


def _cosines(first: NDArray[np.floating], second: NDArray[np.floating], sign_free: bool) -> NDArray[np.floating]:
    product = first @ second.T
    return np.abs(product, out=product) if sign_free else product
