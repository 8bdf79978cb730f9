"""Small dumps in every respect like those of a run, written by the recorder's own parts without a training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import Dictionary
from running import ROOT, Finished

from fairseq_ext.recording import attributes, store
from fairseq_ext.recording.exposure import Counters, masked_lm_counters, translation_counters
from fairseq_ext.recording.rows import Rows, describe
from fairseq_ext.recording.statistics import BY_GROUP, CHEAP, CORRELATIONS, MOVEMENT

TABLE = "encoder.embed_tokens.weight"
OTHER = "decoder.embed_tokens.weight"
SNAPSHOTS = f"tables/{TABLE}/snapshots"
TRACES = f"tables/{TABLE}/traces"
STATISTICS = f"tables/{TABLE}/statistics"
LISTED = {"snapshots": [0, 1, 2, 4, 8, 10, 16, 20], "traces": list(range(0, 21, 2)), "statistics": list(range(21)), "exposure": [0, 1, 10, 20]}  # fmt: skip
ROWS, DIM, EXAMPLES = 60, 12, 30
TRACES_CHUNK = 10  # updates


def rows_of(seed: int, pairs: bool) -> Rows:
    dictionary = Dictionary()
    for number in range(ROWS - 6):
        dictionary.add_symbol(f"w{number}")
    dictionary.add_symbol("madeupword0000")
    dictionary.add_symbol("madeupword0001")
    rng = np.random.default_rng(seed)
    sides = {side: rng.integers(0, 40, ROWS).astype(np.int64) for side in ("source", "target")}
    counts = sides["source"] + sides["target"] if pairs else sides["source"]
    counts[5:9] = 0
    if pairs:
        for side in sides.values():
            side[5:9] = 0
    return describe(dictionary, counts, None, sides if pairs else None)


def write_dump(path: Path, *, pairs: bool = False, listed: dict[str, list[int]] | None = None, seed: int = 7) -> Path:
    """A dump of one table, or of a translation's two; snapshots in two chunks of rows each.

    Returns ``path``.
    """
    listed = {**LISTED, **(listed or {})}
    names = [TABLE, OTHER] if pairs else [TABLE]
    path.mkdir(parents=True)
    target = store.Store(path)
    recording = {"identity": "0123", "must_match": {}, "options": {}}
    corpus = {"name": "invented", "train_examples": EXAMPLES}
    about = attributes.root(names, attributes.run({}, "fp32", 1), corpus, recording, None, 0, {"checkpoint": {}})
    target.root = store.group_metadata(about)
    target.write_json("tables/zarr.json", store.group_metadata())
    counters = translation_counters(ROWS, ROWS) if pairs else masked_lm_counters(ROWS)
    counters = (*counters, Counters("examples", "example", ("drawn",), EXAMPLES))
    rng = np.random.default_rng(seed)
    traced = np.array([4, 9, 30], dtype=np.int64)
    rows = rows_of(seed, pairs)
    statistics = CHEAP + CORRELATIONS + MOVEMENT
    largest, store.LARGEST_CHUNK = store.LARGEST_CHUNK, ROWS * DIM * 2
    waiting, store.OPEN_TRACES = store.OPEN_TRACES, ROWS * DIM * 2
    try:
        for name in names:
            described = attributes.table(name, [], "both" if pairs else "text", ROWS, DIM)
            streams = {"snapshots": ("values",), "traces": ("values",), "statistics": statistics}
            store.create_table(target, name, described, rows, DIM, streams, traced)
    finally:
        store.LARGEST_CHUNK, store.OPEN_TRACES = largest, waiting
    store.create_exposure(target, counters)
    target.consolidate()
    for name in names:
        stream = store.Stream(target, f"tables/{name}/snapshots", 1)
        for update in listed["snapshots"]:
            stream.append(update, {"values": rng.normal(size=(ROWS, DIM)).astype(np.float32)})
        stream = store.Stream(target, f"tables/{name}/traces", TRACES_CHUNK)
        for update in listed["traces"]:
            stream.append(update, {"values": rng.normal(size=(3, DIM)).astype(np.float32)})
        stream.commit()
        stream = store.Stream(target, f"tables/{name}/statistics", store.STATISTICS_CHUNK)
        for update in listed["statistics"]:
            stream.append(update, _statistics(rng, update, len(rows.groups)))
        stream.commit()
    for entry in counters:
        stream = store.Stream(target, f"exposure/{entry.stream}", 1)
        counts = {kind: np.zeros(entry.size, np.uint32) for kind in entry.kinds}
        for update in listed["exposure"]:
            stream.append(update, {kind: values.copy() for kind, values in counts.items()})
            for values in counts.values():
                values += rng.integers(1, 9, entry.size).astype(np.uint32)
    return path


def _statistics(rng: np.random.Generator, update: int, groups: int) -> dict[str, np.ndarray]:
    """Movement and correlations at every fifth update, as a run computes them."""
    names = CHEAP + (CORRELATIONS + MOVEMENT if update % 5 == 0 else ())
    values = {n: np.asarray(rng.normal(size=groups if n in BY_GROUP else ())) for n in names}
    for name in values:
        if name.startswith("update_") and update == 0:
            values[name] = np.full_like(values[name], np.nan)
    return values


def contents_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def command(*arguments: object, **environment: str) -> list[str]:
    """The words of ``python -m fairseq_ext.recording``."""
    return [sys.executable, "-m", "fairseq_ext.recording", *map(str, arguments)]


def run_command(*arguments: object, **environment: str) -> Finished:
    """Run ``python -m fairseq_ext.recording``."""
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, env=dict(os.environ, **environment)
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def said_by(capsys: Any, main: Any, words: Sequence[object]) -> tuple[int, str]:
    """Exit status and standard output of the command, called here."""
    status = 0
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    return status, capsys.readouterr().out
