"""The experiments that run_all.sh knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import base, cause, layers, repetition, sharing
from .stages import Context, Stage


@dataclass(frozen=True)
class Experiment:
    """`stages` makes its stages after set-up and corpus; None while the experiment is not built yet. `text`: it trains on the masked LM's corpus."""

    id: str
    title: str
    stages: Callable[[Context], list[Stage]] | None = None
    text: bool = True


EXPERIMENTS: dict[str, Experiment] = {
    experiment.id: experiment
    for experiment in (
        Experiment("E1", "base: geometry of the embedding table over updates (C1, C2, C4, C7)", base.stages),
        Experiment("E2", "layers: parameters in the embedding space, hidden states by layer (C5)", layers.stages),
        Experiment("E3", "repetition and diversity, at equal updates and tokens (C3)", repetition.stages),
        Experiment("E4", "shared embeddings in translation: parameters, speed, BLEU (C6)", sharing.stages, text=False),
        Experiment("E5", "the cause of the drift: rules and remedies for the embedding table (D)", cause.stages),
    )
}
