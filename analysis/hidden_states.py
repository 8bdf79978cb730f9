"""One layer's hidden states of running text: how anisotropic they are, how much of a token and of its text they hold.

After Ethayarajh 2019, all by cosine of the states as they are:

- baseline: mean cosine of two tokens of different examples;
- self-similarity: mean cosine over pairs of occurrences of one token, mean over tokens with at least LEAST_CONTEXTS, minus baseline;
- intra-sentence similarity: mean cosine of a token's state with the mean state of its example, minus baseline;

and the intrinsic dimension (intrinsic_dimension.py) and IsoScore (isotropy.py). Intervals draw whole examples anew, with
replacement; for the dimension each token keeps its measured ratio of distances, because a token drawn twice would lie at distance 0
from itself. They say nothing of other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval
from claims import Estimate
from intrinsic_dimension import neighbour_ratios, two_nn
from isotropy import isoscore
from neighbours import unit_rows

LEAST_CONTEXTS = 5
RESAMPLES = 200
OVER = "examples"
MEASURES = ("baseline", "self_similarity", "intra_sentence", "dimension", "isoscore")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Text:
    """Whose states they are: `example` numbers 0 to E - 1 (token,), `groups` the tokens that occur often (each its places).

    `drawn` float64 (1 + RESAMPLES, E): how often each example is counted; the first row is 1 throughout.
    """

    example: NDArray[np.intp]
    groups: list[NDArray[np.intp]]
    drawn: Floats


def text_of(row: NDArray[np.integer], example: NDArray[np.integer], *, seed: int = 0) -> Text:
    """What the measures need to know of tokens with these rows and examples (token,)."""
    names, place = np.unique(example, return_inverse=True)
    order = np.argsort(row, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(row[order])) + 1)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    return Text(
        place.ravel(),
        [group for group in groups if len(group) >= LEAST_CONTEXTS],
        np.concatenate([np.ones((1, len(names))), drawn]),
    )


def measure_layer(states: NDArray[np.floating], text: Text) -> dict[str, Estimate]:
    """Each of MEASURES of one layer's states (token, dim)."""
    states = states.astype(np.float32)
    units = unit_rows(states)
    base = baseline(units, text)
    ratios, places = neighbour_ratios(states)
    dimension = np.array([two_nn(ratios, drawn[text.example[places]]) for drawn in text.drawn])
    centred = states - states.mean(axis=0)
    variances = np.linalg.eigvalsh((centred.T @ centred).astype(np.float64))
    return {
        "baseline": _estimate(base),
        "self_similarity": _estimate(self_similarity(units, text) - base),
        "intra_sentence": _estimate(intra_sentence(units, states, text) - base),
        "dimension": _estimate(dimension),
        "isoscore": Estimate(isoscore(variances), None, OVER),
    }


def baseline(units: NDArray[np.float32], text: Text) -> Floats:
    """Mean cosine of two tokens of different examples, in each draw: from the sums of the examples' unit vectors."""
    sums, sizes = _sums(units, text)
    inner = sums @ sums.T
    np.fill_diagonal(inner, 0)
    pairs = np.outer(sizes, sizes)
    np.fill_diagonal(pairs, 0)
    above, below = (((text.drawn @ matrix) * text.drawn).sum(axis=1) for matrix in (inner, pairs))
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def self_similarity(units: NDArray[np.float32], text: Text) -> Floats:
    """Mean cosine over pairs of occurrences of a token, mean over tokens, in each draw; NaN where no token occurs often."""
    total, counted = np.zeros(len(text.drawn)), np.zeros(len(text.drawn))
    for group in text.groups:
        drawn = text.drawn[:, text.example[group]]
        own = units[group].astype(np.float64)
        inner = own @ own.T
        np.fill_diagonal(inner, 0)
        above = ((drawn @ inner) * drawn).sum(axis=1)
        below = drawn.sum(axis=1) ** 2 - np.square(drawn).sum(axis=1)  # an occurrence drawn twice is no pair
        known = below > 0
        total[known] += above[known] / below[known]
        counted += known
    return np.divide(total, counted, out=np.full(len(total), np.nan), where=counted > 0)


def intra_sentence(units: NDArray[np.float32], states: NDArray[np.floating], text: Text) -> Floats:
    """Mean cosine of a token's state with its example's mean, in each draw; examples of one token are left out."""
    sums, sizes = _sums(states, text)
    cosine = np.einsum("ij,ij->i", units, unit_rows(sums)[text.example])
    total = np.bincount(text.example, weights=cosine, minlength=len(sums))
    used = sizes > 1
    below = text.drawn[:, used] @ sizes[used]
    return np.divide(text.drawn[:, used] @ total[used], below, out=np.full(len(text.drawn), np.nan), where=below > 0)


def _sums(values: NDArray[np.floating], text: Text) -> tuple[Floats, Floats]:
    """Sum of the tokens' vectors of each example (E, dim), and how many they are (E,)."""
    order = np.argsort(text.example, kind="stable")
    sizes = np.bincount(text.example)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.add.reduceat(values[order].astype(np.float64), starts, axis=0), sizes.astype(np.float64)


def _estimate(draws: Floats) -> Estimate:
    """The first is the value, the others its resamples."""
    return Estimate(float(draws[0]), percentile_interval(draws[1:]), OVER)
