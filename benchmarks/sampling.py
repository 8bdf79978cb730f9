"""What does sampling cost: when a run starts, and at each batch?

A training split of invented text is written (a million lines by default). In turns, batches of masked examples are made by fairseq's own
iteration and by the plan's, the same number of tokens, and timed. For several repeats k the time until the plan's first batches are there and
the memory that the plan takes are measured. Run it with nothing else running:

    python benchmarks/sampling.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tracemalloc
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parent.parent
TOKENS = 4000


def write_corpus(folder: Path, examples: int, vocabulary: int = 2000) -> None:
    """Lines of 5 to 40 tokens."""
    import torch

    random = np.random.default_rng(1)
    dictionary = Dictionary()
    for word in range(vocabulary):
        dictionary.add_symbol(f"w{word}", n=vocabulary - word)
    dictionary.save(str(folder / "dict.txt"))
    builder = MMapIndexedDatasetBuilder(str(folder / "train.bin"), dtype=np.uint16)
    for size in random.integers(5, 40, examples):
        line = np.append(random.integers(4, 4 + vocabulary, size), dictionary.eos())
        builder.add_item(torch.from_numpy(line))
    builder.finalize(str(folder / "train.idx"))


def make_task(data: Path, updates: int, **sample: Any) -> Any:
    """The task with its training split, as fairseq-train makes it."""
    from fairseq_ext.tasks.masked_lm import EmbeddingMaskedLMConfig, EmbeddingMaskedLMTask

    options = {"data": str(data), "sample_break_mode": "eos", "tokens_per_sample": 64, "seed": 1, **sample}
    config = OmegaConf.create(
        {
            "common": {"seed": 1, "cpu": True},
            "dataset": {"train_subset": "train"},
            "distributed_training": {"distributed_world_size": 1},
            "optimization": {"max_update": updates, "update_freq": [1]},
            "task": OmegaConf.merge(OmegaConf.structured(EmbeddingMaskedLMConfig()), options),
        }
    )
    task = EmbeddingMaskedLMTask.setup_task(config.task)
    task.load_dataset("train")
    return task


def iterator(task: Any) -> Any:
    options = {"max_tokens": TOKENS, "max_positions": 64, "seed": 1, "epoch": 1, "required_batch_size_multiple": 1}
    return task.get_batch_iterator(task.dataset("train"), **options).next_epoch_itr(shuffle=True)


def seconds_a_thousand_tokens(batches: Any, number: int) -> float:
    begun, tokens = time.perf_counter(), 0
    for _ in range(number):
        tokens += next(batches)["ntokens"]
    return (time.perf_counter() - begun) / tokens * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batches", type=int, default=20, help="batches of a turn")
    options = parser.parse_args()
    utils.import_user_module(Namespace(user_dir=str(ROOT / "fairseq_ext")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder, options.examples)
        whole = options.examples * 22  # 5 to 39 tokens and an end
        print(f"{options.examples:,} examples, about {whole:,} tokens")
        for repeat in (1, 10, 100):
            tracemalloc.start()
            begun = time.perf_counter()
            updates = int(0.9 * whole * repeat) // TOKENS
            task = make_task(
                folder, updates, sample_pool="random", sample_repeat=repeat, sample_tokens_per_update=TOKENS
            )
            next(iterator(task))
            taken, peak = time.perf_counter() - begun, tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            plan = task.sampler.draws.plan
            print(
                f"k = {repeat}: first batch after {taken:.1f} s, peak {peak / 1e6:.0f} MB; {plan.design.draws:,} draws in {plan.epochs} epochs",
                flush=True,
            )
        updates = int(0.9 * whole) // TOKENS
        contenders = {
            "stock": iterator(make_task(folder, updates)),
            "sampled": iterator(make_task(folder, updates, sample_pool="random", sample_tokens_per_update=TOKENS)),
        }
        found: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(options.rounds + 1):
            for contender in sorted(contenders, reverse=bool(number % 2)):
                seconds = seconds_a_thousand_tokens(contenders[contender], options.batches)
                if number:
                    found[contender].append(seconds)
    ratios = [a / b for a, b in zip(found["sampled"], found["stock"], strict=True)]
    print(
        ", ".join(f"{name} {statistics.median(values) * 1e3:.3f} ms a 1,000 tokens" for name, values in found.items())
    )
    print(f"sampled / stock: median {statistics.median(ratios):.3f}, min {min(ratios):.3f}, max {max(ratios):.3f}")


if __name__ == "__main__":
    main()
