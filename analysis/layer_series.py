"""Numbers by layer: one measure of one model, with intervals where there are some, and several models' taken together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claims import Estimate, combine_seeds

TRAINED, UNTRAINED, RANDOM = "trained", "untrained", "random"
PARAMETER_MEASURES = {
    "concentration": "concentration",
    "silhouette": "silhouette by layer",
    "spread": "spread",
    "coherence": "coherence",
    "entropy": "entropy",
}
LABEL_MEASURES = {
    f"{name}_{form}": f"{words}, {form}"
    for name, words in (
        ("grammatical", "grammatical categories"),
        ("semantic", "semantic categories"),
        ("pos", "parts of speech"),
    )
    for form in ("agreement", "lift")
}
STATE_MEASURES = {
    "baseline": "mean cosine of tokens",
    "self_similarity": "self-similarity",
    "intra_sentence": "intra-sentence similarity",
    "dimension": "intrinsic dimension",
    "isoscore": "IsoScore",
}
PROBE_MEASURES = {"accuracy": "probe accuracy", "selectivity": "probe selectivity"}
MEASURES = PARAMETER_MEASURES | LABEL_MEASURES | STATE_MEASURES | PROBE_MEASURES


@dataclass(frozen=True)
class Series:
    """`values`, `low`, `high` float64 (layer,): NaN where there is no number or no interval. `over`: what intervals are over."""

    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    over: str

    @property
    def has_interval(self) -> bool:
        return bool(np.isfinite(self.low).any())


# By measure, then by variant (TRAINED, UNTRAINED, RANDOM): one entry a model.
SeriesOf = Mapping[str, Mapping[str, Sequence[Series]]]


def series(estimates: Sequence[Estimate]) -> Series:
    """One number a layer with its interval."""
    ends = [estimate.interval or (math.nan, math.nan) for estimate in estimates]
    return Series(
        np.array([estimate.value for estimate in estimates], np.float64),
        np.array([low for low, _ in ends], np.float64),
        np.array([high for _, high in ends], np.float64),
        estimates[0].over,
    )


def together(found: Sequence[Series]) -> Series:
    """Several seeds of one arm: `combine_seeds` layer by layer."""

    def estimate(entry: Series, layer: int) -> Estimate:
        ends = float(entry.low[layer]), float(entry.high[layer])
        return Estimate(float(entry.values[layer]), ends if np.isfinite(ends).all() else None, entry.over)

    if len(found) == 1:
        return found[0]
    return series([combine_seeds([estimate(entry, layer) for entry in found]) for layer in range(len(found[0].values))])


def envelope(found: Sequence[Series]) -> Series:
    """Mean of several controls with the lowest and the highest of them; one alone has no band."""
    values = np.stack([entry.values for entry in found])
    if len(found) == 1:
        nothing = np.full(values.shape[1], np.nan)
        return Series(values[0], nothing, nothing, "")
    return Series(
        values.mean(axis=0), values.min(axis=0), values.max(axis=0), f"{len(found)} models, lowest to highest"
    )
