"""The report's section of E5: what makes the tables drift (claims D1 to D6)."""

from __future__ import annotations

from pathlib import Path

import cause
import cause_tables as tables
from cause import CauseResult
from cause_design import CauseDesign
from cause_isotropy import isotropy_words
from cause_run import CauseRun
from claims import merge_signatures
from cli import plain
from evidence import Evidence
from page import Section
from runs import Missing, command
from section_outcome import Outcome, embed

TITLE = "E5: what makes the embedding tables drift"
GROUPS = {
    "verdicts": ("Optimisers and remedies (D3, D6)", ("cause_drift",)),
    "loss": ("Loss (D4)", ("cause_loss", "cause_differences", "cause_frequency")),
    "mechanisms": (
        "What the drift is made of (D1, D2)",
        ("cause_mechanisms", "cause_roles", "cause_groups", "cause_gradients", "cause_zero_sum", "cause_second_moment"),
    ),
    "similarity": ("Word similarity (D5)", ("cause_similarity",)),
    "isotropy": ("Is more isotropic better here?", ("cause_isotropy",)),
}
ANCHORS = {"D1": "mechanisms", "D2": "mechanisms", "D3": "verdicts", "D4": "loss", "D5": "similarity", "D6": "verdicts"}
NEEDED = {  # arms that a claim needs
    ("adam", True): "D1 to D5",
    ("coupled", True): "D3 to D5",
    ("sgd", True): "D3 and D4",
    ("adam", False): "D1 and D6",
    ("coupled", False): "D6",
}


def section(evidence: Evidence) -> Outcome:
    """E5's section: arms, figures, tables, why the verdicts came out so, and what is missing."""
    outcome = Outcome(Section(evidence.experiment, TITLE))
    page = outcome.section
    result = cause.analyse(evidence)
    for key, claims in NEEDED.items():
        if result.arm_of(*key) is None:
            words = f"{evidence.experiment}: no arm is {CauseDesign(*key).words}, which {claims} {'needs' if len(claims) == 2 else 'need'}."
            evidence.missing.append(Missing(words, command(evidence.experiment, "standard")))
    outcome.claims = result.claims
    outcome.anchors = {claim: f"{evidence.experiment}-{place}" for claim, place in ANCHORS.items()}
    outcome.data = _data(result)
    page.text(
        "Every arm trains the same model on the same text for the same updates; arms differ in how the embedding tables are "
        "trained, and in whether input and output share one table. What an arm is follows from the configuration in its recording. "
        "r is the norm of the common vector (the mean of the counted rows) over the rows' mean norm. Intervals are 95 % intervals over "
        "seeds with three seeds or more, else over tokens, updates, examples or pairs of one run, which says nothing of other seeds."
    )
    if result.left_out:
        page.text(f"Left out because they are not finished: {', '.join(result.left_out)}.")
    for text in dict.fromkeys(result.unmatched):
        page.text(f"Not compared in loss: {text}.")
    _parts(result, outcome, evidence.figures)
    return outcome


def _parts(result: CauseResult, outcome: Outcome, out: Path) -> None:
    page = outcome.section
    written = {}
    if result.arms:
        written = {path.stem: path for path in cause.figures(result, out / page.id) if path.suffix == ".png"}
    for place, (title, names) in GROUPS.items():
        page.heading(f"{page.id}-{place}", title)
        if not result.arms:
            page.text("No run of this experiment has a recording that can be read; see what is missing.")
            continue
        if place == "verdicts":
            _table(page, "Arms and their tables, last update.", tables.arms_table(result))
        for claim in result.claims:
            if ANCHORS[claim.id] == place:
                page.text(f"{claim.id}, {claim.verdict}: {claim.reason}.")
        embed(page, [written[name] for name in names if name in written], out)
        if place == "mechanisms":
            _mechanisms(page, result)
        if place == "similarity":
            page.text(tables.coverage_words(result))
            _table(
                page,
                "Word similarity of the last snapshots (Spearman with human scores; centred: less the common vector).",
                tables.similarity_table(result),
            )
        if place == "isotropy":
            for text in isotropy_words(result):
                page.text(text)
    if result.signatures:
        page.signature(merge_signatures(result.signatures))


def _mechanisms(page: Section, result: CauseResult) -> None:
    split = tables.mechanism_table(result)
    if len(split) < 2:
        page.text("No run has both the stream cause and two snapshots, which the parts of the drift need.")
        return
    _table(
        page,
        "The drift is the change of the mean of all rows from the first to the last snapshot. Shares of it by mechanism: the rows' own second "
        "moments (under centring also what centring takes off), the summed gradients with one second moment for all rows, and weight "
        "decay. Not explained: the error of recording some of the updates only.",
        split,
    )
    for text in dict.fromkeys(
        f"{arm.name}, {place}: {found.reason}."
        for arm in result.arms
        for entry in arm.runs[:1]
        for place, table in entry.tables.items()
        if (found := table.mechanisms) is not None and found.reason
    ):
        page.text(text)
    _table(
        page,
        "Pushes of the mean along the drift by the role of the rows, under the arm's rule without momentum, as shares of their sum.",
        tables.role_table(result),
    )
    _table(
        page,
        "By frequency group: how far a row was moved along the common vector, and the share of its squared update that is its own.",
        tables.group_table(result),
    )


def _table(page: Section, caption: str, rows: list[list[str]]) -> None:
    if len(rows) > 1:
        page.table(caption, rows[0], rows[1:])


def _data(result: CauseResult) -> dict:
    """For machines: the arms' rows, each run's numbers, and the paired differences."""
    return {
        "arms": plain(tables.arm_rows(result)),
        "runs": {entry.name: _run_data(entry) for arm in result.arms for entry in arm.runs},
        "comparisons": [
            {"first": found.first, "second": found.second, "seeds": found.seeds, "paired": plain(found.paired)}
            for found in result.comparisons.values()
        ],
        "isotropy": isotropy_words(result),
    }


def _run_data(entry: CauseRun) -> dict:
    return {
        "signature": entry.signature,
        "design": plain(entry.design),
        "updates": entry.updates,
        "valid_loss_bits": entry.learning.valid_loss,
        "unigram_entropy_bits": entry.learning.unigram_entropy,
        "held_out": plain(entry.heldout),
        "tables": {
            place: {
                "name": table.name,
                "r": plain(table.end),
                "isotropy": plain(table.isotropy_end),
                "mechanisms": plain(table.mechanisms),
                "similarity": None
                if table.similarity is None
                else {name: plain(score) for name, score in table.similarity.scores.items()},
            }
            for place, table in entry.tables.items()
        },
    }
