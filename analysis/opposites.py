"""Are opposites close: the cosines of pairs of opposites against pairs matched in form and token count (claim C7.2).

- matched: the mean cosine of all pairs of tokens of the two words' strata. The p-value comes from random pairs of the same strata.
- repaired: the cosine less its matched mean, minus the same of these words with the partners of the other pairs. It is the stricter
  control: what opposites have in common with any two words of such lists (both adjectives, say) is taken off. The matched means are
  taken off first because opposites are of like frequency and re-paired words less so. Its p-value permutes the partners.

Cosines are those of category_space.py. Intervals: Student's t over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from category_null import p_value, random_sets
from category_strata import Strata
from category_tests import FEWEST, Band, band, over_members
from claims import Estimate

OVER = "pairs"
REPAIRINGS = 1 << 22  # numbers of a block of permutations held at a time


@dataclass(frozen=True)
class OppositesTest:
    """`cosines` and `matched` of each pair; `null`: 2.5 %, mean and 97.5 % of the random pairs' mean difference."""

    pairs: tuple[tuple[int, int], ...]
    cosines: tuple[float, ...]
    matched: tuple[float, ...]
    null: Band
    difference: Estimate
    p: float
    repaired: Estimate
    p_repaired: float


@dataclass(frozen=True)
class Pairs:
    """What is fixed over updates: pairs of rows (pairs, 2), and random rows in their place (sets, pairs, 2)."""

    rows: NDArray[np.int64]
    strata: Strata
    drawn: NDArray[np.int64]


def prepare(pairs: Sequence[tuple[int, int]], strata: Strata, permutations: int, seed: int = 0) -> Pairs | None:
    """The pairs of which both words are in `strata`, with random pairs; None for fewer than 3 pairs."""
    usable = np.array([pair for pair in pairs if (strata.of_row[list(pair)] >= 0).all()], np.int64).reshape(-1, 2)
    if len(usable) < FEWEST:
        return None
    words, where = np.unique(usable, return_inverse=True)
    drawn = random_sets(strata, words, permutations, np.random.default_rng((seed, len(words))))
    return Pairs(usable, strata, drawn[:, where.reshape(usable.shape)])


def measure(unit: NDArray[np.float32], pairs: Pairs, permutations: int, seed: int = 0) -> OppositesTest:
    """Test the pairs on unit rows (all rows, dim) against the first `permutations` random ones."""
    strata = pairs.strata
    cosines, matched = np.empty(len(pairs.rows)), np.empty(len(pairs.rows))
    null = np.zeros(min(permutations, len(pairs.drawn)))
    for index, (first, second) in enumerate(pairs.rows):
        left, right = (strata.rows[strata.of_row[row]] for row in (first, second))
        similar = unit[left] @ unit[right].T
        same = strata.of_row[first] == strata.of_row[second]
        own = float(np.trace(similar)) if same else 0.0  # a token with itself is no pair
        matched[index] = (similar.sum(dtype=np.float64) - own) / (similar.size - (len(left) if same else 0))
        places = strata.place[pairs.drawn[: len(null), index]]
        null += similar[places[:, 0], places[:, 1]]
        cosines[index] = similar[strata.place[first], strata.place[second]]
    null = null / len(cosines) - matched.mean()
    difference = over_members(cosines - matched, -2, 2, OVER)
    own, others, p_repaired = _repaired(unit, pairs, len(null), seed)
    return OppositesTest(
        pairs=tuple((int(first), int(second)) for first, second in pairs.rows),
        cosines=tuple(cosines.tolist()),
        matched=tuple(matched.tolist()),
        null=band(null),
        difference=difference,
        p=p_value(difference.value, null),
        repaired=over_members(own - others, -2, 2, OVER),
        p_repaired=p_repaired,
    )


def _repaired(
    unit: NDArray[np.float32], pairs: Pairs, permutations: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Each pair's cosine less its matched mean (pairs,), the mean of the same when its words have the other pairs' partners
    (pairs,), and the p-value of the true partners.

    A pair's words each meet all partners of the other pairs, so its mean is that of its row and its column. A word is no partner of
    itself: where it stands in two pairs it is left out.
    """
    first, second = pairs.rows.T
    similar = (unit[first] @ unit[second].T).astype(np.float64) - _expected(unit, pairs)
    itself = first[:, None] == second[None, :]
    similar[itself] = 0
    own = np.diagonal(similar)
    met = (~itself).sum(axis=0) + (~itself).sum(axis=1) - 2
    others = (similar.sum(axis=0) + similar.sum(axis=1) - 2 * own) / met
    count = len(first)
    rng = np.random.default_rng((seed, count, 1))
    null = []
    step = max(1, REPAIRINGS // count)
    for start in range(0, permutations, step):
        number = min(step, permutations - start)
        partners = rng.permuted(np.broadcast_to(np.arange(count), (number, count)), axis=1)
        null.append(similar[np.arange(count), partners].mean(axis=1))
    return own, others, p_value(float(own.mean()), np.concatenate(null))


def _expected(unit: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float64]:
    """The mean cosine of all pairs of different tokens of the strata of each first and each second word, (pairs, pairs)."""
    of = pairs.strata.of_row[pairs.rows]
    names, where = np.unique(of, return_inverse=True)
    left, right = where.reshape(of.shape).T
    members = [unit[pairs.strata.rows[name]].astype(np.float64) for name in names]
    sums = np.stack([rows.sum(axis=0) for rows in members])
    own = np.array([(rows**2).sum() for rows in members])  # a token with itself is no pair
    sizes = np.array([len(rows) for rows in members], np.float64)
    means = (sums @ sums.T - np.diag(own)) / (np.outer(sizes, sizes) - np.diag(sizes))
    return means[np.ix_(left, right)]
