"""What does recording cost? The same updates without recording, with it, and with the plain alternatives: a file of the table at each update.

One process, one model (RoBERTa, 6 layers, width 512, 50,265 rows); blocks of the same batches run in all ways in turn, so that each round is a
paired comparison. A block's time includes waiting until everything is written. Beside the median over rounds stands the cost of the
fastest times: for each update of the block the least over the rounds, which is what the machine can do when nothing disturbs it.

Ours are synced to disk, checked by sums and can be resumed; the alternatives write into the kernel's cache. What is read back, and how
large windows of a real run are: benchmarks/recording_run.py. Run it with nothing else running:

    python benchmarks/recording.py data-bin/wikipedia-sample --tokens 1000
    python benchmarks/recording.py data-bin/wikipedia-sample --tokens 700 --ways without,streams
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import options as fairseq_options
from fairseq import tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer
from safetensors.numpy import save_file
from training import COMMON, OURS

from fairseq_ext.recording.config import RecordingConfig
from fairseq_ext.recording.recorder import Recorder
from fairseq_ext.tasks import masked_lm  # noqa: F401  (registers the task)

NOTHING = {
    f"record_{name}": "none" for name in ("statistics", "movement", "traces", "snapshots", "exposure", "windows")
}
RECORDED: dict[str, dict[str, Any]] = {
    "statistics and traces (defaults)": NOTHING | {"record_statistics": "every:1", "record_movement": "every:10", "record_traces": "log2,every:10", "record_snapshots": "at:0"},
    "every table, snapshots": NOTHING | {"record_snapshots": "every:1"},
    "every table, lossless windows": NOTHING | {"record_windows": "every:1"},
    "every table, lossy windows": NOTHING | {"record_windows": "every:1", "record_window_encoding": "lossy"},
}  # fmt: skip
SHORT = {"streams": "statistics and traces (defaults)", "snapshots": "every table, snapshots", "lossless": "every table, lossless windows", "lossy": "every table, lossy windows"}  # fmt: skip
WITHOUT = "without"
PLAIN = ("numpy.save", "torch.save", "safetensors", "HDF5")


def build(data: str, batch_size: int, threads: int) -> tuple[Any, Trainer, list[Any], dict[str, Any]]:
    """The task, a trainer, its batches and its configuration, as ``fairseq-train`` builds them."""
    ours = [o for o in OURS if o != "--record-overwrite"]
    parser = fairseq_options.get_training_parser()
    arguments = [data, *COMMON, *ours, "--batch-size", str(batch_size), "--max-update", "100000"]
    config = convert_namespace_to_omegaconf(fairseq_options.parse_args_and_arch(parser, arguments))
    torch.manual_seed(1)
    torch.set_num_threads(threads)
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
    # Blocks are deleted as soon as they are timed, so the space of a run of so many updates is not asked for.
    length = {**task.recorder.config["optimization"], "max_update": 0}
    return task, trainer, batches, {**task.recorder.config, "optimization": length}


def plain_writer(way: str, folder: Path) -> tuple[Callable[[int, np.ndarray], None], Callable[[], None]] | None:
    """How an alternative writes a table, and how it ends a block; ``None`` where its package is missing."""
    if way == "HDF5":
        try:
            import h5py
        except ImportError:
            return None
        state: dict[str, Any] = {}

        def write(update: int, table: np.ndarray) -> None:
            if "file" not in state:
                state["file"] = h5py.File(folder / "tables.h5", "w")
                shape = (0, *table.shape)
                state["set"] = state["file"].create_dataset(
                    "values", shape, "f4", maxshape=(None, *table.shape), chunks=(1, 7181, table.shape[1])
                )
            state["set"].resize(len(state["set"]) + 1, axis=0)
            state["set"][-1] = table

        def close() -> None:
            state.pop("file").close()
            state.clear()

        return write, close
    savers: dict[str, Callable[[int, np.ndarray], None]] = {
        "numpy.save": lambda update, table: np.save(folder / f"{update}.npy", table),
        "torch.save": lambda update, table: torch.save(torch.from_numpy(table), folder / f"{update}.pt"),
        "safetensors": lambda update, table: save_file({"table": table}, folder / f"{update}.safetensors"),
    }
    return savers[way], lambda: None


def projector_seconds(table: np.ndarray, folder: Path) -> float:
    """Seconds that TensorBoard's projector takes for one table: it writes text."""
    from torch.utils.tensorboard import SummaryWriter

    start = time.perf_counter()
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(torch.from_numpy(table), global_step=1)
    return time.perf_counter() - start


def report(found: dict[str, list[list[float]]], written: dict[str, float], raw: float) -> None:
    """Print the cost of each way beside going without, as a table in Markdown."""
    base = [sum(block) for block in found[WITHOUT]]
    fastest = {way: sum(min(times) for times in zip(*blocks, strict=True)) for way, blocks in found.items()}
    updates = len(found[WITHOUT][0])
    print(f"\nan update without recording: {statistics.median(base) / updates:.3f} s, of the fastest times {fastest[WITHOUT] / updates:.3f} s\n")  # fmt: skip
    print("| way | slow-down, median of rounds | least to most | of the fastest times | bytes an update / raw |")
    print("|---|---|---|---|---|")
    for way in found:
        if way != WITHOUT:
            cost = [100 * (sum(block) / b - 1) for block, b in zip(found[way], base, strict=True)]
            share = f"{written[way] / raw:.3f}" if way in written else "–"
            print(
                f"| {way} | {statistics.median(cost):+.1f} % | {min(cost):+.1f} to {max(cost):+.1f} % | "
                f"{100 * (fastest[way] / fastest[WITHOUT] - 1):+.1f} % | {share} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--tokens", type=int, default=1000, help="an update, about (default 1,000)")
    parser.add_argument(
        "--updates", type=int, default=20, help="in a block; a multiple of 10, the interval of the costlier statistics"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--ways", default="without,streams,snapshots,lossless,lossy,plain,projector")
    parser.add_argument("--folder", type=Path, help="where everything is written for a while (default: a temporary folder)")  # fmt: skip
    given = parser.parse_args()
    if given.updates < 10 or given.updates % 10:
        parser.error(f"--updates: expected a multiple of 10, found {given.updates}")
    chosen = given.ways.split(",")
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        measure(given, chosen, Path(place))


def measure(given: argparse.Namespace, chosen: list[str], folder: Path) -> None:
    """Run all rounds and print what they took."""
    _, _, probe, _ = build(given.data, 8, given.threads)
    mean = statistics.mean(float(b[0]["ntokens"]) for b in probe)
    task, trainer, batches, config = build(given.data, max(1, round(8 * given.tokens / mean)), given.threads)
    table = trainer.get_model().encoder.sentence_encoder.embed_tokens.weight
    raw = 4.0 * table.numel()
    idle = Recorder(RecordingConfig(), {}, task.recorder.sides, task.recorder.data)
    task.recorder = idle
    for batch in batches[:5]:
        trainer.train_step(batch)
    recorders = {}
    for short, way in SHORT.items():
        if short in chosen:
            options = RecordingConfig(record_dir=str(folder / short / "dump.zarr"), **RECORDED[way])
            recorders[way] = Recorder(options, config, task.recorder.sides, task.recorder.data)
            recorders[way].attach(trainer.get_model(), trainer.get_num_updates())
            recorders[way].writer.drain()
    plain = {}
    for way in PLAIN if "plain" in chosen else ():
        (folder / way).mkdir()
        if (writer := plain_writer(way, folder / way)) is None:
            print(f"{way}: its package is not installed, left out")
        else:
            plain[way] = writer
    tokens = statistics.mean(float(b[0]["ntokens"]) for b in batches[: given.updates])
    print(f"{given.rounds} rounds of {given.updates} updates, {tokens:.0f} tokens an update, {given.threads} threads, {torch.__version__}")  # fmt: skip
    sizes: dict[str, list[float]] = {}

    def block(way: str) -> list[float]:
        """Seconds of each update; the last one's hold the waiting for what is still to be written."""
        recorder = recorders.get(way)
        task.recorder = recorder or idle
        if recorder is not None:
            recorder.last_recorded = trainer.get_num_updates()
        times = [time.perf_counter()]
        for k in range(given.updates):
            trainer.train_step(batches[k % len(batches)])
            if way in plain:
                plain[way][0](k, table.detach().numpy())
                if k == given.updates - 1:
                    plain[way][1]()
            if recorder is not None and k == given.updates - 1:
                recorder.flush()
            times.append(time.perf_counter())
        for file in (folder / way).glob("*") if way in plain else ():
            file.unlink()
        taken = 0
        for chunk in folder.glob("*/dump.zarr/tables/*/*/*/c"):  # room for the next block; nothing of it is read here
            if chunk.parent.name in ("values", "residual"):
                taken += sum(file.stat().st_size for file in chunk.rglob("*") if file.is_file())
                shutil.rmtree(chunk)
        if recorder is not None:
            sizes.setdefault(way, []).append(taken / given.updates)
        return [after - begun for begun, after in pairwise(times)]

    ways = [WITHOUT, *recorders, *plain]
    for way in ways:
        block(way)  # warm up
    sizes.clear()
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    for number in range(given.rounds):
        turn = number % len(ways)
        for way in ways[turn:] + ways[:turn]:
            found[way].append(block(way))
        print("  ".join(f"{way} {sum(found[way][-1]) / given.updates:.3f} s" for way in ways), flush=True)
    report(found, {way: statistics.mean(values) for way, values in sizes.items()}, raw)
    if "projector" in chosen:
        seconds = projector_seconds(table.detach().numpy(), folder / "projector")
        base = statistics.median(sum(b) for b in found[WITHOUT]) / given.updates
        print(f"| TensorBoard's projector (one table, {seconds:.1f} s) | {100 * seconds / base:+.0f} % | – | – | – |")
    for way, recorder in recorders.items():
        print(f"{way}: training waited {recorder.writer.stalled:.2f} s in all")
        recorder.close()


if __name__ == "__main__":
    main()
