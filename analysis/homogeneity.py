"""Do the tokens that a vector points at belong together: pairs of its nearest tokens that share a label, against chance.

Of the pairs of labelled tokens among a vector's nearest ones, `observed` is the share with one label, over all pairs of all vectors;
`expected` is the share among all pairs of labelled tokens of the vocabulary, which is what random labels give.

- lift = observed / expected; 1 by chance.
- agreement = (observed - expected) / (1 - expected): 0 by chance, 1 where all pairs share (the form of Cohen's kappa).

Labels are the categories that categories.json calls grammatical, its other ones (semantic), and with a treebank parts of speech. In
the first two few tokens have a label, and so few pairs count: how many is given with each number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from categories import CategoryTokens, words

GRAMMATICAL = words().grammatical


@dataclass(frozen=True)
class Labels:
    """One way to label tokens: `of_row` int64 (rows,), -1 without a label; `expected` agreement of two random labelled tokens."""

    name: str
    of_row: NDArray[np.int64]
    expected: float

    @property
    def labelled(self) -> int:
        return int((self.of_row >= 0).sum())


def labels(name: str, label_of: Mapping[int, str], rows: int) -> Labels | None:
    """Labels by row; None where fewer than 2 labels have a token, or all pairs share one: agreement means nothing then."""
    names = sorted(set(label_of.values()))
    number = {label: place for place, label in enumerate(names)}
    of_row = np.full(rows, -1, np.int64)
    for row, label in label_of.items():
        of_row[row] = number[label]
    sizes = np.bincount(of_row[of_row >= 0], minlength=1).astype(np.float64)
    total = sizes.sum()
    if len(names) < 2:
        return None
    expected = float((sizes * (sizes - 1)).sum() / (total * (total - 1)))
    return Labels(name, of_row, expected) if 0 < expected < 1 else None


def category_labels(tokens: CategoryTokens, rows: int) -> list[Labels]:
    """The grammatical and the semantic categories, as far as the vocabulary has their words."""
    parts = {"grammatical": {}, "semantic": {}}
    for category, members in tokens.rows.items():
        part = parts["grammatical" if category in GRAMMATICAL else "semantic"]
        part |= dict.fromkeys(members, category)
    return [found for name, part in parts.items() if (found := labels(name, part, rows)) is not None]


def shared_pairs(nearest: NDArray[np.int64], found: Labels) -> NDArray[np.float64]:
    """For each of m vectors with nearest rows (m, k): pairs that share a label, and pairs of labelled tokens, float64 (m, 2)."""
    of = found.of_row[nearest]
    order = np.sort(of, axis=1)
    labelled = (order >= 0).sum(axis=1)
    same = np.zeros(len(of))
    for step in range(1, of.shape[1]):  # equal labels stand side by side: runs of r give r - 1, r - 2, ... pairs
        same += ((order[:, step:] == order[:, :-step]) & (order[:, step:] >= 0)).sum(axis=1)
    return np.stack([same, labelled * (labelled - 1) / 2], axis=1)


def lift(pairs: NDArray[np.float64], found: Labels) -> NDArray[np.float64]:
    """Of sums or means of `shared_pairs` (..., 2); NaN without any pair."""
    return _observed(pairs) / found.expected


def agreement(pairs: NDArray[np.float64], found: Labels) -> NDArray[np.float64]:
    """Of sums or means of `shared_pairs` (..., 2); NaN without any pair."""
    return (_observed(pairs) - found.expected) / (1 - found.expected)


def _observed(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs[..., 1] > 0, pairs[..., 0] / pairs[..., 1], np.nan)
