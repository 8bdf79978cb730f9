"""Cosine of the tokens to the common vector (the mean of all counted rows) over training (claims C4.1, C4.2, C4.3).

    python analysis/common_vector.py runs/E1/base/seed1/dump.zarr --out DIR

Several dumps are taken as seeds of one arm. Curves come from the recorded statistics. What the intervals are over:
- C4.1, rise from update 0 to the end of the first tenth: tokens, drawn anew within their frequency groups, the same ones
  at both ends. The spread is that of the snapshot nearest to the end of the first tenth; the value is the recorded one.
- C4.2: random orders of the increments, see oscillation.py for the measure. The mean over all counted rows decides; the
  groups stand beside it.
- C4.3, minimum of the zero-count group from the first tenth on: tokens of that group, drawn anew, the same ones in every
  snapshot from the first tenth on. The spread is that of the lowest snapshot's mean, about the recorded minimum.
The common vector itself stays that of all counted rows in every resample.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval, pooled, stratified_means
from claims import Claim, Estimate, Rule, decide_claim, without_value
from cli import question, run
from curves import Curve, last_update, over_seeds, read_curves, spread, zero_group
from dump import Dump, Group, Table, signature
from geometry import group_means, row_geometry
from oscillation import Oscillation, momentum_memory, oscillation
from plots import band, group_colours, group_label, new_figure, save, update_axis

CLAIMS = ("C4.1", "C4.2", "C4.3")
SNAPSHOTS_READ = 8  # from the first tenth on, for the spread of C4.3
SHORTEST = 10  # updates: below it there is no first tenth
OPTIONS = {"memory": "least spacing for the oscillation, in updates (default: from the optimiser's momentum)"}


@dataclass(frozen=True)
class CommonVectorResult:
    """One run: curves, the estimates of C4.1 and C4.3, and the oscillation of all counted rows and of each group."""

    signature: str
    groups: list[Group]
    last: int
    tenth: float
    common_cosine: Curve
    common_cosine_group: Curve
    common_norm: Curve
    norm_mean: Curve
    rise: Estimate
    zero_minimum: Estimate
    oscillation_all: Oscillation
    oscillation_group: list[Oscillation]


def analyse(dump: Dump, table: str | None = None, *, memory: int | None = None, seed: int = 0) -> CommonVectorResult:
    """Measure one run. `memory`: least spacing in updates for the oscillation (default: from the optimiser's momentum)."""
    entry = dump.table(table)
    curves = read_curves(entry, ["common_cosine", "common_cosine_group", "common_norm", "norm_mean"])
    common, by_group = curves["common_cosine"], curves["common_cosine_group"]
    last = last_update(entry)
    tenth = last / 10
    memory = momentum_memory(dump.attrs) if memory is None else memory
    return CommonVectorResult(
        signature=signature(dump, entry, last),
        groups=entry.groups,
        last=last,
        tenth=tenth,
        common_cosine=common,
        common_cosine_group=by_group,
        common_norm=curves["common_norm"],
        norm_mean=curves["norm_mean"],
        rise=_rise(entry, common, last, seed),
        zero_minimum=_zero_minimum(entry, by_group, tenth, seed),
        oscillation_all=oscillation(common, tenth, memory=memory, seed=seed),
        oscillation_group=[
            oscillation(by_group.group(group.index), tenth, memory=memory, seed=seed) for group in entry.groups
        ],
    )


def claims(results: Sequence[CommonVectorResult]) -> list[Claim]:
    """C4.1, C4.2 and C4.3 of the seeds of one arm."""
    if not results:
        return [without_value(claim_id, "not run", "no run was found") for claim_id in CLAIMS]
    signatures = [result.signature for result in results]
    shortest = min((result.last for result in results), default=0)
    note = f"last recorded update {', '.join(f'{last:,}' for last in sorted({result.last for result in results}))}"
    measured = [Estimate(r.oscillation_all.ratio, r.oscillation_all.interval, "permutations") for r in results]
    groups = [
        f"{group.name} {np.mean([r.oscillation_group[group.index].ratio for r in results]):.2f}"
        for group in results[0].groups
        if all(math.isfinite(r.oscillation_group[group.index].ratio) for r in results)
    ]
    reasons = [result.oscillation_all.reason for result in results if result.oscillation_all.reason]
    return [
        decide_claim(
            "C4.1",
            [
                (
                    "cosine to the common vector, end of the first tenth minus update 0",
                    Rule(0.1),
                    [r.rise for r in results],
                )
            ],
            signatures,
            note=note,
            updates=shortest,
        ),
        decide_claim(
            "C4.2",
            [
                (
                    "power of the strongest octave of the detrended series over that of independent increments",
                    Rule(2.0),
                    measured,
                )
            ],
            signatures,
            note="; ".join([*reasons[:1], *([f"by group: {', '.join(groups)}"] if groups else [])]) or note,
            updates=shortest,
        ),
        decide_claim(
            "C4.3",
            [("zero-count cosine to the common vector, minimum", Rule(0.5), [r.zero_minimum for r in results])],
            signatures,
            note=note if zero_group(results[0].groups) else "the vocabulary has no zero-count token",
            updates=shortest,
        ),
    ]


def figures(results: Sequence[CommonVectorResult], out: Path) -> list[Path]:
    """Cosine to the common vector by group, its length beside the rows', and the detrended series."""
    written = _figure_cosine(results, out)
    return written + (_figure_oscillation(results[0], out) if len(results[0].oscillation_all.updates) > 2 else [])


def summary(result: CommonVectorResult) -> list[list[str | float | int]]:
    """The printed table: by group, cosine at update 0, at the end of the first tenth and at the end; oscillation ratio."""
    tenth = int(result.tenth)
    lines: list[list[str | float | int]] = [["group", "rows", "update 0", f"<= {tenth}", f"{result.last}", "ratio"]]
    for group in result.groups:
        if group.rows:
            curve = result.common_cosine_group.group(group.index)
            ratio = result.oscillation_group[group.index].ratio
            lines.append([group.name, group.rows, curve.at(0), curve.at(result.tenth), curve.at(result.last), ratio])
    curve = result.common_cosine
    ends = [curve.at(0), curve.at(result.tenth), curve.at(result.last)]
    return [*lines, ["all counted", "", *ends, result.oscillation_all.ratio]]


def _rise(table: Table, common: Curve, last: int, seed: int) -> Estimate:
    value = common.at(last / 10) - common.at(0)
    snapshots = table.snapshot_updates
    later = snapshots[snapshots > 0]
    if last < SHORTEST or not len(later) or snapshots[0] != 0:
        return Estimate(value, None)
    nearest = int(later[np.argmin(np.abs(np.log(later) - math.log(last / 10)))])
    if not last / 20 <= nearest <= last / 5:
        return Estimate(value, None)
    ends = [row_geometry(table.snapshot(update), table) for update in (0, nearest)]
    both = ends[0].pool & ends[1].pool
    stratum = np.where(both, table.group, -1)
    groups = len(table.groups)
    sizes = np.bincount(stratum[both], minlength=groups)
    change = ends[1].common_cosine - ends[0].common_cosine
    means = stratified_means(change, stratum, groups, seed=seed)
    point = group_means(change, table.group, both, groups)
    means[:, sizes == 1] = point[sizes == 1]
    return _about(value, pooled(means, sizes), float(pooled(point, sizes)))


def _zero_minimum(table: Table, by_group: Curve, tenth: float, seed: int) -> Estimate:
    zero = zero_group(table.groups)
    if zero is None:
        return Estimate(math.nan, None)
    curve = by_group.group(zero.index).since(max(tenth, 1))
    value = float(curve.values.min()) if len(curve.values) else math.nan
    snapshots = spread(table.snapshot_updates[table.snapshot_updates >= max(tenth, 1)], SNAPSHOTS_READ)
    if not len(snapshots) or not math.isfinite(value):
        return Estimate(value, None)
    cosines: list[NDArray[np.float64]] = []
    inside = np.flatnonzero((table.group == zero.index) & table.counted)
    for update in snapshots:
        rows = row_geometry(table.snapshot(int(update)), table)
        cosines.append(rows.common_cosine[inside])
    per_row = np.stack(cosines, axis=1)
    per_row = per_row[np.isfinite(per_row).all(axis=1)]
    if len(per_row) < 2:
        return Estimate(value, None)
    means = stratified_means(per_row, np.zeros(len(per_row), int), 1, seed=seed)[:, 0]
    return _about(value, means.min(axis=1), float(per_row.mean(axis=0).min()))


def _about(value: float, samples: NDArray[np.float64], point: float) -> Estimate:
    """The recorded value with the spread that the snapshots' resamples have about their own value."""
    return Estimate(value, percentile_interval(samples - point + value))


def _figure_cosine(results: Sequence[CommonVectorResult], out: Path) -> list[Path]:
    groups = results[0].groups
    colours = group_colours(groups)
    figure, axes = new_figure(rows=2, width=7.6, height=3.4)
    axis, below = axes[:, 0]
    series = [
        ([r.common_cosine_group.group(group.index) for r in results], colours[group.index], group_label(group), group)
        for group in groups
        if group.rows
    ]
    for curves, colour, label, group in series:
        mean, low, high = over_seeds(curves)
        axis.plot(mean.updates, mean.values, color=colour, linestyle="-" if group.counted else "--", label=label)
        if len(curves) > 1:
            band(axis, mean.updates, low, high, colour)
    mean, low, high = over_seeds([result.common_cosine for result in results])
    axis.plot(mean.updates, mean.values, color="black", label="all counted rows")
    if len(results) > 1:
        band(axis, mean.updates, low, high, "black")
    axis.axvline(results[0].tenth, color="black", linewidth=0.9, linestyle=":", label="end of the first tenth")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_ylabel("mean cosine to the common vector")
    seeds = "one seed" if len(results) == 1 else f"mean of {len(results)} seeds, band: lowest to highest"
    axis.set_title(f"Cosine to the common vector over training ({seeds})")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="token count")
    for name, label, colour in (("norm_mean", "mean row", "#555555"), ("common_norm", "common vector", "#0072B2")):
        mean, low, high = over_seeds([getattr(result, name) for result in results])
        below.plot(mean.updates, mean.values, color=colour, label=label)
        if len(results) > 1:
            band(below, mean.updates, low, high, colour)
    below.set_ylim(bottom=0)
    below.set_ylabel("norm")
    below.set_title("Length of the common vector beside the rows' mean length")
    below.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for panel in (axis, below):
        update_axis(panel, results[0].common_cosine.updates)
    return save(figure, out, "common_vector_cosine")


def _figure_oscillation(result: CommonVectorResult, out: Path) -> list[Path]:
    colours = group_colours(result.groups)
    figure, axes = new_figure(width=7.6, height=4.2)
    axis = axes[0, 0]
    shown = [
        (result.oscillation_group[group.index], colours[group.index], group_label(group))
        for group in result.groups
        if group.rows and group.counted
    ]
    for entry, colour, label in [*shown, (result.oscillation_all, "black", "all counted rows")]:
        words = f"{label}: ratio {entry.ratio:.2f}" if math.isfinite(entry.ratio) else label
        axis.plot(entry.updates, entry.residual, color=colour, label=words, linewidth=1.1)
    axis.axhline(0, color="black", linewidth=0.6)
    update_axis(axis, result.oscillation_all.updates, log=False)
    axis.set_xlabel(f"update (one point every {result.oscillation_all.spacing:,})")
    axis.set_ylabel("cosine to the common vector, less trend")
    axis.set_title("Oscillation after the first tenth: the series less a cubic in log update")
    if result.oscillation_all.reason:
        axis.text(0.5, 0.95, "too few points for a ratio", transform=axis.transAxes, ha="center", va="top")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, out, "common_vector_oscillation")


if __name__ == "__main__":
    run(lambda: question(sys.modules[__name__], "common_vector"))
