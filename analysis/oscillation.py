"""Does a series oscillate more than independent batches make it? (claim C4.2)

Method. The series x after the first tenth of the updates is taken on a regular grid, one point every `memory` updates or
more, u_1 < ... < u_n. A smooth trend, a polynomial of degree 3 in log u fitted by least squares, is taken off:
r = x - trend. P(b) is the power of r (sum of its squared Fourier coefficients) in the octave band b: 2-3, 4-7, 8-15, ...
turns over the series, up to one turn every 4 points. Under the null, the series moves by independent increments: the
increments r_{k+1} - r_k are put in random order and summed up again, the trend is fitted to the result and taken off, and
the power in each band is P_0(b). With R = max_b P(b) / mean(P_0(b)), the mean being over many random orders, and R_0 the
same of each random order, the measure is

    ratio = R / mean(R_0)

with the interval [R / R_0's 97.5th percentile, R / R_0's 2.5th percentile]. The maximum is taken on both sides, so the choice
among bands favours nothing. A random walk gives a ratio near 1, noise about a smooth trend a lower one, an oscillation
of two turns or more a high one. (The power over all bands together would not do: that of a random walk is nearly all at
one or two turns, and hides an oscillation of ten.)

Why the grid: the momentum of the optimiser smears each batch over about 1 / (1 - beta1) updates, so increments from one
update to the next follow one another even when batches are independent. Five times that (50 updates at beta1 = 0.9) leaves a
correlation of neighbouring increments of about 0.1. So nothing faster than four grid steps (200 updates) is seen, and
FEWEST_POINTS grid points (about 1,800 updates in all at beta1 = 0.9) are needed for a value.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curves import Curve

FEWEST_POINTS = 32
PERMUTATIONS = 500
DEGREE = 3


@dataclass(frozen=True)
class Oscillation:
    """`ratio` and its `interval` (NaN and None: too few points, see `reason`), and the detrended series on the grid.

    `period` is the updates of one turn in the middle of the band that stands out most.
    """

    ratio: float
    interval: tuple[float, float] | None
    reason: str
    spacing: int
    period: float
    updates: NDArray[np.int64]
    residual: NDArray[np.float64]


def momentum_memory(attrs: dict[str, Any]) -> int:
    """Five times the updates over which the optimiser smears a batch: 5 / (1 - beta1), 50 where beta1 is not known.

    `attrs` are a dump's root attributes; fairseq writes Adam's betas as the text "(0.9, 0.98)".
    """
    optimizer = (attrs.get("config") or {}).get("optimizer")
    settings = optimizer if isinstance(optimizer, dict) else {}
    try:
        if "adam_betas" in settings:
            betas = settings["adam_betas"]
            beta = float((ast.literal_eval(betas) if isinstance(betas, str) else betas)[0])
        else:
            beta = float(settings.get("momentum", 0.9))
    except (ValueError, SyntaxError, TypeError, IndexError, KeyError):
        beta = 0.9
    return max(1, math.ceil(5 / (1 - beta) - 1e-9)) if 0 <= beta < 1 else 50


def oscillation(curve: Curve, first: float, *, memory: int, seed: int = 0) -> Oscillation:
    """The measure for one curve (n,) from update `first` on. `memory` is the least grid spacing, in updates."""
    part = curve.since(first)
    spacing = memory
    if len(part.updates) > 1:
        spacing = max(memory, int(np.median(np.diff(part.updates))))
    grid = _on_grid(part, spacing)
    if len(grid.updates) < FEWEST_POINTS:
        needed = math.ceil(spacing * FEWEST_POINTS / 0.9)
        reason = (
            f"{len(grid.updates)} points at least {spacing} updates apart after the first tenth, {FEWEST_POINTS} needed "
            f"(a run of about {needed:,} updates with statistics every {spacing} or more often)"
        )
        return Oscillation(math.nan, None, reason, spacing, math.nan, grid.updates, np.zeros(len(grid.updates)))
    basis = _trend_basis(grid.updates)
    residual = _detrend(grid.values, basis)
    rng = np.random.default_rng(seed)
    increments = rng.permuted(np.tile(np.diff(residual), (PERMUTATIONS, 1)), axis=1)
    walks = np.concatenate([np.zeros((PERMUTATIONS, 1)), np.cumsum(increments, axis=1)], axis=1)
    null = _band_powers(_detrend(walks, basis))
    if np.abs(residual).max() <= 1e-12:
        reason = "the series does not vary about its trend"
        return Oscillation(math.nan, None, reason, spacing, math.nan, grid.updates, residual)
    relative = _band_powers(residual) / null.mean(axis=0)
    strongest = int(np.argmax(relative))
    highest = (null / null.mean(axis=0)).max(axis=1)
    low, high = np.quantile(highest, [0.025, 0.975])
    peak = float(relative[strongest])
    period = spacing * len(residual) / (2 ** (strongest + 1.5))
    return Oscillation(
        peak / float(highest.mean()), (peak / high, peak / low), "", spacing, period, grid.updates, residual
    )


def _band_powers(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power of series (..., n) in the octave bands from 2 turns up to n / 4, (..., bands); a short last band joins."""
    power = np.abs(np.fft.rfft(series)) ** 2
    highest = series.shape[-1] // 4
    starts = [2**place for place in range(1, 40) if 2 ** (place + 1) - 1 <= highest]
    return np.stack(
        [power[..., start : (2 * start if start != starts[-1] else highest + 1)].sum(axis=-1) for start in starts],
        axis=-1,
    )


def _on_grid(curve: Curve, spacing: int) -> Curve:
    """The recorded points nearest to a regular grid; a grid point with none within a quarter of a step is left out."""
    if not len(curve.updates):
        return curve
    grid = np.arange(curve.updates[0], curve.updates[-1] + 1, spacing)
    right = np.clip(np.searchsorted(curve.updates, grid), 0, len(curve.updates) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.abs(curve.updates[left] - grid) <= np.abs(curve.updates[right] - grid)
    place = np.where(nearer, left, right)
    place = np.unique(place[np.abs(curve.updates[place] - grid) <= spacing / 4])
    return Curve(curve.updates[place], curve.values[place])


def _trend_basis(updates: NDArray[np.int64]) -> NDArray[np.float64]:
    """Orthonormal columns that span the polynomials of degree DEGREE in log update, (n, DEGREE + 1)."""
    time = np.log(updates.astype(np.float64) + 1)
    time = 2 * (time - time.min()) / np.ptp(time) - 1
    return np.linalg.qr(np.polynomial.legendre.legvander(time, DEGREE))[0]


def _detrend(series: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """The series (..., n) less its projection on the basis."""
    return series - (series @ basis) @ basis.T
