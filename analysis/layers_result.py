"""What is known of E2: its runs by arm, and the trend of every measure over the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from claims import Claim, Estimate, combine_seeds
from layer_series import MEASURES, RANDOM, TRAINED, UNTRAINED, Series
from layer_trends import beyond, rise
from layers_run import LayersRun

SHUFFLED = "shuffled"


@dataclass(frozen=True)
class TrendRow:
    """The `rise` of one measure from the first layer to the last; None: not had. `difference`: trained minus untrained."""

    measure: str
    trained: Estimate
    untrained: Estimate | None
    difference: Estimate | None
    shuffled: Estimate | None
    random: Estimate | None


@dataclass
class LayersResult:
    """E2: runs by arm, ordered by seed. `main` is the arm that decides, `shuffled` the one trained on shuffled text (None: no such)."""

    arms: dict[str, list[LayersRun]] = field(default_factory=dict)
    main: str | None = None
    shuffled: str | None = None
    trends: list[TrendRow] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def runs(self, arm: str | None) -> list[LayersRun]:
        return self.arms.get(arm or "", [])

    @property
    def first(self) -> LayersRun | None:
        """The main arm's first run whose parameters were measured, else its first run."""
        runs = self.runs(self.main)
        return next((entry for entry in runs if entry.parameters is not None), runs[0] if runs else None)

    @property
    def signatures(self) -> list[str]:
        return [entry.signature for runs in self.arms.values() for entry in runs]

    def series(self, measure: str, variant: str) -> list[Series]:
        """Of one measure: the models of a variant of the main arm, or for SHUFFLED the trained models of that arm."""
        runs, own = (self.runs(self.shuffled), TRAINED) if variant == SHUFFLED else (self.runs(self.main), variant)
        return [entry for run in runs for entry in run.series.get(measure, {}).get(own, [])]


def trends(result: LayersResult) -> list[TrendRow]:
    """A row for each measure that the main arm has."""
    rows = []
    for measure in MEASURES:
        pairs = [run.series[measure] for run in result.runs(result.main) if measure in run.series]
        differences = [
            beyond(rise, trained.values, values(found[UNTRAINED])).estimate
            for found in pairs
            if found.get(UNTRAINED)
            for trained in found.get(TRAINED, [])
        ]
        own = {variant: _rise(result, measure, variant) for variant in (TRAINED, UNTRAINED, SHUFFLED, RANDOM)}
        if own[TRAINED] is not None:
            difference = combine_seeds(differences) if differences else None
            rows.append(TrendRow(measure, own[TRAINED], own[UNTRAINED], difference, own[SHUFFLED], own[RANDOM]))
    return rows


def values(found: Sequence[Series]) -> list[NDArray[np.float64]]:
    """The numbers alone."""
    return [entry.values for entry in found]


def _rise(result: LayersResult, measure: str, variant: str) -> Estimate | None:
    found = result.series(measure, variant)
    return combine_seeds([rise(entry.values).estimate for entry in found]) if found else None
