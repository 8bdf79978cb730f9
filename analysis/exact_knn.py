"""Exact nearest neighbours of many points: matrix products in blocks, then only the few columns that can be among the k.

All 50,265 rows of a table against one another take 4 s with 50 dimensions and 15 s with 512 on two cores, a quarter of
what a partition of every row of the products takes. The k largest of a row are found through a bound: the row's columns
are dealt into tiles, and as k tiles have a maximum of at least the k-th largest maximum, no value below it can be among
the k largest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neighbours import Neighbours, unit_rows

BLOCK_VALUES = 1 << 24  # products at a time: 64 MB as float32
TILE = 64  # columns of a tile, at most


def largest_products(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    k: int,
    own: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places (queries, k) and products (queries, k) of the `k` of `candidates` (candidates, dim) with the largest inner
    product with each of `queries` (queries, dim), largest first.

    `own` (queries) is the place of each query among the candidates, which is left out, or -1. Raises ValueError: k
    below 1, or fewer than k candidates beside a query itself.
    """
    count, width = len(queries), len(candidates)
    available = width - (own is not None and bool((np.asarray(own) >= 0).any()))
    if not 1 <= k <= available:
        raise ValueError(f"expected k from 1 to {available} among {width} candidates, found k = {k}")
    tile = max(1, min(TILE, width // (4 * k)))
    tiles = -(-width // tile)
    padded = tiles * tile
    transposed = np.zeros((candidates.shape[1], padded), np.float32)
    transposed[:, :width] = candidates.T
    places, products = np.empty((count, k), np.int64), np.empty((count, k), np.float32)
    block = max(1, min(512, BLOCK_VALUES // padded))
    buffer = np.empty((block, padded), np.float32)
    for start in range(0, count, block):
        part = slice(start, min(start + block, count))
        found = buffer[: part.stop - start]
        np.matmul(queries[part], transposed, out=found)
        found[:, width:] = -np.inf
        if own is not None:
            inside = np.flatnonzero(own[part] >= 0)
            found[inside, own[part][inside]] = -np.inf
        places[part], products[part] = _largest(found, tiles, k)
    return places, products


def largest_columns(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns (rows, k) of the `k` largest of each row of `values` (rows, columns), largest first; among equals the first column.

    Raises ValueError: k below 1, or fewer columns than k.
    """
    rows, width = values.shape
    if not 1 <= k <= width:
        raise ValueError(f"expected k from 1 to {width} among {width} columns, found k = {k}")
    tile = max(1, min(TILE, width // (4 * k)))
    tiles = -(-width // tile)
    block = max(1, min(512, BLOCK_VALUES // (tiles * tile)))
    result = np.empty((rows, k), np.int64)
    for start in range(0, rows, block):
        part = values[start : start + block]
        padded = np.pad(part, ((0, 0), (0, tiles * tile - width)), constant_values=-np.inf) if width % tile else part
        result[start : start + block], _ = _largest(padded, tiles, k)
    return result


def _largest(found: NDArray[np.float32], tiles: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns and values of the `k` largest of each row (rows, columns), largest first; among equals the first column."""
    count, columns = found.shape
    maxima = found.reshape(count, columns // tiles, tiles).max(axis=1)
    bound = np.partition(maxima, tiles - k, axis=1)[:, tiles - k]
    flat = np.flatnonzero(found >= bound[:, None])
    rows = flat // columns
    sizes = np.bincount(rows, minlength=count)
    rank = np.arange(len(flat)) - (np.cumsum(sizes) - sizes)[rows]
    values = np.full((count, int(sizes.max())), -np.inf, np.float32)
    numbers = np.zeros(values.shape, np.int64)
    values[rows, rank] = found.ravel()[flat]
    numbers[rows, rank] = flat - rows * columns
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(values, order, axis=1)


def euclidean_neighbours(
    points: NDArray[np.floating], k: int, queries: NDArray[np.integer] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `k` nearest of `points` (n, dim) to each of the points `queries` (default: all), by Euclidean distance.

    Places and distances, (queries, k) each, nearest first; no point is its own neighbour. The points are centred first,
    so that float32 does for tables that lie far from the origin.
    """
    asked = np.arange(len(points)) if queries is None else np.asarray(queries, np.int64)
    centred = (points - points.mean(axis=0, dtype=np.float64)).astype(np.float32)
    squares = np.einsum("ij,ij->i", centred, centred)
    # |x - y|^2 = |x|^2 - 2 (x.y - |y|^2 / 2): the nearest have the largest bracket, one product with a further column.
    left = np.concatenate([centred[asked], np.ones((len(asked), 1), np.float32)], axis=1)
    right = np.concatenate([centred, -squares[:, None] / 2], axis=1)
    places, brackets = largest_products(left, right, k, own=asked)
    return places, np.sqrt(np.maximum(squares[asked][:, None] - 2 * brackets, 0))


def cosine_neighbours(
    values: NDArray[np.floating],
    queries: NDArray[np.integer],
    candidates: NDArray[np.integer],
    k: int,
    *,
    centre: NDArray[np.floating] | None = None,
) -> Neighbours:
    """What `neighbours.nearest` gives, for many queries: the `k` nearest of the rows `candidates` of `values` (rows, dim)
    to each of the rows `queries` by cosine, less `centre` (dim) if given.

    Rows of zero norm (before centring) are nobody's neighbours and have none; -1 and NaN where there are fewer than k.
    """
    queries, pool = np.asarray(queries, np.int64), np.unique(np.asarray(candidates, np.int64))
    pool = pool[values[pool].any(axis=1)]
    rows, cosines = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.nan, np.float32)
    asking = np.flatnonzero(values[queries].any(axis=1))
    near = min(k, len(pool) - 1)
    if near < 1 or not len(asking):
        return Neighbours(rows, cosines)
    asked = queries[asking]
    place = np.minimum(np.searchsorted(pool, asked), len(pool) - 1)
    own = np.where(pool[place] == asked, place, -1)
    unit = unit_rows(values[pool], centre)
    places, products = largest_products(unit_rows(values[asked], centre), unit, near, own)
    rows[asking, :near], cosines[asking, :near] = pool[places], products
    return Neighbours(rows, cosines)
