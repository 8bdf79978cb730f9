"""How fast is a recorded run beside stock ``fairseq-train`` without recording?

Real ``fairseq-train`` processes on the same model, seed and batches: stock, ours without recording, ours with recording. They run in turn,
at least five rounds. The time of an update is that between the arrival of its log line and of the one before, so that start-up does not
count. Batches differ in size, but update N is the same batch in every run; so a run's time is the sum over the same updates. Beside the
ratio of each round stands that of the fastest times: for each update the least over the rounds, which is what the machine can do when
nothing disturbs it. Run it with nothing else running:

    python benchmarks/training.py data-bin/wikipedia-sample

With ``--rules`` the runs are instead ours without recording under ``fused_adam`` and under each optimiser named, ``coupled_adam`` for one, and
the ratio is what a rule of its own for the embedding table costs:

    python benchmarks/training.py data-bin/wikipedia-sample --rules coupled_adam embedding_sgd
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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
    "--task embedding_masked_lm --optimizer fused_adam --autocast auto --tied-gradient --fast-dropout --fast-head --keep-freed-memory"
).split()
RECORDING = "--record-statistics every:1 --record-movement every:10 --record-traces every:5 --record-snapshots log2,every:50".split()


def seconds_of_updates(command: list[str], environment: dict[str, str], first: int) -> dict[int, float]:
    """Run a training; returns the seconds of each update after ``first``.

    Raises:
        SystemExit: the run failed; shows its last lines.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
    )
    times: dict[int, float] = {}
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if "| train_inner | {" in line:
            times[int(json.loads(line[line.index("{") :])["num_updates"])] = time.perf_counter()
    if process.wait() != 0 or not times:
        sys.exit("error: a training run failed:\n" + "".join(lines[-15:]))
    return {n: times[n] - times[n - 1] for n in times if n > first and n - 1 in times}


def report(found: dict[str, list[dict[int, float]]], pairs: Sequence[tuple[str, str]]) -> None:
    """Print the ratios of pairs: over rounds, and of the fastest times."""
    fastest = {name: {n: min(run[n] for run in runs) for n in runs[0]} for name, runs in found.items()}
    seconds = {name: sum(run.values()) / len(run) for name, run in fastest.items()}
    print("fastest, seconds an update: " + ", ".join(f"{name} {value:.3f}" for name, value in seconds.items()))
    for one, other in pairs:
        ratios = [sum(a.values()) / sum(b.values()) for a, b in zip(found[one], found[other], strict=True)]
        print(
            f"{one} / {other}: median {statistics.median(ratios):.3f}, min {min(ratios):.3f}, max {max(ratios):.3f} over {len(ratios)} rounds; "
            f"of the fastest times {seconds[one] / seconds[other]:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a prepared corpus, e.g. data-bin/wikipedia-sample")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="examples an update (8 of wikipedia-sample: about 700 tokens)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip", type=int, default=5, help="updates before the clock starts")
    parser.add_argument("--updates", type=int, default=20, help="updates that are timed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rules", nargs="+", default=[], metavar="OPTIMIZER", help="compare these with fused_adam")
    options = parser.parse_args()
    last = options.skip + options.updates
    shape = ["--batch-size", str(options.batch_size), "--max-update", str(last), "--log-interval", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONUNBUFFERED": "1"}
    # The stock run needs two of the extension's repairs (numpy 2 names), so it too is given --user-dir; they cost nothing.
    data = str(Path(options.data).resolve())
    plain = [str(Path(sys.executable).with_name("fairseq-train")), data, "--user-dir", "fairseq_ext", *COMMON, *shape]
    print(
        f"{options.rounds} rounds, {options.updates} updates each, batch size {options.batch_size}, {options.threads} threads"
    )
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "stock": [*plain, *STOCK],
            "not recorded": [*plain, *OURS],
            "recorded": [*plain, *OURS, *RECORDING, "--record-overwrite", "--record-dir", f"{folder}/dump.zarr"],
        }
        pairs = [("stock", "recorded"), ("stock", "not recorded"), ("recorded", "not recorded")]
        if options.rules:
            commands = {name: [*plain, *OURS, "--optimizer", name] for name in ("fused_adam", *options.rules)}
            pairs = [(name, "fused_adam") for name in options.rules]
        found: dict[str, list[dict[int, float]]] = {name: [] for name in commands}
        for number in range(options.rounds):
            for name in sorted(commands, reverse=bool(number % 2)):
                found[name].append(seconds_of_updates(commands[name], environment, options.skip))
            mean = {name: sum(runs[-1].values()) / len(runs[-1]) for name, runs in found.items()}
            print(
                f"round {number + 1}: " + ", ".join(f"{name} {value:.3f} s" for name, value in mean.items()), flush=True
            )
    report(found, pairs)


if __name__ == "__main__":
    main()
