"""What the figures of E3 share: one colour and marker an arm, curves with bands, points with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from claims import Estimate
from curves import Curve, over_seeds
from plots import OKABE_ITO, band

if TYPE_CHECKING:
    from repetition import ArmResult, RepetitionResult

COLOURS = ("#000000", *(colour for colour in OKABE_ITO if colour not in ("#000000", "#F0E442")))
MARKERS = "osD^vPX*<>"


def style(result: RepetitionResult, arm: ArmResult) -> tuple[str, str]:
    """Colour and marker of an arm: by its place among all arms, the all-distinct one black."""
    place = [entry.name for entry in result.arms].index(arm.name)
    if result.base is None:
        place += 1  # black is the all-distinct arm's
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def any_run(arm: ArmResult, has: Callable) -> bool:
    """Has one of the arm's runs what `has` asks for?"""
    return any(has(run) for run in arm.runs)


def draw_curve(
    axis: Axes, curves: Sequence[Curve], colour: str, line: str, marker: str, label: str | None
) -> list[int]:
    """Mean of the seeds, a solid line with a band from the lowest to the highest; the updates that were drawn."""
    mean, low, high = over_seeds(curves)
    if not len(mean.updates):
        mean, low, high = curves[0], curves[0].values, curves[0].values  # seeds without an update in common: the first
    every = max(1, len(mean.updates) // 8)
    axis.plot(
        mean.updates,
        mean.values,
        color=colour,
        linestyle=line,
        marker=marker,
        markevery=every,
        markersize=4.5,
        linewidth=1.3,
        label=label,
    )
    if len(curves) > 1 and line == "-":  # bands of both kinds of line would hide one another
        band(axis, mean.updates, low, high, colour, alpha=0.08)
        for edge in (low, high):  # many arms' bands lie on one another; their edges can still be told apart
            axis.plot(mean.updates, edge, color=colour, linewidth=0.5, alpha=0.7)
    return [int(update) for update in mean.updates]


def draw_points(
    axis: Axes,
    points: Sequence[tuple[float, Estimate]],
    colour: str,
    marker: str,
    label: str | None,
    *,
    line: bool = True,
) -> None:
    x = [place for place, _ in points]
    axis.plot(
        x,
        [entry.value for _, entry in points],
        color=colour,
        marker=marker,
        markersize=5,
        linestyle="-" if line else "",
        linewidth=1.1,
        label=label,
    )
    for place, entry in points:
        if entry.interval is not None:
            axis.plot([place, place], entry.interval, color=colour, linewidth=1.4)


def draw_interval(axis: Axes, share: Estimate | None, height: float, colour: str, marker: str) -> None:
    if share is None:
        return
    if share.interval is not None:
        # Tall caps: an interval narrower than the marker still shows its ends.
        ends = [100 * end for end in share.interval]
        axis.plot(ends, [height, height], color=colour, linewidth=1.6, marker="|", markersize=14, markeredgewidth=1.2)
    axis.plot(100 * share.value, height, marker=marker, color=colour, markersize=5)


def signed(value: float) -> str:
    """`+0.02`, `−0.5`: with the minus of the axes."""
    return f"{value:+g}".replace("-", "−")


def scaled(estimate: Estimate, factor: float) -> Estimate:
    interval = estimate.interval and (factor * estimate.interval[0], factor * estimate.interval[1])
    return Estimate(factor * estimate.value, interval, estimate.over)


def legend_below(figure: Figure, axis: Axes, title: str | None) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(len(labels), 1)), title=title)


def seeds_words(arms: Sequence[ArmResult]) -> str:
    most = max(len(arm.runs) for arm in arms)
    return "one seed" if most == 1 else f"mean of up to {most} seeds, band of solid lines: lowest to highest"
