"""t-SNE of a table's tokens, ours beside scikit-learn's: seconds, and how many of the real neighbours each map keeps.

    python benchmarks/projection.py                              # 10,000 invented rows of width 512
    python benchmarks/projection.py --dump runs/E1/base/seed1/dump.zarr
    python benchmarks/projection.py --all 50265                  # also the time of ours alone for so many points

Both are given the same rows and reduce them to 50 principal components, which is timed as well. The invented rows have
clusters and a common drift that is larger for rare ones. The two are run in turn, `--rounds` times, the first one
changing. Preservation is the share of the 10 nearest rows in the full space that are among the 10 nearest on the map, over
all rows, with a 95 % interval over rows. The target: no more than half of scikit-learn's time, at a preservation that is
not lower by more than the interval of the difference. Times are of this machine with whatever else runs on it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

sys.path[0] = str(Path(__file__).resolve().parent.parent / "analysis")  # this file has the name of a module there

from dump import Dump, DumpError  # noqa: E402
from projection import ALL, neighbour_preservation, select_rows  # noqa: E402
from tsne import COMPONENTS, fit, iterations_for, principal_components  # noqa: E402

K = 10
Method = Callable[[NDArray[np.float32], int, int], NDArray[np.floating]]


def ours(values: NDArray[np.float32], seed: int, jobs: int) -> NDArray[np.floating]:
    return fit(principal_components(values, seed), None, iterations_for(len(values)), seed=seed, jobs=jobs)


def stock(values: NDArray[np.float32], seed: int, jobs: int) -> NDArray[np.floating]:
    reduced = PCA(min(COMPONENTS, *values.shape), svd_solver="randomized", random_state=seed).fit_transform(values)
    return TSNE(perplexity=30, init="pca", random_state=seed, n_jobs=jobs).fit_transform(reduced)


def invented(points: int, dim: int) -> NDArray[np.float32]:
    """Rows (points, dim) in clusters of unequal size that drift along one direction, the later (rarer) ones further."""
    rng = np.random.default_rng(0)
    clusters = max(5, points // 80)
    centres = rng.normal(size=(clusters, dim))
    member = (clusters * rng.random(points) ** 1.5).astype(int)
    common = rng.normal(size=dim)
    rarity = np.linspace(0, 1, points)[:, None]
    return (rng.normal(size=(points, dim)) + 0.8 * centres[member] + 4 * rarity * common).astype(np.float32)


def recorded(path: Path, points: int) -> NDArray[np.float32]:
    """The last snapshot's most frequent rows, `points` of them (`ALL`: every counted one)."""
    table = Dump.open(path).table()
    rows = select_rows(table.counts, table.counted, np.zeros(0, np.int64), points)
    return table.snapshot(int(table.snapshot_updates[-1]))[rows]


def compare(values: NDArray[np.float32], rounds: int, jobs: int) -> bool:
    """Run both in turn and print what was seen; whether the target is met."""
    methods: dict[str, Method] = {"ours": ours, "scikit-learn": stock}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    kept: dict[str, list[NDArray[np.float64]]] = {name: [] for name in methods}
    for number in range(rounds):
        for name in sorted(methods, reverse=bool(number % 2)):
            begun = time.perf_counter()
            drawn = methods[name](values, number, jobs)
            seconds[name].append(time.perf_counter() - begun)
            kept[name].append(neighbour_preservation(values, drawn, K))
            print(f"  round {number + 1}, {name}: {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    for name in methods:
        mean, half = interval(np.mean(kept[name], axis=0))
        times = ", ".join(f"{one:.1f}" for one in seconds[name])
        print(f"{name:<13}{statistics.median(seconds[name]):8.1f} s ({times}); preservation {mean:.4f} ± {half:.4f}")
    ratios = [mine / theirs for mine, theirs in zip(seconds["ours"], seconds["scikit-learn"], strict=True)]
    ratio = statistics.median(ratios)
    mean, half = interval(np.mean(kept["ours"], axis=0) - np.mean(kept["scikit-learn"], axis=0))
    print(f"ratio of times, paired: median {ratio:.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"difference of preservation, paired over rows: {mean:+.4f} ± {half:.4f}")
    met = ratio <= 0.5 and mean >= -half
    print(f"target (ratio at most 0.5, preservation not lower by more than the interval): {'met' if met else 'MISSED'}")
    return met


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval over rows."""
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dump", type=Path, help="read the rows from this dump's last snapshot")
    parser.add_argument("--points", type=int, default=10000, help="rows that both are given (default 10000)")
    parser.add_argument("--dim", type=int, default=512, help="width of invented rows (default 512)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default 3)")
    parser.add_argument("--jobs", type=int, default=2, help="threads (default 2)")
    parser.add_argument(
        "--all", type=int, metavar="N", help="also time ours alone for N points (0: every one of a dump)"
    )
    options = parser.parse_args()
    for name, least in (("points", 50), ("dim", 2), ("rounds", 1), ("jobs", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")

    def rows(points: int) -> NDArray[np.float32]:
        if options.dump:
            return recorded(options.dump, points)
        return invented(points or 50265, options.dim)

    try:
        values = rows(options.points)
        more = None if options.all is None else rows(options.all or ALL)
    except DumpError as error:
        sys.exit(f"error: {error}")
    source = options.dump or "invented rows"
    print(f"{len(values):,} x {values.shape[1]} of {source}, {options.jobs} threads")
    compare(values, options.rounds, options.jobs)
    if more is not None:
        begun = time.perf_counter()
        drawn = ours(more, 0, options.jobs)
        taken = time.perf_counter() - begun
        sample = np.random.default_rng(0).choice(len(more), min(4000, len(more)), replace=False)
        mean, half = interval(neighbour_preservation(more, drawn, K, sample))
        print(f"ours, {len(more):,} points: {taken:.1f} s; preservation {mean:.4f} ± {half:.4f} ({len(sample):,} rows)")


if __name__ == "__main__":
    main()
