"""What does recording cost? The same updates without recording, with it, and with a plain ``numpy.save`` of the table at each update.

One process, one model (RoBERTa, 6 layers, width 512) and one list of batches; blocks of updates run in the three ways in turn, so that each
round is a paired comparison. A block's time includes waiting until everything is written. Run it with nothing else running:

    python benchmarks/recording.py data-bin/wikipedia-sample --batch-size 8
    python benchmarks/recording.py data-bin/wikipedia-sample --batch-size 45 --updates 4
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
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
from fairseq_ext.recording.recorder import Recorder
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--updates", type=int, default=20, help="updates in a block; every block holds one snapshot")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        task, trainer, batches = build(given.data, given.batch_size, Path(folder) / "dump.zarr")
        recorder, idle = task.recorder, Recorder(RecordingConfig(), {}, task.dictionary, given.data)
        streams = recorder.streams
        table = trainer.get_model().encoder.sentence_encoder.embed_tokens.weight
        trainer.train_step(batches[0])  # attaches the recorder, records update 0
        tokens = statistics.mean(float(b[0]["ntokens"]) for b in batches)
        print(
            f"{given.rounds} rounds of {given.updates} updates, {tokens:.0f} tokens an update, {given.threads} threads"
        )

        def block(way: str, number: int) -> float:
            task.recorder = recorder if way == "recorded" else idle
            middle = trainer.get_num_updates() + 1 + given.updates // 2
            recorder.streams = replace(streams, snapshots=Schedule.parse(f"at:{middle}"))
            begin = time.perf_counter()
            for k in range(given.updates):
                trainer.train_step(batches[(number * given.updates + k) % len(batches)])
                if way == "numpy.save":
                    np.save(f"{folder}/{k % 4}.npy", table.detach().numpy())
            if way == "recorded":
                recorder.flush()
            return (time.perf_counter() - begin) / given.updates

        ways = ["without", "recorded", "numpy.save"]
        for way in ways:
            block(way, 0)  # warm up
        results: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(given.rounds):
            for way in ways[number % 3 :] + ways[: number % 3]:
                results[way].append(block(way, number))
            print("  ".join(f"{way} {results[way][-1]:.3f} s" for way in ways), flush=True)
        base = results["without"]
        for way in ways[1:]:
            cost = [100 * (t / b - 1) for t, b in zip(results[way], base, strict=True)]
            print(
                f"{way}: {statistics.median(cost):+.1f} % (min {min(cost):+.1f}, max {max(cost):+.1f}) of {statistics.median(base):.3f} s an update"
            )
        print(f"training waited {recorder.writer.stalled:.2f} s for the writer in all")
        recorder.close()


if __name__ == "__main__":
    main()
