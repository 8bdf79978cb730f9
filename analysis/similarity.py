"""Word similarity of an embedding table against human judgements: WordSim-353 and SimLex-999.

    python analysis/similarity.py runs/E3/all-distinct/seed1/dump.zarr --out DIR

Spearman's correlation of the cosine of two words' rows with the human score, over the pairs of which both words are one token
with a leading space; the others are counted as out of vocabulary. It is given of the table as it is and of the table less the
common vector, over all covered pairs and over those whose words the run has seen (by exposure). Intervals are over pairs.
The lists are those that gensim carries in its package: Finkelstein et al. 2002 and Hill et al. 2015.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval
from claims import Claim, Estimate
from cli import NOT_IN_JSON, question, run
from correlation import correlation_estimates, spearman
from curves import Curve, over_seeds, spread
from dump import Dump, Table, signature
from exposure import read_exposure
from geometry import common_vector
from plots import OKABE_ITO, new_figure, save, update_axis
from streams import DumpError

FILES = {"WordSim-353": "wordsim353.tsv", "SimLex-999": "simlex999.txt"}
VARIANTS = ("raw", "centred")
SNAPSHOTS_READ = 12
OVER = "pairs"
OPTIONS = {"update": "analyse this snapshot (default: the last)"}


@dataclass(frozen=True)
class PairList:
    """A list of word pairs with a human score each: `pairs` (n,), `human` float64 (n,)."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    human: NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One list on one table. `covered` of `pairs` pairs have both words as one token, `seen` of these were seen by the run.

    `correlation` and `correlation_seen` hold Spearman by variant. `missing` are the words that are not one token. For
    comparisons, `cosines` by variant and `seen_pairs` (pairs,), NaN and False where a word has no row.
    """

    pairs: int
    covered: int
    seen: int | None
    missing: tuple[str, ...]
    correlation: dict[str, Estimate]
    correlation_seen: dict[str, Estimate]
    cosines: dict[str, NDArray[np.float64]] = field(metadata=NOT_IN_JSON)
    seen_pairs: NDArray[np.bool_] = field(metadata=NOT_IN_JSON)


@dataclass(frozen=True)
class SimilarityResult:
    """One run: the last snapshot's scores by list, and Spearman over snapshots by list and variant."""

    signature: str
    update: int
    scores: dict[str, Score]
    over_updates: dict[str, dict[str, Curve]]


@cache
def pair_lists() -> dict[str, PairList]:
    """The lists, from gensim's package data (which needs no import of gensim). Raises DumpError where gensim is missing."""
    spec = find_spec("gensim")
    if spec is None or spec.origin is None:
        raise DumpError("word similarity needs the lists inside the gensim package: pip install gensim")
    folder = Path(spec.origin).parent / "test" / "test_data"
    return {name: read_pairs(name, folder / file) for name, file in FILES.items()}


def read_pairs(name: str, path: Path) -> PairList:
    """Read `word TAB word TAB score` lines; lines that begin with # are comments. Raises DumpError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        cells = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
        pairs = tuple((first.strip(), second.strip()) for first, second, _ in cells)
        return PairList(name, pairs, np.array([float(score) for *_, score in cells]))
    except (OSError, ValueError) as error:
        raise DumpError(
            f"{path}: expected lines of two words and a score, tabs between ({error}); reinstall gensim"
        ) from None


def find_rows(texts: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Rows of both words of each pair, int64 (pairs, 2), -1 where " word" is not one token; and those words, sorted.

    Words keep their case. Of several rows with one text the first is taken.
    """
    row_of = {text: row for row, text in reversed(list(enumerate(texts)))}
    rows = np.array([[row_of.get(f" {word}", -1) for word in pair] for pair in pairs], np.int64).reshape(-1, 2)
    missing = {
        word
        for pair, places in zip(pairs, rows, strict=True)
        for word, row in zip(pair, places, strict=True)
        if row < 0
    }
    return rows, tuple(sorted(missing))


def pair_cosines(
    values: NDArray[np.floating], rows: NDArray[np.int64], shift: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Cosine of each pair of rows of a table (less `shift`, (dim,)), float64 (pairs,); NaN for row -1 and zero norm."""
    first, second = (values[rows[:, side]].astype(np.float64) for side in (0, 1))
    if shift is not None:
        first, second = first - shift, second - shift
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    usable = (rows >= 0).all(axis=1) & (lengths > 0)
    dots = np.einsum("ij,ij->i", first, second)
    return np.divide(dots, lengths, out=np.full(len(rows), np.nan), where=usable)


def analyse(dump: Dump, table: str | None = None, *, update: int | None = None, seed: int = 0) -> SimilarityResult:
    """Measure one run at `update` (default: the last snapshot). Raises DumpError, GeometryError."""
    entry = dump.table(table)
    if not len(entry.snapshot_updates):
        raise entry.error("the dump holds no snapshots, which word similarity needs; record with snapshots")
    update = int(entry.snapshot_updates[-1]) if update is None else update
    exposure = read_exposure(dump)
    seen = None if exposure is None else exposure.tokens(update, entry.side).seen
    lists = pair_lists()
    found = {name: find_rows(entry.texts, each.pairs) for name, each in lists.items()}
    cosines = _cosines(entry, update, {name: rows for name, (rows, _) in found.items()})
    scores = {name: _score(lists[name], *found[name], cosines[name], seen, seed) for name in lists}
    curves: dict[str, dict[str, list[float]]] = {name: {variant: [] for variant in VARIANTS} for name in lists}
    updates = spread(entry.snapshot_updates[entry.snapshot_updates <= update], SNAPSHOTS_READ)
    for known in updates:
        at = (
            cosines
            if known == update
            else _cosines(entry, int(known), {name: rows for name, (rows, _) in found.items()})
        )
        for name, variants in curves.items():
            for variant, values in variants.items():
                values.append(_spearman(at[name][variant], lists[name].human))
    return SimilarityResult(
        signature=signature(dump, entry, update),
        update=update,
        scores=scores,
        over_updates={
            name: {variant: Curve(updates, np.array(values, np.float64)) for variant, values in variants.items()}
            for name, variants in curves.items()
        },
    )


def score_difference(
    first: SimilarityResult,
    second: SimilarityResult,
    name: str,
    *,
    variant: str = "raw",
    seen_only: bool = True,
    seed: int = 0,
) -> Estimate:
    """Spearman of `first` minus that of `second` on the pairs that both cover and, with `seen_only`, whose words both have seen."""
    one, two, human = first.scores[name], second.scores[name], pair_lists()[name].human
    usable = np.isfinite(one.cosines[variant]) & np.isfinite(two.cosines[variant])
    if seen_only and one.seen is not None and two.seen is not None:
        usable &= one.seen_pairs & two.seen_pairs
    x, y, human = one.cosines[variant][usable], two.cosines[variant][usable], human[usable]
    if len(human) < 3:
        return Estimate(math.nan, None, OVER)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(human), (500, len(human)))
    samples = np.array([spearman(x[rows], human[rows]) - spearman(y[rows], human[rows]) for rows in chosen])
    return Estimate(spearman(x, human) - spearman(y, human), percentile_interval(samples), OVER)


def claims(results: Sequence[SimilarityResult]) -> list[Claim]:
    """None: the scores stand beside C3.2 and decide no claim."""
    return []


def figures(results: Sequence[SimilarityResult], out: Path) -> list[Path]:
    """Spearman over snapshots, one panel a list."""
    figure, axes = new_figure(columns=len(FILES), width=4.6, height=3.6)
    for axis, name in zip(axes.flat, FILES, strict=True):
        for variant, colour in zip(VARIANTS, OKABE_ITO, strict=False):
            mean, low, high = over_seeds([result.over_updates[name][variant] for result in results])
            axis.plot(mean.updates, mean.values, color=colour, marker="o", markersize=3, label=variant)
            if len(results) > 1:
                axis.fill_between(mean.updates, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_title(name)
        update_axis(axis, results[0].over_updates[name]["raw"].updates)
    axes[0, 0].set_ylabel("Spearman with human scores")
    axes[0, 0].legend(loc="best")
    return save(figure, out, "similarity")


def summary(result: SimilarityResult) -> list[list[str | float | int]]:
    """The printed table: coverage and Spearman of each list and variant with its interval."""
    lines: list[list[str | float | int]] = [[f"update {result.update}", "pairs", "of", "Spearman", "low", "high"]]
    for name, score in result.scores.items():
        for words, estimates, pairs in (
            ("", score.correlation, score.covered),
            (", seen words", score.correlation_seen, score.seen),
        ):
            for variant, estimate in estimates.items():
                interval = estimate.interval or (math.nan, math.nan)
                lines.append([f"{name} {variant}{words}", pairs or 0, score.pairs, estimate.value, *interval])
    return lines


def _cosines(
    table: Table, update: int, rows: dict[str, NDArray[np.int64]]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    values = table.snapshot(update)
    common, _ = common_vector(values, table)
    return {
        name: {"raw": pair_cosines(values, places), "centred": pair_cosines(values, places, common)}
        for name, places in rows.items()
    }


def _score(
    pairs: PairList,
    rows: NDArray[np.int64],
    missing: tuple[str, ...],
    cosines: dict[str, NDArray[np.float64]],
    seen: NDArray[np.bool_] | None,
    seed: int,
) -> Score:
    covered = np.isfinite(cosines["raw"])
    both = np.zeros(len(rows), bool) if seen is None else covered & seen[rows].all(axis=1)

    def estimate(values: NDArray[np.float64], usable: NDArray[np.bool_]) -> Estimate:
        usable = usable & np.isfinite(values)
        found = correlation_estimates(values[usable], pairs.human[usable], seed=seed)[1]
        return Estimate(found.value, found.interval, OVER)

    return Score(
        pairs=len(rows),
        covered=int(covered.sum()),
        seen=None if seen is None else int(both.sum()),
        missing=missing,
        correlation={variant: estimate(values, covered) for variant, values in cosines.items()},
        correlation_seen={}
        if seen is None
        else {variant: estimate(values, both) for variant, values in cosines.items()},
        cosines=cosines,
        seen_pairs=both,
    )


def _spearman(cosines: NDArray[np.float64], human: NDArray[np.float64]) -> float:
    usable = np.isfinite(cosines)
    return spearman(cosines[usable], human[usable])


if __name__ == "__main__":
    run(lambda: question(sys.modules[__name__], "similarity"))
