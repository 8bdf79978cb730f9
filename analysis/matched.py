"""Geometry of two arms at equal exposure, so that how often a row was used and that it was repeated are not confused.

Rows are binned by exposure (visible + target + replacement, up to the snapshot): exposure 0 alone, then bins of equal log
width. Within a bin the rows of both arms have been used about equally often; the arms' means are compared bin by bin, and the
difference is the mean over the bins that both arms fill, each bin with the same weight. Rows are drawn anew for the
interval, the same rows in both arms. A row's mean cosine is to all rows of its own arm, so an arm that leaves other rows
unused differs by that too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval, stratified_means
from claims import Estimate

PER_DECADE = 6
LEAST_ROWS = 10  # of each arm in a bin


@dataclass(frozen=True)
class RowMeasures:
    """One run's rows at one snapshot: `exposure` int64 (rows,), `values` float64 (rows, measures), `usable` bool (rows,)."""

    exposure: NDArray[np.int64]
    values: NDArray[np.float64]
    usable: NDArray[np.bool_]


@dataclass(frozen=True)
class Matched:
    """First minus second by bin of exposure: bounds (bins,), rows (bins, 2), means (bins, 2, measures), and each measure's mean
    difference over the bins."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    rows: NDArray[np.int64]
    means: NDArray[np.float64]
    differences: list[Estimate]


@dataclass(frozen=True)
class ExposureCurve:
    """Means of a run's rows by bin of exposure: bounds and rows (bins,), means (bins, measures); empty bins left out."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    rows: NDArray[np.int64]
    means: NDArray[np.float64]


def bin_edges(highest: int, per_decade: int = PER_DECADE) -> NDArray[np.int64]:
    """Lower bounds of the bins: 0, 1, then `per_decade` for each power of ten, up to `highest`."""
    steps = np.arange(math.ceil(math.log10(max(highest, 1) + 1)) * per_decade + 1)
    edges = np.unique(np.ceil(np.round(10 ** (steps / per_decade), 9)).astype(np.int64))
    return np.concatenate([[0], edges[edges <= max(highest, 1)]])


def exposure_curve(rows: RowMeasures, *, least: int = LEAST_ROWS) -> ExposureCurve:
    """A run's means by bin, for the figure; bins of fewer than `least` rows are left out."""
    edges = bin_edges(int(rows.exposure.max(initial=1)))
    place = np.where(rows.usable, np.searchsorted(edges, rows.exposure, side="right") - 1, -1)
    kept = np.flatnonzero(np.bincount(place[place >= 0], minlength=len(edges)) >= least)
    inside = [place == index for index in kept]
    return ExposureCurve(
        low=np.array([rows.exposure[part].min() for part in inside], np.int64),
        high=np.array([rows.exposure[part].max() for part in inside], np.int64),
        rows=np.array([part.sum() for part in inside], np.int64),
        means=np.array([rows.values[part].mean(axis=0) for part in inside]).reshape(-1, rows.values.shape[1]),
    )


def matched_difference(
    first: RowMeasures, second: RowMeasures, *, seed: int = 0, resamples: int = 200, least: int = LEAST_ROWS
) -> Matched:
    """Compare two arms' rows at equal exposure; rows are tokens of one vocabulary, so row k is the same token in both."""
    arms = (first, second)
    highest = max(int(arm.exposure[arm.usable].max(initial=1)) for arm in arms)
    edges = bin_edges(highest)
    place = [np.where(arm.usable, np.searchsorted(edges, arm.exposure, side="right") - 1, -1) for arm in arms]
    sizes = np.stack([np.bincount(entry[entry >= 0], minlength=len(edges)) for entry in place], axis=1)
    kept = np.flatnonzero((sizes >= least).all(axis=1))
    measures = first.values.shape[1]
    low, high = edges[kept], np.append(edges[1:] - 1, highest)[kept]
    if not len(kept):
        empty = np.zeros((0, 2, measures))
        return Matched(low, high, sizes[kept], empty, [Estimate(math.nan, None)] * measures)
    # One column a bin for its number of rows, then one for each measure's sum: sums of drawn rows follow from one product.
    columns = []
    for arm, entry in zip(arms, place, strict=True):
        member = (entry[:, None] == kept[None, :]).astype(np.float64)
        columns.append(member)
        columns += [member * np.where(arm.usable, arm.values[:, index], 0)[:, None] for index in range(measures)]
    matrix = np.concatenate(columns, axis=1)
    matrix = matrix[(matrix != 0).any(axis=1)]

    def means(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = sums.reshape(-1, 2, 1 + measures, len(kept))
        with np.errstate(invalid="ignore", divide="ignore"):
            return parts[:, :, 1:] / parts[:, :, :1]  # (resamples, arm, measure, bin)

    point = means(matrix.sum(axis=0)[None])[0]
    drawn = means(stratified_means(matrix, np.zeros(len(matrix), np.int64), 1, resamples=resamples, seed=seed)[:, 0])
    samples = _bin_mean(drawn[:, 0] - drawn[:, 1])
    values = _bin_mean(point[0] - point[1])
    return Matched(
        low=low,
        high=high,
        rows=sizes[kept],
        means=np.moveaxis(point, 2, 0),
        differences=[
            Estimate(float(values[index]), percentile_interval(samples[:, index])) for index in range(measures)
        ],
    )


def _bin_mean(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis without bins that a resample left empty."""
    known = np.isfinite(differences)
    return np.where(known, differences, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
