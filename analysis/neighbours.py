"""Nearest neighbours of tokens by cosine, raw and centred by the common vector.

    python analysis/neighbours.py runs/E1/base/seed1/dump.zarr --token " red" --k 10

Late in training every rare token has a high cosine to every other along the common direction; centred neighbours show
what is left beside it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 512  # queries at a time: one block of cosines to 50,265 rows is 100 MB


@dataclass(frozen=True)
class Neighbours:
    """`rows` (queries, k) and their `cosines` (queries, k), nearest first; -1 and NaN where there are fewer than k."""

    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]


def unit_rows(values: NDArray[np.floating], centre: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
    """Rows of `values` (rows, dim), less `centre` (dim) if given, divided by their norms; rows of zero norm stay zero."""
    table = np.asarray(values, np.float32)
    if centre is not None:
        table = table - np.asarray(centre, np.float32)
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    return np.divide(table, norms, out=np.zeros_like(table), where=norms > 0)


def nearest(unit: NDArray[np.float32], queries: NDArray[np.integer], candidates: NDArray[np.integer], k: int) -> Neighbours:
    """The `k` nearest of the rows `candidates` to each of the rows `queries`, by cosine.

    `unit` (rows, dim) holds unit rows. A row is never its own neighbour; rows of zero norm are nobody's neighbour and have
    none. Equal cosines are ordered by row number.
    """
    if k < 1:
        raise ValueError(f"expected at least 1 neighbour, found k = {k}")
    live = np.einsum("ij,ij->i", unit, unit) > 0
    pool = np.unique(np.asarray(candidates, np.int64))
    pool = pool[live[pool]]
    place = np.full(len(unit), -1, np.int64)
    place[pool] = np.arange(len(pool))
    rows = np.full((len(queries), k), -1, np.int64)
    cosines = np.full((len(queries), k), np.nan, np.float32)
    others = np.ascontiguousarray(unit[pool])
    for start in range(0, len(queries), BLOCK):
        block = np.asarray(queries[start : start + BLOCK], np.int64)
        similar = unit[block] @ others.T
        own = np.flatnonzero(place[block] >= 0)
        similar[own, place[block[own]]] = -np.inf
        kept = min(k, len(pool))
        best = np.argpartition(-similar, kept - 1, axis=1)[:, :kept] if kept < len(pool) else _all(similar.shape)
        values = np.take_along_axis(similar, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        best, values = np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
        usable = np.isfinite(values) & live[block][:, None]
        rows[start : start + len(block), :kept] = np.where(usable, pool[best], -1)
        cosines[start : start + len(block), :kept] = np.where(usable, values, np.nan)
    return Neighbours(rows, cosines)


def _all(shape: tuple[int, int]) -> NDArray[np.int64]:
    return np.broadcast_to(np.arange(shape[1]), shape)
