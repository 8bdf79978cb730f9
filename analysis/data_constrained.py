"""What a repeated token is worth: the data-constrained law of Muennighoff et al. 2023 (arXiv 2305.16264, eq. 5).

U unique tokens, seen 1 + R times in all, are worth D' = U + U R_D* (1 - exp(-R / R_D*)) tokens that are all different.
Their fit is R_D* = 15.39. R_D* says after how many repeats the value of a further one has fallen to 1/e of a new token's.

Here D' of a repeated arm is read off the all-distinct arm's learning curve: the number of tokens after which that arm had the
loss at which the repeated arm ends. The learning rate had not come down yet at those earlier points, so they have a higher
loss than a run that was planned to end there: D' and R_D* come out too high, the more so the earlier the point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

MUENNIGHOFF = 15.39
SMALLEST, LARGEST = 1e-2, 1e4  # of R_D*: a fit that ends at one of them is no fit
CAVEAT = (
    "D' is read off the all-distinct arm's own curve, on which the learning rate had not come down yet; so D' and R_D* are "
    "rather too high"
)


class NoFit(ValueError):
    """The arms do not allow an estimate; the message says why."""


@dataclass(frozen=True)
class RepeatedArm:
    """A repeated arm: unique tokens U, times that each was seen k, and the final loss (bits)."""

    name: str
    unique: float
    repeat: int
    loss: float


def effective_tokens(unique: float, repeats: float, r_star: float) -> float:
    """D' of `unique` tokens that are seen 1 + `repeats` times."""
    return unique + unique * r_star * -math.expm1(-repeats / r_star)


def equivalent_tokens(loss: float, tokens: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """Tokens after which a falling learning curve had the given loss; straight between points, in log tokens.

    `tokens` ascending and `losses` (n,). The curve is made falling first: at each point the lowest loss until then.
    Raises NoFit for a loss outside the curve.
    """
    falling = np.minimum.accumulate(losses)
    if not falling[-1] <= loss <= falling[0]:
        side = "below the end" if loss < falling[-1] else "above the beginning"
        raise NoFit(
            f"a loss of {loss:.3f} bits lies {side} of the all-distinct arm's curve ({falling[0]:.3f} to {falling[-1]:.3f})"
        )
    place = int(np.argmax(falling <= loss))
    if place == 0:
        return float(tokens[0])
    share = (falling[place - 1] - loss) / (falling[place - 1] - falling[place])
    return float(np.exp((1 - share) * np.log(tokens[place - 1]) + share * np.log(tokens[place])))


def equivalents(arms: Sequence[RepeatedArm], tokens: NDArray[np.float64], losses: NDArray[np.float64]) -> list[float]:
    """D' of each arm. Raises NoFit: fewer than 4 points on the curve, losses that do not rise with k, outside the curve."""
    if not arms:
        raise NoFit("no arm repeats a whole random pool")
    if len(tokens) < 4:
        raise NoFit(f"the all-distinct arm was validated {len(tokens)} times; at least 4 are needed for a curve")
    ordered = sorted(arms, key=lambda arm: arm.repeat)
    for first, second in pairwise(ordered):
        if second.repeat > first.repeat and second.loss < first.loss:
            raise NoFit(
                f"losses do not rise with the number of repeats: {first.name} ({first.repeat} times) {first.loss:.3f} bits, "
                f"{second.name} ({second.repeat} times) {second.loss:.3f}"
            )
    found = []
    for arm in arms:
        try:
            found.append(equivalent_tokens(arm.loss, tokens, losses))
        except NoFit as error:
            raise NoFit(f"{arm.name}: {error}") from None
    return found


def fit_r_star(arms: Sequence[RepeatedArm], effective: Sequence[float]) -> float:
    """R_D* by least squares on D' / D over the arms (D = k U). Raises NoFit where the best one is at the end of the range."""
    if all(value <= arm.unique for arm, value in zip(arms, effective, strict=True)):
        raise NoFit("the arms end no better than their unique tokens alone would have: repeats were worth nothing")
    best = closest_r_star(arms, effective)
    if not SMALLEST < best < LARGEST:
        end = f"below {SMALLEST:g}" if best <= SMALLEST else f"above {LARGEST:g}"
        raise NoFit(f"the best R_D* lies {end}: the arms do not bound it")
    return best


def closest_r_star(arms: Sequence[RepeatedArm], effective: Sequence[float]) -> float:
    """The R_D* of least squares within SMALLEST to LARGEST, an end where no inner one is better: for resamples."""
    repeats = np.array([arm.repeat for arm in arms], np.float64)
    observed = np.array([value / (arm.unique * arm.repeat) for arm, value in zip(arms, effective, strict=True)])

    def misfit(log_r: NDArray[np.float64] | float) -> NDArray[np.float64]:
        r_star = np.exp(np.asarray(log_r))[..., None]
        predicted = (1 - r_star * np.expm1(-(repeats - 1) / r_star)) / repeats
        return ((observed - predicted) ** 2).sum(axis=-1)

    # The misfit may have several valleys: the best of a grid is refined.
    grid = np.linspace(math.log(SMALLEST), math.log(LARGEST), 200)
    best = int(np.argmin(misfit(grid)))
    if best in (0, len(grid) - 1):
        return (SMALLEST, LARGEST)[best > 0]
    found = minimize_scalar(
        lambda value: float(misfit(value)),
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return math.exp(found.x)


def value_of_repeat(unique: float, repeat: int, effective: float) -> float:
    """Mean worth of a repeated token, as a share of a new one: (D' - U) / (D - U)."""
    return (effective - unique) / (unique * (repeat - 1))
