"""What the figures of E5 share: one colour and marker a rule, curves with Student's t bands, labels at the ends of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import isotonic_regression

from cause_design import RULES
from claims import LEVEL, Estimate
from curves import Curve
from dump import Group
from plots import band, group_label

if TYPE_CHECKING:
    from cause import ArmResult, CauseResult

COLOURS = {
    "adam": "#000000",
    "coupled": "#0072B2",
    "amsgrad": "#E69F00",
    "sgd": "#009E73",
    "nodecay": "#CC79A7",
    "centred": "#56B4E9",
    "cosine": "#D55E00",
    "gating": "#7F7F7F",
}
MARKERS = dict(zip(COLOURS, "osD^vPX*", strict=True))
OTHERS = (("#8C6D31", "<"), ("#637939", ">"), ("#7B4173", "p"), ("#843C39", "h"))
GAP = 0.058  # of an axis' height between two labels
FEWEST_SEEDS = 3  # for a band


def style(result: CauseResult, arm: ArmResult) -> tuple[str, str]:
    """Colour and marker of an arm, by its rule; tied and untied have the same. Arms of other options follow their own list."""
    if arm.design.rule in COLOURS:
        return COLOURS[arm.design.rule], MARKERS[arm.design.rule]
    others = [entry.name for entry in result.arms if entry.design.rule not in COLOURS]
    return OTHERS[others.index(arm.name) % len(OTHERS)]


def label_of(arm: ArmResult, *, tying: bool = False) -> str:
    """An arm's short name in a figure: its rule, or its own name where that says more; with `tying` also whether it is tied."""
    name = arm.design.rule if arm.name == arm.design.name else arm.name
    return f"{name}, {'tied' if arm.design.tied else 'untied'}" if tying else name


def mean_band(curves: Sequence[Curve]) -> tuple[Curve, NDArray[np.float64], NDArray[np.float64]]:
    """Mean of three or more seeds at the updates that all have, and the ends of Student's t interval (95 %)."""
    updates = curves[0].updates
    for curve in curves[1:]:
        updates = np.intersect1d(updates, curve.updates)
    values = np.stack([curve.values[np.searchsorted(curve.updates, updates)] for curve in curves])
    n = len(curves)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    mean = values.mean(axis=0)
    return Curve(updates, mean), mean - half, mean + half


def draw_seeds(
    axis: Axes,
    curves: Sequence[Curve],
    colour: str,
    marker: str,
    *,
    floor: float | None = None,
    line: str = "-",
) -> tuple[list[int], float | None]:
    """Mean with a band where there are three seeds or more, else each seed's line; the updates, and the last value.

    Values below `floor` are drawn at it (for logarithmic axes).
    """

    def shown(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if floor is None else np.maximum(values, floor)

    curves = [curve for curve in curves if len(curve.updates)]
    if not curves:
        return [], None
    ends = None
    lines = curves
    if len(curves) >= FEWEST_SEEDS:
        mean, low, high = mean_band(curves)
        if len(mean.updates):
            lines, ends = [mean], (shown(low), shown(high))
    for number, curve in enumerate(lines):
        axis.plot(
            curve.updates,
            shown(curve.values),
            color=colour,
            linestyle=line,
            linewidth=1.4 if number == 0 else 0.8,
            alpha=1 if number == 0 else 0.7,
            marker=marker if number == 0 else "",
            markersize=4,
            markevery=max(1, len(curve.updates) // 6),
        )
    if ends is not None:
        band(axis, lines[0].updates, *ends, colour, alpha=0.15)
    return [int(update) for update in lines[0].updates], float(shown(lines[0].values)[-1])


def label_ends(axis: Axes, entries: Sequence[tuple[float, str, str]]) -> None:
    """Write (value, text, colour) at the right of an axis, moved apart where they would lie on one another.

    To be called when the axis has its final limits.
    """
    if not entries:
        return
    axis.get_ylim()  # settles the limits that follow from the data
    transform = axis.transScale + axis.transLimits  # to fractions of the axis, whatever the figure's layout
    x = axis.get_xlim()[1]
    heights = [float(np.clip(transform.transform((x, value))[1], 0, 1)) for value, _, _ in entries]
    order = np.argsort(heights, kind="stable")
    gaps = np.arange(len(entries)) * min(GAP, 1 / max(len(entries) - 1, 1))
    # The places nearest to the heights that keep their order and the gap between them (least squares).
    placed = isotonic_regression(np.array([heights[index] for index in order]) - gaps).x + gaps
    placed += max(0.0, -placed[0])
    placed -= max(0.0, placed[-1] - 1)
    for place, index in zip(placed, order, strict=True):
        _, text, colour = entries[index]
        axis.annotate(
            text,
            (1.0, heights[index]),
            (1.035, float(place)),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=7.5,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def draw_across(
    axis: Axes,
    height: float,
    estimate: Estimate | None,
    seeds: Sequence[float],
    colour: str,
    marker: str,
    *,
    factor: float = 1.0,
    hollow: bool = False,
) -> None:
    """A value with its interval on a horizontal line, and the single seeds as small strokes above it."""
    if estimate is None or not np.isfinite(estimate.value):
        return
    if estimate.interval is not None and np.isfinite(estimate.interval).all():
        axis.plot([factor * end for end in estimate.interval], [height, height], color=colour, linewidth=1.4)
    face = "white" if hollow else colour
    axis.plot(
        factor * estimate.value, height, marker=marker, color=colour, markerfacecolor=face, markersize=5.5, linestyle=""
    )
    if len(seeds) > 1:
        axis.plot(
            [factor * value for value in seeds],
            [height + 0.24] * len(seeds),
            marker="|",
            color=colour,
            markersize=5,
            linestyle="",
            alpha=0.8,
        )


def legend_of(result: CauseResult, figure: Figure, arms: Sequence[ArmResult], title: str | None = None) -> None:
    """A legend below the figure: one entry a rule, with its marker and words."""
    handles: dict[str, Line2D] = {}
    for arm in arms:
        colour, marker = style(result, arm)
        words = RULES[arm.design.rule] if arm.design.rule in COLOURS else arm.name
        handles.setdefault(words, Line2D([], [], color=colour, marker=marker, markersize=4.5, linewidth=1.4))
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=min(4, len(handles)), title=title
    )


def group_ticks(axis: Axes, groups: Sequence[Group]) -> None:
    """Frequency groups at 0, 1, ... of an x axis, by their token counts."""
    names = [group_label(group).partition(" (")[0].replace("count ", "") for group in groups]
    names = [name.replace("–", "–\n") if len(name) > 6 else name for name in names]
    names = [name.replace("unreachable", "un-\nreachable") for name in names]
    axis.set_xticks(range(len(groups)), names, fontsize=8)
    axis.set_xlim(-0.5, len(groups) - 0.5)
    axis.grid(False, axis="x")


def seeds_words(arms: Sequence[ArmResult]) -> str:
    """What lines and bands are."""
    most = max(len(arm.runs) for arm in arms)
    if most < FEWEST_SEEDS:
        return "one seed" if most == 1 else "one line a seed"
    return f"mean of up to {most} seeds, band: 95 % interval over seeds (Student's t)"
