"""A map of tokens: PCA to 50 components, then t-SNE, carried over the recorded updates (the pictures of claims C7).

    python analysis/projection.py runs/E1/base/seed1/dump.zarr --out DIR --points 1500
    python analysis/projection.py runs/E1/base/seed1/dump.zarr --out DIR --points all --snapshots 2

The map is fitted on the last snapshot; each earlier one starts from the map of the one after it, so that a token can be
followed over time. A map is a picture and no evidence: t-SNE shows groups in noise as well. `preservation` says how much
of each token's real neighbourhood the picture keeps.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from categories import CategoryTokens, find_tokens
from cli import parser, run
from curves import spread
from dump import Dump, Table, signature
from exact_knn import euclidean_neighbours
from map_figure import draw_map
from neighbours import unit_rows
from tsne import Iterations, fit, iterations_for, principal_components

SNAPSHOTS = 12  # of which maps are made by default, at most
K = 10  # neighbours that the preservation counts
SAMPLE = 4000  # tokens of which the preservation is computed, at most, each against all
ALL = 0  # for `points`: every token
Space = Literal["raw", "centred"]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Projection:
    """Maps of `rows` (n) at `updates` (u, ascending): `positions` (u, n, 2).

    `preservation` (u, s) is the share of a token's `K` nearest neighbours in the full space, among all n, that are among
    its `K` nearest in the map; a random map would keep `chance` of them. The s tokens are all n or a random sample of them.
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
    """The rows `always` and the most frequent counted ones up to `points` in all (`ALL`: every counted one), ascending."""
    chosen = np.unique(np.asarray(always, np.int64))
    others = np.flatnonzero(counted)
    others = others[~np.isin(others, chosen)]
    most = len(others) if points == ALL else max(0, points - len(chosen))
    frequent = others[np.argsort(-counts[others], kind="stable")][:most]
    return np.sort(np.concatenate([chosen, frequent]))


def project(
    read: Callable[[int], NDArray[np.floating]],
    updates: Sequence[int],
    rows: NDArray[np.int64],
    *,
    space: Space = "raw",
    perplexity: float = 30.0,
    iterations: int | None = None,
    carry_iterations: int | None = None,
    seed: int = 0,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Projection:
    """Fit the map on the last of `updates` and carry it back to the first.

    `read(update)` gives the values (n, dim) of `rows` at an update, for the space "centred" less the common vector.
    With "raw" the components are those of the values as they are, with "centred" those of unit rows. `iterations` after
    the exaggerated ones (half as many) and `carry_iterations` of each further map are chosen by size unless given. The
    preservation is that of all tokens or, of more than `SAMPLE`, of so many drawn at random. `progress` is told of each
    map that is done. Raises ValueError for fewer than 10 rows.
    """
    if len(rows) < 10:
        raise ValueError(f"expected at least 10 tokens to draw a map of, found {len(rows)}")
    ordered = sorted(updates)
    k = min(K, len(rows) - 2)
    steps = iterations_for(len(rows))
    if iterations is not None:
        steps = Iterations(iterations // 2, iterations, steps.carry)
    if carry_iterations is not None:
        steps = steps._replace(carry=carry_iterations)
    sample = sample_places(len(rows), seed)
    positions = np.zeros((len(ordered), len(rows), 2), np.float32)
    preservation = np.zeros((len(ordered), len(sample)))
    current: NDArray[np.floating] | None = None
    for done, index in enumerate(reversed(range(len(ordered))), start=1):
        values = np.asarray(read(ordered[index]), np.float32)
        values = unit_rows(values) if space == "centred" else values
        reduced = principal_components(values, seed)
        current = fit(reduced, current, steps, perplexity=perplexity, seed=seed, jobs=jobs)
        positions[index] = current
        preservation[index] = neighbour_preservation(values, positions[index], k, sample)
        if progress is not None:
            progress(f"map {done} of {len(ordered)}: update {ordered[index]:,}, {len(rows):,} tokens")
    return Projection(tuple(ordered), np.asarray(rows), positions, preservation, k / (len(rows) - 1), space)


def sample_places(points: int, seed: int = 0) -> NDArray[np.int64]:
    """The places of which the preservation is computed: all, or `SAMPLE` of more, drawn at random; ascending."""
    if points <= SAMPLE:
        return np.arange(points)
    return np.sort(np.random.default_rng(seed).choice(points, SAMPLE, replace=False))


def neighbour_preservation(
    values: NDArray[np.floating],
    positions: NDArray[np.floating],
    k: int,
    sample: NDArray[np.integer] | None = None,
) -> NDArray[np.float64]:
    """For each of n points (or of those at the places `sample`) the share of its `k` nearest in `values` (n, dim) that are
    among its `k` nearest in `positions` (n, 2), both among all n and by Euclidean distance."""
    real, _ = euclidean_neighbours(values, k, sample)
    drawn, _ = euclidean_neighbours(positions, k, sample)
    return (real[:, :, None] == drawn[:, None, :]).any(axis=2).sum(axis=1) / k


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
    progress: Progress | None = None,
) -> MapResult:
    """Maps of the category tokens and the most frequent tokens, `points` in all, at `updates` (default: 12 snapshots).

    With `points` = `ALL` every row but the specials is on the map. Raises DumpError: no snapshot, fewer than 10 tokens.
    """
    table = dump.table(table_name)
    chosen = spread(table.snapshot_updates, SNAPSHOTS).tolist() if updates is None else [int(u) for u in updates]
    if not chosen:
        raise table.error("the dump lists no snapshot, and a map needs one")
    categories = find_tokens(table.texts, table.counts)
    rows = map_rows(table, categories, points)

    def values(update: int) -> NDArray[np.float32]:
        whole = table.snapshot(update)
        return whole[rows] - whole[table.counted].mean(axis=0) if space == "centred" else whole[rows]

    projection = project(
        values, chosen, rows, space=space, perplexity=perplexity, seed=seed, jobs=jobs, progress=progress
    )
    signatures = tuple(signature(dump, table, update) for update in projection.updates)
    return MapResult(projection, categories, table.texts, signatures)


def map_rows(table: Table, categories: CategoryTokens, points: int) -> NDArray[np.int64]:
    """The rows of a table's map of so many points; specials are never among them, unreachable rows where there is room."""
    rows = select_rows(table.counts, table.group >= 0, categories.all_rows(), points)
    if len(rows) < 10:
        raise table.error(f"expected at least 10 tokens to draw a map of, found {len(rows)}")
    return rows


def describe(projection: Projection, index: int) -> str:
    """One sentence on how far the map at `updates[index]` can be trusted."""
    mean, half = projection.preserved(index)
    points, measured = len(projection.rows), projection.preservation.shape[1]
    over = f"{points:,} tokens" if measured == points else f"{measured:,} tokens drawn from {points:,}"
    # A map of many tokens has a small chance, and more digits to tell it from 0.
    digits = 3 if projection.chance >= 0.002 else 5
    fine = 2 if half >= 0.01 else 3
    return f"neighbour preservation {mean:.{fine}f} ± {half:.{fine}f} (95 %, over {over}; a random map: {projection.chance:.{digits}f})"


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


def map_options(description: str, *, points: str, snapshots: int) -> argparse.ArgumentParser:
    """The command line of a map: the dump, --out and --table, and how the map is made; with the defaults given."""
    options = parser(description, dumps=1)
    options.add_argument(
        "--points",
        default=points,
        metavar="N",
        help=f"tokens on the map, the most frequent ones; 0 or all: every one (default {points})",
    )
    options.add_argument("--snapshots", type=int, default=snapshots, help=f"at most so many (default {snapshots})")
    options.add_argument(
        "--space",
        choices=get_args(Space),
        default="raw",
        help="rows as they are (default, the study's way), or unit rows less the common vector",
    )
    options.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE (default 30)")
    options.add_argument("--seed", type=int, default=0, help="of PCA and t-SNE (default 0)")
    return options


def analyse_chosen(dump: Dump, chosen: argparse.Namespace, progress: Progress | None = None) -> MapResult:
    """`analyse` with what the options of `map_options` say."""
    return analyse(
        dump,
        chosen.table,
        updates=[int(update) for update in spread(dump.table(chosen.table).snapshot_updates, chosen.snapshots)],
        points=chosen.points,
        space=chosen.space,
        perplexity=chosen.perplexity,
        seed=chosen.seed,
        progress=progress,
    )


def read_options(options: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the options of `map_options`; --points as a number, `all` as `ALL`. Bad ones exit with one line."""
    chosen = options.parse_args(arguments)
    for name, least in (("snapshots", 1), ("perplexity", 2)):
        if not getattr(chosen, name) >= least:
            sys.exit(f"error: --{name}: expected at least {least}, found {getattr(chosen, name)}")
    text = chosen.points
    if text != "all" and (not text.isdecimal() or 0 < int(text) < 10):
        sys.exit(f"error: --points: expected at least 10, or 0 or all for every token, found {text}")
    chosen.points = ALL if text == "all" else int(text)
    return chosen


def summary(result: MapResult) -> str:
    """For the terminal: the signature, each map's preservation, what the categories lack."""
    projected = result.projection
    kept = [f"update {update:>8,}: {describe(projected, index)}" for index, update in enumerate(projected.updates)]
    return "\n".join([result.signatures[-1], *kept, result.categories.report()])


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = read_options(map_options(__doc__ or "", points="1200", snapshots=SNAPSHOTS), arguments)
    result = analyse_chosen(Dump.open(chosen.dumps[0]), chosen)
    written = figures(result, chosen.out)
    print(summary(result))
    print("wrote " + ", ".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    run(main)
