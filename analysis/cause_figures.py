"""The figures of E5 over updates and at the end: drift, loss, word similarity, isotropy. One colour a rule in all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import cause_isotropy
import cause_mechanism_figures
from cause_claims import DRIFTED, LISTS, REMOVED, WORSE
from cause_design import PLACES
from cause_drawing import draw_across, draw_seeds, group_ticks, label_ends, label_of, legend_of, seeds_words, style
from cause_run import TableResult
from cause_tables import of_table, places, score_of
from curves import Curve
from plots import new_figure, save, update_axis

if TYPE_CHECKING:
    from cause import ArmResult, CauseResult

FLOOR = 1e-3  # the lower edge of the axis of r
TYINGS = {True: "tied", False: "untied"}


def figures(result: CauseResult, out: Path) -> list[Path]:
    """Every figure for which there is something to draw; PNG and PDF."""
    parts = (_drift, _loss, _differences, _frequency, _similarity, cause_isotropy.figure)
    written = [path for draw in parts for path in draw(result, out)]
    return written + cause_mechanism_figures.figures(result, out)


def _drift(result: CauseResult, out: Path) -> list[Path]:
    shown = [place for place in PLACES if any(place in places(arm) for arm in result.arms)]
    rows: dict[str, Callable[[TableResult], Curve]] = {
        "r: norm of the common vector / mean norm": lambda table: table.ratio,
        "mean cosine of all pairs": lambda table: table.mean_cosine,
        "Spearman, token count against cosine": lambda table: table.spearman,
        "IsoScore (0: one dimension, 1: all alike)": lambda table: table.isotropy["isoscore"],
    }
    figure, axes = new_figure(columns=len(shown), rows=len(rows), width=4.6 if len(shown) > 1 else 6.4, height=2.7)
    for column, place in enumerate(shown):
        arms = [arm for arm in result.arms if place in places(arm)]
        for row, (words, ask) in enumerate(rows.items()):
            axis = axes[row, column]
            floor = FLOOR if row == 0 else None
            updates, ends = [0], []
            for arm in arms:
                curves = [ask(entry.tables[place]) for entry in arm.runs if place in entry.tables]
                found, last = draw_seeds(axis, curves, *style(result, arm), floor=floor)
                updates += found
                if last is not None:
                    ends.append((last, label_of(arm), style(result, arm)[0]))
            update_axis(axis, sorted(updates), log=False)
            axis.margins(x=0.01)
            if row == 0:
                axis.set_yscale("log")
                axis.set_ylim(FLOOR * 0.9, 1.2)
                _rule(axis, DRIFTED, f"{DRIFTED:g}")
                _rule(axis, REMOVED, f"{REMOVED:g}")
                chance = 1 / np.sqrt(arms[0].runs[0].tables[place].counted.sum())
                axis.axhline(chance, color="#999999", linestyle="--", linewidth=0.9)
                axis.text(
                    0.99,
                    chance,
                    "by chance",
                    transform=axis.get_yaxis_transform(),
                    fontsize=7,
                    va="bottom",
                    ha="right",
                    color="#666666",
                )
            else:
                axis.axhline(0, color="black", linewidth=0.6)
            axis.set_title(f"{PLACES[place]}: {words}" if len(shown) == 1 else words, fontsize=9.5)
            if column == 0:
                axis.set_ylabel(words.partition(":")[0].partition(",")[0].partition(" (")[0], fontsize=9)
            label_ends(axis, ends)
    if len(shown) > 1:
        for column, place in enumerate(shown):
            axes[0, column].set_title(f"{PLACES[place].upper()}\n{next(iter(rows))}", fontsize=9.5)
    legend_of(result, figure, result.arms, seeds_words(result.arms))
    return save(figure, out, "cause_drift")


def _loss(result: CauseResult, out: Path) -> list[Path]:
    arms = [arm for arm in result.arms if any(len(entry.valid.updates) for entry in arm.runs)]
    tyings = [tied for tied in TYINGS if any(arm.design.tied == tied for arm in arms)]
    if not arms:
        return []
    figure, axes = new_figure(columns=len(tyings), width=5.6, height=4.0)
    for axis, tied in zip(axes.flat, tyings, strict=True):
        updates, ends = [0], []
        for arm in [arm for arm in arms if arm.design.tied == tied]:
            found, last = draw_seeds(axis, [entry.valid for entry in arm.runs], *style(result, arm))
            updates += found
            if last is not None:
                ends.append((last, label_of(arm), style(result, arm)[0]))
        entropy = next(
            (entry.learning.unigram_entropy for arm in arms for entry in arm.runs if entry.learning.unigram_entropy),
            None,
        )
        if entropy:
            axis.axhline(entropy, color="#555555", linestyle="--", linewidth=1)
            axis.text(
                0.99,
                entropy,
                "unigram entropy",
                transform=axis.get_yaxis_transform(),
                fontsize=8,
                va="bottom",
                ha="right",
            )
        update_axis(axis, sorted(updates), log=False)
        axis.set_title(f"Validation loss, {TYINGS[tied]}")
        axis.set_ylabel("bits for each predicted token")
        label_ends(axis, ends)
    legend_of(result, figure, arms, seeds_words(arms))
    return save(figure, out, "cause_loss")


def _differences(result: CauseResult, out: Path) -> list[Path]:
    shown = [
        (arm, found) for (name, _), found in result.comparisons.items() if found.paired and (arm := result.arm(name))
    ]
    if not shown:
        return []
    figure, axes = new_figure(width=7.4, height=0.36 * len(shown) + 1.6)
    axis = axes[0, 0]
    for height, (arm, found) in enumerate(reversed(shown)):
        seeds = [entry.share.value for entry in found.paired]
        draw_across(axis, height, found.share, seeds, *style(result, arm), factor=100, hollow=not arm.design.tied)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axvline(100 * WORSE, color="#555555", linestyle=":", linewidth=1.2)
    axis.set_yticks(range(len(shown)), [label_of(arm, tying=True) for arm, _ in reversed(shown)])
    axis.set_ylim(-0.6, len(shown) - 0.3)
    axis.grid(False, axis="y")
    over = next((found.share.over for _, found in shown if found.share is not None), "examples")
    axis.set_xlabel(f"difference in held-out loss (%), 95 % interval over {over}; right is worse")
    figure.suptitle(
        f"Held-out loss minus Adam's of the same tying (dotted: D4's +{100 * WORSE:g} %)",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return save(figure, out, "cause_differences")


def _frequency(result: CauseResult, out: Path) -> list[Path]:
    shown = [
        (arm, found) for (name, _), found in result.comparisons.items() if found.paired and (arm := result.arm(name))
    ]
    if not shown:
        return []
    tyings = [tied for tied in TYINGS if any(arm.design.tied == tied for arm, _ in shown)]
    groups = [
        group
        for group in shown[0][0].runs[0].groups
        if any(np.isfinite(entry.group_share[group.index].value) for _, found in shown for entry in found.paired)
    ]
    figure, axes = new_figure(columns=len(tyings), width=5.8, height=4.0)
    for axis, tied in zip(axes.flat, tyings, strict=True):
        own = [(arm, found) for arm, found in shown if arm.design.tied == tied]
        for number, (arm, found) in enumerate(own):
            colour, marker = style(result, arm)
            shift = (number - (len(own) - 1) / 2) * min(0.1, 0.76 / len(own))
            for place, group in enumerate(groups):
                share = arm.combined([entry.group_share[group.index] for entry in found.paired])
                if share is None:
                    continue
                axis.plot(place + shift, 100 * share.value, marker=marker, color=colour, markersize=4.5)
                if share.interval is not None:
                    axis.plot([place + shift] * 2, [100 * end for end in share.interval], color=colour, linewidth=1.1)
        axis.axhline(0, color="black", linewidth=0.8)
        for edge in range(1, len(groups)):
            axis.axvline(edge - 0.5, color="#BBBBBB", linewidth=0.5)
        group_ticks(axis, groups)
        axis.set_xlabel("token count of the target in the training split")
        axis.set_title(f"Held-out loss minus Adam's, {TYINGS[tied]} (%)")
        axis.set_ylabel("% of Adam's loss in the group; up is worse")
    legend_of(result, figure, [arm for arm, _ in shown])
    return save(figure, out, "cause_frequency")


def _similarity(result: CauseResult, out: Path) -> list[Path]:
    shown = [
        (arm, place)
        for arm in result.arms
        for place in places(arm)
        if any(place in entry.tables and entry.tables[place].similarity for entry in arm.runs)
    ]
    if not shown:
        return []
    figure, axes = new_figure(columns=len(LISTS), width=5.4, height=0.36 * len(shown) + 1.7)
    for axis, name in zip(axes.flat, LISTS, strict=True):
        for height, (arm, place) in enumerate(reversed(shown)):
            for variant, shift in (("raw", 0.14), ("centred", -0.2)):
                estimate = of_table(arm, place, lambda table, n=name, v=variant: score_of(table, n, v))
                draw_across(axis, height + shift, estimate, [], *style(result, arm), hollow=variant == "centred")
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_ylim(-0.7, len(shown) - 0.3)
        axis.grid(False, axis="y")
        axis.set_title(name)
        axis.set_xlabel("Spearman with human scores")
        axis.set_yticks(
            range(len(shown)), [_row_name(arm, place) for arm, place in reversed(shown)] if axis is axes[0, 0] else []
        )
    over = "seeds" if any(len(arm.runs) >= 3 for arm, _ in shown) else "pairs"
    handles = [
        Line2D([], [], color="black", marker="o", linestyle="", markerfacecolor=face) for face in ("black", "white")
    ]
    labels = ["table as it is", "less the common vector"]
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, title=f"last snapshot; 95 % interval over {over}"
    )
    return save(figure, out, "cause_similarity")


def _row_name(arm: ArmResult, place: str) -> str:
    return f"{label_of(arm)}, {PLACES[place]}"


def _rule(axis: Axes, value: float, words: str) -> None:
    axis.axhline(value, color="#555555", linestyle=":", linewidth=1)
    axis.text(0.01, value, words, transform=axis.get_yaxis_transform(), fontsize=7, va="bottom", color="#333333")
