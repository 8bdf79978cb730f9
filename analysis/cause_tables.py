"""E5's numbers as tables: one row an arm for machines (CSV, JSON) and short ones for readers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cause_claims import LISTS, follows, word_difference, zero_sum
from cause_design import PLACES, RULES
from cause_mechanisms import MECHANISMS, Mechanisms
from cause_run import ISOTROPY, TableResult
from cause_streams import ROLE_WORDS, ROLES
from claims import Estimate, as_columns
from repetition_claims import percent
from repetition_tables import words
from similarity import VARIANTS

if TYPE_CHECKING:
    from cause import ArmResult, CauseResult


def places(arm: ArmResult) -> list[str]:
    """The places of the tables that a run of the arm has, in the order of PLACES."""
    return [place for place in PLACES if any(place in entry.tables for entry in arm.runs)]


def of_table(arm: ArmResult, place: str, ask: Callable[[TableResult], Estimate | float | None]) -> Estimate | None:
    """A number of one table, combined over the arm's seeds; plain floats have no interval of their own."""
    found: list[Estimate] = []
    for entry in arm.runs:
        table = entry.tables.get(place)
        answer = None if table is None else ask(table)
        if answer is not None:
            found.append(answer if isinstance(answer, Estimate) else Estimate(float(answer), None, "seeds"))
    return arm.combined(found)


def of_split(arm: ArmResult, place: str, ask: Callable[[Mechanisms], float]) -> Estimate | None:
    """A number of the drift's split of one table, combined over the arm's seeds."""
    return of_table(arm, place, lambda table: None if table.mechanisms is None else ask(table.mechanisms))


def arm_rows(result: CauseResult) -> list[dict[str, Any]]:
    """One dictionary an arm and table, each measure as `name`, `name_low`, `name_high`, `name_over` (None: not had).

    Losses in bits; `loss_share` is to Adam of the same tying, as a share of its loss; `share_*` are parts of the drift, `push_*`
    of the roles' pushes.
    """
    rows = []
    for arm in result.arms:
        for place in places(arm):
            row: dict[str, Any] = {
                "arm": arm.name,
                "rule": arm.design.rule,
                "tied": arm.design.tied,
                "table": place,
                "updates": max(entry.updates for entry in arm.runs),
                "seeds": ",".join(str(entry.seed) for entry in arm.runs),
                "last_validation_loss": arm.valid_loss,
            }
            for name, estimate in _measures(result, arm, place).items():
                row |= as_columns(name, estimate)
            rows.append(row)
    return rows


def arms_table(result: CauseResult) -> list[list[str]]:
    """For readers: each arm's table with r, mean cosine, IsoScore, loss and the difference to Adam."""
    lines = [
        [
            "arm",
            "what",
            "table",
            "seeds",
            "updates",
            "r",
            "mean cosine",
            "IsoScore",
            "held-out loss (bits)",
            "minus Adam's",
        ]
    ]
    for arm in result.arms:
        for number, place in enumerate(places(arm)):
            found = _measures(result, arm, place)
            lines.append(
                [
                    arm.name if number == 0 else "",
                    RULES[arm.design.rule] if number == 0 else "",
                    PLACES[place],
                    ", ".join(str(entry.seed) for entry in arm.runs),
                    f"{max(entry.updates for entry in arm.runs):,}",
                    words(found["r"]),
                    words(found["mean_cosine"], signed=True),
                    words(found["isoscore"]),
                    words(found["held_out_loss"]) if number == 0 else "",
                    percent(found["loss_share"]) if number == 0 else "",
                ]
            )
    return lines


def mechanism_table(result: CauseResult) -> list[list[str]]:
    """For readers: the drift of each table, each mechanism's share of it, and what sampling missed."""
    lines = [
        [
            "arm",
            "table",
            "drift (mean norms)",
            "common vector's (cosine to it)",
            *MECHANISMS.values(),
            "not explained",
            "records every",
        ]
    ]
    for arm in result.arms:
        for place in places(arm):
            splits = [t.mechanisms for e in arm.runs if (t := e.tables.get(place)) and t.mechanisms]
            if not splits:
                continue
            lines.append(
                [
                    arm.name,
                    PLACES[place],
                    words(of_split(arm, place, lambda split: split.drift.ratio)),
                    words(of_split(arm, place, lambda split: split.drift.common_length / split.drift.norm_mean))
                    + f" ({np.mean([split.drift.common_cosine for split in splits]):+.3f})",
                    *[share(of_split(arm, place, lambda split, n=name: split.shares[n])) for name in MECHANISMS],
                    share(of_split(arm, place, lambda split: split.unexplained)),
                    f"{np.mean([split.every for split in splits]):.3g} updates",
                ]
            )
    return lines


def role_table(result: CauseResult) -> list[list[str]]:
    """For readers: which role of the rows pushes the mean along the drift, as shares of the roles' sum."""
    lines = [["arm", "table", *ROLE_WORDS.values(), "all pushes, share of the drift"]]
    for arm in result.arms:
        for place in places(arm):
            found = [of_split(arm, place, lambda split, r=role: split.pushes[r]) for role in ROLES]
            if any(entry is not None for entry in found):
                total = of_split(arm, place, lambda split: split.push_total)
                lines.append([arm.name, PLACES[place], *[share(entry) for entry in [*found, total]]])
    return lines


def group_table(result: CauseResult) -> list[list[str]]:
    """For readers: how far rows of each frequency group were moved along the common vector (mean norms), and their own share."""
    known = [arm for arm in result.arms if any(of_split(arm, p, lambda s: s.every) for p in places(arm))]
    if not known:
        return [[]]
    groups = [group for group in known[0].runs[0].groups if group.rows]
    lines = [["arm", "table", "number", *[group.name for group in groups]]]
    measures: dict[str, Callable[[Mechanisms], Any]] = {
        "moved (mean norms)": lambda split: split.group_path,
        "own share of an update": lambda split: split.own,
    }
    for arm in known:
        for place in places(arm):
            for name, ask in measures.items():
                cells = [
                    of_split(arm, place, lambda split, a=ask, g=group: float(a(split)[g.index])) for group in groups
                ]
                if any(cell is not None for cell in cells):
                    lines.append([arm.name, PLACES[place], name, *[words(cell, digits=2) for cell in cells]])
    return lines


def similarity_table(result: CauseResult) -> list[list[str]]:
    """For readers: word similarity of each arm's last snapshots by table, list and variant."""
    lines = [
        [
            "arm",
            "table",
            *[f"{name} {variant}" for name in LISTS for variant in VARIANTS],
            "WordSim-353 raw, minus Adam's",
        ]
    ]
    for arm in result.arms:
        adam = result.arm_of("adam", arm.design.tied)
        for number, place in enumerate(places(arm)):
            found = _measures(result, arm, place)
            cells = [words(found[f"{_key(name)}_{variant}"], signed=True) for name in LISTS for variant in VARIANTS]
            minus = None
            if number == 0 and adam is not None and adam is not arm:
                minus = result.over_seeds(arm, adam, lambda one, two: word_difference(one, two, LISTS[0], "raw"))
            lines.append([arm.name, PLACES[place], *cells, words(minus, signed=True)])
    return lines


def coverage_words(result: CauseResult) -> str:
    """How many pairs of the word lists the vocabulary covers."""
    found = next((entry.main.similarity for arm in result.arms for entry in arm.runs if entry.main.similarity), None)
    if found is None:
        return "No run has snapshots, which word similarity needs."
    parts = [f"{name}: {score.covered} of {score.pairs} pairs" for name, score in found.scores.items()]
    return f"Pairs of which both words are one token: {'; '.join(parts)}."


def share(estimate: Estimate | None) -> str:
    """`+70.1 % [+65.0, +75.2]`, a dash where there is none."""
    if estimate is None or not math.isfinite(estimate.value):
        return "–"
    ends = estimate.interval
    return f"{100 * estimate.value:+.1f} %" + ("" if ends is None else f" [{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]")


def _measures(result: CauseResult, arm: ArmResult, place: str) -> dict[str, Estimate | None]:
    """Every measure of an arm's table, combined over its seeds."""
    adam = result.arm_of("adam", arm.design.tied)
    compared = result.comparisons.get((arm.name, adam.name)) if adam is not None else None
    found: dict[str, Estimate | None] = {
        "r": of_table(arm, place, lambda table: table.end),
        **{name: of_table(arm, place, lambda table, n=name: table.isotropy_end.get(n)) for name in ISOTROPY},
        "spearman_seen": of_table(
            arm, place, lambda table: table.spearman.values[-1] if len(table.spearman.values) else None
        ),
        "held_out_loss": arm.combined([entry.loss for entry in arm.runs]),
        "loss_share": None if compared is None else compared.share,
        "zero_sum": of_table(arm, place, zero_sum),
        "second_moment_r2": of_table(arm, place, lambda table: follows(table, "second_moment_r2")),
        "second_moment_spearman": of_table(arm, place, lambda table: follows(table, "second_moment_spearman")),
        "drift": of_split(arm, place, lambda split: split.drift.ratio),
        **{f"share_{name}": of_split(arm, place, lambda split, n=name: split.shares[n]) for name in MECHANISMS},
        "share_unexplained": of_split(arm, place, lambda split: split.unexplained),
        **{f"push_{role}": of_split(arm, place, lambda split, r=role: split.pushes[r]) for role in ROLES},
    }
    for name in LISTS:
        for variant in VARIANTS:
            found[f"{_key(name)}_{variant}"] = of_table(
                arm, place, lambda table, n=name, v=variant: score_of(table, n, v)
            )
    return found


def score_of(table: TableResult, name: str, variant: str) -> Estimate | None:
    """Word similarity of a table's last snapshot."""
    return None if table.similarity is None else table.similarity.scores[name].correlation[variant]


def _key(name: str) -> str:
    return name.lower().replace("-", "")
