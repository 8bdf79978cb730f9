"""A recorder driven without fairseq's trainer: a table that is a function of the update, in this very process, into any place."""

from __future__ import annotations

import atexit
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder
from torch import nn

from fairseq_ext.recording.config import RecordingConfig
from fairseq_ext.recording.lease import Pace
from fairseq_ext.recording.location import Location
from fairseq_ext.recording.place import KeyValuePlace, Place
from fairseq_ext.recording.recorder import Recorder
from fairseq_ext.recording.sides import one_text

WORDS, DIM = 30, 6
URL = "memory://tests/runs/dump.zarr"
SCHEDULES = {"statistics": "every:1", "movement": "every:4", "traces": "every:2", "snapshots": "log2", "windows": "window:3:6", "exposure": "none"}  # fmt: skip


def make_corpus(folder: Path) -> Path:
    """A binarised split of invented text and its dictionary."""
    folder.mkdir(parents=True)
    dictionary = Dictionary()
    for number in range(WORDS):
        dictionary.add_symbol(f"w{number}")
    dictionary.save(str(folder / "dict.txt"))
    builder = MMapIndexedDatasetBuilder(str(folder / "train.bin"), dtype=np.int32)
    rng = np.random.default_rng(1)
    for _ in range(40):
        builder.add_item(torch.from_numpy(rng.integers(4, len(dictionary), 12)))
    builder.finalize(str(folder / "train.idx"))
    return folder


class Model(nn.Module):
    """One embedding table."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(rows, DIM)

    def at(self, update: int, version: int = 0) -> None:
        """Set the table to what it is at an update; another version is another training's."""
        generator = torch.Generator().manual_seed(update + 1000 * version)
        with torch.no_grad():
            self.embed_tokens.weight.copy_(torch.randn(self.embed_tokens.weight.shape, generator=generator))


@dataclass
class Training:
    """What one training leaves: checkpoints as update and state, oldest first, and the recorder where it did not end."""

    checkpoints: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def recorder(corpus: Path, place: Place | str, seed: int = 1, **options: Any) -> Iterator[Recorder]:
    """A recorder that leaves neither signal handler nor atexit behind, whatever happens."""
    before = signal.getsignal(signal.SIGTERM)
    given = {f"record_{name}": schedule for name, schedule in SCHEDULES.items()} | options
    chosen = RecordingConfig(record_dir=place if isinstance(place, str) else URL, record_trace_sample=2, **given)
    config = {"common": {"seed": seed}, "optimization": {"max_update": 12}, "checkpoint": {"save_dir": str(corpus / "none")}}  # fmt: skip
    made = Recorder(chosen, config, one_text(corpus, Dictionary.load(str(corpus / "dict.txt"))), corpus)
    if isinstance(place, Place):
        made.place = place
    try:
        yield made
    finally:
        made.close()
        atexit.unregister(made._leave)
        signal.signal(signal.SIGTERM, before)


def train(
    corpus: Path,
    place: Place | str,
    last: int = 10,
    saves: tuple[int, ...] = (4, 8),
    training: Training | None = None,
    each: Callable[[int], None] | None = None,
    version: int = 0,
    **options: Any,
) -> Training:
    """Train from the last checkpoint of ``training`` (or from update 0) to update ``last``; a checkpoint at each of ``saves``.

    ``each`` is called after each update, while the writer has nothing to do.
    """
    training = training or Training()
    update, state = training.checkpoints[-1] if training.checkpoints else (0, {})
    with recorder(corpus, place, **options) as recording:
        model = Model(len(recording.sides[0].dictionary))
        if state:
            recording.resume_from(state)
        model.at(update)
        recording.attach(model, update)
        for step in range(update + 1, last + 1):
            recording.before_step(step)
            model.at(step, version)
            recording.after_step(step)
            if step in saves:
                training.checkpoints.append((step, recording.state()))
            if each is not None:
                recording.writer.drain()
                each(step)
    return training


def memory(context: ts.Context, pace: Pace | None = None, **options: Any) -> KeyValuePlace:
    """The dump's place in what ``context`` holds; whoever claimed it before is taken for dead."""
    options = {"gone": lambda claim: True} | options
    return KeyValuePlace(Location.of_url(URL, context), pace or Pace(), **options)


def whole(context: ts.Context) -> ts.KvStore:
    """All that a memory holds."""
    return ts.KvStore.open({"driver": "memory"}, context=context).result()


def keys_of(context: ts.Context) -> dict[str, bytes]:
    """Every key with its value."""
    kv = whole(context)
    return {key.decode(): bytes(kv.read(key).result().value) for key in kv.list().result()}


def memory_of(keys: dict[str, bytes]) -> ts.Context:
    """A new memory that holds keys."""
    context = ts.Context()
    kv = whole(context)
    for key, value in keys.items():
        kv.write(key, value).result()
    return context


def dump_keys(context: ts.Context) -> dict[str, bytes]:
    """The keys below the dump's place."""
    prefix = Location.of_url(URL).spec["path"]
    return {key.removeprefix(prefix): value for key, value in keys_of(context).items() if key.startswith(prefix)}


def without_progress(keys: dict[str, bytes]) -> dict[str, Any]:
    """Keys to compare: of the root all but which checkpoint was noted last."""
    root = json.loads(keys["zarr.json"])
    root["attributes"]["progress"].pop("checkpoint_update")
    return {**keys, "zarr.json": root}
