"""What a dump's attributes say of the run, its software and its tables (docs/dump-format.md)."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import fairseq
import numpy as np
import torch

from ..version import __version__
from . import store


def versions() -> dict[str, str]:
    """Versions of what wrote the dump."""
    return {
        "fairseq_ext": __version__,
        "fairseq": fairseq.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "tensorstore": metadata.version("tensorstore"),
        "python": platform.python_version(),
    }


def run(config: dict[str, Any], precision: str | None, threads: int | None) -> dict[str, Any]:
    """The attribute ``run``.

    Args:
        config: the run's whole configuration as plain values; a section that it lacks is taken as empty.
        precision: of training; ``None``: unknown.
        threads: of the process that trained; ``None``: unknown.
    """
    task, model, common, distributed, optimization = (
        config.get(name) or {} for name in ("task", "model", "common", "distributed_training", "optimization")
    )
    return {
        "task": task.get("_name"),
        "arch": model.get("_name") or model.get("arch"),
        "seed": common.get("seed"),
        "precision": precision,
        "threads": threads,
        "world_size": distributed.get("distributed_world_size"),
        "update_freq": optimization.get("update_freq"),
    }


def root(
    tables: Sequence[str],
    run: dict[str, Any],
    corpus: dict[str, Any],
    recording: dict[str, Any],
    sampling: dict[str, Any] | None,
    first_update: int,
    config: dict[str, Any],
) -> dict[str, Any]:
    """The root's attributes of a dump without a checkpoint yet; its tables' names in order, the main one first."""
    return {
        "format": store.FORMAT,
        "format_version": store.FORMAT_VERSION,
        "versions": versions(),
        "tables": list(tables),
        "run": run,
        "corpus": corpus,
        "recording": recording,
        "sampling": sampling,
        "progress": {"first_update": first_update, "checkpoint_update": 0},
        "config": config,
    }


def table(name: str, aliases: Sequence[str], side: str, rows: int, dim: int) -> dict[str, Any]:
    """The attributes of a table's group."""
    return {"name": name, "aliases": list(aliases), "side": side, "rows": rows, "dim": dim}
