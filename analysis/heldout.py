"""Losses and recovery of evaluated examples, with intervals over examples (claims C3).

A loss is bits for each masked position: the sum over positions divided by their number. Its interval draws whole examples
anew, because the positions of one example depend on one another. Two arms are compared on the same examples with the same
masks, so one draw serves both. Seen and unseen examples are different ones and are drawn independently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval, stratified_means
from claims import Estimate
from cli import NOT_IN_JSON
from evaluation import HELD_OUT, SEEN, UNSEEN, Evaluation, ExampleSums

OVER = "examples"
DISTINCT_TIMES = 8  # up to so many values of "times drawn" stand alone; more are joined by powers of two


@dataclass(frozen=True)
class Paired:
    """One arm minus another on the same held-out positions: bits, the same as a share of the other's loss, and by group.

    `samples` are the resampled differences in bits (resamples,), of draws that all arms of one evaluation share.
    """

    bits: Estimate
    share: Estimate
    group_share: list[Estimate]
    samples: NDArray[np.float64] = field(metadata=NOT_IN_JSON)


@dataclass(frozen=True)
class TimesDrawn:
    """Seen examples that training drew `low` to `high` times: recovered share of masked positions minus that of unseen ones."""

    low: int
    high: int
    examples: int
    memorisation: Estimate


@dataclass(frozen=True)
class HeldOut:
    """One run's losses (bits) and recovered shares by set, the gap (held-out minus seen) and memorisation (seen minus unseen)."""

    loss: dict[str, Estimate]
    recovered: dict[str, Estimate]
    examples: dict[str, int]
    gap: Estimate
    memorisation: Estimate
    by_times: list[TimesDrawn]
    group_loss: list[Estimate]


def measure(evaluation: Evaluation, group: NDArray[np.integer], groups: int, *, seed: int = 0) -> HeldOut:
    """Every measure of one evaluation. `group` (rows,) is the frequency group of each row, -1 for none."""
    sums = {name: evaluation.example_sums(name) for name in (HELD_OUT, SEEN, UNSEEN)}
    return HeldOut(
        loss={name: ratio(entry.loss, entry.positions, seed=seed) for name, entry in sums.items()},
        recovered={name: ratio(entry.correct, entry.positions, seed=seed) for name, entry in sums.items()},
        examples={name: len(entry.example) for name, entry in sums.items()},
        gap=difference(
            (sums[HELD_OUT].loss, sums[HELD_OUT].positions), (sums[SEEN].loss, sums[SEEN].positions), seed=seed
        ),
        memorisation=memorisation(sums[SEEN], sums[UNSEEN], seed=seed),
        by_times=by_times_drawn(sums[SEEN], sums[UNSEEN], seed=seed),
        group_loss=[ratio(entry.loss, entry.positions, seed=seed) for entry in _by_group(evaluation, group, groups)],
    )


def paired(first: Evaluation, second: Evaluation, group: NDArray[np.integer], groups: int, *, seed: int = 0) -> Paired:
    """`first` minus `second` on their held-out positions, which must be the same (`evaluation.check_paired`)."""
    whole = (first.example_sums(HELD_OUT), second.example_sums(HELD_OUT))
    bits, share, samples = _paired_ratio(*whole, seed)
    by_group = zip(_by_group(first, group, groups), _by_group(second, group, groups), strict=True)
    return Paired(bits, share, [_paired_ratio(*entry, seed)[1] for entry in by_group], samples)


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64], *, seed: int = 0) -> Estimate:
    """Sum over sum of the examples' numbers (n,), with its interval over examples; NaN where the denominator is 0."""
    samples = _resampled([numerator, denominator], seed)
    return Estimate(_divide(numerator.sum(), denominator.sum()), _interval(samples[:, 0], samples[:, 1]), OVER)


def difference(
    first: tuple[NDArray[np.float64], NDArray[np.float64]],
    second: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    seed: int = 0,
) -> Estimate:
    """Ratio of `first` (numerator, denominator) minus that of `second`, which are of other examples: independent draws."""
    value = _divide(first[0].sum(), first[1].sum()) - _divide(second[0].sum(), second[1].sum())
    drawn = [_resampled(entry, (seed, place)) for place, entry in enumerate((first, second))]
    with np.errstate(invalid="ignore", divide="ignore"):
        samples = drawn[0][:, 0] / drawn[0][:, 1] - drawn[1][:, 0] / drawn[1][:, 1]
    return Estimate(value, percentile_interval(samples), OVER)


def memorisation(seen: ExampleSums, unseen: ExampleSums, *, seed: int = 0) -> Estimate:
    """Share of masked positions recovered in seen examples minus that in unseen ones; NaN where one of the sets is empty."""
    return difference((seen.correct, seen.positions), (unseen.correct, unseen.positions), seed=seed)


def by_times_drawn(seen: ExampleSums, unseen: ExampleSums, *, seed: int = 0) -> list[TimesDrawn]:
    """Memorisation of the seen examples by how often training drew them, ascending; bins of fewer than 2 are left out."""
    drawn = seen.drawn
    low = np.unique(drawn)
    if len(low) > DISTINCT_TIMES:
        low = np.unique(2 ** np.floor(np.log2(np.maximum(low, 1))).astype(np.int64))
    place = np.searchsorted(low, drawn, side="right") - 1
    result = []
    for index in range(len(low)):
        inside = place == index
        if inside.sum() < 2:
            continue
        part = ExampleSums(*(getattr(seen, name)[inside] for name in ExampleSums.__dataclass_fields__))
        times = int(part.drawn.min()), int(part.drawn.max())
        result.append(TimesDrawn(*times, int(inside.sum()), memorisation(part, unseen, seed=seed)))
    return result


def _by_group(evaluation: Evaluation, group: NDArray[np.integer], groups: int) -> list[ExampleSums]:
    of_target = group[evaluation.target]
    return [evaluation.example_sums(HELD_OUT, of_target == index) for index in range(groups)]


def _paired_ratio(first: ExampleSums, second: ExampleSums, seed: int) -> tuple[Estimate, Estimate, NDArray[np.float64]]:
    """Difference of the losses, the same as a share of the second's, and the resampled differences."""
    before = _divide(second.loss.sum(), second.positions.sum())
    change = _divide(first.loss.sum(), first.positions.sum()) - before
    drawn = _resampled([first.loss, first.positions, second.loss, second.positions], seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        base = drawn[:, 2] / drawn[:, 3]
        samples = drawn[:, 0] / drawn[:, 1] - base
        shares = samples / base
    bits = Estimate(change, percentile_interval(samples), OVER)
    return bits, Estimate(_divide(change, before), percentile_interval(shares), OVER), samples


def _resampled(columns: Sequence[NDArray[np.float64]], seed: int | tuple[int, int]) -> NDArray[np.float64]:
    """Means of the columns over examples drawn anew, float64 (resamples, columns): the same examples in every column."""
    matrix = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    number = seed if isinstance(seed, int) else 2 * seed[0] + seed[1] + 1_000_003
    return stratified_means(matrix, np.zeros(len(matrix), np.int64), 1, seed=number)[:, 0]


def _interval(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> tuple[float, float] | None:
    with np.errstate(invalid="ignore", divide="ignore"):
        return percentile_interval(numerator / denominator)


def _divide(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator and math.isfinite(denominator) else math.nan
