"""Random sets of tokens matched to a category: as many of each stratum as the category has, drawn without replacement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from category_strata import Strata


def random_sets(
    strata: Strata, members: NDArray[np.integer], number: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """`number` sets of rows, int64 (number, members): column j is of the stratum of `members[j]`, each row at most once in a set.

    The members can be drawn like any other row. Raises ValueError: a member that is in no stratum, or twice.
    """
    members = np.asarray(members, np.int64)
    if len(np.unique(members)) < len(members):
        raise ValueError("a row is a member of the set twice")
    if (strata.of_row[members] < 0).any():
        raise ValueError(f"row {int(members[strata.of_row[members] < 0][0])} is in no stratum")
    result = np.empty((number, len(members)), np.int64)
    for index in np.unique(strata.of_row[members]):
        columns = np.flatnonzero(strata.of_row[members] == index)
        result[:, columns] = strata.rows[index][_draw(len(strata.rows[index]), len(columns), number, rng)]
    return result


def p_value(value: float, null: NDArray[np.float64]) -> float:
    """One-sided: (1 + number of random values of at least `value`) / (1 + all of them) (Phipson & Smyth 2010).

    A value and an equal one computed in another order must not differ: comparison to 1e-9 of the values' scale.
    """
    slack = 1e-9 * max(1.0, abs(value))
    return float((1 + np.count_nonzero(null >= value - slack)) / (1 + len(null)))


def _draw(size: int, chosen: int, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`chosen` different ones of 0 .. size - 1 in random order, `number` times: Fisher and Yates' shuffle, cut short."""
    if chosen == 1:
        return rng.integers(0, size, (number, 1))
    cards = np.broadcast_to(np.arange(size, dtype=np.int32), (number, size)).copy()
    each = np.arange(number)
    for step in range(chosen):
        other = rng.integers(step, size, number)
        cards[each, other], cards[:, step] = cards[:, step].copy(), cards[each, other]
    return cards[:, :chosen].astype(np.int64)
