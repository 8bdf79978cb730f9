"""The report's sections, one function for each experiment: runs in; blocks for the page, claims and data out.

An experiment joins by an entry in SECTIONS, and its claims by one in CLAIMS_OF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import common_vector
import frequency
import isotropy
import learning
import projection
import section_categories
import section_cause
import section_layers
import section_repetition
import section_sharing
import training_log
from claims import Claim, merge_signatures, not_run
from cli import plain
from curves import spread
from dump import Dump, signature
from evidence import Evidence, comparable, plain_table
from explorer import explorer_data
from page import Section
from runs import Run, command
from section_outcome import Outcome
from section_outcome import embed as _figures

SLIDER_STEPS = 12
ISOTROPY_SNAPSHOTS = 4  # the costliest measures: a few seconds for each snapshot
Maps: TypeAlias = tuple[projection.MapResult, dict[str, Any]]
TABLES = {
    "learning": "Mean cosine of the groups' rows to all other counted rows, at the first and at the last snapshot.",
    "frequency": "Correlations with token count, and the mean cosine of zero-count minus that of seen rows; 95 % intervals over tokens.",
    "common_vector": "Mean cosine to the common vector at update 0, at the end of the first tenth and at the end; ratio: power of "
    "the oscillation over that of independent increments.",
    "isotropy": "Measures of all counted rows at the first and at the last snapshot (@update).",
}
CLAIMS_OF = {"C1": "E1", "C2": "E1", "C3": "E3", "C4": "E1", "C5": "E2", "C6": "E4", "C7": "E1"}
CLAIMS_OF |= {f"D{number}": "E5" for number in range(1, 7)}


def missing_claim(claim_id: str, found: Sequence[str]) -> Claim:
    """The entry of a claim that nothing was measured for: `not run`, with the reason and the command that helps."""
    experiment = CLAIMS_OF[claim_id[:2]]
    if experiment in found:
        return not_run(claim_id, f"no run of experiment {experiment} has a recording from which it can be measured")
    return not_run(claim_id, f"experiment {experiment} has not been run: {command(experiment)}")


def base(evidence: Evidence) -> Outcome:
    """E1, or a user's own experiment: how the embeddings of a masked LM are learned (C1, C2, C4, C7)."""
    anchor = re.sub(r"[^A-Za-z0-9_-]+", "-", evidence.experiment)
    outcome = Outcome(Section(anchor, f"{evidence.experiment}: how a masked LM's token embeddings are learned"))
    arms = evidence.arms()
    main = "base" if "base" in arms else next(iter(arms))
    for arm, runs in arms.items():
        _base_arm(evidence, outcome, arm, runs, decides=arm == main)
    return outcome


def _base_arm(evidence: Evidence, outcome: Outcome, arm: str, runs: list[Run], *, decides: bool) -> None:
    section, out = outcome.section, evidence.figures
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{evidence.experiment}-{arm}")  # a folder's name and an anchor
    used, left_out = comparable(runs)
    seeds = f"{'one seed' if len(used) == 1 else f'{len(used)} seeds'} ({', '.join(str(run.seed) for run in used)})"
    section.text(f"Arm {arm}, {seeds}." + ("" if decides else " The verdicts above are those of another arm."))
    for run in left_out:
        section.text(f"{run.name} is not finished and is left out of the figures and verdicts of this arm.")
    if decides:
        places = {"C1": "learning", "C2": "frequency", "C4": "common_vector", "C7": "categories"}
        outcome.anchors = {key: f"{name}-{place}" for key, place in places.items()}
    maps = _start_maps(evidence, used)
    section.heading(f"{name}-training", "Training")
    _training(evidence, section, used, out / name)
    questions = {"learning": learning, "frequency": frequency, "common_vector": common_vector, "isotropy": isotropy}
    asked: dict[str, Callable[[Dump], Any]] = {key: module.analyse for key, module in questions.items()}
    asked["isotropy"] = partial(isotropy.analyse, snapshots=ISOTROPY_SNAPSHOTS)
    results = evidence.measure(used, asked)
    titles = {
        "learning": "Learning pattern by frequency group (C1)",
        "frequency": "Frequency against cosine (C2)",
        "common_vector": "The common vector (C4)",
        "isotropy": "Isotropy",
    }
    for key, module in questions.items():
        section.heading(f"{name}-{key}", titles[key])
        if not results[key]:
            section.text("No run of this arm has what this needs; see what is missing.")
            continue
        if decides and key != "isotropy":
            outcome.claims += module.claims(results[key])
        _figures(section, module.figures(results[key], out / name), out)
        _summary(section, module, results[key])
        section.signature(merge_signatures([result.signature for result in results[key]]))
    clusters, tested = section_categories.add(evidence, section, name, used)
    outcome.claims += clusters if decides else []
    section.heading(f"{name}-map", "A map of the categories, and the tokens one by one")
    _interactive(evidence, section, name, maps)
    outcome.data[arm] = {
        "seeds": [_run_data(evidence, run) for run in runs],
        "categories": tested,
        **{key: plain(value) for key, value in _tables(questions, results).items()},
    }


def _training(evidence: Evidence, section: Section, runs: Sequence[Run], out: Path) -> None:
    logs = {f"seed {run.seed}": log for run in runs if (log := evidence.log(run)) is not None}
    if not logs:
        section.text("No run of this arm has a training log.")
        return
    entropies = {evidence.unigram_entropy(run) for run in runs} - {None}
    _figures(section, training_log.figures(logs, entropies.pop() if len(entropies) == 1 else None, out), out.parent)
    for run in runs:
        section.text(f"Seed {run.seed}: {evidence.learning(run).reason}")


def _summary(section: Section, module: Any, results: Sequence[Any]) -> None:
    """A question's table: of one seed as it is, of several their mean with the lowest and highest."""
    tables = [module.summary(result) for result in results]
    head, body = plain_table(_over_seeds(tables))
    spread_words = (
        "One seed: no spread over seeds" if len(tables) == 1 else f"Mean of {len(tables)} seeds [lowest, highest]"
    )
    section.table(f"{TABLES[module.__name__]} {spread_words}.", head, body)


def _over_seeds(tables: Sequence[Sequence[Sequence[Any]]]) -> list[list[Any]]:
    first = [list(row) for row in tables[0]]
    shapes = {tuple(len(row) for row in table) for table in tables}
    if len(tables) == 1 or len(shapes) > 1:
        return first
    merged = []
    for rows in zip(*tables, strict=True):
        merged.append([_merged(cells) for cells in zip(*rows, strict=True)])
    return merged


def _merged(cells: Sequence[Any]) -> Any:
    if all(isinstance(cell, float) for cell in cells):
        return f"{sum(cells) / len(cells):.4f} [{min(cells):.4f}, {max(cells):.4f}]"
    return cells[0]


def _start_maps(evidence: Evidence, runs: Sequence[Run]) -> dict[str, tuple[Run, Future[Maps] | None]]:
    """The runs that have snapshots, by name; the maps of the first are begun in the thread beside."""
    dumps = {
        run.name: (run, dump) for run in runs if (dump := evidence.dump(run)) and len(dump.table().snapshot_updates)
    }
    first = next(iter(dumps), None)
    return {
        name: (run, evidence.beside.submit(_maps, dump, evidence.points) if name == first else None)
        for name, (run, dump) in dumps.items()
    }


def _interactive(
    evidence: Evidence, section: Section, name: str, started: dict[str, tuple[Run, Future[Maps] | None]]
) -> None:
    """The map and the two interactive plots, of the first run of which they can be made."""
    for run, future in started.values():

        def ask(dump: Dump, future: Future[Maps] | None = future) -> Maps:
            return future.result() if future else _maps(dump, evidence.points)

        found = evidence.measure([run], {"interactive": ask})["interactive"]
        if found:
            break
    else:
        section.text("No run of this arm has snapshots, which the map and the interactive plots need.")
        return
    maps, data = found[0]
    out = evidence.figures
    _figures(section, projection.figures(maps, out / name), out)
    section.text(maps.categories.report())
    projected = maps.projection
    section.text(f"The plots below show {run.name}; the map's {projection.describe(projected, -1)}.")
    shown_tokens = len(data["tokens"]["row"])
    section.explorer(
        f"{name}-explorer",
        data,
        {
            "scatter_alt": "Interactive scatter plot of token count against mean cosine at one update.",
            "scatter_caption": f"{shown_tokens:,} tokens: all category words, the map's tokens and a sample of each "
            "frequency group. Tokens of count 0 stand side by side at the left. Point at a token for its count, norm, mean "
            "cosine and nearest neighbours (for other tokens than category words, those at the last update). Values of "
            "single tokens are exact for this table; their spread over tokens is seen, that over seeds is not.",
            "map_alt": "Interactive t-SNE map of tokens at one update.",
            "map_caption": f"t-SNE of {len(projected.rows):,} tokens (categories and the most frequent), carried over the "
            "updates from the last one backwards. A picture, not evidence.",
        },
    )
    section.signature(maps.signatures[-1])


def _maps(dump: Dump, points: int) -> Maps:
    table = dump.table()
    updates = [int(update) for update in spread(table.snapshot_updates, SLIDER_STEPS)]
    maps = projection.analyse(dump, updates=updates, points=points, jobs=1)
    return maps, explorer_data(table, maps.categories, maps.projection, updates)


def _tables(questions: dict[str, Any], results: dict[str, list[Any]]) -> dict[str, Any]:
    """For machines: the summaries of each question, one for each seed, with its signature."""
    return {
        key: [{"signature": result.signature, "summary": questions[key].summary(result)} for result in found]
        for key, found in results.items()
    }


def _run_data(evidence: Evidence, run: Run) -> dict[str, Any]:
    check = evidence.learning(run)
    dump = evidence.dump(run)
    return {
        "seed": run.seed,
        "finished": run.finished,
        "seconds": run.seconds,
        "profile": run.info.get("profile"),
        "command": run.info.get("command"),
        "hardware": run.info.get("hardware"),
        "signature": signature(dump) if dump else None,
        "valid_loss_bits": check.valid_loss,
        "unigram_entropy_bits": check.unigram_entropy,
        "beats_unigram_entropy_by_a_tenth": check.beats,
    }


SECTIONS: dict[str, Callable[[Evidence], Outcome]] = {
    "E1": base,
    "E2": section_layers.section,
    "E3": section_repetition.section,
    "E4": section_sharing.section,
    "E5": section_cause.section,
}


def section_of(experiment: str) -> Callable[[Evidence], Outcome]:
    """The function that reports an experiment: its own, or E1's for a name that the user chose."""
    return SECTIONS.get(experiment, base)
