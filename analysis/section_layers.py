"""The report's section of E2: parameters and hidden states by layer (claims C5.1 and C5.2)."""

from __future__ import annotations

from pathlib import Path

import layers
import layers_tables as tables
import section_categories
from claims import merge_signatures
from evidence import Evidence, comparable
from layers_captions import CAPTIONS
from layers_result import LayersResult
from page import Section
from section_outcome import Outcome

TITLE = "E2: what the layers do"
GROUPS = {
    "verdicts": ("Parameters in the embedding space (C5)", ("layers_parameters", "layers_kinds")),
    "tokens": ("What the layers' vectors point at", ("layers_homogeneity",)),
    "states": ("Hidden states by layer", ("layers_states", "layers_cka")),
    "map": ("The study's picture", ("layers_map",)),
}


def section(evidence: Evidence) -> Outcome:
    """E2's section: why the verdicts came out so, figures, trends beside their controls, examples; categories (C7)."""
    outcome = Outcome(Section(evidence.experiment, TITLE))
    page = outcome.section
    result = layers.analyse(evidence)
    outcome.claims = result.claims
    outcome.anchors = {"C5": f"{evidence.experiment}-verdicts"}
    outcome.data = tables.data(result)
    page.text(
        "A parameter vector is what a layer reads from the residual stream or writes to it: rows of the first feed-forward matrix, columns "
        "of the second, and the singular vectors of each head's output-value product. Seen in the embedding space, a vector is its cosines "
        "to all counted tokens, less the common vector. Controls: the same model untrained, the same model trained on shuffled text, and "
        "random directions. Layers are numbered from 0 as in the study."
    )
    if result.left_out:
        page.text(f"Left out because they are not finished: {', '.join(result.left_out)}.")
    written = {path.stem: path for path in layers.figures(result, evidence.figures / page.id) if path.suffix == ".png"}
    parts = {"verdicts": _verdicts, "tokens": _tokens, "states": _states, "map": _map}
    for place, (title, names) in GROUPS.items():
        page.heading(f"{page.id}-{place}", title)
        parts[place](page, result)
        for name in names:
            if name in written:
                _embed(page, written[name], evidence.figures)
    if result.signatures:
        page.signature(merge_signatures(result.signatures))
    _categories(evidence, outcome, result)
    return outcome


def _categories(evidence: Evidence, outcome: Outcome, result: LayersResult) -> None:
    """C7 of the arm that decides, in a report without E1, which decides C7 where it was run."""
    if "E1" in evidence.beside_it:
        return
    runs, _ = comparable(evidence.arms().get(result.main or layers.BASE, []))
    if runs:
        claims, tested = section_categories.add(evidence, outcome.section, evidence.experiment, runs)
        outcome.claims += claims
        outcome.data = {**outcome.data, "categories": tested}
        outcome.anchors["C7"] = f"{evidence.experiment}-categories"


def _verdicts(page: Section, result: LayersResult) -> None:
    for claim in result.claims:
        page.text(f"{claim.id}: {claim.verdict}. {claim.reason[:1].upper()}{claim.reason[1:]}.")
    for entry in result.runs(result.main):
        page.text(f"Arm {entry.arm}, seed {entry.seed}: {entry.learned}")
    _table(
        page,
        "Concentration by layer, and other measures of the trained model (mean over kinds).",
        tables.layers_table(result),
    )
    _table(
        page,
        "How much each measure changes from the first layer to the last: slope of the least-squares line times its length, with the 95 % "
        "interval over layers (over seeds with three models or more). Hidden states begin with the embedding's output.",
        tables.trends_table(result),
    )
    _table(
        page,
        "Concentration of the lower and the higher half of the layers by kind of vector.",
        tables.kinds_table(result),
    )


def _tokens(page: Section, result: LayersResult) -> None:
    found = result.first.parameters if result.first is not None else None
    if found is None:
        page.text("No run has parameter vectors (parameters.npz); see what is missing.")
        return
    page.text(
        f"Looked at: {found.trained.chosen.shape[2]} vectors of each layer and kind. Labels: {tables.label_words(found)}."
    )
    rows = tables.examples_table(result)
    caption = (
        f"The most coherent vectors of the lower, middle and higher third of the layers ({tables.EXAMPLES} each; at most one a layer and "
        f"kind), {result.first.name if result.first is not None else ''}: the 10 tokens nearest to each. Chosen for their coherence, so "
        "they are the clearest and not the usual ones. A vector of attention is shown on its heavier side."
    )
    page.table(caption, rows[0], rows[1:], prose=True)


def _states(page: Section, result: LayersResult) -> None:
    states = next((run.states for run in result.runs(result.main) if run.states is not None), None)
    if states is None:
        page.text("No run has hidden states (layers.npz); see what is missing.")
        return
    page.text(
        f"{states.tokens:,} tokens of {states.examples:,} held-out examples, nothing masked; {states.repeated:,} tokens occur at least 5 times "
        "and make the self-similarity. Intervals are over examples. For masked LMs a fall of self-similarity to the top is not a matter of "
        "course: they take up context and then rebuild the token (Voita et al. 2019)."
    )
    if "accuracy" not in result.runs(result.main)[0].series:
        page.text("No probe by layer (layers_probe.npz): it needs a treebank.")


def _map(page: Section, result: LayersResult) -> None:
    if result.first is None or result.first.parameters is None:
        page.text("No run has parameter vectors (parameters.npz); see what is missing.")


def _embed(page: Section, path: Path, below: Path) -> None:
    words = CAPTIONS[path.stem]
    place = path.relative_to(below.parent).with_suffix("").as_posix()
    page.figure(path, words.alt, words.text, f"{place}.png, .pdf")


def _table(page: Section, caption: str, rows: list[list[str]]) -> None:
    if len(rows) > 1:
        page.table(caption, rows[0], rows[1:])
