"""The figure of E5 on the second moment: does it follow the token count (claim D2)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from cause_claims import FOLLOWS
from cause_design import OUTPUT, PLACES, TIED
from cause_drawing import draw_seeds, label_ends, label_of, style
from cause_run import TableResult
from cause_tables import places
from curves import Curve
from plots import new_figure, save, update_axis

if TYPE_CHECKING:
    from cause import ArmResult, CauseResult


def numbers(arm: ArmResult, place: str, name: str) -> list[Curve]:
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


def figure(result: CauseResult, out: Path) -> list[Path]:
    """Left, Adam's last record, a point a token; right, R^2 and Spearman of all arms over updates."""
    shown = [
        (arm, place)
        for arm in result.arms
        for place in places(arm)
        if place != "input" and numbers(arm, place, "second_moment_r2")
    ]
    arm = result.arm_of("adam", True) or result.arm_of("adam", False)
    place = TIED if arm is not None and arm.design.tied else OUTPUT
    runs = [] if arm is None else [e for e in arm.runs if place in e.tables and e.tables[place].moments]
    tables = [entry.tables[place] for entry in runs]
    if not shown and not tables:
        return []
    drawn, axes = new_figure(columns=1 + bool(tables), width=5.8, height=4.1)
    if tables and arm is not None:
        _scatter(
            axes[0, 0],
            tables[0],
            f"{label_of(arm)}, {PLACES[place]}, seed {runs[0].seed}, update {tables[0].moments.update:,}",
        )
    axis = axes[0, -1]
    updates, ends, lowest = [0], [], 0.0
    for arm, place in shown:
        for name, line in (("second_moment_r2", "-"), ("second_moment_spearman", ":")):
            colour, marker = style(result, arm)
            curves = numbers(arm, place, name)
            lowest = min(
                [lowest, *(float(np.nanmin(curve.values)) for curve in curves if np.isfinite(curve.values).any())]
            )
            found, last = draw_seeds(axis, curves, colour, marker if line == "-" else "", line=line)
            updates += found
            if last is not None and line == "-":
                words = label_of(arm) if arm.design.tied else f"{label_of(arm)} ({place})"
                ends.append((last, words, colour))
    axis.axhline(FOLLOWS, color="#555555", linestyle="--", linewidth=0.9)
    axis.text(0.01, FOLLOWS, f"D2, R²: {FOLLOWS:g}", transform=axis.get_yaxis_transform(), fontsize=7.5, va="bottom")
    axis.set_ylim(lowest - 0.02, 1.05)  # an interval over three seeds may reach beyond what R^2 can be
    update_axis(axis, sorted(updates), log=False)
    axis.set_title("R² (solid) and Spearman (dotted)")
    label_ends(axis, ends)
    drawn.suptitle("Does a row's second moment follow its token count?", x=0.01, ha="left", fontsize=11)
    return save(drawn, out, "cause_second_moment")


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
    axis.legend(loc="upper left")


def line_fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Slope, offset and R^2 of the least-squares line of y on x, (n,) each, n > 2, x not constant."""
    slope, offset = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    left = float(((y - slope * x - offset) ** 2).sum())
    return float(slope), float(offset), 1 - left / spread if spread else math.nan
