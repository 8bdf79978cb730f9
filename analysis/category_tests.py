"""Does a category cluster: each category's tokens at one snapshot against random sets matched in form and token count (claims C7).

Rows are those of category_space.py, in the full number of dimensions; the measures are in
category_statistics.py, what random sets are in category_strata.py. A p-value is the share of random sets that reach the category's
mean, corrected by Holm over all categories and both measures. Intervals are Student's t over the category's tokens (words of a list are a
sample of its kind; they say nothing of other seeds). That of the purity is widened to Clopper and Pearson's (1934) over its n k links to
neighbours, because a category none or all of whose neighbours are members has no spread to show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from category_null import p_value, random_sets
from category_statistics import K, Measures, expected_purity, holm, make_pool, member_measures, set_measures
from category_strata import Strata
from claims import LEVEL, Estimate

FEWEST = 3  # tokens of a category that is tested
SIGNIFICANT = 0.01  # STUDY.md: permutation p after correction
RATIO = 2.0  # STUDY.md: purity at least so many times chance
Band = tuple[float, float, float]


@dataclass(frozen=True)
class Category:
    """What is fixed over updates: the rows used, the pool's rows, and random sets as places in the pool (sets, members)."""

    name: str
    grammatical: bool
    rows: NDArray[np.int64]
    pool: NDArray[np.int64]
    places: NDArray[np.int64]
    sets: NDArray[np.int64]
    stratum: NDArray[np.int64]  # of each place of the pool

    @property
    def k(self) -> int:
        return min(K, len(self.rows) - 1)


@dataclass(frozen=True)
class CategoryTest:
    """One category at one snapshot. Bands: 2.5 %, mean and 97.5 % of the random sets' means.

    `ratio` is purity over `chance`, the random sets' expected purity; `within` and `between` are mean cosines between members and from
    members to the rest of the pool; `holm_*` are p-values corrected over all categories; `clustered`: both below SIGNIFICANT and
    the ratio at least RATIO.
    """

    name: str
    grammatical: bool
    rows: tuple[int, ...]
    pool: int
    k: int
    silhouette: Estimate
    silhouette_null: Band
    purity: Estimate
    purity_null: Band
    chance: float
    ratio: Estimate
    within: float
    between: float
    p_silhouette: float
    p_purity: float
    holm_silhouette: float = math.nan
    holm_purity: float = math.nan
    clustered: bool = False

    @property
    def passes(self) -> bool:
        """By the uncorrected p-values: for one category looked at over updates."""
        return max(self.p_silhouette, self.p_purity) < SIGNIFICANT and self.ratio.value >= RATIO


def prepare(
    members: Mapping[str, Sequence[int]],
    grammatical: frozenset[str],
    strata: Strata,
    permutations: int,
    seed: int = 0,
) -> tuple[list[Category], dict[str, int]]:
    """The categories to test with their random sets, and those with fewer than FEWEST rows in `strata`: their numbers of rows.

    A category that fills more than half of its pool is too large for it and is listed with the latter.
    """
    found: list[Category] = []
    few: dict[str, int] = {}
    for number, (name, listed) in enumerate(members.items()):
        rows = np.unique(np.array([row for row in listed if strata.of_row[row] >= 0], np.int64))
        pool = strata.pool(rows) if len(rows) else rows
        if len(rows) < FEWEST or 2 * len(rows) > len(pool):
            few[name] = len(rows)
            continue
        drawn = random_sets(strata, rows, permutations, np.random.default_rng((seed, number)))
        found.append(
            Category(
                name=name,
                grammatical=name in grammatical,
                rows=rows,
                pool=pool,
                places=np.searchsorted(pool, rows),
                sets=np.searchsorted(pool, drawn),
                stratum=strata.of_row[pool],
            )
        )
    return found, few


def measure(unit: NDArray[np.float32], category: Category, permutations: int) -> CategoryTest:
    """Test one category on unit rows (all rows, dim), against the first `permutations` of its random sets; not yet corrected."""
    pool = make_pool(unit[category.pool], category.k)
    own = member_measures(pool, category.places)
    random = set_measures(pool, category.sets[:permutations])
    chance = expected_purity(pool, category.stratum, category.places)
    purity = _purity(own.purity, category.k)
    value = {name: float(getattr(own, name).mean()) for name in Measures.__dataclass_fields__}
    return CategoryTest(
        name=category.name,
        grammatical=category.grammatical,
        rows=tuple(category.rows.tolist()),
        pool=len(category.pool),
        k=category.k,
        silhouette=over_members(own.silhouette, -1, 1),
        silhouette_null=band(random.silhouette),
        purity=purity,
        purity_null=band(random.purity),
        chance=chance,
        ratio=_divided(purity, chance),
        within=value["within"],
        between=value["between"],
        p_silhouette=p_value(value["silhouette"], random.silhouette),
        p_purity=p_value(value["purity"], random.purity),
    )


def correct(tests: Sequence[CategoryTest]) -> tuple[CategoryTest, ...]:
    """The tests of one snapshot with Holm's correction over all of them and both measures."""
    adjusted = holm(np.array([[test.p_silhouette, test.p_purity] for test in tests]).ravel()).reshape(-1, 2)
    result = []
    for test, (silhouette, purity) in zip(tests, adjusted, strict=True):
        clustered = bool(max(silhouette, purity) < SIGNIFICANT and test.ratio.value >= RATIO)
        result.append(replace(test, holm_silhouette=float(silhouette), holm_purity=float(purity), clustered=clustered))
    return tuple(result)


def over_members(values: NDArray[np.float64], low: float, high: float, over: str = "tokens") -> Estimate:
    """The mean with Student's t interval over the members, cut to the measure's range; no interval for fewer than 3."""
    mean = float(values.mean())
    if len(values) < FEWEST:
        return Estimate(mean, None, over)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Estimate(mean, (max(low, mean - half), min(high, mean + half)), over)


def _purity(values: NDArray[np.float64], k: int) -> Estimate:
    estimate = over_members(values, 0, 1)
    links = len(values) * k
    hits = round(float(values.sum()) * k)
    below = float(special.betaincinv(hits, links - hits + 1, (1 - LEVEL) / 2)) if hits else 0.0
    above = float(special.betaincinv(hits + 1, links - hits, (1 + LEVEL) / 2)) if hits < links else 1.0
    low, high = estimate.interval or (below, above)
    return replace(estimate, interval=(min(low, below), max(high, above)))


def band(null: NDArray[np.float64]) -> Band:
    """2.5 %, mean and 97.5 % of the random sets."""
    low, high = np.quantile(null, [0.025, 0.975])
    return float(low), float(null.mean()), float(high)


def _divided(estimate: Estimate, by: float) -> Estimate:
    if by <= 0:
        return Estimate(math.nan, None, estimate.over)
    ends = None if estimate.interval is None else (estimate.interval[0] / by, estimate.interval[1] / by)
    return Estimate(estimate.value / by, ends, estimate.over)
