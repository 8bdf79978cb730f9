"""The report's section of E3: repetition and diversity (claims C3.1 and C3.2)."""

from __future__ import annotations

from pathlib import Path

import repetition
import repetition_tables as tables
from claims import merge_signatures
from cli import plain
from evidence import Evidence
from heldout import HeldOut
from page import Section
from repetition import RepetitionResult
from runs import Missing, command
from section_outcome import Outcome, embed

TITLE = "E3: repetition and diversity"
GROUPS = {
    "verdicts": (
        "Loss and memorisation (C3)",
        ("repetition_loss", "repetition_differences", "repetition_memorisation", "repetition_frequency"),
    ),
    "geometry": ("Embedding geometry at equal exposure", ("repetition_geometry",)),
    "downstream": ("Downstream: word similarity and probe", ("repetition_similarity",)),
}


def section(evidence: Evidence) -> Outcome:
    """E3's section: arms, figures, tables, why the verdicts came out so, and what is missing."""
    outcome = Outcome(Section(evidence.experiment, TITLE))
    page = outcome.section
    result = repetition.analyse(evidence)
    _list_missing(evidence, result)
    outcome.claims = result.claims
    outcome.anchors = {"C3": f"{evidence.experiment}-verdicts"}
    outcome.data = _data(result)
    page.text(
        "Every arm sees the same number of updates and of tokens; arms differ in how many of the examples are distinct and in how "
        "they were chosen. A difference is an arm minus another, seed by seed, on the same held-out text with the same masks. Intervals "
        "are 95 % intervals over seeds with three seeds or more, else over examples (whole examples drawn anew), which says "
        "nothing of other seeds."
    )
    if result.left_out:
        page.text(f"Left out because they are not finished: {', '.join(result.left_out)}.")
    for text in result.unmatched:
        page.text(f"{text[:1].upper()}{text[1:]}.")
    _parts(result, outcome, evidence.figures)
    return outcome


def _parts(result: RepetitionResult, outcome: Outcome, out: Path) -> None:
    page = outcome.section
    written = (
        {path.stem: path for path in repetition.figures(result, out / page.id) if path.suffix == ".png"}
        if result.arms
        else {}
    )
    for place, (title, names) in GROUPS.items():
        page.heading(f"{page.id}-{place}", title)
        if not result.arms:
            page.text("No run of this experiment has a recording with a sampling design; see what is missing.")
            continue
        if place == "verdicts":
            _verdicts(page, result)
        embed(page, [written[name] for name in names if name in written], out)
        if place == "geometry":
            _table(
                page,
                "Mean cosines of the last snapshot by frequency group (mean over seeds), and the mean difference to the "
                "all-distinct arm over bins of equal exposure, each bin with the same weight.",
                tables.geometry_table(result),
            )
            if "repetition_geometry" not in written:
                page.text(
                    "No run has both snapshots and counters of exposure, which the comparison at equal exposure needs."
                )
        if place == "downstream":
            page.text(tables.coverage_words(result))
            _table(
                page,
                "Word similarity (Spearman with human scores, intervals over pairs; centred: less the common vector) and the "
                "probe's best layer (accuracy and selectivity over words; the layer was chosen on the same words).",
                tables.downstream_table(result),
            )
            if not any(entry.probe for arm in result.arms for entry in arm.runs):
                page.text("No run has a probe's vectors (probe.npz), so there is no probe accuracy.")
    if result.signatures:
        page.signature(merge_signatures(result.signatures))


def _verdicts(page: Section, result: RepetitionResult) -> None:
    _table(
        page,
        "Arms. Unique tokens: the pool's; tokens: drawn in the run. Held-out loss and its difference to the all-distinct arm; gap: "
        "held-out minus seen loss; memorisation: masked tokens recovered in seen minus unseen examples.",
        tables.arms_table(result),
    )
    for claim in result.claims:
        page.text(f"{claim.id}: {claim.verdict}. {claim.reason[:1].upper()}{claim.reason[1:]}.")
    for arm in result.arms:
        if arm.name == result.base:
            for entry in arm.runs:
                page.text(f"Arm {arm.name}, seed {entry.seed}: {entry.learning.reason}")
    if result.value is not None:
        page.text(result.value.reason)
        _table(
            page,
            "What each repeated arm's tokens were worth, by the all-distinct arm's learning curve.",
            tables.value_table(result),
        )


def _table(page: Section, caption: str, rows: list[list[str]]) -> None:
    if len(rows) > 1:
        page.table(caption, rows[0], rows[1:])


def _list_missing(evidence: Evidence, result: RepetitionResult) -> None:
    """List the parts that no arm plays."""
    roles = {arm.design.role for arm in result.arms}
    needs = {"all-distinct": "C3.1", "repeated": "C3.1 and C3.2", "diverse": "C3.2", "narrow": "C3.2"}
    for role, claims in needs.items():
        if role not in roles:
            evidence.missing.append(
                Missing(
                    f"{evidence.experiment}: no arm is {role}, which {claims} needs.",
                    command(evidence.experiment),
                )
            )


def _data(result: RepetitionResult) -> dict:
    """For machines: the arms' rows, each run's numbers, differences and the effective value."""
    runs = {
        entry.name: {
            "signature": entry.signature,
            "design": plain(entry.design),
            "valid_loss_bits": entry.valid_loss,
            "unigram_entropy_bits": entry.unigram_entropy,
            "held_out": _held_out(entry.heldout),
            "similarity": None
            if entry.similarity is None
            else {name: plain(score) for name, score in entry.similarity.scores.items()},
            "probe": plain(entry.probe),
        }
        for arm in result.arms
        for entry in arm.runs
    }
    compared = [
        {
            "first": found.first,
            "second": found.second,
            "seeds": found.seeds,
            "paired": plain(found.paired),
            "matched": plain(found.matched),
        }
        for found in result.comparisons.values()
    ]
    return {"arms": plain(tables.arm_rows(result)), "runs": runs, "comparisons": compared, "value": plain(result.value)}


def _held_out(found: HeldOut | None) -> dict | None:
    return None if found is None else plain(found)
