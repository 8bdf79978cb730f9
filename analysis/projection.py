"""A map of tokens: PCA to 50 components, then t-SNE, carried over the recorded updates (the pictures of claims C7).

    python analysis/projection.py runs/E1/base/seed1/dump.zarr --out DIR --points 1500

The map is fitted on the last snapshot; each earlier one starts from the map of the one after it, so that a token can be
followed over time. A map is a picture and no evidence: t-SNE shows groups in noise as well. `preservation` says how much
of each token's real neighbourhood the picture keeps.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from categories import CategoryTokens, find_tokens
from cli import parser, run
from curves import spread
from dump import Dump, signature
from map_figure import draw_map
from neighbours import unit_rows

# Threads that wait for one another must sleep: spinning ones make t-SNE four times as slow where the cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from openTSNE import TSNEEmbedding, affinity, initialization
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

COMPONENTS = 50
SNAPSHOTS = 12  # of which maps are made by default, at most
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
    iterations: int = 400,
    carry_iterations: int = 60,
    seed: int = 0,
    jobs: int = 2,
) -> Projection:
    """Fit the map on the last of `updates` and carry it back to the first.

    `read(update)` gives the values (n, dim) of `rows` at an update, for the space "centred" less the common vector.
    With "raw" the components are those of the values as they are, with "centred" those of unit rows. Raises ValueError
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
        near = affinity.PerplexityBasedNN(
            reduced, perplexity=perplexity, method="exact", n_jobs=jobs, random_state=seed
        )
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
    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors(return_distance=False)


@dataclass(frozen=True)
class MapResult:
    """A table's maps with what is needed to draw and to cite them."""

    projection: Projection
    categories: CategoryTokens
    texts: list[str]
    signatures: tuple[str, ...]  # one for each update


def analyse(
    dump: Dump,
    table_name: str | None = None,
    *,
    updates: Sequence[int] | None = None,
    points: int = 1200,
    space: Space = "raw",
    perplexity: float = 30.0,
    seed: int = 0,
    jobs: int = 2,
) -> MapResult:
    """Maps of the category tokens and the most frequent tokens, `points` in all, at `updates` (default: 12 snapshots).

    Raises DumpError if the dump has no snapshot.
    """
    table = dump.table(table_name)
    chosen = (
        [int(update) for update in updates]
        if updates is not None
        else spread(table.snapshot_updates, SNAPSHOTS).tolist()
    )
    if not chosen:
        raise table.error("the dump lists no snapshot, and a map needs one")
    categories = find_tokens(table.texts, table.counts)
    rows = select_rows(table.counts, table.counted, categories.all_rows(), points)

    def values(update: int) -> NDArray[np.float32]:
        whole = table.snapshot(update)
        return whole[rows] - whole[table.counted].mean(axis=0) if space == "centred" else whole[rows]

    projection = project(values, chosen, rows, space=space, perplexity=perplexity, seed=seed, jobs=jobs)
    signatures = tuple(signature(dump, table, update) for update in projection.updates)
    return MapResult(projection, categories, table.texts, signatures)


def describe(projection: Projection, index: int) -> str:
    """One sentence on how far the map at `updates[index]` can be trusted."""
    mean, half = projection.preserved(index)
    return (
        f"neighbour preservation {mean:.2f} ± {half:.2f} (95 %, over {len(projection.rows):,} tokens; "
        f"a random map: {projection.chance:.3f})"
    )


def figures(result: MapResult, out: Path) -> list[Path]:
    """Draw the last update's map as PNG and PDF."""
    projection = result.projection
    update = projection.updates[-1]
    return draw_map(
        projection.positions[-1],
        projection.rows,
        result.texts,
        result.categories,
        title=f"t-SNE of {len(projection.rows):,} tokens at update {update:,}: a picture, not evidence",
        note=f"{describe(projection, -1)}\n{result.signatures[-1]}",
        out=out,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(__doc__ or "", dumps=1)
    options.add_argument("--points", type=int, default=1200, help="tokens in all (default 1200, about 15 s on 2 cores)")
    options.add_argument("--snapshots", type=int, default=12, help="at most so many snapshots (default 12)")
    options.add_argument(
        "--space",
        choices=("raw", "centred"),
        default="raw",
        help="rows as they are (default, the study's way), or unit rows less the common vector",
    )
    options.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE (default 30)")
    options.add_argument("--seed", type=int, default=0, help="of PCA and t-SNE (default 0)")
    chosen = options.parse_args(arguments)
    for name, least in (("points", 10), ("snapshots", 1), ("perplexity", 2)):
        if getattr(chosen, name) < least:
            sys.exit(f"error: --{name}: expected at least {least}, found {getattr(chosen, name)}")
    dump = Dump.open(chosen.dumps[0])
    result = analyse(
        dump,
        chosen.table,
        updates=[int(update) for update in spread(dump.table(chosen.table).snapshot_updates, chosen.snapshots)],
        points=chosen.points,
        space=chosen.space,
        perplexity=chosen.perplexity,
        seed=chosen.seed,
    )
    written = figures(result, chosen.out)
    print(result.signatures[-1])
    for index, update in enumerate(result.projection.updates):
        print(f"update {update:>8,}: {describe(result.projection, index)}")
    print(result.categories.report())
    print("wrote " + ", ".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    run(main)
