"""How the tokens' cosines change over training, by frequency group (claims C1.1, C1.2, C1.3).

    python analysis/learning.py runs/E1/base/seed1/dump.zarr --out DIR

Several dumps are taken as seeds of one arm. Curves come from the recorded statistics; the ends, where the intervals are
needed, from the snapshots of update 0 and of the last update.

What the intervals are over:
- C1.1, rise of the mean pairwise cosine: tokens, drawn anew within their frequency groups, the same ones at both ends.
- C1.1, rank correlation of the curve with the update number: updates, in blocks of neighbours.
- C1.2, C1.3, differences of groups at the last snapshot: tokens, drawn within their groups.
- C1.3, share of an update's squared length along the group's common direction, mean over the recorded updates after the
  first tenth: updates, in blocks. (By chance alone the share is about 1/rows + 1/dim; a small group is not favoured.)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bootstrap import over_updates, pairwise_cosine_change, percentile_interval, pooled, stratified_means
from claims import Claim, Estimate, Rule, decide_claim, without_value
from cli import question, run
from correlation import spearman
from curves import Curve, frequent_group, last_update, over_seeds, rare_group, read_curves, spread
from dump import Dump, Group, Table, signature
from geometry import RowGeometry, group_means, mean_pairwise, row_geometry, unit_rows
from plots import band, group_colours, group_label, new_figure, save, update_axis

CURVE_POINTS = 400  # of a curve, for its rank correlation
FEWEST_POINTS = 8


@dataclass(frozen=True)
class Ends:
    """Row mean cosines by group at one snapshot: `means` (groups,), `quantiles` (groups, 5): 5, 25, 50, 75, 95 %."""

    update: int
    mean_cosine: float
    means: NDArray[np.float64]
    quantiles: NDArray[np.float64]


@dataclass(frozen=True)
class LearningResult:
    """One run: curves by group, ends, and the estimates of C1 (value NaN: the dump lacks what it needs)."""

    signature: str
    groups: list[Group]
    last: int
    mean_cosine: Curve
    mean_cosine_group: Curve
    shared_group: Curve
    ends: list[Ends]
    rise: Estimate
    curve_rank: Estimate
    frequent_minus_all: Estimate
    rare_minus_frequent: Estimate
    shared_rare_minus_frequent: Estimate


def analyse(dump: Dump, table: str | None = None, *, seed: int = 0) -> LearningResult:
    """Measure one run. `seed` is that of the resampling. Raises DumpError, GeometryError."""
    entry = dump.table(table)
    recorded = read_curves(entry, ["mean_cosine", "mean_cosine_group"])
    shared = Curve(np.zeros(0, np.int64), np.zeros((0, len(entry.groups))))
    if len(entry.statistic_updates) and "update_shared_group" in entry.statistic_names:
        shared = Curve(*entry.statistic("update_shared_group"))
    last = last_update(entry)
    frequent, rare = frequent_group(entry.groups), rare_group(entry.groups)
    ends: list[Ends] = []
    unknown = Estimate(math.nan, None)
    rise = frequent_minus_all = rare_minus_frequent = unknown
    if len(entry.snapshot_updates):
        final = int(entry.snapshot_updates[-1])
        values = entry.snapshot(final)
        rows = row_geometry(values, entry)
        if entry.snapshot_updates[0] == 0 and final > 0:
            start = entry.snapshot(0)
            before = row_geometry(start, entry)
            ends.append(_ends(entry, 0, before))
            rise = _rise(entry, start, before, values, rows, seed)
        ends.append(_ends(entry, final, rows))
        frequent_minus_all, rare_minus_frequent = _group_differences(entry, rows, frequent, rare, seed)
    return LearningResult(
        signature=signature(dump, entry, int(entry.snapshot_updates[-1]) if len(entry.snapshot_updates) else last),
        groups=entry.groups,
        last=last,
        mean_cosine=recorded["mean_cosine"],
        mean_cosine_group=recorded["mean_cosine_group"],
        shared_group=shared,
        ends=ends,
        rise=rise,
        curve_rank=_curve_rank(recorded["mean_cosine"], seed),
        frequent_minus_all=frequent_minus_all,
        rare_minus_frequent=rare_minus_frequent,
        shared_rare_minus_frequent=_shared_difference(shared.since(last / 10), rare, frequent, seed),
    )


def claims(results: Sequence[LearningResult]) -> list[Claim]:
    """C1.1, C1.2 and C1.3 of the seeds of one arm."""
    signatures = [result.signature for result in results]
    shortest = min((result.last for result in results), default=0)
    if not results:
        return [without_value(claim_id, "not run", "no run was found") for claim_id in ("C1.1", "C1.2", "C1.3")]
    short = {result.last for result in results}
    note = f"last recorded update {', '.join(f'{update:,}' for update in sorted(short))}"
    return [
        decide_claim(
            "C1.1",
            [
                ("mean pairwise cosine, last minus update 0", Rule(low=0.05), [r.rise for r in results]),
                ("rank correlation of the curve with the update", Rule(low=0.5), [r.curve_rank for r in results]),
            ],
            signatures,
            note=note,
            updates=shortest,
        ),
        decide_claim(
            "C1.2",
            [("mean cosine, frequent minus all", Rule(high=-0.05), [r.frequent_minus_all for r in results])],
            signatures,
            note=note,
            updates=shortest,
        ),
        decide_claim(
            "C1.3",
            [
                ("mean cosine, rare minus frequent", Rule(low=0.05), [r.rare_minus_frequent for r in results]),
                (
                    "share of the update along the group's direction, rare minus frequent",
                    Rule(low=0.05),
                    [r.shared_rare_minus_frequent for r in results],
                ),
            ],
            signatures,
            note=note,
            updates=shortest,
        ),
    ]


def figures(results: Sequence[LearningResult], out: Path) -> list[Path]:
    """Mean cosine over updates by group, its spread over tokens at the ends, and the shared part of the updates."""
    groups = results[0].groups
    shown = [group for group in groups if group.rows]
    colours = group_colours(groups)
    figure, axes = new_figure(width=7.4, height=4.4)
    axis = axes[0, 0]
    for group in shown:
        curves = [result.mean_cosine_group.group(group.index) for result in results]
        _draw(axis, curves, colours[group.index], group_label(group), dashed=not group.counted)
    _draw(axis, [result.mean_cosine for result in results], "black", "all counted rows (pairwise)")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_ylabel("mean cosine to all other counted rows")
    axis.set_title(f"Mean cosine over training, by frequency group ({_seeds_words(results)})")
    update_axis(axis, results[0].mean_cosine.updates)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="token count")
    written = save(figure, out, "learning_mean_cosine")
    if results[0].ends:
        written += _figure_ends(results[0], shown, colours, out)
    if len(results[0].shared_group.updates) > 1:
        written += _figure_shared(results, shown, colours, out)
    return written


def summary(result: LearningResult) -> list[list[str | float | int]]:
    """The printed table: mean cosine of each group at the first and last snapshot."""
    head: list[str | float | int] = ["group", "rows", *[f"update {end.update}" for end in result.ends]]
    lines = [
        [group.name, group.rows, *[float(end.means[group.index]) for end in result.ends]]
        for group in result.groups
        if group.rows
    ]
    return [head, *lines, ["all pairs", "", *[end.mean_cosine for end in result.ends]]]


def _ends(table: Table, update: int, rows: RowGeometry) -> Ends:
    quantiles = np.full((len(table.groups), 5), np.nan)
    for group in table.groups:
        inside = rows.mean_cosine[(table.group == group.index) & rows.live]
        if len(inside):
            quantiles[group.index] = np.quantile(inside, [0.05, 0.25, 0.5, 0.75, 0.95])
    means = group_means(rows.mean_cosine, table.group, rows.live, len(table.groups))
    return Ends(update, mean_pairwise(rows.unit_sum, int(rows.pool.sum())), means, quantiles)


def _rise(table: Table, start: NDArray, before: RowGeometry, values: NDArray, rows: RowGeometry, seed: int) -> Estimate:
    change = mean_pairwise(rows.unit_sum, int(rows.pool.sum())) - mean_pairwise(before.unit_sum, int(before.pool.sum()))
    both = before.pool & rows.pool  # rows that were zero at one end have no change
    samples = pairwise_cosine_change(
        unit_rows(start[both]), unit_rows(values[both]), table.group[both], len(table.groups), seed=seed
    )
    return Estimate(change, percentile_interval(samples))


def _group_differences(
    table: Table, rows: RowGeometry, frequent: Group | None, rare: Group | None, seed: int
) -> tuple[Estimate, Estimate]:
    if frequent is None or rare is None:
        return Estimate(math.nan, None), Estimate(math.nan, None)
    stratum = np.where(rows.pool, table.group, -1)
    groups = len(table.groups)
    sizes = np.bincount(stratum[stratum >= 0], minlength=groups)
    means = group_means(rows.mean_cosine, table.group, rows.pool, groups)
    samples = stratified_means(rows.mean_cosine, stratum, groups, seed=seed)
    samples[:, sizes == 1] = means[sizes == 1]
    to_all = Estimate(
        float(means[frequent.index] - pooled(means, sizes)),
        percentile_interval(samples[:, frequent.index] - pooled(samples, sizes)),
    )
    if rare == frequent:
        return to_all, Estimate(math.nan, None)
    difference = samples[:, rare.index] - samples[:, frequent.index]
    return to_all, Estimate(float(means[rare.index] - means[frequent.index]), percentile_interval(difference))


def _curve_rank(curve: Curve, seed: int) -> Estimate:
    kept = np.searchsorted(curve.updates, spread(curve.updates, CURVE_POINTS))
    updates, values = curve.updates[kept].astype(np.float64), curve.values[kept]
    value = spearman(updates, values)
    if len(updates) < FEWEST_POINTS:
        return Estimate(value, None, "updates")
    samples = over_updates(lambda chosen: spearman(updates[chosen], values[chosen]), len(updates), seed=seed)
    return Estimate(value, percentile_interval(samples), "updates")


def _shared_difference(shared: Curve, rare: Group | None, frequent: Group | None, seed: int) -> Estimate:
    if rare is None or frequent is None or rare == frequent or not len(shared.updates):
        return Estimate(math.nan, None, "updates")
    difference = shared.values[:, rare.index] - shared.values[:, frequent.index]
    difference = difference[np.isfinite(difference)]
    if len(difference) < FEWEST_POINTS:
        return Estimate(float(difference.mean()) if len(difference) else math.nan, None, "updates")
    samples = over_updates(lambda chosen: float(difference[chosen].mean()), len(difference), seed=seed)
    return Estimate(float(difference.mean()), percentile_interval(samples), "updates")


def _draw(axis, curves: Sequence[Curve], colour: str, label: str, *, dashed: bool = False) -> None:
    mean, low, high = over_seeds(curves)
    axis.plot(mean.updates, mean.values, color=colour, label=label, linestyle="--" if dashed else "-")
    if len(curves) > 1:
        band(axis, mean.updates, low, high, colour)


def _seeds_words(results: Sequence[LearningResult]) -> str:
    return "one seed" if len(results) == 1 else f"mean of {len(results)} seeds, band: lowest to highest"


def _figure_ends(result: LearningResult, shown: Sequence[Group], colours: Sequence[str], out: Path) -> list[Path]:
    figure, axes = new_figure(width=7.4, height=0.55 * len(shown) + 1.4)
    axis = axes[0, 0]
    for place, group in enumerate(reversed(shown)):
        for end, shift, alpha in zip(reversed(result.ends), (-0.16, 0.16), (1.0, 0.45), strict=False):
            low, lower, middle, upper, high = end.quantiles[group.index]
            height, colour = place + shift, colours[group.index]
            axis.plot([low, high], [height, height], color=colour, alpha=alpha, linewidth=1.2)
            axis.plot([lower, upper], [height, height], color=colour, alpha=alpha, linewidth=6, solid_capstyle="butt")
            axis.plot(middle, height, "o", color="white", markeredgecolor=colour, markersize=5)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set_yticks(range(len(shown)), [group_label(group) for group in reversed(shown)])
    pale = f"\n(pale, above: update {result.ends[0].update:,})" if len(result.ends) > 1 else ""
    axis.set_xlabel(f"a row's mean cosine to all other counted rows, update {result.ends[-1].update:,}{pale}")
    figure.suptitle("Mean cosine: spread over tokens (5-95 %, 25-75 %, median)", x=0.01, ha="left", fontsize=11)
    return save(figure, out, "learning_ends")


def _figure_shared(
    results: Sequence[LearningResult], shown: Sequence[Group], colours: Sequence[str], out: Path
) -> list[Path]:
    figure, axes = new_figure(width=7.4, height=4.4)
    axis = axes[0, 0]
    for group in shown:
        curves = [result.shared_group.group(group.index) for result in results]
        if all(len(curve.updates) for curve in curves):
            _draw(axis, curves, colours[group.index], group_label(group), dashed=not group.counted)
    axis.set_ylim(0, 1)
    axis.set_ylabel("share of the update's squared length")
    axis.set_title(f"Part of an update along the group's common direction ({_seeds_words(results)})")
    update_axis(axis, results[0].shared_group.updates)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="token count")
    return save(figure, out, "learning_update_shared")


if __name__ == "__main__":
    run(lambda: question(sys.modules[__name__], "learning"))
