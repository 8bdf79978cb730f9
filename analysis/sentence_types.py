"""Quality by type of sentence (claim C6.4): BLEU of the arms on short, long, rare-word, ... sentences, paired by sentence.

Types are made of the source side alone, never of a translation. Words are those of words.npz, counts those of the training split:

- length: words of the source; short up to the lower tercile, long above the upper one, medium between.
- rare words: share of source words that occur fewer than RARE times in the source training text (never counts as rare);
  none, some (up to the median of the sentences that have any), many (above it).
- words of both sides: share of source words that occur in the source *and* in the target training text (names, numbers,
  cognates, words that only look alike), none / some / many likewise. Most source words occur on one side only.
- unseen words: at least one source word that never occurs in the source training text. Numerals: a digit in the raw source.
- ordinary: medium length and no rare word: what the study calls an ordinary sentence.

A type's *loss* is BLEU(none) - BLEU(all) on its sentences. C6.4 asks whether the largest loss among the particular types (those
that are not the plain side of a division) is at least twice the ordinary one. The largest of m noisy numbers is too large, so
every type gets an interval over sentences at level 1 - 0.05 / m (Bonferroni: together they hold with 95 %), and the interval
of the largest is [max of the lower ends, max of the upper ends]: above 0 only where some one type is, after the correction
for having looked at m; below 0 only where all are. Types and ordinary sentences are drawn in the same resamples, so that
sentences that they share are accounted for; losses are means over the seeds, which translate the same drawn sentences.
With three seeds or more the interval also covers Student's t over seeds, in which each seed measures the type that the *other*
seeds choose as the largest, so that no seed measures its own choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval
from claims import LEVEL, Estimate, combine_seeds
from cli import NOT_IN_JSON
from translation_files import Words
from translation_quality import OVER, Scores, bleu, resampled_sums

RARE = 10
LEAST = 50  # sentences of a type that is used
RESAMPLES = 4000  # an interval at level 1 - 0.05 / 10 has 10 resamples beyond each end
ORDINARY = "ordinary"
NUMERAL = re.compile(r"\d")


@dataclass(frozen=True)
class SentenceType:
    """A type of sentence: `inside` bool (sentences,). `particular`: it may be the one in which quality is lost."""

    name: str
    label: str
    particular: bool
    inside: NDArray[np.bool_] = field(metadata=NOT_IN_JSON)

    @property
    def sentences(self) -> int:
        return int(self.inside.sum())

    @property
    def used(self) -> bool:
        return self.sentences >= LEAST


@dataclass(frozen=True)
class TypeResult:
    """One type: sentences, BLEU by arm (mean over seeds), and differences by pair of arms as (first, second): 95 % intervals."""

    name: str
    label: str
    particular: bool
    used: bool
    sentences: int
    bleu: dict[str, float]
    differences: dict[tuple[str, str], Estimate]


@dataclass(frozen=True)
class Contexts:
    """All types, and what decides C6.4 (None where it cannot be had; `problem` says why).

    `loss` is the largest particular type's loss and `excess` it less twice the ordinary loss, both with intervals that account
    for the choice among `compared` types; `loss_ordinary` has a plain 95 % interval.
    """

    types: list[TypeResult]
    seeds: list[int]
    compared: int
    largest: str | None = None
    loss: Estimate | None = None
    loss_ordinary: Estimate | None = None
    excess: Estimate | None = None
    problem: str = ""

    def type(self, name: str | None) -> TypeResult | None:
        return next((entry for entry in self.types if entry.name == name), None)


def sentence_types(sources: Sequence[str], words: Words) -> list[SentenceType]:
    """The types of these sentences; every one is returned, also those of few sentences."""
    lengths = words.lengths
    low, high = np.quantile(lengths, [1 / 3, 2 / 3])
    short, long = lengths <= low, lengths > high
    rare = words.number(words.count_source < RARE)
    both = words.number((words.count_source > 0) & (words.count_target > 0))
    unseen = words.number(words.count_source == 0) > 0
    numerals = np.array([NUMERAL.search(text) is not None for text in sources])
    medium = ~short & ~long
    found = [
        (ORDINARY, "ordinary: medium length, no rare word", False, medium & (rare == 0)),
        ("short", f"short: up to {low:.0f} words", True, short),
        ("medium", "medium length", False, medium),
        ("long", f"long: over {high:.0f} words", True, long),
    ]
    for name, label, number, plain in (
        ("rare", "rare words", rare, ("none",)),
        ("both", "words of both sides", both, ()),
    ):
        share = number / np.maximum(lengths, 1)
        middle = float(np.median(share[number > 0])) if (number > 0).any() else 0.0
        parts = {
            "none": (f"no {label}", number == 0),
            "some": (f"some {label}: up to {middle:.0%}", (number > 0) & (share <= middle)),
            "many": (f"many {label}: over {middle:.0%}", (number > 0) & (share > middle)),
        }
        found += [(f"{name}-{part}", text, part not in plain, inside) for part, (text, inside) in parts.items()]
    found += [
        ("unseen", "with a word never seen in training", True, unseen),
        ("seen", "all words seen in training", False, ~unseen),
        ("numerals", "with numerals", True, numerals),
        ("no-numerals", "without numerals", False, ~numerals),
    ]
    return [SentenceType(*entry) for entry in found]


def measure(
    seeds: Mapping[int, Mapping[str, Scores]],
    types: Sequence[SentenceType],
    pairs: Sequence[tuple[str, str]],
    *,
    resamples: int = RESAMPLES,
) -> Contexts:
    """Compare the arms by type. `seeds` gives each seed's scores by arm; `pairs` are the differences wanted (first, second)."""
    pairs = [pair for pair in pairs if any(set(pair) <= set(arms) for arms in seeds.values())]
    samples = {seed: _resampled(arms, types, resamples) for seed, arms in seeds.items()}
    arms = dict.fromkeys(name for found in seeds.values() for name in found)
    results = []
    for place, entry in enumerate(types):
        values = {
            arm: float(np.mean([found[arm][0][place] for found in samples.values() if arm in found])) for arm in arms
        }
        differences = {pair: _difference(samples, *pair, place) for pair in pairs} if entry.sentences > 1 else {}
        results.append(
            TypeResult(entry.name, entry.label, entry.particular, entry.used, entry.sentences, values, differences)
        )
    paired = [seed for seed, found in seeds.items() if {"none", "all"} <= set(found)]
    return _decide(results, types, {seed: samples[seed] for seed in paired})


Samples = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def _resampled(arms: Mapping[str, Scores], types: Sequence[SentenceType], resamples: int) -> Samples:
    """BLEU of each arm by type: as it is (types,), and in each resample (resamples, types), the same sentences for all seeds."""
    inside = np.stack([entry.inside for entry in types], axis=1).astype(np.float64)
    columns = [
        (inside[:, :, None] * scores.statistics["BLEU"][:, None, :]).reshape(len(inside), -1)
        for scores in arms.values()
    ]
    sums = resampled_sums(np.concatenate(columns, axis=1), resamples=resamples, seed=0)
    parts = np.split(sums, len(columns), axis=1)
    return {
        name: (
            bleu(column.sum(axis=0).reshape(len(types), -1)),
            bleu(part.reshape(resamples, len(types), -1)),
        )
        for name, column, part in zip(arms, columns, parts, strict=True)
    }


def _difference(samples: Mapping[int, Samples], first: str, second: str, place: int) -> Estimate:
    """BLEU of `first` minus `second` on one type over the seeds that have both."""
    found = []
    for arms in samples.values():
        if first in arms and second in arms:
            (one, ones), (two, twos) = arms[first], arms[second]
            interval = percentile_interval(ones[:, place] - twos[:, place])
            found.append(Estimate(float(one[place] - two[place]), interval, OVER))
    return combine_seeds(found)


def _decide(results: list[TypeResult], types: Sequence[SentenceType], samples: Mapping[int, Samples]) -> Contexts:
    candidates = [place for place, entry in enumerate(types) if entry.particular and entry.used]
    ordinary = next((place for place, entry in enumerate(types) if entry.name == ORDINARY and entry.used), None)
    seeds, m = list(samples), len(candidates)
    if not samples:
        return Contexts(results, seeds, m, problem="no seed was translated by both arms, none and all")
    if ordinary is None or not candidates:
        lacking = "the ordinary sentences" if ordinary is None else "every particular type"
        return Contexts(results, seeds, m, problem=f"{lacking} are fewer than {LEAST}")
    losses = np.stack([arms["none"][0] - arms["all"][0] for arms in samples.values()])
    drawn = np.mean([arms["none"][1] - arms["all"][1] for arms in samples.values()], axis=0)
    excess, drawn_excess = losses - 2 * losses[:, [ordinary]], drawn - 2 * drawn[:, [ordinary]]
    choice = losses[:, candidates]
    return Contexts(
        results,
        seeds,
        m,
        largest=types[candidates[int(np.argmax(choice.mean(axis=0)))]].name,
        loss=largest(choice, drawn[:, candidates], choice),
        loss_ordinary=_difference(samples, "none", "all", ordinary),
        excess=largest(excess[:, candidates], drawn_excess[:, candidates], choice),
    )


def largest(values: NDArray[np.float64], drawn: NDArray[np.float64], choice: NDArray[np.float64]) -> Estimate:
    """The value of the type with the largest mean `choice`, with an interval that accounts for having chosen it.

    `values` and `choice` are float64 (seeds, types), `drawn` (resamples, types) the resampled means of `values` over seeds. See
    the module's docstring.
    """
    seeds, m = values.shape
    value = float(values.mean(axis=0)[np.argmax(choice.mean(axis=0))])
    intervals = [percentile_interval(column, 1 - (1 - LEVEL) / m) for column in drawn.T]
    known = [interval for interval in intervals if interval is not None]
    if len(known) < m:
        return Estimate(value, None, OVER)
    low, high = (max(interval[end] for interval in known) for end in (0, 1))
    if seeds < 3:
        return Estimate(value, (low, high), OVER)
    others = [int(np.argmax(np.delete(choice, seed, axis=0).mean(axis=0))) for seed in range(seeds)]
    over_seeds = combine_seeds([Estimate(float(values[seed, place]), None) for seed, place in enumerate(others)])
    assert over_seeds.interval is not None  # three seeds or more
    return Estimate(value, (min(low, over_seeds.interval[0]), max(high, over_seeds.interval[1])), f"seeds and {OVER}")
