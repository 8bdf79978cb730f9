"""Nearest neighbours of tokens by cosine, raw and centred by the common vector.

    python analysis/neighbours.py runs/E1/base/seed1/dump.zarr --token " red" --k 10

Late in training every rare token has a high cosine to every other along the common direction; centred neighbours show
what is left beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cli import run
from dump import Dump, Table, signature
from places import argument

BLOCK = 512  # queries at a time
CHUNK = 4096  # candidates at a time, a multiple of TILE; one block of cosines is 8 MB
TILE = 64  # columns of which the largest is looked at first


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


def nearest(
    values: NDArray[np.floating],
    queries: NDArray[np.integer],
    candidates: NDArray[np.integer],
    k: int,
    *,
    centre: NDArray[np.floating] | None = None,
) -> Neighbours:
    """The `k` nearest of the rows `candidates` of `values` (rows, dim) to each of the rows `queries`, by cosine.

    With `centre` (dim) it is taken from every row first. A row is never its own neighbour; rows of zero norm (before
    centring) are nobody's neighbours and have none. The candidates are taken in chunks, so little memory is needed.
    """
    if k < 1:
        raise ValueError(f"expected at least 1 neighbour, found k = {k}")
    queries, pool = np.asarray(queries, np.int64), np.unique(np.asarray(candidates, np.int64))
    asking = unit_rows(values[queries], centre)
    without = ~values[queries].any(axis=1)
    rows = np.full((len(queries), k), -1, np.int64)
    cosines = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(pool), CHUNK):
        chunk = pool[start : start + CHUNK]
        others = values[chunk]
        unit = unit_rows(others, centre)
        empty = np.flatnonzero(~others.any(axis=1))
        width = -(-len(chunk) // TILE) * TILE
        for first in range(0, len(queries), BLOCK):
            part = slice(first, first + BLOCK)
            similar = np.full((len(queries[part]), width), -np.inf, np.float32)
            similar[:, : len(chunk)] = asking[part] @ unit.T
            similar[:, empty] = -np.inf
            place = np.minimum(np.searchsorted(chunk, queries[part]), len(chunk) - 1)
            own = np.flatnonzero(chunk[place] == queries[part])
            similar[own, place[own]] = -np.inf
            columns, found = _largest(similar, min(k, len(chunk)))
            both = np.concatenate([cosines[part], found], axis=1)
            named = np.concatenate([rows[part], chunk[np.minimum(columns, len(chunk) - 1)]], axis=1)
            order = np.argsort(-both, axis=1, kind="stable")[:, :k]
            cosines[part], rows[part] = np.take_along_axis(both, order, 1), np.take_along_axis(named, order, 1)
    usable = np.isfinite(cosines) & ~without[:, None]
    return Neighbours(np.where(usable, rows, -1), np.where(usable, cosines, np.nan).astype(np.float32))


def table_neighbours(
    table: Table, values: NDArray[np.float32], queries: NDArray[np.integer], k: int, *, centred: bool = False
) -> Neighbours:
    """The `k` nearest counted rows to each of `queries`; `values` (rows, dim) is a snapshot of `table`.

    With `centred` the common vector (mean of the counted rows of non-zero norm) is taken from every row first.
    """
    counted = table.counted_rows
    live = counted[values[counted].any(axis=1)]
    centre = values[live].mean(axis=0, dtype=np.float64) if centred and len(live) else None
    return nearest(values, queries, counted, k, centre=centre)


def _largest(similar: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns and values of the `k` largest of each row (rows, columns), largest first; columns a multiple of TILE.

    The k largest lie in the k tiles of columns with the largest maxima; looking at those alone is exact and several
    times as fast as a partition of the whole row.
    """
    count, columns = similar.shape
    tiles = similar.reshape(count, columns // TILE, TILE)
    chosen = np.sort(_partition(tiles.max(axis=2), k), axis=1)
    inside = np.take_along_axis(tiles, chosen[:, :, None], axis=1).reshape(count, -1)
    numbers = (chosen[:, :, None] * TILE + np.arange(TILE)).reshape(count, -1)
    order = np.argsort(-inside, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(inside, order, axis=1)


def _partition(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns of the `k` largest values of each row in any order; all columns if there are no more than k."""
    if k >= values.shape[1]:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=argument, metavar="DUMP", help="dump.zarr, its run's folder, or a URL")
    parser.add_argument(
        "--token", action="append", required=True, help="text with its leading space, or row; repeatable"
    )
    parser.add_argument("--k", type=int, default=10, help="neighbours of each token (default 10)")
    parser.add_argument("--update", type=int, help="snapshot to read (default: the last one)")
    parser.add_argument("--table", metavar="NAME", help="the table to read (default: the dump's main table)")
    chosen = parser.parse_args(arguments)
    if chosen.k < 1:
        sys.exit(f"error: --k: expected at least 1, found {chosen.k}")
    table = Dump.open(chosen.dump).table(chosen.table)
    _print(table, [table.row_of(token) for token in chosen.token], chosen.k, chosen.update)
    return 0


def _print(table: Table, rows: list[int], k: int, update: int | None) -> None:
    if not len(table.snapshot_updates):
        raise table.error("the dump lists no snapshot, and neighbours need one")
    update = int(table.snapshot_updates[-1]) if update is None else update
    values, queries = table.snapshot(update), np.array(rows)
    found = {
        name: table_neighbours(table, values, queries, k, centred=name == "centred") for name in ("raw", "centred")
    }
    print(signature(table.dump, table, update))
    for place, query in enumerate(queries):
        print(f"{table.texts[query]!r}: row {query}, token count {table.counts[query]}")
        print(f"  {'raw':<34}{'centred by the common vector'}")
        for rank in range(k):
            cells = [
                f"{cosine:+.3f} {table.texts[row]!r}" if row >= 0 else ""
                for row, cosine in ((n.rows[place, rank], n.cosines[place, rank]) for n in found.values())
            ]
            if any(cells):
                print(f"  {cells[0]:<34}{cells[1]}")


if __name__ == "__main__":
    run(main)
