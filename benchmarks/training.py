"""How fast is a recorded run beside stock ``fairseq-train`` without recording?

Both are real ``fairseq-train`` processes on the same model, seed and batches. They run in turn, at least five pairs; the time is taken from
the arrival of the log line of one update to that of another, so that start-up does not count. Run it with nothing else running:

    python benchmarks/training.py data-bin/wikipedia-sample
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMON = (
    "--adam-betas (0.9,0.98) --criterion masked_lm --arch roberta_base --encoder-embed-dim 512 --encoder-ffn-embed-dim 2048 --encoder-attention-heads 8 "
    "--encoder-layers 6 --sample-break-mode eos --tokens-per-sample 512 --required-batch-size-multiple 1 --adam-eps 1e-6 "
    "--weight-decay 0.01 --lr-scheduler polynomial_decay --lr 5e-4 --warmup-updates 100 --total-num-update 1000 --dropout 0.1 "
    "--attention-dropout 0.1 --seed 1 --cpu --log-format json --no-save --disable-validation --num-workers 0"
).split()
STOCK = "--task masked_lm --optimizer adam".split()
OURS = (
    "--task embedding_masked_lm --optimizer fused_adam --autocast auto --tied-gradient --fast-dropout --fast-head --keep-freed-memory --record-overwrite "
    "--record-statistics every:1 --record-movement every:10 --record-traces every:5 --record-snapshots log2,every:50"
).split()


def seconds_per_update(command: list[str], environment: dict[str, str], first: int, last: int) -> tuple[float, float]:
    """Run a training and time it.

    Returns:
        seconds per update between updates ``first`` and ``last``, and the loss that was logged at ``last``.

    Raises:
        SystemExit: the run failed; shows its last lines.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
    )
    times: dict[int, float] = {}
    loss = float("nan")
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if "| train_inner | {" in line:
            entry = json.loads(line[line.index("{") :])
            times[int(entry["num_updates"])] = time.perf_counter()
            loss = float(entry["loss"])
    if process.wait() != 0 or first not in times or last not in times:
        sys.exit("error: a training run failed:\n" + "".join(lines[-15:]))
    return (times[last] - times[first]) / (last - first), loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a prepared corpus, e.g. data-bin/wikipedia-sample")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="examples an update (8 of wikipedia-sample: about 700 tokens)"
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--skip", type=int, default=5, help="updates before the clock starts")
    parser.add_argument("--updates", type=int, default=30, help="updates that are timed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    last = options.skip + options.updates
    shape = ["--batch-size", str(options.batch_size), "--max-update", str(last), "--log-interval", "5"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONUNBUFFERED": "1"}
    train = str(Path(sys.executable).with_name("fairseq-train"))
    data = str(Path(options.data).resolve())
    ratios = []
    print(
        f"{options.pairs} pairs, {options.updates} updates each, batch size {options.batch_size}, {options.threads} threads"
    )
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(options.pairs):
            # The stock run needs two of the extension's repairs (numpy 2 names), so it too is given --user-dir; they cost nothing.
            stock = [train, data, "--user-dir", "fairseq_ext", *COMMON, *STOCK, *shape]
            ours = [
                train,
                data,
                "--user-dir",
                "fairseq_ext",
                *COMMON,
                *OURS,
                *shape,
                "--record-dir",
                f"{folder}/dump.zarr",
            ]
            runs = {"stock": stock, "recorded": ours}
            taken = {}
            for name in sorted(runs, reverse=bool(pair % 2)):
                taken[name], loss = seconds_per_update(runs[name], environment, options.skip, last)
                print(
                    f"pair {pair + 1}  {name:9s} {taken[name]:.3f} s an update, loss {loss:.3f} bits at update {last}",
                    flush=True,
                )
            shutil.rmtree(f"{folder}/dump.zarr", ignore_errors=True)
            ratios.append(taken["stock"] / taken["recorded"])
            print(f"pair {pair + 1}  stock / recorded = {ratios[-1]:.3f}", flush=True)
    print(
        f"stock / recorded: median {statistics.median(ratios):.3f}, min {min(ratios):.3f}, max {max(ratios):.3f} over {len(ratios)} pairs"
    )


if __name__ == "__main__":
    main()
