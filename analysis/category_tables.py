"""The numbers of the categories' tests (C7) as tables for readers; every cell is text.

A p-value of a permutation test with R random sets is at least 1 / (1 + R), and Holm's correction multiplies it: where no random set came up to
the category, the cell says so by `≤` before the smallest value that R allows, and never shows 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from claims import Estimate
from page import shown

if TYPE_CHECKING:
    from category_result import ClusteringResult
    from category_tests import CategoryTest
    from opposites import OppositesTest

KINDS = {False: "semantic", True: "grammatical"}
NONE = "–"


def summary(result: ClusteringResult) -> list[list[str]]:
    """A row for each tested category at the last snapshot, in the order of the figure; the head alone where none was tested."""
    lines = [
        [
            "category",
            "kind",
            "tokens",
            "silhouette",
            "random sets' silhouette",
            "purity",
            "chance",
            "purity / chance",
            "p silhouette (Holm)",
            "p purity (Holm)",
            "clustered",
            "forms at update",
        ]
    ]
    last = result.snapshots[-1] if result.snapshots else None
    for entry in [] if last is None else ordered(last.categories):
        lines.append(
            [
                plain_text(entry.name),
                KINDS[entry.grammatical],
                f"{len(entry.rows):,}",
                interval_words(entry.silhouette),
                number(entry.silhouette_null[1]),
                number(entry.purity.value),
                number(entry.chance),
                interval_words(entry.ratio, digits=2),
                p_words(entry.holm_silhouette, at_least=entry.p_silhouette <= smallest(last.permutations)),
                p_words(entry.holm_purity, at_least=entry.p_purity <= smallest(last.permutations)),
                "yes" if entry.clustered else "no",
                forms_words(result, entry.name),
            ]
        )
    return lines


def opposites_table(result: ClusteringResult) -> list[list[str]]:
    """Two rows: opposites against matched pairs, and against the same words with other partners; the head alone without pairs."""
    lines = [["opposites minus", "pairs", "mean cosine", "of the others", "difference", "random pairs (95 %)", "p"]]
    found = last_opposites(result)
    if found is None:
        return lines
    floor = smallest(result.snapshots[-1].permutations)
    pairs, cosine = f"{len(found.pairs):,}", mean(found.cosines)
    low, _, high = found.null
    band = f"{number(low, signed=True)} to {number(high, signed=True)}"
    for words, other, estimate, between, p in (
        ("matched pairs", mean(found.matched), found.difference, band, found.p),
        # Of cosines that have their own matched means taken off: there is no one mean of the others to show.
        ("matched pairs, less other partners", math.nan, found.repaired, NONE, found.p_repaired),
    ):
        difference = interval_words(estimate, signed=True)
        cells = [number(cosine, signed=True), number(other, signed=True), difference, between]
        lines.append([words, pairs, *cells, p_words(p, at_least=p <= floor)])
    return lines


def pairs_table(result: ClusteringResult) -> list[list[str]]:
    """A row for each pair of opposites, the closest (against its matched pairs) first; the head alone without pairs."""
    lines = [["pair", "cosine", "matched pairs", "difference"]]
    found = last_opposites(result)
    for place in [] if found is None else by_difference(found):
        cosine, matched = found.cosines[place], found.matched[place]
        cells = [number(value, signed=True) for value in (cosine, matched, cosine - matched)]
        lines.append([pair_words(result, found.pairs[place]), *cells])
    return lines


def missing_words(result: ClusteringResult) -> str:
    """What the vocabulary lacks of the lists."""
    return result.tokens.report()


def ordered(tests: Iterable[CategoryTest]) -> list[CategoryTest]:
    """Semantic categories before grammatical ones, within each the highest purity over chance first, and those without a value last."""

    def place(entry: CategoryTest) -> tuple[bool, float, float, str]:
        return entry.grammatical, -_low_if_nan(entry.ratio.value), -_low_if_nan(entry.silhouette.value), entry.name

    return sorted(tests, key=place)


def by_difference(found: OppositesTest) -> list[int]:
    """Places of the pairs, the highest cosine minus matched mean first; pairs without a value last."""
    values = [_low_if_nan(a - b) for a, b in zip(found.cosines, found.matched, strict=True)]
    return sorted(range(len(values)), key=lambda place: -values[place])


def last_opposites(result: ClusteringResult) -> OppositesTest | None:
    """The test of the opposites at the last snapshot; None where no pair could be tested."""
    found = result.snapshots[-1].opposites if result.snapshots else None
    return found if found is not None and found.pairs else None


def forms_words(result: ClusteringResult, name: str) -> str:
    """`512`; `≤ 512` where the category had formed by the first snapshot and that is not update 0; a dash where it has not formed."""
    update = result.forms_at.get(name)
    if update is None:
        return NONE
    return f"≤ {update:,}" if update > 0 and update == result.snapshots[0].update else f"{update:,}"


def smallest(permutations: int) -> float:
    """The smallest p-value of a permutation test with so many random sets, with room for rounding."""
    return (1 + 1e-9) / (1 + permutations)


def p_words(p: float, *, at_least: bool = False) -> str:
    """`0.0023`, below 0.001 two digits that count; with `at_least` (p is the smallest that can be had) `≤ 0.0046`."""
    if not p > 0:  # NaN too; a permutation test gives no 0
        return NONE
    text = f"{p:.4f}" if p >= 0.001 else f"{p:.{1 - math.floor(math.log10(p))}f}"
    return f"≤ {text}" if at_least else text


def interval_words(estimate: Estimate, *, digits: int = 3, signed: bool = False) -> str:
    """`0.123 [0.100, 0.146]`, a dash where there is no value."""
    text = number(estimate.value, digits=digits, signed=signed)
    if text == NONE or estimate.interval is None or not all(map(math.isfinite, estimate.interval)):
        return text
    low, high = (number(end, digits=digits, signed=signed) for end in estimate.interval)
    return f"{text} [{low}, {high}]"


def number(value: float, *, digits: int = 3, signed: bool = False) -> str:
    """A number, without the sign of a rounded zero unless `signed`; a dash where there is none."""
    if not math.isfinite(value):
        return NONE
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def mean(values: Iterable[float]) -> float:
    """The mean of the values there are; NaN without any."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def pair_words(result: ClusteringResult, pair: tuple[int, int]) -> str:
    """`big – small`: the tokens' texts without their leading spaces."""
    first, second = (plain_text(result.texts[row].strip(), 24) for row in pair)
    return f"{first} – {second}"


def plain_text(text: str, most: int = 36) -> str:
    """A text in one line: what cannot be seen as escapes, and not longer than `most`."""
    return shown(text, most)[1:-1]


def _low_if_nan(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
