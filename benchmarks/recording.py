"""What does recording cost? The same updates without recording, with it, and with a plain ``numpy.save`` of the table at each update.

One process, one model (RoBERTa, 6 layers, width 512); blocks of the same batches run in all ways in turn, so that each round is a paired
comparison. Recording has its default options and two ways: statistics and traces alone, and the same with a whole-table snapshot in every
block, from which follows what a snapshot costs and so what the default schedule and that of the quick profile do. A block's time includes
waiting until everything is written. Beside the median over rounds stands the cost of the fastest times: for each update of the block the
least over the rounds, which is what the machine can do when nothing disturbs it. Run it with nothing else running:

    python benchmarks/recording.py data-bin/wikipedia-sample --batch-size 8
    python benchmarks/recording.py data-bin/wikipedia-sample --batch-size 45 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import options as fairseq_options
from fairseq import tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer
from training import COMMON, OURS

from fairseq_ext.recording.config import RecordingConfig
from fairseq_ext.recording.recorder import LIVE_COMMIT, Recorder
from fairseq_ext.recording.schedule import Schedule
from fairseq_ext.tasks import masked_lm  # noqa: F401  (registers the task)


def build(data: str, batch_size: int, record_dir: Path) -> tuple[Any, Trainer, list[Any]]:
    """The task, a trainer and its batches, as ``fairseq-train`` builds them."""
    ours = [o for o in OURS if o != "--record-overwrite"]
    parser = fairseq_options.get_training_parser()
    arguments = [data, *COMMON, *ours, "--record-dir", str(record_dir)]
    arguments += ["--batch-size", str(batch_size), "--max-update", "1000"]
    config = convert_namespace_to_omegaconf(fairseq_options.parse_args_and_arch(parser, arguments))
    torch.manual_seed(1)
    task = tasks.setup_task(config.task)
    model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
    trainer = Trainer(config, task, model, criterion)
    epoch = trainer.get_train_iterator(epoch=1, load_dataset=True)
    trainer.begin_epoch(1)
    batches = []
    for batch in epoch.next_epoch_itr(shuffle=True):
        batches.append([batch])
        if len(batches) == 64:
            break
    return task, trainer, batches


WITHOUT, STREAMS, SNAPSHOT, SAVE = "without", "statistics and traces", "with a snapshot", "numpy.save"
SCHEDULES = {
    "default (log2,every:1000, of 1,000 updates)": "log2,every:1000",
    "quick (log2,every:50, of 250 updates)": "log2,every:50",
}


def report(found: dict[str, list[list[float]]], updates: int, commit: float) -> None:
    """Print the cost of each way beside going without, and of whole schedules; ``commit`` seconds come on top every ``LIVE_COMMIT`` updates."""
    base = [sum(block) for block in found[WITHOUT]]
    fastest = {way: sum(min(times) for times in zip(*blocks, strict=True)) for way, blocks in found.items()}
    print(
        f"an update without recording: {statistics.median(base) / updates:.3f} s; of the fastest times {fastest[WITHOUT] / updates:.3f} s"
    )
    for way in (STREAMS, SNAPSHOT, SAVE):
        cost = [100 * (sum(block) / b - 1) for block, b in zip(found[way], base, strict=True)]
        print(
            f"{way}: {statistics.median(cost):+.1f} % (min {min(cost):+.1f}, max {max(cost):+.1f}, {len(cost)} rounds); "
            f"of the fastest times {100 * (fastest[way] / fastest[WITHOUT] - 1):+.1f} %"
        )
    one = {
        "median": statistics.median(sum(s) - sum(w) for s, w in zip(found[SNAPSHOT], found[STREAMS], strict=True)),
        "fastest": fastest[SNAPSHOT] - fastest[STREAMS],
    }
    streams = {
        "median": statistics.median(sum(s) - b for s, b in zip(found[STREAMS], base, strict=True)),
        "fastest": fastest[STREAMS] - fastest[WITHOUT],
    }
    of = {"median": statistics.median(base), "fastest": fastest[WITHOUT]}
    print(f"writing the statistics down, every {LIVE_COMMIT} updates: {1000 * commit:.0f} ms")
    print(f"one snapshot: {1000 * one['median']:.0f} ms, of the fastest times {1000 * one['fastest']:.0f} ms")
    for name, schedule in SCHEDULES.items():
        last = 1000 if "1000" in schedule else 250
        snapshots = sum(u in Schedule.parse(schedule) for u in range(1, last + 1)) / last * updates
        share = {
            key: 100 * (streams[key] + commit * updates / LIVE_COMMIT + snapshots * one[key]) / of[key] for key in of
        }
        print(
            f"snapshots of the schedule {name}: {share['median']:+.1f} % in all, of the fastest times {share['fastest']:+.1f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--updates",
        type=int,
        default=10,
        help="updates in a block; a multiple of 10, the interval of the costlier statistics",
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    if given.updates < 10 or given.updates % 10:
        parser.error(f"--updates: expected a multiple of 10, found {given.updates}")
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        task, trainer, batches = build(given.data, given.batch_size, Path(folder) / "dump.zarr")
        recorder, idle = task.recorder, Recorder(RecordingConfig(), {}, task.recorder.sides, task.recorder.data)
        streams = recorder.streams
        table = trainer.get_model().encoder.sentence_encoder.embed_tokens.weight
        for batch in batches[:10]:  # attaches the recorder, records update 0
            trainer.train_step(batch)
        tokens = statistics.mean(float(b[0]["ntokens"]) for b in batches[: given.updates])
        print(
            f"{given.rounds} rounds of {given.updates} updates, {tokens:.0f} tokens an update, {given.threads} threads"
        )

        def block(way: str) -> list[float]:
            """Seconds of each update; the last one's hold the waiting for what is still to be written."""
            task.recorder = recorder if way in (STREAMS, SNAPSHOT) else idle
            first = trainer.get_num_updates()
            middle = first + given.updates // 2 + 1
            snapshots = f"at:{middle}" if way == SNAPSHOT else "at:0"
            recorder.streams = replace(streams, snapshots=Schedule.parse(snapshots))
            times = [time.perf_counter()]
            for k in range(given.updates):
                trainer.train_step(batches[k % len(batches)])
                if way == SAVE:
                    np.save(f"{folder}/{first + k}.npy", table.detach().numpy())
                if way in (STREAMS, SNAPSHOT) and k == given.updates - 1:
                    recorder.writer.drain()
                times.append(time.perf_counter())
            for k in range(given.updates if way == SAVE else 0):
                os.remove(f"{folder}/{first + k}.npy")
            if way in (STREAMS, SNAPSHOT):
                begin = time.perf_counter()
                recorder.flush()
                commits.append(time.perf_counter() - begin)
            return [after - before for before, after in pairwise(times)]

        commits: list[float] = []
        ways = [WITHOUT, STREAMS, SNAPSHOT, SAVE]
        for way in ways:
            block(way)  # warm up
        found: dict[str, list[list[float]]] = {way: [] for way in ways}
        for number in range(given.rounds):
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                found[way].append(block(way))
            print("  ".join(f"{way} {sum(found[way][-1]) / given.updates:.3f} s" for way in ways), flush=True)
        report(found, given.updates, statistics.median(commits))
        print(f"training waited {recorder.writer.stalled:.2f} s for the writer in all")
        recorder.close()


if __name__ == "__main__":
    main()
