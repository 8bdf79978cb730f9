"""Made vocabularies and tables for the tests of categories: forms and Zipf counts as real ones have, drift, norms and rogue dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from category_space import Space, category_rows
from category_strata import Strata, make_strata

FORMS = (("{}", 0.25), (" {}", 0.6), (" {}", 0.15))  # pieces, words, and capitalised words with their shares
KINDS = ("gaussian", "drift", "norms", "all")


@dataclass(frozen=True)
class Vocabulary:
    """`frequency` (rows,): log counts of 0 (the rarest) to 1."""

    texts: list[str]
    counts: NDArray[np.int64]
    frequency: NDArray[np.float64]
    strata: Strata


def vocabulary(rows: int, seed: int = 0, size: int = 100) -> Vocabulary:
    """Words of letters in three forms; counts by Zipf's law, roughly falling with the row, the last eighth zero."""
    rng = np.random.default_rng((seed, rows))
    form = rng.choice(len(FORMS), rows, p=[share for _, share in FORMS])
    texts = [FORMS[kind][0].format(word(row, capital=kind == 2)) for row, kind in enumerate(form)]
    counts = (300 * rows / np.arange(1, rows + 1) ** 1.15 * rng.uniform(0.7, 1.4, rows)).astype(np.int64)
    counts[-rows // 8 :] = 0
    frequency = np.log1p(counts) / np.log1p(counts).max()
    return Vocabulary(texts, counts, frequency, make_strata(texts, counts, np.ones(rows, bool), size))


def word(number: int, *, capital: bool = False) -> str:
    """A different word of four letters for each number."""
    letters = "".join(chr(ord("a") + number // 26**place % 26) for place in range(4))
    return letters.capitalize() if capital else letters


def table(kind: str, frequency: NDArray[np.float64], dim: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Rows (rows, dim) with nothing in them but what goes smoothly with the frequency.

    `gaussian`: independent rows; `drift`: rare rows moved far along one direction and frequent ones a little against it;
    `norms`: rows longer the rarer; `all`: both, and three dimensions of much larger mean and variance.
    """
    rows = rng.normal(size=(len(frequency), dim))
    if kind in ("drift", "all"):
        common = rng.normal(size=dim)
        amount = 3 * (1 - frequency) - 1
        rows += amount[:, None] * common * rng.uniform(0.8, 1.2, len(rows))[:, None]
    if kind in ("norms", "all"):
        rows *= np.exp(2 * (1 - frequency) + rng.normal(0, 0.1, len(rows)))[:, None]
    if kind == "all":
        rogue = rng.choice(dim, 3, replace=False)
        rows[:, rogue] = 6 * rows[:, rogue] + rng.normal(0, 10, 3)
    return rows.astype(np.float32)


def steep(strength: float, frequency: NDArray[np.float64], dim: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Rows (rows, dim) that move along one direction by up to `strength` of their own length, the more the rarer."""
    rows, common = rng.normal(size=(len(frequency), dim)), rng.normal(size=dim)
    away = strength * (1 - frequency) * rng.uniform(0.8, 1.2, len(frequency))
    return (rows + away[:, None] * common).astype(np.float32)


def unit(made: Vocabulary, rows: NDArray[np.floating], space: Space = "matched") -> NDArray[np.float32]:
    """The rows as `clustering.py` takes them."""
    return category_rows(rows, made.strata, made.counts, space)


def like_any(strata: Strata, members: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each of the members another row of its stratum, by numpy's own drawing: a category of the null hypothesis."""
    of = strata.of_row[np.asarray(members)]
    drawn = [rng.choice(strata.rows[index], int((of == index).sum()), replace=False) for index in np.unique(of)]
    return np.concatenate(drawn)


def alike_in_frequency(
    made: Vocabulary, size: int, rng: np.random.Generator, spread: float = 0.06
) -> NDArray[np.int64]:
    """`size` rows about one place of the order by count, four in five of one form, as a word list's are."""
    forms = np.array([text[:1] + ("A" if text.strip()[0].isupper() else "a") for text in made.texts])
    order = np.lexsort((np.arange(len(forms)), -made.counts))
    centre = rng.uniform(0.02, 0.7)
    weight = np.empty(len(order))
    weight[order] = np.exp(-0.5 * ((np.arange(len(order)) / len(order) - centre) / spread) ** 2)
    weight *= np.where(forms == rng.choice(forms), 1.0, 0.1)
    return rng.choice(len(weight), size, replace=False, p=weight / weight.sum())
