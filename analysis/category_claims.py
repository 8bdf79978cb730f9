"""The verdicts of C7.1, C7.2 and C7.3 by STUDY.md's rules, from the tests of categories and opposites at the last snapshot.

- C7.1 (colours, pronouns and sizes) and C7.3 (months): each category's k-NN purity is at least twice chance, with its interval, and
  both p-values (silhouette and purity, corrected by Holm over all categories) are below 0.01, in every seed.
- C7.2: the cosine of opposites is more than 0.05 above that of pairs matched in form and token count, with its interval, and p < 0.01.

A p-value that is too large makes a claim inconclusive and never refuses it: few tokens or little learning give one as well. A claim is
refused only by its effect: the whole interval of the ratio below 2, or of the difference below 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from category_tests import RATIO, SIGNIFICANT, CategoryTest
from claims import Claim, Estimate, Rule, decide_claim, without_value

if TYPE_CHECKING:
    from category_result import ClusteringResult

CATEGORIES = {"C7.1": ("colours", "pronouns", "sizes"), "C7.3": ("months",)}
OPPOSITES = "C7.2"
DIFFERENCE = 0.05
STUDY_PAIRS = (("big", "small"), ("liberal", "conservative"))
NOTHING = Estimate(float("nan"), None)


def decide(results: Sequence[ClusteringResult]) -> list[Claim]:
    """The three claims from one result a seed, before the rule about learning (`claims.require_learning`)."""
    if not results:
        return []
    return [
        _clusters("C7.1", results),
        _opposites(results),
        _clusters("C7.3", results),
    ]


def _clusters(claim_id: str, results: Sequence[ClusteringResult]) -> Claim:
    parts, notes, largest = [], [], 0.0
    for name in CATEGORIES[claim_id]:
        tests = [result.test(name) for result in results]
        parts.append(
            (
                f"{name}: k-NN purity over chance",
                Rule(low=RATIO),
                [NOTHING if test is None else test.ratio for test in tests],
            )
        )
        known = [test for test in tests if test is not None]
        if len(known) < len(tests):
            notes.append(f"{name}: too few tokens of the list can be tested")
        if known:
            notes.append(_words(name, known, results))
            # NaN, which no comparison lets through, stays NaN
            largest = float(np.max([largest, *(p for test in known for p in (test.holm_silhouette, test.holm_purity))]))
    return _gated(_claim(claim_id, parts, results, notes), largest)


def _words(name: str, tests: Sequence[CategoryTest], results: Sequence[ClusteringResult]) -> str:
    silhouette = max(test.holm_silhouette for test in tests)
    purity = max(test.holm_purity for test in tests)
    text = f"{name} ({len(tests[0].rows)} tokens): p {p_words(silhouette)} for silhouette and {p_words(purity)} for purity (Holm)"
    formed = [result.forms_at.get(name) for result in results if len(result.snapshots) > 1]
    updates = sorted({update for update in formed if update is not None})
    return text + (f", formed by update {', '.join(f'{update:,}' for update in updates)}" if updates else "")


def _opposites(results: Sequence[ClusteringResult]) -> Claim:
    tests = [result.last.opposites for result in results]
    known = [test for test in tests if test is not None]
    if len(known) < len(tests):
        reason = "fewer than 3 pairs of opposites can be tested"
        return without_value(OPPOSITES, "inconclusive", reason, seeds=len(results), signature=results[0].signature)
    measure = "cosine of opposites minus that of matched pairs"
    parts = [(measure, Rule(low=DIFFERENCE), [test.difference for test in known])]
    notes = [
        f"{len(known[0].pairs)} pairs, p {p_words(max(test.p for test in known))}",
        "minus the same words re-paired "
        + ", ".join(f"{test.repaired.value:+.3f} (p {p_words(test.p_repaired)})" for test in known),
    ]
    for pair in STUDY_PAIRS:
        cosine = results[0].opposite(*pair)
        found = "not tested" if cosine is None else f"{cosine[0]:+.2f}, its matched pairs {cosine[1]:+.2f}"
        notes.append(f"{'/'.join(pair)} {found}")
    return _gated(_claim(OPPOSITES, parts, results, notes), float(np.max([test.p for test in known])))


def _claim(
    claim_id: str,
    parts: Sequence[tuple[str, Rule, Sequence[Estimate]]],
    results: Sequence[ClusteringResult],
    notes: Sequence[str],
) -> Claim:
    return decide_claim(
        claim_id,
        parts,
        [result.signature for result in results],
        note="; ".join(notes),
        updates=min(result.last.update for result in results),
    )


def _gated(claim: Claim, p: float) -> Claim:
    """A claim that would hold needs p < 0.01 as well."""
    if claim.verdict != "holds" or p < SIGNIFICANT:
        return claim
    return replace(claim, verdict="inconclusive", reason=f"{claim.reason}; p is not below {SIGNIFICANT:g}")


def p_words(p: float) -> str:
    """A p-value with two digits, however small."""
    return f"{p:.2f}" if p >= 0.095 else f"{p:.2g}"
