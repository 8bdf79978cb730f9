"""The report's part on categories and opposites of one arm (claims C7), for every experiment that has an embedding table of words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import category_tables as tables
import clustering
from captions import Caption
from category_figures import CAPTIONS
from category_result import ClusteringResult
from claims import Claim, merge_signatures, require_learning
from evidence import Evidence
from page import Section
from runs import Run

TITLE = "Categories and opposites in the full space (C7)"
SNAPSHOTS = 5  # of each run: a second each


def add(
    evidence: Evidence, section: Section, name: str, runs: Sequence[Run]
) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Test the runs (the seeds of one arm) and put figures and tables on the page; the claims, and the tables for machines.

    `name` is the anchor's and the figures' folder.
    """
    section.heading(f"{name}-categories", TITLE)
    ask = partial(clustering.analyse, snapshots=SNAPSHOTS)
    results: list[ClusteringResult] = evidence.measure(runs, {"categories": ask})["categories"]
    if not results:
        section.text("No run of this arm has snapshots, which the tests of categories need.")
        return [], []
    first = results[0]
    section.text(
        f"{first.tokens.report()} {first.matching} Words that the training text lacks are not tested. A category clusters where both its "
        "silhouette and the purity of its nearest tokens reach p < 0.01, corrected by Holm over all categories and both measures, and the purity "
        "is at least twice chance. The trend over token count is taken off because frequent words share a drift of their own: less the common "
        "vector alone, any list of frequent words would look like a cluster. Intervals are over the category's tokens."
    )
    if first.few:
        few = ", ".join(f"{category} ({found})" for category, found in first.few.items())
        section.text(f"Not tested, for too few tokens beside their random sets: {few}.")
    words = (
        "" if len(results) == 1 else f" Figures and tables show the first of {len(results)} seeds; verdicts use all."
    )
    section.text(f"{counts(first)}{words}")
    for path in clustering.figures(results, evidence.figures / name):
        if path.suffix == ".png":
            _embed(section, path, evidence.figures, CAPTIONS[path.stem])
    for caption, rows in (
        (f"Every category at update {first.last.update:,}; intervals are 95 % over tokens.", tables.summary(first)),
        (
            "Opposites: mean cosine of the pairs. Intervals are 95 % over pairs, as if other pairs were drawn; the "
            "p-value of other partners keeps the words and permutes who is paired with whom, so that the spread between words is not in it.",
            tables.opposites_table(first),
        ),
    ):
        if len(rows) > 1:
            section.table(caption, rows[0], rows[1:])
    section.signature(merge_signatures([result.signature for result in results]))
    return _claims(evidence, runs, results), [
        {"signature": result.signature, "summary": tables.summary(result), "opposites": tables.opposites_table(result)}
        for result in results
    ]


def counts(result: ClusteringResult) -> str:
    """One sentence: how many categories cluster, by kind."""
    parts = []
    for kind, grammatical in (("semantic", False), ("grammatical", True)):
        tests = [test for test in result.last.categories if test.grammatical == grammatical]
        if tests:
            parts.append(f"{sum(test.clustered for test in tests)} of {len(tests)} {kind} categories")
    return (
        f"At update {result.last.update:,}, {' and '.join(parts)} cluster." if parts else "No category could be tested."
    )


def _claims(evidence: Evidence, runs: Sequence[Run], results: Sequence[ClusteringResult]) -> list[Claim]:
    checks = [evidence.learning(run) for run in runs]
    losses = [check.valid_loss for check in checks if check.valid_loss is not None]
    entropy = next((check.unigram_entropy for check in checks if check.unigram_entropy is not None), None)
    return [require_learning(claim, fmean(losses) if losses else None, entropy) for claim in clustering.claims(results)]


def _embed(section: Section, path: Path, below: Path, words: Caption) -> None:
    place = path.relative_to(below.parent).with_suffix("").as_posix()
    section.figure(path, words.alt, words.text, f"{place}.png, .pdf")
