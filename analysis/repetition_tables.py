"""E3's numbers as tables: one row an arm for machines (CSV, JSON) and short ones for readers."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import probe
from claims import Estimate, as_columns
from repetition_claims import percent
from repetition_run import MEASURES
from similarity import FILES

if TYPE_CHECKING:
    from repetition import ArmResult, RepetitionResult


def arm_rows(result: RepetitionResult) -> list[dict[str, Any]]:
    """One dictionary an arm: its design, then each measure as `name`, `name_low`, `name_high`, `name_over` (None: not had).

    Losses and gaps in bits; `difference_share` is to the all-distinct arm, as a share of its loss.
    """
    rows = []
    for arm in result.arms:
        design = arm.design
        row: dict[str, Any] = {
            "arm": arm.name,
            "role": design.role,
            "pool": design.pool,
            "repeat": design.repeat,
            "fraction": design.fraction,
            "order": design.order,
            "masks": design.masks,
            "pool_examples": design.pool_examples,
            "pool_tokens": design.pool_tokens,
            "updates": design.updates,
            "tokens": design.tokens,
            "seeds": ",".join(str(entry.seed) for entry in arm.runs),
            "last_validation_loss": arm.valid_loss,
        }
        for name, estimate in _measures(result, arm).items():
            row |= as_columns(name, estimate)
        rows.append(row)
    return rows


def arms_table(result: RepetitionResult) -> list[list[str]]:
    """For readers: each arm's design, held-out loss, difference to the all-distinct arm, gap and memorisation."""
    lines = [
        [
            "arm",
            "design",
            "unique tokens",
            "tokens",
            "seeds",
            "held-out loss (bits)",
            "minus all-distinct",
            "gap (bits)",
            "memorisation",
        ]
    ]
    for arm in result.arms:
        found = _measures(result, arm)
        lines.append(
            [
                arm.name,
                arm.design.words,
                f"{arm.design.pool_tokens:,}",
                f"{arm.design.tokens:,}",
                ", ".join(str(entry.seed) for entry in arm.runs),
                words(found["held_out_loss"]),
                percent(found["difference_share"]),
                words(found["gap"], signed=True),
                words(found["memorisation"], signed=True),
            ]
        )
    return lines


def downstream_table(result: RepetitionResult) -> list[list[str]]:
    """For readers: word similarity of each arm's last snapshot by list and variant, and the probe's best layer."""
    lines = [
        [
            "arm",
            *[f"{name} {variant}" for name in FILES for variant in ("raw", "centred", "raw, seen words")],
            "probe accuracy",
            "selectivity",
        ]
    ]
    for arm in result.arms:
        found = _measures(result, arm)
        cells = [
            words(found[f"{_key(name)}_{variant}"], signed=True)
            for name in FILES
            for variant in ("raw", "centred", "raw_seen")
        ]
        lines.append([arm.name, *cells, words(found["probe_accuracy"]), words(found["probe_selectivity"], signed=True)])
    return lines


def coverage_words(result: RepetitionResult) -> str:
    """What of the word lists the vocabulary covers, and how much of it each arm's first run has seen."""
    first = next((entry.similarity for arm in result.arms for entry in arm.runs if entry.similarity is not None), None)
    if first is None:
        return "No run has snapshots, which word similarity needs."
    parts = []
    for name, score in first.scores.items():
        text = f"{name}: {score.covered} of {score.pairs} pairs are covered, {score.pairs - score.covered} are out of vocabulary"
        if score.missing:
            listed = ", ".join(score.missing[:8]) + (
                f" and {len(score.missing) - 8} more" if len(score.missing) > 8 else ""
            )
            text += f" (not one token with a leading space: {listed})"
        seen = {
            arm.name: found.scores[name].seen
            for arm in result.arms
            if (found := arm.runs[0].similarity) is not None and found.scores[name].seen is not None
        }
        if seen:
            text += "; pairs of which the run saw both words: " + ", ".join(f"{arm} {n}" for arm, n in seen.items())
        parts.append(text)
    return ". ".join(parts) + "."


def geometry_table(result: RepetitionResult) -> list[list[str]]:
    """For readers: mean cosines by frequency group of each arm (mean over seeds), and the differences at equal exposure."""
    arms = [arm for arm in result.arms if any(entry.rows is not None for entry in arm.runs)]
    if not arms:
        return [[]]
    groups = [group for group in arms[0].runs[0].groups if group.rows]
    lines = [["arm", "measure", *[group.name for group in groups], "minus all-distinct at equal exposure"]]
    for arm in arms:
        found = _measures(result, arm)
        for name in MEASURES:
            known = [entry.rows.groups[name] for entry in arm.runs if entry.rows is not None]
            means = sum(known) / len(known)
            cells = [f"{means[group.index]:+.3f}" if math.isfinite(means[group.index]) else "–" for group in groups]
            difference = words(found[f"matched_{name}"], signed=True, over=True)
            lines.append([arm.name, name.replace("_", " "), *cells, difference])
    return lines


def value_table(result: RepetitionResult) -> list[list[str]]:
    """For readers: what each repeated arm's tokens were worth; the head alone where no fit was possible."""
    lines = [
        ["arm", "unique tokens", "times", "worth as many different tokens", "a repeat's worth, of a new token's 1"]
    ]
    for entry in result.value.arms if result.value is not None else []:
        lines.append(
            [entry.arm, f"{entry.unique:,.0f}", str(entry.repeat), words(entry.effective, digits=0), words(entry.value)]
        )
    return lines


def words(estimate: Estimate | None, *, digits: int = 3, signed: bool = False, over: bool = False) -> str:
    """`1.234 [1.200, 1.260]`, a dash where there is none."""
    if estimate is None or not math.isfinite(estimate.value):
        return "–"
    sign = "+" if signed else ""

    def number(value: float) -> str:
        return f"{value:{sign},.{digits}f}"

    text = number(estimate.value)
    if estimate.interval is not None:
        text += f" [{number(estimate.interval[0])}, {number(estimate.interval[1])}]"
    return text + (f" over {estimate.over}" if over else "")


def write_csv(out: Path, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    """Write `out/name.csv` to a temporary name and rename it; the path."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{name}.csv"
    handle, temporary = tempfile.mkstemp(dir=out, prefix=f".{name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            pd.DataFrame(rows).to_csv(file, index=False)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _measures(result: RepetitionResult, arm: ArmResult) -> dict[str, Estimate | None]:
    """Every measure of an arm, combined over its seeds."""
    held = [entry.heldout for entry in arm.runs if entry.heldout is not None]
    scores = [entry.similarity.scores for entry in arm.runs if entry.similarity is not None]
    probed = [probe.best_layer(entry.probe) for entry in arm.runs if entry.probe]
    compared = result.compared(arm.name, result.base)
    found = {
        "held_out_loss": arm.combined([entry.loss["held_out"] for entry in held]),
        "seen_loss": arm.combined([entry.loss["seen"] for entry in held]),
        "unseen_loss": arm.combined([entry.loss["unseen"] for entry in held]),
        "difference": None if compared is None else compared.bits,
        "difference_share": None if compared is None else compared.share,
        "gap": arm.combined([entry.gap for entry in held]),
        "recovered_seen": arm.combined([entry.recovered["seen"] for entry in held]),
        "recovered_unseen": arm.combined([entry.recovered["unseen"] for entry in held]),
        "memorisation": arm.combined([entry.memorisation for entry in held]),
    }
    for name in FILES:
        for variant in ("raw", "centred"):
            found[f"{_key(name)}_{variant}"] = arm.combined([entry[name].correlation[variant] for entry in scores])
            found[f"{_key(name)}_{variant}_seen"] = arm.combined(
                [entry[name].correlation_seen.get(variant) for entry in scores]
            )
    found["probe_accuracy"] = arm.combined([entry.accuracy for entry in probed])
    found["probe_selectivity"] = arm.combined([entry.selectivity for entry in probed])
    for place, name in enumerate(MEASURES):
        matched = [] if compared is None else [entry.differences[place] for entry in compared.matched]
        found[f"matched_{name}"] = arm.combined(matched)
    return found


def _key(name: str) -> str:
    return name.lower().replace("-", "")
