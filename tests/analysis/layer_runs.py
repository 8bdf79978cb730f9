"""Small runs of E2 with planted trends over layers: a dump, parameters.npz, layers.npz, probes by layer, a log, run.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from repetition_runs import write_probe
from synthetic_dump import MAIN_TABLE, write_synthetic_dump

KINDS = ("ffn_key", "ffn_value", "attention_read", "attention_write")
LAYERS, DIM, VECTORS, ROWS, UPDATE = 12, 16, 18, 420, 400
CLUSTERS = 3
FALLING = tuple(np.linspace(2.0, 0.2, LAYERS))  # strength of the clusters by layer: more concentrated below
RISING = FALLING[::-1]
FLAT = (0.0,) * LAYERS


def make_run(
    runs: Path,
    arm: str = "base",
    seed: int = 1,
    *,
    strength: tuple[float, ...] = FALLING,
    models: int = 3,
    **options: Any,
) -> Path:
    """Write one run of E2 below `runs`; its folder. Options: states=True, probes=False, log=True, finished=True, loss=6.0."""
    folder = runs / "E2" / arm / f"seed{seed}"
    write_synthetic_dump(
        folder / "dump.zarr", rows=ROWS, dim=DIM, updates=8, seed=seed, corpus="tiny", streams=("snapshots",)
    )
    snapshots = zarr.open_group(folder / "dump.zarr", mode="r+")[f"tables/{MAIN_TABLE}/snapshots"]
    updates = snapshots["update"][:]
    updates[-1] = UPDATE  # as if the last snapshot were of the end of a longer run
    snapshots["update"][:] = updates
    about = {
        "experiment": "E2",
        "arm": arm,
        "seed": seed,
        "profile": "smoke",
        "finished": options.pop("finished", True),
    }
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    if options.pop("log", True):
        (folder / "log").mkdir(exist_ok=True)
        lines = [
            {"loss": "6.5", "num_updates": "400"},
            {"valid_loss": str(options.pop("loss", 6.0)), "valid_num_updates": "400"},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "log" / "train.log").write_text(text, encoding="utf-8")
    write_parameters(folder, strength, models=models, seed=seed)
    if options.pop("states", True):
        write_states(folder, layers=len(strength), models=min(models, 1), seed=seed)
    if options.pop("probes", False):
        layers = ("embedding", *(f"layer{number}" for number in range(1, len(strength) + 1)))
        for name in ("layers_probe_untrained.npz", "layers_probe.npz"):
            write_probe(folder, words=150, layers=layers, seed=len(name))
            (folder / "probe.npz").rename(folder / name)
    return folder


def clustered(rng: np.random.Generator, strength: tuple[float, ...], vectors: int = VECTORS) -> NDArray[np.float32]:
    """Vectors (layer, kind, vector, dim) of unit noise about CLUSTERS directions, each layer's as strong as given."""
    centres = rng.normal(size=(len(strength), len(KINDS), CLUSTERS, DIM))
    member = np.arange(vectors) % CLUSTERS
    noise = rng.normal(size=(len(strength), len(KINDS), vectors, DIM))
    return (noise + np.array(strength)[:, None, None, None] * centres[:, :, member]).astype(np.float32)


def write_parameters(
    folder: Path,
    strength: tuple[float, ...],
    *,
    models: int = 3,
    seed: int = 1,
    each: int = VECTORS,
    **changes: Any,
) -> None:
    """Write parameters.npz; `changes` replace arrays (None: left out), those of `about` as a dictionary."""
    rng = np.random.default_rng(seed)
    layers = len(strength)
    number = layers * len(KINDS) * each
    about = {
        "format": "embedding-parameters",
        "format_version": 1,
        "update": UPDATE,
        "kinds": KINDS,
        "layers": layers,
        "dim": DIM,
        "heads": 4,
        "ffn": 64,
        "table": MAIN_TABLE,
        "vectors_seed": 1,
        "dictionary_sha256": f"{ROWS:064x}",
        "unigram_entropy_bits": 9.5,
        **changes.pop("about", {}),
    }
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(about)),
        "vectors": clustered(rng, strength, each).reshape(number, DIM),
        "layer": np.repeat(np.arange(layers), number // layers).astype(np.int16),
        "kind": np.tile(np.repeat(np.arange(len(KINDS)), each), layers).astype(np.uint8),
        "index": np.tile(np.arange(each), layers * len(KINDS)).astype(np.int32),
        "untrained": rng.normal(size=(models, number, DIM)).astype(np.float32),
        "untrained_seed": 1001 + np.arange(models),
        **changes,
    }
    np.savez(folder / "parameters.npz", **{name: value for name, value in arrays.items() if value is not None})


def write_states(
    folder: Path, *, layers: int = LAYERS, models: int = 1, tokens: int = 300, seed: int = 1, **changes: Any
) -> None:
    """Write layers.npz: states are a token's own vector below and, layer by layer, more of their example's."""
    rng = np.random.default_rng(seed)
    row = rng.integers(10, 50, tokens)
    example = np.sort(rng.integers(0, 20, tokens)) * 3
    of_token, of_example = rng.normal(size=(50, DIM)), rng.normal(size=(60, DIM))
    weight = np.linspace(0, 0.8, layers + 1)[:, None, None]

    def states(share: float) -> NDArray[np.float16]:
        noise = rng.normal(size=(layers + 1, tokens, DIM))
        mixed = (1 - weight) * of_token[row] + share * weight * of_example[example] + 0.5 * noise
        return (mixed + 0.5).astype(np.float16)

    about = {
        "format": "embedding-layers",
        "format_version": 1,
        "update": UPDATE,
        "tokens_seed": 1,
        "loss_bits": 6.1,
        "split": "valid",
        **changes.pop("about", {}),
    }
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(about)),
        "layer_name": np.array(["embedding", *(f"layer{number}" for number in range(1, layers + 1))]),
        "states": states(1.0),
        "untrained_states": np.stack([states(0.0) for _ in range(models)])
        if models
        else np.zeros((0, layers + 1, tokens, DIM), np.float16),
        "untrained_seed": 1001 + np.arange(models),
        "row": row.astype(np.int32),
        "example": example.astype(np.int32),
        "position": np.ones(tokens, np.int16),
        **changes,
    }
    np.savez(folder / "layers.npz", **{name: value for name, value in arrays.items() if value is not None})
