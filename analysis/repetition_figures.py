"""The figures of E3: one colour and marker an arm in all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, NullLocator

from claims import Estimate
from curves import Curve
from matched import exposure_curve
from plots import group_label, log_count_axis, new_figure, save, update_axis
from repetition_claims import BETTER, MEMORISED, WORSE
from repetition_drawing import (
    any_run,
    draw_curve,
    draw_interval,
    draw_points,
    legend_below,
    scaled,
    seeds_words,
    signed,
    style,
)
from repetition_run import MEASURES
from similarity import FILES
from training_log import MARGIN

if TYPE_CHECKING:
    from repetition import RepetitionResult


def figures(result: RepetitionResult, out: Path) -> list[Path]:
    """Every figure for which there is something to draw; PNG and PDF."""
    parts = (_loss, _differences, _memorisation, _frequency, _geometry, _similarity)
    return [path for draw in parts for path in draw(result, out)]


def _loss(result: RepetitionResult, out: Path) -> list[Path]:
    arms = [arm for arm in result.arms if any_run(arm, lambda run: len(run.train.updates) or len(run.valid.updates))]
    if not arms:
        return []
    figure, axes = new_figure(columns=2, width=5.2, height=4.2)
    loss, gap = axes.flat
    updates = [0]
    for arm in arms:
        colour, mark = style(result, arm)
        for axis, name, line, marker in (
            (loss, "train", ":", ""),
            (loss, "valid", "-", mark),
            (gap, "gap", "-", mark),
        ):
            curves = [getattr(run, name) for run in arm.runs if len(getattr(run, name).updates)]
            if curves:
                updates += draw_curve(axis, curves, colour, line, marker, arm.name if name == "valid" else None)
    entropy = next((run.unigram_entropy for arm in arms for run in arm.runs if run.unigram_entropy), None)
    if entropy:
        loss.axhline(entropy, color="#555555", linestyle="--", linewidth=1, label="unigram entropy")
        loss.axhline(
            (1 - MARGIN) * entropy,
            color="#555555",
            linestyle=(0, (1, 3)),
            linewidth=1,
            label=f"{100 * MARGIN:.0f} % below it",
        )
    loss.set_ylabel("bits for each masked token")
    loss.set_title("Loss: validation (solid), training (dotted)")
    gap.axhline(0, color="black", linewidth=0.6)
    gap.set_title("Gap: validation minus training loss")
    for axis in (loss, gap):
        update_axis(axis, updates, log=False)
    legend_below(figure, loss, f"{seeds_words(arms)}")
    return save(figure, out, "repetition_loss")


def _differences(result: RepetitionResult, out: Path) -> list[Path]:
    shown = [
        (arm, found)
        for arm in result.arms
        if (found := result.compared(arm.name, result.base)) is not None and found.paired
    ]
    diverse = result.arm(result.diversity.get("diverse"))
    for role in ("narrow", "repeated"):
        found = result.compared(result.diversity.get("diverse"), result.diversity.get(role))
        if diverse is not None and found is not None and found.paired:
            shown.append((diverse, found))
    if not shown:
        return []
    figure, axes = new_figure(width=7.4, height=0.5 * len(shown) + 1.7)
    axis = axes[0, 0]
    for height, (arm, found) in enumerate(reversed(shown)):
        colour, marker = style(result, arm)
        for entry in found.paired:
            if len(found.paired) > 1:
                axis.plot(100 * entry.share.value, height + 0.3, marker="|", color=colour, alpha=0.6, markersize=7)
        draw_interval(axis, found.share, height, colour, marker)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axvline(
        100 * WORSE, color="#555555", linestyle=":", linewidth=1, label=f"C3.1 asks for {signed(100 * WORSE)} %"
    )
    axis.axvline(
        -100 * BETTER, color="#555555", linestyle="--", linewidth=1, label=f"C3.2 asks for {signed(-100 * BETTER)} %"
    )
    axis.set_yticks(range(len(shown)), [f"{found.first} − {found.second}" for _, found in reversed(shown)])
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.grid(False, axis="y")
    over = shown[0][1].share.over if shown[0][1].share is not None else ""
    axis.set_xlabel(f"difference in held-out loss (%), 95 % interval over {over}; right is worse")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle("Held-out loss: paired differences at equal updates and tokens", x=0.01, ha="left", fontsize=11)
    return save(figure, out, "repetition_differences")


def _memorisation(result: RepetitionResult, out: Path) -> list[Path]:
    arms = [arm for arm in result.arms if any_run(arm, lambda run: run.heldout is not None and run.heldout.by_times)]
    if not arms:
        return []
    figure, axes = new_figure(width=6.6, height=4.2)
    axis = axes[0, 0]
    ticks: set[int] = set()
    for number, arm in enumerate(arms):
        colour, marker = style(result, arm)
        by_times: dict[tuple[int, int], list[Estimate]] = {}
        for run in arm.runs:
            for entry in run.heldout.by_times if run.heldout is not None else []:
                by_times.setdefault((entry.low, entry.high), []).append(entry.memorisation)
        shift = 1.025 ** (2 * number - len(arms) + 1)  # side by side where arms have equal times
        points = [
            (np.sqrt(low * high) * shift, combined)
            for (low, high), found in sorted(by_times.items())
            if (combined := arm.combined(found)) is not None and low > 0
        ]
        ticks |= {value for pair in by_times for value in pair if value > 0}
        if points:
            draw_points(axis, points, colour, marker, arm.name, line=len(points) > 2)
    axis.axhline(0, color="black", linewidth=0.6)
    axis.axhline(MEMORISED, color="#555555", linestyle=":", linewidth=1, label=f"C3.1 asks for {signed(MEMORISED)}")
    axis.set_xscale("log", base=2)
    chosen = sorted(ticks) if len(ticks) <= 10 else [2**power for power in range(max(ticks).bit_length())]
    axis.set_xticks(chosen)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_xlabel("times that training drew the example")
    axis.set_ylabel("recovered share, minus unseen examples'")
    axis.set_title("Memorisation: masked tokens recovered in seen minus unseen examples")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, out, "repetition_memorisation")


def _frequency(result: RepetitionResult, out: Path) -> list[Path]:
    arms = [arm for arm in result.arms if any_run(arm, lambda run: run.heldout is not None)]
    if not arms:
        return []
    groups = [
        group
        for group in arms[0].runs[0].groups
        if any(
            np.isfinite(run.heldout.group_loss[group.index].value)
            for arm in arms
            for run in arm.runs
            if run.heldout is not None
        )
    ]
    figure, axes = new_figure(columns=2, width=5.2, height=4.2)
    left, right = axes.flat
    for number, arm in enumerate(arms):
        colour, marker = style(result, arm)
        places = np.arange(len(groups)) + (number - (len(arms) - 1) / 2) * min(0.12, 0.7 / len(arms))
        held = [run.heldout for run in arm.runs if run.heldout is not None]
        losses = [arm.combined([entry.group_loss[group.index] for entry in held]) for group in groups]
        found = result.compared(arm.name, result.base)
        shares = [
            arm.combined([entry.group_share[group.index] for entry in found.paired]) if found is not None else None
            for group in groups
        ]
        known = [(place, entry) for place, entry in zip(places, losses, strict=True) if entry is not None]
        draw_points(left, known, colour, marker, arm.name, line=False)
        known = [(place, scaled(entry, 100)) for place, entry in zip(places, shares, strict=True) if entry is not None]
        if known:
            draw_points(right, known, colour, marker, None, line=False)
    right.axhline(0, color="black", linewidth=0.6)
    left.set_ylabel("bits for each masked token")
    left.set_title("Held-out loss by the target's frequency group")
    right.set_title("Difference to the all-distinct arm (%)")
    for axis in (left, right):
        axis.set_xticks(
            range(len(groups)),
            [group_label(group).partition(" (")[0].replace("count ", "").replace("–", "–\n") for group in groups],
        )
        axis.set_xlabel("token count in the training split")
    legend_below(figure, left, None)
    return save(figure, out, "repetition_frequency")


def _geometry(result: RepetitionResult, out: Path) -> list[Path]:
    arms = [arm for arm in result.arms if any_run(arm, lambda run: run.rows is not None and run.rows.rows is not None)]
    if not arms:
        return []
    figure, axes = new_figure(columns=2, rows=2, width=5.2, height=3.5)
    largest = 1
    for arm in arms:
        colour, marker = style(result, arm)
        rows = [run.rows.rows for run in arm.runs if run.rows is not None and run.rows.rows is not None]
        curve = exposure_curve(rows[0])
        if not len(curve.low):
            continue
        largest = max(largest, int(curve.high.max()))
        found = result.compared(arm.name, result.base)
        for place in range(len(MEASURES)):
            above, below = axes[0, place], axes[1, place]
            middle = np.sqrt(curve.low.astype(np.float64) * curve.high)
            above.plot(
                middle,
                curve.means[:, place],
                color=colour,
                marker=marker,
                markersize=3.5,
                linewidth=1.2,
                label=arm.name,
            )
            if found is not None and found.matched:
                one = found.matched[0]
                step = one.means[:, 0, place] - one.means[:, 1, place]
                below.plot(
                    np.sqrt(one.low * one.high.astype(np.float64)),
                    step,
                    color=colour,
                    marker=marker,
                    markersize=3.5,
                    linewidth=1.2,
                )
    for place, words in enumerate(("mean cosine to all other counted rows", "cosine to the common vector")):
        axes[0, place].set_title(words)
        axes[1, place].set_title("the same, minus the all-distinct arm's")
        for axis in axes[:, place]:
            log_count_axis(axis, largest)
            axis.set_xlabel("exposure of the row (visible + target + replacement)")
            axis.axhline(0, color="black", linewidth=0.6)
    legend_below(
        figure,
        axes[0, 0],
        "table of the input (in tied models of the output too); first seed of each arm, last snapshot",
    )
    return save(figure, out, "repetition_geometry")


def _similarity(result: RepetitionResult, out: Path) -> list[Path]:
    arms = [arm for arm in result.arms if any_run(arm, lambda run: run.similarity is not None)]
    if not arms:
        return []
    figure, axes = new_figure(columns=len(FILES), width=5.2, height=3.8)
    updates = [0]
    for axis, name in zip(axes.flat, FILES, strict=True):
        for arm in arms:
            colour, marker = style(result, arm)
            for variant, line in (("raw", "-"), ("centred", ":")):
                curves = [run.similarity.over_updates[name][variant] for run in arm.runs if run.similarity is not None]
                curves = [
                    Curve(curve.updates[known], curve.values[known])
                    for curve in curves
                    for known in [np.isfinite(curve.values)]
                ]
                curves = [curve for curve in curves if len(curve.updates)]
                if curves:
                    updates += draw_curve(
                        axis,
                        curves,
                        colour,
                        line,
                        marker if variant == "raw" else "",
                        arm.name if variant == "raw" else None,
                    )
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_title(f"{name}: table (solid), centred (dotted)")
    for axis in axes.flat:
        update_axis(axis, updates)
    axes[0, 0].set_ylabel("Spearman with human scores")
    legend_below(figure, axes[0, 0], seeds_words(arms))
    return save(figure, out, "repetition_similarity")
