"""The figures of E5 on what makes a table drift: mechanisms, roles, frequency groups, the zero sum, the second moment."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Patch

import cause_second_moment
from cause_claims import ZERO_SUM
from cause_design import OUTPUT, PLACES, TIED
from cause_drawing import draw_across, draw_seeds, group_ticks, label_ends, label_of, legend_of, seeds_words, style
from cause_mechanisms import MECHANISMS, Mechanisms
from cause_second_moment import numbers
from cause_streams import ROLE_WORDS, ROLES
from cause_tables import of_split, places
from plots import new_figure, save, update_axis

if TYPE_CHECKING:
    from cause import ArmResult, CauseResult

PARTS = {"second_moment": "#D55E00", "coupled": "#0072B2", "decay": "#999999"}
ROLE_COLOURS = {"input": "#009E73", "positive": "#E69F00", "negative": "#CC79A7"}
SHAPES = {"second_moment": "o", "coupled": "s", "decay": "^", "input": "o", "positive": "s", "negative": "^"}


def figures(result: CauseResult, out: Path) -> list[Path]:
    """Every figure for which there is something to draw; PNG and PDF."""
    parts = (_mechanisms, _roles, _groups, _gradients, _zero_sum, cause_second_moment.figure)
    return [path for draw in parts for path in draw(result, out)]


def _split(result: CauseResult) -> list[tuple[ArmResult, str]]:
    return [
        (arm, place)
        for arm in result.arms
        for place in places(arm)
        if any(place in entry.tables and entry.tables[place].mechanisms for entry in arm.runs)
    ]


def _seeds(arm: ArmResult, place: str, ask: Callable[[Mechanisms], float]) -> list[float]:
    found = [entry.tables[place].mechanisms for entry in arm.runs if place in entry.tables]
    values = [ask(entry) for entry in found if entry is not None]
    return [value for value in values if math.isfinite(value)]


def _mechanisms(result: CauseResult, out: Path) -> list[Path]:
    shown = _split(result)
    if not shown:
        return []
    figure, axes = new_figure(columns=2, width=5.8, height=0.42 * len(shown) + 1.7)
    bars, dots = axes.flat
    for height, (arm, place) in enumerate(reversed(shown)):
        right, left = 0.0, 0.0
        for name, colour in PARTS.items():
            value = of_split(arm, place, lambda split, n=name: split.along[n])
            if value is not None:
                start = right if value.value >= 0 else left
                bars.barh(height, value.value, left=start, height=0.6, color=colour)
                right, left = (right + value.value, left) if value.value >= 0 else (right, left + value.value)
        drift = of_split(arm, place, lambda split: split.drift.ratio)
        if drift is not None:
            bars.plot(drift.value, height, marker="D", color="black", markersize=4.5, linestyle="")
            if drift.interval is not None:
                bars.plot(drift.interval, [height] * 2, color="black", linewidth=1.2)
        known = False
        for (name, colour), shift in zip(PARTS.items(), (0.22, 0.0, -0.22), strict=True):
            ask = lambda split, n=name: split.shares[n]  # noqa: E731
            estimate = of_split(arm, place, ask)
            known |= estimate is not None
            if estimate is not None:
                draw_across(dots, height + shift, estimate, [], colour, SHAPES[name], factor=100)
                seeds = _seeds(arm, place, ask)
                if 1 < len(seeds) < 3:
                    dots.plot([100 * v for v in seeds], [height + shift] * len(seeds), "|", color=colour, markersize=6)
        if not known:
            dots.text(50, height, "no drift to account for", va="center", ha="center", fontsize=8, color="#666666")
    for axis in (bars, dots):
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_ylim(-0.6, len(shown) - 0.4)
        axis.grid(False, axis="y")
        axis.set_yticks(
            range(len(shown)),
            [f"{label_of(arm)}, {PLACES[place]}" for arm, place in reversed(shown)] if axis is bars else [],
        )
    dots.axvline(100, color="#555555", linestyle=":", linewidth=1)
    dots.set_xlim(min(dots.get_xlim()[0], -5), max(dots.get_xlim()[1], 105))
    bars.set_title("Parts of the drift (◆: the drift itself)")
    bars.set_xlabel("along the drift, in mean norms of a row")
    dots.set_title("The same as shares of the drift")
    dots.set_xlabel("% of the drift; dotted: all of it")
    handles = [Patch(color=colour) for colour in PARTS.values()]
    title = "95 % interval over seeds where there are three" if max(len(arm.runs) for arm, _ in shown) > 2 else None
    figure.legend(handles, [MECHANISMS[name] for name in PARTS], loc="outside lower center", ncols=3, title=title)
    return save(figure, out, "cause_mechanisms")


def _roles(result: CauseResult, out: Path) -> list[Path]:
    shown = [(arm, place) for arm, place in _split(result) if of_split(arm, place, lambda split: split.pushes["input"])]
    if not shown:
        return []
    figure, axes = new_figure(width=7.4, height=0.42 * len(shown) + 1.8)
    axis = axes[0, 0]
    for height, (arm, place) in enumerate(reversed(shown)):
        for role, shift in zip(ROLES, (0.22, 0.0, -0.22), strict=True):
            ask = lambda split, r=role: split.pushes[r]  # noqa: E731
            estimate = of_split(arm, place, ask)
            draw_across(axis, height + shift, estimate, [], ROLE_COLOURS[role], SHAPES[role], factor=100)
    for edge in range(1, len(shown)):
        axis.axhline(edge - 0.5, color="#DDDDDD", linewidth=0.6)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axvline(100, color="#555555", linestyle=":", linewidth=1)
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.grid(False, axis="y")
    axis.set_yticks(range(len(shown)), [f"{label_of(arm)}, {PLACES[place]}" for arm, place in reversed(shown)])
    axis.set_xlabel("% of all roles' push along the drift; below 0: against it")
    handles = [axis.plot([], [], marker=SHAPES[r], color=ROLE_COLOURS[r], linestyle="")[0] for r in ROLES]
    figure.legend(handles, [ROLE_WORDS[role] for role in ROLES], loc="outside lower center", ncols=3)
    figure.suptitle("Which role of the rows pushes the mean along the drift", x=0.01, ha="left", fontsize=11)
    return save(figure, out, "cause_roles")


def _groups(result: CauseResult, out: Path) -> list[Path]:
    shown = _split(result)
    if not shown:
        return []
    columns = [place for place in PLACES if any(entry == place for _, entry in shown)]
    groups = [group for group in shown[0][0].runs[0].groups if group.rows]
    figure, axes = new_figure(columns=len(columns), width=5.0 if len(columns) > 1 else 6.4, height=3.8)
    for axis, place in zip(axes.flat, columns, strict=True):
        ends = []
        arms = [arm for arm, entry in shown if entry == place]
        for number, arm in enumerate(arms):
            colour, marker = style(result, arm)
            found = [of_split(arm, place, lambda split, g=group: float(split.group_path[g.index])) for group in groups]
            shift = (number - (len(arms) - 1) / 2) * min(0.06, 0.5 / len(arms))
            known = [
                (at + shift, entry, group)
                for at, (entry, group) in enumerate(zip(found, groups, strict=True))
                if entry is not None
            ]
            for counted in (True, False):  # rows that no text can ask for stand by themselves
                part = [(x, entry.value) for x, entry, group in known if group.counted == counted]
                axis.plot(
                    [x for x, _ in part],
                    [y for _, y in part],
                    color=colour,
                    marker=marker,
                    markersize=4.5,
                    linewidth=1.2,
                )
            for x, entry, _ in known:
                if entry.interval is not None:
                    axis.plot([x] * 2, entry.interval, color=colour, linewidth=1.0, alpha=0.8)
            if known:
                ends.append((known[-1][1].value, label_of(arm), colour))
        axis.axhline(0, color="black", linewidth=0.8)
        group_ticks(axis, groups)
        axis.set_xlabel("token count in the training split")
        axis.set_title(PLACES[place])
        label_ends(axis, ends)
    axes[0, 0].set_ylabel("moved along it (mean norms)")
    legend_of(result, figure, [arm for arm, _ in shown])
    figure.suptitle(
        "How far rows were moved along the common vector, by token count (sum over updates, in mean norms of a row)",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return save(figure, out, "cause_groups")


def _gradients(result: CauseResult, out: Path) -> list[Path]:
    wanted = [("adam", True, TIED), ("coupled", True, TIED), ("adam", False, "input"), ("adam", False, OUTPUT)]
    shown = [
        (arm, place)
        for rule, tied, place in wanted
        if (arm := result.arm_of(rule, tied))
        and of_split(arm, place, lambda split: 1.0 if np.isfinite(split.role_along["input"]).any() else math.nan)
    ]
    if not shown:
        return []
    groups = [group for group in shown[0][0].runs[0].groups if group.rows]
    figure, axes = new_figure(columns=len(shown), width=4.0 if len(shown) > 1 else 6.4, height=3.6)
    for axis, (arm, place) in zip(axes.flat, shown, strict=True):
        for role, shift in zip(ROLES, (-0.27, 0.0, 0.27), strict=True):
            for number, group in enumerate(groups):
                value = of_split(arm, place, lambda split, r=role, g=group: float(split.role_along[r][g.index]))
                if value is None:
                    continue
                axis.bar(number + shift, 100 * value.value, width=0.25, color=ROLE_COLOURS[role])
                if value.interval is not None:
                    axis.plot([number + shift] * 2, [100 * end for end in value.interval], color="black", linewidth=0.9)
        axis.axhline(0, color="black", linewidth=0.8)
        group_ticks(axis, groups)
        axis.set_xlabel("token count in the training split")
        axis.set_title(f"{label_of(arm)}, {PLACES[place]}")
        axis.grid(False, axis="x")
    axes[0, 0].set_ylabel("% of all gradient lengths")
    handles = [Patch(color=ROLE_COLOURS[role]) for role in ROLES]
    figure.legend(handles, [ROLE_WORDS[role] for role in ROLES], loc="outside lower center", ncols=3)
    figure.suptitle(
        "Net push of the gradients along the common vector by role and token count (up: along it), all rows of a group together",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return save(figure, out, "cause_gradients")


def _zero_sum(result: CauseResult, out: Path) -> list[Path]:
    columns = [p for p in PLACES if any(p in places(arm) and numbers(arm, p, "head_sum") for arm in result.arms)]
    columns = [place for place in columns if place != "input"]  # an input table has no head
    if not columns:
        return []
    figure, axes = new_figure(columns=len(columns), width=5.8, height=3.9)
    for axis, place in zip(axes.flat, columns, strict=True):
        updates, ends, values = [0], [], [ZERO_SUM]
        for arm in [arm for arm in result.arms if place in places(arm)]:
            curves = numbers(arm, place, "head_sum")
            found, last = draw_seeds(axis, curves, *style(result, arm), floor=1e-12)
            updates += found
            values += [float(value) for curve in curves for value in curve.values]
            if last is not None:
                ends.append((last, label_of(arm), style(result, arm)[0]))
        axis.axhline(ZERO_SUM, color="#555555", linestyle=":", linewidth=1)
        axis.text(0.01, ZERO_SUM, f"D1: {ZERO_SUM:g}", transform=axis.get_yaxis_transform(), fontsize=8, va="bottom")
        axis.set_yscale("log")
        axis.set_ylim(max(min(values) / 3, 1e-12), max(values) * 4)
        update_axis(axis, sorted(updates), log=False)
        axis.set_title(PLACES[place])
        label_ends(axis, ends)
    axes[0, 0].set_ylabel("|sum of the head's gradients| /\nsum of all rows' gradient lengths")
    legend_of(result, figure, result.arms, seeds_words(result.arms))
    figure.suptitle("Do the head's gradients sum to zero over the vocabulary?", x=0.01, ha="left", fontsize=11)
    return save(figure, out, "cause_zero_sum")
