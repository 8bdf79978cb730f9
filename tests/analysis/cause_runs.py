"""Small runs of E5 with planted mechanisms: dumps of several arms, tied or not, with the streams that explain a drift.

Every table starts without a common vector and its mean row moves by the same step at each update, of which planted shares are the
rows' second moments', the summed gradients' and the decay's; so the analysis must give these shares back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import repetition_runs
import zarr
from numpy.typing import NDArray
from repetition_runs import _place_words
from scipy import stats
from synthetic_dump import MAIN_TABLE, write_synthetic_dump

from similarity import pair_lists

OUTPUT_TABLE = "encoder.lm_head.weight"
ROWS, DIM, UPDATES, EVERY = 420, 16, 120, 5
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adam": ({"_name": "fused_adam"}, {"_name": "masked_lm"}),
    "coupled": ({"_name": "coupled_adam", "embedding_tables": "", "embedding_lr_scale": 1.0}, {"_name": "masked_lm"}),
    "amsgrad": ({"_name": "embedding_amsgrad"}, {"_name": "masked_lm"}),
    "sgd": ({"_name": "embedding_sgd", "embedding_lr_scale": 300.0}, {"_name": "masked_lm"}),
    "nodecay": ({"_name": "undecayed_adam"}, {"_name": "masked_lm"}),
    "centred": ({"_name": "centered_adam"}, {"_name": "masked_lm"}),
    "cosine": ({"_name": "fused_adam"}, {"_name": "remedied_masked_lm", "cosine_regularization": 1.0}),
    "gating": ({"_name": "fused_adam"}, {"_name": "remedied_masked_lm", "gradient_gating": True}),
    "mine": ({"_name": "nag"}, {"_name": "masked_lm"}),
}


@dataclass(frozen=True)
class Arm:
    """One arm's planted numbers: `drift` of the mean row (of rows of norm about 1) on the main and on the output table.

    `parts` are shares of it (second moment, coupled; decay has the rest), `pushes` those of the roles' push; None: roles unknown.
    `loss` in bits, `meaning` how strongly similar words were put together.
    """

    rule: str
    tied: bool = True
    name: str = ""
    drift: float = 0.03
    output_drift: float = 0.03
    parts: tuple[float, float] = (0.7, 0.2)
    pushes: tuple[float, float, float] | None = (0.25, -0.15, 0.9)
    zero_sum: float = 1e-7
    r2: float = 0.86
    rank: float = 0.9
    loss: float = 9.0
    meaning: float = 0.0
    streams: tuple[str, ...] = ("snapshots", "statistics", "cause", "moments")

    @property
    def folder(self) -> str:
        return self.name or (self.rule if self.tied else f"{self.rule}-untied")


ARMS = (
    Arm("adam", drift=1.3),
    Arm("coupled", drift=0.02, loss=8.99, meaning=3.0),
    Arm("amsgrad", drift=1.0),
    Arm("sgd", drift=0.0, loss=9.01, meaning=1.5),
    Arm("nodecay", drift=1.6, parts=(0.8, 0.2)),
    Arm("centred", drift=0.0, meaning=1.0),
    Arm("cosine", drift=0.4),
    Arm("gating", drift=0.8),
    Arm("adam", False, drift=0.1, output_drift=1.5),
    Arm("coupled", False, drift=0.0, output_drift=0.0),
)


@dataclass
class Written:
    """What was planted in one table: the mean row's drift vector and the values of all updates, float32 (updates + 1, rows, dim)."""

    folder: Path
    drift: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    values: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def make_arms(runs: Path, arms: tuple[Arm, ...] = ARMS, seeds: tuple[int, ...] = (1,), **options: Any) -> None:
    for arm in arms:
        for seed in seeds:
            make_arm(runs, arm, seed, **options)


def make_arm(
    runs: Path,
    arm: Arm,
    seed: int = 1,
    *,
    updates: int = UPDATES,
    every: int = EVERY,
    evaluated: bool = True,
    finished: bool = True,
    noise: float = 0.0,
    lose_config: bool = False,
) -> Written:
    """Write one run of E5 below `runs`. `noise`: the mean row's steps vary by this share, and so do seeds."""
    folder = runs / "E5" / arm.folder / f"seed{seed}"
    tables = (MAIN_TABLE,) if arm.tied else (MAIN_TABLE, OUTPUT_TABLE)
    dump = write_synthetic_dump(
        folder / "dump.zarr", rows=ROWS, dim=DIM, updates=updates, corpus="tiny", streams=("snapshots",), tables=tables
    )
    _place_words(folder, dump.texts)
    texts = json.loads((folder / "dump.zarr" / "tables" / MAIN_TABLE / "tokens.json").read_text(encoding="utf-8"))
    root = zarr.open_group(folder / "dump.zarr", mode="r+")
    optimizer, criterion = OPTIONS[arm.rule]
    model = {"_name": "roberta_base", "untie_weights_roberta": not arm.tied}
    if not lose_config:
        root.attrs["config"] = {"optimizer": optimizer, "criterion": criterion, "model": model}
    root.attrs["run"] = {**root.attrs["run"], "seed": seed}
    written = Written(folder)
    for number, name in enumerate(tables):
        if number:
            copy = folder / "dump.zarr" / "tables" / MAIN_TABLE / "tokens.json"
            (folder / "dump.zarr" / "tables" / name / "tokens.json").write_bytes(copy.read_bytes())
            for key in ("count", "counted", "group"):  # both tables have the same rows
                root[f"tables/{name}/rows/{key}"][:] = root[f"tables/{MAIN_TABLE}/rows/{key}"][:]
            root[f"tables/{name}/rows"].attrs["groups"] = root[f"tables/{MAIN_TABLE}/rows"].attrs["groups"]
        rng = np.random.default_rng([seed, number, *arm.folder.encode()])
        length = arm.output_drift if number else arm.drift
        values, direction = _paths(rng, dump, texts, length, arm.meaning, updates, noise)
        written.values[name], written.drift[name] = values, values[-1].mean(0) - values[0].mean(0)
        _write_table(root[f"tables/{name}"], arm, dump, values, direction, rng, every)
    about = {"experiment": "E5", "arm": arm.folder, "seed": seed, "profile": "standard", "finished": finished}
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "log").mkdir()
    lines = []
    for update in range(10, updates + 1, 10):
        valid = arm.loss + 3 * np.exp(-4 * update / updates) + (0.02 * seed if noise else 0)
        lines.append({"loss": f"{valid + 0.1}", "num_updates": str(update)})
        lines.append({"valid_loss": f"{valid}", "valid_num_updates": str(update)})
    (folder / "log" / "train.log").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if evaluated:
        planted = repetition_runs.Arm(arm.folder, loss=arm.loss + (0.004 * (seed - 2) if noise else 0))
        repetition_runs.write_evaluation(folder, planted, seed, dump.counts, update=updates, sets=("held_out",))
    return written


def _paths(
    rng: np.random.Generator, dump: Any, texts: list[str], drift: float, meaning: float, updates: int, noise: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Values of every update, and the unit direction of the mean row's steps."""
    counts = dump.counts
    start = rng.normal(0, 1 / np.sqrt(DIM), (ROWS, DIM))
    row_of = {text: row for row, text in reversed(list(enumerate(texts)))}
    for listed in pair_lists().values():
        for (one, two), human in zip(listed.pairs, listed.human, strict=True):
            rows = [row_of.get(f" {word}") for word in (one, two)]
            if meaning and None not in rows:
                shared = rng.normal(0, 1 / np.sqrt(DIM), DIM) * meaning * human / 10
                start[rows] += shared
    direction = np.ones(DIM) / np.sqrt(DIM)
    rarity = 1 - np.log1p(counts) / np.log1p(counts).max()
    pull = rarity / rarity.mean()  # 1 in the mean over all rows
    start -= start[dump.counted].mean(axis=0)
    steps = np.full(updates, drift / updates)
    if noise:
        steps *= 1 + noise * rng.normal(size=updates) + 0.05 * noise * rng.normal()
    wobble = rng.normal(0, 0.02, (updates, ROWS, DIM))
    wobble -= wobble.mean(axis=1, keepdims=True)
    change = steps[:, None, None] * pull[:, None] * direction + wobble
    values = np.concatenate([start[None], start + np.cumsum(change, axis=0)])
    return values.astype(np.float32), direction


def _write_table(
    node: zarr.Group,
    arm: Arm,
    dump: Any,
    values: NDArray[np.float32],
    direction: NDArray[np.float64],
    rng: np.random.Generator,
    every: int,
) -> None:
    snapshots = node["snapshots"]
    kept = snapshots["update"][:]
    snapshots["values"][:] = values[kept]
    if "snapshots" not in arm.streams:
        del node["snapshots"]
    if "statistics" in arm.streams:
        _write_stream(node, "statistics", np.arange(len(values)), _statistics(values, dump), dump)
    if "cause" in arm.streams:
        updates = np.arange(every, len(values), every)
        _write_stream(node, "cause", updates, _cause(arm, dump, values, direction, rng, updates), dump)
    if "moments" in arm.streams:
        moment = 1e-9 * (1 + dump.counts) * np.exp(rng.normal(0, 0.3, (len(kept) - 1, len(dump.counts))))
        rest = {
            name: np.abs(rng.normal(size=moment.shape)) for name in ("first_moment_norm", "update_norm", "update_along")
        }
        _write_stream(node, "moments", kept[1:], {"second_moment": moment.astype(np.float32), **rest}, dump)


def _statistics(values: NDArray[np.float32], dump: Any) -> dict[str, NDArray[np.float64]]:
    found: dict[str, list[float]] = {name: [] for name in ("common_norm", "norm_mean", "mean_cosine", "spearman_seen")}
    pool = np.flatnonzero(dump.counted)
    seen = dump.counts[pool] > 0
    for table in values.astype(np.float64)[:, pool]:
        norms = np.linalg.norm(table, axis=1)
        unit = table / norms[:, None]
        total, n = unit.sum(0), len(pool)
        found["common_norm"].append(float(np.linalg.norm(table.mean(0))))
        found["norm_mean"].append(float(norms.mean()))
        found["mean_cosine"].append(float((total @ total - n) / (n * (n - 1))))
        found["spearman_seen"].append(stats.spearmanr(unit[seen] @ total, dump.counts[pool][seen]).statistic)
    return {name: np.array(numbers) for name, numbers in found.items()}


def _cause(
    arm: Arm,
    dump: Any,
    values: NDArray[np.float32],
    direction: NDArray[np.float64],
    rng: np.random.Generator,
    updates: NDArray[np.int64],
) -> dict[str, NDArray[np.floating]]:
    """The stream as docs/dump-format.md has it; numbers that no test plants are of a likely size."""
    change = values[updates].astype(np.float64) - values[updates - 1].astype(np.float64)
    mean = change.mean(axis=1)
    second, coupled = arm.parts
    n, groups = len(updates), len(dump.groups)
    across = rng.normal(0, 1e-4, (n, DIM))
    across -= (across @ direction)[:, None] * direction  # moves the mean, but not along the drift
    result: dict[str, NDArray[np.floating]] = {
        "update_mean": mean,
        "update_coupled": coupled * mean + across,
        "update_decay": (1 - second - coupled) * mean,
        "gradient_mean": -mean,
    }
    for role, share in zip(("input", "positive", "negative"), arm.pushes or (np.nan,) * 3, strict=True):
        result[f"push_{role}"] = 1.4 * share * mean
        result[f"gradient_{role}"] = -0.5 * share * mean
    length = rng.uniform(1, 2, n)
    result |= {
        "gradient_length": length,
        "gradient_sum": 0.02 * length,
        "head_sum": arm.zero_sum * length * rng.uniform(0.5, 1.5, n) * (1 if arm.pushes else np.nan),
        "second_moment_r2": np.clip(arm.r2 + rng.normal(0, 0.01, n), 0, 1),
        "second_moment_spearman": arm.rank + rng.normal(0, 0.01, n),
    }
    whole = np.linalg.norm(change, axis=2)
    own = np.linalg.norm(change - mean[:, None], axis=2)
    common = values[updates - 1][:, dump.counted].mean(axis=1)
    common = common / np.maximum(np.linalg.norm(common, axis=1), 1e-12)[:, None]
    along = np.einsum("urd,ud->ur", change, common)
    by_group: dict[str, NDArray[np.float64]] = {name: np.full((n, groups), np.nan) for name in _GROUPED}
    for index in range(groups):
        rows = dump.group == index
        if not rows.any():
            continue
        by_group["update_along_group"][:, index] = along[:, rows].mean(axis=1)
        by_group["update_own_group"][:, index] = np.sqrt((own[:, rows] ** 2).mean(axis=1))
        by_group["update_length_group"][:, index] = np.sqrt((whole[:, rows] ** 2).mean(axis=1))
        by_group["gradient_length_group"][:, index] = length * rows.mean()
        by_group["gradient_sum_group"][:, index] = 0.1 * length * rows.mean()
        by_group["second_moment_group"][:, index] = 1e-9 * dump.counts[rows].mean()
        for role, share in zip(("input", "positive", "negative"), arm.pushes or (np.nan,) * 3, strict=True):
            by_group[f"{role}_along_group"][:, index] = -0.1 * share * length * rows.mean()
        by_group["gradient_along_group"][:, index] = -0.1 * length * rows.mean()
    return (
        {name: numbers.astype(np.float32) for name, numbers in result.items() if numbers.ndim == 2}
        | {name: numbers for name, numbers in result.items() if numbers.ndim == 1}
        | by_group
    )


_GROUPED = (
    "gradient_sum_group",
    "gradient_length_group",
    "gradient_along_group",
    "input_along_group",
    "positive_along_group",
    "negative_along_group",
    "second_moment_group",
    "update_along_group",
    "update_own_group",
    "update_length_group",
)


def _write_stream(
    node: zarr.Group, name: str, updates: NDArray[np.int64], arrays: dict[str, NDArray[np.floating]], dump: Any
) -> None:
    """Write arrays and, last, the coordinate. The first ones are longer than it, as after a crash."""
    stream = node.require_group(name)
    for key, numbers in arrays.items():
        surplus = np.full((1, *numbers.shape[1:]), np.nan, numbers.dtype)
        stream.create_array(key, data=np.concatenate([numbers, surplus]), fill_value=np.nan)
    stream.create_array("group", data=np.arange(len(dump.groups)))
    stream.create_array("update", data=np.asarray(updates, np.int64))
