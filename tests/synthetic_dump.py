"""A small dump of invented training, in the format of docs/dump-format.md, written with zarr-python alone.

The tables drift as a masked LM's do: rare, zero-count and unreachable rows move along one common direction, the most
frequent rows move a little against it, and rows of one category move together. The statistics are computed by brute
force (all pairs, scipy), so that a reader of the dump can be tested against them.

>>> dump = write_synthetic_dump(tmp_path / "runs" / "base" / "adam" / "seed1" / "dump.zarr", rows=600, updates=40)
>>> dump.values.shape  # every update, also those of which the dump holds no snapshot
(41, 600, 16)
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy import stats
from zarr.codecs import BloscCodec, Crc32cCodec

MAIN_TABLE = "encoder.sentence_encoder.embed_tokens.weight"
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
CATEGORIES: dict[str, tuple[str, ...]] = {
    "colours": (" red", " green", " blue", " yellow", " black", " white"),
    "pronouns": (" he", " she", " they", " it", " we", " you"),
    "sizes": (" big", " small", " large", " tiny", " huge", " little"),
    "politics": (" liberal", " conservative"),
    "months": (" January", " February", " March", " April", " June", " July", " August", " October", " December"),
}
MOVEMENT = ("drift", "drift_group", "update_norm", "update_norm_group", "update_shared", "update_shared_group")


@dataclass(frozen=True)
class SyntheticDump:
    """What was written, as plain arrays: `values` is (updates + 1, rows, dim) for every update of the main table."""

    path: Path
    texts: list[str]
    counts: NDArray[np.int64]
    counted: NDArray[np.bool_]
    group: NDArray[np.int16]
    groups: list[dict[str, Any]]
    values: NDArray[np.float32]
    statistics: dict[str, NDArray[np.float64]]
    snapshot_updates: NDArray[np.int64]
    trace_tokens: NDArray[np.int64]


def frequency_groups(
    counts: NDArray[np.int64], special: NDArray[np.bool_], unreachable: NDArray[np.bool_], *, top: int = 50
) -> tuple[NDArray[np.int16], list[dict[str, Any]]]:
    """Groups of docs/dump-format.md: `zero`, decades (joined at the top to hold `top` rows), `unreachable`."""
    real = ~special & ~unreachable
    highest = int(counts[real].max(initial=1))
    lows = [10**power for power in range(len(str(highest)))]
    while len(lows) > 1 and int((real & (counts >= lows[-1])).sum()) < top:
        lows.pop()
    bounds: list[tuple[str, int, int | None]] = [("zero", 0, 0)]
    bounds += [(f"{low}-{high - 1}", low, high - 1) for low, high in pairwise(lows)]
    bounds.append((f"{lows[-1]}+", lows[-1], None))
    group = np.full(len(counts), -1, np.int16)
    groups: list[dict[str, Any]] = []
    for index, (name, low, high) in enumerate(bounds):
        inside = real & (counts >= low) & (counts <= (highest if high is None else high))
        group[inside] = index
        groups.append({"name": name, "min_count": low, "max_count": high, "rows": int(inside.sum()), "counted": True})
    group[unreachable] = len(groups)
    rows = int(unreachable.sum())
    groups.append({"name": "unreachable", "min_count": 0, "max_count": 0, "rows": rows, "counted": False})
    return group, groups


def vocabulary(rows: int, unreachable: int = 3) -> list[str]:
    """`rows` texts: specials, the category words among invented ones, madeupword rows, `<mask>` (fairseq's order)."""
    real = rows - len(SPECIALS) - unreachable - 1
    words = [word for category in CATEGORIES.values() for word in category]
    if real < len(words) + 4:
        raise ValueError(f"a synthetic dump needs at least {len(words) + len(SPECIALS) + unreachable + 5} rows")
    texts: list[str] = [f" word{index}" if index % 3 else f"piece{index}" for index in range(real)]
    # The category words stand among the more frequent third, spread by a fixed stride.
    stride = max(1, real // (3 * len(words)))
    for place, word in enumerate(words):
        texts[(place * stride + 2) % real] = word
    made_up = [f"madeupword{index:04d}" for index in range(unreachable)]
    return [*SPECIALS, *texts, *made_up, "<mask>"]


def brute_force_statistics(
    values: NDArray[np.floating],
    counts: NDArray[np.int64],
    counted: NDArray[np.bool_],
    group: NDArray[np.int16],
    groups: Sequence[dict[str, Any]],
    previous: NDArray[np.floating] | None = None,
    initial: NDArray[np.floating] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Every statistic of docs/dump-format.md for one table (rows, dim), from all pairs, in float64."""
    table = values.astype(np.float64)
    norms = np.linalg.norm(table, axis=1)
    live = norms > 0
    unit = np.divide(table, norms[:, None], where=live[:, None], out=np.zeros_like(table))
    cosine = unit @ unit.T
    pool = np.flatnonzero(counted & live)
    common = table[pool].mean(axis=0)
    to_common = unit @ common / np.linalg.norm(common)
    row_mean = np.full(len(table), np.nan)
    for row in np.flatnonzero(live):
        others = pool[pool != row]
        row_mean[row] = cosine[row, others].mean()

    def pairwise(rows: NDArray[np.intp]) -> float:
        block = cosine[np.ix_(rows, rows)]
        return float(block[np.triu_indices(len(rows), 1)].mean()) if len(rows) > 1 else np.nan

    def shared(change: NDArray[np.float64]) -> float:
        if not len(change):
            return np.nan
        direction, squares = change.mean(axis=0), (change**2).sum()
        length = np.linalg.norm(direction)
        return float(((change @ direction / length) ** 2).sum() / squares) if squares > 0 and length > 0 else np.nan

    members = [np.flatnonzero((group == index) & live) for index in range(len(groups))]

    def by_group(per_row: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([per_row[rows].mean() if len(rows) else np.nan for rows in members])

    seen = pool[counts[pool] > 0]
    log_seen, log_all = np.log(counts[seen]), np.log(counts[pool] + 1)
    nothing, nothing_group = np.array(np.nan), np.full(len(groups), np.nan)
    result: dict[str, Any] = {
        "mean_cosine": pairwise(pool),
        "mean_cosine_group": by_group(row_mean),
        "mean_cosine_within": np.array([pairwise(rows) for rows in members]),
        "common_cosine": to_common[pool].mean(),
        "common_cosine_group": by_group(to_common),
        "common_norm": np.linalg.norm(common),
        "norm_mean": norms[pool].mean(),
        "norm_group": by_group(norms),
        "pearson_seen": stats.pearsonr(row_mean[seen], log_seen).statistic,
        "spearman_seen": stats.spearmanr(row_mean[seen], log_seen).statistic,
        "pearson_all": stats.pearsonr(row_mean[pool], log_all).statistic,
        "spearman_all": stats.spearmanr(row_mean[pool], log_all).statistic,
        **{name: nothing_group if name.endswith("_group") else nothing for name in MOVEMENT},
    }
    if initial is not None:
        distance = np.linalg.norm(table - initial.astype(np.float64), axis=1)
        result |= {"drift": distance[pool].mean(), "drift_group": by_group(distance)}
    if previous is not None:
        change = table - previous.astype(np.float64)
        squares = (change**2).sum(axis=1)
        result["update_norm"] = np.sqrt(squares[pool].mean())
        result["update_norm_group"] = np.sqrt(by_group(squares))
        result["update_shared"] = shared(change[pool])
        result["update_shared_group"] = np.array([shared(change[rows]) for rows in members])
    return {name: np.asarray(value, np.float64) for name, value in result.items()}


def _training(
    rng: np.random.Generator, texts: Sequence[str], counts: NDArray[np.int64], dim: int, updates: int
) -> NDArray[np.float32]:
    """Values of every update, float32 (updates + 1, rows, dim)."""
    rows = len(texts)
    scale = 1 / np.sqrt(dim)
    initial = rng.normal(0, scale, (rows, dim))
    common = rng.normal(size=dim)
    common /= np.linalg.norm(common)
    rarity = 1 - np.log1p(counts) / np.log1p(counts).max()
    pull = (2.2 * rarity - 0.9) * rng.uniform(0.85, 1.15, rows)
    meaning = rng.normal(0, scale, (rows, dim)) * 0.3
    for words in CATEGORIES.values():
        direction = rng.normal(0, scale, dim)
        for word in words:
            meaning[texts.index(word)] = direction + rng.normal(0, scale, dim) * 0.3
    time = np.arange(updates + 1)[:, None, None] / max(updates, 1)
    noise = rng.normal(0, 0.04 * scale, (updates + 1, rows, dim)) * (1.1 - rarity)[:, None]
    noise[0] = 0
    values = (
        initial
        + 1.6 * (1 - np.exp(-4 * time)) * pull[:, None] * common
        + 1.5 * np.maximum(0, time - 0.1) * (1 - rarity)[:, None] * meaning
        + np.cumsum(noise, axis=0)
    )
    values[:, texts.index("<pad>")] = 0  # fairseq keeps the padding row at zero
    return values.astype(np.float32)


def write_synthetic_dump(
    path: str | Path,
    *,
    rows: int = 600,
    dim: int = 16,
    updates: int = 40,
    seed: int = 0,
    tables: Sequence[str] = (MAIN_TABLE,),
    unreachable: int = 3,
    zero_norm_rows: Sequence[int] = (),
    snapshot_every: int | None = None,
    movement_every: int = 1,
    streams: Sequence[str] = ("snapshots", "traces", "statistics"),
    snapshot_row_chunks: int = 2,
    corpus: str = "synthetic",
    format_version: int = 1,
) -> SyntheticDump:
    """Write a dump of `updates` + 1 updates (0 included) to `path`, which is replaced, and return what it holds.

    `snapshot_every` defaults to a quarter of `updates`; update 0, 1, 2, 4, ... and the last one are kept as well.
    Statistics and traces hold every update, the movement statistics every `movement_every`-th. `zero_norm_rows` are
    kept at zero throughout. Only `streams` are written. Further tables differ in their random numbers alone.
    """
    path = Path(path)
    shutil.rmtree(path, ignore_errors=True)
    texts = vocabulary(rows, unreachable)
    root = zarr.open_group(path, mode="w", zarr_format=3)
    written = [
        _write_table(
            root,
            path,
            name,
            np.random.default_rng([seed, index]),
            texts,
            dim=dim,
            updates=updates,
            unreachable=unreachable,
            zero_norm_rows=zero_norm_rows,
            snapshot_every=snapshot_every or max(1, updates // 4),
            movement_every=movement_every,
            streams=streams,
            row_chunks=snapshot_row_chunks,
        )
        for index, name in enumerate(tables)
    ]
    root.attrs.update(
        {
            "format": "embedding-dump",
            "format_version": format_version,
            "versions": {"fairseq_ext": "0.1.0", "fairseq": "0.12.3.1", "torch": "2.13.0", "numpy": np.__version__},
            "tables": list(tables),
            "config": {"optimizer": {"_name": "adam", "adam_betas": "(0.9, 0.98)", "lr": [0.0005]}},
            "recording": {"identity": f"synthetic-{seed}", "snapshots": "log2", "statistics": "every:1"},
            "corpus": {
                "name": corpus,
                "data": f"data-bin/{corpus}",
                "dictionary_sha256": f"{rows:064x}",
                "train_sha256": "0" * 64,
                "train_tokens": int(written[0].counts.sum()),
                "train_examples": 1000,
                "unigram_entropy_bits": 9.5,
            },
            "run": {
                "task": "masked_lm",
                "arch": "roberta_base",
                "seed": seed,
                "precision": "fp32",
                "threads": 1,
                "world_size": 1,
                "update_freq": 1,
            },
        }
    )
    return written[0]


def _write_table(
    root: zarr.Group,
    path: Path,
    name: str,
    rng: np.random.Generator,
    texts: list[str],
    *,
    dim: int,
    updates: int,
    unreachable: int,
    zero_norm_rows: Sequence[int],
    snapshot_every: int,
    movement_every: int,
    streams: Sequence[str],
    row_chunks: int,
) -> SyntheticDump:
    rows = len(texts)
    special = np.array([text in (*SPECIALS, "<mask>") for text in texts])
    made_up = np.array([text.startswith("madeupword") for text in texts])
    counts = np.zeros(rows, np.int64)
    real = np.flatnonzero(~special & ~made_up)
    rank = np.arange(1, len(real) + 1) * rng.uniform(0.8, 1.25, len(real))
    counts[real] = (40 * len(real) / rank**1.3).astype(np.int64)
    counts[real[-len(real) // 6 :]] = 0  # words that the training text lacks
    counts[texts.index("</s>")] = 1000
    counted = ~special & ~made_up
    group, groups = frequency_groups(counts, special, made_up)
    values = _training(rng, texts, counts, dim, updates)
    values[:, list(zero_norm_rows)] = 0

    every = np.arange(updates + 1)
    snapshot_updates = every[(every % snapshot_every == 0) | (every & (every - 1) == 0) | (every == updates)]
    words = [texts.index(word) for category in CATEGORIES.values() for word in category]
    sample = [row for index in range(len(groups)) for row in np.flatnonzero(group == index)[:5]]
    trace_tokens = np.array(sorted({*words, *map(int, sample)}), np.int64)
    per_update = [
        brute_force_statistics(
            values[update],
            counts,
            counted,
            group,
            groups,
            previous=values[update - 1] if update and update % movement_every == 0 else None,
            initial=values[0] if update % movement_every == 0 else None,
        )
        for update in (every if "statistics" in streams else [])
    ]
    statistics = {key: np.stack([entry[key] for entry in per_update]) for key in (per_update[0] if per_update else {})}

    node = root.require_group("tables").create_group(name)
    node.attrs.update({"name": name, "aliases": [], "rows": rows, "dim": dim})
    (path / "tables" / name / "tokens.json").write_text(json.dumps(texts), encoding="utf-8")
    constant = node.create_group("rows")
    constant.attrs["groups"] = groups
    row_numbers = np.arange(rows, dtype=np.int64)
    for key, array in {"row": row_numbers, "count": counts, "counted": counted, "group": group}.items():
        _array(constant, key, array, ["row"])
    if "snapshots" in streams:
        chunk = -(-rows // row_chunks)
        stream = node.create_group("snapshots")
        _array(stream, "values", values[snapshot_updates], ["update", "row", "dim"], chunks=(1, chunk, dim))
        _array(stream, "update", snapshot_updates, ["update"])
    if "traces" in streams:
        stream = node.create_group("traces")
        chunks = (min(64, updates + 1), len(trace_tokens), dim)
        _array(stream, "values", values[:, trace_tokens], ["update", "token", "dim"], chunks=chunks)
        _array(stream, "token", trace_tokens, ["token"])
        _array(stream, "update", every, ["update"])
    if "statistics" in streams:
        stream = node.create_group("statistics")
        for key, array in statistics.items():
            _array(stream, key, array, ["update", "group"][: array.ndim], chunks=(1024, *array.shape[1:]))
        _array(stream, "group", np.arange(len(groups)), ["group"])
        _array(stream, "update", every, ["update"], chunks=(1024,))
    with warnings.catch_warnings():  # zarr-python warns that consolidated metadata is not yet in the specification
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        for stream_name in ("rows", *streams):
            zarr.consolidate_metadata(root.store, path=f"tables/{name}/{stream_name}", zarr_format=3)
    return SyntheticDump(
        path, texts, counts, counted, group, groups, values, statistics, snapshot_updates, trace_tokens
    )


def _array(
    group: zarr.Group, name: str, data: NDArray[Any], dimensions: list[str], chunks: tuple[int, ...] | None = None
) -> None:
    array = group.create_array(
        name,
        shape=data.shape,
        dtype=data.dtype,
        chunks=chunks or data.shape,
        dimension_names=dimensions,
        fill_value=np.nan if data.dtype.kind == "f" else 0,
        compressors=[BloscCodec(cname="zstd", shuffle="shuffle"), Crc32cCodec()],
    )
    array[...] = data
