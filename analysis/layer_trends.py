"""Trends over a model's layers, and what is left of them when the untrained models' are taken off.

Two statistics of numbers x_0 ... x_(L-1), one a layer:

- rise: slope of ordinary least squares against the layer's number, times L - 1: the change along the line from the first layer to
  the last. Student's t with L - 2 degrees of freedom. Layers are taken as independent, as a line with scatter about it says.
- step: mean of the lower layers minus mean of the higher; Welch's interval.

`beyond` gives the statistic of x minus the untrained models' mean. Its variance is that over layers plus s^2 (1 + 1/S), s^2 being the
variance of the S untrained models' own statistics: the trained model began as one more draw of them (1) and is compared
with a mean of S (1/S). Degrees of freedom of the sum after Welch and Satterthwaite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from claims import LEVEL, Estimate

LEAST_LAYERS = 4
OVER = "layers"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trend:
    """A statistic with its variance and degrees of freedom; NaN where there are too few layers."""

    value: float
    variance: float
    freedom: float

    @property
    def estimate(self) -> Estimate:
        """The value with its interval over layers."""
        if not all(map(math.isfinite, (self.value, self.variance, self.freedom))) or self.freedom <= 0:
            return Estimate(self.value, None, OVER)
        half = float(stats.t.ppf((1 + LEVEL) / 2, self.freedom)) * math.sqrt(self.variance)
        return Estimate(self.value, (self.value - half, self.value + half), OVER)


NONE = Trend(math.nan, math.nan, math.nan)


def rise(values: Floats) -> Trend:
    """Change along the fitted line from the first layer to the last, of (L,); NaN entries take no part in the fit."""
    layer = np.flatnonzero(np.isfinite(values)).astype(np.float64)
    known = values[np.isfinite(values)]
    n = len(known)
    if n < LEAST_LAYERS:
        return NONE
    away = layer - layer.mean()
    slope = float(away @ known / (away @ away))
    rest = known - known.mean() - slope * away
    length = len(values) - 1
    return Trend(slope * length, float(rest @ rest / (n - 2) / (away @ away)) * length**2, n - 2)


def lower_layers(layers: int) -> int:
    """How many layers are the lower ones: 7 of 12 as in the study, of other models as near to 7/12 as can be."""
    return round(7 * layers / 12)


def step(values: Floats) -> Trend:
    """Mean of the lower layers minus mean of the higher, of (L,); NaN where one side has fewer than 2."""
    lower = lower_layers(len(values))
    sides = [part[np.isfinite(part)] for part in (values[:lower], values[lower:])]
    if min(map(len, sides)) < 2:
        return NONE
    parts = [float(part.var(ddof=1) / len(part)) for part in sides]
    freedom = _satterthwaite([(entry, len(part) - 1) for entry, part in zip(parts, sides, strict=True)])
    return Trend(float(sides[0].mean() - sides[1].mean()), sum(parts), freedom)


def beyond(statistic: Callable[[Floats], Trend], values: Floats, controls: Sequence[Floats]) -> Trend:
    """The statistic of `values` (L,) minus the mean of `controls`, widened by how much theirs differ; NaN without controls."""
    if not len(controls):
        return NONE
    found = statistic(values - np.mean(controls, axis=0))
    own = np.array([statistic(control).value for control in controls])
    if len(own) < 2 or not np.isfinite(own).all():
        return found
    wider = float(own.var(ddof=1) * (1 + 1 / len(own)))
    freedom = _satterthwaite([(found.variance, found.freedom), (wider, len(own) - 1)])
    return Trend(found.value, found.variance + wider, freedom)


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of variances, each with its own; those of the first where all are 0."""
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return sum(variance for variance, _ in parts) ** 2 / below if below > 0 else parts[0][1]
