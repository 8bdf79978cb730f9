"""How closely a set of tokens stands together among the tokens of its strata (the pool), for one set and for many at once.

All measures use cosines between unit rows, in the full space.

- silhouette of a member (Rousseeuw 1987) with cosine distance and two clusters, the set and the rest of the pool: with a the mean
  distance to the other members and b that to the rest, (b - a) / max(a, b); 1 for a tight set far from the rest, 0 for none.
- purity: share of a member's k nearest tokens of the pool that are members.
- within: mean cosine to the other members; between: mean cosine to the rest of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exact_knn import largest_columns

K = 10  # neighbours of the purity, at most; of a set of n members n - 1, so that 1 can be reached


@dataclass(frozen=True)
class Pool:
    """`similar` float32 (pool, pool): cosines; `nearest` int64 (pool, k): places of each row's k nearest others; `near` int8
    (pool, pool): 1 where the column is among them."""

    similar: NDArray[np.float32]
    nearest: NDArray[np.int64]
    near: NDArray[np.int8]

    @property
    def k(self) -> int:
        return self.nearest.shape[1]


@dataclass(frozen=True)
class Measures:
    """float64, one number for each member of a set, or for each set the mean over its members."""

    silhouette: NDArray[np.float64]
    purity: NDArray[np.float64]
    within: NDArray[np.float64]
    between: NDArray[np.float64]


def make_pool(unit: NDArray[np.float32], k: int) -> Pool:
    """The pool of unit rows (pool, dim). Raises ValueError: fewer than k other rows."""
    if not 1 <= k < len(unit):
        raise ValueError(f"expected k from 1 to {len(unit) - 1} among {len(unit)} tokens, found {k}")
    similar = (unit @ unit.T).astype(np.float32)
    others = similar.copy()
    np.fill_diagonal(others, -np.inf)
    nearest = largest_columns(others, k)
    near = np.zeros(similar.shape, np.int8)
    np.put_along_axis(near, nearest, 1, axis=1)
    np.fill_diagonal(similar, 1)
    return Pool(similar, nearest, near)


def member_measures(pool: Pool, places: NDArray[np.integer]) -> Measures:
    """Of each member of the set at the places (members,) of the pool. Raises ValueError: fewer than 2 members, or all of the pool."""
    size, count = len(pool.similar), len(places)
    if not 2 <= count < size:
        raise ValueError(f"expected 2 to {size - 1} members of a pool of {size} tokens, found {count}")
    inside = pool.similar[np.ix_(places, places)].astype(np.float64).sum(axis=1) - 1
    whole = pool.similar[places].sum(axis=1, dtype=np.float64) - 1
    within, between = inside / (count - 1), (whole - inside) / (size - count)
    purity = pool.near[np.ix_(places, places)].sum(axis=1) / pool.k
    return Measures(_silhouette(within, between), purity, within, between)


def set_measures(pool: Pool, sets: NDArray[np.integer]) -> Measures:
    """Means over the members of each of many sets of places (sets, members); no place twice in a set."""
    size, count = len(pool.similar), sets.shape[1]
    whole = pool.similar.sum(axis=1, dtype=np.float64) - 1
    similar, linked = pool.similar.ravel(), (pool.near + pool.near.T).ravel()
    inside = np.zeros(sets.shape[::-1])
    links = np.zeros(len(sets), np.int64)
    columns = np.ascontiguousarray(sets.T, dtype=np.int64)
    for first in range(count):
        base = columns[first] * size
        for second in range(first + 1, count):
            pairs = base + columns[second]
            cosines = similar[pairs]
            inside[first] += cosines
            inside[second] += cosines
            links += linked[pairs]
    within, between = inside / (count - 1), (whole[columns] - inside) / (size - count)
    return Measures(
        silhouette=_silhouette(within, between).mean(axis=0),
        purity=links / (count * pool.k),
        within=within.mean(axis=0),
        between=between.mean(axis=0),
    )


def expected_purity(pool: Pool, strata: NDArray[np.integer], places: NDArray[np.integer]) -> float:
    """The mean purity of random sets with as many members of each stratum as the set at `places`; `strata` (pool,): each place's.

    Two tokens of strata s and t are both drawn with probability (m_s / n_s) (m_t / n_t), of one stratum with
    m_s (m_s - 1) / (n_s (n_s - 1)); the expected number of links between members follows without drawing.
    """
    names, of = np.unique(strata, return_inverse=True)
    sizes = np.bincount(of, minlength=len(names)).astype(np.float64)
    drawn = np.bincount(of[places], minlength=len(names)).astype(np.float64)
    both = np.outer(drawn / sizes, drawn / sizes)
    same = np.divide(drawn * (drawn - 1), sizes * (sizes - 1), out=np.zeros_like(sizes), where=sizes > 1)
    np.fill_diagonal(both, same)
    ends = (of[:, None] * len(names) + of[pool.nearest]).ravel()
    links = np.bincount(ends, minlength=len(names) ** 2).reshape(both.shape)
    return float((links * both).sum() / (len(places) * pool.k))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's adjusted p-values (1979), in the order given: the chance of any false rejection stays below the level."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty(len(p))
    result[order] = np.minimum(steps, 1)
    return result


def _silhouette(within: NDArray[np.float64], between: NDArray[np.float64]) -> NDArray[np.float64]:
    """From mean cosines: distances are 1 - cosine, so b - a = within - between."""
    larger = np.maximum(1 - within, 1 - between)
    return np.divide(within - between, larger, out=np.zeros_like(larger), where=larger > 0)
