"""E4's numbers as tables: one row an arm for machines (CSV, JSON), short ones for readers, and all data of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import parameters
from claims import as_columns, combine_seeds
from cli import plain
from page import shown
from repetition_tables import words
from sharing_geometry import GROUPS
from sharing_run import WORDS
from table_alignment import MEASURES
from translation_quality import METRICS

if TYPE_CHECKING:
    from sharing_result import SharingResult

LONGEST = 400  # characters of an example that are shown


def arm_rows(result: SharingResult) -> list[dict[str, Any]]:
    """One dictionary an arm: seeds, parameters, speed, scores and differences to `none` as `name`, `name_low`, `name_high`, `name_over`."""
    rows = []
    for arm, runs in result.runs.items():
        count = result.counts.get(arm)
        row: dict[str, Any] = {
            "arm": arm,
            "shared": WORDS[arm],
            "seeds": ",".join(map(str, runs)),
            "parameters": None if count is None else count.counted,
            "parameters_closed_form": None if count is None else count.closed,
            "parameters_in_tables": None if count is None else count.in_tables,
            "parameters_share": None if arm not in result.savings else result.savings[arm].share,
        }
        measures = {
            "target_tokens_a_second": None if result.speed is None else result.speed.rate.get(arm),
            "speed_ratio": None if result.speed is None else result.speed.ratio.get(arm),
        }
        for metric in METRICS:
            measures[metric] = result.scores.get(arm, {}).get(metric)
            found = result.compared(arm, "none", metric)
            measures[f"{metric}_minus_none"] = None if found is None else found.combined
        for name, estimate in measures.items():
            row |= as_columns(name, estimate)
        rows.append(row)
    return rows


def arms_table(result: SharingResult) -> list[list[str]]:
    """For readers: each arm's parameters, speed side by side, and scores."""
    lines = [["arm", "seeds", "parameters", "against none", "target tokens/s", *METRICS]]
    for arm, runs in result.runs.items():
        count, saving = result.counts.get(arm), result.savings.get(arm)
        rate = None if result.speed is None else result.speed.rate.get(arm)
        lines.append(
            [
                arm,
                ", ".join(map(str, runs)),
                "–" if count is None else f"{count.counted:,}",
                "–" if saving is None else f"{100 * saving.share:+.1f} %",
                words(rate, digits=0),
                *(words(result.scores.get(arm, {}).get(metric), digits=2) for metric in METRICS),
            ]
        )
    return lines


def differences_table(result: SharingResult) -> list[list[str]]:
    """For readers: paired differences of the scores, with what the interval is over and sacrebleu's p by seed."""
    lines = [["difference", "metric", "points", "over", "seeds", "p, sacrebleu's paired bootstrap"]]
    for entry in result.differences:
        lines.append(
            [
                f"{entry.first} − {entry.second}",
                entry.metric,
                words(entry.combined, digits=2, signed=True),
                entry.combined.over,
                ", ".join(map(str, entry.seeds)),
                ", ".join(f"{test.p[entry.metric]:.3f}" for test in entry.tested),
            ]
        )
    return lines


def types_table(result: SharingResult) -> list[list[str]]:
    """For readers: BLEU by type of sentence and the difference of `all` to `none`."""
    arms = list(result.scores)
    pairs = [pair for pair in (("all", "none"), ("decoder", "none")) if result.compared(*pair) is not None]
    lines = [
        [
            "sentences",
            "n",
            *[f"BLEU {arm}" for arm in arms],
            *[f"{one} − {two}" for one, two in pairs],
            "may be the largest",
        ]
    ]
    for entry in result.contexts.types if result.contexts is not None else []:
        may = ("yes" if entry.particular else "no") if entry.used else "no: too few"
        lines.append(
            [
                entry.label,
                f"{entry.sentences:,}",
                *(f"{entry.bleu[arm]:.2f}" if entry.sentences and arm in entry.bleu else "–" for arm in arms),
                *(words(entry.differences.get(pair), digits=2, signed=True) for pair in pairs),
                may,
            ]
        )
    return lines


def speed_table(result: SharingResult) -> list[list[str]]:
    """For readers: speeds and ratios with intervals over rounds."""
    lines = [["arm", "target tokens a second", "ratio to none"]]
    for arm in result.speed.arms if result.speed is not None else []:
        ratio = result.speed.ratio.get(arm)  # type: ignore[union-attr]
        lines.append([arm, words(result.speed.rate[arm], digits=0), "1" if arm == "none" else words(ratio)])  # type: ignore[union-attr]
    return lines


def tables_table(result: SharingResult) -> list[list[str]]:
    """For readers: geometry of each table, over its seeds."""
    found = result.geometry
    heads = {
        "spearman_seen": "Spearman, seen",
        "pearson_seen": "Pearson, seen",
        "spearman_all": "Spearman, all",
        "pearson_all": "Pearson, all",
        "mean pairwise cosine": "mean pairwise cosine",
        "norm of mean / mean norm": "norm of mean / mean norm",
    }
    lines = [["arm: table", "counts of", "seeds", *heads.values(), "over"]]
    for arm, label in found.places if found is not None else []:
        entries = found.of(arm, label)  # type: ignore[union-attr]
        combined = {name: combine_seeds([entry.measures[name] for entry in entries]) for name in heads}
        lines.append(
            [
                f"{arm}: {label}",
                "both sides" if entries[0].side == "both" else f"{entries[0].side} side",
                ", ".join(str(entry.seed) for entry in entries),
                *(words(estimate, signed=True) for estimate in combined.values()),
                combined["spearman_seen"].over,
            ]
        )
    return lines


def alignment_table(result: SharingResult) -> list[list[str]]:
    """For readers: likeness of each pair of tables by group of tokens, each measure with what unrelated rows give."""
    if result.geometry is None:
        return [["tables"]]
    first = f"at update {result.geometry.first:,}"
    names = ("linear CKA", first, "null", "Procrustes residual", first, "null", "shared neighbours", first, "chance")
    lines = [["tables", "tokens", "n", *names]]
    for pair in result.geometry.pairs:
        combined, null, begin = pair.combined, pair.null, pair.at_first
        cells = [text for m in MEASURES for text in (words(combined[m]), f"{begin[m]:.3f}", f"{null[m]:.3f}")]
        lines.append([pair.title, GROUPS[pair.group], f"{pair.tokens:,}", *cells])
    return lines


def examples_table(result: SharingResult) -> list[list[str]]:
    """For readers: the chosen sentences side by side."""
    lines = [["sentence", "source", "reference", "none", "all", "chrF none / all"]]
    for entry in result.examples:
        texts = [shown(text, LONGEST) for text in (entry.source, entry.reference, entry.first, entry.second)]
        lines.append([f"{entry.number + 1}: {entry.why}", *texts, f"{entry.chrf_first:.0f} / {entry.chrf_second:.0f}"])
    return lines


def parameter_words(result: SharingResult) -> list[str]:
    """Sentences: each arm's count beside the closed form, and what sharing saves."""
    counts = list(result.counts.values())
    return [parameters.words(found) for found in counts] + [
        parameters.saving_words(found, counts) for found in result.savings.values()
    ]


def metric_table(result: SharingResult) -> list[list[str]]:
    """For readers: what sacrebleu's command line prints for each run, less the signature."""
    lines = [["run", *METRICS]]
    for entry in result.all_runs:
        if entry.scores is not None:
            lines.append([entry.name, *(entry.scores.line[metric].partition(" = ")[2] for metric in METRICS)])
    return lines


def metric_signatures(result: SharingResult) -> list[str]:
    """sacrebleu's signatures, each once: of the scores, and of its paired test with its seed."""
    scores = [entry.scores.signature[m] for m in METRICS for entry in result.all_runs if entry.scores is not None]
    tests = [test.signature[m] for m in METRICS for gap in result.differences if gap.metric == m for test in gap.tested]
    return [*dict.fromkeys(scores), *(f"paired test: {text}" for text in dict.fromkeys(tests))]


def data(result: SharingResult) -> dict[str, Any]:
    """For machines: everything that was measured, with signatures."""
    contexts = result.contexts
    runs = {
        entry.name: {
            "signature": entry.signature,
            "update": entry.update,
            "sentences": None if entry.translation is None else len(entry.translation.sources),
            "scores": None if entry.scores is None else entry.scores.score,
            "sacrebleu": None if entry.scores is None else entry.scores.signature,
            "last_validation_loss": None if not len(entry.valid.values) else float(entry.valid.values[-1]),
            "label_smoothed_loss": entry.smoothed,
        }
        for entry in result.all_runs
    }
    types = [
        {
            **{name: getattr(entry, name) for name in ("name", "label", "particular", "used", "sentences", "bleu")},
            "differences": {f"{one}-{two}": plain(gap) for (one, two), gap in entry.differences.items()},
        }
        for entry in (contexts.types if contexts is not None else [])
    ]
    deciding = ("seeds", "compared", "largest", "loss", "loss_ordinary", "excess", "problem")
    geometry = None
    if result.geometry is not None:
        geometry = {
            "update": result.geometry.update,
            "tables": plain(result.geometry.tables),
            "pairs": [
                {"tables": [list(p.first), list(p.second)], "group": p.group, "seeds": p.seeds, "tokens": p.tokens}
                | {"measures": plain(p.combined), "null": p.null, "at_first_update": p.at_first}
                for p in result.geometry.pairs
            ],
        }
    return plain(
        {
            "arms": arm_rows(result),
            "runs": runs,
            "parameters": {"counts": result.counts, "savings": result.savings},
            "speed": None if result.speed is None else {"rounds": result.speed.rounds, **plain(result.speed)},
            "differences": result.differences,
            "types": types,
            "contexts": None if contexts is None else {name: getattr(contexts, name) for name in deciding},
            "geometry": geometry,
            "examples": result.examples,
            "signatures": result.signatures,
        }
    )
