"""The dump's statistics by their definitions: all pairs, float64, scipy. Slow and plain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import pearsonr, spearmanr

Floats = NDArray[np.float64]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _correlate(function: object, x: Floats, y: Floats) -> float:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(function(x, y)[0])  # type: ignore[operator]


def table_statistics(
    weight: NDArray[np.float32],
    count: NDArray[np.int64],
    counted: NDArray[np.bool_],
    group: NDArray[np.int16],
    groups: int,
) -> dict[str, float | Floats]:
    """Statistics of one table [V, d]; ``groups`` is the number of groups, the last being the rows that are not counted."""
    w = weight.astype(np.float64)
    norm = np.linalg.norm(w, axis=1)
    there = np.flatnonzero(counted & (norm > 0))
    pairs = 1 - cdist(w[there], w[there], "cosine")
    others = ~np.eye(len(there), dtype=bool)
    row_mean = np.full(len(w), np.nan)
    for position, row in enumerate(there):
        row_mean[row] = _mean(pairs[position][others[position]])
    for row in np.flatnonzero(~counted & (norm > 0)):
        row_mean[row] = _mean(1 - cdist(w[[row]], w[there], "cosine")[0])
    common = w[there].mean(0) if len(there) else np.full(w.shape[1], np.nan)
    to_common = np.full(len(w), np.nan)
    to_common[norm > 0] = w[norm > 0] @ common / norm[norm > 0] / np.linalg.norm(common)
    members = [np.flatnonzero((group == g) & (norm > 0)) for g in range(groups)]
    within = []
    for rows in members:
        cosines = 1 - cdist(w[rows], w[rows], "cosine") if len(rows) else np.zeros((0, 0))
        within.append(_mean(cosines[~np.eye(len(rows), dtype=bool)]))
    result: dict[str, float | Floats] = {
        "mean_cosine": _mean(pairs[others]),
        "mean_cosine_group": np.array([_mean(row_mean[rows]) for rows in members]),
        "mean_cosine_within": np.array(within),
        "common_cosine": _mean(to_common[there]),
        "common_cosine_group": np.array([_mean(to_common[rows]) for rows in members]),
        "common_norm": float(np.linalg.norm(common)),
        "norm_mean": _mean(norm[there]),
        "norm_group": np.array([_mean(norm[rows]) for rows in members]),
    }
    seen = there[count[there] > 0]
    result["pearson_seen"] = _correlate(pearsonr, row_mean[seen], np.log(count[seen]))
    result["spearman_seen"] = _correlate(spearmanr, row_mean[seen], np.log(count[seen]))
    result["pearson_all"] = _correlate(pearsonr, row_mean[there], np.log(count[there] + 1))
    result["spearman_all"] = _correlate(spearmanr, row_mean[there], np.log(count[there] + 1))
    return result


def _shared(change: Floats) -> float:
    if not len(change) or not change.any():
        return float("nan")
    direction = change.mean(0) / np.linalg.norm(change.mean(0))
    return float(((change @ direction) ** 2).sum() / (change**2).sum())


def movement(
    weight: NDArray[np.float32],
    initial: NDArray[np.float32],
    previous: NDArray[np.float32] | None,
    counted: NDArray[np.bool_],
    group: NDArray[np.int16],
    groups: int,
) -> dict[str, float | Floats]:
    """How a table moved since update 0 and, with ``previous``, in the last update."""
    there = (weight != 0).any(1)
    rows = [np.flatnonzero(counted & there), *(np.flatnonzero((group == g) & there) for g in range(groups))]
    distance = np.linalg.norm(weight.astype(np.float64) - initial, axis=1)
    drift = [_mean(distance[r]) for r in rows]
    result: dict[str, float | Floats] = {"drift": drift[0], "drift_group": np.array(drift[1:])}
    if previous is not None:
        change = weight.astype(np.float64) - previous
        length = [float(np.sqrt((change[r] ** 2).sum(1).mean())) if len(r) else float("nan") for r in rows]
        shared = [_shared(change[r]) for r in rows]
        result |= {"update_norm": length[0], "update_norm_group": np.array(length[1:])}
        result |= {"update_shared": shared[0], "update_shared_group": np.array(shared[1:])}
    return result
