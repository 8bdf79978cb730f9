"""The report's section of E4: translation with shared embeddings (claims C6.1 to C6.4)."""

from __future__ import annotations

import sharing
import sharing_tables as tables
from claims import merge_signatures
from evidence import Evidence
from page import Section
from parameters import stock_words
from section_outcome import Outcome, embed
from sharing_examples import RULE
from sharing_result import SharingResult

TITLE = "E4: translation with shared embeddings"
GROUPS = {
    "verdicts": ("Parameters, quality and speed (C6)", ("sharing_parameters", "sharing_quality", "sharing_speed")),
    "types": ("Quality by type of sentence (C6.4)", ("sharing_types",)),
    "geometry": ("What the tables become", ("sharing_frequency", "sharing_alignment")),
    "learning": ("Learning curves", ("sharing_learning",)),
}


def section(evidence: Evidence) -> Outcome:
    """E4's section: arms, figures, tables, examples, why the verdicts came out so."""
    outcome = Outcome(Section(evidence.experiment, TITLE))
    page = outcome.section
    result = sharing.analyse(evidence)
    outcome.claims = result.claims
    outcome.anchors = {"C6": f"{evidence.experiment}-verdicts"}
    outcome.data = tables.data(result)
    page.text(
        "All arms have one joint vocabulary of both languages and see the same training. none: encoder, decoder input and decoder output "
        "have a table each; decoder: the decoder's two are one; all: one table serves all three. Differences are paired: by sentence "
        "of one test set and by seed, for speed by round. Intervals are 95 % intervals over seeds with three seeds or more, else over "
        "sentences (tokens in tables), which says nothing of other seeds."
    )
    if result.left_out:
        page.text(f"Left out because they are not finished: {', '.join(result.left_out)}.")
    written = {path.stem: path for path in sharing.figures(result, evidence.figures / page.id) if path.suffix == ".png"}
    parts = {"verdicts": _verdicts, "types": _types, "geometry": _geometry, "learning": _learning}
    for place, (title, names) in GROUPS.items():
        page.heading(f"{page.id}-{place}", title)
        parts[place](page, result)
        embed(page, [written[name] for name in names if name in written], evidence.figures)
    if result.signatures:
        page.signature(merge_signatures(result.signatures))
    return outcome


def _verdicts(page: Section, result: SharingResult) -> None:
    _table(
        page,
        "Arms: parameters counted in the model, speed side by side, and scores of the test set.",
        tables.arms_table(result),
    )
    for claim in result.claims:
        page.text(f"{claim.id}: {claim.verdict}. {claim.reason[:1].upper()}{claim.reason[1:]}.")
    page.text(
        " ".join([*tables.parameter_words(result), stock_words()])
        if tables.parameter_words(result)
        else "No run has a model.json, which the parameters are read from."
    )
    _table(
        page,
        "Paired differences of the scores. p: sacrebleu's own paired bootstrap test (sacrebleu.significance.PairedTest), one a seed.",
        tables.differences_table(result),
    )
    _table(
        page,
        "Scores as sacrebleu's command line prints them for hypotheses.txt against references.txt; its signatures stand below.",
        tables.metric_table(result),
    )
    for line in tables.metric_signatures(result):
        page.signature(line)
    _table(
        page,
        "Target tokens a second, summed over rounds, and the ratio; intervals over rounds.",
        tables.speed_table(result),
    )


def _types(page: Section, result: SharingResult) -> None:
    found = result.contexts
    if found is None:
        page.text("No run has translations with words.npz, which the types of sentences need; see what is missing.")
    else:
        page.text(
            "Types are made of the source sentences and the training counts of their words alone. Rare: fewer than 10 occurrences in the "
            "source training text. Words of both sides occur in the source and in the target text: names, numbers, cognates, and "
            "words that only look alike. Shares divide at the median of the sentences that have any."
        )
        if found.problem:
            page.text(f"{found.problem[:1].upper()}{found.problem[1:]}.")
    _table(
        page,
        "BLEU by type of sentence (mean over seeds) and paired differences, 95 % intervals.",
        tables.types_table(result),
    )
    rows = tables.examples_table(result)
    if len(rows) > 1:
        page.table(f"Example sentences of the first common seed. {RULE}.", rows[0], rows[1:], prose=True)


def _geometry(page: Section, result: SharingResult) -> None:
    if result.geometry is None:
        page.text("No run has a recording of translation with snapshots, which this needs; see what is missing.")
        return
    _table(
        page,
        f"Each table at update {result.geometry.update:,}: correlation of a row's mean cosine with log count (seen tokens) or log(count + 1) (all).",
        tables.tables_table(result),
    )
    _table(
        page,
        "How alike two tables are over the rows of the joint vocabulary, beside where they began (arms of one seed share the first table's "
        "initial values) and what rows in random order give (null, chance).",
        tables.alignment_table(result),
    )


def _learning(page: Section, result: SharingResult) -> None:
    if not any(len(entry.valid.updates) for entry in result.all_runs):
        page.text("No run has a training log with validation losses.")


def _table(page: Section, caption: str, rows: list[list[str]]) -> None:
    if len(rows) > 1:
        page.table(caption, rows[0], rows[1:])
