"""Which code for windows? Sizes and processor seconds of several, on whole tables of a real run at early, highest and late learning rate.

Reads a run that recorded every update in lossless windows (benchmarks/recording_run.py makes one) and encodes single updates again: the
table as it is, its XOR with the one before, the difference of the floats' order, and the difference from what momentum predicts; each in byte
planes (zstd) and bit planes (zstd, lz4), and by pcodec where that package is installed. Seconds are of one core.

    python benchmarks/window_codes.py runs/recording-benchmark/lossless/base/seed1 --updates 10,28,62,127,202,248
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numcodecs import blosc
from numcodecs.blosc import Blosc

ROOT = Path(__file__).resolve().parent.parent
LOSSY = (0.5, 0.35, 0.25, 0.15)  # steps, as shares of an update's root mean square


def order(values: np.ndarray) -> np.ndarray:
    """Integers that grow with the floats, int32."""
    bits = values.view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def zigzag(values: np.ndarray) -> np.ndarray:
    return ((values << 1) ^ (values >> 31)).view(np.uint32)


def coders() -> dict[str, Callable[[np.ndarray], bytes]]:
    """The codes by name."""
    found: dict[str, Callable[[np.ndarray], bytes]] = {
        "byte planes, zstd": Blosc("zstd", 1, Blosc.SHUFFLE).encode,
        "bit planes, zstd": Blosc("zstd", 1, Blosc.BITSHUFFLE).encode,
        "bit planes, lz4": Blosc("lz4", 1, Blosc.BITSHUFFLE).encode,
    }
    try:
        from pcodec import ChunkConfig, DeltaSpec, ModeSpec, standalone
    except ImportError:
        return found
    config = ChunkConfig(compression_level=8, mode_spec=ModeSpec.classic(), delta_spec=DeltaSpec.no_op())
    found["pcodec 8"] = lambda values: standalone.simple_compress(values.reshape(-1), config)
    return found


def entropy(values: np.ndarray) -> float:
    """Bits an entry of integers one by one."""
    share = np.unique(values, return_counts=True)[1] / values.size
    return float(-(share * np.log2(share)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--updates", default="10,28,62,127,202,248")
    given = parser.parse_args()
    sys.path[0] = str(
        ROOT / "analysis"
    )  # this file's folder must not come first: some modules there have the same name
    from dump import Dump

    blosc.set_nthreads(1)
    table = Dump.open(given.run).table()
    names = coders()
    print("| update | what is coded | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 2) + "|")

    def row(update: int, what: str, values: np.ndarray) -> None:
        cells = []
        for code in names.values():
            start = time.thread_time()
            size = len(code(np.ascontiguousarray(values)))
            cells.append(f"{size / values.nbytes:.3f} ({time.thread_time() - start:.2f} s)")
        print(f"| {update} | {what} | " + " | ".join(cells) + " |", flush=True)

    for update in map(int, given.updates.split(",")):
        (_, two), (_, one), (_, now) = table.window(update - 2, update)
        before, moved = one - two, now - one
        share = float((moved * before).sum(dtype=np.float64) / np.square(before).sum(dtype=np.float64))
        momentum = np.float32(np.clip(round(16 * share), 0, 32) / 16)
        size = float(np.sqrt(np.square(moved, dtype=np.float64).mean()))
        left = float(np.sqrt(np.square(moved - momentum * before, dtype=np.float64).mean()))
        row(update, "the table", now)
        row(update, "XOR with the one before", now.view(np.int32) ^ one.view(np.int32))
        row(update, "difference", zigzag(order(now) - order(one)))
        row(update, f"from the prediction (momentum {momentum:.2f}, leaves {left / size:.2f} of an update of {size:.1e})", zigzag(order(now) - order(before * momentum + one)))  # fmt: skip
        for step in LOSSY:
            counted = [np.rint(values / np.float32(step * size)).astype(np.int32) for values in (now, one, two)]
            guess = counted[1] + np.rint((counted[1] - counted[2]) * momentum).astype(np.int32)
            bits = entropy(counted[0] - guess)
            row(update, f"lossy, step {step} (entropy {bits / 32:.3f})", zigzag(counted[0] - guess))


if __name__ == "__main__":
    main()
