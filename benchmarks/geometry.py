"""Time and memory of all statistics of one snapshot, beside scikit-learn's pairwise cosines.

    python benchmarks/geometry.py                 # 50,265 x 512, the study's size
    python benchmarks/geometry.py --rows 2000     # a small trial

Each measurement runs in a process of its own, the two kinds in turn, `--pairs` times. Memory is that process's peak: all of
it (interpreter, libraries, inputs), and what the computation added to it. The inputs are three tables: the snapshot, the
table one update before and that of update 0, which the movement statistics need. scikit-learn computes only the mean
cosines of the rows, all pairs, on `--subset` rows; its time is extrapolated with the square of the rows (its products
grow so) and its memory likewise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ANALYSIS = Path(__file__).resolve().parent.parent / "analysis"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50265)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--subset", type=int, default=5000, help="rows given to scikit-learn (default 5000)")
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each kind (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the BLAS library (default 2)")
    parser.add_argument("--child", choices=("ours", "scikit-learn"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rows < 200 or options.subset < 200:
        parser.error("--rows and --subset must be at least 200")
    options.subset = min(options.subset, options.rows)
    if options.child:
        print(json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "scikit-learn": []}
    for _ in range(options.pairs):
        for kind in runs:
            runs[kind].append(child(kind, options))
    factor = (options.rows / options.subset) ** 2
    ours = {key: statistics.median(run[key] for run in runs["ours"]) for key in runs["ours"][0]}
    other = {key: statistics.median(run[key] for run in runs["scikit-learn"]) for key in runs["scikit-learn"][0]}
    print(f"{options.rows:,} x {options.dim} float32, {options.threads} threads, medians of {options.pairs}")
    spread = ", ".join(f"{run['seconds']:.2f}" for run in runs["ours"])
    print(f"all statistics           {ours['seconds']:8.2f} s  ({spread})")
    print(f"  peak memory, process   {ours['peak_mb']:8.0f} MB")
    print(f"  added by computing     {ours['added_mb']:8.0f} MB")
    print(f"scikit-learn, {options.subset:,} rows {other['seconds']:8.2f} s, added {other['added_mb']:.0f} MB")
    print(f"  extrapolated (x{factor:.1f})  {other['seconds'] * factor:8.2f} s, {other['added_mb'] * factor:.0f} MB")
    print(f"ratio of times           {other['seconds'] * factor / ours['seconds']:8.1f}")
    limits = f"limits: 2 s {'met' if ours['seconds'] < 2 else 'MISSED'}, 500 MB {'met' if ours['peak_mb'] < 500 else 'MISSED'}"
    print(f"{limits} (of the process)" if options.rows >= 50000 else "limits apply to 50,265 rows")


def child(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """Run one measurement in a fresh process and return what it printed."""
    size = [f"--{name}={getattr(options, name)}" for name in ("rows", "dim", "subset", "threads")]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    threads = dict.fromkeys(names, str(options.threads))
    environment = os.environ | threads | {"PYTHONPATH": str(ANALYSIS)}
    # -P: this file has the name of the module that it measures, and its folder must not come first.
    done = subprocess.run(
        [sys.executable, "-P", __file__, "--child", kind, *size],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"error: the {kind} measurement failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One measurement in this process: seconds, peak of the process and what was added to it, in MB (10^6 bytes)."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((options.rows, options.dim), dtype=np.float32)
    if options.child == "ours":
        from geometry import snapshot_statistics

        initial = values.copy()
        previous = values.copy()
        values += 0.3
        previous += 0.299
        counts = (1e7 / np.arange(1, options.rows + 1) ** 1.1).astype(np.int64)
        group = np.where(counts > 0, np.log10(np.maximum(counts, 1)).astype(np.int16) + 1, 0).astype(np.int16)
        table = SimpleNamespace(
            counts=counts, counted=np.ones(options.rows, bool), group=group, groups=list(range(int(group.max()) + 1))
        )
        before = peak_mb()
        start = time.perf_counter()
        snapshot_statistics(values, table, previous, initial)
    else:
        from sklearn.metrics.pairwise import cosine_similarity

        subset = values[: options.subset].copy()
        before = peak_mb()
        start = time.perf_counter()
        cosines = cosine_similarity(subset)
        (cosines.sum(axis=1) - 1) / (len(subset) - 1)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": peak_mb(), "added_mb": peak_mb() - before}


def peak_mb() -> float:
    """The most memory that this process has held so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux, bytes on macOS
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    main()
