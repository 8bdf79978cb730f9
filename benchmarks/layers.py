"""Time and memory of all layer measures (claims C5) of one model of the study's size.

    python benchmarks/layers.py                          # 12 layers, width 512, 50,265 rows
    python benchmarks/layers.py --rows 5000 --dim 64     # a small trial

Invented files of the study's size are written to a temporary folder: parameters.npz with 512 vectors of each layer and kind and
three untrained models, layers.npz with the states of 4,000 tokens, trained and untrained. Timed is reading them and all that
`analysis/layers.py` measures of them, without figures and without the probes, which depend on a treebank. Memory is the
process's peak, all of it (interpreter, libraries, the table, the vectors).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ANALYSIS = Path(__file__).resolve().parent.parent / "analysis"
KINDS = ("ffn_key", "ffn_value", "attention_read", "attention_write")
LIMIT = 180  # seconds on 2 cores
UPDATE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"rows": 50265, "dim": 512, "layers": 12, "vectors": 512, "untrained": 3, "tokens": 4000, "threads": 2}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value:,}")
    options = parser.parse_args()
    if options.rows < 1000 or options.tokens < 200:
        parser.error("--rows must be at least 1000 and --tokens at least 200")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    # This file has the name of the module that it measures, and its folder must not come first.
    sys.path[0] = str(ANALYSIS)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Write the files, measure, print."""
    import layer_files
    import layer_states
    import layers_run

    write_files(options, folder)
    dump = invented_dump(options)
    before, spent = peak_mb(), {}
    start = time.perf_counter()
    parameters = layer_files.read_parameters(folder / "parameters.npz")
    spent["read parameters.npz"] = time.perf_counter() - start
    start = time.perf_counter()
    layers_run.measure_parameters(parameters, None, dump)
    spent["parameters in the embedding space"] = time.perf_counter() - start
    del parameters
    start = time.perf_counter()
    layer_states.measure(layer_files.read_states(folder / "layers.npz"))
    spent["hidden states"] = time.perf_counter() - start
    print(
        f"{options.layers} layers, width {options.dim}, {options.rows:,} rows, {options.vectors} vectors a layer and kind, "
        f"{options.untrained} untrained models, {options.tokens:,} tokens; {options.threads} threads"
    )
    for name, seconds in spent.items():
        print(f"{name:36s}{seconds:8.1f} s")
    total = sum(spent.values())
    print(f"{'all':36s}{total:8.1f} s, limit {LIMIT} s {'met' if total < LIMIT else 'MISSED'}")
    print(f"{'peak memory, process':36s}{peak_mb():8.0f} MB, of which {before:.0f} MB before anything was read")


def write_files(options: argparse.Namespace, folder: Path) -> None:
    """Gaussian vectors and states in the format of docs/layers-format.md."""
    import numpy as np

    rng = np.random.default_rng(0)
    normal = partial(rng.standard_normal, dtype=np.float32)
    number = options.layers * len(KINDS) * options.vectors
    shared = {"format_version": 1, "update": UPDATE}
    about = shared | {
        "format": "embedding-parameters",
        "kinds": KINDS,
        "layers": options.layers,
        "dim": options.dim,
    }
    np.savez(
        folder / "parameters.npz",
        about=np.array(json.dumps(about)),
        vectors=normal((number, options.dim)),
        layer=np.repeat(np.arange(options.layers, dtype=np.int16), number // options.layers),
        kind=np.tile(np.repeat(np.arange(len(KINDS), dtype=np.uint8), options.vectors), options.layers),
        index=np.tile(np.arange(options.vectors, dtype=np.int32), options.layers * len(KINDS)),
        untrained=normal((options.untrained, number, options.dim)),
        untrained_seed=1001 + np.arange(options.untrained),
    )
    names = ["embedding", *(f"layer{layer}" for layer in range(1, options.layers + 1))]
    shape = (len(names), options.tokens, options.dim)
    rank = rng.zipf(1.3, options.tokens) % (options.rows - 5)
    np.savez(
        folder / "layers.npz",
        about=np.array(json.dumps(shared | {"format": "embedding-layers"})),
        layer_name=np.array(names),
        states=normal(shape).astype(np.float16),
        untrained_states=normal((1, *shape)).astype(np.float16),
        untrained_seed=np.array([1001]),
        row=(rank + 4).astype(np.int32),
        example=(np.arange(options.tokens) // 30).astype(np.int32),
        position=(np.arange(options.tokens) % 30 + 1).astype(np.int16),
    )


def invented_dump(options: argparse.Namespace) -> Any:
    """What the measures ask of a dump: a Gaussian table with a common vector, and texts among them the categories' words."""
    import numpy as np

    from categories import words

    rng = np.random.default_rng(1)
    known = [f" {word}" for entries in words().categories.values() for word in entries]
    texts = known + [f" word{row}" for row in range(options.rows - len(known))]
    values = rng.standard_normal((options.rows, options.dim), dtype=np.float32) + np.float32(0.3)
    table = SimpleNamespace(
        rows=options.rows,
        dim=options.dim,
        texts=texts[: options.rows],
        counts=np.ones(options.rows, np.int64),
        counted=np.arange(options.rows) > 3,
        snapshot_updates=np.array([0, UPDATE]),
        snapshot=lambda update: values,
    )
    return SimpleNamespace(path="invented", attrs={}, table=lambda name=None: table)


def peak_mb() -> float:
    """The most memory that this process has held so far, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux, bytes on macOS
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    main()
