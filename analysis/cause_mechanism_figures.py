"""The figures of E5 on what makes a table drift: mechanisms, roles, frequency groups, the zero sum, the second moment."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from cause_claims import FOLLOWS, RANKED, ZERO_SUM
from cause_design import OUTPUT, PLACES, TIED
from cause_drawing import draw_across, draw_seeds, label_ends, label_of, legend_of, seeds_words, style
from cause_mechanisms import MECHANISMS, Mechanisms
from cause_run import TableResult
from cause_streams import ROLE_WORDS, ROLES
from cause_tables import of_split, places
from curves import Curve
from plots import group_label, new_figure, save, update_axis

if TYPE_CHECKING:
    from cause import ArmResult, CauseResult

PARTS = {"second_moment": "#D55E00", "coupled": "#0072B2", "decay": "#999999"}
ROLE_COLOURS = {"input": "#009E73", "positive": "#E69F00", "negative": "#CC79A7"}
SHAPES = {"second_moment": "o", "coupled": "s", "decay": "^", "input": "o", "positive": "s", "negative": "^"}


def figures(result: CauseResult, out: Path) -> list[Path]:
    """Every figure for which there is something to draw; PNG and PDF."""
    parts = (_mechanisms, _roles, _groups, _gradients, _zero_sum, _second_moment)
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
    axis.set_xlabel("% of the push along the drift by all roles (a role that pushes against it is below 0)")
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
        for arm in [arm for arm, entry in shown if entry == place]:
            colour, marker = style(result, arm)
            found = [of_split(arm, place, lambda split, g=group: float(split.group_path[g.index])) for group in groups]
            known = [(number, entry) for number, entry in enumerate(found) if entry is not None]
            axis.plot(
                [n for n, _ in known],
                [e.value for _, e in known],
                color=colour,
                marker=marker,
                markersize=4.5,
                linewidth=1.2,
            )
            for number, entry in known:
                if entry.interval is not None:
                    axis.plot([number] * 2, entry.interval, color=colour, linewidth=1.1)
            if known:
                ends.append((known[-1][1].value, label_of(arm), colour))
        axis.axhline(0, color="black", linewidth=0.8)
        _group_ticks(axis, groups)
        axis.set_title(PLACES[place])
        figure.draw_without_rendering()
        label_ends(axis, ends)
    axes[0, 0].set_ylabel("moved along the common vector\n(sum over updates, mean norms of a row)")
    legend_of(result, figure, [arm for arm, _ in shown])
    figure.suptitle("Which rows go along the common vector, by token count", x=0.01, ha="left", fontsize=11)
    return save(figure, out, "cause_groups")


def _gradients(result: CauseResult, out: Path) -> list[Path]:
    wanted = [("adam", True, TIED), ("coupled", True, TIED), ("adam", False, "input"), ("adam", False, OUTPUT)]
    shown = [
        (arm, place)
        for rule, tied, place in wanted
        if (arm := result.arm_of(rule, tied))
        and of_split(arm, place, lambda split: float(np.nansum(split.role_along["input"]) + 1))
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
        _group_ticks(axis, groups)
        axis.set_title(f"{label_of(arm)}, {PLACES[place]}")
        axis.grid(False, axis="x")
    axes[0, 0].set_ylabel("% of all rows' gradient lengths\n(up: pushed along the common vector)")
    handles = [Patch(color=ROLE_COLOURS[role]) for role in ROLES]
    figure.legend(handles, [ROLE_WORDS[role] for role in ROLES], loc="outside lower center", ncols=3)
    figure.suptitle(
        "Net gradient along the common vector, downhill, by role and token count", x=0.01, ha="left", fontsize=11
    )
    return save(figure, out, "cause_gradients")


def _zero_sum(result: CauseResult, out: Path) -> list[Path]:
    columns = [p for p in PLACES if any(p in places(arm) and _numbers(arm, p, "head_sum") for arm in result.arms)]
    columns = [place for place in columns if place != "input"]  # an input table has no head
    if not columns:
        return []
    figure, axes = new_figure(columns=len(columns), width=5.8, height=3.9)
    for axis, place in zip(axes.flat, columns, strict=True):
        updates, ends, values = [0], [], [ZERO_SUM]
        for arm in [arm for arm in result.arms if place in places(arm)]:
            curves = _numbers(arm, place, "head_sum")
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
        figure.draw_without_rendering()
        label_ends(axis, ends)
    axes[0, 0].set_ylabel("|sum of the head's gradients| /\nsum of all rows' gradient lengths")
    legend_of(result, figure, result.arms, seeds_words(result.arms))
    figure.suptitle("Do the head's gradients sum to zero over the vocabulary?", x=0.01, ha="left", fontsize=11)
    return save(figure, out, "cause_zero_sum")


def _numbers(arm: ArmResult, place: str, name: str) -> list[Curve]:
    """A number of the stream cause over updates, by seed; `head_sum` as a share of `gradient_length`."""
    found = []
    for entry in arm.runs:
        table = entry.tables.get(place)
        if table is None or table.cause is None:
            continue
        values = table.cause.numbers[name]
        if name == "head_sum":
            length = table.cause.numbers["gradient_length"]
            values = np.divide(values, length, out=np.full_like(length, np.nan), where=length > 0)
        known = np.isfinite(values)
        if known.any():
            found.append(Curve(table.cause.updates[known], values[known]))
    return found


def _second_moment(result: CauseResult, out: Path) -> list[Path]:
    shown = [
        (arm, place)
        for arm in result.arms
        for place in places(arm)
        if place != "input" and _numbers(arm, place, "second_moment_r2")
    ]
    arm = result.arm_of("adam", True) or result.arm_of("adam", False)
    place = TIED if arm is not None and arm.design.tied else OUTPUT
    tables = [] if arm is None else [e.tables[place] for e in arm.runs if place in e.tables and e.tables[place].moments]
    if not shown and not tables:
        return []
    figure, axes = new_figure(columns=1 + bool(tables), width=5.8, height=4.1)
    if tables and arm is not None:
        _scatter(axes[0, 0], tables[0], f"{label_of(arm)}, {PLACES[place]}, seed {arm.runs[0].seed}")
    axis = axes[0, -1]
    updates, ends = [0], []
    for arm, place in shown:
        for name, line in (("second_moment_r2", "-"), ("second_moment_spearman", ":")):
            colour, marker = style(result, arm)
            found, last = draw_seeds(axis, _numbers(arm, place, name), colour, marker if line == "-" else "", line=line)
            updates += found
            if last is not None and line == "-":
                words = label_of(arm) if arm.design.tied else f"{label_of(arm)} ({place})"
                ends.append((last, words, colour))
    for value, name in ((FOLLOWS, "R²"), (RANKED, "Spearman")):
        axis.axhline(value, color="#555555", linestyle="--", linewidth=0.9)
        axis.text(
            0.01, value, f"D2, {name}: {value:g}", transform=axis.get_yaxis_transform(), fontsize=7.5, va="bottom"
        )
    axis.set_ylim(min(-0.02, axis.get_ylim()[0]), 1.05)
    update_axis(axis, sorted(updates), log=False)
    axis.set_title("R² (solid) and Spearman (dotted)")
    figure.draw_without_rendering()
    label_ends(axis, ends)
    figure.suptitle("Does a row's second moment follow its token count?", x=0.01, ha="left", fontsize=11)
    return save(figure, out, "cause_second_moment")


def _scatter(axis: Axes, table: TableResult, words: str) -> None:
    assert table.moments is not None  # only such tables are drawn
    moment = table.moments.rows["second_moment"]
    known = table.counted & (table.counts > 0) & np.isfinite(moment) & (moment > 0)
    counts, moment = table.counts[known].astype(np.float64), moment[known]
    axis.scatter(counts, moment, s=7, color="#0072B2", alpha=0.35, linewidths=0, rasterized=True)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("token count in the training split")
    axis.set_ylabel("mean second moment of the row")
    axis.set_title(words)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if len(counts) < 3 or not np.ptp(counts):
        return
    slope, offset, r2 = line_fit(counts, moment)
    power, level, r2_log = line_fit(np.log10(counts), np.log10(moment))
    x = np.geomspace(counts.min(), counts.max(), 100)
    line = slope * x + offset
    axis.plot(x[line > 0], line[line > 0], color="#D55E00", label=f"line: R² = {r2:.2f} (what D2 asks for)")
    axis.plot(
        x, 10**level * x**power, "--", color="black", label=f"power {power:.2f}: R² = {r2_log:.2f} of the logarithms"
    )
    axis.legend(loc="upper left", title=f"update {table.moments.update:,}")


def line_fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Slope, offset and R^2 of the least-squares line of y on x, (n,) each, n > 2, x not constant."""
    slope, offset = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    left = float(((y - slope * x - offset) ** 2).sum())
    return float(slope), float(offset), 1 - left / spread if spread else math.nan


def _group_ticks(axis: Axes, groups: list) -> None:
    names = [group_label(group).partition(" (")[0].replace("count ", "").replace("–", "–\n") for group in groups]
    axis.set_xticks(range(len(groups)), names, fontsize=8)
    axis.set_xlabel("token count in the training split")
