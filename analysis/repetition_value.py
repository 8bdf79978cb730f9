"""The effective value of a repeated token, from the arms of E3 (the law and its caveat stand in data_constrained.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval
from claims import Estimate, combine_seeds
from data_constrained import (
    CAVEAT,
    LARGEST,
    MUENNIGHOFF,
    SMALLEST,
    NoFit,
    RepeatedArm,
    closest_r_star,
    equivalent_tokens,
    equivalents,
    fit_r_star,
    value_of_repeat,
)
from training_log import MARGIN

if TYPE_CHECKING:
    from repetition import ArmResult, Comparison, RepetitionResult


@dataclass(frozen=True)
class ArmValue:
    """One repeated arm: unique tokens, times seen, tokens that are all different and give the same loss, and the mean worth
    of a repeated token as a share of a new one."""

    arm: str
    unique: float
    repeat: int
    effective: Estimate
    value: Estimate


@dataclass(frozen=True)
class Value:
    """R_D* (None where the arms do not allow a fit) and each repeated arm's value; `reason` is a sentence either way."""

    r_star: Estimate | None
    arms: list[ArmValue]
    reason: str
    seeds: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Seed:
    """One seed's answers: R_D* with its resamples, and D' of each arm with its resamples (resamples, arms)."""

    r_star: float
    r_samples: NDArray[np.float64]
    effective: list[float]
    samples: NDArray[np.float64]


def estimate_value(result: RepetitionResult) -> Value:
    """Fit R_D* to the plain repeated arms, or say why they do not allow it."""
    base = result.arm(result.base)
    if base is None:
        return _none("there is no all-distinct arm to read the unique tokens off")
    arms = [arm for arm in result.arms if arm.design.role == "repeated" and arm.design.plain]
    pairs = [
        (arm, found) for arm in arms if (found := result.compared(arm.name, base.name)) is not None and found.paired
    ]
    if not pairs:
        return _none("no repeated arm was evaluated on the same held-out text as the all-distinct arm")
    entropies = [entry.unigram_entropy for entry in base.runs if entry.unigram_entropy]
    if base.valid_loss is None or not entropies:
        return _none("whether the all-distinct arm learned is not known")
    gain = 1 - base.valid_loss / entropies[0]
    if gain < MARGIN:
        return _none(
            f"the all-distinct arm did not learn enough: its validation loss of {base.valid_loss:.2f} bits is {abs(gain):.1%} "
            f"{'below' if gain > 0 else 'above'} the unigram entropy, it must be {MARGIN:.0%} below"
        )
    seeds = sorted(set.intersection(*(set(found.seeds) for _, found in pairs)))
    if not seeds:
        return _none("the repeated arms have no seed in common with the all-distinct arm")
    answers = []
    for seed in seeds:
        try:
            answers.append(_of_seed(base, pairs, seed))
        except NoFit as error:
            return _none(f"seed {seed}: {error}", seeds)
    log_r = [Estimate(math.log(entry.r_star), _log_interval(entry.r_samples), "examples") for entry in answers]
    together = combine_seeds(log_r)
    interval = together.interval and (math.exp(together.interval[0]), math.exp(together.interval[1]))
    r_star = Estimate(math.exp(together.value), interval, together.over)
    return Value(r_star, _arm_values(pairs, answers), _words(r_star, len(seeds)), seeds)


def _of_seed(base: ArmResult, pairs: list[tuple[ArmResult, Comparison]], seed: int) -> _Seed:
    run = base.run(seed)
    assert run is not None  # a compared seed is one of both arms
    curve = run.valid.since(1)
    tokens = curve.updates * base.design.tokens_per_update
    if not len(tokens):
        raise NoFit("the all-distinct arm has no validation losses in its log")
    differences = [found.paired[found.seeds.index(seed)] for _, found in pairs]
    end = float(np.minimum.accumulate(curve.values)[-1])
    arms = [
        RepeatedArm(arm.name, _unique(arm), arm.design.repeat, end + difference.bits.value)
        for (arm, _), difference in zip(pairs, differences, strict=True)
    ]
    effective = equivalents(arms, tokens, curve.values)
    r_star = fit_r_star(arms, effective)
    highest = float(curve.values[0])
    # A resampled loss beyond the curve is taken to its end: the interval is then open on that side.
    losses = np.clip(end + np.stack([entry.samples for entry in differences], axis=1), end, highest)
    samples = np.array([[equivalent_tokens(float(loss), tokens, curve.values) for loss in row] for row in losses])
    r_samples = np.array([closest_r_star(arms, row.tolist()) for row in samples])
    return _Seed(r_star, r_samples, effective, samples)


def _unique(arm: ArmResult) -> float:
    """Unique tokens, by the tokens that the run really saw: D / k."""
    return arm.design.tokens / arm.design.repeat


def _arm_values(pairs: list[tuple[ArmResult, Comparison]], answers: list[_Seed]) -> list[ArmValue]:
    found = []
    for place, (arm, _) in enumerate(pairs):
        unique, repeat = _unique(arm), arm.design.repeat
        effective, values = [], []
        for entry in answers:
            interval = percentile_interval(entry.samples[:, place])
            effective.append(Estimate(entry.effective[place], interval, "examples"))
            ends = interval and tuple(value_of_repeat(unique, repeat, end) for end in interval)
            values.append(Estimate(value_of_repeat(unique, repeat, entry.effective[place]), ends, "examples"))
        found.append(ArmValue(arm.name, unique, repeat, combine_seeds(effective), combine_seeds(values)))
    return found


def _log_interval(samples: NDArray[np.float64]) -> tuple[float, float] | None:
    interval = percentile_interval(samples)
    return interval and (math.log(interval[0]), math.log(interval[1]))


def _words(r_star: Estimate, seeds: int) -> str:
    text = f"R_D* = {r_star.value:.2f}"
    if r_star.interval is not None:
        low, high = r_star.interval
        text += f" [{low:.2f}, {high:.2f}] over {r_star.over}"
        if low <= SMALLEST * 1.01 or high >= LARGEST * 0.99:
            text += " (the interval reaches the end of the range that was searched: the arms hardly bound it)"
        side = "contains" if low <= MUENNIGHOFF <= high else "does not contain"
        text += f"; Muennighoff et al. 2023 found {MUENNIGHOFF}, which the interval {side}"
    counted = "one seed" if seeds == 1 else f"{seeds} seeds"
    return f"Effective value of a repeated token: {text}; {counted}. {CAVEAT}. The interval leaves out the curve's own noise."


def _none(why: str, seeds: list[int] | None = None) -> Value:
    return Value(
        None, [], f"Effective value of a repeated token: the arms do not allow a fit of R_D*: {why}.", seeds or []
    )
