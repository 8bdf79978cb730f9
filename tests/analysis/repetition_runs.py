"""Small runs of E3 with planted effects: a dump with design and exposure, a log, run.json and evaluation.npz."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from synthetic_dump import MAIN_TABLE, write_synthetic_dump

from similarity import pair_lists

SETS = ["held_out", "seen", "unseen"]
UPDATES = 2000  # of the design, the log and the evaluation; the dump's tables are of fewer
TOKENS_PER_UPDATE = 500
TOKENS = UPDATES * TOKENS_PER_UPDATE
ROWS = 420
LAST = 8  # the dump's last snapshot


@dataclass(frozen=True)
class Arm:
    """One arm's design and its planted effects: `loss` in bits, recovered shares of unseen text and in seen text by draws."""

    name: str
    pool: str = "random"
    repeat: int = 1
    fraction: float = 0.0
    loss: float = 6.0
    unseen: float = 0.10
    seen: float = 0.10
    order: str = "spread"
    masks: str = "fresh"


def learning_curve(tokens: NDArray[np.float64] | float) -> NDArray[np.float64] | float:
    """The all-distinct arm's planted validation loss (bits) after so many tokens: 6.0 at the end."""
    return 5.0 + (TOKENS / np.asarray(tokens)) ** 0.5


def make_arm(runs: Path, arm: Arm, seed: int = 1, **options: Any) -> Path:
    """Write one run of E3 below `runs`; its folder. Options: those of `write_evaluation`, and evaluated=False, log=False,
    finished=True, entropy=9.5, exposure=(rows,) counts."""
    folder = runs / "E3" / arm.name / f"seed{seed}"
    dump = write_synthetic_dump(
        folder / "dump.zarr", rows=ROWS, dim=12, updates=LAST, corpus="tiny", streams=("snapshots",)
    )  # one corpus, so one vector of counts, for all arms and seeds
    _place_words(folder, dump.texts)
    root = zarr.open_group(folder / "dump.zarr", mode="r+")
    _move_rows(root, seed)
    design = {"pool": arm.pool, "repeat": arm.repeat, "fraction": arm.fraction, "order": arm.order, "masks": arm.masks}
    unique = int(TOKENS * (arm.fraction / arm.repeat + 1 - arm.fraction)) if arm.fraction else TOKENS // arm.repeat
    root.attrs["config"] = {"task": {f"sample_{name}": value for name, value in design.items()}}
    root.attrs["sampling"] = {
        **design,
        "pool_examples": unique // 20,
        "pool_tokens": unique,
        "repeated_examples": unique // 20,
        "repeated_tokens": TOKENS // arm.repeat,
        "tokens_per_update": TOKENS_PER_UPDATE,
        "updates": UPDATES,
        "tokens": TOKENS,
    }
    root.attrs["corpus"] = {**root.attrs["corpus"], "unigram_entropy_bits": options.pop("entropy", 9.5)}
    root.attrs["run"] = {**root.attrs["run"], "seed": seed}
    counts = options.pop("exposure", None)
    write_exposure(folder / "dump.zarr", dump.counts * 10 if counts is None else counts)
    about = {"experiment": "E3", "arm": arm.name, "seed": seed, "profile": "smoke"}
    (folder / "run.json").write_text(json.dumps({**about, "finished": options.pop("finished", True)}), encoding="utf-8")
    if options.pop("log", True):
        write_log(folder, arm)
    if options.pop("evaluated", True):
        write_evaluation(folder, arm, seed, dump.counts, **options)
    return folder


def write_log(folder: Path, arm: Arm) -> None:
    """Twenty validations on the planted curve, shifted so that they end at the arm's loss."""
    (folder / "log").mkdir(exist_ok=True)
    lines = []
    for update in range(100, UPDATES + 1, 100):
        valid = float(learning_curve(update * TOKENS_PER_UPDATE)) + arm.loss - 6.0
        lines.append({"loss": f"{valid - 0.3 * arm.repeat / 16 * update / UPDATES}", "num_updates": str(update)})
        lines.append({"valid_loss": f"{valid}", "valid_num_updates": str(update)})
    (folder / "log" / "train.log").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_exposure(path: Path, total: NDArray[np.int64]) -> None:
    """Counters at half of training and at the last update, split between the three ways of use; 40 examples."""
    exposure = zarr.open_group(path, mode="r+").require_group("exposure")
    target, replacement = total * 15 // 100, total // 100
    counts = {"visible": total - target - replacement, "target": target, "replacement": replacement}
    stream = exposure.create_group("tokens")
    for name, values in counts.items():
        both = np.stack([values // 2, values]).astype(np.uint32)
        stream.create_array(name, data=both, chunks=(1, 128))
    stream.create_array("update", data=np.array([LAST // 2, LAST]))
    stream = exposure.create_group("examples")
    stream.create_array("drawn", data=np.stack([np.arange(40), 2 * np.arange(40)]).astype(np.uint32))
    stream.create_array("update", data=np.array([LAST // 2, LAST]))


def write_evaluation(
    folder: Path,
    arm: Arm,
    seed: int,
    counts: NDArray[np.int64],
    *,
    examples: int = 150,
    noise: float = 0.02,
    mask_seed: int = 1,
    update: int = UPDATES,
    sets: tuple[str, ...] = tuple(SETS),
) -> None:
    """Write evaluation.npz: held-out positions are the same for all arms of a seed, with the same noise but for `noise` bits."""
    columns: dict[str, list[NDArray]] = {name: [] for name in ("set", "example", "repeat", "target", "loss", "correct")}
    listed: dict[str, list[NDArray]] = {name: [] for name in ("set", "index", "drawn", "tokens")}
    own = np.random.default_rng([seed, *arm.name.encode()])
    for part, name in enumerate(SETS):
        if name not in sets:
            continue
        rng = np.random.default_rng([seed, part])
        positions = rng.integers(3, 9, examples)
        example = np.repeat(np.arange(examples) * 3, positions)
        of_example = np.repeat(rng.normal(0, 0.6, examples), positions)
        target = rng.choice(len(counts), len(example), p=counts / counts.sum())
        drawn = np.full(examples, arm.repeat)
        if arm.fraction:
            drawn[::2] = 1
        shared = rng.normal(0, 1.0, len(example)) + of_example
        shared -= shared.mean()
        wobble = own.normal(0, noise, len(example)) if noise else np.zeros(len(example))
        share = arm.seen if name == "seen" else arm.unseen
        gap = 2 * (arm.seen - arm.unseen) if name == "seen" else 0
        again = np.repeat(drawn, positions) > 1
        chance = np.where(again, share, arm.unseen)
        columns["set"].append(np.full(len(example), part, np.uint8))
        columns["example"].append(example.astype(np.int32))
        columns["repeat"].append(np.zeros(len(example), np.uint8))
        columns["target"].append(target.astype(np.int32))
        columns["loss"].append(arm.loss - gap * again + shared + wobble - wobble.mean())
        columns["correct"].append(own.random(len(example)) < chance)
        listed["set"].append(np.full(examples, part, np.uint8))
        listed["index"].append((np.arange(examples) * 3).astype(np.int32))
        listed["drawn"].append((drawn if name == "seen" else np.zeros(examples)).astype(np.int32))
        listed["tokens"].append(positions.astype(np.int32) * 6)
    about = {
        "format": "embedding-evaluation",
        "format_version": 1,
        "checkpoint": "checkpoint_last.pt",
        "update": update,
        "arm": arm.name,
        "seed": seed,
        "mask_seed": mask_seed,
        "mask_prob": 0.15,
        "masks": 1,
        "train_sha256": "0" * 64,
        "valid_sha256": "1" * 64,
        "unigram_entropy_bits": 9.5,
        "sets": SETS,
    }
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    arrays["loss"] = arrays["loss"].astype(np.float32)
    arrays |= {f"examples_{name}": np.concatenate(parts) for name, parts in listed.items()}
    np.savez(folder / "evaluation.npz", about=np.array(json.dumps(about)), **arrays)


def write_probe(
    folder: Path, *, words: int = 600, seed: int = 0, layers: tuple[str, ...] = ("embedding", "layer3")
) -> None:
    """Write probe.npz: the last layer tells the tag plainly, the first not at all."""
    rng = np.random.default_rng(seed)
    word_type = rng.integers(0, 60, words)
    tag = (word_type % 3).astype(np.int16)
    features = rng.normal(size=(len(layers), words, 10)).astype(np.float16)
    features[-1, np.arange(words), tag] += 4
    split = (np.arange(words) % 3 == 0).astype(np.uint8)
    arrays = {"tag": tag, "split": split, "word_type": word_type.astype(np.int32), "features": features}
    np.savez(
        folder / "probe.npz",
        layer=np.array(layers),
        tags=np.array(["ADJ", "NOUN", "VERB"]),
        about=np.array("{}"),
        **arrays,
    )


def _move_rows(root: zarr.Group, seed: int) -> None:
    """Give each seed a table of its own; rows of zeros (padding) stay."""
    values = root[f"tables/{MAIN_TABLE}/snapshots/values"]
    before = values[:]
    noise = np.random.default_rng(seed).normal(0, 0.3 * before.std(), before.shape[1:])
    values[:] = np.where(before == 0, before, before + noise).astype(before.dtype)


def _place_words(folder: Path, texts: list[str]) -> None:
    """Put words of the similarity lists in place of invented ones, every second of the rows."""
    texts = list(texts)
    free = [row for row, text in enumerate(texts) if text.startswith((" word", "piece"))][::2]
    known = set(texts)
    words = [word for word in _similarity_words() if f" {word}" not in known]
    for row, word in zip(free, words, strict=False):
        texts[row] = f" {word}"
    (folder / "dump.zarr" / "tables" / MAIN_TABLE / "tokens.json").write_text(json.dumps(texts), encoding="utf-8")


@cache
def _similarity_words() -> tuple[str, ...]:
    """Words of pairs of both lists in turn."""
    pairs = [pair for both in zip(*(entry.pairs for entry in pair_lists().values()), strict=False) for pair in both]
    return tuple(dict.fromkeys(word for pair in pairs for word in pair))


DISTINCT = Arm("all-distinct")
REPEATED = Arm("repeated", repeat=16, loss=6.3, seen=0.30)
DIVERSE = Arm("diverse", "diverse", repeat=16, loss=6.24, seen=0.28)
NARROW = Arm("narrow", "narrow", repeat=16, loss=6.6, seen=0.35)
FRACTION = Arm("fraction", repeat=64, fraction=0.3, loss=6.1, seen=0.5)
