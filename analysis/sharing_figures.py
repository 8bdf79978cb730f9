"""The figures of E4's verdicts: scores, differences by type of sentence, parameters, speed, learning. One colour an arm in all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

import sharing_geometry_figures
from claims import STATEMENTS, Estimate
from plots import new_figure, save, update_axis
from repetition_drawing import draw_curve, signed
from sentence_types import LEAST, ORDINARY
from sharing_claims import FASTER
from translation_quality import METRICS

if TYPE_CHECKING:
    from sharing_result import SharingResult

COLOURS = {"none": "#000000", "decoder": "#0072B2", "all": "#D55E00"}
MARKERS = {"none": "o", "decoder": "s", "all": "D"}
HATCH = "////"
GUIDE = "#555555"
PUBLISHED = 0.33


def figures(result: SharingResult, out: Path) -> list[Path]:
    """Every figure for which there is something to draw; PNG and PDF."""
    parts = (_quality, _types, _parameters, _speed, _learning)
    written = [path for draw in parts for path in draw(result, out)]
    return written + sharing_geometry_figures.figures(result, out)


def interval_line(
    axis: Axes, estimate: Estimate | None, height: float, colour: str, marker: str, label: str | None = None
) -> None:
    """A horizontal interval with caps and its value."""
    if estimate is None or not np.isfinite(estimate.value):
        return
    if estimate.interval is not None:
        axis.plot(
            estimate.interval, [height] * 2, color=colour, linewidth=1.6, marker="|", markersize=10, markeredgewidth=1.2
        )
    axis.plot(estimate.value, height, marker=marker, color=colour, markersize=5.5, linestyle="", label=label)


def over_words(estimates: list[Estimate | None]) -> str:
    """What the intervals are over: `seeds`, `sentences` or both."""
    return " or ".join(dict.fromkeys(entry.over for entry in estimates if entry is not None and entry.interval))


def _quality(result: SharingResult, out: Path) -> list[Path]:
    arms = list(result.scores)
    if not arms:
        return []
    pairs = list(dict.fromkeys((entry.first, entry.second) for entry in result.differences))
    figure, axes = new_figure(columns=2, rows=2, width=5.2, height=1.9)
    for row, metric in enumerate(METRICS):
        left, right = axes[row]
        for height, arm in enumerate(reversed(arms)):
            interval_line(left, result.scores[arm][metric], height, COLOURS[arm], MARKERS[arm])
        left.set_yticks(range(len(arms)), list(reversed(arms)))
        left.set_ylim(-0.6, len(arms) - 0.4)
        left.set_title(f"{metric} by arm")
        for height, (first, second) in enumerate(reversed(pairs)):
            found = result.compared(first, second, metric)
            if found is None:
                continue
            for entry in found.estimates if len(found.estimates) > 1 else []:
                right.plot(entry.value, height + 0.28, marker="|", color=COLOURS[first], alpha=0.6, markersize=7)
            interval_line(right, found.combined, height, COLOURS[first], MARKERS[first])
        right.axvline(0, color="black", linewidth=0.8)
        right.set_yticks(range(len(pairs)), [f"{first} − {second}" for first, second in reversed(pairs)])
        right.set_ylim(-0.6, max(len(pairs), 1) - 0.4)
        right.set_title(f"difference in {metric}, paired")
        for axis in (left, right):
            axis.grid(False, axis="y")
            axis.set_xlabel(f"{metric} points")
    study = STATEMENTS["C6.2"].figure or 0.0
    axes[0, 1].axvline(study, color=GUIDE, linestyle="--", linewidth=1, label=f"the study, all − none: {signed(study)}")
    axes[0, 1].axvline(
        PUBLISHED,
        color=GUIDE,
        linestyle=":",
        linewidth=1.2,
        label=f"Press & Wolf 2017, all − none: {signed(PUBLISHED)}",
    )
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2)
    over = over_words([*(result.scores[arm]["BLEU"] for arm in arms), *(d.combined for d in result.differences)])
    figure.suptitle(f"Quality of the translations (95 % intervals over {over})", x=0.01, ha="left", fontsize=11)
    return save(figure, out, "sharing_quality")


def _types(result: SharingResult, out: Path) -> list[Path]:
    found = result.contexts
    pairs = [pair for pair in (("all", "none"), ("decoder", "none")) if result.compared(*pair) is not None]
    types = [entry for entry in (found.types if found is not None else []) if entry.differences]
    if found is None or not pairs or not types:
        return []
    figure, axes = new_figure(width=8.6, height=0.34 * len(types) + 1.8)
    axis = axes[0, 0]
    for row, entry in enumerate(reversed(types)):
        for number, pair in enumerate(pairs):
            height = row + (0.16 if number == 0 else -0.16) * (len(pairs) > 1)
            colour = COLOURS[pair[0]] if entry.used else "#999999"
            label = f"{pair[0]} − none" if row == len(types) - 1 else None
            interval_line(axis, entry.differences.get(pair), height, colour, MARKERS[pair[0]], label)
        if entry.name == ORDINARY:
            axis.axhspan(row - 0.5, row + 0.5, color="#56B4E9", alpha=0.15, linewidth=0)
    axis.axvline(0, color="black", linewidth=0.8)
    ordinary = found.loss_ordinary
    if ordinary is not None:
        axis.axvline(
            -2 * ordinary.value,
            color=GUIDE,
            linestyle=":",
            linewidth=1.2,
            label="twice the ordinary sentences' difference (all − none)",
        )
    names = [f"{entry.label} (n = {entry.sentences:,})" for entry in reversed(types)]
    axis.set_yticks(range(len(types)), names)
    for tick, entry in zip(axis.get_yticklabels(), reversed(types), strict=True):
        tick.set_fontweight("bold" if entry.name in (ORDINARY, found.largest) else "normal")
    axis.set_ylim(-0.6, len(types) - 0.4)
    axis.grid(False, axis="y")
    over = over_words([entry.differences.get(pair) for entry in types for pair in pairs])
    axis.set_xlabel(f"BLEU points, 95 % interval over {over}")
    figure.suptitle(
        "Difference in BLEU by type of sentence\n"
        f"bold: ordinary sentences and the largest loss; grey: fewer than {LEAST} sentences, not used",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    figure.legend(loc="outside lower center", ncols=3)
    return save(figure, out, "sharing_types")


def _parameters(result: SharingResult, out: Path) -> list[Path]:
    counts = list(result.counts.values())
    if not counts:
        return []
    figure, axes = new_figure(width=7.4, height=0.62 * len(counts) + 1.5)
    axis = axes[0, 0]
    for height, found in enumerate(reversed(counts)):
        colour = COLOURS[found.arm]
        axis.barh(height, found.rest / 1e6, color="#BBBBBB", edgecolor="white", height=0.6)
        axis.barh(
            height,
            found.in_tables / 1e6,
            left=found.rest / 1e6,
            color=colour,
            alpha=0.75,
            edgecolor="white",
            height=0.6,
        )
        saving = result.savings.get(found.arm)
        text = f" {found.counted / 1e6:.2f} M" + (
            "" if saving is None else f" ({100 * saving.share:+.1f} %)".replace("-", "−")
        )
        axis.text(found.counted / 1e6, height, text, va="center", ha="left", fontsize=9)
        tables = f"{found.tables} table{'s' if found.tables > 1 else ''}"
        axis.text(
            (found.rest + found.in_tables / 2) / 1e6,
            height,
            tables,
            va="center",
            ha="center",
            color="white",
            fontsize=9,
        )
        axis.text(found.rest / 2e6, height, "layers", va="center", ha="center", fontsize=9)
    axis.set_yticks(range(len(counts)), [found.arm for found in reversed(counts)])
    axis.set_xlim(0, max(found.counted for found in counts) / 1e6 * 1.22)
    axis.set_xlabel("parameters (millions)")
    axis.grid(False, axis="y")
    first = counts[0]
    axis.set_title(
        f"Parameters: embedding tables of V = {first.rows:,} rows and width {first.dim:,} (colour), all else (grey)"
    )
    return save(figure, out, "sharing_parameters")


def _speed(result: SharingResult, out: Path) -> list[Path]:
    speed = result.speed
    arms = [arm for arm in (speed.arms if speed is not None else ()) if arm in COLOURS and arm != "none"]
    if speed is None or not arms:
        return []
    figure, axes = new_figure(width=7.4, height=3.8)
    axis = axes[0, 0]
    rounds = np.arange(1, speed.rounds + 1)
    for number, arm in enumerate(arms):
        axis.plot(
            rounds,
            speed.by_round(arm),
            color=COLOURS[arm],
            marker=MARKERS[arm],
            markersize=3.5,
            linewidth=0.7,
            alpha=0.55,
        )
        ratio, place = speed.ratio[arm], speed.rounds * (1.05 + 0.05 * number) + 0.5
        ends = ratio.interval
        text = "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
        if ends is not None:
            axis.plot([place] * 2, ends, color=COLOURS[arm], linewidth=2, marker="_", markersize=9)
        axis.plot(
            place,
            ratio.value,
            color=COLOURS[arm],
            marker=MARKERS[arm],
            markersize=7,
            linestyle="",
            label=f"{arm} / none, all rounds: {ratio.value:.3f}{text}",
        )
    study = 1 + (STATEMENTS["C6.3"].figure or 0.0)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.axhline(1 + FASTER, color=GUIDE, linestyle=":", linewidth=1.2, label=f"C6.3 asks for above {1 + FASTER:g}")
    axis.axhline(study, color=GUIDE, linestyle="--", linewidth=1, label=f"the study's all / none: {study:g}")
    ticks = MaxNLocator(integer=True, nbins=8).tick_values(1, speed.rounds)
    axis.set_xticks([tick for tick in ticks if 1 <= tick <= speed.rounds])
    axis.set_xlabel("round: one update of every arm on one batch; right: all rounds, 95 % interval over rounds")
    axis.set_ylabel("target tokens a second, ratio to none")
    axis.set_title(
        f"Training speed, {speed.rounds} interleaved rounds on {speed.about.get('device', 'unknown device')}"
    )
    figure.legend(loc="outside lower center", ncols=2)
    return save(figure, out, "sharing_speed")


def _learning(result: SharingResult, out: Path) -> list[Path]:
    shown = {arm: list(runs.values()) for arm, runs in result.runs.items()}
    shown = {
        arm: runs
        for arm, runs in shown.items()
        if any(len(run.valid.updates) or len(run.train.updates) for run in runs)
    }
    if not shown:
        return []
    with_bleu = any(len(run.bleu.updates) for runs in shown.values() for run in runs)
    figure, axes = new_figure(columns=1 + with_bleu, width=5.6, height=4.0)
    updates = [0]
    for arm, runs in shown.items():
        for axis, name, line, marker in (
            (axes[0, 0], "train", ":", ""),
            (axes[0, 0], "valid", "-", MARKERS[arm]),
            (axes[0, -1], "bleu", "-", MARKERS[arm]),
        ):
            curves = [getattr(run, name) for run in runs if len(getattr(run, name).updates)]
            if curves and not (name == "bleu" and not with_bleu):
                updates += draw_curve(axis, curves, COLOURS[arm], line, marker, arm if name == "valid" else None)
    smoothed = any(run.smoothed for runs in shown.values() for run in runs)
    kind = "label-smoothed" if smoothed else "likelihood"
    axes[0, 0].set_ylabel(f"bits a target token ({kind})")
    axes[0, 0].set_title("Loss: validation (solid), training (dotted)")
    if with_bleu:
        axes[0, 1].set_ylabel("BLEU points")
        axes[0, 1].set_title("BLEU of the validation set, as logged")
    for axis in axes.flat:
        update_axis(axis, updates, log=False)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    most = max(len(runs) for runs in shown.values())
    handles, labels = axes[0, 0].get_legend_handles_labels()
    title = "one seed" if most == 1 else f"mean of up to {most} seeds, band: lowest to highest"
    figure.legend(handles, labels, loc="outside lower center", ncols=3, title=title)
    return save(figure, out, "sharing_learning")
