"""What a run must share with a dump to continue it: tables, corpus, seed, model, and what is recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .config import SCHEDULES, RecordingConfig
from .corpus import Corpus
from .tables import TableSpec
from .windows import KEYFRAMES, LOSSY

ARCHITECTURE = (
    "_name",
    "arch",
    "encoder_embed_dim",
    "encoder_layers",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
    "decoder_embed_dim",
    "decoder_layers",
    "decoder_ffn_embed_dim",
    "decoder_attention_heads",
)
ALWAYS = (
    "statistics",
    "movement",
    "traces",
    "snapshots",
    "exposure",
)  # the other schedules are named where they are given


def describe(
    specs: Sequence[TableSpec],
    traced: Sequence[npt.NDArray[np.int64]],
    corpus: Corpus,
    config: dict[str, Any],
    options: RecordingConfig,
) -> dict[str, Any]:
    """What must be the same, by words for messages.

    Args:
        specs: the tables.
        traced: int64 [T] of each table, the traced rows.
        corpus: what is trained on.
        config: the run's whole configuration as plain values.
        options: of recording.
    """
    model = {k: v for k, v in (config.get("model") or {}).items() if isinstance(v, int | float | str | bool)}
    schedules: dict[str, Any] = {name: getattr(options, f"record_{name}") for name in ALWAYS}
    for name in SCHEDULES:
        text = getattr(options, f"record_{name}")
        if name not in ALWAYS and name != "windows" and text not in ("", "none"):
            schedules[name] = text
    encoded = windows(options)
    return {
        "tables": {spec.name: [spec.rows, spec.dim, *spec.aliases] for spec in specs},
        "dictionary": corpus.dictionary_sha256,
        "training split": corpus.train_sha256,
        "seed": (config.get("common") or {}).get("seed"),
        "model": {k: model[k] for k in ARCHITECTURE if k in model},
        "schedules": schedules | ({"windows": encoded} if encoded else {}),
        "traced tokens": hashlib.sha256(b"".join(dict.fromkeys(rows.tobytes() for rows in traced))).hexdigest()[:16],
    }


def hash_of(identity: dict[str, Any]) -> str:
    """A short hash of what :func:`describe` gave."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def windows(options: RecordingConfig) -> dict[str, Any] | None:
    """How windows are encoded; ``None`` where none are recorded."""
    if options.record_windows in ("", "none"):
        return None
    encoding = options.record_window_encoding
    return {
        "schedule": options.record_windows,
        "encoding": encoding,
        "step": options.record_window_step if encoding == LOSSY else 0.0,
        "keyframes": options.record_window_keyframes or KEYFRAMES[encoding],
    }
