"""How large are the windows of a real run, what is lost in lossy ones, and how long does reading take?

Trains the quick profile's E1 twice with the same seed, recording every update's whole table: once in lossless windows, once in lossy ones. Training is
the same to the bit, so what was lost is the difference of the two. Prints tables in Markdown:

    python benchmarks/recording_run.py data-bin/wikipedia-sample --runs runs/recording-benchmark
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

ROOT = Path(__file__).resolve().parent.parent
PAIRS = 200_000  # random pairs of rows whose cosines are compared


def train(data: Path, run: Path, encoding: str, updates: int) -> None:
    """Train E1 with windows of every update, unless that was done (fairseq would take one more step).

    Raises:
        SystemExit: training failed.
    """
    if (run / "finished").exists():
        return
    environment = dict(os.environ, DATA=str(data), RUN=str(run), UPDATES=str(updates), DEVICE="cpu", TRACES="every:5", VALID_EVERY=str(updates), SAVE_EVERY=str(updates))  # fmt: skip
    words = ["bash", str(ROOT / "scripts/train_e1.sh"), "--record-windows", "every:1", "--record-window-encoding", encoding]  # fmt: skip
    if subprocess.run(words, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"error: the training of {run} failed; see {run}/log/train.log")
    (run / "finished").touch()


def bytes_of(folder: Path, updates: int) -> np.ndarray:
    """Bytes of each update's chunks, int64 [updates]."""
    return np.array([sum(f.stat().st_size for f in (folder / f"c/{u}").rglob("*") if f.is_file()) for u in range(updates)])  # fmt: skip


def entropy_bits(codes: np.ndarray) -> float:
    """Bits an entry of the codes one by one: entropy of how many bits they have, and those below the first one as they are.

    An estimate of what any code that looks at each difference alone needs: within one bit length the differences are taken as equally
    likely, which overstates it a little.
    """
    lengths = np.frexp(codes.astype(np.float64))[1]
    share = np.bincount(lengths.reshape(-1)) / codes.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum() + np.maximum(lengths - 1, 0).mean())


def sizes(run: Path, first: int, raw: int) -> dict[str, float]:
    """Bytes an update over raw, of all updates and of the second half, and the entropy estimate there."""
    group = zarr.open_group(run / "dump.zarr", mode="r")
    table = next(iter(group["tables"].group_keys()))
    windows = group[f"tables/{table}/windows"]
    updates = windows["update"][...]
    found = bytes_of(run / "dump.zarr/tables" / table / "windows/residual", len(updates)) / raw
    late = updates > first
    places = np.flatnonzero(late)[:: max(1, late.sum() // 12)]
    entropy = [entropy_bits(windows["residual"][int(p)]) / 32 for p in places]
    keyframe = windows["frame"][:, 0] == 1
    return {
        "all": found.mean(), "second half": found[late].mean(), "least": found[late].min(), "most": found[late].max(),
        "keyframes": found[late & keyframe].mean(), "others": found[late & ~keyframe].mean(), "entropy of the sampled updates": statistics.mean(entropy),
        "bytes of the sampled updates": found[places].mean(),
    }  # fmt: skip


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def geometry(values: np.ndarray, rows: np.ndarray, counts: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Cosines of the pairs, each row's mean cosine to all others, and its Spearman with the token count."""
    from scipy.stats import spearmanr

    units = unit(values[rows].astype(np.float64))
    mean = (units @ units.sum(axis=0) - 1) / (len(rows) - 1)
    return (units[pairs[0]] * units[pairs[1]]).sum(axis=1), mean, float(spearmanr(mean, np.log(counts[rows] + 1.0))[0])


def losses(exact: Any, lossy: Any, first: int) -> dict[str, float]:
    """The most that lossy windows err, over every tenth update from ``first`` on."""
    rng = np.random.default_rng(1)
    rows = exact.counted_rows
    pairs = rng.integers(0, len(rows), (2, PAIRS))
    pairs = pairs[:, pairs[0] != pairs[1]]
    worst: dict[str, list[float]] = {}
    last = int(exact.window_updates[-1])
    for update in range(first, last + 1, 10):
        (_, before), (_, now) = exact.window(update - 1, update)
        (_, coded_before), (_, coded) = lossy.window(update - 1, update)
        step = lossy.window_step(update)
        moved, coded_moved = now.astype(np.float64) - before, coded.astype(np.float64) - coded_before
        dot = (moved * coded_moved).sum(axis=1)
        norms = np.linalg.norm(moved, axis=1) * np.linalg.norm(coded_moved, axis=1)
        by_row = dot[rows] / np.where(norms[rows] > 0, norms[rows], np.inf)
        one, other = geometry(now, rows, exact.counts, pairs), geometry(coded, rows, exact.counts, pairs)
        for name, value in {
            "entry, in steps": np.abs(now - coded).max() / step if step else 0.0,
            "cosine of two rows": np.abs(one[0] - other[0]).max(),
            "a row's mean cosine": np.abs(one[1] - other[1]).max(),
            "Spearman with token count": abs(one[2] - other[2]),
            "direction of the update, 1 - cosine": 1 - dot.sum() / np.linalg.norm(moved) / np.linalg.norm(coded_moved),
            "direction by row, 1 - median cosine": 1 - np.median(by_row),
            "direction by row, 1 - 5 % quantile": 1 - np.quantile(by_row, 0.05),
        }.items():
            worst.setdefault(name, []).append(float(value))
    return {name: max(values) for name, values in worst.items()}


def seconds(work: Any, times: int = 5) -> float:
    """The median of several runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def reads(exact: Any, lossy: Any) -> None:
    """Print how long reading takes; the frame farthest from its keyframe of each encoding."""
    print(f"one snapshot: {seconds(lambda: exact.snapshot(int(exact.snapshot_updates[-1]))):.2f} s")
    for name, table, keyframes in (("lossless", exact, 16), ("lossy", lossy, 24)):
        update = int(table.window_updates[-1]) // keyframes * keyframes - 1
        place = int(np.searchsorted(table.window_updates, update))
        far, near = (partial(table._windows.snapshot, p) for p in (place, place + 1))
        print(
            f"out of {name} windows, {keyframes - 1} updates after its keyframe: {seconds(far):.2f} s; a keyframe {seconds(near):.2f} s"
        )


def trace_seconds(run: Path, folder: Path, updates: int = 10_000) -> float:
    """Seconds to read one token's path through so many updates; the run's dump, its traces made that long with noise, is read."""
    from dump import Dump
    from fairseq_ext.recording.store import Store, Stream, buffered

    copied = folder / "dump.zarr"
    large = ("snapshots/values", "windows/residual", "windows/frame")
    ignore = lambda place, names: [n for n in names if n == "c" and str(place).endswith(large)]  # noqa: E731
    shutil.copytree(run / "dump.zarr", copied, ignore=ignore)
    store = Store(copied)
    key = f"tables/{Dump.open(copied).tables[0]}/traces"
    stream = Stream(store, key, buffered(store, key))
    rng = np.random.default_rng(1)
    noise = [rng.normal(0, 0.02, stream.arrays["values"].shape[1:]).astype(np.float32) for _ in range(32)]
    first = stream.updates[-1] + 1
    for number in range(updates - len(stream.updates)):
        stream.append(first + number, {"values": noise[number % 32]})
    stream.commit()
    table = Dump.open(copied).table()
    token = int(table.trace_tokens[len(table.trace_tokens) // 2])
    return seconds(lambda: table.trace(token))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where the two runs go; about 22 GB for 250 updates")
    parser.add_argument("--updates", type=int, default=250)
    given = parser.parse_args()
    sys.path[0] = str(
        ROOT / "analysis"
    )  # this file's folder must not come first: some modules there have the same name
    from dump import Dump

    tables = {}
    for encoding in ("lossless", "lossy"):
        run = given.runs.absolute() / encoding / "base" / "seed1"
        train(given.data.absolute(), run, encoding, given.updates)
        tables[encoding] = Dump.open(run).table()
        raw = tables[encoding].rows * tables[encoding].dim * 4
        found = sizes(run, given.updates // 2, raw)
        print(f"{encoding}, of raw: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()), flush=True)
    exact, lossy = tables["lossless"], tables["lossy"]
    for update in exact.snapshot_updates.tolist():
        if not np.array_equal(exact.snapshot(update), exact._windows.snapshot(int(np.searchsorted(exact.window_updates, update)))):  # fmt: skip
            sys.exit(f"error: the lossless window of update {update} differs from its snapshot")
    print(f"lossless windows equal all {len(exact.snapshot_updates)} snapshots to the bit")
    print("\n| lossy: the most that differs | |\n|---|---|")
    for name, value in losses(exact, lossy, 30).items():
        print(f"| {name} | {value:.2e} |")
    print()
    reads(exact, lossy)
    with tempfile.TemporaryDirectory(dir=given.runs) as folder:
        took = trace_seconds(given.runs.absolute() / "lossless/base/seed1", Path(folder))
    print(f"one token's path through 10,000 updates, {len(exact.trace_tokens)} tokens traced: {took:.2f} s")


if __name__ == "__main__":
    main()
