"""Example sentences side by side, chosen by a stated rule and not by eye.

RULE: the sentences whose chrF differs most between the two arms, as many in each direction, and then some at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from translation_files import Translation
from translation_quality import Scores, chrf

EACH = 4
AT_RANDOM = 4
SEED = 0
RULE = (
    f"Chosen by rule: the {EACH} sentences with the largest difference in sentence chrF in each direction (of equal ones the first), "
    f"and {AT_RANDOM} of the others at random (seed {SEED})"
)


@dataclass(frozen=True)
class Example:
    """One sentence: its number in the test set (from 0), why it is shown, texts, and its chrF in both arms."""

    number: int
    why: str
    source: str
    reference: str
    first: str
    second: str
    chrf_first: float
    chrf_second: float


def choose(
    names: tuple[str, str], translations: tuple[Translation, Translation], scores: tuple[Scores, Scores]
) -> list[Example]:
    """Examples of two arms that translated the same sentences."""
    first, second = (chrf(entry.statistics["chrF"]) for entry in scores)
    difference = np.round(second - first, 9)
    order = np.argsort(-difference, kind="stable")
    better = [int(place) for place in order[:EACH] if difference[place] > 0]
    worse = [int(place) for place in np.argsort(difference, kind="stable")[:EACH] if difference[place] < 0]
    others = np.setdiff1d(np.arange(len(difference)), [*better, *worse])
    drawn = np.random.default_rng(SEED).choice(others, min(AT_RANDOM, len(others)), replace=False)
    chosen: Sequence[tuple[str, Sequence[int]]] = [
        (f"{names[1]} better", better),
        (f"{names[0]} better", worse),
        ("at random", sorted(int(place) for place in drawn)),
    ]
    one, two = translations
    return [
        Example(
            place,
            why,
            one.sources[place],
            one.references[place],
            one.hypotheses[place],
            two.hypotheses[place],
            float(first[place]),
            float(second[place]),
        )
        for why, places in chosen
        for place in places
    ]
